"""How far each index of each statement runs, without a size in sight.

In: a Program. Out: a `Solution`: for each statement the bounds of its indices, those of embedded reductions included,
and the shape of each tensor, as affine forms over the sizes of the inputs.

The one rule, statement by statement, from the most to the least certain: a written range; the axes of plain uses; then
each subscript with exactly one open index bounds it, for all values of the others. Where a subscript may still leave
its axis, its one index that the target has is shortened. Whatever is chosen here is checked again, by `shapes`, when
the sizes are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .affine import Affine, floordiv, greatest, least, not_negative, size, total
from .errors import Problem, ShapeError, Span
from .ir import (
    DOTS,
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Range,
    Reduce,
    Size,
    Statement,
    Subscript,
    children,
    indices_of,
    parts_of,
    primal_of,
    walk,
)

Axis = tuple[str, int]  # a tensor and the number of an axis; negative, from the end, behind a leading `...`
ZERO = Affine(0)
_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


@dataclass(frozen=True)
class Bound:
    """low <= index < high. `sources` are the axes that it subscripts plainly; all of them have size `high`."""

    low: Affine
    high: Affine
    sources: frozenset[Axis] = frozenset()

    @property
    def lo(self) -> Expr:
        return self.low.to_expr()

    @property
    def hi(self) -> Expr:
        return self.high.to_expr()


@dataclass(frozen=True)
class Use:
    """One subscript of one access, and the masks under which it is read or written."""

    access: Access
    axis: int
    subscript: Subscript
    masks: tuple[Expr, ...]
    scope: tuple[str, ...]  # the indices of the domains that it stands in
    is_target: bool = False

    @property
    def tensor(self) -> str:
        return self.access.tensor

    @property
    def span(self) -> Span | None:
        return self.subscript.span or self.access.span


@dataclass(frozen=True)
class Cut:
    """A plain index that was shortened, so that a subscript stays in its axis."""

    index: str
    use: Use
    sources: tuple[Axis, ...]


@dataclass(frozen=True)
class Solution:
    """What `solve` found. `bounds` and `cuts` go by statement; `shapes` by tensor and axis, over the inputs' sizes."""

    bounds: tuple[Mapping[str, Bound], ...]
    cuts: tuple[tuple[Cut, ...], ...]
    shapes: Mapping[str, Mapping[int, Affine]]
    problems: tuple[Problem, ...]
    sizes: Sizes

    def shape(self, tensor: str) -> tuple[Expr, ...]:
        """The shape of a tensor whose rank is known: that of an input are its own sizes."""
        axes = self.sizes.of(tensor)
        return tuple(axes[k].to_expr() for k in range(len(axes)))


def solve(program: Program, known: Mapping[Size, Affine] | None = None) -> Solution:
    """Bounds and shapes; `known` are sizes that are known to equal forms. Errors: `ShapeError`."""
    solution = attempt(program, known)
    if solution.problems:
        raise ShapeError(*solution.problems)
    return solution


def attempt(program: Program, known: Mapping[Size, Affine] | None = None) -> Solution:
    """The same, with whatever could be found where there are problems."""
    sizes = Sizes(program, known or {})
    solved = []
    problems: list[Problem] = []
    for stmt in program.statements:
        one = _Statement(stmt, sizes)
        one.solve()
        one.define()
        solved.append(one)
        problems += one.problems
    bounds = tuple(
        {i: Bound(sizes.canonical(b.low), sizes.canonical(b.high), b.sources) for i, b in one.bounds().items()}
        for one in solved
    )
    shapes = {t: {k: sizes.canonical(f) for k, f in axes.items()} for t, axes in sizes.defined.items()}
    return Solution(bounds, tuple(tuple(one.cuts) for one in solved), shapes, tuple(problems), sizes)


