"""Layers written in index equations, as the classes of computed nodes use them.

In: the path of a .idx file, a text, or the name of a layer of the standard library. Out: its `Program` for given
options. The one rule: each layer is resolved once for each set of options.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from ...errors import Problem, Source, warn_of
from ...locks import Lock
from ...meaning.report import LIBRARY, nearest
from ...meaning.resolve import layer_names, resolve
from ...program.ir import Program
from ...ranges.solve import solve
from ...syntax import tree
from ...syntax.parser import parse, read
from ..problems import graph_error


class Layer:
    """A layer of a file or text; `name` is None for bare statements."""

    def __init__(self, source: Source, name: str | None = None, folder: Path | None = None) -> None:
        self._file, self._folder, self._own = _parsed(source), folder, folder != LIBRARY
        names = layer_names(self._file)
        if name is None and len(names) == 1:
            name = names[0]
        if name is None and len(names) > 1:
            rule = f"{source.name} has several layers"
            raise graph_error("layer", rule, ", ".join(names), way_out=f"name one: node(..., layer={names[0]!r})")
        self.name = name
        self._programs: dict[tuple[tuple[str, str, str], ...], Program] = {}
        self._lock = Lock()

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the layer's options."""
        headers = (i for i in self._file.items if isinstance(i, tree.LayerDef) and i.name == self.name)
        return tuple(o.name for h in headers for o in h.options)

    @property
    def header(self) -> tree.LayerDef | None:
        """The layer's definition; None for bare statements."""
        return next((i for i in self._file.items if isinstance(i, tree.LayerDef) and i.name == self.name), None)

    @property
    def heading(self) -> str:
        """The definition's text from `layer` to its `:`, laid out as it was written; empty for bare statements."""
        found = self.header
        if found is None:
            return ""
        ends = [i.span.start - found.span.start for i in found.body]
        return found.span.text[: min(ends, default=None)].rstrip()

    @property
    def comment(self) -> str:
        """The lines of the comment that stands right above the definition, without `#`."""
        found = self.header
        if found is None:
            return ""
        above = found.span.source.text[: found.span.start].splitlines()
        lines = list(takewhile(lambda line: line.startswith("#"), reversed(above)))
        return "\n".join(line.removeprefix("#").removeprefix(" ") for line in reversed(lines))

    @property
    def options_text(self) -> str:
        """What the comment at the beginning of the file says of its layers' options, if this one has any."""
        found = self.header
        if found is None or not found.options:
            return ""
        lines = takewhile(lambda line: line.startswith("#"), found.span.source.text.splitlines())
        parts = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines).split("\n\n")
        return next((part for part in parts if part.startswith("Options: ")), "")

    def program(self, options: Mapping[str, Any], depth: int = 4) -> Program:
        """The layer with these options, asked for `depth` calls below the user's own. Errors: `MeaningError`;
        `ShapeError` where nothing says how far an index runs.
        """
        key = tuple((name, type(value).__name__, repr(value)) for name, value in sorted(options.items()))
        with self._lock.held():
            found = self._programs.get(key)
            if found is None:
                doubts: list[Problem] = []
                found = resolve(
                    self._file, layer=self.name, options=dict(options), folder=self._folder, doubt=doubts.append
                )
                warn_of(doubts, depth)
                if self._own:
                    solve(found)
                self._programs[key] = found
        return found


def layer(source: str | os.PathLike[str], name: str | None = None) -> Layer:
    """A layer of a .idx file, of a text, or of the standard library, where `source` is a path, a text, or a name."""
    if not isinstance(source, str | os.PathLike):
        rule = f"a layer is a file, a text, or a name of the standard library, not {type(source).__name__}"
        raise graph_error("layer", rule, way_out="write node('gelu'), or node('file.idx')")
    if isinstance(source, os.PathLike) or (source.endswith(".idx") and "\n" not in source and "=" not in source):
        path = Path(source)
        stat = path.stat() if path.is_file() else None
        place = path.resolve() if stat else path  # what is no file is told as it was named
        return _from_file(place, name, (stat.st_mtime_ns, stat.st_size) if stat else None)
    if source.isidentifier():
        check_known(source, name)
        return _from_file(_index()[source], source, None)
    return _from_text(source, name)


def check_known(source: str, name: str | None = None) -> None:
    """Whether the standard library has a layer. Errors: `GraphError` if not, or if another one is named beside it."""
    if source not in _index():
        near, file = nearest(source, _index()), Path(f"{source}.idx")
        known = () if near else (f"layers of the library: {', '.join(sorted(_index()))}",)
        way = f"the file is node('{file}')" if file.is_file() else near
        raise graph_error("layer", f"the standard library has no layer '{source}'", *known, way_out=way)
    if name not in (None, source):
        way = f"write node('{name if name in _index() else source}')"
        raise graph_error("layer", f"'{source}' is a layer itself, not '{name}'", way_out=way)


@lru_cache(256)
def _parsed(source: Source) -> tree.File:
    """The tree of a file, the same for all of its layers."""
    return parse(source)


@cache
def _from_text(text: str, name: str | None) -> Layer:
    """The layer of a text: nodes of one class share its Programs, and so what is known of them at their sizes."""
    return Layer(Source(text), name)


@cache
def _from_file(path: Path, name: str | None, state: tuple[int, int] | None) -> Layer:
    """The layer of a file for as long as the file does not change."""
    return Layer(read(path), name, path.parent)


@cache
def _index() -> dict[str, Path]:
    """Where each layer of the standard library stands."""
    found = {}
    for path in sorted(LIBRARY.glob("*.idx")):
        for name in re.findall(r"^layer\s+(\w+)\s*\(", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = path
    return found
