"""What is found by going through positions: winners, running reductions, what chosen positions get.

In: a Search, a Running, an Order, a Rank, a Label or a Select. Out: lines. The one rule: ties and nan are settled as
in a loop over the points: the first of the best wins, and the first nan beats all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod

import numpy as np

from ...plan.kernels import Fading, Label, Order, Ranged, Rank, Running, Search, Select
from ...plan.operators import identity
from ...plan.places import Buffer, Part
from ...plan.quantities import Apply, Number
from . import code as py
from .arrays import Operand, aligned, array, axes_here, count_of, held, operand, shape_of, spread
from .code import REST, Code, Item, Name, Operator, call, dtype, method, text
from .expressions import UFUNCS, converted, truth, value
from .loops import looped
from .names import Writer
from .targets import Target

BEST = {"argmax": "np.maximum", "argmin": "np.minimum"}
BITS = {1: "int8", 2: "int16", 4: "int32", 8: "int64"}  # the integers that hold an element's bits


def running(w: Writer, target: Target, kernel: Running) -> None:
    """A running reduction along an axis."""
    x = operand(w, kernel.source)
    backwards = [Name("True")] if kernel.backwards else []
    along, code, kind = x.axes.index(kernel.along), x.code, x.dtype
    if kernel.op in BEST:
        code = call("np.real", code) if w.complex_step else code
        w.use("running")
        made, kind = call(w.use("leading"), Name(BEST[kernel.op]), code, along, *backwards), "int64"
    elif kernel.op == "logsumexp":
        made = call(w.use("running"), Name("np.logaddexp"), converted(w, x, "float64").code, along, *backwards)
        made = made if kind == "float64" else method(made, "astype", dtype(kind))
    else:
        made = call(w.use("running"), Name(UFUNCS[kernel.op]), code, along, *backwards)
    target.put(Operand(made, x.axes, kind, fresh=True, laid=True))


def ranged(w: Writer, target: Target, kernel: Ranged) -> None:
    """What is best between two ends, or where it stands first."""
    x = operand(w, kernel.source)
    order = [i for i in target.axes if i in kernel.begin.indices | kernel.end.indices]
    ends = [spread(converted(w, value(w, v, order), "int64"), order, w.scope).code for v in (kernel.begin, kernel.end)]
    places = [Name("True")] if kernel.op in BEST else []
    beats = Name("np.greater" if kernel.op in ("argmax", "max=") else "np.less")
    along = x.axes.index(kernel.along)
    made = call(w.use("ranged"), beats, x.code, along, *ends, *places)
    axes = (*order, *x.axes[:along], *x.axes[along + 1 :])
    target.put(Operand(made, axes, "int64" if places else x.dtype, fresh=True, laid=True))


def fading(w: Writer, target: Target, kernel: Fading) -> None:
    """A running sum that fades along an axis."""
    axes = target.axes
    sides = [
        spread(converted(w, operand(w, p), target.dtype), axes, w.scope).code for p in (kernel.source, kernel.fades)
    ]
    backwards = [Name("True")] if kernel.backwards else []
    made = call(w.use("fading"), *sides, axes.index(kernel.along), *backwards)
    target.put(Operand(made, axes, target.dtype, fresh=True, laid=True))


def order(w: Writer, target: Target, kernel: Order) -> None:
    """The positions of elements in ascending order."""
    x = operand(w, kernel.source)
    target.put(Operand(call("np.argsort", x.code), (kernel.rank,), "int64", fresh=True, laid=True))


def rank(w: Writer, target: Target, kernel: Rank) -> None:
    """How many elements of what is sorted are less than values."""
    x = operand(w, kernel.source)
    found = value(w, kernel.value, target.axes)
    found = converted(w, found, kernel.value.dtype) if found.weak else found
    side = py.Text("right" if kernel.equal else "left")
    made = call("np.searchsorted", x.code, found.code, side)
    target.put(Operand(made, found.axes, "int64", fresh=bool(found.axes), laid=True))


def label(w: Writer, target: Target, kernel: Label) -> None:
    """The numbers of values along axes."""
    over = axes_here(kernel.over, w.scope)
    batch = tuple(i for i in target.axes if i not in over)
    axes = (*batch, *over)
    found = spread(aligned(operand(w, kernel.source), axes), axes, w.scope)
    lengths = (*shape_of(batch, w.scope).items, count_of(over, w.scope))
    flat = found.code if len(over) == 1 else method(found.code, "reshape", *lengths)
    made = call(w.use("labels"), flat)
    if len(over) != 1:
        made = method(made, "reshape", *shape_of(axes, w.scope).items)
    target.put(Operand(made, axes, "int64", fresh=True, laid=True))


# -- searches ------------------------------------------------------------------------------------------


def search(w: Writer, target: Target, kernel: Search) -> None:
    """The position of the best, or logsumexp."""
    if prod(w.scope[i].n for i in kernel.over) == 0:
        nothing = float("-inf") if kernel.op == "logsumexp" else 0
        target.put(Operand(py.Number(nothing), (), target.dtype, weak=True))
    elif kernel.by == "window":
        found = _in_window(w, target, kernel)
        if found is not None:
            target.put(found)
    else:
        target.put(_in_array(w, target, kernel))


def _in_array(w: Writer, target: Target, kernel: Search) -> Operand:
    free, op = target.axes, kernel.op
    over = axes_here(kernel.over, w.scope)
    flat = [*shape_of(free, w.scope).items, count_of(over, w.scope)]

    if kernel.inner:
        return _in_rows(w, free, kernel)

    def flattened(x: Operand, hint: str) -> Name:
        return w.hold(method(spread(x, (*free, *over), w.scope).code, "reshape", *flat), hint)

    found = value(w, kernel.value, [*free, *over])
    if found.weak:
        found = converted(w, found, kernel.value.dtype)
    everything: Code = flattened(found, "all")
    admitted = None
    if kernel.admitted is not None:
        found_there = value(w, kernel.admitted, [*free, *over])
        admitted = flattened(Operand(truth(found_there), found_there.axes, "bool"), "admitted")
    if op == "logsumexp":
        return _logsumexp(w, free, everything, admitted, found.dtype)
    real = call("np.real", everything) if w.complex_step else everything
    if admitted is None:
        return Operand(call(f"np.{op}", real, -1), free, "int64", fresh=True)
    least = _worst(op, "float64" if found.dtype.startswith("complex") else found.dtype)
    best = w.hold(call("np.asarray", call(f"np.{op}", call("np.where", admitted, real, least), -1)), "best")
    last = Item(best, (REST, None))
    hit = Item(call("np.take_along_axis", admitted, last, -1), (REST, py.Number(0)))
    # A refused point hides the first winner only where all admitted ones are extreme themselves.
    made = call("np.where", hit, best, call("np.argmax", admitted, -1))
    return Operand(made, free, "int64", fresh=True)


def _in_rows(w: Writer, free: tuple[str, ...], kernel: Search) -> Operand:
    """The first that equals its best, for rows of the inner indices at once."""
    outer, inner = [i for i in free if i not in kernel.inner], axes_here(kernel.inner, w.scope)
    over = axes_here(kernel.over, w.scope)
    found = value(w, kernel.value, [*outer, *over, *inner])
    found = converted(w, found, kernel.value.dtype) if found.weak else found
    everything = spread(found, (*outer, *over, *inner), w.scope).code
    lengths = [*shape_of(outer, w.scope).items, count_of(over, w.scope), *shape_of(inner, w.scope).items]
    everything = everything if len(over) == 1 else method(everything, "reshape", *lengths)
    everything = call("np.real", everything) if w.complex_step else everything
    made = call(w.use("winners"), Name(BEST[kernel.op]), everything, len(outer))
    return Operand(made, (*outer, *inner), "int64", fresh=True)


def _logsumexp(w: Writer, free: tuple[str, ...], x: Code, admitted: Name | None, kind: str) -> Operand:
    part: Code = py.Attribute(x, "real") if kind.startswith("complex") else x
    if admitted is not None:
        part = call("np.where", admitted, part, py.Number(float("-inf")))
    most = w.hold(call("np.maximum.reduce", part, -1), "most")
    most = w.hold(call("np.where", call("np.isfinite", most), most, 0), "most")
    powers: Code = call("np.exp", Operator("-", (x, Item(most, (REST, None)))))
    if admitted is not None:
        powers = call("np.where", admitted, powers, 0)
    made = Operator("+", (call("np.log", call("np.add.reduce", powers, -1)), most))
    return Operand(made, free, kind, fresh=True)


def _worst(op: str, kind: str) -> py.Number:
    """What loses against everything."""
    return py.Number(identity("max=" if op == "argmax" else "min=", kind))


@contextmanager
def _taps(w: Writer, indices: Sequence[str]) -> Iterator[None]:
    """Loops over all values of the indices, one at a time."""
    with ExitStack() as stack:
        for i in indices:
            stack.enter_context(looped(w, i))
        yield


def _room(w: Writer, hint: str, axes: Sequence[str], kind: str) -> Code:
    """An array over the axes, in memory that all rounds of loops share."""
    buffer = Buffer(w.fresh(hint).text, tuple(w.scope[i].size for i in axes), kind, "workspace")
    part = Part(buffer, tuple(axes))
    w.make(part)
    return array(operand(w, part))


def _in_window(w: Writer, target: Target, kernel: Search) -> Operand | None:
    """One position of the window after the other, for all points of the place at once.

    The best values first; the winner is the first position that equals its best, and its number how many came before.
    """
    assert kernel.admitted is None and kernel.op != "logsumexp", "a window is searched whole, for a position"
    free, over = target.axes, axes_here(kernel.over, w.scope)
    count = prod(w.scope[i].n for i in over)
    kind = kernel.value.dtype
    kind = "float64" if w.complex_step and kind.startswith("complex") else kind
    narrow = target.dtype == "uint8"

    def here() -> Operand:
        found = aligned(value(w, kernel.value, free), free)
        return replace(found, code=call("np.real", found.code)) if w.complex_step else found

    if kernel.best is None:
        best = _room(w, "best", free, kind)
        w.set(Item(best, (REST,)), _worst(kernel.op, kind))
        keep = "np.maximum" if kernel.op == "argmax" else "np.minimum"
        with _taps(w, over):
            w.run(call(keep, best, here().code, out=best))
    else:
        best = held(w, aligned(operand(w, kernel.best), free), "best").code
    at = target.out().code if free else _room(w, "at", free, target.dtype)
    missed, other = _room(w, "missed", free, "bool"), _room(w, "other", free, "bool")
    w.set(Item(at, (REST,)), py.Number(0))
    w.set(Item(missed, (REST,)), py.Number(True))

    def passed() -> None:
        w.run(call("np.logical_and", missed, other, out=missed))
        w.run(call("np.add", at, method(missed, "view", dtype("uint8")) if narrow else missed, out=at))

    with _taps(w, over):
        w.run(call("np.not_equal", here().code, best, out=other))
        passed()
    if kind.startswith("float"):  # a nan equals nothing: there, the first nan wins
        none = Operator("==", (at, py.Number(count)))
        with w.inside("branch", f"if {text(call('np.any', none))}:"):
            w.set(Item(at, (none,)), py.Number(0))
            w.run(call("np.not_equal", best, best, out=missed))
            with _taps(w, over):
                found = held(w, here(), "here").code
                w.run(call("np.equal", found, found, out=other))
                passed()
    return None if free else Operand(at, free, target.dtype)


# -- what the chosen one gets --------------------------------------------------------------------------


def select(w: Writer, target: Target, kernel: Select) -> None:
    """Give a value to the positions that a condition chooses: for each position, the bits of all others are cleared.

    That is exact for whatever is not finite, and no pass branches on its elements.
    """
    assert target.op in ("=", "+=", "-="), "nothing is 0"
    few = axes_here(kernel.among, w.scope)
    axes = [i for i in target.axes if i not in few]
    place, op, kind = target.place, target.op, target.dtype
    width = np.dtype(kind).itemsize
    if target.new:
        target.out()
    if width not in BITS or not axes:
        with _taps(w, few):
            inner = Target(w, place, op)
            either = Apply("select", (kernel.condition, kernel.value, Number(0, kind)), kind)
            inner.put(value(w, either, inner.axes))
        return
    bits = dtype(BITS[width])
    found = converted(w, value(w, kernel.value, axes), kind)
    kept = w.hold(method(call("np.asarray", found.code), "view", bits), "bits")
    flags, wide = _room(w, "flags", axes, "int8"), _room(w, "wide", axes, BITS[width])
    part = None if op == "=" else _room(w, "chosen", axes, kind)
    with _taps(w, few):
        chosen = value(w, kernel.condition, axes)
        flag = method(call("np.asarray", truth(chosen)), "view", dtype("int8"))
        w.run(call("np.negative", flag, out=flags))
        w.run(call("np.copyto", wide, flags))
        inner = Target(w, place, op)
        if part is None:
            out = aligned(replace(inner.here, code=array(inner.here)), axes).code
            w.run(call("np.bitwise_and", kept, wide, out=method(out, "view", bits)))
        else:
            w.run(call("np.bitwise_and", kept, wide, out=method(part, "view", bits)))
            inner.put(Operand(part, tuple(axes), kind))
