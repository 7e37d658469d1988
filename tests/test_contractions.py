"""How sums of products are written: taps that go together, long runs, sums taken apart. Values against plain loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from planned import runs_of, sized

import indexlang as il
from indexlang.plan.contraction import separates
from indexlang.plan.kernels import Map
from indexlang.plan.limits import NUMPY
from indexlang.plan.quantities import Load
from indexlang.plan.statement import Facts, choose
from indexlang.plan.views import Row, together

RNG = np.random.default_rng(5)


@pytest.mark.parametrize(
    ("loops", "rows", "extents", "expected"),
    [
        # y[4*i+di]: four values of di at a time
        (("di",), [((("i", 4), ("di", 1)))], {"i": 9, "di": 11}, (("di", 4),)),
        # y[i+di]: each by itself
        (("di",), [((("i", 1), ("di", 1)))], {"i": 9, "di": 5}, (("di", 0),)),
        # y[2*i+3*di]: two of them are 3 apart, as are no two of i alone, but i and di meet at 6
        (("di",), [((("i", 2), ("di", 3)))], {"i": 9, "di": 5}, (("di", 0),)),
        # y[4*i+2*di]: two values at a time
        (("di",), [((("i", 4), ("di", 2)))], {"i": 9, "di": 5}, (("di", 2),)),
        # y[3*i-di]: to the left as to the right
        (("di",), [((("i", 3), ("di", -1)))], {"i": 9, "di": 5}, (("di", 3),)),
        # no more than there are
        (("di",), [((("i", 4), ("di", 1)))], {"i": 9, "di": 3}, (("di", 3),)),
        # both axes of an image
        (
            ("di", "dj"),
            [(("i", 2), ("di", 1)), (("j", 3), ("dj", 1))],
            {"i": 9, "di": 3, "j": 9, "dj": 7},
            (("di", 2), ("dj", 3)),
        ),
    ],
)
def test_taps_together(loops: Sequence[str], rows: Sequence, extents: dict[str, int], expected: object) -> None:
    assert together(loops, [Row(0, tuple(r)) for r in rows], extents) == expected


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "channels"),
    [(11, 4, 1, 3), (3, 2, 1, 5), (4, 2, 1, 2), (3, 3, 1, 2), (2, 5, 1, 3), (3, 2, 2, 2), (3, 4, 3, 2), (5, 1, 1, 1)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_gradient_of_strided_windows(kernel: int, stride: int, dilation: int, channels: int, dtype: type) -> None:
    n, o = 3, 4
    reach = stride * (n - 1) + dilation * (kernel - 1) + 1
    f = il.compile(f"y[b,i,j,o] = K[di,dj,c,o] * x[b,{stride}*i+{dilation}*di,{stride}*j+{dilation}*dj,c]")
    x = RNG.standard_normal((2, reach, reach, channels)).astype(dtype)
    k = RNG.standard_normal((kernel, kernel, channels, o)).astype(dtype)
    y, pullback = f.vjp(x=x, K=k)
    dy = RNG.standard_normal((2, n, n, o)).astype(dtype)
    assert y.shape == dy.shape
    expected = np.zeros_like(x)
    for i, j, di, dj in product(range(n), range(n), range(kernel), range(kernel)):
        expected[:, stride * i + dilation * di, stride * j + dilation * dj] += dy[:, i, j] @ k[di, dj].conj().T
    found = pullback(dy)["x"]
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 3, NUMPY.run - 1, NUMPY.run, NUMPY.run + 1])
@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex64])
def test_depthwise(channels: int, multiplier: int, dtype: type) -> None:
    f = il.compile("y[b,i,j,(c,m)] = K[di,dj,c,m] * x[b,i+di,j+dj,c]")
    x = (5 * RNG.standard_normal((2, 9, 11, channels))).astype(dtype)
    k = (5 * RNG.standard_normal((3, 2, channels, multiplier))).astype(dtype)
    expected = sum(x[:, a : a + 7, b : b + 10, :, None] * k[a, b] for a, b in product(range(3), range(2))).reshape(
        2, 7, 10, -1
    )
    np.testing.assert_allclose(
        f(x=x, K=k), expected, rtol=1e-4 if dtype in (np.float32, np.complex64) else 1e-12, atol=1e-4
    )
    assert f.emit(x=x.shape, K=k.shape)


def test_depthwise_spreads_no_nan() -> None:
    f = il.compile("y[i,c] = K[d,c] * x[i+d,c]")
    x, k = RNG.standard_normal((400, 8)), RNG.standard_normal((3, 8))
    x[7, 3], x[100, 5] = np.nan, np.inf
    expected = sum(k[d] * x[d : d + 398] for d in range(3))
    np.testing.assert_allclose(f(x=x, K=k), expected)


# -- sums taken apart --------------------------------------------------------------------------------------

SUMS = "x_grad[i,d] = 2 * s[i,j] * (x[i,d] - z[j,d])"


@pytest.mark.parametrize(
    ("first", "second", "sizes", "expected"),
    [
        (("i", "d"), ("j", "d"), {"i": 1024, "j": 1024, "d": 4}, True),
        (("i", "d"), ("j", "d"), {"i": 1024, "j": 3, "d": 4}, False),  # as large as one of the two
        (("i", "d"), ("j", "d"), {"i": 16, "j": 16, "d": 4}, False),  # too small
        (("b", "i", "c"), ("c",), {"b": 64, "i": 1024, "c": 64}, False),  # x - mean
        (("i",), ("j",), {"i": 500, "j": 500}, True),
    ],
)
def test_what_is_taken_apart(first: str, second: str, sizes: dict[str, int], expected: bool) -> None:
    assert separates(first, second, sizes, NUMPY) is expected


def test_way_of_sums_taken_apart() -> None:
    assert choose(Facts(sums=True, reduced=9, products=True, separable=True), NUMPY).name == "separated contraction"
    assert choose(Facts(sums=False, reduced=9, products=True, separable=True), NUMPY).name != "separated contraction"


def looped(s: np.ndarray, x: np.ndarray, z: np.ndarray, plus: bool = False) -> np.ndarray:
    with np.errstate(all="ignore"):
        return 2 * (s[:, :, None] * (x[:, None] + z if plus else x[:, None] - z)).sum(1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("shape", [(5, 7, 1), (1, 9, 3), (20, 30, 4), (16, 16, 16)])
def test_separated(shape: tuple[int, int, int], plus: bool, dtype: type) -> None:
    n, m, d = shape
    f = sized(il.compile(SUMS.replace("-", "+") if plus else SUMS), separate=1)
    s, x, z = (RNG.standard_normal(t).astype(dtype) for t in ((n, m), (n, d), (m, d)))
    expected = looped(s.astype(np.complex128), x.astype(np.complex128), z.astype(np.complex128), plus)
    tolerance = {np.float16: 2e-2, np.float32: 1e-4}.get(dtype, 1e-12)
    np.testing.assert_allclose(f(s=s, x=x, z=z), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("where", ["s", "x", "z"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_separated_gives_what_the_loops_give(where: str, value: float) -> None:
    given = {t: RNG.standard_normal(shape) for t, shape in (("s", (9, 8)), ("x", (9, 5)), ("z", (8, 5)))}
    given["s"][3, 4] = 0
    given[where][3, 4] = value
    f = sized(il.compile(SUMS), separate=1)
    assert "separated" in str(f.plan(s=(9, 8), x=(9, 5), z=(8, 5)))
    np.testing.assert_allclose(f(**given), looped(**given))


def test_separated_forgets_what_all_have_in_common() -> None:
    """Far from the origin the differences are as exact as near to it."""
    s, x, z = (RNG.standard_normal(t).astype(np.float32) for t in ((60, 80), (60, 4), (80, 4)))
    x, z = x + np.float32(4096), z + np.float32(4096)
    f = il.compile(SUMS, backend="numpy")
    assert "separated" in str(f.plan(s=s.shape, x=x.shape, z=z.shape))
    expected = looped(s.astype(np.float64), x.astype(np.float64), z.astype(np.float64))
    np.testing.assert_allclose(f(s=s, x=x, z=z), expected, atol=2e-3, rtol=1e-4)


def test_differences_of_a_window() -> None:
    f = il.compile("g[i,j] = e[i,j,r,s] * (x[i+2,j+2] - x[i+r,j+s])", backend="numpy")
    e, x = RNG.standard_normal((30, 40, 5, 5)), RNG.standard_normal((34, 44))
    expected = sum(e[:, :, r, s] * (x[2:32, 2:42] - x[r : r + 30, s : s + 40]) for r, s in product(range(5), range(5)))
    assert "window" in str(f.plan(e=e.shape, x=x.shape))
    np.testing.assert_allclose(f(e=e, x=x), expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.complex128])
def test_sums_of_few_neighbours(channels: int, dtype: type) -> None:
    f = il.compile("y[i,j,r,s] = a[i,j,c] * x[i+r,j+s,c]", backend="numpy")
    a = (4 * RNG.standard_normal((20, 30, channels))).astype(dtype)
    x = (4 * RNG.standard_normal((22, 31, channels))).astype(dtype)
    x[5, 7, 0] = 0 if dtype is np.int64 else np.inf
    expected = np.empty((20, 30, 3, 2), dtype)
    for r, s in product(range(3), range(2)):
        with np.errstate(all="ignore"):
            expected[:, :, r, s] = (a * x[r : r + 20, s : s + 30]).sum(-1)
    assert ("positions" in str(f.plan(a=a.shape, x=x.shape))) == (1 < channels <= NUMPY.short)
    tolerance = 1e-4 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(f(a=a, x=x), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 9])
def test_weights_of_a_window(channels: int) -> None:
    f = il.compile("y[i,j,c] = w[i,j,r,s] * x[i+r,j+s,c]")
    w, x = RNG.standard_normal((20, 30, 3, 2)), RNG.standard_normal((22, 31, channels))
    x[5, 7, 0] = np.nan
    expected = sum(w[:, :, r, s, None] * x[r : r + 20, s : s + 30] for r, s in product(range(3), range(2)))
    np.testing.assert_allclose(f(w=w, x=x), expected)
    for order in ("c,i,j", "j,c,i"):  # however the result lies
        g = il.compile(f"y[{order}] = w[i,j,r,s] * x[i+r,j+s,c]")
        np.testing.assert_allclose(np.einsum(f"{order.replace(',', '')}->ijc", g(w=w, x=x)), expected)


@pytest.mark.parametrize("text", ["y[b,i,c] = K[d,c] * x[b,i+d,c]", "K[d,c] = y[b,i,c] * x[b,i+d,c]"])
@pytest.mark.parametrize(("batch", "rows", "channels"), [(1, 9, 70), (2, 9, 70), (5, 7, 70), (1, 40, 9), (3, 90, 9)])
def test_threads_give_the_same(text: str, batch: int, rows: int, channels: int) -> None:
    x, k = RNG.standard_normal((batch, rows + 2, channels)), RNG.standard_normal((3, channels))
    y = RNG.standard_normal((batch, rows, channels))
    f = sized(il.compile(text), shared=1)
    windows = [x[:, d : d + rows] for d in range(3)]
    if text[0] == "y":
        assert "in threads" in str(f.plan(K=k.shape, x=x.shape))
        np.testing.assert_allclose(f(K=k, x=x), sum(k[d] * windows[d] for d in range(3)))
    else:
        np.testing.assert_allclose(f(y=y, x=x), [(y * w).sum((0, 1)) for w in windows])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y[i,k] += a[i,j] * sin(x[i,k])", lambda a, x, q: a.sum(1)[:, None] * np.sin(x)),
        ("y[k,i] += a[i,j] * sin(x[i,k]) / q[k]", lambda a, x, q: (a.sum(1)[:, None] * np.sin(x) / q).T),
        ("y[m,k] += a[i,j] * sin(x[m,k]) * q[k]", lambda a, x, q: a.sum() * np.sin(x) * q),
    ],
)
def test_what_stands_before_a_sum_may_have_more_indices(text: str, expected: Callable[..., np.ndarray]) -> None:
    a, x, q = RNG.standard_normal((7, 5)), RNG.standard_normal((7, 4)), RNG.standard_normal(4)
    f = il.compile(text)
    given = {"a": a, "x": x, "q": q}
    np.testing.assert_allclose(f(**{n: given[n] for n in f.inputs}), expected(a, x, q))


@pytest.mark.parametrize("value", ["a[i,j] * b[i,j]", "s * a[i,j]", "sin(a[i,j])", "a[i,j] * b[i,j] * s", "-a[i,j]"])
def test_the_only_element_of_a_tensor(value: str) -> None:
    """It is written as an element, not through a view."""
    given = {"a": RNG.standard_normal((3, 4)), "b": RNG.standard_normal((3, 4)), "s": np.array(1.7)}
    f, g = (il.compile(f"{declared}\n{target} += {value}") for declared, target in (("shape y[1]", "y[0]"), ("", "y")))
    found = f(**{n: given[n] for n in f.inputs})
    assert found.shape == (1,)
    np.testing.assert_allclose(found[0], g(**{n: given[n] for n in g.inputs}))


def test_blocks_of_a_product_reach_an_element() -> None:
    g, p, q = RNG.standard_normal((5, 7)), RNG.standard_normal((7, 5)), RNG.standard_normal((7, 5))
    f = sized(il.compile("shape y[3]\ny[1] += g[j,i] * q[i,j] * p[i,j]"), copy=200)
    np.testing.assert_allclose(f(g=g, q=q, p=p), [0, (g.T * q * p).sum(), 0])


def test_a_window_is_unfolded_once_for_its_layer_and_the_gradient() -> None:
    text = "y[b,i,o] = x[b,i+d,c] * K[d,c,o]\nK.grad[d,c,o] += dy[b,i,o] * x[b,i+d,c]"
    rng = np.random.default_rng(3)
    x, k, dy = rng.standard_normal((4, 40, 6)), rng.standard_normal((3, 6, 8)), rng.standard_normal((4, 38, 8))
    f = il.compile(text.replace("K.grad", "g"), outputs=["y", "g"], backend="numpy")
    copies = [run.kernel for run in runs_of(f.plan(x=x, K=k, dy=dy)) if run.place.buffer.name == "copy"]
    assert [k.value.place.buffer.name for k in copies if isinstance(k, Map) and isinstance(k.value, Load)] == ["x"]
    found = f(x=x, K=k, dy=dy)
    taps = [x[:, d : d + 38] for d in range(3)]
    np.testing.assert_allclose(found["y"], sum(t @ w for t, w in zip(taps, k, strict=True)))
    np.testing.assert_allclose(found["g"], [np.einsum("bic,bio->co", t, dy) for t in taps])


def test_a_sum_of_differences_keeps_its_digits_where_points_lie_apart() -> None:
    rng = np.random.default_rng(4)
    x = (rng.uniform(0, 1e4, 400) + np.zeros((3, 400))).T.astype(np.float32) + rng.standard_normal((400, 3))
    x = x.astype(np.float32)
    s = np.exp(-np.square(x[:, None] - x[None]).sum(-1)).astype(np.float32)
    found = il.compile("y[i,d] = s[i,j]*(x[i,d]-z[j,d])")(s=s, x=x, z=x)
    expected = np.einsum("ij,ijd->id", s.astype(float), x[:, None].astype(float) - x[None])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
