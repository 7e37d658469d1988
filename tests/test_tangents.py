"""Tangents: what forward mode prints, and that each is the derivative that the gradient is.

The inner product ties both: <y.grad, J dx> = <J^T y.grad, dx>. A complex step checks one of them once more.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import dense
import numpy as np
import pytest
from corpus import Case
from numpy.typing import NDArray
from random_programs.judge import wrong
from random_programs.statements import generate
from test_corpus import (
    DIFFERENTIABLE,
    arguments,
    assert_prints,
    assert_same,
    backward_of,
    cotangents,
    gradients,
    program_of,
    run,
    wrt_of,
)

from indexlang.derive import grad, tangents
from indexlang.errors import DerivationError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Arrays = dict[str, Array]

EACH = pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.name)
STEP = 1e-30


@cache
def forward_of(case: Case) -> Program:
    wrt = wrt_of(case)
    if not wrt:
        pytest.skip("no input has a derivative")
    return tangents.forward(program_of(case), wrt)


def directions(arrays: Mapping[str, Array], names: Mapping[str, str], wrt: tuple[str, ...], seed: int = 0) -> Arrays:
    """A direction for each of `wrt`, by the name of its tangent."""
    rng = np.random.default_rng(seed)
    found = {}
    for n in wrt:
        d = rng.standard_normal(arrays[n].shape)
        found[names[n]] = d + 1j * rng.standard_normal(d.shape) if arrays[n].dtype.kind == "c" else d
    return found


def given(case: Case) -> Arrays:
    """What the program of the tangents takes."""
    arrays = case.arrays()
    names = tangents.tangent_names(program_of(case))
    every = {**arrays, **directions(arrays, names, wrt_of(case), zlib.crc32(case.name.encode()))}
    return {n: every[n] for n in forward_of(case).inputs}


@cache
def moved(case: Case) -> Arrays:
    return reference.run(forward_of(case), given(case))


def product(one: Mapping[str, Array], other: Mapping[str, Array], pairs: Mapping[str, str]) -> tuple[complex, float]:
    """The inner product, without conjugation, and how large its terms are."""
    terms = [one[a] * other[b] for a, b in pairs.items()]
    return sum(complex(np.sum(t)) for t in terms), sum(float(np.sum(np.abs(t))) for t in terms)


def assert_transposed(program: Program, arrays: Arrays, wrt: tuple[str, ...], seed: int) -> None:
    """<c, J d> = <J^T c, d> for the program's own tangents and gradients, along `wrt`."""
    dots, grads = tangents.tangent_names(program), grad.gradient_names(program)
    forward, backward = tangents.forward(program, wrt), grad.backward(program, wrt)
    values = reference.run(program, arrays)
    along = directions(arrays, dots, wrt, seed)
    across = {grads[n]: c for n, c in gradcheck.random_cotangents(values, seed + 1).items()}
    every = {**arrays, **along, **across}
    there = reference.run(forward, {n: every[n] for n in forward.inputs})
    back = reference.run(backward, {n: every[n] for n in backward.inputs})
    moving = {dots[o]: grads[o] for o in program.outputs if dots[o] in there}
    left, size = product(there, across, moving)
    right, other = product(along, back, {dots[n]: grads[n] for n in wrt})
    assert abs(left - right) <= 1e-9 * (size + other) + 1e-20, (
        f"{left} {right}\n{to_text(forward)}\n{to_text(backward)}"
    )


@EACH
def test_prints(case: Case) -> None:
    verify(forward_of(case))
    assert_prints(forward_of(case))
    alone = tangents.tangents(program_of(case), wrt_of(case))
    verify(alone)
    assert_prints(alone)


@EACH
def test_is_the_transpose_of_the_gradient(case: Case) -> None:
    dots, grads = tangents.tangent_names(program_of(case)), grad.gradient_names(program_of(case))
    there, across, back = moved(case), cotangents(case), gradients(case)
    left, size = product(there, across, {dots[o]: grads[o] for o in program_of(case).outputs if dots[o] in there})
    every = {**case.arrays(), **directions(case.arrays(), dots, wrt_of(case), zlib.crc32(case.name.encode()))}
    right, other = product(every, back, {dots[n]: grads[n] for n in wrt_of(case)})
    if any(a.dtype.kind == "c" for a in case.arrays().values()) and any(
        case.arrays()[n].dtype.kind != "c" for n in wrt_of(case)
    ):
        left, right = left.real, right.real
    assert abs(left - right) <= 1e-9 * (size + other) + 1e-20


@EACH
def test_is_a_complex_step(case: Case) -> None:
    arrays, program = case.arrays(), program_of(case)
    if gradcheck.method(arrays) != "complex step":
        pytest.skip("complex already")
    names = tangents.tangent_names(program)
    along = directions(arrays, names, wrt_of(case), zlib.crc32(case.name.encode()))
    stepped = {n: arrays[n] + 1j * STEP * along[names[n]] for n in wrt_of(case)}
    values = reference.run(program, {**arrays, **stepped}, complex_step=True)
    for n in program.outputs:
        if names[n] in moved(case):
            expected = np.asarray(values[n]).imag / STEP
            np.testing.assert_allclose(moved(case)[names[n]], expected, rtol=1e-10, atol=1e-11)


