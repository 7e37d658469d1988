"""A Plan as the source of one Python function.

In: a Plan. Out: text. The one rule: what is printed is what runs, and it needs nothing but NumPy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill

from ...plan.buffers import lifetimes
from ...plan.places import Buffer, Part, Place
from ...plan.plan import Plan, Section, Step, Table
from ...plan.planning import made_of
from ...plan.rooms import room_of
from ...plan.views import Extents, arrangement
from .arrays import array, operand, spread
from .code import Code, Name, call, dtype, method, row, text
from .expressions import value
from .function_support import SUPPORT
from .names import Body, Called, Made, Writer
from .scope import whole
from .steps import steps
from .support import ARRAYS, ROOMS, THREADS

TICK = "TICK"  # the function that is told that a section has run
INSTEAD = "run_instead"  # the function that runs where the results of `run` do not hold


def source(
    plan: Plan,
    checked: bool = False,
    alone: bool = True,
    calls: Mapping[tuple[int, int], Called | None] | None = None,
    ticks: bool = False,
) -> str:
    """The source of `run(*inputs)`, which gives a tuple of the outputs.

    It stands `alone`, or calls what runs instead by the name `INSTEAD`, from the namespace that it is loaded into; and
    from there the `calls` that do some of its steps, by the numbers of their section and step. Where it is `checked`,
    memory that is not written yet holds nan, and named arrays are asserted to have their shapes. Where it `ticks`, it
    calls `TICK` with the number of each section that has run.
    """
    w = Writer(plan.limits, plan.complex_step, checked, ticks, calls=calls or {})
    return module(w, printed(w, Name("run"), plan, alone))


def printed(w: Writer, name: Name, plan: Plan, alone: bool = True, looks: bool = False) -> list[str]:
    """The functions of a plan, with their constants; with what runs instead, where they are to stand `alone`.

    Where it `looks`, the first one refuses inputs of other shapes and types than those that it is for.
    """
    functions: list[str] = []
    while True:
        instead = w.fresh(INSTEAD) if plan.instead is not None else None
        tables, function = _function(w, plan, name, instead, looks and not functions)
        functions += ["\n".join(part) + "\n" for part in (tables, w.module, function) if part]
        if plan.instead is None or instead is None or not alone:
            return functions
        name, plan = instead, made_of(plan.instead)


def module(w: Writer, functions: Sequence[str]) -> str:
    """The source of functions, and of all that they call."""
    needed = _closed(w.support)
    parts = ["import numpy as np\n"]
    if "share" in needed:
        parts += [THREADS]
    parts += [ROOMS] * any("ROOMS." in function for function in functions)
    parts += [found for name, found in {**ARRAYS, **SUPPORT}.items() if name in needed]
    return "\n\n".join([*parts, *functions])


def _function(w: Writer, plan: Plan, name: Name, instead: Name | None, looks: bool) -> tuple[list[str], list[str]]:
    """The lines of the plan's tables, and of its function; constants of the module are left with the writer."""
    w.entry, w.module, w.made, w.contiguous, w.room, w.rooms = [], [], {}, set(), room_of(plan, _together(w.calls)), {}
    w.groups = {}
    for buffer in plan.inputs:
        w.made[buffer] = Made(w.fresh(buffer.name), 0)
        if looks:
            at, form = w.made[buffer].name.text, f"{buffer.shape}, {buffer.dtype!r}"
            w.entry.append(f"{at} = {w.use('fitting')}({buffer.name!a}, {at}, {form})")
    inputs = ", ".join(w.made[b].name.text for b in plan.inputs)
    w.leaving = None if instead is None else f"return {instead.text}({inputs})"
    _tables(w, plan.tables)
    tables, w.module = w.module, []
    lives = lifetimes(plan)
    ends: dict[int, list[Buffer]] = {}
    for buffer, (_, last) in lives.items():
        ends.setdefault(last, []).append(buffer)
    lines = [f"    {TICK}(-1)"] * w.ticks
    for number, section in enumerate(plan.sections):
        lines += _section(w, section, number)
        lines += [f"    {TICK}({number})"] * w.ticks
        if number + 1 < len(plan.sections):
            lines += _forgotten(w, ends.get(number, ()))
    given = [f"ROOMS.give({room.text})" for room in w.rooms.values()]
    if given:
        w.entry.append(f"{w.rooms[0].text} = ROOMS.take({w.room.size})")
    if w.leaving is not None:
        leaving = (*given, w.leaving)
        lines += [f"    if not {_finite(w, plan)}:", *(f"        {line}" for line in leaving)]
    results = _results(w, plan)
    lines += [f"    {line}" for line in given]
    end = f"    return ({', '.join(results)},)" if results else "    return ()"
    ends_of = dict(plan.extents)
    shown = told((name, _shape(p, ends_of), d) for name, p, d in plan.outputs)
    taken = told((b.name, list(b.shape), b.dtype) for b in plan.inputs)
    doc = fill(f'"""{shown} of {taken}."""', 110, initial_indent="    ", subsequent_indent="    ")
    head = f"def {name.text}({inputs}):"
    return tables, ['@np.errstate(all="ignore")', head, doc, *(f"    {line}" for line in w.entry), *lines, end]


