"""Boxes of positions: what of an array has been written.

In: boxes. Out: what two of them share, whether some cover an array. The one rule: a box is lo..hi-1 along each axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise, product
from math import prod

Box = tuple[tuple[int, int], ...]


def within(box: Box, other: Box) -> Box | None:
    """What two boxes have in common."""
    both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(box, other, strict=True))
    return both if all(lo < hi for lo, hi in both) else None


def covers(shape: tuple[int, ...], boxes: Iterable[Box]) -> bool:
    """Whether boxes cover an array of a shape: every cell between their ends lies in one."""
    boxes = list(boxes)
    if prod(shape) == 0:
        return True
    if not shape:
        return bool(boxes)
    everything = tuple((0, n) for n in shape)
    if everything in boxes:
        return True
    ends = [sorted({0, n, *(e for box in boxes for e in box[k])}) for k, n in enumerate(shape)]
    return all(
        any(all(lo <= a and b <= hi for (a, b), (lo, hi) in zip(cell, box, strict=True)) for box in boxes)
        for cell in product(*(tuple(pairwise(e)) for e in ends))
    )
