"""Sine, cosine and tangent of every number.

In: a float32 or float64 term. Out: a term. The one rule: the remainder by pi/2 is exact to rounding however large the
number is, as 2/pi is there with as many bits as that takes.

A float32 is multiplied by parts of 2/pi of 29 bits in float64, exactly; of each product what is whole is dropped. A
float64 selects the 192 bits of 2/pi that matter at its exponent, and multiplies them as integers.
"""

from __future__ import annotations

import math

from .coefficients import COS, HALF_PI, SIN, TWO_OVER_PI, WORDS
from .terms import Term, number, polynomial

LOW32 = (1 << 32) - 1
MANTISSA = (1 << 52) - 1


def sin(x: Term) -> Term:
    return x.where(x.equals(0.0), _turned(*_sin_and_cos(x), x, 0))


def cos(x: Term) -> Term:
    return _turned(*_sin_and_cos(x), x, 1)


def tan(x: Term) -> Term:
    sine, cosine, quadrant = _sin_and_cos(x)
    odd = (quadrant & 1).differs(0)
    found = (-cosine).where(odd, sine) / sine.where(odd, cosine)
    return x.where(x.equals(0.0), found.cast(x.kind.dtype))


def _turned(sine: Term, cosine: Term, quadrant: Term, x: Term, turn: int) -> Term:
    """The sine in its quadrant: the other function in odd ones, the other sign in the last two."""
    at = quadrant + turn if turn else quadrant
    found = cosine.where((at & 1).differs(0), sine)
    return (found.bits() ^ ((at & 2) << 62)).bits().cast(x.kind.dtype)


def _sin_and_cos(x: Term) -> tuple[Term, Term, Term]:
    """Both of the remainder by pi/2, in float64, and the number of the quadrant in the lowest bits of an integer."""
    single = x.kind.dtype == "float32"
    r, low, quadrant = _reduced_single(x.cast("float64")) if single else _reduced(x)
    square = r * r
    sine = (r * square).times_plus(polynomial(square, SIN[x.kind.dtype]), r if single else low)
    cosine = (square * square).times_plus(polynomial(square, COS[x.kind.dtype]), 0.0 if single else -(r * low))
    half = square * 0.5
    top = 1.0 - half
    rest = cosine if single else (1.0 - top - half) + cosine
    return (sine if single else r + sine), top + rest, quadrant


def _reduced_single(x: Term) -> tuple[Term, Term, Term]:
    """What is left of a float32, given as float64, of multiples of pi/2; zero; the quadrant."""
    products = [x * c for c in TWO_OVER_PI]
    parts = [p - (p * 0.25).apply("nearest") * 4.0 for p in products]  # exact; nan for inf
    total = parts[-1]
    for part in reversed(parts[:-1]):
        total = total + part
    shifted = total + 1.5 * 2.0**52
    left = parts[0] - (shifted - 1.5 * 2.0**52)
    for part in parts[1:]:
        left = left + part
    return left * HALF_PI[0], left.number(0.0), shifted.bits()


def _reduced(x: Term) -> tuple[Term, Term, Term]:
    """What is left of a float64 of multiples of pi/2, in two parts; the quadrant."""
    bits = x.bits()
    exponent = (bits >> 52) & 0x7FF
    high, low = _product((bits & MANTISSA) | (1 << 52), _window(exponent))
    # Two bits of whole quadrants, the rest their fraction: from -1/2 to 1/2.
    top = (high << 2) | (low >> 62)
    negative = top < 0
    quadrant = (high >> 62) + number(x.w, 1, top.kind).where(negative, 0)
    flip = number(x.w, -1, top.kind).where(negative, 0)
    top, bottom = top ^ flip, (low << 2) ^ flip
    parts = [top >> 32, top & LOW32, bottom >> 32, bottom & LOW32]  # a remainder may begin 62 bits down
    first, second, third, fourth = (_whole(p) * 2.0 ** (-32 * (k + 1)) for k, p in enumerate(parts))
    sign = (bits ^ flip) & -(1 << 63)
    sum_of_two = first + second
    rest = (first - sum_of_two) + second + (third + fourth)
    head = sum_of_two + rest
    tail = (sum_of_two - head) + rest
    r = head * HALF_PI[0]
    rest = tail * HALF_PI[0] + head * HALF_PI[1] + _lost(head, r)
    total = r + rest
    rest = (r - total) + rest
    small = abs(x) < math.pi / 4
    finite = abs(x) < math.inf
    r = x.where(small, (total.bits() ^ sign).bits().where(finite, math.nan))
    zero = number(x.w, 0, quadrant.kind)
    turned = quadrant.where(bits >= 0, zero - quadrant)
    return r, x.number(0.0).where(small, (rest.bits() ^ sign).bits()), zero.where(small, turned)


def _lost(head: Term, product: Term) -> Term:
    """What a product with pi/2 has lost, by halves of both numbers."""
    mask = -(1 << 27)
    upper = (head.bits() & mask).bits()
    lower = head - upper
    top = math.ldexp(math.floor(math.ldexp(HALF_PI[0], 25)), -25)
    bottom = HALF_PI[0] - top
    return ((upper * top - product) + (upper * bottom + lower * top)) + lower * bottom


def _whole(x: Term) -> Term:
    """An integer below 2 ** 32 as a float."""
    return (x | (1075 << 52)).bits() - 2.0**52


def _window(exponent: Term) -> list[Term]:
    """192 bits of 2/pi, in six halves of words, the first ones worth 2 and 1 quadrants at this exponent."""
    place = exponent - 1022  # below 0 nothing is read that counts: numbers so small are their own remainder
    place = place.where(place >= 0, 0)
    words = [number(exponent.w, word, exponent.kind) for word in WORDS]
    for step, left in ((16, 19), (8, 11), (4, 7), (2, 5), (1, 4)):
        bit = (place & (64 * step)).differs(0)
        words = [words[k + step].where(bit, words[k]) if k + step < len(words) else words[k] for k in range(left)]
    by = place & 63
    back = 63 - by
    shifted = [(words[k] << by) | ((words[k + 1] >> 1) >> back) for k in range(3)]
    return [half for word in shifted for half in ((word >> 32), word & LOW32)]


def _product(m: Term, limbs: list[Term]) -> tuple[Term, Term]:
    """The upper 128 of the lower 192 bits of a number of 53 bits times six limbs of 32; the last bit is not exact."""
    big, small = m >> 32, m & LOW32
    carry = ((small * limbs[4]) >> 32) + ((big * limbs[5]) >> 32)
    digits = []
    for k in (3, 2):
        a, b = small * limbs[k], big * limbs[k + 1]
        total = (a & LOW32) + (b & LOW32) + carry
        digits.append(total & LOW32)
        carry = (total >> 32) + (a >> 32) + (b >> 32)
    top = ((small * limbs[0] + big * limbs[1]) << 32) + small * limbs[1] + big * limbs[2] + carry
    return top, (digits[1] << 32) | digits[0]
