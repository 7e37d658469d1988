"""A layer's call becomes the layer's statements.

In: a layer as a Program of its own, and the names of the tensors that the call hands over and takes. Out: statements
and shapes in the caller's names. The one rule: a layer is resolved once for each set of options, and an instance of it
differs only in names; no name of the caller is ever captured.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..errors import Span
from ..program.ir import (
    Access,
    Boundary,
    Call,
    Expr,
    Program,
    Shape,
    Size,
    Statement,
    Subscript,
    parts_of,
    primal_of,
    reads_of,
    sizes_of,
    walk,
)
from ..program.names import Renaming, indices_in
from ..properties import cached_property
from ..syntax import tree
from .converter import negative

Letters = tuple[str | None, ...]  # the names of a tensor's axes, where they have single letters


@dataclass(frozen=True, eq=False)
class Template:
    """A layer that has been resolved."""

    header: tree.LayerDef
    program: Program
    ranks: Mapping[str, int]
    letters: Mapping[str, Letters]
    live: dict[tuple[str, ...], tuple[Statement, ...]] = field(default_factory=dict)

    @cached_property
    def indices(self) -> frozenset[str]:
        """The names of all indices."""
        return frozenset(indices_in(self.program))

    @cached_property
    def pads(self) -> bool:
        """Whether any of its statements pads an axis."""
        return any(isinstance(p, Boundary) and p.kind == "pad" for s in self.program.statements for p in parts_of(s))

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        return {s.tensor: s for s in self.program.shapes}

    def statements(self, outputs: tuple[str, ...]) -> tuple[Statement, ...]:
        """The statements that some of the outputs need."""
        if outputs not in self.live:
            needed: set[str] = set()
            more = list(outputs)
            while more:
                tensor = more.pop()
                if tensor not in needed:
                    needed.add(tensor)
                    more += self.needs.get(tensor, ())
            self.live[outputs] = tuple(s for s in self.program.statements if s.target.tensor in needed)
        return self.live[outputs]

    @cached_property
    def needs(self) -> Mapping[str, frozenset[str]]:
        """By tensor, those that its statements read, or that these or the declared shape ask for a size."""
        found: dict[str, set[str]] = {}
        for stmt in self.program.statements:
            needed = found.setdefault(stmt.target.tensor, set())
            needed.update(reads_of(stmt))
            needed.update(p.tensor for p in sizes_of(stmt))
        for tensor in found.keys() & self.shapes.keys():
            sizes = (p for d in self.shapes[tensor].dims for p in walk(d))
            found[tensor].update(p.tensor for p in sizes if isinstance(p, Size))
        return {tensor: frozenset(names) for tensor, names in found.items()}


@dataclass(frozen=True)
class Instance:
    """What a call adds to its caller. `shapes` are those of computed tensors, `checks` those of what is handed over."""

    statements: tuple[Statement, ...]
    shapes: tuple[Shape, ...]
    checks: tuple[Shape, ...]
    dims: tuple[tuple[str, Expr], ...]
    tensors: Mapping[str, str]


class Names(Protocol):
    """The caller's names."""

    def solid(self) -> Set[str]:
        """Those of tensors and dims, which no index may have."""

    def fresh(self, wish: str) -> str: ...

    def fresh_tensor(self, wish: str) -> str: ...

    def renamed(self, index: str) -> str:
        """The one name that an index gets instead of a solid one."""


@dataclass(frozen=True)
class Avoiding:
    """The caller's names, where indices of parts are not to be captured, either."""

    names: Names
    indices: Set[str]

    def solid(self) -> Set[str]:
        return self.names.solid() | self.indices

    def fresh(self, wish: str) -> str:
        return self.names.fresh(wish)

    def fresh_tensor(self, wish: str) -> str:
        return self.names.fresh_tensor(wish)

    def renamed(self, index: str) -> str:
        return self.names.renamed(index)


