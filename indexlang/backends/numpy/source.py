"""Writing Python source: names, lines, constants of the module, and the operands that code stands for.

In: numbers, fixed snippets and hints for names. Out: lines. The one rule: every identifier is made here, from ASCII
letters and numbers, so no text of a program can become code.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod

from ...plan.kernels import Row, itemsize, row_strides
from .function_support import SUPPORT
from .support import ARRAYS

KEPT = 32 << 20  # bytes of copies that are kept for those who need the same ones


@dataclass(frozen=True)
class Axis:
    """How an index runs where code is being written: its values are lo + var + 0..width-1.

    `n` is its whole extent, `width` code of how many values there are at once, `size` the most of them as a number. A
    tap has no axis (`width` is None) and a loop variable; a block has both. `local` is the variable of the innermost
    loop over the index.
    """

    lo: int
    n: int
    var: str | None = None
    width: str | None = None
    size: int = 1
    local: str = ""

    @property
    def whole(self) -> bool:
        return self.var is None and self.width is not None


Scope = Mapping[str, Axis]

SHARED = 1 << 20  # operations on elements from which on threads pay


def divided(order: Sequence[str], scope: Scope, work: int, steps: Sequence[tuple[str, int]] = ()) -> str | None:
    """The outermost index of what is written, if blocks of it are worth threads; None inside of loops."""
    if work < SHARED or any(axis.var is not None for axis in scope.values()):
        return None
    found = next((i for i in order if scope[i].size > 1), None)
    return found if not steps or found == steps[0][0] else None


def name_of(dtype: str) -> str:
    """NumPy's name of a dtype."""
    return "bool_" if dtype == "bool" else dtype


def whole(extents: Mapping[str, tuple[int, int]]) -> dict[str, Axis]:
    """Every index as an axis of its whole extent."""
    return {i: Axis(lo, hi - lo, None, str(hi - lo), hi - lo) for i, (lo, hi) in extents.items()}


def sizes_of(scope: Scope) -> dict[str, int]:
    """The number of values of each index at once; 1 for taps."""
    return {i: axis.size if axis.width is not None else 1 for i, axis in scope.items()}


def shape_code(indices: Sequence[str], scope: Scope) -> str:
    """Code of the shape of an array over the indices: a tuple."""
    parts = [str(scope[i].width) for i in indices]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def count_code(indices: Sequence[str], scope: Scope) -> str:
    """Code of the number of points of the indices."""
    widths = [str(scope[i].width) for i in indices]
    number = prod(int(w) for w in widths if w.isdigit())
    names = [w for w in widths if not w.isdigit()]
    return " * ".join([*names, *([str(number)] if number != 1 or not names else [])])


@dataclass(frozen=True)
class Array:
    """A contiguous array of the generated code, or an input (made contiguous where a view asks for it)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    owned: bool = True

    @property
    def strides(self) -> tuple[int, ...]:
        return row_strides(self.shape)


@dataclass(frozen=True)
class Operand:
    """Code for an array, the index of each of its axes in the code's own order, its strides in elements where known."""

    code: str
    indices: tuple[str, ...]
    dtype: str
    strides: tuple[int, ...] = ()
    fresh: bool = False  # made for this statement alone, contiguous, and free to be overwritten

    def steps(self) -> dict[str, int]:
        return dict(zip(self.indices, self.strides, strict=True)) if self.strides else {}