class Sizes:
    """The sizes of axes as forms in one canonical way, and what is known to be equal."""

    def __init__(self, program: Program, known: Mapping[Size, Affine]) -> None:
        self.program = program
        self.equal: dict[Expr, Affine] = {**known}
        self.defined: dict[str, dict[int, Affine]] = {}
        self.declared = {s.tensor: s for s in program.shapes}
        self.aliases: dict[str, str] = {}  # tensors of unknown rank that have another one's shape
        self.targets = {s.target.tensor for s in program.statements} - set(program.inputs)
        self.ranks: dict[str, int] = {t: len(s.dims) for t, s in self.declared.items()}
        present = {*program.inputs, *self.targets}
        for stmt in program.statements:
            for part in parts_of(stmt):
                match part:
                    case Access(tensor=tensor, subscripts=subscripts):
                        present.add(tensor)
                        if Dots() not in subscripts:
                            self.ranks.setdefault(tensor, len(subscripts))
                    case Size(tensor=tensor):
                        present.add(tensor)
                    case _:
                        pass
        self.primals = {t: p for t in present if (p := primal_of(t)) in present and p is not None}
        for tensor, shape in self.declared.items():
            if tensor not in self.targets:
                for axis, dim in enumerate(shape.dims):
                    self.equate(size(tensor, axis), Affine.from_expr(dim))

    def canonical(self, form: Affine) -> Affine:
        """The form over sizes of inputs, each in the one way that stands for all that equal it."""
        for _ in range(64):
            mapping: dict[Expr, Affine] = {a: f for a in _sizes_in(form) if (f := self._step(a)) is not None}
            if not mapping:
                return form
            form = form.substitute(mapping)
        raise AssertionError("sizes are defined by each other")

    def _step(self, atom: Size) -> Affine | None:
        found = self.equal.get(atom)
        if found is not None:
            return found
        tensor, axis = atom.tensor, atom.axis
        if axis in self.defined.get(tensor, ()):
            return self.defined[tensor][axis]
        rank = self.ranks.get(tensor)
        if axis < 0 and rank is not None:
            return size(tensor, axis + rank)
        other = self.primals.get(tensor) or self.aliases.get(tensor)
        return None if other is None else size(other, axis)

    def axis(self, tensor: str, axis: int) -> Affine | None:
        """The size of an axis; None for one that its tensor's definition has not reached yet."""
        if tensor in self.defined:
            found = self.defined[tensor].get(axis)
            if found is not None:
                return self.canonical(found)
            return self.canonical(size(tensor, axis)) if tensor in self.aliases else None
        if tensor in self.primals or tensor not in self.targets:
            return self.canonical(size(tensor, axis))
        declared = self.declared.get(tensor)
        if declared is None:
            return None
        dim = declared.dims[axis]
        return None if dim == Size(tensor, axis % len(declared.dims)) else self.canonical(Affine.from_expr(dim))

    def of(self, tensor: str) -> dict[int, Affine]:
        """The sizes of all axes of a tensor of known rank."""
        rank = self.ranks.get(tensor)
        if tensor in self.defined and rank is None:
            return self.defined[tensor]
        if rank is None and tensor in self.primals:
            return self.of(self.primals[tensor])
        return {k: self.canonical(size(tensor, k)) for k in range(rank or 0)}

    def equate(self, a: Affine, b: Affine) -> None:
        """Note that two sizes are equal; where neither is a single size, nothing can be noted."""
        a, b = self.canonical(a), self.canonical(b)
        if a == b or a.indices or b.indices:
            return
        for one, other in ((a, b), (b, a)):
            match one.const, one.terms:
                case 0, ((Size() as atom, 1),) if atom not in _sizes_in(other):
                    self.equal[atom] = other
                    return


def _sizes_in(form: Affine) -> set[Size]:
    return {p for atom, _ in form.terms for p in walk(atom) if isinstance(p, Size)}


def uses(stmt: Statement) -> Iterator[Use]:
    """All subscripts of a statement, the target's first; a read inside of a subscript comes after that subscript."""
    masks, scope = stmt.domain.masks, stmt.domain.indices
    yield from _of_access(stmt.target, masks, scope, is_target=True)
    yield from _below(stmt.value, masks, scope)
    yield from _of_masks(masks, masks, scope)


def _of_access(
    access: Access, masks: tuple[Expr, ...], scope: tuple[str, ...], is_target: bool = False
) -> Iterator[Use]:
    front = bool(access.subscripts) and isinstance(access.subscripts[0], Dots)
    for number, s in enumerate(access.subscripts):
        axis = number - len(access.subscripts) if front else number
        if not isinstance(s, Dots):
            yield Use(access, axis, s, masks, scope, is_target)
            for child in children(s) if not isinstance(s, Access) else (s,):
                yield from _below(child, masks, scope)


