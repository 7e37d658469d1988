"""Windows: which indices stand only together, in one affine position, and that position as an index of its own.

In: expressions, how far indices run, sizes. Out: `Window`s, and expressions in which each is one index. The one rule:
the indices of a window stand in no other place, so that the position is all that is known of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from ...program.affine import Affine
from ...program.ir import Access, Boundary, Dots, Expr, Index, Merged, Subscript, children, indices_of
from ...program.names import free, lettered
from ...program.rebuild import transform
from ..views import Extents, Row, linear

Sizes = Mapping[str, Sequence[int]]
Key = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Window:
    """`sum of coefs * index == low + step * position`, position from 0 to below `n`; `name` is its index."""

    coefs: Key
    low: int
    step: int
    n: int
    name: str

    @property
    def indices(self) -> frozenset[str]:
        return frozenset(i for i, _ in self.coefs)

    def is_dense(self, extents: Extents) -> bool:
        """Whether the indices reach every position."""
        reach = 1
        for index, coef in sorted(self.coefs, key=lambda c: abs(c[1])):
            lo, hi = extents[index]
            if abs(coef) // self.step > reach:
                return False
            reach += abs(coef) // self.step * (hi - lo - 1)
        return True

    def read(self) -> Expr:
        """The position, made of the indices."""
        terms = tuple((Index(i), c // self.step) for i, c in self.coefs)
        return Affine(-self.low // self.step, terms).to_expr()

    def written(self, const: int) -> Expr:
        """What stands where the indices and a constant stood."""
        return Affine(const + self.low, ((Index(self.name), self.step),)).to_expr()


def keys_of(nodes: Iterable[Subscript], sizes: Sizes) -> tuple[set[Key], set[str]]:
    """The affine forms of at least two indices, and the indices that stand anywhere else."""
    keys: set[Key] = set()
    alone: set[str] = set()
    stack, met = list(nodes), set[tuple[Subscript, ...]]()
    while stack:
        part = stack.pop()
        match part:
            case Access(subscripts=subscripts) if subscripts in met:
                pass
            case Access(subscripts=subscripts):
                met.add(subscripts)
                for sub in subscripts:
                    row = row_of(sub, sizes)
                    if row is not None and len(row.coefs) > 1:
                        keys.add(row.coefs)
                    else:
                        alone.update(indices_of(sub))
                    if isinstance(sub, Boundary):
                        alone.update(indices_of(sub.value))
            case Index(name=name):
                alone.add(name)
            case _:
                stack += children(part)
    return keys, alone


def row_of(sub: Subscript, sizes: Sizes) -> Row | None:
    """The affine position of a subscript, in the order of its indices' names; a boundary's is what stands in it."""
    if isinstance(sub, Merged | Dots):
        return None
    row = linear(sub.expr if isinstance(sub, Boundary) else sub, sizes)
    return None if row is None else Row(row.const, tuple(sorted(row.coefs)))


def windows_of(nodes: Iterable[Subscript], extents: Extents, sizes: Sizes, taken: Iterable[str]) -> tuple[Window, ...]:
    """The windows of some expressions together."""
    keys, alone = keys_of(nodes, sizes)
    names, found = set(taken), []
    for key in sorted(keys):
        own = {i for i, _ in key}
        moving = [i for i, _ in key if extents[i][1] - extents[i][0] > 1]
        if own & alone or len(moving) < 2 or any(own & {i for i, _ in other} for other in keys if other != key):
            continue
        step = gcd(*(c for _, c in key))
        ends = [sorted((c * extents[i][0], c * (extents[i][1] - 1))) for i, c in key]
        low, high = sum(e[0] for e in ends), sum(e[1] for e in ends)
        name = free(lettered("pqrs"), names)
        names.add(name)
        found.append(Window(key, low, step, (high - low) // step + 1, name))
    return tuple(found)


def at_positions(node: Subscript, windows: Iterable[Window], sizes: Sizes) -> Subscript:
    """An expression, or an access, with the windows as indices."""
    known = {w.coefs: w for w in windows}

    def one(sub: Subscript) -> Subscript:
        row = row_of(sub, sizes)
        if row is None or row.coefs not in known:
            return sub
        made = known[row.coefs].written(row.const)
        return replace(sub, expr=made) if isinstance(sub, Boundary) else made

    def rule(part: Subscript) -> Subscript | None:
        return replace(part, subscripts=tuple(map(one, part.subscripts))) if isinstance(part, Access) else None

    return transform(node, rule)


def axes_of(nodes: Iterable[Subscript], windows: Sequence[Window], sizes: Sizes) -> list[str | Window]:
    """The indices and windows of some expressions, as their accesses show them, each once."""
    known = {w.coefs: w for w in windows}
    inside = {i for w in windows for i in w.indices}
    found: dict[str | Window, None] = {}
    stack = list(nodes)[::-1]
    while stack:
        part = stack.pop()
        if not isinstance(part, Access):
            found.update(dict.fromkeys([part.name] if isinstance(part, Index) else []))
            stack += children(part)[::-1]
            continue
        for sub in part.subscripts:
            row = row_of(sub, sizes)
            if row is not None and row.coefs in known:
                found[known[row.coefs]] = None
            else:
                found.update(dict.fromkeys(i for i in indices_of(sub) if i not in inside))
    return list(found)
