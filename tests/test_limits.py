"""Limits of size: each is told in docs/limits.md, and met by an error of ours, wherever one compiles."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

import indexlang
from indexlang import size_limits as most
from indexlang.plan.limits import NUMPY

PAGE = Path(__file__).parents[1] / "docs" / "limits.md"


def refused(code: str, make) -> str:
    with pytest.raises(indexlang.IndexLangError) as info:
        make()
    assert info.value.code == code
    return str(info.value)


def test_the_table_has_the_numbers_of_the_code() -> None:
    table = PAGE.read_text().split("## Limits of size")[1].split("\n")
    rows = [line.split("|")[2] for line in table if line.startswith("| ")][2:]
    told = [[int(n.replace(",", "")) for n in re.findall(r"(?<!\*)\b\d[\d,]*", cell)] for cell in rows]
    two = [2]  # of 2**62
    assert most.MOST_POSITIONS == 2**62
    assert told == [
        *([most.LONGEST], [most.DEEPEST], [most.MOST_DIGITS], [most.MOST_EXPONENT], [most.MOST_PROBLEMS]),
        *([most.MOST_STATEMENTS], [most.MOST_NODES], [most.MOST_DERIVED, most.MOST_GROWTH]),
        *([NUMPY.indices], [most.MOST_PAIRS], [*two, *two], two, two, []),
    ]


def test_factors() -> None:
    f = indexlang.compile("y[i] = " + "*".join(f"a{k}[i]" for k in range(60)))
    f.plan({name: (3,) for name in f.inputs})
    g = f.grad()
    told = refused("too-many-factors", lambda: g.plan({name: (3,) for name in g.inputs}))
    assert "this one 60" in told


def test_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexlang.meaning.body.MOST_STATEMENTS", 20)
    lines = [f"h{k}[i] = x[i]" for k in range(21)]
    indexlang.compile("\n".join(lines[:20]))
    refused("too-large", lambda: indexlang.compile("\n".join(lines)))


def test_layers_that_double(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexlang.meaning.whole_statement.MOST_STATEMENTS", 20)
    layers = ["layer l0(x) -> y:\n  y = relu(x)"]
    layers += [f"layer l{k}(x) -> y:\n  h = l{k - 1}(x)\n  y = l{k - 1}(h)" for k in range(1, 8)]
    told = refused("too-large", lambda: indexlang.compile("\n".join(layers), layer="l7"))
    assert "longer than 20 statements" in told


@pytest.mark.parametrize(
    "text",
    [
        "y[i] = " + "**".join(["x[i]"] * 30),
        "y[i] = " + "(" * 30 + "x[i]" + "**x[i])" * 30,
        "y[i] = " + "max(x[i]," * 30 + "x[i]" + ")" * 30,
    ],
)
def test_derivatives_that_grow_are_refused_while_they_grow(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexlang.derive.grad.MOST_DERIVED", 3000)
    told = refused("too-large", indexlang.compile(text).grad)
    assert "the derivative of the program becomes too large" in told


def test_a_second_derivative_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexlang.derive.grad.MOST_DERIVED", 1000)
    g = indexlang.compile("y[i] = " + "*".join(f"a{k}[i]" for k in range(16))).grad()
    refused("too-large", g.grad)


@pytest.mark.parametrize(
    ("text", "shapes", "code"),
    [
        ("y[i] = x[i]", {"x": (2**62,)}, "too-large"),
        ("y[i,j] = x[i,j]", {"x": (2**31, 2**31)}, "too-large"),
        ("y[i,j] = x[i,j]", {"x": (0, 2**62)}, "too-large"),
        ("y[i,j] = x[i] * z[j]", {"x": (2**40,), "z": (2**40,)}, "too-large"),
        ("y[i] = x[2**60*i+k] where i < 1, k < 2", {"x": (4,)}, "overflow"),
        ("y = argmax[j](x[2**61*j,2**61*j]) where j < 1", {"x": (4, 4)}, "overflow"),
        ("y[i] = x[pad(i, 2**62 - 1)]", {"x": (4,)}, "too-large"),
        ("y[int(nan),i] = x[i]", {"x": (4,)}, "undeclared-shape"),
        ("y[int(size(x,0)/2),i] = x[i]", {"x": (4,)}, "undeclared-shape"),
        ("y[i] = x[i]", {"x": (float("inf"),)}, "shape"),
        ("y[i] = x[i]", {"x": (float("nan"),)}, "shape"),
        ("y[i] = x[i]", {"x": (10**400,)}, "too-large"),
    ],
)
def test_sizes(text: str, shapes: dict[str, tuple[int, ...]], code: str) -> None:
    refused(code, lambda: indexlang.compile(text).plan(shapes))


@pytest.mark.parametrize("text", ["y[i] = x[i+2**63]", "y[i] = x[pad(i, 10**299)]", "y[i] = x[i] where i < 2**63"])
def test_numbers_in_positions(text: str) -> None:
    text = text.replace("10**299", "9" * 299).replace("2**63", str(2**63))
    refused("overflow", lambda: indexlang.compile(text))


@pytest.mark.parametrize("n", [6, 2**40])
def test_the_plan_of_halved_positions_asks_no_position(n: int) -> None:
    f = indexlang.compile("y[i//2] = x[i]\nz = y[i]")
    if n < 100:
        np.testing.assert_array_equal(f(x=np.arange(6.0)), 15)
    else:
        refused("too-large", lambda: f.plan(x=(n,)))  # of memory, at once


def test_powers_beyond_floating_point_have_a_sign() -> None:
    f = indexlang.compile("y[i] = exp(x[i]) ** 1e308 + x[i] ** 1001")
    assert "y.grad" in str(f.grad())


@pytest.mark.parametrize(
    "text", ["x.grad.grad[i] = x[i]", "y[i] = x[i]**inf", "y[i] = x[i]**-inf", "y[i] = x[i]**nan", "y[i] = inf**x[i]"]
)
@pytest.mark.parametrize("form", ["scatter", "gather"])
def test_gradients_of_gradients_and_of_powers_without_end_are_programs(
    text: str, form: Literal["scatter", "gather"]
) -> None:
    derived = str(indexlang.compile(text).grad(form=form))
    assert str(indexlang.compile(derived)) == derived
    assert ".grad" in derived


# -- recursion ---------------------------------------------------------------------------------------

DEEP = "y[i] = " + "sin(" * 118 + "x[i]" + ")" * 118


def all_of(text: str) -> str:
    f = indexlang.compile(text)
    g = f.grad()
    f.plan(x=(3,))
    return str(g) + g.latex() + str(f.grad(form="gather"))


def test_no_frame_of_the_caller_counts() -> None:
    expected, limit = all_of(DEEP), sys.getrecursionlimit()

    def below(depth: int) -> str:
        return below(depth - 1) if depth else all_of(DEEP)

    assert below(limit // 2) == expected
    assert sys.getrecursionlimit() == limit


def test_a_small_stack_is_enough() -> None:
    found: list[str] = []
    size = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: found.append(all_of(DEEP)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(size)
    assert found == [all_of(DEEP)]


def test_a_size_that_is_asked_for_before_its_tensor_is_made() -> None:
    f = indexlang.compile("p[b] = s[b] where m < size(y,0)\ny[b] = p[b]*p[b]")
    found = f.grad()({"s": np.array([1.0, 2.0]), "y.grad": np.ones(2)})
    np.testing.assert_allclose(found["s.grad"], [8.0, 16.0])  # y = (2 s)**2, as m runs through two values


def test_what_stands_for_a_size_in_itself_is_refused() -> None:
    for line in ("y[...] = t[...]", "y[i] = t[i]"):
        text = f"shape t[N+size(y,0)]\nshape x[N]\nt[i] = x[i]\n{line}"
        refused("undeclared-shape", lambda text=text: indexlang.compile(text))


def test_sizes_deep_in_what_a_sum_is_divided_by() -> None:
    f = indexlang.compile("y[i] = x[i,j] / (1 + z[j]**size(y,0))")
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal((3, 4)), rng.random(4)
    y, pullback = f.vjp(x=x, z=z)
    np.testing.assert_allclose(y, (x / (1 + z**3)).sum(1))
    np.testing.assert_allclose(pullback(np.ones(3))["x"], np.tile(1 / (1 + z**3), (3, 1)))


@pytest.mark.parametrize("text", ["y = x[i] / 0", "y = x[i] / (0*size(x,0))", "y = mean[i](x[i]) where i < 0"])
def test_sums_that_are_divided_by_nothing_have_derivatives(text: str) -> None:
    assert "x.grad" in str(indexlang.compile(text).grad())


def test_an_option_may_call_functions() -> None:
    """Ours, those of the language, and those that earlier options make."""
    text = "twice(n) = 2*n\nlayer f(x; a=max(1, 2), b=twice(a)) -> y:\n    y[i] = a*b*x[i]"
    f = indexlang.compile(text)
    assert dict(f.options) == {"a": 2, "b": 4}
    np.testing.assert_array_equal(f(x=np.ones(2)), [8, 8])
    assert dict(indexlang.compile(text, b=1).options) == {"a": 2, "b": 1}


def test_a_gradient_whose_tensor_no_one_has() -> None:
    f = indexlang.compile("layer f(s) -> x.grad.grad:\n    x.grad.grad[k] = s[k]*s[k]")
    _, pullback = f.vjp(s=np.array([1.0, 3.0]))
    np.testing.assert_array_equal(pullback(np.ones(2))["s"], [2, 6])


def test_a_range_by_a_size_that_is_not_known_yet() -> None:
    f = indexlang.compile("y[b,j] = x[b+2**40,j] where j < size(y,0) - 9")
    refused("empty-range", lambda: f.plan(x=(3, 4)))


def test_steps_between_elements_that_are_alone_do_not_matter() -> None:
    f = indexlang.compile(f"y[i,o] = x[reflect({2**62 - 1}*i+d-1)]*k[d,o] where i < 1")
    x, k = np.array([1.0, 2.0, 4.0]), np.array([[1.0, 10.0], [100.0, 1000.0]])
    np.testing.assert_array_equal(f(x=x, k=k), [[2 + 100, 20 + 1000]])


def test_a_position_under_a_condition_on_numbers_alone() -> None:
    f = indexlang.compile("layer f(x, g[c]; eps=1.5) -> y:\n    y[...,c] = g[c]*x[...,c] where eps < 3")
    refused("index-out-of-range", lambda: f(x=np.ones(4), g=np.ones(4)))


def test_numbers_that_no_other_number_is_multiplied_by() -> None:
    """They stay factors: taken for numbers of a product, they brought in a factor of 1 again and again."""
    g = indexlang.compile("y[i] = cos(1e-320*pi*i/size(x,0)) * x[i]").grad()
    assert len(str(g)) < 100
    _, pullback = indexlang.compile("y[i] = x[i] * (1e-320*pi) * 2").vjp(x=np.ones(1))
    assert pullback(np.ones(1))["x"] == 2 * np.pi * 1e-320


def test_groups_are_merged_in_a_time_that_does_not_depend_on_their_number() -> None:
    f = indexlang.compile("y[i] = a[i] * b[i] + c[i]")
    refused("too-large", lambda: f.plan(a=(2**53 + 1,), b=(2**53 + 1,), c=(2**53 + 1,)))


def test_a_hundred_comparisons_have_a_pullback() -> None:
    f = indexlang.compile(f"y[i,j] = x[i,k] + w[k,k+j] where ({'<'.join(['i'] * 170)}) or j >= 0")
    y, pullback = f.vjp(x=np.ones((3, 2)), w=np.ones((2, 4)))
    np.testing.assert_array_equal(y, np.full((3, 3), 4.0))
    np.testing.assert_array_equal(pullback(y)["x"], np.full((3, 2), 12.0))


def test_a_window_by_a_size_that_is_not_known_yet() -> None:
    f = indexlang.compile("y[int(inf)] = x[size(y,0)*i+k] * w[k]")
    with pytest.raises(indexlang.IndexLangError):
        f.plan(x=(3,), w=(2,))
