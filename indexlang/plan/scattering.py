"""Writes at computed positions: elements that data, or a table of positions, choose.

In: a target with computed axes, and the values over its indices. Out: a Scatter. The one rule: values that meet in an
element are brought together first, by counting or by sorting the elements once; then each element is written once.
"""

from __future__ import annotations

from math import prod

from ..program.ir import Const, indices_of
from .building import here
from .evaluation import Evaluation
from .kernels import Scatter
from .operators import SUMS, combining
from .places import View
from .quantities import Apply, Load, Position, Value
from .reads import admitted, positions
from .subscripts import subscribed
from .values import cast, edge, position_of
from .views import Row, Scope, plain
from .writes import Target


def scattered(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """The value over all free indices, brought to its elements."""
    b, op = stmt.b, stmt.op
    axes = here(target.order, scope)
    access, home = target.access, target.home
    moving = {i for axis in target.dynamic for i in indices_of(access.subscripts[axis])}
    shared = tuple(i for i in axes if i in moving)
    if all(set(indices_of(m)) <= set(shared) for m in stmt.outer):
        stmt.outer = ()  # refused points are left out, whatever their value is
    counts = stmt.value == Const(1) and not stmt.summed and not stmt.outer and op in SUMS
    rest = tuple(i for i in axes if i not in moving)
    marks = {axis: b.axis(home.shape[axis]) for axis in target.dynamic}
    rows: list[Row] = []
    for axis in range(len(home.shape)):
        row = plain(marks[axis]) if axis in marks else subscribed(b, access, axis).row
        assert row is not None
        rows.append(row)
    alone_there = all(span.whole for i, span in scope.items() if i in b.extents)
    alone = target.new and (op in SUMS or home.dtype.startswith("float")) and alone_there
    found = _table(target, marks, shared, scope)
    condition: Value | None = None
    if found is None:
        found, condition = _computed(target, marks, shared, scope)
    total = prod(home.shape[axis] for axis in target.dynamic)
    straight = not rest and target.dynamic == tuple(range(len(home.shape)))
    real = home.dtype.startswith("float") and not b.complex_step
    few = total <= b.limits.larger * prod(scope[i].n for i in shared) + b.limits.counted
    is_table = all(isinstance(at, Load) and at.place.buffer.role == "table" for _, at in found)
    placed = {v.index for _, v in found if isinstance(v, Position)}
    by = "count" if straight and op in SUMS and (counts or real) and few and not is_table else "join"
    value = None if counts and by == "count" else _value(stmt, target, scope)
    by = "apart" if value is not None and by == "join" and set(shared) <= placed else by
    b.run(View(home, tuple(rows)), combining(op), Scatter(found, value, shared, rest, condition, by, alone))


def contracted(stmt: Evaluation) -> bool:
    """Whether the value is a sum of products that a contraction makes."""
    admits = not stmt.inner or (stmt.admissible() and stmt.saves())
    sums = stmt.op in SUMS and bool(stmt.summed) and admits and stmt.contractible()
    return sums and len(stmt.terms()) == 1


def _value(stmt: Evaluation, target: Target, scope: Scope) -> Value:
    """The value over all free indices, in the dtype of the tensor."""
    if contracted(stmt):
        ((sign, term),) = stmt.terms()
        value = stmt.contracted(scope, term, None, here(target.order, scope))
        assert value is not None
        value = Apply("neg", (value,), value.dtype) if sign < 0 else value
    else:
        value = stmt.evaluate(scope)
    return cast(value, target.home.dtype)


def _table(
    target: Target, marks: dict[int, str], shared: tuple[str, ...], scope: Scope
) -> tuple[tuple[str, Value], ...] | None:
    """The positions of all points, where sizes alone say them."""
    b, found = target.b, list[tuple[str, Value]]()
    if b.masks or not all(scope[i].whole for i in shared):
        return None
    for axis, mark in marks.items():
        at = subscribed(b, target.access, axis)
        if at.row is None or not at.safe or at.is_padded:
            return None
        value = position_of(at.row)
        if at.boundary is not None:
            value = edge(at.boundary.kind, value, target.home.shape[axis])
        own = [i for i in shared if i in value.indices]
        found.append((mark, b.table("positions", own, value) if own else value))
    return tuple(found)


def _computed(
    target: Target, marks: dict[int, str], shared: tuple[str, ...], scope: Scope
) -> tuple[tuple[tuple[str, Value], ...], Value | None]:
    """The positions that data say, and the points that neither a mask nor a padding refuses."""
    b, found, conditions = target.b, list[tuple[str, Value]](), list[Value]()
    for axis, mark in marks.items():
        own = subscribed(b, target.access, axis)
        ends = (-1, 0) if own.row is None else own.row.interval(b.extents)
        if own.row is not None and own.safe and ends[0] >= 0 and ends[1] < target.home.shape[axis]:
            found.append((mark, position_of(own.row)))
            continue
        at, outside = positions(b, target.access, axis, subscribed(b, target.access, axis), shared, scope)
        found.append((mark, at))
        conditions += [Apply("not", (outside,), "bool")] if outside is not None else []
    there = admitted(b, b.masks, shared, scope)
    conditions += [there] if there is not None else []
    condition: Value | None = None
    for one in conditions:
        condition = one if condition is None else Apply("and", (condition, one), "bool")
    return tuple(found), condition
