"""The threads in which generated code runs blocks side by side, the same for all programs of a process.

The one rule: as many as there are processors to run on, and a process that was forked makes its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...machine import usable

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor


def count() -> int:
    """How many threads may run: INDEXLANG_THREADS or OMP_NUM_THREADS where they are set, else the processors."""
    for name in ("INDEXLANG_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(name, "")
        if text.isdigit() and int(text) > 0:
            return int(text)
    return usable()


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
