"""Standard layers with the gradients of their textbooks, written by hand, and the page that shows them beside ours.

`python tests/gradients.py` prints the page, docs/gradients.md. A textbook's gradient is a program of the language: what
it needs of the forward pass, then its statements. Both are counted by the statements that wait for a cotangent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import indexlang
from indexlang.calls.function import Function
from indexlang.program.ir import (
    Access,
    Call,
    Const,
    Index,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    children,
    primal_of,
    reads_of,
)
from indexlang.program.text import dim_names, statement_text

LIBRARY = Path(indexlang.__file__).parent / "library"
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """A layer of the library, or a text; the textbook's gradient; the shapes of inputs, and limits of integer ones."""

    name: str
    textbook: str
    inputs: Mapping[str, Shape]
    file: str = ""
    text: str = ""
    layer: str = ""
    source: str = ""
    integers: Mapping[str, int] = field(default_factory=dict)
    positive: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    @cached_property
    def function(self) -> Function:
        if self.text:
            return indexlang.compile(self.text)
        outputs = {"outputs": list(self.outputs)} if self.outputs else {}
        return indexlang.compile(LIBRARY / f"{self.file}.idx", layer=self.layer or self.name, **outputs, **self.options)

    @cached_property
    def ours(self) -> Program:
        return self.function.grad().program

    @cached_property
    def book(self) -> Program:
        return indexlang.compile("\n".join(line.strip() for line in self.textbook.strip().splitlines())).program


def backward(program: Program) -> list[Statement]:
    """The statements that wait for a cotangent; the others belong to the forward pass."""
    waiting = {name for name in program.inputs if primal_of(name) is not None}
    found = []
    for stmt in program.statements:
        if waiting & set(reads_of(stmt)):
            waiting.add(stmt.target.tensor)
            found.append(stmt)
    return found


@dataclass(frozen=True)
class Length:
    """How long a gradient is. Terms: what is added, in brackets too. Factors: tensors, numbers, sizes, indices."""

    statements: int
    terms: int
    factors: int


def length(statements: Iterable[Statement]) -> Length:
    values = [s.value for s in statements]
    return Length(len(values), sum(map(_terms, values)), sum(map(_factors, values)))


def _terms(value: Subscript) -> int:
    return 1 + sum(isinstance(part, Call) and part.fn in ("add", "sub") for part in _values(value))


def _factors(value: Subscript) -> int:
    return sum(isinstance(part, Access | Const | Size | Index) for part in _values(value))


def _values(value: Subscript) -> Iterator[Subscript]:
    """The parts of a value that are no positions."""
    yield value
    if isinstance(value, Call | Reduce):
        for part in children(value):
            yield from _values(part)


