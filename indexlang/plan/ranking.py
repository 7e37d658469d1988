"""A reduction of what is not greater, as data say: put in order once, a running reduction, read where each bound ranks.

In: a statement under a comparison of data that has the reduced index on one side only:

    y[i,d] = w[j,d] where x[j] <= z[i]

Out: its value over the free indices. The one rule: what the comparison refuses never enters what is read, so infinities
and nan stay where the loops have them; a nan among what is compared admits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeGuard

from ..program.conditions import conjuncts
from ..program.ir import Call, Const, Expr, Index, indices_of, reads
from .building import axes_of, here
from .costs import SORTING
from .evaluation import Evaluation
from .kernels import Map, Order, Rank, Running, Take
from .operators import SUMS
from .places import Part, Place
from .prices import price
from .quantities import Apply, Load, Number, Value
from .reads import masked, value_of
from .scanning import split
from .values import cast
from .views import Scope, whole

POSITIONS = {"int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"}  # what positions can be compared with
_TURNED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


@dataclass(frozen=True)
class Ranking:
    """`key` of the reduced index compared with `bound` that lacks it: `fn` is lt, le, gt or ge. `own` are the masks of
    what is reduced alone.
    """

    index: str
    fn: str
    key: Expr
    bound: Expr
    own: tuple[Expr, ...]

    @property
    def upper(self) -> bool:
        return self.fn in ("lt", "le")

    @property
    def is_position(self) -> bool:
        """Whether positions are compared, which are in order."""
        return isinstance(self.key, Index)

    def batch(self) -> list[str]:
        """The indices for each value of which there is an order of its own."""
        return [i for i in indices_of(self.key) if i != self.index]


def ranking_of(stmt: Evaluation) -> Ranking | None:
    """The comparison by which the statement is a running reduction, where that costs least."""
    b = stmt.b
    if stmt.root is not None or stmt.compute == "bool" or b.complex_step or len(stmt.summed) == 0:
        return None
    data = [c for c in stmt.conditions() if _compares(c)]
    if not data or any(stmt.sizes[i] <= 0 for i in stmt.sizes):
        return None
    core, _, _ = split_in_order(stmt)
    value = {i for f in core for i in indices_of(f)}
    for condition in data:
        found = _ranking(stmt, condition, value)
        if found is not None and _cost(stmt, found, value) < price(stmt.stmt, b.extents, b.limits, b.shapes):
            return found
    return None


def _compares(condition: Expr) -> bool:
    return isinstance(condition, Call) and condition.fn in _TURNED and reads(condition)


def split_in_order(stmt: Evaluation) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The value as in a scan; what lacks all that is summed is counted."""
    core, outside, divisors = split(stmt)
    if stmt.op in SUMS and not set(stmt.summed) & {i for f in core for i in indices_of(f)}:
        return [Const(1)], [*core, *outside], divisors
    return core, outside, divisors


def _ranking(stmt: Evaluation, condition: Expr, value: set[str]) -> Ranking | None:
    assert isinstance(condition, Call)
    left, right = condition.args
    for fn, key, bound in ((condition.fn, left, right), (_TURNED[condition.fn], right, left)):
        along = [i for i in stmt.summed if i in indices_of(key)]
        if len(along) != 1 or set(stmt.summed) & set(indices_of(bound)) or not indices_of(bound):
            continue
        kinds = {stmt.b.kind(key), stmt.b.kind(bound)}
        if isinstance(key, Index) and kinds <= POSITIONS:
            kinds = {"int64"}
        reduced = value | set(indices_of(key))
        own = tuple(p for m in stmt.inner for p in conjuncts(m) if p != condition)
        alone = all(set(indices_of(p)) <= reduced for p in own)
        others = set(indices_of(bound)) - set(indices_of(key))
        if len(kinds) > 1 or not kinds.isdisjoint(("bool", "complex64", "complex128")) or not alone:
            continue
        if not set(stmt.summed) <= reduced or others & value or not others:
            continue
        return Ranking(along[0], fn, key, bound, own)
    return None


def _cost(stmt: Evaluation, found: Ranking, value: set[str]) -> int:
    """Multiply-adds of what is put in order, run through, and looked up."""
    limits = stmt.b.limits

    def points(indices: set[str]) -> int:
        return prod(stmt.sizes[i] for i in indices)

    keys = set(indices_of(found.key))
    each = 1 if found.is_position else SORTING
    elements = each * (points(keys) + points({*indices_of(found.bound), *found.batch()}))
    elements += 6 * points(value | keys) + 4 * points(set(stmt.free))
    return limits.element * elements + 8 * limits.call * points(set(found.batch()))


def batches(stmt: Evaluation) -> list[tuple[str, int]]:
    """Loops over what has an order of its own; told."""
    found = ranking_of(stmt)
    assert found is not None
    stmt.notes += [f"an order for each {i}" for i in found.batch()]
    return [(i, 0) for i in found.batch()]


