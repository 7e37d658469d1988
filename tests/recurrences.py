"""Recurrences of every kind: programs with blocks, and inputs for them.

In: nothing. Out: `CASES`. The one rule: each case is one kind of block, at sizes small enough for plain loops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Given = Sequence[int] | Array

RNN = """\
layer rnn(x[T,I], h0[K], V[I,K], U[K,K], b[K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t:
        a[t,k]   = V[i,k] * x[t,i]
        a[t,k]  += U[l,k] * h[t,l]
        h[t+1,k] = tanh(a[t,k] + b[k])
    y[k] = h[T,k]
"""


@dataclass(frozen=True)
class Case:
    """A program; `given` are shapes of random inputs, or arrays. `outputs` where not those that nothing reads."""

    name: str
    text: str
    given: Mapping[str, Given]
    outputs: tuple[str, ...] = ()
    layer: str = ""
    gradient: bool = True
    positive: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)

    def arrays(self, dtype: str = "float64", seed: int = 0) -> dict[str, Array]:
        """The inputs, those of real numbers in a type."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        made: dict[str, Array] = {}
        for name, given in self.given.items():
            if isinstance(given, np.ndarray):
                made[name] = given
                continue
            numbers = rng.uniform(0.3, 1.3, given) if name in self.positive else rng.uniform(-0.9, 0.9, given)
            if np.dtype(dtype).kind == "c":
                numbers = numbers + 1j * rng.uniform(-0.9, 0.9, given)
            made[name] = np.asarray(numbers).astype(dtype)
        return made


def _rnn(steps: int, width: int = 3) -> dict[str, Given]:
    k = width
    return {"x": (steps, 2), "h0": (k,), "V": (2, k), "U": (k, k), "b": (k,)}


def _integers(*numbers: Any) -> Array:
    return np.asarray(numbers, np.int64)


CASES = (
    Case("rnn", RNN, _rnn(5), layer="rnn"),
    Case("rnn of no step", RNN, _rnn(0), layer="rnn"),
    Case("rnn of one step", RNN, _rnn(1), layer="rnn"),
    Case("rnn of two steps", RNN, _rnn(2), layer="rnn"),
    Case("rnn of many steps", RNN, _rnn(70, 2), layer="rnn"),
    Case(
        "viterbi",
        "v[0,j] = e[0,j]\nfor t:\n    v[t+1,j] max= v[t,i] + A[i,j] + e[t,j]\ns max= v[T,j] where T == size(e,0)\n",
        {"e": (5, 3), "A": (3, 3)},
    ),
    Case(
        "viterbi's way back",
        """\
v[0,j] = p[j]
for t:
    v[t+1,j] max= v[t,i] + A[i,j] + e[t,j]
    w[t+1,j] = argmax[i](v[t,i] + A[i,j])
best max= v[size(e,0),j]
path[size(e,0)] = argmax[j](v[size(e,0),j])
for t reversed:
    path[t] = w[t+1,path[t+1]] where t < size(e,0)
""",
        {"e": (5, 3), "A": (3, 3), "p": (3,)},
        outputs=("best", "path"),
    ),
    Case(
        "two steps of memory",
        "h[0] = u[]\nh[1] = v[]\nfor t:\n    h[t+2] = a[] * h[t+1] - b[] * h[t] + x[t]\n",
        {"x": (7,), "u": (), "v": (), "a": (), "b": ()},
    ),
    Case("a first step in a padding", "for t:\n    s[t] = g[] * s[pad(t-1)] + x[t]\n", {"x": (6,), "g": ()}),
    Case(
        "a range",
        "s[0] = x[0]\nfor 1 <= t < size(x,0):\n    s[t] = tanh(g[] * s[t-1] + x[t])\n",
        {"x": (6,), "g": ()},
    ),
    Case("reversed", "for t reversed:\n    s[t] = x[t] * s[pad(t+1)] + x[t]**2\n", {"x": (6,)}),
    Case(
        "reversed with a range",
        "layer f(x[T,K], g[K]) -> s:\n    shape s[T+1,K]\n    s[T,k] = g[k]\n    for t < T reversed:\n"
        "        s[t,k] = sin(s[t+1,k]) + x[t,k] * g[k]\n",
        {"x": (5, 2), "g": (2,)},
        layer="f",
    ),
    Case(
        "edit distance",
        """\
layer edit(c[N,M], d) -> y:
    shape D[N+1,M+1]
    D[i,0] = d * i
    D[0,j] = d * j where j >= 1
    for i < N, j < M:
        D[i+1,j+1] = min(D[i,j] + c[i,j], min(D[i,j+1] + d, D[i+1,j] + d))
    y = D[N,M]
""",
        {"c": (4, 5), "d": ()},
        layer="edit",
        positive=frozenset(("c", "d")),
    ),
    Case(
        "soft dynamic time warping",
        """\
layer dtw(c[N,M]) -> y:
    shape D[N+1,M+1]
    D[0,0] = 1
    for i < N, j < M:
        D[i+1,j+1] = exp(-c[i,j]) * (D[i,j] + D[i,j+1] + D[i+1,j])
    y = -log(D[N,M])
""",
        {"c": (3, 4)},
        layer="dtw",
    ),
    Case(
        "two indices reversed",
        "for i, j reversed:\n    s[i,j] = x[i,j] + 0.5 * s[pad(i+1),j] - 0.25 * s[i,pad(j+1)]\n",
        {"x": (4, 3)},
    ),
    Case(
        "nested blocks",
        """\
for i:
    for j:
        s[i,j] = tanh(x[i,j] + a[] * s[i,pad(j-1)] + b[] * s[pad(i-1),j])
    r[i] += s[i,j] * s[i,j]
y += r[i]
""",
        {"x": (4, 3), "a": (), "b": ()},
    ),
    Case(
        "a triangle of blocks",
        "for i:\n    for j < i:\n        s[i,j] = x[i,j] + s[i,pad(j-1)] * 0.5\ny += s[i,j] * x[i,j] where j < i\n",
        {"x": (5, 5)},
    ),
    Case(
        "forward substitution",
        "for i:\n    d[i] += L[i,j] * y[j] where j < i\n    y[i] = (b[i] - d[i]) / L[i,i]\n",
        {"L": (4, 4), "b": (4,)},
        outputs=("y",),
        positive=frozenset("L"),
    ),
    Case(
        "cholesky",
        """\
for j:
    c[j] += L[j,k] * L[j,k] where k < j
    L[j,j] = sqrt(A[j,j] - c[j])
    d[i,j] += L[i,k] * L[j,k] where k < j, i > j
    L[i,j] = (A[i,j] - d[i,j]) / L[j,j] where i > j
""",
        {"A": np.asarray([[4.0, 0, 0], [1.0, 5, 0], [0.5, -0.25, 6]])},
        outputs=("L",),
    ),
    Case(
        "lengths",
        """\
h[0,b,k] = h0[b,k]
for t:
    h[t+1,b,k] = tanh(x[t,b,k] + U[l,k] * h[t,b,l]) where t < len[b]
    h[t+1,b,k] = h[t,b,k] where t >= len[b]
y[b,k] = h[size(x,0),b,k]
""",
        {"x": (5, 3, 2), "h0": (3, 2), "U": (2, 2), "len": _integers(5, 0, 3)},
    ),
    Case(
        "a mask",
        "for t:\n    s[t] += g[] * s[pad(t-1)] + x[t] where m[t] > 0\n",
        {"x": (6,), "g": (), "m": _integers(1, 0, 1, 1, 0, 1)},
    ),
    Case(
        "causal attention to what was made",
        """\
for t:
    h[t,k] = x[t,k] + sum[s](w[t,s] * h[s,k]) where s < t
""",
        {"x": (5, 2), "w": (5, 5)},
    ),
    Case(
        "a tree",
        """\
for n:
    h[n,k] = tanh(x[n,k] + U[l,k] * h[pad(left[n]),l] + W[l,k] * h[pad(right[n]),l])
y[k] = h[size(x,0)-1,k]
""",
        {
            "x": (5, 2),
            "U": (2, 2),
            "W": (2, 2),
            "left": _integers(-1, -1, 0, -1, 2),
            "right": _integers(-1, -1, 1, -1, 3),
        },
    ),
    Case(
        "a tree without paddings",
        "h[0,k] = x[0,k]\nfor 1 <= n < size(x,0):\n    h[n,k] = x[n,k] * h[up[n],k] + h[up[n],k]\n",
        {"x": (6, 2), "up": _integers(0, 0, 0, 1, 1, 3)},
    ),
    Case("halves", "h[0] = x[0]\nfor 1 <= t < size(x,0):\n    h[t] = x[t] + g[] * h[t//2]\n", {"x": (9,), "g": ()}),
    Case(
        "embedded reductions",
        """\
for t:
    z[t] = logsumexp[k](h[pad(t-1),k] + x[t,k])
    h[t,k] = x[t,k] - 0.5 * z[t] + max[j](x[t,j]) * mean[l](x[pad(t-1),l] + h[pad(t-1),l])
""",
        {"x": (5, 3)},
        outputs=("h", "z"),
    ),
    Case("a product of all steps", "p[0] = a[]\nfor t:\n    p[t+1] *= p[t] * x[t,k]\n", {"x": (5, 2), "a": ()}),
    Case("a product with gaps", "for t:\n    p[t] *= x[t,k] + 0.5 * p[pad(t-1)]\n", {"x": (5, 2)}),
    Case(
        "sums over a block",
        """\
for t:
    a[t] = tanh(x[t] + 0.5 * a[pad(t-1)])
    loss += a[t] * a[t]
    greatest max= a[t]
""",
        {"x": (6,)},
    ),
    Case("an average that forgets", "for t:\n    m[t,k] = 0.9 * m[pad(t-1),k] + 0.1 * x[t,k]\n", {"x": (6, 3)}),
    Case(
        "several blocks in a row",
        """\
for t:
    f[t] = tanh(x[t] + 0.5 * f[pad(t-1)])
for t reversed:
    b[t] = tanh(f[t] + 0.5 * b[pad(t+1)])
for t:
    c[t] = f[t] * b[t] + 0.25 * c[pad(t-1)]
y += c[t]
""",
        {"x": (6,)},
    ),
    Case(
        "two blocks of one index",
        "for t:\n    p[t] = x[t] + p[pad(t-1)]\nfor t:\n    q[t] = p[t] + q[pad(t-1)]\n",
        {"x": (4,)},
    ),
    Case(
        "lstm",
        """\
layer lstm(x[T,I], h0[K], c0[K], W[4,I,K], U[4,K,K], b[4,K]) -> h, c:
    shape h[T+1,K]
    shape c[T+1,K]
    h[0,k] = h0[k]
    c[0,k] = c0[k]
    for t:
        g[t,n,k] = b[n,k]
        g[t,n,k] += W[n,i,k] * x[t,i]
        g[t,n,k] += U[n,l,k] * h[t,l]
        c[t+1,k] = sigmoid(g[t,0,k]) * c[t,k] + sigmoid(g[t,1,k]) * tanh(g[t,2,k])
        h[t+1,k] = sigmoid(g[t,3,k]) * tanh(c[t+1,k])
""",
        {"x": (4, 2), "h0": (3,), "c0": (3,), "W": (4, 2, 3), "U": (4, 3, 3), "b": (4, 3)},
        layer="lstm",
    ),
    Case(
        "gru of a batch",
        """\
h[0,b,k] = h0[b,k]
for t:
    z[t,b,k] = sigmoid(x[t,b,k] + U[l,k] * h[t,b,l])
    r[t,b,k] = sigmoid(x[t,b,k] + V[l,k] * h[t,b,l])
    n[t,b,k] = tanh(x[t,b,k] + W[l,k] * (r[t,b,l] * h[t,b,l]))
    h[t+1,b,k] = (1 - z[t,b,k]) * h[t,b,k] + z[t,b,k] * n[t,b,k]
""",
        {"x": (4, 2, 3), "h0": (2, 3), "U": (3, 3), "V": (3, 3), "W": (3, 3)},
        outputs=("h",),
    ),
    Case(
        "extrema over steps with a range",
        """\
for t < 5:
    h[t+1,k] = 0.5 * h[t,k] + x[t,k]
    m max= h[t,k]
    n[k] min= h[t+1,k] * x[t,k] where 1 <= t, k <= t
""",
        {"x": (5, 3)},
    ),
    Case(
        "extrema over the steps of an inner block",
        """\
for i < 4:
    for j <= i:
        h[i,j+1] = 0.5 * h[i,j] + 0.5 * h[pad(i-1),j] + x[i,j]
        m[i] max= h[i,j+1]
    h[i+1,0] = m[i]**2
""",
        {"x": (4, 4)},
    ),
    Case(
        "recurrences of one block with a line between them",
        """\
d[i,0] = 0.5 * i
d[0,j+1] = 0.25 * j
for i < 8, j < 9:
    d[i+1,j+1] = 0.5 * d[i,j+1] - 0.25 * d[i+1,j] + x[i,j]
    w[i,j] = tanh(d[i+1,j+1])
    e[i,j+1] = 0.5 * e[i,j] + w[i,j]
z = e[7,9]
""",
        {"x": (8, 9)},
    ),
    Case(
        "what is put into a padding is not read there",
        """\
shape h[3,2]
for t < 5:
    h[pad(t-1),k] = x[t,k] + 0.5 * y[t,k]
    y[t+1,k] = h[pad(t-1,value=3),k] * 0.5 * y[t,k] + x[t,k]
z[k] = y[5,k]
""",
        {"x": (5, 2)},
    ),
    Case(
        "of two paddings the first says",
        """\
for t, s:
    h[t,s] = x[t,s] + 0.5 * h[pad(t-1,value=2),pad(s-1,value=5)] - 0.25 * h[t,pad(s-1,value=7)]
""",
        {"x": (4, 3)},
    ),
    Case(
        "an inner block of no step",
        """\
for i < 4:
    for j < 0:
        h[i,j+1] = 0.5 * h[i,j] + x[i]
    g[i] = 0.5 * g[pad(i-1)] + h[i,0] + x[i]
""",
        {"x": (4,)},
    ),
    Case(
        "merged axes",
        """\
for t:
    h[(t,k)] = x[t,k] + 0.5 * g[t]
    g[t+1] = h[(t,k)] * x[t,k] + 0.25 * h[(t,k)]
""",
        {"x": (3, 2)},
    ),
    *(
        Case(
            f"until examples end, {fn}{way}",
            f"""\
h[{a},b] = 1
for t{way}:
    h[{new},b] = {fn}(0.5 * h[{old},b] + x[t,b]) where t < n[b]
    h[{new},b] = h[{old},b] where t >= n[b]
L += h[{z},b]**2 where t < size(x,0)
""",
            {"x": (4, 3), "n": np.array([3, 0, 4])},
        )
        for fn, way, a, old, new, z in (
            ("tanh", "", "0", "t", "t+1", "t+1"),
            ("exp", "", "0", "t", "t+1", "t+1"),
            ("sigmoid", " reversed", "size(x,0)", "t+1", "t", "t"),
        )
    ),
    Case(
        "a residual step of a layer, no shape declared",
        """\
layer slope(y[B,D], W[D,D]) -> d[B,D]:
    a[b,i] = W[i,j] * y[b,j]
    d[b,i] = tanh(a[b,i])
layer flow(h0[B,K], W[K,K]) -> y[B,K]:
    h[0,b,k] = h0[b,k]
    for n < 3:
        h[n+1,...] = h[n,...] + slope(h[n,...], W)
    y[b,k] = h[3,b,k]
""",
        {"h0": (2, 3), "W": (3, 3)},
        layer="flow",
    ),
    Case(
        "rows below the step",
        """\
for j:
    L[j,j] = x[j]
    for j < i < size(x,0):
        L[i,j] = x[i] * L[j,j]
""",
        {"x": (4,)},
    ),
)