CONV = "x[b,pad(2*i+2*di,1),pad(2*j+2*dj,1),c]"
ROWS = (
    Row(
        "affine",
        """
        b.grad[o] += y.grad[n,o]
        W.grad[i,o] += y.grad[n,o] * x[n,i]
        x.grad[n,i] += y.grad[n,o] * W[i,o]
        """,
        {"x": (3, 4), "W": (4, 5), "b": (5,)},
        "linear",
    ),
    Row(
        "bilinear",
        """
        b.grad[o] += y.grad[n,o]
        W.grad[i,j,o] += y.grad[n,o] * x[n,i] * z[n,j]
        x.grad[n,i] += y.grad[n,o] * W[i,j,o] * z[n,j]
        z.grad[n,j] += y.grad[n,o] * W[i,j,o] * x[n,i]
        """,
        {"x": (3, 4), "z": (3, 2), "W": (4, 2, 5), "b": (5,)},
        "linear",
    ),
    Row(
        "conv2d",
        """
        bias.grad[o] += y.grad[b,i,j,o]
        K.grad[di,dj,c,o] += y.grad[b,i,j,o] * x[b,i+di,j+dj,c]
        x.grad[b,i+di,j+dj,c] += y.grad[b,i,j,o] * K[di,dj,c,o]
        """,
        {"x": (2, 6, 5, 3), "K": (3, 2, 3, 4), "bias": (4,)},
        "conv",
    ),
    Row(
        "conv2d, stride 2, dilation 2, padding 1",
        f"""
        bias.grad[o] += y.grad[b,i,j,o]
        K.grad[di,dj,c,o] += y.grad[b,i,j,o] * {CONV}
        x.grad{CONV[1:]} += y.grad[b,i,j,o] * K[di,dj,c,o]
        """,
        {"x": (2, 8, 9, 3), "K": (3, 2, 3, 4), "bias": (4,)},
        "conv",
        layer="conv2d",
        options={"stride": 2, "dilation": 2, "padding": 1},
    ),
    Row(
        "conv2d_groups, 2 groups",
        """
        bias.grad[o] += y.grad[b,i,j,o]
        K.grad[di,dj,c,(g,o)] += y.grad[b,i,j,(g,o)] * x[b,i+di,j+dj,(g,c)] where g < 2
        x.grad[b,i+di,j+dj,(g,c)] += y.grad[b,i,j,(g,o)] * K[di,dj,c,(g,o)] where g < 2
        """,
        {"x": (2, 6, 5, 4), "K": (3, 2, 2, 6), "bias": (6,)},
        "conv",
        layer="conv2d_groups",
    ),
    Row(
        "depthwise_conv2d",
        """
        bias.grad[o] += y.grad[b,i,j,o]
        K.grad[di,dj,c,m] += y.grad[b,i,j,(c,m)] * x[b,i+di,j+dj,c]
        x.grad[b,i+di,j+dj,c] += y.grad[b,i,j,(c,m)] * K[di,dj,c,m]
        """,
        {"x": (2, 6, 5, 3), "K": (3, 2, 3, 2), "bias": (6,)},
        "conv",
    ),
    Row(
        "conv_transpose2d, stride 2",
        """
        bias.grad[o] += y.grad[b,i,j,o]
        K.grad[di,dj,c,o] += y.grad[b,2*i+di,2*j+dj,o] * x[b,i,j,c]
        x.grad[b,i,j,c] += y.grad[b,2*i+di,2*j+dj,o] * K[di,dj,c,o]
        """,
        {"x": (2, 3, 4, 3), "K": (3, 2, 3, 4), "bias": (4,)},
        "conv",
        layer="conv_transpose2d",
        options={"stride": 2},
    ),
    Row(
        "add_channels (a bias)",
        "x.grad[n,i,j,c] += y.grad[n,i,j,c]\nb.grad[c] += y.grad[n,i,j,c]",
        {"x": (2, 3, 4, 5), "b": (5,)},
        "joining",
        layer="add_channels",
    ),
    Row(
        "residual",
        "x.grad[...] += y.grad[...]\nf.grad[...] += y.grad[...]",
        {"x": (2, 3), "f": (2, 3)},
        "joining",
    ),
    Row("relu", "x.grad[...] += y.grad[...] where x[...] > 0", {"x": (4, 5)}, "activations"),
    Row(
        "leaky_relu",
        """
        x.grad[...] += y.grad[...] where x[...] > 0
        x.grad[...] += 0.01 * y.grad[...] where not x[...] > 0
        """,
        {"x": (4, 5)},
        "activations",
    ),
    Row("relu6", "x.grad[...] += y.grad[...] where x[...] > 0, x[...] < 6", {"x": (4, 5)}, "activations"),
    Row(
        "sigmoid",
        "y[...] = 1 / (1 + exp(-x[...]))\nx.grad[...] += y.grad[...] * y[...] * (1 - y[...])",
        {"x": (4, 5)},
        "activations",
    ),
    Row(
        "tanh",
        "y[...] = tanh(x[...])\nx.grad[...] += y.grad[...] * (1 - y[...]**2)",
        {"x": (4, 5)},
        "activations",
    ),
    Row(
        "gelu",
        """
        x.grad[...] += y.grad[...] * (
            (1 + erf(x[...] / sqrt(2))) / 2 + x[...] * exp(-x[...]**2 / 2) / sqrt(2 * pi))
        """,
        {"x": (4, 5)},
        "activations",
        source="Hendrycks, Gimpel 2016: the distribution function, and x times the density",
    ),
    Row(
        "gelu_tanh",
        """
        t[...] = tanh(sqrt(2 / pi) * (x[...] + 0.044715 * x[...]**3))
        x.grad[...] += 0.5 * y.grad[...] * (
            1 + t[...] + x[...] * (1 - t[...]**2) * sqrt(2 / pi) * (1 + 3 * 0.044715 * x[...]**2))
        """,
        {"x": (4, 5)},
        "activations",
    ),
    Row(
        "silu",
        """
        s[...] = sigmoid(x[...])
        x.grad[...] += y.grad[...] * s[...] * (1 + x[...] * (1 - s[...]))
        """,
        {"x": (4, 5)},
        "activations",
        source="Elfwing, Uchibe, Doya 2017, equation 10",
    ),
    Row("softplus", "x.grad[...] += y.grad[...] / (1 + exp(-x[...]))", {"x": (4, 5)}, "activations"),
    Row(
        "softmax",
        """
        p[b,k] = exp(s[b,k]) / sum[l](exp(s[b,l]))
        d[b] = p.grad[b,k] * p[b,k]
        s.grad[b,k] += p[b,k] * (p.grad[b,k] - d[b])
        """,
        {"s": (3, 5)},
        "activations",
    ),
    Row(
        "log_softmax",
        """
        p[b,k] = s[b,k] - log(sum[l](exp(s[b,l])))
        d[b] = p.grad[b,k]
        s.grad[b,k] += p.grad[b,k] - exp(p[b,k]) * d[b]
        """,
        {"s": (3, 5)},
        "activations",
    ),
    Row(
        "log_loss",
        "q.grad[n,y[n]] += -ell.grad[n] / q[n,y[n]]",
        {"q": (4, 3), "y": (4,)},
        "losses",
        integers={"y": 3},
        positive=frozenset("q"),
    ),
    Row(
        "cross_entropy",
        """
        l[n] = log(sum[k](exp(s[n,k])))
        s.grad[n,k] += ell.grad[n] * exp(s[n,k] - l[n])
        s.grad[n,y[n]] += -ell.grad[n]
        """,
        {"s": (4, 3), "y": (4,)},
        "losses",
        integers={"y": 3},
        source="softmax less the one-hot label",
    ),
    Row(
        "smoothed_cross_entropy",
        """
        l[n] = log(sum[k](exp(s[n,k])))
        s.grad[n,k] += ell.grad[n] * exp(s[n,k] - l[n])
        s.grad[n,k] += -0.1 * ell.grad[n] / size(s,1)
        s.grad[n,y[n]] += -0.9 * ell.grad[n]
        """,
        {"s": (4, 3), "y": (4,)},
        "losses",
        integers={"y": 3},
    ),
    Row(
        "binary_cross_entropy",
        """
        s.grad[n,k] += ell.grad[n,k] * (sigmoid(s[n,k]) - y[n,k])
        y.grad[n,k] += -ell.grad[n,k] * s[n,k]
        """,
        {"s": (4, 3), "y": (4, 3)},
        "losses",
    ),
    Row(
        "mean_squared_error",
        """
        x.grad[n,k] += 2 * loss.grad * (x[n,k] - y[n,k]) / (size(x,0) * size(x,1))
        y.grad[n,k] += -2 * loss.grad * (x[n,k] - y[n,k]) / (size(x,0) * size(x,1))
        """,
        {"x": (4, 3), "y": (4, 3)},
        "losses",
    ),
    Row("batch_mean", "ell.grad[n] += loss.grad / size(ell,0)", {"ell": (4,)}, "losses"),
    Row(
        "maxpool2d",
        """
        y[b,i,j,c] max= x[b,2*i+di,2*j+dj,c] where di < 2, dj < 2
        x.grad[b,2*i+di,2*j+dj,c] += y.grad[b,i,j,c] where di < 2, dj < 2, x[b,2*i+di,2*j+dj,c] == y[b,i,j,c]
        """,
        {"x": (2, 6, 5, 3)},
        "pooling",
        source="without ties; ours asks for the first winner",
    ),
    Row(
        "avgpool2d",
        "x.grad[b,2*i+di,2*j+dj,c] += y.grad[b,i,j,c] / 4 where di < 2, dj < 2",
        {"x": (2, 6, 5, 3)},
        "pooling",
    ),
    Row(
        "global_avgpool",
        "x.grad[b,i,j,c] += y.grad[b,c] / (size(x,1) * size(x,2))",
        {"x": (2, 6, 5, 3)},
        "pooling",
    ),
    Row(
        "batchnorm2d",
        """
        m = size(x,0) * size(x,1) * size(x,2)
        mu[c] = x[b,i,j,c] / m
        var[c] = (x[b,i,j,c] - mu[c])**2 / m
        r[c] = (var[c] + 1e-5)**-0.5
        h[b,i,j,c] = (x[b,i,j,c] - mu[c]) * r[c]
        h.grad[b,i,j,c] += y.grad[b,i,j,c] * gamma[c]
        var.grad[c] += -0.5 * h.grad[b,i,j,c] * (x[b,i,j,c] - mu[c]) * (var[c] + 1e-5)**-1.5
        mu.grad[c] += -h.grad[b,i,j,c] * r[c]
        mu.grad[c] += -2 * var.grad[c] * (x[b,i,j,c] - mu[c]) / m
        x.grad[b,i,j,c] += h.grad[b,i,j,c] * r[c]
        x.grad[b,i,j,c] += 2 * var.grad[c] * (x[b,i,j,c] - mu[c]) / m
        x.grad[b,i,j,c] += mu.grad[c] / m
        gamma.grad[c] += y.grad[b,i,j,c] * h[b,i,j,c]
        beta.grad[c] += y.grad[b,i,j,c]
        """,
        {"x": (3, 4, 2, 5), "gamma": (5,), "beta": (5,)},
        "normalization",
        outputs=("y",),
        source="Ioffe, Szegedy 2015, section 3",
    ),
    Row(
        "batchnorm_eval",
        """
        r[c] = (var[c] + 1e-5)**-0.5
        gamma.grad[c] += y.grad[b,c] * (x[b,c] - mu[c]) * r[c]
        x.grad[b,c] += y.grad[b,c] * gamma[c] * r[c]
        mu.grad[c] += -y.grad[b,c] * gamma[c] * r[c]
        var.grad[c] += -0.5 * y.grad[b,c] * gamma[c] * (x[b,c] - mu[c]) * r[c]**3
        beta.grad[c] += y.grad[b,c]
        """,
        {"x": (3, 5), "gamma": (5,), "beta": (5,), "mu": (5,), "var": (5,)},
        "normalization",
        positive=frozenset(("var",)),
    ),
    Row(
        "layernorm",
        """
        mu[n] = x[n,d] / size(x,1)
        var[n] = (x[n,d] - mu[n])**2 / size(x,1)
        r[n] = (var[n] + 1e-5)**-0.5
        h[n,d] = (x[n,d] - mu[n]) * r[n]
        h.grad[n,d] += y.grad[n,d] * gamma[d]
        var.grad[n] += -0.5 * h.grad[n,d] * (x[n,d] - mu[n]) * (var[n] + 1e-5)**-1.5
        mu.grad[n] += -h.grad[n,d] * r[n]
        mu.grad[n] += -2 * var.grad[n] * (x[n,d] - mu[n]) / size(x,1)
        x.grad[n,d] += h.grad[n,d] * r[n]
        x.grad[n,d] += 2 * var.grad[n] * (x[n,d] - mu[n]) / size(x,1)
        x.grad[n,d] += mu.grad[n] / size(x,1)
        gamma.grad[d] += y.grad[n,d] * h[n,d]
        beta.grad[d] += y.grad[n,d]
        """,
        {"x": (3, 5), "gamma": (5,), "beta": (5,)},
        "normalization",
        source="as for batch normalisation, along the other axis",
    ),
    Row(
        "rmsnorm",
        """
        r[n] = (sum[d](x[n,d]**2) / size(x,1) + 1e-6)**-0.5
        gamma.grad[d] += y.grad[n,d] * x[n,d] * r[n]
        x.grad[n,d] += y.grad[n,d] * gamma[d] * r[n]
        r.grad[n] += y.grad[n,d] * gamma[d] * x[n,d]
        x.grad[n,d] += -r.grad[n] * r[n]**3 * x[n,d] / size(x,1)
        """,
        {"x": (3, 5), "gamma": (5,)},
        "normalization",
    ),
    Row(
        "groupnorm, 2 groups",
        """
        m = size(x,1) * size(x,2) * (size(x,3) // 2)
        mu[b,g] = x[b,i,j,(g,c)] / m where g < 2, c < size(x,3) // 2
        var[b,g] = (x[b,i,j,(g,c)] - mu[b,g])**2 / m where g < 2, c < size(x,3) // 2
        r[b,g] = (var[b,g] + 1e-5)**-0.5
        h[b,i,j,(g,c)] = (x[b,i,j,(g,c)] - mu[b,g]) * r[b,g]
        h.grad[b,i,j,k] += y.grad[b,i,j,k] * gamma[k]
        var.grad[b,g] += -0.5 * h.grad[b,i,j,(g,c)] * (x[b,i,j,(g,c)] - mu[b,g]) * (var[b,g] + 1e-5)**-1.5
        mu.grad[b,g] += -h.grad[b,i,j,(g,c)] * r[b,g]
        mu.grad[b,g] += -2 * var.grad[b,g] * (x[b,i,j,(g,c)] - mu[b,g]) / m
        x.grad[b,i,j,(g,c)] += h.grad[b,i,j,(g,c)] * r[b,g]
        x.grad[b,i,j,(g,c)] += 2 * var.grad[b,g] * (x[b,i,j,(g,c)] - mu[b,g]) / m
        x.grad[b,i,j,(g,c)] += mu.grad[b,g] / m where g < 2, c < size(x,3) // 2
        gamma.grad[k] += y.grad[b,i,j,k] * h[b,i,j,k]
        beta.grad[k] += y.grad[b,i,j,k]
        """,
        {"x": (2, 3, 2, 6), "gamma": (6,), "beta": (6,)},
        "normalization",
        layer="groupnorm",
        source="as for batch normalisation, within groups",
    ),
    Row(
        "local_response_norm",
        """
        s[b,i,j,c] = x[b,i,j,pad(c+d-2)]**2 where c < size(x,3), d < 5
        x.grad[b,i,j,c] += y.grad[b,i,j,c] * (1 + 2e-5 * s[b,i,j,c])**-0.75
        s.grad[b,i,j,c] += -1.5e-5 * y.grad[b,i,j,c] * x[b,i,j,c] * (1 + 2e-5 * s[b,i,j,c])**-1.75
        x.grad[b,i,j,pad(c+d-2)] += 2 * s.grad[b,i,j,c] * x[b,i,j,pad(c+d-2)] where c < size(x,3), d < 5
        """,
        {"x": (2, 3, 2, 6)},
        "normalization",
    ),
    Row(
        "dropout",
        """
        x.grad[...] += 2 * y.grad[...] * mask[...]
        mask.grad[...] += 2 * y.grad[...] * x[...]
        """,
        {"x": (3, 5), "mask": (3, 5)},
        "normalization",
    ),
    Row(
        "l2 normalisation",
        """
        r[n] = sqrt(sum[k](x[n,k]**2))
        y[n,k] = x[n,k] / r[n]
        x.grad[n,k] += y.grad[n,k] / r[n]
        r.grad[n] += -y.grad[n,k] * y[n,k] / r[n]
        x.grad[n,k] += r.grad[n] * x[n,k] / r[n]
        """,
        {"x": (3, 5)},
        text="r[n] = sqrt(sum[k](x[n,k]**2))\ny[n,k] = x[n,k] / r[n]",
    ),
    Row(
        "cosine similarity",
        """
        s[n] = a[n,k] * b[n,k]
        p[n] = a[n,k]**2
        q[n] = b[n,k]**2
        y[n] = s[n] / sqrt(p[n] * q[n])
        s.grad[n] += y.grad[n] / sqrt(p[n] * q[n])
        p.grad[n] += -0.5 * y.grad[n] * y[n] / p[n]
        q.grad[n] += -0.5 * y.grad[n] * y[n] / q[n]
        a.grad[n,k] += s.grad[n] * b[n,k]
        a.grad[n,k] += 2 * p.grad[n] * a[n,k]
        b.grad[n,k] += s.grad[n] * a[n,k]
        b.grad[n,k] += 2 * q.grad[n] * b[n,k]
        """,
        {"a": (3, 5), "b": (3, 5)},
        text="s[n] = a[n,k] * b[n,k]\np[n] = a[n,k]**2\nq[n] = b[n,k]**2\ny[n] = s[n] / sqrt(p[n] * q[n])",
    ),
    Row(
        "embedding",
        "E.grad[tok[b,t],e] += y.grad[b,t,e]",
        {"E": (4, 3), "tok": (2, 5)},
        "sequences",
        integers={"tok": 4},
    ),
    Row("positional_encoding", "x.grad[b,t,e] += y.grad[b,t,e]", {"x": (2, 3, 4)}, "sequences"),
    Row(
        "attention",
        """
        s[b,h,t,u] = q[b,t,h,d] * k[b,u,h,d] / sqrt(size(q,3))
        p[b,h,t,u] = exp(s[b,h,t,u]) / sum[w](exp(s[b,h,t,w]))
        v.grad[b,u,h,f] += p[b,h,t,u] * y.grad[b,t,h,f]
        p.grad[b,h,t,u] += y.grad[b,t,h,f] * v[b,u,h,f]
        e[b,h,t] = p.grad[b,h,t,u] * p[b,h,t,u]
        s.grad[b,h,t,u] += p[b,h,t,u] * (p.grad[b,h,t,u] - e[b,h,t])
        q.grad[b,t,h,d] += s.grad[b,h,t,u] * k[b,u,h,d] / sqrt(size(q,3))
        k.grad[b,u,h,d] += s.grad[b,h,t,u] * q[b,t,h,d] / sqrt(size(q,3))
        """,
        {"q": (2, 3, 2, 4), "k": (2, 5, 2, 4), "v": (2, 5, 2, 3)},
        "sequences",
        source="Dao et al. 2022, FlashAttention, appendix B.2",
    ),
    Row(
        "causal_attention",
        """
        s[b,h,t,u] = q[b,t,h,d] * k[b,u,h,d] / sqrt(size(q,3))
        p[b,h,t,u] = exp(s[b,h,t,u]) / sum[w](exp(s[b,h,t,w])) where u <= t, w <= t
        v.grad[b,u,h,f] += p[b,h,t,u] * y.grad[b,t,h,f]
        p.grad[b,h,t,u] += y.grad[b,t,h,f] * v[b,u,h,f]
        e[b,h,t] = p.grad[b,h,t,u] * p[b,h,t,u]
        s.grad[b,h,t,u] += p[b,h,t,u] * (p.grad[b,h,t,u] - e[b,h,t])
        q.grad[b,t,h,d] += s.grad[b,h,t,u] * k[b,u,h,d] / sqrt(size(q,3))
        k.grad[b,u,h,d] += s.grad[b,h,t,u] * q[b,t,h,d] / sqrt(size(q,3))
        """,
        {"q": (2, 4, 2, 3), "k": (2, 4, 2, 3), "v": (2, 4, 2, 3)},
        "sequences",
    ),
    Row(
        "rnn_cell",
        """
        a[b,k] = W[i,k] * x[b,i]
        a[b,k] += U[l,k] * h[b,l]
        a[b,k] += bias[k]
        y[b,k] = tanh(a[b,k])
        a.grad[b,k] += y.grad[b,k] * (1 - y[b,k]**2)
        bias.grad[k] += a.grad[b,k]
        U.grad[l,k] += a.grad[b,k] * h[b,l]
        h.grad[b,l] += a.grad[b,k] * U[l,k]
        W.grad[i,k] += a.grad[b,k] * x[b,i]
        x.grad[b,i] += a.grad[b,k] * W[i,k]
        """,
        {"x": (2, 3), "h": (2, 4), "W": (3, 4), "U": (4, 4), "bias": (4,)},
        "sequences",
    ),
    Row(
        "lstm_cell",
        """
        a[b,g,k] = W[i,g,k] * x[b,i]
        a[b,g,k] += U[l,g,k] * h[b,l]
        a[b,g,k] += bias[g,k]
        i_[b,k] = sigmoid(a[b,0,k])
        f_[b,k] = sigmoid(a[b,1,k])
        n_[b,k] = tanh(a[b,2,k])
        o_[b,k] = sigmoid(a[b,3,k])
        t_[b,k] = tanh(f_[b,k] * c[b,k] + i_[b,k] * n_[b,k])
        delta[b,k] = c_next.grad[b,k]
        delta[b,k] += h_next.grad[b,k] * o_[b,k] * (1 - t_[b,k]**2)
        a.grad[b,3,k] += h_next.grad[b,k] * t_[b,k] * o_[b,k] * (1 - o_[b,k])
        a.grad[b,2,k] += delta[b,k] * i_[b,k] * (1 - n_[b,k]**2)
        a.grad[b,1,k] += delta[b,k] * c[b,k] * f_[b,k] * (1 - f_[b,k])
        a.grad[b,0,k] += delta[b,k] * n_[b,k] * i_[b,k] * (1 - i_[b,k])
        c.grad[b,k] += delta[b,k] * f_[b,k]
        bias.grad[g,k] += a.grad[b,g,k]
        U.grad[l,g,k] += a.grad[b,g,k] * h[b,l]
        h.grad[b,l] += a.grad[b,g,k] * U[l,g,k]
        W.grad[i,g,k] += a.grad[b,g,k] * x[b,i]
        x.grad[b,i] += a.grad[b,g,k] * W[i,g,k]
        """,
        {"x": (2, 3), "h": (2, 4), "c": (2, 4), "W": (3, 4, 4), "U": (4, 4, 4), "bias": (4, 4)},
        "sequences",
        source="Greff et al. 2017, appendix B",
    ),
    Row(
        "gru_cell",
        """
        a[b,g,k] = W[i,g,k] * x[b,i]
        a[b,g,k] += bias[g,k]
        s[b,g,k] = U[l,g,k] * h[b,l]
        s[b,g,k] += bias2[g,k]
        r[b,k] = sigmoid(a[b,0,k] + s[b,0,k])
        z[b,k] = sigmoid(a[b,1,k] + s[b,1,k])
        n[b,k] = tanh(a[b,2,k] + r[b,k] * s[b,2,k])
        n.grad[b,k] += y.grad[b,k] * (1 - z[b,k])
        z.grad[b,k] += y.grad[b,k] * (h[b,k] - n[b,k])
        h.grad[b,k] += y.grad[b,k] * z[b,k]
        a.grad[b,2,k] += n.grad[b,k] * (1 - n[b,k]**2)
        s.grad[b,2,k] += n.grad[b,k] * (1 - n[b,k]**2) * r[b,k]
        r.grad[b,k] += n.grad[b,k] * (1 - n[b,k]**2) * s[b,2,k]
        a.grad[b,1,k] += z.grad[b,k] * z[b,k] * (1 - z[b,k])
        s.grad[b,1,k] += z.grad[b,k] * z[b,k] * (1 - z[b,k])
        a.grad[b,0,k] += r.grad[b,k] * r[b,k] * (1 - r[b,k])
        s.grad[b,0,k] += r.grad[b,k] * r[b,k] * (1 - r[b,k])
        bias2.grad[g,k] += s.grad[b,g,k]
        U.grad[l,g,k] += s.grad[b,g,k] * h[b,l]
        h.grad[b,l] += s.grad[b,g,k] * U[l,g,k]
        bias.grad[g,k] += a.grad[b,g,k]
        W.grad[i,g,k] += a.grad[b,g,k] * x[b,i]
        x.grad[b,i] += a.grad[b,g,k] * W[i,g,k]
        """,
        {"x": (2, 3), "h": (2, 4), "W": (3, 3, 4), "U": (4, 3, 4), "bias": (3, 4), "bias2": (3, 4)},
        "sequences",
    ),
    Row(
        "concatenate",
        """
        a.grad[n,i,j,k] += y.grad[n,i,j,k] where k < size(a,3)
        b.grad[n,i,j,k] += y.grad[n,i,j,size(a,3)+k]
        """,
        {"a": (2, 3, 2, 4), "b": (2, 3, 2, 3)},
        "joining",
    ),
    Row("flatten", "x.grad[b,i,j,c] += y.grad[b,(i,j,c)]", {"x": (2, 3, 2, 4)}, "linear"),
)


