"""Affine positions and the strided views that they are.

In: rows, extents, strides, never arrays. Out: intervals, strides of indices, the axes of a view. The one rule: an
affine access is a strided view, and one function says in which order its axes stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import prod

from ..program.affine import Affine
from ..program.ir import Expr, Index, reads
from ..sizes.in_bounds import numeric
from .limits import Limits

Extents = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class Row:
    """An affine position in one axis, all sizes known: const + sum of coefs[index] * index."""

    const: int
    coefs: tuple[tuple[str, int], ...]  # no zeros

    def shifted(self, by: int) -> Row:
        """The row `by` positions further."""
        return Row(self.const + by, self.coefs)

    def interval(self, extents: Extents) -> tuple[int, int]:
        """Least and greatest position over the box of (lo, hi) extents, none of them empty."""
        low = high = self.const
        for index, coef in self.coefs:
            lo, hi = extents[index]
            ends = (coef * lo, coef * (hi - 1))
            low, high = low + min(ends), high + max(ends)
        return low, high


@lru_cache(1 << 12)
def plain(index: str) -> Row:
    """The row that is an index itself."""
    return Row(0, ((index, 1),))


def linear(expr: Expr, sizes: Mapping[str, Sequence[int]]) -> Row | None:
    """The affine form of a subscript with its sizes known; None where it is not affine in indices."""
    if isinstance(expr, Index):
        return plain(expr.name)
    if reads(expr):
        return None
    form = numeric(Affine.from_expr(expr), sizes)
    if any(not isinstance(atom, Index) for atom, _ in form.terms):
        return None
    return Row(form.const, tuple((atom.name, coef) for atom, coef in form.terms if isinstance(atom, Index)))


def row_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def index_strides(rows: Iterable[Row], strides: Sequence[int]) -> dict[str, int]:
    """How many elements one step of each index moves: an affine access is a strided view."""
    steps: dict[str, int] = {}
    for row, stride in zip(rows, strides, strict=True):
        for index, coef in row.coefs:
            steps[index] = steps.get(index, 0) + coef * stride
    return steps


@dataclass(frozen=True)
class Span:
    """How an index runs where steps are made: `n` values in all, at most `size` of them at once.

    `tap` if it has one value at a time, and no axis; `part` if only some values are there, how many shows later.
    """

    n: int
    size: int
    tap: bool = False
    part: bool = False

    @property
    def whole(self) -> bool:
        return self.size == self.n and not self.tap and not self.part


Scope = Mapping[str, Span]


def whole(extents: Extents) -> dict[str, Span]:
    """Every index as an axis of its whole extent."""
    return {i: Span(hi - lo, hi - lo) for i, (lo, hi) in extents.items()}


def sliced(rows: Sequence[Row], axes: set[str]) -> tuple[str, ...] | None:
    """The axes in their order where basic slices give the view, else None.

    They do if every row moves with one axis at most, and no axis moves two rows.
    """
    found: list[str] = []
    for row in rows:
        moving = [i for i, _ in row.coefs if i in axes]
        if len(moving) > 1 or (moving and moving[0] in found):
            return None
        found += moving
    return tuple(found)


def arrangement(rows: Sequence[Row], shape: Sequence[int], axes: set[str]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The axes of a view in their order, and their strides in elements; `axes` are the indices that have one."""
    steps = index_strides(rows, row_strides(shape))
    order = sliced(rows, axes)
    if order is None:
        order = tuple(sorted([i for i in steps if i in axes], key=lambda i: -abs(steps[i])))
    return order, tuple([steps[i] for i in order])


# -- writes --------------------------------------------------------------------------------------------


def injective(steps: Iterable[tuple[int, int]]) -> bool:
    """Whether no two points of a box of (stride, extent) meet in one element; False may mean that it cannot tell."""
    reach, known = 0, list(steps)
    if any(n == 0 for _, n in known):  # of no points, whatever the strides are
        return True
    for stride, n in sorted((abs(s), n) for s, n in known if n > 1):
        if stride <= reach:
            return False
        reach += stride * (n - 1)
    return True


def taps(rows: Sequence[Row], extents: Mapping[str, int], limits: Limits, inner: str = "") -> tuple[str, ...]:
    """The indices to loop over so that the rest of a write meets no element twice: those of the smallest product.

    Of equal ones, those without `inner`, along which memory lies.
    Two points meet in no element if, axis by axis, the position tells the indices that are still unknown.
    """
    indices = list(dict.fromkeys(i for row in rows for i, _ in row.coefs))
    moving = {i for i in indices if extents[i] > 1}
    alone = {row.coefs[0][0] for row in rows if len([i for i, _ in row.coefs if i in moving]) == 1 == len(row.coefs)}
    candidates = sorted((i for i in indices if i in moving - alone), key=lambda i: (extents[i], i == inner))
    best: tuple[int, tuple[str, ...]] | None = None
    if len(candidates) > limits.tapped:  # the shortest ones, as many as it takes
        found = next(n for n in range(len(candidates) + 1) if determined(rows, moving - {*candidates[:n]}, extents))
        return tuple(candidates[:found])
    for count in range(len(candidates) + 1):
        for chosen in combinations(candidates, count):
            cost = prod(extents[i] for i in chosen)
            if (best is None or cost < best[0]) and determined(rows, moving - set(chosen), extents):
                best = (cost, chosen)
    assert best is not None, "with every index tapped nothing is left"
    return tuple(i for i in indices if i in best[1])


def together(loops: Sequence[str], rows: Sequence[Row], extents: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """How many values of each tap may be written at once: in y[2*i+di], two values of di meet in no element.

    0 for a tap that goes one value at a time.
    """
    now = {**extents, **dict.fromkeys(loops, 1)}
    every = {i for row in rows for i, _ in row.coefs if extents[i] > 1}
    steps = dict.fromkeys(loops, 0)
    for tap in reversed(loops):
        own = [dict(row.coefs) for row in rows if any(i == tap for i, _ in row.coefs)]
        beside = {abs(c // coefs[tap]) for coefs in own for i, c in coefs.items() if i != tap}
        for width in sorted({min(extents[tap], w) for w in beside if w > 1}, reverse=True):
            now[tap] = width
            if determined(rows, {i for i in every if now[i] > 1}, now):
                steps[tap] = width
                break
            now[tap] = 1
    return tuple(steps.items())


def determined(rows: Sequence[Row], left: set[str], extents: Mapping[str, int]) -> bool:
    """Whether the position in the axes determines the indices that are left."""
    unknown = set(left)
    progress = True
    while unknown and progress:
        progress = False
        for row in rows:
            present = [i for i, _ in row.coefs if i in unknown]
            if present and injective((c, extents[i]) for i, c in row.coefs if i in unknown):
                unknown.difference_update(present)
                progress = True
    return not unknown


def fills(row: Row, extents: Mapping[str, tuple[int, int]], size: int) -> bool:
    """Whether a row takes each position of an axis exactly once, in the order of its indices."""
    reach, start = 1, row.const
    for index, coef in sorted(row.coefs, key=lambda c: c[1]):
        lo, hi = extents[index]
        start += coef * lo
        if hi - lo > 1:
            if coef != reach:
                return False
            reach *= hi - lo
    return start == 0 and reach == size


def tabulated(loops: Sequence[str], rows: Sequence[Row], extents: Mapping[str, int], limits: Limits) -> bool:
    """Whether a table of positions, sorted once, beats that many taps with that little work in each."""
    points = prod(extents[i] for i in {i for row in rows for i, _ in row.coefs})
    count = prod(extents[i] for i in loops)
    return count > limits.taps and points <= limits.table and points < limits.long * count