@EACH
def test_kernels_are_the_loops(case: Case) -> None:
    found = run(forward_of(case), given(case))
    assert_same(found, moved(case))


@EACH
def test_second_order(case: Case) -> None:
    """The tangent of the gradient beside the gradient of the gradient, and the gradient of the tangent."""
    if not case.second:
        pytest.skip("once is enough")
    for program, arrays in ((backward_of(case), arguments(case)), (forward_of(case), given(case))):
        floats = tuple(n for n in grad.differentiable(program) if arrays[n].dtype.kind in "fc")
        if not floats:
            continue
        twice = tangents.forward(program, floats)
        verify(twice)
        assert_prints(twice)
        if all(arrays[n].dtype.kind == "f" for n in floats):
            assert_transposed(program, arrays, floats, 7)


@pytest.mark.parametrize("number", range(60))
def test_random_programs(number: int) -> None:
    sample = generate(f"tangents:{number}", "tiny")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        program = resolve(parse(Source(sample.text)))
        arrays = sample.arrays("float64")
        try:
            floats = tuple(n for n in grad.differentiable(program) if arrays[n].dtype.kind == "f")
            backward = grad.backward(program, floats)
        except DerivationError:
            pytest.skip("has no derivative")
        forward = tangents.forward(program, floats)
        verify(forward)
        assert_prints(forward)
        alone = tangents.tangents(program, floats)
        assert_prints(alone)
        dots, grads = tangents.tangent_names(program), grad.gradient_names(program)
        along = directions(arrays, dots, floats, number)
        across = {grads[n]: c for n, c in gradcheck.random_cotangents(dense.run(program, arrays), number).items()}
        every = {**arrays, **along, **across}
        there = dense.run(forward, {n: every[n] for n in forward.inputs})
        back = dense.run(backward, {n: every[n] for n in backward.inputs})
        left, size = product(there, across, {dots[o]: grads[o] for o in program.outputs if dots[o] in there})
        right, other = product(along, back, {dots[n]: grads[n] for n in floats})
        if np.isfinite(size) and np.isfinite(other):  # an infinite slope stays infinite
            assert abs(left - right) <= 1e-7 * (size + other) + 1e-20, f"{left} {right}\n{sample.text}"
        given = {n: every[n] for n in forward.inputs}
        again = lambda noise, seed: dense.run(forward, given, noise=noise, seed=seed)  # noqa: E731
        assert wrong(run(forward, given), there, again) is None


# -- what is printed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "derived"),
    [
        (
            "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]",
            "y.dot[b,i,j,cy] += W.dot[di,dj,cx,cy] * x[b,i+di,j+dj,cx]\n"
            "y.dot[b,i,j,cy] += x.dot[b,i+di,j+dj,cx] * W[di,dj,cx,cy]\n",
        ),
        ("y[i] = sigmoid(x[i])", "y[i] = sigmoid(x[i])\ny.dot[i] += x.dot[i] * y[i] * (1 - y[i])\n"),
        ("y[i] = x[i] * x[i]", "y.dot[i] += 2 * x.dot[i] * x[i]\n"),
        ("d[i] = x[i+1] - x[i]", "d.dot[i] += x.dot[i+1]\nd.dot[i] += -x.dot[i] where i < size(x.dot,0) - 1\n"),
        ("y[i] = relu(x[i])", "y.dot[i] += x.dot[i] where x[i] > 0\n"),
        ("y[i] = where(m[i] > 0, log(x[i]), 0)", "y.dot[i] += x.dot[i] / x[i] where m[i] > 0\n"),
        ("y[i] = sqrt(x[i])", "y[i] = sqrt(x[i])\ny.dot[i] += 0.5 * x.dot[i] / y[i]\n"),  # infinite at 0
        (
            "m[b,i] max= x[b,2*i+d] where d < 2",
            "m_at[b,i] = argmax[d](x[b,2*i+d]) where d < 2\nm.dot[b,i] += x.dot[b,2*i+d] where d < 2, d == m_at[b,i]\n",
        ),
        (
            "p[i] *= x[i,j]",
            "p_others[i,j] *= x[i,j2] where j < size(x,1), j != j2\np.dot[i] += x.dot[i,j] * p_others[i,j]\n",
        ),
        (
            "h[b,k] = x[b,i] * U[i,k]\ny[b,k] = exp(h[b,k])",
            "h[b,k] = x[b,i] * U[i,k]\n"
            "h.dot[b,k] += x.dot[b,i] * U[i,k]\n"
            "h.dot[b,k] += U.dot[i,k] * x[b,i]\n"
            "y[b,k] = exp(h[b,k])\n"
            "y.dot[b,k] += h.dot[b,k] * y[b,k]\n",
        ),
        (  # the first statement, which said the shape, does not move
            "y[i] = floor(a[i])\ny[2*i] += x[i]",
            "shape y.dot[size(a,0)]\ny.dot[2*i] += x.dot[i] where i < min(size(x.dot,0), (size(a,0) + 1) // 2)\n",
        ),
        (  # a padding does not move: no infinite slope there
            "y[i] = log(x[pad(i,1)])",
            "y.dot[i] += x.dot[pad(i,1)] / x[pad(i,1)] where not i < 1, not i >= size(x,0) + 1\n",
        ),
    ],
)
def test_what_is_printed(text: str, derived: str) -> None:
    program = resolve(parse(Source(text + "\n")))
    found = tangents.forward(program)
    assert to_text(found) == derived
    assert resolve(parse(Source(derived))) == found


