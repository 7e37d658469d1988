"""Products that the forward run keeps for the backward run: which, and that nothing changes by it."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import TINY

CHAIN = "y[i,j] = A[i,k]*B[k,l]*C[l,j]"
MASKED = "y[t,e] = q[t,d]*k[s,d]*v[s,e] where m[t,s] > 0"


def told(text: str, recompute: bool = False, **shapes: Any) -> str:
    first, second = il.compile(text, recompute=recompute).plans(**shapes)
    return f"{first}\nTHEN\n{second}"


def test_a_product_that_both_need_is_made_once() -> None:
    shapes = dict.fromkeys("ABC", (256, 256))
    first, _, second = told(CHAIN, **shapes).partition("THEN")
    assert "shared[i,l] = A[i,k] * B[k,l]" in first
    assert "C.grad[l,j] += shared[i,l] * y.grad[i,j]" in second
    assert "shared[i,l]" not in told(CHAIN, recompute=True, **shapes).partition("THEN")[0]


def test_one_that_leaves_the_cache_is_made_again() -> None:
    shapes = {"A": (2048, 64), "B": (64, 2048), "C": (2048, 2048)}
    assert "shared[i,l] = A[i,k] * B[k,l]" not in told(CHAIN, **shapes).partition("THEN")[0]


def test_one_that_is_quickly_made_is_made_again() -> None:
    shapes = {"A": (512, 8), "B": (8, 512), "C": (512, 512)}
    assert "shared[i,l] = A[i,k] * B[k,l]" not in told(CHAIN, **shapes).partition("THEN")[0]


@pytest.mark.parametrize("limits", [TINY, None], ids=["tiny", "default"])
@pytest.mark.parametrize("n", [1, 5, 24])
@pytest.mark.parametrize(
    "text", [CHAIN, MASKED, f"{CHAIN}\nz[i,l] = A[i,k]*B[k,l]*D[i]", "y[i] = A[i,k]*B[k,l]*C[l,i]"]
)
def test_gradients_are_those_of_loops(text: str, n: int, limits: Any) -> None:
    program = il.compile(text).program
    f = Function(program) if limits is None else Function(program, limits=limits)
    rng = np.random.default_rng(n)
    shapes = {name: (n,) if name == "D" else (n, n) for name in f.inputs}
    inputs = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    right = dense.run(program, inputs)
    dy = {name: rng.standard_normal(v.shape) for name, v in right.items()}
    names = grad.gradient_names(program)
    gradients = dense.run(grad.backward(program, None), {**inputs, **{names[o]: d for o, d in dy.items()}})
    _, pull = f.vjp(**inputs)
    for name, value in pull(dy if len(dy) > 1 else dy["y"]).items():
        np.testing.assert_allclose(value, gradients[names[name]], rtol=1e-9, atol=1e-9)
