"""Ties in blocks: of equal candidates the first one gets the gradient, steps first, in the block's order, then lines.

The winners: a walk through candidates as the text goes through them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops

Array = np.ndarray[Any, Any]
Candidate = tuple[str, tuple[int, ...], tuple[int, ...]]  # an element of an input, and where it goes
T, K = 4, 3


def in_order(*names: str) -> Iterator[Candidate]:
    for t in range(T):
        yield from ((name, (t, k), (k,)) for name in names for k in range(K))


def from_the_end(*names: str) -> Iterator[Candidate]:
    for t in reversed(range(T)):
        yield from ((name, (t, k), (k,)) for name in names for k in range(K))


def all_in_one(*names: str) -> Iterator[Candidate]:
    for t in reversed(range(T)):
        yield from ((name, (t, k), ()) for name in names for k in range(K))


def before_it() -> Iterator[Candidate]:
    yield from (("y", (t, k), (k,)) for t in range(T) for k in range(K))
    yield from from_the_end("x")


def nested() -> Iterator[Candidate]:
    for t in range(T):
        for k in reversed(range(K)):
            yield from ((name, (t, k), ()) for name in "xy")
        yield from (("z", (t, k), ()) for k in range(K))


CASES: dict[str, tuple[str, Callable[[], Iterator[Candidate]]]] = {
    "from the end": ("for t reversed:\n    m[k] max= x[t,k]", lambda: from_the_end("x")),
    "two lines": ("for t:\n    m[k] max= x[t,k]\n    m[k] max= y[t,k]", lambda: in_order("x", "y")),
    "two lines from the end": (
        "for t reversed:\n    m[k] min= x[t,k]\n    m[k] min= y[t,k]",
        lambda: from_the_end("x", "y"),
    ),
    "all in one": ("for t reversed:\n    m max= x[t,k]", lambda: all_in_one("x")),
    "in front of the block": ("m[k] max= y[t,k]\nfor t reversed:\n    m[k] max= x[t,k]", before_it),
    "nested": (
        "for t:\n    for k reversed:\n        m max= x[t,k]\n        m max= y[t,k]\n    m max= z[t,k]",
        nested,
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("case", CASES)
def test_the_first_of_equal_candidates_wins(case: str, backend: str) -> None:
    text, candidates = CASES[case]
    f = indexlang.compile(text, backend=backend)
    rng = np.random.default_rng()
    for _ in range(5):
        given = {name: rng.integers(0, 2, (T, K)).astype(float) for name in f.inputs}
        best: dict[tuple[int, ...], Candidate] = {}
        for name, at, to in candidates():
            value = given[name][at]
            better = (lambda a, b: a < b) if "min=" in text else (lambda a, b: a > b)
            if to not in best or better(value, given[best[to][0]][best[to][1]]):
                best[to] = (name, at, to)
        m, pullback = f.vjp(given)
        cotangent = rng.normal(size=m.shape)
        expected = {name: np.zeros((T, K)) for name in given}
        for to, (name, at, _) in best.items():
            assert m[to] == given[name][at]
            expected[name][at] += cotangent[to]
        found = pullback(cotangent)
        g = f.grad()
        told = loops(g.program, {**given, "m.grad": cotangent})
        for name in given:
            np.testing.assert_array_equal(found[name], expected[name])
            np.testing.assert_array_equal(told[f"{name}.grad"], expected[name])
