"""How many threads may run side by side: what was set, else what the environment says, else the processors.

In: `set_num_threads`, INDEXLANG_NUM_THREADS, INDEXLANG_THREADS, OMP_NUM_THREADS. Out: a number from 1 to MOST. Errors:
`IndexLangError` where one of the first two variables is no such number; what others mean by OMP_NUM_THREADS is theirs.
The one rule: the number decides who computes, never what.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from .errors import IndexLangError, Problem
from .machine import usable

MOST = 1024
_OURS = ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS")
_number: list[int] = []  # once it is set
_known: dict[tuple[str, ...], int] = {}  # by what the environment says: asking the machine takes a while
_calls: list[Callable[[int], object]] = []


def num_threads() -> int:
    """How many threads may run at a time, the caller among them."""
    if _number:
        return _number[0]
    said = tuple(os.environ.get(name, "") for name in (*_OURS, "OMP_NUM_THREADS"))
    if said not in _known:
        _known.clear()
        _known[said] = _given() or usable()
    return _known[said]


def set_num_threads(number: int | None) -> None:
    """From now on so many threads compute at a time, the caller among them, in all Functions of this process.

    `number` None is as many as INDEXLANG_NUM_THREADS says, or as there are processors. Results of the native backend
    are the same, bit by bit, for any number; BLAS, which multiplies matrices for the NumPy backend, has a number of
    its own. Errors: `IndexLangError` for what is no number from 1 to 1024.
    """
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MOST):
        rule = f"a number of threads is an integer from 1 to {MOST}"
        way = "give None for as many as there are processors"
        raise IndexLangError(Problem("threads", rule, values=(f"number={number!r}",), way_out=way))
    _number[:] = [] if number is None else [number]
    _known.clear()
    for call in _calls:
        call(num_threads())


def when_set(call: Callable[[int], object]) -> None:
    """Have this called with the number whenever it is set."""
    _calls.append(call)


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
