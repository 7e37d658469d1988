"""One program by its name: made, tried, and made small.

In: a name, SEED:NUMBER. Out: an Outcome; the test of a failure. The one rule: whatever happens is an outcome, a crash
of a program and a program without end too.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from traceback import format_exception
from types import FrameType
from typing import Any

import dense
import numpy as np
from numpy.typing import NDArray
from processor_time import limited

from .house import IndexLangError, loops
from .report import as_test
from .sample import Sample, given
from .shrink import shrunk
from .statements import RefusedError, generate
from .trial import STAGES, Failure, InvalidError, place, trial

Array = NDArray[Any]

MEMORY = 8 << 30  # bytes of address space for a process
CPU = 180  # seconds that a program may take
ORACLES = (dense.__name__, loops.__name__)  # the modules whose time is the judge's

RANKS = ("wrong", "derivative", "changed", "crash", "refused", "text", "slow")


@dataclass(frozen=True)
class Outcome:
    """What became of a program; `said_nothing` is why the oracle had nothing to compare with."""

    name: str
    failures: tuple[Failure, ...] = ()
    said_nothing: str = ""

    @property
    def worst(self) -> str:
        kinds = {f.kind for f in self.failures}
        if kinds & {"wrong", "derivative", "changed"}:
            return "wrong"
        return next((k for k in RANKS if k in kinds), "right" if not self.said_nothing else "said nothing")


class SlowError(BaseException):
    """A program, or its oracle, has taken too long: no Exception, since a stage takes these for its own failures."""

    def __init__(self, seconds: int, frame: FrameType | None) -> None:
        self.oracle = any(f.f_globals.get("__name__") in ORACLES for f in frames_from(frame))
        super().__init__(f"more than {seconds} seconds{' in the oracle' * self.oracle}")


def frames_from(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def limit_memory() -> None:
    """Let what takes too much memory be an error of one program, not the end of the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def within(seconds: int) -> AbstractContextManager[None]:
    """Raise `SlowError` after so many seconds of processor time."""
    return limited(seconds, lambda frame: SlowError(seconds, frame))


def attempt(name: str, scale: str | None = None, stages: frozenset[str] | None = None) -> Outcome:
    """Make the program of this name and try it: at any scale and all stages, or as is said."""
    found: list[Failure] = []
    try:
        with within(CPU):
            trial(generate(name, scale), stages, found)
            return Outcome(name, tuple(found))
    except SlowError as error:
        if error.oracle:
            return Outcome(name, tuple(found), said_nothing=str(error))
        return Outcome(name, (*found, Failure("all", "slow", str(error))))
    except RefusedError as error:
        kind = "refused" if isinstance(error.error, IndexLangError) else "crash"
        return Outcome(name, (Failure("sizes", kind, f"{error}\n{error.sample.text}", place(error.error)),))
    except InvalidError as error:
        return Outcome(name, said_nothing=str(error))
    except Exception as error:  # of the generator or of an oracle
        return Outcome(name, (Failure("all", "crash", "".join(format_exception(error)), place(error)),))


def small_test(name: str, failure: Failure, seconds: float) -> str:
    """The failing program made small, as a test."""
    if failure.kind == "slow" or (failure.stage, failure.kind) == ("sizes", "refused"):
        return failure.detail
    try:
        whole = generate(name)
    except RefusedError as error:
        whole = error.sample
    sample = shrunk(whole, lambda s: failing(s, failure) is not None, seconds)
    return as_test(sample, failing(sample, failure) or failure, name)


def failing(sample: Sample, failure: Failure) -> Failure | None:
    """The failure of the same signature in the same stage, if the sample has it."""
    try:
        with within(20):
            found = trial(sample, frozenset((failure.stage,)))
    except (Exception, SlowError):  # a candidate may mean nothing at all, or go on for ever
        return None
    return next((f for f in found if f.signature == failure.signature), None)


def assert_right(
    text: str, inputs: Mapping[str, Array], stage: str = "", limits: str = "default", cotangents: str = "C"
) -> None:
    """What a test says that was printed for a failure: these inputs stand the trial, or one stage of it."""
    sample = given(text, {n: np.asarray(a) for n, a in inputs.items()}, limits, cotangents)
    found = trial(sample, frozenset((stage,)) if stage else frozenset(STAGES))
    assert not found, "\n".join(f"{f.stage}, {f.kind}: {f.detail}" for f in found)
