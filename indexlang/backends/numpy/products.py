"""Products of two arrays, summed over what they share: as matrices, or by einsum.

In: a Product. Out: lines. The one rule: groups of indices become one axis by reshaping only where they lie so; what is
written through a reshaped array is its own memory, never a copy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...plan.buffers import buffers_of
from ...plan.kernels import Einsum, Product, Roles
from ...plan.places import Place
from ...plan.quantities import Load
from . import code as py
from .arrays import Fill, Operand, axes_here, count_of, merges, operand, shape_of, transposed
from .code import Call, Code, Name, Text, call, method
from .expressions import converted, value
from .names import Writer
from .targets import Target

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def product(w: Writer, target: Target, kernel: Product) -> None:
    """A sum of products of two."""
    if kernel.by != "matmul":
        _einsum(w, target, kernel)
    else:
        _matmul(w, target, _Groups(*(tuple(axes_here(g, w.scope)) for g in _groups(kernel.roles))), kernel)


def _groups(roles: Roles) -> tuple[tuple[str, ...], ...]:
    return roles.batch, roles.rows, roles.columns, roles.summed


@dataclass(frozen=True)
class _Groups:
    """The roles of those indices that have an axis."""

    batch: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    summed: tuple[str, ...]


def _matmul(w: Writer, target: Target, g: _Groups, kernel: Product) -> None:
    left = _matrix(w, kernel.left, g.batch, g.rows, g.summed)
    right = _matrix(w, kernel.right, g.batch, g.summed, g.columns)
    result = (*g.batch, *g.rows, *g.columns)
    assert set(result) == set(target.axes), f"a product over {result} into {target.axes}"
    kind = kernel.left.buffer.dtype
    is_written = target.op == "=" and kind == target.dtype and bool(result)
    straight = target.new and target.axes == result
    if (
        is_written
        and (not straight or target.rests)
        and merges(w, target.place, g.rows)
        and merges(w, target.place, g.columns)
    ):
        place = target.out()
        code = _grouped(w, Operand(place.code, place.axes, place.dtype), g.batch, g.rows, g.columns)
        w.run(call("np.matmul", left, right, out=code))
        return
    assert not is_written or straight, f"rows {g.rows} or columns {g.columns} of the place are no axis of a matrix"
    made: Code = call("np.matmul", left, right)
    if not result:
        made = py.Item(made, (py.Number(0), py.Number(0)))
    elif len(g.rows) != 1 or len(g.columns) != 1:
        made = method(made, "reshape", *shape_of(result, w.scope).items)
    laid = len(g.batch) < 2  # NumPy lays a stack of several axes as its operands lie
    target.put(Operand(made, result, kind, fresh=True, laid=laid))


def _matrix(w: Writer, place: Place, batch: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> Code:
    """A place as a matrix, or a stack of matrices, with axes of length 1 for what it lacks of a batch behind others."""
    x = operand(w, place)
    code = _grouped(w, x, batch, rows, columns)
    level = max([w.made[place.buffer].level, *(w.scope[i].level for i in place.mentioned)])
    is_view = merges(w, place, rows) and merges(w, place, columns)
    if is_view and code is not x.code and not isinstance(code, Name) and w.repeats(level):
        return w.hoisted(code, level, f"{place.buffer.name} matrix")
    return code


def _grouped(w: Writer, x: Operand, batch: Sequence[str], rows: Sequence[str], columns: Sequence[str]) -> Code:
    own = [i for i in batch if i in x.axes]
    flat = [*own, *rows, *columns]
    assert sorted(flat) == sorted(x.indices), f"{x.indices} are not {flat}"
    stacked = list(batch)
    while stacked and stacked[0] not in own:
        stacked.pop(0)
    swapped = (*own, *columns, *rows) == x.axes and bool(rows) and bool(columns)
    first, second = (columns, rows) if swapped else (rows, columns)
    code = x.code if swapped else transposed(x.code, [x.axes.index(i) for i in flat])
    if len(first) != 1 or len(second) != 1 or stacked != own:
        lengths = [shape_of([i], w.scope).items[0] if i in own else py.Number(1) for i in stacked]
        code = method(code, "reshape", *lengths, count_of(first, w.scope), count_of(second, w.scope))
    if not swapped:
        return code
    return method(code, "swapaxes", -1, -2) if stacked else py.Attribute(code, "T")


def _einsum(w: Writer, target: Target, kernel: Product) -> None:
    left, right = operand(w, kernel.left), operand(w, kernel.right)
    code = _spelled([left, right], target.axes)
    made = Operand(code, target.axes, kernel.left.buffer.dtype, fresh=True)
    apart = target.place.buffer in (kernel.left.buffer, kernel.right.buffer)
    if kernel.by == "einsum" and not apart and target.axes and made.dtype == target.dtype:
        made = replace(made, into=(Fill("np.einsum", code.args),))
    target.put(made)


def einsum(w: Writer, target: Target, kernel: Einsum) -> None:
    """The product of values, summed over what the place lacks."""
    factors = []
    for factor in kernel.factors:
        own = [i for i in w.scope if i in factor.indices and w.scope[i].width is not None]
        order = operand(w, factor.place, factor.at).indices if isinstance(factor, Load) else own
        found = value(w, factor, order)
        factors.append(found if not found.weak else converted(w, found, factor.dtype))
    code, axes = _spelled(factors, target.axes), target.axes
    made = Operand(code, axes, kernel.factors[0].dtype, fresh=True)
    other = all(target.place.buffer not in buffers_of(f) for f in kernel.factors)
    target.put(replace(made, into=(Fill("np.einsum", code.args),)) if other and not kernel.apart else made)


def _spelled(factors: Sequence[Operand], axes: Sequence[str]) -> Call:
    names = dict.fromkeys(i for f in factors for i in f.indices)
    letters = dict(zip(names, _LETTERS, strict=False))
    groups = ["".join(letters[i] for i in group) for group in (*(f.indices for f in factors), axes)]
    return call("np.einsum", Text(f"{','.join(groups[:-1])}->{groups[-1]}"), *(f.code for f in factors))
