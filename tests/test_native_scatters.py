"""Sums at positions that data give, by nests: how exact they are where data bring many values to one element."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang

pytest.importorskip("llvmlite", reason="the native backend needs it")

from indexlang.backends.native.load import nests

MANY = 1 << 16


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("shape", "target", "value"),
    [((2, 3), "E[tok[b],e]", "v[b,e]"), ((2,), "E[tok[b]]", "v[b,0]"), ((1,), "E[tok[b]]", "v[b,e]")],
)
def test_many_values_of_one_element(shape: tuple[int, ...], target: str, value: str, sign: int) -> None:
    """One after the other in float32, 0.1 loses three digits."""
    text = f"shape E[{','.join(map(str, shape))}]\n{target} += {'' if sign > 0 else '-'}{value}"
    v = np.full((MANY, 3), 0.1, np.float32)
    tok = np.zeros(MANY, np.int64)
    f = indexlang.compile(text, backend="native")
    times = 3 if "e" in value and "e" not in target else 1
    right = sign * times * MANY * np.float64(v[0, 0])
    np.testing.assert_allclose(f(tok=tok, v=v)[0], right, rtol=3e-6)


def test_what_is_there_already_stays() -> None:
    f = indexlang.compile("E[i] = x[i]\nE[t[b]] += v[b]\nE[t[b]] += -w[b]", backend="native")
    rng = np.random.default_rng(0)
    x, t = np.array([1.5, -2, 1e6], np.float32), rng.integers(0, 3, 5000)
    v, w = rng.standard_normal((2, 5000)).astype(np.float32)
    right = x.astype(np.float64)
    np.add.at(right, t, v.astype(np.float64) - w)
    np.testing.assert_allclose(f(x=x, t=t, v=v, w=w), right, rtol=1e-6, atol=1e-5)


def test_a_table_of_which_few_rows_are_told_is_not_gone_through() -> None:
    f = indexlang.compile("shape E[9000,64]\nE[t[b],e] += v[b,e]", backend="native")
    for count, wide in ((4096, False), (9000, True)):
        assert (".wide" in nests(f.plan(t=count, v=(count, 64)))) == wide


def test_large_gradients_of_rows_are_not_written_in_blocks() -> None:
    """Of many rows, each a product: all of it is a nest, whose sums are those of NumPy's own scatter."""
    f = indexlang.compile("y[n] = E[a[n],d] * R[r[n],d] * E[b[n],d]", backend="native")
    rng = np.random.default_rng(0)
    rows, others = rng.standard_normal((500, 64)), rng.standard_normal((50, 64))
    a, r, b = (rng.integers(0, n, 9000) for n in (500, 50, 500))
    dy = rng.standard_normal(9000)
    given = {"E": rows, "R": others, "a": a, "r": r, "b": b}
    forward, backward = f.plans({n: (v.shape, v.dtype.name) for n, v in given.items()})
    assert "NumPy" not in f"{forward}{backward}"
    y, pullback = f.vjp(given)
    np.testing.assert_allclose(y, (rows[a] * others[r] * rows[b]).sum(1), rtol=1e-10, atol=1e-10)
    found = pullback(dy)
    right = {"E": np.zeros_like(rows), "R": np.zeros_like(others)}
    np.add.at(right["E"], a, dy[:, None] * others[r] * rows[b])
    np.add.at(right["E"], b, dy[:, None] * others[r] * rows[a])
    np.add.at(right["R"], r, dy[:, None] * rows[a] * rows[b])
    for name, value in right.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9)
