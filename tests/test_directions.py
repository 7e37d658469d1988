"""`tangent`, `jvp`, `hvp` and `grad(seed=1)`: values beside complex steps and closed forms, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from library_cases import CASES as LAYERS
from library_cases import Case
from test_parse_back import LIBRARY

import indexlang
from indexlang.errors import DerivationError, ShapeError
from indexlang.oracle import gradcheck
from indexlang.oracle import loops as reference

STEP = 1e-30


def stepped(f: Any, arrays: dict[str, Any], along: dict[str, Any], cut: int | None = None) -> dict[str, Any]:
    """How the outputs move, by a complex step through the plain loops."""
    moved = {**arrays, **{n: arrays[n] + 1j * STEP * d for n, d in along.items()}}
    values = reference.run(f.program, {n: moved[n] for n in f.inputs}, complex_step=True)
    return {n: np.asarray(v).imag / STEP for n, v in values.items()}


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def test_jvp_gives_the_value_and_how_it_moves() -> None:
    f = indexlang.compile("y[b,o] = tanh(sum[i](W[o,i] * x[b,i]))")
    arrays = {"x": numbers(2, 3), "W": numbers(4, 3, seed=1)}
    along = {"x": numbers(2, 3, seed=2)}
    y, y_dot = f.jvp(along, **arrays)
    np.testing.assert_allclose(y, f(**arrays))
    np.testing.assert_allclose(y_dot, stepped(f, arrays, along)["y"], rtol=1e-12)
    t = f.tangent(wrt=["x"])
    np.testing.assert_allclose(t(**arrays, **{"x.dot": along["x"]})["y.dot"], y_dot, rtol=1e-12)
    both = {**along, "W": numbers(4, 3, seed=3)}
    np.testing.assert_allclose(f.jvp(both, arrays)[1], stepped(f, arrays, both)["y"], rtol=1e-12)
    np.testing.assert_allclose(f.jvp(both, arrays["W"], arrays["x"])[1], stepped(f, arrays, both)["y"], rtol=1e-12)


def test_jvp_of_several_outputs_is_two_dicts() -> None:
    f = indexlang.compile("h[i] = x[i]**2\ny = 3*h[i]*w[i]\nk[i] = floor(w[i])", outputs=["y", "h", "k"])
    x, w = numbers(3), numbers(3, seed=1)
    values, dots = f.jvp({"w": np.ones(3)}, x=x, w=w)
    np.testing.assert_allclose(values["h"], x**2)
    np.testing.assert_allclose(dots["y"], np.sum(3 * x**2))
    assert np.array_equal(dots["h"], np.zeros(3))
    assert np.array_equal(dots["k"], np.zeros(3))


def test_jvp_from_a_value_that_the_caller_passes() -> None:
    f = indexlang.compile("y[i] += x[i]**2")
    y, y_dot = f.jvp({"y": np.array([5.0, 7.0]), "x": np.ones(2)}, x=np.array([1.0, 2.0]), y=np.ones(2))
    assert np.array_equal(y, [2.0, 5.0])
    assert np.array_equal(y_dot, [7.0, 11.0])


def test_float32_stays() -> None:
    f = indexlang.compile("y[i] = x[i] * w[i]")
    _, dot = f.jvp({"x": np.ones(3)}, x=np.ones(3, np.float32), w=np.ones(3, np.float32))
    assert dot.dtype == np.float32


HESSIANS = [
    ("l = (sum[i](W[i]*x[b,i]) - t[b])**2", {"x": (4, 3), "W": (3,), "t": (4,)}, ["W"]),
    ("h[b,k] = x[b,i]*U[i,k]\nl = (tanh(h[b,k])*V[k])**2 * t[b]", {"x": (3, 2), "U": (2, 3), "V": (3,), "t": (3,)}, ["U", "V"]),  # noqa: E501
    ("p[b,k] = exp(s[b,k]) / sum[j](exp(s[b,j]))\nl = -log(p[b,0])", {"s": (3, 4)}, ["s"]),
    ("l = logsumexp[i](a[i] * x[i]**2)", {"a": (4,), "x": (4,)}, ["x"]),
    ("l *= x[i]", {"x": (4,)}, ["x"]),
    ("m[i] max= x[i,j]\nl = m[i]**3", {"x": (3, 4)}, ["x"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shapes", "wrt"), HESSIANS, ids=[h[0] for h in HESSIANS])
def test_hvp_is_the_step_of_the_gradient(text: str, shapes: dict[str, tuple[int, ...]], wrt: list[str]) -> None:
    f = indexlang.compile(text)
    rng = np.random.default_rng(4)
    arrays = {n: gradcheck.spread(s, rng) for n, s in shapes.items()}
    along = {n: rng.standard_normal(shapes[n]) for n in wrt}
    g = f.grad(wrt)
    expected = stepped(g, {**arrays, "l.grad": np.ones(())}, along)
    found = f.hvp(along, **arrays)
    assert list(found) == wrt
    for n in wrt:
        np.testing.assert_allclose(found[n], expected[f"{n}.grad"], rtol=1e-10, atol=1e-11)
    program = f.grad(wrt, seed=1).tangent(wrt)
    assert indexlang.compile(str(program)).program == program.program
    assert "l.grad" not in program.inputs
    again = program(**{**arrays, **{f"{n}.dot": d for n, d in along.items()}})
    for n in wrt:
        np.testing.assert_allclose(again[f"{n}.grad.dot"], expected[f"{n}.grad"], rtol=1e-10, atol=1e-11)


def test_hessians_are_symmetric() -> None:
    text, shapes, _ = HESSIANS[1]
    f, rng = indexlang.compile(text), np.random.default_rng(4)
    arrays = {n: rng.standard_normal(s) for n, s in shapes.items()}
    u, v = ({n: rng.standard_normal(shapes[n]) for n in ("U", "V")} for _ in range(2))
    hu, hv = f.hvp(u, arrays), f.hvp(v, arrays)
    one, other = (sum(float(np.sum(a[n] * b[n])) for n in a) for a, b in ((hu, v), (hv, u)))
    np.testing.assert_allclose(one, other, rtol=1e-12)


def test_hvp_of_what_is_linear_is_zero() -> None:
    f = indexlang.compile("l = a[i]*x[i] + b[i]**2")
    found = f.hvp({"x": np.ones(3), "b": np.ones(3)}, a=np.ones(3), x=np.ones(3), b=np.ones(3))
    assert np.array_equal(found["x"], np.zeros(3))
    assert np.array_equal(found["b"], 2 * np.ones(3))
    assert np.array_equal(f.hvp({"x": np.ones(3)}, a=np.ones(3), x=np.ones(3), b=np.ones(3))["x"], np.zeros(3))


def test_hvp_at_a_zero_that_guards_a_pole() -> None:
    f = indexlang.compile("l = m[i] * sqrt(x[i])")
    m, x = np.array([0.0, 1.0, 0.0]), np.array([0.0, 4.0, 4.0])
    found = f.hvp({"m": np.array([0.0, 1.0, 1.0]), "x": np.zeros(3)}, m=m, x=x)
    assert np.array_equal(found["x"], [0, 0.25, 0.25])  # the derivative by m, also where m is 0
    seeded = f.grad(seed=1).tangent()
    given = {"m.dot": np.array([0.0, 1.0, 1.0]), "x.dot": np.array([0.0, 0.0, 0.0])}
    assert np.array_equal(seeded(m=m, x=x, **given)["x.grad.dot"], [0, 0.25, 0.25])


@pytest.mark.parametrize("seed", [1, -2.5, np.float32(0.5)])
def test_a_seed_is_the_cotangent(seed: Any) -> None:
    f = indexlang.compile("h[b,k] = tanh(sum[i](x[b,i]*U[i,k]))\nl = log(1 + h[b,k]**2) * m[b]")
    arrays = {"x": numbers(2, 3), "U": numbers(3, 4), "m": np.array([0.0, 1.0])}
    g = f.grad(seed=seed)
    assert "l.grad" not in g.inputs
    assert indexlang.compile(str(g)).program == g.program
    right = f.grad()(**arrays, **{"l.grad": np.array(float(seed))})
    for name, found in g(**arrays).items():
        np.testing.assert_allclose(found, right[name], rtol=1e-12)
    assert np.array_equal(pickle.loads(pickle.dumps(g))(**arrays)["U.grad"], g(**arrays)["U.grad"])


def test_a_seed_goes_on_to_the_gradient_of_the_gradient() -> None:
    f = indexlang.compile("l = sqrt(x[i]) * m[i] * x[0]")
    x, m = np.array([4.0, 9.0]), np.array([0.0, 2.0])
    twice, seeded = f.grad(["x"]).grad(["m"]), f.grad(["x"], seed=1).grad(["m"])
    given = {"x": x, "m": m, "x.grad.grad": np.ones(2)}
    right = twice(**given, **{"l.grad": np.ones(())})["m.grad"]
    np.testing.assert_allclose(seeded(**given)["m.grad"], right, rtol=1e-12)


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c.name)
def test_layers_of_the_library(case: Case) -> None:
    """<y.grad, J dx> = <J^T y.grad, dx>."""
    f = indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options)
    arrays = case.arrays()
    rng = np.random.default_rng(3)
    along = {n: rng.standard_normal(arrays[n].shape) for n in f._reached if arrays[n].dtype.kind == "f"}
    if not along:
        pytest.skip("nothing moves")
    y, dot = f.jvp(along, **arrays)
    values, dots = (y, dot) if isinstance(y, dict) else ({f.outputs[0]: y}, {f.outputs[0]: dot})
    across = {n: rng.standard_normal(np.shape(v)) for n, v in values.items() if v.dtype.kind == "f"}
    _, pullback = f.vjp(**arrays)
    back = pullback(across)
    left = [dots[n] * c for n, c in across.items()]
    right = [back[n] * d for n, d in along.items()]
    size = sum(float(np.sum(np.abs(t))) for t in (*left, *right))
    assert abs(sum(np.sum(t) for t in left) - sum(np.sum(t) for t in right)) <= 1e-9 * size


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("along", "error", "part"),
    [
        ({"q": np.ones(3)}, ShapeError, "'q' is no input"),
        ({"x": np.ones(2)}, ShapeError, "must have its shape"),
        ({"x": 1j * np.ones(3)}, ShapeError, "must be real"),
        ({"k": np.ones(3)}, DerivationError, "an integer tensor does not move"),
        ({"f": np.ones(3)}, DerivationError, "'f' has no gradient|nothing moves with 'f'"),
        ({}, ShapeError, "nothing moves"),
        (np.ones(3), ShapeError, "directions are a dict"),
    ],
)
def test_directions_that_are_refused(along: Any, error: type[Exception], part: str) -> None:
    f = indexlang.compile("y = x[i] * k[i] + floor(f[i])")
    with pytest.raises(error, match=part):
        f.jvp(along, x=np.ones(3), k=np.array([1, 2, 3]), f=np.ones(3))
    with pytest.raises(error, match=part):
        f.hvp(along, x=np.ones(3), k=np.array([1, 2, 3]), f=np.ones(3))


@pytest.mark.parametrize("text", ["y[i] = x[i]**2", "h[i] = x[i]**2\ny[i] = exp(h[i])"])
def test_integers_do_not_move(text: str) -> None:
    with pytest.raises(ShapeError, match="an integer tensor has no tangent"):
        indexlang.compile(text).tangent()(x=np.array([1, 2]), **{"x.dot": np.ones(2)})


def test_what_is_no_scalar_has_no_hvp_and_no_seed() -> None:
    f = indexlang.compile("y[i] = x[i]**2")
    with pytest.raises(ShapeError, match="hvp needs a scalar"):
        f.hvp({"x": np.ones(3)}, x=np.ones(3))
    with pytest.raises(DerivationError, match="a seed is the cotangent of a scalar output, and 'y' has an axis"):
        f.grad(seed=1)
    with pytest.raises(DerivationError, match="a seed is a number"):
        f.grad(seed="1")  # type: ignore[arg-type]
    two = indexlang.compile("y = x[i]**2\nz = x[i]")
    with pytest.raises(ShapeError, match="hvp needs one scalar output"):
        two.hvp({"x": np.ones(3)}, x=np.ones(3))
    with pytest.raises(DerivationError, match="one scalar output, here: y, z"):
        two.grad(seed=1)
