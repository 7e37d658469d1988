"""Computed nodes: calls of layers that are written in index equations.

In: nodes and parameter packages. Out: a node whose value the layer computes. The one rule: the class of a computed
node says which layer is called, and nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...meaning.report import count, nearest
from ...program.ir import Dots, Program
from ...sizes import ranks
from ..problems import graph_error
from ..settings import OPTIONS, Kind, plain, setting
from . import layers
from .describing import SignatureOf, TextOf
from .nodes import OPERATIONS, Node
from .parameters import Package, Parameter
from .registry import Registry, current


@dataclass(frozen=True, eq=False)
class Call:
    """A layer's Program with a node for each of its inputs.

    After a run in training, each parameter of `updates` takes the value of an output of the layer.
    """

    program: Program
    arguments: tuple[Node, ...]
    updates: tuple[tuple[str, Parameter], ...] = ()


Argument = Node | Package
_GENERAL = "options go by keyword; wrap arrays in Input or Parameter"


class CompNode(Node):
    """A node that is computed: a call of the class's layer.

    Positional arguments are nodes and packages. The parameters of a package go by their names where the layer has
    inputs of these names, else they are the layer's last inputs; nodes are its other inputs, in order. An argument may
    also go by the input's name; other keywords are the layer's options.
    """

    layer: ClassVar[Callable[[], layers.Layer]]
    stem: ClassVar[str] = "Node"
    defaults: ClassVar[dict[str, Any]] = {}
    takes: ClassVar[str | None] = None  # the arguments by position that the signature shows; else the layer's inputs
    package: ClassVar[tuple[str, str] | None] = None  # which parameters it takes: the class, and an example's arguments
    labels: ClassVar[tuple[int, int] | None] = None  # which arguments are scores of classes, and labels of them
    ranges: ClassVar[Mapping[str, Kind]] = {}  # what options may be
    options: dict[str, Any]
    packages: tuple[Package, ...]
    call: Call

    def __init__(self, *arguments: Argument, name: str | None = None, **keywords: Any) -> None:
        options = {n: v for n, v in keywords.items() if not isinstance(v, Node | Package)}
        named = {n: v for n, v in keywords.items() if isinstance(v, Node | Package)}
        kind = type(self).__name__
        given = {n: setting(kind, n, v, self.ranges[n]) if n in self.ranges else v for n, v in options.items()}
        self.options = {**self.defaults, **given}
        self.packages = tuple(a for a in (*arguments, *named.values()) if isinstance(a, Package))
        for place, argument in enumerate(arguments):
            if not isinstance(argument, Node | Package):
                rule = f"{kind} takes nodes and parameter packages, not {type(argument).__name__}"
                raise graph_error("argument", rule, way_out=self._instead(place, arguments))
        self.call = self.make(arguments, named)
        self._rank = _rank(self.call, self.call.program.outputs[0])
        super().__init__(self.common_registry(), self.stem, name)

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        """The call as it runs in training, of `arguments` by position and `named` ones; a class may choose a layer."""
        program = type(self).layer().program(self.options)
        return Call(program, bound(self, program.inputs, arguments, named))

    def _instead(self, place: int, arguments: Sequence[Any]) -> str:
        """What to write for the argument at `place`, which is neither a node nor a package."""
        number = plain(arguments[place])
        if number is None:
            return _GENERAL
        way = self._with_package([str(n) for a in arguments if (n := plain(a)) is not None])
        if way is not None:
            return way
        shown = getattr(type(self), "__signature__", None)  # a class with an __init__ of its own has none
        known = [] if shown is None else list(shown.parameters.values())
        options = [p.name for p in known if p.kind is p.KEYWORD_ONLY and p.name != "name"]
        if not options or place < len(known) - len(options) - 1 or not _may_be(self.ranges.get(options[0]), number):
            return _GENERAL
        return f"options go by keyword: {options[0]}={number}"

    def _with_package(self, numbers: Sequence[str] = ()) -> str | None:
        """How the class is called with its parameters, where it takes some and was given none."""
        if self.package is None or self.packages:
            return None
        name, example = self.package
        given = ", ".join(numbers) if len(numbers) == len(example.split(",")) else example
        return f"parameters come first: {type(self).__name__}({name}({given}), x)"

    def evaluation(self) -> Call | Node:
        """The call as it runs when nothing is learned, or the node that it then equals."""
        return self.call

    def common_registry(self) -> Registry:
        """The graph of all arguments."""
        found = {id(n._registry): n for n in self.sources()}
        if len(found) > 1:
            first, second, *_ = found.values()
            rule = f"{first.name} and {second.name} belong to different graphs"
            raise graph_error("mixed-graphs", rule, way_out="make all nodes and packages inside of one `with graph:`")
        return next(iter(found.values()))._registry if found else current()

    def sources(self) -> tuple[Node, ...]:
        return self.call.arguments

    @property
    def rank(self) -> int | None:
        return self._rank

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the layer's outputs; the first one is the node's value."""
        return self.call.program.outputs

    def part(self, output: str) -> Part:
        """Another `output` of the layer, by its name, as a node. Errors: `GraphError`, which names those that there
        are.
        """
        if output not in self.outputs:
            rule = f"{self.name} has no output '{output}'"
            way = nearest(output, self.outputs) or "name one of these"
            raise graph_error("output", rule, f"outputs: {', '.join(self.outputs)}", way_out=way)
        return Part(self, output)

    def rewire(self, old: Node, new: Node) -> None:
        """Take `new` wherever the node took `old`. Errors: `GraphError` if it did not."""
        if old not in self.sources():
            known, way = ", ".join(n.name for n in self.sources()), "name a node that it is computed from"
            rule = f"{self.name} is not computed from {old.name}"
            raise graph_error("argument", rule, f"it is computed from: {known}", way_out=way)
        self.call = replace(self.call, arguments=tuple(new if a is old else a for a in self.call.arguments))
        self._registry.version += 1


