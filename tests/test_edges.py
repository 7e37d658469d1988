"""Reads and writes that wrap, clamp and reflect: as the text has them, at any size, and written through views."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.buffers import buffers_of
from indexlang.plan.kernels import Scatter
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.planning import every
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

STENCILS = [
    "y[b,i,j] = x[b,EDGE(i-1),j] + x[b,EDGE(i+1),j] + x[b,i,EDGE(j-1)] + x[b,i,EDGE(j+1)] - 4*x[b,i,j]",
    "y = -x[b,i,j]*x[b,EDGE(i+1),j] - x[b,i,j]*x[b,i,EDGE(j+1)]",
    "y[b,i,j] = x[b,EDGE(i-2),EDGE(j+1)] * x[b,i,j]",
    "y[b,i,j] = tanh(x[b,EDGE(i+3),j]) where i < size(x,1), i != 1",
    "y[b,i] = x[b,EDGE(2*i-3),EDGE(4-3*i)] where i < 5",
    "y[b,i,j] = x[b,EDGE(i-5),j] where i < 9",
    "y[b,i,j] = w[k]*x[b,EDGE(i+k-1),j] where i < size(x,1), k < 3",
    "y[b,i,j] = w[k]*v[l]*x[b,EDGE(i+k-1),EDGE(j-l)] where i < size(x,1), j < size(x,2), k < 3, l < 2",
    "y[b,i] max= x[b,EDGE(i+1),j] - x[b,i,EDGE(j-1)]",
    "y[(b,i),j] = x[b,EDGE(i-1),j] where i < size(x,1)",
    "y[b,j] = x[b,EDGE(7),j] + x[b,EDGE(-2),EDGE(j+1)] where j < size(x,2)",
    "y[b,i,j] = x[b,EDGE(i-1),j] * x[b,EDGE(i+1),EDGE(j+1)] / (2 + cos(x[b,i,j])) where x[b,i,j] > 0",
    "shape y[2,4,5]\ny[EDGE(b),EDGE(i+2),EDGE(2*j-1)] += x[b,i,j]",
    "shape y[2,4,5]\ny[EDGE(b+1),EDGE(i-1),EDGE(j)] max= x[b,i,j]",
    "shape y[3,7]\ny[EDGE(b-1),EDGE(i+j)] min= x[b,i,j]",
    "shape y[3,7]\ny[EDGE(b-1),EDGE(i+j-1)] = x[b,i,j]",
]
CASES = [stencil.replace("EDGE", edge) for stencil in STENCILS for edge in ("wrap", "clamp", "reflect")]
SIZES = [(2, 5, 6), (1, 1, 4), (2, 2, 3), (2, 3, 1), (0, 3, 3)]


def inputs(f: Function, shape: tuple[int, ...], kind: str) -> dict[str, Array]:
    rng = default_rng(0)
    shapes = {"x": shape, "w": (3,), "v": (2,)}
    given = {name: 3 * rng.standard_normal(shapes[name]) for name in f.inputs}
    return {name: np.asarray(value).astype(kind) for name, value in given.items()}


def same(text: str, given: dict[str, Array], limits: Limits) -> None:
    """The values and all gradients are those of the text, by every way that may run."""
    f = indexlang.compile(text)
    planned = sized(f, limits)
    kinds = [a.dtype.name for a in given.values()]
    tolerance = 1e-4 if "float32" in kinds else 1e-10
    for plan in every(planned.plan(**given)):
        verify(plan)
    wide = {k: a.astype(np.float64) if a.dtype.kind == "f" else a for k, a in given.items()}
    with np.errstate(all="ignore"):
        y, right = planned(**given), dense.run(f.program, wide)["y"]
        np.testing.assert_allclose(y, right, rtol=tolerance, atol=tolerance)
        if "float32" not in kinds and "float64" not in kinds:
            return
        dy = default_rng(9).standard_normal(np.shape(right)).astype(kinds[0])
        back = f.grad()
        known = {**given, "y": y, "y.grad": dy}
        found = sized(back, limits)
        for plan in every(found.plan(**{n: known[n] for n in back.inputs})):
            verify(plan)
        gradients = found(**{n: known[n] for n in back.inputs})
        truth = dense.run(back.program, {n: {**wide, "y": right, "y.grad": dy}[n] for n in back.inputs})
        _, pull = planned.vjp(**given)
        pulled = pull(dy)
    for name in back.outputs:
        one = gradients[name] if isinstance(gradients, dict) else gradients
        np.testing.assert_allclose(one, truth[name], rtol=tolerance, atol=tolerance, err_msg=name)
        other = pulled[name.removesuffix(".grad")] if isinstance(pulled, dict) else pulled
        np.testing.assert_allclose(other, truth[name], rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize(("kind", "limits"), [("float32", NUMPY), ("float64", TINY), ("int64", TINY)])
@pytest.mark.parametrize("text", CASES)
def test_values_and_gradients(text: str, kind: str, limits: Limits) -> None:
    for shape in SIZES:
        same(text, inputs(indexlang.compile(text), shape, kind), limits)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("text", CASES[:9])
def test_what_is_not_finite_stays_where_it_is(text: str, bad: float) -> None:
    for place in ((0, 0, 0), (1, 4, 2), (1, 2, 5)):
        given = inputs(indexlang.compile(text), (2, 5, 6), "float64")
        given["x"][place] = bad
        same(text, given, NUMPY)


@pytest.mark.parametrize("edge", ["wrap", "clamp", "reflect"])
@pytest.mark.parametrize("stencil", [*STENCILS[:4], STENCILS[6]])
def test_gradients_of_stencils_are_written_through_views(stencil: str, edge: str) -> None:
    f = indexlang.compile(stencil.replace("EDGE", edge))
    back = f.grad(wrt="x")
    shapes = {"x": (8, 32, 32), "w": (3,), "y": (), "y.grad": (8, 32, 32) if "y[" in stencil else ()}
    plan = back.plan(**{n: shapes[n] for n in back.inputs})
    assert not any(isinstance(run.kernel, Scatter) for run in runs_of(plan))


@pytest.mark.parametrize("edge", ["wrap", "clamp", "reflect"])
def test_an_edge_that_turns_often_is_brought_home_by_a_table(edge: str) -> None:
    """And so is what meets in one element in many positions: views would be many."""
    text = f"shape y[2,3]\ny[b,{edge}(5*i-60)] += x[b,i] where i < 90"
    given = {"x": default_rng(1).standard_normal((2, 90))}
    same(text, given, NUMPY)
    same(f"y[b,i] = w[k]*x[b,{edge}(i+k-60)] where i < size(x,1)", given | {"w": given["x"][0]}, NUMPY)


@pytest.mark.parametrize("text", CASES[:42])
def test_accesses_that_share_a_longer_copy(text: str) -> None:
    """Rims of one element beside axes of thirty: worth a copy for all."""
    f = indexlang.compile(text)
    given = inputs(f, (1, 24, 30), "float64")
    if "size(" not in text and "where" in text:
        return  # reads so many positions only
    same(text, given, replace(NUMPY, rim=1))
    given["x"][0, 0, 29] = np.inf
    same(text, given, replace(NUMPY, rim=1))


@pytest.mark.parametrize("edge", ["wrap", "clamp", "reflect"])
def test_a_stencil_makes_one_longer_copy(edge: str) -> None:
    plan = indexlang.compile(STENCILS[0].replace("EDGE", edge)).plan(x=(2, 128, 128))
    (copy,) = {b for b in buffers_of(plan.sections) if b.role == "copy"}
    assert copy.shape == (2, 130, 130)
    mixed = "y[b,i] = x[b,wrap(i-1)] + x[b,clamp(i+1)] where i < size(x,1)"
    given = {"x": default_rng(0).standard_normal((4, 30))}
    same(mixed, given, replace(NUMPY, rim=1))
    same("y[b,i] = x[b,wrap(i-1)] + x[b,pad(i+1)] + x[b,wrap(i+2)] where i < size(x,1)", given, replace(NUMPY, rim=1))
    far = "y[b,i] = x[b,wrap(i-20)] + x[b,wrap(i+20)] where i < size(x,1)"
    same(far, given, replace(NUMPY, rim=1))
