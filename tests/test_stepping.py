"""Blocks that native code goes through in one call: the same values as steps that Python goes through, whatever the
arrays look like. Values: the plain loops of the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.oracle.loops import run as loops
from indexlang.staged import compiled
from indexlang.staged.repeated import Steps
from indexlang.threads import num_threads

Array = np.ndarray[Any, Any]

RNN = """layer rnn(x[T,B,I], h0[B,K], V[I,K], U[K,K]) -> h[T+1,B,K]:
    h[0,n,k] = h0[n,k]
    for t:
        a[t,n,k] = sum[i](V[i,k] * x[t,n,i]) + sum[l](U[l,k] * h[t,n,l])
        h[t+1,n,k] = tanh(a[t,n,k])
"""
BEHIND = """layer behind(x[B,T,K], U[K,K]) -> h[B,T,K]:
    for t:
        h[b,t,k] = tanh(x[b,t,k] + sum[l](U[l,k] * h[b,pad(t-1,value=0.5),l]))
"""
NESTED = """layer nested(x[T,N,K]) -> h[T,N,K]:
    for t reversed:
        for n:
            h[t,n,k] = x[t,n,k] + 0.5 * h[t,pad(n-1),k] * h[pad(t+1),n,k]
"""
ADDED = """layer added(x[T,K], U[K,K]) -> s[T,K]:
    s[t,k] += x[t,k]
    for 1 <= t < T:
        s[t,k] += U[l,k] * tanh(s[t-1,l])
"""
COUNTED = """layer counted(x[T,K], n[K]) -> h[T+1,K]:
    h[0,k] = 1
    for t:
        h[t+1,k] = where(t < n[k], h[t,k] * x[t,k] + t, h[t,k])
"""
CHOLESKY = """layer cholesky(A[N,N]) -> L[N,N]:
    for i:
        for j < i:
            s[i,j] = sum[k](L[i,k] * L[j,k]) where k < j
            L[i,j] = (A[i,j] - s[i,j]) / L[j,j]
        L[i,i] = sqrt(A[i,i] - sum[k](L[i,k]**2)) where k < i
