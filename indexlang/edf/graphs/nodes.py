"""The nodes of a graph, and its inputs.

In: other nodes, arrays. Out: a node with a name, whose value and gradient can be looked at after a run. The one rule:
a node belongs to one graph, and its name is that of its tensor in the graph's Program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import Problem
from ...sizes.dtypes import DTYPES
from ..problems import GraphError, graph_error
from ..settings import plain
from ..settings import shape as shape_of
from .attributes import Declared
from .places import Place, here
from .registry import Named, Registry, current

Array = NDArray[Any]
Number = int | float

OPERATIONS: dict[str, Callable[..., Node]] = {}  # what + - * / between nodes make; `computed` fills it


class Node(Declared, Named):
    """A vertex of a graph: an input, a parameter, or what is computed. Users make those; a Node alone computes nothing.

    `+`, `-`, `*` and `/` between nodes and numbers, and nodes raised to numbers, are nodes, too.
    """

    __array_ufunc__ = None  # an array beside a node is a mistake, not an array of nodes
    place: Place | None  # where its user made it

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        made = super().__new__(cls)
        made.place = here()
        return made

    def __init__(self, registry: Registry, stem: str, name: str | None) -> None:
        self._registry = registry
        self._name: str = registry.name(stem, name, self)
        registry.add(self)

    @property
    def graph(self) -> Registry:
        """The graph that the node belongs to."""
        return self._registry

    @property
    def value(self) -> Array:
        """The value as of the last run. Errors: `GraphError` if it has none."""
        found = None if self._registry.successor(self) else self._registry.values.get(self.name)
        if found is None:
            rule = f"{self.name} has no value: nothing has run, or the last run did not keep it"
            raise graph_error(
                "no-value", rule, way_out=f"run Forward(), or call graph.watch({self.name}) before a step"
            )
        return found

    @property
    def grad(self) -> Array:
        """The gradient as of the last run backward. Errors: `GraphError` if it has none."""
        found = None if self._registry.successor(self) else self._registry.gradients.get(self.name)
        if found is None:
            raise self._without_gradient()
        return found

    def _without_gradient(self) -> GraphError:
        if not self._registry.gradients:
            rule = f"{self.name} has no gradient: nothing has run backward since the last run forward"
            return graph_error("no-gradient", rule, way_out="run Forward() and Backward(loss)")
        rule = f"{self.name} has no gradient: the loss does not depend on it, or the last run did not keep it"
        way = f"graph.watch({self.name}) before the run keeps it, where graph is {self.name}.graph"
        return graph_error("no-gradient", rule, way_out=way)

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

    def told(self, problem: Problem) -> Problem:
        """The `problem` told first of the place where the node was made, then of the one that it had."""
        span = None if self.place is None else self.place.span()
        if span is None:
            return problem
        inner = () if problem.span is None else ((f"in {Path(problem.span.source.name).name}", problem.span),)
        return replace(problem, span=span, others=(*inner, *problem.others))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __add__(self, other: Node | Number) -> Node:
        return self._with("Add", other) if isinstance(other, Node) else self._scaled(shift=other)

    def __radd__(self, other: Number) -> Node:
        return self._scaled(shift=other)

    def __sub__(self, other: Node | Number) -> Node:
        return self._with("Subtract", other) if isinstance(other, Node) else self._scaled(shift=-self._number(other))

    def __rsub__(self, other: Number) -> Node:
        return self._scaled(factor=-1, shift=other)

    def __mul__(self, other: Node | Number) -> Node:
        return self._with("Multiply", other) if isinstance(other, Node) else self._scaled(factor=other)

    def __rmul__(self, other: Number) -> Node:
        return self._scaled(factor=other)

    def __truediv__(self, other: Node | Number) -> Node:
        if isinstance(other, Node):
            return self._with("Divide", other)
        number = self._number(other)
        if number == 0:
            raise graph_error("argument", f"{self.name} is divided by 0", way_out="divide by another number")
        return OPERATIONS["Quotient"](self, divisor=number)

    def __rtruediv__(self, other: Number) -> Node:
        return OPERATIONS["Inverse"](self, factor=self._number(other))

    def __pow__(self, other: Number) -> Node:
        if isinstance(other, Node):
            way = "raise in a layer of your own: edf.node('y[...] = a[...] ** b[...]')(a, b)"
            raise graph_error("argument", "nodes are raised to numbers, not to nodes", way_out=way)
        return OPERATIONS["Power"](self, exponent=self._number(other))

    def __rpow__(self, other: Number) -> Node:
        way = f"raise in a layer of your own: edf.node('y[...] = {self._number(other)} ** a[...]')({self.name})"
        raise graph_error("argument", "nodes are raised to numbers, not numbers to nodes", way_out=way)

    def __neg__(self) -> Node:
        return self._scaled(factor=-1)

    def _with(self, operation: str, other: Node) -> Node:
        return OPERATIONS[operation](self, other)

    def _scaled(self, factor: Number = 1, shift: Number = 0) -> Node:
        return OPERATIONS["Scale"](self, factor=self._number(factor), shift=self._number(shift))

    def _number(self, other: Number) -> Number:
        number = plain(other)
        if number is None:
            rule = f"{self.name} goes with nodes and numbers, not with {type(other).__name__}"
            raise graph_error("argument", rule, way_out="wrap arrays in Input or Parameter")
        return number


@cache
def _of_numbers(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a type hold what a program computes with."""
    return dtype.name in DTYPES


