"""Code as a tree: brackets where they are needed, sums and products of positions."""

import pytest

from indexlang.backends.numpy.code import Call, Item, Name, Number, Operator, Slice, call, plus, text, times

a, b, c = Name("a"), Name("b"), Name("c")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (Operator("*", (Operator("+", (a, b)), c)), "(a + b) * c"),
        (Operator("+", (Operator("*", (a, b)), c)), "a * b + c"),
        (Operator("-", (a, Operator("-", (b, c)))), "a - (b - c)"),
        (Operator("-", (Operator("-", (a, b)), c)), "a - b - c"),
        (Operator("-", (Operator("+", (a, b)),)), "-(a + b)"),
        (Operator("**", (Operator("-", (a,)), Number(2))), "(-a) ** 2"),
        (Operator("*", (Number(-2), a)), "-2 * a"),
        (Operator("**", (Number(-2.0), a)), "(-2.0) ** a"),
        (Operator("==", (Operator("==", (a, b)), c)), "(a == b) == c"),
        (Call("astype", (b,), (), Operator("+", (a, b))), "(a + b).astype(b)"),
        (Item(Operator("+", (a, b)), (Slice(None, Number(3)), None)), "(a + b)[:3, None]"),
        (Item(a, (Slice(b, None, -1), Number(0))), "a[b::-1, 0]"),
        (call("f", 1, a, out=b), "f(1, a, out=b)"),
        (Number(float("-inf")), "-np.inf"),
        (Operator("-", (a, Number(float("nan")))), "a - np.nan"),
    ],
)
def test_brackets_are_where_they_are_needed(code, said):
    assert text(code) == said


def test_sums_and_products_of_positions_are_added_up():
    assert text(plus(3, [(1, Number(4)), (2, a), (-1, b)])) == "2 * a - b + 7"
    assert text(plus(-2, [(-3, a), (1, b)])) == "b - 3 * a - 2"
    assert text(plus(0, [(-1, a)])) == "-a"
    assert text(plus(0, [])) == "0"
    assert text(times([Number(3), a, Number(4), b])) == "a * b * 12"
    assert text(times([Number(1), a])) == "a"
