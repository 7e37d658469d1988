"""Parts of tensors: what a layer is given of a tensor, and what becomes of the layer's statements at it.

In: the statements of a layer's call, written for parts as if they were tensors. Out: the same statements over the whole
tensors. The one rule: a part's fixed subscripts stand at their axes, the layer's own at the axes that the part takes
whole, and what the layer computes on the way has the indices of the parts as further axes in front.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ..program.affine import Affine, floordiv, least
from ..program.ir import (
    DOTS,
    Access,
    Block,
    Dots,
    Expr,
    Index,
    Range,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    indices_of,
    statement,
    walk,
)
from ..program.rebuild import transform, transform_domain, transform_expr


@dataclass(frozen=True)
class Part:
    """`x[t,...]` and `x[:,t,:]`: `subscripts` has the fixed ones, None for an axis taken whole, Dots for all others."""

    tensor: str
    subscripts: tuple[Subscript | None, ...]

    @property
    def fixed(self) -> tuple[Subscript, ...]:
        return tuple(s for s in self.subscripts if s is not None and not isinstance(s, Dots))

    @property
    def indices(self) -> tuple[str, ...]:
        """The indices of its fixed subscripts, in order."""
        return tuple(dict.fromkeys(i for s in self.fixed for i in indices_of(s)))

    @property
    def whole(self) -> int | None:
        """How many axes it takes whole; None if an ellipsis stands for them."""
        return None if Dots() in self.subscripts else sum(s is None for s in self.subscripts)

    def at(self, subscripts: Sequence[Subscript]) -> tuple[Subscript, ...]:
        """The subscripts of the tensor where the part has these."""
        if Dots() in self.subscripts:
            k = self.subscripts.index(Dots())
            return (*self.fixed[:k], *subscripts, *self.fixed[k:])
        own = iter(subscripts)
        return tuple(next(own) if s is None else s for s in self.subscripts)

    def axis(self, number: int) -> int:
        """The tensor's axis that is the part's axis of a number; from the end where the number is."""
        if Dots() in self.subscripts:
            k = self.subscripts.index(Dots())
            return number + k if number >= 0 else number - (len(self.subscripts) - 1 - k)
        axes = [k for k, s in enumerate(self.subscripts) if s is None]
        return axes[number] if -len(axes) <= number < len(axes) else number + len(self.fixed)

    def axis_of(self, position: int) -> int:
        """The tensor's axis at which a subscript stands; behind an ellipsis from the end."""
        behind = Dots() in self.subscripts[:position]
        return position - len(self.subscripts) if behind else position

    def shape(self, dims: Sequence[Expr]) -> tuple[Expr, ...]:
        """The shape of the tensor whose part has these dims; the other axes are left open."""
        whole = {self.axis(k): d for k, d in enumerate(dims)}
        rank = len(dims) + len(self.fixed)
        return tuple(whole.get(k, Size(self.tensor, k)) for k in range(rank))

    def tells_apart(self, indices: Sequence[str]) -> bool:
        """Whether no two values of the indices are at one place: each moves a subscript of its own."""
        return all(any(isinstance(s, Expr) and _moves(s, i) for s in self.fixed) for i in indices)


def _moves(position: Expr, index: str) -> bool:
    """Whether a position is a multiple of one index, and something that no index has a part in."""
    form = Affine.from_expr(position)
    step = form.coefficient(index)
    rest = form - Affine(0, ((Index(index), 1),)) * step
    return step.is_constant and step.const != 0 and not rest.indices


