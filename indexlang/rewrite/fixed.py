"""An index to which its conditions leave one value becomes that number.

In: a statement, and how far its indices run. Out: an equal statement, and how far the indices run that are left:

    f.grad[b] += y.grad[b,i] * x[b,i+d] where d < 2, d == 1     f.grad[b] += y.grad[b,i] * x[b,i+1]
    f.grad[b] += y.grad[b,i] * x[b,i+d] where d < 2, d != 1     f.grad[b] += y.grad[b,i] * x[b,i]
    g.grad[b] += y.grad[b,i] * x[b,i+d] where d < 4, d != 0     g.grad[b] += y.grad[b,i] * x[b,i+d] where 1 <= d < 4

The one rule: the admitted points stay. Conditions on one index alone decide, as far as numbers do; where a size says
how far the index runs, the statement keeps a condition on that size. An index of a merged axis stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..program.affine import Affine, not_negative
from ..program.conditions import as_mask, comparisons, conjuncts, decided, value_at
from ..program.ir import (
    DOTS,
    Call,
    Const,
    Expr,
    Index,
    Merged,
    Range,
    Reduce,
    Statement,
    indices_of,
    parts_of,
    primal_of,
    reads,
    statement,
    steps_of,
)
from ..ranges.statements import Bound
from .substitution import Quotient, put, put_subscript

Bounds = Mapping[str, Bound]
_MOST = 64  # values of an index that are tried one by one


def fix_indices(stmt: Statement, bounds: Bounds) -> tuple[Statement, Bounds]:
    """The statement without the indices to which masks leave one value, with ranges for masks that leave a few."""
    if not stmt.domain.masks or isinstance(stmt.value, Reduce):
        return stmt, bounds
    masks = tuple(part for m in stmt.domain.masks for part in conjuncts(m))
    merged = {i for p in parts_of(stmt) if isinstance(p, Merged) for i in p.indices}
    sized = indices_of(stmt.target) if primal_of(stmt.target.tensor) is None else ()  # its axes are as long as they run
    for i in stmt.domain.indices:
        own = tuple(m for m in masks if indices_of(m) == (i,) and not reads(m))
        if i == DOTS or i in merged or i in sized or not own or i in steps_of(stmt):
            continue
        others = tuple(m for m in masks if m not in own)
        found = _left(i, bounds[i], own)
        if found is None:
            continue
        low, high, guard = found
        if high - low == 1:
            here = (decided(put(m, {i: Quotient(Affine(low))})) for m in others)
            masks = (*(as_mask(m) for m in here if m != Const(True)), *guard)
            stmt, bounds = _put(stmt, i, low, masks), {j: b for j, b in bounds.items() if j != i}
        elif not guard:
            masks = tuple(map(as_mask, others))
            bounds = {**bounds, i: Bound(Affine(low), Affine(high))}
            ranges = tuple(r for r in stmt.domain.ranges if r.index != i)
            ranges = (*ranges, Range(i, Const(low) if low else None, Const(high)))
            stmt = statement(stmt.target, stmt.op, stmt.value, ranges, masks, stmt.span, stmt.block)
    return stmt, bounds


def _put(stmt: Statement, index: str, number: int, masks: tuple[Expr, ...]) -> Statement:
    values = {index: Quotient(Affine(number))}
    first = tuple(i for i in stmt.domain.indices if i != index)
    subscripts = tuple(put_subscript(s, values, first) for s in stmt.target.subscripts)
    ranges = tuple(r for r in stmt.domain.ranges if r.index != index)
    target, value = replace(stmt.target, subscripts=subscripts), put(stmt.value, values, first)
    return statement(target, stmt.op, value, ranges, masks, stmt.span, stmt.block)


def _left(index: str, bound: Bound, masks: tuple[Expr, ...]) -> tuple[int, int, tuple[Expr, ...]] | None:
    """The values low <= index < high that masks leave, and a condition on the size that goes so far."""
    if bound.low.terms:
        return None
    if bound.high.terms:
        return _solved(index, bound, masks)
    values = range(bound.low.const, bound.high.const)
    if not 0 < len(values) <= _MOST:
        return None
    admitted = []
    for value in values:
        holds = [value_at(m, {index: value}) for m in masks]
        if None in holds:
            return None
        if all(holds):
            admitted.append(value)
    if not admitted or admitted[-1] - admitted[0] >= len(admitted):
        return None
    return admitted[0], admitted[-1] + 1, ()


def _solved(index: str, bound: Bound, masks: tuple[Expr, ...]) -> tuple[int, int, tuple[Expr, ...]] | None:
    """The one value that an equation leaves, where a size says how far the index runs."""
    for mask in masks:
        for fn, a, b in comparisons(mask):
            form = Affine.from_expr(a) - Affine.from_expr(b)
            match form.terms:
                case ((Index(name), factor),) if fn == "eq" and name == index and form.const % factor == 0:
                    value = -form.const // factor
                    if value >= bound.low.const and all(value_at(m, {index: value}) for m in masks):
                        inside = not_negative(bound.high - 1 - value)
                        guard = () if inside else (Call("gt", (bound.hi, Const(value))),)
                        return value, value + 1, guard
                case _:
                    pass
    return None
