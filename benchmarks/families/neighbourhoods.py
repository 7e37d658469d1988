"""Layers that look at the neighbourhood of each position: frameworks unfold it into large tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..libraries import by_hand, equations, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Normal, Workload, normals

SHIFTS = [(r, s) for r in range(3) for s in range(3)]


# -- local attention -----------------------------------------------------------------------------------------


def _local_attention() -> Workload:
    b, h, w, n, d = shape = (2, 32, 32, 4, 32)
    scale = np.float32(d**-0.5)
    rim = ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0))
    outside = np.pad(np.zeros((h, w), np.float32), 1, constant_values=-np.inf)
    mask = np.stack([outside[r : r + h, s : s + w] for r, s in SHIFTS], axis=-1)[:, :, None]  # h w 1 9

    def generic(xp: Any, q: Any, k: Any, v: Any) -> Any:
        near_k, near_v = (
            [p[:, r : r + h, s : s + w] for r, s in SHIFTS] for p in (xp.pad(a, rim, "constant") for a in (k, v))
        )
        logits = xp.stack([xp.sum(q * kk, axis=-1) for kk in near_k], -1) * scale + mask
        e = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
        p = e / xp.sum(e, axis=-1, keepdims=True)
        parts = [p[..., t : t + 1] * vv for t, vv in enumerate(near_v)]
        return sum(parts[1:], parts[0])

    class Hand:
        def __init__(self, *_: Array) -> None:
            self.k, self.v, self.dk, self.dv = (np.zeros((b, h + 2, w + 2, n, d), np.float32) for _ in range(4))

        def near(self, a: Array) -> list[Array]:
            return [a[:, r : r + h, s : s + w] for r, s in SHIFTS]

        def forward(self, q: Array, k: Array, v: Array) -> Array:
            self.q = q
            self.k[:, 1:-1, 1:-1], self.v[:, 1:-1, 1:-1] = k, v
            p = np.empty((b, h, w, n, 9), np.float32)
            for t, kk in enumerate(self.near(self.k)):
                np.einsum("bhwnd,bhwnd->bhwn", q, kk, out=p[..., t])
            p *= scale
            p += mask
            p -= p.max(axis=-1, keepdims=True)
            np.exp(p, out=p)
            p /= p.sum(axis=-1, keepdims=True)
            self.p = p
            y = np.zeros(shape, np.float32)
            for t, vv in enumerate(self.near(self.v)):
                y += p[..., t, None] * vv
            return y

        def backward(self, dy: Array) -> Sequence[Array]:
            ds = np.empty_like(self.p)
            self.dk[...], self.dv[...] = 0, 0
            for t, (vv, dv) in enumerate(zip(self.near(self.v), self.near(self.dv), strict=True)):
                np.einsum("bhwnd,bhwnd->bhwn", dy, vv, out=ds[..., t])
                dv += self.p[..., t, None] * dy
            ds -= np.einsum("bhwnt,bhwnt->bhwn", ds, self.p)[..., None]
            ds *= self.p
            ds *= scale
            dq = np.zeros(shape, np.float32)
            for t, (kk, dk) in enumerate(zip(self.near(self.k), self.near(self.dk), strict=True)):
                dq += ds[..., t, None] * kk
                dk += ds[..., t, None] * self.q
            return dq, self.dk[:, 1:-1, 1:-1], self.dv[:, 1:-1, 1:-1]

    def in_torch(torch: Any, q: Any, k: Any, v: Any) -> Any:
        padded = (torch.nn.functional.pad(a, (0, 0, 0, 0, 1, 1, 1, 1)) for a in (k, v))
        kk, vv = (a.unfold(1, 3, 1).unfold(2, 3, 1).reshape(b, h, w, n, d, 9) for a in padded)
        logits = torch.matmul(q[..., None, :], kk)[..., 0, :] * scale + torch.from_numpy(mask)
        return torch.matmul(vv, torch.softmax(logits, -1)[..., None])[..., 0]

    return Workload(
        "local attention 3x3",
        normals({"q": shape, "k": shape, "v": shape}),
        shape,
        {
            "indexlang": equations("neighbourhoods.idx", layer="local_attention2d", reach=1),
            "numpy": by_hand(Hand),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch),
        },
        flops=4 * b * h * w * n * d * 9,
    )


# -- correlation ---------------------------------------------------------------------------------------------


def _correlation() -> Workload:
    (b, h, w, c), reach = (2, 32, 32, 64), 3
    shape, side = (b, h, w, c), 2 * reach + 1
    shifts = [(r, s) for r in range(side) for s in range(side)]
    rim = ((0, 0), (reach, reach), (reach, reach), (0, 0))

    def forward(f: Array, g: Array) -> Array:
        y, padded = np.empty((b, h, w, side, side), np.float32), np.pad(g, rim)
        for r, s in shifts:
            np.einsum("bhwc,bhwc->bhw", f, padded[:, r : r + h, s : s + w], out=y[..., r, s])
        y /= c
        return y

    def written(f: Array, g: Array) -> Array:
        near = np.lib.stride_tricks.sliding_window_view(np.pad(g, rim), (side, side), axis=(1, 2))
        y: Array = np.einsum("bhwc,bhwcrs->bhwrs", f, near, optimize=True) / c
        return y

    def written_back(dy: Array, _y: Array, f: Array, g: Array) -> list[Array]:
        padded = np.pad(g, rim)
        near = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
        df = np.einsum("bhwrs,bhwcrs->bhwc", dy, near, optimize=True) / c
        dg = np.zeros_like(padded)
        for r, s in shifts:
            dg[:, r : r + h, s : s + w] += np.einsum("bhw,bhwc->bhwc", dy[..., r, s], f, optimize=True) / c
        return [df, dg[:, reach:-reach, reach:-reach]]

    def backward(dy: Array, _y: Array, f: Array, g: Array) -> list[Array]:
        padded, scaled = np.pad(g, rim), dy / np.float32(c)
        df, dg = np.zeros_like(f), np.zeros_like(padded)
        for r, s in shifts:
            cut = (slice(None), slice(r, r + h), slice(s, s + w))
            df += scaled[..., r, s, None] * padded[cut]
            dg[cut] += scaled[..., r, s, None] * f
        return [df, dg[:, reach:-reach, reach:-reach]]

    def generic(xp: Any, f: Any, g: Any) -> Any:
        padded = xp.pad(g, rim, "constant")
        parts = [xp.sum(f * padded[:, r : r + h, s : s + w], axis=-1) for r, s in shifts]
        return xp.reshape(xp.stack(parts, -1), (b, h, w, side, side)) / c

    def in_torch(torch: Any, f: Any, g: Any) -> Any:
        padded = torch.nn.functional.pad(g, (0, 0, reach, reach, reach, reach))
        near = padded.unfold(1, side, 1).unfold(2, side, 1).reshape(b, h, w, c, side * side)
        return torch.matmul(f[..., None, :], near).view(b, h, w, side, side) / c

    return Workload(
        "correlation volume 7x7",
        normals({"f": shape, "g": shape}),
        (b, h, w, side, side),
        {
            "indexlang": equations("neighbourhoods.idx", layer="correlation", reach=reach),
            "numpy": in_numpy(forward, backward),
            "einsum": in_numpy(written, written_back),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch),
        },
        flops=2 * b * h * w * c * side * side,
    )


# -- locally connected ---------------------------------------------------------------------------------------


def _locally_connected() -> Workload:
    b, h, c, o = 16, 16, 16, 32
    i, x, kernel = h - 2, (16, 16, 16, 16), (14, 14, 3, 3, 16, 32)

    def windows(x: Array) -> Array:
        found = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))  # b i j c r s
        return np.ascontiguousarray(found.transpose(1, 2, 0, 4, 5, 3)).reshape(i * i, b, 9 * c)

    def forward(x: Array, kernel: Array) -> Array:
        y: Array = np.matmul(windows(x), kernel.reshape(i * i, 9 * c, o))
        return y.reshape(i, i, b, o).transpose(2, 0, 1, 3)

    def backward(dy: Array, _y: Array, x: Array, kernel: Array) -> list[Array]:
        d = np.ascontiguousarray(dy.transpose(1, 2, 0, 3)).reshape(i * i, b, o)
        dk = np.matmul(windows(x).swapaxes(1, 2), d).reshape(kernel.shape)
        dw = np.matmul(d, kernel.reshape(i * i, 9 * c, o).swapaxes(1, 2)).reshape(i, i, b, 3, 3, c)
        dx = np.zeros((h, h, b, c), np.float32)
        for r, s in SHIFTS:
            dx[r : r + i, s : s + i] += dw[:, :, :, r, s]
        return [dx.transpose(2, 0, 1, 3), dk]

    def written(x: Array, kernel: Array) -> Array:
        near = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        y: Array = np.einsum("bijcrs,ijrsco->bijo", near, kernel, optimize=True)
        return y

    def written_back(dy: Array, _y: Array, x: Array, kernel: Array) -> list[Array]:
        near = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        dx = np.zeros_like(x)
        for r, s in SHIFTS:
            dx[:, r : r + i, s : s + i] += np.einsum("bijo,ijco->bijc", dy, kernel[:, :, r, s], optimize=True)
        return [dx, np.einsum("bijcrs,bijo->ijrsco", near, dy, optimize=True)]

    def generic(xp: Any, x: Any, kernel: Any) -> Any:
        near = xp.stack([x[:, r : r + i, s : s + i] for r, s in SHIFTS], 3)  # b i j 9 c
        return xp.einsum("bijtc,ijtco->bijo", near, xp.reshape(kernel, (i, i, 9, c, o)))

    def in_torch(torch: Any, x: Any, kernel: Any) -> Any:
        near = x.unfold(1, 3, 1).unfold(2, 3, 1).permute(1, 2, 0, 4, 5, 3).reshape(i * i, b, 9 * c)
        return torch.bmm(near, kernel.reshape(i * i, 9 * c, o)).view(i, i, b, o).permute(2, 0, 1, 3)

    return Workload(
        "locally connected 3x3",
        normals({"x": x, "K": kernel}),
        (b, i, i, o),
        {
            "indexlang": equations("y[b,i,j,o] = K[i,j,r,s,c,o] * x[b,i+r,j+s,c]"),
            "numpy": in_numpy(forward, backward),
            "einsum": in_numpy(written, written_back),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch),
        },
        flops=2 * b * i * i * 9 * c * o,
    )


# -- bilateral filter ----------------------------------------------------------------------------------------


def _bilateral() -> Workload:
    b, h, w, c, reach = 1, 128, 128, 3, 2
    near, alike = 1.0, 0.5
    shifts = [(r, s) for r in range(5) for s in range(5)]
    fixed = {(r, s): ((r - reach) ** 2 + (s - reach) ** 2) / (2 * near**2) for r, s in shifts}
    rim = ((0, 0), (reach, reach), (reach, reach), (0, 0))

    def generic(xp: Any, x: Any) -> Any:
        rows, columns = (np.clip(np.arange(-reach, n + reach), 0, n - 1) for n in (h, w))
        padded = x[:, rows][:, :, columns]
        total: Any = 0.0
        weight: Any = 0.0
        for r, s in shifts:
            there = padded[:, r : r + h, s : s + w]
            k = xp.exp(-fixed[r, s] - xp.sum((x - there) ** 2, axis=-1) / (2 * alike**2))
            total, weight = total + k[..., None] * there, weight + k
        return total / weight[..., None]

    class Hand:
        def __init__(self, x: Array) -> None:
            self.weights = np.empty((25, b, h, w), np.float32)

        def forward(self, x: Array) -> Array:
            self.x, self.padded = x, np.pad(x, rim, "edge")
            total = np.zeros_like(x)
            for k, (r, s) in zip(self.weights, shifts, strict=True):
                there = self.padded[:, r : r + h, s : s + w]
                gap = x - there
                np.einsum("bhwc,bhwc->bhw", gap, gap, out=k)
                k *= np.float32(-1 / (2 * alike**2))
                k -= np.float32(fixed[r, s])
                np.exp(k, out=k)
                total += k[..., None] * there
            self.weight = self.weights.sum(axis=0)[..., None]
            y: Array = total / self.weight
            self.y = y
            return y

        def backward(self, dy: Array) -> Sequence[Array]:
            dt = dy / self.weight
            dw = -np.einsum("bhwc,bhwc->bhw", dt, self.y)
            dx, dp = np.zeros_like(self.x), np.zeros_like(self.padded)
            for k, (r, s) in zip(self.weights, shifts, strict=True):
                cut = (slice(None), slice(r, r + h), slice(s, s + w))
                there = self.padded[cut]
                dk = np.einsum("bhwc,bhwc->bhw", dt, there)
                dk += dw
                dk *= k
                dk *= np.float32(-1 / alike**2)
                gap = dk[..., None] * (self.x - there)
                dx += gap
                dp[cut] += k[..., None] * dt - gap
            for axis in (1, 2):  # the rim repeats the edge
                dp = np.moveaxis(dp, axis, 0)
                dp[reach] += dp[:reach].sum(axis=0)
                dp[-reach - 1] += dp[-reach:].sum(axis=0)
                dp = np.moveaxis(dp[reach:-reach], 0, axis)
            return [dx + dp]

    def in_torch(torch: Any, x: Any) -> Any:
        first = torch.nn.functional.pad(x.permute(0, 3, 1, 2), (reach,) * 4, mode="replicate")
        near = first.unfold(2, 5, 1).unfold(3, 5, 1)  # b c h w 5 5
        grid = torch.tensor([[fixed[r, s] for s in range(5)] for r in range(5)])
        gap = (x.permute(0, 3, 1, 2)[..., None, None] - near) ** 2
        k = torch.exp(-grid - gap.sum(1) / (2 * alike**2))
        return ((k[:, None] * near).sum((4, 5)) / k.sum((3, 4))[:, None]).permute(0, 2, 3, 1)

    return Workload(
        "bilateral filter 5x5",
        {"x": Normal((b, h, w, c), 0.5)},
        (b, h, w, c),
        {
            "indexlang": equations("neighbourhoods.idx", layer="bilateral", reach=reach, near=near, alike=alike),
            "numpy": by_hand(Hand),
            "autograd": taped(generic),
            "jax": jitted(generic),
            **torch_peers(in_torch),
        },
        flops=b * h * w * 25 * (6 * c + 3),
    )


ROWS = (_local_attention(), _correlation(), _locally_connected(), _bilateral())
