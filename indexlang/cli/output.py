"""What the command line prints: tables, JSON, errors, and colours where a person reads.

In: rows, problems, text. Out: text on standard output or standard error. The one rule: nothing but a terminal
gets colours, and not even that where NO_COLOR is set; no text of others can tell a terminal what to do.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import IO

from ..errors import Problem, Span, render, shown
from ..meaning.report import count
from ..oracle.gradcheck import Row
from .streams import say, tell

_MESSAGE = (  # what is coloured in an error, and how
    (re.compile(r"(error\[[\w-]+\]:)(.*)"), "\033[1;31m\\1\033[0m\033[1m\\2\033[0m"),
    (re.compile(r"(warning\[[\w-]+\]:)(.*)"), "\033[1;33m\\1\033[0m\033[1m\\2\033[0m"),
    (re.compile(r"^( *\d* \|)", re.MULTILINE), "\033[34m\\1\033[0m"),
    (re.compile(r"( )(\^+)$", re.MULTILINE), "\\1\033[31m\\2\033[0m"),
    (re.compile(r"^(  way out:)", re.MULTILINE), "\033[32m\\1\033[0m"),
)

_PROGRAM = re.compile(
    r"(?P<comment>#.*)|(?P<word>\b(?:layer|shape|from|import|where|and|or|not)\b)|(?P<grad>[^\W\d][\w.]*\.grad\d*)"
)
_STYLE = {"comment": "2", "word": "35", "grad": "36"}


def colourful(stream: IO[str]) -> bool:
    """Whether a person reads this stream, and wants colours."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_program(text: str) -> None:
    """Text of the language."""
    if sys.stdout.isatty():
        text = "\n".join(shown(line) for line in text.split("\n"))  # comments may hold anything
    if colourful(sys.stdout):
        text = _PROGRAM.sub(lambda m: f"\033[{_STYLE[m.lastgroup or '']}m{m[0]}\033[0m", text)
    say(text)


def print_text(text: str) -> None:
    """Lines of our own."""
    say(f"{text}\n")


def print_json(value: object) -> None:
    """Any value of JSON."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    say("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text) + "\n")


def report(problems: Sequence[Problem], kind: str = "error") -> None:
    """Problems, on standard error."""
    for problem in problems:
        complain(render(problem, kind))


def complain(message: str) -> None:
    """A rendered problem, on standard error."""
    tell(f"{_coloured(message, sys.stderr)}\n")


def print_findings(source: str, found: Sequence[Problem], warned: Sequence[Problem]) -> None:
    """What was looked for: on standard output."""
    for problem, kind in (*((p, "warning") for p in warned), *((p, "error") for p in found)):
        print_text(_coloured(render(problem, kind), sys.stdout))
    if not found:
        print_text(f"{shown(source)}: no errors{', ' + count(len(warned), 'warning') if warned else ''}")


def _coloured(message: str, stream: IO[str]) -> str:
    if colourful(stream):
        for pattern, style in _MESSAGE:
            message = pattern.sub(style, message)
    return message


def table(rows: Sequence[Row]) -> str:
    """The result of a check of gradients."""
    head = ("gradient", "against", "checked", "greatest error", "relative", "")
    cells = [head]
    for r in rows:
        verdict = "ok" if r.ok else "WRONG"
        cells.append((f"{r.tensor}.grad", r.method, str(r.checked), f"{r.absolute:.1e}", f"{r.relative:.1e}", verdict))
    widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells)


def described(problem: Problem) -> dict[str, object]:
    """A problem as JSON."""
    return {
        "code": problem.code,
        "rule": problem.rule,
        **(_place(problem.span) if problem.span else {}),
        "values": list(problem.values),
        "way_out": problem.way_out,
        "others": [{"label": label, **_place(span)} for label, span in problem.others],
        "callers": [_place(call) for call in problem.span.callers] if problem.span else [],
    }


def _place(span: Span) -> dict[str, object]:
    line, column = span.source.position(span.end)
    start = {"file": span.source.name, "line": span.line, "column": span.column}
    return {**start, "end_line": line, "end_column": column}
