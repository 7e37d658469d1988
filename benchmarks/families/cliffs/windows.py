"""Windows: convolutions with masks, gates, functions and positions of their own, and pools."""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...workload import Array
from .row import Row


def taps(x: Array, rows: int, columns: int, stride: int = 1) -> Iterator[tuple[int, int, Array]]:
    """What each position of a kernel sees of [batch, rows, columns, ...]."""
    height, width = (x.shape[1] - rows) // stride + 1, (x.shape[2] - columns) // stride + 1
    for u in range(rows):
        for v in range(columns):
            yield u, v, x[:, u : u + stride * height : stride, v : v + stride * width : stride]


def conv(W: Array, x: Array, stride: int = 1) -> Any:
    """Windows unfolded, one product."""
    r, s, c, o = W.shape
    windows = np.moveaxis(sliding_window_view(x, (r, s), axis=(1, 2))[:, ::stride, ::stride], 3, 5)
    return (windows.reshape(-1, r * s * c) @ W.reshape(-1, o)).reshape(*windows.shape[:3], o)


def masked(W: Array, x: Array) -> Any:
    return conv(W * (np.arange(3)[:, None] * 3 + np.arange(3) < 5)[..., None, None], x)


def grouped(W: Array, x: Array) -> Any:
    c, g = W.shape[2:4]
    parts = [conv(W[:, :, :, k], x[..., k * c : (k + 1) * c]) for k in range(g)]
    return np.stack(parts, axis=3)


def transposed(W: Array, x: Array) -> Any:
    b, i, j, _ = x.shape
    r, s, _, o = W.shape
    y = np.zeros((b, 2 * i + r - 2, 2 * j + s - 2, o), x.dtype)
    for u in range(r):
        for v in range(s):
            y[:, u : u + 2 * i : 2, v : v + 2 * j : 2] += x @ W[u, v]
    return y


def separable(D: Array, P: Array, x: Array) -> Any:
    return sum(D[u, v] * part for u, v, part in taps(x, *D.shape[:2])) @ P


def passes(a: Array, b: Array, x: Array) -> Any:
    across = sum(b[v] * x[:, v : x.shape[1] - len(b) + 1 + v] for v in range(len(b)))
    return sum(a[u] * across[u : len(x) - len(a) + 1 + u] for u in range(len(a)))


def dynamic(K: Array, x: Array) -> Any:
    n = K.shape[1]
    return sum(K[:, :, u, None] * x[:, u : u + n] for u in range(K.shape[2]))


def involved(K: Array, x: Array) -> Any:
    b, i, j, r, s, g = K.shape
    xs = x.reshape(*x.shape[:3], g, -1)
    y = sum(K[:, :, :, u, v, :, None] * part for u, v, part in taps(xs, r, s))
    return np.reshape(y, (b, i, j, -1))


def deformed(W: Array, x: Array, f: Array) -> Any:
    b, n, w = f.shape
    at = np.minimum(np.arange(n)[:, None] + np.arange(w) + f, x.shape[1] - 1)
    found = x[np.arange(b)[:, None, None], at]
    return (found.reshape(b * n, -1) @ W.reshape(-1, W.shape[2])).reshape(b, n, -1)


def sampled(x: Array, p: Array, w: Array) -> Any:
    w = w[:, None]
    return (1 - w) * x[p] + w * x[p + 1]


def dilated(W: Array, x: Array) -> Any:
    t, last = x.shape[1], len(W) - 1
    padded = np.pad(x, ((0, 0), (4 * last, 0), (0, 0)))
    return sum(padded[:, 4 * (last - k) : 4 * (last - k) + t] @ W[k] for k in range(len(W)))


def contrast(w: Array, x: Array) -> Any:
    centre = x[:, 1:-1, 1:-1]
    return sum(w[u, v] * np.abs(part - centre) for u, v, part in taps(x, 3, 3))


def bilateral(x: Array) -> Any:
    centre = x[:, 2:-2, 2:-2]
    total = weight = 0
    for _, _, part in taps(x, 5, 5):
        e = np.exp(-((part - centre) ** 2))
        total, weight = total + e * part, weight + e
    return total / weight


def dilation(w: Array, x: Array) -> Any:
    parts = (part + w[u, v] for u, v, part in taps(x, *w.shape[:2]))
    y = next(parts)
    for part in parts:
        np.maximum(y, part, out=y)
    return y


def pooled(x: Array, size: int, stride: int, combine: Callable[..., Array] = np.maximum) -> Any:
    parts = (part for _, _, part in taps(x, size, size, stride))
    y = next(parts).copy()
    for part in parts:
        combine(y, part, out=y)
    return y


def softpooled(x: Array) -> Any:
    top = pooled(x, 2, 2)
    return top + np.log(sum(np.exp(part - top) for _, _, part in taps(x, 2, 2, 2)))


