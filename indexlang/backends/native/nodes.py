"""What is computed at each point of a domain, every type said: the trees that maps are scheduled from.

    Node ::= Constant | Element(Access, moved) | Position(index) | Call(fn, Node*) | Fold(op, Node, over, part)

Positions of indices are numbered from 0 here. Equal nodes of one table are one object.

In: nothing. Out: frozen dataclasses that are compared by identity, and the table (`Nodes`) which makes them. The one
rule: a node says what is computed, a schedule says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .nest import Array

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Access:
    """Elements of an array: the first one, and how many elements one step of each index moves."""

    array: Array
    first: int
    steps: tuple[tuple[str, int], ...]  # by name, no zeros

    def step(self, index: str) -> int:
        """How many elements one step of an index moves."""
        return next((s for i, s in self.steps if i == index), 0)

    def ends(self, length: Callable[[str], int]) -> tuple[int, int]:
        """The first and the last element that is touched."""
        moves = [s * (length(i) - 1) for i, s in self.steps]
        return self.first + sum(m for m in moves if m < 0), self.first + sum(m for m in moves if m > 0)

    @property
    def indices(self) -> frozenset[str]:
        return frozenset(i for i, _ in self.steps)


@dataclass(frozen=True)
class Limit:
    """The values of an index that are there: from another one plus `first` to below that plus `last`."""

    index: str
    by: str
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Constant:
    """A number."""

    value: int | float | bool
    dtype: str
    indices: frozenset[str] = NOTHING
    arrays: frozenset[str] = NOTHING


@dataclass(frozen=True, eq=False)
class Element:
    """What memory holds; `moved` are positions that data give, each with the elements that one step of it moves, and
    `reach` how far they move in all: from the first number to below the second.
    """

    access: Access
    dtype: str
    moved: tuple[tuple[Node, int], ...] = ()
    reach: tuple[int, int] = (0, 1)
    indices: frozenset[str] = field(init=False)
    arrays: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        own = self.access.indices.union(*(n.indices for n, _ in self.moved))
        object.__setattr__(self, "indices", own)
        object.__setattr__(self, "arrays", _arrays((n for n, _ in self.moved), self.access.array.name))


@dataclass(frozen=True, eq=False)
class Position:
    """An index as a number: `first` where it stands at 0."""

    index: str
    first: int
    dtype: str = "int64"
    arrays: frozenset[str] = NOTHING

    @property
    def indices(self) -> frozenset[str]:
        return frozenset((self.index,))


@dataclass(frozen=True, eq=False)
class Call:
    """An operation, or a function made of operations, of arguments whose types it takes as they are."""

    fn: str
    args: tuple[Node, ...]
    dtype: str
    indices: frozenset[str] = field(init=False)
    arrays: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", NOTHING.union(*(a.indices for a in self.args)))
        object.__setattr__(self, "arrays", _arrays(self.args))


@dataclass(frozen=True, eq=False)
class Fold:
    """A node reduced over indices: sum, product, greatest, least, any, all; argmax or argmin (int64: the row-major
    position in the box of `over`, the first winner). With a `part` (index, n) only n values of the first one are there:
    those from n times the index on. `limits` say which values of some indices are there for which of others.
    """

    op: str
    value: Node
    over: tuple[str, ...]
    dtype: str
    part: tuple[str, int] | None = None
    limits: tuple[Limit, ...] = ()
    indices: frozenset[str] = field(init=False)
    arrays: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        own = self.value.indices - set(self.over) | {i for i, _ in [self.part or ("", 0)] if i}
        own |= {limit.by for limit in self.limits}
        object.__setattr__(self, "indices", own)
        object.__setattr__(self, "arrays", self.value.arrays)


Node = Constant | Element | Position | Call | Fold
Moved = tuple[tuple[Node, int], ...]


@dataclass(frozen=True)
class Store:
    """A node at each point of `free`, brought to memory; points that differ in `met` alone may meet in an element,
    which then goes from one to the next.
    """

    access: Access
    value: Node
    free: tuple[str, ...]
    met: frozenset[str] = NOTHING
    moved: Moved = ()
    reach: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Scan:
    """A store of what an operator has made so far along an index; `carried` stands for that in the store's value."""

    store: Store
    source: Node
    carried: Node
    op: str
    along: str
    backwards: bool


