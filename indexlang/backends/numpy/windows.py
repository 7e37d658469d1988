"""Few positions one after the other: reductions over windows, and what the chosen position of each window gets.

In: a statement whose window is small and whose arrays are large. Out: lines. The one rule: a loop runs over the
positions of the window, and each pass is over whole arrays that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod

from ...plan.kernels import WINDOW, blocks, itemsize
from ...program.ir import Access, Expr, indices_of, walk
from .evaluate import Evaluation
from .source import Axis, Operand, Scope, Writer, aligned, count_code, name_of, shape_code, sizes_of, whole
from .values import Value, atom, conjunction, emit
from .writes import REDUCE, SUMS, Target, combine, scale

BITS = {4: "int32", 8: "int64"}  # the integers that hold an element's bits


def window(stmt: Evaluation, target: Target, scope: Scope) -> None:
    """Combine the positions of a window, one after the other, into the target."""
    writer, low = stmt.writer, stmt.low
    core: list[Expr] = [stmt.value]
    outside: list[Expr] = []
    divisors: list[Expr] = []
    if (
        target.overwrites
        and stmt.free
        and stmt.op in SUMS
        and not low.masks
        and len(terms := stmt.terms()) == 1
        and terms[0][0] > 0
    ):
        parts = stmt.split(terms[0][1])
        if len(parts[0]) == 1:  # what the sum can wait for is applied once
            core, outside, divisors = parts

    def value(inner: Scope) -> tuple[Operand, str]:
        place = target.view(inner)
        found = emit(low, core[0], place.indices, inner)
        code = found.code
        if found.python or found.dtype != stmt.compute:
            code = f"np.asarray({code}).astype(np.{name_of(stmt.compute)})"
        return place, stmt.masked(replace(found, code=code), low.masks, place.indices, inner).code

    if not target.overwrites:
        with writer.loops(scope, [(i, 0) for i in stmt.summed]) as inner:
            combine(writer, stmt.op, *value(inner))
        return
    target.allocate()
    moving = [i for i in stmt.summed if stmt.sizes[i] > 1]
    first = {**scope, **{i: _fixed(scope[i], "0") for i in stmt.summed}}
    second = {**first, moving[-1]: _fixed(scope[moving[-1]], "1")}
    place, code = value(first)
    both = f"{REDUCE[stmt.op]}({code}, {value(second)[1]}"
    array = place.indices or place.code.isidentifier()
    writer.line(f"{both}, out={place.code})" if array else f"{place.code} = {both})")
    for depth in reversed(range(len(moving))):  # the positions behind the first pair, row-major
        begin = 2 if depth == len(moving) - 1 else 1
        if stmt.sizes[moving[depth]] > begin:
            with _from(writer, first, moving[depth], begin, moving[depth + 1 :]) as inner:
                combine(writer, stmt.op, *value(inner))
    for symbol, part in [("multiply", f) for f in outside] + [("divide", d) for d in divisors]:
        other = emit(low, part, place.indices, scope)
        text = other.code
        if not other.python and other.dtype != stmt.compute:
            text = f"{atom(text)}.astype(np.{stmt.compute})"
        scale(writer, f"np.{symbol}", place, text)


def _fixed(axis: Axis, at: str) -> Axis:
    return Axis(axis.lo, axis.n, at, None, 1, at)


def _room(writer: Writer, axes: Sequence[str], scope: Scope, dtype: str) -> str:
    """An array over the axes, in memory that all blocks share."""
    name, count = writer.fresh("room"), prod(sizes_of(scope)[i] for i in axes)
    space = writer.workspace(count, dtype)
    writer.line(f"{name} = {space}[:{count_code(axes, scope)}].reshape({shape_code(axes, scope)})")
    return name


@contextmanager
def _from(writer: Writer, scope: Scope, index: str, begin: int, inside: Sequence[str]) -> Iterator[Scope]:
    """Loops over an index from a position on, and over all of others inside."""
    with ExitStack() as stack:
        var = writer.fresh(index)
        stack.enter_context(writer.block(f"for {var} in range({begin}, {scope[index].n}):"))
        inner = {**scope, index: _fixed(scope[index], var)}
        for i in inside:
            inner[i] = Axis(scope[i].lo, scope[i].n, None, str(scope[i].n), scope[i].n)
        yield stack.enter_context(writer.loops(inner, [(i, 0) for i in inside]))


# -- what the chosen one gets --------------------------------------------------------------------------


def chosen(stmt: Evaluation, target: Target) -> tuple[str, ...]:
    """The few indices that only masks and the target mention: `where 2*di+dj == at[i,j]`; none if it is not so.

    Their loops must settle where points of the target meet, and a mask must be able to hide bits of the value.
    """
    low = stmt.low
    if not low.masks or stmt.summed or stmt.root is not None or stmt.op not in SUMS or target.dynamic:
        return ()
    read = {i for e in (stmt.value, *low.masks) for p in walk(e) if isinstance(p, Access) for i in indices_of(p)}
    masked = {i for mask in low.masks for i in indices_of(mask)}
    found = tuple(i for i in stmt.free if i in masked and i not in read and i not in indices_of(stmt.value))
    plain = stmt.compute == target.array.dtype and stmt.compute != "bool" and itemsize(stmt.compute) in BITS
    few = len(found) < len(stmt.free) and 1 < prod(stmt.sizes[i] for i in found) <= WINDOW
    return found if plain and few and set(target.taps) <= set(found) else ()


def select(stmt: Evaluation, target: Target) -> None:
    """Give each value to the positions that the masks choose: for each position, the bits of all others are cleared.

    That is exact for whatever is not finite, and no pass branches on its elements.
    """
    writer, low = stmt.writer, stmt.low
    few = chosen(stmt, target)
    kept = [i for i in indices_of(stmt.stmt.target) if i not in few]
    points = prod(stmt.sizes[i] for i in kept)
    steps = blocks(kept, stmt.sizes, 4 * points, itemsize(stmt.compute))  # four arrays of this size
    stmt.notes += [*(f"{stmt.sizes[i]} taps over {i}" for i in few), *(f"{step} {i} at a time" for i, step in steps)]
    target.start(once=True)
    target.allocate()
    bits = BITS[itemsize(stmt.compute)]
    with writer.loops(whole(stmt.extents), steps) as scope:
        axes = list(target.view({**scope, **{i: _fixed(scope[i], "0") for i in few}}).indices)
        masks = [m for m in low.masks if set(indices_of(m)) & set(few)]
        value = emit(low, stmt.value, axes, scope)
        code = value.code
        if value.python:
            code = f"np.asarray({code}, np.{stmt.compute})"
        elif value.dtype != stmt.compute:
            code = f"{atom(code)}.astype(np.{stmt.compute})"
        value = stmt.masked(
            Value(code, stmt.compute, value.indices), [m for m in low.masks if m not in masks], axes, scope
        )
        held = writer.fresh("bits")
        writer.line(f"{held} = np.asarray({value.code}).view(np.{bits})")
        flags, wide = (_room(writer, axes, scope, dtype) for dtype in ("int8", bits))
        part = "" if target.overwrites else _room(writer, axes, scope, stmt.compute)
        with writer.loops(scope, [(i, 0) for i in few]) as inner:
            place = target.view(inner)
            writer.line(f"np.negative(({conjunction(low, masks, axes, inner)}).view(np.int8), out={flags})")
            writer.line(f"np.copyto({wide}, {flags})")
            out = aligned(place, axes) if target.overwrites else part
            writer.line(f"np.bitwise_and({held}, {wide}, out={out}.view(np.{bits}))")
            if not target.overwrites:
                combine(writer, stmt.op, replace(place, code=aligned(place, axes), indices=tuple(axes)), part)
