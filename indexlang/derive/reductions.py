"""Reductions other than sums: who gets the gradient of a maximum, and by what a factor of a product is multiplied.

In: the statements that make one tensor by `max=`, `min=` or `*=`. Out: statements that compute what the derivation
needs, and for each of the statements the adjoint of its value and the condition under which it counts. The rules: all
of a maximum's gradient goes to the first winner, earlier steps of blocks and then earlier statements first, row-major
through the other reduced indices; the gradient of a factor is the product of all the others, so that zeros do no harm
(never P/x).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..errors import DerivationError, Problem
from ..program.affine import Affine
from ..program.conditions import as_mask, decided
from ..program.facts import kept
from ..program.ir import (
    DOTS,
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    statement,
    steps_of,
)
from ..program.names import Fresh, Renaming, counted, free, indices_within, is_plain, plain
from ..program.rebuild import transform_expr
from ..ranges.statements import Bound
from .compared import stored
from .numbers import Bounds, Group, numbers, position, turned

_ELLIPSIS = "'...' stands beside other axes; write its axes out"


@dataclass(frozen=True)
class Adjoint:
    """What a statement's value is multiplied by, and where."""

    factor: Expr
    masks: tuple[Expr, ...] = ()


@dataclass
class Prepared:
    """Statements to put before the derived ones, their bounds and shapes, and an adjoint for each of the group."""

    statements: list[tuple[Statement, Bounds]] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    adjoints: list[Adjoint] = field(default_factory=list)


@kept
def separated(program: Program) -> Program:
    """The program in which each tensor is made by one operator, and a logsumexp is all that its tensor holds.

    What is set by `=` and then accumulated into by another operator than `+=`, and a logsumexp that is not alone, get
    a tensor of their own, which is then accumulated; so does what is compared with its extremum.
    """
    return stored(_unmistakable(_apart(program)))


def _unmistakable(program: Program) -> Program:
    """The program in which what makes one tensor can stand in one statement: no index is called like a tensor there."""
    groups: dict[str, list[int]] = {}
    for k, stmt in enumerate(program.statements):
        if stmt.op not in ("=", "+="):
            groups.setdefault(stmt.target.tensor, []).append(k)
    several = [numbers for numbers in groups.values() if len(numbers) > 1]
    if not several:
        return program
    statements = list(program.statements)
    names = Fresh.of(program)
    for several_of_one in several:
        tensors = {a.tensor for k in several_of_one for a in accesses_of(statements[k])}
        for k in several_of_one:
            new = {i: names.fresh(i) for i in indices_within(statements[k]) if i in tensors}
            around = blocks_of(statements[k])[:1]
            alike = [k] if new.keys().isdisjoint(steps_of(statements[k])) else range(len(statements))
            for j in alike if new else ():  # a block has one index
                if blocks_of(statements[j])[:1] == around:
                    statements[j] = Renaming(indices=new).statement(statements[j])
    return replace(program, statements=tuple(statements))


def _apart(program: Program) -> Program:
    count = Counter(s.target.tensor for s in program.statements)
    last = {s.target.tensor: s.op for s in program.statements}
    apart = [_is_apart(s, last[s.target.tensor], count[s.target.tensor]) for s in program.statements]
    if not any(apart):
        return program
    names, statements, shapes = Fresh.of(program), [], list(program.shapes)
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    for stmt, is_apart in zip(program.statements, apart, strict=True):
        if not is_apart:
            statements.append(stmt)
            continue
        tensor = stmt.target.tensor
        if tensor in stepwise:
            statements += _apart_in_steps(stmt, last[tensor], names)
            continue
        part, axes = names.fresh(f"{tensor}_part"), plain(stmt.target.subscripts)
        shapes += [replace(s, tensor=part, dims=_moved(s, part)) for s in program.shapes if s.tensor == tensor]
        op = stmt.op if last[tensor] in ("=", "+=") else last[tensor]
        statements.append(replace(stmt, target=replace(stmt.target, tensor=part)))
        statements.append(statement(Access(tensor, axes), op, Access(part, axes)))
    return replace(program, statements=tuple(statements), shapes=tuple(shapes))


