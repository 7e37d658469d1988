"""Longer copies for pads and edges: right with any limits, and never far larger than what is read of them."""

from __future__ import annotations

from math import prod

import dense
import numpy as np
import pytest
from planned import sized

import indexlang
from indexlang.plan.buffers import buffers_of
from indexlang.plan.limits import NUMPY

# Several axes that one index runs through: the copy that is longer along each of them grows as their product.
TOGETHER = [
    ("y[i] = x[pad(i-40), pad(7-i, value=2.0), clamp(i-9), reflect(2*i-3)] where i < 50", {"x": (2, 1, 3, 4)}),
    ("y[i,j] += w[k] * x[pad(i+j-60), pad(i-j+k), pad(3*k-i)] where i < 60, j < 70", {"x": (1, 2, 1), "w": (5,)}),
    (
        "y[i] += w[k] * x[pad(i+k), p[i], pad(2*i-k-30), pad(30-i)] where i < 60",
        {"x": (2, 3, 2, 1), "w": (4,), "p": (60,)},
    ),
    ("y[i] max= x[pad(i-k-50, value=-1.5), wrap(i+50*k), pad(5*i-k)] where i < 90, k < 3", {"x": (2, 2, 3)}),
]


@pytest.mark.parametrize("rim", [1, 64, NUMPY.rim])
@pytest.mark.parametrize(("text", "shapes"), TOGETHER, ids=[t[0].split("where")[0] for t in TOGETHER])
def test_axes_of_one_index_are_not_made_longer_together(
    text: str, shapes: dict[str, tuple[int, ...]], rim: int
) -> None:
    rng = np.random.default_rng(4)
    given = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    if "p" in given:
        given["p"] = rng.integers(0, shapes["x"][1], shapes["p"])
    f = sized(indexlang.compile(text), rim=rim)
    found = f(**given)
    np.testing.assert_allclose(found, dense.run(f.program, given)["y"], rtol=1e-12, atol=1e-12)
    g = sized(f.grad(), rim=rim)
    given = {**given, "y": found, "y.grad": rng.standard_normal(np.shape(found))}
    expected = dense.run(g.program, {n: given[n] for n in g.inputs})
    gradients = g(**{n: given[n] for n in g.inputs})
    for name, value in (gradients if isinstance(gradients, dict) else {g.outputs[0]: gradients}).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-10, atol=1e-10, err_msg=name)
    largest = max(rim, 8 * max(np.size(found) * 5, prod(shapes["x"])))
    plan = f.plan(**{n: given[n] for n in f.inputs})
    assert all(prod(b.shape) <= largest for b in buffers_of(plan.sections) if b.role == "copy")


def test_a_small_tensor_padded_along_four_axes_at_once_takes_no_gigabytes() -> None:
    """A copy of it would have 100 ** 4 elements and more."""
    f = indexlang.compile("y[i] = x[pad(i-99), pad(99-i), pad(i-98), pad(i-97)] where i < 100000")
    assert f(x=np.full((2, 2, 2, 2), 3.0)).sum() == 0.0
    f = indexlang.compile("y[i] = x[pad(i-99), pad(i-99), pad(i-99), pad(100-i)] where i < 200")
    np.testing.assert_array_equal(np.flatnonzero(f(x=np.full((2, 2, 2, 2), 3.0))), [99, 100])
