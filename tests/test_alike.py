"""What several statements would make alike is made once, and only where it is alike."""

from __future__ import annotations

from dataclasses import replace

import dense
import numpy as np
import pytest
from planned import runs_of, sized

import indexlang
from indexlang.calls.function import Function
from indexlang.plan.alike import made_alike
from indexlang.plan.kernels import Map
from indexlang.plan.limits import NUMPY
from indexlang.plan.places import Buffer, Part, View
from indexlang.plan.plan import Plan, Run, Section
from indexlang.plan.quantities import Apply, Load, Number
from indexlang.plan.verify import verify
from indexlang.plan.views import plain

SOON = replace(NUMPY, separate=8, few=1, worth=1 << 40)  # differences are taken apart, no product is a statement
SHAPES = {"x": (9, 6), "z": (7, 6), "g": (9, 6), "h": (9, 6), "w": (6,)}


def right(text: str, means: int) -> Function:
    """The function, after its values were compared; `means` are how often a mean is made."""
    rng = np.random.default_rng(7)
    f = sized(indexlang.compile(text), SOON)
    given = {n: rng.standard_normal(SHAPES[n]) for n in f.inputs}
    plan = f.plan(**given)
    verify(plan)
    found, expected = f(**given), dense.run(f.program, given)
    for name in f.outputs:
        np.testing.assert_allclose(found if len(f.outputs) == 1 else found[name], expected[name], rtol=1e-9, atol=1e-9)
    assert sum(run.place.buffer.name.startswith("mean") for run in runs_of(plan)) == means
    return f


@pytest.mark.parametrize(
    ("second", "means"),
    [
        ("h[i,d]*(x[i,d] - z[k,d])", 1),  # as it is
        ("h[r,m]*(x[r,m] - z[c,m])", 1),  # under other names
        ("h[i,d]*(x[i,d] - z[k,d]) where k < 5", 2),  # of fewer elements
        ("h[i,d]*(z[k,d] - x[i,d])", 2),  # the mean of the other one
    ],
)
def test_the_mean_of_the_same_elements_is_made_once(second: str, means: int) -> None:
    names = "r,c" if "r,m" in second else "i,k"
    right(f"y[i,k] = g[i,d]*(x[i,d] - z[k,d])\nv[{names}] = {second}", means)


@pytest.mark.parametrize("written", ["nothing", "source", "first", "second"])
def test_what_is_written_again_is_not_the_same(written: str) -> None:
    """No text writes a tensor after it was read; rewritten programs and what stands in workspaces may."""
    source = Buffer("s", (4,), "float32")
    first, second = Buffer("a", (4,), "float32", "workspace"), Buffer("b", (4,), "float32", "workspace")
    made = [
        Run(
            Part(buffer, (index,)), "=", Map(Apply("sin", (Load(View(source, (plain(index),)), "float32"),), "float32"))
        )
        for buffer, index in ((first, "i"), (second, "j"))
    ]
    more = {"source": source, "first": first, "second": second}.get(written)
    between = [Run(View(more, (plain("i"),)), "*=", Map(Number(2, "float32")))] if more else []
    extents = (("i", (0, 4)), ("j", (0, 4)))
    parts = ((made[0], *between), (made[1],))
    found = made_alike(Plan((), (), (), (), tuple(Section((), extents, steps) for steps in parts)))
    assert [len(s.steps) for s in found.sections] == [len(parts[0]), 0 if written == "nothing" else 1]


def test_gradients_share_what_they_are_made_of() -> None:
    """Of squared distances: the means, the points moved by them, and the sums of the gradient of the result."""
    g = indexlang.compile("y[i,k] = w[d]*(x[i,d] - z[k,d])**2", backend="numpy").grad()
    rng, shapes = np.random.default_rng(8), {"w": (24,), "x": (200, 24), "z": (180, 24), "y.grad": (200, 180)}
    given = {n: rng.standard_normal(shapes[n]) for n in g.inputs}
    plan = g.plan(**given)
    verify(plan)
    expected = dense.run(g.program, given)
    for name, value in g(**given).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-9, atol=1e-9, err_msg=name)
    hints = [run.place.buffer.name.split("_")[0] for run in runs_of(plan)]
    assert (hints.count("mean"), hints.count("moved")) == (1, 3)
