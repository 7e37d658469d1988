"""A reduction up to a bound as one running reduction, read where each bound ends.

In: a statement and its `Scan`s. Out: its value over the free indices. The one rule: what stands behind a bound never
enters what is read there, so infinities and nan stay where the loops have them; nothing is subtracted again. An
extremum may have bounds from both sides: it is that of two ranges whose lengths are a power of 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..program.ir import Expr, indices_of
from ..sizes.dtypes import kind_of
from .building import axes_of, here
from .evaluation import Evaluation
from .kernels import Map, Ranged, Running, Take
from .operators import SUMS
from .pairs import Pairs
from .places import Part, Place
from .quantities import Apply, Load, Number, Value
from .reads import masked, value_of
from .scan import Bound, Scan, scans
from .values import cast, position_of, unit
from .views import Extents, Row, Scope, whole

WINNERS = {"argmax": "max=", "argmin": "min="}  # and by which operator they win


def scans_of(stmt: Evaluation) -> tuple[Scan, ...]:
    """How the statement is a scan, or several; empty if it is none."""
    if stmt.compute == "bool" or not stmt.inner:
        return ()
    core, _, _ = split(stmt)
    value = {i for factor in core for i in indices_of(factor)}
    extremum = stmt.op in ("max=", "min=") if stmt.root is None else stmt.root.op in WINNERS
    found = scans(stmt.inner, value, stmt.summed, stmt.b.shapes, extremum)
    if found and found[0].between and (stmt.b.complex_step or stmt.sizes[found[0].index] <= 0):
        return ()
    return found if not found or stmt.root is None or _searchable(stmt, found) else ()


def _searchable(stmt: Evaluation, found: Sequence[Scan]) -> bool:
    """Whether passes find the winners: along each index, among all of its points."""
    kind = kind_of(stmt.b.kind(stmt.value))
    if stmt.root_of().op == "logsumexp":
        plain = kind != "complex" and stmt.is_float and not stmt.b.complex_step and len(found) == 1
    else:
        plain = not found[0].own and kind != "bool" and not (stmt.b.complex_step and len(found) > 1)
    return plain and len(stmt.summed) == len(found) and all(stmt.sizes[s.index] > 0 for s in found)


def split(stmt: Evaluation) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The value as factors that are summed, and the factors and divisors that a sum can wait for."""
    if stmt.root is None and stmt.op in SUMS and len(terms := stmt.terms()) == 1 and terms[0][0] > 0:
        core, outside, divisors = stmt.split(terms[0][1])
        if core:
            return core, outside, divisors
    return [stmt.value], [], []


def gone_along(stmt: Evaluation) -> list[str]:
    """The indices of what is gone along."""
    core, _, _ = split(stmt)
    every = dict.fromkeys((*stmt.stmt.domain.indices, *stmt.summed))
    return stmt.in_memory([i for i in every if any(i in indices_of(f) for f in core)])


def result_type(stmt: Evaluation) -> str:
    """The type of what runs: positions are int64."""
    return stmt.compute if stmt.root is None or stmt.root.op == "logsumexp" else "int64"


def _of_nothing(stmt: Evaluation) -> Number:
    """What comes of no point at all."""
    if stmt.root is None:
        return stmt.identity
    return unit("max=", stmt.compute) if stmt.root.op == "logsumexp" else Number(0, "int64")


def scanned(stmt: Evaluation, scope: Scope) -> Value:
    """The value over the free indices."""
    b, several = stmt.b, scans_of(stmt)
    core, outside, divisors = split(stmt)
    op = stmt.op if stmt.root is None else stmt.root.op
    place, nothing = _values(stmt, several, core, scope), None
    if stmt.root is not None and len(several) > 1:
        return stmt.masked_outer(_corner(stmt, several, place, scope), scope)
    for found in several:
        if found.between:
            place, nothing = _ranged(stmt, found, op, place, scope)
            break
        if nothing is not None:
            value = Apply("select", (nothing, _of_nothing(stmt), Load(place, stmt.compute)), stmt.compute)
            place = stmt.held(value, _axes(place, scope), scope).place
        running = b.part("running", _axes(place, scope), result_type(stmt), scope)
        b.run(running, "=", Running(op, place, found.index, not found.upper))
        place, nothing = _read(stmt, found, running, scope)
    result: Value = Load(place, place.buffer.dtype)
    for fn, part in [("mul", f) for f in outside] + [("div", d) for d in divisors]:
        result = Apply(fn, (result, value_of(b, part, scope)), stmt.compute)
    if nothing is not None:
        result = Apply("select", (nothing, _of_nothing(stmt), result), result.dtype)
    return stmt.masked_outer(result, scope)


