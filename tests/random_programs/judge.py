"""Whether a result is right, as far as its precision can tell.

In: what was found, what is right in float64, and a way to compute it again with noise. Out: None, or what is wrong.
The one rule: an element may differ by some times as much as it moves when each operation is off by one rounding; where
a tiny change would choose another winner or another branch, anything goes, and what is no finite number is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Again = Callable[[float, int], Arrays]  # noise, seed


@dataclass(frozen=True)
class Precision:
    """`near` is the relative error that nobody asks about; `noise` a rounding, `times` how many may add up.

    Where numbers beyond `greatest` occur, something may have overflowed on the way: then nothing is asked. Below `tiny`
    something may have lost its last digits on the way. Where a number on the way lies outside of `range`, the type
    does not hold it.
    """

    near: float
    noise: float
    times: float
    tiny: float
    greatest: float
    range: tuple[float, float]
    runs: int = 24


PRECISIONS = {
    "float64": Precision(1e-10, 1e-11, 10, 1e-250, 1e150, (1e-300, 1e300)),
    "float32": Precision(2e-6, 1.2e-7, 16, 1e-30, 1e12, (1e-37, 1e37)),
}


def wrong(found: Arrays, right: Arrays, again: Again, dtype: str = "float64") -> str | None:
    """What is wrong with `found`, in a few lines, or None."""
    if set(found) != set(right):
        return f"got {sorted(found)}, right are {sorted(right)}"
    precision = PRECISIONS[dtype]
    if any(np.any(np.abs(v[np.isfinite(v)]) > precision.greatest) for v in right.values()):
        return None
    doubtful = {}
    for name, value in right.items():
        if np.shape(found[name]) != value.shape:
            return f"{name} has shape {np.shape(found[name])}, right is {value.shape}"
        bad = _far(found[name], value, precision.near * np.abs(value.astype(np.float64)) + precision.tiny)
        if bad.any():
            doubtful[name] = bad
    if not doubtful:
        return None
    spread = {name: np.zeros(right[name].shape) for name in doubtful}
    for seed in range(-1 if dtype == "float32" else 0, precision.runs):  # ties as float32 has them first
        moved = again(precision.noise, seed)
        for name, bad in list(doubtful.items()):
            distance = np.abs(moved[name] - right[name])
            spread[name] = np.maximum(spread[name], np.where(np.isfinite(distance), distance, np.inf))
            size = np.abs(right[name].astype(np.float64))
            allowed = precision.times * spread[name] + precision.near * size + precision.tiny
            bad &= _far(found[name], right[name], allowed)
            if not bad.any():
                del doubtful[name]
        if not doubtful:
            return None
    name, bad = next(iter(doubtful.items()))
    return f"{name}: {shown(found[name], right[name], bad)}"


def _far(found: Array, right: Array, allowed: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.isfinite(right) & ~(np.abs(found.astype(np.float64) - right) <= allowed)


def shown(found: Array, right: Array, bad: Array) -> str:
    """The place of the worst element, and whole arrays if they are small."""
    with np.errstate(all="ignore"):
        distance = np.where(bad, np.abs(found.astype(np.float64) - right), -1.0)
    distance = np.where(np.isnan(distance), np.inf, distance)
    at = np.unravel_index(int(np.argmax(distance)), right.shape)
    place = ",".join(str(int(p)) for p in at)
    text = f"{int(bad.sum())} of {right.size} are wrong; at [{place}] got {found[at]!s}, right is {right[at]!s}"
    if right.size <= 12:
        text += f"; got {np.asarray(found).tolist()}, right is {right.tolist()}"
    return text
