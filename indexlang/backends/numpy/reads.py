"""Accesses as NumPy arrays: strided views where positions are affine, elements taken by index arrays elsewhere.

In: an access and the scope in which it is read. Out: an `Operand`. The one rule: whatever is read lies inside of its
array. What may leave its axis is first brought into an array of its own in which it does not: a padded copy, or an axis
taken by a table of positions; computed positions are checked, or clipped where a mask refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...plan.kernels import Row, linear, plain
from ...program.affine import Affine
from ...program.ir import Access, Boundary, Const, Dots, Expr, Index, Merged, indices_of, reads
from ...sizes.in_bounds import interval, numeric
from .source import Array, Axis, Operand, Scope, aligned, name_of, shape_code, sizes_of, view, whole
from .values import Lowering, Position, emit, index_value, mask_over

LARGE = 1 << 14  # elements from which on only the rims of a longer copy are filled


def position(low: Lowering, access: Access, axis: int) -> Position:
    """What a subscript says, sizes known."""
    sub, size = access.subscripts[axis], low.shapes[access.tensor][axis]
    assert not isinstance(sub, Dots), "ellipses are written out before lowering"
    if isinstance(sub, Merged):
        return Position(sub, merged(sub, low.extents), None, 0, size, True)
    boundary = sub if isinstance(sub, Boundary) else None
    expr = sub.expr if isinstance(sub, Boundary) else sub
    row, lo, end = linear(expr, low.shapes), 0, size
    if boundary is not None and boundary.lo is not None and boundary.hi is not None:
        lo, hi = low.number(boundary.lo), low.number(boundary.hi)
        end = lo + size + hi
        row = None if row is None else row.shifted(-lo)
    free = boundary is not None and boundary.lo is None
    return Position(sub, row, boundary, lo, end, free or _stays(low, access, axis, expr, end))


def _stays(low: Lowering, access: Access, axis: int, expr: Expr, end: int) -> bool:
    """Whether a subscript is known to stay inside: `shapes` has looked at those that read nothing."""
    if (access, axis) in low.guarded:
        return False
    reach = None if reads(expr) else interval(numeric(Affine.from_expr(expr), low.shapes), low.extents)
    return reach is not None and (linear(expr, low.shapes) is not None or 0 <= reach[0] <= reach[1] < end)


def merged(sub: Merged, extents: Mapping[str, tuple[int, int]]) -> Row:
    """Row-major: each index's radix is its extent, its digit its place in its range."""
    const, coefs, step = 0, [], 1
    for index in reversed(sub.indices):
        lo, hi = extents[index]
        coefs.append((index, step))
        const -= step * lo
        step *= hi - lo
    return Row(const, tuple(reversed(coefs)))


def positions(kind: str, code: str, size: int) -> str:
    """Code that maps integer positions into 0..size-1 by the rule of an edge."""
    match kind:
        case "wrap":
            return f"{code} % {max(size, 1)}"
        case "reflect" if size > 1:
            period = 2 * (size - 1)
            return f"{size - 1} - np.abs({size - 1} - {code} % {period})"
        case _:  # clamp; and the inside of a padding, whose outside is replaced afterwards
            return f"np.clip({code}, 0, {max(size - 1, 0)})"


# -- reading -------------------------------------------------------------------------------------------


def prepare(low: Lowering, access: Access) -> None:
    """Write what an access needs before any loop: its longer copy, the checks of its positions."""
    _, known = _affine(low, access)
    for axis, at in enumerate(known):
        if at.row is not None:
            check_row(low, access, axis)


def check_row(low: Lowering, access: Access, axis: int) -> None:
    """Write the check of an affine subscript that only data keep inside."""
    at = position(low, access, axis)
    if at.safe or at.row is None:
        return
    order, scope = list(indices_of(at.sub)), whole(low.extents)
    name = low.writer.fresh("at")
    low.writer.line(f"{name} = {row_code(low, at.row.shifted(at.lo), order, scope)}")
    check(low, access, axis, name, at.end, order, scope)


def check(low: Lowering, access: Access, axis: int, name: str, end: int, order: Sequence[str], scope: Scope) -> None:
    """Write the check of computed positions at the points that masks admit."""
    admitted = mask_over(low, order, scope)
    place = len(low.places)
    low.places.append((access, axis))
    low.writer.use("check")
    low.writer.line(f"check({name}, {end}, {place}{f', {admitted}' if admitted else ''})")


