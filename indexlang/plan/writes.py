"""Targets: where a statement writes, and how what lies beyond an edge is brought home.

In: a target access, sizes known. Out: a `Target`. The one rule: two points of one write never meet in an element: the
indices that could make them meet are taps, gone through one by one, or positions are computed and what meets is joined.
An axis that is left is written in a workspace longer than the axis, which is brought home when the statement is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from ..program.affine import Affine, floordiv
from ..program.ir import Access, Boundary, Const, Index, indices_of, reads
from ..sizes.in_bounds import numeric
from .building import Building
from .kernels import Map, Scatter
from .operators import combining
from .places import Buffer, Place, View
from .quantities import Apply, Load, Value
from .reads import check_row, value_of
from .subscripts import Subscribed, subscribed
from .turns import turns_of
from .values import edge, position_of, unit
from .views import (
    Row,
    fills,
    index_strides,
    injective,
    plain,
    row_strides,
    tabulated,
    taps,
    together,
    whole,
)


@dataclass(frozen=True)
class Fold:
    """An axis of the workspace that is brought home: without `at`, of its first..last all but 0..size-1 is dropped;
    else `at` says where each of its elements belongs.
    """

    axis: int
    first: int
    last: int
    at: Value | None = None
    index: str = ""  # that runs through the elements of `at`
    run: int = 0  # so many elements next to each other belong to each position in turn, where that is so
    kind: str = ""  # of the edge, if it is an edge that brings home


@dataclass
class Target:
    """The buffer that a statement writes, by affine rows; `taps` are the indices to loop over.

    `dynamic` axes are written at computed positions over `order`, the rest through rows.
    """

    b: Building
    access: Access
    op: str
    home: Buffer  # the tensor
    buffer: Buffer  # what is written: the tensor, or a workspace
    rows: tuple[Row, ...]
    new: bool  # nothing has defined the tensor yet
    delivered: str  # the dtype whose identity fills what nothing reaches
    folds: tuple[Fold, ...] = ()
    taps: tuple[str, ...] = ()
    dynamic: tuple[int, ...] = ()
    order: tuple[str, ...] = ()
    overwrites: bool = field(default=False)

    @property
    def coverable(self) -> bool:
        """Whether the statement's points are just the elements of a tensor that nothing has defined yet."""
        if not self.new or self.folds or self.taps or self.dynamic:
            return False
        indices = [i for row in self.rows for i, _ in row.coefs]
        alone = len(set(indices)) == len(indices) and (bool(indices) or not self.rows)  # an element is no view
        axes = zip(self.rows, self.buffer.shape, strict=True)
        return alone and all(fills(row, self.b.extents, size) for row, size in axes)

    @property
    def alone(self) -> bool:
        """Whether nothing else writes its elements, and something each other one."""
        return self.access.tensor in self.b.parted and not (self.folds or self.taps or self.dynamic)

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """The loops over the taps, each with its step: 0 for one value at a time."""
        if not self.taps or self.b.limits.nests:
            return tuple((i, 0) for i in self.taps)
        extents = {i: hi - lo for i, (lo, hi) in self.b.extents.items()}
        moving = index_strides(self.rows, row_strides(self.buffer.shape))
        moving = {i: s for i, s in moving.items() if extents[i] > 1}
        least = min(abs(moving[i]) for i in self.taps)
        longer = any(abs(s) < least for i, s in moving.items() if i not in self.taps)  # runs, as an axis lies inside
        return together(self.taps, self.rows, extents) if longer else tuple((i, 0) for i in self.taps)

    def start(self, once: bool) -> None:
        """Make what is written ready; `once` if the statement writes each of its points just once."""
        self.overwrites = once and (self.coverable or self.alone)
        if self.alone and not self.overwrites:
            self.b.run(self.view, "=", Map(unit("=", self.delivered)))
        elif not self.overwrites and (self.new or self.folds):
            self.fill()

    def fill(self) -> None:
        """The operator's identity everywhere."""
        self.b.run(self.b.everything(self.buffer), "=", Map(unit(self.op, self.delivered)))

    @property
    def view(self) -> View:
        """The elements written."""
        return View(self.buffer, self.rows)

    def zero(self, place: Place) -> None:
        """From here on the place is added to."""
        if self.overwrites:
            self.b.run(place, "=", Map(unit("=", self.buffer.dtype)))
            self.overwrites = False

    def put(self, place: Place, value: Value, negative: bool = False) -> None:
        """Write a value that broadcasts to the place, or combine it into what is there."""
        if self.overwrites:
            self.b.run(place, "=", Map(Apply("neg", (value,), value.dtype) if negative else value))
        else:
            self.b.run(place, combining(self.op, negative), Map(value))

    def finish(self) -> None:
        """Bring the workspace home: drop the padding, fold what lies beyond an edge."""
        buffer, b = self.buffer, self.b
        if not self.folds:
            return
        kept: dict[int, int] = {}  # the axes of which a part is home, and where it begins
        for fold in reversed(self.folds):
            if fold.at is None or self._turned(buffer, fold):
                kept[fold.axis] = -fold.first
            else:
                buffer = self._folded(buffer, fold)
        place = b.everything(self.home)
        rows = tuple(row.shifted(kept.get(axis, 0)) for axis, row in enumerate(place.rows))
        part = View(buffer, rows)
        if self.new and self.access.tensor in b.final and buffer.dtype == self.home.dtype:
            b.results[self.access.tensor] = part  # only a caller sees it: a view will do
        else:
            b.run(place, "=" if self.new else combining(self.op), Map(Load(part, buffer.dtype)))

    def _turned(self, buffer: Buffer, fold: Fold) -> bool:
        """Whether what lies beyond an edge could be brought home, run by run, to the elements inside."""
        b, axis, size = self.b, fold.axis, self.home.shape[fold.axis]
        turns = turns_of(fold.kind, fold.first, fold.last, size, b.limits.pieces) if fold.kind else None
        if turns is None or fold.first > 0 or fold.last < size - 1:
            return False
        beyond = [(t, max(t.first, fold.first), min(t.last, fold.last)) for t in turns if t.first != 0]
        if sum(last + 1 - first for turn, first, last in beyond if not turn.sign) > b.limits.unrolled:
            return False
        for turn, first, last in beyond:
            # What meets in one element goes there one after the other.
            runs = ((first, last),) if turn.sign else ((p, p) for p in range(first, last + 1))
            for low, high in runs:
                rows = b.everything(buffer).rows
                q = plain(b.axis(high + 1 - low))
                home = Row(turn.sign * low + turn.shift - fold.first, tuple((i, turn.sign or 1) for i, _ in q.coefs))
                at = q.shifted(low - fold.first)
                place, source = (View(buffer, (*rows[:axis], row, *rows[axis + 1 :])) for row in (home, at))
                b.run(place, combining(self.op), Map(Load(source, buffer.dtype)))
        return True

    def _folded(self, buffer: Buffer, fold: Fold) -> Buffer:
        """A buffer with the axis brought home."""
        b, axis, size = self.b, fold.axis, self.home.shape[fold.axis]
        made = b.buffer(
            f"{self.home.name} folded", (*buffer.shape[:axis], size, *buffer.shape[axis + 1 :]), buffer.dtype
        )
        source, place = b.everything(buffer), b.everything(made)
        (own,) = (i for i, _ in source.rows[axis].coefs)
        b.run(b.everything(made), "=", Map(unit(self.op, self.delivered)))
        rest = tuple(i for k, row in enumerate(source.rows) if k != axis for i, _ in row.coefs)
        rows = tuple(place.rows[k] if k == axis else row for k, row in enumerate(source.rows))
        (mark,) = (i for i, _ in place.rows[axis].coefs)
        assert fold.at is not None
        at = b.table("table", (fold.index,), fold.at)
        assert isinstance(at.place, View)
        at = Load(View(at.place.buffer, (plain(own),)), "int64")
        kernel = Scatter(((mark, at),), Load(source, buffer.dtype), (own,), rest, alone=True)
        b.run(View(made, rows), combining(self.op), kernel)
        return made


