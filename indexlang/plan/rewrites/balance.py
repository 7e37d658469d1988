"""Comparisons of integers with what both sides have in common left out, and what always holds dropped.

In: a condition, and how far indices run. Out: the conditions left. The one rule: they admit the same points.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...program.affine import Affine
from ...program.conditions import COMPARISONS, as_mask, is_integer
from ...program.ir import Call, Const, Expr
from ...rewrite.substitution import written
from ...sizes.in_bounds import interval
from ..views import Extents


def balanced(mask: Expr, extents: Extents) -> Iterator[Expr]:
    """A comparison of integers with what both sides have in common left out; nothing if it always holds."""
    match mask:
        case Call(fn=fn, args=(a, b)) if fn in COMPARISONS and is_integer(a) and is_integer(b):
            difference = _simpler(Affine.from_expr(b), extents) - _simpler(Affine.from_expr(a), extents)
            ends = interval(difference, extents)
            if ends is not None and _always(fn, *ends):
                return
            left = Affine(0, tuple((atom, -c) for atom, c in difference.terms if c < 0))
            right = Affine(difference.const, tuple((atom, c) for atom, c in difference.terms if c > 0))
            yield as_mask(Call(fn, (written(left), written(right))))
        case _:
            yield mask


def _always(fn: str, low: int, high: int) -> bool:
    """Whether what two sides differ by, from low to high, makes a comparison true."""
    match fn:
        case "le" | "lt":
            return low >= (fn == "lt")
        case "ge" | "gt":
            return high <= -(fn == "gt")
        case "eq":
            return low == high == 0
        case _:
            return low > 0 or high < 0


def _simpler(form: Affine, extents: Extents) -> Affine:
    """A form without quotients and remainders that multiples, or the extents, decide."""
    found = Affine(form.const)
    for atom, coef in form.terms:
        found = found + _atom(atom, extents) * coef
    return found


def _atom(atom: Expr, extents: Extents) -> Affine:
    match atom:
        case Call(fn="floordiv" | "mod" as fn, args=(inside, Const(value=int(by)))) if by > 0:
            form = _simpler(Affine.from_expr(inside), extents)
            whole = Affine(0, tuple((a, c) for a, c in form.terms if c % by == 0))
            rest = form - whole
            ends = interval(rest, extents)
            if ends is not None and ends[0] // by == ends[1] // by:
                times = ends[0] // by
                if fn == "mod":
                    return rest - times * by
                return Affine(times, tuple((a, c // by) for a, c in whole.terms))
            left = Affine(0, ((Call(fn, (rest.to_expr(), Const(by))), 1),))
            return left if fn == "mod" else left + Affine(0, tuple((a, c // by) for a, c in whole.terms))
        case _:
            return Affine(0, ((atom, 1),))
