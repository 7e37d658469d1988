"""All that is asked of one sample.

In: a Sample. Out: Failures, none if all is right. The one rule: what is right comes from an oracle that shares nothing
with what is tried: loops for values, a complex step for gradients, the oracle on derived statements for their elements.
"""

from __future__ import annotations

import math
import re
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import dense
import numpy as np
from numpy.typing import NDArray

import indexlang

from .house import (
    Boundary,
    Const,
    Function,
    IndexLangError,
    Program,
    accesses_of,
    gather,
    grad,
    infer_types,
    optimize,
    program_of,
    to_text,
    verify,
    walk,
)
from .judge import PRECISIONS, wrong
from .limits import limits_of
from .oracles import fresh_memory_is_nan, infinite_inside, oracle, points, verified
from .sample import Sample, laid

Array = NDArray[Any]
Arrays = dict[str, Array]

LOOPS = 100_000  # points up to which the plain loops are the oracle of values
LOOPS_DERIVED = 6_000  # and of derived statements
DEEP = 60_000  # points of a derived program up to which it is derived again
LONG = 16  # statements of it from which it is not
STEP = 1e-200  # its square is 0, also where it alone would decide what is less


@dataclass(frozen=True)
class Failure:
    """`stage` is where, `kind` what: wrong, derivative, changed (an input), crash, refused, text, slow."""

    stage: str
    kind: str
    detail: str
    where: str = ""  # of a crash: its type and place

    @property
    def signature(self) -> tuple[str, ...]:
        """What two failures share that are of one kind, as far as can be told from outside."""
        stage = self.stage.split(" ")[0]
        return (self.kind, self.where) if self.where else (self.kind, stage)


# Refused for a reason: several factors or maxima of one tensor, whole ones among them, have no derivative as text.
REFUSED = ("'...' stands", "error[pad-value]")
TWICE = (*REFUSED, "error[too-large]")  # what is derived again may be larger than a derivative can be, docs/limits.md


class InvalidError(Exception):
    """A sample that says nothing: the oracle itself refuses it."""


STAGES = (
    *(
        "text",
        "optimized",
        "gathered",
        "value float64",
        "value float32",
        "vjp float64",
        "vjp float32",
        "derivative",
        "grad text",
    ),
    *("grad float64", "grad float32", "gather text", "gather meaning", "gather float64", "gather float32"),
    *("second derivative", "second text", "second float64"),
)
QUICK = frozenset(("text", "value float64", "vjp float64", "derivative", "grad text"))
SOMETIMES = {"grad float32": 4, "gather float32": 3, "second": 2, "optimized": 2}  # one sample in so many is asked


def stages_of(sample: Sample) -> frozenset[str]:
    """What a sample is asked: nearly all."""
    left_out = [stage for stage, n in SOMETIMES.items() if sample.seed % n]
    return frozenset(s for s in STAGES if not s.startswith(tuple(left_out)))


