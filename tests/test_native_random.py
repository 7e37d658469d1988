"""Programs of the native fuzz: those that failed once, and some of a fresh seed. `make fuzz-native` is the long run."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

from native_fuzz.attempt import attempt, made

FAILED = ("b:120", "c:40", "c:48")
FRESH = 6


def assert_right(name: str) -> None:
    failures = attempt(name)
    shown = "\n".join(f"{f.stage}, {f.signature}: {f.detail}" for f in failures)
    assert not failures, f"{name}\n{made(name).text}\n{shown}"


@pytest.mark.parametrize("name", FAILED)
def test_programs_that_failed(name: str) -> None:
    assert_right(name)


@pytest.mark.parametrize("number", range(FRESH))
def test_fresh_programs(number: int) -> None:
    assert_right(f"{os.environ['INDEXLANG_SEED']}:{number}")
