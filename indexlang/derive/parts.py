"""A part of a derived program: some of its statements, which run as they did.

In: a Program, the numbers of the statements that stay, the tensors that are derived. Out: the Program of these
statements. The one rule: what told how far an index runs, or how long an axis is, may be gone; then the statement, or a
declared shape, says so itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from ..program.affine import Affine, size
from ..program.blocks import with_ranges
from ..program.ir import (
    DOTS,
    Dots,
    Expr,
    Program,
    Shape,
    Size,
    Statement,
    Subscript,
    primal_of,
    steps_of,
    tensors_in,
)
from ..program.names import indices_within
from ..program.rebuild import transform_expr, transform_statement
from ..ranges.admitted import ended_by_line
from ..ranges.inherit import Wanted, inherit, write
from ..ranges.solve import Solution, attempt, solve
from ..ranges.statements import Bound


def part_of(
    program: Program, numbers: Sequence[int], derived: Collection[str], instead: Mapping[str, str] | None = None
) -> Program:
    """The statements `numbers`; those that make tensors of `derived` keep ranges and shapes.

    `instead` names tensors by whose sizes those of others are said that nothing reads any more.
    """
    instead = instead or {}
    if len(numbers) == len(program.statements) and not instead:
        return program
    solution = solve(program)
    old = [program.statements[k] for k in numbers]
    work = _Moving(solution, instead)
    statements = tuple(map(work.statement, old))
    made = {s.target.tensor for s in statements}
    gone = {s.target.tensor for s in program.statements} - made
    known = {
        Size(t, k): work.form(form)
        for t in gone
        for k, form in solution.sizes.of(t).items()
        if not any(s.tensor == t for s in form.sizes)
    }
    wanted = [
        work.bounds(stmt, solution.bounds[k]) if stmt.target.tensor in derived else None
        for k, stmt in zip(numbers, statements, strict=True)
    ]
    shapes = tuple(work.shape(s) for s in program.shapes if s.tensor not in gone)
    dims = tuple((name, transform_expr(e, work.rule)) for name, e in program.dims)
    part = replace(program, statements=statements, shapes=shapes, dims=dims)
    found = inherit(part, wanted, known)
    missing = tuple(work.missing(found, known, dict.fromkeys(s.target.tensor for s in statements), derived))
    return inherit(replace(part, shapes=(*shapes, *missing)), wanted, known) if missing else found


def as_before(program: Program, forward: Program, solution: Solution) -> Program:
    """A derived program whose forward statements run as far as they did in `forward`, which `solution` is of.

    A line that gradients do not need, and is gone, may have said how far a block runs, or that two sizes are equal, by
    which conditions keep an index inside.
    """
    now = attempt(program)
    blocks = any(p.code == "unbounded-index" for p in now.problems)
    steps: dict[str, dict[str, Bound]] = {}
    before: dict[Statement, Mapping[str, Bound]] = {}
    for stmt, bounds in zip(forward.statements, solution.bounds, strict=True):
        said = [i for i in steps_of(stmt) if i not in ended_by_line(stmt)]
        steps.setdefault(stmt.target.tensor, {}).update({i: bounds[i] for i in said})
        before[replace(stmt, block=None)] = {i: b for i, b in bounds.items() if b.masked and i not in steps_of(stmt)}
    statements = []
    for stmt, found in zip(program.statements, now.bounds, strict=True):
        ends = dict(before.get(replace(stmt, block=None), {}))
        ends = {i: b for i, b in ends.items() if not found[i].masked or found[i].high != now.sizes.canonical(b.high)}
        if blocks:
            ends |= {i: b for i, b in steps.get(stmt.target.tensor, {}).items() if i in steps_of(stmt)}
        statements.append(write(stmt, ends) if ends else stmt)
    if all(new is old for new, old in zip(statements, program.statements, strict=True)):
        return program
    return replace(program, statements=with_ranges(statements) if blocks else tuple(statements))


def unread(program: Program, derived: Collection[str]) -> list[int]:
    """The numbers of the statements that outputs need; `derived` tensors do not need what they are derived from.

    Where an ellipsis hides how many axes there are, they do: it has the shape.
    """
    needed = set(program.outputs)
    declared = {s.tensor: [p for d in s.dims for p in _sizes(d)] for s in program.shapes}
    left, found = list(enumerate(program.statements))[::-1], list[int]()
    while any(s.target.tensor in needed for _, s in left):
        rest = []
        for k, stmt in left:
            tensor = stmt.target.tensor
            if tensor not in needed:
                rest.append((k, stmt))
                continue
            found.append(k)
            needed.update(declared.get(tensor, ()))
            needed.update(t for t in tensors_in(stmt) if t != tensor)
            if tensor not in derived or Dots() in stmt.target.subscripts:
                needed.add(primal_of(tensor) or "")
        left = rest
    return sorted(found)


def _sizes(dim: Expr) -> Iterable[str]:
    return [s.tensor for s in Affine.from_expr(dim).sizes]


class _Moving:
    """What statements, forms and shapes become."""

    def __init__(self, solution: Solution, instead: Mapping[str, str]) -> None:
        self.solution, self.instead = solution, instead

    def rule(self, part: Subscript) -> Subscript | None:
        if isinstance(part, Size) and part.tensor in self.instead:
            return replace(part, tensor=self.instead[part.tensor])
        return None

    def statement(self, stmt: Statement) -> Statement:
        return transform_statement(stmt, self.rule) if self.instead.keys() & {*tensors_in(stmt)} else stmt

    def shape(self, shape: Shape) -> Shape:
        tensor = self.instead.get(shape.tensor, shape.tensor)
        return replace(shape, tensor=tensor, dims=tuple(transform_expr(d, self.rule) for d in shape.dims))

    def form(self, form: Affine) -> Affine:
        sizes: dict[Expr, Affine] = {
            s: size(self.instead[s.tensor], s.axis) for s in form.sizes if s.tensor in self.instead
        }
        return form.substitute(sizes) if sizes else form

    def bounds(self, stmt: Statement, bounds: Mapping[str, Bound]) -> dict[str, Wanted]:
        """How far the indices of a statement ran, by the axes that it subscripts plainly where there are some."""
        found: dict[str, Wanted] = {}
        there = {*indices_within(stmt), *bounds}
        for i, bound in bounds.items():
            if i not in there or i == DOTS:
                continue
            axes = sorted((t, k) for t, k in bound.sources if t != stmt.target.tensor and k >= 0)
            high = size(*axes[0]) if axes else self.form(bound.high)
            found[i] = Bound(self.form(bound.low), high, bound.sources)
        return found

    def missing(
        self, program: Program, known: Mapping[Size, Affine], made: Iterable[str], derived: Collection[str]
    ) -> Iterable[Shape]:
        """The shapes that tensors would not have by themselves any more."""
        now, before = attempt(program, known), self.solution.sizes
        declared = {s.tensor for s in program.shapes}
        for tensor in made:
            rank = before.ranks.get(tensor)
            if tensor not in derived or tensor in declared or rank is None:
                continue
            dims = [before.axis(tensor, k) for k in range(rank)]
            forms = [None if d is None else now.sizes.canonical(self.form(d)) for d in dims]
            if None in forms or any(f is not None and f.indices for f in forms):
                continue
            if any(now.sizes.axis(tensor, k) != f for k, f in enumerate(forms)):
                yield Shape(tensor, tuple(f.to_expr() for f in forms if f is not None))
