"""Two Functions as one.

In: two Functions. Out: one, of the joined program. The one rule: it runs as the first one does, and gives what the
second one gives, an array or a dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import MeaningError, Problem
from ..rewrite.joined import joined
from .arguments import listed, shortly
from .function import Function


def join(first: Function, second: Function, *, keep: Sequence[str] | str = ()) -> Function:
    """One Function that runs `second` on the outputs of `first`, where names meet.

    Outputs of `first` that `second` does not read stay outputs, those that it reads do if `keep` names them. Inputs of
    the same name are one input; all inner names are private. Errors: `MeaningError` where no name meets, or two
    tensors would have one: `f.renamed` gives others.
    """
    for function in (first, second):
        if not isinstance(function, Function):
            rule = f"Functions are joined, and {shortly(function)} is none"
            raise MeaningError(Problem("join", rule, way_out="compile it first"))
    names: Any = listed(keep)
    if names is None or not all(isinstance(n, str) for n in names):
        rule = f"keep names outputs of the first, and {shortly(keep)} is no name"
        raise MeaningError(Problem("join", rule, way_out="write keep=['h'], or leave it out"))
    return first._joined(second, joined(first.program, second.program, tuple(names)))
