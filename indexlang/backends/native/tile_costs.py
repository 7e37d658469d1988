"""What a tile of a contraction costs, in cycles.

In: a `Normal`, a `Tile`. Out: a number. The one rule: it ranks tiles, and is right about those that are many times
slower; among good ones any will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from ...properties import cached_property
from . import units
from .normal_form import LEFT, RIGHT, TARGET, Normal
from .tile import Tile

Sizes = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Costs:
    """Cycles. Rankings are what they are for."""

    fmas: float = 2  # in a cycle
    least: float = 4  # a step of the sum, for what each addition waits for
    load: float = 0.1  # each, beside the ports
    broadcast: float = 0.5
    lane: float = 1.5  # an element put into a vector on its own
    masked: float = 1.0  # more, where not all lanes are live
    far: float = 1.0  # more, where rows lie so far apart that they crowd few sets of the caches
    row: int = 128  # elements from row to row that are far
    near: int = 16  # elements of a line
    lines: float = 0.75  # a line for elements that are spread
    rows: int = 128  # of a block
    cached: int = 1 << 20  # elements that some cache holds
    memory: float = 2.0  # an element that none holds
    page: float = 100.0  # a step to a far row of what none holds
    gathered: float = 2.0  # an element of a block
    store: float = 1
    stored_lane: float = 3
    tile: float = 15
    added: float = 6  # the lanes of a vector, to one number
    body: float = 0.01  # of the whole, for each further static tile: it is code to be made
    border: float = 1.1  # times, where bounds cut tiles
    lanes: float = 2.0  # times, where they cut vectors
    packed: float = 2.5  # an element
    copied: float = 0.4  # an element, where lanes lie side by side before, too
    unrolled: int = 320  # multiply-adds in one straight line where taps share reads
    line: int = 96  # and where they do not


COSTS = Costs()


@dataclass(frozen=True)
class Pricing:
    """What all tiles of a contraction share."""

    normal: Normal
    costs: Costs = COSTS

    @cached_property
    def steps(self) -> dict[str, tuple[int, ...]]:
        return {"": (0,) * len(self.normal.views), **{a.name: a.steps for a in self.normal.axes}}

    @cached_property
    def extents(self) -> dict[str, int]:
        return {"": 1, **{a.name: int(a.n) for a in self.normal.axes}}

    @cached_property
    def results(self) -> int:
        return prod(int(a.n) for a in self.normal.outputs)

    @cached_property
    def terms(self) -> int:
        return prod(int(a.n) for a in self.normal.sums)

    @cached_property
    def reused(self) -> tuple[bool, bool]:
        """Whether an operand is read again for other results."""
        return (
            any(not a.steps[LEFT] for a in self.normal.outputs),
            any(not a.steps[RIGHT] for a in self.normal.outputs),
        )

    @cached_property
    def beyond(self) -> tuple[bool, bool]:
        """Whether an operand is more than caches hold, and the sums go from far row to far row."""
        left, right = (
            self.normal.nearest(p) >= self.costs.row and self.normal.views[p].array.size > self.costs.cached
            for p in (LEFT, RIGHT)
        )
        return left, right

    def cycles(self, tile: Tile) -> float:
        """Cycles of the whole contraction."""
        costs, n = self.costs, self.extents[tile.vector]
        panels = units.sizes(n, tile.panel) if tile.vector else [(1, 1)]
        results = self.results // prod(self.extents[a] for a, _ in tile.sizes) // (1 if tile.dot else n)
        terms = self.terms // (n if tile.dot else 1)
        cuts = [self.cut(name, most) for name, most in tile.sizes]
        total = 0.0
        for chosen in product(*cuts):
            sizes = tuple(m for _, m in chosen)
            count = results * prod(c for c, _ in chosen)
            if tile.dot:
                steps = sum(c * self.step(tile, sizes, n) for c, n in panels)
                lanes = prod(m for _, m in sizes) * (costs.stored_lane + costs.added)
                total += count * (terms * steps + lanes + costs.tile)
            else:
                for many, n in panels:
                    cost = terms * self.step(tile, sizes, n) + self.stores(tile, sizes, n)
                    total += count * many * (cost + costs.tile)
        total *= 1 + costs.body * (len(panels) * prod(len(cut) for cut in cuts) - 1)
        if any(a in self.normal.limited for a, _ in tile.sizes):
            total *= costs.border
        if tile.vector in self.normal.limited:
            total *= costs.lanes
        return total + sum(self.copy(tile, p, how) for p, how in tile.packs)

    def cut(self, name: str, most: int) -> list[tuple[int, tuple[str, int]]]:
        """How many units of which size an axis has."""
        found = self._cuts.get((name, most))
        if found is None:
            some = units.sizes(self.normal.axis(name).n, most)
            found = self._cuts[name, most] = [(count, (name, m)) for count, m in some]
        return found

    @cached_property
    def _cuts(self) -> dict[tuple[str, int], list[tuple[int, tuple[str, int]]]]:
        return {}

    def step(self, tile: Tile, sizes: Sizes, n: int) -> float:
        """Cycles of one point of the sum in a tile, n elements of its vectors."""
        costs, width = self.costs, -(-n // tile.lanes)
        shared = sharing(self.normal, tile, costs)
        loads = ports = memory = 0.0
        for p in (LEFT, RIGHT):
            if p == RIGHT and self.normal.single:
                continue
            spread = self.steps[tile.vector][p] == 0
            count = self.distinct(sizes, p) if shared else prod(m for a, m in sizes if self.steps[a][p])
            packed = tile.pack(p)
            if spread:
                loads += count
                ports += count * costs.broadcast
                if not packed and not tile.dot and self.beyond[p]:
                    memory += costs.page
                if not packed and not tile.dot and self.normal.nearest(p) >= costs.near:
                    memory += costs.lines * prod(m for a, m in sizes if self.steps[a][p] not in (0, 1))
                continue
            loads += count * width
            far = not packed and not tile.dot and self.reused[p] and self.normal.nearest(p) >= costs.row
            masked = not packed and n % tile.lanes != 0
            ports += count * (width + costs.masked * masked)
            memory += count * width * costs.far * far
        fmas = width * prod(m for _, m in sizes)
        return max(fmas / costs.fmas, ports, costs.least) + costs.load * loads + memory

    def distinct(self, sizes: Sizes, p: int) -> float:
        """Reads of an operand by all taps in a straight line, for each of them."""
        runs = [(self.steps[a][p], m) for a, m in sizes] + [(a.steps[p], a.n) for a in self.normal.sums]
        return len(sums_of(tuple(runs))) / self.terms

    def stores(self, tile: Tile, sizes: Sizes, n: int) -> float:
        """Cycles of the results of a tile."""
        costs, positions = self.costs, prod(m for _, m in sizes)
        if not tile.vector:
            return positions * costs.store
        if self.steps[tile.vector][TARGET] != 1:
            return positions * n * costs.stored_lane
        return positions * (-(-n // tile.lanes) * costs.store + (costs.stored_lane if n % tile.lanes else 0))

    def copy(self, tile: Tile, p: int, how: str) -> float:
        """Cycles of a pack."""
        costs, elements = self.costs, prod(int(a.n) for a in self.normal.axes if a.steps[p])
        if how == "block":
            return elements * costs.gathered
        each = costs.copied if self.steps[tile.vector][p] == 1 else costs.packed
        if how == "panel":
            rows = prod(int(a.n) for a in self.normal.outputs if not a.steps[p])
            return elements * each * -(-rows // costs.rows)
        return elements * (each + (costs.memory if elements > costs.cached else 0))


def sharing(normal: Normal, tile: Tile, costs: Costs = COSTS) -> bool:
    """Whether taps are worth a straight line, for reads that several of them share: no operand is spread."""
    if not tile.vector or tile.dot or not all(normal.axis(tile.vector).steps[p] for p in (LEFT, RIGHT)):
        return False
    return bool(normal.taps) and tile.width * tile.positions * normal.taps <= costs.unrolled


@lru_cache(1 << 10)
def sums_of(runs: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """All sums of stride * k, k below n."""
    found = {0}
    for stride, n in runs:
        found = {at + stride * k for at in found for k in range(n)}
    return frozenset(found)
