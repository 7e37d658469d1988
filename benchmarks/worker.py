"""The process of one library: prepares a workload, says what it gives, and runs it when it is this library's turn.

In: requests over a pipe. Out: replies over the same. The one rule: between requests the process is stopped by its
parent, threads and all, so that nothing here runs while another library is measured.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from .libraries import Fastest
from .workload import OTHER, STEP, Array, Arrays, Build, Prepared

_DOMAIN = 389047  # in which NumPy tells tracemalloc of its arrays
Clock = Callable[[], float]
SAMPLE = 1 << 17  # of larger results so many elements are compared, and their norm
SLOW = 0.5  # seconds from which on the call before those that count does count
HOPELESS = 2.0  # and from which on the very first call does


@dataclass(frozen=True)
class Request:
    """`prepare` a workload, `time` so many calls of it, find the `peak` of a call, or `drop` it."""

    what: str
    family: str = ""
    workload: str = ""
    mode: str = ""
    calls: int = 1


@dataclass(frozen=True)
class Ready:
    """The first call with all that had to be made for it, in seconds; what it gave; bytes of memory beside inputs."""

    first: float
    later: float
    memory: int
    results: Arrays
    note: str


@dataclass(frozen=True)
class Failed:
    """Why a library cannot run a workload."""

    reason: str
    trace: str


def serve(peer: str, threads: int, busy: bool, connection: Connection) -> None:
    """Answer requests until the pipe closes; on a `busy` machine the processor's time is counted, not the clock's."""
    clock = time.process_time if busy else time.perf_counter
    _end_with_parent()
    if peer == OTHER:
        os.environ["INDEXLANG_BACKEND"] = "numpy"
    if peer.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    prepared: Prepared | None = None
    while True:
        try:
            request: Request = connection.recv()
        except EOFError:
            return
        try:
            match request.what:
                case "prepare":
                    prepared = None
                    _tidy()
                    prepared, reply = _prepare(peer, request, clock)
                    connection.send(reply)
                case "time":
                    assert prepared is not None
                    connection.send(_timed(prepared, request.calls, clock))
                case "peak":
                    prepared = None
                    connection.send(_traced(peer, request))
                case _:
                    prepared = None
                    _tidy()
                    connection.send(None)
        except Exception as error:  # what a library cannot do is a result
            connection.send(Failed(f"{type(error).__name__}: {error}", traceback.format_exc()))


def _end_with_parent() -> None:
    """A stopped process must not outlive a parent that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def _found(peer: str, request: Request) -> tuple[Build, dict[str, Array], bool]:
    from .families import find

    workload = find(request.family, request.workload)
    build = workload.build(peer)
    assert build is not None
    return build, workload.arrays(), request.mode == STEP


def _prepare(peer: str, request: Request, clock: Clock) -> tuple[Prepared, Ready]:
    build, arrays, gradients = _found(peer, request)
    note = ""
    if isinstance(build, Fastest):
        note, build = build.choose(arrays, gradients)
    start = clock()
    prepared = build(arrays, gradients)
    built = clock()
    given = prepared.run()
    first, ran = clock() - start, clock() - built
    results = {name: _sample(value) for name, value in prepared.results(given).items()}
    del given, prepared
    base = _beginning()
    prepared = build(arrays, gradients)
    prepared.run()
    _tidy()
    _start_peak()
    later = ran if ran > HOPELESS else _timed(prepared, 1, clock)
    return prepared, Ready(first, later, max(_peak() - base, 0), results, note)


def _beginning() -> int:
    """Begin to measure a workload's memory when all has run once and nothing of it is kept; the size of the process.

    So what a library loads, compiles and learns once is no part of it, what it keeps from call to call is, and no
    library has memory at hand that another workload has left.
    """
    if "indexlang" in sys.modules:
        sys.modules["indexlang"].Function.release()
    _tidy()
    return _start_peak()


def _tidy() -> None:
    """Give back what nothing uses, so that memory is counted where it is used."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _timed(prepared: Prepared, calls: int, clock: Clock) -> float:
    """Seconds for one of so many calls, after one that nobody measures unless it is slow."""
    run = prepared.run
    start = clock()
    run()
    once = clock() - start
    if once > SLOW:
        return once
    gc.disable()
    start = clock()
    for _ in range(calls):
        run()
    found = (clock() - start) / calls
    gc.enable()
    return found


def _sample(value: Any) -> Array:
    array = np.asarray(value)
    if array.size <= SAMPLE:
        return np.array(array)
    flat = array.reshape(-1)
    norm = np.sqrt(np.mean(np.square(flat, dtype=np.float64)))
    return np.append(flat[:: -(-array.size // SAMPLE)], norm)


# -- memory --------------------------------------------------------------------------------------------------


def _start_peak() -> int:
    """Forget the greatest size so far, where the system can; the size now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    try:
        return _status("VmHWM")
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _traced(peer: str, request: Request) -> int:
    """The most bytes of NumPy's arrays in a call: what it allocates, and what is kept for it from call to call."""
    build, arrays, gradients = _found(peer, request)
    _beginning()  # what earlier calls left for the next ones was not traced
    tracemalloc.start()
    try:
        prepared = build(arrays, gradients)
        prepared.run()
        gc.collect()
        own = tracemalloc.take_snapshot().filter_traces([tracemalloc.DomainFilter(True, _DOMAIN)])
        kept = sum(trace.size for trace in own.traces)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        prepared.run()
        return kept + tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field}")
