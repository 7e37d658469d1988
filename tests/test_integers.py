"""Integers of indices and sizes are exact or refused: values from Python's integers, which have no end."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang as il
from indexlang.errors import IndexLangError


def code_of(text: str, **arrays: np.ndarray) -> str | None:
    try:
        il.compile(text)(arrays)
    except IndexLangError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("text", "fits", "does_not"),
    [
        ("y[i] = x[i] where i*i*i < 1000", 2**20, 2**22),  # wrapped, two million points passed as being below 1000
        ("y[i] = x[i] * 3**i", 40, 41),
        ("y[i] = x[i] * (i+9223372036854775800)", 8, 9),
        ("y[i] = x[i] * (-3)**i", 40, 41),
        ("y[i] = x[i] * (-9223372036854775800-i)", 9, 10),
        ("y[i] = x[i] where i**i < 100", 16, 17),
        ("y[i] = x[i] where i**i**i < 100", 4, 5),
        ("y[i] = x[i] * 3**i where i%2 == 1", 41, 42),  # 3**39 fits
        ("y[i] = x[i] where i < 30, 3**i < 100", 100, None),
        ("y[i] = x[i] * where(i < 30, 3**i, 1)", 100, None),
        ("y[i] = x[i] * 3.0**i", 100, None),
        ("y[i] = x[i] * (i*size(x,0)*size(x,0))", 2**20, 2**22),
        ("y[i] = x[i] * (i*i % 7)", 10**5, None),
        ("y[i] = x[i] * max(i, 5)**i", 16, 17),
        ("y[i] = x[i] * (-2)**i", 64, 65),  # -2**63 is there
        ("y = sum[i](x[i] * 5**i)", 28, 29),
    ],
)
def test_what_does_not_fit_is_refused(text: str, fits: int, does_not: int | None) -> None:
    if fits * len(text) < 10**5:
        assert code_of(text, x=np.ones(fits)) is None
    else:
        il.compile(text).plan(x=(fits,))
    if does_not is not None:
        with pytest.raises(IndexLangError) as caught:
            il.compile(text).plan(x=(does_not,))
        assert caught.value.code == "overflow"
        assert "reach" in str(caught.value)


def test_what_fits_is_exact() -> None:
    x = np.arange(1.0, 41.0)
    np.testing.assert_array_equal(il.compile("y[i] = x[i] * 3**i")(x=x), [(k + 1) * float(3**k) for k in range(40)])
    y = il.compile("y[i] = x[i] where i*i*i < 1000")(x=np.ones(2**20))
    assert y.sum() == sum(k**3 < 1000 for k in range(2**20))


def test_gradients_of_what_does_not_fit_are_refused_too() -> None:
    pullback = il.compile("y[i] = x[i]*w[i] * 3**i").vjp
    with pytest.raises(IndexLangError, match="overflow"):
        pullback(x=np.ones(50), w=np.ones(50))


def test_few_points_are_looked_at_however_many_indices_there_are() -> None:
    names = "abcdefgh"
    text = f"y[a] = ({'+'.join(names)}+2)**63 where a <= b-9, " + ", ".join(f"{i} < 4" for i in names)
    np.testing.assert_array_equal(il.compile(text)(), np.zeros(4, np.int64))


def test_an_exponent_that_data_keep_away_raises_nothing() -> None:
    f = il.compile("y[i,j] = x[i,j] where j <= j**j**j**j**j, j < len[i], j < 4")
    y = f({"x": np.ones((3, 4)), "len": np.array([0, 2, 4])})
    np.testing.assert_array_equal(y[:2], [[0, 0, 0, 0], [1, 1, 0, 0]])
