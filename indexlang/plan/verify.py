"""Whether a Plan says something that can be run: it stays in its buffers, and reads nothing that was not written.

In: a Plan. Out: nothing, or `PlanError` with the step. The one rule: everything is computed from the Plan alone, from
offsets, strides and extents; how it was planned is not asked.

Every View stays inside of its Buffer for all values of its indices. A place and its kernel have the same axes. Every
buffer is written before it is read, and wholly defined before it is an output. No two points of a write meet in an
element, nor do two threads. What is multiplied are matrices as they lie, and so is the place that a product writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .boxes import Box, covers, within
from .building import axes_of, steps_of
from .contraction import is_matrix, merges
from .plan import (
    Buffer,
    Check,
    Count,
    Einsum,
    Either,
    Kernel,
    Load,
    Loop,
    Make,
    Map,
    Part,
    Place,
    Plan,
    Position,
    Product,
    Run,
    Running,
    Scatter,
    Search,
    Section,
    Select,
    Step,
    Take,
    Value,
    View,
    parts_of,
)
from .views import Extents, Span, determined, injective, whole


class PlanError(AssertionError):
    """A Plan that must not be run: a mistake of the planner, never of a program."""


def verify(plan: Plan) -> None:
    """Check a plan, and what runs instead. Errors: `PlanError`."""
    if plan.instead is not None:
        verify(plan.instead)
    checking = _Checking()
    for buffer in plan.inputs:
        checking.define(buffer)
    for table in plan.tables:
        checking.shape_of(table.buffer, [hi - lo for _, (lo, hi) in table.extents])
        checking.define(table.buffer)
    for section in plan.sections:
        checking.section(section)
    checking.extents = dict(plan.extents)
    checking.scope = whole(checking.extents)
    for tensor, place, _ in plan.outputs:
        checking.where = f"the output {tensor}"
        checking.inside(place)
        checking.is_defined(place)
    for place in plan.finite:
        checking.where = "what must be finite"
        checking.is_defined(place)


@dataclass
class _Checking:
    """What is known at a step: where indices stand, what has been written."""

    extents: Extents = field(default_factory=dict)
    scope: dict[str, Span] = field(default_factory=dict)
    reach: dict[str, tuple[int, int]] = field(default_factory=dict)  # values that loops give their indices
    written: dict[Buffer, list[Box]] = field(default_factory=dict)
    complete: set[Buffer] = field(default_factory=set)
    made: dict[Buffer, Mapping[str, Span]] = field(default_factory=dict)  # Parts, with the scope that made them
    threads: list[tuple[str, frozenset[Buffer]]] = field(default_factory=list)  # their index, what was there before
    where: str = ""

    def fail(self, message: str) -> PlanError:
        return PlanError(f"{message}, in {self.where}")

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise self.fail(message)

    def define(self, buffer: Buffer) -> None:
        self.complete.add(buffer)

    def shape_of(self, buffer: Buffer, shape: Iterable[int]) -> None:
        self.require(buffer.shape == tuple(shape), f"{buffer.name} has another shape than what it holds")

    # -- steps ---------------------------------------------------------------------------------

    def section(self, section: Section) -> None:
        """The steps of a section, one after the other."""
        self.extents = dict(section.extents)
        self.scope, self.reach, self.made = dict(whole(self.extents)), {}, {}
        self.where = "; ".join(r.statement for r in section.records)
        self.steps(section.steps)

    def steps(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Loop():
                    self.loop(step)
                case Make(part=part, op=op):
                    self.make(part, bool(op))
                case Run():
                    self.run(step)
                case Either(condition=condition, first=first, second=second):
                    self.value(condition)
                    self.require(not self.here(condition.indices), "a condition is a single value")
                    self.branches(first, second)
                case Check(position=position, admitted=admitted):
                    for value in (position, *([admitted] if admitted is not None else [])):
                        self.value(value)

    def loop(self, loop: Loop) -> None:
        """The steps of a loop, once, with its index restricted."""
        span, kept, reach = self.scope[loop.index], self.scope, dict(self.reach)
        self.require(not span.tap, f"a second loop over the single value of {loop.index}")
        end = span.size if loop.end is None else loop.end
        self.require(0 <= loop.begin <= end <= span.size, f"a loop over {loop.index} leaves its extent")
        lo, _ = self.extents[loop.index]
        if span.whole:
            self.reach[loop.index] = (lo + loop.begin, lo + end)
        inner = Span(span.n, 1, True) if loop.by == 0 else Span(span.n, min(loop.by, span.size))
        self.scope = {**kept, loop.index: inner}
        if loop.how == "thread":
            mine = {part.buffer for part, _ in loop.sums}
            self.threads.append((loop.index, frozenset({*self.written, *self.made} - mine)))
            for part, _ in loop.sums:
                self.scope = kept
                self.make(part, filled=True)
                self.scope = {**kept, loop.index: inner}
        self.steps(loop.steps)
        if loop.how == "thread":
            self.threads.pop()
        self.scope, self.reach = kept, reach

    def make(self, part: Part, filled: bool) -> None:
        """An array that begins here."""
        self.require(len(part.indices) == len(part.buffer.shape), f"{part.buffer.name} has not an axis for each index")
        for index, size in zip(part.indices, part.buffer.shape, strict=True):
            self.require(not self.scope[index].tap, f"{part.buffer.name} has an axis for the tap {index}")
            self.require(size >= self.scope[index].size, f"{part.buffer.name} is too small along {index}")
        self.made[part.buffer] = dict(self.scope)
        self.written.pop(part.buffer, None)
        self.complete.discard(part.buffer)
        if filled:
            self.define(part.buffer)

    def branches(self, first: Iterable[Step], second: Iterable[Step]) -> None:
        """What is written in both branches is written afterwards; what was there before stays."""
        before = {b: list(boxes) for b, boxes in self.written.items()}, set(self.complete), dict(self.made)
        self.steps(first)
        one = self.written, self.complete
        self.written, self.complete, self.made = before
        self.steps(second)
        self.complete &= one[1] | {b for b, boxes in one[0].items() if covers(b.shape, boxes)}
        self.written = {b: boxes for b, boxes in self.written.items() if b in one[0]}

    def run(self, run: Run) -> None:
        """A kernel into its place."""
        place, op = run.place, run.op
        if isinstance(place, Part) and place.buffer not in self.made and place.buffer not in self.complete:
            self.require(op == "=", f"{place.buffer.name} is combined with before it is made")
            self.make(place, filled=False)
        self.require(place.buffer.role not in ("input", "table"), f"{place.buffer.name} must not be written")
        self.inside(place)
        one_by_one = set(run.kernel.among) if isinstance(run.kernel, Select) else set()
        self.apart(place, one_by_one)
        axes = set(self.axes(place))
        if op != "=":
            self.is_begun(place)
        self.kernel(run.kernel, place, axes)
        if op == "=":
            self.wrote(place)

    # -- places --------------------------------------------------------------------------------

    def axes(self, place: Place) -> tuple[str, ...]:
        if isinstance(place, Part):
            return tuple(i for i in place.mentioned if not self.scope[i].tap)
        return axes_of(place, self.scope)

    def here(self, indices: Iterable[str]) -> set[str]:
        return {i for i in indices if not self.scope[i].tap}

    def is_empty(self, place: Place) -> bool:
        return any(self.extents[i][1] <= self.extents[i][0] for i in place.mentioned)

    def inside(self, place: Place) -> None:
        """Every element lies in the buffer."""
        for index in place.mentioned:
            self.require(index in self.extents, f"{place.buffer.name} is reached by {index}, which has no extent")
        if self.is_empty(place):
            return
        name, shape = place.buffer.name, place.buffer.shape
        if isinstance(place, View):
            self.require(len(place.rows) == len(shape), f"{name} has not a row for each axis")
            for row, size in zip(place.rows, shape, strict=True):
                low, high = row.interval({**self.extents, **self.reach})
                self.require(low >= 0 and high < size, f"{name} is left: {low}..{high} of {size}")
            return
        self.require(len(place.indices) == len(shape), f"{name} has not an axis for each index")
        moved = {i: (run, start, step) for i, run, start, step in place.moved}
        for index, size in zip(place.indices, shape, strict=True):
            run, start, step = moved.get(index, (index, 0, 1))
            last = start + step * (self.scope[run].size - 1)
            self.require(start >= 0 and last < size, f"{name} is left along {index}: {start}..{last} of {size}")

    def apart(self, place: Place, one_by_one: set[str]) -> None:
        """No two points that are written at once, or by two threads, meet in an element."""
        if self.is_empty(place):
            return
        self.meets_nothing(place, self.here(place.mentioned) - one_by_one, "two points of a write")
        for index, before in self.threads:
            if place.buffer not in before:
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

    def is_begun(self, place: Place) -> None:
        """Something has been written to what is combined with."""
        known = place.buffer in self.complete or place.buffer in self.written
        self.require(known, f"{place.buffer.name} is combined with before it is written")
        self.is_defined(place)

    def is_defined(self, place: Place) -> None:
        """What is read has been written."""
        buffer = place.buffer
        if buffer in self.complete or self.is_empty(place):
            return
        self.require(buffer in self.written, f"{buffer.name} is read before it is written")
        wanted = self.box(place)
        boxes = [within(box, wanted) for box in self.written[buffer]]
        found = [box for box in boxes if box is not None]
        shape = tuple(hi - lo for lo, hi in wanted)
        moved = [tuple((a - lo, b - lo) for (a, b), (lo, _) in zip(box, wanted, strict=True)) for box in found]
        self.require(covers(shape, moved), f"parts of {buffer.name} are read before they are written")

    def box(self, place: Place) -> Box:
        """The box in which the elements of a place lie, over all values that loops give its indices."""
        if isinstance(place, View):
            ends = [row.interval({**self.extents, **self.reach}) for row in place.rows]
            return tuple((low, high + 1) for low, high in ends)
        if place.moved:
            return tuple((0, n) for n in place.buffer.shape)
        scope = self.made.get(place.buffer, self.scope)
        return tuple((0, scope[i].size) for i in place.indices)

    def wrote(self, place: Place) -> None:
        """What has been written: the whole box if no position of it is left out."""
        if self.is_empty(place) or (isinstance(place, Part) and place.moved):
            return
        if isinstance(place, View) and not self.is_dense(place):
            return
        boxes = self.written.setdefault(place.buffer, [])
        boxes.append(self.box(place))
        if covers(place.buffer.shape, boxes):
            self.define(place.buffer)

    def is_dense(self, place: View) -> bool:
        """Whether the rows of a view leave no position of their box out: each index moves one row, without gaps."""
        names = [i for row in place.rows for i, _ in row.coefs]
        if len(set(names)) < len(names):
            return False
        for row in place.rows:
            reach = 1
            for index, coef in sorted(row.coefs, key=lambda c: abs(c[1])):
                lo, hi = self.reach.get(index, self.extents[index])
                if hi - lo > 1 and abs(coef) > reach:
                    return False
                reach += abs(coef) * (hi - lo - 1)
        return True

    # -- kernels -------------------------------------------------------------------------------

    def kernel(self, kernel: Kernel, place: Place, axes: set[str]) -> None:
        """What a kernel reads is there, and its axes are those of the place."""
        match kernel:
            case Map(value=value):
                self.value(value)
                self.same(axes, self.here(value.indices), part=True)
            case Take(source=source, at=at):
                self.load(source)
                gone = {i for i, _ in at}
                for _, value in at:
                    self.value(value)
                made = (self.here(source.mentioned) - gone).union(*(self.here(v.indices) for _, v in at))
                self.same(axes, made)
            case Product(left=left, right=right, roles=r):
                for side in (left, right):
                    self.load(side)
                    self.require(side.buffer != place.buffer, f"{place.buffer.name} is written while it is multiplied")
                self.same(axes, {*r.batch, *r.rows, *r.columns})
                if kernel.by == "matmul":
                    sizes = {i: span.size for i, span in self.scope.items()}
                    where = steps_of(place, self.scope)
                    self.require(is_matrix(r.rows, r.columns, where, sizes, True), "a product writes no matrix")
                    for side, groups in ((left, (r.rows, r.summed)), (right, (r.summed, r.columns))):
                        steps = steps_of(side, self.scope)
                        good = all(merges([i for i in g if i in steps], steps, sizes) for g in groups)
                        self.require(good, f"{side.buffer.name} is multiplied and is no matrix as it lies")
            case Einsum(factors=factors):
                for value in factors:
                    self.value(value)
                self.same(axes, set().union(*(self.here(v.indices) for v in factors)), inside=True)
            case Running(source=source):
                self.load(source)
                self.same(axes, self.here(source.mentioned))
            case Search(value=value, over=over, admitted=admitted, best=best):
                self.value(value)
                if admitted is not None:
                    self.value(admitted)
                if best is not None:
                    self.load(best)
                self.same(axes, self.here(value.indices) - set(over), part=True)
            case Select(value=value, condition=condition, among=among):
                self.value(value)
                self.value(condition)
                self.same(axes, self.here(value.indices) | set(among), part=True)
            case Scatter(at=at, value=value, points=points, rest=rest):
                for inner in (*(v for _, v in at), *([value] if value is not None else [])):
                    self.value(inner)
                self.same(axes, {*(i for i, _ in at), *rest})
                if value is not None:
                    self.same({*points, *rest}, self.here(value.indices), part=True)

    def same(self, axes: set[str], made: set[str], part: bool = False, inside: bool = False) -> None:
        """The axes of a place are those of what is put there; of a value some may be missing, which broadcasts."""
        if inside:
            self.require(axes <= made, f"axes {sorted(axes - made)} of a place have no value")
        else:
            self.require(made <= axes, f"axes {sorted(made - axes)} of a value have no place")
            self.require(part or made == axes, f"axes {sorted(axes - made)} of a place have no value")

    def load(self, place: Place) -> None:
        """What is read lies in its buffer and has been written."""
        self.inside(place)
        self.is_defined(place)

    def value(self, value: Value) -> None:
        """Everything that a value reads."""
        for part in parts_of(value):
            match part:
                case Load(place=place):
                    self.load(place)
                case Position(index=index):
                    self.require(index in self.extents, f"the index {index} has no extent")
                case Count(over=over):
                    self.require(all(not self.scope[i].tap for i in over), "a count of taps")
                case _:
                    pass
