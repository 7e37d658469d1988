"""AlexNet: in one piece as the lecture lists it, and in two groups as it was trained on two GPUs.

Source: Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks".
"""

from __future__ import annotations

from ..graphs.computed import CompNode
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams, ConvParams
from ..graphs.standard import Affine, Conv, Dropout, LocalResponseNorm, MaxPool, Relu
from .catalog import features, network, scaled


@network("alexnet_groups", 227, groups=2)
@network("alexnet", 227)
def alexnet(
    x: Node, classes: int = 1000, groups: int = 1, width: float = 1.0, pool_first: bool = False, dropout: float = 0.5
) -> CompNode:
    """Five convolutions, three pools, two norms, three full connections, from `x` to the scores of `classes`.

    `groups` of channels see their own in three convolutions, `width` multiplies channels, `dropout` is the part zeroed.
    In the paper the norm stands before the pool; with `pool_first` behind it, as lists of the layers often have it.
    """
    n1, n2, n3, n4, n5, n6, n7 = (scaled(n, width) for n in (96, 256, 384, 384, 256, 4096, 4096))

    def normalised(h: Node, number: int) -> Node:
        if pool_first:
            return _norm(_pool(h, number), number)
        return _pool(_norm(h, number), number)

    h: Node = Relu(Conv(ConvParams(3, n1, 11, name="conv1"), x, stride=4))  # 55x55x96
    h = normalised(h, 1)  # 27x27x96
    h = Relu(Conv(ConvParams(n1, n2, 5, groups=groups, name="conv2"), h, padding=2))  # 27x27x256
    h = normalised(h, 2)  # 13x13x256
    h = Relu(Conv(ConvParams(n2, n3, 3, name="conv3"), h, padding=1))  # 13x13x384
    h = Relu(Conv(ConvParams(n3, n4, 3, groups=groups, name="conv4"), h, padding=1))  # 13x13x384
    h = Relu(Conv(ConvParams(n4, n5, 3, groups=groups, name="conv5"), h, padding=1))  # 13x13x256
    h = _pool(h, 5)  # 6x6x256

    h = Dropout(Relu(Affine(AffineParams(features(h, x), n6, name="fc6"), h)), rate=dropout)
    h = Dropout(Relu(Affine(AffineParams(n6, n7, name="fc7"), h)), rate=dropout)
    return Affine(AffineParams(n7, classes, name="fc8"), h)


def _norm(h: Node, number: int) -> Node:
    """The paper multiplies the sum of five squares by 1e-4; the layer averages them."""
    return LocalResponseNorm(h, window=5, alpha=5e-4, beta=0.75, k=2, name=f"norm{number}")


def _pool(h: Node, number: int) -> Node:
    return MaxPool(h, window=3, stride=2, name=f"pool{number}")
