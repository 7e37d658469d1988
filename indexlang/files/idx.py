"""IDX files, as MNIST and its successors have them: a type, sizes, and the elements, packed by gzip or not.

In: a path. Out: an array. The one rule: what follows the header is exactly what it says, and no more than that is
unpacked.

http://yann.lecun.com/exdb/mnist
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np

from .problems import data_error
from .reading import Array, Readable, afford, check_shape, fill, opened

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str], kind: int | None = None) -> Array:
    """The array of the IDX file at `path`, gzipped if it ends in .gz; its header must say exactly what follows.

    `kind` is the number that it must begin with, 0x0803 for images of bytes. Errors: `DataError`.
    """
    path = Path(path)
    with opened(path) as (file, size):
        if path.suffix != ".gz":
            return _read(path, file, kind, size, None)
        try:
            with gzip.GzipFile(fileobj=file) as inner:
                return _read(path, inner, kind, None, size)
        except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
            raise data_error("damaged", f"{path} is damaged: {error}") from None


def _read(path: Path, file: Readable, kind: int | None, size: int | None, packed: int | None) -> Array:
    """The array of what an open file holds; its size is known, or that of what it is unpacked from."""
    head = file.read(4)
    if len(head) < 4:
        raise data_error("truncated", f"{path} is truncated: {len(head)} bytes are less than a header")
    (magic,) = struct.unpack(">I", head)
    dtype, axes = _TYPES.get(magic >> 8), magic & 0xFF
    if dtype is None or (kind is not None and magic != kind):
        rule = f"{path} is no IDX file" if kind is None else f"{path} is no IDX file of this kind"
        expected = "" if kind is None else f", not with {kind:#010x}"
        raise data_error("other-format", rule, f"it starts with {magic:#010x}{expected}")
    head = file.read(4 * axes)
    if len(head) < 4 * axes:
        rule = f"{path} is truncated: {4 + len(head)} bytes are less than the header's {4 + 4 * axes}"
        raise data_error("truncated", rule)
    shape = struct.unpack(f">{axes}I", head)
    check_shape(path, shape)
    needed = prod(shape) * np.dtype(dtype).itemsize
    if size is not None and size - 4 - 4 * axes != needed:
        raise data_error("truncated", *_length(path, shape, needed, size - 4 - 4 * axes))
    afford(path, needed, packed)
    array = fill(file, shape, np.dtype(dtype))
    if array is None:
        raise data_error("truncated", *_length(path, shape, needed, "fewer"))
    if file.read(1):  # which also looks at the checksum of what was packed
        raise data_error("truncated", *_length(path, shape, needed, "more"))
    return array


def _length(path: Path, shape: tuple[int, ...], needed: int, there: int | str) -> tuple[str, str]:
    """The rule that a file of another length breaks, and the values."""
    longer = there == "more" or (isinstance(there, int) and there > needed)
    rule = f"{path} is {'too long' if longer else 'truncated'}"
    said = f"its header says {'x'.join(map(str, shape))}, which is {needed} bytes"
    return rule, f"{said}, not {there}"
