"""Gradients that are cut before a step.

In: parameters, how long their gradients may be, or how large an element. Out: other gradients. The one rule: the arrays
of a run stay as they are; what is cut is made anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graphs.parameters import Parameter
from ..problems import graph_error
from ..settings import plain
from .groups import several

Array = NDArray[Any]


def gradient_norm(parameters: Iterable[Parameter]) -> float:
    """The length of all gradients taken together, also where their squares are beyond their type."""
    parts = [math.inf if not math.isfinite(n) else n for n in map(_length, _gradients(parameters))]
    return math.hypot(*parts)


def _gradients(parameters: Iterable[Parameter]) -> Iterator[Array]:
    found = (p.graph.gradients.get(p.name) for p in parameters)
    return (g for g in found if g is not None)


def _length(gradient: Array) -> float:
    """The length of one gradient, by its largest element, so that no square is too large or too small."""
    most = float(np.max(np.abs(gradient), initial=0))
    if not 0 < most < math.inf:
        return most
    flat = gradient.reshape(-1) / most
    return most * math.sqrt(float(np.vdot(flat, flat).real))


def clip_norm(parameters: Sequence[Parameter], most: float) -> float:
    """Shorten the gradients of `parameters` alike so that together they are no longer than `most`; the length before.

    Errors: `GraphError` if `most` is no length.
    """
    _check_most("clip_norm", most)
    parameters = several("clip_norm", parameters)
    norm = gradient_norm(parameters)
    if norm > most:
        for parameter in parameters:
            gradients = parameter.graph.gradients
            if parameter.name in gradients:
                gradients[parameter.name] = gradients[parameter.name] * (most / norm)
    return norm


def _check_most(name: str, most: float) -> None:
    number = plain(most)
    if number is None or not 0 < number < math.inf:
        way = f"write {name}(graph.parameters, 1.0)"
        raise graph_error("setting", f"{name} cuts at a number above 0, not {most!r}", way_out=way)


def clip_value(parameters: Sequence[Parameter], most: float) -> None:
    """Cut every element of the gradients of `parameters` off at `most` on either side.

    Errors: `GraphError` if `most` is no number above 0.
    """
    _check_most("clip_value", most)
    for parameter in several("clip_value", parameters):
        gradients = parameter.graph.gradients
        if parameter.name in gradients:
            gradients[parameter.name] = np.clip(gradients[parameter.name], -most, most)
