"""A graph as a table: the shape, the parameters and the multiply-adds of each computed node.

In: a graph and the shapes of its inputs' examples. Out: rows, and their text. The one rule: every number is read from
the compiler's own shape inference: shapes of tensors, and how many points the domains of contractions have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..program.algebra import factors_of, terms_of
from ..program.ir import Access, Expr, Statement
from ..sizes.shapes import Shapes
from .graphs import sizes
from .graphs.assemble import Assembled
from .graphs.computed import CompNode
from .graphs.graph import Graph
from .graphs.nodes import Input, Mask, Node
from .graphs.parameters import Parameter
from .problems import graph_error


@dataclass(frozen=True)
class Row:
    """A computed node for one example: `shape` without the batch's axis, `parameters` those seen for the first time."""

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    macs: int


def summary(graph: Graph, given: Mapping[Input, Sequence[int]] | None = None) -> tuple[Row, ...]:
    """A row for each computed node, in the order of the graph; `given` are shapes of examples.

    Errors: `GraphError` for an input of unknown shape, `ShapeError` for layers that do not fit.
    """
    assembled = graph.assembled()
    known = sizes.infer(assembled, {n: (1, *_example(assembled, n, given or {})) for n in _inputs(assembled)}).nodes
    seen: set[Parameter] = set()
    rows = []
    for node in assembled.computed:
        call = assembled.calls[node]
        layer = sizes.sized(call, [known[a] for a in call.arguments])
        new = {a for a in call.arguments if isinstance(a, Parameter) and a.trained} - seen
        seen |= new
        macs = sum(multiply_adds(s, layer.shapes, k) for k, s in enumerate(layer.program.statements))
        rows.append(Row(_name(node), node.stem, known[node][1:], sum(p.size for p in new), macs))
    return tuple(rows)


def multiply_adds(stmt: Statement, shapes: Shapes, number: int) -> int:
    """The points of a statement's domain, for each product of tensors that is summed over an index."""
    if stmt.op not in ("=", "+=") or not stmt.reduced:
        return 0
    points = math.prod(hi - lo for i, (lo, hi) in shapes.extents[number].items() if i in stmt.domain.indices)
    return points * sum(max(0, _tensors(term) - 1) for _, term in terms_of(stmt.value))


def text(rows: Sequence[Row]) -> str:
    """The rows as a table, with their totals."""
    cells = [("layer", "", "output", "parameters", "multiply-adds")]
    cells += [(r.name, r.kind, _shape(r.shape), _count(r.parameters), _count(r.macs)) for r in rows]
    totals = sum(r.parameters for r in rows), sum(r.macs for r in rows)
    cells.append(("total", "", "", f"{totals[0]:,}", f"{totals[1]:,}"))
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = [
        "  ".join(c.ljust(w) if k < 3 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in cells
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join(line.rstrip() for line in (lines[0], rule, *lines[1:-1], rule, lines[-1]))


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "1"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _name(node: CompNode) -> str:
    """The package's name, where the node has one: it says which layer of the network this is."""
    return node.packages[0].name if node.packages else node.name


def _inputs(graph: Assembled) -> Iterator[Input]:
    return (n for n in graph.inputs if not isinstance(n, Mask))


def _example(graph: Assembled, node: Input, given: Mapping[Input, Sequence[int]]) -> tuple[int, ...]:
    """The shape of one example of an input: said here, or with the input, or that of its value, or that of labels."""
    if node in given:
        return tuple(given[node])
    if node.example is not None:
        return node.example
    if node.is_set:
        return node.value.shape[1:]
    if any(_is_label(node, c) for c in graph.computed):
        return ()
    rule = f"the shape of the input {node.name} is not known"
    raise graph_error(
        "input-shape", rule, way_out=f"say Input(shape=(28, 28, 1)) where it is made, or --shape {node.name}=28,28,1"
    )


def _is_label(node: Node, of: CompNode) -> bool:
    place = type(of).labels
    return place is not None and of.sources()[place[1]] is node


def _tensors(term: Expr) -> int:
    """How many tensors a product multiplies; numbers and divisors count as none."""
    return sum(isinstance(factor, Access) and not below for factor, below in factors_of(term))