class Part(Node):
    """A further output of a computed node."""

    whole: CompNode
    output: str

    def __init__(self, whole: CompNode, output: str) -> None:
        self.whole, self.output = whole, output
        self._registry = whole._registry
        self._registry.add(self)

    @property
    def name(self) -> str:
        return self.whole.name if self.output == self.whole.outputs[0] else f"{self.whole.name}.{self.output}"

    @property
    def owner(self) -> Any:
        return self.whole

    @property
    def rank(self) -> int | None:
        return _rank(self.whole.call, self.output)

    def sources(self) -> tuple[Node, ...]:
        return (self.whole,)


def _rank(call: Call, output: str) -> int | None:
    """The rank of a layer's output, where the layer and the ranks of its inputs tell it."""
    target = next((s.target for s in call.program.statements if s.target.tensor == output), None)
    if target is None or Dots() not in target.subscripts:
        return None if target is None else len(target.subscripts)
    found = dict(zip(call.program.inputs, (a.rank for a in call.arguments), strict=True))
    if None in found.values():
        return None
    expanded = ranks.expand(call.program, {n: r for n, r in found.items() if r is not None})
    return next(len(s.target.subscripts) for s in expanded.statements if s.target.tensor == output)


def _may_be(kind: Kind | None, number: float) -> bool:
    """Whether an option of this kind can be the number."""
    found = number if kind is None else plain(number, kind)
    return found is not None and (kind is None or kind.holds(found))


