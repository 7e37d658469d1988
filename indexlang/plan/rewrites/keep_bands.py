"""Tensors of which only a band is read, kept as blocks of it: attention in which a query sees near keys alone.

In: a Program with its shapes. Out: an equal Program in which such tensors, and the statements that read them, run over
blocks of one index and, for each, a window of the other:

    e[t,s] = exp(l[t,s] - m[t]) where s <= t, t < s + 32
    e_band[a,b,c] = exp(l_band[a,b,c] - m[(a,b)]) where c <= b + 31, b <= c, a*64 + c >= 31

The one rule: both make the same. Where windows stick out, what is read there is the last of its axis, and nothing of
it is used: it is refused by a mask, or multiplied by 0. What must be finite for that is an output of the new Program.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ...program.affine import Affine
from ...program.conditions import conjuncts
from ...program.interface import with_header
from ...program.ir import (
    GRAD,
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Statement,
    Subscript,
    indices_of,
    primal_of,
    statement,
)
from ...program.names import Fresh, counted
from ...program.rebuild import transform_expr
from ...rewrite.substitution import Quotient, put, put_subscript, written
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..plan import Trial
from ..views import Extents
from .asking import own_masks
from .balance import balanced
from .bands import Axes, Pair, Reading, bands_of, may_have_bands, touched_by
from .choices import with_masks
from .exclusions import Beside, without_exclusions


def keep_bands(program: Program, shapes: Shapes, limits: Limits) -> Trial | None:
    """The program with such tensors as blocks of a band; None if it has none that are worth it."""
    if not may_have_bands(program):
        return None
    masked = replace(program, statements=tuple(map(with_masks, program.statements)))
    excluded = without_exclusions(masked, shapes)
    program, whole = excluded.program, excluded.asked
    for band in bands_of(program, shapes, limits):
        banding = _Banding(program, shapes, Reading(program, shapes, band, whole), masked, excluded.beside)
        if any(banding.pairs):
            return banding.banded()
    return None


@dataclass(frozen=True)
class _Blocks:
    """The indices that stand for a pair: blocks, rows in a block, columns in its window."""

    pair: Pair
    block: str
    row: str
    column: str


class _Banding:
    """The new statements so far."""

    def __init__(
        self, program: Program, shapes: Shapes, reading: Reading, before: Program, powers: Mapping[int, Beside]
    ) -> None:
        self.program, self.shapes, self.reading, self.band = program, shapes, reading, reading.band
        self.before, self.powers = before, powers  # without masks in place of -inf
        self.names = Fresh.of(program)
        direct = [reading.direct(k) for k in range(len(program.statements))]
        self.pairs = [(*reading.pairs(k), *([d] if d is not None else ())) for k, d in enumerate(direct)]
        self.statements: list[Statement] = []
        self.declared: dict[str, tuple[int, ...]] = {}
        self.stems: dict[str, tuple[int, ...]] = {}  # of new names, and the shape of what has one
        self.kept: dict[str, tuple[Axes, str]] = {}
        for axes in sorted(reading.kept, key=lambda a: a.tensor):
            now = [(n,) for n in shapes.tensors[axes.tensor]]
            shape = _in_blocks(now, axes, ((self.band.blocks,), (self.band.by,), (self.band.width,)))
            self.kept[axes.tensor] = axes, self.named(axes.tensor, "band", [n for (n,) in shape])
        self.padded: dict[tuple[str, int, bool], str] = {}  # of the tensors as they are now
        self.checked: set[object] = set()
        self.finite: list[str] = []
        base = min(self.band.low, 0)
        last = (self.band.blocks - 1) * self.band.by + self.band.end
        self.base, self.long = base, max(self.band.columns, last) - base

    def named(self, tensor: str, what: str, shape: Sequence[int]) -> str:
        """A new tensor beside another one, a gradient's name if that is one.

        A gradient has the shape of its tensor: so that of none of another shape, or of none that comes later, may have
        its name.
        """
        primal = primal_of(tensor)
        for stem in counted(f"{tensor if primal is None else primal}_{what}"):
            name = stem if primal is None else f"{stem}.{GRAD}"
            both = {stem, f"{stem}.{GRAD}"}
            first = stem not in self.stems
            alike = self.stems.setdefault(stem, tuple(shape)) == tuple(shape) and name not in self.declared
            alike = alike and (first or what == "band")
            if alike and not both & self.names.taken:
                break
        self.declared[name] = tuple(shape)
        return name

    def banded(self) -> Trial:
        """The whole."""
        program = self.program
        for k, stmt in enumerate(program.statements):
            self.check(k)
            if self.pairs[k]:
                self.statement(k, stmt)
            else:
                self.statements.append(stmt)
            self.padded = {key: name for key, name in self.padded.items() if key[0] != stmt.target.tensor}
        known = {s.tensor: s for s in program.shapes if s.tensor not in self.kept}
        made = {s.target.tensor for s in program.statements}
        changed = {s.target.tensor for k, s in enumerate(program.statements) if self.pairs[k]}
        changed |= {t for t in made if primal_of(t) in self.kept}  # whose shape was that of what is gone
        for tensor in sorted(changed - {*known, *self.kept, *program.inputs}):
            self.declared[tensor] = self.shapes.tensors[tensor]
        shapes = (*known.values(), *(Shape(t, tuple(map(Const, s))) for t, s in self.declared.items()))
        outputs = (*program.outputs, *self.finite)
        new = replace(program, statements=tuple(self.statements), shapes=shapes, outputs=outputs)
        return Trial(with_header(new), tuple(self.finite))

    def check(self, number: int) -> None:
        """A tensor that is finite where all is that a 0 outside of the band would be multiplied by."""
        found = list(self.powers.get(number, ()))
        for pair in self.pairs[number]:
            if pair not in self.reading.inside[number]:
                found += [(f, below, number) for f, below in self.reading.beside(number, pair) or []]
        extents, statements = self.shapes.extents, self.before.statements
        keys = {
            (f, below, own_masks(statements[k], f), tuple((i, extents[k][i]) for i in indices_of(f))): None
            for f, below, k in found
        }
        new = [key for key in keys if key not in self.checked]
        if not new:
            return
        self.checked.update(new)
        name = self.names.fresh("beside")
        for factor, below, masks, own in new:
            value = Call("div" if below else "mul", (Const(0.0), factor))
            self.statements.append(_over(Access(name), "+=", value, dict(own), masks))
        self.finite.append(name)

    # -- a statement -------------------------------------------------------------------------------

    def statement(self, number: int, stmt: Statement) -> None:
        """The statement over blocks."""
        extents = dict(self.shapes.extents[number])
        taken = Fresh({*self.names.taken, *extents})
        blocks = [_Blocks(p, *(taken.letter("abcuvw") for _ in range(3))) for p in self.pairs[number]]
        band, values = self.band, dict[str, Quotient]()
        for b in blocks:
            for i in b.pair:
                del extents[i]
            extents |= {b.block: (0, band.blocks), b.row: (0, band.by), b.column: (0, band.width)}
            begin = Affine(0, ((Index(b.block), band.by),))
            values[b.pair[0]] = Quotient(begin + Affine(0, ((Index(b.row), 1),)))
            values[b.pair[1]] = Quotient(begin + Affine(band.low, ((Index(b.column), 1),)))
        moving = _Moving(self, number, blocks, values)
        target, op, after = self.target(stmt, blocks, moving)
        value = moving.expr(stmt.value.body if isinstance(stmt.value, Reduce) else stmt.value)

        def moved(masks: Sequence[Expr]) -> list[Expr]:
            parts = (moving.expr(part) for mask in masks for part in conjuncts(mask))
            return [m for part in parts for m in balanced(part, extents)]

        outer = moved(stmt.domain.masks)
        inner = moved(stmt.value.domain.masks) if isinstance(stmt.value, Reduce) else []
        edges = [m for b in blocks if moving.reaches or b.pair in self.reading.inside[number] for m in self.inside(b)]
        made = self.made(stmt, target, op, value, (outer, inner, edges), blocks, extents)
        assert not {i for b in blocks for i in b.pair} & set(made.domain.indices), "an index is still there"
        self.statements.append(made)
        if after is not None:
            self.statements.append(after)

    def made(
        self,
        stmt: Statement,
        target: Access,
        op: str,
        value: Expr,
        masks: tuple[Sequence[Expr], Sequence[Expr], Sequence[Expr]],
        blocks: Sequence[_Blocks],
        extents: Extents,
    ) -> Statement:
        """The statement with explicit ranges; a reduction that is the whole value goes over the columns.

        Masks of the statement and of the reduction stay what they are: 0 is what the first leave, -inf the others.
        """
        outside, within, edges = masks
        if not isinstance(stmt.value, Reduce):
            return _over(target, op, value, extents, tuple(dict.fromkeys((*outside, *edges))))
        own = {b.pair[1]: b.column for b in blocks}
        inner = tuple(own.get(i, i) for i in stmt.value.domain.indices)
        ranges = tuple(Range(i, Const(lo), Const(hi)) for i, (lo, hi) in extents.items() if i in inner)
        ends = [m for m in edges if set(inner) & set(indices_of(m))]
        reduce = Reduce(stmt.value.op, Domain(inner, ranges, tuple(dict.fromkeys((*within, *ends)))), value)
        others = tuple(dict.fromkeys((*outside, *(m for m in edges if m not in ends))))
        outer = {i: e for i, e in extents.items() if i not in inner}
        return _over(target, op, reduce, outer, others)

    def inside(self, blocks: _Blocks) -> Iterator[Expr]:
        """Conditions that refuse what sticks out of rows and columns."""
        band = self.band
        begin = Affine(0, ((Index(blocks.block), band.by),))
        row, column = (
            begin + Affine(0, ((Index(blocks.row), 1),)),
            begin + Affine(band.low, ((Index(blocks.column), 1),)),
        )
        if not band.is_whole:
            yield Call("lt", (written(row), Const(band.rows)))
        if band.low < 0:
            yield Call("ge", (written(column), Const(0)))
        if (band.blocks - 1) * band.by + band.end > band.columns:
            yield Call("lt", (written(column), Const(band.columns)))

    def target(
        self, stmt: Statement, blocks: Sequence[_Blocks], moving: _Moving
    ) -> tuple[Access, str, Statement | None]:
        """Where the values go, and how; where that is a longer tensor, the statement that brings them home."""
        target, band = stmt.target, self.band
        touched = [(b, i) for b in blocks for i in touched_by(target, b.pair)]
        if target.tensor in self.kept or not any(Index(i) in target.subscripts for _, i in touched):
            return moving.access(target), stmt.op, None
        ((found, index),) = touched
        axis = target.subscripts.index(Index(index))
        is_row = index == found.pair[0]
        if band.is_whole and (is_row or self.is_tiled):
            merged = Merged((found.block, found.row if is_row else found.column))
            return self.with_axis(target, axis, merged), stmt.op, None
        shape = list(self.shapes.tensors[target.tensor])
        shape[axis] = band.blocks * band.by if is_row else self.long
        name, op = self.named(target.tensor, "sums", shape), stmt.op
        if op in ("=", "+="):
            op = "=" if is_row else "+="
        position: Subscript = Merged((found.block, found.row))
        if not is_row:
            form = Affine(band.low - self.base, ((Index(found.block), band.by), (Index(found.column), 1)))
            position = written(form)
        shift = Affine(0 if is_row else -self.base, ((Index(index), 1),))
        extents = {index: (0, band.rows if is_row else band.columns)}
        home: list[Subscript] = []
        for k, sub in enumerate(target.subscripts):  # each element once: what windows share is summed already
            names = set(indices_of(sub))
            if isinstance(sub, Index) or not names:
                home.append(sub)
                extents |= {i: moving.extents[i] for i in names if i != index}
            else:
                free = self.names.letter("pqrstu")
                home.append(Index(free))
                extents[free] = (0, shape[k])
        back = self.with_axis(Access(name, tuple(home)), axis, written(shift))
        after = _over(Access(target.tensor, tuple(home)), stmt.op, back, extents)
        return self.with_axis(replace(target, tensor=name), axis, position), op, after

    @property
    def is_tiled(self) -> bool:
        """Whether windows lie side by side and are all of the columns."""
        band = self.band
        return band.low == 0 and band.width == band.by and band.blocks * band.by == band.columns

    def with_axis(self, access: Access, axis: int, sub: Subscript) -> Access:
        return replace(access, subscripts=tuple(sub if k == axis else s for k, s in enumerate(access.subscripts)))

    # -- what is read --------------------------------------------------------------------------------

    def lengthened(self, tensor: str, axis: int, is_row: bool) -> str:
        """The tensor with an axis as long as blocks and windows reach, its ends repeated."""
        key = tensor, axis, is_row
        if key not in self.padded:
            shape = list(self.shapes.tensors[tensor])
            shape[axis] = self.band.blocks * self.band.by if is_row else self.long
            name = self.padded[key] = self.named(tensor, "long", shape)
            indices = [self.names.letter("pqrstu") for _ in shape]
            form = Affine(0 if is_row else self.base, ((Index(indices[axis]), 1),))
            subscripts = tuple(
                Boundary("clamp", written(form)) if k == axis else Index(i) for k, i in enumerate(indices)
            )
            target = Access(name, tuple(map(Index, indices)))
            extents = {i: (0, n) for i, n in zip(indices, shape, strict=True)}
            self.statements.append(_over(target, "=", Access(tensor, subscripts), extents))
        return self.padded[key]


class _Moving:
    """Expressions of a statement over blocks. `reaches` if some position may lie outside where windows stick out."""

    def __init__(
        self, banding: _Banding, number: int, blocks: Sequence[_Blocks], values: Mapping[str, Quotient]
    ) -> None:
        self.banding, self.number, self.blocks, self.values = banding, number, blocks, values
        self.extents = banding.shapes.extents[number]
        self.reaches = False

    def expr(self, expr: Expr) -> Expr:
        """The expression with blocks and windows in place of the pairs."""

        def rule(part: Subscript) -> Subscript | None:
            return self.access(part) if isinstance(part, Access) else None

        return put(transform_expr(expr, rule), self.values)

    def access(self, access: Access) -> Access:
        """An access over blocks."""
        banding, band = self.banding, self.banding.band
        kept = banding.kept.get(access.tensor)
        if kept is not None:
            axes, name = kept
            return Access(name, self.in_blocks(access, axes))
        for b in self.blocks:
            if set(b.pair) <= set(indices_of(access)):
                continue
            for index, is_row in zip(b.pair, (True, False), strict=True):
                axes_of = [k for k, s in enumerate(access.subscripts) if s == Index(index)]
                fits = axes_of and banding.shapes.tensors[access.tensor][axes_of[0]] == (
                    band.rows if is_row else band.columns
                )
                if len(axes_of) != 1 or not fits:
                    continue
                axis, inner = axes_of[0], b.row if is_row else b.column
                if is_row or banding.is_tiled:
                    if not band.is_whole:
                        access = replace(access, tensor=banding.lengthened(access.tensor, axis, True))
                    access = banding.with_axis(access, axis, Merged((b.block, inner)))
                else:
                    low = band.low
                    if not band.is_inside:
                        access = replace(access, tensor=banding.lengthened(access.tensor, axis, False))
                        low -= banding.base
                    form = Affine(low, ((Index(b.block), band.by), (Index(inner), 1)))
                    access = banding.with_axis(access, axis, written(form))
        if not self.values.keys().isdisjoint(indices_of(access)):
            self.reaches = True
            access = replace(access, subscripts=tuple(put_subscript(s, self.values) for s in access.subscripts))
        return access

    def in_blocks(self, access: Access, axes: Axes) -> tuple[Subscript, ...]:
        """The subscripts of what is kept: blocks in front of the first of rows and columns."""
        pair = self.banding.reading.pair(access, axes, self.number)
        (found,) = (b for b in self.blocks if b.pair == pair)
        return _in_blocks(access.subscripts, axes, (Index(found.block), Index(found.row), Index(found.column)))


Item = TypeVar("Item")


def _in_blocks(axes_now: Sequence[Item], axes: Axes, new: tuple[Item, Item, Item]) -> tuple[Item, ...]:
    """What belongs to the axes of a tensor, as it belongs to its blocks."""
    block, row, column = new
    found: list[Item] = []
    for k, s in enumerate(axes_now):
        found += [block] if k == min(axes.row, axes.column) else []
        found.append(row if k == axes.row else column if k == axes.column else s)
    return tuple(found)


def _over(target: Access, op: str, value: Expr, extents: Extents, masks: Sequence[Expr] = ()) -> Statement:
    """A statement whose indices run as far as is said; those that stand nowhere count."""
    ranges = tuple(Range(i, Const(lo) if lo else None, Const(hi)) for i, (lo, hi) in extents.items())
    return statement(target, op, value, ranges, tuple(masks))
