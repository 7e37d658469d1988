"""Gradients of blocks with one state in so many kept, against plain loops, and the memory that they take.

The plain loops are the oracle's, over the derived statements as printed; one recurrence is written out by hand.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import indexlang as il
from indexlang.derive.grad import gradient_names
from indexlang.oracle import loops

RNN = """\
layer rnn(x[T,I], h0[K], V[I,K], U[K,K], b[K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t:
        a[t,k] = V[i,k] * x[t,i]
        a[t,k] += U[l,k] * h[t,l]
        h[t+1,k] = tanh(a[t,k] + b[k])
    y[k] = h[T,k]
"""
LSTM = """\
layer lstm(x[T,B,I], h0[B,K], c0[B,K], W[I,4,K], U[K,4,K], b[4,K]) -> y[B,K]:
    shape c[T+1,B,K]
    shape h[T+1,B,K]
    h[0,n,k] = h0[n,k]
    c[0,n,k] = c0[n,k]
    for t:
        a[t,n,g,k] = W[i,g,k] * x[t,n,i]
        a[t,n,g,k] += U[l,g,k] * h[t,n,l]
        c[t+1,n,k] = sigmoid(a[t,n,1,k] + b[1,k]) * c[t,n,k] + sigmoid(a[t,n,0,k] + b[0,k]) * tanh(a[t,n,2,k] + b[2,k])
        h[t+1,n,k] = sigmoid(a[t,n,3,k] + b[3,k]) * tanh(c[t+1,n,k])
    y[n,k] = h[T,n,k]
"""
# By name: a text, the shapes of its inputs, what is kept of the states, if anything is gained.
TEXTS: dict[str, tuple[str, dict[str, tuple[int, ...]], set[str]]] = {
    "a recurrence": (RNN, {"x": (11, 3), "h0": (4,), "V": (3, 4), "U": (4, 4), "b": (4,)}, {"h_kept"}),
    "all steps come out": (
        RNN.replace("-> y[K]", "-> h[T+1,K]").replace("    shape h[T+1,K]\n", "").replace("    y[k] = h[T,k]\n", ""),
        {"x": (11, 3), "h0": (4,), "V": (3, 4), "U": (4, 4), "b": (4,)},
        set(),
    ),
    "two tensors": (
        LSTM,
        {"x": (11, 2, 3), "h0": (2, 4), "c0": (2, 4), "W": (3, 4, 4), "U": (4, 4, 4), "b": (4, 4)},
        {"h_kept", "c_kept"},
    ),
    "two steps back": (
        """\
h[0,k] = v[k]
h[1,k] = sin(v[k])
for t < size(x,0):
    h[t+2,k] = tanh(x[t,k] + 0.5 * h[t+1,k] * h[t,l] * w[l,k])
y[k] = h[size(x,0)+1,k]**2
""",
        {"x": (12, 3), "v": (3,), "w": (3, 3)},
        {"h_kept"},
    ),
    "from the last step": (
        """\
for t < size(x,0) reversed:
    h[t,k] = tanh(x[t,k] + w[l,k] * h[pad(t+1),l])
y[k] = h[0,k] * h[3,k]
""",
        {"x": (13, 3), "w": (3, 3)},
        {"h_kept"},
    ),
    "the best path": (
        """\
v[0,j] max= e[0,j]
for t < size(e,0)-1:
    v[t+1,j] max= v[t,i] + A[i,j] + e[t+1,j]
s max= v[size(e,0)-1,j]
""",
        {"e": (12, 4), "A": (4, 4)},
        {"v_kept"},
    ),
    "sums of all steps": (
        """\
for t < size(x,0):
    h[t,k] = sin(x[t,k]) + 0.5 * h[pad(t-1),k] * w[k]
    loss += h[t,k]**2 * u[t]
z[t,k] = exp(h[t,k]) where u[t] > 0
y[k] = z[t,k]
y[k] += loss
""",
        {"x": (14, 3), "w": (3,), "u": (14,)},
        {"h_kept"},
    ),
    "parts of steps": (
        """\
h[0,k] = v[k]
for t < size(x,0):
    h[t+1,k] = h[t,k] where u[t] <= 0
    h[t+1,k] = tanh(h[t,l] * w[l,k] + x[t,k]) where u[t] > 0
y[k] = h[size(x,0),k]
""",
        {"x": (9, 3), "v": (3,), "u": (9,), "w": (3, 3)},
        {"h_kept"},
    ),
    "a block in the block": (
        """\
h[0,k] = v[k]
for t < size(x,0):
    for j < size(x,1):
        s[t,j] = x[t,j] + 0.5 * s[t,pad(j-1)] * h[t,j]
    h[t+1,k] = tanh(s[t,k])
y[k] = h[size(x,0),k]
""",
        {"x": (9, 3), "v": (3,)},
        {"h_kept"},
    ),
    "a guard of the first step": (
        """\
shape h[9,3]
for t < size(x,0):
    h[t,k] = tanh(x[t,k])
    h[t,k] += u[k] * h[t-1,k] * h[t-1,k] where t >= 1
y[k] = h[8,k]
""",
        {"x": (9, 3), "u": (3,)},
        {"h_kept"},
    ),
    "positions of all steps": (
        """\
h[0,k] = v[k]
for t < size(x,0):
    h[t+1,k] = tanh(x[t,k] + h[t//2,k])
y[k] = h[size(x,0),k]
""",
        {"x": (9, 3), "v": (3,)},
        set(),
    ),
    "a sum over more than the steps": (
        """\
h[0,k] = v[k]
for t < size(x,0):
    h[t+1,k] = tanh(x[t,k] + h[t,k])
y += h[t,k]**2
""",
        {"x": (9, 3), "v": (3,)},
        set(),
    ),
    "a step that is asked for": (
        """\
h[0,k] = v[k]
for t < size(x,0):
    h[t+1,k] = tanh(x[t,k] * h[t,k] + h[t,l] * w[l,k])
y[k] = h[size(x,0),k] * h[5,k] * h[0,k] + sin(h[6,k])
""",
        {"x": (11, 3), "v": (3,), "w": (3, 3)},
        {"h_kept"},
    ),
}


def arrays_of(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {n: rng.uniform(-1, 1, shape) for n, shape in shapes.items()}


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("every", [1, 2, 4, 5, 20])
@pytest.mark.parametrize("name", TEXTS)
def test_gradients_are_those_of_plain_loops(name: str, every: int, backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    text, shapes, _ = TEXTS[name]
    arrays = arrays_of(shapes)
    f = il.compile(text, backend=backend, checkpoint={"t": every})
    names, right = gradient_names(f.program), loops.run(f.program, arrays)
    output = f.outputs[0]
    dy = np.cos(np.arange(right[output].size)).reshape(right[output].shape)
    g = f.grad()
    given = {n: {**arrays, names[output]: dy}[n] for n in g.inputs}
    gradients = loops.run(g.program, given)
    value, pullback = f.vjp(arrays)
    np.testing.assert_allclose(value, right[output], rtol=1e-12, atol=1e-12)
    for n, found in pullback(dy).items():
        np.testing.assert_allclose(found, gradients[names[n]], rtol=1e-10, atol=1e-10, err_msg=n)
    for n, found in g(**given).items():
        np.testing.assert_allclose(found, gradients[n], rtol=1e-10, atol=1e-10, err_msg=n)


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_kept(name: str) -> None:
    text, shapes, kept = TEXTS[name]
    first, _ = il.compile(text, backend="numpy", checkpoint={"t": 4}).plans(**shapes)
    assert {t for t, _, _ in first.outputs if t.endswith("_kept")} == kept


def test_a_recurrence_by_hand() -> None:
    rng = np.random.default_rng(3)
    x, h0, v, u, b = (rng.uniform(-1, 1, s) for s in ((37, 3), (4,), (3, 4), (4, 4), (4,)))
    states = [h0]
    for row in x:
        states.append(np.tanh(row @ v + states[-1] @ u + b))
    back = dy = rng.uniform(-1, 1, 4)
    by_u, by_x = np.zeros((4, 4)), np.zeros(x.shape)
    for t in reversed(range(37)):
        inside = back * (1 - states[t + 1] ** 2)
        by_u += np.outer(states[t], inside)
        by_x[t] = v @ inside
        back = u @ inside
    f = il.compile(RNN, checkpoint={"t": 8})
    y, pullback = f.vjp(x, h0, v, u, b)
    found = pullback(dy)
    np.testing.assert_allclose(y, states[-1], rtol=1e-12)
    np.testing.assert_allclose(found["U"], by_u, rtol=1e-10)
    np.testing.assert_allclose(found["x"], by_x, rtol=1e-10)
    np.testing.assert_allclose(found["h0"], back, rtol=1e-10)


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_memory_is_that_of_a_few_steps(backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    shapes = {"x": (512, 8, 16), "h0": (8, 32), "c0": (8, 32), "W": (16, 4, 32), "U": (32, 4, 32), "b": (4, 32)}
    plain = il.compile(LSTM, backend=backend).plans(**shapes)
    kept = il.compile(LSTM, backend=backend, checkpoint={"t": 16}).plans(**shapes)
    assert kept[0].workspace < plain[0].workspace / 10
    result = 512 * 8 * 16 * 4  # the gradient by x
    assert kept[1].workspace - result < (plain[1].workspace - result) / 4


def test_planning_does_not_go_by_the_number_of_steps() -> None:
    f = il.compile(RNN, checkpoint={"t": 16})
    one, two = (f.plans(x=(t, 3), h0=(4,), V=(3, 4), U=(4, 4), b=(4,))[1] for t in (40, 4000))
    assert len(one.steps) == len(two.steps)


def test_options_of_a_function_stay() -> None:
    f = il.compile(RNN, checkpoint={"t": 4})
    again = pickle.loads(pickle.dumps(f))
    shapes = TEXTS["a recurrence"][1]
    for g in (again, f.renamed({"x": "image"}), f.batched("n", ["x"])):
        sizes = {{"image": "x"}.get(n, n): 0 for n in g.inputs}
        given = {n: shapes["x" if n == "image" else n] for n in g.inputs}
        if g.inputs == f.inputs and len(sizes) and g is not again:
            given["x"] = (2, *shapes["x"])
        first, _ = g.plans(**given)
        assert any(t.endswith("_kept") for t, _, _ in first.outputs)


@pytest.mark.parametrize(
    ("checkpoint", "rule"),
    [
        ({"s": 4}, "there is no block `for s:`"),
        ({"t": 0}, "a number of steps, at least 1, not 0"),
        ({"t": 2.5}, "a number of steps, at least 1, not 2.5"),
        ({"t": True}, "a number of steps, at least 1, not True"),
        (16, "checkpoint says for the index of a `for`"),
    ],
)
def test_checkpoints_that_make_no_sense(checkpoint: Any, rule: str) -> None:
    with pytest.raises(il.MeaningError) as caught:
        il.compile(RNN, checkpoint=checkpoint)
    assert caught.value.problems[0].code == "setting"
    assert rule in str(caught.value)
