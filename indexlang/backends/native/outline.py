"""Nests by what calls them: their arrays, how many items they have, which kernel they are.

In: a Nest. Out: an `Outline`. The one rule: the statements are made when somebody wants to see them, or to make code of
them; who only calls what is there already needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from .effort import effort
from .kernels import Kernels, compiled, key
from .nest import Array, Nest
from .renaming import renamed
from .target import Target


@dataclass(frozen=True)
class Outline:
    """A Nest without its statements: `work` is about how many nanoseconds they take in one thread, `numbers` are those
    that vary, `key` is its kernel's, `kernel` gives a Nest that is the same but for names.
    """

    name: str
    arrays: tuple[Array, ...]
    count: int
    work: float
    numbers: tuple[int, ...]
    key: str
    kernel: Callable[[], Nest] = field(compare=False, repr=False)

    def nest(self) -> Nest:
        """All of it."""
        found = self.kernel()
        names = {old.name: new.name for old, new in zip(found.arrays, self.arrays, strict=True)}
        return replace(found if all(a == b for a, b in names.items()) else renamed(found, names), name=self.name)


def outline(nest: Nest, target: Target) -> Outline:
    """A Nest by what calls it."""
    numbers = tuple(map(int, nest.numbers))
    return Outline(nest.name, nest.arrays, nest.count, effort(nest), numbers, key(nest, target), lambda: nest)


def loaded(outlines: Sequence[Outline], target: Target) -> Kernels:
    """Their code."""
    assert len({n.name for n in outlines}) == len(outlines), "two nests of one name"
    return compiled({n.name: (n.key, n.kernel) for n in outlines}, target)
