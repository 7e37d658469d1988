"""Nodes as registers: each is computed once, as far outside of the loops as its indices allow.

In: a node, a `Point` (where each index stands, and which of them lies along the vector). Out: a register or a literal.
The one rule: what a register holds is remembered by the node and the positions of its own indices, in the loop that
has the last of them; it is written there, in front of what is being written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from . import functions
from .nest import Form, Literal, Operand, Type
from .nodes import Access, Call, Constant, Element, Fold, Moved, Node, Position, Store
from .operations import OPERATIONS
from .varying import renewed, varies
from .writing import Writing


@dataclass(frozen=True)
class Point:
    """Where indices stand; lanes lie along one of them, `live` of them where it is not 0."""

    at: Mapping[str, Form]
    vector: str = ""
    lanes: int = 1
    live: int = 0

    def moved(self, index: str, to: Form) -> Point:
        """The point with an index elsewhere: at one value, also where lanes lay along it, as for a fold in a fold."""
        at = {**self.at, index: to}
        return Point(at) if index == self.vector else replace(self, at=at)

    def along(self, index: str, to: Form, lanes: int, live: int) -> Point:
        """The point with lanes along an index from a position on."""
        return Point({**self.at, index: to}, index, lanes, live)


@dataclass(frozen=True)
class Span:
    """The values of an index: all n, or a piece of them from `begin` (the greatest of several) to below `end`, which
    may be `last`, the one with the end of all.
    """

    n: int
    begin: Form | tuple[Form, ...] = Form()
    end: Form | None = None
    last: Form | None = None


Key = tuple[Node, tuple[Form, ...], tuple[str, int, int] | None]
Pieces = Sequence[tuple[Form, int]]


class Values:
    """Registers of nodes while loops are written."""

    def __init__(self, w: Writing, sizes: Mapping[str, int]) -> None:
        self.w, self.sizes = w, sizes
        self.scopes: list[dict[Key, Operand]] = [{}]
        self.spreads: list[dict[tuple[str, int], Operand]] = [{}]  # by register and lanes
        self.depth: dict[str, int] = {}  # of vars: how many lists are outside of the one in which it is known
        self.once: dict[str, int] = {}  # of indices at the end that only the last item has
        self.written: dict[str, int] = {}  # of arrays: the same for the list in which it has been written last

    # -- loops -----------------------------------------------------------------------------------

    @contextmanager
    def loop(self, index: str, begin: Form | Sequence[Form], end: Sequence[Form], by: int) -> Iterator[Form]:
        """Statements for values of an index."""
        var = self.w.fresh(_plain(index))
        with self.w.loop(var, begin, end, by) as at, self._inside():
            self.depth[var] = len(self.w.lists) - 1
            yield at

    @contextmanager
    def when(self, test: Form) -> Iterator[None]:
        """Statements where a form is not negative."""
        with self.w.when(test), self._inside():
            yield

    @contextmanager
    def _inside(self) -> Iterator[None]:
        self.scopes.append({})
        self.spreads.append({})
        yield
        self.scopes.pop()
        self.spreads.pop()
        self.written = {name: min(depth, len(self.scopes) - 1) for name, depth in self.written.items()}

    @contextmanager
    def outside(self, depth: int) -> Iterator[None]:
        """Statements of a loop further outside, in front of the one that is being written there."""
        kept, written = (self.w.lists, self.scopes, self.spreads), self.written
        self.w.lists, self.scopes, self.spreads = (
            kept[0][: depth + 1], kept[1][: depth + 1], kept[2][: depth + 1],
        )  # fmt: skip
        yield
        self.w.lists, self.scopes, self.spreads = kept
        self.written |= {name: max(at, self.written.get(name, 0)) for name, at in written.items()}  # loops end there

    def sweep(self, index: str, lanes: int, unroll: int, span: Span, body: Callable[[Pieces], None]) -> None:
        """An index gone through by tiles of `unroll` pieces of `lanes`; what is left is one more tile of fewer."""
        tile = lanes * unroll
        if varies(span.n) and tile > 1 and span.n > lanes:
            self._varying(index, lanes, tile, span, body)
            return
        full = span.n - span.n % tile
        if full and full == tile and span.end is None:
            body([(Form(a * lanes), 0) for a in range(unroll)])
        elif full:
            ends = [Form(full)] if span.end is None else [span.end, Form(full - tile + 1)]
            with self.loop(index, span.begin, ends, tile) as at:
                body([(at + a * lanes, 0) for a in range(unroll)])
        if full == span.n:
            return
        many, live = divmod(span.n - full, lanes)
        pieces = [(Form(full + a * lanes), 0) for a in range(many)]
        pieces += [(Form(full + many * lanes), live)] if live else []
        if span.last is None:
            body(pieces)
        else:
            with self.when(span.last):
                self.once[index] = len(self.w.lists) - 1
                body(pieces)
                del self.once[index]

    def _varying(self, index: str, lanes: int, tile: int, span: Span, body: Callable[[Pieces], None]) -> None:
        """The same for a number that varies: after the tiles piece by piece, and what is left of lanes, if any is."""
        whole = span.n // lanes * lanes
        full = whole - whole % tile
        ends = [] if span.end is None else [span.end]
        with self.loop(index, span.begin, [*ends, Form(full - tile + 1)], tile) as at:
            body([(at + a, 0) for a in range(0, tile, lanes)])
        with self.when(span.last) if span.last is not None else nullcontext():
            if tile > lanes:
                with self.loop(index, Form(full), [Form(whole - lanes + 1)], lanes) as at:
                    body([(at, 0)])
            if lanes > 1:
                left = span.n % lanes
                with self.when(Form(left - 1)):
                    self.once[index] = len(self.w.lists) - 1
                    body([(Form(whole), renewed(left or lanes, 5))])
                    del self.once[index]

    # -- what is known ---------------------------------------------------------------------------

    def key(self, node: Node, point: Point) -> Key:
        """What a register is remembered by."""
        own = (point.vector, point.lanes, point.live) if point.vector in node.indices else None
        return node, tuple(point.at[i] for i in sorted(node.indices)), own

    def depth_of(self, node: Node, point: Point) -> int:
        """How far inside the last of a node's indices is known."""
        forms = [point.at[i] for i in node.indices]
        after = [self.written[name] for name in node.arrays if name in self.written]
        after += [self.once[i] for i in node.indices if i in self.once]
        return max([0, *after, *(self.depth.get(var, 0) for f in forms for var, _ in f.terms)])

    def known(self, key: Key) -> Operand | None:
        """The register that holds it."""
        return next((scope[key] for scope in reversed(self.scopes) if key in scope), None)

    def remember(self, key: Key, held: Operand) -> None:
        """A register that holds it here."""
        self.scopes[-1][key] = held

    def forget(self, array: str) -> None:
        """Nothing is known of an array's elements any more."""
        for scope in self.scopes:
            for key in [k for k in scope if array in k[0].arrays]:
                del scope[key]

    # -- values ----------------------------------------------------------------------------------

    def value(self, node: Node, point: Point) -> Operand:
        """A register, or a literal, with the lanes of the point if the node has its vector's index; else with one."""
        if isinstance(node, Constant):
            return Literal(node.value, Type(node.dtype))
        key = self.key(node, point)
        known = self.known(key)
        if known is None:
            with self.outside(self.depth_of(node, point)):
                known = self._made(node, point)
                self.remember(key, known)
        return known

    def _made(self, node: Node, point: Point) -> Operand:
        match node:
            case Element():
                return self._read(node, point)
            case Position():
                return self._position(node, point)
            case Call():
                return self._call(node, point)
            case Fold():
                self.prepare([node], [point])
                found = self.known(self.key(node, point))
                assert found is not None
                return found
            case Constant():
                raise AssertionError(node)

    def prepare(self, nodes: Sequence[Node], points: Sequence[Point]) -> None:
        """The folds in nodes for all points at once. Overridden by what makes them."""
        raise NotImplementedError

    def _read(self, node: Element, point: Point) -> str:
        array = node.access.array
        at, step, lanes, live = self.where(node.access, point)
        moved = ""
        if node.moved:
            moved, lanes = self._moved(node.moved, point, lanes)
            live = point.live
        return self.w.read(array, at, lanes, step if lanes > 1 else 0, live if lanes > 1 else 0, moved, node.reach)

    def _moved(self, moved: Moved, point: Point, lanes: int) -> tuple[str, int]:
        """Positions that data give, added up; 0 in lanes that are not there, which might be anywhere."""
        parts: list[Operand] = []
        for n, step in moved:
            x = self.value(n, point)
            lanes = max(lanes, self.lanes(x))
            parts.append(x if step == 1 else self.w.apply("mul", x, Literal(step, self.w.type_of(x))))
        total = self.spread(parts[0], lanes)
        for part in parts[1:]:
            total = self.w.apply("add", total, self.spread(part, lanes))
        if point.live and lanes > 1:
            none = Literal(0, Type("int64", lanes))
            return self.w.apply("select", self.there(lanes, point.live), total, none, kind=none.type), lanes
        return self.w.apply("same", total) if isinstance(total, Literal) else total, lanes

    def where(self, access: Access, point: Point) -> tuple[Form, int, int, int]:
        """An access as the position of its first lane, the step of lanes, how many there are, how many are live."""
        at = Form(access.first)
        for index, step in access.steps:
            at = at + point.at[index] * step
        step = access.step(point.vector)
        return (at, step, point.lanes, point.live) if step else (at, 0, 1, 0)

    def _position(self, node: Position, point: Point) -> str:
        lanes, at = point.lanes if node.index == point.vector else 1, point.at[node.index] + node.first
        if node.dtype == "int64":
            return self.w.count(at, lanes, int(lanes > 1))
        first = self.w.apply("cast", self.w.count(at), kind=Type(node.dtype))
        if lanes == 1:
            return first
        number = self.numbered(node.dtype, lanes)
        return self.w.apply("add", self.w.apply("spread", first, kind=Type(node.dtype, lanes)), number)

    def numbered(self, dtype: str, lanes: int) -> Operand:
        """The numbers of lanes, written once in front of all loops."""
        name = dtype, lanes
        if name not in self.spreads[0]:
            with self.outside(0):
                self.spreads[0][name] = self.w.apply("cast", self.w.count(Form(), lanes, 1), kind=Type(dtype, lanes))
        return self.spreads[0][name]

    def there(self, lanes: int, live: int) -> str:
        """Which lanes are live."""
        return self.w.apply("lt", self.w.count(Form(), lanes, 1), Literal(live, Type("int64", lanes)))

    def _call(self, node: Call, point: Point) -> Operand:
        args = [self.value(a, point) for a in node.args]
        lanes = point.lanes if point.vector in node.indices else 1
        if lanes > 1:
            args = [a if node.fn == "select" and k == 0 else self.spread(a, lanes) for k, a in enumerate(args)]
        kind = Type(node.dtype, lanes)
        if node.fn in OPERATIONS:
            return self.w.apply(node.fn, *args, kind=kind)
        return functions.call(self.w, node.fn, args, kind)

    def lanes(self, x: Operand) -> int:
        """How many lanes it has."""
        return self.w.type_of(x).lanes

    def spread(self, x: Operand, lanes: int) -> Operand:
        """One element in all lanes: written where the element is known."""
        kind = self.w.type_of(x)
        if kind.lanes == lanes:
            return x
        if isinstance(x, Literal):
            return Literal(x.value, Type(kind.dtype, lanes))
        known = next((scope[x, lanes] for scope in reversed(self.spreads) if (x, lanes) in scope), None)
        if known is None:
            home = next((k for k, scope in enumerate(self.scopes) if x in scope.values()), len(self.scopes) - 1)
            with self.outside(home):
                known = self.w.apply("spread", x, kind=Type(kind.dtype, lanes))
                self.spreads[-1][x, lanes] = known
        return known

    def store(self, store: Store, point: Point) -> Operand:
        """A node brought to memory: the register that is there then."""
        array = store.access.array
        at, step, lanes, live = self.where(store.access, point)
        held, moved = self.spread(self.value(store.value, point), lanes), ""
        if store.moved:
            moved, lanes = self._moved(store.moved, point, lanes)
        step, live = (step, live) if lanes > 1 else (0, 0)
        self.w.write(array, at, held, step, live, moved, store.reach)
        self.written[array.name] = len(self.w.lists) - 1
        return held


def _plain(index: str) -> str:
    """A name that vars may have."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in index) or "i"
