"""Factors that are looked at by themselves: whether they are finite beside a 0 that need not be computed.

In: a statement and a factor of its value. Out: whether it can be read alone, and under which masks. The one rule: what
is looked at is what the statement reads: its masks on the factor's own indices stay, and no other one keeps a position
inside of its axis.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from ...program.conditions import conjuncts
from ...program.ir import Access, Const, Expr, Reduce, Statement, indices_of, reads, walk


def masks_of(stmt: Statement) -> tuple[Expr, ...]:
    """The masks under which a statement reads, those of a reduction that is its whole value included."""
    return (*stmt.domain.masks, *(stmt.value.domain.masks if isinstance(stmt.value, Reduce) else ()))


def is_finite(factor: Expr) -> bool:
    """Whether a factor is a number that 0 can be multiplied by."""
    return isinstance(factor, Const) and math.isfinite(factor.value)


def own_masks(stmt: Statement, factor: Expr) -> tuple[Expr, ...]:
    """The masks of a statement that say under which values of a factor's own indices it is read."""
    own = set(indices_of(factor))
    return tuple(c for m in masks_of(stmt) for c in conjuncts(m) if set(indices_of(c)) <= own)


def can_be_asked(stmt: Statement, factor: Expr, guarded: Collection[tuple[Access, int]]) -> bool:
    """Whether a factor may be read by itself: other masks than its own do not keep its positions inside."""
    mine = {a for a, _ in guarded} & {p for p in walk(factor) if isinstance(p, Access)}
    others = {c for m in masks_of(stmt) for c in conjuncts(m)} - set(own_masks(stmt, factor))
    return not mine or not any(reads(c) for c in others)
