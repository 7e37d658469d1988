"""Stages as the source of one Python function.

In: `Staged`. Out: text. The one rule: what is printed is what runs; it calls the pieces by number, and does nothing but
hand slices to them and put away what they give.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from keyword import iskeyword
from math import isfinite, isnan
from typing import Any
from unicodedata import normalize

import numpy as np

from ..program.ir import Access, Boundary, Const, Expr
from .pieces import is_padded, positions, shape_of
from .stages import At, Axis, Call, Now, One, Repeat, Slice, Span, Stage, Staged, calls
from .typed import Do, Node, Number, Read, Step, fill, truth, typed

INDENT = "    "
AT = '''\
def at(position, size, place):
    """A position that data say."""
    position = int(position)
    if not 0 <= position < size:
        raise IndexError("position", place, position, size)
    return position
'''
REFLECTED = '''\
def reflected(position, size):
    """Mirrored at the edges without repeating them."""
    position %= max(2 * (size - 1), 1)
    return position if position < size else 2 * (size - 1) - position
'''
WHOLE = '''\
def whole(number):
    """A number toward zero: what lies beyond 64 bits as the nearest there is, nan as 0."""
    if abs(number) < 2.0**63:
        return int(number)
    return 0 if number != number else 2**63 - 1 if number > 0 else -(2**63)
'''
QUOTIENT = '''\
def quotient(a, b):
    """a // b of integers, 0 where b is 0."""
    return a // b if b else 0
'''
REMAINDER = '''\
def remainder(a, b):
    """a % b of integers, 0 where b is 0."""
    return a % b if b else 0
