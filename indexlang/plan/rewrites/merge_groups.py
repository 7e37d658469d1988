"""Products of many small groups merged into fewer, larger ones: what BLAS does badly is done as what it does well.

In: a statement that is the product of two reads with a common kept index, a group, and extents. Out: the same as two
statements, in which some groups at a time are one product, or None. The one rule: of what is multiplied in vain nothing
reaches the result. Either the smaller operand is written out with zeros between its groups, which is right as long as
the other one is finite, or the products of different groups are left out of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ...program.ir import Access, Call, Index, Merged, Statement, Subscript, domain_of, indices_of
from ...program.names import Fresh
from ..limits import Limits
from ..views import Extents


@dataclass(frozen=True)
class Groups:
    """A statement in two: `first` makes a tensor of `shape` under `name`, which `second` reads.

    `dense` is the operand that must be finite for that, None if it need not be.
    """

    first: Statement
    second: Statement
    name: str
    shape: tuple[int, ...]
    extents: Extents
    dense: Access | None
    note: str


def merge_groups(stmt: Statement, extents: Extents, limits: Limits) -> Groups | None:
    """The statement with its groups merged, where that pays."""
    match stmt.value:
        case Call(fn="mul", args=(Access() as a, Access() as b)) if not stmt.domain.masks and stmt.op in ("=", "+="):
            pass
        case _:
            return None
    size = {i: hi - lo for i, (lo, hi) in extents.items()}
    sides = [set(indices_of(x)) for x in (a, b, stmt.target)]
    batch = [i for i in set.intersection(*sides) if size[i] > 1]
    if len(batch) != 1 or any(n <= 0 for n in size.values()) or set(stmt.domain.indices) - set().union(*sides):
        return None
    group = batch[0]
    if extents[group][0] != 0 or not all(_once(x, group) for x in (a, b, stmt.target)):
        return None
    small, dense = sorted((a, b), key=lambda x: prod(size[i] for i in set(indices_of(x))))
    of_small, of_dense, out = (set(indices_of(x)) - {group} for x in (small, dense, stmt.target))
    if not {*of_small, *of_dense} <= {*out, *(of_small & of_dense)}:
        return None
    summed = prod(size[i] for i in of_small & of_dense - out)
    rows = prod(size[i] for i in of_dense & out)
    alone = {i for s in stmt.target.subscripts if isinstance(s, Index | Merged) for i in indices_of(s)}
    columns = prod(size[i] for i in of_small & out & alone)  # taps are none
    together = _together(size[group], columns, limits.columns)
    if together < 2 or columns < 2:
        return None
    merging = _Merging(stmt, extents, group, together)
    if rows >= limits.long and _inside(dense, group, size) and _inside(stmt.target, group, size):
        return merging.operand(small, dense)
    if summed >= limits.long and rows * columns < summed and _inside(a, group, size) and _inside(b, group, size):
        return merging.results(small, dense)
    return None


def _once(access: Access, index: str) -> bool:
    """Whether an index runs through one axis, alone or merged with others."""
    found = [s for s in access.subscripts if index in indices_of(s)]
    return len(found) == 1 and isinstance(found[0], Index | Merged)


def _inside(access: Access, group: str, size: Mapping[str, int]) -> bool:
    """Whether the groups lie next to each other in memory, or only what is in each between them."""
    return group in [i for i in indices_of(access) if size[i] > 1][-2:]


def _together(groups: int, columns: int, wide: int) -> int:
    """How many groups make a product wide enough, and no wider."""
    return max((n for n in range(1, min(groups, wide // columns) + 1) if groups % n == 0), default=1)


class _Merging:
    """A group index written as two: blocks of groups that are one product, and the groups in each."""

    def __init__(self, stmt: Statement, extents: Extents, group: str, together: int) -> None:
        self.stmt, self.group, self.together = stmt, group, together
        fresh = Fresh(set(extents))
        self.block, self.one, self.other = (fresh.fresh(f"{group}_{n}") for n in ("blocks", "in", "out"))
        self.extents = {
            **{i: e for i, e in extents.items() if i != group},
            self.block: (0, (extents[group][1]) // together),
            self.one: (0, together),
            self.other: (0, together),
        }
        self.name = f"{stmt.target.tensor} groups"  # no identifier: a tensor of a program never has this name
        self.note = f"{together} {group} in one product"

    def written(self, access: Access, inside: str) -> Access:
        """The access with the group as block and group inside."""

        def one(sub: Subscript) -> Subscript:
            match sub:
                case Index(name=self.group):
                    return Merged((self.block, inside))
                case Merged(indices=names) if self.group in names:
                    k = names.index(self.group)
                    return Merged((*names[:k], self.block, inside, *names[k + 1 :]))
                case _:
                    return sub

        return Access(access.tensor, tuple(one(s) for s in access.subscripts))

    def stored(self, axes: Sequence[str], diagonal: bool) -> Access:
        """The new tensor, or of it what belongs to one group."""
        return Access(self.name, tuple(Index(self.one if diagonal and i == self.other else i) for i in axes))

    def axes(self, written: Access, among: Collection[str]) -> list[str]:
        """Those of an access's indices, in the order of its memory."""
        return [i for i in indices_of(written) if i in among]

    def made(self, first: Statement, second: Statement, axes: Sequence[str], dense: Access | None) -> Groups:
        shape = tuple(self.extents[i][1] for i in axes)  # read by the same indices, which may begin after 0
        return Groups(first, second, self.name, shape, self.extents, dense, self.note)

    def operand(self, small: Access, dense: Access) -> Groups:
        """The small operand with zeros between its groups."""
        read, target = self.written(dense, self.one), self.written(self.stmt.target, self.other)
        names = {*indices_of(small), self.one, self.other} - {self.group}
        summed = self.axes(read, names)
        inside = [s for s in target.subscripts if isinstance(s, Index | Merged)]
        columns = [i for s in inside for i in indices_of(s) if i in names]
        axes = [self.block, *(i for i in indices_of(small) if i in names - {*summed, *columns}), *summed, *columns]
        first = _statement(self.stored(axes, True), "=", self.written(small, self.one))
        second = _statement(target, self.stmt.op, Call("mul", (self.stored(axes, False), read)))
        return self.made(first, second, axes, dense)

    def results(self, small: Access, dense: Access) -> Groups:
        """The products of all groups of a block, of which only those of a group with itself are read."""
        left, right = self.written(dense, self.other), self.written(small, self.one)
        kept = {*indices_of(self.stmt.target), self.one, self.other} - {self.group}
        axes = [self.block, *self.axes(left, kept), *self.axes(right, kept)]
        first = _statement(self.stored(axes, False), "=", Call("mul", (left, right)))
        read = self.stored(axes, True)
        second = _statement(self.written(self.stmt.target, self.one), self.stmt.op, read)
        return self.made(first, second, axes, None)


def _statement(target: Access, op: str, value: Access | Call) -> Statement:
    return Statement(target, op, value, domain_of((target, value), (), ()))
