"""Products over windows of several axes in passes: where, and that the sums and slopes are those of loops."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from planned import sized

import indexlang
from indexlang.plan.limits import TINY

Array = np.ndarray
CASES = {
    "two axes": ("y[i,j] = a[u]*b[v]*x[i+u,j+v]", {"a": (9,), "b": (9,), "x": (108, 68)}),
    "three axes": ("y[i,j,k] = a[u]*b[v]*c[w]*x[i+u,j+v,k+w]", {"a": (4,), "b": (5,), "c": (6,), "x": (23, 24, 35)}),
    "no weights": ("y[i,j] = x[i+u,j+v]/49 where u < 7, v < 7", {"x": (106, 66)}),
    "one axis weighed": ("y[i,j] = a[u]*x[i+u,j+v] where v < 7", {"a": (7,), "x": (106, 66)}),
    "padded": (
        "y[i,j] = a[u]*b[v]*x[pad(i+u-3),pad(j+v-3)] where i < size(x,0), j < size(x,1)",
        {"a": (7,), "b": (7,), "x": (90, 70)},
    ),
    "steps": ("y[i,j] = a[u]*b[v]*x[2*i+u,3*j+2*v]", {"a": (8,), "b": (9,), "x": (126, 155)}),
    "channels": (
        "y[n,i,j,o] = a[u,r,c]*b[v,r,o]*x[n,i+u,j+v,c]",
        {"a": (5, 2, 3), "b": (5, 2, 4), "x": (2, 54, 58, 3)},
    ),
    "negative": ("y[i,j] = -(a[u]*(2*b[v]))*x[i-u+8,j+v]", {"a": (9,), "b": (9,), "x": (108, 68)}),
}  # fmt: skip


def by_einsum(name: str, arrays: Mapping[str, Array]) -> Array:
    """The sums as views of all windows, multiplied as one product."""

    def windows(x: Array, first: int, *sizes: int) -> Array:
        return np.lib.stride_tricks.sliding_window_view(x, sizes, tuple(range(first, first + len(sizes))))

    a, b, x = arrays.get("a"), arrays.get("b"), arrays["x"]
    match name:
        case "three axes":
            return np.einsum("u,v,w,ijkuvw->ijk", a, b, arrays["c"], windows(x, 0, 4, 5, 6))
        case "no weights":
            return windows(x, 0, 7, 7).sum((2, 3)) / 49
        case "one axis weighed":
            return np.einsum("u,ijuv->ij", a, windows(x, 0, 7, 7))
        case "padded":
            return np.einsum("u,v,ijuv->ij", a, b, windows(np.pad(x, 3), 0, 7, 7))
        case "steps":
            return np.einsum("u,v,ijuv->ij", a, b, windows(x, 0, 8, 17)[::2, ::3, :, ::2])
        case "channels":
            return np.einsum("urc,vro,nijcuv->nijo", a, b, windows(x, 1, 5, 5))
        case "negative":
            assert a is not None
            return -2 * np.einsum("u,v,ijuv->ij", a[::-1], b, windows(x, 0, 9, 9))
    return np.einsum("u,v,ijuv->ij", a, b, windows(x, 0, 9, 9))


def drawn(name: str, dtype: type) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {n: rng.standard_normal(shape).astype(dtype) for n, shape in CASES[name][1].items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_and_slopes_are_those_of_all_windows(name: str, dtype: type) -> None:
    f, arrays = indexlang.compile(CASES[name][0]), drawn(name, dtype)
    wide = {n: array.astype(float) for n, array in arrays.items()}
    assert "passed" in str(f.plan(**arrays))
    y, pullback = f.vjp(**arrays)
    accuracy = 1e-4 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(y, by_einsum(name, wide), rtol=accuracy, atol=accuracy)
    rng = np.random.default_rng(4)
    dy = rng.standard_normal(y.shape).astype(dtype)
    slopes = pullback(dy)
    assert "passed" in str(f.grad(wrt="x").plan(**arrays, **{"y.grad": dy}))
    for tensor in arrays:  # the sums are linear in each array
        along = rng.standard_normal(arrays[tensor].shape)
        expected = np.vdot(dy.astype(float), by_einsum(name, {**wide, tensor: along}))
        size = np.linalg.norm(slopes[tensor]) * np.linalg.norm(along)
        assert abs(np.vdot(slopes[tensor].astype(float), along) - expected) <= accuracy * size


@pytest.mark.parametrize("shape", [(6, 5), (3, 2), (3, 9), (9, 2)], ids=str)
@pytest.mark.parametrize("kind", [float, complex])
def test_at_small_sizes_nothing_is_left_out(shape: tuple[int, int], kind: type) -> None:
    rng = np.random.default_rng(5)
    a, b, x = (rng.standard_normal(n).astype(kind) for n in (3, 2, shape))
    if kind is complex:
        a, b = a - 1j, b * (1 + 2j)
    y = sized(indexlang.compile("y[i,j] = a[u]*b[v]*x[i+u,j+v]"), TINY)(a=a, b=b, x=x)
    np.testing.assert_allclose(y, by_loops(a, b, x))
    dy = rng.standard_normal(shape)
    back = sized(indexlang.compile("g[i+u,j+v] += a[u]*b[v]*dy[i,j]"), TINY)
    expected = np.zeros((shape[0] + 2, shape[1] + 1), kind)
    for i, j, u, v in np.ndindex(*shape, 3, 2):
        expected[i + u, j + v] += a[u] * b[v] * dy[i, j]
    np.testing.assert_allclose(back(a=a, b=b, dy=dy), expected)


def by_loops(a: Array, b: Array, x: Array) -> Array:
    y = np.zeros((max(x.shape[0] - len(a) + 1, 0), max(x.shape[1] - len(b) + 1, 0)), x.dtype)
    for i, j, u, v in np.ndindex(*y.shape, len(a), len(b)):
        y[i, j] += a[u] * b[v] * x[i + u, j + v]
    return y


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_reaches_its_own_windows_alone(bad: float) -> None:
    a, b, x = np.ones(9), np.ones(9), np.zeros((108, 68))
    x[50, 30] = bad
    f = indexlang.compile("y[i,j] = a[u]*b[v]*x[i+u,j+v]")
    y, pullback = f.vjp(a=a, b=b, x=x)
    reached = np.zeros(y.shape, bool)
    reached[42:51, 22:31] = True
    np.testing.assert_array_equal(np.isfinite(y), ~reached)
    dy = np.zeros(y.shape)
    dy[20, 20] = bad
    slopes = pullback(dy)["x"]
    np.testing.assert_array_equal(np.argwhere(~np.isfinite(slopes)).min(0), (20, 20))
    assert (~np.isfinite(slopes)).sum() == 81


@pytest.mark.parametrize("weight", [0.0, np.inf])
def test_places_that_no_tap_reaches_stay_zero(weight: float) -> None:
    """With steps of 4 and 3 taps there are gaps: 0 * inf there would be nan."""
    a, b, dy = np.ones(3), np.full(9, weight), np.ones((40, 60))
    g = indexlang.compile("g[4*i+u,j+v] += a[u]*b[v]*dy[i,j]")(a=a, b=b, dy=dy)
    assert (g[3::4] == 0).all()
    assert not np.isnan(g).any()


@pytest.mark.parametrize(
    "text",
    [
        "y[i,j] = w[u,v]*x[i+u,j+v]",  # no weights of one axis alone
        "y[i,j] = a[u]*b[v]*x[i+u,j+v] where u <= v",  # a mask of both
        "y[i,j] = a[u]*b[v]*x[i+u+v,j]",  # one window of three indices
    ],
)
def test_else_there_are_no_passes(text: str) -> None:
    shapes = {"a": (9,), "b": (9,), "w": (9, 9), "x": (108, 108)}
    f = indexlang.compile(text)
    assert "passed" not in str(f.plan(**{n: shapes[n] for n in f.inputs}))


def test_small_windows_are_gone_through_at_once() -> None:
    f = indexlang.compile("y[i,j] = a[u]*b[v]*x[i+u,j+v]")
    assert "passed" not in str(f.plan(a=(2,), b=(2,), x=(400, 400)))
    assert "passed" not in str(f.plan(a=(9,), b=(9,), x=(20, 20)))
    assert "passed" in str(f.plan(a=(9,), b=(9,), x=(200, 200)))
