"""Sums of products over a padded copy, example by example, so that the copy is of one.

In: the tasks before a `Chain`, and the chain. Out: a `Batched`, or None. The one rule: whatever has the leading index
has it outermost, so that what an example needs and makes lies in one piece of each array; nobody else reads the copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...plan.buffers import buffers_of, bytes_of
from ...plan.kernels import Map
from ...plan.places import Buffer, Place, View
from ...plan.quantities import Load, Number
from ...plan.views import plain
from .chains import Chain, Members
from .contraction import Contraction, Operand
from .lowering import Task
from .nest import Array
from .normal_form import views

LEAST = 3 << 19  # bytes of a copy from which on it is made example by example
PIECE = 1 << 18  # bytes of an example, at least: each is several nests to call


@dataclass(frozen=True)
class Batched:
    """`zero` makes what all examples are added to, if they are; `tasks` make the copy of an example from `arrays`.

    `moves` says of which array each array of an example is a piece; the `copy` is not among them.
    """

    members: Members
    zero: tuple[Task, ...]
    tasks: tuple[Task, ...]
    contraction: Contraction
    times: int
    arrays: Mapping[Buffer, Array]
    copy: Array
    moves: Mapping[str, Array]


def batched(
    before: Members, chain: Chain, arrays: Mapping[Buffer, Array], touched: Mapping[Buffer, int]
) -> Batched | None:
    """A chain with those of the tasks before it that make a copy for it alone."""
    work = chain.members[0][1]
    if len(chain.contractions) != 1 or work.taps:
        return None
    (c,) = chain.contractions
    for side in (c.left, c.right):
        buffer = next((b for b in work.buffers if arrays[b].name == side.array.name), None)
        makers = [one for one in before if one[1].place.buffer == buffer]
        if buffer is None or not makers or touched[buffer] != len(makers) + 1 or not _late(before, makers):
            continue
        found = _split(c, side, buffer, [task for _, task in makers], arrays)
        if found is not None:
            added = found.contraction.op != c.op
            return replace(found, members=(*makers, *chain.members), zero=(_zero(work),) if added else ())
    return None


def _late(before: Members, makers: Members) -> bool:
    """Whether the tasks that make a copy may come after all others."""
    read = {b for _, task in makers for b in task.buffers}
    behind = before[before.index(makers[0]) :]
    return not any(one[1].place.buffer in read for one in behind if one not in makers)


def _split(
    c: Contraction, side: Operand, buffer: Buffer, makers: list[Task], arrays: Mapping[Buffer, Array]
) -> Batched | None:
    """Tasks and contractions of an example."""
    n, extents = buffer.shape[0], dict(c.extents)
    if n < 2 or bytes_of(buffer) < LEAST or bytes_of(buffer) < PIECE * n:
        return None
    index = next((i for i, step in side.strides if step * n == side.array.size and extents[i] == n), None)
    if index is None or any(index in dict(b.terms) for b in c.bounds):
        return None
    moves: dict[str, Array] = {}
    whole: set[str] = set()
    for o in views(c):
        if not dict(o.strides).get(index):
            whole.add(o.array.name)
        elif not _in_pieces(o, index, extents):
            return None
        else:
            moves[_piece(o.array, n).name] = o.array
    sums = c.target.array.name in whole
    if any(a.name in whole for a in moves.values()) or (sums and (c.epilogue or c.results)):
        return None
    own = {b: _piece(arrays[b], n) for task in makers for b in task.buffers if _leads(b, task, n)}
    tasks = [_of_one(task, n, own) for task in makers]
    if any(t is None for t in tasks) or buffer not in own:
        return None
    for b in own:
        moves[own[b].name] = arrays[b]
    del moves[own[buffer].name]
    one = _contraction_of_one(c, index, n)
    one = replace(one, op="+=") if sums and c.op == "=" else one
    known = {_smaller(b): array for b, array in own.items()}
    return Batched((), (), tuple(t for t in tasks if t), one, int(n), known, own[buffer], moves)


def _zero(work: Task) -> Task:
    """Zeros in all of what a task makes."""
    kernel = Map(Number(0, work.place.buffer.dtype))
    return replace(work, kernel=kernel, extents=tuple(e for e in work.extents if e[0] in work.place.mentioned))


def _in_pieces(o: Operand, index: str, extents: Mapping[str, int]) -> bool:
    """Whether what an operand reads for a value of an index lies in one piece, as long as all others."""
    strides = dict(o.strides)
    step = strides.pop(index)
    low = o.offset + sum(min(0, s * (extents[i] - 1)) for i, s in strides.items())
    high = o.offset + sum(max(0, s * (extents[i] - 1)) for i, s in strides.items())
    return step * extents[index] == o.array.size and low >= 0 and high < step


def _piece(array: Array, n: int) -> Array:
    """What an array holds of an example."""
    return replace(array, name=f"{array.name}@", size=int(array.size) // int(n))


def _contraction_of_one(c: Contraction, index: str, n: int) -> Contraction:
    """The contraction of an example."""

    def own(o: Operand) -> Operand:
        strides = dict(o.strides)
        if not strides.pop(index, 0):
            return o
        return replace(o, array=_piece(o.array, n), strides=tuple(strides.items()))

    steps = tuple(replace(s, args=tuple(own(a) if isinstance(a, Operand) else a for a in s.args)) for s in c.epilogue)
    return replace(
        c,
        extents=tuple(e for e in c.extents if e[0] != index),
        reduced=tuple(i for i in c.reduced if i != index),
        left=own(c.left),
        right=own(c.right),
        target=own(c.target),
        epilogue=steps,
        results=tuple((name, own(o)) for name, o in c.results),
    )


# -- the copy ------------------------------------------------------------------------------------------------


def _leads(buffer: Buffer, task: Task, n: int) -> bool:
    """Whether a task goes through the examples of a buffer."""
    return bool(buffer.shape) and buffer.shape[0] == n and _index(task) is not None


def _index(task: Task) -> str | None:
    """The index of the examples that a task writes."""
    place, ends = task.place, dict(task.extents)
    if not isinstance(place, View) or len(place.rows[0].coefs) != 1:
        return None
    ((index, _),) = place.rows[0].coefs
    return index if place.rows[0] == plain(index) and ends[index] == (0, place.buffer.shape[0]) else None


def _of_one(task: Task, n: int, own: Mapping[Buffer, Array]) -> Task | None:
    """A task of the first example; None where it may not be taken apart."""
    index = _index(task)
    if index is None or task.taps or task.limits or task.checks:
        return None
    match task.kernel:
        case Map(value=Number()) if set(task.buffers) <= set(own):
            kernel = task.kernel
        case Map(value=Load(place=source, at=()) as value) if {*buffers_of(task.kernel)} <= set(own):
            found = _place(source, index)
            if found is None:
                return None
            kernel = Map(replace(value, place=found))
        case _:
            return None
    place = _place(task.place, index)
    if place is None:
        return None
    extents = tuple((i, (0, 1) if i == index else e) for i, e in task.extents)
    return replace(task, place=place, kernel=kernel, extents=extents)


def _place(place: Place, index: str) -> View | None:
    """A place of the first example: its index alone says where it is in the first axis, and nowhere else."""
    if not isinstance(place, View) or not place.rows or place.rows[0] != plain(index):
        return None
    if any(index == i for row in place.rows[1:] for i, _ in row.coefs):
        return None
    return View(_smaller(place.buffer), place.rows)


def _smaller(buffer: Buffer) -> Buffer:
    return replace(buffer, name=f"{buffer.name}@", shape=(1, *buffer.shape[1:]))
