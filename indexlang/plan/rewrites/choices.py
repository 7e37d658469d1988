"""Choices of 0 by positions alone as masks: `where(s <= t, x, 0)` is x where s <= t.

In: a statement. Out: the same with masks. The one rule: a branch that is not chosen adds nothing, as a mask says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...program.algebra import factors_of, product_of, terms_of
from ...program.conditions import TRUTHS, as_mask, conjuncts, is_integer, negation
from ...program.ir import Call, Const, Domain, Expr, Program, Statement, indices_of


def with_masks(stmt: Statement) -> Statement:
    """The statement with such choices in a product that is its whole value as masks, these one by one."""
    masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    value = stmt.value
    terms = terms_of(value)
    if stmt.op in ("=", "+=") and len(terms) == 1:
        ((sign, term),) = terms
        parts = [(*_opened(f), below) if not below else (f, (), below) for f, below in factors_of(term)]
        said = [c for _, conditions, _ in parts for c in conditions]
        if said:
            masks += [as_mask(c) for c in said]
            factors = [f for f, _, below in parts if not below and f != Const(1)] or [Const(1)]
            value = product_of(factors, [f for f, _, below in parts if below])
            value = Call("neg", (value,)) if sign < 0 else value
    if value is stmt.value and len(masks) == len(stmt.domain.masks):
        return stmt
    return replace(
        stmt, value=value, domain=Domain(stmt.domain.indices, stmt.domain.ranges, tuple(dict.fromkeys(masks)))
    )


def running(program: Program) -> Program:
    """The program in which such choices are masks where they are all that ties two indices: in running sums."""
    statements = tuple(map(_running, program.statements))
    same = all(new is old for new, old in zip(statements, program.statements, strict=True))
    return program if same else replace(program, statements=statements)


def _running(stmt: Statement) -> Statement:
    """A sum along an index up to another one, or from there on, which its values do not have."""
    masked = with_masks(stmt) if stmt.reduced else stmt
    said = [m for m in masked.domain.masks if m not in stmt.domain.masks]
    used = {*indices_of(masked.value)}
    for mask in said:
        own = {*indices_of(mask)}
        if len(own) != 2 or len(own.intersection(stmt.reduced)) != 1 or own <= used:
            return stmt
    return masked if said else stmt


def _opened(factor: Expr) -> tuple[Expr, tuple[Expr, ...]]:
    """A factor without such choices, and their conditions."""
    said: tuple[Expr, ...] = ()
    while isinstance(factor, Call) and factor.fn == "where":
        condition, first, second = factor.args
        conditions = tuple(all_of(condition, first != Const(0)))
        first, second = (second, first) if first == Const(0) else (first, second)
        if second != Const(0) or not all(compares(c) for c in conditions):
            break
        said, factor = (*said, *conditions), first
    return factor, said


def all_of(condition: Expr, holds: bool = True) -> Iterator[Expr]:
    """The conditions that a condition is all of, or that its opposite is."""
    match condition:
        case Call(fn="and" | "or" as fn, args=args) if (fn == "and") == holds:
            for a in args:
                yield from all_of(a, holds)
        case Call(fn="not", args=(inner,)) if isinstance(inner, Call) and inner.fn in TRUTHS:
            yield from all_of(inner, not holds)
        case _:
            yield condition if holds else negation(condition)


def compares(condition: Expr) -> bool:
    """Whether a condition compares positions."""
    match condition:
        case Call(fn="lt" | "le" | "gt" | "ge" | "eq", args=(a, b)):
            return is_integer(_undistanced(a)) and is_integer(_undistanced(b))
        case Call(fn="not", args=(inner,)):
            return compares(inner)
        case _:
            return False


def _undistanced(expr: Expr) -> Expr:
    """What a distance is that of."""
    return expr.args[0] if isinstance(expr, Call) and expr.fn == "abs" else expr
