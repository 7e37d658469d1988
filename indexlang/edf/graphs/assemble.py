"""A graph's nodes as one Program.

In: the nodes that are wanted. Out: a Program whose inputs are the graph's inputs and parameters, and the name of each
node's tensor in it. The one rule: each computed node contributes the statements of its layer, renamed; nothing else
is added, so that planning and derivation see across layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from ...collecting import uncollected
from ...errors import IndexLangError
from ...program.blocks import numbered
from ...program.facts import kept
from ...program.ir import Dots, Program, Shape, Statement, blocks_of, primal_of
from ...program.names import Renaming, apart, counted, free, indices_in
from ...properties import cached_property
from ...sizes.ranks import expand
from ..problems import graph_error
from .computed import Call, CompNode, Part
from .nodes import Input, Node
from .parameters import Parameter


@dataclass(frozen=True)
class Assembled:
    """The Program, the nodes in an order in which each comes after its sources, and what each contributes.

    `tensors` is the tensor of each node, `names` the graph's name of each tensor of a node's layer. Updates are outputs
    of the Program that parameters without gradients follow.
    """

    program: Program
    nodes: tuple[Node, ...]
    tensors: Mapping[Node, str]
    calls: Mapping[CompNode, Call]
    names: Mapping[CompNode, Mapping[str, str]]
    updates: tuple[tuple[str, Parameter], ...]

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        return tuple(n for n in self.nodes if isinstance(n, Input))

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(n for n in self.nodes if isinstance(n, Parameter))

    @property
    def computed(self) -> tuple[CompNode, ...]:
        return tuple(self.calls)


def topological(wanted: Iterable[Node], training: bool = True) -> tuple[Node, ...]:
    """The wanted nodes and all that they need, each after its sources. Errors: `GraphError` for a cycle."""
    order: dict[Node, None] = {}
    path: dict[Node, None] = {}
    for sink in wanted:
        stack: list[tuple[Node, bool]] = [(sink, False)]
        while stack:
            node, done = stack.pop()
            if done:
                del path[node]
                order[node] = None
            elif node in path:
                names = [n.name for n in path]
                circle = " -> ".join([*names[names.index(node.name) :], node.name])
                rule = "a node is computed from itself"
                raise graph_error("cycle", rule, circle, way_out="make the node of something that was there before it")
            elif node not in order:
                path[node] = None
                stack.append((node, True))
                stack.extend((s, False) for s in reversed(_sources(node, training)) if s not in order)
    return tuple(order)


def _sources(node: Node, training: bool) -> tuple[Node, ...]:
    if isinstance(node, CompNode) and not training:
        found = node.evaluation()
        return found.arguments if isinstance(found, Call) else (found,)
    return node.sources()


@uncollected
def assemble(wanted: Sequence[Node], training: bool = True, name: str = "graph") -> Assembled:
    """The Program that computes the wanted nodes; with `training` also what parameters without gradients follow."""
    nodes = topological(wanted, training)
    tensors: dict[Node, str] = {}
    ranks: dict[Node, int | None] = {}
    calls: dict[CompNode, Call] = {}
    renamed: dict[CompNode, Mapping[str, str]] = {}
    taken = {n.name for n in nodes}
    statements: list[Statement] = []
    shapes: list[Shape] = []
    updates: list[tuple[str, Parameter]] = []
    for node in nodes:
        tensors[node] = node.name
        if isinstance(node, Part):
            tensors[node] = tensors[node.whole] if node.name == node.whole.name else node.name
        if not isinstance(node, CompNode):
            ranks[node] = node.rank
            continue
        call = node.call if training else node.evaluation()
        if isinstance(call, Node):
            tensors[node], ranks[node] = tensors[call], ranks[call]
            continue
        calls[node] = call
        program = _expanded(call, ranks)
        ranks[node] = _rank(program, program.outputs[0])
        renamed[node] = names = _names(node.name, call, tensors, taken)
        renaming = Renaming(names, apart(indices_in(program), {}, taken))
        blocks = {block for stmt in statements for block in blocks_of(stmt)}
        statements += numbered(map(renaming.statement, program.statements), len(blocks))
        shapes += (renaming.shape(s) for s in program.shapes if s.tensor not in program.inputs)
        updates += [(names[output], parameter) for output, parameter in call.updates]
    given = [*(n.name for n in nodes if isinstance(n, Input)), *(n.name for n in nodes if isinstance(n, Parameter))]
    outputs = dict.fromkeys([*(tensors[n] for n in wanted), *(tensor for tensor, _ in updates)])
    for tensor in given:  # what is not computed needs no Program
        outputs.pop(tensor, None)
    program = Program(tuple(given), tuple(outputs), tuple(statements), tuple(shapes), (), name)
    return Assembled(program, nodes, tensors, calls, renamed, tuple(updates))


def _expanded(call: Call, known: Mapping[Node, int | None]) -> Program:
    """The layer's Program without ellipses where the ranks of its inputs are known."""
    found = {i: known[a] for i, a in zip(call.program.inputs, call.arguments, strict=True)}
    given = {i: rank for i, rank in found.items() if rank is not None}
    if len(given) < len(found):
        return call.program
    try:
        return expanded(call.program, tuple(given.values()))
    except IndexLangError:  # told by `sizes`, which names the node
        return call.program


def expanded(program: Program, ranks: tuple[int, ...]) -> Program:
    """A layer's Program at these ranks of its inputs, the same one for all nodes of its class. Errors: `ShapeError`."""
    known = _expansions(program)
    if ranks not in known:
        known[ranks] = expand(program, dict(zip(program.inputs, ranks, strict=True)))
    return known[ranks]


@kept
def _expansions(program: Program) -> dict[tuple[int, ...], Program]:
    """What was expanded of a layer."""
    return {}


def _rank(program: Program, output: str) -> int | None:
    target = next(s.target for s in program.statements if s.target.tensor == output)
    return None if Dots() in target.subscripts else len(target.subscripts)


def _names(name: str, call: Call, tensors: Mapping[Node, str], taken: set[str]) -> dict[str, str]:
    """The graph's name for each tensor of a layer: `Conv1` for its first output, `Conv1.h` for what is inside."""
    program = call.program
    names = {i: tensors[a] for i, a in zip(program.inputs, call.arguments, strict=True)}
    for stmt in program.statements:
        tensor = stmt.target.tensor
        if tensor in names:
            continue
        new = name if tensor == program.outputs[0] else f"{name}.{tensor}"
        if tensor not in program.outputs:
            new = free(chain([new] if primal_of(new) is None else [], counted(f"{new}_")), taken)
        taken.add(new)
        names[tensor] = new
    return names
