"""Kernels in the process, each of them once: nests that are the same kernel share their code.

A kernel's key is what it does, on what machine, and how nests become code; the code is looked for under it in this
process, then on the disk, and made last. So layers that are repeated, in one program or in several, are compiled once.

In: keys of kernels, what gives their nests, the machine. Out: `Kernels`, where their code is. Errors: as
`engine.compiled`. The one rule: code is in the process as long as somebody holds a kernel that was put there together
with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from ...locks import Lock
from . import emit, engine, objects
from .engine import Library
from .nest import Nest
from .same_kernels import signature
from .sources import EMITTING
from .target import Target


@dataclass(frozen=True, eq=False)
class Kernel:
    """A function `void (ptr arrays, i64 item)` in a library."""

    address: int
    library: Library


_lock = Lock()
_kernels: WeakValueDictionary[str, Kernel] = WeakValueDictionary()


class Kernels:
    """The kernels of some nests, by the nests' names."""

    def __init__(self, found: Mapping[str, Kernel]) -> None:
        self._found = dict(found)

    def address(self, name: str) -> int:
        """Where a nest's code is, as long as this is alive."""
        return self._found[name].address

    def of(self, names: Iterable[str]) -> Kernels:
        """Some of them."""
        return Kernels({name: self._found[name] for name in names})


def compiled(wanted: Mapping[str, tuple[str, Callable[[], Nest]]], target: Target) -> Kernels:
    """Kernels by the names that they have here; of each its key, and what makes the nest if there is no code."""
    nests = dict(wanted.values())
    with _lock.held():
        found = {k: kernel for k in nests if (kernel := _kernels.get(k)) is not None}
        made = _made({k: nest for k, nest in nests.items() if k not in found}, target)
        _kernels.update(made)
    found |= made
    return Kernels({name: found[k] for name, (k, _) in wanted.items()})


def key(nest: Nest, target: Target) -> str:
    """A name for a kernel on a machine."""
    return objects.key(signature(nest), target, repr(target), EMITTING, engine.version())


def _made(wanted: Mapping[str, Callable[[], Nest]], target: Target) -> dict[str, Kernel]:
    """Kernels put into the process together, from the disk as far as they are there."""
    codes = {k: code for k in wanted if (code := objects.load(k)) is not None}
    try:
        found = _linked(codes)
    except RuntimeError:  # something was kept whole, but is not what its name says
        for k in codes:
            objects.remove(k)
        codes, found = {}, {}
    fresh = {
        k: engine.assembled(emit.module([replace(nest(), name=_symbol(k))], target), target)
        for k, nest in wanted.items()
        if k not in codes
    }
    objects.keep_all(fresh)
    return found | _linked(fresh)


def _linked(codes: Mapping[str, bytes]) -> dict[str, Kernel]:
    if not codes:
        return {}
    library = engine.linked(list(codes.values()), [_symbol(k) for k in codes])
    return {k: Kernel(library.address(_symbol(k)), library) for k in codes}


def _symbol(key: str) -> str:
    return f"kernel_{key[:40]}"
