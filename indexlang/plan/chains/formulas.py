"""Expressions as nodes of a graph: what a statement of a chain computes, in the order that takes the fewest passes.

In: an expression over the indices of a chain. Out: a `Node`. The one rule: what is not computed in the chain's
floating-point type is left to the general rules, as one node; what cannot be a node is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import sqrt

from ...program.algebra import by_products, by_roots, factors_of, terms_of
from ...program.conditions import TRUTHS
from ...program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Reduce,
    Size,
    Subscript,
    indices_of,
    walk,
)
from ..limits import Limits
from ..views import Row, linear
from .values import Graph, Node, RefusedError


class Formulas(Graph):
    """A graph that takes expressions; `made` are the chain's tensors, each with its node and its axes' indices."""

    def __init__(
        self,
        order: list[str],
        extents: dict[str, tuple[int, int]],
        compute: str,
        shapes: Mapping[str, tuple[int, ...]],
        storage: Mapping[str, str],
        kind: Callable[[Expr], str],
        limits: Limits,
    ) -> None:
        super().__init__(order, extents, compute)
        self.shapes, self.storage, self.kind, self.limits = shapes, storage, kind, limits
        self.made: dict[str, tuple[Node | None, tuple[str, ...]]] = {}

    def keep(self, condition: Node, value: Node, otherwise: float = 0) -> Node:
        """The value where the condition holds; of two small factors, that of one of them, if the other is finite."""
        if otherwise == 0 and value.fn == "mul":
            whole = self.points(value.indices)
            for one, other in (value.args, value.args[::-1]):
                most = max(self.points(one.indices), self.points(other.indices))
                if other.indices and set(condition.indices) <= set(one.indices) and most * self.limits.larger <= whole:
                    return self.node("cleared", (condition, super().keep(condition, one), other))
        return super().keep(condition, value, otherwise)

    def value(self, expr: Expr) -> Node:
        """The node of an expression that is computed in floating point."""
        if sum(isinstance(p, Call) for p in walk(expr)) > self.limits.operations:
            raise RefusedError
        return self._value(expr)

    def exact(self, expr: Expr) -> Node:
        """The node of an expression whose bits count: operations in the order of the source, as everywhere else.

        Whether an element is the greatest is asked by computing it again.
        """
        return self._other(expr) if _is_arranged(expr) else self.value(expr)

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
            case Call(fn=fn) if fn in TRUTHS:
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
        return self.part(node) if set(self.bound) & set(node.indices) else node

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
                row = linear(expr, self.shapes)
                affine = row is not None and (kind == "pad" or self.is_short(row, self.shapes[access.tensor][axis]))
            case _:
                affine = linear(sub, self.shapes) is not None
        if not affine:
            raise RefusedError

    def is_short(self, row: Row, size: int) -> bool:
        """Whether an axis that goes on beyond its edges is made longer, not taken apart."""
        first, last = row.interval(self.extents)
        return last + 1 - first <= max(2 * self.points(i for i, _ in row.coefs), 2 * size)

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
            return self.node(expr.fn, [self.exact(a) for a in expr.args], truth=True)
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
            known = self.powers.get(most)
            if known is not None and known.value is value:
                return self.node("div", (known.powers, known.total))
        numbers = [f.expr for f in found if f.fn == "number" and f.expr is not None]
        if len(numbers) == len(found):  # some may be elements of a tensor that is the same number everywhere
            return self.node("number", expr=Call(fn, tuple(numbers)))
        return self.node(fn, found)

    def product(self, expr: Expr) -> tuple[list[Node], float, list[Node]]:
        """The factors, the number before them, and the divisors."""
        factors: list[Node] = []
        divisors: list[Node] = []
        coefficient: float = 1

        def opens(call: Call) -> bool:
            return self.kind(call) == self.compute

        for part, below in factors_of(expr, opens):
            if not below and _is_number(part) and (value := self._folded(part)) is not None:
                coefficient *= value
                continue
            node = self._value(part)
            if node.truth:
                raise RefusedError
            (divisors if below else factors).append(node)
        if coefficient and not 1e-30 < abs(coefficient) < 1e30:
            raise RefusedError  # the numbers may fit one by one where their product does not
        return factors, coefficient, divisors

    def _sum(self, expr: Expr) -> Node:
        """A sum, its terms one after the other; those with a minus are subtracted."""
        terms = terms_of(expr, lambda call: self.kind(call) == self.compute)
        first = next((k for k, (sign, _) in enumerate(terms) if sign > 0), None)
        if first is None:
            result = self.negative(self._term(terms.pop(0)[1]))
        else:
            result = self._term(terms.pop(first)[1])
        for sign, part in terms:
            result = self.node("add" if sign > 0 else "sub", (result, self._term(part)))
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
        if _is_leaky(mask, first, second):
            return self.node("max", (second, first))
        return self.node("choose", (mask, first, second))

    def _power(self, base: Expr, exponent: Expr) -> Node:
        x, power = self._term(base), _constant(exponent)
        if power is None or isinstance(power, bool) or x.fn == "number":
            return self.node("pow", (x, self._term(exponent)))
        if whole := by_products(power):
            square = self.node("square", (x,)) if abs(whole) > 1 else x
            factors = {1: [x], 2: [square], 3: [square, x]}.get(abs(whole))
            found = self.times(factors or [self.node("square", (square,))])
            return found if whole > 0 else self.node("div", (self.constant(1), found))
        if power == 0.5:
            return self.node("sqrt", (x,))
        if quarters := by_roots(power):
            return self.node("quarters", (x, self.constant(quarters)))
        return self.node("pow", (x, self._term(exponent)))


def _is_leaky(mask: Node, first: Node, second: Node) -> bool:
    """Whether a choice between a value and a part of it, by its sign, is the greater of them, which is one pass."""
    if mask.fn not in ("gt", "ge") or mask.args[0] is not first or mask.args[1].constant != 0 or second.fn != "mul":
        return False
    slopes = [a.constant for a in second.args if a is not first]
    return len(slopes) == 1 and slopes[0] is not None and 0 < slopes[0] < 1


def _is_arranged(expr: Subscript) -> bool:
    """Whether a chain computes an expression by other operations than those of the source, or in another order."""
    match expr:
        case Access():
            return False
        case Call(fn="pow") | Call(fn="exp", args=(Call(fn="sub"),)):  # of roots, and of the powers under a logsumexp
            return True
        case Call(fn="mul" | "div" | "neg", args=args):
            inner = {"mul", "div", "neg"}
            return any(isinstance(a, Call) and a.fn in inner for a in args) or any(_is_arranged(a) for a in args)
        case Call(fn="add" | "sub", args=args):
            inner = {"add", "sub", "neg"}
            return any(isinstance(a, Call) and a.fn in inner for a in args) or any(_is_arranged(a) for a in args)
        case Call(args=args):
            return any(_is_arranged(a) for a in args)
        case _:
            return False


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
