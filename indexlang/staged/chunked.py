"""The statements of a choice of checkpoints: both parts of a derived program, with steps and positions by chunk.

In: a Choice, both parts. Out: their statements anew. The one rule: a statement in a chunk is the statement that was
there, its step `lo + chunk * every + inside`, and each tensor that exists for one chunk alone read where it is in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from ..program.affine import Affine
from ..program.blocks import as_said, numbered
from ..program.ir import (
    Access,
    Block,
    Boundary,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Range,
    Shape,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    reads_of,
    statement,
)
from ..program.names import Fresh
from ..program.rebuild import transform_block, transform_statement
from ..ranges.inherit import write
from ..ranges.statements import Bound
from .checkpoints import Choice, Part, following
from .chunks import placed


class Writing:
    """The statements of one choice."""

    def __init__(self, choice: Choice, first: Part, second: Part) -> None:
        self.choice, self.chunks, self.one, self.two = choice, choice.chunks, first, second
        self.index = choice.block.indices[0]
        self.fresh = Fresh({*Fresh.of(first.program).taken, *Fresh.of(second.program).taken})
        self.chunk, self.inside = self.fresh.fresh("chunk"), self.fresh.fresh("inside")
        self.numbers = count(-1, -1)
        self.sizes = {**first.known.tensors, **second.known.tensors}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: dict[tuple[str, str], str] = {}
        self.around = self.block(self.chunk, self.chunks.count, True, closed=True)

    def block(self, index: str, steps: int, reverse: bool = False, outer: Block | None = None, **how: Any) -> Block:
        return Block((index,), (_range(index, 0, steps),), (), reverse, next(self.numbers), outer, **how)

    def parts(self, delivered: Sequence[str]) -> tuple[Program, Program]:
        """Both parts."""
        second = self.backward()
        made = {s.target.tensor for s in second}
        read = {a.tensor for s in second for a in accesses_of(s)} - made
        first = self.forward()
        wanted = {o for o in self.one.program.outputs if o in delivered} | read
        first = needed(first, wanted)
        theirs = dict.fromkeys(s.target.tensor for s in first)
        inputs = tuple(
            t for t in dict.fromkeys((*self.two.program.inputs, *self.one.program.inputs, *theirs)) if t in read
        )
        kept = [t for t in inputs if t in theirs]
        outputs = tuple(dict.fromkeys((*(o for o in self.one.program.outputs if o in delivered), *kept)))
        return (
            self.program(self.one.program, first, self.one.program.inputs, outputs),
            self.program(self.two.program, second, inputs, self.two.program.outputs),
        )

    def program(
        self, like: Program, stmts: Sequence[Statement], inputs: tuple[str, ...], outputs: tuple[str, ...]
    ) -> Program:
        sizes = {**self.sizes, **self.shapes}
        there = dict.fromkeys((*inputs, *(s.target.tensor for s in stmts)))
        declared = tuple(Shape(t, tuple(map(Const, sizes[t]))) for t in there)
        return replace(like, inputs=inputs, outputs=outputs, statements=numbered(stmts), shapes=declared)

    # -- names and places ----------------------------------------------------------------------

    def named(self, tensor: str, what: str, shape: tuple[int, ...]) -> str:
        """The name of what there is of a tensor."""
        name = self.names.get((tensor, what))
        if name is None:
            name = self.names[tensor, what] = self.fresh.fresh(f"{tensor.replace('.', '_')}_{what}")
            self.shapes[name] = shape
        return name

    def local(self, tensor: str, at: Affine, others: Sequence[Subscript], last: bool) -> Access:
        """An element of a tensor in the chunk at hand: at a place along the steps, and its other subscripts."""
        one, count_, every = self.choice.along[tensor], self.chunks.count, self.chunks.every
        rest = self.without(tensor)
        places = (at.to_expr(), *others)
        if last:
            return Access(self.named(tensor, "last", (self.chunks.rest + one.width, *rest)), places)
        name = self.named(tensor, "again", (count_ + self.hands_on(tensor), every + one.width, *rest))
        return Access(name, (Index(self.chunk), *places))

    def hands_on(self, tensor: str) -> bool:
        """Whether each chunk goes on with what the one behind it has added; the last one has a place, then."""
        return tensor in self.choice.backward and self.choice.along[tensor].width > 0

    def without(self, tensor: str) -> tuple[int, ...]:
        """The sizes of a tensor's other axes."""
        axis = self.choice.along[tensor].axis
        return tuple(n for k, n in enumerate(self.sizes[tensor]) if k != axis)

    def others(self, tensor: str) -> tuple[tuple[Index, ...], tuple[Range, ...]]:
        """Indices for a tensor's other axes, and how far they run."""
        found = [(self.fresh.letter("ijklmn"), n) for n in self.without(tensor)]
        return tuple(Index(i) for i, _ in found), tuple(_range(i, 0, n) for i, n in found)

    def whole(self, tensor: str, position: Subscript, others: Sequence[Subscript]) -> Access:
        """An element of a tensor as it is without chunks."""
        axis = self.choice.along[tensor].axis
        return Access(tensor, (*others[:axis], position, *others[axis:]))

    # -- statements ----------------------------------------------------------------------------

    def moved(self, part: Part, number: int, index: str, last: bool, inner: Block | None) -> Statement:
        """A statement in the chunk at hand; `inner` is the block of the steps, where it stands in one."""
        stmt, extents = part.program.statements[number], part.known.extents[number]
        bounds = {i: Bound(Affine(lo), Affine(hi)) for i, (lo, hi) in extents.items() if i != index}
        full = write(replace(stmt, block=None), bounds)
        ranges = tuple(r for r in full.domain.ranges if r.index != index)
        full = statement(full.target, full.op, full.value, ranges, full.domain.masks, full.span)
        step = self.chunks.step(Affine(self.chunks.count) if last else _form(self.chunk), _form(self.inside)).to_expr()

        def in_chunk(node: Subscript) -> Subscript | None:
            if not isinstance(node, Access) or node.tensor not in self.choice.along:
                return None
            one = self.choice.along[node.tensor]
            place = placed(node, one.axis, self.chunks)
            assert place is not None, "what has no place in a chunk is kept whole"
            others = [s for k, s in enumerate(node.subscripts) if k != one.axis]
            return self.local(node.tensor, _form(self.inside) + (place.offset - one.low), others, last)

        def at_step(node: Subscript) -> Subscript | None:
            return step if node == Index(index) else None

        made = transform_statement(transform_statement(full, in_chunk), at_step)
        block = inner or (None if last else self.around)
        for deeper in blocks_of(stmt)[1:]:
            own = transform_block(replace(deeper, outer=None), at_step)
            assert own is not None
            block = replace(own, outer=block)
        op = "+=" if stmt.op == "=" and index not in indices_of(stmt.target) else stmt.op
        length = self.chunks.rest if last else self.chunks.every
        ranges = (*(r for r in made.domain.ranges if r.index != self.inside), _range(self.inside, 0, length))
        return statement(made.target, op, made.value, ranges, made.domain.masks, made.span, block)

    def in_chunk(self, last: bool) -> list[Statement]:
        """The statements of one chunk."""
        around, length = (None if last else self.around), self.chunks.rest if last else self.chunks.every
        found = list(self.entering(last))
        steps = self.block(self.inside, length, False, around)
        found += [self.moved(self.one, k, i, last, steps) for k, i in sorted(self.choice.again.items())]
        found += self.carried(last)
        turned = self.block(self.inside, length, True, around)
        for k, i in sorted(self.choice.moved.items()):
            inner = turned if self.choice.turned in blocks_of(self.two.program.statements[k]) else None
            found.append(self.moved(self.two, k, i, last, inner))
        return found + list(self.leaving(last))

    def entering(self, last: bool) -> Iterator[Statement]:
        """The states with which a chunk begins."""
        for tensor, one in self.choice.forward.items():
            if one.width == 0:
                continue
            others, ranges = self.others(tensor)
            at = self.fresh.letter("ijklmn")
            chunk = Const(self.chunks.count) if last else Index(self.chunk)
            kept = Access(self.kept(tensor), (chunk, Index(at), *others))
            target = self.local(tensor, _form(at), others, last)
            one_by_one = self.block(at, one.width, False, None if last else self.around, closed=True)
            yield statement(target, "=", kept, ranges, (), None, one_by_one)

    def carried(self, last: bool) -> Iterator[Statement]:
        """What the chunk behind it, and statements outside, have added to what a chunk goes on with."""
        for tensor, one in self.choice.backward.items():
            if self.hands_on(tensor) and not last:
                others, ranges = self.others(tensor)
                at = self.fresh.letter("ijklmn")
                target = self.local(tensor, _form(at), others, last)
                before = Boundary("pad", (_form(at) - self.chunks.every).to_expr())
                value = Access(target.tensor, ((_form(self.chunk) + 1).to_expr(), before, *others))
                ranges = (*ranges, _range(at, 0, self.chunks.every + one.width))
                yield statement(target, "+=", value, ranges, (), None, self.around)
        for tensor, count_ in self.fixed(True):
            yield from self.exchanged(tensor, count_, last, True)

    def leaving(self, last: bool) -> Iterator[Statement]:
        """What statements outside ask for."""
        for tensor, count_ in self.fixed(False):
            if tensor in self.choice.backward:
                yield from self.exchanged(tensor, count_, last, False)

    def handed(self) -> Iterator[Statement]:
        """What the last chunk has added to positions of the one before it."""
        for tensor, one in self.choice.backward.items():
            for at in map(Affine, range(one.width)):
                others, ranges = self.others(tensor)
                theirs = self.local(tensor, at, others, False)
                target = replace(theirs, subscripts=(Const(self.chunks.count), *theirs.subscripts[1:]))
                yield statement(target, "+=", self.local(tensor, at, others, True), ranges)

    def exchanged(self, tensor: str, position: int, last: bool, enters: bool) -> Iterator[Statement]:
        """A position of a tensor as statements outside have it, added to its chunk's, or the other way round."""
        chunk, at = self.choice.home(tensor, position, enters)
        if (chunk == self.chunks.count) != last:
            return
        others, ranges = self.others(tensor)
        own = self.local(tensor, Affine(at), others, last)
        theirs = Access(self.at(tensor, position, enters), others)
        target, value = (own, theirs) if enters else (theirs, own)
        masks = () if last else (Call("eq", (Index(self.chunk), Const(chunk))),)
        yield statement(target, "+=", value, ranges, masks, None, None if last else self.around)

    def fixed(self, enters: bool) -> list[tuple[str, int]]:
        """The positions at which statements outside add to tensors, or read them."""
        found: dict[tuple[str, int], None] = {}
        for k in sorted(self.choice.fixed):
            stmt = self.two.program.statements[k]
            for access in accesses_of(stmt):
                if access.tensor in self.choice.along and (access is stmt.target) == enters:
                    place = placed(access, self.choice.along[access.tensor].axis, self.chunks)
                    assert place is not None, "what has no place in a chunk is kept whole"
                    found[access.tensor, place.offset] = None
        return list(found)

    def at(self, tensor: str, position: int, enters: bool) -> str:
        """The name of one position of a tensor as a tensor."""
        where = self.chunks.position(Affine(position)).const
        return self.named(tensor, f"{'to' if enters else 'at'}_{where}".replace("-", "m"), self.without(tensor))

    def kept(self, tensor: str) -> str:
        """The name of the states that are kept."""
        one = self.choice.along[tensor]
        return self.named(tensor, "kept", (self.chunks.count + 1, one.width, *self.without(tensor)))

    # -- the parts -----------------------------------------------------------------------------

    def backward(self) -> list[Statement]:
        """The statements of the second part."""
        late = following(self.choice, self.two)

        def outside(k: int) -> Statement:
            stmt = self.two.program.statements[k]

            def rule(node: Subscript) -> Subscript | None:
                if not isinstance(node, Access) or node.tensor not in self.choice.along:
                    return None
                axis = self.choice.along[node.tensor].axis
                place = placed(node, axis, self.chunks)
                assert place is not None, "what has no place in a chunk is kept whole"
                name = self.at(node.tensor, place.offset, node == stmt.target)
                return Access(name, tuple(s for n, s in enumerate(node.subscripts) if n != axis), node.span)

            extents = self.two.known.extents[k].items()
            full = write(stmt, {i: Bound(Affine(lo), Affine(hi)) for i, (lo, hi) in extents})
            return transform_statement(full, rule) if k in self.choice.fixed else full

        rest = [k for k in range(len(self.two.program.statements)) if k not in self.choice.moved]
        before, behind = ([outside(k) for k in rest if (k in late) == is_late] for is_late in (False, True))
        return [*before, *self.in_chunk(True), *self.handed(), *self.in_chunk(False), *behind]

    def forward(self) -> list[Statement]:
        """The statements of the first part, with those that keep states."""
        block, statements = self.choice.block, self.one.program.statements
        own = [k for k, s in enumerate(statements) if blocks_of(s)[:1] == (block,)]
        said = replace(block, ranges=(_range(self.index, self.chunks.lo, self.chunks.hi),), closed=True)
        before, inside, behind = list[Statement](), list[Statement](), list[Statement]()
        for tensor, one in self.choice.forward.items():
            inside += [self.keeping(tensor, k, said) for k in range(one.width)]
        for k in own:
            stmt = statements[k]
            inside.append(as_said(replace(stmt, block=_reblocked(stmt.block, block, said))))
        for tensor, position in self.fixed(False):
            if tensor in self.choice.forward:
                place, stmt = self.shown(tensor, position, said, own)
                (before, inside, behind)[place].append(stmt)
        return [*statements[: own[0]], *before, *inside, *statements[own[-1] + 1 :], *behind]

    def keeping(self, tensor: str, k: int, block: Block) -> Statement:
        """What keeps position k of those with which each chunk begins: a step of its own, as it has a condition."""
        one, others = self.choice.along[tensor], self.others(tensor)
        at = self.fresh.letter("ijklmn")
        number, every = self.chunks.number(_form(self.index)), Const(self.chunks.every)
        position: Subscript = self.chunks.position(number + (one.low + k)).to_expr()
        for pad in one.pads:
            assert isinstance(position, Expr)
            position = replace(pad, expr=position)
        mask: Expr = Call("eq", (Call("mod", (number.to_expr(), every)), Const(0)))
        first = self.first_inside(tensor, one.low + k)
        if first > 0 and not one.pads:  # a condition keeps the first steps from reading there
            mask = Call("and", (mask, Call("ge", (number.to_expr(), Const(first)))))
        here = Block((at,), (_range(at, k, k + 1),), (mask,), False, next(self.numbers), block, closed=True)
        target = Access(self.kept(tensor), (Call("floordiv", (number.to_expr(), every)), Index(at), *others[0]))
        return as_said(statement(target, "=", self.whole(tensor, position, others[0]), others[1], (mask,), None, here))

    def first_inside(self, tensor: str, offset: int) -> int:
        """How many steps there are before the first one from which a position so far behind it lies in the tensor."""
        size = self.sizes[tensor][self.choice.along[tensor].axis]
        return self.chunks.hi - size - offset if self.chunks.reverse else -self.chunks.lo - offset

    def shown(self, tensor: str, position: int, block: Block, own: Sequence[int]) -> tuple[int, Statement]:
        """What gives one position of a tensor, and where it stands: before the block, in it, or behind it."""
        (offset,) = self.choice.along[tensor].written
        others, ranges = self.others(tensor)
        target = Access(self.at(tensor, position, False), others)
        value = self.whole(tensor, self.chunks.position(Affine(position)).to_expr(), others)
        if 0 <= position - offset < self.chunks.hi - self.chunks.lo:
            step = self.chunks.position(Affine(position - offset)).to_expr()
            mask = Call("eq", (Index(self.index), step))
            return 1, statement(target, "+=", value, ranges, (mask,), None, block)
        makers = [k for k, s in enumerate(self.one.program.statements) if s.target.tensor == tensor and k not in own]
        return (2 if makers and makers[-1] > own[-1] else 0), statement(target, "=", value, ranges)


def needed(statements: Sequence[Statement], wanted: Collection[str]) -> list[Statement]:
    """The statements that make what is wanted, and what these read."""
    left = {*wanted}
    while more := {t for s in statements if s.target.tensor in left for t in reads_of(s)} - left:
        left |= more
    return [s for s in statements if s.target.tensor in left]


def _form(index: str) -> Affine:
    return Affine(0, ((Index(index), 1),))


def _range(index: str, lo: int, hi: int) -> Range:
    return Range(index, None if lo == 0 else Const(lo), Const(hi))


def _reblocked(block: Block | None, old: Block, new: Block) -> Block | None:
    """A block with another one in the place of one that it stands in, or is."""
    if block is None or block == old:
        return None if block is None else new
    return replace(block, outer=_reblocked(block.outer, old, new))
