"""What a chain is, and what is known of the program around it.

In: statements, shapes, dtypes. Out: `Chain` and `Facts`, and a statement under the chain's names of its indices. The
one rule: renaming keeps a statement's domain as it is, with the indices that only a range names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...program.conditions import COMPARISONS
from ...program.ir import (
    Access,
    Call,
    Domain,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Statement,
    Subscript,
    parts_of,
    reads_of,
    walk,
)
from ...program.names import Renaming, numbered
from ...program.rebuild import transform, transform_domain, transform_expr
from ...properties import cached_property
from ...sizes.shapes import Shapes
from ..limits import Limits
from .formulas import Formulas
from .statements import Candidate, is_merging, size_of
from .values import Node, RefusedError


@dataclass(frozen=True)
class Store:
    """What a statement of a chain makes: `node` in a block, over the indices `axes` of its target.

    `partial` if it is a part of a sum (or product, ...) over a block index; then `scale`, which has no block index, is
    what the whole of it is multiplied by.
    """

    tensor: str
    axes: tuple[str, ...]
    op: str
    node: Node
    partial: bool = False
    scale: Node | None = None
    first: bool = True  # whether no statement before has made the tensor


@dataclass(frozen=True)
class Chain:
    """`numbers` of the statements, the block indices with their steps, what each statement makes.

    `inside` are tensors that nothing reads afterwards: what the chain makes of them exists block by block only. `dying`
    are tensors made before, or begun, that nothing reads afterwards: their memory may be written over.
    """

    numbers: tuple[int, ...]
    blocks: tuple[tuple[str, int], ...]
    stores: tuple[Store, ...]
    graph: Formulas
    inside: frozenset[str]
    dying: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """What is known of a program: the dtypes in which tensors are stored, and those of statements."""

    program: Program
    shapes: Shapes
    storage: Mapping[str, str]
    compute: Sequence[str]
    kind: Callable[[Expr], str]
    limits: Limits

    @cached_property
    def readers(self) -> dict[str, list[int]]:
        """The numbers of the statements that read each tensor."""
        found: dict[str, list[int]] = {}
        for k, stmt in enumerate(self.program.statements):
            for tensor in reads_of(stmt):
                found.setdefault(tensor, []).append(k)
        return found

    @cached_property
    def compared(self) -> frozenset[Expr]:
        """What comparisons compute, by numbered indices: a tensor of that value must have the same bits."""
        found = {p for s in self.program.statements for p in parts_of(s) if isinstance(p, Call) and p.fn in COMPARISONS}
        return frozenset(numbered(p) for c in found for p in walk(c) if isinstance(p, Call))

    def is_compared(self, value: Expr) -> bool:
        """Whether a comparison computes just this."""
        return isinstance(value, Call) and value.fn in self._compared and numbered(value) in self.compared

    @cached_property
    def _compared(self) -> frozenset[str]:
        return frozenset([c.fn for c in self.compared if isinstance(c, Call)])

    @cached_property
    def large(self) -> frozenset[str]:
        """The tensors that are worth to be read while they are in the cache."""
        return frozenset([t for t, shape in self.shapes.tensors.items() if size_of(shape) >= self.limits.least])

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is asked of each statement before it joins."""
        pairs = zip(self.program.statements, self.shapes.extents, strict=True)
        return tuple([Candidate(stmt, extents, self.limits) for stmt, extents in pairs])

    @cached_property
    def writers(self) -> dict[str, list[int]]:
        """The statements that make each tensor."""
        found: dict[str, list[int]] = {}
        for k, stmt in enumerate(self.program.statements):
            found.setdefault(stmt.target.tensor, []).append(k)
        return found


def renamed(stmt: Statement, names: Mapping[str, str], extents: Mapping[str, tuple[int, int]]) -> Statement:
    """The statement with other names of its indices, a merged axis as its only index that runs.

    How far indices run is known, so ranges go; those that only a range names stay.
    """

    def rule(part: Subscript) -> Subscript | None:
        if not isinstance(part, Merged):
            return None
        moving = [i for i in part.indices if extents[i][1] - extents[i][0] > 1]
        if len(moving) != 1 or extents[moving[0]][0]:
            raise RefusedError
        return Index(moving[0], part.span)

    target: Subscript = stmt.target
    value, masks = stmt.value, stmt.domain.masks
    if is_merging(stmt):
        target, value = transform(target, rule), transform_expr(value, rule)
        masks = transform_domain(Domain((), (), masks), rule).masks
    assert isinstance(target, Access)
    if isinstance(value, Reduce):
        value = replace(value, domain=replace(value.domain, ranges=()))
    plain = Statement(target, stmt.op, value, Domain(stmt.domain.indices, (), masks), stmt.span)
    return Renaming(indices=names).statement(plain)
