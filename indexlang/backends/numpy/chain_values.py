"""One operation of a chain as NumPy code: into memory that is there, or as an expression that makes an array.

In: a node whose arguments have code. Out: lines, or an expression. The one rule: code of an argument broadcasts over
the indices of the node, in the order of the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod

from ...plan.chains.values import Graph, Node
from ...program.ir import Const
from .function_support import SUPPORT
from .functions import FORMS
from .source import Operand, Scope, Writer, aligned, name_of, shape_code
from .values import Lowering, atom, emit, number_code

ROW = 4096  # elements of an array that holds one number
REDUCTIONS = {"sum": "np.add", "product": "np.multiply", "greatest": "np.maximum", "least": "np.minimum"}
_INTO = frozenset({"keep", "choose", "rsqrt", "square", "relu", "zero", "spread"})


def ufunc_of(node: Node) -> str | None:
    """The ufunc that is a node's operation."""
    return FORMS[node.fn].ufunc if node.fn in FORMS else "np.square" if node.fn == "square" else None


def fills(node: Node) -> bool:
    """Whether the operation of a node writes where it is told to."""
    return node.fn in _INTO or ufunc_of(node) is not None


class Operations:
    """The code of the nodes of a chain, in `scope`; products that are `absorbed` are made by the sums of them."""

    def __init__(self, low: Lowering, graph: Graph, absorbed: Collection[Node], scope: Scope) -> None:
        self.low, self.graph, self.absorbed, self.scope = low, graph, absorbed, scope
        self.writer: Writer = low.writer
        self.compute = graph.compute
        self.codes: dict[Node, Operand] = {}

    def argument(self, node: Node, axes: Sequence[str]) -> str:
        """Code of a node that broadcasts over the axes."""
        found = self.codes[node]
        return found.code if node.fn == "number" else aligned(found, axes)

    def number(self, node: Node) -> str:
        """A number of the source, or one that sizes say."""
        if isinstance(node.expr, Const):
            return number_code(node.expr.value)
        assert node.expr is not None
        value = emit(self.low, node.expr, (), {})
        if value.python:
            return atom(value.code)
        return self.writer.constant(f"{atom(value.code)}.astype(np.{self.compute})", "number")

    def named(self, found: Operand, indices: Sequence[str], hint: str) -> Operand:
        """An operand under a name, its axes in the order of the chain."""
        code = aligned(found, indices)
        if found.dtype != self.compute:
            code = f"{code}.astype(np.{self.compute})"
        if not code.isidentifier():
            name = self.writer.fresh(hint)
            self.writer.line(f"{name} = {code}")
            code = name
        return Operand(code, tuple(indices), self.compute)

    def part(self, node: Node) -> Operand:
        """A view of a value at one position of a window."""
        (value,) = node.args
        at = {i: k - self.graph.extents[i][0] for i, k in node.at}
        found = self.codes[value]
        name = self.writer.fresh("t")
        self.writer.line(f"{name} = {found.code}[{', '.join(str(at.get(i, ':')) for i in value.indices)}]")
        return Operand(name, node.indices, found.dtype)

    def other(self, node: Node, scope: Scope) -> Operand:
        """An expression in which the general rules are followed."""
        assert node.expr is not None
        value = emit(self.low, node.expr, node.indices, scope)
        code, dtype = value.code, "bool" if node.truth else self.compute
        if value.python:
            code = f"np.asarray({code})"
        if value.dtype != dtype or value.python:
            code = f"{atom(code)}.astype(np.{name_of(dtype)})"
        if set(value.indices) != set(node.indices):
            code = f"np.broadcast_to({code}, {shape_code(node.indices, scope)})"
        name = self.writer.fresh("t")
        self.writer.line(f"{name} = {code}")
        return Operand(name, node.indices, dtype)

    def into(self, node: Node, out: str) -> None:
        """The operation with its result in `out`, which may be the memory of an argument."""
        args = [self.argument(a, node.indices) for a in node.args] if node.fn != "spread" else []
        match node.fn:
            case "keep" | "choose":
                self.writer.line(f"{self.writer.use(node.fn)}({', '.join(args)}, {out})")
            case "zero":
                self.writer.line(f"{out}[...] = 0")
            case "spread":
                if self.codes[node.args[0]].code != out:
                    self.writer.line(f"np.copyto({out}, {self.codes[node.args[0]].code})")
                self.spread(node, out)
            case "relu":
                self.writer.line(f"np.maximum({args[0]}, {self.filled('0', node)}, out={out})")
            case "max" | "min" if node.args[1].fn == "number":
                self.writer.line(f"{ufunc_of(node)}({args[0]}, {self.filled(args[1], node)}, out={out})")
            case "max" | "min" if node.args[0].fn == "number":
                self.writer.line(f"{ufunc_of(node)}({self.filled(args[0], node)}, {args[1]}, out={out})")
            case "rsqrt":
                self.writer.line(f"np.sqrt({args[0]}, out={out})")
                self.writer.line(f"np.divide(1, {out}, out={out})")
            case _:
                self.writer.line(f"{ufunc_of(node)}({', '.join(args)}, out={out})")

    def spread(self, node: Node, out: str) -> None:
        """Values added to elements of an array, where they are to go."""
        _, value = node.args
        moves = {m.axis: m for m in node.moves}
        to, taken = [], []
        for axis in node.indices:
            m = moves.get(axis)
            step = f":{m.step}" if m is not None and m.step > 1 else ""
            to.append(":" if m is None else f"{m.start}:{m.start + m.step * (m.count - 1) + 1}{step}")
            present = m is not None and m.index in value.indices
            taken.append(f"{m.first}:{m.first + m.count}" if m is not None and present else ":")
        axes = [moves[i].index if i in moves else i for i in node.indices]
        code = self.argument(value, axes)
        shown = len(axes) - next((k for k, i in enumerate(axes) if i in value.indices), len(axes))
        taken = taken[len(axes) - shown :]
        if any(t != ":" for t in taken):
            code = f"{code}[{', '.join(taken)}]"
        self.writer.line(f"{out}[{', '.join(to)}] += {code}")

    def filled(self, code: str, node: Node) -> str:
        """The name of an array that holds one number: NumPy compares arrays several times as fast as with a number."""
        inner: list[int] = []
        for i in reversed(node.indices):
            if prod(inner) >= ROW or not str(self.scope[i].width).isdigit():
                break
            inner.insert(0, int(str(self.scope[i].width)))
        maker = f"np.full({tuple(inner)}, {code}, np.{self.compute})"
        return self.writer.constant(maker, "filled") if inner else code

    def sum(self, node: Node) -> str:
        """A sum, of products where its value is one: einsum makes no temporary, and runs along long rows."""
        (value,) = node.args
        factors = [value]
        if value in self.absorbed:
            factors = list(value.args) if value.fn == "mul" else [value.args[0]] * 2
        letters = dict(zip(self.graph.order, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))
        spelled = ["".join(letters[i] for i in n.indices) for n in (*factors, node)]
        codes = ", ".join(self.argument(f, f.indices) for f in factors)
        return f"np.einsum('{','.join(spelled[:-1])}->{spelled[-1]}', {codes})"

    def expression(self, node: Node) -> str:
        """The operation as an expression that makes an array."""
        if node.fn == "sum":
            return self.sum(node)
        if node.fn in REDUCTIONS:
            (value,) = node.args
            axes = tuple(value.indices.index(i) for i in node.over)
            along = axes if len(axes) > 1 else axes[0]
            return f"{REDUCTIONS[node.fn]}.reduce({self.argument(value, value.indices)}, {along})"
        args = [self.argument(a, node.indices) for a in node.args]
        match node.fn:
            case "keep" | "choose":
                first, second = args[1], args[2] if node.fn == "choose" else "0"
                if node.args[1].fn == "number":
                    first = f"np.{self.compute}({first})"
                if node.fn == "choose" and node.args[2].fn == "number":
                    second = f"np.{self.compute}({second})"
                return f"np.where({args[0]}, {first}, {second})"
            case "quarters":
                self.writer.support.add("_quarters")
                return f"_quarters({', '.join(args)})"
            case "finite":
                return f"np.where(np.isfinite({args[0]}), {args[0]}, 0)"
            case "square":
                return f"np.square({args[0]})"
            case "zero":
                return f"np.zeros({shape_code(node.indices, self.scope)}, np.{self.compute})"
            case _:
                template = FORMS[node.fn].numpy
                self.writer.support.update(name for name in SUPPORT if f"{name}(" in template)
                return template.format(*args)
