"""Arrays that nothing reads behind the nests: kept in registers, or in a workspace as large as one round needs.

In: segments, the names of such arrays. Out: segments which do without them, and the names that are not needed any
more. The one rule: what is read is what the array would have held.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .axes import points
from .fusing import Segment
from .nest import Array
from .nodes import Access, Element, Node, Nodes, Store


def without_arrays(
    nodes: Nodes, segments: Sequence[Segment], private: Collection[str], sizes: Mapping[str, int], room: int
) -> tuple[list[Segment], frozenset[str]]:
    """Segments without private arrays, as far as these are written and read in one segment; their names."""
    found, gone = list(segments), set[str]()
    for name in private:
        touching = [k for k, s in enumerate(found) if _touches(s, name)]
        if len(touching) != 1 or found[touching[0]].scan is not None:
            continue
        (number,) = touching
        segment = found[number]
        made = _forwarded(nodes, segment, name) or _in_workspace(nodes, segment, name, sizes, room)
        if made is not None:
            found[number] = made
            gone.add(name)
    return found, frozenset(gone)


def _touches(segment: Segment, name: str) -> bool:
    if segment.scan is not None:
        scan = segment.scan
        return name in scan.source.arrays or name == scan.store.access.array.name
    stores = [s for g in segment.groups for s in g]
    return any(name == s.access.array.name or name in s.value.arrays for s in stores)


def _forwarded(nodes: Nodes, segment: Segment, name: str) -> Segment | None:
    """The value itself where it is read: if it is made once, and read at the same points only."""
    homes = [g for g in segment.groups for s in g if s.access.array.name == name]
    readers = [g for g in segment.groups for s in g if name in s.value.arrays]
    if len(homes) != 1 or any(g is not homes[0] for g in readers) or len(homes[0]) == 1:
        return None
    group = homes[0]
    number = next(k for k, s in enumerate(group) if s.access.array.name == name)
    own = group[number]
    if own.met or any(name in s.value.arrays for s in group[: number + 1]):
        return None
    later = {s.access.array.name for s in group[number + 1 :]}
    if own.value.arrays & later:  # it would be read after it has changed
        return None

    def change(n: Node) -> Node | None:
        return own.value if isinstance(n, Element) and n.access == own.access and not n.moved else None

    left = [replace(s, value=nodes.changed(s.value, change)) for s in group if s is not own]
    if any(name in s.value.arrays for s in left):
        return None
    return replace(segment, groups=tuple(left if g is group else g for g in segment.groups))


def _in_workspace(nodes: Nodes, segment: Segment, name: str, sizes: Mapping[str, int], room: int) -> Segment | None:
    """What one round of the outer loops holds, in memory that each item has for itself."""
    stores = [s for g in segment.groups for s in g]
    homes = [s for s in stores if s.access.array.name == name]
    if not segment.outer or not homes or name in homes[0].value.arrays:
        return None
    first = next(s for s in stores if s.access.array.name == name or name in s.value.arrays)
    if first is not homes[0]:
        return None
    access = homes[0].access
    rest = sorted(((s, i) for i, s in access.steps if i not in segment.outer), reverse=True)
    size = points((i for _, i in rest), sizes)
    if size > room:
        return None
    steps: dict[int, int] = {}
    step = size
    for stride, index in rest:
        step //= sizes[index]
        steps[stride] = step
    array = Array(f"{name}.row", access.array.dtype, size, "workspace")

    def moved(old: Access) -> Access:
        own = tuple((i, steps[s]) for i, s in old.steps if i not in segment.outer)
        return Access(array, 0, own)

    def change(n: Node) -> Node | None:
        return nodes.element(moved(n.access)) if isinstance(n, Element) and n.access.array.name == name else None

    def changed(s: Store) -> Store:
        own = moved(s.access) if s.access.array.name == name else s.access
        return replace(s, access=own, value=nodes.changed(s.value, change))

    return replace(segment, groups=tuple([changed(s) for s in g] for g in segment.groups))
