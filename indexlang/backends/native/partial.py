"""Reductions whose results are too few for items of their own: made in parts, and before what reads them.

In: the stores of a nest. Out: stores that come before them, and the same stores, which read what those have made. The
one rule: how many parts there are follows from extents alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .axes import FEWEST, GRAIN, LARGE, chosen, count_of, itemized, points, wanted
from .folds import outermost
from .nest import Array
from .nodes import Access, Element, Fold, Node, Nodes, Store, every
from .target import Target

Sizes = Mapping[str, int]


@dataclass
class Apart:
    """Reductions taken out of stores: what runs before, nest by nest, and the arrays that hold it."""

    nodes: Nodes
    sizes: dict[str, int]
    target: Target
    name: str
    before: list[list[Store]] = field(default_factory=list)
    spaces: list[Array] = field(default_factory=list)
    shared: dict[tuple[frozenset[str], frozenset[str]], tuple[str, list[Store]]] = field(default_factory=dict)

    def out_of(self, stores: list[Store]) -> list[Store]:
        """The stores, which read what is made before."""
        if domain(stores, self.sizes) <= LARGE:
            return stores
        written = {s.access.array.name for s in stores}
        put: dict[Node, Node] = {}
        for fold in outermost([s.value for s in stores]):
            work = points(fold.indices, self.sizes) * points(fold.over, self.sizes)
            if work > LARGE and not fold.op.startswith("arg") and not fold.arrays & written:
                found = self._taken(fold, _again(stores, self.sizes, self.target, fold))
                if found is not None:
                    put[fold] = found
        return [replace(s, value=self.nodes.changed(s.value, put.get)) for s in stores]

    def _taken(self, fold: Fold, again: bool) -> Node | None:
        """What stands for a fold that is made before; None if it stays where it is."""
        own = tuple(sorted(fold.indices, key=lambda i: -_weight(fold, i)))
        parts = _parts(fold, own, self.sizes, self.target)
        if parts is None:
            return self._held(fold, own, []) if again else None
        index, piece = parts
        where = (frozenset(fold.over), frozenset(own))
        if where not in self.shared:
            part = f"{self.name}.{len(self.shared)}"
            self.sizes[part] = -(-self.sizes[index] // piece)
            self.shared[where] = part, []
            self.before.append(self.shared[where][1])
        part, together = self.shared[where]
        over = (index, *(i for i in fold.over if i != index))
        made = self.nodes.fold(fold.op, fold.value, over, fold.dtype, (part, piece))
        found = self.nodes.fold(fold.op, self._held(made, (part, *own), together), (part,), fold.dtype)
        return self._held(found, own, []) if again and own else found

    def _held(self, node: Node, own: tuple[str, ...], together: list[Store]) -> Node:
        """A node in an array of its own: what reads it."""
        if not together and together not in self.before:
            self.before.append(together)
        steps = _steps(own, self.sizes)
        array = Array(f"{self.name}.made{len(self.spaces)}", node.dtype, points(own, self.sizes), "output")
        access = Access(array, 0, tuple(sorted(steps)))
        together.append(Store(access, node, own))
        self.spaces.append(array)
        return self.nodes.element(access)


def domain(stores: Sequence[Store], sizes: Sizes) -> int:
    """The points of what has most of them."""
    found = [points(s.free, sizes) for s in stores]
    for n in every(s.value for s in stores):
        found.append(points(n.indices, sizes))
        if isinstance(n, Fold):
            found.append(points(n.indices, sizes) * _within(n, sizes))
    return max(found)


def _within(fold: Fold, sizes: Sizes) -> int:
    """How many values are reduced to one."""
    count = points(fold.over, sizes)
    return count if fold.part is None else -(-count * fold.part[1] // sizes[fold.over[0]])


def _weight(fold: Fold, index: str) -> int:
    return max((abs(n.access.step(index)) for n in every([fold.value]) if isinstance(n, Element)), default=0)


def _again(stores: Sequence[Store], sizes: Sizes, target: Target, fold: Fold) -> bool:
    """Whether several items would make a fold, each for itself."""
    axes = itemized(chosen(stores, sizes, target), sizes, domain(stores, sizes))
    return any(i not in fold.indices for i, _ in axes.items)


def _parts(fold: Fold, own: tuple[str, ...], sizes: Sizes, target: Target) -> tuple[str, int] | None:
    """The reduced index that is taken in pieces, and how many values are in one; None where items are there already."""
    elements = points(own, sizes) * points(fold.over, sizes)
    here = Store(Access(Array("", fold.dtype, 0), 0, _steps(own, sizes)), fold, own)
    if count_of(itemized(chosen([here], sizes, target), sizes, elements).items, sizes) >= FEWEST:
        return None
    index = max(fold.over, key=lambda i: _weight(fold, i) * (sizes[i] >= 2 * FEWEST))
    grain = GRAIN if _weight(fold, index) <= 1 else 4
    piece = -(-sizes[index] // wanted(elements))
    piece = -(-piece // grain) * grain
    return (index, piece) if piece < sizes[index] else None


def _steps(own: Sequence[str], sizes: Sizes) -> tuple[tuple[str, int], ...]:
    """The steps of an array over just these indices."""
    found: list[tuple[str, int]] = []
    step = 1
    for index in reversed(own):
        found.append((index, step))
        step *= sizes[index]
    return tuple(found)
