"""The threads in which generated code runs blocks side by side, the same for all programs of a process.

`concurrent.futures` has pools, too. Theirs takes no work any more when the main thread has ended, as in handlers at
exit and in threads that live longer, and its locks are not held twice by one thread: a handler of a signal that asks
for threads while its own thread does so waits for ever.

The one rule: as many as there are processors to run on, a process that was forked makes its own, and where there can be
none, whoever waits for work does it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from ...errors import IndexLangError, Problem
from ...locks import after_fork
from ...machine import usable

MOST = 1024


def count() -> int:
    """How many threads may run: INDEXLANG_THREADS or OMP_NUM_THREADS where they are set, else the processors.

    Errors: `IndexLangError` where INDEXLANG_THREADS is no such number; what others mean by OMP_NUM_THREADS is theirs.
    """
    ours, theirs = (os.environ.get(name, "").strip() for name in ("INDEXLANG_THREADS", "OMP_NUM_THREADS"))
    if ours:
        if _threads(ours) is None:
            rule = f"INDEXLANG_THREADS is a number of threads, from 1 to {MOST}"
            way = "unset it for as many as there are processors"
            raise IndexLangError(Problem("threads", rule, values=(f"INDEXLANG_THREADS={ours}",), way_out=way))
        return _threads(ours) or 1
    return _threads(theirs.split(",")[0]) or usable()  # of a list the first, as OpenMP reads it


def _threads(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 5 and 0 < int(text) <= MOST else None


class Task:
    """A call that is made once, by whoever begins it: a thread of the pool, or the one that waits for it."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._call = partial(function, *args)
        self._begun, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self._found: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Make the call, unless somebody has begun it."""
        if not self.cancel():
            return
        try:
            self._found = self._call()
        except BaseException as error:
            self._error = error
        finally:
            del self._call  # what it holds is not needed any more
            self._done.release()

    def cancel(self) -> bool:
        """Whether nobody has begun the call, and nobody will from now on."""
        return self._begun.acquire(blocking=False)

    def result(self) -> Any:
        """What the call gives, or the error that it raises."""
        self.run()
        with self._done:
            pass
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
            return self._found
        finally:
            del error  # it knows this frame


class Pool:
    """Threads, started when first needed. They end with the process, and hold nothing while they wait."""

    def __init__(self) -> None:
        self.renew()
        after_fork(self.renew)

    def renew(self) -> None:
        """Begin without threads."""
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._free: list[None] | None = None  # an element for each thread that may be started yet
        self._running = False

    def submit(self, function: Callable[..., Any], *args: Any) -> Task:
        """Have the function run beside the caller."""
        task = Task(function, args)
        self._start()
        if self._running:
            self._tasks.put(task)
        return task

    def _start(self) -> None:
        """Start one more thread if there may be more."""
        if self._free is None:
            self._free = [None] * max(1, count() - 1)
        free = self._free
        try:
            free.pop()
        except IndexError:
            return
        try:
            threading.Thread(target=_work, args=(self._tasks,), name="indexlang", daemon=True).start()
            self._running = True
        except RuntimeError:  # there can be no more threads now, or none any more
            free.append(None)


def _work(tasks: SimpleQueue[Task]) -> None:
    while True:
        tasks.get().run()


POOL = Pool()
