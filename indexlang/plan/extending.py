"""Longer copies of a buffer, in which an access that may leave its axis stays inside.

In: an access. Out: a buffer, and the subscripts as rows of it. The one rule: the longer copy is made once, before all
loops, for each access and extents; of a large one only the rims are filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from ..program.ir import Access, Const, Expr, Index, indices_of
from .building import Building
from .kernels import Map, Take
from .places import Buffer, View
from .quantities import Load
from .subscripts import Subscribed, subscribed
from .values import edge, padding, position_of
from .views import Row, plain

TIMES_LONGER = 8  # a copy larger than so many times what is read of it, and than what it is of, is not made


def inside(b: Building, access: Access) -> tuple[Buffer, tuple[Subscribed, ...]]:
    """The buffer in which the affine rows of an access stay inside, made on first use; a computed one has no row."""
    used = {i: b.extents[i] for i in indices_of(access)}
    masks = b.masks if any(not isinstance(s, Index) for s in access.subscripts) else ()
    key = (access, tuple(sorted(used.items())), masks)
    if key not in b.prepared:
        b.prepared[key] = _extended(b, access)
    return b.prepared[key]


@dataclass(frozen=True)
class _Rim:
    """What an axis is made longer by: elements of a value, or those at the positions of an edge's rule."""

    axis: int
    left: int
    right: int
    value: Expr
    edge: str = ""


def _extended(b: Building, access: Access) -> tuple[Buffer, tuple[Subscribed, ...]]:
    """The buffer made longer by paddings and edges.

    From the last axis to the first, so that the first axis out of range says the value.
    """
    buffer = b.buffers[access.tensor]
    known = [subscribed(b, access, axis) for axis in range(len(access.subscripts))]
    known = _computed(b, known, buffer)
    rims: list[_Rim] = []
    for axis in reversed(range(len(known))):
        at, size = known[axis], buffer.shape[axis]
        if at.row is None:
            continue
        first, last = at.row.interval(b.extents)
        if 0 <= first <= last < size:
            continue
        left, right = max(0, -first), max(0, last - size + 1)
        # Out of its axis without a boundary: only where a mask refuses the point.
        if at.boundary is None or at.boundary.kind == "pad":
            rims.append(_Rim(axis, left, right, Const(0) if at.boundary is None else at.boundary.value))
        elif last + 1 - first >= size > 0 and prod(buffer.shape) >= b.limits.rim:
            rims.append(_Rim(axis, left, right, Const(0), at.boundary.kind))
        else:
            buffer = _framed(b, buffer, rims)
            rims, left = [], -first
            buffer = _along(b, buffer, axis, at.boundary.kind, first, last)
        known[axis] = replace(at, row=at.row.shifted(left))
    return _framed(b, buffer, rims), tuple(known)


def _along(b: Building, buffer: Buffer, axis: int, kind: str, first: int, last: int) -> Buffer:
    """The buffer with an axis at the positions first..last of an edge's rule."""
    size, run = buffer.shape[axis], b.axis(last + 1 - first)
    at = edge(kind, position_of(plain(run).shifted(first)), size)
    made = b.buffer(
        f"{buffer.name}_edge", (*buffer.shape[:axis], last + 1 - first, *buffer.shape[axis + 1 :]), buffer.dtype, "copy"
    )
    source = b.everything(buffer)
    (taken,) = (i for i, _ in source.rows[axis].coefs)
    place = View(made, (*source.rows[:axis], plain(run), *source.rows[axis + 1 :]))
    b.run(place, "=", Take(source, ((taken, b.table("table", (run,), at)),)))
    return made


