"""Ellipses written out, once the arrays say how many axes they stand for.

In: a Program and the ranks of its inputs. Out: an equal Program without `...`, without negative axes in `size`. The one
rule: an ellipsis stands for the same axes in every access of its statement, so any tensor of known rank that carries it
tells their number. Ranks that do not fit the program are refused here, all of them at once.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..errors import Problem, ShapeError, Span
from ..program.facts import kept
from ..program.ir import (
    DOTS,
    Access,
    Dots,
    Index,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    parts_of,
    primal_of,
    sizes_of,
)
from ..program.names import Fresh, free, tensors_of
from ..program.rebuild import transform_expr, transform_statement
from ..program.text import dim_names, expr_text
from ..properties import cached_property


def expand(program: Program, ranks: Mapping[str, int]) -> Program:
    """The program at these ranks of its inputs. Errors: `ShapeError`."""
    return _Expansion(program, ranks).run()


def contracted(stmt: Statement) -> Statement:
    """A statement as its text has it: `...` for the indices that stand for its axes."""

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Access) or not any(map(_is_spread, part.subscripts)):
            return None
        kept = [Dots(s.span) if _is_spread(s) else s for s in part.subscripts]
        return replace(
            part, subscripts=tuple(s for k, s in enumerate(kept) if not k or s != Dots() or kept[k - 1] != s)
        )

    return transform_statement(stmt, rule)


def _is_spread(s: Subscript) -> bool:
    return isinstance(s, Index) and s.span is not None and s.span.text == DOTS


class _Expansion:
    """The ranks known so far, while the statements are gone through in order."""

    def __init__(self, program: Program, ranks: Mapping[str, int]) -> None:
        self.program = program
        self.ranks = dict(ranks)
        self.problems: list[Problem] = []
        self.names: list[str] = []  # of the indices that stand for the axes of an ellipsis
        self.inputs = frozenset(ranks)
        self.blamed: set[str] = set()  # inputs of another rank, which are told once

    @cached_property
    def taken(self) -> set[str]:
        """Names that occur in the program."""
        return Fresh.of(self.program).taken

    @cached_property
    def present(self) -> dict[str, None]:
        """The tensors of the program."""
        return tensors_of(self.program)

    def run(self) -> Program:
        """The whole program."""
        names = dim_names(self.program)
        for shape in self.program.shapes:
            self.ranks.setdefault(shape.tensor, len(shape.dims))  # also of a gradient: it goes before its tensor's
            if not self.fits(shape.tensor, len(shape.dims)):
                written = ",".join(expr_text(d, names) for d in shape.dims)
                self.misfit(shape.tensor, len(shape.dims), shape.span, f"declared as {shape.tensor}[{written}]")
        statements = tuple(self.statement(s) for s in self.program.statements)
        shapes = tuple([self.shape(s) for s in self.program.shapes])
        dims = tuple((name, transform_expr(e, self.positive)) for name, e in self.program.dims)
        if self.problems:
            raise ShapeError(*dict.fromkeys(self.problems))
        if (statements, shapes, dims) == (self.program.statements, self.program.shapes, self.program.dims):
            return self.program
        return replace(self.program, statements=statements, shapes=shapes, dims=dims)

    def shape(self, shape: Shape) -> Shape:
        """A declared shape."""
        dims = tuple([transform_expr(d, self.positive) for d in shape.dims])
        return shape if all(map(operator.is_, dims, shape.dims)) else replace(shape, dims=dims)

    def statement(self, stmt: Statement) -> Statement:
        """One statement; its target's rank is known from then on."""
        problems = len(self.problems)
        count = self.count(stmt)
        refused = any(p.code == "ellipsis" for p in self.problems[problems:])
        for access in _accesses(stmt) if not refused else ():
            rank = len(access.subscripts) + (count - 1 if Dots() in access.subscripts else 0)
            if not self.fits(access.tensor, rank):
                self.misfit(access.tensor, rank, access.span or stmt.span, f"written as {expr_text(access)}")
        while len(self.names) < count:
            self.names.append(free((f"d{k}" for k in range(1, len(self.taken) + 2)), self.taken))
            self.taken.add(self.names[-1])
        if not _is_dotted(stmt) and not sizes_of(stmt):
            return stmt
        return transform_statement(stmt, lambda part: self.rule(part, self.names[:count]))

    def count(self, stmt: Statement) -> int:
        """How many axes the ellipsis of a statement stands for; 0 if it has none."""
        if not _is_dotted(stmt):
            return 0
        carriers = [a for a in _accesses(stmt) if Dots() in a.subscripts]
        told = [(a, rank - len(a.subscripts) + 1) for a in carriers if (rank := self.rank(a.tensor)) is not None]
        if not carriers:
            return 0
        if not told:
            access = carriers[0]
            rule = f"nothing says how many axes '...' stands for in {expr_text(access)}"
            way = f"declare the shape of {access.tensor}, or write its axes out"
            self.problems.append(Problem("unknown-rank", rule, access.span or stmt.span, (), way))
            return 0
        count = told[0][1]
        for access, other in told:
            if other != count or other < 0:
                values = tuple(f"{a.tensor} has rank {self.rank(a.tensor)}: {n} in {expr_text(a)}" for a, n in told)
                rule = "'...' stands for the same axes wherever it occurs in a statement"
                shown, way = tuple(dict.fromkeys(values)), "write the axes out, or take tensors with as many axes"
                self.problems.append(Problem("ellipsis", rule, access.span or stmt.span, shown, way))
                break
        return max(0, min(n for _, n in told))

    def rank(self, tensor: str) -> int | None:
        """The rank of a tensor, a gradient's being that of its tensor, if that is in the program."""
        found = self.ranks.get(tensor)
        if found is None and (primal := primal_of(tensor)) is not None and primal in self.present:
            return self.rank(primal)
        return found

    def fits(self, tensor: str, rank: int) -> bool:
        """Whether a tensor has this rank, as far as it is known; that of one that is met first is noted."""
        known = self.rank(tensor)
        if known is None:
            self.ranks[tensor] = rank
        return known is None or known == rank

    def misfit(self, tensor: str, rank: int, span: Span | None, written: str) -> None:
        """Refuse a tensor with another rank than it is known to have, an input at its first place only."""
        if tensor in self.blamed:
            return
        if tensor in self.inputs:
            self.blamed.add(tensor)
        given = "the array passed" if tensor in self.inputs else "its definition"
        values = (f"{written}: {_axes(rank)}", f"{given} has {_axes(self.rank(tensor) or 0)}")
        way = f"write {_axes(self.rank(tensor) or 0)}"
        if tensor in self.inputs:
            way = f"pass an array with {_axes(rank)}, or {way}"
        self.problems.append(Problem("rank", f"{tensor} has another number of axes here", span, values, way))

    def rule(self, part: Subscript, names: list[str]) -> Subscript | None:
        """A part with its ellipses written out and its axes counted from the front."""
        match part:
            case Access(subscripts=subscripts) if Dots() in subscripts:
                written: list[Subscript] = []
                for s in subscripts:
                    written += [Index(n, s.span) for n in names] if isinstance(s, Dots) else [s]
                return replace(part, subscripts=tuple(written))
            case Reduce(domain=domain) if DOTS in domain.indices:
                indices = [n for i in domain.indices for n in (names if i == DOTS else [i])]
                return replace(part, domain=replace(domain, indices=tuple(indices)))
            case _:
                return self.positive(part)

    def positive(self, part: Subscript) -> Subscript | None:
        """`size(x,-1)` as `size(x,2)`; an axis that a tensor does not have is refused."""
        if not isinstance(part, Size):
            return None
        rank = self.rank(part.tensor)
        if rank is None or part.tensor in self.blamed:
            return None
        if not -rank <= part.axis < rank:
            values = (f"{part.tensor} has {_axes(rank)}",)
            rule = f"{expr_text(part)} asks for an axis that is not there"
            way = f"write size({part.tensor},{rank - 1})" if rank else "write 1, or leave it out"
            self.problems.append(Problem("axis", rule, part.span, values, way))
            return None
        return replace(part, axis=part.axis + rank) if part.axis < 0 else None


def _accesses(stmt: Statement) -> Iterator[Access]:
    """The accesses of a statement: what it reads before what it writes, whose rank may follow from it."""
    parts = accesses_of(stmt)
    yield from (p for p in parts if p is not stmt.target)
    yield stmt.target


def _axes(rank: int) -> str:
    return f"{rank} {'axis' if rank == 1 else 'axes'}"


@kept
def _is_dotted(stmt: Statement) -> bool:
    """Whether an ellipsis stands in a statement."""
    return any([isinstance(p, Dots) for p in parts_of(stmt)])
