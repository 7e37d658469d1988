"""Powers of a difference up to a bound, in one pass: the gradient of a running logsumexp.

In: `x.grad[s] += y.grad[t] * exp(x[s] - y[t]) where s <= t`, or such a sum over s. Out: its value over the free
indices, and whether the data allow that.

    behind[s] = y.grad[s] + exp(y[s] - y[s+1]) * behind[s+1]
    x.grad[s] = exp(x[s] - y[s]) * behind[s]

The one rule: the level y never falls on the way from s to t, but for roundings, and x is not far above it, so no power
is large; data are asked. What stands behind a bound never enters what is read there.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program.algebra import factors_of, sum_of, terms_of
from ..program.conditions import conjuncts
from ..program.ir import Access, Call, Const, Expr, Index, Reduce, indices_of, parts_of
from ..program.names import Renaming
from ..rewrite.others import bound
from .evaluation import Evaluation
from .kernels import Fading, Map
from .operators import SUMS
from .pairs import Pairs
from .quantities import Apply, Load, Number, Reduced, Value
from .reads import masked, value_of
from .recurring import admitted_at, at_edge, axes_at, neighbour
from .values import cast
from .views import Scope
from .writes import Target

MOST = 60.0  # of an exponent: its power and the sums of such are finite in float32


@dataclass(frozen=True)
class Levels:
    """`rest * sum[summed](given * exp(height + level))`, all said of the free index `along` instead of the summed one.

    `height` belongs to the end that the bound binds, `level` to the bound, which lies `ahead` of it (or behind). The
    sum is over what the bound binds if `forward`. `negative` is its sign.
    """

    along: str
    summed: str
    ahead: bool
    strict: bool
    forward: bool
    height: Expr
    level: Expr
    given: tuple[Expr, ...]
    given_masks: tuple[Expr, ...]
    rest: tuple[tuple[Expr, bool], ...]
    masks: tuple[Expr, ...]
    negative: bool

    def read(self) -> tuple[Expr, ...]:
        """Everything that is read."""
        return (*self.given, *self.given_masks, self.height, self.level, *(f for f, _ in self.rest), *self.masks)


def levels_of(stmt: Evaluation, target: Target) -> Levels | None:
    """How a statement is such a sum."""
    inner = stmt.conditions()
    plain = stmt.op in SUMS and stmt.root is None and stmt.compute in ("float32", "float64")
    if not plain or not inner or stmt.b.complex_step or target.taps or target.dynamic:
        return None
    terms = terms_of(stmt.value)
    if len(terms) != 1 or not _reads_plainly(stmt):
        return None
    factors = factors_of(terms[0][1])
    for condition in inner:
        for summed in stmt.summed:
            for own, forward in ((summed, True), *((i, False) for i in stmt.free)):
                said = bound(condition, own)
                if said is None or (not forward and said[0] != summed) or (forward and said[0] not in stmt.free):
                    continue
                along = said[0] if forward else own
                found = _levels(stmt, factors, condition, (along, summed, forward), said[1:], terms[0][0] < 0)
                if found is not None:
                    return found
    return None


def _levels(
    stmt: Evaluation,
    factors: list[tuple[Expr, bool]],
    condition: Expr,
    ends: tuple[str, str, bool],
    said: tuple[bool, bool],
    negative: bool,
) -> Levels | None:
    along, summed, forward = ends
    both = {along, summed}
    tied = [f for f in factors if both <= set(indices_of(f[0]))]
    long = stmt.b.extents[along] == stmt.b.extents[summed] and stmt.sizes[along] >= max(2, stmt.b.limits.tile)
    masks = [p for m in (*stmt.outer, *stmt.inner) for p in conjuncts(m) if p != condition]
    if not long or len(tied) != 1 or any(both <= set(indices_of(m)) for m in masks):
        return None
    match tied[0]:
        case (Call(fn="exp", args=(exponent,)), False):
            parts = terms_of(exponent)
        case _:
            return None
    outer = along if forward else summed
    level = [t for t in parts if outer in indices_of(t[1])]
    height = [t for t in parts if t not in level]
    falls = bool(level) and all(sign < 0 for sign, _ in level)  # what is subtracted rises
    if not falls or not height or any(both <= set(indices_of(t)) for _, t in parts):
        return None
    given = [f for f in factors if summed in indices_of(f[0]) and f not in tied]
    rest = [f for f in factors if f not in given and f not in tied]
    own = [m for m in masks if summed in indices_of(m)]
    moved = Renaming(indices={summed: along})
    return Levels(
        *(along, summed, *said, forward, moved.expr(sum_of(height)), moved.expr(sum_of(level))),
        tuple(moved.expr(Call("div", (Const(1), f)) if below else f) for f, below in given),
        tuple(map(moved.expr, own)),
        tuple(rest),
        tuple(m for m in masks if m not in own),
        negative,
    )


def _reads_plainly(stmt: Evaluation) -> bool:
    parts = parts_of(stmt.stmt)
    plain = all(isinstance(s, Index) for p in parts if isinstance(p, Access) for s in p.subscripts)
    return plain and not any(isinstance(p, Reduce) for p in parts)


class Climbing:
    """A statement with levels, being planned: what is asked first, and the sum."""

    def __init__(self, stmt: Evaluation, found: Levels, scope: Scope) -> None:
        self.stmt, self.found, self.scope = stmt, found, scope
        b = stmt.b
        height, level = (value_of(b, e, scope) for e in (found.height, found.level))
        self.step = step = 1 if found.ahead else -1
        nothing, zero = Number(float("-inf"), "float64"), Number(0, "float64")
        self.level = self.held(cast(level, "float64"))
        by = step if found.forward else -step
        there = neighbour(stmt, self.level, found.along, by, zero, scope)
        rise = Apply("sub", (there, self.level) if found.forward else (self.level, there), "float64")
        self.rise = self.held(Apply("select", (at_edge(stmt, found.along, by), zero, rise), "float64"))
        end = neighbour(stmt, self.level, found.along, step, nothing, scope) if found.strict else self.level
        self.height = self.held(Apply("add", (cast(height, "float64"), end), "float64"))

    def held(self, value: Value) -> Load:
        """A value over an array of its own, in float64: as many powers are multiplied as there are steps."""
        part = self.stmt.b.part("levels", self.axes(value), "float64", self.scope)
        self.stmt.b.run(part, "=", Map(value))
        return Load(part, "float64")

    def axes(self, *values: Value) -> list[str]:
        return axes_at(self.stmt, frozenset({self.found.along}).union(*(v.indices for v in values)), self.scope)

    def good(self) -> Value:
        """Whether the levels never fall by more than roundings, and nothing is far above them."""
        found: list[Value] = []
        for value, most in ((self.rise, MOST / 2 / self.stmt.sizes[self.found.along]), (self.height, MOST)):
            small = Apply("le", (value, Number(most, "float64")), "bool")
            found.append(Reduced("all", small, tuple(self.axes(value))))
        return Apply("and", (found[0], found[1]), "bool")

    def value(self) -> Value:
        """The value over the free indices."""
        stmt, found, kind, scope = self.stmt, self.found, self.stmt.compute, self.scope
        rest = [Call("div", (Const(1), f)) if below else f for f, below in found.rest]
        later = self.height.indices.union(
            stmt.free, *(indices_of(e) for e in (*rest, *found.masks, *found.given_masks))
        )
        result = cast(self.total(self.met([stmt.factor(f, scope) for f in found.given], later)), kind)
        missing = [i for i in stmt.summed if i != found.summed and not any(i in indices_of(e) for e in found.read())]
        step = -self.step if found.forward else self.step
        admitted = admitted_at(stmt, found.given_masks, found.along, step, found.strict, scope)
        if admitted is None and not found.masks:
            factors = [stmt.held(result, self.axes(result), scope), *(stmt.factor(f, scope) for f in rest)]
            return stmt.reduced(self.met(factors, frozenset(stmt.free)), missing)
        for part in rest:  # what is refused may be infinite
            result = Apply("mul", (result, cast(value_of(stmt.b, part, scope), kind)), kind)
        result = masked(stmt.b, result, found.masks, scope, Number(0, kind))
        if admitted is not None:
            result = Apply("select", (admitted, result, Number(0, kind)), kind)
        read = [i for i in stmt.summed if i in result.indices]
        return stmt.reduced(result, [*read, *missing])

    def met(self, factors: list[Load], kept: frozenset[str]) -> Value:
        """A product, summed over all indices but some."""
        if not factors:
            return Number(1, self.stmt.compute)
        out = axes_at(self.stmt, kept & frozenset[str]().union(*(f.indices for f in factors)), self.scope)
        value = Pairs(self.stmt.b, self.scope, self.stmt.compute).run(factors, out, None)
        assert value is not None
        return value

    def total(self, given: Value) -> Value:
        """The running sum that fades, times the powers where those belong to what the sum is over, or to its place."""
        stmt, found, scope, b = self.stmt, self.found, self.scope, self.stmt.b
        zero = Number(0, "float64")
        given = masked(b, cast(given, "float64"), found.given_masks, scope, zero)
        powers, fades = (self.held(Apply("exp", (e,), "float64")) for e in (self.height, self.rise))
        source = self.held(Apply("mul", (given, powers), "float64") if found.forward else given)
        if found.forward and found.strict:
            source = neighbour(stmt, source, found.along, -self.step, zero, scope)
        total = b.part("total", self.axes(source, fades), "float64", scope)
        b.run(total, "=", Fading(source.place, fades.place, found.along, found.ahead != found.forward))
        result = Load(total, "float64")
        if found.forward:
            return result
        if found.strict:
            result = neighbour(stmt, result, found.along, self.step, zero, scope)
        return Apply("mul", (powers, result), "float64")
