"""The programs that are derived from a Function's, as Functions, and what is asked of them at once.

In: a Function. Out: Functions; values, tangents and products with second derivatives. The one rule: each is a program
of the language, made from the text alone, once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from ..derive import grad as derivation
from ..derive import tangents as forwards
from ..errors import NAMED, DerivationError, MeaningError, Problem, ShapeError, within_depth
from ..meaning.report import nearest
from ..program import names as naming
from ..program.ir import Program
from ..program.names import is_name
from ..ranges.solve import solve
from ..rewrite import batched as batches
from ..rewrite.starting import START, starting
from . import arguments, expecting
from .arguments import forms_of
from .arrays import Array
from .directions import directions
from .ordering import in_order
from .origins import options_of
from .planned import Planned
from .renaming import renames


class Transformed(Planned):
    """A program with those that are derived from it."""

    _named: Callable[..., dict[str, Array]]  # what `calls.function` makes of this

    def tangent(self, wrt: Sequence[str] | str | None = None) -> Self:
        """Forward mode as a Function: inputs, and `x.dot` for each of `wrt`; outputs `y.dot`, always a dict.

        `wrt` names inputs (all that the outputs depend on differentiably); an output that depends on none of them has
        no tangent here. Errors: `DerivationError` for other names, and where there is no derivative.
        """
        names = arguments.names_of(wrt, self.inputs)

        def make() -> Any:
            program = forwards.forward(self.program, names)
            ignored = [n for n in self.inputs if n not in program.inputs]
            dots = forwards.tangent_names(self.program)
            expected = {**self._expected, **{dots[n]: axes for n, axes in self._expected.items() if n in dots}}
            return self._like(program, self.options, ignored=ignored, always_dict=True, expected=expected)

        made: Self = self._made(("tangent", names), make)
        return made

    def jvp(self, along: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """The outputs, and how they move if the inputs move `along` a direction: `f.jvp({"x": dx}, x=x, W=W)`.

        Inputs as for a call; those that `along` leaves out stand still. Several outputs: two dicts. Errors:
        `ShapeError` for arrays and directions, `DerivationError` for integers and what has no derivative.
        """
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        moving = directions(along, named, (*self.inputs, *initial))
        if initial:
            found: tuple[Any, Any] = self._started(initial).jvp(starting(moving, initial), starting(named, initial))
            return found
        wrt = tuple(moving)

        def make() -> Any:
            return self._like(forwards.forward(self.program, wrt, self.outputs), always_dict=True)

        names = forwards.tangent_names(self.program)
        results = self._run_derived(self._made(("jvp", wrt), make), args, named, moving, names)
        values = {n: results[n] for n in self.outputs}
        dots = {n: results.get(names[n], _still(values[n])) for n in self.outputs}
        return (values, dots) if self._always_dict else (values[self.outputs[0]], dots[self.outputs[0]])

    def hvp(self, along: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> dict[str, Array]:
        """The second derivatives of a scalar output times a direction: `f.hvp({"W": v}, x=x, W=W)["W"]`.

        It is the tangent of the gradient by the inputs that `along` names, one program. Inputs as for a call. Errors:
        `ShapeError` if there is not one output of shape (), or arrays do not fit; `DerivationError` as for `jvp`.
        """
        output = self._scalar("hvp")
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        moving = directions(along, named, (*self.inputs, *initial))
        if initial:
            found = self._started(initial).hvp(starting(moving, initial), starting(named, initial))
            return {n.removeprefix(START): h for n, h in found.items()}
        wrt = tuple(moving)

        def make() -> tuple[Any, Mapping[str, str], Mapping[str, str]]:
            gradient = derivation.backward(self.program, wrt)
            names, grads = forwards.tangent_names(gradient), derivation.gradient_names(self.program)
            curved = derivation.differentiable(gradient)
            turning = tuple(n for n in wrt if n in curved)
            program = forwards.forward(gradient, turning) if turning else None
            function = None if program is None else self._like(program, always_dict=True)
            return function, names, {n: names.get(grads[n], "") for n in wrt}

        function, names, gives = self._made(("hvp", wrt), make)
        with in_order(args, key := forms_of([named[n] for n in self._names]), self.program):
            plan = self._told(key)
        self._check_scalar("hvp", output, plan.shapes[output])
        cotangent = derivation.gradient_names(self.program)[output]
        given = {**named, cotangent: np.ones((), plan.dtypes[output])}
        results = {} if function is None else self._run_derived(function, args, given, moving, names)
        return {n: results.get(gives[n], np.zeros_like(moving[n])) for n in wrt}

    def batched(self, index: str, tensors: Sequence[str] | str) -> Self:
        """The program over a batch: the `index` in front of the inputs `tensors` and of all that depends on them.

        `f.grad().batched("n", ["x", "y.grad"])` gives the gradients of each example. An index of the text that has this
        name gets another one. Errors: `DerivationError` for what is no input, and a name that is taken.
        """
        names = arguments.listed(tensors)
        known = (f"inputs: {', '.join(self.inputs) or 'none'}",)
        if not is_name(index) or "." in index:
            rule = f"a batch has an index, and {arguments.shortly(index)} cannot be one"
            raise DerivationError(Problem("batch", rule, way_out="write batched('n', ['x'])"))
        for name in names or (tensors,):
            if not isinstance(name, str) or name not in self.inputs:
                way = (nearest(name, self.inputs) if isinstance(name, str) else None) or "name inputs"
                raise DerivationError(Problem("batch", f"{arguments.shortly(name)} is no input", None, known, way))
        chosen = tuple(dict.fromkeys(names or ()))

        def make() -> Any:
            program = batches.batched(self.program, index, chosen)
            how = {"ignored": self._ignored, "always_dict": self._always_dict}
            return self._like(program, self.options, expected=expecting.behind(self._expected, chosen), **how)

        found: Self = self._made(("batched", index, chosen), make)
        return found

    def given(self, options: Mapping[str, Any] | None = None, /, **keywords: Any) -> Self:
        """The layer with other values of its options, the rest as they are: `f.given(stride=2)`.

        They go by keyword, or in one mapping, `options`. Errors: `MeaningError` for what is no option, and for a
        program that is derived from another one: that one has the options.
        """
        values = options_of(options, keywords)
        if self._origin is None:
            rule = "a derived program has no options: its numbers stand in its text"
            raise MeaningError(Problem("options", rule, way_out="give them first: f.given(...).grad()"))
        origin = self._origin.with_options(values)
        found = origin.program(2)
        made: Self = self._like(
            found.program, found.options, always_dict=len(found.program.outputs) != 1, origin=origin
        )
        return made

    def renamed(self, names: Mapping[str, str]) -> Self:
        """The program with other `names` for tensors and indices: `f.renamed({"x": "image"})`.

        Gradients and tangents follow their tensors. What is neither an input nor an output gives way to a new name.
        Errors: `MeaningError` for what the program does not name, and names that are no names, or taken.
        """
        tensors, indices = renames(names, self.program)
        program = within_depth(MeaningError, NAMED)(naming.renamed)(self.program, tensors, indices)
        how = {"ignored": [tensors.get(n, n) for n in self._ignored], "always_dict": self._always_dict}
        made: Self = self._like(program, self.options, expected=expecting.under(self._expected, tensors), **how)
        return made

    def _joined(self, second: Any, program: Program) -> Self:
        """The joined program, which gives what the second one gives; for `indexlang.join`."""
        ignored = {*self._ignored, *second._ignored} - {*program.inputs, *program.outputs}
        several = second._always_dict or len(program.outputs) > 1
        expected = {**self._expected, **expecting.of_made(second._expected, solve(self.program).shapes)}
        made: Self = self._like(program, {}, ignored=tuple(ignored), always_dict=several, expected=expected)
        return made

    # -- what these share ------------------------------------------------------------------------------

    def _run_derived(
        self,
        function: Any,
        args: Sequence[Any],
        named: Mapping[str, Array],
        moving: Mapping[str, Array],
        names: Mapping[str, str],
    ) -> dict[str, Array]:
        given = {**named, **{names[n]: d for n, d in moving.items()}}
        with in_order(args, forms_of([named[n] for n in self._names]), self.program):
            results: dict[str, Array] = function._run({n: given[n] for n in function.inputs})
        return results

    def _scalar(self, what: str) -> str:
        """The only output. Errors: `ShapeError`."""
        if len(self.outputs) != 1:
            rule = f"{what} needs one scalar output, here: {', '.join(self.outputs) or 'none'}"
            raise ShapeError(Problem("not-scalar", rule, way_out="choose one: compile(..., outputs=[...])"))
        return self.outputs[0]

    @staticmethod
    def _check_scalar(what: str, output: str, shape: tuple[int, ...]) -> None:
        if shape != ():
            rule = f"{what} needs a scalar, {output} has shape {shape}"
            raise ShapeError(Problem("not-scalar", rule, way_out="sum it, or use vjp with a cotangent of its shape"))


def seed_of(seed: Any) -> float | None:
    """The number that a cotangent is. Errors: `DerivationError`."""
    if seed is None or (isinstance(seed, int | float | np.integer | np.floating) and not isinstance(seed, bool)):
        return seed if seed is None or isinstance(seed, int | float) else seed.item()
    rule = f"a seed is a number, not {arguments.shortly(seed)}"
    raise DerivationError(Problem("seed", rule, way_out="write seed=1, or leave it out and pass the cotangent"))


def indices_of(keep: Any) -> tuple[str, ...]:
    """The indices that stay in gradients. Errors: `DerivationError`."""
    names = arguments.listed(keep)
    if names is None or not all(isinstance(n, str) for n in names):
        rule = f"keep names indices, and {arguments.shortly(keep)} is no name"
        raise DerivationError(Problem("keep", rule, way_out="write keep=['b'], or leave it out"))
    return tuple(dict.fromkeys(names))


def _still(value: Array) -> Array:
    """The tangent of what does not move."""
    return np.zeros(value.shape, value.dtype if value.dtype.kind in "fc" else np.float64)
