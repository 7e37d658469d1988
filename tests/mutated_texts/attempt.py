"""One text by its name, SEED:NUMBER: made, and everything asked of it that a user may ask.

In: a name. Out: a Failure or None. The one rule: what is no `IndexLangError` is a failure, and so is what takes longer
than SECONDS of the processor.
"""

from __future__ import annotations

import math
import resource
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from processor_time import limited

import indexlang
from indexlang import Function, IndexLangError
from indexlang.calls.arguments import indexing
from indexlang.program.ir import Dots, accesses_of

from .changes import changed
from .sources import Text, drawn

SECONDS = 5.0  # of the processor, for one stage
MUCH = 1e7  # operations, or elements of arrays
MEMORY = 4 << 30  # bytes of address space for a process
HUGE = (2**20 + 7, 2**31 + 11, 2**53 + 1, 2**62, 2**63 - 1, 2**63, 2**70, 10**30)


class SlowError(BaseException):
    """A stage has taken too long; no handler of errors may take it for one."""


@dataclass(frozen=True)
class Failure:
    """`signature` tells kinds apart: the stage of what is slow, else the exception's type and where it was raised."""

    stage: str
    signature: str
    detail: str


def made(name: str) -> Text:
    """The text of this name."""
    dice = Random(name)
    source, other = drawn(dice), drawn(dice)
    return Text(changed(dice, source.text, other.text), source.layer, source.options, source.shapes)


def attempt(name: str) -> tuple[Failure | None, str]:
    """What is wrong with what comes of the text of this name; and how far it came."""
    return tried(made(name), Random(name))


def work(pipe: Connection, seed: str, numbers: list[int]) -> None:
    """All texts of these numbers, in a process of their own; each outcome goes into the pipe."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        pipe.send((f"{seed}:{number}", *attempt(f"{seed}:{number}")))


def tried(text: Text, dice: Random) -> tuple[Failure | None, str]:
    """The first failure of all stages, and the last stage that gave something else than an error of ours."""
    reached = "nothing"
    for stage, work in _stages(text, dice):
        try:
            with limited(SECONDS, lambda _: SlowError()), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work()
            reached = stage
        except IndexLangError:
            if stage == "compile":
                break
        except SlowError as error:
            return Failure(stage, f"slow {stage} {place(error)}", f"more than {SECONDS} s"), reached
        except (Exception, RecursionError) as error:
            where = f"{type(error).__name__} {place(error)}"
            return Failure(stage, where, "".join(traceback.format_exception(error)[-4:])), reached
    return None, reached


def _stages(text: Text, dice: Random) -> Iterator[tuple[str, Callable[[], object]]]:
    held: dict[str, Any] = {}

    def compiled() -> None:
        held["f"] = indexlang.compile(text.text, layer=text.layer, options=text.options)

    yield "compile", compiled
    f: Function = held["f"]
    yield "print", lambda: (str(f), f.latex(), f._repr_html_())

    def derived() -> None:
        held["g"] = f.grad()

    yield "grad", derived
    if "g" in held:
        g: Function = held["g"]

        def printed() -> None:
            held["length"] = len(str(g))
            g.latex()

        yield "print grad", printed
        yield "gather", lambda: str(f.grad(form="gather"))
        if held.get("length", 2000) < 2000:
            yield "second grad", lambda: str(g.grad())

    def sized() -> None:
        held["small"] = sizes(f, text, dice, (1, 2, 2, 3, 3, 4))
        held["huge"] = sizes(f, text, dice, (dice.choice(HUGE), dice.choice(HUGE)))

    yield "sizes", sized
    if "huge" not in held:
        return
    small, huge = held["small"], held["huge"]

    def planned() -> None:
        plan = f.plan(small)
        held["work"] = sum(max(r.flops, r.moved // 8) for r in plan.steps)
        str(plan)

    yield "plan small", planned
    yield "plan huge", lambda: str(f.plan(huge))
    yield "emit", lambda: f.emit("numpy", small)
    yield "plans small", lambda: [str(p) for p in f.plans(small)]
    if "g" in held:
        yield "plans huge", lambda: [str(p) for p in f.plans(huge)]
    elements = sum(math.prod(shape) for shape, _ in small.values())
    deepest = max((len(shape) for shape, _ in small.values()), default=0)  # NumPy has arrays of 64 axes at most
    if held.get("work", MUCH) >= MUCH or elements >= MUCH or deepest > 64:  # as the text asks for
        return

    def drawn_values() -> None:
        held["arrays"] = {n: values(dice, *form) for n, form in small.items()}

    yield "values", drawn_values
    if "arrays" not in held:
        return
    arrays = held["arrays"]
    yield "call", lambda: f(arrays)
    yield "vjp", lambda: _pulled(f, arrays)


def _pulled(f: Function, arrays: dict[str, Any]) -> None:
    y, pull = f.vjp(arrays)
    pull({n: np.ones_like(v, float) for n, v in y.items()} if isinstance(y, dict) else np.ones_like(y, float))


def sizes(f: Function, text: Text, dice: Random, choices: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shapes and types for the inputs: the known ones where they have the rank that the text says, if all are small."""
    ranks = {s.tensor: len(s.dims) for s in f.program.shapes}
    for stmt in f.program.statements:
        for access in accesses_of(stmt):
            spread = Dots() in access.subscripts
            ranks.setdefault(access.tensor, len(access.subscripts) + (dice.randrange(3) - 1 if spread else 0))
    positions, one, found = indexing(f.program), dice.choice(choices), {}
    same = dice.random() < 0.6
    for name in f.inputs:
        rank = max(0, ranks.get(name, 1))
        known = text.shapes.get(name, ())
        shape = tuple(one if same else dice.choice(choices) for _ in range(rank))
        if len(known) == rank and max(choices) < 10:
            shape = known
        kind = (
            "int64" if name in positions else dice.choice(("float64", "float64", "float64", "float32", "int64", "bool"))
        )
        found[name] = shape, kind
    return found


def values(dice: Random, shape: tuple[int, ...], kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(dice.randrange(1 << 30))
    if kind == "int64":
        return rng.integers(0, dice.choice((1, 2, 2, 5)), shape)
    return (rng.standard_normal(shape) * dice.choice((1, 1, 1, 1e30))).astype(kind)


def place(error: BaseException) -> str:
    """The innermost function of ours that was at work; of endless recursion, where it went in."""
    ours = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "/indexlang/" in f.filename or "<generated" in f.filename
    ]
    if not ours:
        return "outside"
    frame = ours[min(12, len(ours) - 1)] if isinstance(error, RecursionError | SlowError) else ours[-1]
    parts = Path(frame.filename).parts
    file = "/".join(parts[parts.index("indexlang") + 1 :]) if "indexlang" in parts else frame.filename
    return f"{file}:{frame.name}"
