"""A size that nothing names is an index: it is summed over, and doubted behind a block."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import indexlang
from indexlang.errors import IndexLangWarning

BLOCK = "for t:\n    h[t+1,k] = tanh(h[t,k] + x[t,k])\n"
NAMED = {
    "a declared size": f"shape x[T,K]\n{BLOCK}y[k] = h[T,k]",
    "a size of the header": (
        "layer f(x[T,K]) -> y[K]:\n    for t:\n        h[t+1,k] = tanh(h[t,k] + x[t,k])\n    y[k] = h[T,k]"
    ),
    "a size that is asked for": f"{BLOCK}y[k] = h[size(x,0),k]",
    "a sum": f"{BLOCK}y[k] = h[t,k]",
    "an index of its own": f"{BLOCK}y[k] = h[T,k] * w[T]",
    "an index of the target": f"{BLOCK}y[T,k] = h[T,k]",
}


def test_a_capital_behind_a_block_is_doubted() -> None:
    with pytest.warns(IndexLangWarning, match=r"size-or-index.*'T'(.|\n)*shape x\[T,K\]"):
        f = indexlang.compile(f"{BLOCK}y[k] = h[T,k]")
    x = np.random.default_rng().normal(size=(3, 2))
    h = np.zeros((4, 2))
    for t in range(3):
        h[t + 1] = np.tanh(h[t] + x[t])
    np.testing.assert_allclose(f(x=x), h.sum(0))
    np.testing.assert_allclose(indexlang.compile(NAMED["a declared size"])(x=x), h[3])


@pytest.mark.parametrize("case", NAMED)
def test_what_is_meant_is_not_doubted(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", IndexLangWarning)
        indexlang.compile(NAMED[case])
