"""Which axes a nest of maps has: indices merged, the one that vectors lie along, the order of loops, items.

In: stores over the same indices, extents. Out: merged stores, an `Axes`. The one rule: what is chosen follows from
strides and extents alone, so that it is the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

import numpy as np

from .nodes import Access, Call, Constant, Element, Fold, Node, Nodes, Position, Store, every, without
from .operations import OPERATIONS
from .target import Target
from .varying import renewed, varies

ITEM = 1 << 15  # elements that make an item worth handing out
LARGE = 50_000  # elements from which on there are several items
FEWEST, MOST = 8, 64  # items of such work
SHORTEST = 256  # elements of a piece along the vectors, at least
GRAIN = 128  # elements that a piece of a vector axis is a multiple of: every tile divides it
STRIDED = 0.9  # of a scalar access: what an element costs that does not lie beside the others of its vector
FUNCTION = 10.0  # operations that a function costs which is none
SLOW = {
    "div": 2.0, "sqrt": 3.0, "pow": 3.0, "quarters": 5.0, "floordiv": 4.0, "mod": 4.0, "sign": 2.0, "int": 3.0,
}  # fmt: skip
ACROSS = 6.0  # operations that bring the lanes of a vector together
HEAVY = 12.0  # operations of a value from which on it is written once, not side by side


@dataclass(frozen=True)
class Axes:
    """`order`: the free indices, outermost first; `vector` one of them, or none; `items`: (index, values for each)."""

    order: tuple[str, ...]
    vector: str
    lanes: int
    unroll: int
    items: tuple[tuple[str, int], ...] = ()


# -- merging -------------------------------------------------------------------------------------------


def merged(nodes: Nodes, stores: Sequence[Store], extents: Mapping[str, int]) -> tuple[list[Store], dict[str, int]]:
    """The stores with indices as one that are one in every access: an outer one steps over all of an inner one."""
    sizes, found = dict(extents), list(stores)
    while pair := _pair(found, sizes):
        outer, inner = pair
        sizes[inner] *= sizes.pop(outer)
        found = [
            replace(
                s,
                access=without(s.access, outer),
                value=nodes.merged(s.value, outer, inner),
                free=tuple(i for i in s.free if i != outer),
            )
            for s in found
        ]
    return found, sizes


def _pair(stores: Sequence[Store], sizes: Mapping[str, int]) -> tuple[str, str] | None:
    """Two indices that are one."""
    whole = list(every(s.value for s in stores))
    accesses = [n.access for n in whole if isinstance(n, Element)] + [s.access for s in stores]
    folds = [n for n in whole if isinstance(n, Fold)]
    alone = {n.index for n in whole if isinstance(n, Position)}.union(*(s.met for s in stores))
    for f in folds:
        alone |= {f.part[0], f.over[0]} if f.part else set()
        alone |= {i for limit in f.limits for i in (limit.index, limit.by)}
        alone |= set(f.over) if f.op.startswith("arg") else set()
    used = sorted({i for a in accesses for i in a.indices} - alone)
    for outer, inner in permutations(used, 2):
        n = sizes[inner]
        if not all(a.step(outer) == a.step(inner) * n for a in accesses):
            continue
        if all((outer in f.over) == (inner in f.over) for f in folds) and all(
            (outer in s.free) == (inner in s.free) for s in stores
        ):
            return outer, inner
    return None


# -- costs ---------------------------------------------------------------------------------------------


def points(indices: Iterable[str], sizes: Mapping[str, int]) -> int:
    """How many points a box has."""
    return prod(sizes[i] for i in indices)


def effort(nodes: Iterable[Node]) -> float:
    """Operations at one point."""
    return sum(_unit(n) for n in nodes)


def _unit(n: Node) -> float:
    match n:
        case Call(fn=fn):
            return SLOW.get(fn, 1.0 if fn in OPERATIONS else FUNCTION)
        case Constant():
            return 0.0
        case _:
            return 1.0


def speed(n: int, lanes: int) -> float:
    """Elements at once along an axis of so many."""
    return n / -(-n // lanes)


def _moves(access: Access, vector: str, fast: float) -> float:
    """What an element of an access costs, where vectors lie along an index."""
    step = access.step(vector)
    return 1.0 if step == 0 else 1 / fast if step == 1 else STRIDED


def lanes_of(stores: Sequence[Store], target: Target) -> int:
    """The lanes of a nest: those of its elements that are 4 bytes, or 8 if nothing is narrower."""
    kinds = {n.dtype for n in every(s.value for s in stores)} | {s.access.array.dtype for s in stores}
    sizes = {np.dtype(k).itemsize for k in kinds if k != "bool"}
    return target.lanes(8 if sizes and min(sizes) == 8 else 4)


def cost(stores: Sequence[Store], sizes: Mapping[str, int], vector: str, lanes: int) -> float:
    """What all stores cost where vectors lie along an index, or along none; what lacks it has vectors of its own."""
    fast = speed(sizes[vector], lanes) if vector else 1.0
    total = 0.0
    for s in stores:
        total += points(s.free, sizes) * (_moves(s.access, vector, fast) if vector in s.free else 1.0)
    return total + sum(_cost_of(s.value, sizes, vector, fast, lanes, set()) for s in stores)


def _cost_of(
    node: Node,
    sizes: Mapping[str, int],
    vector: str,
    fast: float,
    lanes: int,
    seen: set[Node],
    fold: Fold | None = None,
) -> float:
    """What a node costs, in a fold or in none: there it is computed at each point, if it is not the same for all."""
    if node in seen:
        return 0.0
    seen.add(node)
    inside = fold is not None and not node.indices.isdisjoint(fold.over)
    where = {*fold.indices, *fold.over} if fold is not None and inside else node.indices
    rounds = points(where, sizes) / (fast if vector in where else 1.0)
    match node:
        case Element(access=access, moved=moved):
            inner = sum(_cost_of(n, sizes, vector, fast, lanes, seen, fold) for n, _ in moved)
            apart = (moved and vector in node.indices) or access.step(vector) not in (0, 1)
            return rounds * (STRIDED * fast if vector in where and apart else 1.0) + inner
        case Call(args=args):
            inner = sum(_cost_of(a, sizes, vector, fast, lanes, seen, fold) for a in args)
            return rounds * _unit(node) + inner
        case Fold(value=value, over=over):
            all_points = points({*node.indices, *over}, sizes)
            if vector and vector in node.indices:
                return all_points / fast + _cost_of(value, sizes, vector, fast, lanes, seen, node)
            axis = along(node, sizes, lanes)
            own_fast = speed(sizes[axis], lanes) if axis else 1.0
            across = points(node.indices, sizes) * ACROSS if axis else 0.0
            return all_points / own_fast + across + _cost_of(value, sizes, axis, own_fast, lanes, set(), node)
        case _:
            return 0.0


def along(fold: Fold, sizes: Mapping[str, int], lanes: int) -> str:
    """The reduced index that the vectors of a fold by itself lie along; none where single elements are as good.

    One that is taken in pieces which tiles of vectors do not divide is none: a tile would reach into the next piece.
    """
    limited = {limit.index for limit in fold.limits}
    whole = [i for i in fold.over if fold.part is None or i != fold.over[0] or fold.part[1] % GRAIN == 0]
    whole = [i for i in whole if i not in limited]

    def price(axis: str) -> float:
        fast = speed(sizes[axis], lanes) if axis else 1.0
        return _cost_of(fold.value, sizes, axis, fast, lanes, set(), fold)

    best = min(whole, key=price, default="")
    return best if best and price(best) < 0.8 * price("") and sizes[best] >= 2 else ""


# -- choices -------------------------------------------------------------------------------------------


def chosen(stores: Sequence[Store], sizes: Mapping[str, int], target: Target, outer: Sequence[str] = ()) -> Axes:
    """The axes of stores over the same indices, inside of loops over outer ones; items are for `itemized`."""
    lanes = lanes_of(stores, target)
    free = [i for i in stores[0].free if i not in outer and not (stores[0].moved and i in stores[0].met)]
    folds = [n for n in every(s.value for s in stores) if isinstance(n, Fold)]
    one = {f.part[0] for f in folds if f.part} | {limit.by for f in folds for limit in f.limits}
    free = [i for i in free if i not in one]  # where a piece begins, or what has limits, is one number
    vector = min(("", *free), key=lambda i: (cost(stores, sizes, i, lanes), i == ""))
    order = in_order(stores, sizes, vector)
    return Axes(order, vector, lanes, _unroll(stores, sizes, vector, lanes, target))


def in_order(stores: Sequence[Store], sizes: Mapping[str, int], vector: str) -> tuple[str, ...]:
    """The loops as memory lies; behind the vectors the one along which their elements lie, where they are apart."""
    main = max(stores, key=lambda s: points(s.free, sizes)).access
    order = sorted((i for i in stores[0].free if i != vector), key=lambda i: -abs(main.step(i)))
    if not vector:
        return tuple(order)
    accesses = [n.access for n in every(s.value for s in stores) if isinstance(n, Element)]
    apart = [a for a in (*accesses, *(s.access for s in stores)) if abs(a.step(vector)) > 1]
    near = [i for i in order for a in apart if abs(a.step(i)) == 1 and sizes[i] > 1 and not stores[0].met]
    last = near[:1]
    return (*(i for i in order if i not in last), vector, *last)


def _unroll(stores: Sequence[Store], sizes: Mapping[str, int], vector: str, lanes: int, target: Target) -> int:
    """How many vectors stand side by side."""
    if not vector:
        return 1
    whole = list(every(s.value for s in stores))
    folds = [n for n in whole if isinstance(n, Fold) and vector in n.indices]
    load = effort(n for n in whole if vector in n.indices)
    if folds:
        beside = all(abs(n.access.step(vector)) <= 1 for n in whole if isinstance(n, Element))
        few = all(points(f.over, sizes) <= WINDOW and not (beside and f.limits) for f in folds)
        most = max(1, target.registers // 2 // len(folds)) if load < HEAVY else 1
        count = min(2 if few else 8, most)
    else:
        count = 4 if load <= 6 else 2 if load <= HEAVY else 1
    while count > 1 and (count & (count - 1) or count * lanes > max(sizes[vector], lanes)):
        count -= 1
    return count


WINDOW = 25  # positions of a reduction that are written one by one


def itemized(axes: Axes, sizes: Mapping[str, int], elements: int, allowed: Sequence[str] | None = None) -> Axes:
    """The axes with items along the outermost ones: as many as so many elements are worth, if there are as many.

    An outermost one that varies always has items, perhaps a single one.
    """
    order = axes.order if allowed is None else allowed
    return replace(axes, items=split(order, axes, sizes, wanted(elements), varies(elements)))


def wanted(elements: int) -> int:
    """How many items so many elements are worth."""
    return 1 if elements <= LARGE else min(MOST, max(FEWEST, elements // ITEM))


def split(
    order: Sequence[str], axes: Axes, sizes: Mapping[str, int], count: int, varying: bool = False
) -> tuple[tuple[str, int], ...]:
    """Pieces of the outermost axes, about so many in all; numbers that vary where what they follow from does."""
    found: list[tuple[str, int]] = []
    for index in order:
        n = int(sizes[index])
        always = varies(sizes[index]) and not found
        if (count <= 1 or n <= 1) and not always:
            break
        piece = 1 if n <= 1.5 * count else n // count
        if index == axes.vector:
            tile = axes.lanes * axes.unroll
            piece = max(piece, SHORTEST if index == axes.order[-1] and axes.lanes > 1 else 1)
            piece = max(piece // tile, 1) * tile
        if piece >= n and not always:
            continue
        found.append((index, renewed(piece, len(found)) if always or (varying and piece > 1) else piece))
        count = -(-count // -(-n // piece))
        if index == axes.vector or piece > 1:
            break
    return tuple(found)


def count_of(items: Sequence[tuple[str, int]], sizes: Mapping[str, int]) -> int:
    """How many items there are."""
    return prod(-(-sizes[i] // piece) for i, piece in items)
