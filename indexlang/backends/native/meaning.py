"""Values of the Plan as nodes: what the NumPy backend computes, with every conversion of a type written down.

In: a value, extents, the arrays of buffers. Out: a `Node`. The one rule: types follow NumPy's rules for arrays and
Python's own numbers, so that each operation has arguments of one type.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ...plan.operators import REDUCTIONS, identity
from ...plan.places import Buffer, Part, Place, View
from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...plan.views import index_strides, row_strides
from . import functions
from .narrowing import narrow
from .nest import Array, Literal, Type
from .nodes import Access, Constant, Limit, Moved, Node, Nodes
from .varying import Varying

Extents = Mapping[str, tuple[int, int]]
Arrays = Callable[[Buffer], Array]

COMPARISONS = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
# What Python numbers give Python numbers for.
PYTHON: dict[str, Callable[..., int | float | bool]] = {
    **COMPARISONS, "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
}  # fmt: skip
# What else is computed of numbers alone, in float64.
FOLDED: dict[str, Callable[..., np.float64]] = {
    "div": np.divide, "pow": np.power, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "abs": np.absolute, "max": np.maximum, "min": np.minimum, "log1p": np.log1p, "expm1": np.expm1,
    "floor": np.floor, "ceil": np.ceil, "round": np.round, "sign": np.sign, "relu": lambda x: np.maximum(x, 0),
    "rsqrt": lambda x: np.divide(1, np.sqrt(x)), "mod": np.remainder, "floordiv": np.floor_divide,
}  # fmt: skip
CHOOSING = frozenset({"where", "select", "keep", "choose"})
# Functions that are an operation.
DIRECT = {
    "add": "add", "sub": "sub", "mul": "mul", "div": "div", "neg": "neg", "abs": "abs", "max": "greatest",
    "min": "least", "sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "round": "nearest", "where": "select",
    "select": "select", "choose": "select",
}  # fmt: skip
NUMBERS = frozenset(
    ("bool", "float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
)
IN_MEMORY = NUMBERS | {"float16"}  # which is computed with in float32


class UnsupportedError(Exception):
    """What no native kernel is made of."""


@dataclass(frozen=True)
class Typed:
    """A node; `weak` if it is a Python number, which takes the type of what it meets."""

    node: Node
    weak: bool = False

    @property
    def dtype(self) -> str:
        return self.node.dtype

    @property
    def number(self) -> int | float | bool:
        assert isinstance(self.node, Constant)
        return self.node.value


class Meaning:
    """Values over whole extents."""

    def __init__(
        self, nodes: Nodes, extents: Extents, arrays: Arrays, limits: Mapping[str, Limit] | None = None
    ) -> None:
        self.nodes, self.extents, self.arrays, self.limits = nodes, extents, arrays, limits or {}
        self._known: dict[int, tuple[Value, Typed]] = {}

    def length(self, index: str) -> int:
        """How many values an index has."""
        lo, hi = self.extents[index]
        return max(hi - lo, 0)

    # -- places ----------------------------------------------------------------------------------

    def access(self, place: Place, at: Sequence[tuple[str, int]] = (), keep: str = "") -> Access:
        """Where the elements of a place lie; `at` fixes indices, numbered from 0. Those of one value move nothing."""
        array = self.arrays(place.buffer)
        if array.dtype not in IN_MEMORY:
            raise UnsupportedError(f"{array.dtype} in memory")
        first, steps = self._view(place) if isinstance(place, View) else self._part(place)
        fixed = dict(at)
        first += sum(steps.get(i, 0) * k for i, k in at)
        left = {i: s for i, s in steps.items() if s and i not in fixed and (self.length(i) > 1 or i == keep)}
        return Access(array, first, tuple(sorted(left.items())))

    def along(self, access: Access, index: str, step: int) -> Access:
        """An access that an index moves by so many elements more for each of its own values."""
        steps = dict(access.steps)
        if self.length(index) > 1:
            steps[index] = steps.get(index, 0) + step
        first = access.first + step * self.extents[index][0]
        return replace(access, first=first, steps=tuple(sorted((i, s) for i, s in steps.items() if s)))

    def _view(self, place: View) -> tuple[int, dict[str, int]]:
        strides = row_strides(place.buffer.shape)
        steps = index_strides(place.rows, strides)
        first = sum(row.const * stride for row, stride in zip(place.rows, strides, strict=True))
        return first + sum(s * self.extents[i][0] for i, s in steps.items()), steps

    def _part(self, place: Part) -> tuple[int, dict[str, int]]:
        moved = {i: (k, start, step) for i, k, start, step in place.moved}
        shape = [n if i in moved else self.length(i) for i, n in zip(place.indices, place.buffer.shape, strict=True)]
        first, steps = 0, dict[str, int]()
        for index, stride in zip(place.indices, row_strides(shape), strict=True):
            other, start, step = moved.get(index, (index, 0, 1))
            first += stride * (start + step * self.extents[other][0]) if index in moved else 0
            steps[other] = steps.get(other, 0) + step * stride
        return first, steps

    def node_of_place(self, place: Place) -> Node:
        """The elements of a place as they are in memory."""
        return self.nodes.element(self.access(place))

    # -- values ----------------------------------------------------------------------------------

    def node(self, value: Value, kind: str = "") -> Node:
        """A value, brought to a type where one is given."""
        found = self.typed(value)
        return self.cast(found, kind or found.dtype)

    def typed(self, value: Value) -> Typed:
        """A value."""
        known = self._known.get(id(value))
        if known is None:
            known = self._known[id(value)] = (value, self._typed(value))
        return known[1]

    def weak(self, number: int | float | bool) -> Typed:
        """A Python number."""
        kind = "bool" if isinstance(number, bool) else "int64" if isinstance(number, int) else "float64"
        return Typed(self.nodes.constant(number, kind), weak=True)

    def _typed(self, value: Value) -> Typed:
        match value:
            case Number(value=number, dtype=kind):
                least, most = (0, 1 << 64) if kind == "uint64" else (-(1 << 63), 1 << 63)
                whole = isinstance(number, int) and not isinstance(number, bool)
                return self.weak(float(number) if whole and not least <= number < most else number)
            case Count(over=over):
                return self.weak(prod(self.length(i) for i in over))
            case Reach(row=row, most=most):
                return self.weak(row.interval(self.extents)[most])
            case Position(index=index):
                lo = self.extents[index][0]
                if self.length(index) <= 1:
                    return Typed(self.nodes.constant(lo, "int64"))
                return Typed(self.nodes.position(index, lo))
            case Load(place=place, dtype=kind, at=at):
                return Typed(self.cast(Typed(self.nodes.element(self.access(place, at))), kind))
            case Reduced():
                return self._reduced(value)
            case Apply():
                return self._apply(value)

    def cast(self, x: Typed, kind: str) -> Node:
        """A node in a type."""
        node = x.node
        if kind not in IN_MEMORY or node.dtype not in IN_MEMORY:
            raise UnsupportedError(f"{node.dtype} as {kind}")
        if isinstance(node, Constant):
            if isinstance(node.value, Varying) and kind in ("int64", "float32", "float64"):
                return self.nodes.constant(node.value, kind)
            with np.errstate(all="ignore"):
                return self.nodes.constant(np.asarray(node.value).astype(kind).item(), kind)
        if node.dtype == kind:
            return node
        if kind == "bool":
            return self.nodes.call("ne", (node, self.nodes.constant(_zero(node.dtype), node.dtype)), "bool")
        if node.dtype == "int64" and kind.startswith("float"):
            node = narrow(self.nodes, node, self.length) or node
        return self.nodes.call("cast", (node,), kind)

    def truth(self, x: Typed) -> Node:
        """A value as a condition."""
        return self.cast(x, "bool")

    def _reduced(self, value: Reduced) -> Typed:
        inner = self.typed(value.value)
        op, over = value.op, tuple(i for i in value.over if i in value.value.indices)
        if not over:
            return inner
        kind = inner.dtype
        if op in ("any", "all") or (kind == "bool" and op in ("greatest", "least")):
            op, kind = {"greatest": "any", "least": "all"}.get(op, op), "bool"
        elif kind not in NUMBERS:
            raise UnsupportedError(f"{op} of {kind}")
        elif op in ("sum", "product") and not kind.startswith("float") and not kind.endswith("64"):
            kind = "uint64" if kind.startswith("uint") else "int64"
        if any(self.length(i) == 0 for i in over):
            return Typed(self.nodes.constant(unit(op, kind), kind))
        own = tuple(i for i in over if self.length(i) > 1)
        lacking = prod(self.length(i) for i in own if i not in inner.node.indices)
        node = self.cast(inner, kind)
        if lacking > 1 and op in ("sum", "product"):
            raise UnsupportedError("a sum over what a value lacks")
        limits = tuple(self.limits[i] for i in own if i in self.limits)
        if any(limit.index not in node.indices for limit in limits):
            raise UnsupportedError("a sum over what a value lacks")
        return Typed(self.nodes.fold(op, node, tuple(i for i in own if i in node.indices), kind, limits=limits))

    # -- functions -------------------------------------------------------------------------------

    def _apply(self, v: Apply) -> Typed:
        fn, kind = v.fn, v.dtype
        args = [self.typed(a) for a in v.args]
        if kind not in NUMBERS or any(a.dtype not in NUMBERS for a in args):
            raise UnsupportedError(f"{fn} of {kind}")
        if fn == "int" and args[0].dtype.startswith("float"):
            return Typed(self._known_call("int", [args[0].node], "int64"))
        if fn in ("int", "float", "cast") or (fn in ("floor", "ceil", "round") and kind in ("int64", "uint64")):
            return Typed(self.cast(args[0], "int64" if fn == "int" else kind))
        if fn == "isfinite":
            return Typed(self._finite(args[0]))
        if fn in ("and", "or", "not"):
            return Typed(self.nodes.call(fn, map(self.truth, args), "bool"))
        if all(a.weak for a in args) and (found := _number(fn, [a.number for a in args], kind)) is not None:
            return self.weak(found)
        if fn in COMPARISONS:
            return Typed(self.nodes.call(fn, self.alike(*args), "bool"))
        if fn in CHOOSING:
            return Typed(self._chosen(args, kind))
        if fn == "pow":
            return Typed(self._power(args, kind))
        if fn == "quarters":
            return Typed(self._known_call(fn, [self.cast(args[0], kind), args[1].node], kind))
        return Typed(self.called(fn, [self.cast(a, kind) for a in args], kind))

    def called(self, fn: str, args: Sequence[Node], kind: str) -> Node:
        """A function of arguments of its type."""
        if kind == "bool":
            fn = {"add": "or", "max": "or", "mul": "and", "min": "and"}.get(fn, fn)
            if fn not in ("or", "and", "not"):
                raise UnsupportedError(f"{fn} of conditions")
            return self.nodes.call(fn, args, kind)
        number = self.nodes.constant
        whole = not kind.startswith("float")
        match fn:
            case "square":
                return self.nodes.call("mul", (args[0], args[0]), kind)
            case "relu":
                return self.nodes.call("greatest", (args[0], number(_zero(kind), kind)), kind)
            case "rsqrt" if not whole:
                return self.nodes.call("div", (number(1.0, kind), self.nodes.call("sqrt", args, kind)), kind)
            case "floor" | "ceil" | "round" if whole:
                return args[0]
            case "abs" if kind.startswith("uint"):
                return args[0]
            case _ if fn in DIRECT:
                return self.nodes.call(DIRECT[fn], args, kind)
            case _:
                return self._known_call(fn, args, kind)

    def _known_call(self, fn: str, args: Sequence[Node], kind: str) -> Node:
        literals = [Literal(a.value, Type(a.dtype)) if isinstance(a, Constant) else "x" for a in args]
        if not functions.known(fn, Type(kind), literals):
            raise UnsupportedError(f"{fn} of {kind}")
        return self.nodes.call(fn, args, kind)

    def alike(self, a: Typed, b: Typed) -> tuple[Node, Node]:
        """Two nodes in the type in which they are compared."""
        if a.weak and not b.weak:
            kind = _met(b.dtype, a.number)
        elif b.weak and not a.weak:
            kind = _met(a.dtype, b.number)
        else:
            kind = str(np.result_type(a.dtype, b.dtype))
            if "uint64" in (a.dtype, b.dtype) and kind == "float64" and "float64" not in (a.dtype, b.dtype):
                raise UnsupportedError("integers of both signs compared")
        kind = "uint8" if kind == "bool" else kind
        first, second = self.cast(a, kind), self.cast(b, kind)
        if kind == "int64":
            left, right = (narrow(self.nodes, n, self.length) for n in (first, second))
            if left is not None and right is not None:
                return left, right
        return first, second

    def _chosen(self, args: Sequence[Typed], kind: str) -> Node:
        others = [self.cast(a, kind) for a in args[1:]] + [self.nodes.constant(_zero(kind), kind)]
        condition = self.truth(args[0])
        if isinstance(condition, Constant):
            return others[0] if condition.value else others[1]
        return self.nodes.call("select", (condition, others[0], others[1]), kind)

    def _power(self, args: Sequence[Typed], kind: str) -> Node:
        exponent = args[1].node if args[1].weak else self.cast(args[1], kind)
        return self._known_call("pow", [self.cast(args[0], kind), exponent], kind)

    def _finite(self, x: Typed) -> Node:
        if not x.dtype.startswith("float"):
            return self.nodes.constant(True, "bool")
        size = self.nodes.call("abs", (x.node,), x.dtype)
        return self.nodes.call("lt", (size, self.nodes.constant(float("inf"), x.dtype)), "bool")

    # -- operators -------------------------------------------------------------------------------

    def put(
        self,
        access: Access,
        op: str,
        found: Typed,
        extra: Sequence[str],
        moved: Moved = (),
        reach: tuple[int, int] = (0, 1),
    ) -> Node:
        """What an element of a place becomes; over `extra` indices values are brought together first."""
        kind = access.array.dtype
        if extra:
            if op not in ("+=", "-=", "*=", "max=", "min="):
                raise UnsupportedError(f"several values by {op}")
            fold = REDUCTIONS.get(op, "sum")
            fold = {"greatest": "any", "least": "all"}.get(fold, fold) if found.dtype == "bool" else fold
            found = Typed(self.nodes.fold(fold, found.node, tuple(extra), found.dtype))
        if op == "=":
            return self.cast(found, kind)
        fits = found.weak or _fits(found.dtype, kind)
        common = kind if found.weak or not fits else str(np.result_type(found.dtype, kind))
        if common not in NUMBERS:
            raise UnsupportedError(f"{op} of {common}")
        here = self.cast(Typed(self.nodes.element(access, moved, reach)), common)
        fn = {"+=": "add", "-=": "sub", "*=": "mul", "/=": "div", "max=": "max", "min=": "min"}[op]
        return self.cast(Typed(self.called(fn, [here, self.cast(found, common)], common)), kind)


def unit(op: str, kind: str) -> int | float | bool:
    """What a reduction leaves as it is."""
    if op in ("any", "all"):
        return op == "all"
    return identity({"sum": "=", "product": "*=", "greatest": "max=", "least": "min="}[op], kind)


def _zero(kind: str) -> int | float | bool:
    return False if kind == "bool" else 0.0 if kind.startswith("float") else 0


def _met(kind: str, number: int | float | bool) -> str:
    """The type in which a Python number meets an array's elements."""
    if isinstance(number, float):
        return kind if kind.startswith("float") else "float64"
    if kind == "bool" and not isinstance(number, bool):
        return "int64"
    if kind == "uint64" and number < 0:
        raise UnsupportedError("integers of both signs compared")
    return kind if kind in ("bool", "uint64") or kind.startswith("float") else "int64"


def _fits(given: str, kind: str) -> bool:
    """Whether NumPy combines a dtype into another one, exactly where both are integers."""
    if given != kind and "uint64" in (given, kind):
        return False
    return np.can_cast(np.result_type(given, kind), kind, "same_kind")


def _number(fn: str, numbers: Sequence[int | float | bool], kind: str) -> int | float | bool | None:
    """What a function gives for numbers alone; None where that is not known here."""
    try:
        if fn in PYTHON:
            return PYTHON[fn](*numbers)
        if fn in FOLDED and kind.startswith("float"):
            with np.errstate(all="ignore"):
                return float(FOLDED[fn](*map(np.float64, numbers)))
    except (OverflowError, ZeroDivisionError):
        return None
    return None
