"""Gradients by what a sum fades with: two fadings, beside loops over all pairs in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY


def by_hand(x: np.ndarray, g: np.ndarray, dy: np.ndarray, back: bool, strict: int) -> np.ndarray:
    """Every pair on its own, in float64."""
    found = np.zeros(g.shape)
    for t in range(x.shape[1]):
        for s in range(x.shape[1]):
            d = s - t if back else t - s
            if d >= max(strict, 1):
                found += (dy[:, t] * x[:, s]).sum(0) * d * np.asarray(g, np.float64) ** (d - 1)
    return found


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("n", [1, 2, 5, 33, 150])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("strict", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_by_a_fade(limits: object, n: int, back: bool, strict: int, dtype: str) -> None:
    rng = np.random.default_rng(n)
    distance, sign = ("s-t", ">=") if back else ("t-s", "<=")
    sign = sign if not strict else sign[0]
    f = sized(il.compile(f"y[b,t,c] = x[b,s,c]*g[c]**({distance}) where s {sign} t, t < size(x,1)"), limits)
    x, dy = (rng.standard_normal((2, n, 3)).astype(dtype) for _ in range(2))
    g = np.array([0.9, -0.5, 0.0], dtype)
    _, pullback = f.vjp(x=x, g=g)
    tolerance = {"float32": 3e-5, "float64": 1e-12}[dtype]
    expected = by_hand(x, g, dy, back, strict)
    np.testing.assert_allclose(pullback(dy)["g"], expected, rtol=tolerance, atol=tolerance * n)


def test_all_of_it_is_linear() -> None:
    f = il.compile("y[b,t,c] = x[b,s,c]*g[c]**(t-s) where s <= t, t < size(x,1)")
    for plan in f.plans(x=(4, 2000, 16), g=(16,)):
        assert "masked contraction" not in str(plan)
    assert "faded2" in str(f.plans(x=(4, 2000, 16), g=(16,))[1])


def test_digits_of_a_slow_fade() -> None:
    """Differences of t and s times sums of their own would lose them."""
    rng = np.random.default_rng(0)
    x, dy, g = rng.random((1, 300, 2)), rng.random((1, 300, 2)), np.array([0.999, 0.5])
    f = il.compile("y[b,t,c] = x[b,s,c]*g[c]**(t-s) where s <= t, t < size(x,1)")
    for kind, tolerance in (("float32", 2e-6), ("float64", 1e-13)):
        _, pullback = f.vjp(x=x.astype(kind), g=g.astype(kind))
        expected = by_hand(x.astype(kind), g.astype(kind), dy.astype(kind), False, 0)
        np.testing.assert_allclose(pullback(dy.astype(kind))["g"], expected, rtol=tolerance)


def test_several_factors_at_both_ends() -> None:
    rng = np.random.default_rng(1)
    n = 130
    q, k = rng.standard_normal((n, 2)), rng.standard_normal((n, 2))
    v, w, a = rng.standard_normal((n, 3)), rng.random(n), np.array([0.8, 0.97, 1.01])
    f = il.compile("y[t,e] = -(q[t,d]*k[s,d]*v[s,e]*w[t]*a[e]**(t-s)) where s < t")
    y, pullback = f.vjp(q=q, k=k, v=v, w=w, a=a)
    expected, powers = np.zeros(3), np.subtract.outer(np.arange(n), np.arange(n))
    weights = np.where(powers > 0, -(q @ k.T) * w[:, None], 0)
    for e in range(3):
        slopes = np.where(powers > 0, powers * a[e] ** np.maximum(powers - 1.0, 0), 0)
        expected[e] = (y[:, e, None] * weights * slopes * v[None, :, e]).sum()
    np.testing.assert_allclose(pullback(y)["a"], expected, rtol=1e-10)


def test_what_is_infinite_stays_where_it_is() -> None:
    """What is admitted later alone reaches nothing earlier, and a fade of 0 ends at once."""
    f = il.compile("y[t,c] = x[s,c]*g[c]**(t-s) where s <= t, t < size(x,0)")
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((140, 2)), rng.standard_normal((140, 2))
    x[100, 1] = np.inf
    g = np.array([0.0, 0.9])
    _, pullback = f.vjp(x=x, g=g)
    found = pullback(dy)["g"]
    np.testing.assert_allclose(found[0], by_hand(x[None, :, :1], g[:1], dy[None, :, :1], False, 0)[0], rtol=1e-12)
    assert not np.isfinite(found[1])


@pytest.mark.parametrize("order", ["s < t", "s > t"])
def test_what_is_infinite_where_nothing_is_admitted_adds_nothing(order: str) -> None:
    rng = np.random.default_rng(5)
    x, dy, g = rng.standard_normal((60, 3)), rng.standard_normal((60, 3)), np.array([0.5, 0.6, 0.7])
    distance = "t-s" if order == "s < t" else "s-t"
    dy[0 if order == "s < t" else -1] = np.inf
    found = il.compile(f"G[c] = dy[t,c]*x[s,c]*({distance})*g[c]**({distance}-1) where {order}")(dy=dy, x=x, g=g)
    clean = np.where(np.isinf(dy), 0, dy)
    expected = by_hand(x[None], g, clean[None], order == "s > t", 1)
    np.testing.assert_allclose(found, expected, rtol=1e-11)
