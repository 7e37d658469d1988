"""What can be set on nodes and packages.

In: a class, its annotations and properties. Out: the names that may be assigned. The one rule: a name that nothing
would look at is an error where it is written, not a new attribute.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import ClassVar

from ...meaning.report import nearest
from ..problems import GraphError, graph_error

_PACKAGE = __name__.partition(".")[0]


class Declared:
    """What takes only attributes that its class declares: by an annotation, or by a property that can be set.

    Names that begin with _ are the class's own matter.
    """

    _declared: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._declared = frozenset([*_annotated(cls), *_properties(cls)])

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self._declared and not name.startswith("_"):
            raise self._undeclared(name)
        super().__setattr__(name, value)

    def _undeclared(self, name: str, more: Iterable[str] = ()) -> GraphError:
        """The error of setting `name`; `more` are further names that may be meant."""
        kind, free = type(self).__name__, sorted(_properties(type(self)))
        there = hasattr(type(self), name)
        rule = f"{name} of {kind} cannot be set" if there else f"{kind} has no attribute '{name}'"
        way = f"leave it out: {name} follows from what it was made with" if there else nearest(name, [*free, *more])
        if there and name == "value":
            way = "it is computed: set x.value, of the inputs, and run Forward()"
        if way is None and not there and not type(self).__module__.startswith(f"{_PACKAGE}."):
            way = f"declare it in the class, as in `{name}: float`, or begin its name with _"
        return graph_error("argument", rule, *([f"can be set: {', '.join(free)}"] if free else []), way_out=way)


def _annotated(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        yield from (n for n, a in inspect.get_annotations(base).items() if "ClassVar" not in str(a))


def _properties(cls: type) -> set[str]:
    names = {n for base in cls.__mro__ for n, v in vars(base).items() if isinstance(v, property) and n[0] != "_"}
    return {n for n in names if getattr(cls, n).fset is not None}
