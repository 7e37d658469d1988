"""The subscripts of a statement, each with the masks under which it is used, and what masks say of integers.

In: a Statement. Out: a `Use` for each subscript of each access; the margins of a mask. The one rule: a mask that reads
nothing guards what other masks read, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import Span
from ..program.facts import kept
from ..program.ir import DOTS, Access, Dots, Expr, Index, Reduce, Statement, Subscript, accesses_of, children, reads


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
        inside, whole = self.subscript.span, self.access.span
        if inside is None or whole is None or whole.caller is None:
            return inside or whole
        return replace(inside, caller=whole.caller)


def called(index: str, found: Iterable[Use]) -> str | None:
    """An index as the text has it: `...` for one that stands for an axis of it; None if it writes no index there."""
    for use in found:
        span = use.subscript.span if isinstance(use.subscript, Index) and use.subscript.name == index else None
        if span is not None and span.text == DOTS:
            return DOTS
        if span is not None and span == use.access.span:
            return None
    return index


@kept
def uses(stmt: Statement) -> tuple[Use, ...]:
    """All subscripts of a statement, the target's first; a read inside of a subscript comes after that subscript."""
    return tuple(_uses(stmt))


@kept
def plain_uses(stmt: Statement) -> Mapping[str, tuple[Use, ...]]:
    """Those that are an index alone, by its name."""
    found: dict[str, list[Use]] = {}
    for use in uses(stmt):
        if isinstance(use.subscript, Index):
            found.setdefault(use.subscript.name, []).append(use)
    return {i: tuple(of_index) for i, of_index in found.items()}


@kept
def other_uses(stmt: Statement) -> tuple[Use, ...]:
    """Those that are more than an index."""
    return tuple([use for use in uses(stmt) if not isinstance(use.subscript, Index)])


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
            if not isinstance(s, Index):
                yield from _below(s, masks, scope)


def _below(node: Subscript, masks: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    """What stands in a node; a call that stands in several places has the same uses in each."""
    left, seen = [node], set[int]()
    while left:
        part = left.pop()
        match part:
            case Access():
                yield from _of_access(part, masks, scope)
            case Reduce(domain=domain, body=body):
                inner, indices = (*masks, *domain.masks), (*scope, *domain.indices)
                yield from _below(body, inner, indices)
                yield from _of_masks(domain.masks, inner, indices)
            case _ if id(part) not in seen:
                parts = children(part)
                if parts:
                    seen.add(id(part))
                    left += parts[::-1]
            case _:
                pass


def _of_masks(masks: Iterable[Expr], around: tuple[Expr, ...], scope: tuple[str, ...]) -> Iterator[Use]:
    """What a mask reads is guarded by the masks that read nothing."""
    static = tuple([m for m in around if not reads(m)])
    for mask in masks:
        yield from _below(mask, static, scope)


@kept
def ranks_in(stmt: Statement) -> Mapping[str, int]:
    """The ranks of the tensors that a statement accesses, where no ellipsis hides them."""
    ranks: dict[str, int] = {}
    for access in accesses_of(stmt):
        if Dots() not in access.subscripts:
            ranks.setdefault(access.tensor, len(access.subscripts))
    return ranks
