"""Networks as rows of layers, and what a layer is in each library.

In: rows, parameters in the rows' order, channels last. Out: scores of classes. The one rule: a network is written once;
libraries differ only in their tables of layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from . import byhand
from .workload import Array


@dataclass(frozen=True)
class Layer:
    """A row: what it is, its channels, its window. A residual adds what `main` and `shortcut` make of the same."""

    kind: str
    inputs: int = 0
    outputs: int = 0
    size: int = 1
    stride: int = 1
    padding: int = 0
    bias: bool = True
    main: tuple[Layer, ...] = ()
    shortcut: tuple[Layer, ...] = ()

    def parameters(self) -> list[tuple[int, ...]]:
        """Shapes in the order in which libraries get them."""
        match self.kind:
            case "conv":
                kernel = (self.size, self.size, self.inputs, self.outputs)
                return [kernel, (self.outputs,)] if self.bias else [kernel]
            case "affine":
                return [(self.inputs, self.outputs), (self.outputs,)]
            case "norm":
                return [(self.outputs,)] * 4  # gamma, beta, mean, variance
            case "residual":
                return shapes((*self.main, *self.shortcut))
            case _:
                return []


Layers = tuple[Layer, ...]


def shapes(layers: Layers) -> list[tuple[int, ...]]:
    """The shapes of all parameters."""
    return [shape for layer in layers for shape in layer.parameters()]


def trained(layers: Layers) -> list[bool]:
    """Which parameters get gradients: not the running statistics."""
    found: list[bool] = []
    for layer in layers:
        if layer.kind == "residual":
            found += trained((*layer.main, *layer.shortcut))
        else:
            found += [not (layer.kind == "norm" and k > 1) for k in range(len(layer.parameters()))]
    return found


Operation = Callable[..., Any]


def run(layers: Layers, table: Mapping[str, Operation], parameters: Iterator[Any], h: Any) -> Any:
    """The network on h."""
    for layer in layers:
        if layer.kind == "residual":
            main = run(layer.main, table, parameters, h)
            h = main + run(layer.shortcut, table, parameters, h)
        else:
            h = table[layer.kind](layer, h, *(next(parameters) for _ in layer.parameters()))
    return h


# -- the networks --------------------------------------------------------------------------------------------

RELU, FLATTEN = Layer("relu"), Layer("flatten")
LRN = Layer("lrn")  # over 5 channels, alpha 5e-4, beta 0.75, k 2
NORM_SETTINGS: dict[str, Any] = {"window": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}


def conv(size: int, inputs: int, outputs: int, stride: int = 1, padding: int = 0, bias: bool = True) -> Layer:
    return Layer("conv", inputs, outputs, size, stride, padding, bias)


def affine(inputs: int, outputs: int) -> Layer:
    return Layer("affine", inputs, outputs)


def pool(size: int, stride: int, padding: int = 0) -> Layer:
    return Layer("pool", size=size, stride=stride, padding=padding)


MLP = (affine(784, 256), RELU, affine(256, 10))
LENET = (
    *(conv(5, 1, 6, padding=2), RELU, pool(2, 2), conv(5, 6, 16), RELU, pool(2, 2), conv(5, 16, 120), RELU),
    *(FLATTEN, affine(120, 84), RELU, affine(84, 10)),
)
ALEXNET = (
    *(conv(11, 3, 96, 4), RELU, LRN, pool(3, 2), conv(5, 96, 256, padding=2), RELU, LRN, pool(3, 2)),
    *(conv(3, 256, 384, padding=1), RELU, conv(3, 384, 384, padding=1), RELU, conv(3, 384, 256, padding=1), RELU),
    *(pool(3, 2), FLATTEN, affine(9216, 4096), RELU, affine(4096, 4096), RELU, affine(4096, 1000)),
)


def _normed(size: int, inputs: int, outputs: int, stride: int = 1) -> Layers:
    return conv(size, inputs, outputs, stride, size // 2, bias=False), Layer("norm", outputs=outputs)


def _block(inputs: int, outputs: int, stride: int) -> Layers:
    main = (*_normed(3, inputs, outputs, stride), RELU, *_normed(3, outputs, outputs))
    shortcut = _normed(1, inputs, outputs, stride) if stride > 1 or inputs != outputs else ()
    return Layer("residual", main=main, shortcut=shortcut), RELU


RESNET18 = (
    *(*_normed(7, 3, 64, 2), RELU, pool(3, 2, 1), *_block(64, 64, 1), *_block(64, 64, 1)),
    *(*_block(64, 128, 2), *_block(128, 128, 1), *_block(128, 256, 2), *_block(256, 256, 1)),
    *(*_block(256, 512, 2), *_block(512, 512, 1), Layer("average"), affine(512, 1000)),
)


# -- JAX -----------------------------------------------------------------------------------------------------


def jax_table(statistics: list[Any]) -> dict[str, Operation]:
    """Layers in JAX; new running statistics are appended to a list."""
    import jax.numpy as jnp
    from jax import lax

    def convolve(layer: Layer, h: Any, kernel: Any, bias: Any = 0.0) -> Any:
        pad = [(layer.padding, layer.padding)] * 2
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(h, kernel, (layer.stride,) * 2, pad, dimension_numbers=numbers) + bias

    def pooled(layer: Layer, h: Any) -> Any:
        window, stride = (1, layer.size, layer.size, 1), (1, layer.stride, layer.stride, 1)
        pad = [(0, 0), *[(layer.padding, layer.padding)] * 2, (0, 0)]
        return lax.reduce_window(h, -jnp.inf, lax.max, window, stride, pad)

    def lrn(_layer: Layer, h: Any) -> Any:
        around = lax.reduce_window(h * h, 0.0, lax.add, (1, 1, 1, 5), (1, 1, 1, 1), "SAME")
        return h / (2.0 + 1e-4 * around) ** 0.75

    def norm(_layer: Layer, h: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
        mu, var = jnp.mean(h, axis=(0, 1, 2)), jnp.var(h, axis=(0, 1, 2))
        count = h.size // h.shape[-1]
        statistics.extend((0.9 * mean + 0.1 * mu, 0.9 * variance + 0.1 * var * (count / (count - 1))))
        return gamma * (h - mu) * lax.rsqrt(var + 1e-5) + beta

    return {
        "conv": convolve,
        "pool": pooled,
        "lrn": lrn,
        "norm": norm,
        "relu": lambda _, h: jnp.maximum(h, 0),
        "flatten": lambda _, h: h.reshape(len(h), -1),
        "average": lambda _, h: jnp.mean(h, axis=(1, 2)),
        "affine": lambda _, h, w, b: h @ w + b,
    }


# -- PyTorch -------------------------------------------------------------------------------------------------


def torch_table() -> dict[str, Operation]:
    """Layers in PyTorch: maps channels first, weights of full connections [out, in]."""
    import torch
    from torch.nn import functional as f

    return {
        "conv": lambda layer, h, kernel, bias=None: f.conv2d(h, kernel, bias, layer.stride, layer.padding),
        "pool": lambda layer, h: f.max_pool2d(h, layer.size, layer.stride, layer.padding),
        "lrn": lambda _, h: f.local_response_norm(h, 5, 5e-4, 0.75, 2.0),
        "norm": lambda _, h, gamma, beta, mean, variance: f.batch_norm(h, mean, variance, gamma, beta, training=True),
        "relu": lambda _, h: torch.relu(h),
        "flatten": lambda _, h: h.permute(0, 2, 3, 1).reshape(len(h), -1),
        "average": lambda _, h: h.mean((2, 3)),
        "affine": lambda _, h, w, b: f.linear(h, w, b),
    }


# -- autograd ------------------------------------------------------------------------------------------------


def autograd_table() -> dict[str, Operation]:
    """Layers in autograd, for small networks: a product for each tap, pools whose windows do not overlap."""
    import autograd.numpy as anp

    from .families.conv import Case, tapped

    def convolve(layer: Layer, h: Any, kernel: Any, bias: Any) -> Any:
        case = Case("", h.shape, kernel.shape, layer.stride, layer.padding)
        return tapped(case, anp, h, kernel) + bias

    def pooled(layer: Layer, h: Any) -> Any:
        b, rows, columns, c = h.shape
        n = layer.size
        return anp.max(anp.reshape(h, (b, rows // n, n, columns // n, n, c)), axis=(2, 4))

    return {
        "conv": convolve,
        "pool": pooled,
        "relu": lambda _, h: anp.maximum(h, 0),
        "flatten": lambda _, h: anp.reshape(h, (len(h), -1)),
        "affine": lambda _, h, w, b: anp.dot(h, w) + b,
    }


# -- NumPy by hand -------------------------------------------------------------------------------------------


class _Flatten:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> list[Array]:
        return [dy.reshape(self.shape)]


class _Average:
    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        found: Array = x.mean(axis=(1, 2))
        return found

    def backward(self, dy: Array) -> list[Array]:
        share = dy / np.float32(prod(self.shape[1:3]))
        return [np.broadcast_to(share[:, None, None], self.shape)]


class _Norm(byhand.BatchNorm):
    """With running statistics."""

    def forward(self, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array) -> Array:  # type: ignore[override]
        y = super().forward(x, gamma, beta)
        count = x.size // x.shape[-1]
        for running, now in ((mean, self.mu), (variance, self.var * np.float32(count / (count - 1)))):
            running *= np.float32(0.9)
            running += np.float32(0.1) * now
        return y


def _made(layer: Layer, h: Array, given: Sequence[Array], first: bool) -> Any:
    match layer.kind:
        case "conv":
            return byhand.Conv(h, *given, stride=layer.stride, padding=layer.padding, need_dx=not first)
        case "pool":
            return byhand.MaxPool(h, window=layer.size, stride=layer.stride, padding=layer.padding)
        case "lrn":
            return byhand.LocalResponseNorm(h, **NORM_SETTINGS)
        case "norm":
            return _Norm(h, *given[:2])
        case "relu":
            return byhand.Relu(h)
        case "affine":
            return byhand.Affine(h, *given)
        case "flatten":
            return _Flatten()
        case _:
            return _Average()


class ByHand:
    """A network in NumPy: layers made at the first call, run backward in reverse order."""

    def __init__(self, layers: Layers, first: bool = True) -> None:
        self.layers, self.first = layers, first
        self.made: list[Any] = []

    def forward(self, h: Array, parameters: Sequence[Array]) -> Array:
        place = 0
        for number, layer in enumerate(self.layers):
            given = parameters[place : place + len(layer.parameters())]
            place += len(given)
            if number == len(self.made):
                self.made.append(
                    (ByHand(layer.main, False), ByHand(layer.shortcut, False))
                    if layer.kind == "residual"
                    else _made(layer, h, given, self.first and not number)
                )
            if layer.kind == "residual":
                main, shortcut = self.made[number]
                count = len(shapes(layer.main))
                h = main.forward(h, given[:count]) + shortcut.forward(h, given[count:])
            else:
                h = self.made[number].forward(h, *given)
        return h

    def backward(self, dy: Array) -> tuple[Array, list[Array]]:
        """The gradients of h and of the trained parameters."""
        gradients: list[Array] = []
        for layer, made in zip(reversed(self.layers), reversed(self.made), strict=True):
            if layer.kind == "residual":
                around, after = made[1].backward(dy)
                dx, before = made[0].backward(dy)
                dy, found = dx + around, [*before, *after]
            else:
                dy, *found = made.backward(dy)
            gradients = [*found, *gradients]
        return dy, gradients
