"""Derived gradients are no longer than those of the textbooks, and have their values; the page shows both."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from gradients import ROWS, Row, backward, length, page
from numpy.typing import NDArray

from indexlang.calls.function import Function
from indexlang.oracle import gradcheck
from indexlang.program.ir import Program

PAGE = Path(__file__).resolve().parent.parent / "docs" / "gradients.md"
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)


def arrays(row: Row) -> dict[str, NDArray[np.float64]]:
    rng = np.random.default_rng(zlib.crc32(row.name.encode()))
    given = {}
    for name, shape in row.inputs.items():
        if name in row.integers:
            given[name] = rng.integers(0, row.integers[name], shape)
        else:
            low = 0.5 if name in row.positive else -2.0
            given[name] = gradcheck.spread(shape, rng, low, 8.0 if "relu6" in row.name else 2.0)
    return given


def run(program: Program, given: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = Function(program, always_dict=True)(**{n: given[n] for n in program.inputs})
    return found


@EACH
def test_ours_is_no_longer(row: Row) -> None:
    book, ours = length(backward(row.book)), length(backward(row.ours))
    assert ours.statements <= book.statements
    assert ours.terms <= book.terms
    assert ours.factors <= book.factors


@EACH
def test_both_have_the_same_values(row: Row) -> None:
    given = arrays(row)
    values = row.function(**given)
    outputs = values if isinstance(values, dict) else {row.function.outputs[0]: values}
    cotangents = gradcheck.random_cotangents(outputs)
    given |= {f"{name}.grad": np.asarray(value) for name, value in cotangents.items()}
    book, ours = run(row.book, given), run(row.ours, given)
    assert set(ours) <= set(book)
    for name, value in ours.items():
        assert value.shape == given[name.removesuffix(".grad")].shape
        np.testing.assert_allclose(value, book[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_the_page_shows_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python tests/gradients.py > docs/gradients.md"
