"""What is wrong in a file, collected while it is resolved.

In: problems, in the order in which they are found. Out: one `MeaningError` with all of them, in order of place; the
doubts. The one rule: a place is blamed once for one thing, however often a layer or a function is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

from ..errors import MeaningError, Problem, Source, Span

LIBRARY = Path(__file__).parent.parent / "library"  # the standard library
_LAYER = re.compile(r"^layer (\w+)\(", re.MULTILINE)


class Report:
    """The problems found so far."""

    def __init__(self, main: Source | None = None) -> None:
        self.main = main
        self.problems: dict[object, Problem] = {}
        self.doubts: dict[object, Problem] = {}  # what is valid, and perhaps not meant

    def add(
        self,
        code: str,
        rule: str,
        span: Span | None,
        *values: str,
        way_out: str | None = None,
        others: tuple[tuple[str, Span], ...] = (),
    ) -> None:
        """One more problem, unless it is known."""
        self._once(self.problems, Problem(code, rule, span, values, way_out, others))

    def doubt(self, code: str, rule: str, span: Span | None, *values: str, way_out: str) -> None:
        """One more doubt, unless it is known."""
        self._once(self.doubts, Problem(code, rule, span, values, way_out))

    def _once(self, known: dict[object, Problem], problem: Problem) -> None:
        span = problem.span
        place = None if span is None else (span.source.name, span.start, span.end)
        known.setdefault((problem.code, problem.rule, place), problem)

    def doubtful(self) -> list[Problem]:
        """The doubts, those of the main file first."""
        return sorted(self.doubts.values(), key=self._place)

    def raise_problems(self) -> None:
        """All problems at once, those of the main file first."""
        if self.problems:
            raise MeaningError(*sorted(self.problems.values(), key=self._place))

    def _place(self, problem: Problem) -> tuple[bool, str, int]:
        if problem.span is None:
            return False, "", -1
        source = problem.span.source
        return source is not self.main, source.name, problem.span.start


def imported(name: str) -> str | None:
    """The way out for a name that is a layer of the standard library."""
    for file in sorted(LIBRARY.glob("*.idx")):
        if f"\nlayer {name}(" in file.read_text(encoding="utf-8"):
            return f"write 'from {file.stem} import {name}', and h = {name}(...) as a statement of its own"
    return None


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The way out for a name that may be misspelled."""
    found = near(name, known)
    return None if found is None else f"did you mean '{found}'?"


def nearest_function(name: str, known: Sequence[str]) -> str | None:
    """The same for the name of a function, which may also be meant for that of a layer of the standard library."""
    layers = [n for file in sorted(LIBRARY.glob("*.idx")) for n in _LAYER.findall(file.read_text(encoding="utf-8"))]
    best, way = near(name, (*known, *layers)), nearest(name, known)
    if best is None or best in known:
        return way
    return f"did you mean the layer '{best}'? {imported(best)}{f'; or {way[13:-1]}' if way else ''}"


def near(name: object, known: Iterable[str]) -> str | None:
    """The known name that another differs from by case, or little in spelling."""
    if not isinstance(name, str):  # which a caller may hand over
        return None
    names = sorted(set(known))
    alike = [n for n in names if n.casefold() == name.casefold()] or get_close_matches(name, names, 1, 0.6)
    return alike[0] if alike else None


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 axis`, `2 axes`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def axes(number: int) -> str:
    return count(number, "axis", "axes")
