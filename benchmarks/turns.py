"""One process a library, one of them running at any moment, turns interleaved.

In: workloads. Out: a `Measured` for each workload and mode. The one rule: results are compared before anything is
timed, and what differs is not timed.

Idle threads of OpenBLAS and of OpenMP spin for a while, waiting for more; a library that is measured meanwhile has a
processor less (`pools` shows how much that is). So a process whose turn it is not is stopped as a whole.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from .worker import Failed, Ready, Request, serve
from .workload import OURS, Arrays, Workload

TURN = 0.03  # seconds that a turn lasts at least
ENOUGH = 4.0  # seconds of one library's turns after which the first few must do
FEW = 3
ONCE = math.inf  # seconds from which on a call is not measured again after its preparation
_SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Row:
    """What one library did: seconds of a call by turn, of the first call, bytes at most; or why it did not."""

    turns: Sequence[float] = ()
    first: float = math.nan
    memory: int = 0
    note: str = ""
    failed: str = ""

    @property
    def seconds(self) -> float:
        """The median of the turns."""
        return median(self.turns) if self.turns else math.nan


@dataclass(frozen=True)
class Measured:
    """A workload in one mode, by every library that has it."""

    family: str
    workload: str
    mode: str
    flops: int
    traffic: int
    rows: Mapping[str, Row] = field(default_factory=dict)

    def ratio(self, peer: str) -> float:
        """The peer's time over ours; nan where either is missing."""
        rows = self.rows
        return rows[peer].seconds / rows[OURS].seconds if peer in rows and OURS in rows else math.nan


@dataclass(frozen=True)
class Settings:
    """Threads of every library; whether the processor's time counts; seconds after which a library is given up."""

    threads: int = 2
    busy: bool = False
    patience: float = 30.0


class Library:
    """The process of one library, stopped except while it answers."""

    def __init__(self, peer: str, settings: Settings) -> None:
        self._peer, self._settings = peer, settings
        self._start()

    def _start(self) -> None:
        self._connection, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=serve, args=(self._peer, self._settings.threads, self._settings.busy, theirs), daemon=True
        )
        self._process.start()
        theirs.close()

    def ask(self, request: Request) -> Any:
        """The reply, or why there is none; the process runs in between."""
        self._signal("SIGCONT")
        try:
            self._connection.send(request)
            if self._connection.poll(self._settings.patience):
                reply = self._connection.recv()
                self._signal("SIGSTOP")
                return reply
            reason = f"more than {self._settings.patience:.0f} s"
        except (EOFError, OSError):
            self._process.join(5)
            reason = f"the process ended with status {self._process.exitcode}"
        self.close()
        self._start()
        return Failed(reason, "")

    def close(self) -> None:
        self._connection.close()
        self._process.kill()  # also ends what is stopped
        self._process.join()

    def _signal(self, name: str) -> None:
        if hasattr(signal, name) and self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, getattr(signal, name))


@contextmanager
def libraries(peers: Sequence[str], settings: Settings) -> Iterator[dict[str, Library]]:
    """A process for each."""
    started: dict[str, Library] = {}
    try:
        for peer in peers:
            started[peer] = Library(peer, settings)
        yield started
    finally:
        for library in started.values():
            library.close()


def measure(
    family: str,
    workload: Workload,
    mode: str,
    started: Mapping[str, Library],
    rounds: int,
    given_up: Sequence[str] = (),
    once: float = ONCE,
    turn: float = TURN,
) -> Measured:
    """Prepare, compare, then `rounds` turns of each library, one after the other, but those that are `given_up`.

    A call of more than `once` seconds counts as it was when it was prepared.
    """
    ready: dict[str, Ready] = {}
    rows: dict[str, Row] = {}
    for peer, library in started.items():
        if peer in given_up:
            rows[peer] = Row(failed="given up before")
        elif workload.build(peer) is not None:
            reply = library.ask(Request("prepare", family, workload.name, mode))
            if isinstance(reply, Ready):
                ready[peer] = reply
            else:
                rows[peer] = Row(failed=reply.reason)
    rows |= {peer: Row(failed=reason) for peer, reason in compare(ready, workload.tolerance).items()}
    running = [peer for peer in ready if peer not in rows]
    turns = {peer: [ready[peer].later] if ready[peer].later > once else [] for peer in running}
    measured = [peer for peer in running if not turns[peer]]
    calls = {peer: max(1, math.ceil(turn / max(ready[peer].later, 1e-9))) for peer in measured}
    for number in range(rounds):
        shift = number % max(1, len(measured))
        for peer in measured[shift:] + measured[:shift]:
            if peer in rows or (number >= FEW and sum(turns[peer]) * calls[peer] > ENOUGH):
                continue
            reply = started[peer].ask(Request("time", calls=calls[peer]))
            if isinstance(reply, float):
                turns[peer].append(reply)
            else:
                rows[peer] = Row(failed=reply.reason)
    for peer in running:
        if peer not in rows:
            rows[peer] = Row(turns[peer], ready[peer].first, ready[peer].memory, ready[peer].note)
    for library in started.values():
        library.ask(Request("drop"))
    order = [peer for peer in started if peer in rows]
    return Measured(
        family, workload.name, mode, workload.work(mode), workload.traffic(mode), {p: rows[p] for p in order}
    )


def compare(ready: Mapping[str, Ready], tolerance: float) -> dict[str, str]:
    """The libraries whose results differ from what most others give, and in what."""
    agreeing = {a: [b for b in ready if not difference(ready[a].results, ready[b].results, tolerance)] for a in ready}
    if not agreeing:
        return {}
    best = max(agreeing, key=lambda a: len(agreeing[a]))
    found = {}
    for peer in ready:
        if peer not in agreeing[best]:
            found[peer] = difference(ready[peer].results, ready[best].results, tolerance) or "differs"
    if len(ready) == 2 and found:  # nobody can say which one is right
        found = dict.fromkeys(ready, next(iter(found.values())))
    return found


def difference(one: Arrays, other: Arrays, tolerance: float) -> str:
    """What differs; empty if nothing does."""
    if set(one) != set(other):
        return f"results {', '.join(one)} against {', '.join(other)}"
    for name, a in one.items():
        b = other[name]
        if a.shape != b.shape:
            return f"{name} has shape {a.shape} against {b.shape}"
        scale = float(np.max(np.abs(b), initial=0.0)) or 1.0
        worst = float(np.max(np.abs(a - b), initial=0.0)) / scale
        if not worst <= tolerance:
            return f"{name} differs by {worst:.2g} of its greatest element"
    return ""
