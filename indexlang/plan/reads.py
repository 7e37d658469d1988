"""Expressions as values of the Plan, accesses as places: views where positions are affine, elements taken elsewhere.

In: an expression or an access, the scope in which it is wanted. Out: a `Value`, a `View` or a `Part`. The one rule:
whatever is read lies inside of its buffer: what may leave its axis is read from a longer copy; computed positions are
checked, or brought inside where a mask refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod

from ..program.guarded import guards_of
from ..program.ir import Access, Call, Const, Expr, Index, Size, indices_of, reads
from ..sizes.in_bounds import stays_by
from .building import Building, axes_of, here
from .extending import inside
from .kernels import Map, Take
from .places import Buffer, Part, Place, View
from .plan import Check
from .quantities import Apply, Load, Number, Position, Reduced, Value
from .subscripts import Subscribed, subscribed
from .values import cast, edge, number_of, padding, position_of, saturated
from .views import Scope, plain, whole


def value_of(b: Building, expr: Expr, scope: Scope) -> Value:
    """An expression without embedded reductions."""
    match expr:
        case Const() | Size():
            return number_of(b, expr)
        case Index(name=name):
            return Position(name)
        case Access(tensor=tensor):
            return Load(read(b, expr, scope), b.dtypes[tensor])
        case Call(fn="mul", args=(a, Const(value=1))) if b.kind(a) == b.kind(expr):
            return value_of(b, a, scope)
        case Call(fn=fn, args=args):
            return Apply(fn, tuple(value_of(b, a, scope) for a in args), b.kind(expr))
        case _:
            raise AssertionError("embedded reductions are hoisted before planning")


def prepare(b: Building, access: Access) -> None:
    """Plan what an access needs before any loop: its longer copy, the checks of its positions."""
    _, known = inside(b, access)
    for axis, at in enumerate(known):
        if at.row is not None:
            check_row(b, access, axis)


def check_row(b: Building, access: Access, axis: int) -> None:
    """Plan the check of an affine subscript that only data keep inside."""
    at = subscribed(b, access, axis)
    if not at.safe and at.row is not None:
        check(b, access, axis, position_of(at.row.shifted(at.lo)), at.end, indices_of(at.sub), whole(b.extents))


def check(
    b: Building, access: Access, axis: int, position: Value, end: int, order: Sequence[str], scope: Scope
) -> None:
    """Plan the check of computed positions at the points that masks admit, those of a pole included."""
    masks = tuple(m for m in b.masks if m not in b.poles)
    b.steps.append(Check(position, end, len(b.places), admitted(b, masks, order, scope)))
    b.places.append((access, axis))


def read(b: Building, access: Access, scope: Scope) -> Place:
    """Where the elements of an access lie, over its own indices."""
    buffer, known = inside(b, access)
    rows = tuple(at.row for at in known if at.row is not None)
    if len(rows) == len(known):
        return View(buffer, rows)
    key = (access, tuple((i, scope[i]) for i in indices_of(access)), b.masks, tuple(sorted(b.extents.items())))
    if key not in b.gathered:
        b.gathered[key] = _taken(b, access, buffer, known, scope)
    return b.gathered[key]


# -- masks ---------------------------------------------------------------------------------------------


@contextmanager
def guarded(b: Building, mask: Expr) -> Iterator[None]:
    """While a mask is planned: what it reads is guarded by the masks that are asked before it."""
    masks = b.masks
    b.masks = guards_of(masks, mask)
    try:
        yield
    finally:
        b.masks = masks


def truth(b: Building, mask: Expr, scope: Scope) -> Value:
    """A condition: made once where positions alone decide it."""
    with guarded(b, mask):
        found = value_of(b, mask, scope)
    if found.dtype != "bool" or isinstance(found, Number):
        found = Apply("ne", (found, Number(0, found.dtype)), "bool")
    own = tuple(i for i in b.extents if i in found.indices)
    fixed_ones = not b.limits.nests and not reads(mask) and own and all(scope[i].whole for i in own)
    return b.table("mask", own, found) if fixed_ones and prod(scope[i].n for i in own) <= b.limits.table else found


def conjunction(b: Building, masks: Sequence[Expr], scope: Scope) -> Value:
    """All conditions as one."""
    first, *rest = (truth(b, m, scope) for m in masks)
    for part in rest:
        first = Apply("and", (first, part), "bool")
    return first


def masked(b: Building, value: Value, masks: Sequence[Expr], scope: Scope, fill: Number) -> Value:
    """The value where the masks admit it, else `fill`."""
    if not masks:
        return value
    return Apply("select", (conjunction(b, masks, scope), value, fill), value.dtype)


def admitted(b: Building, masks: Sequence[Expr], axes: Sequence[str], scope: Scope) -> Value | None:
    """The points of `axes` that masks admit for some value of the other indices; None for all."""
    if not masks:
        return None
    found = conjunction(b, masks, scope)
    inner = tuple(
        i for i in b.extents if i in found.indices and i not in axes and i in here(tuple(found.indices), scope)
    )
    return Reduced("any", found, inner) if inner else found


# -- computed positions --------------------------------------------------------------------------------


def positions(
    b: Building, access: Access, axis: int, at: Subscribed, axes: Sequence[str], scope: Scope
) -> tuple[Value, Load | None]:
    """An axis's positions over `axes`, all inside; and where a padding says that they are outside."""
    size = b.shapes[access.tensor][axis]
    row = subscribed(b, access, axis).row
    if row is not None:
        first, last = row.interval(b.extents)
        if 0 <= first <= last < size:
            return position_of(row), None
    # A row that leaves its axis does so where masks refuse the point; a rewritten statement may have none left here.
    refused = bool(b.masks) or row is not None
    kind = "" if at.boundary is None else at.boundary.kind
    turn = {"wrap": size, "reflect": 2 * (size - 1)}.get(kind, 0)  # after which positions are the same
    value = position_of(row) if row is not None else saturated(value_of(b, at.expr, scope), turn)
    own = [i for i in here(axes, scope) if i in value.indices]
    stays = at.boundary is None and not (row is None and at.lo) and (not refused or (row is None and at.safe))
    if stays and isinstance(value, Load) and value.dtype == value.place.buffer.dtype == "int64":
        if not at.safe:
            check(b, access, axis, value, at.end, axes, scope)
        return value, None
    part = b.part(f"at {access.tensor}", own, "int64", scope)
    result = Load(part, "int64")
    if at.boundary is not None and kind != "pad" and at.safe and not (row is None and at.lo):
        b.run(part, "=", Map(edge(kind, cast(value, "int64"), size)))
        return result, None
    held = value
    if not isinstance(value, Load) or value.dtype != value.place.buffer.dtype or value.dtype != "int64":
        inside = at.boundary is None and (at.safe or stays_by(at.expr, at.end, b.masks))
        if inside and refused and not (row is None and (at.lo or at.safe)):
            b.run(part, "=", Map(edge("clamp", cast(value, "int64"), size)))
            return result, None
        b.run(part, "=", Map(cast(value, "int64")))
        held = result
    if not at.safe and not (at.boundary is None and stays_by(at.expr, at.end, b.masks)):
        shifted: Value = held
        if row is not None and at.lo:
            shifted = Apply("add", (held, Number(at.lo, "int64")), "int64")
        check(b, access, axis, shifted, at.end, axes, scope)
    if row is None and at.lo:
        b.run(part, "=", Map(Apply("sub", (held, Number(at.lo, "int64")), "int64")))
        held = result
    if at.boundary is None:
        if refused and not (row is None and at.safe):
            b.run(part, "=", Map(edge("clamp", held, size)))
            held = result
        elif held is not result:
            b.run(part, "=", Map(held))
        return result, None
    outside = None
    if at.boundary.kind == "pad":
        where = b.part("outside", part.indices, "bool", scope)
        outside = Load(where, "bool")
        below = Apply("lt", (held, Number(0, "int64")), "bool")
        above = Apply("ge", (held, Number(size, "int64")), "bool")
        b.run(where, "=", Map(Apply("or", (below, above), "bool")))
    b.run(part, "=", Map(edge(at.boundary.kind, held, size)))
    return result, outside


