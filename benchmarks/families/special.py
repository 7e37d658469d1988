"""What frameworks have no kernel for: they compose it of what they have, or unfold it into large tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..libraries import equations, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Below, Normal, Workload
from .neighbourhoods import ROWS

# -- sums of exponentials ------------------------------------------------------------------------------------


def _kernel_sums() -> Workload:
    n, d = 1024, 4

    def kernel(x: Array, z: Array) -> Array:
        e: Array = x @ z.T
        e *= 2
        e -= np.einsum("nd,nd->n", x, x)[:, None]
        e -= np.einsum("md,md->m", z, z)
        np.exp(e, out=e)
        return e

    kept: list[Array] = []

    def forward(x: Array, z: Array, w: Array) -> Array:
        kept[:] = [kernel(x, z)]
        y: Array = kept[0] @ w
        return y

    def backward(dy: Array, _y: Array, x: Array, z: Array, w: Array) -> list[Array]:
        e = kept[0]
        dw = dy @ e
        e *= dy[:, None]
        e *= w
        e *= -2  # times (x - z), summed on either side
        dx = x * e.sum(axis=1)[:, None] - e @ z
        dz = z * e.sum(axis=0)[:, None] - e.T @ x
        return [dx, dz, dw]

    def generic(xp: Any, x: Any, z: Any, w: Any) -> Any:
        return xp.dot(xp.exp(-xp.sum((x[:, None] - z[None]) ** 2, axis=-1)), w)

    def in_torch(torch: Any, x: Any, z: Any, w: Any) -> Any:
        square = (x * x).sum(-1)[:, None] + (z * z).sum(-1) - 2 * torch.mm(x, z.T)
        return torch.mv(torch.exp(-square), w)

    return Workload(
        f"kernel sums over {n}x{n} pairs",
        {"x": Normal((n, d), 0.7), "z": Normal((n, d), 0.7), "w": Normal((n,))},
        (n,),
        {
            "indexlang": equations("s[i,j] = (x[i,d] - z[j,d])**2\nk[i,j] = exp(-s[i,j])\ny[i] = k[i,j] * w[j]"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch),
        },
        flops=n * n * (3 * d + 3),
    )


# -- stencil, prefix sums, embedding -------------------------------------------------------------------------


def _stencil() -> Workload:
    n = 1024

    def forward(x: Array) -> Array:
        y = x[:-2, 1:-1] + x[2:, 1:-1]
        y += x[1:-1, :-2]
        y += x[1:-1, 2:]
        y -= 4 * x[1:-1, 1:-1]
        return y

    def backward(dy: Array, _y: Array, _x: Array) -> list[Array]:
        dx = np.zeros((n, n), np.float32)
        dx[1:-1, 1:-1] = -4 * dy
        dx[:-2, 1:-1] += dy
        dx[2:, 1:-1] += dy
        dx[1:-1, :-2] += dy
        dx[1:-1, 2:] += dy
        return [dx]

    def generic(xp: Any, x: Any) -> Any:
        return x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:] - 4 * x[1:-1, 1:-1]

    return Workload(
        "five-point stencil",
        {"x": Normal((n, n))},
        (n - 2, n - 2),
        {
            "indexlang": equations("y[i,j] = x[i,j+1] + x[i+2,j+1] + x[i+1,j] + x[i+1,j+2] - 4 * x[i+1,j+1]"),
            "numpy": in_numpy(forward, backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(generic),
        },
    )


def _prefix_sums() -> Workload:
    shape = (64, 2048)

    def tape(xp: Any, x: Any) -> Any:
        return xp.cumsum(x, axis=1)

    return Workload(
        "masked prefix sums",
        {"x": Normal(shape)},
        shape,
        {
            "indexlang": equations("y[b,t] = x[b,u] where u <= t, t < size(x,1)"),
            "numpy": in_numpy(
                lambda x: np.cumsum(x, axis=1), lambda dy, _y, _x: [np.cumsum(dy[:, ::-1], axis=1)[:, ::-1]]
            ),
            "autograd": taped(tape),
            "jax": jitted(tape),
            **torch_peers(lambda torch, x: torch.cumsum(x, 1)),
        },
    )


def _embedding() -> Workload:
    table, tokens = (10000, 256), (64, 128)

    def backward(dy: Array, _y: Array, table: Array, tok: Array) -> list[Array]:
        flat = tok.reshape(-1)
        order = np.argsort(flat, kind="stable")
        rows = dy.reshape(-1, dy.shape[-1])[order]
        starts = np.flatnonzero(np.r_[True, np.diff(flat[order]) != 0])
        found = np.zeros_like(table)
        found[flat[order][starts]] = np.add.reduceat(rows, starts, axis=0)
        return [found]

    def generic(xp: Any, table: Any, tok: Any) -> Any:
        return table[tok]

    return Workload(
        "embedding",
        {"E": Normal(table), "tok": Below(tokens, table[0])},
        (*tokens, table[1]),
        {
            "indexlang": equations("sequences.idx", layer="embedding"),
            "numpy": in_numpy(lambda table, tok: np.take(table, tok, axis=0), backward),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(lambda torch, table, tok: torch.nn.functional.embedding(tok, table)),
        },
    )


WORKLOADS = (*ROWS, _kernel_sums(), _stencil(), _prefix_sums(), _embedding())
