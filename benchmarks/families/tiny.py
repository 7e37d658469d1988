"""Calls so small that only what surrounds the kernels counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..libraries import einsum, equations, expressions, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Workload, normals
from .conv import Case, workload


def _matmul() -> Workload:
    spec = "ij,jk->ik"

    def generic(xp: Any, x: Any, w: Any) -> Any:
        return xp.matmul(x, w)

    return Workload(
        "4x4 matmul",
        normals({"x": (4, 4), "W": (4, 4)}),
        (4, 4),
        {
            "indexlang": equations("y[i,k] = x[i,j] * W[j,k]"),
            "numpy": in_numpy(np.matmul, lambda dy, _, x, w: (dy @ w.T, x.T @ dy)),
            "einsum": einsum(spec),
            "opt_einsum": expressions(spec),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(generic),
        },
        flops=128,
    )


def _layer() -> Workload:
    def forward(x: Array, w: Array, b: Array) -> Array:
        y: Array = x @ w
        y += b
        return np.maximum(y, 0, out=y)

    def backward(dy: Array, y: Array, x: Array, w: Array, _b: Array) -> list[Array]:
        d = dy * (y > 0)
        return [d @ w.T, x.T @ d, d.sum(axis=0)]

    def generic(xp: Any, x: Any, w: Any, b: Any) -> Any:
        return xp.maximum(xp.dot(x, w) + b, 0)

    return Workload(
        "affine and relu, 1x16 to 8",
        normals({"x": (1, 16), "W": (16, 8), "b": (8,)}),
        (1, 8),
        {
            "indexlang": equations("h[n,o] = x[n,i] * W[i,o]\nh[n,o] += b[o]\ny[n,o] = max(h[n,o], 0)"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, x, w, b: torch.relu(torch.addmm(b, x, w))),
        },
        flops=256,
    )


def _dot() -> Workload:
    def generic(xp: Any, x: Any, z: Any) -> Any:
        return xp.dot(x, z)

    return Workload(
        "dot product of 8",
        normals({"x": (8,), "z": (8,)}),
        (),
        {
            "indexlang": equations("y = x[i] * z[i]"),
            "numpy": in_numpy(np.dot, lambda dy, _, x, z: (dy * z, dy * x)),
            "einsum": einsum("i,i->"),
            "opt_einsum": expressions("i,i->"),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(generic),
        },
        flops=16,
    )


_CONV = Case("3x3 convolution, 8x8x1 to 4", (1, 8, 8, 1), (3, 3, 1, 4))

WORKLOADS = (_matmul(), _layer(), _dot(), workload(_CONV))
