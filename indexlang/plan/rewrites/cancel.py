"""Indices that a subscript names and that do not move it: `x[k-k+2]` is `x[2]`, for every k.

In: a Program with its shapes. Out: the same, in which each affine subscript names just the indices that move it. The
one rule: the domain stays as it is, so what no subscript names any more still counts as often as its index has values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...program.affine import Affine
from ...program.ir import (
    Access,
    Boundary,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Statement,
    Subscript,
    indices_of,
    parts_of,
)
from ...program.rebuild import transform, transform_domain, transform_expr
from ...sizes.shapes import Shapes
from ..views import linear

Axes = Mapping[str, tuple[int, ...]]


def cancel(program: Program, shapes: Shapes) -> tuple[Program, Shapes]:
    """The program without the indices that cancel in a subscript."""
    statements, guarded = list(program.statements), list(shapes.guarded)
    for k, stmt in enumerate(statements):
        if any(isinstance(p, Access) and cancelled(p, shapes.tensors) is not p for p in parts_of(stmt)):
            statements[k] = _without(stmt, shapes.tensors)
            guarded[k] = frozenset((_access(a, shapes.tensors), axis) for a, axis in guarded[k])
    return replace(program, statements=tuple(statements)), replace(shapes, guarded=tuple(guarded))


def cancelled(access: Access, shapes: Axes) -> Access:
    """The access, its own subscripts without indices that cancel."""
    subscripts = tuple([_moved(s, shapes) for s in access.subscripts])
    same = all(a is b for a, b in zip(subscripts, access.subscripts, strict=True))
    return access if same else replace(access, subscripts=subscripts)


def _moved(sub: Subscript, shapes: Axes) -> Subscript:
    match sub:
        case Index() | Merged() | Dots():
            return sub
        case Boundary(expr=e):
            inner = _plain(e, shapes)
            return sub if inner is e else replace(sub, expr=inner)
        case _:
            return _plain(sub, shapes)


def _plain(expr: Expr, shapes: Axes) -> Expr:
    names = indices_of(expr)
    row = linear(expr, shapes) if names else None
    if row is None or len(row.coefs) == len(names):
        return expr
    return Affine(row.const, tuple((Index(i), c) for i, c in row.coefs)).to_expr()


def _without(stmt: Statement, shapes: Axes) -> Statement:
    def rule(part: Subscript) -> Subscript | None:
        return cancelled(part, shapes) if isinstance(part, Access) else None

    value, domain = transform_expr(stmt.value, rule), transform_domain(stmt.domain, rule)
    return replace(stmt, target=_access(stmt.target, shapes), value=value, domain=domain)


def _access(access: Access, shapes: Axes) -> Access:
    found = transform(access, lambda p: cancelled(p, shapes) if isinstance(p, Access) else None)
    assert isinstance(found, Access)
    return found
