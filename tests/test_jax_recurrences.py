"""Blocks on JAX: values and gradients as on NumPy, under jit; and what is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

import numpy as np
from jax_cases import jax, long_numbers
from recurrences import CASES, Case
from test_recurrences import NAMED, assert_close, function, given, taken, values

import indexlang
from indexlang.errors import MeaningError, ShapeError

pytestmark = pytest.mark.usefixtures("long_numbers")
__all__ = ["long_numbers"]

BY_DATA = {"a tree", "a tree without paddings"}  # whose order only data tell
RUN = CASES


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
def test_an_order_that_data_decide_is_refused_where_jax_traces(name: str) -> None:
    f, arrays = function(NAMED[name]), NAMED[name].arrays()
    with pytest.raises(MeaningError, match=r"(?s)data tell here .*way out: call it outside of jit"):
        jax.jit(f.to_jax())(arrays)
    right = values(f, arrays)
    for fn in (f.to_jax(), jax.jit(f.to_jax(check=True))):
        found = fn(arrays)
        assert_close(found if isinstance(found, dict) else {f.outputs[0]: np.asarray(found)}, right)


def test_a_step_that_reads_too_early_is_an_error() -> None:
    step = "        h[t] = x[t] + h[left[t]] where left[t] >= 0\n"
    text = f"layer walk(left[T], x[T]) -> h:\n    shape h[T]\n    for t:\n{step}"
    early = {"left": np.asarray([-1, 2, 1]), "x": np.ones(3)}
    for call in (indexlang.compile(text, backend="jax"), indexlang.compile(text).to_jax()):
        with pytest.raises(ShapeError):
            call(early)
