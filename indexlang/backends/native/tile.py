"""The tile of a contraction, as a value.

In: nothing. Out: a frozen dataclass. The one rule: what is decided of a tile is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Tile:
    """`vector`: the axis in vectors ("" none), `width` vectors of `lanes`; `sizes`: other axes, positions at once."""

    vector: str
    lanes: int
    width: int
    sizes: tuple[tuple[str, int], ...]
    packs: tuple[tuple[int, str], ...]  # operands that are copied: the whole of it first, or a panel, or a block
    dot: bool = False  # the vector axis is summed
    cycles: float = 0

    @property
    def positions(self) -> int:
        return prod(m for _, m in self.sizes)

    @property
    def panel(self) -> int:
        """Elements of the vector axis at once."""
        return self.width * self.lanes

    @property
    def whole(self) -> tuple[int, ...]:
        """The operands that are copied by a nest of their own."""
        return tuple(p for p, kind in self.packs if kind == "whole")

    def pack(self, p: int) -> str:
        """How an operand is copied: whole, panel, block, or not at all."""
        return dict(self.packs).get(p, "")

    def __str__(self) -> str:
        beside = " x ".join(f"{m} of {a}" for a, m in self.sizes) or "1"
        kind = "summed " if self.dot else ""
        packs = "".join(f", {('left', 'right')[p]} packed by {how}" for p, how in self.packs)
        return f"{kind}{self.vector or 'no axis'} in {self.width} x {self.lanes} lanes, {beside}{packs}"
