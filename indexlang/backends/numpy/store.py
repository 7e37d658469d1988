"""Where a statement writes: a view of its tensor that meets no cell twice, taps, a workspace, or sorted positions.

Writes into a padding are dropped, writes beyond an edge are folded back; both go to a workspace that is
longer than the axis and is brought home when the statement is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ...ir import Access, Boundary, indices_of
from ...kernels import Row, injective, index_strides, plain, row_strides, taps
from .source import Array, Axis, Operand, Scope, Writer, name_of, view
from .value import Lowering, Value, index_array, mask_over, position, positions

SUMS = ("=", "+=")
COMBINE = {"*=": "np.multiply", "max=": "np.maximum", "min=": "np.minimum"}
REDUCE = {"=": "np.add", "+=": "np.add", **COMBINE}


def identity(op: str, shape: Sequence[int], dtype: str) -> str:
    """Code of an array of the operator's identity."""
    if op in SUMS:
        return f"np.zeros({tuple(shape)}, np.{name_of(dtype)})"
    return f"np.full({tuple(shape)}, {unit(op, dtype)}, np.{name_of(dtype)})"


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


def combine(writer: Writer, op: str, place: Operand, code: str) -> None:
    """Combine code into a view, in place."""
    name = place.code
    if not name.isidentifier() and (op in COMBINE or not name.endswith("]") or name.startswith("view(")):
        if not place.indices:
            writer.line(f"{name} = {COMBINE[op]}({name}, {code})" if op in COMBINE else f"{name} += {code}")
            return
        name = writer.fresh("cells")
        writer.line(f"{name} = {place.code}")
    writer.line(f"{COMBINE[op]}({name}, {code}, out={name})" if op in COMBINE else f"{name} += {code}")


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
    folds: list[tuple[int, Boundary, int, int]] = field(default_factory=list)  # axis, rule, first, last
    taps: tuple[str, ...] = ()
    dynamic: tuple[int, ...] = ()
    order: tuple[str, ...] = ()
    writes_over: bool = False
    allocated: bool = False

    @property
    def writer(self) -> Writer:
        return self.low.writer

    def start(self, covered: bool) -> None:
        """Make what is written ready; nothing, where the statement itself fills all of it exactly once."""
        if self.folds:
            self.writer.line(f"{self.array.name} = {identity(self.op, self.array.shape, self.array.dtype)}")
        elif self.new:
            self.writes_over = covered and self._covers()
            if not self.writes_over:
                self.writer.line(f"{self.array.name} = {identity(self.op, self.array.shape, self.array.dtype)}")

    def _covers(self) -> bool:
        seen = set()
        for row, size in zip(self.rows, self.array.shape, strict=True):
            if len(row.coefs) != 1 or row.coefs[0][1] != 1 or row.coefs[0][0] in seen:
                return False
            lo, hi = self.low.extents[row.coefs[0][0]]
            if row.const + lo != 0 or hi - lo != size:
                return False
            seen.add(row.coefs[0][0])
        return True

    def view(self, scope: Scope) -> Operand:
        return view(self.writer, self.array, self.rows, scope)

    def destination(self, place: Operand) -> Operand | None:
        """The view, allocated, if a product may be written straight into it."""
        if not self.writes_over or place.strides != row_strides(self.array.shape):
            return None
        self._allocate()
        return place

    def _allocate(self) -> None:
        if not self.allocated:
            self.writer.line(f"{self.array.name} = np.empty({self.array.shape}, np.{name_of(self.array.dtype)})")
            self.allocated = True

    def put(self, place: Operand, value: Value) -> None:
        """Write a value that broadcasts to the view, or combine it into what is there."""
        if not self.writes_over:
            combine(self.writer, self.op, place, value.code)
            return
        complete = set(value.indices) == set(place.indices) and value.dtype == self.array.dtype
        if complete and not value.bare and not value.python and place.code == self.array.name and not self.allocated:
            maker = "np.ascontiguousarray" if place.indices else "np.asarray"
            self.writer.line(f"{self.array.name} = {maker}({value.code})")
        else:
            self._allocate()
            self.writer.line(f"{place.code}[...] = {value.code}")

    def finish(self) -> None:
        """Bring the workspace home: drop the padding, fold what lies beyond an edge."""
        array = self.array
        for axis, boundary, first, last in reversed(self.folds):
            array = self._fold(array, axis, boundary, first, last)
        if self.folds:
            if self.new:
                self.writer.line(f"{self.home.name} = np.array({array.name}, np.{name_of(self.home.dtype)}, order='C')")
            else:
                whole_home = Operand(self.home.name, tuple("i" * len(self.home.shape)), self.home.dtype)
                combine(self.writer, self.op, whole_home, array.name)

    def _fold(self, array: Array, axis: int, boundary: Boundary, first: int, last: int) -> Array:
        size, length = self.home.shape[axis], last - first + 1
        shape = (*array.shape[:axis], size, *array.shape[axis + 1 :])
        name = self.writer.fresh(f"{self.home.name}_folded")
        if boundary.kind == "pad":  # positions first..last, of which 0..size-1 are the axis
            inside = ", ".join([":"] * axis + [f"{-first}:{-first + size}"])
            self.writer.line(f"{name} = {array.name}[{inside}]")
            return Array(name, shape, array.dtype, owned=False)
        table = self.writer.constant(positions(boundary.kind, f"np.arange({first}, {last + 1})", size), "table")
        self.writer.use("group")
        order, starts, cells = (self.writer.constant(f"group({table})[{k}]", h) for k, h in enumerate(("order", "starts", "cells")))
        self.writer.line(f"{name} = {identity(self.op, shape, array.dtype)}")
        at = ", ".join([":"] * axis + [cells])
        part = f"{array.name}.take({order}, {axis})" if length else array.name
        self.writer.line(f"{name}[{at}] = {REDUCE[self.op]}.reduceat({part}, {starts}, axis={axis})")
        return Array(name, shape, array.dtype)


