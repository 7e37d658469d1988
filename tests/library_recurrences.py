"""Layers that run step by step, in plain loops: what the library's recurrences are compared with."""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise, product
from typing import Any

import numpy as np
from library_meaning import gru, lstm, rnn
from numpy.typing import NDArray

from indexlang.oracle import gradcheck

Array = NDArray[Any]


def rnn_over_time(x: Array, h0: Array, W: Array, U: Array, bias: Array) -> dict[str, Array]:
    y = rnn(x, h0, W, U, bias)
    return {"y": y, "h_last": y[:, -1]}


def gru_over_time(x: Array, h0: Array, W: Array, U: Array, bias: Array, bias2: Array) -> dict[str, Array]:
    states = [h0]
    for t in range(x.shape[1]):
        states.append(gru(x[:, t], states[-1], W, U, bias, bias2))
    return {"y": np.stack(states[1:], 1), "h_last": states[-1]}


def lstm_over_time(x: Array, h0: Array, c0: Array, W: Array, U: Array, bias: Array) -> dict[str, Array]:
    h, c, states = h0, c0, []
    for t in range(x.shape[1]):
        new = lstm(x[:, t], h, c, W, U, bias)
        h, c = new["h_next"], new["c_next"]
        states.append(h)
    return {"y": np.stack(states, 1), "h_last": h, "c_last": c}


def bidirectional_lstm(x: Array, h0: Array, c0: Array, W: Array, U: Array, bias: Array) -> Array:
    there = lstm_over_time(x, h0[0], c0[0], W[0], U[0], bias[0])["y"]
    back = lstm_over_time(x[:, ::-1], h0[1], c0[1], W[1], U[1], bias[1])["y"]
    return np.concatenate([there, back[:, ::-1]], -1)


def stacked_lstm(x: Array, h0: Array, c0: Array, W: Array, U: Array, bias: Array) -> Array:
    for n in range(len(W)):
        x = lstm_over_time(x, h0[n], c0[n], W[n], U[n], bias[n])["y"]
    return x


def linear_attention(q: Array, k: Array, v: Array) -> Array:
    """Without a recurrence: each query's average of what is not later, weighted by products of features."""
    q, k = (np.where(u > 0, u + 1, np.exp(np.minimum(u, 0))) for u in (q, k))
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b, t, h in np.ndindex(*q.shape[:3]):
        p = k[b, : t + 1, h] @ q[b, t, h]
        y[b, t, h] = p @ v[b, : t + 1, h] / p.sum()
    return y


def state_space(x: Array, decay: Array, into: Array, out: Array, skip: Array) -> Array:
    """As a convolution: the response to one pulse, summed over pulses."""
    y = x * skip
    for t, u in product(range(x.shape[1]), repeat=2):
        if u <= t:
            y[:, t] += x[:, u] * (out * into * decay ** (t - u)).sum(1)
    return y


def moving_average(x: Array, alpha: float = 0.1) -> Array:
    y = x.copy()
    for t in range(1, x.shape[1]):
        y[:, t] = (1 - alpha) * y[:, t - 1] + alpha * x[:, t]
    return y


def paths(start: Array, trans: Array, emit: Array) -> dict[tuple[int, ...], float]:
    """Every path of states of one example, with the logarithm of its probability."""
    steps, states = emit.shape
    found = {}
    for path in product(range(states), repeat=steps):
        moves = sum(trans[a, b] for a, b in pairwise(path))
        found[path] = start[path[0]] + moves + sum(emit[t, s] for t, s in enumerate(path))
    return found


def hmm_forward(start: Array, trans: Array, emit: Array) -> Array:
    return np.array([np.logaddexp.reduce([*paths(start, trans, e).values()]) for e in emit])


def viterbi(start: Array, trans: Array, emit: Array) -> dict[str, Array]:
    every = [paths(start, trans, e) for e in emit]
    best = [max(found, key=lambda path: found[path]) for found in every]
    return {"path": np.array(best), "score": np.array([f[p] for f, p in zip(every, best, strict=True)])}


def crf(emit: Array, tag: Array, start: Array, trans: Array) -> Array:
    every = [paths(start, trans, e) for e in emit]
    return np.array([f[tuple(t)] for f, t in zip(every, tag.tolist(), strict=True)]) - hmm_forward(start, trans, emit)


def edit_distance(x: Array, y: Array, cost: Array) -> Array:
    def distance(a: list[int], b: list[int]) -> Any:
        if not a or not b:
            return len(b) * cost[0] + len(a) * cost[1]
        kept = distance(a[1:], b[1:]) + (a[0] != b[0]) * cost[2]
        return min(kept, distance(a, b[1:]) + cost[0], distance(a[1:], b) + cost[1])

    return np.array([distance(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)])


def alignments(n: int, m: int) -> list[list[tuple[int, int]]]:
    """All paths from one corner of a table to the other."""
    if n == m == 1:
        return [[(0, 0)]]
    before = [(n - 1, m - 1), (n - 1, m), (n, m - 1)]
    return [[*path, (n - 1, m - 1)] for a, b in before if a and b for path in alignments(a, b)]


def costs(x: Array, y: Array) -> Array:
    """Of every alignment, by example."""
    apart = ((x[:, :, None] - y[:, None]) ** 2).sum(-1)
    return np.array([[sum(c[p] for p in path) for path in alignments(*c.shape)] for c in apart])


def dtw(x: Array, y: Array) -> Array:
    return np.asarray(costs(x, y).min(1))


