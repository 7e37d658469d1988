"""Recurrences in every face: values, gradients, second order, tangents, batches, text, on both backends.

Values come from the plain loops of the oracle, which go through the steps one by one, on the program and on the derived
ones; gradients once more from complex steps of the forward loops.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from recurrences import CASES, RNN, Case

import indexlang
from indexlang import edf
from indexlang.calls.function import Function
from indexlang.derive.grad import gradient_names
from indexlang.oracle import loops
from indexlang.oracle.gradcheck import gradcheck, random_cotangents
from indexlang.program.text import to_text

Array = NDArray[Any]
Arrays = Mapping[str, Array]
BACKENDS = ("numpy", "native")
NAMED = {case.name: case for case in CASES}
DERIVED = [case for case in CASES if case.gradient]
SHORT = [case for case in DERIVED if case.name != "rnn of many steps"]


@pytest.fixture(autouse=True)
def _verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


@pytest.fixture
def _fresh() -> Iterator[None]:
    edf.reset()
    yield
    edf.reset()


def function(case: Case, backend: str = "numpy") -> Function:
    options: dict[str, Any] = dict(case.options)
    if case.layer:
        options["layer"] = case.layer
    if case.outputs:
        options["outputs"] = list(case.outputs)
    return indexlang.compile(case.text, backend=backend, **options)


def assert_close(found: Arrays, right: Arrays, rtol: float = 1e-9, atol: float = 1e-10) -> None:
    assert set(found) == set(right)
    for name, value in right.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=atol, err_msg=name)


def values(f: Function, arrays: Arrays) -> dict[str, Array]:
    found = f(**arrays)
    return found if isinstance(found, dict) else {f.outputs[0]: found}


def given(f: Function, arrays: Arrays) -> dict[str, Array]:
    """Inputs, outputs and cotangents of a program: what its derived program may take."""
    right = loops.run(f.program, arrays)
    names = gradient_names(f.program)
    return {**right, **arrays, **{names[n]: c for n, c in random_cotangents(right).items()}}


def taken(f: Function, there: Arrays) -> dict[str, Array]:
    return {n: there[n] for n in f.inputs}


def cotangents(f: Function, there: Arrays) -> dict[str, Array]:
    names = gradient_names(f.program)
    return {n: there[names[n]] for n in f.outputs if names[n] in there}


every = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
derived = pytest.mark.parametrize("case", DERIVED, ids=lambda c: c.name)
short = pytest.mark.parametrize("case", SHORT, ids=lambda c: c.name)
backends = pytest.mark.parametrize("backend", BACKENDS)


# -- values and gradients ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@backends
@every
def test_values(case: Case, backend: str, dtype: str) -> None:
    f, arrays = function(case, backend), case.arrays(dtype)
    near = (1e-9, 1e-10) if dtype == "float64" else (2e-5, 1e-5)
    assert_close(values(f, arrays), loops.run(f.program, arrays), *near)


@derived
def test_derived_programs_are_right(case: Case) -> None:
    """By complex steps of the forward loops."""
    rows = gradcheck(function(case).program, case.arrays(), most=60)
    assert rows
    assert not [row for row in rows if not row.ok]


@backends
@derived
def test_gradients(case: Case, backend: str) -> None:
    f, arrays = function(case, backend), case.arrays()
    there = given(f, arrays)
    g = f.grad()
    right = loops.run(g.program, taken(g, there))
    assert_close(g(**taken(g, there)), right)
    gathered = f.grad(form="gather")
    assert_close(gathered(**taken(gathered, there)), right)
    y, pullback = f.vjp(**arrays)
    assert_close(y if isinstance(y, dict) else {f.outputs[0]: y}, loops.run(f.program, arrays))
    assert_close(pullback(cotangents(f, there)), {n.removesuffix(".grad"): v for n, v in right.items()})


@short
def test_second_derivatives(case: Case) -> None:
    g = function(case).grad()
    there = given(function(case), case.arrays())
    inputs = taken(g, there)
    rows = gradcheck(g.program, inputs, most=30)
    assert not [row for row in rows if not row.ok]
    again = g.grad()
    all_ = {**there, **given(g, inputs)}
    assert_close(again(**taken(again, all_)), loops.run(again.program, taken(again, all_)))


@backends
@derived
def test_tangents(case: Case, backend: str) -> None:
    """By the loops on the program of the tangents, and by the inner product with the gradients."""
    f, arrays = function(case, backend), case.arrays()
    there, t, g = given(f, arrays), f.tangent(), f.grad()
    rng = np.random.default_rng(1)
    moved = [n.removesuffix(".dot") for n in t.inputs if n.endswith(".dot")]
    moves = {n: rng.standard_normal(arrays[n].shape) for n in moved}
    all_ = {**there, **{f"{n}.dot": v for n, v in moves.items()}}
    right = loops.run(t.program, taken(t, all_))
    assert_close(t(**taken(t, all_)), right)
    gradients = loops.run(g.program, taken(g, there))
    ahead = sum(np.sum(right[f"{n}.dot"] * c) for n, c in cotangents(f, there).items() if f"{n}.dot" in right)
    behind = sum(np.sum(gradients[f"{n}.grad"] * v) for n, v in moves.items())
    np.testing.assert_allclose(ahead, behind, rtol=1e-8, atol=1e-9)


def _complex(case: Case) -> bool:
    inside = case.text
    return not any(word in inside for word in ("max", "min", "argmax", "len", "sigmoid", "logsumexp", " > ", "dtw"))


@backends
@pytest.mark.parametrize("case", [c for c in SHORT if _complex(c)], ids=lambda c: c.name)
def test_complex_numbers(case: Case, backend: str) -> None:
    f, arrays = function(case, backend), case.arrays("complex128")
    assert_close(values(f, arrays), loops.run(f.program, arrays))
    g, there = f.grad(), given(f, arrays)
    assert_close(g(**taken(g, there)), loops.run(g.program, taken(g, there)))


@backends
def test_integers(backend: str) -> None:
    text = "c[0] = a[]\nfor t:\n    c[t+1] = 3 * c[t] + x[t]\n    m[t] max= c[t]\n    n += c[t] * x[t]\n"
    f = indexlang.compile(text, backend=backend, outputs=["c", "m", "n"])
    for dtype in ("int32", "int64", "uint8"):
        arrays = {"a": np.asarray(2, dtype), "x": np.arange(7).astype(dtype)}
        assert_close(values(f, arrays), loops.run(f.program, arrays))


# -- text --------------------------------------------------------------------------------------------

FORMS: Mapping[str, Callable[[Function], Function]] = {
    "forward": lambda f: f,
    "gradients": lambda f: f.grad(),
    "gather": lambda f: f.grad(form="gather"),
    "second": lambda f: f.grad().grad(),
    "tangents": lambda f: f.tangent(),
    "tangents of gradients": lambda f: f.grad().tangent(),
    "gradients of tangents": lambda f: f.tangent().grad(),
    "a batch": lambda f: f.batched("batch", [f.inputs[0]]),
}


@pytest.mark.parametrize("form", FORMS)
@derived
def test_what_is_printed_is_the_same_program(case: Case, form: str) -> None:
    f = FORMS[form](function(case))
    again = indexlang.compile(str(f), **({"outputs": list(f.outputs)} if f.program.name is None else {}))
    assert again.program == f.program
    assert str(again) == str(f)


def test_the_gradient_of_a_recurrent_network() -> None:
    f = indexlang.compile(RNN)
    text = str(f.grad())
    assert (
        text[text.index("    h.grad") :]
        == """\
    h.grad[T,k] += y.grad[k]
    for t < T reversed:
        a.grad[t,k] += h.grad[t+1,k] * (1 - h[t+1,k]**2)
        h.grad[t,l] += a.grad[t,k] * U[l,k]
    b.grad[k] += a.grad[t,k]
    U.grad[l,k] += a.grad[t,k] * h[t,l] where t < T
    V.grad[i,k] += a.grad[t,k] * x[t,i]
    x.grad[t,i] += a.grad[t,k] * V[i,k]
    h0.grad[k] += h.grad[0,k]
