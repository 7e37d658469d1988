"""The nodes of a graph: inputs, parameters, and what is computed from them by layers of index equations.

In: other nodes and parameter packages. Out: a node with a name, whose value and gradient can be looked at after a
run. The one rule: a computed node is a call of a layer; its class says which layer, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import ranks
from ..ir import Dots, Program
from . import layers
from .initialisers import Fans, Initialiser, fans
from .problems import graph_error
from .registry import Registry, current

if TYPE_CHECKING:
    from .graph import Graph

Array = NDArray[Any]
Number = int | float


class Node:
    """A vertex of a graph."""

    def __init__(self, registry: Registry, stem: str, name: str | None) -> None:
        self._registry = registry
        self._name: str = registry.name(stem, name)
        registry.add(self)

    @property
    def name(self) -> str:
        """The name of the node's tensor in the graph's Program."""
        return self._name

    @property
    def graph(self) -> Graph:
        """The graph that the node belongs to."""
        return cast("Graph", self._registry)

    @property
    def value(self) -> Array:
        """The value as of the last run. Errors: `GraphError` if it has none."""
        found = self._registry.values.get(self.name)
        if found is None:
            rule = f"{self.name} has no value: nothing has run, or the last run did not keep it"
            raise graph_error(
                "no-value", rule, way_out=f"run Forward(), or call graph.watch({self.name}) before a step"
            )
        return found

    @property
    def grad(self) -> Array:
        """The gradient as of the last run backward. Errors: `GraphError` if it has none."""
        found = self._registry.gradients.get(self.name)
        if found is None:
            rule = f"{self.name} has no gradient: nothing has run backward, or the loss does not depend on it"
            raise graph_error("no-gradient", rule, way_out="run Forward() and Backward(loss)")
        return found

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the value."""
        return self.value.shape

    @property
    def rank(self) -> int | None:
        """The number of axes, the batch's included, where the graph tells it before it runs."""
        return None

    def sources(self) -> tuple[Node, ...]:
        """The nodes that this one is computed from."""
        return ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __add__(self, other: Node | Number) -> CompNode:
        return _Sum(self, other) if isinstance(other, Node) else _Scaled(self, shift=other)

    def __radd__(self, other: Number) -> CompNode:
        return _Scaled(self, shift=other)

    def __sub__(self, other: Node | Number) -> CompNode:
        return _Difference(self, other) if isinstance(other, Node) else _Scaled(self, shift=-other)

    def __rsub__(self, other: Number) -> CompNode:
        return _Scaled(self, factor=-1, shift=other)

    def __mul__(self, other: Node | Number) -> CompNode:
        return _Product(self, other) if isinstance(other, Node) else _Scaled(self, factor=other)

    def __rmul__(self, other: Number) -> CompNode:
        return _Scaled(self, factor=other)

    def __truediv__(self, other: Number) -> CompNode:
        return _Scaled(self, factor=1 / other)

    def __neg__(self) -> CompNode:
        return _Scaled(self, factor=-1)


class Input(Node):
    """A value that the caller sets before each run: images, labels. `shape` is that of one example, if it is known."""

    def __init__(self, name: str | None = None, shape: Sequence[int] | None = None) -> None:
        super().__init__(current(), "Input", name)
        self._value: Array | None = None
        self.example = None if shape is None else tuple(shape)

    @property
    def value(self) -> Array:
        """What was set last."""
        if self._value is None:
            rule = f"the input {self.name} has no value"
            raise graph_error("missing-input", rule, way_out=f"set {self.name}.value before running")
        return self._value

    @value.setter
    def value(self, value: ArrayLike) -> None:
        array = np.asarray(value)
        if array.dtype.kind not in "biufc":
            raise graph_error("dtype", f"{self.name} got an array of {array.dtype}: values are numbers")
        dtype = self._registry.dtype
        if array.dtype.kind == "f" and dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize:
            array = array.astype(dtype)
        self._value = array

    @property
    def rank(self) -> int | None:
        if self._value is not None:
            return self._value.ndim
        return None if self.example is None else 1 + len(self.example)

    @property
    def is_set(self) -> bool:
        """Whether there is a value."""
        return self._value is not None

    def clear(self) -> None:
        """Forget the value."""
        self._value = None


