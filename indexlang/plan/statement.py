"""One statement as steps, by the first way that fits.

In: a `Sized` statement, the buffers so far. Out: steps, and the kernel in words. The one rule: each way puts the value
over the free indices into the target; loops run over taps, blocks or a window's positions, never over data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod

from ..program.ir import Access, Subscript, children, indices_of
from .accumulating import accumulated, accumulation_of
from .advice import advice
from .blocking import contraction_blocks, domain_blocks, kept, repeated, scatter_blocks, window_blocks
from .blocks import blocks, itemsize
from .building import Building, axes_of
from .conditioned import conditioned
from .evaluation import Evaluation
from .facts import Facts
from .grouping import grouped, grouping_of
from .kernels import Map
from .lengths import Length, part_of
from .levels import Climbing, levels_of
from .limits import Limits
from .log_products import of_powers, products_of_powers
from .nesting import nestable, nested, unblocked
from .operators import SUMS
from .prices import operations
from .quantities import Apply, Load, Number, Value
from .ranking import batches, ranked, ranking_of
from .reads import guarded, prepare
from .recurring import read_by, recurred, recurrence_of
from .scanning import gone_along, scanned, scans_of
from .scattering import contracted, scattered
from .searching import best_of, position_type, searched, sought, window_searched
from .segments import segmented, segments_of
from .selecting import chosen, selected
from .separating import separable, separated
from .sized import Sized
from .skewing import Skewing, skew_of
from .squaring import expanded, squared
from .values import unit
from .views import Scope, whole
from .wholes import at_once
from .windows import logarithm, window
from .writes import Target, target_of


class StatementPlan(Evaluation):
    """One statement being planned."""

    def plan(self) -> str:
        """Make the steps; the kernel in words."""
        b = self.b
        new = self.tensor not in b.buffers
        if new:
            b.buffers[self.tensor] = b.buffer(self.tensor, b.shapes[self.tensor], b.dtypes[self.tensor], "tensor")
        home = b.buffers[self.tensor]
        must = self.free if self.root is not None else (*self.free, *self.summed)
        if any(self.sizes[i] <= 0 for i in must):
            if new:
                b.run(b.everything(home), "=", Map(unit(self.op, self.dtype)))
            return "nothing: the domain is empty"
        if self.root is None or all(self.sizes[i] > 0 for i in self.summed):
            found = recurrence_of(self.stmt)
            for part in (*((self.value,) if found is None else read_by(found)), *self.stmt.target.subscripts):
                self.prepare(part)
            for mask in (*self.outer, *self.inner):
                with guarded(b, mask):
                    self.prepare(mask)
        inner = "".join(self.in_memory(self.stmt.domain.indices)[-1:])
        target = target_of(b, self.stmt.target, home, self.op, new, self.dtype, inner)
        way = choose(self.facts(target), b.limits)
        if way.name == "window search" and new and self.tensor in b.single:
            home = b.buffers[self.tensor] = replace(home, dtype=position_type(self))
            target = target_of(b, self.stmt.target, home, self.op, new, self.dtype, inner)
        if way.name == "whole domain" and prod(self.sizes.values()) >= b.limits.advised:
            self.notes.append(advice(self))
        here = len(b.steps)
        way.plan(self, target)
        b.steps[here:here] = self.ahead
        target.finish()
        if self.op in ("max=", "min=") and self.tensor in b.single:
            b.extrema[sought(self, self.op)] = self.tensor
        taps = [] if way.name in ("selection", "diagonals") else target.steps
        loops = [f"{self.sizes[i]} taps over {i}{f', {n} at a time' if n else ''}" for i, n in taps]
        return ", ".join([way.name, *loops, *dict.fromkeys(self.notes)])

    def prepare(self, node: Subscript) -> None:
        """Bring what every access needs into place before any loop."""
        if isinstance(node, Access):
            prepare(self.b, node)
        for child in children(node):
            self.prepare(child)

    def facts(self, target: Target) -> Facts:
        """What decides the way."""
        if recurrence_of(self.stmt) is not None:
            return Facts(recurrence=True)
        kept = [i for i in self.free if i not in target.taps]
        grows = accumulation_of(self, target) is not None
        return Facts(
            root=self.root is not None,
            position=self.root is not None and self.root.op != "logsumexp",
            powers=self.root is not None and self.root.op == "logsumexp" and not self.b.complex_step,
            scattered=bool(target.dynamic),
            sums=self.op in SUMS and self.root is None,
            reduced=prod(self.sizes[i] for i in self.summed),
            kept=prod(self.sizes[i] for i in kept),
            masked=bool(self.inner),
            products=self.contractible(),
            admitted=self.admissible() and self.saves(),
            overlapping=self.overlapping(),
            spread=self.spread(),
            powered=of_powers(self, target),
            squared=not target.taps and squared(self) is not None,
            separable=not target.taps and separable(self) is not None,
            skewed=skew_of(self, target) is not None,
            grouped=grouping_of(self, target) is not None,
            running=grows,
            levels=levels_of(self, target) is not None,
            ranking=not target.taps and ranking_of(self) is not None,
            segments=not target.taps and segments_of(self) is not None,
            scan=not target.taps and bool(scans_of(self)),
            nested=nestable(self, target) and not (self.inner and grows),
            chosen=prod(self.sizes[i] for i in chosen(self, target)),
            points=prod(self.sizes[i] for i in self.free),
        )

    def enter(self, stack: ExitStack, target: Target, steps: Sequence[tuple[str, int]], drops: bool) -> Scope:
        """The loops around what is made at once: blocks, taps; `drops` if indices of one value need no axis."""
        scope = whole(self.b.extents)
        inner = stack.enter_context(self.b.loops(scope, [*steps, *target.steps]))
        if drops and not self.b.limits.nests:  # a nest has an axis of one value for nothing
            axes = {max(row.coefs, key=lambda c: self.sizes[c[0]])[0] for row in target.rows if row.coefs}
            for i, span in scope.items():
                if span.n == 1 and i in self.sizes and i not in axes and not inner[i].tap:
                    inner = stack.enter_context(self.b.loop(inner, i))
        return inner

    def start(self, target: Target, steps: Sequence[tuple[str, int]], many: bool = False) -> None:
        """Make the target ready; `many` if several writes meet in it."""
        self.notes += [f"{step or 1} {i} at a time" for i, step in steps]
        target.start(once=not many and not any(i in self.summed for i, _ in steps))

    # -- ways ----------------------------------------------------------------------------------

    def domain(self, target: Target) -> None:
        """The value over the whole domain, in blocks where it would be too large."""
        steps = (*domain_blocks(self, target), *((i, 0) for i in repeated(self, target)))
        self.start(target, steps)
        if target.taps and not (self.summed or {*target.taps} & {*indices_of(self.value)}) and operations(self.value):
            self.made = self.factor(self.value, whole(self.b.extents))
        with ExitStack() as stack:
            scope = self.enter(stack, target, steps, drops=True)
            value = self.evaluate(scope)
            match value:
                case Apply(fn="select", args=(condition, inner, Number() as fill)) if self.of_rows(
                    condition, inner, target, scope
                ):
                    self.b.run(target.view, "=", Map(inner))
                    kept = Load(target.view, value.dtype)
                    self.b.run(target.view, "=", Map(Apply("select", (condition, kept, fill), value.dtype)))
                case _:
                    target.put(target.view, value)

    def of_rows(self, condition: Value, value: Value, target: Target, scope: Scope) -> bool:
        """Whether a condition decides of whole rows of what is written: these are filled when the value is there."""
        axes = axes_of(target.view, scope)
        rows = [i for i in axes if i in condition.indices]
        long = prod(scope[i].size for i in axes[len(rows) :]) >= self.b.limits.short
        whole_rows = bool(rows) and long and rows == list(axes[: len(rows)])
        return target.overwrites and whole_rows and value.dtype == target.buffer.dtype and value.indices >= set(axes)

    def contraction(self, target: Target) -> None:
        """Each term as a sum of products, over the points that masks admit."""
        tile = part_of(self, target)
        whole = at_once(self, tile)
        steps, tile = ((), None) if whole else (contraction_blocks(self, target), tile)
        if tile is not None:
            steps = (*(s for s in steps if s[0] not in (tile.outer, tile.inner)), (tile.outer, tile.by))
        if whole and self.inner and target.taps:
            self.summed_first(target)
            return
        kept = tile is not None and tile.inner in self.free  # then what lies beyond the part is filled before
        several = len(self.terms()) > 1
        self.start(target, steps, many=several or kept)
        target.overwrites |= kept and target.new and not several and not any(i in self.summed for i, _ in steps)
        with ExitStack() as stack:
            scope = self.enter(stack, target, steps, drops=True)
            if tile is not None and not scope[tile.inner].tap:
                self.notes.append(f"only as much of {tile.inner} as the masks admit")
                self.tiled = tile = tile.measured(self, scope) if isinstance(tile, Length) else tile
                scope = stack.enter_context(self.b.within(scope, tile.inner, *tile.ends(self.b.extents)))
            for term in self.terms():
                self.term(target, scope, term)

    def summed_first(self, target: Target) -> None:
        """Each term summed into an array of its own, which is then added tap by tap."""
        self.start(target, (), many=True)
        scope = whole(self.b.extents)
        order = [i for i in self.stmt.domain.indices if i in self.free]
        found = []
        for sign, term in self.terms():
            value = self.contracted(scope, term, None, order)
            assert value is not None
            found.append((sign, self.held(value, order, scope, "sums")))
        with ExitStack() as stack:
            self.enter(stack, target, (), drops=False)
            for sign, value in found:
                target.put(target.view, value, sign < 0)

    def running(self, target: Target) -> None:
        """A state that grows block by block."""
        self.start(target, (), many=True)
        with ExitStack() as stack:
            accumulated(self, target, self.enter(stack, target, (), drops=True))

    def window_way(self, target: Target) -> None:
        """One position of the reduced indices after the other."""
        steps = window_blocks(self, target)
        self.start(target, steps)
        with ExitStack() as stack:
            make = window if self.root is None else logarithm
            make(self, target, self.enter(stack, target, steps, drops=False))

    def window_search(self, target: Target) -> None:
        """The winner of a window, one position after the other."""
        steps = () if unblocked(self) else window_blocks(self, target)
        self.start(target, steps)
        with ExitStack() as stack:
            scope = self.enter(stack, target, steps, drops=False)
            window_searched(self, target, scope, best_of(self))

    def search(self, target: Target) -> None:
        """A search over an array of the whole domain."""
        steps = () if unblocked(self) else domain_blocks(self, target)
        self.start(target, steps)
        with ExitStack() as stack:
            searched(self, target, self.enter(stack, target, steps, drops=False))

    def scan(self, target: Target) -> None:
        """A running reduction, read where each bound ends."""
        along, free = gone_along(self), kept(self, target)
        points = max(prod(self.sizes[i] for i in group) for group in (along, free))
        order = [i for i in free if i in along]
        steps = blocks(order, self.sizes, points, itemsize(self.compute), self.b.limits.block)
        self.start(target, steps)
        with ExitStack() as stack:
            scope = self.enter(stack, target, steps, drops=False)
            target.put(target.view, scanned(self, scope))

    def recurrence(self, target: Target) -> None:
        """What follows an element is summed while it is multiplied."""
        found = recurrence_of(self.stmt)
        assert found is not None
        self.start(target, ())
        with ExitStack() as stack:
            scope = self.enter(stack, target, (), drops=False)
            target.put(target.view, recurred(self, found, scope), found.negative)

    def ranking(self, target: Target) -> None:
        """A running reduction in the order of data, for each order that there is."""
        self.start(target, ())
        with ExitStack() as stack:
            scope = self.enter(stack, target, batches(self), drops=False)
            target.put(target.view, ranked(self, scope))

    def grouped(self, target: Target) -> None:
        """A product for each matrix that data choose."""
        self.start(target, (), many=bool(target.dynamic))
        with ExitStack() as stack:
            grouped(self, target, self.enter(stack, target, (), drops=False))

    def scatter(self, target: Target) -> None:
        """A write at computed positions."""
        if contracted(self):
            steps = scatter_blocks(self, target)
        else:
            steps = () if unblocked(self) else domain_blocks(self, target)
        self.start(target, steps)
        with ExitStack() as stack:
            scattered(self, target, self.enter(stack, target, steps, drops=False))

    def separated(self, target: Target) -> None:
        """A factor that adds two arrays, taken apart."""
        with ExitStack() as stack:
            separated(self, target, self.enter(stack, target, (), drops=True))

    def skewed(self, target: Target) -> None:
        """Along diagonals; as it is written where zeros would meet what is not finite."""
        work = Skewing(self, target)
        if work.found.reading:
            self.start(target, ())
            work.read()
            return
        other = choose(replace(self.facts(target), skewed=False), self.b.limits)
        if not (met := work.met_by_zeros()):
            self.start(target, (), many=work.found.mixed < 0)
            work.add()
            return
        with self.unless(self.all_finite(met), other, target):
            self.start(target, (), many=work.found.mixed < 0)
            work.add()

    @contextmanager
    def unless(self, good: Value, other: Way, target: Target) -> Iterator[None]:
        """What is done where the data are good; the other way is gone where they are not."""
        with self.b.either(good) as (fast, slow):
            with self.b.into(fast):
                yield
                told = list(self.notes)
            with self.b.into(slow):
                other.plan(self, target)
        self.notes = told

    def levels(self, target: Target) -> None:
        """Powers of differences in one pass; as they are written where levels fall."""
        found = levels_of(self, target)
        assert found is not None
        for part in found.read():
            self.prepare(part)
        other = choose(replace(self.facts(target), levels=False), self.b.limits)
        work = Climbing(self, found, whole(self.b.extents))
        with self.unless(work.good(), other, target):
            self.start(target, ())
            target.put(target.view, work.value(), found.negative)

    def squares(self, target: Target) -> None:
        """Squares of differences as squares and products; as they are written where that loses digits."""
        steps = (*domain_blocks(self, target), *((i, 0) for i in repeated(self, target)))
        self.start(target, steps)
        ((sign, _),) = self.terms()
        with ExitStack() as stack:
            scope = self.enter(stack, target, (), drops=True)
            with self.everywhere():
                total, good = expanded(self, target, scope)
            with self.b.either(good) as (fast, slow):
                with self.b.into(fast):
                    target.put(target.view, self.masked_outer(total, scope), sign < 0)
                with self.b.into(slow), self.b.loops(scope, steps) as inner:
                    target.put(target.view, self.evaluate(inner))


# -- the way -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How a statement is planned, and when."""

    name: str
    fits: Callable[[Facts, Limits], bool]
    plan: Callable[[StatementPlan, Target], None]


