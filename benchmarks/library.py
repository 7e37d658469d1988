"""`python -m benchmarks library`: every standard layer beside PyTorch's own, and the smallest programs that are slow.

In: the layers and rows of `families.library`. Out: a table by threads, worst first, and one of the programs as of the
cliffs, printed and published. The one rule: values and gradients are compared before anything is timed; without PyTorch
only ours is.

Ratios are our time over PyTorch's in the same mode: less is better. Memory is the most that a call holds, with its
inputs, over its inputs, outputs and gradients.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from . import cliffs, published
from .cliffs import BAD, HAND, ONCE, ROUNDS, TORCH, TURN
from .families.cliffs.row import SCALES
from .families.library import LAYERS, ROWS
from .families.library.layer import Layer
from .report import aimed, duration, mean, shown, table
from .turns import Library, Measured, Settings, libraries, measure
from .worker import Request
from .workload import DY, FORWARD, OURS, STEP

FAMILY = "library"
AIMS = (1.2, 5.0)  # one thread, forward and backward: the geometric mean, and each layer
MEMORY = 3.0  # of each layer, in either mode


@dataclass
class Found:
    """What was found of a layer, by threads and mode; how many times its data memory is, by mode."""

    layer: Layer
    measured: dict[tuple[int, str], Measured] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)

    def seconds(self, threads: int, mode: str, peer: str = OURS) -> float:
        """The best turn."""
        measured = self.measured.get((threads, mode))
        turns = measured.rows[peer].turns if measured and peer in measured.rows else ()
        return min(turns, default=math.nan)

    def ratio(self, threads: int, mode: str) -> float:
        """Our time over PyTorch's."""
        return self.seconds(threads, mode) / self.seconds(threads, mode, TORCH)

    @property
    def worst(self) -> float:
        """The greatest ratio; 0 where there is none."""
        return max((r for key in self.measured if not math.isnan(r := self.ratio(*key))), default=0.0)

    def failures(self) -> Iterator[str]:
        """What was not measured, and why."""
        for (threads, mode), measured in self.measured.items():
            for peer, row in measured.rows.items():
                if row.failed:
                    yield f"- {self.layer.title}, {mode}, {threads} threads, {peer}: {row.failed.splitlines()[0][:120]}"


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    start = time.perf_counter()
    wanted = (args.only or "").lower()
    layers = [layer for layer in LAYERS if wanted in layer.title.lower()]
    rows = [row for row in ROWS if wanted in row.name.lower()]
    if not (layers or rows):
        raise SystemExit(f"no layer and no program has '{args.only}' in its name")
    there = find_spec(TORCH) is not None
    if not there:
        print("PyTorch is not installed: its columns stay empty, and nothing is compared with it.")
    rounds = args.rounds or ROUNDS
    counts = sorted({1, args.threads})
    found = [Found(layer) for layer in layers]
    programs: list[cliffs.Cliff] = []
    for threads in counts:
        settings = Settings(threads, args.busy, cliffs.patience(args))
        with processors(threads), libraries([OURS, HAND, *([TORCH] if there else [])], settings) as started:
            for each in found:
                examine(each, threads, started, rounds)
                print(line(each, threads), flush=True)
            if threads == counts[-1]:
                for row in rows:
                    programs.append(cliffs.Cliff(row))
                    cliffs.examine(programs[-1], 1, started, rounds, FAMILY)
                    print(cliffs.line(programs[-1]), flush=True)
    parts = [introduction(published.how(args.threads, args.busy), (time.perf_counter() - start) / 60)]
    if found:
        parts += [targets(found), totals(found, counts), page(found, counts)]
    if programs:
        parts += [PROGRAMS, cliffs.totals(programs), cliffs.page(programs, SCALES[:1], [OURS, HAND])]
    text = "\n\n".join(parts)
    published.write_part(FAMILY, text, published.folder(there and not (args.only or args.rounds)))
    print(f"\n{text}")


