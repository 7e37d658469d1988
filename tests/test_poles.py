"""Zero cotangents at poles of slopes: what a guard refuses has gradient zero, under a name as in place.

The values are reasoned out: where nothing of an element reaches the output its gradient is 0, and elsewhere it is the
textbook's derivative, or a difference of two values nearby.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.plan.rewrites.guards import ways
from indexlang.program import signs
from indexlang.program.algebra import left_over
from indexlang.program.conditions import guard_of
from indexlang.program.functions import FUNCTIONS
from indexlang.program.ir import Program
from indexlang.program.text import to_text
from indexlang.syntax.parser import parse

Array = np.ndarray[Any, np.dtype[Any]]


def program(text: str) -> Program:
    return resolve(parse(Source(text + "\n")))


# name, its pole, a place where it is a number, its slope there
FUNCTIONS_WITH_POLES: list[tuple[str, float, float, Callable[[float], float]]] = [
    ("sqrt({})", 0.0, 4.0, lambda x: 0.5 / x**0.5),
    ("log({})", 0.0, 4.0, lambda x: 1 / x),
    ("1/{}", 0.0, 4.0, lambda x: -1 / x**2),
    ("rsqrt({})", 0.0, 4.0, lambda x: -0.5 * x**-1.5),
    ("{}**0.5", 0.0, 4.0, lambda x: 0.5 * x**-0.5),
    ("{}**0.25", 0.0, 4.0, lambda x: 0.25 * x**-0.75),
    ("{}**(-2)", 0.0, 4.0, lambda x: -2 * x**-3),
    ("{}**1.5", -1.0, 4.0, lambda x: 1.5 * x**0.5),
    ("sqrt({})", -1.0, 4.0, lambda x: 0.5 / x**0.5),
    ("asin({})", 1.0, 0.5, lambda x: (1 - x**2) ** -0.5),
    ("acos({})", -1.0, 0.5, lambda x: -((1 - x**2) ** -0.5)),
    ("atanh({})", 1.0, 0.5, lambda x: 1 / (1 - x**2)),
    ("acosh({})", 1.0, 2.0, lambda x: (x**2 - 1) ** -0.5),
    ("log1p({})", -1.0, 3.0, lambda x: 1 / (1 + x)),
    ("{0}*log({0})", 0.0, 4.0, lambda x: np.log(x) + 1),
    ("log(sqrt({}))", 0.0, 4.0, lambda x: 0.5 / x),
    ("exp(-1/{})", 0.0, 2.0, lambda x: np.exp(-1 / x) / x**2),
    ("3 / sqrt({}**2 + {}**4)", 0.0, 1.0, lambda x: -3 * (2 * x + 4 * x**3) / 2 / (x**2 + x**4) ** 1.5),
]

# Ways to refuse the elements whose k is 0; `{f}` is the function's value by name, `{e}` in place.
GUARDS = [
    "y[i] = where(k[i] > 0, {0}, 0)",
    "y[i] = where(k[i] == 0, 5, {0})",
    "y[i] = {0} where k[i] > 0",
    "y[i] = {0} where i < 3, i > 0, k[i] != 0",
    "y[i] = {0} where i >= 1",
    "y[i+1] = {1} where i < size(x,0) - 1",
    "y[n] = {2}",
    "y[i] max= {0} where k[i] > 0",
    "m[j] max= {3}\ny[j] = m[j]",
    "z[i] = {0} where k[i] > 0\ny[i] = relu(z[i])",
    "z[i] = {0}\nw[i] = where(k[i] > 0, z[i], 1)\ny[i] = w[i]**2",
    "y[j] = sum[i]({0}) where j < 2, i > 0",
    "y[i] = prod[j](where(k[i] > 0, {0}, j + 1)) where j < 2",
]


def written(guard: str, function: str, named: bool) -> str:
    """The guard around the function, whose value has a name or stands in its place."""
    at = {0: "i", 1: "i+1", 2: "p[n]", 3: "p[j]"}
    if named:
        text = guard.format(*(f"r[{s}]" for s in at.values()))
        return f"r[i] = {function.format('x[i]', 'x[i]')}\n{text}"
    return guard.format(*(function.format(f"x[{s}]", f"x[{s}]") for s in at.values()))


@pytest.mark.parametrize("size", [3, 20_000])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("function", FUNCTIONS_WITH_POLES, ids=lambda f: f"{f[0]} at {f[1]:g}")
def test_what_a_guard_refuses_has_gradient_zero(
    function: tuple[str, float, float, Callable[[float], float]], named: bool, size: int
) -> None:
    text, pole, place, slope = function
    x, k = np.full(size, place), np.ones(size, np.int64)
    x[0], k[0] = pole, 0
    for guard in GUARDS if size == 3 else GUARDS[:7:2]:
        f = indexlang.compile(written(guard, text, named))
        given = {"x": x, "k": k, "p": np.array([1, 2, 2])}
        given = {n: a for n, a in given.items() if n in f.inputs}
        y, pullback = f.vjp(**given)
        found = pullback(np.ones_like(y))["x"]
        assert found[0] == 0, guard
        assert np.isfinite(found).all(), guard
        if guard in GUARDS[:5]:
            np.testing.assert_allclose(found[1:3], slope(place), rtol=1e-12)
        if size == 3:
            step = 1e-6 * np.eye(size)[1]
            program = grad.backward(f.program, ["x"])
            arguments = {**given, "y": y, "y.grad": np.ones_like(y)}
            again = loops.run(program, {n: a for n, a in arguments.items() if n in program.inputs})["x.grad"]
            np.testing.assert_allclose(found, again, rtol=1e-12)
            ahead, behind = (f(**{**given, "x": np.where(x == pole, place, x) + d}) for d in (step, -step))
            kept = np.isfinite(y)
            difference = np.sum(ahead[kept] - behind[kept]) / 2e-6
            np.testing.assert_allclose(found[1], difference, rtol=1e-6)


@pytest.mark.parametrize("size", [2, 20_000])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("text", "zeros"),
    [
        ("r[i] = a[i]**b[i]\ny[i] = where(a[i] > 0, r[i], 0)", {"a": -1.0, "b": 0.5}),
        ("r[i] = a[i]**b[i]\ny[i] = where(b[i] >= 0, r[i], 0)", {"a": 0.0, "b": -1.0}),
        ("r[i] = a[i] / b[i]\ny[i] = where(b[i] == 0, 0, r[i])", {"a": 0.0, "b": 0.0}),
        ("r[i] = a[i] / b[i]\ny[i] = where(b[i] == 0, 0, r[i])", {"a": 3.0, "b": 0.0}),
        ("r[i] = a[i] % b[i]\ny[i] = where(b[i] == 0, 0, r[i])", {"a": 3.0, "b": 0.0}),
        ("r[i] = atan2(a[i], b[i])\ny[i] = where(b[i] == 0, 0, r[i])", {"a": 0.0, "b": 0.0}),
        ("r[i] = abs(a[i]) * abs(b[i])**0.5\ny[i] = where(b[i] == 0, 0, r[i])", {"a": 0.0, "b": 0.0}),
        ("r[i] = sqrt(a[i]**2 + b[i]**2)\ny[i] = max(r[i], 0.5)", {"a": 0.0, "b": 0.0}),
        ("r[i] = log(a[i])\ny[i] = relu(r[i]) * b[i]", {"a": 0.0, "b": 1.0}),
        ("r[i] = sqrt(a[i])\ny[i] = b[i] * r[i]", {"a": 0.0, "b": 0.0}),
        ("l[i] = log(a[i])\nr[i] = b[i] * l[i]\ny[i] = where(a[i] > 0, r[i], 0)", {"a": 0.0, "b": 0.0}),
        ("r[i] *= 1/a[i]\nr[i] *= b[i]\ny[i] = where(a[i] > 0, r[i], 0)", {"a": 0.0, "b": 2.0}),
    ],
)
def test_two_arguments_at_a_pole(text: str, zeros: dict[str, float], dtype: str, size: int) -> None:
    """The first element is at the pole, where the output does not depend on it; the others are not."""
    given = {n: np.array([v] + [1.5] * (size - 1), dtype) for n, v in zeros.items()}
    _, pullback = indexlang.compile(text).vjp(**given)
    found = pullback(np.ones(size, dtype))
    alone = {n: a[1:] for n, a in given.items()}
    expected = indexlang.compile(text).vjp(**alone)[1](np.ones(size - 1, dtype))
    for name, gradient in found.items():
        if not (name == "b" and "b[i] * r[i]" in text):  # where b counts, beside the root of a that does not
            assert gradient[0] == 0, name
        np.testing.assert_array_equal(gradient[1:], expected[name])


def test_a_row_of_zeros_leaves_the_weights_alone() -> None:
    """A row that has no direction is refused; without it the gradients are the same, at sizes of all kernels."""
    text = "n[b] = sqrt(sum[k](x[b,k]**2))\nu[b,k] = x[b,k] / n[b]\n"
    text += "z[b,o] = W[k,o] * u[b,k]\ny[b,o] = z[b,o] where n[b] > 0"
    for sizes in ((3, 4, 5), (1, 1, 1), (40, 40, 40), (200, 300, 100)):
        rows, inner, outer = sizes
        rng = np.random.default_rng(0)
        x, weights, dy = (
            rng.normal(size=(rows + 1, inner)),
            rng.normal(size=(inner, outer)),
            rng.normal(size=(rows + 1, outer)),
        )
        x[rows // 2] = 0
        f = indexlang.compile(text)
        found = f.vjp(x=x, W=weights)[1](dy)
        kept = np.arange(rows + 1) != rows // 2
        norm = np.sqrt(np.sum(x[kept] ** 2, 1, keepdims=True))
        u = x[kept] / norm
        du = dy[kept] @ weights.T
        np.testing.assert_allclose(found["W"], u.T @ dy[kept], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(
            found["x"][kept], (du - u * np.sum(u * du, 1, keepdims=True)) / norm, rtol=1e-9, atol=1e-10
        )
        assert not found["x"][rows // 2].any()


SECOND = [
    ("y[i] = m[i] * sqrt(x[i])", {}),
    ("y[i] = x[i] / m[i]", {}),
    ("y[i] = m[i] * log(x[i])", {}),
    ("y[i] = x[i]**m[i]", {}),
    ("y[i] = m[i] * x[i]**(-2)", {}),
    ("y[i] = log(m[i] + sqrt(x[i]))", {}),
    ("y[i] = sqrt(m[i] * x[i]) * exp(m[i])", {}),
    ("y[i] = sum[j](m[j] / x[i]) * rsqrt(x[i])", {}),
]


@pytest.mark.parametrize("text", [t for t, _ in SECOND])
def test_second_derivatives_where_a_cotangent_is_zero(text: str) -> None:
    """A guard is a condition on a cotangent that is zero at a point; what is derived again goes straight through it."""
    f = indexlang.compile(text)
    first = f.grad()
    second = first.grad()
    rng = np.random.default_rng(1)
    x, m = rng.uniform(1, 2, 4), rng.uniform(1, 2, 4)
    dy = rng.normal(size=4)
    dy[1] = 0
    given = {"x": x, "m": m, "y.grad": dy}
    for name, at in (("m", 2), ("x", 3)):
        if name == "m" and ("log(m" in text or "/ m" in text or "sqrt(m" in text):
            continue  # a pole of its own
        if name == "m":
            given["m"][at] = 0
    outer = {"x.grad.grad": rng.normal(size=4), "m.grad.grad": rng.normal(size=4)}
    outer["x.grad.grad"][0] = 0
    outer = {n: a for n, a in outer.items() if n in second.inputs}
    found = second(**{n: a for n, a in {**given, **outer}.items() if n in second.inputs})

    def paired(arrays: dict[str, Array]) -> float:
        values = first(**{n: arrays[n] for n in first.inputs})
        return float(sum(np.sum(values[n.removesuffix(".grad")] * a) for n, a in outer.items()))

    names = {"x": "x.grad2", "m": "m.grad2", "y.grad": "y.grad.grad"}
    for name, called in names.items():
        for k in range(4):
            step = 1e-6 * np.eye(4)[k]
            difference = (
                paired({**given, name: given[name] + step}) - paired({**given, name: given[name] - step})
            ) / 2e-6
            assert found[called][k] == pytest.approx(difference, rel=2e-5, abs=2e-5), (name, k)


@pytest.mark.parametrize("text", [t for t, _ in SECOND])
def test_a_guard_is_a_factor_in_derivatives_of_any_order(text: str) -> None:
    found = program(text)
    for _ in range(3):
        found = grad.backward(found)
        guards = [(s, g) for s in found.statements for m in s.domain.masks if (g := guard_of(m, s))]
        assert guards
        assert all(left_over(stmt.value, guard) is not None for stmt, guard in guards)
        assert resolve(parse(Source(to_text(found)))) == found


@pytest.mark.parametrize(
    "text",
    [
        "y[i,k] = exp(x[i,k]) / sum[j](exp(x[i,j]))",
        "e[i,k] = exp(x[i,k] - max[j](x[i,j]))\nz[i] = e[i,k]\ny[i,k] = e[i,k] / z[i]",
        "y[i,k] = exp(x[i,k] - logsumexp[j](x[i,j]))",
        "r[i] = rsqrt(mean[k](x[i,k]**2) + 1e-6)\ny[i,k] = x[i,k] * r[i] * g[k]",
        "m[i] = mean[k](x[i,k])\nv[i] = mean[k]((x[i,k]-m[i])**2)\ny[i,k] = (x[i,k]-m[i]) / sqrt(v[i] + 0.001)",
        "y[i] = log(1 + exp(-abs(x[i])))",
        "y[i] = sqrt(max(x[i], 0.01))",
        "y[i] = where(x[i] > 0, sqrt(x[i]), 0) + where(x[i] == 0, 0, 1 / x[i])",
        "y[i] = log(x[i]) where x[i] > 0",
        "s[i] = where(x[i] > 0, x[i], 1)\ny[i] = where(x[i] > 0, log(s[i]), 0)",
        "y[i] = x[i]**3 / (1 + x[i]**2)**0.75 + tanh(x[i]) / 3 + x[i] / (i + 1) + x[i] / size(x,0)",
        "y[i] = x[i] / (1 - 0.5) + cosh(x[i])**-0.3 + sqrt(sigmoid(x[i])) + log(softplus(x[i]))",
    ],
)
def test_what_the_text_shows_to_be_positive_stays_plain(text: str) -> None:
    assert "!= 0" not in to_text(grad.backward(program(text))).replace("where x[i] != 0", "")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("y[i] = m[i]*sqrt(x[i])", "x.grad[i] += 0.5 * y.grad[i] * m[i] / sqrt_x[i] where y.grad[i] * m[i] != 0"),
        ("y[i] = log(x[i])", "x.grad[i] += y.grad[i] / x[i] where y.grad[i] != 0"),
        ("y[i] = x[i] / z[i]", "x.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0"),
        ("y[i] = 3 * x[i]**0.5", "x.grad[i] += 1.5 * y.grad[i] * x[i]**-0.5 where y.grad[i] != 0"),
        ("y[i] = x[i]**1.5 where x[i] >= 0", "x.grad[i] += 1.5 * y.grad[i] * x[i]**0.5 where x[i] >= 0"),
        ("y[i] = x[i]*log(x[i])", "x.grad[i] += y.grad[i] * log(x[i]) where y.grad[i] != 0"),
        ("y[i] = a[i]**b[i]", "a.grad[i] += y.grad[i] * b[i] * a[i]**(b[i]-1) where y.grad[i] * b[i] != 0"),
        ("y[i] = log(sqrt(x[i]))", "x.grad[i] += 0.5 * y.grad[i] / sqrt_x[i] / sqrt_x[i] where y.grad[i] != 0"),
        ("y[i] = sqrt(x[i-1]) where 1 <= i < 3", None),
        ("y[t] = x[t] / (size(x,0) - 1)", "x.grad[t] += y.grad[t] / (size(x,0) - 1) where y.grad[t] != 0"),
    ],
)
def test_what_is_printed(text: str, line: str | None) -> None:
    printed = to_text(grad.backward(program(text)))
    assert (line or "!= 0") in printed, printed


def test_the_signs_of_each_function_are_those_that_it_has() -> None:
    """At many numbers, NumPy's value of each function has one of the signs that are said."""
    rng = np.random.default_rng(0)
    finite = np.array([0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 1e-3, -1e-3, *rng.normal(size=20)])
    for name, row in FUNCTIONS.items():
        if name == "where":
            continue
        numbers = finite if name in ("pow", "mod") else np.append(finite, (np.inf, -np.inf))
        for point in np.array(np.meshgrid(*[numbers] * row.arity)).reshape(row.arity, -1).T:
            given = [frozenset(signs.sign_of(v)) for v in point]
            with np.errstate(all="ignore"):
                value = (
                    float(loops.functions(False)[name](*point.tolist()))
                    if name not in ("max", "min")
                    else getattr(np, name)(point)
                )
            assert signs.sign_of(value) in signs.signs_of(name, *given), (name, point, value)


