"""Values that are compared with their extremum, under names of their own.

In: a Program. Out: an equal one. Where the winner of a `max=` or `min=` is found by comparing values with the extremum,
a value that is computed is made by a statement of its own. The one rule: what is compared is stored and read, for a
function computed again has the same bits only as long as its argument lies in memory as it did before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..program.blocks import as_said, but_steps
from ..program.functions import is_exact
from ..program.interface import with_header
from ..program.ir import DOTS, Access, Index, Program, Statement, indices_of, statement
from ..program.names import Fresh, is_plain
from ..ranges.inherit import inherit
from ..ranges.solve import solve
from ..ranges.statements import Bound


def stored(program: Program) -> Program:
    """The program with the values that a derivation compares as tensors."""
    count = Counter(s.target.tensor for s in program.statements)
    if not any(_is_compared(s, count) for s in program.statements):
        return program
    names, statements, wanted = Fresh.of(program), list[Statement](), list[dict[str, Bound] | None]()
    for stmt, bounds in zip(program.statements, solve(program).bounds, strict=True):
        if not _is_compared(stmt, count):
            statements.append(stmt)
            wanted.append(None)
            continue
        domain = stmt.domain
        used = {i for part in (stmt.value, *domain.masks) for i in indices_of(part)}
        own = tuple(i for i in domain.indices if i in used)
        value = Access(names.fresh(f"{stmt.target.tensor}_value"), tuple(Index(i) for i in own))
        ranges = tuple(r for r in domain.ranges if r.index in own)
        made = statement(value, "=", stmt.value, ranges, domain.masks, stmt.span, stmt.block)
        statements += [made, statement(stmt.target, stmt.op, value, domain.ranges, domain.masks, stmt.span, stmt.block)]
        wanted += [{i: bounds[i] for i in own}, {i: bounds[i] for i in domain.indices}]
    kept = [but_steps(s, w) for s, w in zip(statements, wanted, strict=True)]
    found = inherit(replace(program, statements=tuple(map(as_said, statements))), kept)
    return with_header(found)


def _is_compared(stmt: Statement, count: Counter[str]) -> bool:
    """Whether the winners of a statement are found by comparing, of values that may come out in other bits."""
    alone = count[stmt.target.tensor] == 1 and is_plain(stmt.target)
    return stmt.op in ("max=", "min=") and not alone and not is_exact(stmt.value) and DOTS not in stmt.domain.indices
