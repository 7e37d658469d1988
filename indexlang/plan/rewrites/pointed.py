"""Elements that data point at: what one position of many gets is written there, and the others are not gone through.

In: a Program without ellipses, its shapes and types, `Limits`. Out: an equal one, the same object where nothing points:

    x.grad[j] += y.grad[i] where j == y_at[i]
    x.grad[clamp(y_at[i])] += y.grad[i] where 0 <= y_at[i], y_at[i] < 300

    x.grad[i+3*d+e,c] += y.grad[i,c] where 3*d+e == y_at[i,c]
    x.grad[clamp(i+y_at[i,c]),c] += y.grad[i,c] where 0 <= y_at[i,c], y_at[i,c] < 9

The one rule: the admitted points stay. What is pointed at is made of indices of the target as a number is of digits, so
that a position says each of them; it is written once, and masks keep it in their range.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from ...program.affine import Affine
from ...program.conditions import conjuncts
from ...program.interface import with_header
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Statement,
    indices_of,
    parts_of,
    reads,
    statement,
    walk,
)
from ...rewrite.substitution import Quotient, put, put_subscript
from ...sizes.dtypes import Known, Types, expr_type
from ...sizes.in_bounds import numeric
from ...sizes.shapes import Shapes
from ..limits import Limits

Box = Mapping[str, tuple[int, int]]  # lo <= index < hi
Digits = tuple[tuple[str, int], ...]  # indices, each with its step, the greatest first


def point(program: Program, known: Shapes, types: Types, limits: Limits) -> Program:
    """The program in which data say where it is written, the shapes of the targets concerned declared."""
    statements = list(program.statements)
    kinds = Known(types.tensors, types.weak)
    for k, stmt in enumerate(statements):
        statements[k] = _pointed(stmt, known.extents[k], known.tensors, kinds, limits)
    changed = {s.target.tensor for s, old in zip(statements, program.statements, strict=True) if s is not old}
    if not changed:
        return program
    shaped = {*program.inputs, *(s.tensor for s in program.shapes)}
    declared = [Shape(t, tuple(map(Const, known.tensors[t]))) for t in sorted(changed - shaped)]
    return with_header(replace(program, statements=tuple(statements), shapes=(*program.shapes, *declared)))


def _pointed(stmt: Statement, box: Box, sizes: Mapping[str, Sequence[int]], kinds: Known, limits: Limits) -> Statement:
    """The statement with the first equality that pays put into its target."""
    masks = [m for mask in stmt.domain.masks for m in conjuncts(mask)]
    equalities = [m for m in masks if isinstance(m, Call) and m.fn == "eq" and reads(m)]
    if not equalities or any(isinstance(p, Reduce) for p in parts_of(stmt)) or any(lo >= hi for lo, hi in box.values()):
        return stmt
    if prod(hi - lo for lo, hi in box.values()) < limits.pointing:
        return stmt
    for mask in equalities:
        if not all(expr_type(a, kinds).startswith("int") for a in mask.args):
            continue
        rest = [m for m in masks if m is not mask]
        form = numeric(Affine.from_expr(mask.args[0]) - Affine.from_expr(mask.args[1]), sizes)
        for digits, position in _solutions(form, box):
            count = prod(box[i][1] - box[i][0] for i, _ in digits)
            if count > limits.pointed and _can_go(stmt, rest, {i for i, _ in digits}):
                return _written(stmt, box, rest, digits, position)
    return stmt


def _solutions(form: Affine, box: Box) -> Iterator[tuple[Digits, Affine]]:
    """Indices that are digits of a position that data say, and the position of the first digits' zeros."""
    hidden = {i for a, _ in form.terms if not isinstance(a, Index) for i in indices_of(a)}
    mine = [(a.name, c) for a, c in form.terms if isinstance(a, Index) and a.name not in hidden]
    longest = sorted(mine, key=lambda t: box[t[0]][0] - box[t[0]][1])
    for group in (mine, *([one] for one in longest if len(mine) > 1)):
        for sign in (1, -1):
            digits = sorted(((i, c * sign) for i, c in group), key=lambda t: -t[1])
            if digits and _are_digits(digits, box):
                rest = Affine(form.const, tuple(t for t in form.terms if not _is_one_of(t[0], digits)))
                yield tuple(digits), rest * -sign - sum(c * box[i][0] for i, c in digits)


def _is_one_of(atom: Expr, digits: Sequence[tuple[str, int]]) -> bool:
    return isinstance(atom, Index) and any(atom.name == i for i, _ in digits)


def _are_digits(digits: Sequence[tuple[str, int]], box: Box) -> bool:
    """Whether each step is the number of what the smaller ones count."""
    step = 1
    for i, c in reversed(digits):
        if c != step:
            return False
        step *= box[i][1] - box[i][0]
    return True


def _can_go(stmt: Statement, masks: Sequence[Expr], names: set[str]) -> bool:
    """Whether the target has the indices, and nothing else but masks that read nothing at them."""
    target = stmt.target
    merged = any(isinstance(p, Merged) and names & set(p.indices) for p in parts_of(stmt))
    read = {i for e in (*target.subscripts, *masks) for p in walk(e) if isinstance(p, Access) for i in indices_of(p)}
    return not merged and names <= set(indices_of(target)) and not names & {*read, *indices_of(stmt.value)}


def _written(stmt: Statement, box: Box, masks: Sequence[Expr], digits: Digits, position: Affine) -> Statement:
    """The statement written where the position says."""
    count = prod(box[i][1] - box[i][0] for i, _ in digits)
    at = Quotient(position).expr()
    values = {}
    for k, (i, step) in enumerate(digits):
        digit = at if step == 1 else Call("floordiv", (at, Const(step)))
        digit = digit if k == 0 else Call("mod", (digit, Const(box[i][1] - box[i][0])))
        values[i] = Quotient(Affine.from_expr(digit) + box[i][0])
    within = (Call("le", (Const(0), at)), Call("lt", (at, Const(count))))
    placed = [
        (s, s if values.keys().isdisjoint(indices_of(s)) else put_subscript(s, values)) for s in stmt.target.subscripts
    ]
    # What the masks refuse may point anywhere.
    inside = [s if s == old or isinstance(s, Boundary | Merged | Dots) else Boundary("clamp", s) for old, s in placed]
    target = replace(stmt.target, subscripts=tuple(inside))
    ranges = tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in box.items() if i not in values)
    rest = tuple(put(m, values) for m in masks)
    return statement(target, stmt.op, stmt.value, ranges, (*within, *rest), stmt.span)
