"""Files: what each defines, and what it imports from others.

In: the tree of a file and the folder where it stands. Out: a `Unit`, in which names of layers and functions are looked
up. The one rule: `from layers import relu` means `layers.idx` beside the importing file, else in the standard library,
and never another folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ..errors import IndexLangError, Source, Span
from ..program.functions import CONSTANTS
from ..program.ir import Call, Const, Expr, Index
from ..size_limits import DEEPEST
from ..syntax import tree
from ..syntax.parser import parse, read
from .converter import RESERVED, Body, Converter, Definitions, depth_of
from .report import LIBRARY, Report, nearest


@dataclass(eq=False)
class Unit(Definitions):
    """A file: its layers and functions, its own and imported ones."""

    report: Report
    source: Source
    folder: Path | None
    layers: dict[str, tree.LayerDef] = field(default_factory=dict)
    functions: dict[str, tree.FunctionDef] = field(default_factory=dict)
    imported: dict[str, tuple[Unit, str]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)  # names that an import failed to give
    places: dict[str, Span] = field(default_factory=dict)
    bodies: dict[str, Body | None] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)  # functions whose bodies are being resolved

    def layer(self, name: str) -> tuple[Unit, tree.LayerDef] | None:
        """A layer, and the file that defines it."""
        if name in self.imported:
            unit, original = self.imported[name]
            return unit.layer(original)
        found = self.layers.get(name)
        return None if found is None else (self, found)

    def is_layer(self, name: str) -> bool:
        return self.layer(name) is not None

    def is_function(self, name: str) -> bool:
        if name in self.imported:
            unit, original = self.imported[name]
            return unit.is_function(original)
        return name in self.functions

    def is_broken(self, name: str) -> bool:
        return name in self.broken

    def is_defined(self, name: str) -> bool:
        return name in self.layers or name in self.functions or name in self.imported

    def callables(self) -> Iterator[str]:
        yield from (*self.functions, *self.layers, *self.imported)

    def function(self, name: str) -> Body | None:
        if name in self.imported:
            unit, original = self.imported[name]
            return unit.function(original)
        if name not in self.bodies:
            definition = self.functions[name]
            if name in self.open:
                circle = " -> ".join([*self.open[self.open.index(name) :], name])
                rule = f"the function '{name}' calls itself"
                self.report.add(
                    "recursion",
                    rule,
                    definition.span,
                    circle,
                    way_out="a function is written out where it is called, so it cannot end in itself",
                )
                return None
            self.open.append(name)
            self.bodies[name] = _FunctionBody(self.report, self, definition).body()
            self.open.pop()
        return self.bodies[name]


class _FunctionBody(Converter):
    """A function's body: names are its parameters."""

    def __init__(self, report: Report, unit: Unit, definition: tree.FunctionDef) -> None:
        super().__init__(report, unit)
        self.definition, self.own = definition, definition.name

    def body(self) -> Body | None:
        """The body, or None if it has a problem."""
        d = self.definition
        for name in d.params:
            if name in CONSTANTS:
                self.fail("reserved-name", f"'{name}' is a word of the language", d.span, way_out="choose another name")
        expr = self.expr(d.body)
        if self.broken:
            return None
        uses = dict.fromkeys(d.params, 0)
        nodes, pending = 0, [expr]
        while pending:
            node = pending.pop()
            nodes += 1
            match node:
                case Index(name):
                    uses[name] += 1
                case Call(args=args):
                    pending += args
                case _:
                    pass
        if depth_of(expr) > DEEPEST:
            self.fail("too-deep", f"the function becomes nested deeper than {DEEPEST} levels", d.span)
            return None
        return Body(d.params, expr, nodes, uses, d.span)

    def name(self, node: tree.Name, inside: bool) -> Expr:
        if node.name in self.definition.params:
            return Index(node.name, node.span)
        if node.name in CONSTANTS:
            return Const(CONSTANTS[node.name], node.span)
        rule = f"'{node.name}' is no parameter of the function '{self.own}'"
        way = nearest(node.name, self.definition.params) or f"add {node.name} to its parameters"
        return self.fail("unknown-name", rule, node.span, way_out=way)

    def access(self, node: tree.Subscripted) -> Expr:
        return self.scalar(node.span)

    def reduction(self, node: tree.Reduction) -> Expr:
        return self.scalar(node.span)

    def size(self, node: tree.Call) -> Expr:
        return self.scalar(node.span)

    def scalar(self, span: Span) -> Const:
        rule = f"the function '{self.own}' is about numbers: its body has no brackets and no sizes"
        return self.fail("function-body", rule, span, way_out="hand it over as a parameter")


