"""Learning-rate schedules: by how much the rate is multiplied as training goes on.

In: how many epochs are done, as a number with fractions, and how many there will be. Out: a factor. The one rule: a
schedule is a pure function of the two, so that a resumed run goes on exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from ..problems import graph_error
from ..settings import ABOVE_0, FROM_0, plain, setting


class Schedule(Protocol):
    """What a rate is multiplied by."""

    def __call__(self, done: float, total: float) -> float:
        """The factor after `done` epochs, with fractions, of `total`."""
        ...


@dataclass(frozen=True)
class ConstantRate:
    """The same rate throughout."""

    def __call__(self, done: float, total: float) -> float:
        return 1.0


@dataclass(frozen=True)
class StepRate:
    """Multiplied by `factor` after each `every` epochs, or at the epochs that `at` names."""

    every: float = 30
    factor: float = 0.1
    at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        setting("StepRate", "every", self.every, ABOVE_0)
        setting("StepRate", "factor", self.factor, FROM_0)
        if not isinstance(self.at, tuple | list) or any(plain(a) is None for a in self.at):
            raise graph_error(
                "setting", f"at of StepRate is a tuple of epochs, not {self.at!r}", way_out="write at=(10, 20)"
            )

    def __call__(self, done: float, total: float) -> float:
        count = sum(done >= a for a in self.at) if self.at else math.floor(done / self.every)
        return self.factor**count


@dataclass(frozen=True)
class CosineRate:
    """From 1 to `floor` along half a cosine (Loshchilov, Hutter 2016)."""

    floor: float = 0.0

    def __post_init__(self) -> None:
        setting("CosineRate", "floor", self.floor, FROM_0)

    def __call__(self, done: float, total: float) -> float:
        part = min(1.0, done / total) if total else 1.0
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class WarmUp:
    """Linear from `start` to 1 over the first `epochs`, then the schedule `after` over what is left."""

    epochs: float = 5
    after: Schedule = ConstantRate()
    start: float = 0.0

    def __post_init__(self) -> None:
        setting("WarmUp", "epochs", self.epochs, FROM_0)
        setting("WarmUp", "start", self.start, FROM_0)
        if not is_schedule(self.after):
            way = "write after=CosineRate(), or leave it out"
            raise graph_error("setting", f"after of WarmUp is a schedule, not {self.after!r}", way_out=way)

    def __call__(self, done: float, total: float) -> float:
        if done < self.epochs:
            return self.start + (1 - self.start) * done / self.epochs
        return self.after(done - self.epochs, total - self.epochs)


def is_schedule(value: object) -> bool:
    """Whether it may give factors: any function may, a class only makes what does."""
    return callable(value) and not isinstance(value, type)
