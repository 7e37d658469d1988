"""Files as they are read: there, of a size, and asked for no more than they have.

In: a path. Out: an open file and its size; numbers, text and JSON of it. The one rule: what a file says of itself is
checked against what it is before memory is asked for.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..machine import memory
from .problems import DataError, data_error

Array = NDArray[Any]

MOST_AXES = 64  # of an array of NumPy
MOST_UNPACKED = 1 << 30  # bytes that a file may unpack to, or a hundred times its own
_MOST_RATIO = 100
_DENSEST = 1032  # bytes that a byte of deflate can mean
_DEEPEST = 32  # levels of JSON
_CHUNK = 1 << 20
_KINDS = {"O": "Python objects", "U": "text", "S": "text", "M": "dates", "m": "spans of time", "V": "records"}


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """The file, and its bytes. Errors: `DataError` if it is no file, or cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe may wait for ever
            raise data_error("missing-file", f"cannot read {path}: it is no file")
        file = open(path, "rb")  # noqa: SIM115 (its errors are others than those of what is done with it)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise data_error("missing-file", f"cannot read {os.fspath(path)!r}: {error}") from None
    with file:
        try:
            yield file, os.fstat(file.fileno()).st_size
        except OSError as error:
            raise _unreadable(path, error) from None
        except MemoryError:
            raise data_error("file-size", f"{path} does not fit into memory") from None


def _unreadable(path: str | os.PathLike[str], error: OSError) -> DataError:
    return data_error("missing-file", f"cannot read {path}: {error.strerror or error}")


def fill(file: Readable, shape: tuple[int, ...], dtype: np.dtype[Any], order: str = "C") -> Array | None:
    """The array whose bytes come next; None where they end before."""
    array = np.empty(prod(shape), dtype)
    if array.size:
        room = array.view(np.uint8).data
        while room:
            part = file.read(min(len(room), _CHUNK))
            if not part:
                return None
            room[: len(part)] = part
            room = room[len(part) :]
    return array.reshape(shape, order="F" if order == "F" else "C")


def afford(where: object, unpacked: int, packed: int | None = None) -> None:
    """Refuse what a file asks for if it is more than memory has, or than so many packed bytes may unpack to.

    Errors: `DataError`.
    """
    if packed is not None and unpacked > _DENSEST * packed + _CHUNK:
        rule = f"{where} is damaged: {packed:,} bytes do not unpack to {unpacked:,}"
        raise data_error("damaged", rule)
    if packed is not None and unpacked > max(MOST_UNPACKED, _MOST_RATIO * packed):
        values = (f"packed: {packed:,} bytes", f"unpacked: {unpacked:,} bytes")
        raise data_error("file-size", f"{where} unpacks to far more than it is", *values, way_out="save it unpacked")
    if unpacked > MOST_UNPACKED >> 4:
        available = memory()
        if available is not None and unpacked > available:
            values = (f"needed: {unpacked:,} bytes", f"available: {available:,} bytes")
            raise data_error("file-size", f"{where} does not fit into memory", *values)


def check_shape(where: object, shape: tuple[int, ...]) -> None:
    """Whether NumPy can have an array of this shape. Errors: `DataError`."""
    if len(shape) > MOST_AXES:
        raise data_error("damaged", f"{where} is damaged: it has {len(shape)} axes, arrays have {MOST_AXES} at most")
    if prod(max(n, 1) for n in shape) >= 1 << 60:
        raise data_error("damaged", f"{where} is damaged: no array is as large as {_short(shape)}")


def _short(shape: tuple[int, ...]) -> str:
    text = "x".join(map(str, shape[:8]))
    return f"{text[:60]}..." if len(text) > 60 or len(shape) > 8 else text


def check_numbers(where: object, dtype: np.dtype[Any]) -> None:
    """Whether elements are numbers that tensors may be. Errors: `DataError`."""
    if dtype.kind in _KINDS:
        way = "save numbers with numpy.save or numpy.savez"
        raise data_error("dtype", f"{where} holds {_KINDS[dtype.kind]}, not numbers", way_out=way)
    if dtype.kind not in "biufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise data_error("dtype", f"{where} holds {dtype}, which no tensor is", way_out="convert it to float64")


def json_of(where: object, text: bytes) -> Any:
    """What a text of JSON says, no name twice in an object. Errors: `DataError`."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    if _depth(text) > _DEEPEST:
        raise data_error("damaged", f"{where} is no JSON: it is nested more than {_DEEPEST} levels deep")
    try:
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise data_error("damaged", f"{where} is no JSON: {error}") from None


def _depth(text: bytes) -> int:
    """How deep the brackets outside of strings are nested."""
    bare = np.frombuffer(re.sub(rb'"(?:[^"\\]|\\.)*+"', b"", text, flags=re.DOTALL), np.uint8)
    steps = np.isin(bare, list(b"[{")).astype(np.int8) - np.isin(bare, list(b"]}"))
    return int(np.max(np.cumsum(steps, dtype=np.int64), initial=0))
