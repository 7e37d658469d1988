"""Products, convolutions, pooling and rows at sizes from 1 to 70 along each axis, against plain NumPy in float64."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import runner
from indexlang.calls.function import Function

Array = NDArray[Any]
NEAR = {"float32": 2e-5, "float64": 1e-12}
SIZES = range(1, 71)
EACH = pytest.mark.parametrize("n", SIZES)
SOME = pytest.mark.parametrize("n", [n for n in SIZES if n % 3 == 1 or n < 10 or "INDEXLANG_SLOW" in os.environ])


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans and nests are looked through, and whatever can be shared is."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    monkeypatch.setattr(runner, "TOGETHER", 0)


def other(n: int, by: int) -> int:
    """Another size of 1 to 70: as n goes through all of them, so does this one, in another order."""
    return n * by % 71


def drawn(n: int, **shapes: tuple[int, ...]) -> dict[str, Array]:
    """Arrays, in single precision for every second size."""
    rng = np.random.default_rng(n)
    return {name: rng.standard_normal(s).astype(("float64", "float32")[n % 2]) for name, s in shapes.items()}


def assert_near(text: str, arrays: dict[str, Array], **right: Array) -> Function:
    f = indexlang.compile(text, backend="native", outputs=list(right))
    found = {name: np.full(value.shape, np.nan, arrays[f.inputs[0]].dtype) for name, value in right.items()}
    f(**arrays, out=found)  # what is not written stays
    for name, value in right.items():
        near = NEAR[next(iter(arrays.values())).dtype.name]
        assert found[name].shape == value.shape, name
        greatest = np.max(np.abs(value), where=np.isfinite(value), initial=0)
        np.testing.assert_allclose(found[name], value, rtol=near, atol=near * greatest, err_msg=name)
    return f


def wide(arrays: dict[str, Array]) -> list[Array]:
    return [a.astype(np.float64) for a in arrays.values()]


@EACH
def test_products(n: int) -> None:
    m, k = other(n, 13), other(n, 29)
    arrays = drawn(n, A=(m, k), B=(k, n), C=(n, k), D=(k, m))
    a, b, c, d = wide(arrays)
    text = "nn[i,j] += A[i,k] * B[k,j]\nnt[i,j] += A[i,k] * C[j,k]\ntn[i,j] += D[k,i] * B[k,j]\n"
    assert_near(text, arrays, nn=a @ b, nt=a @ c.T, tn=d.T @ b)


def windows(x: Array, h: int, w: int, stride: int) -> Array:
    """The windows of an image of channels last: [batch, i, j, channel, di, dj]."""
    return sliding_window_view(x, (h, w), axis=(1, 2))[:, ::stride, ::stride]


@SOME
def test_convolutions(n: int) -> None:
    """The width, the channels and the outputs go through all sizes; the height is small."""
    cx, cy, h, stride = other(n, 13), other(n, 29), 1 + n % 4, 1 + n % 3 % 2
    x_shape = (1 + n % 2, stride * (h - 1) + 3, stride * (n - 1) + 2, cx)
    arrays = drawn(n, x=x_shape, W=(3, 2, cx, cy))
    x, kernel = wide(arrays)
    text = f"y[b,i,j,o] += W[di,dj,c,o] * x[b,{stride}*i+di,{stride}*j+dj,c]\n"
    right = np.einsum("bijcuv,uvco->bijo", windows(x, 3, 2, stride), kernel, optimize=True)
    f = assert_near(text, arrays, y=right)
    if n % 10:
        return
    rng = np.random.default_rng(n)
    y, pullback = f.vjp(**arrays)
    dy = rng.standard_normal(right.shape).astype(y.dtype)
    found, near = pullback(dy), NEAR[y.dtype.name]
    into_w = np.einsum("bijcuv,bijo->uvco", windows(x, 3, 2, stride), dy.astype(float), optimize=True)
    into_x = np.zeros_like(x)
    for u in range(3):
        for v in range(2):
            into_x[:, u : u + stride * h : stride, v : v + stride * n : stride] += dy.astype(float) @ kernel[u, v].T
    for gradient, value in ((found["W"], into_w), (found["x"], into_x)):
        np.testing.assert_allclose(gradient, value, rtol=near, atol=near * np.max(np.abs(value)))


@SOME
def test_pooling(n: int) -> None:
    c, h = other(n, 13), 1 + n % 5
    arrays = drawn(n, x=(2, 2 * h + 1, 2 * n + 1, c))
    (x,) = wide(arrays)
    text = (
        "m[b,i,j,c] max= x[b,2*i+u,2*j+v,c] where u < 3, v < 3\na[b,i,j,c] += x[b,2*i+u,2*j+v,c] where u < 2, v < 2\n"
    )
    right = windows(x, 3, 3, 2).max((4, 5))
    sums = windows(x[:, : 2 * h, : 2 * n], 2, 2, 2).sum((4, 5))
    text += f"shape a[2,{h},{n},{c}]\n"
    assert_near(text, arrays, m=right, a=sums)


@EACH
def test_rows(n: int) -> None:
    """Softmax and layer norm along the last axis, softmax along the first."""
    m = other(n, 13)
    arrays = drawn(n, x=(m, n), g=(n,))
    x, g = wide(arrays)
    text = (
        "t[i] max= x[i,j]\ne[i,j] = exp(x[i,j] - t[i])\ns[i] += e[i,j]\nsoft[i,j] = e[i,j] / s[i]\n"
        "t2[j] max= x[i,j]\ne2[i,j] = exp(x[i,j] - t2[j])\ns2[j] += e2[i,j]\ndown[i,j] = e2[i,j] / s2[j]\n"
        "u[i] += x[i,j] / size(x,1)\nv[i] += (x[i,j] - u[i])**2 / size(x,1)\n"
        "norm[i,j] = g[j] * (x[i,j] - u[i]) / sqrt(v[i] + 1)\n"
    )
    right = {}
    for name, axis in (("soft", 1), ("down", 0)):
        power = np.exp(x - x.max(axis, keepdims=True))
        right[name] = power / power.sum(axis, keepdims=True)
    right["norm"] = g * (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1)
    assert_near(text, arrays, **right)


@SOME
def test_gradients_of_windows_at_borders(n: int) -> None:
    """What is read by each place's taps: widths through all sizes, so that tiles meet no border, one, or both."""
    taps, dilation, stride = 1 + n % 5, 1 + n % 3, 1 + n % 2
    reach = dilation * (taps - 1) + stride * (n - 1) + 1
    cx, cy = (16, 3, 70, 33)[n % 4], other(n, 29)
    arrays = drawn(n, W=(2, taps, cx, cy), dy=(1, 5, n, cy))
    shape = f"shape dx[1,6,{reach},{cx}]\n"
    text = f"dx[b,i+di,{stride}*j+{dilation}*dj,c] += W[di,dj,c,o] * dy[b,i,j,o]\n"
    arrays["dy"][:, 0, 0] = np.inf  # it stays where it is read
    kernel, dy = wide(arrays)
    with np.errstate(invalid="ignore"):
        right = np.zeros((1, 6, reach, cx))
        for di in range(2):
            for dj in range(taps):
                right[:, di : di + 5, dilation * dj : dilation * dj + stride * n : stride] += dy @ kernel[di, dj].T
    assert_near(shape + text, arrays, dx=right)


@EACH
def test_groups_are_digits_of_a_channel(n: int) -> None:
    """A gradient into `width * g + c`, which no two points share: it is no window."""
    groups, width = 1 + n % 6, 1 + n // 3
    arrays = drawn(n, W=(3, width, groups, 5), dy=(2, 9, groups, 5))
    kernel, dy = wide(arrays)
    right = np.zeros((2, 11, groups, width))
    for di in range(3):
        right[:, di : di + 9] += np.einsum("cgo,bigo->bigc", kernel[di], dy)
    text = f"dx[b,i+di,{width}*g+c] += W[di,c,g,o] * dy[b,i,g,o]\n"
    assert_near(f"shape dx[2,11,{groups * width}]\n" + text, arrays, dx=right.reshape(2, 11, -1))
