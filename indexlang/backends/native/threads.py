"""How many threads native code may use: what was set, else what the environment says, else the processors.

In: `set_num_threads`, INDEXLANG_NUM_THREADS, INDEXLANG_THREADS, OMP_NUM_THREADS. Out: a number from 1 to MOST. Errors:
`IndexLangError` where one of the first two variables is no such number; what others mean by OMP_NUM_THREADS is theirs.
The one rule: the number decides who computes, never what.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from ...errors import IndexLangError, Problem
from ...machine import usable
from .pool_ir import MOST

_OURS = ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS")
_number: list[int] = []  # once it is known
_calls: list[Callable[[int], object]] = []


def num_threads() -> int:
    """How many threads may run at a time, the caller among them."""
    if not _number:
        _number[:] = [_given() or usable()]
    return _number[0]


def set_num_threads(number: int | None) -> None:
    """From now on so many; None is as many as the environment says, or as there are processors."""
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MOST):
        rule = f"a number of threads is an integer from 1 to {MOST}"
        way = "give None for as many as there are processors"
        raise IndexLangError(Problem("threads", rule, values=(f"number={number!r}",), way_out=way))
    _number[:] = [] if number is None else [number]
    for call in _calls:
        call(num_threads())


def when_set(call: Callable[[int], object]) -> None:
    """Have this called with the number now, and whenever it is set."""
    _calls.append(call)
    call(num_threads())


def _given() -> int | None:
    """What the environment says, if it does."""
    for name in _OURS:
        said = os.environ.get(name, "").strip()
        if not said:
            continue
        if _threads(said) is None:
            rule, way = f"{name} is a number of threads, from 1 to {MOST}", "unset it for as many as processors"
            raise IndexLangError(Problem("threads", rule, values=(f"{name}={said}",), way_out=way))
        return _threads(said)
    theirs = os.environ.get("OMP_NUM_THREADS", "")
    return _threads(theirs.split(",")[0].strip())  # of a list the first, as OpenMP reads it


def _threads(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdigit() and len(said) < 5 and 0 < int(said) <= MOST else None
