"""About how long a nest takes, from its operations.

In: a Nest. Out: nanoseconds in one thread. The one rule: it is only good enough to tell whether threads pay.
"""

from __future__ import annotations

from collections.abc import Mapping

from .nest import For, Nest, Set, Stmt, When, Write

EACH = 0.3  # ns of an operation on a register
STORED = 0.5  # ns of a write


def effort(nest: Nest) -> float:
    """Nanoseconds of all items together."""
    ends = {var: (0, n - 1) for var, n in nest.items}
    return nest.count * _of(nest.body, ends)


def _of(body: tuple[Stmt, ...], ends: Mapping[str, tuple[int, int]]) -> float:
    total = 0.0
    for stmt in body:
        match stmt:
            case Set():
                total += EACH
            case Write():
                total += STORED
            case When(then=then, other=other):
                total += max(_of(then, ends), _of(other, ends))
            case For(var=var, begin=begin, end=end, body=inner, by=by):
                first = max(b.interval(ends)[0] for b in begin)
                last = max(first, min(e.interval(ends)[1] for e in end))
                middle = (min(first, last), max(first, last))
                total += (last - first + by - 1) // by * _of(inner, {**ends, var: middle})
    return total
