"""Statements that an engine computes as loop nests over their whole domains.

In: a statement and its target, `Limits` of an engine with nests. Out: whether it does; the steps. The one rule: one
value over all points goes into the target at once, and nothing is made on the way but what is read at computed
positions or beyond an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from ..program.conditions import conjuncts
from ..program.ir import Access, Call, Const, Expr, indices_of, parts_of
from .admitting import always
from .evaluation import Evaluation
from .kernels import Map
from .limits import NESTED
from .operators import SUMS
from .quantities import Apply, Count, Load, Number, Reduced, Value
from .reads import admitted, masked, value_of
from .values import cast
from .views import Scope
from .writes import Target

Split = tuple[Sequence[Expr], Sequence[Expr], Sequence[Expr]]
SMALL = 1 << 18  # points of several products that are soon gone through together


def nestable(stmt: Evaluation, target: Target) -> bool:
    """Whether the whole domain is gone through at once: what is summed is no product of more than two factors."""
    b = stmt.b
    if not b.limits.nests or b.complex_step or target.dynamic:
        return False
    if stmt.root is not None and (stmt.root.op != "logsumexp" or not all(stmt.sizes[i] > 0 for i in stmt.summed)):
        return False
    if not {stmt.dtype, target.buffer.dtype} <= NESTED or not unblocked(stmt):
        return False
    if (
        stmt.root is not None
        or stmt.op not in SUMS
        or not stmt.contractible()
        or prod(stmt.sizes[i] for i in stmt.summed) == 1
    ):
        return True
    terms = stmt.terms()
    return all(_nothing_saved(stmt, stmt.split(term), len(terms) > 1, not target.new) for _, term in terms)


def unblocked(stmt: Evaluation) -> bool:
    """Whether an engine goes through the values of a statement without arrays on the way: none need be in blocks."""
    kinds = {stmt.compute, *(stmt.b.kind(p) for p in parts_of(stmt.stmt) if isinstance(p, Call))}
    return stmt.b.limits.nests and not stmt.b.complex_step and kinds <= NESTED


def _nothing_saved(stmt: Evaluation, split: Split, several: bool, added: bool) -> bool:
    """Whether pairs of factors, one after the other, would cost as much as all at once. Of many points a product of
    two arrays takes a tenth of the time: each of `several` terms is one, once what is no array has become one, and so
    is what is `added` to something, once what the whole sum is multiplied by comes after it.
    """
    core, outside, divisors = split
    points = prod(stmt.sizes[i] for i in (*stmt.free, *stmt.summed))
    groups = [{*indices_of(f)} for f in core]
    largest = max(prod(stmt.sizes[i] for i in own if i in stmt.sizes) for own in groups)
    if points <= stmt.b.limits.larger * largest:  # each point is an element of one of them
        return True
    together = {i for own in groups for i in own}
    if points > SMALL and (several or not all(isinstance(f, Access) for f in core) or _by_data(stmt)):
        return False
    if points > SMALL and added and not all(isinstance(part, Const) for part in (*outside, *divisors)):
        return False
    asked = {i for mask in stmt.inner for i in indices_of(mask)}
    alone = [i for i in stmt.summed if i not in asked and stmt.sizes[i] > 1 and sum(i in own for own in groups) == 1]
    if points > SMALL and alone:  # summed before that factor meets the other one
        return False
    return len(core) <= 2 and all(stmt.sizes[i] == 1 or i in together for i in (*stmt.free, *stmt.summed))


def _by_data(stmt: Evaluation) -> bool:
    """Whether data say which points there are: a factor of zeros, or zeros in the result, do so, too."""
    return any(stmt.margin(m) is None for mask in (*stmt.inner, *stmt.outer) for m in conjuncts(mask))


def nested(stmt: Any, target: Target) -> None:
    """The value over the whole domain."""
    stmt.start(target, ())
    with ExitStack() as stack:
        scope = stmt.enter(stack, target, (), drops=False)
        if stmt.root is not None:
            target.put(target.view, _logarithm(stmt, target, scope))
        elif stmt.op in SUMS and len(stmt.terms()) == 1 and stmt.contractible():
            ((sign, term),) = stmt.terms()
            target.put(target.view, _product(stmt, term, scope), sign < 0)
        else:
            target.put(target.view, stmt.evaluate(scope))


def _product(stmt: Evaluation, term: Expr, scope: Scope) -> Value:
    """A sum of products; what the whole sum is multiplied by, or divided, comes after it, where there is a sum."""
    b, kind = stmt.b, stmt.compute
    core, outside, divisors = stmt.split(term)
    value: Value = cast(value_of(b, core[0], scope), kind)
    for factor in core[1:]:
        value = Apply("mul", (value, cast(value_of(b, factor, scope), kind)), kind)
    summed = [i for i in stmt.summed if not scope[i].tap]
    value = stmt.reduced(masked(b, value, stmt.inner, scope, Number(0, kind)), summed) if summed else value
    for fn, parts in (("mul", outside), ("div", divisors)):
        for part in parts:
            value = Apply(fn, (value, value_of(b, part, scope)), kind)
    if not all(isinstance(part, Const) for part in (*outside, *divisors)):
        there = _met(stmt, scope)
        value = value if there is None else Apply("select", (there, value, Number(0, kind)), kind)
    return stmt.masked_outer(value, scope)


def _met(stmt: Evaluation, scope: Scope) -> Value | None:
    """Where some point of a sum is admitted: elsewhere it is 0, whatever it is multiplied by. None if that is all."""
    conditions = [stmt.condition(c, scope) for c in stmt.conditions()]
    gone = [i for i in stmt.summed if any(i in c.indices for c in conditions)]
    if len(gone) == 1 and always(stmt.b, conditions, gone[0], scope):
        return None
    return admitted(stmt.b, stmt.inner, stmt.free, scope)


def _logarithm(stmt: Evaluation, target: Target, scope: Scope) -> Value:
    """logsumexp: the greatest value, then the sum of the powers of what lies below it."""
    b, kind, root = stmt.b, stmt.compute, stmt.root_of()
    value = cast(value_of(b, stmt.value, scope), kind)
    value = masked(b, value, root.domain.masks, scope, Number(float("-inf"), kind))
    own = tuple(i for i in stmt.summed if i in value.indices)
    free = [i for i in target.view.mentioned if not scope[i].tap]
    most = Load(b.part("most", free, kind, scope), kind)
    b.run(most.place, "=", Map(Reduced("greatest", value, own) if own else value))
    finite = Apply("isfinite", (most,), "bool")  # the distance from an infinity would be nan
    b.run(most.place, "=", Map(Apply("select", (finite, most, Number(0, kind)), kind)))
    total: Value = Apply("exp", (Apply("sub", (value, most), kind),), kind)
    total = Reduced("sum", total, own) if own else total
    missing = tuple(i for i in stmt.summed if i not in own)
    if missing:
        total = Apply("mul", (total, Count(missing)), kind)
    return stmt.masked_outer(Apply("add", (Apply("log", (total,), kind), most), kind), scope)
