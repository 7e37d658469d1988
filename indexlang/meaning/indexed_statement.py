"""A statement with indices: from the tree to the Program.

In: a statement with brackets, and the scope in which it stands. Out: an `ir.Statement`. The one rule: a name is an
index if it stands bare in a subscript, runs a reduction, or has its end in a `where`; what is a dim, an option or a
scalar tensor is that first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

from ..errors import Span
from ..program.functions import CONSTANTS
from ..program.ir import (
    Access,
    Block,
    Boundary,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Range,
    Reduce,
    Statement,
    Subscript,
    domain_of,
    indices_of,
    reads,
)
from ..program.ir import statement as make_statement
from ..syntax import tree
from .converter import BOUNDARIES, Converter, Given, constant, tree_nodes
from .header import size_of
from .report import nearest
from .scope import Scope, positions
from .subscripts import faults, folded
from .where import Condition, belongs, both, misplaced, range_of, split, split_names, steps_of


def resolve_indexed(scope: Scope, stmt: tree.Statement) -> Statement | None:
    """The statement; None if it is broken, which is reported."""
    return Indexed(scope, stmt).run()


class Indexed(Converter):
    """One statement. `bound` maps a reduction's indices, as written, to their names in the Program."""

    def __init__(self, scope: Scope, stmt: tree.Statement) -> None:
        super().__init__(scope.report, scope.unit)
        self.scope, self.stmt = scope, stmt
        self.own = scope.layer or ""
        self.conditions = split(stmt.conditions, scope)
        self.path = scope.block_of(stmt)
        self.steps = steps_of(self.path, scope)
        self.reductions: dict[str, Span] = {}  # indices of embedded reductions, as written
        self.free: dict[str, Span] = {}  # indices of the statement
        self.bound: dict[str, str] = {}
        self.used: set[str] = set()  # names of indices in the Program
        self.within: list[Condition] = []  # conditions on indices of reductions
        self.reduced: dict[tuple[str, frozenset[tuple[str, str]]], Expr] = {}  # by text and what is bound around it

    def run(self) -> Statement | None:
        stmt = self.stmt
        if len(stmt.targets) > 1:
            rule = "only the outputs of a layer have several targets"
            self.fail("targets", rule, stmt.targets[1].span, way_out="write a statement for each")
            return None
        self.find_indices()
        block = self.block()
        target = self.target(stmt.targets[0])
        value = self.expr(stmt.value)
        ranges: dict[str, Range] = {r.index: r for b in (() if block is None else block.path) for r in b.ranges}
        masks: list[Expr] = [m for b in (() if block is None else block.path) for m in b.masks]
        for condition in self.conditions:
            if condition not in self.within:
                self.add_condition(condition, self.not_steps(), ranges, masks)
        for condition in self.within:
            if not condition.used:
                names = ", ".join(sorted(condition.names & set(self.reductions)))
                rule = "a condition belongs to one reduction, and no reduction has all of its indices"
                way = "write the condition into the value: where(..., ..., 0)"
                self.fail("condition", rule, condition.span, f"indices of reductions: {names}", way_out=way)
        if self.broken:
            return None
        made = make_statement(target, stmt.op, value, tuple(ranges.values()), tuple(masks), stmt.span, block)
        for code, rule, way in islice(misplaced(made, stmt.op, self.steps), 1):
            self.fail(code, rule, stmt.span if code == "block-index" else stmt.targets[0].span, way_out=way)
        return None if self.broken else made

    def not_steps(self) -> dict[str, Span]:
        """The indices that a condition of the statement may give a range: that of a step has its own in the `for`."""
        return {name: span for name, span in self.free.items() if name not in self.steps}

    def block(self) -> Block | None:
        """The block that the statement stands in."""
        made: Block | None = None
        for written in self.path:
            known = self.scope.made_blocks.get(id(written))
            if known is None:
                known = self.scope.made_blocks[id(written)] = self.new_block(written, made)
            made = known
        return made

    def new_block(self, written: tree.For, outer: Block | None) -> Block:
        indices = dict.fromkeys(steps_of((written,), self.scope))
        ranges: dict[str, Range] = {}
        own = {name: written.span for name in indices}
        told: list[Expr] = []
        for condition in split([r for r in written.ranges if not isinstance(r, tree.Name)], self.scope):
            masks: list[Expr] = []
            self.add_condition(condition, own, ranges, masks)
            if masks and self.is_about_steps(condition, masks[0], own, outer):
                told += masks
            elif masks:
                rule = "a for names its index, and how far it runs by sizes and numbers"
                way = "write for t: or for 0 <= t < size(x,0):, and what data say behind the statements: where ..."
                self.fail("block-range", rule, condition.span, way_out=way)
        around = () if outer is None else tuple(i for b in outer.path for i in b.indices)
        if twice := [i for i in indices if i in around]:
            rule = f"the index '{twice[0]}' is that of a block around this one"
            self.fail("block-range", rule, written.ranges[0].span, way_out="give it another name")
        found = tuple(ranges[i] for i in indices if i in ranges)
        number = len(self.scope.made_blocks)
        return Block(tuple(indices), found, tuple(told), written.reverse, number, outer, written.span)

    def is_about_steps(self, condition: Condition, mask: Expr, own: Mapping[str, Span], outer: Block | None) -> bool:
        """Whether a range ends where the step of a block around this one says: `for j < i`."""
        around = () if outer is None else tuple(i for b in outer.path for i in b.indices)
        names = indices_of(mask)
        plain = isinstance(condition.node, tree.Compare) and condition.node.ops[0] in ("<", "<=", ">", ">=")
        return (
            plain and not reads(mask) and any(i in own for i in names) and all(i in own or i in around for i in names)
        )

    # -- indices -------------------------------------------------------------------------------

    def find_indices(self) -> None:
        """What is an index here, and that nothing is an index and something else."""
        stmt = self.stmt
        tensors: dict[str, Span] = {}
        roots = (*stmt.targets, stmt.value, *stmt.conditions)
        for root in roots:
            for node in tree_nodes(root):
                match node:
                    case tree.Reduction(_, indices, _, span):
                        for name in indices:
                            self.reductions.setdefault(name, span)
                    case tree.Subscripted(name, _, span):
                        tensors.setdefault(name, span)
                    case _:
                        pass
        if isinstance(stmt.targets[0], tree.Name):
            tensors.setdefault(stmt.targets[0].name, stmt.targets[0].span)
        places: dict[str, Span] = {}
        for root in (*stmt.targets, stmt.value):
            positions(root, False, frozenset(), places)
        for condition in self.conditions:
            positions(condition.node, False, frozenset(self.reductions), places)
            if condition.bare is not None and condition.bare.name not in self.reductions:
                places.setdefault(condition.bare.name, condition.bare.span)
            if condition.names & set(self.reductions):
                self.within.append(condition)
        if self.path:
            mentioned = {n.name: n.span for root in roots for n in tree_nodes(root) if isinstance(n, tree.Name)}
            said = {n for r in self.path for c in r.ranges for n in split_names(c) if not isinstance(c, tree.Name)}
            for name in self.steps:
                if name in mentioned or name in said:
                    places.setdefault(name, mentioned.get(name, self.path[-1].span))
        self.free = {n: s for n, s in places.items() if not self.is_other(n)}
        self.used = set(self.free)
        for name, span in {**self.reductions, **self.free}.items():
            self.check_index(name, span, tensors)

    def over(self, node: tree.Call) -> tuple[str, ...]:
        """The indices in a call that the target does not have."""
        kept = {n.name for n in tree_nodes(*self.stmt.targets) if isinstance(n, tree.Name)}
        named = dict.fromkeys(n.name for n in tree_nodes(node) if isinstance(n, tree.Name))
        return tuple(n for n in named if n in self.free and n not in kept)

    def is_other(self, name: str) -> bool:
        """Whether a name in a subscript is no index."""
        scope = self.scope
        known = name in CONSTANTS or name in scope.options or name in scope.dims or scope.is_scalar(name)
        return known or "." in name  # a dotted name is a tensor's

    def check_index(self, name: str, span: Span, tensors: dict[str, Span]) -> None:
        if name in CONSTANTS:
            self.fail("reserved-name", f"'{name}' is a word of the language", span, way_out="choose another name")
        elif name in self.reductions and (name in self.scope.options or name in self.scope.dims):
            kind = "an option" if name in self.scope.options else "a dim"
            rule = f"'{name}' is {kind} and cannot be an index too"
            self.fail("ambiguous-name", rule, span, way_out="rename the index")
        elif name in self.reductions and name in self.free:
            self.broken = True
            rule = f"'{name}' is an index of the statement and of an embedded reduction"
            way = "give the reduction's index another name"
            others = (("the statement's index", self.free[name]),)
            self.report.add("reduction-index", rule, self.reductions[name], way_out=way, others=others)
        elif name in tensors:
            self.broken = True
            rule = f"'{name}' is an index and a tensor in one statement"
            others = (("the tensor", tensors[name]),)
            self.report.add("ambiguous-name", rule, span, way_out="rename one of them", others=others)

    def name(self, node: tree.Name, inside: bool) -> Expr:
        name, span, scope = node.name, node.span, self.scope
        if name in self.bound:
            return Index(self.bound[name], span)
        if name in scope.options:
            option = scope.options[name]
            return Given(option.value, span)
        if name in scope.dims:
            return replace(scope.dims[name], span=span)
        if name in self.free:
            return Index(name, span)
        if name in CONSTANTS:
            return constant(self, name, span, scope.hides(name))
        if scope.is_tensor(name):
            return self.scalar(name, span)
        if name in self.reductions:
            rule = f"'{name}' is the index of a reduction, and means nothing outside of it"
            way = f"extend the brackets of the reduction, or name the index of the statement otherwise than {name}"
            return self.fail("reduction-index", rule, span, way_out=way)
        return self.scalar(name, span)

    def scalar(self, name: str, span: Span) -> Expr:
        """A tensor without brackets."""
        if self.scope.undefined(name, span):
            self.broken = True
        self.scope.bare.setdefault(name, span)
        self.scope.use(name, 0, span)
        return Access(name, (), span)

    # -- accesses ------------------------------------------------------------------------------

    def target(self, node: tree.Target) -> Access:
        match node:
            case tree.Name(name, span):
                self.scope.bare.setdefault(name, span)
                return Access(name, (), span)
            case tree.Subscripted(name, subscripts, span):
                return Access(name, self.subscripts(subscripts), span)

    def access(self, node: tree.Subscripted) -> Expr:
        if self.scope.undefined(node.name, node.span):
            self.broken = True
        return Access(node.name, self.subscripts(node.subscripts), node.span)

    def size(self, node: tree.Call) -> Expr:
        return size_of(self, self.scope, node)

    def subscripts(self, nodes: Sequence[tree.Subscript]) -> tuple[Subscript, ...]:
        dots = [k for k, n in enumerate(nodes) if isinstance(n, tree.Dots)]
        if len(dots) > 1:
            rule = "'...' stands once among the subscripts of a tensor"
            self.fail("ellipsis", rule, nodes[dots[1]].span, way_out="write the axes of one of them out")
        elif dots and dots[0] not in (0, len(nodes) - 1):
            rule = "'...' stands first or last among the subscripts of a tensor"
            self.fail("ellipsis", rule, nodes[dots[0]].span, way_out="write its axes out, an index for each")
        return tuple(self.subscript(n) for n in nodes)

    def subscript(self, node: tree.Subscript) -> Subscript:
        match node:
            case tree.Dots(span):
                return Dots(span)
            case tree.Merged(items, span):
                return self.merged(items, span)
            case tree.All(span):
                rule = "':' is a whole axis of a part that a layer takes or gives, and this is no call of a layer"
                self.fail("whole-axis", rule, span, way_out="write an index, i, for the axis")
                return Const(0)
            case tree.Call(name) if name in BOUNDARIES:
                return self.boundary(node)
            case _:
                return self.position(node)

    def position(self, node: tree.Expr, what: str = "position") -> Expr:
        """Whole numbers: a subscript, or a `what` that has no index in it."""
        was, self.broken = self.broken, False
        expr = folded(self.expr(node, inside=True), what)
        if not self.broken:
            for code, rule, part, way in faults(expr, what):
                self.fail(code, rule, part.span or node.span, way_out=way)
                break
        self.broken |= was
        return expr

    def merged(self, items: Sequence[tree.Expr], span: Span) -> Subscript:
        names: list[str] = []
        for item in items:
            name = item.name if isinstance(item, tree.Name) else None
            if name is not None and name in self.bound:
                names.append(self.bound[name])
            elif name is not None and name in self.free:
                names.append(name)
            else:
                rule = "a merged axis is made of indices"
                values, way = f"'{item.span.text}' is no index", "write an index, and how far it runs: where k < 2"
                self.fail("merged", rule, item.span, values, way_out=way)
        if len(set(names)) < len(names):
            self.fail(
                "merged", "an index stands once in a merged axis", span, way_out="use another index for one of them"
            )
        return Merged(tuple(names), span)

    def boundary(self, node: tree.Call) -> Subscript:
        """`pad(e, lo, hi=lo, value=0)`, `clamp(e)`, `wrap(e)`, `reflect(e)`."""
        kind, span = node.name, node.span
        names = ("e", "lo", "hi", "value") if kind == "pad" else ("e",)
        if len(node.args) > len(names) or not node.args:
            usage = "a position, and then lo, hi and value" if kind == "pad" else "one position"
            way = "write pad(i-1,1,1,value=0)" if kind == "pad" else f"write {kind}(i-1)"
            self.fail("boundary", f"{kind} takes {usage}", span, way_out=way)
            return Boundary(kind, Const(0), span=span)
        given = dict(zip(names, node.args, strict=False))
        for name, value in node.keywords:
            if name in given or name not in names:
                rule = f"{kind} has no argument '{name}'" if name not in names else f"'{name}' is given twice"
                way = "give it once" if name in names else nearest(name, names) or "leave it out"
                self.fail("arguments", rule, value.span, way_out=way)
            given[name] = value
        e = self.position(given["e"])
        if "lo" not in given:
            if "hi" in given:
                self.fail("boundary", "a padding behind the axis needs one before it", span, way_out="write lo=0")
            return Boundary(kind, e, value=self.padding(given.get("value")), span=span)
        lo = self.width(given["lo"])
        hi = self.width(given["hi"]) if "hi" in given else lo
        if isinstance(lo, Given) and isinstance(hi, Given) and lo.value == hi.value == 0:
            return e  # an option says that there is no padding
        return Boundary(kind, e, lo, hi, self.padding(given.get("value")), span)

    def width(self, node: tree.Expr) -> Expr:
        expr = self.position(node, "padding")
        if isinstance(expr, Const) and expr.value < 0:
            shown = () if node.span.text == str(expr.value) else (f"{node.span.text} = {expr.value}",)
            rule, way = "a padding has no negative width", "write 0, or a larger number"
            self.fail("boundary", rule, node.span, *shown, way_out=way)
        return expr

    def padding(self, node: tree.Expr | None) -> Expr:
        """The value that a padding has."""
        if node is None:
            return Const(0)
        expr = self.expr(node)
        if not isinstance(expr, Const):
            self.fail(
                "boundary", "the value of a padding is a number", node.span, way_out="use where(...) around the access"
            )
        return expr

    # -- reductions and conditions -------------------------------------------------------------

    def reduction(self, node: tree.Reduction) -> Expr:
        """A reduction; one that is written twice is one, with the same names of indices."""
        key = node.span.text, frozenset(self.bound.items())
        if key not in self.reduced:
            self.reduced[key] = self.new_reduction(node)
        return self.reduced[key]

    def new_reduction(self, node: tree.Reduction) -> Expr:
        outer = dict(self.bound)
        inner: list[str] = []
        for name in node.indices:
            new = name if name not in self.used else self.scope.fresh(name)
            self.used.add(new)
            self.bound[name] = new
            inner.append(new)
        body = self.expr(node.body)
        ranges: dict[str, Range] = {}
        masks: list[Expr] = []
        own = {name: node.span for name in node.indices}
        for condition in self.within:
            if belongs(condition, own, self.bound, self.reductions):
                condition.used = True
                self.add_condition(condition, own, ranges, masks)
        self.bound = outer
        found = {*indices_of(body), *(i for m in masks for i in indices_of(m))}
        for name, written in zip(inner, node.indices, strict=True):
            if name not in found and not (name in ranges and ranges[name].hi is not None) and not self.broken:
                rule = f"the {node.op} runs over '{written}', which what it reduces does not have"
                way = f"drop the reduction, or say how far it runs: where {written} < ..."
                return self.fail("reduction-index", rule, node.span, way_out=way)
        domain = domain_of((body,), tuple(ranges.values()), tuple(masks), tuple(inner))
        return Reduce(node.op, domain, body, node.span)

    def add_condition(
        self, condition: Condition, own: dict[str, Span], ranges: dict[str, Range], masks: list[Expr]
    ) -> None:
        """A condition as a range of one of the indices `own`, or as a mask."""
        name = condition.bare
        if name is None or condition.bound is None or name.name not in own:
            masks.append(self.expr(condition.node))
            return
        bound = self.position(condition.bound, "bound of a range")
        found = range_of(self.bound.get(name.name, name.name), condition.op, bound, condition.span)
        first = ranges.get(found.index)
        together = found if first is None else both(first, found)
        if together is None:
            assert first is not None and first.span is not None
            self.broken = True
            others = (("the other range", first.span),)
            rule = f"the index '{found.index}' is given two ranges"
            self.report.add("range", rule, condition.span, way_out="keep one of them", others=others)
            return
        ranges[found.index] = together
