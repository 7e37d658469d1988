"""Where variables begin in LLVM IR: what is made once there, for all that stands inside.

In: a `Code`. Out: lines at the head of a loop. The one rule: what a scope holds follows from nothing that begins
further inside.
"""

from __future__ import annotations

from .text import Code, Lines

_LAUNDER = "llvm.launder.invariant.group.p0"
_MANY = 3  # accesses that are worth a register that steps with them


class Scope:
    """Where a variable begins: lines at its head, and sums and pointers that were made there."""

    def __init__(self, code: Code) -> None:
        self.head: Lines = []
        self.sums: dict[tuple[str, ...], str] = {}
        self.pointers: dict[tuple[str, str], Pointer] = {}
        code.lines.append(self.head)

    def set(self, code: Code, text: str) -> str:
        """An instruction's result at the head."""
        name = code.name()
        self.head.append(f"  {name} = {text}")
        return name


class Pointer:
    """A place that moves with a loop, and how many accesses begin there.

    LLVM looks at each of them on its own to find the best way to step, in time that grows with their square and more.
    Where they are many, what hides that they belong together (`launder`, which becomes no instruction) leaves it one.
    """

    def __init__(self, name: str, text: str, moves: bool) -> None:
        self.name, self.text, self.moves, self.uses = name, text, moves, 0
        self.lines: Lines = []

    def settle(self, code: Code) -> None:
        """Its lines, when all accesses are known."""
        if not self.moves or self.uses < _MANY:
            self.lines.append(f"  {self.name} = {self.text}")
            return
        code.declared.add(f"declare ptr @{_LAUNDER}(ptr)")
        plain = code.set(self.text)
        self.lines += [code.lines.pop(), f"  {self.name} = call ptr @{_LAUNDER}(ptr {plain})"]
