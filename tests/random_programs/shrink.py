"""A failing sample made small.

In: a Sample and what it failed. Out: a Sample, as simple as may be, that fails the same. The one rule: every candidate
is a step towards less (a statement, a factor, a mask, an axis, a size, a layout); the first that still fails is kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count

from .house import (
    Access,
    Boundary,
    Call,
    Const,
    Domain,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Shape,
    Size,
    Statement,
    Subscript,
    expr_text,
    infer_sizes,
    parts_of,
    program_of,
    statement,
    statement_text,
    transform_domain,
    transform_expr,
)
from .sample import Input, Sample

Fails = Callable[[Sample], bool]
Phase = Callable[[Sample, Program], Iterator[Sample]]


def shrunk(sample: Sample, fails: Fails, seconds: float = 60) -> Sample:
    """The smallest sample found within some seconds of processor time for which `fails` still holds."""
    end = time.process_time() + seconds
    changed = True
    while changed:
        changed = False
        for phase in PHASES:
            at = 0
            while found := _next(phase, sample, fails, at, end):
                sample, at = found
                changed = True
        if time.process_time() > end:
            break
    return sample


def _next(phase: Phase, sample: Sample, fails: Fails, start: int, end: float) -> tuple[Sample, int] | None:
    """The first candidate that fails, from the place at which the last one was found, and its place."""
    for at, candidate in enumerate(phase(sample, program_of(sample.text))):
        if at >= start:
            if time.process_time() > end:
                return None
            if fails(candidate):
                return candidate, at
    return None


def _made(sample: Sample, program: Program) -> Mapping[str, tuple[int, ...]]:
    """The shapes of all tensors, as the language has them; where it fails, as the generator had them."""
    given = {n: i.shape for n, i in sample.inputs.items()}
    try:
        return infer_sizes(program, given).tensors
    except Exception:
        return {**sample.shapes, **given}


def _rebuilt(
    sample: Sample,
    statements: tuple[Statement, ...],
    shapes: tuple[Shape, ...],
    made: Mapping[str, tuple[int, ...]],
) -> Iterator[Sample]:
    """The sample of these statements: what nothing defines any more is an input of the shape that it had."""
    try:
        lines = [f"shape {s.tensor}[{','.join(map(expr_text, s.dims))}]" for s in shapes]
        text = "\n".join([*lines, *map(statement_text, statements)]) + "\n"
        program = program_of(text)
        inputs = {n: sample.inputs.get(n) or Input(tuple(made[n])) for n in program.inputs}
    except Exception:  # no program
        return
    if text != sample.text:
        yield replace(sample, text=text, inputs=inputs)


# -- statements --------------------------------------------------------------------------------------


def _fewer_lines(sample: Sample, program: Program) -> Iterator[Sample]:
    """Without a line of the text, as it is written."""
    lines = sample.text.splitlines()
    for k in reversed(range(len(lines))):
        try:
            text = "\n".join(lines[:k] + lines[k + 1 :]) + "\n"
            inputs = {n: sample.inputs[n] for n in program_of(text).inputs}
        except Exception:  # no program, or one with other inputs
            continue
        yield replace(sample, text=text, inputs=inputs)


def _fewer_statements(sample: Sample, program: Program) -> Iterator[Sample]:
    made, statements, shapes = _made(sample, program), program.statements, program.shapes
    for k in reversed(range(len(statements))):
        rest = statements[:k] + statements[k + 1 :]
        defined = {s.target.tensor for s in rest}
        if rest:
            yield from _rebuilt(sample, rest, tuple(s for s in shapes if s.tensor in defined), made)
    for k in range(len(shapes)):
        yield from _rebuilt(sample, statements, shapes[:k] + shapes[k + 1 :], made)
    yield from _rebuilt(sample, statements, shapes, made)  # without a header


def _simpler_statements(sample: Sample, program: Program) -> Iterator[Sample]:
    made, statements = _made(sample, program), program.statements
    for k, stmt in enumerate(statements):
        for simpler in _statements(stmt):
            yield from _rebuilt(sample, (*statements[:k], simpler, *statements[k + 1 :]), program.shapes, made)


def _statements(stmt: Statement) -> Iterator[Statement]:
    for op in ("=", "+="):
        if stmt.op not in ("=", op):
            yield replace(stmt, op=op)
    for domain in _domains(stmt.domain):
        yield statement(stmt.target, stmt.op, stmt.value, domain.ranges, domain.masks)
    for value in _values(stmt.value):
        yield statement(stmt.target, stmt.op, value, stmt.domain.ranges, stmt.domain.masks)
    for target in _accesses(stmt.target):
        yield statement(target, stmt.op, stmt.value, stmt.domain.ranges, stmt.domain.masks)


def _domains(domain: Domain) -> Iterator[Domain]:
    for k in range(len(domain.masks)):
        rest = domain.masks[:k] + domain.masks[k + 1 :]
        yield replace(domain, masks=rest)
        for simpler in _values(domain.masks[k]):
            if isinstance(simpler, Call):
                yield replace(domain, masks=(*rest[:k], simpler, *rest[k:]))
    for k, written in enumerate(domain.ranges):
        rest_ranges = domain.ranges[:k] + domain.ranges[k + 1 :]
        yield replace(domain, ranges=rest_ranges)
        if written.lo is not None:
            yield replace(domain, ranges=(*rest_ranges[:k], replace(written, lo=None), *rest_ranges[k:]))


def _values(expr: Expr) -> Iterator[Expr]:
    """The expression with one part of it made simpler: itself first."""
    match expr:
        case Call(fn=fn, args=args):
            yield from args
            for k, arg in enumerate(args):
                for simpler in _values(arg):
                    yield Call(fn, (*args[:k], simpler, *args[k + 1 :]))
        case Reduce(op=op, domain=domain, body=body):
            yield body
            yield from (replace(expr, op=other) for other in ("sum", "max") if op not in ("sum", other))
            yield from (replace(expr, body=b) for b in _values(body))
            yield from (replace(expr, domain=d) for d in _domains(domain))
            for k in range(len(domain.indices)) if len(domain.indices) > 1 else ():
                indices = domain.indices[:k] + domain.indices[k + 1 :]
                ranges = tuple(r for r in domain.ranges if r.index in indices)
                yield replace(expr, domain=replace(domain, indices=indices, ranges=ranges))
        case Access():
            yield Const(1)
            yield from _accesses(expr)
        case Const(value=value):
            if value not in (0, 1, 2):
                yield Const(2)
        case Index() | Size():
            return


def _accesses(access: Access) -> Iterator[Access]:
    for k, s in enumerate(access.subscripts):
        for simpler in _subscripts(s):
            yield replace(access, subscripts=(*access.subscripts[:k], simpler, *access.subscripts[k + 1 :]))


def _subscripts(s: Subscript) -> Iterator[Subscript]:
    match s:
        case Boundary(expr=e, value=value):
            yield e
            if value != Const(0):
                yield replace(s, value=Const(0))
            yield from (replace(s, expr=x) for x in _values(e))
        case Merged(indices=names):
            yield from (Index(n) for n in names)
        case Index():
            yield Const(0)
        case Const(value=value):
            if value != 0:
                yield Const(0)
        case Call() | Reduce() | Access() | Size():
            yield from _values(s)
            yield Const(0)
        case _:
            return


# -- inputs ------------------------------------------------------------------------------------------


def _with(sample: Sample, name: str, other: Input) -> Sample:
    return replace(sample, inputs={**sample.inputs, name: other})


def _simpler_inputs(sample: Sample, program: Program) -> Iterator[Sample]:
    for simpler in ("default", "native default"):
        if sample.limits not in ("default", simpler):
            yield replace(sample, limits=simpler)
    if any(i.layout != "C" for i in sample.inputs.values()) or sample.cotangents != "C":
        yield sample.plain()
    if sample.cotangents != "C":
        yield replace(sample, cotangents="C")
    plain = {n: replace(i, numbers="normal") if i.floating else i for n, i in sample.inputs.items()}
    if plain != sample.inputs:
        yield replace(sample, inputs=plain)
    for name, i in sample.inputs.items():
        yield from (_with(sample, name, other) for other in _plainer(i))


def _plainer(i: Input) -> Iterator[Input]:
    if i.layout != "C":
        yield replace(i, layout="C")
    if i.floating and i.numbers != "normal":
        yield replace(i, numbers="normal")
    if not i.floating and i.dtype not in ("", "int64"):
        yield replace(i, dtype="int64")
    if i.limit > 1:
        yield replace(i, limit=1)
        yield replace(i, limit=i.limit // 2)


def _smaller(sample: Sample, program: Program) -> Iterator[Sample]:
    """All axes of one size made smaller, with the ranges and limits of that size; then axes alone."""
    sizes = sorted({n for i in sample.inputs.values() for n in (*i.shape, i.limit)}, reverse=True)
    for size in sizes:
        for less in _less(size):
            inputs = {name: _resized(i, size, less) for name, i in sample.inputs.items()}
            yield replace(sample, inputs=inputs, text=re.sub(rf"(?<=< ){size}\b", str(less), sample.text))
            yield replace(sample, inputs=inputs)
    for name, i in sample.inputs.items():
        for axis, size in enumerate(i.shape):
            for less in _less(size):
                yield _with(sample, name, replace(i, shape=(*i.shape[:axis], less, *i.shape[axis + 1 :])))
    for written in dict.fromkeys(re.findall(r"(?<=[<\[,] )\d+|(?<=[<\[,])\d+", sample.text)):
        for less in _less(int(written)):
            yield replace(sample, text=re.sub(rf"(?<=[<\[,]){written}\b|(?<=< ){written}\b", str(less), sample.text))


def _less(size: int) -> list[int]:
    return [n for n in dict.fromkeys((1, 2, 3, size // 8, size // 2, size - 1)) if 0 < n < size]


def _resized(i: Input, size: int, less: int) -> Input:
    shape = tuple(less if n == size else n for n in i.shape)
    limit = less if i.limit == size else less + 1 if i.limit == size + 1 else i.limit
    return replace(i, shape=shape, limit=limit)


def _fewer_axes(sample: Sample, program: Program) -> Iterator[Sample]:
    """One axis of a tensor left out, wherever it is read and written."""
    made = _made(sample, program)
    for name, shape in made.items():
        for axis in range(len(shape)):
            statements = tuple(_without_axis(s, name, axis) for s in program.statements)
            shapes = tuple(
                replace(s, dims=s.dims[:axis] + s.dims[axis + 1 :]) if s.tensor == name else s for s in program.shapes
            )
            for found in _rebuilt(sample, statements, shapes, made):
                i = found.inputs.get(name)
                if i is None:
                    yield found
                else:
                    yield _with(found, name, replace(i, shape=i.shape[:axis] + i.shape[axis + 1 :]))


def _without_axis(stmt: Statement, name: str, axis: int) -> Statement:
    def rule(part: Subscript) -> Subscript | None:
        if isinstance(part, Access) and part.tensor == name:
            return replace(part, subscripts=part.subscripts[:axis] + part.subscripts[axis + 1 :])
        return None

    value, domain = transform_expr(stmt.value, rule), transform_domain(stmt.domain, rule)
    target = transform_expr(stmt.target, rule)
    assert isinstance(target, Access)
    return statement(target, stmt.op, value, domain.ranges, domain.masks)


# -- names -------------------------------------------------------------------------------------------


def _renamed(sample: Sample, program: Program) -> Iterator[Sample]:
    """Plain names: i, j, k for indices, x, w for inputs, y, z for what is made."""
    indices = dict.fromkeys(i for s in program.statements for i in _indices(s))
    made = dict.fromkeys(s.target.tensor for s in program.statements)
    if set(indices) & (set(made) | set(program.inputs)):
        return
    names: dict[str, str] = {}
    for old, words in ((indices, "ijklmnpqrstuv"), (program.inputs, "xwabcdefgh"), (made, "yzABCDEFGH")):
        letters = (letter + (str(n) if n else "") for n in count() for letter in words)
        names.update(zip(old, letters, strict=False))
    text = re.sub(r"[^\W\d]\w*(\.[^\W\d]\w*)*", lambda m: names.get(m[0], m[0]), sample.text)
    if text != sample.text:
        yield replace(sample, text=text, inputs={names[n]: i for n, i in sample.inputs.items()})


def _indices(stmt: Statement) -> Iterator[str]:
    yield from stmt.domain.indices
    for part in parts_of(stmt):
        if isinstance(part, Reduce):
            yield from part.domain.indices


PHASES: tuple[Phase, ...] = (
    *(_fewer_lines, _fewer_statements, _simpler_inputs, _smaller, _simpler_statements, _fewer_axes, _smaller, _renamed),
)
