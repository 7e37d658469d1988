"""Indices that run through an axis together, as one index: what loops give, and the plan that comes of it."""

from __future__ import annotations

from typing import Any

import dense
import numpy as np
import pytest

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NUMPY, TINY

CASES = {
    "means of groups": "m[b,g] = mean[i,c](x[b,i,(g,c)]) where g < 3",
    "moved and scaled": "y[b,i,(g,c)] = w[(g,c)] * (x[b,i,(g,c)] - u[b,g]) * rsqrt(u[b,g]**2 + 1)",
    "norm of groups": "m[b,g] = mean[i,c](x[b,i,(g,c)]) where g < 3\nv[b,g] = mean[i,c]((x[b,i,(g,c)] - m[b,g])**2)\n"
    "y[b,i,(g,c)] = w[(g,c)] * (x[b,i,(g,c)] - m[b,g]) * rsqrt(v[b,g] + 0.1)",
    "the inner index alone": "y[b,i,(c,g)] = x[b,i,(c,g)] * u[b,g]\nz[g] = x[b,i,(c,g)]**2 where g < 3",
    "largest of groups": "y[b,g] max= x[b,i,(g,c)] where g < 3",
    "products of groups": "y[b,g] *= x[b,i,(g,c)] where g < 3",
    "three in one axis": "y[b,(g,c,d),i] = x[b,i,(g,c,d)] + u[b,g] where g < 3, d < 2",
    "a diagonal": "y[b] = x[b,i,(g,c)] * v[(g,c),g] where g < 3\nz[c] = v[(g,c),g] * x[b,i,(g,c)] where g < 3",
    "an index that only counts": "y[b,(g,c)] = x[b,i,(g,c)] * u[b,g] where r < 2",
    "a number": "y[b,i,(g,c)] = x[b,i,(g,c)] * g where g < 3",
    "a mask": "y[b,i,(g,c)] = x[b,i,(g,c)] where g < 3, c < i",
    "softmax of groups": "e[b,i,k] = exp(x[b,i,k])\nz[b,i,g] = e[b,i,(g,c)] where g < 3\n"
    "y[b,i,(g,c)] = e[b,i,(g,c)] / z[b,i,g]",
}


def inputs_of(f: Function, batch: int, length: int) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    shapes = {"x": (batch, length, 12), "w": (12,), "u": (batch, 3), "v": (12, 3)}
    return {n: rng.standard_normal(shapes[n]) for n in f.inputs}


@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["default", "tiny"])
@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 5), (4, 400)])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_loops(case: str, batch: int, length: int, limits: Any) -> None:
    f = Function(il.compile(CASES[case]).program, limits=limits)
    length = min(length, 40) if "*=" in CASES[case] else length  # the derivative of a product asks for all the others
    inputs = inputs_of(f, batch, length)
    right = dense.run(f.program, inputs)
    y, pull = f.vjp(**inputs)
    found = y if isinstance(y, dict) else {f.outputs[0]: y}
    dy = {n: np.random.default_rng(4).standard_normal(v.shape) for n, v in right.items()}
    names = grad.gradient_names(f.program)
    gradients = dense.run(grad.backward(f.program, None), {**inputs, **{names[n]: d for n, d in dy.items()}})
    for n, value in right.items():
        np.testing.assert_allclose(found[n], value, rtol=1e-9, atol=1e-9)
    for n, value in pull(dy if len(dy) > 1 else next(iter(dy.values()))).items():
        np.testing.assert_allclose(value, gradients[names[n]], rtol=1e-8, atol=1e-8)


def test_channels_in_groups_run_as_a_chain() -> None:
    f = il.compile(CASES["norm of groups"], backend="numpy")
    told = str(f.plan(x=(8, 3136, 12), w=(12,)))
    assert "wide[b,(g,c)] = m[b,g]" in told
    assert "y[b,i,p] = w[p] * (x[b,i,p] - wide[b,p]) * rsqrt(wide2[b,p] + 0.1)\n   kernel   chain" in told
