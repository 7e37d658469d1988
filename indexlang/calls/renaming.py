"""Other names for tensors and indices: what `renamed` is given.

In: a mapping of a caller's, a Program. Out: new names of tensors, new names of indices. The one rule: two never become
one, and all that is wrong with the names is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import MeaningError, Problem
from ..meaning.report import nearest
from ..program.ir import Program, primal_of
from ..program.names import indices_in, is_name, out_of_the_way, tensors_of
from .arguments import shortly


def renames(names: Any, program: Program) -> tuple[dict[str, str], dict[str, str]]:
    """The new names of tensors and of indices. Errors: `MeaningError`."""
    if not isinstance(names, Mapping):
        rule = f"names are a dict from old to new, not {shortly(names)}"
        raise MeaningError(Problem("rename", rule, way_out="write renamed({'x': 'image'})"))
    tensors, indices = tensors_of(program), indices_in(program)
    known = (f"tensors: {', '.join(tensors)}", f"indices: {', '.join(indices) or 'none'}")
    problems: list[Problem] = []
    found: tuple[dict[str, str], dict[str, str]] = {}, {}
    for old, new in names.items():
        if old not in tensors and old not in indices:
            way = (
                nearest(old, [*tensors, *indices]) if isinstance(old, str) else None
            ) or "name what the program names"
            problems.append(Problem("rename", f"{shortly(old)} is no tensor and no index here", None, known, way))
        elif not is_name(new) or ("." in new and old not in tensors):
            rule = f"{shortly(new)} is no name for {'a tensor' if old in tensors else 'an index'}"
            problems.append(
                Problem("rename", rule, way_out="give it letters, digits and _, and no word of the language")
            )
        else:
            found[0 if old in tensors else 1][old] = new
    shown = dict.fromkeys((*program.inputs, *program.outputs))
    after = [found[0].get(n, n) for n in shown | found[0].keys()]
    for what, several in (("tensors", after), ("indices", [*found[1].values()])):  # other indices give way
        for name in dict.fromkeys(n for n in several if several.count(n) > 1):
            rule = f"two {what} would be called '{name}'"
            problems.append(Problem("rename", rule, None, known, "give each a name of its own"))
    solid = {*tensors, *found[0].values(), *(name for name, _ in program.dims)}
    for old, new in found[1].items():
        if new in solid:
            rule = f"the index '{old}' would be called like a tensor, or a dim: '{new}'"
            problems.append(Problem("rename", rule, None, known, "choose another name for the index"))
    if problems:
        raise MeaningError(*problems)
    wanted = {*found[0].values()}
    wanted |= {found[0][p] + t[len(p) :] for t in tensors if (p := primal_of(t)) in found[0] and p is not None}
    moved = out_of_the_way(program, wanted, {*found[0], *shown})
    return {**found[0], **moved}, found[1]
