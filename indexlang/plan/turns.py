"""Positions that an edge brings home, run by run: what wraps, is clamped or reflected lies in few pieces.

In: an edge, the positions that it meets, the size of the axis. Out: `Turn`s. The one rule: a position is in one turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EDGES = ("wrap", "clamp", "reflect")


@dataclass(frozen=True)
class Turn:
    """Positions first..last lie in the axis at `sign * position + shift`, or all of them at `shift`: a sign of 0."""

    first: int
    last: int
    sign: int
    shift: int


def turns_of(kind: str, first: int, last: int, size: int, most: int) -> list[Turn] | None:
    """How an edge brings positions home, what lies inside of the axis first; None if in more turns than `most`."""
    if size < 1:
        return None
    if kind == "clamp" or size == 1:
        ends = [Turn(0, size - 1, 1, 0), Turn(first, -1, 0, 0), Turn(size, last, 0, size - 1)]
        return [t for t in ends if max(t.first, first) <= min(t.last, last)]
    around = [t for t in _around(kind, first, last, size, most) if max(t.first, first) <= min(t.last, last)]
    return None if len(around) > most else sorted(around, key=lambda t: t.first != 0)


def _around(kind: str, first: int, last: int, size: int, most: int) -> Iterator[Turn]:
    """The turns of what is repeated, but no more than one beyond `most`."""
    step = size if kind == "wrap" else 2 * (size - 1)
    start = first // step * step
    for _ in range(most + 1):
        if start > last:
            return
        yield Turn(start, start + size - 1, 1, -start)
        if kind == "reflect" and size > 2:
            yield Turn(start + size, start + step - 1, -1, start + step)
        start += step
