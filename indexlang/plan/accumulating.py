"""Products up to a bound as a state that grows block by block: linear attention.

In: `y[t,e] = q[t,d] * k[s,d] * v[s,e] where s <= t`. Out: steps. For each block of t, q times the sum of k v before it,
and the square of the block itself under the mask; then the block's k v are added to the sum. The one rule: what stands
behind a bound is never in the state that a point reads, so inf and nan stay where the loops have them.

(Katharopoulos et al., "Transformers are RNNs", 2020; in blocks: Hua et al., "Transformer quality in linear time", 2022)
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from ..program.ir import indices_of
from .admitting import Admitting
from .evaluation import Evaluation
from .kernels import Map
from .order import best_order
from .pairs import Pairs
from .places import Part
from .plan import Make
from .quantities import Apply, Load, Number, Reach, Value
from .reads import value_of
from .tiles import Bound, bounds_of
from .views import Row, Scope, plain
from .writes import Target


@dataclass(frozen=True)
class Accumulation:
    """Blocks of `by` values of `outer`, the last one first if `backwards`; which factors go with it and with inner."""

    outer: str
    inner: str
    by: int
    backwards: bool
    reading: tuple[int, ...]
    adding: tuple[int, ...]
    state: tuple[str, ...]


def accumulation_of(stmt: Evaluation, target: Target) -> Accumulation | None:
    """How a statement is a state that grows, where that costs less than its triangle."""
    conditions = stmt.conditions()
    if len(conditions) != 1 or stmt.outer or target.taps or target.dynamic or not stmt.is_float:
        return None
    if not stmt.admissible() or len(terms := stmt.terms()) != 1:
        return None
    core, _, _ = stmt.split(terms[0][1])
    groups = [set(indices_of(f)) for f in core]
    found = [b for b in bounds_of(conditions[0], stmt.summed, stmt.b.shapes)]
    if len(found) != 1 or (ends := _ends(stmt, found[0])) is None:
        return None
    outer, inner, backwards = ends
    if any({outer, inner} <= g for g in groups):
        return None
    reading = tuple(k for k, g in enumerate(groups) if outer in g)
    adding = tuple(k for k, g in enumerate(groups) if outer not in g)
    wanted = set(stmt.free).union(*(groups[k] for k in reading))
    held = {i for k in adding for i in groups[k]} - {inner}
    lost = {i for k in reading for i in groups[k]} - wanted
    if not reading or not any(inner in groups[k] for k in adding) or lost:
        return None
    state = tuple(i for i in stmt.stmt.domain.indices if i in held & wanted)
    by = _block(stmt, [groups[k] for k in reading], [groups[k] for k in adding], state, outer, inner)
    return None if by is None else Accumulation(outer, inner, by, backwards, reading, adding, state)


def _ends(stmt: Evaluation, bound: Bound) -> tuple[str, str, bool] | None:
    """The free index, the summed one, and whether it is bounded from below, where they run alike."""
    match bound.form.row:
        case Row(const, ((outer, step),)) if const in (0, -1) and not bound.form.quotients:
            same = stmt.b.extents[outer] == stmt.b.extents[bound.index]
            plainly = bound.by == bound.block == 1 and bound.shift == 0 and outer in stmt.free
            if plainly and same and step == (1 if bound.upper else -1):
                return outer, bound.index, not bound.upper
    return None


def _block(
    stmt: Evaluation,
    reading: list[set[str]],
    adding: list[set[str]],
    state: Iterable[str],
    outer: str,
    inner: str,
) -> int | None:
    """The size of the blocks; None if the triangle by itself costs less."""
    limits, sizes = stmt.b.limits, stmt.sizes
    n = sizes[outer]
    whole = stmt.order(stmt.terms()[0][1]).cost
    kept = list(state)
    state_cost = best_order([*map(sorted, adding)], (), kept, sizes, limits).cost
    read_cost = best_order([*map(sorted, reading), kept], (), stmt.free, sizes, limits).cost
    best: int | None = None
    least = 2 * whole // 5  # of a triangle, half is needed
    for by in (limits.tile << k for k in range(1, 5)):
        if by >= n:
            break
        cost = state_cost + read_cost + whole * by // n + -(-n // by) * 2 * limits.calls * limits.call
        if cost < least:
            best, least = by, cost
    return best


def accumulated(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """Plan the blocks."""
    found = accumulation_of(stmt, target)
    assert found is not None
    b, kind = stmt.b, stmt.compute
    ((sign, term),) = stmt.terms()
    core, outside, divisors = stmt.split(term)
    (mask,) = stmt.conditions()
    lo, hi = b.extents[found.outer]
    place = target.view
    order = [i for i in dict.fromkeys((*place.mentioned, *stmt.free)) if not scope[i].tap]
    kept = [i for i in found.state if not scope[i].tap]
    state = b.part("state", kept, kind, scope)
    b.run(state, "=", Map(Number(0, kind)))
    stmt.notes.append(f"sums along {found.inner}, {found.by} {found.outer} at a time")
    with ExitStack() as stack:
        block = stack.enter_context(b.loop(scope, found.outer, found.by, "backwards" if found.backwards else "serial"))
        reading = [stmt.factor(core[k], block) for k in found.reading]
        present = {i for k in (*found.reading, *found.adding) for i in indices_of(core[k])}
        out = [i for i in order if i in present]
        total = b.part("total", out, kind, block)
        _before(stmt, found, reading, state, total, block, (lo, hi))
        first, last = Reach(plain(found.outer), False), Reach(plain(found.outer), True)
        with b.within(block, found.inner, first, Apply("add", (last, Number(1, "int64")), "int64")) as inside:
            factors = {k: r for k, r in zip(found.reading, reading, strict=True)}
            factors |= {k: stmt.factor(core[k], inside) for k in found.adding}
            square = Admitting(b, inside, kind, [stmt.condition(mask, inside)], False, stmt.ahead)
            value = square.run([factors[k] for k in sorted(factors)], out, None)
            assert value is not None
            for late in square.late:
                value = Apply("select", (late, value, Number(0, kind)), kind)
            b.run(total, "+=", Map(value))
            added = Pairs(b, inside, kind).run([factors[k] for k in found.adding], kept, None)
            assert added is not None
            b.run(state, "+=", Map(added))
        result: Value = Load(total, kind)
        for fn, part in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
            result = Apply(fn, (result, value_of(b, part, block)), kind)
        target.put(place, result, sign < 0)


def _before(
    stmt: Evaluation,
    found: Accumulation,
    reading: list[Load],
    state: Part,
    total: Part,
    block: Scope,
    ends: tuple[int, int],
) -> None:
    """What comes from before the block; nothing, before the first one, whatever reads it."""
    b, kind = stmt.b, stmt.compute
    at = Reach(plain(found.outer), found.backwards)
    lo, hi = ends
    is_first = Apply("ge", (at, Number(hi - 1, "int64")), "bool")
    if not found.backwards:
        is_first = Apply("le", (at, Number(lo, "int64")), "bool")
    b.steps.append(Make(total))
    with b.either(is_first) as (nothing, something):
        with b.into(nothing):
            b.run(total, "=", Map(Number(0, kind)))
        with b.into(something):
            value = Pairs(b, block, kind).run([*reading, Load(state, kind)], list(total.indices), None)
            assert value is not None
            b.run(total, "=", Map(value))
