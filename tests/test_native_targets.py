"""The corpus by code for older machines than this one: other widths of vectors, fewer registers, no multiply-add."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Iterator
from random import Random

import numpy as np
import pytest
from corpus import CASES, Case
from test_native_corpus import NEAR, arrays_of, assert_same, compiled, pulled

pytest.importorskip("llvmlite", reason="the native backend needs it")

from indexlang.backends.native import engine, load
from indexlang.backends.native.target import AVX2, AVX512, BASELINE, Target
from indexlang.errors import IndexLangWarning

LEVELS = {"x86-64": BASELINE, "avx2": AVX2, "avx512": AVX512}
SHARE = 4  # of the corpus a level is tried with one in so many, others each time; INDEXLANG_SLOW: with all


def able(level: Target) -> bool:
    """Whether this machine runs code for a level."""
    own = engine.host()
    return platform.machine() in ("x86_64", "AMD64") and own.vector >= level.vector and (own.fused or not level.fused)


def chosen(level: str) -> list[Case]:
    if "INDEXLANG_SLOW" in os.environ:
        return list(CASES)
    return Random(f"{level} {os.environ['INDEXLANG_SEED']}").sample(CASES, len(CASES) // SHARE)


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Code for this level."""
    target = LEVELS[request.param]
    if not able(target):
        pytest.skip(f"this machine does not run code for {request.param}")
    monkeypatch.setattr(load, "machine", lambda: target)
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", IndexLangWarning)
        yield request.param


def test_the_corpus_on_older_machines(level: str) -> None:
    for case in chosen(level):
        arrays = arrays_of(case, "float32")
        found, right = (pulled(compiled(case, backend), arrays) for backend in ("native", "numpy"))
        if isinstance(found, str) or isinstance(right, str):
            assert found == right, case.name
            continue
        for one, other in zip(found, right, strict=True):
            assert_same(one, other, NEAR["float32"])
