"""The callable: a Program with its two caches, by text and by sizes, and what can be asked of it.

What depends on the text alone is done in `compile`; what depends on sizes and dtypes once for each set
of them; a call looks up the code and runs it. Functions are safe to call from several threads.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import gather as gathering
from . import grad as derivation
from . import latex as typesetting
from .backends.numpy.load import Compiled, compile_program
from .errors import DerivationError, IndexLangWarning, Problem, ShapeError, Source, render
from .ir import Access, Dots, Program, parts_of, primal_of, statement, walk
from .parser import parse, read
from .plan import Plan
from .resolve import layer_names, resolve
from .split import split
from .text import to_text

Array = NDArray[Any]
Key = tuple[tuple[tuple[int, ...], "np.dtype[Any]"], ...]

BACKENDS = ("auto", "numpy")


class Function:
    """A compiled program. Call it with arrays by name, or by position in the order of `inputs`.

    One output gives the array, several a dict by name (a derived program: always a dict). `optional`
    are the tensors that the program accumulates into without defining them: passed by name, they are
    where the accumulation starts; the caller's array is not changed.
    """

    def __init__(
        self,
        program: Program,
        options: Mapping[str, Any] | None = None,
        *,
        ignored: Sequence[str] = (),
        always_dict: bool = False,
    ) -> None:
        self.program = program
        self.options = dict(options or {})
        self.inputs = program.inputs
        self.outputs = program.outputs
        self.optional = _optional(program)
        self._ignored = frozenset(ignored)
        self._always_dict = always_dict
        self._names = program.inputs
        self._compiled: dict[Any, Compiled] = {}
        self._derived: dict[Any, Any] = {}
        self._lock = threading.RLock()

    # -- calls ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, out: Mapping[str, Array] | Array | None = None, **kwargs: Any) -> Any:
        """Run the program. Errors: `ShapeError` for missing, unexpected or unfitting arrays."""
        if not args and len(kwargs) == len(self._names) and out is None:
            try:
                arrays = [kwargs[name] for name in self._names]
            except KeyError:
                return self._call_slowly(args, kwargs, out)
        elif not kwargs and len(args) == len(self._names) and out is None:
            arrays = list(args)
        else:
            return self._call_slowly(args, kwargs, out)
        try:
            compiled = self._compiled[tuple([(a.shape, a.dtype) for a in arrays])]
        except (KeyError, AttributeError, TypeError):
            return self._call_slowly(args, kwargs, out)
        if not all([type(a) is np.ndarray for a in arrays]):
            return self._call_slowly(args, kwargs, out)
        results = compiled.run(*arrays)
        if self._always_dict or len(results) != 1:
            return dict(zip(self.outputs, results, strict=True))
        return results[0]

    def _call_slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        named = self._named(args, kwargs)
        initial = [name for name in self.optional if name in named]
        if initial:
            started = self._started(tuple(initial))
            return started(out=out, **{_START + n if n in initial else n: a for n, a in named.items()})
        arrays = [named[name] for name in self._names]
        compiled = self._at(arrays)
        buffers = self._buffers(out, compiled, arrays)
        results = compiled.run(*arrays)
        for name, buffer in buffers.items():
            np.copyto(buffer, results[self.outputs.index(name)], casting="same_kind")
        results = tuple(buffers.get(n, r) for n, r in zip(self.outputs, results, strict=True))
        if self._always_dict or len(results) != 1:
            return dict(zip(self.outputs, results, strict=True))
        return results[0]

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Array]:
        problems = []
        named: dict[str, Any] = dict(zip(self._names, args, strict=False))
        if len(args) > len(self._names):
            rule = f"{len(args)} arrays were given by position, the inputs are {', '.join(self._names) or 'none'}"
            problems.append(Problem("unexpected-input", rule, way_out="pass the others by name"))
        for name, value in kwargs.items():
            if name in named:
                problems.append(Problem("unexpected-input", f"'{name}' was given twice, by position and by name"))
            elif name not in self._names and name not in self.optional:
                if name in self._ignored:
                    continue
                known = ", ".join((*self._names, *self.optional)) or "none"
                problems.append(Problem("unexpected-input", f"'{name}' is no input", values=(f"inputs: {known}",)))
            named[name] = value
        for name in self._names:
            if name not in named:
                known = ", ".join(self._names)
                problems.append(Problem("missing-input", f"the input '{name}' is missing", values=(f"inputs: {known}",)))
        if problems:
            raise ShapeError(*problems)
        return {name: _array(name, value) for name, value in named.items() if name not in self._ignored or name in self._names}

    def _at(self, arrays: Sequence[Array]) -> Compiled:
        key = tuple((a.shape, a.dtype) for a in arrays)
        found = self._compiled.get(key)
        if found is None:
            with self._lock:
                found = self._compiled.get(key)
                if found is None:
                    found = self._plan(dict(zip(self._names, key, strict=True)))
                    self._compiled[key] = found
        return found

    def _plan(self, signature: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Compiled:
        shapes = {name: shape for name, (shape, _) in signature.items()}
        dtypes = {name: dtype.name for name, (_, dtype) in signature.items()}
        compiled = compile_program(self.program, shapes, dtypes)
        for problem in compiled.warnings:
            warnings.warn(render(problem, "warning"), IndexLangWarning, stacklevel=5)
        return compiled

    def _buffers(self, out: Any, compiled: Compiled, arrays: Sequence[Array]) -> dict[str, Array]:
        if out is None:
            return {}
        given = dict(out) if isinstance(out, Mapping) else {self.outputs[0]: out}
        for name, buffer in given.items():
            if name not in self.outputs:
                raise ShapeError(Problem("out", f"'{name}' is no output", values=(f"outputs: {', '.join(self.outputs)}",)))
            shape, dtype = compiled.plan.shapes[name], np.dtype(compiled.plan.dtypes[name])
            if not isinstance(buffer, np.ndarray):
                raise ShapeError(Problem("out", f"out['{name}'] must be a NumPy array, not {type(buffer).__name__}"))
            if buffer.shape != shape:
                values = (f"{name} has shape {shape}", f"the buffer has shape {buffer.shape}")
                raise ShapeError(Problem("out", f"the buffer for '{name}' has another shape", values=values))
            if not np.can_cast(dtype, buffer.dtype, "same_kind"):
                values = (f"{name} is {dtype}", f"the buffer is {buffer.dtype}")
                raise ShapeError(Problem("out", f"the buffer for '{name}' cannot hold its values", values=values))
            if not buffer.flags.writeable:
                raise ShapeError(Problem("out", f"the buffer for '{name}' is read-only"))
            others = [*zip(self._names, arrays, strict=True), *((f"out {n}", b) for n, b in given.items() if n != name)]
            for other, array in others:
                if np.may_share_memory(buffer, array) and np.shares_memory(buffer, array, max_work=1000):
                    rule = f"the buffer for '{name}' shares memory with '{other}'"
                    raise ShapeError(Problem("out", rule, way_out="pass memory of its own"))
        return given

    def _started(self, initial: tuple[str, ...]) -> Function:
        """The program whose accumulations into `initial` start from tensors that the caller passes."""
        with self._lock:
            if initial not in self._derived:
                self._derived[initial] = Function(
                    started(self.program, initial), self.options, ignored=self._ignored, always_dict=self._always_dict
                )
            found: Function = self._derived[initial]
            return found

    # -- derivatives ---------------------------------------------------------------------------

    def grad(self, wrt: Sequence[str] | str | None = None, form: str = "scatter") -> Function:
        """The derived program as a Function: inputs, and `y.grad` for each output; outputs `x.grad`, always a dict.

        `wrt` names inputs (all that the outputs depend on differentiably); `form` is "scatter" or "gather".
        """
        if form not in ("scatter", "gather"):
            raise ValueError(f"form must be 'scatter' or 'gather', not {form!r}")
        names = (wrt,) if isinstance(wrt, str) else None if wrt is None else tuple(wrt)
        key = ("grad", names, form)
        with self._lock:
            if key not in self._derived:
                program = derivation.backward(self.program, names)
                if form == "gather":
                    program = gathering.gather(program)
                ignored = [n for n in self.inputs if n not in program.inputs]
                self._derived[key] = Function(program, self.options, ignored=ignored, always_dict=True)
            found: Function = self._derived[key]
            return found

    def vjp(self, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], dict[str, Array]]]:
        """The outputs, and `pullback(dy)`: the gradients of sum(dy * y) by every differentiable input, as a dict.

        With several outputs `dy` is a dict; an output that it leaves out counts as zero.
        """
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        if initial:
            inner = self._started(initial)
            y, pull = inner.vjp(**{_START + n if n in initial else n: a for n, a in named.items()})
            return y, lambda dy: {n.removeprefix(_START): g for n, g in pull(dy).items()}
        wrt = self._differentiable(named)
        forward, backward, gradients = self._parts(wrt)
        results = dict(zip(forward.outputs, forward._run({n: named[n] for n in forward.inputs}), strict=True))
        values = {name: results[name] for name in self.outputs}

        def pullback(dy: Any) -> dict[str, Array]:
            given = {**named, **results, **self._cotangents(dy, values)}
            found = dict(zip(backward.outputs, backward._run({n: given[n] for n in backward.inputs}), strict=True))
            return {n: found[gradients[n]] for n in wrt}

        y = values if len(values) != 1 or self._always_dict else next(iter(values.values()))
        return y, pullback

    def _run(self, named: Mapping[str, Array]) -> tuple[Array, ...]:
        arrays = [named[name] for name in self._names]
        return self._at(arrays).run(*arrays)

    def _differentiable(self, named: Mapping[str, Array]) -> tuple[str, ...]:
        """The inputs that have a gradient here: floating-point or complex, and reached by the derivation."""
        reached = derivation.differentiable(self.program)
        return tuple(n for n in self.inputs if n in reached and named[n].dtype.kind in "fc")

    def _both(self, wrt: tuple[str, ...]) -> Function:
        """Values and gradients in one program."""
        key = ("both", wrt)
        with self._lock:
            if key not in self._derived:
                program = derivation.backward(self.program, wrt, values=True)
                self._derived[key] = Function(program, self.options, always_dict=True)
            found: Function = self._derived[key]
            return found

    def _parts(self, wrt: tuple[str, ...]) -> tuple[Function, Function, Mapping[str, str]]:
        """The forward part with what the backward part needs of it, the backward part, the gradients' names."""
        key = ("parts", wrt)
        with self._lock:
            if key not in self._derived:
                both = derivation.backward(self.program, wrt, values=True)
                names = derivation.gradient_names(self.program)
                forward, backward, _ = split(both, [names[o] for o in self.outputs])
                self._derived[key] = (
                    Function(forward, self.options, always_dict=True),
                    Function(backward, self.options, always_dict=True),
                    names,
                )
            found: tuple[Function, Function, Mapping[str, str]] = self._derived[key]
            return found

    def _cotangents(self, dy: Any, values: Mapping[str, Array]) -> dict[str, Array]:
        """`y.grad` for each output, in its shape and type."""
        given = dict(dy) if isinstance(dy, Mapping) else {self.outputs[0]: dy}
        if not isinstance(dy, Mapping) and len(self.outputs) != 1:
            rule = f"the program has several outputs: pass a dict of cotangents for {', '.join(self.outputs)}"
            raise ShapeError(Problem("cotangent", rule))
        names = derivation.gradient_names(self.program)
        found = {}
        for name in given:
            if name not in values:
                raise ShapeError(Problem("cotangent", f"'{name}' is no output", values=(f"outputs: {', '.join(self.outputs)}",)))
        for name, value in values.items():
            cotangent = np.asarray(given[name]) if name in given else np.zeros_like(value)
            if cotangent.shape != value.shape:
                sizes = (f"{name} has shape {value.shape}", f"the cotangent has shape {cotangent.shape}")
                raise ShapeError(Problem("cotangent", f"the cotangent of '{name}' must have its shape", values=sizes))
            kind = value.dtype if value.dtype.kind in "fc" else np.dtype(np.float64)
            found[names[name]] = cotangent if cotangent.dtype == kind else cotangent.astype(kind)
        return found

    def value_and_grad(self, wrt: Sequence[str] | str | None = None, **inputs: Any) -> tuple[Any, dict[str, Array]]:
        """The value of a scalar output and its gradients by the inputs that `wrt` names."""
        if len(self.outputs) != 1:
            raise ShapeError(Problem("not-scalar", f"value_and_grad needs one scalar output, here: {', '.join(self.outputs)}"))
        named = self._named((), inputs)
        chosen = (wrt,) if isinstance(wrt, str) else self._differentiable(named) if wrt is None else tuple(wrt)
        for name in chosen:
            if name in named and named[name].dtype.kind not in "fc":
                rule = f"'{name}' is {named[name].dtype}: an integer tensor has no gradient"
                raise DerivationError(Problem("integer-gradient", rule, way_out="pass it as floating-point numbers"))
        both = self._both(chosen)
        output = self.outputs[0]
        values = self._at([named[n] for n in self._names]).plan
        if values.shapes[output] != ():
            rule = f"value_and_grad needs a scalar, {output} has shape {values.shapes[output]}"
            raise ShapeError(Problem("not-scalar", rule, way_out="sum it, or use vjp with a cotangent of its shape"))
        names = derivation.gradient_names(self.program)
        given = {**named, names[output]: np.ones((), values.dtypes[output])}
        results = both(**{n: given[n] for n in both.inputs})
        return results[output], {n: results[names[n]] for n in chosen}

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
        return f"$$\n{self.latex()}\n$$"

    def plan(self, **shapes: Any) -> Plan:
        """What would run at these sizes; each input a shape, an array, or (shape, dtype). float32 where unsaid."""
        return self._described(shapes).plan

    def emit(self, target: str = "numpy", **shapes: Any) -> str:
        """The stand-alone Python source that runs at these sizes."""
        if target != "numpy":
            raise ValueError(f"the target must be 'numpy', not {target!r}")
        return self._described(shapes).plan.source

    def _described(self, shapes: Mapping[str, Any]) -> Compiled:
        signature = {}
        for name in self._names:
            if name not in shapes:
                raise ShapeError(Problem("missing-input", f"the shape of '{name}' is missing", way_out=f"pass {name}=(...)"))
            given = shapes[name]
            if isinstance(given, np.ndarray):
                signature[name] = (given.shape, given.dtype)
            elif len(given) == 2 and not isinstance(given[0], int):
                signature[name] = (tuple(given[0]), np.dtype(given[1]))
            else:
                kind = np.int64 if name in indexing(self.program) else np.float32
                signature[name] = (tuple(given), np.dtype(kind))
        return self._plan(signature)


