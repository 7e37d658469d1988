"""What is right: the loops and the second oracle, and the surroundings in which a program is tried.

In: a Program and arrays. Out: its outputs, in float64. The one rule: up to some number of points the plain loops say
it, beyond them `dense`, which is held against the loops by its own tests.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import dense
import numpy as np
from numpy.typing import NDArray

from .house import Domain, Program, Reduce, expanded, infer_sizes, infer_types, loops, parts_of
from .sample import Sample

Array = NDArray[Any]
Arrays = dict[str, Array]


def points(program: Program, arrays: Mapping[str, Array]) -> int:
    """The points of all domains, those of embedded reductions inside."""
    program = expanded(program, {n: a.ndim for n, a in arrays.items()})
    sizes = infer_sizes(program, {n: a.shape for n, a in arrays.items()})
    total = 0
    for stmt, extents in zip(program.statements, sizes.extents, strict=True):
        inner = [p.domain for p in parts_of(stmt) if isinstance(p, Reduce)]
        total += _box(stmt.domain, extents) * max(1, sum(_box(d, extents) for d in inner))
    return total


def _box(domain: Domain, extents: Mapping[str, tuple[int, int]]) -> int:
    return math.prod(hi - lo for lo, hi in (extents[i] for i in domain.indices))


def oracle(program: Program, arrays: Arrays, most: int) -> Arrays:
    """What is right: by plain loops up to `most` points, beyond by the second oracle. Errors: `IndexError`."""
    if points(program, arrays) <= most:
        return loops.run(program, arrays, dtypes=_wide(program, arrays))
    return dense.run(program, arrays)


def _wide(program: Program, arrays: Arrays) -> dict[str, str]:
    """The types of the program's tensors, floating-point ones in float64."""
    found = infer_types(program, {n: a.dtype.name for n, a in arrays.items()}).tensors
    return {n: "float64" if t.startswith("float") else t for n, t in found.items()}


# -- surroundings ------------------------------------------------------------------------------------


@contextmanager
def verified(sample: Sample) -> Iterator[None]:
    """Half of the samples have their plans verified, and run code that checks itself; half run what users run."""
    with mock.patch.dict(os.environ, {"INDEXLANG_VERIFY": str(sample.seed // 7 % 2)}):
        yield


@contextmanager
def fresh_memory_is_nan() -> Iterator[None]:
    """What is read before it was written is nan, or a number that stands out, and not what was there by chance."""
    empty, empty_like = np.empty, np.empty_like

    def filled(a: Array) -> Array:
        if a.dtype.kind in "fc":
            a.fill(np.nan)
        elif a.dtype.kind in "iu":
            a.fill(np.iinfo(a.dtype).max // 3)
        return a

    def made(*args: Any, **options: Any) -> Array:
        return filled(empty(*args, **options))

    def made_like(*args: Any, **options: Any) -> Array:
        return filled(empty_like(*args, **options))

    with mock.patch.object(np, "empty", made), mock.patch.object(np, "empty_like", made_like):
        yield


def infinite_inside(program: Program, arrays: Mapping[str, Any]) -> bool:
    """Whether a tensor on the way to the outputs is not finite."""
    every = tuple(dict.fromkeys(s.target.tensor for s in program.statements))
    found = dense.run(replace(program, outputs=every), arrays)
    return not all(np.isfinite(value).all() for value in found.values())