@contextmanager
def processors(threads: int) -> Iterator[None]:
    """As many processors as threads, for what is started meanwhile."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    there = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(there)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, there)


def examine(found: Found, threads: int, started: dict[str, Library], rounds: int) -> None:
    """A layer in its modes; its memory once."""
    workload = found.layer.workload()
    arrays = workload.arrays()
    for mode in workload.modes:
        measured = measure(FAMILY, workload, mode, started, rounds, (), ONCE, TURN)
        found.measured[threads, mode] = measured
        if mode not in found.memory and found.seconds(threads, mode) < ONCE:
            reply = started[OURS].ask(Request("peak", FAMILY, workload.name, mode))
            if isinstance(reply, int):
                given = sum(a.nbytes for name, a in arrays.items() if mode == STEP or name != DY)
                found.memory[mode] = (given + reply) / workload.traffic(mode)


# -- what is printed -----------------------------------------------------------------------------------------


def line(found: Found, threads: int) -> str:
    """A layer while the command runs."""
    times = " ".join(duration(found.seconds(threads, mode)) or "-" for mode in (FORWARD, STEP))
    ratios = " ".join(shown(found.ratio(threads, mode)) or "-" for mode in (FORWARD, STEP))
    return f"{found.layer.title}, {threads} threads: {times}, times as long as PyTorch: {ratios}"


PROGRAMS = "The smallest programs in which layers were slow, beside NumPy by hand, as the cliffs are:"


def introduction(how: str, minutes: float) -> str:
    """What the tables show."""
    return (
        f"`python -m benchmarks {FAMILY}`: each layer beside PyTorch's own (eager, float32, the faster layout), "
        f"{how}, at their best turns. Times of ours over PyTorch's, so less is better; memory over inputs, outputs and "
        "gradients, workspaces that rest between calls included. `flatten` copies here and is a view there. "
        f"{published.when(minutes)}"
    )


def targets(found: Sequence[Found]) -> str:
    """What was aimed at, and what was reached."""
    ratios = {each.layer.title: r for each in found if not math.isnan(r := each.ratio(1, STEP))}
    lines = aimed(f"{STEP}, 1 thread, over PyTorch", ratios, *AIMS)
    for mode in (FORWARD, STEP):
        lines += aimed(f"peak memory, {mode}", {f.layer.title: f.memory[mode] for f in found if mode in f.memory},
                       math.nan, MEMORY)  # fmt: skip
    return table(["layers", "aim", "reached", "met", ""], lines)


def page(found: Sequence[Found], counts: Sequence[int]) -> str:
    """The table, worst first, and what failed."""
    keys = [(threads, mode) for threads in counts for mode in (FORWARD, STEP)]
    head = ["layer", f"ours, {counts[0]} thread", "and backward"]
    head += [f"over torch, {threads}" if mode == FORWARD else "and backward" for threads, mode in keys]
    head += ["memory", "and backward"]
    lines = []
    ordered = sorted(found, key=lambda f: f.worst, reverse=True)
    for each in ordered:
        cells = [each.layer.title, *(duration(each.seconds(counts[0], mode)) for mode in (FORWARD, STEP))]
        cells += [shown(each.ratio(*key)) for key in keys]
        cells += [shown(each.memory.get(mode, math.nan)) for mode in (FORWARD, STEP)]
        lines.append(cells)
    text = table(head, lines)
    notes = [note for each in ordered for note in each.failures()]
    return "\n\n".join([text, "\n".join(notes)]) if notes else text


def totals(found: Sequence[Found], counts: Sequence[int]) -> str:
    """Geometric means by threads and mode."""
    lines = []
    for threads in counts:
        for mode in (FORWARD, STEP):
            ratios = [r for each in found if not math.isnan(r := each.ratio(threads, mode))]
            if ratios:
                counted = [str(len(ratios)), shown(mean(ratios)), shown(max(ratios)), str(sum(r > BAD for r in ratios))]
                lines.append([f"{mode}, {threads} threads", *counted])
    return table(["beside PyTorch", "layers", "geometric mean", "worst", f"above {BAD:.0f}"], lines)
