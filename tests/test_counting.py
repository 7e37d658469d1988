"""An index that stands nowhere counts, whatever way a statement goes: three values of it triple the result."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import indexlang as il
from benchmarks.families.cliffs import ROWS
from benchmarks.families.cliffs.row import Row, sources
from benchmarks.workload import Below
from indexlang.calls.function import Function
from indexlang.plan.limits import NUMPY

SMALL = replace(NUMPY, banded=16, tile=2, call=1, calls=1, separate=8, product=8, grouped=4)
OTHERS = re.compile(r"\b(arg)?(max|min|sum|mean|logsumexp)\[")


def texts(row: Row) -> tuple[str, str]:
    """A row's text, and the same with an index in its last statement that only counts."""
    text = row.text
    for size, number in row.small.items():
        text = text.replace(f"{{{size}}}", str(number))
    return text, f"{text}, counted < 3" if " where " in text.split("\n")[-1] else f"{text} where counted < 3"


def is_one_sum(row: Row) -> bool:
    """Whether the result is a sum that its last statement makes alone."""
    *before, last = row.text.split("\n")
    again = any(line.split("[")[0] == last.split("[")[0] for line in before)
    return not again and not OTHERS.search(last) and not re.search(r"(max|min|\*)=", last)


SEVERAL_TERMS = ("sampling between positions", "layer normalisation")  # the language asks for statements of their own


@pytest.mark.parametrize(
    "row", [r for r in ROWS if is_one_sum(r) and r.name not in SEVERAL_TERMS], ids=lambda r: r.name
)
def test_three_values_count_three_times(row: Row) -> None:
    rng = np.random.default_rng(3)
    given: dict[str, Any] = {}
    for name, source in sources(row.inputs, row.small, row.scales).items():
        positive = rng.random(source.shape) + 0.1
        given[name] = rng.integers(0, source.limit, source.shape) if isinstance(source, Below) else positive
    once, thrice = (Function(il.compile(text).program, limits=SMALL) for text in texts(row))
    (y, pull), (y3, pull3) = once.vjp(**given), thrice.vjp(**given)
    np.testing.assert_allclose(y3, 3 * y, rtol=1e-8, atol=1e-10)
    dy = rng.standard_normal(y.shape)
    found = pull3(dy)
    for name, gradient in pull(dy).items():
        np.testing.assert_allclose(found[name], 3 * gradient, rtol=1e-7, atol=1e-8, err_msg=name)


X, MANY = np.arange(1, 21) / 20, 2.0**40
COUNTED = {
    "y[i] = x[i] where k < 2**40": X * MANY,
    "y[i] = exp(x[i]) where k < 2**40, l < 4": np.exp(X) * MANY * 4,
    "y[i] = exp(x[i] - x[j]) where k < 2**40": np.exp(X[:, None] - X).sum(1) * MANY,
    "y[i] = x[i] where k < 2**40, x[i] > 0.5": np.where(X > 0.5, X * MANY, 0),
    "y[i] = x[j] where k < 2**40, j <= i, i < 20": X.cumsum() * MANY,
    "y[i] = mean[k](exp(x[i])) where k < 2**40": np.exp(X),
    "y[i] max= exp(x[i]) where k < 2**40": np.exp(X),
    "y[i] *= x[i] where k < 2**40": X**MANY,
    "y[] = 1 where k < 2**40": np.array(2**40),
}


@pytest.mark.parametrize("text", COUNTED)
def test_no_loop_goes_over_an_index_on_which_nothing_depends(text: str) -> None:
    f = il.compile(text)
    arrays = dict.fromkeys(f.inputs, X)
    assert "k at a time" not in str(f.plan(**arrays))
    assert np.allclose(f(arrays), COUNTED[text])


def test_the_gradient_counts_too() -> None:
    f = il.compile("y[i] = exp(x[i]) where k < 2**40")
    _, pullback = f.vjp(X)
    assert np.allclose(pullback(np.ones(20))["x"], np.exp(X) * MANY)
    assert " k at a time" not in "".join(map(str, f.plans(X)))
