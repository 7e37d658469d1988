"""Pullbacks: the forward run that keeps what the backward run reads, at one set of sizes and types.

In: the two parts of a derived program as they are compiled, and names. Out: values, and gradients from cotangents. The
one rule: where each array comes from is looked up once, as its number; a call only picks arrays by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.numpy.at_once import COTANGENT, Asked, Pull
from ..backends.numpy.emitting import Both
from ..backends.numpy.load import Compiled
from ..errors import DerivationError, Problem, ShapeError
from ..meaning.report import nearest
from ..plan.plan import Plan
from ..properties import cached_property
from .arguments import Form, forms_of
from .arrays import Array, as_array

Arrays = Sequence[Array]


@dataclass(frozen=True)
class Pulling:
    """`inputs` of the program; the rest as its parts name it. `second` gives the backward part for its forms."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    first: Compiled
    first_takes: tuple[str, ...]
    first_gives: tuple[str, ...]
    second: Callable[[tuple[Form, ...]], Compiled]
    second_takes: tuple[str, ...]
    second_gives: tuple[str, ...]
    gradients: Mapping[str, str]  # by tensor
    wrt: tuple[str, ...]
    integers: tuple[tuple[str, str], ...]  # inputs that would have gradients, and their types, if there are no others
    finite: tuple[str, ...] = ()  # what the parts give that must be finite for the rest to hold
    instead: Callable[[], Pulling] | None = None  # what holds where they are not

    def run(self, arrays: Arrays) -> tuple[Pulling, tuple[Array, ...]]:
        """All that the forward part gives, from the program's inputs; and whose it is, this one or the one instead."""
        results = self.forward(arrays)
        if self.instead is None or all(np.isfinite(results[k]) for k in self._first_finite):
            return self, results
        return self.instead().run(arrays)

    def plans(self, known: Mapping[str, Form]) -> tuple[Plan, Plan]:
        """The plans of both parts, from the forms of the program's inputs.

        Errors: `DerivationError` where no input has a gradient because all are integers.
        """
        if self.integers and not self.wrt:
            raise DerivationError(*(integer(name, dtype) for name, dtype in self.integers))
        first = self.first.plan
        forms = {**known, **{n: (first.shapes[n], np.dtype(d)) for n, _, d in first.outputs}}
        forms |= {self.gradients[o]: (first.shapes[o], k) for o, k in zip(self.outputs, self._kinds, strict=True)}
        return first, self.second(tuple(forms[n] for n in self.second_takes)).plan

    def both(self, known: Mapping[str, Form]) -> Both:
        """The plans of both parts with what each takes, from the forms of the program's inputs.

        Errors: `DerivationError` where no input has a gradient because all are integers.
        """
        first, second = self.plans(known)
        seeds = [(self.gradients[o], first.shapes[o], k.name) for o, k in zip(self.outputs, self._kinds, strict=True)]
        return Both(
            tuple((n, known[n][0], known[n][1].name) for n in self.inputs),
            tuple(seeds),
            first,
            self._into_first,
            tuple(k for _, k, _ in self._outputs),
            second,
            self._into_second,
            tuple(k for _, k in self._gradients),
            (self._first_finite, self._second_finite),
            None if self.instead is None else self.instead().both(known),
        )

    def forward(self, arrays: Arrays) -> tuple[Array, ...]:
        """All that the forward part gives, from the program's inputs."""
        return self.first.run(*[arrays[k] for k in self._into_first])

    def values(self, results: Arrays) -> dict[str, Array]:
        """The outputs by name; those that the pullback reads again cannot be written to."""
        found = {}
        for name, k, is_read in self._outputs:
            value = results[k]
            if is_read:
                value = value.view()
                value.flags.writeable = False
            found[name] = value
        return found

    def backward(self, arrays: Arrays, results: Arrays, dy: Any) -> dict[str, Array]:
        """The gradients, from the inputs, what the forward part gave, and cotangents. Errors: `ShapeError`."""
        cotangents: Arrays
        if type(dy) is np.ndarray and dy.shape == self._single and dy.dtype == self._kinds[0]:
            cotangents = (dy,)
        else:
            cotangents = self.cotangents(dy)
        if self.integers and not self.wrt:
            raise DerivationError(*(integer(name, dtype) for name, dtype in self.integers))
        everything = (*arrays, *results, *cotangents)
        given = [everything[k] for k in self._into_second]
        second: Compiled | None = self.__dict__.get("_second")
        if second is None:
            second = self.__dict__["_second"] = self.second(forms_of(given))
        found = second.run(*given)
        if self.instead is not None and not all(np.isfinite(found[k]) for k in self._second_finite):
            other, results = self.instead().run(arrays)
            return other.backward(arrays, results, dy)
        return {n: found[k] for n, k in self._gradients}

    @property
    def settled(self) -> bool:
        """Whether both runs are known, and are right whatever the data are."""
        return "_second" in self.__dict__ and self.instead is None

    def asked(self, known: Sequence[Form], as_dict: bool) -> Asked:
        """Both runs as one call and its pullback, from the forms of the program's inputs."""
        second: Compiled = self.__dict__["_second"]
        cotangent = len(self.inputs) + len(self.first_gives)
        pull = Pull(
            None if self._single is None else second.whole,
            second.run,
            None if self._single is None else (self._single, self._kinds[0]),
            tuple(COTANGENT if k == cotangent else k for k in self._into_second),
            tuple((k, n) for n, k in self._gradients),
            self.backward,
        )
        inputs = tuple((n, *form) for n, form in zip(self.inputs, known, strict=True))
        values = tuple((k, n, is_read) for n, k, is_read in self._outputs)
        return Asked(inputs, self._into_first, values, as_dict, pull)

    def cotangents(self, dy: Any) -> list[Array]:
        """The cotangent of each output, in its shape and type. Errors: `ShapeError`."""
        if not isinstance(dy, Mapping) and len(self.outputs) != 1:
            rule = f"the program has several outputs: pass a dict of cotangents for {', '.join(self.outputs)}"
            raise ShapeError(Problem("cotangent", rule, way_out=f"write pullback({{'{self.outputs[0]}': ...}})"))
        given = dict(dy) if isinstance(dy, Mapping) else {self.outputs[0]: dy}
        known = (f"outputs: {', '.join(self.outputs)}",)
        problems = []
        for name in given:
            if name not in self.outputs:
                way = nearest(name, self.outputs) or "leave it out: a cotangent goes by its output's name"
                problems.append(Problem("cotangent", f"{name!r} is no output", None, known, way))
        found = []
        for name, kind in zip(self.outputs, self._kinds, strict=True):
            shape = self.first.plan.shapes[name]
            if name not in given:
                found.append(np.zeros(shape, kind))
                continue
            cotangent = as_array(f"the cotangent of {name}", given[name])
            sizes = (f"{name} has shape {shape}", f"the cotangent has shape {cotangent.shape}")
            if cotangent.shape != shape:
                rule, way = f"the cotangent of '{name}' must have its shape", f"pass an array of shape {shape}"
                problems.append(Problem("cotangent", rule, None, sizes, way))
            elif cotangent.dtype.kind == "c" and kind.kind != "c":
                types = (f"{name} is {self.first.plan.dtypes[name]}", f"the cotangent is {cotangent.dtype}")
                rule, way = f"the cotangent of '{name}' must be real", "pass its real part: dy.real"
                problems.append(Problem("cotangent", rule, None, types, way))
            else:
                found.append(cotangent.astype(kind, copy=False))
        if problems:
            raise ShapeError(*problems)
        return found

    @cached_property
    def _into_first(self) -> tuple[int, ...]:
        return tuple(self.inputs.index(n) for n in self.first_takes)

    @cached_property
    def _first_finite(self) -> tuple[int, ...]:
        return tuple(k for k, n in enumerate(self.first_gives) if n in self.finite)

    @cached_property
    def _second_finite(self) -> tuple[int, ...]:
        return tuple(k for k, n in enumerate(self.second_gives) if n in self.finite)

    @cached_property
    def _outputs(self) -> tuple[tuple[str, int, bool], ...]:
        return tuple((n, self.first_gives.index(n), n in self.second_takes) for n in self.outputs)

    @cached_property
    def _into_second(self) -> tuple[int, ...]:
        number: dict[str, int] = {}
        for k, name in enumerate((*self.inputs, *self.first_gives, *(self.gradients[o] for o in self.outputs))):
            number[name] = k
        return tuple(number[n] for n in self.second_takes)

    @cached_property
    def _gradients(self) -> tuple[tuple[str, int], ...]:
        return tuple((n, self.second_gives.index(self.gradients[n])) for n in self.wrt)

    @cached_property
    def _kinds(self) -> tuple[np.dtype[Any], ...]:
        """The types of cotangents."""
        dtypes = (np.dtype(self.first.plan.dtypes[o]) for o in self.outputs)
        return tuple(d if d.kind in "fc" else np.dtype(np.float64) for d in dtypes)

    @cached_property
    def _single(self) -> tuple[int, ...] | None:
        """The shape of the only output."""
        return self.first.plan.shapes[self.outputs[0]] if len(self.outputs) == 1 else None


def integer(name: str, dtype: str) -> Problem:
    """An input of integers that a gradient was asked for."""
    rule = f"'{name}' is {dtype}: an integer tensor has no gradient"
    return Problem("integer-gradient", rule, way_out="pass it as floating-point numbers")
