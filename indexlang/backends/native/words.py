"""What machine code uses of Python and NumPy: their functions, and how their objects lie in memory.

In: nothing. Out: text of IR that declares the functions, and their addresses as words for it. The one rule: nothing is
taken for granted that was not tried in this process; where a trial fails, native code is called by ctypes.

Python's functions are those of its C interface. NumPy's stand in a table, whose places are the same in all versions of
one binary interface: what is compiled against NumPy 2.0 runs with every 2.x for this reason. The numbers are those of
`numpy/__multiarray_api.h`.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

_OBJECTS = (np.ndarray, None, NotImplemented, True)  # by their places in the IR
_PYTHON = {
    "PyEval_SaveThread": ("ptr", ()),
    "PyEval_RestoreThread": ("void", ("ptr",)),
    "Py_IncRef": ("void", ("ptr",)),
    "Py_DecRef": ("void", ("ptr",)),
    "PyErr_Clear": ("void", ()),
    "PyTuple_New": ("ptr", ("i64",)),
    "PyTuple_Size": ("i64", ("ptr",)),
    "PyTuple_GetItem": ("ptr", ("ptr", "i64")),
    "PyTuple_SetItem": ("i32", ("ptr", "i64", "ptr")),
    "PyDict_New": ("ptr", ()),
    "PyDict_Size": ("i64", ("ptr",)),
    "PyDict_GetItemWithError": ("ptr", ("ptr", "ptr")),
    "PyDict_SetItem": ("i32", ("ptr", "ptr", "ptr")),
    "PyCFunction_NewEx": ("ptr", ("ptr", "ptr", "ptr")),
    "PyObject_Vectorcall": ("ptr", ("ptr", "ptr", "i64", "ptr")),
}
_NUMPY = {
    "PyArray_NewFromDescr": ("ptr", ("ptr", "ptr", "i32", "ptr", "ptr", "ptr", "i32", "ptr")),
    "PyArray_SetBaseObject": ("i32", ("ptr", "ptr")),
}
_PLACES = {"PyArray_NewFromDescr": 94, "PyArray_SetBaseObject": 282}  # in NumPy's table
_INTERFACE = 0x2000000  # of NumPy's binary interface: the version that these places are of
_COUNT = len(_OBJECTS) + len(_PYTHON) + len(_NUMPY)


def text() -> str:
    """The words, and each function under its own name."""
    lines = [f"@python_words = global [{_COUNT} x ptr] zeroinitializer"]
    for k, (name, (gives, takes)) in enumerate({**_PYTHON, **_NUMPY}.items(), len(_OBJECTS)):
        takes_named = ", ".join(f"{kind} %a{n}" for n, kind in enumerate(takes))
        result, back = ("", "ret void") if gives == "void" else ("%r = ", f"ret {gives} %r")
        lines += [
            f"define internal {gives} @{name}({takes_named}) {{",
            f"  %f = load ptr, ptr getelementptr (ptr, ptr @python_words, i64 {k})",
            f"  {result}call {gives} %f({takes_named})",
            f"  {back}",
            "}",
        ]
    return "\n".join(lines) + "\n"


def write(address: int) -> None:
    """Put what they stand for into the words at this address."""
    functions = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in _PYTHON]
    words = (ctypes.c_void_p * _COUNT).from_address(address)
    words[:] = [*map(id, _OBJECTS), *functions, *_of_numpy().values()]


def has_plain_objects() -> bool:
    """Whether objects have the layout that `call_ir` reads: that of CPython on 64 bits, with its lock, no debugging;
    and whether what is called is there.
    """
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
    if found != (id(np.ndarray), probe.ctypes.data, 2, 3, 2, id(probe.dtype), int(probe.flags.num)):
        return False
    return all(hasattr(ctypes.pythonapi, name) for name in _PYTHON) and _makes_arrays()


def _of_numpy() -> dict[str, int]:
    """The addresses of NumPy's functions; none where its interface is another one."""
    try:
        capsule = import_module("numpy._core._multiarray_umath")._ARRAY_API
    except (ImportError, AttributeError):
        return {}
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    table = pointer(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, None)
    words = (ctypes.c_void_p * (1 + max(_PLACES.values()))).from_address(table)
    if not words[0] or ctypes.PYFUNCTYPE(ctypes.c_uint)(words[0])() != _INTERFACE or words[2] != id(np.ndarray):
        return {}
    return {name: words[k] or 0 for name, k in _PLACES.items()}


def _makes_arrays() -> bool:
    """Whether NumPy's functions make the arrays that are asked for."""
    found = _of_numpy()
    if not all(found.get(name) for name in _NUMPY):
        return False
    types = {"ptr": ctypes.c_void_p, "i32": ctypes.c_int}
    takes = [types[kind] for kind in _NUMPY["PyArray_NewFromDescr"][1]]
    make = ctypes.PYFUNCTYPE(ctypes.py_object, *takes)(found["PyArray_NewFromDescr"])
    dtype, extents = np.dtype(np.float32), (ctypes.c_int64 * 2)(3, 2)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(dtype))  # which the array takes over
    made: Any = make(id(np.ndarray), id(dtype), 2, ctypes.addressof(extents), None, None, 0, None)
    right = np.empty((3, 2), np.float32)
    return type(made) is np.ndarray and all(
        getattr(made, name) == getattr(right, name) for name in ("shape", "strides", "dtype", "flags", "base")
    )
