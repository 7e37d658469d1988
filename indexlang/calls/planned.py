"""A Program with its two caches, by text and by sizes: the code of each set of sizes, and what is derived from it.

In: a Program and how it is planned. Out: what runs, at shapes and types. The one rule: what depends on sizes and dtypes
is done once for each set of them, whichever thread asks first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from ..backends.engines import BACKENDS, traced, usual
from ..backends.numpy.load import Compiled, plan_alone
from ..errors import warn_of
from ..locks import Lock
from ..plan.limits import Limits
from ..plan.plan import Plan
from ..program.affine import Affine
from ..program.blocks import has_blocks
from ..program.ir import Program
from ..rewrite.starting import optional, started
from ..staged.compiled import compiled as stepwise
from ..staged.recomputing import joined
from ..staged.traced import lowering
from . import arguments
from .arguments import Form, Signature, forms_of
from .arrays import Array
from .keeping import keep
from .origins import Origin

T = TypeVar("T")


class Planned:
    """A program, and its code by shapes and types."""

    def __init__(
        self,
        program: Program,
        options: Mapping[str, Any] | None = None,
        *,
        ignored: Sequence[str] = (),
        always_dict: bool = False,
        exact: Sequence[str] = (),
        expected: Mapping[str, Mapping[int, Affine]] | None = None,
        limits: Limits | None = None,
        backend: str = "auto",
        origin: Origin | None = None,
        checkpoint: Mapping[str, int] | None = None,
    ) -> None:
        self.program = program
        if backend == "auto":
            backend = usual() if limits is None else "native" if limits.nests else "numpy"
        self.backend = backend
        self.options = dict(options or {})
        self.inputs = program.inputs
        self.outputs = program.outputs
        self.optional = optional(program)
        self._ignored = frozenset(ignored)
        self._always_dict = always_dict or len(program.outputs) != 1
        self._exact = frozenset(exact)  # outputs that stay in the type they are computed in
        self._expected = expected or {}  # sizes of inputs that the program itself does not tell
        self._limits = BACKENDS[backend].limits if limits is None else limits  # at which sizes plans turn
        self._names = program.inputs
        self._checkpoint = dict(checkpoint or {})  # of blocks over these indices one state in so many is kept
        self._origin = origin  # the text, where the program is not derived from another one
        self._compiled: dict[Any, Compiled] = {}
        self._plans: dict[Any, Plan] = {}
        self._pulls: dict[Any, Any] = {}  # pullbacks, by sizes and types as well
        self._quick_values: dict[tuple[Any, ...], Any] = {}  # ways of values with gradients, by what they are by
        self._derived: dict[Any, Any] = {}
        self._lock = Lock()

    def _at(self, key: tuple[Form, ...]) -> Compiled:
        """The code for inputs of these shapes and types."""
        found = self._compiled.get(key)
        if found is None:
            with self._lock.held():
                found = self._compiled.get(key)
                if found is None:
                    found = self._plan(dict(zip(self._names, key, strict=True)))
                    keep(self._compiled, key, found)
        return found

    def _plan(self, signature: Signature) -> Compiled:
        shapes = {name: shape for name, (shape, _) in signature.items()}
        dtypes = {name: dtype.name for name, (_, dtype) in signature.items()}
        arguments.check_cotangents(self._expected, shapes)
        compiles = BACKENDS[self.backend].compiles
        if has_blocks(self.program) and BACKENDS[self.backend].traces:
            compiled = traced(lowering(self.program, shapes, dtypes, self._exact))
        elif has_blocks(self.program):
            program = joined(self.program, self._checkpoint, shapes) if self._checkpoint else self.program
            compiled = stepwise(compiles, program, shapes, dtypes, self._exact, self._limits)
        else:
            compiled = compiles(self.program, shapes, dtypes, exact=self._exact, limits=self._limits)
        warn_of(compiled.warnings, 5)
        return compiled

    def _told(self, key: tuple[Form, ...]) -> Plan:
        """What would run, of which shapes and types things are said; nothing is compiled for it."""
        found = self._compiled.get(key)
        known = self._plans.get(key) if found is None else found.plan
        if known is not None:
            return known
        if has_blocks(self.program) or BACKENDS[self.backend].traces:
            return self._at(key).plan
        signature = dict(zip(self._names, key, strict=True))
        shapes = {name: shape for name, (shape, _) in signature.items()}
        arguments.check_cotangents(self._expected, shapes)
        dtypes = {name: dtype.name for name, (_, dtype) in signature.items()}
        keep(self._plans, key, plan := plan_alone(self.program, shapes, dtypes, self._exact, self._limits))
        return plan

    def _run(self, named: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, of arrays as inputs."""
        arrays = [named[name] for name in self._names]
        return dict(zip(self.outputs, self._at(forms_of(arrays)).run(*arrays), strict=True))

    def _made(self, key: object, make: Callable[[], T]) -> T:
        """What is derived from the program, once."""
        if key not in self._derived:
            with self._lock.held():
                if key not in self._derived:
                    self._derived[key] = make()
        found: T = self._derived[key]
        return found

    def _started(self, initial: tuple[str, ...]) -> Self:
        """The program whose accumulations into `initial` start from tensors that the caller passes."""
        how: dict[str, Any] = {"ignored": tuple(self._ignored), "always_dict": self._always_dict}
        return self._made(("started", initial), lambda: self._like(started(self.program, initial), self.options, **how))

    def _like(self, program: Program, options: Mapping[str, Any] | None = None, **how: Any) -> Self:
        """Another program, planned in the same way. What is expected of inputs that are its own, too, stays."""
        expected = {n: axes for n, axes in self._expected.items() if n in program.inputs}
        usual = {"limits": self._limits, "backend": self.backend, "expected": expected}
        usual |= {"checkpoint": self._checkpoint}
        return type(self)(program, options, **{**usual, **how})

    def _on(self, backend: str) -> Self:
        """The same program on another backend, what is kept chosen in the same way."""
        limits = replace(BACKENDS[backend].limits, deep=self._limits.deep)
        how: dict[str, Any] = {"always_dict": self._always_dict, "exact": tuple(self._exact)}
        how |= {"ignored": tuple(self._ignored), "expected": self._expected, "limits": limits, "backend": backend}
        how["checkpoint"] = {} if BACKENDS[backend].traces else self._checkpoint
        return self._made(("on", backend), lambda: self._like(self.program, self.options, **how))

    def __reduce__(self) -> tuple[Callable[..., Planned], tuple[Any, ...]]:
        """By its program and what it was made with: code is made anew, where it is needed."""
        how: tuple[Any, ...] = (self._always_dict, tuple(sorted(self._exact)), dict(self._expected), self._limits)
        how = (*how, self.backend, self._origin, self._checkpoint)
        return _remade, (type(self), self.program, self.options, tuple(sorted(self._ignored)), *how)


def _remade(
    kind: type[Planned],
    program: Program,
    options: Mapping[str, Any],
    ignored: Sequence[str],
    always_dict: bool,
    exact: Sequence[str],
    expected: Mapping[str, Mapping[int, Affine]],
    limits: Limits,
    backend: str,
    origin: Origin | None,
    checkpoint: Mapping[str, int],
) -> Planned:
    how: dict[str, Any] = {"always_dict": always_dict, "exact": exact, "expected": expected, "origin": origin}
    how["checkpoint"] = checkpoint
    return kind(program, options, ignored=ignored, limits=limits, backend=backend, **how)
