"""The steps of a block in chunks, and where an access is along the axis that goes with the steps.

    t = lo + chunk * every + inside         or, where the block runs from the last step down, hi - 1 - (the same)

In: how far a block runs; accesses. Out: positions by their chunk. The one rule: positions count in the order in which
the block runs, so that blocks of both directions are one case.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program.affine import Affine
from ..program.ir import Access, Boundary, Index
from ..rewrite.substitution import linear


@dataclass(frozen=True)
class Chunks:
    """The steps lo..hi-1 of an index, `every` of them in a chunk; the last chunk, in their order, is the rest."""

    lo: int
    hi: int
    every: int
    reverse: bool

    @property
    def count(self) -> int:
        """How many whole chunks there are before the last one."""
        return (self.hi - self.lo - 1) // self.every

    @property
    def rest(self) -> int:
        """How many steps the last chunk has, at least one."""
        return self.hi - self.lo - self.count * self.every

    def step(self, chunk: Affine, inside: Affine) -> Affine:
        """The step at a place of a chunk."""
        number = chunk * self.every + inside
        return -number + (self.hi - 1) if self.reverse else number + self.lo

    def number(self, position: Affine) -> Affine:
        """A position, counted from the first step on in the order in which they run."""
        return -position + (self.hi - 1) if self.reverse else position - self.lo

    def position(self, number: Affine) -> Affine:
        """A position from its count: `number` the other way round."""
        return -number + (self.hi - 1) if self.reverse else number + self.lo


@dataclass(frozen=True)
class Place:
    """Where an access is in an axis: `offset` behind the step of `index`, or at the count `offset` where there is none.

    `pad` is the padding around it.
    """

    index: str | None
    offset: int
    pad: Boundary | None = None


def placed(access: Access, axis: int, chunks: Chunks) -> Place | None:
    """The place of an access whose sizes are numbers; None if it is not one step and a number, nor a number."""
    s = access.subscripts[axis]
    pad = s if isinstance(s, Boundary) else None
    if pad is not None and (pad.kind != "pad" or pad.lo is not None):
        return None
    form = linear(pad.expr if pad is not None else s)
    if form is None:
        return None
    if not form.terms:
        return Place(None, chunks.number(form).const) if pad is None else None
    (atom, times), *others = form.terms
    if others or times != 1 or not isinstance(atom, Index):
        return None
    return Place(atom.name, -form.const if chunks.reverse else form.const, pad)
