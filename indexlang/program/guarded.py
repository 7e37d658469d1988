"""Under which conditions a statement reads.

In: a statement. Out: its reads, each with what holds wherever it counts. The one rule: conditions that read nothing
come first, then those on data as they are written, each guarded by those before it; a `where` reads what it chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .facts import kept
from .ir import Access, Call, Domain, Expr, Reduce, Statement, Subscript, children, parts_of_domain, reads

Guarded = tuple[Access, tuple[Expr, ...]]


@kept
def guarded_reads(stmt: Statement) -> tuple[Guarded, ...]:
    """The accesses of a statement but its target, and the conditions under which each is read."""
    found: dict[Guarded, None] = {}
    held = (*in_order(stmt.domain.masks),)
    roots: list[tuple[Subscript, tuple[Expr, ...]]] = [(s, held) for s in stmt.target.subscripts]
    roots += [(stmt.value, held), *_of_domain(stmt.domain, ())]
    seen = set[tuple[int, tuple[Expr, ...]]]()
    left = roots[::-1]
    while left:
        node, conditions = left.pop()
        if isinstance(node, Call):
            if (id(node), conditions) in seen:
                continue
            seen.add((id(node), conditions))
        if isinstance(node, Access):
            found.setdefault((node, conditions))
        left += [*_inside(node, conditions)][::-1]
    return tuple(found)


def in_order(masks: Sequence[Expr]) -> list[Expr]:
    """Conditions as they are asked: those that read nothing first."""
    return sorted(masks, key=reads)


def _inside(node: Subscript, conditions: tuple[Expr, ...]) -> Iterator[tuple[Subscript, tuple[Expr, ...]]]:
    match node:
        case Call(fn="where", args=(c, a, b)):
            yield c, conditions
            yield a, (*conditions, c)
            yield b, (*conditions, Call("not", (c,)))
        case Reduce(domain=domain, body=body):
            yield body, (*conditions, *in_order(domain.masks))
            yield from _of_domain(domain, conditions)
        case _:
            yield from ((child, conditions) for child in children(node))


def _of_domain(domain: Domain, conditions: tuple[Expr, ...]) -> Iterator[tuple[Subscript, tuple[Expr, ...]]]:
    """The parts of a domain, each condition under those that are asked before it."""
    masks = in_order(domain.masks)
    yield from ((m, (*conditions, *masks[:k])) for k, m in enumerate(masks))
    yield from ((part, conditions) for part in parts_of_domain(domain) if part not in domain.masks)
