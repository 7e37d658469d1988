"""The gradient of a running product, in one pass: what follows an element is summed while it is multiplied.

In: `x.grad[s] += y.grad[t] * prod[s2](x[s2]) where s <= t, s2 <= t, s != s2`. Out: its value over the free indices.

    before[s] = x[0] * ... * x[s-1]
    behind[s] = y.grad[s] + x[s+1] * behind[s+1]
    x.grad[s] = before[s] * behind[s]

The one rule: nothing is divided, so zeros do no harm; what stands behind a bound never enters what is read there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..program.ir import Expr, Reduce, Statement, reductions_of
from ..program.names import Renaming
from .building import here
from .evaluation import Evaluation
from .kernels import Fading, Map, Running, Take
from .pairs import Pairs
from .places import Part
from .quantities import Apply, Load, Number, Position, Value
from .reads import masked, value_of
from .rewrites.others import Recurrence, recurrence
from .values import cast
from .views import Scope, whole


def recurrence_of(stmt: Statement) -> Recurrence | None:
    """How a statement with a product of others inside is gone through; None for all others."""
    return None if isinstance(stmt.value, Reduce) or not reductions_of(stmt) else recurrence(stmt)


def read_by(found: Recurrence) -> list[Expr]:
    """What is read, said of the index that is gone along."""
    value, masks = _of_own(found)
    return [value, *masks, *found.given, *found.given_masks, *(f for f, _ in found.rest), *found.masks]


def _of_own(found: Recurrence) -> tuple[Expr, list[Expr]]:
    others = found.others
    moved = Renaming(indices={others.other: others.own})
    return moved.expr(found.value), [moved.expr(m) for m in others.masks]


def recurred(stmt: Evaluation, found: Recurrence, scope: Scope) -> Value:
    """The value over the free indices."""
    b, kind, others = stmt.b, stmt.compute, found.others
    along, upper = others.own, others.upper
    value, masks = _of_own(found)
    factor = _held(stmt, masked(b, cast(value_of(b, value, scope), kind), masks, scope, Number(1, kind)), scope)
    sooner = neighbour(stmt, factor, along, -1 if upper else 1, Number(1, kind), scope)
    before = b.part("before", sooner.place.mentioned, kind, scope)
    b.run(before, "=", Running("*=", sooner.place, along, not upper))
    given = _given(stmt, found, scope)
    if others.strict:
        given = neighbour(stmt, given, along, 1 if upper else -1, Number(0, kind), scope)
    admitted = admitted_at(stmt, found.given_masks, along, 1 if upper else -1, others.strict, scope)
    if admitted is not None:  # what nothing is added to is 0, whatever it would be multiplied by
        factor = _held(stmt, Apply("select", (admitted, factor, Number(0, kind)), kind), scope)
    axes = axes_at(stmt, factor.indices | given.indices, scope)
    behind = b.part("behind", axes, kind, scope)
    b.run(behind, "=", Fading(given.place, factor.place, along, upper))
    result: Value = Apply("mul", (Load(before, kind), Load(behind, kind)), kind)
    for part, below in found.rest:
        result = Apply("div" if below else "mul", (result, cast(value_of(b, part, scope), kind)), kind)
    result = masked(b, result, found.masks, scope, Number(0, kind))
    if admitted is not None:
        result = Apply("select", (admitted, result, Number(0, kind)), kind)
    return stmt.reduced(result, [i for i in stmt.summed if i not in (*found.summed, others.outer)])


def _given(stmt: Evaluation, found: Recurrence, scope: Scope) -> Load:
    """What stands at each bound, summed over what stands nowhere else."""
    b, kind = stmt.b, stmt.compute
    factors = [stmt.factor(f, scope) for f in found.given]
    kept = axes_at(stmt, frozenset(i for f in factors for i in f.indices if i not in found.summed), scope)
    value = Pairs(b, scope, kind).run(factors, kept, None) if factors else Number(1, kind)
    assert value is not None
    return _held(stmt, masked(b, value, found.given_masks, scope, Number(0, kind)), scope, found.others.own)


def axes_at(stmt: Evaluation, indices: frozenset[str], scope: Scope) -> list[str]:
    """Those of the indices that have an axis, in the statement's order."""
    return here([i for i in stmt.stmt.domain.indices if i in indices], scope)


def _held(stmt: Evaluation, value: Value, scope: Scope, along: str = "") -> Load:
    """A value in an array of its own, over an index at least."""
    return stmt.held(value, axes_at(stmt, value.indices | {along}, scope), scope)


def neighbour(stmt: Evaluation, held: Load, along: str, by: int, edge: Number, scope: Scope) -> Load:
    """What stands so many steps on; `edge` where nothing does."""
    b, kind = stmt.b, held.dtype
    lo, hi = b.extents[along]
    mark = b.axis(hi - lo)
    inner = {**scope, **whole({mark: b.extents[mark]})}
    at: Value = Apply("add", (Position(along), Number(by - lo, "int64")), "int64")
    at = Apply("min", (Apply("max", (at, Number(0, "int64")), "int64"), Number(hi - lo - 1, "int64")), "int64")
    assert isinstance(held.place, Part)
    source = replace(held.place, moved=((along, mark, 0, 1),))
    found = b.part("neighbour", held.place.mentioned, kind, inner)
    b.run(found, "=", Take(source, ((mark, b.table("positions", [along], at)),)))
    b.run(found, "=", Map(Apply("select", (at_edge(stmt, along, by), edge, Load(found, kind)), kind)))
    return Load(found, kind)


def at_edge(stmt: Evaluation, along: str, by: int) -> Value:
    """Where nothing stands so many steps on."""
    lo, hi = stmt.b.extents[along]
    at = Apply("add", (Position(along), Number(by, "int64")), "int64")
    first = Apply("lt", (at, Number(lo, "int64")), "bool")
    return stmt.b.table("nothing", [along], first if by < 0 else Apply("ge", (at, Number(hi, "int64")), "bool"))


def admitted_at(
    stmt: Evaluation, masks: Sequence[Expr], along: str, step: int, strict: bool, scope: Scope
) -> Value | None:
    """Where some point is admitted of those that stand behind (`step` < 0) or ahead; None if that is everywhere."""
    b, zero = stmt.b, Number(0, "float32")
    if not masks:
        return Apply("not", (at_edge(stmt, along, step),), "bool") if strict else None
    said = masked(b, Number(1, "float32"), masks, scope, zero)
    held, found = (b.part("said", axes_at(stmt, said.indices | {along}, scope), "float32", scope) for _ in range(2))
    b.run(held, "=", Map(said))
    b.run(found, "=", Running("max=", held, along, step > 0))
    load = Load(found, "float32")
    load = neighbour(stmt, load, along, step, zero, scope) if strict else load
    return Apply("gt", (load, zero), "bool")
