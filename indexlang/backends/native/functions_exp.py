"""The exponential function, the logarithm and what is made of them: hyperbolic functions, sigmoid, softplus.

In: a float32 or float64 term. Out: a term. The one rule: no number leaves the range of a conversion, as all are made by
bits: nan passes through arithmetic alone.
"""

from __future__ import annotations

import math

from .coefficients import EXP, LN2_FLOAT32, LN2_FLOAT64, LOG, SINH
from .terms import BIAS, FLOAT, FRACTION, MAGIC, Term, polynomial

LN2 = {"float32": LN2_FLOAT32, "float64": LN2_FLOAT64}
# Beyond these exp is 0 or inf, and exp(x) - 1 is -1.
LOWEST = {"float32": -110.0, "float64": -760.0}
HIGHEST = {"float32": 89.0, "float64": 710.0}
FLAT = {"float32": -18.0, "float64": -40.0}
SMALLEST = {"float32": 2.0**-126, "float64": 2.0**-1022}  # normal number
ROOT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}  # its bits
HUGE = 2.0**500  # the square of a larger one may be inf
SMALL = 2.0**-60  # exp(x) - 1 of a smaller one is x


def _reduced(x: Term, low: Term | None = None) -> tuple[Term, Term, Term, Term]:
    """k with x + low = k log(2) + r: with the integer in its lowest bits, and as a float; r in two parts."""
    dtype = x.kind.dtype
    shifted = (x if low is None else x + low).times_plus(1 / math.log(2), MAGIC[dtype])
    k = shifted - MAGIC[dtype]
    high, rest = LN2[dtype]
    top = k.times_plus(-high, x)
    return shifted, k, top, k * -rest if low is None else k.times_plus(-rest, low)


def _power_of_two(shifted: Term) -> Term:
    """2 ** k of an integer in the lowest bits."""
    whole = shifted.bits() if shifted.kind.dtype in MAGIC else shifted
    dtype = FLOAT[whole.kind.dtype]
    return ((whole << FRACTION[dtype]) + (BIAS[dtype] << FRACTION[dtype])).bits()


def exp(x: Term, low: Term | None = None, halved: bool = False) -> Term:
    """exp(x), or of x + low where low is small; half of it without overflow where `halved`."""
    p, scale, last = exp_parts(x, low, halved)
    return p.times_plus(scale, scale) * last


def exp_parts(x: Term, low: Term | None = None, halved: bool = False) -> tuple[Term, Term, Term]:
    """p and two powers of two with exp = (1 + p) * a * b, where only the last product may be subnormal, 0 or inf."""
    dtype = x.kind.dtype
    shifted, k, top, rest = _reduced(x.at_most(HIGHEST[dtype] + halved).at_least(LOWEST[dtype]), low)
    r = top + rest
    half = k.times_plus(0.5, MAGIC[dtype])
    other = shifted.bits() - half.bits()
    if halved:
        other = other - 1
    if low is None:
        p = (r * r).times_plus(polynomial(r, EXP[dtype]), r)
    else:  # who has a second part wants what r has lost, too
        p = r + (r * r).times_plus(polynomial(r, EXP[dtype]), top - r + rest)
    return p, _power_of_two(half), _power_of_two(other)


def expm1(x: Term) -> Term:
    """exp(x) - 1."""
    shifted, p = _expm1_parts(x.at_most(HIGHEST[x.kind.dtype]).at_least(FLAT[x.kind.dtype]))
    half = _power_of_two(shifted.bits() - 1)  # as the whole may be inf
    found = half.times_plus(p, half - 0.5) * 2.0
    return x.where(abs(x) < SMALL, found)


def _expm1(x: Term) -> Term:
    """exp(x) - 1 of what is not below 0, not far above, and not -0."""
    shifted, p = _expm1_parts(x)
    scale = _power_of_two(shifted)
    return scale.times_plus(p, scale - 1.0)


def _expm1_parts(x: Term) -> tuple[Term, Term]:
    """The power of two, as for `_power_of_two`, and exp(r) - 1."""
    shifted, _, top, rest = _reduced(x)
    r = top + rest
    lost = top - r + rest
    return shifted, r + (r * r).times_plus(polynomial(r, EXP[x.kind.dtype]), lost)


def log(x: Term) -> Term:
    """The natural logarithm."""
    dtype = x.kind.dtype
    scale = 2.0 ** (FRACTION[dtype] + 2)
    tiny = x < SMALLEST[dtype]
    found = _log((x * scale).where(tiny, x), x.number(-float(FRACTION[dtype] + 2)).where(tiny, x.number(0.0)))
    return found.where(_regular(x), _log_special(x))


