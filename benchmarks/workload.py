"""What a workload is: a row of data, and for each library a way to build its calls.

In: shapes of inputs, from which every process makes the same arrays. Out: arrays by name, and `Prepared` calls. The
one rule: arrays stand in the language's layout (channels last) wherever they are compared; what a library likes better
is its builder's business, before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]

DY = "dy"  # the name under which a workload's arrays hold the gradient that its output gets
OURS = "indexlang"  # by the backend that it takes by itself
OTHER = f"{OURS}.numpy"  # and by its NumPy backend, where that is another one
PEERS = (OURS, OTHER, "numpy", "einsum", "opt_einsum", "autograd", "jax", "torch")
OPTIONAL = ("torch.compile",)
FORWARD, STEP = "forward", "forward+backward"


@dataclass(frozen=True)
class Normal:
    """Normal numbers times a scale."""

    shape: tuple[int, ...]
    scale: float = 1.0

    def draw(self, rng: np.random.Generator) -> Array:
        return np.asarray(rng.standard_normal(self.shape, np.float32) * np.float32(self.scale))


@dataclass(frozen=True)
class Positive(Normal):
    """Their absolute values, away from zero."""

    def draw(self, rng: np.random.Generator) -> Array:
        return np.abs(super().draw(rng)) + np.float32(0.1)


@dataclass(frozen=True)
class Below:
    """Integers from 0 up to a limit."""

    shape: tuple[int, ...]
    limit: int

    def draw(self, rng: np.random.Generator) -> Array:
        return rng.integers(0, self.limit, self.shape)


@dataclass(frozen=True)
class Prepared:
    """`run` is one call, finished when it returns; `results` says by name what such a call gave."""

    run: Callable[[], Any]
    results: Callable[[Any], Arrays]


Build = Callable[[Arrays, bool], Prepared]  # arrays in the order of the inputs; whether gradients are wanted, too


@dataclass(frozen=True)
class Workload:
    """A computation by several libraries. `flops` counts a run forward; where it is 0, moving data is the work."""

    name: str
    inputs: Mapping[str, Normal | Below]
    output: tuple[int, ...]
    peers: Mapping[str, Build]
    flops: int = 0
    modes: Sequence[str] = (FORWARD, STEP)
    tolerance: float = 2e-3  # of the greatest element of what is compared

    def arrays(self) -> dict[str, Array]:
        """The inputs and the gradient of the output: the same in every process."""
        rng = np.random.default_rng(crc32(self.name.encode()))
        found = {name: source.draw(rng) for name, source in self.inputs.items()}
        found[DY] = Normal(self.output).draw(rng)
        return found

    def build(self, peer: str) -> Build | None:
        """How a library does it, if it does."""
        return self.peers.get(OURS if peer == OTHER else peer)

    def work(self, mode: str) -> int:
        """Scalar operations of a call: backward, each factor of a product costs as much as the run forward."""
        return self.flops if mode == FORWARD else 3 * self.flops

    def traffic(self, mode: str) -> int:
        """Bytes that a call cannot avoid to read or write: inputs, the output, and their gradients."""
        inputs = sum(_bytes(source) for source in self.inputs.values())
        floats = sum(_bytes(source) for source in self.inputs.values() if isinstance(source, Normal))
        output = 4 * prod(self.output)
        return inputs + output if mode == FORWARD else inputs + floats + 2 * output


def _bytes(source: Normal | Below) -> int:
    return (4 if isinstance(source, Normal) else 8) * prod(source.shape)


def normals(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Normal | Below]:
    """Inputs by shape; parameters small enough that sums over them stay near one."""
    return {n: Normal(s, 1.0 if n in _DATA else prod(s[:-1]) ** -0.5) for n, s in shapes.items()}


_DATA = ("x", "z", "q", "k", "v", "f", "g")