def _arrays(nodes: Iterable[Node], name: str = "") -> frozenset[str]:
    return NOTHING.union(*(n.arrays for n in nodes), [name] if name else [])


class Nodes:
    """The nodes of a kernel, each once."""

    def __init__(self) -> None:
        self._made: dict[object, Node] = {}

    def _once(self, key: object, node: Node) -> Node:
        return self._made.setdefault(key, node)

    def constant(self, value: int | float | bool, dtype: str) -> Node:
        """A number."""
        return self._once(("constant", repr(value), getattr(value, "key", None), dtype), Constant(value, dtype))

    def element(
        self, access: Access, moved: tuple[tuple[Node, int], ...] = (), reach: tuple[int, int] = (0, 1)
    ) -> Node:
        """What memory holds."""
        key = ("element", access, tuple((id(n), s) for n, s in moved), reach)
        return self._once(key, Element(access, access.array.dtype, moved, reach))

    def position(self, index: str, first: int, dtype: str = "int64") -> Node:
        """An index as a number."""
        return self._once(("position", index, first, dtype), Position(index, first, dtype))

    def call(self, fn: str, args: Iterable[Node], dtype: str) -> Node:
        """An operation applied."""
        given = tuple(args)
        return self._once((fn, tuple(map(id, given)), dtype), Call(fn, given, dtype))

    def fold(
        self,
        op: str,
        value: Node,
        over: tuple[str, ...],
        dtype: str,
        part: tuple[str, int] | None = None,
        limits: tuple[Limit, ...] = (),
    ) -> Node:
        """A node reduced; a reduction of one by the same operator is one reduction."""
        if not over:
            return value
        if isinstance(value, Fold) and value.op == op and not value.part and not part and not op.startswith("arg"):
            limits = (*limits, *value.limits)
            over, value = (*over, *value.over), value.value
        return self._once(
            ("fold", op, id(value), over, dtype, part, limits), Fold(op, value, over, dtype, part, limits)
        )

    def changed(self, node: Node, change: Callable[[Node], Node | None]) -> Node:
        """The node with the outermost ones in it for which `change` gives another one put in their place."""
        done: dict[Node, Node] = {}

        def walk(n: Node) -> Node:
            if n not in done:
                done[n] = change(n) or inside(n)
            return done[n]

        def inside(n: Node) -> Node:
            match n:
                case Call(fn, args, dtype):
                    return self.call(fn, map(walk, args), dtype)
                case Fold(op, value, over, dtype, part, limits):
                    return self.fold(op, walk(value), over, dtype, part, limits)
                case Element(access, _, moved, reach) if moved:
                    return self.element(access, tuple((walk(m), s) for m, s in moved), reach)
                case _:
                    return n

        return walk(node)

    def merged(self, node: Node, outer: str, inner: str) -> Node:
        """The node with two indices as one, under the name of the second."""

        def change(n: Node) -> Node | None:
            match n:
                case Element(access, _, moved, reach):
                    own = tuple((self.changed(m, change), s) for m, s in moved)
                    return self.element(without(access, outer), own, reach)
                case Fold(op, value, over, dtype, part, limits) if outer in over:
                    left = tuple(i for i in over if i != outer)
                    return self.fold(op, self.changed(value, change), left, dtype, part, limits)
                case _:
                    return None

        return self.changed(node, change)


def without(access: Access, index: str) -> Access:
    """The access at position 0 of an index."""
    return replace(access, steps=tuple((i, s) for i, s in access.steps if i != index))


def side_by_side(own: Sequence[str], sizes: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """The steps of an array over just these indices, the last one innermost."""
    found: list[tuple[str, int]] = []
    step = 1
    for index in reversed(own):
        found.append((index, step))
        step *= sizes[index]
    return tuple(found)


def every(roots: Iterable[Node]) -> Iterator[Node]:
    """All nodes in some, each once."""
    stack, seen = list(roots), set[Node]()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            yield node
            stack += made_of(node)


def made_of(node: Node) -> tuple[Node, ...]:
    """The nodes that a node is made of."""
    match node:
        case Call(args=args):
            return args
        case Fold(value=value):
            return (value,)
        case Element(moved=moved):
            return tuple(n for n, _ in moved)
        case _:
            return ()
