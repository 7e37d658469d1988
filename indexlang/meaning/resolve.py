"""The tree of a file to a Program.

In: a `tree.File`, which layer of it, options, outputs. Out: an `ir.Program` and the values of all options, or a
`MeaningError` with all problems. The one rule: what `resolve` makes of a Program's text is that Program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..collecting import uncollected
from ..errors import MeaningError, Problem, Span, within_depth
from ..program.ir import Program
from ..syntax import tree
from .body import Body
from .header import Number, accepted
from .imports import Files, Unit
from .inline import Template
from .report import Report, nearest


@dataclass(frozen=True)
class Resolved:
    """A Program, and its layer's options, those that were not given at their defaults."""

    program: Program
    options: Mapping[str, Number]


@uncollected
@within_depth(MeaningError, "use fewer layers that call each other")
def resolved(
    file: tree.File,
    layer: str | None = None,
    options: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
    folder: Path | None = None,
    doubt: Callable[[Problem], object] | None = None,
) -> Resolved:
    """A file's bare statements or one of its layers. Errors: `MeaningError`.

    `options` are those of the layer, `outputs` the tensors that come out instead of the usual ones, `folder` is where
    the file stands, for its imports; `doubt` is told what is valid, and perhaps not meant.
    """
    report = Report(file.span.source)
    found = _Resolution(report, file, folder).run(layer, options or {}, outputs)
    if doubt is not None:
        for problem in report.doubtful():
            doubt(problem)
    report.raise_problems()
    assert found is not None
    return found


def resolve(file: tree.File, *args: Any, **settings: Any) -> Program:
    """The Program alone, of what `resolved` takes."""
    return resolved(file, *args, **settings).program


def layer_names(file: tree.File) -> tuple[str, ...]:
    """The layers that a file defines, in order."""
    return tuple(dict.fromkeys(item.name for item in file.items if isinstance(item, tree.LayerDef)))


Key = tuple[Unit, str, tuple[tuple[str, type, str], ...]]  # a layer and its options


class _Resolution:
    """One file being resolved. Each layer is resolved once for each set of options."""

    def __init__(self, report: Report, file: tree.File, folder: Path | None) -> None:
        self.report, self.file = report, file
        self.unit = Files(report).unit(file, folder)
        self.bare = [item for item in file.items if isinstance(item, tree.Statement | tree.ShapeDecl | tree.For)]
        self.templates: dict[Key, Template | None] = {}
        self.open: list[tuple[Unit, str]] = []  # layers that are being resolved

    def run(self, layer: str | None, options: Mapping[str, Any], outputs: Sequence[str] | None) -> Resolved | None:
        for name in self.unit.functions:
            self.unit.function(name)
        header = self.header(layer)
        found = None
        if header is not None or (layer is None and self.bare):
            what = f"'{header.name}'" if header is not None else "a program without a layer"
            values = accepted(self.report, header, options, what)
            body = self.body(self.unit, header, values)
            program = body.program(outputs)
            if program is not None:
                found = Resolved(program, {name: given.value for name, given in body.scope.options.items()})
        if self.report.problems:
            self.rest(header)
        return found

    def header(self, layer: str | None) -> tree.LayerDef | None:
        """The layer that is meant; None for bare statements, and where there is no telling."""
        names = layer_names(self.file)
        listed = f"layers: {', '.join(names) or 'none'}"
        if layer is not None:
            found = self.unit.layers.get(layer)
            if found is None and layer not in names:
                way = nearest(layer, names) or ("name one of these" if names else "leave layer out")
                self.report.add("unknown-layer", f"there is no layer '{layer}'", None, listed, way_out=way)
            return found
        if self.bare or len(self.unit.layers) == 1:
            return None if self.bare else next(iter(self.unit.layers.values()))
        if names:
            way = f"choose one: layer={names[0]!r} in Python, --layer {names[0]} on the command line"
            self.report.add("several-layers", "the file has several layers", None, listed, way_out=way)
        else:
            span = self.file.span
            start = Span(span.source, span.start, span.start + 1)
            self.report.add(
                "no-statement", "there is neither a statement nor a layer", start, way_out="write y[i] = x[i]"
            )
        return None

    def body(self, unit: Unit, header: tree.LayerDef | None, options: Mapping[str, Number]) -> Body:
        """A layer or the bare statements, resolved."""
        if header is not None:
            self.open.append((unit, header.name))
        items = self.bare if header is None else header.body
        body = Body(self.report, unit, self.layer, items, header, options)
        body.run()
        if header is not None:
            self.open.pop()
        return body

    def layer(self, unit: Unit, header: tree.LayerDef, options: Mapping[str, Number], span: Span) -> Template | None:
        """A layer that is called; None if it is broken, which is reported."""
        if (unit, header.name) in self.open:
            names = [name for _, name in self.open[self.open.index((unit, header.name)) :]]
            rule = f"the layer '{header.name}' calls itself"
            way = "a layer is written out where it is called, so it cannot end in itself"
            self.report.add("recursion", rule, span, " -> ".join([*names, header.name]), way_out=way)
            return None
        key = unit, header.name, tuple((n, type(v), repr(v)) for n, v in sorted(options.items()))
        if key not in self.templates:
            before = len(self.report.problems)
            body = self.body(unit, header, options)
            program = body.program()
            ranks = {t: rank for t, (rank, _) in body.scope.ranks.items()}
            sound = len(self.report.problems) == before
            self.templates[key] = Template(header, program, ranks, body.letters) if sound else None
        return self.templates[key]

    def rest(self, done: tree.LayerDef | None) -> None:
        """Look for what is wrong in the rest of the file, too: all errors are told at once."""
        for header in self.unit.layers.values():
            if header is not done and not any(key[:2] == (self.unit, header.name) for key in self.templates):
                self.body(self.unit, header, {}).program()
        if self.bare and done is not None:
            self.body(self.unit, None, {}).program()
