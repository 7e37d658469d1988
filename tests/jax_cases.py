"""What tests of the JAX backend share: jax with numbers of 64 bits, a program on it beside NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indexlang.program.ir import Program

Arrays = dict[str, NDArray[Any]]
jax = pytest.importorskip("jax", reason="jax is not installed: python -m pip install 'indexlang[jax]'")

from indexlang.backends.jax.load import compiled  # noqa: E402
from indexlang.staged.traced import lowering  # noqa: E402


@pytest.fixture
def long_numbers() -> Iterator[None]:
    """jax with numbers of 64 bits."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def on_jax(program: Program, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """The outputs of a program by name, under jit."""
    sizes = {n: arrays[n].shape for n in program.inputs}
    found = compiled(lowering(program, sizes, {n: arrays[n].dtype.name for n in program.inputs}))
    return dict(zip(program.outputs, found.run(*(arrays[n] for n in program.inputs)), strict=True))


def assert_same(found: Arrays, expected: Arrays, tolerance: float = 1e-9) -> None:
    """The same values within a tolerance, and the same types."""
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert (found[name].shape, found[name].dtype) == (value.shape, value.dtype), name
        np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)