def _apart_in_steps(stmt: Statement, last: str, names: Fresh) -> list[Statement]:
    """What a block sets once is combined with nothing; a reduction that is all of it has a tensor of its own."""
    op = last if stmt.op in ("=", "+=") and last not in ("=", "+=") else stmt.op
    if not isinstance(stmt.value, Reduce):
        return [replace(stmt, op=op)]
    axes = tuple(Index(i) for i in stmt.domain.indices if i in indices_of(stmt.target))
    part = Access(names.fresh(f"{stmt.target.tensor}_part"), axes)
    where = stmt.domain.ranges, stmt.domain.masks, stmt.span, stmt.block
    return [statement(part, "=", stmt.value, *where), statement(stmt.target, op, part, *where)]


def _is_apart(stmt: Statement, last: str, count: int) -> bool:
    if stmt.op in ("=", "+=") and last not in ("=", "+="):
        return True
    return count > 1 and isinstance(stmt.value, Reduce) and stmt.value.op in ("logsumexp", "max", "min")


def _moved(shape: Shape, tensor: str) -> tuple[Expr, ...]:
    def rule(part: Subscript) -> Subscript | None:
        return replace(part, tensor=tensor) if isinstance(part, Size) and part.tensor == shape.tensor else None

    return tuple(transform_expr(d, rule) for d in shape.dims)


# -- max= and min= -----------------------------------------------------------------------------------


def extremum(group: Group, adjoint: str, names: Fresh, rank: int) -> Prepared:
    """The first winner of a maximum or minimum."""
    only, bounds = group[0]
    if any(not turned(stmt).isdisjoint(stmt.reduced) for stmt, _ in group):  # the last step comes first
        return _by_number(group, adjoint, names, rank)
    if len(group) == 1 and is_plain(only.target):
        return _by_argmax(only, bounds, adjoint, names)
    if any(s.block is not None for s, _ in group) and _have_places_of_their_own(group):
        found = [_by_argmax(stmt, own, adjoint, names) for stmt, own in group]
        return Prepared([s for p in found for s in p.statements], [], [a for p in found for a in p.adjoints])
    return _by_number(group, adjoint, names, rank)


def _by_argmax(stmt: Statement, bounds: Bounds, adjoint: str, names: Fresh) -> Prepared:
    """`where j == argmax[j](...)`: one statement, whose indices tell its elements apart."""
    given = replace(stmt.target, tensor=adjoint)
    op, body = stmt.op, stmt.value
    domain, outer, ranges = _split(stmt)
    if isinstance(body, Reduce):
        op, domain, body = body.op, body.domain, body.body
    reduced = domain.indices
    if not reduced:
        return Prepared(adjoints=[Adjoint(given)])
    if DOTS in reduced:
        raise _refused(stmt, "the axes of '...' are reduced by it; name them")
    tensor = names.fresh(f"{stmt.target.tensor}_at")
    at = replace(stmt.target, tensor=tensor)
    if not is_plain(stmt.target):
        at = Access(tensor, tuple(Index(i) for i in indices_of(stmt.target)), stmt.target.span)
    block = stmt.block
    if not {*reduced}.isdisjoint(steps_of(stmt)):  # a search through steps is in none of them
        block, outer = None, tuple(map(as_mask, outer))
        domain = replace(domain, masks=tuple(map(as_mask, domain.masks)))
    search = Reduce("argmax" if op in ("max", "max=") else "argmin", domain, body)
    made = statement(at, "=", search, ranges, outer, stmt.span, block)
    winner = as_mask(Call("eq", (position(reduced, bounds).to_expr(), at)))
    return Prepared([(made, bounds)], [], [Adjoint(given, (winner,))])


def _have_places_of_their_own(group: Group) -> bool:
    """Whether no two points, of one statement or of two, reach one element: each index is one of its subscripts, plus a
    number at most, and an axis tells statements apart.
    """
    for stmt, _ in group:
        shifts = [s for s in stmt.target.subscripts if isinstance(s, Expr) and _shifted(s) is not None]
        if {i for s in shifts for i in indices_of(s)} != {*indices_of(stmt.target)}:
            return False
    return all(_apart_by_an_axis(a, b) for k, a in enumerate(group) for b in group[k + 1 :])


def _shifted(s: Expr) -> tuple[str, int] | None:
    """The index and the number whose sum a subscript is."""
    form = Affine.from_expr(s)
    match form.terms:
        case ((Index(name=name), 1),):
            return name, form.const
        case _:
            return None


