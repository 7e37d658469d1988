"""Which tensors depend on which, by derivatives that are not zero.

In: a Program without embedded reductions. Out: for each tensor those that it depends on. The one rule: a tensor depends
on what its statements' values have contributions of, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..program.facts import kept
from ..program.ir import Access, Const, Expr, Program, Reduce, Statement
from .contributions import contributions

Dependencies = dict[str, set[str]]  # the tensors that each tensor depends on


def accessed(value: Expr, out: Access | None = None) -> set[str]:
    """The tensors that a value depends on."""
    return {c.access.tensor for c in contributions(value, Const(1), (), out)}


@kept
def accesses(stmt: Statement) -> frozenset[str]:
    """The tensors that a statement's value depends on."""
    return frozenset(accessed(stmt.value, stmt.target if isinstance(stmt.value, Reduce) else None))


def dependencies(program: Program) -> Dependencies:
    """What each tensor depends on directly."""
    found: Dependencies = {}
    for stmt in program.statements:
        found.setdefault(stmt.target.tensor, set()).update(accesses(stmt))
    return found


def reaching(known: Mapping[str, set[str]], outputs: Iterable[str]) -> set[str]:
    """The tensors that the outputs depend on, outputs included: all that is found by going from tensor to tensor."""
    reached: set[str] = set()
    left = list(outputs)
    while left:
        tensor = left.pop()
        if tensor not in reached:
            reached.add(tensor)
            left += known.get(tensor, ())
    return reached


def depending(known: Mapping[str, set[str]], inputs: Iterable[str]) -> set[str]:
    """The tensors that depend on the inputs, inputs included."""
    readers: dict[str, set[str]] = {}
    for tensor, sources in known.items():
        for source in sources:
            readers.setdefault(source, set()).add(tensor)
    return reaching(readers, inputs)
