"""What stands behind `where`: ranges and masks.

In: the conditions of a statement. Out: ranges of indices, masks, and to which reduction each belongs. The one rule:
one bare index compared with what has neither indices nor values of tensors is a range; all else is a mask.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ..errors import Span
from ..program.functions import CONSTANTS
from ..program.ir import Expr, Range, Statement, indices_of
from ..syntax import tree
from .converter import tree_children
from .scope import Scope
from .subscripts import next_after

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(eq=False)
class Condition:
    """One comparison, or anything else that is true or false.

    `bare` is what may be an index with a range: a name that is compared with `bound`, as `op` says.
    """

    node: tree.Expr
    names: frozenset[str]  # the bare names in it that no reduction of its own runs over
    bare: tree.Name | None = None
    op: str = ""
    bound: tree.Expr | None = None
    used: bool = False

    @property
    def span(self) -> Span:
        return self.node.span


def split(conditions: Sequence[tree.Expr], scope: Scope) -> list[Condition]:
    """The conditions, a chain of comparisons as its parts."""
    return [_condition(part, scope) for node in conditions for part in _comparisons(node)]


def steps_of(path: Sequence[tree.For], scope: Scope) -> tuple[str, ...]:
    """The indices of blocks, outer ones first."""
    found: dict[str, None] = {}
    for block in path:
        for written in block.ranges:
            if isinstance(written, tree.Name):
                found[written.name] = None
            else:
                several = split([written], scope)
                bare = [c.bare.name for c in several if c.bare is not None]
                found.update(dict.fromkeys(bare or _own(several, scope)))
    return tuple(found)


def _own(conditions: Sequence[Condition], scope: Scope) -> list[str]:
    """The index of `for j < i`, where i is a step of a block around it: the name that stands alone first."""
    for condition in conditions:
        if isinstance(condition.node, tree.Compare):
            for operand in map(_bare, condition.node.operands):
                if isinstance(operand, tree.Name) and not is_size(operand, scope):
                    return [operand.name]
    return []


def misplaced(stmt: Statement, op: str, steps: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Why a statement may not stand in a block with these indices: code, rule, the way out."""
    for name in steps:
        if name not in stmt.domain.indices:
            rule = f"a statement in a block has the block's index in it, and this one has no '{name}'"
            yield "block-index", rule, f"move it out of the block, or say how far {name} runs in its for"
    for name in steps:
        if op == "=" and name in stmt.reduced:
            rule = f"each step sets this again: '{name}' is not in its subscripts"
            way = f"let {name} say which element it is, or accumulate with +="
            if name not in (*indices_of(stmt.value), *(i for m in stmt.domain.masks for i in indices_of(m))):
                way = f"move it in front of the block; or {way}"
            yield "set-each-step", rule, way


def split_names(node: tree.Expr) -> Iterator[str]:
    """The bare names in a range as written."""
    return _names(node, frozenset())


def _comparisons(node: tree.Expr) -> Iterator[tree.Expr]:
    if isinstance(node, tree.Compare) and len(node.ops) > 1:
        for op, a, b in zip(node.ops, node.operands, node.operands[1:], strict=False):
            yield tree.Compare((op,), (a, b), a.span.to(b.span))
    else:
        yield node


def _condition(node: tree.Expr, scope: Scope) -> Condition:
    names = frozenset(_names(node, frozenset()))
    if isinstance(node, tree.Compare) and node.ops[0] in _MIRRORED:
        op, (a, b) = node.ops[0], map(_bare, node.operands)
        if isinstance(a, tree.Name) and not is_size(a, scope) and is_size(b, scope):
            return Condition(node, names, a, op, b)
        if isinstance(b, tree.Name) and not is_size(b, scope) and is_size(a, scope):
            return Condition(node, names, b, _MIRRORED[op], a)
    return Condition(node, names)


def _bare(node: tree.Expr) -> tree.Expr:
    """What a plus stands before."""
    while isinstance(node, tree.Unary) and node.op == "+":
        node = node.operand
    return node


def is_size(node: tree.Subscript, scope: Scope) -> bool:
    """Whether an expression as written has neither indices nor values of tensors."""
    match node:
        case tree.Name(name):
            return name in scope.dims or name in scope.options or name in CONSTANTS
        case tree.Call("size"):
            return True
        case tree.Number() | tree.Unary() | tree.Binary() | tree.Compare() | tree.Call():
            return all(is_size(child, scope) for child in tree_children(node))
        case _:
            return False


def _names(node: tree.Subscript, bound: frozenset[str]) -> Iterator[str]:
    match node:
        case tree.Name(name):
            if name not in bound:
                yield name
        case tree.Reduction(_, indices, body):
            yield from _names(body, bound | set(indices))
        case tree.Call("size"):
            pass
        case _:
            for child in tree_children(node):
                yield from _names(child, bound)


def belongs(condition: Condition, own: Collection[str], around: Collection[str], reductions: Collection[str]) -> bool:
    """Whether a condition is one of the reduction over `own`, inside of those over `around`."""
    mentioned = condition.names.intersection(reductions)
    return not mentioned.isdisjoint(own) and mentioned.issubset(around)


def range_of(index: str, op: str, bound: Expr, span: Span) -> Range:
    """`index op bound` as lo <= index < hi."""
    match op:
        case "<":
            return Range(index, None, bound, span)
        case "<=":
            return Range(index, None, next_after(bound), span)
        case ">":
            return Range(index, next_after(bound), None, span)
        case _:
            return Range(index, bound, None, span)


def both(first: Range, second: Range) -> Range | None:
    """The range that two conditions give together; None if both give the same end."""
    if (first.lo is None) == (second.lo is None):
        return None
    lo, hi = (first, second) if first.hi is None else (second, first)
    return Range(first.index, lo.lo, hi.hi, first.span)
