"""Kernels in the process, each of them once: nests that are the same kernel share their code.

A kernel's key is what it does, on what machine, and how nests become code; the code is looked for under it in this
process, then on the disk, and made last. So layers that are repeated, in one program or in several, are compiled once.

In: nests, the machine. Out: `Kernels`, where each nest's code is. Errors: as `engine.compiled`. The one rule: code is
in the process as long as somebody holds a kernel that was put there together with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pkgutil import get_data
from weakref import WeakValueDictionary

from ...locks import Lock
from ...version import __version__
from . import emit, engine, objects
from .engine import Library
from .nest import Nest
from .same_kernels import signature
from .target import Target

EMITTING = ("emit", "emit_casts", "emit_memory", "emit_operations", "text", "nest", "target")  # what makes text of it


def _emitter() -> str:
    """Which code turns nests into text: its sources, where they are there, as the process imported them now."""
    digest = sha256(__version__.encode())
    for name in EMITTING:
        try:
            digest.update(get_data(__package__, f"{name}.py") or b"")
        except OSError:  # there are no sources where the package is: its version says which code it is
            continue
    return digest.hexdigest()


_EMITTER = _emitter()


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

    def of(self, nests: Sequence[Nest]) -> Kernels:
        """Some of them."""
        return Kernels({n.name: self._found[n.name] for n in nests})


def compiled(nests: Sequence[Nest], target: Target) -> Kernels:
    """Nests as functions."""
    named = {nest.name: (key(nest, target), nest) for nest in nests}
    assert len(named) == len(nests), "two nests of one name"
    wanted = dict(named.values())
    with _lock.held():
        found = {k: kernel for k in wanted if (kernel := _kernels.get(k)) is not None}
        made = _made({k: nest for k, nest in wanted.items() if k not in found}, target)
        _kernels.update(made)
    found |= made
    return Kernels({name: found[k] for name, (k, _) in named.items()})


def key(nest: Nest, target: Target) -> str:
    """A name for a kernel on a machine."""
    return objects.key(signature(nest), target, repr(target), _EMITTER, engine.version())


def _made(wanted: Mapping[str, Nest], target: Target) -> dict[str, Kernel]:
    """Kernels put into the process together, from the disk as far as they are there."""
    codes = {k: code for k in wanted if (code := objects.load(k)) is not None}
    try:
        found = _linked(codes)
    except RuntimeError:  # something was kept whole, but is not what its name says
        for k in codes:
            objects.remove(k)
        codes, found = {}, {}
    fresh = {
        k: engine.assembled(emit.module([replace(nest, name=_symbol(k))], target), target)
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
