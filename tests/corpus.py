"""The one corpus of programs: every rule of the language, at sizes small enough for loops.

A case is a text and what to feed it. The properties that each must have are in test_corpus.py.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexlang.oracle.gradcheck import spread

Array = NDArray[Any]
Maker = Callable[[np.random.Generator], Array]
Spec = tuple[int, ...] | Maker | Array  # a shape stands for floating-point numbers that keep away from each other


def between(low: float, high: float, *shape: int) -> Maker:
    """Floating-point numbers of an interval."""
    return lambda rng: spread(shape, rng, low, high)


def below(limit: int, *shape: int) -> Maker:
    """Integers 0..limit-1."""
    return lambda rng: rng.integers(0, limit, shape)


def integers(*shape: int) -> Maker:
    """Integers of both signs."""
    return lambda rng: rng.integers(-9, 10, shape)


def booleans(*shape: int) -> Maker:
    return lambda rng: rng.random(shape) < 0.5


def complexes(*shape: int) -> Maker:
    return lambda rng: rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@dataclass(frozen=True, eq=False)
class Case:
    name: str
    text: str
    inputs: Mapping[str, Spec]
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: str | None = None
    gradient: bool = True  # its floating-point inputs have gradients, or it has none
    second: bool = True  # and second ones that are worth the time

    def arrays(self) -> dict[str, Array]:
        """The inputs, the same at every call."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        found = {}
        for name, spec in self.inputs.items():
            match spec:
                case np.ndarray():
                    found[name] = spec
                case tuple():
                    found[name] = spread(spec, rng)
                case make:
                    found[name] = make(rng)
        return found


CASES: list[Case] = []


def case(name: str, text: str, inputs: Mapping[str, Spec] | None = None, **rest: Any) -> None:
    lines = text.strip("\n").split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip())
    CASES.append(Case(name, "\n".join(line[indent:] for line in lines) + "\n", inputs or {}, **rest))


# -- 1. statements ---------------------------------------------------------------------------------

