"""Boxes of positions: what of an array has been written.

In: boxes. Out: what two of them share, whether some cover an array. The one rule: a box is lo..hi-1 along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise, product
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
    """Whether every cell of a box, between the ends of others, lies in one of these."""
    if not whole:
        return bool(boxes)
    if whole in boxes:
        return True
    parts = [part for box in boxes if (part := within(whole, box)) is not None]
    ends = [sorted({lo, hi, *(e for box in parts for e in box[k])}) for k, (lo, hi) in enumerate(whole)]
    return all(
        any(all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(cell, box, strict=True)) for box in boxes)
        for cell in product(*(tuple(pairwise(e)) for e in ends))
    )
