"""Whether a difference keeps its digits, asked of the data.

In: a result, what it is the difference of. Out: a condition, a single value. The one rule: what is not finite, or has
lost too many digits, is found; float32 that is computed in float64 may lose many.
"""

from __future__ import annotations

from math import prod

from .evaluation import Evaluation
from .kernels import Map
from .quantities import Apply, Load, Number, Reduced, Value
from .values import cast
from .views import Scope


def keeps_digits(stmt: Evaluation, total: Value, side: Load, free: list[str], lost: int, itself: Value | None) -> Value:
    """Whether every element is large enough beside what it is the difference of, and that is finite. Where `itself`,
    nothing is lost: the difference is 0.
    """
    kind = stmt.compute
    mine: Value = Apply("mul", (Apply("abs", (total,), kind), Number(lost, kind)), kind)
    kept: Value = Apply("ge", (mine, Apply("abs", (side,), kind)), "bool")
    if itself is not None:
        kept = Apply("or", (itself, kept), "bool")
    good: Value = Reduced("all", kept, tuple(i for i in free if i in kept.indices)) if free else kept
    finite = stmt.all_finite([cast(Apply("mul", (side, Number(8, kind)), kind), stmt.written)])
    return Apply("and", (finite, good), "bool")


def hardly_cancels(
    stmt: Evaluation, total: Load, parts: list[Load], free: list[str], scope: Scope, itself: Value | None
) -> Value:
    """The same where one is computed as exactly as what is delivered: each row and column must keep its digits, and no
    more elements than by chance may have lost many.
    """
    kind = "float64" if stmt.compute in ("float64", "complex128") else "float32"
    limits = stmt.b.limits
    limit = Number(limits.lost, kind)
    sizes = [_size(stmt, x, free, kind, scope) for x in (total, parts[0])]
    good: Value | None = None
    for index in free or [""]:
        largest: list[Value] = []
        for x in sizes:
            over = tuple(i for i in free if i != index and i in x.indices)
            left = [i for i in x.indices if i == index]
            largest.append(stmt.held(Reduced("greatest", x, over), left, scope, "largest") if over else x)
        mine, other = largest
        kept: Value = Apply("ge", (Apply("mul", (limit, mine), kind), other), "bool")
        if good is None:  # one index tells it of all elements
            kept = Apply("and", (kept, Apply("isfinite", (mine,), "bool")), "bool")
        kept = Reduced("all", kept, (index,)) if index in kept.indices else kept
        good = kept if good is None else Apply("and", (good, kept), "bool")
    assert good is not None
    for lost in (limits.lost << 2, limits.lost << 8, limits.lost << 14):
        good = Apply("and", (good, _few_lost(sizes, free, lost, scope, itself)), "bool")
    return good


def _few_lost(sizes: list[Load], free: list[str], lost: int, scope: Scope, itself: Value | None) -> Value:
    """Whether no more elements than by chance are so many times smaller than what they are the difference of."""
    mine, other = sizes
    smaller = Apply("lt", (Apply("mul", (Number(lost, mine.dtype), mine), mine.dtype), other), "bool")
    if itself is not None:
        smaller = Apply("and", (smaller, Apply("not", (itself,), "bool")), "bool")
    ones = cast(smaller, mine.dtype)  # NumPy adds floats several times as fast as truths
    count = Reduced("sum", ones, tuple(free)) if free else ones
    by_chance = 2 + 4 * prod(scope[i].n for i in free) // lost
    return Apply("le", (count, Number(float(by_chance), mine.dtype)), "bool")


def _size(stmt: Evaluation, x: Load, free: list[str], kind: str, scope: Scope) -> Load:
    """How large each element is, the longest axis innermost: NumPy is slow in finding the greatest of a few."""
    axes = sorted((i for i in free if i in x.indices), key=lambda i: stmt.sizes[i])
    part = stmt.b.part("size", axes, kind, scope)
    stmt.b.run(part, "=", Map(Apply("abs", (x,), kind)))
    return Load(part, kind)
