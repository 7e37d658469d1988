"""A layer, or the bare statements of a file: from the tree to a Program.

In: statements and shape lines, a layer's header or none. Out: a `Program`. The one rule: statements are resolved in
order, each knowing what stands before it; what must hold between them is checked on what was written, not on what
layers became.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..errors import Span
from ..program.interface import default_interface
from ..program.ir import (
    Const,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    parts_of,
    primal_of,
    reads_of,
    walk,
)
from ..syntax import tree
from .converter import tree_nodes
from .definitions import Definitions, check_scope, reads
from .dims import named
from .header import Number, declare
from .imports import Unit
from .indexed_statement import resolve_indexed
from .inline import Instance, Letters, Template
from .report import Report, nearest
from .scope import Scope, has_brackets, kept_targets
from .whole_statement import Whole

Layers = Callable[[Unit, tree.LayerDef, Mapping[str, Number], Span], Template | None]


class Body:
    """One body while it is being resolved."""

    def __init__(
        self,
        report: Report,
        unit: Unit,
        layers: Layers,
        items: Sequence[tree.ShapeDecl | tree.Statement],
        header: tree.LayerDef | None = None,
        options: Mapping[str, Number] | None = None,
    ) -> None:
        self.report, self.layers, self.header = report, layers, header
        self.scope = Scope(report, unit, None if header is None else header.name)
        written = [s for s in items if isinstance(s, tree.Statement)]
        lines = [s for s in items if isinstance(s, tree.ShapeDecl)]
        self.operators: dict[str, list[str]] = {}  # of the statements written for each tensor
        for stmt in written:
            for target in kept_targets(stmt):
                self.operators.setdefault(target.name, []).append(stmt.op)
        self.scope.scan_shapes(header, lines)
        self.scope.scan(written)
        self.shapes = {s.tensor: s for s in declare(self.scope, header, options or {}, lines)}
        self.scan_calls()
        self.statements: list[Statement] = []
        self.definitions = Definitions(report, self.scope.inputs)
        self.appearances: dict[str, None] = {}  # tensors in the order in which the text shows them
        self.wishes: dict[Expr, str] = {}  # names for sizes that inlined layers have names for
        self.letters: dict[str, Letters] = {}
        self.known: dict[str, tuple[Expr, ...]] = {}  # shapes that are not declared, but follow
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
                    if wanted.dims is not None and isinstance(arg, tree.Name) and self.scope.is_free(arg.name):
                        self.scope.ranks.setdefault(arg.name, (len(wanted.dims), arg.span))

    # -- while statements are resolved -----------------------------------------------------------

    def run(self) -> None:
        """All statements."""
        summed: list[Statement] = []
        for stmt in self.scope.statements:
            nodes = tree_nodes(*stmt.targets, stmt.value, *stmt.conditions)
            if has_brackets(nodes):
                resolved = resolve_indexed(self.scope, stmt)
                found: Mapping[str, Span] = {}
                if resolved is not None:
                    self.statements.append(resolved)
                    found = reads(resolved, parts_of(resolved))
                    self.appearances.update(dict.fromkeys(default_interface((resolved,), self.shapes.values())[0]))
                    summed.append(resolved)
            else:
                whole = Whole(self, stmt)
                whole.run()
                found = whole.reads
                primals = (
                    p for t in stmt.targets if (p := primal_of(t.name)) is not None and t.name not in self.shapes
                )
                self.appearances.update(dict.fromkeys((*primals, *whole.reads, *whole.sizes)))
            for target in kept_targets(stmt):
                self.definitions.statement(target.name, stmt.op, target.span, found)
                self.scope.defined.add(target.name)
        names = {expr: name for name, expr in reversed(self.scope.dims.items())}
        for resolved in summed:
            if not self.scope.conflicts or self.scope.conflicts.isdisjoint(
                (resolved.target.tensor, *reads_of(resolved))
            ):
                check_scope(self.report, resolved, names)

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

    # -- afterwards ------------------------------------------------------------------------------

    def program(self, outputs: Sequence[str] | None = None) -> Program:
        """The Program, after a last look at all statements together."""
        self.check_names()
        statements = tuple(self.statements)
        default = default_interface(statements, self.shapes.values())
        if self.header is not None:
            name, interface = self.header.name, (tuple(self.scope.inputs), tuple(self.scope.outputs))
            self.check_outputs()
        else:
            interface = self.interface(default)
            name = None
        if outputs is not None:
            interface = (interface[0], self.chosen(outputs))
        if name is None and interface != default:
            name = "program"
        shapes = tuple(self.shapes.values())
        if name is not None:
            place = {t: k for k, t in enumerate(dict.fromkeys((*interface[0], *interface[1])))}
            shapes = tuple(sorted(shapes, key=lambda s: place.get(s.tensor, len(place))))
        program = Program(*interface, statements, shapes, tuple(self.scope.dims.items()), name)
        self.check_shapes(program)
        if self.inlined or (self.header is None and name is not None):
            wishes = {**self.wishes, **{e: n for n, e in reversed(self.scope.dims.items())}}
            program = named(program, wishes)
        return program

    def interface(self, default: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Inputs and outputs of bare statements, as the text shows them: what layers add is neither."""
        inputs, outputs = default
        if self.inlined:
            shown = (t for t in self.appearances if t in inputs)
            inputs = tuple(dict.fromkeys((*shown, *inputs)))
            outputs = tuple(t for t in self.scope.targets if t not in self.definitions.read)
        made = {*inputs, *(s.target.tensor for s in self.statements)}
        sizes = ((s.tensor, p) for s in self.shapes.values() for d in s.dims for p in walk(d) if isinstance(p, Size))
        others = dict.fromkeys(p.tensor for tensor, p in sizes if p.tensor not in (tensor, *made))
        return (*inputs, *others), outputs

    def chosen(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The outputs that were asked for."""
        known = tuple(self.scope.targets)
        for k, name in enumerate(outputs):
            if name not in known:
                listed = f"defined: {', '.join(known) or 'none'}"
                rule = f"'{name}' cannot be an output: no statement defines it"
                self.report.add("undefined-output", rule, None, listed, way_out=nearest(name, known))
            elif name in outputs[:k]:
                self.report.add("duplicate-name", f"the output '{name}' is named twice", None)
        if not outputs:
            self.report.add("undefined-output", "a program has an output", None, f"defined: {', '.join(known)}")
        return tuple(outputs)

    def check_outputs(self) -> None:
        for name, span in self.scope.outputs.items():
            if name not in self.scope.targets:
                rule = f"no statement defines the output '{name}' of '{self.scope.layer}'"
                way = nearest(name, self.scope.targets) or f"write {name}[...] = ..."
                self.report.add("undefined-output", rule, span, way_out=way)

    def check_shapes(self, program: Program) -> None:
        """A shape is declared of a tensor that there is."""
        known = {*program.inputs, *program.outputs, *(s.target.tensor for s in program.statements), *self.scope.targets}
        for shape in self.shapes.values():
            if shape.tensor not in known:
                rule = f"the shape of '{shape.tensor}' is declared, but no statement uses it"
                self.report.add(
                    "unused-shape", rule, shape.span, way_out=nearest(shape.tensor, known) or "drop the line"
                )

    def check_names(self) -> None:
        """No index is called like a tensor that stands without brackets."""
        made = {*self.scope.targets, *self.scope.inputs, *self.scope.tensors, *self.scope.bare}
        indices: dict[str, Span | None] = {}
        for stmt in self.statements:
            for part in parts_of(stmt):
                match part:
                    case Index(name):
                        indices.setdefault(name, part.span)
                    case Merged(names):
                        indices.update({n: part.span for n in names if n not in indices})
                    case Reduce(domain=domain):
                        indices.update({n: part.span for n in domain.indices if n not in indices})
                    case _:
                        pass
        for name, span in indices.items():
            if name in made:
                self.check_index(name, span)

    def check_index(self, name: str, span: Span | None) -> None:
        scope = self.scope
        if scope.has_axes(name):
            return  # with its brackets, the tensor is told apart
        place = scope.bare.get(name) or scope.targets.get(name) or scope.inputs.get(name)
        others = () if place is None else (("a tensor here", place),)
        rule = f"'{name}' is an index here, and elsewhere a tensor without brackets"
        self.report.add("ambiguous-name", rule, span, way_out="rename one of them", others=others)


def _letter(dim: tree.Expr) -> str | None:
    """The index that a dim suggests: n for N."""
    if isinstance(dim, tree.Name) and len(dim.name) == 1 and dim.name.lower().isidentifier():
        return dim.name.lower()
    return None
