"""Products that a tensor already holds: read from it, with the same values; and where each element is not held, not."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import runs_of, sized

import indexlang as il
from indexlang.plan.kernels import Product
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.verify import verify

Array = NDArray[Any]

BIAS = "y[t,e] = (sum[d](q[t,d]*k[s,d]) + r[s-t+size(q,0)-1])*v[s,e]"
DIAGONALS = "p[t,s] = q[t,d]*k[s,d]\nshape r[2*{n}-1]\nr[s-t+{n}-1] += q[t,d]*k[s,d]"
READ = {
    "bias": (BIAS, lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 4), "r": (2 * n - 1,)}),
    "twice": (
        "p[t,s] = q[t,d]*k[s,d]\ny[t,e] = q[t,d]*k[s,d]*v[s,e]",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, n)},
    ),
    "added to": (
        "p[t,s] = q[t,d]*k[s,d]\np[t,s] += q[t,d]\ny[t,e] = q[t,d]*k[s,d]*v[s,e]",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 3)},
    ),
    "a part": (
        "p[t,s] = q[t,d]*k[s,d] where s < 2\ny[t,e] = q[t,d]*k[s,d]*v[s,e] where s < 3",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 3)},
    ),
    "masked": (
        "p[t,s] = q[t,d]*k[s,d] where s <= t\ny[t,e] = q[t,d]*k[s,d]*v[s,e]",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 3)},
    ),
    "turned": (
        "p[s,t] = q[t,d]*k[s,d]\ny[t,e] = q[t,d]*k[s,d]*v[s,e] where s <= t",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 3)},
    ),
    "times a number": (
        "p[t,s] = 3*q[t,d]*k[s,d]\ny[t,e] = q[t,d]*k[s,d]*v[s,e]",
        lambda n: {"q": (n, 3), "k": (n, 3), "v": (n, 3)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("limits", [TINY, NUMPY], ids=["tiny", "numpy"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", READ)
def test_values_and_gradients(name: str, kind: str, limits: Limits) -> None:
    text, shapes = READ[name]
    for n in (3, 5, 300):
        f = sized(il.compile(text), limits)
        rng = default_rng(n)
        given = {k: rng.standard_normal(s).astype(kind) for k, s in shapes(n).items()}
        wide = {k: a.astype(np.float64) for k, a in given.items()}
        right = dense.run(f.program, wide)
        found = f(**given)
        found = found if isinstance(found, dict) else {f.outputs[0]: found}
        y, pull = f.vjp(**given)
        for plan in (f.plan(**given), *f.plans(**given)):
            verify(plan)
        tolerance = 2e-4 if kind == "float32" else 1e-10
        cotangents = {o: rng.standard_normal(right[o].shape).astype(kind) for o in f.outputs}
        back = f.grad().program
        known = {**wide, **right, **{f"{o}.grad": c.astype(np.float64) for o, c in cotangents.items()}}
        truth = dense.run(back, {i: known[i] for i in back.inputs})
        gradients = pull(cotangents if isinstance(y, dict) else cotangents[f.outputs[0]])
        pairs = [(found[o], right[o]) for o in f.outputs] + [(g, truth[f"{i}.grad"]) for i, g in gradients.items()]
        for mine, other in pairs:
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * max(1.0, np.abs(other).max()))


def products(text: str, **shapes: tuple[int, ...]) -> int:
    """How many products of matrices a program runs."""
    plan = sized(il.compile(text), NUMPY).plan(**{n: np.zeros(s, np.float32) for n, s in shapes.items()})
    return sum(isinstance(r.kernel, Product) for r in runs_of(plan))


def test_what_is_there_is_not_made_again() -> None:
    """However large it is: here 4 MB."""
    sizes = {"q": (1024, 32), "k": (1024, 32)}
    assert products(DIAGONALS.format(n=1024), **sizes) == 1


@pytest.mark.parametrize(("text", "tap"), [("p[t,s]", "t"), ("p[s,t]", "s")])
def test_rows_are_taken_one_after_the_other(text: str, tap: str) -> None:
    """Of two indices that could be a tap, that one is which lies outside in memory."""
    f = il.compile(f"shape r[2*600-1]\nr[s-t+599] += {text}", backend="numpy")
    assert f"600 taps over {tap}" in str(f.plan(p=np.zeros((600, 600))))
