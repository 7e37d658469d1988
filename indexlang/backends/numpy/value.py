"""Expressions and accesses as NumPy code: every value broadcasts over the axes of its statement.

An access whose positions are affine is a strided view. What is not affine, or leaves its axis, is
first brought into an array of its own in which it is: a padded copy, an axis taken by a table of
positions, or the elements gathered by index arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ... import types as kinds
from ...functions import FUNCTIONS
from ...ir import Access, Boundary, Call, Const, Expr, Index, Merged, Size, Subscript, indices_of, walk
from ...kernels import Row, linear, plain
from .source import Array, Axis, Operand, Scope, Writer, aligned, start, view, whole


@dataclass(frozen=True)
class Value:
    """Code that broadcasts over the axes it was made for; `python` marks a Python number, which is weak."""

    code: str
    dtype: str
    indices: tuple[str, ...]
    python: bool = False
    bare: bool = False  # an operand itself, not a result of its own


@dataclass
class Lowering:
    """What is known while the code of a program is written."""

    writer: Writer
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    complex_step: bool = False
    arrays: dict[str, Array] = field(default_factory=dict)  # tensors defined so far
    prepared: dict[object, tuple[Array, tuple[Row, ...]]] = field(default_factory=dict)
    places: list[tuple[Access, int]] = field(default_factory=list)  # what `check` numbers refer to
    # of the statement being lowered:
    extents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    masks: tuple[Expr, ...] = ()
    float_type: str = "float64"

    def kind(self, expr: Expr) -> str:
        """The dtype of an expression; int64 and float64 for weak ones."""
        return kinds.expr_type(expr, self.dtypes)


def prepare(low: Lowering, access: Access) -> tuple[Array, tuple[Row, ...]]:
    """The array and the affine rows by which an access is read, its code written where the writer stands."""
    used = {i: low.extents[i] for i in indices_of(access)}
    masks = low.masks if any(not isinstance(s, Index) for s in access.subscripts) else ()
    key = (access, tuple(sorted(used.items())), masks)
    if key not in low.prepared:
        low.prepared[key] = _affine_read(low, access)
    return low.prepared[key]


def position(low: Lowering, sub: Subscript) -> tuple[Row | None, Boundary | None]:
    """The affine row of a subscript (None if it has none) in the axis's own positions, and its boundary."""
    if isinstance(sub, Merged):
        return merged(sub, low.extents), None
    if not isinstance(sub, Boundary):
        assert not isinstance(sub, str)
        return linear(sub, low.shapes), None  # type: ignore[arg-type]
    row = linear(sub.expr, low.shapes)
    if row is not None and sub.lo is not None:
        shift = linear(sub.lo, low.shapes)
        assert shift is not None, "the width of a padding is a number"
        row = row.shifted(-shift.const)
    return row, sub


def merged(sub: Merged, extents: Mapping[str, tuple[int, int]]) -> Row:
    """Row-major: each index's radix is its extent, its digit its place in its range."""
    const, coefs, step = 0, [], 1
    for index in reversed(sub.indices):
        lo, hi = extents[index]
        coefs.append((index, step))
        const -= step * lo
        step *= hi - lo
    return Row(const, tuple(reversed(coefs)))


def _affine_read(low: Lowering, access: Access) -> tuple[Array, tuple[Row, ...]]:
    array = low.arrays[access.tensor]
    rows: list[Row | None] = []
    guards: dict[int, Boundary] = {}
    for axis, sub in enumerate(access.subscripts):
        row, boundary = position(low, sub)
        rows.append(row)
        if row is not None:
            first, last = row.interval(low.extents)
            if 0 <= first and last < array.shape[axis]:
                continue
            # Out of its axis without a boundary: only where a mask refuses the point.
            guards[axis] = boundary or Boundary("pad", Const(0))
    if all(r is not None for r in rows):
        return _extended(low, array, [r for r in rows if r is not None], guards)
    return _gathered(low, array, access, rows, guards)


