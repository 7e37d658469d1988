"""The values of a chain of statements as one graph, in which equal values are one node and are computed once.

In: functions and the nodes that they are applied to. Out: `Node`s, in an order in which each comes after what it reads.
The one rule: a node is what a loop over elements would compute, up to rounding; what this form cannot say is refused,
and the statement is run by another kernel.

Small factors of a product meet first, so that few passes go over many elements. A logsumexp and the exp of what lies
under it share their powers: that is softmax in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod

from ...program.functions import COMBINATIONS
from ...program.ir import Const, Expr, indices_of


class RefusedError(Exception):
    """A statement that no chain can take."""


@dataclass(frozen=True)
class Move:
    """Where along one axis values go: those of `index` from number `first` on, `count` of them, to elements of `axis`
    that begin at `start` and are `step` apart.
    """

    index: str
    axis: str
    first: int
    count: int
    start: int
    step: int


@dataclass(frozen=True, eq=False)
class Node:
    """A value over `indices`, which stand in the chain's order.

    `fn` is a row of the table of functions, or one of these: `read` (elements of a tensor, at affine positions),
    `number`, `other` (an expression of integers, say), `keep` (the second argument where the first holds, else 0),
    `cleared` (the second times the third where the first holds, else 0: the second has been kept so already),
    `choose`, `finite` (0 where it is not), `quarters` (a power by a multiple of 1/4), `part` (at one value of some
    indices), `zero`, `spread` (the first argument, the second added at other positions), or a reduction over `over`:
    sum, product, greatest, least.
    """

    number: int
    fn: str
    args: tuple[Node, ...] = field(repr=False)
    indices: tuple[str, ...]
    expr: Expr | None = None
    over: tuple[str, ...] = ()
    truth: bool = False
    at: tuple[tuple[str, int], ...] = ()  # values of indices that `expr` mentions, of a window
    moves: tuple[Move, ...] = ()  # of a `spread`

    @property
    def constant(self) -> float | bool | None:
        """The value of a number of the source."""
        return self.expr.value if isinstance(self.expr, Const) else None


@dataclass(frozen=True)
class Powers:
    """A logsumexp that has been made: of which value, the powers of it, and their sum."""

    value: Node
    powers: Node
    total: Node


class Graph:
    """Nodes so far, over indices that stand in `order` and run as far as `extents` say; of one dtype, `compute`."""

    def __init__(self, order: list[str], extents: dict[str, tuple[int, int]], compute: str) -> None:
        self.order, self.extents, self.compute = order, extents, compute
        self.nodes: list[Node] = []
        self.bound: dict[str, int] = {}  # indices of a window, each at one of its values
        self._table: dict[object, Node] = {}
        self.powers: dict[Node, Powers] = {}

    def points(self, indices: Iterable[str]) -> int:
        """The number of elements over the indices."""
        return prod(self.extents[i][1] - self.extents[i][0] for i in indices)

    def forget(self, count: int) -> None:
        """Go back to the first nodes, when a statement could not be taken."""
        del self.nodes[count:]
        self._table = {key: node for key, node in self._table.items() if node.number < count}
        self.powers = {node: powers for node, powers in self.powers.items() if node.number < count}

    # -- nodes ---------------------------------------------------------------------------------

    def node(
        self,
        fn: str,
        args: Sequence[Node] = (),
        expr: Expr | None = None,
        over: tuple[str, ...] = (),
        truth: bool = False,
    ) -> Node:
        """The node with these parts, made on first use."""
        named = indices_of(expr) if expr is not None else ()
        at = tuple((i, self.bound[i]) for i in named if i in self.bound)
        key = (fn, tuple(a.number for a in args), expr, over, at)
        found = self._table.get(key)
        if found is None:
            present = {i for a in args for i in a.indices} if args else set(named) - set(self.bound)
            indices = tuple(i for i in self.order if i in present and i not in over)
            found = self._table[key] = Node(len(self.nodes), fn, tuple(args), indices, expr, over, truth, at)
            self.nodes.append(found)
        return found

    def part(self, value: Node) -> Node:
        """The value at one position of a window."""
        at = tuple((i, self.bound[i]) for i in value.indices if i in self.bound)
        key = ("part", value.number, at)
        found = self._table.get(key)
        if found is None:
            indices = tuple(i for i in value.indices if i not in self.bound)
            found = self._table[key] = Node(len(self.nodes), "part", (value,), indices, truth=value.truth, at=at)
            self.nodes.append(found)
        return found

    def constant(self, value: float | bool) -> Node:
        """A number."""
        return self.node("number", expr=Const(value))

    def keep(self, condition: Node, value: Node, otherwise: float = 0) -> Node:
        """The value where the condition holds, else a number."""
        if otherwise != 0:
            return self.node("choose", (condition, value, self.constant(otherwise)))
        if value.fn == "keep" and value.args[0] is condition:
            return value
        return self.node("keep", (condition, value))

    def reduce(self, op: str, value: Node, over: Sequence[str]) -> Node:
        """The value reduced over indices, those that it lacks included."""
        missing = [i for i in over if i not in value.indices]
        own = tuple(i for i in self.order if i in over and i in value.indices)
        count = self.points(missing)
        if op == "product" and count > 1:
            raise RefusedError
        result = self.node(op, (value,), over=own) if own else value
        return self.times([result], count) if op == "sum" and count != 1 else result

    def spread(
        self,
        axes: Sequence[str],
        moves: Callable[[], Sequence[Move] | None],
        values: Callable[[], Node],
        over: Sequence[str],
    ) -> Node:
        """The sum of values that go to other positions for each position of a window; None of `moves` if nowhere."""
        order = tuple(i for i in self.order if i in axes)
        result = self._bare("zero", (), order)
        for at in product(*(range(*self.extents[i]) for i in over)):
            self.bound = dict(zip(over, at, strict=True))
            try:
                there = moves()
                if there is not None:
                    result = self._bare("spread", (result, values()), order, tuple(there))
            finally:
                self.bound = {}
        return result

    def _bare(self, fn: str, args: tuple[Node, ...], indices: tuple[str, ...], moves: tuple[Move, ...] = ()) -> Node:
        """A node that is never the same as another one, over these indices."""
        found = Node(len(self.nodes), fn, args, indices, moves=moves)
        self.nodes.append(found)
        return found

    def window(self, op: str, values: Callable[[], Node], over: Sequence[str]) -> Node:
        """The value at each position of a window, one combined with the other."""
        result: Node | None = None
        for at in product(*(range(*self.extents[i]) for i in over)):
            self.bound = dict(zip(over, at, strict=True))
            try:
                value = values()
            finally:
                self.bound = {}
            result = value if result is None else self.node(COMBINATIONS[op], (result, value))
        assert result is not None, "no domain of a chain is empty"
        return result

    def logsumexp(self, value: Node, over: Sequence[str]) -> Node:
        """log(sum(exp(value))), shifted by the greatest value."""
        if not set(over) <= set(value.indices):
            raise RefusedError
        most = self.node("finite", (self.reduce("greatest", value, over),))
        powers = self.node("exp", (self.node("sub", (value, most)),))
        total = self.reduce("sum", powers, over)
        result = self.node("add", (self.node("log", (total,)), most))
        self.powers[result] = Powers(value, powers, total)
        return result

    def times(self, factors: Sequence[Node], coefficient: float = 1, divisors: Sequence[Node] = ()) -> Node:
        """A product, the factors of the fewest elements first."""
        size = {f: self.points(f.indices) for f in (*factors, *divisors)}
        small = sorted(factors, key=lambda f: (size[f], f.number))
        below = sorted(divisors, key=lambda f: (size[f], f.number))
        result: Node | None = None
        if coefficient not in (1, -1):
            result = self.constant(coefficient)
        negative = coefficient == -1
        for f in small:
            while below and result is not None and (size[below[0]] < size[f]):
                result = self.node("div", (result, below.pop(0)))
            if negative and result is None:
                result, negative = self.negative(f), False
            else:
                result = f if result is None else self.node("mul", (result, f))
        if result is None:
            result = self.constant(-1 if negative else 1)
            negative = False
        for d in below:
            result = self.node("div", (result, d))
        return result

    def plus(self, a: Node, b: Node) -> Node:
        """A sum; of two products with a common factor, the factor times the sum of the others."""
        if a.fn == b.fn == "mul":
            shared = [f for f in a.args if f in b.args and f.fn != "number"]
            if shared:
                left, right = (n.args[1] if n.args[0] is shared[0] else n.args[0] for n in (a, b))
                return self.times([shared[0], self.node("add", (left, right))])
        return self.node("add", (a, b))

    def negative(self, value: Node) -> Node:
        """Minus the value."""
        number = value.constant
        return self.constant(-number) if number is not None else self.node("neg", (value,))
