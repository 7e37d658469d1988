"""What was probably meant where a layer does not fit what it is given: Flatten, channels last, whole labels.

In: the layer's name and the shapes of its inputs. Out: a way out, or None. The one rule: a proposal is made only where
the shapes that it leads to fit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

CHANNELS_LAST = "channels are last here, images [batch, height, width, channels]: x.transpose(0, 2, 3, 1)"
GREY = "images have an axis of channels, of size 1 where they are grey: x[..., None]"


def advice(layer: str | None, inputs: Mapping[str, Shape]) -> str | None:
    """What to write instead, for a layer of the library by its name, at the shapes of its inputs."""
    needed, rule = RULES.get(layer or "", (set(), None))
    return None if rule is None or not needed <= inputs.keys() else rule(inputs)


WINDOWS = ("maxpool2d", "maxpool2d_with_indices", "avgpool2d", "avgpool2d_counted")
POOLS = (*WINDOWS, "global_maxpool", "global_avgpool")  # they take any number of channels


def is_channels_first(layer: str | None, x: Shape) -> bool:
    """Whether images that a layer takes as they are have their channels in front: as few as colours, and square."""
    return layer in POOLS and len(x) == 4 and x[1] in (1, 3) and x[2] == x[3] > 4


def _affine(given: Shapes) -> str | None:
    x, w = given["x"], given["W"]
    if len(w) != 2 or not x:
        return None
    inputs, outputs = w
    if len(x) == 1:
        return _one_example(x, inputs)
    size = math.prod(x[1:])
    if len(x) > 2 and size == inputs:
        return "make a vector of each example: Affine(Phi, Flatten(x))"
    if len(x) > 2:
        return f"make a vector of each example: Affine(AffineParams({size}, {outputs}), Flatten(x))"
    if x[0] == inputs:
        return "the batch comes first: x.T has it there"
    return f"AffineParams({x[1]}, {outputs}) takes what x has"


def _one_example(x: Shape, inputs: int) -> str:
    if x[0] == inputs:
        return "a batch of one example has an axis of its own: x[None]"
    return "inputs have a batch axis in front"


def _image(x: Shape, channels: int, fitting: str) -> str | None:
    """For a layer of images whose channels are `channels`; `fitting` says what would take those that are there."""
    match x:
        case (_, c, height, width) if c == channels != width and (height, width) != (1, 1):
            return CHANNELS_LAST
        case (_, _, _, c) if c != channels:
            return fitting.format(c)
        case (_, _, c) if c == channels:
            return "a batch of one image has an axis of its own: x[None]"
        case (_, _, _) if channels == 1:
            return GREY
        case (_, _, _):
            return f"{GREY}; then {fitting.format(1)}".replace("what x has", "it")
        case (_, size) if size % channels == 0:
            return "give images [batch, height, width, channels]: x.reshape(len(x), height, width, channels)"
    return None


def _conv(given: Shapes) -> str | None:
    x, k = given["x"], given["K"]
    if len(k) != 4:
        return None
    return _image(x, k[2], f"ConvParams({{}}, {k[3]}, {_kernel(k)}) takes what x has") or _small(x)


def _kernel(k: Shape) -> str:
    return str(k[0]) if k[0] == k[1] else str(k[:2])


def _small(x: Shape) -> str | None:
    """Where windows are larger than the image."""
    if len(x) == 4 and x[1] in (1, 3) and x[2] > x[1] and x[3] > 4:
        return CHANNELS_LAST
    return "take larger images, a smaller window, or padding" if len(x) == 4 else None


def _norm(given: Shapes) -> str | None:
    x, channels = given["x"], given["gamma"]
    return _image(x, channels[0], "NormParams({}) takes what x has") if len(x) > 2 and len(channels) == 1 else None


def _pool(given: Shapes) -> str | None:
    return _any_channels(given) or _small(given["x"])


def _any_channels(given: Shapes) -> str | None:
    """For a layer that takes any number of channels: images without an axis of them, or one image without a batch."""
    x = given["x"]
    if len(x) != 3:
        return None
    return "a batch of one image has an axis of its own: x[None]" if x[2] in (1, 3) else GREY


def _labels(given: Shapes) -> str | None:
    scores, labels = (*given.values(),)[:2]
    if not scores:
        return None
    if len(scores) > 2:
        return "make a vector of each example's scores: Flatten(scores)"
    if labels == scores:
        return "labels are the numbers of classes: of one-hot rows, y.argmax(axis=1)"
    if len(labels) == 2 and labels[1] == 1:
        return "labels are one number for each example: y.reshape(-1)"
    if len(labels) == 1 and labels[0] != scores[0]:
        return f"give as many labels as examples: {scores[0]}"
    return None


RULES: Mapping[str, tuple[set[str], Callable[[Shapes], str | None]]] = {
    **dict.fromkeys(("affine", "linear", "fully_connected"), ({"x", "W"}, _affine)),
    **dict.fromkeys(("conv2d", "conv2d_nobias", "conv2d_same"), ({"x", "K"}, _conv)),
    **dict.fromkeys(("batchnorm", "batchnorm_eval"), ({"x", "gamma"}, _norm)),
    **dict.fromkeys(WINDOWS, ({"x"}, _pool)),
    **dict.fromkeys(("global_maxpool", "global_avgpool", "local_response_norm"), ({"x"}, _any_channels)),
    "log_loss": ({"q", "y"}, _labels),
    "cross_entropy": ({"s", "y"}, _labels),
}
