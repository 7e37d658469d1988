"""What moving memory limits: functions of single elements, pooling, normalisation, losses."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..byhand import AvgPool, BatchNorm, CrossEntropy, LocalResponseNorm, MaxPool
from ..libraries import by_hand, equations, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Below, Normal, Workload

MAPS = (8, 56, 56, 64)
_FIRST = {"x": (0, 3, 1, 2), "y": (0, 3, 1, 2)}


def _bias_relu() -> Workload:
    def backward(dy: Array, y: Array, _x: Array, _bias: Array) -> list[Array]:
        dx = dy * (y > 0)
        return [dx, dx.reshape(-1, dx.shape[-1]).sum(axis=0)]

    def forward(x: Array, bias: Array) -> Array:
        y: Array = x + bias
        np.maximum(y, 0, out=y)
        return y

    def generic(xp: Any, x: Any, bias: Any) -> Any:
        return xp.maximum(x + bias, 0)

    return Workload(
        "bias and relu",
        {"x": Normal(MAPS), "bias": Normal(MAPS[-1:])},
        MAPS,
        {
            "indexlang": equations("y[b,i,j,c] = max(x[b,i,j,c] + bias[c], 0)"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, x, bias: torch.relu(x + bias)),
        },
    )


def _pooled_in_jax(x: Any, first: Any, combine: Any, window: int, stride: int) -> Any:
    from jax import lax

    return lax.reduce_window(x, first, combine, (1, window, window, 1), (1, stride, stride, 1), "VALID")


def _max_pool() -> Workload:
    def in_jax(xp: Any, x: Any) -> Any:
        from jax import lax

        return _pooled_in_jax(x, -xp.inf, lax.max, 3, 2)

    def in_torch(torch: Any, x: Any) -> Any:
        return torch.nn.functional.max_pool2d(x, 3, 2)

    return Workload(
        "max pooling 3x3 stride 2",
        {"x": Normal((8, 55, 55, 96))},
        (8, 27, 27, 96),
        {
            "indexlang": equations("pooling.idx", layer="maxpool2d", window=3, stride=2),
            "numpy": by_hand(partial(MaxPool, window=3, stride=2)),
            "jax": jitted(in_jax),
            **torch_peers(in_torch, _FIRST),
        },
    )


def _avg_pool() -> Workload:
    def in_jax(_xp: Any, x: Any) -> Any:
        from jax import lax

        return _pooled_in_jax(x, 0.0, lax.add, 2, 2) / 4

    def tape(xp: Any, x: Any) -> Any:
        return xp.mean(xp.reshape(x, (8, 28, 2, 28, 2, 64)), axis=(2, 4))

    def in_torch(torch: Any, x: Any) -> Any:
        return torch.nn.functional.avg_pool2d(x, 2)

    return Workload(
        "average pooling 2x2",
        {"x": Normal(MAPS)},
        (8, 28, 28, 64),
        {
            "indexlang": equations("pooling.idx", layer="avgpool2d"),
            "numpy": by_hand(partial(AvgPool, window=2, stride=2)),
            "autograd": taped(tape),
            "jax": jitted(in_jax),
            **torch_peers(in_torch, _FIRST),
        },
    )


def _batch_norm() -> Workload:
    def generic(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
        mu = xp.mean(x, axis=(0, 1, 2))
        var = xp.mean((x - mu) ** 2, axis=(0, 1, 2))
        return gamma * (x - mu) / xp.sqrt(var + 1e-5) + beta

    def in_torch(torch: Any, x: Any, gamma: Any, beta: Any) -> Any:
        return torch.nn.functional.batch_norm(x, None, None, gamma, beta, training=True)

    return Workload(
        "batch norm",
        {"x": Normal(MAPS), "gamma": Normal(MAPS[-1:]), "beta": Normal(MAPS[-1:])},
        MAPS,
        {
            "indexlang": equations("normalization.idx", layer="batchnorm2d"),
            "numpy": by_hand(BatchNorm),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch, _FIRST),
        },
    )


def _layer_norm() -> Workload:
    shape = (4096, 512)

    def generic(xp: Any, x: Any, gamma: Any, beta: Any) -> Any:
        centred = x - xp.mean(x, axis=-1, keepdims=True)
        var = xp.mean(centred**2, axis=-1, keepdims=True)
        return gamma * centred / xp.sqrt(var + 1e-5) + beta

    def statistics(x: Array) -> tuple[Array, Array]:
        hat = x - x.mean(axis=1, keepdims=True)
        rsqrt = 1 / np.sqrt(np.einsum("nd,nd->n", hat, hat) / np.float32(shape[1]) + np.float32(1e-5))
        hat *= rsqrt[:, None]
        return hat, rsqrt

    kept: list[Any] = []

    def forward(x: Array, gamma: Array, beta: Array) -> Array:
        kept[:] = statistics(x)
        y: Array = kept[0] * gamma
        y += beta
        return y

    def backward(dy: Array, _y: Array, _x: Array, gamma: Array, _beta: Array) -> list[Array]:
        hat, rsqrt = kept
        dx = dy * gamma
        along = np.einsum("nd,nd->n", dx, hat) / np.float32(shape[1])
        dx -= dx.mean(axis=1, keepdims=True)
        dx -= hat * along[:, None]
        dx *= rsqrt[:, None]
        return [dx, np.einsum("nd,nd->d", dy, hat), dy.sum(axis=0)]

    return Workload(
        "layer norm",
        {"x": Normal(shape), "gamma": Normal(shape[1:]), "beta": Normal(shape[1:])},
        shape,
        {
            "indexlang": equations("normalization.idx", layer="layernorm"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, x, g, b: torch.nn.functional.layer_norm(x, shape[1:], g, b)),
        },
    )


def _softmax() -> Workload:
    shape = (2048, 1000)

    def generic(xp: Any, s: Any) -> Any:
        e = xp.exp(s - xp.max(s, axis=-1, keepdims=True))
        return e / xp.sum(e, axis=-1, keepdims=True)

    def forward(s: Array) -> Array:
        p: Array = s - s.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        return p

    def backward(dy: Array, y: Array, _s: Array) -> list[Array]:
        ds = dy - np.einsum("nk,nk->n", dy, y)[:, None]
        ds *= y
        return [ds]

    return Workload(
        "softmax",
        {"s": Normal(shape)},
        shape,
        {
            "indexlang": equations("activations.idx", "p", layer="softmax"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, s: torch.softmax(s, -1)),
        },
    )


def _cross_entropy() -> Workload:
    shape = (2048, 1000)

    def generic(xp: Any, s: Any, labels: Any) -> Any:
        top = xp.max(s, axis=-1, keepdims=True)
        total = xp.log(xp.sum(xp.exp(s - top), axis=-1)) + top[:, 0]
        return total - s[xp.arange(shape[0]), labels]

    return Workload(
        "cross entropy",
        {"s": Normal(shape, 2.0), "y": Below(shape[:1], shape[1])},
        shape[:1],
        {
            "indexlang": equations("losses.idx", "ell", layer="cross_entropy"),
            "numpy": by_hand(CrossEntropy),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, s, y: torch.nn.functional.cross_entropy(s, y, reduction="none")),
        },
    )


def _response_norm() -> Workload:
    shape = (8, 27, 27, 256)
    settings: dict[str, Any] = {"window": 5, "alpha": 5e-4, "beta": 0.75, "k": 2}

    def generic(xp: Any, x: Any) -> Any:
        squares = xp.pad(x * x, ((0, 0), (0, 0), (0, 0), (2, 2)), "constant")
        around = sum((squares[..., d : d + shape[-1]] for d in range(1, 5)), squares[..., : shape[-1]])
        return x / (2 + 5e-4 / 5 * around) ** 0.75

    def in_torch(torch: Any, x: Any) -> Any:
        return torch.nn.functional.local_response_norm(x, 5, 5e-4, 0.75, 2.0)

    return Workload(
        "local response norm",
        {"x": Normal(shape, 30.0)},
        shape,
        {
            "indexlang": equations("normalization.idx", layer="local_response_norm", **settings),
            "numpy": by_hand(partial(LocalResponseNorm, **settings)),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch, _FIRST),
        },
    )


WORKLOADS = (
    _bias_relu(),
    _max_pool(),
    _avg_pool(),
    _batch_norm(),
    _layer_norm(),
    _softmax(),
    _cross_entropy(),
    _response_norm(),
)
