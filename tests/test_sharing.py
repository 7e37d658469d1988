"""Products that statements have in common are made once, and only where they are the same."""

from __future__ import annotations

import dense
import numpy as np
import pytest
from planned import sized

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.order import order_pairs, products_cost

RNG = np.random.default_rng(3)


def run(text: str, **given: np.ndarray) -> tuple[dict[str, np.ndarray], str]:
    outputs = sorted({line.split("[")[0] for line in text.splitlines()} - {"t"})
    f = sized(il.compile(text, outputs=outputs), worth=1)
    found = f(**given)
    return found, str(f.plan(**{n: a.shape for n, a in given.items()}))


def test_gradients_of_a_chain() -> None:
    f = sized(il.compile("y[i,l] = x[i,j] * W[j,k] * U[k,l]"), worth=1)
    x, w, u, dy = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (7, 2), (9, 2)))
    y, pullback = f.vjp(x=x, W=w, U=u)
    np.testing.assert_allclose(y, x @ w @ u)
    found = pullback(dy)
    for name, expected in (("x", dy @ (w @ u).T), ("W", x.T @ dy @ u.T), ("U", (x @ w).T @ dy)):
        np.testing.assert_allclose(found[name], expected)


def test_what_both_multiply_is_made_once() -> None:
    x, w, u, v = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    found, plan = run("a[m,k] = u[i,m] * x[i,j] * W[j,k]\nb[n,k] = v[i,n] * x[i,j] * W[j,k]", x=x, W=w, u=u, v=v)
    assert plan.count("shared") == 3  # made once, read twice
    np.testing.assert_allclose(found["a"], u.T @ x @ w)
    np.testing.assert_allclose(found["b"], v.T @ x @ w)


def test_signs_and_numbers_stay_behind() -> None:
    x, w, u, v = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    text = "a[m,k] = -u[i,m] * (2 * x[i,j]) * W[j,k] / 3\nb[n,k] = v[i,n] * x[i,j] * W[j,k] * size(x, 1)"
    found, plan = run(text, x=x, W=w, u=u, v=v)
    assert "shared" in plan
    np.testing.assert_allclose(found["a"], -2 / 3 * u.T @ x @ w)
    np.testing.assert_allclose(found["b"], 8 * v.T @ x @ w)


def test_not_over_other_extents() -> None:
    x, w, u, v = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    text = "a[m,k] = u[i,m] * x[i,j] * W[j,k] where j < 5\nb[n,k] = v[i,n] * x[i,j] * W[j,k]"
    found, plan = run(text, x=x, W=w, u=u, v=v)
    assert "shared" not in plan
    np.testing.assert_allclose(found["a"], u.T @ x[:, :5] @ w[:5])
    np.testing.assert_allclose(found["b"], v.T @ x @ w)


def test_a_written_range_of_what_is_summed_counts_once() -> None:
    x, w, u, v = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    text = "a[m,k] = u[i,m] * x[i,j] * W[j,k] where j < 8, i < 9\nb[n,k] = v[i,n] * x[i,j] * W[j,k] where j < 8"
    found, plan = run(text, x=x, W=w, u=u, v=v)
    assert plan.count("shared") == 3
    np.testing.assert_allclose(found["a"], u.T @ x @ w)
    np.testing.assert_allclose(found["b"], v.T @ x @ w)


