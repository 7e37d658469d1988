"""Calls of layers that take and give parts of tensors: what is inlined is what the layer gives for each part.

Compared with plain loops (the oracle), with the layer called in a loop of Python, and with numerical derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import MeaningError
from indexlang.oracle import loops
from indexlang.program.ir import Access, blocks_of, parts_of

Array = NDArray[Any]
Arrays = Mapping[str, Array]

LAYERS = """\
layer dense(x[B,N], W[N,O], bias[O]) -> y[B,O]:
    y[b,o]  = W[n,o] * x[b,n]
    y[b,o] += bias[o]

layer cell(x[B,I], h[B,K], W[I,K], U[K,K]) -> y[B,K], u[B,K]:
    a[b,k]  = W[i,k] * x[b,i]
    a[b,k] += U[l,k] * h[b,l]
    y[b,k] = tanh(a[b,k])
    u[b,k] = y[b,k] * sigmoid(a[b,k])

layer rnn(x[T,B,I], h0[B,K], W[I,K], U[K,K]) -> y[B,K]:
    shape h[T+1,B,K]
    h[0,b,k] = h0[b,k]
    for t:
        h[t+1,...], _ = cell(x[t,...], h[t,...], W, U)
    y[b,k] = h[T,b,k]

layer norm(x; eps=0.1) -> y:
    m[...] = mean[k](x[...,k])
    v[...] = mean[k]((x[...,k] - m[...])**2)
    y[...,k] = (x[...,k] - m[...]) / sqrt(v[...] + eps)

layer score(x[N], y[N]) -> s:
    s = x[n] * y[n]

layer smooth(x[N]) -> y[N]:
    y[i] max= x[pad(i+k,1,1,value=-2)] where k < 3

