"""Masks of the elements of a running product's result, as activations' gradients have them, beside plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY, Limits


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_linear_attention_of_activations(n: int, limits: Limits) -> None:
    rng = np.random.default_rng(n)
    q, k, v, dy = (rng.standard_normal((n, 5)) for _ in range(4))
    f = sized(il.compile("y[t,e] = relu(q[t,d])*relu(k[s,d])*v[s,e] where s <= t"), limits)
    y, pull = f.vjp(q=q, k=k, v=v)
    past = np.tril(np.maximum(q, 0) @ np.maximum(k, 0).T)
    slopes = np.tril(dy @ v.T)
    found = pull(dy)
    np.testing.assert_allclose(y, past @ v, atol=1e-9)
    np.testing.assert_allclose(found["v"], past.T @ dy, atol=1e-9)
    np.testing.assert_allclose(found["q"], (q > 0) * (slopes @ np.maximum(k, 0)), atol=1e-9)
    np.testing.assert_allclose(found["k"], (k > 0) * (slopes.T @ np.maximum(q, 0)), atol=1e-9)


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("n", [6, 400])
def test_what_is_refused_is_not_there_whatever_it_would_be(n: int, limits: Limits) -> None:
    """Sums of nan and of what is infinite, at elements that masks refuse, and what is added to."""
    rng = np.random.default_rng(n)
    a, b, x = rng.standard_normal((n, 4)), rng.standard_normal((n, 4)), rng.standard_normal((n, 4))
    b[n // 2, 1], a[0, 2] = np.nan, np.inf
    x[:, 1] = -1
    x[:, 2] = -1
    f = sized(il.compile("y[u,c] += a[t,c]*b[u,c]*a[t,c] where u >= t, x[u,c] > 0"), limits)
    start = rng.standard_normal((n, 4))
    expected = start.copy()
    for c in (0, 3):
        expected[:, c] += np.where(x[:, c] > 0, b[:, c] * np.cumsum(a[:, c] ** 2), 0)
    np.testing.assert_allclose(f(a=a, b=b, x=x, y=start), expected, rtol=1e-11)


def test_they_run_in_a_time_in_proportion_to_their_length() -> None:
    f = il.compile("y[t,c] = relu(x[s,c])*g[c]**(t-s) where s <= t, t < size(x,0)")
    for plan in f.plans(x=(3000, 32), g=(32,)):
        assert "whole domain" not in str(plan) and "masked contraction" not in str(plan)
