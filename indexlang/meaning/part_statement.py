"""A call of layers that takes and gives parts: `h[t+1,...] = cell(x[t,...], h[t,...], W)`.

In: a statement with brackets whose value calls a layer. Out: the statements of its layers, over whole tensors, in the
block that the call stands in. The one rule: it is resolved as a statement about whole tensors whose names are the
texts of the parts, and then the parts are put in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import Span
from ..program.ir import (
    Access,
    Block,
    Boundary,
    Dots,
    Expr,
    Index,
    Range,
    Shape,
    Size,
    Statement,
    Subscript,
    accesses_of,
    blocks_of,
    indices_of,
    walk,
)
from ..program.names import is_plain
from ..syntax import tree
from .indexed_statement import Indexed
from .inline import Avoiding, Names, Template
from .known import Known
from .parts import Lifting, Part, carried, ending, ends, says
from .report import axes
from .scope import kept_targets, values_in
from .where import misplaced
from .whole_statement import Output, Whole


class Parts(Whole):
    """One statement. Its parts are known by their texts while the layers are inlined."""

    in_block = True

    def __init__(self, body: Known, stmt: tree.Statement) -> None:
        super().__init__(body, stmt)
        self.indexed = Indexed(self.scope, stmt)
        self.parts: dict[str, Part] = {}
        self.spans: dict[str, Span] = {}
        self.dots: list[str] = []
        self.avoiding = Avoiding(self.scope, frozenset())

    def run(self) -> None:
        """Add the statements to the body, unless something is broken, which is reported."""
        written, body, scope = self.stmt, self.body, self.scope
        self.indexed.find_indices()
        self.avoiding = Avoiding(scope, self.indexed.free.keys())
        block = self.indexed.block()
        value = self.by_names(written.value)
        targets = tuple(tree.Name(self.name_of(t), t.span) for t in written.targets)
        ranges, masks = self.conditions()
        if self.broken or self.indexed.broken:
            self.forget()
            return
        self.stmt = replace(written, targets=targets, value=value, conditions=())
        first, shapes = len(body.statements), dict(body.shapes)
        body.parts = self.parts
        super().run()
        made = body.statements[first:]
        del body.statements[first:]
        if not self.broken:
            self.lift(made, ranges, masks, block)
        if self.broken:
            body.shapes = shapes
        body.parts = {}
        self.forget()
        self.reads = {t: span for name, span in self.reads.items() for t in [self.tensor_of(name)]}
        for part in self.parts.values():
            for access in (p for s in part.fixed for p in walk(s) if isinstance(p, Access)):
                self.reads.setdefault(access.tensor, access.span or written.span)
        self.sizes = [self.tensor_of(name) for name in self.sizes]

    def tensor_of(self, name: str) -> str:
        return self.parts[name].tensor if name in self.parts else name

    def forget(self) -> None:
        """Parts have their names in this statement alone."""
        scope, body = self.scope, self.body
        for name in self.parts:
            for known in (scope.ranks, scope.least, scope.bare, body.known, body.letters, body.shapes):
                known.pop(name, None)
            scope.defined.discard(name)

    # -- the parts as names --------------------------------------------------------------------

    def by_names(self, node: tree.Expr) -> tree.Expr:
        """The value with names in place of its parts."""
        match node:
            case tree.Subscripted():
                return tree.Name(self.name_of(node), node.span)
            case tree.Unary(op, operand, span):
                return tree.Unary(op, self.by_names(operand), span)
            case tree.Binary(op, left, right, span):
                return tree.Binary(op, self.by_names(left), self.by_names(right), span)
            case tree.Compare(ops, operands, span):
                return tree.Compare(ops, tuple(map(self.by_names, operands)), span)
            case tree.Call(name, args, keywords, span) if name != "size":
                given = tuple((n, self.by_names(v)) for n, v in keywords)
                return tree.Call(name, tuple(map(self.by_names, args)), given, span)
            case tree.Reduction(op, span=span):
                rule = f"a statement that calls a layer has no {op}[...]: a layer takes tensors and parts of them"
                self.fail("layer-call", rule, span, way_out="compute it in a statement of its own")
                return tree.Number(1, span)
            case _:
                return node

    def name_of(self, node: tree.Target) -> str:
        """The name under which a part is known while layers are inlined: its text."""
        if isinstance(node, tree.Name):
            return node.name
        name = " ".join(node.span.text.split())
        if name not in self.parts:
            part = self.part(node)
            self.parts[name], self.spans[name] = part, node.span
            self.know(name, part, node.span)
        return name

    def part(self, node: tree.Subscripted) -> Part:
        dots = [s for s in node.subscripts if isinstance(s, tree.Dots)]
        colons = [s for s in node.subscripts if isinstance(s, tree.All)]
        if len(dots) > 1:
            rule = "'...' stands once among the subscripts of a tensor"
            self.fail("ellipsis", rule, dots[1].span, way_out="write : for each axis that is taken whole")
        elif dots and colons:
            rule = "a part has either : for each axis that it takes whole, or ... for all of them"
            self.fail("whole-axis", rule, colons[0].span, way_out="write : for each axis, without ...")
        subscripts = tuple(
            None if isinstance(s, tree.All) else Dots(s.span) if isinstance(s, tree.Dots) else self.indexed.subscript(s)
            for s in node.subscripts
        )
        return Part(node.name, subscripts)

    def know(self, name: str, part: Part, span: Span) -> None:
        """What is known of a tensor is known of its part."""
        scope, body = self.scope, self.body
        rank = scope.rank(part.tensor)
        whole = part.whole if part.whole is not None else None if rank is None else rank - len(part.fixed)
        if whole is None or whole < 0:  # of too few axes, the tensor has been complained about
            return
        scope.ranks[name] = whole, span
        body.known[name] = tuple(body.size_of(part.tensor, part.axis(k)) for k in range(whole))
        if part.tensor in body.shapes:
            body.shapes[name] = Shape(name, body.known[name])
        if len(letters := body.letters.get(part.tensor, ())) == whole + len(part.fixed):
            body.letters[name] = tuple(letters[part.axis(k)] for k in range(whole))

    def conditions(self) -> tuple[dict[str, Range], list[Expr]]:
        """What stands behind `where`, about the indices of the parts."""
        indexed = self.indexed
        ranges: dict[str, Range] = {}
        masks: list[Expr] = []
        known = {i for part in self.parts.values() for i in part.indices}
        for condition in indexed.conditions:
            others = [n for n in condition.names if n in indexed.free and n not in known]
            if others:
                rule = f"a condition of a layer's call is about the indices of its parts, and '{others[0]}' is none"
                way = "put the condition into the layer, or into a statement of its own"
                self.fail("condition", rule, condition.span, way_out=way)
            else:
                indexed.add_condition(condition, indexed.not_steps(), ranges, masks)
        return ranges, masks

    # -- as a statement about whole tensors ------------------------------------------------------

    def name(self, node: tree.Name, inside: bool) -> Expr:
        if node.name in self.indexed.free and node.name not in self.parts:
            return Index(node.name, node.span)
        return super().name(node, inside)

    def tensor(self, name: str, span: Span) -> Access:
        if name not in self.parts:
            return super().tensor(name, span)
        if self.scope.undefined(self.parts[name].tensor, span):
            self.broken = True
        self.reads.setdefault(name, span)
        return Access(name, (), span)

    def names(self) -> Names:
        return self.avoiding

    def argument(self, header: tree.LayerDef, wanted: tree.Header, node: tree.Expr, template: Template | None) -> str:
        if isinstance(node, tree.Name) and node.name in self.indexed.free and node.name not in self.parts:
            rule = f"'{node.name}' is an index of the parts, and '{wanted.name}' of '{header.name}' is a tensor"
            others = (("the index", self.indexed.free[node.name]),)
            self.broken = True
            self.report.add("ambiguous-name", rule, node.span, way_out="rename one of them", others=others)
            return ""
        name = super().argument(header, wanted, node, template)
        padded = any(map(_is_pad, self.parts[name].fixed)) if name in self.parts else False
        if padded and template is not None and template.pads:  # where both are out of range, the layer's padding says
            copy = self.scope.fresh_tensor(f"{header.name}_{wanted.name.replace('.', '_')}")
            self.pointwise(copy, "=", Access(name, (), node.span), node.span, node.span)
            self.scope.defined.add(copy)
            return copy
        return name

    def with_rank(self, name: str, rank: int) -> str:
        if name not in self.parts:
            return super().with_rank(name, rank)
        return (
            f"pass {self.parts[name].tensor} whole, or a part with {axes(rank)}: write : for each axis, or ... for all"
        )

    def outputs(self, template: Template, targets: Sequence[str | None]) -> list[Output]:
        for out, target in zip(template.header.outputs, targets, strict=False):
            rank, known = template.ranks.get(out.name), self.scope.rank(target or "")
            if target in self.parts and None not in (rank, known) and rank != known:
                assert target is not None and rank is not None and known is not None
                rule = f"'{template.header.name}' gives '{out.name}' with {axes(rank)}, '{target}' has {axes(known)}"
                way = f"write : for each axis that is taken whole, or ... for all: {self.parts[target].tensor}[...]"
                others = ((f"{axes(rank)} here", out.span),)
                self.broken = True
                self.report.add("rank", rule, self.spans[target], way_out=way, others=others)
                return []
        return super().outputs(template, targets)

    def fits(self, template: Template, out: str, target: str) -> bool:
        part = self.parts.get(target)
        inputs = {i for name in self.given() for i in self.parts[name].indices}
        if part is None or not part.tells_apart([i for i in self.indexed.free if i in inputs]):
            return False
        others = self.body.operators.get(part.tensor, [])
        inside = [s.op for s in template.program.statements if s.target.tensor == out]
        if not {"=", "+="}.issuperset(inside) and (self.indexed.conditions or not is_plain(Access("", part.fixed))):
            return False  # where there is no point of the call, the element is 0
        if len(others) == 1:
            return True
        read = any(a.tensor == out for s in template.program.statements for a in accesses_of(s) if a is not s.target)
        after = {op for op in others if op != "="}
        return not (read and after) and len({*after, *(op for op in inside if op != "=")}) <= 1

    def given(self) -> list[str]:
        """The parts that the call takes."""
        return [n.name for n in values_in(self.stmt.value) if isinstance(n, tree.Name) and n.name in self.parts]

    # -- as statements over the tensors ----------------------------------------------------------

    def lift(self, made: list[Statement], ranges: dict[str, Range], masks: list[Expr], block: Block | None) -> None:
        """Put the parts in, and the statements into the body."""
        body, scope = self.body, self.scope
        steps = () if block is None else tuple(i for b in block.path for i in b.indices)
        order = (*steps, *(i for i in self.indexed.free if i not in steps))
        front = self.fronts(made, order, steps)
        lifting = Lifting(self.parts, front, scope.rank, self.dot)
        lifted: list[Statement] = []
        before: list[Statement] = []
        for stmt in made:
            own = {*front.get(stmt.target.tensor, order)}
            stands = block is None or stmt.target.tensor not in front or not own.isdisjoint(steps)
            inner = [m for m in masks if own.issuperset(indices_of(m))] if stands else []
            said = [r for i, r in ranges.items() if i in own]
            new = lifting.statement(stmt, said, inner, block if stands else None)
            (lifted if stands else before).append(new)
            self.learn(stmt, new, lifting)
        self.check_dots([*before, *lifted])
        self.check_steps(lifted, steps)
        if self.broken:
            return
        lifted = self.with_ends(lifted, steps, ranges)
        for tensor in dict.fromkeys((*front, *self.parts)):
            if tensor in body.shapes:
                self.declare(lifting.shape(body.shapes.pop(tensor)))
        body.wishes = {lifting.size(e) if isinstance(e, Size) else e: name for e, name in body.wishes.items()}
        body.statements[self.start(block) : self.start(block)] = before
        body.statements += lifted

    def fronts(
        self, made: Sequence[Statement], order: Sequence[str], steps: Sequence[str]
    ) -> dict[str, tuple[str, ...]]:
        """The indices in front of what is computed on the way: in a block, all of its steps or none."""
        given = {t.name for t in self.stmt.targets}
        found = carried(made, self.parts, given, dict.fromkeys(self.made_in_block(), steps))
        stepwise = {t for t, indices in found.items() if not indices.isdisjoint(steps)}
        return {
            t: tuple(i for i in order if i in indices or (t in stepwise and i in steps)) for t, indices in found.items()
        }

    def made_in_block(self) -> set[str]:
        """The tensors that the outermost block around the call sets."""
        path = self.indexed.path
        blocks = self.scope.blocks
        others = (s for s in self.scope.statements if path and blocks.get(id(s), ())[:1] == path[:1])
        return {t.name for s in others for t in kept_targets(s)}

    def start(self, block: Block | None) -> int:
        """Where the block of the call begins among the statements that there are."""
        first = len(self.body.statements)
        while block is not None and first and blocks_of(self.body.statements[first - 1])[:1] == block.path[:1]:
            first -= 1
        return first

    def dot(self, number: int) -> str:
        """The index for an axis of an ellipsis."""
        while len(self.dots) <= number:
            self.dots.append(self.scope.fresh(f"d{len(self.dots) + 1}"))
        return self.dots[number]

    def learn(self, stmt: Statement, new: Statement, lifting: Lifting) -> None:
        """How many axes a target has, in the call and as it is now."""
        tensor, scope = stmt.target.tensor, self.scope
        if Dots() not in new.target.subscripts:
            fixed = len(new.target.subscripts)
            own = fixed - (
                len(self.parts[tensor].fixed) if tensor in self.parts else len(lifting.front.get(tensor, ()))
            )
            scope.ranks.setdefault(tensor, (own, stmt.target.span or self.stmt.span))
            if tensor in self.parts:
                scope.use(new.target.tensor, fixed, self.spans[tensor])

    def declare(self, shape: Shape) -> None:
        """The shape of a tensor, as far as the layers declare it; a part says nothing of its fixed axes."""
        if any(d != Size(shape.tensor, k) for k, d in enumerate(shape.dims)):
            self.body.declare(shape)

    def with_ends(
        self, statements: list[Statement], steps: Sequence[str], ranges: Mapping[str, Range]
    ) -> list[Statement]:
        """The statements with ends written for indices of parts, where they alone would not say the same end."""
        given = [self.parts[name] for name in self.given()]
        for index in self.indexed.free:
            if index in steps or (index in ranges and ranges[index].hi is not None):
                continue
            hi, plain = ends(given, index, self.body.size_of)
            having = [k for k, s in enumerate(statements) if index in s.domain.indices]
            if plain:
                having = [k for k in having if not says(statements[k], index)]
            elif len(having) == 1:
                continue
            if not having or not any(index in part.indices for part in given):
                continue
            if hi is None:
                rule = f"nothing says how far '{index}' runs in all that the layer computes"
                self.fail("unbounded-index", rule, self.indexed.free[index], way_out=f"say it: where {index} < ...")
                break
            for k in having:
                statements[k] = ending(statements[k], index, hi)
        return statements

    def check_dots(self, statements: Sequence[Statement]) -> None:
        """An ellipsis stands first or last, unless it is known how many axes it stands for."""
        if any(Dots() in a.subscripts[1:-1] for stmt in statements for a in accesses_of(stmt)):
            name = next(n for n in (*self.given(), *self.parts) if Dots() in self.parts[n].subscripts)
            rule = f"nothing says how many axes '...' stands for in {name}"
            way = f"declare the shape of {self.parts[name].tensor}, or write : for each axis"
            self.fail("unknown-rank", rule, self.spans[name], way_out=way)

    def check_steps(self, statements: Sequence[Statement], steps: Sequence[str]) -> None:
        """What stands in a block has its indices."""
        for stmt in statements:
            for code, rule, way in misplaced(stmt, self.stmt.op, steps):
                self.fail(
                    code, rule, self.stmt.span if code == "block-index" else self.stmt.targets[0].span, way_out=way
                )
                return


def _is_pad(subscript: Subscript) -> bool:
    return isinstance(subscript, Boundary) and subscript.kind == "pad"
