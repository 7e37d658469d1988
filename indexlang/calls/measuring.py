"""How long each statement of a Function takes, beside what the machine does at most.

In: a Function, shapes and types. Out: `Measured`. The one rule: what is measured is the code that a call runs, with
a look at the clock after each section, which a call of native code does not go across; of several runs the shortest
time counts. Programs with blocks are timed as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.engines import BACKENDS, peaks
from ..errors import ShapeError
from ..oracle.gradcheck import index_tensors, position_limits
from ..plan.plan import Plan
from ..plan.record import amount
from ..program.blocks import has_blocks
from ..program.ir import Program
from ..threads import num_threads
from .function import Function

SECONDS = 0.5  # for all runs together
RUNS = 3  # at least
Forms = Mapping[str, tuple[tuple[int, ...], str]]  # shape and type by input


@dataclass(frozen=True)
class Row:
    """Statements from the number `first` on that run together; `share` is of the machine's `peak`, flops or bytes."""

    first: int
    count: int
    seconds: float
    flops: int
    moved: int
    bound: str  # flops | bytes: what they use more of
    share: float


@dataclass(frozen=True)
class Measured:
    """The statements' rows, seconds of the whole, and what the machine does in a second at most."""

    rows: tuple[Row, ...]
    seconds: float
    dtype: str
    flops: float
    bandwidth: float
    threads: int


def measured(function: Function, forms: Forms) -> Measured:
    """The program on random arrays. Errors: `ShapeError`, also of positions that random integers cannot be."""
    if has_blocks(function.program):
        return _as_a_whole(function, forms)
    program, limits = function.program, BACKENDS[function.backend].limits
    ticks: list[tuple[int, float]] = []
    shapes, dtypes = {n: s for n, (s, _) in forms.items()}, {n: d for n, (_, d) in forms.items()}
    compiled = BACKENDS[function.backend].compiles(
        program, shapes, dtypes, limits=limits, tick=lambda number: ticks.append((number, perf_counter()))
    )
    runs: list[list[float]] = []
    dtype = "float64" if "float64" in compiled.plan.dtypes.values() else "float32"
    before = peaks(dtype)
    arrays = _inputs(program, forms)
    try:
        compiled.run(*arrays)
    except ShapeError:  # a position out of range: 0 is in range of whatever has elements
        arrays = [np.zeros_like(a) if a.dtype.kind in "iu" else a for a in arrays]
        compiled.run(*arrays)
    end = perf_counter() + SECONDS
    while len(runs) < RUNS or perf_counter() < end:
        ticks.clear()
        compiled.run(*arrays)
        times = dict(ticks)
        runs.append([times[k] - times[k - 1] if k in times else 0.0 for k in range(len(compiled.plan.sections))])
    best = [min(times) for times in zip(*runs, strict=True)]
    whole = min((sum(run) for run in runs), default=0.0)
    most, bandwidth = map(max, zip(before, peaks(dtype), strict=True))  # others may have been busy meanwhile
    return Measured(tuple(_rows(compiled.plan, best, most, bandwidth)), whole, dtype, most, bandwidth, num_threads())


def _as_a_whole(function: Function, forms: Forms) -> Measured:
    """A program with blocks: of a step, which may be a millionth of a second, looks at the clock would tell nothing."""
    dtypes = function.plan(**forms).dtypes.values()
    dtype = "float64" if "float64" in dtypes else "float32"
    arrays = dict(zip(function.program.inputs, _inputs(function.program, forms), strict=True))
    try:
        function(arrays)
    except ShapeError:
        arrays = {n: np.zeros_like(a) if a.dtype.kind in "iu" else a for n, a in arrays.items()}
        function(arrays)
    times: list[float] = []
    end = perf_counter() + SECONDS
    while len(times) < RUNS or perf_counter() < end:
        begin = perf_counter()
        function(arrays)
        times.append(perf_counter() - begin)
    most, bandwidth = peaks(dtype)
    return Measured((), min(times), dtype, most, bandwidth, num_threads())


def _rows(plan: Plan, seconds: Sequence[float], most: float, bandwidth: float) -> list[Row]:
    """A row for each section whose time is its own; those that run together with another one count with it."""
    groups: list[tuple[int, float, list[Any]]] = []
    first = 1
    for section, time in zip(plan.sections, seconds, strict=True):
        records = list(section.records)
        if groups and records and all(r.joined for r in records):
            number, before, others = groups[-1]
            groups[-1] = (number, before + time, [*others, *records])
        else:
            groups.append((first, time, records))
        first += len(records)
    found = []
    for number, time, records in groups:
        flops, moved = sum(r.planned or r.flops for r in records), sum(r.moved for r in records)
        shares = {"flops": flops / most / time, "bytes": moved / bandwidth / time} if time > 0 else {"flops": 0.0}
        bound = max(shares, key=shares.__getitem__)
        found.append(Row(number, len(records), time, flops, moved, bound, shares[bound]))
    return found


def _inputs(program: Program, forms: Forms) -> list[NDArray[Any]]:
    """Random arrays: positive numbers, and positions that lie in their axes."""
    rng = np.random.default_rng(0)
    limits = position_limits(program, {n: s for n, (s, _) in forms.items()}, index_tensors(program))
    found = []
    for name in program.inputs:
        shape, dtype = forms[name]
        kind = np.dtype(dtype).kind
        if kind in "iub":
            most = min(limits.get(name, 100), np.iinfo(dtype).max if kind != "b" else 2)
            found.append(rng.integers(0, max(1, most), shape).astype(dtype))
        else:
            found.append(rng.uniform(0.5, 1.5, shape).astype(dtype))
    return found


def text(found: Measured) -> str:
    """What was measured, as lines."""
    lines = []
    for row in found.rows:
        last = f" to {row.first + row.count - 1}" if row.count > 1 else ""
        if not row.seconds:
            continue
        rate = (
            amount(row.flops / row.seconds, "FLOP/s")
            if row.bound == "flops"
            else amount(row.moved / row.seconds, "B/s")
        )
        of = "peak" if row.bound == "flops" else "a copy through memory"
        lines.append(f"measured  {row.first}{last}: {_time(row.seconds)}, {rate}, {row.share:.0%} of {of}")
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    machine = f"{amount(found.flops, 'FLOP/s')} of {found.dtype}, a copy {amount(found.bandwidth, 'B/s')}"
    return "\n".join([*lines, f"measured  all: {_time(found.seconds)}; in {threads} the machine reaches {machine}"])


def _time(seconds: float) -> str:
    unit, size = next((u, s) for u, s in (("s", 1.0), ("ms", 1e-3), ("us", 0.0)) if seconds >= s)
    return f"{seconds / (size or 1e-6):.3g} {unit}"
