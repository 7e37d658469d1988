"""Embedded reductions as statements of their own: the form that is differentiated, and that backends run.

In: a Program. Out: an equal one in which a Reduce is only the whole value of a statement, and then a logsumexp,
argmax or argmin over plain free indices; without embedded reductions, the same object. Innermost reductions come
first, equal ones are made once.

The one rule: nothing happens that did not happen before. A new statement keeps the ranges of its indices, and it is
masked wherever no admitted point of its surroundings reads it: what a mask or the branch of a `where` leaves out is
neither read, nor does it give 0*inf to a gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ..program.affine import Affine, not_negative
from ..program.blocks import as_said, but_steps
from ..program.conditions import TRUTHS, as_mask, margins
from ..program.facts import kept
from ..program.guarded import guards_of
from ..program.interface import with_header
from ..program.ir import (
    DOTS,
    Access,
    Block,
    Call,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    children,
    indices_of,
    reads,
    reductions_of,
    statement,
    walk,
)
from ..program.names import Fresh, anonymous, indices_within
from ..program.rebuild import transform_statement
from ..ranges.forms import Box
from ..ranges.inherit import inherit
from ..ranges.solve import solve
from ..ranges.statements import Bound
from .lifted import gathered
from .scoped import scoped
from .shaped import shaped

Bounds = Mapping[str, Bound]

OPERATOR = {"sum": "=", "prod": "*=", "max": "max=", "min": "min=", "logsumexp": "=", "argmax": "=", "argmin": "="}
_FLAT = {("sum", "="), ("sum", "+="), ("prod", "*="), ("max", "max="), ("min", "min=")}
_ROOTS = ("logsumexp", "argmax", "argmin")
_EXTREMA = ("max", "min")


@kept
def hoist(program: Program) -> Program:
    """The program without embedded reductions."""
    return _hoisted(program, ordered=False)


@kept
def hoist_in_order(program: Program) -> Program:
    """The same, to be differentiated: `max[j,i](x[i,j])` stays a reduction, whose order decides ties."""
    found = hoist(program)
    if any(r.op in _EXTREMA and len(r.domain.indices) > 1 for s in program.statements for r in reductions_of(s)):
        found = _hoisted(program, ordered=True)
    return found


def _hoisted(program: Program, ordered: bool) -> Program:
    if not any(reductions_of(s) for s in program.statements):
        return program
    if all(_is_done(s, ordered) for s in program.statements):
        return program
    solution = solve(program)
    bounds = solution.bounds
    work = _Hoist(program, ordered)
    for stmt, bound in zip(program.statements, bounds, strict=True):
        work.statement(stmt, bound)
    order = gathered(work.statements)
    statements, wanted = tuple(as_said(s) for _, s in order), [but_steps(s, work.wanted[k]) for k, s in order]
    hoisted = inherit(replace(program, statements=statements), wanted)
    return with_header(shaped(hoisted, solution))


def _is_done(stmt: Statement, ordered: bool) -> bool:
    """Whether a statement has no reduction but, perhaps, its root."""
    return _next(stmt, ordered) is None and not (isinstance(stmt.value, Reduce) and _is_flat(stmt, stmt.value, ordered))


def _is_flat(stmt: Statement, root: Reduce, ordered: bool) -> bool:
    """Whether a reduction that is all of a statement's value becomes the statement's own."""
    return (root.op, stmt.op) in _FLAT and not (ordered and _has_order(root))


def _has_order(reduce: Reduce) -> bool:
    """Whether an extremum names its indices in another order than that in which they occur."""
    domain = reduce.domain
    nodes = (reduce.body, *domain.masks)
    found = dict.fromkeys([*(i for n in nodes for i in indices_of(n)), *(r.index for r in domain.ranges)])
    return reduce.op in _EXTREMA and tuple(i for i in found if i in domain.indices) != domain.indices


def _next(stmt: Statement, ordered: bool) -> tuple[Reduce, tuple[Expr, ...]] | None:
    """The next reduction to take out, with no other one inside, and the conditions under which it is computed."""
    for mask in stmt.domain.masks:
        found = _innermost(mask, tuple(m for m in guards_of(stmt.domain.masks, mask) if m is not mask))
        if found is not None:
            return found
    for part in (stmt.target, stmt.value):
        found = _innermost(part, stmt.domain.masks)
        if found is not None and not (found[0] is stmt.value and _stays(stmt, found[0], ordered)):
            return found
    return None


def _stays(stmt: Statement, root: Reduce, ordered: bool) -> bool:
    """Whether a reduction that is all of a statement's value can be lowered, and derived, as it stands."""
    if _is_flat(stmt, root, ordered):
        return True
    names = [s.name if isinstance(s, Index) else DOTS if isinstance(s, Dots) else None for s in stmt.target.subscripts]
    plain = None not in names and len(set(names)) == len(names)
    alone = root.op in _ROOTS or (ordered and _has_order(root))
    return alone and stmt.op in ("=", "+=") and plain and not stmt.reduced


