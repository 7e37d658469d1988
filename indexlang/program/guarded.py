"""Under which conditions a statement reads.

In: a statement, conditions. Out: its reads, each with what holds wherever it counts; the conditions in the order in
which they are asked. The one rule: those that read nothing come first, then those whose positions data do not say, each
kind as it is written, and each guarded by those before it; a `where` reads what it chooses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .facts import kept, kept_upwards
from .ir import Access, Call, Domain, Expr, Reduce, Statement, Subscript, children, operands, parts_of_domain, reads

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
    """Conditions as they are asked."""
    return sorted(masks, key=_reaching)


def guards_of(masks: Sequence[Expr], mask: Expr) -> tuple[Expr, ...]:
    """The conditions that guard what one of them reads: those on data only where it reads at positions of data."""
    if _reaching(mask) < 2:
        return tuple(m for m in masks if not reads(m))
    asked = in_order(masks)
    return tuple(asked[: asked.index(mask)] if mask in asked else (m for m in asked if _reaching(m) < _reaching(mask)))


@kept_upwards(operands)
def _reaching(node: Subscript) -> int:
    """How often what is read says where to read next: 0 where nothing is read, 2 for `b[w[i]]`."""
    return max([_reaching(p) for p in operands(node)], default=0) + isinstance(node, Access)


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
