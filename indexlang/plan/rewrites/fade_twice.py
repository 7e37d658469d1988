"""Sums of a power times the distance that it is of, which gradients of a fading are: two fadings, one after the other.

In: a Program with its shapes and types. Out: the same with statements before others that fade:

    g.grad[c] += dy[t,c] * x[s,c] * (t - s) * g[c]**(t-s-1) where s <= t

    faded[t,c]  = x[s,c] * g[c]**(t-s) where s <= t
    faded2[t,c] = faded[s,c] * g[c]**(t-s-1) where s <= t - 1
    g.grad[c] += dy[t,c] * faded2[t,c]

The one rule: a position between two others can be chosen in as many ways as they are apart, so both add up the same
powers; nothing is subtracted, and no digits are lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.affine import Affine
from ...program.algebra import factors_of, product_of, terms_of
from ...program.conditions import conjuncts, margins
from ...program.ir import Access, Call, Const, Domain, Expr, Index, Program, Reduce, Statement, indices_of, reads, walk
from ...rewrite.substitution import Quotient, put
from ...sizes.dtypes import Types
from ...sizes.in_bounds import numeric
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..operators import SUMS
from ..prices import price
from .share import inserted


@dataclass(frozen=True)
class Fading:
    """A power of `base` by the distance from `low` up to `high`, times that distance.

    `kept` is the one of both at which the sums are added up, `near` are the factors there, `far` the others. Where a
    point at the end has no other one, it is refused by a mask, if masks refused it.
    """

    base: Expr
    high: str
    low: str
    kept: str
    more: int  # in the exponent
    near: tuple[Expr, ...]
    far: tuple[Expr, ...]
    sign: int
    masks: tuple[Expr, ...]  # that stay

    @property
    def other(self) -> str:
        """The index that is summed first."""
        return self.low if self.kept == self.high else self.high


def fade_twice(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with such sums in two fadings."""
    k = 0
    while k < len(program.statements):
        found = fading(program.statements[k], shapes, types, k, limits)
        if found is not None:
            program, shapes, types = _faded(program, shapes, types, k, found)
            k += 2
        k += 1
    return program, shapes, types


def fading(stmt: Statement, shapes: Shapes, types: Types, number: int, limits: Limits) -> Fading | None:
    """What a statement fades by twice, if it does and that pays."""
    if stmt.op not in SUMS or shapes.guarded[number] or not types.compute[number].startswith("float"):
        return None
    if any(isinstance(p, Reduce) for p in walk(stmt.value)) or len(terms := terms_of(stmt.value)) != 1:
        return None
    ((sign, term),) = terms
    parts = factors_of(term)
    powers = [f for f, below in parts if not below and isinstance(f, Call) and f.fn == "pow" and not reads(f.args[1])]
    for power in powers:
        found = _found(stmt, power, sign, [p for p in parts if p[0] is not power], shapes, number)
        if found is not None:
            sizes = {i: hi - lo for i, (lo, hi) in shapes.extents[number].items()}
            own = {i for f in (found.base, *found.far) for i in indices_of(f)} - {found.other} | {found.kept}
            cost = 16 * limits.element * prod(sizes[i] for i in own)
            least = price(stmt, shapes.extents[number], limits, shapes.tensors)
            if cost < least and least > limits.separate * limits.element:
                return found
    return None


