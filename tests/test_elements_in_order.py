"""Elements of one tensor that several statements make, each read as soon as it is complete.

Values: plain loops of Python, their derivatives by a complex step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops

Array = np.ndarray[Any, Any]
Numbers = dict[str, Array]
Backend = Literal["numpy", "native"]


def parts_of_a_row(x: Array, n: Array) -> Array:
    h = np.zeros((len(x) + 1, len(n)), complex)
    h[0] = n
    for t in range(len(x)):
        h[t + 1, 0] = x[t] * h[t, 1]
        for k in range(1, len(n)):
            h[t + 1, k] = h[t + 1, 0] ** 2 + h[t, k]
    return h


def by_twos(x: Array) -> Array:
    h = np.zeros((len(x), 6), complex)
    for t in range(len(x)):
        for k in range(3):
            h[t, 2 * k] = x[t] * (k + 1)
        for k in range(3):
            h[t, 2 * k + 1] = h[t, 2 * k] ** 2
    return h


def by_a_product(x: Array, W: Array) -> Array:  # noqa: N803
    h = np.zeros((len(x) + 1, 4), complex)
    for t in range(len(x)):
        h[t + 1, :2] = x[t] + h[t, :2] ** 2
        h[t + 1, 2:] = W @ h[t + 1, :2] + h[t, 2:]
    return h


def of_numbered_parts(x: Array, w: Array) -> Array:
    h = np.zeros((len(x) + 1, 3), complex)
    for t in range(len(x)):
        h[t + 1, 0] = h[t, 0] ** 2 + x[t]
        h[t + 1, 1] = w.sum() * h[t + 1, 0] + h[t, 1]
        h[t + 1, 2] = w.sum() * h[t + 1, 1] + h[t, 2]
    return h


def never_made(x: Array) -> Array:
    h = np.zeros((len(x), 6), complex)
    for t in range(len(x)):
        for k in range(3):
            h[t, 2 * k] = (h[t, 2 * k + 1] + 1) * x[t]
    return h


def red_and_black(x: Array) -> Array:
    n = len(x)
    u = np.zeros((4, n), complex)
    u[0] = x
    for s in range(3):
        for parity in (0, 1):
            for i in range(parity, n, 2):
                of = u[s] if parity == 0 else u[s + 1]
                left, right = (of[i - 1] if i else 0), (of[i + 1] if i + 1 < n else 0)
                u[s + 1, i] = (left + right) / 3 + u[s, i] ** 2
    return u


def red_and_black_2d(x: Array) -> Array:
    n, m = x.shape
    u = np.zeros((3, n, m), complex)
    u[0] = x
    for s in range(2):
        for parity in (0, 1):
            of = u[s] if parity == 0 else u[s + 1].copy()
            for i in range(n):
                for j in range(m):
                    if (i + j) % 2 == parity:
                        around = [(i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)]
                        total = sum(of[a, b] for a, b in around if 0 <= a < n and 0 <= b < m)
                        u[s + 1, i, j] = total / 4 + u[s, i, j] ** 2
    return u


def ended(x: Array) -> Array:
    h = np.zeros(len(x) + 2, complex)
    h[0] = 1
    for t in range(len(x)):
        h[t + 1] = h[t] * x[t] + x[t] ** 2
    h[len(x) + 1] = x[0] ** 2
    return h


def in_two_blocks(x: Array) -> Array:
    n = len(x)
    h = np.zeros(2 * n + 1, complex)
    h[0] = x[0]
    for t in range(n):
        h[t + 1] = h[t] * x[t]
    for t in range(n):
        h[n + t + 1] = h[n - t] * h[n + t] + x[t]
    return h


def chosen(x: Array) -> Array:
    a = [0, 3, 1, 0, 9]
    h = np.zeros(len(x) + 1, complex)
    h[0] = x[0]
    for t in range(len(x)):
        h[t + 1] = (h[a[t]] if a[t] <= t else x[t]) * x[t] + 1
    return h


def admitted(x: Array) -> Array:
    last = [0, 0, 2, 1, 4]
    h = np.zeros(len(x) + 1, complex)
    h[0] = 1
    for t in range(len(x)):
        h[t + 1] = x[t] * sum(h[s] for s in range(len(x) + 1) if s <= last[t])
    return h


CASES: dict[str, tuple[str, Callable[..., Array], Numbers]] = {
    "parts of a row": (
        "layer f(x[T], n[K]) -> h[T+1,K]:\n    h[0,k] = n[k]\n    for t:\n        h[t+1,0] = x[t]*h[t,1]\n"
        "        g[t] = h[t+1,0]\n        h[t+1,k] = g[t]**2 + h[t,k] where 1 <= k",
        parts_of_a_row,
        {},
    ),
    "by twos": (
        "layer f(x[T]) -> h[T,6]:\n    for t:\n        h[t,2*k] = x[t]*(k+1) where k < 3\n"
        "        h[t,2*k+1] = h[t,2*k]**2 where k < 3",
        by_twos,
        {},
    ),
    "by a product": (
        "layer f(x[T], W[2,2]) -> h[T+1,4]:\n    for t:\n        h[t+1,k] = x[t] + h[t,k]**2 where k < 2\n"
        "        h[t+1,2+k] = W[k,l]*h[t+1,l] where l < 2\n        h[t+1,2+k] += h[t,2+k]",
        by_a_product,
        {},
    ),
    "of numbered parts": (
        "layer f(x[T], w[L]) -> h[T+1,3]:\n    for t:\n        h[t+1,0] = h[t,0]**2 + x[t]\n"
        "        h[t+1,1] = w[l]*h[t+1,0]\n        h[t+1,1] += h[t,1]\n"
        "        h[t+1,2] = w[l]*h[t+1,1]\n        h[t+1,2] += h[t,2]",
        of_numbered_parts,
        {},
    ),
    "never made": (
        "layer f(x[T]) -> h[T,6]:\n    for t:\n        h[t,2*k] += (h[t,2*k+1] + 1)*x[t] where k < 3",
        never_made,
        {},
    ),
    "red and black": (
        "layer f(x[N]) -> u[4,N]:\n    u[0,i] = x[i]\n    for s < 3:\n"
        "        u[s+1,i] = (u[s,pad(i-1)] + u[s,pad(i+1)])/3 + u[s,i]**2 where i % 2 == 0\n"
        "        u[s+1,i] = (u[s+1,pad(i-1)] + u[s+1,pad(i+1)])/3 + u[s,i]**2 where i % 2 == 1",
        red_and_black,
        {},
    ),
    "red and black in two dimensions": (
        "layer f(x[N,M]) -> u[3,N,M]:\n    u[0,i,j] = x[i,j]\n    for s < 2:\n"
        "        u[s+1,i,j] = (u[s,pad(i-1),j] + u[s,pad(i+1),j] + u[s,i,pad(j-1)] + u[s,i,pad(j+1)])/4 + u[s,i,j]**2"
        " where (i+j) % 2 == 0\n"
        "        u[s+1,i,j] = (u[s+1,pad(i-1),j] + u[s+1,pad(i+1),j] + u[s+1,i,pad(j-1)] + u[s+1,i,pad(j+1)])/4"
        " + u[s,i,j]**2 where (i+j) % 2 == 1",
        red_and_black_2d,
        {},
    ),
    "ended behind": (
        "layer f(x[T]) -> h[T+2]:\n    h[0] = 1\n    for t:\n        h[t+1] = h[t]*x[t] + x[t]**2\n"
        "    h[T+1] = x[0]**2",
        ended,
        {},
    ),
    "in two blocks": (
        "layer f(x[T]) -> h[2*T+1]:\n    h[0] = x[0]\n    for t:\n        h[t+1] = h[t]*x[t]\n    for t:\n"
        "        h[T+t+1] = h[T-t]*h[T+t] + x[t]",
        in_two_blocks,
        {},
    ),
    "a padding": (
        "layer f(x[T]) -> h[T,3]:\n    for t:\n        h[t,k] = x[t]**2 + h[t,pad(k+3)] where k < 3",
        lambda x: np.repeat(x[:, None] ** 2, 3, 1),
        {},
    ),
    "further than steps go": (
        "layer f(x[T]) -> h[6]:\n    h[k+3] = x[k] where k < 3\n    for t < 3:\n        h[t] = h[t+3]*x[t]",
        lambda x: np.concatenate([x[:3] ** 2, x[:3]]),
        {},
    ),
    "chosen": (
        "layer f(x[T], a[T]) -> h[T+1]:\n    h[0] = x[0]\n    for t:\n"
        "        h[t+1] = where(a[t] <= t, h[clamp(a[t])], x[t])*x[t] + 1",
        chosen,
        {"a": np.array([0, 3, 1, 0, 9])},
    ),
    "admitted by data": (
        "layer f(x[T], last[T]) -> h[T+1]:\n    h[0] = 1\n    for t:\n        h[t+1] = x[t]*h[s] where s <= last[t]",
        admitted,
        {"last": np.array([0, 0, 2, 1, 4])},
    ),
}
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "parts of a row": {"x": (5,), "n": (3,)},
    "by a product": {"x": (5,), "W": (2, 2)},
    "of numbered parts": {"x": (5,), "w": (3,)},
    "red and black in two dimensions": {"x": (4, 5)},
}


def given(case: str) -> tuple[Numbers, Numbers]:
    rng = np.random.default_rng()
    shapes: dict[str, tuple[int, ...]] = SHAPES.get(case, {"x": (5,)})
    return {n: rng.uniform(0.3, 1.2, s) for n, s in shapes.items()}, CASES[case][2]


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case: str, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    text, plain, data = CASES[case]
    floats, data = given(case)
    f = indexlang.compile(text, backend=backend)
    expected = plain(*floats.values()).real
    value, pullback = f.vjp({**floats, **data})
    assert isinstance(value, np.ndarray)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    cotangent = np.random.default_rng().normal(size=expected.shape)
    found = pullback(cotangent)
    for name, x in floats.items():
        wanted = np.zeros_like(x)
        for at in np.ndindex(*x.shape):
            step = {n: v.astype(complex) for n, v in floats.items()}
            step[name][at] += 1e-30j
            wanted[at] = (plain(*step.values()).imag * cotangent).sum() / 1e-30
        np.testing.assert_allclose(found[name], wanted, rtol=1e-10)


@pytest.mark.parametrize("case", CASES)
def test_the_oracle_and_what_is_printed(case: str) -> None:
    text, plain, _ = CASES[case]
    floats, data = given(case)
    f = indexlang.compile(text)
    expected = plain(*floats.values()).real
    np.testing.assert_allclose(loops(f.program, {**floats, **data})["h" if "h" in f.outputs else "u"], expected)
    again = indexlang.compile(str(f.grad()))
    assert str(again) == str(f.grad())
    cotangent = np.asarray(np.random.default_rng().normal(size=expected.shape))
    all_: Numbers = {**floats, **data, f"{f.outputs[0]}.grad": cotangent}
    told, found = loops(again.program, all_), f.grad()(**{n: all_[n] for n in f.grad().inputs})
    found = found if isinstance(found, dict) else {again.outputs[0]: found}
    for name, array in told.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-11)


LATE: dict[str, tuple[str, Numbers]] = {
    "the part that comes later": (CASES["parts of a row"][0].replace("g[t] = h[t+1,0]", "g[t] = h[t+1,1]"), {}),
    "the same colour": (CASES["red and black"][0].replace("u[s+1,pad(i-1)]", "u[s+1,pad(i-2)]"), {}),
    "the end": (CASES["ended behind"][0].replace("x[t]**2", "h[T+1]"), {}),
    "the later block": (CASES["in two blocks"][0].replace("h[t]*x[t]", "h[t]*h[T+1+t]").replace("t:", "t < T:"), {}),
    "the branch that is taken": (CASES["chosen"][0].replace("a[t] <= t,", "a[t] <= t + 2,"), CASES["chosen"][2]),
    "what data admit": (CASES["admitted by data"][0], {"last": np.array([0, 2, 0, 0, 0])}),
    "under a function": (
        "layer f(x[T], a[T]) -> h[T+1]:\n    h[0] = 1\n    for t:\n        h[t+1] = h[a[t]] where -erf(x[t]) < 0",
        {"a": np.array([0, 1, 3, 0, 0])},
    ),
}


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("case", LATE)
def test_what_is_made_later_is_refused(case: str, backend: Backend) -> None:
    text, data = LATE[case]
    names = {"x": np.full(5, 0.5), "n": np.ones(3)}
    f = indexlang.compile(text, backend=backend)
    with pytest.raises(indexlang.ShapeError) as told:
        f({**{n: v for n, v in names.items() if n in f.inputs}, **data})
    assert told.value.code == "order"
    assert "made here" in str(told.value)


@pytest.mark.parametrize(
    "line",
    [
        "P[i,j] = x[i,j] + P[i,pad(j-1)] + where(i == 777, P[pad(i+1),j], 0)",
        "P[i,j] = x[i,j] + P[i,pad(j-1)] + where(i == 777 and j == 500, P[i,pad(j+1)], 0)",
        "P[i,j] = x[i,j] + P[pad(i-1),pad(j+1)] + P[i,pad(j+1)] where j == 500 or i == 777",
    ],
)
def test_a_single_step_of_many_that_reads_too_early(line: str) -> None:
    f = indexlang.compile(f"for i < size(x,0), j < size(x,1):\n    {line}\n", backend="numpy")
    with pytest.raises(indexlang.ShapeError) as caught:
        f.plan(x=(1600, 1600))
    assert caught.value.code == "order"
    assert "i = 777" in str(caught.value)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_last_of_no_steps(steps: int, backend: Backend) -> None:
    text = """\
for t < size(x,0):
    z[t,k] = 2*x[t,k] + z[pad(t-1),k]
y[k] = z[size(x,0)-1,k] where size(x,0) > 0
"""
    x = np.arange(3.0 * steps).reshape(steps, 3)
    y, pullback = indexlang.compile(text, backend=backend).vjp(x=x)
    np.testing.assert_array_equal(y, 2 * x.sum(0))
    np.testing.assert_array_equal(pullback(np.ones(3))["x"], np.full(x.shape, 2.0))


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_steps_that_read_nothing_of_an_empty_axis(backend: Backend) -> None:
    text = "for t < size(x,0):\n    z[t,k] = x[t,k] + z[pad(t-1),k]*w[t-5,k] where t > 5\n"
    z = indexlang.compile(text, backend=backend)(x=np.ones((4, 3)), w=np.ones((0, 3)))
    np.testing.assert_array_equal(z, np.zeros((4, 3)))
