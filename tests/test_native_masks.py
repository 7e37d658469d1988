"""Masked sums by nests: what is refused takes no part, whatever the whole sum is multiplied by."""

from __future__ import annotations

import dense
import numpy as np
import pytest

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.printing import steps_text
from indexlang.syntax.parser import parse

pytest.importorskip("llvmlite", reason="the native backend needs it")
pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

SIZES = {"b": 9, "i": 7, "j": 7, "k": 5, "o": 3, "h": 2}
READ = {"x": "bj", "w": "jo", "s": "b", "n": "b", "r": "i", "p": "ij", "q": "jk"}
REFUSED = [  # all points, for some of the results: there the factor is infinite, or nan
    "y[b] = s[b]*x[b,j] where j < n[b]",
    "y[b] = x[b,j]/(n[b] - 0.0) where j < n[b]",
    "y[b] = exp(x[b,j])/n[b] where j < n[b]",
    "y[b,o] = s[b]*x[b,j]*w[j,o] where j < n[b]",
    "y[b,o] = x[b,j]*w[j,o]/n[b] where j < n[b], n[b] < 9",
    "y[b,o] = 2*s[b]*x[b,j]*w[j,o] where 0 < j and j < n[b]",
    "y[b] += -s[b]*x[b,j]*w[j,o] where j + o < n[b]",
    "y[b] = s[b]*w[j,o] where j + o < n[b]",
    "y[i] = r[i]*p[i,j] where j < i",
    "y[i] = p[i,j]/i where j < i",
    "y[i] = r[i]*p[i,j]*q[j,k] where j + k < i",
    "y[i] = r[i]*p[i,j]*q[j,k] where j <= i",  # there is always a j: nothing is asked
]


@pytest.mark.parametrize("text", REFUSED)
def test_a_sum_of_nothing_is_nothing(text: str) -> None:
    rng = np.random.default_rng(1)
    f = indexlang.compile(text, backend="native")
    given = {name: rng.standard_normal([SIZES[i] for i in READ[name]]) for name in f.inputs if name != "n"}
    if "n" in f.inputs:
        given["n"] = np.arange(SIZES["b"]) % 3
    if "s" in given:
        given["s"][::3] = np.inf, np.nan, -np.inf
    if "r" in given and "<=" not in text:
        given["r"][0] = np.inf
    with np.errstate(all="ignore"):
        expected = dense.run(resolve(parse(Source(text))), given)["y"]
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(f(given), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("y[i] = r[i]*p[i,j] where j < i", True),
        ("y[i] = r[i]*p[i,j] where j <= i", False),
        ("y[i] = 2*p[i,j]*q[j,k]/3 where j < i", False),
        ("y[i] = p[i,j] where j < i", False),
    ],
)
def test_it_is_asked_where_there_may_be_nothing(text: str, asked: bool) -> None:
    """A bound that leaves something for each result costs nothing; neither do factors that are numbers."""
    f = indexlang.compile(text, backend="native")
    plan = f.plan({name: tuple(SIZES[i] for i in READ[name]) for name in f.inputs})
    assert ("any[" in steps_text(plan)) == asked


def test_what_waits_for_a_sum_of_its_round_is_not_taken_out_of_the_loop() -> None:
    """Whether a point is admitted is found in front of all loops, in a loop of its own; the sum is not known there."""
    text = "g[h] = z[h,t,e]*q[h,t,d]*k[h,s,d]*v[h,s,e]*(t - s)*a[h] where s <= t"
    rng = np.random.default_rng(0)
    given = {name: rng.random((2, 9, 3)) for name in "zqkv"} | {"a": rng.random(2)}
    found = indexlang.compile(text, backend="native")(given)
    np.testing.assert_allclose(found, dense.run(resolve(parse(Source(text))), given)["g"], rtol=1e-12)