def _innermost(node: Subscript, conditions: tuple[Expr, ...]) -> tuple[Reduce, tuple[Expr, ...]] | None:
    match node:
        case Reduce(domain=domain, body=body):
            for mask in domain.masks:
                if (found := _innermost(mask, guards_of((*conditions, *domain.masks), mask))) is not None:
                    return found
            return _innermost(body, (*conditions, *domain.masks)) or (node, conditions)
        case Call(fn="where", args=(c, a, b)):
            taken = c if isinstance(c, Call) and c.fn in TRUTHS else Call("ne", (c, Const(0)))
            return (
                _innermost(c, conditions)
                or _innermost(a, (*conditions, taken))
                or _innermost(b, (*conditions, Call("not", (taken,))))
            )
        case _:
            for child in children(node):
                if (found := _innermost(child, conditions)) is not None:
                    return found
            return None


def _replaced(stmt: Statement, reduce: Reduce, by: Expr) -> Statement:
    return transform_statement(stmt, lambda part: by if part == reduce else None)


@dataclass(frozen=True)
class _Made:
    """A tensor that was made for a reduction, and the numbers of the reduction's free indices on its axes."""

    tensor: str
    axes: tuple[int, ...]


class _Hoist:
    """The statements so far, how far each one's indices shall run, and the reductions that have a tensor."""

    def __init__(self, program: Program, ordered: bool) -> None:
        self.names, self.ordered = Fresh.of(program), ordered
        self.statements: list[Statement] = []
        self.wanted: list[dict[str, Bound] | None] = []
        self.made: dict[object, _Made] = {}

    def statement(self, stmt: Statement, bounds: Bounds) -> None:
        """A statement, after those that its reductions become."""
        if _is_done(stmt, self.ordered):
            self.statements.append(stmt)
            self.wanted.append(None)
            return
        while (found := _next(stmt, self.ordered)) is not None:
            reduce, conditions = found
            part = _Part(self, stmt, bounds, reduce, conditions)
            stmt = _replaced(stmt, reduce, part.mean() if reduce.op == "mean" else part.read())
        root = stmt.value
        if isinstance(root, Reduce) and _is_flat(stmt, root, self.ordered):
            domain = root.domain
            value = scoped(root.body, (*stmt.reduced, *domain.indices)) if root.op == "sum" else root.body
            ranges, masks = (*stmt.domain.ranges, *domain.ranges), (*stmt.domain.masks, *domain.masks)
            stmt = statement(stmt.target, stmt.op, value, ranges, masks, stmt.span, stmt.block)
        self.add(stmt, bounds)

    def add(self, stmt: Statement, bounds: Bounds) -> None:
        """A statement that is done."""
        domains = [stmt.domain, *(p.domain for p in reductions_of(stmt))]
        self.statements.append(stmt)
        self.wanted.append({i: bounds[i] for d in domains for i in d.indices if i != DOTS})

    def once(self, stmt: Statement, bounds: Bounds, wish: str, block: Block | None = None) -> Access:
        """The statement under a new name for its target; where an equal one was made before, a read of that."""
        free = [i for i in indices_of(stmt.value) + _of_masks(stmt.domain) if i in indices_of(stmt.target)]
        free = list(dict.fromkeys([*free, *indices_of(stmt.target)]))
        key = _alike(stmt, free, bounds)
        around, path, there = block, () if block is None else block.path, {*indices_of(stmt.target)}
        block = next((b for b in path[::-1] if {i for c in b.path for i in c.indices} <= there), None)  # else the same
        key = key, block
        if key not in self.made:
            if around is not None:
                gone = {i for b in path if block is None or b not in block.path for i in b.indices}
                masks = tuple(m if gone.isdisjoint(indices_of(m)) else as_mask(m) for m in stmt.domain.masks)
                stmt = statement(stmt.target, stmt.op, stmt.value, stmt.domain.ranges, masks, stmt.span, block)
            tensor = self.names.fresh(wish)
            order = indices_of(stmt.target)
            self.made[key] = _Made(tensor, tuple(free.index(i) for i in order))
            self.add(replace(stmt, target=replace(stmt.target, tensor=tensor)), bounds)
        found = self.made[key]
        return _access(found.tensor, [free[k] for k in found.axes])


