"""What is proved of sizes: each proof against all small sizes, and what must be provable."""

from __future__ import annotations

from itertools import product

import pytest

from indexlang.program.affine import Affine, floordiv, least, not_negative, size
from indexlang.program.text import expr_text

H, W = size("x", 0), size("x", 1)


def half(form: Affine, by: int = 2) -> Affine:
    return floordiv(form, Affine(by))


@pytest.mark.parametrize(
    ("form", "proved"),
    [
        (half(H + 1) - half(H), True),
        (half(H) - half(H + 1), False),
        (half(H + W) - half(H), True),
        (half(H + 3, 3) * 2 - half(H, 3) * 2, True),
        (half(H + 1) * 2 - half(H) * 3, False),
        (half(H + 1) * 3 - half(H) * 2, True),
        (half(H, 3) - half(H, 2), False),
        (half(H + 1) - half(H) - 1, False),
    ],
    ids=lambda value: expr_text(value.to_expr()) if isinstance(value, Affine) else "",
)
def test_quotients_are_compared(form: Affine, proved: bool) -> None:
    assert not_negative(form) == proved
    values = [form.value({"x": (h, w)}) for h, w in product(range(7), range(4))]
    assert all(v >= 0 for v in values) or not proved


def test_the_least_of_two_quotients_is_one() -> None:
    assert least(half(H + 1) - 1, half(H) - 1) == half(H) - 1
    assert least(half(H + 1), half(W)) != half(W)
