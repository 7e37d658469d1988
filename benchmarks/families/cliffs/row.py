"""A row of the cliffs: an equation as a user writes it, beside a few lines of NumPy.

In: a text, the shapes of its inputs by the names of sizes, a function of NumPy. Out: a `Workload` for each scale. The
one rule: what is written by hand is forward alone, and in the types that it is given, so that its differences in
float64 are the slopes that our gradients are compared with, in the directions of `directions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from ...libraries import eager, equations, inputs_of
from ...workload import DY, FORWARD, Array, Arrays, Below, Build, Normal, Positive, Prepared, Workload
from ...workload import STEP as BOTH

SCALES = (1, 2, 4)
DIRECTIONS = 2
STEP = 1e-6
_INPUT = re.compile(r"(\w+)\[([^\]]*)\](?:<(\w+)|(\+))?")


@dataclass(frozen=True)
class Row:
    """`inputs` are those of `sources`, `output` is the result's shape. `grows` names the sizes that scales multiply.

    Sizes in braces stand for their numbers in the text. `small` are the sizes of the tests. `torch` is PyTorch's way,
    a function of torch and the inputs. `tolerance` is that of the greatest element.
    """

    name: str
    text: str
    inputs: str
    output: str
    sizes: Mapping[str, int]
    grows: str
    small: Mapping[str, int]
    hand: Callable[..., Array]
    torch: Callable[..., Any] | None = None
    scales: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 2e-3
    modes: tuple[str, ...] = (FORWARD, BOTH)

    def scaled(self, scale: int) -> dict[str, int]:
        """The sizes, some of them multiplied."""
        return {n: size * (scale if n in self.grows.split() else 1) for n, size in self.sizes.items()}

    def workload(self, sizes: Mapping[str, int], name: str = "", slopes: bool = True) -> Workload:
        """The row at these sizes; with `slopes`, gradients are compared with differences of the hand."""
        text = self.text
        for size, number in sizes.items():
            text = text.replace(f"{{{size}}}", str(number))
        peers = {
            "indexlang": _shortened(equations(text), slopes),
            "numpy": by_hand(self.hand, slopes),
        }
        if self.torch is not None:
            peers["torch"] = _shortened(eager(self.torch), slopes)
        inputs = sources(self.inputs, sizes, self.scales)
        return Workload(
            name or self.name,
            inputs,
            shape(self.output, sizes),
            peers,
            modes=self.modes,
            tolerance=self.tolerance,
        )

    def workloads(self) -> Iterator[Workload]:
        """A workload a scale."""
        for scale in SCALES:
            yield self.workload(self.scaled(scale), self.at(scale), slopes=scale == 1)

    def at(self, scale: int) -> str:
        """The name of the workload at a scale."""
        return self.name if scale == 1 else f"{self.name}, x{scale}"


def sources(
    text: str, sizes: Mapping[str, int] | None = None, scales: Mapping[str, float] | None = None
) -> dict[str, Normal | Below]:
    """Inputs by name of "x[b,i+2] t[b]<v var[c]+": floats, integers below a size, positive floats."""
    found: dict[str, Normal | Below] = {}
    for name, extent, below, positive in _INPUT.findall(text):
        at, scale = shape(extent, sizes or {}), (scales or {}).get(name, 1.0)
        kind = Positive if positive else Normal
        found[name] = Below(at, _number(below, sizes or {})) if below else kind(at, scale)
    return found


def shape(text: str, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
    """The shape of "b,2*i+1"."""
    return tuple(_number(part, sizes or {}) for part in text.split(",") if part)


def _number(text: str, sizes: Mapping[str, int]) -> int:
    """A sum of products of sizes and numbers."""
    total = 0
    for term in text.replace("-", "+-").split("+"):
        number = 1
        for factor in term.removeprefix("-").split("*"):
            number *= int(factor) if factor.isdigit() else sizes[factor]
        total += -number if term.startswith("-") else number
    return total


# -- results -------------------------------------------------------------------------------------------------


def directions(arrays: Arrays) -> Iterator[tuple[str, list[Array]]]:
    """For each floating-point input some directions, the same for every library."""
    for name, array in inputs_of(arrays).items():
        if array.dtype.kind == "f":
            rng = np.random.default_rng(crc32(name.encode()))
            yield name, [rng.standard_normal(array.shape) for _ in range(DIRECTIONS)]


def _shortened(build: Build, slopes: bool) -> Build:
    """The same calls; of their gradients only the slopes in the directions are compared, or nothing."""

    def made(arrays: Arrays, gradients: bool) -> Prepared:
        prepared = build(arrays, gradients)

        def results(given: Any) -> Arrays:
            found = prepared.results(given)
            short = {"y": np.asarray(found["y"])}
            if gradients and slopes:
                for name, along in directions(arrays):
                    gradient = np.asarray(found[f"{name}.grad"], np.float64)
                    short[f"{name}.slope"] = np.array([np.vdot(gradient, a) for a in along])
            return short

        return Prepared(prepared.run, results)

    return made


def by_hand(forward: Callable[..., Array], slopes: bool) -> Build:
    """NumPy, forward in either mode; the slopes are differences in float64."""

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        given = inputs_of(arrays)
        values = tuple(given.values())

        def results(y: Array) -> Arrays:
            found = {"y": np.asarray(y)}
            if gradients and slopes:
                wide = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in given.items()}
                for name, along in directions(arrays):
                    found[f"{name}.slope"] = np.array([slope(forward, wide, name, a, arrays[DY]) for a in along])
            return found

        return Prepared(lambda: forward(*values), results)

    return build


def slope(forward: Callable[..., Array], given: Arrays, name: str, along: Array, dy: Array) -> float:
    """How sum(dy * y) changes as an input moves along a direction."""
    ahead, behind = (forward(*({**given, name: given[name] + s * along}).values()) for s in (STEP, -STEP))
    return float(np.vdot(np.asarray(ahead) - behind, dy.astype(np.float64)) / (2 * STEP))
