"""Complex numbers beside real ones: a gradient has its tensor's type, that of a real tensor is the real part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang
from indexlang.calls.function import Function
from indexlang.oracle import gradcheck, loops
from indexlang.plan.limits import TINY
from indexlang.program.ir import Program

Array = NDArray[Any]
Arrays = Mapping[str, Array]

K, T = 4, 5
RNG = np.random.default_rng(0)


def reals(*shape: int) -> Array:
    return RNG.uniform(0.5, 1.5, shape)


def complexes(*shape: int) -> Array:
    return RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)


def shifted(a: Arrays) -> Array:
    y = np.zeros(K + T - 1, np.complex128)
    for k in range(K):
        for t in range(T):
            y[k + t] += a["W"][k, t] * np.sin(a["x"][t]) * a["x"][t]
    return y


W, X = complexes(K, T), reals(T)
POSITIONS = np.array([4, 0, 4, 2, 1])
CASES: list[tuple[str, dict[str, Array], Callable[[Arrays], Array]]] = [
    ("Y[k] = W[k,t]*x[t]", {"W": W, "x": X}, lambda a: a["W"] @ a["x"]),
    ("Y[k,t] = W[k,t]*x[t]", {"W": W, "x": X}, lambda a: a["W"] * a["x"]),
    ("s[t] = x[t]*2\nY[k] = W[k,t]*s[t]", {"W": W, "x": X}, lambda a: 2 * a["W"] @ a["x"]),
    ("s[t] = sin(x[t])*x[t]\nY[k+t] = W[k,t]*s[t]", {"W": W, "x": X}, shifted),
    (
        "Y[k] = W[k,t]*sqrt(x[t])*v[k]\nY[k] += exp(W[k,t]*x[t])",
        {"W": W, "x": X, "v": reals(K)},
        lambda a: (a["W"] @ np.sqrt(a["x"])) * a["v"] + np.exp(a["W"] * a["x"]).sum(1),
    ),
    ("y[t] = x[t]*W[0,t] where t != 2", {"W": W, "x": X}, lambda a: a["x"] * a["W"][0] * (np.arange(T) != 2)),
    (
        "y[k] = W[k,t]*x[p[t]]*x[t]",
        {"W": W, "x": X, "p": POSITIONS},
        lambda a: a["W"] @ (a["x"][a["p"]] * a["x"]),
    ),
    ("y[i] = W[i,t]*x[pad(i-t)]", {"W": complexes(T, 3), "x": X}, lambda a: padded(a["W"], a["x"])),
]
EACH = pytest.mark.parametrize(("text", "inputs", "reference"), CASES, ids=[t for t, _, _ in CASES])


def run(program: Program, arrays: Arrays) -> Arrays:
    results: Arrays = Function(program, always_dict=True)(**arrays)
    return results


def padded(W: Array, x: Array) -> Array:  # noqa: N803
    at = np.arange(T)[:, None] - np.arange(3)
    return np.sum(W * np.where(at >= 0, x[np.maximum(at, 0)], 0), 1)


def slopes(f: Callable[[Arrays], Array], inputs: Arrays, name: str, dy: Array) -> Array:
    """The gradient by a real tensor of the real part of sum(dy * f), by differences."""
    found = np.zeros(inputs[name].shape)
    for at in np.ndindex(found.shape):
        step = np.zeros(found.shape)
        step[at] = 1e-6
        ahead, behind = (np.sum(dy * f({**inputs, name: inputs[name] + s})).real for s in (step, -step))
        found[at] = (ahead - behind) / 2e-6
    return found


@EACH
def test_the_gradient_of_a_real_tensor_is_the_real_part(
    text: str, inputs: dict[str, Array], reference: Callable[[Arrays], Array]
) -> None:
    f = indexlang.compile(text)
    (out,) = f.outputs
    for function in (f, sized(f, TINY)):
        y, pullback = function.vjp(**inputs)
        assert np.allclose(y, reference(inputs))
        dy = complexes(*y.shape)
        found = {"vjp": pullback(dy)}
        for form in ("scatter", "gather"):
            derived = function.grad(form=form)
            given = {n: {**inputs, f"{out}.grad": dy}[n] for n in derived.inputs}
            found[form] = {n.removesuffix(".grad"): g for n, g in derived(**given).items()}
            oracle = loops.run(derived.program, given)
            assert {n: (a.dtype, a.shape) for n, a in oracle.items()} == {
                n: (a.dtype, a.shape) for n, a in derived(**given).items()
            }
            assert all(np.allclose(oracle[f"{n}.grad"], g) for n, g in found[form].items())
        for way, gradients in found.items():
            for name in set(gradients) - {"W"}:
                assert gradients[name].dtype == np.float64, (way, name)
                assert np.allclose(gradients[name], slopes(reference, inputs, name, dy), atol=1e-6), (way, name)
            assert gradients["W"].dtype == np.complex128


@EACH
def test_second_derivatives(text: str, inputs: dict[str, Array], reference: object) -> None:
    f = indexlang.compile(text)
    dy = complexes(*f(**inputs).shape)
    for form in ("scatter", "gather"):
        derived = f.grad(form=form)
        given = {n: {**inputs, f"{f.outputs[0]}.grad": dy}[n] for n in derived.inputs}
        rows = gradcheck.gradcheck(derived.program, given, backward=run)
        assert rows
        assert all(row.ok for row in rows), rows


def test_a_gradient_keeps_the_precision_of_its_tensor() -> None:
    f = indexlang.compile("s[i] = 3*x[i]\ny[i] = 2*s[i] * z[i] + w[i]")
    y, pullback = f.vjp(x=np.ones(3, np.float32), z=np.full(3, 1 + 2j), w=np.ones(3))
    found = pullback(y)
    assert [found[n].dtype.name for n in ("x", "z", "w")] == ["float32", "complex128", "float64"]
    assert found["x"].tolist() == [(6 * (7 + 12j) * (1 + 2j)).real] * 3
    assert found["w"].tolist() == [7] * 3


def test_the_value_of_a_scalar_and_its_gradients() -> None:
    value, found = indexlang.compile("loss = W[k,t]*x[t]*W[k,t]").value_and_grad(W=W, x=X)
    assert np.allclose(value, (W * W @ X).sum())
    assert np.allclose(found["x"], (W * W).sum(0).real)
    assert found["x"].dtype == np.float64
    assert np.allclose(found["W"], 2 * W * X)


def test_what_reads_such_a_gradient_reads_real_numbers() -> None:
    f = indexlang.compile("x.grad[t] += y.grad[k]*W[k,t]\nq[t] = x.grad[t]*v[t]\nr = max[t](x.grad[t])")
    dy, v = complexes(K), complexes(T)
    given = {"x": X, "y.grad": dy, "W": W, "v": v}
    real = (dy @ W).real
    for found in (f(**given), loops.run(f.program, given)):
        assert np.allclose(found["q"], real * v)
        assert np.allclose(found["r"], real.max())


def test_several_statements_and_operators() -> None:
    f = indexlang.compile("x.grad[t] *= W[k,t]")
    given = {"x": X, "W": W}
    for found in (f(**given), loops.run(f.program, given)["x.grad"]):
        assert np.allclose(found, W.prod(0).real)
    f = indexlang.compile("x.grad[t] += W[k,t]\nx.grad[t+1] += a[t]*a[t]\nx.grad[p[t]] += a[t] where t < 3")
    a = complexes(T - 1)
    given = {"x": X, "W": W, "a": a, "p": np.array([0, 4, 0, 1])}
    want = W.sum(0)
    want[1:] += a * a
    np.add.at(want, given["p"][:3], a[:3])
    for found in (f(**given), loops.run(f.program, given)["x.grad"]):
        assert np.allclose(found, want.real)
    with pytest.raises(indexlang.ShapeError, match="out of range"):
        f(**{**given, "p": np.array([0, 5, 0, 1])})


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_numpy_goes_on_behind_positions_that_native_code_looked_at(backend: str) -> None:
    """A check in compiled code is told about by another statement's indices; those of the next step are its own."""
    x, z, h = complexes(5, 2), complexes(2), complexes(5, 2)
    f = indexlang.compile("y[t,k] = x[int(sqrt(t)),k] * x[t,k]", backend=backend)
    at = np.sqrt(np.arange(5)).astype(int)
    y, pullback = f.vjp(x=x)
    assert np.allclose(y, x[at] * x)
    dx = x[at]
    np.add.at(dx, at, x)
    assert np.allclose(pullback(np.ones_like(y))["x"], dx)
    g = indexlang.compile("y[k] = 0.5*h[int(floor(0.7*t[])),k] + x[int(sqrt(t[])),k]*z[k]", backend=backend)
    y, pullback = g.vjp(h=h, x=x, z=z, t=np.array(3.0))
    assert np.allclose(y, 0.5 * h[2] + x[1] * z)
    found = pullback(np.ones_like(y))["h"]
    assert np.allclose(found[2], 0.5) and not found[[0, 1, 3, 4]].any()
