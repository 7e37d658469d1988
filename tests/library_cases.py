"""Standard layers with options and inputs, and what plain NumPy says that comes out."""
# ruff: noqa: N803

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import erf
from typing import Any

import numpy as np
from library_meaning import (
    Pool,
    attention,
    batchnorm,
    bilateral,
    conv,
    conv_same,
    conv_transpose,
    correlation,
    depthwise,
    groupnorm,
    gru,
    im2col,
    local_attention,
    local_response_norm,
    locally_connected,
    lstm,
    multi_head,
    normalise,
    positional_encoding,
    rnn,
    sigmoid,
    softmax,
)
from library_recurrences import TABLE
from numpy.typing import NDArray

from indexlang.oracle import gradcheck

Array = NDArray[Any]
Shape = tuple[int, ...]
Maker = Callable[[np.random.Generator], Array]


def below(limit: int, *shape: int) -> Maker:
    return lambda rng: rng.integers(0, limit, shape)


def between(low: float, high: float, *shape: int) -> Maker:
    return lambda rng: gradcheck.spread(shape, rng, low, high)


def bits(*shape: int) -> Maker:
    return lambda rng: rng.integers(0, 2, shape).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Case:
    file: str
    layer: str
    inputs: Mapping[str, Shape | Maker]
    expected: Callable[..., Any]  # an array, or a dict for several outputs
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return " ".join([self.layer, *(f"{k}={v}" for k, v in self.options.items())])

    def arrays(self) -> dict[str, Array]:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        return {n: gradcheck.spread(s, rng) if isinstance(s, tuple) else s(rng) for n, s in self.inputs.items()}


CASES: list[Case] = []


def case(
    file: str, layer: str, inputs: Mapping[str, Shape | Maker], expected: Callable[..., Any], **options: Any
) -> None:
    CASES.append(Case(file, layer, inputs, expected, options))


case("linear", "affine", {"x": (2, 3), "W": (3, 4), "b": (4,)}, lambda x, W, b: x @ W + b)
case("linear", "linear", {"x": (2, 2, 3), "W": (3, 4)}, lambda x, W: x @ W)
case(
    "linear",
    "bilinear",
    {"x": (2, 3), "z": (2, 2), "W": (3, 2, 4), "b": (4,)},
    lambda x, z, W, b: np.stack([x[n] @ W.transpose(2, 0, 1) @ z[n] for n in range(2)]) + b,
)
case("linear", "flatten", {"x": (2, 2, 3, 2)}, lambda x: x.reshape(2, 12))
case(
    "linear",
    "fully_connected",
    {"x": (2, 2, 3, 2), "W": (12, 4), "bias": (4,)},
    lambda x, W, bias: x.reshape(2, 12) @ W + bias,
)

