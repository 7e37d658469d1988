"""Powers: of floats by a logarithm in two parts, by products and by roots; of integers by products.

In: terms. Out: a term. The one rule: an exponent that is a literal decides the way, as in the NumPy backend.
"""

from __future__ import annotations

import math

from ...program.algebra import by_products, by_roots
from .functions_exp import exp, log
from .terms import Term, number

LEAST = {"float32": 2.0**-126, "float64": 2.0**-1022}
UPPER = -(1 << 32)  # the upper half of a float64's bits
# 2 / (3 log(2)) and log2(1.5), as parts of which the first ones have few bits.
CP, CP_HIGH, CP_LOW = (
    2 / (3 * math.log(2)),
    float.fromhex("0x1.ec709e0000000p-1"),
    float.fromhex("-0x1.e2fe0145b01f5p-28"),
)
DP_HIGH, DP_LOW = float.fromhex("0x1.2b80340000000p-1"), float.fromhex("0x1.cfdeb43cfd006p-27")
LN2, LN2_HIGH, LN2_LOW = math.log(2), float.fromhex("0x1.62e4300000000p-1"), float.fromhex("-0x1.05c610ca86c39p-29")
# log((1 + s) / (1 - s)) = 2 s + 2/3 s**3 + s**5 * polynomial in s**2, for s below 0.1, times 3/2.
ATANH = tuple(map(float.fromhex, (
    "0x1.a7e284a454eefp-3", "0x1.d864a93c9db65p-3", "0x1.17460a91d4101p-2", "0x1.55555518f264dp-2",
    "0x1.b6db6db6fabffp-2", "0x1.3333333333303p-1",
)))  # fmt: skip


def power(x: Term, exponent: float) -> Term | None:
    """By a literal, where there is a short way."""
    if exponent == 0:
        return x.number(1.0)
    if exponent == 0.5:
        return x.sqrt()
    if exponent in (1, 2, -1):
        return x if exponent == 1 else x * x if exponent == 2 else 1.0 / x
    if whole := by_products(exponent):
        base = x if whole > 0 else 1.0 / x
        square = base * base
        return square if abs(whole) == 2 else square * (base if abs(whole) == 3 else square)
    found = by_roots(exponent)
    return quarters(x, found) if found else None


def quarters(x: Term, n: int) -> Term:
    """x ** (n / 4) by roots."""
    positive = x + 0.0  # no negative zero
    half = positive.sqrt()
    rest = abs(n) % 4
    root = half if rest == 2 else half.sqrt() if rest == 1 else half * half.sqrt()
    found = root if abs(n) < 4 else root * positive
    found = found if n > 0 else 1.0 / found
    return x.number(math.inf if n > 0 else 0.0).where(x.equals(-math.inf), found)


def integer_power(x: Term, exponent: int) -> Term:
    """By squares and products."""
    found: Term | None = None
    square = x
    while exponent:
        if exponent & 1:
            found = square if found is None else found * square
        exponent >>= 1
        if exponent:
            square = square * square
    return x.number(1) if found is None else found


def general(x: Term, y: Term) -> Term:
    """x ** y of two floats."""
    single = x.kind.dtype == "float32"
    a, e = abs(x).cast("float64"), y.cast("float64")
    # What has no logarithm, or whose exponent is far beyond all that matter, is set right below.
    usual = (a > 0.0) & (a < math.inf)
    a = a.where(usual, 1.0)
    found = exp(log(a) * e) if single else _power(a, e.at_most(2.0**80).at_least(-(2.0**80)))
    found = found.cast(x.kind.dtype)
    return _special(x, y, found)


