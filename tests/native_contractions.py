"""Contractions for tests of the native backend: written as subscripts, and computed point by point in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from indexlang.backends.native.contraction import Contraction, Operand, Schedule, Step
from indexlang.backends.native.nest import Array, Form, form

Subscript = tuple[int, dict[str, int]]


def contraction(
    text: str,
    extents: Mapping[str, int],
    op: str = "=",
    bounds: Sequence[Form] = (),
    dtype: str = "float32",
    shapes: Sequence[Sequence[int] | None] = (None, None, None),
    epilogue: Sequence[Step] = (),
) -> Contraction:
    """`left; right; target`, each as subscripts such as `b, 2*i+di`; arrays are as large as it takes if not said."""
    operands = []
    for name, part, shape in zip("aby", text.split(";"), shapes, strict=True):
        rows = [_subscript(s) for s in part.split(",") if s.strip()]
        if shape is None:
            shape = [c + 1 + sum(max(k * (extents[i] - 1), 0) for i, k in row.items()) for c, row in rows]
        operands.append(_operand(name, rows, shape, dtype))
    reduced = tuple(i for i in extents if i not in dict(operands[2].strides))
    return Contraction(
        tuple(extents.items()), reduced, *operands, op=op, bounds=tuple(bounds), epilogue=tuple(epilogue), dtype=dtype
    )


def _subscript(text: str) -> Subscript:
    const, row = 0, dict[str, int]()
    for term in text.replace("-", "+-").split("+"):
        factor, _, name = term.strip().rpartition("*")
        if not name:
            continue
        sign = -1 if (factor or name).startswith("-") else 1
        number, name = abs(int(factor or 1)) * sign, name.lstrip("-").strip()
        if name.isdigit():
            const += number * int(name)
        else:
            row[name] = row.get(name, 0) + number
    return const, row


def _operand(name: str, rows: Sequence[Subscript], shape: Sequence[int], dtype: str) -> Operand:
    strides, offset, step = dict[str, int](), 0, 1
    for (const, row), n in zip(reversed(rows), reversed(shape), strict=True):
        offset += const * step
        for index, coef in row.items():
            strides[index] = strides.get(index, 0) + coef * step
        step *= n
    return Operand(Array(name, dtype, step), offset, tuple(strides.items()))


def convolution_gradient(b: int, p: int, q: int, kh: int, kw: int, cx: int, cy: int, op: str = "=") -> Contraction:
    """By the input of a convolution, each result gathered from the windows that it is in."""
    bounds = [form("p") - form("di"), form("di") - form("p") + (p - 1)]
    bounds += [form("q") - form("dj"), form("dj") - form("q") + (q - 1)]
    extents = {"b": b, "p": p + kh - 1, "q": q + kw - 1, "di": kh, "dj": kw, "cy": cy, "cx": cx}
    shapes = [(b, p, q, cy), (kh, kw, cx, cy), (b, p + kh - 1, q + kw - 1, cx)]
    return contraction("b, p-di, q-dj, cy; di, dj, cx, cy; b, p, q, cx", extents, op, bounds, shapes=shapes)


def operands(c: Contraction) -> list[Operand]:
    """All operands."""
    return [c.left, c.right, c.target, *(a for s in c.epilogue for a in s.args if isinstance(a, Operand))]


def filled(c: Contraction, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Arrays of its operands, all elements of which some refused point alone would read are nan."""
    grid, there = _points(c)
    found = {}
    for operand in operands(c):
        array = operand.array
        if array.dtype.startswith("int"):
            found[array.name] = generator.integers(-9, 10, array.size).astype(array.dtype)
            continue
        found[array.name] = generator.standard_normal(array.size).astype(array.dtype)
        if operand in (c.left, c.right):
            read = np.zeros(array.size, bool)
            read[_at(operand, grid)[there]] = True
            found[array.name][~read] = np.nan
    return found


def _points(c: Contraction) -> tuple[dict[str, np.ndarray], np.ndarray]:
    shape = [n for _, n in c.extents]
    grid = dict(zip([i for i, _ in c.extents], np.indices(shape).reshape(len(shape), -1), strict=True))
    there = np.ones(int(np.prod(shape)), bool)
    for bound in c.bounds:
        there &= sum((grid[i] * k for i, k in bound.terms), np.full(len(there), bound.const)) >= 0
    return grid, there


def _at(operand: Operand, grid: Mapping[str, np.ndarray]) -> np.ndarray:
    count = len(next(iter(grid.values())))
    return sum((grid[i] * s for i, s in operand.strides), np.full(count, operand.offset))


FUNCTIONS = {
    "add": np.add,
    "mul": np.multiply,
    "sub": np.subtract,
    "greatest": np.maximum,
    "gt": np.greater,
    "select": np.where,
}


def expected(c: Contraction, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The target after it, point by point in float64."""
    grid, there = _points(c)
    target, places = arrays[c.target.array.name].astype("f8"), _at(c.target, grid)
    if c.op == "=":
        target[places] = 0
    left, right = (arrays[o.array.name].astype("f8")[_at(o, grid)[there]] for o in (c.left, c.right))
    np.add.at(target, places[there], left * right * (-1 if c.op == "-=" else 1))
    names = {"sum": target[places]}
    for step in c.epilogue:
        args = [
            names[a]
            if isinstance(a, str)
            else arrays[a.array.name].astype("f8")[_at(a, grid)]
            if isinstance(a, Operand)
            else a
            for a in step.args
        ]
        names[step.name] = FUNCTIONS[step.fn](*args)
        target[places] = names[step.name] if step is c.epilogue[-1] else target[places]
    return target


def allocated(s: Schedule, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies of the arrays, and workspaces full of nan."""
    found = {name: array.copy() for name, array in arrays.items()}
    for array in s.workspaces:
        found[array.name] = np.full(array.size, np.nan if array.dtype.startswith("float") else 99, array.dtype)
    return found
