"""What contributions to one element have in common stands once, before a bracket.

In: a Program. Out: an equal one: `z.grad[i] += y.grad[i] * h[i]` and `z.grad[i] += -y.grad[i] * n[i]` are one
statement, `z.grad[i] += y.grad[i] * (h[i] - n[i])`. The one rule: only what is shorter then, of derived statements
that run over just the elements of their gradient, in the same ranges and under the same masks; divisors by tensors,
which may be zero, stay in the bracket, and a bracket is not longer than a person reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

from ..program.algebra import Product, power, product, raised
from ..program.derivatives import is_constant
from ..program.ir import (
    Access,
    Call,
    Const,
    Expr,
    Index,
    Program,
    Range,
    Reduce,
    Size,
    Statement,
    children,
    primal_of,
    reductions_of,
    statement,
    steps_of,
)
from ..program.names import Renaming, is_plain
from ..properties import cached_property
from ..ranges.solve import attempt
from .simplify import simplify

_MOST = 4  # terms of a bracket
_FEW = 12  # contributions that are compared with each other
_LONG = 16  # factors of a contribution that is left as it is


@dataclass(frozen=True)
class _Part:
    """Contributions as one product, their ranges, and the number of the last of their statements."""

    number: int
    product: Product
    ranges: Mapping[str, Range]

    @cached_property
    def powers(self) -> Counter[Expr]:
        """How often each base is a factor; powers that are no positive integers are bases."""
        found: Counter[Expr] = Counter()
        for factor in self.product.factors:
            base, exponent = power(factor)
            if exponent.denominator == 1 and exponent > 0:
                found[base] += int(exponent)
            else:
                found[factor] += 1
        return found


def factor_contributions(program: Program, floats: frozenset[str]) -> Program:
    """The program with common factors of contributions before a bracket."""
    groups: dict[object, list[_Part]] = {}
    named = dict[int, Statement]()
    names = dict[int, Mapping[str, str]]()
    firsts: dict[str, Access] = {}
    for k, given in enumerate(program.statements):
        if primal_of(given.target.tensor) is None or given.op != "+=" or given.reduced or reductions_of(given):
            continue
        names[k] = _names_in(firsts.setdefault(given.target.tensor, given.target), given.target)
        if not {*steps_of(given)}.isdisjoint((*names[k], *names[k].values())):
            names[k] = {}  # the others of its block have the old names
        stmt = named[k] = Renaming(indices=names[k]).statement(given) if names[k] else given
        part = _Part(k, product(stmt.value), {r.index: r for r in stmt.domain.ranges})
        if len(part.product.factors) < _LONG:
            groups.setdefault((stmt.target, frozenset(stmt.domain.masks), stmt.block), []).append(part)
    statements: list[Statement | None] = list(program.statements)
    for group in groups.values():
        for few in _alike(group, program, names):
            found = _put_together(few)
            for part in few if len(found) < len(few) else ():
                statements[part.number] = None
            for part in found if len(found) < len(few) else ():
                stmt = program.statements[part.number]
                statements[part.number] = stmt if part in few else _written_out(named[part.number], part)
    if None not in statements:
        return program
    return replace(program, statements=tuple(s for s in statements if s is not None))


def _names_in(first: Access, target: Access) -> dict[str, str]:
    """The names that another target has for the indices of a plain one."""
    ours, theirs = target.subscripts, first.subscripts
    if ours == theirs or len(ours) != len(theirs) or not (is_plain(target) and is_plain(first)):
        return {}
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if isinstance(a, Index) and isinstance(b, Index)]
    return {a.name: b.name for a, b in pairs} if len(pairs) == sum(isinstance(s, Index) for s in ours) else {}


def _alike(group: Sequence[_Part], program: Program, names: Mapping[int, Mapping[str, str]]) -> Iterator[list[_Part]]:
    """The contributions that run over the same elements, a few at a time."""
    extents: dict[object, list[_Part]] = {}
    solution = None if all(part.ranges == group[0].ranges for part in group) else attempt(program)
    for part in group:
        key: object = frozenset(part.ranges.values())
        if solution is not None and not solution.problems:  # ranges that are left out may be those that others write
            canonical, new = solution.sizes.canonical, names[part.number]
            bounds = solution.bounds[part.number].items()
            key = frozenset((new.get(i, i), canonical(b.low), canonical(b.high)) for i, b in bounds)
        extents.setdefault(key, []).append(part)
    for parts in extents.values():
        for start in range(0, len(parts), _FEW):
            yield parts[start : start + _FEW]


def _written_out(stmt: Statement, part: _Part) -> Statement:
    ranges = tuple(part.ranges.values())
    return statement(stmt.target, stmt.op, part.product.expr(), ranges, stmt.domain.masks, stmt.span, stmt.block)


def _put_together(parts: Sequence[_Part]) -> list[_Part]:
    """The contributions, those that have most in common put together first."""
    left = list(parts)
    pairs = list(_pairs(combinations(left, 2)))
    while pairs:
        a, b, common = pairs.pop(max(range(len(pairs)), key=lambda k: (pairs[k][2].total(), -k)))
        found = _joined(a, b, common)
        if found is not None:
            left = [p for p in left if p is not a and p is not b]
            gone = (id(a), id(b))
            pairs = [p for p in pairs if id(p[0]) not in gone and id(p[1]) not in gone]
            pairs += _pairs((p, found) for p in left)
            left.append(found)
    return left


def _pairs(parts: Iterable[tuple[_Part, _Part]]) -> Iterator[tuple[_Part, _Part, Counter[Expr]]]:
    """Those that have factors in common, and which, or sizes below the line."""
    return ((a, b, common) for a, b in parts if (common := _common(a, b)) or _sizes_below(a, b))


def _common(a: _Part, b: _Part) -> Counter[Expr]:
    """The factors that both have, nothing if they are numbers and sizes alone."""
    if a.powers.keys().isdisjoint(b.powers):
        return Counter()
    found = a.powers & b.powers
    return found if any(not is_constant(f) for f in found) else Counter()


def _sizes_below(a: _Part, b: _Part) -> Counter[Expr]:
    """The divisors that both have and that are made of sizes and numbers."""
    return Counter(d for d in a.product.divisors if is_constant(d)) & Counter(b.product.divisors)


def _joined(first: _Part, second: _Part, common: Counter[Expr]) -> _Part | None:
    """One product for the sum of two; None where it would be no shorter."""
    a, b = first.product, second.product
    divisors = _sizes_below(first, second)
    if not (a.number and b.number):
        return None
    number = Fraction(-1 if a.number < 0 and b.number < 0 else 1)
    if abs(a.number) == abs(b.number) and a.divisor == b.divisor:
        number *= abs(a.number) / a.divisor
    one, other = (_rest(p, common, divisors, number).expr() for p in (first, second))
    bracket = simplify(Call("add", (one, other)))
    factors = (*_written(common), bracket)
    outside = Product(number, factors, tuple(divisors.elements()), whole=a.whole and b.whole).expr()
    if (
        isinstance(bracket, Const)
        or _terms(bracket) > _MOST
        or _leaves(outside) >= _leaves(a.expr()) + _leaves(b.expr())
    ):
        return None
    return _Part(max(first.number, second.number), product(outside), {**first.ranges, **second.ranges})


def _rest(part: _Part, common: Counter[Expr], divisors: Counter[Expr], number: Fraction) -> Product:
    """A product without what stands before the bracket."""
    parts = part.product
    factors = _written(part.powers - common)
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
