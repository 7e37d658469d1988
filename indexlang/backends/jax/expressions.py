"""Expressions, conditions and accesses as arrays.

In: an expression, where it stands. Out: an `Arr`. The one rule: no position is read that lies outside of its axis: what
may leave it is read from a padded array, or brought inside and told.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ...errors import MeaningError, Problem, ShapeError
from ...plan.quantities import Apply as Applied
from ...plan.quantities import Number, Value
from ...plan.values import padding
from ...program.affine import Affine
from ...program.functions import FUNCTIONS
from ...program.ir import Access, Call, Const, Expr, Index, Size, indices_of, reads
from ...sizes.dtypes import computing, kind_of, promoted
from ...sizes.dtypes import kind as typed
from ...sizes.in_bounds import interval, numeric
from .functions import FORMS, SUPPORT, form_of
from .lines import Arr, number, union
from .scope import Around

_TRUTHS = ("and", "or", "not")
_FOLDED: Mapping[str, Callable[..., int | bool]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg, "eq": operator.eq,
    "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


def value_of(a: Around, expr: Expr) -> Arr:
    """An expression without embedded reductions."""
    match expr:
        case Const(value=value):
            return Arr(number(value), (), a.b.kind(expr), literal=True)
        case Size(tensor=tensor, axis=axis):
            return Arr(str(a.b.shapes[tensor][axis]), (), "int64", literal=True)
        case Index(name=name):
            return a.positions(name)
        case Access():
            return a.read(a, expr)
        case Call(fn=fn, args=args):
            return _applied(a, expr, fn, args)
        case _:
            raise AssertionError("embedded reductions are hoisted before")


def _applied(a: Around, expr: Call, fn: str, args: Sequence[Expr]) -> Arr:
    w, result = a.w, a.b.kind(expr)
    if fn == "where":
        condition = truth_of(a, args[0])
        values = [w.cast(value_of(a, x), result) for x in args[1:]]
        if all(v.literal for v in values):
            values[0] = w.solid(values[0])
        return called(a, FORMS[fn], [condition, *values], result)
    if fn in _TRUTHS:
        return called(a, FORMS[fn], [w.solid(truth_of(a, x)) for x in args], "bool")
    if fn == "pow" and (n := _whole(args[1])) is not None and kind_of(result) != "int":
        base = w.solid(w.cast(value_of(a, args[0]), result))
        return w.made(base, f"lax.integer_pow({base.code}, {n})", base.axes)
    kind = _argument(a, expr, fn, result)
    if fn == "pow" and kind_of(kind) == "int":
        _refuse_negative(a, args[1])
    given = [w.cast(value_of(a, x), kind) for x in args]
    if fn == "float":
        return given[0]
    if all(g.literal for g in given) and kind == "int64" and fn in _FOLDED:
        found = _FOLDED[fn](*(int(g.code.strip("()")) for g in given))
        if abs(found) < 1 << 31:
            return Arr(number(found), (), result, literal=True)
    if all(g.literal for g in given):
        given[0] = w.solid(given[0])
    return called(a, form_of(fn, kind_of(kind)), given, result)


def _refuse_negative(a: Around, exponent: Expr) -> None:
    """Refuse integers to powers that indices make negative. Errors: `ShapeError`."""
    if all(a.extents[i][0] >= 0 for i in indices_of(exponent)):
        return
    reach = interval(numeric(Affine.from_expr(exponent), a.b.shapes), a.extents)
    if reach is None or reach[0] < 0:
        rule = "an integer to a negative power is no integer"
        way = "write float(...) around the base"
        raise ShapeError(Problem("negative-power", rule, exponent.span, way_out=way))


def _argument(a: Around, expr: Call, fn: str, result: str) -> str:
    """The dtype in which the arguments of a function meet."""
    if FUNCTIONS[fn].result in ("bool", "int") or fn in ("floor", "ceil", "round"):
        meet = promoted(*(typed(x, a.b.known) for x in expr.args))
        return computing(meet.name)
    return result


def _whole(expr: Expr) -> int | None:
    """A whole exponent that is a number of the text."""
    match expr:
        case Const(value=value) if not isinstance(value, bool) and value == value // 1 and abs(value) <= 64:
            return int(value)
        case Call(fn="neg", args=(Const() as inner,)):
            found = _whole(inner)
            return None if found is None else -found
        case _:
            return None


def called(a: Around, form: str, given: Sequence[Arr], dtype: str) -> Arr:
    axes = union(a.order, given)
    for name in SUPPORT:
        if form.startswith(f"{name}(") or f" {name}(" in form:
            a.w.use(name)
    names = [a.w.beside(g, axes) for g in given]
    kind = a.w.kind(dtype) if "{kind}" in form else ""
    return Arr(a.w.let("v", form.format(*names, kind=kind)), axes, dtype)


# -- conditions ----------------------------------------------------------------------------------------


def truth_of(a: Around, expr: Expr) -> Arr:
    """A value as whether it differs from 0."""
    found = value_of(a, expr)
    if found.literal and found.dtype != "bool":
        found = a.w.solid(found)
    return found if found.dtype == "bool" else a.w.cast(found, "bool")


def mask_of(a: Around, mask: Expr) -> Arr:
    """A condition: what it reads is guarded by those that read nothing."""
    return truth_of(replace(a, masks=tuple(m for m in a.masks if not reads(m))), mask)


def conjunction(a: Around, masks: Sequence[Expr]) -> Arr | None:
    """All conditions as one; None for no condition."""
    found: Arr | None = None
    for mask in masks:
        one = mask_of(a, mask)
        if one.code == "True":
            continue
        found = one if found is None else called(a, FORMS["and"], [found, one], "bool")
    return found


def masked(a: Around, value: Arr, masks: Sequence[Expr], fill: str) -> Arr:
    """The value where the masks admit it, else what `fill` is code of."""
    condition = conjunction(a, masks)
    if condition is None:
        return value
    return called(a, FORMS["where"], [condition, a.w.solid(value), Arr(fill, (), value.dtype)], value.dtype)


# -- numbers of paddings -------------------------------------------------------------------------------


def fill_of(a: Around, expr: Expr, dtype: str) -> str:
    """What a pad puts around a tensor, as code of an array's dtype. Errors: `ShapeError`."""
    return _number(a, padding(a.b, expr, dtype))


def _number(a: Around, value: Value) -> str:
    match value:
        case Number(value=found):
            return number(found)
        case Applied(fn=fn, args=args):
            return form_of(fn, kind_of(value.dtype)).format(*(_number(a, x) for x in args))
        case _:
            rule = "the value of a pad is made of numbers"
            raise MeaningError(Problem("pad-value", rule, way_out="write a number"))
