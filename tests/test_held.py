"""The page of inputs that once failed names tests that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "held.md"


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((HERE / f"{file}.py").read_text(encoding="utf-8"))
    return frozenset(n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef))


def test_the_tests_that_are_named_are_there() -> None:
    named = 0
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        file = ""
        for found in re.finditer(r"(?:(\btest_\w+))?(?:::(test_\w+))?", row.rpartition(" | ")[2]):
            file = found[1] or file
            if file and found[0]:
                assert found[2] is None or found[2] in names_in(file), f"{file} has no {found[2]}"
                named += names_in(file) is not None
    assert named > 100


def test_every_row_has_a_test() -> None:
    for row in PAGE.read_text(encoding="utf-8").splitlines():
        if row.startswith("| ") and not row.startswith(("| input", "| ---")):
            assert len(row.split(" | ")) == 3, row
            assert re.search(r"test_|\.txt|the same|\[.+\]|threads above", row.rpartition(" | ")[2]), row
