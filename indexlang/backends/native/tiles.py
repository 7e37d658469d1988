"""The choice of a contraction's tile: which axis lies in vectors, how many of them, how many positions beside them.

In: a `Normal`, lanes and registers. Out: a `Tile`. The one rule: the choice is the least of counted cycles, a pure
function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from .normal_form import LEFT, RIGHT, TARGET, Axis, Normal
from .tile import Tile
from .tile_costs import COSTS, Costs, Pricing


def balanced(n: int, most: int) -> int:
    """The size of parts that are as equal as can be, none greater than `most`."""
    return -(-n // -(-n // most)) if n > most else n


def choose(normal: Normal, lanes: int, registers: int, costs: Costs = COSTS) -> Tile:
    """The tile of the fewest cycles; of equal ones that of the nearest positions."""
    pricing = Pricing(normal, costs)
    found = [(pricing.cycles(tile), tile) for tile in candidates(normal, lanes, registers)]
    cycles, best = min(found, key=lambda f: (f[0], sum(abs(pricing.steps[a][TARGET]) for a, _ in f[1].sizes)))
    return replace(best, cycles=cycles)


def candidates(normal: Normal, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles that fit the registers."""
    none = True
    vectors = [a for a in normal.axes if suits(a, normal) and (a.steps[LEFT] or a.steps[RIGHT])]
    for axis in vectors if lanes > 1 else ():
        for packs in _packs(axis, normal):
            for width in range(1, min(4, -(-axis.n // lanes)) + 1):
                for sizes in _sizes(normal, axis, width, registers):
                    if any(how == "panel" and any(normal.axis(a).steps[p] for a, _ in sizes) for p, how in packs):
                        continue
                    none = False
                    yield Tile(axis.name, lanes, width, sizes, packs, axis.reduced)
    if none:
        for sizes in _sizes(normal, None, 1, registers):
            yield Tile("", 1, 1, sizes, ())


def suits(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may lie in vectors or beside them."""
    return not axis.serial and axis.name not in normal.limited


def beside(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may have several positions in a tile."""
    if axis.serial or axis.reduced:
        return False
    return not any(axis.name in dict(b.terms) for b in normal.tests)


def _packs(axis: Axis, normal: Normal) -> list[tuple[tuple[int, str], ...]]:
    """Which operands may be packed; those whose lanes lie apart must be, but for the target's."""
    carrying = [p for p in (LEFT, RIGHT) if axis.steps[p]]
    must = tuple((p, "whole") for p in carrying if axis.steps[p] != 1)
    if any(not normal.inside(p) for p, _ in must):
        return []
    found = [must]
    if len(carrying) == 1 and not axis.reduced:
        own, other = carrying[0], 1 - carrying[0]
        if normal.inside(own):
            found = [must] if must else [(), ((own, "whole"),), ((own, "panel"),)]
        if normal.inside(other) and normal.nearest(other) >= COSTS.near and normal.once(other):
            found += [(*packs, (other, "block")) for packs in found]
    return found


def _sizes(normal: Normal, vector: Axis | None, width: int, registers: int) -> Iterator[tuple[tuple[str, int], ...]]:
    most = max((registers - 1 - width) // width, 1)
    if vector is not None and vector.reduced:
        most = max(registers - 4, 1) // width
    axes = [a for a in normal.outputs if a is not vector and beside(a, normal)]
    yield ()
    for a in axes:
        for m in dict.fromkeys(balanced(a.n, m) for m in (most, most // 2, most // 3, 4) if 1 <= m <= most):
            if m > 1:
                yield ((a.name, m),)
    several = vector is None or vector.reduced or all(vector.steps[p] for p in (LEFT, RIGHT))
    for a, b in permutations(axes, 2):
        if (not several and (a.n >= most or a.n > b.n)) or (a.name in normal.limited and b.name in normal.limited):
            continue
        for second in (2, 3, 4):
            if b.n >= second and most // second > 1:
                yield ((a.name, balanced(a.n, min(most // second, 6))), (b.name, second))
