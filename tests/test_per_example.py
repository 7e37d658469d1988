"""Gradients of each example: each is the gradient of that example alone, together they are the gradient."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from corpus import Case
from library_cases import CASES as LAYERS
from library_cases import Case as Layer
from numpy.typing import NDArray
from random_programs.oracles import points
from random_programs.statements import generate
from test_corpus import DIFFERENTIABLE, arguments, assert_prints, backward_of, gradients, loops, program_of, run, wrt_of
from test_parse_back import LIBRARY

import indexlang
from indexlang.derive import grad
from indexlang.derive.examples import _Examples, kept
from indexlang.errors import DerivationError, IndexLangError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.program.ir import Index, Program, accesses_of, parts_of
from indexlang.program.names import indices_in
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Arrays = dict[str, Array]


def example(arrays: Mapping[str, Array], axes: Mapping[str, int], b: int) -> Arrays:
    """The arrays of one example."""
    return {n: a.take([b], axes[n]) if n in axes else a for n, a in arrays.items()}


def _at(a: Array, axis: int) -> Array:
    """The position along an axis."""
    return np.indices(a.shape)[axis]


def is_a_position(program: Program, local: Mapping[int, str]) -> bool:
    """Whether the index is also a number, as in `x[i+k]`: then one example alone is another one."""
    for k, stmt in enumerate(program.statements):
        plain = [s for a in accesses_of(stmt) for s in a.subscripts if s == Index(local.get(k, ""))]
        if k in local and sum(p == Index(local[k]) for p in parts_of(stmt)) > len(plain):
            return True
    return False


def assert_per_example(program: Program, arrays: Arrays, index: str, wrt: tuple[str, ...]) -> int:
    """Both rules, by the plain loops; how many gradients have the index in front."""
    derived = grad.backward(program, wrt)
    whole = kept(program, derived, index)
    verify(whole)
    assert_prints(whole)
    found = reference.run(whole, {n: arrays[n] for n in whole.inputs})
    right = reference.run(derived, {n: arrays[n] for n in derived.inputs})
    gained = [n for n in right if found[n].ndim > right[n].ndim]
    for n in right:
        np.testing.assert_allclose(found[n].sum(0) if n in gained else found[n], right[n], rtol=1e-9, atol=1e-11)
    if whole is not derived:
        for n, value in run(whole, {n: arrays[n] for n in whole.inputs}).items():
            np.testing.assert_allclose(value, found[n], rtol=1e-9, atol=1e-11)
    examples = _Examples(program, index)
    examples.check()
    axes = examples.axes(derived)
    many = {a.shape[axes[n]] for n, a in arrays.items() if n in axes}
    if not gained or len(many) != 1:
        return len(gained)
    count = many.pop()
    told = {n: a for n, a in arrays.items() if n.endswith(".grad") and n in axes}
    for b in range(count) if len(told) == sum(n.endswith(".grad") for n in derived.inputs) else ():
        only = {n: np.where(_at(a, axes[n]) == b, a, 0) for n, a in told.items()}
        alone = reference.run(derived, {n: {**arrays, **only}[n] for n in derived.inputs})
        for n in gained:
            np.testing.assert_allclose(found[n][b], alone[n], rtol=1e-9, atol=1e-11, err_msg=f"{n} of example {b}")
    if is_a_position(program, examples.found.local):
        return len(gained)
    for b in range(count):
        try:
            one = reference.run(derived, example({n: arrays[n] for n in derived.inputs}, axes, b))
        except (IndexLangError, IndexError):  # a number of the text says how many examples there are
            return len(gained)
        for n in right:
            mine = found[n][b] if n in gained else found[n].take([b], axes[n]) if n in axes else None
            if mine is not None:
                np.testing.assert_allclose(one[n], mine, rtol=1e-9, atol=1e-11, err_msg=f"{n} of example {b}")
    return len(gained)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.name)
def test_programs(case: Case) -> None:
    program, tried = program_of(case), 0
    loops(case)
    backward_of(case)
    gradients(case)
    for index in indices_in(program):
        try:
            kept(program, backward_of(case), index)
        except DerivationError as error:
            assert {p.code for p in error.problems} <= {"keep", "ellipsis"}  # noqa: PT017
            continue
        assert_per_example(program, arguments(case), index, wrt_of(case))
        tried += 1
    if not tried:
        pytest.skip("examples meet")


@pytest.mark.parametrize("number", range(40))
def test_random_programs(number: int) -> None:
    sample = generate(f"kept:{number}", "tiny")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        program, arrays, tried = resolve(parse(Source(sample.text))), sample.arrays("float64"), 0
        wrt = tuple(n for n in grad.differentiable(program) if arrays[n].dtype.kind == "f")
        if not wrt or points(program, arrays) > 20_000:
            pytest.skip("nothing to derive, or too much to go through")
        derived, names = grad.backward(program, wrt), grad.gradient_names(program)
        across = gradcheck.random_cotangents(reference.run(program, arrays), number)
        arrays |= {names[n]: c for n, c in across.items()}
        right = reference.run(derived, {n: arrays[n] for n in derived.inputs})
        for index in indices_in(program):
            try:
                whole = kept(program, derived, index)
            except DerivationError as error:
                assert {p.code for p in error.problems} <= {"keep", "ellipsis"}  # noqa: PT017
                continue
            assert_prints(whole)
            found = reference.run(whole, {n: arrays[n] for n in whole.inputs})
            for n, value in right.items():
                total = found[n].sum(0) if found[n].ndim > value.ndim else found[n]
                scale = np.abs(found[n]).sum() if np.all(np.isfinite(found[n])) else np.inf
                assert np.all(np.isnan(value) | (np.abs(total - value) <= 1e-8 * scale + 1e-12)), f"{n}\n{sample.text}"
            tried += 1
    if not tried:
        pytest.skip("examples meet")


MEETING = {"batchnorm1d", "batchnorm2d", "mean_squared_error", "batch_mean", "sinkhorn"}


def index_of(case: Layer) -> str | None:
    f = indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options)
    return next((i for i in ("b", "n") if i in indices_in(f.program)), None)


@pytest.mark.parametrize("case", [c for c in LAYERS if index_of(c)], ids=lambda c: c.name)
def test_layers_of_the_library(case: Layer) -> None:
    f, index = indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options), index_of(case)
    arrays = case.arrays()
    wrt = tuple(n for n in grad.differentiable(f.program) if arrays[n].dtype.kind == "f")
    if not wrt:
        pytest.skip("nothing has a gradient")
    values = f(**arrays)
    values = values if isinstance(values, dict) else {f.outputs[0]: values}
    names = grad.gradient_names(f.program)
    arrays |= {names[n]: np.asarray(c) for n, c in gradcheck.random_cotangents(values).items()}
    assert index is not None
    if case.layer in MEETING:
        with pytest.raises(DerivationError, match="here examples meet"):
            f.grad(wrt, keep=[index])
        return
    try:
        assert_per_example(f.program, arrays, index, wrt)
    except DerivationError as error:
        assert "..." in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "layer", ["affine", "conv2d", "attention", "multi_head_attention", "groupnorm", "cross_entropy"]
)
def test_these_layers_have_them(layer: str) -> None:
    """So that none of the above passes by an error."""
    case = next(c for c in LAYERS if c.layer == layer)
    f, index = indexlang.compile(LIBRARY / f"{case.file}.idx", layer=layer), index_of(case)
    g = f.grad(keep=[index or ""])
    parameters = [n for n in g.outputs if n.removesuffix(".grad") not in ("x", "q", "k", "v", "s")]
    for name in parameters:
        ours = {len(s.target.subscripts) for s in g.program.statements if s.target.tensor == name}
        plain = {len(s.target.subscripts) for s in f.grad().program.statements if s.target.tensor == name}
        assert ours == {k + 1 for k in plain}, name


# -- what is printed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "keep", "statements"),
    [
        (
            "y[b,o] = W[o,i] * x[b,i]",
            "b",
            ["W.grad[b,o,i] += y.grad[b,o] * x[b,i]", "x.grad[b,i] += y.grad[b,o] * W[o,i]"],
        ),
        (
            "y[b,o] = W[o,i] * x[b,i]",
            "o",
            ["W.grad[o,i] += y.grad[b,o] * x[b,i]", "x.grad[o,b,i] += y.grad[b,o] * W[o,i]"],
        ),
        (  # nothing is summed over it
            "y[b,o] = W[o,i] * x[b,i]",
            "i",
            ["W.grad[o,i] += y.grad[b,o] * x[b,i]", "x.grad[b,i] += y.grad[b,o] * W[o,i]"],
        ),
        (  # the same axis under another name, and through a tensor of parameters
            "V[i] = W[i]**2\ny[b,i] = V[i] * x[b,i]\nz[n] = y[n,i]",
            "b",
            [
                "V[i] = W[i]**2",
                "y.grad[n,i] += z.grad[n]",
                "V.grad[b,i] += y.grad[b,i] * x[b,i]",
                "x.grad[b,i] += y.grad[b,i] * V[i]",
                "W.grad[b,i] += 2 * V.grad[b,i] * W[i]",
            ],
        ),
    ],
)
def test_what_is_printed(text: str, keep: str, statements: list[str]) -> None:
    g = indexlang.compile(text).grad(keep=[keep])
    printed = [line.strip() for line in str(g).splitlines()]
    assert [line for line in printed if not line.startswith(("layer", "shape", "V[i]"))] == [
        s for s in statements if not s.startswith("V[i]")
    ]


def test_two_indices_stay_in_the_order_in_which_they_are_named() -> None:
    f = indexlang.compile("h[b,i] = x[b,i] * u[i]\ny[b,t,o] = W[o,i] * h[b,i] * z[t,i]")
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal(s) for n, s in {"x": (2, 3), "u": (3,), "W": (4, 3), "z": (5, 3)}.items()}
    dy = rng.standard_normal((2, 5, 4))
    found, right = (g(**arrays, **{"y.grad": dy}) for g in (f.grad(keep=["b", "t"]), f.grad()))
    assert found["W.grad"].shape == (2, 5, 4, 3)
    assert found["u.grad"].shape == (2, 5, 3)
    assert found["x.grad"].shape == (5, 2, 3)
    np.testing.assert_allclose(
        found["W.grad"], np.einsum("bto,bi,ti->btoi", dy, arrays["x"] * arrays["u"], arrays["z"])
    )
    np.testing.assert_allclose(found["u.grad"].sum((0, 1)), right["u.grad"])
    np.testing.assert_allclose(found["x.grad"].sum(0), right["x.grad"])
    np.testing.assert_allclose(f.grad("W", keep="b")(**arrays, **{"y.grad": dy})["W.grad"], found["W.grad"].sum(1))


def test_with_a_seed_there_is_no_cotangent() -> None:
    f = indexlang.compile("loss = (sum[i](W[i]*x[b,i]) - t[b])**2")
    g = f.grad("W", seed=1, keep=["b"])
    x, t, w = np.arange(6.0).reshape(3, 2), np.ones(3), np.array([1.0, -1.0])
    np.testing.assert_allclose(g(x=x, t=t, W=w)["W.grad"], 2 * (x @ w - t)[:, None] * x)
    assert indexlang.compile(str(g)).program == g.program
    assert g.grad().outputs  # and is derived again


def test_gathered_it_is_the_same() -> None:
    f = indexlang.compile("y[b,i] = w[k] * x[b,2*i+k]")
    rng = np.random.default_rng(0)
    given = {"x": rng.standard_normal((2, 9)), "w": rng.standard_normal(3), "y.grad": rng.standard_normal((2, 4))}
    one, other = (f.grad(keep=["b"], form=form)(**given) for form in ("scatter", "gather"))
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value)


@pytest.mark.parametrize(
    ("text", "keep", "part"),
    [
        ("m[i] = mean[b](x[b,i]*w[i])\ny[b,i] = x[b,i] - m[i]", "b", "1:1: .*brought together over 'b'"),
        ("l = mean[b](x[b]*w)", "b", "brought together over 'b'"),
        ("l = x[b]*w/size(x,0)", "b", "their number is a number"),
        ("s = x[b]*w\nl = s**2", "b", "brought together over 'b'"),
        ("l max= x[b]*w", "b", "brought together over 'b'"),
        ("y[b] = x[b]*x[b+1]*w", "b", "by more than an index"),
        ("y[b,c] = x[b,i]*x[c,i]*w[i]", "b", "both go over them"),
        ("y[b] = x[b,i]*w[i]\nl = y[b]\nl += w[i]**2", "b", "3:1: .*no example's"),
        ("z[2*b] = x[b]*w\ny[i] = z[i]", "b", "1:1: .*brought together over 'b'"),
        ("y[b,o] = w[o]*x[b] where b == 0", "b", "a condition leaves one of them"),
        ("y[b] = x[b]*w\nz[b] = u[b]*w", "b", "it runs to size"),
        ("y[b] = x[b]*w", "q", "there is no index 'q'"),
    ],
)
def test_where_examples_meet(text: str, keep: str, part: str) -> None:
    with pytest.raises(DerivationError, match=part):
        indexlang.compile(text).grad(keep=[keep])


def test_keep_names_indices() -> None:
    with pytest.raises(DerivationError, match="keep names indices"):
        indexlang.compile("y[b] = x[b]*w").grad(keep=3)  # type: ignore[arg-type]