case(
    "convolution",
    "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]",
    {"W": (2, 2, 2, 2), "x": (2, 4, 3, 2)},
)
case("matmul", "C[i,j] = A[i,k] * B[k,j]", {"A": (2, 3), "B": (3, 4)})
case("set is zero, then add", "I[j+k] = w[j]*h[k]", {"w": (3,), "h": (4,)})
case("set with holes", "y[2*i+1] = x[i]", {"x": (3,)})
case("scalar target", "s = x[i] * y[i]", {"x": (4,), "y": (4,)})
case("scalar target with brackets", "s[] += x[i]**2", {"x": (4,)})
case("scalar input", "y[i] = a * x[i] + b[]", {"a": (), "x": (3,), "b": ()})
case("product reduction", "p[i] *= x[i,j]", {"x": (2, 3)})
case("product with zeros", "p[i] *= x[i,j]", {"x": np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 5.0], [1.5, 2.0, -3.0]])})
case("max reduction", "m[i] max= x[i,j]", {"x": (3, 4)})
case("min reduction", "m[i] min= x[i,j]", {"x": (3, 4)})
case("max over all", "m max= x[i,j]", {"x": (3, 4)})
case("max pooling", "y[b,i,j] max= x[b,2*i+di,2*j+dj] where di < 2, dj < 2", {"x": (1, 4, 5)})
case(
    "accumulate by plus",
    """
    y[b,i,j] = K[di,dj] * x[b,i+di,j+dj]
    y[b,i,j] += bias[j]
    """,
    {"K": (2, 2), "x": (1, 3, 4), "bias": (3,)},
)
case(
    "accumulate by max after set",
    """
    y[i] = x[i,0]
    y[i] max= x[i,j] * w[j]
    """,
    {"x": (3, 3), "w": (3,)},
)
case(
    "accumulate by times after set",
    """
    y[i] = a[i]
    y[i] *= x[i,j]
    """,
    {"a": (3,), "x": (3, 2)},
)
case(
    "accumulate by min twice",
    """
    m[i] min= x[i,j]
    m[i] min= y[i]
    """,
    {"x": (3, 2), "y": (3,)},
)
case(
    "accumulate many terms",
    """
    s[i] += a[i]
    s[i] += a[i] * b[j]
    s[i] += a[i] * b[i] * c[i]
    """,
    {"a": (3,), "b": (3,), "c": (3,)},
)
case(
    "a chain",
    """
    h[b,k] = x[b,i] * U[i,k]
    r[b,k] = relu(h[b,k])
    y[b,o] = r[b,k] * V[k,o]
    """,
    {"x": (2, 3), "U": (3, 4), "V": (4, 2)},
)
case("unicode names", "y[b,Δi] += Φ[ψ,Δi] * x[b,ψ]", {"Φ": (2, 3), "x": (2, 2)})
case("dotted names", "L[b,j] += Phi.W[i,j] * x[b,i]\nL[b,j] += Phi.B[j]", {"Phi.W": (3, 2), "x": (2, 3), "Phi.B": (2,)})
case("long statement over lines", "y[i] = (a[i] +\n    b[i]) * (a[i]\n   - b[i])", {"a": (3,), "b": (3,)})
case("two readers of one tensor", "h[i] = sin(x[i])\ny[i] = h[i] * h[i]\nz = h[i]", {"x": (3,)})
case("the same tensor twice", "y[i,j] = x[i] * x[j]", {"x": (3,)})
case("the same tensor in powers", "y[i] = x[i] * x[i] * x[i]", {"x": (3,)})
case("reduced scope is the whole right side", "y = exp(x[i])", {"x": (3,)})
case("all terms have the index", "y = x[i] * a[i] - b[i]", {"x": (3,), "a": (3,), "b": (3,)})
case("reduced and free", "y[i] = x[i,j] / (1 + z[j]**2)", {"x": (2, 3), "z": (3,)})
case("an input handed through", "y[i] = x[i]", {"x": (3,)})
case("transposition", "y[j,i] = x[i,j]", {"x": (2, 3)})
case("outer product", "y[i,j,k] = a[i] * b[j] * c[k]", {"a": (2,), "b": (3,), "c": (2,)})
case("trace", "t = A[i,i]", {"A": (3, 3)})
case("bilinear", "y[b,o] = x[b,i] * W[o,i,j] * z[b,j]", {"x": (2, 2), "W": (2, 2, 3), "z": (2, 3)})
case("embedded sum", "y[i] = x[i] / sum[k](x[k]**2)", {"x": (4,)})
case("embedded sum of two indices", "y[i] = x[i] + sum[j,k](A[i,j] * B[j,k])", {"x": (2,), "A": (2, 3), "B": (3, 2)})
case("embedded product", "y[i] = x[i] * prod[k](z[i,k])", {"x": (2,), "z": (2, 3)})
case("embedded max", "y[i,j] = exp(x[i,j] - max[k](x[i,k]))", {"x": (2, 3)})
case("embedded min", "y[i] = x[i] - min[k](z[k])", {"x": (2,), "z": (3,)})
case("embedded mean", "y[i,j] = x[i,j] - mean[k](x[i,k])", {"x": (2, 3)})
case("embedded logsumexp", "y[i,j] = x[i,j] - logsumexp[k](x[i,k])", {"x": (2, 3)})
case("logsumexp alone", "y[i] = logsumexp[j,k](x[i,j,k])", {"x": (2, 2, 2)})
case(
    "logsumexp of great numbers", "y[i] = logsumexp[j](x[i,j])", {"x": np.array([[1000.0, 999.0], [-1000.0, -1001.0]])}
)
case("argmax", "k[i] = argmax[j](x[i,j])", {"x": (3, 4)})
case("argmin of two indices", "k[b] = argmin[i,j](x[b,i,j])", {"x": (2, 3, 2)})
case("argmax, first winner", "k = argmax[j](x[j])", {"x": np.array([1.0, 3.0, 3.0, 0.0])})
case("argmax as a position", "k[i] = argmax[j](x[i,j])\ny[i] = z[i,k[i]]", {"x": (3, 4), "z": (3, 4)})
case("nested reductions", "y[i] = sum[j](exp(x[i,j] - max[k](x[i,k])))", {"x": (2, 3)})
case("nested sums", "y[i] = sum[j](A[i,j] * sum[k](B[j,k] * x[k]))", {"A": (2, 2), "B": (2, 3), "x": (3,)})
case("two reductions of one index", "y[i] = sum[k](x[i,k]) / sum[k](z[i,k]**2)", {"x": (2, 3), "z": (2, 3)})
case("reduction inside a reduced statement", "y = x[i] * sum[j](A[i,j])", {"x": (2,), "A": (2, 3)})
case("softmax", "p[b,i] = exp(x[b,i]) / sum[k](exp(x[b,k]))", {"x": (2, 3)})
case(
    "softmax cross entropy",
    """
    m[b] max= x[b,c]
    e[b,c] = exp(x[b,c] - m[b])
    z[b] = e[b,c]
    loss += log(z[b]) + m[b] - x[b,label[b]]
    """,
    {"x": (3, 4), "label": below(4, 3)},
)
case(
    "layer norm",
    """
    mu[b] = mean[k](x[b,k])
    var[b] = mean[k]((x[b,k] - mu[b])**2)
    y[b,k] = (x[b,k] - mu[b]) * rsqrt(var[b] + 1e-5) * g[k]
    y[b,k] += beta[k]
    """,
    {"x": (2, 4), "g": (4,), "beta": (4,)},
)