# -- how a guard is lowered ----------------------------------------------------------------------------

QUOTIENT = """\
W.grad[o,k] += y.grad[b,o] * x[b,k] / z[b] where y.grad[b,o] != 0
x.grad[b,k] += y.grad[b,o] * W[o,k] / z[b] where y.grad[b,o] != 0
z.grad[b] += -y.grad[b,o] * W[o,k] * x[b,k] / z[b] / z[b] where y.grad[b,o] != 0
"""


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 3, 3), (5, 2, 7), (70, 90, 110)])
@pytest.mark.parametrize(
    "given", ["numbers", "a zero that nothing meets", "a zero that a cotangent meets", "infinite x"]
)
def test_a_guarded_product_is_what_the_loops_say(sizes: tuple[int, int, int], given: str) -> None:
    rows, inner, outer = sizes
    rng = np.random.default_rng(0)
    arrays = {
        "y.grad": rng.normal(size=(rows, outer)),
        "x": rng.normal(size=(rows, inner)),
        "W": rng.normal(size=(outer, inner)),
        "z": rng.uniform(1, 2, rows),
    }
    last = rows - 1
    if given != "numbers":
        arrays["y.grad"][last] = 0
        (arrays["z"] if given != "infinite x" else arrays["x"][:, 0])[last] = 0 if given != "infinite x" else np.inf
    if given == "a zero that a cotangent meets":
        arrays["y.grad"][last, 0] = 2
    f = indexlang.compile(QUOTIENT)
    found = f(**arrays)
    with np.errstate(all="ignore"):
        dy, x, weights, z = arrays["y.grad"], arrays["x"], arrays["W"], arrays["z"]
        if rows * inner * outer < 1000:
            expected = loops.run(f.program, arrays)
        else:
            points = (dy[:, :, None] != 0), dy[:, :, None] * x[:, None] / z[:, None, None]
            terms = np.where(*points, 0)
            back = np.where(points[0], dy[:, :, None] * weights / z[:, None, None], 0)
            down = np.where(points[0], -dy[:, :, None] * weights * x[:, None] / z[:, None, None] ** 2, 0)
            expected = {"W.grad": terms.sum(0), "x.grad": back.sum(1), "z.grad": down.sum((1, 2))}
    for name, value in expected.items():
        finite = np.isfinite(value)  # a sum divided by 0 may be inf where a sum of quotients is inf - inf
        np.testing.assert_array_equal(np.isfinite(found[name]), finite, err_msg=name)
        np.testing.assert_allclose(found[name][finite], value[finite], rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_guard_leaves_a_product_its_kernel() -> None:
    f = indexlang.compile(QUOTIENT)
    sizes = {"y.grad": (64, 32), "x": (64, 48), "W": (32, 48), "z": (64,)}
    with_guard = f.plan(**sizes)
    bare = indexlang.compile(QUOTIENT.replace(" where y.grad[b,o] != 0", "")).plan(**sizes)
    assert [r.kernel for r in with_guard.steps] == [r.kernel for r in bare.steps]
    assert with_guard.instead is not None
    assert bare.instead is None


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0", 2),
        ("g.grad[j] += y.grad[i] * x[j] / z[i] where y.grad[i] != 0", 3),
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\ns[i] = tanh(g.grad[i])", 1),
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\ns[i] = x[i] where g.grad[i] < 3", 1),
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\ns[i] = 1 / g.grad[i]", 1),
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\ns[i] max= g.grad[i]", 1),
        ("g.grad[i] += y.grad[i] / z[i] where y.grad[i] != 0\ns[i] = 3 - x[i] * g.grad[i] / z[i]", 2),
        ("g.grad[i] += x[i] / z[i] where y.grad[i] != 0", 1),
        ("g[i] = y.grad[i] / z[i] where y.grad[i] != 0", 1),
    ],
)
def test_guards_go_only_where_no_number_can_get_lost(text: str, count: int) -> None:
    assert len(list(ways(program(text)))) == count
    f = indexlang.compile(text)
    arrays = {n: np.array([0.0, 1.0, 0.0, -2.0]) for n in f.inputs}
    arrays["z"] = np.array([0.0, 0.0, 2.0, 2.0])
    found = f(**arrays)
    for name, value in loops.run(f.program, arrays).items():
        np.testing.assert_array_equal(found[name] if isinstance(found, dict) else found, value)


def test_emitted_code_has_all_its_ways() -> None:
    f = indexlang.compile(QUOTIENT)
    arrays = {"y.grad": np.zeros((2, 3)), "x": np.ones((2, 4)), "W": np.ones((3, 4)), "z": np.zeros(2)}
    names: dict[str, Any] = {}
    exec(f.emit(**arrays), names)
    for value in names["run"](*(arrays[n] for n in f.inputs)):
        assert not value.any()