"""
    )


def test_the_tangent_of_a_recurrent_network() -> None:
    text = str(indexlang.compile(RNN).tangent(wrt=["x", "U"]))
    assert (
        text
        == """\
layer rnn_dot(x[T,I], h0[K], V[I,K], U[K,K], b[K], x.dot, U.dot) -> y.dot:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t < T:
        a[t,k] = V[i,k] * x[t,i]
        a.dot[t,k] += x.dot[t,i] * V[i,k]
        a[t,k] += U[l,k] * h[t,l]
        a.dot[t,k] += U.dot[l,k] * h[t,l]
        a.dot[t,k] += h.dot[t,l] * U[l,k]
        h[t+1,k] = tanh(a[t,k] + b[k])
        h.dot[t+1,k] += a.dot[t,k] * (1 - h[t+1,k]**2)
    y.dot[k] += h.dot[T,k]
"""
    )


def test_latex_has_a_brace_for_each_block() -> None:
    f = indexlang.compile(NAMED["nested blocks"].text)
    assert f.latex() == (
        r"\begin{aligned}" + "\n"
        r"\text{for } i\quad &\left\{\begin{aligned}" + "\n"
        r"\text{for } j\quad &\left\{\begin{aligned}" + "\n"
        r"s_{i, j} &= \tanh\left(x_{i, j} + a \, s_{i, \operatorname{pad}(j - 1)}"
        r" + b \, s_{\operatorname{pad}(i - 1), j}\right)" + "\n"
        r"\end{aligned}\right. \\" + "\n"
        r"r_{i} &\mathrel{+}= \sum_{j} s_{i, j} \, s_{i, j}" + "\n"
        r"\end{aligned}\right. \\" + "\n"
        r"y &\mathrel{+}= \sum_{i} r_{i}" + "\n"
        r"\end{aligned}"
    )
    assert r"\text{for } t < T \text{ reversed}\quad &\left\{" in indexlang.compile(RNN).grad().latex()


@every
def test_braces_of_latex_close(case: Case) -> None:
    text = function(case).latex()
    assert text.count("{") - text.count("\\{") == text.count("}")
    assert text.count("\\left") == text.count("\\right")
    assert text.count("\\begin") == text.count("\\end")


# -- other faces -------------------------------------------------------------------------------------


@every
def test_pickling(case: Case) -> None:
    f = function(case)
    again = pickle.loads(pickle.dumps(f))
    assert again.program == f.program
    assert_close(values(again, case.arrays()), values(f, case.arrays()))


@backends
def test_out_outputs_and_wrt(backend: str) -> None:
    case = NAMED["rnn"]
    arrays = case.arrays()
    f = indexlang.compile(RNN, backend=backend, outputs=["y", "h"])
    right = loops.run(f.program, arrays)
    buffers = {"h": np.full((6, 3), np.nan), "y": np.full(3, np.nan)}
    found = f(**arrays, out=buffers)
    assert found["h"] is buffers["h"]
    assert_close(buffers, right)
    there = given(f, arrays)
    whole = loops.run(f.grad().program, taken(f.grad(), there))
    for wrt in (["U"], ["x", "h0"], ["b"]):
        g = f.grad(wrt=wrt)
        assert_close(g(**taken(g, there)), {f"{n}.grad": whole[f"{n}.grad"] for n in wrt})


@backends
def test_values_with_gradients_and_seeds(backend: str) -> None:
    text = f"{RNN}    loss = sum[k](y[k] * y[k])\n".replace("-> y[K]", "-> loss")
    f, arrays = indexlang.compile(text, backend=backend), NAMED["rnn"].arrays()
    right = loops.run(f.grad(seed=1).program, arrays)
    loss, gradients = f.value_and_grad(**arrays)
    np.testing.assert_allclose(loss, loops.run(f.program, arrays)["loss"])
    assert_close(gradients, {n.removesuffix(".grad"): v for n, v in right.items()})
    assert_close(f.grad(seed=1)(**arrays), right)
    assert_close(f.value_and_grad(wrt=["U"], **arrays)[1], {"U": right["U.grad"]})


@backends
def test_second_derivatives_along_a_direction(backend: str) -> None:
    text = f"{RNN}    loss = sum[k](y[k] * y[k])\n".replace("-> y[K]", "-> loss")
    f, arrays = indexlang.compile(text, backend=backend), NAMED["rnn"].arrays()
    rng = np.random.default_rng(2)
    v = {n: rng.standard_normal(arrays[n].shape) for n in ("U", "h0")}
    found = f.hvp(v, **arrays)
    g = f.grad(wrt=["U", "h0"], seed=1)
    ahead, behind = (g(**{**arrays, **{n: arrays[n] + e * d for n, d in v.items()}}) for e in (1e-6, -1e-6))
    for n in v:
        expected = (ahead[f"{n}.grad"] - behind[f"{n}.grad"]) / 2e-6
        np.testing.assert_allclose(found[n], expected, rtol=1e-6, atol=1e-7)
    y, y_dot = f.jvp(v, **arrays)
    gradients = g(**arrays)
    np.testing.assert_allclose(y_dot, sum(np.sum(gradients[f"{n}.grad"] * d) for n, d in v.items()))
    np.testing.assert_allclose(y, f(**arrays))


@backends
@derived
def test_batches(case: Case, backend: str) -> None:
    f = function(case, backend)
    name = next(n for n in f.inputs if case.arrays()[n].dtype.kind == "f")
    several = [case.arrays(seed=k) for k in range(3)]
    arrays = {**several[0], name: np.stack([a[name] for a in several])}
    found = values(f.batched("batch", [name]), arrays)
    for k, one in enumerate(several):
        right = loops.run(f.program, {**several[0], name: one[name]})
        for output, value in right.items():
            whole = found[output]
            np.testing.assert_allclose(whole[k] if whole.ndim > value.ndim else whole, value, rtol=1e-9, atol=1e-10)


@backends
def test_gradients_of_each_example(backend: str) -> None:
    case = NAMED["lengths"]
    f, arrays = function(case, backend), case.arrays()
    g = f.grad(wrt=["U"], keep=["b"])
    there = given(f, arrays)
    found = g(**taken(g, there))["U.grad"]
    assert found.shape == (3, 2, 2)
    for b in range(3):
        alone = np.zeros_like(there["y.grad"])
        alone[b] = there["y.grad"][b]
        right = loops.run(f.grad(wrt=["U"]).program, taken(f.grad(wrt=["U"]), {**there, "y.grad": alone}))["U.grad"]
        np.testing.assert_allclose(found[b], right, rtol=1e-9, atol=1e-12)


@backends
def test_options_and_names(backend: str) -> None:
    text = """\
