"""Directions in which inputs move: what `jvp` and `hvp` are given.

In: a mapping of a caller's, the arrays of the call. Out: for each name a direction of the array's shape and type. The
one rule: all that is wrong with the directions is told at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import DerivationError, Problem, ShapeError
from ..meaning.report import nearest
from .arguments import shortly
from .arrays import Array, as_array


def directions(along: Any, named: Mapping[str, Array], inputs: Sequence[str]) -> dict[str, Array]:
    """The directions by input, in the order of the inputs. Errors: `ShapeError`; `DerivationError` for integers."""
    if not isinstance(along, Mapping):
        rule = f"directions are a dict by the names of inputs, not {shortly(along)}"
        raise ShapeError(Problem("direction", rule, way_out=f"write {{'{inputs[0] if inputs else 'x'}': ...}}"))
    known = (f"inputs: {', '.join(inputs) or 'none'}",)
    problems: list[Problem] = []
    if not along:
        problems.append(Problem("direction", "nothing moves", None, known, "name an input, and its direction"))
    found: dict[str, Array] = {}
    for name in along:
        if name not in inputs:
            way = (nearest(name, inputs) if isinstance(name, str) else None) or "a direction goes by its input's name"
            problems.append(Problem("direction", f"{shortly(name)} is no input", None, known, way))
            continue
        value, direction = named[name], as_array(f"the direction of {name}", along[name])
        sizes = (f"{name} has shape {value.shape}", f"the direction has shape {direction.shape}")
        if value.dtype.kind not in "fc":
            rule = f"'{name}' is {value.dtype}: an integer tensor does not move"
            raise DerivationError(Problem("integer-gradient", rule, way_out="pass it as floating-point numbers"))
        if direction.shape != value.shape:
            rule, way = f"the direction of '{name}' must have its shape", f"pass an array of shape {value.shape}"
            problems.append(Problem("direction", rule, None, sizes, way))
        elif direction.dtype.kind == "c" and value.dtype.kind != "c":
            types = (f"{name} is {value.dtype}", f"the direction is {direction.dtype}")
            problems.append(Problem("direction", f"the direction of '{name}' must be real", None, types, "pass .real"))
        else:
            found[name] = direction.astype(value.dtype, copy=False)
    if problems:
        raise ShapeError(*problems)
    return {n: found[n] for n in inputs if n in found}