# -- the page --------------------------------------------------------------------------------------

HEAD = """\
# The gradients of the standard layers, beside those of the textbooks

Each row: a layer, its gradient as textbooks have it, written by hand in the language, and the one that is derived, as
it is printed. Shown and counted are the statements that wait for a cotangent; what does not is the forward pass, `r`,
`p` and the like. *Terms* are what is added, in brackets too; *factors* are the tensors, numbers and sizes, exponents
included; conditions are not counted. Each count is the textbook's, then ours, which has no more of any of them. Both
columns are compiled, and their values compared, by `tests/test_gradients.py`; the page is what
`python tests/gradients.py` prints.

| layer | textbook | ours | statements | terms | factors |
| --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    return HEAD + "".join(map(_line, ROWS)) + "\n" + _sources()


def _line(row: Row) -> str:
    book, ours = (backward(p) for p in (row.book, row.ours))
    one, other = length(book), length(ours)
    counts = (f"{a}, {b}" for a, b in zip(vars(one).values(), vars(other).values(), strict=True))
    cells = (row.name, _cell(row.book, book), _cell(row.ours, ours), *counts)
    return f"| {' | '.join(cells)} |\n"


def _cell(program: Program, statements: Iterable[Statement]) -> str:
    names = dim_names(program)
    return "<br>".join(f"`{statement_text(s, names)}`" for s in statements)


def _sources() -> str:
    noted = [f"- {row.name}: {row.source}." for row in ROWS if row.source]
    return (
        "Where the textbook's column comes from, if it is not the chain rule applied by hand:\n\n"
        + "\n".join(noted)
        + "\n"
    )


if __name__ == "__main__":
    print(page(), end="")
