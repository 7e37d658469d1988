"""Which statements run together, block by block, so that what one makes the next one reads from the cache.

In: a program with its shapes and types. Out: the order in which its statements run, with `Chain`s among them. The one
rule: every statement of a chain goes through the chain's block indices alike: a block of what one makes is just what
the block of another one reads. What is reduced over a block index is complete only after the chain.

An elementwise statement is a chain of its own, too. Contractions never join one: their kernels do more work for each
element that they read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...program.ir import Index, Merged, Reduce, Statement, indices_of, reads_of
from ..blocks import itemsize
from .chain import Chain, Facts
from .joining import Joining
from .statements import size_of
from .values import RefusedError


def schedule(facts: Facts) -> Iterator[int | Chain]:
    """The statements' numbers and chains, in the order in which they run."""
    statements = facts.program.statements
    order = deferred(facts)
    done: set[int] = set()
    begun: set[str] = set()
    for place, k in enumerate(order):
        if k in done:
            continue
        found = _longest(facts, order[place:], done, begun)
        if found is None:
            yield k
            done.add(k)
            begun.add(statements[k].target.tensor)
            continue
        done.update(found.numbers)
        begun.update(s.tensor for s in found.stores)
        yield found.chain(done)


def deferred(facts: Facts) -> list[int]:
    """The statements in an order in which additions to one tensor come together, behind the last one.

    Contractions stay where they are, for the first one writes what it makes just where it belongs. What covers the
    tensor comes before what reaches parts of it. A statement waits only if that keeps no more in memory: its large
    operands are needed later anyway, or there is one of them, instead of the tensor that is not yet begun.
    """
    statements, shapes = facts.program.statements, facts.shapes.tensors
    last_read = dict.fromkeys((*facts.program.inputs, *facts.program.outputs), len(statements))
    for k, stmt in enumerate(statements):
        for tensor in reads_of(stmt):
            last_read[tensor] = max(k, last_read.get(tensor, 0))
    behind: dict[int, list[int]] = {}
    for tensor, numbers in facts.writers.items():
        last = numbers[-1]
        if len(numbers) == 1 or any(statements[k].op != "+=" for k in numbers):
            continue
        waiting = []
        for k in numbers:
            stmt = statements[k]
            large = [t for t in set(reads_of(stmt)) if size_of(shapes[t]) >= facts.limits.least and last_read[t] < last]
            instead = k == numbers[0] and len(large) == 1 and size_of(shapes[large[0]]) <= size_of(shapes[tensor])
            if not stmt.reduced and not isinstance(stmt.value, Reduce) and (not large or instead):
                waiting.append(k)
        if waiting != numbers[-len(waiting) :] or len(waiting) > 1:
            behind[last] = sorted(waiting, key=lambda k: (not _covers(statements[k]), k))
    moved = {k for numbers in behind.values() for k in numbers}
    order: list[int] = []
    for k in range(len(statements)):
        if k not in moved:
            order.append(k)
        order += behind.get(k, ())
    return order


def _covers(stmt: Statement) -> bool:
    """Whether a statement reaches each element of its target by an index of its own."""
    subscripts = stmt.target.subscripts
    return all(isinstance(s, Index) for s in subscripts) and len(set(subscripts)) == len(subscripts)


def _longest(facts: Facts, order: Sequence[int], done: set[int], begun: set[str]) -> Joining | None:
    """The longest chain that begins with the first statement of an order."""
    best: Joining | None = None
    most = facts.limits.full * facts.limits.chunk // itemsize(facts.compute[order[0]])
    for labels in _labels(facts, order[0]):
        try:
            building = Joining(facts, order[0], labels, begun, most)
        except RefusedError:
            continue
        building.extend(order, done)
        if building.is_worth_it() and (best is None or len(building.numbers) > len(best.numbers)):
            best = building
    return best


def _labels(facts: Facts, number: int) -> Iterator[tuple[str, ...]]:
    """The block indices to try: as many outer ones as make the rest small; fewer, if that is not too large."""
    stmt, extents = facts.program.statements[number], facts.shapes.extents[number]
    if not facts.compute[number].startswith("float"):
        return
    order = list(facts.candidates[number].order)
    sizes = {i: extents[i][1] - extents[i][0] for i in order}
    alone = set(order)  # indices that a block may be cut along
    if facts.candidates[number].is_window:
        order = [i for i in order if i not in stmt.reduced]
    for sub in stmt.target.subscripts:
        if not isinstance(sub, Index | Merged) and (names := indices_of(sub)):  # written around each point
            along = max(names, key=sizes.__getitem__)
            alone -= {along}
            order = [i for i in order if i == along or i not in names]
    rest = 1
    for i in order:
        rest *= sizes[i]
    if rest < facts.limits.least:
        return
    most = facts.limits.chunk // itemsize(facts.compute[number])
    if isinstance(stmt.value, Reduce):
        alone &= set(indices_of(stmt.target))
    found: list[str] = []
    shorter: tuple[str, ...] | None = None
    order = [i for i in order if sizes[i] > 1]
    for index in order:
        if rest <= most:
            break
        if found and rest <= facts.limits.full * most:
            shorter = tuple(found)
        if index == order[-1] and most * sizes[index] < facts.limits.narrow * rest:  # its runs would be too short
            break
        if index not in alone and not isinstance(stmt.value, Reduce):
            break  # what lies within it would be cut into short runs
        if index in alone:
            found.append(index)
            rest //= sizes[index]
    if rest <= facts.limits.full * most:
        yield tuple(found)
    if shorter is not None and shorter != tuple(found):
        yield shorter
