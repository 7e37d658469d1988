"""What a variance does not depend on, and what stands between a mean and its elements: shorter, and as right."""

from __future__ import annotations

import numpy as np
import pytest

from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck
from indexlang.program.ir import Program
from indexlang.program.text import statement_text, to_text
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text + "\n")))


MEAN, SHAPES = "mu[c] = mean[b](x[b,c])\n", {"x": (4, 3), "z": (4, 3), "w": (4,), "u": (3,), "q": (2, 2, 4, 3)}

# The derivative by the mean: zero, or not.
TEXTS = {
    MEAN + "v[c] = mean[b]((x[b,c] - mu[c])**2)": True,
    MEAN + "v[c] = ((mu[c] - x[b,c])**2)": True,
    MEAN + "v = u[c] * (x[b,c] - mu[c])**2": True,
    "mu[c] = x[b,c] / size(x,0)\nv[c] = (x[b,c] - mu[c])**2 * size(x,1) / size(x,0)": True,
    "s[c] = x[b,c]\nmu[c] = s[c] / size(x,0)\nv[k] = (x[i,k] - mu[k])**2": True,
    "mu = mean[i,j](x[i,j])\nv = mean[j,i]((x[i,j] - mu)**2)": True,
    "mu[c] = mean[i,j,b](q[i,j,b,c])\nv[c] = mean[b,j,i]((q[i,j,b,c] - mu[c])**2)": True,
    "mu[g] = mean[b,c](x[b,(g,c)]) where g < 3\nv[g] = mean[b,c]((x[b,(g,c)] - mu[g])**2)": True,
    "mu[c] = mean[b](x[b,c] * z[b,c])\nv[c] = (x[b,c] * z[b,c] - mu[c])**2": True,
    "mu[...] = mean[d](x[...,d])\nv[...] = mean[d]((x[...,d] - mu[...])**2)": True,
    MEAN + "nu[c] = mean[b](z[b,c])\nv[c] = (x[b,c] - mu[c]) * (z[b,c] - nu[c])": True,
    "mu[c] = mean[b](x[b,c]) where b < 3\nv[c] = (x[b,c] - mu[c])**2 where b < 3": True,
    MEAN + "v[c] = (x[b,c] - mu[c])**2\ny[c] = v[c] * mu[c]": False,  # through y
    MEAN + "v[c] = (x[b,c] - mu[c])**3": False,
    MEAN + "v[c] = abs(x[b,c] - mu[c])": False,
    MEAN + "v[c] = w[b] * (x[b,c] - mu[c])**2": False,
    MEAN + "v[c] = (2*x[b,c] - mu[c])**2": False,
    MEAN + "v[c] = (z[b,c] - mu[c])**2": False,
    MEAN + "v[c] = (x[b,c] - mu[c])**2 where b < 3": False,
    MEAN + "v[c] = (x[b,c] - mu[c])**2 where b <= c": False,
    MEAN + "v[c] = (x[b,c] - mu[b])**2 where c < 3, b < 3": False,
    MEAN + "v[b] = (x[b,c] - mu[c])**2": False,
    MEAN + "v[c] = (x[b,c] - mu[c])**2 + x[b,c] * mu[c]": False,
    "mu[c] = mean[b](x[b,c]) where b < 3\nv[c] = (x[b,c] - mu[c])**2": False,
    "mu[c] = x[b,c] / (size(x,0) - 1)\nv[c] = (x[b,c] - mu[c])**2": False,
    "mu[c] = x[b,c] / size(x,1)\nv[c] = (x[b,c] - mu[c])**2": False,
    "mu[c] = x[b,c] / 4\nv[c] = (x[b,c] - mu[c])**2": False,  # who knows how many there are
}


