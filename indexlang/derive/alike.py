"""Whether two statements say the same of their indices, under the names that one of them gives to the other's.

In: a tensor's plain target, and an access to it; bounds. Out: what the target's indices are called at the access;
expressions in those names; whether the indices run alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..program.ir import DOTS, Dots, Expr, Index, Subscript
from ..program.names import Renaming
from ..ranges.solve import Solution
from ..ranges.statements import Bound

Names = Mapping[str, str]


def names_at(target: Sequence[Subscript], read: Sequence[Subscript]) -> dict[str, str] | None:
    """What a plain target's indices are called where the tensor is read; None if it is read in another way."""
    if len(target) != len(read):
        return None
    names: dict[str, str] = {}
    for ours, theirs in zip(target, read, strict=True):
        match ours, theirs:
            case Index(a), Index(b):
                names[a] = b
            case Dots(), Dots():
                names[DOTS] = DOTS
            case _:
                return None
    return names if len(set(names.values())) == len(target) else None


def called(expr: Expr, names: Names) -> Expr:
    """The expression with other names for its indices."""
    return Renaming(indices=names).expr(expr)


def run_alike(solution: Solution, ours: Mapping[str, Bound], theirs: Mapping[str, Bound], names: Names) -> bool:
    """Whether indices run as far as those that they are called."""
    canonical = solution.sizes.canonical
    pairs = ((ours[i], theirs[j]) for i, j in names.items() if i != DOTS)
    return all(canonical(a.low) == canonical(b.low) and canonical(a.high) == canonical(b.high) for a, b in pairs)
