"""Products of all others up to a bound, written where they are read: the gradient of a running product.

In: a Program with its shapes and types.

    y_others[t,s] *= x[s2] where s <= t, s2 <= t, s != s2
    x.grad[s] += y.grad[t] * y_others[t,s] where s <= t

Out: the same with `y.grad[t] * prod[s2](x[s2])` in one statement, which runs through s once. The one rule: what is
written so can be run so; all else stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ...program.algebra import factors_of, terms_of
from ...program.conditions import conjuncts
from ...program.ir import (
    Access,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Program,
    Reduce,
    Statement,
    Subscript,
    indices_of,
    parts_of,
    reads_of,
    walk,
)
from ...program.names import Renaming, counted, free
from ...program.rebuild import transform_expr
from ...rewrite.others import Others, bound, found, others_of
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes


@dataclass(frozen=True)
class Recurrence:
    """A statement as `sum[given](...) * prod[others](value) * rest`.

    What is `given` at the bound is said of `own` in its stead, as are its masks; the other indices of `given` that are
    `summed` stand nowhere else.
    """

    others: Others
    value: Expr
    given: tuple[Expr, ...]
    given_masks: tuple[Expr, ...]
    rest: tuple[tuple[Expr, bool], ...]  # with whether they divide
    masks: tuple[Expr, ...]
    negative: bool
    summed: tuple[str, ...]


def write_others(program: Program, shapes: Shapes, types: Types) -> tuple[Program, Shapes, Types]:
    """The program with such products where they are read."""
    for k in reversed(range(len(program.statements))):
        made = others_of(program.statements[k])
        if made is not None:
            program, shapes, types = _written(program, shapes, types, k, made)
    return program, shapes, types


def _written(program: Program, shapes: Shapes, types: Types, k: int, made: Others) -> tuple[Program, Shapes, Types]:
    stmt, tensor = program.statements[k], program.statements[k].target.tensor
    users = [n for n, s in enumerate(program.statements) if tensor in reads_of(s)]
    writers = [n for n, s in enumerate(program.statements) if s.target.tensor == tensor]
    extents, kind = shapes.extents[k], types.compute[k]
    alike = extents[made.outer] == extents[made.own] == extents[made.other]
    whole = alike and all(lo < hi for lo, hi in extents.values()) and not shapes.guarded[k]
    if not whole or writers != [k] or tensor in (*program.outputs, *program.inputs) or not users or users[0] < k:
        return program, shapes, types
    statements, every = list(program.statements), list(shapes.extents)
    for n in users:
        other = free(counted(made.other), indices_within_all(statements[n]))
        found_there = _in_place(statements[n], stmt, made, other)
        if found_there is None or types.compute[n] != kind or shapes.guarded[n]:
            return program, shapes, types
        written, names = found_there
        here = {**every[n], other: extents[made.other]}
        if any(here[j] != extents[i] for i, j in names.items()) or recurrence(written) is None:
            return program, shapes, types
        statements[n], every[n] = written, here
    left = [n for n in range(len(statements)) if n != k]
    tensors = {t: s for t, s in shapes.tensors.items() if t != tensor}
    shapes = replace(
        shapes,
        tensors=tensors,
        extents=tuple(every[n] for n in left),
        guarded=tuple(shapes.guarded[n] for n in left),
    )
    types = replace(types, compute=tuple(types.compute[n] for n in left))
    program = replace(
        program,
        statements=tuple(statements[n] for n in left),
        shapes=tuple(s for s in program.shapes if s.tensor != tensor),
    )
    return program, shapes, types


def indices_within_all(stmt: Statement) -> Collection[str]:
    """All names of indices in a statement."""
    return {*stmt.domain.indices, *(i for p in parts_of(stmt) for i in indices_of(p))}


def _in_place(stmt: Statement, product: Statement, made: Others, other: str) -> tuple[Statement, dict[str, str]] | None:
    """A statement that reads a product of others once, with the product itself; and its names of the indices."""
    tensor = product.target.tensor
    reading = [p for p in parts_of(stmt) if isinstance(p, Access) and p.tensor == tensor]
    if len(reading) != 1:
        return None
    names: dict[str, str] = {made.other: other}
    for mine, its in zip(product.target.subscripts, reading[0].subscripts, strict=True):
        if not isinstance(its, Index) or its.name in names.values():
            return None
        assert isinstance(mine, Index)
        names[mine.name] = its.name
    renaming = Renaming(indices=names)
    inner = tuple(renaming.expr(p) for m in product.domain.masks for p in conjuncts(m) if made.other in indices_of(p))
    ranges = renaming.domain(product.domain).ranges
    domain = Domain((other,), tuple(r for r in ranges if r.index == other), inner)
    reduce = Reduce("prod", domain, renaming.expr(product.value))
    said = {p for m in stmt.domain.masks for p in conjuncts(m)}
    if not said.issuperset(renaming.expr(p) for p in made.rest):
        return None

    def rule(part: Subscript) -> Subscript | None:
        return reduce if part == reading[0] else None

    return replace(stmt, value=transform_expr(stmt.value, rule)), names


def recurrence(stmt: Statement) -> Recurrence | None:
    """How a statement goes through what it multiplies once."""
    if stmt.op not in ("=", "+=") or isinstance(stmt.value, Reduce):
        return None
    terms = terms_of(stmt.value)
    target = stmt.target.subscripts
    if len(terms) != 1 or not all(isinstance(s, Index) for s in target) or len(set(target)) < len(target):
        return None
    factors = factors_of(terms[0][1])
    products = [f for f, below in factors if isinstance(f, Reduce) and not below]
    nested = [p for part in parts_of(stmt) for p in walk(part) if isinstance(p, Reduce)]
    if len(products) != 1 or len(set(map(id, nested))) != 1 or not _reads_plainly(stmt):
        return None
    (product,) = products
    (other,) = product.domain.indices
    here = found(other, product.body, product.domain.masks, stmt.domain.indices)
    if here is None or here.outer not in stmt.reduced or here.own not in indices_of(stmt.target):
        return None
    return _apart(stmt, product, here, [f for f in factors if f[0] is not product], terms[0][0] < 0)


def _apart(
    stmt: Statement, product: Reduce, here: Others, factors: list[tuple[Expr, bool]], negative: bool
) -> Recurrence | None:
    """The statement by what stands at the bound, and what does not."""
    own, outer = here.own, here.outer
    conditions = [p for m in stmt.domain.masks for p in conjuncts(m)]
    bounds = [p for p in conditions if bound(p, own) == (outer, here.upper, here.strict)]
    conditions = [p for p in conditions if p not in bounds]
    held = {i for e in (product.body, *here.masks) for i in indices_of(e)} - {here.other}
    alone = set(stmt.reduced) - held  # what is summed before anything is multiplied
    given = [f for f in factors if alone & set(indices_of(f[0]))]
    rest = [f for f in factors if f not in given]
    at_bound = [p for p in conditions if outer in indices_of(p)]
    others = [p for p in conditions if p not in at_bound]
    names = {i for f, _ in given for i in indices_of(f)} | {i for p in at_bound for i in indices_of(p)}
    tied = own in names or alone & {i for p in others for i in indices_of(p)}
    summed = {i for p in at_bound for i in indices_of(p)} & (alone - {outer})
    if len(bounds) == 0 or tied or summed:
        return None
    moved = Renaming(indices={outer: own})
    return Recurrence(
        here,
        product.body,
        tuple(moved.expr(Call("div", (Const(1), f)) if below else f) for f, below in given),
        tuple(moved.expr(p) for p in at_bound),
        tuple(rest),
        tuple(others),
        negative,
        tuple(i for i in stmt.reduced if i in names and i in alone and i != outer),
    )


def _reads_plainly(stmt: Statement) -> bool:
    """Whether all positions are indices: what is said of one index can be said of another that runs alike."""
    accesses = [p for p in parts_of(stmt) if isinstance(p, Access)]
    return all(isinstance(s, Index) for a in accesses for s in a.subscripts)
