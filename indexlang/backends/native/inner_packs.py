"""Packs inside of a nest: a panel of the operand in vectors, or a block of the one that is spread, copied for an item.

In: a `Normal`, its `Tile`, its `Order`. Out: where tiles read the copy, and the statements that make it. The one rule:
a copy holds one chunk of the sums, and every tile that reads it comes before the next one is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from .blocks import Order
from .nest import Array, Form
from .normal_form import Axis, Normal
from .packs import Access, Spot, cast, plain_access
from .tile import Tile
from .units import Cut, cuts, evenly, vectors
from .writing import Writing

Range = tuple[Form, list[Form], Form | None]  # units of an axis: from, to (the least of), the test for the last round


def inner_access(normal: Normal, tile: Tile, order: Order, p: int, how: str, name: str, dtype: str) -> Access:
    """Where an operand is read in its copy."""
    terms = {a.name: a.n for a in normal.sums} | dict(order.split)
    inner = tile.panel if how == "panel" else prod(m for a, m in tile.sizes if normal.axis(a).steps[p])
    stride, steps, units, places = inner, [], [], []
    for name_ in reversed(order.sums):
        if normal.axis(name_).steps[p]:
            steps.append((name_, stride))
            stride *= terms[name_]
    if how == "panel":
        return Access(Array(name, dtype, stride, "workspace"), 0, tuple(steps), 0, 1, whole=True, local=True)
    place = 1
    for axis, m in reversed(tile.sizes):
        if normal.axis(axis).steps[p]:
            places.append((axis, place))
            place *= m
    sizes = {o.axis: o.chunk for o in order.outer}
    unit = dict(order.units)
    for axis in reversed(order.inner):
        if normal.axis(axis).steps[p]:
            units.append((axis, stride))
            stride *= sizes.get(axis, -(-normal.axis(axis).n // unit[axis]))
    array = Array(name, dtype, stride, "workspace")
    return Access(array, 0, tuple(steps), 0, 0, tuple(units), tuple(places), local=True)


@dataclass
class Packing:
    """A copy being written."""

    normal: Normal
    tile: Tile
    w: Writing
    p: int
    access: Access
    spot: Spot
    chunks: Mapping[str, tuple[Form, int]]
    ranges: Mapping[str, Range]
    units: Mapping[str, int]

    def panel(self, size: int) -> None:
        """All lanes of a panel of so many elements, for each point of the sums."""
        tile, w = self.tile, self.w
        source = plain_access(self.normal, tile, self.p)
        with self.sums([a for a in self.normal.sums if a.steps[self.p]], self.spot) as spot:
            count, last = vectors(size, tile.lanes)
            for u in range(count):
                live = last if u == count - 1 else 0
                x = w.read(source.array, source.at(spot, u * tile.lanes), tile.lanes, source.lane, live)
                w.write(self.access.array, self.access.at(spot, u * tile.lanes), cast(w, x, self.access.array.dtype))

    def block(self) -> None:
        """All tiles of a block, for each point of the sums."""
        self.tiles([a for a in self.ranges if self.normal.axis(a).steps[self.p]], self.spot, {})

    def tiles(self, axes: Sequence[str], spot: Spot, sizes: dict[str, int]) -> None:
        """Each unit of the axes, whole ones and the rest."""
        if not axes:
            with self.sums([a for a in self.normal.sums if a.steps[self.p]], spot) as inside:
                self.places(inside, sizes)
            return
        axis, n, unit = axes[0], self.normal.axis(axes[0]).n, self.units[axes[0]]
        begin, ends, last = self.ranges[axis]
        for cut in cuts(n, unit):
            begins, limits = [begin], ends
            if evenly(n, unit):
                begins, limits = (
                    (begins, [*ends, Form(cut.past)]) if cut.size == unit else ([begin, Form(cut.first)], ends)
                )
            elif cut.size == unit:
                limits = [Form(cut.past) if e.terms == () else e for e in ends]
            else:
                with self.w.when(last) if last is not None else nullcontext():
                    self.tiles(axes[1:], _moved(spot, axis, Form(cut.first), cut), {**sizes, axis: cut.size})
                continue
            with self.w.loop(self.w.fresh(axis), begins, limits) as at:
                self.tiles(axes[1:], _moved(spot, axis, at, cut), {**sizes, axis: cut.size})

    def places(self, spot: Spot, sizes: Mapping[str, int]) -> None:
        """The elements of one tile."""
        source = plain_access(self.normal, self.tile, self.p)
        axes = [a for a, _ in self.tile.sizes if a in sizes]
        for place in product(*(range(sizes[a]) for a in axes)):
            where = dict(zip(axes, place, strict=True))
            x = self.w.read(source.array, source.at(spot, 0, where))
            self.w.write(self.access.array, self.access.at(spot, 0, where), cast(self.w, x, self.access.array.dtype))

    @contextmanager
    def sums(self, axes: Sequence[Axis], spot: Spot) -> Iterator[Spot]:
        """Loops over sums in their chunk."""
        if not axes:
            yield spot
            return
        axis, begin, ends = axes[0], Form(0), [Form(axes[0].n)]
        if axis.name in self.chunks:
            at, size = self.chunks[axis.name]
            begin, ends = at * size, [*ends, at * size + size]
        with (
            self.w.loop(self.w.fresh(axis.name), begin, ends) as here,
            self.sums(axes[1:], replace(spot, values={**spot.values, axis.name: here})) as inside,
        ):
            yield inside


def _moved(spot: Spot, axis: str, at: Form, cut: Cut) -> Spot:
    return replace(spot, values={**spot.values, axis: cut.begin(at)}, numbers={**spot.numbers, axis: at})
