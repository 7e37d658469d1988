"""Products: graphs, mixtures of experts, low rank, bilinear forms, kernels and distances, gates."""
# ruff: noqa: N803

from __future__ import annotations

from typing import Any

import numpy as np

from ...workload import Array
from .row import Row

Arrays = tuple[Array, ...]


def summed(values: Array, places: Array, n: int) -> Any:
    """y[places[e]] += values[e]."""
    order = np.argsort(places, kind="stable")
    found, starts = np.unique(places[order], return_index=True)
    y = np.zeros((n, values.shape[1]), values.dtype)
    y[found] = np.add.reduceat(values[order], starts, axis=0)
    return y


def routed(x: Array, W: Array, a: Array) -> Any:
    """y[k] = x[k] @ W[a[k]], expert by expert."""
    y = np.zeros((len(x), W.shape[2]), x.dtype)
    for e in range(len(W)):
        chosen = np.flatnonzero(a == e)
        y[chosen] = x[chosen] @ W[e]
    return y


def two_layers(x: Array, W: Array, V: Array, a: Array) -> Any:
    y = np.zeros((len(x), V.shape[2]), x.dtype)
    for e in range(len(W)):
        chosen = np.flatnonzero(a == e)
        y[chosen] = np.maximum(x[chosen] @ W[e], 0) @ V[e]
    return y


def mixed(g: Array, W: Array, x: Array) -> Any:
    return (g[:, :, None] * x[:, None]).reshape(len(x), -1) @ W.reshape(-1, W.shape[2])


def by_task(A: Array, B: Array, x: Array, t: Array) -> Any:
    y = np.zeros_like(x, shape=(len(x), B.shape[2]))
    for e in range(len(A)):
        chosen = np.flatnonzero(t == e)
        y[chosen] = x[chosen] @ A[e] @ B[e]
    return y


def attended(A: Array, a: Array, b: Array, h: Array) -> Any:
    e = np.where(A > 0, np.exp(np.tanh(a[:, None] + b)), 0)
    return (e @ h) / e.sum(axis=1, keepdims=True)


def normalised(A: Array, x: Array) -> Any:
    r = 1 / np.sqrt(1 + A.sum(axis=1, dtype=x.dtype))
    return r[:, None] * (A.astype(x.dtype) @ (r[:, None] * x))


def messages(A: Array, u: Array, v: Array) -> Any:
    return np.stack([a @ np.maximum(row + v, 0) for a, row in zip(A, u, strict=True)])


def tucker(G: Array, A: Array, B: Array, C: Array) -> Any:
    i, j, k = G.shape
    y = A @ G.reshape(i, j * k)
    y = (B @ y.reshape(-1, j, k)).reshape(-1, k) @ C.T
    return y.reshape(len(A), len(B), len(C))


def parafac(A: Array, B: Array, C: Array) -> Any:
    return ((A[:, None] * B).reshape(-1, A.shape[1]) @ C.T).reshape(len(A), len(B), len(C))


def train(G: Array, H: Array, K: Array) -> Any:
    r, b, s = H.shape
    return ((G @ H.reshape(r, b * s)).reshape(-1, s) @ K).reshape(len(G), b, -1)


def bilinear(W: Array, x: Array, z: Array) -> Any:
    i, j, o = W.shape
    return (z[:, None] @ (x @ W.reshape(i, j * o)).reshape(-1, j, o))[:, 0]


def pairs(x: Array, V: Array) -> Any:
    return (((x @ V) ** 2).sum(axis=1) - (x**2 @ V**2).sum(axis=1)) / 2


def distances(x: Array, z: Array) -> Any:
    return (x**2).sum(axis=1)[:, None] + (z**2).sum(axis=1) - 2 * x @ z.T


def weighed(x: Array, z: Array, w: Array) -> Any:
    return (x**2 @ w)[:, None] + z**2 @ w - 2 * (x * w) @ z.T


def city(x: Array, z: Array) -> Any:
    y = np.zeros((len(x), len(z)), x.dtype)
    for a, b in zip(x.T.copy(), z.T.copy(), strict=True):
        y += np.abs(a[:, None] - b)
    return y


def alike(x: Array, z: Array) -> Any:
    x, z = (a / np.sqrt((a**2).sum(axis=1, keepdims=True)) for a in (x, z))
    return x @ z.T


