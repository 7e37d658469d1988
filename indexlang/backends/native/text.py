"""LLVM IR being written: lines, fresh names, types and constants as text.

In: a `Target`. Out: lines of one function, and what it declares. The one rule: a float16 is an integer of 16 bits here,
as it is only ever converted; a bool is one bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from .nest import Type
from .target import Target

_BITS = {"bool": 1, "float16": 16, "float32": 32, "float64": 64}
Lines = list["str | Lines"]


@dataclass(frozen=True)
class Value:
    """What an operand is in IR: a name or a constant, and the type of the register."""

    text: str
    type: Type
    known: int | float | None = None  # of a constant

    def __str__(self) -> str:
        return f"{_type(self.type.dtype, self.type.lanes)} {self.text}"


@cache
def bits_of(dtype: str) -> int:
    """The width in a register."""
    return _BITS.get(dtype) or int(dtype.lstrip("uint"))


def itemsize(dtype: str) -> int:
    """Bytes in memory."""
    return max(1, bits_of(dtype) // 8)


def is_float(dtype: str) -> bool:
    """Whether it is a float of whatever width."""
    return dtype.startswith("float")


def is_signed(dtype: str) -> bool:
    """Whether it is a signed integer."""
    return dtype.startswith("int")


def ir_type(kind: Type) -> str:
    """A register's type."""
    return _type(kind.dtype, kind.lanes)


@cache
def _type(dtype: str, lanes: int) -> str:
    return vector_of({"float32": "float", "float64": "double"}.get(dtype, f"i{bits_of(dtype)}"), lanes)


def vector_of(scalar: str, lanes: int) -> str:
    """So many of a scalar type."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def constant(value: int | float | bool, kind: Type) -> Value:
    """A number in every lane."""
    text = _scalar(value, kind.dtype)
    if kind.lanes > 1:
        text = f"splat ({ir_type(Type(kind.dtype))} {text})"
    return Value(text, kind, value)


def _scalar(value: int | float | bool, dtype: str) -> str:
    if dtype == "bool":
        return "true" if value else "false"
    if dtype in ("float32", "float64"):
        return f"0x{struct.unpack('<Q', struct.pack('<d', _rounded(float(value), dtype)))[0]:016X}"
    if dtype == "float16":
        return str(struct.unpack("<h", struct.pack("<e", float(value)))[0])
    width = bits_of(dtype)
    wrapped = int(value) & ((1 << width) - 1)
    return str(wrapped - (1 << width) if wrapped >> (width - 1) else wrapped)


def _rounded(value: float, dtype: str) -> float:
    """As a float of the dtype."""
    if dtype == "float64":
        return value
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:  # above the greatest float32
        return float("inf") if value > 0 else float("-inf")


def flat(lines: Lines) -> Iterator[str]:
    """The lines in order."""
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from flat(line)


class Code:
    """Lines of a function so far. `block` is the label of the block that is written."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.lines: Lines = []
        self.declared: set[str] = set()
        self.block = "entry"
        self._count = 0

    def name(self) -> str:
        """A fresh name of a value."""
        self._count += 1
        return f"%v{self._count}"

    def label(self, hint: str) -> str:
        """A fresh name of a block."""
        self._count += 1
        return f"{hint}{self._count}"

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block = label

    def put(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def set(self, text: str) -> str:
        """An instruction's result."""
        name = self.name()
        self.lines.append(f"  {name} = {text}")
        return name

    def value(self, text: str, kind: Type) -> Value:
        """An instruction's result as a value."""
        return Value(self.set(text), kind)

    def call(self, name: str, kind: Type, args: Sequence[Value], more: str = "") -> Value:
        """A call of an intrinsic that is named by its result's type; `more` are constants of one bit."""
        scalar = ir_type(Type(kind.dtype))
        suffix = {"float": "f32", "double": "f64"}.get(scalar, scalar)
        function = f"@llvm.{name}.{suffix if kind.lanes == 1 else f'v{kind.lanes}{suffix}'}"
        result = ir_type(kind)
        kinds = ", ".join([*(ir_type(a.type) for a in args), *(["i1"] if more else [])])
        self.declared.add(f"declare {result} {function}({kinds})")
        given = ", ".join([*map(str, args), *([f"i1 {more}"] if more else [])])
        return self.value(f"call {result} {function}({given})", kind)

    def shuffled(self, value: Value, lanes: Sequence[int]) -> Value:
        """Some lanes of a vector, 0 for the one behind its last; of one lane a scalar."""
        kind = Type(value.type.dtype, len(lanes))
        if len(lanes) == 1:
            return self.lane(value, lanes[0])
        mask = ", ".join(f"i32 {k}" for k in lanes)
        other = "poison" if max(lanes) < value.type.lanes else "zeroinitializer"
        given = f"{value}, {ir_type(value.type)} {other}"
        return self.value(f"shufflevector {given}, <{len(lanes)} x i32> <{mask}>", kind)

    def widened(self, value: Value, lanes: int) -> Value:
        """A vector's or scalar's lanes, and zeros after them."""
        zero = Value("zeroinitializer", Type(value.type.dtype, lanes))
        if value.type.lanes == 1:
            return self.value(f"insertelement {zero}, {value}, i32 0", zero.type)
        own = value.type.lanes
        mask = ", ".join(f"i32 {min(k, own)}" for k in range(lanes))
        given = f"{value}, {ir_type(value.type)} zeroinitializer"
        return self.value(f"shufflevector {given}, <{lanes} x i32> <{mask}>", zero.type)

    def lane(self, value: Value, number: int) -> Value:
        """One lane as a scalar."""
        kind = Type(value.type.dtype)
        return value if value.type.lanes == 1 else self.value(f"extractelement {value}, i32 {number}", kind)

    def spread(self, value: Value, lanes: int) -> Value:
        """A scalar in all lanes."""
        kind = Type(value.type.dtype, lanes)
        if lanes == 1:
            return value
        if value.known is not None:
            return constant(value.known, kind)
        vector = ir_type(kind)
        one = self.set(f"insertelement {vector} poison, {value}, i32 0")
        return self.value(f"shufflevector {vector} {one}, {vector} poison, <{lanes} x i32> zeroinitializer", kind)

    def lanes(self, kind: Type, values: Sequence[Value]) -> Value:
        """Scalars as a vector; zeros where none are left."""
        found = Value("zeroinitializer", kind)
        for k, value in enumerate(values):
            found = self.value(f"insertelement {found}, {value}, i32 {k}", kind)
        return found
