"""Arrays as they come in and go out: viewed without a copy, checked before anything runs.

In: what a caller passes. Out: NumPy arrays of this machine's byte order, and buffers that results fit into. The one
rule: nothing of a caller's is written to but a buffer that was named in `out`, and that only when all else is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Problem, ShapeError
from ..meaning.report import nearest
from ..plan.views import injective
from ..sizes.dtypes import DTYPES

Array = NDArray[Any]

_NATIVE = frozenset(map(np.dtype, DTYPES))  # in the byte order of this machine: a dtype says its name slowly
_LONGEST = {"f": "float64", "c": "complex128"}


def as_array(name: str, value: Any) -> Array:
    """The value as an array, without a copy where NumPy can view it; DLPack included. Errors: `ShapeError`."""
    if type(value) is not np.ndarray:
        if isinstance(value, np.ma.MaskedArray):
            rule = f"'{name}' is a masked array, and its mask would be lost"
            raise ShapeError(Problem("dtype", rule, way_out="fill it, or pass the mask as a tensor and say where"))
        value = _viewed(name, value)
    array: Array = value
    return array if array.dtype in _NATIVE else array.astype(number_type(name, array.dtype), copy=False)


def number_type(name: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type of numbers that tensors may hold, in the byte order of this machine. Errors: `ShapeError`."""
    if dtype in _NATIVE:
        return dtype
    if dtype.name in DTYPES:
        return dtype if dtype.isnative else dtype.newbyteorder("=")
    if dtype.kind in "fc":
        rule, way = f"'{name}' has dtype {dtype.name}, which is too long", f"convert it to {_LONGEST[dtype.kind]}"
    else:
        rule = f"'{name}' has dtype {dtype}: arrays hold numbers"
        way = "convert it to floating-point, integer, bool or complex numbers"
    raise ShapeError(Problem("dtype", rule, way_out=way))


def _viewed(name: str, value: Any) -> Array:
    if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray | np.generic):
        try:
            return np.from_dlpack(value)
        except Exception:  # any library's own error: NumPy may still know a way
            pass
    try:
        return np.asarray(value)
    except Exception as error:
        rule, way = f"'{name}' is no array: {error}", "pass an array, or lists of numbers of equal lengths"
        raise ShapeError(Problem("dtype", rule, way_out=way)) from None


def as_buffers(
    out: Mapping[str, Any] | Any,
    outputs: Sequence[str],
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    inputs: Mapping[str, Array],
) -> dict[str, Array]:
    """The buffers that results go to, by the outputs' names. Errors: `ShapeError` where one does not fit."""
    if not isinstance(out, Mapping):
        if len(outputs) != 1:
            rule = f"the program has several outputs: pass a dict of buffers for {', '.join(outputs)}"
            raise ShapeError(Problem("out", rule, way_out=f"write out={{'{outputs[0]}': ...}}"))
        out = {outputs[0]: out}
    problems: list[Problem] = []
    for name, buffer in out.items():
        if name not in outputs:
            rule, known = f"{name!r} is no output", (f"outputs: {', '.join(outputs)}",)
            way = nearest(name, outputs) or "leave it out: a buffer goes by its output's name"
            problems.append(Problem("out", rule, None, known, way))
        elif not isinstance(buffer, np.ndarray):
            rule = f"out['{name}'] must be a NumPy array, not {type(buffer).__name__}"
            problems.append(Problem("out", rule, way_out=_buffer(shapes[name], dtypes[name])))
        else:
            problems += _misfits(name, buffer, shapes[name], np.dtype(dtypes[name]))
    if not problems:
        named = list(out.items())
        for k, (name, buffer) in enumerate(named):
            others = [(f"the buffer for '{n}'", b) for n, b in named[:k]]
            others += [(f"the input '{n}'", a) for n, a in inputs.items()]
            for other, earlier in others:
                if _overlap(buffer, earlier):
                    rule = f"the buffer for '{name}' shares memory with {other}"
                    problems.append(Problem("out", rule, way_out="pass memory of its own for each output"))
    if problems:
        raise ShapeError(*problems)
    return dict(out)


def _buffer(shape: tuple[int, ...], dtype: str) -> str:
    """The way out where a buffer does not fit: one that does."""
    return f"pass np.empty({shape}, {dtype!r})"


def _misfits(name: str, buffer: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> list[Problem]:
    way = _buffer(shape, dtype.name)
    if buffer.shape != shape:
        values = (f"{name} has shape {shape}", f"the buffer has shape {buffer.shape}")
        return [Problem("out", f"the buffer for '{name}' has another shape", None, values, way)]
    if buffer.dtype != dtype:
        values = (f"{name} is {dtype}", f"the buffer is {buffer.dtype}")
        return [Problem("out", f"the buffer for '{name}' has another type", None, values, way)]
    if not buffer.flags.writeable:
        return [Problem("out", f"the buffer for '{name}' is read-only", way_out=way)]
    if not injective(zip(buffer.strides, buffer.shape, strict=True)):
        rule = f"elements of the buffer for '{name}' share memory"
        return [Problem("out", rule, way_out="pass an array whose elements lie apart")]
    return []


def _overlap(a: Array, b: Array) -> bool:
    if not np.may_share_memory(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # its stub knows two values only
    except np.exceptions.TooHardError:
        return True
