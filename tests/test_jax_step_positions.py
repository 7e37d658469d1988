"""Positions, conditions and paddings of steps on JAX: the values of plain loops."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

import numpy as np
from jax_cases import jax, long_numbers
from test_step_positions import CASES, TENS, expected

import indexlang

pytestmark = pytest.mark.usefixtures("long_numbers")
__all__ = ["long_numbers"]


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_loops(name: str) -> None:
    text, given = CASES[name]
    f = indexlang.compile(text, backend="jax")
    found = f(given)
    for output, right in expected(name).items():
        np.testing.assert_array_equal(found[output] if isinstance(found, dict) else found, right)


def test_the_greatest_of_8_bits_is_around() -> None:
    f = indexlang.compile("for t:\n    s[t] = s[pad(t-1)] + x[pad(w[t],1,0,inf)]\n", backend="jax")
    np.testing.assert_array_equal(f(x=np.array([5, 4], "uint8"), w=np.array([1, 0, 2])), [5, 260, 264])


def test_a_position_that_no_float_refuses_is_looked_at() -> None:
    f = indexlang.compile("for t:\n    s[t] = x[w[t]] + 0.5*s[pad(t-1)] where f[t] > 0.5, t > 0\n", backend="jax")
    with pytest.raises(indexlang.ShapeError, match=r"w\[t\] = 77"):
        f(x=TENS, w=np.array([77, 1, 77]), f=np.array([1, 0, 0.75]))


@pytest.mark.parametrize("kind", ["wrap", "clamp"])
def test_the_greatest_positions_are_not_negative(kind: str) -> None:
    jax.config.update("jax_enable_x64", False)  # `long_numbers` puts it back
    f = indexlang.compile(f"for t:\n    s[t] = x[{kind}(w[t])] + 0.5*s[pad(t-1)]\n", backend="jax")
    given = {"x": TENS.astype("float32"), "w": np.array([2**32 - 1, 1, 3], "uint32")}
    np.testing.assert_array_equal(f(given), {"wrap": [50, 35, 47.5], "clamp": [90, 55, 57.5]}[kind])
