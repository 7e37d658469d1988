"""Blocks on JAX: values and gradients as on NumPy, under jit; and what is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

from jax_cases import long_numbers
from recurrences import CASES, Case
from test_recurrences import NAMED, assert_close, function, given, taken, values

from indexlang.errors import MeaningError

pytestmark = pytest.mark.usefixtures("long_numbers")
__all__ = ["long_numbers"]

BY_DATA = {"a tree", "a tree without paddings"}  # whose order only data tell
RUN = [case for case in CASES if case.name not in BY_DATA]


@pytest.mark.parametrize("case", RUN, ids=lambda case: case.name)
def test_values_are_numpys(case: Case) -> None:
    arrays = case.arrays()
    assert_close(values(function(case, "jax"), arrays), values(function(case), arrays))


@pytest.mark.parametrize("case", [c for c in RUN if c.gradient], ids=lambda case: case.name)
def test_gradients_are_numpys(case: Case) -> None:
    f = function(case)
    derived = f.grad()
    there = taken(derived, given(f, case.arrays()))
    assert_close(function(case, "jax").grad()(there), derived(there))


@pytest.mark.parametrize("name", sorted(BY_DATA))
def test_an_order_that_data_decide_is_refused(name: str) -> None:
    with pytest.raises(MeaningError, match=r"(?s)data tell here .*way out: take backend='native' or 'numpy'"):
        function(NAMED[name], "jax")(NAMED[name].arrays())
