"""Whether what steps read has been made by then.

In: a Program with blocks, how far its indices run. Out: a problem for each read that comes too early, and the reads
whose positions only data tell, to be looked at when these are there. The one rule: an element is complete when the last
statement that reaches it has done so; steps count first, then the order of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Problem, ShapeError
from ..program.ir import (
    Access,
    Block,
    Boundary,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Size,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    reads,
    reductions_of,
    steps_of,
)
from ..program.text import statement_text

Extents = Mapping[str, tuple[int, int]]
Sizes = Mapping[str, tuple[int, ...]]
Integers = NDArray[np.int64]
MOST_POINTS = 1 << 21  # looked at at once; where no data decide, some steps of longer blocks: first, last, and between
_FEW = 64
_LARGE = 1 << 24  # points of what makes elements

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide, "mod": np.mod,
    "neg": np.negative, "min": np.minimum, "max": np.maximum, "abs": np.abs,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "int": lambda a: np.asarray(a, np.int64), "float": lambda a: np.asarray(a, float), "where": np.where,
    "div": np.true_divide, "pow": np.float_power, "sqrt": np.sqrt, "rsqrt": lambda a: 1 / np.sqrt(a),
    "floor": np.floor, "ceil": np.ceil, "round": np.round, "sign": np.sign, "exp": np.exp, "expm1": np.expm1,
    "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "tanh": np.tanh,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "hypot": np.hypot,
    "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "sigmoid": lambda a: 0.5 + 0.5 * np.tanh(0.5 * a), "relu": lambda a: np.maximum(a, 0),
    "softplus": lambda a: np.logaddexp(0, a), "silu": lambda a: a * (0.5 + 0.5 * np.tanh(0.5 * a)),
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A read, and a statement of its block that makes what it may read. `keys` are the axes in which positions of what
    is made depend on steps; `shared` the blocks around both; `own` and `theirs` how far indices run in each.
    """

    reader: Statement
    access: Access
    maker: Statement
    behind: bool  # whether the reader stands behind the maker
    keys: tuple[int, ...]
    shared: tuple[Block, ...]
    own: Extents
    theirs: Extents

    @property
    def steps(self) -> tuple[str, ...]:
        """The indices of the blocks around both."""
        return tuple(i for block in self.shared for i in block.indices)

    @property
    def masks(self) -> tuple[Expr, ...]:
        """The conditions under which it is read."""
        inner = (m for r in reductions_of(self.reader) for m in r.domain.masks)
        return tuple(dict.fromkeys((*self.reader.domain.masks, *inner)))

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that say which positions are read and made."""
        read = [self.access.subscripts[k] for k in self.keys]
        made = [self.maker.target.subscripts[k] for k in self.keys]
        if not any(_has_data(s) for s in (*read, *made)):
            return ()
        nodes = (*read, *made, *self.masks, *self.maker.domain.masks)
        return tuple(sorted({p.tensor for node in nodes for p in tensors_in(node)}))


@dataclass(frozen=True)
class Orders:
    """Reads that come too early, and those of which data decide, to be looked at when they are known."""

    problems: tuple[Problem, ...]
    checks: tuple[Pair, ...]


def orders(program: Program, extents: Sequence[Extents], sizes: Sizes) -> Orders:
    """All reads of what the block around them makes."""
    problems: list[Problem] = []
    checks: list[Pair] = []
    for pair in pairs(program, extents):
        if pair.tensors:
            checks.append(pair)
        elif (found := _early(pair, {}, sizes)) is not None:
            problems.append(found)
    return Orders(tuple(problems), tuple(checks))


def look(pair: Pair, sizes: Sizes, *arrays: NDArray[Any]) -> None:
    """Look at what data said, for all steps. Errors: `ShapeError`."""
    problem = _early(pair, dict(zip(pair.tensors, arrays, strict=True)), sizes)
    if problem is not None:
        raise ShapeError(problem)


def pairs(program: Program, extents: Sequence[Extents]) -> Iterator[Pair]:
    """Each read of a block's statement with each statement of that block that makes the tensor."""
    statements = program.statements
    for r, reader in enumerate(statements):
        if reader.block is None:
            continue
        for m, maker in enumerate(statements):
            if blocks_of(maker)[:1] != blocks_of(reader)[:1]:
                continue
            both = zip(blocks_of(maker), blocks_of(reader), strict=False)
            shared = tuple(a for a, b in both if a == b)
            for access in dict.fromkeys(accesses_of(reader)[1:]):
                if access.tensor == maker.target.tensor:
                    keys = _keys(maker)
                    yield Pair(reader, access, maker, m < r, keys, shared, extents[r], extents[m])


