"""The partial derivatives along an expression: what each access in it contributes to the gradient.

In: the value of a statement and the adjoint of its target. Out: a `Contribution` for each access that the value
depends on differentiably, in the order of the text. The one rule: factors multiply and conditions collect on the way
down; what a condition refuses contributes exactly nothing, whatever the factors are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from ..program.algebra import Product, left_over, multiplied, product, product_of
from ..program.conditions import as_mask, guard_of
from ..program.derivatives import is_constant
from ..program.functions import partial
from ..program.ir import Access, Boundary, Call, Const, Dots, Expr, Merged, Reduce, Statement, walk
from ..program.signs import INFINITE, NO_NUMBER, NUMBERS, POSITIVE, Signs, signs_of
from ..rewrite.simplify import simplify
from .denominators import slopes_below


@dataclass(frozen=True)
class Contribution:
    """`access` gets `factor` added to its gradient, where all of `masks` hold."""

    access: Access
    factor: Expr
    masks: tuple[Expr, ...]


# The signs that an expression's values can have where conditions hold.
Slopes = Callable[[Expr, tuple[Expr, ...]], Signs]


@dataclass(frozen=True)
class _Cotangent:
    """The adjoint of a part of a value, the conditions under which it counts, and how far it is from a guard.

    `since` are the signs of what it was multiplied by since a condition said that it is not zero; None without one.
    """

    adjoint: Expr
    masks: tuple[Expr, ...] = ()
    since: Signs | None = None


def contributions(
    value: Expr,
    adjoint: Expr,
    masks: tuple[Expr, ...] = (),
    out: Access | None = None,
    slopes: Slopes | None = None,
) -> Iterator[Contribution]:
    """All contributions of a value; `out` is an access that holds just this value, if there is one.

    What stands in a subscript is a position and contributes nothing. With `slopes`, a zero adjoint that meets a slope
    that may be infinite contributes exactly nothing, too: a mask says so.
    """
    return _Walk(slopes or _nothing_is_infinite, slopes is not None).contributions(
        value, _Cotangent(adjoint, masks), out
    )


def _nothing_is_infinite(slope: Expr, conditions: tuple[Expr, ...]) -> Signs:
    return NUMBERS


@dataclass(frozen=True)
class _Walk:
    slopes: Slopes
    guards: bool  # whether a zero adjoint is guarded, and with it the factor 0 of n * a**(n-1)

    def contributions(self, value: Expr, above: _Cotangent, out: Access | None = None) -> Iterator[Contribution]:
        match value:
            case Access():
                yield Contribution(value, above.adjoint, above.masks)
            case Call(fn="mul", args=(a, b)) if self.slopes(value, above.masks) & NO_NUMBER:  # a pole: as it is written
                for part, other in ((a, b), (b, a)):
                    if not is_constant(part):
                        yield from self.contributions(part, self.below(above, multiplied(other), INFINITE))
            case Call(fn="mul"):
                factors = multiplied(value)
                for k, factor in enumerate(factors):
                    if not is_constant(factor):
                        others = [*factors[:k], *factors[k + 1 :]]
                        yield from self.contributions(factor, self.below(above, others, INFINITE))
            case Call(fn=fn, args=args):
                for k, arg in enumerate(args):
                    if is_constant(arg):
                        continue
                    if fn == "div" and k == 1:
                        for part, slope in slopes_below(args[0], arg, out):
                            yield from self.contributions(part, self.below(above, [slope]))
                        continue
                    rule = partial(fn, args, k, out)
                    if rule is None:
                        continue
                    factors, inner = multiplied(rule.factor), above
                    if rule.mask is not None and not (self.guards and rule.mask == Call("ne", (factors[0], Const(0)))):
                        inner = replace(above, masks=(*above.masks, as_mask(rule.mask)))
                    yield from self.contributions(arg, self.below(inner, factors))
            case Reduce(op="logsumexp", domain=domain, body=body):
                assert out is not None, "logsumexp is a statement of its own"
                weight = Call("exp", (Call("sub", (body, out)),))
                inner = replace(above, masks=(*above.masks, *domain.masks))
                yield from self.contributions(body, self.below(inner, [weight]))
            case Reduce(op="max" | "min", domain=domain, body=body):  # the masks say who wins
                yield from self.contributions(body, replace(above, masks=(*above.masks, *domain.masks)))
            case Reduce(op="argmax" | "argmin"):
                return
            case Reduce():
                raise AssertionError("embedded reductions are hoisted before the derivation")
            case _:
                return

    def below(self, above: _Cotangent, slope: list[Expr], poles: Signs = NO_NUMBER) -> _Cotangent:
        """The adjoint times a slope, as factors; under a mask if the slope may be a pole where the adjoint is 0."""
        left = _uncancelled(above.adjoint, slope)
        if left is not None:
            return replace(above, adjoint=left, since=None)
        signs = self.slopes(_product(slope), above.masks)
        since, masks, adjoint = above.since, above.masks, above.adjoint
        if signs & poles:
            while poles is NO_NUMBER and len(slope) > 1 and self.slopes(slope[0], above.masks) <= NUMBERS:
                adjoint, slope = _product([adjoint, slope[0]]), slope[1:]  # n * a**(n-1) is 0 where n is 0
                since = None
            if (since is None or "0" in since) and (guard := not_zero(adjoint)) is not None:
                since, masks = POSITIVE, (*masks, guard)
        since = None if since is None else signs_of("mul", since, self.slopes(_product(slope), above.masks))
        return _Cotangent(_product([adjoint, *slope]), masks, since)


def _product(factors: list[Expr]) -> Expr:
    return product_of([factors[0], *(f for f in factors[1:] if f != Const(1))])


def _uncancelled(adjoint: Expr, slope: list[Expr]) -> Expr | None:
    """In x * log(x), x times 1 / x is 1, also in the limit at 0: what is left of the adjoint; else None."""
    match slope:
        case [Call(fn="div", args=(Const(value=1), divisor))] if isinstance(divisor, Access):
            factors = multiplied(adjoint)
            if divisor in factors[1:]:
                factors.remove(divisor)
                return _product(factors)
        case _:
            pass
    return None


def not_zero(adjoint: Expr) -> Expr | None:
    """The condition that an adjoint is not zero, without the number before it; None if it is no tensor's."""
    if is_constant(adjoint):
        return None
    parts = product(adjoint)
    return Call("ne", (simplify(Product(Fraction(1), parts.factors, parts.divisors).expr()), Const(0)))


