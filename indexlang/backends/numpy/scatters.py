"""Writes through index arrays: elements that data, or a table of positions, choose.

In: a target with computed axes, and the values over its indices. Out: lines. The one rule: values that meet in an
element are brought together first, by counting or by sorting the elements once; then each element is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...plan.kernels import plain, row_strides
from ...program.ir import indices_of
from .reads import index_array, position, positions, row_code
from .source import Axis, Operand, Scope, count_code, shape_code, view
from .values import atom, mask_over
from .writes import COMBINE, REDUCE, SUMS, Target, combine, grouped


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
        writer.line(f"{values} = np.reshape({code}, {_flat_shape(count_code(shared, scope), tail)})")
        if rest:
            hit = writer.fresh("hit")
            writer.use("join")
            writer.line(f"{values}, {hit} = join({REDUCE[op]}, {values}, {table})")
        else:
            order, starts, hit = grouped(writer, table)
            writer.line(f"{values} = {REDUCE[op]}.reduceat({values}[{order}], {starts})")
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
    with writer.block(f"if {cells}.size:"):
        hit = writer.fresh("hit")
        if rest:  # a row for each cell
            writer.use("join")
            writer.line(f"{values}, {hit} = join({REDUCE[op]}, {values}, {cells})")
        else:
            order, starts = writer.fresh("order"), writer.fresh("starts")
            writer.use("group")
            writer.line(f"{order}, {starts}, {hit} = group({cells})")
            writer.line(f"{values} = {REDUCE[op]}.reduceat({values}[{order}], {starts})")
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
    # The first to write finds the identity everywhere; blocks, of reduced indices too, are not all the first.
    alone = all(axis.whole for axis in scope.values())
    first = target.new and (op in SUMS or home.dtype.startswith("float")) and alone
    if first:
        writer.line(f"{name}[{at}] = {values}")
        return
    combined = f"{COMBINE[op]}({name}[{at}], {values})" if op in COMBINE else f"{name}[{at}] + {values}"
    writer.line(f"{name}[{at}] = {combined}")