def make_target(low: Lowering, access: Access, home: Array, op: str, new: bool) -> Target:
    """How a statement's target is written."""
    rows: list[Row | None] = []
    folds: list[tuple[int, Boundary, int, int]] = []
    shape = list(home.shape)
    for axis, sub in enumerate(access.subscripts):
        row, boundary = position(low, sub)
        if row is not None:
            first, last = row.interval(low.extents)
            if first < 0 or last >= home.shape[axis]:
                # Beyond the axis without a boundary: only where a mask refuses the point.
                guard = boundary or Boundary("pad", access.subscripts[axis])  # type: ignore[arg-type]
                if guard.kind == "pad":
                    first, last = min(first, 0), max(last, home.shape[axis] - 1)
                folds.append((axis, guard, first, last))
                shape[axis] = last - first + 1
                row = row.shifted(-first)
        rows.append(row)
    extents = {i: hi - lo for i, (lo, hi) in low.extents.items()}
    if any(row is None for row in rows):
        return _dynamic(low, access, home, op, new, [r is None for r in rows], extents)
    known = tuple(r for r in rows if r is not None)
    array = home
    if folds:
        array = Array(low.writer.fresh(f"{home.name}_work"), tuple(shape), home.dtype)
    steps = index_strides(known, array.strides)
    loops = () if injective((s, extents[i]) for i, s in steps.items()) else taps(known, extents)
    return Target(low, access, op, home, array, known, new, folds, loops)