def as_array(name: str, value: ArrayLike) -> Array:
    """A value as an array. Errors: `GraphError` for what is none, such as rows of several lengths."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        rule, way = f"{name} got what is no array: {error}", "pass an array, or lists of numbers of equal lengths"
        raise graph_error("dtype", rule, way_out=way) from None


class Input(Node):
    """A value that the caller sets before each run: images, labels.

    `name` is that of its tensor, `shape` that of one example, without the batch, if it is known. Setting `value` takes
    any array of numbers; floating-point and complex numbers wider than the graph's are rounded to it, integers stay.
    """

    fresh: bool  # whether the value was set since the last run
    given: bool  # whether a call was given the value, for itself
    example: tuple[int, ...] | None  # the shape of one example

    def __init__(self, name: str | None = None, shape: Sequence[int] | None = None) -> None:
        super().__init__(current(), "Input", name)
        self._value: Array | None = None
        self.fresh = self.given = False
        self.example = None if shape is None else shape_of("Input", shape)

    @property
    def value(self) -> Array:
        """What was set last."""
        if self._value is None:
            rule = f"the input {self.name} has no value"
            raise graph_error("missing-input", rule, way_out=f"set {self.name}.value before running")
        return self._value

    @value.setter
    def value(self, value: ArrayLike) -> None:
        array = as_array(self.name, value)
        if array.dtype.kind in "fc" and array.dtype != self._registry.dtype:
            real = np.finfo(self._registry.dtype).dtype
            widest = np.result_type(real, np.complex64) if array.dtype.kind == "c" else real
            array = array.astype(widest) if array.dtype.itemsize > widest.itemsize else array
        if not _of_numbers(array.dtype):
            rule = f"{self.name} got an array of {array.dtype}: values are numbers"
            raise graph_error("dtype", rule, way_out="convert it to floating-point numbers or integers")
        self._value, self.fresh, self.given = array, True, False

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

    like: Node
    keep: float

    def __init__(self, like: Node, keep: float) -> None:
        self.like, self.keep = like, keep
        self._registry = like._registry
        self._name = self._registry.name("Mask", None, self)
        self._value = None
        self.fresh = self.given = False
        self.example = None
        self._registry.add(self)

    def draw(self, shape: Sequence[int], rng: np.random.Generator) -> None:
        """Set the value."""
        self._value = rng.random(shape, dtype=np.float32) < self.keep

    @property
    def rank(self) -> int | None:
        return self.like.rank
