"""Ways of calls that have met such shapes and types before: one function does all of it, checks included.

In: what is compiled, which keeps its way. Out: a `Way`. The one rule: it gives NotImplemented, and has done nothing,
for all that is not plain arrays of just these shapes and types, all by position or all by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..backends.numpy.at_once import Asked
from ..backends.numpy.load import Compiled
from .arguments import Form
from .plain import plain
from .pullback import Pulling

Way = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def refused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The way where there is none yet."""
    return NotImplemented


def of_call(compiled: Compiled, inputs: Sequence[str], key: Sequence[Form], outputs: Sequence[str], named: bool) -> Way:
    """A call with inputs of these forms, which gives the outputs, by their names or the only one. Made once."""
    found: Way | None = compiled.__dict__.get("way")
    if found is None:
        values = tuple((k, name, False) for k, name in enumerate(outputs))
        given = tuple((name, *form) for name, form in zip(inputs, key, strict=True))
        asked = Asked(given, tuple(range(len(given))), values, named)
        found = compiled.__dict__["way"] = _way(compiled, asked)
    return found


def of_vjp(pulling: Pulling, key: Sequence[Form], named: bool) -> Way:
    """A run with its pullback, with inputs of these forms. Made once."""
    found: Way | None = pulling.__dict__.get("way")
    if found is None:
        found = pulling.__dict__["way"] = _way(pulling.first, pulling.asked(key, named))
    return found


def of_value(
    compiled: Compiled,
    takes: Sequence[str],
    gives: Sequence[str],
    key: Mapping[str, Form],
    output: str,
    gradients: Mapping[str, str],
    chosen: Sequence[str],
) -> Way:
    """The value of a scalar output and its gradients, of a derived program that takes and gives these, with inputs of
    these forms. Made once.
    """
    found: Way | None = compiled.__dict__.get("way")
    if found is None:
        seed, count = gradients[output], len(key)
        one = np.ones((), compiled.plan.dtypes[output])
        one.flags.writeable = False
        given = (*((name, *form) for name, form in key.items()), (seed, (), one.dtype))
        numbers = {name: k for k, (name, _, _) in enumerate(given)}
        values = ((gives.index(output), output, False), *((gives.index(gradients[n]), n, False) for n in chosen))
        both = _way(compiled, Asked(given, tuple(numbers[n] for n in takes), values, True))

        def way(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if len(args) + len(kwargs) != count:
                return NotImplemented
            results = both((*args, one), kwargs) if args else both(args, {**kwargs, seed: one})
            return results if results is NotImplemented else (results.pop(output), results)

        found = compiled.__dict__["way"] = way
    return found


def _way(compiled: Compiled, asked: Asked) -> Way:
    return plain(asked, compiled.run) if compiled.whole is None else compiled.whole.of_call(asked)
