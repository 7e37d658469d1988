"""One seed for the random programs of a run, the same in all its processes, and printed; what runs programs.

A Function that names no backend runs natively where llvmlite is installed. Files that are about the plans and sources
of the NumPy backend say so: `pytestmark = pytest.mark.usefixtures("on_numpy")`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

os.environ.setdefault("INDEXLANG_SEED", secrets.token_hex(3))


def pytest_report_header() -> str:
    return f"INDEXLANG_SEED={os.environ['INDEXLANG_SEED']}"


@pytest.fixture(scope="module")
def on_numpy() -> Iterator[None]:
    """While the tests of a file run, what names no backend runs on NumPy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INDEXLANG_BACKEND", "numpy")
        yield
