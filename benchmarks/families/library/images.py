"""Layers of images: convolutions, pools, normalisation, joints, neighbourhoods."""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .layer import Layer

FIRST = {"x": (0, 3, 1, 2), "y": (0, 3, 1, 2)}  # channels behind the batch
CONV = {**FIRST, "K": (3, 2, 0, 1)}
TURNED = {**FIRST, "K": (2, 3, 0, 1)}  # of transposed and of depthwise convolutions


def conv(dims: int = 2, **options: Any) -> Callable[..., Any]:
    return lambda torch, x, K, bias=None: getattr(torch.nn.functional, f"conv{dims}d")(x, K, bias, **options)


def around(mode: str) -> Callable[..., Any]:
    def f(torch: Any, x: Any, K: Any, bias: Any) -> Any:
        return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 1, 1, 1), mode), K, bias)

    return f


def depthwise(torch: Any, x: Any, K: Any, bias: Any = None) -> Any:
    weights = K.reshape(-1, 1, *K.shape[2:])
    return torch.nn.functional.conv2d(x, weights, bias, groups=x.shape[1])


def separable(torch: Any, x: Any, K: Any, P: Any, bias: Any) -> Any:
    return torch.nn.functional.conv2d(depthwise(torch, x, K), P.T[:, :, None, None], bias)


def transposed(**options: Any) -> Callable[..., Any]:
    return lambda torch, x, K, bias: torch.nn.functional.conv_transpose2d(x, K, bias, **options)


def pool(call: str, **options: Any) -> Callable[..., Any]:
    return lambda torch, x: getattr(torch.nn.functional, call)(x, **options)


def positions(torch: Any, x: Any) -> Any:
    return torch.nn.functional.max_pool2d(x, 2, return_indices=True)[1]


def normalised(torch: Any, x: Any, gamma: Any, beta: Any) -> Any:
    return torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)


def evaluated(torch: Any, x: Any, gamma: Any, beta: Any, mu: Any, var: Any) -> Any:
    s = gamma * torch.rsqrt(var + 1e-5)  # batch_norm itself refuses gradients of its statistics
    return x * s[:, None, None] + (beta - mu * s)[:, None, None]


def volume(torch: Any, f: Any, g: Any) -> Any:
    found = f.flatten(1, 2) @ g.flatten(1, 2).mT / f.shape[3] ** 0.5
    return found.reshape(*f.shape[:3], *g.shape[1:3])


X, K, KX = "x[8,28,28,32]", " K[3,3,32,32]", "8,26,26,32"
SAME, WIDE = "8,28,28,32", "x[8,56,56,32]"
SCALE = " gamma[32] beta[32]"
PAIR = "f[2,32,32,16] g[2,32,32,16]"