@dataclass
class Writer:
    """Lines of the function being written, with the module's constants and support functions."""

    lines: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)  # code -> name
    support: set[str] = field(default_factory=set)  # names of ARRAYS and of the functions' SUPPORT
    taken: set[str] = field(default_factory=lambda: {"np", "run", *ARRAYS, *SUPPORT, *keyword.kwlist, *dir(builtins)})
    indent: int = 1
    mark: int = 0  # where the statement being written begins
    bytes: dict[str, int] = field(default_factory=dict)  # what arrays take, by name
    copies: dict[str, str] = field(default_factory=dict)  # names of copies that may be needed again, by their code
    room: int = KEPT  # bytes that may still be kept so
    passing: dict[str, int] = field(default_factory=dict)  # what the statement being written takes besides
    counts: dict[str, int] = field(default_factory=dict)  # the last number behind each name

    def fresh(self, hint: str) -> str:
        """A new identifier that resembles the hint; ASCII, so that no two names fold into one."""
        base = "".join(
            c if c.isalnum() or c == "_" else "_" for c in unicodedata.normalize("NFKD", hint) if c.isascii()
        )
        base = base if base and not base[0].isdigit() else "t" + base
        if base.startswith("__"):
            base = "t" + base
        name, count = base, self.counts.get(base, 1)
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        self.counts[base] = count
        return name

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def note(self, name: str, count: int, dtype: str) -> None:
        """Remember how large an array is, for the plan; one whose name has a space goes with its statement."""
        (self.passing if " " in name else self.bytes)[name] = count * itemsize(dtype)

    def workspace(self, count: int, dtype: str) -> str:
        """The name of a flat array of that many elements, allocated before the statement's loops."""
        name = self.fresh("work")
        self.note(name, count, dtype)
        self.lines.insert(self.mark, f"    {name} = np.empty({count}, np.{name_of(dtype)})")
        self.mark += 1
        return name

    def kept(self, code: str, count: int, dtype: str) -> str:
        """The copy of an operand under a name, for whoever needs the same one: a gradient unfolds what its layer has.

        Only outside of loops, and only so many bytes of all copies together.
        """
        if code not in self.copies:
            size = count * itemsize(dtype)
            if self.indent > 1 or size > self.room:
                return code
            self.room -= size
            name = self.copies[code] = self.fresh("copy")
            self.note(name, count, dtype)
            self.line(f"{name} = {code}")
        return self.copies[code]

    def forget(self, array: str) -> None:
        """An array is written anew: copies of what was in it are no use any more."""
        self.copies = {code: name for code, name in self.copies.items() if not re.search(rf"\b{array}\b", code)}

    def use(self, name: str) -> str:
        """Have a support function in the source, by name."""
        self.support.add(name)
        return name

    def constant(self, code: str, hint: str = "C") -> str:
        """A constant of the module, made once when the code is loaded."""
        if code not in self.constants:
            self.constants[code] = self.fresh(hint)
        return self.constants[code]

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines under a head such as `for ...:`."""
        self.line(head)
        self.indent += 1
        yield
        self.indent -= 1

    @contextmanager
    def side_by_side(self, scope: Scope, index: str, step: int) -> Iterator[Scope]:
        """A loop over blocks of a kept index, in threads; what is made in it is each thread's own."""
        axis = scope[index]
        name, lo, hi, var = (self.fresh(hint) for hint in ("part", "lo", "hi", index))
        self.line('@np.errstate(all="ignore")')
        with self.block(f"def {name}({lo}, {hi}):"), self.block(f"for {var} in range({lo}, {hi}, {step}):"):
            width = str(step)
            if axis.n % step:
                width = self.fresh(f"n_{index}")
                self.line(f"{width} = min({step}, {hi} - {var})")
            yield {**scope, index: Axis(axis.lo, axis.n, var, width, step, var)}
        self.line(f"{self.use('share')}({name}, {axis.n}, {step})")

    @contextmanager
    def loops(self, scope: Scope, steps: Sequence[tuple[str, int]]) -> Iterator[Scope]:
        """Nested loops over indices, step 0 for one value at a time (a tap); gives the scope inside."""
        inner = dict(scope)
        for index, step in steps:
            axis, var = inner[index], self.fresh(index)  # of the loops outside, too
            value = var if axis.var is None else f"({axis.var} + {var})"
            total = str(axis.n) if axis.width is None else axis.width
            if step == 0:
                self.line(f"for {var} in range({total}):")
                self.indent += 1
                inner[index] = Axis(axis.lo, axis.n, value, None, 1, var)
                continue
            self.line(f"for {var} in range(0, {total}, {step}):")
            self.indent += 1
            if total.isdigit() and int(total) % step == 0:
                width = str(step)
            else:
                width = self.fresh(f"n_{index}")
                self.line(f"{width} = min({step}, {total} - {var})")
            inner[index] = Axis(axis.lo, axis.n, value, width, step, var)
        yield inner
        self.indent -= len(steps)


def start(row: Row, scope: Scope, base: int = 0) -> str:
    """Code of the first position of a row in a scope: constants, loop variables and lows."""
    const = base + row.const + sum(c * scope[i].lo for i, c in row.coefs)
    terms = [(c, scope[i].var) for i, c in row.coefs if scope[i].var is not None]
    text = ""
    for coef, var in terms:
        factor = f"{var}" if abs(coef) == 1 else f"{abs(coef)} * {var}"
        text += (" - " if coef < 0 else " + ") + factor if text else ("-" + factor if coef < 0 else factor)
    if const or not text:
        text += (f" - {-const}" if const < 0 else f" + {const}") if text else str(const)
    return text