def _dynamic(
    low: Lowering, access: Access, home: Array, op: str, new: bool, computed: list[bool], extents: dict[str, int]
) -> Target:
    """Axes written through index arrays, with every axis that shares an index with them."""
    dynamic = {axis for axis, is_computed in enumerate(computed) if is_computed}
    shared: set[str] = set()
    growing = True
    while growing:
        shared = {i for axis in dynamic for i in indices_of(access.subscripts[axis])}
        more = set()
        for axis, sub in enumerate(access.subscripts):
            row, boundary = position(low, sub)
            if axis in dynamic or row is None:
                continue
            first, last = row.interval(low.extents)
            outside = first < 0 or last >= home.shape[axis]
            if outside or len(row.coefs) > 1 or shared & {i for i, _ in row.coefs}:
                more.add(axis)
        growing = bool(more)
        dynamic |= more
    order = [i for axis in sorted(dynamic) for i in indices_of(access.subscripts[axis])]
    rest = [i for axis, sub in enumerate(access.subscripts) if axis not in dynamic for i in indices_of(sub)]
    if len(set(rest)) < len(rest):  # a diagonal among the rest: through index arrays altogether
        dynamic, order, rest = set(range(len(computed))), [*order, *rest], []
    axes = tuple(dict.fromkeys([*order, *rest]))
    return Target(low, access, op, home, home, (), new, [], (), tuple(sorted(dynamic)), axes)


def scatter(low: Lowering, target: Target, code: str, op: str, scope: Scope) -> None:
    """Combine values over `target.order` into cells that index arrays give: sort the cells, reduce their runs."""
    writer, access, home = low.writer, target.access, target.home
    moving = {i for axis in target.dynamic for i in indices_of(access.subscripts[axis])}
    shared = [i for i in target.order if i in moving]
    rest = [i for i in target.order if i not in moving]
    values = writer.fresh("values")
    count = 1
    for i in shared:
        count *= scope[i].n
    tail = [scope[i].n for i in rest]
    writer.line(f"{values} = np.reshape({code}, {(count, *tail)})")
    shape = tuple(scope[i].n for i in shared)
    ats, outsides = [], []
    for axis in target.dynamic:
        at, outside = index_array(low, access, axis, shared, scope)
        ats.append(f"np.broadcast_to({at}, {shape})")
        if outside:
            outsides.append(outside)
    admitted = None
    condition = mask_over(low, shared, scope)
    refused = [f"~np.broadcast_to({condition}, {shape})"] if condition else []
    refused += [f"np.broadcast_to({o}, {shape})" for o in outsides]
    if refused:
        admitted = writer.fresh("admitted")
        writer.line(f"{admitted} = ~({' | '.join(refused)}).reshape(-1)")
    sizes = tuple(home.shape[axis] for axis in target.dynamic)
    cells = writer.fresh("cells")
    writer.line(f"{cells} = np.ravel_multi_index(({', '.join(ats)},), {sizes}).reshape(-1)")
    if admitted:
        writer.line(f"{cells}, {values} = {cells}[{admitted}], {values}[{admitted}]")
    writer.use("group")
    with writer.block(f"if {cells}.size:"):
        order, starts, hit = writer.fresh("order"), writer.fresh("starts"), writer.fresh("hit")
        writer.line(f"{order}, {starts}, {hit} = group({cells})")
        writer.line(f"{values} = {REDUCE[op]}.reduceat({values}[{order}], {starts}, axis=0)")
        name = writer.fresh(f"{home.name}_cells")
        pseudo = {f"?{axis}": Axis(0, home.shape[axis], None, str(home.shape[axis])) for axis in target.dynamic}
        rows = [plain(f"?{axis}") if axis in target.dynamic else _row(low, access, axis) for axis in range(len(home.shape))]
        place = view(writer, home, rows, {**scope, **pseudo})
        wanted = [*(f"?{axis}" for axis in target.dynamic), *rest]
        turn = tuple(place.indices.index(i) for i in wanted)
        base = place.code if turn == tuple(range(len(turn))) else f"{place.code}.transpose({turn})"
        writer.line(f"{name} = {base}")
        at = writer.fresh("at")
        writer.line(f"{at} = np.unravel_index({hit}, {sizes})")
        combined = f"{COMBINE[op]}({name}[{at}], {values})" if op in COMBINE else f"{name}[{at}] + {values}"
        writer.line(f"{name}[{at}] = {combined}")


def _row(low: Lowering, access: Access, axis: int) -> Row:
    row, _ = position(low, access.subscripts[axis])
    assert row is not None
    return row
