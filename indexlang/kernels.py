"""The decisions of lowering, as pure functions of sizes and strides: what may be a view, what must be taps, what is a GEMM.

In come extents, strides and index sets, never arrays; out come small descriptions. The backends write
code from them, and `explain` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

from .ir import Access, Call, Const, Expr, Index, Reduce, Size

WORKSPACE = 8 << 20  # bytes that an unfolded block may take (im2col, products before their sum)
MANY_TAPS = 1024  # from here on a table of positions, sorted once, beats a loop over taps


@dataclass(frozen=True)
class Row:
    """An affine position in one axis, all sizes known: const + sum of coefs[index] * index."""

    const: int
    coefs: tuple[tuple[str, int], ...]  # no zeros

    def shifted(self, by: int) -> Row:
        return Row(self.const + by, self.coefs)

    def interval(self, extents: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
        """Least and greatest position over the box of (lo, hi) extents, none of them empty."""
        low = high = self.const
        for index, coef in self.coefs:
            lo, hi = extents[index]
            ends = (coef * lo, coef * (hi - 1))
            low, high = low + min(ends), high + max(ends)
        return low, high


def plain(index: str) -> Row:
    return Row(0, ((index, 1),))


def linear(expr: Expr, sizes: Mapping[str, Sequence[int]]) -> Row | None:
    """The affine form of a subscript with its sizes known; None where it is not affine in indices."""
    match expr:
        case Const(value=value):
            return Row(value, ()) if type(value) is int else None
        case Index(name=name):
            return plain(name)
        case Size(tensor=tensor, axis=axis):
            return Row(sizes[tensor][axis], ())
        case Access() | Reduce():
            return None
        case Call(fn=fn, args=args):
            rows = [linear(a, sizes) for a in args]
            if any(r is None for r in rows):
                return None
            parts = [r for r in rows if r is not None]
            match fn, parts:
                case "add", [a, b]:
                    return _combine(a, b, 1)
                case "sub", [a, b]:
                    return _combine(a, b, -1)
                case "neg", [a]:
                    return _scale(a, -1)
                case "mul", [a, b] if not a.coefs or not b.coefs:
                    return _scale(b, a.const) if not a.coefs else _scale(a, b.const)
                case ("floordiv" | "mod" | "min" | "max"), [a, b] if not a.coefs and not b.coefs:
                    if fn in ("floordiv", "mod") and b.const == 0:
                        return None
                    table = {"floordiv": lambda p, q: p // q, "mod": lambda p, q: p % q, "min": min, "max": max}
                    return Row(table[fn](a.const, b.const), ())
                case "int", [a]:
                    return a
            return None


def _scale(row: Row, by: int) -> Row:
    return Row(row.const * by, tuple((i, c * by) for i, c in row.coefs if by))


def _combine(a: Row, b: Row, sign: int) -> Row:
    coefs = dict(a.coefs)
    for index, coef in b.coefs:
        coefs[index] = coefs.get(index, 0) + sign * coef
    return Row(a.const + sign * b.const, tuple((i, c) for i, c in coefs.items() if c))


def row_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a C-contiguous array."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def index_strides(rows: Iterable[Row], strides: Sequence[int]) -> dict[str, int]:
    """How many elements one step of each index moves: an affine access is a strided view."""
    steps: dict[str, int] = {}
    for row, stride in zip(rows, strides, strict=True):
        for index, coef in row.coefs:
            steps[index] = steps.get(index, 0) + coef * stride
    return steps


def injective(steps: Iterable[tuple[int, int]]) -> bool:
    """Whether no two points of a box of (stride, extent) meet in one cell; False may mean that it cannot tell."""
    reach = 0
    for stride, n in sorted((abs(s), n) for s, n in steps if n > 1):
        if stride <= reach:
            return False
        reach += stride * (n - 1)
    return True


def taps(rows: Sequence[Row], extents: Mapping[str, int]) -> tuple[str, ...]:
    """The indices to loop over so that the rest of a write meets no cell twice: those of the smallest product.

    Two points meet in no cell if every index left is alone in some axis's row.
    """
    indices = list(dict.fromkeys(i for row in rows for i, _ in row.coefs))
    moving = [i for i in indices if extents[i] > 1]
    best: tuple[int, tuple[str, ...]] | None = None
    for count in range(len(moving) + 1):
        for chosen in combinations(moving, count):
            cost = prod(extents[i] for i in chosen)
            if (best is None or cost < best[0]) and _determined(rows, set(moving) - set(chosen)):
                best = (cost, chosen)
    return best[1] if best else tuple(moving)


def _determined(rows: Sequence[Row], left: set[str]) -> bool:
    """Whether the position in the axes determines the indices that are left."""
    unknown = set(left)
    progress = True
    while unknown and progress:
        progress = False
        for row in rows:
            present = [i for i, _ in row.coefs if i in unknown]
            if len(present) == 1:
                unknown.discard(present[0])
                progress = True
    return not unknown


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


def merges(group: Sequence[str], strides: Mapping[str, int], extents: Mapping[str, int]) -> bool:
    """Whether the indices, in this order, are one axis of a single stride."""
    moving = [i for i in group if extents[i] > 1]
    return all(
        strides[a] == strides[b] * extents[b] for a, b in zip(moving, moving[1:], strict=False)
    )


def by_stride(group: Iterable[str], strides: Mapping[str, int]) -> tuple[str, ...]:
    """The indices in the order of memory, outermost first."""
    return tuple(sorted(group, key=lambda i: -abs(strides[i])))


def order_pairs(
    factors: Sequence[Sequence[str]], out: Sequence[str], extents: Mapping[str, int]
) -> list[tuple[int, int]]:
    """The order of pairwise products with the fewest multiply-adds; positions count the list as it shrinks.

    Exhaustive up to five factors, greedy beyond; each product goes to the end of the list.
    """

    def cost(a: Sequence[str], b: Sequence[str]) -> int:
        return prod(extents[i] for i in set(a) | set(b))

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
            pairs = [min(pairs, key=lambda p: cost(tuple(parts[p[0]]), tuple(parts[p[1]])))]
        for x, y in pairs:
            here = cost(tuple(parts[x]), tuple(parts[y]))
            later, rest = best(joined(parts, x, y))
            if found is None or here + later < found[0]:
                found = (here + later, [(x, y), *rest])
        assert found is not None
        return found

    return best([frozenset(f) for f in factors])[1]


def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    digits = "".join(c for c in dtype if c.isdigit())
    return int(digits) // 8 if digits else 1
