"""Taps of windows in front of other axes: the same values and gradients, and what must stay stays."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.verify import verify

Array = NDArray[Any]

BILATERAL = """
e[b,i,j,c,u,v] = exp(-(x[b,i+u,j+v,c] - x[b,i+1,j+1,c])**2) where u < 3, v < 3
z[b,i,j,c] = e[b,i,j,c,u,v]
y[b,i,j,c] = e[b,i,j,c,u,v]*x[b,i+u,j+v,c] / z[b,i,j,c]
"""
ATTENTION = """
l[b,i,u] = q[b,i,d]*k[b,pad(i+u-1),d] where u < 3
p[b,i,u] = exp(l[b,i,u] - logsumexp[w](l[b,i,w]))
y[b,i,d] = p[b,i,u]*v[b,pad(i+u-1),d]
"""
COLUMNS = """
h[b,i,c,u] = tanh(x[b,i+u,c]) where u < 3
y[b,i,o] = h[b,i,c,u]*w[c,u,o]
"""
GREATEST = """
h[b,i,c,u] = x[b,i+u,c]*w[u] where u < 4
m[b,i,c] max= h[b,i,c,u]
y[b,i,c] = m[b,i,c]*h[b,i,c,u]
"""
NEAR = """
s[n,c] = x[n,pad(c+d,1)]**2 where d < 3
y[n,c] = x[n,c] / (1 + s[n,c])**0.75
"""
TEXTS = {"near": NEAR, "bilateral": BILATERAL, "attention": ATTENTION, "columns": COLUMNS, "greatest": GREATEST}
SIZES = {
    "near": ({"x": (2, 6)}, {"x": (3, 3)}, {"x": (90, 64)}),
    "bilateral": ({"x": (1, 6, 5, 2)}, {"x": (2, 5, 5, 3)}, {"x": (1, 42, 30, 3)}),
    "attention": (
        {"q": (2, 5, 3), "k": (2, 5, 3), "v": (2, 5, 3)},
        {"q": (3, 3, 3), "k": (3, 3, 3), "v": (3, 3, 3)},
        {"q": (2, 200, 4), "k": (2, 200, 4), "v": (2, 200, 4)},
    ),
    "columns": ({"x": (2, 6, 3), "w": (3, 3, 2)}, {"x": (3, 5, 3), "w": (3, 3, 3)}, {"x": (2, 90, 4), "w": (4, 3, 5)}),
    "greatest": ({"x": (2, 7, 3), "w": (4,)}, {"x": (4, 7, 4), "w": (4,)}, {"x": (2, 203, 3), "w": (4,)}),
}


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, kind: str, limits: Limits) -> None:
    f = sized(il.compile(TEXTS[name]), limits)
    for seed, shapes in enumerate(SIZES[name]):
        rng = default_rng(seed)
        given = {n: rng.standard_normal(s).astype(kind) for n, s in shapes.items()}
        wide = {n: a.astype(np.float64) for n, a in given.items()}
        verify(f.plan(**given))
        for each in f.plans(**given):
            verify(each)
        right = dense.run(f.program, wide)["y"]
        y, pull = f.vjp(**given)
        tolerance = {"rtol": 1e-3, "atol": 1e-4} if kind == "float32" else {"rtol": 1e-9, "atol": 1e-10}
        np.testing.assert_allclose(f(**given), right, **tolerance)
        np.testing.assert_allclose(y, right, **tolerance)
        dy = rng.standard_normal(right.shape).astype(kind)
        back = f.grad().program
        truth = dense.run(back, {n: {**wide, "y": right, "y.grad": dy.astype(np.float64)}[n] for n in back.inputs})
        for n, gradient in pull(dy).items():
            np.testing.assert_allclose(gradient, truth[f"{n}.grad"], **tolerance)


def lies(text: str, tensor: str, wanted: tuple[int, ...], **shapes: tuple[int, ...]) -> None:
    plan = sized(il.compile(text), NUMPY).plan(**{n: np.zeros(s, np.float32) for n, s in shapes.items()})
    assert plan.shapes[tensor] == wanted


def test_taps_lie_in_front() -> None:
    lies(BILATERAL, "e", (3, 3, 2, 40, 28, 3), x=(2, 42, 30, 3))
    lies(ATTENTION, "l", (3, 2, 200), q=(2, 200, 4), k=(2, 200, 4), v=(2, 200, 4))


@pytest.mark.parametrize(
    ("text", "tensor", "wanted", "shapes"),
    [
        (COLUMNS, "h", (2, 298, 4, 3), {"x": (2, 300, 4), "w": (4, 3, 5)}),  # rows of a product of matrices
        (BILATERAL, "e", (1, 6, 5, 2, 3, 3), {"x": (1, 8, 7, 2)}),  # few positions
        (BILATERAL.replace("< 3", "< 9"), "e", (1, 42, 30, 2, 9, 9), {"x": (1, 50, 38, 2)}),
        (NEAR, "s", (300, 40), {"x": (300, 40)}),  # positions that the window moves over
        ("e[i,u] = x[i+u] where u < 3", "e", (398, 3), {"x": (400,)}),  # an output
        ("e[i,u] = x[i+u] where u < 3\ny[i] = e[i,u]/size(e,1)", "e", (398, 3), {"x": (400,)}),  # its size is asked
    ],
    ids=["summed", "few positions", "many taps", "positions", "output", "size"],
)
def test_what_stays(text: str, tensor: str, wanted: tuple[int, ...], shapes: dict[str, tuple[int, ...]]) -> None:
    lies(text, tensor, wanted, **shapes)
