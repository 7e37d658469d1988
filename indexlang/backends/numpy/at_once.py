"""A plan that an engine does in one call: what is asked of such a call, and of one with its pullback.

In: a plan's engine. Out: functions that make the arrays they give. The one rule: they give NotImplemented, and have
done nothing, where an argument is no plain array that is laid out as the engine wants it; whoever calls them then goes
the usual way, which finds out what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]
COTANGENT = -1


class Whole(Protocol):
    """A plan that an engine does in one call."""

    def of_arrays(self) -> Callable[..., Any]:
        """`f(*inputs)` gives a tuple of the outputs."""

    def of_call(self, asked: Asked) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        """`f(args, kwargs)`, all by position or all by name, gives what is asked; with a pullback both in a tuple."""


@dataclass(frozen=True)
class Asked:
    """What a call is given and gives, of a plan whose inputs are so many of what is given, by their numbers.

    `inputs` are what is given: names, shapes, types. `values` are numbers of the plan's outputs, with their names, and
    whether they are read again, so that nobody else may write to them; the only one is given as it is, or a dict.
    """

    inputs: tuple[tuple[str, tuple[int, ...], np.dtype[Any]], ...]
    takes: tuple[int, ...]
    values: tuple[tuple[int, str, bool], ...]
    as_dict: bool
    pull: Pull | None = None


@dataclass(frozen=True)
class Pull:
    """What a pullback of one cotangent does: which of the inputs of the call, of the outputs of its plan, and the
    cotangent (`COTANGENT`) its own plan takes; which outputs of that it gives, with their names in the dict.

    `run` runs its plan, in one call if that is a `whole`; `otherwise(inputs, outputs, cotangent)` is called for a
    cotangent of another shape or type, or where it has none because there are several.
    """

    whole: Whole | None
    run: Callable[..., Any]
    cotangent: tuple[tuple[int, ...], np.dtype[Any]] | None
    takes: tuple[int, ...]
    values: tuple[tuple[int, str], ...]
    otherwise: Callable[[Sequence[Array], Sequence[Array], Any], Any]