'''
HELPERS = {"at": AT, "reflected": REFLECTED, "whole": WHOLE, "quotient": QUOTIENT, "remainder": REMAINDER}
_BY_NUMPY = {"min": "np.minimum", "max": "np.maximum", "floordiv": "np.floor_divide", "mod": "np.remainder"}
_INFIX = {"add": "+", "sub": "-", "mul": "*", "floordiv": "//", "mod": "%"}
_INFIX |= {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "and", "or": "or"}


def piece(number: int) -> str:
    """The name of the function of a piece."""
    return f"piece_{number}"


def repeating(number: int) -> str:
    """The name of the function of a block that is one call."""
    return f"repeat_{number}"


def checking(number: int) -> str:
    """The name of the function of a check."""
    return f"check_{number}"


@dataclass
class Source:
    """The lines so far. `places` are the accesses, with their axes, that checks of positions refer to."""

    staged: Staged
    names: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: {*dir(builtins), "np", "fitting", *HELPERS})
    head: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    fills: dict[tuple[tuple[int, ...], str, bytes], str] = field(default_factory=dict)
    places: list[tuple[Access, int]] = field(default_factory=list)
    there: set[str] = field(default_factory=set)
    open: dict[str, tuple[int, int]] = field(default_factory=dict)
    number: int = 0
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of the axes of tensors in memory
    steps: Mapping[int, tuple[str, ...]] = field(default_factory=dict)  # blocks that are one call, with its tensors
    used: set[str] = field(default_factory=set)
    helpers: Mapping[str, str] = field(default_factory=lambda: {name: name for name in HELPERS})  # by their names here
    called: tuple[str, ...] = ()  # the functions of the pieces, where they have other names

    def name(self, wish: str) -> str:
        """An identifier of its own."""
        ascii_ = "".join(filter(str.isascii, normalize("NFKD", wish)))  # else two names may be one for Python
        stem = "".join(c if c.isalnum() else "_" for c in ascii_)
        stem = stem if stem.isidentifier() and not iskeyword(stem) else f"t{stem}"
        found = next(n for n in chain((stem,), (f"{stem}_{k}" for k in count(2))) if n not in self.taken)
        self.taken.add(found)
        return found

    def text(self) -> str:
        """The source of `run(*inputs)`, which gives a tuple of the outputs."""
        function = self.function("run")
        helpers = [text for name, text in HELPERS.items() if name in self.used]
        return "\n\n".join(["import numpy as np\n", *helpers, function])

    def function(self, name: str, looks: bool = False, doc: str = "") -> str:
        """The function alone. Where it `looks`, it refuses inputs of other shapes and types."""
        staged = self.staged
        numbers = range(len(list(calls(staged.stages))))
        self.called = self.called or tuple(map(piece, numbers))
        self.taken |= {name, *self.called, *self.helpers.values(), *map(checking, range(len(staged.checks)))}
        self.taken |= {repeating(k) for k in range(len(staged.stages))}
        for tensor in (*staged.inputs, *(b.tensor for b in staged.buffers)):
            self.names[tensor] = self.name(tensor)
        self.there = set(staged.inputs)
        self.head += [self.laid(t, self.names[t]) for t in staged.inputs if t in self.pinned or self.turned(t)]
        self.run(staged.stages, 1)
        for buffer in staged.buffers:
            if buffer.tensor not in self.there:
                self.allocate(buffer.tensor)
        for number, check in enumerate(staged.checks):
            given = ", ".join(self.names[t] for t in check.tensors)
            self.lines.append(f"{INDENT}{checking(number)}({given})")
        results = []
        for tensor, dtype in staged.outputs:
            result = f"{self.names[tensor]}.astype({dtype!r}, copy=False)"
            results.append(f'np.require({result}, None, "C")' if self.turned(tensor) else result)
        lines = ['@np.errstate(all="ignore")', f"def {name}({', '.join(self.names[t] for t in staged.inputs)}):"]
        lines += [doc] if doc else []
        for tensor in staged.inputs if looks else ():
            at = self.names[tensor]
            form = f"{staged.shapes[tensor]}, {staged.dtypes[tensor]!r}"
            lines.append(f"{INDENT}{at} = fitting({tensor!a}, {at}, {form})")
        lines += [INDENT + line for line in self.head]
        lines += self.lines
        lines.append(f"{INDENT}return ({', '.join(results)}{',' * bool(results)})")
        return "\n".join(lines) + "\n"

    def run(self, stages: tuple[Stage, ...], level: int) -> None:
        for stage in stages:
            if isinstance(stage, Call):
                self.call(stage, level)
            else:
                self.repeat(stage, level)

    def turned(self, tensor: str) -> bool:
        """Whether a tensor lies in memory in another order of its axes."""
        order = self.orders.get(tensor, ())
        return order != tuple(range(len(order)))

    def laid(self, tensor: str, code: str) -> str:
        """A line that lets a tensor be what code gives, as it is to lie in memory."""
        how = f'{self.staged.stored(tensor)!r}, "CA"'
        if not self.turned(tensor):
            return f"{self.names[tensor]} = np.require({code}, {how})"
        order = self.orders[tensor]
        back = tuple(order.index(k) for k in range(len(order)))
        return f"{self.names[tensor]} = np.require({code}.transpose({order}), {how}).transpose({back})"

    @property
    def pinned(self) -> set[str]:
        """The tensors whose memory blocks in one call go through by themselves."""
        return {tensor for tensors in self.steps.values() for tensor in tensors}

    def repeat(self, stage: Repeat, level: int) -> None:
        for call in calls(stage.stages):  # what its steps put slices into
            for _, part in call.gives:
                if part.tensor not in self.there:
                    self.allocate(part.tensor)
        number = next((k for k, s in enumerate(self.staged.stages) if s is stage), -1)
        if number in self.steps:
            given = ", ".join(self.names[t] for t in self.steps[number])
            self.lines.append(f"{INDENT * level}{repeating(number)}({given})")
            self.number += sum(1 for _ in calls(stage.stages))
            return
        for number, (index, (lo, hi)) in enumerate(stage.extents):
            self.names[f"step {index}"] = name = self.name(index)
            steps = f"range({lo}, {hi})" if lo else f"range({hi})"
            steps = f"reversed({steps})" if stage.block.reverse else steps
            self.lines.append(f"{INDENT * (level + number)}for {name} in {steps}:")
            self.open[index] = (lo, hi)
        inside = level + len(stage.extents)
        for mask in stage.block.masks:
            self.lines.append(f"{INDENT * inside}if not {self.holds(mask, True)}:")
            self.lines.append(f"{INDENT * (inside + 1)}continue")
        self.run(stage.stages, inside)
        for index, _ in stage.extents:
            self.taken.discard(self.names.pop(f"step {index}"))
            del self.open[index]

    def allocate(self, tensor: str) -> None:
        buffer = next(b for b in self.staged.buffers if b.tensor == tensor)
        start, shape, back = _number(buffer.start), buffer.kept, ""
        if self.turned(tensor):
            order = self.orders[tensor]
            shape = tuple(shape[k] for k in order)
            back = f".transpose({tuple(order.index(k) for k in range(len(order)))})"
        maker = f"np.zeros({shape}, {buffer.dtype!r})" if buffer.start == 0 else ""
        self.head.append(f"{self.names[tensor]} = {maker or f'np.full({shape}, {start}, {buffer.dtype!r})'}{back}")
        self.there.add(tensor)

    def call(self, stage: Call, level: int) -> None:
        indent = INDENT * level
        given = ", ".join(self.taken_from(part) for _, part in stage.takes)
        names = [self.name(n) for n, _ in stage.gives]
        function = self.called[self.number]
        self.number += 1
        left = f"({', '.join(names)}{',' * bool(names)}) = " if names else ""
        self.lines.append(f"{indent}{left}{function}({given})")
        for name, (_, part) in zip(names, stage.gives, strict=True):
            buffer = next(b for b in self.staged.buffers if b.tensor == part.tensor)
            if part.whole and not self.open:
                self.there.add(part.tensor)
                home = self.names[part.tensor]
                code = f"{name}.astype({buffer.dtype!r}, copy=False)"
                pinned = part.tensor in self.pinned or self.turned(part.tensor)
                self.lines.append(indent + (self.laid(part.tensor, code) if pinned else f"{home} = {code}"))
                continue
            if part.tensor not in self.there:
                self.allocate(part.tensor)
            guard = self.guard(part)
            self.lines.append(f"{indent}{guard}{self.names[part.tensor]}[{self.index(part)}] = {name}")
            self.taken.discard(name)

    def taken_from(self, part: Slice | Now | One) -> str:
        """Code of what a piece takes."""
        if isinstance(part, One):
            return self.fill((), np.dtype(part.dtype).type(1))
        if isinstance(part, Now):
            return f"np.asarray({self.names[f'step {part.index}']})"
        if part.tensor not in self.there:
            self.allocate(part.tensor)
        name = self.names[part.tensor]
        if part.whole:
            return name
        dtype = self.staged.stored(part.tensor)
        shape = self.staged.shapes[part.tensor]
        axes = [(a, n) for a, n in zip(part.axes, shape, strict=True) if isinstance(a, At)]
        if any(n == 0 and not is_padded(a) and positions(a, self.open) is not None for a, n in axes):
            return self.fill(shape_of(part, self.staged.shapes), np.dtype(dtype).type(0))  # where a mask refuses all
        code = f"{name}[{self.index(part)}]"
        for axis, size in reversed([(a, n) for a, n in axes if is_padded(a)]):  # the first that is out of range says
            assert isinstance(axis.position, Boundary)
            around = self.fill(shape_of(part, self.staged.shapes), fill(axis.position, dtype))
            code = f"({code} if {self.lies_in(axis, size)} else {around})"
        return code

    def fill(self, shape: tuple[int, ...], value: Any) -> str:
        """The name of an array of one number."""
        key = shape, value.dtype.name, value.tobytes()
        if key not in self.fills:
            self.fills[key] = self.name("fill")
            number = _number(value.real.item() if value.dtype.kind == "c" else value.item())
            self.head.append(f"{self.fills[key]} = np.full({shape}, {number}, {value.dtype.name!r})")
        return self.fills[key]

    def inside(self, part: Slice) -> str:
        """Code of whether a slice lies in no padding."""
        tests = []
        for axis, n in zip(part.axes, self.staged.shapes[part.tensor], strict=True):
            if isinstance(axis, At) and is_padded(axis):
                tests.append(self.lies_in(axis, n))
        return " and ".join(tests)

    def lies_in(self, axis: At, size: int) -> str:
        """Code of whether a position lies in no padding."""
        return f"0 <= {self.said(axis, True)} < {size}"

    def guard(self, part: Slice) -> str:
        """What stands before a write that may fall into a padding, or outside where a mask refuses all of it."""
        tests = [test] if (test := self.inside(part)) else []
        for axis, n in zip(part.axes, self.staged.shapes[part.tensor], strict=True):
            if isinstance(axis, At) and not isinstance(axis.position, Boundary) and self.leaves(axis, n):
                tests.append(f"0 <= {self.expr(axis.position, True)} < {n}")
        return f"if {' and '.join(tests)}: " if tests else ""

    def leaves(self, axis: At, size: int) -> bool:
        """Whether a position leaves its axis at some step."""
        reach = positions(axis, self.open)
        return reach is not None and (reach[0] < 0 or reach[1] >= size)

    def index(self, part: Slice) -> str:
        """Code of a slice's subscripts."""
        shape = self.staged.shapes[part.tensor]
        found = [self.place(part, k, axis, n) for k, (axis, n) in enumerate(zip(part.axes, shape, strict=True))]
        while found and found[-1] == ":":
            found.pop()
        if all(isinstance(a, At) for a in part.axes):
            found.append("...")
        return ", ".join(found) or "..."

    def place(self, part: Slice, number: int, axis: Axis, size: int) -> str:
        """Code of where an axis of a slice is in memory."""
        code, length = self.axis(part, number, axis, size), self.staged.modulo(part.tensor, number)
        if length is None:
            return code
        if length == 1 or code.isdecimal():
            return str(int(code) % length) if length > 1 else "0"
        return f"{code} % {length}" if code.isidentifier() else f"({code}) % {length}"

    def axis(self, part: Slice, number: int, axis: Axis, size: int) -> str:
        match axis:
            case None:
                return ":"
            case Span(start=start, length=length):
                code = self.expr(start)
                return f"{code}:{code} + {length}"
            case At(position=Boundary(kind="pad")):
                return self.said(axis)
            case At(position=Boundary(kind=kind)):
                code = self.said(axis)
                if kind == "clamp":
                    return f"min(max({code}, 0), {size - 1})"
                if kind == "wrap":
                    return f"({code}) % {size}"
                self.used.add("reflected")
                return f"{self.helpers['reflected']}({code}, {size})"
            case At(position=e, masks=masks):
                assert not isinstance(e, Boundary)
                code = self.expr(e)
                reach = positions(axis, self.open)
                if reach is None:
                    self.used.add("at")
                    self.places.append((access_of(part, number, e), number))
                    code = f"{self.helpers['at']}({code}, {size}, {len(self.places) - 1})"
                    return self.where_held(code, masks)
                if reach[0] < 0 or reach[1] >= size:  # where a mask refuses it
                    return f"min(max({code}, 0), {size - 1})"
                return code

    def said(self, axis: At, tight: bool = False) -> str:
        """Code of the position that a boundary is around, less a padding's width."""
        s, looked = axis.position, len(self.places)
        assert isinstance(s, Boundary)
        wide = s.kind == "pad" and s.lo is not None and s.lo != Const(0)
        code = self.expr(s.expr, tight or wide)
        if wide:
            assert s.lo is not None
            code = f"({code} - {self.expr(s.lo, True)})"
        return self.where_held(code, axis.masks) if len(self.places) > looked else code

    def where_held(self, code: str, masks: Sequence[Expr]) -> str:
        """Code of a position that is not looked at where a mask refuses it."""
        held = " and ".join(self.holds(m, True) for m in masks)
        return f"({code} if {held} else 0)" if held else code

    def expr(self, expr: Expr, tight: bool = False) -> str:
        """Code of a position."""
        return self.code(typed(expr, self.staged.stored, self.staged.shapes), tight)

    def holds(self, mask: Expr, tight: bool = False) -> str:
        """Code of whether a condition holds."""
        return self.code(truth(mask, self.staged.stored, self.staged.shapes), tight)

    def code(self, node: Node, tight: bool = False) -> str:
        """Code of a number: an integer or a float of Python, or a float of NumPy where it is of a tensor."""
        match node:
            case Number(value=value):
                return _number(value)
            case Step(name=name):
                return self.names[f"step {name}"]
            case Read(access=Access(tensor=tensor, subscripts=subscripts)):
                axes = tuple(At(s) for s in subscripts if isinstance(s, Expr | Boundary))
                return self.taken_from(Slice(tensor, axes))
            case Do(fn="whole", args=(a,)):
                return f"int({self.code(a)})"
            case Do(fn="float", args=(a,), kind=kind):
                return f"np.{kind.name}({self.code(a)})"
            case Do(fn="int", args=(a,)):
                return self.helped("whole", self.code(a))
            case Do(fn="neg" | "not" as fn, args=(a,)):
                return f"({'-' if fn == 'neg' else 'not '}{self.code(a, True)})"
            case Do(fn="min" | "max" as fn, args=args, kind=kind) if kind.kind == "int":
                return f"{fn}({', '.join(map(self.code, args))})"
            case Do(fn="floordiv" | "mod" as fn, args=(a, b), kind=kind) if kind.kind == "int" and not _is_divisor(b):
                name = "quotient" if fn == "floordiv" else "remainder"
                return self.helped(name, f"{self.code(a)}, {self.code(b)}")
            case Do(fn=fn, args=args, kind=kind) if fn in _BY_NUMPY and kind.kind != "int":
                return f"{_BY_NUMPY[fn]}({', '.join(map(self.code, args))})"
            case Do(fn=fn, args=(a, b)) if fn in _INFIX:
                code = f"{self.code(a, True)} {_INFIX[fn]} {self.code(b, True)}"
                return f"({code})" if tight else code
            case _:
                raise AssertionError(f"a step computes nothing but what is counted: {node}")

    def helped(self, name: str, given: str) -> str:
        """A call of a helper."""
        self.used.add(name)
        return f"{self.helpers[name]}({given})"


def _is_divisor(node: Node) -> bool:
    """Whether a number is known not to be 0."""
    return isinstance(node, Number) and node.value != 0


def access_of(part: Slice, number: int, position: Expr) -> Access:
    """The access that a check tells of."""
    axes = [a.position if isinstance(a, At) else Const(0) for a in part.axes]
    axes[number] = position
    return Access(part.tensor, tuple(axes))


def _number(value: float | int | bool) -> str:
    if isinstance(value, float) and not isfinite(value):
        return "np.nan" if isnan(value) else "np.inf" if value > 0 else "-np.inf"
    return repr(value)
