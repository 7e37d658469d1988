"""Products of matrices and tensors: what BLAS is for, if one finds the matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from ..libraries import einsum, equations, expressions, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Build, Workload, normals

Shapes = Mapping[str, tuple[int, ...]]
Function = Callable[..., Any]


def _row(
    name: str,
    text: str,
    spec: str,
    shapes: Shapes,
    flops: int,
    forward: Function,
    backward: Function,
    tape: Function,
    torch: Function | None = None,
) -> Workload:
    """A contraction that a single einsum says; `flops` counts the best order."""
    left, out = spec.split("->")
    sizes = dict(zip(left.replace(",", ""), [n for shape in shapes.values() for n in shape], strict=True))

    def generic(xp: Any, *given: Any) -> Any:
        return xp.einsum(spec, *given)

    peers: dict[str, Build] = {
        "indexlang": equations(text),
        "numpy": in_numpy(forward, backward),
        "einsum": einsum(spec),
        "opt_einsum": expressions(spec),
        "autograd": taped(tape),
        "jax": jitted(generic),
        **torch_peers(torch or generic),
    }
    return Workload(name, normals(shapes), tuple(sizes[i] for i in out), peers, flops)


def _matmul(name: str, n: int, k: int, m: int) -> Workload:
    return _row(
        name,
        "y[i,k] = x[i,j] * W[j,k]",
        "ij,jk->ik",
        {"x": (n, k), "W": (k, m)},
        2 * n * k * m,
        np.matmul,
        lambda dy, _, x, w: (dy @ w.T, x.T @ dy),
        lambda xp, x, w: xp.dot(x, w),
        lambda torch, x, w: torch.mm(x, w),
    )


def _batched(batch: int, n: int) -> Workload:
    return _row(
        f"{batch} products of {n}x{n}",
        "y[b,i,k] = x[b,i,j] * z[b,j,k]",
        "bij,bjk->bik",
        {"x": (batch, n, n), "z": (batch, n, n)},
        2 * batch * n**3,
        np.matmul,
        lambda dy, _, x, z: (dy @ z.swapaxes(1, 2), x.swapaxes(1, 2) @ dy),
        lambda xp, x, z: xp.matmul(x, z),
        lambda torch, x, z: torch.bmm(x, z),
    )


def _chain(n: int, k: int, m: int, o: int) -> Workload:
    def backward(dy: Array, _y: Array, x: Array, w: Array, u: Array) -> Sequence[Array]:
        wu = w @ u
        dwu = x.T @ dy
        return dy @ wu.T, dwu @ u.T, w.T @ dwu

    def forward(xp: Any, x: Any, w: Any, u: Any) -> Any:
        return xp.matmul(x, xp.matmul(w, u))

    return _row(
        "chain of three, best from the right",
        "y[i,l] = x[i,j] * W[j,k] * U[k,l]",
        "ij,jk,kl->il",
        {"x": (n, k), "W": (k, m), "U": (m, o)},
        2 * (k * m * o + n * k * o),
        lambda x, w, u: x @ (w @ u),
        backward,
        forward,
        forward,
    )


def _bilinear(n: int, i: int, j: int, o: int) -> Workload:
    """sum over i and j of W[i,j,o] x[n,i] z[n,j]: through the outer products, one long product of matrices."""

    def outer(x: Array, z: Array) -> Array:
        return (x[:, :, None] * z[:, None, :]).reshape(n, i * j)

    def backward(dy: Array, _y: Array, x: Array, z: Array, w: Array) -> Sequence[Array]:
        inner = (dy @ w.reshape(i * j, o).T).reshape(n, i, j)
        dw = (outer(x, z).T @ dy).reshape(i, j, o)
        return np.matmul(inner, z[:, :, None])[:, :, 0], np.matmul(x[:, None, :], inner)[:, 0], dw

    def tape(xp: Any, x: Any, z: Any, w: Any) -> Any:
        return xp.dot(xp.reshape(x[:, :, None] * z[:, None, :], (n, i * j)), xp.reshape(w, (i * j, o)))

    def torch(torch: Any, x: Any, z: Any, w: Any) -> Any:
        return torch.mm((x[:, :, None] * z[:, None, :]).view(n, i * j), w.view(i * j, o))

    return _row(
        "bilinear map",
        "y[n,o] = W[i,j,o] * x[n,i] * z[n,j]",
        "ni,nj,ijo->no",
        {"x": (n, i), "z": (n, j), "W": (i, j, o)},
        2 * n * i * j * o + n * i * j,
        lambda x, z, w: outer(x, z) @ w.reshape(i * j, o),
        backward,
        tape,
        torch,
    )


def _tensor_train(batch: int, mode: int, rank: int) -> Workload:
    """A matrix of mode**3 x mode**3 as a train of three cores, times a batch of vectors."""
    m, r = mode, rank

    def forward(xp: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
        t = xp.tensordot(x, c, [[3], [1]])  # n i j | r k'
        t = xp.tensordot(t, b, [[2, 3], [1, 3]])  # n i k' | r j'
        t = xp.tensordot(t, a, [[1, 3], [0, 2]])  # n k' j' | i'
        return xp.transpose(t, (0, 3, 2, 1))

    def by_hand(x: Array, a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
        t1 = x.reshape(-1, m) @ c.transpose(1, 0, 2).reshape(m, r * m)  # n i j, r k'
        t1 = np.ascontiguousarray(t1.reshape(batch, m, m, r, m).transpose(0, 1, 4, 2, 3))  # n i k' j r
        t2 = t1.reshape(-1, m * r) @ b.transpose(1, 3, 0, 2).reshape(m * r, r * m)  # n i k', s j'
        t2 = np.ascontiguousarray(t2.reshape(batch, m, m, r, m).transpose(0, 2, 4, 1, 3))  # n k' j' i s
        y = t2.reshape(-1, m * r) @ a.transpose(0, 2, 1).reshape(m * r, m)
        return y.reshape(batch, m, m, m).transpose(0, 3, 2, 1), t1, t2

    def backward(dy: Array, _y: Array, x: Array, a: Array, b: Array, c: Array) -> Sequence[Array]:
        _, t1, t2 = by_hand(x, a, b, c)
        d = np.ascontiguousarray(dy.transpose(0, 3, 2, 1)).reshape(-1, m)  # n k' j', i'
        am = a.transpose(0, 2, 1).reshape(m * r, m)
        da = (t2.reshape(-1, m * r).T @ d).reshape(m, r, m).transpose(0, 2, 1)
        d2 = (d @ am.T).reshape(batch, m, m, m, r).transpose(0, 3, 1, 4, 2)  # n i k' s j'
        d2 = np.ascontiguousarray(d2).reshape(-1, r * m)
        bm = b.transpose(1, 3, 0, 2).reshape(m * r, r * m)
        db = (t1.reshape(-1, m * r).T @ d2).reshape(m, r, r, m).transpose(2, 0, 3, 1)
        d1 = (d2 @ bm.T).reshape(batch, m, m, m, r).transpose(0, 1, 3, 4, 2)  # n i j r k'
        d1 = np.ascontiguousarray(d1).reshape(-1, r * m)
        dc = (x.reshape(-1, m).T @ d1).reshape(m, r, m).transpose(1, 0, 2)
        dx = d1 @ c.transpose(1, 0, 2).reshape(m, r * m).T
        return dx.reshape(x.shape), da, db, dc

    def with_torch(torch: Any, x: Any, a: Any, b: Any, c: Any) -> Any:
        t = torch.tensordot(x, c, ([3], [1]))
        t = torch.tensordot(t, b, ([2, 3], [1, 3]))
        return torch.tensordot(t, a, ([1, 3], [0, 2])).permute(0, 3, 2, 1)

    # a[i,i',s], b[s,j,j',r], c[r,k,k'] with the middle core's axes as s, j, j', r
    return _row(
        "tensor train, three cores",
        "y[n,p,q,t] = A[i,p,s] * B[s,j,q,r] * C[r,k,t] * x[n,i,j,k]",
        "nijk,ips,sjqr,rkt->npqt",
        {"x": (batch, m, m, m), "A": (m, m, r), "B": (r, m, m, r), "C": (r, m, m)},
        2 * batch * m**3 * (m * r + m * r * r + m * r),
        lambda *given: by_hand(*given)[0],
        backward,
        forward,
        with_torch,
    )


# -- attention -----------------------------------------------------------------------------------------------


def attention(batch: int, time: int, heads: int, width: int) -> Workload:
    """softmax(q k / sqrt(d)) v, heads as an axis behind time."""
    scale = 1 / sqrt(width)

    def softmax(q: Array, k: Array) -> Array:
        s: Array = np.matmul(q.transpose(0, 2, 1, 3), k.transpose(0, 2, 3, 1))
        s *= scale
        s -= s.max(axis=-1, keepdims=True)
        np.exp(s, out=s)
        s /= s.sum(axis=-1, keepdims=True)
        return s

    kept: list[Array] = [np.empty(0)]

    def forward(q: Array, k: Array, v: Array) -> Array:
        kept[0] = softmax(q, k)
        y: Array = np.matmul(kept[0], v.transpose(0, 2, 1, 3))
        return y.transpose(0, 2, 1, 3)

    def backward(dy: Array, _y: Array, q: Array, k: Array, v: Array) -> Sequence[Array]:
        p, d = kept[0], dy.transpose(0, 2, 1, 3)
        dv = np.matmul(p.swapaxes(2, 3), d)
        ds = np.matmul(d, v.transpose(0, 2, 3, 1))
        ds -= np.einsum("bhtu,bhtu->bht", p, ds)[..., None]
        ds *= p
        ds *= scale
        dq = np.matmul(ds, k.transpose(0, 2, 1, 3))
        dk = np.matmul(ds.swapaxes(2, 3), q.transpose(0, 2, 1, 3))
        return dq.transpose(0, 2, 1, 3), dk.transpose(0, 2, 1, 3), dv.transpose(0, 2, 1, 3)

    def generic(xp: Any, q: Any, k: Any, v: Any) -> Any:
        s = xp.matmul(xp.transpose(q, (0, 2, 1, 3)), xp.transpose(k, (0, 2, 3, 1))) * scale
        e = xp.exp(s - xp.max(s, axis=-1, keepdims=True))
        p = e / xp.sum(e, axis=-1, keepdims=True)
        return xp.transpose(xp.matmul(p, xp.transpose(v, (0, 2, 1, 3))), (0, 2, 1, 3))

    def written(q: Array, k: Array, v: Array) -> Array:
        s = np.einsum("bthd,buhd->bhtu", q, k, optimize=True) * scale
        e = np.exp(s - s.max(axis=-1, keepdims=True))
        kept[0] = e / e.sum(axis=-1, keepdims=True)
        y: Array = np.einsum("bhtu,buhf->bthf", kept[0], v, optimize=True)
        return y

    def written_back(dy: Array, _y: Array, q: Array, k: Array, v: Array) -> Sequence[Array]:
        p = kept[0]
        dp = np.einsum("bthf,buhf->bhtu", dy, v, optimize=True)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
        dq = np.einsum("bhtu,buhd->bthd", ds, k, optimize=True)
        dk = np.einsum("bhtu,bthd->buhd", ds, q, optimize=True)
        return dq, dk, np.einsum("bhtu,bthf->buhf", p, dy, optimize=True)

    def with_torch(torch: Any, q: Any, k: Any, v: Any) -> Any:
        heads_first = (a.transpose(1, 2) for a in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(*heads_first).transpose(1, 2)

    shape = (batch, time, heads, width)
    return Workload(
        f"attention {time} tokens",
        normals({"q": shape, "k": shape, "v": shape}),
        shape,
        {
            "indexlang": equations("sequences.idx", layer="attention"),
            "numpy": in_numpy(forward, backward),
            "einsum": in_numpy(written, written_back),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(with_torch),
        },
        flops=4 * prod(shape) * time,
    )


WORKLOADS = (
    _matmul("matmul 768", 768, 768, 768),
    _matmul("matmul 64x4096 by 4096x512", 64, 4096, 512),
    _batched(128, 64),
    _chain(1024, 1024, 1024, 16),
    _bilinear(256, 64, 64, 64),
    _tensor_train(64, 16, 8),
    attention(4, 128, 8, 64),
    attention(1, 512, 8, 64),
)
