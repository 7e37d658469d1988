"""A product that only one other product reads, written into it where that costs less: its order is found for both.

In: a Program with its shapes and types. Out: the same, without tensors that only stood between two products:

    s[t,u] = q[t,d] * k[u,d];  y[t,e] = s[t,u] * v[u,e] where t < u + 32, u <= t
    y[t,e] = q[t,d] * k[u,d] * v[u,e] where t < u + 32, u <= t

The one rule: it is what another order of one product would give; a mask of the second one refuses points of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...program.algebra import Factor, factors_of, product_of, terms_of
from ...program.ir import Access, Domain, Index, Program, Reduce, Statement, reads_of, walk
from ...program.names import Renaming, counted, free
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..prices import price
from ..views import Extents


@dataclass(frozen=True)
class Inlined:
    """The statements' numbers, and the one that is both."""

    first: int
    second: int
    stmt: Statement
    extents: Extents


def inline(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with products written into those that read them."""
    refused: list[tuple[Statement, Statement]] = []
    while (found := _next(program, shapes, types, limits, refused)) is not None:
        left = [k for k in range(len(program.statements)) if k != found.first]
        statements = [found.stmt if k == found.second else program.statements[k] for k in left]
        extents = [found.extents if k == found.second else shapes.extents[k] for k in left]
        program = replace(program, statements=tuple(statements))
        shapes = replace(shapes, extents=tuple(extents), guarded=tuple(shapes.guarded[k] for k in left))
        types = replace(types, compute=tuple(types.compute[k] for k in left))
    return program, shapes, types


def _next(
    program: Program, shapes: Shapes, types: Types, limits: Limits, refused: list[tuple[Statement, Statement]]
) -> Inlined | None:
    """The first two statements that become one; of those that do not, `refused` remembers which have been looked at."""
    known = {(id(a), id(b)) for a, b in refused}
    makers: dict[str, list[int]] = {}
    readers: dict[str, list[int]] = {}
    for k, stmt in enumerate(program.statements):
        makers.setdefault(stmt.target.tensor, []).append(k)
        for tensor in reads_of(stmt):
            readers.setdefault(tensor, []).append(k)
    for tensor, made in makers.items():
        read = readers.get(tensor, [])
        if len(made) != 1 or len(read) != 1 or tensor in program.outputs or read[0] <= made[0]:
            continue
        first, second = made[0], read[0]
        between = {s.target.tensor for s in program.statements[first + 1 : second]}
        alike = types.compute[first] == types.compute[second] == types.tensors[tensor]
        if not alike or shapes.guarded[first] or between & set(reads_of(program.statements[first])):
            continue
        pair = program.statements[first], program.statements[second]
        if tuple(map(id, pair)) in known:
            continue
        found = _inlined(program, shapes, first, second, limits)
        if found is not None and types.compute[first].startswith("float"):
            return found
        refused.append(pair)
    return None


def _inlined(program: Program, shapes: Shapes, first: int, second: int, limits: Limits) -> Inlined | None:
    """Both as one statement, if they are products and that is cheaper."""
    a, b = program.statements[first], program.statements[second]
    extents, outer, sizes = shapes.extents[first], shapes.extents[second], shapes.tensors
    if a.domain.masks or not (_is_product(a) and _is_product(b)):
        return None
    if len(factors_of(a.value)) + len(factors_of(b.value)) > limits.exhaustive + 1:  # the best order is not found
        return None
    if any(lo >= hi for lo, hi in (*extents.values(), *outer.values())):
        return None
    new = _names(a, b, extents, outer, sizes[a.target.tensor])
    if new is None:
        return None
    stmt = _both(a, b, new)
    whole = {**outer, **{new[i]: extents[i] for i in a.reduced}}
    apart = price(a, extents, limits, sizes) + price(b, outer, limits, sizes)
    return Inlined(first, second, stmt, whole) if 5 * price(stmt, whole, limits, sizes) < 4 * apart else None


def _is_product(stmt: Statement) -> bool:
    """Whether a statement sums one product."""
    sums = stmt.op in ("=", "+=") and bool(stmt.reduced) and not isinstance(stmt.value, Reduce)
    return sums and len(terms_of(stmt.value)) == 1


def _names(a: Statement, b: Statement, extents: Extents, outer: Extents, shape: Sequence[int]) -> dict[str, str] | None:
    """What the indices of the first statement are called in the second, where that has its tensor as one factor."""
    tensor = a.target.tensor
    named = [
        p for node in (b.value, b.target, *b.domain.masks) for p in walk(node) if getattr(p, "tensor", "") == tensor
    ]
    factors = [f for f, below in factors_of(b.value) if not below and isinstance(f, Access) and f.tensor == tensor]
    if len(named) != 1 or len(factors) != 1:
        return None
    written, read = _plain(a.target), _plain(factors[0])
    if written is None or read is None:
        return None
    if any(extents[i] != (0, n) or outer[j] != (0, n) for i, j, n in zip(written, read, shape, strict=True)):
        return None
    new, taken = dict(zip(written, read, strict=True)), {*outer, *extents}
    for index in a.reduced:
        new[index] = free(counted(index), taken) if index in outer else index
        taken.add(new[index])
    return new


def _both(a: Statement, b: Statement, new: Mapping[str, str]) -> Statement:
    """The second statement with the first one's factors instead of its tensor."""
    moved = factors_of(Renaming({}, new).expr(a.value))
    parts: list[Factor] = []
    for factor, below in factors_of(b.value):
        own = isinstance(factor, Access) and factor.tensor == a.target.tensor
        parts += moved if own else [(factor, below)]
    value = product_of([f for f, below in parts if not below], [f for f, below in parts if below])
    indices = tuple(dict.fromkeys((*b.domain.indices, *(new[i] for i in a.reduced))))
    return replace(b, value=value, domain=Domain(indices, (), b.domain.masks))


def _plain(access: Access) -> list[str] | None:
    """The indices of an access, if each axis is gone through by one of its own."""
    names = [s.name for s in access.subscripts if isinstance(s, Index)]
    return names if len(names) == len(access.subscripts) == len(set(names)) else None
