"""Statements taken apart before they are planned: what depends on positions alone, choices and sums inside of products.

What is right is said by loops in float64 over the whole domain (`dense`), forward and of every derived statement.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.plan.limits import NATIVE, NUMPY, TINY
from indexlang.plan.planning import plan as planned_at
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

POSITIONS = {
    "of one axis": ("y[b,i,o] = W[u,c,o] * relu(x[b,i+u,c])", {"x": (2, 9, 3), "W": (3, 3, 4)}),
    "of two": ("y[i,j,o] = W[u,v,o] * tanh(x[i+u,j+v]*g + h)", {"x": (7, 8), "W": (3, 2, 4), "g": (), "h": ()}),
    "by channel": (
        "y[b,i,o] = W[u,c,o] * relu(x[b,i+u,c]*g[c] + h[c])",
        {"x": (2, 9, 3), "W": (3, 3, 4), "g": (3,), "h": (3,)},
    ),
    "strided": ("y[b,i,o] = W[u,c,o] * exp(x[b,2*i+u,c])", {"x": (2, 11, 3), "W": (3, 3, 4)}),
    "with gaps": ("y[b,i,o] = W[u,c,o] * exp(x[b,4*i+u,c])", {"x": (2, 11, 3), "W": (2, 3, 4)}),
    "dilated": ("y[b,i,o] = W[u,c,o] * exp(x[b,i+3*u,c])", {"x": (2, 11, 3), "W": (3, 3, 4)}),
    "all even": ("y[i,o] = W[u,o] * exp(x[2*i+2*u])", {"x": (13,), "W": (3, 4)}),
    "padded": ("y[b,i,o] = W[u,c,o] * exp(x[b,pad(i+u,1,1),c])", {"x": (2, 9, 3), "W": (3, 3, 4)}),
    "where masks keep reads inside": (
        "y[v,i,o] = W[u,j,o] * tanh(m[7+2*j-v,i+u,j//2]) where v < 9, j < 3, 0 <= 7 + 2*j - v, 7 + 2*j - v < 6",
        {"m": (6, 9, 2), "W": (3, 3, 4)},
    ),
    "mirrored": ("y[b,i,o] = W[u,c,o] * exp(x[b,i-u+2,c]) where i < 7", {"x": (2, 9, 3), "W": (3, 3, 4)}),
    "two neighbours": ("y[i,o] = W[u,o] * exp(x[i+u] - x[i+u+1]**2)", {"x": (9,), "W": (3, 4)}),
    "clamped": ("y[i,o] = W[u,o] * exp(x[clamp(i+u-1)]) where i < 9", {"x": (9,), "W": (3, 4)}),
    "two windows, one in the other": ("y[i,j] = exp(x[i+u]) ** z[i,j+v] where v < 2, u < 3", {"x": (7,), "z": (4, 3)}),
    "the greatest": ("y[i] max= tanh(x[i+u]) * 2 where u < 3", {"x": (9,)}),
    "masked by position": ("y[i,o] = W[u,o] * x[i+u] where m[i+u] > 0", {"x": (9,), "m": (9,), "W": (3, 4)}),
    "masked by tap": ("y[i,o] = W[u,o] * relu(x[i+u]) where u <= i", {"x": (9,), "W": (3, 4)}),
    "alone as well": ("y[i,o] = W[u,o] * exp(x[i+u] - x[i])", {"x": (9,), "W": (3, 4)}),
    "divided": ("y[i,o] = W[u,o] / (1 + x[i+u]**2)", {"x": (9,), "W": (3, 4)}),
    "a weight of positions": (
        "y[i,o] = W[u,o] * x[i+u] * p[i+u] * q[o]",
        {"x": (9,), "p": (9,), "q": (4,), "W": (3, 4)},
    ),
    "a weight of channels": (
        "y[b,i,o] = W[u,c,o] * x[b,i+u,c] * g[b,c]",
        {"x": (2, 9, 3), "W": (3, 3, 4), "g": (2, 3)},
    ),
    "a gate of channels": (
        "y[b,i,o] = W[u,c,o] * where(g[b,c]>0, x[b,i+u,c], 0)",
        {"x": (2, 9, 3), "W": (3, 3, 4), "g": (2, 3)},
    ),
    "transposed, gated": (
        "y[b,2*i+u,o] = W[u,c,o] * x[b,i,c] * g[o] where h[b] > 0",
        {"x": (3, 5, 3), "W": (3, 3, 4), "g": (4,), "h": (3,)},
    ),
    "masked by what is summed, too": (
        "y[b,i+u,o] = W[u,c,o] * x[b,i,c] where h[b,c] > 0, g[o] > 0",
        {"x": (3, 5, 3), "W": (3, 3, 4), "g": (4,), "h": (3, 3)},
    ),
    "a sum of all": ("y = W[u,c] * z[i,c] * relu(x[i+u,c])", {"x": (9, 3), "W": (3, 3), "z": (7, 3)}),
}

APART = {
    "a choice by column": ("y[i,j] = where(g[j]>0,A[i,k],B[i,k])*c[k,j]",
                           {"g": (5,), "A": (4, 6), "B": (4, 6), "c": (6, 5)}),
    "a choice by what is summed": ("y[i,j] = where(g[k,j]>0,A[i,k],1)*c[k,j]", {"g": (6, 5), "A": (4, 6), "c": (6, 5)}),
    "a choice of 0": ("y[i,j] = where(g[k,j]>0,A[i,k],0)*c[k,j]", {"g": (6, 5), "A": (4, 6), "c": (6, 5)}),
    "a choice of 0 else": ("y[i,j] = where(g[k,j]>0,0,A[i,k])*c[k,j]", {"g": (6, 5), "A": (4, 6), "c": (6, 5)}),
    "a choice of a choice": (
        "y[i,j] = where(g[j]>0,where(h[i]>0,A[i,k],1),B[i,k])*c[k,j]",
        {"g": (5,), "h": (4,), "A": (4, 6), "B": (4, 6), "c": (6, 5)},
    ),
    "a sum": ("y[i,j] = a[i,k]*(c[k,j]+d[k,j]*u[i])", {"a": (4, 6), "c": (6, 5), "d": (6, 5), "u": (4,)}),
    "a difference": ("y[i,j] = a[i,k]*(c[k,j]-d[k,j]*u[i])", {"a": (4, 6), "c": (6, 5), "d": (6, 5), "u": (4,)}),
    "a sum with 1": ("y[i,j] = a[i,k]*(1+d[k,j]*u[i])", {"a": (4, 6), "d": (6, 5), "u": (4,)}),
    "two sums": (
        "y[i,j] = (a[i,k]+b[k]*u[i])*(c[k,j]+d[k,j]*u[i]*w[j])",
        {"a": (4, 6), "b": (6,), "c": (6, 5), "d": (6, 5), "u": (4,), "w": (5,)},
    ),
    "a sum beside": ("y[i,j] = a[i,k]*(c[k,j]+d[k,j]*u[i]) - e[i,k]",
                     {"a": (4, 6), "c": (6, 5), "d": (6, 5), "u": (4,), "e": (4, 6)}),
    "negated": ("y[i,j] = -(where(g[j]>0,A[i,k],B[i,k])*c[k,j])", {"g": (5,), "A": (4, 6), "B": (4, 6), "c": (6, 5)}),
    "subtracted": ("y[i] = x[i]\ny[i] += -(a[i,k]*(c[k]+d[k]*u[i]))",
                   {"x": (4,), "a": (4, 6), "c": (6,), "d": (6,), "u": (4,)}),
}  # fmt: skip


SHORT = replace(NUMPY, call=0, tile=2)

QKV = {"q": (9, 2), "k": (9, 2), "v": (9, 2)}

INLINED = {
    "between a mask": ("w[t,s] = q[t,d]*k[s,d]\ny[t,e] = w[t,s]*v[s,e] where s <= t", QKV),
    "a band": ("w[t,s] = q[t,d]*k[s,d]\ny[t,d] = w[t,s]*v[s,d] where s <= t, t < s + 3", QKV),
    "turned": ("w[s,t] = q[t,d]*k[s,d]/2\ny[t,d] = 3*w[t,s]*v[s,d]*q[t,d]", QKV),
    "three": ("w[t,s] = q[t,d]*k[s,d]\nu[t,f] = w[t,s]*v[s,f]\ny[t,d] = u[t,f]*z[f,d]", QKV | {"z": (2, 3)}),
    "read twice": ("w[t,s] = q[t,d]*k[s,d]\ny[t,e] = w[t,s]*w[s,t]*v[s,e]", QKV),
    "counted": ("w[t,s] = q[t,d]*k[s,d] where d < 2, g < 3\ny[t,e] = w[t,s]*v[s,e]", QKV),
}  # fmt: skip


@pytest.mark.parametrize("limits", [TINY, NUMPY, NATIVE, SHORT], ids=["tiny", "numpy", "native", "short"])
@pytest.mark.parametrize("name", [*POSITIONS, *APART, *INLINED])
def test_apart_is_the_same(name: str, limits: Any) -> None:
    text, shapes = (POSITIONS | APART | INLINED)[name]
    rng = default_rng(abs(hash(name)) % 1000)
    inputs = {n: rng.standard_normal(s) for n, s in shapes.items()}
    f = il.compile(text)
    same(f, inputs, limits)
    wrt = tuple(n for n in grad.differentiable(f.program) if n in inputs)
    derived = grad.backward(f.program, wrt)
    names, values = grad.gradient_names(f.program), dense.run(f.program, inputs)
    given = inputs | {names[n]: rng.standard_normal(np.shape(values[n])) for n in f.program.outputs}
    same(Function(derived, f.options, always_dict=True), {n: given[n] for n in derived.inputs}, limits)


def same(f: Function, inputs: dict[str, Array], limits: Any) -> None:
    """What loops give, by a plan that takes everything apart that it can."""
    planned = sized(f, limits, separate=1)
    verify(planned.plan(**inputs))
    found, right = planned(**inputs), dense.run(f.program, inputs)
    for name, value in right.items():
        x = found[name] if isinstance(found, dict) else found
        np.testing.assert_allclose(x, value, rtol=1e-9, atol=1e-10, err_msg=name)


def test_a_product_between_a_mask_is_inlined() -> None:
    text = "w[t,s] = q[t,d]*k[s,d]\ny[t,e] = w[t,s]*v[s,e] where s <= t"
    found = statements(text, dict.fromkeys("qkv", (2048, 32)))
    assert found == ["y[t,e] = q[t,d] * k[s,d] * v[s,e] where s <= t"]


def statements(text: str, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """The statements as they run."""
    f = il.compile(text, outputs=["y"])
    return [step.statement for step in f.plan(**{n: np.ones(s, np.float32) for n, s in shapes.items()}).steps]


def test_a_function_of_a_window_is_computed_once_for_each_position() -> None:
    text = "y[b,i,j,o] = W[u,v,c,o]*relu(x[b,i+u,j+v,c])"
    found = statements(text, {"x": (8, 18, 18, 32), "W": (3, 3, 32, 32)})
    assert found == ["at[b,p,q,c] = relu(x[b,p,q,c])", "y[b,i,j,o] = W[u,v,c,o] * at[b,i+u,j+v,c]"]
    text = "y[b,i,j,o] = W[u,v,c,o]*where(g[b,c] > 0, x[b,i+u,j+v,c], 0)"
    found = statements(text, {"x": (8, 18, 18, 32), "W": (3, 3, 32, 32), "g": (8, 32)})
    assert found[0] == "at[b,p,q,c] = where(g[b,c] > 0, x[b,p,q,c], 0)"  # as x lies in memory, not as g is read


@pytest.mark.parametrize(
    ("gate", "after"),
    [
        ("where(g[b,c]>0, x[b,i+u,j+v,c], 0)", "x.grad[b,p,q,c] += taps[b,p,q,c] where g[b,c] > 0"),
        ("g[b,c]*x[b,i+u,j+v,c]", "x.grad[b,p,q,c] += taps[b,p,q,c] * g[b,c]"),
    ],
)
def test_what_knows_plain_axes_waits_for_the_taps(gate: str, after: str) -> None:
    """In its own layout, as the gradient lies: a mask of each tap's elements kept kernels from multiplying matrices."""
    f = il.compile(f"y[b,i,j,o] = W[u,v,c,o]*{gate}").grad("x")
    shapes = {"y.grad": (8, 16, 16, 32), "W": (3, 3, 32, 32), "g": (8, 32), "x": (8, 18, 18, 32)}
    plan = f.plan(**{n: shapes[n] for n in f.inputs})
    assert [s.statement for s in plan.steps][-2:] == [
        "taps[b,i+u,j+v,c] += y.grad[b,i,j,o] * W[u,v,c,o]",
        after,
    ]