def spread(x: Array) -> Any:
    parts = [part for _, _, part in taps(x, 3, 3)]
    mean = sum(parts) / 9
    return sum((part - mean) ** 2 for part in parts) / 9


def ranged(x: Array) -> Any:
    padded = np.pad(x**2, ((0, 0), (2, 2)))
    n = x.shape[1]
    return x / (1 + sum(padded[:, d : d + n] for d in range(5))) ** 0.75


def in_torch(call: str, **options: Any) -> Callable[..., Any]:
    """A function of PyTorch on images, channels last."""

    def f(torch: Any, *given: Any) -> Any:
        image = given[-1].movedim(-1, 1)
        kernel = [W.movedim((-1, -2), (0, 1)) for W in given[:-1]]
        return getattr(torch.nn.functional, call)(image, *kernel, **options).movedim(1, -1)

    return f


IMAGE = {"b": 8, "i": 16, "j": 16, "c": 32, "o": 32}
TINY = {"b": 2, "i": 4, "j": 3, "c": 3, "o": 2}
KX, KOUT = "W[3,3,c,o] x[b,i+2,j+2,c]", "b,i,j,o"
WIDE = {"b": 4, "i": 64, "j": 64, "c": 16}
SIGNAL, SHORT = {"b": 8, "t": 512, "u": 7, "c": 64, "o": 64}, {"b": 2, "t": 9, "u": 3, "c": 3, "o": 2}
RELU = "relu(x[b,i+u,j+v,c])"