class Trial:
    """One sample under trial."""

    def __init__(self, sample: Sample, stages: frozenset[str], found: list[Failure]) -> None:
        self.sample, self.asked, self.failures = sample, stages, found
        self.limits = limits_of(sample.limits)
        self.read_back: dict[int, Function] = {}

    # -- the stages ----------------------------------------------------------------------------

    def run(self) -> list[Failure]:
        try:
            program = program_of(self.sample.text)
            f = Function(indexlang.compile(self.sample.text).program, limits=self.limits)
        except Exception as error:
            self.failed("compile", error)
            return self.failures
        arrays = {n: a for n, a in self.sample.arrays().items() if n in program.inputs}
        try:
            if pads_with_fractions(program, arrays):
                raise IndexError("a pad's value is none of its tensor's")
            large = points(program, arrays) > LOOPS
            values = oracle(program, arrays, LOOPS)
        except (IndexError, IndexLangError) as error:
            raise InvalidError(str(error)) from error
        except Exception as error:
            self.failed("sizes", error)
            return self.failures
        self.prints("text", f)
        if not large:
            self.rewritten(program, arrays, values)
        dtypes = ("float64", "float32") if not large else ("float64", "float32")[self.sample.seed % 2 :][:1]
        wrt = tuple(n for n in grad.differentiable(program) if n in arrays and self.sample.inputs[n].floating)
        cotangents = self.cotangents(values)
        for dtype in dtypes:
            given = arrays if dtype == "float64" else self.sample.arrays(dtype)
            right = values if dtype == "float64" else oracle(program, given, LOOPS)
            self.value(program, f, given, right, dtype)
            if wrt and cotangents:
                self.derivatives(
                    program, f, given, wrt, cotangents, right, dtype, deep=dtype == "float64" and not large
                )
        return self.failures

    def rewritten(self, program: Program, arrays: Arrays, values: Arrays) -> None:
        """The passes from Program to Program keep its meaning."""
        for stage, rewrite in (("optimized", optimize), ("gathered", gather)):
            if stage in self.asked:
                other = self.tried(stage, partial(rewrite, program))
                if other is not None:
                    self.meaning(stage, other, values, arrays)

    def cotangents(self, values: Arrays, seed: int = 17) -> Arrays:
        rng = np.random.default_rng(self.sample.seed + seed)
        found = {n: rng.standard_normal(v.shape) for n, v in values.items() if v.dtype.kind == "f"}
        return {n: laid(c, self.sample.cotangents) for n, c in found.items()}

    def value(self, program: Program, f: Function, arrays: Arrays, right: Arrays, dtype: str) -> None:
        stage = f"value {dtype}"
        if stage not in self.asked:
            return
        before = {n: a.copy() for n, a in arrays.items()} if self.sample.elements() < 10**6 else {}
        found = self.tried(stage, lambda: named(f, f(**arrays)))
        if found is None:
            return
        self.compared(stage, program, found, right, arrays, dtype)
        for name, old in before.items():
            if not np.array_equal(arrays[name], old, equal_nan=old.dtype.kind == "f"):
                self.failures.append(Failure(stage, "changed", f"the input {name} was written to"))

    def derivatives(
        self,
        program: Program,
        f: Function,
        arrays: Arrays,
        wrt: tuple[str, ...],
        cotangents: Arrays,
        values: Arrays,
        dtype: str,
        deep: bool,
    ) -> None:
        g = self.tried(f"grad {dtype}", lambda: f.grad(wrt=list(wrt)))
        if g is None:
            return
        given = {n: laid(c.astype(dtype), self.sample.cotangents) for n, c in cotangents.items()}
        names = grad.gradient_names(program)
        arguments = {**arrays, **{names[n]: c for n, c in given.items()}}
        arguments = {n: arguments[n] for n in g.inputs}
        right = self.tried(f"grad {dtype}", lambda: oracle(g.program, arguments, LOOPS_DERIVED))
        if right is None:
            return
        stage = f"vjp {dtype}"
        if stage in self.asked:
            found = self.tried(stage, lambda: pulled(f, arrays, given))
            if found is not None:
                self.compared(stage, program, named(f, found[0]), values, arrays, dtype)
                found = {names[n]: a for n, a in found[1].items()}
                self.compared(stage, g.program, found, right, arguments, dtype)
        if dtype == "float64" and all(np.isfinite(v).all() for v in values.values()):
            self.numerical(
                "derivative", program, arrays, cotangents, {n: right[names[n]] for n in wrt}, g.program, arguments
            )
        if dtype == "float64":
            self.prints("grad text", g)
        self.same(f"grad {dtype}", g, right, arguments, dtype)
        if any(s.startswith("gather") for s in self.asked):
            gathered = self.tried(f"gather {dtype}", lambda: f.grad(wrt=list(wrt), form="gather"))
            if gathered is not None:
                if dtype == "float64":
                    self.prints("gather text", gathered)
                    self.meaning("gather meaning", gathered.program, right, arguments)
                self.same(f"gather {dtype}", gathered, right, arguments, dtype)
        if deep and points(g.program, arguments) < DEEP and len(g.program.statements) < LONG:
            self.second(g, arguments, right)

    def second(self, g: Function, arrays: Arrays, values: Arrays) -> None:
        """The derived program derived again."""
        if not any(s.startswith("second") for s in self.asked):
            return
        floats = [n for n in grad.differentiable(g.program) if n in arrays and arrays[n].dtype.kind == "f"]
        if not floats or not all(np.isfinite(v).all() for v in values.values()):
            return
        h = self.tried("second float64", lambda: g.grad(wrt=floats))
        if h is None:
            return
        cotangents = self.cotangents(values, 18)
        names = grad.gradient_names(g.program)
        arguments = {**arrays, **{names[n]: c for n, c in cotangents.items()}}
        arguments = {n: arguments[n] for n in h.inputs}
        right = self.tried("second float64", lambda: oracle(h.program, arguments, LOOPS_DERIVED))
        if right is None:
            return
        gradients = {n: right[names[n]] for n in floats}
        self.numerical("second derivative", g.program, arrays, cotangents, gradients, h.program, arguments)
        self.prints("second text", h)
        self.same("second float64", h, right, arguments, "float64")

    # -- what a stage asks ---------------------------------------------------------------------

    def prints(self, stage: str, f: Function) -> None:
        """Its text is a program, the same one, and prints the same."""
        if stage not in self.asked:
            return
        self.tried(stage, lambda: verify(f.program))
        other = self.tried(stage, lambda: self.again(f))
        if other is not None and (other.program != f.program or str(other) != str(f)):
            self.failures.append(Failure(stage, "text", f"prints as\n{f}and comes back as\n{other}"))

    def again(self, f: Function) -> Function:
        """A Function from its own text."""
        if id(f) not in self.read_back:
            program = indexlang.compile(str(f)).program
            self.read_back[id(f)] = Function(program, always_dict=True, limits=self.limits)
        return self.read_back[id(f)]

    def same(self, stage: str, f: Function, right: Arrays, arrays: Arrays, dtype: str) -> None:
        """The compiled program, from its own text, gives what is right."""
        if stage not in self.asked:
            return
        found = self.tried(stage, lambda: named(f, self.again(f)(**arrays)))
        if found is not None:
            self.compared(stage, f.program, found, right, arrays, dtype)

    def meaning(self, stage: str, program: Program, right: Arrays, arrays: Arrays) -> None:
        """Another form of a program means the same."""
        if stage not in self.asked:
            return
        found = self.tried(stage, lambda: oracle(program, arrays, LOOPS_DERIVED))
        if found is not None:
            self.compared(stage, program, found, right, arrays, "float64", types=False)

    def compared(
        self,
        stage: str,
        program: Program,
        found: Arrays,
        right: Arrays,
        arrays: Arrays,
        dtype: str,
        types: bool = True,
    ) -> None:
        known = infer_types(program, {n: a.dtype.name for n, a in arrays.items()}).tensors
        for name in found if types else ():
            if found[name].dtype.name != known[name]:
                self.failures.append(Failure(stage, "wrong", f"{name} is {found[name].dtype}, right is {known[name]}"))
                return
        again = lambda noise, seed: dense.run(program, arrays, noise=noise, seed=seed)  # noqa: E731
        message = wrong(found, right, again, dtype)
        if message and self.in_range(program, arrays, dtype):
            self.failures.append(Failure(stage, "wrong", message))

    def in_range(self, program: Program, arrays: Arrays, dtype: str) -> bool:
        """Whether a type holds all numbers on the way."""
        least, greatest = dense.magnitudes(program, arrays)
        low, high = PRECISIONS[dtype].range
        return low <= least and greatest <= high

    def numerical(
        self,
        stage: str,
        program: Program,
        arrays: Arrays,
        cotangents: Arrays,
        gradients: Arrays,
        derived: Program,
        arguments: Arrays,
    ) -> None:
        """All inputs move at once, in two random directions: a wrong gradient meets none of them but by chance."""
        if stage not in self.asked:
            return
        rng = np.random.default_rng(self.sample.seed + 1)
        names = grad.gradient_names(program)
        for _ in range(2):
            direction = {n: rng.standard_normal(g.shape) for n, g in gradients.items()}
            stepped = {n: arrays[n] + 1j * STEP * d for n, d in direction.items()}
            outputs = dense.run(program, {**arrays, **stepped})
            numerical = sum(float(np.sum(outputs[n].imag * c)) for n, c in cotangents.items()) / STEP

            def along(found: Mapping[str, Array], direction: Arrays = direction) -> tuple[float, float]:
                products = [found[n] * d for n, d in direction.items()]
                return sum(float(np.sum(p)) for p in products), sum(float(np.sum(np.abs(p))) for p in products)

            if not math.isfinite(numerical):  # inf on the way to a finite value
                return
            got, size = along(gradients)
            if math.isnan(got) and infinite_inside(program, arrays):  # 0 times what nothing reaches: -inf
                return
            if abs(got - numerical) <= 1e-9 * size + 1e-20:
                continue
            allowed = 1e-9 * size + 1e-20
            for seed in range(5):
                moved = dense.run(derived, arguments, noise=1e-11, seed=seed)
                there, _ = along({n: moved[names[n]] for n in gradients})
                allowed = max(allowed, 10 * abs(there - got)) if math.isfinite(there) else math.inf
            if (math.isnan(got) or abs(got - numerical) > allowed) and self.in_range(derived, arguments, "float64"):
                detail = f"along a direction the derived statements give {got}, a complex step {numerical}\n"
                self.failures.append(Failure(stage, "derivative", detail + to_text(derived), "nan" * math.isnan(got)))
                return

    # -- failures ------------------------------------------------------------------------------

    def tried(self, stage: str, action: Callable[[], Any]) -> Any:
        try:
            with fresh_memory_is_nan():
                return action()
        except Exception as error:
            self.failed(stage, error)
            return None

    def failed(self, stage: str, error: Exception) -> None:
        known = TWICE if stage.startswith("second") else REFUSED
        if isinstance(error, IndexLangError) and any(words in str(error) for words in known):
            return
        kind, detail = ("crash", "refused")[isinstance(error, IndexLangError)], str(error)[:2000]
        self.failures.append(Failure(stage, kind, f"{type(error).__name__}: {detail}", place(error)))


