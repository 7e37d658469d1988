"""Differences of pairs that have a name, written where they are read; and what their gradients would be summed from.

In: a Program with its shapes and types. Out: the same without tensors that are such differences, nor their gradients:

    z[i,j,d] = x[i,d] - y[j,d];  D[i,j] = z[i,j,d] * P[d,e] * z[i,j,e]
    D[i,j] = (x[i,d] - y[j,d]) * P[d,e] * (x[i,e] - y[j,e])

The one rule: a tensor goes only where all that read it multiply by it; a gradient, where all that read it sum it.
"""

from __future__ import annotations

from dataclasses import replace

from ...program.algebra import Factor, factors_of, terms_of
from ...program.ir import GRAD, Access, Program, Reduce, Statement, indices_of, primal_of, statement, tensors_in, walk
from ...program.names import Renaming, counted, free
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..views import Extents
from .pairs_moved import LEAST, Points, product_with

Numbered = tuple[int, Statement, Extents]  # the number of the statement that it is or was


def unnamed(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program without names of differences."""
    work = Points(program, shapes, types, limits)
    items: list[Numbered] = [(k, s, shapes.extents[k]) for k, s in enumerate(program.statements)]
    for k, stmt in enumerate(program.statements):
        work.number = k
        if work.pair(stmt.value) is None or stmt.reduced or stmt.op != "=" or not work.is_plain(stmt):
            continue
        readers = [i for i in items if i[1] is not stmt and stmt.target.tensor in tensors_in(i[1])]
        if stmt.target.tensor in program.outputs or not all(_multiplies(i, stmt.target.tensor, work) for i in readers):
            continue
        written = [_put(i, stmt) if i in readers else i for i in items if i[1] is not stmt]
        written = _summed(written, stmt.target.tensor, work)
        if not any(primal_of(s.target.tensor) == stmt.target.tensor for _, s, _ in written):  # whose shape it says
            items = written
    if len(items) == len(program.statements):
        return program, shapes, types
    numbers = [k for k, _, _ in items]
    return (
        replace(program, statements=tuple(s for _, s, _ in items)),
        replace(shapes, extents=tuple(e for _, _, e in items), guarded=tuple(shapes.guarded[k] for k in numbers)),
        replace(types, compute=tuple(types.compute[k] for k in numbers)),
    )


def _product(stmt: Statement) -> tuple[int, list[Factor]] | None:
    if isinstance(stmt.value, Reduce) or stmt.op not in ("=", "+=") or len(terms_of(stmt.value)) != 1:
        return None
    ((sign, term),) = terms_of(stmt.value)
    return sign, factors_of(term)


def _multiplies(item: Numbered, tensor: str, work: Points) -> bool:
    number, stmt, _ = item
    work.number, found = number, _product(stmt)
    if found is None or not work.is_plain(stmt):
        return False
    reads = [p for p in walk(stmt.value) if isinstance(p, Access) and p.tensor == tensor]
    return len(reads) == sum(not b and isinstance(f, Access) and f.tensor == tensor for f, b in found[1])


def _put(item: Numbered, made: Statement) -> Numbered:
    """A statement with a difference instead of its name."""
    number, stmt, extents = item
    found = _product(stmt)
    assert found is not None
    factors: list[Factor] = []
    for factor, below in found[1]:
        if isinstance(factor, Access) and factor.tensor == made.target.tensor:
            new = dict(zip(indices_of(made.target), indices_of(factor), strict=True))
            factor = Renaming({}, new).expr(made.value)
        factors.append((factor, below))
    return number, statement(stmt.target, stmt.op, product_with(factors, None, found[0]), (), (), stmt.span), extents


def _summed(items: list[Numbered], tensor: str, work: Points) -> list[Numbered]:
    """The statements that sum the gradient of a tensor, each as those that it is made by."""
    grad = f"{tensor}.{GRAD}"
    makers = [i for i in items if i[1].target.tensor == grad]
    readers = [i for i in items if i not in makers and grad in tensors_in(i[1])]
    plain = all(_product(s) is not None and _is_plain(k, s, work) for k, s, _ in (*makers, *readers))
    if not (makers and readers and plain) or grad in work.program.outputs or grad in work.program.inputs:
        return items
    if max(map(items.index, makers)) > min(map(items.index, readers)):
        return items
    for _, stmt, _ in readers:
        found = _product(stmt)
        assert found is not None
        reads = [f for f, b in found[1] if isinstance(f, Access) and f.tensor == grad and not b]
        if len(reads) != 1 or any(indices_of(f) for f, _ in found[1] if f is not reads[0]):
            return items
    made: list[Numbered] = []
    for item in items:
        made += [] if item in makers else _each(item, makers, grad) if item in readers else [item]
    return made


def _is_plain(number: int, stmt: Statement, work: Points) -> bool:
    """Whether a statement, whatever it adds to, is over whole axes without conditions, all in one type."""
    work.number = number
    tensors = (t for t in tensors_in(stmt) if t in work.shapes.tensors)
    return (
        work.kind in LEAST
        and all(work.types.tensors[t] == work.kind for t in tensors)
        and not stmt.domain.masks
        and not stmt.domain.ranges
        and not work.shapes.guarded[number]
        and all(work.is_whole(p) for p in (stmt.target, *walk(stmt.value)) if isinstance(p, Access))
    )


def _each(item: Numbered, makers: list[Numbered], grad: str) -> list[Numbered]:
    number, stmt, extents = item
    made: list[Numbered] = []
    found = _product(stmt)
    assert found is not None
    for _, maker, own in makers:
        inner = _product(maker)
        assert inner is not None
        (read,) = [f for f, _ in found[1] if isinstance(f, Access) and f.tensor == grad]
        new = dict(zip(indices_of(maker.target), indices_of(read), strict=True))
        taken = {*extents, *own}
        for index in maker.reduced:
            new[index] = free(counted(index), taken) if index in extents else index
            taken.add(new[index])
        others = [(f, b) for f, b in found[1] if f is not read]
        factors = [*others, *((Renaming({}, new).expr(f), b) for f, b in inner[1])]
        value = product_with(factors, None, found[0] * inner[0])
        op = stmt.op if not made else "+="
        whole = {**extents, **{new[i]: own[i] for i in maker.reduced}}
        made.append((number, statement(stmt.target, op, value, (), (), stmt.span), whole))
    return made
