"""Names of tensors and indices: which are taken, new ones, and targets of plain indices.

In: a Program, the subscripts of a target. Out: names and indices that occur nowhere in them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .functions import FUNCTIONS
from .ir import DOTS, Access, Dots, Index, Program, Size, Subscript, indices_of, parts_of


class Fresh:
    """Names that occur nowhere in a program."""

    def __init__(self, program: Program) -> None:
        self.taken = {*FUNCTIONS, *program.inputs, *program.outputs, *(name for name, _ in program.dims)}
        self.taken.update(shape.tensor for shape in program.shapes)
        for stmt in program.statements:
            self.taken.update(stmt.domain.indices)
            for part in parts_of(stmt):
                match part:
                    case Access(tensor) | Size(tensor):
                        self.taken.add(tensor)
                    case Index(name):
                        self.taken.add(name)
                    case _:
                        pass

        self.numbers: dict[str, int] = {}  # up to which each wish is taken

    def fresh(self, wish: str) -> str:
        """`wish`, or `wish` with the first number from 2 on that makes it new; taken from now on."""
        name, k = wish, self.numbers.get(wish, 2)
        while name in self.taken:
            name, k = f"{wish}{k}", k + 1
        self.numbers[wish] = k
        self.taken.add(name)
        return name


def plain(subscripts: Sequence[Subscript]) -> tuple[Subscript, ...]:
    """Plain indices for the axes of a target, its own where they are plain and different."""
    fresh = (i for i in "ijklmnopqrstuvwxyz" if all(i not in indices_of(s) for s in subscripts))
    seen: set[str] = set()
    found: list[Subscript] = []
    for s in subscripts:
        if isinstance(s, Dots) or (isinstance(s, Index) and s.name not in seen):
            seen.update(indices_of(s))
            found.append(s)
        else:
            found.append(Index(next(fresh)))
    return tuple(found)


def is_plain(target: Access) -> bool:
    """Whether each axis has an index of its own."""
    names = [s.name if isinstance(s, Index) else DOTS if isinstance(s, Dots) else None for s in target.subscripts]
    return None not in names and len(set(names)) == len(names)
