"""Squares of differences, summed as squares and products: no array over all indices for distances between points.

In: a sum over d of w[d]*(x[i,d] - z[j,d])**2. Out: the sums of x**2 and of z**2, less twice a product of matrices, and
the sum as it stands where that loses digits. The one rule: both arrays are first moved by the mean of one of them; if
any element of the result is much smaller than what it is the difference of, all is computed as it is written. Where
points of one array meet themselves the difference is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ..program.algebra import product_of
from ..program.conditions import said_by
from ..program.ir import Access, Call, Const, Expr, indices_of
from .building import here
from .contraction import separates
from .evaluation import Evaluation
from .kernels import Map
from .order import best_order
from .quantities import Apply, Load, Number, Reduced, Value
from .reads import value_of
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
    if not found[0].others and not all(_is_summed(stmt, e) for e in (found[0].first, found[0].second)):
        return None  # nothing would be left to sum
    first, second = (
        [i for i in stmt.stmt.domain.indices if i in indices_of(e)] for e in (found[0].first, found[0].second)
    )
    pays = separates(first, second, stmt.sizes, stmt.b.limits) and _cost(stmt, found[0]) < _whole(stmt)
    return found[0] if pays else None


PASSES = 8  # over the result: what it is made of, and whether digits are lost


def _cost(stmt: Evaluation, found: Squared) -> int:
    """Multiply-adds of the sums of both squares and of their product, twice where weights are judged, and of passes."""
    limits, sizes = stmt.b.limits, stmt.sizes
    others = [indices_of(f) for f in found.others]
    arrays = [indices_of(found.first), indices_of(found.second)]
    sums = [best_order([*others, *group], (), stmt.free, sizes, limits) for group in ([arrays[0]], [arrays[1]], arrays)]
    elements = PASSES * prod(sizes[i] for i in stmt.free) + PASSES * sum(prod(sizes[i] for i in g) for g in arrays)
    elements += 2 * sum(prod(sizes[i] for i in g) for g in others)
    return (1 if all(map(said_by, found.others)) else 2) * sum(o.cost for o in sums) + limits.element * elements


def _whole(stmt: Evaluation) -> int:
    """Multiply-adds of the square as it is written."""
    return 3 * stmt.b.limits.element * prod(stmt.sizes[i] for i in (*stmt.free, *stmt.summed))


def expanded(stmt: Evaluation, target: Target, scope: Scope) -> tuple[Value, Value]:
    """The sum by squares and products, and whether no digits are lost in it."""
    found, kind, b = squared(stmt), stmt.compute, stmt.b
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
    twice = Apply("mul", (points[0], Number(2, kind)), kind)
    points[0] = stmt.held(twice, here(points[0].place.mentioned, scope), scope, "moved")
    weights = [stmt.factor(f, scope) for f in found.others]
    sums = _sums(stmt, scope, found, points, squares, weights, order)
    free = here([i for i in order if any(i in x.indices for x in sums)], scope)
    itself = stmt.compared("eq", stmt.meeting(found.first, found.second, free), scope)
    total: Value = Apply("sub", (Apply("add", (sums[0], sums[1]), kind), sums[2]), kind)
    if itself is not None:
        total = Apply("select", (itself, Number(0, kind), total), kind)
    ((_, term),) = stmt.terms()
    _, outside, divisors = stmt.split(term)
    around: list[Value] = []
    for fn, part in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
        value = value_of(b, part, scope)
        around.append(value if fn == "mul" else Apply("div", (Number(1, kind), value), kind))
        total = Apply(fn, (total, value), kind)
    around = [v for v in around if v.indices]
    good = b.part("good", (), "bool", scope)

    def judge(sums: list[Load]) -> None:
        finite, kept, soon = _keeps_digits(stmt, scope, sums, free, itself, around)
        if soon is None:
            b.run(good, "=", Map(Apply("and", (finite, kept), "bool")))
            return
        with b.either(soon) as (same, other):
            with b.into(same):
                b.run(good, "=", Map(finite))
            with b.into(other):
                b.run(good, "=", Map(Apply("and", (finite, kept), "bool")))

    # Weights may cancel by themselves: what counts is what is lost of the squares. Those of a condition are 0 and 1.
    doubtful = [w for f, w in zip(found.others, weights, strict=True) if not said_by(f)]

    def judge_by_magnitudes() -> None:
        large = [_magnitude(stmt, w, scope) if w in doubtful else w for w in weights]
        judge(_sums(stmt, scope, found, points, squares, large, order))

    if not doubtful:
        judge(sums)
    elif b.limits.larger * sum(_elements(stmt, w) for w in doubtful) > prod(stmt.sizes[i] for i in free):
        judge_by_magnitudes()
    else:  # of few it is soon known that none is negative
        tests = [Apply("ge", (w, Number(0, kind)), "bool") for w in doubtful]
        with b.either(stmt.at_all_points(tests)) as (same, other):
            with b.into(same):
                judge(sums)
            with b.into(other):
                judge_by_magnitudes()
    return total, Load(good, "bool")


def _magnitude(stmt: Evaluation, x: Load, scope: Scope) -> Load:
    return stmt.held(Apply("abs", (x,), stmt.compute), here(x.place.mentioned, scope), scope)


def _elements(stmt: Evaluation, x: Load) -> int:
    return prod(stmt.sizes[i] for i in x.indices)


def _sums(
    stmt: Evaluation,
    scope: Scope,
    found: Squared,
    points: list[Load],
    squares: list[Load],
    weights: list[Load],
    order: list[str],
) -> list[Load]:
    """The weighed sums of both squares, and of twice the products."""
    given = dict(enumerate(weights))
    reads = (found.first, found.second)
    powers = [(Call("pow", (x, Const(2))), square) for x, square in zip(reads, squares, strict=True)]
    both = list(zip(reads, points, strict=True))
    return [_summed(stmt, scope, found, parts, order, given) for parts in ([powers[0]], [powers[1]], both)]


def _summed(
    stmt: Evaluation,
    scope: Scope,
    found: Squared,
    parts: Sequence[tuple[Expr, Load]],
    order: list[str],
    given: Mapping[int, Load],
) -> Load:
    """The weights times some parts, summed, in an array of its own; `given` are the weights.

    A part that stands for an expression without reduced indices is no factor of the sum: the sum is multiplied by it.
    """
    inside = [(e, x) for e, x in parts if _is_summed(stmt, e)]
    term = product_of([*found.others, *(e for e, _ in inside)])
    value = stmt.contracted(scope, term, None, order, {**given, **dict(enumerate((x for _, x in inside), len(given)))})
    assert value is not None
    for e, x in parts:
        value = value if _is_summed(stmt, e) else Apply("mul", (value, x), stmt.compute)
    return stmt.held(value, here([i for i in order if i in value.indices], scope), scope, "side")


def _is_summed(stmt: Evaluation, expr: Expr) -> bool:
    return not set(stmt.summed).isdisjoint(indices_of(expr))


def _keeps_digits(
    stmt: Evaluation, scope: Scope, sums: list[Load], free: list[str], itself: Value | None, around: list[Value]
) -> tuple[Value, Value, Value | None]:
    """Whether all is finite, and whether every element is large enough beside the squares that it is made of; and what
    is soon asked, and if it holds, that does, too: each row's greatest product beside the least squares.

    The difference of a and b is at least one part of a: b is at most all others.
    """
    kind, lost = stmt.compute, stmt.b.limits.lost // 4
    *sides, twice = sums
    most = Number(1 - 1 / lost, kind)

    def beside(products: Value, squares: list[Value]) -> Value:
        parts = tuple(Apply("mul", (x, most), kind) for x in squares)
        return Apply("le", (products, Apply("add", parts, kind)), "bool")

    def everywhere(condition: Value) -> Value:
        over = tuple(i for i in free if i in condition.indices)
        return Reduced("all", condition, over) if over else condition

    kept = beside(twice, [*sides])
    kept = everywhere(kept if itself is None else Apply("or", (itself, kept), "bool"))
    soon, along = None, here(twice.place.mentioned, scope)[-1:]
    if itself is None and along and len(twice.indices) > 1:
        least: list[Value] = [Reduced("least", x, tuple(along)) if along[0] in x.indices else x for x in sides]
        soon = everywhere(beside(Reduced("greatest", twice, tuple(along)), least))
    finite = stmt.all_finite([*(Apply("mul", (x, Number(8, kind)), kind) for x in sides), *around])
    return finite, kept, soon
