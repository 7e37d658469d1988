"""Values that few points have and many read: made before them, each once.

In: segments. Out: segments that make such values, in front of those that read them, or inside of their outer loops. The
one rule: a value is made ahead where the loops would compute it again and again, one of its indices being inside of
others; so are elements that lie apart in memory and are read as vectors again and again: side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .axes import FUNCTION, along, chosen, effort, points
from .fusing import Segment
from .nest import Array
from .nodes import Access, Call, Element, Fold, Node, Nodes, Store, every, made_of, side_by_side
from .target import Target

Made = dict[frozenset[str], list[Store]]  # by indices

AGAIN = 4  # times that a value would be computed
SAVED = 50_000  # operations less that are worth a nest
SHARE = 4  # so many times smaller than the largest array is what is made before
SMALL = 1 << 14  # elements for which there is always room


@dataclass
class Ahead:
    """Values taken out of segments: what runs before, by indices, and the arrays that hold it."""

    nodes: Nodes
    sizes: dict[str, int]
    target: Target
    name: str
    spaces: list[Array] = field(default_factory=list)
    inside: set[str] = field(default_factory=set)  # the arrays that only one segment touches
    packed: dict[tuple[str, int], Array] = field(default_factory=dict)  # for a segment, by array and step

    def out_of(self, segment: Segment) -> list[Segment]:
        """The segment, which reads what is made ahead, behind what makes it for all of its rounds."""
        if segment.scan is not None:
            return [segment]
        stores = [s for group in segment.groups for s in group]
        touched = [s.access for s in stores]
        touched += [n.access for n in every(s.value for s in stores) if isinstance(n, Element)]
        most = max(SMALL, max(a.array.size for a in touched) // SHARE)
        written = frozenset(s.access.array.name for s in stores)
        before: Made = {}
        self.packed.clear()
        put: dict[Node, Node] = {}
        groups: list[list[Store]] = []
        for group in segment.groups:
            between: Made = {}
            here = written.intersection(s.access.array.name for s in group)
            again = self._again(group, segment.outer, most)
            apart = self._lying_apart(group, segment.outer, written)
            for node in _outermost([s.value for s in group], {*again, *apart, *put}):
                if node in put:
                    continue
                if node in apart:
                    put[node] = self._beside(node, apart[node], before)
                elif not node.arrays & written:
                    put[node] = self._held(node, before, (), group)
                elif node.indices.issuperset(segment.outer) and not node.arrays & here:
                    put[node] = self._held(node, between, segment.outer, group)
            changed = [replace(s, value=self.nodes.changed(s.value, put.get)) for s in group]
            groups += [*between.values(), changed]
            put = {
                node: held for node, held in put.items() if not node.arrays & here
            }  # of others the array has changed
        return [*(Segment((), (some,)) for some in before.values()), replace(segment, groups=tuple(groups))]

    def _again(self, group: Sequence[Store], outer: Sequence[str], most: int) -> list[Node]:
        """The values, of so many points at most, that are computed so often that an array of them is worth while."""
        found: dict[Node, int] = {}
        for node, times, _ in self._read(group, outer):
            found[node] = max(found.get(node, 1), times)
        return [n for n, k in found.items() if points(n.indices, self.sizes) <= most and self._worth(n, k)]

    def _read(self, group: Sequence[Store], outer: Sequence[str]) -> Iterator[tuple[Node, int, str]]:
        """Nodes, how often the loops compute each for the same values of its indices, the index along its vectors."""
        axes = chosen(group, self.sizes, self.target, outer)
        lanes = axes.lanes

        def inner(fold: Fold, vector: str) -> str:
            return vector if vector in fold.indices else along(fold, self.sizes, lanes)

        for node, around, over, vector in _placed([s.value for s in group], (*outer, *axes.order), axes.vector, inner):
            if node.indices.isdisjoint(over):
                around = around[: _last(node, around)]
            yield node, points((i for i in around if i not in node.indices), self.sizes), vector

    def _lying_apart(self, group: Sequence[Store], outer: Sequence[str], written: Collection[str]) -> dict[Node, int]:
        """Elements that vectors are put together of again and again, and how far apart those of a vector lie."""
        found: dict[Node, int] = {}
        for node, times, vector in self._read(group, outer):
            if not isinstance(node, Element) or node.moved or node.access.array.name in written:
                continue
            step, size = abs(node.access.step(vector)), node.access.array.size
            reads = times * points(node.indices, self.sizes)
            if step > 1 and reads >= max(SAVED, AGAIN * size) and _in_digits(node.access, step, self.sizes):
                found[node] = step
        return found

    def _beside(self, node: Node, step: int, together: Made) -> Node:
        """What reads an array whose elements that are a step apart have been brought side by side."""
        assert isinstance(node, Element)
        old = node.access
        rest = old.array.size // step
        home = self.packed.get((old.array.name, step))
        if home is None:
            home = Array(f"{self.name}.ahead{len(self.spaces)}", node.dtype, old.array.size, "output")
            self.spaces.append(home)
            self.packed[old.array.name, step] = home
            digit, whole = (f"{self.name}_ahead.all{len(self.spaces)}{k}" for k in range(2))
            self.sizes |= {digit: step, whole: rest}
            own, access = (
                Access(a, 0, ((digit, d), (whole, w))) for a, d, w in ((home, rest, 1), (old.array, 1, step))
            )
            store = Store(own, self.nodes.element(access), (digit, whole))
            together.setdefault(frozenset((digit, whole)), []).append(store)
        steps = tuple((i, s // step if s % step == 0 else s * rest) for i, s in old.steps)
        return self.nodes.element(Access(home, old.first // step + old.first % step * rest, steps))

    def _worth(self, node: Node, times: int) -> bool:
        """Whether a value that would be computed so often is worth an array."""
        if times < AGAIN or not isinstance(node, Call) or node.dtype == "bool" or not node.indices:
            return False
        inside = list(every([node]))
        work = effort(inside)
        saved = (times - 1) * points(node.indices, self.sizes) * work
        return work >= FUNCTION and saved >= SAVED and not any(isinstance(n, Fold) for n in inside)

    def _held(self, node: Node, together: Made, outer: Sequence[str], readers: Sequence[Store]) -> Node:
        """What reads the array that a value is brought to, laid out as what its readers write is."""
        main = max(readers, key=lambda s: points(s.free, self.sizes)).access
        inner = sorted(node.indices.difference(outer), key=lambda i: (-abs(main.step(i)) or 1, i))
        own = (*outer, *inner)
        array = Array(f"{self.name}.ahead{len(self.spaces)}", node.dtype, points(own, self.sizes), "output")
        access = Access(array, 0, tuple(sorted(side_by_side(own, self.sizes))))
        together.setdefault(node.indices, []).append(Store(access, node, own))
        self.spaces.append(array)
        self.inside |= {array.name} if outer else set()
        return self.nodes.element(access)


Place = tuple[Node, tuple[str, ...], tuple[str, ...], str]


def _placed(
    roots: Iterable[Node], loops: tuple[str, ...], vector: str, inner: Callable[[Fold, str], str]
) -> Iterator[Place]:
    """Nodes, the loops around, those of the fold that they are in, if they are in one, the index along vectors there;
    `inner` says which one it is in a fold.
    """
    stack: list[Place] = [(root, loops, (), vector) for root in roots]
    seen = set(stack)
    while stack:
        node, around, over, own = stack.pop()
        yield node, around, over, own
        if isinstance(node, Fold):
            around, over = around if over else around[: _last(node, around)], (*over, *node.over)
            own = inner(node, own)
        inside = [(n, around, over, own) for n in made_of(node)]
        stack += [one for one in inside if one not in seen]
        seen.update(inside)


def _in_digits(access: Access, step: int, sizes: Mapping[str, int]) -> bool:
    """Whether the positions of an access, in an array of whole steps, are those of steps and within one, apart."""
    within = [(i, s) for i, s in access.steps if s % step]
    reach = access.first % step + sum(s * (sizes[i] - 1) for i, s in within)
    return access.array.size % step == 0 and all(s > 0 for _, s in within) and reach < step


def _outermost(roots: Iterable[Node], chosen: Collection[Node]) -> Iterator[Node]:
    """Those of some nodes that are in none of the others, where roots are looked at from outside."""
    stack, seen = list(roots), set[Node]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node in chosen:
            yield node
        else:
            stack += made_of(node)


def _last(node: Node, loops: Sequence[str]) -> int:
    """How many loops are outside of where a node is known."""
    return max((k + 1 for k, index in enumerate(loops) if index in node.indices), default=0)