def few(facts: Facts, limits: Limits) -> bool:
    """Whether the positions of a window are few, and the arrays large."""
    most = limits.sliding if facts.overlapping else limits.short
    return 1 < facts.reduced <= most and facts.kept >= limits.long


WAYS = (
    Way("recurrence", lambda f, limits: f.recurrence, StatementPlan.recurrence),
    Way("grouped contraction", lambda f, limits: f.grouped, StatementPlan.grouped),
    Way("scatter", lambda f, limits: f.scattered, StatementPlan.scatter),
    Way("levels", lambda f, limits: f.levels, StatementPlan.levels),
    Way("ranks", lambda f, limits: f.ranking, StatementPlan.ranking),
    Way("segments", lambda f, limits: f.segments, segmented),
    Way("scan", lambda f, limits: f.scan, StatementPlan.scan),
    Way(
        "window search",
        lambda f, limits: (
            f.position and f.overlapping and not f.masked and f.reduced <= limits.sliding and f.kept >= limits.long
        ),
        StatementPlan.window_search,
    ),
    Way("loop nest", lambda f, limits: f.nested and not (f.powered or f.running), nested),
    Way("products of powers", lambda f, limits: f.powered, products_of_powers),
    Way("window", lambda f, limits: f.powers and few(f, limits), StatementPlan.window_way),
    Way("search", lambda f, limits: f.root, StatementPlan.search),
    Way(
        "selection",
        lambda f, limits: f.chosen > 1 and f.points >= limits.long * f.chosen,
        selected,
    ),
    Way("diagonals", lambda f, limits: f.skewed, StatementPlan.skewed),
    Way("squares of differences", lambda f, limits: f.sums and f.reduced > 1 and f.squared, StatementPlan.squares),
    Way("separated contraction", lambda f, limits: f.sums and f.reduced > 1 and f.separable, StatementPlan.separated),
    Way(
        "window",
        lambda f, limits: (
            f.sums
            and 1 < f.reduced <= limits.window
            and f.kept >= limits.long
            and f.products
            and f.spread
            and not f.masked
        ),
        StatementPlan.window_way,
    ),
    Way("running products", lambda f, limits: f.running, StatementPlan.running),
    Way(
        "contraction",
        lambda f, limits: f.sums and f.reduced > 1 and not f.masked and f.products,
        StatementPlan.contraction,
    ),
    Way(
        "masked contraction",
        lambda f, limits: f.sums and f.reduced > 1 and f.masked and f.products and f.admitted,
        StatementPlan.contraction,
    ),
    Way("window", few, StatementPlan.window_way),
    Way("whole domain", lambda f, limits: f.reduced > 1, StatementPlan.domain),
    Way("elementwise", lambda f, limits: True, StatementPlan.domain),
)


def choose(facts: Facts, limits: Limits) -> Way:
    """The first way that fits; the last one always does."""
    return next(way for way in WAYS if way.fits(facts, limits))


def planned(b: Building, sized: Sized) -> str:
    """A statement as steps; its kernel in words."""
    found = StatementPlan(b, sized)
    other = conditioned(found)
    return (found if other is None else StatementPlan(b, replace(sized, stmt=other))).plan()
