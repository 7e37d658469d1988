"""argmax, argmin and logsumexp over the reduced indices, row-major, the first winner.

In: a statement that is all such a reduction. Out: its value over the free indices. The one rule: ties and nan are
settled as in a loop over the points: the first of the best wins, and the first nan beats all.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import prod

from ...program.ir import Access, Expr, Reduce
from .reads import read
from .source import Scope, aligned, count_code, name_of, shape_code
from .values import Lowering, Value, atom, conjunction, emit
from .writes import unit

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
    low: Lowering,
    root: Reduce,
    body: Expr,
    free: Sequence[str],
    summed: Sequence[str],
    scope: Scope,
    known: Access | None = None,
) -> Value:
    """The position of the winner, one position of the window after the other, for all free indices at once.

    The best values first, unless `known` holds them; the winner is the first position that equals its best, and its
    number how many came before.
    """
    writer = low.writer
    shape, count = shape_code(free, scope), prod(scope[i].n for i in summed)
    best, at, other, missed, here = (writer.fresh(name) for name in ("best", "at", "other", "missed", "here"))
    dtype = low.kind(body)
    if low.complex_step and dtype.startswith("complex"):
        dtype = "float64"

    def positions() -> AbstractContextManager[Scope]:
        return writer.loops(scope, [(i, 0) for i in summed])

    def value(inner: Scope) -> str:
        found = emit(low, body, free, inner).code
        return f"np.real({found})" if low.complex_step else found

    if known is not None:
        writer.line(f"{best} = {aligned(read(low, known, scope), free)}")
    else:
        op, keep = ("max=", "np.maximum") if root.op == "argmax" else ("min=", "np.minimum")
        writer.line(f"{best} = np.full({shape}, {unit(op, dtype)}, np.{name_of(dtype)})")
        with positions() as inner:
            writer.line(f"{keep}({best}, {value(inner)}, out={best})")
    writer.line(f"{at} = np.zeros({shape}, np.{POSITION})")
    writer.line(f"{missed}, {other} = np.ones({shape}, np.bool_), np.empty({shape}, np.bool_)")
    with positions() as inner:
        writer.line(f"np.not_equal({value(inner)}, {best}, out={other})")
        writer.line(f"np.logical_and({missed}, {other}, out={missed})")
        writer.line(f"np.add({at}, {missed}.view(np.{POSITION}), out={at})")
    if dtype.startswith("float"):  # a nan equals nothing: there, the first nan wins
        with writer.block(f"if np.any({at} == {count}):"):
            writer.line(f"{at}[{at} == {count}] = 0")
            writer.line(f"np.not_equal({best}, {best}, out={missed})")
            with positions() as inner:
                writer.line(f"{here} = {value(inner)}")
                writer.line(f"np.equal({here}, {here}, out={other})")
                writer.line(f"np.logical_and({missed}, {other}, out={missed})")
                writer.line(f"np.add({at}, {missed}.view(np.{POSITION}), out={at})")
    return Value(at, POSITION, tuple(free), fresh=True)