class _Part:
    """One reduction being taken out of its statement."""

    def __init__(
        self, work: _Hoist, stmt: Statement, bounds: Bounds, reduce: Reduce, conditions: tuple[Expr, ...]
    ) -> None:
        self.work, self.stmt, self.bounds, self.reduce, self.conditions = work, stmt, bounds, reduce, conditions
        inner = [i for p in reductions_of(stmt) for i in p.domain.indices]
        self.order = list(dict.fromkeys([*stmt.domain.indices, *inner]))
        named = [p.tensor for p in walk(reduce.body) if isinstance(p, Access)]
        self.subject = named[0].replace(".", "_") if named else "it"

    def read(self, op: str | None = None) -> Access:
        """The reduction's value, read from a tensor of its own."""
        reduce, op = self.reduce, op or self.reduce.op
        domain = reduce.domain
        free = self.free(reduce)
        guards = self.guards(free)
        if op in _ROOTS or (self.work.ordered and _has_order(reduce)):
            made = statement(_access("", free), "=", reduce, (), guards, reduce.span)
        else:
            value = scoped(reduce.body, domain.indices) if op == "sum" else reduce.body
            masks = (*domain.masks, *guards)
            made = statement(_access("", free), OPERATOR[op], value, domain.ranges, masks, reduce.span)
        return self.work.once(made, self.bounds, f"{op}_{self.subject}", self.stmt.block)

    def mean(self) -> Expr:
        """The sum over the number of admitted points."""
        domain, bounds = self.reduce.domain, self.bounds
        masked = {i for m in domain.masks for i in indices_of(m)}
        count = self.extent([i for i in domain.indices if i not in masked])
        if masked:
            inner = tuple(i for i in domain.indices if i in masked)
            ranges = tuple(r for r in domain.ranges if r.index in masked)
            free = [i for i in self.order if i in masked and i not in inner]
            masks = (*domain.masks, *self.guards(free))
            counted = statement(_access("", free), "=", Const(1), ranges, masks, self.reduce.span)
            read: Expr = self.work.once(counted, bounds, f"count_{self.subject}", self.stmt.block)
            count = read if count == Const(1) else Call("mul", (read, count))
        return Call("div", (self.read("sum"), count))

    def extent(self, indices: Sequence[str]) -> Expr:
        """How many values the indices have together: sizes of axes of what is reduced, where they say it."""
        result: Expr = Const(1)
        for i in indices:
            bound = self.bounds[i]
            place = next((axis for axis in self.places(i) if axis in bound.sources), None)
            written = any(r.index == i for r in self.reduce.domain.ranges)
            plain = place is not None and not written and bound.low == Affine(0)
            part = Size(*place) if plain and place is not None else (bound.high - bound.low).to_expr()
            result = part if result == Const(1) else Call("mul", (result, part))
        return result

    def places(self, index: str) -> Iterator[tuple[str, int]]:
        """The axes that an index subscripts plainly in what is reduced."""
        for part in walk(self.reduce.body):
            if isinstance(part, Access):
                yield from ((part.tensor, k) for k, s in enumerate(part.subscripts) if s == Index(index))

    def free(self, node: Subscript) -> list[str]:
        """The free indices of a node, in the order of the statement."""
        present = set(indices_of(node))
        return [i for i in self.order if i in present]

    def guards(self, free: Sequence[str]) -> tuple[Expr, ...]:
        """Conditions on the free indices: that some admitted point of the surroundings reads this element."""
        inside = set(free)
        direct = [c for c in self.conditions if set(indices_of(c)) <= inside]
        others = [c for c in self.conditions if c not in direct]
        if others and not _always_met(others, free, self.bounds):
            mentioned = {i for c in others for i in indices_of(c)}
            shared = [i for i in free if i in mentioned]
            used = statement(_access("", shared), "=", Const(1), (), tuple(others), self.reduce.span)
            read = self.work.once(used, self.bounds, f"used_{self.subject}", self.stmt.block)
            direct.append(Call("gt", (read, Const(0))))
        return tuple(direct)