# -- 2. subscripts ---------------------------------------------------------------------------------

case("a fixed position", "y[i] = x[i,2] * x[i,0]", {"x": (2, 3)})
case("a size-1 axis read", "y[i,j] = a[i,0] * b[j]", {"a": (3, 1), "b": (2,)})
case("stride", "y[i] = x[2*i+1]", {"x": (7,)})
case("stride with a rest", "y[i] = w[k] * x[2*i+k]", {"w": (3,), "x": (8,)})
case("stride and dilation", "y[i] = w[k] * x[2*i+3*k]", {"w": (2,), "x": (9,)})
case("dilation", "y[i] = w[k] * x[i+2*k]", {"w": (3,), "x": (8,)})
case("flip", "y[i] = x[size(x,0)-1-i]", {"x": (4,)})
case("flip of one axis", "y[i,j] = x[i,size(x,1)-1-j]", {"x": (2, 3)})
case("flipped kernel", "y[i] = w[k] * x[i+size(w,0)-1-k]", {"w": (3,), "x": (6,)})
case("negative coefficient", "y[i] = w[k] * x[i-k+2]", {"w": (3,), "x": (6,)})
case("diagonal", "d[i] = A[i,i]", {"A": (3, 3)})
case("diagonal write", "A[i,i] = d[i]", {"d": (3,)})
case("diagonal of a block", "d[i] = A[i,i+1] where i < size(A,0)-1", {"A": (3, 3)})
case("skewed", "y[i,j] = x[i+j,i]", {"x": (4, 3)})
case("three indices in a subscript", "y[i] = x[i+j+k] * a[j] * b[k]", {"x": (6,), "a": (2,), "b": (3,)})
case("two axes mixed", "y[i,j] = x[i+j,i-j+2] where i < 2, j < 2", {"x": (4, 5)})
case("lattice with a determinant", "y[i,j] = x[i+j,i-j+1] where i < 2, j < 2", {"x": (3, 3)})
case("one index in two axes with strides", "y[i] = x[2*i,3*i]", {"x": (5, 7)})
case("shear", "y[i,k] = w[k] * x[i,i+k]", {"w": (2,), "x": (3, 4)})
case("x[i+0] is x[i]", "y[i] = x[i+0] * z[i]", {"x": (3,), "z": (3,)})
case("floor division", "y[i] = x[i//2] where i < 6", {"x": (3,)})
case("remainder", "y[i] = x[i%3] * i where i < 7", {"x": (3,)})
case("nearest upsampling", "y[i,j] = x[i//2,j//2] where i < 4, j < 6", {"x": (2, 3)})
case("index tensor", "y[b,t,e] = E[tok[b,t],e]", {"E": (5, 2), "tok": below(5, 2, 3)})
case("index tensor with an offset", "y[i,j] = A[p[i]+j] * w[j]", {"A": (6,), "p": below(4, 3), "w": (3,)})
case(
    "index tensor, scattered", "H[J[i],k] += M[i,k] where k < size(M,1)\nshape H[4,2]", {"J": below(4, 6), "M": (6, 2)}
)
case("histogram", "shape H[4]\nH[k[i]] += 1", {"k": below(4, 9)})
case("two index tensors", "y[n] = A[r[n],c[n]]", {"A": (3, 4), "r": below(3, 5), "c": below(4, 5)})
case("index tensor of an index tensor", "y[i] = x[p[q[i]]]", {"x": (4,), "p": below(4, 3), "q": below(3, 5)})
case("computed index", "y[i] = x[int(floor(0.6*i))] where i < 6", {"x": (4,)})
case("computed index from data", "y[i] = x[int(floor(z[i]))] * z[i]", {"x": (4,), "z": between(0.1, 3.9, 5)})
case("product of indices", "y[i,j] = x[int(i*j)] where i < 3, j < 3", {"x": (5,)})
case("merged axes", "y[b,(i,j,c)] = x[b,i,j,c]", {"x": (2, 2, 3, 2)})
case("split of an axis", "y[b,i,j] = x[b,(i,j)] where j < 3", {"x": (2, 6)})
case("groups", "y[b,(g,o)] = W[g,c,o] * x[b,(g,c)]", {"W": (2, 3, 2), "x": (2, 6)})
case("merged and transposed", "y[(j,i)] = x[i,j]", {"x": (2, 3)})
case("pad, bounded", "y[i] = w[k] * x[pad(i+k,1)]", {"w": (3,), "x": (5,)})
case("pad on both sides", "y[i] = w[k] * x[pad(i+k,2,1)]", {"w": (3,), "x": (4,)})
case("pad with a value", "y[i] = w[k] * x[pad(i+k,1,value=2.5)]", {"w": (3,), "x": (4,)})
case(
    "max pooling over padding",
    "y[i] max= x[pad(2*i+k,1,value=-inf)] where k < 3",
    {"x": (5,)},
)
case("pad without bound", "y[i] = w[k] * x[pad(i-k)] where i < size(x,0)", {"w": (3,), "x": (4,)})
case(
    "padded convolution with stride and dilation",
    "y[i,j] = K[r,s] * x[pad(2*i+2*r,1),pad(2*j+2*s,1)]",
    {"K": (2, 2), "x": (5, 4)},
)
case("two padded axes with two values", "y[i,j] = x[pad(i,1,value=2),pad(j,1,value=3)]", {"x": (2, 2)})
case("write into the padding", "shape y[4]\ny[pad(i+k,1)] += w[k] * x[i]", {"w": (3,), "x": (4,)})
case("write into unbounded padding", "shape y[3]\ny[pad(2*i-1)] += x[i]", {"x": (4,)})
case("clamp", "y[i] = w[k] * x[clamp(i+k-1)] where i < 5", {"w": (3,), "x": (4,)})
case("wrap", "y[i] = w[k] * x[wrap(i+k-1)] where i < 5", {"w": (3,), "x": (4,)})
case("reflect", "y[i] = w[k] * x[reflect(i+k-2)] where i < 6", {"w": (4,), "x": (4,)})
case("reflect far", "y[i] = x[reflect(3*i-7)] where i < 6", {"x": (3,)})
case("clamped write", "shape y[3]\ny[clamp(i-1)] += x[i]", {"x": (5,)})
case("wrapped write", "shape y[3]\ny[wrap(i+k)] += x[i] * w[k]", {"x": (4,), "w": (2,)})
case("reflected write", "shape y[3]\ny[reflect(i-2)] += x[i]", {"x": (7,)})
case("clamp around an index tensor", "y[i] = x[clamp(p[i]-2)]", {"x": (3,), "p": below(7, 6)})
case("pad around an index tensor", "y[i] = x[pad(p[i]-2)] * z[i]", {"x": (3,), "p": below(7, 6), "z": (6,)})
case("wrap around an index tensor", "shape y[3]\ny[wrap(p[i])] += x[i]", {"p": below(9, 5), "x": (5,)})
case("ellipsis in front", "y[...,o] = x[...,i] * W[i,o]", {"x": (2, 2, 3), "W": (3, 2)})
case("ellipsis of no axes", "y[...,o] = x[...,i] * W[i,o]", {"x": (3,), "W": (3, 2)})
case("ellipsis behind", "y[i,...] = x[i,...] * s[i]", {"x": (2, 3, 2), "s": (2,)})
case("ellipsis, normalised", "y[...,i] = x[...,i] - mean[k](x[...,k])", {"x": (2, 3)})

