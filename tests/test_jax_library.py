"""The standard layers on JAX: values, and gradients by the two parts of `vjp`, as on NumPy."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")
pytest.importorskip("llvmlite", reason="what says how a layer is called is beside the native backend's tests")

from jax_cases import long_numbers
from library_cases import CASES, Case
from test_native_library import assert_same, compiled, pulled

from indexlang import DerivationError

pytestmark = pytest.mark.usefixtures("long_numbers")
__all__ = ["long_numbers"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_layer_is_numpys(case: Case) -> None:
    found, right = compiled(case, "jax"), compiled(case, "numpy")
    arrays = case.arrays()
    try:
        expected, gradients = pulled(right, arrays)
    except DerivationError:
        assert_same(found(**arrays), right(**arrays), 1e-9)
        return
    values, pulls = pulled(found, arrays)
    assert_same(values, expected, 1e-9)
    assert_same(pulls, gradients, 1e-9)
