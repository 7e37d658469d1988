"""Sums of terms that lack an index that is summed: how they are computed, and how they are written.

In: a value and the indices that it is summed over; a Program. Out: the value as a product with 1, which is summed as a
whole; the Program with `sum[k](...)` in place of such products. The one rule: both are the same sum.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

from ..program.algebra import terms_of
from ..program.ir import DOTS, Call, Const, Domain, Expr, Program, Reduce, Statement, indices_of, statement


def scoped(value: Expr, reduced: Sequence[str]) -> Expr:
    """The value, as a product with 1 where a term of its sum lacks a reduced index: all of it is reduced, knowingly."""
    terms = terms_of(value)
    if len(terms) > 1 and any(not set(reduced) <= set(indices_of(t)) for _, t in terms):
        return Call("mul", (value, Const(1)))
    return value


def unscoped(value: Expr) -> Expr:
    """A sum without the factor 1 that says that all of it is summed."""
    match value:
        case Call("mul", (body, one)) if one == Const(1):
            return body
        case _:
            return value


def embedded(program: Program) -> Program:
    """The program with `sum[k](...)` in place of products with 1: the form in which it is written."""
    changed = tuple(map(as_written, program.statements))
    return program if all(map(operator.is_, changed, program.statements)) else replace(program, statements=changed)


def as_written(stmt: Statement) -> Statement:
    """A statement with `sum[k](...)` in place of a product with 1."""
    body, inside = unscoped(stmt.value), set(stmt.reduced)
    if body is stmt.value or scoped(body, stmt.reduced) is body or stmt.op not in ("=", "+=") or DOTS in inside:
        return stmt
    ranges = tuple(r for r in stmt.domain.ranges if r.index in inside)
    masks = tuple(m for m in stmt.domain.masks if inside & set(indices_of(m)))
    reduce = Reduce("sum", Domain(stmt.reduced, ranges, masks), body)
    outer = tuple(r for r in stmt.domain.ranges if r.index not in inside)
    others = tuple(m for m in stmt.domain.masks if m not in masks)
    return statement(stmt.target, stmt.op, reduce, outer, others, stmt.span, stmt.block)