def _ranged(stmt: Evaluation, found: Scan, op: str, place: Place, scope: Scope) -> tuple[Part, Value]:
    """What is best between two bounds, and where nothing is between them."""
    b, (lo, hi) = stmt.b, stmt.b.extents[found.index]
    order = [i for i in stmt.stmt.domain.indices if i in found.read]
    ends: list[Value] = []
    for upper, fn in ((False, "max"), (True, "min")):
        at: Value = Number(hi - 1 if upper else lo, "int64")
        for bound in (k for k in found.bounds if k.upper == upper):
            at = Apply(fn, (at, _end(bound)), "int64")
        at = Apply("sub", (at, Number(lo, "int64")), "int64") if lo else at
        ends.append(b.table("positions", order, at) if all(scope[i].whole for i in order) else at)
    indices = [i for axis in _axes(place, scope) for i in (order if axis == found.index else [axis])]
    best = b.part("best", here(indices, scope), result_type(stmt), scope)
    b.run(best, "=", Ranged(op, place, found.index, ends[0], ends[1]))
    return best, Apply("gt", (ends[0], ends[1]), "bool")


def _corner(stmt: Evaluation, several: Sequence[Scan], place: Place, scope: Scope) -> Value:
    """Where the first winner stands within a corner: along the innermost index, then among the best of that, ..."""
    b, op = stmt.b, stmt.root_of().op
    at: dict[str, Part] = {}
    nowhere: Value = Number(False, "bool")
    for found in sorted(several, key=lambda s: -stmt.summed.index(s.index)):
        axes = _axes(place, scope)
        winners, best = b.part("winners", axes, "int64", scope), b.part("best", axes, place.buffer.dtype, scope)
        b.run(winners, "=", Running(op, place, found.index, not found.upper))
        b.run(best, "=", Running(WINNERS[op], place, found.index, not found.upper))
        here_at, nothing = _read(stmt, found, winners, scope)
        place, _ = _read(stmt, found, best, scope)
        if nothing is not None:
            nowhere = Apply("or", (nowhere, nothing), "bool")
        mark = b.axis(stmt.sizes[found.index])
        inner = {**scope, **whole({mark: b.extents[mark]})}
        for index, part in at.items():
            moved = replace(part, moved=(*part.moved, (found.index, mark, 0, 1)))
            kept = [i for i in here_at.mentioned if i not in part.mentioned]
            axes = [i for axis in part.mentioned for i in (kept if axis == found.index else [axis])]
            taken = b.part("taken", here(axes, scope), "int64", inner)
            b.run(taken, "=", Take(moved, ((mark, Load(here_at, "int64")),)))
            at[index] = taken
        at[found.index] = here_at
    number: Value = Number(0, "int64")
    for index in stmt.summed:
        number = Apply("mul", (number, Number(stmt.sizes[index], "int64")), "int64")
        number = Apply("add", (number, Load(at[index], "int64")), "int64")
    return number if isinstance(nowhere, Number) else Apply("select", (nowhere, Number(0, "int64"), number), "int64")


def _axes(place: Place, scope: Scope) -> list[str]:
    """The indices of a place, a moved one by what it moves with."""
    return here(place.mentioned, scope) if isinstance(place, Part) else list(axes_of(place, scope))