def view(writer: Writer, array: Array, rows: Sequence[Row], scope: Scope) -> Operand:
    """The strided view that affine rows are: slices where every axis has its own index, else raw strides.

    Nothing is checked here: `shapes` has verified that the rows stay in their axes.
    """
    moving = [[i for i, _ in row.coefs if scope[i].width is not None] for row in rows]
    flat = [i for part in moving for i in part]
    if all(len(part) <= 1 for part in moving) and len(set(flat)) == len(flat):
        return _sliced(array, rows, scope)
    if not array.owned:
        line = f"    {array.name} = np.ascontiguousarray({array.name})"
        if line not in writer.entry:
            writer.entry.append(line)
    steps: dict[str, int] = {}
    offset = Row(0, ())
    for row, stride in zip(rows, array.strides, strict=True):
        coefs = dict(offset.coefs)
        for index, coef in row.coefs:
            coefs[index] = coefs.get(index, 0) + coef * stride
            if scope[index].width is not None:
                steps[index] = steps.get(index, 0) + coef * stride
        offset = Row(offset.const + row.const * stride, tuple(coefs.items()))
    order = sorted(steps, key=lambda i: -abs(steps[i]))
    shape = ", ".join(str(scope[i].width) for i in order)
    strides = ", ".join(str(steps[i]) for i in order)
    writer.use("view")
    code = f"view({array.name}, {start(offset, scope)}, ({shape},), ({strides},))"
    return Operand(code, tuple(order), array.dtype, tuple(steps[i] for i in order))


def _sliced(array: Array, rows: Sequence[Row], scope: Scope) -> Operand:
    parts: list[str] = []
    indices: list[str] = []
    strides: list[int] = []
    flips: list[bool] = []
    for row, size, stride in zip(rows, array.shape, array.strides, strict=True):
        moving = [(i, c) for i, c in row.coefs if scope[i].width is not None]
        if not moving:
            parts.append(start(row, scope))
            continue
        (index, coef), axis = moving[0], scope[moving[0][0]]
        assert axis.width is not None
        # A step below zero is a positive slice from its lowest position, then reversed.
        last = axis.n - 1 if axis.whole else None
        low = row if coef > 0 else (row.shifted(coef * last) if last is not None else None)
        step = f":{abs(coef)}" if abs(coef) != 1 else ""
        if last is not None:
            assert low is not None
            first, beyond = start(low, scope), start(low, scope, abs(coef) * last + 1)
            simple = first == "0" and beyond == str(size) and not step
            parts.append(":" if simple else f"{first}:{beyond}{step}")
        elif coef > 0:
            span = f"{coef} * ({axis.width} - 1) + 1" if coef != 1 else axis.width
            parts.append(f"{start(row, scope)}:{start(row, scope)} + {span}{step}")
        else:
            back = f"{abs(coef)} * ({axis.width} - 1)"
            parts.append(f"{start(row, scope)} - {back}:{start(row, scope)} + 1{step}")
        indices.append(index)
        strides.append(coef * stride)
        flips.append(coef < 0)
    code = array.name
    while parts and parts[-1] == ":":
        parts.pop()
    if parts:
        code += f"[{', '.join(parts)}]"
    if any(flips):
        code += f"[{', '.join('::-1' if f else ':' for f in flips)}]"
    return Operand(code, tuple(indices), array.dtype, tuple(strides))


def aligned(operand: Operand, axes: Sequence[str]) -> str:
    """Code of the operand with its axes in the order of `axes`, missing ones of length 1, so that it broadcasts.

    Nothing else changes the order of axes. An axis that has no place is a mistake, for its elements would be lost.
    """
    order = [i for i in axes if i in operand.indices]
    assert len(order) == len(operand.indices), "each axis of an operand has a place among the axes that are wanted"
    code = operand.code
    if tuple(order) != operand.indices:
        code += f".transpose({', '.join(str(operand.indices.index(i)) for i in order)})"
    places = [":" if i in operand.indices else "None" for i in axes]
    while places and places[0] == "None":
        places.pop(0)
    if "None" in places:
        while places[-1] == ":":
            places.pop()
        code += f"[{', '.join(places)}]"
    return code


def viewed(x: Operand, groups: Sequence[Sequence[str]], scope: Scope) -> str | None:
    """Code of a view with the axes of the first group, then one axis for each other group; None if there is none.

    What is written must be a view, by its strides: a `reshape` of what does not merge is a copy, and what is written
    into a copy is lost. In a scope with blocks an index merges with the next one only where that has all its values.
    """
    batch, *merged = groups
    flat = tuple(i for group in groups for i in group)
    steps = x.steps()
    if set(flat) != set(x.indices) or set(flat) != set(steps):
        return None
    for group in merged:
        moving = [i for i in group if scope[i].size > 1]
        if not all(_merges(a, b, steps, scope) for a, b in pairwise(moving)):
            return None
    code = x.code
    if flat != x.indices:
        code += f".transpose({', '.join(str(x.indices.index(i)) for i in flat)})"
    if any(len(group) != 1 for group in merged):
        lengths = [*(str(scope[i].width) for i in batch), *(count_code(group, scope) for group in merged)]
        code += f".reshape({', '.join(lengths)})"
    return code


def _merges(a: str, b: str, steps: Mapping[str, int], scope: Scope) -> bool:
    """Whether two axes of a view are one, the second inside of the first."""
    width = str(scope[b].width)
    return width.isdigit() and steps[a] == steps[b] * int(width)
