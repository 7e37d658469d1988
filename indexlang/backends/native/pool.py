"""The pool of threads in this process, compiled when first asked for.

In: the IR of `pool_ir` and `call_ir`, the number of threads. Out: `native()`, the functions that run programs of steps.
The one rule: its code stays until the process ends, as its threads may be in it at any moment; a process that was
forked begins without threads, and makes its own.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ... import threads
from ...locks import Lock, after_fork
from .call_ir import BUILTIN, CALL
from .engine import compiled, host
from .pool_ir import System, symbols, system, text

_lock = Lock()
_kept: list[Any] = []
_FUNCTIONS = ("PyEval_SaveThread", "PyEval_RestoreThread", "Py_IncRef")


@dataclass(frozen=True)
class Native:
    """`call(program, addresses)` runs a program of steps (`call_ir`), and gives 1; 0 where no context is free, 2 where
    a step refused to go on.

    `builtin` is the address of the function for Python's arrays, 0 where this Python has another layout of objects.
    `state` are the words of the pool: 0 threads wanted, 1 threads started, 3 regions run by several.
    """

    call: Callable[[int, bytes], int]
    builtin: int
    state: np.ndarray[Any, np.dtype[np.uint64]]


def native() -> Native:
    """The functions, compiled once."""
    if not _kept:
        with _lock.held():
            if not _kept:
                threads.num_threads()  # says so where the environment asks for nonsense
                _kept.append(_made(_here()))
    found: Native = _kept[0]
    return found


def reason() -> str:
    """Why there are no threads but the caller's; nothing where there may be."""
    if _here().sleep == "none":
        return (
            f"native code runs in one thread: the pool of threads is not made for {platform.system()} on {_machine()}"
        )
    if threads.num_threads() == 1:
        return "native code runs in one thread, as the number of threads is 1"
    if native().state[2]:
        return f"native code runs in {native().state[1] + 1} threads: the system refused more"
    return ""


@cache
def _here() -> System:
    """The system that this is, without threads where it lacks a function."""
    found = system(sys.platform, _machine(), sys.byteorder, struct.calcsize("P"))
    return found if all(hasattr(_process(), name) for name in symbols(found)) else System("none")


@cache
def _process() -> ctypes.CDLL | None:
    return None if sys.platform == "win32" else ctypes.CDLL(None)


def _machine() -> str:
    return platform.machine()


def _made(here: System) -> Native:
    """Compile for a system, and let the pool know how many threads there may be, and of forks."""
    plain = has_plain_objects()
    names = ["pool_state", "pool_reset", "call_addresses", *(("python_words", "call_arrays") if plain else ())]
    library = compiled(text(here) + CALL + (BUILTIN if plain else ""), names, host())
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))  # for ever
    state = np.frombuffer(memoryview((ctypes.c_uint64 * 16).from_address(library.address("pool_state"))), np.uint64)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)(library.address("call_addresses"))
    reset = ctypes.CFUNCTYPE(None)(library.address("pool_reset"))
    if plain:
        words = (ctypes.c_void_p * 7).from_address(library.address("python_words"))
        functions = (getattr(ctypes.pythonapi, name) for name in _FUNCTIONS)
        addresses = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
        words[:] = [id(np.ndarray), id(None), id(NotImplemented), *addresses, id(True)]
    reset()

    def wanted(number: int) -> None:
        state[0] = number
        state[2] = 0

    wanted(threads.num_threads())
    threads.when_set(wanted)
    after_fork(reset)
    return Native(call, library.address("call_arrays") if plain else 0, state)


def has_plain_objects() -> bool:
    """Whether objects have the layout that `call_ir` reads: that of CPython on 64 bits, with its lock, no debugging."""
    enabled: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    if sys.implementation.name != "cpython" or hasattr(sys, "gettotalrefcount") or not enabled():
        return False
    if sys.platform == "win32":  # not tried there
        return False
    if struct.calcsize("P") != 8 or object.__basicsize__ != 16 or np.ndarray.__basicsize__ < 72:
        return False
    probe = np.arange(6, dtype=np.float32).reshape(3, 2)
    words = (ctypes.c_uint64 * 9).from_address(id(probe))
    extents = (ctypes.c_int64 * 2).from_address(words[4])
    halves = (ctypes.c_int32 * 18).from_address(id(probe))
    found = (words[1], words[2], halves[6], *extents, words[7], halves[16])
    return found == (id(np.ndarray), probe.ctypes.data, 2, 3, 2, id(probe.dtype), int(probe.flags.num))
