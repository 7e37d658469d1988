"""The order of a contraction's loops: what is an item, what stays in the caches while the rest goes by.

In: a `Normal`, its `Tile`, the `Target`. Out: an `Order`. The one rule: it is one for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

from .normal_form import LEFT, RIGHT, TARGET, Axis, Normal, apart, clusters
from .target import Target
from .tile import Tile
from .tile_costs import COSTS, held_of
from .varying import renewed, varies

GOAL = 16  # items
WORTH = 20_000.0  # cycles of an item


@dataclass(frozen=True)
class Outer:
    """A loop outside of all panels: rounds of `chunk` units of an axis; an item takes `group` rounds, 0 no item."""

    axis: str
    chunk: int
    rounds: int
    group: int = 0


@dataclass(frozen=True)
class Order:
    """`units`: elements of each output axis that are taken at once."""

    units: tuple[tuple[str, int], ...]
    outer: tuple[Outer, ...]
    serial: tuple[str, ...]
    inner: tuple[str, ...]
    sums: tuple[str, ...]
    split: tuple[tuple[str, int], ...] = ()  # the outermost summed axes in chunks, added up in the target

    @property
    def items(self) -> int:
        return prod(-(-o.rounds // o.group) for o in self.outer if o.group)


def order(normal: Normal, tile: Tile, target: Target, itemsize: int) -> Order:
    """Loops from the outermost to the innermost."""
    spread = [p for p in (LEFT, RIGHT) if not tile.vector or normal.axis(tile.vector).steps[p] == 0]
    sums = _sums(normal, tile, spread)
    split = _split(normal, tile, sums, target, itemsize)
    terms = {a.name: a.n for a in normal.sums} | dict(split)
    units = {a.name: 1 for a in normal.outputs}
    units.update(tile.sizes)
    if tile.vector in units:
        units[tile.vector] = tile.panel
    free = [a for a in normal.outputs if not a.serial]
    others = sorted((a for a in free if a.name != tile.vector and a.name not in dict(tile.sizes)), key=_far)
    tiles = [normal.axis(name) for name, _ in tile.sizes]
    panels = [normal.axis(tile.vector)] if tile.vector in units else []
    if len(spread) == 1 and panels:
        few = spread[0]
        batch = [a for a in others if a.steps[LEFT] and a.steps[RIGHT]]
        beside = [a for a in others if a not in batch and not a.steps[few]]
        rows = [a for a in others if a not in batch and a not in beside]
        outer = [Outer(a.name, 1, a.n) for a in batch]
        outer += _blocks(normal, [*rows, *tiles], few, units, terms, target.l2 // 3 // itemsize)
        inner = [*batch, *beside, *panels, *rows, *tiles]
        if reach(normal, TARGET) > COSTS.cached and not any(how == "panel" for _, how in tile.packs):
            inner = [*batch, *beside, *rows, *tiles, *panels]  # results go by row by row
    else:
        outer, inner = [], [*others, *tiles, *panels]
        if tile.dot:  # what of the larger operand a tile reads serves all tiles that read it
            larger = max((LEFT, RIGHT), key=lambda p: reach(normal, p))
            inner.sort(key=lambda a: not a.steps[larger])
    names = tuple(a.name for a in inner)
    serial = tuple(a.name for a in sorted((a for a in normal.outputs if a.serial), key=_far))
    long = bool(split) and not tile.packs and _streams(normal, tile)
    found = _items(normal, outer, names, units, _goal(tile, long))
    return Order(tuple(units.items()), found, serial, names, sums, split)


def _goal(tile: Tile, long: bool) -> int:
    """How many items there should be; few where each packs a block for itself, or goes along rows that are `long`."""
    most = GOAL // 2 if long or any(how == "block" for _, how in tile.packs) else GOAL
    return min(most, int(tile.cycles / WORTH))


def _far(axis: Axis) -> int:
    return -abs(axis.steps[TARGET])


def _blocks(
    normal: Normal, rows: list[Axis], few: int, units: dict[str, int], terms: dict[str, int], room: int
) -> list[Outer]:
    """Rounds of rows, so that what they read of the operand that is spread stays in the cache."""
    inside = [(a.name, a.steps[few], terms[a.name]) for a in normal.sums if a.steps[few]]
    near = normal.rounded
    for at in reversed(range(len(rows))):
        axis = rows[at]
        if not axis.steps[few]:
            continue
        count = -(-axis.n // units[axis.name])
        whole = [*inside, (axis.name, axis.steps[few], near.axis(axis.name).n)]
        if footprint(whole) > room:
            one = footprint([*inside, (axis.name, axis.steps[few], units[axis.name])])
            several = -(-near.axis(axis.name).n // units[axis.name])
            each = (footprint(whole) - one) / max(several - 1, 1)  # that a unit more has, where taps read the same
            chunk = max(int((room - one) / each) + 1, 1) if each else count
            chunk = -(-count // -(-count // chunk))
            if varies(count):
                blocked = [Outer(axis.name, renewed(chunk, 3), renewed(-(-count // chunk), 4))]
            else:
                blocked = [Outer(axis.name, chunk, -(-count // chunk))] if chunk < count else []
            return [Outer(a.name, 1, -(-a.n // units[a.name])) for a in rows[:at]] + blocked
        inside = whole
    return []


def reach(normal: Normal, p: int) -> int:
    """How many elements of an operand are reached, about."""
    return footprint([(a.name, a.steps[p], a.n) for a in normal.rounded.axes if a.steps[p]])


def footprint(axes: Sequence[tuple[str, int, int]]) -> int:
    """How many elements axes of (name, stride, extent) reach, about: those that several points share count once."""
    total = 1
    for members in clusters(list(axes)):
        common = gcd(*(step for _, step, _ in members))
        reach = sum(step * (n - 1) for _, step, n in members)
        total *= min(prod(int(n) for _, _, n in members), int(reach) // max(common, 1) + 1)
    return total


def _items(
    normal: Normal, outer: list[Outer], inner: tuple[str, ...], units: dict[str, int], goal: int
) -> tuple[Outer, ...]:
    """The outermost loops as items, further ones where they are too few."""
    free = apart(normal)
    if any(varies(a.n) for a in normal.axes):
        return _varying_items(normal, outer, inner, units, goal, free)
    found: list[Outer] = []
    items, rest = 1, list(outer)
    while rest and items < goal and rest[0].axis in free:
        loop = rest.pop(0)
        group = max(loop.rounds * items // (4 * goal), 1)
        found.append(replace(loop, group=group))
        items *= -(-loop.rounds // group)
    taken = {o.axis for o in (*found, *rest)}
    for name in inner:
        count = -(-normal.axis(name).n // units[name])
        if items >= goal or count == 1 or name in taken or name not in free:
            continue
        chunk = max(count * items // goal, 1)
        found.append(Outer(name, chunk, -(-count // chunk), 1))
        items *= found[-1].rounds
    return (*found, *rest)


def _varying_items(
    normal: Normal, outer: list[Outer], inner: tuple[str, ...], units: dict[str, int], goal: int, free: set[str]
) -> tuple[Outer, ...]:
    """The same where numbers vary: which loops become items follows from the others alone, how many there are of each
    from all.
    """
    found: list[Outer] = []
    items, fixed, rest = 1, 1, list(outer)
    while rest and fixed < GOAL and rest[0].axis in free:
        loop = rest.pop(0)
        group = max(loop.rounds * items // (4 * max(goal, 1)), 1) if items < goal else loop.rounds
        found.append(replace(loop, group=renewed(group, len(found))))
        items *= -(-int(loop.rounds) // group)
        fixed *= 1 if varies(loop.rounds) else loop.rounds
    taken = {o.axis for o in (*found, *rest)}
    for name in inner:
        count = -(-normal.axis(name).n // units[name])
        if fixed >= GOAL or name in taken or name not in free or (count == 1 and not varies(count)):
            continue
        chunk = max(int(count) * items // goal, 1) if items < goal else count
        rounds = -(-int(count) // chunk)
        found.append(Outer(name, renewed(chunk, len(found), 1), renewed(rounds, len(found), 2), 1))
        items *= rounds
        fixed *= 1 if varies(count) else count
    return (*found, *rest)


def _sums(normal: Normal, tile: Tile, spread: list[int]) -> tuple[str, ...]:
    """Summed axes, outermost first: far ones outside; what limits an axis comes before it."""
    by = spread[0] if spread else LEFT
    axes = sorted(
        (a for a in normal.sums if a.name != tile.vector),
        key=lambda a: (a.name not in normal.limited, -abs(a.steps[by])),
    )
    return tuple(a.name for a in axes)


def _streams(normal: Normal, tile: Tile) -> bool:
    """Whether rows far apart go into vectors once, or no cache holds them: then few at a time, along each of them."""
    own = [p for p in (LEFT, RIGHT) if normal.axis(tile.vector).steps[p]]
    once = len(own) == 1 and (not _reused(normal, tile) or reach(normal, own[0]) > COSTS.cached)
    return once and normal.nearest(own[0]) >= COSTS.row


def _reused(normal: Normal, tile: Tile) -> bool:
    """Whether what goes into vectors is read again for other results."""
    own = LEFT if normal.axis(tile.vector).steps[LEFT] else RIGHT
    return any(not a.steps[own] for a in normal.outputs)


def _split(
    normal: Normal, tile: Tile, sums: tuple[str, ...], target: Target, itemsize: int
) -> tuple[tuple[str, int], ...]:
    """Chunks of the outermost sums, so that what one tile reads in a chunk is still there for the next one."""
    held, scattered = held_of(normal, tile, 64 // itemsize)
    free = [normal.axis(a) for a in sums if a not in normal.limited]
    if tile.dot or len(free) < len(sums):
        return ()
    if tile.vector and not tile.packs and _streams(normal, tile):
        rows = 16 if _reused(normal, tile) else 8  # at a time: results are added up in the target
        return ((free[-1].name, rows),) if len(free) == 1 and (free[-1].n > rows or varies(free[-1].n)) else ()
    room = target.l2 // 4 if scattered < 2 else target.l1
    if any(how != "whole" for _, how in tile.packs):
        room = target.l1 * 3 // 2
    found = list[tuple[str, int]]()
    for at, axis in enumerate(free):
        inside = held * int(prod(normal.rounded.axis(a.name).n for a in free[at + 1 :])) * itemsize
        if inside * int(normal.rounded.axis(axis.name).n) <= room:
            break
        several = int(room // inside) > 1
        chunk = max(int(room // inside), 1)
        chunk = -(-int(axis.n) // -(-int(axis.n) // chunk))
        if several and varies(axis.n):
            chunk = renewed(-(-chunk // 4) * 4)
        elif chunk > 4:
            chunk = min(-(-chunk // 4) * 4, axis.n)
        found.append((axis.name, chunk))
        if several:
            break
    return tuple(found)