@pytest.mark.parametrize("text", TEXTS)
def test_the_mean_of_a_variance(text: str) -> None:
    given = program(text)
    inputs = {n: np.random.default_rng(0).standard_normal(SHAPES[n]) for n in given.inputs}
    if "(g,c)" in text:
        inputs = {"x": np.random.default_rng(0).standard_normal((4, 6))}
    derived = grad.backward(given)
    assert any(s.target.tensor == "mu.grad" for s in derived.statements) != TEXTS[text]
    assert program(to_text(derived)) == derived
    for backward in (None, lambda p, arrays: Function(p, always_dict=True)(**arrays)):
        rows = gradcheck.gradcheck(given, inputs, backward=backward)
        assert all(row.ok for row in rows), rows


def test_the_second_derivative_knows_the_mean() -> None:
    first = grad.backward(program(MEAN + "v[c] = mean[b]((x[b,c] - mu[c])**2)"))
    inputs = {"x": np.random.default_rng(1).standard_normal((4, 3)), "v.grad": np.array([1.0, 2.0, 3.0])}
    assert all(row.ok for row in gradcheck.gradcheck(first, inputs))


def test_what_is_asked_for_is_there() -> None:
    given = program(MEAN + "v[c] = mean[b]((x[b,c] - mu[c])**2)")
    derived = grad.backward(given, ["mu", "x"])
    x = np.random.default_rng(2).standard_normal((4, 3))
    found = Function(derived, always_dict=True)(x=x, **{"v.grad": np.ones(3)})
    assert np.allclose(found["mu.grad"], 0)
    assert np.allclose(found["x.grad"], 2 * (x - x.mean(0)) / 4)


# Sums under means, and in expressions, which nobody named.
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("y[k] = mean[n](x[n,k])", ["x.grad[n,k] += y.grad[k] / size(x,0)"]),
        (
            "y = mean[n,k]((x[n,k] - z[n,k])**2)",
            [
                "x.grad[n,k] += 2 * y.grad * (x[n,k] - z[n,k]) / (size(x,0) * size(x,1))",
                "z.grad[n,k] += -2 * y.grad * (x[n,k] - z[n,k]) / (size(x,0) * size(x,1))",
            ],
        ),
        (
            "r[n] = rsqrt(mean[d](x[n,d]**2))",
            ["x.grad[n,d] += -r.grad[n] * r[n]**3 * x[n,d] / size(x,1) where r.grad[n] != 0"],
        ),
        (
            "y[n] = 3 * sum[k](x[n,k] * z[k]) + x[n,0]",
            [
                "x.grad[n,0] += y.grad[n]",
                "x.grad[n,k] += 3 * y.grad[n] * z[k]",
                "z.grad[k] += 3 * y.grad[n] * x[n,k]",
            ],
        ),
        (  # two tensors, two readers: a tensor of its own
            "y[n] = u[n] * sum[k](x[n,k] * z[k])",
            [
                "u.grad[n] += y.grad[n] * sum_x[n]",
                "sum_x.grad[n] += y.grad[n] * u[n]",
                "x.grad[n,k] += sum_x.grad[n] * z[k]",
                "z.grad[k] += sum_x.grad[n] * x[n,k]",
            ],
        ),
        (  # summed over p first: not to be repeated for each k
            "y[n,p] = u[p] * sum[k](x[n,k])",
            [
                "u.grad[p] += y.grad[n,p] * sum_x[n]",
                "sum_x.grad[n] += y.grad[n,p] * u[p]",
                "x.grad[n,k] += sum_x.grad[n]",
            ],
        ),
        (  # named: as the author has it
            "s[n] = x[n,k]\ny[n] = s[n] / 2",
            ["s.grad[n] += 0.5 * y.grad[n]", "x.grad[n,k] += s.grad[n]"],
        ),
    ],
)
def test_gradients_that_nobody_named(text: str, lines: list[str]) -> None:
    derived = grad.backward(program(text))
    assert [statement_text(s) for s in derived.statements if ".grad" in s.target.tensor] == lines
    assert program(to_text(derived)) == derived
    shapes = {"x": (4, 3), "z": (4, 3) if "z[n" in text else (3,), "u": (4,) if "u[n]" in text else (2,)}
    inputs = {n: np.random.default_rng(3).standard_normal(shapes[n]) for n in program(text).inputs}
    assert all(row.ok for row in gradcheck.gradcheck(program(text), inputs))
