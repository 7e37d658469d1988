"""How each library runs a function, as those who know it would: builders of `Prepared` calls.

In: a text of index equations, or a function of a library's namespace and its arrays. Out: a `Build`. The one rule: a
library is imported where it runs, never here, so that one process holds one library.

A function `f(xp, *inputs)` gets `numpy`, `autograd.numpy`, `jax.numpy` or `torch` as its first argument.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .workload import DY, Array, Arrays, Build, Prepared

Function = Callable[..., Any]


def inputs_of(arrays: Arrays) -> dict[str, Array]:
    """The arrays without the output's gradient."""
    return {name: array for name, array in arrays.items() if name != DY}


def named(arrays: Arrays, y: Any, gradients: Sequence[Any]) -> dict[str, Any]:
    """Results by name: gradients come in the order of the floating-point inputs."""
    floats = [name for name, array in inputs_of(arrays).items() if array.dtype.kind == "f"]
    return {"y": y, **{f"{name}.grad": g for name, g in zip(floats, gradients, strict=True)}}


# -- indexlang -----------------------------------------------------------------------------------------------


def equations(text: str, output: str = "y", layer: str | None = None, **options: Any) -> Build:
    """Index equations, or a layer of the standard library: `equations("conv.idx", layer="conv2d")`."""

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        import indexlang

        source = _library(text) if text.endswith(".idx") else text
        f = indexlang.compile(source, layer=layer, outputs=[output], **options)
        given = inputs_of(arrays)
        if not gradients:
            return Prepared(lambda: f(**given), lambda y: {"y": y})
        dy = arrays[DY]

        def step() -> Any:
            y, pullback = f.vjp(**given)
            return y, pullback(dy)

        floats = [name for name, array in given.items() if array.dtype.kind == "f"]

        def results(r: Any) -> Arrays:  # what only comparisons and positions read has no gradient
            return named(arrays, r[0], [r[1].get(n, np.zeros_like(given[n])) for n in floats])

        return Prepared(step, results)

    return build


def _library(name: str) -> Any:
    from importlib.resources import files

    return files("indexlang") / "library" / name


# -- NumPy ---------------------------------------------------------------------------------------------------


def by_hand(make: Function) -> Build:
    """NumPy as an expert writes it: `make(*inputs)` sees the shapes and may keep workspaces.

    What it makes has `forward(*inputs)` and `backward(dy)`.
    """

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        given, dy = tuple(inputs_of(arrays).values()), arrays[DY]
        made = make(*given)
        if not gradients:
            return Prepared(lambda: made.forward(*given), lambda y: {"y": y})
        run = lambda: (made.forward(*given), made.backward(dy))  # noqa: E731
        return Prepared(run, lambda r: named(arrays, r[0], r[1]))

    return build


def in_numpy(forward: Function, backward: Function) -> Build:
    """NumPy where nothing is worth keeping: `forward(*inputs)` and `backward(dy, y, *inputs)`."""

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        given, dy = tuple(inputs_of(arrays).values()), arrays[DY]
        if not gradients:
            return Prepared(lambda: forward(*given), lambda y: {"y": y})

        def step() -> Any:
            y = forward(*given)
            return y, backward(dy, y, *given)

        return Prepared(step, lambda r: named(arrays, r[0], r[1]))

    return build


def _adjoints(spec: str) -> list[tuple[str, list[int]]]:
    """For each operand of an einsum the spec of its gradient, and which other operands it reads."""
    left, out = spec.split("->")
    operands = left.split(",")
    found = []
    for k, operand in enumerate(operands):
        others = [j for j in range(len(operands)) if j != k]
        found.append((",".join([out, *(operands[j] for j in others)]) + f"->{operand}", others))
    return found


def einsum(spec: str) -> Build:
    """`np.einsum(optimize=True)`, as most people write it, one for each gradient."""
    adjoints = _adjoints(spec)

    def backward(dy: Array, _y: Array, *given: Array) -> list[Array]:
        return [np.einsum(s, dy, *(given[j] for j in others), optimize=True) for s, others in adjoints]

    return in_numpy(lambda *given: np.einsum(spec, *given, optimize=True), backward)


def expressions(spec: str) -> Build:
    """opt_einsum with its paths found once."""
    adjoints = _adjoints(spec)

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        import opt_einsum

        given, dy = tuple(inputs_of(arrays).values()), arrays[DY]
        forward = opt_einsum.contract_expression(spec, *(a.shape for a in given))
        if not gradients:
            return Prepared(lambda: forward(*given), lambda y: {"y": y})
        calls = []
        for adjoint, others in adjoints:
            operands = [dy, *(given[j] for j in others)]
            calls.append((opt_einsum.contract_expression(adjoint, *(a.shape for a in operands)), operands))
        run = lambda: (forward(*given), [call(*operands) for call, operands in calls])  # noqa: E731
        return Prepared(run, lambda r: named(arrays, r[0], r[1]))

    return build


# -- HIPS autograd -------------------------------------------------------------------------------------------


