"""The decisions of lowering that concern one statement: what may be a view, what must be taps, how a value is reduced.

In: extents, strides and index sets, never arrays. Out: small descriptions; the backends write code from them, and
`explain` prints them. The one rule: a decision is a pure function of a description, so its test is a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

from ..program.affine import Affine
from ..program.ir import Expr, Index, reads
from ..sizes.in_bounds import numeric

BLOCK = 2 << 20  # bytes of a block that several passes go over: what the cache of a core holds
COPY = 4 << 20  # bytes of a block that is multiplied: larger, as threads meet at the end of each product
LARGE = 32 << 20  # bytes from which on a whole domain is gone through in blocks, whatever is done with it
WINDOW = 64  # so many values of the reduced indices may become a loop of whole-array operations
SHORT = 8  # so many may, even where the reduced axis is one of its own: NumPy reduces short axes slowly
MOST_TAPPED = 12  # indices among which the best ones to loop over are searched
RUN = 64  # elements next to each other that make an inner loop of NumPy worth its start
LONG = 256  # elements that make an operation on whole arrays worth its call
TABLE = 1 << 22  # so many positions may be kept as a constant table


@dataclass(frozen=True)
class Row:
    """An affine position in one axis, all sizes known: const + sum of coefs[index] * index."""

    const: int
    coefs: tuple[tuple[str, int], ...]  # no zeros

    def shifted(self, by: int) -> Row:
        """The row `by` positions further."""
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
    """The row that is an index itself."""
    return Row(0, ((index, 1),))


def linear(expr: Expr, sizes: Mapping[str, Sequence[int]]) -> Row | None:
    """The affine form of a subscript with its sizes known; None where it is not affine in indices."""
    if isinstance(expr, Index):
        return plain(expr.name)
    if reads(expr):
        return None
    form = numeric(Affine.from_expr(expr), sizes)
    if any(not isinstance(atom, Index) for atom, _ in form.terms):
        return None
    return Row(form.const, tuple((atom.name, coef) for atom, coef in form.terms if isinstance(atom, Index)))


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


# -- writes --------------------------------------------------------------------------------------------


def injective(steps: Iterable[tuple[int, int]]) -> bool:
    """Whether no two points of a box of (stride, extent) meet in one element; False may mean that it cannot tell."""
    reach = 0
    for stride, n in sorted((abs(s), n) for s, n in steps if n > 1):
        if stride <= reach:
            return False
        reach += stride * (n - 1)
    return True


def taps(rows: Sequence[Row], extents: Mapping[str, int]) -> tuple[str, ...]:
    """The indices to loop over so that the rest of a write meets no element twice: those of the smallest product.

    Two points meet in no element if, axis by axis, the position tells the indices that are still unknown.
    """
    indices = list(dict.fromkeys(i for row in rows for i, _ in row.coefs))
    moving = {i for i in indices if extents[i] > 1}
    alone = {row.coefs[0][0] for row in rows if len([i for i, _ in row.coefs if i in moving]) == 1 == len(row.coefs)}
    candidates = sorted((i for i in indices if i in moving - alone), key=lambda i: extents[i])
    best: tuple[int, tuple[str, ...]] | None = None
    if len(candidates) > MOST_TAPPED:  # the shortest ones, as many as it takes
        found = next(n for n in range(len(candidates) + 1) if _determined(rows, moving - {*candidates[:n]}, extents))
        return tuple(candidates[:found])
    for count in range(len(candidates) + 1):
        for chosen in combinations(candidates, count):
            cost = prod(extents[i] for i in chosen)
            if (best is None or cost < best[0]) and _determined(rows, moving - set(chosen), extents):
                best = (cost, chosen)
    assert best is not None, "with every index tapped nothing is left"
    return tuple(i for i in indices if i in best[1])


def together(loops: Sequence[str], rows: Sequence[Row], extents: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """How many values of each tap may be written at once: in y[2*i+di], two values of di meet in no element.

    0 for a tap that goes one value at a time.
    """
    now = {**extents, **dict.fromkeys(loops, 1)}
    every = {i for row in rows for i, _ in row.coefs if extents[i] > 1}
    steps = dict.fromkeys(loops, 0)
    for tap in reversed(loops):
        own = [dict(row.coefs) for row in rows if any(i == tap for i, _ in row.coefs)]
        beside = {abs(c // coefs[tap]) for coefs in own for i, c in coefs.items() if i != tap}
        for width in sorted({min(extents[tap], w) for w in beside if w > 1}, reverse=True):
            now[tap] = width
            if _determined(rows, {i for i in every if now[i] > 1}, now):
                steps[tap] = width
                break
            now[tap] = 1
    return tuple(steps.items())


def _determined(rows: Sequence[Row], left: set[str], extents: Mapping[str, int]) -> bool:
    """Whether the position in the axes determines the indices that are left."""
    unknown = set(left)
    progress = True
    while unknown and progress:
        progress = False
        for row in rows:
            present = [i for i, _ in row.coefs if i in unknown]
            if present and injective((c, extents[i]) for i, c in row.coefs if i in unknown):
                unknown.difference_update(present)
                progress = True
    return not unknown


def fills(row: Row, extents: Mapping[str, tuple[int, int]], size: int) -> bool:
    """Whether a row takes each position of an axis exactly once, in the order of its indices."""
    reach, start = 1, row.const
    for index, coef in sorted(row.coefs, key=lambda c: c[1]):
        lo, hi = extents[index]
        start += coef * lo
        if hi - lo > 1:
            if coef != reach:
                return False
            reach *= hi - lo
    return start == 0 and reach == size


def tabulated(loops: Sequence[str], rows: Sequence[Row], extents: Mapping[str, int]) -> bool:
    """Whether a table of positions, sorted once, beats that many taps with that little work in each."""
    points = prod(extents[i] for i in {i for row in rows for i, _ in row.coefs})
    count = prod(extents[i] for i in loops)
    return count > 32 and points <= TABLE and points < LONG * count


# -- values --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What decides how the value of a statement is computed and brought into its target."""

    root: bool = False  # an argmax, argmin or logsumexp
    position: bool = False  # an argmax or argmin
    scattered: bool = False  # the target's positions come from data or a table
    sums: bool = False  # the operator adds
    reduced: int = 1  # values of the reduced indices
    kept: int = 1  # elements of the target that are written at once
    masked: bool = False  # a mask mentions a reduced index
    products: bool = False  # every term of the value is a product that a contraction can sum
    maskable: bool = False  # one factor alone has all indices of the masks
    overlapping: bool = False  # a subscript mixes a reduced index with others
    chosen: int = 1  # positions of a window, of which masks choose those that get the value
    points: int = 1  # of the free indices
    spread: bool = False  # a factor is computed over the whole domain: no product of matrices can save that
    separable: bool = False  # a factor adds arrays much smaller than itself
    scan: bool = False  # the masks bound a reduced index, and the value does not mention by what


