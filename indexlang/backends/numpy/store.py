"""Where a statement writes: a view of its tensor that meets no element twice, taps, a workspace, or sorted positions.

In: the target of a statement. Out: a `Target`, into which values are put. The one rule: writes into a padding are
dropped, writes beyond an edge are folded back; both go to a workspace that is longer than the axis and is brought home
when the statement is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from ...affine import number
from ...ir import Access, Boundary, Const, Dots, Merged, indices_of
from ...kernels import Row, fills, index_strides, injective, plain, row_strides, tabulated, taps
from ...uses import reads
from .reads import check_row, index_array, position, positions, row_code
from .source import Array, Axis, Operand, Scope, Writer, count_code, name_of, shape_code, view, whole
from .value import Lowering, Position, Value, atom, emit, mask_over

SUMS = ("=", "+=")
COMBINE = {"*=": "np.multiply", "max=": "np.maximum", "min=": "np.minimum"}
REDUCE = {"=": "np.add", "+=": "np.add", **COMBINE}


def identity(op: str, shape: Sequence[int], dtype: str, delivered: str) -> str:
    """Code of an array of the operator's identity."""
    if op in SUMS:
        return f"np.zeros({tuple(shape)}, np.{name_of(dtype)})"
    return f"np.full({tuple(shape)}, {unit(op, delivered)}, np.{name_of(dtype)})"


def unit(op: str, dtype: str) -> str:
    """Code of the operator's identity as a number: 0, 1, the least and the greatest value of the dtype."""
    least = op == "max="
    match op:
        case "=" | "+=":
            return "0"
        case "*=":
            return "1"
        case _ if dtype.startswith(("float", "complex")):
            return "-np.inf" if least else "np.inf"
        case _ if dtype == "bool":
            return str(not least)
        case _:
            return f"np.iinfo(np.{dtype}).{'min' if least else 'max'}"


def combine(writer: Writer, op: str, place: Operand, code: str, negative: bool = False) -> None:
    """Combine code into a view, in place."""
    name = place.code
    sign = "-=" if negative else "+="
    if not name.isidentifier() and (op in COMBINE or not name.endswith("]")):
        if not place.indices:
            writer.line(f"{name} = {COMBINE[op]}({name}, {code})" if op in COMBINE else f"{name} {sign} {code}")
            return
        name = writer.fresh("cells")
        writer.line(f"{name} = {place.code}")
    writer.line(f"{COMBINE[op]}({name}, {code}, out={name})" if op in COMBINE else f"{name} {sign} {code}")


def scale(writer: Writer, ufunc: str, x: Operand, code: str) -> None:
    """Multiply or divide a view, in place."""
    name = x.code
    if not name.isidentifier():
        name = writer.fresh("cells")
        writer.line(f"{name} = {x.code}")
    writer.line(f"{ufunc}({name}, {code}, out={name})")


@dataclass(frozen=True)
class Fold:
    """An axis of the workspace that is brought home: without `table`, of its first..last all but 0..size-1 is dropped;
    else `table` is code of where each of its elements belongs.
    """

    axis: int
    first: int
    last: int
    table: str | None = None
    positions: tuple[int, ...] = ()  # the same as numbers, where they are known


