"""The network that a name or a Python file means.

In: a name of the catalogue, or the path of a Python file. Out: a graph and its inputs by name. The one rule: a file
is run, though not as the main program; what it leaves under the name `network` counts, else its only graph.
"""

from __future__ import annotations

import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import IndexLangError
from ...meaning.report import nearest
from ..graphs.graph import Graph
from ..graphs.nodes import Input
from ..problems import graph_error
from ..slides import default_graph, reset
from .catalog import NETWORKS, Network, build, no_network


@dataclass(frozen=True)
class Found:
    """A `graph`, and its `inputs` by the names that a person may give them."""

    graph: Graph
    inputs: Mapping[str, Input]

    def examples(self, shapes: Mapping[str, Sequence[int]]) -> dict[Input, Sequence[int]]:
        """The `shapes` by input. Errors: `GraphError` for a name that no input has."""
        for name in shapes:
            if name not in self.inputs:
                known = f"inputs: {', '.join(sorted(self.inputs)) or 'none'}"
                way = nearest(name, self.inputs) or "name one of these"
                raise graph_error("network-input", f"the network has no input '{name}'", known, way_out=way)
        return {self.inputs[name]: shape for name, shape in shapes.items()}


def find(name: str, options: Mapping[str, Any] | None = None) -> Found:
    """The network of the catalogue by that `name`, with `options`, or the one that a Python file of it defines.

    Errors: `GraphError`.
    """
    if isinstance(name, str) and name in NETWORKS:
        return _found(_built(name, options or {}).graph, {})
    if not isinstance(name, str) or not name.endswith(".py"):
        raise no_network(name, "name one, or a Python file")
    if options:
        rule, way = "only networks that are named have options", "set them in the file"
        raise graph_error("network-option", rule, way_out=way)
    variables = _run(Path(name))
    return _found(_graph(name, variables), variables)


def _built(name: str, options: Mapping[str, Any]) -> Network:
    try:
        return build(name, **options)
    except (TypeError, ValueError, ArithmeticError) as error:
        if isinstance(error, IndexLangError):
            raise
        given = ", ".join(f"{n}={v}" for n, v in options.items())
        rule = f"{name} cannot be built so: {error}"
        raise graph_error("network-option", rule, given, way_out="leave out what does not fit") from error


def _found(graph: Graph, variables: Mapping[str, Any]) -> Found:
    inputs = {n.name: n for n in graph.inputs}
    inputs.update({name: v for name, v in variables.items() if isinstance(v, Input) and v in graph.inputs})
    return Found(graph, inputs)


def _run(path: Path) -> dict[str, Any]:
    """The variables of a file that has run."""
    if not path.is_file():
        files = (p.name for p in sorted(path.parent.glob("*.py")))
        way = nearest(path.name, files) or "correct the path, or name a network of the catalogue"
        raise graph_error("network", f"there is no file {path}", way_out=way)
    reset()
    before = list(sys.path)
    sys.path.insert(0, str(path.parent))
    try:
        return runpy.run_path(str(path), run_name="network")
    except IndexLangError:
        raise
    except (Exception, SystemExit) as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        where = f"line {lines[-1]}: " if lines else ""
        rule, reason = f"{path} cannot be run", f"{where}{type(error).__name__}: {error}"
        raise graph_error("python-file", rule, reason, way_out=f"mend it until python {path} runs") from error
    finally:
        sys.path[:] = before


def _graph(name: str, variables: Mapping[str, Any]) -> Graph:
    """The graph that the variables of a file mean."""
    chosen = variables.get("network")
    if callable(chosen) and not isinstance(chosen, type):
        chosen = _called(name, chosen)
    candidates = [chosen] if isinstance(chosen, Network | Graph) else list(variables.values())
    owners = (v.graph if isinstance(v, Network) else v for v in candidates)
    graphs = {id(g): g for g in owners if isinstance(g, Graph)}
    if not graphs and default_graph().sinks():
        return default_graph()
    if len(graphs) != 1:
        rule = f"{name} defines {'no network' if not graphs else 'several graphs'}"
        raise graph_error("network", rule, way_out="leave the network, or a function that makes it, as `network`")
    return next(iter(graphs.values()))


def _called(name: str, function: Any) -> Any:
    try:
        return function()
    except IndexLangError:
        raise
    except Exception as error:
        rule = f"{name}: network() cannot be called"
        way = "let it need no argument, or leave the network itself as `network`"
        raise graph_error("python-file", rule, f"{type(error).__name__}: {error}", way_out=way) from error
