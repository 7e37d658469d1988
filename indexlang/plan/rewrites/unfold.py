"""Sums that taps add up, multiplied for all taps at once where a product for each of them would be a thin one.

In: a Program with its shapes and types. Out: the same with a tensor before each such statement that holds what each tap
adds. The one rule: only where a product has so few columns that BLAS waits for memory, and the tensor is small.

The gradient of an image of one channel is such a sum: 25 products of a matrix with a vector, or one with 25 rows. For
image processing this is col2im.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ...program.ir import Access, Boundary, Call, Index, Program, Statement, Subscript, indices_of
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..blocks import itemsize
from ..limits import Limits
from .share import factored, inserted


def unfold(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with the thin products of taps made at once."""
    k = 0
    while k < len(program.statements):
        target = unfolded(program.statements[k], shapes, types, k, limits)
        if target is not None:
            stmt = program.statements[k]
            program, shapes, types, made = inserted(program, shapes, types, k, "unfolded", target, stmt.value)
            k += 1
            program, shapes = _with(program, shapes, k, made)
        k += 1
    return program, shapes, types


def unfolded(stmt: Statement, shapes: Shapes, types: Types, number: int, limits: Limits) -> Access | None:
    """The target, without a name, of what the taps of a statement add; None if each tap is multiplied for itself."""
    kind, extents = types.compute[number], shapes.extents[number]
    if stmt.op not in ("=", "+=") or stmt.domain.masks or shapes.guarded[number] or not kind.startswith("float"):
        return None
    if any(lo for lo, _ in extents.values()) or not all(
        isinstance(i, str) and i in extents for i in stmt.domain.indices
    ):
        return None
    parts = factored(stmt.value)
    if parts is None or len(parts[0]) != 2 or parts[1] or parts[2]:
        return None
    sizes = {i: hi for i, (_, hi) in extents.items()}
    large, small = sorted(parts[0], key=lambda a: -prod(sizes[i] for i in indices_of(a)))
    taps = {i for s in stmt.target.subscripts if _is_mixed(s) for i in indices_of(s) if i not in indices_of(large)}
    free = indices_of(stmt.target)
    kept = [i for i in indices_of(large) if i in free]
    columns = [i for i in free if i not in kept and i not in taps]
    plain = all(isinstance(s, Index) for a in (large, small) for s in a.subscripts)
    if not plain or not taps <= set(indices_of(small)) or set(columns) - set(indices_of(small)):
        return None
    rows, count, width = (prod(sizes[i] for i in group) for group in (kept, taps, columns))
    summed = prod(sizes[i] for i in stmt.reduced)
    fits = rows * count * width * itemsize(kind) <= limits.unfolded
    if summed < 2 or width > limits.thin or count < limits.fewest or rows < limits.added or not fits:
        return None
    ahead = [i for i in indices_of(small) if i in taps or i in columns]
    return Access("", tuple(Index(i) for i in (*ahead, *kept)))


def _is_mixed(sub: Subscript) -> bool:
    """Whether a position of the target belongs to several points."""
    return isinstance(sub, Boundary | Call) and len(set(indices_of(sub))) > 1


def _with(program: Program, shapes: Shapes, number: int, made: Access) -> tuple[Program, Shapes]:
    """The program with a statement that adds what has been made."""
    stmt = program.statements[number]
    summed = set(indices_of(stmt.value)) - {*indices_of(stmt.target), *indices_of(made)}
    statements, boxes = list(program.statements), list(shapes.extents)
    statements[number] = replace(stmt, value=made, domain=stmt.domain.without(summed))
    boxes[number] = {i: boxes[number][i] for i in statements[number].domain.indices}
    return replace(program, statements=tuple(statements)), replace(shapes, extents=tuple(boxes))
