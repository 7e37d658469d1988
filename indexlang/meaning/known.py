"""What is known of a body while its statements are resolved: shapes, definitions, what inlined layers brought.

In: a body's items, its header. Out: answers to questions about its tensors. The one rule: nothing here resolves a
statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..errors import Span
from ..program.ir import Const, Expr, Shape, Size, Statement
from ..syntax import tree
from .converter import tree_nodes
from .definitions import Definitions
from .header import Number, declare
from .imports import Unit
from .inline import Instance, Letters, Template
from .parts import Part
from .report import Report
from .scope import Scope, kept_targets

Layers = Callable[[Unit, tree.LayerDef, Mapping[str, Number], Span], Template | None]


class Known:
    """What is known of one body."""

    def __init__(
        self,
        report: Report,
        unit: Unit,
        layers: Layers,
        items: Sequence[tree.ShapeDecl | tree.Statement | tree.For],
        header: tree.LayerDef | None = None,
        options: Mapping[str, Number] | None = None,
    ) -> None:
        self.report, self.layers, self.header = report, layers, header
        self.scope = Scope(report, unit, None if header is None else header.name)
        stepwise = list(tree.within(items))
        written = [s for s, _ in stepwise]
        lines = [s for s in items if isinstance(s, tree.ShapeDecl)]
        self.operators: dict[str, list[str]] = {}  # of the statements written for each tensor
        for stmt in written:
            for target in kept_targets(stmt):
                self.operators.setdefault(target.name, []).append(stmt.op)
        self.scope.scan_shapes(header, lines)
        self.scope.scan(written)
        self.scope.take_blocks(stepwise)
        self.shapes = {s.tensor: s for s in declare(self.scope, header, options or {}, lines)}
        self.scan_calls()
        self.statements: list[Statement] = []
        self.definitions = Definitions(
            report, self.scope.inputs, frozenset(t.name for s, b in stepwise if b for t in s.targets)
        )
        self.appearances: dict[str, None] = {}  # tensors in the order in which the text shows them
        self.wishes: dict[Expr, str] = {}  # names for sizes that inlined layers have names for
        self.letters: dict[str, Letters] = {}
        self.known: dict[str, tuple[Expr, ...]] = {}  # shapes that are not declared, but follow
        self.parts: Mapping[str, Part] = {}  # of the statement that is being resolved, by their texts
        self.inlined = False
        for t in (*(header.inputs + header.outputs if header else ()), *(t for line in lines for t in line.tensors)):
            if t.dims is not None:
                self.letters.setdefault(t.name, tuple(map(_letter, t.dims)))

    def scan_calls(self) -> None:
        """Note the ranks that the headers of called layers tell, so that earlier statements know them."""
        for stmt in self.scope.statements:
            nodes = tree_nodes(stmt.value)
            for node in nodes:
                found = self.scope.unit.layer(node.name) if isinstance(node, tree.Call) else None
                if found is None or not isinstance(node, tree.Call):
                    continue
                header = found[1]
                given = [*zip(header.inputs, node.args, strict=False)]
                given += [(t, value) for name, value in node.keywords for t in header.inputs if t.name == name]
                if node is stmt.value and stmt.op == "=":
                    given += zip(header.outputs, stmt.targets, strict=False)
                for wanted, arg in given:
                    if wanted.dims is None or not isinstance(arg, tree.Name | tree.Subscripted):
                        continue
                    fixed = fixed_axes(arg)
                    if fixed is not None and self.scope.is_free(arg.name):
                        self.scope.ranks.setdefault(arg.name, (len(wanted.dims) + fixed, arg.span))

    def take(self, instance: Instance) -> None:
        """What an inlined layer declares."""
        self.inlined = True
        for shape in instance.shapes:
            self.declare(shape)
        for shape in instance.checks:
            if self.is_input(shape.tensor):
                self.shapes.setdefault(shape.tensor, shape)
        named = set(self.scope.dims.values())
        for name, expr in instance.dims:
            if isinstance(expr, Size) and expr not in self.wishes and expr not in named:
                self.wishes[expr] = self.scope.fresh(name)
                self.scope.solid().add(self.wishes[expr])

    def declare(self, shape: Shape) -> None:
        """The shape of a computed tensor; axes that the caller left open are filled in."""
        own = self.shapes.get(shape.tensor)
        if own is not None and len(own.dims) == len(shape.dims):
            dims = tuple(
                b if a == Size(own.tensor, k) else a for k, (a, b) in enumerate(zip(own.dims, shape.dims, strict=True))
            )
            shape = replace(own, dims=dims)
        elif own is not None:
            return
        self.shapes[shape.tensor] = shape

    def is_input(self, tensor: str) -> bool:
        """Whether the caller of the program passes a tensor in."""
        tensor = self.parts[tensor].tensor if tensor in self.parts else tensor
        if self.header is not None:
            return tensor in self.scope.inputs
        return tensor not in self.scope.targets and tensor not in self.scope.defined

    def is_one(self, tensor: str, axis: int) -> bool:
        """Whether an axis, counted from the end, has size 1 for certain."""
        rank = self.scope.rank(tensor)
        return rank is not None and rank >= -axis and self.size_of(tensor, rank + axis) == Const(1)

    def size_of(self, tensor: str, axis: int) -> Expr:
        """The size of an axis, in terms of other tensors' sizes where it is known to be one of them."""
        shape = self.shapes.get(tensor)
        dims = self.known.get(tensor, ()) if shape is None else shape.dims
        return dims[axis] if 0 <= axis < len(dims) else Size(tensor, axis)


def fixed_axes(arg: tree.Target) -> int | None:
    """How many axes of a tensor a part of it leaves out whose others are `...`; None where : stands for each."""
    if isinstance(arg, tree.Name):
        return 0
    return len(arg.subscripts) - 1 if sum(isinstance(s, tree.Dots) for s in arg.subscripts) == 1 else None


def _letter(dim: tree.Expr) -> str | None:
    """The index that a dim suggests: n for N."""
    if isinstance(dim, tree.Name) and len(dim.name) == 1 and dim.name.lower().isidentifier():
        return dim.name.lower()
    return None
