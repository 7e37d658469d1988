"""What conditions say: the comparisons of a mask, its margins, and a condition so that it stays one.

In: a mask. Out: its conjuncts; the forms that are not negative where it holds. The one rule: only comparisons of
integers that read nothing have margins.
"""

from __future__ import annotations

from collections.abc import Iterator

from .affine import Affine
from .derivatives import is_constant
from .ir import Call, Const, Expr, Index, Size, indices_of, reads, walk

_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


def conjuncts(mask: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The comparisons that all hold where a mask does: (fn, left, right)."""
    match mask:
        case Call(fn="and", args=args):
            for a in args:
                yield from conjuncts(a)
        case Call(fn="lt" | "le" | "gt" | "ge" | "eq" as fn, args=(a, b)):
            yield fn, a, b
        case Call(fn="not", args=(Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(a, b)),)):
            yield _OPPOSITE[fn], a, b
        case _:
            return


def margins(mask: Expr) -> Iterator[Affine]:
    """Forms that are not negative where a mask holds, of its comparisons of integers."""
    for fn, a, b in conjuncts(mask):
        if reads(a) or reads(b) or not (is_integer(a) and is_integer(b)):
            continue
        difference = Affine.from_expr(b) - Affine.from_expr(a)
        if fn in ("gt", "ge"):
            difference = -difference
        yield difference - 1 if fn in ("lt", "gt") else difference
        if fn == "eq":
            yield -difference


def is_integer(expr: Expr) -> bool:
    """Whether an expression that reads nothing is made of integers by integer arithmetic."""
    allowed = ("add", "sub", "mul", "neg", "floordiv", "mod", "min", "max", "int")
    return all(
        isinstance(p, Index | Size) or (isinstance(p, Const) and type(p.value) is int)
        or (isinstance(p, Call) and p.fn in allowed)
        for p in walk(expr)
    )  # fmt: skip


def as_mask(condition: Expr) -> Expr:
    """The condition so that text does not take it for a range, which would be authoritative."""
    match condition:
        case Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(a, b)) if _is_range(a, b) or _is_range(b, a):
            return Call("not", (Call(_OPPOSITE[fn], (a, b)),))
        case _:
            return condition


def _is_range(index: Expr, bound: Expr) -> bool:
    return isinstance(index, Index) and is_constant(bound) and not indices_of(bound)
