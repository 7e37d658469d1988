"""Arrays made where another one lies, whose last reader makes them element by element: values, and which ones are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="native code is made with llvmlite")

import indexlang as il
from indexlang.backends.native.groups import groups_of
from indexlang.backends.native.load import machine
from indexlang.plan.limits import NATIVE
from indexlang.plan.planning import plan

Array = NDArray[np.float64]
N, D = 300, 40  # an array over pairs has 360 kB
SHAPES = {"q": (N, D), "k": (N, D), "v": (N, D)}
SCORES = "s[i,j] = q[i,d]*k[j,d]\n"
POWERS = "p[i,j] = exp(s[i,j] - logsumexp[w](s[i,w]))\n"
Y = "y[i,e] = p[i,j]*v[j,e]\n"


def softmax(s: Array) -> Array:
    e = np.exp(s - s.max(1, keepdims=True))
    return np.asarray(e / e.sum(1, keepdims=True))


# text, the outputs, how many arrays lie in others, y by NumPy from s and v
CASES = {
    "softmax": (SCORES + POWERS + Y, ["y"], 1, lambda s, v: softmax(s) @ v),
    "all of it kept": (SCORES + POWERS + Y, ["y", "p"], 1, lambda s, v: softmax(s) @ v),
    "the scores kept, too": (SCORES + POWERS + Y, ["y", "s"], 0, lambda s, v: softmax(s) @ v),
    "read again": (SCORES + POWERS + Y + "y[i,e] += s[i,j]*v[j,e]\n", ["y"], 0, lambda s, v: (softmax(s) + s) @ v),
    "turned": (SCORES + "p[i,j] = exp(tanh(s[j,i]))\n" + Y, ["y"], 0, lambda s, v: np.exp(np.tanh(s)).T @ v),
    "beside its mirror image": (
        SCORES + "p[i,j] = exp(tanh(s[i,j]) - s[i,299-j])\n" + Y,
        ["y"],
        0,
        lambda s, v: np.exp(np.tanh(s) - s[:, ::-1]) @ v,
    ),
    "by a row before": (
        SCORES + "m[i] max= s[wrap(i-1),j] where i < 300\nz[i,e] = s[i,j]*v[j,e]\n"
        "p[i,j] = exp(tanh(s[i,j]) - m[i])\n" + Y + "y[i,e] += z[i,e]\n",
        ["y"],
        1,
        lambda s, v: np.exp(np.tanh(s) - np.roll(s, 1, 0).max(1)[:, None]) @ v + s @ v,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_for_the_last_time_gives_its_memory(name: str) -> None:
    text, outputs, count, hand = CASES[name]
    rng = default_rng(3)
    inputs = {n: rng.standard_normal(s).astype(np.float32) / 4 for n, s in SHAPES.items()}
    f = il.compile(text, outputs=outputs, backend="native")
    made = plan(f.program, SHAPES, dict.fromkeys(SHAPES, "float32"), NATIVE).plan
    assert sum(len(g.lying) for g in groups_of(made, machine())) == count
    wide = {n: x.astype(np.float64) for n, x in inputs.items()}
    scores = wide["q"] @ wide["k"].T
    found = f(**inputs)
    y = found["y"] if isinstance(found, dict) else found
    np.testing.assert_allclose(y, hand(scores, wide["v"]), rtol=0, atol=2e-5 * np.abs(y).max())
    if "s" in outputs:
        np.testing.assert_allclose(found["s"], scores, atol=1e-5)
    if "p" in outputs:
        np.testing.assert_allclose(found["p"], softmax(scores), atol=1e-6)


def test_gradients_lie_in_each_other() -> None:
    """Those of scores where those of their powers are; another call finds all as it was."""
    rng = default_rng(4)
    q, k, v, dy = (rng.standard_normal((N, D)).astype(np.float32) / 4 for _ in range(4))
    f = il.compile(SCORES + POWERS + Y, outputs=["y"], backend="native")
    for _ in range(2):
        y, pull = f.vjp(q=q, k=k, v=v)
        found = pull(dy)
        p = softmax((q @ k.T).astype(np.float64))
        slope = dy @ v.T
        ds = p * (slope - (slope * p).sum(1, keepdims=True))
        np.testing.assert_allclose(y, p @ v, atol=2e-5)
        for name, right in (("q", ds @ k), ("k", ds.T @ q), ("v", p.T @ dy)):
            np.testing.assert_allclose(found[name], right, atol=2e-5)
