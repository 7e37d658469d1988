"""Whether what a graph is asked with can be meant: its own nodes, and values of what they are computed from.

In: the arguments of a call. Out: the same, or an error that says what to write instead. The one rule: no value of an
earlier call stands in silently for one that this call was to be given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ...errors import Problem
from ..problems import GraphError, graph_error
from .nodes import Input, Mask, Node
from .parameters import Package
from .registry import Registry

_NODES = "pass an Input, a Parameter, or what is computed from them"
_VALUES = "write {x: images}, where x is what Input() gave"


def kind(value: object) -> str:
    """What a value is, in words that stay short: arrays by their shapes."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if _is_array(value):
        return f"an array of shape {getattr(value, 'shape', ())}"
    if isinstance(value, tuple | list) and any(map(_is_array, value)):
        return f"a {type(value).__name__} of {', '.join(map(kind, value))}"
    text = repr(value)
    return text if isinstance(value, str | int | float | Node) and len(text) <= 60 else type(value).__name__


def _is_array(value: object) -> bool:
    """Whether it is an array of whatever library; asked for its shape, a node would have to have been computed."""
    return not isinstance(value, Node | type) and isinstance(getattr(value, "shape", None), tuple)


def node(value: object) -> TypeGuard[Node]:
    """Whether it is a node. Errors: `GraphError` if it is none."""
    if isinstance(value, Node):
        return True
    way = _NODES
    if isinstance(value, str):
        way = "pass the node itself, not its name"
    elif isinstance(value, Mapping):
        way = "values come behind the nodes: evaluate(scores, given={x: images}), step(loss, {x: images})"
        way = f"{way}; before Forward() set x.value"
    elif isinstance(value, Package):
        way = f"pass what is computed from its parameters, or one of them: {next(iter(value)).name}"
    elif isinstance(value, type) and issubclass(value, Node):
        way = f"make a node of it: {value.__name__}(x)"
    elif isinstance(value, tuple | list) and value and all(isinstance(v, Node) for v in value):
        way = "pass each node as an argument of its own"
    raise graph_error("argument", f"a node is asked for, not {type(value).__name__}", way_out=way)


def nodes(graph: Registry, values: Sequence[object]) -> None:
    """Whether all are nodes of the graph. Errors: `GraphError`."""
    for value in values:
        if node(value) and value.graph is not graph:
            raise graph_error("mixed-graphs", f"{value.name} belongs to another graph", way_out="ask its own graph")


def also(values: object) -> tuple[Any, ...]:
    """Further nodes of a step, as a tuple. Errors: `GraphError` for what is not several."""
    if isinstance(values, tuple | list):
        return tuple(values)
    way = f"write also=({values.name},)" if isinstance(values, Node) else "write also=(scores,)"
    raise graph_error("argument", f"also is a tuple of nodes, not {kind(values)}", way_out=way)


def graph(of: str, value: object, way: str) -> None:
    """Whether a call was given a graph. Errors: `GraphError`."""
    if not isinstance(value, Registry):
        raise graph_error("argument", f"{of} takes a graph, not {kind(value)}", way_out=way)


def by_input(graph: Registry, given: object, needed: Sequence[Input] = ()) -> dict[Input, Any]:
    """Values, or shapes, by inputs of the graph. Errors: `GraphError` for other keys, and what is no mapping."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise graph_error("argument", f"values are given by inputs, not as {kind(given)}", way_out=_VALUES)
    for key in given:
        if not isinstance(key, Input):
            shown = repr(key) if isinstance(key, str | Node) else type(key).__name__
            raise graph_error("argument", f"values are given by inputs, not by {shown}", way_out=_VALUES)
        if key.graph is not graph:
            raise _of_another(graph, key, needed)
    return dict(given)


def _of_another(graph: Registry, key: Input, needed: Sequence[Input]) -> GraphError:
    """The error of a value for another graph's input, as when the cell of one graph of two was run again."""
    alive = [n for n in graph.alive() if isinstance(n, Input) and not isinstance(n, Mask)]
    own = next((n for n in (*needed, *alive) if n.name == key.name), None)
    rule = f"the input {key.name} belongs to another graph, and its value would not be used"
    if own is None:
        known = f"inputs of this graph: {', '.join(n.name for n in alive) or 'none'}"
        return graph_error("mixed-graphs", rule, known, way_out="give the values by inputs of this graph")
    values = [*_made(key), *_made(own, "this graph's")]
    way = f"give this graph's own input '{key.name}', or run again the cells that make what is computed from it"
    return graph_error("mixed-graphs", rule, *values, way_out=way)


def _made(node: Node, whose: str = "") -> list[str]:
    return [] if node.place is None else [f"{whose} {node.name} was made: {node.place}".strip()]


def complete(graph: Registry, given: Mapping[Input, Any], needed: Sequence[Input], wanted: Node) -> list[Problem]:
    """Whether what is given is what `wanted` is computed from, those that it `needed`; doubts to be told as warnings.

    An input that is not given keeps the value that the user set. One that only an earlier call gave was for that call.
    What is given besides is right where nothing is missing: a batch may have more than one node needs.
    Errors: `GraphError`.
    """
    missing = [n for n in needed if n not in given]
    if not given or not missing:
        return []
    more = [n for n in given if n not in needed]
    old = [n for n in missing if n.given or not n.is_set]
    if not more:
        if not any(n.given for n in old):
            return []  # what has no value at all is told where it is looked for
        name = next(n.name for n in old if n.given)
        rule = f"{wanted.name} is computed from {name}, which is not given: its value is that of an earlier call"
        raise graph_error("missing-input", rule, way_out=f"give {name}, too, or set {name}.value, which stays")
    read = {s for n in graph.alive() if isinstance(n, Node) for s in n.sources()}
    extra, other = next((n for n in more if n not in read), more[0]), (old or missing)[0]
    rule = f"{extra.name} is given, and {wanted.name} is not computed from it, but from {other.name}"
    way = f"give {other.name}, or run again the cells that make {wanted.name} of {extra.name}"
    found = Problem("unused-input", rule, None, (*_made(extra), *_made(other)), way)
    if old or extra not in read or len(more) == len(given):
        raise GraphError(found)
    return [found]
