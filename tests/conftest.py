"""One seed for the random programs of a run, the same in all its processes, and printed."""

from __future__ import annotations

import os
import secrets

os.environ.setdefault("INDEXLANG_SEED", secrets.token_hex(3))


def pytest_report_header() -> str:
    return f"INDEXLANG_SEED={os.environ['INDEXLANG_SEED']}"
