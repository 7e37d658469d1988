"""Values that few points have are made once; loops of one value are none; a sum of one factor is its own."""

from __future__ import annotations

import platform

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import engine, load
from indexlang.backends.native.load import nests
from indexlang.backends.native.target import AVX2, BASELINE, Target

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


APART = "s[i,j] = (p[i,d] - q[j,d])**2\nk[i,j] = exp(-s[i,j])\ny[i] = k[i,j] * v[j]"


def pairs(p: np.ndarray, q: np.ndarray, v: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over pairs of points, and their gradients."""
    between = p[:, None] - q[None]
    k = np.exp(-(between**2).sum(-1))
    slope = 2 * (dy[:, None] * v * k)[..., None] * between
    return {"y": k @ v, "p": -slope.sum(1), "q": slope.sum(0), "v": dy @ k}


@pytest.mark.parametrize(("n", "m"), [(7, 10), (130, 90), (60, 300), (517, 259)])
@pytest.mark.parametrize("level", [None, AVX2, BASELINE])
def test_elements_that_lie_apart_are_brought_together(
    n: int, m: int, level: Target | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = engine.host()
    if level is not None:
        if platform.machine() not in ("x86_64", "AMD64") or own.vector < level.vector or own.fused < level.fused:
            pytest.skip("this machine does not run such code")
        monkeypatch.setattr(load, "machine", lambda: level)
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    shapes = {"p": (n, 4), "q": (m, 4), "v": (m,), "dy": (n,)}
    given = {name: 0.7 * np.random.default_rng(k).standard_normal(s) for k, (name, s) in enumerate(shapes.items())}
    wanted, dy = pairs(**given), given.pop("dy")
    for dtype, near in (("float32", 2e-5), ("float64", 1e-12)):
        f = indexlang.compile(APART, outputs=["y"], backend="native")
        y, pullback = f.vjp({name: a.astype(dtype) for name, a in given.items()})
        for name, found in {"y": y, **pullback(dy.astype(dtype))}.items():
            np.testing.assert_allclose(found, wanted[name], rtol=0, atol=near * np.abs(wanted[name]).max())


@pytest.mark.parametrize(("channels", "window"), [(1, 3), (2, 3), (3, 5), (5, 2), (5, 4), (6, 3), (7, 3)])
@pytest.mark.parametrize("side", [5, 40])
def test_windows_of_few_channels(channels: int, window: int, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads that overlap: the array is brought together, not each read."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    a, c = (rng.standard_normal((n, n + 3, channels)).astype(np.float32) for n in (side, side + window - 1))
    f = indexlang.compile("y[r,s,i,j] = a[i,j,c] * b[i+r,j+s+1,c]\nz[r,s] = y[r,s,i,j]", outputs=["y", "z"])
    c = np.pad(c, ((0, 0), (0, 1), (0, 0)))
    found = f(a=a, b=c)
    for r in range(window):
        for s in range(window):
            near = c[r : r + side, s + 1 : s + 1 + side + 3]
            wanted = (a.astype(np.float64) * near).sum(-1)
            np.testing.assert_allclose(found["y"][r, s], wanted, rtol=0, atol=1e-5)
            np.testing.assert_allclose(found["z"][r, s], wanted.sum(), rtol=0, atol=1e-3)


def test_reads_that_lie_apart_in_other_ways() -> None:
    """Backwards, by two axes of one array, of rows that do not divide an array."""
    p, q = (rng.standard_normal(n).astype(np.float32) for n in ((303,), (200, 300)))
    f = indexlang.compile("y[i,j] = (p[3*j+1] - q[i,j])**2 where j < 100", backend="native")
    np.testing.assert_allclose(f(p=p, q=q), (p[1:301:3] - q[:, :100]) ** 2, rtol=1e-6)
    f = indexlang.compile("y[i,k,j] = (p[3*j+k] - q[i,j])**2 where j < 100, k < 3", backend="native")
    np.testing.assert_allclose(f(p=p, q=q), (p[:300].reshape(100, 3).T - q[:, None, :100]) ** 2, rtol=1e-6)
    f = indexlang.compile("y[i,j] = (p[300-3*j] - q[i,j])**2 where j < 100", backend="native")
    np.testing.assert_allclose(f(p=p, q=q), (p[300:0:-3] - q[:, :100]) ** 2, rtol=1e-6)


@pytest.mark.parametrize(("n", "together"), [(3, False), (12, False), (13, True), (400, True)])
def test_elements_that_are_read_often_are_brought_together(n: int, together: bool) -> None:
    """From 50,000 reads on."""
    f = indexlang.compile("s[i,j] = (p[i,d] - q[j,d])**2", backend="native")
    assert (".ahead" in nests(f.plan(p=(n, 4), q=(1000, 4)))) == together
