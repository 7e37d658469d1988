"""What a sum of deviations from a mean does not depend on: the mean.

In: a Program without embedded reductions, and how far its indices run. Out: for each statement the tensors by which
its derivative is a sum of deviations, hence zero: `v[c] = (x[b,c] - mu[c])**2` by `mu`, the mean of `x`. The one rule:
the deviations are summed over just the elements of which the mean was taken, all of them, with one factor for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

from ..program.affine import Affine
from ..program.algebra import Product, product
from ..program.ir import DOTS, Access, Call, Const, Expr, Program, Statement, Subscript, indices_of, reads_of
from ..program.names import is_plain
from ..ranges.solve import Solution
from ..ranges.statements import Bound
from ..rewrite.scoped import unscoped
from ..rewrite.simplify import simplify
from .alike import called, names_at, run_alike
from .contributions import contributions

_MOST = 4  # indices of one mean, which are tried in every order


@dataclass(frozen=True)
class _Mean:
    """A tensor that is the mean of `body` over `over`, in the names of the statement that sums."""

    target: tuple[Subscript, ...]
    body: Expr
    over: tuple[str, ...]
    bounds: Mapping[str, Bound]


def centred(program: Program, solution: Solution) -> dict[int, frozenset[str]]:
    """The tensors by which a statement's derivative is zero, by the number of the statement."""
    means = _means(program, solution)
    found: dict[int, frozenset[str]] = {}
    for k, stmt in enumerate(program.statements):
        if stmt.reduced and not stmt.domain.masks and stmt.op in ("=", "+="):
            about = [name for name in reads_of(stmt) if name in means]
            zero = frozenset(name for name in about if _vanishes(stmt, solution, k, name, means))
            if zero:
                found[k] = zero
    return found


def _means(program: Program, solution: Solution) -> dict[str, _Mean]:
    count = Counter(s.target.tensor for s in program.statements)
    single: dict[str, int] = {}
    found: dict[str, _Mean] = {}
    for k, stmt in enumerate(program.statements):
        if (
            count[stmt.target.tensor] > 1
            or stmt.op not in ("=", "+=")
            or stmt.domain.masks
            or not is_plain(stmt.target)
        ):
            continue
        single[stmt.target.tensor] = k
        parts = product(stmt.value)
        mean = None
        if stmt.reduced and len(parts.factors) == 1:
            mean = _mean(stmt, parts.factors[0], solution.bounds[k], parts, solution)
        elif len(parts.factors) == 1 and isinstance(read := parts.factors[0], Access) and read.tensor in single:
            below = program.statements[single[read.tensor]]
            names = names_at(below.target.subscripts, read.subscripts)
            if below.reduced and names is not None and read.subscripts == stmt.target.subscripts:
                bounds = solution.bounds[single[read.tensor]]
                mean = _mean(below, unscoped(below.value), bounds, parts, solution)
        if mean is not None:
            found[stmt.target.tensor] = mean
    return found


def _mean(stmt: Statement, body: Expr, bounds: Mapping[str, Bound], parts: Product, solution: Solution) -> _Mean | None:
    """The mean, if what the sum is divided by counts its terms."""
    over = stmt.reduced
    if DOTS in over or len(over) > _MOST:
        return None
    canonical, by = solution.sizes.canonical, [product(divisor) for divisor in parts.divisors]
    counts = [Affine.from_expr(f) for inner in by for f in inner.factors]
    counted = all(inner.number and inner.divisor == 1 and not inner.divisors for inner in by)
    if not (counted and parts.divisor):
        return None
    number, sizes = parts.number / parts.divisor, Counter(map(canonical, counts))
    for inner in by:
        number /= inner.number
    for i in over:
        extent = canonical(bounds[i].high - bounds[i].low)
        if extent.terms:
            sizes.subtract((extent,))
        else:
            number *= extent.const
    if number != 1 or any(sizes.values()):
        return None
    return _Mean(stmt.target.subscripts, unscoped(body), over, bounds)


def _vanishes(stmt: Statement, solution: Solution, number: int, name: str, means: Mapping[str, _Mean]) -> bool:
    """Whether all that a statement contributes to a tensor is a sum of deviations."""
    found = [c for c in contributions(stmt.value, Const(1)) if c.access.tensor == name]
    bounds = solution.bounds[number]

    def is_zero(factor: Expr) -> bool:
        parts = product(simplify(factor))
        return any(
            _is_deviation(a, b, parts, stmt, solution, bounds, means) for f in parts.factors for a, b in _sides(f)
        )

    return bool(found) and all(not c.masks and is_zero(c.factor) for c in found)


def _sides(factor: Expr) -> Iterator[tuple[Expr, Expr]]:
    """A difference, either way round."""
    match factor:
        case Call("sub", (a, b)):
            yield a, b
            yield b, a
        case _:
            pass


def _is_deviation(
    body: Expr,
    read: Expr,
    parts: Product,
    stmt: Statement,
    solution: Solution,
    bounds: Mapping[str, Bound],
    means: Mapping[str, _Mean],
) -> bool:
    """Whether body - read are the deviations from a mean, and all else is the same for all of the mean's terms."""
    mean = means.get(read.tensor) if isinstance(read, Access) else None
    free = names_at(mean.target, read.subscripts) if mean is not None and isinstance(read, Access) else None
    if mean is None or free is None:
        return False
    left = [i for i in stmt.reduced if i not in free.values()]
    for order in permutations(left, len(mean.over)):
        names, inside = {**free, **dict(zip(mean.over, order, strict=True))}, set(order)
        depending = [f for f in (*parts.factors, *parts.divisors) if inside & set(indices_of(f))]
        if len(depending) == 1 and called(mean.body, names) == body and run_alike(solution, mean.bounds, bounds, names):
            return True
    return False