def spread(x: Array, g: Array) -> Any:
    mask = (g[:, None] == g).astype(x.dtype)
    return np.maximum(mask * distances(x, x), 0).sum(axis=1)


def pulled(x: Array, w: Array) -> Any:
    return x * w.sum(axis=1)[:, None] - w @ x


def nearest(x: Array, z: Array) -> Any:
    return distances(x, z).min(axis=1)


def gated(A: Array, B: Array, g: Array, c: Array) -> Any:
    """Each column takes its product from A or from B."""
    y = np.empty((len(A), c.shape[1]), A.dtype)
    y[:, g > 0] = A @ c[:, g > 0]
    y[:, g <= 0] = B @ c[:, g <= 0]
    return y


def tropical(a: Array, b: Array) -> Any:
    y = np.full((len(a), b.shape[1]), -np.inf, a.dtype)
    for column, row in zip(a.T.copy(), b, strict=True):
        np.maximum(y, column[:, None] + row, out=y)
    return y


def logistic(x: Array) -> Any:
    return 1 / (1 + np.exp(-x))


TOKENS, FEW_TOKENS = {"k": 1024, "e": 8, "i": 64, "o": 64}, {"k": 9, "e": 3, "i": 4, "o": 2}
NODES, FEW_NODES = {"n": 512, "f": 64, "o": 64}, {"n": 7, "f": 3, "o": 4}
EDGES, FEW_EDGES = {"n": 512, "m": 4096, "f": 64}, {"n": 5, "m": 9, "f": 3}
BATCH, SMALL_BATCH = {"b": 256, "i": 256, "r": 8, "o": 256}, {"b": 5, "i": 4, "r": 2, "o": 3}
POINTS, FEW_POINTS = {"i": 256, "j": 256, "d": 32, "o": 32}, {"i": 7, "j": 5, "d": 3, "o": 2}
CUBE, SMALL_CUBE = {"i": 256, "k": 256, "j": 256}, {"i": 4, "k": 5, "j": 6}

GRAPHS = (
    Row("graph, dense", "y[i,o] = A[i,j]*x[j,f]*W[f,o]", "A[n,n] x[n,f] W[f,o]", "n,o", NODES, "n", FEW_NODES,
        lambda A, x, W: A @ (x @ W)),
    Row("graph, normalised by degrees", "d[i] = 1 + sum[j](A[i,j])\ny[i,o] = A[i,j]*x[j,o]/sqrt(d[i]*d[j])",
        "A[n,n]<two x[n,f]", "n,f", {**NODES, "two": 2}, "n", {**FEW_NODES, "two": 2}, normalised),
    Row("graph, several relations", "y[i,o] = A[r,i,j]*x[j,f]*W[r,f,o]", "A[r,n,n] x[n,f] W[r,f,o]", "n,o",
        {"r": 4, "n": 256, "f": 32, "o": 32}, "n", {"r": 2, **FEW_NODES}, lambda A, x, W: (A @ (x @ W)).sum(axis=0)),
    Row("graph, edges", "shape y[{n},{f}]\ny[d[e],o] += x[s[e],o]", "d[m]<n x[n,f] s[m]<n", "n,f", EDGES, "n m",
        FEW_EDGES, lambda d, x, s: summed(x[s], d, len(x))),
    Row("graph, weighted edges and a map", "shape y[{n},{f}]\ny[d[e],o] += w[e]*x[s[e],f]*W[f,o]",
        "d[m]<n w[m] x[n,f] s[m]<n W[f,f]", "n,f", EDGES, "n m", FEW_EDGES,
        lambda d, w, x, s, W: summed(w[:, None] * (x @ W)[s], d, len(x))),
    Row("graph, a table of neighbours", "y[i,f] = x[t[i,k],f]", "x[n,f] t[n,k]<n", "n,f", {**EDGES, "k": 8}, "n",
        {**FEW_EDGES, "k": 3}, lambda x, t: x[t].sum(axis=1)),
    Row("graph, a map for each neighbour", "y[i,o] = W[k,f,o]*x[t[i,k],f]", "W[k,f,f] x[n,f] t[n,k]<n", "n,f",
        {**EDGES, "k": 8}, "n", {**FEW_EDGES, "k": 3},
        lambda W, x, t: x[t].reshape(len(t), -1) @ W.reshape(-1, W.shape[2])),
    Row("graph, attention over edges", "e[i,j] = exp(tanh(a[i] + b[j])) where A[i,j] > 0\nz[i] = e[i,j]\n"
        "y[i,o] = e[i,j]*h[j,o] / z[i]", "A[n,n]<two a[n] b[n] h[n,f]", "n,f", {**NODES, "two": 2}, "n",
        {**FEW_NODES, "two": 2}, attended),
    Row("graph, a function of pairs", "y[i,o] = A[i,j]*relu(u[i,o] + v[j,o])", "A[n,n] u[n,o] v[n,o]", "n,o",
        {"n": 128, "o": 32}, "n", FEW_NODES, messages),
    Row("graph, differences", "y[i,o] = A[i,j]*(x[j,o] - x[i,o])", "A[n,n] x[n,o]", "n,o", NODES, "n", FEW_NODES,
        lambda A, x: A @ x - A.sum(axis=1)[:, None] * x),
)  # fmt: skip

