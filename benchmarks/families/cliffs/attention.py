"""Attention in its variants: which keys a query sees, without softmax and with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from ...workload import Array
from .row import Row

QKV = "q[t,d] k[t,d] v[t,d]"
HEADS = "q[h,t,d] k[h,t,d] v[h,t,d]"
MEDIUM = {"t": 256, "d": 32}
LONG = {"t": 4096, "d": 32}
SMALL = {"t": 12, "d": 3}
BLOCKS = {"t": 128, "d": 3}  # two blocks
SOFTMAX = {"q": 0.3}
BLOCK, BAND = 64, 32


def softmax(scores: Array) -> Any:
    scores = scores - scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def masked(q: Array, k: Array, v: Array, mask: Array) -> Any:
    """A product, the mask, a product."""
    return np.where(mask, q @ k.swapaxes(-1, -2), 0) @ v


def soft(q: Array, k: Array, v: Array, mask: Array) -> Any:
    """The same by softmax."""
    return softmax(np.where(mask, q @ k.swapaxes(-1, -2), -np.inf)) @ v


def causal(t: int) -> Any:
    return np.tri(t, dtype=bool)


def blocks(q: Array, k: Array, v: Array, block: int) -> Any:
    """Queries see the keys of their own block."""
    qs, ks, vs = (a.reshape(-1, block, a.shape[-1]) for a in (q, k, v))
    return (qs @ ks.swapaxes(1, 2) @ vs).reshape(len(q), -1)


def banded(q: Array, k: Array, v: Array, before: int, after: int, by_softmax: bool = False) -> Any:
    """Blocks of queries, each with the keys around it: from `before` back to `after` ahead."""
    t, width = len(q), BLOCK + before + after
    padded = (np.pad(a, ((before, after), (0, 0))) for a in (k, v))
    ks, vs = (sliding_window_view(a, width, axis=0)[::BLOCK] for a in padded)  # [block, d, width]
    place = np.arange(width) - before
    offset = place - np.arange(BLOCK)[:, None]
    key = place + BLOCK * np.arange(t // BLOCK)[:, None, None]
    mask = (offset >= -before) & (offset <= after) & (key >= 0) & (key < t)
    scores = q.reshape(-1, BLOCK, q.shape[-1]) @ ks
    if by_softmax:
        scores = softmax(np.where(mask, scores, -np.inf))
    else:
        scores *= mask
    return (scores @ vs.swapaxes(1, 2)).reshape(t, -1)


def strided(q: Array, k: Array, v: Array, stride: int) -> Any:
    """Each residue is a causal attention of its own."""
    qs, ks, vs = (a.reshape(-1, stride, a.shape[-1]).swapaxes(0, 1) for a in (q, k, v))
    y = masked(qs, ks, vs, causal(qs.shape[1]))
    return y.swapaxes(0, 1).reshape(len(q), -1)


def shifted(r: Array, t: int) -> Any:
    """b[t,s] = r[s-t+T-1], a view."""
    return as_strided(r[t - 1 :], (t, t), (-r.strides[0], r.strides[0]))


def skewed(p: Array) -> Any:
    """b[t,s] = p[t,s-t+T-1], a view."""
    t = len(p)
    return as_strided(p[:, t - 1 :], (t, t), (p.strides[0] - p.strides[1], p.strides[1]))


def decayed(t: int, base: float, dtype: Any) -> Any:
    """base**(t-s) where s <= t."""
    n = np.arange(t)
    return np.tril(base ** np.abs(n[:, None] - n).astype(dtype))


def normalised(q: Array, k: Array, v: Array) -> Any:
    q, k = np.exp(q), np.exp(k)
    return np.tril(q @ k.T) @ v / (q * np.cumsum(k, axis=0)).sum(axis=1, keepdims=True)


def sdpa(**options: Any) -> Any:
    """PyTorch's attention, whose scores are not divided here."""
    return lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=1.0, **options)


PRODUCT = "y[t,e] = q[t,d]*k[s,d]*v[s,e]"
SOFT = (
    "l[t,s] = q[t,d]*k[s,d]\nm[t] max= l[t,s] where {mask}\ne[t,s] = exp(l[t,s] - m[t]) where {mask}\n"
    "z[t] = e[t,s]\ny[t,c] = e[t,s]*v[s,c] / z[t]"
)


