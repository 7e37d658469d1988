"""The derivative of a quotient by what stands below its line, factor by factor.

In: the quotient, and what holds its value. Out: the parts below the line, each with the slope of the quotient by it:
of `y = a / (z*w)**2` by `z` it is `-2*y/z`, of `y = a / sqrt(v)` by `v` it is `-y/2/v`, of `y = a / exp(u)` by `u` it
is `-y`. The one rule: the slope of the logarithm, times the quotient; nothing is multiplied that would be divided out.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from ..program.algebra import exact, product
from ..program.derivatives import is_constant
from ..program.ir import Access, Call, Const, Expr

_HALF = {"sqrt": Fraction(1, 2), "rsqrt": Fraction(-1, 2)}


def slopes_below(top: Expr, bottom: Expr, out: Access | None) -> Iterator[tuple[Expr, Expr]]:
    """Each part of the denominator that is no number, and the derivative of top / bottom by it."""
    quotient = Call("div", (top, bottom)) if out is None else out
    for part, exponent in _parts(bottom, Fraction(1)):
        if is_constant(part):
            continue
        match part:
            case Call("exp", (inside,)):
                yield inside, _times(-exponent, quotient)
            case _:
                yield part, Call("div", (_times(-exponent, quotient), part))


def _parts(expr: Expr, exponent: Fraction) -> Iterator[tuple[Expr, Fraction]]:
    """The factors of a power of a product, of roots of products too, with their exponents."""
    match expr:
        case Call("sqrt" | "rsqrt" as fn, (inside,)):
            yield from _parts(inside, exponent * _HALF[fn])
        case Call("pow", (base, n)) if number := exact(n):
            yield from _parts(base, exponent * number)
        case Call("mul" | "div" | "neg"):
            parts = product(expr)
            for factor in parts.factors:
                yield from _parts(factor, exponent)
            for divisor in parts.divisors:
                yield from _parts(divisor, -exponent)
        case _:
            yield expr, exponent


def _times(number: Fraction, quotient: Expr) -> Expr:
    """The quotient so many times."""
    if number == -1:
        return Call("neg", (quotient,))
    value = int(number) if number.denominator == 1 else float(number)
    return quotient if number == 1 else Call("mul", (Const(value), quotient))
