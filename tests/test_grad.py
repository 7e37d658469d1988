"""The derivation: what it prints, what it refuses, and odd gradients against numbers that know nothing of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.derive import grad
from indexlang.errors import DerivationError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck, loops
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.syntax.parser import parse


def program(text: str, **options: Any) -> Program:
    return resolve(parse(Source(text + "\n")), options=options)


CONV = """\
layer conv(x[B,H,W,C], K[R,S,C,O]; stride=2, dilation=2, padding=1) -> y[B,I,J,O]:
    y[b,i,j,o] = K[r,s,c,o] * x[b, pad(stride*i+dilation*r,padding), pad(stride*j+dilation*s,padding), c]
"""


@pytest.mark.parametrize(
    ("text", "derived"),
    [
        (
            "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]",
            "W.grad[di,dj,cx,cy] += y.grad[b,i,j,cy] * x[b,i+di,j+dj,cx]\n"
            "x.grad[b,i+di,j+dj,cx] += y.grad[b,i,j,cy] * W[di,dj,cx,cy]\n",
        ),
        ("y[i] = sigmoid(x[i])", "x.grad[i] += y.grad[i] * y[i] * (1 - y[i])\n"),
        ("y[i] = tanh(x[i])", "x.grad[i] += y.grad[i] * (1 - y[i]**2)\n"),
        ("y[i] = exp(x[i])", "x.grad[i] += y.grad[i] * y[i]\n"),
        ("y[i] = relu(x[i])", "x.grad[i] += y.grad[i] where x[i] > 0\n"),
        (
            "y[i] = x[i] / z[i]",
            "x.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\n"
            "z.grad[i] += -y.grad[i] * y[i] / z[i] where y.grad[i] != 0\n",
        ),
        (
            "y[i] = x[i] / (z[i] * w[i])**2",
            "x.grad[i] += y.grad[i] / (z[i] * w[i])**2 where y.grad[i] != 0\n"
            "z.grad[i] += -2 * y.grad[i] * y[i] / z[i] where y.grad[i] != 0\n"
            "w.grad[i] += -2 * y.grad[i] * y[i] / w[i] where y.grad[i] != 0\n",
        ),
        (
            "y[i] = x[i] / sqrt(z[i] / w[i])",
            "sqrt_z[i] = sqrt(z[i] / w[i])\n"
            "x.grad[i] += y.grad[i] / sqrt_z[i] where y.grad[i] != 0\n"
            "z.grad[i] += -0.5 * y.grad[i] * y[i] / z[i] where y.grad[i] != 0\n"
            "w.grad[i] += 0.5 * y.grad[i] * y[i] / w[i] where y.grad[i] != 0\n",
        ),
        ("y[i] = 1 / exp(x[i])", "x.grad[i] += -y.grad[i] * y[i]\n"),
        ("y[i] = 3 / x[i]**0.5 / 2", "x.grad[i] += -0.75 * y.grad[i] / x[i]**1.5 where y.grad[i] != 0\n"),
        ("y[i] = x[i]**2", "x.grad[i] += 2 * y.grad[i] * x[i]\n"),
        ("y[i] = x[2*i]", "x.grad[2*i] += y.grad[i]\n"),
        ("d[i] = x[i+1] - x[i]", "x.grad[i+1] += d.grad[i]\nx.grad[i] += -d.grad[i] where i < size(x,0) - 1\n"),
        ("d[i] = A[i,i]", "A.grad[i,i] += d.grad[i]\n"),
        ("y[i] = x[i] * x[i]", "x.grad[i] += 2 * y.grad[i] * x[i]\n"),
        ("y[b,e] = E[tok[b],e]", "E.grad[tok[b],e] += y.grad[b,e]\n"),
        (
            "y[i] = x[pad(i+k,1)] * w[k]",
            "x.grad[pad(i+k,1)] += y.grad[i] * w[k]\nw.grad[k] += y.grad[i] * x[pad(i+k,1)]\n",
        ),
        (
            "m[b,i] max= x[b,2*i+d] where d < 2",
            "m_at[b,i] = argmax[d](x[b,2*i+d]) where d < 2\n"
            "x.grad[b,2*i+d] += m.grad[b,i] where d < 2, d == m_at[b,i]\n",
        ),
        (
            "p[i] *= x[i,j]",
            "p_others[i,j] *= x[i,j2] where j < size(x,1), j != j2\nx.grad[i,j] += p.grad[i] * p_others[i,j]\n",
        ),
        ("y[i] = logsumexp[j](x[i,j])", "x.grad[i,j] += y.grad[i] * exp(x[i,j] - y[i])\n"),
        ("y[i] = floor(x[i]) * x[i]", "x.grad[i] += y.grad[i] * floor(x[i])\n"),
        (
            "y[t] = u[t] * sum[s](x[s] + z[t]) where s <= t, s < 3",
            "sum_x[t] = sum[s](x[s] + z[t]) where s < 3, s <= t\n"
            "u.grad[t] += y.grad[t] * sum_x[t]\n"
            "sum_x.grad[t] += y.grad[t] * u[t]\n"
            "x.grad[s] += sum_x.grad[t] where s < 3, s <= t\n"
            "z.grad[t] += sum_x.grad[t] where s < 3, s <= t\n",
        ),
        ("y[i] = (x[i] + z[j]) * 1", "x.grad[i] += y.grad[i] where j < size(z,0)\nz.grad[j] += y.grad[i]\n"),
    ],
)
def test_what_the_derivation_prints(text: str, derived: str) -> None:
    assert to_text(grad.derived(program(text))) == derived


def test_layer_norm_is_derived_as_one_would_write_it() -> None:
    text = (
        "mu[n] = mean[d](x[n,d])\nc[n,d] = x[n,d] - mu[n]\nr[n] = rsqrt(mean[d](c[n,d]**2) + 1e-5)\n"
        "y[n,d] = gamma[d] * c[n,d] * r[n] + beta[d]"
    )
    assert to_text(grad.derived(program(text))) == (
        "gamma.grad[d] += y.grad[n,d] * c[n,d] * r[n]\n"
        "c.grad[n,d] += y.grad[n,d] * gamma[d] * r[n]\n"
        "r.grad[n] += y.grad[n,d] * gamma[d] * c[n,d]\n"
        "beta.grad[d] += y.grad[n,d]\n"
        "c.grad[n,d] += -r.grad[n] * r[n]**3 * c[n,d] / size(x,1)\n"
        "x.grad[n,d] += c.grad[n,d]\n"
        "mu.grad[n] += -c.grad[n,d]\n"
        "x.grad[n,d] += mu.grad[n] / size(x,1)\n"
    )


def test_a_layer_is_derived_as_a_layer() -> None:
    found = grad.derived(program(CONV))
    assert to_text(found) == (
        "layer conv_grad(x[B,H,W,C], K[R,S,C,O], y.grad) -> x.grad, K.grad:\n"
        "    K.grad[r,s,c,o] += y.grad[b,i,j,o] * x[b,pad(2*i+2*r,1),pad(2*j+2*s,1),c]\n"
        "    x.grad[b,pad(2*i+2*r,1),pad(2*j+2*s,1),c] += y.grad[b,i,j,o] * K[r,s,c,o]\n"
    )
    assert resolve(parse(Source(to_text(found)))) == found


def test_names_stay_fresh_at_higher_order() -> None:
    first = grad.backward(program("y[i] = x[i]**3"))
    second = grad.backward(first)
    third = grad.backward(second)
    assert first.outputs == ("x.grad",)
    assert set(second.outputs) == {"x.grad2", "y.grad.grad"}
    assert "x.grad3" in third.outputs
    for p in (first, second, third):
        assert resolve(parse(Source(to_text(p)))) == p


def test_third_derivative_of_a_power() -> None:
    p = program("y = x[i]**4")
    x = np.array([1.5, -2.0])
    first = grad.backward(p, ["x"])
    second = grad.backward(first, ["x"])
    third = grad.backward(second, ["x"])
    given = {"x": x, "y.grad": np.ones(())}
    given["x.grad.grad"] = np.ones(2)
    assert np.allclose(loops.run(second, {n: given[n] for n in second.inputs})["x.grad2"], 12 * x**2)
    given["x.grad2.grad"] = np.ones(2)
    assert np.allclose(loops.run(third, {n: given[n] for n in third.inputs})["x.grad3"], 24 * x)


def test_an_output_that_is_read_collects_both_gradients() -> None:
    f = indexlang.compile("h[i] = x[i]**2\ny = 3*h[i]", outputs=["y", "h"])
    x = np.array([1.0, 2.0])
    values, pullback = f.vjp(x=x)
    assert np.allclose(values["h"], x**2)
    assert np.allclose(pullback({"y": np.ones(()), "h": np.array([10.0, 20.0])})["x"], 2 * x * (3 + np.array([10, 20])))


@pytest.mark.parametrize(
    ("text", "x", "dy", "expected"),
    [
        ("m max= x[i]", [1.0, 5.0, 5.0], 1.0, [0, 1, 0]),
        ("m min= x[i]", [7.0, 5.0, 5.0], 1.0, [0, 1, 0]),
        ("m[i] max= x[i,j]", [[2.0, 2.0], [1.0, 3.0]], [1.0, 10.0], [[1, 0], [0, 10]]),
        ("m = max[i](x[i])", [1.0, 5.0, 5.0], 1.0, [0, 1, 0]),
        ("m = max[j,i](x[i,j])", [[0.0, 7.0], [7.0, 7.0]], 1.0, [[0, 0], [1, 0]]),  # j first, as it is named first
        ("m = max[i,j](x[i,j])", [[0.0, 7.0], [7.0, 7.0]], 1.0, [[0, 1], [0, 0]]),
        ("m max= max[j,i](x[i,j])", [[0.0, 7.0], [7.0, 7.0]], 1.0, [[0, 0], [1, 0]]),
        ("m max= x[i,j]", [[0.0, 7.0], [7.0, 7.0]], 1.0, [[0, 1], [0, 0]]),
        ("m = 2 * min[j,i](x[i,j])**2", [[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]], 1.0, [[0, 0, 0], [4, 0, 0]]),
        ("m[k] = min[j,i](x[i,j]*k) where k < 2", [[2.0, 1.0], [1.0, 1.0]], [5.0, 7.0], [[0, 0], [7, 0]]),
        ("m = max[j,i](x[i,j]) where i <= j", [[0.0, 7.0], [9.0, 7.0]], 1.0, [[0, 1], [0, 0]]),
        ("m = max[j,i](x[i,j])\nm += x[0,0]", [[0.0, 7.0], [7.0, 7.0]], 1.0, [[1, 0], [1, 0]]),
        ("p *= x[i]", [0.0, 2.0, 3.0], 1.0, [6, 0, 0]),
        ("p *= x[i]", [0.0, 0.0, 3.0], 1.0, [0, 0, 0]),
        ("p = prod[i](x[i])", [4.0, 0.0, 3.0], 1.0, [0, 12, 0]),
        ("y[i] = abs(x[i])", [0.0, -2.0, 3.0], [1.0, 1.0, 1.0], [0, -1, 1]),
        ("y[i] = relu(x[i])", [0.0, -2.0, 3.0], [1.0, 1.0, 1.0], [0, 0, 1]),
        ("y[i] = max(x[i],0)", [0.0, -2.0, 3.0], [1.0, 1.0, 1.0], [0, 0, 1]),
        ("y[i] = max(0,x[i])", [0.0, -2.0, 3.0], [1.0, 1.0, 1.0], [0, 0, 1]),
        ("y[i] = where(x[i] > 0, log(x[i]), 0)", [0.0, 2.0], [1.0, 1.0], [0, 0.5]),
        ("y[i] = sqrt(x[i]) where x[i] > 0", [0.0, 4.0], [1.0, 1.0], [0, 0.25]),
        ("y[i] = x[2*i]", [0.0] * 6, [1.0, 2.0, 3.0], [1, 0, 2, 0, 3, 0]),
        ("y[i] = x[i,i]", [[0.0] * 3] * 3, [1.0, 2.0, 3.0], [[1, 0, 0], [0, 2, 0], [0, 0, 3]]),
        ("y[i] = x[clamp(i-2)] where i < 5", [0.0] * 3, [1.0, 2.0, 4.0, 8.0, 16.0], [7, 8, 16]),
    ],
)
def test_the_odd_ones(text: str, x: Any, dy: Any, expected: Any) -> None:
    f = indexlang.compile(text)
    _, pullback = f.vjp(x=np.array(x))
    assert np.array_equal(pullback(np.array(dy))["x"], np.array(expected))


@pytest.mark.parametrize(
    "text",
    [
        "y[i] = x[i] / (z[i] * w[i])",
        "y[i] = x[i] / (z[i] * w[i]**2)**0.75",
        "y[i] = x[i] / sqrt(z[i] * (w[i] + 1))",
        "y[i] = x[i] / rsqrt(z[i]) / exp(-w[i])",
        "y[i] = tanh(x[i] / (z[i] / exp(w[i]))**3)",
        "y[i] = exp(x[i] / (-z[i] * 2)) / w[i]",
    ],
)
def test_what_stands_below_a_line(text: str) -> None:
    rng = np.random.default_rng(5)
    inputs = {"x": rng.standard_normal(4), "z": rng.random(4) + 0.5, "w": rng.random(4) + 0.5}
    first = grad.backward(program(text))
    assert resolve(parse(Source(to_text(first)))) == first
    assert all(r.ok for r in gradcheck.gradcheck(program(text), inputs))
    second = {n: {**inputs, "y.grad": rng.standard_normal(4)}[n] for n in first.inputs}
    assert all(r.ok for r in gradcheck.gradcheck(first, second))


def test_a_denominator_that_overflows_leaves_zero() -> None:
    f = indexlang.compile("y[i] = 1 / exp(x[i])")
    with np.errstate(over="ignore"):
        _, pullback = f.vjp(x=np.array([1000.0, -1.0]))
    assert np.allclose(pullback(np.ones(2))["x"], [0.0, -np.e])


@pytest.mark.parametrize(("order", "winner"), [("j,i", (1, 0)), ("i,j", (0, 1))])
def test_the_order_of_ties_lasts_at_second_order(order: str, winner: tuple[int, int]) -> None:
    first = grad.backward(program(f"m = max[{order}](x[i,j])**3"))
    assert resolve(parse(Source(to_text(first)))) == first
    second = grad.backward(first, ["x"])
    given = {"x": np.array([[0.0, 2.0], [2.0, 2.0]]), "m.grad": np.ones(()), "x.grad.grad": np.ones((2, 2))}
    found = loops.run(second, {n: given[n] for n in second.inputs})["x.grad2"]
    expected = np.zeros((2, 2))
    expected[winner] = 12.0
    assert np.array_equal(found, expected)


def test_the_gradient_of_a_set_and_accumulated_maximum() -> None:
    p = program("y[i] = x[i,0] * 2\ny[i] max= x[i,j] * w[j]\ny[i] max= z[i]")
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal((4, 3)), "w": rng.standard_normal(3), "z": rng.standard_normal(4)}
    rows = gradcheck.gradcheck(p, inputs)
    assert {r.tensor for r in rows} == {"x", "w", "z"}
    assert all(r.ok for r in rows), rows


def test_the_gradient_of_products_that_meet_in_an_element() -> None:
    p = program("shape y[3]\ny[k[i]] *= x[i] + z[j]")
    rng = np.random.default_rng(3)
    inputs = {"x": rng.standard_normal(5), "z": rng.standard_normal(2), "k": np.array([0, 2, 0, 2, 2])}
    rows = gradcheck.gradcheck(p, inputs)
    assert all(r.ok for r in rows), rows


@pytest.mark.parametrize(
    ("text", "wrt", "part"),
    [
        ("y[i] = floor(x[i])", None, "nothing has a gradient"),
        ("y[i] = floor(x[i])", ["x"], "'x' has no gradient"),
        ("y[i] = x[i] * z[i]", ["q"], "'q' is no input"),
        ("y[b] = x[tok[b]]", ["tok"], "'tok' has no gradient"),
    ],
)
def test_no_gradient_is_an_error_not_a_zero(text: str, wrt: list[str] | None, part: str) -> None:
    with pytest.raises(DerivationError, match=part):
        grad.backward(program(text), wrt)


@pytest.mark.parametrize("place", ["clamp(i-1)", "wrap(2*i)", "reflect(i-2)", "pad(i-1)", "i//2"])
def test_the_gradient_of_products_through_odd_places(place: str) -> None:
    p = program(f"shape y[3]\ny[{place}] *= x[i]")
    rows = gradcheck.gradcheck(p, {"x": np.random.default_rng(3).standard_normal(6)})
    assert all(r.ok for r in rows), rows


@pytest.mark.parametrize(
    ("op", "value", "by_x", "by_y"),
    [("+=", [3, 8], [1, 1], [1, 1]), ("max=", [2, 5], [0, 1], [1, 0]), ("*=", [2, 15], [2, 3], [1, 5])],
)
def test_where_an_accumulation_starts_has_a_gradient(op: str, value: Any, by_x: Any, by_y: Any) -> None:
    f = indexlang.compile(f"y[i] {op} x[i]")
    x, y = np.array([1.0, 5.0]), np.array([2.0, 3.0])
    found, pullback = f.vjp(x=x, y=y)
    assert found.tolist() == value
    assert f(x, y).tolist() == value
    gradients = pullback(np.ones(2))
    assert gradients["x"].tolist() == by_x
    assert gradients["y"].tolist() == by_y
    with pytest.raises(indexlang.ShapeError, match="different sizes"):
        f(x=x, y=np.ones(3))


def test_a_cotangent_has_the_shape_of_its_output() -> None:
    g = indexlang.compile("y[i] = x[i+k] * w[k]").grad()
    with pytest.raises(indexlang.ShapeError, match="must have the shape of 'y'"):
        g(x=np.ones(6), w=np.ones(3), **{"y.grad": np.ones(3)})
    assert g(x=np.ones(6), w=np.ones(3), **{"y.grad": np.ones(4)})["w.grad"].tolist() == [4, 4, 4]


def test_no_part_of_a_branch_is_computed_outside_of_it() -> None:
    g = indexlang.compile("y[i] = where(x[i] > 0, sqrt(x[i]), sqrt(-x[i])) * x[i]").grad()
    x = np.array([4.0, -4.0])
    _, pullback = g.vjp(x=x, **{"y.grad": np.ones(2)})
    assert np.allclose(pullback({"x.grad": np.ones(2)})["x"], [0.375, -0.375])  # the second derivative of x * |x|**0.5


def test_ranges_are_written_in_the_order_of_the_forward_statement() -> None:
    """And not in that of a hash, which differs from process to process."""
    text = "mu[c] = x[b,i,j,c] / 7\nv[c] = (x[b,i,j,c] - mu[c])**2\ny[b,i,j,c] = x[b,i,j,c] * v[c]"
    second = indexlang.compile(text).grad().grad().source
    assert "mu.grad.grad[c] * v.grad[c] where b < size(x,0), i < size(x,1), j < size(x,2)\n" in second


def test_by_an_input_that_a_later_statement_brings_in() -> None:
    """What an output collects before the input's own statements is no reason to leave the output out."""
    f = indexlang.compile("y[i] += a[i]\nh[i] = 2*x[i]\nk[i] = h[i]**2\ny[i] += h[i]*k[i]")
    found = f.grad(wrt=["x"])(a=np.ones(2), x=np.array([1.0, 3.0]), **{"y.grad": np.ones(2)})
    assert found["x.grad"].tolist() == [24.0, 216.0]  # of 8 x**3
    g = indexlang.compile("y[i] min= a[i]\ny[i] min= exp(q) * (i + 1)")
    found = g.grad(wrt=["q"])(a=np.array([5.0, 0.5]), q=0.0, **{"y.grad": np.ones(2)})
    assert found["q.grad"] == 1.0


def test_what_is_made_for_the_forward_part_alone_is_not_printed() -> None:
    """A power that only the softmax reads, which is given."""
    text = "p[b,k] = exp(s[b,k]) / sum[l](exp(s[b,l]))\ny[b,e] = p[b,k] * v[k,e]"
    assert "exp" not in to_text(grad.derived(resolve(parse(Source(text)))))


def test_a_shape_by_the_size_of_an_output_is_refused_where_the_derivative_does_not_make_it() -> None:
    f = indexlang.compile("layer f(x[B,size(y,0)], bias[N]) -> y[B,N]:\n    y[b,o] += bias[o]")
    with pytest.raises(DerivationError, match="does not make y, whose size is in the declared shape of x"):
        f.grad()
