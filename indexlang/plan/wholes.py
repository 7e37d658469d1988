"""Whether an engine with nests makes all products of a statement at once, or whoever has none goes through blocks.

In: a sum of products, the tile that follows its masks. Out: yes or no. The one rule: blocks are loops, and what stands
in them no nest computes; so they must save memory that is no trifle, or most of the work.
"""

from __future__ import annotations

from math import prod

from .blocks import itemsize
from .evaluation import Evaluation
from .passing import temporaries
from .tiles import Tile


def at_once(stmt: Evaluation, tile: object) -> bool:
    """Whether an engine with nests makes all products of a statement at once: its arrays on the way are no matter, and
    a `tile` of what masks admit would not leave out much.
    """
    limits = stmt.b.limits
    if not limits.nests:
        return False
    size = itemsize(stmt.compute)
    most = limits.large if stmt.inner else limits.heavy
    if any(prod(stmt.sizes[i] for i in group) * size > most for group in temporaries(stmt, summed=True)):
        return False
    if not stmt.inner or not isinstance(tile, Tile):
        return True
    gone = sum(tile.by * (high - low) for _, low, high in tile.blocks(stmt.b.extents))
    return stmt.sizes[tile.outer] * stmt.sizes[tile.inner] <= limits.wasted * gone
