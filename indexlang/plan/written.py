"""What has been made and written at a step of a Plan: boxes of buffers, while the steps are gone through once.

In: places. Out: nothing, or `PlanError`. The one rule: what is read lies in its buffer, under the names of its axes,
and all of it has been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .boxes import Box, covers, within
from .places import Buffer, Part, Place, View
from .quantities import Count, Load, Position, Reach, Value, parts_of
from .views import Extents, Span


class PlanError(AssertionError):
    """A Plan that must not be run: a mistake of the planner, never of a program."""


@dataclass(frozen=True)
class Made:
    """How a Part was made: its axes, and where indices stood."""

    indices: tuple[str, ...]
    scope: Mapping[str, Span]
    partial: frozenset[tuple[str, int]] = frozenset()  # indices of which it holds some values only


@dataclass
class Memory:
    """Where indices stand at a step, and what has been written before it."""

    extents: Extents = field(default_factory=dict)
    scope: dict[str, Span] = field(default_factory=dict)
    reach: dict[str, tuple[int, int]] = field(default_factory=dict)  # values that loops give their indices
    written: dict[Buffer, list[Box]] = field(default_factory=dict)
    complete: set[Buffer] = field(default_factory=set)
    made: dict[Buffer, Made] = field(default_factory=dict)  # Parts
    pieces: dict[Buffer, int] = field(default_factory=dict)  # Parts of a block, with their section's number
    number: int = 0  # of the section
    partial: frozenset[tuple[str, int]] = frozenset()  # indices of which steps have a part only, and which part
    where: str = ""

    def fail(self, message: str) -> PlanError:
        return PlanError(f"{message}, in {self.where}")

    def require(self, holds: bool, message: str) -> None:
        if not holds:
            raise self.fail(message)

    def define(self, buffer: Buffer) -> None:
        self.complete.add(buffer)

    def known(self) -> tuple[dict[Buffer, list[Box]], set[Buffer], dict[Buffer, Made]]:
        """What has been written and made so far."""
        return {b: list(boxes) for b, boxes in self.written.items()}, set(self.complete), dict(self.made)

    def here(self, indices: Iterable[str]) -> set[str]:
        return {i for i in indices if not self.scope[i].tap}

    def is_empty(self, place: Place) -> bool:
        return any(self.extents[i][1] <= self.extents[i][0] for i in place.mentioned)

    def inside(self, place: Place) -> None:
        """Every element lies in the buffer."""
        for index in place.mentioned:
            self.require(index in self.extents, f"{place.buffer.name} is reached by {index}, which has no extent")
        name, shape = place.buffer.name, place.buffer.shape
        axes = place.rows if isinstance(place, View) else place.indices
        self.require(len(axes) == len(shape), f"{name} has {len(shape)} axes, and is reached by {len(axes)} positions")
        if self.is_empty(place):
            return
        if isinstance(place, View):
            self.require(place.buffer not in self.pieces, f"{name} holds one block only")
            for row, size in zip(place.rows, shape, strict=True):
                low, high = row.interval({**self.extents, **self.reach})
                self.require(low >= 0 and high < size, f"{name} is left: {low}..{high} of {size}")
            return
        number = self.pieces.get(place.buffer, self.number)
        self.require(number == self.number, f"{name} holds a block of another section")
        made = self.made.get(place.buffer)
        self.require(made is None or made.indices == place.indices, f"the axes of {name} have other names")
        moved = {i: (run, start, step) for i, run, start, step in place.moved}
        for index, size in zip(place.indices, shape, strict=True):
            run, start, step = moved.get(index, (index, 0, 1))
            last = start + step * (self.scope[run].size - 1)
            self.require(start >= 0 and last < size, f"{name} is left along {index}: {start}..{last} of {size}")

    def is_begun(self, place: Place) -> None:
        """Something has been written to what is combined with."""
        known = place.buffer in self.complete or place.buffer in self.written
        self.require(known, f"{place.buffer.name} is combined with before it is written")
        self.is_defined(place)

    def is_defined(self, place: Place) -> None:
        """What is read has been written."""
        buffer = place.buffer
        if buffer in self.complete:
            return
        self.require(buffer in self.written, f"{buffer.name} is read before it is written")
        if self.is_empty(place):
            return
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
        scope = self.made[place.buffer].scope if place.buffer in self.made else self.scope
        return tuple((0, scope[i].size) for i in place.indices)

    def wrote(self, place: Place) -> None:
        """What has been written: the whole box if no position of it is left out."""
        boxes = self.written.setdefault(place.buffer, [])
        partial = self.partial
        if place.buffer in self.made:  # of what has been made for just these values nothing is left out
            partial -= self.made[place.buffer].partial
        left_out = any(i in place.mentioned for i, _ in partial)
        if self.is_empty(place) or left_out or (isinstance(place, Part) and place.moved):
            return
        if isinstance(place, View) and not self.is_dense(place):
            return
        box = self.box(place)
        if box in boxes:
            return
        boxes.append(box)
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

    # -- what a step reads, and where it goes ----------------------------------------------------

    def same(self, axes: set[str], made: set[str], part: bool = False, inside: bool = False) -> None:
        """The axes of a place are those of what is put there; of a value some may be missing, which broadcasts."""
        if inside:
            self.require(axes <= made, f"axes {sorted(axes - made)} of a place have no value")
        else:
            self.require(made <= axes, f"axes {sorted(made - axes)} of a value have no place")
            self.require(part or made == axes, f"axes {sorted(axes - made)} of a place have no value")

    def only(self, place: Place) -> set[str]:
        """The one axis of what is put in order."""
        found = self.here(place.mentioned)
        self.require(len(found) == 1, f"{place.buffer.name} has axes {sorted(found)}, of which none is put in order")
        return found

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
                case Reach(row=row):
                    for index, _ in row.coefs:
                        self.require(index in self.scope, f"{index} has no values here")
                case Position(index=index):
                    self.require(index in self.extents, f"the index {index} has no extent")
                case Count(over=over):
                    self.require(all(not self.scope[i].tap for i in over), "a count of taps")
                case _:
                    pass
