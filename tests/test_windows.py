"""What only the next steps read is kept for as many steps as are read back. Values: the plain loops of the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

import indexlang
from indexlang.oracle import loops
from indexlang.staged.cutting import staged

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Backend = Literal["numpy", "native"]


@dataclass(frozen=True)
class Case:
    """A program, the shapes of its inputs (0: as many as there are steps), and how many positions of which axis of its
    tensors are kept, if there are more.
    """

    text: str
    shapes: dict[str, Shape]
    kept: dict[str, tuple[int, int]]


RNN = """layer rnn(x[T,I], h0[K], V[I,K], U[K,K], b[K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = h0[k]
    for t:
        a[t,k] = V[i,k] * x[t,i]
        a[t,k] += U[l,k] * h[t,l]
        h[t+1,k] = tanh(a[t,k] + b[k])
    y[k] = h[T,k]
"""
OF_RNN: dict[str, Shape] = {"x": (0, 2), "h0": (3,), "V": (2, 3), "U": (3, 3), "b": (3,)}
OF_TWO: dict[str, Shape] = {"x": (0, 3), "p": (3,)}
CASES = {
    "rnn": Case(RNN, OF_RNN, {"h": (0, 2)}),
    "several tensors": Case(
        """layer lstm(x[T,K], U[K,K], b[K]) -> y[K]:
    shape h[T+1,K], c[T+1,K]
    h[0,k] = 0 * b[k]
    c[0,k] = b[k]
    for t:
        f[t,k] = sigmoid(x[t,k] + sum[l](U[l,k] * h[t,l]))
        c[t+1,k] = f[t,k] * c[t,k] + (1 - f[t,k]) * x[t,k]
        h[t+1,k] = tanh(c[t+1,k])
    y[k] = h[T,k] + c[T,k]
""",
        {"x": (0, 3), "U": (3, 3), "b": (3,)},
        {"h": (0, 2), "c": (0, 2)},
    ),
    "a maximum": Case(
        """layer viterbi(e[T,N], A[N,N], p[N]) -> y[]:
    shape v[T+1,N]
    v[0,j] = p[j]
    for t:
        v[t+1,j] max= v[t,i] + A[i,j] + e[t,j]
    y max= v[T,j]
""",
        {"e": (0, 3), "A": (3, 3), "p": (3,)},
        {"v": (0, 2)},
    ),
    "two steps back": Case(
        """layer two(x[T,K], p[K], q[K]) -> y[K]:
    shape z[T+2,K]
    z[0,k] = p[k]
    z[1,k] = q[k]
    for t:
        z[t+2,k] = z[t+1,k] - 0.5 * z[t,k] + x[t,k]
    y[k] = z[T,k] * z[T+1,k]
""",
        {"x": (0, 3), "p": (3,), "q": (3,)},
        {"z": (0, 3)},
    ),
    "first elements that nobody makes": Case(
        """layer unmade(x[T,K], p[K]) -> y[K]:
    shape z[T+3,K]
    z[0,k] = p[k]
    for t:
        z[t+3,k] = z[t+2,k] + 0.5 * z[t+1,k] - z[t,k] + x[t,k]
    y[k] = z[T+2,k] + z[T,k]
""",
        OF_TWO,
        {"z": (0, 4)},
    ),
    "backwards": Case(
        """layer backwards(x[T,K], p[K]) -> y[K]:
    shape h[T+1,K]
    h[T,k] = p[k]
    for t < T reversed:
        h[t,k] = tanh(h[t+1,k] * x[t,k])
    y[k] = h[0,k]
""",
        OF_TWO,
        {"h": (0, 2)},
    ),
    "a padding": Case(
        """layer padded(x[T,K]) -> y[K]:
    shape h[T,K]
    for t:
        h[t,k] = 0.5 * h[pad(t-1, value=2),k] + x[t,k]
    y[k] = h[T-1,k]
""",
        {"x": (0, 3)},
        {"h": (0, 2)},
    ),
    "lengths": Case(
        """layer lengths(x[T,B], n[B], p[B]) -> y[B]:
    shape h[T+1,B]
    h[0,b] = p[b]
    for t:
        h[t+1,b] = h[t,b] + x[t,b] where t < n[b]
        h[t+1,b] = h[t,b] where t >= n[b]
    y[b] = h[T,b]
""",
        {"x": (0, 3), "n": (3,), "p": (3,)},
        {"h": (0, 2)},
    ),
    "steps in steps": Case(
        """layer inner(x[T,K], p[K]) -> y[K]:
    shape m[T,3,K], h[T+1,K]
    h[0,k] = p[k]
    for t:
        for r < 3:
            m[t,r,k] = tanh(0.5 * m[t,pad(r-1),k] + h[t,k] * x[t,k])
        h[t+1,k] = m[t,2,k] - m[t,0,k]
    y[k] = h[T,k]
""",
        OF_TWO,
        {"h": (0, 2), "m": (0, 1)},
    ),
    "examples first": Case(
        """layer batched(x[B,T,K], U[K,K], p[B,K]) -> y[B,K]:
    shape h[B,T+1,K]
    h[b,0,k] = p[b,k]
    for t:
        h[b,t+1,k] = tanh(x[b,t,k] + sum[l](U[l,k] * h[b,t,l]))
    y[b,k] = h[b,T,k]
""",
        {"x": (2, 0, 3), "U": (3, 3), "p": (2, 3)},
        {"h": (1, 2)},
    ),
    "an output": Case(RNN.replace("-> y[K]", "-> y[K], h"), OF_RNN, {}),
    "an early step behind the block": Case(RNN.replace("h[T,k]", "h[T,k] + h[0,k]"), OF_RNN, {}),
    "an early step in the block": Case(RNN.replace("tanh(", "tanh(0.5 * h[0,k] + "), OF_RNN, {}),
    "half a step": Case(RNN.replace("h[t,l]", "h[t//2,l]"), OF_RNN, {}),
    "an element that no step makes": Case(
        """layer some(x[T,K], p[K]) -> y[K]:
    shape h[T+1,K]
    h[0,k] = p[k]
    for t:
        h[t+1,k] = h[t,k] + h[t,2] + x[t,k] where k < 2
    y[k] = h[T,k]
""",
        OF_TWO,
        {"h": (0, 2)},
    ),
    "a step that reads what no step makes": Case(
        """layer unset(x[T,K], p[K]) -> y[K]:
    shape m[T,4,K], h[T+1,K]
    h[0,k] = p[k]
    for t:
        for r < 3:
            m[t,r,k] = tanh(0.5 * m[t,pad(r-1),k] + h[t,k] * x[t,k])
        h[t+1,k] = m[t,2,k] - m[t,3,k]
    y[k] = h[T,k]
""",
        OF_TWO,
        {"h": (0, 2)},
    ),
    "inner steps that end earlier": Case(
        """layer less(x[T,K], p[K]) -> y[K]:
    shape m[T,T,K], h[T+1,K]
    h[0,k] = p[k]
    for t:
        for r < T-t:
            m[t,r,k] = tanh(0.5 * m[t,pad(r-1),k] + h[t,k] * x[t,k])
        h[t+1,k] = m[t,0,k] - m[t,T-1,k]
    y[k] = h[T,k]
""",
        OF_TWO,
        {"h": (0, 2)},
    ),
}


def arrays(case: Case, steps: int) -> dict[str, Array]:
    """Inputs for so many steps; lengths are integers."""
    rng = np.random.default_rng(7)
    found: dict[str, Array] = {n: rng.normal(size=[d or steps for d in s]) for n, s in case.shapes.items()}
    return found | ({"n": np.array([0, 2, 9])} if "n" in found else {})


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("name", CASES)
def test_what_is_kept(name: str, steps: int) -> None:
    case = CASES[name]
    given = arrays(case, steps)
    f = indexlang.compile(case.text, backend="numpy")
    found, _ = staged(f.program, {n: a.shape for n, a in given.items()}, {n: a.dtype.name for n, a in given.items()})
    expected = {b.tensor: b.shape for b in found.buffers}
    for tensor, (axis, length) in case.kept.items():
        whole = expected[tensor]
        expected[tensor] = tuple(min(length, n) if k == axis else n for k, n in enumerate(whole))
    assert {b.tensor: b.kept for b in found.buffers} == expected


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, steps: int, backend: Backend) -> None:
    case = CASES[name]
    given = arrays(case, steps)
    f = indexlang.compile(case.text, backend=backend)
    expected = loops.run(f.program, given)
    for _ in range(4):  # from the third call on it goes another way
        found = f(given)
        for output, value in (found if isinstance(found, dict) else {"y": found}).items():
            np.testing.assert_allclose(value, expected[output], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("name", ["rnn", "several tensors", "a maximum", "two steps back", "backwards", "padded"])
def test_gradients(name: str, steps: int, backend: Backend) -> None:
    """The states of all steps are there for the gradients."""
    case = CASES["a padding" if name == "padded" else name]
    given = arrays(case, steps)
    f = indexlang.compile(case.text, backend=backend)
    y, pullback = f.vjp(given)
    dy = np.random.default_rng(8).normal(size=np.shape(y))
    g = f.grad()
    expected = loops.run(g.program, given | {"y.grad": dy})
    np.testing.assert_allclose(y, loops.run(f.program, given)["y"], rtol=1e-12, atol=1e-13)
    for name_, value in pullback(dy).items():
        np.testing.assert_allclose(value, expected[f"{name_}.grad"], rtol=1e-10, atol=1e-12)
    for name_, value in g(given | {"y.grad": dy}).items():
        np.testing.assert_allclose(value, expected[name_], rtol=1e-10, atol=1e-12)
