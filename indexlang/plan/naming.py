"""Steps under other names of their indices.

In: steps of loops, and kernels that are products and values at each point; names. Out: the same steps. The one rule:
every index that has a new name has it wherever it is known, and nobody else has that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .kernels import Einsum, Label, Map, Product, Roles
from .places import Part, View
from .plan import Loop, Make, Run
from .quantities import Apply, Count, Load, Position, Reach, Reduced
from .views import Row


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """The steps, or what is in one, with new names of some indices."""

    def of(several: tuple[str, ...]) -> tuple[str, ...]:
        return tuple([names.get(i, i) for i in several])

    match node:
        case tuple():
            return tuple([renamed(part, names) for part in node])
        case Row(coefs=coefs):
            return replace(node, coefs=tuple([(names.get(i, i), coef) for i, coef in coefs]))
        case View(rows=rows):
            return replace(node, rows=renamed(rows, names))
        case Part(indices=indices, moved=moved):
            other = tuple([(names.get(i, i), names.get(k, k), start, step) for i, k, start, step in moved])
            return replace(node, indices=of(indices), moved=other)
        case Loop(index=index, steps=steps, sums=sums):
            new = tuple([(renamed(part, names), op) for part, op in sums])
            return replace(node, index=names.get(index, index), steps=renamed(steps, names), sums=new)
        case Make(part=part):
            return replace(node, part=renamed(part, names))
        case Run(place=place, kernel=kernel):
            return replace(node, place=renamed(place, names), kernel=renamed(kernel, names))
        case Map(value=value):
            return replace(node, value=renamed(value, names))
        case Einsum(factors=factors):
            return replace(node, factors=renamed(factors, names))
        case Product(left=left, right=right, roles=roles):
            pair = {"left": renamed(left, names), "right": renamed(right, names)}
            return replace(node, **pair, roles=Roles(*map(of, (roles.batch, roles.rows, roles.columns, roles.summed))))
        case Label(source=source, over=over):
            return replace(node, source=renamed(source, names), over=of(over))
        case Position(index=index):
            return replace(node, index=names.get(index, index))
        case Count(over=over):
            return replace(node, over=of(over))
        case Reach(row=row):
            return replace(node, row=renamed(row, names))
        case Load(place=place, at=at):
            return replace(node, place=renamed(place, names), at=tuple([(names.get(i, i), k) for i, k in at]))
        case Apply(args=args):
            return replace(node, args=renamed(args, names))
        case Reduced(value=value, over=over):
            return replace(node, value=renamed(value, names), over=of(over))
        case _:
            return node