EXPERTS = (
    Row("experts, columns", "y[i,k] = W[a[k],i,j]*x[j,k]", "W[e,o,i] a[k]<e x[i,k]", "o,k", TOKENS, "k", FEW_TOKENS,
        lambda W, a, x: routed(x.T, W.swapaxes(1, 2), a).T),
    Row("experts, rows", "y[k,o] = W[a[k],i,o]*x[k,i]", "W[e,i,o] a[k]<e x[k,i]", "k,o", TOKENS, "k", FEW_TOKENS,
        lambda W, a, x: routed(x, W, a)),
    Row("experts, one-hot", "y[k,o] = where(a[k]==e,1,0)*W[e,i,o]*x[k,i]", "a[k]<e W[e,i,o] x[k,i]", "k,o", TOKENS,
        "k", FEW_TOKENS, lambda a, W, x: routed(x, W, a)),
    Row("experts, two of them, weighed", "y[k,o] = g[k,r]*W[a[k,r],i,o]*x[k,i]",
        "g[k,two] W[e,i,o] a[k,two]<e x[k,i]", "k,o", {**TOKENS, "two": 2}, "k", {**FEW_TOKENS, "two": 2},
        lambda g, W, a, x: sum(g[:, r, None] * routed(x, W, a[:, r]) for r in range(2))),
    Row("experts, two layers", "h[k,u] = W[a[k],i,u]*x[k,i]\nr[k,u] = relu(h[k,u])\ny[k,o] = V[a[k],u,o]*r[k,u]",
        "W[e,i,u] a[k]<e x[k,i] V[e,u,o]", "k,o", {**TOKENS, "u": 128}, "k", {**FEW_TOKENS, "u": 3},
        lambda W, a, x, V: two_layers(x, W, V, a)),
    Row("experts, all of them", "y[k,o] = g[k,e]*W[e,i,o]*x[k,i]", "g[k,e] W[e,i,o] x[k,i]", "k,o", TOKENS, "k",
        FEW_TOKENS, mixed),
)  # fmt: skip

LOW_RANK = (
    Row("low rank", "y[b,o] = U[o,r]*V[i,r]*x[b,i]", "U[o,r] V[i,r] x[b,i]", "b,o", {**BATCH, "b": 1024}, "b",
        SMALL_BATCH, lambda U, V, x: x @ V @ U.T),
    Row("low rank, scaled", "y[b,o] = U[o,r]*s[r]*V[i,r]*x[b,i]", "U[o,r] s[r] V[i,r] x[b,i]", "b,o",
        {**BATCH, "b": 1024}, "b", SMALL_BATCH, lambda U, s, V, x: (x @ V * s) @ U.T),
    Row("LoRA", "y[b,o] = W[i,o]*x[b,i]\ny[b,o] += A[i,r]*B[r,o]*x[b,i]", "W[i,o] x[b,i] A[i,r] B[r,o]", "b,o", BATCH,
        "b", SMALL_BATCH, lambda W, x, A, B: x @ W + x @ A @ B),
    Row("LoRA, in the weight", "y[b,o] = (W[i,o] + sum[r](A[i,r]*B[r,o]))*x[b,i]", "W[i,o] A[i,r] B[r,o] x[b,i]",
        "b,o", BATCH, "b", SMALL_BATCH, lambda W, A, B, x: x @ (W + A @ B)),
    Row("LoRA, by task", "y[b,o] = A[t[b],i,r]*B[t[b],r,o]*x[b,i]", "A[e,i,r] t[b]<e B[e,r,o] x[b,i]", "b,o",
        {**BATCH, "e": 4}, "b", {**SMALL_BATCH, "e": 2}, lambda A, t, B, x: by_task(A, B, x, t)),
)  # fmt: skip