layer half(x[N]) -> y[N//2]:
    y[i] = x[2*i]

"""


def _layer(name: str) -> Function:
    return indexlang.compile(LAYERS, layer=name)


def _cells(a: Arrays, along: int, back: bool = False) -> dict[str, Array]:
    cell = _layer("cell")
    x = np.moveaxis(a["x"], along, 0)
    steps = [*range(len(x))][:: -1 if back else 1]
    h = np.zeros((len(x) + 1, *a["h0"].shape))
    u = np.zeros((len(x), *a["h0"].shape))
    h[-1 if back else 0] = a["h0"]
    for t in steps:
        made = cell(x=x[t], h=h[t + 1 if back else t], W=a["W"], U=a["U"])
        h[t if back else t + 1], u[t] = made["y"], made["u"]
    return {"h": np.moveaxis(h, 0, along), "u": np.moveaxis(u, 0, along)}


def _each(name: str, array: Array) -> Array:
    """A layer of one input and one output at each place of the first axis of an array."""
    layer = _layer(name)
    return np.stack([np.asarray(layer(part)) for part in array])


RNN = {"x": (4, 2, 3), "h0": (2, 5), "W": (3, 5), "U": (5, 5)}
Backend = Literal["numpy", "native"]
BACKENDS: tuple[Backend, ...] = ("numpy", "native")
Case = tuple[str, dict[str, tuple[int, ...]], Callable[[Arrays], Array | dict[str, Array]]]
CASES: dict[str, Case] = {
    "time first": (
        "h[0,b,k] = h0[b,k]\nfor t:\n    h[t+1,...], u[t,...] = cell(x[t,...], h[t,...], W, U)",
        RNN,
        lambda a: _cells(a, 0),
    ),
    "batch first": (
        "h[b,0,k] = h0[b,k]\nfor t:\n    h[:,t+1,:], u[:,t,:] = cell(x[:,t,:], h[:,t,:], W, U)",
        {**RNN, "x": (2, 4, 3)},
        lambda a: _cells(a, 1),
    ),
    "time last": (
        "h[b,k,0] = h0[b,k]\nfor t:\n    h[...,t+1], u[...,t] = cell(x[...,t], h[...,t], W, U)",
        {**RNN, "x": (2, 3, 4)},
        lambda a: _cells(a, 2),
    ),
    "from the last to the first": (
        "shape x[T,B,I]\nh[T,b,k] = h0[b,k]\n"
        "for t reversed:\n    h[t,...], u[t,...] = cell(x[t,...], h[t+1,...], W, U)",
        RNN,
        lambda a: _cells(a, 0, back=True),
    ),
    "names of indices that the layers have, too": (
        "h[0,b,k] = h0[b,k]\nfor k:\n    h[k+1,...], u[k,...] = cell(x[k,...], h[k,...], W, U)",
        RNN,
        lambda a: _cells(a, 0),
    ),
    "outside of a block": (
        "y[t,...] = dense(x[t,...], W, c)",
        {"x": (4, 2, 3), "W": (3, 5), "c": (5,)},
        lambda a: a["x"] @ a["W"] + a["c"],
    ),
    "two indices": (
        "y[s,:,t,:] = dense(x[:,t,s,:], W, c)",
        {"x": (2, 4, 6, 3), "W": (3, 5), "c": (5,)},
        lambda a: (a["x"] @ a["W"] + a["c"]).transpose(2, 0, 1, 3),
    ),
    "nested, and element by element": (
        "y[t,...] = 2 * tanh(dense(dense(x[t,...], abs(V), d), W, c)) + x[t,...] * t",
        {"x": (4, 2, 3), "V": (3, 6), "d": (6,), "W": (6, 3), "c": (3,)},
        lambda a: 2 * np.tanh((a["x"] @ abs(a["V"]) + a["d"]) @ a["W"] + a["c"]) + a["x"] * np.arange(4)[:, None, None],
    ),
    "what does not change stands before the block": (
        "for t:\n    y[t+1,...] = dense(y[t,...], exp(W), c) + x[t,...]",
        {"W": (3, 3), "c": (3,), "x": (4, 2, 3)},
        lambda a: _affine_steps(a),
    ),
    "a block in a layer, for each": (
        "y[n,...] = rnn(x[n,...], h0, W, U)",
        {**RNN, "x": (3, 4, 2, 3)},
        lambda a: np.stack([_cells({**a, "x": x}, 0)["h"][-1] for x in a["x"]]),
    ),
    "a block in a layer, in a block": (
        "y[0,b,k] = h0[b,k]\nfor n:\n    y[n+1,...] = rnn(x[n,...], y[n,...], W, U)",
        {**RNN, "x": (3, 4, 2, 3)},
        lambda a: _runs(a),
    ),
    "blocks in a block": (
        "y[0,0,k] = x[0,0,k]\nfor i < 3, j < 4:\n    y[i+1,j+1,:] = norm(y[i,j,:]) + x[i,j,:]",
        {"x": (3, 4, 5)},
        lambda a: _grid(a),
    ),
    "an ellipsis in the layer": (
        "y[t,:,:] = norm(x[:,t,:])",
        {"x": (2, 4, 3)},
        lambda a: _normed(a["x"]).transpose(1, 0, 2),
    ),
    "an ellipsis in both": (
        "shape x[B,T,I]\ny[t,...] = norm(x[...,t], eps=1)",
        {"x": (2, 3, 4)},
        lambda a: _normed(a["x"].transpose(2, 0, 1), 1.0),
    ),
    "scalars": (
        "s[t,u] = score(x[t,...], z[u,...])",
        {"x": (4, 3), "z": (2, 3)},
        lambda a: a["x"] @ a["z"].T,
    ),
    "all subscripts fixed": (
        "s[t] = abs(score(x[t,:], x[t,:])) * w[t]",
        {"x": (4, 3), "w": (4,)},
        lambda a: abs((a["x"] ** 2).sum(1)) * a["w"],
    ),
    "summed over what the target does not have": (
        "y[...] = dense(x[t,...], W, c)",
        {"x": (4, 2, 3), "W": (3, 5), "c": (5,)},
        lambda a: (a["x"] @ a["W"] + a["c"]).sum(0),
    ),
    "the greatest of them": (
        "y[...] max= dense(x[t,...], W, c)",
        {"x": (4, 2, 3), "W": (3, 5), "c": (5,)},
        lambda a: (a["x"] @ a["W"] + a["c"]).max(0),
    ),
    "two at one place": (
        "shape y[2,M]\ny[t//2,...] = smooth(x[t,...])",
        {"x": (4, 3)},
        lambda a: _each("smooth", a["x"]).reshape(2, 2, 3).sum(1),
    ),
    "two at one place, of what is read again": (
        "shape h[2,M,K]\nh[t//2,...], _ = cell(x[t,...], s, W, U)",
        {**{n: s for n, s in RNN.items() if n != "h0"}, "s": (2, 5)},
        lambda a: np.tanh(a["x"] @ a["W"] + a["s"] @ a["U"]).reshape(2, 2, 2, 5).sum(1),
    ),
    "a pair of neighbours": (
        "y[t,...] = smooth(x[t+1,...]) - smooth(x[t,...])",
        {"x": (4, 3)},
        lambda a: np.diff(_each("smooth", a["x"]), axis=0),
    ),
    "each second": (
        "y[t,...] = dense(x[2*t+1,...], W, c)",
        {"x": (7, 2, 3), "W": (3, 5), "c": (5,)},
        lambda a: a["x"][1::2] @ a["W"] + a["c"],
    ),
    "padding around both": (
        "y[t,...] = smooth(x[pad(t,1),...]) where t < 6",
        {"x": (4, 3)},
        lambda a: _each("smooth", np.pad(a["x"], ((1, 1), (0, 0)))),
    ),
    "a range": ("y[t,...] = smooth(x[t,...]) where 1 <= t < 3", {"x": (4, 3)}, lambda a: _ranged(a)),
    "a mask": (
        "y[t,...] = smooth(x[t,...]) where t % 2 == 1",
        {"x": (4, 3)},
        lambda a: _each("smooth", a["x"]) * (np.arange(4) % 2)[:, None],
    ),
    "less than what the statement reaches": (
        "y[t,...] = half(x[t,...])",
        {"x": (4, 5)},
        lambda a: a["x"][:, 0:4:2],
    ),
    "less, in a block": (
        "z[0,i] = w[i]\nfor t:\n    z[t+1,...] = half(x[t,...]) + z[t,...]",
        {"x": (4, 5), "w": (2,)},
        lambda a: a["w"] + np.concatenate([np.zeros((1, 2)), a["x"][:, 0:4:2]]).cumsum(0),
    ),
    "added up in a block": (
        "for t:\n    y[t,...] = smooth(x[t,...])\n    s[...] += smooth(y[t,...])",
        {"x": (4, 3)},
        lambda a: _each("smooth", _each("smooth", a["x"])).sum(0),
    ),
}


def _affine_steps(a: Arrays) -> Array:
    y = [np.zeros(a["x"][0].shape)]
    for x in a["x"]:
        y.append(y[-1] @ np.exp(a["W"]) + a["c"] + x)
    return np.stack(y)


def _runs(a: Arrays) -> Array:
    y = [a["h0"]]
    for x in a["x"]:
        y.append(_cells({**a, "x": x, "h0": y[-1]}, 0)["h"][-1])
    return np.stack(y)


def _normed(x: Array, eps: float = 0.1) -> Array:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps))


def _grid(a: Arrays) -> Array:
    y = np.zeros((4, 5, 5))
    y[0, 0] = a["x"][0, 0]
    for i in range(3):
        for j in range(4):
            y[i + 1, j + 1] = _normed(y[i, j]) + a["x"][i, j]
    return y


def _ranged(a: Arrays) -> Array:
    y = np.zeros((3, 3))
    y[1:] = _each("smooth", a["x"])[1:3]
    return y


def _arrays(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(shape) * 0.7 for name, shape in shapes.items()}


def _named(values: Any, f: Function) -> dict[str, Array]:
    return dict(values) if isinstance(values, Mapping) else {f.outputs[0]: np.asarray(values)}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_values(case: str, backend: Backend) -> None:
    text, shapes, reference = CASES[case]
    f = indexlang.compile(LAYERS + text, backend=backend)
    arrays = _arrays(shapes)
    wanted = reference(arrays)
    for name, value in _named(f(arrays), f).items():
        right = wanted[name] if isinstance(wanted, dict) else wanted
        assert value.shape == right.shape, name
        np.testing.assert_allclose(value, right, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(value, loops.run(f.program, arrays)[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES)
def test_gradients(case: str, backend: Backend) -> None:
    """The pullback along a direction is the slope of the values along it, found by central differences."""
    text, shapes, reference = CASES[case]
    f = indexlang.compile(LAYERS + text, backend=backend)
    arrays = _arrays(shapes)
    rng = np.random.default_rng(6)
    values, pullback = f.vjp(arrays)
    made = _named(values, f)
    cotangents = {name: rng.standard_normal(value.shape) for name, value in made.items()}
    gradients = pullback(cotangents if isinstance(values, Mapping) else cotangents[f.outputs[0]])
    for name, array in arrays.items():
        step = rng.standard_normal(array.shape)

        def moved(by: float, name: str = name, step: Array = step) -> float:
            found = reference({**arrays, name: arrays[name] + by * step})
            return sum(
                float((c * (found[n] if isinstance(found, dict) else found)).sum()) for n, c in cotangents.items()
            )

        slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
        assert float((gradients[name] * step).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-7), name


@pytest.mark.parametrize("case", CASES)
def test_it_prints_as_what_was_put_in(case: str) -> None:
    f = indexlang.compile(LAYERS + CASES[case][0])
    assert indexlang.compile(f.source).program == f.program
    g = f.grad()
    assert indexlang.compile(g.source).program == g.program
    assert not [p for s in f.program.statements for p in parts_of(s) if isinstance(p, Access) and "[" in p.tensor]


def test_derivatives_are_derived_again() -> None:
    """The pullback of the gradient, along a direction, is how the gradient moves along it: the Hessian is symmetric."""
    text = "h[0,b,k] = h0[b,k]\nfor t:\n    h[t+1,...], _ = cell(x[t,...], h[t,...], W, U)\nloss = h[t,b,k]**2"
    gradient = indexlang.compile(LAYERS + text).grad(["U"], seed=1)
    arrays = _arrays(RNN)
    direction = np.random.default_rng(7).standard_normal(arrays["U"].shape)
    found = gradient.vjp(arrays)[1]({"U.grad": direction})["U"]
    ends = [gradient({**arrays, "U": arrays["U"] + by * direction})["U.grad"] for by in (1e-6, -1e-6)]
    np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-7)


def test_what_does_not_change_is_computed_once() -> None:
    f = indexlang.compile(LAYERS + CASES["what does not change stands before the block"][0])
    first, *others = f.program.statements
    assert first.target.tensor == "dense_W"
    assert not blocks_of(first)
    assert all(blocks_of(s) for s in others)


def test_the_rank_of_an_ellipsis_may_stay_open() -> None:
    text = "layer double(x) -> y:\n    y = x + x\n\nfor t:\n    y[t+1,...] = double(x[t,...]) + y[t,...]"
    f = indexlang.compile(text)
    for shape in ((4,), (4, 3), (4, 3, 2)):
        x = np.random.default_rng(3).standard_normal(shape)
        right = np.concatenate([np.zeros((1, *shape[1:])), (2 * x).cumsum(0)])
        np.testing.assert_allclose(np.asarray(f(x=x)), right, rtol=1e-12)
        np.testing.assert_allclose(f.vjp(x=x)[1](np.ones(right.shape))["x"], 2 * np.cumsum(np.ones(shape), 0)[::-1])


def test_sizes_are_those_of_the_part() -> None:
    text = "layer ends(x[N]) -> y:\n    y[i] = x[size(x,0)-1-i] * size(x,0) / N\n\n"
    x = np.arange(24.0).reshape(2, 3, 4)
    for call, right in (("y[s,t,:] = ends(x[s,t,:])", x[..., ::-1]), ("y[s,:,t] = ends(x[s,:,t])", x[:, ::-1])):
        np.testing.assert_array_equal(np.asarray(indexlang.compile(text + call)(x=x)), right)


def test_two_calls_of_a_layer_with_a_block_have_two_blocks() -> None:
    """The second begins when the first is done."""
    text = """\
layer sums(x[N]) -> y[N]:
    for t reversed:
        y[t] = x[t] + y[pad(t+1,0,1)]

layer twice(x[N]) -> z[N]:
    y = sums(x)
    z = sums(y)
"""
    f = indexlang.compile(text, layer="twice")
    assert len({blocks_of(s) for s in f.program.statements}) == 2
    x = np.arange(5.0)
    right = x[::-1].cumsum()[::-1][::-1].cumsum()[::-1]
    np.testing.assert_array_equal(np.asarray(f(x=x)), right)


def test_an_axis_that_a_header_leaves_open_is_what_all_statements_reach() -> None:
    text = "layer sums(x[T,B]) -> h[S,B]:\n    for t:\n        h[t+1,b] = x[t,b] + h[t,b]"
    before = text.replace("    for", "    h[0,b] = 1 where b < B\n    for")
    x = np.random.default_rng(0).standard_normal((4, 2))
    for whole, first in ((text, 0.0), (before, 1.0)):
        f = indexlang.compile(whole)
        right = first + np.concatenate([np.zeros((1, 2)), x.cumsum(0)])
        np.testing.assert_allclose(np.asarray(f(x=x)), right, rtol=1e-12)


def test_a_statement_about_whole_tensors_stands_in_no_block() -> None:
    with pytest.raises(MeaningError, match="block-index"):
        indexlang.compile("for t:\n    h = relu(x)\n    y[t] = h[t]")


def test_a_value_that_gets_a_name_keeps_the_range_of_its_block() -> None:
    """What the line of a block says is a part of each statement that is printed under it."""
    text = "y[0,k] = x[0,k]\nfor i < 3:\n    y[i+1,k] = (y[i,k] - mean[l](x[i,l]))**2 + mean[l](y[i,l])"
    for program in (indexlang.compile(text), indexlang.compile(text).grad()):
        assert indexlang.compile(program.source).program == program.program


def test_what_a_block_around_makes_says_how_far_an_inner_one_runs() -> None:
    text = """\
layer deep(x[T,K], W[L,K]) -> z[L+1,T,K]:
    z[0,t,k] = x[t,k]
    for n:
        for t:
            h[n,t+1,k] = tanh(z[n,t,k] + W[n,k] * h[n,t,k])
        z[n+1,t,k] = h[n,t+1,k]
"""
    f = indexlang.compile(text)
    arrays = _arrays({"x": (4, 3), "W": (2, 3)})
    right = [arrays["x"]]
    for w in arrays["W"]:
        h = [np.zeros(3)]
        for z in right[-1]:
            h.append(np.tanh(z + w * h[-1]))
        right.append(np.stack(h[1:]))
    np.testing.assert_allclose(np.asarray(f(arrays)), np.stack(right), rtol=1e-12)