# -- 3. domains and ranges -------------------------------------------------------------------------

case("range from a window", "y[i] = x[i+k] * w[k]", {"x": (6,), "w": (3,)})
case("a shortened index", "d[i] = x[i+1] - x[i]", {"x": (5,)})
case("second difference", "d[i] = x[i+2] - 2*x[i+1] + x[i]", {"x": (6,)})
case("target bounds an index", "y[b,i] = x[b,i]\ny[b,i] += B[i]", {"x": (2, 3), "B": (3,)})
case("written range", "y[i] = x[i] where i < 3", {"x": (5,)})
case("written range with a start", "y[i] = x[i-1] where 1 <= i < 4", {"x": (5,)})
case("range of a reduced index", "y[i] = x[i,j] where 1 <= j < 3", {"x": (2, 5)})
case("range with a size", "y[i] = x[i] * w[i] where i < size(w,0)", {"x": (5,), "w": (3,)})
case("range without a tensor", "y[i] = i*i where i < 4")
case("causal mask", "y[i] = A[i,k] * x[k] where k <= i", {"A": (3, 3), "x": (3,)})
case("mask saves a subscript", "y[i] = x[i-k] * w[k] where k <= i, i < size(x,0)", {"x": (5,), "w": (3,)})
case("checkerboard", "y[i,j] = x[i,j] where (i+j) % 2 == 0", {"x": (3, 3)})
case("off-diagonal", "y[i] = A[i,j] * x[j] where i != j", {"A": (3, 3), "x": (3,)})
case("mask on data", "y[b] = x[b,j] where j < len[b]", {"x": (3, 4), "len": below(5, 3)})
case("mask on real data", "y = x[i]**2 where x[i] > 0.3", {"x": (6,)})
case("mask hides nan and inf", "y[i] = x[i,j] where j < 2", {"x": np.array([[1.0, 2.0, np.nan], [0.5, -1.0, np.inf]])})
case(
    "masked data hides nan and inf",
    "y[i] = log(x[i,j]) * w[j] where m[i,j] > 0",
    {
        "x": np.array([[1.0, 0.0, -3.0], [0.5, 2.0, 0.0]]),
        "w": np.array([1.0, 2.0, 0.5]),
        "m": np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]),
    },
    second=False,
)
case("mask of a max", "y[i] max= x[i,j] where j <= i", {"x": (3, 3)})
case("mask that refuses all", "y[i] = x[i,j] where j > i + 7", {"x": (2, 2)})
case("max that refuses all of a row", "y[i] max= x[i,j] where j < i", {"x": (3, 3)}, second=False)
case("mask of a product", "y[i] *= x[i,j] where j != i", {"x": (3, 3)})
case("mask of an embedded reduction", "y[i] = x[i] * sum[k](A[i,k]) where k < i", {"x": (3,), "A": (3, 3)})
case("range of an embedded reduction", "y[i] = x[i] * sum[k](A[i,k]) where k < 2", {"x": (3,), "A": (3, 3)})
case("causal softmax", "p[i,j] = exp(x[i,j] - logsumexp[k](x[i,k])) where j <= i, k <= i", {"x": (3, 3)})
case("masked mean", "y[i] = mean[k](x[i,k]) where k <= i", {"x": (3, 3)})
case("masked argmax", "y[i] = argmax[k](x[i,k]) where k <= i", {"x": (3, 3)})
case("and, or, not in a mask", "y = x[i,j] where i < j and (i == 0 or not j == 2)", {"x": (3, 4)})
case("chain of comparisons", "y = x[i,j] where i <= j < i + 2", {"x": (3, 4)})
case("declared shape", "shape t[5]\nt[i+1] = x[i]", {"x": (3,)})
case("declared shape with dims", "shape x[N]\nshape t[N+2]\nt[i+1] = x[i]", {"x": (3,)})
case("dims of an input", "shape x[B,H]\ny[b] = x[b,h] / H", {"x": (2, 3)})
case("stride leaves elements unread", "y[i] = x[2*i] * w[k] * x[2*i+k]", {"x": (6,), "w": (2,)})
case("triangular ranges", "y[i,j] = x[i+j] * z[j]", {"x": (5,), "z": (2,)})
case("empty axis", "y[i] = x[i,j] * w[j]", {"x": (3, 0), "w": (0,)})
case("empty max", "m[i] max= x[i,j]", {"x": (3, 0)})
case("empty output", "y[i,j] = x[i,j] * 2", {"x": (0, 3)})
case("one element", "y[i] = w[k] * x[i+k]", {"x": (1,), "w": (1,)})

