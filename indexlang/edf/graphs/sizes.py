"""The shape of every node, from the shapes of the inputs, before anything runs.

In: an assembled graph and shapes. Out: shapes by node, and what each layer's statements run over. The one rule: each
layer is checked by itself against its own header, so that an error names the node.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ...collecting import uncollected
from ...errors import IndexLangError, Problem, ShapeError, warn_of
from ...program import ir
from ...program.ir import Const, Program, Size, Subscript
from ...program.rebuild import transform_statement
from ...rewrite.hoist import hoist
from ...sizes import shapes
from ..problems import graph_error
from .advice import CHANNELS_LAST, advice, is_channels_first
from .assemble import Assembled, expanded
from .computed import Call, CompNode, Part
from .nodes import Input, Mask, Node
from .parameters import Parameter

Shape = tuple[int, ...]
_DEPTH = 8  # calls from a warning up to the user's own


@dataclass(frozen=True)
class Sized:
    """A layer's Program without embedded reductions, at known sizes."""

    program: Program
    shapes: shapes.Shapes


@lru_cache(maxsize=4096)
def _sized(key: _Key, given: tuple[Shape, ...]) -> Sized:
    sizes = dict(zip(key.program.inputs, given, strict=True))
    written = expanded(key.program, tuple(map(len, given)))
    flat = hoist(written)
    if flat is not written:
        shapes.infer(written, sizes)  # hoisting replaces plain uses that must agree by ranges
    return Sized(flat, shapes.infer(flat, sizes, rewritten=flat is not written))


class _Key:
    """A Program by its identity: layers hand out the same one for the same options."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.program is other.program

    def __hash__(self) -> int:
        return id(self.program)


def sized(call: Call, given: Sequence[Shape]) -> Sized:
    """A layer at the shapes of its inputs. Errors: `ShapeError`."""
    return _sized(_Key(call.program), tuple(given))


@dataclass(frozen=True)
class Known:
    """The shape of each node, and of each tensor of the graph's Program."""

    nodes: Mapping[Node, Shape]
    tensors: Mapping[str, Shape]


@uncollected
def infer(graph: Assembled, given: Mapping[Node, Sequence[int]]) -> Known:
    """All shapes, from those of the inputs. Errors: `ShapeError`, which names the node."""
    nodes: dict[Node, Shape] = {}
    tensors: dict[str, Shape] = {}
    for node in graph.nodes:
        if isinstance(node, Mask):
            nodes[node] = nodes[node.like]
        elif isinstance(node, Parameter):
            nodes[node] = node.shape
        elif isinstance(node, CompNode | Part):
            if isinstance(node, CompNode) and node in graph.calls:
                tensors.update(_of_layer(graph, node, nodes))
            nodes[node] = tensors[graph.tensors[node]]
        else:
            nodes[node] = tuple(given[node])
        tensors[graph.tensors[node]] = nodes[node]
    return Known(nodes, tensors)


def check(graph: Assembled, known: Known) -> None:
    """What fits by its sizes may still say nothing, or something else. Errors: `GraphError`."""
    _check_statistics(graph, known)
    _warn_of_channels(graph, known)


def _check_statistics(graph: Assembled, known: Known) -> None:
    """What a batch is normalised by says something. Errors: `GraphError` where a channel has a single value."""
    for node, call in graph.calls.items():
        shape = known.nodes[call.arguments[0]]
        if call.updates and math.prod(shape[:-1]) == 1:
            rule = f"{node.name} normalises each channel over the batch, and here a channel has one value"
            way = "train with larger batches; graph.evaluate(...) takes the running statistics"
            raise graph_error("single-value", rule, f"{call.arguments[0].name} has shape {list(shape)}", way_out=way)


def _warn_of_channels(graph: Assembled, known: Known) -> None:
    """Tell of images with their channels in front that a pool takes as they are: it would pool the channels."""
    problems = []
    for node, call in graph.calls.items():
        images = call.arguments[0]
        if isinstance(images, Input) and is_channels_first(call.program.name, known.nodes[images]):
            rule = f"{node.name} goes over the axes 1 and 2 of {images.name}, which look like channels and height"
            values = (f"{images.name} has shape {list(known.nodes[images])}",)
            problems.append(node.told(Problem("channels-first", rule, None, values, CHANNELS_LAST)))
    warn_of(problems, _DEPTH)


def _of_layer(graph: Assembled, node: CompNode, known: Mapping[Node, Shape]) -> dict[str, Shape]:
    """The shapes of what a node's layer computes, by the graph's names."""
    call, names = graph.calls[node], graph.names[node]
    try:
        found = sized(call, [known[a] for a in call.arguments]).shapes.tensors
    except IndexLangError as error:
        raise _of_node(error, node, call, known) from None
    return {names[t]: shape for t, shape in found.items() if t in names and t not in call.program.inputs}


def declared(graph: Assembled, known: Known) -> Program:
    """The Program with all shapes as numbers, so that nothing depends on how deep a size is buried in others."""

    def rule(part: Subscript) -> Subscript | None:
        return Const(known.tensors[part.tensor][part.axis]) if isinstance(part, Size) else None

    program = graph.program
    defined = dict.fromkeys((*program.inputs, *(s.target.tensor for s in program.statements)))
    shapes = tuple(ir.Shape(t, tuple(map(Const, known.tensors[t]))) for t in defined)
    return replace(
        program, statements=tuple(transform_statement(s, rule) for s in program.statements), shapes=shapes, dims=()
    )


def _of_node(error: IndexLangError, node: CompNode, call: Call, known: Mapping[Node, Shape]) -> IndexLangError:
    """The error told of the node, where the user made it; of what is wrong in its layer, the first."""
    first = error.problems[0]
    inputs = dict(zip(call.program.inputs, call.arguments, strict=True))
    given = ", ".join(f"{i} = {a.name} {list(known[a])}" for i, a in inputs.items())
    problem = replace(
        first,
        rule=f"{node.name} does not fit what it is computed from: {first.rule}",
        values=(given, *first.values),
        way_out=advice(call.program.name, {i: known[a] for i, a in inputs.items()}) or first.way_out,
    )
    return (type(error) if isinstance(error, ShapeError) else ShapeError)(node.told(problem))
