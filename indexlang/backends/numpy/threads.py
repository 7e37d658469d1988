"""The threads in which generated code runs blocks side by side, the same for all programs of a process.

`concurrent.futures` has pools, too. Theirs takes no work any more when the main thread has ended, as in handlers at
exit and in threads that live longer, and its locks are not held twice by one thread: a handler of a signal that asks
for threads while its own thread does so waits for ever.

The one rule: as many as `threads` says, a process that was forked makes its own, and where there can be none, whoever
waits for work does it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from ...locks import after_fork
from ...threads import num_threads, when_set


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
        when_set(self.allow)

    def renew(self) -> None:
        """Begin without threads."""
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._free: list[None] | None = None  # an element for each thread that may be started yet
        self._running = False
        self._allowed = 0

    def allow(self, number: int) -> None:
        """Let there be so many threads, the caller among them; those that there are stay, and wait."""
        more = max(1, number - 1) - self._allowed
        if self._free is not None and more > 0:
            self._allowed += more
            self._free.extend([None] * more)

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
            self._free = []
            self.allow(num_threads())
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