def _always_met(conditions: Sequence[Expr], free: Sequence[str], bounds: Bounds) -> bool:
    """Whether it is plain that for all values of the free indices some values of the others meet all conditions.

    Tried are the least and the greatest value of each other index, and a free index that runs just as far.
    """
    forms = []
    for condition in conditions:
        found = list(margins(condition)) if _is_margins(condition) else []
        if not found:
            return False
        forms += found
    others = list(dict.fromkeys(i for c in conditions for i in indices_of(c) if i not in free))
    if len(others) > 3 or DOTS in others or any(i not in bounds for f in forms for i in f.indices):
        return False
    box = Box({i: bounds[i].low for i in free if i in bounds}, {i: bounds[i].high for i in free if i in bounds})
    choices = []
    for i in others:
        like = [
            Affine(0, ((Index(j), 1),))
            for j in box.low
            if bounds[j].low == bounds[i].low and bounds[j].high == bounds[i].high
        ]
        choices.append([bounds[i].low, bounds[i].high - 1, *like])
    for chosen in product(*choices):
        mapping: dict[Expr, Affine] = {Index(i): form for i, form in zip(others, chosen, strict=True)}
        least = [box.extreme(f.substitute(mapping), -1) for f in forms]
        if all(gap is not None and not_negative(gap) for gap in least):
            return True
    return False


def _is_margins(condition: Expr) -> bool:
    """Whether a condition is nothing but comparisons of integers that `margins` knows, free of data."""
    match condition:
        case Call(fn="and", args=args):
            return all(_is_margins(a) for a in args)
        case Call(fn="lt" | "le" | "gt" | "ge" | "eq"):
            return not reads(condition) and any(True for _ in margins(condition))
        case _:
            return False


def _access(tensor: str, free: Sequence[str]) -> Access:
    return Access(tensor, tuple(Dots() if i == DOTS else Index(i) for i in free))


def _of_masks(domain: Domain) -> tuple[str, ...]:
    return tuple(i for m in domain.masks for i in indices_of(m))


def _alike(stmt: Statement, free: Sequence[str], bounds: Bounds) -> object:
    """What two statements have in common that differ in names alone: what they make, and how far their indices run."""
    made = anonymous(stmt, free)
    value = made.value
    if isinstance(value, Reduce):
        value = replace(value, domain=replace(value.domain, ranges=()))
    extent = tuple(
        None if i == DOTS else (bounds[i].low, bounds[i].high) for i in dict.fromkeys((*free, *indices_within(stmt)))
    )
    return stmt.op, value, frozenset(made.domain.masks), extent, len(free)