"""
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    RNN: {"x": (9, 3, 5), "h0": (3, 7), "V": (5, 7), "U": (7, 7)},
    BEHIND: {"x": (3, 6, 17), "U": (17, 17)},
    NESTED: {"x": (4, 5, 3)},
    ADDED: {"x": (6, 33), "U": (33, 33)},
    COUNTED: {"x": (5, 18), "n": (18,)},
}


@pytest.fixture
def stepped(monkeypatch: pytest.MonkeyPatch) -> list[Steps]:
    """The blocks that became one call."""
    found: list[Steps] = []
    made: Callable[..., dict[int, Steps]] = compiled._in_one_call

    def noted(*args: Any) -> dict[int, Steps]:
        steps = made(*args)
        found.extend(steps.values())
        return steps

    monkeypatch.setattr(compiled, "_in_one_call", noted)
    return found


def arrays(text: str, rng: np.random.Generator, dtype: str) -> dict[str, Array]:
    """Inputs; numbers of steps are integers."""
    sizes = SIZES[text]
    return {n: rng.integers(0, 4, s) if n == "n" else rng.normal(size=s).astype(dtype) * 0.5 for n, s in sizes.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", SIZES)
def test_a_block_is_one_call(text: str, dtype: str, stepped: list[Steps]) -> None:
    rng = np.random.default_rng()
    f = indexlang.compile(text, backend="native")
    given = arrays(text, rng, dtype)
    found = f(**given)
    assert stepped, "no block became one call"
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(found, loops(f.program, given)[f.outputs[0]], tolerance, tolerance)
    cotangent = rng.normal(size=found.shape).astype(dtype)
    _, pullback = f.vjp(**given)
    g = f.grad()
    wanted = loops(g.program, {**given, f"{f.outputs[0]}.grad": cotangent})
    for name, gradient in pullback(cotangent).items():
        np.testing.assert_allclose(gradient, wanted[f"{name}.grad"], 20 * tolerance, 20 * tolerance)


@pytest.mark.parametrize("text", SIZES)
def test_it_does_not_matter_how_arrays_lie(text: str, stepped: list[Steps]) -> None:
    rng = np.random.default_rng()
    f = indexlang.compile(text, backend="native")
    given = arrays(text, rng, "float32")
    wanted = f(**given)
    for lies in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=-1)[..., ::2], lambda a: a[::-1].copy()[::-1]):
        found = f(**{n: lies(a) for n, a in given.items()})
        np.testing.assert_array_equal(found, wanted)
        assert found.flags.c_contiguous
    read_only = {n: a.copy() for n, a in given.items()}
    for a in read_only.values():
        a.flags.writeable = False
    np.testing.assert_array_equal(f(**read_only), wanted)


def test_calls_from_several_threads_meet_nowhere() -> None:
    from concurrent.futures import ThreadPoolExecutor

    f = indexlang.compile(RNN, backend="native")
    rng = np.random.default_rng()
    several = [arrays(RNN, rng, "float32") for _ in range(8)]
    wanted = [f(**given) for given in several]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            for found, one in zip(pool.map(lambda given: f(**given), several), wanted, strict=True):
                np.testing.assert_array_equal(found, one)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_bits_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    sizes = {"x": (12, 33, 40), "h0": (33, 130), "V": (40, 130), "U": (130, 130)}
    rng = np.random.default_rng(1)
    given = {n: rng.normal(size=s).astype("f") * 0.1 for n, s in sizes.items()}
    f = indexlang.compile(RNN, backend="native")
    before = num_threads()
    try:
        indexlang.set_num_threads(1)
        y, pull = f.vjp(**given)
        alone = pull(np.ones_like(y))
        indexlang.set_num_threads(threads)
        again, pull = f.vjp(**given)
        np.testing.assert_array_equal(again, y)
        for name, gradient in pull(np.ones_like(y)).items():
            np.testing.assert_array_equal(gradient, alone[name])
    finally:
        indexlang.set_num_threads(before)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("n", [1, 2, 7, 33])
def test_a_factorisation(n: int, backend: str) -> None:
    rng = np.random.default_rng()
    root = rng.normal(size=(n, n))
    given = root @ root.T + n * np.eye(n)
    f = indexlang.compile(CHOLESKY, backend=backend)
    np.testing.assert_allclose(f(A=given), np.linalg.cholesky(given), 1e-10, 1e-10)
    _, pullback = f.vjp(A=given)
    cotangent, along, step = rng.normal(size=(n, n)), rng.normal(size=(n, n)), 1e-6
    along += along.T  # the upper half is never read
    apart = np.linalg.cholesky(given + step * along) - np.linalg.cholesky(given - step * along)
    wanted = np.sum(cotangent * apart) / (2 * step)
    np.testing.assert_allclose(np.sum(pullback(cotangent)["A"] * np.tril(along)), wanted, 1e-5, 1e-6)


@pytest.mark.parametrize("backend", ["numpy", "native"])
def test_what_a_mask_refuses_is_not_written_beside(backend: str) -> None:
    """At the last step z[s-1] would be outside; where it is put instead, z[s] is written by the same step."""
    text = """\
layer back(g[B,S,N]) -> z[B,S,N]:
    z[b,j,i] += g[b,j,i]
    for s < 2 reversed:
        z[b,s,i] += 2 * z[b,s+1,i] where s > 0
        z[b,s-1,i] += -z[b,s+1,i] where s > 0
        d[b,s,i] += 0.125 * z[b,s+1,i] where s == 0
        z[b,s,pad(i,1)] += d[b,s,i] where i < N
"""
    f = indexlang.compile(text, backend=backend)
    g = np.random.default_rng(1).standard_normal((2, 3, 4))
    np.testing.assert_allclose(f(g=g), loops(f.program, {"g": g})["z"], rtol=1e-12)
