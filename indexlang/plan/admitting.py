"""Sums of products over the points that conditions admit: pair by pair, each condition let in where it costs least.

In: the factors as loads, conditions as values, the indices to keep. Out: steps, and the value that holds the sum. The
one rule: a refused point adds exactly nothing. The operand that has a condition's indices is 0 where it refuses; the
other one must be finite then, for 0*inf is nan. Where it is not, what is not finite is left out of the product, and
added one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..program.affine import Affine
from ..program.ir import Index
from ..sizes.in_bounds import interval
from .building import Building, here
from .kernels import Map
from .order import Met, best_order, met
from .pairs import Pairs, Sink
from .places import Place, View
from .plan import Run, Step
from .quantities import Apply, Load, Number, Reduced, Value
from .views import Scope, whole


@dataclass(frozen=True)
class Condition:
    """A truth at each point of its indices. `exists` if it says at which of them some point has been admitted.

    If it has an `along`, it refuses nothing but in the `rims`: values of that index from one to before another.
    """

    value: Value
    indices: frozenset[str]
    exists: bool = False
    along: str = ""
    rims: tuple[tuple[Value, Value], ...] = ()
    margin: Affine | None = None  # a form over indices that is not negative where a condition of positions holds


@dataclass(frozen=True)
class Joined:
    """The product of some factors, by their numbers."""

    load: Load
    inside: frozenset[int]


class Admitting(Pairs):
    """A sum of products under conditions being planned. `multiplied` if its result will be.

    What is asked of whole inputs is asked `ahead` of all loops.
    """

    def __init__(
        self,
        b: Building,
        scope: Scope,
        dtype: str,
        conditions: Sequence[Condition],
        multiplied: bool,
        ahead: list[Step],
    ) -> None:
        super().__init__(b, scope, dtype)
        self.conditions = [replace(c, indices=frozenset(here(c.indices, scope))) for c in conditions]
        self.multiplied, self.ahead = multiplied, ahead
        self.groups: list[frozenset[str]] = []
        self.out: tuple[str, ...] = ()

    def run(self, factors: Sequence[Load], out: Sequence[str], sink: Sink | None) -> Value | None:
        """The sum over all indices not in `out`; None if it stands in the sink."""
        self.groups, self.out = [frozenset(self.axes(f)) for f in factors], tuple(out)
        order = best_order(self.groups, [c.indices for c in self.conditions], out, self.sizes, self.limits)
        parts = [self.alone(f, k) for k, f in enumerate(factors)]
        found: Value | None = parts[0].load
        for number, (left, right) in enumerate(order.pairs):
            a, b = parts[left], parts[right]
            last = number == len(order.pairs) - 1
            found = self.join(a, b, sink if last and not self.late else None, last)
            if found is None:
                return None
            if not isinstance(found, Load) and not last:
                kept = self.met(a.inside | b.inside).kept
                found = self.held(found, self.as_they_lie([i for i in self.scope if i in kept], a.load, b.load))
            parts = [p for k, p in enumerate(parts) if k not in (left, right)]
            if isinstance(found, Load):
                parts.append(Joined(found, a.inside | b.inside))
        return found

    @property
    def late(self) -> list[Value]:
        """The conditions of what is kept: masks inside of loops over what they sum, and where nothing was admitted."""
        over = self.met(frozenset(range(len(self.groups)))).let_in
        return [c.value for k, c in enumerate(self.conditions) if k not in over]

    def met(self, inside: Collection[int]) -> Met:
        """What is left of some factors."""
        others = [g for k, g in enumerate(self.groups) if k not in inside]
        conditions = [c.indices for c in self.conditions]
        return met([self.groups[k] for k in inside], others, conditions, frozenset(self.out))

    def alone(self, factor: Load, number: int) -> Joined:
        """A factor before it meets any other one: masked and summed over what it alone has."""
        inside = frozenset((number,))
        found = self.met(inside)
        let_in = [self.conditions[k] for k in sorted(found.let_in)]
        made = self.summed(self.cleared(factor, let_in), found.kept)
        self.remember(let_in, found, last=len(self.groups) == 1)
        return Joined(made, inside)

    def join(self, a: Joined, b: Joined, sink: Sink | None, last: bool) -> Value | None:
        """Two products multiplied, and summed over what nobody else needs."""
        inside = a.inside | b.inside
        found = self.met(inside)
        new = found.let_in - self.met(a.inside).let_in - self.met(b.inside).let_in
        let_in = [self.conditions[k] for k in sorted(new)]
        made = self.multiply(a.load, b.load, let_in, found.kept, sink)
        self.remember(let_in, found, last)
        return made

    def remember(self, let_in: Sequence[Condition], found: Met, last: bool) -> None:
        """At which points of what is left nothing has been admitted: a later factor that is infinite adds nothing."""
        mentioned = frozenset[str]().union(*(c.indices for c in let_in))
        left = mentioned & found.kept
        if let_in and (self.multiplied or not last):
            gone = tuple(i for i in self.scope if i in mentioned - left)
            if len(gone) == 1 and always(self.b, let_in, gone[0], self.scope):
                return
            self.conditions.append(Condition(Reduced("any", conjunction(let_in), gone), left, True))

    # -- a pair --------------------------------------------------------------------------------------

    def multiply(
        self, a: Load, b: Load, let_in: Sequence[Condition], kept: frozenset[str], sink: Sink | None
    ) -> Value | None:
        """A pair summed over the points that conditions admit."""
        left, right = frozenset(self.axes(a)), frozenset(self.axes(b))
        out = [i for i in dict.fromkeys((*self.out, *self.axes(a), *self.axes(b))) if i in kept and i in left | right]
        if any(not c.indices <= left and not c.indices <= right for c in let_in):
            asked = kept.union(*(c.indices for c in let_in))
            value: Value = self.times(a, b)
            if (left & right) - asked:  # summed before it is asked: a product of matrices
                found = self.pair(a, b, [i for i in dict.fromkeys((*self.axes(a), *self.axes(b))) if i in asked], None)
                assert found is not None
                value = found if isinstance(found, Load) else self.held(found, here(found.indices, self.scope))
            else:
                self.notes.append("the whole domain")
            gone = tuple(i for i in self.scope if i in ((left | right) - kept) & value.indices)  # no tap
            value = Apply("select", (conjunction(let_in), value, Number(0, self.dtype)), self.dtype)
            return Reduced("sum", value, gone) if gone else value
        here_left, here_right = self.sides(let_in, left, right)
        x, y = self.cleared(a, here_left), self.cleared(b, here_right)
        summed = (left & right) - kept
        doubtful = [
            other
            for other, own in ((y, here_right), (x, here_left))
            if any(c not in own and c.indices & summed for c in let_in)
        ]
        if not doubtful or not self.dtype.startswith(("float", "complex")):
            return self.pair(x, y, out, sink)
        direct = sink is not None and sink.target.overwrites and not sink.negative
        found = self.pair(x, y, out, sink if direct else None)
        if found is not None and not isinstance(found, Load):
            found = self.held(found, out)
        assert found is not None or sink is not None
        place = found.place if found is not None else sink.place  # type: ignore[union-attr]
        good = self.good(doubtful, place, out)
        with self.b.either(Apply("not", (good,), "bool")) as (first, _), self.b.into(first):
            self.rescue(x, y, doubtful, let_in, summed, out, place)
        return found

    def good(self, doubtful: Sequence[Load], place: Place, out: Sequence[str]) -> Value:
        """Whether zeros have met nothing but what is finite, asked of the operands; or of the sums, if these are much
        smaller than what would be asked here: whatever is not finite leaves a sum that is not.
        """
        asked = [self.asked(v) for v in doubtful]
        least = min(0 if once else prod(s.size for s in scope.values()) for _, scope, once in asked)
        sums = Load(place, self.dtype)
        over = self.axes(sums)  # the target's place has all its indices, also those that neither operand has
        if prod(self.sizes[i] for i in over) * self.limits.larger <= least:
            finite = Apply("isfinite", (sums,), "bool")
            return Reduced("all", finite, tuple(over)) if over else finite
        values = [self.finite(*one) for one in asked]
        return values[0] if len(values) == 1 else Apply("and", (values[0], values[1]), "bool")

    def sides(
        self, let_in: Sequence[Condition], left: frozenset[str], right: frozenset[str]
    ) -> tuple[list[Condition], list[Condition]]:
        """The conditions let in by each operand; by the smaller one alone where the other is much larger."""
        a, b = (prod(self.sizes[i] for i in own) for own in (left, right))
        found: tuple[list[Condition], list[Condition]] = [], []
        for c in let_in:
            both = c.indices <= left and c.indices <= right
            if c.indices <= left and not (both and a >= self.limits.larger * b):
                found[0].append(c)
            if c.indices <= right and not (both and b > self.limits.larger * a):
                found[1].append(c)
        return found

    def rescue(
        self,
        x: Load,
        y: Load,
        doubtful: Sequence[Load],
        let_in: Sequence[Condition],
        summed: frozenset[str],
        out: Sequence[str],
        place: Place,
    ) -> None:
        """The pair once more: a product of what is finite, and the rest value by value of what is summed."""
        b, scope, told = self.b, self.scope, list(self.notes)
        along = [i for i in self.scope if i in summed and any(i in c.indices for c in let_in)]
        bad: Value | None = None
        for load in doubtful:
            over = tuple(i for i in self.axes(load) if i not in along)
            one: Value = Apply("not", (Apply("isfinite", (load,), "bool"),), "bool")
            one = Reduced("any", one, over) if over else one
            bad = one if bad is None else Apply("or", (bad, one), "bool")
        assert bad is not None
        where = b.part("bad", along, "bool", scope)
        b.run(where, "=", Map(bad))
        clean = []
        for load in (x, y):
            value = Apply("select", (Load(where, "bool"), Number(0, self.dtype), load), self.dtype)
            clean.append(self.held(value, self.axes(load), "finite"))
        product = self.pair(clean[0], clean[1], out, None)
        assert product is not None
        b.run(place, "=", Map(product))
        with b.loops(scope, [(i, 0) for i in along]) as inner:
            rest = tuple(i for i in dict.fromkeys((*self.axes(x), *self.axes(y))) if i not in out and i not in along)
            value = Apply("select", (conjunction(let_in), self.times(x, y), Number(0, self.dtype)), self.dtype)
            with b.either(Load(where, "bool")) as (first, _), b.into(first):
                b.run(place, "+=", Map(Reduced("sum", value, rest) if rest else value))
            assert inner is not None
        self.notes = told

    def times(self, a: Load, b: Load) -> Value:
        return Apply("mul", (a, b), self.dtype)

    def asked(self, x: Load) -> tuple[Load, Scope, bool]:
        """Of which elements it is asked whether an operand is finite, and whether that is done once, ahead of loops:
        of an input that is gone through in parts, of all of it; of elements taken from what is smaller, of that.
        """
        parts, source = any(not self.scope[i].whole for i in x.place.mentioned), self.b.sources.get(x.place.buffer)
        elements = prod(self.scope[i].size for i in x.place.mentioned)
        if source is not None and 2 * prod(source.shape) <= elements and (source.role == "input" or not parts):
            x = Load(self.b.everything(source), x.dtype)
            return x, whole({i: self.b.extents[i] for i in x.place.mentioned}), parts
        everywhere = parts and isinstance(x.place, View) and x.place.buffer.role == "input" and not x.at
        scope = whole({i: self.b.extents[i] for i in x.place.mentioned}) if everywhere else self.scope
        return x, {i: scope[i] for i in x.place.mentioned}, everywhere

    def finite(self, x: Load, scope: Scope, once: bool) -> Value:
        """Whether an operand is finite, as it is `asked`."""
        value: Value = Apply("isfinite", (x,), "bool")
        own = tuple(here([i for i in scope if i in value.indices], scope))
        found = Reduced("all", value, own) if own else value
        if not once:
            return found
        flag = self.b.part("finite", (), "bool", scope)
        self.ahead.append(Run(flag, "=", Map(found)))
        return Load(flag, "bool")

    def cleared(self, x: Load, conditions: Sequence[Condition]) -> Load:
        """An operand that is 0 where conditions refuse its points; in place where it is ours."""
        if not conditions:
            return x
        if x.place in self.own and self.dtype.startswith("float"):
            for c in conditions:
                self.clear_rims(x, c)
            conditions = [c for c in conditions if not c.along]
            if not conditions:
                return x
        condition = conjunction(conditions)
        if x.place in self.own and self.dtype.startswith("float"):
            self.b.run(x.place, "=", Map(Apply("keep", (condition, x), self.dtype)))
            return x
        return self.held(Apply("select", (condition, x, Number(0, self.dtype)), self.dtype), self.axes(x), "admitted")

    def clear_rims(self, x: Load, condition: Condition) -> None:
        """An array of ours, 0 where a condition refuses something in a rim."""
        for begin, end in condition.rims:
            with self.b.within(self.scope, condition.along, begin, end):
                self.b.run(x.place, "=", Map(Apply("keep", (condition.value, x), self.dtype)))


def always(b: Building, conditions: Sequence[Condition], gone: str, scope: Scope) -> bool:
    """Whether some value of an index is admitted at all points of the others: no bound is beyond another one."""
    span, (lo, hi) = scope[gone], b.extents[gone]
    there = span.whole or (span.part and any(c.along == gone for c in conditions))  # a tile has what is admitted
    least, most = [Affine(lo)], [Affine(hi - 1)]
    for condition in conditions:
        if condition.margin is None:
            return False
        coef = dict(condition.margin.terms).get(Index(gone), 0)
        if abs(coef) > 1:
            return False
        rest = condition.margin - Affine(0, ((Index(gone), coef),) if coef else ())
        least += [-rest] if coef == 1 else []
        most += [rest] if coef == -1 else []
        if coef == 0 and not _is_never_negative(b, rest):
            return False
    return there and all(_is_never_negative(b, high - low) for low in least for high in most)


def _is_never_negative(b: Building, form: Affine) -> bool:
    ends = interval(form, b.extents)
    return ends is not None and ends[0] >= 0


def conjunction(conditions: Sequence[Condition]) -> Value:
    """All conditions as one."""
    first, *rest = (c.value for c in conditions)
    for value in rest:
        first = Apply("and", (first, value), "bool")
    return first
