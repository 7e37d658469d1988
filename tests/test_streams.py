"""Streams that are closed, full or know little, and text that is not the command's own: no traceback, nothing lost."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from indexlang.cli import commands, streams
from indexlang.cli.arguments import said
from indexlang.errors import Problem, Source, Span, render, shown

Capsys = pytest.CaptureFixture[str]

COPY = "y[i] = x[i]"
DERIVED = "x.grad[i] += y.grad[i]\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def in_a_shell(redirected: str, *argv: str | bytes) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command with some streams redirected."""
    words = ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-m", "indexlang", *argv]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


UNWRITTEN = "error[file]: cannot write standard output: "
ELSEWHERE = "  way out: write the result elsewhere\n"


@pytest.mark.parametrize(
    ("redirected", "argv", "found"),
    [
        ("2>&-", ("grad", "-e", COPY), (0, DERIVED, "")),
        ("2>&-", ("grad", "-e", "y[i"), (1, "", "")),
        ("2>&-", ("nonsense",), (2, "", "")),
        ("2>/dev/full", ("grad", "-e", "y[i"), (1, "", "")),
        (">&-", ("grad", "-e", COPY), (1, "", f"{UNWRITTEN}bad file descriptor\n{ELSEWHERE}")),
        (">&-", ("fmt", "--check", "-e", COPY), (0, "", "")),  # there is nothing to say
        (">/dev/full", ("grad", "-e", COPY), (1, "", f"{UNWRITTEN}no space left on device\n{ELSEWHERE}")),
        (">/dev/full", ("--version",), (1, "", f"{UNWRITTEN}no space left on device\n{ELSEWHERE}")),
        ("<&-", ("grad", "-"), (1, "", "error[file]: cannot read standard input: bad file descriptor\n")),
        ("<&- >&- 2>&-", ("grad", "-e", COPY), (1, "", "")),
    ],
)
def test_streams_that_are_closed_or_full(redirected: str, argv: tuple[str, ...], found: tuple[int, str, str]) -> None:
    assert in_a_shell(redirected, *argv) == found


def test_a_file_does_not_get_the_number_of_a_closed_stream() -> None:
    code = "from indexlang.cli.streams import attended\nattended(lambda: print(open('f', 'w').fileno()) or 0)"
    done = subprocess.run(["sh", "-c", '"$@" <&- 2>&-', "sh", sys.executable, "-c", code], capture_output=True)
    assert int(done.stdout) > 2


def test_a_terminal_that_knows_only_ascii() -> None:
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1"}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-m", "indexlang", "grad", "-e", "y[i] = α * x[i]", "--wrt", "α"]
    done = subprocess.run(argv, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    assert (done.returncode, os.read(ours, 4096)) == (0, b"\\u03b1.grad += y.grad[i] * x[i]\r\n")
    os.close(ours)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("αβ x", "αβ x"),
        ("a\x1b[31m\x07\n\x7f", "a\\x1b[31m\\x07\\n\\x7f"),
        ("\u202eright to left\u200b", "\\u202eright to left\\u200b"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_is_no_text_is_escaped(text: str, result: str) -> None:
    assert shown(text) == result


def test_errors_show_no_text_of_others_as_it_is() -> None:
    source = Source("y = x\x1b[31m", "a\x1b]0;b\udcff\n.idx")
    span = Span(source, 4, 5)
    problem = Problem("code", "'\x1b' is it", span, ("\x9b",), "\x08", (("also\r", span),))
    assert all(line.isprintable() for line in render(problem).split("\n"))
    assert render(problem).startswith("a\\x1b]0;b\\xff\\n.idx:1:5: error[code]: '\\x1b' is it\n")


@pytest.mark.parametrize("command", [["check"], ["grad"], ["fmt", "--check"], ["check", "--format", "json"]])
@pytest.mark.parametrize("name", [b"a\xff.idx", b"a\x1b[31m\n.idx"])
@pytest.mark.parametrize("text", [b"y[i]=x[i]\n", b"y[i\n"])
def test_file_names_of_any_bytes(command: list[str], name: bytes, text: bytes, capsys: Capsys) -> None:
    file = os.fsdecode(name)
    Path(file).write_bytes(text)
    status = commands.main([*command, file])
    said_ = "".join(capsys.readouterr())
    said_.encode()
    assert said_.replace("\n", "").isprintable()
    assert status == (1 if text != b"y[i]=x[i]\n" or "fmt" in command else 0)
    if "json" in command:
        assert [e["file"] for e in json.loads(said_)["errors"]] == [file] * status
    elif command[0] != "grad" or status:
        assert shown(file) in said_


@pytest.mark.parametrize(
    "argv",
    [
        ["grad", "-e", COPY, "--wrt", "x\udcff"],
        ["grad", "-e", "y[i] = x\udcff[i]"],
        ["grad", "-e", COPY, "--layer", "\udcff\x1b[31m"],
        ["grad", "-e", COPY, "-O", "\udcff=1"],
        ["explain", "-e", COPY, "--shape", "\udcff=3"],
        ["explain", "-e", COPY, "--shape", "\udcff"],
        ["explain", "-e", COPY, "--shape", "x=\u0663"],
        ["explain", "-e", COPY, "--shape", "x=3,,3"],
        ["explain", "-e", COPY, "--shape", "x=99999999999999999999"],
        ["explain", "-e", COPY, "--shape", "x=3", "--dtype", "\udcff"],
        ["explain", "-e", COPY, "--shape", "x=3", "--dtype", ","],
        ["explain", "-e", COPY, "--shape", "x=3", "--dtype", "object"],
        ["run", "-e", COPY, "-i", "\udcff=\udcff.npy"],
        ["grad", "a\0b.idx"],
        ["run", "-e", COPY, "-i", "x=a\0b.npy"],
        ["run", "-e", COPY, "-i", "a\0b.npz"],
        ["run", "-e", "y[i] = i where i < 3", "-o", "y=a\0b.npy"],
        ["grad", "\udcff\x1b[31m"],
        ["\udcff\x1b[31m"],
        ["grad", "-e", COPY, "-\udcff\x1b[31m"],
        ["grad", "-e", COPY, "-O", "=1"],
        ["grad", "-e", COPY, "-O", "n=1_0"],
        ["grad", "-e", COPY, "-O", "n=\u0663"],
        ["summary", "\udcff\x1b[31m"],
    ],
)
def test_options_of_any_bytes_are_clear_errors(argv: list[str], capsys: Capsys) -> None:
    assert ended(argv) in (1, 2)
    out, err = capsys.readouterr()
    err.encode()
    assert err.replace("\n", "").isprintable() and "error" in err
    assert not out


def ended(argv: list[str]) -> object:
    """The exit status, also of wrong usage."""
    try:
        return commands.main(argv)
    except SystemExit as leaving:
        return leaving.code


def test_arguments_are_utf8_whatever_the_locale() -> None:
    assert said("α") == "α"
    assert said("α".encode().decode("ascii", "surrogateescape")) == "α"
    assert said("\udcff") == "\udcff"


def test_comments_reach_a_terminal_without_their_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        written = ""

        def write(self, text: str) -> None:
            self.written += text

        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    commands.main(["fmt", "-e", f"{COPY} # \x9b31m"])
    assert terminal.written == f"{COPY}  # \\x9b31m\n"


def test_what_cannot_be_told_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    streams.tell("a remark")
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(streams.OutputError, match="no space left on device"):
        streams.say("a result")
