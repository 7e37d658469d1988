"""Expressions and statements rebuilt with other parts in them.

In: a node and a rule. Out: the node with what the rule makes of its parts. The one rule: a part in which nothing
changes stays the same object, and with it what is known of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace

from .facts import kept
from .ir import (
    Access,
    Block,
    Boundary,
    Call,
    Domain,
    Expr,
    Range,
    Reduce,
    Statement,
    Subscript,
    children,
    parts_of_domain,
    statement,
)

Rewriting = Callable[[Subscript], Subscript | None]


def transform(node: Subscript, rule: Rewriting) -> Subscript:
    """The node rebuilt bottom-up: `rule` gets each rebuilt part, and keeps it by giving None.

    A part in which nothing changes stays the same object, and one that stands in several places is rebuilt once.
    """
    return _rebuilt(node, rule, {})


def _rebuilt(node: Subscript, rule: Rewriting, done: dict[int, Subscript]) -> Subscript:
    """`done` has, by identity, what became of calls."""
    parts = children(node)
    made = node
    if parts:
        found = done.get(id(node))
        if found is not None:
            return found
        new = tuple([_rebuilt(p, rule, done) for p in parts])
        if not all(map(operator.is_, new, parts)):
            made = _with_children(node, new)
    changed = rule(made)
    if changed is None:
        changed = made
    if parts:
        done[id(node)] = changed
    return changed


def _with_children(node: Subscript, parts: tuple[Subscript, ...]) -> Subscript:
    """The node with other parts, in the order of `children`."""
    match node:
        case Access(tensor, _, span):
            return Access(tensor, parts, span)
        case Call(fn, _, span):
            return Call(fn, tuple(map(_as_expr, parts)), span)
        case Boundary(lo=lo, hi=hi):
            e, *ends, value = map(_as_expr, parts)
            hi = None if hi is None else ends.pop()
            return Boundary(node.kind, e, None if lo is None else ends.pop(), hi, value, node.span)
        case Reduce(op, domain, _, span):
            body, *others = map(_as_expr, parts)
            return Reduce(op, _with_parts(domain, others), body, span)
        case _:
            raise AssertionError("a leaf has no parts")


def _with_parts(domain: Domain, parts: Sequence[Expr]) -> Domain:
    """The domain with other bounds and masks, in the order of the ranges and masks; the indices stay."""
    left = iter(parts)
    ranges = []
    for r in domain.ranges:
        lo, hi = (None if end is None else next(left) for end in (r.lo, r.hi))
        ranges.append(Range(r.index, lo, hi, r.span))
    return Domain(domain.indices, tuple(ranges), tuple(left))


def _as_expr(node: Subscript) -> Expr:
    assert isinstance(node, Expr), "the rule put a subscript where a value belongs"
    return node


def transform_expr(node: Expr, rule: Rewriting) -> Expr:
    """`transform` for an expression, checked to give an expression."""
    return _as_expr(transform(node, rule))


def transform_domain(domain: Domain, rule: Rewriting) -> Domain:
    """The ranges and masks rebuilt; the indices stay."""
    return _domain(domain, rule, {})


def _domain(domain: Domain, rule: Rewriting, done: dict[int, Subscript]) -> Domain:
    parts = parts_of_domain(domain)
    new = [_as_expr(_rebuilt(p, rule, done)) for p in parts]
    return domain if all(map(operator.is_, new, parts)) else _with_parts(domain, new)


def transform_statement(stmt: Statement, rule: Rewriting) -> Statement:
    """All parts of a statement rebuilt, its domain's order made anew."""
    done: dict[int, Subscript] = {}
    target, value = _rebuilt(stmt.target, rule, done), _as_expr(_rebuilt(stmt.value, rule, done))
    domain = _domain(stmt.domain, rule, done)
    assert isinstance(target, Access)
    if target is stmt.target and value is stmt.value and domain is stmt.domain:
        return _in_order(stmt)
    block = stmt.block if domain == stmt.domain else transform_block(stmt.block, rule)
    return statement(target, stmt.op, value, domain.ranges, domain.masks, stmt.span, block)


def transform_block(block: Block | None, rule: Rewriting) -> Block | None:
    """What the line of a block says rebuilt, and those of the blocks that it stands in."""
    if block is None:
        return None
    found = transform_domain(Domain(block.indices, block.ranges, block.masks), rule)
    return replace(block, ranges=found.ranges, masks=found.masks, outer=transform_block(block.outer, rule))


@kept
def _in_order(stmt: Statement) -> Statement:
    """The statement with its domain's indices in the order in which its text shows them."""
    made = statement(stmt.target, stmt.op, stmt.value, stmt.domain.ranges, stmt.domain.masks, stmt.span, stmt.block)
    return stmt if made.domain == stmt.domain else made


def with_value(stmt: Statement, value: Expr) -> Statement:
    """The statement with another value, its domain's order made anew."""
    if value is stmt.value:
        return _in_order(stmt)
    return statement(stmt.target, stmt.op, value, stmt.domain.ranges, stmt.domain.masks, stmt.span, stmt.block)