# -- 4. values -------------------------------------------------------------------------------------

case("arithmetic", "y[i] = (a[i] + 2) * (b[i] - 1.5) / (3 - a[i]) - -b[i]", {"a": (3,), "b": (3,)})
case("powers", "y[i] = x[i]**3 + x[i]**2 - 2**x[i] + p[i]**0.5 + p[i]**x[i]", {"x": (3,), "p": between(0.5, 2, 3)})
case("powers of a power", "y[i] = -x[i]**2**2 + (-x[i])**2", {"x": (3,)})
case("comparisons as numbers", "y[i] = x[i] * (x[i] > 0) + 2*(x[i] <= 0.5)", {"x": (5,)})
case("comparison as a result", "y[i] = x[i] > z[i]", {"x": (5,), "z": (5,)})
case("logic", "y[i] = x[i] > 0 and not z[i] > 0 or x[i] == 1", {"x": (5,), "z": (5,)})
case("floor and remainder", "y[i] = x[i] // 0.7 + x[i] % 0.7", {"x": (5,)})
case("an index as a number", "y[i,d] = sin(i / 100**(2*d/4)) * x[i,d]", {"x": (3, 2)})
case("sizes and pi as numbers", "y[i] = cos(2*pi*i/size(x,0)) * x[i]", {"x": (4,)})
case("maximum of two", "y[i] = max(a[i], b[i]) + min(a[i], 0.5) * max(0, b[i])", {"a": (4,), "b": (4,)})
case("where", "y[i] = where(x[i] > 0, log(x[i]), x[i]**2)", {"x": (5,)}, second=False)
case("where hides an infinite branch", "y[i] = where(x[i] == 0, 0, 1/x[i])", {"x": np.array([0.0, 2.0, -1.0])})
case("atan2", "y[i] = atan2(a[i], b[i])", {"a": (4,), "b": (4,)})
case("hypot", "y[i] = hypot(a[i], b[i])", {"a": (4,), "b": (4,)})
case("pow and float", "y[i] = pow(p[i], 1.5) * float(k[i])", {"p": between(0.5, 2, 3), "k": integers(3)})
case("int as a value", "y[i] = int(x[i]) * x[i]", {"x": (5,)})
case("a user function", "f(u) = u * sigmoid(1.702*u)\ny[i] = f(x[i]) + f(2*x[i])", {"x": (3,)})
case("user functions of user functions", "f(u,v) = u*v\ng(u) = f(u, u+1)\ny[i] = g(x[i])", {"x": (3,)})
case("shared subexpressions", "y[i] = exp(x[i]) / (1 + exp(x[i]))", {"x": (3,)})
case("kinks at zero", "y[i] = max(x[i],0) + max(0,x[i]) + relu(x[i]) + abs(x[i])", {"x": np.array([0.0, 1.0, -1.0])})
case("ties of two tensors", "y[i] = max(a[i], b[i]) + min(a[i], b[i])*2", {"a": np.ones(2), "b": np.ones(2)})
case("ties of a reduction", "m[i] max= x[i,j]", {"x": np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]])})
case("integers stay integers", "y[i] = a[i] * b[i] + 3", {"a": integers(4), "b": integers(4)})
case("sum of integers", "y[i] = a[i,j]", {"a": integers(2, 3)})
case("max of integers", "m[i] max= a[i,j] where j < i", {"a": integers(3, 3)})
case("sum of booleans", "n[i] = a[i,j]", {"a": booleans(3, 4)})
case("integer division", "y[i] = a[i] / 4 + a[i] // 4 + a[i] % 4", {"a": integers(5)})
case("integers beside floats", "y[i] = k[i] * x[i] + k[i]", {"k": integers(3), "x": (3,)})
case("running sums", "y[b,i] = x[b,j] where j <= i, i < 5", {"x": (2, 5)})
case("running maxima", "y[i] max= x[j] where j <= i, i < 5", {"x": (5,)})
case("no tensors", "y[i,j] = i + 10*j where i < 2, j < 3")
case("no tensors, real", "y[i] = sqrt(i + 0.5) where i < 3")
case("complex numbers", "y[i] = exp(a[i,j]) * b[j] + a[i,j]**2", {"a": complexes(2, 2), "b": complexes(2)})
case("complex beside real", "y[i] = sin(x[i]) * b[i] / (2 + b[i])", {"x": complexes(3), "b": (3,)})
case("complex times real", "s[t] = x[t]**2\ny[k] = W[k,t] * s[t] * x[t]", {"W": complexes(2, 3), "x": (3,)})

