"""The Program: forward, derivative and optimised programs alike are values of this one type.

    Program   ::= inputs outputs Statement*  (and the declared Shapes, and the names of dims)
    Statement ::= Access op Expr Domain             op: =  +=  *=  max=  min=
    Domain    ::= index*  Range*  mask*             the box of the ranges, less what a mask refuses
    Range     ::= [lo <=] index [< hi]              written in a `where`, hence authoritative
    Expr      ::= Const | Index | Size | Access | Call | Reduce
    Access    ::= tensor [Subscript*]
    Subscript ::= Expr | Boundary | Merged | Dots
    Reduce    ::= op[index*](Expr)  with a Domain of its own

A statement means: for every point of its domain, combine the value into the target. Nothing says on
which side an index must occur, so the swap rule maps Programs to Programs.

A Program is exactly what its text says: ranges that the text leaves out are not stored but solved by
`shapes`, from the accesses, always in the same way. Printing and parsing therefore lose nothing.
Spans take no part in comparisons.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

from ..errors import Span

DOTS = "..."  # the index that stands for the axes of an ellipsis, until ranks are known


def _span() -> Span | None:
    return cast(Span | None, field(default=None, compare=False, repr=False))


class _Kept:
    """A node that may keep what was found out about it, under names with an underscore: its own, not to be copied."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}


@dataclass(frozen=True, eq=False)
class Const(_Kept):
    """A number of the source. 1, 1.0 and True are different constants; nan equals itself."""

    value: int | float | bool
    span: Span | None = _span()

    @cached_property
    def _key(self) -> tuple[type, str]:
        return type(self.value), repr(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Const) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


@dataclass(frozen=True)
class Index(_Kept):
    """An index, as a part of a subscript or as a number."""

    name: str
    span: Span | None = _span()


@dataclass(frozen=True)
class Size(_Kept):
    """`size(tensor, axis)`; names of dims are resolved to it."""

    tensor: str
    axis: int
    span: Span | None = _span()


@dataclass(frozen=True)
class Dots(_Kept):
    """`...` in a subscript list: the axes of the index `...`."""

    span: Span | None = _span()


@dataclass(frozen=True)
class Merged(_Kept):
    """`(i,j,c)`: one axis run by several indices, row-major, each index's radix its extent."""

    indices: tuple[str, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Boundary(_Kept):
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
class Access(_Kept):
    """A tensor at a position; a scalar tensor has no subscripts."""

    tensor: str
    subscripts: tuple[Subscript, ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True)
class Call(_Kept):
    """A row of `functions.FUNCTIONS` (operators included: add, mul, lt, where, ...) applied to arguments."""

    fn: str
    args: tuple[Expr, ...]
    span: Span | None = _span()

    @cached_property
    def _hash(self) -> int:
        return hash((self.fn, self.args))

    def __hash__(self) -> int:
        return self._hash


@dataclass(frozen=True)
class Reduce(_Kept):
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


@dataclass(frozen=True)
class Statement(_Kept):
    """For every point of `domain`: combine `value` into `target` by `op`. Make one with `statement`."""

    target: Access
    op: str
    value: Expr
    domain: Domain
    span: Span | None = _span()

    @cached_property
    def _reduced(self) -> tuple[str, ...]:
        free = set(indices_of(self.target))
        return tuple(i for i in self.domain.indices if i not in free)

    @property
    def reduced(self) -> tuple[str, ...]:
        """The indices that do not occur in the target."""
        return self._reduced


@dataclass(frozen=True)
class Shape:
    """A declared shape. `Size(tensor, axis)` of the tensor itself stands for an axis left open."""

    tensor: str
    dims: tuple[Expr, ...]
    span: Span | None = _span()


@dataclass(frozen=True)
class Program:
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
) -> Statement:
    """A statement with its domain's indices put in the order in which its text shows them."""
    return Statement(target, op, value, domain_of((target, value), ranges, masks), span)


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
    return Domain(indices, tuple(sorted(ranges, key=lambda r: indices.index(r.index))), masks)


_LEAVES = frozenset((Const, Index, Size, Merged, Dots))


def children(node: Subscript) -> tuple[Subscript, ...]:
    """The direct parts of a node, in the order of the text; masks of a Reduce come after its body."""
    match node:
        case Const() | Index() | Size() | Merged() | Dots():
            return ()
        case Access(subscripts=parts):
            return parts
        case Call(args=parts):
            return parts
        case Boundary(expr=e, lo=lo, hi=hi, value=value):
            return (e, *(p for p in (lo, hi) if p is not None), value)
        case Reduce(domain=domain, body=body):
            bounds = (b for r in domain.ranges for b in (r.lo, r.hi) if b is not None)
            return (body, *bounds, *domain.masks)


def walk(node: Subscript) -> Iterator[Subscript]:
    """The node and all below it, in the order of the text."""
    left = [node]
    while left:
        part = left.pop()
        yield part
        if type(part) not in _LEAVES:
            left += _below(part)[::-1]


def _below(node: Subscript) -> tuple[Subscript, ...]:
    """The same as `children`, the most frequent nodes first."""
    if type(node) is Access:
        return node.subscripts
    return node.args if type(node) is Call else children(node)


