"""How parameters begin: random numbers whose spread keeps the size of signals, or constants.

In: a shape, how many numbers go into and out of one element's sum, a random generator. Out: an array. The one rule:
the spread depends on the fans alone, and the numbers on the generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ..problems import graph_error

Array = NDArray[Any]
Fans = tuple[int, int]
Mode = Literal["in", "out", "average"]
Distribution = Literal["normal", "uniform"]


class Initialiser(Protocol):
    """What gives a parameter its first value."""

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        """An array of `shape`, drawn by `rng`; `fans` = (in, out) as for `Parameter`."""
        ...


def fans(shape: Sequence[int]) -> Fans:
    """How many numbers are summed into one output, and how many outputs one input reaches.

    The last two axes are what comes in and what goes out, the axes before them positions of a kernel.
    """
    if len(shape) < 2:
        size = shape[0] if shape else 1
        return size, size
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


@dataclass(frozen=True)
class Scaled:
    """Numbers of mean 0 and variance `gain / n`, n by `mode`: the fan "in", the fan "out", or their "average"."""

    gain: float = 1.0
    mode: Mode = "in"
    distribution: Distribution = "normal"

    def __post_init__(self) -> None:
        if self.mode not in _MODES:
            raise graph_error("initialiser", f"the mode must be one of {', '.join(_MODES)}, not {self.mode!r}")
        if self.distribution not in ("normal", "uniform"):
            raise graph_error(
                "initialiser", f"the distribution must be 'normal' or 'uniform', not {self.distribution!r}"
            )

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        spread = math.sqrt(self.gain / max(1.0, _MODES[self.mode](fans)))
        if self.distribution == "normal":
            return spread * rng.standard_normal(shape)
        limit = math.sqrt(3) * spread
        return rng.uniform(-limit, limit, shape)


_MODES: dict[str, Callable[[Fans], float]] = {
    "in": lambda fans: fans[0],
    "out": lambda fans: fans[1],
    "average": lambda fans: (fans[0] + fans[1]) / 2,
}


def Glorot(distribution: Distribution = "uniform") -> Scaled:  # noqa: N802 (it makes one, like a class)
    """Variance 2 / (in + out): signals and gradients keep their size (Glorot, Bengio 2010).

    `distribution` is "uniform" or "normal". Errors: `GraphError` for another.
    """
    return Scaled(1.0, "average", distribution)


def He(distribution: Distribution = "normal", mode: Mode = "in") -> Scaled:  # noqa: N802
    """Variance 2 / in: the same behind relu, which halves the signal (He et al. 2015).

    `distribution` is "normal" or "uniform", `mode` the number that divides: "in", "out" or their "average".
    Errors: `GraphError` for others.
    """
    return Scaled(2.0, mode, distribution)


def LeCun(distribution: Distribution = "normal") -> Scaled:  # noqa: N802
    """Variance 1 / in (LeCun et al. 1998, "Efficient BackProp"); `distribution` as for `Glorot`."""
    return Scaled(1.0, "in", distribution)


@dataclass(frozen=True)
class Normal:
    """Normal numbers around `mean`, of standard deviation `spread`."""

    spread: float = 0.01
    mean: float = 0.0

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return self.mean + self.spread * rng.standard_normal(shape)


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to below `high`."""

    low: float = -0.05
    high: float = 0.05

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Constant:
    """The same number, `value`, everywhere. `Zeros` and `Ones` are two of them."""

    value: float = 0.0

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


Zeros, Ones = Constant(0.0), Constant(1.0)
