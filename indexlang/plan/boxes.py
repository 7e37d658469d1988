"""Boxes of positions: what of an array has been written.

In: boxes. Out: what two of them share, whether some cover an array. The one rule: a box is lo..hi-1 along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import prod

Box = tuple[tuple[int, int], ...]


def within(box: Box, other: Box) -> Box | None:
    """What two boxes have in common."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True))
    return both if all(lo < hi for lo, hi in both) else None


def covers(shape: tuple[int, ...], boxes: Iterable[Box]) -> bool:
    """Whether boxes cover an array of a shape."""
    return prod(shape) == 0 or is_covered(tuple((0, n) for n in shape), list(boxes))


def is_covered(whole: Box, boxes: Sequence[Box]) -> bool:
    """Whether every cell of a box lies in one of these: axis by axis, between the ends of the boxes along it."""
    if not whole:
        return bool(boxes)
    parts = {part for box in boxes if (part := within(whole, box)) is not None}
    if whole in parts:
        return True
    if sum(map(_cells, parts)) < _cells(whole):  # they are too small together, however they lie
        return False
    ends = sorted({whole[0][0], whole[0][1], *(end for part in parts for end in part[0])})
    known: dict[frozenset[Box], bool] = {}
    for a, b in pairwise(ends):
        rest = frozenset(part[1:] for part in parts if part[0][0] <= a and b <= part[0][1])
        if rest not in known:
            known[rest] = is_covered(whole[1:], list(rest))
        if not known[rest]:
            return False
    return True


def _cells(box: Box) -> int:
    return prod(hi - lo for lo, hi in box)
