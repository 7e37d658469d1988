"""Checkpoints as a caller asks for them.

In: what `compile` is given. Out: a number of steps by the index of a block. The one rule: what would have no effect is
an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..backends.engines import BACKENDS
from ..errors import MeaningError, Problem
from ..meaning.report import nearest
from ..program.ir import Program, blocks_of
from .arguments import shortly


def checkpoints_of(checkpoint: Any, program: Program, backend: str) -> dict[str, int]:
    """How many steps of which blocks are between two states that are kept. Errors: `MeaningError`."""
    if checkpoint is None:
        return {}
    rule = f"checkpoint says for the index of a `for` how many steps are from state to state, not {shortly(checkpoint)}"
    way = "write checkpoint={'t': 16}"
    if not isinstance(checkpoint, Mapping):
        raise MeaningError(Problem("setting", rule, way_out=way))
    there = dict.fromkeys(b.indices[0] for s in program.statements for b in blocks_of(s)[:1] if len(b.indices) == 1)
    for index, steps in checkpoint.items():
        if not isinstance(steps, int | np.integer) or isinstance(steps, bool | np.bool_) or steps < 1:
            rule = f"between two states that are kept is a number of steps, at least 1, not {shortly(steps)}"
            raise MeaningError(Problem("setting", rule, way_out=way))
        if index not in there:
            rule = f"there is no block `for {index}:`, outside of others and over this index alone"
            known = f"blocks over one index: {', '.join(there) or 'none'}"
            near = nearest(index, there) if isinstance(index, str) else None
            raise MeaningError(Problem("setting", rule, None, (known,), near or "leave checkpoint out"))
    if checkpoint and BACKENDS[backend].traces:
        rule = f"the backend {backend} goes through the steps of blocks by itself, and keeps all of their states"
        way = "leave checkpoint out, and let jax.checkpoint wrap a function around f.to_jax()"
        raise MeaningError(Problem("setting", rule, way_out=way))
    return {index: int(steps) for index, steps in checkpoint.items()}
