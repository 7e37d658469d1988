"""Programs of steps called one after the other, many times, in one native call.

In: `Event`s, each a program with where its arguments are, or a copy; arrays. Out: their effect. The one rule: an
argument is an array and so many bytes from its beginning; nothing of Python is asked for between two events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .making import Made
from .pool import native
from .runner import REFUSED, Words

COPY = 0  # the program of an event that copies its second argument over its first


@dataclass(frozen=True, eq=False)
class Events:
    """What is called: `rows` has the program's address, where in `table` its arguments begin, how many there are, and
    the bytes of a copy; `table` an array's number and bytes for each argument.
    """

    rows: Words
    table: Words
    made: tuple[Made, ...]  # whose programs they are
    most: int  # arguments of one event

    def run(self, arrays: Sequence[NDArray[Any]]) -> bool:
        """Run all of them on arrays; whether one refused to go on."""
        bases = np.array([a.ctypes.data for a in arrays], np.int64)
        state = np.zeros(2 + self.most, np.int64)
        where = self.rows.ctypes.data, self.table.ctypes.data, bases.ctypes.data, state.ctypes.data
        while not (end := native().repeat(*where, len(self.rows))):
            program = int(self.rows[state[0], 0])  # which has no context that is free
            for made in self.made:
                if made.memory.program.ctypes.data == program and made.grow is not None:
                    made.grow()
        return end == REFUSED
