"""The callable: a Program with its two caches, by text and by sizes, and what can be asked of it.

In: a Program; at each call, arrays. Out: arrays. The one rule: what depends on sizes and dtypes is done once for each
set of them, and a call looks up the code and runs it. Functions are safe to call from several threads.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from . import gather as gathering
from . import grad as derivation
from . import latex as typesetting
from .affine import Affine
from .arrays import Array, as_array, as_buffers
from .backends.numpy.load import Compiled, compile_program
from .errors import DerivationError, IndexLangWarning, Problem, ShapeError, render
from .ir import Access, Program, parts_of, primal_of, statement, walk
from .notebook import html_of, latex_of
from .plan import Plan
from .split import split
from .text import to_text
from .winners import plain

Signature = Mapping[str, tuple[tuple[int, ...], "np.dtype[Any]"]]

MOST_SIZES = 1024  # sets of sizes whose code is kept
_START = "start."  # the name under which a started program takes the array that an accumulation starts from


class Function:
    """A compiled program. Call it with arrays by name, or by position in the order of `inputs`.

    One output gives the array, several a dict by name (a derived program: always a dict). `optional` are the tensors
    that the program accumulates into without defining them: passed by name, or by position after the others, they are
    where the accumulation starts; the caller's array is not changed.
    """

    def __init__(
        self,
        program: Program,
        options: Mapping[str, Any] | None = None,
        *,
        ignored: Sequence[str] = (),
        always_dict: bool = False,
        exact: Sequence[str] = (),
        expected: Mapping[str, Mapping[int, Affine]] | None = None,
    ) -> None:
        self.program = program
        self.options = dict(options or {})
        self.inputs = program.inputs
        self.outputs = program.outputs
        self.optional = _optional(program)
        self._ignored = frozenset(ignored)
        self._always_dict = always_dict or len(program.outputs) != 1
        self._exact = frozenset(exact)  # outputs that stay in the type they are computed in
        self._expected = expected or {}  # sizes of inputs that the program itself does not tell
        self._names = program.inputs
        self._compiled: dict[Any, Compiled] = {}
        self._derived: dict[Any, Any] = {}
        self._lock = threading.RLock()

    # -- calls ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, out: Mapping[str, Array] | Array | None = None, **kwargs: Any) -> Any:
        """Run the program. Errors: `ShapeError` for missing, unexpected or unfitting arrays."""
        try:
            if args:
                if kwargs or len(args) != len(self._names):
                    return self._call_slowly(args, kwargs, out)
                arrays: Sequence[Any] = args
            else:
                if len(kwargs) != len(self._names):
                    return self._call_slowly(args, kwargs, out)
                arrays = [kwargs[name] for name in self._names]
            compiled = self._compiled[tuple([(a.shape, a.dtype) for a in arrays])]
        except (KeyError, AttributeError, TypeError):
            return self._call_slowly(args, kwargs, out)
        if out is not None:
            return self._call_slowly(args, kwargs, out)
        for a in arrays:
            if type(a) is not np.ndarray:
                return self._call_slowly(args, kwargs, out)
        results = compiled.run(*arrays)
        return dict(zip(self.outputs, results, strict=True)) if self._always_dict else results[0]

    def _call_slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        if out is not None and "out" in self._names and "out" not in kwargs:
            kwargs, out = {**kwargs, "out": out}, None
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        if initial:
            return self._started(initial)(out=out, **_starting(named, initial))
        arrays = [named[name] for name in self._names]
        compiled = self._at(arrays)
        buffers = {}
        if out is not None:
            buffers = as_buffers(out, self.outputs, compiled.plan.shapes, compiled.plan.dtypes, named)
        results = dict(zip(self.outputs, compiled.run(*arrays), strict=True))
        for name, buffer in buffers.items():
            np.copyto(buffer, results[name], casting="same_kind")
        results |= buffers
        return results if self._always_dict else results[self.outputs[0]]

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Array]:
        """The arrays by name, all that is wrong with the call told at once."""
        known = (f"inputs: {', '.join((*self._names, *self.optional)) or 'none'}",)
        problems: list[Problem] = []
        order = (*self._names, *self.optional)
        named: dict[str, Any] = dict(zip(order, args, strict=False))
        if len(args) > len(order):
            rule = f"{len(args)} arrays were given by position, the program has {len(order)} inputs"
            problems.append(Problem("unexpected-input", rule, None, known))
        for name, value in kwargs.items():
            if name in named:
                problems.append(Problem("unexpected-input", f"'{name}' was given twice, by position and by name"))
            elif name in self._names or name in self.optional:
                named[name] = value
            elif name not in self._ignored:
                problems.append(Problem("unexpected-input", f"'{name}' is no input", None, known))
        for name in self._names:
            if name not in named:
                problems.append(Problem("missing-input", f"the input '{name}' is missing", None, known))
        found = {}
        for name, value in named.items():
            try:
                found[name] = as_array(name, value)
            except ShapeError as error:
                problems += error.problems
        if problems:
            raise ShapeError(*problems)
        return found

    def _at(self, arrays: Sequence[Array]) -> Compiled:
        """The code for these sizes and dtypes."""
        key = tuple((a.shape, a.dtype) for a in arrays)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                found = self._compiled.get(key)
                if found is None:
                    found = self._plan(dict(zip(self._names, key, strict=True)))
                    while len(self._compiled) >= MOST_SIZES:
                        self._compiled.pop(next(iter(self._compiled)), None)
                    self._compiled[key] = found
        return found

    def _plan(self, signature: Signature) -> Compiled:
        shapes = {name: shape for name, (shape, _) in signature.items()}
        dtypes = {name: dtype.name for name, (_, dtype) in signature.items()}
        self._check_expected(shapes)
        compiled = compile_program(self.program, shapes, dtypes, exact=self._exact)
        for problem in compiled.warnings:
            warnings.warn(render(problem, "warning"), IndexLangWarning, stacklevel=5)
        return compiled

    def _check_expected(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """A cotangent has the shape of its output, as far as the inputs that are here tell it."""
        for name, axes in self._expected.items():
            for axis, form in axes.items():
                try:
                    size = max(0, form.value(shapes))
                except (KeyError, IndexError, ZeroDivisionError):
                    continue
                if name in shapes and axis < len(shapes[name]) and shapes[name][axis] != size:
                    output = primal_of(name)
                    values = (f"{output} has size {size} along axis {axis}", f"{name} has shape {shapes[name]}")
                    rule = f"'{name}' must have the shape of '{output}'"
                    raise ShapeError(Problem("gradient-shape", rule, values=values))

    def _run(self, named: Mapping[str, Array]) -> dict[str, Array]:
        arrays = [named[name] for name in self._names]
        return dict(zip(self.outputs, self._at(arrays).run(*arrays), strict=True))

    def _made(self, key: object, make: Callable[[], Any]) -> Any:
        """What is derived from the program, once."""
        if key not in self._derived:
            with self._lock:
                if key not in self._derived:
                    self._derived[key] = make()
        return self._derived[key]

    def _started(self, initial: tuple[str, ...]) -> Function:
        """The program whose accumulations into `initial` start from tensors that the caller passes."""

        def make() -> Function:
            program = started(self.program, initial)
            return Function(program, self.options, ignored=tuple(self._ignored), always_dict=self._always_dict)

        found: Function = self._made(("started", initial), make)
        return found

    # -- derivatives ---------------------------------------------------------------------------

    def grad(self, wrt: Sequence[str] | str | None = None, form: str = "scatter") -> Function:
        """The derived program as a Function: inputs, and `y.grad` for each output; outputs `x.grad`, always a dict.

        `wrt` names inputs (all that the outputs depend on differentiably); `form` is "scatter" or "gather".
        """
        if form not in ("scatter", "gather"):
            raise ValueError(f"form must be 'scatter' or 'gather', not {form!r}")
        names = _names(wrt)
        self._check_wrt(names)

        def make() -> Function:
            program = derivation.backward(self.program, names)
            if form == "gather":
                program = gathering.gather(program)
            ignored = [n for n in self.inputs if n not in program.inputs]
            expected = derivation.cotangent_shapes(self.program)
            return Function(program, self.options, ignored=ignored, always_dict=True, expected=expected)

        found: Function = self._made(("grad", names, form), make)
        return found

    def _check_wrt(self, names: Sequence[str] | None) -> None:
        for name in names or ():
            if name not in self.inputs:
                values = (f"inputs: {', '.join(self.inputs) or 'none'}",)
                raise DerivationError(Problem("no-gradient", f"'{name}' is no input", values=values))
        if names is not None and not names:
            raise DerivationError(Problem("no-gradient", "wrt names no tensor", way_out="leave it out for all inputs"))

    def vjp(self, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], dict[str, Array]]]:
        """The outputs, and `pullback(dy)`: the gradients of sum(dy * y) by every differentiable input, as a dict.

        With several outputs `dy` is a dict; an output that it leaves out counts as zero. The inputs must not be changed
        before the pullback has run.
        """
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        if initial:
            y, pull = self._started(initial).vjp(**_starting(named, initial))
            return y, lambda dy: {n.removeprefix(_START): g for n, g in pull(dy).items()}
        wrt = tuple(n for n in self._reached if n in named and named[n].dtype.kind in "fc")
        forward, backward = self._parts(wrt)
        results = forward._run({n: named[n] for n in forward.inputs})
        # What the pullback reads again stays as it is, whatever the caller does to the outputs.
        values = {n: results[n].copy() if n in backward.inputs else results[n] for n in self.outputs}

        def pullback(dy: Any) -> dict[str, Array]:
            given = {**named, **results, **self._cotangents(dy, values)}
            found = backward._run({n: given[n] for n in backward.inputs})
            return {n: found[self._gradients[n]] for n in wrt}

        return (values if self._always_dict else values[self.outputs[0]]), pullback

    def value_and_grad(self, wrt: Sequence[str] | str | None = None, **inputs: Any) -> tuple[Any, dict[str, Array]]:
        """The value of a scalar output and its gradients by the inputs that `wrt` names."""
        if len(self.outputs) != 1:
            rule = f"value_and_grad needs one scalar output, here: {', '.join(self.outputs) or 'none'}"
            raise ShapeError(Problem("not-scalar", rule, way_out="choose one: compile(..., outputs=[...])"))
        output = self.outputs[0]
        named = self._named((), inputs)
        chosen = _names(wrt)
        self._check_wrt(chosen)
        if chosen is None:
            chosen = tuple(n for n in self._reached if n in named and named[n].dtype.kind in "fc")
        for name in chosen:
            if name in named and named[name].dtype.kind not in "fc":
                rule = f"'{name}' is {named[name].dtype}: an integer tensor has no gradient"
                raise DerivationError(Problem("integer-gradient", rule, way_out="pass it as floating-point numbers"))
        both: Function = self._made(
            ("both", chosen),
            lambda: Function(derivation.backward(self.program, chosen, values=True), always_dict=True),
        )
        plan = self._at([named[n] for n in self._names]).plan
        if plan.shapes[output] != ():
            rule = f"value_and_grad needs a scalar, {output} has shape {plan.shapes[output]}"
            raise ShapeError(Problem("not-scalar", rule, way_out="sum it, or use vjp with a cotangent of its shape"))
        given = {**named, self._gradients[output]: np.ones((), plan.dtypes[output])}
        results = both._run({n: given[n] for n in both.inputs})
        return results[output], {n: results[self._gradients[n]] for n in chosen}

    @cached_property
    def _reached(self) -> tuple[str, ...]:
        """The inputs that the outputs depend on differentiably."""
        return derivation.differentiable(self.program)

    @cached_property
    def _gradients(self) -> Mapping[str, str]:
        return derivation.gradient_names(self.program)

    def _parts(self, wrt: tuple[str, ...]) -> tuple[Function, Function]:
        """The forward part with what the backward part needs of it, and the backward part."""

        def make() -> tuple[Function, Function]:
            if not wrt:
                nothing = Program((), (), (), name="nothing")
                return Function(self.program, always_dict=True), Function(nothing, always_dict=True)
            both = derivation.backward(self.program, wrt, values=True)
            forward, backward, kept = split(both, [self._gradients[o] for o in self.outputs])
            exact = [n for n in kept if n not in self.outputs]
            return Function(forward, always_dict=True, exact=exact), Function(backward, always_dict=True)

        found: tuple[Function, Function] = self._made(("parts", wrt), make)
        return found

    def _cotangents(self, dy: Any, values: Mapping[str, Array]) -> dict[str, Array]:
        """`y.grad` for each output, in its shape and type."""
        if not isinstance(dy, Mapping) and len(self.outputs) != 1:
            rule = f"the program has several outputs: pass a dict of cotangents for {', '.join(self.outputs)}"
            raise ShapeError(Problem("cotangent", rule))
        given = dict(dy) if isinstance(dy, Mapping) else {self.outputs[0]: dy}
        known = (f"outputs: {', '.join(self.outputs)}",)
        problems = [Problem("cotangent", f"'{n}' is no output", None, known) for n in given if n not in values]
        found = {}
        for name, value in values.items():
            kind = value.dtype if value.dtype.kind in "fc" else np.dtype(np.float64)
            if name not in given:
                found[self._gradients[name]] = np.zeros(value.shape, kind)
                continue
            cotangent = as_array(f"the cotangent of {name}", given[name])
            sizes = (f"{name} has shape {value.shape}", f"the cotangent has shape {cotangent.shape}")
            if cotangent.shape != value.shape:
                problems.append(Problem("cotangent", f"the cotangent of '{name}' must have its shape", None, sizes))
            elif cotangent.dtype.kind == "c" and kind.kind != "c":
                types = (f"{name} is {value.dtype}", f"the cotangent is {cotangent.dtype}")
                problems.append(Problem("cotangent", f"the cotangent of '{name}' must be real", None, types))
            else:
                found[self._gradients[name]] = cotangent.astype(kind, copy=False)
        if problems:
            raise ShapeError(*problems)
        return found

    # -- what can be looked at -----------------------------------------------------------------

    @property
    def source(self) -> str:
        """The program as statements of the language."""
        return str(self)

    @cached_property
    def _text(self) -> str:
        return to_text(self.program)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<indexlang.Function {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"

    def latex(self) -> str:
        """The statements as LaTeX."""
        return typesetting.to_latex(self.program)

    def _repr_latex_(self) -> str:
        return latex_of(self.program)

    def _repr_html_(self) -> str:
        return html_of(self.program)

    def plan(self, /, **shapes: Any) -> Plan:
        """What would run at these sizes; each input a shape, an array, or (shape, dtype). float32 where unsaid."""
        return self._described(shapes).plan

    def emit(self, target: str = "numpy", /, **shapes: Any) -> str:
        """The stand-alone Python source that runs at these sizes."""
        if target != "numpy":
            raise ValueError(f"the target must be 'numpy', not {target!r}")
        return self._described(shapes).plan.source

    def _described(self, shapes: Mapping[str, Any]) -> Compiled:
        known = (f"inputs: {', '.join(self._names) or 'none'}",)
        problems = [
            Problem("missing-input", f"the shape of '{n}' is missing", None, known, f"pass {n}=(...)")
            for n in self._names
            if n not in shapes
        ]
        problems += [
            Problem("unexpected-input", f"'{n}' is no input", None, known)
            for n in shapes
            if n not in self._names and n not in self._ignored
        ]
        if problems:
            raise ShapeError(*problems)
        positions = indexing(self.program)
        return self._plan({n: _signature(shapes[n], np.int64 if n in positions else np.float32) for n in self._names})


def _signature(given: Any, default: type) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """A shape, (shape, dtype), or an array, as shape and dtype."""
    if hasattr(given, "shape") and hasattr(given, "dtype"):
        return tuple(given.shape), np.dtype(given.dtype)
    if isinstance(given, int | np.integer):
        return (int(given),), np.dtype(default)
    if len(given) == 2 and not isinstance(given[0], int | np.integer):
        return tuple(int(n) for n in given[0]), np.dtype(given[1])
    return tuple(int(n) for n in given), np.dtype(default)


def _names(wrt: Sequence[str] | str | None) -> tuple[str, ...] | None:
    return (wrt,) if isinstance(wrt, str) else None if wrt is None else tuple(wrt)


def _optional(program: Program) -> tuple[str, ...]:
    """The tensors whose first statement accumulates, so that a caller may say from where; no temporaries of a layer."""
    first: dict[str, str] = {}
    for stmt in program.statements:
        first.setdefault(stmt.target.tensor, stmt.op)
    candidates = (n for n, op in first.items() if op != "=" and primal_of(n) is None)
    return tuple(n for n in candidates if program.name is None or n in program.outputs)


def _starting(named: Mapping[str, Array], initial: Sequence[str]) -> dict[str, Array]:
    return {_START + n if n in initial else n: a for n, a in named.items()}


def started(program: Program, names: Sequence[str]) -> Program:
    """The program in which accumulations into `names` start from further inputs: `y` from `start.y`."""
    statements = []
    pending = set(names)
    for stmt in program.statements:
        name = stmt.target.tensor
        if name in pending:
            pending.discard(name)
            axes = plain(stmt.target.subscripts)
            statements.append(statement(Access(name, axes), "=", Access(_START + name, axes), span=stmt.span))
        statements.append(stmt)
    inputs = (*program.inputs, *(_START + n for n in names))
    return Program(inputs, program.outputs, tuple(statements), program.shapes, program.dims, program.name or "started")


def indexing(program: Program) -> frozenset[str]:
    """The tensors that are read inside of subscripts: index tensors."""
    found = set()
    for stmt in program.statements:
        for part in parts_of(stmt):
            if isinstance(part, Access):
                for sub in part.subscripts:
                    found |= {p.tensor for p in walk(sub) if isinstance(p, Access)}
    return frozenset(found)
