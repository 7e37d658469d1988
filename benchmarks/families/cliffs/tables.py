"""Tables and orders: one-hot and gathered rows, sums and maxima of all that came before, groups and normalisation."""
# ruff: noqa: N803

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...workload import Array
from .products import summed
from .row import Row


def counted(t: Array, w: Array, n: int) -> Any:
    return np.bincount(t, w, n).astype(w.dtype)


def crossed(a: Array, b: Array, w: Array, n: int) -> Any:
    return np.bincount(a * n + b, w, n * n).reshape(n, n).astype(w.dtype)


def before(x: Array, w: Array) -> Any:
    """y[i] = w[j] where x[j] <= x[i]: sorted, summed, looked up."""
    order = np.argsort(x)
    sums = np.cumsum(w[order])
    return sums[np.searchsorted(x[order], x, side="right") - 1]


def fading(x: Array, base: float) -> Any:
    """y[t] = base*y[t-1] + x[t]."""
    y = x.copy()
    for t in range(1, len(x)):
        y[t] += base * y[t - 1]
    return y


def ahead(x: Array, n: int) -> Any:
    """y[i] = x[i] + ... + x[i+n-1], as far as there are any."""
    return sliding_window_view(np.pad(x, (0, n - 1)), n).sum(axis=1)


def layernorm(x: Array, g: Array, h: Array) -> Any:
    d = x - x.mean(axis=1, keepdims=True)
    return d / np.sqrt((d * d).mean(axis=1, keepdims=True) + 1e-5) * g + h


def groupnorm(x: Array, groups: int) -> Any:
    xs = x.reshape(len(x), x.shape[1], groups, -1)
    d = xs - xs.mean(axis=(1, 3), keepdims=True)
    return (d / np.sqrt((d * d).mean(axis=(1, 3), keepdims=True) + 1e-5)).reshape(x.shape)


def bagged(E: Array, t: Array, n: Array) -> Any:
    mask = np.arange(t.shape[1]) < n[:, None]
    return (mask[:, None].astype(E.dtype) @ E[t])[:, 0]


def alike(x: Array, g: Array) -> Any:
    """What has the same number is summed, and read by each."""
    k = np.unique(g, return_inverse=True)[1]
    z = np.zeros((k.max() + 1, *x.shape[1:]), x.dtype)
    np.add.at(z, k, x)
    return z[k]


def greatest(x: Array, g: Array) -> Any:
    k = np.unique(g, return_inverse=True)[1]
    z = np.full(k.max() + 1, -np.inf, x.dtype)
    np.maximum.at(z, k, x)
    return z[k]


def standard(x: Array) -> Any:
    d = x - x.mean(axis=0)
    return d / np.sqrt((d * d).mean(axis=0) + 1e-5)


WORDS, FEW_WORDS = {"b": 4096, "v": 2000, "d": 64}, {"b": 9, "v": 7, "d": 3}
BAGS, FEW_BAGS = {"b": 512, "l": 16, "v": 2000, "d": 64}, {"b": 5, "l": 4, "v": 7, "d": 3}
MANY = {"n": 50000, "v": 256}
ROWS_OF = {"n": 1024, "c": 256}
LINE, SHORT = {"n": 8000}, {"n": 9}
GRID, SMALL_GRID = {"b": 32, "n": 2048}, {"b": 3, "n": 7}