@dataclass
class Target:
    """The array that a statement writes, by affine rows; `taps` are the indices to loop over.

    `dynamic` axes are written through index arrays over `order`, the rest through rows.
    """

    low: Lowering
    access: Access
    op: str
    home: Array  # the tensor
    array: Array  # what is written: the tensor, or a workspace
    rows: tuple[Row, ...]
    new: bool  # nothing has defined the tensor yet
    delivered: str  # the dtype whose identity fills what nothing reaches
    folds: list[Fold] = field(default_factory=list)
    taps: tuple[str, ...] = ()
    dynamic: tuple[int, ...] = ()
    order: tuple[str, ...] = ()
    overwrites: bool = False
    allocated: bool = False

    @property
    def writer(self) -> Writer:
        return self.low.writer

    @property
    def coverable(self) -> bool:
        """Whether the statement's points are just the elements of a tensor that nothing has defined yet."""
        if not self.new or self.folds or self.taps or self.dynamic:
            return False
        indices = [i for row in self.rows for i, _ in row.coefs]
        alone = len(set(indices)) == len(indices)
        axes = zip(self.rows, self.array.shape, strict=True)
        return alone and all(fills(row, self.low.extents, size) for row, size in axes)

    def start(self, once: bool) -> None:
        """Make what is written ready; `once` if the statement writes each of its points just once."""
        self.overwrites = once and self.coverable
        if not self.overwrites and (self.new or self.folds):
            code = identity(self.op, self.array.shape, self.array.dtype, self.delivered)
            self.writer.line(f"{self.array.name} = {code}")

    def view(self, scope: Scope) -> Operand:
        """The elements written in a scope."""
        return view(self.writer, self.array, self.rows, scope)

    def allocate(self) -> None:
        """An array for what is written over, of no values yet."""
        if self.overwrites and not self.allocated:
            self.writer.line(f"{self.array.name} = np.empty({self.array.shape}, np.{name_of(self.array.dtype)})")
            self.allocated = True

    def zero(self, place: Operand) -> None:
        """From here on the place is added to."""
        if self.allocated:
            self.writer.line(f"{place.code}[...] = 0")
            self.overwrites = False
        elif self.overwrites:
            self.start(once=False)

    def put(self, place: Operand, value: Value, negative: bool = False) -> None:
        """Write a value that broadcasts to the view, or combine it into what is there."""
        code, dtype = value.code, self.array.dtype
        if not self.overwrites:
            if not value.python and value.dtype != dtype and "uint64" in (value.dtype, dtype):
                code = f"{atom(code)}.astype(np.{dtype})"
            combine(self.writer, self.op, place, code, negative)
            return
        code = f"-{atom(code)}" if negative else code
        complete = set(value.indices) == set(place.indices) and value.dtype == dtype
        if complete and (value.fresh or negative) and place.code == self.array.name and not self.allocated:
            maker = "np.ascontiguousarray" if place.indices else "np.asarray"
            self.writer.line(f"{self.array.name} = {maker}({code})")
        else:
            self.allocate()
            self.writer.line(f"{place.code}[...] = {code}")

    def finish(self) -> None:
        """Bring the workspace home: drop the padding, fold what lies beyond an edge."""
        array = self.array
        for fold in reversed(self.folds):
            array = self._fold(array, fold)
        if self.folds:
            if self.new:
                kind = name_of(self.home.dtype)
                self.writer.line(f"{self.home.name} = np.array({array.name}, np.{kind}, order='C')")
            else:
                whole_home = Operand(
                    self.home.name, tuple(str(k) for k in range(len(self.home.shape))), self.home.dtype
                )
                combine(self.writer, self.op, whole_home, array.name)

    def _fold(self, array: Array, fold: Fold) -> Array:
        axis = fold.axis
        size = self.home.shape[axis]
        shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
        name = self.writer.fresh(f"{self.home.name}_folded")
        if fold.table is None:
            inside = ", ".join([":"] * axis + [f"{-fold.first}:{-fold.first + size}"])
            self.writer.line(f"{name} = {array.name}[{inside}]")
            return Array(name, shape, array.dtype, owned=False)
        self.writer.note(name, prod(shape), array.dtype)
        run = len(fold.positions) // max(1, size)
        if run and fold.positions == tuple(k // run for k in range(size * run)):  # as many for each, next to each other
            split = (*array.shape[:axis], size, run, *array.shape[axis + 1 :])
            self.writer.line(f"{name} = {REDUCE[self.op]}.reduce({array.name}.reshape({split}), {axis + 1})")
            return Array(name, shape, array.dtype)
        order, starts, cells = grouped(self.writer, self.writer.constant(fold.table, "table"))
        self.writer.line(f"{name} = {identity(self.op, shape, array.dtype, self.delivered)}")
        at = ", ".join([":"] * axis + [cells])
        ascending = fold.positions == tuple(sorted(fold.positions)) != ()
        part = array.name if ascending else f"{array.name}.take({order}, {axis})"
        self.writer.line(f"{name}[{at}] = {REDUCE[self.op]}.reduceat({part}, {starts}, axis={axis})")
        return Array(name, shape, array.dtype)


def grouped(writer: Writer, cells: str) -> tuple[str, str, str]:
    """The names of the constants that sorting a constant table of positions gives."""
    writer.use("group")
    groups = writer.constant(f"group({cells})", "groups")
    first, second, third = (writer.constant(f"{groups}[{k}]", h) for k, h in enumerate(("order", "starts", "cells")))
    return first, second, third


def make_target(low: Lowering, access: Access, home: Array, op: str, new: bool, delivered: str) -> Target:
    """How a statement's target is written."""
    known = [position(low, access, axis) for axis in range(len(access.subscripts))]
    extents = {i: hi - lo for i, (lo, hi) in low.extents.items()}
    tables = {axis: fold for axis in range(len(known)) if (fold := _tabled(low, access, axis, known[axis])) is not None}
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
            rows.append(plain(index).shifted(-low.extents[index][0]))
            continue
        if at.row is None:
            continue
        check_row(low, access, axis)
        row, size = at.row, home.shape[axis]
        first, last = row.interval(low.extents)
        if first < 0 or last >= size:
            # Beyond the axis without a boundary: only where a mask refuses the point.
            guard = at.boundary or Boundary("pad", Const(0))
            if guard.kind == "pad":
                first, last = min(first, 0), max(last, size - 1)
            table = None if guard.kind == "pad" else positions(guard.kind, f"np.arange({first}, {last + 1})", size)
            folds.append(Fold(axis, first, last, table))
            shape[axis] = last - first + 1
            row = row.shifted(-first)
        rows.append(row)
    if not computed:
        array = home
        if folds:
            array = Array(low.writer.fresh(f"{home.name}_work"), tuple(shape), home.dtype)
            low.writer.note(array.name, prod(shape), home.dtype)
        steps = index_strides(rows, array.strides)
        loops = () if injective((s, extents[i]) for i, s in steps.items()) else taps(rows, extents)
        long = prod(shape) > 4 * max(1, prod(home.shape)) + 4 * prod(extents[i] for i in indices_of(access))
        if not tabulated(loops, rows, extents) and not (folds and long):
            return Target(low, access, op, home, array, tuple(rows), new, delivered, folds, loops)
        computed = set(range(len(known)))
    return _dynamic(low, access, home, op, new, delivered, computed)


def _tabled(low: Lowering, access: Access, axis: int, at: Position) -> Fold | None:
    """How an axis is brought home that one index alone runs through, by positions that sizes say: y[i//2]."""
    names = indices_of(at.sub)
    alone = len(names) == 1 and all(names[0] not in indices_of(s) for k, s in enumerate(access.subscripts) if k != axis)
    is_padded = at.boundary is not None and at.boundary.kind == "pad"
    if at.row is not None or not alone or reads(at.sub) or is_padded or not at.safe or low.masks:
        return None
    assert not isinstance(at.sub, Merged | Dots)
    expr = at.sub.expr if isinstance(at.sub, Boundary) else at.sub
    value = emit(low, expr, names, whole(low.extents))
    if value.dtype != "int64" or value.python:
        return None
    size, code = low.shapes[access.tensor][axis], f"({value.code})"
    lo, hi = low.extents[names[0]]
    if at.boundary is not None:
        return Fold(axis, 0, hi - lo - 1, positions(at.boundary.kind, code, size))
    try:
        found = tuple(number(expr, low.shapes, {names[0]: v}) for v in range(lo, hi))
    except ValueError:
        found = ()
    return Fold(axis, 0, hi - lo - 1, value.code, found)


def _dynamic(
    low: Lowering, access: Access, home: Array, op: str, new: bool, delivered: str, dynamic: set[int]
) -> Target:
    """Axes written through index arrays, with every axis that shares an index with them."""
    growing = True
    while growing:
        shared = {i for axis in dynamic for i in indices_of(access.subscripts[axis])}
        more = set()
        for axis in range(len(access.subscripts)):
            at = position(low, access, axis)
            if axis in dynamic or at.row is None:
                continue
            first, last = at.row.interval(low.extents)
            outside = first < 0 or last >= home.shape[axis]
            if outside or len(at.row.coefs) > 1 or shared & {i for i, _ in at.row.coefs}:
                more.add(axis)
        growing = bool(more)
        dynamic |= more
    order = [i for axis in sorted(dynamic) for i in indices_of(access.subscripts[axis])]
    rest = [i for axis, sub in enumerate(access.subscripts) if axis not in dynamic for i in indices_of(sub)]
    if len(set(rest)) < len(rest):  # a diagonal among the rest: through index arrays altogether
        dynamic, order, rest = set(range(len(access.subscripts))), [*order, *rest], []
    axes = tuple(dict.fromkeys([*order, *rest]))
    return Target(low, access, op, home, home, (), new, delivered, [], (), tuple(sorted(dynamic)), axes)


def scatter(target: Target, code: str, counts: bool, scope: Scope) -> None:
    """Combine values over `target.order` into elements that index arrays give.

    Sums of numbers are counted up by `bincount`; else the elements are sorted, and their runs reduced. `counts` says
    that every value is 1.
    """
    low, access, home, op = target.low, target.access, target.home, target.op
    writer = low.writer
    moving = {i for axis in target.dynamic for i in indices_of(access.subscripts[axis])}
    shared = [i for i in target.order if i in moving]
    rest = [i for i in target.order if i not in moving]
    sizes = tuple(home.shape[axis] for axis in target.dynamic)
    total, tail = prod(sizes), [str(scope[i].width) for i in rest]
    shape, values = shape_code(shared, scope), writer.fresh("values")
    table = _table(target, shared, sizes, scope)
    if table is not None:
        order, starts, hit = grouped(writer, table)
        writer.line(f"{values} = np.reshape({code}, {_flat_shape(count_code(shared, scope), tail)})")
        writer.line(f"{values} = {REDUCE[op]}.reduceat({values}[{order}], {starts}, axis=0)")
        _into_cells(target, hit, values, sizes, rest, scope)
        return
    ats, refused, admitted = [], [], None
    for axis in target.dynamic:
        name, outside = index_array(low, access, axis, position(low, access, axis), shared, scope)
        ats.append(name)
        refused += [outside] if outside else []
    condition = mask_over(low, shared, scope)
    refused += [f"~{atom(condition)}"] if condition else []
    if refused:
        admitted = writer.fresh("admitted")
        writer.line(f"{admitted} = ~np.broadcast_to({' | '.join(refused)}, {shape}).reshape(-1)")
    cells = writer.fresh("cells")
    writer.line(f"{cells} = np.broadcast_to({_flat(ats, sizes)}, {shape}).reshape(-1)")
    if not counts:
        writer.line(f"{values} = np.reshape({code}, {_flat_shape(count_code(shared, scope), tail)})")
    if admitted:
        writer.line(f"{cells} = {cells}[{admitted}]")
        if not counts:
            writer.line(f"{values} = {values}[{admitted}]")
    straight = not rest and target.dynamic == tuple(range(len(home.shape)))
    real = home.dtype.startswith("float") and not low.complex_step
    if straight and op in SUMS and (counts or real) and total <= 4 * prod(scope[i].n for i in shared) + 1024:
        weights = "" if counts else f", {values}"
        sums = f"np.bincount({cells}{weights}, minlength={total}).reshape({home.shape})"
        combine(writer, op, Operand(home.name, tuple(str(k) for k in range(len(home.shape))), home.dtype), sums)
        return
    if counts:
        writer.line(f"{values} = np.ones({_flat_shape(f'{cells}.size', tail)}, np.{home.dtype})")
    writer.use("group")
    with writer.block(f"if {cells}.size:"):
        order, starts, hit = writer.fresh("order"), writer.fresh("starts"), writer.fresh("hit")
        writer.line(f"{order}, {starts}, {hit} = group({cells})")
        writer.line(f"{values} = {REDUCE[op]}.reduceat({values}[{order}], {starts}, axis=0)")
        _into_cells(target, hit, values, sizes, rest, scope)


def _table(target: Target, shared: Sequence[str], sizes: Sequence[int], scope: Scope) -> str | None:
    """The name of a constant with the flat positions of all points, where sizes alone say them."""
    low = target.low
    codes: list[str] = []
    if low.masks or not all(scope[i].whole for i in shared):
        return None
    for axis in target.dynamic:
        at = position(low, target.access, axis)
        if at.row is None or not at.safe or (at.boundary is not None and at.boundary.kind == "pad"):
            return None
        code = row_code(low, at.row, shared, scope)
        codes.append(code if at.boundary is None else positions(at.boundary.kind, f"({code})", sizes[len(codes)]))
    flat = f"np.broadcast_to({_flat([f'({c})' for c in codes], sizes)}, {shape_code(shared, scope)}).reshape(-1)"
    return low.writer.constant(flat, "positions")


def _flat(ats: Sequence[str], sizes: Sequence[int]) -> str:
    """Code of the row-major number of a position."""
    steps = row_strides(sizes)
    return " + ".join(f"{at} * {step}" if step != 1 else at for at, step in zip(ats, steps, strict=True))


def _flat_shape(count: str, tail: Sequence[str]) -> str:
    return f"({', '.join([count, *tail])},)"


def _into_cells(target: Target, hit: str, values: str, sizes: Sequence[int], rest: Sequence[str], scope: Scope) -> None:
    """Combine values into elements, each of which occurs once in `hit`."""
    low, access, home, op = target.low, target.access, target.home, target.op
    writer = low.writer
    pseudo = {
        f"?{axis}": Axis(0, home.shape[axis], None, str(home.shape[axis]), home.shape[axis]) for axis in target.dynamic
    }
    rows = []
    for axis in range(len(home.shape)):
        row = plain(f"?{axis}") if axis in target.dynamic else position(low, access, axis).row
        assert row is not None
        rows.append(row)
    place = view(writer, home, rows, {**scope, **pseudo})
    wanted = [*(f"?{axis}" for axis in target.dynamic), *rest]
    turn = tuple(place.indices.index(i) for i in wanted)
    code = place.code if turn == tuple(range(len(turn))) else f"{place.code}.transpose({turn})"
    name = code
    if not code.isidentifier():
        name = writer.fresh(f"{home.name}_cells")
        writer.line(f"{name} = {code}")
    at = hit
    if len(sizes) > 1:
        at = writer.fresh("at")
        writer.line(f"{at} = np.unravel_index({hit}, {tuple(sizes)})")
    combined = f"{COMBINE[op]}({name}[{at}], {values})" if op in COMBINE else f"{name}[{at}] + {values}"
    writer.line(f"{name}[{at}] = {combined}")
