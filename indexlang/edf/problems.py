"""What can be wrong with a graph or its data: two classes of errors, rendered like those of the compiler.

In: the rule that was broken, the values that broke it, a way out. Out: an exception.
"""

from __future__ import annotations

from ..errors import IndexLangError, Problem
from ..files.problems import DataError, data_error

__all__ = ["DataError", "GraphError", "data_error", "graph_error"]


class GraphError(IndexLangError):
    """A graph that cannot be built or run: missing values, cycles, names, parameters, losses that are no numbers."""


def graph_error(code: str, rule: str, *values: str, way_out: str | None = None) -> GraphError:
    """A `GraphError` of one problem."""
    return GraphError(Problem(code, rule, None, values, way_out))
