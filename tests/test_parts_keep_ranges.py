"""Parts of a derived program run over what the whole does: sizes that a header says are equal say how far sums go."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang as il
from indexlang.derive.grad import derived
from indexlang.oracle import loops

SUM = """\
layer f(v[N], w[N]) -> R:
    R = v[l] * w[i+l] where i < N-l
"""
SPANS = """\
layer spans(e[N], R) -> z:
    c[i,i] = e[i]
    for 1 <= l < N:
        c[i,i+l] = sum[m](R * c[i,i+m]) where m < l, i < N-l
    z = c[0,N-1]
"""


def spans(e: np.ndarray, r: complex) -> complex:
    n = len(e)
    c = np.zeros((n, n), complex)
    for i in range(n):
        c[i, i] = e[i]
    for step in range(1, n):
        for i in range(n - step):
            c[i, i + step] = sum(r * c[i, i + m] for m in range(step))
    return complex(c[0, n - 1])


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_a_sum_that_a_header_ends(n: int, backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    v, w = np.random.default_rng(n).uniform(-1, 1, (2, n))
    y, pullback = il.compile(SUM, backend=backend).vjp(v=v, w=w)
    found = pullback(1.0)
    np.testing.assert_allclose(y, sum(v[k] * w[i + k] for k in range(n) for i in range(n - k)))
    np.testing.assert_allclose(found["v"], [w[k:].sum() for k in range(n)])
    np.testing.assert_allclose(found["w"], [v[: k + 1].sum() for k in range(n)])


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("checkpoint", [None, {"l": 2}])
@pytest.mark.parametrize("n", [3, 4, 7])
def test_spans(n: int, checkpoint: dict[str, int] | None, backend: str) -> None:
    if backend == "native":
        pytest.importorskip("llvmlite", reason="native code needs llvmlite")
    e = np.random.default_rng(0).uniform(size=n)
    z, pullback = il.compile(SPANS, backend=backend, checkpoint=checkpoint).vjp(e=e, R=np.float64(0.5))
    step = spans(e, 0.5 + 1e-30j)
    np.testing.assert_allclose(z, step.real)
    np.testing.assert_allclose(pullback(1.0)["R"], step.imag / 1e-30)


def test_derived_statements_alone() -> None:
    e = np.random.default_rng(0).uniform(size=5)
    program = il.compile(SPANS).program
    inside = loops.run(program, {"e": e, "R": np.float64(0.5)}, all_tensors=True)
    alone = derived(program)
    given = {"e": e, "R": np.float64(0.5), "z.grad": np.float64(1), **inside}
    found = loops.run(alone, {n: given[n] for n in alone.inputs})
    np.testing.assert_allclose(found["R.grad"], spans(e, 0.5 + 1e-30j).imag / 1e-30)


def test_an_index_of_conditions_alone_keeps_its_range() -> None:
    text = "h[w] = x[w]**2 where w < 1\ny[o] = h[o] * mean[i](tanh(h[i])) where o < 1, i < 1, o == 0, o != 1\n"
    g = il.compile(text).grad()
    again = il.compile(str(g))
    assert again.program.inputs == g.program.inputs
    assert str(again) == str(g)


def test_a_block_says_how_far_it_runs_where_what_said_so_is_gone() -> None:
    text = "P[0] = p0\nfor t:\n    P[t+1] = sin(A*P[t])\n    y[b,t] = z[b,t] * P[t]\n"
    f = il.compile(text, outputs=["y"])
    z = np.random.default_rng(0).uniform(size=(2, 5))

    def total(a: complex) -> complex:
        p, found = 0.3 + 0j, 0j
        for t in range(5):
            found += z[:, t].sum() * p
            p = np.sin(a * p)
        return found

    found = f.grad()(p0=np.float64(0.3), A=np.float64(1.2), z=z, **{"y.grad": np.ones((2, 5))})
    np.testing.assert_allclose(found["A.grad"], total(1.2 + 1e-30j).imag / 1e-30)


@pytest.mark.parametrize("shape", [(5,), (1,)])
@pytest.mark.parametrize("outputs", [["R"], ["R", "s"]])
def test_a_line_that_is_gone_may_have_said_that_sizes_are_equal(outputs: list[str], shape: tuple[int, ...]) -> None:
    text = "s[l] = v[l]*w[l]\nq = v[l]*w[i+l] where i < size(v,0)-l\nR = exp(q)\n"
    v, w = np.random.default_rng(0).uniform(0.1, 1, (2, *shape))
    n = len(v)
    q = sum(v[k] * w[i + k] for k in range(n) for i in range(n - k))
    wanted = np.exp(q) * np.array([w[k:].sum() for k in range(n)])
    f = il.compile(text, outputs=outputs)
    dy = {o: np.ones(()) if o == "R" else np.zeros(n) for o in outputs}
    names = {o: f"{o}.grad" for o in outputs}
    _, pullback = f.vjp(v=v, w=w)
    np.testing.assert_allclose(pullback(dy if len(outputs) > 1 else dy["R"])["v"], wanted)
    np.testing.assert_allclose(f.grad()(v=v, w=w, **{names[o]: dy[o] for o in outputs})["v.grad"], wanted)
    tangent = f.tangent(wrt=["v"])
    dots = tangent({**{n: {"v": v, "w": w}[n] for n in tangent.inputs if n in "vw"}, "v.dot": np.ones(n)})
    np.testing.assert_allclose(dots["R.dot"] if isinstance(dots, dict) else dots, wanted.sum())