def target_of(b: Building, access: Access, home: Buffer, op: str, new: bool, delivered: str, inner: str = "") -> Target:
    """How a statement's target is written. What is read lies along `inner`: another index is rather a tap."""
    known = [subscribed(b, access, axis) for axis in range(len(access.subscripts))]
    extents = {i: hi - lo for i, (lo, hi) in b.extents.items()}
    tables = {k: fold for k in range(len(known)) if (fold := _tabled(b, access, k, known[k])) is not None}
    computed = {axis for axis, at in enumerate(known) if at.row is None and axis not in tables}
    if computed:
        tables = {}
        computed = {axis for axis, at in enumerate(known) if at.row is None}
    rows: list[Row] = []
    folds: list[Fold] = []
    shape = list(home.shape)
    for axis, at in enumerate(known):
        if axis in tables:
            (index,) = indices_of(at.sub)
            folds.append(tables[axis])
            shape[axis] = extents[index]
            rows.append(plain(index).shifted(-b.extents[index][0]))
            continue
        if at.row is None:
            continue
        check_row(b, access, axis)
        row, size = at.row, home.shape[axis]
        first, last = row.interval(b.extents)
        if first < 0 or last >= size:
            # Beyond the axis without a boundary: only where a mask refuses the point.
            guard = at.boundary or Boundary("pad", Const(0))
            if guard.kind == "pad":
                first, last = min(first, 0), max(last, size - 1)
                folds.append(Fold(axis, first, last))
            else:
                run = b.axis(last + 1 - first)
                folds.append(
                    Fold(
                        axis,
                        first,
                        last,
                        edge(guard.kind, position_of(plain(run).shifted(first)), size),
                        run,
                        0,
                        guard.kind,
                    )
                )
            shape[axis] = last - first + 1
            row = row.shifted(-first)
        rows.append(row)
    if not computed:
        buffer = b.buffer(f"{home.name} work", shape, home.dtype) if folds else home
        moving = index_strides(rows, row_strides(buffer.shape))
        loops = () if injective((s, extents[i]) for i, s in moving.items()) else taps(rows, extents, b.limits, inner)
        few = max(1, prod(home.shape)) + prod(extents[i] for i in indices_of(access))
        long = prod(shape) > b.limits.larger * few
        if not tabulated(loops, rows, extents, b.limits) and not (folds and long):
            return Target(b, access, op, home, buffer, tuple(rows), new, delivered, tuple(folds), loops)
        computed = set(range(len(known)))
    return _dynamic(b, access, home, op, new, delivered, computed)


