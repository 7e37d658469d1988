"""Programs over a batch: what is at one value of the new index is what the program gives for that part."""

from __future__ import annotations

import pickle
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import dense
import numpy as np
import pytest
from corpus import CASES, Case
from numpy.typing import NDArray
from random_programs.judge import wrong
from random_programs.statements import generate
from random_programs.trial import pads_with_fractions
from test_corpus import DIFFERENTIABLE, arguments, assert_prints, assert_same, backward_of, program_of, run
from test_tangents import directions, forward_of
from test_tangents import given as along

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import tangents
from indexlang.derive.grad import backward, differentiable, gradient_names
from indexlang.errors import DerivationError, IndexLangError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops as reference
from indexlang.oracle.gradcheck import random_cotangents
from indexlang.program.ir import Program
from indexlang.program.names import tensors_of
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.rewrite.batched import batched
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Arrays = dict[str, Array]
EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
MANY = 3


def parts_of(a: Array) -> list[Array]:
    """Arrays of the same values in other places, so that positions stay in range."""
    return [a, np.flip(a).copy(), np.roll(a, 1)] if a.ndim else [a, a.copy(), a.copy()]


def chosen(names: Sequence[str], word: str) -> list[str]:
    """Some of the inputs, the same at every call."""
    rng = np.random.default_rng(zlib.crc32(word.encode()))
    found = [n for n in names if rng.random() < 0.6]
    return found or list(names[:1])


def index_for(program: Program) -> str:
    """A name that no tensor has."""
    return next(i for i in ("n", "m", "batch") if i not in tensors_of(program))


def assert_batched(program: Program, arrays: Mapping[str, Array], names: Sequence[str], kernels: bool = True) -> None:
    """The batched program gives each part what the program gives, and prints."""
    parts = {n: parts_of(arrays[n]) if n in names else [arrays[n]] * MANY for n in arrays}
    try:
        with np.errstate(all="ignore"):
            each = [reference.run(program, {n: parts[n][k] for n in arrays}) for k in range(MANY)]
    except (IndexLangError, IndexError):
        pytest.skip("other data do not fit")
    try:
        whole = batched(program, index_for(program), names)
    except DerivationError as error:
        assert [p.code for p in error.problems] == ["ellipsis"]  # noqa: PT017
        pytest.skip("an ellipsis stands in its way")
    verify(whole)
    assert_prints(whole)
    given = {n: np.stack(parts[n]) if n in names else arrays[n] for n in whole.inputs}
    found = reference.run(whole, given)
    expected = {}
    for name in program.outputs:
        alike = found[name].shape == each[0][name].shape
        expected[name] = each[0][name] if alike else np.stack([e[name] for e in each])
        assert not alike or all(np.array_equal(e[name], each[0][name], equal_nan=True) for e in each)
    assert_same(found, expected)
    if kernels:
        assert_same(run(whole, given), expected)


@EACH
def test_programs(case: Case) -> None:
    program = program_of(case)
    if not program.inputs:
        pytest.skip("no inputs")
    assert_batched(program, case.arrays(), chosen(program.inputs, case.name))


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.name)
def test_gradients(case: Case) -> None:
    program, arrays = backward_of(case), arguments(case)
    assert_batched(program, arrays, chosen(program.inputs, f"{case.name} derived"))
    assert_batched(program, arrays, [n for n in program.inputs if n.endswith(".grad")] or program.inputs[:1])


@pytest.mark.parametrize("case", DIFFERENTIABLE[::3], ids=lambda c: c.name)
def test_tangents(case: Case) -> None:
    program, arrays = forward_of(case), along(case)
    assert_batched(program, arrays, chosen(program.inputs, f"{case.name} forward"))
    assert_batched(program, arrays, [n for n in program.inputs if n.endswith(".dot")])


@pytest.mark.parametrize("case", [c for c in DIFFERENTIABLE if c.second][::3], ids=lambda c: c.name)
def test_tangents_of_gradients(case: Case) -> None:
    gradient, arrays = backward_of(case), arguments(case)
    floats = tuple(n for n in differentiable(gradient) if arrays[n].dtype.kind in "fc")
    if not floats:
        pytest.skip("the gradient is constant")
    program, names = tangents.forward(gradient, floats), tangents.tangent_names(gradient)
    given = {**arrays, **directions(arrays, names, floats)}
    dots = [names[n] for n in floats if names[n] in program.inputs]
    assert_batched(program, {n: given[n] for n in program.inputs}, dots, kernels=False)


@pytest.mark.parametrize("number", range(30))
def test_random_programs(number: int) -> None:
    sample = generate(f"batched:{number}", "tiny")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        program = resolve(parse(Source(sample.text)))
        arrays = sample.arrays("float64")
        names = chosen(program.inputs, sample.text)
        whole = batched(program, index_for(program), names)
        verify(whole)
        assert_prints(whole)
        given = {n: np.stack([arrays[n]] * 2) if n in names else arrays[n] for n in whole.inputs}
        once, found = dense.run(program, arrays), dense.run(whole, given)
        expected = {n: a if a.shape == found[n].shape else np.stack([a, a]) for n, a in once.items()}
        again = lambda noise, seed: dense.run(whole, given, noise=noise, seed=seed)  # noqa: E731
        assert wrong(found, expected, again) is None
        if not pads_with_fractions(program, arrays):
            assert wrong(run(whole, given), expected, again) is None


