"""Which nodes of the default graph are meant, when a notebook's cells are run again in any order.

In: the graph, its nodes. Out: those that are computed where none is named, and what is wrong with the others. The one
rule: what was made again is never used silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ...errors import Problem, warn_of
from ..problems import graph_error
from .assemble import topological
from .history import held
from .nodes import Input, Mask, Node
from .parameters import Package, Parameter
from .registry import Registry


def meant(graph: Registry, sinks: Callable[[], Sequence[Node]]) -> list[Node]:
    """Of nodes from which nothing is computed, those that are computed if none is named.

    What is computed from nodes that were made again, or is only remembered as having been shown, is left out, if that
    leaves any.
    """
    fresh = [s for s in sinks() if not any(graph.successor(n) for n in topological((s,)))]
    found = tuple(fresh or sinks())
    del fresh  # nothing here but `found` may hold them
    return held(found) if len(found) > 1 else list(found)


def check(graph: Registry, nodes: Iterable[Node], wanted: Sequence[Node]) -> None:
    """Whether all nodes still have their names. Errors: `GraphError` for one whose name was given to another one."""
    for node in nodes:
        other = graph.successor(node)
        if other is not None:
            name, of = node.owner.name, wanted[0].name
            places = _places(node, other)
            rule = f"{of} is computed from '{name}' as it was before '{name}' was made again"
            if node is wanted[0]:
                rule = f"'{name}' was made again, and is another node by now"
            cells = list(dict.fromkeys(str(w.place) for w in wanted if w.place is not None and w is not node))
            again = f"run again what makes {of} ({cells[0]})" if cells else "run again what is computed from it"
            way = f"{again}; if both are meant, give them names of their own: {name}1, {name}2"
            raise graph_error("node-name", rule, *places, way_out=way)


def _places(node: Node, other: object) -> list[str]:
    """Where a node was made, and where the other one of its name; in one line where a cell was run again as it is."""
    found = {"made": getattr(node.owner, "place", None), "made again": getattr(other, "place", None)}
    told = {what: str(place) for what, place in found.items() if place is not None}
    if len(told) == 2 and len(set(told.values())) == 1:
        return [f"made, and made again by the same line: {told['made']}"]
    return [f"{what}: {place}" for what, place in told.items()]


def warn_unused(graph: Registry, used: Sequence[Input], depth: int) -> None:
    """Tell of inputs that got a value, and of packages that were made, since the last run, and that feed nothing."""
    alive = [n for n in graph.alive() if isinstance(n, Node)]
    inputs = [n for n in alive if isinstance(n, Input) and not isinstance(n, Mask)]
    last = max((n.number for n in alive if n.sources()), default=0)  # parameters before it were perhaps not meant
    packages = [owner for owner in graph.owners() if isinstance(owner, Package) and owner.number > last]
    both: list[Input | Package] = [*inputs, *packages]
    new = [n for n in both if n.fresh]
    if not new:
        return
    read = {source.owner for n in alive for source in n.sources()}
    for node in new:
        node.fresh = False
    warn_of((_unused(n, used) for n in new if n not in read), depth + 1)


def warn_made_again(graph: Registry, loss: Node, depth: int) -> None:
    """Tell of parameters without a name that came too late for a loss: like ones that it uses, and used by none.

    They are of a cell that was run again without those behind it: the ones before would be trained.
    """
    if not graph.is_new():
        return
    owners = dict.fromkeys(p.owner for p in graph.learned)
    new = sorted((p for p in owners if p.fresh and p.unnamed), key=lambda p: p.number)
    if not new:
        return
    alive = [n for n in graph.alive() if isinstance(n, Node)]
    users: dict[Package | Parameter, Node] = {}  # the first node of the loss that is computed from each
    for node in topological((loss,)):
        for source in node.sources():
            if isinstance(source, Parameter) and source.owner.unnamed:
                users.setdefault(source.owner, node)
    problems = []
    for made in new:
        alike = (u for u, node in users.items() if _shapes(u) == _shapes(made) and node.number < made.number)
        before, behind = next(alike, None), _computed_from(made, alive)
        is_left = not behind or (made.number > loss.number and not any(type(n) is type(loss) for n in behind))
        if before is not None and is_left:
            made.fresh = False
            problems.append(_made_again(users[before], before, made))
    warn_of(problems, depth + 1)


def _shapes(made: Package | Parameter) -> tuple[object, ...]:
    """What parameters that stand for each other have in common."""
    parameters = made if isinstance(made, Package) else (made,)
    return type(made), *(p.shape for p in parameters)


def _computed_from(made: Package | Parameter, nodes: Sequence[Node]) -> list[Node]:
    """Those of the nodes, in the order in which they were made, that are computed from some parameters."""
    found: dict[object, None] = {}
    for node in nodes:
        if any(s in found or s.owner is made for s in node.sources()):
            found[node] = None
    return [n for n in found if isinstance(n, Node)]


def _made_again(node: Node, before: Package | Parameter, made: Package | Parameter) -> Problem:
    rule = f"{made.name} is like {before.name}, and was made after {node.name}, which is computed from {before.name}"
    values = [f"{p.name} was made: {p.place}" for p in (before, made) if p.place is not None]
    way = f"run the cells again from {node.name} on; if {made.name} is for another network, give it a name"
    return Problem("old-parameters", rule, None, tuple(values), way)


def _unused(node: Input | Package, used: Sequence[Input]) -> Problem:
    values = [f"{node.name} was made: {node.place}"] if node.place is not None else []
    way = "run the cells again that compute from it, or name what is to be computed: Forward(loss)"
    if isinstance(node, Package):
        rule = f"nothing is computed from the parameters of {node.name}"
        return Problem("unused-package", rule, None, tuple(values), way)
    values += [f"used is {u.name}, made: {u.place}" for u in used if u.place is not None and not isinstance(u, Mask)]
    rule = f"{node.name} has a value, and nothing is computed from it"
    return Problem("unused-input", rule, None, tuple(values), way)