def instantiate(
    template: Template,
    tensors: dict[str, str],
    outputs: tuple[str, ...],
    names: Names,
    size_of: Callable[[str, int], Expr],
    call: Span,
) -> Instance:
    """An instance. `tensors` names inputs and wanted outputs in the caller, `size_of` tells sizes of its tensors."""
    program, name = template.program, template.header.name
    live = template.statements(outputs)
    targets = dict.fromkeys(s.target.tensor for s in live)
    for tensor in targets:
        if tensor not in tensors:
            tensors[tensor] = names.fresh_tensor(f"{name}_{tensor.replace('.', '_')}")
    indices: dict[str, str] = {}
    for index in sorted(template.indices):
        if index in names.solid():
            new = names.renamed(index)
            while new in template.indices:
                new = names.fresh(index)
            indices[index] = new
    renaming = _Inlining(tensors, indices, call, size_of)
    shapes, checks = [], []
    for shape in program.shapes:
        if shape.tensor in targets and shape.tensor not in program.inputs:
            shapes.append(renaming.shape(shape))
        elif shape.tensor in program.inputs:
            checks.append(renaming.shape(shape))
    shapes += _of_gradients(template, targets, tensors)
    statements = tuple(renaming.statement(s) for s in live)
    dims = tuple((n, renaming.declared(e)) for n, e in program.dims)
    return Instance(statements, tuple(shapes), tuple(checks), dims, tensors)


def _of_gradients(template: Template, targets: Collection[str], tensors: Mapping[str, str]) -> list[Shape]:
    """The shapes of gradients whose new names no longer tell whose they are."""
    found = []
    for tensor in targets:
        primal = primal_of(tensor)
        if primal is None or primal not in tensors or tensor in template.shapes:
            continue
        rank = template.ranks.get(tensor)
        if primal_of(tensors[tensor]) != tensors[primal] and rank is not None:
            found.append(Shape(tensors[tensor], tuple(Size(tensors[primal], k) for k in range(rank))))
    return found


@dataclass(frozen=True)
class _Inlining(Renaming):
    """Statements in other names. Sizes of tensors whose shapes are known are put in terms of those shapes.

    What errors speak of, statements, tensors, sizes and shapes, knows the call.
    """

    call: Span | None = None
    size_of: Callable[[str, int], Expr] = Size
    sizes: dict[Size, Expr] = field(default_factory=dict)

    def rule(self, part: Subscript) -> Subscript | None:
        match part:
            case Size():
                return self.size(part)
            case Access(tensor, subscripts, span):
                return Access(self.tensors.get(tensor, tensor), subscripts, self.called(span))
            case _:
                return super().rule(part)

    def called(self, span: Span | None) -> Span | None:
        return span if span is None or self.call is None else span.called_from(self.call)

    def statement(self, stmt: Statement) -> Statement:
        return replace(super().statement(stmt), span=self.called(stmt.span))

    def size(self, size: Size) -> Expr:
        """A size in a statement."""
        found = self.declared_size(size)
        if not isinstance(found, Size):  # a number in its place could be folded into what stands beside it
            found = Size(self.tensors.get(size.tensor, size.tensor), size.axis)
        return replace(found, span=self.called(size.span)) if size.span is not None else found

    def declared_size(self, size: Size) -> Expr:
        """A size in a shape."""
        found = self.sizes.get(size)
        if found is None:
            found = self.size_of(self.tensors.get(size.tensor, size.tensor), size.axis)
            self.sizes[size] = found
        return found

    def shape(self, shape: Shape) -> Shape:
        return Shape(self.tensors[shape.tensor], tuple(map(self.declared, shape.dims)), self.called(shape.span))

    def declared(self, expr: Expr) -> Expr:
        """A dim."""
        match expr:
            case Size():
                return self.declared_size(expr)
            case Call(fn, args, span):
                parts = tuple(map(self.declared, args))
                return negative(parts[0], span) if fn == "neg" else Call(fn, parts, span)
            case _:
                return expr
