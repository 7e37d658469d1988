"""No element of what a block makes is set twice: by two statements, by two steps, as the text or the data say."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops
from indexlang.staged.compiled import StagedPlan

X = np.arange(6.0)
HEAD = "shape s[7]\ns[0] = 1\nfor t:\n"
TWICE = [
    HEAD + "    s[t] = x[t] + s[pad(t-1)]\n",
    HEAD + "    s[t+1] = x[t] + s[t] where t < 3\n    s[t+1] = s[t] where t >= 2\n",
    HEAD + "    s[t+1] = x[t] + s[t] where x[t] < 3\n    s[t+1] = s[t] where x[t] >= 2\n",
    "shape s[7]\nfor t:\n    s[t//2] = x[t] + s[pad(t//2-1)]\n",
    "shape s[9]\nfor t:\n    s[clamp(t-2)] = x[t]\n",
]
ONCE = [
    HEAD + "    s[t+1] = x[t] + s[t]\n",
    HEAD + "    s[t+1] = x[t] + s[t] where t < 3\n    s[t+1] = s[t] where t > 2\n",
    HEAD + "    s[t+1] = x[t] + s[t] where x[t] < 3\n    s[t+1] = s[t] where x[t] >= 3\n",
    HEAD + "    s[t+1] = x[t] + s[t] where x[t] < 3\n    s[t+1] = s[t] where x[t] > 2.5\n",
    "shape s[13]\ns[0] = 1\nfor t:\n    s[2*t+1] = x[t] + s[2*t]\n    s[2*t+2] = x[t] * s[2*t+1]\n",
    "shape s[9]\nfor t:\n    s[t+3] = x[t] + s[t+2]\n",
]


@pytest.mark.parametrize("text", TWICE)
def test_what_is_set_twice_is_refused(text: str) -> None:
    with pytest.raises(indexlang.ShapeError) as caught:
        indexlang.compile(text, outputs=["s"])(x=X)
    assert caught.value.code == "set-twice"


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("text", ONCE)
def test_what_is_set_once_runs(text: str, backend: str) -> None:
    f = indexlang.compile(text, outputs=["s"], backend=backend)
    np.testing.assert_allclose(f(x=X), loops(f.program, {"x": X})["s"])


@pytest.mark.parametrize(
    ("first", "second", "checks"),
    [
        ("t < n[b]", "t >= n[b]", 0),
        ("t < n[b]", "n[b] <= t", 0),
        ("t < n[b]", "not t < n[b]", 0),
        ("n[b] == t", "n[b] != t", 0),
        ("t < n[b]", "t > n[b]", 1),
    ],
)
def test_contrary_conditions_need_no_look_at_the_data(first: str, second: str, checks: int) -> None:
    text = f"h[0,b] = x[0,b]\nfor t:\n    h[t+1,b] = x[t,b] where {first}\n    h[t+1,b] = h[t,b] where {second}\n"
    plan = indexlang.compile(text, backend="numpy").plan(x=(3, 2), n=(2,))
    assert isinstance(plan, StagedPlan)
    assert len(plan.staged.checks) == checks


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("when", ["5 < t, t < 2", "t > 3, t < 0", "t % 2 == 1"])
def test_what_a_line_below_makes_at_other_steps_alone_is_read_as_it_was(when: str, backend: str) -> None:
    text = f"for t:\n    s[t] = x[t] + where(t % 2 == 0, y[t], 0)\n    y[t] = 2 * s[t] where {when}\n"
    text = text if "%" in when else text.replace("where(t % 2 == 0, y[t], 0)", "y[t]")
    f = indexlang.compile(text, outputs=["s", "y"], backend=backend)
    found, wanted = f(x=X), loops(f.program, {"x": X})
    for name, array in found.items():
        np.testing.assert_allclose(array, wanted[name])
