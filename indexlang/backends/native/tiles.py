"""The tile of a contraction: which axis lies in vectors, how many of them, how many positions beside them.

In: a `Normal`, the `Target`. Out: a `Tile`. The one rule: the choice is the least of counted cycles, a pure function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from .nest import Form
from .normal_form import LEFT, RIGHT, TARGET, Axis, Normal, clusters


@dataclass(frozen=True)
class Costs:
    """Cycles. Rankings are what they are for."""

    fmas: float = 2  # in a cycle
    least: float = 4  # a step of the sum, for what each addition waits for
    load: float = 0.1  # each, beside the ports
    broadcast: float = 0.5
    lane: float = 1.5  # an element put into a vector on its own
    masked: float = 1.0  # more, where not all lanes are live
    far: float = 2.0  # more, where rows lie so far apart that they crowd few sets of the caches
    row: int = 128  # elements from row to row that are far
    near: int = 16  # elements of a line
    lines: float = 1.5  # a line for elements that are spread
    rows: int = 128  # of a block
    cached: int = 1 << 20  # elements that some cache holds
    memory: float = 2.0  # an element that none holds
    gathered: float = 2.0  # an element of a block
    store: float = 1
    stored_lane: float = 3
    tile: float = 15
    border: float = 1.1  # times, where bounds cut tiles
    packed: float = 2.5  # an element
    copied: float = 0.4  # an element, where lanes lie side by side before, too
    unrolled: int = 320  # multiply-adds in one straight line where taps share reads
    line: int = 96  # and where they do not


COSTS = Costs()


@dataclass(frozen=True)
class Tile:
    """`vector`: the axis in vectors ("" none), `width` vectors of `lanes`; `sizes`: other axes, positions at once."""

    vector: str
    lanes: int
    width: int
    sizes: tuple[tuple[str, int], ...]
    packs: tuple[tuple[int, str], ...]  # operands that are copied: the whole of it first, or a panel, or a block
    dot: bool = False  # the vector axis is summed
    cycles: float = 0

    @property
    def positions(self) -> int:
        return prod(m for _, m in self.sizes)

    @property
    def panel(self) -> int:
        """Elements of the vector axis at once."""
        return self.width * self.lanes

    @property
    def whole(self) -> tuple[int, ...]:
        """The operands that are copied by a nest of their own."""
        return tuple(p for p, kind in self.packs if kind == "whole")

    def pack(self, p: int) -> str:
        """How an operand is copied: whole, panel, block, or not at all."""
        return dict(self.packs).get(p, "")

    def __str__(self) -> str:
        beside = " x ".join(f"{m} of {a}" for a, m in self.sizes) or "1"
        kind = "summed " if self.dot else ""
        packs = "".join(f", {('left', 'right')[p]} packed by {how}" for p, how in self.packs)
        return f"{kind}{self.vector or 'no axis'} in {self.width} x {self.lanes} lanes, {beside}{packs}"


def parts(n: int, size: int) -> list[tuple[int, int]]:
    """(how many, of which size): an axis cut into parts of one size and a rest."""
    return [(count, m) for count, m in ((n // size, size), (n % size and 1, n % size)) if count]


def balanced(n: int, most: int) -> int:
    """The size of parts that are as equal as can be, none greater than `most`."""
    return -(-n // -(-n // most)) if n > most else n


def choose(normal: Normal, lanes: int, registers: int, costs: Costs = COSTS) -> Tile:
    """The tile of the fewest cycles."""
    found = [_priced(normal, tile, costs) for tile in candidates(normal, lanes, registers)]
    return min(found, key=lambda t: (t.cycles, sum(abs(normal.axis(a).steps[TARGET]) for a, _ in t.sizes)))


def candidates(normal: Normal, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles that fit the registers."""
    vectors = [a for a in normal.axes if suits(a, normal) and (a.steps[LEFT] or a.steps[RIGHT])]
    for axis in vectors if lanes > 1 else ():
        for packs in _packs(axis, normal):
            for width in range(1, min(4, -(-axis.n // lanes)) + 1):
                for sizes in _sizes(normal, axis, width, registers):
                    if any(how == "panel" and any(normal.axis(a).steps[p] for a, _ in sizes) for p, how in packs):
                        continue
                    yield Tile(axis.name, lanes, width, sizes, packs, axis.reduced)
    if not vectors or lanes == 1:
        for sizes in _sizes(normal, None, 1, registers):
            yield Tile("", 1, 1, sizes, ())


def suits(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may lie in vectors or beside them."""
    return not axis.serial and not axis.bounded


def beside(axis: Axis, normal: Normal) -> bool:
    """Whether an axis may have several positions in a tile."""
    if axis.serial or axis.reduced:
        return False
    sums = {a.name for a in normal.sums}
    return all(any(v in sums for v, _ in b.terms) for b in normal.bounds if any(v == axis.name for v, _ in b.terms))


def _packs(axis: Axis, normal: Normal) -> list[tuple[tuple[int, str], ...]]:
    """Which operands may be packed; those whose lanes lie apart must be, but for the target's."""
    carrying = [p for p in (LEFT, RIGHT) if axis.steps[p]]
    must = tuple((p, "whole") for p in carrying if axis.steps[p] != 1)
    if any(not inside(normal, p) for p, _ in must):
        return []
    found = [must]
    if len(carrying) == 1 and not axis.reduced:
        own, other = carrying[0], 1 - carrying[0]
        if inside(normal, own):
            found = [must] if must else [(), ((own, "whole"),), ((own, "panel"),)]
        if inside(normal, other) and scattered(normal, other) and once(normal, other):
            found += [(*packs, (other, "block")) for packs in found]
    return found


def inside(normal: Normal, p: int) -> bool:
    """Whether an operand has an element for every point, those that bounds refuse, too."""
    view = normal.views[p]
    ends = {a.name: (0, a.n - 1) for a in normal.axes}
    low, high = Form(view.offset, tuple((a.name, a.steps[p]) for a in normal.axes if a.steps[p])).interval(ends)
    return low >= 0 and high < view.array.size


def scattered(normal: Normal, p: int) -> bool:
    """Whether sums go through an operand in steps of a line or more."""
    far = [abs(a.steps[p]) for a in normal.sums if a.steps[p]]
    return bool(far) and min(far) >= COSTS.near


def once(normal: Normal, p: int) -> bool:
    """Whether no element of an operand belongs to several values of its indices."""
    return all(len(c) == 1 for c in clusters([(a.name, a.steps[p], a.n) for a in normal.axes if a.steps[p]]))


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
    for a, b in product(axes, axes):
        for second in (2, 3, 4):
            if a is not b and not (a.bounded and b.bounded) and b.n >= second and most // second > 1:
                m = balanced(a.n, min(most // second, 6))
                yield ((a.name, m), (b.name, second))


def _priced(normal: Normal, tile: Tile, costs: Costs) -> Tile:
    return Tile(tile.vector, tile.lanes, tile.width, tile.sizes, tile.packs, tile.dot, _cycles(normal, tile, costs))


def _cycles(normal: Normal, tile: Tile, costs: Costs) -> float:
    """Cycles of the whole contraction."""
    sizes = dict(tile.sizes)
    panels = parts(normal.axis(tile.vector).n, tile.panel) if tile.vector else [(1, 1)]
    others = prod(a.n for a in normal.outputs if a.name != tile.vector and a.name not in sizes)
    sums = prod(a.n for a in normal.sums if a.name != tile.vector)
    cuts = [[(count, (name, m)) for count, m in parts(normal.axis(name).n, most)] for name, most in tile.sizes]
    total = 0.0
    for chosen in product(*cuts):
        now = tuple(m for _, m in chosen)
        count = others * prod(c for c, _ in chosen)
        if tile.dot:
            steps = sum(c * _step(normal, tile, now, n, costs) for c, n in panels)
            lane = costs.stored_lane + 6
            total += count * (sums * steps + prod(m for _, m in now) * lane + costs.tile)
        else:
            for panel, n in panels:
                cost = sums * _step(normal, tile, now, n, costs) + _stores(normal, tile, now, n, costs)
                total += count * panel * (cost + costs.tile)
    if any(normal.axis(a).bounded for a in sizes):
        total *= costs.border
    return total + sum(_pack(normal, tile, p, how, costs) for p, how in tile.packs)


def _step(normal: Normal, tile: Tile, sizes: tuple[tuple[str, int], ...], n: int, costs: Costs) -> float:
    """Cycles of one point of the sum in a tile, n elements of its vectors."""
    width = -(-n // tile.lanes)
    loads = ports = 0.0
    shared = sharing(normal, tile, costs)
    for p in (LEFT, RIGHT):
        spread = not tile.vector or normal.axis(tile.vector).steps[p] == 0
        count = _distinct(normal, tile, sizes, p) if shared else prod(m for a, m in sizes if normal.axis(a).steps[p])
        count *= 1 if spread else width
        masked = 0 if spread or n % tile.lanes == 0 or tile.pack(p) else 1
        loads += count
        far = costs.far if not spread and not tile.pack(p) and _far(normal, tile, p, costs) else 0
        ports += count * (costs.broadcast if spread else 1 + far + costs.masked * masked / width)
        if spread and not tile.pack(p) and not tile.dot and scattered(normal, p):
            ports += costs.lines * prod(m for a, m in sizes if normal.axis(a).steps[p] not in (0, 1))
    fmas = width * prod(m for _, m in sizes)
    return max(fmas / costs.fmas, ports, costs.least) + costs.load * loads


def _far(normal: Normal, tile: Tile, p: int, costs: Costs) -> bool:
    """Whether vectors that follow each other lie far apart, again and again."""
    steps = [abs(a.steps[p]) for a in normal.sums if a.steps[p] and a.name != tile.vector]
    reused = any(not a.steps[p] for a in normal.outputs)
    return bool(steps) and not tile.dot and reused and min(steps) >= costs.row


def sharing(normal: Normal, tile: Tile, costs: Costs = COSTS) -> bool:
    """Whether taps are worth a straight line, for reads that several of them share: no operand is spread."""
    if not tile.vector or not all(normal.axis(tile.vector).steps[p] for p in (LEFT, RIGHT)) or tile.dot:
        return False
    taps = prod(a.n for a in normal.sums)
    plain = not any(a.bounded for a in normal.sums)
    return plain and tile.width * tile.positions * taps <= costs.unrolled


def _distinct(normal: Normal, tile: Tile, sizes: tuple[tuple[str, int], ...], p: int) -> float:
    """Reads of an operand by all taps in a straight line, for each of them."""
    runs = [(normal.axis(a).steps[p], m) for a, m in sizes] + [(a.steps[p], a.n) for a in normal.sums]
    return len(sums_of(tuple(runs))) / prod(a.n for a in normal.sums)


@lru_cache(1 << 10)
def sums_of(runs: tuple[tuple[int, int], ...]) -> frozenset[int]:
    """All sums of stride * k, k below n."""
    found = {0}
    for stride, n in runs:
        found = {at + stride * k for at in found for k in range(n)}
    return frozenset(found)


def _stores(normal: Normal, tile: Tile, sizes: tuple[tuple[str, int], ...], n: int, costs: Costs) -> float:
    positions = prod(m for _, m in sizes)
    if not tile.vector:
        return positions * costs.store
    if normal.axis(tile.vector).steps[TARGET] != 1:
        return positions * n * costs.stored_lane
    return positions * (-(-n // tile.lanes) * costs.store + (3 if n % tile.lanes else 0))


def _pack(normal: Normal, tile: Tile, p: int, how: str, costs: Costs) -> float:
    elements = prod(a.n for a in normal.axes if a.steps[p])
    if how == "block":
        return elements * costs.gathered
    each = costs.copied if normal.axis(tile.vector).steps[p] == 1 else costs.packed
    if how == "panel":
        rows = prod(a.n for a in normal.outputs if not a.steps[p])
        return elements * each * -(-rows // costs.rows)
    return elements * (each + (costs.memory if elements > costs.cached else 0))
