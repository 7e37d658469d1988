"""Conversions between dtypes as LLVM IR.

In: a value and a dtype. Out: instructions, and their result. The one rule: no call of a function that the process may
not have: machines without instructions for float16 compute it from its bits.
"""

from __future__ import annotations

from .nest import Type
from .text import Code, Value, bits_of, constant, ir_type, is_float, is_signed, vector_of


def cast(code: Code, value: Value, dtype: str) -> Value:
    """As NumPy's astype."""
    own = value.type.dtype
    if own == dtype:
        return value
    if own == "float16":
        return cast(code, _from_half(code, value), dtype)
    if dtype == "float16":
        wide = value if is_float(own) else cast(code, value, "float32")
        return _to_half(code, _odd(code, wide) if wide.type.dtype == "float64" else wide)
    kind = Type(dtype, value.type.lanes)
    if dtype == "bool":
        test = "fcmp une" if is_float(own) else "icmp ne"
        return code.value(f"{test} {value}, {constant(0, value.type).text}", kind)
    if is_float(own) and not is_float(dtype):
        name = "fptosi" if is_signed(dtype) else "fptoui"
        found = code.value(f"{name} {value} to {ir_type(kind)}", kind)
        return code.value(f"freeze {found}", kind)  # out of range: anything, but one thing
    name = _between(own, dtype)
    return code.value(f"{name} {value} to {ir_type(kind)}", kind) if name else Value(value.text, kind, value.known)


def _between(own: str, dtype: str) -> str:
    """The instruction between two floats, two integers, or an integer and a float."""
    if is_float(own):
        return "fpext" if bits_of(dtype) > bits_of(own) else "fptrunc"
    if is_float(dtype):
        return "sitofp" if is_signed(own) else "uitofp"
    if bits_of(dtype) == bits_of(own):
        return ""
    return "trunc" if bits_of(dtype) < bits_of(own) else "sext" if is_signed(own) else "zext"


class _Bits:
    """Arithmetic on the bits of a float32, as uint32."""

    def __init__(self, code: Code, lanes: int) -> None:
        self.code, self.kind, self.mask = code, Type("uint32", lanes), Type("bool", lanes)

    def of(self, value: Value) -> Value:
        """A float32's bits, or another integer's value."""
        if value.type.dtype != "float32":
            return self.code.value(f"zext {value} to {ir_type(self.kind)}", self.kind)
        return self.code.value(f"bitcast {value} to {ir_type(self.kind)}", self.kind)

    def as_float(self, value: Value) -> Value:
        """The float32 that has these bits."""
        kind = Type("float32", self.kind.lanes)
        return self.code.value(f"bitcast {value} to {ir_type(kind)}", kind)

    def do(self, name: str, a: Value, b: Value | int) -> Value:
        """An instruction."""
        b = constant(b, self.kind) if isinstance(b, int) else b
        return self.code.value(f"{name} {a}, {b.text}", self.kind)

    def choose(self, test: str, a: Value, b: int, then: Value | int, other: Value) -> Value:
        """`then` where a comparison holds."""
        then = constant(then, self.kind) if isinstance(then, int) else then
        holds = self.code.value(f"icmp {test} {a}, {constant(b, self.kind).text}", self.mask)
        return self.code.value(f"select {holds}, {then}, {other}", self.kind)

    def float(self, name: str, a: Value, b: int) -> Value:
        """An instruction of the floats that have these bits, one of them constant."""
        given = self.as_float(constant(b, self.kind))
        left = self.as_float(a)
        return self.of(self.code.value(f"{name} {left}, {given.text}", left.type))


def _has_half(code: Code) -> bool:
    return code.target.fused  # machines that fuse convert, too


def _from_half(code: Code, value: Value) -> Value:
    lanes = value.type.lanes
    kind = Type("float32", lanes)
    if _has_half(code):
        half = code.set(f"bitcast {value} to {vector_of('half', lanes)}")
        return code.value(f"fpext {vector_of('half', lanes)} {half} to {ir_type(kind)}", kind)
    b = _Bits(code, lanes)
    bits = b.of(value)
    moved = b.do("shl", b.do("and", bits, 0x7FFF), 13)
    exponent = b.do("and", moved, 0x7C00 << 13)
    normal = b.do("add", moved, (127 - 15) << 23)
    great = b.do("add", normal, (128 - 16) << 23)
    tiny = b.float("fsub", b.do("add", normal, 1 << 23), 113 << 23)
    found = b.choose("eq", exponent, 0, tiny, b.choose("eq", exponent, 0x7C00 << 13, great, normal))
    return b.as_float(b.do("or", found, b.do("shl", b.do("and", bits, 0x8000), 16)))


def _to_half(code: Code, value: Value) -> Value:
    lanes = value.type.lanes
    kind = Type("float16", lanes)
    if _has_half(code):
        half = code.set(f"fptrunc {value} to {vector_of('half', lanes)}")
        return code.value(f"bitcast {vector_of('half', lanes)} {half} to {ir_type(kind)}", kind)
    b = _Bits(code, lanes)
    bits = b.of(value)
    size = b.do("and", bits, 0x7FFFFFFF)
    magic = (127 - 15 + 23 - 10 + 1) << 23
    tiny = b.do("sub", b.float("fadd", size, magic), magic)
    odd = b.do("and", b.do("lshr", size, 13), 1)
    normal = b.do("lshr", b.do("add", b.do("add", size, ((15 - 127) << 23) + 0xFFF), odd), 13)
    great = b.choose("ugt", size, 0x7F800000, 0x7E00, constant(0x7C00, b.kind))
    found = b.choose("ult", size, 0x38800000, tiny, b.choose("uge", size, 0x47800000, great, normal))
    found = b.do("or", found, b.do("and", b.do("lshr", bits, 16), 0x8000))
    return code.value(f"trunc {found} to {ir_type(kind)}", kind)


def _odd(code: Code, value: Value) -> Value:
    """A float64 as a float32 with an odd last digit unless it is exact, so that rounding it again rounds once."""
    lanes = value.type.lanes
    wide, mask = value.type, Type("bool", lanes)
    b = _Bits(code, lanes)
    near = cast(code, value, "float32")
    back = cast(code, near, "float64")
    beyond = code.value(f"fcmp ogt {code.call('fabs', wide, [back])}, {code.call('fabs', wide, [value]).text}", mask)
    inexact = code.value(f"fcmp one {back}, {value.text}", mask)
    bits = b.do("sub", b.of(near), b.of(beyond))
    return b.as_float(b.do("or", bits, b.of(inexact)))