def _apart_by_an_axis(one: tuple[Statement, Bounds], other: tuple[Statement, Bounds]) -> bool:
    """Whether the positions of two statements in some axis never meet, whatever the sizes are."""
    for a, b in zip(one[0].target.subscripts, other[0].target.subscripts, strict=True):
        (low, high), (least, most) = _reach(a, one[1]), _reach(b, other[1])
        if (high is not None and least is not None and high < least) or (
            most is not None and low is not None and most < low
        ):
            return True
    return False


def _reach(s: Subscript, bounds: Bounds) -> tuple[int | None, int | None]:
    """The least and the greatest position, where numbers of the text say them."""
    if not isinstance(s, Expr):
        return None, None
    form = Affine.from_expr(s)
    if form.is_constant:
        return form.const, form.const
    found = _shifted(s)
    if found is None:
        return None, None
    bound = bounds[found[0]]
    low = bound.low.const + found[1] if bound.low.is_constant else None
    return low, bound.high.const - 1 + found[1] if bound.high.is_constant else None


def _split(stmt: Statement) -> tuple[Domain, tuple[Expr, ...], tuple[Range, ...]]:
    """The domain of the reduced indices, and the masks and ranges of the others."""
    inside = set(stmt.reduced)
    masks = tuple(m for m in stmt.domain.masks if inside & set(indices_of(m)))
    domain = Domain(stmt.reduced, tuple(r for r in stmt.domain.ranges if r.index in inside), masks)
    outer = tuple(m for m in stmt.domain.masks if m not in masks)
    return domain, outer, tuple(r for r in stmt.domain.ranges if r.index not in inside)


def _by_number(group: Group, adjoint: str, names: Fresh, rank: int) -> Prepared:
    """The least number among the winners of each element: any target, any number of statements."""
    tensor = group[0][0].target.tensor
    first = names.fresh(f"{tensor}_first")
    prepared = Prepared(shapes=[Shape(first, tuple(Size(tensor, k) for k in range(rank)))])
    for stmt, _ in group:
        if any(isinstance(s, Dots) for s in stmt.target.subscripts) or DOTS in stmt.domain.indices:
            raise _refused(stmt, "'...' stands in one of several accumulations; write its axes out")
    for (stmt, bounds), number in zip(group, numbers(group), strict=True):
        fn = "lt" if stmt.op == "max=" else "gt"
        beaten = Call(fn, (stmt.value, stmt.target))
        masks = (*stmt.domain.masks, Call("not", (beaten,)))
        at = replace(stmt.target, tensor=first)
        made = statement(without_values(at), "min=", number.to_expr(), stmt.domain.ranges, masks, stmt.span, stmt.block)
        prepared.statements.append((made, bounds))
        winner = as_mask(Call("eq", (at, number.to_expr())))
        prepared.adjoints.append(Adjoint(replace(stmt.target, tensor=adjoint), (winner,)))
    return prepared


def without_values(access: Access) -> Access:
    """A target: what a padding would read does not matter where it is written."""
    return replace(
        access,
        subscripts=tuple(replace(s, value=Const(0)) if isinstance(s, Boundary) else s for s in access.subscripts),
    )


# -- *= ------------------------------------------------------------------------------------------------


def product(group: Group, adjoint: str, names: Fresh) -> Prepared:
    """For each statement the product of all the other factors of its elements."""
    prepared = Prepared()
    for k, (stmt, bounds) in enumerate(group):
        factor: Expr = replace(stmt.target, tensor=adjoint)
        others = list(_others(k, group, names))
        if others:
            tensor = names.fresh(f"{stmt.target.tensor}_others")
            at = Access(tensor, tuple(Dots() if i == DOTS else Index(i) for i in stmt.domain.indices))
            for made, extra in others:
                prepared.statements.append((replace(made, target=at), {**extra, **bounds}))
            factor = Call("mul", (factor, at))
        prepared.adjoints.append(Adjoint(factor))
    return prepared


