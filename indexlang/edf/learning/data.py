"""Data sets, and the IDX files that they come in.

In: files or arrays. Out: a `Dataset` of images and labels, to learn from and held out. The one rule: a file that is
not exactly what its header says is an error, and so is a set that is empty or does not fit together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...files.idx import read_idx
from ..problems import DataError, data_error

Array = NDArray[Any]

__all__ = ["DataError", "Dataset", "folder", "read_idx"]

UBYTE_IMAGES, UBYTE_LABELS = 0x0803, 0x0801  # two zero bytes, the type of the elements, the number of axes


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """`images` [N, height, width, channels] or of any other shape, and their `labels` [N], to learn from; `test_images`
    and `test_labels` held out; `name` is shown. Lists become arrays. Errors: `DataError` for what is no array of
    numbers, where counts differ, or there is nothing to learn from.
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
                rule = f"{self.name}: {kind}: {len(images)} images but {len(labels)} labels"
                raise data_error("data-set", rule, way_out="pass one label for each image")
        if len(self.labels) == 0:
            rule = f"{self.name}: there is nothing to learn from"
            raise data_error("empty-data", rule, way_out="pass images and their labels")

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
        rule, way = f"{of}: {name} are no array: {error}", "pass an array, or lists of numbers of equal lengths"
        raise data_error("data-set", rule, way_out=way) from None
    if array.dtype.kind not in "biufc" or array.ndim == 0:
        kind = "a single value" if array.ndim == 0 else array.dtype.name
        rule = f"{of}: {name} are an array of numbers, not {kind}"
        raise data_error("data-set", rule, way_out="pass an array with an axis of examples")
    return array


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
