"""One random program and what it is fed.

In: a text, and for each input its shape, numbers and memory layout. Out: arrays, and the Python that makes them. The
one rule: an array is what its Python text says, so that a failing sample can be printed as a test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FLOATS = {
    "normal": "{r}.standard_normal({s})",
    "ties": "{r}.integers(-2, 3, {s}) * 1.0",  # whole numbers: sums are exact, and many are equal
    "sparse": "{r}.choice([0.0, 0.0, 1.0, -0.5], {s})",
    "positive": "{r}.uniform(0.5, 1.5, {s})",
    "offset": "30000 + {r}.standard_normal({s})",
    "small": "0.1 * {r}.standard_normal({s})",
    "far row": "{r}.standard_normal({s}) * 10.0 ** {r}.integers(-2, 5, {s}[:1] + (1,) * {n})",
}
INTEGERS = ("int64", "int64", "int32", "uint8", "int16")

LAYOUTS = ("C", "F", "permuted", "negative", "sliced", "inner", "broadcast", "readonly", "unaligned")


@dataclass(frozen=True)
class Input:
    """`numbers` is a key of FLOATS, or "below" (integers 0..limit-1); no layout but "broadcast" changes values."""

    shape: tuple[int, ...]
    numbers: str = "normal"
    limit: int = 0
    dtype: str = ""  # of integers
    layout: str = "C"

    @property
    def floating(self) -> bool:
        return self.numbers in FLOATS

    def source(self, seed: int, dtype: str) -> str:
        """The Python that makes the array."""
        r, s = f"default_rng({seed})", _tuple(self.shape)
        if self.floating:
            text = FLOATS[self.numbers].format(r=r, s=s, n=max(len(self.shape) - 1, 0))
            if dtype != "float64":
                text = f"np.asarray({text}, np.{dtype})"
        else:
            text = f"{r}.integers(0, {self.limit}, {s}, np.{self.dtype or 'int64'})"
        if self.layout != "C":
            text = f"laid({text}, {self.layout!r})"
        return text


def _tuple(shape: tuple[int, ...]) -> str:
    return repr(tuple(int(n) for n in shape))


def laid(values: Any, layout: str) -> Array:
    """The same values in another memory layout; "broadcast" repeats the first along the first axis, without memory."""
    a = np.array(values, order="C")
    if a.ndim == 0:
        return a
    match layout:
        case "F":
            return np.asfortranarray(a)
        case "permuted":  # neither C nor F where there are three axes
            order = (1, 0, *range(2, a.ndim)) if a.ndim > 2 else tuple(reversed(range(a.ndim)))
            return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))
        case "negative":
            return np.ascontiguousarray(np.flip(a))[(slice(None, None, -1),) * a.ndim]
        case "sliced":  # every second element of every axis
            return _inside([2 * n for n in a.shape], slice(None, None, 2), a)
        case "inner":  # a part of a larger array
            return _inside([n + 2 for n in a.shape], slice(1, -1), a)
        case "broadcast":
            return np.broadcast_to(a[:1], a.shape)
        case "readonly":
            a.flags.writeable = False
            return a
        case "unaligned":
            room = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
            room[...] = a
            return room
        case _:
            return a


def _inside(shape: list[int], part: slice, a: Array) -> Array:
    view = np.zeros(shape, a.dtype)[(part,) * a.ndim]
    view[...] = a
    return view


@dataclass(frozen=True)
class Sample:
    """A text and its inputs; `seed` is what its numbers come from, `limits` which thresholds the planner has."""

    text: str
    inputs: Mapping[str, Input]
    seed: int = 0
    limits: str = "default"
    cotangents: str = "C"  # the layout of the cotangents
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)  # of tensors made, if known

    def sources(self, dtype: str = "float64") -> dict[str, str]:
        return {name: i.source(self.seed + k, dtype) for k, (name, i) in enumerate(self.inputs.items())}

    def arrays(self, dtype: str = "float64") -> dict[str, Array]:
        """The inputs, the same at every call."""
        names = {"np": np, "laid": laid, "default_rng": np.random.default_rng}
        return {name: eval(source, dict(names)) for name, source in self.sources(dtype).items()}

    def elements(self) -> int:
        return sum(math.prod(i.shape) for i in self.inputs.values())

    def plain(self) -> Sample:
        """In row-major memory."""
        return replace(self, cotangents="C", inputs={n: replace(i, layout="C") for n, i in self.inputs.items()})


@dataclass(frozen=True)
class Given(Sample):
    """A sample whose inputs are there already."""

    given: Mapping[str, Array] = field(default_factory=dict, compare=False)

    def arrays(self, dtype: str = "float64") -> dict[str, Array]:
        return {n: a.astype(dtype) if a.dtype.kind == "f" and a.dtype != dtype else a for n, a in self.given.items()}


def given(text: str, arrays: Mapping[str, Array], limits: str = "default", cotangents: str = "C") -> Given:
    """A sample of these arrays."""
    inputs = {n: Input(a.shape, "normal" if a.dtype.kind == "f" else "below") for n, a in arrays.items()}
    return Given(text, inputs, 0, limits, cotangents, given=arrays)