def taped(f: Function) -> Build:
    """HIPS autograd."""

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        import autograd.numpy as anp
        from autograd import make_vjp

        given = inputs_of(arrays)
        places = [k for k, a in enumerate(given.values()) if a.dtype.kind == "f"]
        values, dy = list(given.values()), arrays[DY]
        if not gradients:
            return Prepared(lambda: f(anp, *values), lambda y: {"y": y})

        def of_floats(floats: tuple[Any, ...]) -> Any:
            mixed = list(values)
            for k, value in zip(places, floats, strict=True):
                mixed[k] = value
            return f(anp, *mixed)

        derive, floats = make_vjp(of_floats), tuple(values[k] for k in places)

        def step() -> Any:
            pullback, y = derive(floats)
            return y, pullback(dy)

        return Prepared(step, lambda r: named(arrays, r[0], r[1]))

    return build


# -- JAX -----------------------------------------------------------------------------------------------------


def jitted(f: Function) -> Build:
    """JAX, one jitted function for all that a call computes."""

    def build(arrays: Arrays, gradients: bool) -> Prepared:
        import jax

        xp = jax.numpy
        given = inputs_of(arrays)
        values = [xp.asarray(a) for a in given.values()]
        places = [k for k, a in enumerate(given.values()) if a.dtype.kind == "f"]
        if not gradients:
            forward = jax.jit(partial(f, xp))
            return Prepared(lambda: forward(*values).block_until_ready(), lambda y: {"y": np.asarray(y)})
        dy = xp.asarray(arrays[DY])

        def both(dy: Any, *values: Any) -> Any:
            def of_floats(*floats: Any) -> Any:
                mixed = list(values)
                for k, value in zip(places, floats, strict=True):
                    mixed[k] = value
                return f(xp, *mixed)

            y, pullback = jax.vjp(of_floats, *(values[k] for k in places))
            return y, pullback(dy)

        step = jax.jit(both)
        return Prepared(
            lambda: jax.block_until_ready(step(dy, *values)),
            lambda r: {n: np.asarray(a) for n, a in named(arrays, r[0], r[1]).items()},
        )

    return build


# -- PyTorch -------------------------------------------------------------------------------------------------

Layouts = Mapping[str, tuple[int, ...]]  # how the axes of an array are permuted for the library


def eager(f: Function, layouts: Layouts | None = None, compiled: bool = False) -> Build:
    """PyTorch, eager; where axes are permuted, in the faster of the contiguous and the channels_last format."""
    layouts = layouts or {}
    if not layouts:
        return partial(_eager, f, layouts, compiled, False)
    return Fastest(
        (
            ("contiguous", partial(_eager, f, layouts, compiled, False)),
            ("channels_last", partial(_eager, f, layouts, compiled, True)),
        )
    )


def torch_peers(f: Function, layouts: Layouts | None = None) -> dict[str, Build]:
    """PyTorch eager, and compiled for those who ask for it."""
    return {"torch": eager(f, layouts), "torch.compile": eager(f, layouts, compiled=True)}


def tensor(array: Array, order: tuple[int, ...] | None = None, channels_last: bool = False) -> Any:
    """An array as a tensor, its axes in another order and its elements laid out for it."""
    import torch

    found = torch.from_numpy(array)
    if order is None:
        return found
    found = found.permute(order)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if channels_last and found.ndim in formats:
        return found.contiguous(memory_format=formats[found.ndim])
    return found.contiguous()


def array_of(value: Any, order: tuple[int, ...] | None = None) -> Array:
    """A tensor as an array with its axes in the language's order."""
    found: Array = value.detach().numpy()
    return found if order is None else np.ascontiguousarray(found.transpose(np.argsort(order)))


def _eager(
    f: Function, layouts: Layouts, compiled: bool, channels_last: bool, arrays: Arrays, gradients: bool
) -> Prepared:
    import torch

    given = {n: tensor(a, layouts.get(n), channels_last) for n, a in inputs_of(arrays).items()}
    order = layouts.get("y")
    call = torch.compile(partial(f, torch)) if compiled else partial(f, torch)
    values = list(given.values())
    if not gradients:

        def forward() -> Any:
            with torch.inference_mode():
                return call(*values)

        return Prepared(forward, lambda y: {"y": array_of(y, order)})
    floats = {n: t.requires_grad_() for n, t in given.items() if t.is_floating_point()}
    dy = tensor(arrays[DY], order, channels_last)

    def step() -> Any:
        y = call(*values)
        return y, torch.autograd.grad(y, list(floats.values()), dy)

    def results(r: Any) -> Arrays:
        gradients = [array_of(g, layouts.get(n)) for n, g in zip(floats, r[1], strict=True)]
        return named(arrays, array_of(r[0], order), gradients)

    return Prepared(step, results)


# -- choices -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fastest:
    """The fastest of several ways, found by trying, as somebody who tunes a program would."""

    ways: tuple[tuple[str, Build], ...]

    def choose(self, arrays: Arrays, gradients: bool) -> tuple[str, Build]:
        """Its name, and the way."""
        found = []
        for name, way in self.ways:
            prepared = way(arrays, gradients)
            prepared.run()
            times = []
            for _ in range(3):
                start = time.perf_counter()
                prepared.run()
                times.append(time.perf_counter() - start)
            found.append((min(times), name, way))
        _, name, best = min(found, key=lambda way: way[0])
        return name, best

    def __call__(self, arrays: Arrays, gradients: bool) -> Prepared:
        return self.choose(arrays, gradients)[1](arrays, gradients)