Rule = Callable[[Facts], bool]

RULES: tuple[tuple[str, Rule], ...] = (
    ("scatter", lambda f: f.scattered),
    (
        "window search",
        lambda f: f.position and f.overlapping and not f.masked and f.reduced <= WINDOW and f.kept >= LONG,
    ),
    ("search", lambda f: f.root),
    ("scan", lambda f: f.scan),
    ("selection", lambda f: f.chosen > 1 and f.points >= LONG * f.chosen),
    ("separated contraction", lambda f: f.sums and f.reduced > 1 and f.separable),
    (
        "window",
        lambda f: f.sums and 1 < f.reduced <= WINDOW and f.kept >= LONG and f.products and f.spread and not f.masked,
    ),
    ("contraction", lambda f: f.sums and f.reduced > 1 and not f.masked and f.products),
    ("masked contraction", lambda f: f.sums and f.reduced > 1 and f.masked and f.products and f.maskable),
    ("window", lambda f: 1 < f.reduced <= (WINDOW if f.overlapping else SHORT) and f.kept >= LONG),
    ("whole domain", lambda f: f.reduced > 1),
    ("elementwise", lambda f: True),
)


def choose(facts: Facts) -> str:
    """The first way that fits; the last one always does."""
    return next(name for name, rule in RULES if rule(facts))


# -- blocks --------------------------------------------------------------------------------------------


def blocks(
    order: Iterable[str], sizes: Mapping[str, int], points: int, itemsize: int, budget: int = BLOCK
) -> tuple[tuple[str, int], ...]:
    """Indices to go through in blocks, each with its step, so that `points` elements at once become few enough."""
    total, found = points * itemsize, []
    for index in order:
        if total <= budget:
            break
        n = sizes[index]
        if n <= 1:
            continue
        unit = max(1, total // n)
        step = even(n, max(1, budget // unit))
        if step < n:
            found.append((index, step))
            total = unit * step
    return tuple(found)


def even(n: int, step: int) -> int:
    """A step not above `step` that makes blocks of about equal width; one that divides, if there is one near."""
    step = min(n, step)
    for smaller in range(step, step // 2, -1):
        if n % smaller == 0:
            return smaller
    return -(-n // -(-n // step))


def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    digits = "".join(c for c in dtype if c.isdigit())
    return int(digits) // 8 if digits else 1
