"""Steps as events of native code: all of a block in one call.

In: a `Repeat` whose pieces are one native call each, how tensors lie in memory. Out: a `Steps`, or None where a piece
or a slice needs Python. The one rule: where each argument of each step lies is known before the first one; a piece
never writes where it reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.native.making import Made
from ..backends.native.repeating import COPY, Events
from ..program.ir import Boundary, Expr, reads
from .grids import evaluate, holds
from .pieces import apart, kind_of, shape_of
from .stages import At, Call, Now, One, Repeat, Slice, Span, Staged, calls
from .typed import fill

MOST_WORDS = 1 << 23  # of a table
Orders = Mapping[str, tuple[int, ...]]  # the axes of tensors as they lie in memory
Integers = NDArray[np.int64]


class PieceRefusedError(Exception):
    """A piece met a position that it was to look at, and that is none."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The events, the tensors that they are about, and arrays that belong to them: numbers of steps, paddings; what a
    call has for itself, by shape and type.
    """

    events: Events
    tensors: tuple[str, ...]
    constants: tuple[NDArray[Any], ...]
    rooms: tuple[tuple[tuple[int, ...], str], ...]

    def __call__(self, *arrays: NDArray[Any]) -> None:
        rooms = [np.empty(shape, dtype) for shape, dtype in self.rooms]
        if self.events.run((*arrays, *self.constants, *rooms)):
            raise PieceRefusedError("a piece refused to go on")


def orders_of(staged: Staged) -> Orders:
    """In which order the axes of tensors lie so that slices of steps are in one piece: those that steps say first."""
    found: dict[str, tuple[int, ...]] = {}
    for stage in staged.stages:
        for call in calls(stage.stages) if isinstance(stage, Repeat) else ():
            for _, part in (*call.takes, *call.gives):
                if isinstance(part, Slice) and not part.whole and part.tensor not in found:
                    first = [k for k, axis in enumerate(part.axes) if isinstance(axis, At)]
                    rest = [k for k, axis in enumerate(part.axes) if not isinstance(axis, At)]
                    found[part.tensor] = (*first, *rest)
    return found


@dataclass
class _Building:
    """The bases so far, and the events of each piece with what says their order."""

    staged: Staged
    orders: Orders
    tensors: list[str] = field(default_factory=list)
    constants: list[NDArray[Any]] = field(default_factory=list)
    rooms: list[tuple[tuple[int, ...], str]] = field(default_factory=list)
    known: dict[object, int] = field(default_factory=dict)
    rows: list[Integers] = field(default_factory=list)
    keys: list[Integers] = field(default_factory=list)
    table: list[Integers] = field(default_factory=list)
    length: int = 0

    def kind(self, part: Slice | Now | One) -> tuple[str, tuple[int, ...]]:
        """The type and the shape of what a piece is given."""
        return kind_of(part, self.staged), shape_of(part, self.staged.shapes) if isinstance(part, Slice) else ()

    def base(self, kind: str, key: object, what: Any) -> int:
        """What stands for a base in the table, until the numbers of all are known; `what` it is, once for a key."""
        where: list[Any]
        where = self.tensors if kind == "tensor" else self.constants if kind == "constant" else self.rooms
        if (kind, key) not in self.known:
            self.known[kind, key] = len(where)
            where.append(what)
        return len(_KINDS) * self.known[kind, key] + _KINDS.index(kind)


_KINDS = ("tensor", "constant", "room")


def repeated(stage: Repeat, staged: Staged, made: Mapping[int, Made | None], orders: Orders) -> Steps | None:
    """The steps of a block; `made` are its pieces, by the identity of their calls."""
    work = _Building(staged, orders)
    if not _stage(work, stage, made, []):
        return None
    order = np.lexsort(_padded(work.keys)[::-1])
    rows = np.ascontiguousarray(np.concatenate(work.rows)[order])
    table = np.concatenate(work.table)
    first = np.array([0, len(work.tensors), len(work.tensors) + len(work.constants)], np.int64)
    table[:, 0] = first[table[:, 0] % len(_KINDS)] + table[:, 0] // len(_KINDS)
    pieces = tuple(m for c in calls(stage.stages) if (m := made[id(c)]) is not None)
    for piece in pieces:
        piece.memory.wake()
    events = Events(rows, np.ascontiguousarray(table), pieces, int(rows[:, 2].max()))
    return Steps(events, tuple(work.tensors), tuple(work.constants), tuple(work.rooms))


def _padded(keys: Sequence[Integers]) -> Integers:
    """Keys of all events as columns of one length."""
    depth = max(k.shape[0] for k in keys)
    return np.concatenate([np.pad(k, ((0, depth - k.shape[0]), (0, 0))) for k in keys], axis=1)


def _stage(work: _Building, stage: Repeat, made: Mapping[int, Made | None], path: Sequence[tuple[Repeat, int]]) -> bool:
    """The events of a block and of those in it."""
    for number, inner in enumerate(stage.stages):
        here = [*path, (stage, number)]
        if isinstance(inner, Repeat):
            if not _stage(work, inner, made, here):
                return False
        elif not _call(work, inner, made[id(inner)], here):
            return False
    return True


def _call(work: _Building, call: Call, made: Made | None, path: Sequence[tuple[Repeat, int]]) -> bool:
    """The events of a piece, one for each step."""
    if made is None:
        return False
    extents = {i: extent for stage, _ in path for i, extent in stage.extents}
    count = prod(hi - lo for lo, hi in extents.values())
    arguments = len(made.kinds)
    work.length += count * (arguments + 2)
    if 2 * work.length > MOST_WORDS or count == 0:
        return False
    grid = np.meshgrid(*(np.arange(*e) for e in extents.values()), indexing="ij")
    values = {i: g.reshape(-1) for i, g in zip(extents, grid, strict=True)}
    held: Any = np.ones(count, bool)
    for mask in (m for stage, _ in path for m in stage.block.masks):
        held = np.logical_and(held, holds(mask, values, {}, work.staged.shapes))
    if not held.all():  # steps that there are not
        values, count = {i: v[held] for i, v in values.items()}, int(held.sum())
    keys = []
    for stage, number in path:
        ordinal: Any = np.zeros(count, np.int64)
        for i, (lo, hi) in stage.extents:
            ordinal = ordinal * (hi - lo) + values[i] - lo
        keys += [-ordinal if stage.block.reverse else ordinal, np.full(count, number, np.int64)]
    entries = np.zeros((count, arguments, 2), np.int64)
    copies: list[tuple[Integers, Integers, int]] = []
    for (_, part), number in zip(call.takes, made.takes, strict=True):
        if number >= 0:
            found = _place(work, part, values, extents)
            if found is None or _kind(made, number) != work.kind(part):
                return False
            entries[:, number] = found
    taken = [part for _, part in call.takes if isinstance(part, Slice)]
    if [_kind(made, number) for number in made.gives] != [work.kind(part) for _, part in call.gives]:
        return False
    for (name, part), number in zip(call.gives, made.gives, strict=True):
        found = _place(work, part, values, extents, written=True)
        if found is None:
            return False
        near = [t for t in taken if t.tensor == part.tensor and not apart(t, part, extents, work.staged.shapes)]
        if near:
            shape, dtype = shape_of(part, work.staged.shapes), work.staged.stored(part.tensor)
            entries[:, number] = work.base("room", (id(call), name), (shape, dtype)), 0
            size = prod(shape) * np.dtype(dtype).itemsize
            copies.append((found, entries[:, number].copy(), size))
        else:
            entries[:, number] = found
    for number in made.besides:
        dtype, shape = _kind(made, number)
        entries[:, number] = work.base("room", (id(call), number), (shape, dtype)), 0
    _add(work, keys, made.memory.program.ctypes.data, entries, 0)
    for k, (target, source, size) in enumerate(copies, 1):
        behind = [*keys[:-1], keys[-1], np.full(count, k, np.int64)]
        _add(work, behind, COPY, np.stack([target, source], axis=1), size)
    return True


def _kind(made: Made, number: int) -> tuple[str, tuple[int, ...]]:
    """The type and the shape of an argument of native code."""
    dtype, shape = made.kinds[number]
    return dtype, tuple(shape)


def _add(work: _Building, keys: Sequence[Integers], program: int, entries: Integers, size: int) -> None:
    count, arguments = entries.shape[:2]
    first = sum(len(t) for t in work.table)
    rows = np.zeros((count, 4), np.int64)
    rows[:, 0], rows[:, 2], rows[:, 3] = program, arguments, size
    rows[:, 1] = first + arguments * np.arange(count)
    work.rows.append(rows)
    work.keys.append(np.stack(keys))
    work.table.append(entries.reshape(-1, 2))


def _place(
    work: _Building,
    part: Slice | Now | One,
    values: Mapping[str, Integers],
    extents: Mapping[str, tuple[int, int]],
    written: bool = False,
) -> Integers | None:
    """For each step, which base a slice is in, and how many bytes from there; None where that shows later."""
    count = len(next(iter(values.values())))
    found = np.zeros((count, 2), np.int64)
    if isinstance(part, One):
        found[:, 0] = work.base("constant", part, np.ones((), part.dtype))
        return found
    if isinstance(part, Now):
        lo, hi = extents[part.index]
        found[:, 0] = work.base("constant", (lo, hi), np.arange(lo, hi))
        found[:, 1] = 8 * (values[part.index] - lo)
        return found
    shape, order = work.staged.shapes[part.tensor], work.orders.get(part.tensor)
    order = tuple(range(len(shape))) if order is None else order
    item = np.dtype(work.staged.stored(part.tensor)).itemsize
    strides, step = [0] * len(shape), item
    kept = work.staged.kept(part.tensor)
    for k in reversed(order):
        strides[k] = step
        step *= kept[k]
    left = [k for k in order if not isinstance(part.axes[k], At)]
    first = order[: len(order) - len(left)]
    if any(not isinstance(part.axes[k], At) for k in first) or left != sorted(left):
        return None
    if any(isinstance(part.axes[k], Span) for k in left[1:]):
        return None
    found[:, 0] = work.base("tensor", part.tensor, part.tensor)
    outside = np.zeros(count, bool)
    fills = dict[bytes, Any]()
    for number, axis in enumerate(part.axes):
        if axis is None:
            continue
        expr: Expr | Boundary = axis.position if isinstance(axis, At) else axis.start
        if reads(expr.expr if isinstance(expr, Boundary) else expr):
            return None
        position = np.broadcast_to(np.asarray(evaluate(expr, values, {}, work.staged.shapes), np.int64), (count,))
        if isinstance(expr, Boundary):
            if expr.kind != "pad":
                return None
            low = 0 if expr.lo is None else evaluate(expr.lo, values, {}, work.staged.shapes)
            position = position - low
            here = (position < 0) | (position >= shape[number])
            if here.any():
                value = fill(expr, work.staged.stored(part.tensor))
                fills[value.tobytes()] = value
            outside |= here
        elif written:  # where a mask refuses all of it
            outside |= (position < 0) | (position >= shape[number])
        length = work.staged.modulo(part.tensor, number) or max(shape[number], 1)
        found[:, 1] += np.clip(position, 0, max(shape[number] - 1, 0)) % length * strides[number]
    if len(fills) > 1:
        return None
    if outside.any():
        own, dtype = shape_of(part, work.staged.shapes), work.staged.stored(part.tensor)
        if written:  # what is written there is dropped
            found[outside] = work.base("room", ("dropped", own, dtype), (own, dtype)), 0
        else:
            ((key, value),) = fills.items()
            found[outside] = work.base("constant", (own, dtype, key), np.full(own, value, dtype)), 0
    return found
