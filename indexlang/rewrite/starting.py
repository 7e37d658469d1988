"""Accumulations that start from what a caller passes.

In: a Program. Out: the Program in which some tensors that it accumulates into have further inputs to start from. The
one rule: `y` starts from the input `start.y`, which is only read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import Problem, ShapeError
from ..program.blocks import runs
from ..program.ir import Access, Program, Statement, primal_of, statement
from ..program.names import plain
from ..ranges.solve import attempt
from .lifted import gathered

START = "start."  # what the name of a tensor that an accumulation starts from begins with


def optional(program: Program) -> tuple[str, ...]:
    """The tensors whose first statement accumulates, so that a caller may say from where; no temporaries of a layer."""
    first: dict[str, str] = {}
    for stmt in program.statements:
        first.setdefault(stmt.target.tensor, stmt.op)
    candidates = (n for n, op in first.items() if op != "=" and primal_of(n) is None)
    return tuple(n for n in candidates if program.name is None or n in program.outputs)


def starting(named: Mapping[str, Any], initial: Sequence[str]) -> dict[str, Any]:
    """The arrays by the names that the started program knows them by."""
    return {START + n if n in initial else n: a for n, a in named.items()}


def started(program: Program, names: Sequence[str]) -> Program:
    """The program in which accumulations into `names` start from further inputs: `y` from `start.y`."""
    statements: list[Statement] = []
    pending = set(names)
    for _, some in runs(program.statements):  # in front of a whole block
        for stmt in some:
            name = stmt.target.tensor
            if name in pending:
                pending.discard(name)
                axes = plain(stmt.target.subscripts)
                statements.append(statement(Access(name, axes), "=", Access(START + name, axes), span=stmt.span))
        statements += some
    inputs = (*program.inputs, *(START + n for n in names))
    statements = [s for _, s in gathered(statements)]
    return Program(inputs, program.outputs, tuple(statements), program.shapes, program.dims, program.name or "started")


def unsolved(program: Program) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Why ranges cannot be solved however the program is called, and why not unless callers say where it starts."""
    found = attempt(program).problems
    names = optional(program) if found else ()
    certain = attempt(started(program, names)).problems if names else found
    known = {(p.code, p.rule, p.span) for p in certain}
    return certain, tuple(p for p in found if (p.code, p.rule, p.span) not in known)


def solvable(program: Program) -> None:
    """That ranges can be solved if callers say where accumulations start. Errors: `ShapeError`."""
    problems, _ = unsolved(program)
    if problems:
        raise ShapeError(*problems)
