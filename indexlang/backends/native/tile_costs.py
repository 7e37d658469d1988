"""What a tile of a contraction costs, in cycles.

In: a `Normal`, a `Tile`. Out: a number. The one rule: it ranks tiles, and is right about those that are many times
slower; among good ones any will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from ...properties import cached_property
from . import units
from .normal_form import LEFT, RIGHT, TARGET, Normal
from .tile import Tile
from .varying import varies

Sizes = Sequence[tuple[str, int]]
WAY, ROWS = 2048, 128  # bytes from row to row, and how many of them, that crowd a cache


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
    crowded_lane: float = 12  # where powers of two lie between them
    tile: float = 15
    added: float = 6  # the lanes of a vector, to one number
    body: float = 0.02  # of the whole, for each further static tile: it is code to be made
    long: int = 128  # elements of an axis that varies, which have units of two sizes, whatever they are
    border: float = 1.1  # times, where bounds cut tiles
    lanes: float = 2.0  # times, where they cut vectors
    packed: float = 2.5  # an element
    copied: float = 0.4  # an element, where lanes lie side by side before, too
    fetch: float = 6.0  # a line of what no cache holds, where several sums want it
    ahead: int = 64  # elements of a row from which on the processor knows what comes
    missed: float = 14.0  # and of more rows than a set of the caches has ways
    ways: int = 8
    clash: float = 4.0  # a line where powers of two lie between rows: they drive each other out
    line: float = 1.0  # an element's line, where no operand is spread
    stream: float = 6.0  # and each page that these lines lie in
    apart: int = 1024  # elements from row to row that are in pages of their own
    taps: int = 128  # that a tile goes through before it meets other elements
    room: int = 1 << 18  # bytes that a tile reads in a chunk of the sums, which are added up in the target
    block: int = 1 << 16  # where the nest copies an operand for it, or rows of both lie apart
    unrolled: int = 320  # multiply-adds in one straight line where taps share reads
    straight: int = 96  # and where they do not


COSTS = Costs()


@dataclass(frozen=True)
class Priced:
    """An operand in a tile: whether it is spread; `plain`, it is no copy, and then whether each step goes to another
    page, positions to other lines, and vectors to far rows; whether its rows share few sets of the caches.
    """

    p: int
    spread: bool
    plain: bool
    pages: bool
    lines: bool
    far: bool
    clashes: bool


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

    def itemsize(self, p: int) -> int:
        """Bytes of an element."""
        return np.dtype(self.normal.views[p].array.dtype).itemsize

    @cached_property
    def clashes(self) -> tuple[bool, bool]:
        """Whether an operand's rows, which the sums go through, share few sets of the caches."""
        left, right = (
            any(
                abs(a.steps[p]) == self.normal.nearest(p) and a.steps[p] * self.itemsize(p) % WAY == 0 and a.n >= ROWS
                for a in self.normal.sums
                if a.steps[p]
            )
            for p in (LEFT, RIGHT)
        )
        return left, right

    def cycles(self, tile: Tile) -> float:
        """Cycles of the whole contraction."""
        costs, n = self.costs, self.extents[tile.vector]
        panels = units.sizes(n, tile.panel) if tile.vector else [(1, 1)]
        results, cuts = self.results // (1 if tile.dot else n), []
        for a, most in tile.sizes:
            results //= self.extents[a]
            cuts.append(self.cut(a, most))
        terms = self.terms // (n if tile.dot else 1)
        shared, operands = sharing(self.normal, tile, costs), self.operands(tile)
        chunks = self.chunks(tile)
        total, bodies = 0.0, prod(len(cut) for cut in cuts if len(cut) == 1 or not self.even(cut[0][1][0]))
        for chosen in product(*cuts):
            sizes, count, positions = [m for _, m in chosen], results, 1
            for many, (_, m) in chosen:
                count, positions = count * many, positions * m
            if tile.dot:
                steps = sum(c * self.step(tile, sizes, n, shared, operands) for c, n in panels)
                lanes = positions * (costs.stored_lane + costs.added)
                total += count * (terms * steps + lanes + costs.tile)
            else:
                for many, n in panels:
                    cost = terms * self.step(tile, sizes, n, shared, operands)
                    cost += chunks * self.stores(tile, positions, n)
                    total += count * many * (cost + costs.tile)
        total *= 1 + costs.body * (len(panels) * bodies - 1)
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

    def even(self, name: str) -> bool:
        """Whether an axis has units of two sizes, whatever they are: it is long, and varies."""
        n = self.normal.axis(name).n
        return varies(n) and n > self.costs.long

    @cached_property
    def _cuts(self) -> dict[tuple[str, int], list[tuple[int, tuple[str, int]]]]:
        return {}

    @cached_property
    def _priced(self) -> dict[tuple[str, bool, tuple[tuple[int, str], ...]], list[Priced]]:
        return {}

    def operands(self, tile: Tile) -> list[Priced]:
        """What all steps of tiles with this vector and these packs share of the operands that they read."""
        key = tile.vector, tile.dot, tile.packs
        found = self._priced.get(key)
        if found is None:
            some = (LEFT,) if self.normal.single else (LEFT, RIGHT)
            found = self._priced[key] = [self._operand(tile, p) for p in some]
        return found

    def _operand(self, tile: Tile, p: int) -> Priced:
        costs, nearest = self.costs, self.normal.nearest(p)
        plain = not tile.pack(p) and not tile.dot
        return Priced(
            p,
            self.steps[tile.vector][p] == 0,
            not tile.pack(p),
            plain and self.beyond[p],
            plain and nearest >= costs.near,
            plain and self.reused[p] and nearest >= costs.row,
            self.clashes[p],
        )

    def step(self, tile: Tile, sizes: Sequence[tuple[str, int]], n: int, shared: bool, operands: list[Priced]) -> float:
        """Cycles of one point of the sum in a tile, n elements of its vectors."""
        costs, width, steps = self.costs, -(-n // tile.lanes), self.steps
        loads = ports = memory = 0.0
        for own in operands:
            p, count = own.p, 1.0
            if shared:
                count = self.distinct(sizes, p)
            else:
                for a, m in sizes:
                    if steps[a][p]:
                        count *= m
            if own.spread:
                loads += count
                ports += count * costs.broadcast
                if own.pages:
                    memory += costs.page
                if own.lines:
                    lines = prod(m for a, m in sizes if steps[a][p] not in (0, 1))
                    memory += (costs.clash if own.clashes else costs.lines) * lines
                if own.plain and not tile.dot:
                    memory += self.fetched(sizes, p)
                continue
            loads += count * width
            ports += count * (width + costs.masked * (own.plain and n % tile.lanes != 0))
            memory += count * width * (costs.clash if own.far and own.clashes else costs.far * own.far)
            if not tile.dot and self.reused[p]:
                pages = prod(m for a, m in sizes if abs(steps[a][p]) >= costs.apart)
                memory += pages if pages > 1 else 0
        if tile.vector and not tile.dot and not any(own.spread for own in operands):
            memory += self.streamed(sizes) * width
        fmas = width
        for _, m in sizes:
            fmas *= m
        return max(fmas / costs.fmas, ports, costs.least) + costs.load * loads + memory

    def distinct(self, sizes: Sequence[tuple[str, int]], p: int) -> float:
        """Reads of an operand by all taps in a straight line, for each of them."""
        runs = [(self.steps[a][p], m) for a, m in sizes] + [(a.steps[p], a.n) for a in self.normal.sums]
        return len(sums_of(tuple(runs))) / self.terms

    def streamed(self, sizes: Sizes) -> float:
        """Cycles for which a point of the sum waits where no operand is spread: each element comes into few sums, from
        rows that lie in many pages.
        """
        costs = self.costs
        p = max((LEFT, RIGHT), key=lambda p: self.normal.views[p].array.size)
        taps = [(a.steps[p], int(a.n)) for a in self.normal.sums] if self.terms <= costs.taps else []
        runs = [(self.steps[a][p], m) for a, m in sizes] + taps
        lines, pages = (len(sums_of(tuple(r for r in runs if abs(r[0]) >= least))) for least in (1, costs.apart))
        return (costs.line * lines + costs.stream * pages) / prod(n for _, n in taps)

    def fetched(self, sizes: Sizes, p: int) -> float:
        """Cycles for which a point of the sum waits for lines of an operand that is spread: a row of summed elements
        that lie side by side takes a part of them for each place of the tile.
        """
        costs, n = self.costs, max((int(a.n) for a in self.normal.sums if abs(a.steps[p]) == 1), default=1)
        lines, crowd = 1.0, 1
        for a, m in sizes:
            step = abs(self.steps[a][p])
            if step:
                lines *= m if step > n else (step * (m - 1) + n) / (n + costs.near)
                crowd *= m if step * self.itemsize(p) % WAY == 0 else 1
        lines *= (n + costs.near) / costs.near / n if n > 1 else 0
        each = costs.fetch if n < costs.ahead and self.normal.views[p].array.size > costs.cached else 0.0
        return lines * max(each, costs.missed if crowd > costs.ways else 0.0)

    def chunks(self, tile: Tile) -> int:
        """In how many chunks sums are made, about: results are written as often."""
        if tile.dot:
            return 1
        elements, scattered = held_of(self.normal, tile, self.costs.near)
        near = scattered == 2 or any(how != "whole" for _, how in tile.packs)
        return -(-self.terms * elements * self.itemsize(TARGET) // (self.costs.block if near else self.costs.room))

    def stores(self, tile: Tile, positions: int, n: int) -> float:
        """Cycles of the results of a tile."""
        costs = self.costs
        if not tile.vector:
            return positions * costs.store
        apart = self.steps[tile.vector][TARGET]
        if apart != 1:
            crowded = apart * self.itemsize(TARGET) % WAY == 0 and n >= costs.near
            return positions * n * (costs.crowded_lane if crowded else costs.stored_lane)
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


def held_of(normal: Normal, tile: Tile, line: int) -> tuple[int, int]:
    """How many elements a tile has at a point of the sums, with whole lines of rows apart, and of how many operands."""
    held, scattered = 0, 0
    for p in (LEFT, RIGHT):
        lanes = tile.panel if tile.vector and normal.axis(tile.vector).steps[p] else 1
        rows = prod(m for a, m in tile.sizes if normal.axis(a).steps[p] not in (0, 1))
        beside = prod(m for a, m in tile.sizes if normal.axis(a).steps[p] == 1)
        dense = tile.pack(p) or any(a.steps[p] == 1 for a in normal.sums if a.name != tile.vector)
        scattered += not dense
        held += rows * (max(lanes, beside) if dense else -(-max(lanes, beside) // line) * line)
    return held, scattered


@lru_cache(1 << 10)
def sums_of(runs: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """All sums of stride * k, k below n."""
    found = {0}
    for stride, n in runs:
        found = {at + stride * k for at in found for k in range(n)}
    return frozenset(found)