def _found(
    stmt: Statement, power: Expr, sign: int, parts: Sequence[tuple[Expr, bool]], shapes: Shapes, number: int
) -> Fading | None:
    """The fading by a power, if a factor is its distance."""
    assert isinstance(power, Call)
    base, exponent = power.args[0], numeric(Affine.from_expr(power.args[1]), shapes.tensors)
    pair = _distance(exponent)
    if pair is None or {*pair} & set(indices_of(base)):
        return None
    high, low = pair
    extents, target = shapes.extents[number], set(indices_of(stmt.target))
    if extents[high] != extents[low] or extents[high][0] or target >= {high, low}:
        return None
    between = Affine(0, ((Index(high), 1), (Index(low), -1)))
    factors = [f for f, below in parts if not below and numeric(Affine.from_expr(f), shapes.tensors) == between]
    masks = [c for mask in stmt.domain.masks for c in conjuncts(mask)]
    orders = [m for m in masks if {high, low} <= set(indices_of(m))]
    if len(factors) != 1 or len(orders) != 1 or any(below for _, below in parts):
        return None
    forms = [] if reads(orders[0]) else [numeric(m, shapes.tensors) - between for m in margins(orders[0])]
    if len(forms) != 1 or forms[0].terms or -forms[0].const not in (0, 1):  # from distances of 0 or 1 on
        return None
    kept = low if low in target else high
    other = high if kept == low else low
    rest = [f for f, _ in parts if f is not factors[0]]
    near, far = [f for f in rest if other not in indices_of(f)], [f for f in rest if other in indices_of(f)]
    stay = tuple(m for m in masks if m is not orders[0])
    if forms[0].const:  # not from a distance of 0 on
        stay += (_has_another(kept, kept == high, extents[kept][1]),)
    if any(kept in indices_of(f) for f in far) or any(other in indices_of(m) for m in stay) or other in target:
        return None
    if set(stmt.domain.indices) - {other} - {i for p in (stmt.target, base, *rest) for i in indices_of(p)}:
        return None
    return Fading(base, high, low, kept, exponent.const, tuple(near), tuple(far), sign, stay)


def _has_another(index: str, is_high: bool, end: int) -> Expr:
    return Call("ge", (Index(index), Const(1))) if is_high else Call("lt", (Index(index), Const(end - 1)))


def _distance(form: Affine) -> tuple[str, str] | None:
    """The indices of which a form is the difference, but for a number."""
    match form.terms:
        case ((Index(name=a), 1), (Index(name=b), -1)) | ((Index(name=b), -1), (Index(name=a), 1)):
            return a, b
        case _:
            return None


def _faded(program: Program, shapes: Shapes, types: Types, number: int, found: Fading) -> tuple[Program, Shapes, Types]:
    """The program with both fadings before the statement, which adds up what comes of them."""
    held = (found.kept if i == found.other else i for f in (*found.far, found.base) for i in indices_of(f))
    target = Access("", tuple(Index(i) for i in dict.fromkeys((*held, found.kept))))
    high, low = Index(found.high), Index(found.low)
    far: Expr = Const(1.0) if not found.far else product_of(found.far, [])

    def power(more: int) -> Expr:
        form = Affine(more, ((high, 1), (low, -1)))
        return Call("pow", (found.base, form.to_expr()))

    first = Call("mul", (far, power(0)))
    step = program, shapes, types, number, "faded"
    program, shapes, types, once = inserted(*step, target, first, (Call("le", (low, high)),))
    there = put(once, {found.kept: Quotient(Affine(0, ((Index(found.other), 1),)))})
    second = Call("mul", (there, power(found.more)))
    least = Affine(-1, ((high, 1),)).to_expr()  # the distance is 0 nearer than that
    program, shapes, types, twice = inserted(
        program, shapes, types, number + 1, "faded", target, second, (Call("le", (low, least)),)
    )
    stmt = program.statements[number + 2]
    value: Expr = product_of([*found.near, twice], [])
    if found.sign < 0:
        value = Call("neg", (value,))
    ranges = tuple(r for r in stmt.domain.ranges if r.index != found.other)
    domain = Domain(tuple(i for i in stmt.domain.indices if i != found.other), ranges, found.masks)
    extents = {i: e for i, e in shapes.extents[number + 2].items() if i != found.other}
    statements = (*program.statements[: number + 2], replace(stmt, value=value, domain=domain))
    return (
        replace(program, statements=(*statements, *program.statements[number + 3 :])),
        replace(shapes, extents=(*shapes.extents[: number + 2], extents, *shapes.extents[number + 3 :])),
        types,
    )
