"""Where nodes are collected while they are made: their names, their order, the seed of their first values.

In: nodes and parameter packages as they come. Out: names that are free in their graph. The one rule: what is made
inside `with graph:` belongs to that graph, what is made outside of any to the default graph.

The default graph does not keep its nodes alive: those whose variables have been overwritten are gone.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...program.ir import primal_of
from ...program.names import RESERVED
from ...sizes.dtypes import DTYPES
from ..problems import GraphError, graph_error
from ..settings import COUNT, setting

Array = NDArray[Any]

_FEW = 64

_REFUSED = RESERVED | {"grad"}


class Named:
    """What a registry keeps: a node, by its name."""

    _name: str
    number: int  # how many nodes were made before it

    @property
    def name(self) -> str:
        """The name of the node's tensor in the graph's Program."""
        return self._name

    @property
    def owner(self) -> Any:
        """What the name was given to: the node, or what it is a part of."""
        return self


def _no_dtype(given: str) -> GraphError:
    rule = f"a graph computes with floating-point numbers, not {given}"
    return graph_error("dtype", rule, way_out="write dtype=np.float32, or leave it out")


class Registry:
    """The nodes of a graph in the order in which they were made."""

    def __init__(self, seed: int, dtype: Any, keep: bool) -> None:
        self.seed = setting("Graph", "seed", seed, COUNT)
        try:
            self.dtype = np.dtype(dtype)
        except TypeError:
            raise _no_dtype(repr(dtype)) from None
        if self.dtype.kind not in "fc" or self.dtype.name not in DTYPES:
            raise _no_dtype(str(self.dtype))
        self._keep = keep
        self._references: list[weakref.ref[Named]] = []
        self._made = 0
        self._kept: list[Named] = []
        self._owners: dict[str, list[weakref.ref[Any]]] = {}  # who got a name, the last one last
        self._most = _FEW  # references, and names, before those that are dead are dropped
        self._counts: dict[str, int] = {}
        self._drawn = 0
        self.version = 0  # changes with the graph
        self.learned: weakref.WeakSet[Any] = weakref.WeakSet()  # the parameters
        self.looked = (0, 0)  # version, and number of parameters, that were looked through for what was made again
        self.values: dict[str, Array] = {}  # of computed nodes, as of the last run
        self.gradients: dict[str, Array] = {}  # of all nodes, as of the last run backward

    def add(self, node: Named) -> None:
        """Put a node into the graph."""
        self.version += 1
        node.number = self._made
        self._made += 1
        self._drop_dead()
        self._references.append(weakref.ref(node))
        if self._keep:
            self._kept.append(node)

    @property
    def made(self) -> int:
        """How many nodes were made."""
        return self._made

    def _drop_dead(self) -> None:
        """Forget nodes and names that are gone, as soon as they may be more than those that are there."""
        if self._keep or max(len(self._references), len(self._owners)) < self._most:
            return
        self._references = [r for r in self._references if r() is not None]
        there = {name: [r for r in found if r() is not None] for name, found in list(self._owners.items())}
        self._owners = {name: found for name, found in there.items() if found}
        self._most = max(_FEW, 2 * len(self._references), 2 * len(self._owners))

    def alive(self) -> Iterator[Named]:
        """The nodes that still exist, in the order in which they were made."""
        return (node for reference in self._references if (node := reference()) is not None)

    def name(self, stem: str, wanted: str | None, owner: object) -> str:
        """The name that was asked for if it can be written, else the stem and a number.

        In the default graph a name goes over to who asks for it last, as in a notebook's cell that is run again.
        Errors: `GraphError`.
        """
        if wanted is None:
            while True:
                self._counts[stem] = self._counts.get(stem, 0) + 1
                wanted = f"{stem}{self._counts[stem]}"
                if wanted not in self._owners:
                    break
        elif not isinstance(wanted, str) or not _is_name(wanted):
            rule = f"{wanted!r} cannot be the name of a node"
            way = "use letters, digits and _, with dots between the parts"
            if isinstance(wanted, tuple | list | int):
                way = f"say shape={wanted!r}"
            raise graph_error("node-name", rule, way_out=way)
        elif wanted in self._owners and self._keep:
            raise graph_error("node-name", f"the graph has a node '{wanted}' already", way_out="choose another name")
        if wanted in self._owners:  # what was computed from the one before is to be told
            self.version += 1
        self._drop_dead()
        before = [r for r in self._owners.get(wanted, ()) if r() is not None]
        self._owners[wanted] = [*before, weakref.ref(owner)]
        for known in (self.values, self.gradients):
            for other in [n for n in known if n == wanted or n.startswith(f"{wanted}.")]:
                del known[other]
        return wanted

    def owners(self) -> Iterator[object]:
        """What has a name and still exists: nodes and packages."""
        return (owner for found in list(self._owners.values()) if (owner := found[-1]()) is not None)

    def is_new(self) -> bool:
        """Whether anything was made since this was last asked for."""
        before, self.looked = self.looked, (self.version, self._drawn)
        return before != self.looked

    def successor(self, node: Named) -> object | None:
        """What has the node's name, or that of its package, by now; None as long as the node has it."""
        owner = next((o for r in reversed(self._owners.get(node.owner.name, ())) if (o := r()) is not None), None)
        return None if owner is node.owner else owner

    def next_generator(self) -> tuple[int, int]:
        """The seed of the next parameter's first value: the same for the same seed and number."""
        self._drawn += 1
        return self.seed, self._drawn


def _is_name(text: str) -> bool:
    """Whether the language can write it as a tensor, and not as a gradient."""
    parts = text.split(".")
    return primal_of(text) is None and all(part.isidentifier() and part not in _REFUSED for part in parts)


_current: ContextVar[Registry | None] = ContextVar("indexlang.edf graph", default=None)
_default: list[Registry] = []


def current() -> Registry:
    """The graph of the surrounding `with`, or the default graph."""
    found = _current.get()
    return _default[0] if found is None else found


def set_default(registry: Registry) -> None:
    """Make a graph the default one."""
    _default[:] = [registry]


def default() -> Registry:
    """The default graph."""
    return _default[0]


def enter(registry: Registry) -> Any:
    """Make a graph the current one; what is returned leaves it."""
    return _current.set(registry)


def leave(token: Any) -> None:
    """Make the graph current that was so before."""
    _current.reset(token)
