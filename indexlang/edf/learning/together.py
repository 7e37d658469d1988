"""The steps of all parameters as one call of the backend.

In: for each parameter its `Rule`, shape and type. Out: a function, where the backend has one. The one rule: what
depends on rules, shapes and types is made once, whichever optimiser or graph asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from ...backends.engines import BACKENDS, usual
from ...backends.updates import Update
from .rules import Rule

Kind = tuple[Rule, tuple[int, ...], np.dtype[Any]]
MOST = 64  # sets of parameters whose calls are kept


def able() -> bool:
    """Whether the backend may have such calls."""
    return _able(_named())


def call_of(kinds: tuple[Kind, ...]) -> Callable[..., Any] | None:
    """The call, of all numbers in one vector, then the gradients, then what is changed of each parameter.

    It gives NotImplemented, and has changed nothing, for arrays of other kinds; None where there is no such call.
    """
    return _call_of(_named(), kinds)


def _named() -> str | None:
    """What decides the backend."""
    return os.environ.get("INDEXLANG_BACKEND")


@lru_cache(MOST)
def _able(_backend: str | None) -> bool:
    return BACKENDS[usual()].updates is not None


@lru_cache(MOST)
def _call_of(_backend: str | None, kinds: tuple[Kind, ...]) -> Callable[..., Any] | None:
    updates = [Update(rule.program, rule.onto, rule.numbers, shape, dtype.name) for rule, shape, dtype in kinds]
    make = BACKENDS[usual()].updates
    return None if make is None else make(updates)
