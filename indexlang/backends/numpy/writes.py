"""Where a statement writes: a view of its tensor that meets no element twice, taps, a workspace, or sorted positions.

In: the target of a statement. Out: a `Target`, into which values are put. The one rule: writes into a padding are
dropped, writes beyond an edge are folded back; both go to a workspace that is longer than the axis and is brought home
when the statement is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

from ...plan.kernels import Row, fills, index_strides, injective, plain, tabulated, taps, together
from ...program.affine import number
from ...program.ir import Access, Boundary, Const, Dots, Merged, indices_of, reads
from .reads import check_row, position, positions
from .source import Array, Operand, Scope, Writer, name_of, view, whole
from .values import Lowering, Position, Value, atom, emit

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
            return "False" if dtype == "bool" else "0"
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
        alone = len(set(indices)) == len(indices) and (bool(indices) or not self.rows)  # an element is no view
        axes = zip(self.rows, self.array.shape, strict=True)
        return alone and all(fills(row, self.low.extents, size) for row, size in axes)

    @property
    def steps(self) -> tuple[tuple[str, int], ...]:
        """The loops over the taps, each with its step: 0 for one value at a time."""
        if not self.taps:
            return ()
        extents = {i: hi - lo for i, (lo, hi) in self.low.extents.items()}
        moving = {i: s for i, s in index_strides(self.rows, self.array.strides).items() if extents[i] > 1}
        least = min(abs(moving[i]) for i in self.taps)
        longer = any(abs(s) < least for i, s in moving.items() if i not in self.taps)  # runs, as an axis lies inside
        return together(self.taps, self.rows, extents) if longer else tuple((i, 0) for i in self.taps)

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
            if self.new and self.access.tensor in self.low.final and array.dtype == self.home.dtype:
                self.writer.line(f"{self.home.name} = {array.name}")  # only a caller sees it: a view will do
            elif self.new:
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
        table, part, cells = (
            self.writer.constant(fold.table, "table"),
            self.writer.fresh("joined"),
            self.writer.fresh("cells"),
        )
        self.writer.use("join")
        self.writer.line(f"{part}, {cells} = join({REDUCE[self.op]}, {array.name}, {table}, {axis})")
        self.writer.line(f"{name} = {identity(self.op, shape, array.dtype, self.delivered)}")
        self.writer.line(f"{name}[{', '.join([':'] * axis + [cells])}] = {part}")
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
