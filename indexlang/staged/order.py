"""Whether what steps read has been made by then.

In: a Program with blocks, how far its indices run. Out: a problem for each read that comes too early, and the reads
whose positions only data tell, to be looked at when these are there. The one rule: an element is complete when the last
statement that reaches it has done so; steps count first, then the order of lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Problem, ShapeError
from ..program.guarded import guarded_reads
from ..program.ir import Access, Block, Boundary, Expr, Index, Program, Statement, blocks_of, indices_of, steps_of
from ..program.text import statement_text
from .grids import evaluate, holds, is_known, tensors_in, within

Extents = Mapping[str, tuple[int, int]]
Sizes = Mapping[str, tuple[int, ...]]
Integers = NDArray[np.int64]
MOST_POINTS = 1 << 21  # looked at at once; where no data decide, some steps of longer blocks: first, last, and between
_FEW = 64
_LARGE = 1 << 24  # points of what makes elements


@dataclass(frozen=True)
class Pair:
    """A read, the conditions under which it counts, and a statement that makes what it may read, of the same block or
    behind it. `shared` are the blocks around both; `own` and `theirs` how far indices run in each.
    """

    reader: Statement
    access: Access
    guards: tuple[Expr, ...]
    maker: Statement
    behind: bool  # whether the reader stands behind the maker
    shared: tuple[Block, ...]
    own: Extents
    theirs: Extents
    shape: tuple[int, ...]  # of the tensor

    @property
    def steps(self) -> tuple[str, ...]:
        """The indices of the blocks around both."""
        return tuple(i for block in self.shared for i in block.indices)

    @property
    def near(self) -> tuple[int, ...]:
        """The axes in which a step, or what a condition ties to it, says a position."""
        steps = {*steps_of(self.maker)}
        tied = {i for m in self.maker.domain.masks if steps & {*indices_of(m)} for i in indices_of(m)} | steps
        made = [{*indices_of(s)} for s in self.maker.target.subscripts]
        return tuple(k for k, over in enumerate(made) if tied & over or not over)

    @property
    def told(self) -> tuple[int, ...]:
        """The axes in which the maker does not surely make all positions for the same others, or the read may miss."""
        made = self.maker.target.subscripts
        padded = {k for k, s in enumerate(self.access.subscripts) if isinstance(s, Boundary) and s.kind == "pad"}
        tied = {i for m in self.maker.domain.masks for i in indices_of(m)} | {*self.steps}
        tied |= {i for i, times in Counter(i for s in made for i in {*indices_of(s)}).items() if times > 1}
        whole = (isinstance(s, Index) and self.theirs[s.name] == (0, n) for s, n in zip(made, self.shape, strict=True))
        both = enumerate(zip(made, whole, strict=True))
        return tuple(k for k, (s, w) in both if not w or k in padded or tied & {*indices_of(s)})

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that say which positions are read and made."""
        positions = (t.subscripts[k] for t in (self.access, self.maker.target) for k in self.told)
        nodes = (*positions, *self.guards, *self.maker.domain.masks)
        return tuple(sorted({p.tensor for node in nodes for p in tensors_in(node)}))


@dataclass(frozen=True)
class Orders:
    """Reads that come too early, and those of which data decide, to be looked at when they are known."""

    problems: tuple[Problem, ...]
    checks: tuple[Pair, ...]


def orders(program: Program, extents: Sequence[Extents], sizes: Sizes) -> Orders:
    """All reads of what the block around them makes, or something behind them."""
    problems: list[Problem] = []
    checks: list[Pair] = []
    for pair in pairs(program, extents, sizes):
        found = _problem(pair, {}, sizes)
        if found is not None and pair.tensors:
            checks.append(pair)
        elif found is not None:
            problems.append(found)
    return Orders(tuple(problems), tuple(checks))


def look(pair: Pair, sizes: Sizes, *arrays: NDArray[Any]) -> None:
    """Look at what data said, for all steps. Errors: `ShapeError`."""
    problem = _problem(pair, dict(zip(pair.tensors, arrays, strict=True)), sizes)
    if problem is not None:
        raise ShapeError(problem)


