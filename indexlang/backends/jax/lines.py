"""Lines of a function of jax arrays, and the arrays in it, each with the indices of its axes.

In: expressions as text. Out: lines. The one rule: an array knows its axes; what two lines have in common is computed
once.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count
from keyword import iskeyword
from unicodedata import normalize

from ...sizes.dtypes import kind_of

WIDE = ("int64", "uint64", "float64", "complex128")  # what jax has only where jax_enable_x64 is set
INDENT = "    "


@dataclass(frozen=True)
class Arr:
    """An array as code: the index of each axis, and the dtype. A `literal` is a number of Python."""

    code: str
    axes: tuple[str, ...]
    dtype: str
    literal: bool = False


@dataclass
class Lines:
    """The lines so far, and what they use of the module around them."""

    taken: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    known: dict[str, str] = field(default_factory=dict)  # names, by the code that they stand for
    wide: dict[str, None] = field(default_factory=dict)
    support: dict[str, None] = field(default_factory=dict)
    depth: int = 0

    # -- names and lines -----------------------------------------------------------------------

    def fresh(self, wish: str) -> str:
        """An identifier of its own."""
        ascii_ = "".join(filter(str.isascii, normalize("NFKD", wish)))
        stem = "".join(c if c.isalnum() else "_" for c in ascii_).strip("_") or "t"
        stem = stem if stem.isidentifier() and not iskeyword(stem) else f"t{stem}"
        found = next(n for n in chain((stem,), (f"{stem}_{k}" for k in count(2))) if n not in self.taken)
        self.taken.add(found)
        return found

    def line(self, text: str) -> None:
        self.lines.append(INDENT * self.depth + text)

    def let(self, wish: str, code: str) -> str:
        """A name for what code gives; the same one for the same code."""
        if code.isidentifier():
            return code
        if code not in self.known:
            name = self.fresh(wish)
            self.line(f"{name} = {code}")
            self.known[code] = name
        return self.known[code]

    @contextmanager
    def function(self, wish: str, takes: str = "", anew: bool = False) -> Iterator[str]:
        """Lines of a function inside of this one, whose name is given; it may compute all of it `anew`."""
        name = self.fresh(wish)
        self.line(f"def {name}({takes}):")
        known = self.known
        self.known, self.depth = {} if anew else dict(known), self.depth + 1
        yield name
        self.known, self.depth = known, self.depth - 1

    def use(self, name: str) -> str:
        """The name of a small function of the module."""
        self.support[name] = None
        return name

    def kind(self, dtype: str) -> str:
        """A dtype as code: one that jax may not have is what it has instead."""
        if dtype in WIDE:
            self.wide[dtype] = None
            return dtype
        return "jnp.bool_" if dtype == "bool" else f"jnp.{dtype}"

    # -- arrays --------------------------------------------------------------------------------

    def made(self, arr: Arr, code: str, axes: Sequence[str], wish: str = "v", dtype: str | None = None) -> Arr:
        """What code makes of an array."""
        return Arr(self.let(wish, code), tuple(axes), dtype or arr.dtype)

    def cast(self, arr: Arr, dtype: str) -> Arr:
        """The array in another dtype; a number stays a number."""
        if arr.dtype == dtype:
            return arr
        if dtype == "bool":
            return self.made(arr, f"({arr.code} != 0)", arr.axes, "b", "bool")
        if arr.literal and kind_of(dtype) != "int":
            return replace(arr, dtype=dtype)
        arr = self.solid(arr)
        code = f"{arr.code}.real" if kind_of(arr.dtype) == "complex" and kind_of(dtype) != "complex" else arr.code
        return self.made(arr, f"{code}.astype({self.kind(dtype)})", arr.axes, "v", dtype)

    def solid(self, arr: Arr) -> Arr:
        """The array, a number as one of no axes."""
        if not arr.literal:
            return arr
        return Arr(self.let("c", f"jnp.asarray({arr.code}, {self.kind(arr.dtype)})"), (), arr.dtype)

    def ordered(self, arr: Arr, axes: Sequence[str]) -> Arr:
        """The array, its axes in this order; it has all of them."""
        if arr.axes == tuple(axes):
            return arr
        turn = tuple(arr.axes.index(i) for i in axes)
        return self.made(arr, f"{arr.code}.transpose({turn})", axes)

    def beside(self, arr: Arr, axes: Sequence[str]) -> str:
        """Code of the array with an axis, of one element perhaps, for each of `axes`; numbers stay as they are."""
        if not arr.axes:
            return arr.code
        own = self.ordered(arr, [i for i in axes if i in arr.axes])
        new = tuple(k for k, i in enumerate(axes) if i not in arr.axes)
        return self.let("v", f"jnp.expand_dims({own.code}, {new})") if new else own.code

    def whole(self, arr: Arr, axes: Sequence[str], sizes: Mapping[str, int]) -> Arr:
        """The array over all of `axes`, repeated along those that it lacks."""
        arr = self.solid(arr)
        if len(arr.axes) == len(axes):
            return self.ordered(arr, axes)
        shape = tuple(sizes[i] for i in axes)
        return self.made(arr, f"jnp.broadcast_to({self.beside(arr, axes)}, {shape})", axes)


def union(order: Iterable[str], arrays: Collection[Arr]) -> tuple[str, ...]:
    """The axes of arrays together, in this order."""
    return tuple(i for i in order if any(i in a.axes for a in arrays))


def number(value: float | int | bool) -> str:
    """A number as code."""
    if isinstance(value, float) and not math.isfinite(value):
        return "jnp.nan" if math.isnan(value) else "jnp.inf" if value > 0 else "-jnp.inf"
    return f"({value!r})" if not isinstance(value, bool) and value < 0 else repr(value)
