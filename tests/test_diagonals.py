"""Blocks over two indices that run over diagonals, beside the plain loops of the oracle; what must not be turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops
from indexlang.staged.compiled import StagedPlan
from indexlang.staged.stages import Repeat

Array = np.ndarray[Any, Any]

DTW = """layer dtw(x[N], y[M]) -> z[]:
    shape d[N+1,M+1]
    d[i+1,0] = 1.0 * i + 1
    d[0,j+1] = 2.0 * j + 1
    for i < N, j < M:
        d[i+1,j+1] = min(min(d[i,j] + (x[i] - y[j])**2, d[i,j+1] + 1), d[i+1,j] + 0.5)
    z = d[N,M]
"""
WHOLE = """layer whole(x[N,M,K], w[K]) -> d[N+1,M+2,K]:
    d[0,j,k] = w[k]
    for i < N, j < M:
        d[i+1,j+2,k] = tanh(d[i,j,k] * x[i,j,k] + d[i+1,j+1,k] + d[i,j+2,k] * w[k]) + i - j where x[i,j,k] > -1
"""
BEST = """layer best(s[N,M]) -> z[]:
    shape v[N+1,M+1]
    v[i,0] = 0
    v[0,j+1] = 0
    for i < N, j < M:
        v[i+1,j+1] max= v[i,j] + s[i,j]
        v[i+1,j+1] max= v[i,j+1] - 0.5
        v[i+1,j+1] max= v[i+1,j] - 0.5
    z max= v[i,j]
"""
BACK = """layer back(x[N,M]) -> d[N+1,M+1]:
    for i < N, j < M reversed:
        g[i,j] = d[i+1,j] * 0.5 + d[i,j+1] * 0.25
        d[i,j] = sin(g[i,j]) + x[i,j]
"""
AHEAD = """layer ahead(x[N,M]) -> d[N+1,M+1]:
    for i < N, j < M - 1:
        d[i+1,j] = 0.5 * d[i,j+1] + x[i,j]
"""
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    DTW: {"x": (13,), "y": (11,)},
    WHOLE: {"x": (9, 17, 3), "w": (3,)},
    BEST: {"s": (12, 9)},
    BACK: {"x": (10, 21)},
}


def repeats(f: indexlang.Function, given: dict[str, Array]) -> list[tuple[str, ...]]:
    """The indices of the blocks that run."""
    plan = f.plan(**{n: (a.shape, a.dtype) for n, a in given.items()})
    assert isinstance(plan, StagedPlan)
    return [stage.block.indices for stage in plan.staged.stages if isinstance(stage, Repeat)]


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("text", SIZES)
def test_a_block_runs_over_diagonals(text: str, backend: str) -> None:
    rng = np.random.default_rng()
    given = {n: rng.normal(size=s) for n, s in SIZES[text].items()}
    f = indexlang.compile(text, backend=backend)
    assert [len(indices) for indices in repeats(f, given)] == [1]
    found, wanted = f(**given), loops(f.program, given)[f.outputs[0]]
    np.testing.assert_allclose(found, wanted, 1e-12, 1e-12)
    g = f.grad()
    cotangent = {f"{f.outputs[0]}.grad": rng.normal(size=wanted.shape)}
    gradients, sure = g(**given, **cotangent), loops(g.program, {**given, **cotangent})
    for name in g.outputs:
        np.testing.assert_allclose(gradients[name], sure[name], 1e-10, 1e-10)


@pytest.mark.parametrize("sizes", [(8, 8), (8, 70), (70, 9), (7, 12), (1, 9), (12, 1)])
def test_sizes(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng()
    given = {"x": rng.normal(size=sizes[0]), "y": rng.normal(size=sizes[1])}
    f = indexlang.compile(DTW)
    np.testing.assert_allclose(f(**given), loops(f.program, given)["z"], 1e-12)


def test_what_reads_its_own_diagonal_keeps_its_order() -> None:
    rng = np.random.default_rng()
    given = {"x": rng.normal(size=(9, 12))}
    f = indexlang.compile(AHEAD)
    assert [len(indices) for indices in repeats(f, given)] == [2]
    np.testing.assert_allclose(f(**given), loops(f.program, given)["d"], 1e-12)
