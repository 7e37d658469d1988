"""What a chain makes before its loops: nodes that each block of the outermost index would make again.

In: the nodes that differ from block to block. Out: those of them that are made once, whole. The one rule: an array
larger than a block pays only for what costs more than to read it again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..blocks import itemsize
from ..limits import Limits
from ..operators import REDUCTIONS
from .values import Graph, Node

COSTS = {
    **dict.fromkeys(("add", "sub", "mul", "max", "min", "neg", "relu", "square"), 1),
    **dict.fromkeys(REDUCTIONS.values(), 1),
    "read": 0,
    "number": 0,
}
INSIDE = frozenset({"read", "number", "part", "zero", "spread"})  # where they are read, or only in a block


def cost(node: Node, limits: Limits) -> int:
    """How many additions of an element a node takes as long as."""
    return COSTS.get(node.fn, limits.usual)


def made_ahead(
    graph: Graph, labels: Sequence[str], needed: Sequence[Node], moving: Collection[Node], limits: Limits
) -> set[Node]:
    """Of the nodes that differ from block to block, those that are the same for all values of the outermost index."""
    if len(labels) < 2 or graph.points(labels[:1]) < 2:
        return set()
    again: dict[Node, int] = {}  # nodes without the outermost index, and what an element of each costs
    outer = {n for n in needed if labels[0] in n.indices or n.at}  # one position of a window is read inside
    for node in needed:  # a node comes after what it reads
        outer.update([node] if not outer.isdisjoint(node.args) else ())
        if node in moving and node not in outer:
            again[node] = cost(node, limits) + max((again.get(a, 0) for a in node.args), default=0)
    size = itemsize(graph.compute)
    found: set[Node] = set()
    for node in reversed(again):
        price, bytes_ = again[node], graph.points(node.indices) * size
        pays = bytes_ <= limits.block or (price >= limits.usual and bytes_ <= limits.kept)
        wanted = any(node in n.args for n in found)
        if node.fn not in INSIDE and (wanted or (price and pays)):
            found.add(node)
    return found
