"""Arrays that are written where others are read for the last time: the same values in less memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import load
from indexlang.backends.native.reusing import reused
from indexlang.plan.buffers import buffers_of
from indexlang.plan.limits import NATIVE
from indexlang.plan.plan import Plan
from indexlang.plan.planning import plan

Array = np.ndarray
Shapes = Mapping[str, tuple[int, ...]]

ATTENTION = """s[h,i,j] = q[i,h,d] * k[j,h,d] / 4
p[h,i,j] = exp(s[h,i,j] - logsumexp[l](s[h,i,l]))
y[i,h,d] = p[h,i,j] * v[j,h,d]"""


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan and nest."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


def attention(q: Array, k: Array, v: Array, dy: Array) -> dict[str, Array]:
    """Head by head, with gradients."""
    found = {name: np.zeros(q.shape) for name in ("y", "q", "k", "v")}
    for h in range(q.shape[1]):
        s = q[:, h] @ k[:, h].T / 4
        e = np.exp(s - s.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        dp = dy[:, h] @ v[:, h].T
        ds = p * (dp - (p * dp).sum(1, keepdims=True)) / 4
        found["y"][:, h], found["v"][:, h] = p @ v[:, h], p.T @ dy[:, h]
        found["q"][:, h], found["k"][:, h] = ds @ k[:, h], ds.T @ q[:, h]
    return found


def assert_near(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("n", [5, 60, 96, 150])
@pytest.mark.parametrize("threads", [1, 2])
def test_attention(n: int, threads: int) -> None:
    rng = np.random.default_rng(n)
    q, k, v, dy = (rng.standard_normal((n, 2, 16)).astype(np.float32) for _ in range(4))
    wanted = attention(*(a.astype(np.float64) for a in (q, k, v, dy)))
    indexlang.set_num_threads(threads)
    try:
        f = indexlang.compile(ATTENTION, outputs=["y"], backend="native")
        for _ in range(2):
            y, pullback = f.vjp(q=q, k=k, v=v)
            for name, found in {"y": y, **pullback(dy)}.items():
                assert_near(np.asarray(found), wanted[name])
    finally:
        indexlang.set_num_threads(None)


def planned(text: str, outputs: list[str], shapes: Shapes) -> Plan:
    program = indexlang.compile(text, outputs=outputs).program
    return plan(program, shapes, dict.fromkeys(shapes, "float32"), NATIVE).plan


def arrays(made: Plan) -> set[str]:
    return {b.name for s in made.sections for b in buffers_of(s.steps)}


PRODUCT = "s[i,j] = a[i,k] * b[k,j]\n"


@pytest.mark.parametrize("n", [100, 127, 128, 200])
def test_large_arrays_are_reused(n: int) -> None:
    made = planned(PRODUCT + "m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]", ["p"], {"a": (n, 9), "b": (9, n)})
    tight, steps = reused(made)
    assert len(arrays(made)) - len(arrays(tight)) == len(steps) == (4 * n * n >= 1 << 16)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("m[j] max= s[i,j]\np[i,j] = s[j,i] - m[j]", ["p"]),  # other elements
        ("m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]", ["p", "s"]),  # whose value is given
        ("m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]\nr[i] = p[i,j] * s[i,j]", ["p", "r"]),  # which is read again
        ("p[i,j] = s[i,j] - sum[l](s[i,l]**2)", ["p"]),  # all of a row
    ],
)
def test_what_is_needed_stays(text: str, outputs: list[str]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((150, 20), (20, 150)))
    made = planned(PRODUCT + text, outputs, {"a": a.shape, "b": b.shape})
    names = {b.name for _, p, _ in reused(made)[0].outputs for b in [p.buffer]}
    assert names == {p.buffer.name for _, p, _ in made.outputs}
    found = indexlang.compile(PRODUCT + text, outputs=outputs, backend="native")(a=a, b=b)
    found = found if isinstance(found, dict) else {outputs[0]: found}
    s = a.astype(np.float64) @ b
    p = (s.T if "s[j,i]" in text else s) - ((s**2).sum(1, keepdims=True) if "l" in text else s.max(0))
    wanted = {"p": p, "s": s, "r": (p * s).sum(1)}
    for name in outputs:
        assert_near(found[name], wanted[name])


def test_one_after_the_other() -> None:
    """Three arrays in the memory of one."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((150, 20), (20, 150), (150, 150)))
    text = PRODUCT + "m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]\ny[i,l] = p[i,j] * c[j,l]"
    f = indexlang.compile(text, outputs=["y"], backend="native")
    s = a.astype(np.float64) @ b
    assert_near(f(a=a, b=b, c=c), (s - s.max(0)) @ c)
    _, groups = load.grouped(planned(text, ["y"], {"a": a.shape, "b": b.shape, "c": c.shape}))
    assert sum(b.shape == (150, 150) for g in groups for b, _ in g.written) <= 2
