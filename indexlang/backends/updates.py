"""Programs that are run in place: what they make comes to lie where something lay that they read.

In: a program of vectors and numbers. Out: an `Update` of arrays of one shape, for an engine that can. The one rule: an
element is made of the same element of the others alone, so that their shape does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program.ir import Program


@dataclass(frozen=True)
class Update:
    """A program of vectors, which stand for arrays of `shape` and `dtype`, and of `numbers`, its other inputs, of which
    it may use some. `onto` says by output the vector that is changed into it; the other vectors are only read.

    Several of them are one call: of all their numbers in one vector, then of what is read, then of what is changed.
    """

    program: Program
    onto: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str

    @property
    def read(self) -> tuple[str, ...]:
        """The vectors that are only read."""
        changed = dict(self.onto).values()
        return tuple(n for n in self.program.inputs if n not in self.numbers and n not in changed)

    @property
    def changed(self) -> tuple[str, ...]:
        """The vectors that are changed."""
        changed = dict(self.onto).values()
        return tuple(n for n in self.program.inputs if n in changed)
