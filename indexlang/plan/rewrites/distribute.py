"""Choices and sums inside of a product taken apart, where that costs less than an array over all their indices.

In: a Program with its shapes and types. Out: the same, a statement with such a factor written as several:

    y[i,j] = where(g[j] > 0, A[i,k], B[i,k]) * c[k,j]
    y[i,j] = A[i,k] * c[k,j] where g[j] > 0
    y[i,j] += B[i,k] * c[k,j] where not g[j] > 0

The one rule: no digits are lost. A branch that is not chosen adds nothing, as a mask says. A sum is taken apart only if
at most one of its terms is a plain read: every other one is rounded anyway, by as much as what cancels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ...program.algebra import factors_of, product_of, sum_of, terms_of
from ...program.conditions import as_mask, negation
from ...program.ir import Access, Call, Const, Domain, Expr, Program, Reduce, Statement, indices_of, walk
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..prices import price
from ..views import Extents

Sizes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Piece:
    """A part of a statement: what is summed, and under which further conditions."""

    value: Expr
    masks: tuple[Expr, ...] = ()


def distribute(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with products of sums and choices taken apart where that pays."""
    found = [
        apart(s, e, limits, shapes.tensors) if kind.startswith("float") and not g else None
        for s, e, kind, g in zip(program.statements, shapes.extents, types.compute, shapes.guarded, strict=True)
    ]
    if not any(found):
        return program, shapes, types
    statements: list[Statement] = []
    numbers: list[int] = []
    for k, (stmt, pieces) in enumerate(zip(program.statements, found, strict=True)):
        made = [stmt] if not pieces else [_with(stmt, piece, first=n == 0) for n, piece in enumerate(pieces)]
        statements += made
        numbers += [k] * len(made)
    return (
        replace(program, statements=tuple(statements)),
        replace(
            shapes,
            extents=tuple(shapes.extents[k] for k in numbers),
            guarded=tuple(shapes.guarded[k] for k in numbers),
        ),
        replace(types, compute=tuple(types.compute[k] for k in numbers)),
    )


def apart(stmt: Statement, extents: Extents, limits: Limits, sizes: Sizes) -> list[Piece] | None:
    """The pieces of a statement that is worth taking apart."""
    if stmt.op not in ("=", "+=") or not stmt.reduced or isinstance(stmt.value, Reduce):
        return None
    if not any(isinstance(p, Call) and p.fn in ("add", "sub", "where") for p in walk(stmt.value)):
        return None
    if any(hi <= lo for lo, hi in extents.values()):
        return None

    def cost(pieces: list[Piece]) -> int:
        return sum(price(_with(stmt, piece, True), extents, limits, sizes) for piece in pieces)

    best = [Piece(stmt.value)]
    least = cost(best)
    if least < limits.separate * limits.element:
        return None
    improved = True
    while improved and len(best) < limits.pieces:
        improved = False
        for candidate in _candidates(best, set(stmt.reduced)):
            found = cost(candidate)
            if found * 5 < least * 4 and len(candidate) <= limits.pieces:
                best, least, improved = candidate, found, True
    return best if best != [Piece(stmt.value)] else None


def _candidates(pieces: list[Piece], summed: set[str]) -> Iterator[list[Piece]]:
    """The same with one term more by itself, or one factor taken apart."""
    for k, piece in enumerate(pieces):
        terms = terms_of(piece.value)
        for number, (sign, term) in enumerate(terms):
            rest = [t for n, t in enumerate(terms) if n != number]
            others = [Piece(sum_of(rest), piece.masks)] if rest else []
            for made in _opened(term, sign, summed):
                new = [Piece(p.value, tuple(dict.fromkeys((*piece.masks, *p.masks)))) for p in made]
                yield [*pieces[:k], *new, *others, *pieces[k + 1 :]]


def _opened(term: Expr, sign: int, summed: set[str]) -> Iterator[list[Piece]]:
    """A term with one of its factors taken apart."""
    parts = factors_of(term)
    for number, (factor, below) in enumerate(parts):
        if below or not isinstance(factor, Call) or len(parts) < 2:
            continue
        others = [p for n, p in enumerate(parts) if n != number]
        if factor.fn == "where":
            condition, first, second = factor.args
            yield [
                Piece(_product(others, branch, sign), (as_mask(mask),))
                for mask, branch in ((condition, first), (negation(condition), second))
                if not _is_zero(branch)
            ]
        elif factor.fn in ("add", "sub") and summed & set(indices_of(factor)):
            terms = terms_of(factor)
            if sum(isinstance(t, Access | Const) for _, t in terms) <= 1:
                total = sum_of([(1, _product(others, t, sign * s)) for s, t in terms])
                yield [Piece(total)]


def _product(others: list[tuple[Expr, bool]], factor: Expr, sign: int) -> Expr:
    """The other factors, and one more."""
    factors = [p for p, below in others if not below]
    factors = factors if factor == Const(1) and factors else [*factors, factor]
    value = product_of(factors, [p for p, below in others if below])
    return value if sign > 0 else Call("neg", (value,))


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.value == 0 and not isinstance(expr.value, bool)


def _with(stmt: Statement, piece: Piece, first: bool) -> Statement:
    """The statement of a piece, over all indices that there were."""
    domain = Domain(stmt.domain.indices, stmt.domain.ranges, tuple(dict.fromkeys((*stmt.domain.masks, *piece.masks))))
    return replace(stmt, op=stmt.op if first else "+=", value=piece.value, domain=domain)