def _keys(maker: Statement) -> tuple[int, ...]:
    """The axes in which a step, or what a condition ties to it, says a position."""
    steps = {*steps_of(maker)}
    tied = {i for m in maker.domain.masks if steps & {*indices_of(m)} for i in indices_of(m)}
    tied |= steps
    return tuple(k for k, s in enumerate(maker.target.subscripts) if tied & {*indices_of(s)} or not indices_of(s))


@np.errstate(all="ignore")
def _early(pair: Pair, tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Problem | None:
    """The first read that comes too early."""
    read = [pair.access.subscripts[k] for k in pair.keys]
    masks = tuple(m for m in pair.masks if tensors or not reads(m))
    names = list(dict.fromkeys((*pair.steps, *(i for node in (*read, *masks) for i in indices_of(node)))))
    if not tensors:
        pair = _shortened(pair)
    latest = _latest(pair, tensors, sizes)
    grid = [np.arange(*pair.own[i]) for i in names]
    if not tensors and prod(map(len, grid)) > MOST_POINTS:
        grid = [_some(g) if i in pair.steps else g for i, g in zip(names, grid, strict=True)]
    if any(not len(g) for g in grid) or 0 in latest.shape:
        return None
    for part in _portions(grid) if tensors else (grid,):
        values = dict(zip(names, np.meshgrid(*part, indexing="ij", sparse=True), strict=True))
        found = too_early(pair, masks, latest, values, tensors, sizes)
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
    made = statement_text(replace(pair.maker, block=None))
    values_ = (f"it is made by {made}",) if pair.maker.span is None else ()
    others = () if pair.maker.span is None else (("made here", pair.maker.span),)
    return Problem("order", rule, pair.access.span or pair.reader.span, values_, way, others)


def _shortened(pair: Pair) -> Pair:
    """The same for the first steps alone, where there are more points than memory is to hold."""
    names = dict.fromkeys((*steps_of(pair.maker), *(i for s in pair.maker.target.subscripts for i in indices_of(s))))
    makes = prod(hi - lo for lo, hi in (pair.theirs[i] for i in names))
    if max(makes, prod(pair.own[i][1] - pair.own[i][0] for i in pair.steps)) <= _LARGE:
        return pair
    return replace(pair, own=shortened(pair.own, pair.steps), theirs=shortened(pair.theirs, names))


def shortened(extents: Extents, names: Collection[str]) -> Extents:
    """The extents with no more than the first values of some indices."""
    return {i: (lo, min(hi, lo + 4 * _FEW)) if i in names else (lo, hi) for i, (lo, hi) in extents.items()}


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


def _latest(pair: Pair, tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Integers:
    """By the positions in the key axes, the number of the last shared step that makes an element there; else -1."""
    maker, extents = pair.maker, pair.theirs
    shape = tuple(sizes[maker.target.tensor][k] for k in pair.keys)
    made = [maker.target.subscripts[k] for k in pair.keys]
    names = list(dict.fromkeys((*steps_of(maker), *(i for s in made for i in indices_of(s)))))
    grid = np.meshgrid(*(np.arange(*extents[i]) for i in names), indexing="ij", sparse=True)
    values = dict(zip(names, grid, strict=True))
    keys, held = list[Any](), np.asarray(True)
    for s, n in zip(made, shape, strict=True):
        position = evaluate(s, values, tensors, sizes)
        if isinstance(s, Boundary):
            position, inside = within(s, position, values, tensors, sizes, n)
            held = np.logical_and(held, inside)
        keys.append(position)
    for mask in maker.domain.masks:
        if {*indices_of(mask)} <= {*names} and (tensors or not reads(mask)):
            held = np.logical_and(held, evaluate(mask, values, tensors, sizes))
    *keys, numbers, held = np.broadcast_arrays(*keys, _numbers(pair.shared, extents, values), held)
    for key, n in zip(keys, shape, strict=True):
        held = held & (key >= 0) & (key < n)
    latest = np.full(reached(keys, held, shape), -1, np.int64)
    if keys:
        np.maximum.at(latest, tuple(k[held] for k in keys), numbers[held])
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
    masks: Sequence[Expr],
    latest: Integers,
    values: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    sizes: Sizes,
) -> Any:
    """At which points an element is read that is not complete."""
    keys = []
    held: Any = True
    for axis in pair.keys:
        s = pair.access.subscripts[axis]
        size = sizes[pair.access.tensor][axis]
        position = evaluate(s, values, tensors, sizes)
        if isinstance(s, Boundary):
            position, inside = within(s, position, values, tensors, sizes, size)
            held = np.logical_and(held, inside)
        held = np.logical_and(held, np.logical_and(position >= 0, position < size))
        keys.append(np.clip(position, 0, max(size - 1, 0)))
    for mask in masks:
        held = np.logical_and(held, evaluate(mask, values, tensors, sizes))
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


def within(
    s: Boundary, position: Any, values: Mapping[str, Any], tensors: Mapping[str, Any], sizes: Sizes, size: int
) -> tuple[Any, Any]:
    """The position that a boundary reads, and whether it is one of the axis."""
    match s.kind:
        case "pad":
            position = position - (0 if s.lo is None else evaluate(s.lo, values, tensors, sizes))
            return position, np.logical_and(position >= 0, position < size)
        case "clamp":
            return np.clip(position, 0, size - 1), True
        case "wrap":
            return np.mod(position, max(size, 1)), True
        case _:
            folded = np.mod(position, max(2 * (size - 1), 1))
            return np.where(folded < size, folded, 2 * (size - 1) - folded), True


def evaluate(node: Subscript, values: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], sizes: Sizes) -> Any:
    """A position or a condition over arrays of indices; a condition that only the kernels can compute holds."""
    match node:
        case Const(value=value):
            return value
        case Index(name=name):
            return values[name]
        case Size(tensor=tensor, axis=axis):
            return sizes[tensor][axis]
        case Boundary(expr=e):
            return evaluate(e, values, tensors, sizes)
        case Access(tensor=tensor, subscripts=subscripts) if tensor in tensors:
            at = [evaluate(s, values, tensors, sizes) for s in subscripts]
            clipped = [np.clip(p, 0, n - 1) for p, n in zip(at, tensors[tensor].shape, strict=True)]
            return tensors[tensor][tuple(np.broadcast_arrays(*clipped))] if clipped else tensors[tensor][()]
        case Call(fn=fn, args=args) if fn in _FUNCTIONS:
            return _FUNCTIONS[fn](*(evaluate(a, values, tensors, sizes) for a in args))
        case _:
            return True


def _has_data(node: Subscript) -> bool:
    return any(True for _ in tensors_in(node))


def tensors_in(node: Subscript) -> Iterator[Access]:
    """The accesses that say a position or a condition."""
    match node:
        case Access(subscripts=subscripts):
            yield node
            for s in subscripts:
                yield from tensors_in(s)
        case Call(args=args):
            for a in args:
                yield from tensors_in(a)
        case Boundary(expr=e):
            yield from tensors_in(e)
        case _:
            pass