for fn, low, high in (
    *((f, -2.0, 2.0) for f in ("exp", "expm1", "sin", "cos", "sinh", "cosh", "tanh", "asinh", "atan", "sigmoid")),
    *((f, -2.0, 2.0) for f in ("softplus", "silu", "gelu", "erf", "relu", "abs", "sign", "floor", "ceil", "round")),
    *((f, 0.3, 3.0) for f in ("log", "sqrt", "rsqrt")),
    *((f, -0.9, 0.9) for f in ("log1p", "tan", "asin", "acos", "atanh")),
    ("acosh", 1.2, 3.0),
):
    case(f"function {fn}", f"y[i] = {fn}(x[i]) * x[i]", {"x": between(low, high, 4)})

# -- 5. layers and files ---------------------------------------------------------------------------

case(
    "a layer with options",
    """
    layer conv(x[B,H,C], K[R,C,O], bias[O]; stride=1, dilation=1, padding=0) -> y[B,I,O]:
        y[b,i,o]  = K[di,c,o] * x[b, pad(stride*i + dilation*di, padding), c]
        y[b,i,o] += bias[o]
    """,
    {"x": (1, 6, 2), "K": (2, 2, 2), "bias": (2,)},
    options={"stride": 2, "dilation": 2, "padding": 1},
)
case(
    "layers in layers",
    """
    layer affine(x[B,I], W[I,O], b[O]) -> y[B,O]:
        y[n,o] = W[i,o] * x[n,i]
        y[n,o] += b[o]

    layer net(x, W1, b1, W2, b2) -> y:
        h = relu(affine(x, W1, b1))
        y = sigmoid(affine(h, W2, b2))
    """,
    {"x": (2, 3), "W1": (3, 2), "b1": (2,), "W2": (2, 2), "b2": (2,)},
    layer="net",
)
case(
    "several outputs",
    """
    layer pool(x[B,N]) -> m[B], k[B]:
        m[b] max= x[b,n]
        k[b] = argmax[n](x[b,n])

    layer both(x) -> y, k:
        y, k = pool(x)
    """,
    {"x": (2, 3)},
    layer="both",
)
case(
    "a residual block",
    """
    layer conv(x[N,C], K[R,C,O]) -> y[N,O]:
        y[n,o] = K[r,c,o] * x[pad(n+r,1),c]

    layer block(x, K1, K2) -> y:
        h = relu(conv(x, K1))
        y = relu(conv(h, K2) + x)
    """,
    {"x": (3, 2), "K1": (3, 2, 2), "K2": (3, 2, 2)},
    layer="block",
)
case("whole tensors", "h = tanh(x)\ny = -h + 2*x - x/3", {"x": (2, 3)})
case(
    "broadcasting by the header",
    """
    layer f(x[B,N], b[N]) -> y:
        y = x * b + 1
    """,
    {"x": (2, 3), "b": (3,)},
)
case(
    "a header with numbers and sums",
    """
    layer f(x[N,3], w[2*N]) -> y[N]:
        y[i] = x[i,k] * w[2*i]
    """,
    {"x": (2, 3), "w": (4,)},
)
case(
    "same names in layer and caller",
    """
    layer square(x[N]) -> y[N]:
        h[i] = x[i] * x[i]
        y[i] = h[i] + x[i]

    layer twice(x) -> h:
        y = square(x)
        h = square(y)
    """,
    {"x": (3,)},
    layer="twice",
)
case(
    "attention",
    """
    layer attention(q[T,D], k[T,D], v[T,D]) -> y[T,D]:
        s[t,u] = q[t,d] * k[u,d] / sqrt(D)
        p[t,u] = exp(s[t,u] - logsumexp[w](s[t,w])) where u <= t, w <= t
        y[t,d] = p[t,u] * v[u,d]
    """,
    {"q": (3, 2), "k": (3, 2), "v": (3, 2)},
)

