"""A program of steps as a builtin function, called with NumPy arrays in a few dozen nanoseconds.

In: a `Runner`, the dtypes and shapes of its arguments. Out: a function, or None where this Python has another layout of
objects. The one rule: it returns NotImplemented, and has done nothing, wherever an argument is not exactly what was
said, or nobody has a context for it; then the caller finds out what is wrong, copies, or calls the `Runner`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from .pool import native
from .runner import Memory, Runner, Words

Kind = tuple[str, Sequence[int]]  # dtype and shape
FAST = 0x80  # METH_FASTCALL
_CONTIGUOUS, _ALIGNED, _WRITEABLE = 0x1, 0x100, 0x400  # flags of arrays
_METHOD = (("name", ctypes.c_char_p), ("call", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


class Method(ctypes.Structure):
    """A PyMethodDef."""

    _fields_ = _METHOD


class _Program(np.ndarray[Any, Any]):
    """The words of a program, as the builtin function's `self`: it keeps alive what they point to."""

    memory: Memory


def quick(name: str, inputs: Sequence[Kind], outputs: Sequence[Kind], runner: Runner) -> Callable[..., Any] | None:
    """`f(*inputs, *outputs)`, which returns None when it has run the steps, True where one of them refused to go on,
    else NotImplemented. Once for a runner.
    """
    kinds = [*inputs, *outputs]
    sizes = tuple(prod(shape) * np.dtype(dtype).itemsize for dtype, shape in kinds)
    if sizes != runner.arguments:
        raise ValueError(f"{name}: the arguments have {sizes} bytes, those of the runner {runner.arguments}")
    if runner.memory.program[4]:
        raise ValueError(f"{name}: the runner has its function already")
    address = native().builtin
    if max(sizes, default=0) >= 1 << 62:  # nobody has such arrays: it is a plan that is looked at
        return None
    if not address or not all(np.dtype(dtype).isbuiltin == 1 for dtype, _ in kinds):
        return None
    specs, kept = specified([(kind, k, k >= len(inputs)) for k, kind in enumerate(kinds)])
    runner.memory.kept += kept
    program = runner.memory.program.view(_Program)
    program[4] = specs.ctypes.data
    program.memory = runner.memory
    return builtin(program, method(name, address, FAST))


@cache
def method(name: str, address: int, flags: int, doc: str | None = None) -> Method:
    """A method, which stays for good: a builtin function reads it when it goes, after all that it held has gone."""
    return Method(name.encode(), address, flags, None if doc is None else doc.encode())


def builtin(owner: np.ndarray[Any, Any], method: Method) -> Callable[..., Any]:
    """The function of a method, which keeps its owner alive."""
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    new = make(("PyCFunction_NewEx", ctypes.pythonapi))
    made: Callable[..., Any] = new(ctypes.addressof(method), owner, None)
    return made


def specified(rows: Sequence[tuple[Kind, int, bool]]) -> tuple[Words, list[Any]]:
    """Specifications (`call_ir`) of arrays, which argument of the program each is, negative where it is none, and
    whether that is written; and what has to be kept for them.
    """
    specs, kept = np.zeros((len(rows), 8), np.int64), []
    for spec, ((name, shape), number, written) in zip(specs, rows, strict=True):
        dtype, extents = np.dtype(name), np.array(shape, np.int64)
        flags = (_CONTIGUOUS | _ALIGNED if number >= 0 else 0) | (_WRITEABLE if written else 0)
        size = prod(shape) * dtype.itemsize
        spec[:7] = id(dtype), len(shape), extents.ctypes.data, flags, size, written, number
        kept += [dtype, extents]
    return specs, [*kept, specs]
