"""The threads in which generated code runs blocks side by side, the same for all programs of a process.

The one rule: as many as there are processors to run on, and a process that was forked makes its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import IndexLangError, Problem
from ...machine import usable

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


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


class Pool:
    """Threads, started when first needed."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have the function run beside the caller."""
        if self._executor is None or self._process != os.getpid():
            from concurrent.futures import ThreadPoolExecutor  # slow to import, and rarely needed

            self._executor = ThreadPoolExecutor(max(1, count() - 1), thread_name_prefix="indexlang")
            self._process = os.getpid()
        return self._executor.submit(function, *args)


POOL = Pool()
