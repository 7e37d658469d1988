"""Where the larger arrays of a Plan lie in memory that is kept from call to call.

In: a Plan. Out: how far from its beginning each of them lies, and the bytes of all. The one rule: arrays that live at
once never share a byte, and what a caller gets lies elsewhere.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from .buffers import buffers_of, bytes_of, lifetimes, passing_memory, places_of
from .limits import Limits
from .places import Buffer, Part
from .plan import Either, Loop, Plan, Step, Within

LINE = 64  # bytes of a line of the cache: arrays begin there


@dataclass
class Room:
    """Offsets of arrays in one piece of memory, of `size` bytes."""

    at: dict[Buffer, int] = field(default_factory=dict)
    size: int = 0

    def add(self, buffer: Buffer, limits: Limits) -> int | None:
        """Where one more array lies, which lives as long as all others; None if it is small, or too much."""
        bytes_ = bytes_of(buffer)
        if bytes_ < limits.reused or self.size + bytes_ > limits.room:
            return None
        self.at[buffer] = self.size
        self.size = _lines(self.size + bytes_)
        return self.at[buffer]


def room_of(plan: Plan, together: Sequence[tuple[int, int]] = ()) -> Room:
    """Where arrays lie that are made once in a call: the largest first, each as near to the beginning as may be.

    `together` are first and last sections whose steps do not run one after the other: what they mention lives at once.
    """
    limits, lives = plan.limits, lifetimes(plan)
    for begin, end in together:
        for buffer, (first, last) in lives.items():
            if first <= end and begin <= last:
                lives[buffer] = min(first, begin), max(last, end)
    elsewhere = {place.buffer for _, place, _ in plan.outputs} | _private(plan)
    found = Room()
    placed: list[tuple[int, int, int, int]] = []  # offset and its end, first and last section; in order
    for buffer in sorted(lives, key=lambda b: (-bytes_of(b), b.name)):
        bytes_ = bytes_of(buffer)
        if bytes_ < limits.reused:
            break
        if buffer in elsewhere:
            continue
        first, last = lives[buffer]
        at = 0
        for low, high, begin, end in placed:
            if begin <= last and first <= end and low < at + bytes_ and at < high:
                at = high
        if at + bytes_ > limits.room:
            continue
        insort(placed, (at, _lines(at + bytes_), first, last))
        found.at[buffer] = at
        found.size = max(found.size, _lines(at + bytes_))
    return found


def _private(plan: Plan) -> set[Buffer]:
    """What loops in threads make for themselves: each has memory of its own."""
    inside, around = set[Buffer](), set[Buffer]()
    stack: list[Step] = [step for section in plan.sections for step in section.steps]
    while stack:
        step = stack.pop()
        match step:
            case Loop(how="thread", steps=steps, sums=sums):
                inside.update(place.buffer for place in places_of(steps) if isinstance(place, Part))
                around.update(part.buffer for part, _ in sums)
            case Loop(steps=steps) | Within(steps=steps):
                stack += steps
            case Either(first=first, second=second):
                stack += (*first, *second)
                around.update(buffers_of(step.condition))
            case _:
                around.update(buffers_of(step))
    return inside - around


def memory(plan: Plan) -> int:
    """The bytes of the arrays that are there at once, at most: the room, and what comes and goes beside it."""
    room = room_of(plan)
    return room.size + passing_memory(plan, room.at)


def _lines(n: int) -> int:
    return -(-n // LINE) * LINE
