"""Each program of the corpus by nests: its values are the loops', its gradients NumPy's, at any number of threads."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from corpus import CASES, Case
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang import threads
from indexlang.backends.native import runner
from indexlang.calls.function import Function
from indexlang.errors import IndexLangError, IndexLangWarning
from indexlang.oracle import loops

Array = NDArray[Any]
Arrays = Mapping[str, Array]
NEAR = {"float32": 3e-5, "float64": 1e-10}

EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every plan and nest is, and whatever can be shared is."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", IndexLangWarning)
        yield
    threads.set_num_threads(None)


def compiled(case: Case, backend: Any) -> Function:
    return indexlang.compile(case.text, layer=case.layer, options=dict(case.options), backend=backend)


def arrays_of(case: Case, dtype: str) -> Arrays:
    return {n: a.astype(dtype) if a.dtype == np.float64 else a for n, a in case.arrays().items()}


def named(f: Function, found: Any) -> dict[str, Array]:
    return {n: np.asarray(a) for n, a in (found if isinstance(found, dict) else {f.outputs[0]: found}).items()}


def assert_same(found: Arrays, right: Arrays, near: float, typed: bool = True) -> None:
    assert set(found) == set(right)
    for name, value in right.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype or not typed, name
        size = np.max(np.abs(value[np.isfinite(value)]), initial=1) if value.dtype.kind in "fc" else 0
        np.testing.assert_allclose(found[name], value, rtol=near, atol=near * float(size), err_msg=name)


def assert_same_bits(found: Arrays, again: Arrays) -> None:
    for name, value in found.items():
        assert again[name].tobytes() == value.tobytes(), name


@EACH
def test_values_are_the_loops(case: Case) -> None:
    f, arrays = compiled(case, "native"), case.arrays()
    threads.set_num_threads(1)
    found = named(f, f(**arrays))
    assert_same(found, loops.run(f.program, arrays), 1e-10)
    threads.set_num_threads(3)
    assert_same_bits(found, named(f, f(**arrays)))


def pulled(f: Function, arrays: Arrays) -> tuple[dict[str, Array], dict[str, Array]] | str:
    """The values and the gradients, or the name of the error."""
    try:
        y, pullback = f.vjp(**arrays)
        rng = np.random.default_rng(0)
        given = {n: rng.standard_normal(v.shape).astype(v.dtype) for n, v in named(f, y).items() if v.dtype.kind == "f"}
        return named(f, y), pullback(given)
    except IndexLangError as error:
        return str(error)


@EACH
def test_gradients_are_numpys(case: Case) -> None:
    dtype = ("float32", "float32", "float64")[CASES.index(case) % 3]
    arrays = arrays_of(case, dtype)
    f = compiled(case, "native")
    right = pulled(compiled(case, "numpy"), arrays)
    threads.set_num_threads(1)
    found = pulled(f, arrays)
    if isinstance(right, str) or isinstance(found, str):
        assert found == right
        return
    for a, b in zip(found, right, strict=True):
        assert_same(a, b, NEAR[dtype])
    threads.set_num_threads(3)
    again = pulled(f, arrays)
    for a, b in zip(found, again, strict=True):
        assert_same_bits(a, b)
