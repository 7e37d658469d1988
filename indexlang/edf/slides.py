"""Forward, Backward and SGD as on the slides: about the graph of the surrounding `with`, else the default one.

In: what the slides write. Out: values and gradients of nodes, changed parameters.
"""

from __future__ import annotations

from typing import cast

from .graphs import registry
from .graphs.graph import Graph
from .graphs.nodes import Node
from .learning.optimisers import GradientDescent


def default_graph() -> Graph:
    """The graph of all nodes that were made outside of any `with graph:`."""
    return cast(Graph, registry.default())


def reset(seed: int = 0) -> Graph:
    """A new, empty default graph, which is returned; `seed` as for `Graph`."""
    graph = Graph(seed=seed, keep=False)
    registry.set_default(graph)
    return graph


def _graph() -> Graph:
    return cast(Graph, registry.current())


def Forward(*wanted: Node, training: bool = True) -> None:  # noqa: N802 (the slides' name)
    """Compute all nodes of the graph, or the wanted ones and what they need, from the values of inputs.

    `training=False` runs what is run when nothing is learned: no dropout, running statistics.
    Errors: `GraphError` without a node or an input's value, and for shapes that do not fit.
    """
    (Graph.of(wanted[0]) if wanted else _graph()).forward(*wanted, training=training)


def Backward(loss: Node) -> None:  # noqa: N802
    """The gradients of `loss`, averaged over the batch, by every node and parameter: `node.grad`.

    `loss` is a node with one value for each example, or one for all. Errors: `GraphError` before Forward, and if the
    loss depends on no parameter.
    """
    Graph.of(loss).backward(loss)


def SGD(rate: float, graph: Graph | None = None) -> None:  # noqa: N802
    """One step down the gradient: each trained parameter of `graph`, else of the current one, less `rate` times its
    gradient. Errors: `GraphError` if no parameter has one, and for a rate that is none.
    """
    graph = _graph() if graph is None else graph
    GradientDescent(rate).step(graph.parameters)
