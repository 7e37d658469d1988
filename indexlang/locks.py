"""Locks that are held again by their own thread, and free in a process that was forked while they were held.

A process that is forked has one thread, the one that forked, and a copy of all memory: a lock that another thread held
at that moment is held for ever there. A handler of a signal runs between any two steps of the main thread, so that it
may ask for what that thread holds.

In: nothing. Out: `Lock`. The one rule: what it guards is right between any two steps: values are put in place when
they are complete, and making one twice does no harm.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

_next = count(1).__next__
_process = _next()  # which process of its line this is: numbers of the system are used again


def _forked() -> None:
    global _process
    _process = _next()


def after_fork(renew: Callable[[], object]) -> None:
    """Have this called in each process that is forked, before anything else runs there."""
    if hasattr(os, "register_at_fork"):  # systems without it do not fork
        os.register_at_fork(after_in_child=renew)


after_fork(_forked)


class Lock:
    """`with lock.held(): ...`: one thread of this process at a time."""

    def __init__(self) -> None:
        self._locks: dict[int, threading.RLock] = {}  # by process

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait until no other thread of this process holds it; hold it meanwhile."""
        with self._locks.setdefault(_process, threading.RLock()):
            yield