def pairs(program: Program, extents: Sequence[Extents], sizes: Sizes) -> Iterator[Pair]:
    """Each read of what blocks make with each statement of the same block, or behind it, that makes the tensor."""
    statements = program.statements
    makers: dict[str, list[int]] = {}
    for m, maker in enumerate(statements):
        makers.setdefault(maker.target.tensor, []).append(m)
    stepwise = {s.target.tensor for s in statements if s.block is not None}
    for r, reader in enumerate(statements):
        for access, guards in guarded_reads(reader):
            for m in makers.get(access.tensor, ()) if access.tensor in stepwise else ():
                maker = statements[m]
                both = zip(blocks_of(maker), blocks_of(reader), strict=False)
                shared = tuple(a for a, _ in takewhile(lambda ab: ab[0] == ab[1], both))
                if shared or m > r:
                    shape = sizes[access.tensor]
                    yield Pair(reader, access, guards, maker, m < r, shared, extents[r], extents[m], shape)


def _problem(pair: Pair, tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Problem | None:
    """The first read that comes too early, by the fewest axes that tell."""
    for keys in dict.fromkeys((pair.near, tuple(sorted({*pair.near, *pair.told})))):
        problem = _early(pair, _known(pair, keys, tensors), tensors, sizes)
        if problem is None:
            return None
    return problem


def _known(pair: Pair, keys: Sequence[int], tensors: Collection[str]) -> tuple[int, ...]:
    """The axes whose positions are known."""
    both = pair.access.subscripts, pair.maker.target.subscripts
    return tuple(k for k in keys if all(is_known(s[k], tensors) for s in both))


@np.errstate(all="ignore")
def _early(pair: Pair, keys: Sequence[int], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Problem | None:
    """The first read that comes too early, by the positions in some axes."""
    read = [pair.access.subscripts[k] for k in keys]
    masks = tuple(m for m in pair.guards if is_known(m, tensors))
    names = list(dict.fromkeys((*pair.steps, *(i for node in (*read, *masks) for i in indices_of(node)))))
    if not tensors:
        pair = _shortened(pair, keys)
    latest = _latest(pair, keys, tensors, sizes)
    grid = [np.arange(*pair.own[i]) for i in names]
    # Between steps that are looked at, a condition may admit, or let be made, a single one.
    most = _LARGE if masks or pair.maker.domain.masks else MOST_POINTS
    if not tensors and prod(map(len, grid)) > most:
        grid = [_some(g) if i in pair.steps else g for i, g in zip(names, grid, strict=True)]
    if not tensors and prod(map(len, grid)) > _LARGE:
        grid = [_some(g) for g in grid]
    if any(not len(g) for g in grid) or 0 in latest.shape:
        return None
    for part in _portions(grid):
        values = dict(zip(names, np.meshgrid(*part, indexing="ij", sparse=True), strict=True))
        found = too_early(pair, keys, masks, latest, values, tensors, sizes)
        if np.any(found):
            break
    else:
        return None
    shape = tuple(len(g) for g in part)
    at = np.unravel_index(int(np.argmax(np.broadcast_to(found, shape))), shape)
    point = {i: int(g[k]) for i, g, k in zip(names, part, at, strict=True)}
    shown = ", ".join(f"{i} = {point[i]}" for i in pair.steps)
    rule = f"'{pair.access.tensor}' is read before it is made" + (f": at the step {shown}" if shown else "")
    way = "read an earlier step, or move the line that makes it in front; a sum over all steps stands behind the block"
    values_ = (f"it is made by {statement_text(pair.maker)}",) if pair.maker.span is None else ()
    others = () if pair.maker.span is None else (("made here", pair.maker.span),)
    return Problem("order", rule, pair.access.span or pair.reader.span, values_, way, others)


def _shortened(pair: Pair, keys: Sequence[int]) -> Pair:
    """The same for the first steps alone, where there are more points than memory, or patience, is to hold."""
    made = (pair.maker.target.subscripts[k] for k in keys)
    names = dict.fromkeys((*steps_of(pair.maker), *(i for s in made for i in indices_of(s))))
    makes = prod(hi - lo for lo, hi in (pair.theirs[i] for i in names))
    most = _LARGE if {*keys} <= {*pair.near} else MOST_POINTS
    if max(makes, prod(pair.own[i][1] - pair.own[i][0] for i in pair.steps)) <= most:
        return pair
    each = min(4 * _FEW, int(most ** (1 / max(len(names), 1))))
    return replace(pair, own=shortened(pair.own, pair.steps, each), theirs=shortened(pair.theirs, names, each))


def shortened(extents: Extents, names: Collection[str], each: int = 4 * _FEW) -> Extents:
    """The extents with no more than the first values of some indices."""
    return {i: (lo, min(hi, lo + each)) if i in names else (lo, hi) for i, (lo, hi) in extents.items()}


def _portions(grid: Sequence[Integers]) -> Iterator[Sequence[Integers]]:
    """All points, in their order, as many at once as may be."""
    if prod(map(len, grid)) <= MOST_POINTS:
        yield grid
        return
    axis = next(k for k, g in enumerate(grid) if len(g) > 1)
    half = len(grid[axis]) // 2
    for part in (grid[axis][:half], grid[axis][half:]):
        yield from _portions([*grid[:axis], part, *grid[axis + 1 :]])


def _some(steps: Integers) -> Integers:
    """The first, the last, and steps between."""
    if len(steps) <= 3 * _FEW:
        return steps
    between = np.linspace(_FEW, len(steps) - _FEW, _FEW).astype(np.int64)
    found: Integers = steps[np.unique(np.concatenate([np.arange(_FEW), between, np.arange(-_FEW, 0) + len(steps)]))]
    return found


def _latest(pair: Pair, keys: Sequence[int], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Integers:
    """By the positions in the key axes, the number of the last shared step that makes an element there; else -1."""
    maker, extents = pair.maker, pair.theirs
    shape = tuple(pair.shape[k] for k in keys)
    made = [maker.target.subscripts[k] for k in keys]
    names = list(dict.fromkeys((*steps_of(maker), *(i for s in made for i in indices_of(s)))))
    grid = np.meshgrid(*(np.arange(*extents[i]) for i in names), indexing="ij", sparse=True)
    values = dict(zip(names, grid, strict=True))
    at, held = list[Any](), np.asarray(True)
    for s, n in zip(made, shape, strict=True):
        position = evaluate(s, values, tensors, sizes)
        if isinstance(s, Boundary):
            position, inside = within(s, position, values, tensors, sizes, n)
            held = np.logical_and(held, inside)
        at.append(position)
    for mask in maker.domain.masks:
        if {*indices_of(mask)} <= {*names} and is_known(mask, tensors):
            held = np.logical_and(held, holds(mask, values, tensors, sizes))
    *at, numbers, held = np.broadcast_arrays(*at, _numbers(pair.shared, extents, values), held)
    for key, n in zip(at, shape, strict=True):
        held = held & (key >= 0) & (key < n)
    latest = np.full(reached(at, held, shape), -1, np.int64)
    if at:
        np.maximum.at(latest, tuple(k[held] for k in at), numbers[held])
    elif held.any():
        latest[()] = numbers[held].max()
    return latest


def reached(keys: Sequence[Integers], held: NDArray[np.bool_], shape: Sequence[int]) -> tuple[int, ...]:
    """How long axes are as far as positions reach."""
    return tuple(min(n, 1 + int(k[held].max(initial=-1))) for k, n in zip(keys, shape, strict=True))


def _numbers(shared: Sequence[Block], extents: Extents, values: Mapping[str, Any]) -> Any:
    """The numbers of shared steps, in the order in which they run."""
    number: Any = 0
    for block in shared:
        own: Any = 0
        count = prod(hi - lo for lo, hi in (extents[i] for i in block.indices))
        for i in block.indices:
            lo, hi = extents[i]
            own = own * (hi - lo) + values[i] - lo
        number = number * count + (count - 1 - own if block.reverse else own)
    return number


def too_early(
    pair: Pair,
    axes: Sequence[int],
    masks: Sequence[Expr],
    latest: Integers,
    values: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    sizes: Sizes,
) -> Any:
    """At which points an element is read that is not complete."""
    keys = []
    held: Any = True
    for axis in axes:
        s, size = pair.access.subscripts[axis], pair.shape[axis]
        position = evaluate(s, values, tensors, sizes)
        if isinstance(s, Boundary):
            position, inside = within(s, position, values, tensors, sizes, size)
            held = np.logical_and(held, inside)
        held = np.logical_and(held, np.logical_and(position >= 0, position < size))
        keys.append(np.clip(position, 0, max(size - 1, 0)))
    for mask in masks:
        held = np.logical_and(held, holds(mask, values, tensors, sizes))
    there: Any = True
    for key, n in zip(keys, latest.shape, strict=True):  # what lies beyond is made by no step
        there = np.logical_and(there, key < n)
    if 0 in latest.shape:
        return np.asarray(False)
    inside = [np.minimum(key, n - 1) for key, n in zip(keys, latest.shape, strict=True)]
    made = np.where(there, latest[tuple(np.broadcast_arrays(*inside))] if keys else latest[()], -1)
    now = _numbers(pair.shared, pair.own, values)
    late = made > now if pair.behind else made >= now
    return np.logical_and(late, held)
