"""`make` with a Python that is too old, or none: one sentence at once, and nothing is made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OLD = f"""#!/bin/sh
case "$1" in
    --version) echo "Python 3.10.9" ;;
    *) exec {sys.executable} -c 'import sys; sys.version_info = (3, 10, 9); exec(sys.argv[1])' "$2" ;;
esac
"""

pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or sys.platform == "win32",
    reason="needs make and a shell, which the README goes without",
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "python3.10"
    path.write_text(OLD)
    path.chmod(0o755)
    return path


def make(*words: str) -> str:
    alone = {
        n: v for n, v in os.environ.items() if not n.startswith(("MAKE", "MFLAGS"))
    }  # of a make that runs the tests
    found = subprocess.run(["make", *words], cwd=ROOT, env=alone, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stdout == ""
    return found.stderr


def test_an_older_python_is_told_before_anything_is_installed(old: Path, tmp_path: Path) -> None:
    said = make("demo", f"VENV={tmp_path}/venv", f"PYTHON={old}")
    assert f"indexlang needs Python 3.11 or newer; {old} is Python 3.10.9.\n" in said
    assert "make demo PYTHON=" in said
    assert not (tmp_path / "venv").exists()


def test_no_python_is_told(tmp_path: Path) -> None:
    assert "; /no/python is none.\n" in make("test", f"VENV={tmp_path}/venv", "PYTHON=/no/python")


def test_an_environment_of_an_older_python_is_told(old: Path, tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    shutil.copy(old, tmp_path / "venv" / "bin" / "python")
    assert f"Remove {tmp_path}/venv and start again." in make("check", f"VENV={tmp_path}/venv")
