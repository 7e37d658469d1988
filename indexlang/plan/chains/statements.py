"""What is asked of one statement before it joins a chain: its window, its factors, how its operands lie in memory.

In: a statement, how far its indices run. Out: facts. The one rule: nothing here knows of the chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...program.algebra import factors_of
from ...program.facts import kept
from ...program.ir import Access, Expr, Index, Merged, Reduce, Statement, indices_of, parts_of, reads_of, walk
from ...properties import cached_property
from ..limits import Limits


@dataclass(frozen=True)
class Candidate:
    """A statement that may join a chain, its sizes known."""

    stmt: Statement
    extents: Mapping[str, tuple[int, int]]
    limits: Limits

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Its indices as they lie in its largest operand, outermost first."""
        return tuple(memory_order(self.stmt, self.extents))

    @cached_property
    def is_window(self) -> bool:
        """Whether a sum is taken position by position."""
        return is_window(self.stmt, self.extents, self.limits)

    @cached_property
    def is_contraction(self) -> bool:
        """Whether it is one, whatever the chain calls its indices."""
        stmt = self.stmt
        if not stmt.reduced or isinstance(stmt.value, Reduce) or is_merging(stmt) or self.is_window:
            return False
        return is_contraction(stmt.value, stmt.domain.indices, self.extents)


def is_window(stmt: Statement, extents: Mapping[str, tuple[int, int]], limits: Limits) -> bool:
    """Whether a sum is taken position by position: it runs through a small window of an operand that has all indices,
    or over so few values that no operand has together with the other indices. Contractions are not.
    """
    if stmt.op not in ("=", "+=") or (is_plain_product(stmt.value) and not isinstance(stmt.value, Access)):
        return False
    sizes = {i: extents[i][1] - extents[i][0] for i in stmt.domain.indices}
    moving = {i for i, n in sizes.items() if n > 1}
    accesses = [p for p in walk(stmt.value) if isinstance(p, Access)]
    whole = [a for a in accesses if moving <= set(indices_of(a))]
    count = size_of([sizes[i] for i in stmt.reduced])
    if any(set(stmt.reduced) & set(indices_of(s)) and len(indices_of(s)) > 1 for a in accesses for s in a.subscripts):
        return bool(whole) and count <= limits.unrolled
    plain = any(all(len(indices_of(s)) < 2 for s in a.subscripts) for a in whole)
    return 1 < count <= limits.short and not plain


def is_contraction(value: Expr, indices: Sequence[str], extents: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a reduction has more points than its largest operand has elements, or goes through a window."""
    moving = {i for i in indices if extents[i][1] - extents[i][0] > 1}
    accesses = [p for p in walk(value) if isinstance(p, Access)]
    plain = ({s.name for s in a.subscripts if isinstance(s, Index)} for a in accesses)
    if not any(moving <= names for names in plain):
        return True
    return any(len(indices_of(s)) > 1 for a in accesses for s in a.subscripts)


@kept
def is_merging(stmt: Statement) -> bool:
    """Whether some axis is run by several indices."""
    return any([isinstance(p, Merged) for p in parts_of(stmt)])


@kept
def touched(stmt: Statement) -> tuple[str, ...]:
    """The tensors that a statement reads, and its target."""
    return (*reads_of(stmt), stmt.target.tensor)


def size_of(shape: Sequence[int]) -> int:
    count = 1
    for n in shape:
        count *= n
    return count


def is_plain_product(expr: Expr) -> bool:
    """Whether a value is nothing but a product of reads and numbers, which a contraction sums without any temporary."""
    return all(isinstance(f, Access) or not any(isinstance(p, Access) for p in walk(f)) for f, _ in factors_of(expr))


def memory_order(stmt: Statement, extents: Mapping[str, tuple[int, int]]) -> list[str]:
    """All indices of a statement as they lie in its largest operand, outermost first.

    Of two that are as large, the one is asked in which no subscript mixes indices: it says where elements lie.
    """

    def said(access: Access) -> tuple[int, bool]:
        size, plain = 1, True
        for sub in access.subscripts:
            along = [extents[i][1] - extents[i][0] for i in indices_of(sub)]
            size *= size_of(along) if isinstance(sub, Merged) else max(along, default=1)
            plain = plain and (len(along) < 2 or isinstance(sub, Merged))
        return size, plain

    accesses = [p for p in walk(stmt.value) if isinstance(p, Access)]
    inner = [i for p in walk(stmt.value) if isinstance(p, Reduce) for i in p.domain.indices]
    largest = max([*accesses, stmt.target], key=said)
    return list(dict.fromkeys([*indices_of(largest), *stmt.domain.indices, *inner]))
