"""The partial derivatives along an expression: what each access in it contributes to the gradient.

In: the value of a statement and the adjoint of its target. Out: a `Contribution` for each access that the value
depends on differentiably, in the order of the text. The one rule: factors multiply and conditions collect on the way
down; what a condition refuses contributes exactly nothing, whatever the factors are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..program.algebra import multiplied, product_of
from ..program.conditions import as_mask
from ..program.derivatives import is_constant
from ..program.functions import partial
from ..program.ir import Access, Call, Const, Expr, Reduce
from .denominators import slopes_below


@dataclass(frozen=True)
class Contribution:
    """`access` gets `factor` added to its gradient, where all of `masks` hold."""

    access: Access
    factor: Expr
    masks: tuple[Expr, ...]


def contributions(
    value: Expr, adjoint: Expr, masks: tuple[Expr, ...] = (), out: Access | None = None
) -> Iterator[Contribution]:
    """All contributions of a value; `out` is an access that holds just this value, if there is one.

    What stands in a subscript is a position and contributes nothing.
    """
    match value:
        case Access():
            yield Contribution(value, adjoint, masks)
        case Call(fn="mul"):
            factors = multiplied(value)
            for k, factor in enumerate(factors):
                if not is_constant(factor):
                    yield from contributions(factor, _product([adjoint, *factors[:k], *factors[k + 1 :]]), masks)
        case Call(fn=fn, args=args):
            for k, arg in enumerate(args):
                if is_constant(arg):
                    continue
                if fn == "div" and k == 1:
                    for part, slope in slopes_below(args[0], arg, out):
                        yield from contributions(part, _chained(adjoint, slope), masks)
                    continue
                rule = partial(fn, args, k, out)
                if rule is None:
                    continue
                inner = masks if rule.mask is None else (*masks, as_mask(rule.mask))
                yield from contributions(arg, _chained(adjoint, rule.factor), inner)
        case Reduce(op="logsumexp", domain=domain, body=body):
            assert out is not None, "logsumexp is a statement of its own"
            weight = Call("exp", (Call("sub", (body, out)),))
            yield from contributions(body, _product([adjoint, weight]), (*masks, *domain.masks))
        case Reduce(op="max" | "min", domain=domain, body=body):  # the masks say who wins
            yield from contributions(body, adjoint, (*masks, *domain.masks))
        case Reduce(op="argmax" | "argmin"):
            return
        case Reduce():
            raise AssertionError("embedded reductions are hoisted before the derivation")
        case _:
            return


def _product(factors: list[Expr]) -> Expr:
    return product_of([factors[0], *(f for f in factors[1:] if f != Const(1))])


def _chained(adjoint: Expr, factor: Expr) -> Expr:
    """The product; in x * log(x), x times 1 / x is 1, also in the limit at 0."""
    match factor:
        case Call(fn="div", args=(Const(value=1), divisor)) if isinstance(divisor, Access):
            factors = multiplied(adjoint)
            if divisor in factors[1:]:
                factors.remove(divisor)
                return _product(factors)
        case _:
            pass
    return _product([adjoint, factor])
