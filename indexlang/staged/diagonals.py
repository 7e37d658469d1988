"""Blocks over two indices as blocks over diagonals: all elements of one diagonal at once.

In: a Program whose blocks hold recurrences alone, how far indices run. Out: an equal Program in which

    for i < N, j < M:
        d[i+1,j+1] = min(d[i,j+1], d[i+1,j]) + x[i,j]

runs over the diagonals s = i + j, in a tensor that has them as an axis:

    e[i+j,i] = x[i,j]
    for s < N+M-1:
        f[s+2,i+1] = min(f[s+1,i], f[s+1,i+1]) + e[s,i] where 0 <= s-i, s-i < M

The one rule: only where each read is of an earlier diagonal, or of this element; then no order within one is left.
(Lamport, "The parallel execution of DO loops", CACM 1974.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..program.affine import Affine
from ..program.ir import (
    Access,
    Block,
    Call,
    Const,
    Dots,
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
    reads,
    reads_of,
    reductions_of,
    sizes_of,
    statement,
    walk,
)
from ..program.names import Fresh
from ..program.rebuild import transform_expr, transform_statement

Extents = Mapping[str, tuple[int, int]]
Part = tuple[Expr, tuple[tuple[str, tuple[int, int]], ...]]
Sizes = Mapping[str, tuple[int, ...]]
_FEW_OPERATIONS = 6
_CHEAP = frozenset(("add", "sub", "mul", "neg", "abs", "min", "max", "where", "lt", "le", "gt", "ge", "eq", "ne"))
FEW = 8  # steps of an index that are gone through one by one


_NOTHING: Mapping[str, Skewed] = {}


@dataclass(frozen=True)
class Skewed:
    """A tensor that a block makes: the axes in which its indices stand, its name with diagonals, and before them."""

    tensor: str
    first: int
    second: int
    name: str
    before: str

    def others(self, subscripts: Sequence[Subscript]) -> tuple[Subscript, ...]:
        """What stands behind the diagonal."""
        return tuple(s for k, s in enumerate(subscripts) if k != self.second)

    def turned(self, access: Access) -> Access:
        """An access elsewhere, in the tensor with diagonals."""
        first, second = (access.subscripts[k] for k in (self.first, self.second))
        assert isinstance(first, Expr) and isinstance(second, Expr)
        diagonal = (Affine.from_expr(first) + Affine.from_expr(second)).to_expr()
        return Access(self.name, (diagonal, *self.others(access.subscripts)), access.span)

    def has_one(self, access: Access) -> bool:
        """Whether an access elsewhere keeps to one row or column, so that it can be turned."""
        both = [access.subscripts[k] for k in (self.first, self.second)]
        static = all(isinstance(s, Expr) and not reads(s) and not isinstance(s, Dots) for s in both)
        return static and any(not indices_of(s) for s in both)


def on_diagonals(
    program: Program, extents: Sequence[Extents], sizes: Sizes, there: Mapping[str, Skewed] = _NOTHING
) -> tuple[Program, Mapping[str, Skewed]]:
    """The program with the first of its blocks that can be on diagonals; the tensors that are `there` on diagonals."""
    blocks = dict.fromkeys(blocks_of(s)[0] for s in program.statements if s.block is not None)
    for block in blocks:
        numbers = [k for k, s in enumerate(program.statements) if blocks_of(s)[:1] == (block,)]
        own = [program.statements[k] for k in numbers]
        work = _Turning(program, block, own, extents, numbers[0], sizes, there)
        if work.can():
            return work.program(numbers[0], numbers[-1]), {**there, **work.skewed}
    return program, there


class _Turning:
    """One block."""

    def __init__(
        self,
        program: Program,
        block: Block,
        own: Sequence[Statement],
        extents: Sequence[Extents],
        first: int,
        sizes: Sizes,
        there: Mapping[str, Skewed],
    ) -> None:
        self.whole, self.block, self.own, self.sizes = program, block, own, sizes
        self.everywhere, self.extents = extents, extents[first]
        self.names = Fresh.of(program)
        self.made = {s.target.tensor for s in own}
        self.there = {t: s for t, s in there.items() if t not in self.made and self.is_read_so(t, s)}
        self.parts: list[tuple[Part, Access, Statement]] = []
        self.shapes: list[Shape] = []
        self.direct: Collection[str] = ()
        self.unneeded: frozenset[str] = frozenset()

    def can(self) -> bool:
        """Whether diagonals leave no order."""
        if len(self.block.indices) != 2 or any(s.block != self.block or reductions_of(s) for s in self.own):
            return False
        if any(self.extents[i][1] - self.extents[i][0] < FEW for i in self.block.indices):
            return False
        places: dict[str, tuple[int, int]] = {}
        for stmt in self.own:
            for access in accesses_of(stmt):
                if access.tensor not in self.made:
                    continue
                found = self.places(access)
                if found is None or places.setdefault(access.tensor, found) != found:
                    return False
        for k, stmt in enumerate(self.own):
            for access in accesses_of(stmt)[1:]:
                for m, maker in enumerate(self.own):
                    if maker.target.tensor == access.tensor and not self.later(access, maker.target, m < k):
                        return False
        behind = self.whole.statements[self.whole.statements.index(self.own[-1]) + 1 :]
        if any(s.target.tensor in self.made for s in behind) or any(t in self.whole.inputs for t in self.made):
            return False
        self.skewed = {t: self.new(t, *found) for t, found in places.items()}
        return True

    def is_read_so(self, tensor: str, skewed: Skewed) -> bool:
        """Whether the block reads a tensor that is on diagonals only along these."""
        if len(self.block.indices) != 2:
            return False
        found = [a for s in self.own for a in accesses_of(s) if a.tensor == tensor]
        return all(self.places(a) == (skewed.first, skewed.second) for a in found)

    @property
    def diagonal(self) -> set[str]:
        """The tensors that are on diagonals in the block."""
        return {*self.made, *self.there}

    def new(self, tensor: str, first: int, second: int) -> Skewed:
        stem = tensor.replace(".", "_")
        return Skewed(tensor, first, second, self.names.fresh(f"{stem}_diagonals"), self.names.fresh(f"{stem}_before"))

    def places(self, access: Access) -> tuple[int, int] | None:
        """The axes in which the two indices stand, each alone and plus a number."""
        found = []
        for index in self.block.indices:
            axes = [k for k, s in enumerate(access.subscripts) if index in indices_of(s)]
            if len(axes) != 1 or _shift(access.subscripts[axes[0]], index) is None:
                return None
            found += axes
        return (found[0], found[1]) if found[0] != found[1] else None

    def shifts(self, access: Access) -> tuple[int, int]:
        first, second = (
            _shift(next(s for s in access.subscripts if i in indices_of(s)), i) for i in self.block.indices
        )
        assert first is not None and second is not None
        return first, second

    def later(self, read: Access, made: Access, behind: bool) -> bool:
        """Whether what is read was made on an earlier diagonal, or at this point by a line in front."""
        (a, b), (c, d) = self.shifts(read), self.shifts(made)
        if (a, b) == (c, d):
            return behind
        gap = (a - c) + (b - d)
        return gap > 0 if self.block.reverse else gap < 0

    # -- the program -----------------------------------------------------------------------------

    def program(self, first: int, last: int) -> Program:
        i, j = self.block.indices
        (lo_i, hi_i), (lo_j, hi_j) = self.extents[i], self.extents[j]
        self.step = self.names.fresh("s")
        self.survey(first, last)
        steps = Range(self.step, Const(lo_i + lo_j) if lo_i + lo_j else None, Const(hi_i + hi_j - 1))
        block = replace(self.block, indices=(self.step,), ranges=(steps,), masks=())
        inside = [self.moved(s, e, block, steps) for s, e in zip(self.own, self.everywhere[first:], strict=False)]
        before, behind, shapes = self.around(first)
        made = [s for _, _, s in self.parts]
        written = [_written(s, e) for s, e in zip(self.whole.statements, self.everywhere, strict=True)]
        front = [self.renamed(s, w) for s, w in zip(self.whole.statements[:first], written, strict=False)]
        after = [self.read_elsewhere(s, w) for s, w in zip(self.whole.statements, written, strict=True)][last + 1 :]
        statements = (*front, *before, *made, *inside, *behind, *after)
        there = {*self.whole.inputs, *(s.target.tensor for s in statements)}
        declared = (s for s in (*self.whole.shapes, *shapes, *self.shapes) if s.tensor in there)
        return replace(self.whole, statements=statements, shapes=tuple(declared))

    def moved(self, stmt: Statement, extents: Extents, block: Block, steps: Range) -> Statement:
        """A statement on diagonals."""
        self.extents = extents
        i, j = self.block.indices
        there: Expr = Call("sub", (Index(self.step), Index(i)))
        value = self.part(stmt.value)
        masks = [self.mask(m, there) for m in stmt.domain.masks]
        lo, hi = self.extents[j]
        masks += [Call("ge", (there, Const(lo))), Call("lt", (there, Const(hi)))]
        others = [self.range(k) for k in stmt.domain.indices if k not in self.block.indices]
        own = self.range(i)
        op = "+=" if stmt.op == "=" else stmt.op
        return statement(self.at(stmt.target), op, value, (steps, own, *others), tuple(masks), stmt.span, block)

    def mask(self, mask: Expr, there: Expr) -> Expr:
        """A condition on diagonals; one that reads what the block does not make is looked at before it."""
        tensors = {p.tensor for p in walk(mask) if isinstance(p, Access)}
        if tensors and tensors.isdisjoint(self.diagonal) and not self.is_alone(mask):
            return Call("gt", (self.part(Call("where", (mask, Const(1), Const(0)))), Const(0)))
        return self.part(mask) if tensors else _put(mask, self.block.indices[1], there)

    def is_alone(self, expr: Expr) -> bool:
        """Whether a value is cheap, and no tensor in it has both indices: it is computed again, rather than kept."""
        both = {*self.block.indices}
        return _is_cheap(expr) and all(both - {*indices_of(p)} for p in walk(expr) if isinstance(p, Access))

    def at(self, access: Access) -> Access:
        """An access of what the block makes, on diagonals."""
        skewed = self.skewed.get(access.tensor) or self.there[access.tensor]
        a, b = self.shifts(access)
        diagonal = Affine(a + b, ((Index(self.step), 1),)).to_expr()
        return Access(skewed.name, (diagonal, *skewed.others(access.subscripts)), access.span)

    def read(self, expr: Expr) -> Expr:
        """An expression with what the block makes on diagonals."""
        return transform_expr(
            expr, lambda p: self.at(p) if isinstance(p, Access) and p.tensor in self.diagonal else None
        )

    def part(self, expr: Expr) -> Expr:
        """A value; parts that the block does not make are put on diagonals before it."""
        i, j = self.block.indices
        tensors = {p.tensor for p in walk(expr) if isinstance(p, Access)}
        if tensors.isdisjoint(self.diagonal):
            if j not in indices_of(expr):
                return expr
            if not tensors:
                return _put(expr, j, Call("sub", (Index(self.step), Index(i))))
            known = next((read for p, read, _ in self.parts if p == self.key(expr)), None)
            if known is not None:
                return known
            if i not in indices_of(expr):
                return self.turned_round(expr)
            if isinstance(expr, Call) and self.is_alone(expr):
                return Call(expr.fn, tuple(map(self.part, expr.args)), expr.span)
            return self.named(expr)
        match expr:
            case Access():
                return self.at(expr)
            case Call(fn, args, span):
                return Call(fn, tuple(map(self.part, args)), span)
            case _:
                return self.read(expr)

    def key(self, expr: Expr) -> Part:
        """What makes a part another one: what it is, and how far its indices run in the statement at hand."""
        return expr, tuple((i, self.extents[i]) for i in indices_of(expr))

    def turned_round(self, expr: Expr) -> Access:
        """A part of a value that has the second index alone, from its last value to its first: on each diagonal what is
        beside the first index lies side by side.
        """
        i, j = self.block.indices
        (lo_i, hi_i), (lo_j, hi_j) = self.extents[i], self.extents[j]
        last = hi_i + hi_j - 2 - lo_i  # where the last diagonal begins
        name = self.names.fresh("part")
        others = tuple(Index(k) for k in indices_of(expr) if k != j)
        ranges = tuple(self.range(k) for k in (j, *(o.name for o in others)))
        back = Affine(last, ((Index(j), -1),)).to_expr()
        made = statement(Access(name, (back, *others)), "=", expr, ranges)
        here = Affine(last, ((Index(i), 1), (Index(self.step), -1))).to_expr()
        read = Access(name, (here, *others))
        length = hi_i - 1 - (lo_i + lo_j) + last + 1
        dims = (length, *(self.extents[o.name][1] for o in others))
        self.shapes.append(Shape(name, tuple(map(Const, dims))))
        self.parts.append((self.key(expr), read, made))
        return read

    def range(self, index: str) -> Range:
        lo, hi = self.extents[index]
        return Range(index, Const(lo) if lo else None, Const(hi))

    def named(self, expr: Expr) -> Access:
        """A part of a value under a name, on diagonals."""
        i, j = self.block.indices
        name = self.names.fresh("part")
        others = tuple(Index(k) for k in indices_of(expr) if k not in (i, j))
        both = Call("add", (Index(i), Index(j)))
        ranges = tuple(self.range(k) for k in (i, j, *(o.name for o in others)))
        made = statement(Access(name, (both, Index(i), *others)), "=", expr, ranges)
        read = Access(name, (Index(self.step), Index(i), *others))
        self.parts.append((self.key(expr), read, made))
        return read

    def around(self, first: int) -> tuple[list[Statement], list[Statement], list[Shape]]:
        """What fills the tensors with diagonals, and brings them back; their shapes."""
        earlier = {s.target.tensor for s in self.whole.statements[:first]}
        before, behind, shapes = list[Statement](), list[Statement](), list[Shape]()
        for skewed in self.skewed.values():
            sizes = self.sizes[skewed.tensor]
            axes = tuple(Index(self.names.fresh(f"a{k}")) for k in range(len(sizes)))
            here = Access(skewed.tensor, axes)
            there = skewed.turned(here)
            ranges = tuple(Range(a.name, None, Const(n)) for a, n in zip(axes, sizes, strict=True))
            diagonals = sizes[skewed.first] + sizes[skewed.second] - 1
            rest = (n for k, n in enumerate(sizes) if k != skewed.second)
            shapes.append(Shape(skewed.name, tuple(map(Const, (diagonals, *rest)))))
            if skewed.tensor in earlier and skewed.tensor not in self.direct:
                shapes.append(Shape(skewed.before, tuple(map(Const, sizes))))
                op = self.operator(skewed.tensor)
                before.append(statement(there, op, Access(skewed.before, axes), ranges))
            if skewed.tensor not in self.unneeded:
                behind.append(statement(here, "=", there, ranges))
        return before, behind, shapes

    def operator(self, tensor: str) -> str:
        """By what a tensor's elements are combined."""
        found = {s.op for s in self.whole.statements if s.target.tensor == tensor} - {"="}
        return found.pop() if found else "+="

    def renamed(self, stmt: Statement, written: Statement) -> Statement:
        """A statement in front of the block, which makes what was there before."""
        if stmt.target.tensor not in self.skewed:
            return stmt
        op = self.operator(stmt.target.tensor) if stmt.op == "=" else stmt.op
        skewed = self.skewed[stmt.target.tensor]
        if stmt.target.tensor in self.direct:
            return replace(written, target=skewed.turned(stmt.target), op=op)
        return replace(stmt, target=replace(stmt.target, tensor=skewed.before), op=op)

    def read_elsewhere(self, stmt: Statement, written: Statement) -> Statement:
        """A statement behind the block, which reads single rows and columns where they are."""
        if self.unneeded.isdisjoint(reads_of(stmt)):
            return stmt
        return transform_statement(
            written,
            lambda p: self.skewed[p.tensor].turned(p) if isinstance(p, Access) and p.tensor in self.unneeded else None,
        )

    def survey(self, first: int, last: int) -> None:
        """Which tensors are made and read elsewhere in single rows and columns: they need no other form."""
        around = (*self.whole.statements[:first], *self.whole.statements[last + 1 :])
        used = [(p, s) for s in around for p in accesses_of(s) if p.tensor in self.skewed]
        sized = {p.tensor for s in around for p in sizes_of(s)}
        single = {t for t in self.skewed if all(self.skewed[t].has_one(p) for p, _ in used if p.tensor == t)}
        made = {p.tensor for p, s in used if p is s.target and not self.skewed[p.tensor].has_one(p)}
        self.direct = self.skewed.keys() - made
        self.unneeded = frozenset(single - {*self.whole.outputs} - sized)


def _written(stmt: Statement, extents: Extents) -> Statement:
    """The statement with the ranges of its indices written."""
    ranges = tuple(Range(i, Const(extents[i][0]), Const(extents[i][1])) for i in stmt.domain.indices)
    return replace(stmt, domain=replace(stmt.domain, ranges=ranges))


def _is_cheap(expr: Expr) -> bool:
    """Whether a value is a few sums and products."""
    calls = [p for p in walk(expr) if isinstance(p, Call)]
    square = [p for p in calls if p.fn == "pow" and p.args[1] == Const(2)]
    return len(calls) <= _FEW_OPERATIONS and all(p.fn in _CHEAP or p in square for p in calls)


def _shift(s: Subscript, index: str) -> int | None:
    """The number that is added to an index, where a subscript is no more than that."""
    if not isinstance(s, Expr) or reads(s):
        return None
    form = Affine.from_expr(s)
    return form.const if form.terms == ((Index(index), 1),) else None


def _put(expr: Expr, index: str, value: Expr) -> Expr:
    return transform_expr(expr, lambda p: value if p == Index(index) else None)