def _extended(
    low: Lowering, array: Array, rows: list[Row], guards: Mapping[int, Boundary]
) -> tuple[Array, tuple[Row, ...]]:
    """The array made longer by its paddings and edges, so that affine rows stay inside.

    Padded from the last axis to the first, so that the first axis out of range says the value.
    """
    for axis in sorted(guards, reverse=True):
        guard, (first, last) = guards[axis], rows[axis].interval(low.extents)
        if guard.kind == "pad":
            array, shift = _padded(low, array, axis, first, last, guard.value)
        else:
            table = positions(guard.kind, f"np.arange({first}, {last + 1})", array.shape[axis])
            shape = (*array.shape[:axis], last + 1 - first, *array.shape[axis + 1 :])
            code = f"{array.name}.take({low.writer.constant(table, 'table')}, {axis})"
            array, shift = _stored(low, code, shape, array.dtype, f"{array.name}_edge"), -first
        rows[axis] = rows[axis].shifted(shift)
    return array, tuple(rows)


def _padded(low: Lowering, array: Array, axis: int, first: int, last: int, value: Expr) -> tuple[Array, int]:
    size = array.shape[axis]
    left, right = max(0, -first), max(0, last - size + 1)
    shape = (*array.shape[:axis], left + size + right, *array.shape[axis + 1 :])
    fill = emit(low, value, (), {}).code
    name = low.writer.fresh(f"{array.name}_pad")
    maker = f"np.zeros({shape}, np.{array.dtype})" if fill == "0" else f"np.full({shape}, {fill}, np.{array.dtype})"
    low.writer.line(f"{name} = {maker}")
    inside = ", ".join([":"] * axis + [f"{left}:{left + size}"])
    low.writer.line(f"{name}[{inside}] = {array.name}")
    return Array(name, shape, array.dtype), left


def _stored(low: Lowering, code: str, shape: tuple[int, ...], dtype: str, hint: str) -> Array:
    name = low.writer.fresh(hint)
    low.writer.line(f"{name} = {code}")
    return Array(name, shape, dtype, owned=False)


def positions(kind: str, code: str, size: int) -> str:
    """Code that maps integer positions into 0..size-1 by the rule of an edge."""
    match kind:
        case "wrap":
            return f"{code} % {size}"
        case "reflect" if size > 1:
            period = 2 * (size - 1)
            return f"{size - 1} - np.abs({size - 1} - {code} % {period})"
        case _:  # clamp; and the inside of a padding, whose outside is replaced afterwards
            return f"np.clip({code}, 0, {max(size - 1, 0)})"


def index_array(low: Lowering, access: Access, axis: int, axes: Sequence[str], scope: Scope) -> tuple[str, str | None]:
    """Code of the positions of one axis as integers over `axes`, checked; and where a padding says it is outside."""
    sub, size = access.subscripts[axis], low.shapes[access.tensor][axis]
    row, boundary = position(low, sub)
    if row is not None and not (boundary is None and low.masks):
        expr: Expr | None = None
        code = _row_code(low, row, axes, scope)
    else:
        expr = sub.expr if isinstance(sub, Boundary) else sub  # type: ignore[assignment]
        assert expr is not None
        code = emit(low, expr, axes, scope).code
        if boundary is not None and boundary.lo is not None:
            code = f"{code} - {emit(low, boundary.lo, (), {}).code}"
    name = low.writer.fresh(f"at_{low.arrays[access.tensor].name}")
    static = expr is None or not any(isinstance(p, Access) for p in walk(expr))
    low.writer.line(f"{name} = {code}")
    if boundary is None:
        if not static:
            place = len(low.places)
            low.places.append((access, axis))
            admitted = mask_over(low, axes, scope)
            low.writer.use("check")
            low.writer.line(f"check({name}, {size}, {place}{f', {admitted}' if admitted else ''})")
        if low.masks:
            low.writer.line(f"{name} = {positions('clamp', name, size)}")
        return name, None
    outside = None
    if boundary.kind == "pad":
        outside = low.writer.fresh("outside")
        low.writer.line(f"{outside} = ({name} < 0) | ({name} >= {size})")
    low.writer.line(f"{name} = {positions(boundary.kind, name, size)}")
    return name, outside


