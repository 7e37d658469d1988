"""What types the operations take and give.

In: an operation, the types of its operands. Out: what is wrong with them. The one rule: the table of `operations`, row
by row.
"""

from __future__ import annotations

from collections.abc import Sequence

from .nest import Apply, Literal, Type
from .operations import OPERATIONS
from .text import bits_of, is_float

INTEGERS = frozenset(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))
FLOATS = frozenset(("float16", "float32", "float64"))
DTYPES = INTEGERS | FLOATS | {"bool"}
_NUMBERS = INTEGERS | FLOATS
_ARGS = {
    **dict.fromkeys(("neg", "abs", "not", "sqrt", "floor", "ceil", "trunc", "nearest", "same", "ordered"), 1),
    **dict.fromkeys(("bits", "cast", "spread", "total", "most", "fewest"), 1),
    **dict.fromkeys(("fma", "select"), 3),
}
_OF = {
    **dict.fromkeys(("add", "sub", "mul", "neg", "abs", "total"), _NUMBERS),
    **dict.fromkeys(("div", "fma", "copysign", "sqrt", "floor", "ceil", "trunc", "nearest", "ordered"), FLOATS),
    **dict.fromkeys(("quotient", "remainder", "shl", "shr"), INTEGERS),
    **dict.fromkeys(("and", "or", "xor", "not"), INTEGERS | {"bool"}),
}
_TESTS = ("lt", "le", "gt", "ge", "eq", "ne", "ordered")
_ACROSS = ("total", "most", "fewest")


def wrong(op: Apply, types: Sequence[Type]) -> str:
    """What is wrong with an operation of such types; empty where nothing is."""
    if op.fn not in OPERATIONS:
        return "there is no such operation"
    if op.fn in ("lane", "shuffle"):
        return _picked(op, types)
    if len(types) != _ARGS.get(op.fn, 2):
        return f"it takes {_ARGS.get(op.fn, 2)} operands"
    first = types[0]
    if first.dtype not in _OF.get(op.fn, DTYPES):
        return f"it is not of {first.dtype}"
    if op.fn == "select":
        own = types[1]
        if types[2] != own or first.dtype != "bool" or first.lanes not in (1, own.lanes):
            return f"no choice by {first} among {own} and {types[2]}"
        return _gives(op, own)
    if any(t != first for t in types):
        return f"types {', '.join(map(str, types))} together"
    return _result(op, first)


def _result(op: Apply, first: Type) -> str:
    if op.fn in _TESTS:
        return _gives(op, Type("bool", first.lanes))
    if op.fn in _ACROSS:
        return (
            "its lanes are not halved again and again"
            if first.lanes & (first.lanes - 1)
            else _gives(op, Type(first.dtype))
        )
    if op.fn == "spread":
        return "it is of a scalar" if first.lanes > 1 else _gives(op, Type(first.dtype, op.type.lanes))
    if op.fn == "cast":
        return _gives(op, Type(op.type.dtype, first.lanes))
    if op.fn == "bits":
        if "bool" in (first.dtype, op.type.dtype) or bits_of(first.dtype) != bits_of(op.type.dtype):
            return f"{first} has not the width of {op.type}"
        return _gives(op, Type(op.type.dtype, first.lanes))
    return _gives(op, first)


def _picked(op: Apply, types: Sequence[Type]) -> str:
    if not op.args or len(op.args) < 2 or (op.fn == "lane" and len(op.args) != 2):
        return "it takes a vector and numbers of lanes"
    for number in op.args[1:]:
        if not isinstance(number, Literal) or isinstance(number.value, float):
            return f"{number} is no number of a lane"
        if not 0 <= number.value < types[0].lanes + (op.fn == "shuffle"):
            return f"there is no lane {number.value} of {types[0].lanes}"
    return _gives(op, Type(types[0].dtype, len(op.args) - 1))


def _gives(op: Apply, kind: Type) -> str:
    return "" if op.type == kind else f"it gives {kind}, not {op.type}"


def wrong_literal(of: Literal) -> str:
    """What is wrong with a number."""
    kind, value = of.type, of.value
    if kind.dtype not in DTYPES or kind.lanes < 1:
        return f"there is no type {kind}"
    if is_float(kind.dtype):
        return ""
    if kind.dtype == "bool":
        return "" if value in (0, 1) else f"{value} is no bool"
    low = 0 if kind.dtype.startswith("u") else -(1 << (bits_of(kind.dtype) - 1))
    if isinstance(value, float) or not low <= value < low + (1 << bits_of(kind.dtype)):
        return f"{value} is no {kind.dtype}"
    return ""
