"""How derivative rules are written: as the formulas of a table of derivatives.

In: a call's arguments and its value, as `Term`s. Out: a Term, or a pair of a factor and the mask under which it
counts. The one rule: a branch not taken contributes exactly 0, which only a mask can say; a factor 0 would let
0 * inf through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .ir import Access, Call, Const, Expr, Index, reads


@dataclass(frozen=True)
class Partial:
    """A partial derivative: `factor` where `mask` holds, exactly 0 elsewhere."""

    factor: Expr
    mask: Expr | None = None


@dataclass(frozen=True)
class Term:
    """An expression that Python's operators extend; plain numbers become constants."""

    expr: Expr

    def __add__(self, other: Term | float) -> Term:
        return call("add", self, other)

    def __radd__(self, other: float) -> Term:
        return call("add", other, self)

    def __sub__(self, other: Term | float) -> Term:
        return call("sub", self, other)

    def __rsub__(self, other: float) -> Term:
        return call("sub", other, self)

    def __mul__(self, other: Term | float) -> Term:
        return call("mul", self, other)

    def __rmul__(self, other: float) -> Term:
        return call("mul", other, self)

    def __truediv__(self, other: Term | float) -> Term:
        return call("div", self, other)

    def __rtruediv__(self, other: float) -> Term:
        return call("div", other, self)

    def __floordiv__(self, other: Term) -> Term:
        return call("floordiv", self, other)

    def __pow__(self, other: Term | float) -> Term:
        return call("pow", self, other)

    def __neg__(self) -> Term:
        return call("neg", self)


def call(fn: str, *args: Term | float) -> Term:
    """A row of the table applied to terms and numbers."""
    return Term(Call(fn, tuple(a.expr if isinstance(a, Term) else Const(a) for a in args)))


# From the arguments and the value to a factor, or a factor and a mask; None is zero, by definition.
Rule = Callable[..., "Term | tuple[Term, Term | None] | None"]


def apply(rule: Rule, args: tuple[Expr, ...], out: Expr) -> Partial | None:
    """What a rule says about a call."""
    match rule(*map(Term, args), Term(out)):
        case None:
            return None
        case Term(factor):
            return Partial(factor)
        case (Term(factor), mask):
            return Partial(factor, None if mask is None else mask.expr)


def is_constant(expr: Expr) -> bool:
    """Whether no tensor's value is read: numbers, sizes and indices only."""
    return not reads(expr)


def one(*_: Term) -> Term:
    return Term(Const(1))


def minus_one(*_: Term) -> Term:
    return Term(Const(-1))


def div_by_denominator(a: Term, b: Term, out: Term) -> Term:
    return -(out / b) if isinstance(out.expr, Access) else -a / b / b


def pow_by_base(a: Term, n: Term, out: Term) -> Term | tuple[Term, Term] | None:
    match n.expr:
        case Const(value=v) if v == 0:
            return None
        case Const(value=v) if v == 1:
            return Term(Const(1))
        case Const(value=v) if v == 2:
            return 2 * a
        case Const(value=v):
            return n * a ** (v - 1)
        case _:
            pass
    # 0**0 is 1 whatever the base does: without the mask 0 * 0**-1 would be nan.
    return n * a ** (n - 1), call("ne", n, 0)


def pow_by_exponent(a: Term, n: Term, out: Term) -> Term | tuple[Term, Term]:
    slope = out * call("log", a)
    if isinstance(a.expr, Const) and a.expr.value > 0:
        return slope
    return slope, call("ne", a, 0)


def extremum(weak: str, strict: str, position: int) -> Rule:
    """max and min: at a tie the first argument, but a constant wins over a tensor; nan goes to exactly one."""

    def rule(a: Term, b: Term, out: Term) -> tuple[Term, Term]:
        mine, other = (a, b) if position == 0 else (b, a)
        if is_constant(other.expr):
            return one(), call(strict, mine, other)
        if is_constant(mine.expr):
            return one(), call("not", call(strict, other, mine))
        first_wins = call(weak, a, b)
        return one(), first_wins if position == 0 else call("not", first_wins)

    return rule


def relu_by_argument(x: Term, out: Term) -> tuple[Term, Term]:
    plain = isinstance(x.expr, Access | Index) or not isinstance(out.expr, Access)
    return one(), call("gt", x if plain else out, 0)
