"""The subscripts of a statement, each with the masks under which it is used, and what masks say of integers.

In: a Statement. Out: a `Use` for each subscript of each access; the margins of a mask. The one rule: a mask that reads
nothing guards what other masks read, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .affine import Affine
from .errors import Span
from .ir import Access, Call, Const, Dots, Expr, Index, Reduce, Size, Statement, Subscript, children, walk

_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}


@dataclass(frozen=True)
class Use:
    """One subscript of one access, and the masks under which it is read or written."""

    access: Access
    axis: int
    subscript: Subscript
    masks: tuple[Expr, ...]
    scope: tuple[str, ...]  # the indices of the domains that it stands in
    is_target: bool = False

    @property
    def tensor(self) -> str:
        return self.access.tensor

    @property
    def span(self) -> Span | None:
        return self.subscript.span or self.access.span


def uses(stmt: Statement) -> tuple[Use, ...]:
    """All subscripts of a statement, the target's first; a read inside of a subscript comes after that subscript."""
    kept: dict[str, Any] = stmt.__dict__
    found: tuple[Use, ...] | None = kept.get("_uses")
    if found is None:
        found = kept["_uses"] = tuple(_uses(stmt))
    return found


def _uses(stmt: Statement) -> Iterator[Use]:
    masks, scope = stmt.domain.masks, stmt.domain.indices
    yield from _of_access(stmt.target, masks, scope, is_target=True)
    yield from _below(stmt.value, masks, scope)
    yield from _of_masks(masks, masks, scope)


def _of_access(
    access: Access, masks: tuple[Expr, ...], scope: tuple[str, ...], is_target: bool = False
) -> Iterator[Use]:
    front = bool(access.subscripts) and isinstance(access.subscripts[0], Dots)
    for number, s in enumerate(access.subscripts):
        axis = number - len(access.subscripts) if front else number
        if not isinstance(s, Dots):
            yield Use(access, axis, s, masks, scope, is_target)
            for child in children(s) if not isinstance(s, Access) else (s,):
                yield from _below(child, masks, scope)


def _below(node: Subscript, masks: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    match node:
        case Access():
            yield from _of_access(node, masks, scope)
        case Reduce(domain=domain, body=body):
            inner, indices = (*masks, *domain.masks), (*scope, *domain.indices)
            yield from _below(body, inner, indices)
            yield from _of_masks(domain.masks, inner, indices)
        case _:
            for child in children(node):
                yield from _below(child, masks, scope)


def _of_masks(masks: Iterable[Expr], around: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    """What a mask reads is guarded by the masks that read nothing."""
    static = tuple(m for m in around if not reads(m))
    for mask in masks:
        yield from _below(mask, static, scope)


def reads(node: Subscript) -> bool:
    """Whether a tensor's value is read below a node."""
    kept: dict[str, Any] = node.__dict__
    found: bool | None = kept.get("_reads")
    if found is None:
        found = kept["_reads"] = any(isinstance(p, Access) for p in walk(node))
    return found


def conjuncts(mask: Expr) -> Iterator[tuple[str, Expr, Expr]]:
    """The comparisons that all hold where a mask does: (fn, left, right)."""
    match mask:
        case Call(fn="and", args=args):
            for a in args:
                yield from conjuncts(a)
        case Call(fn="lt" | "le" | "gt" | "ge" | "eq" as fn, args=(a, b)):
            yield fn, a, b
        case Call(fn="not", args=(Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(a, b)),)):
            yield _OPPOSITE[fn], a, b
        case _:
            return


def margins(mask: Expr) -> Iterator[Affine]:
    """Forms that are not negative where a mask holds, of its comparisons of integers."""
    for fn, a, b in conjuncts(mask):
        if reads(a) or reads(b) or not (_is_integer(a) and _is_integer(b)):
            continue
        difference = Affine.from_expr(b) - Affine.from_expr(a)
        if fn in ("gt", "ge"):
            difference = -difference
        yield difference - 1 if fn in ("lt", "gt") else difference
        if fn == "eq":
            yield -difference


def _is_integer(expr: Expr) -> bool:
    """Whether an expression that reads nothing is made of integers by integer arithmetic."""
    allowed = ("add", "sub", "mul", "neg", "floordiv", "mod", "min", "max", "int")
    return all(
        isinstance(p, Index | Size) or (isinstance(p, Const) and type(p.value) is int)
        or (isinstance(p, Call) and p.fn in allowed)
        for p in walk(expr)
    )  # fmt: skip
