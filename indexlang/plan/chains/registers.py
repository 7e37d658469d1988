"""The arrays of a block: each used again as soon as nothing needs what is in it.

In: nodes that need memory, and those that need it no more. Out: Parts. The one rule: one array serves only nodes of its
dtype and its indices, so that its shape is that of the block.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...program.functions import FUNCTIONS
from ..building import Building
from ..places import Part
from ..views import Scope
from .values import Node

INTO = frozenset({"keep", "cleared", "choose", "square", "zero", "spread"})  # beside the functions of the language
SEVERAL = frozenset({"where", "sigmoid", "softplus", "silu", "erf", "gelu", "round", "int", "float"})  # no one pass
ELSEWHERE = frozenset({"sign"})  # functions that take ten times as long over their own argument: NumPy's loops branch


def fills(node: Node) -> bool:
    """Whether the operation of a node writes where it is told to."""
    return node.fn in INTO or (node.fn in FUNCTIONS and node.fn not in SEVERAL)


class Registers:
    """The arrays of one chain."""

    def __init__(self, b: Building) -> None:
        self.b = b
        self.all: list[Part] = []
        self.owners: dict[Node, Part] = {}
        self.free: dict[tuple[str, tuple[str, ...]], list[Part]] = {}

    def take(self, node: Node, dtype: str, indices: tuple[str, ...], dying: Sequence[Node], scope: Scope) -> Part:
        """An array for a node: that of an argument which nothing else needs, or a free one."""
        for arg in dying:
            part = self.owners.get(arg)
            if part is not None and (part.buffer.dtype, part.indices) == (dtype, indices):
                del self.owners[arg]
                self.owners[node] = part
                return part
        free = self.free.setdefault((dtype, indices), [])
        if free:
            part = free.pop()
        else:
            part = self.b.part("r", indices, dtype, scope)
            self.all.append(part)
        self.owners[node] = part
        return part

    def release(self, node: Node) -> None:
        """Nothing needs the node any more."""
        part = self.owners.pop(node, None)
        if part is not None:
            self.free.setdefault((part.buffer.dtype, part.indices), []).append(part)