def read(low: Lowering, access: Access, scope: Scope) -> Operand:
    """The access as an array over its own indices, as far as they have an axis in the scope."""
    array, known = _affine(low, access)
    rows = [at.row for at in known]
    if all(r is not None for r in rows):
        return view(low.writer, array, [r for r in rows if r is not None], scope)
    key = _key(low, access, scope)
    found = low.gathered.get(key)
    if found is None:
        found = low.gathered[key] = _gather(low, access, array, known, scope)
    return found


def let_go(low: Lowering, access: Access, scope: Scope) -> bool:
    """Whether the access was gathered into an array of its own, which is forgotten: the reader may keep it."""
    return low.gathered.pop(_key(low, access, scope), None) is not None


def _key(low: Lowering, access: Access, scope: Scope) -> object:
    where = tuple((i, scope[i]) for i in indices_of(access))
    return access, where, low.masks, tuple(sorted(low.extents.items()))


def base(low: Lowering, access: Access) -> str | None:
    """The array whose view an access is; None if its positions are computed."""
    array, known = _affine(low, access)
    return array.name if all(at.row is not None for at in known) else None


def _affine(low: Lowering, access: Access) -> tuple[Array, tuple[Position, ...]]:
    """The array in which the affine rows of an access stay inside, written on first use; None for computed ones."""
    used = {i: low.extents[i] for i in indices_of(access)}
    masks = low.masks if any(not isinstance(s, Index) for s in access.subscripts) else ()
    key = (access, tuple(sorted(used.items())), masks)
    if key not in low.prepared:
        low.prepared[key] = _extended(low, access)
    return low.prepared[key]


@dataclass(frozen=True)
class _Rim:
    """What an axis is made longer by: elements of a value, or those at the positions of an edge's rule."""

    axis: int
    left: int
    right: int
    value: Expr
    edge: str = ""


def _extended(low: Lowering, access: Access) -> tuple[Array, tuple[Position, ...]]:
    """The array made longer by paddings and edges.

    From the last axis to the first, so that the first axis out of range says the value.
    """
    array = low.arrays[access.tensor]
    known = [position(low, access, axis) for axis in range(len(access.subscripts))]
    known = _computed(low, known, array)
    rims: list[_Rim] = []
    for axis in reversed(range(len(known))):
        at, size = known[axis], array.shape[axis]
        if at.row is None:
            continue
        first, last = at.row.interval(low.extents)
        if 0 <= first <= last < size:
            continue
        left, right = max(0, -first), max(0, last - size + 1)
        # Out of its axis without a boundary: only where a mask refuses the point.
        if at.boundary is None or at.boundary.kind == "pad":
            value = Const(0) if at.boundary is None else at.boundary.value
            rims.append(_Rim(axis, left, right, value))
        elif last + 1 - first >= size > 0 and prod(array.shape) >= LARGE:
            rims.append(_Rim(axis, left, right, Const(0), at.boundary.kind))
        else:
            array = _framed(low, array, rims)
            rims = []
            table = positions(at.boundary.kind, f"np.arange({first}, {last + 1})", size)
            shape = (*array.shape[:axis], last + 1 - first, *array.shape[axis + 1 :])
            code = f"np.take({array.name}, {low.writer.constant(table, 'table')}, {axis})"
            array, left = stored(low, code, shape, array.dtype, f"{array.name}_edge"), -first
        known[axis] = replace(at, row=at.row.shifted(left))
    return _framed(low, array, rims), tuple(known)


def _computed(low: Lowering, known: list[Position], array: Array) -> list[Position]:
    """Rows given up for index arrays: those that an index array's index runs too, and a few that are better so."""
    found = list(known)
    for axis, at in enumerate(known):
        if at.row is not None and at.boundary is not None and at.boundary.kind != "pad":
            first, last = at.row.interval(low.extents)
            points = prod(low.extents[i][1] - low.extents[i][0] for i, _ in at.row.coefs)
            if last + 1 - first > max(2 * points, 2 * array.shape[axis]):  # a table of every position is too long
                found[axis] = replace(at, row=None)
    growing = True
    while growing:
        taken = {i for at in found if at.row is None for i in indices_of(at.sub)}
        late = [axis for axis, at in enumerate(found) if at.row is None and at.boundary is not None]
        growing = False
        for axis, at in enumerate(found):
            if at.row is None:
                continue
            # The first padded axis that is out of range says the value: a row before an index array must wait for it.
            waits = at.boundary is not None and at.boundary.kind == "pad" and any(axis < b for b in late)
            if waits or taken & set(indices_of(at.sub)):
                found[axis] = replace(at, row=None)
                growing = True
    return found