def _below(node: Subscript, masks: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    match node:
        case Access():
            yield from _of_access(node, masks, scope)
        case Reduce(domain=domain, body=body):
            inner, indices = (*masks, *domain.masks), (*scope, *domain.indices)
            yield from _below(body, inner, indices)
            yield from _of_masks(domain.masks, inner, indices)
        case _:
            for child in children(node):
                yield from _below(child, masks, scope)


def _of_masks(masks: Iterable[Expr], around: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    """What a mask reads is guarded by the masks that read nothing."""
    static = tuple(m for m in around if not reads(m))
    for mask in masks:
        yield from _below(mask, static, scope)


def reads(node: Subscript) -> bool:
    """Whether a tensor's value is read below a node."""
    return any(isinstance(p, Access) for p in walk(node))


def conjuncts(mask: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The comparisons that all hold where a mask does: (fn, left, right)."""
    match mask:
        case Call(fn="and", args=args):
            for a in args:
                yield from conjuncts(a)
        case Call(fn="lt" | "le" | "gt" | "ge" | "eq" as fn, args=(a, b)):
            yield fn, a, b
        case Call(fn="not", args=(Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(a, b)),)):
            yield _OPPOSITE[fn], a, b
        case _:
            return


def margins(mask: Expr) -> Iterator[Affine]:
    """Forms that are not negative where a mask holds, of its comparisons of integers."""
    for fn, a, b in conjuncts(mask):
        if reads(a) or reads(b) or not (_is_integer(a) and _is_integer(b)):
            continue
        difference = Affine.from_expr(b) - Affine.from_expr(a)
        if fn in ("gt", "ge"):
            difference = -difference
        yield difference - 1 if fn in ("lt", "gt") else difference
        if fn == "eq":
            yield -difference


def _is_integer(expr: Expr) -> bool:
    """Whether an expression that reads nothing is made of integers by integer arithmetic."""
    allowed = ("add", "sub", "mul", "neg", "floordiv", "mod", "min", "max", "int")
    return all(
        isinstance(p, Index | Size) or (isinstance(p, Const) and type(p.value) is int)
        or (isinstance(p, Call) and p.fn in allowed)
        for p in walk(expr)
    )  # fmt: skip


@dataclass
class Box:
    """Bounds of indices as forms, open ones missing."""

    low: dict[str, Affine] = field(default_factory=dict)
    high: dict[str, Affine] = field(default_factory=dict)

    def extreme(self, form: Affine, sign: int) -> Affine | None:
        """The greatest (sign 1) or least (-1) value of a form over the box; None where data decide."""
        result = Affine(form.const)
        for atom, coef in form.terms:
            part = self._atom(atom, sign if coef > 0 else -sign)
            if part is None:
                return None
            result = result + part * coef
        return result

    def _atom(self, atom: Expr, sign: int) -> Affine | None:
        if not indices_of(atom):
            return None if reads(atom) else Affine(0, ((atom, 1),))
        match atom:
            case Index(name=i):
                if i not in self.high:  # still open, or of another domain
                    return None
                return self.high[i] - 1 if sign > 0 else self.low[i]
            case Call(fn="floordiv", args=(a, Const(value=m))) if type(m) is int and m > 0:
                inner = self.extreme(Affine.from_expr(a), sign)
                return None if inner is None else floordiv(inner, Affine(m))
            case Call(fn="mod", args=(a, Const(value=m))) if type(m) is int and m > 0:
                if sign < 0:
                    return ZERO
                low, high = (self.extreme(Affine.from_expr(a), s) for s in (-1, 1))
                inside = low is not None and high is not None and not_negative(low)
                return least(Affine(m - 1), high) if inside and high is not None else Affine(m - 1)
            case Call(fn="min" | "max" as fn, args=args):
                parts = [self.extreme(Affine.from_expr(a), sign) for a in args]
                known = [p for p in parts if p is not None]
                if len(known) < len(parts):
                    return None
                return least(*known) if fn == "min" else greatest(*known)
            case Call(fn="mul"):  # sizes times one index
                form = Affine(0, ((atom, 1),))
                names = indices_of(atom)
                if not form.is_linear or len(names) != 1:
                    return None
                return form.coefficient(names[0]) * (self.high[names[0]] - 1 if sign > 0 else self.low[names[0]])
            case _:
                return None


class _Statement:
    """One statement being solved."""

    def __init__(self, stmt: Statement, sizes: Sizes) -> None:
        self.stmt, self.sizes = stmt, sizes
        self.box = Box()
        self.problems: list[Problem] = []
        self.cuts: list[Cut] = []
        self.sources: dict[str, list[tuple[Axis, Use]]] = {}
        self.fixed: set[str] = set()  # indices whose end was written
        self.uses = list(uses(stmt))
        self.free = frozenset(indices_of(stmt.target))
        reduces = [p for p in parts_of(stmt) if isinstance(p, Reduce)]
        domains = [stmt.domain, *(r.domain for r in reduces)]
        self.indices = [i for d in domains for i in d.indices if i != DOTS]
        self.ranges: dict[str, Range] = {r.index: r for d in domains for r in d.ranges}

    # -- bounds --------------------------------------------------------------------------------

    def solve(self) -> None:
        self.written()
        self.plain()
        pending = [u for u in self.uses if self.limit(u) is not None]
        merged = [u for u in self.uses if isinstance(u.subscript, Merged)]
        while True:
            settled = [u for u in pending if not self.open(u)]
            pending = [u for u in pending if self.open(u)]
            for use in settled:
                self.shorten(use)
            bounding = [u for u in pending if len(self.open(u)) == 1]
            if not (self.by_subscripts(bounding) or self.by_merged(merged)):
                break
            pending = [u for u in pending if u not in bounding or self.open(u)]
        for i in self.indices:
            if i not in self.box.high:
                self.problems.append(self.unbounded(i))
                self.box.high[i] = Affine(0, ((Index(i), 1),))

    def written(self) -> None:
        for i in self.indices:
            r = self.ranges.get(i)
            self.box.low[i] = ZERO if r is None or r.lo is None else self.canonical(r.lo)
            if r is not None and r.hi is not None:
                self.box.high[i] = self.canonical(r.hi)
                self.fixed.add(i)

    def plain(self) -> None:
        for use in self.uses:
            if isinstance(use.subscript, Index) and self.size(use) is not None:
                self.sources.setdefault(use.subscript.name, []).append(((use.tensor, use.axis), use))
        for i, places in self.sources.items():
            if i in self.fixed:
                continue
            sizes = [s for _, use in places if (s := self.size(use)) is not None]
            self.box.high[i] = sizes[0]
            for other in sizes[1:]:
                self.sizes.equate(sizes[0], other)
            self.box.high[i] = self.sizes.canonical(sizes[0])

    def by_subscripts(self, pending: Sequence[Use]) -> dict[str, Affine]:
        """Open indices, each bounded by all subscripts in which nothing else is open."""
        found: dict[str, list[Affine]] = {}
        for use in pending:
            name = self.open(use)[0]
            if (bound := self.bound(use, name)) is not None:
                found.setdefault(name, []).append(bound)
        result = {i: least(*bounds) for i, bounds in found.items()}
        self.box.high.update(result)
        return result

    def by_merged(self, merged: Sequence[Use]) -> dict[str, Affine]:
        """The one open index of a merged axis: what the others leave of it."""
        for use in merged:
            assert isinstance(use.subscript, Merged)
            names, whole = self.open(use), self.size(use)
            if len(names) == 1 and whole is not None:
                others = total(self.box.high[i] for i in use.subscript.indices if i != names[0])
                self.box.high[names[0]] = floordiv(whole, others)
                return {names[0]: self.box.high[names[0]]}
        return {}

    def shorten(self, use: Use) -> None:
        """Where a subscript may leave its axis, its one index that the target has ends earlier."""
        if primal_of(self.stmt.target.tensor) is not None:
            return  # a derived statement inherits its ranges
        limit = self.limit(use)
        assert limit is not None
        form, end = limit
        for sign in (1, -1):
            extreme = self.box.extreme(form, sign)
            if extreme is None:
                return
            margin = end - 1 - extreme if sign > 0 else extreme
            if not_negative(margin) or self.masked(use, form, end, sign):
                continue
            free = [i for i in form.indices if i in self.free]
            if len(free) != 1 or free[0] in self.fixed:
                continue
            coefficient = form.coefficient(free[0])
            if not coefficient.is_constant or coefficient.const * sign <= 0:
                continue
            bound = self.bound(use, free[0])
            if bound is not None:
                self.box.high[free[0]] = least(self.box.high[free[0]], bound)
                sources = tuple(axis for axis, _ in self.sources.get(free[0], ()))
                self.cuts.append(Cut(free[0], use, sources))

    def masked(self, use: Use, form: Affine, end: Affine, sign: int) -> bool:
        """Whether a mask admits only points at which a subscript stays in its axis."""
        inside = end - 1 - form if sign > 0 else form
        for mask in use.masks:
            for margin in margins(mask):
                least_gap = self.box.extreme(inside - self.sizes.canonical(margin), -1)
                if least_gap is not None and not_negative(least_gap):
                    return True
        return False

    def bound(self, use: Use, index: str) -> Affine | None:
        """Below what an index must stay, so that a subscript stays in its axis for all values of the others."""
        limit = self.limit(use)
        if limit is None:
            return None
        form, end = limit
        coefficient = form.coefficient(index)
        rest = form - coefficient * Affine(0, ((Index(index), 1),))
        if index in rest.indices:
            return None
        if coefficient.is_constant and coefficient.const < 0:
            low = self.box.extreme(rest, -1)
            return None if low is None else floordiv(low, Affine(-coefficient.const)) + 1
        high = self.box.extreme(rest, 1)
        return None if high is None else floordiv(end - 1 - high, coefficient) + 1

    # -- parts ---------------------------------------------------------------------------------

    def canonical(self, expr: Expr) -> Affine:
        return self.sizes.canonical(Affine.from_expr(expr))

    def size(self, use: Use) -> Affine | None:
        return self.sizes.axis(use.tensor, use.axis)

    def open(self, use: Use) -> list[str]:
        return [i for i in indices_of(use.subscript) if i != DOTS and i not in self.box.high]

    def limit(self, use: Use) -> tuple[Affine, Affine] | None:
        """A form and the end that it must stay below; None for plain subscripts and those without an end."""
        whole = self.size(use)
        if whole is None:
            return None
        match use.subscript:
            case Index() | Merged() | Dots():
                return None
            case Boundary(kind="pad", expr=e, lo=lo, hi=hi) if lo is not None and hi is not None:
                form, whole = self.canonical(e), whole + self.canonical(lo) + self.canonical(hi)
            case Boundary():
                return None
            case expr:
                form = self.canonical(expr)
        if reads(form.to_expr()):
            return None
        match form.terms:
            case ((Call(fn="floordiv", args=(a, Const(value=m))), 1),) if type(m) is int and m > 0:
                return Affine.from_expr(a), (whole - form.const) * m
        return form, whole

    def unbounded(self, index: str) -> Problem:
        use = next((u for u in self.uses if index in indices_of(u.subscript)), None)
        span = self.stmt.span if use is None else use.span
        rule = f"nothing says how far the index '{index}' runs"
        if use is not None and use.is_target and self.size(use) is None:
            way = f"declare the shape of {use.tensor}, or say where {index} < ..."
        else:
            way = f"use {index} as a plain subscript, or say where {index} < ..."
        return Problem("unbounded-index", rule, span, (), way)

    # -- what comes out ------------------------------------------------------------------------

    def bounds(self) -> dict[str, Bound]:
        return {
            i: Bound(self.box.low[i], self.box.high[i], frozenset(axis for axis, _ in self.sources.get(i, ())))
            for i in self.indices
        }

    def define(self) -> None:
        """The shape of the target, if this statement is the first to define it."""
        target = self.stmt.target
        if target.tensor in self.sizes.defined or target.tensor not in self.sizes.targets:
            return
        if target.tensor in self.sizes.primals:
            primal = self.sizes.primals[target.tensor]
            self.sizes.defined[target.tensor] = {}
            self.sizes.aliases[target.tensor] = primal
            return
        axes: dict[int, Affine] = {}
        for use in self.uses:
            if use.access is target and use.is_target:
                reached = self.sizes.axis(target.tensor, use.axis) or self.reached(use)
                if reached is not None and not reached.indices:  # an unbounded index stands for itself
                    axes[use.axis] = reached
        self.sizes.defined[target.tensor] = axes
        if Dots() in target.subscripts:
            for part in walk(self.stmt.value):
                if isinstance(part, Access) and part.subscripts == target.subscripts == (Dots(),):
                    self.sizes.aliases[target.tensor] = part.tensor
                    break

    def reached(self, use: Use) -> Affine | None:
        """One more than the greatest position that a subscript of the target reaches."""
        match use.subscript:
            case Merged(indices=names):
                return total(self.box.high[i] for i in names)
            case Boundary(kind="pad", expr=e, lo=lo, hi=hi) if lo is not None and hi is not None:
                greatest_position = self.box.extreme(self.canonical(e), 1)
                around = self.canonical(lo) + self.canonical(hi)
                found = None if greatest_position is None else greatest_position + 1 - around
            case Boundary() | Dots():
                found = None
            case expr:
                greatest_position = self.box.extreme(self.canonical(expr), 1)
                found = None if greatest_position is None else greatest_position + 1
        if found is None:
            rule = f"nothing says how long axis {use.axis} of {use.tensor} is"
            way = f"declare it: shape {use.tensor}[...]"
            self.problems.append(Problem("undeclared-shape", rule, use.span, (), way))
        return found
