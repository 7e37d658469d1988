"""A layer, or the bare statements of a file: from the tree to a Program.

In: statements and shape lines, a layer's header or none. Out: a `Program`. The one rule: statements are resolved in
order, each knowing what stands before it; what must hold between them is checked on what was written, not on what
layers became.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..errors import Span
from ..program.blocks import numbered
from ..program.interface import ANONYMOUS, default_interface
from ..program.ir import (
    Access,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
    parts_of,
    primal_of,
    reads_of,
    walk,
)
from ..size_limits import MOST_STATEMENTS
from ..syntax import tree
from ..syntax.other_notations import ATTRIBUTES, attribute_meant
from .capitals import check_capitals
from .converter import BUILTIN, tree_nodes
from .definitions import reads
from .dims import named
from .indexed_statement import resolve_indexed
from .known import Known
from .order import check_order
from .part_statement import Parts
from .report import nearest
from .scope import has_brackets, kept_targets
from .sums import check_sums
from .whole_statement import Whole


class Body(Known):
    """One body while it is being resolved."""

    # -- while statements are resolved -----------------------------------------------------------

    def run(self) -> None:
        """All statements."""
        summed: list[Statement] = []
        for stmt in self.scope.statements:
            nodes = tree_nodes(*stmt.targets, stmt.value, *stmt.conditions)
            if has_brackets(nodes) and not self.scope.takes_parts(stmt):
                resolved = resolve_indexed(self.scope, stmt)
                found: Mapping[str, Span] = {}
                if resolved is not None:
                    self.statements.append(resolved)
                    self.check_size(resolved)
                    found = reads(resolved, parts_of(resolved))
                    self.appearances.update(dict.fromkeys(default_interface((resolved,), self.shapes.values())[0]))
                    summed.append(resolved)
            else:
                whole = Parts(self, stmt) if has_brackets(nodes) else Whole(self, stmt)
                whole.run()
                found = whole.reads
                primals = (
                    p for t in stmt.targets if (p := primal_of(t.name)) is not None and t.name not in self.shapes
                )
                self.appearances.update(dict.fromkeys((*primals, *whole.reads, *whole.sizes)))
            for target in kept_targets(stmt):
                path = self.scope.block_of(stmt)
                self.definitions.statement(target.name, stmt.op, target.span, found, path[0] if path else None)
                self.scope.defined.add(target.name)
        names = {expr: name for name, expr in reversed(self.scope.dims.items())}
        conflicts = self.scope.conflicts
        sound = [s for s in summed if not conflicts or conflicts.isdisjoint((s.target.tensor, *reads_of(s)))]
        check_sums(self.report, sound, names)
        check_order(self.report, sound)
        check_capitals(self.report, sound)

    def check_size(self, stmt: Statement) -> None:
        """A program is no longer than what can be derived and planned."""
        if len(self.statements) == MOST_STATEMENTS + 1:
            rule = f"the program becomes longer than {MOST_STATEMENTS} statements"
            self.report.add("too-large", rule, stmt.span, way_out="compile its parts as programs of their own")

    # -- afterwards ------------------------------------------------------------------------------

    def program(self, outputs: Sequence[str] | None = None) -> Program:
        """The Program, after a last look at all statements together."""
        self.check_names()
        statements = numbered(self.statements)
        default = default_interface(statements, self.shapes.values())
        if self.header is not None:
            name, interface = self.header.name, (tuple(self.scope.inputs), tuple(self.scope.outputs))
            self.check_outputs()
        else:
            interface = self.interface(default)
            name = None
            self.check_inputs(interface[0])
        if outputs is not None:
            interface = (interface[0], self.chosen(outputs))
        if name is None and interface != default:
            name = ANONYMOUS
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
            outputs = tuple(
                t for t in self.scope.targets if t not in self.definitions.read or self.is_carried(t, default[1])
            )
        made = {*inputs, *(s.target.tensor for s in self.statements)}
        sizes = ((s.tensor, p) for s in self.shapes.values() for d in s.dims for p in walk(d) if isinstance(p, Size))
        others = dict.fromkeys(p.tensor for tensor, p in sizes if p.tensor not in (tensor, *made))
        return (*inputs, *others), outputs

    def is_carried(self, tensor: str, outputs: Collection[str]) -> bool:
        """Whether a block reads a tensor for its next steps alone."""
        return tensor in self.definitions.stepwise and tensor in outputs

    def chosen(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The outputs that were asked for."""
        known = tuple(self.scope.targets)
        for k, name in enumerate(outputs):
            if name not in known:
                listed = f"defined: {', '.join(known) or 'none'}"
                rule = f"'{name}' cannot be an output: no statement defines it"
                way = nearest(name, known) or "name tensors that a statement defines"
                self.report.add("undefined-output", rule, None, listed, way_out=way)
            elif name in outputs[:k]:
                rule = f"the output '{name}' is named twice"
                self.report.add("duplicate-name", rule, None, way_out="name it once")
        if not outputs:
            listed, way = f"defined: {', '.join(known)}", "name one, or leave outputs out"
            self.report.add("undefined-output", "a program has an output", None, listed, way_out=way)
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
        if self.report.problems:  # what a broken statement names is used
            nodes = (n for s in self.scope.statements for n in tree_nodes(*s.targets, s.value, *s.conditions))
            known.update(n.name for n in nodes if isinstance(n, tree.Name | tree.Subscripted))
        for shape in self.shapes.values():
            if shape.tensor not in known:
                rule = f"the shape of '{shape.tensor}' is declared, but no statement uses it"
                self.report.add(
                    "unused-shape", rule, shape.span, way_out=nearest(shape.tensor, known) or "drop the line"
                )

    def check_inputs(self, inputs: Sequence[str]) -> None:
        """Who writes `sum[j] * x[i,j]` did not mean to pass a tensor `sum` in."""
        if any(primal_of(name) is not None for name in inputs):
            return  # derived: its forward program has been told of
        for name in inputs:
            self.check_attribute(name)
            if name not in self.shapes and (name in tree.REDUCTIONS or name in BUILTIN):
                kind = "reduction" if name in tree.REDUCTIONS else "function"
                call = f"{name}[k](...)" if kind == "reduction" else f"{name}(...)"
                accesses = (p for s in self.statements for p in parts_of(s) if isinstance(p, Access))
                span = next((a.span for a in accesses if a.tensor == name and a.span), None)
                rule = f"'{name}' is read as a tensor that is passed in, and is the name of a {kind}"
                way = f"write {call}, or declare the tensor by a shape line, or give it another name"
                self.report.doubt("function-name", rule, span, way_out=way)

    def check_attribute(self, name: str) -> None:
        """Who writes `W.T[i,j]` or `x.shape[0]` did not mean to pass a tensor of this name in."""
        tensor, _, attribute = name.rpartition(".")
        if not tensor or attribute not in ATTRIBUTES or name in self.shapes or name in self.scope.inputs:
            return
        accesses = (p for s in self.statements for p in parts_of(s) if isinstance(p, Access) and p.tensor == name)
        access = next(accesses, None)
        written = [s.name if isinstance(s, Index) else "" for s in access.subscripts] if access is not None else []
        rule = f"'{name}' is read as a tensor of this name that is passed in: tensors have no attributes"
        way = attribute_meant(tensor, ",".join(written), attribute)
        way = f"{way}, or declare the tensor by a shape line"
        self.report.doubt("attribute", rule, None if access is None else access.span, way_out=way)

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