def _regular(x: Term) -> Term:
    """Positive and finite."""
    return (x > 0.0) & (x < math.inf)


def _log_special(x: Term) -> Term:
    """The logarithm of what is not regular."""
    return x.where(x > 0.0, x.number(-math.inf).where(x.equals(0.0), math.nan))


def _log(x: Term, more: Term | None = None, low: Term | None = None) -> Term:
    """The logarithm of a normal number, plus `more` times log(2), plus `low`."""
    dtype = x.kind.dtype
    bits, root = x.bits(), ROOT_HALF[dtype]
    one = BIAS[dtype] << FRACTION[dtype]
    moved = bits + (one - root)
    k = _float(moved >> FRACTION[dtype]) - float(BIAS[dtype])
    if more is not None:
        k = k + more
    mantissa = (moved & ((1 << FRACTION[dtype]) - 1)) + root
    f = mantissa.bits() - 1.0
    square = f * f
    high, rest = LN2[dtype]
    small = k * rest if low is None else k.times_plus(rest, low)
    p = (square * f).times_plus(polynomial(f, LOG[dtype]), small)
    # f - square / 2 loses bits where the square is near f: what is lost is added.
    top = square.times_plus(-0.5, f)
    lost = square.times_plus(-0.5, f - top)
    whole = k * high
    total = whole + top
    return total + ((whole - total + top) + (lost + p))


def _float(whole: Term) -> Term:
    """A small integer, not negative, as a float."""
    dtype = FLOAT[whole.kind.dtype]
    base = 2.0 ** FRACTION[dtype]
    return (whole | ((BIAS[dtype] + FRACTION[dtype]) << FRACTION[dtype])).bits() - base


def log1p(x: Term) -> Term:
    """log(1 + x)."""
    u = x + 1.0
    found = _log(u, low=_lost(x, u) / u)
    return found.where(_regular(u), _log_special(u)).signed_as(x)


def _lost(x: Term, u: Term) -> Term:
    """What 1 + x has lost."""
    # Where x is larger than 1, 1 is what loses.
    return (1.0 - (u - x)).where(x > 1.0, x - (u - 1.0))


def softplus(x: Term) -> Term:
    """log(1 + exp(x))."""
    e = exp(-abs(x))
    u = e + 1.0
    return _log(u, low=(e - (u - 1.0)) / u) + x.at_least(0.0)


def tanh(x: Term) -> Term:
    double = abs(x) + abs(x)
    t = _expm1(double.at_most(20.0 if x.kind.dtype == "float32" else 44.0))
    return (t / (t + 2.0)).signed_as(x)


def sigmoid(x: Term) -> Term:
    z = exp(-abs(x))
    return z.where(x < 0.0, 1.0) / (z + 1.0)


def silu(x: Term) -> Term:
    p, scale, last = exp_parts(-abs(x))
    product = x.at_least(LOWEST[x.kind.dtype]) * scale
    left = p.times_plus(product, product) * last  # in this order it is right where exp is subnormal
    left = left.where(x > -math.inf, math.nan)
    return left.where(x < 0.0, x) / p.times_plus(scale, scale).times_plus(last, 1.0)


# -- of float64 only -----------------------------------------------------------------------------------


def sinh(x: Term) -> Term:
    a = abs(x)
    half = exp(a, halved=True)
    square = x * x
    near = (x * square).times_plus(polynomial(square.at_most(1.0), SINH["float64"]), x)
    return near.where(a < 1.0, (half - 0.25 / half).signed_as(x))


def cosh(x: Term) -> Term:
    half = exp(abs(x), halved=True)
    return half + 0.25 / half


def asinh(x: Term) -> Term:
    a = abs(x)
    large = a > HUGE
    v = a + (a * a) / ((a * a + 1.0).sqrt() + 1.0)
    return _log1p_of_large(a, v, large).signed_as(x)


def acosh(x: Term) -> Term:
    t = x - 1.0
    v = t + (t * t + (t + t)).sqrt()
    return _log1p_of_large(x, v, x > HUGE).where(x >= 1.0, math.nan)


def atanh(x: Term) -> Term:
    a = abs(x)
    two = a + a
    v = two + two * a / (1.0 - a)
    return (log1p(v.where(a < 0.5, two / (1.0 - a))) * 0.5).signed_as(x)


def _log1p_of_large(x: Term, v: Term, large: Term) -> Term:
    """log(1 + v), which is the logarithm of 2 x where x is large."""
    return log1p(x.where(large, v)) + x.number(math.log(2)).where(large, 0.0)
