"""Where in the user's own text a node was made.

In: the calls that are running. Out: the place of the innermost one that is not ours, as a span of its text once an
error needs it. The one rule: nothing is read before there is an error.
"""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass
from itertools import islice
from types import CodeType

from ...errors import Source, Span
from ...tracebacks import shown

_PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True)
class Place:
    """A call in the user's text: its code, how far into it, and the line."""

    code: CodeType
    offset: int
    line: int

    def span(self) -> Span | None:
        """The call as a span of its text; None where the text is not there, as behind `python -c`."""
        lines = linecache.getlines(self.code.co_filename)
        if not 0 < self.line <= len(lines):
            return None
        start, end = self._columns(lines[self.line - 1])
        before = sum(map(len, lines[: self.line - 1]))
        return Span(Source("".join(lines), shown(self.code.co_filename)), before + start, before + end)

    def _columns(self, line: str) -> tuple[int, int]:
        """From where to where the call stands in its first line, in characters."""
        whole = len(line) - len(line.lstrip()), len(line.rstrip())
        first, last, start, end = next(islice(self.code.co_positions(), self.offset // 2, None), (None,) * 4)
        if first != self.line or start is None or end is None:  # Python was told to keep no columns
            return whole
        code = line.encode()
        begin = len(code[:start].decode(errors="replace"))
        return begin, len(code[:end].decode(errors="replace")) if last == first else whole[1]

    def __str__(self) -> str:
        return f"{shown(self.code.co_filename)}, line {self.line}"


def here() -> Place | None:
    """The innermost call that is not in this package; None where the command line alone has made it."""
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__") or ""
        if module.startswith(f"{_PACKAGE}.cli"):
            return None
        if module.partition(".")[0] != _PACKAGE:
            return Place(frame.f_code, frame.f_lasti, frame.f_lineno)
        frame = frame.f_back  # type: ignore[assignment]
    return None
