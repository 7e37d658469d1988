"""Sums of differences taken apart: sum over j of s[i,j]*(x[i,d] - z[j,d]) without an array over i, j and d.

In: a contraction one of whose factors adds or subtracts two arrays of fewer indices than it has itself. Out: two
contractions, and the sum as it stands for values of which too much would cancel. The one rule: both arrays are first
moved by the mean of one of them, so that what they have in common cancels before it is multiplied; and a row of the
result that is not finite, or of which too many digits have cancelled, sends the whole back to what is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..program.algebra import terms_of
from ..program.conditions import said_by
from ..program.ir import Call, Expr, indices_of
from .blocking import contraction_blocks
from .building import here
from .contraction import separates
from .digits import hardly_cancels, keeps_digits
from .evaluation import Evaluation
from .plan import Leave
from .quantities import Apply, Load, Number, Reduced, Value
from .values import cast
from .views import Scope
from .writes import Target


@dataclass(frozen=True)
class Separable:
    """The factor of a product, by its number, and the two arrays it adds; `minus` if it subtracts the second."""

    number: int
    first: Expr
    second: Expr
    minus: bool


def separable(stmt: Evaluation) -> Separable | None:
    """The factor to take apart, if there is one and no other one adds anything."""
    if not stmt.is_float or not stmt.summed or stmt.root is not None or len(stmt.terms()) > 1:
        return None
    if not stmt.written_out():
        return None
    core, _, _ = stmt.split(stmt.terms()[0][1])
    sums = [k for k, factor in enumerate(core) if isinstance(factor, Call) and factor.fn in ("add", "sub")]
    alone = len(core) == 1 and stmt.cancels(terms_of(core[0]))
    if len(sums) != 1 or not (alone or (len(core) > 1 and stmt.contractible())):
        return None
    factor = core[sums[0]]
    assert isinstance(factor, Call)
    first, second = factor.args
    groups = [[i for i in stmt.stmt.domain.indices if i in indices_of(e)] for e in (first, second)]
    if any(stmt.b.kind(e) != stmt.compute for e in (first, second)):
        return None
    if not separates(groups[0], groups[1], stmt.sizes, stmt.b.limits):
        return None
    return Separable(sums[0], first, second, factor.fn == "sub")


def separated(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """Plan the sum as two contractions, and as it stands where these lose digits."""
    found = separable(stmt)
    assert found is not None
    _either(stmt, found, target, scope)


def _either(
    stmt: Evaluation, found: Separable, target: Target, scope: Scope, alone: tuple[int, Load, Load] | None = None
) -> None:
    """Two contractions, else what loses less: the same with a factor that is `alone`, else as it stands."""
    b, ((sign, term),) = stmt.b, stmt.terms()
    few = prod(stmt.sizes[i] for i in stmt.free) <= b.limits.few
    outside = b.depth == 0
    with stmt.wider(few) as lost:
        given = {} if alone is None else {alone[0]: alone[2]}
        total, good = _apart(stmt, found, target, scope, lost, given)
    if alone is not None:  # 0 times what is not finite is no number
        good = Apply("and", (stmt.all_finite([alone[1]]), good), "bool")
    with b.either(good) as (fast, slow):
        with b.into(fast):
            target.start(once=True)
            if total.place != target.view:
                target.put(target.view, cast(total, stmt.compute), sign < 0)
        with b.into(slow):
            if outside:
                b.steps.append(Leave(stmt.all_finite([total])))
            other = _alone(stmt, found, term, scope) if alone is None and not few else None
            if other is not None:
                _either(stmt, found, target, scope, other)
                return
            target.start(once=False)
            with b.loops(scope, contraction_blocks(stmt, target)) as inner:
                stmt.term(target, inner, (sign, term))


def _alone(stmt: Evaluation, found: Separable, term: Expr, scope: Scope) -> tuple[int, Load, Load] | None:
    """A factor by its number, as it is and with zeros where the two arrays are one element and their difference is 0.

    There it may be so large that nothing else is left of its sums: a distance of nearly 0, by which is divided.
    """
    pair = stmt.meeting(found.first, found.second, tuple(scope)) if found.minus else None
    core, _, _ = stmt.split(term)
    for number, factor in enumerate(core):
        if pair is not None and number != found.number and {*pair} <= {*indices_of(factor)} and not said_by(factor):
            whole, apart = stmt.factor(factor, scope), stmt.compared("ne", pair, scope)
            assert apart is not None
            axes = here(whole.place.mentioned, scope)
            value = Apply("select", (apart, whole, Number(0, stmt.compute)), stmt.compute)
            return number, whole, stmt.held(value, axes, scope)
    return None


def _apart(
    stmt: Evaluation, found: Separable, target: Target, scope: Scope, lost: int, given: Mapping[int, Load]
) -> tuple[Load, Value]:
    """The sum as two contractions, and whether it keeps its digits."""
    kind, ((sign, term),) = stmt.compute, stmt.terms()
    order = [i for i in target.view.mentioned if not scope[i].tap]
    first, second = stmt.factor(found.first, scope), stmt.factor(found.second, scope)
    common = [i for i in here(second.place.mentioned, scope) if i in first.indices]
    moved = tuple(i for i in here(second.place.mentioned, scope) if i not in common)
    count = Number(prod(stmt.sizes[i] for i in moved), kind)
    mean = stmt.held(Apply("div", (Reduced("sum", second, moved), count), kind), common, scope, "mean")
    parts = []
    for x, fn in ((first, "sub" if found.minus else "add"), (second, "sub")):
        axes = here(x.place.mentioned, scope)
        parts.append(stmt.held(Apply(fn, (x, mean), kind), axes, scope, "moved"))
    core, _, _ = stmt.split(term)
    wider = stmt.compute != stmt.written  # then each factor is brought to that type, once for both
    kept = (k for k, f in enumerate(core) if k != found.number and k not in given and (wider or said_by(f)))
    said = {k: stmt.factor(core[k], scope) for k in kept}
    values = []
    for x in parts:
        with stmt.everywhere():
            value = stmt.contracted(scope, term, None, order, given={**said, **given, found.number: x})
        assert value is not None
        values.append(stmt.held(value, [i for i in order if i in value.indices], scope, "side"))
    free = [i for i in order if any(i in v.indices for v in values)]
    made: Value = Apply("sub" if found.minus else "add", (values[0], values[1]), kind)
    met = stmt.meeting(found.first, found.second, free) if found.minus else None
    if stmt.compute == stmt.written:
        at_home = (
            target.coverable and sign > 0 and target.buffer.dtype == kind and set(free) == set(target.view.mentioned)
        )
        place = target.view if at_home else stmt.b.part("total", free, kind, scope)
        smaller = min(values, key=lambda v: prod(scope[i].n for i in v.indices))  # what nearly cancels is as large
        shared = values[0].indices & values[1].indices
        return Load(place, kind), hardly_cancels(stmt, made, smaller, place, scope, met, shared)
    itself = stmt.compared("eq", met, scope)
    if itself is not None:
        made = Apply("select", (itself, Number(0, kind), made), kind)
    total = stmt.held(made, free, scope, "total")
    return total, keeps_digits(stmt, total, values[0], free, lost, itself)