def _tabled(b: Building, access: Access, axis: int, at: Subscribed) -> Fold | None:
    """How an axis is brought home that one index alone runs through, by positions that sizes say: y[i//2]."""
    names = indices_of(at.sub)
    alone = len(names) == 1 and all(names[0] not in indices_of(s) for k, s in enumerate(access.subscripts) if k != axis)
    if at.row is not None or not alone or reads(at.sub) or at.is_padded or not at.safe or b.masks:
        return None
    value = value_of(b, at.expr, whole(b.extents))
    if value.dtype != "int64" or not value.indices:
        return None
    size, (lo, hi) = b.shapes[access.tensor][axis], b.extents[names[0]]
    if at.boundary is not None:
        return Fold(axis, 0, hi - lo - 1, edge(at.boundary.kind, value, size), names[0])
    run = 0
    n, rest = divmod(hi - lo, max(1, size))
    if n and not rest:  # y[i//2]: n positions next to each other are one
        steps = floordiv(Affine(-lo, ((Index(names[0]), 1),)), Affine(n))
        run = n if numeric(Affine.from_expr(at.expr), b.shapes) == steps else 0
    return Fold(axis, 0, hi - lo - 1, value, names[0], run)


def _dynamic(
    b: Building, access: Access, home: Buffer, op: str, new: bool, delivered: str, dynamic: set[int]
) -> Target:
    """Axes written at computed positions, with every axis that shares an index with them."""
    growing = True
    while growing:
        shared = {i for axis in dynamic for i in indices_of(access.subscripts[axis])}
        more = set()
        for axis in range(len(access.subscripts)):
            at = subscribed(b, access, axis)
            if axis in dynamic or at.row is None:
                continue
            first, last = at.row.interval(b.extents)
            outside = first < 0 or last >= home.shape[axis]
            if outside or len(at.row.coefs) > 1 or shared & {i for i, _ in at.row.coefs}:
                more.add(axis)
        growing = bool(more)
        dynamic |= more
    order = [i for axis in sorted(dynamic) for i in indices_of(access.subscripts[axis])]
    rest = [i for axis, sub in enumerate(access.subscripts) if axis not in dynamic for i in indices_of(sub)]
    if len(set(rest)) < len(rest):  # a diagonal among the rest: by computed positions altogether
        dynamic, order, rest = set(range(len(access.subscripts))), [*order, *rest], []
    axes = tuple(dict.fromkeys([*order, *rest]))
    return Target(b, access, op, home, home, (), new, delivered, (), (), tuple(sorted(dynamic)), axes)
