"""What conditions say: their parts, their negation, what they are at a point, and when text takes one for a range.

In: a condition, as a mask or in a `where`. Out: its parts, the comparisons that all hold where it does, and the forms
that are not negative there; its negation; its truth at a point; the condition so that it stays a mask. The one rule:
only comparisons of integers that read nothing have margins, or an opposite: a number may be nan.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence

from .affine import Affine
from .ir import Access, Call, Const, Expr, Index, Size, Statement, primal_of, walk

COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
TRUTHS = COMPARISONS | {"and", "or", "not"}
_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
_ORDERS = ("lt", "le", "gt", "ge")


def conjuncts(mask: Expr) -> Iterator[Expr]:
    """The conditions that a condition is all of."""
    match mask:
        case Call(fn="and", args=args):
            for a in args:
                yield from conjuncts(a)
        case _:
            yield mask


def comparisons(mask: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The comparisons that all hold where a mask of integers does: (fn, left, right)."""
    for part in conjuncts(mask):
        match part:
            case Call(fn="lt" | "le" | "gt" | "ge" | "eq" as fn, args=(a, b)):
                yield fn, a, b
            case Call(fn="not", args=(Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(a, b)),)):
                yield _OPPOSITE[fn], a, b
            case _:
                pass


def margins(mask: Expr) -> Iterator[Affine]:
    """Forms that are not negative where a mask holds, of its comparisons of integers."""
    for fn, a, b in comparisons(mask):
        if not (is_integer(a) and is_integer(b)):
            continue
        difference = Affine.from_expr(b) - Affine.from_expr(a)
        if fn in ("gt", "ge"):
            difference = -difference
        yield difference - 1 if fn in ("lt", "gt") else difference
        if fn == "eq":
            yield -difference


def is_integer(expr: Expr) -> bool:
    """Whether an expression reads nothing and is made of integers by integer arithmetic."""
    allowed = ("add", "sub", "mul", "neg", "floordiv", "mod", "min", "max", "int")
    return all(
        isinstance(p, Index | Size) or (isinstance(p, Const) and type(p.value) is int)
        or (isinstance(p, Call) and p.fn in allowed)
        for p in walk(expr)
    )  # fmt: skip


# -- negation ----------------------------------------------------------------------------------------


def negation(condition: Expr) -> Expr:
    """What holds where a condition does not, without `not` where that can be said of a mask."""
    match condition:
        case Call(fn="not", args=(inner,)) if isinstance(inner, Call) and inner.fn in TRUTHS:
            return inner
        case Call(fn="eq" | "ne" as fn, args=args):  # also right for nan
            return Call(_OPPOSITE[fn], args)
        case Call(fn=fn, args=(a, b)) if fn in _ORDERS and is_integer(a) and is_integer(b):
            return as_mask(Call(_OPPOSITE[fn], (a, b)))
        case _:
            return Call("not", (condition,))


# -- ranges ------------------------------------------------------------------------------------------


def is_static(expr: Expr) -> bool:
    """Whether an expression has neither indices nor values of tensors."""
    return all(isinstance(p, Const | Size | Call) for p in walk(expr))


def is_range(condition: Expr) -> bool:
    """Whether text takes a condition for a range, which is authoritative: a bare index compared with a bound."""
    match condition:
        case Call(fn="lt" | "le" | "gt" | "ge", args=(a, b)):
            return (isinstance(a, Index) and is_static(b)) or (isinstance(b, Index) and is_static(a))
        case _:
            return False


def as_mask(condition: Expr) -> Expr:
    """The condition so that text does not take it for a range."""
    if isinstance(condition, Call) and is_range(condition):
        return Call("not", (Call(_OPPOSITE[condition.fn], condition.args),))
    return condition


def as_factor(conditions: Sequence[Expr]) -> Call:
    """1 where all conditions hold, else 0."""
    first, *rest = conditions
    for one in rest:
        first = Call("and", (first, one))
    return Call("where", (first, Const(1), Const(0)))


def said_by(factor: Expr) -> tuple[Expr, ...]:
    """The conditions of a factor that is 1 where they hold, else 0."""
    match factor:
        case Call(fn="where", args=(condition, Const(value=1), Const(value=0))):
            return tuple(conjuncts(condition))
        case _:
            return ()


# -- at a point --------------------------------------------------------------------------------------

_VALUES: Mapping[str, Callable[..., int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "min": min,
    "max": max,
    "int": int,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "not": operator.not_,
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
}


def value_at(expr: Expr, point: Mapping[str, int], sizes: Mapping[str, Sequence[int]] | None = None) -> int | None:
    """An integer or a truth at a point; None where more than indices and the sizes given decide."""
    match expr:
        case Const(value=value):
            return int(value) if isinstance(value, int) else None
        case Index(name=name):
            return point.get(name)
        case Size(tensor=tensor, axis=axis):
            return None if sizes is None or tensor not in sizes else sizes[tensor][axis]
        case Call(fn=fn, args=args) if fn in _VALUES:
            numbers = [value_at(a, point, sizes) for a in args]
            known = [n for n in numbers if n is not None]
            if len(known) < len(numbers) or (fn in ("floordiv", "mod") and not known[1]):
                return None
            return int(_VALUES[fn](*known))
        case _:
            return None


def decided(condition: Expr) -> Expr:
    """The condition without the comparisons that are the same at every point; True or False if none is left."""
    match condition:
        case Call(fn="and" | "or" as fn, args=args):
            parts = [decided(a) for a in args]
            left = [p for p in parts if not isinstance(p, Const)]
            if any(p.value == (fn == "or") for p in parts if isinstance(p, Const)):
                return Const(fn == "or")
            found = left[0] if left else Const(fn == "and")
            for part in left[1:]:
                found = Call(fn, (found, part))
            return found
        case Call(fn="not", args=(inner,)):
            found = decided(inner)
            return Const(not found.value) if isinstance(found, Const) else condition
        case Call(fn=fn, args=(a, b)) if fn in COMPARISONS and is_integer(a) and is_integer(b):
            same = fn in ("eq", "le", "ge") if a == b else value_at(condition, {})
            return condition if same is None else Const(bool(same))
        case _:
            return condition


# -- guards ------------------------------------------------------------------------------------------


def guard_of(mask: Expr, stmt: Statement) -> Expr | None:
    """The factor of a derived statement, a cotangent in it, that a mask says is not zero; None for other masks."""
    match mask:
        case Call(fn="ne", args=(factor, Const(value=0))) if primal_of(stmt.target.tensor) is not None:
            gradients = (p for p in walk(factor) if isinstance(p, Access) and primal_of(p.tensor) is not None)
            return factor if any(gradients) else None
        case _:
            return None