def is_set_once(stmt: Statement, statements: Iterable[Statement]) -> bool:
    """Whether each element that a statement sets has this value alone: no two `=` of a block set one."""
    makers = [s for s in statements if s.target.tensor == stmt.target.tensor]
    padded = any(isinstance(s, Boundary | Merged | Dots) for s in stmt.target.subscripts)
    return any(s.block is not None for s in makers) and all(s.op == "=" for s in makers) and not padded


def with_cotangent(stmt: Statement, found: Contribution, adjoint: Expr) -> tuple[Expr, ...]:
    """The statement's masks for a contribution: in a guard the adjoint takes the place of the factor that was derived.

    A guarded product is zero where one of its factors is, and goes through it in a straight line.
    """
    masks = []
    for mask in stmt.domain.masks:
        guard = guard_of(mask, stmt)
        if guard is not None and found.access in walk(guard):
            others = (Call("mul", (adjoint, rest)) for rest in _but_one(guard, found.access))
            mask = next((not_zero(e) or mask for e in others if left_over(found.factor, e)), mask)
        masks.append(mask)
    return tuple(masks)


def _but_one(expr: Expr, access: Access) -> Iterator[Expr]:
    """A product without each of the factors and divisors in which the access is."""
    parts = product(expr)
    for k, factor in enumerate(parts.factors):
        if access in walk(factor):
            yield Product(Fraction(1), parts.factors[:k] + parts.factors[k + 1 :], parts.divisors).expr()
    for k, divisor in enumerate(parts.divisors):
        if access in walk(divisor):
            yield Product(Fraction(1), parts.factors, parts.divisors[:k] + parts.divisors[k + 1 :]).expr()


def without_implied(masks: Iterable[Expr], stmt: Statement, slopes: Slopes) -> tuple[Expr, ...]:
    """The masks of a derived statement but for guards that others imply: their products have more finite factors."""
    masks = tuple(dict.fromkeys(masks))
    guards = {m: guard for m in masks if (guard := guard_of(m, stmt)) is not None}

    def implied(mask: Expr) -> bool:
        rests = (left_over(other, guards[mask]) for m, other in guards.items() if m != mask)
        return any(rest is not None and slopes(rest.expr(), ()) <= NUMBERS for rest in rests)

    return tuple(m for m in masks if m not in guards or not implied(m))
