"""An index in front of some tensors, in all statements that name them.

In: a Program, the tensors, an index for each statement, how long it is. Out: the Program in which each of the tensors
has one axis more, the first. The one rule: all other indices run as they did, and a shape that a name does not tell any
more is declared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import DerivationError, Problem
from ..program.affine import Affine, size
from ..program.blocks import as_said, with_ranges
from ..program.interface import as_written, with_header
from ..program.ir import (
    DOTS,
    Access,
    Dots,
    Expr,
    Index,
    Program,
    Range,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    primal_of,
    reads_of,
    statement,
)
from ..program.names import tensors_of
from ..program.rebuild import transform, transform_block, transform_domain, transform_expr
from ..ranges.inherit import Wanted, inherit
from ..ranges.solve import Solution, solve
from ..ranges.statements import Bound


@dataclass(frozen=True)
class Indexed:
    """The tensors that get an index in front, how long that is, by the name of a dim where shapes are named."""

    tensors: Collection[str]
    size: Expr
    dim: str

    def rule(self, part: Subscript, index: str) -> Subscript | None:
        match part:
            case Access(tensor, subscripts, span) if tensor in self.tensors:
                return Access(tensor, (Index(index), *subscripts), span)
            case Size(tensor, axis, span) if tensor in self.tensors and axis >= 0:
                return Size(tensor, axis + 1, span)
            case _:
                return None

    def expr(self, expr: Expr) -> Expr:
        """An expression of sizes."""
        return transform_expr(expr, lambda p: self.rule(p, ""))

    def statement(self, stmt: Statement, index: str, bounded: bool) -> Statement:
        """The statement over the index, too; where nothing bounds it, a range does."""

        within = self.is_within_dots(stmt)

        def rule(part: Subscript) -> Subscript | None:
            return None if within and isinstance(part, Access) else self.rule(part, index)

        target = transform(stmt.target, rule)
        assert isinstance(target, Access)
        value, domain = transform_expr(stmt.value, rule), transform_domain(stmt.domain, rule)
        there = stmt.target.tensor in self.tensors
        told = bounded or within or any(t in self.tensors for t in reads_of(stmt))
        ranges = domain.ranges if told or not there else (*domain.ranges, Range(index, None, self.size))
        block = transform_block(stmt.block, rule)
        return as_said(statement(target, stmt.op, value, ranges, domain.masks, stmt.span, block))

    def is_within_dots(self, stmt: Statement) -> bool:
        """Whether a leading ellipsis takes the new axis in. Errors: `DerivationError`, if it stands in its way."""
        accesses = dict.fromkeys(accesses_of(stmt))
        leading = [a for a in accesses if a.subscripts[:1] == (Dots(),) and len(a.subscripts) > 1]
        mine = [a for a in accesses if a.tensor in self.tensors]
        if not any(a.tensor in self.tensors for a in leading):
            return False
        carriers = [a for a in accesses if Dots() in a.subscripts]
        if {*carriers} == {*mine} and Dots() in stmt.target.subscripts:
            return True
        rule = "an axis in front of '...' has no place: '...' stands for other axes, too"
        raise DerivationError(Problem("ellipsis", rule, stmt.span, way_out="write the axes of '...' out"))

    def bounds(self, stmt: Statement, bounds: Mapping[str, Bound]) -> dict[str, Wanted]:
        """How far the other indices run, by the axes that they subscript plainly where there are some."""
        found: dict[str, Wanted] = {}
        for i, bound in bounds.items():
            if i != DOTS:
                low, high = (Affine.from_expr(self.expr(end)) for end in (bound.lo, bound.hi))
                axes = frozenset((t, k + 1 if t in self.tensors and k >= 0 else k) for t, k in bound.sources)
                others = sorted((t, k) for t, k in axes if t != stmt.target.tensor and k >= 0)
                found[i] = Bound(low, size(*others[0]) if others else high, axes)
        return found

    def shape(self, shape: Shape) -> Shape:
        dims = tuple(map(self.expr, shape.dims))
        return replace(shape, dims=(self.size, *dims) if shape.tensor in self.tensors else dims)

    def missing(self, program: Program, solution: Solution) -> list[Shape]:
        """The shapes of gradients and tangents that are not those of their tensors any more."""
        shapes, found = {s.tensor: s for s in program.shapes}, list[Shape]()
        ranks = {a.tensor: len(a.subscripts) for s in program.statements for a in accesses_of(s)}
        dotted = {a.tensor: s for s in program.statements for a in accesses_of(s) if Dots() in a.subscripts}
        present = tensors_of(program)
        for tensor in present:
            primal = primal_of(tensor)
            if primal not in present or tensor in shapes or (tensor in self.tensors) == (primal in self.tensors):
                continue
            if tensor not in ranks:
                continue
            if tensor in dotted:
                rule = f"the shape of {tensor} has to be declared, and '...' does not say how many axes it has"
                way = f"write the axes of {primal} out"
                raise DerivationError(Problem("ellipsis", rule, dotted[tensor].span, way_out=way))
            sizes: list[Expr] = [Size(primal, k) for k in range(ranks[tensor])]
            if primal in shapes:
                sizes = list(shapes[primal].dims)
            elif primal not in program.inputs:
                axes = solution.sizes.of(primal)
                sizes = [axes[k].to_expr() for k in range(ranks[tensor])]
            dims = tuple(map(self.expr, sizes))
            found.append(Shape(tensor, (self.size, *dims) if tensor in self.tensors else dims))
        return found

    def program(self, program: Program, indices: Sequence[str | None]) -> Program:
        """The whole; `indices` has one for each statement in which one of the tensors occurs."""
        solution = solve(program)
        statements, wanted, made = list[Statement](), list[dict[str, Wanted] | None](), set[str]()
        missing = self.missing(program, solution)
        shaped = {s.tensor for s in (*program.shapes, *missing)}
        for stmt, index, bounds in zip(program.statements, indices, solution.bounds, strict=True):
            tensor = stmt.target.tensor
            bounded = tensor in made or tensor in shaped or (index or "") in bounds
            statements.append(stmt if index is None else self.statement(stmt, index, bounded))
            derived = primal_of(tensor) is not None
            wanted.append(self.bounds(stmt, bounds) if derived else None)
            made.add(tensor)
        shapes = (*map(self.shape, program.shapes), *missing)
        dims = tuple((name, self.expr(e)) for name, e in program.dims)
        if any(s.tensor in program.inputs and s.tensor in self.tensors for s in program.shapes):
            dims = ((self.dim, self.size), *dims)
        made_program = replace(program, statements=tuple(statements), shapes=shapes, dims=dims)
        found = inherit(made_program, wanted)
        return as_written(with_header(replace(found, statements=with_ranges(found.statements))))