def _values(stmt: Evaluation, several: Sequence[Scan], core: Sequence[Expr], scope: Scope) -> Place:
    """What is gone along: over the value's own indices, less the other reduced ones."""
    b, axes = stmt.b, here(gone_along(stmt), scope)
    along, own = {s.index for s in several}, several[0].own
    kept = [i for i in axes if i not in stmt.summed or i in along]
    if stmt.root is not None and stmt.root.op != "logsumexp":
        value = value_of(b, stmt.value, scope)
        if isinstance(value, Load) and value.dtype == value.place.buffer.dtype and set(kept) == set(axes):
            return value.place
        part = b.part("searched", kept, value.dtype, scope)
        b.run(part, "=", Map(value))
        return part
    if stmt.op in SUMS and not own and len(core) > 1:
        work = Pairs(b, scope, stmt.compute)
        result = work.run([stmt.factor(f, scope) for f in core], kept, None)
        stmt.notes += work.notes
        assert result is not None
        return result.place if isinstance(result, Load) else stmt.held(result, kept, scope).place
    value = cast(value_of(b, core[0], scope), stmt.compute)
    for factor in core[1:]:
        value = Apply("mul", (value, value_of(b, factor, scope)), stmt.compute)
    value = masked(b, value, own, scope, _of_nothing(stmt))
    if isinstance(value, Load) and set(kept) == set(axes):
        return value.place
    return stmt.held(stmt.reduced(value, [i for i in axes if i not in kept]), kept, scope).place


def _read(stmt: Evaluation, found: Scan, running: Part, scope: Scope) -> tuple[Part, Value | None]:
    """The running values at the bounds, and where nothing is within them."""
    b = stmt.b
    lo, hi = b.extents[found.index]
    order = [i for i in stmt.stmt.domain.indices if i in found.read]
    first, last = _reach(found, b.extents)
    if lo <= first and last < hi and (straight := _straight(found, running, lo)) is not None:
        return straight, None
    at = _end(found.bounds[0])
    for bound in found.bounds[1:]:
        at = Apply("min" if found.upper else "max", (at, _end(bound)), "int64")
    nothing: Value | None = None
    if found.upper and first < lo:
        nothing = Apply("lt", (at, Number(lo, "int64")), "bool")
    elif not found.upper and last >= hi:
        nothing = Apply("ge", (at, Number(hi, "int64")), "bool")
    if lo:
        at = Apply("sub", (at, Number(lo, "int64")), "int64")
    if first < lo or last >= hi:
        at = Apply("min", (Apply("max", (at, Number(0, "int64")), "int64"), Number(hi - lo - 1, "int64")), "int64")
    if all(scope[i].whole for i in order):
        at = b.table("positions", order, at)
        nothing = b.table("nothing", order, nothing) if nothing is not None else None
    indices = [i for axis in running.indices for i in (order if axis == found.index else [axis])]
    ends = b.part("ends", here(indices, scope), running.buffer.dtype, scope)
    b.run(ends, "=", Take(running, ((found.index, at),)))
    return ends, nothing


def _straight(found: Scan, running: Part, lo: int) -> Part | None:
    """The running values at the bound, where that is an index or moves with one."""
    if len(found.bounds) > 1 or found.bounds[0].by > 1:
        return None
    match found.bounds[0].row:
        case Row(const, ((index, step),)) if step > 0 and index not in running.indices:
            return replace(running, moved=((found.index, index, const - lo, step),))
        case _:
            return None


def _end(bound: Bound) -> Value:
    """The last position within an upper bound, or the first one within a lower one."""
    at = position_of(bound.row)
    by = Number(bound.by, "int64")
    if bound.by == 1:
        return at
    if bound.upper:
        return Apply("floordiv", (at, by), "int64")
    return Apply("neg", (Apply("floordiv", (Apply("neg", (at,), "int64"), by), "int64"),), "int64")


def _reach(found: Scan, extents: Extents) -> tuple[int, int]:
    """The least and the greatest position that the bounds name."""
    ends = []
    for bound in found.bounds:
        low, high = bound.row.interval(extents)
        ends.append((low // bound.by, high // bound.by) if bound.upper else (-(-low // bound.by), -(-high // bound.by)))
    pick = min if found.upper else max
    return pick(low for low, _ in ends), pick(high for _, high in ends)
