"""Elements at positions that values give: taken, written to, or multiplied as matrices.

In: a Take, a Scatter or a Grouped. Out: lines. The one rule: values that meet in an element are brought together first,
by counting or by sorting the elements once; then each element is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ...plan.kernels import Grouped, Scatter, Take
from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...plan.views import row_strides
from . import code as py
from .arrays import Operand, aligned, array, axes_here, count_of, operand, shape_of, spread, transposed
from .code import Code, Item, Name, Operator, call, dtype, method, row
from .expressions import UFUNCS, converted, truth, value
from .names import Writer
from .targets import Target


def _positions(w: Writer, v: Value, axes: Sequence[str]) -> Operand:
    """Integer positions in an axis."""
    found = value(w, v, axes)
    if not found.weak and found.dtype != "int64":
        found = converted(w, found, "int64")
    return found


# -- taking --------------------------------------------------------------------------------------------


def take(w: Writer, target: Target, kernel: Take) -> None:
    """The elements at positions: along one axis, or along several together."""
    marks = [mark for mark, _ in kernel.at]
    if any(w.scope[m].n == 0 for m in marks):  # nothing to take, and nothing that is used: it was checked
        target.put(Operand(py.Number(0), (), target.dtype, weak=True))
        return
    x = operand(w, kernel.source)
    moving = frozenset[str]().union(*(v.indices for _, v in kernel.at))
    order = [i for i in target.axes if i in moving]
    ats = [_positions(w, v, order) for _, v in kernel.at]
    if w.checked:  # a Check that is missing would be hidden by clipping, or by counting from the end
        for mark, at in zip(marks, ats, strict=True):
            end = shape_of([mark], w.scope).items[0]
            w.line(f"assert np.all(({py.text(at.code)} >= 0) & ({py.text(at.code)} < {py.text(end)})), {mark!r}")
    for i in x.indices:  # what the positions and the source have in common is gone along in both
        if i in order:
            marks.append(i)
            ats.append(aligned(Operand(call("np.arange", shape_of([i], w.scope).items[0]), (i,), "int64"), order))
    rest = [i for i in x.indices if i not in marks]
    if len(marks) > 1:
        source = transposed(x.code, [x.axes.index(i) for i in (*marks, *rest)])
        found = (
            call(w.use("taken"), source, *(a.code for a in ats)) if order else Item(source, tuple(a.code for a in ats))
        )
        target.put(Operand(found, (*order, *rest), x.dtype, fresh=bool(order)))
        return
    place = x.axes.index(marks[0])
    axes = (*x.axes[:place], *order, *x.axes[place + 1 :])
    if target.op == "=" and not target.new and axes == target.axes and axes and x.dtype == target.dtype:
        out = array(target.here)  # positions are inside: clipping them is the way to write into memory at once
        w.run(call("np.take", x.code, ats[0].code, place, out=out, mode=py.Text("clip")))
    else:
        target.put(Operand(call("np.take", x.code, ats[0].code, place), axes, x.dtype, fresh=True, laid=True))


# -- multiplying ---------------------------------------------------------------------------------------


def grouped(w: Writer, target: Target, kernel: Grouped) -> None:
    """A product for each matrix that positions choose."""
    points, rows, columns, summed = (
        axes_here(g, w.scope) for g in (kernel.points, kernel.roles.rows, kernel.roles.columns, kernel.roles.summed)
    )
    found = spread(_positions(w, kernel.at, points), points, w.scope)
    at = w.hold(method(found.code, "reshape", -1), "cells")
    if w.checked:
        end = shape_of([kernel.mark], w.scope).items[0]
        w.line(f"assert np.all(({py.text(at)} >= 0) & ({py.text(at)} < {py.text(end)})), {kernel.mark!r}")
    left, right = operand(w, kernel.left), operand(w, kernel.right)
    chosen = kernel.mark in left.axes
    others = [i for i in (columns if chosen else summed) if i not in points]

    def vectors(x: Operand, axes: Sequence[str]) -> Code:
        """For each point, and each of the others, a vector over the axes."""
        lengths = (count_of(g, w.scope) for g in (points, others, axes))
        return method(spread(x, (*points, *others, *axes), w.scope).code, "reshape", *lengths)

    groups = _grouped(w, at, py.text(found.code) if _stays(w, kernel.at) else "")
    if not chosen:
        place = operand(w, target.place)
        home = transposed(array(place), [place.axes.index(i) for i in (kernel.mark, *rows, *columns)])
        w.run(call(w.use("of_groups"), home, vectors(left, rows), vectors(right, columns), *groups))
        return
    code = transposed(left.code, [left.axes.index(i) for i in (kernel.mark, *rows, *summed)])
    lengths = (shape_of([kernel.mark], w.scope).items[0], count_of(rows, w.scope), count_of(summed, w.scope))
    made = call(w.use("by_matrix"), method(code, "reshape", *lengths), vectors(right, summed), *groups)
    axes = (*points, *others, *rows)
    target.put(
        Operand(method(made, "reshape", *shape_of(axes, w.scope).items), axes, left.dtype, fresh=True, laid=True)
    )


# -- writing -------------------------------------------------------------------------------------------


def scatter(w: Writer, target: Target, kernel: Scatter) -> None:
    """Combine values into the elements at positions."""
    points, rest = axes_here(kernel.points, w.scope), axes_here(kernel.rest, w.scope)
    marks = tuple(mark for mark, _ in kernel.at)
    sizes = tuple(w.scope[m].n for m in marks)
    cells: Code = _cells(w, kernel, points, sizes)
    is_static = kernel.admitted is None and all(_static(w, v) for _, v in kernel.at)
    values: Name | None = None
    rows: Code | None = None  # which value is each point's own, where several have the same
    if kernel.value is not None:
        found = value(w, kernel.value, [*points, *rest])
        found = found if not found.weak and found.dtype == target.dtype else converted(w, found, target.dtype)
        own = [i for i in points if i in found.axes]
        if kernel.by == "join" and rest and len(own) < len(points):
            rows = _numbers(w, own, points)
        else:
            own = points
        shape = [count_of(own, w.scope), *shape_of(rest, w.scope).items]
        values = w.hold(method(spread(found, [*own, *rest], w.scope).code, "reshape", *shape), "values")
    if is_static:
        cells = w.constant(cells, "positions")
    else:
        cells = w.hold(cells, "cells")
    if kernel.admitted is not None:
        where = value(w, kernel.admitted, points)
        full = spread(Operand(truth(where), where.axes, "bool"), points, w.scope)
        admitted = w.hold(method(full.code, "reshape", -1), "admitted")
        cells = w.hold(call(w.use("chosen"), cells, admitted), "cells")
        if rows is not None:
            rows = w.hold(call("chosen", rows, admitted), "rows")
        elif values is not None:
            values = w.hold(call("chosen", values, admitted), "values")
    if kernel.by == "count":
        weights = () if values is None else (values,)
        counted = call("np.bincount", cells, *weights, minlength=py.Number(prod(sizes)))
        kind = "int64" if values is None else "float64"
        target.put(Operand(method(counted, "reshape", *sizes), marks, kind, fresh=True, laid=True))
        return
    if values is None:
        ones = row([py.Attribute(cells, "size"), *shape_of(rest, w.scope).items])
        values = w.hold(call("np.ones", ones, dtype(target.dtype)), "values")
    if is_static:
        _joined(w, target, kernel, cells, values, rows, rest, sizes)
        return
    with w.inside("branch", f"if {py.text(py.Attribute(cells, 'size'))}:"):
        _joined(w, target, kernel, cells, values, rows, rest, sizes)


def _numbers(w: Writer, own: Sequence[str], points: Sequence[str]) -> Code:
    """Code of the row-major number that each point has among those of some of its indices."""
    shape = shape_of(points, w.scope)
    sides = [side if i in own else py.Number(1) for i, side in zip(points, shape.items, strict=True)]
    numbers = method(call("np.arange", count_of(own, w.scope)), "reshape", *sides)
    code = method(call("np.broadcast_to", numbers, shape), "reshape", -1)
    return w.constant(code, "rows") if all(w.scope[i].whole for i in points) else w.hold(code, "rows")


def _cells(w: Writer, kernel: Scatter, points: Sequence[str], sizes: Sequence[int]) -> Code:
    """Code of the row-major number of the element of each point."""
    parts = [_positions(w, v, points) for _, v in kernel.at]
    terms = [
        p if step == 1 else replace(p, code=Operator("*", (p.code, py.Number(step))))
        for p, step in zip(parts, row_strides(sizes), strict=True)
    ]
    total: Code = terms[0].code
    for term in terms[1:]:
        total = Operator("+", (total, term.code))
    return method(call("np.broadcast_to", total, shape_of(points, w.scope)), "reshape", -1)


def _joined(
    w: Writer,
    target: Target,
    kernel: Scatter,
    cells: Code,
    values: Name,
    rows: Code | None,
    rest: Sequence[str],
    sizes: Sequence[int],
) -> None:
    """What belongs to the same element brought together, and into it."""
    combine = Name("np.add" if target.op in ("=", "+=", "-=") else UFUNCS[target.op])
    if kernel.by == "join" and not rest and len(sizes) == 1 and target.op in ("max=", "min="):  # no order matters
        w.run(method(combine, "at", array(operand(w, target.place)), cells, values))
        return
    if kernel.by == "apart":
        together, hit = values, cells
    elif rest:  # a row for each element
        together, hit = w.fresh("joined"), w.fresh("hit")
        shared = {} if rows is None else {"rows": rows}
        made = call(w.use("join"), combine, values, cells, **shared)
        w.line(f"{together.text}, {hit.text} = {py.text(made)}")
        w.passing += [together.text, hit.text] if w.own_level() == 0 else []
    else:
        order, starts, hit = _grouped(w, cells)
        together = w.hold(method(combine, "reduceat", Item(values, (order,)), starts), "joined")
    marks = [mark for mark, _ in kernel.at]
    place = operand(w, target.place)
    home: Code = transposed(array(place), [place.axes.index(i) for i in (*marks, *rest)])
    if not isinstance(home, Name):
        home = w.hold(home, "home")
    at: Code = hit if len(sizes) == 1 else w.hold(call("np.unravel_index", hit, row(sizes)), "at")
    found: Code = together
    if not kernel.alone and target.op != "=":
        found = call(UFUNCS[target.op], Item(home, (at,)), together)
    elif target.op == "-=":
        found = Operator("-", (together,))
    w.set(Item(home, (at,)), found)


def _stays(w: Writer, v: Value) -> bool:
    """Whether positions are all of an input, and asked for where what is made of them can be asked for again."""
    return (
        w.at_top and isinstance(v, Load) and v.place.buffer.role == "input" and all(w.scope[i].whole for i in v.indices)
    )


def _grouped(w: Writer, cells: Code, known: str = "") -> tuple[Name, Name, Name]:
    """The elements sorted: the order of the points, where each element's run starts, the elements; once if possible.

    Those of an input that is `known` by its code are kept for all that ask for them later.
    """
    if known in w.groups:
        return w.groups[known]
    code = call(w.use("group"), cells)
    if isinstance(cells, Name) and cells in w.constants.values():
        groups = w.constant(code, "groups")
        hints = ("order", "starts", "cells")
        order, starts, hit = (w.constant(Item(groups, (py.Number(k),)), hint) for k, hint in enumerate(hints))
        return order, starts, hit
    order, starts, hit = (w.fresh(hint) for hint in ("order", "starts", "hit"))
    w.line(f"{order.text}, {starts.text}, {hit.text} = {py.text(code)}")
    if known:
        w.groups[known] = order, starts, hit
    elif w.own_level() == 0:
        w.passing += [order.text, starts.text, hit.text]
    return order, starts, hit


def _static(w: Writer, v: Value) -> bool:
    """Whether a value is known when the code is loaded."""
    match v:
        case Number() | Count():
            return True
        case Reach():
            return False
        case Position(index=index):
            return w.scope[index].whole
        case Load(place=place):
            return place.buffer.role == "table" and all(w.scope[i].whole for i in place.mentioned)
        case Apply(args=args):
            return all(_static(w, a) for a in args)
        case Reduced(value=inner):
            return _static(w, inner)
