"""Statements as pieces that know nothing of steps: slices of tensors in place of tensors.

In: statements that run together at open steps, sizes. Out: `Piece`s. The one rule: an axis of which a step says the
position is no axis of the piece; where it says more than that, the step's number is passed as a value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from ..program.affine import Affine
from ..program.blocks import Steps
from ..program.guarded import in_order
from ..program.ir import (
    Access,
    Boundary,
    Const,
    Domain,
    Dots,
    Expr,
    Index,
    Merged,
    Reduce,
    Size,
    Statement,
    Subscript,
    blocks_of,
    indices_of,
    parts_of_domain,
    reads,
    statement,
    walk,
)
from ..program.ir import Call as Apply
from ..program.rebuild import transform, transform_statement
from ..sizes.in_bounds import interval, numeric
from .stages import At, Axis, Call, Now, One, Slice, Span, Staged
from .typed import is_counted

Extents = Mapping[str, tuple[int, int]]
Sizes = Mapping[str, tuple[int, ...]]


@dataclass
class Piece:
    """Statements over slices. `tensors` are the slices by the names that stand for them, `made` those that it makes,
    with the numbers of their statements; `partial` those of which it may leave elements as they were.
    """

    steps: Steps
    statements: list[tuple[Statement, Extents]] = field(default_factory=list)
    tensors: dict[str, Slice | Now] = field(default_factory=dict)
    made: dict[str, list[int]] = field(default_factory=dict)
    partial: set[str] = field(default_factory=set)

    def slice_named(self, name: str) -> Slice:
        """What a name stands for, if not for a step."""
        part = self.tensors[name]
        assert isinstance(part, Slice), "a step is a number, and no tensor"
        return part

    @property
    def slices(self) -> dict[str, Slice]:
        """What stands for tensors."""
        return {name: part for name, part in self.tensors.items() if isinstance(part, Slice)}


def pieces(
    statements: Sequence[tuple[Statement, Extents]], steps: Steps, sizes: Sizes, stepwise: Collection[str]
) -> list[Piece]:
    """The statements as few pieces: what one reads of another by a different slice is a piece before it."""
    found: list[Piece] = []
    work: _Slicing | None = None
    for stmt, extents in statements:
        if work is None or not work.fits(stmt, extents):
            work = _Slicing(steps, sizes, stepwise)
            found.append(work.piece)
        work.add(stmt, extents)
    return found


class _Slicing:
    """One piece being made."""

    def __init__(self, steps: Steps, sizes: Sizes, stepwise: Collection[str]) -> None:
        self.piece, self.sizes, self.stepwise = Piece(steps), sizes, stepwise
        self.open = {i: extent for i, extent in steps}
        self.names: dict[Slice | Now, str] = {}
        self.read: set[str] = set()  # names of slices that statements but their makers read
        self.extents: Extents = {}
        self.masks: tuple[Expr, ...] = ()  # of the statement at hand, those that a step decides

    def begin(self, stmt: Statement, extents: Extents) -> None:
        """What follows is about a statement."""
        self.extents = extents
        asked = (c for m in in_order(stmt.domain.masks) for c in _conditions(m))
        self.masks = tuple(m for m in asked if {*indices_of(m)} <= self.open.keys())

    def fits(self, stmt: Statement, extents: Extents) -> bool:
        """Whether what a statement reads and writes is, of what the piece makes, the same or surely something else."""
        self.begin(stmt, extents)
        made = [self.piece.tensors[name] for name in self.piece.made]
        ours = [part for part in made if isinstance(part, Slice)]
        there = [part for part in self.piece.tensors.values() if isinstance(part, Slice)]
        target = self.slice_of(stmt.target)[0]
        parts = [target, *(self.slice_of(access)[0] for access in _accesses(stmt))]
        if {t for part in parts for axis in part.axes for t in read_in(axis)} & {p.tensor for p in ours}:
            return False  # where its slices lie is asked before the piece runs
        for access in _accesses(stmt):
            one, _ = self.slice_of(access)
            kept = not any(map(is_padded, one.axes))  # what is written into a padding is not what is read there
            near = [p for p in ours if p.tensor == one.tensor and not (kept and p == one)]
            if any(not apart(one, p, self.open, self.sizes) for p in near):
                return False
        known = self.names.get(target)
        if known is not None and known not in self.piece.made:  # a line in front reads what was there before
            return False
        own = any(self.slice_of(access)[0] == target for access in _accesses(stmt))
        if known is not None and (own or known in self.read):  # what is read is whole, or was there before
            return False
        return not any(
            target.tensor == p.tensor and target != p and not apart(target, p, self.open, self.sizes) for p in there
        )

    def add(self, stmt: Statement, extents: Extents) -> None:
        self.begin(stmt, extents)
        whole, subscripts = self.slice_of(stmt.target)
        name = self.name(whole)
        target = Access(name, tuple(map(self.subscript, subscripts)), stmt.target.span)
        domain = stmt.domain
        inner = [i for i in domain.indices if i not in self.open]
        told = {m for block in blocks_of(stmt) for m in block.masks}  # else there is no step
        masks = tuple(self.expr(m) for m in domain.masks if m not in told)
        made = statement(target, stmt.op, self.expr(stmt.value), (), masks, stmt.span)
        if self.is_partial(target, whole, inner, bool(masks)):
            self.piece.partial.add(name)
        self.read |= {self.name(self.slice_of(access)[0]) for access in _accesses(stmt)} - {name}
        self.piece.made.setdefault(name, []).append(len(self.piece.statements))
        self.piece.statements.append((made, {i: e for i, e in extents.items() if i not in self.open}))

    def is_partial(self, target: Access, whole: Slice, inner: Collection[str], masked: bool) -> bool:
        """Whether a statement may leave elements of a slice as they were."""
        if masked or any(not isinstance(s, Index) for s in target.subscripts):
            return True
        names = [s.name for s in target.subscripts if isinstance(s, Index)]
        shape = shape_of(whole, self.sizes)
        return len(set(names)) < len(names) or any(self.extents[i] != (0, n) for i, n in zip(names, shape, strict=True))

    # -- slices --------------------------------------------------------------------------------

    def name(self, part: Slice | Now) -> str:
        if part not in self.names:
            if isinstance(part, Now):
                wishes = (f"{part.index}_now{k or ''}" for k in count())
            elif part.whole:
                wishes = (f"{part.tensor}{k or ''}" for k in count())
            else:
                wishes = (f"{part.tensor.replace('.', '_')}_{k}" for k in count())
            taken = {*self.piece.tensors, *(self.sizes if not (isinstance(part, Slice) and part.whole) else ())}
            self.names[part] = next(name for name in wishes if name not in taken)
            self.piece.tensors[self.names[part]] = part
        return self.names[part]

    def slice_of(self, access: Access) -> tuple[Slice, tuple[Subscript, ...]]:
        """The slice that an access is in, and its subscripts there, in terms of the whole program."""
        axes: list[Axis] = []
        left: list[Subscript] = []
        for axis, s in enumerate(access.subscripts):
            found, rest = self.axis(access, axis, s)
            axes.append(found)
            if rest is not None:
                left.append(rest)
        return Slice(access.tensor, tuple(axes)), tuple(left)

    def axis(self, access: Access, number: int, s: Subscript) -> tuple[Axis, Subscript | None]:
        """Which positions of an axis are in the slice, and the subscript there; None where there is one position."""
        over = indices_of(s)
        size = self.sizes[access.tensor][number]
        sliced = bool(over) or (not self.open and access.tensor in self.stepwise)
        if isinstance(s, Merged):
            if self.open.keys().isdisjoint(s.indices):
                return None, s
            s = merged(s, self.extents)
        if not is_counted(s):
            return None, s
        if sliced and all(i in self.open for i in over):
            assert isinstance(s, Expr | Boundary) and not isinstance(s, Dots)
            asked = self.masks if _is_asked(s, size, self.open, self.sizes) else ()
            if not all(map(is_counted, asked)):
                return None, s  # the piece looks at it where it knows whether it counts
            masks = tuple(map(self.number, asked))
            if isinstance(s, Boundary):
                return At(replace(s, expr=self.number(s.expr), lo=self.maybe(s.lo), hi=self.maybe(s.hi)), masks), None
            return At(self.number(s), masks), None
        if self.open.keys().isdisjoint(over) or isinstance(s, Boundary | Dots) or reads(s):
            return None, s
        form = numeric(Affine.from_expr(s), self.sizes)
        if any(not isinstance(atom, Index) for atom, _ in form.terms):
            return None, s
        terms = [(a.name, c) for a, c in form.terms if isinstance(a, Index)]
        free = [(i, c) for i, c in terms if i not in self.open]
        fixed = Affine(form.const, tuple((Index(i), c) for i, c in terms if i in self.open))
        lo, hi = _interval(free, self.extents)
        first, last = _interval([(i, c) for i, c in terms if i in self.open], self.extents)
        if form.const + first + lo < 0 or form.const + last + hi >= size:
            return None, s
        inside = Affine(-lo, tuple((Index(i), c) for i, c in free))
        return Span((fixed + lo).to_expr(), hi - lo + 1), inside.to_expr()

    def maybe(self, expr: Expr | None) -> Expr | None:
        return None if expr is None else self.number(expr)

    def number(self, expr: Expr) -> Expr:
        """A position over steps, its sizes as numbers."""
        match expr:
            case Size(tensor=tensor, axis=axis):
                return Const(self.sizes[tensor][axis])
            case Apply(fn=fn, args=args):
                return Apply(fn, tuple(map(self.number, args)), expr.span)
            case Access(subscripts=subscripts):
                return replace(expr, subscripts=tuple(map(self.number_in, subscripts)))
            case _:
                return expr

    def number_in(self, s: Subscript) -> Subscript:
        if isinstance(s, Boundary):
            return replace(s, expr=self.number(s.expr), lo=self.maybe(s.lo), hi=self.maybe(s.hi))
        return s if isinstance(s, Merged) or not isinstance(s, Expr) else self.number(s)

    # -- expressions of the piece --------------------------------------------------------------

    def expr(self, expr: Expr) -> Expr:
        found = self.subscript(expr)
        assert isinstance(found, Expr)
        return found

    def subscript(self, node: Subscript) -> Subscript:
        match node:
            case Index(name=name):
                return Access(self.name(Now(name)), (), node.span) if name in self.open else node
            case Size(tensor=tensor, axis=axis):
                return Const(self.sizes[tensor][axis])
            case Access():
                part, left = self.slice_of(node)
                return Access(self.name(part), tuple(map(self.subscript, left)), node.span)
            case Apply(fn=fn, args=args):
                return Apply(fn, tuple(map(self.expr, args)), node.span)
            case Boundary(lo=lo, hi=hi):
                low, high = (None if e is None else self.expr(e) for e in (lo, hi))
                return replace(node, expr=self.expr(node.expr), lo=low, hi=high)
            case Reduce(op=op, domain=domain, body=body):
                inside = Domain(domain.indices, (), tuple(map(self.expr, domain.masks)))
                return Reduce(op, inside, self.expr(body), node.span)
            case _:
                return node


def reading(stmt: Statement, name: str, other: str) -> Statement:
    """The statement with what it reads of its own slice under another name."""

    def rule(node: Subscript) -> Subscript | None:
        if isinstance(node, Access) and node.tensor == name:
            return replace(node, tensor=other, subscripts=tuple(transform(s, rule) for s in node.subscripts))
        return None

    changed = transform_statement(stmt, rule)
    return replace(changed, target=replace(changed.target, tensor=name))


def merged(s: Merged, extents: Extents) -> Expr:
    """A merged axis as a sum."""
    form = Affine()
    for i in s.indices:
        form = form * extents[i][1] + Affine(0, ((Index(i), 1),))
    return form.to_expr()


def shape_of(part: Slice, sizes: Sizes) -> tuple[int, ...]:
    """The shape of a slice."""
    axes = zip(part.axes, sizes[part.tensor], strict=True)
    return tuple(n if axis is None else axis.length for axis, n in axes if not isinstance(axis, At))


def kind_of(part: Slice | Now | One, found: Staged) -> str:
    """The type of what a piece takes."""
    match part:
        case Now():
            return "int64"
        case One(dtype=dtype):
            return dtype
        case Slice(tensor=tensor):
            return found.stored(tensor)


def forms(call: Call, found: Staged) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """The shapes and types of what a piece takes."""
    declared = {s.tensor: tuple(int(d.value) for d in s.dims) for s in call.program.shapes}  # type: ignore[union-attr]
    return {n: declared[n] for n, _ in call.takes}, {n: kind_of(p, found) for n, p in call.takes}


def apart(one: Slice, other: Slice, open_: Extents, sizes: Sizes) -> bool:
    """Whether two slices have no element in common at any one step."""
    for a, b in zip(one.axes, other.axes, strict=True):
        first, second = start_of(a), start_of(b)
        if first is None or second is None:
            continue
        gap = second - first
        lengths = (a.length if isinstance(a, Span) else 1), (b.length if isinstance(b, Span) else 1)
        if all(isinstance(atom, Index) and atom.name in open_ for atom, _ in gap.terms):
            lo, hi = _interval([(a.name, c) for a, c in gap.terms if isinstance(a, Index)], open_)
            if gap.const + lo >= lengths[0] or gap.const + hi <= -lengths[1]:
                return True
    return False


def _conditions(mask: Expr) -> Iterator[Expr]:
    """What a condition asks for, one by one."""
    if isinstance(mask, Apply) and mask.fn == "and":
        for part in mask.args:
            yield from _conditions(part)
    else:
        yield mask


def _is_asked(s: Expr | Boundary, size: int, open_: Extents, sizes: Sizes) -> bool:
    """Whether a position is looked at when it is there, for it may lie outside: here, or where data are read."""
    if isinstance(s, Boundary):
        inside = [p for p in walk(s.expr) if isinstance(p, Access)]
        both = [(t, n) for p in inside for t, n in zip(p.subscripts, sizes[p.tensor], strict=True)]
        return any(isinstance(t, Expr | Boundary) and _is_asked(t, n, open_, sizes) for t, n in both)
    if reads(s):
        return True
    form = numeric(Affine.from_expr(s), sizes)
    ends = interval(form, open_)
    is_affine = all(isinstance(atom, Index) for atom, _ in form.terms)
    return not is_affine and (ends is None or ends[0] < 0 or ends[1] >= size)


def is_padded(axis: Axis) -> bool:
    """Whether a position may lie in a padding."""
    return isinstance(axis, At) and isinstance(axis.position, Boundary) and axis.position.kind == "pad"


def read_in(axis: Axis) -> list[str]:
    """The tensors that say a position, or whether it counts."""
    if not isinstance(axis, At):
        return []
    node = axis.position
    roots = (node.expr if isinstance(node, Boundary) else node, *axis.masks)
    return [p.tensor for root in roots for p in walk(root) if isinstance(p, Access)]


def start_of(axis: Axis) -> Affine | None:
    """The first position of a slice in an axis, if it is affine in steps; what lies in a padding has none."""
    if axis is None:
        return None
    expr = axis.position if isinstance(axis, At) else axis.start
    if isinstance(expr, Boundary):
        if expr.kind != "pad":
            return None
        low = Affine() if expr.lo is None else Affine.from_expr(expr.lo)
        form = Affine.from_expr(expr.expr) - low
    else:
        form = Affine.from_expr(expr)
    return form if all(isinstance(atom, Index) for atom, _ in form.terms) else None


def positions(axis: Axis, open_: Extents) -> tuple[int, int] | None:
    """The least and the greatest position of a slice in an axis over all steps, if it is affine in them."""
    form = start_of(axis)
    if form is None:
        return None
    lo, hi = _interval([(a.name, c) for a, c in form.terms if isinstance(a, Index)], open_)
    return form.const + lo, form.const + hi + (axis.length - 1 if isinstance(axis, Span) else 0)


def _interval(terms: Sequence[tuple[str, int]], extents: Extents) -> tuple[int, int]:
    low = high = 0
    for i, c in terms:
        ends = (c * extents[i][0], c * (extents[i][1] - 1))
        low, high = low + min(ends), high + max(ends)
    return low, high


def _accesses(stmt: Statement) -> list[Access]:
    """What a statement reads in its piece: nothing that stands in a position which a step says alone counts twice."""
    found: list[Access] = []
    left: list[Subscript] = [stmt.value, *stmt.target.subscripts, *parts_of_domain(stmt.domain)]
    while left:
        node = left.pop()
        match node:
            case Access(subscripts=subscripts):
                found.append(node)
                left += subscripts
            case Apply(args=args):
                left += args
            case Reduce(domain=domain, body=body):
                left += [body, *parts_of_domain(domain)]
            case Boundary(expr=e):
                left.append(e)
            case _:
                pass
    return found