def test_the_tangents_alone_read_the_forward_tensors() -> None:
    program = resolve(parse(Source("h[b,k] = x[b,i] * U[i,k]\ny[b,k] = exp(h[b,k])\n")))
    assert to_text(tangents.tangents(program, ["x"])) == (
        "h.dot[b,k] += x.dot[b,i] * U[i,k]\ny.dot[b,k] += h.dot[b,k] * y[b,k]\n"
    )


def test_names_stay_fresh_at_higher_order() -> None:
    first = tangents.forward(resolve(parse(Source("y[i] = x[i]**3\n"))))
    second = tangents.forward(first)
    third = tangents.forward(second, ["x"])
    assert first.outputs == ("y.dot",)
    assert {*second.inputs} == {"x", "x.dot", "x.dot2", "x.dot.dot"}
    assert "x.dot3" in third.inputs
    assert tangents.forward(grad.backward(resolve(parse(Source("y[i] = x[i]**3\n")))), ["x"]).outputs == ("x.grad.dot",)


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("m max= x[i]", [1.0, 5.0, 5.0]),
        ("m[i] min= x[i,j]", [[2.0, 2.0], [3.0, 1.0]]),
        ("m = max[j,i](x[i,j])", [[0.0, 7.0], [7.0, 7.0]]),
        ("m = 2 * min[j,i](x[i,j])**2", [[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]]),
        ("m = max[j,i](x[i,j])\nm += x[0,0]", [[0.0, 7.0], [7.0, 7.0]]),
        ("y[i] = x[i,0] * 2\ny[i] max= x[i,j]*x[i,j]", [[2.0, 2.0], [3.0, 1.0], [1.0, 1.0]]),
        ("p *= x[i]", [0.0, 2.0, 3.0]),
        ("p *= x[i]", [0.0, 0.0, 3.0]),
        ("y[i] = abs(x[i]) + relu(x[i]) + max(0,x[i]) + max(x[i],0)", [0.0, -2.0, 3.0]),
        ("y[i] = max(x[i],x[0])", [0.0, 0.0, 3.0]),
        ("y[i] = where(x[i] > 0, log(x[i]), 0)", [0.0, 2.0]),
        ("y[i] = sqrt(x[i]) where x[i] > 0", [0.0, 4.0]),
        ("s[i] = sqrt(x[i])\ny[i] = where(x[i] > 0, s[i], 0)", [0.0, 4.0]),
        ("y[i] = x[i]**0.5 / x[pad(i-1,value=1)] where i >= 1, i < 3", [4.0, 1.0, 9.0]),
        ("y[i] = x[clamp(i-2)] * x[wrap(i+7)] where i < 5", [1.0, 2.0, 3.0]),
        ("y[t,i] = x[i]**t where t < 4", [0.0, 2.0, -1.0]),
    ],
)
def test_ties_and_kinks_are_those_of_the_gradient(text: str, x: Any) -> None:
    program = resolve(parse(Source(text + "\n")))
    arrays = {"x": np.array(x)}
    forward, backward = tangents.forward(program), grad.backward(program)
    (output,), shape = program.outputs, arrays["x"].shape
    across = gradcheck.random_cotangents(reference.run(program, arrays))
    every = {**arrays, f"{output}.grad": across[output]}
    back = reference.run(backward, {n: every[n] for n in backward.inputs})["x.grad"]
    for at in np.ndindex(shape):
        step = np.zeros(shape)
        step[at] = 1.0
        every = {**arrays, "x.dot": step}
        there = reference.run(forward, {n: every[n] for n in forward.inputs})[f"{output}.dot"]
        np.testing.assert_allclose(np.sum(there * across[output]), back[at], rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "wrt", "part"),
    [
        ("y[i] = floor(x[i])", None, "nothing has a tangent"),
        ("y[i] = floor(x[i])", ["x"], "nothing moves with 'x'"),
        ("y[i] = x[i] * z[i]", ["q"], "'q' is no input"),
        ("y[b] = x[tok[b]]", ["tok"], "nothing moves with 'tok'"),
    ],
)
def test_no_tangent_is_an_error_not_a_zero(text: str, wrt: list[str] | None, part: str) -> None:
    with pytest.raises(DerivationError, match=part):
        tangents.forward(resolve(parse(Source(text + "\n"))), wrt)
