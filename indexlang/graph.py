"""The values of a chain of statements as one graph, in which equal values are one node and are computed once.

In: expressions over the chain's indices. Out: `Node`s, in an order in which each comes after what it reads. The one
rule: a node is what a loop over elements would compute, up to rounding; what this form cannot say is refused, and the
statement is run by another kernel.

Small factors of a product meet first, so that few passes go over many elements. A logsumexp and the exp of what lies
under it share their powers: that is softmax in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod, sqrt

from .ir import Access, Boundary, Call, Const, Dots, Expr, Index, Merged, Reduce, Size, Subscript, indices_of, walk
from .kernels import linear

MOST_OPERATIONS = 200  # of one statement: beyond it the generated code gains nothing
REDUCTIONS = {"=": "sum", "+=": "sum", "*=": "product", "max=": "greatest", "min=": "least"}
COMBINATIONS = {"=": "add", "+=": "add", "*=": "mul", "max=": "max", "min=": "min"}
_TRUTHS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})


class RefusedError(Exception):
    """A statement that no chain can take."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value over `indices`, which stand in the chain's order.

    `fn` is a row of the table of functions, or `read` (elements of a tensor, at affine positions), `number`, `other`
    (an expression of integers, say), `keep` (the second argument where the first holds, else 0), `choose`, `finite`
    (0 where it is not), or a reduction over `over`: sum, product, greatest, least.
    """

    number: int
    fn: str
    args: tuple[Node, ...] = field(repr=False)
    indices: tuple[str, ...]
    expr: Expr | None = None
    over: tuple[str, ...] = ()
    truth: bool = False
    at: tuple[tuple[str, int], ...] = ()  # values of indices that `expr` mentions, of a window

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
    """Nodes made so far; `made` are tensors of the chain, each with the node and the indices of its axes."""

    def __init__(
        self,
        order: list[str],
        extents: dict[str, tuple[int, int]],
        shapes: Mapping[str, tuple[int, ...]],
        storage: Mapping[str, str],
        kind: Callable[[Expr], str],
        compute: str,
    ) -> None:
        self.order, self.extents, self.shapes, self.storage = order, extents, shapes, storage
        self.kind, self.compute = kind, compute
        self.nodes: list[Node] = []
        self.made: dict[str, tuple[Node | None, tuple[str, ...]]] = {}
        self.bound: dict[str, int] = {}  # indices of a window, each at one of its values
        self._table: dict[object, Node] = {}
        self._powers: dict[Node, Powers] = {}

    def points(self, indices: Iterable[str]) -> int:
        """The number of elements over the indices."""
        return prod(self.extents[i][1] - self.extents[i][0] for i in indices)

    def forget(self, count: int) -> None:
        """Go back to the first nodes, when a statement could not be taken."""
        del self.nodes[count:]
        self._table = {key: node for key, node in self._table.items() if node.number < count}
        self._powers = {node: powers for node, powers in self._powers.items() if node.number < count}

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
        self._powers[result] = Powers(value, powers, total)
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

    # -- expressions ---------------------------------------------------------------------------

    def value(self, expr: Expr) -> Node:
        """The node of an expression that is computed in floating point."""
        if sum(isinstance(p, Call) for p in walk(expr)) > MOST_OPERATIONS:
            raise RefusedError
        return self._value(expr)

    def _value(self, expr: Expr) -> Node:
        match expr:
            case Const():
                return self.node("number", expr=expr)
            case Access(tensor=tensor) if tensor in self.made:
                return self._own(expr)
            case Access():
                return self._read(expr)
            case Reduce():
                raise RefusedError
            case _ if _is_number(expr):
                folded = self._folded(expr)
                return self.node("number", expr=expr) if folded is None else self.constant(folded)
            case Call(fn=fn) if fn in _TRUTHS:
                return self._truth(expr)
            case Call(fn=fn, args=args) if self.kind(expr) == self.compute:
                return self._call(fn, args, expr)
            case _:
                return self._other(expr)

    def _folded(self, expr: Subscript) -> float | None:
        """A number that the source and sizes say, if it is plain arithmetic."""
        match expr:
            case Const(value=value) if not isinstance(value, bool):
                return value
            case Size(tensor=tensor, axis=axis):
                return self.shapes[tensor][axis]
            case Call(fn=fn, args=args):
                found = [self._folded(a) for a in args]
                match fn, found:
                    case "neg", [float() | int() as a]:
                        return -a
                    case "sqrt", [float() | int() as a] if a >= 0:
                        return sqrt(a)
                    case "add", [float() | int() as a, float() | int() as b]:
                        return a + b
                    case "sub", [float() | int() as a, float() | int() as b]:
                        return a - b
                    case "mul", [float() | int() as a, float() | int() as b]:
                        return a * b
                    case "div", [float() | int() as a, float() | int() as b] if b != 0:
                        return a / b
            case _:
                pass
        return None

    def _own(self, access: Access) -> Node:
        node, axes = self.made[access.tensor]
        if node is None or access.subscripts != tuple(Index(i) for i in axes):
            raise RefusedError
        return node

    def _read(self, access: Access) -> Node:
        for axis in range(len(access.subscripts)):
            self.check_affine(access, axis)
        if self.storage[access.tensor] != self.compute:
            return self._other(access)
        return self.node("read", expr=access)

    def check_affine(self, access: Access, axis: int) -> None:
        """Refuse a subscript that is more than a view of an array, or of a padded one."""
        sub = access.subscripts[axis]
        match sub:
            case Merged() | Dots():
                raise RefusedError
            case Boundary(kind=kind, expr=expr):
                affine = kind == "pad" and linear(expr, self.shapes) is not None
            case _:
                affine = linear(sub, self.shapes) is not None
        if not affine:
            raise RefusedError

    def _other(self, expr: Expr) -> Node:
        """An expression that is left to the general rules: nothing of the chain's own may be in it."""
        for part in walk(expr):
            match part:
                case Access(tensor=tensor, subscripts=subscripts):
                    if tensor in self.made:
                        raise RefusedError
                    for axis in range(len(subscripts)):
                        self.check_affine(part, axis)
                case Reduce():
                    raise RefusedError
                case _:
                    pass
        return self.node("other", expr=expr, truth=self.kind(expr) == "bool")

    def _truth(self, expr: Call) -> Node:
        if expr.fn in ("and", "or", "not"):
            parts = [self._value(a) for a in expr.args]
            if all(p.truth for p in parts):
                return self.node(expr.fn, parts, truth=True)
            return self._other(expr)
        kinds = [self.kind(a) for a in expr.args]
        if all(k == self.compute or _is_number(a) for k, a in zip(kinds, expr.args, strict=True)) and any(
            k == self.compute and not _is_number(a) for k, a in zip(kinds, expr.args, strict=True)
        ):
            return self.node(expr.fn, [self._value(a) for a in expr.args], truth=True)
        return self._other(expr)

    def _call(self, fn: str, args: tuple[Expr, ...], expr: Expr) -> Node:
        match fn:
            case "mul" | "div" | "neg":
                factors, coefficient, divisors = self.product(expr)
                return self.times(factors, coefficient, divisors)
            case "add" | "sub":
                return self._sum(expr)
            case "where":
                return self._where(*args)
            case "pow":
                return self._power(*args)
            case "float":
                return self._value(args[0])
            case _:
                pass
        found = [self._value(a) for a in args]
        if any(f.truth for f in found):
            return self._other(expr)
        if fn == "exp" and found[0].fn == "sub":
            value, most = found[0].args
            powers = self._powers.get(most)
            if powers is not None and powers.value is value:
                return self.node("div", (powers.powers, powers.total))
        if all(f.fn == "number" for f in found):
            return self.node("number", expr=expr)
        return self.node(fn, found)

    def product(self, expr: Expr) -> tuple[list[Node], float, list[Node]]:
        """The factors, the number before them, and the divisors."""
        factors: list[Node] = []
        divisors: list[Node] = []
        coefficient: float = 1
        stack = [(expr, False)]
        while stack:
            part, below = stack.pop()
            match part:
                case Call(fn="mul", args=(a, b)) if not below and self.kind(part) == self.compute:
                    stack += [(b, False), (a, False)]
                case Call(fn="div", args=(a, b)) if not below and self.kind(part) == self.compute:
                    stack += [(b, True), (a, False)]
                case Call(fn="neg", args=(a,)) if self.kind(part) == self.compute:
                    coefficient = -coefficient
                    stack.append((a, below))
                case _ if not below and _is_number(part) and (value := self._folded(part)) is not None:
                    coefficient *= value
                case _:
                    node = self._value(part)
                    if node.truth:
                        raise RefusedError
                    (divisors if below else factors).append(node)
        return factors, coefficient, divisors

    def _sum(self, expr: Expr) -> Node:
        """A sum, its terms one after the other; those with a minus are subtracted."""
        terms: list[tuple[bool, Expr]] = []
        stack: list[tuple[bool, Expr]] = [(False, expr)]
        while stack:
            minus, part = stack.pop()
            match part:
                case Call(fn="add", args=(a, b)) if self.kind(part) == self.compute:
                    stack += [(minus, b), (minus, a)]
                case Call(fn="sub", args=(a, b)) if self.kind(part) == self.compute:
                    stack += [(not minus, b), (minus, a)]
                case Call(fn="neg", args=(a,)) if self.kind(part) == self.compute:
                    stack.append((not minus, a))
                case _:
                    terms.append((minus, part))
        first = next((k for k, (minus, _) in enumerate(terms) if not minus), None)
        if first is None:
            result = self.negative(self._term(terms.pop(0)[1]))
        else:
            result = self._term(terms.pop(first)[1])
        for minus, part in terms:
            result = self.node("sub" if minus else "add", (result, self._term(part)))
        return result

    def _term(self, expr: Expr) -> Node:
        node = self._value(expr)
        if node.truth:
            raise RefusedError
        return node

    def _where(self, condition: Expr, a: Expr, b: Expr) -> Node:
        mask = self._value(condition)
        if not mask.truth:
            raise RefusedError
        first, second = self._term(a), self._term(b)
        if second.constant == 0 and first.fn != "number":
            return self.keep(mask, first)
        if first.constant == 0 and second.fn != "number":
            return self.keep(self.node("not", (mask,), truth=True), second)
        return self.node("choose", (mask, first, second))

    def _power(self, base: Expr, exponent: Expr) -> Node:
        x, power = self._term(base), _constant(exponent)
        if power is None or isinstance(power, bool) or x.fn == "number":
            return self.node("pow", (x, self._term(exponent)))
        if power == int(power) and 1 <= abs(power) <= 4:
            whole = {1: [x], 2: [self.node("square", (x,))]}
            whole[3] = [*whole[2], x]
            whole[4] = [self.node("square", (whole[2][0],))]
            found = self.times(whole[int(abs(power))])
            return found if power > 0 else self.node("div", (self.constant(1), found))
        if abs(power) == 0.5:
            return self.node("sqrt" if power > 0 else "rsqrt", (x,))
        if 4 * power == int(4 * power) and abs(power) < 2:  # two roots cost a fraction of a power
            half = self.node("sqrt", (x,))
            parts = {1: [x], 2: [half], 4: [self.node("sqrt", (half,))]}
            quarters = abs(int(4 * power))
            found = self.times([f for n, bit in ((1, 4), (2, 2), (4, 1)) if quarters & bit for f in parts[n]])
            return found if power > 0 else self.node("div", (self.constant(1), found))
        return self.node("pow", (x, self._term(exponent)))


def _is_number(expr: Subscript) -> bool:
    """Whether sizes alone say the value."""
    return not indices_of(expr) and not any(isinstance(p, Access | Reduce) for p in walk(expr))


def _constant(expr: Expr) -> float | bool | None:
    match expr:
        case Const(value=value):
            return value
        case Call(fn="neg", args=(Const(value=value),)):
            return -value
        case _:
            return None
