"""Steps that read and write where data say: positions made in the same step, and those that a condition refuses.

Values: the plain loops of the oracle.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops

Array = np.ndarray[Any, Any]

SAME_STEP = {
    "read": "for t:\n    k[t] = argmax[i](x[t,i] + s[pad(t-1)])\n    s[t] = x[t,k[t]]",
    "beside others": "for t:\n    k[t] = argmax[i](x[t,i] - s[pad(t-1)])\n    s[t] = x[t,k[t]] + x[clamp(t-1),k[t]]",
    "refused": "for t:\n    k[t] = argmax[i](x[t,i] + s[pad(t-1)]) - 1\n    s[t] = x[t,k[t]] where k[t] >= 0",
    "condition": (
        "for t:\n    q[t] = int(floor(x[t,0] + s[pad(t-1)]))\n    s[t] = x[t,p[t]] where q[t] == 0 or not q[t] < 1"
    ),
    "written": (
        "shape c[5]\nfor t:\n    k[t] = argmax[i](x[t,i] + s[pad(t-1)])\n    s[t] = x[t,k[t]]\n"
        "    c[k[t]] += s[t] where s[t] > 0"
    ),
}
TREE = """layer tree(x[N,K], left[N], right[N], U[K,K]) -> s[N,K]:
    for n:
        s[n,k] = tanh(x[n,k])
        s[n,k] += U[l,k] * s[left[n],l] where left[n] >= 0
        s[n,k] += U[l,k] * s[right[n],l] where not right[n] == 99, n > 1
"""


def agree(text: str, backend: str, given: dict[str, Array]) -> None:
    f = indexlang.compile(text, backend=backend)
    expected = loops(f.program, given)
    y, pullback = f.vjp(given)
    found = y if isinstance(y, dict) else {f.outputs[0]: y}
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-12, atol=1e-12)
    cotangents = {n: np.random.default_rng(1).normal(size=v.shape) for n, v in found.items()}
    told = loops(f.grad().program, {**given, **{f"{n}.grad": c for n, c in cotangents.items()}})
    for name, value in pullback(cotangents if isinstance(y, dict) else cotangents[f.outputs[0]]).items():
        np.testing.assert_allclose(value, told[f"{name}.grad"], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("case", SAME_STEP)
def test_a_position_is_made_before_it_is_asked_for(case: str, backend: str) -> None:
    rng = np.random.default_rng()
    given: dict[str, Array] = {"x": rng.normal(size=(7, 5))}
    if "p[t]" in SAME_STEP[case]:
        given["p"] = rng.integers(0, 5, 7)
    agree(SAME_STEP[case], backend, given)


def nodes(rng: np.random.Generator) -> dict[str, Array]:
    left, right = np.array([-1, -1, 0, -1, 2, 3]), np.array([77, -5, 1, 99, 0, 1])
    return {"x": rng.normal(size=(6, 3)), "U": rng.normal(size=(3, 3)), "left": left, "right": right}


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_refused_position_may_be_any(backend: str) -> None:
    agree(TREE, backend, nodes(np.random.default_rng()))


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize(
    ("name", "at", "wrong", "said"),
    [
        ("left", 4, 9, "out of range"),
        ("right", 3, 98, "out of range"),
        ("right", 2, -1, "out of range"),
        ("left", 4, 5, "before it is made"),
    ],
)
def test_a_position_that_counts_is_looked_at(backend: str, name: str, at: int, wrong: int, said: str) -> None:
    given = nodes(np.random.default_rng())
    given[name][at] = wrong
    with pytest.raises(indexlang.errors.ShapeError, match=said):
        indexlang.compile(TREE, backend=backend)(given)


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_positions_that_functions_compute(backend: str) -> None:
    text = """h[0,k] = x[0,k]
for t:
    h[t+1,k] = 0.5 * h[int(floor(0.7*t)),k] + x[int(sqrt(t)),k] * x[t,k]
"""
    agree(text, backend, {"x": np.random.default_rng().normal(size=(5, 2))})
    with pytest.raises(indexlang.errors.ShapeError, match="before it is made"):
        indexlang.compile(text.replace("0.7", "1.3"), backend=backend)(x=np.ones((5, 2)))


def test_every_position_of_a_long_block_is_looked_at() -> None:
    left = np.zeros((30_000, 80), np.int64)
    left[15_038, 5] = 15_039
    f = indexlang.compile("for t:\n    h[t+1] = sum[i](h[left[t,i]]) + x[t]\n", backend="numpy")
    with pytest.raises(indexlang.errors.ShapeError, match="before it is made: at the step t = 15038"):
        f(left=left, x=np.ones(30_000))


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_a_sum_over_what_all_steps_make_comes_too_early(backend: str) -> None:
    """The sum is about no step, and would stand in front of the block that makes what it is of."""
    text = "shape h[6]\nfor t < 3:\n    q[t+1] = q[t] + sum[k](h[k]) where k < 6\n    h[2*t+k] = x[t,k] + q[t]\n"
    with pytest.raises(indexlang.ShapeError, match="'h' is read before it is made: at the step t = 0"):
        indexlang.compile(text, backend=backend)(x=np.ones((3, 2)))


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("at", ["x[idx[t,k],k]", "h[t,idx[t,k]]"])
def test_a_position_outside_is_told_from_the_middle_of_a_block(at: str, backend: str) -> None:
    """Native code goes through all steps in one call: what refuses there says why, and the next call is as ever."""
    f = indexlang.compile(f"h[0,k] = 1\nfor t:\n    h[t+1,k] = 0.5*{at}*tanh(x[t,k])\n", backend=backend)
    rng = np.random.default_rng()
    x, idx = rng.normal(size=(20, 4)), rng.integers(0, 4, (20, 4))
    right = f(x=x, idx=idx)
    wrong = idx.copy()
    wrong[7, 2] = 20
    with pytest.raises(indexlang.ShapeError, match=r"idx\[t,k\] = 20"):
        f(x=x, idx=wrong)
    np.testing.assert_array_equal(f(x=x, idx=idx), right)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("h[t+1,k] = tanh(h[t,a[t,k]]) + x[t,k]", ("a position in h is", "a[t,k] = 7", "axis 1 of h has size 3")),
        ("h[t+1,a[t,k]] += h[t,k]*x[t,k]", ("a position in h is", "a[t,k] = 7", "axis 1 of h has size 3")),
        ("h[t+1,k] = h[t,k]*x[t,int(h[t,k])+a[t,k]]", ("a position in x is", "int(h[t,k])+a[t,k] = 7", "axis 1 of x")),
    ],
)
def test_errors_of_a_step_name_the_tensors_of_the_text(
    line: str, said: tuple[str, ...], backend: Literal["numpy", "native"]
) -> None:
    text = f"layer f(x[T,K], a[T,K]) -> h[T+1,K]:\n    h[0,k] = 0\n    for t:\n        {line}"
    f = indexlang.compile(text, backend=backend)
    with pytest.raises(indexlang.ShapeError) as told:
        f(x=np.zeros((2, 3)), a=np.array([[0, 1, 2], [0, 7, 2]]))
    assert all(part in str(told.value) for part in said)
    derived = f.tangent(["x"])
    with pytest.raises(indexlang.ShapeError) as told:
        derived(**{n: np.array([[0, 1, 2], [0, 7, 2]]) if n == "a" else np.zeros((2, 3)) for n in derived.inputs})
    assert said[2] in str(told.value)
