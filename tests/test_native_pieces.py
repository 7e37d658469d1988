"""Gradients that several points add to an element, by nests: the values of NumPy's backend, in few nests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import groups, load
from indexlang.backends.native.pieces import pieces
from indexlang.plan.limits import NATIVE
from indexlang.plan.planning import plan

Shapes = Mapping[str, tuple[int, ...]]

LACKING = [
    ("s += x[i+u] where u < 3", {"x": (9,)}),
    ("s += x[i+u] where u < 7", {"x": (12,)}),
    ("s[b] += x[b,2*i+u] where u < 3", {"x": (4, 9)}),
    ("s[b] += x[b,i+2*u]**2 where u < 3", {"x": (4, 19)}),
    ("s[b,i] += x[b,i+u,2*j+v] where u < 3, v < 3", {"x": (4, 9, 9)}),
]


WINDOWS = [
    ("y[b,i,j,c] max= x[b,2*i+u,2*j+v,c] where u < 3, v < 3", {"x": (2, 9, 11, 5)}),
    ("y[b,i,j,c] max= x[b,i+u,j+v,c] where u < 3, v < 2", {"x": (2, 7, 6, 5)}),
    ("y[i,j] max= x[i+u,j+v] where u < 4, v < 3", {"x": (9, 40)}),
    ("y[i,j] max= x[i+u,3*j+v] where u < 4, v < 5", {"x": (6, 41)}),
    ("y[b,c] = sum[u](exp(x[b,c+u])) where u < 5", {"x": (3, 50)}),
    ("y[b,c] = sum[u](exp(x[b,c+u])) where u < 5", {"x": (3, 6)}),  # no position has all taps
    ("y[b,t,c] = sum[u](exp(x[b,t+u,c])) where u < 6", {"x": (3, 8, 5)}),
    ("y[b,t,c] = sum[u](exp(x[b,t+3*u,c])) where u < 3", {"x": (3, 20, 5)}),
    ("y[b,t,c] = sum[u](exp(x[b,3*t+2*u,c])) where u < 3", {"x": (3, 20, 5)}),
    ("y[b,t,c] = sum[u](exp(x[b,t+u,c])) where u >= 2, u < 5", {"x": (3, 20, 5)}),
    ("y[b,i,j,o] += W[u,v,c,o]*x[b,i+u,j+v,c]*g[b,c]", {"x": (2, 6, 7, 4), "W": (3, 3, 4, 5), "g": (2, 4)}),
    ("y[b,i,j,o] += W[u,v,c,o]*tanh(x[b,2*i+u,2*j+v,c])", {"x": (2, 7, 9, 4), "W": (3, 3, 4, 5)}),
    ("y[b,i,j,o] += W[u,v,c,o]*x[b,i+u,j+v,c] where 3*u+v < 5", {"x": (2, 6, 7, 4), "W": (3, 3, 4, 5)}),
    ("y[b,i,c] = v[b,i]*x[b,i+u,c]*w[u] where u < 3", {"x": (2, 9, 4), "v": (2, 7), "w": (3,)}),
    ("y[i] = x[i+u]*u where u < 5", {"x": (30,)}),
    ("y[b,i,3*g+c] = w[b,i,u,g]*x[b,i+u,3*g+c] where c < 3", {"w": (2, 5, 3, 4), "x": (2, 7, 12)}),
]


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan and nest."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


def gradients(text: str, shapes: Shapes, backend: str) -> dict[str, np.ndarray]:
    """Of all inputs, in one direction."""
    rng = np.random.default_rng(3)
    given = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    y, pullback = indexlang.compile(text, backend=backend).vjp(given)
    return dict(pullback(rng.standard_normal(np.shape(y)).astype(np.float32)))


def assert_numpys(text: str, shapes: Shapes) -> None:
    found, wanted = (gradients(text, shapes, backend) for backend in ("native", "numpy"))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        size = max(1.0, float(np.abs(value).max(initial=0)))
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * size, err_msg=name)


@pytest.mark.parametrize(("text", "shapes"), LACKING)
def test_a_value_that_has_no_index_of_a_window_counts_for_each_of_its_taps(text: str, shapes: Shapes) -> None:
    assert_numpys(text, shapes)


@pytest.mark.parametrize(("text", "shapes"), WINDOWS)
def test_windows_at_borders(text: str, shapes: Shapes) -> None:
    assert_numpys(text, shapes)


@pytest.mark.parametrize(("number", "most"), [(0, 4), (1, 5), (3, 21), (5, 3), (6, 3), (11, 4), (15, 3)])
def test_borders_are_few_nests(number: int, most: int) -> None:
    """Positions that get fewer taps than those inside have limits, not a nest for each number of taps."""
    text, shapes = WINDOWS[number]
    program = indexlang.compile(text).grad(["x"]).program
    f = indexlang.compile(text)
    y = f({n: np.ones(s, np.float32) for n, s in shapes.items()}).shape
    sizes = {n: s for n, s in {**shapes, "y.grad": y}.items() if n in program.inputs}
    made = plan(program, sizes, dict.fromkeys(sizes, "float32"), NATIVE).plan
    found = [pieces(work) for run in groups.runs(made) for _, work in run if work.taps]
    assert [len(tasks) <= most for tasks in found if tasks] == [True]


@pytest.fixture
def nests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all nests that are made from here on."""
    found: list[str] = []

    def groups_of(*args: Any) -> tuple[groups.Group, ...]:
        made = groups.groups_of(*args)
        found.extend(n.name for g in made for n in g.outlines)
        return made

    monkeypatch.setattr(load, "groups_of", groups_of)
    return found


def test_many_taps_are_one_nest(nests: list[str]) -> None:
    """A gradient at positions that are no window of one index: a nest for each tap took seconds to compile."""
    text = "y[t,e] = (sum[d](q[t,d]*k[s,d]) + r[s-t+size(q,0)-1])*v[s,e]"
    shapes = {"r": (511,), "v": (256, 4), "q": (256, 4), "k": (256, 4)}
    assert_numpys(text, shapes)
    assert 0 < len(nests) < 20
