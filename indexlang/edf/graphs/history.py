"""What an interactive session remembers by itself: what it has shown (`Out`, `_`, `_5`), and frames of past errors.

In: nodes. Out: those that something else holds, too. The one rule: whoever is not known for sure to be such a memory
counts as a holder, so that at worst a node is computed that nobody asks for.
"""

from __future__ import annotations

import gc
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from ...errors import IndexLangError
from ...tracebacks import whole_tracebacks

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_UNDERSCORES = re.compile(r"_+\d*$")  # _, __, ___, _5
_SHELLS = ("IPython", "ipykernel")
_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def held(objects: Sequence[T]) -> list[T]:
    """Those that a variable, a container or a running call holds, besides `objects`; all of them if none is."""
    if not hasattr(sys, "getrefcount") or not any(map(_remembered, objects)):  # not every Python counts
        return list(objects)
    gc.collect()  # what is garbage in circles holds nothing
    probe = object()
    listed: list[Any] = [*objects, probe]  # each is in two places: these, or this and `probe`
    least = sys.getrefcount(listed[-1])
    counts = [sys.getrefcount(listed[k]) - least for k in range(len(objects))]
    found = [k for k, count in enumerate(counts) if count > _remembered(objects[k])]
    return [objects[k] for k in found] or list(objects)


def forgetful(work: Callable[P, R]) -> Callable[P, R]:
    """Work whose errors come without the calls inside of it, which would keep nodes alive as long as the error is."""

    @wraps(work)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return work(*args, **kwargs)
        except IndexLangError as error:
            if whole_tracebacks():
                raise
            del args, kwargs
            if error.__suppress_context__:
                error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904 (it is the same error)

    return told


def _remembered(item: object) -> int:
    """How many of the references to an object are memories of the session."""
    running = _running()
    return sum(_memories(holder, item, running) for holder in gc.get_referrers(item))


def _memories(holder: Any, item: object, running: set[int]) -> int:
    if isinstance(holder, dict):
        keys = [k for k, v in list(holder.items()) if v is item]
        words = sum(isinstance(k, str) and _UNDERSCORES.match(k) is not None for k in keys)
        return words + (len(keys) - words if _is_out(holder) else 0)
    if isinstance(holder, FrameType):
        alive = id(holder) in running or holder.f_code.co_flags & _SUSPENDED
        return 0 if alive else _count(holder, item)
    return _count(holder, item) if type(holder).__module__.partition(".")[0] in _SHELLS else 0


def _count(holder: object, item: object) -> int:
    return sum(o is item for o in gc.get_referents(holder))


def _is_out(numbered: dict[Any, Any]) -> bool:
    """Whether it is the dictionary of all that was shown."""
    spaces = [r for r in gc.get_referrers(numbered) if isinstance(r, dict)]
    return any(s.get(name) is numbered for s in spaces for name in ("Out", "_oh"))


def _running() -> set[int]:
    """The frames of the calls that have not returned, in all threads."""
    found: set[int] = set()
    for top in sys._current_frames().values():
        frame: FrameType | None = top
        while frame is not None:
            found.add(id(frame))
            frame = frame.f_back
    return found