def _framed(low: Lowering, array: Array, rims: Sequence[_Rim]) -> Array:
    """A longer copy with its rims, those of later axes first: what an earlier axis says is written over them."""
    if not rims:
        return array
    writer, dims = low.writer, len(array.shape)
    shape = list(array.shape)
    for rim in rims:
        shape[rim.axis] += rim.left + rim.right
    kind, size = name_of(array.dtype), tuple(shape)

    def slab(axis: int, part: str) -> str:
        return f"{name}[{', '.join([*[':'] * axis, part])}]"

    inside = [":"] * dims
    for rim in rims:
        inside[rim.axis] = f"{rim.left}:{rim.left + array.shape[rim.axis]}"
    while inside[-1] == ":":
        inside.pop()
    fills = [emit(low, rim.value, (), {}).code for rim in rims]
    name = writer.fresh(f"{array.name}_pad")
    writer.note(name, prod(shape), array.dtype)
    plain_fill = len(set(fills)) == 1 and not any(rim.edge for rim in rims)
    if plain_fill and prod(shape) < LARGE:
        made = f"np.zeros({size}, np.{kind})" if fills[0] == "0" else f"np.full({size}, {fills[0]}, np.{kind})"
        writer.line(f"{name} = {made}")
        writer.line(f"{name}[{', '.join(inside)}] = {array.name}")
        return Array(name, size, array.dtype)
    writer.line(f"{name} = np.empty({size}, np.{kind})")
    writer.line(f"{name}[{', '.join(inside)}] = {array.name}")
    for rim, fill in zip(rims, fills, strict=True):
        n = array.shape[rim.axis]
        for first, last in ((0, rim.left), (rim.left + n, rim.left + n + rim.right)):
            if first == last:
                continue
            what = fill
            if rim.edge:
                table = positions(rim.edge, f"np.arange({first - rim.left}, {last - rim.left})", n)
                what = slab(rim.axis, writer.constant(f"{table} + {rim.left}", "table"))
            writer.line(f"{slab(rim.axis, f'{first}:{last}')} = {what}")
    return Array(name, size, array.dtype)


def stored(low: Lowering, code: str, shape: tuple[int, ...], dtype: str, hint: str) -> Array:
    """An array under a new name."""
    name = low.writer.fresh(hint)
    low.writer.line(f"{name} = {code}")
    low.writer.note(name, prod(shape), dtype)
    return Array(name, shape, dtype)


# -- computed positions --------------------------------------------------------------------------------


def index_array(
    low: Lowering, access: Access, axis: int, at: Position, axes: Sequence[str], scope: Scope
) -> tuple[str, str | None]:
    """The name of an axis's positions over `axes`, all inside; and code of where a padding says it is outside."""
    size = low.shapes[access.tensor][axis]
    row = position(low, access, axis).row
    if row is not None:
        code, dtype = row_code(low, row, axes, scope), "int64"
    else:
        assert not isinstance(at.sub, Merged | Dots)
        value = emit(low, at.sub.expr if isinstance(at.sub, Boundary) else at.sub, axes, scope)
        code, dtype = value.code, value.dtype
        if value.python:
            code = f"np.asarray({code})"
    if dtype != "int64":
        code = f"({code}).astype(np.int64)"
    name = low.writer.fresh(f"at_{low.arrays[access.tensor].name}")
    low.writer.line(f"{name} = {code}")
    low.writer.note(name, points_of(scope, axes), "int64")
    if not at.safe:
        shifted = name if row is None or not at.lo else f"{name} + {at.lo}"
        check(low, access, axis, shifted, at.end, axes, scope)
    if row is None and at.lo:
        low.writer.line(f"{name} = {name} - {at.lo}")
    if at.boundary is None:
        if low.masks and not (row is None and at.safe):
            low.writer.line(f"{name} = {positions('clamp', name, size)}")
        return name, None
    outside = None
    if at.boundary.kind == "pad":
        outside = low.writer.fresh("outside")
        low.writer.line(f"{outside} = ({name} < 0) | ({name} >= {size})")
    low.writer.line(f"{name} = {positions(at.boundary.kind, name, size)}")
    return name, outside


