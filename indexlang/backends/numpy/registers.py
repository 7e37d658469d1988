"""The arrays of a block: made once before the loop, each used again as soon as nothing needs what is in it.

In: nodes that need memory, and those that need it no more. Out: names, and the lines that make them. The one rule: one
array serves only nodes of its dtype and its indices, so that its shape is that of the block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ...plan.chains.values import Node
from .source import Scope, Writer, name_of, sizes_of

Kind = tuple[str, tuple[str, ...]]  # dtype and indices


class Registers:
    """The arrays of one chain."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.all: dict[str, Kind] = {}
        self.wide: dict[str, str] = {}  # the array of which a name is a part, where the last block is smaller
        self.owners: dict[Node, str] = {}
        self.free: dict[Kind, list[str]] = {}

    def take(self, node: Node, dtype: str, indices: tuple[str, ...], dying: Sequence[Node]) -> str:
        """The name of an array for a node: that of an argument which nothing else needs, or a free one."""
        kind = (dtype, indices)
        for arg in dying:
            name = self.owners.get(arg)
            if name is not None and self.all[name] == kind:
                del self.owners[arg]
                self.owners[node] = name
                return name
        free = self.free.setdefault(kind, [])
        if free:
            name = free.pop()
        else:
            name = self.writer.fresh("r")
            self.all[name] = kind
        self.owners[node] = name
        return name

    def release(self, node: Node) -> None:
        """Nothing needs the node any more."""
        name = self.owners.pop(node, None)
        if name is not None:
            self.free.setdefault(self.all[name], []).append(name)

    def narrow(self, scope: Scope) -> None:
        """Write, inside of the loop, the parts of the arrays that a smaller last block uses."""
        for name, (_, indices) in self.all.items():
            widths = [str(scope[i].width) for i in indices]
            if all(w.isdigit() for w in widths):
                continue
            parts = [":" if w.isdigit() else f":{w}" for w in widths]
            while parts[-1] == ":":
                parts.pop()
            self.wide[name] = self.writer.fresh(f"{name}_all")
            self.writer.line(f"{name} = {self.wide[name]}[{', '.join(parts)}]")

    def allocate(self, scope: Scope) -> None:
        """Write, before the loop, the lines that make the arrays."""
        now = sizes_of(scope)
        for name, (dtype, indices) in self.all.items():
            shape = tuple(now[i] for i in indices)
            made = self.wide.get(name, name)
            self.writer.note(made, prod(shape), dtype)
            self.writer.line(f"{made} = np.empty({shape}, np.{name_of(dtype)})")
