"""Places of the Plan as code, and the one function that changes the order of axes.

In: a View or a Part, where its indices stand. Out: an `Operand`. The one rule: an operand's axes are those of its code,
in their order; only `aligned` makes another order, and it changes both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from ...plan.places import Buffer, Part, Place, View
from ...plan.views import Row as Position
from ...plan.views import arrangement, row_strides, sliced
from .code import (
    ALL,
    REST,
    Attribute,
    Code,
    Item,
    Name,
    Number,
    Row,
    Slice,
    call,
    elements,
    is_number,
    method,
    plus,
    row,
    times,
)
from .names import Made, Writer
from .scope import Axis, Scope, position

OUT = Name("")  # stands for the memory that a Fill writes


@dataclass(frozen=True)
class Fill:
    """A call that writes its result into memory: an argument of its own, or the `out` of a ufunc."""

    function: str
    args: tuple[Code, ...]

    def code(self, out: Code) -> Code:
        """The call for that memory."""
        args = [out if a == OUT else a for a in self.args]
        return call(self.function, *args, **({} if self.function in ("keep", "choose") else {"out": out}))


@dataclass(frozen=True)
class Operand:
    """Code of an array, and the index of each of its axes: None is an axis of length 1."""

    code: Code
    axes: tuple[str | None, ...]
    dtype: str
    weak: bool = False  # a Python number, which takes the type of what it meets
    constant: bool = False  # known when the code is loaded
    fresh: bool = False  # an array of its own, that nothing else holds
    laid: bool = False  # fresh, and contiguous
    depth: int = 0  # of functions inside each other
    into: tuple[Fill, ...] = ()  # calls that make the same where they are told to

    @property
    def indices(self) -> tuple[str, ...]:
        return tuple(i for i in self.axes if i is not None)


def shape_of(axes: Sequence[str], scope: Scope) -> Row:
    """Code of the shape of an array over the indices."""
    return row(_width(scope[i]) for i in axes)


def count_of(axes: Sequence[str], scope: Scope) -> Code:
    """Code of the number of points of the indices."""
    return times([_width(scope[i]) for i in axes if scope[i].width is not None])


def _width(axis: Axis) -> Code:
    return Number(1) if axis.width is None else axis.width


# -- axes ----------------------------------------------------------------------------------------------


def aligned(x: Operand, axes: Sequence[str]) -> Operand:
    """The operand with its axes in the order of `axes`, missing ones of length 1, so that it broadcasts."""
    wanted: list[str | None] = [i if i in x.axes else None for i in axes]
    while wanted and wanted[0] is None:
        wanted.pop(0)
    if list(x.axes) == wanted:
        return x
    code, have = x.code, x.indices
    if None in x.axes:
        code = elements(code, [Number(0) if i is None else ALL for i in x.axes])
    order = [i for i in axes if i in have]
    assert len(order) == len(have), f"{have} stand among {axes}"
    if order != list(have):
        code = transposed(code, [have.index(i) for i in order])
    if None in wanted:
        code = elements(code, [None if i is None else ALL for i in wanted])
    return replace(x, code=code, axes=tuple(wanted), laid=x.laid and order == list(have), into=())


def transposed(code: Code, places: Sequence[int]) -> Code:
    """The array with its axes at these places."""
    if list(places) == list(range(len(places))):
        return code
    return Attribute(code, "T") if len(places) == 2 else method(code, "transpose", *places)


def spread(x: Operand, axes: Sequence[str], scope: Scope) -> Operand:
    """The operand with all of the axes at their lengths."""
    found = aligned(x, axes)
    if found.axes == tuple(axes):
        return found
    code = call("np.broadcast_to", found.code, shape_of(axes, scope))
    return Operand(code, tuple(axes), x.dtype)


def held(w: Writer, x: Operand, hint: str) -> Operand:
    """The operand under a name, here."""
    if isinstance(x.code, Name):
        return x
    name = w.hold(x.code, hint)
    if x.axes and None not in x.axes:
        w.checks(name, shape_of(x.indices, w.scope))
    return replace(x, code=name, depth=0, into=())


# -- places --------------------------------------------------------------------------------------------


def operand(w: Writer, place: Place, at: Sequence[tuple[str, int]] = ()) -> Operand:
    """The code of a place; `at` fixes indices at a value, numbered from 0 in their extents."""
    kept = w.scope
    w.scope = {**kept, **{i: kept[i].fixed(k) for i, k in at}} if at else kept
    found = _view(w, place) if isinstance(place, View) else _part(w, place)
    w.scope = kept
    return found


def array(x: Operand) -> Code:
    """Code through which the operand is written: an element too is a view."""
    if isinstance(x.code, Item) and not x.axes:
        return Item(x.code.of, (*x.code.parts, REST))
    return x.code


def axes_here(indices: Sequence[str], scope: Scope) -> list[str]:
    """Those of the indices that have an axis."""
    return [i for i in indices if scope[i].width is not None]


def _view(w: Writer, place: View) -> Operand:
    buffer, scope = place.buffer, w.scope
    made = w.made[buffer]
    assert made.axes is None or not any(_varies(a) for a in made.axes), "a view of a block that varies"
    axes = set(axes_here(place.mentioned, scope))
    order = sliced(place.rows, axes)
    level = max([made.level, *[scope[i].level for i in place.mentioned]])
    if order is not None:
        code = _sliced(made.name, place.rows, buffer.shape, scope)
    else:
        order, _ = arrangement(place.rows, buffer.shape, axes)
        code = _strided(w, place, order)
    if order and not isinstance(code, Name) and w.repeats(level):
        code = w.hoisted(code, level, f"{buffer.name} view")
    return Operand(code, order, buffer.dtype)


def _varies(axis: Axis) -> bool:
    return axis.width is not None and not isinstance(axis.width, Number)


def _sliced(name: Name, rows: Sequence[Position], shape: Sequence[int], scope: Scope) -> Code:
    """Basic slices. A step below zero is a positive slice from its lowest position, then reversed."""
    parts: list[Code | Slice | None] = []
    turned: list[Code | Slice | None] = []
    for r, size in zip(rows, shape, strict=True):
        moving = [(i, c) for i, c in r.coefs if scope[i].width is not None]
        if not moving:
            parts.append(position(r.const, r.coefs, scope))
            continue
        (index, coef) = moving[0]
        parts.append(_slice(r, coef, _width(scope[index]), size, scope))
        turned.append(Slice(None, None, -1) if coef < 0 and scope[index].size > 1 else ALL)
    return elements(elements(name, parts), turned)


def _slice(r: Position, coef: int, width: Code, size: int, scope: Scope) -> Slice:
    if is_number(width, 0):
        return Slice(Number(0), Number(0))
    terms = [(c, code) for i, c in r.coefs for code in scope[i].at]
    const = r.const + sum(c * scope[i].lo for i, c in r.coefs)
    step, back = abs(coef), min(coef, 0)
    first = plus(const - back, [*terms, (back, width)])
    beyond = plus(const + 1 - max(coef, 0), [*terms, (max(coef, 0), width)])
    return Slice(None if is_number(first, 0) else first, None if is_number(beyond, size) else beyond, step)


def _strided(w: Writer, place: View, order: Sequence[str]) -> Code:
    """Raw strides on contiguous memory."""
    buffer, scope = place.buffer, w.scope
    name = w.made[buffer].name
    if buffer.role == "input" and buffer not in w.contiguous:
        w.contiguous.add(buffer)
        w.entry.append(f"{name.text} = np.ascontiguousarray({name.text})")
    const, coefs = 0, dict[str, int]()
    for r, stride in zip(place.rows, row_strides(buffer.shape), strict=True):
        const += r.const * stride
        for index, coef in r.coefs:
            coefs[index] = coefs.get(index, 0) + coef * stride
    is_empty = any(scope[i].size == 0 for i in order)
    offset = Number(0) if is_empty else position(const, coefs.items(), scope)
    w.use("view")
    most = prod(buffer.shape)  # for axes of one element: NumPy takes no step of more than 64 bits
    steps = row(max(-most, min(coefs[i], most)) if scope[i].size == 1 else coefs[i] for i in order)
    return call("view", name, offset, shape_of(order, scope), steps)


def _part(w: Writer, place: Part) -> Operand:
    buffer, scope = place.buffer, w.scope
    made = w.made[buffer]
    code, level = _base(w, made, buffer)
    parts: list[Code | Slice | None] = []
    moved = {i: (k, first, step) for i, k, first, step in place.moved}
    inside = level
    for number, i in enumerate(place.indices):
        k, first, step = moved.get(i, (i, 0, 1))
        axis = scope[k]
        more = axis.at if made.axes is None or i in moved else axis.within(made.axes[number])
        if axis.width is not None and not more and i not in moved:
            parts.append(ALL)
            continue
        start = plus(first + step * axis.lo if i in moved else 0, [(step, v) for v in more])
        if axis.width is None:
            parts.append(start)
        else:
            beyond = plus(1 - step, [(1, start), (step, axis.width)])
            parts.append(Slice(None if start == Number(0) else start, beyond, step))
        inside = max(inside, axis.level if more else 0)
    axes = tuple(axes_here(place.mentioned, scope))
    code = elements(code, parts)
    if axes and not isinstance(code, Name) and w.repeats(inside):
        code = w.hoisted(code, inside, f"{buffer.name} part")
    return Operand(code, axes, buffer.dtype)


def _outer(made: Made, buffer: Buffer) -> tuple[Axis, ...]:
    """Where the index of each axis stood when the array was made."""
    return tuple(Axis(0, n, Number(n), n) for n in buffer.shape) if made.axes is None else made.axes


def _base(w: Writer, made: Made, buffer: Buffer) -> tuple[Code, int]:
    """The array as it is made: of a block that is smaller, the leading elements; and the level where that is known."""
    if made.axes is None:
        return made.name, made.level
    widths = [_width(a) for a in made.axes]
    different = [k for k, n in enumerate(buffer.shape) if not is_number(widths[k], n)]
    if not different:
        return made.name, made.level
    level = max([made.level, *(a.level for a in made.axes if _varies(a))])
    if len(different) == 1 and all(n == 1 for n in buffer.shape[: different[0]]):
        code = elements(made.name, [*([ALL] * different[0]), Slice(None, widths[different[0]])])
    else:
        flat = elements(method(made.name, "reshape", -1), [Slice(None, times(widths))])
        code = method(flat, "reshape", *widths)
    return w.hoisted(code, level, f"{buffer.name} here"), level


def merges(w: Writer, place: Place, group: Sequence[str]) -> bool:
    """Whether the indices, in this order, are one axis of a single stride, so that reshaping copies nothing."""
    moving = [i for i in group if w.scope[i].size > 1]
    if isinstance(place, Part):
        assert not place.moved or len(moving) < 2, "elements apart are no axis together with others"
        outer = dict(zip(place.indices, _outer(w.made[place.buffer], place.buffer), strict=True))
        order = [i for i in place.indices if w.scope[i].size > 1]
        whole = {i for i in moving if not w.scope[i].within(outer[i])}
        return all(order.index(b) == order.index(a) + 1 and b in whole for a, b in pairwise(moving))
    axes = set(axes_here(place.mentioned, w.scope))
    steps = dict(zip(*arrangement(place.rows, place.buffer.shape, axes), strict=True))
    widths = {i: w.scope[i].width for i in moving}
    return all(Number(steps[a]) == times([Number(steps[b]), widths[b] or Number(1)]) for a, b in pairwise(moving))
