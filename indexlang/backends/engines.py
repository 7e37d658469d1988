"""The table of backends: what each is called, which sizes it plans for, what compiles for it, and what it needs.

In: a backend's name. Out: its row. The one rule: a row is all that the rest of the package knows of a backend.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from ..plan.limits import NATIVE, NUMPY, Limits
from .numpy.load import Compiled, compile_program


@dataclass(frozen=True)
class Row:
    """A backend. `needs` are modules that must be installed, by the extra of that name."""

    limits: Limits
    compiles: Callable[..., Compiled]
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)


def _native(*args: Any, **how: Any) -> Compiled:
    from .native.load import compile_native  # it imports llvmlite

    return compile_native(*args, **how)


def usual() -> str:
    """The backend that "auto" stands for: INDEXLANG_BACKEND where that names one that is there."""
    named = os.environ.get("INDEXLANG_BACKEND", "")
    return named if named in BACKENDS and not BACKENDS[named].missing else "numpy"


BACKENDS: Mapping[str, Row] = {
    "numpy": Row(NUMPY, compile_program),
    "native": Row(NATIVE, _native, ("llvmlite",)),
}
