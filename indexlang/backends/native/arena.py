"""Where arrays that pass from nest to nest lie in the memory of a call.

In: nests in their order, the arrays by name with their bytes. Out: how far from its beginning each lies, and the bytes
of all. The one rule: arrays that hold something at once never share a byte.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence

from .runner import LINE, Called


def arena(
    nests: Sequence[Called], sizes: Mapping[str, int], homes: Mapping[str, str] | None = None
) -> tuple[dict[str, int], int]:
    """Offsets, and the size of the whole; the largest array first, each as near to the beginning as may be.

    `homes` says of arrays that are pieces of others of which.
    """
    lives: dict[str, tuple[int, int]] = {}
    for k, nest in enumerate(nests):
        for array in nest.arrays:
            name = (homes or {}).get(array.name, array.name)
            if name in sizes:
                lives[name] = (lives.get(name, (k, k))[0], k)
    found: dict[str, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # offset and its end, first and last nest; in order
    total = 0
    for name in sorted(lives, key=lambda n: (-sizes[n], n)):
        first, last = lives[name]
        size = -(-sizes[name] // LINE) * LINE
        at = 0
        for low, high, begin, end in placed:
            if begin <= last and first <= end and low < at + size and at < high:
                at = high
        insort(placed, (at, at + size, first, last))
        found[name] = at
        total = max(total, at + size)
    return found, total
