"""argmax, argmin and logsumexp over the reduced indices, row-major, the first winner.

In: a statement that is all such a reduction. Out: its value over the free indices. The one rule: ties and nan are
settled as in a loop over the points: the first of the best wins, and the first nan beats all.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...ir import Expr, Reduce
from ...kernels import row_strides
from .source import Scope, count_code, name_of, shape_code
from .store import unit
from .value import Lowering, Value, atom, conjunction, emit

POSITION = "uint8"  # holds the positions of a window


def search(
    low: Lowering, root: Reduce, body: Expr, free: Sequence[str], summed: Sequence[str], scope: Scope, compute: str
) -> Value:
    """The reduction over an array of the whole domain."""
    writer, op, masks = low.writer, root.op, root.domain.masks
    axes = [*free, *summed]
    result = "int64" if op != "logsumexp" else compute
    count = prod(scope[i].n for i in summed)
    if count == 0:
        fill = "0" if op != "logsumexp" else "-np.inf"
        return Value(f"np.full({shape_code(free, scope)}, {fill}, np.{result})", result, tuple(free), fresh=True)
    shape = shape_code(axes, scope)
    flat = f"({', '.join([*(str(scope[i].width) for i in free), count_code(summed, scope)])},)"
    value = emit(low, body, axes, scope)
    code, dtype = value.code, value.dtype
    if value.python:
        code = f"np.asarray({code}, np.{name_of(dtype)})"
    if op == "logsumexp" and dtype != compute:
        code, dtype = f"{atom(code)}.astype(np.{compute})", compute
    name = writer.fresh("all")
    writer.line(f"{name} = np.broadcast_to({code}, {shape}).reshape{flat}")
    admitted = ""
    if masks:
        admitted = writer.fresh("admitted")
        writer.line(f"{admitted} = np.broadcast_to({conjunction(low, masks, axes, scope)}, {shape}).reshape{flat}")
    if op == "logsumexp":
        most, part = writer.fresh("most"), f"{name}.real" if dtype.startswith("complex") else name
        if admitted:
            part = f"np.where({admitted}, {part}, -np.inf)"
        writer.line(f"{most} = np.maximum.reduce({part}, -1)")
        writer.line(f"{most} = np.where(np.isfinite({most}), {most}, 0)")
        powers = f"np.exp({name} - {most}[..., None])"
        if admitted:
            powers = f"np.where({admitted}, {powers}, 0)"
        code = f"np.log(np.add.reduce({powers}, -1)) + {most}"
        return Value(code, compute, tuple(free), fresh=True)
    real = f"np.real({name})" if low.complex_step else name
    if not admitted:
        return Value(f"np.asarray(np.{op}({real}, -1))", "int64", tuple(free), fresh=True)
    least = unit("max=" if op == "argmax" else "min=", "float64" if low.complex_step else dtype)
    best, hit = writer.fresh("best"), f"np.take_along_axis({admitted}, {{}}[..., None], -1)[..., 0]"
    writer.line(f"{best} = np.asarray(np.{op}(np.where({admitted}, {real}, {least}), -1))")
    # A refused point hides the first winner only where all admitted ones are extreme themselves.
    code = f"np.where({hit.format(best)}, {best}, np.argmax({admitted}, -1))"
    return Value(code, "int64", tuple(free), fresh=True)


def window_search(
    low: Lowering, root: Reduce, body: Expr, free: Sequence[str], summed: Sequence[str], scope: Scope
) -> Value:
    """The position of the winner, one position of the window after the other, for all free indices at once."""
    writer = low.writer
    shape = shape_code(free, scope)
    best, at, value, better = (writer.fresh(name) for name in ("best", "at", "value", "better"))
    dtype = low.kind(body)
    if low.complex_step and dtype.startswith("complex"):
        dtype = "float64"
    op, keep, worse = ("max=", "np.maximum", "<=") if root.op == "argmax" else ("min=", "np.minimum", ">=")
    writer.line(f"{best} = np.full({shape}, {unit(op, dtype)}, np.{name_of(dtype)})")
    writer.line(f"{at} = np.zeros({shape}, np.{POSITION})")
    with writer.loops(scope, [(i, 0) for i in summed]) as inner:
        found = emit(low, body, free, inner)
        writer.line(f"{value} = {f'np.real({found.code})' if low.complex_step else found.code}")
        if dtype.startswith("float"):  # a nan beats all but an earlier nan
            writer.line(f"{better} = ~({value} {worse} {best}) & ({best} == {best})")
        else:
            writer.line(f"{better} = {value} {'>' if worse == '<=' else '<'} {best}")
        writer.line(f"{keep}({best}, {value}, out={best})")
        steps = row_strides([scope[i].n for i in summed])
        number = " + ".join(
            inner[i].local if step == 1 else f"{inner[i].local} * {step}" for i, step in zip(summed, steps, strict=True)
        )
        # Positions grow, so that the greatest one at which the best was beaten is the winner's.
        writer.line(f"np.maximum({at}, {better}.view(np.{POSITION}) * np.{POSITION}({number}), out={at})")
    return Value(at, POSITION, tuple(free), fresh=True)
