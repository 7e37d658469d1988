"""What this machine does at most: multiply-adds from registers, and bytes through memory, by loops of our own.

In: a dtype, a number of threads by `threads`. Out: rates per second. The one rule: they are measured as kernels run, in
the pool, so that a kernel's share of them is a share of what it could have had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np

from ...plan.places import Buffer
from .calling import native
from .nest import Array, Form, Nest, Type, form
from .outline import loaded, outline
from .target import Target
from .writing import Writing

CHAINS = 10  # sums that do not wait for each other
ROUNDS = 2_000  # short, so that others seldom come between
ITEMS = 64
COPIED = 1 << 23  # elements, more than caches hold


def flops(dtype: str, target: Target, seconds: float = 0.2) -> float:
    """Operations on floats in a second, a multiply-add counted as two."""
    lanes = target.lanes(np.dtype(dtype).itemsize)
    source = Array("source", dtype, 2 * lanes)
    given = Array("given", dtype, ITEMS * lanes, "output")
    w = Writing()
    by, plus = (w.read(source, Form(k * lanes), lanes) for k in range(2))
    sums = [w.apply("same", plus, hint="sum") for _ in range(CHAINS)]
    with w.loop("round", 0, ROUNDS):
        for name in sums:
            w.apply("fma", name, by, plus, register=name)
    total = sums[0]
    for name in sums[1:]:
        total = w.apply("add", total, name, kind=Type(dtype, lanes))
    w.write(given, form("item", lanes), total)
    nest = Nest("peak", (source, given), (("item", ITEMS),), tuple(w.lists[0]))
    data = np.full(source.size, 0.5, dtype)
    return (
        2
        * CHAINS
        * ROUNDS
        * lanes
        * ITEMS
        / _best(_callable(nest, target), (data, np.empty(given.size, dtype)), seconds)
    )


def bandwidth(target: Target, seconds: float = 0.2) -> float:
    """Bytes read and written in a second, by a copy."""
    lanes, piece = target.lanes(4), COPIED // ITEMS
    source, given = Array("source", "float32", COPIED), Array("given", "float32", COPIED, "output")
    w = Writing()
    with w.loop("i", 0, piece, by=4 * lanes) as i:
        places = [form("item", piece) + i + k * lanes for k in range(4)]
        for place, name in [(place, w.read(source, place, lanes)) for place in places]:
            w.write(given, place, name)
    nest = Nest("copy", (source, given), (("item", ITEMS),), tuple(w.lists[0]))
    data = np.ones(COPIED, np.float32)
    return 8 * COPIED / _best(_callable(nest, target), (data, np.ones(COPIED, np.float32)), seconds)


def _callable(nest: Nest, target: Target) -> Callable[..., Any]:
    source, given = nest.arrays
    one = outline(nest, target)
    read, written = ((Buffer(a.name, (a.size,), a.dtype), a) for a in (source, given))
    return native(nest.name, loaded([one], target), [one], [read], [written], ()).call


def _best(call: Callable[..., Any], arrays: Sequence[np.ndarray[Any, Any]], seconds: float) -> float:
    """The shortest time of several."""
    call(*arrays)
    best, end = float("inf"), perf_counter() + seconds
    while True:
        start = perf_counter()
        call(*arrays)
        stop = perf_counter()
        best = min(best, stop - start)
        if stop >= end:
            return best
