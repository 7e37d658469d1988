"""Blocks: how many values of an index at a time, so that what is made at once stays small.

In: extents, bytes. Out: steps. The one rule: the time to find a step does not depend on the extent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

TRIED = 4096  # steps, to find one that divides


def blocks(
    order: Iterable[str], sizes: Mapping[str, int], points: int, itemsize: int, budget: int
) -> tuple[tuple[str, int], ...]:
    """Indices to go through in blocks, each with its step, so that `points` elements at once become few enough."""
    total, found = points * itemsize, []
    for index in order:
        if total <= budget:
            break
        n = sizes[index]
        if n <= 1:
            continue
        unit = max(1, total // n)
        step = even(n, max(1, budget // unit))
        if step < n:
            found.append((index, step))
            total = unit * step
    return tuple(found)


def even(n: int, step: int) -> int:
    """A step not above `step` that makes blocks of about equal width; one that divides, if there is one near."""
    step = min(n, step)
    least = -(-n // step)  # blocks
    if least < step:  # the fewer ones are tried: numbers of blocks, or steps
        steps = (n // blocks for blocks in range(least, min(2 * least, least + TRIED)) if n % blocks == 0)
    else:
        steps = (smaller for smaller in range(step, max(step // 2, step - TRIED), -1) if n % smaller == 0)
    return next((found for found in steps if found > step // 2), -(-n // least))


@cache
def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    digits = "".join(c for c in dtype if c.isdigit())
    return int(digits) // 8 if digits else 1
