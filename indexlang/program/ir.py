"""The Program: forward, derivative and optimised programs alike are values of this one type.

    Program   ::= inputs outputs Statement*  (and the declared Shapes, and the names of dims)
    Statement ::= Access op Expr Domain [Block]     op: =  +=  *=  max=  min=
    Block     ::= index+ Range* mask* [reversed] number [Block]    a `for`, in another one
    Domain    ::= index*  Range*  mask*             the box of the ranges, less what a mask refuses
    Range     ::= [lo <=] index [< hi]              written in a `where`, hence authoritative
    Expr      ::= Const | Index | Size | Access | Call | Reduce
    Access    ::= tensor [Subscript*]
    Subscript ::= Expr | Boundary | Merged | Dots
    Reduce    ::= op[index*](Expr)  with a Domain of its own

A statement means: for every point of its domain, combine the value into the target. Nothing says on
which side an index must occur, so the swap rule maps Programs to Programs.

Statements in a row with one Block are those that stand under one `for`: they run for one step after the other. Their
domains are those that they would have outside; a Block is about their order alone.

A Program is exactly what its text says: ranges that the text leaves out are not stored but solved by
`ranges`, from the accesses, always in the same way. Printing and parsing therefore lose nothing.
Spans take no part in comparisons.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import cast

from ..errors import Span
from .facts import Keeper, kept, kept_upwards

DOTS = "..."  # the index that stands for the axes of an ellipsis, until ranks are known


def _span() -> Span | None:
    return cast(Span | None, field(default=None, compare=False, repr=False))


@dataclass(frozen=True, eq=False)
class Const(Keeper):
    """A number of the source. 1, 1.0 and True are different constants; nan equals itself."""

    value: int | float | bool
    span: Span | None = _span()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and _number_of(self) == _number_of(other)

    def __hash__(self) -> int:
        return hash(_number_of(self))


@dataclass(frozen=True)
class Index(Keeper):
    """An index, as a part of a subscript or as a number."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Size(Keeper):
    """`size(tensor, axis)`; names of dims are resolved to it."""

    tensor: str
    axis: int
    span: Span | None = _span()


@dataclass(frozen=True)
class Dots(Keeper):
    """`...` in a subscript list: the axes of the index `...`."""

    span: Span | None = _span()


@dataclass(frozen=True)
class Merged(Keeper):
    """`(i,j,c)`: one axis run by several indices, row-major, each index's radix its extent."""

    indices: tuple[str, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Boundary(Keeper):
    """`pad(e, lo, hi, value)`, `pad(e)` (lo and hi are None), `clamp(e)`, `wrap(e)`, `reflect(e)`.

    The position read is `e - lo` in the axis for a bounded pad, where e runs over 0..size+lo+hi-1,
    and `e` itself for the others. `hi` is always written out in the Program.
    """

    kind: str
    expr: Expr
    lo: Expr | None = None
    hi: Expr | None = None
    value: Expr = Const(0)
    span: Span | None = _span()


@dataclass(frozen=True)
class Access(Keeper):
    """A tensor at a position; a scalar tensor has no subscripts."""

    tensor: str
    subscripts: tuple[Subscript, ...] = ()
    span: Span | None = _span()

    def __hash__(self) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.tensor, self.subscripts))
        return found


@dataclass(frozen=True)
class Call(Keeper):
    """A row of `functions.FUNCTIONS` (operators included: add, mul, lt, where, ...) applied to arguments."""

    fn: str
    args: tuple[Expr, ...]
    span: Span | None = _span()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Call):
            return NotImplemented
        return hash(self) == hash(other) and (self.fn, self.args) == (other.fn, other.args)

    def __hash__(self) -> int:
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            found = self.__dict__["_hash"] = hash((self.fn, self.args))
        return found


@dataclass(frozen=True)
class Reduce(Keeper):
    """An embedded reduction: sum prod max min mean logsumexp argmax argmin, over a domain of its own."""

    op: str
    domain: Domain
    body: Expr
    span: Span | None = _span()


Expr = Const | Index | Size | Access | Call | Reduce
Subscript = Expr | Boundary | Merged | Dots


@dataclass(frozen=True)
class Range:
    """lo <= index < hi from a `where`; a bound that is None was not written."""

    index: str
    lo: Expr | None = None
    hi: Expr | None = None
    span: Span | None = _span()


@dataclass(frozen=True)
class Domain:
    """The indices in order of first occurrence, the written ranges in that order, the masks as written."""

    indices: tuple[str, ...] = ()
    ranges: tuple[Range, ...] = ()
    masks: tuple[Expr, ...] = ()

    def range(self, index: str) -> Range:
        return next((r for r in self.ranges if r.index == index), Range(index))

    def without(self, gone: Collection[str]) -> Domain:
        """The domain less indices that something else has gone through; no mask may ask for them."""
        assert not any(i in gone for mask in self.masks for i in indices_of(mask))
        indices = tuple(i for i in self.indices if i not in gone)
        return Domain(indices, tuple(r for r in self.ranges if r.index not in gone), self.masks)