ROWS = (
    Row("convolution", "y[b,i,j,o] = W[u,v,c,o]*x[b,i+u,j+v,c]", KX, KOUT, IMAGE, "b", TINY, conv,
        in_torch("conv2d")),
    Row("convolution of relu", f"y[b,i,j,o] = W[u,v,c,o]*{RELU}", KX, KOUT, IMAGE, "b", TINY,
        lambda W, x: conv(W, np.maximum(x, 0))),
    Row("convolution of relu, scaled and shifted",
        "y[b,i,j,o] = W[u,v,c,o]*relu(x[b,i+u,j+v,c]*g[c] + h[c])", KX + " g[c] h[c]", KOUT, IMAGE, "b", TINY,
        lambda W, x, g, h: conv(W, np.maximum(x * g + h, 0))),
    Row("convolution of tanh, stride 2", "y[b,i,j,o] = W[u,v,c,o]*tanh(x[b,2*i+u,2*j+v,c])",
        "W[3,3,c,o] x[b,2*i+1,2*j+1,c]", KOUT, IMAGE, "b", TINY, lambda W, x: conv(W, np.tanh(x), 2)),
    Row("convolution, taps masked", "y[b,i,j,o] = W[u,v,c,o]*x[b,i+u,j+v,c] where 3*u+v < 5", KX, KOUT, IMAGE, "b",
        TINY, masked),
    Row("convolution, positions weighed", "y[b,i,j,o] = W[u,v,c,o]*x[b,i+u,j+v,c]*m[b,i+u,j+v]",
        KX + " m[b,i+2,j+2]", KOUT, IMAGE, "b", TINY, lambda W, x, m: conv(W, x * m[..., None])),
    Row("convolution, channels gated", "y[b,i,j,o] = W[u,v,c,o]*where(g[b,c]>0, x[b,i+u,j+v,c], 0)", KX + " g[b,c]",
        KOUT, IMAGE, "b", TINY, lambda W, x, g: conv(W, np.where(g[:, None, None] > 0, x, 0))),
    Row("convolution in groups", "y[b,i,j,g,o] = W[u,v,c,g,o]*x[b,i+u,j+v,(g,c)]", "W[3,3,c,4,o] x[b,i+2,j+2,4*c]",
        "b,i,j,4,o", {**IMAGE, "c": 8, "o": 8}, "b", TINY, grouped),
    Row("transposed convolution", "y[b,2*i+u,2*j+v,o] = W[u,v,c,o]*x[b,i,j,c]", "W[3,3,c,o] x[b,i,j,c]",
        "b,2*i+1,2*j+1,o", IMAGE, "b", TINY, transposed),
    Row("separable convolution", "y[b,i,j,o] = D[u,v,c]*P[c,o]*x[b,i+u,j+v,c]", "D[3,3,c] P[c,o] x[b,i+2,j+2,c]",
        KOUT, IMAGE, "b", TINY, separable),
    Row("separable filter", "y[i,j] = a[u]*b[v]*x[i+u,j+v]", "a[9] b[9] x[i+8,j+8]", "i,j", {"i": 256, "j": 256}, "i",
        {"i": 4, "j": 5}, passes),
    Row("dynamic convolution", "y[b,t,c] = K[b,t,u]*x[b,t+u,c]", "K[b,t,u] x[b,t+u-1,c]", "b,t,c", SIGNAL, "t", SHORT,
        dynamic),
    Row("involution", "y[b,i,j,(g,c)] = K[b,i,j,u,v,g]*x[b,i+u,j+v,(g,c)]", "K[b,i,j,3,3,4] x[b,i+2,j+2,4*c]",
        "b,i,j,4*c", {**IMAGE, "c": 8}, "b", TINY, involved),
    Row("deformable convolution", "y[b,i,o] = W[u,c,o]*x[b,clamp(i+u+f[b,i,u]),c]", "W[u,c,o] x[b,t+u-1,c] f[b,t,u]<n",
        "b,t,o", {**SIGNAL, "u": 3, "c": 32, "o": 32, "n": 5}, "t", {**SHORT, "n": 3}, deformed),
    Row("sampling between positions", "y[i,c] = (1 - w[i])*x[p[i],c] + w[i]*x[p[i]+1,c]", "w[n] x[m+1,c] p[n]<m",
        "n,c", {"n": 4096, "m": 4096, "c": 32}, "n m", {"n": 5, "m": 6, "c": 2},
        lambda w, x, p: sampled(x, p, w)),
    Row("causal convolution, dilated", "y[b,t,o] = W[k,c,o]*x[b,t-4*k,c] where 4*k <= t, t < {t}", "W[3,c,o] x[b,t,c]",
        "b,t,o", SIGNAL, "t", SHORT, dilated),
    Row("convolution, result gated", "y[b,t,o] = W[u,c,o]*x[b,t+u,c]*g[b,t,o]", "W[u,c,o] x[b,t+u-1,c] g[b,t,o]",
        "b,t,o", {**SIGNAL, "u": 3}, "t", SHORT,
        lambda W, x, g: sum(x[:, u : u + g.shape[1]] @ W[u] for u in range(len(W))) * g),
    Row("contrast in a window", "y[b,i,j,c] = w[u,v]*abs(x[b,i+u,j+v,c] - x[b,i+1,j+1,c])", "w[3,3] x[b,i+2,j+2,c]",
        "b,i,j,c", {**WIDE, "b": 1}, "b", TINY, contrast),
    Row("bilateral window", "e[b,i,j,c,u,v] = exp(-(x[b,i+u,j+v,c] - x[b,i+2,j+2,c])**2) where u < 5, v < 5\n"
        "z[b,i,j,c] = e[b,i,j,c,u,v]\ny[b,i,j,c] = e[b,i,j,c,u,v]*x[b,i+u,j+v,c] / z[b,i,j,c]", "x[b,i+4,j+4,c]",
        "b,i,j,c", {"b": 1, "i": 64, "j": 64, "c": 4}, "b", TINY, bilateral),
    Row("dilation by a window", "y[b,i,j,c] max= x[b,i+u,j+v,c] + w[u,v,c]", "w[3,3,c] x[b,i+2,j+2,c]", "b,i,j,c",
        {**WIDE, "b": 1}, "b", TINY, dilation),
    Row("maximum of windows", "y[b,i,j,c] max= x[b,2*i+u,2*j+v,c] where u < 3, v < 3", "x[b,2*i+1,2*j+1,c]",
        "b,i,j,c", {**WIDE, "i": 32, "j": 32}, "b", TINY, lambda x: pooled(x, 3, 2)),
    Row("mean of windows", "y[b,i,j,c] = x[b,2*i+u,2*j+v,c]/4 where u < 2, v < 2", "x[b,2*i,2*j,c]", "b,i,j,c",
        {**WIDE, "i": 32, "j": 32}, "b", TINY, lambda x: pooled(x, 2, 2, np.add) / 4),
    Row("logarithm of sums in windows", "y[b,i,j,c] = logsumexp[u,v](x[b,2*i+u,2*j+v,c]) where u < 2, v < 2",
        "x[b,2*i,2*j,c]", "b,i,j,c", {**WIDE, "b": 1}, "b", TINY, softpooled),
    Row("variance in windows", "m[b,i,j,c] = x[b,i+u,j+v,c]/9 where u < 3, v < 3\n"
        "y[b,i,j,c] = (x[b,i+u,j+v,c] - m[b,i,j,c])**2/9 where u < 3, v < 3", "x[b,i+2,j+2,c]", "b,i,j,c",
        {**WIDE, "b": 1}, "b", TINY, spread),
    Row("normalised by near channels", "s[n,c] = x[n,pad(c+d,2)]**2 where d < 5\ny[n,c] = x[n,c] / (1 + s[n,c])**0.75",
        "x[n,c]", "n,c", {"n": 1024, "c": 64}, "n", {"n": 4, "c": 7}, ranged),
)  # fmt: skip
