"""The callable: what can be asked of a program, calls, derivatives, and what it looks like.

In: a Program; at each call, arrays. Out: arrays. The one rule: what depends on sizes and dtypes is done once for each
set of them, and a call with the shapes and types of the last one goes the same way (`ways`) without looking anything
up. Functions are safe to call from several threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal

import numpy as np

from ..backends.engines import BACKENDS, TARGETS, needs, present
from ..backends.numpy.rooms import ROOMS
from ..derive import examples
from ..derive import grad as derivation
from ..errors import DerivationError, MeaningError, Problem
from ..plan.derived import fitted
from ..plan.plan import Plan
from ..program import latex as typesetting
from ..program.blocks import has_blocks
from ..program.ir import Program
from ..program.notebook import html_of, latex_of
from ..program.text import to_text
from ..properties import cached_property, public
from ..rewrite import gather as gathering
from ..rewrite.phases import split
from ..rewrite.starting import START, starting
from ..staged.recomputing import Parts, checkpointed
from ..version import __version__
from . import arguments
from .arguments import Form, Signature, direct, forms_of, is_mapping, plainly
from .arrays import Array, as_buffers
from .keeping import keep
from .ordering import in_order
from .pullback import Pulling, integer
from .transformed import Transformed, indices_of, seed_of
from .ways import Way, of_call, of_value, of_vjp, refused


class Function(Transformed):
    """A compiled program: what `compile` and `load` give. Call it with arrays by name, or by position as in `inputs`.

    `inputs`, `outputs` and `options` are what it takes and gives, `backend` is what runs it. `optional` are the tensors
    that the program accumulates into without defining them: passed by name, or by position after the others, they are
    where the accumulation starts; the caller's array is not changed.
    """

    _quick: Way = staticmethod(refused)  # the way of a call with the shapes and types of the last one
    _quick_vjp: Way = staticmethod(refused)

    # -- calls ---------------------------------------------------------------------------------

    def __call__(self, /, *args: Any, out: Mapping[str, Array] | Array | None = None, **kwargs: Any) -> Any:
        """Run the program on arrays, by name, by position, or in one mapping, where tensors may have any name.

        They are whatever NumPy can view; none is written to. One output gives the array, several a dict by name (of a
        derived program always). `out` is where results go: an array, or a dict of some of the outputs.
        Errors: `ShapeError` for arrays that are missing or do not fit.
        """
        if out is None:
            found = self._quick(args, kwargs)
            if found is not NotImplemented:
                return found
            arrays = direct(args, kwargs, self._names)
            compiled = None if arrays is None else self._compiled.get(key := forms_of(arrays))
            if arrays is not None and compiled is not None:
                self._quick = of_call(compiled, self._names, key, self.outputs, self._always_dict)
                results = compiled.run(*arrays)
                return dict(zip(self.outputs, results, strict=True)) if self._always_dict else results[0]
        return self._call_slowly(args, kwargs, out)

    def _call_slowly(self, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> Any:
        if out is not None and "out" in self._names and not is_mapping(args):
            kwargs, out = {**kwargs, "out": out}, None
        named = self._named(args, kwargs)
        initial = tuple(name for name in self.optional if name in named)
        if initial:
            return self._started(initial)(starting(named, initial), out=out)
        arrays = [named[name] for name in self._names]
        with in_order(args, key := forms_of(arrays), self.program):
            compiled = self._at(key)
        buffers = {}
        if out is not None:
            buffers = as_buffers(out, self.outputs, compiled.plan.shapes, compiled.plan.dtypes, named)
        results = dict(zip(self.outputs, compiled.run(*arrays), strict=True))
        for name, buffer in buffers.items():
            np.copyto(buffer, results[name], casting="same_kind")
        results |= buffers
        return results if self._always_dict else results[self.outputs[0]]

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Array]:
        return arguments.by_name(args, kwargs, self._names, self.optional, self._ignored)

    # -- derivatives ---------------------------------------------------------------------------

    def grad(
        self,
        wrt: Sequence[str] | str | None = None,
        form: Literal["scatter", "gather"] = "scatter",
        *,
        seed: float | None = None,
        keep: Sequence[str] | str = (),
    ) -> Function:
        """The derived program as a Function: inputs, and `y.grad` for each output; outputs `x.grad`, always a dict.

        `wrt` names inputs (all that the outputs depend on differentiably); `form` is "scatter", as derived, or
        "gather", solved for the target. With a `seed` the cotangent of the scalar output is that number, in the text,
        and no input. The indices `keep` stay, in front, in every gradient that would be summed over them: the gradients
        of each example, where examples do not meet. Errors: `DerivationError` for other names, and where there is no
        derivative.
        """
        if not isinstance(form, str) or form not in ("scatter", "gather"):
            rule = f"a form is 'scatter' or 'gather', not {arguments.shortly(form)}"
            raise DerivationError(Problem("form", rule, way_out="write form='gather', or leave it out"))
        names, number, indices = arguments.names_of(wrt, self.inputs), seed_of(seed), indices_of(keep)

        def make() -> Function:
            program = derivation.backward(self.program, names, seed=number)
            for index in reversed(indices):
                program = examples.kept(self.program, program, index)
            if form == "gather":
                program = gathering.gather(program)
            ignored = [n for n in self.inputs if n not in program.inputs]
            expected = {n: axes for n, axes in self._expected.items() if n in program.inputs}
            expected |= derivation.cotangent_shapes(self.program) if seed is None else {}
            return self._like(program, self.options, ignored=ignored, always_dict=True, expected=expected)

        return self._made(("grad", names, form, repr(number), indices), make)

    def vjp(self, /, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], dict[str, Array]]]:
        """The outputs, and `pullback(dy)`: the gradients of sum(dy * y) by every differentiable input, as a dict.

        With several outputs `dy` is a dict; an output that it leaves out counts as zero. Inputs of integers have no
        gradients: they are left out, and where nothing else is left, the pullback refuses. The inputs must not be
        changed before the pullback has run; outputs that it reads again cannot be written to.
        Errors: `ShapeError` for arrays and cotangents, `DerivationError` for what has no derivative.
        """
        found: tuple[Any, Callable[[Any], dict[str, Array]]] = self._quick_vjp(args, kwargs)
        if found is not NotImplemented:
            return found
        arrays = direct(args, kwargs, self._names)
        pulling = None if arrays is None else self._pulls.get(key := forms_of(arrays))
        if arrays is None or pulling is None:
            named = self._named(args, kwargs)
            initial = tuple(name for name in self.optional if name in named)
            if initial:
                y, pull = self._started(initial).vjp(**starting(named, initial))
                return y, lambda dy: {n.removeprefix(START): g for n, g in pull(dy).items()}
            arrays = [named[name] for name in self._names]
            with in_order(args, key := forms_of(arrays), self.program):
                pulling = self._pulling(key)
        elif pulling.settled:
            self._quick_vjp = of_vjp(pulling, key, self._always_dict)
        chosen, results = pulling.run(given := arrays)
        values = chosen.values(results)

        def pullback(dy: Any) -> dict[str, Array]:
            return chosen.backward(given, results, dy)

        return (values if self._always_dict else values[self.outputs[0]]), pullback

    def _pulling(self, key: tuple[Form, ...]) -> Pulling:
        """The two parts at these sizes and types; where they hold for some data only, with others for the rest."""
        found = self._pulls.get(key)
        if found is None:
            forms = dict(zip(self._names, key, strict=True))
            wrt = tuple(n for n in self._reached if forms[n][1].kind in "fc")
            sizes = {n: shape for n, (shape, _) in forms.items()}
            dtypes = {n: dtype.name for n, (_, dtype) in forms.items()}
            both = partial(self._valued, wrt)
            made = fitted(self.program, both, self._gradients, sizes, dtypes, self._limits) if wrt else None
            whole = cache(lambda: self._parted(forms, wrt, *self._parts(wrt)))
            parts = () if made is None else (*self._split(made.program), made.finite, whole if made.finite else None)
            found = self._parted(forms, wrt, *parts) if parts else whole()
            with self._lock.held():
                keep(self._pulls, key, found)
        return found

    def _parted(self, forms: Signature, wrt: tuple[str, ...], first: Function, second: Function, *sure: Any) -> Pulling:
        """The pullback of two parts."""
        if self._checkpoint and has_blocks(first.program):
            first, second = self._chunked(forms, first.program, second.program)
        integers = tuple((n, forms[n][1].name) for n in self._reached if not wrt)
        compiled = first._at(tuple(forms[n] for n in first.inputs))
        parts = (compiled, first.inputs, first.outputs, second._at, second.inputs, second.outputs)
        return Pulling(self._names, self.outputs, *parts, self._gradients, wrt, integers, *sure)

    def value_and_grad(
        self, /, *args: Any, wrt: Sequence[str] | str | None = None, **inputs: Any
    ) -> tuple[Any, dict[str, Array]]:
        """The value of a scalar output, and its gradients as a dict, by the inputs that `wrt` names, else all.

        Inputs as for a call; names in front of them are `wrt`: `f.value_and_grad("W", x=x, W=W)`. Errors:
        `ShapeError` if there is not one output of shape (), `DerivationError` for integers and other names.
        """
        args, inputs, wrt = arguments.wrt_apart(args, inputs, wrt, self._names)
        results: tuple[Any, dict[str, Array]] = self._quick_values.get(asked := plainly(wrt), refused)(args, inputs)
        if results is not NotImplemented:
            return results
        output = self._scalar("value_and_grad")
        named = self._named(args, inputs)
        initial = tuple(name for name in self.optional if name in named)
        chosen = arguments.names_of(wrt, (*self.inputs, *initial))
        if initial:
            chosen = None if chosen is None else tuple(starting(dict.fromkeys(chosen), initial))
            value, grads = self._started(initial).value_and_grad(starting(named, initial), wrt=chosen)
            return value, {n.removeprefix(START): g for n, g in grads.items()}
        chosen = chosen or tuple(n for n in self._reached if n in named and named[n].dtype.kind in "fc")
        for name in chosen:
            if name in named and named[name].dtype.kind not in "fc":
                raise DerivationError(integer(name, named[name].dtype.name))
        both = self._made(("both", chosen), lambda: self._like(self._valued(chosen), always_dict=True))
        with in_order(args, key := forms_of([named[n] for n in self._names]), self.program):
            plan = self._told(key)
        self._check_scalar("value_and_grad", output, plan.shapes[output])
        given = {**named, self._gradients[output]: np.ones((), plan.dtypes[output])}
        arrays = [given[n] for n in both.inputs]
        compiled = both._at(forms_of(arrays))
        found = dict(zip(both.outputs, compiled.run(*arrays), strict=True))
        if asked:  # else what names them may name others the next time
            forms = dict(zip(self._names, key, strict=True))
            how = (compiled, both.inputs, both.outputs, forms, output, self._gradients, chosen)
            self._quick_values[asked] = of_value(*how)
        return found[output], {n: found[self._gradients[n]] for n in chosen}

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
                return self._like(self.program, always_dict=True), self._like(nothing, always_dict=True)
            return self._split(self._valued(wrt))

        return self._made(("parts", wrt), make)

    def _valued(self, wrt: tuple[str, ...]) -> Program:
        """The derived program that gives the outputs, too."""
        return self._made(("valued", wrt), lambda: derivation.backward(self.program, wrt, values=True))

    def _split(self, both: Program) -> tuple[Function, Function]:
        """The part of a derived program that needs no cotangents, and the rest."""
        forward, backward, kept = split(both, [self._gradients[o] for o in self.outputs])
        exact = [n for n in kept if n not in self.outputs]
        return self._like(forward, always_dict=True, exact=exact), self._like(backward, always_dict=True)

    def _chunked(self, forms: Signature, first: Program, second: Program) -> tuple[Function, Function]:
        """The two parts in which the second makes the states of blocks again."""
        sizes = {n: shape for n, (shape, _) in forms.items()}
        cotangents = {self._gradients[o]: o for o in self.outputs}
        parts = checkpointed(Parts(first, second), self._checkpoint, sizes, self.outputs, cotangents)
        exact = [n for n in parts.kept if n not in self.outputs]
        how: dict[str, Any] = {"always_dict": True, "checkpoint": {}}
        return self._like(parts.first, exact=exact, **how), self._like(parts.second, **how)

    # -- what can be looked at -----------------------------------------------------------------

    @property
    def source(self) -> str:
        """The program as statements of the language, as `str(f)`: `compile` makes the same program of it again."""
        return str(self)

    @cached_property
    def _text(self) -> str:
        return to_text(self.program)

    def __str__(self) -> str:
        return self._text

    def __dir__(self) -> list[str]:
        return public(super().__dir__())

    def __repr__(self) -> str:
        return f"<indexlang.Function {', '.join(self.inputs)} -> {', '.join(self.outputs)}>"

    def latex(self) -> str:
        """The statements as LaTeX; a notebook shows them so."""
        return typesetting.to_latex(self.program)

    def _repr_latex_(self) -> str:
        return latex_of(self.program)

    def _repr_html_(self) -> str:
        return html_of(self.program)

    def plan(self, /, *args: Any, **shapes: Any) -> Plan:
        """What would run at these sizes; `print` it. Each input is a shape, an array, or (shape, dtype).

        The type is float32 where unsaid, of positions int64. Errors: `ShapeError` for missing and unfitting shapes.
        """
        with in_order(args, key := self._formed(args, shapes), self.program):
            return self._at(key).plan

    def plans(self, /, *args: Any, **shapes: Any) -> tuple[Plan, Plan]:
        """What `vjp` would run at these sizes, and what its pullback would; inputs and errors as for `plan`.

        `DerivationError` where all inputs are integers, which have no gradients.
        """
        with in_order(args, key := self._formed(args, shapes), self.program):
            return self._pulling(key).plans(dict(zip(self._names, key, strict=True)))

    def emit(
        self, target: Literal["numpy", "llvm", "jax"] = "numpy", /, *args: Any, vjp: Any = False, **shapes: Any
    ) -> str:
        """The source of a module for these sizes, for `target`; inputs and errors as for `plan`.

        "numpy" needs NumPy alone: `run(*inputs)` gives the outputs; with `vjp` `forward(*inputs)` gives those and
        saved, `backward(saved, *cotangents)` the gradients. "llvm" is what the native backend computes, as a module of
        LLVM IR whose comments say what its `run` takes; `MeaningError` where a part of the program is left to NumPy.
        """
        if "vjp" in self._names and vjp is not False and not args:  # a tensor of this name
            shapes, vjp = {**shapes, "vjp": vjp}, False
        if not isinstance(target, str) or target not in TARGETS:
            rule = f"code is emitted for {' or '.join(map(repr, TARGETS))}, not for {arguments.shortly(target)}"
            raise MeaningError(Problem("target", rule, way_out="write emit('numpy', ...), or leave it out"))
        if TARGETS[target] != self.backend:
            other = self._on(present(TARGETS[target], "or write emit('numpy', ...)"))
            return other.emit(target, *args, **{"vjp": vjp, **shapes})
        row = BACKENDS[self.backend]
        key, pulls = self._formed(args, shapes), arguments.switch("vjp", vjp)
        if has_blocks(self.program) and not (row.pulls or row.traces):
            rule, way = f"no module of '{target}' goes through the steps of a block", "the target 'numpy' has one"
            raise MeaningError(Problem("target", rule, way_out=way))
        if pulls and not row.pulls:
            rule, way = f"'{target}' has no module of both runs", "emit f.grad(), or write emit('numpy', ..., vjp=True)"
            raise MeaningError(Problem("target", rule, way_out=way))
        with in_order(args, key, self.program):
            both = self._pulling(key).both(dict(zip(self._names, key, strict=True))) if pulls else None
            return row.emits(both or self._at(key).plan, self._text, __version__)

    def to_jax(self, *, mode: str = "reverse", check: bool = False, precision: str = "highest") -> Any:
        """A function of jax arrays, called as this one; jit, vmap, grad and checkpoint go through it, grad of grad too.

        Its derivative is the derived program (`custom_vjp`), so that `jvp` and `hessian` refuse it: take `f.tangent()`
        and `f.grad()` for these; there is no other `mode` than "reverse" yet. `precision` is that of products:
        "highest", "high" or "default", as of jax's matmul precision. Positions that leave an axis are an error outside
        of jit; inside of it what is read there is nan (0 of integers) and what is written is dropped, unless `check`
        asks for an error when it runs. float16 and bfloat16 are computed in float32. Errors: `MeaningError` where jax
        is not installed; calls: `ShapeError`, also for numbers of 64 bits where jax has none.
        """
        present("jax", "or call the function itself, with NumPy arrays")
        from .on_jax import PRECISIONS, OnJax  # it imports jax

        if mode != "reverse":
            rule = f"a function of jax arrays has the mode 'reverse', not {arguments.shortly(mode)}"
            way = "take f.tangent().to_jax(), whose inputs are the directions, too"
            raise MeaningError(Problem("mode", rule, way_out=way))
        if precision not in PRECISIONS:
            rule = f"a precision is one of {', '.join(PRECISIONS)}, not {arguments.shortly(precision)}"
            raise MeaningError(Problem("precision", rule, way_out="leave it out: products are as exact as their type"))
        looks = arguments.switch("check", check)
        return self._made(("on jax", precision, looks, None), lambda: OnJax(self, precision, looks))

    def to_torch(self) -> Any:
        """A function of CPU tensors, called as this one: autograd, double backward, torch.func, torch.compile, export.

        Its `op` is an operator of torch that runs this Function's kernels where the tensors lie; all derivatives are
        derived programs, operators again. float16 and bfloat16 are computed in float32; under torch.autocast inputs
        are cast as a linear layer's are. Errors: `MeaningError` where torch is not installed, for programs without
        inputs and for `checkpoint`; calls: `ShapeError`, also for tensors that are not on the CPU.
        """
        needs("torch", "f.to_torch()", "or call the function itself, with NumPy arrays")
        from .on_torch import like  # it imports torch

        if not self.inputs or self._checkpoint:
            what = "keeps states of blocks by checkpoint" if self.inputs else "takes no tensors"
            rule, way = f"a program that {what} is no operator of torch", "call the function itself, with NumPy arrays"
            if self.inputs:
                way = "leave checkpoint out, and let torch.utils.checkpoint call the function"
            raise MeaningError(Problem("target", rule, way_out=way))
        return like(self)

    def _formed(self, args: Sequence[Any], shapes: Mapping[str, Any]) -> tuple[Form, ...]:
        found = arguments.forms(args, shapes, self.program, self._ignored, self._expected)
        return tuple(map(found.__getitem__, self._names))

    @staticmethod
    def release() -> None:
        """Let go of the memory that calls of all Functions have left for the next ones."""
        ROOMS.clear()