@pytest.mark.parametrize("index", ["i", "j", "k"])
def test_ranges_that_begin_later(index: str) -> None:
    x, w, u, v = (RNG.standard_normal(s) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    text = (
        "a[m,k] = u[i,m] * x[i,j] * W[j,k] where 2 <= INDEX < 6\nb[n,k] = v[i,n] * x[i,j] * W[j,k] where 2 <= INDEX < 6"
    )
    found, plan = run(text.replace("INDEX", index), x=x, W=w, u=u, v=v)
    assert plan.count("shared") == 3
    i, j, k = (slice(2, 6) if index == name else slice(None) for name in "ijk")
    for name, left in (("a", u), ("b", v)):
        expected = left[i].T @ x[i, j] @ w[j]
        np.testing.assert_allclose(found[name][:, k], expected[:, k])


def test_a_factor_twice() -> None:
    x, u, v = (RNG.standard_normal(s) for s in ((6, 6), (6, 3), (6, 4)))
    text = "a[i,m] = x[i,j] * x[j,k] * u[k,m]\nb[i,n] = x[i,j] * x[j,k] * v[k,n]\nc[i] = x[i,j] * x[i,j] * u[j,m]"
    found, _ = run(text, x=x, u=u, v=v)
    np.testing.assert_allclose(found["a"], x @ x @ u)
    np.testing.assert_allclose(found["b"], x @ x @ v)
    np.testing.assert_allclose(found["c"], (x * x * u.sum(1)).sum(1))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.complex64])
def test_other_types(dtype: type) -> None:
    x, w, u, v = (RNG.integers(-3, 4, s).astype(dtype) for s in ((9, 8), (8, 7), (9, 30), (9, 40)))
    found, _ = run("a[m,k] = u[i,m] * x[i,j] * W[j,k]\nb[n,k] = v[i,n] * x[i,j] * W[j,k]", x=x, W=w, u=u, v=v)
    for name, y in (("a", u), ("b", v)):
        expected = y.T.astype(np.complex128) @ x @ w
        np.testing.assert_allclose(found[name], expected, rtol=1e-3)
        assert found[name].dtype == il.compile("a[i] = x[i,j] * w[j]")(x=x, w=w[:, 0]).dtype


def test_cost_of_an_order() -> None:
    sizes = {"i": 10, "j": 20, "k": 30, "l": 2}
    groups = [("i", "j"), ("j", "k"), ("k", "l")]
    assert products_cost(groups, [(0, 1), (0, 1)], ("i", "l"), sizes) == 10 * 20 * 30 + 10 * 30 * 2
    best = order_pairs(groups, ("i", "l"), sizes, NUMPY)
    assert products_cost(groups, best, ("i", "l"), sizes) == 20 * 30 * 2 + 10 * 20 * 2


COSINES = "m[i] = x[i,d]**2\nn[j] = z[j,d]**2\ny[i,j] = x[i,d]*z[j,d]/sqrt(m[i]*n[j])"


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["default", "tiny"])
@pytest.mark.parametrize("text", [COSINES, "y[i,d] = x[i,d]*u[i]/w[i,d]\nv[i] = x[i,d]*u[i]*x[i,d]/w[i,d]"])
@pytest.mark.parametrize("n", [1, 6, 150])
def test_quotients_in_common_are_made_once(text: str, n: int, limits: Limits) -> None:
    f = Function(il.compile(text).program, limits=limits)
    rng = np.random.default_rng(n)
    shapes = {"x": (n, 3), "z": (n + 1, 3), "u": (n,), "w": (n, 3)}
    inputs = {name: rng.standard_normal(shapes[name]) for name in f.inputs}
    right = dense.run(f.program, inputs)
    dy = {name: rng.standard_normal(v.shape) for name, v in right.items()}
    names = grad.gradient_names(f.program)
    gradients = dense.run(grad.backward(f.program, None), {**inputs, **{names[o]: d for o, d in dy.items()}})
    for name, value in f.vjp(**inputs)[1](dy if len(dy) > 1 else dy["y"]).items():
        np.testing.assert_allclose(value, gradients[names[name]], rtol=1e-9, atol=1e-9)


def test_the_gradients_of_cosines_divide_once() -> None:
    told = str(il.compile(COSINES).plans(x=(256, 32), z=(256, 32))[1])
    assert told.count("/ sqrt_m[i,j]") == 1


def test_a_shared_product_lies_as_the_largest_array_that_it_meets() -> None:
    told = str(il.compile("y[i,o] = A[r,i,j]*x[j,f]*W[r,f,o]").plans(A=(4, 256, 256), x=(256, 32), W=(4, 32, 32))[1])
    assert "shared2[r,i,f] = y.grad[i,o] * W[r,f,o]" in told
