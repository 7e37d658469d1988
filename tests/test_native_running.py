"""Running sums along rows, in vectors and one by one: NumPy's values, however long rows are."""

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
FORWARD = "y[b,t] = x[b,u] where u <= t, t < size(x,1)"
BACKWARD = "y[b,t] = x[b,u] where u >= t, t < size(x,1)"
LINE = "y[t] = x[u] where u <= t, t < size(x,0)"
LENGTHS = [1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 131, 1000]


@pytest.fixture(autouse=True, params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for this machine, and for lesser ones."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    target, own = LEVELS[request.param], engine.host()
    if target is None:
        return
    if platform.machine() not in ("x86_64", "AMD64") or own.vector < target.vector or (target.fused and not own.fused):
        pytest.skip(f"this machine does not run code for {request.param}")
    monkeypatch.setattr(load, "machine", lambda: target)


def run(text: str, x: Array) -> Array:
    return np.asarray(indexlang.compile(text, backend="native")(x=x))


def summed(x: Array, back: bool = False) -> Array:
    return np.cumsum(x[..., ::-1], axis=-1)[..., ::-1] if back else np.cumsum(x, axis=-1)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_rows_of_any_length(n: int, dtype: type) -> None:
    x = np.random.default_rng(n).integers(-50, 50, (5, n)).astype(dtype)  # whole: every order gives the same bits
    for back in (False, True):
        found = run(BACKWARD if back else FORWARD, x)
        np.testing.assert_array_equal(found, summed(x, back))
    np.testing.assert_array_equal(run(LINE, x[0]), summed(x[0]))


@pytest.mark.parametrize("n", [33, 200])
def test_what_is_not_finite_reaches_what_comes_behind_it_alone(n: int) -> None:
    x = np.ones((4, n), np.float32)
    x[0, 20], x[1, 5], x[1, 25], x[2, 17], x[3] = np.nan, np.inf, -np.inf, -np.inf, -0.0
    with np.errstate(invalid="ignore"):
        for back in (False, True):
            np.testing.assert_array_equal(run(BACKWARD if back else FORWARD, x), summed(x, back))


@pytest.mark.parametrize("shape", [(3, 70), (40, 2100)])
def test_gradients_and_threads(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    found = []
    for threads in (1, 2, 5):
        indexlang.set_num_threads(threads)
        try:
            y, pullback = indexlang.compile(FORWARD, backend="native").vjp(x=x)
            found.append((np.asarray(y), pullback(dy)["x"]))
        finally:
            indexlang.set_num_threads(None)
    for y, dx in found:
        np.testing.assert_array_equal(y, found[0][0])
        np.testing.assert_array_equal(dx, found[0][1])
        np.testing.assert_allclose(y, summed(x.astype(np.float64)), rtol=0, atol=2e-4)
        np.testing.assert_allclose(dx, summed(dy.astype(np.float64), True), rtol=0, atol=2e-4)


def test_sums_of_what_stands_before() -> None:
    x = np.random.default_rng(1).integers(-9, 9, (3, 75)).astype(np.float32)
    found = run("y[b,t] = 2 * x[b,u] where u < t, t < size(x,1)", x)
    np.testing.assert_array_equal(found, 2 * (summed(x) - x))
