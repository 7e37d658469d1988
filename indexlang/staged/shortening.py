"""A program with blocks as it is to run: its order looked at, its blocks as short as they can be.

In: a Program and sizes of its inputs. Out: the same with blocks that hold what waits for its own results, two indices
as diagonals where that is possible, and what only data can tell of its order. The one rule: what takes no part in a
recurrence stands before or behind the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import Problem, ShapeError
from ..program.blocks import numbered, with_ranges
from ..program.ir import (
    DOTS,
    Access,
    Const,
    Merged,
    Program,
    Reduce,
    Shape,
    Subscript,
    accesses_of,
)
from ..program.rebuild import transform_expr
from ..ranges.inherit import inherit
from ..ranges.solve import solve
from ..ranges.statements import Bound
from ..rewrite.hoist import hoist
from ..rewrite.lifted import arranged
from ..sizes import ranks, shapes
from .diagonals import Skewed, on_diagonals
from .once import Both, twice
from .order import Pair, orders
from .pieces import Extents, merged


@dataclass(frozen=True)
class Shortened:
    """The program, its shapes, what is to be looked at when it runs, and what is to be warned of."""

    program: Program
    known: shapes.Shapes
    checks: tuple[Pair | Both, ...]
    warnings: tuple[Problem, ...]


def shortened(program: Program, sizes: Mapping[str, tuple[int, ...]]) -> Shortened:
    """The program with its blocks as short as they can be. Errors: `ShapeError`."""
    expanded = ranks.expand(program, {name: len(shape) for name, shape in sizes.items()})
    written = shapes.infer(expanded, sizes)
    hoisted = hoist(expanded)
    if hoisted is not expanded and _reads_ahead(hoisted):
        early = orders(_unmerged(expanded, written.extents), written.extents, written.tensors).problems
        if early:
            raise ShapeError(*early)
    there = written if hoisted is expanded else shapes.infer(hoisted, sizes, rewritten=True)
    spelled = _unmerged(hoisted, there.extents)
    found = orders(spelled, there.extents, there.tensors)
    repeated, undecided = twice(spelled, there.extents, there.tensors)
    if found.problems or repeated:
        raise ShapeError(*found.problems, *repeated)
    short = _lifted(_declared(_accumulated(hoisted), there.tensors), solve(hoisted).bounds)
    known = shapes.infer(short, sizes, rewritten=True)
    diagonal: Mapping[str, Skewed] = {}
    while True:
        turned, diagonal = on_diagonals(short, known.extents, known.tensors, diagonal)
        if turned is short:
            return Shortened(short, known, (*found.checks, *undecided), written.warnings)
        short, known = turned, shapes.infer(turned, sizes, rewritten=True)


def _reads_ahead(program: Program) -> bool:
    """Whether something in front of a block reads what it makes: a sum about no step may have left the block so."""
    ahead: set[str] = set()
    for stmt in reversed(program.statements):
        if stmt.block is None and ahead & {a.tensor for a in accesses_of(stmt)[1:]}:
            return True
        ahead = ahead | {stmt.target.tensor} if stmt.block is not None else ahead
    return False


def _unmerged(program: Program, extents: Sequence[Extents]) -> Program:
    """The program with merged axes as sums of their indices: where an element is, and when it is made."""
    changed = []
    for stmt, own in zip(program.statements, extents, strict=True):

        def as_sum(s: Subscript, own: Extents = own) -> Subscript | None:
            return merged(s, own) if isinstance(s, Merged) else None

        target = transform_expr(stmt.target, as_sum)
        assert isinstance(target, Access)
        changed.append(replace(stmt, target=target, value=transform_expr(stmt.value, as_sum)))
    return replace(program, statements=tuple(changed))


def _accumulated(program: Program) -> Program:
    """The program in which what blocks accumulate into is nowhere set: what is set once is added to nothing."""
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    operators = {s.target.tensor: s.op for s in program.statements if s.op != "="}
    changed = (
        replace(s, op=operators[t])
        if s.op == "=" and (t := s.target.tensor) in stepwise & operators.keys() and not isinstance(s.value, Reduce)
        else s
        for s in program.statements
    )
    return replace(program, statements=tuple(changed))


def _declared(program: Program, sizes: Mapping[str, tuple[int, ...]]) -> Program:
    """The program with the shapes of all that it makes: what said them may be elsewhere when blocks are shorter."""
    known, shapes_ = {s.tensor for s in program.shapes}, solve(program).shapes
    found = []
    for tensor in dict.fromkeys(s.target.tensor for s in program.statements):
        forms = shapes_.get(tensor, {})
        if tensor not in known:
            numbers = sizes[tensor]
            whole = len(forms) == len(numbers) and not any(f.indices for f in forms.values())
            whole = whole and all(p.tensor in program.inputs for f in forms.values() for p in f.sizes)
            found.append(Shape(tensor, tuple(forms[k].to_expr() if whole else Const(n) for k, n in enumerate(numbers))))
    return replace(program, shapes=(*program.shapes, *found))


def _lifted(program: Program, bounds: Sequence[Mapping[str, Bound]]) -> Program:
    """The program with its blocks as short as they can be, and the ranges that its statements had before, `bounds`."""
    order = arranged(program.statements)
    wanted = [
        {i: b for i, b in bounds[k].items() if i != DOTS}
        if program.statements[k].block is not None or any(b.masked for b in bounds[k].values())
        else None
        for k, _ in order
    ]
    found = inherit(replace(program, statements=tuple(s for _, s in order)), wanted, steps=True)
    return replace(found, statements=numbered(with_ranges(found.statements)))
