"""Maps and reductions of a Plan as loop nests.

In: works, each a Run whose value ranges over the whole extents of its indices; where their buffers lie; a Target.
Out: a `Schedule`, or None where a native kernel cannot do it. The one rule: what is computed, and in which order, is
decided by the works, the extents and the Target, never by who runs the items.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd

from ...plan.kernels import Kernel, Map, Running, Scatter
from ...plan.places import Buffer, Place
from ...plan.quantities import Number, Value
from .ahead import Ahead
from .axes import lanes_of, merged
from .fusing import Segment, segments
from .kernel_nodes import indices_of, scattered, typed
from .looping import nest_of
from .meaning import Extents, Meaning, UnsupportedError
from .nest import Array, Nest
from .nodes import Access, Element, Limit, Nodes, Scan, Store, every
from .partial import Apart
from .private import without_arrays
from .running import nest_of_scan, scan_of
from .scatters import widened
from .target import Target

TRIED = 64  # ways to reach an element that are looked at


@dataclass(frozen=True)
class Work:
    """One Run: a value combined into each element of a place. `limits` are those of indices that it sums over."""

    place: Place
    op: str
    value: Value | Kernel
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """Nests that run one after the other, arrays that they need beside the given ones, and what is told of them.

    `unused` are the names of private arrays that are not touched at all.
    """

    nests: tuple[Nest, ...]
    workspaces: tuple[Array, ...]
    told: str
    unused: frozenset[str] = frozenset()


def nests(
    works: Sequence[Work],
    extents: Extents,
    arrays: Callable[[Buffer], Array] | Mapping[Buffer, Array],
    target: Target,
    name: str,
    private: Collection[Buffer] = (),
) -> Schedule | None:
    """The nests of works that run one after the other; None where there is no such kernel.

    What `private` buffers hold is read by nothing else, and need not be there afterwards.
    """
    written = {w.place.buffer for w in works}

    def array(buffer: Buffer) -> Array:
        found = arrays[buffer] if isinstance(arrays, Mapping) else arrays(buffer)
        return replace(found, role="output" if buffer in written else "input")

    nodes = Nodes()
    meaning = Meaning(nodes, extents, array, {limit.index: limit for w in works for limit in w.limits})
    sizes = {i: hi - lo for i, (lo, hi) in extents.items() if hi - lo > 1}
    made: list[Nest] = []
    spaces: list[Array] = []
    told: list[str] = []
    try:
        parts: list[Store | Scan] = []
        for work in works:
            part = _part(meaning, work)
            if isinstance(part, Store) and isinstance(work.value, Scatter):
                parts += widened(nodes, part, sizes, name, spaces)
            elif part is not None:
                parts.append(part)
    except UnsupportedError:
        return None
    alone = {array(b).name for b in private if b in written}
    lanes = lanes_of([p for p in parts if isinstance(p, Store)], target)
    ahead = Ahead(nodes, sizes, target, name)
    joined = [one for segment in segments(parts, sizes, lanes) for one in ahead.out_of(segment)]
    pieces, unused = without_arrays(nodes, joined, alone | ahead.inside, sizes, target.l2 // 16)
    spaces += [array for array in ahead.spaces if array.name not in unused]
    for segment in pieces:
        done = _scheduled(nodes, segment, sizes, target, f"{name}_{len(made)}", spaces)
        made += [nest for nest, _ in done]
        told += [words for _, words in done]
    return Schedule(tuple(made), tuple(spaces), "; ".join(told), unused - ahead.inside)


def refusal(work: Work, extents: Extents, arrays: Mapping[Buffer, Array]) -> str:
    """What a work has that there is no kernel for; nothing where there is one."""
    try:
        _part(Meaning(Nodes(), extents, arrays.__getitem__), work)
    except UnsupportedError as error:
        return str(error)
    return ""


def _scheduled(
    nodes: Nodes, segment: Segment, sizes: Mapping[str, int], target: Target, name: str, spaces: list[Array]
) -> list[tuple[Nest, str]]:
    """The nests of a segment: sums that take all items come before what reads them."""
    if segment.scan is not None:
        return [nest_of_scan(nodes, segment.scan, sizes, target, name)]
    if len(segment.groups) > 1:
        return [nest_of(nodes, segment, sizes, target, name)]
    stores, own = merged(nodes, segment.groups[0], sizes)
    parts = Apart(nodes, own, target, name)
    left = parts.out_of(stores)
    spaces += parts.spaces
    groups = [*parts.before, left]
    return [nest_of(nodes, Segment((), (g,)), own, target, f"{name}_{k}") for k, g in enumerate(groups)]


def _part(meaning: Meaning, work: Work) -> Store | Scan | None:
    """A work as a node at each point, or a running one; None where there are no points."""
    if isinstance(work.value, Scatter):
        return _sound(meaning, scattered(meaning, work.value, work.place, work.op))
    if not isinstance(work.value, Running):
        return _sound(meaning, _store(meaning, work, _kernel(work)))
    store = _store(meaning, work, Map(Number(0, work.place.buffer.dtype)))
    return None if store is None else scan_of(meaning, work.value, store, work.op)


def _kernel(work: Work) -> Kernel:
    return work.value if isinstance(work.value, Kernel) else Map(work.value)


def _sound(meaning: Meaning, store: Store | None) -> Store | None:
    """A store that reads of its own array just the element that it writes, or what lies beyond all that it writes."""
    for n in every([store.value] if store is not None else []):
        assert store is not None
        if isinstance(n, Element) and n.access.array.name == store.access.array.name:
            same = n.access == store.access and n.moved == store.moved
            if not same and (store.moved or _meet(n, store.access, meaning.length)):
                raise UnsupportedError("elements read while others are written")
    return store


def _meet(read: Element, access: Access, length: Callable[[str], int]) -> bool:
    """Whether what is read may be an element of an access, wherever the indices of both stand."""
    reach: dict[int, int] = {}
    at = read.access.first - access.first  # to which steps are added, each so often at most
    for one, sign in ((read.access, 1), (access, -1)):
        for index, step in one.steps:
            at += min(0, sign * step * (length(index) - 1))
            reach[abs(step)] = reach.get(abs(step), 0) + length(index) - 1
    if read.moved:
        low, high = read.reach
        step = gcd(*(step for _, step in read.moved))
        at += low
        reach[step] = reach.get(step, 0) + (high - 1 - low) // step
    return _reaches(-at, sorted(reach.items(), reverse=True))


def _reaches(distance: int, steps: Sequence[tuple[int, int]]) -> bool:
    """Whether a distance is a sum of steps, each taken so often at most."""
    if not steps:
        return distance == 0
    (step, most), *smaller = steps
    rest = sum(s * n for s, n in smaller)
    first, last = max(0, -(-(distance - rest) // step)), min(most, distance // step)
    if last - first > TRIED:
        return True
    return any(_reaches(distance - k * step, smaller) for k in range(first, last + 1))


def _store(meaning: Meaning, work: Work, kernel: Kernel) -> Store | None:
    """A node at each point of a place; None where there are no points."""
    indices = indices_of(kernel, work.place)
    free = tuple(dict.fromkeys(work.place.mentioned))
    if any(meaning.length(i) == 0 for i in (free if work.op == "=" else (*free, *indices))):
        return None
    access = meaning.access(work.place)
    extra = sorted(i for i in indices if i not in free and meaning.length(i) > 1)
    value = meaning.put(access, work.op, typed(meaning, kernel, work.place), extra)
    own = tuple(i for i in free if meaning.length(i) > 1)
    if set(own) - access.indices or (work.op == "=" and not met(access, own, meaning.length) == frozenset()):
        raise UnsupportedError("several values for one element")
    return Store(access, value, own, met(access, own, meaning.length))


def met(access: Access, free: Sequence[str], length: Callable[[str], int]) -> frozenset[str]:
    """The indices whose values may meet in an element: those that are not told by the larger steps of others."""
    left = sorted(free, key=lambda i: -abs(access.step(i)))
    while left:
        reach = sum(abs(access.step(i)) * (length(i) - 1) for i in left[1:])
        if abs(access.step(left[0])) <= reach:
            break
        left.pop(0)
    return frozenset(left)