def _others(k: int, group: Group, names: Fresh) -> Iterator[tuple[Statement, Bounds]]:
    """Statements `_[own indices] *= factor`, over all points that meet in one element, but the point itself."""
    stmt, bounds = group[k]
    own = stmt.domain.indices
    place = Access("", tuple(Dots() if i == DOTS else Index(i) for i in own))
    for number, (other, theirs) in enumerate(group):
        if number == k and is_plain(other.target) and not other.reduced:
            continue
        copy, extra, renamed = _copied(other, theirs, own, names)
        masks = list(copy.domain.masks if other.block is None else map(as_mask, copy.domain.masks))
        mapping: dict[str, str] = {}
        if len(stmt.target.subscripts) != len(copy.target.subscripts):
            raise _refused(stmt, _ELLIPSIS)
        pairs = zip(stmt.target.subscripts, copy.target.subscripts, strict=True)
        for axis, (mine, its) in enumerate(pairs):
            if isinstance(its, Dots) and isinstance(mine, Dots):
                continue
            if isinstance(its, Index) and isinstance(mine, Index) and its.name not in mapping and its.name not in own:
                mapping[its.name] = mine.name
                masks += _where_it_runs(mine.name, bounds[mine.name], extra[its.name])
            else:
                if isinstance(mine, Dots) or isinstance(its, Dots):
                    raise _refused(stmt, _ELLIPSIS)
                everywhere = {**bounds, **extra}
                here, there = (_place(stmt.target.tensor, axis, s, everywhere) for s in (mine, its))
                masks.append(as_mask(Call("eq", (here, there))))
        copy = Renaming(indices=mapping).statement(replace(copy, domain=replace(copy.domain, masks=tuple(masks))))
        inner = tuple(m for m in copy.domain.masks if decided(m) != Const(True))
        if number == k:
            different = [
                Call("ne", (Index(i), Index(mapping.get(renamed[i], renamed[i]))))
                for i in own
                if i != DOTS and mapping.get(renamed[i], renamed[i]) != i
            ]
            if not different:
                continue
            apart = different[0]
            for one in different[1:]:
                apart = Call("or", (apart, one))
            inner = (*inner, apart)
        kept = {mapping.get(i, i): b for i, b in extra.items() if mapping.get(i, i) not in own}
        ranges = (*stmt.domain.ranges, *(r for r in copy.domain.ranges if r.index not in own))
        made = statement(place, "*=", copy.value, ranges, (*stmt.domain.masks, *inner), stmt.span, stmt.block)
        yield made, kept


def _where_it_runs(index: str, bound: Bound, other: Bound) -> Iterator[Expr]:
    """That an index is where another one runs, which becomes this one."""
    if other.low != bound.low:
        yield as_mask(Call("ge", (Index(index), other.lo)))
    if other.high != bound.high:
        yield as_mask(Call("lt", (Index(index), other.hi)))


def _copied(
    stmt: Statement, bounds: Bounds, taken: Sequence[str], names: Fresh
) -> tuple[Statement, Bounds, dict[str, str]]:
    """The statement with fresh names for its indices; an ellipsis stays what it is."""
    used = {*taken, *stmt.domain.indices, *names.taken}
    renamed: dict[str, str] = {}
    for i in stmt.domain.indices:
        if i == DOTS:
            continue
        renamed[i] = free(counted(i), used)
        used.add(renamed[i])
    return Renaming(indices=renamed).statement(stmt), {renamed.get(i, i): b for i, b in bounds.items()}, renamed


def _place(tensor: str, axis: int, s: Subscript, bounds: Bounds) -> Expr:
    """The position in its axis that a subscript of the target stands for; any outside of it for a padding."""
    end = Size(tensor, axis)
    match s:
        case Boundary(kind="pad", expr=e, lo=lo):
            return e if lo is None or lo == Const(0) else Call("sub", (e, lo))
        case Boundary(kind="clamp", expr=e):
            return Call("min", (Call("max", (e, Const(0))), Call("sub", (end, Const(1)))))
        case Boundary(kind="wrap", expr=e):
            return Call("mod", (e, end))
        case Boundary(expr=e):  # reflect: as far from the far edge as within one period
            last = Call("sub", (end, Const(1)))
            period = Call("max", (Call("mul", (Const(2), last)), Const(1)))
            return Call("sub", (last, Call("abs", (Call("sub", (last, Call("mod", (e, period)))),))))
        case Merged(indices=names):
            return position(names, bounds).to_expr()
        case Dots():
            raise AssertionError("an ellipsis has no position")
        case _:
            return s


def _refused(stmt: Statement, why: str) -> DerivationError:
    rule = f"the derivative of '{stmt.op}' into {stmt.target.tensor} cannot be written: {why}"
    way = "write the reduction into a plain target first"
    return DerivationError(Problem("underivable", rule, stmt.span, (), way))
