"""Products with matrices that data choose: one for each matrix that occurs, not a copy of it for each point.

In: a statement `y[b,o] = W[a[b],o,i] * x[b,i]`, or its gradient `W.grad[a[b],o,i] += y.grad[b,o] * x[b,i]`. Out: a
Grouped. The one rule: the points of a group are rows of one product, and each point is in one group.

Outside of a padded axis, `W[pad(a[b]),o,i]`, points choose one matrix more, the padding; nothing is added there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..program.algebra import factors_of
from ..program.ir import Access, Call, Expr, Index, indices_of
from .building import here
from .evaluation import Evaluation
from .extending import inside, longer
from .kernels import Grouped, Map, Roles
from .operators import SUMS
from .places import Place, View
from .quantities import Apply, Load, Number, Value
from .reads import admitted, positions, value_of
from .subscripts import subscribed
from .values import cast
from .views import Scope, plain
from .writes import Target


@dataclass(frozen=True)
class Grouping:
    """A product in groups: the access with the position, its axis, the factors on each side, what each index is for."""

    access: Access
    axis: int
    left: tuple[Expr, ...]  # none if the access is the left side
    right: tuple[Expr, ...]
    points: tuple[str, ...]
    roles: Roles


def grouping_of(stmt: Evaluation, target: Target) -> Grouping | None:
    """How the statement is a product in groups, if it is one and that pays."""
    b, plainly = stmt.b, stmt.root is None and stmt.op in SUMS and stmt.compute != "bool"
    if not plainly or target.taps or target.folds or len(terms := stmt.terms()) != 1:
        return None
    sign, term = terms[0]
    found = _added(stmt, target, term) if target.dynamic and sign > 0 else None
    if not target.dynamic:
        core, _, _ = stmt.split(term)
        tried = (_chosen(stmt, f, core) for f in core if isinstance(f, Access))
        found = next((g for g in tried if g is not None), None)
    if found is None:
        return None
    sides = [{i for f in side for i in indices_of(f)} for side in (found.left, found.right) if found.left]
    if any(not set(indices_of(m)) <= set(found.points).intersection(*sides) for m in b.masks):
        return None
    matrix = (i for s in found.access.subscripts if isinstance(s, Index) for i in indices_of(s))
    points = prod(stmt.sizes[i] for i in found.points)
    groups = min(points, b.shapes[found.access.tensor][found.axis])
    return found if points * prod(stmt.sizes[i] for i in matrix) >= b.limits.grouped * groups else None


def _position(stmt: Evaluation, access: Access) -> tuple[int, tuple[str, ...], tuple[str, ...]] | None:
    """The one axis with a computed position, its indices, and the indices of the other axes, which stand alone."""
    known = [subscribed(stmt.b, access, axis) for axis in range(len(access.subscripts))]
    computed = [k for k, at in enumerate(known) if at.row is None]
    own = [s.name for s in access.subscripts if isinstance(s, Index)]
    if len(computed) != 1 or len(own) != len(known) - 1 or len(set(own)) < len(own):
        return None
    (axis,) = computed
    points = indices_of(access.subscripts[axis])
    alone = not set(points) & set(own) and points and (stmt.b.shapes[access.tensor][axis] or not known[axis].is_padded)
    return (axis, points, tuple(own)) if alone else None


def _chosen(stmt: Evaluation, access: Access, core: Sequence[Expr]) -> Grouping | None:
    """A factor whose position data say, the others with its points."""
    found, kind = _position(stmt, access), stmt.b.buffers[access.tensor].dtype
    rest = tuple(f for f in core if f is not access)
    if found is None or kind != stmt.compute or len(rest) != len(core) - 1:
        return None
    axis, points, own = found
    others = {i for f in rest for i in indices_of(f)}
    rows = tuple(i for i in own if i in stmt.free)
    summed = tuple(i for i in own if i not in stmt.free)
    ends = {i: stmt.b.extents[i][0] for i in own}
    good = bool(others & set(points)) and not others & set(rows) and set(stmt.summed) <= {*summed, *points}
    if not (rows and summed and good and set(summed) <= others) or any(ends.values()):
        return None
    columns = (*points, *(i for i in stmt.free if i in others and i not in points))
    return Grouping(access, axis, (), rest, points, Roles((), rows, columns, summed))


def _added(stmt: Evaluation, target: Target, term: Expr) -> Grouping | None:
    """Factors that are multiplied into matrices of the target, whose position data say."""
    found = _position(stmt, target.access)
    factors = list(factors_of(term, lambda call: call.fn != "div"))
    if found is None or target.home.dtype != stmt.compute or any(below for _, below in factors):
        return None
    axis, points, own = found
    parts = [f for f, _ in factors]
    left = set(own[:1])
    for _ in parts:  # what shares an index of the matrix stands on one side
        left = left.union(*(set(indices_of(f)) & set(own) for f in parts if left & set(indices_of(f))))
    first = tuple(f for f in parts if left & set(indices_of(f)) or not set(own) & set(indices_of(f)))
    second = tuple(f for f in parts if f not in first)
    columns = tuple(i for i in own if i not in left)
    shown = {i for f in parts for i in indices_of(f)}
    if not columns or not first or not second or not {*own, *points, *stmt.summed} <= shown:
        return None
    summed = (*points, *(i for i in stmt.summed if i not in points))
    rows = tuple(i for i in own if i in left)
    return Grouping(target.access, axis, first, second, points, Roles((), rows, columns, summed))


def grouped(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """The products into the target."""
    b, found = stmt.b, grouping_of(stmt, target)
    assert found is not None
    size = b.shapes[found.access.tensor][found.axis]
    mark = b.axis(size)
    said = subscribed(b, found.access, found.axis)
    at, beyond = positions(b, found.access, found.axis, said, found.points, scope)
    condition = admitted(b, b.masks, found.points, scope)
    right = _side(stmt, found.right, found.points, scope).place
    if found.left:
        if beyond is not None:  # what is written into the padding is dropped
            there = Apply("not", (beyond,), "bool")
            condition = there if condition is None else Apply("and", (there, condition), "bool")
        left = _side(stmt, found.left, found.points, scope).place
        if condition is not None:  # what is refused is multiplied as well, 0 by 0
            left, right = (_cleared(stmt, x, condition, scope) for x in (left, right))
        rows = tuple(
            plain(mark) if k == found.axis else subscribed(b, found.access, k).row or plain(mark)
            for k in range(len(found.access.subscripts))
        )
        kernel = Grouped(left, right, found.roles, mark, at, found.points)
        b.run(View(target.home, rows), "+=", kernel)
        return
    buffer, known = inside(b, found.access)
    if beyond is not None and said.boundary is not None:  # the padding is a matrix like others, behind them
        buffer, mark = longer(b, buffer, found.axis, said.boundary.value), b.axis(size + 1)
        at = Apply("select", (beyond, Number(size, "int64"), at), "int64")
    matrices = View(
        buffer, tuple(plain(mark) if k == found.axis else a.row or plain(mark) for k, a in enumerate(known))
    )
    kernel = Grouped(matrices, right, found.roles, mark, at, found.points)
    ((sign, term),) = stmt.terms()
    _, outside, divisors = stmt.split(term)
    gone = [i for i in found.points if i in stmt.summed]
    if (
        sign > 0
        and not gone
        and target.overwrites
        and target.buffer.dtype == stmt.compute
        and not (outside or divisors)
    ):
        b.run(target.view, "=", kernel)
        if condition is not None:
            b.run(target.view, "=", Map(_chosen_rows(Load(target.view, stmt.compute), condition)))
        return
    part = b.part("part", (*found.roles.columns, *found.roles.rows), stmt.compute, scope)
    b.run(part, "=", kernel)
    value: Value = Load(part, stmt.compute)
    if gone:
        value = stmt.reduced(value if condition is None else _chosen_rows(value, condition), gone)
    for fn, factor in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
        value = Apply(fn, (value, value_of(b, factor, scope)), stmt.compute)
    if gone:
        value = stmt.masked_outer(value, scope)
    elif condition is not None:
        value = _chosen_rows(value, condition)
    target.put(target.view, value, sign < 0)


def _chosen_rows(value: Value, condition: Value) -> Value:
    """The value, 0 at the points that masks refuse."""
    return Apply("select", (condition, value, Number(0, value.dtype)), value.dtype)


def _cleared(stmt: Evaluation, place: Place, condition: Value, scope: Scope) -> Place:
    """A side that is 0 at the points that masks refuse."""
    own = here(place.mentioned, scope)
    return stmt.held(_chosen_rows(Load(place, stmt.compute), condition), own, scope, "admitted").place


def _side(stmt: Evaluation, factors: Sequence[Expr], points: Sequence[str], scope: Scope) -> Load:
    """The product of factors, as elements: those of a point behind each other, as they are taken."""
    first, *rest = factors
    for factor in rest:
        first = Call("mul", (first, factor))
    if not rest:
        return stmt.factor(first, scope)
    own = [i for i in stmt.stmt.domain.indices if i in indices_of(first)]
    own.sort(key=lambda i: i not in points)
    return stmt.held(cast(value_of(stmt.b, first, scope), stmt.compute), here(own, scope), scope)
