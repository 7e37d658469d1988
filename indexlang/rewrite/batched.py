"""A program over a batch: `f.batched("n", ["x"])`.

In: a Program, an index, the inputs that get it in front. Out: the Program in which they, and all that depends on them,
have one axis more, the first. The one rule: what is at one value of the index is what the program gives for that part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import NAMED, DerivationError, Problem, within_depth
from ..program.ir import Program, Size, reads_of, tensors_in
from ..program.names import Fresh, indices_in, renamed, tensors_of
from .indexed import Indexed


@within_depth(DerivationError, NAMED)
def batched(program: Program, index: str, tensors: Sequence[str]) -> Program:
    """The program over a batch. Errors: `DerivationError` where a tensor has the name of the index."""
    if index in tensors_of(program):
        rule = f"the index '{index}' of the batch would be called like a tensor"
        raise DerivationError(Problem("batch", rule, way_out="choose another name for the index"))
    if index in indices_in(program) or index in {name for name, _ in program.dims}:
        program = _moved_away(program, index)
    members = dependents(program, tensors)
    indices = [None if members.isdisjoint(tensors_in(s)) else index for s in program.statements]
    dim = Fresh.of(program).fresh(index.upper() if index.upper() != index else f"{index}_")
    return Indexed(members, Size(tensors[0], 0), dim).program(program, indices)


def dependents(program: Program, tensors: Iterable[str]) -> set[str]:
    """The tensors, and all that are made of their values, positions and conditions included."""
    members, before = set(tensors), -1
    while len(members) > before:  # what a step reads a later line of the block may have made
        before = len(members)
        members |= {s.target.tensor for s in program.statements if not members.isdisjoint(reads_of(s))}
    return members


def _moved_away(program: Program, index: str) -> Program:
    """The program with another name for an index, or a dim, that has this one."""
    new = Fresh.of(program).fresh(index)
    program = renamed(program, {}, {index: new})
    return Program(
        program.inputs,
        program.outputs,
        program.statements,
        program.shapes,
        tuple((new if name == index else name, e) for name, e in program.dims),
        program.name,
    )
