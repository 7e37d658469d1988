"""Statements that run together block by block: which they are, and that their values are those of plain NumPy."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from planned import runs_of, sized

import indexlang
from indexlang.plan.limits import TINY
from indexlang.plan.places import View

pytestmark = pytest.mark.usefixtures("on_numpy")  # nests fuse in other ways

SOFTMAX = "y[n,k] = exp(x[n,k] - logsumexp[m](x[n,m]))"
NORM = """
mu[n] = mean[d](x[n,d])
var[n] = mean[d]((x[n,d] - mu[n])**2)
y[n,d] = gamma[d] * (x[n,d] - mu[n]) * rsqrt(var[n] + 0.00001) + beta[d]
"""
RELU = "y[b,i,c] = relu(x[b,i,c] + bias[c])"


def kernels(text: str, backward: bool = False, **shapes: tuple[int, ...]) -> list[str]:
    """The kernel of each statement at these shapes."""
    f = indexlang.compile(text, outputs=["y"])
    if backward:
        f = f.grad()
        shapes = {n.replace("_grad", ".grad"): s for n, s in shapes.items()}
    return [step.kernel for step in f.plan(**shapes).steps]


# -- which statements run together -----------------------------------------------------------------------


def test_softmax_is_one_chain() -> None:
    found = kernels(SOFTMAX, x=(256, 256))
    assert [k.split(",")[:2] for k in found] == [["chain", " 1 of 2"], ["chain", " 2 of 2"]]


def test_the_gradient_of_a_layer_norm_is_one_chain() -> None:
    shapes = {"x": (256, 256), "gamma": (256,), "beta": (256,), "y_grad": (256, 256)}
    found = kernels(NORM, True, **shapes)
    assert all(k.startswith("chain") and f"of {len(found)}" in k for k in found)


def test_a_sum_over_the_blocks_is_complete_after_the_chain() -> None:
    text = "s[c] = x[n,c]**2\ny[n,c] = x[n,c] * s[c]"
    first, second = kernels(text, x=(4096, 32))
    assert first.startswith("chain, ") and second.startswith("chain, ")
    assert "of 2" not in first + second


def test_products_of_matrices_stay_with_blas() -> None:
    first, second = kernels("h[i,k] = x[i,j] * W[j,k]\ny[i,k] = tanh(h[i,k])", x=(256, 64), W=(64, 256))
    assert first.startswith("contraction") and second.startswith("chain")


@pytest.mark.parametrize(("rows", "chained"), [(127, False), (128, True)])
def test_small_statements_stay_alone(rows: int, chained: bool) -> None:
    assert kernels("y[n,k] = exp(x[n,k])", x=(rows, 128))[0].startswith("chain") == chained


def test_what_is_read_by_computed_positions_stays_alone() -> None:
    assert kernels("y[n,k] = exp(x[p[n],k])", x=(256, 256), p=(256,)) == ["elementwise"]


# -- values ----------------------------------------------------------------------------------------------


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    found: np.ndarray = e / e.sum(-1, keepdims=True)
    return found


SIZES = [(1, 16383), (1, 16384), (127, 129), (131, 1009), (64, 1024), (65, 1024), (3, 70001)]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_and_its_gradient(shape: tuple[int, int], dtype: type) -> None:
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    y, pullback = indexlang.compile(SOFTMAX).vjp(x)
    p = softmax(x.astype(np.float64))
    accuracy = 1e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(y, p, rtol=accuracy)
    expected = p * (dy - (dy * p).sum(-1, keepdims=True, dtype=np.float64))
    np.testing.assert_allclose(pullback(dy)["x"], expected, rtol=50 * accuracy, atol=accuracy * expected.max())
    assert y.dtype == dtype == pullback(dy)["x"].dtype


@pytest.mark.parametrize("shared", [1, 1 << 60])
@pytest.mark.parametrize("shape", [(131, 129), (1009, 67)])
def test_layer_norm_and_its_gradients(shape: tuple[int, int], shared: int) -> None:
    rng = np.random.default_rng(2)
    x, dy = rng.standard_normal((2, *shape))
    gamma, beta = rng.standard_normal((2, shape[1]))
    f = sized(indexlang.compile(NORM, outputs=["y"]), shared=shared)
    y, pullback = f.vjp(x=x, gamma=gamma, beta=beta)
    centred = x - x.mean(1, keepdims=True)
    scale = 1 / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    normal = centred * scale
    np.testing.assert_allclose(y, gamma * normal + beta, rtol=1e-12)
    found = pullback(dy)
    np.testing.assert_allclose(found["gamma"], (dy * normal).sum(0), rtol=1e-10)
    np.testing.assert_allclose(found["beta"], dy.sum(0), rtol=1e-10)
    g = dy * gamma
    expected = scale * (g - g.mean(1, keepdims=True) - normal * (g * normal).mean(1, keepdims=True))
    np.testing.assert_allclose(found["x"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shared", [1, 1 << 60])
def test_the_same_in_threads(shared: int) -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((61, 53, 31))
    text = "s[c] = x[b,i,c]**2\nm[c] max= x[b,i,c]\nk[b,c] min= x[b,i,c]\np[i] *= 1 + 0.001 * x[b,i,c]"
    f = sized(indexlang.compile(text), shared=shared)
    assert ("in threads" in str(f.plan(x=(x.shape, "float64")))) == (shared == 1)
    found = f(x)
    np.testing.assert_allclose(found["s"], (x**2).sum((0, 1)))
    np.testing.assert_array_equal(found["m"], x.max((0, 1)))
    np.testing.assert_array_equal(found["k"], x.min(1))
    np.testing.assert_allclose(found["p"], (1 + 0.001 * x).prod((0, 2)))


def test_a_window_is_summed_where_it_lies() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((16, 30, 40))
    text = (
        "s[b,i,c] = x[b,i,pad(c+d-2)]**2 where c < size(x,2), d < 5\n"
        "y[b,i,c] = x[b,i,c] / (2 + 0.0001 * s[b,i,c])**0.75\n"
    )
    assert all(k.startswith("chain") for k in kernels(text, x=x.shape))
    padded = np.pad(x, ((0, 0), (0, 0), (2, 2)))
    sums = sum(padded[:, :, d : d + 40] ** 2 for d in range(5))
    np.testing.assert_allclose(indexlang.compile(text, outputs=["y"])(x), x / (2 + 0.0001 * sums) ** 0.75, rtol=1e-12)


@pytest.mark.parametrize("power", [-4, -3, -1.5, -0.75, -0.5, -0.25, 0.25, 0.75, 1.25, 1.75, 2, 3, 4, 2.2])
def test_powers(power: float) -> None:
    x = np.linspace(0.1, 9, 1 << 15)
    np.testing.assert_allclose(indexlang.compile(f"y[i] = x[i]**{power}")(x), x**power, rtol=1e-13)


# -- what is no number -----------------------------------------------------------------------------------


def test_a_refused_infinity_is_an_exact_zero() -> None:
    x = np.zeros((64, 64, 16), np.float32)
    x[::2], x[1::2] = -1, 1
    dy = np.ones_like(x)
    dy[0], dy[1], dy[2], dy[3] = np.inf, np.inf, np.nan, np.nan
    _, pullback = indexlang.compile(RELU).vjp(x, np.zeros(16, np.float32))
    found = pullback(dy)["x"]
    assert np.all(found[0] == 0) and np.all(found[2] == 0)
    assert np.all(found[1] == np.inf) and np.all(np.isnan(found[3])) and np.all(found[5] == 1)


def test_nan_goes_through_relu_and_the_greatest() -> None:
    x = np.zeros((256, 128))
    x[3, 5], x[7, 9] = np.nan, np.inf
    y = indexlang.compile("y[i,j] = relu(x[i,j])")(x)
    assert np.isnan(y[3, 5]) and y[7, 9] == np.inf and np.nansum(y[:7]) == 0
    m = indexlang.compile("m[i] max= 2 * x[i,j]")(x)
    assert np.isnan(m[3]) and m[7] == np.inf and m[0] == 0


def test_rows_of_nothing_but_minus_infinity() -> None:
    x = np.zeros((256, 128))
    x[0], x[1, 0] = -np.inf, np.inf
    found = indexlang.compile("l[n] = logsumexp[k](x[n,k])")(x)
    assert found[0] == -np.inf and found[1] == np.inf
    np.testing.assert_allclose(found[2:], np.log(128))


def test_a_causal_softmax() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 96, 96))
    text = "l[b,t] = logsumexp[u](x[b,t,u]) where u <= t\np[b,t,u] = exp(x[b,t,u] - l[b,t]) where u <= t"
    expected = softmax(np.where(np.tri(96) > 0, x, -np.inf))
    np.testing.assert_allclose(indexlang.compile(text, outputs=["p"])(x), expected, rtol=1e-12)


def test_a_choice_of_two() -> None:
    rng = np.random.default_rng(6)
    x, z = rng.standard_normal((2, 200, 100)).astype(np.float32)
    z[0] = np.nan
    y = indexlang.compile("y[i,j] = where(x[i,j] > 0, exp(x[i,j]), 2 * z[i,j])")(x, z)
    np.testing.assert_allclose(y, np.where(x > 0, np.exp(x), 2 * z), rtol=1e-6)
    w = indexlang.compile("w[i,j] = where(x[i,j] > 0, 0.5, x[i,j] + z[i,j])")(x, z)
    np.testing.assert_allclose(w, np.where(x > 0, np.float32(0.5), x + z), rtol=1e-6)


# -- memory ----------------------------------------------------------------------------------------------


def test_what_is_read_later_is_not_written_over() -> None:
    rng = np.random.default_rng(7)
    x = rng.standard_normal((128, 128))
    w = rng.standard_normal((128, 128))
    text = "a[i,k] = x[i,j] * w[j,k]\nb[i,k] = exp(a[i,k]) + a[i,k]**2\nc[i,k] = tanh(b[i,k]) * a[i,k]\n"
    a = x @ w
    b = np.exp(a) + a**2
    for last, expected in (("y[i,l] = c[i,k] * w[k,l]", (np.tanh(b) * a) @ w), ("y[i,l] = a[i,k] * b[k,l]", a @ b)):
        f = indexlang.compile(text + last, outputs=["y", "c"])
        np.testing.assert_allclose(f(x, w)["y"], expected, rtol=1e-10)
        np.testing.assert_allclose(f(x, w)["c"], np.tanh(b) * a, rtol=1e-10)


ADDED = """
a[i,k] = x[i,j] * w[j,k]
a[i,k] += {bias}
y[i,k] = tanh(a[i,k]) * a[i,k]
"""


@pytest.mark.parametrize("bias", ["b[k]", "x[i,k]", "x[i,k] * b[k]"])
def test_what_is_added_last_is_kept_in_a_block(bias: str) -> None:
    rng = np.random.default_rng(8)
    x, w, b = rng.standard_normal((256, 128)), rng.standard_normal((128, 128)), rng.standard_normal(128)
    f = indexlang.compile(ADDED.format(bias=bias), outputs=["y"])
    given = {n: array for n, array in {"x": x, "w": w, "b": b}.items() if n in f.inputs}
    a = x @ w + {"b[k]": b, "x[i,k]": x, "x[i,k] * b[k]": x * b}[bias]
    np.testing.assert_allclose(f(**given), np.tanh(a) * a, rtol=1e-10)
    plan = f.plan(**given)
    written = [run.place.buffer.name for run in runs_of(plan) if isinstance(run.place, View)]
    assert written == ["a", "a"]  # the product, and y in its memory


@pytest.mark.parametrize("last", ["z[i,l] = a[i,k] * w[k,l]", "z[k] = a[i,k]", "z[i,k] = a[i,k]"])
def test_what_is_added_to_and_read_later_is_stored(last: str) -> None:
    rng = np.random.default_rng(9)
    x, w, b = rng.standard_normal((256, 128)), rng.standard_normal((128, 128)), rng.standard_normal(128)
    f = indexlang.compile(f"{ADDED.format(bias='b[k]')}{last}", outputs=["y", "z"])
    found, a = f(x=x, w=w, b=b), x @ w + b
    np.testing.assert_allclose(found["y"], np.tanh(a) * a, rtol=1e-10)
    expected = a @ w if "w[k,l]" in last else a.sum(0) if "z[k]" in last else a
    np.testing.assert_allclose(found["z"], expected, rtol=1e-9)


def test_an_accumulation_that_is_given_is_given_back() -> None:
    rng = np.random.default_rng(10)
    x, w, b = rng.standard_normal((256, 128)), rng.standard_normal((128, 128)), rng.standard_normal(128)
    f = indexlang.compile(ADDED.format(bias="b[k]"), outputs=["y", "a"])
    found = f(x=x, w=w, b=b)
    np.testing.assert_allclose(found["a"], x @ w + b, rtol=1e-10)


def test_the_inputs_stay_as_they_are() -> None:
    x, dy = np.full((2, 256, 128), 0.5)
    _, pullback = indexlang.compile("y[i,j] = exp(x[i,j]) * x[i,j]").vjp(x)
    pullback(dy)
    assert np.all(x == 0.5) and np.all(dy == 0.5)


def test_the_source_runs_alone() -> None:
    x = np.random.default_rng(8).standard_normal((1031, 300)).astype(np.float32)
    source = indexlang.compile(SOFTMAX).emit(x=x.shape)
    names: dict[str, Callable[..., tuple[np.ndarray, ...]]] = {}
    exec(source, names)
    np.testing.assert_allclose(names["run"](x)[0], softmax(x), rtol=1e-5)


# -- additions to one tensor -----------------------------------------------------------------------------


def test_additions_to_a_tensor_come_together() -> None:
    text = "g[i,j] += x[i,j] * y[i,j]\ns[j] = x[i,j]**2\ng[i,j] += s[j] * y[i,j]\ng[p[i],j] += y[i,j]\n"
    rng = np.random.default_rng(9)
    x, y = rng.standard_normal((2, 300, 70))
    p = rng.integers(0, 300, 300)
    expected = x * y + (x**2).sum(0) * y
    np.add.at(expected, p, y)
    f = indexlang.compile(text, outputs=["g"])
    np.testing.assert_allclose(f(x=x, y=y, p=p), expected, rtol=1e-12)
    steps = f.plan(x=x.shape, y=y.shape, p=p.shape).steps
    assert [s.statement.split(" += ")[0] for s in steps][-3:] == ["g[i,j]", "g[i,j]", "g[p[i],j]"]


def test_what_an_accumulation_starts_from_comes_first() -> None:
    f = sized(indexlang.compile("m max= x[i]"), least=1)
    assert f(np.array([1.0, 2.0]), m=5.0) == 5 and f(np.array([1.0, 7.0]), m=5.0) == 7


# -- windows that are written ----------------------------------------------------------------------------

WINDOWS = [
    ("y[b,i,c] = x[b,pad(i+d-1),c] * K[d,c] where i < size(x,1)", (24, 40, 33), 1, 1, 40),
    ("y[b,i,c] = x[b,i+2*d,c] * K[d,c]", (24, 40, 33), 1, 0, 36),
    ("y[b,i,c] = x[b,3*i+d,c] * K[d,c]", (24, 44, 33), 3, 0, 14),
    ("y[b,i,c] = x[b,pad(2*i+d-2),c] * K[d,c] where i < 21", (24, 39, 33), 2, 2, 21),
]


@pytest.mark.parametrize(("text", "shape", "stride", "left", "count"), WINDOWS, ids=[w[0] for w in WINDOWS])
def test_depthwise_convolutions(text: str, shape: tuple[int, ...], stride: int, left: int, count: int) -> None:
    dilation = 2 if "2*d" in text else 1
    rng = np.random.default_rng(10)
    x, kernel = rng.standard_normal(shape), rng.standard_normal((3, shape[2]))
    dy = rng.standard_normal((shape[0], count, shape[2]))
    y, pullback = indexlang.compile(text).vjp(x=x, K=kernel)
    expected, dx, dk = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(kernel)
    for i in range(count):
        for d in range(3):
            at = stride * i + dilation * d - left
            if 0 <= at < shape[1]:
                expected[:, i] += x[:, at] * kernel[d]
                dx[:, at] += dy[:, i] * kernel[d]
                dk[d] += (dy[:, i] * x[:, at]).sum(0)
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-13)
    found = pullback(dy)
    np.testing.assert_allclose(found["x"], dx, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found["K"], dk, rtol=1e-10, atol=1e-12)


def test_an_infinity_reaches_only_its_own_window() -> None:
    x = np.ones((64, 300))
    x[5, 7] = np.inf
    text = "y[b,i] = x[b,pad(i+d-1)]**2 where i < size(x,1), d < 3"
    f = indexlang.compile(text)
    y, pullback = f.vjp(x)
    assert np.isinf(y[5]).nonzero()[0].tolist() == [6, 7, 8] and np.isfinite(np.delete(y, 5, 0)).all()
    assert np.isinf(pullback(np.ones_like(y))["x"]).nonzero()[1].tolist() == [7]


def test_the_gradients_of_local_attention() -> None:
    text = (
        "l[b,i,r] = q[b,i,d] * k[b,pad(i+r-1),d] where r < 3\n"
        "p[b,i,r] = exp(l[b,i,r] - logsumexp[t](l[b,i,t]))\n"
        "y[b,i,d] = p[b,i,r] * v[b,pad(i+r-1),d]"
    )
    rng = np.random.default_rng(11)
    q, k, v, dy = rng.standard_normal((4, 12, 70, 32))
    y, pullback = indexlang.compile(text, outputs=["y"]).vjp(q=q, k=k, v=v)
    near = [(r, slice(max(0, 1 - r), 70 - max(0, r - 1)), slice(max(0, r - 1), 70 - max(0, 1 - r))) for r in range(3)]
    scores = np.zeros((12, 70, 3))
    for r, here, there in near:
        scores[:, here, r] = (q[:, here] * k[:, there]).sum(-1)
    p = softmax(scores)
    expected, dp = np.zeros_like(q), np.zeros_like(p)
    dq, dk, dv = np.zeros((3, *q.shape))
    for r, here, there in near:
        expected[:, here] += p[:, here, r, None] * v[:, there]
        dp[:, here, r] = (dy[:, here] * v[:, there]).sum(-1)
        dv[:, there] += p[:, here, r, None] * dy[:, here]
    dl = p * (dp - (p * dp).sum(-1, keepdims=True))
    for r, here, there in near:
        dq[:, here] += dl[:, here, r, None] * k[:, there]
        dk[:, there] += dl[:, here, r, None] * q[:, here]
    np.testing.assert_allclose(y, expected, rtol=1e-11, atol=1e-13)
    found = pullback(dy)
    for name, value in (("q", dq), ("k", dk), ("v", dv)):
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)


def test_the_winner_is_found_where_factors_could_be_multiplied_in_another_order() -> None:
    rng = np.random.default_rng(12)
    a, b = rng.standard_normal((2, 200, 150))
    s, w = rng.uniform(0.5, 2, 200), rng.uniform(0.5, 2, 150)
    f = indexlang.compile("y[i,j] max= s[i]*a[i,j]*w[j]*b[i,j]\ny[i,j] max= a[i,j]\ny[i,j] max= (0.1 + a[i,j]*s[i])**3")
    y, pullback = f.vjp(s=s, a=a, w=w, b=b)
    parts = np.stack([s[:, None] * a * w * b, a, (0.1 + a * s[:, None]) ** 3])
    np.testing.assert_allclose(y, parts.max(0), rtol=1e-14)
    dy = rng.standard_normal(y.shape)
    first, second, third = (np.where(parts.argmax(0) == k, dy, 0) for k in range(3))
    cubic = third * 3 * (0.1 + a * s[:, None]) ** 2
    found = pullback(dy)
    np.testing.assert_allclose(found["a"], first * s[:, None] * w * b + second + cubic * s[:, None], rtol=1e-12)
    np.testing.assert_allclose(found["b"], first * s[:, None] * a * w, rtol=1e-12)
    np.testing.assert_allclose(found["w"], (first * s[:, None] * a * b).sum(0), rtol=1e-10)
    np.testing.assert_allclose(found["s"], (first * a * w * b + cubic * a).sum(1), rtol=1e-10)


def test_edges_that_an_integer_expression_reads_are_made_once() -> None:
    x = np.random.default_rng(13).standard_normal((9, 10))
    text = "y[i,j] = x[i,j] + float(int(3*x[i,reflect(j-1)]))\nz[j,i] = 2*x[i,j] - float(int(3*x[i,reflect(j-1)]))"
    edge = np.trunc(3 * x[:, np.abs(np.arange(-1, 9))])
    found = sized(indexlang.compile(text), least=1, chunk=64)(x)
    np.testing.assert_allclose(found["y"], x + edge)
    np.testing.assert_allclose(found["z"], (2 * x - edge).T)


def test_the_winner_is_found_where_a_chain_could_take_it_from_a_softmax() -> None:
    rng = np.random.default_rng(14)
    s, dy = rng.standard_normal((2, 300, 120))
    text = "L[n] = logsumexp[j](s[n,j])\ny[n,k] max= exp(s[n,k] - L[n])\ny[n,k] max= 0.008*s[n,k]"
    y, pullback = indexlang.compile(text, outputs=["y"]).vjp(s)
    p = softmax(s)
    first = np.where(p >= 0.008 * s, dy, 0)
    np.testing.assert_allclose(y, np.maximum(p, 0.008 * s), rtol=1e-12)
    expected = p * (first - (first * p).sum(-1, keepdims=True)) + 0.008 * (dy - first)
    np.testing.assert_allclose(pullback(dy)["s"], expected, rtol=1e-10, atol=1e-14)


def test_what_reads_a_window_is_not_made_ahead_of_it() -> None:
    text = "y[k,j,i] += a[l,j,k] * tanh(d[j,l]) * e[i,j] where i < g[k], 2 * l <= k - 1, k - 3 < 2 * l"
    rng = np.random.default_rng(3)
    shapes = {"a": (3, 5, 3), "d": (5, 3), "e": (3, 5)}
    inputs = {n: rng.standard_normal(s) for n, s in shapes.items()} | {"g": np.array([1, 2, 3])}
    k, l, i = np.ogrid[:3, :3, :3]  # noqa: E741
    admitted = (i < inputs["g"][k]) & (2 * l <= k - 1) & (k - 3 < 2 * l)
    right = np.einsum("ljk,jl,ij,kli->kji", inputs["a"], np.tanh(inputs["d"]), inputs["e"], admitted.astype(float))
    np.testing.assert_allclose(sized(indexlang.compile(text), TINY)(**inputs), right, rtol=1e-12)


def test_a_sign_is_not_written_over_its_argument() -> None:
    """NumPy takes ten times as long for that."""
    text = "y[i] = abs(x[i+u] - x[i+1]) where u < 3"
    f = indexlang.compile(text)
    x, dy = np.random.default_rng(1).normal(size=40002), np.ones(40000)
    code = f.grad().emit(x=x, **{"y.grad": dy})
    assert "np.sign(" in code and not re.search(r"np\.sign\((\w+), out=\1\)", code)
    expected = np.zeros(40002)
    for u in range(3):
        signs = np.sign(x[u : u + 40000] - x[1:-1])
        expected[u : u + 40000] += signs
        expected[1:-1] -= signs
    np.testing.assert_allclose(f.vjp(x=x)[1](dy)["x"], expected)
