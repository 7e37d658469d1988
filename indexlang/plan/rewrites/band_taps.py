"""Bands in which every pair counts for itself: their width as taps, not all pairs of both indices.

In: a Program without ellipses, its shapes, `Limits`. Out: an equal one, the same object where there is no such band:

    y[b,t] = logsumexp[s](x[b,s]) where s <= t, s > t - 50
    y[b,t] = logsumexp[p](x[b,t+p-49]) where p < 50, t + p - 49 >= 0

    x.grad[b,s] += y.grad[b,t] * exp(x[b,s] - y[b,t]) where s <= t, s > t - 50
    x.grad[b,s] += y.grad[b,p+s] * exp(x[b,s] - y[b,p+s]) where p < 50, p + s < 2000

The one rule: the admitted points stay, and no product of arrays of fewer indices could sum them: a logsumexp, or a
function of both indices that has all others, too. Sums and extrema of one index alone are `equalities`', and what is
kept over both of them is `keep_bands`'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.affine import Affine
from ...program.algebra import factors_of, terms_of
from ...program.conditions import conjuncts, margins
from ...program.ir import (
    Access,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Program,
    Range,
    Reduce,
    Statement,
    indices_of,
    parts_of,
    reads,
    statement,
    walk,
)
from ...program.names import Fresh
from ...rewrite.substitution import Quotient, put, written
from ...sizes.in_bounds import interval, numeric
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..operators import SUMS
from ..views import Extents

_APART = ("add", "sub", "neg", "mul", "div", "pow")


@dataclass(frozen=True)
class Width:
    """A reduced index that runs from a position, over so many; `said` are the masks that say it."""

    index: str
    begin: Affine
    width: int
    said: tuple[Expr, ...]


def bands_as_taps(program: Program, shapes: Shapes, limits: Limits) -> Program:
    """The program with such bands as taps."""
    statements, fresh = list(program.statements), None
    for k, (stmt, extents) in enumerate(zip(program.statements, shapes.extents, strict=True)):
        found = _band(stmt, extents, shapes.tensors, limits)
        if found is not None:
            fresh = fresh or Fresh.of(program)
            statements[k] = _tapped(stmt, extents, found, fresh.fresh("p"))
    return program if fresh is None else replace(program, statements=tuple(statements))


def _band(stmt: Statement, extents: Extents, sizes: Mapping[str, Sequence[int]], limits: Limits) -> Width | None:
    """The narrowest band of a statement that gains from taps."""
    if any(lo >= hi for lo, hi in extents.values()) or prod(hi - lo for lo, hi in extents.values()) < limits.separate:
        return None
    root = stmt.value if isinstance(stmt.value, Reduce) else None
    if sum(isinstance(p, Reduce) for p in parts_of(stmt)) != (root is not None):
        return None
    if root is not None and root.op != "logsumexp":
        return None
    if root is None and not (stmt.op in SUMS and _is_spread(stmt.value, extents)):
        return None
    summed = stmt.reduced if root is None else root.domain.indices
    masks = stmt.domain.masks if root is None else root.domain.masks
    found = [w for i in summed for w in _widths(i, [c for m in masks for c in conjuncts(m)], summed, sizes)]
    fitting = [w for w in found if 2 * w.width <= extents[w.index][1] - extents[w.index][0] and _is_plain(stmt, w)]
    return min(fitting, key=lambda w: w.width, default=None)


def _is_spread(value: Expr, extents: Extents) -> bool:
    """Whether each term has a function over the whole domain: a difference, and its square, can be taken apart."""
    domain = {i for i, (lo, hi) in extents.items() if hi - lo > 1}
    return all(
        any(
            isinstance(p, Call) and p.fn not in _APART and domain <= set(indices_of(p))
            for factor, _ in factors_of(term)
            for p in walk(factor)
        )
        for _, term in terms_of(value)
    )


def _widths(
    index: str, masks: Sequence[Expr], summed: Sequence[str], sizes: Mapping[str, Sequence[int]]
) -> Iterator[Width]:
    """The bands in which masks hold an index: between two positions of free indices that move together."""
    own, ends = Affine(0, ((Index(index), 1),)), dict[int, list[tuple[Affine, Expr]]]()
    for mask in masks:
        forms = [] if reads(mask) else [numeric(m, sizes) for m in margins(mask)]
        if len(forms) != 1 or not all(isinstance(a, Index) for a, _ in forms[0].terms):
            continue
        coef = dict(forms[0].terms).get(Index(index), 0)
        rest = forms[0] - own * coef
        if abs(coef) == 1 and rest.terms and not {a.name for a, _ in rest.terms if isinstance(a, Index)} & set(summed):
            ends.setdefault(coef, []).append((-rest if coef == 1 else rest, mask))
    for first, lower in ends.get(1, ()):
        for last, upper in ends.get(-1, ()):
            distance = last - first
            if not distance.terms and distance.const >= 0:
                yield Width(index, first, distance.const + 1, (lower, upper))


def _is_plain(stmt: Statement, band: Width) -> bool:
    """Whether the index is read as it is, nowhere beside what its position is made of."""
    others = {a.name for a, _ in band.begin.terms if isinstance(a, Index)}
    accesses = [p for p in parts_of(stmt) if isinstance(p, Access) and p is not stmt.target]
    own = [a for a in accesses if band.index in indices_of(a)]
    return bool(own) and all(
        not others & set(indices_of(a))
        and all(s == Index(band.index) for s in a.subscripts if band.index in indices_of(s))
        for a in own
    )


def _tapped(stmt: Statement, extents: Extents, band: Width, tap: str) -> Statement:
    """The statement with a tap for each position of the band."""
    position = band.begin + Affine(0, ((Index(tap), 1),))
    values = {band.index: Quotient(position)}
    box = {tap if i == band.index else i: (0, band.width) if i == band.index else e for i, e in extents.items()}
    reach = interval(position, box)
    assert reach is not None, "no data are read"
    (lo, hi), edges = extents[band.index], list[Expr]()
    edges += [Call("ge", (written(position), Const(lo)))] if reach[0] < lo else []
    edges += [Call("lt", (written(position), Const(hi)))] if reach[1] >= hi else []

    def moved(masks: Sequence[Expr]) -> tuple[Expr, ...]:
        left = [c for m in masks for c in conjuncts(m) if c not in band.said]
        return (*(put(c, values) for c in left), *edges)

    root = stmt.value
    if not isinstance(root, Reduce):
        return statement(stmt.target, stmt.op, put(root, values), _ranges(box), moved(stmt.domain.masks), stmt.span)
    inner = {tap if i == band.index else i: None for i in root.domain.indices}
    domain = Domain(tuple(inner), _ranges({i: e for i, e in box.items() if i in inner}), moved(root.domain.masks))
    outer = _ranges({i: e for i, e in box.items() if i not in inner})
    value = Reduce(root.op, domain, put(root.body, values))
    return statement(stmt.target, stmt.op, value, outer, stmt.domain.masks, stmt.span)


def _ranges(box: Extents) -> tuple[Range, ...]:
    return tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in box.items())
