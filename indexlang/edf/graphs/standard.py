"""The computed nodes of the lecture, each from a layer of the standard library.

In: nodes and packages. Out: node classes. The one rule: what a node computes is written in `indexlang/library`; here
stand only the layer's name and, where a layer has several forms, which one is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..problems import graph_error
from ..settings import OPTIONS, PADDING, Kind
from .computed import ARITHMETIC, Argument, Call, CompNode, bound, node
from .describing import SignatureOf, Written
from .layers import layer
from .nodes import Mask, Node
from .parameters import ConvParams, NormParams, Package

# -- one line each ---------------------------------------------------------------------------------------

AvgPool = node("avgpool2d", name="AvgPool")
GlobalAvgPool = node("global_avgpool", name="GlobalAvgPool")
GlobalMaxPool = node("global_maxpool", name="GlobalMaxPool")
MaxPool = node("maxpool2d", name="MaxPool")
Relu = node("relu")
LeakyRelu = node("leaky_relu")
Sigmoid = node("sigmoid")
Tanh = node("tanh")
Gelu = node("gelu")
Silu = node("silu")
Softplus = node("softplus")
Softmax = node("softmax")
LogSoftmax = node("log_softmax")
LogLoss = node("log_loss")
CrossEntropy = node("cross_entropy")
SquaredError = node("squared_error")
LayerNorm = node("layernorm", name="LayerNorm")
GroupNorm = node("groupnorm", name="GroupNorm")
LocalResponseNorm = node("local_response_norm")
Add = ARITHMETIC["Add"]
Embedding = node("embedding")
LayerNorm.takes = GroupNorm.takes = "Phi x"
Embedding.takes = "Phi tok"
LayerNorm.package = GroupNorm.package = ("NormParams", "16")
Embedding.package = ("EmbeddingParams", "1000, 16")
LogLoss.takes, CrossEntropy.takes, SquaredError.takes = "q y", "s y", "x y"
LogLoss.labels = CrossEntropy.labels = (0, 1)


# -- layers of several forms -----------------------------------------------------------------------------


class _Standard(CompNode):
    """A node whose options are those of the library's layers."""

    ranges = OPTIONS


class Affine(_Standard):
    """W x + B over the last axis of vectors; of a feature map with a known shape, over all its axes.

    x [batch, in] or [batch, ..., in], Phi of `AffineParams(in, out)` -> [batch, ..., out]. A map [batch, height, width,
    channels] -> [batch, out], where `in` is height * width * channels. If Phi has no bias: W x over the last axis.
    Errors: `GraphError` without a node and a package.
    """

    stem = "Affine"
    package = ("AffineParams", "4, 3")
    takes = "Phi x /"
    __signature__ = SignatureOf()

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        count = _count(arguments, named)
        rank = _first(arguments).rank
        if count == 2:
            name = "linear"
        elif rank == 4:
            name = "fully_connected"
        elif rank is None or rank == 2:
            name = "affine"
        else:
            name = _AFFINE
        return _call(self, name, arguments, named)


class Conv(_Standard):
    """A convolution; with or without a bias, in groups or not, as the package says.

    x [batch, height, width, in], Phi of `ConvParams(in, out, kernel_size)` -> [batch, height out, width out, out].
    `stride` is the distance of two windows, `dilation` that of two elements of the kernel, `padding` the zeros on each
    side, or "same": as many as keep the size. `stride_h`, `top` and the like say it for one axis or side; `groups` is
    the package's. Errors: `GraphError` for "same" in groups, or without a bias.
    """

    stem = "Conv"
    package = ("ConvParams", "3, 16, 3")
    ranges: ClassVar[Mapping[str, Kind]] = {**OPTIONS, "padding": PADDING}
    takes = "Phi x"
    __signature__ = SignatureOf("conv2d", groups=Written("Phi.groups"))

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        packages = [a for a in arguments if isinstance(a, ConvParams)]
        groups = self.options.pop("groups", packages[0].groups if packages else 1)
        bias = _count(arguments, named) == 3
        same = self.options.get("padding") == "same"
        name = "conv2d" if bias else "conv2d_nobias"
        if same:
            del self.options["padding"]
            name = "conv2d_same"
        if groups != 1:
            self.options["groups"] = groups
            name = "conv2d_groups"
        if not bias and (same or groups != 1):
            name = _without_bias(name, self.options)
        elif same and groups != 1:
            raise graph_error("conv", "the padding 'same' is not there for groups", way_out="say how much: padding=1")
        return _call(self, name, arguments, named)


