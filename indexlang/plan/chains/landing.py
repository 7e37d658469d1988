"""Where a statement of a chain writes: each axis of its target by an index alone, or by one that a small window moves.

In: a target. Out: a `Landing` for each axis. The one rule: a block index stands alone, and no index reaches two axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...program.ir import Access, Boundary, Const, Dots, Index, Merged
from ...program.names import counted, free
from ..views import Row, injective, linear, plain
from .formulas import Formulas
from .values import Graph, Move, RefusedError


@dataclass(frozen=True)
class Landing:
    """How an axis of a target is reached: from `row`, of which `index` runs along; `axis` names its positions."""

    axis: str
    index: str
    row: Row
    size: int

    @property
    def is_plain(self) -> bool:
        """Whether the axis is an index alone."""
        return self.row == plain(self.axis)

    def is_apart(self, graph: Graph) -> bool:
        """Whether no two points meet in one element, so that it takes no turns to write them."""
        return injective((c, graph.points([i])) for i, c in self.row.coefs)

    def move(self, graph: Graph) -> Move | None:
        """Where the values go at one position of a window; None if beyond the axis."""
        lo, hi = graph.extents[self.index]
        step = dict(self.row.coefs)[self.index]
        start = self.row.const + sum(c * graph.bound[i] for i, c in self.row.coefs if i != self.index)
        first = max(lo, -(start // step))
        beyond = min(hi, (self.size - 1 - start) // step + 1)
        if beyond <= first:
            return None
        return Move(self.index, self.axis, first - lo, beyond - first, start + step * first, step)


def landings(target: Access, graph: Formulas, labels: Sequence[str]) -> list[Landing]:
    """How each axis of the target is reached; new indices for axes that are reached by more than one index."""
    shape, found = graph.shapes[target.tensor], list[Landing]()
    for sub, size in zip(target.subscripts, shape, strict=True):
        if isinstance(sub, Index):
            if graph.extents[sub.name] != (0, size):
                raise RefusedError
            found.append(Landing(sub.name, sub.name, plain(sub.name), size))
            continue
        if isinstance(sub, Merged | Dots) or (isinstance(sub, Boundary) and sub.kind != "pad"):
            raise RefusedError
        row = linear(sub.expr if isinstance(sub, Boundary) else sub, graph.shapes)
        before = Const(0) if not isinstance(sub, Boundary) or sub.lo is None else sub.lo
        shift = linear(before, graph.shapes) if not isinstance(before, Access) else None
        if row is None or not row.coefs or shift is None or shift.coefs:
            raise RefusedError
        index, coef = max(row.coefs, key=lambda c: graph.points([c[0]]))
        if coef < 1 or index in labels:
            raise RefusedError
        axis = index
        if graph.extents[index] != (0, size):
            axis = free(counted(index, "_"), graph.extents)
            graph.extents[axis] = (0, size)
            graph.order.insert(graph.order.index(index) + 1, axis)
        found.append(Landing(axis, index, row.shifted(-shift.const), size))
    named = [i for place in found for i, _ in place.row.coefs]
    if len(set(named)) < len(named):
        raise RefusedError
    return found
