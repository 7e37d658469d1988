"""Loops: over blocks of an index, over its values one at a time, serial or in threads.

In: an index where it stands, how it is gone through. Out: lines, and the index where it stands inside. The one rule:
the last block is as large as what is left, and what threads make is their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from ...plan.operators import identity
from ...plan.places import Part
from .arrays import operand
from .code import REST, Code, Item, Name, Number, call, plus, row, text
from .names import Writer
from .scope import Axis

Sums = Sequence[tuple[Part, str]]


@contextmanager
def looped(
    w: Writer,
    index: str,
    by: int = 0,
    how: str = "serial",
    begin: int = 0,
    end: int | None = None,
    sums: Sums = (),
) -> Iterator[Name]:
    """Lines for each block of an index, or for each of its values; for a single one as they are.

    Gives the name of the results of parts that run side by side: tuples of the `sums` of each.
    """
    kept, axis = w.scope, w.scope[index]
    assert axis.width is not None, f"{index} has one value here"
    total = axis.width if end is None else Number(end)
    results = w.fresh("parts") if sums else Name("")
    try:
        if how == "thread":
            with _threads(w, index, axis, by, sums, results):
                yield results
        elif by == 0 and total == Number(begin + 1):
            w.scope = {**kept, index: axis.fixed(begin)}
            yield results
        else:
            with _blocks(w, index, axis, by, Number(begin), total, how == "backwards"):
                yield results
    finally:
        w.scope = kept


@contextmanager
def some(w: Writer, index: str, begin: Code, end: Code) -> Iterator[None]:
    """Some values of an index, at least one: those from one position to before another, as far as there are any."""
    kept, axis = w.scope, w.scope[index]
    assert axis.width is not None, f"{index} has one value here"
    first, width = w.fresh(index), w.fresh(f"n_{index}")
    before = [(-1, v) for v in axis.at]
    last = plus(-1, [(1, axis.width)])
    w.set(first, call("max", Number(0), call("min", last, plus(-axis.lo, [(1, begin), *before]))))
    beyond = call("min", axis.width, plus(-axis.lo, [(1, end), *before]))
    w.set(width, call("max", Number(1), plus(0, [(1, beyond), (-1, first)])))
    w.scope = {**kept, index: Axis(axis.lo, axis.n, width, axis.size, (*axis.at, first), w.level)}
    yield
    w.scope = kept


@contextmanager
def _blocks(
    w: Writer, index: str, axis: Axis, by: int, begin: Code, total: Code, backwards: bool = False
) -> Iterator[None]:
    """A loop from one number of values to another."""
    var = w.fresh(index)
    ends = [total] if begin == Number(0) and by <= 1 else [begin, total]
    head = call("range", *ends, *([Number(by)] if by > 1 else []))
    head = call("reversed", head) if backwards else head
    with w.inside("loop", f"for {var.text} in {text(head)}:") as body:
        at, level = (*axis.at, var), w.level
        if by == 0:
            w.scope = {**w.scope, index: Axis(axis.lo, axis.n, None, 1, at, level)}
        else:
            width: Code = Number(min(by, axis.size))
            count = plus(0, [(1, total), (-1, begin)])
            if by > 1 and not (isinstance(count, Number) and count.value % by == 0):
                width = w.fresh(f"n_{index}")
                body.made.append(f"{width.text} = min({by}, {text(plus(0, [(1, total), (-1, var)]))})")
            w.scope = {**w.scope, index: Axis(axis.lo, axis.n, width, min(by, axis.size), at, level)}
        yield


@contextmanager
def _threads(w: Writer, index: str, axis: Axis, by: int, sums: Sums, results: Name) -> Iterator[None]:
    """A loop in parts that run side by side; what is made in it is each thread's own."""
    assert isinstance(axis.width, Number), "threads divide what is not divided yet"
    name, lo, hi = (w.fresh(hint) for hint in ("part", "lo", "hi"))
    with w.inside("part", '@np.errstate(all="ignore")', f"def {name.text}({lo.text}, {hi.text}):") as body:
        for part, op in sums:
            w.make(part, identity(op, part.buffer.dtype), leaves=True)
        with _range(w, index, axis, by, lo, hi):
            yield
        if body.room.size:
            room = w.rooms.pop(w.level)
            body.made.insert(0, f"{room.text} = ROOMS.take({body.room.size})")
            w.line(f"ROOMS.give({room.text})")
        if sums:
            w.line(f"return {text(row(w.made.pop(part.buffer).name for part, _ in sums))}")
    shared = call(w.use("share"), name, axis.width, max(by, 1))
    if sums:
        w.set(results, shared)
        w.passing.append(results.text)
    else:
        w.run(shared)


@contextmanager
def _range(w: Writer, index: str, axis: Axis, by: int, lo: Name, hi: Name) -> Iterator[None]:
    """The loop of a part: all of its blocks are full ones where the blocks divide the index."""
    with _blocks(w, index, axis, by, lo, hi):
        if by > 1 and axis.n % by == 0:
            w.body.made.clear()
            w.scope = {**w.scope, index: replace(w.scope[index], width=Number(by))}
        yield


def make(w: Writer, part: Part, op: str = "") -> None:
    """Memory for an array over what its indices have here; it holds the identity of an operator."""
    buffer = part.buffer
    if op and w.level == w.own_level():
        w.make(part, identity(op, buffer.dtype))
        return
    w.make(part)
    if op:
        w.set(Item(operand(w, part).code, (REST,)), Number(identity(op, buffer.dtype)))
