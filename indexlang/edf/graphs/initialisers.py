"""How parameters begin: random numbers whose spread keeps the size of signals, or constants.

In: a shape, how many numbers go into and out of one element's sum, a random generator. Out: an array. The one rule:
the spread depends on the fans alone, and the numbers on the generator alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..problems import graph_error
from ..settings import FINITE, FROM_0, setting

Array = NDArray[Any]
Fans = tuple[int, int]
Mode = Literal["in", "out", "average"]
Distribution = Literal["normal", "uniform"]


class Initialiser(Protocol):
    """What gives a parameter its first value."""

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        """An array of `shape`, drawn by `rng`; `fans` = (in, out) as for `Parameter`."""
        ...


Initial = Initialiser | Callable[[], Initialiser]


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
            rule = f"the mode must be one of {', '.join(_MODES)}, not {self.mode!r}"
            raise graph_error("initialiser", rule, way_out="write mode='in', or leave it out")
        if self.distribution not in ("normal", "uniform"):
            rule = f"the distribution must be 'normal' or 'uniform', not {self.distribution!r}"
            raise graph_error("initialiser", rule, way_out="write 'normal', or leave it out")
        setting("Scaled", "gain", self.gain, FROM_0)

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

    def __post_init__(self) -> None:
        setting("Normal", "spread", self.spread, FROM_0)
        setting("Normal", "mean", self.mean, FINITE)

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return self.mean + self.spread * rng.standard_normal(shape)


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to below `high`."""

    low: float = -0.05
    high: float = 0.05

    def __post_init__(self) -> None:
        if setting("Uniform", "low", self.low, FINITE) > setting("Uniform", "high", self.high, FINITE):
            rule = f"the lower limit {self.low} is above the upper one {self.high}"
            raise graph_error("initialiser", rule, way_out="give the lower one first")

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class Constant:
    """The same number, `value`, everywhere. `Zeros` and `Ones` are two of them."""

    value: float = 0.0

    def __post_init__(self) -> None:
        setting("Constant", "value", self.value, FINITE)

    def __call__(self, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


def Zeros() -> Constant:  # noqa: N802
    """0 everywhere."""
    return Constant(0.0)


def Ones() -> Constant:  # noqa: N802
    """1 everywhere."""
    return Constant(1.0)


MAKERS: tuple[Callable[[], Initialiser], ...] = (Zeros, Ones, Glorot, He, LeCun, Normal, Uniform, Constant)


def initialiser(given: Initial) -> Initialiser:
    """What was given, or what it makes: `Zeros` is as good as `Zeros()`. Errors: `GraphError` if it is neither."""
    if given in MAKERS:
        return given()
    if not callable(given):
        names = ", ".join(m.__name__ for m in MAKERS)
        rule = f"a parameter begins by an initialiser, not by {given!r}"
        raise graph_error("initialiser", rule, way_out=f"take one of {names}")
    return cast(Initialiser, given)


def drawn(begin: Initialiser, shape: Sequence[int], fans: Fans, rng: np.random.Generator) -> Array:
    """First values. Errors: `GraphError` if they are of another shape, as an initialiser of one's own may have it."""
    found = np.asarray(begin(shape, fans, rng))
    if found.shape != tuple(shape):
        rule = f"an initialiser gives an array of the shape that it is asked for: {tuple(shape)}, not {found.shape}"
        raise graph_error("initialiser", rule, way_out="return an array of its argument: rng.normal(size=shape)")
    return found