FORMS = (
    Row("bilinear", "y[b,o] = W[i,j,o]*x[b,i]*z[b,j]", "W[i,i,o] x[b,i] z[b,i]", "b,o", {"b": 64, "i": 64, "o": 32},
        "b", {"b": 5, "i": 4, "o": 3}, bilinear),
    Row("bilinear, one number", "y[b] = x[b,i]*W[i,j]*z[b,j]", "x[b,i] W[i,i] z[b,i]", "b", {"b": 1024, "i": 128},
        "b", {"b": 5, "i": 4}, lambda x, W, z: (x @ W * z).sum(axis=1)),
    Row("bilinear, all pairs", "y[a,b] = x[a,i]*W[i,j]*z[b,j]", "x[b,i] W[i,i] z[b,i]", "b,b", {"b": 256, "i": 64},
        "b", {"b": 5, "i": 4}, lambda x, W, z: x @ W @ z.T),
    Row("quadratic form, half", "y[b] = x[b,i]*W[i,j]*x[b,j] where j <= i", "x[b,i] W[i,i]", "b",
        {"b": 512, "i": 128}, "b", {"b": 5, "i": 4}, lambda x, W: (x @ np.tril(W) * x).sum(axis=1)),
    Row("pairs of a factorisation machine", "y[b] = x[b,i]*x[b,j]*V[i,f]*V[j,f] where i < j", "x[b,i] V[i,f]", "b",
        {"b": 512, "i": 64, "f": 16}, "b", {"b": 5, "i": 4, "f": 3}, pairs),
    Row("Tucker", "y[a,b,c] = G[i,j,k]*A[a,i]*B[b,j]*C[c,k]", "G[r,r,r] A[n,r] B[n,r] C[n,r]", "n,n,n",
        {"n": 48, "r": 16}, "n", {"n": 4, "r": 3}, tucker),
    Row("parallel factors", "y[a,b,c] = A[a,r]*B[b,r]*C[c,r]", "A[n,r] B[n,r] C[n,r]", "n,n,n", {"n": 48, "r": 16},
        "n", {"n": 4, "r": 3}, parafac),
    Row("tensor train", "y[a,b,c] = G[a,r]*H[r,b,s]*K[s,c]", "G[n,r] H[r,n,r] K[r,n]", "n,n,n", {"n": 48, "r": 16},
        "n", {"n": 4, "r": 3}, train),
    Row("product of max and plus", "y[i,j] max= a[i,k] + b[k,j]", "a[n,n] b[n,n]", "n,n", {"n": 128}, "n", {"n": 5},
        tropical),
)  # fmt: skip

