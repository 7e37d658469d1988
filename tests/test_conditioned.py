"""Masked sums as products with factors of 0 and 1: the admitted points, summed by NumPy over the whole domain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

TEXTS = (
    "y[i,c] += x[j,c] where j <= i, g[i] == g[j]",
    "y[i,c] += x[j,c]*w[j] where a[i] > b[j]",
    "y[i,c] += -(x[j,c]*s[c])/a[i] where m[i,j] > 0",
    "y[i] += w[j] where a[i] > b[j]",
    "y[i,k] += x[j,c] where m[i,j] > 0, h[k] >= s[c]",
    "y[i,c] += x[j,c] where m[i,j] > 0, b[j] < 0.5, a[i] > -1",
    "y[c,i] += x[j,c]*m[i,j] where j <= i + k, h[k] > 0",
)


def inputs(n: int, c: int, kind: str, spoil: bool) -> dict[str, Array]:
    rng = default_rng(n)
    normal = rng.standard_normal
    found: dict[str, Array] = {"x": normal((n, c)), "w": normal(n), "a": normal(n), "b": normal(n), "s": normal(c)}
    found |= {"m": normal((n, n)), "h": normal(5)}
    found = {k: v.astype(kind) for k, v in found.items()} | {"g": rng.integers(0, 3, n)}
    if spoil:
        x, w = found["x"], found["w"]
        x[0], x[n // 2, c // 2], w[n - 1] = np.inf, np.nan, -np.inf
    return found


def expected(text: str, v: dict[str, Array]) -> Array:
    """All points that are admitted, summed."""
    v = {k: a.astype(np.float64) for k, a in v.items()}
    x, w, a, b, s, m, h, g = (v[k] for k in "xwabsmhg")
    n = len(x)
    i, j, k = np.arange(n)[:, None], np.arange(n), np.arange(5)
    match TEXTS.index(text):
        case 0:
            return np.where(((j <= i) & (g[:, None] == g))[:, :, None], x, 0).sum(1)
        case 1:
            return np.where((a[:, None] > b)[:, :, None], x * w[:, None], 0).sum(1)
        case 2:
            return np.where((m > 0)[:, :, None], -x * s / a[:, None, None], 0).sum(1)
        case 3:
            return np.where(a[:, None] > b, w, 0).sum(1)
        case 4:
            admit = (m > 0)[:, None, :, None] & (h[:, None] >= s)[None, :, None, :]
            return np.where(admit, x, 0).sum((2, 3))
        case 5:
            return np.where(((m > 0) & (b < 0.5) & (a > -1)[:, None])[:, :, None], x, 0).sum(1)
        case _:
            admit = (j[None, :, None] <= i[:, :, None] + k) & (h > 0)
            return np.where(admit[..., None], (m[:, :, None] * x)[:, :, None], 0).sum((1, 2)).T


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("spoil", [False, True], ids=["finite", "spoilt"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("text", TEXTS)
def test_masked_sums(text: str, kind: str, spoil: bool, limits: Any) -> None:
    f = sized(il.compile(text), limits)
    for n, c in ((1, 1), (7, 3), (40, 20)):
        given = inputs(n, c, kind, spoil)
        mine = {k: given[k] for k in f.inputs}
        verify(f.plan(**mine))
        with np.errstate(all="ignore"):
            right, y = expected(text, given), f(**mine)
        good = np.isfinite(right)
        np.testing.assert_array_equal(np.isfinite(y), good)
        np.testing.assert_allclose(y[good], right[good], rtol=1e-3 if kind == "float32" else 1e-9, atol=1e-4)


def test_what_is_planned() -> None:
    rng = default_rng(0)
    x, g = rng.standard_normal((256, 64)).astype(np.float32), rng.integers(0, 8, 256)
    (step,) = il.compile(TEXTS[0], backend="numpy").plan(x=x, g=g).steps
    assert "masked contraction" in step.kernel
    assert step.statement == "y[i,c] += x[j,c] where j <= i, g[i] == g[j]"
    (step,) = il.compile("y[i,c] = x[j,c] where j <= i, i < 256", backend="numpy").plan(x=x).steps
    assert "scan" in step.kernel


def test_sums_of_a_plane() -> None:
    x = default_rng(0).standard_normal((40, 40))
    f = il.compile("y[i,j] = x[u,v] where u <= i, v <= j, i < 40, j < 40")
    np.testing.assert_allclose(f(x=x), np.cumsum(np.cumsum(x, axis=0), axis=1), atol=1e-9)