def row_code(low: Lowering, row: Row, axes: Sequence[str], scope: Scope) -> str:
    """Code of an affine position over the axes."""
    terms = [
        f"{c} * {index_value(low, i, axes, scope)}" if c != 1 else index_value(low, i, axes, scope)
        for i, c in row.coefs
    ]
    if not terms:
        return f"np.asarray({row.const})"
    return " + ".join([*terms, *([str(row.const)] if row.const else [])])


def _gather(low: Lowering, access: Access, array: Array, known: Sequence[Position], scope: Scope) -> Operand:
    """The elements at computed positions: the affine axes as a view first, then group by group of the others."""
    computed = [axis for axis, at in enumerate(known) if at.row is None]
    pseudo = {f"?{axis}": _axis(array.shape[axis]) for axis in computed}
    rows = [at.row or plain(f"?{axis}") for axis, at in enumerate(known)]
    found = view(low.writer, array, rows, {**scope, **pseudo})
    fills = []
    for group in _groups(known, computed):
        order = [i for i in _ordered(known, group) if scope[i].width is not None]
        ats = []
        for axis in group:
            name, outside = index_array(low, access, axis, known[axis], order, scope)
            ats.append(name)
            if outside is not None:
                fills.append((axis, order, outside))
        found = _taken(low, array, group, ats, order, found, {**scope, **pseudo})
    for axis, order, outside in sorted(fills, reverse=True):  # the first axis that is out of range says the value
        boundary = known[axis].boundary
        assert boundary is not None
        fill = emit(low, boundary.value, (), {}).code
        if not fill.lstrip("-").isdigit():
            fill = f"np.{name_of(array.dtype)}({fill})"
        row = position(low, access, axis).row
        used = indices_of(known[axis].sub) if row is None else [i for i, _ in row.coefs]
        first = next((k for k, i in enumerate(order) if i in used), len(order))  # axes before it have not been made
        where = aligned(Operand(outside, tuple(order[first:]), "bool"), found.indices)
        low.writer.line(f"{found.code} = np.where({where}, {fill}, {found.code})")
    return found


def _taken(
    low: Lowering,
    array: Array,
    group: Sequence[int],
    ats: Sequence[str],
    order: Sequence[str],
    found: Operand,
    scope: Scope,
) -> Operand:
    name = low.writer.fresh(f"{array.name}_at")
    marks = [f"?{axis}" for axis in group]
    if len(group) == 1:
        place = found.indices.index(marks[0])
        indices = (*found.indices[:place], *order, *found.indices[place + 1 :])
        code = f"np.take({found.code}, {ats[0]}, {place})"
    else:
        rest = [i for i in found.indices if i not in marks]
        turn = tuple(found.indices.index(i) for i in (*marks, *rest))
        source = found.code if turn == tuple(range(len(turn))) else f"{found.code}.transpose({turn})"
        indices = (*order, *rest)
        code = f"{source}[{', '.join(ats)}]"
    if any(array.shape[axis] == 0 for axis in group):  # nothing to take, and nothing that is used: it was checked
        code = f"np.zeros({shape_code(indices, scope)}, np.{name_of(array.dtype)})"
    low.writer.line(f"{name} = {code}")
    low.writer.note(name, points_of(scope, indices), array.dtype)
    return Operand(name, tuple(indices), array.dtype)


def _axis(size: int) -> Axis:
    return Axis(0, size, None, str(size), size)


def _groups(known: Sequence[Position], computed: Iterable[int]) -> list[list[int]]:
    """The computed axes that share an index, each group in order."""
    groups: list[tuple[list[int], set[str]]] = []
    for axis in computed:
        own = set(indices_of(known[axis].sub))
        joined = [g for g in groups if g[1] & own]
        merged_group = sorted([a for g in joined for a in g[0]] + [axis])
        groups = [g for g in groups if g not in joined]
        groups.append((merged_group, own.union(*(g[1] for g in joined))))
    return sorted(g[0] for g in groups)


def _ordered(known: Sequence[Position], group: Sequence[int]) -> list[str]:
    return list(dict.fromkeys(i for axis in group for i in indices_of(known[axis].sub)))


def points_of(scope: Scope, indices: Iterable[str]) -> int:
    """The number of elements of an array over the indices."""
    now = sizes_of(scope)
    return prod(now[i] for i in indices)