def pads_with_fractions(program: Program, arrays: Arrays) -> bool:
    """Whether a tensor of integers is padded with a number that is none: refused with an error of its own."""
    known = infer_types(program, {n: a.dtype.name for n, a in arrays.items()}).tensors
    accesses = (a for s in program.statements for a in accesses_of(s) if known[a.tensor].startswith(("int", "uint")))
    values = (s.value for a in accesses for s in a.subscripts if isinstance(s, Boundary) and s.kind == "pad")
    numbers = [p.value for v in values for p in walk(v) if isinstance(p, Const)]
    return any(math.isfinite(n) and n != int(n) for n in numbers)


# -- what stages share -------------------------------------------------------------------------------


def trial(sample: Sample, stages: frozenset[str] | None = None, found: list[Failure] | None = None) -> list[Failure]:
    """The failures of a sample, put into `found`. Errors: `InvalidError` where the oracle itself refuses it."""
    with warnings.catch_warnings(), verified(sample), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return Trial(sample, stages_of(sample) if stages is None else stages, [] if found is None else found).run()


def named(f: Function, result: Any) -> Arrays:
    found = result if isinstance(result, dict) else {f.outputs[0]: result}
    return {n: np.asarray(a) for n, a in found.items()}


def pulled(f: Function, arrays: Arrays, cotangents: Arrays) -> tuple[Any, Arrays]:
    """The outputs and the gradients by `vjp`."""
    outputs, pullback = f.vjp(**arrays)
    single = len(f.outputs) == 1
    return outputs, pullback(cotangents[f.outputs[0]] if single else cotangents)


def place(error: BaseException) -> str:
    """The type of an error, its words without numbers and names, and the innermost frame of ours."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "indexlang" in f.filename]
    ours = [f for f in frames if "random_programs" not in f.filename]
    at = f"{ours[-1].filename.rsplit('indexlang/', 1)[-1]}:{ours[-1].name}" if ours else ""
    code = re.search(r"error\[([\w-]+)\]", str(error))
    words = code.group(1) if code else re.sub(r"[\d(),\[\]'].*", "", str(error).split("\n")[0])[:50]
    return f"{type(error).__name__} {words.strip()} in {at}"
