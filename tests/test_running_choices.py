"""Running sums that say by a choice how far they go are those that say it by a condition."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang
from indexlang.backends.engines import BACKENDS

rng = np.random.default_rng(0)
x, g = rng.standard_normal((30, 4)), rng.standard_normal(30)
BACKEND = [name for name, row in BACKENDS.items() if row.there]
UP = np.tril(np.ones((30, 30)))

CASES = {
    "m[t,c] = sum[s](where(s <= t, x[s,c], 0)) / (t+1) where t < size(x,0)": lambda: (
        (UP @ x) / np.arange(1, 31)[:, None]
    ),
    "m[t,c] = sum[s](where(t < s, 0, x[s,c]*g[s])) where t < size(x,0)": lambda: UP @ (x * g[:, None]),
    "m[t,c] = g[t] * sum[s](where(s >= t, x[s,c], 0))": lambda: g[:, None] * (UP.T @ x),
    "m[t,c] = where(s < t, x[s,c], 0) where t < size(x,0)": lambda: UP @ x - x,
    "m[t,c] = where(s <= t, -x[s,c], 0) where t < size(x,0)": lambda: -(UP @ x),
}


def compiled(text: str, backend: str) -> indexlang.Function:
    return indexlang.compile(text, backend=backend)


@pytest.mark.parametrize("backend", BACKEND)
@pytest.mark.parametrize("text", CASES)
def test_values_and_plans(text: str, backend: str) -> None:
    f = compiled(text, backend)
    given = {n: {"x": x, "g": g}[n] for n in f.inputs}
    np.testing.assert_allclose(f(given), CASES[text](), rtol=1e-10, atol=1e-12)
    kernels = str(f.plan({n: (4096, 64) if n == "x" else (4096,) for n in f.inputs}))
    assert "running sum" in kernels or "scan" in kernels or "sums along" in kernels


@pytest.mark.parametrize("backend", BACKEND)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y[t,c] = where(s <= t, x[s,c]*g[pad(t-s)], 0) where t < size(x,0)", None),  # the value has both of them
        ("y[t,c] = where(s <= 3, x[s,c], 0) where t < 2", lambda: np.tile(x[:4].sum(0), (2, 1))),
        ("y[t,c] = where(t <= 3, x[s,c], 0) where t < 6", lambda: np.repeat([[1], [0]], [4, 2], 0) * x.sum(0)),
        ("y[t,c] = where(s <= t, x[s,c], 1) where t < size(x,0)", lambda: UP @ x + (1 - UP).sum(1, keepdims=True)),
    ],
)
def test_other_choices_mean_what_they_say(text: str, expected: object, backend: str) -> None:
    f = compiled(text, backend)
    given = {n: {"x": x, "g": g}[n] for n in f.inputs}
    if callable(expected):
        right = expected()
    else:
        right = np.array([sum(x[s] * g[t - s] for s in range(t + 1)) for t in range(30)])
    np.testing.assert_allclose(f(given), right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", BACKEND)
def test_what_is_not_admitted_may_be_anything(backend: str) -> None:
    """A choice does not look at what it does not choose."""
    bad = x.copy()
    bad[20:] = np.nan
    f = compiled("m[t,c] = sum[s](where(s <= t, x[s,c], 0)) where t < size(x,0)", backend)
    found = f(x=bad)
    np.testing.assert_allclose(found[:20], (UP @ x)[:20], rtol=1e-10)
    assert np.isnan(found[20:]).all()
