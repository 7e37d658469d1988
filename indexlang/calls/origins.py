"""Where a Function's program comes from: its text, so that other options can be given.

In: the text, which layer of it, options, outputs. Out: the program with other options. The one rule: an option that is
not given anew stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import MeaningError, Problem, Source, warn_of
from ..meaning.resolve import Resolved, resolved
from ..rewrite.starting import solvable
from ..syntax.parser import parse
from ..syntax.tree import File
from .arguments import shortly


def options_of(options: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a call, from the mapping and by keyword. Errors: `MeaningError`."""
    if options is None:
        return dict(keywords)
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        rule = f"options is a mapping from names to values, not {shortly(options)}"
        raise MeaningError(Problem("options", rule, way_out="write options={'stride': 2}"))
    twice = [name for name in options if name in keywords]
    if twice:
        rule = f"'{twice[0]}' was given twice, in the mapping and by keyword"
        raise MeaningError(Problem("options", rule, way_out="give it once"))
    return {**options, **keywords}


@dataclass(frozen=True)
class Origin:
    """A text, and what was asked of it."""

    source: Source
    folder: Path | None
    layer: str | None
    outputs: tuple[str, ...] | None
    options: Mapping[str, Any]

    def with_options(self, options: Mapping[str, Any]) -> Origin:
        return replace(self, options={**self.options, **options})

    def program(self, level: int, file: File | None = None) -> Resolved:
        """The program and all its options; `level` is how far the caller of ours is, `file` the text if it was parsed.

        Errors: `LanguageSyntaxError`, `MeaningError`; `ShapeError` where nothing says how far an index runs.
        """
        doubts: list[Problem] = []
        found = resolved(
            parse(self.source) if file is None else file,
            layer=self.layer,
            options=dict(self.options),
            outputs=self.outputs,
            folder=self.folder,
            doubt=doubts.append,
        )
        warn_of(doubts, level + 1)
        solvable(found.program)
        return found
