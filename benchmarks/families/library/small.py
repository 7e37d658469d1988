"""The smallest programs in which layers are slow, each beside NumPy by hand."""
# ruff: noqa: N803

from __future__ import annotations

from typing import Any

import numpy as np

from ...workload import FORWARD
from ..cliffs.row import Row


def deviations(x: Any, m: Any) -> Any:
    d = x - m.repeat(x.shape[2] // m.shape[1], axis=1)[:, None]
    return np.einsum("bic,bic->bc", d, d).reshape(*m.shape, -1).sum(axis=2)


def widest(x: Any, window: int) -> Any:
    """Windows that double, and two that overlap."""
    y, width = x, 1
    while 2 * width <= window:
        y, width = np.maximum(y[:, :-width], y[:, width:]), 2 * width
    rest = window - width
    return np.maximum(y[:, : y.shape[1] - rest], y[:, rest:])


def first(x: Any) -> Any:
    """Row by row of all channels."""
    best, found = x[:, 0].copy(), np.zeros(x[:, 0].shape, np.int64)
    for i in range(1, x.shape[1]):
        better = x[:, i] > best
        np.copyto(best, x[:, i], where=better)
        found[better] = i
    return found


def repeated(x: Any, b: Any) -> Any:
    times = next(k for k in (28, 1) if len(x) % k == 0)
    return (x.reshape(len(x) // times, -1) + np.tile(b, times)).reshape(x.shape)


def patches(K: Any, x: Any) -> Any:
    d, e, o, c = K.shape
    b, i, j, _ = x.shape
    y = (x.reshape(-1, c) @ K.reshape(-1, c).T).reshape(b, i, j, d, e, o)
    return y.transpose(0, 1, 3, 2, 4, 5).reshape(b, i * d, j * e, o)


LINE, SHORT = {"b": 8, "i": 512, "c": 64}, {"b": 2, "i": 3, "c": 3}
MAXIMUM = "y[b,i,c] max= x[b,i+d,c] where d < "

ROWS = (
    Row("squares of deviations in groups", "y[b,g] = (x[b,i,(g,c)] - m[b,g])**2", "x[b,i,g*c] m[b,g]", "b,g",
        {"b": 8, "i": 3136, "g": 8, "c": 4}, "i", {"b": 2, "i": 5, "g": 2, "c": 3}, deviations),
    Row("sines added, 256", "y[b,t,e] = x[b,t,e] + sin(a[t,e])", "x[b,t,e] a[t,e]", "b,t,e",
        {"b": 32, "t": 256, "e": 256}, "b", {"b": 2, "t": 3, "e": 4}, lambda x, a: x + np.sin(a)),
    Row("sines added, 512", "y[b,t,e] = x[b,t,e] + sin(a[t,e])", "x[b,t,e] a[t,e]", "b,t,e",
        {"b": 32, "t": 512, "e": 256}, "b", {"b": 2, "t": 3, "e": 4}, lambda x, a: x + np.sin(a)),
    Row("maximum of 64", MAXIMUM + "64", "x[b,i+63,c]", "b,i,c", LINE, "b", SHORT, lambda x: widest(x, 64)),
    Row("maximum of 65", MAXIMUM + "65", "x[b,i+64,c]", "b,i,c", LINE, "b", SHORT, lambda x: widest(x, 65)),
    Row("where the maximum is", "y[b,c] = argmax[i](x[b,i,c])", "x[b,i,c]", "b,c", {"b": 32, "i": 49, "c": 512}, "b",
        SHORT, first, modes=(FORWARD,)),
    Row("narrow rows and a bias", "y[n,c] = x[n,c] + b[c]", "x[n,c] b[c]", "n,c", {"n": 50176, "c": 4}, "n",
        {"n": 5, "c": 3}, repeated),
    Row("patches written", "y[b,8*i+d,8*j+e,o] = K[d,e,o,c]*x[b,i,j,c]", "K[8,8,o,c] x[b,i,j,c]", "b,8*i,8*j,o",
        {"b": 4, "i": 14, "j": 14, "c": 32, "o": 8}, "b", {"b": 2, "i": 2, "j": 3, "c": 3, "o": 2}, patches),
    Row("two parts side by side", "shape y[{n},{k}+{l}]\ny[n,k] = a[n,k] where k < {k}\ny[n,{k}+k] += b[n,k]",
        "a[n,k] b[n,l]", "n,k+l", {"n": 6272, "k": 32, "l": 64}, "n", {"n": 4, "k": 2, "l": 3},
        lambda a, b: np.concatenate([a, b], axis=1)),
    Row("one of two by sign", "y[n,c] = where(x[n,c] > 0, x[n,c], 0.01*x[n,c])", "x[n,c]", "n,c",
        {"n": 1568, "c": 512}, "n", {"n": 4, "c": 3}, lambda x: np.maximum(x, x * 0.01)),
)  # fmt: skip
