"""Which indices of a statement are gone through in blocks, so that what is made at once stays in a cache.

In: a statement and its target. Out: indices with their steps, outermost first. The one rule: kept indices come before
reduced ones, for what a block of a sum makes is added to everything.
"""

from __future__ import annotations

from math import prod

from ..program.ir import Access, indices_of, walk
from .blocks import blocks, itemsize
from .evaluation import Evaluation
from .limits import Limits
from .passing import temporaries
from .prices import operations
from .writes import Target


def kept(stmt: Evaluation, target: Target) -> list[str]:
    """The free indices that are no taps."""
    return [i for i in indices_of(stmt.stmt.target) if i in stmt.free and i not in target.taps]


def contraction_blocks(stmt: Evaluation, target: Target) -> tuple[tuple[str, int], ...]:
    """The indices to go through in blocks, so that arrays on the way stay small."""
    free, size, limits = kept(stmt, target), itemsize(stmt.compute), stmt.b.limits
    now, found = dict(stmt.sizes), dict[str, int]()
    everything = {i for i in (*stmt.free, *stmt.summed) if stmt.sizes[i] > 1}
    for group in temporaries(stmt):
        points = prod(now[i] for i in group)
        # What is over the whole domain meets nothing more than once: its passes cost, and each makes arrays of its own.
        most = _passing(limits) if everything <= set(group) else limits.block
        if points * size > 2 * most:
            few = prod(now[i] for i in free) * size <= limits.block
            order = stmt.in_memory(group) if few else [i for i in (*free, *stmt.summed) if i in group]
            more = dict(blocks(order, now, points, size, most))
            now.update(more)
            found.update(more)
    if target.taps:  # the products wait for their sum, and should do so in the cache
        points = prod(now[i] for i in free) * prod(max(1, n) for _, n in target.steps)
        found.update(blocks(free, now, points, size, limits.block // 4))
    return tuple(found.items())


def scatter_blocks(stmt: Evaluation, target: Target) -> tuple[tuple[str, int], ...]:
    """Blocks of sums of products that are written at computed positions: each sum is in memory before it is."""
    found = contraction_blocks(stmt, target)
    free, size, limits = kept(stmt, target), itemsize(stmt.compute), stmt.b.limits
    now = {**stmt.sizes, **dict(found)}
    points = prod(now[i] for i in free) * prod(max(1, n) for _, n in target.steps)
    if points * size <= limits.large:
        return found
    return tuple({**dict(found), **dict(blocks(free, now, points, size, limits.block))}.items())


def window_blocks(stmt: Evaluation, target: Target) -> tuple[tuple[str, int], ...]:
    """Blocks of the free indices; what is read for each position counts, too."""
    free, size, limits = kept(stmt, target), itemsize(stmt.compute), stmt.b.limits
    points = prod(stmt.sizes[i] for i in free) * prod(max(1, n) for _, n in target.steps)
    read = {p.tensor for p in walk(stmt.value) if isinstance(p, Access)}
    points += sum(prod(stmt.b.shapes[tensor]) for tensor in read)
    return () if points * size <= limits.block else blocks(free, stmt.sizes, points, size, limits.block)


def domain_blocks(stmt: Evaluation, target: Target) -> tuple[tuple[str, int], ...]:
    """The indices to go through in blocks, outermost first: kept ones, then reduced ones."""
    free, size, limits = kept(stmt, target), itemsize(stmt.compute), stmt.b.limits
    inside = [*free, *(i for i in stmt.summed if i not in counted(stmt))]
    points = prod(stmt.sizes[i] for i in inside) * prod(max(1, n) for _, n in target.steps)
    calls = sum(operations(e) for e in (stmt.value, *stmt.b.masks))
    passes = calls + (not target.new) + bool(stmt.summed)  # over arrays of this size
    most = limits.block if target.taps else _passing(limits)
    budget = limits.block if target.taps else 2 * most if passes > 1 else limits.large
    if points * size <= budget:
        return ()
    order = free
    if stmt.root is None:
        few = prod(stmt.sizes[i] for i in free) * size <= limits.block
        order = stmt.in_memory(inside) if few else inside
    return blocks(order, stmt.sizes, points, size, most if passes > 1 else limits.block)


def counted(stmt: Evaluation) -> frozenset[str]:
    """The reduced indices on which nothing depends: no array has them, and their number is a factor, or an exponent."""
    if stmt.root is not None:  # its kernels have an axis for each
        return frozenset()
    depends = {i for e in (stmt.value, *stmt.b.masks) for i in indices_of(e)}
    return frozenset(stmt.summed) - depends


def _passing(limits: Limits) -> int:
    """Bytes of an array of a block of which several are there at once: each function of a value makes one."""
    return min(limits.block, 2 * limits.chunk)


def repeated(stmt: Evaluation, target: Target) -> tuple[str, ...]:
    """Few indices that only a mask mentions: `where 2*di+dj == at[i,j]` for each position of a window."""
    if stmt.summed or not stmt.b.masks:
        return ()
    accesses = [p for e in (stmt.value, *stmt.b.masks) for p in walk(e) if isinstance(p, Access)]
    read = {i for p in accesses for i in indices_of(p)}
    masked = {i for mask in stmt.b.masks for i in indices_of(mask)}
    found = [i for i in stmt.free if i in masked and i not in read and i not in target.taps]
    count = prod(stmt.sizes[i] for i in found)
    rest = prod(stmt.sizes[i] for i in stmt.free) // max(1, count)
    return tuple(found) if 1 < count <= stmt.b.limits.window and rest >= stmt.b.limits.long else ()
