"""Data sets, and the IDX files that they come in.

In: files or arrays. Out: a `Dataset` of images and labels, to learn from and held out. The one rule: a file that is
not exactly what its header says is an error, and so is a set that is empty or does not fit together.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problems import DataError, data_error

Array = NDArray[Any]

__all__ = ["DataError", "Dataset", "folder", "read_idx"]

UBYTE_IMAGES, UBYTE_LABELS = 0x0803, 0x0801  # two zero bytes, the type of the elements, the number of axes
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True)
class Dataset:
    """`images` [N, height, width, channels] or of any other shape, and their `labels` [N], to learn from; `test_images`
    and `test_labels` held out; `name` is shown. Errors: `DataError` where counts differ or there is nothing to learn
    from.
    """

    name: str
    images: Array
    labels: Array
    test_images: Array
    test_labels: Array

    def __post_init__(self) -> None:
        for kind, images, labels in (
            ("training", self.images, self.labels),
            ("test", self.test_images, self.test_labels),
        ):
            if len(images) != len(labels):
                raise data_error("data-set", f"{self.name}: {kind}: {len(images)} images but {len(labels)} labels")
        if len(self.labels) == 0:
            raise data_error("empty-data", f"{self.name}: there is nothing to learn from")

    @property
    def classes(self) -> int:
        """One more than the greatest label."""
        return 1 + max(int(part.max()) for part in (self.labels, self.test_labels) if part.size)


def folder(path: str | os.PathLike[str], training: str = "train", test: str = "t10k") -> Dataset:
    """The four IDX files of the folder at `path`, gzipped or not, as MNIST and its successors have them.

    Their names begin with `training` and `test`. Images are float32 [N, height, width, 1] from 0 to 1, labels int64
    [N]. Errors: `DataError` for what is missing, or not what its header says.
    """
    root = Path(path)
    if not root.is_dir():
        raise data_error("missing-file", f"{root} is not a folder")
    images, labels = _pair(root, training)
    test_images, test_labels = _pair(root, test)
    name = f"{root}: {len(labels):,} images and {len(test_labels):,} for testing"
    return Dataset(name, images, labels, test_images, test_labels)


def _pair(root: Path, prefix: str) -> tuple[Array, Array]:
    images = read_idx(find(root, f"{prefix}-images", "idx3-ubyte"), UBYTE_IMAGES)
    labels = read_idx(find(root, f"{prefix}-labels", "idx1-ubyte"), UBYTE_LABELS)
    return (images.astype(np.float32) / np.float32(255))[..., None], labels.astype(np.int64)


def find(root: Path, stem: str, kind: str) -> Path:
    """The file of a folder, by its usual names."""
    names = [f"{stem}{separator}{kind}{end}" for separator in "-." for end in ("", ".gz")]
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise data_error("missing-file", f"{root} has no {names[0]} or {names[1]}")
    return found


def read_idx(path: str | os.PathLike[str], kind: int | None = None) -> Array:
    """The array of the IDX file at `path`, gzipped if it ends in .gz; its header must say exactly what follows.

    `kind` is the number that it must begin with, 0x0803 for images of bytes. Errors: `DataError`.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        raise data_error("damaged", f"{path} is damaged: {error}") from None
    except OSError as error:
        raise data_error("missing-file", f"cannot read {path}: {error.strerror}") from None
    if len(data) < 4:
        raise data_error("truncated", f"{path} is truncated: {len(data)} bytes are less than a header")
    (magic,) = struct.unpack(">I", data[:4])
    dtype, axes = _TYPES.get(magic >> 8), magic & 0xFF
    if dtype is None or (kind is not None and magic != kind):
        rule = f"{path} is no IDX file" if kind is None else f"{path} is no IDX file of this kind"
        expected = "" if kind is None else f", not with {kind:#010x}"
        raise data_error("other-format", rule, f"it starts with {magic:#010x}{expected}")
    start = 4 + 4 * axes
    if len(data) < start:
        raise data_error("truncated", f"{path} is truncated: {len(data)} bytes are less than the header's {start}")
    sizes = struct.unpack(f">{axes}I", data[4:start])
    expected_bytes = prod(sizes) * np.dtype(dtype).itemsize
    if len(data) - start != expected_bytes:
        rule = "truncated" if len(data) - start < expected_bytes else "too long"
        shape = "x".join(map(str, sizes))
        values = f"its header says {shape}, which is {expected_bytes} bytes, not {len(data) - start}"
        raise data_error("truncated", f"{path} is {rule}", values)
    return np.frombuffer(data, dtype, offset=start).reshape(sizes)
