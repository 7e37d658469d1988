"""The value of a statement: over its whole domain, masked and reduced, or as sums of products.

In: a statement whose sizes and dtypes are known, a scope. Out: a `Value` over the free indices. The one rule: a point
that a mask refuses gives the operator's identity, whatever is computed there; an index that a value lacks still counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod

from ..program.affine import Affine
from ..program.algebra import Term, factors_of, terms_of
from ..program.conditions import conjuncts, guard_of, margins, said_by
from ..program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Reduce,
    indices_of,
    walk,
)
from ..sizes.in_bounds import numeric
from .admitting import Admitting, Condition
from .bitwise import by_data, is_zero, keeps
from .building import Building, axes_of, here
from .kernels import Map
from .narrow import sums, widened
from .operators import REDUCTIONS, SUMS
from .order import Order, best_order
from .pairs import Pairs, Sink
from .plan import Step
from .quantities import Apply, Count, Load, Number, Reduced, Value
from .reads import masked, read, truth, value_of
from .sized import Sized
from .tiles import Following
from .values import cast, unit
from .views import Scope
from .writes import Target


class Evaluation:
    """A statement being planned; its target is delivered in `dtype`, its value computed in `compute`."""

    def __init__(self, b: Building, sized: Sized) -> None:
        self.b, self.stmt, self.dtype, self.compute = b, sized.stmt, sized.dtype, sized.compute
        self.written = sized.compute  # the type of what is written, where products are computed in a wider one
        stmt = sized.stmt
        self.tensor, self.op = stmt.target.tensor, stmt.op
        self.root = stmt.value if isinstance(stmt.value, Reduce) else None
        self.value = stmt.value if self.root is None else self.root.body
        self.free = tuple(i for i in stmt.domain.indices if i in indices_of(stmt.target))
        self.summed = stmt.reduced if self.root is None else self.root.domain.indices
        own = () if self.root is None else self.root.domain.masks
        free = set(self.free)
        self.outer = tuple(m for m in stmt.domain.masks if set(indices_of(m)) <= free)
        self.inner = (*(m for m in stmt.domain.masks if m not in self.outer), *own)
        poles = tuple(m for m in stmt.domain.masks if guard_of(m, stmt) is not None)
        b.begin(sized.extents, (*stmt.domain.masks, *own), sized.guarded, poles)
        self.sizes = {i: hi - lo for i, (lo, hi) in sized.extents.items()}
        self.notes: list[str] = []
        self.ahead: list[Step] = []  # what is asked before all loops
        self.tiled: Following | None = None  # the part that follows a mask
        self.made: Load | None = None  # the value, where it is made before all taps

    @property
    def is_float(self) -> bool:
        return self.compute.startswith(("float", "complex"))

    def root_of(self) -> Reduce:
        assert self.root is not None
        return self.root

    def evaluate(self, scope: Scope) -> Value:
        """The value where the masks admit it, reduced over the reduced indices."""
        summed = [i for i in self.summed if not scope[i].tap]
        value = self.made or cast(value_of(self.b, self.value, scope), self.compute)
        value = widened(self.b, value, self.in_memory(self.stmt.domain.indices), scope) if self.is_float else value
        if not summed:
            return self.masked(value, (*self.outer, *self.inner), scope)
        value = self.masked(value, self.inner, scope)
        match value:
            case Apply(fn="select", args=(condition, inner, Number(value=other))):
                axes = here([i for i in self.in_memory(self.stmt.domain.indices) if i in value.indices], scope)
                large = prod(scope[i].size for i in axes) >= self.b.limits.filled
                if large and is_zero(other) and keeps(value.dtype) and by_data(condition) and not self.b.complex_step:
                    kept: Value = Apply("keep", (condition, inner), value.dtype)
                    value = self.held(kept, axes, scope, "kept")
            case _:
                pass
        return self.masked_outer(self.reduced(value, summed), scope)

    def reduced(self, value: Value, summed: Sequence[str]) -> Value:
        """A value reduced by the statement's operator over indices, those that it lacks included."""
        own = tuple(i for i in summed if i in value.indices)
        missing = tuple(i for i in summed if i not in value.indices)
        if own:
            for group in sums(self.in_memory(self.stmt.domain.indices), own, self.sizes, self.b.limits):
                value = Reduced(REDUCTIONS[self.op], value, group)
        if missing and self.op in (*SUMS, "*="):
            return Apply("mul" if self.op in SUMS else "pow", (value, Count(missing)), value.dtype)
        return value

    @property
    def identity(self) -> Number:
        """What a refused point gives."""
        return unit(self.op, self.dtype if self.dtype.startswith(("int", "uint", "bool")) else self.compute)

    def masked_outer(self, value: Value, scope: Scope) -> Value:
        """The value where the masks of free indices alone admit it."""
        return self.masked(value, self.outer, scope)

    def masked(self, value: Value, masks: Sequence[Expr], scope: Scope) -> Value:
        """The value where the masks admit it, the operator's identity elsewhere."""
        return masked(self.b, value, masks, scope, self.identity)

    # -- sums of products ----------------------------------------------------------------------

    def terms(self) -> list[Term]:
        """The terms of a sum, each with its sign; a difference of reads is summed as it is written."""
        found = terms_of(self.value)
        return [(1, self.value)] if self.cancels(found) else found

    def cancels(self, terms: list[Term]) -> bool:
        """Whether two reads of other indices are subtracted: what they have in common is lost in sums of each alone."""
        if len(terms) != 2 or not self.summed or not self.is_float:
            return False
        (sign, first), (other, second) = terms
        reads = isinstance(first, Access) and isinstance(second, Access)
        return reads and sign != other and set(indices_of(first)) != set(indices_of(second))

    def contractible(self) -> bool:
        """Whether every term is a product, or a plain read, over the reduced indices."""
        if self.compute == "bool" or not self.summed or self.root is not None:
            return False
        for _, term in self.terms():
            core, outside, divisors = self.split(term)
            if not core or (len(core) == 1 and not (outside or divisors or isinstance(core[0], Access))):
                return False
            if len(core) == 1 and self.overlapping():
                return False
        return True

    def split(self, term: Expr) -> tuple[list[Expr], list[Expr], list[Expr]]:
        """A product as the factors with reduced indices, those without, and divisors without."""
        summed, everything, kind = set(self.summed), set(indices_of(term)), self.b.kind
        core: list[Expr] = []
        outside: list[Expr] = []
        divisors: list[Expr] = []

        def opens(call: Call) -> bool:
            if call.fn != "div":
                return True
            a, b = call.args
            apart = set(indices_of(b)) < everything and summed & set(indices_of(a))
            return kind(call) == kind(a) == self.written and bool(not summed & set(indices_of(b)) or apart)

        for part, below in factors_of(term, opens):
            if below and not summed & set(indices_of(part)):
                divisors.append(part)
            elif below:
                core.append(Call("div", (Const(1), part)))
            else:
                (core if summed & set(indices_of(part)) else outside).append(part)
        return core, outside, divisors

    def factor(self, expr: Expr, scope: Scope, alone: Collection[str] = ()) -> Load:
        """A factor as elements in the type of the computation: as they lie, or in an array over all its own indices;
        summed over those of them that it has `alone`.
        """
        if isinstance(expr, Access):
            place = read(self.b, expr, scope)
            if place.buffer.dtype == self.compute:
                return Load(place, self.compute)
        value = cast(value_of(self.b, expr, scope), self.compute)
        own = [i for i in self.stmt.domain.indices if i in indices_of(expr)]
        own = self.in_memory(own, expr) if self.b.limits.nests else own  # what multiplies by strides wants no turn
        if gone := tuple(i for i in own if i in alone):
            return self.held(Reduced("sum", value, gone), here([i for i in own if i not in gone], scope), scope)
        if isinstance(expr, Access) and set(axes := axes_of(place, scope)) == set(here(own, scope)):
            return self.held(value, axes, scope)  # as it lies: nothing is turned
        return self.held(value, here(own, scope), scope)

    def alone(self, core: Sequence[Expr], number: int) -> frozenset[str]:
        """The summed indices that one of the factors has and nothing else, if it is computed: nests sum it at once."""
        if not self.b.limits.nests or is_view(core[number]):
            return frozenset()
        others = (*(f for k, f in enumerate(core) if k != number), *self.conditions())
        return frozenset(self.summed).intersection(indices_of(core[number])).difference(*map(indices_of, others))

    def held(self, value: Value, indices: Sequence[str], scope: Scope, hint: str = "factor") -> Load:
        """A value in an array of its own."""
        part = self.b.part(hint, indices, self.compute, scope)
        self.b.run(part, "=", Map(value))
        return Load(part, self.compute)

    def conditions(self) -> list[Expr]:
        """The masks of reduced indices, each part by itself."""
        return [part for mask in self.inner for part in conjuncts(mask)]

    def written_out(self) -> bool:
        """Whether factors of 0 and 1 say all that the masks of reduced indices do."""
        said = {c for _, term in self.terms() for f in self.split(term)[0] for c in said_by(f)}
        return said.issuperset(self.conditions())

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """While no mask of reduced indices refuses anything: factors say it, and what they refuse is finite."""
        inner, self.inner = self.inner, ()
        try:
            yield
        finally:
            self.inner = inner

    @contextmanager
    def wider(self, wanted: bool) -> Iterator[int]:
        """While float32 is computed in float64, where `wanted`; a result may be so many times smaller."""
        lost = self.b.limits.lost
        if wanted and self.compute == "float32":
            self.compute, lost = "float64", lost << 20
        try:
            yield lost
        finally:
            self.compute = self.written

    def condition(self, mask: Expr, scope: Scope) -> Condition:
        """A condition where it is let in; in a tile, with the rims outside of which it refuses nothing."""
        value, tile = truth(self.b, mask, scope), self.tiled
        if tile is None or not scope[tile.inner].part or not tile.bounded(mask):
            return Condition(value, value.indices, margin=self.margin(mask))
        rims = tuple(tile.rims(mask, self.b.extents))
        return Condition(value, value.indices, False, tile.inner, rims, self.margin(mask))

    def margin(self, mask: Expr) -> Affine | None:
        """A form over indices that is not negative where a mask of positions holds, and only there."""
        found = list(margins(mask)) if isinstance(mask, Call) and mask.fn in ("lt", "le", "gt", "ge") else []
        form = numeric(found[0], self.b.shapes) if len(found) == 1 else None
        return form if form is not None and all(isinstance(a, Index) for a, _ in form.terms) else None

    def order(self, term: Expr) -> Order:
        """The order in which the factors of a term meet, under the masks of reduced indices."""
        core, _, _ = self.split(term)
        conditions = [indices_of(c) for c in self.conditions()]
        return best_order([indices_of(f) for f in core], conditions, self.free, self.sizes, self.b.limits)

    def admissible(self) -> bool:
        """Whether every term is a product that has all indices of the masks."""
        if not self.inner or not self.contractible():
            return False
        mentioned = {i for c in self.conditions() for i in indices_of(c)}
        for _, term in self.terms():
            core, _, _ = self.split(term)
            if len(core) < 2 or not mentioned <= {i for f in core for i in indices_of(f)}:
                return False
        return True

    def saves(self) -> bool:
        """Whether products under conditions cost less than the whole domain."""
        domain = self.b.limits.element * prod(self.sizes[i] for i in (*self.free, *self.summed))
        return all(self.order(term).cost < (2 + len(self.split(term)[0])) * domain for _, term in self.terms())

    def contracted(
        self,
        scope: Scope,
        term: Expr,
        sink: Sink | None,
        order: Sequence[str],
        given: Mapping[int, Load] | None = None,
    ) -> Value | None:
        """A term summed; None if it stands in the sink already. `order` is that in which the result is wanted.

        The factors `given` stand for others.
        """
        b = self.b
        core, outside, divisors = self.split(term)
        apart = [here(self.alone(core, k), scope) for k in range(len(core))]
        factors = [given[k] if given and k in given else self.factor(f, scope, apart[k]) for k, f in enumerate(core)]
        present = {i for f in factors for i in f.indices if not scope[i].tap}.union(*apart)
        missing = tuple(i for i in self.summed if i not in present and not scope[i].tap)
        counts = prod(scope[i].size for i in missing) != 1 or any(not scope[i].whole for i in missing)
        out = [i for i in order if i in present]
        after: list[tuple[str, Value]] = [("mul", Count(missing))] if counts else []
        typed = (lambda v: v) if self.compute == self.written else (lambda v: cast(v, self.compute))
        after += [("mul", typed(value_of(b, f, scope))) for f in outside]
        after += [("div", typed(value_of(b, d, scope))) for d in divisors]
        # What the whole sum is multiplied by is applied where it stands, if nothing else stands there.
        alone = sink is not None and sink.target.overwrites and not sink.negative and out and set(out) == set(order)
        extra = bool(after or self.outer)
        conditions = [self.condition(c, scope) for c in self.conditions()]
        admitting = Admitting(b, scope, self.compute, conditions, bool(after), self.ahead) if conditions else None
        work = admitting or Pairs(b, scope, self.compute)
        direct = not extra or (alone and not self.outer and admitting is None)
        result = work.run(factors, out, sink if direct else None)
        self.notes += work.notes
        if result is None and not extra:
            return None
        in_sink = result is None
        if result is None:
            assert sink is not None
            result = Load(sink.place, self.compute)
        for fn, part in after:
            own = {i for i in part.indices if not scope[i].tap}
            free = isinstance(result, Load) and (in_sink or result.place in work.own)
            if isinstance(result, Load) and free and own <= set(axes_of(result.place, scope)):
                b.run(result.place, "*=" if fn == "mul" else "/=", Map(part))
            else:
                result, in_sink = Apply(fn, (result, part), self.compute), False
        if admitting is not None and not in_sink:
            for condition in admitting.late:
                result = Apply("select", (condition, result, Number(0, self.compute)), self.compute)
        return None if in_sink else self.masked_outer(result, scope)

    def term(self, target: Target, scope: Scope, term: Term) -> None:
        """A term summed into its place."""
        sign, expr = term
        place = target.view
        order = [i for i in self.stmt.domain.indices if i in self.free]
        order = [i for i in dict.fromkeys((*place.mentioned, *order)) if not scope[i].tap]
        sink = Sink(target, place, sign < 0) if target.buffer.dtype == self.compute else None
        value = self.contracted(scope, expr, sink, order)
        if value is not None:
            target.put(place, value, sign < 0)

    def all_finite(self, values: Sequence[Value]) -> Value:
        """Whether every element of the values is finite."""
        return self.at_all_points([Apply("isfinite", (value,), "bool") for value in values])

    def at_all_points(self, tests: Sequence[Value]) -> Value:
        """Whether conditions hold at every point."""
        found: list[Value] = []
        for one in tests:
            own = tuple(i for i in self.b.extents if i in one.indices)
            found.append(Reduced("all", one, own) if own else one)
        result, *rest = found
        for one in rest:
            result = Apply("and", (result, one), "bool")
        return result

    def meeting(self, first: Expr, second: Expr, free: Sequence[str]) -> tuple[str, str] | None:
        """The two indices of the result by which two reads of one tensor differ: where they are equal, so are these."""
        if not (isinstance(first, Access) and isinstance(second, Access)) or first.tensor != second.tensor:
            return None
        different = [(a, b) for a, b in zip(first.subscripts, second.subscripts, strict=True) if a != b]
        match different:
            case [(Index(name=i), Index(name=j))] if i in free and j in free:
                return i, j
            case _:
                return None

    def compared(self, fn: str, pair: tuple[str, str] | None, scope: Scope) -> Value | None:
        """Where two indices are equal ("eq"), or where not ("ne")."""
        return None if pair is None else truth(self.b, Call(fn, (Index(pair[0]), Index(pair[1]))), scope)

    def overlapping(self) -> bool:
        """Whether some subscript mixes a reduced index with others."""
        summed = set(self.summed)
        accesses = [p for p in walk(self.value) if isinstance(p, Access)]
        mixed = (indices_of(s) for a in accesses for s in a.subscripts if not isinstance(s, Access))
        return any(len(names) > 1 and summed & set(names) for names in mixed)

    def spread(self) -> bool:
        """Whether every term computes a factor over the whole domain, whose taps lie in subscripts."""
        if not self.overlapping() or not self.contractible():
            return False
        domain = {i for i in (*self.free, *self.summed) if self.sizes[i] > 1}
        cores = [self.split(term)[0] for _, term in self.terms()]
        return all(any(not isinstance(f, Access) and domain <= set(indices_of(f)) for f in core) for core in cores)

    def in_memory(self, group: Sequence[str], inside: Expr | None = None) -> list[str]:
        """The indices as they lie in the access that has most of them, outermost first; `inside` of a part."""
        accesses = [p for p in walk(inside or self.value) if isinstance(p, Access)]
        largest = max(accesses, key=lambda a: len(set(indices_of(a)) & set(group)), default=None)
        first = [] if largest is None else [i for i in indices_of(largest) if i in group]
        return list(dict.fromkeys([*first, *group]))


def is_view(factor: Expr) -> bool:
    """Whether a factor is read where it lies, or close to it: positions are affine."""
    return isinstance(factor, Access) and not any(isinstance(p, Access) for s in factor.subscripts for p in walk(s))
