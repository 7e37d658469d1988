"""Longer copies of a buffer, in which an access that may leave its axis stays inside.

In: an access. Out: a buffer, and the subscripts as rows of it. The one rule: the longer copy is made once, before all
loops, for each access and extents; of a large one only the rims are filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ..program.ir import Access, Boundary, Const, Expr, Index, Statement, indices_of, parts_of
from .building import Building
from .kernels import Map, Take
from .limits import Limits
from .places import Buffer, View
from .quantities import Load
from .subscripts import Subscribed, subscribed
from .turns import EDGES
from .values import edge, padding, position_of
from .views import Extents, Row, linear, plain

Shapes = Mapping[str, tuple[int, ...]]

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
    if _shares(b, access.tensor, known):
        return _shared(b, access.tensor, known)
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


def _shares(b: Building, tensor: str, known: Sequence[Subscribed]) -> bool:
    """Whether an access leaves its axes, and reads nothing that the copy that several share has not."""
    reach, leaves = b.reach.get(tensor, {}), False
    for axis, (at, size) in enumerate(zip(known, b.shapes[tensor], strict=True)):
        if at.row is None or not reach:
            return False
        first, last = at.row.interval(b.extents)
        if 0 <= first <= last < size:
            continue
        kind, low, high = reach.get(axis, ("", 0, 0))
        if at.boundary is None or at.boundary.kind != kind or first > last or first < low or last > high:
            return False
        leaves = True
    return leaves


def _shared(b: Building, tensor: str, known: Sequence[Subscribed]) -> tuple[Buffer, tuple[Subscribed, ...]]:
    """The copy that several accesses share, and the rows in it."""
    reach, buffer = b.reach[tensor], b.buffers[tensor]
    left = {axis: -low for axis, (_, low, _) in reach.items()}
    if tensor not in b.prepared:
        rims = [
            _Rim(axis, -low, high + 1 - buffer.shape[axis], Const(0), kind)
            for axis, (kind, low, high) in sorted(reach.items(), reverse=True)
        ]
        b.prepared[tensor] = _framed(b, buffer, rims), ()
    rows = (replace(at, row=at.row and at.row.shifted(left.get(axis, 0))) for axis, at in enumerate(known))
    return b.prepared[tensor][0], tuple(rows)


def shared_reach(
    statements: Sequence[Statement], boxes: Sequence[Extents], shapes: Shapes, limits: Limits
) -> dict[str, dict[int, tuple[str, int, int]]]:
    """By tensor and axis: the edge and the positions, those of the axis among them, of a copy for several accesses.

    Only where two accesses leave their axes by one edge each, and little beside what is copied anyway is added.
    """
    found: dict[str, dict[int, tuple[str, int, int]]] = {}
    accesses: dict[str, set[Access]] = {}
    mixed: set[str] = set()
    for stmt, extents in zip(statements, boxes, strict=True):
        for access in dict.fromkeys(p for p in parts_of(stmt) if isinstance(p, Access) and p != stmt.target):
            for axis, sub in enumerate(access.subscripts):
                if not isinstance(sub, Boundary) or sub.kind not in EDGES or sub.lo is not None:
                    continue
                row, size = linear(sub.expr, shapes), shapes[access.tensor][axis]
                first, last = (0, -1) if row is None else row.interval(extents)
                if first > last or (first >= 0 and last < size):
                    continue
                kind, low, high = found.setdefault(access.tensor, {}).get(axis, (sub.kind, 0, size - 1))
                mixed.update([access.tensor] if kind != sub.kind else ())
                found[access.tensor][axis] = kind, min(low, first), max(high, last)
                accesses.setdefault(access.tensor, set()).add(access)
    return {
        tensor: axes
        for tensor, axes in found.items()
        if len(accesses[tensor]) > 1 and tensor not in mixed and _little(shapes[tensor], axes, limits)
    }


def _little(shape: Sequence[int], axes: Mapping[int, tuple[str, int, int]], limits: Limits) -> bool:
    longer = prod(axes[k][2] + 1 - axes[k][1] if k in axes else n for k, n in enumerate(shape))
    return prod(shape) >= limits.rim and 4 * longer <= 5 * prod(shape)


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