for layer, function in {
    "relu": lambda x: np.where(x > 0, x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": sigmoid,
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "gelu": lambda x: x * (1 + np.vectorize(erf)(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: x * sigmoid(x),
    "softplus": lambda x: np.log(1 + np.exp(x)),
}.items():
    case("activations", layer, {"x": between(-8, 8, 3, 4)}, function)
case("activations", "leaky_relu", {"x": (2, 2, 3)}, lambda x: np.where(x > 0, x, 0.2 * x), slope=0.2)
case("activations", "softmax", {"s": (2, 2, 3)}, softmax)
case("activations", "log_softmax", {"s": (2, 3)}, lambda s: np.log(softmax(s)))

LABELS: dict[str, Shape | Maker] = {"y": below(4, 3)}
PICK = np.arange(3)
case("losses", "log_loss", {"q": between(0.1, 1, 3, 4), **LABELS}, lambda q, y: -np.log(q[PICK, y]))
case("losses", "cross_entropy", {"s": (3, 4), **LABELS}, lambda s, y: -np.log(softmax(s))[PICK, y])
case(
    "losses",
    "smoothed_cross_entropy",
    {"s": (3, 4), **LABELS},
    lambda s, y: -(np.log(softmax(s)) * (0.8 * np.eye(4)[y] + 0.2 / 4)).sum(1),
    smoothing=0.2,
)
case(
    "losses",
    "binary_cross_entropy",
    {"s": (3, 4), "y": between(0, 1, 3, 4)},
    lambda s, y: -y * np.log(sigmoid(s)) - (1 - y) * np.log(sigmoid(-s)),
)
case("losses", "squared_error", {"x": (3, 4), "y": (3, 4)}, lambda x, y: ((x - y) ** 2).sum(1))
case("losses", "mean_squared_error", {"x": (3, 4), "y": (3, 4)}, lambda x, y: ((x - y) ** 2).mean())
case("losses", "batch_mean", {"ell": (5,)}, lambda ell: ell.mean())

CONV1D = {"x": (2, 7, 2), "K": (3, 2, 3), "bias": (3,)}
CONV2D = {"x": (2, 5, 6, 2), "K": (2, 3, 2, 3), "bias": (3,)}
CONV3D = {"x": (1, 3, 4, 4, 2), "K": (2, 2, 3, 2, 2), "bias": (2,)}
GROUPS = {"x": (1, 5, 4, 4), "K": (2, 2, 2, 6), "bias": (6,)}
ALL: tuple[dict[str, Any], ...] = (
    {},
    {"stride": 2},
    {"dilation": 2},
    {"padding": 1},
    {"stride": 2, "dilation": 2, "padding": 2},
)
AXES: dict[str, Any] = {
    "stride_h": 2,
    "stride_w": 1,
    "dilation_h": 1,
    "dilation_w": 2,
    "top": 1,
    "bottom": 2,
    "left": 0,
    "right": 3,
}
AXES_MEAN: dict[str, Any] = {"stride": (2, 1), "dilation": (1, 2), "padding": ((1, 2), (0, 3))}
for o in ALL:
    case("conv", "conv1d", CONV1D, lambda x, K, bias, o=o: conv(x, K, bias, **o), **o)
    case("conv", "conv2d", CONV2D, lambda x, K, bias, o=o: conv(x, K, bias, **o), **o)
    case("conv", "conv2d_im2col", CONV2D, lambda x, K, bias, o=o: conv(x, K, bias, **o), **o)
    case("conv", "conv2d_groups", GROUPS, lambda x, K, bias, o=o: conv(x, K, bias, groups=2, **o), **o)
case("conv", "conv2d", CONV2D, lambda x, K, bias: conv(x, K, bias, **AXES_MEAN), **AXES)
case("conv", "conv2d_groups", GROUPS, lambda x, K, bias: conv(x, K, bias, groups=2, **AXES_MEAN), **AXES)
case("conv", "conv2d_groups", {**GROUPS, "K": (2, 2, 4, 6)}, conv, groups=1)
case("conv", "conv2d_nobias", {"x": (2, 5, 6, 2), "K": (2, 3, 2, 3)}, lambda x, K: conv(x, K, **AXES_MEAN), **AXES)
case("conv", "conv3d", CONV3D, conv)
case("conv", "conv3d", CONV3D, lambda x, K, bias: conv(x, K, bias, stride=2, padding=1), stride=2, padding=1)
case("conv", "conv3d", CONV3D, lambda x, K, bias: conv(x, K, bias, dilation=2, padding=2), dilation=2, padding=2)
for o in ({}, {"stride": 2}, {"stride": 3}, {"dilation": 2}, {"stride": 2, "dilation": 2}):
    case("conv", "conv2d_same", CONV2D, lambda x, K, bias, o=o: conv_same(x, K, bias, **o), **o)
for layer, mode in {"conv2d_replicate": "edge", "conv2d_reflect": "reflect", "conv2d_circular": "wrap"}.items():
    for o in ({"padding": 1}, {"stride": 2, "dilation": 2, "padding": 2}):
        case("conv", layer, CONV2D, lambda x, K, bias, o=o, mode=mode: conv(x, K, bias, mode=mode, **o), **o)
for o in ({}, {"stride": 2, "dilation": 2, "padding": 1}):
    case(
        "conv",
        "depthwise_conv2d",
        {"x": (2, 5, 5, 2), "K": (2, 3, 2, 2), "bias": (4,)},
        lambda x, K, bias, o=o: depthwise(x, K, **o) + bias,
        **o,
    )
    case(
        "conv",
        "separable_conv2d",
        {"x": (2, 5, 5, 2), "K": (2, 3, 2, 2), "P": (4, 3), "bias": (3,)},
        lambda x, K, P, bias, o=o: depthwise(x, K, **o) @ P + bias,
        **o,
    )
for o in (
    {},
    {"stride": 2},
    {"padding": 1},
    {"dilation": 2, "padding": 1},
    {"stride": 3, "dilation": 2, "padding": 1, "output_padding": 1},
):
    transposed = {"x": (2, 3, 2, 2), "K": (2, 3, 2, 3), "bias": (3,)}
    case("conv", "conv_transpose2d", transposed, lambda x, K, bias, o=o: conv_transpose(x, K, bias, **o), **o)
    in_groups = {"x": (1, 2, 3, 4), "K": (2, 3, 4, 3), "bias": (6,)}
    case(
        "conv",
        "conv_transpose2d_groups",
        in_groups,
        lambda x, K, bias, o=o: conv_transpose(x, K, bias, groups=2, **o),
        **o,
    )
case("conv", "im2col", {"x": (2, 5, 4, 2)}, lambda x: im2col(x, 3, 3))
case(
    "conv",
    "im2col",
    {"x": (2, 6, 5, 2)},
    lambda x: im2col(x, 2, 3, stride=2, dilation=2, padding=1),
    rows=2,
    columns=3,
    stride=2,
    dilation=2,
    padding=1,
)

IMAGE: dict[str, Shape | Maker] = {"x": (1, 7, 6, 2)}
for o in (
    {},
    {"window": 3, "stride": 2},
    {"window": 3, "stride": 2, "ceil_mode": 1},
    {"window": 3, "stride": 2, "padding": 1},
    {"window": 3, "stride": 2, "padding": 1, "ceil_mode": 1},
    {"window": 2, "stride": 3, "padding": 1, "ceil_mode": 1},
    {"window": 2, "stride": 1, "dilation": 3, "padding": 1},
    {"window": 2, "stride": 4, "dilation": 2, "padding": 1, "ceil_mode": 1},
):
    pool = Pool(**{"window": 2, **o})
    case("pooling", "maxpool2d", IMAGE, lambda x, pool=pool: pool.max(x)[0], **o)
    both = lambda x, pool=pool: dict(zip(("y", "indices"), pool.max(x), strict=True))  # noqa: E731
    case("pooling", "maxpool2d_with_indices", IMAGE, both, **o)
    if "dilation" not in o:
        image, padded = lambda x, p=pool: p.average(x, "image"), lambda x, p=pool: p.average(x, "padded")
        case("pooling", "avgpool2d_counted", IMAGE, image, **o)
        case("pooling", "avgpool2d_counted", IMAGE, padded, count_include_pad=1, **o)
        if "ceil_mode" not in o:
            case("pooling", "avgpool2d", IMAGE, lambda x, pool=pool: pool.average(x), **o)
BY_AXES: dict[str, Any] = {"window_h": 3, "window_w": 2, "stride_h": 2, "stride_w": 3, "padding_h": 1, "padding_w": 0}
BY_AXES_POOL = Pool((3, 2), (2, 3), (1, 0))
case("pooling", "maxpool2d", IMAGE, lambda x: BY_AXES_POOL.max(x)[0], **BY_AXES)
case(
    "pooling",
    "maxpool2d_with_indices",
    IMAGE,
    lambda x: dict(zip(("y", "indices"), Pool((3, 2), (2, 3), (1, 0), (1, 2)).max(x), strict=True)),
    **BY_AXES,
    dilation_w=2,
)
case("pooling", "avgpool2d", IMAGE, BY_AXES_POOL.average, **BY_AXES)
case("pooling", "avgpool2d", IMAGE, lambda x: 4 * Pool(2).average(x), divisor=1)
case("pooling", "avgpool2d_counted", IMAGE, lambda x: BY_AXES_POOL.average(x, "image"), **BY_AXES)
case("pooling", "global_avgpool", {"x": (2, 3, 4, 2)}, lambda x: x.reshape(2, 12, 2).mean(1))
case("pooling", "global_maxpool", {"x": (2, 3, 4, 2)}, lambda x: x.reshape(2, 12, 2).max(1))

SCALE: dict[str, Shape | Maker] = {"gamma": (4,), "beta": (4,)}
case("normalization", "batchnorm1d", {"x": (5, 4), **SCALE}, batchnorm)
case("normalization", "batchnorm2d", {"x": (2, 2, 3, 4), **SCALE}, batchnorm)
case(
    "normalization",
    "batchnorm_eval",
    {"x": (2, 2, 3, 4), **SCALE, "mu": (4,), "var": between(0.2, 2, 4)},
    lambda x, gamma, beta, mu, var: (x - mu) / np.sqrt(var + 0.1) * gamma + beta,
    eps=0.1,
)
case(
    "normalization",
    "running_statistics",
    {"x": (2, 2, 3, 4), "mu": (4,), "var": (4,), "running_mu": (4,), "running_var": (4,)},
    lambda x, mu, var, running_mu, running_var: {
        "new_mu": 0.7 * running_mu + 0.3 * mu,
        "new_var": 0.7 * running_var + 0.3 * var * 12 / 11,
    },
    momentum=0.3,
)
case("normalization", "layernorm", {"x": (2, 3, 4), **SCALE}, lambda x, gamma, beta: normalise(x, (2,)) * gamma + beta)
case(
    "normalization",
    "rmsnorm",
    {"x": (2, 3, 4), "gamma": (4,)},
    lambda x, gamma: gamma * x / np.sqrt((x**2).sum(2, keepdims=True) / 4 + 1e-6),
)
case("normalization", "groupnorm", {"x": (2, 2, 3, 4), **SCALE}, lambda x, gamma, beta: groupnorm(x, gamma, beta, 2))
case(
    "normalization",
    "groupnorm",
    {"x": (2, 2, 3, 4), **SCALE},
    lambda x, gamma, beta: groupnorm(x, gamma, beta, 4),
    groups=4,
)
case(
    "normalization", "instancenorm2d", {"x": (2, 2, 3, 4), **SCALE}, lambda x, gamma, beta: groupnorm(x, gamma, beta, 4)
)
case("normalization", "local_response_norm", {"x": (1, 2, 2, 7)}, lambda x: local_response_norm(x, 5, 1e-4, 0.75, 1))
case(
    "normalization",
    "local_response_norm",
    {"x": (1, 2, 2, 5)},
    lambda x: local_response_norm(x, 4, 0.5, 0.6, 2),
    window=4,
    alpha=0.5,
    beta=0.6,
    k=2,
)
case(
    "normalization",
    "dropout",
    {"x": (3, 4), "mask": bits(3, 4)},
    lambda x, mask: np.where(mask > 0, x / 0.75, 0),
    rate=0.25,
)

PARTS: dict[str, Shape | Maker] = {n: (2, 2, 3, k + 1) for k, n in enumerate("abcd")}
for number, layer in enumerate(("concatenate", "concatenate3", "concatenate4")):
    names = "abcd"[: number + 2]
    case("joining", layer, {n: PARTS[n] for n in names}, lambda **parts: np.concatenate(list(parts.values()), axis=3))
case("joining", "residual", {"x": (2, 3, 2), "f": (2, 3, 2)}, lambda x, f: x + f)
case("joining", "add_channels", {"x": (2, 2, 3, 4), "b": (4,)}, lambda x, b: x + b)
case("joining", "scale_channels", {"x": (2, 2, 3, 4), "s": (2, 1, 1, 4)}, lambda x, s: x * s)

case("sequences", "embedding", {"E": (5, 3), "tok": below(5, 2, 4)}, lambda E, tok: E[tok])
case("sequences", "positional_encoding", {"x": (2, 3, 5)}, positional_encoding)
QKV: dict[str, Shape | Maker] = {"q": (2, 3, 2, 2), "k": (2, 3, 2, 2), "v": (2, 3, 2, 3)}
case("sequences", "attention", {**QKV, "k": (2, 4, 2, 2), "v": (2, 4, 2, 3)}, attention)
case("sequences", "causal_attention", QKV, lambda q, k, v: attention(q, k, v, causal=True))
HEADS: dict[str, Shape | Maker] = {"x": (2, 3, 4), "Wq": (4, 2, 3), "Wk": (4, 2, 3), "Wv": (4, 2, 3), "Wo": (2, 3, 4)}
case("sequences", "multi_head_attention", HEADS, multi_head)
case("sequences", "causal_multi_head_attention", HEADS, lambda **heads: multi_head(**heads, causal=True))
STATE: dict[str, Shape | Maker] = {"h": (2, 4), "W": (3, 4), "U": (4, 4), "bias": (4,)}
case("sequences", "rnn_cell", {"x": (2, 3), **STATE}, lambda x, **state: rnn(x[:, None], **state)[:, 0])
case("sequences", "rnn4", {"x": (2, 4, 3), **STATE}, rnn)
case(
    "sequences",
    "lstm_cell",
    {"x": (2, 3), "h": (2, 2), "c": (2, 2), "W": (3, 4, 2), "U": (2, 4, 2), "bias": (4, 2)},
    lstm,
)
case(
    "sequences",
    "gru_cell",
    {"x": (2, 3), "h": (2, 2), "W": (3, 3, 2), "U": (2, 3, 2), "bias": (3, 2), "bias2": (3, 2)},
    gru,
)
for file, layer, inputs, expected, options in TABLE:
    case(file, layer, inputs, partial(expected, **options), **options)

MAPS: dict[str, Shape | Maker] = {"f": (1, 4, 3, 2), "g": (1, 4, 3, 2)}
case(
    "neighbourhoods",
    "local_attention2d",
    {"q": (1, 3, 4, 2, 2), "k": (1, 3, 4, 2, 2), "v": (1, 3, 4, 2, 3)},
    lambda q, k, v: local_attention(q, k, v, 1),
)
case("neighbourhoods", "correlation", MAPS, lambda f, g: correlation(f, g, 3))
case("neighbourhoods", "correlation", MAPS, lambda f, g: correlation(f, g, 1), reach=1)
case(
    "neighbourhoods",
    "correlation_volume",
    {"f": (1, 2, 3, 2), "g": (1, 3, 2, 2)},
    lambda f, g: np.tensordot(f[0], g[0], ((2,), (2,)))[None] / np.sqrt(2),
)
case(
    "neighbourhoods",
    "locally_connected2d",
    {"x": (2, 4, 5, 2), "K": (2, 2, 2, 3, 2, 3), "bias": (2, 2, 3)},
    lambda x, K, bias: locally_connected(x, K, bias, 2),
    stride=2,
)
case(
    "neighbourhoods",
    "locally_connected2d",
    {"x": (2, 3, 4, 2), "K": (2, 2, 2, 3, 2, 3), "bias": (2, 2, 3)},
    locally_connected,
)
case("neighbourhoods", "bilateral", {"x": between(0, 1, 1, 4, 3, 2)}, lambda x: bilateral(x, 2, 1, 0.1))
case(
    "neighbourhoods", "bilateral", {"x": (1, 3, 4, 1)}, lambda x: bilateral(x, 1, 0.7, 2), reach=1, near=0.7, alike=2.0
)
