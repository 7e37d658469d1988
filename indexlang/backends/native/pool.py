"""The pool of threads in this process, compiled when first asked for.

In: the IR of `pool_ir`, `call_ir`, `making_ir`, the number of threads. Out: `native()`, the functions that run
programs of steps. The one rule: its code stays until the process ends, as its threads may be in it at any moment; a
process that was forked begins without threads, and makes its own.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ... import threads
from ...locks import Lock, after_fork
from . import words
from .call_ir import BUILTIN, CALL
from .engine import compiled, host
from .giving_ir import GIVING
from .making_ir import MAKING
from .pool_ir import System, symbols, system, text
from .repeat_ir import REPEAT

_lock = Lock()
_kept: list[Any] = []
_MAKERS = ("arrays", "call", "pull")


@dataclass(frozen=True)
class Native:
    """`call(program, addresses)` runs a program of steps (`call_ir`), and gives 1; 0 where no context is free, 2 where
    a step refused to go on. `repeat(rows, table, bases, state, count)` calls several in a row (`repeat_ir`).

    `builtin` is the address of the function for Python's arrays, 0 where this Python has another layout of objects;
    `makers` are those of `making_ir`.
    `state` are the words of the pool: 0 threads wanted, 1 threads started, 3 regions run by several.
    """

    call: Callable[[int, bytes], int]
    repeat: Callable[..., int]
    builtin: int
    makers: Mapping[str, int]
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
    plain = words.has_plain_objects()
    code, names = text(here) + CALL + REPEAT, ["pool_state", "pool_reset", "call_addresses", "repeat_events"]
    if plain:
        code += words.text() + BUILTIN + GIVING + MAKING
        names += ["python_words", "call_arrays", *(f"make_of_{name}" for name in _MAKERS)]
    library = compiled(code, names, host())
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))  # for ever
    state = np.frombuffer(memoryview((ctypes.c_uint64 * 16).from_address(library.address("pool_state"))), np.uint64)
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p)(library.address("call_addresses"))
    reset = ctypes.CFUNCTYPE(None)(library.address("pool_reset"))
    makers = {}
    if plain:
        words.write(library.address("python_words"))
        makers = {name: library.address(f"make_of_{name}") for name in _MAKERS}
    reset()

    def wanted(number: int) -> None:
        state[0] = number
        state[2] = 0

    wanted(threads.num_threads())
    threads.when_set(wanted)
    after_fork(reset)
    several = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * 4, ctypes.c_int64)
    repeat = several(library.address("repeat_events"))
    return Native(call, repeat, library.address("call_arrays") if plain else 0, makers, state)
