"""`to_jax`: transformations of jax by the derived program, positions, precision, types; modules that are emitted."""
# ruff: noqa: N803, N806

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

from jax_cases import jax, long_numbers

import indexlang
from indexlang.errors import MeaningError, ShapeError

jnp = jax.numpy
__all__ = ["long_numbers"]

LAYER = "y[b,o] = tanh(sum[i](W[i,o]*x[b,i]))"
RNN = """\
layer rnn(x[T,I], h0[K], V[I,K], U[K,K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t:
        h[t+1,k] = tanh(sum[i](V[i,k]*x[t,i]) + sum[l](U[l,k]*h[t,l]))
    y[k] = h[T,k]
"""


def normal(*shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float64)


def assert_near(found: Any, right: Any, tolerance: float = 1e-10) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(right), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# -- transformations -------------------------------------------------------------------------------


def rnn_by_hand(x: Any, h0: Any, V: Any, U: Any) -> Any:
    return jax.lax.scan(lambda h, now: (jnp.tanh(now @ V + h @ U), None), h0, x)[0]


PAIRS = {
    "layer": (LAYER, ("x", "W"), ((3, 4), (4, 5)), lambda x, W: jnp.tanh(x @ W)),
    "rnn": (RNN, ("x", "h0", "V", "U"), ((6, 2), (3,), (2, 3), (3, 3)), rnn_by_hand),
}
TRANSFORMED: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "value": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(f, (0, 1)),
    "jit of grad": lambda f: jax.jit(jax.grad(f, (0, 1))),
    "grad of grad": lambda f: jax.grad(lambda *a: (jax.grad(f)(*a) ** 3).sum(), (0, 1)),
    "grad of grad of grad": lambda f: jax.grad(
        lambda *a: (jax.grad(lambda *b: (jax.grad(f)(*b) ** 3).sum())(*a) ** 2).sum()
    ),
    "checkpoint": lambda f: jax.grad(jax.checkpoint(f), (0, 1)),
    "jacrev of grad": lambda f: jax.jacrev(jax.grad(f)),
    "vmap of grad": lambda f: (
        lambda first, *rest: jax.vmap(jax.grad(f), (0, *(None for _ in rest)))(jnp.stack([first, 2 * first]), *rest)
    ),
    "grad of vmap": lambda f: jax.grad(
        lambda first, *rest: jax.vmap(f, (0, *(None for _ in rest)))(jnp.stack([first, 2 * first]), *rest).sum()
    ),
}


@pytest.mark.usefixtures("long_numbers")
@pytest.mark.parametrize("transformation", TRANSFORMED)
@pytest.mark.parametrize("pair", PAIRS)
def test_transformations(pair: str, transformation: str) -> None:
    text, names, shapes, by_hand = PAIRS[pair]
    fn = indexlang.compile(text).to_jax()
    arrays = [normal(*shape, seed=k) for k, shape in enumerate(shapes)]
    transform = TRANSFORMED[transformation]
    found = transform(lambda *a: (fn(dict(zip(names, a, strict=True))) ** 2).sum())(*arrays)
    assert_near(found, transform(lambda *a: (by_hand(*a) ** 2).sum())(*arrays), 1e-9)


def test_forward_mode_is_refused_by_jax() -> None:
    fn = indexlang.compile("y[i] = sin(x[i])").to_jax()
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(fn, (jnp.ones(3),), (jnp.ones(3),))


def test_tangents_and_gradients_are_functions_too() -> None:
    f = indexlang.compile("y[i] = sin(x[i])")
    x = jnp.arange(3.0)
    assert_near(f.tangent().to_jax()({"x": x, "x.dot": x}), {"y.dot": jnp.cos(x) * x}, 1e-6)
    assert_near(f.grad().to_jax()({"x": x, "y.grad": x}), {"x.grad": jnp.cos(x) * x}, 1e-6)


