"""Expressions as they were written into expressions of the Program.

In: an expression of the tree. Out: an `ir.Expr`. The one rule: what a name means is the only thing that differs
between a statement with indices, one about whole tensors, a function's body and a header's dims, so each of them is a
`Converter` with its own `name`; numbers, operators and calls are the same everywhere.

A part that is wrong is reported, stands as a number from then on, and marks its statement as broken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import Span
from ..program.functions import CONSTANTS, FUNCTIONS
from ..program.ir import Call, Const, Expr, Index, Size
from ..size_limits import DEEPEST, MOST_NODES
from ..syntax import tree
from ..syntax.other_notations import bracketed, symbol_with_index
from .elsewhere import instead, reduction
from .report import Report, count, imported, nearest_function

BOUNDARIES = ("pad", "clamp", "wrap", "reflect")
RESERVED = frozenset(("size", *BOUNDARIES, *CONSTANTS))
BUILTIN = frozenset(n for n, row in FUNCTIONS.items() if row.symbol is None or n == "pow")
BINARY = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "//": "floordiv",
    "%": "mod",
    "**": "pow",
    "and": "and",
    "or": "or",
}
COMPARE = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge", "==": "eq", "!=": "ne"}


class Given(Const):
    """The value of an option: unlike a number of the text, it may be folded away."""


@dataclass(frozen=True)
class Body:
    """A function's body, `Index(u)` standing for the parameter u; `uses` counts each parameter."""

    params: tuple[str, ...]
    expr: Expr
    nodes: int
    uses: Mapping[str, int]
    span: Span


class Definitions(ABC):
    """What the file of an expression defines and imports."""

    @abstractmethod
    def function(self, name: str) -> Body | None:
        """A function of the user; None if there is none, or if it is broken."""

    @abstractmethod
    def is_function(self, name: str) -> bool: ...

    @abstractmethod
    def is_layer(self, name: str) -> bool: ...

    @abstractmethod
    def is_broken(self, name: str) -> bool:
        """Whether a name is one that an import failed to give, which is reported."""

    @abstractmethod
    def callables(self) -> Iterator[str]:
        """The names of all functions and layers of the file."""


def constant(converter: Converter, name: str, span: Span, is_tensor: bool) -> Const:
    """A number that has a name: a tensor that has it, too, is told apart by its brackets."""
    if is_tensor:
        rule = f"'{name}' is a number and a tensor: without brackets it could be either"
        way = f"write {name}[...] for the tensor, or give it another name"
        return converter.fail("ambiguous-name", rule, span, way_out=way)
    return Const(CONSTANTS[name], span)


