"""GoogLeNet, the first Inception network: modules of four branches side by side.

Source: Szegedy et al. 2015, "Going deeper with convolutions", table 1.
"""

from __future__ import annotations

from ..graphs.computed import CompNode
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams, ConvParams
from ..graphs.standard import Affine, Concat, Conv, Dropout, GlobalAvgPool, LocalResponseNorm, MaxPool, Relu
from .catalog import network, scaled

# The channels of each module's branches: 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 behind the pool.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@network("googlenet", 224)
def googlenet(x: Node, classes: int = 1000, width: float = 1.0, ceil_mode: int = 1, dropout: float = 0.4) -> CompNode:
    """Nine Inception modules between a stem of convolutions on `x` and the average of each channel, to scores of
    `classes`.

    `width` multiplies channels, `ceil_mode` is that of pooling, `dropout` the part that is zeroed.
    """

    def pool(h: Node, number: int) -> Node:
        return MaxPool(h, window=3, stride=2, ceil_mode=ceil_mode, name=f"pool{number}")

    c1, c2 = scaled(64, width), scaled(192, width)
    h = pool(_conv(x, "conv1", 3, c1, 7, stride=2), 1)  # 56x56x64
    h = _norm(h, 1)
    h = _conv(h, "conv2.reduce", c1, c1, 1)
    h = _norm(_conv(h, "conv2", c1, c2, 3), 2)  # 56x56x192
    h, channels = pool(h, 2), c2
    for name, branches in MODULES.items():
        if name in ("4a", "5a"):
            h = pool(h, 3 if name == "4a" else 4)
        sizes = tuple(scaled(n, width) for n in branches)
        h = inception(h, f"inception{name}", channels, *sizes)
        channels = sizes[0] + sizes[2] + sizes[4] + sizes[5]
    h = Dropout(GlobalAvgPool(h, name="avgpool"), rate=dropout)
    return Affine(AffineParams(channels, classes, name="loss3"), h)


def inception(h: Node, name: str, channels: int, c1: int, r3: int, c3: int, r5: int, c5: int, proj: int) -> Node:
    """A module on `h` of so many `channels`: what is local, 3x3, 5x5, and the greatest around, one behind the other.

    These have `c1`, `c3`, `c5` and `proj` channels, 3x3 and 5x5 after a reduction to `r3` and `r5`; `name` is the
    module's.
    """
    a = _conv(h, f"{name}.conv1x1", channels, c1, 1)
    b = _conv(_conv(h, f"{name}.reduce3x3", channels, r3, 1), f"{name}.conv3x3", r3, c3, 3)
    c = _conv(_conv(h, f"{name}.reduce5x5", channels, r5, 1), f"{name}.conv5x5", r5, c5, 5)
    pooled = MaxPool(h, window=3, stride=1, padding=1, name=f"{name}.pool")
    d = _conv(pooled, f"{name}.project", channels, proj, 1)
    return Concat(a, b, c, d, name=f"{name}.concat")


def _conv(h: Node, name: str, channels: int, outputs: int, size: int, stride: int = 1) -> Node:
    return Relu(Conv(ConvParams(channels, outputs, size, name=name), h, stride=stride, padding=size // 2))


def _norm(h: Node, number: int) -> Node:
    return LocalResponseNorm(h, window=5, alpha=1e-4, beta=0.75, k=1, name=f"norm{number}")
