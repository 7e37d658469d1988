"""Each program of the corpus has each property: it prints, runs, differentiates, twice, and solves for its targets."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
from corpus import CASES, Case
from numpy.typing import NDArray

from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.rewrite.gather import gather
from indexlang.rewrite.optimize import optimize
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Arrays = dict[str, Array]

EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@cache
def program_of(case: Case) -> Program:
    return resolve(parse(Source(case.text)), case.layer, case.options)


def wrt_of(case: Case) -> tuple[str, ...]:
    """The inputs that have gradients here."""
    arrays = case.arrays()
    return tuple(n for n in grad.differentiable(program_of(case)) if n in arrays and arrays[n].dtype.kind in "fc")


DIFFERENTIABLE = [c for c in CASES if c.gradient and any(a.dtype.kind in "fc" for a in c.arrays().values())]
GRADIENTS = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.name)


@cache
def backward_of(case: Case) -> Program:
    wrt = wrt_of(case)
    if not wrt:
        pytest.skip("no input has a gradient")
    return grad.backward(program_of(case), wrt)


@cache
def loops(case: Case) -> Arrays:
    return reference.run(program_of(case), case.arrays())


def cotangents(case: Case) -> Arrays:
    names = grad.gradient_names(program_of(case))
    return {names[n]: c for n, c in gradcheck.random_cotangents(loops(case)).items()}


def arguments(case: Case) -> Arrays:
    """What the derived program takes."""
    given = {**case.arrays(), **cotangents(case)}
    return {n: given[n] for n in backward_of(case).inputs}


@cache
def gradients(case: Case) -> Arrays:
    return reference.run(backward_of(case), arguments(case))


def run(program: Program, arrays: Mapping[str, Array]) -> Arrays:
    """By the kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        found: Arrays = Function(program, always_dict=True)(**arrays)
    return found


def assert_same(found: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float = 1e-11) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def assert_prints(program: Program) -> None:
    text = to_text(program)
    again = resolve(parse(Source(text)))
    assert to_text(again) == text
    assert again == program


@EACH
def test_parses_as_it_prints(case: Case) -> None:
    verify(program_of(case))
    assert_prints(program_of(case))


@EACH
def test_kernels_are_the_loops(case: Case) -> None:
    found = run(program_of(case), case.arrays())
    assert_same(found, loops(case))
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in loops(case).items()}


@EACH
def test_optimised_is_unoptimised(case: Case) -> None:
    program = optimize(program_of(case))
    verify(program)
    assert_prints(program)
    assert_same(reference.run(program, case.arrays()), loops(case))


@GRADIENTS
def test_derived_prints(case: Case) -> None:
    verify(backward_of(case))
    assert_prints(backward_of(case))


@GRADIENTS
def test_derived_is_numerical(case: Case) -> None:
    program = program_of(case)
    names = grad.gradient_names(program)
    arrays = case.arrays()
    stepped = gradcheck.method(arrays) == "complex step"
    f = lambda inputs: reference.run(program, inputs, complex_step=stepped)  # noqa: E731
    given = gradcheck.random_cotangents(loops(case))
    backward_of(case)
    found = {n: gradients(case)[names[n]] for n in wrt_of(case)}
    for row in gradcheck.compare(f, arrays, given, found, most=40):
        assert row.ok, row


@GRADIENTS
def test_derived_kernels_are_the_loops(case: Case) -> None:
    assert_same(run(backward_of(case), arguments(case)), gradients(case))


@GRADIENTS
def test_gather_is_scatter(case: Case) -> None:
    program = gather(backward_of(case))
    verify(program)
    assert_prints(program)
    assert_same(reference.run(program, arguments(case)), gradients(case))
    assert_same(run(program, arguments(case)), gradients(case))


@EACH
def test_gathered_forward(case: Case) -> None:
    program = gather(program_of(case))
    verify(program)
    assert_prints(program)
    assert_same(reference.run(program, case.arrays()), loops(case))


@GRADIENTS
def test_second_derivative(case: Case) -> None:
    if not case.second:
        pytest.skip("once is enough")
    program, arrays = backward_of(case), arguments(case)
    values = gradients(case)
    wrt = tuple(n for n in grad.differentiable(program) if n in arrays and arrays[n].dtype.kind in "fc")
    if not wrt:
        pytest.skip("the gradient is constant")
    derived = grad.backward(program, wrt)
    verify(derived)
    assert_prints(derived)
    names = grad.gradient_names(program)
    given = gradcheck.random_cotangents(values, seed=5)
    inputs = {**arrays, **{names[n]: c for n, c in given.items()}}
    found = reference.run(derived, {n: inputs[n] for n in derived.inputs})
    stepped = gradcheck.method(arrays) == "complex step"
    f = lambda inputs: reference.run(program, inputs, complex_step=stepped)  # noqa: E731
    for row in gradcheck.compare(f, arrays, given, {n: found[names[n]] for n in wrt}, most=2):
        assert row.ok, row
    assert_same(run(derived, {n: inputs[n] for n in derived.inputs}), found, 1e-10)
