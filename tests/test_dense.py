"""The second oracle is the loops: on the whole corpus, on its derived programs, in a complex step, in small blocks."""

from __future__ import annotations

import dense
import numpy as np
import pytest
from corpus import CASES, Case
from numpy.typing import NDArray

import indexlang as il
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck, loops
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

REAL = [c for c in CASES if not any(a.dtype.kind == "c" for a in c.arrays().values())]
Arrays = dict[str, NDArray[np.float64]]


def assert_same(program: Program, arrays: Arrays, step: bool = False) -> Arrays:
    expected = loops.run(program, arrays, complex_step=step)
    found = dense.run(program, arrays)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-12, err_msg=name)
        if step and value.dtype.kind == "c":
            imaginary = (a.imag / gradcheck.STEP for a in (found[name], value))
            np.testing.assert_allclose(*imaginary, rtol=1e-9, atol=1e-9, err_msg=name)
    return expected


@pytest.mark.parametrize("block", [7, 1 << 19])
@pytest.mark.parametrize("case", REAL, ids=lambda c: c.name)
def test_dense_is_the_loops(case: Case, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BLOCK", block)
    program, arrays = resolve(parse(Source(case.text)), case.layer, case.options), case.arrays()
    values = assert_same(program, arrays)
    wrt = tuple(n for n in grad.differentiable(program) if n in arrays and arrays[n].dtype.kind == "f")
    if wrt and case.gradient:
        names, derived = grad.gradient_names(program), grad.backward(program, wrt)
        given = {**arrays, **{names[n]: c for n, c in gradcheck.random_cotangents(values).items()}}
        assert_same(derived, {n: given[n] for n in derived.inputs})
        rng = np.random.default_rng(1)
        stepped = {n: arrays[n] + 1j * gradcheck.STEP * rng.standard_normal(arrays[n].shape) for n in wrt}
        assert_same(program, {**arrays, **stepped}, step=True)


def test_noise_moves_what_rounding_may_take() -> None:
    text = "y[i] = x[i]*w[i] - v[i]\nn[i] = k[i]*k[i]\ns = x[i] * w[i]"
    program = resolve(parse(Source(text)))
    arrays = {"x": np.full(4, 1.1), "w": np.full(4, 1.3), "v": np.full(4, 1.43), "k": np.arange(4.0)}
    right, moved = dense.run(program, arrays), dense.run(program, arrays, noise=1e-7)
    assert np.all(np.abs(moved["y"] - right["y"]) > 1e-8)  # everything cancels
    np.testing.assert_allclose(moved["y"], right["y"], atol=1e-6)
    np.testing.assert_array_equal(moved["n"], right["n"])  # whole numbers are exact
    assert 0 < abs(moved["s"] - right["s"]) < 1e-6


@pytest.mark.parametrize("fn", ["tanh", "sigmoid", "erf", "exp"])
def test_noise_moves_a_one_that_is_rounded(fn: str) -> None:
    """1 - tanh(57.9)**2 is 0 by rounding alone; of 0 and of a whole number it is exact."""
    x = {"tanh": 57.9, "sigmoid": 57.9, "erf": 57.9, "exp": 1e-19}[fn]
    program = il.compile(f"y[i] = 1 - {fn}(x[i])").program
    right, moved = (dense.run(program, {"x": np.array([x, 0.0])}, noise=n)["y"] for n in (0.0, 1e-7))
    assert right[0] == 0 and 0 < abs(moved[0]) < 1e-6
    assert fn == "sigmoid" or moved[1] == right[1]


def test_noise_moves_numbers_that_are_rounded() -> None:
    program = resolve(parse(Source("y[i] = x[i] + 0.7\nz[i] = x[i] + 0.5")))
    arrays = {"x": np.full(4, -0.7)}
    right, moved = dense.run(program, arrays), dense.run(program, arrays, noise=1e-7)
    assert np.all(np.abs(moved["y"] - right["y"]) > 4e-8)  # all digits of 0.7 that float32 has not got
    np.testing.assert_allclose(moved["z"], right["z"], rtol=1e-6, atol=0)


def test_a_product_that_vanishes_is_seen() -> None:
    program = il.compile("y = a*b*c").program
    given = {"a": np.array(1e-200), "b": np.array(1e-200), "c": np.array(1e300)}
    assert dense.magnitudes(program, given)[0] == 0.0
    assert dense.magnitudes(program, {**given, "b": np.array(0.0)})[0] > 0.0


def test_a_step_decides_no_tie() -> None:
    """At x = 0 all squares are equal, and the first one is chosen: that of a small step is not less than another's."""
    f = il.compile("z = x * v[argmin[k]((w[k]*x)**2)]")
    given = {"x": np.float64(0.0), "v": np.array([2.0, 5.0]), "w": np.array([1.0, 3.0])}
    assert all(row.ok for row in gradcheck.gradcheck(f.program, given))