class Mask(Input):
    """An input that is drawn anew for each run in training: ones with probability `keep`, in the shape of a node."""

    def __init__(self, like: Node, keep: float) -> None:
        self.like, self.keep = like, keep
        self._registry = like._registry
        self._name = self._registry.name("Mask", None)
        self._value = None
        self.example = None
        self._registry.add(self)

    def draw(self, shape: Sequence[int], rng: np.random.Generator) -> None:
        """Set the value."""
        self._value = rng.random(shape, dtype=np.float32) < self.keep

    @property
    def rank(self) -> int | None:
        return self.like.rank


class Parameter(Node):
    """A value that is learned: an array, or a shape and how it begins. It has no batch index.

    `trained=False` is for what belongs to a network but has no gradient, like running statistics.
    """

    def __init__(
        self,
        value: Sequence[int] | Array,
        initial: Initialiser | None = None,
        *,
        name: str | None = None,
        trained: bool = True,
        fan: Fans | None = None,
    ) -> None:
        registry = current()
        self._registry = registry
        self._own_name = None if name is None else registry.name("Parameter", name)
        self.package: Package | None = None
        self.member = ""
        self.trained = trained
        self._value: Array | None = None
        self._initial = initial
        self._seed = registry.next_generator()
        if isinstance(value, np.ndarray):
            self._shape = value.shape
            self.value = value
        else:
            self._shape = tuple(value)
        self._fans = fan if fan is not None else fans(self._shape)

    @property
    def name(self) -> str:
        """The package's name and the parameter's in it, or its own."""
        if self.package is not None:
            return f"{self.package.name}.{self.member}"
        if self._own_name is None:
            self._own_name = self._registry.name("Parameter", None)
        return self._own_name

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, known before there is a value."""
        return self._shape

    @property
    def rank(self) -> int | None:
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def value(self) -> Array:
        """The value; it is drawn when it is first needed."""
        if self._value is None:
            if self._initial is None:
                rule = f"the parameter {self.name} has neither a value nor a way to begin"
                raise graph_error("no-value", rule, way_out=f"set {self.name}.value, or pass an initialiser")
            drawn = self._initial(self._shape, self._fans, np.random.default_rng(self._seed))
            self._value = np.ascontiguousarray(drawn, dtype=self._registry.dtype)
        return self._value

    @value.setter
    def value(self, value: ArrayLike) -> None:
        array = np.asarray(value)
        if array.shape != self._shape:
            sizes = (f"{self.name} has shape {self._shape}", f"the new value has shape {array.shape}")
            raise graph_error("parameter-shape", f"a parameter keeps its shape: {self.name}", *sizes)
        dtype = self._registry.dtype
        if array.dtype.kind == "c":
            dtype = np.result_type(dtype, np.complex64)
        self._value = np.array(array, dtype=dtype, order="C")


class Package:
    """Parameters that go together: `Phi.W`, `Phi.B`. Iterating gives them in order."""

    _stem = "Phi"

    def __init__(self, *, name: str | None = None, **members: Parameter) -> None:
        if not members:
            raise graph_error("package", "a parameter package needs a parameter")
        self.name = current().name(self._stem, name)
        for member, parameter in members.items():
            if not isinstance(parameter, Parameter):
                raise graph_error(
                    "package", f"{self.name}.{member} must be a Parameter, not {type(parameter).__name__}"
                )
            if parameter.package is not None:
                rule = f"the parameter {parameter.name} is in a package already"
                way = "use the package itself in both nodes to share its parameters"
                raise graph_error("shared-parameter", rule, f"it would also be {self.name}.{member}", way_out=way)
            parameter.package, parameter.member = self, member
        self._members = members

    def __getattr__(self, name: str) -> Parameter:
        members: dict[str, Parameter] = self.__dict__.get("_members", {})
        if name in members:
            return members[name]
        raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def arguments(self) -> tuple[Parameter, ...]:
        """The parameters that a layer takes: the trained ones."""
        return tuple(p for p in self if p.trained)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.name}: {', '.join(f'{m}{list(p.shape)}' for m, p in self._members.items())}>"
        )


@dataclass(frozen=True, eq=False)
class Call:
    """A layer's Program with a node for each of its inputs.

    After a run in training, each parameter of `updates` takes the value of an output of the layer.
    """

    program: Program
    arguments: tuple[Node, ...]
    updates: tuple[tuple[str, Parameter], ...] = ()


Argument = Node | Package


class CompNode(Node):
    """A node that is computed: a call of the class's layer.

    Positional arguments are nodes and packages. The parameters of a package go by their names where the layer has
    inputs of these names, else they are the layer's last inputs; nodes are its other inputs, in order. An argument may
    also go by the input's name; other keywords are the layer's options.
    """

    layer: ClassVar[Callable[[], layers.Layer]]
    stem: ClassVar[str] = "Node"
    defaults: ClassVar[dict[str, Any]] = {}
    labels: ClassVar[tuple[int, int] | None] = None  # which arguments are scores of classes, and labels of them

    def __init__(self, *arguments: Argument, name: str | None = None, **keywords: Any) -> None:
        options = {n: v for n, v in keywords.items() if not isinstance(v, Node | Package)}
        named = {n: v for n, v in keywords.items() if isinstance(v, Node | Package)}
        self.options = {**self.defaults, **options}
        self.packages = tuple(a for a in (*arguments, *named.values()) if isinstance(a, Package))
        for argument in arguments:
            if not isinstance(argument, Node | Package):
                rule = f"{type(self).__name__} takes nodes and parameter packages, not {type(argument).__name__}"
                raise graph_error("argument", rule, way_out="options go by keyword; wrap arrays in Input or Parameter")
        self.call = self.make(arguments, named)
        self._rank = _rank(self.call, self.call.program.outputs[0])
        super().__init__(self.common_registry(), self.stem, name)

    def make(self, arguments: Sequence[Argument], named: dict[str, Any]) -> Call:
        """The call as it runs in training."""
        program = type(self).layer().program(self.options)
        return Call(program, bound(type(self).__name__, program.inputs, arguments, named))

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
        """Another output of the layer as a node."""
        if output not in self.outputs:
            rule = f"{self.name} has no output '{output}'"
            raise graph_error("output", rule, f"outputs: {', '.join(self.outputs)}")
        return Part(self, output)

    def rewire(self, old: Node, new: Node) -> None:
        """Take `new` wherever the node took `old`."""
        if old not in self.sources():
            raise graph_error("argument", f"{self.name} is not computed from {old.name}")
        self.call = replace(self.call, arguments=tuple(new if a is old else a for a in self.call.arguments))
        self._registry.version += 1


class Part(Node):
    """A further output of a computed node."""

    def __init__(self, whole: CompNode, output: str) -> None:
        self.whole, self.output = whole, output
        self._registry = whole._registry
        self._registry.add(self)

    @property
    def name(self) -> str:
        return self.whole.name if self.output == self.whole.outputs[0] else f"{self.whole.name}.{self.output}"

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


def bound(kind: str, inputs: Sequence[str], arguments: Sequence[Argument], named: dict[str, Any]) -> tuple[Node, ...]:
    """The nodes for a layer's inputs. Errors: `GraphError` if there are too few or too many."""
    taken: dict[str, Node] = {}
    for name, value in named.items():
        if name not in inputs:
            rule = f"the layer of {kind} has no input '{name}'"
            raise graph_error("argument", rule, f"inputs: {', '.join(inputs)}")
        if isinstance(value, Package):
            raise graph_error("argument", f"'{name}' is one input: give it a parameter of {value.name}")
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
        rule = f"the layer of {kind} takes {len(inputs)} inputs, {len(given) + len(taken)} were given"
        values = (
            f"inputs: {', '.join(inputs)}",
            f"given: {', '.join(n.name for n in (*given, *taken.values())) or 'none'}",
        )
        raise graph_error("argument", rule, *values)
    taken.update(zip(free, given, strict=True))
    return tuple(taken[i] for i in inputs)


def node(source: Any, layer: str | None = None, *, name: str | None = None, **options: Any) -> type[CompNode]:
    """The class of computed nodes of a layer: of a .idx file, of a text, or of the standard library by its name.

    `options` are the layer's, as defaults; `name` is that of the class and of its nodes.
    """
    found: list[layers.Layer] = []

    def definition() -> layers.Layer:
        if not found:
            found.append(layers.layer(source, layer))
        return found[0]

    is_name = isinstance(source, str) and source.isidentifier()
    if not is_name:
        definition()  # a mistake in one's own layer shows where the class is made
    stem = name or _camel((layer or source) if is_name or layer else definition().name or "Node")
    members = {"layer": staticmethod(definition), "stem": stem, "defaults": options, "__doc__": f"The layer {stem}."}
    return type(stem, (CompNode,), members)


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


_Sum = node("layer add(a, b) -> y:\n    y = a + b\n", name="Add")
_Difference = node("layer subtract(a, b) -> y:\n    y = a - b\n", name="Subtract")
_Product = node("layer multiply(a, b) -> y:\n    y = a * b\n", name="Multiply")
_Scaled = node("layer scaled(x; factor=1, shift=0) -> y:\n    y[...] = factor * x[...] + shift\n", name="Scale")
