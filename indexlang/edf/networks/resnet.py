"""ResNet, and the plain nets without its shortcuts.

Source: He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", table 1 and section 4.2. Where a
bottleneck block halves the image, the paper does so in its first convolution (`first=True`); most networks since do it
in its 3x3 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graphs.computed import CompNode, node
from ..graphs.nodes import Node
from ..graphs.parameters import AffineParams, ConvParams, NormParams
from ..graphs.standard import Add, Affine, BatchNorm, Conv, GlobalAvgPool, MaxPool, Relu
from .catalog import example, network, scaled

# The shortcut without parameters: every second position, and zeros in the channels that are new.
Shortened = node("""
layer shortened(x[B,H,W,C]; channels=1, stride=2) -> y[B,(H+stride-1)//stride,(W+stride-1)//stride,channels]:
    y[b,i,j,c] = x[b,stride*i,stride*j,c] where c < C
""")


@network("resnet152_v1", 224, blocks=(3, 8, 36, 3), bottleneck=True, first=True)
@network("resnet101_v1", 224, blocks=(3, 4, 23, 3), bottleneck=True, first=True)
@network("resnet50_v1", 224, blocks=(3, 4, 6, 3), bottleneck=True, first=True)
@network("resnet152", 224, blocks=(3, 8, 36, 3), bottleneck=True)
@network("resnet101", 224, blocks=(3, 4, 23, 3), bottleneck=True)
@network("resnet50", 224, blocks=(3, 4, 6, 3), bottleneck=True)
@network("resnet34", 224, blocks=(3, 4, 6, 3))
@network("resnet18", 224, blocks=(2, 2, 2, 2))
@network("plain34", 224, blocks=(3, 4, 6, 3), shortcuts=False)
@network("plain18", 224, blocks=(2, 2, 2, 2), shortcuts=False)
def resnet(
    x: Node,
    classes: int = 1000,
    blocks: Sequence[int] = (2, 2, 2, 2),
    bottleneck: bool = False,
    first: bool = False,
    shortcuts: bool = True,
    width: float = 1.0,
) -> CompNode:
    """A stem that makes the image `x` four times smaller, four stages of blocks, the average of each channel.

    `blocks` are their numbers by stage, of two convolutions or with `bottleneck` of three, the `first` of which then
    halves the image; without `shortcuts` a plain net. `width` multiplies channels. The result: scores of `classes`.
    """
    channels = scaled(64, width)
    h = Relu(conv_norm(x, "conv1", example(x)[-1], channels, 7, stride=2))  # 112x112x64
    h = MaxPool(h, window=3, stride=2, padding=1, name="pool1")  # 56x56x64
    for stage, count in enumerate(blocks):
        wide = scaled(64 * 2**stage, width)
        for k in range(count):
            name, stride = f"conv{stage + 2}_{k + 1}", 2 if stage and not k else 1
            if bottleneck:
                h = bottleneck_block(h, name, channels, wide, stride, first, shortcuts)
                channels = 4 * wide
            else:
                h = basic_block(h, name, channels, wide, stride, shortcuts)
                channels = wide
    return Affine(AffineParams(channels, classes, name="fc"), GlobalAvgPool(h, name="avgpool"))


def basic_block(h: Node, name: str, channels: int, wide: int, stride: int, shortcuts: bool = True) -> CompNode:
    """Two 3x3 convolutions of `h`, from `channels` to `wide`, and with `shortcuts` `h` added to them.

    The first one has the `stride`; `name` is the block's.
    """
    f = Relu(conv_norm(h, f"{name}.a", channels, wide, 3, stride))
    f = conv_norm(f, f"{name}.b", wide, wide, 3)
    return Relu(_added(h, f, name, channels, wide, stride) if shortcuts else f)


def bottleneck_block(
    h: Node, name: str, channels: int, wide: int, stride: int, first: bool = False, shortcuts: bool = True
) -> CompNode:
    """A 3x3 convolution of `h` between 1x1 convolutions: from `channels` to `wide`, and to four times `wide`.

    The `stride` is that of the 3x3 convolution, or of the `first`; with `shortcuts` `h` is added; `name` is the
    block's.
    """
    f = Relu(conv_norm(h, f"{name}.a", channels, wide, 1, stride if first else 1))
    f = Relu(conv_norm(f, f"{name}.b", wide, wide, 3, 1 if first else stride))
    f = conv_norm(f, f"{name}.c", wide, 4 * wide, 1)
    return Relu(_added(h, f, name, channels, 4 * wide, stride) if shortcuts else f)


def conv_norm(h: Node, name: str, channels: int, outputs: int, size: int, stride: int = 1) -> CompNode:
    """A convolution without a bias, which the shift of the norm behind it would make superfluous."""
    parameters = ConvParams(channels, outputs, size, bias=False, name=name)
    h = Conv(parameters, h, stride=stride, padding=size // 2)
    return BatchNorm(NormParams(outputs, name=f"{name}.bn"), h)


def _added(h: Node, f: Node, name: str, channels: int, outputs: int, stride: int) -> CompNode:
    """The shortcut: the identity, or a 1x1 convolution where the block changes the shape."""
    if stride != 1 or channels != outputs:
        h = conv_norm(h, f"{name}.shortcut", channels, outputs, 1, stride)
    return Add(f, h, name=f"{name}.add")


# -- for small images ----------------------------------------------------------------------------------------


@network("plain20", 32, blocks=3, shortcuts=False)
@network("resnet56", 32, blocks=9)
@network("resnet20", 32, blocks=3)
@network("resnet8", 32, blocks=1)
def small_resnet(
    x: Node, classes: int = 10, blocks: int = 3, shortcuts: bool = True, width: float = 1.0, stem: int = 1
) -> CompNode:
    """The networks of section 4.2 for small images `x`: 6 * `blocks` + 2 layers, `shortcuts` without parameters.

    The result: scores of `classes`. `width` multiplies channels; `stem` is the stride of the first convolution: with 2
    everything costs a quarter.
    """
    channels = scaled(16, width)
    h = Relu(conv_norm(x, "conv1", example(x)[-1], channels, 3, stem))
    for stage in range(3):
        wide = scaled(16 * 2**stage, width)
        for k in range(blocks):
            name, stride = f"conv{stage + 2}_{k + 1}", 2 if stage and not k else 1
            f = Relu(conv_norm(h, f"{name}.a", channels, wide, 3, stride))
            f = conv_norm(f, f"{name}.b", wide, wide, 3)
            if shortcuts:
                same = stride == 1 and channels == wide
                f = Add(f, h if same else Shortened(h, channels=wide, stride=stride), name=f"{name}.add")
            h, channels = Relu(f), wide
    return Affine(AffineParams(channels, classes, name="fc"), GlobalAvgPool(h, name="avgpool"))
