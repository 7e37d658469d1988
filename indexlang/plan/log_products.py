"""Logarithms of sums of powers as products of matrices, and their gradients: no power at every point.

    y[b,j] = logsumexp[i](a[b,i] + T[i,j])
    y[b,j] = log(exp(a[b,i] - A[b]) * exp(T[i,j] - M[j])) + A[b] + M[j]           A, M: the greatest a, T along i

    a.grad[b,i] += g[b,j] * exp(a[b,i] + T[i,j] - y[b,j])
    a.grad[b,i] += exp(a[b,i] - A[b]) * exp(T[i,j] - M[j]) * (g[b,j] * exp(A[b] + M[j] - y[b,j]))

In: a statement whose exponent is a sum of arrays of fewer indices than it has. Out: products, and the statement as it
is written for those blocks in which they lose something. The one rule: where the greatest values do not meet, their sum
is small, and what it is made of may have underflowed: so each sum is looked at, and so is what is not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, prod

from ..program.algebra import sum_of
from ..program.ir import Access, Expr, indices_of
from .blocking import domain_blocks
from .blocks import blocks, itemsize
from .building import here
from .evaluation import Evaluation
from .exponents import Exponent, Power, deepest, farthest, logarithm_apart, power_apart
from .kernels import Map, Search
from .operators import SUMS
from .pairs import Pairs
from .places import Place
from .quantities import Apply, Load, Number, Reduced, Value
from .reads import read, value_of
from .values import cast
from .views import Scope, whole
from .writes import Target


def _may(stmt: Evaluation) -> bool:
    real = stmt.compute in ("float32", "float64") and not stmt.b.complex_step
    return real and not stmt.b.masks and not stmt.b.guarded and all(n > 0 for n in stmt.sizes.values())


def _typed(stmt: Evaluation, exponent: Exponent) -> bool:
    return all(stmt.b.kind(g) == stmt.compute for g in exponent.groups)


def logarithm_of(stmt: Evaluation) -> Exponent | None:
    """The body of a logsumexp, if it is one of products."""
    if stmt.root is None or stmt.root.op != "logsumexp" or not _may(stmt):
        return None
    found = logarithm_apart(stmt.value, stmt.free, stmt.sizes, stmt.b.limits)
    return found if found is not None and _typed(stmt, found) else None


def power_of(stmt: Evaluation) -> Power | None:
    """The product that is summed, if its power is one of powers."""
    if stmt.root is not None or stmt.op not in SUMS or not stmt.summed or not _may(stmt) or len(stmt.terms()) != 1:
        return None
    found = power_apart(stmt.terms()[0][1], stmt.free, stmt.sizes, stmt.b.limits)
    return found if found is not None and _typed(stmt, found.exponent) else None


def of_powers(stmt: Evaluation, target: Target) -> bool:
    """Whether a statement is one of products of powers."""
    plain = not target.taps and not target.dynamic
    return plain and (logarithm_of(stmt) is not None or power_of(stmt) is not None)


def products_of_powers(stmt: Evaluation, target: Target) -> None:
    """Plan the statement with products, and as it is written where these lose something."""
    target.start(once=True)
    make = _product if stmt.root is None else _logarithm
    make(stmt, target, whole(stmt.b.extents))


def _logarithm(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """The logarithm of a sum of products."""
    b, kind, found = stmt.b, stmt.compute, logarithm_of(stmt)
    assert found is not None
    powers, tops = _powers(stmt, found, scope)
    order, count = here(target.view.mentioned, scope), prod(stmt.sizes[i] for i in stmt.summed)
    total, around = _sum(stmt, powers, order, scope, "sums"), _around(stmt, found, tops, order, scope)
    direct = target.overwrites and target.buffer.dtype == kind
    result: Place = target.view if direct else b.part("logarithm", order, kind, scope)
    b.run(result, "=", Map(Apply("add", (Apply("log", (total,), kind), around), kind)))
    kept = (_compared("ge", total, exp(-deepest(kind, count))), _compared("lt", around, inf))
    good = _held(stmt, Apply("and", kept, "bool"), order, scope)
    with b.either(_not_all(good, scope)) as (slow, _), b.into(slow):
        # Nothing lies above its greatest value: where that is -inf all is, and it is none of the numbers in doubt.
        nothing = _held(stmt, _compared("eq", around, -inf), order, scope)
        b.run(result, "=", Map(Apply("select", (nothing, around, Load(result, kind)), kind)))
        b.run(good.place, "=", Map(Apply("or", (good, nothing), "bool")))
        with b.either(_not_all(good, scope)) as (deep, _), b.into(deep):
            if kind == "float32":  # which ends early
                _again(stmt, found, Load(result, kind), good, scope)
            with b.loops(scope, domain_blocks(stmt, target)) as inner:
                poor = _not_all(good, inner)
                with b.either(poor) as (again, _), b.into(again):
                    value = cast(value_of(b, stmt.value, inner), kind)
                    b.run(result, "=", Search("logsumexp", value, stmt.summed))
    if not direct:
        target.put(target.view, Load(result, kind))


def _again(stmt: Evaluation, found: Exponent, result: Load, good: Load, scope: Scope) -> None:
    """Where sums have not been good, in float64."""
    b, order, count = stmt.b, here(result.place.mentioned, scope), prod(stmt.sizes[i] for i in stmt.summed)
    with stmt.wider(True):
        powers, tops = _powers(stmt, found, scope)
        total, around = _sum(stmt, powers, order, scope, "sums"), _around(stmt, found, tops, order, scope)
        made = Apply("add", (Apply("log", (total,), stmt.compute), around), stmt.compute)
    b.run(result.place, "=", Map(Apply("select", (good, result, cast(made, result.dtype)), result.dtype)))
    fine = Apply(
        "and", (_compared("ge", total, exp(-deepest(total.dtype, count))), _compared("lt", around, inf)), "bool"
    )
    b.run(good.place, "=", Map(Apply("or", (good, fine), "bool")))


@dataclass(frozen=True)
class Weighed:
    """The powers of the groups; how high all of them are above the level, the power of that times other factors."""

    powers: list[Load]
    height: Load
    weight: Load


def _product(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """A sum of products of powers."""
    b, kind, found = stmt.b, stmt.compute, power_of(stmt)
    assert found is not None
    ((sign, term),), zero = stmt.terms(), Number(0, kind)
    work = _weighed(stmt, found, scope)
    level = here(indices_of(sum_of(found.exponent.rest)), scope)
    good = _judged(stmt, found, work, scope)
    order = here(tuple(dict.fromkeys((*target.view.mentioned, *stmt.free))), scope)
    with b.either(_not_all(good, scope)) as (slow, fast):
        with b.into(fast):
            target.put(target.view, _sum(stmt, (*work.powers, work.weight), order, scope, "total"), sign < 0)
        with b.into(slow):
            with stmt.wider(True):
                wide = stmt.compute
                if wide != kind:  # float32 ends early
                    work = _weighed(stmt, found, scope)
                    more = _judged(stmt, found, work, scope)
                    b.run(good.place, "=", Map(Apply("or", (good, more), "bool")))
                # The distance from an infinity is no number; what is not good has no weight, and is added as written.
                clean = [_cleared(stmt, Apply("isfinite", (x,), "bool"), x, scope) for x in work.powers]
                kept = _cleared(stmt, good, work.weight, scope)
                total = _sum(stmt, (*clean, kept), order, scope, "total")
            with b.loops(scope, _blocks(stmt, level, scope)) as inner:
                poor = _not_all(good, inner)
                with b.either(poor) as (again, _), b.into(again):
                    value = Apply("select", (good, zero, cast(value_of(b, term, inner), kind)), kind)
                    b.run(total.place, "+=", Map(cast(stmt.reduced(value, here(stmt.summed, inner)), wide)))
            target.put(target.view, cast(total, kind), sign < 0)


def _weighed(stmt: Evaluation, found: Power, scope: Scope) -> Weighed:
    powers, tops = _powers(stmt, found.exponent, scope)
    level, kind = here(indices_of(sum_of(found.exponent.rest)), scope), stmt.compute
    height = _around(stmt, found.exponent, tops, level, scope)
    weight: Value = Apply("exp", (height,), kind)
    for factor, below in found.others:
        weight = Apply("div" if below else "mul", (weight, cast(value_of(stmt.b, factor, scope), kind)), kind)
    return Weighed(powers, height, stmt.held(weight, [i for i in level if i in weight.indices], scope, "weight"))


def _judged(stmt: Evaluation, found: Power, work: Weighed, scope: Scope) -> Load:
    """Where a weight is a number of which the sums of products below it lose nothing."""
    b, kind = stmt.b, stmt.compute
    depth = deepest(kind, prod(n for i, n in stmt.sizes.items() if i not in found.exponent.level))
    near = _compared("le", Apply("abs", (work.height,), kind), depth)
    order = here(work.weight.place.mentioned, scope)
    good = _held(stmt, Apply("and", (near, Apply("isfinite", (work.weight,), "bool")), "bool"), order, scope)
    # Where no product can underflow nothing is lost, whatever it is; else the greatest of each sum says what is.
    least = exp((depth - farthest(kind)) / len(work.powers))
    high: Value | None = None
    for power in work.powers:
        axes = tuple(here(power.place.mentioned, scope))
        one = _compared("ge", Reduced("least", power, axes) if axes else power, least)
        high = one if high is None else Apply("and", (high, one), "bool")
    assert high is not None
    with b.either(Apply("not", (high,), "bool")) as (asked, _), b.into(asked):
        sums = _sum(stmt, work.powers, order, scope, "sums")
        b.run(good.place, "=", Map(Apply("and", (good, _compared("ge", sums, exp(-depth))), "bool")))
    return good


def _cleared(stmt: Evaluation, condition: Value, x: Load, scope: Scope) -> Load:
    """An array with 0 where a condition does not hold."""
    value = Apply("select", (condition, x, Number(0, stmt.compute)), stmt.compute)
    return stmt.held(value, here(x.place.mentioned, scope), scope)


def _powers(stmt: Evaluation, found: Exponent, scope: Scope) -> tuple[list[Load], list[Load]]:
    """The groups of an exponent, each moved by its greatest values, as powers; and these greatest values.

    No power is above 1. It is no number where its greatest value is none, or infinite.
    """
    kind, powers, tops = stmt.compute, list[Load](), list[Load]()
    for group in found.groups:
        x = _elements(stmt, group, scope)
        axes = here(x.place.mentioned, scope)
        over = tuple(i for i in axes if i not in found.level)
        kept = [i for i in axes if i not in over]
        tops.append(stmt.held(Reduced("greatest", x, over) if over else x, kept, scope, "greatest"))
        below = Apply("exp", (Apply("sub", (x, tops[-1]), kind),), kind)
        powers.append(stmt.held(below, axes, scope, "power"))
    return powers, tops


def _elements(stmt: Evaluation, group: Expr, scope: Scope) -> Load:
    """A group as elements, as they lie or in an array of its own."""
    if isinstance(group, Access):
        place = read(stmt.b, group, scope)
        if place.buffer.dtype == stmt.compute:
            return Load(place, stmt.compute)
    value = cast(value_of(stmt.b, group, scope), stmt.compute)
    return stmt.held(value, here(indices_of(group), scope), scope)


def _around(stmt: Evaluation, found: Exponent, tops: Sequence[Load], order: Sequence[str], scope: Scope) -> Load:
    """The greatest values and the terms beside them, added up."""
    kind = stmt.compute
    value: Value = tops[0]
    for top in tops[1:]:
        value = Apply("add", (value, top), kind)
    for sign, term in found.rest:
        value = Apply("add" if sign > 0 else "sub", (value, cast(value_of(stmt.b, term, scope), kind)), kind)
    return stmt.held(value, [i for i in order if i in value.indices], scope, "around")


def _sum(stmt: Evaluation, factors: Sequence[Load], order: Sequence[str], scope: Scope, hint: str) -> Load:
    """The sum of a product in an array of its own."""
    work, out = Pairs(stmt.b, scope, stmt.compute), [i for i in order if any(i in f.indices for f in factors)]
    value = work.run(factors, out, None)
    stmt.notes += work.notes
    assert value is not None
    own = isinstance(value, Load) and value.place in work.own and set(here(value.place.mentioned, scope)) == set(out)
    return value if isinstance(value, Load) and own else stmt.held(value, out, scope, hint)


def _held(stmt: Evaluation, condition: Value, order: Sequence[str], scope: Scope) -> Load:
    """A condition in an array of its own."""
    part = stmt.b.part("good", [i for i in order if i in condition.indices], "bool", scope)
    stmt.b.run(part, "=", Map(condition))
    return Load(part, "bool")


def _not_all(good: Load, scope: Scope) -> Value:
    axes = tuple(here(good.place.mentioned, scope))
    return Apply("not", (Reduced("all", good, axes) if axes else good,), "bool")


def _compared(fn: str, value: Value, number: float) -> Value:
    return Apply(fn, (value, Number(number, value.dtype)), "bool")


def _blocks(stmt: Evaluation, level: Sequence[str], scope: Scope) -> tuple[tuple[str, int], ...]:
    """Blocks of the domain, along what is asked first: those that are good are left out."""
    order = here(tuple(dict.fromkeys((*level, *stmt.stmt.domain.indices))), scope)
    sizes, limits, size = {i: scope[i].size for i in order}, stmt.b.limits, itemsize(stmt.compute)
    most = limits.block // 4
    steps = blocks(order, sizes, prod(sizes.values()), size, most)
    if steps and steps[0][0] in stmt.summed and steps[0][1] <= limits.short:  # an axis of so few is summed slowly
        single = {**sizes, steps[0][0]: 1}
        return ((steps[0][0], 0), *blocks(order, single, prod(single.values()), size, most))
    return steps