class Converter(ABC):
    """The conversion of one statement, body or header."""

    noun = "function"  # what a call may call
    own = ""  # the name of the function or layer that is being defined: inside, it is the language's function

    def __init__(self, report: Report, definitions: Definitions) -> None:
        self.report, self.definitions = report, definitions
        self.broken = False
        self.nodes = 0

    @abstractmethod
    def name(self, node: tree.Name, inside: bool) -> Expr:
        """What a bare name means; `inside` a subscript, it may be a position."""

    @abstractmethod
    def access(self, node: tree.Subscripted) -> Expr: ...

    @abstractmethod
    def reduction(self, node: tree.Reduction) -> Expr: ...

    @abstractmethod
    def size(self, node: tree.Call) -> Expr: ...

    def over(self, node: tree.Call) -> tuple[str, ...]:
        """The indices of a call's arguments that nothing around it has: a reduction there would be over these."""
        return ()

    def fail(self, code: str, rule: str, span: Span, *values: str, way_out: str | None = None) -> Const:
        """Report, and stand in."""
        self.broken = True
        self.report.add(code, rule, span, *values, way_out=way_out)
        return Const(1, span)

    def expr(self, node: tree.Expr, inside: bool = False) -> Expr:
        """An expression; `inside` a subscript, names are positions."""
        match node:
            case tree.Number(value, span):
                return Const(value, span)
            case tree.Name():
                return self.name(node, inside)
            case tree.Unary("+", operand):
                return self.expr(operand, inside)
            case tree.Unary("-", operand, span):
                return negative(self.expr(operand, inside), span)
            case tree.Unary(op, operand, span):
                return Call(op, (self.expr(operand, inside),), span)
            case tree.Binary(op, left, right, span):
                return Call(BINARY[op], (self.expr(left, inside), self.expr(right, inside)), span)
            case tree.Compare():
                return self.comparison(node, inside)
            case tree.Subscripted():
                return self.access(node)
            case tree.Reduction():
                return self.reduction(node)
            case tree.Call():
                return self.call(node, inside)

    def comparison(self, node: tree.Compare, inside: bool) -> Expr:
        """`a < b <= c` is `a < b and b <= c`."""
        parts = [self.expr(e, inside) for e in node.operands]
        result: Expr | None = None
        for op, a, b in zip(node.ops, parts, parts[1:], strict=False):
            pair: Expr = Call(COMPARE[op], (a, b), node.span)
            if op in ("==", "!=") and a == b == Const(0):  # how the printer writes True and False
                pair = Const(op == "==", node.span)
            result = pair if result is None else Call("and", (result, pair), node.span)
        assert result is not None
        return result

    # -- calls ---------------------------------------------------------------------------------

    def call(self, node: tree.Call, inside: bool) -> Expr:
        """A call of anything but a layer."""
        name, span = node.name, node.span
        if name == "size":
            return self.size(node)
        if name in BOUNDARIES:
            way = "name what is read in a statement of its own"
            return self.fail("boundary", f"{name}(...) stands directly in a subscript only", span, way_out=way)
        if self.definitions.is_broken(name):
            self.broken = True
            return Const(1, span)
        if name != self.own and self.definitions.is_function(name):
            return self.user_call(node, inside)
        if name in BUILTIN:
            if node.keywords:
                return self.named(node)
            arity = FUNCTIONS[name].arity
            if len(node.args) != arity:
                hint = f"write {name}({', '.join('abc'[:arity])})"
                if name in tree.REDUCTIONS:
                    over = self.over(node)
                    hint = reduction(name, node, over) + ("" if over else " to reduce over an index k")
                rule = f"'{name}' takes {count(arity, 'argument')}, not {len(node.args)}"
                return self.fail("arguments", rule, span, way_out=hint)
            inside = inside and name != "int"
            return Call(name, tuple(self.expr(a, inside) for a in node.args), span)
        return self.unknown(node)

    def named(self, node: tree.Call) -> Expr:
        """Refuse an argument by name."""
        name, value = node.keywords[0]
        rule = f"'{node.name}' takes no argument by name"
        return self.fail("arguments", rule, value.span, way_out=f"leave '{name}=' out")

    def unknown(self, node: tree.Call) -> Expr:
        """A call of nothing that can be called here."""
        name = node.name
        if self.definitions.is_layer(name):
            rule = f"'{name}' is a layer: it takes tensors, and no reduction, position or condition calls it"
            return self.fail("layer-call", rule, node.span, way_out=f"write h = {name}(...) as a statement of its own")
        if name in tree.REDUCTIONS:
            rule, way = f"'{name}' names the index that it runs over", reduction(name, node, self.over(node))
            return self.fail("unknown-function", rule, node.span, way_out=way)
        if (sign := symbol_with_index(name)) is not None:
            rule, way = f"'{name}' is no {self.noun}", f"write {sign[0]}[{sign[1]}](...)"
            return self.fail("unknown-function", rule, node.span, way_out=way)
        known = (*BUILTIN, *self.definitions.callables(), "size")
        rule = f"there is no {self.noun} '{name}'"
        ways = [way for way in (instead(node, self.over(node), BUILTIN), imported(name)) if way is not None]
        joined = "; or ".join([*ways[:1], *(way.removeprefix("write ") for way in ways[1:])])
        proposed = joined or nearest_function(name, known)
        line = node.span.source.line(node.span.line).partition("#")[0].strip()
        if proposed is None and self.own and line.startswith(f"{self.own}("):
            meant = bracketed(line, [n for n in known if n != self.own])
            proposed = f"subscripts stand in brackets: write {meant if len(meant) < 80 else 'y[i] = x[i]'}"
        return self.fail("unknown-function", rule, node.span, way_out=proposed)

    def user_call(self, node: tree.Call, inside: bool) -> Expr:
        """A function's body with the arguments in place of its parameters."""
        body = self.definitions.function(node.name)
        args = [self.expr(a, inside) for a in node.args]
        if body is None:
            self.broken = True
            return Const(1, node.span)
        if node.keywords:
            return self.named(node)
        if len(args) != len(body.params):
            rule = f"'{node.name}' takes {count(len(body.params), 'argument')}, not {len(args)}"
            values = f"defined as {node.name}({', '.join(body.params)})"
            way = f"pass {count(len(body.params), 'value')}"
            return self.fail("arguments", rule, node.span, values, way_out=way)
        self.nodes += body.nodes + sum(n * size_of(a) for n, a in zip(body.uses.values(), args, strict=True))
        if self.nodes > MOST_NODES:
            way = "name a part of it in a statement of its own"
            rule = f"the statement becomes larger than {MOST_NODES} numbers, names and operations"
            return self.fail("too-large", rule, node.span, way_out=way)
        result = substituted(body.expr, dict(zip(body.params, args, strict=True)), node.span)
        if depth_of(result) > DEEPEST:
            way = "name a part of it in a statement of its own"
            rule = f"the statement becomes nested deeper than {DEEPEST} levels"
            return self.fail("too-deep", rule, node.span, way_out=way)
        return result