# -- loading -----------------------------------------------------------------------------------------


class Files:
    """The files in use, each loaded once."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.units: dict[Path, Unit | None] = {}
        self.open: list[Path] = []  # files whose imports are being loaded

    def unit(self, file: tree.File, folder: Path | None) -> Unit:
        """A file's definitions, its imports loaded."""
        unit = Unit(self.report, file.span.source, folder)
        for item in file.items:
            match item:
                case tree.LayerDef(name, span=span):
                    if self.introduces(unit, name, span):
                        unit.layers[name] = item
                case tree.FunctionDef(name, span=span):
                    if self.introduces(unit, name, span):
                        unit.functions[name] = item
                case tree.Import():
                    self.import_(unit, item)
                case _:
                    pass
        return unit

    def introduces(self, unit: Unit, name: str, span: Span) -> bool:
        """Whether a name is new in its file."""
        if name in RESERVED:
            self.report.add("reserved-name", f"'{name}' is a word of the language", span, way_out="choose another name")
            return False
        if name in unit.places:
            others = (("defined here first", unit.places[name]),)
            way = "rename one of them, or take it out"
            self.report.add("duplicate-name", f"'{name}' is defined twice", span, way_out=way, others=others)
            return False
        unit.places[name] = span
        return True

    def import_(self, unit: Unit, item: tree.Import) -> None:
        """Put the names of an import into a unit."""
        new = [name for name in item.names if self.introduces(unit, name, item.span)]
        other = self.load(unit, item)
        for name in new:
            if other is None or name in other.broken:
                unit.broken.add(name)
            elif other.is_defined(name):
                unit.imported[name] = (other, name)
            else:
                unit.broken.add(name)
                rule = f"'{item.module}' has no layer or function '{name}'"
                known = tuple(other.callables())
                values = f"{other.source.name} has {', '.join(known) or 'none'}"
                way = nearest(name, known) or "import a name that it has"
                self.report.add("missing-import", rule, item.span, values, way_out=way)

    def load(self, unit: Unit, item: tree.Import) -> Unit | None:
        """The unit of another file; None where there is none."""
        if not item.module.isidentifier():
            rule = f"'{item.module}' is no file beside this one"
            way = "name a file without its ending and without folders: from layers import relu"
            self.report.add("import-path", rule, item.span, way_out=way)
            return None
        folders = [LIBRARY] if unit.folder is None else [unit.folder, LIBRARY]
        path = next((p for f in folders if (p := f / f"{item.module}.idx").is_file()), None)
        if path is None:
            where = "the standard library" if unit.folder is None else f"{unit.folder} and the standard library"
            rule = f"there is no file '{item.module}.idx' to import from"
            beside = [p.stem for f in folders if f.is_dir() for p in sorted(f.glob("*.idx"))]
            way = nearest(item.module, beside) or "put the file beside this one"
            self.report.add("missing-file", rule, item.span, f"looked in {where}", way_out=way)
            return None
        key = path.resolve()
        if key in self.open:
            names = " -> ".join(p.stem for p in [*self.open[self.open.index(key) :], key])
            rule = "files import each other in a circle"
            self.report.add("import-circle", rule, item.span, names, way_out="move what both need into a third file")
            return None
        if key not in self.units:
            self.units[key] = self.loaded(path, key, item.span)
        return self.units[key]

    def loaded(self, path: Path, key: Path, span: Span) -> Unit | None:
        stat = path.stat()
        try:
            file = _parsed(str(path), stat.st_mtime_ns, stat.st_size)
        except IndexLangError as error:
            if error.problems[0].code != "file":
                raise
            self.report.add("missing-file", error.problems[0].rule, span, way_out=error.problems[0].way_out)
            return None
        self.open.append(key)
        try:
            return self.unit(file, path.parent)
        finally:
            self.open.pop()


@lru_cache(maxsize=64)
def _parsed(path: str, modified: int, size: int) -> tree.File:
    """The tree of a file, for as long as the file does not change."""
    return parse(read(path))
