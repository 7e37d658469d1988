"""What blocks make: which tensors the blocks of a statement set, and so do not bound their steps.

In: a Program. Out: tensors by statement and step. The one rule: how often a block runs is said by what is there before
it, or made by a block around it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..program.facts import kept
from ..program.ir import Block, Program, Size, blocks_of, primal_of


@kept
def made_in_blocks(program: Program) -> tuple[Mapping[str, frozenset[str]], ...]:
    """By statement and step, the tensors that the block of that step sets, with the blocks in it."""
    found: dict[Block, set[str]] = {}
    for stmt in program.statements:
        for block in blocks_of(stmt):
            found.setdefault(block, set()).add(stmt.target.tensor)
    made = {block: frozenset(tensors) for block, tensors in found.items()}
    return tuple({i: made[b] for b in blocks_of(s) for i in b.indices} for s in program.statements)


@kept
def reaching_further(program: Program) -> Mapping[str, tuple[int, ...]]:
    """The tensors that blocks and several statements set, some axis of them not declared, with the numbers of these."""
    declared = {s.tensor for s in program.shapes if not any(d == Size(s.tensor, k) for k, d in enumerate(s.dims))}
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    several: dict[str, list[int]] = {}
    for k, stmt in enumerate(program.statements):
        tensor = stmt.target.tensor
        if tensor in stepwise and tensor not in declared and primal_of(tensor) is None:
            several.setdefault(tensor, []).append(k)
    return {tensor: tuple(numbers) for tensor, numbers in several.items() if len(numbers) > 1}
