"""What tells elements and parts of a block apart: ranges, conditions in the names of their statements, real sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import indexlang as il

TWO = """\
shape d[11,11,6]
shape e[11,11,6]
for i < 10, j < 10:
    d[i+1,j+1,k] = d[i,j+1,k] + exp(FIRST) where RANGE
    e[i+1,j+1,k] = e[i+1,j,k] + exp(FIRST)
"""


def tables(x: Any, lo: int, hi: int) -> tuple[Any, Any]:
    d, e = np.zeros((11, 11, 6)), np.zeros((11, 11, 6))
    for i in range(10):
        for j in range(10):
            row = x[i, j] if x.ndim == 3 else x[j]
            d[i + 1, j + 1, lo:hi] = d[i, j + 1, lo:hi] + np.exp(row[lo:hi])
            e[i + 1, j + 1] = e[i + 1, j] + np.exp(row)
    return d, e


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize(("written", "lo", "hi"), [("2 <= k < 6", 2, 6), ("k < 3", 0, 3), ("k < 6", 0, 6)])
@pytest.mark.parametrize("what", ["x[i,j,k]", "x[j,k]"])
def test_parts_of_statements_with_other_ranges(what: str, written: str, lo: int, hi: int, backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    x = np.random.default_rng(0).uniform(-1, 1, (10, 10, 6) if "i" in what else (10, 6))
    f = il.compile(TWO.replace("FIRST", what).replace("RANGE", written), outputs=["d", "e"], backend=backend)
    found = f(x=x)
    for name, wanted in zip("de", tables(x, lo, hi), strict=True):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-12, atol=1e-12)


def test_conditions_are_compared_in_names_of_one_statement() -> None:
    text = """\
for t:
    h[t,a,b] = x[t,a,b] + 0.1 * h[pad(t-1),a,b] where m[a,b] > 0
    h[t,b,a] = 2 * x[t,b,a] where m[OTHER] <= 0
"""
    x, m = np.random.default_rng(0).uniform(-1, 1, (3, 2, 2)), np.array([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(il.ShapeError, match="'h' is set twice"):
        il.compile(text.replace("OTHER", "a,b"), outputs=["h"])(x=x, m=m)
    found = il.compile(text.replace("OTHER", "b,a"), outputs=["h"])(x=x, m=m)
    h = np.zeros((3, 2, 2))
    for t in range(3):
        before = h[t - 1] if t else np.zeros((2, 2))
        h[t] = np.where(m > 0, x[t] + 0.1 * before, 2 * x[t])
    np.testing.assert_allclose(found, h)


def test_a_condition_on_what_is_summed_tells_nothing_apart() -> None:
    text = """\
for t:
    h[t] = x[t,k] where m[k] > 0
    h[t] = 2 * x[t,k] where m[k] <= 0
    g[t] = h[t] + g[pad(t-1)]
"""
    with pytest.raises(il.IndexLangError, match="set twice"):
        il.compile(text, outputs=["g"])(x=np.ones((3, 2)), m=np.array([1.0, -1.0]))


@pytest.mark.parametrize(("row", "refused"), [(4999, True), (4300, True), (5000, False), (12, True)])
def test_rows_that_are_set_twice_at_any_size(row: int, refused: bool) -> None:
    text = f"h[{row},j] = 7.0 where j < 5000\nfor i < 5000, j < 5000:\n    h[i,j] = x[i,j]\n"
    f = il.compile(text, outputs=["h"], backend="numpy")
    if refused:
        with pytest.raises(il.ShapeError, match="set twice"):
            f.plan(x=(5000, 5000))
    else:
        f.plan(x=(5000, 5000))
