"""Products up to a bound as a state that grows block by block: linear attention.

In: `y[t,e] = q[t,d] * k[s,d] * v[s,e] where s <= t`. Out: steps. For each block of t, q times the sum of k v before it,
and the square of the block itself under the mask; then the block's k v are added to the sum. The one rule: what stands
behind a bound is never in the state that a point reads, so inf and nan stay where the loops have them.

A factor `c**(t-s)` fades the state from block to block: from where a block begins to a point, and from what was added
to where the next block begins. That is right where c is not above 1; data that say so are asked.

(Katharopoulos et al., "Transformers are RNNs", 2020; in blocks: Hua et al., "Transformer quality in linear time", 2022;
fading: Sun et al., "Retentive network", 2023)
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from ..program.affine import Affine
from ..program.conditions import is_integer
from ..program.ir import Access, Call, Const, Expr, Index, indices_of
from ..sizes.in_bounds import numeric
from .admitting import Admitting
from .blocking import contraction_blocks
from .building import here
from .evaluation import Evaluation
from .kernels import Map
from .order import best_order
from .pairs import Pairs
from .places import Part
from .plan import Make
from .quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from .reads import value_of
from .tiles import Bound, bounds_of
from .values import cast
from .views import Row, Scope, plain
from .wholes import at_once
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
    fading: tuple[tuple[int, Fading], ...] = ()


@dataclass(frozen=True)
class Fading:
    """A factor `base ** (step * distance + more)`, the distance that of the free index from the summed one."""

    base: Expr
    step: int
    more: int


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
    fading: list[tuple[int, Fading]] = []
    for k, g in enumerate(groups):
        if {outer, inner} <= g:
            fades = _fading(stmt, core[k], (inner, outer) if backwards else (outer, inner))
            if fades is None:
                return None
            fading.append((k, fades))
    others = [k for k in range(len(core)) if k not in dict(fading)]
    reading = tuple(k for k in others if outer in groups[k])
    adding = tuple(k for k in others if outer not in groups[k])
    bases = {i for _, f in fading for i in indices_of(f.base)}
    wanted = set(stmt.free).union(bases, *(groups[k] for k in reading))
    held = ({i for k in adding for i in groups[k]} | bases) - {inner}
    lost = {i for k in reading for i in groups[k]} - wanted
    if not (reading or fading) or not any(inner in groups[k] for k in adding) or lost:
        return None
    state = tuple(i for i in stmt.stmt.domain.indices if i in held & wanted)
    read = [*(groups[k] for k in reading), *({outer, *indices_of(f.base)} for _, f in fading)]
    added = [*(groups[k] for k in adding), *({inner, *indices_of(f.base)} for _, f in fading)]
    by = _block(stmt, read, added, state, outer, inner, bool(fading))
    return None if by is None else Accumulation(outer, inner, by, backwards, reading, adding, state, tuple(fading))


def _fading(stmt: Evaluation, factor: Expr, ends: tuple[str, str]) -> Fading | None:
    """A power of what knows neither index, by the distance from the second one to the first."""
    match factor:
        case Call(fn="pow", args=(base, exponent)) if is_integer(exponent) and not set(ends) & set(indices_of(base)):
            form = numeric(Affine.from_expr(exponent), stmt.b.shapes)
        case _:
            return None
    terms = dict(form.terms)
    step = terms.get(Index(ends[0]), 0)
    if (
        set(terms) != {Index(ends[0]), Index(ends[1])}
        or step < 1
        or terms[Index(ends[1])] != -step
        or form.const < -step
    ):  # what is added is one step away at least
        return None
    if isinstance(base, Const):
        return Fading(base, step, form.const) if abs(base.value) <= 1 else None
    plain = isinstance(base, Access) and all(isinstance(s, Index) for s in base.subscripts)
    return Fading(base, step, form.const) if plain and stmt.b.kind(base) == stmt.compute else None


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
    fades: bool,
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
    if at_once(stmt, None) and not fades:  # blocks are loops, which nests leave to others; powers are dear
        least //= limits.wasted
    for by in (limits.tile << k for k in range(1, 5)):
        if by >= n:
            break
        cost = state_cost + read_cost + whole * by // n + -(-n // by) * 2 * limits.calls * limits.call
        if cost < least:
            best, least = by, cost
    return best


def accumulated(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """Plan the blocks; the statement as it stands where data let it grow."""
    found = accumulation_of(stmt, target)
    assert found is not None
    bases = [stmt.factor(f.base, scope) for _, f in found.fading if not isinstance(f.base, Const)]
    if not bases:
        _in_blocks(stmt, found, target, scope)
        return
    good: Value | None = None
    for base in bases:
        small: Value = Apply("le", (Apply("abs", (base,), stmt.compute), Number(1, stmt.compute)), "bool")
        own = tuple(here(base.place.mentioned, scope))
        small = Reduced("all", small, own) if own else small
        good = small if good is None else Apply("and", (good, small), "bool")
    assert good is not None
    with stmt.b.either(good) as (fast, slow):
        with stmt.b.into(fast):
            _in_blocks(stmt, found, target, scope)
        with stmt.b.into(slow), stmt.b.loops(scope, contraction_blocks(stmt, target)) as inner:
            stmt.term(target, inner, stmt.terms()[0])


def _in_blocks(stmt: Evaluation, found: Accumulation, target: Target, scope: Scope) -> None:
    b, kind = stmt.b, stmt.compute
    ((sign, term),) = stmt.terms()
    core, outside, divisors = stmt.split(term)
    (mask,) = stmt.conditions()
    ends = b.extents[found.outer]
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
        present |= {found.outer, *(i for _, f in found.fading for i in indices_of(f.base))} if found.fading else set()
        out = [i for i in order if i in present]
        total = b.part("total", out, kind, block)
        fades = _Fades(stmt, found, block)
        _before(stmt, found, [*reading, *fades.to_points()], state, total, block, ends)
        first, last = Reach(plain(found.outer), False), Reach(plain(found.outer), True)
        with b.within(block, found.inner, first, Apply("add", (last, Number(1, "int64")), "int64")) as inside:
            factors = {k: r for k, r in zip(found.reading, reading, strict=True)}
            factors |= {k: stmt.factor(core[k], inside) for k in (*found.adding, *dict(found.fading))}
            square = Admitting(b, inside, kind, [stmt.condition(mask, inside)], False, stmt.ahead)
            value = square.run([factors[k] for k in sorted(factors)], out, None)
            assert value is not None
            for late in square.late:
                value = Apply("select", (late, value, Number(0, kind)), kind)
            b.run(total, "+=", Map(value))
            added = Pairs(b, inside, kind).run(
                [*(factors[k] for k in found.adding), *fades.to_next(inside)], kept, None
            )
            assert added is not None
            fades.over(state, _is_first(found, ends))
            b.run(state, "+=", Map(added))
        result: Value = Load(total, kind)
        there = {i for factor in core for i in indices_of(factor)}
        counted = tuple(i for i in stmt.summed if i not in there)
        if counted:
            result = Apply("mul", (result, Count(counted)), kind)
        for fn, part in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
            result = Apply(fn, (result, value_of(b, part, block)), kind)
        target.put(place, result, sign < 0)


class _Fades:
    """The powers by which a state fades: to a point of a block, to the next block, and over a whole one."""

    def __init__(self, stmt: Evaluation, found: Accumulation, block: Scope) -> None:
        self.stmt, self.found, self.block = stmt, found, block
        self.least, self.most = Reach(plain(found.outer), False), Reach(plain(found.outer), True)

    def to_points(self) -> list[Load]:
        """From where the block begins."""
        at = Position(self.found.outer)
        distance = _less(self.most, at) if self.found.backwards else _less(at, self.least)
        return [self.held(f, distance, 0, [self.found.outer], self.block) for _, f in self.found.fading]

    def to_next(self, inside: Scope) -> list[Load]:
        """From what is added to where the next block begins."""
        at, one = Position(self.found.inner), Number(1, "int64")
        distance = _less(at, self.least) if self.found.backwards else _less(self.most, at)
        after: Value = Apply("add", (distance, one), "int64")
        return [self.held(f, after, f.more, [self.found.inner], inside) for _, f in self.found.fading]

    def over(self, state: Part, is_first: Value) -> None:
        """The state from where the block begins to where the next one does; none is there before the first."""
        long: Value = Apply("add", (_less(self.most, self.least), Number(1, "int64")), "int64")
        b = self.stmt.b
        if self.found.fading:
            with b.either(Apply("not", (is_first,), "bool")) as (first, _), b.into(first):
                for _, f in self.found.fading:
                    b.run(state, "*=", Map(self.power(f, long, 0, self.block)))

    def held(self, fades: Fading, distance: Value, more: int, axes: list[str], scope: Scope) -> Load:
        own = [i for i in self.stmt.stmt.domain.indices if i in indices_of(fades.base)]
        value = self.power(fades, distance, more, scope)
        return self.stmt.held(value, here([*own, *axes], scope), scope, "fades")

    def power(self, fades: Fading, distance: Value, more: int, scope: Scope) -> Value:
        kind = self.stmt.compute
        base: Value = (
            Number(fades.base.value, kind) if isinstance(fades.base, Const) else self.stmt.factor(fades.base, scope)
        )
        exponent: Value = Apply("mul", (distance, Number(fades.step, "int64")), "int64") if fades.step > 1 else distance
        exponent = Apply("add", (exponent, Number(more, "int64")), "int64") if more else exponent
        return Apply("pow", (base, cast(exponent, kind)), kind)


def _less(a: Value, b: Value) -> Value:
    return Apply("sub", (a, b), "int64")


def _is_first(found: Accumulation, ends: tuple[int, int]) -> Value:
    """Whether nothing has come before the block."""
    lo, hi = ends
    at = Reach(plain(found.outer), found.backwards)
    return Apply("ge" if found.backwards else "le", (at, Number(hi - 1 if found.backwards else lo, "int64")), "bool")


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
    b.steps.append(Make(total))
    with b.either(_is_first(found, ends)) as (nothing, something):
        with b.into(nothing):
            b.run(total, "=", Map(Number(0, kind)))
        with b.into(something):
            value = Pairs(b, block, kind).run([*reading, Load(state, kind)], list(total.indices), None)
            assert value is not None
            b.run(total, "=", Map(value))
