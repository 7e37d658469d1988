"""Derived gradients against numerical ones that know nothing of the derivation.

In: a program (or callables) and arrays. Out: a row for each gradient with its greatest error. The one rule: real
tensors get the complex step, `f(x + 1e-200j*e).imag / 1e-200`, exact to rounding; complex ones central differences of
a real function, along both axes of the plane.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..derive import grad
from ..errors import DerivationError, Problem, ShapeError
from ..program.ir import Access, Boundary, Call, Index, Program, Reduce, Statement, Subscript, parts_of
from ..sizes.shapes import infer
from . import loops

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Forward = Callable[[Arrays], Arrays]

STEP = 1e-200  # its square is 0, also where it alone would decide what is less, and nothing is ever subtracted
DIFFERENCE = 1e-6
TOLERANCE = {"complex step": 1e-9, "differences": 1e-5}


@dataclass(frozen=True)
class Row:
    """One gradient: `relative` is the error over the gradient's own greatest size, at least 1."""

    tensor: str
    method: str
    checked: int  # derivatives compared: each element, or directions where there are too many elements
    absolute: float
    relative: float
    ok: bool


def numerical(f: Forward, inputs: Arrays, cotangents: Arrays, name: str, direction: Array) -> complex:
    """The derivative of the real part of sum(cotangents * f(inputs)) as `inputs[name]` moves along `direction`.

    By a complex tensor it is the g for which that part changes by the real part of sum(g * step), whatever the step:
    of a function that has a complex derivative, this.
    """
    if not any(np.iscomplexobj(a) for a in inputs.values()):
        stepped = inputs[name].astype(np.complex128) + 1j * STEP * direction
        return _paired(f, {**inputs, name: stepped}, cotangents).imag / STEP

    def slope(along: Array) -> float:
        wide = inputs[name].astype(np.complex128 if np.iscomplexobj(inputs[name]) else np.float64)
        ahead, behind = (_paired(f, {**inputs, name: wide + s * along}, cotangents) for s in (DIFFERENCE, -DIFFERENCE))
        return (ahead - behind).real / (2 * DIFFERENCE)

    return complex(slope(direction), -slope(1j * direction)) if np.iscomplexobj(inputs[name]) else slope(direction)


def _paired(f: Forward, inputs: Arrays, cotangents: Arrays) -> complex:
    outputs = f(inputs)
    return sum((_product(np.asarray(outputs[n]), c) for n, c in cotangents.items()), 0j)


def _product(value: Array, cotangent: Array) -> complex:
    """The sum of the products; part by part, as inf times a complex number would be nan in both."""
    if np.iscomplexobj(cotangent):
        return complex(np.sum(value * cotangent))
    return complex(np.sum(value.real * cotangent), np.sum(value.imag * cotangent))


def gradient(f: Forward, inputs: Arrays, cotangents: Arrays, name: str) -> Array:
    """The whole gradient by `inputs[name]`, one element after the other."""
    shape = inputs[name].shape
    found = [numerical(f, inputs, cotangents, name, e) for e in _units(shape)]
    return np.asarray(found).reshape(shape)


def _units(shape: Sequence[int]) -> Iterator[Array]:
    for position in range(math.prod(shape)):
        unit = np.zeros(shape)
        unit.reshape(-1)[position] = 1
        yield unit


def method(inputs: Arrays) -> str:
    """How `numerical` works on these inputs."""
    return "differences" if any(np.iscomplexobj(a) for a in inputs.values()) else "complex step"