LAYERS = (
    Layer("conv", "conv1d", "x[16,256,64] K[5,64,64] bias[64]", "16,252,64", conv(1),
          {"x": (0, 2, 1), "y": (0, 2, 1), "K": (2, 1, 0)}),
    Layer("conv", "conv2d", X + K + " bias[32]", KX, conv(), CONV),
    Layer("conv", "conv2d_nobias", X + K, KX, conv(), CONV),
    Layer("conv", "conv3d", "x[2,8,16,16,16] K[3,3,3,16,16] bias[16]", "2,6,14,14,16", conv(3),
          {"x": (0, 4, 1, 2, 3), "y": (0, 4, 1, 2, 3), "K": (4, 3, 0, 1, 2)}),
    Layer("conv", "conv2d_groups", X + " K[3,3,8,32] bias[32]", KX, conv(groups=4), CONV, {"groups": 4}),
    Layer("conv", "conv2d_same", X + K + " bias[32]", SAME, conv(padding="same"), CONV),
    Layer("conv", "conv2d_replicate", X + K + " bias[32]", SAME, around("replicate"), CONV),
    Layer("conv", "conv2d_reflect", X + K + " bias[32]", SAME, around("reflect"), CONV),
    Layer("conv", "conv2d_circular", X + K + " bias[32]", SAME, around("circular"), CONV),
    Layer("conv", "depthwise_conv2d", WIDE + " K[3,3,32,1] bias[32]", "8,54,54,32", depthwise, TURNED),
    Layer("conv", "depthwise_conv2d", X + " K[3,3,32,2] bias[64]", "8,26,26,64", depthwise, TURNED,
          note="two filters each"),
    Layer("conv", "separable_conv2d", X + " K[3,3,32,1] P[32,32] bias[32]", KX, separable, TURNED),
    Layer("conv", "conv_transpose2d", "x[8,14,14,32] K[3,3,32,32] bias[32]", "8,29,29,32", transposed(stride=2),
          TURNED, {"stride": 2}),
    Layer("conv", "conv_transpose2d_groups", "x[8,14,14,32] K[3,3,32,8] bias[32]", "8,29,29,32",
          transposed(stride=2, groups=4), TURNED, {"stride": 2, "groups": 4}),
    Layer("conv", "im2col", X, "8,26,26,288"),
    Layer("conv", "conv2d_im2col", X + K + " bias[32]", KX, conv(), CONV),
    Layer("pooling", "maxpool2d", WIDE, "8,28,28,32", pool("max_pool2d", kernel_size=2), FIRST),
    Layer("pooling", "maxpool2d", WIDE, "8,28,28,32", pool("max_pool2d", kernel_size=3, stride=2, padding=1), FIRST,
          {"window": 3, "stride": 2, "padding": 1}, note="3 by 3"),
    Layer("pooling", "maxpool2d", WIDE, "8,48,48,32", pool("max_pool2d", kernel_size=9, stride=1), FIRST,
          {"window": 9, "stride": 1}, note="9 by 9"),
    Layer("pooling", "maxpool2d_with_indices", WIDE, "indices:8,28,28,32", positions, FIRST, gradients=False),
    Layer("pooling", "avgpool2d", WIDE, "8,28,28,32", pool("avg_pool2d", kernel_size=2), FIRST),
    Layer("pooling", "avgpool2d_counted", WIDE, "8,28,28,32",
          pool("avg_pool2d", kernel_size=3, stride=2, padding=1, count_include_pad=False), FIRST,
          {"window": 3, "stride": 2, "padding": 1}),
    Layer("pooling", "global_avgpool", "x[32,7,7,512]", "32,512",
          lambda torch, x: torch.nn.functional.adaptive_avg_pool2d(x, 1)[:, :, 0, 0], {"x": (0, 3, 1, 2)}),
    Layer("pooling", "global_maxpool", "x[32,7,7,512]", "32,512",
          lambda torch, x: torch.nn.functional.adaptive_max_pool2d(x, 1)[:, :, 0, 0], {"x": (0, 3, 1, 2)}),
    Layer("normalization", "batchnorm2d", WIDE + SCALE, "8,56,56,32", normalised, FIRST),
    Layer("normalization", "batchnorm_eval", WIDE + SCALE + " mu[32] var[32]+", "8,56,56,32", evaluated, FIRST),
    Layer("normalization", "running_statistics", X + " mu[32] var[32]+ running_mu[32] running_var[32]+", "new_mu:32"),
    Layer("normalization", "groupnorm", WIDE + SCALE, "8,56,56,32",
          lambda torch, x, gamma, beta: torch.nn.functional.group_norm(x, 8, gamma, beta), FIRST, {"groups": 8}),
    Layer("normalization", "instancenorm2d", WIDE + SCALE, "8,56,56,32",
          lambda torch, x, gamma, beta: torch.nn.functional.instance_norm(x, weight=gamma, bias=beta), FIRST),
    Layer("normalization", "local_response_norm", X, SAME,
          lambda torch, x: torch.nn.functional.local_response_norm(x, 5), FIRST),
    Layer("joining", "concatenate", "a[8,28,28,32] b[8,28,28,64]", "8,28,28,96",
          lambda torch, *parts: torch.cat(parts, 3)),
    Layer("joining", "concatenate3", "a[8,28,28,16] b[8,28,28,32] c[8,28,28,16]", "8,28,28,64",
          lambda torch, *parts: torch.cat(parts, 3)),
    Layer("joining", "concatenate4", "a[8,28,28,16] b[8,28,28,32] c[8,28,28,8] d[8,28,28,8]", "8,28,28,64",
          lambda torch, *parts: torch.cat(parts, 3)),
    Layer("joining", "residual", "x[8,56,56,32] f[8,56,56,32]", "8,56,56,32", lambda _torch, x, f: x + f),
    Layer("joining", "add_channels", "x[16,56,56,4] b[4]", "16,56,56,4", lambda _torch, x, b: x + b),
    Layer("joining", "scale_channels", "x[16,56,56,4] s[16,1,1,4]", "16,56,56,4", lambda _torch, x, s: x * s),
    Layer("neighbourhoods", "local_attention2d", "q[2,16,16,4,16] k[2,16,16,4,16] v[2,16,16,4,16]", "2,16,16,4,16"),
    Layer("neighbourhoods", "correlation", PAIR, "2,32,32,7,7"),
    Layer("neighbourhoods", "correlation_volume", PAIR, "2,32,32,32,32", volume),
    Layer("neighbourhoods", "locally_connected2d", "x[8,16,16,16] K[14,14,3,3,16,16] bias[14,14,16]", "8,14,14,16"),
    Layer("neighbourhoods", "bilateral", "x[1,112,112,3]", "1,112,112,3", options={"reach": 3, "alike": 1.0}),
)  # fmt: skip
