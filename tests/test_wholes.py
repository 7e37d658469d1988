"""Sums of products by nests: all at once while what they make on the way is not too large, else in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import runs_of, steps_of

import indexlang
from indexlang.calls.function import Function
from indexlang.oracle import loops
from indexlang.plan.limits import NATIVE, NUMPY, TINY, Limits
from indexlang.plan.plan import Loop
from indexlang.plan.planning import plan
from indexlang.plan.verify import verify

Array = NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

ALONE = "y[i,o] += tanh(q[i,d] + k[j,d]) * v[j,o]"  # d is of the computed factor alone
SHARED = "y[i,o] += tanh(q[i,d] + k[j,d]) * v[j,o] * w[d,o]"  # an array over i, j, d must be made
FEW = replace(TINY, nests=True)


def shapes(n: int, d: int = 64) -> Shapes:
    return {"q": (n, d), "k": (n, d), "v": (n, 32), "w": (d, 32)}


def planned(text: str, sizes: Shapes, limits: Limits) -> Any:
    program = indexlang.compile(text).program
    own = {name: sizes[name] for name in program.inputs}
    made = plan(program, own, dict.fromkeys(own, "float32"), limits).plan
    verify(made)
    return made


@pytest.mark.parametrize("limits", [NATIVE, NUMPY], ids=["native", "numpy"])
@pytest.mark.parametrize("text", [ALONE, SHARED])
def test_no_engine_holds_gigabytes_on_the_way(text: str, limits: Limits) -> None:
    made = planned(text, shapes(3000), limits)
    assert made.workspace < limits.heavy  # i, j and d together are 2.3 GB
    assert made.workspace < 8 << 20 or (limits, text) == (NATIVE, ALONE)


@pytest.mark.parametrize(("n", "blocks"), [(900, False), (1100, True)])
def test_nests_go_through_blocks_where_an_array_would_be_large(n: int, blocks: bool) -> None:
    assert (4 * n * n * 64 > NATIVE.heavy) is blocks
    assert any(isinstance(s, Loop) for s in steps_of(planned(SHARED, shapes(n), NATIVE))) is blocks


def test_nests_sum_a_factor_while_they_compute_it() -> None:
    made = planned(ALONE, shapes(3000), NATIVE)
    assert not any(isinstance(s, Loop) for s in steps_of(made)) and len(runs_of(made)) == 2
    assert made.workspace < 40 << 20  # i and j alone are 36 MB


TEXTS = [
    ALONE,
    SHARED,
    "y[i,o] += tanh(q[i,d] + k[j,d]) * v[j,o] where d < 5",
    "y[i,o] += tanh(q[i,d] + k[j,d]) * v[j,o] where d < i",
    "y[i,o] += exp(q[i,d] - k[j,d]) * abs(v[j,o]) * w[e,o]",
    "y[i,o] += 3 * tanh(q[i,d] + k[j,e]) * v[j,o] / w[i,o]",
    "y[i] += tanh(q[i,d] + k[j,e]) * v[i,o]",
    "y[i+j] += tanh(q[i,d] + k[j,d]) * w[i,o]",
    "y[o,i] += -tanh(q[i,d] + k[j,d]) * v[j,o] - relu(k[j,d]) * w[i,o]",
]


@pytest.mark.parametrize("limits", [FEW, TINY, NATIVE, NUMPY], ids=["few", "tiny", "native", "numpy"])
@pytest.mark.parametrize("text", TEXTS)
def test_values_are_those_of_loops(text: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    f = indexlang.compile(text)
    rng = np.random.default_rng(7)
    sizes = {"q": (7, 6), "k": (7, 6), "v": (7, 5), "w": (7, 5)} | ({"w": (6, 5)} if text == SHARED else {})
    given = {name: rng.uniform(0.5, 1.5, sizes[name]) for name in f.inputs}
    expected = loops.run(f.program, given)
    for engine in ("native", "numpy"):
        found = Function(f.program, limits=limits, backend=engine)(given)
        np.testing.assert_allclose(found, expected["y"], rtol=1e-12)