def soft_dtw(x: Array, y: Array, gamma: float = 1) -> Array:
    return -gamma * np.logaddexp.reduce(-costs(x, y) / gamma, axis=1)


def sinkhorn(C: Array, a: Array, b: Array, eps: float = 0.1, steps: int = 50) -> Array:
    """By scalings of the kernel, without logarithms."""
    kernel = np.exp(-C / eps)
    v = np.ones(len(b))
    for _ in range(steps):
        u = a / (kernel @ v)
        v = b / (kernel.T @ u)
    return np.asarray(u[:, None] * kernel * v)


def heat(x: Array, steps: int = 10, rate: float = 0.2) -> Array:
    for _ in range(steps):
        p = np.pad(x, [(0, 0), (1, 1), (1, 1)], mode="edge")
        x = x + rate * (p[:, :-2, 1:-1] + p[:, 2:, 1:-1] + p[:, 1:-1, :-2] + p[:, 1:-1, 2:] - 4 * x)
    return x


def wave(x: Array, steps: int = 10, speed: float = 0.5) -> Array:
    def bend(u: Array) -> Array:
        p = np.pad(u, [(0, 0), (1, 1)])
        return np.asarray(p[:, :-2] + p[:, 2:] - 2 * u)

    u = [x, x + speed**2 / 2 * bend(x)]
    for _ in range(steps - 1):
        u.append(2 * u[-1] - u[-2] + speed**2 * bend(u[-1]))
    return np.stack(u[: steps + 1], 1)


# -- the layers, their inputs, and which function above says what comes out ------------------------

Inputs = Mapping[str, tuple[int, ...] | Callable[[np.random.Generator], Array]]


def _below(limit: int, *shape: int) -> Callable[[np.random.Generator], Array]:
    return lambda rng: rng.integers(0, limit, shape)


def _between(low: float, high: float, *shape: int) -> Callable[[np.random.Generator], Array]:
    return lambda rng: gradcheck.spread(shape, rng, low, high)


_GATES: Inputs = {"x": (2, 3, 3), "h0": (2, 2), "c0": (2, 2), "W": (3, 4, 2), "U": (2, 4, 2), "bias": (4, 2)}
_LAYERS: Inputs = {n: (2, *s) for n, s in _GATES.items() if isinstance(s, tuple)}
_HEADS: Inputs = {"q": (2, 3, 2, 2), "k": (2, 3, 2, 2), "v": (2, 3, 2, 3)}
_STATES: Inputs = {"start": (3,), "trans": (3, 3), "emit": (2, 4, 3)}
_SERIES: Inputs = {"x": (2, 3, 2), "y": (2, 4, 2)}
_LETTERS: Inputs = {"x": _below(3, 4, 5), "y": _below(3, 4, 4), "cost": _between(0.5, 2, 3)}
_WEIGHTS: Inputs = {"C": _between(0, 1, 3, 4), "a": _between(0.2, 1, 3), "b": _between(0.2, 1, 4)}

TABLE: list[tuple[str, str, Inputs, Callable[..., Any], dict[str, float]]] = [
    ("sequences", "rnn", {"x": (2, 3, 3), "h0": (2, 4), "W": (3, 4), "U": (4, 4), "bias": (4,)}, rnn_over_time, {}),
    ("sequences", "lstm", _GATES, lstm_over_time, {}),
    (
        "sequences",
        "gru",
        {"x": (2, 3, 3), "h0": (2, 2), "W": (3, 3, 2), "U": (2, 3, 2), "bias": (3, 2), "bias2": (3, 2)},
        gru_over_time,
        {},
    ),
    ("sequences", "bidirectional_lstm", {**_LAYERS, "x": (2, 3, 3)}, bidirectional_lstm, {}),
    ("sequences", "stacked_lstm", {**_LAYERS, "x": (2, 3, 2), "W": (2, 2, 4, 2)}, stacked_lstm, {}),
    ("sequences", "linear_attention", _HEADS, linear_attention, {}),
    (
        "sequences",
        "state_space",
        {"x": (2, 4, 3), "decay": _between(-1, 1, 3, 2), "into": (3, 2), "out": (3, 2), "skip": (3,)},
        state_space,
        {},
    ),
    ("sequences", "moving_average", {"x": (2, 5, 3)}, moving_average, {}),
    ("sequences", "moving_average", {"x": (2, 1, 3)}, moving_average, {"alpha": 0.7}),
    ("paths", "hmm_forward", _STATES, hmm_forward, {}),
    ("paths", "viterbi", _STATES, viterbi, {}),
    ("paths", "crf", {"emit": (2, 4, 3), "tag": _below(3, 2, 4), "start": (3,), "trans": (3, 3)}, crf, {}),
    ("paths", "edit_distance", _LETTERS, edit_distance, {}),
    ("paths", "dtw", _SERIES, dtw, {}),
    ("paths", "soft_dtw", _SERIES, soft_dtw, {}),
    ("paths", "soft_dtw", _SERIES, soft_dtw, {"gamma": 0.3}),
    ("iterations", "sinkhorn", _WEIGHTS, sinkhorn, {"steps": 3, "eps": 0.5}),
    ("iterations", "sinkhorn", _WEIGHTS, sinkhorn, {}),
    ("iterations", "heat", {"x": (2, 3, 4)}, heat, {"steps": 3}),
    ("iterations", "heat", {"x": (1, 4, 3)}, heat, {}),
    ("iterations", "wave", {"x": (2, 5)}, wave, {"steps": 4}),
    ("iterations", "wave", {"x": (1, 4)}, wave, {"speed": 0.9}),
]
