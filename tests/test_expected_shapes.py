"""Cotangents of the wrong size are refused, whatever their program has become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang import Function, ShapeError

TEXT = "y[i] = x[2*i] * x[2*i]"  # nothing in the gradient says that y.grad has as many elements as y

WAYS: dict[str, Callable[[Function, Any, Any], Any]] = {
    "itself": lambda g, x, dy: g({"x": x, "y.grad": dy}),
    "renamed": lambda g, x, dy: g.renamed({"y.grad": "dy"})(x=x, dy=dy),
    "an index renamed": lambda g, x, dy: g.renamed({"i": "q"})({"x": x, "y.grad": dy}),
    "batched": lambda g, x, dy: g.batched("n", ["x", "y.grad"])({"x": x[None], "y.grad": dy[None]}),
    "in a batch of x": lambda g, x, dy: g.batched("n", ["x"])({"x": x[None], "y.grad": dy}),
    "joined": lambda g, x, dy: indexlang.join(indexlang.compile("x[i] = 2*z[i]"), g)({"z": x, "y.grad": dy}),
    "tangent": lambda g, x, dy: g.tangent("y.grad")({"x": x, "y.grad.dot": dy}),
    "vjp": lambda g, x, dy: g.vjp({"x": x, "y.grad": dy}),
    "jvp": lambda g, x, dy: g.jvp({"x": x}, {"x": x, "y.grad": dy}),
    "grad": lambda g, x, dy: g.grad()({"x": x, "y.grad": dy, "x.grad.grad": x}),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_cotangent_of_another_size(way: str) -> None:
    gradient, x = indexlang.compile(TEXT).grad(), np.ones(7)
    WAYS[way](gradient, x, np.ones(4))
    for size in (3, 5):
        with pytest.raises(ShapeError, match="must have the shape of"):
            WAYS[way](gradient, x, np.ones(size))
