"""The shape of every node, from the shapes of the inputs, before anything runs.

In: an assembled graph and shapes. Out: shapes by node, and what each layer's statements run over. The one rule: each
layer is checked by itself against its own header, so that an error names the node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from .. import ranks, shapes
from ..errors import IndexLangError, Problem, ShapeError
from ..ir import Program
from ..prepare import hoist
from .assemble import Assembled
from .nodes import Call, CompNode, Mask, Node, Part

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sized:
    """A layer's Program without embedded reductions, at known sizes."""

    program: Program
    shapes: shapes.Shapes


@lru_cache(maxsize=4096)
def _sized(key: _Key, given: tuple[Shape, ...]) -> Sized:
    sizes = dict(zip(key.program.inputs, given, strict=True))
    flat = hoist(ranks.expand(key.program, {name: len(shape) for name, shape in sizes.items()}))
    return Sized(flat, shapes.infer(flat, sizes))


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


def infer(graph: Assembled, given: Mapping[Node, Sequence[int]]) -> dict[Node, Shape]:
    """The shape of each node. Errors: `ShapeError`, which names the node."""
    found: dict[Node, Shape] = {n: tuple(s) for n, s in given.items()}
    found.update((p, p.shape) for p in graph.parameters)
    by_tensor = {graph.tensors[n]: s for n, s in found.items() if n in graph.tensors}
    for node in graph.nodes:
        if isinstance(node, Mask):
            found[node] = found[node.like]
        if isinstance(node, CompNode) and node in graph.calls:
            call = graph.calls[node]
            try:
                result = sized(call, [found[a] for a in call.arguments])
            except IndexLangError as error:
                raise _of_node(error, node, call, found) from None
            for output in call.program.outputs:
                name = node.name if output == call.program.outputs[0] else f"{node.name}.{output}"
                by_tensor[name] = result.shapes.tensors[output]
        if isinstance(node, CompNode | Part):
            found[node] = by_tensor[graph.tensors[node]]
    return found


def _of_node(error: IndexLangError, node: CompNode, call: Call, known: Mapping[Node, Shape]) -> IndexLangError:
    """The error with the node and its arguments among the values."""
    arguments = ", ".join(
        f"{i} = {a.name} {list(known[a])}" for i, a in zip(call.program.inputs, call.arguments, strict=True)
    )
    values = (f"in the node {node.name}: {arguments}",)
    problems: tuple[Problem, ...] = tuple(replace(p, values=(*p.values, *values)) for p in error.problems)
    return (type(error) if isinstance(error, ShapeError) else ShapeError)(*problems)
