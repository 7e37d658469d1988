"""Products, sums and powers taken apart: what is put together again is the same number."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import indexlang
from indexlang.oracle import loops
from indexlang.program.algebra import factors_of, multiplied, product, product_of, sum_of, terms_of
from indexlang.program.ir import Access, Call, Const, Expr, Index
from indexlang.rewrite.simplify import simplify

LEAVES = [Access(t, (Index("i"),)) for t in "abc"]


def trees(*functions: str) -> st.SearchStrategy[Expr]:
    """Expressions of some operators over three tensors and numbers."""
    leaves = st.one_of(st.sampled_from(LEAVES), st.sampled_from((Const(2), Const(-3), Const(0.5), Const(1))))

    def larger(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        def call(fn: str, a: Expr, b: Expr) -> Expr:
            return Call(fn, (a,) if fn == "neg" and not isinstance(a, Const) else (a, b) if fn != "neg" else (b, a)[:1])

        return st.builds(call, st.sampled_from(functions), inner, inner)

    return st.recursive(leaves, larger, max_leaves=12)


def value(expr: Expr) -> float:
    match expr:
        case Const(number):
            return float(number)
        case Access(tensor):
            return {"a": 1.25, "b": -0.75, "c": 3.0}[tensor]
        case Call("neg", (a,)):
            return -value(a)
        case Call(fn, (a, b)):
            x, y = value(a), value(b)
            assume(fn != "div" or y)
            apply = {"mul": operator.mul, "div": operator.truediv, "add": operator.add, "sub": operator.sub}
            return float({**apply, "pow": operator.pow}[fn](x, y))
        case _:
            raise AssertionError(expr)


often = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@often
@given(trees("mul", "div", "neg", "add"))
def test_factors_multiply_to_the_product(expr: Expr) -> None:
    parts = factors_of(expr)
    assert not any(isinstance(f, Call) and f.fn in ("mul", "div") for f, below in parts if not below)
    found = math.prod(1 / value(f) if below else value(f) for f, below in parts)
    assert found == pytest.approx(value(expr), rel=1e-12, abs=1e-12)
    again = product_of([f for f, below in parts if not below] or [Const(1)], [f for f, below in parts if below])
    assert value(again) == pytest.approx(value(expr), rel=1e-12, abs=1e-12)
    assert value(product(expr).expr()) == pytest.approx(value(expr), rel=1e-9, abs=1e-12)
    assert math.prod(map(value, multiplied(expr))) == pytest.approx(value(expr), rel=1e-12, abs=1e-12)


@often
@given(trees("add", "sub", "neg", "mul"))
def test_terms_add_to_the_sum(expr: Expr) -> None:
    parts = terms_of(expr)
    assert not any(isinstance(t, Call) and t.fn in ("add", "sub", "neg") for _, t in parts)
    assert sum(sign * value(t) for sign, t in parts) == pytest.approx(value(expr), rel=1e-12, abs=1e-12)
    assert value(sum_of(parts)) == pytest.approx(value(expr), rel=1e-12, abs=1e-12)
    assert value(simplify(expr)) == pytest.approx(value(expr), rel=1e-9, abs=1e-12)


def test_what_is_not_opened_stays_whole() -> None:
    a, b, c = LEAVES
    quotient = Call("div", (a, b))
    product_of_quotient = Call("mul", (quotient, c))
    assert factors_of(product_of_quotient, lambda call: call.fn == "mul") == [(quotient, False), (c, False)]
    assert factors_of(Call("div", (Call("div", (a, b)), c))) == [(a, False), (b, True), (c, True)]
    assert terms_of(Call("sub", (a, Call("sub", (b, c))))) == [(1, a), (-1, b), (1, c)]


EXPONENTS = (
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "-1",
    "-2",
    "-4",
    "0.5",
    "0.25",
    "-0.75",
    "1.75",
    "2.25",
    "2.0",
    "inf",
    "-inf",
)


@pytest.mark.parametrize("count", [3, 30_000])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_power_is_right_however_it_is_computed(exponent: str, count: int) -> None:
    f = indexlang.compile(f"y[i] = x[i]**{exponent} * 2 + x[i]")
    x = np.resize([0.5, 2.0, 3.0, 0.0], count)
    expected = loops.run(f.program, {"x": x[:4]})["y"] if count > 3 else loops.run(f.program, {"x": x})["y"]
    np.testing.assert_allclose(f(x=x), np.resize(expected, count), rtol=1e-14)
