"""What help and completion say of the classes of computed nodes: signatures and texts, read from layers when asked.

In: a class of nodes. Out: its signature; its text. The one rule: both come from the layer's header and the comment
above it, so they are what the layer takes; no file is read before somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter, Signature
from typing import Any

from ...syntax import tree
from .layers import Layer, layer


class Written:
    """A default as the layer's header writes it, such as another option."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


class SignatureOf:
    """`__signature__` of a class: what it `takes` by position, the options of its layer, `more` options, and `name`.

    The layer is one of the library by its name, what a function gives, or None: no options.
    """

    def __init__(self, source: str | Callable[[], Layer] | None = None, **more: Any) -> None:
        self.source, self.more = source, more

    def __get__(self, instance: object, owner: type) -> Signature:
        mine = next(c for c in owner.__mro__ if "__init__" in c.__dict__ or "__signature__" in c.__dict__)
        if instance is not None or "__signature__" not in mine.__dict__:
            raise AttributeError(f"{owner.__name__} has an __init__ of its own")
        found = self.source() if callable(self.source) else None if self.source is None else layer(self.source)
        takes: str | None = getattr(owner, "takes", None)
        options = {**_defaults(found), **self.more, **getattr(owner, "defaults", {}), "name": None}
        by_name = [Parameter(n, Parameter.KEYWORD_ONLY, default=d) for n, d in options.items()]
        return Signature([*_positional(takes if takes is not None else _inputs(found)), *by_name])


class TextOf:
    """`__doc__` of a class that was made from a layer: the comment above it, what its options are, its header."""

    def __init__(self, source: Callable[[], Layer]) -> None:
        self.source = source

    def __get__(self, instance: object, owner: type) -> str:
        found = self.source()
        said = found.comment or f"The layer {found.name or 'of a text'}."
        return "\n\n".join(part for part in (said, found.options_text, found.heading) if part)


def _inputs(source: Layer | None) -> str:
    """What a layer takes by position: its only input, or any nodes and packages that fit its inputs."""
    header = None if source is None else source.header
    return header.inputs[0].name if header is not None and len(header.inputs) == 1 else "*nodes_and_packages"


def _positional(takes: str) -> Iterator[Parameter]:
    """The arguments by position: `*nodes` stands for any number, what has a capital or a / behind it has no name."""
    names, slash, _ = takes.partition("/")
    for name in names.split():
        kind = Parameter.POSITIONAL_ONLY if slash or name[0].isupper() else Parameter.POSITIONAL_OR_KEYWORD
        yield Parameter(name.lstrip("*"), Parameter.VAR_POSITIONAL if name[0] == "*" else kind)


def _defaults(source: Layer | None) -> dict[str, Any]:
    """Each option of a layer with the default that the header says."""
    header = None if source is None else source.header
    return {} if header is None else {o.name: _default(o.default) for o in header.options}


def _default(written: tree.Expr) -> Any:
    match written:
        case tree.Number(value=value):
            return value
        case _:
            return Written(written.span.text)