@dataclass(frozen=True)
class Lifting:
    """Statements over parts as statements over whole tensors.

    `parts` has the parts by their names in the statements, `front` the indices in front of what is computed on the way,
    `rank` tells how many axes a tensor of the statements has, `dots` names the axes of an ellipsis.
    """

    parts: Mapping[str, Part]
    front: Mapping[str, tuple[str, ...]]
    rank: Callable[[str], int | None]
    dots: Callable[[int], str]

    # -- sizes and shapes ----------------------------------------------------------------------

    def size(self, size: Size) -> Size:
        part, front = self.parts.get(size.tensor), self.front.get(size.tensor, ())
        if part is not None:
            return Size(part.tensor, part.axis(size.axis), size.span)
        return replace(size, axis=size.axis + len(front)) if front and size.axis >= 0 else size

    def expr(self, expr: Expr) -> Expr:
        """What is made of sizes."""
        return transform_expr(expr, lambda p: self.size(p) if isinstance(p, Size) else None)

    def shape(self, shape: Shape) -> Shape:
        """A declared shape. The axes of indices are left open: their statements say how far they run."""
        dims = tuple(map(self.expr, shape.dims))
        part = self.parts.get(shape.tensor)
        if part is not None:
            return Shape(part.tensor, part.shape(dims), shape.span)
        front = self.front.get(shape.tensor, ())
        return replace(shape, dims=(*(Size(shape.tensor, k) for k in range(len(front))), *dims))

    # -- statements ----------------------------------------------------------------------------

    def statement(
        self, stmt: Statement, ranges: Sequence[Range], masks: Sequence[Expr], around: Block | None
    ) -> Statement:
        """A statement, with ranges and masks of the call, in the block of the call."""
        count = self.count(stmt)

        def rule(part: Subscript) -> Subscript | None:
            return self.rule(part, count)

        target, value = transform(stmt.target, rule), transform_expr(stmt.value, rule)
        domain = transform_domain(stmt.domain, rule)
        block = around if stmt.block is None else self.block(stmt.block, around)
        assert isinstance(target, Access)
        written = tuple({r.index: r for r in (*ranges, *domain.ranges)}.values())
        return statement(target, stmt.op, value, written, (*domain.masks, *masks), stmt.span, block)

    def block(self, block: Block, around: Block | None) -> Block:
        """A block of the layer in that of the call."""
        ends = tuple(
            replace(r, lo=None if r.lo is None else self.expr(r.lo), hi=None if r.hi is None else self.expr(r.hi))
            for r in block.ranges
        )
        return replace(block, ranges=ends, outer=around if block.outer is None else self.block(block.outer, around))

    def count(self, stmt: Statement) -> int | None:
        """How many axes the ellipsis of a statement stands for, if that is known."""
        for access in accesses_of(stmt):
            if Dots() in access.subscripts and (rank := self.rank(access.tensor)) is not None:
                return max(0, rank - len(access.subscripts) + 1)
        return None

    def rule(self, part: Subscript, count: int | None) -> Subscript | None:
        match part:
            case Size():
                return self.size(part)
            case Access(tensor, subscripts, span):
                own: list[Subscript] = []
                for s in subscripts:
                    spread = isinstance(s, Dots) and count is not None
                    own += [Index(self.dots(k), s.span) for k in range(count or 0)] if spread else [s]
                if tensor in self.parts:
                    whole = self.parts[tensor]
                    return Access(whole.tensor, whole.at(own), span)
                return Access(tensor, (*map(Index, self.front.get(tensor, ())), *own), span)
            case Reduce(domain=domain) if DOTS in domain.indices and count is not None:
                spread_out = [n for i in domain.indices for n in (map(self.dots, range(count)) if i == DOTS else [i])]
                return replace(part, domain=replace(domain, indices=tuple(spread_out)))
            case _:
                return None


def carried(
    statements: Sequence[Statement],
    parts: Mapping[str, Part],
    targets: Collection[str],
    stepwise: Mapping[str, Sequence[str]],
) -> dict[str, set[str]]:
    """By what is computed on the way, the indices that it depends on; `stepwise` has those of whole tensors."""
    made = {s.target.tensor for s in statements}.difference(targets)
    found: dict[str, set[str]] = {t: {*indices} for t, indices in stepwise.items()}
    found |= {name: {*part.indices, *stepwise.get(part.tensor, ())} for name, part in parts.items()}
    found |= {t: set() for t in made}
    free = {i for part in parts.values() for i in part.indices}
    changed = True
    while changed:
        changed = False
        for stmt in statements:
            if stmt.target.tensor in made:
                read = (i for a in accesses_of(stmt) for i in found.get(a.tensor, ()))
                new = {*read, *(free & {*stmt.domain.indices})} - found[stmt.target.tensor]
                found[stmt.target.tensor] |= new
                changed |= bool(new)
    return {t: found[t] for t in made}


def ends(parts: Sequence[Part], index: str, size_of: Callable[[str, int], Expr]) -> tuple[Expr | None, bool]:
    """How far parts let an index run, and whether they all have it plainly, so that they must agree."""
    found: list[Affine] = []
    plain = True
    for part in parts:
        for k, s in enumerate(part.subscripts):
            if s is None or index not in indices_of(s):
                continue
            inner = [a for a in walk(s) if isinstance(a, Access) and Index(index) in a.subscripts]
            found += (Affine.from_expr(size_of(a.tensor, a.subscripts.index(Index(index)))) for a in inner)
            plain &= s == Index(index) or bool(inner)
            form = Affine.from_expr(s) if isinstance(s, Expr) else None
            if form is None or form.indices != (index,) or not form.coefficient(index).is_constant:
                continue
            step = form.coefficient(index).const
            if step > 0:
                axis = part.axis_of(k)
                size = size_of(part.tensor, axis) if axis >= 0 else Size(part.tensor, axis)
                rest = form - Affine(0, ((Index(index), 1),)) * step
                found.append(floordiv(Affine.from_expr(size) - 1 - rest, Affine(step)) + 1)
    return (least(*found).to_expr() if found else None), plain


def says(stmt: Statement, index: str) -> bool:
    """Whether what a statement reads says how far an index runs."""
    if stmt.domain.range(index).hi is not None:
        return True
    return any(Index(index) in a.subscripts for a in accesses_of(stmt) if a is not stmt.target)


def ending(stmt: Statement, index: str, hi: Expr) -> Statement:
    """The statement with the end of an index written."""
    own = replace(stmt.domain.range(index), hi=hi)
    others = tuple(r for r in stmt.domain.ranges if r.index != index)
    return statement(stmt.target, stmt.op, stmt.value, (*others, own), stmt.domain.masks, stmt.span, stmt.block)