KERNELS = (
    Row("squared distances", "y[i,j] = (x[i,d] - z[j,d])**2", "x[i,d] z[j,d]", "i,j", POINTS, "i j", FEW_POINTS,
        distances),
    Row("squared distances, weighed", "y[i,j] = w[d]*(x[i,d] - z[j,d])**2", "w[d] x[i,d] z[j,d]", "i,j", POINTS,
        "i j", FEW_POINTS, lambda w, x, z: weighed(x, z, w)),
    Row("city distances", "y[i,j] = abs(x[i,d] - z[j,d])", "x[i,d] z[j,d]", "i,j", POINTS, "i j", FEW_POINTS, city),
    Row("nearest", "D[i,j] = (x[i,d] - z[j,d])**2\ny[i] min= D[i,j]", "x[i,d] z[j,d]", "i", POINTS, "i j",
        FEW_POINTS, nearest),
    Row("cosines", "m[i] = x[i,d]**2\nn[j] = z[j,d]**2\ny[i,j] = x[i,d]*z[j,d]/sqrt(m[i]*n[j])", "x[i,d] z[j,d]",
        "i,j", POINTS, "i j", FEW_POINTS, alike),
    Row("Gaussian kernel times values", "K[i,j] = exp(-sum[d]((x[i,d] - z[j,d])**2)/64)\ny[i,o] = K[i,j]*v[j,o]",
        "x[i,d] z[j,d] v[j,o]", "i,o", POINTS, "i j", FEW_POINTS, lambda x, z, v: np.exp(distances(x, z) / -64) @ v),
    Row("spread in groups", "y[i] = (x[i,d] - x[j,d])**2 where g[i] == g[j]", "x[i,d] g[i]<e", "i",
        {**POINTS, "e": 8}, "i", {**FEW_POINTS, "e": 3}, spread),
    Row("differences, weighed", "y[i,d] = w[i,j]*(x[i,d] - x[j,d])", "w[i,i] x[i,d]", "i,d", {**POINTS, "i": 512},
        "i", FEW_POINTS, lambda w, x: pulled(x, w)),
)  # fmt: skip

GATES = (
    Row("two matrices by column", "y[i,j] = where(g[j]>0,A[i,k],B[i,k])*c[k,j]", "g[j] A[i,k] B[i,k] c[k,j]", "i,j",
        CUBE, "i", SMALL_CUBE, lambda g, A, B, c: gated(A, B, g, c)),
    Row("two matrices by row", "y[i,j] = A[i,k]*where(m[i]>0,c[k,j],d[k,j])", "A[i,k] m[i] c[k,j] d[k,j]", "i,j",
        CUBE, "i", SMALL_CUBE, lambda A, m, c, d: gated(c.T, d.T, m, A.T).T),
    Row("a sum of two in a product", "y[i,j] = a[i,k]*(c[k,j] + d[k,j]*u[i])", "a[i,k] c[k,j] d[k,j] u[i]", "i,j",
        CUBE, "i", SMALL_CUBE, lambda a, c, d, u: a @ c + u[:, None] * (a @ d)),
    Row("weights by example", "y[b,o] = (W[i,o] + s[b]*V[i,o])*x[b,i]", "W[i,o] s[b] V[i,o] x[b,i]", "b,o", BATCH,
        "b", SMALL_BATCH, lambda W, s, V, x: x @ W + s[:, None] * (x @ V)),
    Row("inputs scaled and shifted", "y[b,o] = W[i,o]*(x[b,i]*g[i] + h[i])", "W[i,o] x[b,i] g[i] h[i]", "b,o", BATCH,
        "b", SMALL_BATCH, lambda W, x, g, h: (x * g + h) @ W),
    Row("inputs scaled by example", "y[b,o] = W[i,o]*(x[b,i]*g[b] + h[i])", "W[i,o] x[b,i] g[b] h[i]", "b,o", BATCH,
        "b", SMALL_BATCH, lambda W, x, g, h: g[:, None] * (x @ W) + h @ W),
    Row("inputs dropped", "y[b,o] = W[i,o]*x[b,i]*where(m[b,i]>0,2,0)", "W[i,o] x[b,i] m[b,i]", "b,o", BATCH, "b",
        SMALL_BATCH, lambda W, x, m: (x * np.where(m > 0, 2, 0).astype(x.dtype)) @ W),
    Row("weights masked", "y[b,o] = W[i,o]*x[b,i] where M[i,o] > 0", "W[i,o] x[b,i] M[i,o]<two", "b,o",
        {**BATCH, "two": 2}, "b", {**SMALL_BATCH, "two": 2}, lambda W, x, M: x @ (W * (M > 0))),
    Row("gated linear unit", "y[b,o] = sum[i](W[i,o]*x[b,i]) * sigmoid(sum[i](V[i,o]*x[b,i]))",
        "W[i,o] x[b,i] V[i,o]", "b,o", BATCH, "b", SMALL_BATCH, lambda W, x, V: x @ W * logistic(x @ V),
        scales={"V": 0.1}),
)  # fmt: skip

ROWS = (*GRAPHS, *EXPERTS, *LOW_RANK, *FORMS, *KERNELS, *GATES)
