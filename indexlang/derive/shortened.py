"""Which tensors depend on which, less what cancels.

In: a Program without embedded reductions, what is asked for. Out: the dependencies that a derivation follows. The one
rule: a softmax depends on its exponents; nothing depends on a maximum that cancels, no sum of squares on its mean; but
all that is asked for is still reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..program.ir import Program
from ..ranges.solve import Solution
from .centred import centred
from .dependencies import Dependencies, accessed, accesses, depending, reaching
from .shifts import cancelled
from .softmax import Softmax


@dataclass(frozen=True)
class Shortened:
    """What each tensor depends on, what the outputs depend on, and by which tensors statements have no derivative."""

    known: Dependencies
    reached: set[str]
    centred: dict[int, frozenset[str]]


def shortened(
    flat: Program,
    solution: Solution,
    wrt: Sequence[str],
    softmax: Mapping[int, Softmax],
    outputs: Sequence[str] = (),
) -> Shortened:
    """The dependencies that are left, as far as all of `wrt` is still reached, and all `outputs` still depend on it."""
    gone, zero = cancelled(flat) - set(wrt), centred(flat, solution)
    while True:
        found: Dependencies = {}
        for k, stmt in enumerate(flat.statements):
            sources = accesses(stmt) if k not in softmax else accessed(softmax[k].exponent)
            found.setdefault(stmt.target.tensor, set()).update(sources - gone - zero.get(k, frozenset()))
        reached = reaching(found, flat.outputs)
        whole = set(wrt) <= reached and set(outputs) <= depending(found, wrt)
        if whole or not (gone or zero):
            return Shortened(found, reached, zero)
        gone, zero = frozenset(), {}