def bound(
    of: CompNode, inputs: Sequence[str], arguments: Sequence[Argument], named: dict[str, Any]
) -> tuple[Node, ...]:
    """The nodes for a layer's inputs. Errors: `GraphError` if there are too few or too many."""
    kind = type(of).__name__
    taken: dict[str, Node] = {}
    for name, value in named.items():
        if name not in inputs:
            rule = f"the layer of {kind} has no input '{name}'"
            way = nearest(name, inputs) or "leave it out"
            raise graph_error("argument", rule, f"inputs: {', '.join(inputs)}", way_out=way)
        if isinstance(value, Package):
            rule, member = f"'{name}' is one input, and {value.name} is a package", next(iter(value)).name
            raise graph_error("argument", rule, way_out=f"give it a parameter of the package, such as {member}")
        taken[name] = value
    parameters: list[Parameter] = []
    for package in (a for a in arguments if isinstance(a, Package)):
        members = {p.member: p for p in package.arguments()}
        if members.keys() <= set(inputs) - taken.keys():
            taken.update(members)
        else:
            parameters += members.values()
    nodes = [a for a in arguments if isinstance(a, Node)]
    free = [i for i in inputs if i not in taken]
    given = [*nodes, *parameters]
    if len(given) != len(free):
        there = len(given) + len(taken)
        rule = (
            f"the layer of {kind} takes {count(len(inputs), 'input')}, {there} {'was' if there == 1 else 'were'} given"
        )
        values = (
            f"inputs: {', '.join(inputs)}",
            f"given: {', '.join(n.name for n in (*given, *taken.values())) or 'none'}",
        )
        raise graph_error(
            "argument",
            rule,
            *values,
            way_out=of._with_package() or f"pass a node or parameter for each: {kind}({', '.join(inputs)})",
        )
    taken.update(zip(free, given, strict=True))
    return tuple(taken[i] for i in inputs)


def node(
    source: str | os.PathLike[str], layer: str | None = None, *, name: str | None = None, **options: Any
) -> type[CompNode]:
    """The class of computed nodes of a layer: of a .idx file, of a text, or of the standard library by its name.

    `source` is the path, the text, or the name; `layer` chooses one of several layers of a file or text; `name` is that
    of the class and of its nodes, by default the layer's. `options` are the layer's, as defaults.
    Errors: `GraphError` for a layer that is not there, `LanguageSyntaxError` and `MeaningError` for what is wrong in
    one's own layer, or with the options, `ShapeError` where nothing says how far an index of it runs.
    """
    if not (layer is None or isinstance(layer, str)):
        way = "an option of this name is given where a node is made"
        raise graph_error("layer", f"the layer of a file or text is chosen by its name, not by {layer!r}", way_out=way)
    found: list[layers.Layer] = []

    def definition() -> layers.Layer:
        if not found:
            found.append(layers.layer(source, layer))
        return found[0]

    library = isinstance(source, str) and source.isidentifier()
    ranges = OPTIONS if library else {}
    if library:  # it is read when a node is made of it
        layers.check_known(str(source), layer)
        known: str | None = str(source)
    else:
        known = definition().name
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        rule = f"a class of nodes has a name as Python writes it, not {name!r}"
        raise graph_error("node-name", rule, way_out="use letters, digits and _")
    stem = name or _camel(layer or known or "Node")
    options = {n: setting(stem, n, v, ranges[n]) if n in ranges else v for n, v in options.items()}
    if options or not (library or definition().options):
        definition().program(options, 3)  # its mistakes are told where the class is made
    members = {"layer": staticmethod(definition), "stem": stem, "defaults": options, "ranges": ranges}
    members |= {"__doc__": TextOf(definition), "__signature__": SignatureOf(definition)}
    return type(stem, (CompNode,), members)


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


ARITHMETIC: dict[str, type[CompNode]] = {
    "Add": node("layer add(a, b) -> y:\n    y = a + b\n", name="Add"),
    "Subtract": node("layer subtract(a, b) -> y:\n    y = a - b\n", name="Subtract"),
    "Multiply": node("layer multiply(a, b) -> y:\n    y = a * b\n", name="Multiply"),
    "Divide": node("layer divide(a, b) -> y:\n    y = a / b\n", name="Divide"),
    "Quotient": node("layer quotient(x; divisor=1) -> y:\n    y[...] = x[...] / divisor\n", name="Quotient"),
    "Inverse": node("layer inverse(x; factor=1) -> y:\n    y[...] = factor / x[...]\n", name="Inverse"),
    "Power": node("layer power(x; exponent=1) -> y:\n    y[...] = x[...] ** exponent\n", name="Power"),
    "Scale": node("layer scale(x; factor=1, shift=0) -> y:\n    y[...] = factor * x[...] + shift\n", name="Scale"),
}
for _name in ("Add", "Subtract", "Multiply", "Divide"):
    ARITHMETIC[_name].takes = "a b"
OPERATIONS.update(ARITHMETIC)
