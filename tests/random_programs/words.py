"""Dice, names and sizes: what a random program is made of.

In: a seed. Out: choices. The one rule: the same seed makes the same program, everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

INDICES = (*"bcdeghijklmnopqrstuvwα", "di", "dj", "i_", "k1", "bb", "t2", "Δi")
INPUTS = (*"xWAVKzEBRMNUH", "q_", "Phi.W", "Phi.B", "X0", "gain", "mu", "tok_", "ab", "zz", "out", "bias")
MADE = ("y", "hid", "y2", "act", "score", "prob", "out_", "logits", "acc", "pool", "state", "norm", "mix", "head")


@dataclass(frozen=True)
class Scale:
    """How large a program is: the sizes of its axes, the most points of a statement, how often it is drawn."""

    name: str
    sizes: tuple[int, ...]
    points: int
    share: float
    statements: int = 4


SCALES = (
    Scale("tiny", (1, 2, 3, 4, 5), 400, 0.50),
    Scale("small", (1, 2, 3, 5, 7, 8, 9), 4_000, 0.25),
    Scale("medium", (1, 2, 3, 4, 8, 16, 17, 33, 64, 100), 40_000, 0.19),
    Scale("large", (1, 3, 4, 8, 16, 33, 64, 100, 128, 200), 400_000, 0.055, 3),
    Scale("huge", (3, 4, 16, 64, 100, 128, 256, 500), 6_000_000, 0.005, 2),
)


class Dice:
    """Random choices from one seed."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(f"indexlang {seed}")

    def chance(self, percent: float) -> bool:
        return self._random.random() * 100 < percent

    def one_of(self, options: Sequence[T]) -> T:
        return options[self._random.randrange(len(options))]

    def weighted(self, options: Sequence[tuple[float, T]]) -> T:
        return self._random.choices([o for _, o in options], [w for w, _ in options])[0]

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)

    def some(self, options: Sequence[T], least: int = 0) -> list[T]:
        """A random part of the options, in random order."""
        if len(options) <= least:
            return self.shuffled(options)
        return self.shuffled(options)[: self.between(least, len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        found = list(options)
        self._random.shuffle(found)
        return found


def fresh(dice: Dice, words: Sequence[str]) -> Iterator[str]:
    """Names in random order, without end."""
    number = 0
    while True:
        for word in dice.shuffled(words):
            yield word + (str(number) if number else "")
        number += 9
