"""VGG: nothing but 3x3 convolutions and pooling, and three full connections.

Source: Simonyan, Zisserman 2015, "Very deep convolutional networks for large-scale image recognition", table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graphs.computed import CompNode
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams, ConvParams
from ..graphs.standard import Affine, Conv, Dropout, MaxPool, Relu
from .catalog import features, network, scaled


@network("vgg19", 224, blocks=(2, 2, 4, 4, 4))  # column E
@network("vgg16", 224, blocks=(2, 2, 3, 3, 3))  # column D
@network("vgg13", 224, blocks=(2, 2, 2, 2, 2))  # column B
@network("vgg11", 224, blocks=(1, 1, 2, 2, 2))  # column A of the table
def vgg(
    x: Node, classes: int = 1000, blocks: Sequence[int] = (2, 2, 3, 3, 3), width: float = 1.0, dropout: float = 0.5
) -> CompNode:
    """Five blocks of convolutions of `x`; each has twice the channels of the one before, at most 512.

    `blocks` are the numbers of convolutions, `width` multiplies channels, `dropout` is the part that is zeroed between
    the full connections at the end, which give scores of `classes`.
    """
    h, channels = x, 3
    for block, count in enumerate(blocks, 1):
        wide = scaled(min(64 * 2 ** (block - 1), 512), width)
        for k in range(1, count + 1):
            h = Relu(Conv(ConvParams(channels, wide, 3, name=f"conv{block}_{k}"), h, padding=1))
            channels = wide
        h = MaxPool(h, window=2, name=f"pool{block}")

    full = scaled(4096, width)
    h = Dropout(Relu(Affine(AffineParams(features(h, x), full, name="fc6"), h)), rate=dropout)
    h = Dropout(Relu(Affine(AffineParams(full, full, name="fc7"), h)), rate=dropout)
    return Affine(AffineParams(full, classes, name="fc8"), h)
