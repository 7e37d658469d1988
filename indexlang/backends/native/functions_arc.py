"""Inverse functions of the circle, and the length of two numbers.

In: float64 terms. Out: a term. The one rule: a number far from 0 is first turned to one near it, exactly or with
what was lost in a second part.
"""

from __future__ import annotations

import math

from .coefficients import ASIN, ATAN, HALF_PI
from .terms import Term, polynomial

QUARTER_PI = (HALF_PI[0] / 2, HALF_PI[1] / 2)
NEAR, FAR = math.tan(math.pi / 8), math.tan(3 * math.pi / 8)


def atan(x: Term) -> Term:
    return _atan_of_positive(abs(x)).signed_as(x)


def _atan_of_positive(a: Term) -> Term:
    far, near = a > FAR, a < NEAR
    below = a.number(1.0).where(near, a.where(far, a + 1.0))
    above = a.where(near, a.number(-1.0).where(far, a - 1.0))
    t = above / below
    square = t * t
    first = a.number(0.0).where(near, a.number(HALF_PI[0]).where(far, QUARTER_PI[0]))
    rest = a.number(0.0).where(near, a.number(HALF_PI[1]).where(far, QUARTER_PI[1]))
    return first + (t + (t * square).times_plus(polynomial(square, ATAN["float64"]), rest))


def atan2(y: Term, x: Term) -> Term:
    """The angle of the point (x, y)."""
    a, b = abs(y), abs(x)
    ratio = a / b
    ratio = ratio.number(1.0).where(a.equals(math.inf) & b.equals(math.inf), ratio)
    ratio = ratio.number(0.0).where(a.equals(0.0) & b.equals(b), ratio)
    angle = _atan_of_positive(ratio)
    left = (2 * HALF_PI[0] - angle) + 2 * HALF_PI[1]
    return left.where(x.bits() < 0, angle).signed_as(y).where(x.equals(x), x)


def asin(x: Term) -> Term:
    a = abs(x)
    near = a < 0.5
    s, found = _arc(x, near)
    far = HALF_PI[0] - (2.0 * (s + found) - HALF_PI[1])
    return (s + found).where(near, far).signed_as(x)


def acos(x: Term) -> Term:
    near = abs(x) < 0.5
    s, found = _arc(x, near)
    middle = HALF_PI[0] - (x - (HALF_PI[1] - found.signed_as(x)))
    twice = 2.0 * (s + found)
    left = 2 * HALF_PI[0] - (twice - 2 * HALF_PI[1])
    return middle.where(near, left.where(x < 0.0, twice))


def _arc(x: Term, near: Term) -> tuple[Term, Term]:
    """The arcsine, of the number near 0, else of the root of half its distance from 1, as that and the rest."""
    a = abs(x)
    half = (1.0 - a) * 0.5
    square = (a * a).where(near, half)
    s = a.where(near, half.sqrt())
    return s, s * square * polynomial(square, ASIN["float64"])


def hypot(x: Term, y: Term) -> Term:
    """The root of the sum of squares, which may themselves leave the range."""
    a, b = abs(x), abs(y)
    most = a.where(a > b, b)
    large, small = most > 2.0**500, most < 2.0**-500
    one = x.number(1.0)
    scale = x.number(2.0**-600).where(large, x.number(2.0**600).where(small, one))
    back = x.number(2.0**600).where(large, x.number(2.0**-600).where(small, one))
    a, b = a * scale, b * scale
    found = (a * a + b * b).sqrt() * back
    infinite = abs(x).equals(math.inf) | abs(y).equals(math.inf)
    return x.number(math.inf).where(infinite, found)
