"""Networks by name: each with the size of its images, as a graph of its own.

In: a name, and what shall be other than usual: `classes`, `size` of the images, `width` of the layers. Out: a
`Network`. The one rule: a network is a function from a node to the node of its scores; its page says no more.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...collecting import uncollected
from ...meaning.report import nearest
from ..graphs import sizes
from ..graphs.assemble import assemble
from ..graphs.computed import CompNode
from ..graphs.graph import Graph
from ..graphs.nodes import Input, Node
from ..problems import GraphError, graph_error


@dataclass(frozen=True)
class Network:
    """A graph by its `name`: `graph`, its input `x`, and the node of the `scores` of classes, before softmax."""

    name: str
    graph: Graph
    x: Input
    scores: CompNode


@dataclass(frozen=True)
class Entry:
    """A function that makes a network, for square images of `size` with `channels`, or vectors where `size` is 0."""

    make: Callable[..., CompNode]
    size: int
    channels: int
    options: tuple[tuple[str, Any], ...] = ()


NETWORKS: dict[str, Entry] = {}


def network(
    name: str, size: int, channels: int = 3, **options: Any
) -> Callable[[Callable[..., CompNode]], Callable[..., CompNode]]:
    """Enter a function from a node to that of its scores into the catalogue: a decorator.

    `name` is what `build` takes, `size` and `channels` are those of its images, options what the function gets.
    """

    def enter(make: Callable[..., CompNode]) -> Callable[..., CompNode]:
        NETWORKS[name] = Entry(make, size, channels, tuple(options.items()))
        return make

    return enter


@uncollected
def build(
    name: str, *, size: int | None = None, channels: int | None = None, graph: Graph | None = None, **options: Any
) -> Network:
    """The network of that `name`, for images of `size` and `channels`; nothing is drawn before it is asked for.

    It is made in `graph`, else in one of its own. `options` are those of the network's function, such as `classes` and
    `width`. Errors: `GraphError`; `ShapeError` for images that a layer is too large for.
    """
    entry = NETWORKS.get(name) if isinstance(name, str) else None
    if entry is None:
        raise no_network(name, "name one of these")
    _check_options(name, entry, options)
    size, channels = entry.size if size is None else size, entry.channels if channels is None else channels
    with graph or Graph() as made:
        x = Input("x", (size, size, channels) if size else (channels,))
        scores = entry.make(x, **{**dict(entry.options), **options})
        features(scores, x)  # what does not fit is told here
        return Network(name, made, x, scores)


def _check_options(name: str, entry: Entry, options: Mapping[str, Any]) -> None:
    """Errors: `GraphError` for an option that the network's function does not take."""
    parameters = list(inspect.signature(entry.make).parameters.values())[1:]
    known = ["size", "channels", *(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)]
    for option in options if len(known) == len(parameters) + 2 else ():
        if option not in known:
            rule, way = f"{name} has no option '{option}'", nearest(option, known) or "leave it out"
            raise graph_error("network-option", rule, f"options: {', '.join(known)}", way_out=way)


def no_network(name: object, way: str) -> GraphError:
    """The error for a name that no network has; `way` is the way out where none is spelled alike."""
    shown = repr(name) if isinstance(name, str) else f"of the name {name!r}"
    known = f"networks: {', '.join(NETWORKS)}"
    return graph_error("network", f"there is no network {shown}", known, way_out=nearest(name, NETWORKS) or way)


def example(x: Node) -> tuple[int, ...]:
    """The shape of one example of a network's input. Errors: `GraphError` if it is not known."""
    if not isinstance(x, Input) or x.example is None:
        raise graph_error(
            "network-input", f"the shape of {x.name} must be known", way_out="say Input(shape=(28, 28, 1))"
        )
    return x.example


def features(h: Node, x: Node) -> int:
    """How many numbers a node computes from one example. Errors: `ShapeError`, which names what does not fit."""
    known = sizes.infer(assemble((h,), training=False), {x: (1, *example(x))})
    return math.prod(known.nodes[h][1:])


def scaled(channels: int, width: float) -> int:
    """So many channels in a network of another width. Errors: `GraphError`."""
    if not width > 0:
        raise graph_error("network-option", f"a width is a positive number, not {width}", way_out="write width=0.5")
    return max(1, round(channels * width))
