"""A limit of processor time for a test's stage."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 0.5  # seconds after which the error is raised once more, should anything have swallowed it


@contextmanager
def limited(seconds: float, error: Callable[[FrameType | None], BaseException]) -> Iterator[None]:
    """Raise the error of the frame that is at work after so many seconds of processor time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise error(frame)

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