@dataclass(frozen=True)
class Block(Keeper):
    """A `for`: its statements run for one value of `indices` after the other, in row-major order or from the last one.

    `ranges` are written in its line, and `masks`, `j < i` in a block over i; its statements have them in their domains,
    too. Blocks of a program are numbered in its order, so that two in a row are two. `outer` is the block that it
    stands in. What stands in a `closed` one stays there, whether it takes part in a recurrence or not.
    """

    indices: tuple[str, ...]
    ranges: tuple[Range, ...] = ()
    masks: tuple[Expr, ...] = ()
    reverse: bool = False
    number: int = 0
    outer: Block | None = None
    span: Span | None = _span()
    closed: bool = False

    @property
    def path(self) -> tuple[Block, ...]:
        """The blocks that it stands in and itself, outer ones first."""
        return (*(self.outer.path if self.outer is not None else ()), self)


@dataclass(frozen=True)
class Statement(Keeper):
    """For every point of `domain`: combine `value` into `target` by `op`. Make one with `statement`."""

    target: Access
    op: str
    value: Expr
    domain: Domain
    span: Span | None = _span()
    block: Block | None = None

    @property
    def reduced(self) -> tuple[str, ...]:
        """The indices that do not occur in the target."""
        return _reduced(self)


@dataclass(frozen=True)
class Shape:
    """A declared shape. `Size(tensor, axis)` of the tensor itself stands for an axis left open."""

    tensor: str
    dims: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Program(Keeper):
    """`name` is None for bare statements, whose inputs and outputs follow from them; else a layer's."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    statements: tuple[Statement, ...]
    shapes: tuple[Shape, ...] = ()
    dims: tuple[tuple[str, Expr], ...] = ()  # name of a dim, what it stands for
    name: str | None = None


def statement(
    target: Access,
    op: str,
    value: Expr,
    ranges: tuple[Range, ...] = (),
    masks: tuple[Expr, ...] = (),
    span: Span | None = None,
    block: Block | None = None,
) -> Statement:
    """A statement with its domain's indices in the order in which its text shows them, those of its blocks first.

    What the line of a block says of how far its index runs, stands in the domain, too.
    """
    if block is not None:
        written = {r.index for r in ranges}
        ranges = (*ranges, *(r for b in block.path for r in b.ranges if r.index not in written))
    domain = domain_of((target, value), ranges, masks)
    if block is not None:
        steps = [i for b in block.path for i in b.indices if i in domain.indices]
        indices = tuple(dict.fromkeys((*steps, *domain.indices)))
        ordered = tuple(sorted(domain.ranges, key=lambda r: indices.index(r.index)))
        domain = Domain(indices, ordered, domain.masks)
    return Statement(target, op, value, domain, span, block)


def domain_of(
    nodes: tuple[Subscript, ...], ranges: tuple[Range, ...], masks: tuple[Expr, ...], first: tuple[str, ...] = ()
) -> Domain:
    """The domain of what `nodes`, `ranges` and `masks` mention; `first` are the indices a Reduce names."""
    order = dict.fromkeys(first)
    for node in (*nodes, *masks):
        order.update(dict.fromkeys(indices_of(node)))
    order.update(dict.fromkeys(r.index for r in ranges))
    if first:  # a reduction has just its own indices; the others are its surroundings'
        order = dict.fromkeys(first)
    indices = tuple(order)
    return Domain(indices, tuple(sorted(ranges, key=lambda r: indices.index(r.index))), tuple(dict.fromkeys(masks)))


def children(node: Subscript) -> tuple[Subscript, ...]:
    """The direct parts of a node, in the order of the text; bounds and masks of a Reduce come after its body."""
    kind = type(node)  # the most frequent ones first: this is what all walks ask
    if kind is Access:
        return node.subscripts  # type: ignore[union-attr]
    if kind is Call:
        return node.args  # type: ignore[union-attr]
    if kind in _LEAVES:
        return ()
    match node:
        case Boundary(expr=e, lo=lo, hi=hi, value=value):
            return (e, *(p for p in (lo, hi) if p is not None), value)
        case Reduce(domain=domain, body=body):
            return body, *parts_of_domain(domain)
        case Access(subscripts=parts) | Call(args=parts):
            return parts
        case _:
            return ()


_LEAVES = frozenset((Index, Const, Size, Merged, Dots))


def operands(node: Subscript) -> tuple[Subscript, ...]:
    """The same as `children`, but all terms of a sum, and all factors of a product, side by side.

    What is found out from these is kept with a sum of a hundred terms once, not with each of its beginnings.
    """
    if type(node) is not Call or node.fn not in CHAINED or type(node.args[0]) is not Call:
        return children(node)
    first: Subscript = node
    found: list[Subscript] = []
    while type(first) is Call and first.fn in CHAINED:
        found.append(first.args[1])
        first = first.args[0]
    return (first, *found[::-1])


CHAINED = frozenset(("add", "sub", "mul", "div"))


def parts_of_domain(domain: Domain) -> tuple[Expr, ...]:
    """The bounds and the masks, in the order of the text."""
    bounds = (b for r in domain.ranges for b in (r.lo, r.hi) if b is not None)
    return (*bounds, *domain.masks)


def walk(node: Subscript) -> Iterator[Subscript]:
    """The node and all below it, in the order of the text, a part as often as it stands there."""
    left = [node]
    while left:
        part = left.pop()
        yield part
        if type(part) not in _LEAVES:
            left += children(part)[::-1]


@kept_upwards(operands)
def indices_of(node: Subscript) -> tuple[str, ...]:
    """The free indices of a node, in order of first occurrence: a Reduce binds its own."""
    match node:
        case Index(name):
            return (name,)
        case Merged(names):
            return tuple(dict.fromkeys(names))
        case Dots():
            return (DOTS,)
        case _:
            found = dict.fromkeys([i for part in operands(node) for i in indices_of(part)])
            bound = node.domain.indices if isinstance(node, Reduce) else ()
            return tuple([i for i in found if i not in bound])


@kept_upwards(operands)
def reads(node: Subscript) -> bool:
    """Whether a tensor's value is read below a node."""
    return isinstance(node, Access) or any([reads(p) for p in operands(node)])


