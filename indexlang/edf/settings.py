"""What a setting may be: sizes, counts, rates, seeds.

In: a name, a value, the kind that it must be of. Out: the value as a plain number. The one rule: a setting is checked
where it is given, before anything is made of it.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .problems import graph_error


@dataclass(frozen=True)
class Kind:
    """What a setting is, in words, and as a test of a number."""

    words: str
    holds: Callable[[Any], bool]
    example: object
    whole: bool = False
    word: str | None = None  # what may be said instead of a number


SIZE = Kind("a whole number from 1 on", lambda v: v >= 1, 1, whole=True)
COUNT = Kind("a whole number from 0 on", lambda v: v >= 0, 0, whole=True)
FROM_0 = Kind("a number from 0 on", lambda v: 0 <= v < math.inf, 0.1)
ABOVE_0 = Kind("a number above 0", lambda v: 0 < v < math.inf, 1.0)
PART = Kind("a number from 0 to below 1", lambda v: 0 <= v < 1, 0.5)
SHARE = Kind("a number from 0 to 1", lambda v: 0 <= v <= 1, 0.5)
FINITE = Kind("a finite number", math.isfinite, 1.0)
PADDING = Kind("a whole number from 0 on, or 'same'", lambda v: v >= 0, 1, whole=True, word="same")
CHOICE = Kind("True or False", lambda v: v in (0, 1), True)

# What the options of the standard layers may be; others are what their layers make of them.
OPTIONS: Mapping[str, Kind] = {
    **dict.fromkeys(("stride", "stride_h", "stride_w", "dilation", "dilation_h", "dilation_w", "groups"), SIZE),
    **dict.fromkeys(("window", "window_h", "window_w", "rows", "columns"), SIZE),
    **dict.fromkeys(("padding", "padding_h", "padding_w", "top", "bottom", "left", "right", "output_padding"), COUNT),
    **dict.fromkeys(("reach", "rim_h", "rim_w"), COUNT),
    **dict.fromkeys(("near", "alike", "period"), ABOVE_0),
    **dict.fromkeys(("ceil_mode", "count_include_pad", "causal"), CHOICE),
    **dict.fromkeys(("slope", "alpha", "beta", "k"), FINITE),
    "eps": FROM_0,
    "momentum": SHARE,
    "smoothing": SHARE,
    "rate": PART,
}


def setting(of: str, name: str, value: Any, kind: Kind) -> Any:
    """The value as a plain number, of this kind. Errors: `GraphError` if it is none."""
    if kind.word is not None and isinstance(value, str) and value == kind.word:
        return value
    number = plain(value, kind)
    if number is None or not kind.holds(number):
        two = _of_two(name) if isinstance(value, tuple | list) and len(value) == 2 else None
        way = two or f"write {name}={_meant(value, kind)!r}"
        raise graph_error("setting", f"{name} of {of} is {kind.words}, not {_short(value)}", way_out=way)
    return number


def _meant(value: Any, kind: Kind) -> object:
    """What was probably meant by a value of another kind: its number, without sign or quotes; else an example."""
    if isinstance(value, str):
        if kind.word is not None and value.strip().casefold() == kind.word:
            return kind.word
        with contextlib.suppress(ValueError):
            value = float(value) if not kind.whole else int(value)
    number = plain(value, kind)
    if kind.whole and isinstance(value, float) and math.isfinite(value):
        number = int(value)
    tried = () if number is None else (number, -number)
    return next((n for n in tried if kind.holds(n)), kind.example)


def plain(value: Any, kind: Kind = FINITE) -> int | float | None:
    """A number of Python or NumPy as one of Python's own; True and False are 1 and 0 where they are the choice."""
    item = value.item() if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () else value
    if isinstance(item, bool):
        return int(item) if kind is CHOICE else None
    try:
        if isinstance(item, float) and not kind.whole:
            return item
        return operator.index(item)
    except TypeError:
        return None


def _of_two(name: str) -> str | None:
    """How the two axes of an image are given apart."""
    if name == "padding":
        return "say for each side: top=, bottom=, left=, right=; for a pool padding_h=, padding_w="
    return f"say for each axis: {name}_h=, {name}_w=" if f"{name}_h" in OPTIONS else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shape(of: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """A shape as plain numbers, each of at least `least`. Errors: `GraphError`."""
    sizes = value if isinstance(value, tuple | list) else None
    numbers = None if sizes is None else [plain(s, SIZE) for s in sizes]
    if numbers is None or any(n is None or n < least for n in numbers):
        whole = plain(value, SIZE)
        way = "give values as an array: np.array(...)" if sizes is not None and least == 0 else None
        if whole is not None:
            way = f"write ({whole},)"
        raise graph_error("shape", f"the shape of {of} is a tuple of sizes, not {_short(value)}", way_out=way)
    return tuple(int(n) for n in numbers if n is not None)
