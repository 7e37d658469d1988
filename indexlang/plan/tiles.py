"""Tiles that follow masks: blocks of one index, each over only those values of another that its conditions admit.

In: conditions, how far indices run, what a product over all points costs. Out: a `Tile`, or None. The one rule: the
ends come from interval arithmetic on the conditions, so every admitted point is within them.

A condition `s <= t` bounds s for a block of t by its greatest t; a band, or a block, has two such bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ..program.affine import Affine
from ..program.conditions import comparisons, is_integer
from ..program.ir import Call, Const, Expr, Index, indices_of, reads
from ..sizes.in_bounds import numeric
from .limits import Limits
from .quantities import Apply, Number, Reach, Value
from .views import Extents, Row

Sizes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Form:
    """An affine position, and quotients of such ones by a number, each times a coefficient."""

    row: Row
    quotients: tuple[tuple[Row, int, int], ...] = ()  # row, divisor, coefficient

    @property
    def indices(self) -> frozenset[str]:
        return frozenset(i for r in (self.row, *(q for q, _, _ in self.quotients)) for i, _ in r.coefs)

    def reach(self, most: bool) -> Value:
        """No less than the greatest, or no more than the least value here."""
        found: Value = Reach(self.row, most)
        for row, by, coef in self.quotients:
            found = _sum(found, _times(_floor(Reach(row, most == (coef > 0)), by), coef))
        return found

    def end(self, most: bool, extents: Extents) -> int:
        """The same where indices run so far."""
        found = self.row.interval(extents)[most]
        for row, by, coef in self.quotients:
            found += coef * (row.interval(extents)[most == (coef > 0)] // by)
        return found


@dataclass(frozen=True)
class Bound:
    """`(index + shift) // block <= form // by` where it is an upper one, else `>= -(form // by)`."""

    index: str
    form: Form
    by: int
    upper: bool
    condition: Expr
    block: int = 1
    shift: int = 0

    def value(self, most: bool = True) -> Value:
        """Where the admitted values of the index end, or begin: those for any point here (`most`), or for all."""
        found = _floor(self.form.reach(most), self.by)
        found = _sum(found, Number(1, "int64")) if self.upper else _times(found, -1)
        return _sum(_times(found, self.block), Number(-self.shift, "int64"))

    def end(self, extents: Extents, most: bool = True) -> int:
        """The same where indices run so far."""
        found = self.form.end(most, extents) // self.by
        return (found + 1 if self.upper else -found) * self.block - self.shift


class Following(Protocol):
    """What an index runs over where that follows conditions; in `rims` something may still be refused."""

    @property
    def inner(self) -> str: ...

    def bounded(self, condition: Expr) -> bool: ...

    def rims(self, condition: Expr, extents: Extents) -> list[tuple[Value, Value]]: ...


@dataclass(frozen=True)
class Tile:
    """Blocks of `by` values of `outer`; for each, `inner` runs from the greatest lower to the least upper bound."""

    outer: str
    by: int
    inner: str
    bounds: tuple[Bound, ...]
    price: int = 0

    def rims(self, condition: Expr, extents: Extents) -> list[tuple[Value, Value]]:
        """Where some point of a block may be refused by a condition that bounds the inner index."""
        begin, end = self.ends(extents)
        own = [b for b in self.bounds if b.condition == condition and self.refuses(b, extents)]
        return [(b.value(False), end) if b.upper else (begin, b.value(False)) for b in own]

    def refuses(self, bound: Bound, extents: Extents) -> bool:
        """Whether a bound refuses any point of those that are gone through."""
        for here, first, last in self.blocks(extents):
            sure = bound.end(here, most=False)
            if (sure < last) if bound.upper else (sure > first):
                return True
        return False

    def blocks(self, extents: Extents) -> Iterator[tuple[Extents, int, int]]:
        """Each block: how far indices run there, and where the inner one begins and ends."""
        (lo, hi), (first, last) = extents[self.outer], extents[self.inner]
        for begin in range(lo, hi, self.by):
            here = {**extents, self.outer: (begin, min(hi, begin + self.by))}
            low = min(last - 1, max([first, *(b.end(here) for b in self.bounds if not b.upper)]))
            high = min([last, *(b.end(here) for b in self.bounds if b.upper)])
            yield here, low, max(low + 1, high)

    def bounded(self, condition: Expr) -> bool:
        """Whether a condition says no more than some of the bounds."""
        return any(b.condition == condition for b in self.bounds)

    def ends(self, extents: Extents) -> tuple[Value, Value]:
        """Where the inner index begins and ends in a block."""
        lo, hi = extents[self.inner]
        begin: Value = Number(lo, "int64")
        end: Value = Number(hi, "int64")
        for bound in self.bounds:
            if bound.upper:
                end = bound.value() if end == Number(hi, "int64") else Apply("min", (end, bound.value()), "int64")
            else:
                begin = bound.value() if begin == Number(lo, "int64") else Apply("max", (begin, bound.value()), "int64")
        return begin, end


def tile_of(
    conditions: Iterable[Expr],
    free: Sequence[str],
    summed: Sequence[str],
    extents: Extents,
    shapes: Sizes,
    cost: int,
    limits: Limits,
) -> Tile | None:
    """The tiles that save most of a product of this cost; None if they do not save a fifth."""
    found: dict[str, list[Bound]] = {}
    for condition in conditions:
        for bound in bounds_of(condition, summed, shapes):
            found.setdefault(bound.index, []).append(bound)
    best: Tile | None = None
    least = 4 * cost // 5
    for inner, bounds in found.items():
        others = dict.fromkeys(i for b in bounds for i in b.form.indices if i != inner)
        for outer in sorted(others, key=lambda i: i not in free):
            lo, hi = extents[outer]
            for by in _steps(hi - lo, bounds, limits):
                if (hi - lo) // by > limits.tiles:
                    continue
                tile = Tile(outer, by, inner, tuple(bounds))
                price = _price(tile, extents, cost, limits, least)
                if price < least:
                    best, least = replace(tile, price=price), price
    return best


def _steps(n: int, bounds: Iterable[Bound], limits: Limits) -> list[int]:
    """The sizes of blocks that are tried: powers of two, and the blocks of the conditions themselves."""
    given = {b.block for b in bounds} | {by for b in bounds for _, by, _ in b.form.quotients}
    sizes = {limits.tile << k for k in range(6)} | {b for b in given if b > 1}
    return sorted(s for s in sizes if s < n)


def _price(tile: Tile, extents: Extents, cost: int, limits: Limits, least: int) -> int:
    """What all tiles cost together, the calls in each counted; no further than it matters."""
    (lo, hi), (first, last) = extents[tile.outer], extents[tile.inner]
    total, points = 0, (hi - lo) * (last - first)
    for here, low, high in tile.blocks(extents):
        begin, end = here[tile.outer]
        total += limits.calls * limits.call + cost * (end - begin) * (high - low) // points
        if total >= least:
            break
    return total


# -- bounds ----------------------------------------------------------------------------------------------


def bounds_of(condition: Expr, summed: Iterable[str], shapes: Sizes) -> Iterator[Bound]:
    """What a comparison of integers says about each of some indices."""
    for fn, a, b in _without_distances(condition):
        if reads(a) or reads(b) or not (is_integer(a) and is_integer(b)):
            continue
        difference = numeric(Affine.from_expr(b) - Affine.from_expr(a), shapes)
        for margin in (difference, -difference) if fn == "eq" else (difference,):
            form = margin - 1 if fn == "lt" else margin
            for index in summed:
                found = _bound(form, index, condition, shapes)
                if found is not None:
                    yield found


def _without_distances(condition: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The comparisons of a condition; `abs(t - s) <= 16` is two."""
    for fn, a, b in comparisons(condition):
        if fn in ("gt", "ge"):
            fn, a, b = ("lt" if fn == "gt" else "le"), b, a
        match a:
            case Call(fn="abs", args=(e,)) if fn in ("lt", "le"):
                yield fn, e, b
                yield fn, Call("neg", (e,)), b
            case _:
                yield fn, a, b


