"""Values that few points have are made once; loops of one value are none; a sum of one factor is its own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native.load import nests

rng = np.random.default_rng(0)
x = rng.standard_normal((40, 30, 50)).astype(np.float32)
w = rng.random(50).astype(np.float32) + 0.5
b, t, e = np.ogrid[:40, :30, :50]

CASES = {
    "y[b,t,e] = x[b,t,e] * exp(-w[e])": lambda: x * np.exp(-w),
    "y[b,t,e] = x[b,t,e] + sin(t / 100**(e/size(x,2)))": lambda: x + np.sin(t / 100 ** (e / 50)),
    "a[t,e] = t / 100**(2*(e//2)/size(x,2)) where t < size(x,1), e < size(x,2)\n"
    "y[b,t,e] = x[b,t,e] + where(e % 2 == 0, sin(a[t,e]), cos(a[t,e]))": lambda: (
        x + np.where(e % 2 == 0, np.sin(t / 100 ** (2 * (e // 2) / 50)), np.cos(t / 100 ** (2 * (e // 2) / 50)))
    ),
    "y[b,t] = x[b,t,e] * tanh(w[e] * e)": lambda: (x * np.tanh(w * e)).sum(2),
    "y[b,e] = x[b,t,e] * log(w[e] + t)": lambda: (x * np.log(w + t)).sum(1),
    "y[b,t,e] = max[f](x[b,t,f] * exp(w[f])) + x[b,t,e] * exp(w[e])": lambda: (
        (x * np.exp(w)).max(2, keepdims=True) + x * np.exp(w)
    ),
}


def ahead(text: str) -> str:
    """The nests, and whether some value is made ahead."""
    f = indexlang.compile(text, backend="native")
    given = {n: {"x": x, "w": w}[n] for n in f.inputs}
    np.testing.assert_allclose(f(given), CASES[text](), rtol=2e-5, atol=2e-5)
    return nests(f.plan({n: a.shape for n, a in given.items()}))


@pytest.mark.parametrize("text", CASES)
def test_what_few_points_have_is_made_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    assert ".ahead" in ahead(text)


@pytest.mark.parametrize("text", CASES)
def test_gradients_through_what_is_made_once(text: str) -> None:
    results = []
    for backend in ("native", "numpy"):
        f = indexlang.compile(text, backend=backend)
        y, pullback = f.vjp({n: {"x": x, "w": w}[n].astype("float64") for n in f.inputs})
        results.append({"y": y, **pullback(np.cos(y))})
    for name, found in results[0].items():
        scale = np.abs(results[1][name]).max()
        np.testing.assert_allclose(found / scale, results[1][name] / scale, atol=1e-10)


@pytest.mark.parametrize(
    "text",
    [
        "y[b,t,e] = x[b,t,e] * (w[e] + 1)",  # cheap
        "y[b,t,e] = x[b,t,e] * exp(z[b])",  # known outside of the loops that read it
        "y[b,t,e] = exp(x[b,t,e])",  # at each point another one
    ],
)
def test_what_nothing_is_gained_by_stays(text: str) -> None:
    f = indexlang.compile(text, backend="native")
    sizes = {"x": x.shape, "w": w.shape, "z": (40,)}
    assert ".ahead" not in nests(f.plan({n: sizes[n] for n in f.inputs}))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    text = "y[b,t,e] = x[b,t,e] + sin(t / 100**(e/size(x,2)))"
    f, given = indexlang.compile(text, backend="native"), {"x": np.tile(x, (4, 1, 1))}
    results = []
    for number in (1, 2, 5):
        indexlang.set_num_threads(number)
        results.append(f(given))
    indexlang.set_num_threads(None)
    assert all(np.array_equal(one, results[0]) for one in results)


@pytest.mark.parametrize("many", [1, 2])
def test_merged_indices_one_of_which_has_one_value(many: int) -> None:
    """A separable convolution with one filter for each channel: no loop around its steps."""
    text = "d[i,c,m] = K[u,c,m] * x[i+u,c]\ny[i,o] = d[i,c,m] * P[(c,m),o]"
    a, k = rng.standard_normal((40, 8)), rng.standard_normal((3, 8, many))
    p = rng.standard_normal((8 * many, 6))
    f = indexlang.compile(text, backend="native")
    plan = str(f.plan(x=a.shape, K=k.shape, P=p.shape))
    assert "NumPy" not in plan
    d = np.stack([(k * a[i : i + 3, :, None]).sum(0) for i in range(38)])
    np.testing.assert_allclose(f(x=a, K=k, P=p), d.reshape(38, -1) @ p, rtol=1e-10)


def test_a_factor_is_summed_before_it_meets_the_other_one() -> None:
    """The sum over u is one of b alone: not one of all products."""
    f = indexlang.compile("y[t] = sum[d](sum[u](a[t,d] * b[u,d]))", backend="native")
    a, c = rng.standard_normal((50, 20)), rng.standard_normal((70, 20))
    np.testing.assert_allclose(f(a=a, b=c), a @ c.sum(0), rtol=1e-10)
    record = f.plan(a=(4096, 32), b=(4096, 32)).sections[0].records[0]
    assert record.planned is not None and record.planned < 4096 * 32 * 8
