"""Tensors that several statements make, each of them a part of its own: concatenations, gates, their gradients.

In: statements, sizes known. Out: the tensors of which no element is written by two of them, and each by one. The one
rule: what is not proven by boxes of positions is added up, from zeros on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import prod

from ..program.ir import Boundary, Dots, Merged, Statement, reads_of
from .boxes import Box, within
from .sized import Sized
from .views import linear

Shapes = Mapping[str, tuple[int, ...]]


def made_of_parts(statements: Sequence[Sized], shapes: Shapes, given: Collection[str]) -> frozenset[str]:
    """The tensors that statements make part by part; those `given` hold something already."""
    writers: dict[str, list[int]] = {}
    for k, sized in enumerate(statements):
        writers.setdefault(sized.stmt.target.tensor, []).append(k)
    found = set()
    for tensor, numbers in writers.items():
        if len(numbers) < 2 or tensor in given:
            continue
        boxes = [_box(statements[k], shapes) for k in numbers]
        known = [box for box in boxes if box is not None]
        if len(known) < len(boxes) or any(tensor in reads_of(s.stmt) for s in statements[: numbers[-1] + 1]):
            continue
        apart = all(within(a, b) is None for a, b in combinations(known, 2))
        if apart and sum(prod(hi - lo for lo, hi in box) for box in known) == prod(shapes[tensor]):
            found.add(tensor)
    return frozenset(found)


def _box(sized: Sized, shapes: Shapes) -> Box | None:
    """All elements that a statement writes, each from one point of what it keeps; None where that is not known."""
    stmt: Statement = sized.stmt
    if stmt.op not in ("=", "+=") or sized.guarded or sized.compute.startswith("complex"):
        return None
    box: list[tuple[int, int]] = []
    moved: set[str] = set()
    for sub, size in zip(stmt.target.subscripts, shapes[stmt.target.tensor], strict=True):
        row = None if isinstance(sub, Boundary | Dots | Merged) else linear(sub, shapes)
        if row is None or len(row.coefs) > 1 or any(c != 1 or i in moved for i, c in row.coefs):
            return None
        moved.update(i for i, _ in row.coefs)
        if any(hi <= lo for lo, hi in (sized.extents[i] for i, _ in row.coefs)):
            return None
        low, high = row.interval(sized.extents)
        if low < 0 or high >= size:
            return None
        box.append((low, high + 1))
    return tuple(box)