def compare(
    f: Forward, inputs: Arrays, cotangents: Arrays, gradients: Arrays, *, most: int = 200, seed: int = 0
) -> list[Row]:
    """A row for each of `gradients`, by the tensor's name: by each element, or `most` directions if there are more."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, found in gradients.items():
        shape, how = inputs[name].shape, method(inputs)
        few = math.prod(shape) <= most
        directions = _units(shape) if few else iter(rng.standard_normal((most, *shape)))
        absolute, size, checked = 0.0, 1.0, 0
        for direction in directions:
            expected = numerical(f, inputs, cotangents, name, direction)
            own = found if np.iscomplexobj(inputs[name]) else found.real  # the derived program may not see the tensor
            error = abs(complex(np.sum(own * direction)) - expected)
            absolute = math.nan if math.isnan(error) else max(absolute, error)
            size, checked = max(size, abs(expected)), checked + 1
        relative = absolute / size
        rows.append(Row(name, how, checked, absolute, relative, relative <= TOLERANCE[how]))
    return rows


def gradcheck(
    program: Program,
    inputs: Arrays,
    *,
    forward: Forward | None = None,
    backward: Callable[[Program, Arrays], Arrays] | None = None,
    cotangents: Arrays | None = None,
    wrt: Sequence[str] | None = None,
    most: int = 200,
    seed: int = 0,
) -> list[Row]:
    """The derived gradients of a program against numerical ones, at these inputs.

    `forward` computes the outputs also for complex numbers, by default the oracle; `backward` runs the derived
    program, by default the oracle too: give the compiled Functions to check them as well.
    """
    inputs = {name: np.asarray(a) for name, a in inputs.items()}
    values = loops.run(program, inputs)
    names = tuple(wrt) if wrt is not None else tuple(n for n in grad.differentiable(program) if n in inputs)
    known = (f"inputs: {', '.join(inputs) or 'none'}",)
    way = "name inputs, or leave wrt out for all of them"
    if unknown := [Problem("no-gradient", f"'{n}' is no input", None, known, way) for n in names if n not in inputs]:
        raise DerivationError(*unknown)
    names = tuple(n for n in names if inputs[n].dtype.kind in "fc")
    if not names:
        rule = "no input has a gradient here: gradients need floating-point inputs that the outputs depend on"
        way = "check an output that depends on an input by more than positions, comparisons, and functions like floor"
        raise ShapeError(Problem("nothing-to-check", rule, way_out=way))
    given = cotangents if cotangents is not None else random_cotangents(values, seed)
    derived = grad.backward(program, names)
    called = grad.gradient_names(program)
    arguments = {**values, **inputs, **{called[n]: c for n, c in given.items()}}  # some outputs for their shapes only
    run = backward if backward is not None else loops.run
    found = run(derived, {n: arguments[n] for n in derived.inputs})
    stepped = method(inputs) == "complex step"
    f = forward if forward is not None else lambda arrays: loops.run(program, arrays, complex_step=stepped)
    return compare(f, inputs, given, {n: found[called[n]] for n in names}, most=most, seed=seed)


def random_cotangents(values: Arrays, seed: int = 0) -> dict[str, Array]:
    """A random cotangent for each floating-point output."""
    rng = np.random.default_rng(seed + 1)
    found = {}
    for name, value in values.items():
        if value.dtype.kind in "fc":
            found[name] = rng.standard_normal(value.shape)
            if value.dtype.kind == "c":
                found[name] = found[name] + 1j * rng.standard_normal(value.shape)
    return found


_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")

# Where functions are real and smooth: everywhere; positive numbers; inside -1..1; above 1.
_INTERVALS = ((-2.0, 2.0), (0.3, 2.3), (-0.9, 0.9), (1.2, 3.2))


def random_inputs(
    program: Program, shapes: Mapping[str, Sequence[int]], seed: int = 0, given: Arrays | None = None
) -> dict[str, Array]:
    """Inputs of the given shapes at which the program is defined, no two elements near each other.

    Tensors used as positions, or compared with an index, are integers in range; those that are `given` are as they are.
    The last resort is the last try.
    """
    known = given or {}
    missing = [n for n in program.inputs if n not in shapes]
    if missing:
        rule, way = f"no shape is given for {', '.join(missing)}", "give each a shape"
        raise ShapeError(Problem("missing-input", rule, way_out=way))
    rng = np.random.default_rng(seed)
    positions = index_tensors(program)
    limits = position_limits(program, shapes, positions)
    inputs: dict[str, Array] = {}
    failure: IndexError | loops.EarlyReadError | None = None
    for low, high in _INTERVALS:
        for shrink in (1, 2, 4, 1 << 60):  # `p[i]+j` leaves its axis unless p stays well below its size
            for name in program.inputs:
                shape = tuple(shapes[name])
                if name in known:
                    inputs[name] = known[name]
                elif name in positions:
                    inputs[name] = rng.integers(0, max(1, limits[name] // shrink), shape)
                else:
                    inputs[name] = spread(shape, rng, low, high)
            try:
                values = loops.run(program, inputs)
            except (IndexError, loops.EarlyReadError) as error:
                failure = error
                continue
            if all(np.isfinite(v).all() for v in values.values()):
                return inputs
            failure = None
            break
    if failure is not None:
        early = isinstance(failure, loops.EarlyReadError)
        way = "give larger shapes, so that every position stays in its axis"
        way = f"give positions of what earlier steps have made: {', '.join(sorted(positions))}" if early else way
        raise ShapeError(Problem("no-inputs", f"found no inputs that fit: {failure}", way_out=way))
    return inputs


def spread(shape: Sequence[int], rng: np.random.Generator, low: float = -2.0, high: float = 2.0) -> Array:
    """Random numbers, no two of them close and none close to zero: kinks and ties stay far away."""
    n = math.prod(shape)
    width = (high - low) / max(n, 1)
    middles = low + width * (np.arange(n) + 0.5)
    values = rng.permutation(middles + width * rng.uniform(-0.3, 0.3, n))
    values = np.where(np.abs(values) < width / 8, width / 8, values)
    return np.asarray(values.reshape(tuple(shape)))


def index_tensors(program: Program) -> frozenset[str]:
    """The inputs that serve as positions, or are compared with an index (labels, lengths)."""
    found: set[str] = set()
    for stmt in program.statements:
        for part in parts_of(stmt):
            match part:
                case Access(subscripts=subscripts):
                    for s in subscripts:
                        found.update(_plain_reads(s))
                case Call(fn=fn, args=(a, b)) if fn in _COMPARISONS:
                    if isinstance(a, Index):
                        found.update(_plain_reads(b))
                    if isinstance(b, Index):
                        found.update(_plain_reads(a))
                case _:
                    pass
    return frozenset(found & set(program.inputs))


def _plain_reads(node: Subscript) -> Iterator[str]:
    """The tensors whose values make a position without going through int(): they must be integers."""
    match node:
        case Access(tensor=tensor):
            yield tensor
        case Call(fn="int") | Reduce():
            return
        case Call(args=args):
            for a in args:
                yield from _plain_reads(a)
        case Boundary(expr=e):
            yield from _plain_reads(e)
        case _:
            return


def position_limits(program: Program, shapes: Mapping[str, Sequence[int]], positions: frozenset[str]) -> dict[str, int]:
    """Below which integer the values of each index tensor must stay, from the axes and indices they meet."""
    program = loops.expanded(program, {name: len(s) for name, s in shapes.items()})
    sizes = infer(program, {name: tuple(s) for name, s in shapes.items()})
    limits = dict.fromkeys(positions, 1 << 30)

    def limit(node: Subscript, below: int) -> None:
        for name in _plain_reads(node):
            if name in limits:
                limits[name] = min(limits[name], below)

    for number, stmt in enumerate(program.statements):
        for access in _accesses(stmt):
            for axis, s in enumerate(access.subscripts):
                limit(s, sizes.tensors[access.tensor][axis])
        for part in parts_of(stmt):
            match part:
                case Call(fn=fn, args=(Index(name=i), b)) if fn in _COMPARISONS:
                    limit(b, sizes.extents[number][i][1])
                case Call(fn=fn, args=(a, Index(name=i))) if fn in _COMPARISONS:
                    limit(a, sizes.extents[number][i][1])
                case _:
                    pass
    return limits


def _accesses(stmt: Statement) -> Iterator[Access]:
    return (part for part in parts_of(stmt) if isinstance(part, Access))
