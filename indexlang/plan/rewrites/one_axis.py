"""Indices that run through an axis together as one index: groups of channels are channels.

In: a Program with its shapes and types. Out: the same, statements over merged axes over one index instead; what knows
only some of these indices is written out along the axis before, or gathered behind:

    y[b,i,(g,c)] = x[b,i,(g,c)] - mu[b,g]             wide[b,(g,c)] = mu[b,g]
                                                      y[b,i,p] = x[b,i,p] - wide[b,p]
    s[b,g] = x[b,i,(g,c)]                             part[b,p] = x[b,i,p]
                                                      s[b,g] = part[b,(g,c)]

The one rule: what is new is much smaller than the statement; its innermost axis is as long as the merged one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from ...program.ir import (
    Access,
    Index,
    Merged,
    Program,
    Statement,
    Subscript,
    accesses_of,
    children,
    domain_of,
    indices_of,
    parts_of_domain,
    reductions_of,
)
from ...program.names import counted, free, lettered
from ...program.rebuild import transform, transform_expr
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..views import Extents


@dataclass(frozen=True)
class Axis:
    """Indices that stand in one axis, `name` for all of them; `apart` are those that stand elsewhere, too."""

    indices: tuple[str, ...]
    apart: frozenset[str]
    name: str
    size: int


def on_one_axis(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with such indices as one."""
    work = _Rewriting(shapes, types, limits)
    for k, stmt in enumerate(program.statements):
        work.statement(k, stmt)
    if not work.changed:
        return program, shapes, types
    made = replace(program, statements=tuple(work.statements))
    known = replace(shapes, tensors=work.tensors, extents=tuple(work.extents), guarded=tuple(work.guarded))
    return made, known, replace(types, tensors=work.dtypes, compute=tuple(work.compute))


class _Rewriting:
    """The new statements so far, and what is known of them."""

    def __init__(self, shapes: Shapes, types: Types, limits: Limits) -> None:
        self.shapes, self.types, self.limits = shapes, types, limits
        self.tensors, self.dtypes = dict(shapes.tensors), dict(types.tensors)
        self.statements: list[Statement] = []
        self.extents: list[Extents] = []
        self.guarded: list[frozenset[tuple[Access, int]]] = []
        self.compute: list[str] = []
        self.wide: dict[
            tuple[Access, tuple[str, ...], tuple[tuple[int, int], ...]], Access
        ] = {}  # what is written out: a tensor is finished where it is read
        self.changed = False

    def add(self, stmt: Statement, extents: Extents, compute: str) -> None:
        self.statements.append(stmt)
        self.extents.append({i: extents[i] for i in stmt.domain.indices})
        self.guarded.append(frozenset())
        self.compute.append(compute)

    def statement(self, number: int, stmt: Statement) -> None:
        """One statement, as it is or over one index."""
        extents = self.shapes.extents[number]
        axis = None if self.shapes.guarded[number] else axis_of(stmt, extents, self.limits)
        if axis is None or not self.pays(stmt, axis, extents):
            self.add(stmt, extents, self.types.compute[number])
            self.extents[-1], self.guarded[-1] = extents, self.shapes.guarded[number]
        else:
            self.changed = True
            self.over(stmt, axis, {**extents, axis.name: (0, axis.size)}, self.types.compute[number])

    def pays(self, stmt: Statement, axis: Axis, extents: Extents) -> bool:
        """Whether all that is written out, or gathered, is small, and of one type."""
        most = _points(stmt.domain.indices, extents) // self.limits.larger
        for access in accesses_of(stmt):
            if not _is_apart(access, axis):
                continue
            names = {*indices_of(access), *axis.indices}
            if _points(names, extents) > most or access.tensor in self.types.weak:
                return False
        return not _is_apart(stmt.target, axis) or bool(set(stmt.reduced) - set(axis.indices))

    def over(self, stmt: Statement, axis: Axis, extents: Extents, compute: str) -> None:
        """The statement over one index."""

        def rule(part: Subscript) -> Subscript | None:
            match part:
                case Merged(indices=names) if names == axis.indices:
                    return Index(axis.name)
                case Access() if _is_apart(part, axis):
                    return self.written_out(part, axis, extents)
                case _:
                    return None

        value = transform_expr(stmt.value, rule)
        target = stmt.target
        gathered = _is_apart(target, axis)
        if gathered:
            target = self.new("part", _along(target, axis, Index(axis.name)), extents, compute)
        else:
            found = transform(target, rule)
            assert isinstance(found, Access)
            target = found
        op = "=" if gathered and stmt.op in ("=", "+=") else stmt.op
        ranges = tuple(r for r in stmt.domain.ranges if r.index not in axis.indices)
        domain = domain_of((target, value), ranges, stmt.domain.masks)
        counting = (i for i in stmt.domain.indices if i not in (*axis.indices, *domain.indices))
        domain = replace(domain, indices=(*domain.indices, *counting))
        self.add(replace(stmt, target=target, op=op, value=value, domain=domain), extents, compute)
        if gathered:
            back = replace(target, subscripts=_along(stmt.target, axis, Merged(axis.indices)))
            home = Statement(stmt.target, stmt.op, back, domain_of((stmt.target, back), (), ()), stmt.span)
            self.add(home, extents, compute)

    def written_out(self, access: Access, axis: Axis, extents: Extents) -> Access:
        """A read of some of the indices, along the whole axis."""
        key = access, axis.indices, tuple(extents[i] for i in axis.indices)
        if key not in self.wide:
            made = self.new("wide", _along(access, axis, Index(axis.name)), extents, self.dtypes[access.tensor])
            target = replace(made, subscripts=_along(access, axis, Merged(axis.indices)))
            stmt = Statement(target, "=", access, domain_of((target, access), (), ()))
            self.add(stmt, extents, self.dtypes[access.tensor])
            self.wide[key] = made
        return replace(self.wide[key], subscripts=_along(access, axis, Index(axis.name)))

    def new(self, hint: str, subscripts: tuple[Subscript, ...], extents: Extents, dtype: str) -> Access:
        """A tensor of a new name, over whole indices."""
        name = free(counted(hint), self.tensors)
        self.tensors[name] = tuple(extents[i][1] for s in subscripts for i in indices_of(s))
        self.dtypes[name] = dtype
        return Access(name, subscripts)