# -- facts ---------------------------------------------------------------------------------------------


@kept
def _number_of(const: Const) -> tuple[type, str]:
    return type(const.value), repr(const.value)


@kept
def _reduced(stmt: Statement) -> tuple[str, ...]:
    free = set(indices_of(stmt.target))
    return tuple(i for i in stmt.domain.indices if i not in free)


@kept
def parts_of(stmt: Statement) -> tuple[Subscript, ...]:
    """Every node of a statement: target, value, ranges, masks. A call that stands in several places is there once."""
    roots: tuple[Subscript, ...] = (stmt.target, stmt.value, *parts_of_domain(stmt.domain))
    left, parts, seen = [*roots[::-1]], list[Subscript](), set[int]()
    while left:
        part = left.pop()
        if type(part) is Call:
            if id(part) in seen:
                continue
            seen.add(id(part))
        parts.append(part)
        if type(part) not in _LEAVES:
            left += children(part)[::-1]
    return tuple(parts)


@kept
def accesses_of(stmt: Statement) -> tuple[Access, ...]:
    """Every access of a statement, its target first."""
    return tuple([p for p in parts_of(stmt) if isinstance(p, Access)])


@kept
def sizes_of(stmt: Statement) -> tuple[Size, ...]:
    """Every size that a statement asks for."""
    return tuple([p for p in parts_of(stmt) if isinstance(p, Size)])


@kept
def tensors_in(stmt: Statement) -> tuple[str, ...]:
    """The tensors that a statement names, for their values or their sizes, in order of first occurrence."""
    return tuple(dict.fromkeys([p.tensor for p in parts_of(stmt) if isinstance(p, Access | Size)]))


@kept
def reductions_of(stmt: Statement) -> tuple[Reduce, ...]:
    """Every embedded reduction of a statement, outer ones first."""
    return tuple([p for p in parts_of(stmt) if isinstance(p, Reduce)])


@kept
def reads_of(stmt: Statement) -> tuple[str, ...]:
    """The tensors whose values a statement reads, in order; its own target is not one of them."""
    return tuple(dict.fromkeys([p.tensor for p in accesses_of(stmt) if p is not stmt.target]))


def blocks_of(stmt: Statement) -> tuple[Block, ...]:
    """The blocks that a statement stands in, outer ones first."""
    return () if stmt.block is None else stmt.block.path


def steps_of(stmt: Statement) -> tuple[str, ...]:
    """The indices of the blocks that a statement stands in, outer ones first."""
    return tuple(i for block in blocks_of(stmt) for i in block.indices)


GRAD = "grad"  # the last part of a gradient's name; a number behind it keeps it fresh at higher order
TANGENT = "dot"  # that of a tangent's


def primal_of(name: str) -> str | None:
    """The tensor whose gradient or tangent `name` is: `x` of `x.grad`, `x.grad2` and `x.dot`; None for other names."""
    return _primal(name, GRAD) or _primal(name, TANGENT)


def is_tangent(name: str) -> bool:
    """Whether a name is that of a tangent: `x.dot`, `x.dot2`."""
    return _primal(name, TANGENT) is not None


def _primal(name: str, kind: str) -> str | None:
    head, dot, last = name.rpartition(".")
    if dot and last.startswith(kind) and (last == kind or last[len(kind) :].isdecimal()):
        return head
    return None