def ranked(stmt: Evaluation, scope: Scope) -> Value:
    """The value over the free indices, in a scope with one value of each index of the batch."""
    b, found = stmt.b, ranking_of(stmt)
    assert found is not None
    core, outside, divisors = split_in_order(stmt)
    lo, hi = b.extents[found.index]
    values = _values(stmt, found, core, scope)
    if found.is_position:  # these are in order
        running = b.part("running", axes_of(values, scope), stmt.compute, scope)
        b.run(running, "=", Running(stmt.op, values, found.index, not found.upper))
        result, nothing = _read(stmt, found, None, running, found.index, scope)
        return _finished(stmt, result, nothing, outside, divisors, scope)
    rank = b.axis(hi - lo)
    scope = {**scope, **whole({rank: b.extents[rank]})}
    key = _place(stmt, value_of(b, found.key, scope), [found.index], scope)
    kind = key.buffer.dtype
    order = b.part("order", [rank], "int64", scope)
    b.run(order, "=", Order(key, rank))
    ascending = b.part("ascending", [rank], kind, scope)
    b.run(ascending, "=", Take(key, ((found.index, Load(order, "int64")),)))
    axes = [rank if i == found.index else i for i in axes_of(values, scope)]
    in_order = b.part("in order", axes, values.buffer.dtype, scope)
    b.run(in_order, "=", Take(values, ((found.index, Load(order, "int64")),)))
    running = b.part("running", axes, stmt.compute, scope)
    b.run(running, "=", Running(stmt.op, in_order, rank, not found.upper))
    result, nothing = _read(stmt, found, ascending, running, rank, scope)
    return _finished(stmt, result, nothing, outside, divisors, scope)


def _finished(
    stmt: Evaluation, result: Value, nothing: Value, outside: Sequence[Expr], divisors: Sequence[Expr], scope: Scope
) -> Value:
    """What is read, times what the sum has waited for, where something is within the bounds."""
    b = stmt.b
    for fn, part in [("mul", f) for f in outside if f != Const(1)] + [("div", d) for d in divisors]:
        result = Apply(fn, (result, cast(value_of(b, part, scope), stmt.compute)), stmt.compute)
    return stmt.masked_outer(Apply("select", (nothing, stmt.identity, result), result.dtype), scope)


def _place(stmt: Evaluation, value: Value, axes: Sequence[str], scope: Scope) -> Place:
    """A value as an array of just these axes."""
    if _is_place(value, value.dtype) and set(axes_of(value.place, scope)) == set(axes):
        return value.place
    part = stmt.b.part("compared", axes, value.dtype, scope)
    stmt.b.run(part, "=", Map(value))
    return part


def _is_place(value: Value, dtype: str) -> TypeGuard[Load]:
    """Whether a value is elements as they lie, in a type."""
    return isinstance(value, Load) and value.dtype == value.place.buffer.dtype == dtype and not value.at


def _values(stmt: Evaluation, found: Ranking, core: Sequence[Expr], scope: Scope) -> Place:
    """What is gone along: over its own indices, less the other reduced ones."""
    b = stmt.b
    value = cast(value_of(b, core[0], scope), stmt.compute)
    for factor in core[1:]:
        value = Apply("mul", (value, value_of(b, factor, scope)), stmt.compute)
    value = masked(b, value, _own(stmt, found), scope, stmt.identity)
    every = stmt.in_memory(list(dict.fromkeys((*stmt.stmt.domain.indices, *stmt.summed))))
    axes = [i for i in here(every, scope) if i in {*value.indices, found.index}]
    kept = [i for i in axes if i not in stmt.summed or i == found.index]
    if _is_place(value, stmt.compute) and set(kept) == set(axes) == set(here(value.indices, scope)):
        return value.place
    return stmt.held(stmt.reduced(value, [i for i in axes if i not in kept]), kept, scope).place


def _own(stmt: Evaluation, found: Ranking) -> tuple[Expr, ...]:
    """The masks of what is reduced; from above, a nan that is compared stands in front of all others."""
    if found.upper or not stmt.b.kind(found.key).startswith("float"):
        return found.own
    return (*found.own, Call("eq", (found.key, found.key)))


def _read(
    stmt: Evaluation, found: Ranking, ascending: Part | None, running: Part, rank: str, scope: Scope
) -> tuple[Value, Value]:
    """The running values at the bounds, and where nothing is within them."""
    b = stmt.b
    bound = value_of(b, found.bound, scope)
    order = here([i for i in stmt.stmt.domain.indices if i in bound.indices], scope)
    count = b.part("count", order, "int64", scope)
    lo, hi = b.extents[rank]
    n, number = hi - lo, Load(count, "int64")
    if ascending is not None:
        b.run(count, "=", Rank(ascending, bound, found.fn in ("le", "gt")))
    else:  # how many of lo..hi-1, whatever integers wrap: the bound is brought between the ends first
        first = Number(lo + (found.fn not in ("le", "gt")), "int64")
        held = Apply("max", (cast(bound, "int64"), Number(lo - 1, "int64")), "int64")
        held = Apply("min", (held, Number(hi, "int64")), "int64")
        least = Apply("add", (Apply("sub", (held, first), "int64"), Number(1, "int64")), "int64")
        most = Apply("min", (Apply("max", (least, Number(0, "int64")), "int64"), Number(n, "int64")), "int64")
        b.run(count, "=", Map(most))
    at: Value
    if found.upper:
        nothing: Value = Apply("eq", (number, Number(0, "int64")), "bool")
        at = Apply("max", (Apply("sub", (number, Number(1, "int64")), "int64"), Number(0, "int64")), "int64")
    else:
        nothing = Apply("eq", (number, Number(n, "int64")), "bool")
        at = Apply("min", (number, Number(n - 1, "int64")), "int64")
    if bound.dtype.startswith("float"):
        nothing = Apply("or", (nothing, Apply("ne", (bound, bound), "bool")), "bool")
    indices = [i for axis in running.indices for i in (order if axis == rank else [axis])]
    ends = b.part("ends", indices, running.buffer.dtype, scope)
    b.run(ends, "=", Take(running, ((rank, at),)))
    return Load(ends, ends.buffer.dtype), nothing