def _together(calls: Mapping[tuple[int, int], Called | None]) -> list[tuple[int, int]]:
    """The first and the last section of each call that does steps of several."""
    spans: list[tuple[int, int]] = []
    for (number, _), called in sorted(calls.items(), key=lambda item: item[0]):
        spans.append((number if called is not None else spans.pop()[0], number))
    return [(first, last) for first, last in spans if first < last]


def _finite(w: Writer, plan: Plan) -> str:
    """Code of whether the results hold."""
    w.bodies, w.scope = [Body()], whole(dict(plan.extents))
    return text(call(w.use("finite"), *(array(operand(w, place)) for place in plan.finite)))


def _tables(w: Writer, tables: Sequence[Table]) -> None:
    """What positions alone say, as constants of the module."""
    for table in tables:
        w.scope = whole(dict(table.extents))
        axes = [i for i, _ in table.extents]
        body = Body()
        w.bodies = [body]
        found = value(w, table.value, axes)
        code: Code
        if found.weak:
            code = call("np.full", row(table.buffer.shape), found.code, dtype(table.buffer.dtype))
        else:
            maker = "np.ascontiguousarray" if axes else "np.asarray"  # the former makes an axis of a single number
            code = call(maker, spread(found, axes, w.scope).code, dtype(table.buffer.dtype))
        name = w.fresh(table.buffer.name)
        w.set(name, code)
        w.module += ['with np.errstate(all="ignore"):', *body.printed("    ")]
        w.made[table.buffer] = Made(name, 0)
    w.bodies, w.scope, w.passing = [], {}, []


def _section(w: Writer, section: Section, number: int) -> list[str]:
    """The lines of statements that run together."""
    lines = [f"    # {ascii(record.statement)[1:-1]}" for record in section.records]
    w.scope = whole(dict(section.extents))
    for k, step in enumerate(section.steps):
        if (number, k) not in w.calls:
            lines += _step(w, step)
        elif (called := w.calls[number, k]) is not None:
            lines += _called(w, called)
    return lines


def _called(w: Writer, called: Called) -> Iterable[str]:
    """The line that calls an engine; what it writes first is made before."""
    body = Body()
    w.bodies = [body]
    for buffer in called.buffers:
        if buffer not in w.made:
            name = w.fresh(buffer.name)
            w.memory(buffer, name, 0)
            w.made[buffer] = Made(name, 0)
        elif buffer.role == "input" and buffer not in w.contiguous:
            w.contiguous.add(buffer)
            name = w.made[buffer].name
            w.entry.append(f"{name.text} = {w.use('laid')}({name.text}, {text(dtype(buffer.dtype))})")
    code = call(called.name, *(w.made[b].name for b in called.buffers))
    if called.checks:
        kept = w.scope  # steps that NumPy runs may come behind, in this section
        with w.inside("branch", f"if {text(code)}:"):
            for check, extents in called.checks:
                w.scope = whole(dict(extents))
                steps(w, (check,))
            w.scope = kept
            w.line('raise AssertionError("no check refuses what was refused")')
    else:
        w.run(code)
    w.bodies = []
    return body.printed("    ")


def _step(w: Writer, step: Step) -> Iterable[str]:
    body = Body()
    w.bodies = [body]
    steps(w, (step,))
    w.bodies = []
    return body.printed("    ")


def _forgotten(w: Writer, buffers: Iterable[Buffer]) -> list[str]:
    """Lines that give back memory: of buffers that nothing mentions any more, and of views of them."""
    lines = []
    if w.passing:
        lines.append(f"    {' = '.join(dict.fromkeys(w.passing))} = None")
        w.passing = []
    names = [w.made[b].name.text for b in buffers if b in w.made and w.made[b].level == 0]
    return [*lines, f"    del {', '.join(names)}"] if names else lines


def _results(w: Writer, plan: Plan) -> list[str]:
    """Code of the outputs as they are delivered."""
    w.bodies, w.scope = [Body()], whole(dict(plan.extents))
    given: set[Buffer] = set()
    results = []
    for _, place, kind in plan.outputs:
        x = operand(w, place)
        code = array(x)
        if kind != x.dtype:
            code = method(code, "astype", dtype(kind))
        elif place.buffer.role in ("input", "table") or place.buffer in given:
            code = method(code, "copy")
        given.add(place.buffer)
        results.append(text(code))
    return results


def _shape(place: Place, extents: Extents) -> list[int]:
    """The sizes of the axes of an output."""
    axes = set(place.mentioned)
    order = place.indices if isinstance(place, Part) else arrangement(place.rows, place.buffer.shape, axes)[0]
    return [extents[i][1] - extents[i][0] for i in order]


def told(tensors: Iterable[tuple[str, list[int], str]]) -> str:
    """Tensors with the shapes and types for which the code is written."""
    each = (f"{name} {kind}{shape}" for name, shape, kind in tensors)
    return ascii(", ".join(each) or "nothing")[1:-1]


def _closed(names: set[str]) -> set[str]:
    """The support functions with those that they call."""
    table, found = {**ARRAYS, **SUPPORT}, set(names)
    while more := {other for name in found for other in table if f"{other}(" in table[name]} - found:
        found |= more
    return found
