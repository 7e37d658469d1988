"""What the names of a layer, or of the bare statements of a file, stand for.

In: the statements as written, the header. Out: a `Scope`: options, dims, tensors and their ranks. The one rule: what is
written with brackets anywhere is a tensor everywhere, and all its uses agree in their number of subscripts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import Span
from ..program.functions import CONSTANTS
from ..program.ir import GRAD, TANGENT, Block, Expr, Statement, blocks_of, is_tangent, primal_of
from ..program.names import Fresh
from ..syntax import tree
from .converter import BOUNDARIES, BUILTIN, Given, tree_children, tree_nodes
from .imports import Unit
from .report import Report, axes, nearest


@dataclass
class Scope:
    """The names of one body, while its statements are gone through in order."""

    report: Report
    unit: Unit
    layer: str | None = None
    inputs: dict[str, Span] = field(default_factory=dict)  # of the header
    outputs: dict[str, Span] = field(default_factory=dict)
    options: dict[str, Given] = field(default_factory=dict)
    dims: dict[str, Expr] = field(default_factory=dict)
    targets: dict[str, Span] = field(default_factory=dict)  # where each is defined first
    defined: set[str] = field(default_factory=set)  # up to here
    tensors: set[str] = field(default_factory=set)  # with brackets or in a header
    bracketed: set[str] = field(default_factory=set)  # with brackets in a statement
    ranks: dict[str, tuple[int, Span]] = field(default_factory=dict)
    shaped: set[str] = field(default_factory=set)  # tensors whose shapes are declared
    least: dict[str, tuple[int, Span]] = field(default_factory=dict)  # of tensors that `...` is used with
    not_scalar: set[str] = field(default_factory=set)  # tensors that are asked for the size of an axis
    taken: set[str] = field(default_factory=set)  # every name that occurs
    bare: dict[str, Span] = field(default_factory=dict)  # where tensors stand without brackets
    conflicts: set[str] = field(default_factory=set)  # tensors whose ranks have been complained about
    names: Fresh = field(init=False)
    renames: dict[str, str] = field(default_factory=dict)
    statements: list[tree.Statement] = field(default_factory=list)
    blocks: dict[int, tuple[tree.For, ...]] = field(default_factory=dict)  # by the identity of a statement
    made_blocks: dict[int, Block] = field(default_factory=dict)  # by that of a `for`
    numbers: int = 0  # of blocks that are in use
    _solid: set[str] | None = None

    def __post_init__(self) -> None:
        self.names = Fresh(self.taken)

    # -- tensors -------------------------------------------------------------------------------

    def is_tensor(self, name: str) -> bool:
        """Whether a bare name is known to be a tensor."""
        return name in self.tensors or name in self.defined

    def is_scalar(self, name: str) -> bool:
        """Whether a bare name may be a scalar tensor, as far as its rank is known."""
        if not self.is_tensor(name):
            return False
        return not self.has_axes(name)

    def has_axes(self, name: str) -> bool:
        """Whether a tensor is no scalar for certain."""
        return bool(self.rank(name)) or name in self.not_scalar or self.least.get(name, (0, None))[0] > 0

    def is_free(self, name: str) -> bool:
        """Whether a bare name in a statement about whole tensors is a tensor."""
        return name not in self.options and name not in self.dims and name not in CONSTANTS and name != "_"

    def hides(self, name: str) -> bool:
        """Whether a bare name of a number would be taken for a tensor that the header names."""
        return name in CONSTANTS and name in {**self.inputs, **self.outputs} and name not in self.bracketed

    def rank(self, name: str) -> int | None:
        found = self.ranks.get(name)
        return None if found is None else found[0]

    def use(self, name: str, rank: int, span: Span, dots: bool = False) -> None:
        """A tensor with `rank` axes, or at least so many; the first use is right, and a later one blamed."""
        exact, least = self.ranks.get(name), self.least.get(name)
        if dots:
            if exact is not None and exact[0] < rank:
                self.conflict(name, exact[0], exact[1], f"it needs {axes(rank)} or more", span)
            elif least is None or least[0] < rank:
                self.least[name] = rank, span
        elif exact is None:
            self.ranks[name] = rank, span
            self.like_its_primal(name, rank, span)
            if least is not None and rank < least[0]:
                self.conflict(name, rank, span, f"it needs {axes(least[0])} or more", least[1])
        elif exact[0] != rank:
            self.conflict(name, exact[0], exact[1], axes(rank) if rank else "it stands without subscripts", span)

    def like_its_primal(self, name: str, rank: int, span: Span) -> None:
        """A gradient, or a tangent, has as many axes as what it is of, unless its shape is declared."""
        primal = primal_of(name)
        for other in (primal, f"{name}.{GRAD}", f"{name}.{TANGENT}"):
            there, first = self.ranks.get(other or "", (rank, span))
            if other is not None and there != rank and name not in self.conflicts:
                derived, (has, whole) = (name, (rank, there)) if other == primal else (other, (there, rank))
                if derived in self.shaped:
                    continue
                self.conflicts.add(name)
                kind, last = ("tangent", TANGENT) if is_tangent(derived) else ("gradient", GRAD)
                rule = f"'{derived}' has {axes(has)}, but what it is the {kind} of has {axes(whole)}"
                way = f"give it another name, without .{last}, or declare its shape"
                self.report.add("rank", rule, span, way_out=way, others=((f"{axes(there)} here", first),))

    def conflict(self, name: str, rank: int, first: Span, other: str, span: Span) -> None:
        if name not in self.conflicts:
            self.conflicts.add(name)
            rule = f"'{name}' has {axes(rank)}, but here {other}"
            way = f"write it with {axes(rank)}, or give one of the two another name"
            if other.startswith("it stands"):
                way = "with indices in a statement, all its tensors have theirs"
            self.report.add("rank", rule, span, way_out=way, others=((f"{axes(rank)} here", first),))

    def undefined(self, name: str, span: Span) -> bool:
        """Whether nothing gives a tensor that is read in a layer; then it is reported."""
        if self.layer is None or name in self.inputs or name in self.targets:
            return False
        rule = f"'{name}' is not defined: no input, option or dim of '{self.layer}', and no statement has that name"
        known = [*self.inputs, *self.options, *self.dims, *self.targets]
        way = nearest(name, known) or f"add {name} to the header of '{self.layer}'"
        self.report.add("unknown-name", rule, span, way_out=way)
        return True

    def fresh(self, wish: str) -> str:
        """`wish`, or `wish` with the first number from 2 on that makes it new."""
        return self.names.fresh(wish)

    def fresh_tensor(self, wish: str) -> str:
        """A new name for a tensor."""
        name = self.fresh(wish)
        self.solid().add(name)
        return name

    def solid(self) -> set[str]:
        """The names of tensors and dims: no index may be called so where a layer is inlined."""
        if self._solid is None:
            self._solid = {*self.tensors, *self.targets, *self.dims}
            for stmt in self.statements:
                roots = (*stmt.targets, stmt.value, *stmt.conditions)
                nodes = tree_nodes(*roots)
                indices: dict[str, Span] = {}
                for root in roots:
                    positions(root, False, frozenset(), indices)
                for node in nodes:
                    if isinstance(node, tree.Reduction):
                        indices.update(dict.fromkeys(node.indices, node.span))
                self._solid.update(n.name for n in nodes if isinstance(n, tree.Name) and n.name not in indices)
        return self._solid

    def renamed(self, index: str) -> str:
        """The name that the indices of inlined layers get instead of one that is taken."""
        if index not in self.renames:
            self.renames[index] = self.fresh(index)
        return self.renames[index]

    # -- blocks --------------------------------------------------------------------------------

    def take_blocks(self, stepwise: Iterable[tuple[tree.Statement, tuple[tree.For, ...]]]) -> None:
        """Note which statements stand in which blocks."""
        for stmt, path in stepwise:
            if path:
                self.blocks[id(stmt)] = path
                for block in path:
                    self.taken.update(n.name for n in tree_nodes(*block.ranges) if isinstance(n, tree.Name))

    def next_block(self, statements: Iterable[Statement]) -> int:
        """The first of the numbers for the blocks of an inlined layer: two calls have different ones."""
        first = self.numbers
        self.numbers += len({b for s in statements for b in blocks_of(s)})
        return first

    def block_of(self, stmt: tree.Statement) -> tuple[tree.For, ...]:
        """The blocks that a statement stands in, outer ones first."""
        return self.blocks.get(id(stmt), ())

    # -- what was written ----------------------------------------------------------------------

    def takes_parts(self, stmt: tree.Statement) -> bool:
        """Whether a statement with brackets calls a layer; a name that functions have, too, is a layer's beside `:`."""
        nodes = [*values_in(stmt.value)]
        called = {n.name for n in nodes if isinstance(n, tree.Call) and self.unit.layer(n.name) is not None}
        parts = (n.subscripts for n in (*stmt.targets, *nodes) if isinstance(n, tree.Subscripted))
        if any(isinstance(s, tree.All) for subscripts in parts for s in subscripts):
            return not called <= ({self.layer} & BUILTIN)
        return not called <= BUILTIN

    def scan(self, statements: Iterable[tree.Statement]) -> None:
        """Note the names and ranks in all statements."""
        for stmt in statements:
            for target in kept_targets(stmt):
                self.targets.setdefault(target.name, target.span)
                self.taken.add(target.name)
                if target.name in CONSTANTS and isinstance(target, tree.Name):
                    self.reserved(target.name, target.span)
            nodes = tree_nodes(*stmt.targets, stmt.value, *stmt.conditions)
            bracketed = has_brackets(nodes)
            for node in nodes:
                match node:
                    case tree.Subscripted(name, subscripts, span):
                        dots = sum(isinstance(s, tree.Dots) for s in subscripts)
                        self.tensors.add(name)
                        self.bracketed.add(name)
                        self.taken.add(name)
                        self.use(name, len(subscripts) - dots, span, dots > 0)
                        primal = primal_of(name)
                        if primal is not None and len(subscripts) > dots and name not in self.shaped:
                            self.not_scalar.add(primal)
                    case tree.Call("size", (tree.Name(name), _)):
                        self.not_scalar.add(name)
                    case tree.Name(name):
                        self.taken.add(name)
                    case tree.Reduction(_, indices):
                        self.taken.update(indices)
                    case _:
                        pass
            if bracketed and not self.takes_parts(stmt):
                for target in stmt.targets:
                    if isinstance(target, tree.Name):
                        self.use(target.name, 0, target.span)
            self.statements.append(stmt)

    def scan_shapes(self, header: tree.LayerDef | None, lines: Iterable[tree.ShapeDecl]) -> None:
        """Note the ranks that are declared: against them, uses are judged."""
        declared = [t for line in lines for t in line.tensors]
        for t in (*(header.inputs + header.outputs if header is not None else ()), *declared):
            if t.dims is not None:
                self.ranks.setdefault(t.name, (len(t.dims), t.span))
                self.shaped.add(t.name)

    def introduce(self, name: str, span: Span, places: dict[str, Span]) -> None:
        """Take a name of a header; that it is named once, the parser has seen to."""
        self.taken.add(name)
        places[name] = span

    def reserved(self, name: str, span: Span) -> None:
        self.report.add("reserved-name", f"'{name}' is a word of the language", span, way_out="choose another name")


