"""Writes that wrap, clamp or reflect what leaves an axis: a statement for each run of positions between two turns.

In: a Program with its shapes and types. Out: the same with statements whose targets have no edge in these axes:

    x.grad[b,wrap(i-1),j] += y.grad[b,i,j]
    x.grad[b,i-1,j] += y.grad[b,i,j] where 1 <= i < 256;  x.grad[b,i+255,j] += y.grad[b,i,j] where 0 <= i < 1

The one rule: the parts have each point once, and each of them writes through a view. An index that a merged subscript
numbers keeps its range, and so does one of an edge that turns too often.
"""

from __future__ import annotations

from dataclasses import replace

from ...program.affine import Affine
from ...program.ir import (
    Boundary,
    Const,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Statement,
    indices_of,
    parts_of,
    statement,
)
from ...rewrite.substitution import written
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..turns import EDGES, Turn, turns_of
from ..views import Extents, linear


def split_edges(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with the writes beyond an edge as statements of their own."""
    rows: list[tuple[Statement, Extents, int]] = []
    for k, stmt in enumerate(program.statements):
        rows += ((part, extents, k) for part, extents in _parts(stmt, k, shapes, limits))
    if len(rows) == len(program.statements):
        return program, shapes, types
    return (
        replace(program, statements=tuple(stmt for stmt, _, _ in rows)),
        replace(shapes, extents=tuple(e for _, e, _ in rows), guarded=tuple(shapes.guarded[k] for *_, k in rows)),
        replace(types, compute=tuple(types.compute[k] for *_, k in rows)),
    )


def _parts(stmt: Statement, number: int, shapes: Shapes, limits: Limits) -> list[tuple[Statement, Extents]]:
    """The statement in its parts, the inner one, of most points, first; itself where it stays."""
    extents = shapes.extents[number]
    found: list[tuple[Statement, Extents]] = [(stmt, extents)]
    if stmt.op not in ("+=", "max=", "min=") or shapes.guarded[number]:
        return found
    if any(hi <= lo for lo, hi in extents.values()):
        return found
    numbered = {i for part in parts_of(stmt) if isinstance(part, Merged) for i in part.indices}
    size = shapes.tensors[stmt.target.tensor]
    for axis, sub in enumerate(stmt.target.subscripts):
        if not isinstance(sub, Boundary) or sub.kind not in EDGES or sub.lo is not None:
            continue
        row = linear(sub.expr, shapes.tensors)
        if row is None or len(row.coefs) != 1 or row.coefs[0][0] in numbered:
            continue
        ((index, coef),) = row.coefs
        if sum(index in indices_of(s) for s in stmt.target.subscripts) > 1:
            continue
        first, last = row.interval(extents)
        turns = turns_of(sub.kind, first, last, size[axis], limits.pieces)
        if turns is None or len(turns) * len(found) > limits.pieces:
            continue
        found = [
            (_placed(part, axis, index, run, _subscript(index, coef, row.const, turn, run)), {**box, index: run})
            for part, box in found
            for turn in turns
            if (run := _run(extents[index], coef, row.const, turn)) is not None
        ]
    return found


def _run(extent: tuple[int, int], coef: int, const: int, turn: Turn) -> tuple[int, int] | None:
    """The values of an index whose positions are in a turn."""
    ends = turn.first - const, turn.last - const
    low, high = ends if coef > 0 else (-ends[1], -ends[0])
    lo, hi = max(extent[0], -(-low // abs(coef))), min(extent[1], high // abs(coef) + 1)
    return (lo, hi) if lo < hi else None


def _subscript(index: str, coef: int, const: int, turn: Turn, run: tuple[int, int]) -> Expr:
    if turn.sign:
        return written(Affine(turn.sign * const + turn.shift, ((Index(index), turn.sign * coef),)), (index,))
    if run[1] - run[0] == 1:  # no sum: one value may as well go along
        return written(Affine(turn.shift - coef * run[0], ((Index(index), coef),)), (index,))
    return Const(turn.shift)


def _placed(stmt: Statement, axis: int, index: str, run: tuple[int, int], sub: Expr) -> Statement:
    """The statement over some values of an index, which it writes without an edge."""
    subscripts = stmt.target.subscripts
    target = replace(stmt.target, subscripts=(*subscripts[:axis], sub, *subscripts[axis + 1 :]))
    ranges = (
        *(r for r in stmt.domain.ranges if r.index != index),
        Range(index, Const(run[0]), Const(run[1])),
    )
    return statement(target, stmt.op, stmt.value, ranges, stmt.domain.masks, stmt.span)