def _special(x: Term, y: Term, found: Term) -> Term:
    """The power of the absolute number as that of the number, of zeros, infinities and nan."""
    zero, one, infinity = x.number(0.0), x.number(1.0), x.number(math.inf)
    a = abs(x)
    found = zero.where(y > 0.0, infinity).where(a.equals(0.0), found)
    found = infinity.where(y > 0.0, zero).where(a.equals(math.inf), found)
    found = infinity.where((a > 1.0), zero).where(y.equals(math.inf), found)
    found = zero.where((a > 1.0), infinity).where(y.equals(-math.inf), found)
    whole, half = y.apply("floor"), y * 0.5
    odd = whole.equals(y) & half.apply("floor").differs(half)
    found = found.signed_as(x).where(odd, found)
    wrong = (x < 0.0) & whole.differs(y) & (x > -math.inf)
    found = x.number(math.nan).where(wrong, found)
    found = one.where(a.equals(1.0) & abs(y).equals(math.inf), found)
    found = (x + y).where(x.differs(x) | y.differs(y), found)
    return one.where(x.equals(1.0) | y.equals(0.0), found)


def _power(a: Term, y: Term) -> Term:
    """a ** y for a positive and finite: exp2(y * log2(a)), each product in two parts."""
    log_high, log_low = _log2(a)
    upper = _upper(y)
    low = (y - upper) * log_high + y * log_low
    high = upper * log_high
    total = high + low
    k = total.apply("nearest")
    high = high - k
    part = _upper(low + high)
    u = part * LN2_HIGH
    v = (low - (part - high)) * LN2 + part * LN2_LOW
    r = u + v
    lost = v - (r - u)
    usual = abs(total) < 1100.0
    k = k.where(usual, 1100.0).signed_as(total)
    r, lost = r.where(usual, 0.0), lost.where(usual, 0.0)
    return _scaled(exp(r, low=lost), k)


def _scaled(x: Term, k: Term) -> Term:
    """x * 2 ** k."""
    magic = 1.5 * 2.0**52
    half = (k * 0.5 + magic) - magic
    other = k - half
    for part in (half, other):
        bits = (part + magic).bits()
        x = x * ((bits << 52) + (1023 << 52)).bits()
    return x


def _log2(a: Term) -> tuple[Term, Term]:
    """log2 in two parts, of which the first has half the bits (the method of fdlibm's e_pow)."""
    tiny = a < LEAST["float64"]
    a = (a * 2.0**54).where(tiny, a)
    more = a.number(-54.0).where(tiny, 0.0)
    bits = a.bits()
    root = 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
    moved = bits + ((1023 << 52) - root)
    n = ((moved >> 52) | (1075 << 52)).bits() - (2.0**52 + 1023.0) + more
    ax = ((moved & ((1 << 52) - 1)) + root).bits()  # from sqrt(1/2) to sqrt(2)
    # Near 1, 1 is the base, above sqrt(3/2) and below sqrt(3/4) it is 3/2 and 3/4, so that s is small.
    high_base, low_base = ax > math.sqrt(1.5), ax < math.sqrt(0.75)
    ax = (ax * 2.0).where(low_base, ax)
    n = (n - 1.0).where(low_base, n)
    third = high_base | low_base
    base = a.number(1.5).where(third, 1.0)
    dp_high = a.number(DP_HIGH).where(third, 0.0)
    dp_low = a.number(DP_LOW).where(third, 0.0)
    u, v = ax - base, 1.0 / (ax + base)
    s = u * v
    s_high = _upper(s)
    t_high = _upper(ax + base)
    t_low = ax - (t_high - base)
    s_low = v * ((u - s_high * t_high) - s_high * t_low)
    square = s * s
    r = square * square * _horner(square)
    r = r + s_low * (s_high + s)
    square = s_high * s_high
    t_high = _upper(square + 3.0 + r)
    t_low = r - ((t_high - 3.0) - square)
    u = s_high * t_high
    v = s_low * t_high + t_low * s
    p_high = _upper(u + v)
    p_low = v - (p_high - u)
    z_high = p_high * CP_HIGH
    z_low = p_high * CP_LOW + p_low * CP + dp_low
    first = _upper(((z_high + z_low) + dp_high) + n)
    return first, z_low - (((first - n) - dp_high) - z_high)


def _horner(square: Term) -> Term:
    total = square.number(ATANH[0])
    for c in ATANH[1:]:
        total = total.times_plus(square, c)
    return total


def _upper(x: Term) -> Term:
    """The upper half of its bits: products of two such numbers are exact."""
    return (x.bits() & number(x.w, UPPER, x.bits().kind)).bits()
