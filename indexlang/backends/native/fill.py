"""A number written to every element of a target.

In: a `Normal`. Out: a Nest. The one rule: elements that several points share are written again and again, never by two
items.
"""

from __future__ import annotations

from .nest import For, Form, Literal, Nest, Stmt, Type, Write, form
from .normal_form import TARGET, Normal, apart


def fill(normal: Normal, name: str, value: float) -> Nest:
    """A nest that fills the target."""
    view = normal.views[TARGET]
    at, free = Form(view.offset), apart(normal)
    for axis in normal.outputs:
        at = at + form(axis.name, axis.steps[TARGET])
    number = Literal(value, Type(view.array.dtype))
    axes = sorted(normal.outputs, key=lambda a: -abs(a.steps[TARGET]))
    items = tuple((a.name, a.n) for a in axes if a.name in free and not a.serial)[:1]
    body: tuple[Stmt, ...] = (Write(view.array, at, number),)
    for axis in reversed([a for a in axes if (a.name, a.n) not in items]):
        body = (For(axis.name, (Form(0),), (Form(axis.n),), body),)
    return Nest(name, (view.array,), items, body)
