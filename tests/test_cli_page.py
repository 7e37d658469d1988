"""What is said of the command line elsewhere: its page, the completions, the hooks; none forgets an option."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from indexlang.cli import arguments, commands, completion
from indexlang.cli.arguments import COMMANDS, Word, words

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_every_command_runs_and_has_a_section() -> None:
    assert list(words()) == list(COMMANDS) == list(commands.COMMANDS)
    assert re.findall(r"^## `indexlang (\w+)", PAGE, re.MULTILINE) == list(COMMANDS)


def row(word: Word) -> str:
    """A line of the page."""
    behind = f" {word.value}" if word.value and not word.choices else ""
    spelled = [f"`{flag}{behind}`" for flag in word.flags] or [f"`{word.value}`"]
    return f"| {', '.join(spelled)} | {word.text}{f': {word.value}' if word.choices and word.flags else ''} |"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_every_option(command: str) -> None:
    section = re.split(r"^## ", PAGE.partition(f"## `indexlang {command}")[2], flags=re.MULTILINE)[0]
    said = [line for line in section.splitlines() if line.startswith("| `")]
    assert said == [row(word) for word in words()[command] if "--help" not in word.flags]


def test_the_page_has_every_variable() -> None:
    """All that any of our files reads of the environment."""
    files = [ROOT / "Makefile", *(f for d in ("indexlang", "tests", "examples") for f in (ROOT / d).rglob("*.py"))]
    named = {name for f in files for name in re.findall(r"\bINDEXLANG_[A-Z_]+", f.read_text(encoding="utf-8"))}
    read = re.compile(r"""(?:environ(?:\.get)?[(\[]|getenv\()"([A-Z0-9_]+)""")
    named |= {name for f in (ROOT / "indexlang").rglob("*.py") for name in read.findall(f.read_text(encoding="utf-8"))}
    assert len(named) > 8
    assert not {name for name in named if f"`{name}`" not in PAGE}


@pytest.mark.skipif(not shutil.which("bash"), reason="needs a shell")
def test_the_page_can_be_followed_from_its_top_in_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "indexlang").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m indexlang "$@"\n')
    (tmp_path / "bin" / "indexlang").chmod(0o755)
    folder = tmp_path / "empty"
    folder.mkdir()
    paths = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ran = 0
    for kind, text in re.findall(r"^```(\w[^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        if kind.startswith("idx file "):
            (folder / kind.removeprefix("idx file ")).write_text(text, encoding="utf-8")
        lines = text.splitlines() if kind == "sh" else [c[2:] for c in text.splitlines() if c.startswith("$ ")]
        for line in lines:
            if "# in ~" in line or line.startswith("indexlang check -e"):  # of another shell; a mistake that is shown
                continue
            done = subprocess.run(["bash", "-ec", f"set -o pipefail; {line}"], cwd=folder, env={**os.environ, **paths})
            assert done.returncode == 0, line
            ran += 1
    assert ran > 9
    assert sorted(p.name for p in folder.iterdir()) == ["average.idx", "conv2d.py", "layers.idx", "x.npy"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_have_every_word(shell: str) -> None:
    text = completion.script(shell)
    for command, taken in words().items():
        assert re.search(rf"\b{command}\b", text)
        for word in taken:
            for flag in word.flags:
                assert (f"-{'l' if flag[1] == '-' else 's'} {flag.lstrip('-')}" if shell == "fish" else flag) in text
            assert not word.choices or " ".join(word.choices) in text


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["g"], ["grad", "gradcheck"]),
        (["grad", "--fo"], ["--form", "--format"]),
        (["grad", "--form", ""], ["scatter", "gather"]),
        (["check", "--format", ""], ["text", "json"]),
        (["grad", ""], []),  # files, by bash itself
        (["completion", "z"], ["zsh"]),
    ],
)
def test_bash_completes(typed: list[str], found: list[str]) -> None:
    line = ["indexlang", *typed]
    code = f"{completion.script('bash')}\nCOMP_WORDS=({shlex.join(line)}) COMP_CWORD={len(typed)}\n_indexlang\n"
    done = subprocess.run(["bash", "-c", code + 'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True)
    assert done.stdout.split() == found


def test_the_hooks_are_commands() -> None:
    text = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"^  entry: indexlang (.*)$", text, re.MULTILINE)
    assert [arguments.parse([*shlex.split(entry), "a.idx", "b.idx"]).command for entry in entries] == ["fmt", "check"]
    assert re.findall(r"^  files: (.*)$", text, re.MULTILINE) == [r"\.idx$"] * 2
