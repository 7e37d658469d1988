"""What runs where the results of a plan do not hold: planned when it is needed, told to all who ask."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.limits import TINY
from indexlang.plan.plan import Plan, Recipe
from indexlang.plan.planning import every, made_of
from indexlang.plan.printing import as_json, steps_text
from indexlang.plan.verify import PlanError, verify
from indexlang.program.facts import note

Array = NDArray[Any]

GUARDED = "x.grad[b,i] = y.grad[b,o] * W[o,i] / z[b] where y.grad[b,o] != 0"
BANDED = """
e[t,s] = exp(l[t,s]) where s <= t, t < s + 4
y[t,f] = e[t,s] * v[s,f]
"""
PROGRAMS = [GUARDED, BANDED]


def inputs(f: Function, bad: bool) -> dict[str, Array]:
    """Arrays of small numbers; with a `bad` one something is not finite that a mask refuses."""
    rng = np.random.default_rng(3)
    shapes = {"x": (40, 6), "y.grad": (40, 8), "W": (8, 6), "z": (40,), "l": (40, 40), "v": (40, 8)}
    found = {n: rng.uniform(0.5, 1.5, shapes[n]) for n in f.inputs}
    if bad and "z" in found:
        found["z"][3], found["y.grad"][3] = 0, 0
    elif bad:
        found["v"][20] = np.inf
    return found


def planned(text: str) -> tuple[Function, Plan]:
    f = Function(indexlang.compile(text).program, limits=TINY)
    return f, f.plan(**{n: a for n, a in inputs(f, False).items()})


def is_planned(recipe: Recipe | None) -> bool:
    """Whether a recipe keeps what was made of it."""
    return any(name.endswith("made_of") for name in vars(recipe))


@pytest.mark.parametrize("text", PROGRAMS)
def test_it_is_planned_when_data_need_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "0")
    f, plan = planned(text)
    for bad in (False, True):
        given = inputs(f, bad)
        with np.errstate(all="ignore"):
            right = dense.run(f.program, given)
        np.testing.assert_allclose(f(**given), right[f.outputs[0]], rtol=1e-9)
        assert is_planned(plan.instead) == bad


@pytest.mark.parametrize("text", PROGRAMS)
def test_whoever_looks_at_a_plan_sees_it(text: str) -> None:
    _, plan = planned(text)
    several = list(every(plan))
    assert len(several) > 1 and several[-1].instead is None and not several[-1].finite
    text = steps_text(plan)
    assert text.count("if not finite(") == len(several) - 1
    for each in several:
        assert all(record.statement in text for record in each.steps)
    data = json.loads(as_json(plan))
    for each in several:
        assert data["kind"] == "Plan" and len(data["sections"]) == len(each.sections)
        data = data["instead"]
    assert data is None


@pytest.mark.parametrize("text", PROGRAMS)
def test_it_follows_from_the_plan_alone(text: str) -> None:
    _, plan = planned(text)
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan and not is_planned(again.instead)
    assert list(every(again)) == list(every(plan))
    assert made_of(plan.instead) is made_of(plan.instead)


@pytest.mark.parametrize("text", PROGRAMS)
def test_it_is_verified_too(text: str) -> None:
    _, plan = planned(text)
    verify(plan)
    recipe = replace(plan.instead)
    note(recipe, made_of, replace(made_of(plan.instead), sections=()))
    with pytest.raises(PlanError):
        verify(replace(plan, instead=recipe))


@pytest.mark.parametrize("text", PROGRAMS)
def test_emitted_source_has_it(text: str) -> None:
    f, _ = planned(text)
    given = inputs(f, True)
    space: dict[str, Any] = {}
    exec(f.emit(**given), space)
    found = f(**given)
    (emitted,) = space["run"](*given.values())
    np.testing.assert_array_equal(found, emitted)


@pytest.mark.parametrize("text", PROGRAMS)
def test_threads_may_need_it_at_once(text: str) -> None:
    f, _ = planned(text)
    given = inputs(f, True)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: f(**given), range(8)))
    for found in results[1:]:
        np.testing.assert_equal(found, results[0])


def test_a_position_out_of_range_is_told_of_it_too() -> None:
    text = GUARDED.replace("W[o,i]", "W[k[o],i]")
    f = Function(indexlang.compile(text).program)
    given = inputs(Function(indexlang.compile(GUARDED).program), True)
    k = np.arange(8)
    with np.errstate(all="ignore"):
        expected = np.where(given["y.grad"][:, :, None] != 0, given["W"][None] / given["z"][:, None, None], 0)
    np.testing.assert_allclose(f(**given, k=k), (given["y.grad"][:, :, None] * expected).sum(1), rtol=1e-9)
    k[2] = 8
    with pytest.raises(indexlang.ShapeError, match=r"k\[o\] = 8"):
        f(**given, k=k)
