"""How a sum of products becomes matrix products: the order of the pairs, and each pair's matrices.

In: the indices and strides of the factors, extents. Out: `order_pairs`, and a `MatrixProduct` for each pair. The one
rule: an operand is a view where its indices merge into rows and columns as they lie in memory, and is copied, block by
block into one workspace, where they do not. The copy of a window's view is im2col.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import prod

from .kernels import BLOCK, blocks

Steps = Mapping[str, int]  # strides in elements, by index
Sizes = Mapping[str, int]

SMALL = 1 << 14  # multiply-adds below which a matrix product is not worth its call


@dataclass(frozen=True)
class Roles:
    """The indices of a pairwise contraction: in both and kept, in the left, in the right, in both and summed."""

    batch: tuple[str, ...]
    m: tuple[str, ...]
    n: tuple[str, ...]
    k: tuple[str, ...]


def roles(left: Sequence[str], right: Sequence[str], out: Sequence[str]) -> Roles:
    """Classify, in the order of `out` (kept indices) and of `left` (summed ones)."""
    a, b = set(left), set(right)
    return Roles(
        batch=tuple(i for i in out if i in a and i in b),
        m=tuple(i for i in out if i in a and i not in b),
        n=tuple(i for i in out if i in b and i not in a),
        k=tuple(i for i in left if i in b and i not in set(out)),
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
    left: Steps, right: Steps, out: Sequence[str], place: Steps | None, sizes: Sizes, itemsize: int
) -> MatrixProduct:
    """The best arrangement of a pair; `place` are the strides of where the result goes, if it may go there directly."""
    swapped = bool(out) and _innermost(out, place) not in right
    a, b = (right, left) if swapped else (left, right)
    part = roles(list(a), list(b), out)
    batch, m, n, direct = list(part.batch), list(part.m), list(part.n), place is not None
    if place is not None:
        while not merges(m, place, sizes):  # out[b,o,i,j]: b is not next to i,j, so it becomes a batch
            batch.append(m.pop(0))
        while not merges(n, place, sizes):
            batch.append(n.pop(0))
        work = prod(sizes[i] for i in (*m, *n, *part.k))
        if work < SMALL and len(batch) > len(part.batch):
            batch, m, n = list(part.batch), list(part.m), list(part.n)
        direct = merges(m, place, sizes) and merges(n, place, sizes) and is_matrix(m, n, place, sizes, out=True)
    candidates = []
    for k in dict.fromkeys((part.k, by_stride(part.k, a), by_stride(part.k, b))):
        copy_a, copy_b = not is_matrix(m, k, a, sizes), not is_matrix(k, n, b, sizes)
        cost = copy_a * prod(sizes[i] for i in a) + copy_b * prod(sizes[i] for i in b)
        candidates.append((cost, k, copy_a, copy_b))
    _, k, copy_a, copy_b = min(candidates, key=lambda c: c[0])
    ordered = tuple(i for i in out if i in batch)
    found = MatrixProduct(ordered, tuple(m), tuple(n), tuple(k), swapped, copy_a, copy_b, direct)
    return _blocked(found, a, b, out, sizes, itemsize)


def _innermost(out: Sequence[str], place: Steps | None) -> str:
    return out[-1] if place is None else min(out, key=lambda i: (abs(place[i]), -out.index(i)))


def _blocked(
    product: MatrixProduct, a: Steps, b: Steps, out: Sequence[str], sizes: Sizes, itemsize: int
) -> MatrixProduct:
    """The product with blocks for what it copies, and for a result that must be put into place afterwards."""
    now = dict(sizes)
    found: list[tuple[str, int]] = []
    parts: list[tuple[bool, Sequence[str]]] = [
        (product.copy_left, by_stride(a, a)),
        (product.copy_right, by_stride(b, b)),
        (not product.direct, tuple(out)),
    ]
    small = prod(sizes[i] for i in out) * itemsize <= BLOCK
    for is_temporary, order in parts:
        if is_temporary:
            kept = [i for i in order if i not in product.k]
            first = order if small else (*kept, *(i for i in order if i in product.k))
            more = blocks(first, now, prod(now[i] for i in order), itemsize)
            now.update(more)
            found += more
    steps = {i: now[i] for i, _ in found}
    return MatrixProduct(
        product.batch,
        product.m,
        product.n,
        product.k,
        product.swapped,
        product.copy_left,
        product.copy_right,
        product.direct,
        tuple(steps.items()),
    )


def order_pairs(factors: Sequence[Sequence[str]], out: Sequence[str], sizes: Sizes) -> list[tuple[int, int]]:
    """The order of pairwise products with the fewest multiply-adds; positions count the list as it shrinks.

    Exhaustive up to five factors, greedy beyond; each product goes to the end of the list.
    """

    def cost(a: Iterable[str], b: Iterable[str]) -> int:
        return prod(sizes[i] for i in {*a, *b})

    def joined(parts: list[frozenset[str]], x: int, y: int) -> list[frozenset[str]]:
        rest = [p for k, p in enumerate(parts) if k not in (x, y)]
        needed = frozenset(out).union(*rest)
        return [*rest, (parts[x] | parts[y]) & needed]

    def best(parts: list[frozenset[str]]) -> tuple[int, list[tuple[int, int]]]:
        if len(parts) < 2:
            return 0, []
        found: tuple[int, list[tuple[int, int]]] | None = None
        pairs = list(combinations(range(len(parts)), 2))
        if len(parts) > 5:
            pairs = [min(pairs, key=lambda p: cost(parts[p[0]], parts[p[1]]))]
        for x, y in pairs:
            here = cost(parts[x], parts[y])
            later, rest = best(joined(parts, x, y))
            if found is None or here + later < found[0]:
                found = (here + later, [(x, y), *rest])
        assert found is not None
        return found

    return best([frozenset(f) for f in factors])[1]