def mask_over(low: Lowering, axes: Sequence[str], scope: Scope) -> str | None:
    """Code of the points of `axes` that the masks admit for some value of the other indices; None for all."""
    if not low.masks:
        return None
    inner = list(dict.fromkeys(i for m in low.masks for i in indices_of(m) if i not in axes))
    order = [*inner, *axes]
    everything = {**whole(low.extents), **scope}
    code = " & ".join(truth(low, m, order, everything) for m in low.masks)
    if inner:
        shape = ", ".join(str(everything[i].width) for i in order)
        code = f"np.broadcast_to({code}, ({shape},)).any({tuple(range(len(inner)))})"
    return code


def truth(low: Lowering, mask: Expr, axes: Sequence[str], scope: Scope) -> str:
    """A condition as a boolean array."""
    value = emit(low, mask, axes, scope)
    return f"({value.code})" if value.dtype == "bool" and not value.python else f"(np.asarray({value.code}) != 0)"


def _row_code(low: Lowering, row: Row, axes: Sequence[str], scope: Scope) -> str:
    terms = [f"{c} * {index_value(low, i, axes, scope)}" for i, c in row.coefs]
    return " + ".join([*terms, str(row.const)]) if terms else f"np.asarray({row.const})"


def index_value(low: Lowering, index: str, axes: Sequence[str], scope: Scope) -> str:
    """An index as a number over the axes: a range, or a loop's variable."""
    axis = scope[index]
    if axis.width is None:
        return f"({start(plain(index), scope)})"
    first = start(plain(index), scope)
    code = f"np.arange({first}, {first} + {axis.width})" if axis.var else f"np.arange({axis.lo}, {axis.lo + axis.n})"
    behind = len(axes) - 1 - list(axes).index(index)
    code += f".reshape(-1{', 1' * behind})" if behind else ""
    return low.writer.constant(code, index) if axis.whole else code


def _gathered(
    low: Lowering, array: Array, access: Access, rows: list[Row | None], guards: Mapping[int, Boundary]
) -> tuple[Array, tuple[Row, ...]]:
    """The elements at computed positions: axes of the index arrays first, the affine axes behind them."""
    dynamic = [axis for axis, row in enumerate(rows) if row is None]
    axes: dict[str, None] = {}
    for axis in dynamic:
        axes.update(dict.fromkeys(indices_of(access.subscripts[axis])))
    for axis, row in enumerate(rows):  # what the index arrays' indices alone determine comes along
        if row is not None and row.coefs and all(i in axes for i, _ in row.coefs):
            dynamic.append(axis)
    dynamic.sort()
    scope = whole(low.extents)
    order = list(axes)
    parts = {axis: index_array(low, access, axis, order, scope) for axis in dynamic}
    rest = [axis for axis in range(len(rows)) if axis not in dynamic]
    widths = tuple(low.extents[i][1] - low.extents[i][0] for i in order)
    # An axis without elements has nothing to take; shapes or `check` have refused any use of it.
    rest_array, rest_rows = array, list(rows)
    outer = {axis: guards[axis] for axis in rest if axis in guards}
    if outer:
        known = [row if row is not None else Row(0, ()) for row in rows]
        rest_array, extended = _extended(low, array, known, outer)
        rest_rows = [extended[axis] if axis in rest else rows[axis] for axis in range(len(rows))]
    name = rest_array.name
    moved = [*dynamic, *rest]
    source = name if moved == list(range(len(rows))) else f"{name}.transpose({tuple(moved)})"
    empty = any(rest_array.shape[axis] == 0 for axis in dynamic)
    shape = (*widths, *(rest_array.shape[axis] for axis in rest))
    if empty:
        code = f"np.zeros({shape}, np.{array.dtype})"
    else:
        ats = ", ".join(parts[axis][0] for axis in dynamic)
        code = f"{source}[{ats}{',' if len(dynamic) == 1 else ''}]"
        if not order:
            code = f"np.asarray({code})"
    result = _stored(low, code, shape, array.dtype, f"{array.name}_at")
    for axis in reversed(dynamic):  # the first axis that is out of range says the value
        outside, boundary = parts[axis][1], access.subscripts[axis]
        if outside is not None:
            assert isinstance(boundary, Boundary)
            fill = emit(low, boundary.value, (), {}).code
            behind = "[..." + ", None" * len(rest) + "]" if rest else ""
            fill = fill if fill.lstrip("-").isdigit() else f"np.{array.dtype}({fill})"
            low.writer.line(f"{result.name} = np.where({outside}{behind}, {fill}, {result.name})")
    all_rows = [plain(i).shifted(-low.extents[i][0]) for i in order]
    all_rows += [row for axis in rest if (row := rest_rows[axis]) is not None]
    return result, tuple(all_rows)


