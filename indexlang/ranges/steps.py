"""What blocks make: which tensors each statement's block sets, and so do not bound its steps.

In: a Program. Out: tensors by statement. The one rule: how often a block runs is said by what is there before it.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..program.facts import kept
from ..program.ir import Block, Program, Size, blocks_of, primal_of


@kept
def made_in_blocks(program: Program) -> tuple[frozenset[str], ...]:
    """By statement, the tensors that the outermost block around it sets."""
    found: dict[Block, set[str]] = {}
    for stmt in program.statements:
        for block in blocks_of(stmt)[:1]:
            found.setdefault(block, set()).add(stmt.target.tensor)
    made = {block: frozenset(tensors) for block, tensors in found.items()}
    return tuple(made[blocks_of(s)[0]] if s.block is not None else frozenset() for s in program.statements)


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
