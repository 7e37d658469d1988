"""A Function as a function of jax arrays, with derivatives of its own.

In: a Function. Out: what jax can trace. The one rule: jax differentiates none of it: the derivative is the derived
program, cut into what needs no cotangents and the rest, each wrapped in the same way again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from ..backends.jax.load import PRECISIONS, loaded, precise, telling
from ..backends.jax.program import Lowered
from ..errors import MeaningError, Problem, ShapeError
from ..program.affine import Affine
from ..program.ir import Program
from ..rewrite.starting import starting
from ..sizes.dtypes import DTYPES, kind_of
from ..staged.traced import lowering
from . import arguments
from .arrays import as_array
from .keeping import keep

__all__ = ["PRECISIONS", "OnJax"]

Form = tuple[tuple[int, ...], str]
Outputs = tuple[Any, ...]
HALVES = ("float16", "bfloat16")


class Function(Protocol):
    """What is asked of a `calls.function.Function`."""

    program: Program
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    optional: tuple[str, ...]
    _ignored: frozenset[str]
    _exact: frozenset[str]
    _always_dict: bool
    _expected: Mapping[str, Mapping[int, Affine]]

    @property
    def _reached(self) -> tuple[str, ...]: ...

    @property
    def _gradients(self) -> Mapping[str, str]: ...

    def _started(self, initial: tuple[str, ...]) -> Function: ...

    def _parts(self, wrt: tuple[str, ...]) -> tuple[Function, Function]: ...

    def _made(self, key: object, make: Callable[[], Any]) -> Any: ...


class OnJax:
    """What `Function.to_jax` gives: call it as the Function, with jax arrays."""

    def __init__(self, function: Function, precision: str, check: bool, half: str | None = None) -> None:
        self.function, self.precision, self.check, self.half = function, precision, check, half
        self._cores: dict[tuple[Form, ...], Callable[..., Outputs]] = {}

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """The outputs, of arrays by position, by name, or in one mapping: an array, or a dict of several.

        Errors: `ShapeError` for arrays that are missing or do not fit, before anything runs.
        """
        f = self.function
        named = arguments.by_name(args, kwargs, f.inputs, f.optional, f._ignored, _array)
        initial = tuple(name for name in f.optional if name in named)
        if initial:
            return self._like(f._started(initial))(starting(named, initial))
        precise(named)
        results = dict(zip(f.outputs, self.of([named[n] for n in f.inputs]), strict=True))
        return results if f._always_dict else results[f.outputs[0]]

    def __repr__(self) -> str:
        f = self.function
        return f"<indexlang function of jax arrays, {', '.join(f.inputs)} -> {', '.join(f.outputs)}>"

    def of(self, arrays: Sequence[Any]) -> Outputs:
        """The outputs in their order, of all inputs in theirs."""
        arrays = [jnp.asarray(a) for a in arrays]
        key = tuple((tuple(a.shape), str(a.dtype)) for a in arrays)
        core = self._cores.get(key)
        if core is None:
            core = self._core(key)
            keep(self._cores, key, core)
        return core(*arrays)

    # -- what jax sees -------------------------------------------------------------------------

    def _core(self, key: tuple[Form, ...]) -> Callable[..., Outputs]:
        """The outputs of arrays of these shapes and types, with their derivative."""
        f, half = self.function, self._half(key)
        found = self._lowered(key, half)
        run, tell = loaded(found.text, found.support, self.precision), telling(found)
        wrt = tuple(n for n in f._reached if kind_of(_known(dict(zip(f.inputs, key, strict=True))[n][1])) in _SMOOTH)

        def outputs(*arrays: Any) -> Outputs:
            results, checks = run(*arrays)
            if checks:
                self._look(tell, checks)
            if found.orders is not None:
                self._orders(found.orders, results[len(found.outputs) :])
            return tuple(results[: len(found.outputs)])

        def forward(*arrays: Any) -> tuple[Outputs, Any]:
            if not wrt:
                return outputs(*arrays), (arrays, ())
            first, _ = self._pair(wrt, half)
            gives = first.of(_chosen(first.function.inputs, dict(zip(f.inputs, arrays, strict=True))))
            there = dict(zip(first.function.outputs, gives, strict=True))
            return tuple(there[n] for n in f.outputs), (arrays, gives)

        def backward(kept: Any, cotangents: Outputs) -> tuple[Any, ...]:
            arrays, gives = kept
            grads: Mapping[str, Any] = {}
            by_input = {n: f._gradients[n] for n in wrt}
            if wrt:
                first, second = self._pair(wrt, half)
                there = dict(zip(f.inputs, arrays, strict=True))
                there |= dict(zip(first.function.outputs, gives, strict=True))
                for name, cotangent in zip(f.outputs, cotangents, strict=True):
                    if cotangent.dtype == jax.dtypes.float0:
                        cotangent = jnp.zeros(cotangent.shape, jnp.float32)
                    there[f._gradients[name]] = cotangent
                made = second.of(_chosen(second.function.inputs, there))
                grads = dict(zip(second.function.outputs, made, strict=True))
            return tuple(_cotangent(a, grads.get(by_input.get(n, ""))) for n, a in zip(f.inputs, arrays, strict=True))

        core = jax.custom_vjp(outputs)
        core.defvjp(forward, backward)
        made: Callable[..., Outputs] = core
        return made

    def _look(self, tell: Callable[..., Any], checks: Sequence[tuple[Any, Any]]) -> None:
        """Refuse positions that left their axes where they are known; in what is traced, if that is asked for."""
        traced = any(isinstance(bad, jax.core.Tracer) for bad, _ in checks)
        if not traced:
            tell(checks)
        elif self.check:
            jax.debug.callback(tell, checks)

    def _orders(self, orders: Callable[..., None], decided: Sequence[Any]) -> None:
        """Refuse steps that read too early, where data tell. Errors: `MeaningError` where jax traces."""
        if not any(isinstance(a, jax.core.Tracer) for a in decided):
            orders(*map(np.asarray, decided))
        elif self.check:
            jax.debug.callback(orders, *decided)
        else:
            rule = "data tell here whether what a step reads is made by then, and compiled code does not look at that"
            way = "call it outside of jit, or ask for to_jax(check=True)"
            raise MeaningError(Problem("target", rule, way_out=way))

    def _pair(self, wrt: tuple[str, ...], half: str) -> tuple[OnJax, OnJax]:
        """The forward part with what the backward part needs of it, and the backward part."""
        f = self.function
        how = (self.precision, self.check, half)

        def make() -> tuple[OnJax, OnJax]:
            first, second = f._parts(wrt)
            return OnJax(first, *how), OnJax(second, *how)

        found: tuple[OnJax, OnJax] = f._made(("on jax", wrt, *how), make)
        return found

    def _like(self, function: Function) -> OnJax:
        how = (self.precision, self.check, self.half)
        found: OnJax = function._made(("on jax", *how), lambda: OnJax(function, *how))
        return found

    # -- its code ------------------------------------------------------------------------------

    def _half(self, key: Sequence[Form]) -> str:
        """What has 16 bits here. Errors: `ShapeError` where both kinds meet."""
        found = {dtype for _, dtype in key if dtype in HALVES}
        if len(found) > 1:
            rule = "float16 and bfloat16 have no common type of 16 bits"
            raise ShapeError(Problem("dtype", rule, way_out="convert one of them"))
        return self.half or next(iter(found), "float16")

    def _lowered(self, key: Sequence[Form], half: str) -> Lowered:
        f = self.function
        sizes = {n: shape for n, (shape, _) in zip(f.inputs, key, strict=True)}
        dtypes = {n: _known(dtype) for n, (_, dtype) in zip(f.inputs, key, strict=True)}
        arguments.check_cotangents(f._expected, sizes)
        return lowering(f.program, sizes, dtypes, f._exact, half)


_SMOOTH = ("float", "complex")


def _known(dtype: str) -> str:
    """The language's name of a type: bfloat16 is another float16."""
    return "float16" if dtype == "bfloat16" else dtype


def _array(name: str, value: Any) -> Any:
    """What a caller passes, as an array that jax takes. Errors: `ShapeError`."""
    if isinstance(value, jax.Array):
        if _known(str(value.dtype)) not in DTYPES:
            rule = f"'{name}' has dtype {value.dtype}: arrays hold numbers that the language has"
            raise ShapeError(Problem("dtype", rule, way_out="convert it to float32"))
        return value
    if isinstance(value, np.ndarray) and str(value.dtype) == "bfloat16":
        return value
    if isinstance(value, np.ndarray | np.generic):
        return as_array(name, value)
    found = as_array(name, value)
    return jnp.asarray(found) if isinstance(value, bool | int | float | complex | list | tuple) else found


def _chosen(names: Sequence[str], there: Mapping[str, Any]) -> list[Any]:
    return [there[n] for n in names]


def _cotangent(array: Any, found: Any) -> Any:
    """The cotangent of an input: in its type; of integers there is none."""
    if not jnp.issubdtype(array.dtype, jnp.inexact):
        return np.zeros(array.shape, jax.dtypes.float0)
    return jnp.zeros(array.shape, array.dtype) if found is None else found.astype(array.dtype)
