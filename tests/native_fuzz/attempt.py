"""One program, run by nests and by NumPy.

In: a name, SEED:NUMBER. Out: the failures. The one rule: NumPy's backend in float64 says what is right, and the judge
of the random programs how far rounding may be from it; the bits are the same for any number of threads.
"""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

import dense
import numpy as np
from numpy.typing import NDArray
from processor_time import limited
from random_programs.house import Function, IndexLangError, grad, infer_types
from random_programs.judge import PRECISIONS, wrong
from random_programs.limits import limits_of
from random_programs.one import limit_memory
from random_programs.oracles import fresh_memory_is_nan
from random_programs.sample import FLOATS, LAYOUTS, Input, Sample
from random_programs.statements import generate
from random_programs.trial import REFUSED, place
from random_programs.words import Dice

import indexlang
from indexlang import threads
from indexlang.backends.native import load, runner
from indexlang.backends.native.target import Target

from .layers import layer

Array = NDArray[Any]
Arrays = dict[str, Array]
SECONDS = 120
LARGE = 1 << 22  # points above which nobody asks how far noise moves a result: it may be off by so much
NEAR = {"float64": 1e-9, "float32": 1e-3}


class SlowError(BaseException):
    """A program has taken too long."""


@dataclass(frozen=True)
class Failure:
    """`stage` is where, `signature` what several have in common."""

    stage: str
    signature: str
    detail: str


def made(name: str) -> Sample:
    """The sample of a name: half are layers, half random programs at sizes of their own."""
    dice = Dice(f"native {name}")
    if dice.chance(50):
        scale = dice.weighted(((30.0, "tiny"), (30.0, "small"), (30.0, "medium"), (9.0, "large"), (1.0, "huge")))
        found = generate(name, scale)
        limits = found.limits.removeprefix("native ")
        return replace(found, limits=f"native {limits}")
    text, shapes = layer(dice)
    inputs = {
        n: Input(s, dice.one_of(("normal", "normal", "ties", *FLOATS)), layout=dice.one_of((*["C"] * 8, *LAYOUTS)))
        for n, s in shapes.items()
    }
    return Sample(text, inputs, dice.between(0, 10**6), "native default")


def machines(dice: Dice) -> Target:
    """The machine that this is, or one with other vectors and registers, whose code it runs as well."""
    host = load.machine()
    vector, registers = dice.weighted(
        ((70.0, (host.vector, host.registers)), (12.0, (16, 16)), (9.0, (64, 32)), (9.0, (32, 32)))
    )
    fused = host.fused and dice.chance(90)
    return replace(host, vector=vector, registers=registers, fused=fused)


@contextmanager
def surroundings(dice: Dice) -> Iterator[None]:
    """A machine; helpers for whatever there is to share; plans and nests that are looked through, mostly."""
    machine, checked = machines(dice), str(int(dice.chance(70)))
    with (
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
        mock.patch.object(load, "machine", return_value=machine),
        mock.patch.multiple(runner, TOGETHER=0, WOKEN=0),
        mock.patch.dict(os.environ, {"INDEXLANG_VERIFY": checked}),
    ):
        warnings.simplefilter("ignore")
        yield


def attempt(name: str) -> list[Failure]:
    """All that is wrong with a program."""
    found: list[Failure] = []

    def slow(_: object) -> SlowError:
        return SlowError()

    try:
        with limited(SECONDS, slow), surroundings(Dice(f"around {name}")):
            Attempt(made(name), found).run()
    except SlowError:
        found.append(Failure("all", "slow", f"more than {SECONDS} s"))
    except Exception as error:  # of the generator or of NumPy's backend
        if not isinstance(error, IndexLangError):
            found.append(Failure("all", f"beside {place(error)}", "".join(traceback.format_exception(error)[-6:])))
    return found


