"""float16 in memory, by native code: computed in float32, rounded once where it is delivered."""

from __future__ import annotations

import platform

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import engine, load
from indexlang.backends.native.target import AVX2, BASELINE, Target

Array = np.ndarray
LEVELS: dict[str, Target | None] = {"host": None, "avx2": AVX2, "baseline": BASELINE}
ULP = 2.0**-10  # of a float16, relative


@pytest.fixture(autouse=True, params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for this machine, and for one without instructions for float16."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    target, own = LEVELS[request.param], engine.host()
    if target is None:
        return
    if platform.machine() not in ("x86_64", "AMD64") or own.vector < target.vector or own.fused < target.fused:
        pytest.skip(f"this machine does not run code for {request.param}")
    monkeypatch.setattr(load, "machine", lambda: target)


def halves(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def wide(*arrays: Array) -> list[Array]:
    return [a.astype(np.float64) for a in arrays]


def assert_near(found: Array, wanted: Array, digits: float = 1.0) -> None:
    assert found.dtype == np.float16
    size = np.abs(wanted).max(initial=1)
    np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=digits * ULP, atol=2e-6 * size)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 7), (17, 33, 20), (60, 70, 90)])
def test_products_of_matrices_and_their_gradients(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    a, b, dy = halves(1, m, k), halves(2, k, n), halves(3, m, n)
    f = indexlang.compile("y[i,j] = a[i,k] * b[k,j]", backend="native")
    y, pullback = f.vjp(a=a, b=b)
    found = pullback(dy)
    p, q, d = wide(a, b, dy)
    assert_near(np.asarray(y), p @ q)
    assert_near(found["a"], d @ q.T)
    assert_near(found["b"], p.T @ d)


@pytest.mark.parametrize("sizes", [(1, 5, 4, 2, 3), (2, 12, 11, 8, 16)])
def test_convolutions(sizes: tuple[int, ...]) -> None:
    b, h, w, c, o = sizes
    x, kernel = halves(1, b, h, w, c), halves(2, 3, 3, c, o)
    f = indexlang.compile("y[b,i,j,o] += W[p,q,c,o] * x[b,i+p,j+q,c]", backend="native")
    y, pullback = f.vjp(W=kernel, x=x)
    dy = halves(3, *np.shape(y))
    found = pullback(dy)
    xs, ks, ds = wide(x, kernel, dy)
    out, dx, dk = np.zeros(ds.shape), np.zeros(xs.shape), np.zeros(ks.shape)
    for p in range(3):
        for q in range(3):
            near = (slice(None), slice(p, p + h - 2), slice(q, q + w - 2))
            out += xs[near] @ ks[p, q]
            dx[near] += ds @ ks[p, q].T
            dk[p, q] = np.einsum("bijc,bijo->co", xs[near], ds)
    assert_near(np.asarray(y), out)
    assert_near(found["x"], dx)
    assert_near(found["W"], dk)


@pytest.mark.parametrize("n", [1, 9, 40, 1000])
def test_functions_and_reductions(n: int) -> None:
    x, w = halves(1, 7, n), halves(2, n)
    p, q = wide(x, w)
    text = "m[i] max= x[i,j]\ny[i,j] = exp(x[i,j] - m[i]) * w[j] + 1\ns[i] = sum[j](y[i,j])"
    found = indexlang.compile(text, outputs=["m", "y", "s"], backend="native")(x=x, w=w)
    y = np.exp(p - p.max(1, keepdims=True)) * q + 1
    np.testing.assert_array_equal(found["m"], x.max(1))
    assert_near(found["y"], y)
    assert found["s"].dtype == np.float16
    np.testing.assert_allclose(found["s"].astype(np.float64), y.sum(1), rtol=ULP)


def test_what_is_at_the_ends_of_the_type() -> None:
    x = np.array([6e4, -6e4, 6e-8, -6e-8, 0.0, -0.0, np.inf, -np.inf, np.nan, 1.0009765625] * 5, np.float16)
    f = indexlang.compile("y[i] = x[i] * 1.0\nz[i] = 2 * x[i]", outputs=["y", "z"], backend="native")
    with np.errstate(over="ignore"):
        found, twice = f(x=x), (2 * x.astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(found["y"], x)
    np.testing.assert_array_equal(np.signbit(found["y"]), np.signbit(x))
    np.testing.assert_array_equal(found["z"], twice)


def test_sums_that_leave_the_type_on_the_way() -> None:
    """Ones beyond 2048 count, and what comes back below 65504 is there."""
    ones, far = np.ones(5000, np.float16), np.array([6e4, 6e4, -6e4], np.float16)
    f = indexlang.compile("s = x[i]", backend="native")
    assert float(f(x=ones)) == 5000
    assert float(f(x=far)) == float(far[0])


@pytest.mark.parametrize("text", ["y[i,j] = a[i,k] * b[k,j]", "y[i] = exp(a[i,k]) * 2", "y[k,i] = a[i,k]"])
def test_nothing_of_it_is_left_to_numpy(text: str) -> None:
    f = indexlang.compile(text, backend="native")
    shapes = {"a": (60, 80), "b": (80, 50)}
    given = {n: halves(0, *shapes[n]) for n in f.inputs}
    assert "NumPy" not in str(f.plan(given))
