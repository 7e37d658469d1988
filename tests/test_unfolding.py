"""The thin products of taps made at once: where, and that the sums are those of loops."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang

pytestmark = pytest.mark.usefixtures("on_numpy")  # nests gather what meets in an element

CASES = [
    # text of the gradient's layer, image, kernel, stride, left, count
    (
        "y[b,i,j,o] = K[p,q,c,o] * x[b,pad(i+p-2),pad(j+q-2),c] where i < size(x,1), j < size(x,2)",
        (20, 30, 31, 1),
        1,
        2,
    ),
    ("y[b,i,j,o] = K[p,q,c,o] * x[b,i+p,j+q,c]", (20, 34, 35, 2), 1, 0),
    ("y[b,i,j,o] = K[p,q,c,o] * x[b,2*i+p,2*j+q,c]", (30, 65, 63, 1), 2, 0),
]


@pytest.mark.parametrize(("text", "shape", "stride", "left"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_an_image_of_few_channels(
    text: str, shape: tuple[int, ...], stride: int, left: int, dtype: type
) -> None:
    rng = np.random.default_rng(1)
    x, kernel = rng.standard_normal(shape).astype(dtype), rng.standard_normal((5, 5, shape[3], 6)).astype(dtype)
    f = indexlang.compile(text)
    y, pullback = f.vjp(x=x, K=kernel)
    dy = rng.standard_normal(y.shape).astype(dtype)
    shapes = {"x": x, "K": kernel, "y.grad": dy}
    assert "unfolded" in str(f.grad(wrt="x").plan(**shapes))
    expected = np.zeros((shape[0], shape[1] + 8, shape[2] + 8, shape[3]))
    for p in range(5):
        for q in range(5):
            part = dy.astype(float) @ kernel[p, q].T.astype(float)
            rows = slice(4 - left + p, 4 - left + p + stride * (y.shape[1] - 1) + 1, stride)
            columns = slice(4 - left + q, 4 - left + q + stride * (y.shape[2] - 1) + 1, stride)
            expected[:, rows, columns] += part
    accuracy = 1e-4 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(pullback(dy)["x"], expected[:, 4:-4, 4:-4], rtol=accuracy, atol=accuracy)


@pytest.mark.parametrize(
    ("image", "kernel"),
    [((4, 20, 20, 1), (5, 5, 1, 6)), ((20, 30, 30, 3), (5, 5, 3, 6)), ((20, 30, 30, 1), (1, 3, 1, 6))],
    ids=["few elements", "columns for BLAS", "few taps"],
)
def test_else_each_tap_is_multiplied_for_itself(image: tuple[int, ...], kernel: tuple[int, ...]) -> None:
    text = "x.grad[b,i+p,j+q,c] += dy[b,i,j,o] * K[p,q,c,o]"
    f = indexlang.compile(text.replace("x.grad", "g"))
    dy = (image[0], image[1] - kernel[0] + 1, image[2] - kernel[1] + 1, kernel[3])
    assert "unfolded" not in str(f.plan(K=kernel, dy=dy))


def test_an_infinity_reaches_only_its_own_window() -> None:
    dy, kernel = np.ones((20, 30, 30, 2)), np.ones((3, 3, 1, 2))
    dy[0, 10, 10, 0] = np.inf
    f = indexlang.compile("g[b,i+p,j+q,c] += dy[b,i,j,o] * K[p,q,c,o]")
    assert "unfolded" in str(f.plan(K=kernel, dy=dy))
    assert np.argwhere(~np.isfinite(f(K=kernel, dy=dy)))[:, 1:3].tolist() == [
        [i, j] for i in (10, 11, 12) for j in (10, 11, 12)
    ]
