"""Reductions whose results are too few for items of their own: made in parts, and before what reads them.

In: the stores of a nest. Out: stores that come before them, and the same stores, which read what those have made. The
one rule: how many parts there are follows from extents alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from .axes import FEWEST, GRAIN, LARGE, MOST, chosen, count_of, itemized, points, wanted
from .folds import COMBINE, outermost
from .meaning import unit
from .nest import Array
from .nodes import Access, Element, Fold, Node, Nodes, Position, Store, every, side_by_side, without
from .target import Target
from .varying import renewed, varies

Sizes = Mapping[str, int]
Where = tuple[frozenset[str], frozenset[str]]

ROWS = 8  # of a column's sum that are added up before memory is asked
LONG = 128  # elements of rows from which on they are taken so


@dataclass
class Apart:
    """Reductions taken out of stores: what runs before, nest by nest, and the arrays that hold it."""

    nodes: Nodes
    sizes: dict[str, int]
    target: Target
    name: str
    before: list[list[Store]] = field(default_factory=list)
    spaces: list[Array] = field(default_factory=list)
    shared: dict[Where, tuple[str, list[Store], list[Store]]] = field(default_factory=dict)

    def out_of(self, stores: list[Store]) -> list[Store]:
        """The stores, which read what is made before."""
        if domain(stores, self.sizes) <= LARGE:
            return stores
        written = {s.access.array.name for s in stores}
        free = list(dict.fromkeys(i for s in stores for i in s.free))
        put: dict[Node, Node] = {}
        for fold in outermost([s.value for s in stores]):
            work = points(fold.indices, self.sizes) * points(fold.over, self.sizes)
            if work > LARGE and not fold.limits and not fold.op.startswith("arg") and not fold.arrays & written:
                found = self._taken(fold, free, _again(stores, self.sizes, self.target, fold))
                if found is not None:
                    put[fold] = found
        return [replace(s, value=self.nodes.changed(s.value, put.get)) for s in stores]

    def _taken(self, fold: Fold, free: Sequence[str], again: bool) -> Node | None:
        """What stands for a fold that is made before; None if it stays where it is."""
        first = sorted(fold.indices, key=lambda i: (free.index(i) if i in free else len(free), i))
        own = tuple(sorted(first, key=lambda i: -_weight(fold, i)))
        parts = _parts(fold, own, self.sizes, self.target)
        if parts is None:
            return self._held(fold, own, self._group()) if again else None
        index, piece = parts
        where = (frozenset(fold.over), frozenset(own))
        if (rows := _rows(fold, own, self.sizes)) is not None:
            return self._by_rows(fold, own, rows, where)
        if where not in self.shared:
            part = f"{self.name}.{len(self.shared)}"
            self.sizes[part] = -(-self.sizes[index] // piece)
            self.shared[where] = part, [], self._group()
        part, _, together = self.shared[where]
        over = (index, *(i for i in fold.over if i != index))
        made = self.nodes.fold(fold.op, fold.value, over, fold.dtype, (part, piece))
        found = self.nodes.fold(fold.op, self._held(made, (part, *own), together), (part,), fold.dtype)
        return self._held(found, own, self._group()) if again and own else found

    def _group(self) -> list[Store]:
        """Stores that are one more nest."""
        self.before.append([])
        return self.before[-1]

    def _by_rows(self, fold: Fold, own: tuple[str, ...], parts: int, where: Where) -> Node:
        """A fold of rows too long for the registers: a few of them at a time, brought to what memory holds."""
        (index,) = fold.over
        if where not in self.shared:
            part = f"{self.name}.{len(self.shared)}"
            self.sizes |= {part: parts, f"{part}b": self.sizes[index] // parts // ROWS, f"{part}r": ROWS}
            self.shared[where] = part, self._group(), self._group()
        part, first, together = self.shared[where]
        block, row = f"{part}b", f"{part}r"

        def change(n: Node) -> Node | None:
            if not isinstance(n, Element) or index not in n.access.indices:
                return None
            step = n.access.step(index)
            inner = ((row, step), (block, step * ROWS), (part, step * ROWS * self.sizes[block]))
            steps = tuple(sorted((*without(n.access, index).steps, *inner)))
            return self.nodes.element(replace(n.access, steps=tuple((i, s) for i, s in steps if self.sizes[i] > 1)))

        unit_of = self.nodes.constant(unit(fold.op, fold.dtype), fold.dtype)
        held = self._held(unit_of, (part, *own), first)
        assert isinstance(held, Element)
        few = self.nodes.fold(fold.op, self.nodes.changed(fold.value, change), (row,), fold.dtype)
        value = self.nodes.call(COMBINE[fold.op], (held, few), fold.dtype)
        together.append(Store(held.access, value, (part, block, *own), frozenset((block,))))
        return self.nodes.fold(fold.op, held, (part,), fold.dtype)

    def _held(self, node: Node, own: tuple[str, ...], together: list[Store]) -> Node:
        """A node in an array of its own: what reads it."""
        steps = side_by_side(own, self.sizes)
        array = Array(f"{self.name}.made{len(self.spaces)}", node.dtype, points(own, self.sizes), "output")
        access = Access(array, 0, tuple(sorted(steps)))
        together.append(Store(access, node, own))
        self.spaces.append(array)
        return self.nodes.element(access)


def _rows(fold: Fold, own: tuple[str, ...], sizes: Sizes) -> int | None:
    """The parts of a fold over rows that are taken a few at a time; None where they fit into registers, or do not
    divide.
    """
    if len(fold.over) != 1 or points(own, sizes) < LONG or _weight(fold, fold.over[0]) <= 1:
        return None
    (index,) = fold.over
    whole = list(every([fold.value]))
    if any((isinstance(n, Position) and n.index == index) or (isinstance(n, Element) and n.moved) for n in whole):
        return None
    if any(isinstance(n, Fold) for n in whole):
        return None
    blocks, rest = divmod(int(sizes[index]), ROWS)
    counts = [n for n in range(FEWEST, MOST + 1) if blocks % n == 0 and blocks > n]
    if rest or not counts:
        return None
    return renewed(max(counts)) if varies(sizes[index]) else max(counts)


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
    here = Store(Access(Array("", fold.dtype, 0), 0, side_by_side(own, sizes)), fold, own)
    if count_of(itemized(chosen([here], sizes, target), sizes, elements).items, sizes) >= FEWEST:
        return None
    index = max(fold.over, key=lambda i: _weight(fold, i) * (sizes[i] >= 2 * FEWEST))
    grain = GRAIN if _weight(fold, index) <= 1 else 4
    piece = -(-sizes[index] // wanted(elements))
    piece = -(-piece // grain) * grain
    return (index, piece) if piece < sizes[index] else None