ROWS = (
    Row("one-hot times a table", "y[b,d] = where(t[b]==v,1,0)*E[v,d]", "t[b]<v E[v,d]", "b,d", WORDS, "b", FEW_WORDS,
        lambda t, E: E[t]),
    Row("rows of a table", "y[b,d] = E[t[b],d]", "E[v,d] t[b]<v", "b,d", WORDS, "b", FEW_WORDS, lambda E, t: E[t],
        lambda torch, E, t: torch.nn.functional.embedding(t, E)),
    Row("one-hot in a score", "y[b] = where(t[b]==k,1,0)*s[b,k]", "t[b]<v s[b,v]", "b", {"b": 16384, "v": 1000}, "b",
        FEW_WORDS, lambda t, s: s[np.arange(len(s)), t]),
    Row("bags of rows", "y[b,d] = E[t[b,l],d]", "E[v,d] t[b,l]<v", "b,d", BAGS, "b", FEW_BAGS,
        lambda E, t: E[t].sum(axis=1), lambda torch, E, t: torch.nn.functional.embedding_bag(t, E, mode="sum")),
    Row("bags of rows, weighed", "y[b,d] = w[b,l]*E[t[b,l],d]", "w[b,l] E[v,d] t[b,l]<v", "b,d", BAGS, "b", FEW_BAGS,
        lambda w, E, t: (w[:, None] @ E[t])[:, 0]),
    Row("bags of rows, lengths", "y[b,d] = E[t[b,l],d] where l < n[b]", "E[v,d] t[b,l]<v n[b]<l", "b,d", BAGS, "b",
        FEW_BAGS, bagged),
    Row("one-hot counts", "y[v] = where(t[b]==v,1,0)*w[b] where v < {v}", "t[n]<v w[n]", "v", MANY, "n",
        {"n": 9, "v": 4}, lambda t, w: counted(t, w, 256 if len(t) > 9 else 4)),
    Row("counts", "shape y[{v}]\ny[t[b]] += w[b]", "t[n]<v w[n]", "v", MANY, "n", {"n": 9, "v": 4},
        lambda t, w: counted(t, w, 256 if len(t) > 9 else 4)),
    Row("one-hot, both of them", "y[u,v] = where(a[n]==u,1,0)*where(b[n]==v,1,0)*w[n] where u < {v}, v < {v}",
        "a[n]<v b[n]<v w[n]", "v,v", {"n": 40000, "v": 32}, "n", {"n": 9, "v": 4},
        lambda a, b, w: crossed(a, b, w, 32 if len(a) > 9 else 4)),
    Row("sums of classes, one-hot", "y[v,d] = where(t[n]==v,1,0)*x[n,d] where v < {v}", "t[n]<v x[n,d]", "v,d",
        {"n": 4096, "v": 64, "d": 32}, "n", {"n": 9, "v": 4, "d": 3},
        lambda t, x: summed(x, t, 64 if len(t) > 9 else 4)),
    Row("sums of classes", "shape y[{v},{d}]\ny[t[n],d] += x[n,d]", "t[n]<v x[n,d]", "v,d",
        {"n": 4096, "v": 64, "d": 32}, "n", {"n": 9, "v": 4, "d": 3},
        lambda t, x: summed(x, t, 64 if len(t) > 9 else 4)),
    Row("running maximum", "y[i] max= x[j] where j <= i, i < {n}", "x[n]", "n", LINE, "n", SHORT,
        np.maximum.accumulate),
    Row("running maximum of rows", "y[b,i] max= x[b,j] where j <= i, i < {n}", "x[b,n]", "b,n", GRID, "n", SMALL_GRID,
        lambda x: np.maximum.accumulate(x, axis=1)),
    Row("running minimum from the end", "y[b,i] min= x[b,j] where j >= i, i < {n}", "x[b,n]", "b,n", GRID, "n",
        SMALL_GRID, lambda x: np.minimum.accumulate(x[:, ::-1], axis=1)[:, ::-1]),
    Row("prefix sums", "y[b,i] = x[b,j] where j <= i, i < {n}", "x[b,n]", "b,n", GRID, "n", SMALL_GRID,
        lambda x: np.cumsum(x, axis=1), lambda torch, x: torch.cumsum(x, 1)),
    Row("suffix sums, weighed", "y[b,i] = w[b,j]*x[b,j] where j > i, i < {n}", "w[b,n] x[b,n]", "b,n", GRID, "n",
        SMALL_GRID, lambda w, x: np.cumsum((w * x)[:, ::-1], axis=1)[:, ::-1] - w * x),
    Row("prefix sums of a plane", "y[i,j] = x[u,v] where u <= i, v <= j, i < {n}, j < {n}", "x[n,n]", "n,n",
        {"n": 256}, "n", {"n": 5}, lambda x: np.cumsum(np.cumsum(x, axis=0), axis=1)),
    Row("prefix sums, fading", "y[t,c] = 0.9**(t-s)*x[s,c] where s <= t, t < {n}", "x[n,c]", "n,c",
        {"n": 512, "c": 64}, "n", {"n": 9, "c": 3}, lambda x: fading(x, 0.9)),
    Row("prefix sums in groups", "y[i,c] = x[j,c] where j <= i, g[i] == g[j]", "x[n,c] g[n]<v", "n,c",
        {"n": 512, "c": 64, "v": 8}, "n", {"n": 9, "c": 3, "v": 3},
        lambda x, g: np.tril(g[:, None] == g).astype(x.dtype) @ x),
    Row("sums of the next 32", "y[i] = x[j] where i <= j, j < i+32, i < {n}", "x[n]", "n", LINE, "n", {"n": 40},
        lambda x: ahead(x, 32)),
    Row("sums of what is not greater", "y[i] = w[j] where x[j] <= x[i]", "w[n] x[n]<m", "n",
        {"n": 2048, "m": 100000}, "n", {**SHORT, "m": 7}, lambda w, x: before(x, w)),
    Row("sums of what has the same data", "y[t,d] = x[s,d] where g[s] == g[t]", "x[n,d] g[n]<m", "n,d",
        {"n": 2048, "d": 32, "m": 128}, "n", {**SHORT, "d": 2, "m": 4}, lambda x, g: alike(x, g)),
    Row("products of what has the same data", "y[t] = x[s]*w[s] where g[s] == g[t]", "x[n] w[n] g[n]<m", "n",
        {"n": 8192, "m": 512}, "n", {**SHORT, "m": 4}, lambda x, w, g: alike(x * w, g)),
    Row("maximum of what has the same data", "y[t] max= x[s] where g[s] == g[t]", "x[n] g[n]<m", "n",
        {"n": 8192, "m": 512}, "n", {**SHORT, "m": 4}, lambda x, g: greatest(x, g)),
    Row("weighed, lengths", "y[b,d] = p[b,s]*x[b,s,d] where s < n[b]", "p[b,t] x[b,t,d] n[b]<t", "b,d",
        {"b": 32, "t": 256, "d": 64}, "t", {"b": 3, "t": 5, "d": 2},
        lambda p, x, n: (np.where(np.arange(p.shape[1]) < n[:, None], p, 0)[:, None] @ x)[:, 0]),
    Row("mean over lengths", "y[b,d] = x[b,t,d]/(n[b]+1) where t <= n[b]", "x[b,t,d] n[b]<t", "b,d",
        {"b": 64, "t": 256, "d": 64}, "t", {"b": 3, "t": 5, "d": 2},
        lambda x, n: ((np.arange(x.shape[1]) <= n[:, None])[:, None].astype(x.dtype) @ x)[:, 0]
        / (n[:, None] + 1).astype(x.dtype)),
    Row("maximum over lengths", "y[b,d] max= x[b,t,d] where t <= n[b]", "x[b,t,d] n[b]<t", "b,d",
        {"b": 32, "t": 128, "d": 64}, "t", {"b": 3, "t": 5, "d": 2},
        lambda x, n: np.where((np.arange(x.shape[1]) <= n[:, None])[..., None], x, -np.inf).max(axis=1)),
    Row("layer normalisation", "m[n] = mean[c](x[n,c])\nv[n] = mean[c]((x[n,c] - m[n])**2)\n"
        "y[n,c] = g[c]*(x[n,c] - m[n])/sqrt(v[n] + 1e-5) + h[c]", "x[n,c] g[c] h[c]", "n,c", ROWS_OF, "n",
        {"n": 4, "c": 5}, layernorm, lambda torch, x, g, h: torch.nn.functional.layer_norm(x, x.shape[1:], g, h)),
    Row("normalisation by root mean square", "y[n,c] = g[c]*x[n,c]/sqrt(mean[d](x[n,d]**2) + 1e-5)", "x[n,c] g[c]",
        "n,c", ROWS_OF, "n", {"n": 4, "c": 5},
        lambda x, g: x / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5) * g),
    Row("normalisation of columns", "m[c] = mean[n](x[n,c])\nv[c] = mean[n]((x[n,c] - m[c])**2)\n"
        "y[n,c] = (x[n,c] - m[c])/sqrt(v[c] + 1e-5)", "x[n,c]", "n,c", ROWS_OF, "n", {"n": 4, "c": 5}, standard),
    Row("normalisation in groups", "m[b,g] = mean[i,c](x[b,i,(g,c)]) where g < 8\n"
        "v[b,g] = mean[i,c]((x[b,i,(g,c)] - m[b,g])**2)\n"
        "y[b,i,(g,c)] = (x[b,i,(g,c)] - m[b,g])/sqrt(v[b,g] + 1e-5)", "x[b,n,8*c]", "b,n,8*c",
        {"b": 8, "n": 784, "c": 4}, "n", {"b": 2, "n": 5, "c": 3}, lambda x: groupnorm(x, 8)),
)  # fmt: skip
