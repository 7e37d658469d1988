"""Nests called from Python, one item after the other.

In: compiled nests, the arrays that a call gives, and those that pass values from nest to nest. Out: a function of NumPy
arrays. The one rule: it decides nothing; items run in their order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .engine import Library
from .nest import Array, Nest


def runner(
    library: Library, nests: Sequence[Nest], arrays: Sequence[Array], workspaces: Sequence[Array]
) -> Callable[..., None]:
    """A function of the arrays, in their order."""
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
    rows = [(kind(library.address(n.name)), n) for n in nests]
    own = {a.name: np.empty(a.size + 16, a.dtype) for n in nests for a in n.arrays if a.role == "workspace"}
    own |= {a.name: np.empty(a.size + 16, a.dtype) for a in workspaces}
    names = [a.name for a in arrays]

    def run(*given: Any) -> None:
        at = {name: x.ctypes.data for name, x in zip(names, given, strict=True)}
        at |= {name: x.ctypes.data for name, x in own.items()}
        for function, n in rows:
            pointers = (ctypes.c_void_p * len(n.arrays))(*(at[a.name] for a in n.arrays))
            for item in range(n.count):
                function(ctypes.addressof(pointers), item)

    run.library = library  # type: ignore[attr-defined]
    return run
