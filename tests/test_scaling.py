"""Products are scaled at their smallest factor: in the plan, and to the same values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from planned import sized

import indexlang as il
from indexlang.calls.function import Function

RNG = np.random.default_rng(4)


def scaled(text: str) -> Function:
    return sized(il.compile(text), scaled=1)


@pytest.mark.parametrize(
    ("text", "shapes", "count"),
    [
        ("s[t,u] = q[t,d] * k[u,d] / 8", {"q": (30, 2), "k": (40, 2)}, 1),
        ("s[t,u] = q[t,d] * k[u,d]", {"q": (30, 2), "k": (40, 2)}, 0),
        ("s[t,u] = -q[t,d] * k[u,d]", {"q": (30, 2), "k": (40, 2)}, 0),  # a sign costs nothing at the result
        ("s[t,u] = q[t,d] * k[u,d] / 8", {"q": (30, 20), "k": (40, 20)}, 0),  # the result is not much larger
        ("y[i+r] = a[i] * w[r] / z[i]", {"a": (30,), "w": (4,), "z": (30,)}, 0),  # w is smaller, but has no i
        ("y[i+r] = a[i] * w[i,r] / z[i]", {"a": (30,), "w": (30, 4), "z": (30,)}, 1),
        ("y[i+r] = 3 * a[i] * w[i,r] / 5 / z[i]", {"a": (30,), "w": (30, 4), "z": (30,)}, 1),
        ("y[i+r] = -a[i] * w[i,r]", {"a": (30,), "w": (30, 4)}, 1),  # instead of in every tap
    ],
)
def test_where_it_is_scaled(text: str, shapes: dict[str, tuple[int, ...]], count: int) -> None:
    f = scaled(text)
    plan = str(f.plan(**shapes))
    assert plan.count("scaled") == 2 * count  # made and read
    given = {n: RNG.standard_normal(s) for n, s in shapes.items()}
    found = f(**given)
    if text.startswith("s"):
        factor = {"/": 1 / 8, "-": -1}.get(next((c for c in text[8:] if c in "/-"), ""), 1)
        np.testing.assert_allclose(found, factor * given["q"] @ given["k"].T)
        return
    z = given.get("z", np.full(30, -1.0)) * (5 / 3 if "3" in text else 1)
    expected = np.zeros(33)
    for i, r in product(range(30), range(4)):
        w = given["w"][i, r] if given["w"].ndim == 2 else given["w"][r]
        expected[i + r] += given["a"][i] * w / z[i]
    np.testing.assert_allclose(found, expected)


def test_the_same_is_scaled_once() -> None:
    f = scaled("a[t,u] = q[t,d] * k[u,d] / 8\nb[t,u] = q[t,d] * v[u,d] / 8")
    q, k, v = (RNG.standard_normal(s) for s in ((30, 2), (40, 2), (50, 2)))
    assert str(f.plan(q=q.shape, k=k.shape, v=v.shape)).count("scaled") == 3
    found = f(q=q, k=k, v=v)
    np.testing.assert_allclose(found["a"], q @ k.T / 8)
    np.testing.assert_allclose(found["b"], q @ v.T / 8)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.complex64])
def test_types(dtype: type) -> None:
    q, k = (RNG.integers(-4, 5, s).astype(dtype) for s in ((30, 2), (40, 2)))
    for text, factor in (("s[t,u] = 3 * q[t,d] * k[u,d]", 3), ("s[t,u] = q[t,d] * k[u,d] / 4", 0.25)):
        found = scaled(text)(q=q, k=k)
        np.testing.assert_allclose(found, factor * (q.astype(complex) @ k.T.astype(complex)), rtol=1e-3)
        if dtype is not np.int64:
            assert found.dtype == dtype


def test_nan_and_infinity() -> None:
    q, k = RNG.standard_normal((30, 2)), RNG.standard_normal((40, 2))
    q[3, 1], k[5, 0] = np.inf, np.nan
    with np.errstate(all="ignore"):
        expected = (q[:, None] * k).sum(-1) / 8
    np.testing.assert_allclose(scaled("s[t,u] = q[t,d] * k[u,d] / 8")(q=q, k=k), expected)