# -- derivatives that are ours ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "x", "slope"),
    [
        ("y = max[i](x[i])", [0.0, 1.0, 1.0], [0, 1, 0]),
        ("y[i] = max(x[i], 0)", [0.0, 1.0, -1.0], [0, 1, 0]),
        ("y[i] = relu(x[i])", [0.0, 1.0, -1.0], [0, 1, 0]),
        ("y[i] = abs(x[i])", [0.0, 1.0, -1.0], [0, 1, -1]),
        ("y[i] = where(x[i] > 0, log(x[i]), 0)", [0.0, 2.0, -1.0], [0, 0.5, 0]),
        ("y[i] = sqrt(x[i]) where x[i] > 0", [0.0, 4.0, -1.0], [0, 0.25, 0]),
        ("y = x[0]*x[1]*x[2]", [0.0, 2.0, 3.0], [6, 0, 0]),
        ("y = prod[i](x[i])", [0.0, 2.0, 3.0], [6, 0, 0]),
        ("y[i] = floor(x[i]) + x[i]", [0.5, 1.0, -1.5], [1, 1, 1]),
    ],
)
def test_ties_kinks_and_poles(text: str, x: list[float], slope: list[float]) -> None:
    fn = indexlang.compile(text).to_jax()
    for grad in (jax.grad, lambda f: jax.jit(jax.grad(f))):
        found = grad(lambda x: fn(x=x).sum())(jnp.asarray(x))
        np.testing.assert_array_equal(found, np.asarray(slope, np.float32))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_a_mask_refuses_counts_nothing(bad: float) -> None:
    f = indexlang.compile("y[i] = A[i,k]*x[k] where k <= i")
    x = np.asarray([1, 2, bad], np.float32)
    found = jax.jit(f.to_jax())(A=np.ones((3, 3), np.float32), x=x)
    np.testing.assert_array_equal(found, np.asarray([1, 3, bad], np.float32))
    scores = indexlang.compile("y[i] = x[k] where k <= i, i < 3").to_jax()
    np.testing.assert_array_equal(scores(x=x), np.asarray([1, 3, bad], np.float32))


