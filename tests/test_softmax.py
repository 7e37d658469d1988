"""Softmax in the ways in which it is written: two derived statements, right beside what knows nothing of softmax."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.program.ir import Program
from indexlang.program.text import statement_text, to_text
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text + "\n")))


DERIVED = ["d[b] = p.grad[b,k] * p[b,k]", "s.grad[b,k] += p[b,k] * (p.grad[b,k] - d[b])"]
OF_THE_LOGARITHM = ["d[b] = p.grad[b,k]", "s.grad[b,k] += p.grad[b,k] - exp(p[b,k]) * d[b]"]

WAYS = [
    "p[b,k] = exp(s[b,k] - logsumexp[l](s[b,l]))",
    "p[b,k] = exp(s[b,k]) / sum[l](exp(s[b,l]))",
    "z[b] = exp(s[b,k])\np[b,k] = exp(s[b,k]) / z[b]",
    "e[b,k] = exp(s[b,k])\nz[b] += e[b,k]\np[b,k] = e[b,k] / z[b]",
    "m[b] max= s[b,k]\ne[b,k] = exp(s[b,k] - m[b])\nz[b] = e[b,k]\np[b,k] = e[b,k] / z[b]",
    "m[b] max= s[b,k]\ne[b,k] = exp(s[b,k] - m[b])\nz[b] = e[b,k]\np[b,k] = e[b,k] * (1 / z[b])",
    "p[b,k] = exp(s[b,k] - max[j](s[b,j])) / sum[l](exp(s[b,l] - max[j](s[b,j])))",
    "m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b])\nl[b] = m[b] + log(z[b])\np[b,k] = exp(s[b,k] - l[b])",
]
LOGARITHMS = [
    "p[b,k] = s[b,k] - logsumexp[l](s[b,l])",
    "p[b,k] = s[b,k] - log(sum[l](exp(s[b,l])))",
    "m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b])\np[b,k] = s[b,k] - m[b] - log(z[b])",
    "m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b])\nl[b] = log(z[b]) + m[b]\np[b,k] = -l[b] + s[b,k]",
]


@pytest.mark.parametrize("text", WAYS + LOGARITHMS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (1, 4), (4, 1)])
def test_two_statements(text: str, shape: tuple[int, int]) -> None:
    derived = grad.backward(program(text))
    expected = DERIVED if text in WAYS else OF_THE_LOGARITHM
    assert [statement_text(s) for s in derived.statements[-2:]] == expected
    assert program(to_text(derived)) == derived
    s, g = np.random.default_rng(0).standard_normal((2, *shape))
    p = np.exp(s) / np.exp(s).sum(1, keepdims=True)
    by_hand = p * (g - (g * p).sum(1, keepdims=True)) if text in WAYS else g - p * g.sum(1, keepdims=True)
    _, pullback = indexlang.compile(text).vjp(s=s)
    assert np.allclose(pullback(g)["s"], by_hand, rtol=1e-12, atol=1e-14)
    assert all(row.ok for row in gradcheck.gradcheck(program(text), {"s": s}))


@pytest.mark.parametrize("text", WAYS + LOGARITHMS)
def test_the_second_derivative(text: str) -> None:
    s, g = np.random.default_rng(1).standard_normal((2, 2, 3))
    rows = gradcheck.gradcheck(grad.backward(program(text)), {"s": s, "p.grad": g})
    assert {r.tensor for r in rows} == {"s", "p.grad"}
    assert all(r.ok for r in rows), rows


# What is one, with masks, several indices, an exponent of its own; and what only looks like one. The right gradient
# of each comes from the complex step.
MASKED = "s[t,u] = q[t,i]*k[u,i]\ne[t,u] = exp(s[t,u]) where u <= t\nz[t] = e[t,u]\np[t,u] = e[t,u]/z[t]"
OTHERS = {
    "p[t,u] = exp(s[t,u] - logsumexp[w](s[t,w])) where u <= t, w <= t": True,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[t,w])) where u <= t, w <= t": True,
    MASKED: True,
    "p[b,i,j] = exp(x[b,i,j]/2) / sum[k,l](exp(x[b,k,l]/2))": True,
    "p[b,i,j] = exp(x[b,i,j]/2) / sum[k,l](exp(x[b,l,k]/2))": True,
    "p[k] = exp(s[k,0]*w[k] + c) / sum[l](exp(s[l,0]*w[l] + c))": True,
    "p[b,k] = exp(s[b,k] - max[j](s[b,j])/2) / sum[l](exp(s[b,l] - max[j](s[b,j])/2))": True,
    "p[...,k] = exp(s[...,k]) / sum[l](exp(s[...,l]))": True,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[t,w])) where u <= t": False,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[t,w])) where w <= t": False,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[t,w])) where u < 2": False,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[w,t]))": False,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(2*s[t,w]))": False,
    "p[t,u] = exp(s[t,u]) / sum[w](exp(s[t,w])*w)": False,
    "p[t,u] = s[t,u] - logsumexp[w](s[t,w] + s[w,t])": False,
    "p[t,u] = exp(s[t,u] + logsumexp[w](s[t,w]))": False,
    "p[t] = exp(s[t,0]) / sum[w](exp(s[t,w]))": False,
    "z[t] = exp(s[t,u])\nz[t] += 1\np[t,u] = exp(s[t,u]) / z[t]": False,
    "e[t,u] = exp(s[t,u]) where u < 2\nz[t] = e[t,u]\np[t,u] = exp(s[t,u]) / z[t]": False,
    "p[b,k] = exp(s[b,k] - max[j](s[b,j])) / sum[l](exp(s[b,l]))": False,  # the maximum does not cancel
}


@pytest.mark.parametrize("text", OTHERS)
def test_each_is_right(text: str) -> None:
    f = indexlang.compile(text)
    shapes = {"s": (3, 3), "x": (2, 3, 3), "q": (3, 2), "k": (3, 2), "w": (3,), "c": ()}
    rng = np.random.default_rng(2)
    inputs = {n: np.asarray(rng.standard_normal(shapes[n])) for n in f.inputs}
    assert all(row.ok for row in gradcheck.gradcheck(f.program, inputs)), text
    derived = grad.backward(f.program)
    assert any(s.target.tensor.startswith("d") and s.op == "=" for s in derived.statements) == OTHERS[text]
    assert program(to_text(derived)) == derived


def test_equal_maxima_cancel_too() -> None:
    s = np.zeros((2, 3))
    for text in WAYS + LOGARITHMS:
        _, pullback = indexlang.compile(text).vjp(s=s)
        g = np.arange(6.0).reshape(2, 3)
        p = np.full((2, 3), 1 / 3)
        by_hand = p * (g - (g * p).sum(1, keepdims=True)) if text in WAYS else g - p * g.sum(1, keepdims=True)
        assert np.allclose(pullback(g)["s"], by_hand)


def test_what_is_asked_for_keeps_its_gradient() -> None:
    text = "m[b] max= s[b,k]\ne[b,k] = exp(s[b,k] - m[b])\nz[b] = e[b,k]\np[b,k] = e[b,k] / z[b]"
    s, g = np.random.default_rng(3).standard_normal((2, 2, 4))
    e = np.exp(s - s.max(1, keepdims=True))
    z = e.sum(1, keepdims=True)
    by_e = g / z - (g * e).sum(1, keepdims=True) / z**2
    _, pullback = indexlang.compile(text).vjp(s=s)
    derived = grad.backward(program(text), ["e", "s", "m"])
    values = {n: {"s": s, "p.grad": g}[n] for n in derived.inputs}
    found = indexlang.compile(to_text(derived))(**values)
    assert np.allclose(found["e.grad"], by_e)
    assert np.allclose(found["s.grad"], pullback(g)["s"])
    assert np.allclose(found["m.grad"], 0)


@pytest.mark.parametrize(
    ("text", "cancels"),
    [
        (
            "m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b])\ny[b] = m[b] * exp(s[b,0] - m[b]) / z[b]",
            False,
        ),
        ("m[b] max= s[b,k]\ne[b,k] = exp(s[b,k] - m[b])\nz[b] = e[b,k]\nz[b] += 1", False),
        ("m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b])\nl[b] = 2*m[b] + log(z[b])", False),
        ("m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[k])\nl[b] = m[b] + log(z[b])", False),
        ("m[b] max= s[b,k]\nu[b,k] = s[b,k] - m[b] where k <= b\nz[b] = exp(u[b,k])\nl[b] = m[b] + log(z[b])", False),
        ("m[b] max= s[b,k]\nz[b] = exp(s[b,k] - m[b]) where s[b,k] > m[b] - 1\nl[b] = m[b] + log(z[b])", False),
        ("m max= s[b,k]\nz[] = exp(s[b,k] - m)\nl[] = m + log(z)", True),
        ("m[b] min= s[b,k]\nz[b] = exp(2*(s[b,k] - m[b]))\nl[b] = m[b] + log(z[b])/2", True),
        ("m[b] min= s[b,k]\nz[b] = exp(s[b,k]*2 - m[b])**2\nl[b] = m[b]*2 + log(z[b])", True),
    ],
)
def test_maxima_that_cancel_and_that_do_not(text: str, cancels: bool) -> None:
    s = np.random.default_rng(4).standard_normal((3, 3))
    assert all(row.ok for row in gradcheck.gradcheck(program(text), {"s": s}))
    derived = grad.backward(program(text))
    assert any(x.target.tensor == "m.grad" for x in derived.statements) != cancels
