"""What the standard layers compute, in plain NumPy and loops; arrays are called as the layers call their tensors."""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def conv(
    x: Array,
    K: Array,
    bias: Array | None = None,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[tuple[int, int]] = 0,
    groups: int = 1,
    mode: Any = "constant",
) -> Array:
    """A convolution over any number of axes: pad, then a product of each window with the kernel."""
    axes = K.ndim - 2
    pads = [(padding, padding)] * axes if isinstance(padding, int) else list(padding)
    s, d = per_axis(stride, axes), per_axis(dilation, axes)
    x = np.pad(x, [(0, 0), *pads, (0, 0)], mode=mode)
    size = [(n - dd * (k - 1) - 1) // ss + 1 for n, k, ss, dd in zip(x.shape[1:], K.shape, s, d, strict=False)]
    inside, outside = K.shape[-2], K.shape[-1] // groups
    y = np.zeros((len(x), *size, K.shape[-1]))
    for at in np.ndindex(*size):
        rows = [ss * a + dd * np.arange(k) for a, ss, dd, k in zip(at, s, d, K.shape, strict=False)]
        window = x[np.ix_(np.arange(len(x)), *rows, np.arange(x.shape[-1]))]
        for g in range(groups):
            part = window[..., g * inside : (g + 1) * inside].reshape(len(x), -1)
            kernel = K[..., g * outside : (g + 1) * outside].reshape(-1, outside)
            y[(slice(None), *at, slice(g * outside, (g + 1) * outside))] = part @ kernel
    return y if bias is None else y + bias


def conv_same(x: Array, K: Array, bias: Array, stride: int = 1, dilation: int = 1) -> Array:
    pads = []
    for n, k in zip(x.shape[1:3], K.shape, strict=False):
        missing = max((-(-n // stride) - 1) * stride + dilation * (k - 1) + 1 - n, 0)
        pads.append((missing // 2, missing - missing // 2))
    return conv(x, K, bias, stride=stride, dilation=dilation, padding=pads)


def conv_transpose(
    x: Array,
    K: Array,
    bias: Array,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    groups: int = 1,
) -> Array:
    """Each element of x sends its multiple of the kernel; then the rim is cut off."""
    inside, outside = x.shape[3] // groups, K.shape[3]
    size = [
        stride * (n - 1) + dilation * (k - 1) + 1 + output_padding for n, k in zip(x.shape[1:3], K.shape, strict=False)
    ]
    y = np.zeros((len(x), *size, groups * outside))
    for i, j, r, s, g in np.ndindex(*x.shape[1:3], *K.shape[:2], groups):
        mine = slice(g * inside, (g + 1) * inside)
        sent = x[:, i, j, mine] @ K[r, s, mine]
        y[:, stride * i + dilation * r, stride * j + dilation * s, g * outside : (g + 1) * outside] += sent
    return y[:, padding : size[0] - padding, padding : size[1] - padding] + bias


def depthwise(x: Array, K: Array, **options: Any) -> Array:
    """Each channel by itself."""
    parts = [conv(x[..., [c]], K[:, :, [c], :], **options) for c in range(x.shape[3])]
    return np.concatenate(parts, axis=3)


@dataclass(frozen=True)
class Pool:
    """Windows as torch.nn describes them, found by walking along the axes."""

    window: int | tuple[int, int]
    stride: int | tuple[int, int] | None = None
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    ceil_mode: bool = False

    def axes(self, shape: Sequence[int]) -> list[list[range]]:
        """For each axis its windows, the positions counted from the padding's start."""
        found = []
        stride = self.window if self.stride is None else self.stride
        per = (per_axis(v, 2) for v in (self.window, stride, self.padding, self.dilation))
        for n, w, s, p, d in zip(shape, *per, strict=True):
            end, windows, start = n + 2 * p, [], 0
            while start + d * (w - 1) < end or (self.ceil_mode and start < n + p and start + d * (w - 1) - s < end - 1):
                windows.append(range(start - p, start - p + d * (w - 1) + 1, d))
                start += s
            found.append(windows)
        return found

    def max(self, x: Array) -> tuple[Array, Array]:
        rows, columns = self.axes(x.shape[1:3])
        y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
        indices = np.zeros(y.shape, np.int64)
        for b, i, j, c in np.ndindex(*y.shape):
            best = -np.inf
            for u, v in product(rows[i], columns[j]):
                if 0 <= u < x.shape[1] and 0 <= v < x.shape[2] and x[b, u, v, c] > best:
                    best = x[b, u, v, c]
                    indices[b, i, j, c] = u * x.shape[2] + v
            y[b, i, j, c] = best
        return y, indices

    def average(self, x: Array, count: str = "window") -> Array:
        """`count` is "window" (all positions), "padded" (those in image and padding) or "image"."""
        rows, columns = self.axes(x.shape[1:3])
        p, q = per_axis(self.padding, 2)
        y = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
        for i, j in np.ndindex(len(rows), len(columns)):
            inside = [(u, v) for u, v in product(rows[i], columns[j]) if 0 <= u < x.shape[1] and 0 <= v < x.shape[2]]
            padded = [(u, v) for u, v in product(rows[i], columns[j]) if u < x.shape[1] + p and v < x.shape[2] + q]
            number = {"window": len(rows[i]) * len(columns[j]), "padded": len(padded), "image": len(inside)}[count]
            y[:, i, j] = sum(x[:, u, v] for u, v in inside) / number
        return y


def softmax(s: Array) -> Array:
    e = np.exp(s - s.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def normalise(x: Array, axes: tuple[int, ...], eps: float = 1e-5) -> Array:
    return np.asarray((x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps))


def batchnorm(x: Array, gamma: Array, beta: Array) -> dict[str, Array]:
    axes = tuple(range(x.ndim - 1))
    return {"y": normalise(x, axes) * gamma + beta, "mu": x.mean(axes), "var": x.var(axes)}


def groupnorm(x: Array, gamma: Array, beta: Array, groups: int) -> Array:
    split = x.reshape(*x.shape[:3], groups, -1)
    return normalise(split, (1, 2, 4)).reshape(x.shape) * gamma + beta


def local_response_norm(x: Array, window: int, alpha: float, beta: float, k: float) -> Array:
    y = np.zeros_like(x)
    for c in range(x.shape[3]):
        near = x[..., max(0, c - window // 2) : c + (window - 1) // 2 + 1]
        y[..., c] = x[..., c] / (k + alpha / window * (near**2).sum(-1)) ** beta
    return y


def attention(q: Array, k: Array, v: Array, causal: bool = False) -> Array:
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        seen = t + 1 if causal else k.shape[1]
        p = softmax(k[b, :seen, h] @ q[b, t, h] / np.sqrt(q.shape[3]))
        y[b, t, h] = p @ v[b, :seen, h]
    return y


def multi_head(x: Array, Wq: Array, Wk: Array, Wv: Array, Wo: Array, causal: bool = False) -> Array:
    heads = [np.tensordot(x, W, 1) for W in (Wq, Wk, Wv)]
    return np.tensordot(attention(*heads, causal), Wo, 2)


def positional_encoding(x: Array, period: float = 10000) -> Array:
    y = x.copy()
    for t, e in np.ndindex(*x.shape[1:]):
        angle = t / period ** (2 * (e // 2) / x.shape[2])
        y[:, t, e] += np.cos(angle) if e % 2 else np.sin(angle)
    return y


def rnn(x: Array, h: Array, W: Array, U: Array, bias: Array) -> Array:
    states = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ W + h @ U + bias)
        states.append(h)
    return np.stack(states, 1)


def lstm(x: Array, h: Array, c: Array, W: Array, U: Array, bias: Array) -> dict[str, Array]:
    i, f, g, o = (x @ W[:, k] + h @ U[:, k] + bias[k] for k in range(4))
    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return {"h_next": sigmoid(o) * np.tanh(new), "c_next": new}


def gru(x: Array, h: Array, W: Array, U: Array, bias: Array, bias2: Array) -> Array:
    a = [x @ W[:, k] + bias[k] for k in range(3)]
    s = [h @ U[:, k] + bias2[k] for k in range(3)]
    r, z = sigmoid(a[0] + s[0]), sigmoid(a[1] + s[1])
    return np.asarray((1 - z) * np.tanh(a[2] + r * s[2]) + z * h)


def around(i: int, reach: int, n: int) -> list[tuple[int, int]]:
    """The neighbourhood of a position along an axis: numbers 0.. and the positions, those outside left out."""
    return [(r, i + r - reach) for r in range(2 * reach + 1) if 0 <= i + r - reach < n]


def local_attention(q: Array, k: Array, v: Array, reach: int) -> Array:
    y = np.zeros(v.shape)
    for b, i, j, n in np.ndindex(*q.shape[:4]):
        near = [(u, w) for (_, u), (_, w) in product(around(i, reach, q.shape[1]), around(j, reach, q.shape[2]))]
        p = softmax(np.array([q[b, i, j, n] @ k[b, u, w, n] / np.sqrt(q.shape[4]) for u, w in near]))
        y[b, i, j, n] = sum(p[m] * v[b, u, w, n] for m, (u, w) in enumerate(near))
    return y


def correlation(f: Array, g: Array, reach: int) -> Array:
    y = np.zeros((*f.shape[:3], 2 * reach + 1, 2 * reach + 1))
    for b, i, j in np.ndindex(*f.shape[:3]):
        for (r, u), (s, v) in product(around(i, reach, f.shape[1]), around(j, reach, f.shape[2])):
            y[b, i, j, r, s] = f[b, i, j] @ g[b, u, v] / f.shape[3]
    return y


def locally_connected(x: Array, K: Array, bias: Array, stride: int = 1) -> Array:
    y = np.array(np.broadcast_to(bias, (len(x), *bias.shape)))
    for i, j in np.ndindex(*K.shape[:2]):
        window = x[:, stride * i : stride * i + K.shape[2], stride * j : stride * j + K.shape[3]]
        y[:, i, j] += np.tensordot(window, K[i, j], 3)
    return y


def bilateral(x: Array, reach: int, near: float, alike: float) -> Array:
    y = np.zeros(x.shape)
    padded = np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="edge")
    for b, i, j in np.ndindex(*x.shape[:3]):
        total = 0.0
        for r, s in product(range(2 * reach + 1), repeat=2):
            other = padded[b, i + r, j + s]
            far = (r - reach) ** 2 + (s - reach) ** 2
            weight = np.exp(-far / (2 * near**2) - ((x[b, i, j] - other) ** 2).sum() / (2 * alike**2))
            y[b, i, j] += weight * other
            total += weight
        y[b, i, j] /= total
    return y


def im2col(x: Array, rows: int, columns: int, stride: int = 1, dilation: int = 1, padding: int = 0) -> Array:
    x = np.pad(x, [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    n = [(m - dilation * (k - 1) - 1) // stride + 1 for m, k in zip(x.shape[1:3], (rows, columns), strict=True)]
    parts = [
        x[:, dilation * r : dilation * r + stride * n[0] : stride, dilation * s : dilation * s + stride * n[1] : stride]
        for r, s in product(range(rows), range(columns))
    ]
    return np.concatenate([p[:, : n[0], : n[1]] for p in parts], axis=3)