def test_where_nests_multiply_two_factors_others_wait() -> None:
    """However few elements they have: sums at taps beside a third factor go point by point there."""
    text = "y[b,i,j,o] = W[u,v,c,o]*x[b,2*i+u,2*j+v,c]*m[b,2*i+u,2*j+v]"
    shapes = {"W": (3, 3, 32, 32), "x": (8, 33, 33, 32), "m": (8, 33, 33), "y.grad": (8, 16, 16, 32)}
    derived = il.compile(text).grad().program
    made = planned_at(derived, shapes, dict.fromkeys(shapes, "float32"), NATIVE).plan
    found = [r.statement for r in made.steps]
    assert "taps[b,2*i+u,2*j+v,c] += y.grad[b,i,j,o] * W[u,v,c,o]" in found
    assert "x.grad[b,p,q,c] += taps[b,p,q,c] * m[b,p,q]" in found
    assert "m.grad[b,p,q] += taps[b,p,q,c] * x[b,p,q,c]" in found


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_gradients_of_weights_of_positions(backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code is made with llvmlite")
    rng = default_rng(5)
    w, x, m = rng.standard_normal((3, 8, 8)), rng.standard_normal((2, 61, 8)), rng.standard_normal((2, 61))
    dy = rng.standard_normal((2, 30, 8))
    y, pull = il.compile("y[b,i,o] = W[u,c,o]*x[b,2*i+u,c]*m[b,2*i+u]", backend=backend).vjp(W=w, x=x, m=m)
    weighed, dx = x * m[..., None], np.zeros_like(x)
    right = sum(weighed[:, u : u + 59 : 2] @ w[u] for u in range(3))
    for u in range(3):
        dx[:, u : u + 59 : 2] += dy @ w[u].T
    found = pull(dy)
    np.testing.assert_allclose(y, right, atol=1e-10)
    np.testing.assert_allclose(found["x"], dx * m[..., None], atol=1e-10)
    np.testing.assert_allclose(found["m"], (dx * x).sum(2), atol=1e-10)
    for u in range(3):
        np.testing.assert_allclose(found["W"][u], np.einsum("bic,bio->co", weighed[:, u : u + 59 : 2], dy), atol=1e-10)


def test_what_is_refused_by_channel_may_be_anything() -> None:
    f = il.compile("y[b,i+u,c] = x[b,i,o]*W[u,o,c] where g[b,c] > 0", backend="numpy")
    rng = default_rng(3)
    x, w, g = rng.standard_normal((4, 60, 32)), rng.standard_normal((3, 32, 32)), rng.standard_normal((4, 32))
    x[1, 5, 2], w[1, 2, 3], g[:, 3], g[1] = np.nan, np.inf, -1, -1
    right = np.zeros((4, 62, 32))
    with np.errstate(invalid="ignore"):
        for u in range(3):
            right[:, u : u + 60] += x @ w[u]
    right = np.where(g[:, None] > 0, right, 0)
    assert np.isfinite(right).all()
    np.testing.assert_allclose(f(x=x, W=w, g=g), right, atol=1e-9)


def test_what_is_not_chosen_adds_nothing() -> None:
    f = il.compile("y[i,j] = where(g[j]>0,A[i,k],B[i,k])*c[k,j]")
    rng = default_rng(1)
    g, c = np.array([1.0, -1.0, 2.0]), rng.standard_normal((4, 3))
    a, b = rng.standard_normal((5, 4)), rng.standard_normal((5, 4))
    b[2, 1] = np.inf
    expected = np.where(g > 0, a @ c, b @ c)
    np.testing.assert_allclose(sized(f, separate=1)(g=g, A=a, B=b, c=c), expected)


def test_a_difference_of_reads_is_not_distributed() -> None:
    """x - z is exact where they are close; x*a - z*a is not."""
    text, shapes = "y[i] = (x[i,k]-z[i,k]*1.0)*w[k] + x[i,k]*0", {"x": (900, 50), "z": (900, 50), "w": (50,)}
    rng = default_rng(2)
    near = rng.standard_normal(shapes["x"]).astype(np.float32)
    inputs = {"x": near + np.float32(1e-4), "z": near, "w": np.ones(50, np.float32)}
    right = ((inputs["x"].astype(np.float64) - near) * inputs["w"]).sum(1)
    np.testing.assert_allclose(il.compile(text)(**inputs), right, rtol=1e-5)


def test_what_is_larger_at_each_position_is_not_made_there() -> None:
    """Two factors of one position were multiplied out over all their indices: the mask then met no two factors."""
    f = il.compile("y[t,c] = q[t,d]*k[s,d]*v[s,c] where abs(t-s) <= 64")
    for plan in f.plans(**dict.fromkeys("qkv", (4001, 32))):
        assert not any("whole domain" in step.kernel for step in plan.steps)
