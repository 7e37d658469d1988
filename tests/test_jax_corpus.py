"""The corpus on JAX: each program, and the one derived from it, as on NumPy."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

from corpus import Case
from jax_cases import assert_same, long_numbers, on_jax
from test_corpus import EACH, GRADIENTS, arguments, backward_of, program_of, run

pytestmark = pytest.mark.usefixtures("long_numbers")
__all__ = ["long_numbers"]


@EACH
def test_is_as_on_numpy(case: Case) -> None:
    assert_same(on_jax(program_of(case), case.arrays()), run(program_of(case), case.arrays()))


@GRADIENTS
def test_derived_is_as_on_numpy(case: Case) -> None:
    assert_same(on_jax(backward_of(case), arguments(case)), run(backward_of(case), arguments(case)))