def operand(low: Lowering, access: Access, scope: Scope) -> Operand:
    """An access as a view in a scope."""
    array, rows = prepare(low, access)
    return view(low.writer, array, rows, scope)


def emit(low: Lowering, expr: Expr, axes: Sequence[str], scope: Scope) -> Value:
    """The code of an expression over `axes`."""
    match expr:
        case Const(value=value):
            return Value(_number(value), low.kind(expr), (), python=True)
        case Size(tensor=tensor, axis=axis):
            return Value(str(low.shapes[tensor][axis]), "int64", (), python=True)
        case Index(name=name):
            tap = scope[name].width is None
            return Value(index_value(low, name, axes, scope), "int64", () if tap else (name,), python=tap)
        case Access():
            read = operand(low, expr, scope)
            code, kind = aligned(read, axes), low.dtypes[expr.tensor]
            if read.dtype != kind:  # float16 is computed in float32
                return Value(f"{code}.astype(np.{kind})", kind, read.indices)
            return Value(code, kind, read.indices, bare=True)
        case Call(fn=fn, args=args):
            return _call(low, expr, fn, [emit(low, a, axes, scope) for a in args], axes)
        case _:
            raise AssertionError("embedded reductions are hoisted before lowering")


def _number(value: int | float | bool) -> str:
    if value != value:
        return "np.nan"
    if value in (float("inf"), float("-inf")):
        return "np.inf" if value > 0 else "-np.inf"
    return f"({value!r})" if value < 0 else repr(value)


_NEUTRAL = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
_PYTHON = frozenset({"add", "sub", "mul", "div", "neg", "floordiv", "mod", "lt", "le", "gt", "ge", "eq", "ne"})


def _call(low: Lowering, expr: Call, fn: str, args: list[Value], axes: Sequence[str]) -> Value:
    row, kind = FUNCTIONS[fn], low.kind(expr)
    python = fn in _PYTHON and all(a.python for a in args)
    indices = tuple(i for i in axes if any(i in a.indices for a in args))
    if fn == "int":
        code = args[0].code
        code = f"np.asarray({code}).astype(np.int64)" if args[0].dtype != "int64" or args[0].python else code
        return Value(code, "int64", indices)
    if fn == "float":
        return Value(f"np.asarray({args[0].code}).astype(np.{kind})", kind, indices)
    wanted = kind if fn not in _NEUTRAL else None
    codes = []
    for place, arg in enumerate(args):
        code = arg.code
        if fn == "where" and place == 0:
            code = code if arg.dtype == "bool" and not arg.python else f"(np.asarray({code}) != 0)"
        elif wanted is not None and not arg.python and arg.dtype != wanted:
            code = f"{code}.astype(np.{wanted})" if _postfix(code) else f"({code}).astype(np.{wanted})"
        elif fn in ("and", "or", "not") and (arg.dtype != "bool" or arg.python):
            code = f"(np.asarray({code}) != 0)"
        codes.append(code)
    template = row.complex_step if low.complex_step and row.complex_step else row.numpy
    for name in row.support:
        low.writer.use(name)
    code = template.format(*codes)
    if all(a.python for a in args) and not python:  # NumPy's own scalars are strong: give the result its type
        code = f"np.asarray({code}, np.{kind})"
    return Value(code, kind, indices, python=python)


def _postfix(code: str) -> bool:
    """Whether a method can be called on the code as it stands."""
    depth = 0
    for c in code:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c in " +-*/%<>=&|~":
            return False
    return True
