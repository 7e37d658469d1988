"""The streams of the process: open, ready for any text, and what becomes of a command that cannot write to them.

In: a command. Out: its exit status. The one rule: a result that could not be written whole is an error; a remark that
could not be made is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from ..errors import Problem, render


class OutputError(Exception):
    """Standard output does not take what is the result."""


def attended(command: Callable[[], int]) -> int:
    """The exit status of a command that may use the streams as it likes; 130 where it was interrupted."""
    _open()
    try:
        try:
            status = command()
        except SystemExit as leaving:  # usage, help, version
            status = leaving.code if isinstance(leaving.code, int) else 0
        try:
            sys.stdout.flush()
        except OSError as error:
            raise _unwritable(error) from error
    except OutputError as error:
        if not isinstance(error.__cause__, BrokenPipeError):  # else the reader has seen enough
            tell(f"{render(Problem('file', str(error), way_out='write the result elsewhere'))}\n")
        status = 1
    except KeyboardInterrupt:
        status = 130
    for stream in (sys.stdout, sys.stderr):
        _let_go(stream)
    return status


def say(text: str) -> None:
    """Text on standard output. Errors: `OutputError`."""
    try:
        sys.stdout.write(text)
    except OSError as error:
        raise _unwritable(error) from error


def say_bytes(data: bytes) -> None:
    """Bytes on standard output, after what was said. Errors: `OutputError`."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except OSError as error:
        raise _unwritable(error) from error


def tell(text: str) -> None:
    """Text on standard error, if that is possible."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _unwritable(error: OSError) -> OutputError:
    return OutputError(f"cannot write standard output: {(error.strerror or str(error)).lower()}")


def _open() -> None:
    """Give each stream a file, so that no other file gets its number, and an encoding that can take any text.

    Where one was closed, reading fails, writing a result fails, and remarks are lost.
    """
    for number, way in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, way)  # the lowest number that is free
    if sys.stdin is None:
        sys.stdin = _stream(0, "r")
    if sys.stdout is None:
        sys.stdout = _stream(1, "w")
    if sys.stderr is None:
        sys.stderr = _stream(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            encoding = stream.encoding if stream.isatty() else "utf-8"  # programs are UTF-8, whatever the locale
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def _stream(number: int, mode: str) -> Any:
    return open(number, mode, encoding="utf-8", closefd=False)


def _let_go(stream: IO[str]) -> None:
    """Forget what a stream does not take: it would be tried, and told, once more at the end of the process."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