class Attempt:
    """A sample and its failures so far."""

    def __init__(self, sample: Sample, failures: list[Failure]) -> None:
        self.sample, self.failures = sample, failures
        self.limits = limits_of(sample.limits)

    def run(self) -> None:
        program = indexlang.compile(self.sample.text, backend="numpy").program
        for dtype in ("float32", "float64"):
            arrays = {n: a for n, a in self.sample.arrays(dtype).items() if n in program.inputs}
            self.compared(f"value {dtype}", program, arrays, dtype)
            self.gradients(program, arrays, dtype)

    def compared(self, stage: str, program: Any, arrays: Arrays, dtype: str) -> Arrays | None:
        """A program by both, from the same numbers; what is right."""
        right = named(Function(program, always_dict=True, backend="numpy")(**wide(arrays)))
        f = Function(program, always_dict=True, limits=self.limits)
        before = {n: a.copy() for n, a in arrays.items()}
        found = self.tried(stage, lambda: f(**arrays))
        if found is None:
            return right
        known = infer_types(program, {n: a.dtype.name for n, a in arrays.items()}).tensors
        types = {n: a.dtype.name for n, a in found.items() if a.dtype.name != known[n]}
        self.said(stage, f"types {types}" if types else "")
        self.said(stage, self.judged(program, named(found), right, arrays, dtype))
        changed = [n for n, a in before.items() if not np.array_equal(a, arrays[n], equal_nan=a.dtype.kind == "f")]
        self.said(stage, f"changed {changed}" if changed else "")
        for number in (1, 3):
            threads.set_num_threads(number)
            again = self.tried(stage, lambda: f(**arrays)) or {}
            other = [n for n, a in again.items() if a.tobytes() != found[n].tobytes()]
            self.said(stage, f"other bits with {number} threads: {other}" if other else "")
        return right

    def gradients(self, program: Any, arrays: Arrays, dtype: str) -> None:
        """The derived program, and the pullback."""
        wrt = tuple(n for n in grad.differentiable(program) if n in arrays and arrays[n].dtype.kind == "f")
        if not wrt:
            return
        f = Function(program, always_dict=True, limits=self.limits)
        derived = self.tried(f"grad {dtype}", lambda: f.grad(wrt=list(wrt)))
        values = named(Function(program, always_dict=True, backend="numpy")(**wide(arrays)))
        rng = np.random.default_rng(self.sample.seed)
        seeds = {n: rng.standard_normal(v.shape).astype(dtype) for n, v in values.items() if v.dtype.kind == "f"}
        if derived is None or not seeds:
            return
        names = grad.gradient_names(program)
        given = {**arrays, **{names[n]: c for n, c in seeds.items()}}
        given = {n: given[n] for n in derived.inputs}
        right = self.compared(f"grad {dtype}", derived.program, given, dtype)
        found = self.tried(f"vjp {dtype}", lambda: f.vjp(**arrays))
        if found is None or right is None:
            return
        pulled = self.tried(f"vjp {dtype}", lambda: found[1](seeds))
        self.said(f"vjp {dtype}", self.judged(program, named(found[0]), values, arrays, dtype))
        if pulled is not None:
            pulled = {names[n]: a for n, a in pulled.items()}
            self.said(f"vjp {dtype}", self.judged(derived.program, named(pulled), right, given, dtype))

    def judged(self, program: Any, found: Arrays, right: Arrays, arrays: Arrays, dtype: str) -> str:
        """What is wrong with results; of large ones only what rounding cannot be."""
        if sum(a.size for a in (*arrays.values(), *right.values())) > LARGE:
            return far(found, right, NEAR[dtype])
        again = lambda noise, seed: dense.run(program, wide(arrays), noise=noise, seed=seed)  # noqa: E731
        message = wrong(found, right, again, dtype)
        if not message:
            return ""
        least, greatest = dense.magnitudes(program, wide(arrays))
        low, high = PRECISIONS[dtype].range
        return message if low <= least and greatest <= high else ""

    def said(self, stage: str, message: str) -> None:
        if message:
            self.failures.append(Failure(stage, f"{stage} {message.split(' ')[0].strip(':')}", message))

    def tried(self, stage: str, action: Callable[[], Any]) -> Any:
        try:
            with fresh_memory_is_nan():
                return action()
        except Exception as error:
            if not (isinstance(error, IndexLangError) and any(words in str(error) for words in REFUSED)):
                detail = "".join(traceback.format_exception(error))
                self.failures.append(Failure(stage, place(error), detail[-3000:]))
            return None


def far(found: Arrays, right: Arrays, near: float) -> str:
    """The first result that is further away than a part of its greatest element."""
    for name, value in right.items():
        finite = np.isfinite(value)
        size = np.max(np.abs(value[finite]), initial=1e-30)
        off = np.abs(found[name].astype(np.float64) - value)[finite]
        if found[name].shape != value.shape or not np.all(off <= near * size):
            return f"{name} is off by {np.max(off)} of {size}"
    return ""


def wide(arrays: Mapping[str, Array]) -> Arrays:
    return {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in arrays.items()}


def named(arrays: Mapping[str, Any]) -> Arrays:
    return {n: np.asarray(a) for n, a in arrays.items()}


def work(pipe: Connection, seed: str, numbers: list[int]) -> None:
    """All programs of these numbers, in a process of their own; each outcome goes into the pipe."""
    limit_memory()
    for number in numbers:
        pipe.send((f"{seed}:{number}", attempt(f"{seed}:{number}")))