# -- 6. derivatives --------------------------------------------------------------------------------

case(
    "a derived statement alone",
    "x.grad[b,i+di,j+dj,cx] += y.grad[b,i,j,cy] * W[di,dj,cx,cy]",
    {"y.grad": (1, 2, 2, 2), "W": (2, 2, 1, 2), "x": (1, 3, 3, 1)},
)
case(
    "an index lost by the partial derivative",
    "y[i] = (x[i] + z[j]) * 1",
    {"x": (2,), "z": (3,)},
)
case("linear in a sum", "y = (a[i] + b[j]) * c[i]", {"a": (2,), "b": (3,), "c": (2,)})
case(
    "gradient through positions only of data",
    "k[i] = argmax[j](x[i,j])\ny = z[i,j] * x[i,k[i]]",
    {"x": (2, 3), "z": (2, 3)},
)
case("an unused input part", "y[i] = x[i] where i < 2", {"x": (4,)})
case("product over shared factors", "y *= x[i] * w[j]", {"x": (2,), "w": (2,)})
case("max of a product", "y[i] max= x[i,j] * w[j]", {"x": (3, 3), "w": (3,)})
case("scatter max", "shape y[3]\ny[k[i]] max= x[i]", {"k": np.array([0, 2, 0, 2, 0]), "x": (5,)}, second=False)
case("a pad value under a product", "y[i] *= x[pad(i+k,1,value=1)] where k < 3", {"x": (4,)})
case("product into an element", "y[0] *= x[i]", {"x": (3,)})
case("product of one", "y *= x[i] where i == 0", {"x": (2,)})
case(
    "product of what one value of an index leaves",
    "y[2*c+r] *= x[r,c,b] * w[r] where r < 2, b == 0, w[r] > 0.2",
    {"x": (2, 2, 3), "w": np.array([0.5, 0.1])},
)
case(
    "a factor called like an index of another statement",
    """
    y[a,e] = x[a,e]
    y[0,d] *= e[d]
    """,
    {"x": (2, 3), "e": (3,)},
)
case(
    "a reduction that a function repeats",
    """
    f(u) = u * (u**2 - 1)
    y[i] = f(min[l,m](w[l,m] - a[i])) where l < 2, l <= m
    """,
    {"w": (3, 3), "a": (2,)},
)
case("a table of sums before a product", "y[i] = x[i,j,0] * x[j,0,k] where 1 <= l < 2", {"x": (3, 3, 2)})
case(
    "a scatter whose axis nothing else is as long as",
    """
    y[i+j,i] = x[j] where i < 1, j < 1
    z *= y[k,wrap(1)]
    """,
    {"x": (2,)},
)
case(
    "a computed position whose index one value is left of",
    "y[i,k] = x[w[i,k]+i,k] * x[(k+w[0,0])%1,0] where i == 0",
    {"x": (2, 3), "w": np.array([[0, 1, 0]])},
)
case(
    "a congruence whose index has two axes of the target",
    "y[i,j] = x[i,k] + w[k,k+j] where (k + i) % 2 == 0",
    {"x": (2, 8), "w": (8, 8)},
)
case(
    "a product into merged axes of three",
    "y[(b,a,c)] *= sin(x[a,c])**v[0,z[b]]",
    {"x": between(0.5, 1.5, 2, 2), "v": (1, 3), "z": below(3, 2)},
)
case("a difference with a tensor of one", "y = (x[i]**x[j] - w[k])**2", {"x": between(0.5, 1.5, 3), "w": (1,)})
case(
    "a factor for some elements beside one for all",
    """
    y[i] *= 2 where 1 <= i < 3
    y[j] *= x[j]
    """,
    {"x": (3,)},
)
case(
    "a factor for some elements beside sums over all",
    """
    shape y[4]
    y[i] *= v[i-1] where 1 <= i < 3
    y[j] *= x[k] where j < 4
    """,
    {"v": (2,), "x": (3,)},
)
case(
    "a product into mirrored elements and into plain ones",
    """
    shape y[3]
    y[reflect(3*i-1)] *= x[i] where i < 2
    y[s] *= v[s]
    """,
    {"x": (2,), "v": (3,)},
)
case(
    "a maximum of mirrored elements and of plain ones",
    """
    shape y[3]
    y[reflect(3*i-1)] max= x[i] where i < 2
    y[s] max= v[s]
    """,
    {"x": (2,), "v": (3,)},
)
