"""Random programs: kernels are the loops, derived gradients are numerical ones, texts come back, gather is scatter.

A few hundred in every run; `make fuzz` sets INDEXLANG_FUZZ to the number of examples of a long one.
"""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from generate import RandomProgram, programs
from hypothesis import HealthCheck, Phase, given, settings
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

Arrays = dict[str, NDArray[np.float64]]

EXAMPLES = int(os.environ.get("INDEXLANG_FUZZ", "150"))
LONG = "INDEXLANG_FUZZ" in os.environ
often = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    print_blob=False,
)

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")


def assert_prints(program: Program) -> None:
    verify(program)
    assert resolve(parse(Source(to_text(program)))) == program


def kernels(program: Program, arrays: Arrays) -> Arrays:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        found: Arrays = Function(program, always_dict=True)(**{n: arrays[n] for n in program.inputs})
    return found


def loops(program: Program, arrays: Arrays) -> Arrays:
    return reference.run(program, {n: arrays[n] for n in program.inputs})


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        size = np.max(np.abs(value), initial=1.0, where=np.isfinite(value))
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-10 * size, err_msg=name)


@often
@given(programs())
def test_forward(example: RandomProgram) -> None:
    program = resolve(parse(Source(example.text)))
    assert_prints(program)
    expected = loops(program, example.inputs)
    assert_same(kernels(program, example.inputs), expected)
    assert_same(loops(optimize(program), example.inputs), expected)
    gathered = gather(program)
    assert_prints(gathered)
    assert_same(loops(gathered, example.inputs), expected)


@often
@given(programs())
def test_gradients(example: RandomProgram) -> None:
    program, inputs = resolve(parse(Source(example.text))), example.inputs
    wrt = tuple(n for n in grad.differentiable(program) if n in inputs and inputs[n].dtype.kind == "f")
    values = loops(program, inputs)
    given_cotangents = gradcheck.random_cotangents(values)
    if not wrt or not given_cotangents or not all(np.isfinite(v).all() for v in values.values()):
        return
    derived, names = grad.backward(program, wrt), grad.gradient_names(program)
    assert_prints(derived)
    arrays = {**inputs, **{names[n]: c for n, c in given_cotangents.items()}}
    found = loops(derived, arrays)
    assert_directional(program, inputs, given_cotangents, {n: found[names[n]] for n in wrt})
    assert_same(kernels(derived, arrays), found)
    gathered = gather(derived)
    assert_prints(gathered)
    assert_same(loops(gathered, arrays), found)
    assert_same(kernels(gathered, arrays), found)


def assert_directional(program: Program, inputs: Arrays, cotangents: Arrays, gradients: Arrays) -> None:
    """All inputs move at once, in random directions: a wrong gradient meets none of them but by chance."""
    rng = np.random.default_rng(7)
    for _ in range(2):
        direction = {n: rng.standard_normal(g.shape) for n, g in gradients.items()}
        stepped = {n: inputs[n] + 1j * gradcheck.STEP * d for n, d in direction.items()}
        outputs = reference.run(program, {**inputs, **stepped}, complex_step=True)
        numerical = sum(np.sum(outputs[n].imag * c) for n, c in cotangents.items()) / gradcheck.STEP
        products = [gradients[n] * d for n, d in direction.items()]
        derived = sum(np.sum(p) for p in products)
        size = max(1.0, sum(np.sum(np.abs(p)) for p in products))
        if np.isnan(numerical):  # inf on the way to a finite value
            return
        assert abs(derived - numerical) <= 1e-9 * size, (derived, numerical)
