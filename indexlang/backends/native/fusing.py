"""Stores that run together: in the same loops, or one after the other inside of the same outer ones.

In: stores in order. Out: segments, each a nest. The one rule: what one round of the outer loops reads or writes of an
array that is written, is what the same round has written there before; so that rounds are independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from .axes import LARGE, cost, points
from .nodes import Access, Element, Fold, Scan, Store, every

ROWS = 8  # rounds of outer loops that are worth fusing for
LOSS = 1.5  # times the cost of groups by themselves that is no longer worth it


@dataclass(frozen=True)
class Segment:
    """Groups of stores, each over the same indices, that run one after the other for each value of `outer`."""

    outer: tuple[str, ...]
    groups: tuple[list[Store], ...]
    scan: Scan | None = None


def segments(parts: Sequence[Store | Scan], sizes: Mapping[str, int], lanes: int) -> list[Segment]:
    """What runs one after the other, as few segments; a running reduction is one by itself."""
    found: list[Segment] = []
    for part in parts:
        if not isinstance(part, Store):
            found.append(Segment((), (), part))
            continue
        last = found[-1].groups[-1] if found and found[-1].groups else None
        if last is not None and _beside(last, part, sizes):
            last.append(part)
        else:
            found.append(Segment((), ([part],)))
    joined: list[Segment] = []
    for segment in found:
        before = joined[-1].groups if joined else ()
        if before and segment.groups and (outer := _outer((*before, *segment.groups), sizes, lanes)):
            joined[-1] = Segment(outer, (*before, *segment.groups))
        else:
            joined.append(segment)
    return joined


def _beside(group: Sequence[Store], store: Store, sizes: Mapping[str, int]) -> bool:
    """Whether a store may stand behind others at each point: of what they write it touches the same elements only."""
    if set(group[0].free) != set(store.free) or _alone(store) or _alone(group[0]):
        return False
    both = [*group, store]
    written = {s.access.array.name: s.access for s in both}
    if any(s.access != written[s.access.array.name] for s in both):
        return False
    before = {s.access.array.name for s in group}
    whole = list(every(s.value for s in both))
    if any(isinstance(n, Fold) and n.arrays & before and points({*n.indices, *n.over}, sizes) > LARGE for n in whole):
        return False  # it may be made in parts
    touched = [n for n in whole if isinstance(n, Element)]
    if any(n.moved and n.access.array.name in written for n in touched):
        return False
    return all(n.access == written.get(n.access.array.name, n.access) for n in touched)


def _alone(store: Store) -> bool:
    """Whether a store is a nest by itself."""
    return bool(store.met or store.moved)


def _outer(groups: Sequence[Sequence[Store]], sizes: Mapping[str, int], lanes: int) -> tuple[str, ...]:
    """The loops that groups share; none where they would not gain by it."""
    stores = [s for g in groups for s in g]
    if any(map(_alone, stores)):
        return ()
    near = _near(stores)
    common = [i for i in stores[0].free if i not in near and all(i in s.free for s in stores)]
    common = [i for i in common if _separate(stores, i)]
    while common:
        if _independent(stores, common, sizes):
            worth = _worth(stores, common, sizes) and not _hindered(groups, common, sizes, lanes)
            return tuple(common) if worth else ()
        common.pop()
    return ()


def _near(stores: Sequence[Store]) -> set[str]:
    """The indices along which the elements of the largest arrays lie side by side."""
    accesses = [s.access for s in stores]
    accesses += [n.access for n in every(s.value for s in stores) if isinstance(n, Element)]
    most = max(a.array.size for a in accesses)
    return {i for a in accesses if a.array.size == most for i, s in a.steps if abs(s) == 1}


def _separate(stores: Sequence[Store], index: str) -> bool:
    """Whether no fold runs over an index that others have as an outer one."""
    return not any(isinstance(n, Fold) and index in n.over for n in every(s.value for s in stores))


def _worth(stores: Sequence[Store], outer: Sequence[str], sizes: Mapping[str, int]) -> bool:
    """Whether there are rounds enough, or little to do at all."""
    rounds = points(outer, sizes)
    return rounds >= ROWS or all(points(n.indices, sizes) < LARGE for n in every(s.value for s in stores))


def _hindered(groups: Sequence[Sequence[Store]], outer: Sequence[str], sizes: Mapping[str, int], lanes: int) -> bool:
    """Whether groups by themselves would have much better vectors, along an index that is an outer one here."""
    alone = inside = 0.0
    for group in groups:
        price = {i: cost(group, sizes, i, lanes) for i in ("", *group[0].free)}
        alone += min(price.values())
        inside += min(p for i, p in price.items() if i not in outer)
    return inside > LOSS * alone


def _independent(stores: Sequence[Store], outer: Sequence[str], sizes: Mapping[str, int]) -> bool:
    """Whether a round touches of each written array just what that round itself writes there."""
    written: dict[str, list[Access]] = {}
    for s in stores:
        written.setdefault(s.access.array.name, []).append(s.access)
    elements = [n for n in every(s.value for s in stores) if isinstance(n, Element)]
    if any(n.moved and n.access.array.name in written for n in elements):
        return False
    touched = [n.access for n in elements]
    for name, own in written.items():
        accesses = [*own, *(a for a in touched if a.array.name == name)]
        if not all(_same(a, b, outer, sizes) for a, b in combinations(accesses, 2)):
            return False
    return True


def _same(a: Access, b: Access, outer: Sequence[str], sizes: Mapping[str, int]) -> bool:
    """Whether two accesses touch the same elements in each round."""
    if a.first != b.first or any(a.step(i) != b.step(i) for i in outer):
        return False
    return _box(a.steps, outer, sizes) == _box(b.steps, outer, sizes)


def _box(steps: Iterable[tuple[str, int]], outer: Sequence[str], sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    return sorted((s, sizes[i]) for i, s in steps if i not in outer)
