"""From a Program with blocks to its stages.

In: a Program, sizes and dtypes of its inputs. Out: `Staged`, and what is to be warned of; or a `ShapeError`. The one
rule: what pieces share is in buffers, and a piece takes what was there only where something can have been there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import NAMED, Problem, ShapeError, within_depth
from ..program.affine import Affine
from ..program.blocks import Steps, runs
from ..program.ir import (
    Access,
    Block,
    Const,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    blocks_of,
    reads_of,
    statement,
    tensors_in,
)
from ..program.ir import Call as Apply
from ..program.names import plain
from ..program.rebuild import with_value
from ..ranges.inherit import inherit
from ..sizes import dtypes as kinds
from ..sizes import shapes
from .once import Both
from .order import Pair
from .pieces import Extents, Piece, is_padded, pieces, positions, read_in, reading, shape_of, start_of
from .shortening import shortened
from .stages import At, Buffer, Call, Now, One, Repeat, Slice, Stage, Staged
from .windows import windows

BEFORE = "_before"  # what the name of a slice as it was ends with
_START = {"=": 0, "+=": 0, "*=": 1}


@within_depth(ShapeError, NAMED)
def staged(
    program: Program, sizes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> tuple[Staged, tuple[Problem, ...]]:
    """The stages of a program at these sizes and types, and what is to be warned of. Errors: `ShapeError`."""
    found = shortened(program, sizes)
    typed = kinds.infer(found.program, dtypes)
    return _Cutting(found.program, found.known, typed, found.checks).staged(), found.warnings


@dataclass
class _Group:
    """A piece, and the place where it stands."""

    piece: Piece
    path: tuple[Block, ...]
    call: Call | None = None

    @property
    def outermost(self) -> Block | None:
        return self.path[0] if self.path else None


@dataclass
class _Loop:
    """A block with what stands in it."""

    block: Block
    extents: Steps
    inside: list[_Group | _Loop]


class _Cutting:
    def __init__(
        self, program: Program, known: shapes.Shapes, typed: kinds.Types, checks: Sequence[Pair | Both]
    ) -> None:
        self.checks = checks
        self.program, self.known, self.typed = program, known, typed
        self.sizes = dict(known.tensors)
        self.storage = {t: kinds.computing(d) for t, d in typed.tensors.items()}
        floats = {d for t, d in self.storage.items() if kinds.kind_of(d) == "float" and t not in typed.weak}
        if floats == {"float32"}:  # what says no precision takes it from what stands beside it
            weak = (t for t in typed.weak if kinds.kind_of(self.storage[t]) == "float" and t not in program.outputs)
            self.storage |= dict.fromkeys(weak, "float32")
        self.stepwise = {s.target.tensor for s in program.statements if s.block is not None}
        self.operators: dict[str, str] = {}
        for stmt in program.statements:
            if self.operators.get(stmt.target.tensor, "=") == "=":
                self.operators[stmt.target.tensor] = stmt.op
        self.groups: list[_Group] = []
        self.makers: dict[str, list[tuple[int, Slice]]] = {}  # by tensor, which groups make which slices of it

    def staged(self) -> Staged:
        numbered = list(zip(self.program.statements, self.known.extents, strict=True))
        tree = self.tree(numbered, 0, ())
        for number, group in enumerate(self.groups):
            for part in map(group.piece.slice_named, group.piece.made):
                self.makers.setdefault(part.tensor, []).append((number, part))
        users = self.users()
        stages = tuple(self.stages(tree, users))
        found = self.shared()
        shared = [t for t in self.sizes if t in found]
        checked = {t for check in self.checks for t in check.tensors}
        kept = windows(stages, self.sizes, {*self.program.inputs, *self.program.outputs, *checked})
        buffers = tuple(Buffer(t, self.sizes[t], self.storage[t], self.start(t), kept.get(t)) for t in shared)
        outputs = tuple((t, self.typed.tensors[t]) for t in self.program.outputs)
        told = dict(self.known.tensors), dict(self.typed.tensors)
        return Staged(self.program.inputs, outputs, buffers, stages, *told, tuple(self.checks))

    def start(self, tensor: str) -> float | int | bool:
        """What the elements of a tensor are that nothing reaches."""
        op, kind = self.operators[tensor], kinds.kind_of(self.storage[tensor])
        if op not in ("max=", "min="):
            return _START[op]
        least = op == "max="
        if kind == "bool":
            return not least
        if kind == "int":
            return -(2**63) if least else 2**63 - 1
        return float("-inf") if least else float("inf")

    # -- what runs where -----------------------------------------------------------------------

    def tree(self, statements: Sequence[tuple[Statement, Extents]], level: int, steps: Steps) -> list[_Group | _Loop]:
        found: list[_Group | _Loop] = []
        at = 0
        for block, several in runs([s for s, _ in statements], level):
            some = statements[at : at + len(several)]
            at += len(several)
            if block is None:
                path = blocks_of(some[0][0])
                made = [_Group(p, path) for p in pieces(some, steps, self.sizes, self.stepwise)]
                self.groups += made
                found += made
            else:
                extents = tuple((i, some[0][1][i]) for i in block.indices)
                found.append(_Loop(block, extents, self.tree(some, level + 1, (*steps, *extents))))
        return found

    def users(self) -> dict[str, list[tuple[int, Slice, bool]]]:
        """By tensor, which pieces use which slices of it, and whether they make them."""
        found: dict[str, list[tuple[int, Slice, bool]]] = {}
        for number, group in enumerate(self.groups):
            for name, part in group.piece.slices.items():
                found.setdefault(part.tensor, []).append((number, part, name in group.piece.made))
            for part in group.piece.slices.values():
                for axis in part.axes:
                    for tensor in read_in(axis):
                        found.setdefault(tensor, []).append((number, Slice(tensor, ()), False))
        return found

    def is_given(self, name: str, number: int, users: Mapping[str, list[tuple[int, Slice, bool]]]) -> bool:
        """Whether somebody reads what a piece makes after it has run, perhaps itself at another step."""
        part = self.groups[number].piece.slice_named(name)
        if part.tensor in self.program.outputs or any(part.tensor in c.tensors for c in self.checks):
            return True
        for k, other, made in users[part.tensor]:
            reads = not made or self.continues_by_slice(k, other)
            if (k, other) != (number, part) and self.may_follow(k, number) and reads:
                return True
        return False

    def may_follow(self, number: int, other: int) -> bool:
        """Whether a piece may run after another one, in the same block at another step perhaps."""
        blocks = self.groups[number].outermost, self.groups[other].outermost
        return number > other or (blocks[0] is not None and blocks[0] == blocks[1])

    def continues_by_slice(self, number: int, part: Slice) -> bool:
        piece = self.groups[number].piece
        return any(piece.tensors[name] == part and self.continues(name, number) for name in piece.made)

    def shared(self) -> set[str]:
        """The tensors that pieces give to each other or that are taken."""
        calls = [group.call for group in self.groups if group.call is not None]
        given = {part.tensor for call in calls for _, part in call.gives}
        taken = {part.tensor for call in calls for _, part in call.takes if isinstance(part, Slice)}
        checked = {t for check in self.checks for t in check.tensors}
        read = {t for c in calls for t in self.positions_of(c)}
        return (given | taken | checked | read | {*self.program.outputs}) - {*self.program.inputs}

    def positions_of(self, call: Call) -> list[str]:
        """The tensors from which positions are read."""
        parts = [part for _, part in (*call.takes, *call.gives) if isinstance(part, Slice)]
        return [tensor for part in parts for axis in part.axes for tensor in read_in(axis)]

    def stages(
        self, tree: Sequence[_Group | _Loop], users: Mapping[str, list[tuple[int, Slice, bool]]]
    ) -> Iterator[Stage]:
        for item in tree:
            if isinstance(item, _Loop):
                if any(hi <= lo for _, (lo, hi) in item.extents):
                    continue  # pieces that never run need not make sense
                inside = tuple(self.stages(item.inside, users))
                if inside:
                    yield Repeat(item.block, item.extents, inside)
            else:
                item.call = self.call(item, users)
                yield item.call

    # -- a piece as a program ------------------------------------------------------------------

    def call(self, group: _Group, users: Mapping[str, list[tuple[int, Slice, bool]]]) -> Call:
        piece, number = group.piece, next(k for k, g in enumerate(self.groups) if g is group)
        sizes = {n: shape_of(p, self.sizes) if isinstance(p, Slice) else () for n, p in piece.tensors.items()}
        statements: list[Statement] = []
        extents: list[Extents] = []
        takes: dict[str, Slice | Now | One] = {}
        written: set[str] = set()
        for k, (stmt, box) in enumerate(piece.statements):
            name = stmt.target.tensor
            part = piece.slice_named(name)
            op = self.operators[part.tensor]
            if k == piece.made[name][0] and (name in reads_of(stmt) or self.continues(name, number)):
                before = name + BEFORE
                takes[before] = part
                sizes[before] = sizes[name]
                axes = plain(tuple(Const(0) for _ in sizes[name]))
                statements.append(statement(Access(name, axes), "=", Access(before, axes)))
                extents.append({i.name: (0, n) for i, n in zip(axes, sizes[name], strict=True)})  # type: ignore[union-attr]
                written.add(name)
            stmt = self.typed_as(stmt, name, takes, sizes, piece)
            if k == piece.made[name][0] and name in reads_of(stmt):
                stmt = reading(stmt, name, name + BEFORE)
            if stmt.op == "=" and name in written:
                stmt = replace(stmt, op="+=" if op == "=" else op)
            written.add(name)
            statements.append(stmt)
            extents.append(box)
        read = dict.fromkeys(t for s in statements for t in tensors_in(s))
        for name in read:
            if name not in written and name not in takes:
                takes[name] = piece.tensors[name]
        gives = tuple((n, piece.slice_named(n)) for n in piece.made if self.is_given(n, number, users))
        declared = tuple(Shape(n, tuple(map(Const, sizes[n]))) for n in dict.fromkeys((*takes, *written)))
        outputs = tuple(n for n, _ in gives)
        program = Program(tuple(takes), outputs, tuple(statements), declared, name="piece")
        bounds = [{i: (Const(lo), Const(hi)) for i, (lo, hi) in box.items()} for box in extents]
        known = {Size(n, k): Affine(size) for n in takes for k, size in enumerate(sizes[n])}
        return Call(inherit(program, bounds, known), tuple(takes.items()), gives, tuple(piece.slices.items()))

    def typed_as(
        self,
        stmt: Statement,
        name: str,
        takes: dict[str, Slice | Now | One],
        sizes: dict[str, tuple[int, ...]],
        piece: Piece,
    ) -> Statement:
        """A statement whose value says no precision, in that of its tensor: times a one that has it.

        Of an extremum, integers that come to floats are such: the greatest integer is not infinite.
        """
        tensor = piece.slice_named(name).tensor
        precise = self.storage[tensor]
        value = kinds.kind(
            stmt.value, {n: self.kind_of(piece.tensors[n]) for n in reads_of(stmt) if n in piece.tensors}
        )
        chosen = stmt.op in ("max=", "min=") and not isinstance(stmt.value, Reduce)
        if chosen and value.kind != "float" and kinds.kind_of(precise) == "float":
            return with_value(stmt, Apply("float", (stmt.value,)))
        if not (value.weak and value.kind == "float") or precise not in ("float32", "complex64"):
            return stmt
        one = f"one_{precise}"
        takes[one], sizes[one] = One(precise), ()
        return with_value(stmt, Apply("mul", (stmt.value, Access(one))))

    def kind_of(self, part: Slice | Now) -> kinds.Kind:
        """The type of the elements of what stands for a tensor, or for a step."""
        return (
            kinds.INT
            if isinstance(part, Now)
            else kinds.Kind(self.storage[part.tensor], part.tensor in self.typed.weak)
        )

    def continues(self, name: str, number: int) -> bool:
        """Whether what a piece makes comes to what is there already: from other pieces, or from other steps."""
        piece = self.groups[number].piece
        part, open_ = piece.slice_named(name), dict(piece.steps)
        leaves = any(
            not is_padded(axis)
            and (found := positions(axis, open_)) is not None
            and not (found[0] >= 0 and found[1] < size)
            for axis, size in zip(part.axes, self.sizes[part.tensor], strict=True)
        )
        if self.operators[part.tensor] == "=" and name not in piece.partial and not leaves:
            return False
        if leaves or not _injective(part, piece.steps):
            return True
        for other, theirs in self.makers[part.tensor]:
            steps = self.groups[other].piece.steps
            if not self.may_follow(number, other) or (theirs == part and other >= number and steps == piece.steps):
                continue  # what comes to the same place only later in a step
            later = self.is_later(number, part, other, theirs)
            if not later and not _never_meet(part, open_, theirs, dict(steps)):
                return True
        return False

    def is_later(self, number: int, part: Slice, other: int, theirs: Slice) -> bool:
        """Whether another piece comes to elements of a slice only behind it, in one step of what is around both."""
        one, two = self.groups[number].path, self.groups[other].path
        if other <= number or not one or one[:1] != two[:1] or one[1:2] == two[1:2] != ():
            return False
        steps = {*one[0].indices}
        for a, b in zip(part.axes, theirs.axes, strict=True):
            form = start_of(a) if isinstance(a, At) and a == b and not is_padded(a) else None
            if form is not None and len(form.terms) == 1:
                steps -= {*form.indices}
        return not steps


def _injective(part: Slice, steps: Steps) -> bool:
    """Whether a slice is another one at each step."""
    left = {i for i, (lo, hi) in steps if hi - lo > 1}
    progress = True
    while left and progress:
        progress = False
        for axis in part.axes:
            form = start_of(axis) if isinstance(axis, At) else None
            moving = [a.name for a, _ in form.terms if a.name in left] if form is not None else []  # type: ignore[union-attr]
            if len(moving) == 1:
                left.discard(moving[0])
                progress = True
    return not left


def _never_meet(one: Slice, own: Extents, other: Slice, theirs: Extents) -> bool:
    """Whether two slices have no element in common at any steps of each."""
    for a, b in zip(one.axes, other.axes, strict=True):
        first, second = positions(a, own), positions(b, theirs)
        if first is not None and second is not None and (first[1] < second[0] or second[1] < first[0]):
            return True
    return False
