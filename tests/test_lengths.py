"""Products that go only as far as lengths of data say, beside every point gone through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest
from planned import sized, steps_of

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.plan import Within
from indexlang.plan.verify import verify

Array = np.ndarray[Any, Any]
ALWAYS = replace(NUMPY, call=1, calls=1, product=1)
SHAPES = {"q": (5, 6, 3), "k": (5, 9, 3), "v": (5, 9, 2), "w": (5, 9), "u": (3, 4), "r": (3, 9, 5), "z": (4, 3)}
TEXTS = {
    "before": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s < n[b]",
    "up to": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where n[b] >= s",
    "from": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s >= n[b]",
    "behind": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where n[b] < s",
    "one more": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s < n[b] + 1",
    "two bounds": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s >= m[b], s < n[b]",
    "causal": "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s <= t, s < n[b]",
    "kept": "y[b,s,c] = k[b,s,d]*u[d,c] where s < n[b]",
    "kept, twice": "y[b,s,c] = k[b,s,d]*u[d,c] where s < n[b]\ny[b,s,c] += w[b,s]*k[b,s,d]*u[d,c] where s >= m[b]",
    "kept, negative": "y[c,s,b] = -2*k[b,s,d]*u[d,c]/3 where s < n[b]",
    "kept, in blocks": "y[b,s,c] = r[d,s,b]*z[c,e]*r[e,s,b]*u[d,c] where s < n[b]",
    "scores": "y[b,t,s] = q[b,t,d]*k[b,s,d] where s < n[b], t < m[b]",
    "where it is chosen": "y[b,t,e] = where(s < n[b], q[b,t,d]*k[b,s,d], 0)*v[b,s,e]",
}
LENGTHS = {
    "any": [4, 9, 1, 7, 2],
    "none and all": [0, 9, 0, 9, 1],
    "beyond": [-3, 12, 100, 0, -1],
}


def inputs(f: Function, lengths: str, dtype: str = "float64") -> dict[str, Array]:
    rng = np.random.default_rng(6)
    given: dict[str, Array] = {t: rng.standard_normal(SHAPES[t]).astype(dtype) for t in f.inputs if t in SHAPES}
    for t in {"n", "m"} & set(f.inputs):
        given[t] = np.array(LENGTHS[lengths])[:: 1 if t == "n" else -1]
    return given


def compare(f: Function, given: dict[str, Array], limits: Limits) -> int:
    """How many parts of an index are gone through, after values and every gradient were compared."""
    plan = f.plan(**given)
    verify(plan)
    found, expected = f(**given), dense.run(f.program, given)
    np.testing.assert_allclose(found, expected["y"], rtol=1e-9, atol=1e-9)
    g = sized(f.grad(), limits)
    given = {**given, "y.grad": np.random.default_rng(9).standard_normal(np.shape(found))}
    given = {t: given[t] for t in g.inputs}
    expected = dense.run(g.program, given)
    for name, value in g(**given).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    plans = (plan, g.plan(**given))
    verify(plans[1])
    return sum(isinstance(step, Within) for p in plans for step in steps_of(p))


@pytest.mark.parametrize("limits", [ALWAYS, TINY], ids=["always", "tiny"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, lengths: str, limits: Limits) -> None:
    f = sized(indexlang.compile(TEXTS[name]), limits)
    parts = compare(f, inputs(f, lengths), limits)
    assert parts or limits is TINY  # what is tiny may be better off without


@pytest.mark.parametrize("name", ["before", "up to", "from", "behind", "kept"])
def test_no_length_is_too_large(name: str) -> None:
    f = sized(indexlang.compile(TEXTS[name]), ALWAYS)
    for kind in ("int64", "uint64"):
        most = np.iinfo(kind).max
        given = {**inputs(f, "any"), "n": np.array([most, 3, most - 1, 0, most // 2 + 1], kind)}
        assert any(isinstance(step, Within) for step in steps_of(f.plan(**given)))
        np.testing.assert_allclose(f(**given), f(**{**given, "n": np.array([9, 3, 9, 0, 9])}), rtol=1e-12)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("name", ["before", "kept", "scores", "two bounds"])
def test_what_lies_beyond_adds_nothing(name: str, bad: float) -> None:
    f = sized(indexlang.compile(TEXTS[name]), ALWAYS)
    given = inputs(f, "any")
    for row, n in enumerate(given["n"]):
        for t in {"k", "v"} & given.keys():
            given[t][row, n:] = bad
    with np.errstate(all="ignore"):
        value, expected = f(**given), dense.run(f.program, given)["y"]
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64"])
def test_lengths_of_any_integers(dtype: str) -> None:
    f = sized(indexlang.compile(TEXTS["up to"]), ALWAYS)
    given = inputs(f, "none and all")
    expected = dense.run(f.program, given)["y"]
    np.testing.assert_allclose(f(**{**given, "n": given["n"].astype(dtype)}), expected, rtol=1e-9, atol=1e-9)


def test_short_sequences_in_a_long_axis_are_gone_through_as_they_are() -> None:
    """At the limits that users meet."""
    f = indexlang.compile("y[b,t,s] = q[b,t,d]*k[b,s,d] where s < n[b]", backend="numpy")
    rng = np.random.default_rng(3)
    given = {"q": rng.standard_normal((6, 300, 64)), "k": rng.standard_normal((6, 400, 64))}
    given["n"] = rng.integers(0, 401, 6)
    assert any(isinstance(step, Within) for step in steps_of(f.plan(**given)))
    expected = np.where(np.arange(400) < given["n"][:, None, None], given["q"] @ given["k"].swapaxes(1, 2), 0)
    np.testing.assert_allclose(f(**given), expected, rtol=1e-9, atol=1e-9)