def axis_of(stmt: Statement, extents: Extents, limits: Limits) -> Axis | None:
    """The indices of a statement that are better one."""
    merged = list(dict.fromkeys(s.indices for a in accesses_of(stmt) for s in a.subscripts if isinstance(s, Merged)))
    if len(merged) != 1 or reductions_of(stmt) or _points(stmt.domain.indices, extents) < limits.least:
        return None
    (names,) = merged
    asked = {i for p in parts_of_domain(stmt.domain) if p in stmt.domain.masks for i in indices_of(p)}
    if asked & set(names) or any(extents[i][0] or extents[i][1] < 1 for i in names):
        return None
    elsewhere = list(_elsewhere(stmt))
    apart = {s.name for s in elsewhere if isinstance(s, Index)}
    other = {i for s in elsewhere if not isinstance(s, Index) for i in indices_of(s)}
    if other & set(names) or set(names) <= apart:
        return None
    if any(Merged(names) in a.subscripts and apart & set(names) & _alone(a) for a in accesses_of(stmt)):
        return None  # a diagonal: both ways in one access
    name = free(lettered("pqrs"), {*extents, *stmt.domain.indices})
    return Axis(names, frozenset(apart & set(names)), name, prod(extents[i][1] for i in names))


def _elsewhere(stmt: Statement) -> Iterator[Subscript]:
    """The subscripts that are no merged ones, and values that are indices, as sums of these."""
    stack: list[Subscript] = [stmt.target, stmt.value]
    while stack:
        part = stack.pop()
        if isinstance(part, Access):
            yield from (s for s in part.subscripts if not isinstance(s, Merged))
            stack += [p for s in part.subscripts for p in children(s)]
        elif isinstance(part, Index):
            yield Merged((part.name,))  # a number: no plain subscript
        else:
            stack += children(part)


def _alone(access: Access) -> set[str]:
    """The indices that are plain subscripts."""
    return {s.name for s in access.subscripts if isinstance(s, Index)}


def _is_apart(access: Access, axis: Axis) -> bool:
    """Whether an access knows some of the indices by themselves."""
    return any(isinstance(s, Index) and s.name in axis.apart for s in access.subscripts)


def _along(access: Access, axis: Axis, whole: Subscript) -> tuple[Subscript, ...]:
    """The indices of an access, those of the axis as what stands for all of them."""
    found: dict[Subscript, None] = {}
    for i in indices_of(access):
        found[whole if i in axis.indices else Index(i)] = None
    return tuple(found)


def _points(indices: Sequence[str] | set[str], extents: Extents) -> int:
    return prod(max(0, extents[i][1] - extents[i][0]) for i in set(indices))
