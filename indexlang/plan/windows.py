"""Reductions over few positions, one after the other, into the target.

In: a statement whose window is small and whose arrays are large. Out: steps. The one rule: a loop runs over the
positions of the window, and each pass is over whole arrays that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable

from ..program.functions import COMBINATIONS
from ..program.ir import Expr
from .evaluation import Evaluation
from .kernels import Map
from .operators import SUMS, combining
from .places import Place
from .quantities import Apply, Load, Number, Value
from .reads import masked, value_of
from .values import cast, fixed
from .views import Scope
from .writes import Target


def window(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """Combine the positions of a window, one after the other, into the target."""
    b, core = stmt.b, stmt.value
    outside: list[Expr] = []
    divisors: list[Expr] = []
    plain = target.overwrites and stmt.free and stmt.op in SUMS and not b.masks
    if plain and len(terms := stmt.terms()) == 1 and terms[0][0] > 0:
        parts = stmt.split(terms[0][1])
        if len(parts[0]) == 1:  # what the sum can wait for is applied once
            (core,), outside, divisors = parts

    def value(inner: Scope) -> Value:
        return stmt.masked(cast(value_of(b, core, inner), stmt.compute), b.masks, inner)

    place = target.view
    if not target.overwrites:
        with b.loops(scope, [(i, 0) for i in stmt.summed]) as inner:
            b.run(place, combining(stmt.op), Map(value(inner)))
        return
    combined(stmt, place, stmt.op, value, scope)
    for op, part in [("*=", f) for f in outside] + [("/=", d) for d in divisors]:
        b.run(place, op, Map(value_of(b, part, scope)))


def combined(stmt: Evaluation, place: Place, op: str, value: Callable[[Scope], Value], scope: Scope) -> None:
    """The values at all positions, one combined with the other in a place that is overwritten."""
    b = stmt.b
    moving = [i for i in stmt.summed if stmt.sizes[i] > 1]
    everything = value(scope)
    both = []
    for number in (0, 1):
        at = {**dict.fromkeys(stmt.summed, 0), moving[-1]: number}
        both.append(fixed(everything, at, b.extents))
    b.run(place, "=", Map(Apply(COMBINATIONS[op], tuple(both), stmt.compute)))
    single = [(i, 0) for i in stmt.summed if i not in moving]
    with b.loops(scope, single) as one:
        for inner in b.from_second(one, moving, 2):
            b.run(place, combining(op), Map(value(inner)))


def logarithm(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """logsumexp: the greatest of a window, then the sum of the powers of what lies below it."""
    b, kind = stmt.b, stmt.compute
    masks = stmt.root_of().domain.masks

    def value(inner: Scope) -> Value:
        return masked(b, cast(value_of(b, stmt.value, inner), kind), masks, inner, Number(float("-inf"), kind))

    free = [i for i in target.view.mentioned if not scope[i].tap]
    most = Load(b.part("most", free, kind, scope), kind)
    direct = target.overwrites and target.buffer.dtype == kind
    total = Load(target.view if direct else b.part("total", free, kind, scope), kind)
    combined(stmt, most.place, "max=", value, scope)
    finite = Apply("isfinite", (most,), "bool")  # the distance from an infinity would be nan
    b.run(most.place, "=", Map(Apply("select", (finite, most, Number(0, kind)), kind)))

    def power(inner: Scope) -> Value:
        return Apply("exp", (Apply("sub", (value(inner), most), kind),), kind)

    combined(stmt, total.place, "+=", power, scope)
    found = Apply("add", (Apply("log", (total,), kind), most), kind)
    target.put(target.view, stmt.masked_outer(found, scope))
