"""A plan of one group as builtin functions that make the arrays they give: calls, and calls with their pullbacks.

In: the memory of the group's `Runner`, the dtypes and shapes of its arguments, which of them the plan takes and gives.
Out: a `Made`. The one rule: what the functions check and do is written down once, in words (`making_ir`); a call only
reads them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..numpy.at_once import COTANGENT, Asked, Pull
from .pool import native
from .quick import FAST, Kind, builtin, method, specified
from .runner import Memory

_ONE = 0x8  # METH_O
_DOC = "pullback(dy, /)\n--\n\nThe gradients of sum(dy * y) by every differentiable input, as a dict."
_TUPLE, _SINGLE, _DICT = 0, 1, 2  # how values are given
_HEAD = 2  # what stands before inputs in what a pullback keeps: its form, what it calls otherwise


class _Form(np.ndarray[Any, Any]):
    """The words of a form, as what builtin functions have as their `self`: it keeps alive what they point to."""

    kept: list[Any]


@dataclass(frozen=True, eq=False)
class Made:
    """A plan as one call: which arguments of the runner its inputs are, negative where nobody reads one, and which its
    outputs are.
    """

    memory: Memory
    kinds: Sequence[Kind]  # of the runner's arguments
    inputs: Sequence[Kind]  # of the plan
    takes: Sequence[int]
    gives: Sequence[int]
    besides: Sequence[int] = ()  # what it writes that is no output
    grow: Callable[[], None] | None = None  # room for one more call at a time

    def of_arrays(self) -> Callable[..., Any]:
        """`f(*inputs)` gives a tuple of the outputs."""
        rows = [(kind, number, False) for kind, number in zip(self.inputs, self.takes, strict=True)]
        form = self._form(rows, [0] * len(rows), [(k, None, False) for k in range(len(self.gives))], _TUPLE)
        return _function(form, "run", native().makers["arrays"], FAST)

    def of_call(self, asked: Asked) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
        """`f(args, kwargs)`, all by position or all by name, gives what is asked; with a pullback both in a tuple."""
        numbers = dict(zip(asked.takes, self.takes, strict=True))
        kinds: list[Kind] = [(dtype.name, shape) for _, shape, dtype in asked.inputs]
        rows = [(kind, numbers.get(k, -1), False) for k, kind in enumerate(kinds)]
        names = [id(name) for name, _, _ in asked.inputs]
        form = self._form(rows, names, asked.values, _DICT if asked.as_dict else _SINGLE)
        form.kept.append(asked)  # with its names
        if asked.pull is not None:
            pull, pulling = _pull(asked.pull), method("pullback", native().makers["pull"], _ONE, _DOC)
            slow = _slow(asked.pull, len(asked.inputs), len(self.gives))
            form[8:11] = ctypes.addressof(pulling), id(pull), id(slow)
            form.kept += [pull, slow]
        return _function(form, "call", native().makers["call"], FAST)

    def of_pull(self, pull: Pull) -> _Form:
        """What a pullback does that this plan computes."""
        rows = [(kind, number, False) for kind, number in zip(self.inputs, self.takes, strict=True)]
        places = [k if k == COTANGENT else k + _HEAD for k in pull.takes]
        return self._form(rows, places, [(k, name, False) for k, name in pull.values], _DICT)

    def _form(
        self,
        rows: Sequence[tuple[Kind, int, bool]],
        words: Sequence[int],
        values: Sequence[tuple[int, str | None, bool]],
        how: int,
    ) -> _Form:
        """The words of inputs, each with the last word of its specification, and of values."""
        form = np.zeros(16, np.int64).view(_Form)
        specs, kept = specified(rows)
        specs[:, 7] = words
        outputs, more = specified([(self.kinds[number], number, True) for number in (*self.gives, *self.besides)])
        found = [(k, id(name) if name else 0, frozen, 0) for k, name, frozen in values]
        given = np.array(found, np.int64).reshape(-1, 4)
        form[:8] = (
            *(self.memory.program.ctypes.data, len(rows), specs.ctypes.data),
            *(len(outputs), outputs.ctypes.data, len(given), given.ctypes.data, how),
        )
        form.kept = [self.memory, *kept, *more, given, values]
        return form


def _function(form: _Form, name: str, address: int, flags: int) -> Callable[..., Any]:
    return builtin(form, method(name, address, flags))


def _pull(asked: Pull) -> _Form:
    """The form of a pullback."""
    if isinstance(asked.whole, Made):
        form = asked.whole.of_pull(asked)
    else:
        form = np.zeros(16, np.int64).view(_Form)
        form[1] = -1
    return form


def _slow(asked: Pull, inputs: int, outputs: int) -> Callable[[tuple[Any, ...], Any], Any]:
    """What does it otherwise, of all that was kept: so many inputs, then outputs."""
    otherwise, end, last = asked.otherwise, _HEAD + inputs, _HEAD + inputs + outputs

    def slow(kept: tuple[Any, ...], cotangent: Any) -> Any:
        return otherwise(kept[_HEAD:end], kept[end:last], cotangent)

    return slow