layer forgets(x[T]; memory=2) -> s[T]:
    for t:
        s[t] = x[t] + 0.5 * s[pad(t-memory)]
"""
    x = np.arange(1.0, 8.0)
    f = indexlang.compile(text, backend=backend)
    for memory in (1, 2, 3):
        one = f.given(memory=memory)
        right = list(x)
        for t in range(memory, 7):
            right[t] += 0.5 * right[t - memory]
        np.testing.assert_allclose(one(x), right)
    renamed = f.renamed({"x": "t2", "s": "x", "t": "step"})
    assert "for step:" in str(renamed)
    np.testing.assert_allclose(renamed(t2=x), f(x))
    assert indexlang.compile(str(renamed)).program == renamed.program


@backends
def test_joined_programs_keep_their_blocks(backend: str) -> None:
    first = indexlang.compile("for t:\n    s[t] = x[t] + 0.5 * s[pad(t-1)]\n", backend=backend)
    second = indexlang.compile("for t reversed:\n    y[t] = s[t] * y[pad(t+1)] + s[t]\n", backend=backend)
    third = indexlang.compile("for t:\n    x[t] = w[t] + x[pad(t-1)]\n", backend=backend)
    both = indexlang.join(first, second)
    x = np.random.default_rng(3).uniform(-1, 1, 6)
    np.testing.assert_allclose(both(x=x), second(s=first(x=x)))
    assert indexlang.compile(str(both)).program == both.program
    assert [s.block.number for s in both.program.statements if s.block is not None] == [0, 1]
    three = indexlang.join(third, both)
    assert str(three).count("for t") == 3
    np.testing.assert_allclose(three(w=x), both(x=third(w=x)))
    assert indexlang.compile(str(three)).program == three.program
    g = three.grad()
    assert indexlang.compile(str(g)).program == g.program


@backends
def test_accumulations_in_blocks_start_from_what_is_passed(backend: str) -> None:
    text = "for t:\n    a[t] = x[t] + 0.5 * a[pad(t-1)]\n    s += a[t]\n    r[t] += a[t] * a[t]\n"
    f = indexlang.compile(text, backend=backend, outputs=["s", "r"])
    x, rng = np.random.default_rng(4).uniform(-1, 1, 5), np.random.default_rng(5)
    start = {"s": rng.uniform(-1, 1, ()), "r": rng.uniform(-1, 1, 5)}
    plain = f(x=x)
    found = f(x=x, **start)
    for name, value in start.items():
        np.testing.assert_allclose(found[name], plain[name] + value)


@pytest.mark.usefixtures("_fresh")
def test_graphs_of_nodes_with_blocks() -> None:
    """Two nodes in a row with the same loop stay two loops; gradients as of one program written by hand."""
    running = edf.node(
        "layer running(x[B,T], a[T]) -> s[B,T]:\n    for t:\n        s[b,t] = x[b,t] + a[t] * s[b,pad(t-1)]\n"
    )
    x, fade = edf.Input(), edf.Parameter((4,))
    second = edf.node("y[b] = s[b,t]")(running(running(x, fade), fade))
    program = edf.Graph.of(second).program(second)
    text = to_text(program)
    assert text.count("for t:") == 2
    assert indexlang.compile(text).program.statements == program.statements
    rng = np.random.default_rng(6)
    data, fade.value = rng.uniform(-1, 1, (3, 4)).astype("f"), rng.uniform(-1, 1, 4).astype("f")
    x.value = data
    edf.Forward()
    edf.Backward(second)
    a, right = fade.value, np.asarray(data, float)
    for _ in range(2):
        right = right.copy()
        for t in range(1, 4):
            right[:, t] += a[t] * right[:, t - 1]
    np.testing.assert_allclose(second.value, right.sum(1), rtol=1e-5, atol=1e-6)
    f = Function(program)
    arrays = {x.name: data, fade.name: a}
    cotangent = {f"{second.name}.grad": np.full(3, 1 / 3, "f")}
    derived_ = loops.run(f.grad().program, {**arrays, **cotangent})
    np.testing.assert_allclose(fade.grad, derived_[f"{fade.name}.grad"], rtol=1e-4, atol=1e-5)


# -- ties --------------------------------------------------------------------------------------------

TIES = (
    "for t reversed:\n    a[t] = x[t] + 0 * a[pad(t+1)]\n    g max= a[t]\n",
    "for t:\n    g max= x[t]\n    g max= 1 + 0 * x[t]\n",
    "for t:\n    g max= 1 + 0 * x[t]\n    g max= x[t]\n",
    "for t reversed:\n    g min= x[t]\n    g min= 0.5 * x[t]\n",
    "for t:\n    v[t//2] max= x[t]\n    w[t] = x[t] + 0.1 * w[pad(t-1)]\n",
    "for t reversed:\n    v[t//2] max= x[t]\n    w[t] = x[t] + 0.1 * w[pad(t+1)]\n",
    "for t:\n    v[t//2] max= x[t]\n    v[t//2] max= 1 + 0 * x[t]\n    w[t] = x[t] + 0.1 * w[pad(t-1)]\n",
    "for t, s reversed:\n    v[t+s] max= z[t,s]\n    w[t,s] = z[t,s] + 0.1 * w[pad(t+1),s]\n",
    "for t:\n    for s reversed:\n        v[t] max= z[t,s]\n        w[t,s] = z[t,s] + 0.1 * w[t,pad(s+1)]\n",
)


@pytest.mark.parametrize("text", TIES)
def test_of_equal_candidates_the_first_step_wins(text: str) -> None:
    """Steps count first, in the block's order, then lines: as the loops find them, who keep the first they meet."""
    rng = np.random.default_rng(9)
    f = indexlang.compile(text, backend="numpy")
    for _ in range(4):
        shapes = {"x": (6,), "z": (3, 4)}
        arrays = {n: rng.integers(0, 2, shapes[n]).astype(float) for n in f.inputs}
        assert not [row for row in gradcheck(f.program, arrays) if not row.ok]
        g, t, there = f.grad(), f.tangent(), given(f, arrays)
        gradients = loops.run(g.program, taken(g, there))
        assert_close(g(**taken(g, there)), gradients)
        moves = {f"{n}.dot": rng.standard_normal(a.shape) for n, a in arrays.items()}
        moved = loops.run(t.program, taken(t, {**there, **moves}))
        assert_close(t(**taken(t, {**there, **moves})), moved)
        ahead = sum(np.sum(moved[f"{n}.dot"] * there[f"{n}.grad"]) for n in f.outputs)
        behind = sum(np.sum(gradients[f"{n}.grad"] * moves[f"{n}.dot"]) for n in arrays)
        np.testing.assert_allclose(ahead, behind, rtol=1e-9, atol=1e-9)