@pytest.mark.parametrize(
    ("text", "names", "printed"),
    [
        ("y[o] = W[o,i] * x[i]", ["x"], "y[n,o] = W[o,i] * x[n,i]\n"),
        ("y[o] = W[o,i] * x[i]", ["W", "x"], "y[n,o] = W[n,o,i] * x[n,i]\n"),
        ("m[n] max= x[n,i]", ["x"], "m[n,n2] max= x[n,n2,i]\n"),
        (
            "y[i] = a[i]\ny[i] += x[i]",
            ["x"],
            "y[n,i] = a[i] where n < size(x,0)\ny[n,i] += x[n,i]\n",
        ),
        (
            "h[i] = a[i]**2\ny[i] = h[i] * x[tok[i]] where i < 3",
            ["tok"],
            "h[i] = a[i]**2\ny[n,i] = h[i] * x[tok[n,i]] where i < 3\n",
        ),
        ("y[...,o] = W[o,i] * x[...,i]", ["x"], "y[...,o] = W[o,i] * x[...,i]\n"),
        (
            "layer f(x[N,I], W[O,I]) -> y[N,O]:\n    y[n,o] = W[o,i] * x[n,i]",
            ["x"],
            "layer f(x[N2,N,I], W[O,I]) -> y[N2,N,O]:\n    y[n,n2,o] = W[o,i] * x[n,n2,i]\n",
        ),
    ],
)
def test_what_is_printed(text: str, names: list[str], printed: str) -> None:
    program = resolve(parse(Source(text + "\n")))
    assert to_text(batched(program, "n", names)) == printed


def test_a_tensor_keeps_its_name() -> None:
    with pytest.raises(DerivationError, match="would be called like a tensor"):
        batched(resolve(parse(Source("y[i] = n * x[i]\n"))), "n", ["x"])


def test_gradients_of_each_example_by_a_function() -> None:
    f = indexlang.compile("h[k] = tanh(sum[i](U[k,i] * x[i]))\ny[o] = V[o,k] * h[k]")
    rng = np.random.default_rng(0)
    weights = {"U": rng.standard_normal((4, 3)), "V": rng.standard_normal((2, 4))}
    x, dy = rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    np.testing.assert_allclose(f.batched("b", ["x"])(x=x, **weights)[3], f(x=x[3], **weights))
    g = f.grad().batched("b", ["x", "y.grad"])
    found = g(x=x, **weights, **{"y.grad": dy})
    assert {n: a.shape for n, a in found.items()} == {"x.grad": (5, 3), "U.grad": (5, 4, 3), "V.grad": (5, 2, 4)}
    for b in range(5):
        alone = f.grad()(x=x[b], **weights, **{"y.grad": dy[b]})
        for n, value in alone.items():
            np.testing.assert_allclose(found[n][b], value, rtol=1e-12)
    again = pickle.loads(pickle.dumps(g))
    assert again.program == g.program
    assert indexlang.compile(str(g)).program == g.program
    assert {*g.grad(["x", "y.grad"]).outputs} == {"x.grad2", "y.grad.grad"}


def test_rows_of_the_jacobian_by_a_batch_of_cotangents() -> None:
    f = indexlang.compile("y[o] = W[o,i] * exp(x[i])")
    w, x = np.arange(6.0).reshape(2, 3), np.array([0.0, 1.0, -1.0])
    rows = f.grad("x").batched("r", "y.grad")(W=w, x=x, **{"y.grad": np.eye(2)})["x.grad"]
    np.testing.assert_allclose(rows, w * np.exp(x))
    columns = f.tangent("x").batched("c", ["x.dot"])(W=w, x=x, **{"x.dot": np.eye(3)})["y.dot"]
    np.testing.assert_allclose(columns.T, w * np.exp(x))


@pytest.mark.parametrize(
    ("index", "tensors", "part"),
    [
        ("n", ["q"], "'q' is no input"),
        ("n", [], "is no input"),
        ("n", 3, "3 is no input"),
        ("where", ["x"], "cannot be one"),
        ("a.b", ["x"], "cannot be one"),
        (3, ["x"], "cannot be one"),
        ("W", ["x"], "would be called like a tensor"),
    ],
)
def test_batches_that_are_refused(index: Any, tensors: Any, part: str) -> None:
    with pytest.raises(DerivationError, match=part):
        indexlang.compile("y[o] = W[o,i] * x[i]").batched(index, tensors)


@pytest.mark.parametrize("case", DIFFERENTIABLE[::4], ids=lambda c: c.name)
def test_pullbacks(case: Case) -> None:
    """The two parts of a program with declared gradients know their shapes."""
    program, arrays = backward_of(case), arguments(case)
    names = chosen(program.inputs, f"{case.name} pulled")
    try:
        whole = batched(program, "n_", names)
        given = {n: np.stack(parts_of(arrays[n])) if n in names else arrays[n] for n in whole.inputs}
        right = reference.run(whole, given)
    except (IndexLangError, IndexError):
        pytest.skip("other data do not fit, or an ellipsis stands in its way")
    f = Function(whole, always_dict=True)
    floats = [n for n in differentiable(whole) if given[n].dtype.kind in "fc"]
    if not floats:
        pytest.skip("the gradient is constant")
    values, pullback = f.vjp(**given)
    assert_same(values, right)
    across = random_cotangents(right)
    found, derived = pullback(across), backward(whole, floats)
    grads = gradient_names(whole)
    every = {**given, **{grads[n]: c for n, c in across.items()}}
    expected = reference.run(derived, {n: every[n] for n in derived.inputs})
    assert_same({grads[n]: found[n] for n in floats}, expected, 1e-9)
