"""The choice of a contraction's tile: which axis lies in vectors, how many of them, how many positions beside them.

In: a `Normal`, lanes and registers. Out: a `Tile`. The one rule: the choice is the least of counted cycles, a pure
function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import nsmallest
from itertools import groupby, permutations

from .normal_form import LEFT, RIGHT, TARGET, Axis, Normal
from .tile import Tile
from .tile_costs import COSTS, Costs, Pricing
from .units import unit_of
from .varying import varies

KEPT = 6  # shapes of an axis for which packs are tried
COPIES = 4  # of an element in a pack


def choose(normal: Normal, lanes: int, registers: int, costs: Costs = COSTS) -> Tile:
    """The tile of the fewest cycles; of equal ones that of the nearest positions.

    Where numbers vary, it is the tile for numbers that they are rounded to, unless it has its vectors along them.
    """
    tile = _chosen(normal.rounded, lanes, registers, costs)
    if normal.rounded is normal:
        return tile
    if tile.vector and varies(normal.axis(tile.vector).n):
        return _chosen(normal, lanes, registers, costs)
    own = replace(
        tile,
        sizes=tuple(
            (a, min(unit_of(normal.axis(a).n, m), m) if varies(normal.axis(a).n) else m) for a, m in tile.sizes
        ),
    )
    return replace(own, cycles=Pricing(normal, costs).cycles(own))


def _chosen(normal: Normal, lanes: int, registers: int, costs: Costs) -> Tile:
    """Packs are tried for the best shapes of each vector axis, as they would be if memory were near."""
    pricing, near = Pricing(normal, costs), Pricing(normal, replace(costs, far=0, lines=0))

    def key(tile: Tile, by: Pricing) -> tuple[float, int]:
        return by.cycles(tile), sum(abs(pricing.steps[a][TARGET]) for a, _ in tile.sizes)

    best: list[Tile] = []
    for _, shapes in groupby(_shapes(normal, lanes, registers), key=lambda t: t.vector):
        best += nsmallest(KEPT, shapes, key=lambda t: key(t, near))
    found = [(key(tile, pricing), tile) for shape in best for tile in _packed(normal, shape)]
    cost, tile = min(found, key=lambda f: f[0])
    return replace(tile, cycles=cost[0])


def candidates(normal: Normal, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles that fit the registers."""
    for shape in _shapes(normal, lanes, registers):
        yield from _packed(normal, shape)


def _shapes(normal: Normal, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles with the packs that they must have."""
    none = True
    for axis in normal.axes if lanes > 1 else ():
        if not suits(axis, normal) or not (axis.steps[LEFT] or axis.steps[RIGHT]):
            continue
        must = tuple(p for p in (LEFT, RIGHT) if axis.steps[p] not in (0, 1))
        if not all(normal.inside(p) and normal.copies(p) <= COPIES for p in must):
            continue
        for width in range(1, min(4, -(-axis.n // lanes)) + 1):
            for sizes in _sizes(normal, axis, width, registers):
                none = False
                yield Tile(axis.name, lanes, width, sizes, tuple((p, "whole") for p in must), axis.reduced)
    if none:
        for sizes in _sizes(normal, None, 1, registers):
            yield Tile("", 1, 1, sizes, ())


def _packed(normal: Normal, shape: Tile) -> Iterator[Tile]:
    """A tile with packs that it may have, and without."""
    yield shape
    if not shape.vector or shape.dot:
        return
    carrying = [p for p in (LEFT, RIGHT) if normal.axis(shape.vector).steps[p]]
    if len(carrying) != 1:
        return
    own, other = carrying[0], 1 - carrying[0]
    found = [shape.packs]
    if not shape.packs and normal.inside(own):
        found += [((own, "whole"),)] if normal.copies(own) <= COPIES else []
        found += [((own, "panel"),)] if not any(normal.axis(a).steps[own] for a, _ in shape.sizes) else []
    if normal.inside(other) and normal.nearest(other) >= COSTS.near and normal.once(other):
        found += [(*packs, (other, "block")) for packs in found]
    for packs in found[1:]:
        yield replace(shape, packs=packs)


def suits(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may lie in vectors: where a bound limits it, only if lanes that it refuses may be read."""
    if axis.serial or any(axis.name in dict(b.terms) for b in normal.tests):
        return False
    return axis.name not in normal.limited or (not axis.reduced and normal.inside(LEFT) and normal.inside(RIGHT))


def beside(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may have several positions in a tile."""
    if axis.serial or axis.reduced:
        return False
    return not any(axis.name in dict(b.terms) for b in normal.tests)


def _sizes(normal: Normal, vector: Axis | None, width: int, registers: int) -> Iterator[tuple[tuple[str, int], ...]]:
    most = max((registers - 1 - width) // width, 1)
    if vector is not None and vector.reduced:
        most = max(registers - 4, 1) // width
    elif vector is not None and all(vector.steps[p] for p in (LEFT, RIGHT)):
        most = max(registers // 2 // width, 1)  # the other half is for what taps share
    axes = [a for a in normal.outputs if a is not vector and beside(a, normal)]
    yield ()
    for a in axes:
        room = min(most, int(a.n) // 2) if a.name in normal.limited else most  # a tile has one border, not two
        for m in dict.fromkeys(unit_of(a.n, m) for m in (room, room // 2, room // 3, 4) if 1 <= m <= most):
            if m > 1:
                yield ((a.name, m),)
    several = vector is None or vector.reduced or all(vector.steps[p] for p in (LEFT, RIGHT))
    for a, b in permutations(axes, 2):
        if (not several and (a.n >= most or a.n > b.n)) or (a.name in normal.limited and b.name in normal.limited):
            continue
        for second in (2, 3, 4):
            if b.n >= second and most // second > 1:
                yield ((a.name, unit_of(a.n, min(most // second, 6))), (b.name, unit_of(b.n, second)))
