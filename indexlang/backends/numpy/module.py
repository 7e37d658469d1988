"""A Program with its sizes and dtypes as the source of one Python function.

In: a Program without ellipses and embedded reductions, its shapes and types. Out: `Code`. The one rule: what is printed
is what runs, and it needs nothing but NumPy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from textwrap import fill

from ...plan.chains.chain import Chain, Facts
from ...plan.chains.schedule import schedule
from ...plan.kernels import itemsize
from ...plan.plan import Step
from ...plan.rewrites.cancel import cancel
from ...plan.rewrites.scale import scale
from ...plan.rewrites.share import share
from ...plan.rewrites.unfold import unfold
from ...program.ir import Access, Program, Reduce, Statement, accesses_of, reads_of
from ...program.text import dim_names, statement_text
from ...sizes.dtypes import Types, computing
from ...sizes.shapes import Shapes
from .chains import ChainCode
from .evaluate import operations
from .function_support import SUPPORT
from .grouped import lower_statement
from .source import Array, Writer, name_of
from .support import ARRAYS, THREADS
from .values import Lowering


@dataclass(frozen=True)
class Code:
    """The source, the accesses that its checks refer to by number, and what each statement became."""

    source: str
    places: tuple[tuple[Access, int], ...]
    steps: tuple[Step, ...]
    memory: int  # bytes of the arrays that are there at once, at most


def lower(
    program: Program, shapes: Shapes, types: Types, complex_step: bool = False, exact: Collection[str] = ()
) -> Code:
    """The stand-alone source of `run(*inputs)`, which gives a tuple of the outputs."""
    program, shapes = cancel(program, shapes)
    program, shapes, types = unfold(*scale(*share(program, shapes, types)))
    writer = Writer()
    storage = {t: computing(d) for t, d in types.tensors.items()}
    made = Counter(s.target.tensor for s in program.statements)
    single = frozenset(t for t, count in made.items() if count == 1)
    final = single.difference(*(reads_of(s) for s in program.statements))
    low = Lowering(writer, shapes.tensors, storage, types.weak, complex_step, single, final)
    names = {}
    for tensor in program.inputs:
        names[tensor] = writer.fresh(tensor)
        low.arrays[tensor] = Array(names[tensor], shapes.tensors[tensor], types.tensors[tensor], owned=False)
    steps, chunks, transient = [], [], []
    dims = dim_names(program)
    facts = Facts(program, shapes, low.dtypes, types.compute, low.kind)
    for item in range(len(program.statements)) if complex_step else schedule(facts):
        numbers = item.numbers if isinstance(item, Chain) else (item,)
        texts = [statement_text(program.statements[k], dims) for k in numbers]
        writer.lines = []
        writer.mark = 0
        if isinstance(item, Chain):
            how = ChainCode(low, item).lower()
        else:
            low.guarded = shapes.guarded[item]
            stmt, extents = program.statements[item], shapes.extents[item]
            how = [lower_statement(low, stmt, extents, types.tensors[stmt.target.tensor], types.compute[item])]
        chunks.append([*(f"    # {ascii(text)[1:-1]}" for text in texts), *writer.lines])
        for k, text, kernel in zip(numbers, texts, how, strict=True):
            steps.append(_step(program.statements[k], text, kernel, shapes.extents[k], low))
        transient.append(sum(writer.passing.values()))
        writer.passing.clear()
    results = [_result(low, t, types.tensors[t] if t not in exact else "", program) for t in program.outputs]
    end = f"    return ({', '.join(results)},)" if results else "    return ()"
    released, memory = _releasing(chunks, end, set(names.values()), writer.bytes, transient)
    body = [*writer.entry, *released, end]
    head = f"def run({', '.join(names[t] for t in program.inputs)}):"
    told = f'"""{_told(program.outputs, shapes, types)} of {_told(program.inputs, shapes, types)}."""'
    told = fill(told, 110, initial_indent="    ", subsequent_indent="    ")
    parts = ["import numpy as np\n"]
    if "share" in _closed(writer.support):
        parts = ["import os\nfrom concurrent.futures import ThreadPoolExecutor\n\nimport numpy as np\n", THREADS]
    parts += [source for name, source in {**ARRAYS, **SUPPORT}.items() if name in _closed(writer.support)]
    if writer.constants:
        parts.append("\n".join(f"{name} = {code}" for code, name in writer.constants.items()) + "\n")
    parts.append("\n".join(['@np.errstate(all="ignore")', head, told, *body]) + "\n")
    return Code("\n\n".join(parts), tuple(low.places), tuple(steps), memory)


def _told(tensors: Sequence[str], shapes: Shapes, types: Types) -> str:
    """The tensors with the shapes and types for which the code is written."""
    each = (f"{t} {types.tensors[t]}{list(shapes.tensors[t])}" for t in tensors)
    return ascii(", ".join(each) or "nothing")[1:-1]


def _result(low: Lowering, tensor: str, dtype: str, program: Program) -> str:
    """Code of an output as it is delivered; without a dtype, as it was computed."""
    array = low.arrays[tensor]
    if dtype not in ("", array.dtype):
        return f"{array.name}.astype(np.{name_of(dtype)})"
    return f"{array.name}.copy()" if tensor in program.inputs else array.name


def _releasing(
    chunks: Sequence[Sequence[str]], end: str, inputs: set[str], sizes: Mapping[str, int], transient: Sequence[int]
) -> tuple[list[str], int]:
    """The lines of all statements, each array forgotten behind the last one that mentions it; the bytes needed."""
    word = re.compile(r"[A-Za-z_]\w*")
    made = re.compile(r"    ([A-Za-z_]\w*) = ")
    last: dict[str, int] = {}
    for number, lines in enumerate([*chunks, [end]]):
        for line in lines:
            if not line.startswith("    #"):
                last.update(dict.fromkeys(word.findall(line), number))
    found: list[str] = []
    held: set[str] = set()
    ends: dict[int, list[str]] = {}  # what is held, by its last mention
    now, most = 0, 0
    for number, lines in enumerate(chunks):
        found += lines
        for name in {m.group(1) for line in lines if (m := made.match(line))} - inputs - held:
            held.add(name)
            ends.setdefault(last[name], []).append(name)
            now += sizes.get(name, 0)
        mentioned = {name for line in lines for name in word.findall(line)} - inputs - held  # made inside of loops
        most = max(most, now + sum(sizes.get(name, 0) for name in mentioned) + transient[number])
        gone = sorted(ends.pop(number, ()))
        if gone and number + 1 < len(chunks):
            found.append(f"    del {', '.join(gone)}")
        held.difference_update(gone)
        now -= sum(sizes.get(name, 0) for name in gone)
    return found, most


def _closed(names: set[str]) -> set[str]:
    """The support functions with those that they call."""
    table, found = {**ARRAYS, **SUPPORT}, set(names)
    while more := {other for name in found for other in table if f"{other}(" in table[name]} - found:
        found |= more
    return found


def _step(stmt: Statement, text: str, how: str, extents: Mapping[str, tuple[int, int]], low: Lowering) -> Step:
    points = prod(max(0, hi - lo) for lo, hi in extents.values())
    value = stmt.value.body if isinstance(stmt.value, Reduce) else stmt.value
    work = operations(value) + (stmt.op != "=" or bool(stmt.reduced) or isinstance(stmt.value, Reduce))
    touched = {p.tensor for p in accesses_of(stmt)}
    moved = sum(prod(low.shapes[t]) * itemsize(low.dtypes[t]) for t in touched)
    return Step(text, how, dict(extents), points * work, moved)
