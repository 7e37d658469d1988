"""Which parameters a step is of, and which of them have settings of their own.

In: what a user names. Out: parameters. The one rule: what is no parameter, and stands for none, is an error that says
what to write instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..graphs import asked
from ..graphs.nodes import Node
from ..graphs.parameters import Package, Parameter
from ..graphs.registry import Registry
from ..problems import graph_error
from ..settings import plain

Member = Parameter | Package | Node
Members = Iterable[Member]


class Group:
    """Parameters with settings of their own: `Group([Phi1], rate=0.01, weight_decay=0)`.

    `members` are parameters, packages, and computed nodes, which stand for all the parameters that they use directly;
    settings are those of the optimiser, by keyword. Errors: `GraphError` for other members.
    """

    def __init__(self, members: Members | Member, **settings: float) -> None:
        several = (members,) if isinstance(members, Node | Package) else members
        self.parameters: tuple[Parameter, ...] = tuple(_parameters(several))
        self.settings = {name: own_number(value) for name, value in settings.items()}

    def __repr__(self) -> str:
        shown = "".join(f", {name}={value!r}" for name, value in self.settings.items())
        return f"Group([{', '.join(p.name for p in self.parameters)}]{shown})"


def own_number(value: Any) -> Any:
    """A number of NumPy as one of Python's own."""
    number = plain(value)
    return value if number is None else number


def _parameters(members: Members) -> Iterable[Parameter]:
    if not isinstance(members, Iterable) or isinstance(members, str):
        rule = f"a group holds parameters, packages and nodes, not {asked.kind(members)}"
        raise graph_error("group", rule, way_out="write Group([Phi], rate=0.01)")
    for member in members:
        match member:
            case Parameter():
                yield member
            case Package():
                yield from member
            case Node():
                used = [s for s in member.sources() if isinstance(s, Parameter)]
                if not used:
                    rule = f"{member.name} uses no parameters itself"
                    raise graph_error("group", rule, way_out="name parameters, packages, or nodes that take them")
                yield from used
            case _:
                rule = f"a group holds parameters, packages and nodes, not {type(member).__name__}"
                raise graph_error("group", rule, way_out="write Group([Phi], rate=0.01)")


def groups_of(of: str, groups: object) -> Sequence[Group]:
    """Groups, as they were given. Errors: `GraphError` for what is none, such as a group alone."""
    if isinstance(groups, tuple | list) and all(isinstance(g, Group) for g in groups):
        return groups
    shown = groups if isinstance(groups, Group) else asked.kind(groups)
    way = "write groups=[Group([Phi], rate=0.01)]"
    if isinstance(groups, Group):
        way = "put it into a list: groups=[Group(...)]"
    raise graph_error("group", f"groups of {of} are a list of groups, not {shown}", way_out=way)


def several(of: str, parameters: object) -> list[Parameter]:
    """The parameters that a step, or a cut, is of. Errors: `GraphError` for a graph, one alone, and what is none."""
    if isinstance(parameters, Registry | Parameter) or not isinstance(parameters, Iterable):
        alone = parameters.name if isinstance(parameters, Parameter) else "Phi.W"
        way = f"write {of}(graph.parameters), or {of}([{alone}])"
        raise graph_error("argument", f"{of} takes a list of parameters, not {asked.kind(parameters)}", way_out=way)
    found = list(parameters)
    other = next((p for p in found if not isinstance(p, Parameter)), None)
    if other is not None:
        way = f"write {of}(graph.parameters), or {of}([Phi.W])"
        raise graph_error("argument", f"{of} takes parameters, not {asked.kind(other)}", way_out=way)
    return found
