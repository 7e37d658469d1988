"""Which tensors of a block are kept now and then, and made again chunk by chunk where the backward pass needs them.

In: the two parts of a derived program with their sizes, a block of the first, how many steps make a chunk. Out: the
tensors that need not be there for all steps, and the statements that go through the chunks. The one rule: a tensor for
which anything is in doubt is kept whole, as without checkpoints.

Sources: Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse automatic
differentiation", 1992; Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..program.ir import (
    Access,
    Block,
    Boundary,
    Const,
    Merged,
    Program,
    Statement,
    accesses_of,
    blocks_of,
    indices_of,
    parts_of,
    reads_of,
)
from ..sizes.shapes import Shapes
from .chunks import Chunks, placed


@dataclass(frozen=True)
class Part:
    """A program with all sizes as numbers, and how far its indices run."""

    program: Program
    known: Shapes

    def extent(self, number: int, index: str) -> tuple[int, int] | None:
        """How far an index of a statement runs."""
        return self.known.extents[number].get(index)


@dataclass
class Along:
    """A tensor that exists for one chunk at a time: the axis that goes with the steps, and which offsets are used.

    `written` are the offsets at which steps set it, `pad` is the padding in which it is read.
    """

    axis: int
    offsets: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)
    pads: set[Boundary] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)

    @property
    def low(self) -> int:
        return min(self.offsets)

    @property
    def width(self) -> int:
        """How many positions two chunks have in common."""
        return max(self.offsets) - self.low


@dataclass
class Choice:
    """What goes through the chunks: statements by their numbers with the index that is the step.

    `again` are statements of the forward block, `moved` those of the backward part, of which `inside` are steps of a
    block; `forward` and `backward` are the tensors of each part that exist for one chunk at a time; `fixed` the
    accesses to them at positions that no step says, of other statements.
    """

    block: Block
    chunks: Chunks
    turned: Block | None = None
    again: dict[int, str] = field(default_factory=dict)
    moved: dict[int, str] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    forward: dict[str, Along] = field(default_factory=dict)
    backward: dict[str, Along] = field(default_factory=dict)

    @property
    def along(self) -> dict[str, Along]:
        """All that exists for one chunk at a time."""
        return {**self.forward, **self.backward}

    def home(self, tensor: str, position: int, first: bool) -> tuple[int, int]:
        """The first or the last chunk that goes through a position, and where it is there; below 0 if it is nowhere.

        Chunks are gone through from the last one on.
        """
        one, chunks = self.along[tensor], self.chunks
        at = position - one.low
        latest = -((chunks.every + one.width - 1 - at) // chunks.every)
        chunk = min(at // chunks.every if first else max(latest, 0), chunks.count)
        length = chunks.every if chunk < chunks.count else chunks.rest
        at -= chunk * chunks.every
        return chunk, at if chunk >= 0 and at < length + one.width else -1


def chosen(first: Part, second: Part, block: Block, every: int, delivered: Sequence[str]) -> Choice | None:
    """What to do about a block of the first part; None if nothing is gained.

    `delivered` are the outputs of the whole program: they are there in any case.
    """
    (index,) = block.indices
    inside = [k for k, s in enumerate(first.program.statements) if blocks_of(s)[:1] == (block,)]
    lo, hi = first.known.extents[inside[0]][index]
    chunks = Chunks(lo, hi, every, block.reverse)
    if chunks.count < 1 or block.masks or _is_merged(first.program.statements[k] for k in inside):
        return None
    whole: set[str] = set(delivered)
    while True:
        choice = Choice(block, chunks)
        doubtful = _choose(choice, first, second, inside, whole)
        if not doubtful:
            break
        whole |= doubtful
    gained = [t for t in choice.forward if t in second.program.inputs]
    return choice if gained else None


def _is_merged(statements: Iterator[Statement]) -> bool:
    """Whether some axis is run by several indices, steps among them."""
    return any(
        isinstance(p, Merged) and {*p.indices} & {i for b in blocks_of(s)[:1] for i in b.indices}
        for s in statements
        for p in parts_of(s)
    )


def _choose(choice: Choice, first: Part, second: Part, inside: Sequence[int], whole: set[str]) -> set[str]:
    """Fill in a choice in which `whole` are kept; the tensors of which that cannot be done otherwise."""
    statements = first.program.statements
    stepwise = {statements[k].target.tensor for k in inside}
    doubtful = _again(choice, first, inside, [t for t in second.program.inputs if t not in whole], whole)
    if doubtful or not choice.forward:
        return doubtful
    for k, step in choice.again.items():
        if doubtful := _use(choice, statements[k], step):
            return doubtful
    doubtful = _follow(choice, second, whole) or _doubtful(choice)
    doubtful = doubtful or {t for t, one in choice.forward.items() if t not in stepwise and one.width}
    return doubtful or _set_elsewhere(choice, first, inside) or _crossing(choice, second)


def _again(choice: Choice, first: Part, inside: Sequence[int], wanted: Sequence[str], whole: set[str]) -> set[str]:
    """What is made again, by which statements: what is wanted, if steps make it or it is made of that, step by step."""
    (index,) = choice.block.indices
    statements = first.program.statements
    stepwise = {statements[k].target.tensor for k in inside}
    makers: dict[str, list[int]] = {}
    for k, stmt in enumerate(statements):
        makers.setdefault(stmt.target.tensor, []).append(k)
    left = [t for t in wanted if any(stepwise & {t, *reads_of(statements[k])} for k in makers.get(t, ()))]
    while left:
        tensor = left.pop()
        if tensor in choice.forward:
            continue
        steps = dict.fromkeys((k for k in makers[tensor] if k in inside), index)
        if tensor not in stepwise:
            (number, *others) = makers[tensor]
            own = _along(choice, first, number, stepwise)
            if others or own is None or number < inside[0]:
                return {tensor}
            steps[number] = own
        axes = {_axis([statements[k].target], i) for k, i in steps.items()}
        axis = axes.pop()
        if axes or axis is None:
            return {tensor}
        choice.again |= steps
        choice.forward[tensor] = Along(axis)
        left += [t for k in steps for t in reads_of(statements[k]) if t in stepwise and t not in whole]
    return set()


def _along(choice: Choice, first: Part, number: int, stepwise: set[str]) -> str | None:
    """The index of a statement outside of blocks that runs over the steps whose results it reads."""
    stmt, chunks = first.program.statements[number], choice.chunks
    free = [i for i in indices_of(stmt.target) if first.extent(number, i) == (chunks.lo, chunks.hi)]
    return next((i for i in free if stmt.block is None and _reads_at(stmt, i, stepwise)), None)


def _reads_at(stmt: Statement, index: str, stepwise: set[str]) -> bool:
    """Whether a statement reads tensors that steps make, with an index."""
    return any(a.tensor in stepwise and index in indices_of(a) for a in accesses_of(stmt))


def _set_elsewhere(choice: Choice, first: Part, inside: Sequence[int]) -> set[str]:
    """The tensors of which something outside of the block sets more than positions that no step sets."""
    chunks = choice.chunks
    for k, stmt in enumerate(first.program.statements):
        one = choice.forward.get(stmt.target.tensor)
        if one is None or k in inside or k in choice.again:
            continue
        at, (written,) = placed(stmt.target, one.axis, chunks), one.written
        if at is None or at.index is not None or 0 <= at.offset - written < chunks.hi - chunks.lo:
            return {stmt.target.tensor}
    return set()


def _axis(targets: Sequence[Access], index: str) -> int | None:
    """The one axis of a tensor that goes with an index."""
    found = {k for target in targets for k, s in enumerate(target.subscripts) if index in indices_of(s)}
    return found.pop() if len(found) == 1 else None


def _use(choice: Choice, stmt: Statement, index: str) -> set[str]:
    """Take note of what a statement uses at the steps of an index; the tensors of which that cannot be said."""
    along = choice.along
    for access in accesses_of(stmt):
        if (one := along.get(access.tensor)) is None:
            continue
        place = placed(access, one.axis, choice.chunks)
        if place is None or place.index != index:
            return {access.tensor}
        others = [s for k, s in enumerate(access.subscripts) if k != one.axis]
        if any(index in indices_of(s) for s in others):
            return {access.tensor}
        one.offsets.add(place.offset)
        if access is stmt.target:
            one.written.add(place.offset)
            one.operators.add(stmt.op)
            if place.pad is not None and access.tensor in choice.forward:
                return {access.tensor}
        elif place.pad is not None:
            one.pads.add(replace(place.pad, expr=Const(0)))
    return set()


def _follow(choice: Choice, second: Part, whole: set[str]) -> set[str]:
    """The statements of the backward part that use what is there for one chunk, and what they make for one chunk."""
    statements = second.program.statements
    inputs, chunks = {*second.program.inputs, *second.program.outputs}, choice.chunks
    known = {*choice.forward}
    while True:
        users = [k for k, s in enumerate(statements) if known & {a.tensor for a in accesses_of(s)}]
        blocks = dict.fromkeys(blocks_of(statements[k])[0] for k in users if statements[k].block is not None)
        if len(blocks) > 1:
            _, other, *_ = blocks
            return {
                a.tensor for k in users if other in blocks_of(statements[k]) for a in accesses_of(statements[k])
            } & known
        choice.turned = next(iter(blocks), None)
        if (block := choice.turned) is not None:
            k = next(k for k in users if statements[k].block is not None)
            extents = [second.extent(k, i) for i in block.indices]
            turned = len(extents) == 1 and extents[0] == (chunks.lo, chunks.hi) and block.reverse != chunks.reverse
            if not turned or block.masks:
                return {
                    a.tensor for k in users if block in blocks_of(statements[k]) for a in accesses_of(statements[k])
                } & known
            users = sorted({*users, *(k for k, s in enumerate(statements) if blocks_of(s)[:1] == (block,))})
        made = {}
        for k in users:
            stmt = statements[k]
            step = _step(choice, second, k, known)
            if step is None or stmt.target.tensor in known or stmt.target.tensor in inputs | whole:
                continue
            axis = _axis([stmt.target], step)
            if axis is not None and (at := placed(stmt.target, axis, chunks)) is not None and at.index == step:
                made[stmt.target.tensor] = Along(axis)
        if not made:
            break
        choice.backward |= made
        known |= made.keys()
    for k in users:
        stmt = statements[k]
        step = _step(choice, second, k, known)
        own = [a for a in accesses_of(stmt) if a.tensor in choice.along]
        if step is not None:
            choice.moved[k] = step
            if _is_merged_by(stmt, step):
                return {a.tensor for a in own} or {*choice.forward}
            if doubtful := _use(choice, stmt, step):
                return doubtful
        else:
            for access in own:
                at = placed(access, choice.along[access.tensor].axis, chunks)
                if at is None or at.index is not None:
                    return {access.tensor}
            choice.fixed.add(k)
    return set()


def _is_merged_by(stmt: Statement, index: str) -> bool:
    return any(isinstance(p, Merged) and index in p.indices for p in parts_of(stmt))


def _step(choice: Choice, second: Part, number: int, known: set[str]) -> str | None:
    """The index of a statement that goes through the steps."""
    stmt = second.program.statements[number]
    if choice.turned is not None and choice.turned in blocks_of(stmt):
        return choice.turned.indices[0]
    if stmt.block is not None:
        return None
    along, chunks = choice.along, choice.chunks
    places = [
        placed(a, along[a.tensor].axis, chunks) for a in accesses_of(stmt) if a.tensor in known and a.tensor in along
    ]
    found = {p.index for p in places if p is not None and p.index is not None}
    fits = [i for i in found if i in stmt.domain.indices and second.extent(number, i) == (chunks.lo, chunks.hi)]
    return fits[0] if len(found) == len(fits) == 1 else None


def _doubtful(choice: Choice) -> set[str]:
    """The tensors of which a chunk alone does not have what is asked for."""
    found = set()
    for tensor, one in choice.forward.items():
        single = len(one.written) == 1 and max(one.offsets) in one.written
        if not single or len(one.pads) > 1:
            found.add(tensor)
    for tensor, one in choice.backward.items():
        if one.pads or (one.width and one.operators != {"+="}):
            found.add(tensor)
    return found


def _crossing(choice: Choice, second: Part) -> set[str]:
    """The tensors of statements that would run in another order among the chunks than they must."""
    statements = second.program.statements
    for k in choice.moved:
        for j in choice.moved:
            if statements[k].target.tensor in reads_of(statements[j]) and not _is_whole(choice, statements, k, j):
                apart = j if choice.turned not in blocks_of(statements[j]) else k
                return choice.along.keys() & {*tensors(statements[apart])}
    late, early = following(choice, second), {*choice.moved}
    for k in late:
        if any(statements[k].target.tensor in reads_of(statements[j]) for j in early):
            return {*choice.forward}
    for k in choice.fixed:
        own = choice.along.keys() & {*tensors(statements[k])}
        for access in accesses_of(statements[k]):
            one = choice.backward.get(access.tensor)
            place = None if one is None else placed(access, one.axis, choice.chunks)
            if place is not None and choice.home(access.tensor, place.offset, access is statements[k].target)[1] < 0:
                return {access.tensor}
        if statements[k].target.tensor in own and k in late:
            return own
        if statements[k].target.tensor not in own and choice.backward.keys() & own and k not in late:
            return own
    return set()


def _is_whole(choice: Choice, statements: Sequence[Statement], maker: int, reader: int) -> bool:
    """Whether what a statement makes of what another one reads in a chunk is there by then.

    Steps of one block keep their order. Else chunks in front, which are gone through later, must not add to it.
    """
    one, other = statements[maker], statements[reader]
    if choice.turned is not None and choice.turned in blocks_of(one) and choice.turned in blocks_of(other):
        return True
    axis = _axis([one.target], choice.moved[maker])
    made = None if axis is None else placed(one.target, axis, choice.chunks)
    if axis is None or made is None or made.index != choice.moved[maker]:
        return False
    for access in accesses_of(other):
        if access.tensor == one.target.tensor and access is not other.target:
            read = placed(access, axis, choice.chunks)
            if read is None or read.index != choice.moved[reader] or read.offset < made.offset:
                return False
    return True


def tensors(stmt: Statement) -> list[str]:
    """What a statement names."""
    return [a.tensor for a in accesses_of(stmt)]


def following(choice: Choice, second: Part) -> set[int]:
    """The statements that wait for the chunks."""
    statements = second.program.statements
    made = {statements[k].target.tensor for k in choice.moved}
    late: set[int] = set()
    grows = True
    while grows:
        grows = False
        for k, stmt in enumerate(statements):
            if k in late or k in choice.moved:
                continue
            together = stmt.block is not None and any(blocks_of(statements[j])[:1] == blocks_of(stmt)[:1] for j in late)
            if together or made & {*reads_of(stmt)}:
                late.add(k)
                made.add(stmt.target.tensor)
                grows = True
    return late
