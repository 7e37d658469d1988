"""Squares of differences, summed as squares and products: no array over all indices for distances between points.

In: a sum over d of w[d]*(x[i,d] - z[j,d])**2. Out: the sums of x**2 and of z**2, less twice a product of matrices, and
the sum as it stands where that loses digits. The one rule: both arrays are first moved by the mean of one of them; if
any element of the result is much smaller than what it is the difference of, all is computed as it is written. Where
points of one array meet themselves the difference is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..program.algebra import product_of
from ..program.conditions import said_by
from ..program.ir import Access, Call, Const, Expr, indices_of
from .building import here
from .contraction import separates
from .evaluation import Evaluation
from .quantities import Apply, Load, Number, Reduced, Value
from .views import Scope
from .writes import Target


@dataclass(frozen=True)
class Squared:
    """The factor of a product, by its number, that is a square of the difference of two reads; the other ones."""

    number: int
    first: Access
    second: Access
    others: tuple[Expr, ...]


def squared(stmt: Evaluation) -> Squared | None:
    """The square to take apart, if there is one."""
    if not stmt.compute.startswith("float") or stmt.root is not None or len(stmt.terms()) > 1:
        return None
    if not stmt.written_out():
        return None
    core, _, _ = stmt.split(stmt.terms()[0][1])
    found: list[Squared] = []
    for k, factor in enumerate(core):
        match factor:
            case Call(fn="pow", args=(Call(fn="sub", args=(Access() as a, Access() as b)), Const(value=2))):
                found.append(Squared(k, a, b, tuple(f for n, f in enumerate(core) if n != k)))
            case _:
                pass
    if len(found) != 1 or any(stmt.b.kind(e) != stmt.compute for e in (found[0].first, found[0].second)):
        return None
    groups = [[i for i in stmt.stmt.domain.indices if i in indices_of(e)] for e in (found[0].first, found[0].second)]
    first, second = groups
    deep = prod(stmt.sizes[i] for i in first if i in second and i in stmt.summed)
    pays = deep >= stmt.b.limits.short and separates(first, second, stmt.sizes, stmt.b.limits)
    return found[0] if pays else None


def expanded(stmt: Evaluation, target: Target, scope: Scope) -> tuple[Value, Value]:
    """The sum by squares and products, and whether no digits are lost in it."""
    found, kind = squared(stmt), stmt.compute
    assert found is not None
    order = [i for i in target.view.mentioned if not scope[i].tap]
    first, second = stmt.factor(found.first, scope), stmt.factor(found.second, scope)
    axes = here(second.place.mentioned, scope)
    moved = tuple(i for i in axes if i not in first.indices)
    count = Number(prod(stmt.sizes[i] for i in moved), kind)
    common = [i for i in axes if i in first.indices]
    mean = stmt.held(Apply("div", (Reduced("sum", second, moved), count), kind), common, scope, "mean")
    points = [
        stmt.held(Apply("sub", (x, mean), kind), here(x.place.mentioned, scope), scope, "moved")
        for x in (first, second)
    ]
    squares = [stmt.held(Apply("square", (x,), kind), here(x.place.mentioned, scope), scope, "square") for x in points]
    weights = [stmt.factor(f, scope) for f in found.others]
    sides, total = _sum(stmt, scope, found, points, squares, weights, order)
    free = here([i for i in order if i in total.indices], scope)
    itself = stmt.meeting(found.first, found.second, free, scope)
    if itself is not None:
        total = Apply("select", (itself, Number(0, kind), total), kind)
    held = stmt.held(total, free, scope, "total")
    size: Value = held
    if not all(
        map(said_by, found.others)
    ):  # weights, which may cancel by themselves: what counts is what is lost of the squares
        large = [stmt.held(Apply("abs", (w,), kind), here(w.place.mentioned, scope), scope) for w in weights]
        sides, size = _sum(stmt, scope, found, points, squares, large, order)
    return held, _keeps_digits(stmt, size, sides, free, itself)


def _sum(
    stmt: Evaluation,
    scope: Scope,
    found: Squared,
    points: list[Load],
    squares: list[Load],
    weights: list[Load],
    order: list[str],
) -> tuple[list[Load], Value]:
    """The weighed sums of both squares, and of the squares of the differences."""
    kind, last = stmt.compute, len(weights)
    ((_, term),) = stmt.terms()
    numbers = [n for n in range(last + 1) if n != found.number]
    rest = dict(zip(numbers, weights, strict=True))
    sides = [_summed(stmt, scope, term, order, {found.number: x, **rest}) for x in squares]
    _, outside, divisors = stmt.split(term)
    product = product_of([*outside, *found.others, found.first, found.second], divisors)
    given = {**dict(enumerate(weights)), last: points[0], last + 1: points[1]}
    cross = _summed(stmt, scope, product, order, given)
    twice = Apply("mul", (cross, Number(2, kind)), kind)
    return sides, Apply("sub", (Apply("add", (sides[0], sides[1]), kind), twice), kind)


def _summed(stmt: Evaluation, scope: Scope, term: Expr, order: list[str], given: dict[int, Load]) -> Load:
    """A term summed with other factors, in an array of its own."""
    value = stmt.contracted(scope, term, None, order, given)
    assert value is not None
    return stmt.held(value, here([i for i in order if i in value.indices], scope), scope, "side")


def _keeps_digits(stmt: Evaluation, total: Value, sides: list[Load], free: list[str], itself: Value | None) -> Value:
    """Whether every element is large enough beside what it is made of, and that is finite."""
    kind, lost = stmt.compute, stmt.b.limits.lost // 4
    first, second = (Apply("abs", (x,), kind) for x in sides)
    mine: Value = Apply("mul", (Apply("abs", (total,), kind), Number(lost, kind)), kind)
    kept: Value = Apply("ge", (mine, Apply("add", (first, second), kind)), "bool")
    if itself is not None:
        kept = Apply("or", (itself, kept), "bool")
    good: Value = Reduced("all", kept, tuple(i for i in free if i in kept.indices)) if free else kept
    finite = stmt.all_finite([Apply("mul", (x, Number(8, kind)), kind) for x in sides])
    return Apply("and", (finite, good), "bool")
