"""Reductions over all positions up to a bound: which masks let a running one serve every point.

In: the masks of a statement, the indices of its value, sizes. Out: `Scan`s, none if it is none. The one rule: the value
of a scan does not mention the indices of its bounds, so that one pass over the reduced index holds what each of them
asks for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..program.affine import Affine
from ..program.conditions import conjuncts, margins
from ..program.ir import Call, Expr, Index, indices_of, reads
from ..sizes.in_bounds import numeric
from .views import Row


@dataclass(frozen=True)
class Bound:
    """`index <= row // by` where it is an upper one, else `index >= -(-row // by)`."""

    row: Row
    by: int
    upper: bool


@dataclass(frozen=True)
class Scan:
    """The index to run along, its bounds (upper ones, lower ones, or both), and the masks of the value alone."""

    index: str
    bounds: tuple[Bound, ...]
    own: tuple[Expr, ...]

    @property
    def between(self) -> bool:
        """Whether it is bounded from both sides."""
        return len({b.upper for b in self.bounds}) == 2

    @property
    def upper(self) -> bool:
        return self.bounds[0].upper

    @property
    def read(self) -> tuple[str, ...]:
        """The indices of the bounds."""
        return tuple(dict.fromkeys(i for b in self.bounds for i, _ in b.row.coefs))


def scan(
    masks: Iterable[Expr],
    value: Collection[str],
    reduced: Sequence[str],
    sizes: Mapping[str, Sequence[int]],
    between: bool = False,
) -> Scan | None:
    """The first reduced index along which a running reduction gives the statement; `value` are the value's indices.

    `between` if bounds from both sides will do.
    """
    parts = [p for mask in masks for p in conjuncts(mask)]
    own = tuple(p for p in parts if set(indices_of(p)) <= set(value))
    rest = [p for p in parts if p not in own]
    if not rest or not set(reduced) <= set(value):
        return None
    for index in reduced:
        bounds = [bound(p, index, sizes) for p in rest]
        known = tuple(b for b in bounds if b is not None)
        mentioned = {i for b in known for i, _ in b.row.coefs}
        same = between or len({b.upper for b in known}) == 1
        if known and len(known) == len(bounds) and same and not mentioned & {*value, *reduced}:
            return Scan(index, known, own)
    return None


def scans(
    masks: Sequence[Expr],
    value: Collection[str],
    reduced: Sequence[str],
    sizes: Mapping[str, Sequence[int]],
    between: bool = False,
) -> tuple[Scan, ...]:
    """One scan, or one after the other along several indices, each with bounds of its own: sums over a corner."""
    alone = scan(masks, value, reduced, sizes, between)
    if alone is not None:
        return (alone,)
    parts = [p for mask in masks for p in conjuncts(mask)]
    own = tuple(p for p in parts if set(indices_of(p)) <= set(value))
    groups: dict[str, list[Bound]] = {}
    for part in (p for p in parts if p not in own):
        along = [i for i in reduced if i in indices_of(part)]
        found = bound(part, along[0], sizes) if len(along) == 1 else None
        if found is None:
            return ()
        groups.setdefault(along[0], []).append(found)
    several = [Scan(i, tuple(bounds), () if n else own) for n, (i, bounds) in enumerate(groups.items())]
    read = [i for s in several for i in s.read]
    apart = len(set(read)) == len(read) and not set(read) & {*value, *reduced}
    same = all(b.upper == s.upper for s in several for b in s.bounds)
    return tuple(several) if apart and same and set(reduced) <= set(value) else ()


def bound(mask: Expr, index: str, sizes: Mapping[str, Sequence[int]]) -> Bound | None:
    """What a comparison of integers says about an index."""
    found = [] if reads(mask) else list(margins(mask))
    if len(found) != 1 or (isinstance(mask, Call) and mask.fn == "eq"):
        return None
    coefs: dict[str, int] = {}
    form: Affine = numeric(found[0], sizes)  # not negative where the mask holds
    for atom, coef in form.terms:
        if not isinstance(atom, Index):
            return None
        coefs[atom.name] = coef
    by = coefs.pop(index, 0)
    if by == 0:
        return None
    if by < 0:
        return Bound(Row(form.const, tuple(coefs.items())), -by, True)
    return Bound(Row(-form.const, tuple((i, -c) for i, c in coefs.items())), by, False)
