"""Gradients that several points add to an element, by nests: the values of NumPy's backend, in few nests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import groups, load

Shapes = Mapping[str, tuple[int, ...]]

LACKING = [
    ("s += x[i+u] where u < 3", {"x": (9,)}),
    ("s += x[i+u] where u < 7", {"x": (12,)}),
    ("s[b] += x[b,2*i+u] where u < 3", {"x": (4, 9)}),
    ("s[b] += x[b,i+2*u]**2 where u < 3", {"x": (4, 19)}),
    ("s[b,i] += x[b,i+u,2*j+v] where u < 3, v < 3", {"x": (4, 9, 9)}),
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
