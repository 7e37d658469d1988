"""Conditions: negation, parts, margins and truths, against all points one by one, and against the parser."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.program.conditions import (
    COMPARISONS,
    as_mask,
    comparisons,
    conjuncts,
    is_range,
    margins,
    negation,
    value_at,
)
from indexlang.program.ir import Access, Call, Const, Expr, Index, Size
from indexlang.program.text import expr_text
from indexlang.syntax.parser import parse

FIRST, SECOND = Index("i"), Index("j")
POINTS = [{"i": i, "j": j} for i, j in itertools.product(range(-2, 5), repeat=2)]


def forms() -> st.SearchStrategy[Expr]:
    leaves = st.sampled_from([FIRST, SECOND, Const(2), Const(-1), Const(0), Const(3)])
    pair = lambda inner: st.builds(  # noqa: E731
        lambda fn, a, b: Call(fn, (a, b)), st.sampled_from(("add", "sub", "mul", "min", "max")), inner, inner
    )
    by = lambda inner: st.builds(  # noqa: E731
        lambda fn, a, m: Call(fn, (a, Const(m))), st.sampled_from(("floordiv", "mod")), inner, st.sampled_from((2, 3))
    )
    return st.recursive(leaves, lambda inner: pair(inner) | by(inner), max_leaves=4)


def conditions() -> st.SearchStrategy[Expr]:
    orders = st.builds(lambda fn, a, b: Call(fn, (a, b)), st.sampled_from(sorted(COMPARISONS)), forms(), forms())
    negated = lambda inner: st.builds(lambda a: Call("not", (a,)), inner)  # noqa: E731
    both = lambda inner: st.builds(  # noqa: E731
        lambda fn, a, b: Call(fn, (a, b)), st.sampled_from(("and", "or")), inner, inner
    )
    return st.recursive(orders, lambda inner: negated(inner) | both(inner), max_leaves=4)


often = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@often
@given(conditions())
def test_at_every_point(condition: Expr) -> None:
    negative, mask, parts = negation(condition), as_mask(condition), list(conjuncts(condition))
    found = list(comparisons(condition))
    for point in POINTS:
        holds = value_at(condition, point)
        assert holds in (0, 1)
        assert value_at(negative, point) == 1 - holds
        assert value_at(mask, point) == holds
        assert all(value_at(p, point) for p in parts) == bool(holds)
        if holds:  # what must be true, and not negative, is
            assert all(value_at(Call(fn, (a, b)), point) for fn, a, b in found)
            assert all((value_at(m.to_expr(), point) or 0) >= 0 for m in margins(condition))
    assert not is_range(mask)
    assert not is_range(negative) or is_range(condition.args[0] if isinstance(condition, Call) else condition)


@pytest.mark.parametrize("fn", ["lt", "le", "gt", "ge"])
def test_real_numbers_have_no_opposite(fn: str) -> None:
    """nan < 0 is false, and so is nan >= 0."""
    condition = Call(fn, (Access("x", (FIRST,)), Const(0)))
    assert negation(condition) == Call("not", (condition,))
    assert list(margins(condition)) == []
    assert value_at(condition, {"i": 0}) is None


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (Call("lt", (FIRST, Const(4))), True),
        (Call("ge", (Call("sub", (Size("x", 0), Const(1))), FIRST)), True),
        (Call("lt", (FIRST, SECOND)), False),
        (Call("lt", (Call("add", (FIRST, Const(1))), Const(4))), False),
        (Call("eq", (FIRST, Const(2))), False),
        (Call("not", (Call("lt", (FIRST, Const(4))),)), False),
        (Call("lt", (FIRST, Access("n", (SECOND,)))), False),
    ],
    ids=lambda value: expr_text(value) if isinstance(value, Call) else str(value),
)
def test_a_range_is_what_the_parser_takes_for_one(condition: Expr, expected: bool) -> None:
    assert is_range(condition) is expected
    text = f"y[i,j] = x[i] * z[j] * n[j] where {expr_text(condition)}\n"
    domain = resolve(parse(Source(text))).statements[0].domain
    assert bool(domain.ranges) is expected
    assert bool(domain.masks) is not expected


def test_what_is_not_known_at_a_point() -> None:
    assert value_at(Call("lt", (FIRST, Size("x", 1))), {"i": 2}, {"x": (5, 3)}) == 1
    assert value_at(Call("lt", (FIRST, Size("x", 1))), {"i": 2}) is None
    assert value_at(Call("mod", (FIRST, Const(0))), {"i": 2}) is None
    assert value_at(SECOND, {"i": 2}) is None
    assert value_at(Const(0.5), {}) is None