def _product(name: str, mask: str, hand: Any, sizes: dict[str, int], small: dict[str, int], extra: str = "") -> Row:
    text = f"{PRODUCT} where {mask}" if mask else PRODUCT
    return Row(name, text, QKV + extra, "t,d", sizes, "t", small, hand)


def _soft(name: str, mask: str, hand: Any, sizes: dict[str, int], small: dict[str, int], extra: str = "") -> Row:
    text = SOFT.replace("{mask}", mask)
    return Row(name, text, QKV + extra, "t,d", sizes, "t", small, hand, scales=SOFTMAX)


def _heads(name: str, text: str, inputs: str, hand: Any, torch: Any = None, output: str = "h,t,d") -> Row:
    sizes, small = {"h": 4, "t": 256, "d": 32}, {"h": 2, "t": 9, "d": 3}
    return Row(name, text, inputs, output, sizes, "t", small, hand, torch, scales=SOFTMAX)


ROWS = (
    _product("attention, linear", "", lambda q, k, v: q @ (k.T @ v), LONG, SMALL),
    _product("attention, causal", "s <= t", lambda q, k, v: np.tril(q @ k.T) @ v, MEDIUM, SMALL),
    _product(
        "attention, blocks of 32 in 256", "t//32 == s//32",
        lambda q, k, v: masked(q, k, v, np.arange(len(q))[:, None] // 32 == np.arange(len(q)) // 32), MEDIUM,
        {"t": 96, "d": 3},
    ),
    _product("attention, blocks of 64 in 4096", "t//64 == s//64", lambda q, k, v: blocks(q, k, v, 64), LONG, BLOCKS),
    _product(
        "attention, causal band of 32 in 4096", "s <= t, t < s+32",
        lambda q, k, v: banded(q, k, v, BAND - 1, 0), LONG, BLOCKS,
    ),
    _product(
        "attention, band of 16 around, 2048", "abs(t-s) <= 16",
        lambda q, k, v: banded(q, k, v, 16, 16), {"t": 2048, "d": 32}, BLOCKS,
    ),
    _product(
        "attention, every eighth key, 1024", "s <= t, (t-s) % 8 == 0",
        lambda q, k, v: strided(q, k, v, 8), {"t": 1024, "d": 32}, {"t": 24, "d": 3},
    ),
    _product(
        "attention, segments", "seg[t] == seg[s]",
        lambda q, k, v, seg: masked(q, k, v, seg[:, None] == seg), {"t": 512, "d": 32, "n": 8},
        {"t": 12, "d": 3, "n": 3}, " seg[t]<n",
    ),
    _product(
        "attention, segments and causal", "seg[t] == seg[s], s <= t",
        lambda q, k, v, seg: masked(q, k, v, (seg[:, None] == seg) & causal(len(q))), {"t": 512, "d": 32, "n": 8},
        {"t": 12, "d": 3, "n": 3}, " seg[t]<n",
    ),
    _product(
        "attention, prefix and causal", "s <= t or s < 64",
        lambda q, k, v: masked(q, k, v, causal(len(q)) | (np.arange(len(q)) < 64)), {"t": 512, "d": 32}, BLOCKS,
    ),
    Row(
        "attention, lengths", "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e] where s < len[b]",
        "q[b,t,d] k[b,t,d] v[b,t,d] len[b]<t", "b,t,d", {"b": 8, "t": 128, "d": 32}, "t", {"b": 3, "t": 7, "d": 2},
        lambda q, k, v, n: masked(q, k, v, np.arange(k.shape[1]) < n[:, None, None]),
    ),
    Row(
        "attention, key weights", "y[b,t,e] = q[b,t,d]*k[b,s,d]*v[b,s,e]*m[b,s]",
        "q[b,t,d] k[b,t,d] v[b,t,d] m[b,t]", "b,t,d", {"b": 8, "t": 128, "d": 32}, "t", {"b": 3, "t": 7, "d": 2},
        lambda q, k, v, m: q @ (k.swapaxes(1, 2) @ (v * m[..., None])),
    ),
    Row(
        "attention, decay", "y[t,e] = q[t,d]*k[s,d]*v[s,e]*0.97**(t-s) where s <= t", QKV, "t,d", MEDIUM, "t", SMALL,
        lambda q, k, v: (q @ k.T * decayed(len(q), 0.97, q.dtype)) @ v,
    ),
    Row(
        "attention, decay by head", "y[h,t,e] = q[h,t,d]*k[h,s,d]*v[h,s,e]*exp(-abs(a[h])*(t-s)) where s <= t",
        HEADS + " a[h]", "h,t,d", {"h": 4, "t": 256, "d": 32}, "t", {"h": 2, "t": 9, "d": 3},
        lambda q, k, v, a: (q @ k.swapaxes(1, 2) * decays(a, q.shape[1])) @ v, scales={"a": 0.1},
    ),
    Row(
        "attention, causal by relu", "y[t,e] = relu(q[t,d])*relu(k[s,d])*v[s,e] where s <= t", QKV, "t,d", MEDIUM, "t",
        SMALL, lambda q, k, v: np.tril(np.maximum(q, 0) @ np.maximum(k, 0).T) @ v,
    ),
    Row(
        "attention, causal, kernel with its sum",
        "n[t,e] = exp(q[t,d])*exp(k[s,d])*v[s,e] where s <= t\nz[t] = exp(q[t,d])*exp(k[s,d]) where s <= t\n"
        "y[t,e] = n[t,e] / z[t]", QKV, "t,d", MEDIUM, "t", SMALL, normalised, scales={"q": 0.3, "k": 0.3},
    ),
    Row(
        "attention, causal, shared keys", "y[g,h,t,e] = q[g,h,t,d]*k[g,s,d]*v[g,s,e] where s <= t",
        "q[g,h,t,d] k[g,t,d] v[g,t,d]", "g,h,t,d", {"g": 2, "h": 4, "t": 256, "d": 32}, "t",
        {"g": 2, "h": 2, "t": 7, "d": 3}, lambda q, k, v: np.tril(q @ k[:, None].swapaxes(-1, -2)) @ v[:, None],
    ),
    Row(
        "attention, relative bias", "y[t,e] = (sum[d](q[t,d]*k[s,d]) + r[s-t+size(q,0)-1])*v[s,e]", QKV + " r[2*t-1]",
        "t,d", MEDIUM, "t", SMALL, lambda q, k, v, r: (q @ k.T + shifted(r, len(q))) @ v,
    ),
    Row(
        "attention, relative keys", "y[t,e] = q[t,d]*r[s-t+size(q,0)-1,d]*v[s,e]", "q[t,d] v[t,d] r[2*t-1,d]", "t,d",
        MEDIUM, "t", SMALL, lambda q, v, r: skewed(q @ r.T) @ v,
    ),
    Row(
        "attention, additive", "l[t,s] = w[d]*tanh(q[t,d] + k[s,d])\np[t,s] = exp(l[t,s] - logsumexp[r](l[t,r]))\n"
        "y[t,e] = p[t,s]*v[s,e]", QKV + " w[d]", "t,d", {"t": 128, "d": 32}, "t", SMALL,
        lambda q, k, v, w: softmax(np.tanh(q[:, None] + k) @ w) @ v,
    ),
    _soft("softmax, causal", "s <= t", lambda q, k, v: soft(q, k, v, causal(len(q))), MEDIUM, SMALL),
    _soft(
        "softmax, causal band of 32 in 4096", "s <= t, t < s+32",
        lambda q, k, v: banded(q, k, v, BAND - 1, 0, True), LONG, BLOCKS,
    ),
    _soft(
        "softmax, blocks of 64 in 2048", "t//64 == s//64",
        lambda q, k, v: softblocks(q, k, v), {"t": 2048, "d": 32}, BLOCKS,
    ),
    _soft(
        "softmax, segments", "seg[t] == seg[s]", lambda q, k, v, seg: soft(q, k, v, seg[:, None] == seg),
        {"t": 512, "d": 32, "n": 8}, {"t": 12, "d": 3, "n": 3}, " seg[t]<n",
    ),
    Row(
        "softmax, window of 32 by position",
        "l[t,w] = q[t,d]*k[t+w,d] where w < 32\np[t,w] = exp(l[t,w] - logsumexp[u](l[t,u]))\n"
        "y[t,e] = p[t,w]*v[t+w,e]", "q[t,d] k[t+31,d] v[t+31,d]", "t,d", {"t": 2048, "d": 32}, "t", {"t": 64, "d": 3},
        lambda q, k, v: windowed(q, k, v), scales=SOFTMAX,
    ),
    _heads(
        "softmax, heads", "l[h,t,s] = q[h,t,d]*k[h,s,d]\np[h,t,s] = exp(l[h,t,s] - logsumexp[r](l[h,t,r]))\n"
        "y[h,t,e] = p[h,t,s]*v[h,s,e]", HEADS, lambda q, k, v: softmax(q @ k.swapaxes(1, 2)) @ v, sdpa(),
    ),
    _heads(
        "softmax, causal heads in one reduction", "l[h,t,s] = q[h,t,d]*k[h,s,d]\n"
        "p[h,t,s] = exp(l[h,t,s]) / sum[r](exp(l[h,t,r])) where s <= t, r <= t\ny[h,t,e] = p[h,t,s]*v[h,s,e]", HEADS,
        lambda q, k, v: soft(q, k, v, causal(q.shape[1])), sdpa(is_causal=True),
    ),
    _heads(
        "softmax, one key for all heads", "l[h,t,s] = q[h,t,d]*k[s,d]\n"
        "p[h,t,s] = exp(l[h,t,s] - logsumexp[r](l[h,t,r]))\ny[h,t,e] = p[h,t,s]*v[s,e]", "q[h,t,d] k[t,d] v[t,d]",
        lambda q, k, v: (softmax(q.reshape(-1, q.shape[2]) @ k.T) @ v).reshape(*q.shape[:2], -1),
    ),
    _heads(
        "softmax, slopes by distance", "l[h,t,s] = q[h,t,d]*k[h,s,d]\nl[h,t,s] += -m[h]*(t-s) where s <= t\n"
        "c[h,t] max= l[h,t,s] where s <= t\ne[h,t,s] = exp(l[h,t,s] - c[h,t]) where s <= t\nz[h,t] = e[h,t,s]\n"
        "y[h,t,f] = e[h,t,s]*v[h,s,f] / z[h,t]", HEADS + " m[h]", lambda q, k, v, m: by_distance(q, k, v, m),
    ),
    Row(
        "softmax, lengths", "l[b,t,s] = q[b,t,d]*k[b,s,d]\ne[b,t,s] = exp(l[b,t,s]) where s <= len[b]\n"
        "z[b,t] = e[b,t,s]\ny[b,t,c] = e[b,t,s]*v[b,s,c] / z[b,t]", "q[b,t,d] k[b,t,d] v[b,t,d] len[b]<t", "b,t,d",
        {"b": 8, "t": 128, "d": 32}, "t", {"b": 3, "t": 7, "d": 2},
        lambda q, k, v, n: soft(q, k, v, np.arange(k.shape[1]) <= n[:, None, None]), scales=SOFTMAX,
    ),
)  # fmt: skip


def decays(a: Array, t: int) -> Any:
    n = np.arange(t)
    return np.tril(np.exp(-np.abs(a)[:, None, None] * np.abs(n[:, None] - n).astype(a.dtype)))


def softblocks(q: Array, k: Array, v: Array) -> Any:
    qs, ks, vs = (a.reshape(-1, BLOCK, a.shape[-1]) for a in (q, k, v))
    return (softmax(qs @ ks.swapaxes(1, 2)) @ vs).reshape(len(q), -1)


def windowed(q: Array, k: Array, v: Array) -> Any:
    """Blocks of queries with 31 keys more each."""
    ks, vs = (sliding_window_view(a, BLOCK + BAND - 1, axis=0)[::BLOCK] for a in (k, v))
    offset = np.arange(BLOCK + BAND - 1) - np.arange(BLOCK)[:, None]
    scores = q.reshape(-1, BLOCK, q.shape[-1]) @ ks
    p = softmax(np.where((offset >= 0) & (offset < BAND), scores, -np.inf))
    return (p @ vs.swapaxes(1, 2)).reshape(len(q), -1)


def by_distance(q: Array, k: Array, v: Array, m: Array) -> Any:
    t = q.shape[1]
    n = np.arange(t)
    scores = q @ k.swapaxes(1, 2) - m[:, None, None] * (n[:, None] - n).astype(q.dtype)
    return softmax(np.where(causal(t), scores, -np.inf)) @ v
