"""The gather form: the value of the scatter form and of plain loops, in few points, for every kind of position."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.oracle import loops
from indexlang.sizes import shapes

Array = NDArray[Any]
Arrays = dict[str, Array]


def arrays(sizes: Mapping[str, tuple[int, ...]]) -> Arrays:
    rng = np.random.default_rng(3)
    return {name: rng.standard_normal(shape) for name, shape in sizes.items()}


def checked(text: str, sizes: Mapping[str, tuple[int, ...]], positions: Mapping[str, int] | None = None) -> Function:
    """The gathered derivative, after it was compared with the scattered one by loops and by kernels, and parsed."""
    f = indexlang.compile(text)
    given = arrays(sizes)
    given |= {name: np.random.default_rng(5).integers(0, most, sizes[name]) for name, most in (positions or {}).items()}
    values = loops.run(f.program, given)
    given |= {f"{name}.grad": np.asarray(arrays({name: value.shape})[name]) for name, value in values.items()}
    scattered, gathered = f.grad(), f.grad(form="gather")
    expected = loops.run(scattered.program, {n: given[n] for n in scattered.inputs})
    for found in (
        loops.run(gathered.program, {n: given[n] for n in gathered.inputs}),
        gathered(**{n: given[n] for n in gathered.inputs}),
    ):
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-10, err_msg=name)
    assert indexlang.compile(str(gathered)).program == gathered.program
    twice = gathered.grad(form="gather") if any(n.endswith(".grad") for n in gathered.inputs) else gathered
    assert indexlang.compile(str(twice)).program == twice.program
    return gathered


def points(f: Function, sizes: Mapping[str, tuple[int, ...]], tensor: str) -> int:
    """How many points the statements of a tensor go through."""
    found = shapes.infer(f.program, {n: sizes[n] for n in f.inputs})
    pairs = zip(f.program.statements, found.extents, strict=True)
    return sum(prod(hi - lo for lo, hi in e.values()) for s, e in pairs if s.target.tensor == tensor)


# -- windows -----------------------------------------------------------------------------------------

WINDOWS = [
    (stride, dilation, pad, taps, size)
    for stride, dilation, pad, taps, size in itertools.product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2, 3), (7, 8))
]


@pytest.mark.parametrize("order", ["{s}*i+{d}*k", "{d}*k+{s}*i"])
@pytest.mark.parametrize(("stride", "dilation", "pad", "taps", "size"), WINDOWS)
def test_a_window(stride: int, dilation: int, pad: int, taps: int, size: int, order: str) -> None:
    """Against the gradient of a convolution written out."""
    inside = order.format(s=stride, d=dilation)
    f = indexlang.compile(f"y[i] = x[pad({inside},{pad})] * w[k]")
    x, w = np.arange(1.0, size + 1), np.arange(2.0, taps + 2)
    y = f(x=x, w=w)
    cotangent = np.arange(1.0, len(y) + 1) ** 2
    expected = np.zeros(size)
    for i in range(len(y)):
        for k in range(taps):
            if 0 <= stride * i + dilation * k - pad < size:
                expected[stride * i + dilation * k - pad] += cotangent[i] * w[k]
    gathered = f.grad(wrt=["x"], form="gather")
    given = {"x": x, "w": w, "y.grad": cotangent}
    given = {n: given[n] for n in gathered.inputs}
    np.testing.assert_allclose(gathered(**given)["x.grad"], expected)
    np.testing.assert_allclose(loops.run(gathered.program, given)["x.grad"], expected)
    shape = {n: a.shape for n, a in given.items()}
    assert points(gathered, shape, "x.grad") <= size * taps  # each element looks at each tap


def test_a_strided_image() -> None:
    text = "y[b,i,j,o] = K[r,s,c,o] * x[b,pad(2*i+r,1),pad(3*j+2*s,1),c]"
    sizes = {"K": (3, 2, 2, 3), "x": (2, 7, 8, 2)}
    gathered = checked(text, sizes)
    assert "x.grad[b,u,v,c] += y.grad[b,pad((u+1-r)//2),pad((v+1-2*s)//3),o] * K[r,s,c,o] " in str(gathered)
    assert "where (u + 1 - r) % 2 == 0, (v + 1 - 2 * s) % 3 == 0" in str(gathered)


# -- one program for each kind of position -------------------------------------------------------------

KINDS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "several taps": ("y[i] = x[i+j+2*k] * a[j] * b[k]", {"x": (9,), "a": (2,), "b": (3,)}),
    "from behind": ("y[i] = x[size(x,0)-1-2*i] * w[i]", {"x": (7,), "w": (4,)}),
    "a reversed tap": ("y[i] = x[2*i-k+2] * w[k]", {"x": (8,), "w": (3,)}),
    "a stride that leaves elements": ("y[i] = x[3*i+1] * w[i]", {"x": (9,), "w": (3,)}),
    "a diagonal": ("y[i] = A[i,i] * w[i]", {"A": (4, 4), "w": (4,)}),
    "a diagonal below": ("y[i] = A[i+1,i] * w[i] where i < 3", {"A": (4, 4), "w": (3,)}),
    "a diagonal of two strides": ("y[i] = A[2*i,3*i] * w[i]", {"A": (5, 7), "w": (3,)}),
    "a diagonal of three axes": ("y[i,k] = A[i,i,k,2*i]", {"A": (3, 3, 2, 6)}),
    "a trace": ("t = A[i,i]", {"A": (3, 3)}),
    "a band": ("y[i,k] = w[k] * A[i,i+k]", {"w": (2,), "A": (4, 5)}),
    "a lattice": ("y[i,j] = x[i+j,i-j+3] where i < 3, j < 4", {"x": (7, 7)}),
    "a coarse lattice": ("y[i,j] = x[2*i+j,i+2*j] where i < 3, j < 2", {"x": (8, 8)}),
    "a fixed position": ("y[n] = x[n,0] * x[n,2*s] where s < 2", {"x": (3, 5)}),
    "fixed and plain": ("y[t,n] = x[n,s,2*s] * x[n,s,0] * u[t,0]", {"x": (3, 2, 4), "u": (2, 1)}),
    "merged on the left": ("y[b,(i,j,c)] = x[b,i,j,c]", {"x": (2, 3, 2, 2)}),
    "merged and shifted": ("y[b,(i,j)] = x[b,i+1,2*j]", {"x": (2, 4, 5)}),
    "merged on the right": ("y[b,i,j] = x[b,(i,j)] where j < 3", {"x": (2, 6)}),
    "groups": ("y[b,(g,o)] = W[g,c,o] * x[b,(g,c)]", {"W": (2, 3, 2), "x": (2, 6)}),
    "merged and diagonal": ("y[i] = min[m](x[(m,i),i] * w[m]) * z[2*i,i//2]", {"x": (4, 2), "w": (2,), "z": (4, 1)}),
    "several reads of an index": ("y[i] = x[2*i+k] * x[2*i] * w[k] * v[i]", {"x": (7,), "w": (2,), "v": (3,)}),
    "an index as a number": ("y[i] = i * x[2*i+1] * w[i]", {"x": (8,), "w": (4,)}),
    "a product of itself": ("y[i] = x[i] * x[i+2]", {"x": (6,)}),
    "an embedded sum": ("y[t,n] = u[t,n]**2 * sum[s](x[n,s,2*s]**2 + x[n,s,0])", {"u": (2, 3), "x": (3, 2, 4)}),
    "an embedded maximum": ("y[i] = x[2*i] * max[k](x[i+k] * w[k])", {"x": (8,), "w": (3,)}),
    "an embedded softmax": ("y[i] = exp(x[i+1] - logsumexp[k](x[i+2*k])) where k < 2", {"x": (6,)}),
    "a maximum of a window": ("y[b,i] max= x[b,2*i+k] where k < 3", {"x": (2, 9)}),
    "a maximum over padding": ("y[i] max= x[pad(2*i+k,1,value=-inf)] where k < 3", {"x": (6,)}),
    "a product of a window": ("y[i] *= x[3*i+k] where k < 2", {"x": (8,)}),
    "a written range": ("y[i] = t[i-1] * w[i] where 1 <= i < 4", {"t": (5,), "w": (4,)}),
    "a mask": ("y[i] = x[i-k] * w[k] where k <= i, i < size(x,0)", {"x": (6,), "w": (3,)}),
    "a mask on the solved index": ("y[i] = x[i+2*k] * w[k] where i % 2 == 0, i != k", {"x": (9,), "w": (3,)}),
    "a mask of its sum": ("y[i] = x[i+k] * w[k] where i + k < 5, k < 3", {"x": (8,), "w": (3,)}),
    "a shortened index": ("d[i] = a[i] * x[i+1]", {"a": (5,), "x": (5,)}),
    "unbounded padding": ("y[i] = x[pad(i-k)] * w[k] where i < 6", {"x": (4,), "w": (3,)}),
    "axes of one element": ("y[i] = x[i+k] * w[k]", {"x": (1,), "w": (1,)}),
    "scatters of two layers": ("h[2*i+k] = x[i] * w[k]\ny[j] = tanh(h[j+l]) * v[l]", {"x": (3,), "w": (2,), "v": (2,)}),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_each_kind(name: str) -> None:
    text, sizes = KINDS[name]
    checked(text, sizes)


@pytest.mark.parametrize("around", ["clamp", "wrap", "reflect"])
def test_what_goes_round_stays(around: str) -> None:
    gathered = checked(f"y[i] = x[{around}(i+k-1)] * z[i,i+k] * w[k]", {"x": (4,), "w": (2,), "z": (4, 5)})
    assert f"x.grad[{around}(i+k-1)]" in str(gathered)


def test_gathered_positions_stay() -> None:
    gathered = checked("y[i] = x[p[i]+k] * w[k] * z[2*i]", {"x": (6,), "p": (3,), "w": (2,), "z": (5,)}, {"p": 5})
    assert "x.grad[p[i]+k]" in str(gathered)
    assert "z.grad[u] +=" in str(gathered)


# -- how it is written, and what it costs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("y[i] = t[i-1] where 1 <= i < 4", "t.grad[u] += y.grad[u+1] where u < min(size(t,0), 3)"),
        ("y[i] = a[i] * x[i+1]", "x.grad[u] += y.grad[u-1] * a[u-1] where 1 <= u < min(size(a,0), size(x,0) - 1) + 1"),
        ("y[b,(i,j)] = x[b,i,j]", "x.grad[b,i,j] += y.grad[b,(i,j)]"),
        ("y[i] = A[i,i]", "A.grad[i,u] += y.grad[i] where u == i"),
        ("y[i] = x[2*i,3*i]", "x.grad[u,v] += y.grad[pad(v-u)] where 3 * u == 2 * v"),
        ("y[i] = x[2*i+k] * w[k]", "x.grad[u] += y.grad[pad((u-k)//2)] * w[k] where (u - k) % 2 == 0"),
    ],
)
def test_text(text: str, line: str) -> None:
    lines = str(indexlang.compile(text).grad(form="gather")).splitlines()
    assert [r.split(" where ")[0] for r in lines if r.startswith(line.split(" ")[0])] == [line.split(" where ")[0]]
    assert not line.partition(" where ")[2] or any(r.endswith(line.partition(" where ")[2]) for r in lines)


def test_no_index_keeps_running_in_vain() -> None:
    """As many points as there are elements and taps, whatever is merged, strided or a maximum."""
    pool = indexlang.compile("y[b,i,j] max= x[b,2*i+r,2*j+s] where r < 2, s < 2").grad(form="gather")
    assert points(pool, {"x": (2, 40, 30), "y.grad": (2, 20, 15)}, "x.grad") == 2 * 40 * 30 * 4
    groups = indexlang.compile("y[b,(g,o)] = W[g,c,o] * x[b,(g,c)]").grad(form="gather")
    sizes = {"W": (4, 5, 6), "x": (7, 20), "y.grad": (7, 24)}
    assert points(groups, sizes, "W.grad") == 7 * 4 * 5 * 6
