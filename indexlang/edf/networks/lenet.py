"""LeNet-5: as it is taught today, and as it stands in the paper.

Source: LeCun, Bottou, Bengio, Haffner 1998, "Gradient-based learning applied to document recognition", section II.B.
"""

# ruff: noqa: N806 (the names of the paper)

from __future__ import annotations

import numpy as np

from ..graphs.computed import CompNode, node
from ..graphs.initialisers import LeCun, Normal, Ones, Zeros
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams, ConvParams, Package, Parameter
from ..graphs.standard import Affine, AvgPool, Conv, MaxPool, Relu, Tanh
from .catalog import network


@network("lenet5", 32, 1)
def lenet5(x: Node, classes: int = 10, padding: int = 0, modern: bool = False) -> CompNode:
    """Three convolutions, two of them followed by pooling, and two full connections, from `x` to scores of `classes`.

    Images have 32x32 pixels, or 28x28 with `padding=2`. `modern` takes relu for tanh, and the greatest of each
    window for the average.
    """
    f, pool = (Relu, MaxPool) if modern else (Tanh, AvgPool)

    C1 = f(Conv(ConvParams(1, 6, 5, name="C1"), x, padding=padding))  # 28x28x6
    S2 = pool(C1, window=2, name="S2")  # 14x14x6
    C3 = f(Conv(ConvParams(6, 16, 5, name="C3"), S2))  # 10x10x16
    S4 = pool(C3, window=2, name="S4")  # 5x5x16
    C5 = f(Conv(ConvParams(16, 120, 5, name="C5"), S4))  # 1x1x120
    F6 = f(Affine(AffineParams(120, 84, name="F6"), C5))
    return Affine(AffineParams(84, classes, name="Out"), F6)


# -- the paper's ---------------------------------------------------------------------------------------------

# The average of each 2x2 window up to a factor; each map has one coefficient and one bias.
Subsample = node("""
layer subsample(x[B,H,W,C], a[C], bias[C]) -> y[B,H//2,W//2,C]:
    s[b,i,j,c]  = x[b,2*i+di,2*j+dj,c] where di < 2, dj < 2, i < H//2, j < W//2
    y[b,i,j,c]  = a[c] * s[b,i,j,c]
    y[b,i,j,c] += bias[c]
""")

# Each of the 16 maps sees some of the six before it (table I): the first six see 3 neighbours, round and round, the
# next six see 4, three see two pairs with a gap between them, and the last one sees all.
Mapped = node("""
layer mapped(x[B,H,W,6], K3[R,S,3,6], K4[R,S,4,6], K22[R,S,4,3], K6[R,S,6], bias[16]) -> y[B,H-R+1,W-S+1,16]:
    y[b,i,j,o]     = K3[di,dj,p,o] * x[b,i+di,j+dj,wrap(o+p)] where o < 6
    y[b,i,j,6+o]  += K4[di,dj,p,o] * x[b,i+di,j+dj,wrap(o+p)]
    y[b,i,j,12+o] += K22[di,dj,p,o] * x[b,i+di,j+dj,wrap(o+p+p//2)]
    y[b,i,j,15]   += K6[di,dj,p] * x[b,i+di,j+dj,p]
    y[b,i,j,o]    += bias[o]
""")

# How far the features are from what each class's are said to be: the smaller, the better.
Distance = node("""
layer distance(x[N,J], W[J,K]) -> y[N,K]:
    y[n,k] = (x[n,j] - W[j,k])**2
""")

# Tanh, stretched so that 1 and -1 are in the middle of its bend.
Squash = node("""
layer squash(x) -> y:
    y[...] = 1.7159 * tanh(2/3 * x[...])
""")


@network("lenet5_1998", 32, 1)
def lenet5_1998(x: Node, classes: int = 10) -> CompNode:
    """The network of the paper: partial connections, trained subsampling, distances to given patterns at the end.

    From `x` [batch, 32, 32, 1] to scores of `classes`.
    """

    def subsampling(name: str, channels: int) -> Package:
        return Package(name=name, a=Parameter((channels,), Ones), bias=Parameter((channels,), Zeros))

    def partial(name: str) -> Package:
        shapes = {"K3": (5, 5, 3, 6), "K4": (5, 5, 4, 6), "K22": (5, 5, 4, 3), "K6": (5, 5, 6)}
        kernels = {n: Parameter(s, LeCun(), fan=(int(np.prod(s[:3])), 400)) for n, s in shapes.items()}
        return Package(name=name, **kernels, bias=Parameter((16,), Zeros))

    C1 = Squash(Conv(ConvParams(1, 6, 5, name="C1"), x))
    S2 = Squash(Subsample(C1, subsampling("S2", 6)))
    C3 = Squash(Mapped(S2, partial("C3")))
    S4 = Squash(Subsample(C3, subsampling("S4", 16)))
    C5 = Squash(Conv(ConvParams(16, 120, 5, name="C5"), S4))
    F6 = Squash(Affine(AffineParams(120, 84, name="F6"), C5))
    return Distance(F6, Parameter((84, classes), Normal(1.0), name="patterns", trained=False), name="Out")