def negative(expr: Expr, span: Span | None) -> Expr:
    """A negative number is a number: `-2` prints as it is read."""
    if isinstance(expr, Const) and not isinstance(expr.value, bool):
        return replace(expr, value=-expr.value, span=span)
    return Call("neg", (expr,), span)


def substituted(expr: Expr, values: Mapping[str, Expr], span: Span) -> Expr:
    """A function's body at its arguments; what it adds has the call's place."""
    match expr:
        case Index(name):
            return values[name]
        case Call(fn, args):
            parts = tuple(substituted(a, values, span) for a in args)
            return negative(parts[0], span) if fn == "neg" else Call(fn, parts, span)
        case Const(value):
            return Const(value, span)
        case _:
            raise AssertionError("a function's body has numbers, parameters and calls")


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The arguments of a call: all the nesting that a function's body has."""
    return expr.args if isinstance(expr, Call) else ()


def size_of(expr: Expr) -> int:
    """How many calls and leaves an expression has."""
    total, pending = 0, [expr]
    while pending:
        node = pending.pop()
        total += 1
        pending += parts(node)
    return total


def depth_of(expr: Expr) -> int:
    """How deep calls are nested."""
    depth, level = 0, [expr]
    while level:
        level, depth = [child for node in level for child in parts(node)], depth + 1
    return depth


def tree_children(node: tree.Subscript) -> tuple[tree.Subscript, ...]:
    """The direct parts of a node of the tree."""
    match node:
        case tree.Number() | tree.Name() | tree.Dots() | tree.All():
            return ()
        case tree.Merged(items):
            return items
        case tree.Subscripted(_, subscripts):
            return subscripts
        case tree.Unary(_, operand):
            return (operand,)
        case tree.Binary(_, left, right):
            return left, right
        case tree.Compare(_, operands):
            return operands
        case tree.Call(_, args, keywords):
            return (*args, *(value for _, value in keywords))
        case tree.Reduction(_, _, body):
            return (body,)


def tree_nodes(*roots: tree.Subscript) -> list[tree.Subscript]:
    """All nodes below the roots, level by level."""
    nodes, level = [*roots], [*roots]
    while level:
        level = [child for node in level for child in tree_children(node)]
        nodes += level
    return nodes


def literal_axis(node: tree.Expr) -> int | None:
    """The number of an axis, as it must be written."""
    match node:
        case tree.Number(value) if isinstance(value, int):
            return value
        case tree.Unary("-", tree.Number(value)) if isinstance(value, int):
            return -value
        case _:
            return None


def size_call(converter: Converter, node: tree.Call) -> tuple[tree.Name, int] | None:
    """The tensor and the axis of `size(x, 0)`; None if it is not written so."""
    if len(node.args) == 2 and not node.keywords and isinstance(node.args[0], tree.Name):
        axis = literal_axis(node.args[1])
        if axis is not None:
            return node.args[0], axis
    rule, way = "size takes a tensor's name and the number of an axis", "write size(x,0)"
    converter.fail("size", rule, node.span, way_out=way)
    return None


def is_static(expr: Expr) -> bool:
    """Whether an expression is free of indices and of tensors' values."""
    match expr:
        case Const() | Size():
            return True
        case Call(_, args):
            return all(map(is_static, args))
        case _:
            return False