def _computed(b: Building, known: list[Subscribed], buffer: Buffer) -> list[Subscribed]:
    """Rows given up for computed positions: those whose index another one runs too, and a few that are better so."""
    found = list(known)
    for axis, at in enumerate(known):
        if at.row is not None and at.boundary is not None and not at.is_padded:
            first, last = at.row.interval(b.extents)
            points = prod(b.extents[i][1] - b.extents[i][0] for i, _ in at.row.coefs)
            if last + 1 - first > max(2 * points, 2 * buffer.shape[axis]):  # a table of every position is too long
                found[axis] = replace(at, row=None)
    # Axes that one index runs through grow together: the copy may be far larger than what is read of it.
    points = prod(b.extents[i][1] - b.extents[i][0] for i in {i for at in known for i in indices_of(at.sub)})
    enough = max(b.limits.rim, TIMES_LONGER * max(points, prod(buffer.shape)))
    while _longer(b, found, buffer.shape) > enough:
        growth = [
            _length(b, at, n) / max(n, 1) if at.boundary is not None else 1
            for at, n in zip(found, buffer.shape, strict=True)
        ]
        axis = growth.index(max(growth))
        if growth[axis] <= 1:
            break
        found[axis] = replace(found[axis], row=None)
    growing = True
    while growing:
        taken = {i for at in found if at.row is None for i in indices_of(at.sub)}
        late = [axis for axis, at in enumerate(found) if at.row is None and at.boundary is not None]
        growing = False
        for axis, at in enumerate(found):
            if at.row is None:
                continue
            # The first padded axis that is out of range says the value: a row before computed ones must wait for it.
            if (at.is_padded and any(axis < k for k in late)) or taken & set(indices_of(at.sub)):
                found[axis] = replace(at, row=None)
                growing = True
    return found


def _length(b: Building, at: Subscribed, size: int) -> int:
    """The length of an axis of the longer copy."""
    if at.row is None:
        return size
    first, last = at.row.interval(b.extents)
    return size + max(0, -first) + max(0, last - size + 1)


def _longer(b: Building, known: Sequence[Subscribed], shape: Sequence[int]) -> int:
    """How many elements the longer copy has."""
    return prod(_length(b, at, n) for at, n in zip(known, shape, strict=True))


def _framed(b: Building, buffer: Buffer, rims: Sequence[_Rim]) -> Buffer:
    """A longer copy with its rims, those of later axes first: what an earlier axis says is written over them."""
    if not rims:
        return buffer
    shape = list(buffer.shape)
    for rim in rims:
        shape[rim.axis] += rim.left + rim.right
    made = b.buffer(f"{buffer.name}_pad", shape, buffer.dtype, "copy")
    source = b.everything(buffer)
    rows = list(source.rows)
    for rim in rims:
        rows[rim.axis] = rows[rim.axis].shifted(rim.left)
    inside = View(made, tuple(rows))
    fills = [padding(b, rim.value, buffer.dtype) for rim in rims]
    if len(set(fills)) == 1 and not any(rim.edge for rim in rims) and prod(shape) < b.limits.rim:
        b.run(b.everything(made), "=", Map(fills[0]))
        b.run(inside, "=", Map(Load(source, buffer.dtype)))
        return made
    b.run(inside, "=", Map(Load(source, buffer.dtype)))
    slab = inside.rows  # what is written so far: inside of the axes whose rims are still to come
    for rim, fill in zip(rims, fills, strict=True):
        n = buffer.shape[rim.axis]
        for first, last in ((0, rim.left), (rim.left + n, rim.left + n + rim.right)):
            if first == last:
                continue
            run = b.axis(last - first)
            place = View(made, _with(slab, rim.axis, plain(run).shifted(first)))
            if not rim.edge:
                b.run(place, "=", Map(fill))
                continue
            ((taken, _),) = slab[rim.axis].coefs
            table = b.table("table", (run,), edge(rim.edge, position_of(plain(run).shifted(first - rim.left)), n))
            b.run(place, "=", Take(View(made, slab), ((taken, table),)))
        slab = _with(slab, rim.axis, plain(b.axis(shape[rim.axis])))
    return made


def longer(b: Building, buffer: Buffer, axis: int, value: Expr) -> Buffer:
    """A copy of the buffer with one element of a padding's value behind an axis."""
    return _framed(b, buffer, [_Rim(axis, 0, 1, value)])


def _with(rows: Sequence[Row], axis: int, row: Row) -> tuple[Row, ...]:
    return (*rows[:axis], row, *rows[axis + 1 :])
