"""How a pair of factors becomes a product of matrices.

In: the indices and strides of both operands, the indices to keep, extents. Out: their `Roles`; a `MatrixProduct`. The
one rule: an operand is a view where its indices merge into rows and columns as they lie in memory, and is copied, block
by block into one workspace, where they do not. The copy of a window's view is im2col.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from .blocks import blocks
from .kernels import Roles
from .limits import Limits
from .views import row_strides

Steps = Mapping[str, int]  # strides in elements, by index
Sizes = Mapping[str, int]


def roles(left: Sequence[str], right: Sequence[str], out: Sequence[str]) -> Roles:
    """Classify, in the order of `out` (kept indices) and of `left` (summed ones)."""
    a, b = set(left), set(right)
    return Roles(
        batch=tuple(i for i in out if i in a and i in b),
        rows=tuple(i for i in out if i in a and i not in b),
        columns=tuple(i for i in out if i in b and i not in a),
        summed=tuple(i for i in left if i in b and i not in set(out)),
    )


def merges(group: Sequence[str], steps: Steps, sizes: Sizes) -> bool:
    """Whether the indices, in this order, are one axis of a single stride."""
    moving = [i for i in group if sizes[i] > 1]
    return all(steps[a] == steps[b] * sizes[b] for a, b in pairwise(moving))


def by_stride(group: Iterable[str], steps: Steps) -> tuple[str, ...]:
    """The indices in the order of memory, outermost first."""
    return tuple(sorted(group, key=lambda i: -abs(steps[i])))


def is_matrix(rows: Sequence[str], columns: Sequence[str], steps: Steps, sizes: Sizes, out: bool = False) -> bool:
    """Whether BLAS takes the view as it lies; `out` asks for columns next to each other."""
    if not (merges(rows, steps, sizes) and merges(columns, steps, sizes)):
        return False
    (r, m), (c, n) = _merged(rows, steps, sizes), _merged(columns, steps, sizes)
    straight = (c == 1 or n == 1) and (r >= n or m == 1)
    turned = (r == 1 or m == 1) and (c >= m or n == 1)
    return straight or (turned and not out)


def _merged(group: Sequence[str], steps: Steps, sizes: Sizes) -> tuple[int, int]:
    moving = [i for i in group if sizes[i] > 1]
    return (steps[moving[-1]] if moving else 1), prod(sizes[i] for i in moving)


@dataclass(frozen=True)
class MatrixProduct:
    """out[batch, m, n] = sum over k of left[batch, m, k] * right[batch, k, n].

    Indices of `batch` that an operand lacks are broadcast. `direct` if the result may be written where it belongs.
    `blocks` are indices gone through in steps, so that copies stay within the workspace.
    """

    batch: tuple[str, ...]
    m: tuple[str, ...]
    n: tuple[str, ...]
    k: tuple[str, ...]
    swapped: bool
    copy_left: bool
    copy_right: bool
    direct: bool
    blocks: tuple[tuple[str, int], ...] = ()

    @property
    def accumulates(self) -> bool:
        """Whether the sum comes in parts."""
        return any(i in self.k for i, _ in self.blocks)


def matrix_product(
    left: Steps,
    right: Steps,
    out: Sequence[str],
    place: Steps | None,
    direct: bool,
    sizes: Sizes,
    itemsize: int,
    limits: Limits,
) -> MatrixProduct:
    """The best arrangement of a pair.

    `place` are the strides of where the result goes, None if it may lie as it likes. `direct` if it may be written
    there; if not, it is put into place afterwards, and its own order is what matters.
    """
    if place is not None and not direct:
        order = by_stride(place, place)
        place = dict(zip(order, row_strides([sizes[i] for i in order]), strict=True))
    swapped = bool(out) and _innermost(out, place) not in right
    a, b = (right, left) if swapped else (left, right)
    work = _Arrangement(a, b, out, sizes, itemsize, limits)
    if place is not None:
        work.fit(place)
        direct = direct and is_matrix(work.m, work.n, place, sizes, out=True)
    work.loop_over_what_keeps_matrices_apart()
    work.divide(direct)
    ordered = tuple(i for i in out if i in work.batch)
    if direct and not work.is_view((*ordered, *work.m, *work.n), place):
        direct = False  # an index that has moved to the batch, or a block, has taken its rows and columns apart
        work.divide(direct)
    copy_left, copy_right = work.copies()
    return MatrixProduct(
        ordered,
        tuple(work.m),
        tuple(work.n),
        work.k,
        swapped,
        copy_left,
        copy_right,
        direct,
        tuple(work.blocks.items()),
    )


def _innermost(out: Sequence[str], place: Steps | None) -> str:
    return out[-1] if place is None else min(out, key=lambda i: (abs(place[i]), -out.index(i)))


class _Arrangement:
    """A pair being arranged: who is batch, row, column and sum, and what is gone through in blocks."""

    def __init__(self, a: Steps, b: Steps, out: Sequence[str], sizes: Sizes, itemsize: int, limits: Limits) -> None:
        self.limits = limits
        part = roles(list(a), list(b), out)
        self.a, self.b, self.out, self.itemsize = a, b, out, itemsize
        self.batch, self.m, self.n = list(part.batch), list(part.rows), list(part.columns)
        self.whole = sizes
        self.now = dict(sizes)  # how many values of each index there are at once
        self.blocks: dict[str, int] = {}
        self.k = part.summed
        self.choose_k()

    def copies(self) -> tuple[bool, bool]:
        """Whether the left and the right operand must be copied."""
        left, right = is_matrix(self.m, self.k, self.a, self.now), is_matrix(self.k, self.n, self.b, self.now)
        return not left, not right

    def choose_k(self) -> None:
        """The order of the summed indices with the least to copy."""
        best: tuple[int, tuple[str, ...]] | None = None
        for k in dict.fromkeys((self.k, by_stride(self.k, self.a), by_stride(self.k, self.b))):
            self.k = k
            cost = sum(copied * self.points(x) for copied, x in zip(self.copies(), (self.a, self.b), strict=True))
            if best is None or cost < best[0]:
                best = cost, k
        assert best is not None
        self.k = best[1]

    def points(self, indices: Iterable[str]) -> int:
        return prod(self.now[i] for i in indices)

    def fit(self, place: Steps) -> None:
        """Rows and columns that are one axis each where the result goes: out[b,o,i,j] makes b a batch."""
        m, n = list(self.m), list(self.n)
        while not merges(m, place, self.now):
            m.pop(0)
        while not merges(n, place, self.now):
            n.pop(0)
        if (m, n) == (self.m, self.n) or self.points((*m, *n, *self.k)) < self.limits.product:
            return
        self.batch += [i for i in (*self.m, *self.n) if i not in (*m, *n)]
        self.m, self.n = m, n
        self.choose_k()

    def loop_over_what_keeps_matrices_apart(self) -> None:
        """One index less in an operand may make it a matrix: y[b,o,i,j], with i and j summed, for each b."""
        for number, (x, rows) in enumerate(((self.a, self.m), (self.b, self.n))):
            if not self.copies()[number]:
                continue
            moving = [i for i in by_stride(x, x) if self.now[i] > 1 and i not in self.batch]
            if not moving:
                continue
            index, held = moving[0], dict(self.now)
            self.now[index] = 1
            worth = not self.copies()[number] and self.points((*self.m, *self.n, *self.k)) >= self.limits.product
            if worth and index in rows:
                rows.remove(index)
                self.batch.append(index)
            elif worth and prod(held[i] for i in self.out) <= self.limits.larger * self.points(x):
                self.blocks[index] = 1
                continue
            self.now = held
        self.choose_k()

    def is_view(self, result: Sequence[str], place: Steps | None) -> bool:
        """Whether the rows and the columns of each block are one axis each where the result goes."""
        if place is None:  # it lies as it is made
            place = dict(zip(result, row_strides([self.whole[i] for i in result]), strict=True))
        return merges(self.m, place, self.now) and merges(self.n, place, self.now)

    def divide(self, direct: bool) -> None:
        """Blocks for what is copied, and for a result that is put into place afterwards."""
        result = self.points(self.out) * self.itemsize
        small = result <= self.limits.copy
        # Each block of a sum is added to the whole result: fewer and larger ones, where that is large.
        budget = max(self.limits.copy, self.limits.larger * result) if small else self.limits.copy
        for number, x in enumerate((self.a, self.b)):
            if self.copies()[number]:
                order = by_stride(x, x)
                kept = [i for i in order if i not in self.k]
                if small:
                    outer = next((i for i in order if self.now[i] > 1), None)
                    self.into_blocks(order, x, budget if outer in self.k else self.limits.copy)
                else:
                    self.into_blocks((*kept, *(i for i in order if i in self.k)), x, self.limits.copy)
        if not direct:
            self.into_blocks(self.out, self.out, self.limits.copy)

    def into_blocks(self, order: Iterable[str], indices: Iterable[str], budget: int) -> None:
        more = dict(blocks(order, self.now, self.points(indices), self.itemsize, budget))
        self.now.update(more)
        self.blocks.update(more)


def separates(first: Sequence[str], second: Sequence[str], sizes: Sizes, limits: Limits) -> bool:
    """Whether a factor that is the sum of two arrays is better taken apart: it is much larger than both of them."""
    joint = prod(sizes[i] for i in {*first, *second})
    largest = max(prod(sizes[i] for i in group) for group in (first, second))
    alone = {i for i in second if sizes[i] > 1}.difference(first)
    return bool(alone) and joint >= limits.separate and joint >= limits.larger * largest
