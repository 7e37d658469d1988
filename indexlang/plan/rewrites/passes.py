"""Windows of several axes, one axis after the other.

In: a Program with its shapes and types. Out: the same, a product over a window in two passes with a tensor between:

    y[i,j] = a[u] * b[v] * x[i+u,j+v]
    passed[p,j] = b[v] * x[p,j+v];  y[i,j] = a[u] * passed[i+u,j]

    x.grad[i+u,j+v] += y.grad[i,j] * a[u] * b[v]
    passed[i+u,j] += y.grad[i,j] * a[u];  x.grad[p,j+v] += passed[p,j] * b[v]

The one rule: a pass has the factors in which a window's indices stand only together, so that it runs over positions;
every position between passes is reached by some tap, and no factor is multiplied by what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

from ...program.algebra import product_of
from ...program.ir import Access, Expr, Index, Program, Reduce, Statement, domain_of, indices_of, walk
from ...program.names import counted, free
from ...sizes.dtypes import Types
from ...sizes.shapes import Shapes
from ..limits import Limits
from ..order import best_order
from ..prices import points
from ..views import Extents
from .at_positions import named
from .share import factored
from .windows import Window, at_positions, axes_of, windows_of

Sizes = dict[str, tuple[int, ...]]
Row = tuple[Statement, Extents, str, bool]  # a statement, how far its indices run, its type, whether it is guarded


@dataclass(frozen=True)
class Passes:
    """Both passes, the tensor between them without a name, and what they cost."""

    first: Statement
    first_extents: Extents
    shape: tuple[int, ...]
    second: Statement
    second_extents: Extents
    cost: int


def in_passes(program: Program, shapes: Shapes, types: Types, limits: Limits) -> tuple[Program, Shapes, Types]:
    """The program with products over windows of several axes in several passes, where that costs less."""
    tensors, kinds = dict(shapes.tensors), dict(types.tensors)
    statements: list[Statement] = []
    boxes: list[Extents] = []
    compute: list[str] = []
    guarded = []
    numbers = range(len(program.statements))
    left = [(program.statements[k], shapes.extents[k], k) for k in reversed(numbers)]
    while left:
        stmt, extents, number = left.pop()
        kind = types.compute[number]
        found = None
        if not shapes.guarded[number] and _fits(stmt, extents, kind, replace(types, tensors=kinds)):
            found = best_passes(stmt, extents, tensors, limits)
        if found is not None:
            name = free(counted("passed"), tensors)
            tensors[name], kinds[name] = found.shape, kind
            left.append((named(found.second, name), found.second_extents, number))
            left.append((named(found.first, name), found.first_extents, number))
            continue
        statements.append(stmt)
        boxes.append(extents)
        compute.append(kind)
        guarded.append(shapes.guarded[number])
    if len(statements) == len(program.statements):
        return program, shapes, types
    return (
        replace(program, statements=tuple(statements)),
        replace(shapes, tensors=tensors, extents=tuple(boxes), guarded=tuple(guarded)),
        replace(types, tensors=kinds, compute=tuple(compute)),
    )


def _fits(stmt: Statement, extents: Extents, kind: str, types: Types) -> bool:
    """Whether a statement adds products of reads of the type that it computes in, under no mask."""
    if stmt.op not in ("=", "+=") or isinstance(stmt.value, Reduce) or stmt.domain.masks:
        return False
    split = factored(stmt.value)
    if not kind.startswith(("float", "complex")) or split is None or not split[0]:
        return False
    plain = all(types.tensors[a.tensor] == kind and a.tensor not in types.weak for a in split[0])
    direct = not any(isinstance(p, Access) for s in stmt.target.subscripts for p in walk(s))
    known = {i for a in (stmt.target, *split[0]) for i in indices_of(a)}
    return plain and direct and known == set(extents) and all(0 <= lo < hi for lo, hi in extents.values())


def best_passes(stmt: Statement, extents: Extents, sizes: Sizes, limits: Limits) -> Passes | None:
    """The passes that cost least, where they save enough."""
    split = factored(stmt.value)
    assert split is not None
    if not 0 < len(split[0]) <= limits.exhaustive:
        return None
    whole = _cost(split[0], stmt.target, extents, limits)
    if whole < limits.call:
        return None
    found = min(_candidates(stmt, extents, sizes, limits), key=lambda p: p.cost, default=None)
    return found if found is not None and 4 * found.cost <= 3 * whole and whole - found.cost >= limits.call else None


def _candidates(stmt: Statement, extents: Extents, sizes: Sizes, limits: Limits) -> Iterator[Passes]:
    """Every choice of factors for the first pass, and of windows whose positions stand between both."""
    split = factored(stmt.value)
    assert split is not None
    reads = split[0]
    for count in range(1, len(reads) + 1):
        for chosen in combinations(range(len(reads)), count):
            early = [reads[k] for k in chosen]
            late = [a for k, a in enumerate(reads) if k not in chosen]
            inner = {i for a in early for i in indices_of(a)}
            outer = {i for a in (stmt.target, *late) for i in indices_of(a)}
            for windows in _choices(windows_of(early, extents, sizes, extents), outer):
                yield _gathered(stmt, early, late, windows, outer, extents, sizes, limits)
            for windows in _choices(windows_of((stmt.target, *late), extents, sizes, extents), inner):
                if all(w.is_dense(extents) for w in windows):
                    yield _scattered(stmt, early, late, windows, inner, extents, sizes, limits)


def _choices(windows: Sequence[Window], met: Collection[str]) -> Iterator[tuple[Window, ...]]:
    """Some of the windows with an index that the other pass has, too."""
    ready = [w for w in windows if w.indices & set(met)]
    for count in range(1, len(ready) + 1):
        yield from combinations(ready, count)


def _gathered(
    stmt: Statement,
    early: Sequence[Access],
    late: Sequence[Access],
    windows: tuple[Window, ...],
    outer: Collection[str],
    extents: Extents,
    sizes: Sizes,
    limits: Limits,
) -> Passes:
    """The first pass runs over positions, the second one reads them."""
    axes = [a for a in axes_of(early, windows, sizes) if isinstance(a, Window) or a in outer]
    made, read = _between(axes, lambda w: Index(w.name)), _between(axes, Window.read)
    moved = [_moved(a, windows, sizes) for a in early]
    value = product_of(moved)
    first = Statement(made, "=", value, domain_of((made, value), (), ()))
    rest = _rest(stmt, [read, *late])
    second = replace(stmt, value=rest, domain=domain_of((stmt.target, rest), (), ()))
    return _both(first, moved, second, [read, *late], axes, windows, extents, limits)


def _scattered(
    stmt: Statement,
    early: Sequence[Access],
    late: Sequence[Access],
    windows: tuple[Window, ...],
    inner: Collection[str],
    extents: Extents,
    sizes: Sizes,
    limits: Limits,
) -> Passes:
    """The first pass adds to positions, the second one runs over them."""
    axes = [a for a in axes_of((stmt.target, *late), windows, sizes) if isinstance(a, Window) or a in inner]
    made, read = _between(axes, Window.read), _between(axes, lambda w: Index(w.name))
    value = product_of(list(early))
    first = Statement(made, "+=", value, domain_of((made, value), (), ()))
    reads = [read, *(_moved(a, windows, sizes) for a in late)]
    target, rest = _moved(stmt.target, windows, sizes), _rest(stmt, reads)
    second = replace(stmt, target=target, value=rest, domain=domain_of((target, rest), (), ()))
    return _both(first, early, second, reads, axes, windows, extents, limits)


def _both(
    first: Statement,
    early: Sequence[Access],
    second: Statement,
    late: Sequence[Access],
    axes: Sequence[str | Window],
    windows: Sequence[Window],
    extents: Extents,
    limits: Limits,
) -> Passes:
    run = {**extents, **{w.name: (0, w.n) for w in windows}}
    boxes = [{i: run[i] for i in stmt.domain.indices} for stmt in (first, second)]
    cost = _cost(early, first.target, boxes[0], limits) + _cost(late, second.target, boxes[1], limits)
    shape = tuple(a.n if isinstance(a, Window) else extents[a][1] for a in axes)
    return Passes(first, boxes[0], shape, second, boxes[1], cost)


def _cost(reads: Sequence[Access], target: Access, extents: Extents, limits: Limits) -> int:
    """Multiply-adds of a product, and what is written."""
    sizes = {i: hi - lo for i, (lo, hi) in extents.items()}
    out, groups = indices_of(target), [indices_of(a) for a in reads]
    cost = points(out, sizes)
    if len(reads) == 1:
        return cost + prod(sizes.values())
    for k, group in enumerate(groups):  # what one factor alone is summed over
        others = {i for other in (out, *groups[:k], *groups[k + 1 :]) for i in other}
        cost += 0 if set(group) <= others else points(group, sizes)
    return cost + best_order(groups, (), out, sizes, limits).cost


def _between(axes: Sequence[str | Window], position: Callable[[Window], Expr]) -> Access:
    """The tensor between the passes, its name still open."""
    return Access("", tuple(position(a) if isinstance(a, Window) else Index(a) for a in axes))


def _moved(access: Access, windows: Sequence[Window], sizes: Sizes) -> Access:
    """An access at positions."""
    found = at_positions(access, windows, sizes)
    assert isinstance(found, Access)
    return found


def _rest(stmt: Statement, reads: Sequence[Access]) -> Expr:
    """Reads as a product, with all that no index runs through in the statement's value."""
    split = factored(stmt.value)
    assert split is not None
    _, factors, divisors = split
    return product_of([*factors, product_of(list(reads))], divisors)
