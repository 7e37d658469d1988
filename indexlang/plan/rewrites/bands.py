"""Which tensors are read in a band alone: near its diagonal, or in blocks on it.

In: a Program with its shapes. Out: `Band`s, the tensors of each, and what must be finite for that. The one rule: what
lies outside of the band is read under masks that refuse it, or it is 0 and multiplied by what can be looked at, or it
makes what is itself read in the band alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...program.algebra import factors_of, terms_of
from ...program.conditions import COMPARISONS
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
    accesses_of,
    indices_of,
    parts_of,
    reads,
    reductions_of,
    sizes_of,
    walk,
)
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..tiles import Bound, bounds_of
from ..views import Extents
from .asking import can_be_asked, is_finite, masks_of

Pair = tuple[str, str]


@dataclass(frozen=True)
class Band:
    """Of `rows` by `columns` points those in blocks: `by` rows from `by * b` on, with `width` columns from
    `by * b + low` on.
    """

    rows: int
    columns: int
    by: int
    low: int
    width: int

    @property
    def blocks(self) -> int:
        return -(-self.rows // self.by)

    @property
    def points(self) -> int:
        return self.blocks * self.by * self.width

    @property
    def end(self) -> int:
        return self.low + self.width

    @property
    def is_whole(self) -> bool:
        """Whether the blocks end where the rows end."""
        return self.rows % self.by == 0

    @property
    def is_inside(self) -> bool:
        """Whether every window lies within the columns."""
        return self.low >= 0 and (self.blocks - 1) * self.by + self.low + self.width <= self.columns


@dataclass(frozen=True)
class Axes:
    """The axes of a tensor that run through the rows and the columns of a band."""

    tensor: str
    row: int
    column: int


def may_have_bands(program: Program) -> bool:
    """Whether some statement compares two indices from both sides: what can be seen without sizes."""
    return any(_compares_twice(s) for s in program.statements)


def _compares_twice(stmt: Statement) -> bool:
    seen: set[frozenset[str]] = set()
    for part in parts_of(stmt):
        if not isinstance(part, Call) or part.fn not in COMPARISONS or reads(part):
            continue
        pair = frozenset(indices_of(part))
        both = part.fn == "eq" or any(isinstance(p, Call) and p.fn == "abs" for p in walk(part))
        if len(pair) == 2 and (both or pair in seen):
            return True
        seen.add(pair)
    return False


# -- where ----------------------------------------------------------------------------------------------


def bands_of(program: Program, shapes: Shapes, limits: Limits) -> list[Band]:
    """The bands that masks tell, the cheapest blocks of each; those that leave out most first."""
    found: dict[Band, int] = {}
    for stmt, extents in zip(program.statements, shapes.extents, strict=True):
        for (row, column), bounds in _bounded(stmt, extents, shapes):
            rows, columns = extents[row][1], extents[column][1]
            if extents[row][0] or extents[column][0] or rows * columns < limits.banded:
                continue
            bands = [_around(bounds, row, rows, columns, by) for by in _steps(rows, bounds, limits)]
            narrow = [b for b in bands if b is not None and 4 * b.points <= rows * columns]
            if narrow:
                best = min(narrow, key=lambda b: b.blocks * (b.by * b.width + limits.call // 16))
                free = indices_of(stmt.target)
                found[best] = found.get(best, 0) + (row in free) - (column in free)  # rows are written to without sums
    return sorted(found, key=lambda b: (b.points - b.rows * b.columns, -found[b]))


def _bounded(stmt: Statement, extents: Extents, shapes: Shapes) -> Iterator[tuple[Pair, list[Bound]]]:
    """The pairs of indices of which masks bound the second one on both sides by the first."""
    asked = dict.fromkeys(i for m in masks_of(stmt) for i in indices_of(m) if not reads(m) and i in extents)
    by_pair: dict[Pair, list[Bound]] = {}
    for mask in masks_of(stmt):
        if reads(mask) or len(indices_of(mask)) != 2:
            continue
        for bound in bounds_of(mask, asked, shapes.tensors):
            (other, *more) = bound.form.indices
            if not more:
                by_pair.setdefault((other, bound.index), []).append(bound)
    for pair, bounds in by_pair.items():
        if len({b.upper for b in bounds}) == 2:
            yield pair, bounds


def _steps(rows: int, bounds: Sequence[Bound], limits: Limits) -> list[int]:
    given = {b.block for b in bounds} | {by for b in bounds for _, by, _ in b.form.quotients}
    return sorted(s for s in {limits.tile << k for k in range(4)} | {g for g in given if g > 1} if s < rows)


def _around(bounds: Sequence[Bound], row: str, rows: int, columns: int, by: int) -> Band | None:
    """The band of blocks of `by` rows around all that the bounds admit."""
    low = high = None
    for begin, lo, hi in _windows(bounds, row, rows, by):
        low = lo - begin if low is None else min(low, lo - begin)
        high = hi - begin if high is None else max(high, hi - begin)
    if low is None or high is None or high <= low:
        return None
    return Band(rows, columns, by, low, high - low)


_MOST_BLOCKS = 2048  # that are looked at one by one


def _windows(bounds: Sequence[Bound], row: str, rows: int, by: int) -> Iterator[tuple[int, int, int]]:
    """Blocks, by where they begin, and from where to where the bounds admit columns there: as many as differ."""
    alike = all(_moves(b, row, by) == by for b in bounds)
    begins = range(0, 1 if alike else rows, by)
    if len(begins) > _MOST_BLOCKS:
        return
    for begin in begins:
        here = {row: (begin, begin + by if alike else min(rows, begin + by))}
        low = max(b.end(here) for b in bounds if not b.upper)
        high = min(b.end(here) for b in bounds if b.upper)
        if high > low:
            yield begin, low, high


def _moves(bound: Bound, row: str, by: int) -> int | None:
    """By how much an end moves from each block of rows to the next; None if not by the same."""
    step = by * dict(bound.form.row.coefs).get(row, 0)
    for inside, divisor, coef in bound.form.quotients:
        moved = by * dict(inside.coefs).get(row, 0)
        if moved % divisor:
            return None
        step += coef * (moved // divisor)
    if step % bound.by:
        return None
    return (step if bound.upper else -step) // bound.by * bound.block  # a lower bound is the form's opposite


# -- what --------------------------------------------------------------------------------------------------


class Reading:
    """The tensors that are read in a band alone: `kept`; those of them that are 0 outside of it: `zero`."""

    def __init__(self, program: Program, shapes: Shapes, band: Band, whole: Collection[str] = ()) -> None:
        self.program, self.shapes, self.band = program, shapes, band
        self.kept = self.candidates(whole)
        self.zero = set(self.kept)
        self.inside = [self.admitted(s, e) for s, e in zip(program.statements, shapes.extents, strict=True)]
        while not self.settled():
            pass

    def candidates(self, whole: Collection[str]) -> set[Axes]:
        """The tensors on the way with such axes; not those that something is asked of but their values in the band."""
        program = self.program
        asked = {*whole, *(p.tensor for s in program.statements for p in sizes_of(s))}
        said = [*(d for s in program.shapes for d in s.dims), *(d for _, d in program.dims)]
        asked |= {p.tensor for d in said for p in walk(d) if isinstance(p, Size)}
        found = set()
        for tensor in {s.target.tensor for s in program.statements} - {*program.inputs, *program.outputs} - asked:
            for row, rows in enumerate(self.shapes.tensors[tensor]):
                for column, columns in enumerate(self.shapes.tensors[tensor]):
                    if row != column and (rows, columns) == (self.band.rows, self.band.columns):
                        found.add(Axes(tensor, row, column))
        return found

    def admitted(self, stmt: Statement, extents: Extents) -> set[Pair]:
        """The pairs of indices that masks hold within the band."""
        band, found = self.band, set()
        for (row, column), bounds in _bounded(stmt, extents, self.shapes):
            if extents[row] == (0, band.rows) and extents[column] == (0, band.columns):
                around = _around(bounds, row, band.rows, band.columns, band.by)
                if around is not None and band.low <= around.low and around.end <= band.end:
                    found.add((row, column))
        return found

    def settled(self) -> bool:
        """Take away what is read elsewhere, and what is not 0 there; whether there was nothing."""
        lost: set[Axes] = set()
        other: set[Axes] = set()
        for k, stmt in enumerate(self.program.statements):
            for access in accesses_of(stmt):
                for axes in self.of(access):
                    pair = self.pair(access, axes, k)
                    if pair is None or (access is not stmt.target and not self.confined(k, pair)):
                        lost.add(axes)
                    elif access is stmt.target and not (stmt.op in ("=", "+=") and self.vanishes(k, pair)):
                        other.add(axes)  # what nothing is multiplied into is 1, and -inf where nothing is greater
        if not lost and not other & self.zero:
            lost = self.ambiguous() or self.unfit()
        settled = not lost and not other & self.zero
        self.kept -= lost
        self.zero -= lost | other
        return settled

    def ambiguous(self) -> set[Axes]:
        """One of two ways to keep a tensor, where there are two: in a band that is the same from both sides.

        A tensor that is read beside one of which the way is clear is kept in the same way.
        """
        twice = sorted(
            (a for a in self.kept if len(self.ways(a.tensor)) > 1), key=lambda a: (a.tensor, a.row, a.column)
        )
        for k, stmt in enumerate(self.program.statements):
            for access in accesses_of(stmt):
                for axes in self.of(access):
                    pair = self.pair(access, axes, k)
                    if axes in twice and pair is not None and pair[::-1] in self.clear(k):
                        return {axes}
        return set(twice[-1:])

    def ways(self, tensor: str) -> list[Axes]:
        """What is kept of a tensor."""
        return [a for a in self.kept if a.tensor == tensor]

    def clear(self, number: int) -> set[Pair]:
        """The pairs of indices of a statement at tensors that can be kept in one way alone."""
        accesses = (a for a in accesses_of(self.program.statements[number]) if len(self.of(a)) == 1)
        found = (self.pair(a, axes, number) for a in accesses for axes in self.of(a))
        return {p for p in found if p is not None}

    def unfit(self) -> set[Axes]:
        """What statements touch that cannot run over blocks."""
        found: set[Axes] = set()
        for k, stmt in enumerate(self.program.statements):
            if not self.fits(stmt, self.pairs(k)):
                found.update(axes for access in accesses_of(stmt) for axes in self.of(access))
        return found

    def of(self, access: Access) -> list[Axes]:
        """What is kept of the tensor of an access."""
        return self.ways(access.tensor)

    def pair(self, access: Access, axes: Axes, number: int) -> Pair | None:
        """The indices at these axes, if they run through the whole of them."""
        extents = self.shapes.extents[number]
        match access.subscripts[axes.row], access.subscripts[axes.column]:
            case Index(name=row), Index(name=column) if row != column:
                whole = extents.get(row) == (0, self.band.rows) and extents.get(column) == (0, self.band.columns)
                return (row, column) if whole else None
        return None

    def pairs(self, number: int) -> dict[Pair, None]:
        """The pairs of indices at which a statement reads or writes what is kept."""
        stmt = self.program.statements[number]
        found = ((self.pair(a, axes, number)) for a in accesses_of(stmt) for axes in self.of(a))
        return dict.fromkeys(p for p in found if p is not None)

    def direct(self, number: int) -> Pair | None:
        """The indices of a statement that keeps nothing: masks hold them in the band, where what is summed over others
        makes an array over both.
        """
        stmt = self.program.statements[number]
        free = indices_of(stmt.target)
        summed = set(stmt.reduced) & set(indices_of(stmt.value))
        for pair in sorted(self.inside[number], key=lambda p: (p[0] not in free, p)):  # rows are written without sums
            if summed - set(pair) and self.fits(stmt, {pair: None}) and not self.pairs(number):
                return pair
        return None

    def fits(self, stmt: Statement, pairs: Mapping[Pair, None]) -> bool:
        """Whether a statement can run over blocks: no index in two pairs, and plain positions in its target."""
        if len({i for p in pairs for i in p}) < 2 * len(pairs):
            return False
        if reductions_of(stmt) and not _is_root(stmt, pairs):
            return False
        merged = {i for p in parts_of(stmt) if isinstance(p, Merged) for i in p.indices}
        if any(merged & set(pair) for pair in pairs):  # no position stands in a merged axis
            return False
        kept = bool(self.of(stmt.target))
        plain = [s.name for s in stmt.target.subscripts if isinstance(s, Index)]
        sizes = dict(zip(stmt.target.subscripts, self.shapes.tensors[stmt.target.tensor], strict=True))
        for row, column in pairs:
            touched = touched_by(stmt.target, (row, column))
            moved = [i for i in touched if i not in plain]
            if kept or not touched:
                continue
            if moved and (len(moved) < len(touched) or stmt.op == "=" or not self.is_affine(stmt.target)):
                return False
            standing = [i for s in stmt.target.subscripts for i in dict.fromkeys(indices_of(s))]
            if not moved and (len(touched) == 2 or any(standing.count(i) != 1 for i in touched)):
                return False
            if not moved and row in touched and sizes[Index(row)] != self.band.rows:
                return False
            if column in touched and reductions_of(stmt):
                return False
        return kept or sum(bool(touched_by(stmt.target, p)) for p in pairs) <= 1

    def is_affine(self, target: Access) -> bool:
        """Whether all positions of a target are made of indices alone."""
        return not any(isinstance(s, Merged | Boundary) or reads(s) for s in target.subscripts)

    # -- why ---------------------------------------------------------------------------------------

    def confined(self, number: int, pair: Pair) -> bool:
        """Whether a statement needs no more than the band of what it reads at these indices."""
        if self.vanishes(number, pair):
            return True
        target = self.program.statements[number].target
        return any(self.pair(target, axes, number) == pair for axes in self.of(target))

    def vanishes(self, number: int, pair: Pair) -> bool:
        """Whether a statement adds nothing outside of the band."""
        return pair in self.inside[number] or self.beside(number, pair) is not None

    def beside(self, number: int, pair: Pair) -> list[tuple[Expr, bool]] | None:
        """The factors, and divisors, beside one that is 0 outside of the band; None if a term has no such one."""
        stmt = self.program.statements[number]
        if stmt.op not in ("=", "+=") or reductions_of(stmt):
            return None
        found: list[tuple[Expr, bool]] = []
        for _, term in terms_of(stmt.value):
            zeros, others = 0, list[tuple[Expr, bool]]()
            for factor, below in factors_of(term):
                if not below and isinstance(factor, Access) and self.is_zero(factor, number, pair):
                    zeros += 1
                elif below or not is_finite(factor):
                    others.append((factor, below))
            reading = any(isinstance(p, Access) and self.of(p) for f, _ in others for p in walk(f))
            if not zeros or reading or any(set(pair) <= set(indices_of(f)) for f, _ in others):
                return None
            if not all(can_be_asked(stmt, f, self.shapes.guarded[number]) for f, _ in others):
                return None
            found += others
        return found

    def is_zero(self, access: Access, number: int, pair: Pair) -> bool:
        return any(axes in self.zero and self.pair(access, axes, number) == pair for axes in self.of(access))


def touched_by(target: Access, pair: Pair) -> set[str]:
    """The indices of a pair that a target has."""
    return set(pair) & set(indices_of(target))


def _is_root(stmt: Statement, pairs: Mapping[Pair, None]) -> bool:
    """Whether the only reduction inside is the whole value, and goes over the columns of a band alone."""
    value = stmt.value
    if not isinstance(value, Reduce) or value.op != "logsumexp" or len(reductions_of(stmt)) > 1:
        return False
    return all(column in value.domain.indices and row not in value.domain.indices for row, column in pairs)