class BatchNorm(_Standard):
    """Normalisation over the batch; in evaluation by the running statistics, which follow in training.

    x [batch, channels] or [batch, height, width, channels], Phi of `NormParams(channels)` -> the shape of x. `eps` is
    added to the variance; the running statistics move by `momentum` towards those of each batch.
    Errors: `GraphError` for other arguments, and at a run for one value a channel.
    """

    stem = "BatchNorm"
    package = ("NormParams", "16")
    takes = "Phi x /"
    __signature__ = SignatureOf(lambda: layer(_BATCHNORM2D))

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        package = next((a for a in arguments if isinstance(a, NormParams)), None)
        if package is None or len(arguments) != 2 or named:
            rule = "BatchNorm takes a node and a package of NormParams"
            raise graph_error("argument", rule, way_out=self._with_package())
        data = _first(arguments)
        self.options.setdefault("eps", 1e-5)
        source = layer(_BATCHNORM1D if data.rank == 2 else _BATCHNORM2D)
        program = source.program(self.options)
        call = Call(program, (data, *package))
        return Call(program, call.arguments, (("new_mu", package.mean), ("new_var", package.variance)))

    def evaluation(self) -> Call:
        program = layer("batchnorm_eval").program({"eps": self.options["eps"]})
        return Call(program, self.call.arguments)


class Dropout(_Standard):
    """Zeros a part `rate` of the elements, drawn anew for each run in training; in evaluation what it is given.

    The other elements are divided by 1 - rate. x of any shape -> the shape of x. `mask=node` is used instead of one
    that is drawn.
    Errors: `GraphError` if `rate` is not from 0 to below 1.
    """

    stem = "Dropout"
    takes = "x /"
    __signature__ = SignatureOf("dropout")

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        rate = self.options.setdefault("rate", 0.5)
        data = _first(arguments)
        mask = named["mask"] if "mask" in named else Mask(data, 1 - rate)
        return _call(self, "dropout", (data, mask), {})

    def evaluation(self) -> Node:
        return self.call.arguments[0]


class Flatten(_Standard):
    """A feature map as a vector, row-major: x [batch, height, width, channels], or of another rank -> [batch, all]."""

    stem = "Flatten"
    takes = "x /"
    __signature__ = SignatureOf()

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        rank = _first(arguments).rank
        return _call(self, "flatten" if rank in (None, 4) else _flatten(rank or 0), arguments, named)


class Concat(_Standard):
    """Two feature maps or more side by side along their last axis; the other axes are equal.

    [batch, height, width, channels] each -> [batch, height, width, sum of channels]. Errors: `GraphError` for fewer.
    """

    stem = "Concat"
    takes = "*nodes"
    __signature__ = SignatureOf()

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        count = len(arguments)
        rank = next((r for a in arguments if isinstance(a, Node) and (r := a.rank) is not None), 4)
        names = {2: "concatenate", 3: "concatenate3", 4: "concatenate4"}
        source = names[count] if rank == 4 and count in names else _concatenate(count, rank)
        return _call(self, source, arguments, named)


class MeanSquaredError(_Standard):
    """The squared differences of each example, averaged over its elements: x and y [batch, ...] -> [batch]."""

    stem = "MeanSquaredError"
    takes = "x y"
    __signature__ = SignatureOf()

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        rank = next((r for a in arguments if isinstance(a, Node) and (r := a.rank) is not None), 2)
        return _call(self, _mean_squared_error(rank), arguments, named)


class Attention(_Standard):
    """Self-attention with several heads, or attention of queries to keys.

    With Phi of `AttentionParams(features, heads)` and x [batch, time, features] -> [batch, time, features].
    With q and k [batch, time, heads, size] and v [batch, time, heads, value size] -> [batch, time of q, heads,
    value size]. `causal=True` looks at no later time.
    """

    stem = "Attention"
    takes = "*nodes_and_package"
    __signature__ = SignatureOf(causal=False)

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        causal = "causal_" if self.options.pop("causal", False) else ""
        name = "multi_head_attention" if any(isinstance(a, Package) for a in arguments) else "attention"
        return _call(self, causal + name, arguments, named)


# -- which form ------------------------------------------------------------------------------------------