def indices_of(node: Subscript) -> tuple[str, ...]:
    """The free indices of a node, in order of first occurrence: a Reduce binds its own."""
    kept: dict[str, Any] = node.__dict__
    found: tuple[str, ...] | None = kept.get("_indices")
    if found is None:
        match node:
            case Index(name):
                found = (name,)
            case Merged(names):
                found = tuple(dict.fromkeys(names))
            case Dots():
                found = (DOTS,)
            case Reduce(domain=domain):
                inside = dict.fromkeys(i for child in children(node) for i in indices_of(child))
                found = tuple(i for i in inside if i not in domain.indices)
            case _:
                found = tuple(dict.fromkeys([i for child in _below(node) for i in indices_of(child)]))
        kept["_indices"] = found
    return found


def transform(node: Subscript, rule: Callable[[Subscript], Subscript | None]) -> Subscript:
    """The node rebuilt bottom-up: `rule` gets each rebuilt part, and keeps it by giving None.

    A part in which nothing changes stays the same object.
    """
    rebuilt: Subscript = node
    match node:
        case Const() | Index() | Size() | Merged() | Dots():
            pass
        case Access(subscripts=parts):
            subscripts = tuple([transform(p, rule) for p in parts])
            if not _same(subscripts, parts):
                rebuilt = Access(node.tensor, subscripts, node.span)
        case Call(args=parts):
            args = tuple([_expr(p, rule) for p in parts])
            if not _same(args, parts):
                rebuilt = Call(node.fn, args, node.span)
        case Boundary(expr=e, lo=lo, hi=hi, value=value):
            rebuilt = replace(
                node,
                expr=_expr(e, rule),
                lo=None if lo is None else _expr(lo, rule),
                hi=None if hi is None else _expr(hi, rule),
                value=_expr(value, rule),
            )
        case Reduce(domain=domain, body=body):
            rebuilt = Reduce(node.op, transform_domain(domain, rule), _expr(body, rule), node.span)
    changed = rule(rebuilt)
    return rebuilt if changed is None else changed


def _same(new: Sequence[object], old: Sequence[object]) -> bool:
    return all(map(operator.is_, new, old))


def transform_expr(node: Expr, rule: Callable[[Subscript], Subscript | None]) -> Expr:
    """`transform` for an expression, checked to give an expression."""
    return _expr(node, rule)


def _expr(node: Expr, rule: Callable[[Subscript], Subscript | None]) -> Expr:
    result = transform(node, rule)
    assert isinstance(result, Const | Index | Size | Access | Call | Reduce), (
        "the rule put a subscript where a value belongs"
    )
    return result


def transform_domain(domain: Domain, rule: Callable[[Subscript], Subscript | None]) -> Domain:
    """The ranges and masks rebuilt; the indices stay."""
    if not domain.ranges and not domain.masks:
        return domain
    ranges = tuple(
        replace(
            r,
            lo=None if r.lo is None else _expr(r.lo, rule),
            hi=None if r.hi is None else _expr(r.hi, rule),
        )
        for r in domain.ranges
    )
    return Domain(domain.indices, ranges, tuple(_expr(m, rule) for m in domain.masks))


def transform_statement(stmt: Statement, rule: Callable[[Subscript], Subscript | None]) -> Statement:
    """All parts of a statement rebuilt, its domain's order made anew."""
    target = transform(stmt.target, rule)
    assert isinstance(target, Access)
    value, domain = _expr(stmt.value, rule), transform_domain(stmt.domain, rule)
    changed = statement(target, stmt.op, value, domain.ranges, domain.masks, stmt.span)
    same = target is stmt.target and value is stmt.value and domain is stmt.domain
    return stmt if same and changed.domain == domain else changed


def parts_of(stmt: Statement) -> tuple[Subscript, ...]:
    """Every node of a statement: target, value, ranges, masks."""
    kept: dict[str, Any] = stmt.__dict__
    found: tuple[Subscript, ...] | None = kept.get("_parts")
    if found is None:
        bounds = (b for r in stmt.domain.ranges for b in (r.lo, r.hi) if b is not None)
        nodes = (stmt.target, stmt.value, *bounds, *stmt.domain.masks)
        parts: list[Subscript] = []
        left: list[Subscript] = list(reversed(nodes))
        while left:
            part = left.pop()
            parts.append(part)
            if type(part) not in _LEAVES:
                left += _below(part)[::-1]
        found = kept["_parts"] = tuple(parts)
    return found


def reads_of(stmt: Statement) -> tuple[str, ...]:
    """The tensors whose values a statement reads, in order; its own target is not one of them."""
    kept: dict[str, Any] = stmt.__dict__
    found: tuple[str, ...] | None = kept.get("_read")
    if found is None:
        accesses = (p for p in parts_of(stmt) if isinstance(p, Access) and p is not stmt.target)
        found = kept["_read"] = tuple(dict.fromkeys(p.tensor for p in accesses))
    return found


GRAD = "grad"  # the last part of a gradient's name; a number behind it keeps it fresh at higher order


def primal_of(name: str) -> str | None:
    """The tensor whose gradient `name` is (`x` of `x.grad` and `x.grad2`), None if it is no gradient's name."""
    head, dot, last = name.rpartition(".")
    if dot and last.startswith(GRAD) and (last == GRAD or last[len(GRAD) :].isdecimal()):
        return head
    return None