def _taken(b: Building, access: Access, buffer: Buffer, known: Sequence[Subscribed], scope: Scope) -> Part:
    """The elements at computed positions: the affine axes as a view first, then group by group of the others."""
    computed = [axis for axis, at in enumerate(known) if at.row is None]
    marks = {axis: b.axis(buffer.shape[axis]) for axis in computed}
    found: Place = View(buffer, tuple(at.row or plain(marks[axis]) for axis, at in enumerate(known)))
    inner = {**scope, **whole({m: b.extents[m] for m in marks.values()})}
    fills: list[tuple[int, Load]] = []
    for group in _groups(known, computed):
        order = [i for i in dict.fromkeys(i for a in group for i in indices_of(known[a].sub)) if not scope[i].tap]
        ats = list[tuple[str, Value]]()
        for axis in group:
            at, outside = positions(b, access, axis, known[axis], order, scope)
            ats.append((marks[axis], at))
            fills += [(axis, outside)] if outside is not None else []
        axes, gone = axes_of(found, inner), [m for m, _ in ats]
        if len(ats) == 1:  # where the axis was
            k = axes.index(gone[0])
            indices = [*axes[:k], *order, *axes[k + 1 :]]
        else:
            indices = [*order, *(i for i in axes if i not in gone)]
        made = b.part(f"{access.tensor} taken", indices, buffer.dtype, inner)
        b.run(made, "=", Take(found, tuple(ats)))
        found = made
    assert isinstance(found, Part)
    if not fills:
        b.sources[found.buffer] = buffer
    for axis, where in sorted(fills, key=lambda f: f[0], reverse=True):  # the first axis that is out of range says
        boundary = known[axis].boundary
        assert boundary is not None
        fill = cast(padding(b, boundary.value, buffer.dtype), buffer.dtype)
        b.run(found, "=", Map(Apply("select", (where, fill, Load(found, buffer.dtype)), buffer.dtype)))
    return found


def _groups(known: Sequence[Subscribed], computed: Iterable[int]) -> list[list[int]]:
    """The computed axes that share an index, each group in order."""
    groups: list[tuple[list[int], set[str]]] = []
    for axis in computed:
        own = set(indices_of(known[axis].sub))
        joined = [g for g in groups if g[1] & own]
        merged_group = sorted([a for g in joined for a in g[0]] + [axis])
        groups = [g for g in groups if g not in joined]
        groups.append((merged_group, own.union(*(g[1] for g in joined))))
    return sorted(g[0] for g in groups)
