"""Integers that fit into 32 bits, computed in as many: twice as many of them stand in a vector.

In: a node of int64. Out: the same numbers as int32, or None where they may not fit. The one rule: every number on the
way is known to fit from positions, numbers and narrow arrays alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .nodes import Call, Constant, Element, Node, Nodes, Position

NARROW = frozenset({"int8", "int16", "int32", "uint8", "uint16"})
LEAST, MOST = -(1 << 31), (1 << 31) - 1
Interval = tuple[int, int]


def narrow(nodes: Nodes, node: Node, length: Callable[[str], int]) -> Node | None:
    """A node as int32."""
    found = _narrow(nodes, node, length)
    return None if found is None else found[0]


def _narrow(nodes: Nodes, node: Node, length: Callable[[str], int]) -> tuple[Node, Interval] | None:
    match node:
        case Constant(value=value) if not isinstance(value, float):
            made, ends = nodes.constant(int(value), "int32"), (int(value), int(value))
        case Position(index=index, first=first):
            made, ends = nodes.position(index, first, "int32"), (first, first + length(index) - 1)
        case Call(fn="cast", args=(inner,)) if inner.dtype in NARROW:
            info = np.iinfo(inner.dtype)
            made = inner if inner.dtype == "int32" else nodes.call("cast", (inner,), "int32")
            ends = (int(info.min), int(info.max))
        case Element(dtype=kind) if kind in NARROW:
            made = node if kind == "int32" else nodes.call("cast", (node,), "int32")
            ends = (int(np.iinfo(kind).min), int(np.iinfo(kind).max))
        case Call(fn="add" | "sub" | "mul" as fn, args=(a, b)):
            left, right = _narrow(nodes, a, length), _narrow(nodes, b, length)
            if left is None or right is None:
                return None
            made = nodes.call(fn, (left[0], right[0]), "int32")
            ends = _combined(fn, left[1], right[1])
        case _:
            return None
    return (made, ends) if ends[0] >= LEAST and ends[1] <= MOST else None


def _combined(fn: str, a: Interval, b: Interval) -> Interval:
    if fn == "add":
        return a[0] + b[0], a[1] + b[1]
    if fn == "sub":
        return a[0] - b[1], a[1] - b[0]
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)
