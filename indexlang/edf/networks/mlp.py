"""The multi-layer perceptron: affine maps with relu between them, as on the first slides of EDF."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..graphs.computed import CompNode
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams
from ..graphs.standard import Affine, Flatten, Relu
from .catalog import example, network


@network("mlp", 0, 784)
def mlp(x: Node, classes: int = 10, hidden: Sequence[int] = (256,)) -> CompNode:
    """Scores of `classes` for `x`, vectors or images, by as many hidden layers as `hidden` has sizes."""
    shape = example(x)
    h = x if len(shape) == 1 else Flatten(x)
    inputs = math.prod(shape)
    for number, outputs in enumerate(hidden, 1):
        h = Relu(Affine(AffineParams(inputs, outputs, name=f"affine{number}"), h))
        inputs = outputs
    return Affine(AffineParams(inputs, classes, name=f"affine{len(hidden) + 1}"), h)
