"""Whether a Plan says something that can be run: it stays in its buffers, and reads nothing that was not written.

In: a Plan. Out: nothing, or `PlanError` with the step. The one rule: everything is computed from the Plan alone, from
offsets, strides and extents; how it was planned is not asked.

Every View stays inside of its Buffer for all values of its indices. A place and its kernel have the same axes. Every
buffer is written before it is read, and wholly defined before it is an output. No two points of a write meet in an
element, nor do two threads. What is multiplied are matrices as they lie, and so is the place that a product writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from .boxes import Box, covers, is_covered
from .building import axes_of, steps_of
from .contraction import is_matrix, merges
from .kernels import (
    Einsum,
    Fading,
    Grouped,
    Kernel,
    Label,
    Map,
    Order,
    Product,
    Ranged,
    Rank,
    Running,
    Scatter,
    Search,
    Select,
    Take,
)
from .places import Buffer, Part, Place, View
from .plan import Check, Either, Leave, Loop, Make, Plan, Run, Section, Step, Within
from .planning import every
from .positions import Positions
from .quantities import Value
from .views import Row, Span, determined, injective, plain, whole
from .wellformed import problems
from .written import Made, Memory, PlanError


def verify(plan: Plan) -> None:
    """Check a plan, and what runs instead. Errors: `PlanError`."""
    for each in every(plan):
        _verify(each)


def _verify(plan: Plan) -> None:
    for message, where in problems(plan):
        raise PlanError(f"{message}, in {where}")
    checking = _Checking()
    for buffer in plan.inputs:
        checking.define(buffer)
    for table in plan.tables:
        checking.shape_of(table.buffer, [hi - lo for _, (lo, hi) in table.extents])
        checking.define(table.buffer)
        if table.buffer.dtype == "int64":
            checking.positions.held[table.buffer] = checking.positions.interval(table.value, dict(table.extents))
    for section in plan.sections:
        checking.section(section)
    checking.extents = dict(plan.extents)
    checking.scope = whole(checking.extents)
    for tensor, place, _ in plan.outputs:
        checking.where = f"the output {tensor}"
        checking.inside(place)
        checking.is_defined(place)
    checking.where = "what must be finite"
    for place in plan.finite:
        checking.load(place)


@dataclass
class _Checking(Memory):
    """The steps, one after the other."""

    threads: list[tuple[str, frozenset[Buffer]]] = field(default_factory=list)  # their index, what was made before
    positions: Positions = field(default_factory=Positions)
    parts: int = 0  # of indices, so far

    def shape_of(self, buffer: Buffer, shape: Iterable[int]) -> None:
        self.require(buffer.shape == tuple(shape), f"{buffer.name} has another shape than what it holds")

    # -- steps ---------------------------------------------------------------------------------

    def section(self, section: Section) -> None:
        """The steps of a section, one after the other."""
        self.extents = dict(section.extents)
        self.number += 1
        self.scope, self.reach, self.made = dict(whole(self.extents)), {}, {}
        self.where = "; ".join(r.statement for r in section.records)
        self.steps(section.steps)

    def steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Loop():
                    self.loop(step)
                case Within():
                    self.within(step)
                case Make(part=part, op=op):
                    self.make(part, bool(op))
                case Run():
                    self.run(step)
                case Either(condition=condition, first=first, second=second):
                    self.value(condition)
                    self.require(not self.here(condition.indices), "a condition is a single value")
                    self.branches(first, second)
                case Leave(condition=condition):
                    self.value(condition)
                    self.require(not self.here(condition.indices), "a condition is a single value")
                    self.require(self.scope == whole(self.extents), "the Plan is left in a loop")
                case Check(position=position, end=end, admitted=admitted):
                    for value in (position, *([admitted] if admitted is not None else [])):
                        self.value(value)
                    if admitted is None:
                        self.positions.check(position, end)

    def loop(self, loop: Loop) -> None:
        """The steps of a loop, once, with its index restricted."""
        span, kept, reach, partial = self.scope[loop.index], self.scope, dict(self.reach), self.partial
        self.require(not span.tap, f"a second loop over the single value of {loop.index}")
        end = span.size if loop.end is None else loop.end
        self.require(0 <= loop.begin <= end <= span.size, f"a loop over {loop.index} leaves its extent")
        if loop.begin == end:  # no round at all
            return
        lo, _ = self.extents[loop.index]
        if span.whole:
            self.reach[loop.index] = (lo + loop.begin, lo + end)
        elif (loop.begin, end) != (0, span.size):  # a part of each block: what it writes is no box
            self.partial |= {(loop.index, self.count())}
        inner = Span(span.n, 1, True) if loop.by == 0 else Span(span.n, min(loop.by, span.size), part=span.part)
        self.scope = {**kept, loop.index: inner}
        if loop.how == "thread":
            mine = {part.buffer for part, _ in loop.sums}
            self.threads.append((loop.index, frozenset(self.made) - mine))
            for part, _ in loop.sums:
                self.scope = kept
                self.make(part, filled=True)
                self.scope = {**kept, loop.index: inner}
        self.steps(loop.steps)
        if loop.how == "thread":
            self.threads.pop()
        self.scope, self.reach, self.partial = kept, reach, partial

    def within(self, step: Within) -> None:
        """The steps for some values of an index: what they write of it is no box."""
        span, kept, partial = self.scope[step.index], self.scope, self.partial
        self.require(not span.tap, f"a part of the single value of {step.index}")
        for value in (step.begin, step.end):
            self.value(value)
            self.require(not self.here(value.indices), "where a part begins and ends is a single value")
        self.scope = {**kept, step.index: replace(span, part=True)}
        self.partial |= {(step.index, self.count())}
        self.steps(step.steps)
        self.scope, self.partial = kept, partial

    def count(self) -> int:
        """The number of a part of an index: each time another one."""
        self.parts += 1
        return self.parts

    def make(self, part: Part, filled: bool) -> None:
        """An array that begins here."""
        self.require(len(part.indices) == len(part.buffer.shape), f"{part.buffer.name} has not an axis for each index")
        for index, size in zip(part.indices, part.buffer.shape, strict=True):
            self.require(not self.scope[index].tap, f"{part.buffer.name} has an axis for the tap {index}")
            self.require(size >= self.scope[index].size, f"{part.buffer.name} is too small along {index}")
        self.made[part.buffer] = Made(part.indices, dict(self.scope), self.partial)
        if any(not self.scope[i].whole for i in part.indices):
            self.pieces.setdefault(part.buffer, self.number)
        self.written.pop(part.buffer, None)
        self.complete.discard(part.buffer)
        if filled:
            self.define(part.buffer)

    def branches(self, first: Iterable[Step], second: Iterable[Step]) -> None:
        """What is written in both branches is written afterwards; what was there before stays."""
        before = self.known()
        positions = self.positions.copy()
        self.steps(first)
        one = self.written, self.complete
        self.written, self.complete, self.made = before
        self.positions, positions = positions, self.positions
        self.steps(second)
        self.positions.either(positions)
        self.complete &= one[1] | {b for b, boxes in one[0].items() if covers(b.shape, boxes)}
        self.written = {b: _in_both(boxes, one[0][b]) for b, boxes in self.written.items() if b in one[0]}

    def run(self, run: Run) -> None:
        """A kernel into its place."""
        place, op = run.place, run.op
        if isinstance(place, Part) and place.buffer not in self.made and place.buffer not in self.complete:
            self.require(op == "=", f"{place.buffer.name} is combined with before it is made")
            self.make(place, filled=False)
            exact = [self.scope[i].size for i in place.indices]
            self.require(list(place.buffer.shape) == exact, f"{place.buffer.name} is made longer than what it holds")
        self.require(place.buffer.role not in ("input", "table"), f"{place.buffer.name} must not be written")
        self.inside(place)
        one_by_one = set(run.kernel.among) if isinstance(run.kernel, Select) else set()
        self.apart(place, one_by_one)
        axes = set(self.axes(place))
        if op != "=":
            self.is_begun(place)
        self.kernel(run.kernel, place, axes)
        self.positions.run(run, {**self.extents, **self.reach})
        if op == "=":
            self.wrote(place)

    # -- places --------------------------------------------------------------------------------

    def axes(self, place: Place) -> tuple[str, ...]:
        if isinstance(place, Part):
            return tuple(i for i in place.mentioned if not self.scope[i].tap)
        return axes_of(place, self.scope)

    def apart(self, place: Place, one_by_one: set[str]) -> None:
        """No two points that are written at once, or by two threads, meet in an element."""
        if self.is_empty(place):
            return
        self.meets_nothing(place, self.here(place.mentioned) - one_by_one, "two points of a write")
        for index, before in self.threads:
            if place.buffer in self.made and place.buffer not in before:  # each thread's own
                continue
            together = self.here(place.mentioned) | {index}
            self.require(index in place.mentioned, f"threads over {index} meet in {place.buffer.name}")
            self.meets_nothing(place, together, "two threads")

    def meets_nothing(self, place: Place, indices: set[str], who: str) -> None:
        if isinstance(place, Part):
            self.require(len(set(place.mentioned)) == len(place.mentioned), f"{who} meet in {place.buffer.name}")
            return
        sizes = {i: hi - lo for i, (lo, hi) in self.extents.items()}
        sizes |= {i: self.scope[i].size for i in indices if not any(i == t for t, _ in self.threads)}
        moving = {i for i in indices if sizes[i] > 1}
        strides = steps_of(place, whole({i: self.extents[i] for i in place.mentioned}))
        alone = injective((strides.get(i, 0), sizes[i]) for i in moving)
        self.require(alone or determined(place.rows, moving, sizes), f"{who} meet in {place.buffer.name}")

    # -- kernels -------------------------------------------------------------------------------

    def kernel(self, kernel: Kernel, place: Place, axes: set[str]) -> None:
        """What a kernel reads is there, and its axes are those of the place."""
        match kernel:
            case Map(value=value):
                self.value(value)
                self.same(axes, self.here(value.indices), part=True)
            case Take(source=source, at=at):
                self.load(source)
                self.along(source, self.filled(at))  # along no element 0 is taken, and a mask or a Check is over it
                gone = {i for i, _ in at}
                for _, value in at:
                    self.value(value)
                made = (self.here(source.mentioned) - gone).union(*(self.here(v.indices) for _, v in at))
                self.same(axes, made)
            case Product(left=left, right=right, roles=r):
                for side, own in ((left, r.rows), (right, r.columns)):
                    self.load(side)
                    self.require(side.buffer != place.buffer, f"{place.buffer.name} is written while it is multiplied")
                    rest = self.here(side.mentioned) - {*r.batch, *own, *r.summed}
                    self.require(not rest, f"axes {sorted(rest)} of {side.buffer.name} have no role in a product")
                self.same(axes, {*r.batch, *r.rows, *r.columns})
                if kernel.by == "matmul":
                    sizes = {i: span.size for i, span in self.scope.items()}
                    where = steps_of(place, self.scope)
                    self.require(is_matrix(r.rows, r.columns, where, sizes, True), "a product writes no matrix")
                    for side, groups in ((left, (r.rows, r.summed)), (right, (r.summed, r.columns))):
                        steps = steps_of(side, self.scope)
                        good = all(merges([i for i in g if i in steps], steps, sizes) for g in groups)
                        self.require(good, f"{side.buffer.name} is multiplied and is no matrix as it lies")
            case Grouped():
                self.grouped(kernel, place, axes)
            case Einsum(factors=factors):
                for value in factors:
                    self.value(value)
                self.same(axes, set().union(*(self.here(v.indices) for v in factors)), inside=True)
            case Running(op=op, source=source, along=along):
                self.load(source)
                self.same(axes, self.here(source.mentioned))
                there = self.scope[along].whole or op not in ("argmax", "argmin")
                self.require(there, f"positions along {along} are of a part of it")
            case Ranged(source=source, along=along, begin=begin, end=end):
                self.load(source)
                self.value(begin)
                self.value(end)
                ends, mine = {*self.here(begin.indices), *self.here(end.indices)}, self.here(source.mentioned)
                self.require(self.scope[along].whole, f"positions along {along} are of a part of it")
                self.require(not ends & mine, "an end is said of what is gone along")
                first, last = (self.positions.interval(v, self.extents) or (-1, 1 << 62) for v in (begin, end))
                lo, hi = self.extents[along]
                self.require(first[0] >= 0 and last[1] < hi - lo, f"ends of {source.buffer.name} are outside")
                self.same(axes, (mine - {along}) | ends)
            case Fading(source=source, fades=fades):
                for side in (source, fades):
                    self.load(side)
                    self.require(side.buffer != place.buffer, f"{place.buffer.name} is written while it fades")
                self.same(axes, {*self.here(source.mentioned), *self.here(fades.mentioned)})
            case Order(source=source, rank=rank):
                self.load(source)
                (along,) = self.only(source)
                alike = self.extents[along][1] - self.extents[along][0] == self.extents[rank][1] - self.extents[rank][0]
                self.require(
                    self.scope[along].whole and self.scope[rank].whole and alike, f"a part of {along} in order"
                )
                self.same(axes, {rank})
            case Rank(source=source, value=value):
                self.load(source)
                self.only(source)
                self.value(value)
                self.same(axes, self.here(value.indices))
            case Label(source=source, over=over):
                self.load(source)
                self.same(axes, self.here(source.mentioned))
                good = bool(over) and all(i in axes and self.scope[i].whole for i in over)
                self.require(good, f"values along a part of {list(over)}")
            case Search(value=value, over=over, admitted=admitted, best=best):
                self.value(value)
                if admitted is not None:
                    self.value(admitted)
                if best is not None:
                    self.load(best)
                self.same(axes, self.here(value.indices) - set(over), part=True)
                self.require(set(kernel.inner) <= axes, f"rows of {list(kernel.inner)} are searched, which it has not")
                self.require(set(over) == self.here(over) - axes, f"a search over {list(over)} is for one of them")
                if admitted is not None:
                    self.same(axes | set(over), self.here(admitted.indices), part=True)
            case Select(value=value, condition=condition, among=among):
                self.value(value)
                self.value(condition)
                self.same(axes, self.here((*value.indices, *condition.indices)) | set(among), part=True)
                self.require(not value.indices & set(among), "a selection is among what its value has")
            case Scatter(at=at, value=scattered, points=points, rest=rest, admitted=admitted):
                of_points = [*(v for _, v in at), *([admitted] if admitted is not None else [])]
                for part in (*of_points, *([scattered] if scattered is not None else [])):
                    self.value(part)
                self.same(axes, {*(i for i, _ in at), *rest})
                self.require(all(self.here(v.indices) <= set(points) for v in of_points), "positions of other points")
                self.along(place, at if admitted is None else self.filled(at))  # no point is admitted to no element
                self.is_entire(place, at)
                if scattered is not None:
                    self.same({*points, *rest}, self.here(scattered.indices), part=True)

    def grouped(self, kernel: Grouped, place: Place, axes: set[str]) -> None:
        """Positions are along what has the mark; each side has its rows or columns, and what is summed."""
        r, mark, left, right = kernel.roles, kernel.mark, kernel.left, kernel.right
        self.load(left)
        self.load(right)
        self.value(kernel.at)
        chosen = mark in left.mentioned
        self.require(place.buffer not in (left.buffer, right.buffer), f"{place.buffer.name} is written, and multiplied")
        own = self.here(left.mentioned)
        good = own == {mark, *r.rows, *r.summed} if chosen else own <= {*r.rows, *r.summed}
        self.require(good, f"axes of {left.buffer.name} have no role in a product")
        self.require(self.here(right.mentioned) <= {*r.columns, *r.summed}, f"axes of {right.buffer.name} have no role")
        self.require(self.here(kernel.at.indices) <= set(kernel.points), "positions of other points")
        self.same(axes, {*r.rows, *r.columns, *(() if chosen else (mark,))})
        self.along(left if chosen else place, ((mark, kernel.at),))
        self.is_entire(left if chosen else place, ((mark, kernel.at),))

    def along(self, place: Place, at: Iterable[tuple[str, Value]]) -> None:
        """Positions count the values of an index, all of which are there at once."""
        for index, value in at:
            lo, hi = self.extents[index]
            self.require(self.scope[index].whole, f"positions along {index} are of a part of {place.buffer.name}")
            if all(self.extents[i][1] > self.extents[i][0] for i in value.indices):
                low, high = self.positions.interval(value, {**self.extents, **self.reach}) or (-1, 0)
                message = f"positions in {place.buffer.name} are {low}..{high} of {hi - lo}"
                self.require(low >= 0 and high < hi - lo, message)

    def filled(self, at: Iterable[tuple[str, Value]]) -> list[tuple[str, Value]]:
        """Positions along axes that have an element."""
        return [(i, value) for i, value in at if self.extents[i][0] < self.extents[i][1]]

    def is_entire(self, place: Place, at: Iterable[tuple[str, Value]]) -> None:
        """What is scattered to is a whole axis."""
        axes: Iterable[Row] = place.rows if isinstance(place, View) else map(plain, place.indices)
        for (index, _), (row, size) in product(at, zip(axes, place.buffer.shape, strict=True)):
            if any(i == index for i, _ in row.coefs):
                good = row == plain(index) and self.extents[index] == (0, size)
                self.require(good, f"a part of {place.buffer.name} is scattered to along {index}")


def _in_both(one: Sequence[Box], other: Sequence[Box]) -> list[Box]:
    """The boxes of either that the other one covers, too."""
    first, second = dict.fromkeys(one), dict.fromkeys(other)
    both = [box for box in first if box in second]
    if len(both) == len(first) == len(second):
        return both
    sides = ((first, second), (second, first))
    return both + [b for mine, theirs in sides for b in mine if b not in both and is_covered(b, list(theirs))]
