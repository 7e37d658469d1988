"""The machines that code is tried for in tests: this one, and lesser ones that it can run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from indexlang.backends.native import engine
from indexlang.backends.native.emit import module
from indexlang.backends.native.nest import Nest
from indexlang.backends.native.target import AVX2, BASELINE, Target


def targets() -> dict[str, Target]:
    """By name; those whose code this machine cannot run are left out."""
    own = engine.host()
    found = {"host": own}
    if own.triple.startswith("x86_64"):
        found["baseline"] = replace(BASELINE, triple=own.triple)
        if own.vector >= 32 and own.fused:
            found["avx2"] = replace(AVX2, triple=own.triple)
    return found


def compiled(nests: list[Nest], target: Target) -> engine.Library:
    """Nests as functions."""
    return engine.compiled(module(nests, target), [n.name for n in nests], target)


def copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays of their own."""
    return {name: a.copy() for name, a in arrays.items()}


def same(a: np.ndarray, b: np.ndarray, message: str = "") -> None:
    """Equal bit by bit, but for what is in a nan."""
    np.testing.assert_array_equal(a, b, message)
    if a.dtype.kind == "f":
        there = ~np.isnan(a)
        np.testing.assert_array_equal(np.signbit(a[there]), np.signbit(b[there]), message)
