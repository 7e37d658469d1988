"""A reduction up to a bound as one running reduction, read where each bound ends.

In: a statement and its `Scan`. Out: its value over the free indices. The one rule: what stands behind a bound never
enters what is read there, so infinities and nan stay where the loops have them; nothing is subtracted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from ...plan.kernels import TABLE, itemsize
from ...plan.scan import Bound, Scan
from ...plan.scan import scan as find
from ...program.ir import Expr, indices_of
from .contractions import Contraction
from .evaluate import Evaluation
from .reads import row_code
from .source import Operand, Scope, aligned, name_of, sizes_of
from .values import Value, atom, emit
from .writes import REDUCE, SUMS, unit


def scan_of(stmt: Evaluation) -> Scan | None:
    """How the statement is a scan, if it is one."""
    if stmt.root is not None or stmt.compute == "bool" or not stmt.inner:
        return None
    core, _, _ = split(stmt)
    value = {i for factor in core for i in indices_of(factor)}
    return find(stmt.inner, value, stmt.summed, stmt.low.shapes)


def split(stmt: Evaluation) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The value as factors that are summed, and the factors and divisors that a sum can wait for."""
    if stmt.op in SUMS and len(terms := stmt.terms()) == 1 and terms[0][0] > 0:
        core, outside, divisors = stmt.split(terms[0][1])
        if core:
            return core, outside, divisors
    return [stmt.value], [], []


def gone_along(stmt: Evaluation) -> list[str]:
    """The indices of what is gone along."""
    core, _, _ = split(stmt)
    return stmt.in_memory([i for i in stmt.stmt.domain.indices if any(i in indices_of(f) for f in core)])


def scanned(stmt: Evaluation, found: Scan, axes: Sequence[str], scope: Scope) -> Value:
    """The value over `axes`."""
    low, writer = stmt.low, stmt.writer
    core, outside, divisors = split(stmt)
    values = _values(stmt, found, core, scope)
    axis = values.indices.index(found.index)
    name = writer.fresh("running")
    writer.use("running")
    backwards = "" if found.upper else ", True"
    writer.line(f"{name} = running({REDUCE[stmt.op]}, {values.code}, {axis}{backwards})")
    result, nothing = _read(stmt, found, replace(values, code=name, strides=()), axis, scope)
    code, indices = aligned(result, axes), set(result.indices)
    for symbol, part in [("*", f) for f in outside] + [("/", d) for d in divisors]:
        other = emit(low, part, axes, scope)
        text = atom(other.code)
        if not other.python and other.dtype != stmt.compute:
            text = f"{text}.astype(np.{stmt.compute})"
        code, indices = f"({code} {symbol} {text})", indices | set(other.indices)
    if nothing is not None:
        code = f"np.where({aligned(nothing, axes)}, {unit(stmt.op, stmt.unit_type())}, {code})"
    value = Value(code, stmt.compute, tuple(i for i in axes if i in indices), fresh=True)
    return stmt.masked_outer(value, axes, scope)


def _values(stmt: Evaluation, found: Scan, core: Sequence[Expr], scope: Scope) -> Operand:
    """What is gone along: over the value's own indices, less the other reduced ones."""
    low, writer = stmt.low, stmt.writer
    axes = gone_along(stmt)
    kept = [i for i in axes if i not in stmt.summed or i == found.index]
    if stmt.op in SUMS and not found.own and len(core) > 1:
        work = Contraction(writer, scope, itemsize(stmt.compute))
        result = work.run([stmt.factor(f, scope) for f in core], kept, None)
        stmt.notes += work.notes
        assert result is not None
        return result
    code, indices, kind = "", axes, stmt.compute
    for factor in core:
        value = emit(low, factor, axes, scope)
        part = value.code
        if value.python:
            part = f"np.asarray({part}, np.{name_of(kind)})"
        elif value.dtype != kind:
            part = f"{atom(part)}.astype(np.{name_of(kind)})"
        code = f"{code} * {atom(part)}" if code else part
    if found.own:
        code = stmt.masked(Value(code, kind, tuple(axes)), found.own, axes, scope).code
    shape = ", ".join(str(scope[i].width) for i in axes)
    name = writer.fresh("values")
    writer.line(f"{name} = np.broadcast_to({code}, ({shape},))")
    gone = tuple(k for k, i in enumerate(axes) if i not in kept)
    if gone:
        writer.line(f"{name} = {REDUCE[stmt.op]}.reduce({name}, {gone})")
    return Operand(name, tuple(i for i in indices if i in kept), kind)


def _read(stmt: Evaluation, found: Scan, running: Operand, axis: int, scope: Scope) -> tuple[Operand, Operand | None]:
    """The running values at the bounds, and where nothing is within them."""
    low, writer = stmt.low, stmt.writer
    lo, hi = low.extents[found.index]
    order = [i for i in stmt.stmt.domain.indices if i in found.read]
    first, last = _reach(found, low.extents)
    if len(found.bounds) == 1 and found.bounds[0].by == 1 and len(order) == 1:
        (index,) = order
        row = found.bounds[0].row
        if dict(row.coefs)[index] == 1 and (first, last) == (lo, hi - 1) and scope[index].whole:
            return replace(running, indices=_replaced(running.indices, axis, order)), None
    codes = [_end(stmt, b, order, scope) for b in found.bounds]
    together = "np.minimum" if found.upper else "np.maximum"
    at = codes[0]
    for code in codes[1:]:
        at = f"{together}({at}, {code})"
    whole = all(scope[i].whole for i in order) and prod(sizes_of(scope)[i] for i in order) <= TABLE

    def table(code: str, hint: str) -> str:
        if whole:
            return writer.constant(code, hint)
        name = writer.fresh(hint)
        writer.line(f"{name} = {code}")
        return name

    nothing = None
    if found.upper and first < lo:
        nothing = Operand(table(f"{atom(at)} < {lo}", "nothing"), tuple(order), "bool")
    elif not found.upper and last >= hi:
        nothing = Operand(table(f"{atom(at)} >= {hi}", "nothing"), tuple(order), "bool")
    place = at if lo == 0 else f"{at} - {lo}"
    if first < lo or last >= hi:
        place = f"np.clip({place}, 0, {hi - lo - 1})"
    name = writer.fresh("ends")
    writer.line(f"{name} = np.take({running.code}, {table(place, 'positions')}, {axis})")
    return Operand(name, _replaced(running.indices, axis, order), running.dtype), nothing


def _replaced(indices: tuple[str, ...], axis: int, by: Sequence[str]) -> tuple[str, ...]:
    return (*indices[:axis], *by, *indices[axis + 1 :])


def _end(stmt: Evaluation, bound: Bound, order: Sequence[str], scope: Scope) -> str:
    """Code of the last position within an upper bound, or the first one within a lower one."""
    code = row_code(stmt.low, bound.row, order, scope)
    if bound.by == 1:
        return code
    return f"({code}) // {bound.by}" if bound.upper else f"-(-({code}) // {bound.by})"


def _reach(found: Scan, extents: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """The least and the greatest position that the bounds name."""
    ends = []
    for b in found.bounds:
        low, high = b.row.interval(extents)
        ends.append((low // b.by, high // b.by) if b.upper else (-(-low // b.by), -(-high // b.by)))
    pick = min if found.upper else max
    return pick(e[0] for e in ends), pick(e[1] for e in ends)