_START = "start."  # the name under which a started program takes the array that an accumulation starts from


def _optional(program: Program) -> tuple[str, ...]:
    """The tensors whose first statement accumulates, so that a caller may say from where; no temporaries of a layer."""
    first: dict[str, str] = {}
    for stmt in program.statements:
        first.setdefault(stmt.target.tensor, stmt.op)
    candidates = (n for n, op in first.items() if op != "=" and primal_of(n) is None)
    return tuple(n for n in candidates if program.name is None or n in program.outputs)


def started(program: Program, names: Sequence[str]) -> Program:
    """The program in which accumulations into `names` start from further inputs: `y` from `start.y`."""
    statements = []
    pending = set(names)
    for stmt in program.statements:
        name = stmt.target.tensor
        if name in pending:
            pending.discard(name)
            dots = (Dots(),)
            statements.append(statement(Access(name, dots), "=", Access(_START + name, dots), span=stmt.span))
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


def _array(name: str, value: Any) -> Array:
    """The value as an array of this machine's byte order, without a copy where NumPy can view it."""
    if type(value) is not np.ndarray:
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray | np.generic):
            try:
                value = np.from_dlpack(value)
            except (BufferError, RuntimeError, TypeError, ValueError):
                value = np.asarray(value)
        else:
            try:
                value = np.asarray(value)
            except ValueError as error:
                raise ShapeError(Problem("dtype", f"'{name}' is no array: {error}")) from None
    array: Array = value
    if array.dtype.kind not in "biufc":
        rule = f"'{name}' has dtype {array.dtype}: arrays hold numbers"
        raise ShapeError(Problem("dtype", rule, way_out="convert it to floating-point, integer, bool or complex numbers"))
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def compile(  # noqa: A001 (the name that the contract gives it)
    text: str | os.PathLike[str],
    *,
    layer: str | None = None,
    backend: str = "auto",
    outputs: Sequence[str] | None = None,
    **options: Any,
) -> Function:
    """A text, or the path of a .idx file, as a Function; `layer` chooses a layer of it, options go by keyword.

    Errors: `LanguageSyntaxError` and `MeaningError` with all that is wrong in the text.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    source, folder = _source(text)
    program = resolve(parse(source), layer=layer, options=options, outputs=outputs, folder=folder)
    return Function(program, options)


def _source(text: str | os.PathLike[str]) -> tuple[Source, Path | None]:
    if isinstance(text, os.PathLike) or (text.endswith(".idx") and "\n" not in text and "=" not in text):
        path = Path(text)
        return read(path), path.parent
    return Source(text), None


class Layers:
    """The layers of a file as attributes: `layers.conv2d`, or `layers["conv2d"]`; options by `layers.conv2d.with_`."""

    def __init__(self, source: Source, folder: Path | None) -> None:
        self._file, self._folder = parse(source), folder
        self._names = tuple(layer_names(self._file))
        self._functions: dict[str, Function] = {}

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._names]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Function:
        if name not in self._names:
            raise KeyError(f"no layer '{name}'; the file has {', '.join(self._names) or 'none'}")
        if name not in self._functions:
            self._functions[name] = Function(resolve(self._file, layer=name, folder=self._folder))
        return self._functions[name]

    def __getattr__(self, name: str) -> Function:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None


def load(path: str | os.PathLike[str]) -> Layers:
    """Every layer of a .idx file, with its options at their defaults."""
    return Layers(*_source(Path(path)))
