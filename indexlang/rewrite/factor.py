"""What contributions to one element have in common stands once, before a bracket.

In: a Program. Out: an equal one: `z.grad[i] += y.grad[i] * h[i]` and `z.grad[i] += -y.grad[i] * n[i]` are one
statement, `z.grad[i] += y.grad[i] * (h[i] - n[i])`. The one rule: only what is shorter then, of derived statements
that run over just the elements of their gradient, in the same ranges and under the same masks; divisors by tensors,
which may be zero, stay in the bracket, and a bracket is not longer than a person reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

from ..program.algebra import Product, power, product, raised
from ..program.derivatives import is_constant
from ..program.ir import Access, Call, Const, Expr, Index, Program, Reduce, Size, Statement, children, primal_of
from .simplify import simplify

_MOST = 4  # terms of a bracket
_FEW = 12  # contributions that are compared with each other
_LONG = 16  # factors of a contribution that is left as it is


@dataclass(frozen=True)
class _Part:
    """Contributions as one product, and the number of the last of their statements."""

    number: int
    product: Product


def factor_contributions(program: Program, floats: frozenset[str]) -> Program:
    """The program with common factors of contributions before a bracket."""
    groups: dict[object, list[_Part]] = {}
    for number, stmt in enumerate(program.statements):
        if primal_of(stmt.target.tensor) is None or stmt.op != "+=" or stmt.reduced or isinstance(stmt.value, Reduce):
            continue
        key = stmt.target, frozenset(stmt.domain.ranges), frozenset(stmt.domain.masks)
        part = _Part(number, product(stmt.value))
        if len(part.product.factors) < _LONG:
            groups.setdefault(key, []).append(part)
    statements: list[Statement | None] = list(program.statements)
    for group in groups.values():
        for start in range(0, len(group), _FEW):
            given = group[start : start + _FEW]
            found = _put_together(given)
            if len(found) == len(given):
                continue
            for part in given:
                statements[part.number] = None
            for part in found:
                stmt = program.statements[part.number]
                statements[part.number] = stmt if part in given else replace(stmt, value=part.product.expr())
    if None not in statements:
        return program
    return replace(program, statements=tuple(s for s in statements if s is not None))


def _put_together(parts: Sequence[_Part]) -> list[_Part]:
    """The contributions, those that have most in common put together first."""
    left = list(parts)
    while True:
        pairs = sorted(combinations(left, 2), key=lambda pair: -sum(_common(pair[0].product, pair[1].product).values()))
        joined = next(((a, b, found) for a, b in pairs if (found := _joined(a, b)) is not None), None)
        if joined is None:
            return left
        a, b, found = joined
        left = [p for p in left if p is not a and p is not b]
        left.append(found)


def _powers(factors: Sequence[Expr]) -> Counter[Expr]:
    """How often each base is a factor; powers that are no positive integers are bases."""
    found: Counter[Expr] = Counter()
    for factor in factors:
        base, exponent = power(factor)
        if exponent.denominator == 1 and exponent > 0:
            found[base] += int(exponent)
        else:
            found[factor] += 1
    return found


def _common(a: Product, b: Product) -> Counter[Expr]:
    """The factors that both have, nothing if they are numbers and sizes alone."""
    found = _powers(a.factors) & _powers(b.factors)
    return found if any(not is_constant(f) for f in found) else Counter()


def _joined(first: _Part, second: _Part) -> _Part | None:
    """One product for the sum of two; None where it would be no shorter."""
    a, b = first.product, second.product
    common = _common(a, b)
    if not (common and a.number and b.number):
        return None
    divisors = Counter(d for d in a.divisors if is_constant(d)) & Counter(b.divisors)
    number = Fraction(-1 if a.number < 0 and b.number < 0 else 1)
    if abs(a.number) == abs(b.number) and a.divisor == b.divisor:
        number *= abs(a.number) / a.divisor
    one, other = (_rest(p, common, divisors, number).expr() for p in (a, b))
    bracket = simplify(Call("add", (one, other)))
    factors = (*_written(common), bracket)
    outside = Product(number, factors, tuple(divisors.elements()), whole=a.whole and b.whole).expr()
    if (
        isinstance(bracket, Const)
        or _terms(bracket) > _MOST
        or _leaves(outside) >= _leaves(a.expr()) + _leaves(b.expr())
    ):
        return None
    return _Part(max(first.number, second.number), product(outside))


def _rest(parts: Product, common: Counter[Expr], divisors: Counter[Expr], number: Fraction) -> Product:
    """A product without what stands before the bracket."""
    factors = _written(_powers(parts.factors) - common)
    left = tuple((Counter(parts.divisors) - divisors).elements())
    return replace(parts, number=parts.number / number, factors=tuple(factors), divisors=left)


def _written(powers: Counter[Expr]) -> Iterator[Expr]:
    return (raised(base, Fraction(n)) for base, n in powers.items())


def _terms(expr: Expr) -> int:
    return sum(map(_terms, expr.args)) if isinstance(expr, Call) and expr.fn in ("add", "sub") else 1


def _leaves(expr: Expr) -> int:
    """How many tensors, numbers and sizes an expression is written with."""
    if isinstance(expr, Access | Const | Size | Index):
        return 1
    return sum(_leaves(c) for c in children(expr) if isinstance(c, Access | Const | Size | Index | Call | Reduce))
