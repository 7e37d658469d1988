"""The error function and gelu, by the tail of the normal distribution.

In: a float32 or float64 term. Out: a term. The one rule: the tail is computed as a product with exp(-z**2 / 2), so that
it is as exact far out as it is near 0.
"""

from __future__ import annotations

import math

from .coefficients import ERF, MIDDLE, NORMAL, TAIL
from .functions_exp import exp, exp_parts
from .terms import Term, polynomial

CENTRE = 0.625  # where less of it is left than 1/2, the sum of both would lose bits
FARTHEST = {"float32": 14.5, "float64": 39.0}  # behind it the tail is 0
# All but the lower half of a number's bits: what is left has an exact square.
UPPER = {"float32": -(1 << 12), "float64": -(1 << 27)}


def _tail(z: Term) -> Term:
    """The normal distribution's tail behind z over exp(-z * z / 2), for z from 0.62."""
    inverse = 1.0 / (z + 5.0)
    return _near_one(inverse, z * inverse)


def _times_tail(z: Term) -> Term:
    """z times that: what t has lost is lost twice, and cancels."""
    t = z / (z + 5.0)
    return _near_one(t, t)


def _near_one(factor: Term, t: Term) -> Term:
    """The factor times the tail's polynomial, which is not far from 1."""
    return factor.times_plus(polynomial(t - MIDDLE[t.kind.dtype], TAIL[t.kind.dtype]), factor)


def erf(x: Term) -> Term:
    dtype = x.kind.dtype
    a = abs(x)
    z = a.at_most(FARTHEST[dtype] / 1.5)
    near = a.times_plus(polynomial(x * x, ERF[dtype]), a)
    far = 1.0 - exp(-(z * z)) * (_tail(z * math.sqrt(2)) * 2.0)
    return near.where(a < 1.0, far).signed_as(x)


def gelu(x: Term) -> Term:
    """x times the normal distribution function of x."""
    dtype = x.kind.dtype
    z = abs(x).at_most(FARTHEST[dtype])
    upper = (z.bits() & UPPER[dtype]).bits()
    p, scale, last = exp_parts(upper * upper * -0.5, ((z - upper) * (z + upper)) * -0.5)
    product = _times_tail(z) * scale
    left = p.times_plus(product, product) * last  # in this order it is right where exp is subnormal
    far = x.at_least(0.0) - left
    near = x * x.times_plus(polynomial(x * x, NORMAL[dtype]), 0.5)
    return near.where(z < CENTRE, far).where(x > -math.inf, x - x)