def _bound(margin: Affine, index: str, condition: Expr, shapes: Sizes) -> Bound | None:
    """What `margin >= 0` says about an index that stands in one of its atoms."""
    own = [t for t in margin.terms if index in indices_of(t[0])]
    if len(own) != 1:
        return None
    (atom, coef), rest = own[0], Affine(margin.const, tuple(t for t in margin.terms if t is not own[0]))
    form = _form(rest, shapes)
    block, shift = 1, 0
    if isinstance(atom, Call):
        parts = _quotient(atom, shapes)
        if parts is None or parts[0].coefs != ((index, 1),):
            return None
        block, shift = parts[1], parts[0].const
    elif atom != Index(index):
        return None
    if form is None or not form.indices:
        return None
    return Bound(index, form, abs(coef), coef < 0, condition, block, shift)


def _form(rest: Affine, shapes: Sizes) -> Form | None:
    const, coefs, quotients = rest.const, [], []
    for atom, coef in rest.terms:
        if isinstance(atom, Index):
            coefs.append((atom.name, coef))
            continue
        parts = _quotient(atom, shapes)
        if parts is None:
            return None
        quotients.append((*parts, coef))
    return Form(Row(const, tuple(coefs)), tuple(quotients))


def _quotient(atom: Expr, shapes: Sizes) -> tuple[Row, int] | None:
    """An affine position and what it is divided by."""
    match atom:
        case Call(fn="floordiv", args=(inside, Const(value=int(by)))) if by > 0:
            form = numeric(Affine.from_expr(inside), shapes)
            if all(isinstance(a, Index) for a, _ in form.terms):
                return Row(form.const, tuple((a.name, c) for a, c in form.terms if isinstance(a, Index))), by
    return None


# -- values ----------------------------------------------------------------------------------------------


def _sum(a: Value, b: Value) -> Value:
    return a if b == Number(0, "int64") else Apply("add", (a, b), "int64")


def _times(a: Value, by: int) -> Value:
    if by == 1:
        return a
    return Apply("neg", (a,), "int64") if by == -1 else Apply("mul", (a, Number(by, "int64")), "int64")


def _floor(a: Value, by: int) -> Value:
    return a if by == 1 else Apply("floordiv", (a, Number(by, "int64")), "int64")