@pytest.mark.parametrize("shape", [(64, 8), (256, 64), (10, 9, 126, 4)])
@pytest.mark.parametrize("text", ["y[i,...] = max[j](x[i,j,...])", "y[i,...] = min[j](x[i,j,...])"])
def test_an_extremum_is_nan_where_one_of_its_elements_is(text: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x[3, 5] = np.nan
    f = indexlang.compile(text, backend="numpy")
    np.testing.assert_array_equal(jax.jit(f.to_jax())(x=x), f(x=x))
    pooled = indexlang.compile("y[i,j] max= x[i,2*j+r] where r < 2", backend="numpy")
    x = x.reshape(shape[0], -1)
    np.testing.assert_array_equal(jax.jit(pooled.to_jax())(x=x), pooled(x=x))
    masked = indexlang.compile("y[i] = argmax[j](x[i,j]) where i < 9", backend="numpy")
    np.testing.assert_array_equal(jax.jit(masked.to_jax())(x=x), masked(x=x))


def test_a_zero_cotangent_does_not_meet_a_pole() -> None:
    f = indexlang.compile("y[i] = m[i,k]*sqrt(x[k])", backend="numpy")
    m, x = np.asarray([[0, 1, 2], [0, 3, 0]], np.float32), np.asarray([0, 4, 0], np.float32)
    fn = f.to_jax()
    for grad in (jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: lambda x: jax.vmap(jax.grad(f))(x[None])[0]):
        np.testing.assert_array_equal(grad(lambda x: fn(m=m, x=x).sum())(x), [0, 1, np.inf])


# -- positions -------------------------------------------------------------------------------------

TABLE = "y[t,e] = E[tok[t],e]"
TOKENS = jnp.asarray([1, 4, -1, -5, 3])


def test_positions_outside_are_an_error_outside_of_jit() -> None:
    fn = indexlang.compile(TABLE).to_jax()
    with pytest.raises(ShapeError, match=r"(?s)index-out-of-range.*tok\[t\] = 4.*size 4"):
        fn(E=jnp.ones((4, 2)), tok=TOKENS)
    with pytest.raises(ShapeError, match="index-out-of-range"):
        jax.grad(lambda E: fn(E=E, tok=TOKENS).sum())(jnp.ones((4, 2)))


def test_positions_outside_read_nan_and_write_nothing_under_jit() -> None:
    fn = indexlang.compile(TABLE).to_jax()
    found = jax.jit(fn)(E=jnp.ones((4, 2)), tok=TOKENS)
    np.testing.assert_array_equal(found[:, 0], [1, np.nan, np.nan, np.nan, 1])
    integers = jax.jit(fn)(E=jnp.ones((4, 2), jnp.int32), tok=TOKENS)
    np.testing.assert_array_equal(integers[:, 0], [1, 0, 0, 0, 1])
    grads = jax.jit(jax.grad(lambda E: fn(E=E, tok=TOKENS).sum()))(jnp.ones((4, 2)))
    np.testing.assert_array_equal(grads[:, 0], [0, 1, 0, 1])


def test_positions_outside_are_an_error_where_that_is_asked_for() -> None:
    fn = jax.jit(indexlang.compile(TABLE).to_jax(check=True))
    fn(E=jnp.ones((4, 2)), tok=jnp.asarray([1, 3])).block_until_ready()
    with pytest.raises(Exception, match="index-out-of-range"):
        jax.block_until_ready((fn(E=jnp.ones((4, 2)), tok=TOKENS), jax.effects_barrier()))


def test_masked_positions_are_not_looked_at() -> None:
    fn = indexlang.compile("y[t] = x[tok[t]] where tok[t] >= 0, tok[t] < 4").to_jax()
    np.testing.assert_array_equal(fn(x=jnp.ones(4), tok=TOKENS), [1, 0, 0, 0, 1])


# -- precision and types ---------------------------------------------------------------------------


def test_numbers_of_64_bits_are_not_cut() -> None:
    f = indexlang.compile("y[i] = 2*x[i]")
    for call in (f.to_jax(), indexlang.compile("y[i] = 2*x[i]", backend="jax")):
        with pytest.raises(ShapeError, match="precision-off"):
            call(x=np.ones(3))
        with pytest.raises(ShapeError, match="precision-off"):
            call(x=np.ones(3, np.int64))
    assert f.to_jax()(x=np.ones(3, np.float32)).dtype == jnp.float32
    assert f.to_jax()(x=np.ones(3, np.int32)).dtype == jnp.int32
    assert f.to_jax()(x=np.ones(3, np.uint8)).dtype == jnp.int32


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_halves_are_computed_in_float32(half: str) -> None:
    fn = indexlang.compile("y[b,o] = W[i,o]*x[b,i]").to_jax()
    x, W = (normal(2, 300).astype(half), normal(300, 2).astype(half))
    right = jnp.dot(x.astype(jnp.float32), W.astype(jnp.float32), precision="highest")
    found = fn(x=x, W=W)
    assert found.dtype == half
    np.testing.assert_array_equal(found, right.astype(half))
    assert jax.grad(lambda x: fn(x=x, W=W).astype(jnp.float32).sum())(x).dtype == half


def test_both_halves_do_not_meet() -> None:
    fn = indexlang.compile("y[i] = x[i] + z[i]").to_jax()
    with pytest.raises(ShapeError, match="no common type"):
        fn(x=jnp.ones(2, jnp.float16), z=jnp.ones(2, jnp.bfloat16))


def test_the_precision_of_products_is_said() -> None:
    f = indexlang.compile("y[b,o] = W[i,o]*x[b,i]")
    arrays = {"x": jnp.ones((2, 3)), "W": jnp.ones((3, 2))}
    for precision in ("highest", "default"):
        shown = str(jax.make_jaxpr(f.to_jax(precision=precision))(**arrays))
        assert f"Precision.{precision.upper()}" in shown
    with pytest.raises(MeaningError, match="a precision is one of"):
        f.to_jax(precision="double")


def test_the_errors_are_ours() -> None:
    fn = indexlang.compile("y[b,o] = W[i,o]*x[b,i]").to_jax()
    with pytest.raises(ShapeError, match="size-mismatch"):
        jax.jit(fn)(x=jnp.ones((2, 3)), W=jnp.ones((4, 2)))
    with pytest.raises(ShapeError, match="missing-input"):
        fn(x=jnp.ones((2, 3)))


def test_accumulations_start_where_the_caller_says() -> None:
    fn = indexlang.compile("y[i] += x[i]").to_jax()
    np.testing.assert_array_equal(fn(x=jnp.ones(2), y=jnp.ones(2)), [2, 2])


# -- what it lowers to -----------------------------------------------------------------------------


def lowered(text: str, **arrays: Any) -> str:
    shown: str = jax.jit(indexlang.compile(text).to_jax()).lower(**arrays).as_text()
    return shown


def test_a_convolution_is_one_and_so_are_its_gradients() -> None:
    f = indexlang.compile("y[b,i,j,o] = x[b,pad(2*i+di,1),pad(2*j+dj,1),c]*W[di,dj,c,o]")
    fn = f.to_jax()
    x, W = jnp.ones((2, 9, 9, 3)), jnp.ones((3, 3, 3, 4))
    shown = jax.jit(jax.grad(lambda x, W: (fn(x=x, W=W) ** 2).sum(), (0, 1))).lower(x, W).as_text()
    assert shown.count("stablehlo.convolution") == 3
    assert not any(f"stablehlo.{op}" in shown for op in ("gather", "scatter", "while", "dot_general"))


def test_a_running_sum_has_no_square() -> None:
    shown = lowered("y[t] = x[s] where s <= t, t < 1000", x=jnp.ones(1000))
    assert "1000x1000" not in shown


# -- modules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
def test_an_emitted_module_stands_alone(pair: str, tmp_path: Any) -> None:
    text, names, shapes, _ = PAIRS[pair]
    f = indexlang.compile(text)
    arrays = {n: np.asarray(normal(*s, seed=k), np.float32) for k, (n, s) in enumerate(zip(names, shapes, strict=True))}
    source = f.emit("jax", arrays)
    assert "indexlang" not in source.partition("import jax")[2]
    (tmp_path / "made.py").write_text(source, encoding="utf-8")
    np.savez(tmp_path / "given.npz", **{n: arrays[n] for n in f.inputs})
    code = (
        "import made, numpy as np; a = np.load('given.npz'); (y,) = made.run(*(a[n] for n in a)); np.save('y.npy', y)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), f(arrays), rtol=1e-5, atol=1e-6)


def test_an_emitted_module_refuses_what_it_is_not_for() -> None:
    namespace: dict[str, Any] = {}
    exec(indexlang.compile(TABLE).emit("jax", E=(4, 2), tok=((3,), "int32")), namespace)
    run = namespace["run"]
    assert run(np.ones((4, 2), np.float32), np.arange(3, dtype=np.int32))[0].shape == (3, 2)
    for wrong in ((np.ones((4, 3), np.float32), np.arange(3, dtype=np.int32)), (np.ones((4, 2)), np.arange(3))):
        with pytest.raises(ValueError, match=r"cuts short|this code is for"):
            run(*wrong)
    with pytest.raises(IndexError):
        run(np.ones((4, 2), np.float32), np.arange(2, 5, dtype=np.int32))


def test_the_core_does_not_import_jax() -> None:
    code = "import sys, indexlang; indexlang.compile('y[i] = x[i]')(x=[1.0]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