def kept_targets(stmt: tree.Statement) -> tuple[tree.Target, ...]:
    """The targets of a statement; among several, `_` takes an output that nobody wants."""
    return stmt.targets if len(stmt.targets) == 1 else tuple(t for t in stmt.targets if t.name != "_")


def has_brackets(nodes: Iterable[tree.Subscript]) -> bool:
    """Whether a statement is written with indices; without any bracket it is about whole tensors."""
    return any(isinstance(n, tree.Subscripted | tree.Reduction) for n in nodes)


def values_in(node: tree.Expr) -> Iterator[tree.Expr]:
    """An expression and what stands in it, but for subscripts and what is reduced."""
    yield node
    if not isinstance(node, tree.Subscripted | tree.Reduction):
        for child in tree_children(node):
            if isinstance(child, tree.Expr):
                yield from values_in(child)


def positions(node: tree.Subscript, inside: bool, bound: frozenset[str], found: dict[str, Span]) -> None:
    """The names that stand bare in subscripts, but for those that a reduction around them runs over."""
    match node:
        case tree.Name(name, span):
            if inside and name not in bound:
                found.setdefault(name, span)
        case tree.Merged(items):
            for item in items:
                positions(item, True, bound, found)
        case tree.Subscripted(_, subscripts):
            for s in subscripts:
                positions(s, True, bound, found)
        case tree.Reduction(_, indices, body):
            positions(body, False, bound | set(indices), found)
        case tree.Call("size"):
            pass
        case tree.Call(name, args, keywords):
            if inside and name in BOUNDARIES:
                positions(args[0], True, bound, found) if args else None
                args = args[1:]
            inside = inside and name not in ("int", *BOUNDARIES)
            for part in (*args, *(value for _, value in keywords)):
                positions(part, inside, bound, found)
        case tree.Unary(_, operand):
            positions(operand, inside, bound, found)
        case tree.Binary(_, left, right):
            positions(left, inside, bound, found)
            positions(right, inside, bound, found)
        case tree.Compare(_, operands):
            for operand in operands:
                positions(operand, inside, bound, found)
        case tree.Number() | tree.Dots() | tree.All():
            pass