def _call(of: CompNode, source: str, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
    program = layer(source).program(of.options)
    return Call(program, bound(of, program.inputs, arguments, named))


def _count(arguments: Sequence[Argument], named: dict[str, Any]) -> int:
    return sum(len(a.arguments()) if isinstance(a, Package) else 1 for a in (*arguments, *named.values()))


def _first(arguments: Sequence[Argument]) -> Node:
    """The first node among the arguments."""
    found = next((a for a in arguments if isinstance(a, Node)), None)
    if found is None:
        rule = "a computed node needs a node that it is computed from"
        raise graph_error("argument", rule, way_out="pass an Input, or what is computed from one")
    return found


_AFFINE = """\
layer affine(x, W[I,O], b[O]) -> y:
    y[...,o]  = W[i,o] * x[...,i]
    y[...,o] += b[o]
"""

_BATCHNORM2D = """\
from normalization import batchnorm2d, running_statistics

layer batchnorm(x[B,H,W,C], gamma[C], beta[C], mean_[C], var_[C];
                eps=1e-5, momentum=0.1) -> y[B,H,W,C], new_mu[C], new_var[C]:
    y, mu, var = batchnorm2d(x, gamma, beta, eps=eps)
    new_mu, new_var = running_statistics(x, mu, var, mean_, var_, momentum=momentum)
"""

_BATCHNORM1D = """\
from normalization import batchnorm1d, follow, unbiased

layer batchnorm(x[B,C], gamma[C], beta[C], mean_[C], var_[C];
                eps=1e-5, momentum=0.1) -> y[B,C], new_mu[C], new_var[C]:
    y, mu, var = batchnorm1d(x, gamma, beta, eps=eps)
    new_mu[c]  = follow(mean_[c], mu[c], momentum, B, 1)
    new_var[c] = follow(var_[c], unbiased(var[c], B), momentum, B, 2)
"""


def _without_bias(name: str, options: dict[str, Any]) -> str:
    """The form with a bias, its bias left out: a layer around it could not leave it out."""
    groups = options.get("groups", 1)
    if name == "conv2d_groups":
        return _CONV_GROUPS
    raise graph_error("conv", f"there is no {name} without a bias", f"groups: {groups}", way_out="use bias=True")


_CONV_GROUPS = """\
layer conv2d_groups(x[B,H,W,groups*C], K[R,S,C,groups*O]; groups=2, stride=1, dilation=1, padding=0,
                    stride_h=stride, stride_w=stride, dilation_h=dilation, dilation_w=dilation,
                    top=padding, bottom=padding, left=padding, right=padding) -> y[B,I,J,groups*O]:
    y[b,i,j,(g,o)] = (K[di,dj,c,(g,o)]
                      * x[b,pad(stride_h*i + dilation_h*di, top, bottom),
                          pad(stride_w*j + dilation_w*dj, left, right),(g,c)]) where g < groups
"""


def _axes(rank: int, first: str) -> list[str]:
    return [f"{first}{k}" for k in range(rank)]


def _flatten(rank: int) -> str:
    dims, indices = _axes(rank - 1, "D"), _axes(rank - 1, "i")
    return (
        f"layer flatten(x[{','.join(['B', *dims])}]) -> y[B,{'*'.join(dims)}]:\n"
        f"    y[b,({','.join(indices)})] = x[{','.join(['b', *indices])}]\n"
    )


def _concatenate(count: int, rank: int) -> str:
    if count < 2 or rank < 1:
        rule = "Concat takes two nodes or more, each with an axis"
        raise graph_error("argument", rule, way_out="write Concat(a, b)")
    dims, indices = _axes(rank - 1, "D"), _axes(rank - 1, "i")
    names, sizes = _axes(count, "x"), _axes(count, "C")
    inputs = ", ".join(f"{x}[{','.join([*dims, c])}]" for x, c in zip(names, sizes, strict=True))
    lines = [f"layer concatenate({inputs}) -> y[{','.join([*dims, '+'.join(sizes)])}]:"]
    for k, x in enumerate(names):
        target = ",".join([*indices, "+".join([*sizes[:k], "k"])])
        source = ",".join([*indices, "k"])
        lines.append(f"    y[{target}] {'+=' if k else '='} {x}[{source}]" + ("" if k else f" where k < {sizes[0]}"))
    return "\n".join([*lines, ""])


def _mean_squared_error(rank: int) -> str:
    dims, indices = ",".join(["N", *_axes(rank - 1, "D")]), _axes(rank - 1, "i")
    if not indices:
        return "layer squared_error(x[N], y[N]) -> ell[N]:\n    ell[n] = (x[n] - y[n])**2\n"
    inner = ",".join(indices)
    return (
        f"layer mean_squared_error(x[{dims}], y[{dims}]) -> ell[N]:\n"
        f"    ell[n] = mean[{inner}]((x[n,{inner}] - y[n,{inner}])**2)\n"
    )
