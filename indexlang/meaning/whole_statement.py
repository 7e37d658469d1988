"""Statements about whole tensors, without any bracket.

In: a statement such as `y = relu(conv2d(x, K)) + x`. Out: statements with indices, calls of layers inlined. The one
rule: as far as ranks are known, axes are aligned at the end, an axis declared as 1 meets any other, and indices are
written; where nothing is known all tensors have one shape, `...`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ..errors import Span
from ..program.blocks import numbered
from ..program.functions import CONSTANTS
from ..program.ir import Access, Const, Dots, Expr, Index, Size, Subscript, reads_of, statement, walk
from ..program.rebuild import transform_expr
from ..size_limits import MOST_STATEMENTS
from ..syntax import tree
from .converter import BUILTIN, Converter, Given, constant
from .header import CompileTime, size_of
from .imports import Unit
from .inline import Names, Template, instantiate
from .known import Known
from .report import axes, count, nearest
from .where import steps_of

_LETTERS = "ijklmnpqrstuvw"


class Whole(Converter):
    """One statement, while its body is being resolved."""

    noun = "function or layer"
    in_block = False  # whether it may stand in a block

    def __init__(self, body: Known, stmt: tree.Statement) -> None:
        super().__init__(body.scope.report, body.scope.unit)
        self.body, self.scope, self.stmt = body, body.scope, stmt
        self.own = self.scope.layer or ""
        self.reads: dict[str, Span] = {}
        self.sizes: list[str] = []  # tensors that are asked for their size

    def run(self) -> None:
        """Add the statement to the body, unless it is broken, which is reported."""
        stmt = self.stmt
        if stmt.conditions:
            rule = "a statement without brackets is about whole tensors: it has no domain"
            way = "write indices, or empty brackets behind a scalar: s[] = ..."
            self.fail("whole", rule, stmt.conditions[0].span, way_out=way)
        names = [t.name for t in stmt.targets]
        if (path := self.scope.block_of(stmt)) and not self.in_block:
            index = (*steps_of(path, self.scope), "t")[0]
            rule = f"a statement in a block has the block's index in it, and this one has no '{index}'"
            way = f"move it out of the block, or write indices, or parts of tensors, {names[0]}[{index},...]"
            self.fail("block-index", rule, stmt.span, way_out=way)
            return
        called = self.layer_of(stmt.value)
        if called is not None and isinstance(stmt.value, tree.Call) and (len(names) > 1 or stmt.op == "="):
            self.call_layer(called, stmt.value, names)
        else:
            value = self.expr(stmt.value)
            if not self.broken and len(names) > 1:
                rule = "only the outputs of a layer have several targets"
                self.fail("targets", rule, stmt.targets[1].span, way_out="write a statement for each")
            if not self.broken:
                self.pointwise(names[0], stmt.op, value, stmt.targets[0].span, stmt.span)

    # -- names ---------------------------------------------------------------------------------

    def name(self, node: tree.Name, inside: bool) -> Expr:
        name, span, scope = node.name, node.span, self.scope
        if name in scope.options:
            return Given(scope.options[name].value, span)
        if name in scope.dims:
            if scope.is_tensor(name):
                rule = f"'{name}' is a dim and a tensor: without brackets it could be either"
                return self.fail("ambiguous-name", rule, span, way_out="rename one of them")
            return replace(scope.dims[name], span=span)
        if name in CONSTANTS:
            return constant(self, name, span, scope.is_tensor(name))
        return self.tensor(name, span)

    def tensor(self, name: str, span: Span) -> Access:
        if self.scope.undefined(name, span):
            self.broken = True
        self.reads.setdefault(name, span)
        self.scope.bare.setdefault(name, span)
        return Access(name, (), span)

    def access(self, node: tree.Subscripted) -> Expr:
        raise AssertionError("a statement about whole tensors has no brackets")

    def reduction(self, node: tree.Reduction) -> Expr:
        raise AssertionError("a statement about whole tensors has no brackets")

    def size(self, node: tree.Call) -> Expr:
        found = size_of(self, self.scope, node)
        if isinstance(found, Size):
            self.sizes.append(found.tensor)
        return found

    # -- values, element by element --------------------------------------------------------------

    def pointwise(self, target: str, op: str, value: Expr, place: Span, span: Span) -> None:
        """`target op value`, with the indices that the ranks tell."""
        scope = self.scope
        operands = list(dict.fromkeys(p.tensor for p in walk(value) if isinstance(p, Access)))
        tensors = [target, *operands]
        ranks = {t: r for t in tensors if (r := scope.rank(t)) is not None}
        if operands and not any(ranks.values()) and len([t for t in operands if t in ranks]) < len(operands):
            subscripts: dict[str, tuple[Subscript, ...]] = {t: () if ranks.get(t) == 0 else (Dots(),) for t in tensors}
            if target in ranks and target not in operands:
                subscripts[target] = (Dots(),)
        else:
            rank = max((ranks[t] for t in operands if t in ranks), default=0)
            if target in ranks and ranks[target] < rank:
                widest = next(t for t in operands if ranks.get(t) == rank)
                rule = f"'{target}' has {axes(ranks[target])}, and its value has {axes(rank)}, as '{widest}' has"
                way = "write indices to reduce over some of them"
                self.fail("rank", rule, place, way_out=way)
                return
            rank = max(rank, ranks.get(target, 0))
            for t in tensors:
                if t not in ranks:
                    scope.use(t, rank, self.reads.get(t, place))
                    ranks[t] = rank
            found = self.aligned(target, operands, ranks, rank, place)
            if found is None:
                return
            subscripts = found
        written = transform_expr(
            value, lambda p: _access(p.tensor, subscripts[p.tensor], p.span) if isinstance(p, Access) else None
        )
        self.body.statements.append(statement(_access(target, subscripts[target], place), op, written, span=span))

    def aligned(
        self, target: str, operands: list[str], ranks: Mapping[str, int], rank: int, place: Span
    ) -> dict[str, tuple[Subscript, ...]] | None:
        """The subscripts of each tensor; None where an axis of size 1 would take more."""
        body = self.body
        single: set[int] = set()  # axes of the result, counted from the end, that have size 1 for certain
        for axis in range(-rank, 0):
            having = [t for t in operands if ranks[t] >= -axis]
            if having and all(body.is_one(t, axis) for t in having):
                single.add(axis)
        known = target in body.shapes or target in self.scope.defined
        for axis in range(-rank, 0):
            if known and body.is_one(target, axis) and any(ranks[t] >= -axis for t in operands) and axis not in single:
                rule = f"axis {axis + rank} of '{target}' is declared as 1, and its value has more there"
                self.fail("rank", rule, place, way_out="write indices to reduce over it")
                return None
        letters = self.letters([target, *operands], rank)
        found: dict[str, tuple[Subscript, ...]] = {}
        for t in (target, *operands):
            subs: list[Subscript] = []
            for axis in range(-ranks[t], 0):
                wild = (
                    t != target
                    and body.is_one(t, axis)
                    and (axis not in single or (known and not body.is_one(target, axis)))
                )
                subs.append(Const(0) if wild else Index(letters[axis]))
            found[t] = tuple(subs)
        if target not in body.shapes and target not in self.scope.defined:
            body.known[target] = tuple(
                self.size_along(target, axis, found, operands, ranks) for axis in range(-rank, 0)
            )
        body.letters.setdefault(target, tuple(letters))
        return found

    def size_along(
        self,
        target: str,
        axis: int,
        found: Mapping[str, Sequence[Subscript]],
        operands: list[str],
        ranks: Mapping[str, int],
    ) -> Expr:
        """The size of an axis of the result, counted from the end: that of an operand which has it."""
        having = [t for t in operands if ranks[t] >= -axis and isinstance(found[t][axis], Index)]
        sizes = [self.body.size_of(t, ranks[t] + axis) for t in having]
        return next(
            (s for s in sizes if not isinstance(s, Size) or self.body.is_input(s.tensor)),
            [*sizes, Size(target, ranks[target] + axis)][0],
        )

    def letters(self, tensors: list[str], rank: int) -> list[str]:
        """An index for each axis: by the names of dims where these are letters, else i, j, k."""
        taken = self.names().solid()
        chosen: list[str | None] = []
        for axis in range(-rank, 0):
            wished = (self.body.letters[t] for t in tensors if t in self.body.letters)
            letters = (names[axis] for names in wished if len(names) >= -axis)
            free = (x for x in letters if x is not None and x not in taken and x not in chosen)
            chosen.append(next(free, None))
        rest = (x for x in (*_LETTERS, *(f"i{n}" for n in range(2, 100))) if x not in taken and x not in chosen)
        return [letter if letter is not None else next(rest) for letter in chosen]

    # -- layers --------------------------------------------------------------------------------

    def names(self) -> Names:
        """The names that what is put in must keep clear of."""
        return self.scope

    def layer_of(self, node: tree.Expr) -> tuple[Unit, tree.LayerDef] | None:
        """The layer that a call names."""
        if not isinstance(node, tree.Call) or (node.name == self.own and node.name in BUILTIN):
            return None
        return self.scope.unit.layer(node.name)

    def call(self, node: tree.Call, inside: bool) -> Expr:
        found = self.layer_of(node)
        if found is not None:
            names = self.call_layer(found, node, [None])
            return Access(names[0], (), node.span) if names else Const(1, node.span)
        return super().call(node, inside)

    def call_layer(
        self, found: tuple[Unit, tree.LayerDef], node: tree.Call, targets: Sequence[str | None]
    ) -> list[str]:
        """Inline a call; the names of the outputs that are taken, none if it is broken."""
        unit, header = found
        args = self.arguments(header, node)
        options = self.options(header, node)
        if len(targets) > len(header.outputs):
            outs = ", ".join(o.name for o in header.outputs)
            rule = f"'{header.name}' has {count(len(header.outputs), 'output')}, not {len(targets)}"
            more = self.stmt.targets[len(header.outputs)].span
            self.fail("targets", rule, more, f"outputs: {outs}", way_out="take what is beyond them out")
        elif len(targets) < len(header.outputs):
            self.fewer(header, node, targets)
        if self.broken or args is None or options is None:
            self.broken = True
            return []
        template = self.body.layers(unit, header, options, node.span)
        tensors = {t.name: self.argument(header, t, args[t.name], template) for t in header.inputs}
        if template is None or self.broken:
            self.broken = True
            return []
        outputs = self.outputs(template, targets)
        return [] if self.broken else self.instance(template, tensors, outputs, node.span)

    def fewer(self, header: tree.LayerDef, node: tree.Call, targets: Sequence[str | None]) -> None:
        """A call that leaves outputs of its layer unsaid: it takes the first ones, which is valid, and told."""
        outs = ", ".join(o.name for o in header.outputs)
        rest = ["_"] * (len(header.outputs) - len(targets))
        taken_are = "the first is" if len(targets) == 1 else f"the first {len(targets)} are"
        rule = f"'{header.name}' has {count(len(header.outputs), 'output')}, and {taken_are} taken"
        taken = [header.outputs[0].name if t is None else t for t in targets]
        way = f"write a target for each, and _ for one that is not needed: {', '.join([*taken, *rest])} = ..."
        self.report.doubt("outputs-left-out", rule, node.span, f"outputs: {outs}", way_out=way)

    def arguments(self, header: tree.LayerDef, node: tree.Call) -> dict[str, tree.Expr] | None:
        """What is handed over, by the names of the inputs; None if it does not fit."""
        inputs = [t.name for t in header.inputs]
        usage = f"defined as {_usage(header)}"
        if len(node.args) > len(inputs):
            way = "options are passed by name" if header.options else "take what is beyond them out"
            rule = f"'{header.name}' takes {count(len(inputs), 'tensor')}, not {len(node.args)}"
            self.fail("arguments", rule, node.args[len(inputs)].span, usage, way_out=way)
            return None
        given = dict(zip(inputs, node.args, strict=False))
        options = [o.name for o in header.options]
        seen: set[str] = set()
        for name, value in node.keywords:
            if name in given or name in seen:
                self.fail("arguments", f"'{name}' is given twice", value.span, way_out="give it once")
            elif name not in inputs and name not in options:
                rule = f"'{header.name}' has no input or option '{name}'"
                way = nearest(name, (*inputs, *options)) or "leave it out"
                self.fail("arguments", rule, value.span, usage, way_out=way)
            seen.add(name)
            if name in inputs:
                given[name] = value
        missing = [n for n in inputs if n not in given]
        if missing:
            names = ", ".join(missing)
            rule = f"'{header.name}' is missing {names}"
            self.fail(
                "arguments", rule, node.span, usage, way_out="pass a tensor for each input, in this order or by name"
            )
        return None if self.broken else given

    def options(self, header: tree.LayerDef, node: tree.Call) -> dict[str, float] | None:
        """The options of a call: numbers when the program is compiled."""
        names = {o.name for o in header.options}
        found: dict[str, float] = {}
        for name, value in node.keywords:
            if name in names:
                number = CompileTime(self.report, self.scope.unit, self.scope.options).value(value)
                if number is None:
                    self.broken = True
                    return None
                found[name] = number
        return found

    def argument(self, header: tree.LayerDef, wanted: tree.Header, node: tree.Expr, template: Template | None) -> str:
        """The tensor that stands for an input, computed first if it is an expression."""
        value = self.expr(node)
        if self.broken:
            return ""
        if isinstance(value, Access):
            name = value.tensor
        else:
            name = self.scope.fresh_tensor(f"{header.name}_{wanted.name.replace('.', '_')}")
            if template is not None and wanted.name in template.ranks and not self.has_ranks(value):
                self.scope.use(name, template.ranks[wanted.name], node.span)
            self.pointwise(name, "=", value, node.span, node.span)
            self.scope.defined.add(name)
        rank = None if template is None else template.ranks.get(wanted.name)
        known = self.scope.rank(name)
        if rank is not None and known is not None and rank != known:
            rule = f"'{header.name}' takes '{wanted.name}' with {axes(rank)}, '{name}' has {axes(known)}"
            self.broken = True
            others = ((f"{axes(rank)} here", wanted.span),)
            self.report.add("rank", rule, node.span, way_out=self.with_rank(name, rank), others=others)
        elif rank is not None:
            self.scope.use(name, rank, node.span)
        return name

    def with_rank(self, name: str, rank: int) -> str:
        """The way out where a tensor has another rank than a layer takes."""
        return f"pass a tensor with {axes(rank)}"

    def has_ranks(self, value: Expr) -> bool:
        """Whether the rank of any tensor in a value is known, or of none because there is none."""
        tensors = [p.tensor for p in walk(value) if isinstance(p, Access)]
        return not tensors or any(self.scope.rank(t) is not None for t in tensors)

    def outputs(self, template: Template, targets: Sequence[str | None]) -> list[Output]:
        """The outputs that are taken, and the names that the layer's own statements give them."""
        found = []
        for out, target in zip(template.header.outputs, targets, strict=False):
            if target == "_" and len(targets) > 1:
                continue
            if target is not None and self.fits(template, out.name, target):
                found.append(Output(out.name, target, target))
            else:
                name = self.scope.fresh_tensor(f"{template.header.name}_{out.name.replace('.', '_')}")
                found.append(Output(out.name, name, target or name))
        return found

    def fits(self, template: Template, out: str, target: str) -> bool:
        """Whether the layer's own statements may define a target, although the caller accumulates into it later."""
        others = self.body.operators.get(target, [])
        if len(others) == 1:
            return True
        inside = [s.op for s in template.program.statements if s.target.tensor == out]
        read = any(out in reads_of(s) for s in template.program.statements)
        return not read and len({op for op in (*inside, *others) if op != "="}) <= 1

    def instance(self, template: Template, tensors: dict[str, str], outputs: list[Output], span: Span) -> list[str]:
        """Put an instance of a layer into the body; the names of its outputs."""
        body, scope = self.body, self.scope
        for out in outputs:
            if out.name in tensors:  # what the layer accumulates into starts as a copy of what is handed over
                self.pointwise(out.inside, "=", Access(tensors[out.name], (), span), span, span)
        scope.taken.update(template.indices)
        names = {**tensors, **{out.name: out.inside for out in outputs}}
        taken = tuple(out.name for out in outputs)
        found = instantiate(template, names, taken, self.names(), body.size_of, span)
        body.statements += numbered(found.statements, scope.next_block(found.statements))
        if len(body.statements) > MOST_STATEMENTS:
            self.fail("too-large", f"the program becomes longer than {MOST_STATEMENTS} statements", span)
            return []
        body.take(found)
        for tensor, new in found.tensors.items():
            if tensor in template.ranks:
                scope.use(new, template.ranks[tensor], span)
            if tensor in template.letters:
                body.letters.setdefault(new, template.letters[tensor])
        for out in outputs:
            scope.defined.add(out.inside)
            if out.target != out.inside:
                self.pointwise(out.target, "=", Access(out.inside, (), span), span, span)
        return [out.target for out in outputs]


class Output(NamedTuple):
    """An output that is taken."""

    name: str  # in the layer
    inside: str  # in the statements that are put in
    target: str


def _usage(header: tree.LayerDef) -> str:
    inputs = ", ".join(t.name for t in header.inputs)
    options = ", ".join(o.name for o in header.options)
    return f"{header.name}({inputs}{'; ' if options else ''}{options})"


def _access(tensor: str, subscripts: Sequence[Subscript], span: Span | None) -> Access:
    """An access whose indices the text does not write: they stand where the tensor does."""
    return Access(tensor, tuple(replace(s, span=span) if isinstance(s, Index | Dots) else s for s in subscripts), span)
