"""Stand-alone modules of LLVM IR: the nests of a Plan, and `run`, which calls them one after the other.

In: a Plan, its `Group`s, the text of its program, the version of what makes it. Out: the text of a module. Errors:
`MeaningError` where a part of the Plan is left to NumPy. The one rule: it holds all that a call
computes, or it is none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ...errors import MeaningError, Problem
from ...plan.places import Buffer
from ...plan.plan import Check, Make, Plan
from .emit import module
from .groups import Group
from .nest import Nest
from .target import Target
from .whole import is_all

LINE = 64  # bytes to which the workspace, and each array in it, is aligned


def module_of(plan: Plan, groups: Sequence[Group], program: str, version: str, target: Target) -> str:
    """A module whose `run` takes the address of each input, of each output, and of a workspace.

    All arrays are contiguous, row-major, and apart from each other; comments say their types, shapes and order.
    """
    _refuse(plan, groups)
    arrays = {b: array.name for g in groups for b, array in (*g.read, *g.written)}
    outputs = tuple(dict.fromkeys(place.buffer for _, place, _ in plan.outputs))
    pointers = {arrays[b]: f"%in{k}" for k, b in enumerate(plan.inputs) if b in arrays}
    pointers |= {arrays[b]: f"%out{k}" for k, b in enumerate(outputs)}
    offsets = {name: found for g in groups for name, found in g.offsets.items()}
    room, size = _rooms(groups, pointers)
    slots = [f"ptr %in{k}" for k in range(len(plan.inputs))] + [f"ptr %out{k}" for k in range(len(outputs))]
    nests = [nest for g in groups for nest in g.nests]
    body = [f"  %room{k} = getelementptr i8, ptr %workspace, i64 {at}" for k, at in enumerate(room.values())]
    places = {**pointers, **{name: f"%room{k}" for k, name in enumerate(room)}}
    for k, (name, (home, by)) in enumerate(offsets.items()):
        body.append(f"  %piece{k} = getelementptr i8, ptr {places[home]}, i64 {by}")
        places[name] = f"%piece{k}"
    lines = [line for k, nest in enumerate(nests) for line in _table(nest, k, places)]
    lines += [line for k, nest in enumerate(nests) for line in _calls(nest, k)]
    head = f"define void @run({', '.join([*slots, 'ptr %workspace'])}) {{"
    text = _origin(plan, outputs, program, version, target, size)
    return (
        f"{text}\n{module(nests, target, settled=True)}\n" + "\n".join([head, *body, *lines, "  ret void", "}"]) + "\n"
    )


def _refuse(plan: Plan, groups: Sequence[Group]) -> None:
    """Refuse what native code does not compute whole."""
    done = {number for g in groups for number in g.numbers}
    for number, section in enumerate(plan.sections):
        for k, step in enumerate(section.steps):
            if isinstance(step, Check):  # nobody would hear of what is wrong
                raise _refused("positions that data give have to be checked", section.records[0].statement)
            if (number, k) not in done and not (isinstance(step, Make) and not step.op):
                raise _refused("a part of it is left to NumPy", section.records[0].statement)
    tables = [b.name for g in groups for b, _ in g.read if b.role == "table"]
    if tables:
        raise _refused("it reads positions from a table that is made before", f"table: {tables[0]}")
    if plan.instead is not None:
        raise _refused("other statements run where its results are not finite", plan.sections[0].records[0].statement)
    ends = dict(plan.extents)
    for name, place, dtype in plan.outputs:
        if place.buffer.dtype != dtype or place.buffer.role in ("input", "table") or not is_all(place, ends):
            raise _refused("an output is made of what is computed by NumPy, as a copy", f"output: {name}")


def _refused(rule: str, value: str) -> MeaningError:
    way = "emit('numpy', ...) gives all of it; `indexlang explain --backend native --nests` shows what native code does"
    return MeaningError(Problem("target", f"no module of LLVM: {rule}", values=(value,), way_out=way))


def _rooms(groups: Sequence[Group], pointers: Collection[str]) -> tuple[dict[str, int], int]:
    """Where in the workspace the arrays lie that no argument holds; its bytes."""
    sizes: dict[str, int] = {}
    for group in groups:
        whole = {a.name: a for _, a in (*group.read, *group.written)}
        for array in (a for nest in group.nests for a in nest.arrays):
            own = whole[group.pieces[array.name].array] if array.name in group.pieces else array
            if own.name not in pointers:
                size = own.size * np.dtype(own.dtype).itemsize
                sizes[own.name] = max(size, sizes.get(own.name, 0))
    room, end = {}, 0
    for name, size in sizes.items():
        room[name] = end
        end += -(-size // LINE) * LINE
    return room, end


def _table(nest: Nest, number: int, places: Mapping[str, str]) -> list[str]:
    """Lines that make the addresses of a nest's arrays known to it."""
    lines = [f"  %table{number} = alloca [{max(1, len(nest.arrays))} x ptr]"]
    for k, array in enumerate(nest.arrays):
        lines.append(f"  %slot{number}_{k} = getelementptr ptr, ptr %table{number}, i64 {k}")
        lines.append(f"  store ptr {places[array.name]}, ptr %slot{number}_{k}")
    return lines


def _calls(nest: Nest, number: int) -> list[str]:
    """Lines that call a nest for each of its items."""
    before = f"before{number}"
    return [
        f"  br label %{before}",
        f"{before}:",
        f"  br label %loop{number}",
        f"loop{number}:",
        f"  %item{number} = phi i64 [ 0, %{before} ], [ %next{number}, %loop{number} ]",
        f'  call void @"{nest.name}"(ptr %table{number}, i64 %item{number})',
        f"  %next{number} = add i64 %item{number}, 1",
        f"  %more{number} = icmp ult i64 %next{number}, {nest.count}",
        f"  br i1 %more{number}, label %loop{number}, label %after{number}",
        f"after{number}:",
    ]


def _origin(plan: Plan, outputs: Sequence[Buffer], program: str, version: str, target: Target, size: int) -> str:
    """What a module was made from and what `run` takes, as comments that no text can end."""
    names = {place.buffer: name for name, place, _ in reversed(plan.outputs)}
    taken = [f"%in{k}: {b.name} {b.dtype}{list(b.shape)}" for k, b in enumerate(plan.inputs)]
    given = [f"%out{k}: {names[b]} {b.dtype}{list(b.shape)}" for k, b in enumerate(outputs)]
    lines = (
        f"Made by indexlang {version} from",
        "",
        *(f"    {line}" for line in program.splitlines()),
        "",
        f"for {target.cpu}, and for these shapes and types alone, which nothing looks for. `run` takes addresses of",
        "arrays that are contiguous, row-major, and apart from each other:",
        "",
        *(f"    {line}" for line in (*taken, *given)),
        f"    %workspace: {size} bytes, aligned to {LINE}",
    )
    return "".join(f"; {ascii(line)[1:-1]}".rstrip() + "\n" for line in lines)
