"""Where things are in the text, what went wrong there, and the one renderer of errors.

Every error is a `Problem`: a code, the rule that was broken, the place, the values that broke it and
a way out. `IndexLangError` carries one or more problems; `render` is the only function that turns a
problem into text.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import ParamSpec, TypeVar

from .locks import Lock
from .size_limits import FRAMES
from .tracebacks import install, lines


@dataclass(frozen=True)
class Source:
    """A text and the name under which errors show it (a path, or `<text>`)."""

    text: str
    name: str = "<text>"

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both counted from 1, columns in characters."""
        before = self.text[:offset]
        return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1

    def line(self, number: int) -> str:
        """The text of a line, counted from 1, without its line end."""
        lines = self.text.split("\n")
        return lines[number - 1].rstrip("\r") if 0 < number <= len(lines) else ""


@dataclass(frozen=True)
class Span:
    """A place in a text: from offset `start` to before `end` of `source`; in a called layer `caller` is the call."""

    source: Source
    start: int
    end: int
    caller: Span | None = field(default=None, compare=False, repr=False)

    @property
    def line(self) -> int:
        """The line where it begins, counted from 1."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """The column where it begins, in characters, counted from 1."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """What is written there."""
        return self.source.text[self.start : self.end]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of the `other`."""
        return Span(self.source, self.start, max(self.end, other.end), self.caller)

    def called_from(self, call: Span) -> Span:
        """The same place of a layer that is called at `call`; what called it inside of that layer stays."""
        caller = call if self.caller is None else self.caller.called_from(call)
        return Span(self.source, self.start, self.end, caller)

    @property
    def callers(self) -> tuple[Span, ...]:
        """The call of the layer, the call of the layer that this one stands in, and so on."""
        return () if self.caller is None else (self.caller, *self.caller.callers)


@dataclass(frozen=True)
class Problem:
    """An error or warning: `code` names it, `rule` says what holds, `values` what broke it, `way_out` what to write."""

    code: str
    rule: str
    span: Span | None = None
    values: tuple[str, ...] = ()
    way_out: str | None = None
    others: tuple[tuple[str, Span], ...] = field(default=())  # further places, each with a label


def render(problem: Problem, kind: str = "error") -> str:
    """`file:line:column: kind[code]: rule`, the source line, carets, the values and the way out."""
    lines = []
    head = f"{kind}[{problem.code}]: {problem.rule}"
    if problem.span is None:
        lines.append(head)
    else:
        lines.append(f"{problem.span.source.name}:{problem.span.line}:{problem.span.column}: {head}")
        lines.extend(_excerpt(problem.span))
        for call in problem.span.callers:
            lines.append(f"  called from {call.source.name}, line {call.line}:")
            lines.extend(_excerpt(call))
    for label, span in problem.others:
        lines.append(f"  {label}, line {span.line}:")
        lines.extend(_excerpt(span))
    lines.extend(f"  {value}" for value in problem.values)
    if problem.way_out is not None:
        lines.append(f"  way out: {problem.way_out}")
    return "\n".join(shown(line) for line in lines)


def shown(text: str) -> str:
    """Text as one line that a terminal can show: control characters, and bytes of names that are no text, escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()


_WIDEST = 160  # columns of a source line that an error shows


def _excerpt(span: Span) -> list[str]:
    text, column = span.source.line(span.line).replace("\t", " "), span.column - 1
    length = max(1, min(span.end - span.start, len(text) - column))
    if len(text) > _WIDEST:  # show the neighbourhood of the place
        left = max(0, min(column - _WIDEST // 4, len(text) - _WIDEST))
        text, column = text[left : left + _WIDEST], column - left
        length = max(1, min(length, _WIDEST - column))
    number = str(span.line)
    margin = " " * len(number)
    text = "".join(c if c.isprintable() else "\ufffd" for c in text)
    return [f" {number} | {text}", f" {margin} | {' ' * column}{'^' * length}"]


class IndexLangError(ValueError):
    """An error in a program or its data. `problems` holds all that were found; the properties speak of the first."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n\n".join(render(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[IndexLangError], tuple[Problem, ...]]:
        return type(self), self.problems  # another process makes it anew from what it carries

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback of its own: the user's lines, and the message."""
        return "".join(lines(self)).splitlines()

    @property
    def code(self) -> str:
        """Which error it is, as on the page of errors: "size-mismatch"."""
        return self.problems[0].code

    @property
    def span(self) -> Span | None:
        """Where it is in the text, if it is there: `span.line`, `span.column`."""
        return self.problems[0].span

    @property
    def source(self) -> Source | None:
        """The text that it is in."""
        span = self.span
        return None if span is None else span.source


install(IndexLangError)


class LanguageSyntaxError(IndexLangError):
    """The text is not a program of the language."""


class MeaningError(IndexLangError):
    """Names, scopes, definitions, subscripts, imports: the program has no meaning."""


class ShapeError(IndexLangError):
    """Sizes, ranges, ranks, dtypes or the arrays of a call do not fit the program."""


class DerivationError(IndexLangError):
    """A derivative was asked for that does not exist or cannot be written."""


P = ParamSpec("P")
R = TypeVar("R")


def within_depth(error: type[IndexLangError], way: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Work that has FRAMES calls of Python's for itself, wherever it is called from.

    What is nested deeper than our own limits has been told before; what needs more frames all the same is an error of
    ours, with a way out.
    """

    def decorated(work: Callable[P, R]) -> Callable[P, R]:
        @wraps(work)
        def told(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                with _ROOM:
                    return work(*args, **kwargs)
            except RecursionError:
                raise error(Problem("too-deep", "the program is nested too deeply", way_out=way)) from None

        return told

    return decorated


class _Room:
    """Python's limit of calls inside of each other, FRAMES higher while anyone is in here; and as it was, behind it.

    The limit is one for all threads, so it is raised by the first who comes and lowered by the last who goes.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.before = Lock(), 0, 0

    def __enter__(self) -> None:
        with self.lock.held():
            if not self.inside:
                self.before = sys.getrecursionlimit()
                sys.setrecursionlimit(self.before + FRAMES)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock.held():
            self.inside -= 1
            if not self.inside and sys.getrecursionlimit() == self.before + FRAMES:  # else somebody else has set it
                with suppress(RecursionError):  # of a thread that is deeper now than it allows: it stays
                    sys.setrecursionlimit(self.before)


_ROOM = _Room()


NAMED = "give parts of the longest statement names of their own"  # the way out for expressions


class IndexLangWarning(UserWarning):
    """A program that is valid but may not mean what its author thinks."""


def warn_of(problems: Iterable[Problem], depth: int) -> None:
    """Tell doubts as warnings; `depth` is how many calls below the user's own this one is."""
    for problem in problems:
        warnings.warn(render(problem, "warning"), IndexLangWarning, stacklevel=depth + 1)
