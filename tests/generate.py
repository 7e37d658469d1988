"""Random valid programs, for Hypothesis.

Each index gets an extent first; subscripts are then drawn freely, and each tensor is made as large as its accesses
need. Indices that no plain subscript bounds get a written range, sometimes, or where inference asks for one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexlang.errors import IndexLangError, Problem, ShapeError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle.gradcheck import spread
from indexlang.sizes import shapes
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class RandomProgram:
    text: str
    inputs: dict[str, Array] = field(repr=False)

    def __repr__(self) -> str:
        given = ", ".join(
            f"{n}{list(a.shape)}{'' if a.dtype.kind == 'f' else a.tolist()}" for n, a in self.inputs.items()
        )
        return f"\n{self.text}with {given}"


UNARY = ("sin({})", "tanh({})", "sigmoid({})", "exp(0.3*{})", "({})**2", "log(1 + ({})**2)", "-({})", "relu({})")
UNARY += ("abs({})", "gelu({})", "sqrt(2 + ({})**2)", "({} + 0.5)", "atan({})", "(1 - {})", "float({})")
BINARY = (
    "({} + {})",
    "({} - {})",
    "{} * {}",
    "{} * {}",
    "{} * {}",
    "({}) / (1 + ({})**2)",
    "max({}, {})",
    "min({}, {})",
)
BINARY += ("where({} > 0.1, {}, 0.5)", "atan2({}, 3 + ({})**2)", "(1.5 + sin({}))**({})")
REDUCTIONS = ("sum", "sum", "max", "min", "mean", "prod", "logsumexp")


class _Statements:
    """The text so far, the tensors that it needs, and those that it has made."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.lines: list[str] = []
        self.needs: dict[str, list[int]] = {}  # the shape that each input must have
        self.integers: dict[str, int] = {}  # inputs that are positions, and below what they stay
        self.made: dict[str, tuple[int, ...]] = {}
        self.shown: dict[str, list[int]] = {}  # the shapes that the statements so far rely on
        self.names = (f"{letter}{n or ''}" for n in itertools.count() for letter in "abcdefgh")

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) < percent)

    def statement(self, target: str) -> None:
        count = self.draw(st.integers(1, 4))
        self.extent = {i: self.one_of(2, 3, 1, 4) for i in "ijkl"[:count]}
        self.used: set[str] = set()
        self.plain: dict[str, set[tuple[str, int]]] = {}
        self.must_write: set[str] = set()
        self.ranges: dict[str, str] = {}
        self.inner = iter("mnop")
        value = self.value(self.draw(st.integers(1, 3)))
        conditions = self.masks()
        operator = self.one_of("=", "+=", "+=", "*=", "max=", "min=")
        left, declared = self.target(target)
        if value.startswith("(") or value[0] == "-":  # the terms of a sum must all have the reduced indices
            value = f"sin({value})"
        written = {i for i in sorted(self.must_write) if i in self.used} | {
            i for i in sorted(self.used) if i in self.extent and not self.plain.get(i) and self.chance(50)
        }
        free = [i for i in sorted(self.used) if i in self.extent]
        if any(self.needs[name] != sizes for name, sizes in self.shown.items()):
            reject()  # a tensor of an earlier statement has grown, which that statement may not bear
        for ranges in (sorted(written), free):
            where = [*(f"{i} < {self.extent[i]}" for i in ranges), *self.ranges.values(), *conditions]
            line = f"{left} {operator} {value}" + (" where " + ", ".join(where) if where else "")
            lines = [*self.lines, *([f"shape {target}[{','.join(map(str, declared))}]"] if declared else []), line]
            try:
                found = self.shape(lines, target)
            except IndexLangError as error:
                if ranges is free:
                    raise AssertionError("\n".join([*lines, str(error)])) from error
                continue
            self.lines, self.made[target] = lines, found
            self.shown = {name: list(sizes) for name, sizes in self.needs.items()}
            return

    def shape(self, lines: list[str], target: str) -> tuple[int, ...]:
        program = resolve(parse(Source("\n".join(lines) + "\n")))
        if not self.needs.keys() >= set(program.inputs):  # a name that only masks mention is a scalar, not an index
            raise ShapeError(Problem("missing-input", "an index that only masks mention needs a range"))
        given = {name: tuple(self.needs[name]) for name in program.inputs}
        return tuple(shapes.infer(program, given).tensors[target])

    # -- values --------------------------------------------------------------------------------

    def value(self, depth: int) -> str:
        if depth == 0 or self.chance(15):
            return self.leaf()
        if self.chance(35):
            return str(self.one_of(*UNARY)).format(self.value(depth - 1))
        return str(self.one_of(*BINARY)).format(self.value(depth - 1), self.value(depth - 1))

    def leaf(self) -> str:
        if self.chance(12):
            return self.reduction()
        if self.chance(8):
            number = self.one_of("0.7", "2", "({} + 1)")
            if "{}" not in number:
                return str(number)
            index = self.index()
            self.must_write.add(index)  # a name that no subscript and no range has would be a scalar
            return str(number.format(index))
        if self.made and self.chance(60):
            return self.read_made(str(self.one_of(*self.made)))
        again = [n for n in self.needs if n not in self.integers]
        if again and self.chance(25):
            name = str(self.one_of(*again))
            rank = len(self.needs[name])
        else:
            name, rank = next(self.names), self.draw(st.integers(1, 3))
        return self.read(name, rank)

    def reduction(self) -> str:
        index = next(self.inner, None)
        if index is None:
            return self.read(next(self.names), 1)
        self.extent[index] = self.one_of(2, 3)
        self.ranges[index] = f"{index} < {self.extent[index]}"
        op = self.one_of(*REDUCTIONS)
        other = self.index()
        x = self.access(next(self.names), [index, self.affine([index, other])])
        z = self.access(next(self.names), [other, index])
        if self.chance(25):
            self.ranges[index] += f", {index} <= {other}"
        self.used.discard(index)
        return f"{op}[{index}]({self.one_of(f'{x} * {z}', f'sin({x}) + {z}')})"

    def index(self) -> str:
        index = str(self.one_of(*(i for i in self.extent if i in "ijkl")))
        self.used.add(index)
        return index

    # -- accesses ------------------------------------------------------------------------------

    def read(self, name: str, rank: int) -> str:
        return self.access(name, [self.subscript(name, axis) for axis in range(rank)])

    def access(self, name: str, subscripts: list[str | tuple[str, int]]) -> str:
        """Grow the tensor to what the subscripts need: a plain index its extent, others as (text, size)."""
        needs = self.needs.setdefault(name, [0] * len(subscripts))
        texts = []
        for axis, s in enumerate(subscripts):
            text, size = (s, self.extent[s]) if isinstance(s, str) else s
            if isinstance(s, str):
                self.plain.setdefault(s, set()).add((name, axis))
            if needs[axis] and needs[axis] != size:  # a plain index over a larger axis must say how far it goes
                self.must_write.update(i for i in self.extent if i in "ijkl")
            needs[axis] = max(needs[axis], size)
            texts.append(text)
        return f"{name}[{','.join(texts)}]"

    def subscript(self, name: str, axis: int) -> str | tuple[str, int]:
        kind = self.draw(st.integers(0, 19))
        fixed = name in self.needs  # its size may be in use already
        if kind < 8:
            return self.index()
        if kind < 12:
            return self.affine([self.index(), self.index()])
        if kind == 12:
            return self.affine([self.index()])
        if kind == 13:
            position = self.draw(st.integers(0, 2))
            return str(position), position + 1
        if kind == 14 and not fixed:
            i = self.index()
            return f"size({name},{axis})-1-{i}", self.extent[i]
        if kind == 15:
            i, by = self.index(), self.one_of(2, 3)
            if self.chance(50):
                return f"{i}//{by}", (self.extent[i] - 1) // by + 1
            return f"{i}%{by}", min(by, self.extent[i])
        if kind == 16:
            return self.positions()
        if kind == 17 and not fixed:
            text, size = self.affine([self.index(), self.index()])
            lo = self.draw(st.integers(0, min(2, size - 1)))
            hi = self.draw(st.integers(0, min(2, size - 1 - lo)))
            value = self.one_of("", ",value=1", ",value=-0.5")
            return f"pad({text},{lo},{hi}{value})", size - lo - hi
        kind_of = self.one_of("pad", "clamp", "wrap", "reflect")
        low, high = self.draw(st.integers(-3, 1)), self.draw(st.integers(1, 3))
        text, _ = self.form([self.index(), self.index()])
        return f"{kind_of}({text}{low:+d})", high

    def form(self, indices: list[str]) -> tuple[str, tuple[int, int]]:
        """An affine form and its least and greatest value."""
        terms, least, greatest = [], 0, 0
        for i in dict.fromkeys(indices):
            by = self.one_of(1, 1, 2, -1, 3, -2)
            ends = (0, by * (self.extent[i] - 1))
            least, greatest = least + min(ends), greatest + max(ends)
            terms.append(("+" if by > 0 else "-") + (i if abs(by) == 1 else f"{abs(by)}*{i}"))
        terms.sort()  # those with + come first
        return "".join(terms).removeprefix("+"), (least, greatest)

    def affine(self, indices: list[str]) -> tuple[str, int]:
        """An affine subscript, and the size it needs: sometimes one more."""
        text, (least, greatest) = self.form(indices)
        offset = -least + self.one_of(0, 0, 0, 1)
        if offset:
            text = f"{text}+{offset}" if not text.startswith("-") else f"{offset}{text}"
        return text, greatest + offset + 1 + self.one_of(0, 0, 1)

    def positions(self) -> tuple[str, int]:
        """An index tensor as a subscript, sometimes with an index added."""
        name, i, size = f"p{len(self.integers)}", self.index(), self.one_of(2, 3)
        self.integers[name] = size
        text = self.access(name, [i])
        if self.chance(30):
            j = self.index()
            return f"{text}+{j}", size + self.extent[j] - 1
        return text, size

    def read_made(self, name: str) -> str:
        """A tensor made before: its shape is what it is."""
        texts = []
        for axis, size in enumerate(self.made[name]):
            fitting = [i for i, n in self.extent.items() if n == size and i in "ijkl"]
            if fitting and self.chance(80):
                index = str(self.one_of(*fitting))
                self.used.add(index)
                self.plain.setdefault(index, set()).add((name, axis))
                texts.append(index)
            elif size == 0:
                texts.append(f"pad({self.index()})")
            else:
                texts.append(f"{self.one_of('clamp', 'wrap', 'reflect')}({self.form([self.index(), self.index()])[0]})")
        return f"{name}[{','.join(texts)}]" if texts else name

    # -- masks and targets ---------------------------------------------------------------------

    def masks(self) -> list[str]:
        found = []
        for _ in range(self.one_of(0, 0, 0, 1, 2)):
            i, j = self.index(), self.index()
            kind = self.draw(st.integers(0, 5))
            if kind:
                self.must_write.update((i, j))
            if kind == 0:
                found.append(f"m{len(self.needs)}")
                found[-1] = self.access(found[-1], [i]) + " > 0.2"
            elif kind == 1:
                name = f"n{len(self.integers)}"
                self.integers[name] = 4
                found.append(f"{j} < {self.access(name, [i])}" if i != j else f"({i}+1) % 2 == 0")
            elif i == j:
                found.append(f"{i}%2 == 0")
            else:
                found.append(str(self.one_of(f"{i} <= {j}", f"({i}+{j}) % 2 == 0", f"{i} != {j}", f"{i} < {j}+1")))
        return found

    def target(self, name: str) -> tuple[str, list[int]]:
        """The left side, and the shape to declare if it needs one."""
        used = [i for i in sorted(self.used) if i in "ijkl"]
        chosen = self.draw(st.permutations(used)) if used else []
        chosen = chosen[: self.draw(st.integers(0, len(chosen)))]
        kind = self.draw(st.integers(0, 11))
        texts: list[str] = list(chosen)
        sizes = [self.extent[i] for i in chosen]
        declared = False
        if chosen and kind == 0:
            texts[0], sizes[0] = self.affine([chosen[0], self.index()])
            declared = self.chance(50)
        elif chosen and kind == 1:
            texts[0], sizes[0] = self.affine([chosen[0]])
        elif chosen and kind == 2:
            texts, sizes = [*texts, texts[0]], [*sizes, sizes[0]]
        elif chosen and kind == 3:
            texts[0], (_, sizes[0]) = self.form([chosen[0], self.index()])
            texts[0], sizes[0] = f"{self.one_of('pad', 'clamp', 'wrap', 'reflect')}({texts[0]})", max(1, sizes[0])
            declared = True
        elif chosen and kind == 4:
            texts[0], sizes[0] = self.positions()
            declared = True
        elif chosen and kind == 5:
            i = self.index()
            a, b = self.form([chosen[0], i]), self.form([chosen[0], i])
            texts += [f"{a[0]}{-a[1][0]:+d}", f"{b[0]}{-b[1][0]:+d}"]
            sizes += [a[1][1] - a[1][0] + 1, b[1][1] - b[1][0] + 1]
        elif kind == 6:
            texts.append("1")
            sizes.append(2)
        if declared:  # the shape may be larger than what is reached, which bounds no plain index
            self.must_write.update(i for i in self.extent if i in "ijkl")
        return f"{name}[{','.join(texts)}]", sizes if declared else []


@st.composite
def programs(draw: Draw) -> RandomProgram:
    """One to three statements, later ones reading earlier ones."""
    made = _Statements(draw)
    for number in range(draw(st.integers(1, 3))):
        made.statement(f"{'xyz'[number]}")
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    inputs: dict[str, Array] = {}
    program = resolve(parse(Source("\n".join(made.lines) + "\n")))
    for name in program.inputs:
        shape = tuple(made.needs[name])
        inputs[name] = (
            rng.integers(0, made.integers[name], shape) if name in made.integers else spread(shape, rng, -1.5, 1.5)
        )
    return RandomProgram("\n".join(made.lines) + "\n", inputs)
