"""Forward, Backward and SGD as on the slides: about the graph of the surrounding `with`, else the default one.

In: what the slides write. Out: values and gradients of nodes, changed parameters.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from .graphs import asked, registry
from .graphs.graph import Graph
from .graphs.nodes import Node
from .learning.optimisers import GradientDescent
from .problems import GraphError


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
    optimiser, own = GradientDescent(rate), _graph() if graph is None else graph
    asked.graph("SGD", own, f"write SGD({rate}, graph), where graph is loss.graph")
    try:
        optimiser.step(own.parameters)
    except GraphError as error:
        first = error.problems[0]
        if first.code != "no-gradient" or graph is not None or own is not registry.default():
            raise
        way = f"{first.way_out}; behind the block of `with Graph() as g:` write SGD({rate}, g)"  # it has the gradients
        raise GraphError(replace(first, way_out=way)) from None
