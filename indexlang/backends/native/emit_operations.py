"""Operations as LLVM IR: each row of the table for scalars and for vectors.

In: values. Out: instructions, and their result. The one rule: no flags that let the machine compute something else, so
that nan, infinities and the order of sums stay what the Nest says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .emit_casts import cast
from .nest import Apply, Literal, Operand, Type
from .text import Code, Value, constant, ir_type, is_float, is_signed

_PLAIN = ("same", "bits", "select", "cast", "spread", "lane", "shuffle")  # of whatever lies in the lanes
_ARITHMETIC = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
_CALLS = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "nearest": "rint"}
_COMPARE = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge", "eq": "eq", "ne": "ne"}


def apply(code: Code, op: Apply, value_of: Callable[[Operand], Value]) -> Value:
    """An operation of registers and literals."""
    if op.fn in ("lane", "shuffle"):
        numbers = [int(k.value) for k in op.args[1:] if isinstance(k, Literal)]
        return code.shuffled(value_of(op.args[0]), numbers)
    return operation(code, op.fn, [value_of(a) for a in op.args], op.type)


def operation(code: Code, fn: str, args: Sequence[Value], kind: Type) -> Value:
    """An operation of values. A float16 is computed with as a float32, and rounded again."""
    if fn in ("total", "most", "fewest"):
        return _across(code, {"total": "add", "most": "greatest", "fewest": "least"}[fn], args[0])
    if fn not in _PLAIN and any(a.type.dtype == "float16" for a in args):
        wide = [cast(code, a, "float32") if a.type.dtype == "float16" else a for a in args]
        inner = Type("float32", kind.lanes) if kind.dtype == "float16" else kind
        return cast(code, operation(code, fn, wide, inner), kind.dtype)
    if fn in _PLAIN:
        return _plain(code, fn, args, kind)
    if fn in _COMPARE or fn == "ordered":
        return _compare(code, fn, args)
    return (_of_floats if is_float(kind.dtype) else _of_integers)(code, fn, args, kind)


def _plain(code: Code, fn: str, args: Sequence[Value], kind: Type) -> Value:
    first = args[0]
    match fn:
        case "same":
            return first
        case "bits":
            if ir_type(first.type) == ir_type(kind):
                return Value(first.text, kind)
            return code.value(f"bitcast {first} to {ir_type(kind)}", kind)
        case "select":
            return code.value(f"select {first}, {args[1]}, {args[2]}", kind)
        case "spread":
            return code.spread(first, kind.lanes)
        case _:
            return cast(code, first, kind.dtype)


def _across(code: Code, fn: str, value: Value) -> Value:
    """Halves brought together, again and again."""
    while value.type.lanes > 1:
        half = value.type.lanes // 2
        low, high = (code.shuffled(value, range(k, k + half)) for k in (0, half))
        value = operation(code, fn, [low, high], low.type)
    return value


def _compare(code: Code, fn: str, args: Sequence[Value]) -> Value:
    own = args[0].type
    kind = Type("bool", own.lanes)
    if fn == "ordered":
        return code.value(f"fcmp ord {args[0]}, {args[0].text}", kind)
    if is_float(own.dtype):
        name = f"fcmp {'u' if fn == 'ne' else 'o'}{fn}"
    else:
        name = f"icmp {'' if fn in ('eq', 'ne') else 's' if is_signed(own.dtype) else 'u'}{fn}"
    return code.value(f"{name} {args[0]}, {args[1].text}", kind)


def _of_floats(code: Code, fn: str, args: Sequence[Value], kind: Type) -> Value:
    match fn:
        case "add" | "sub" | "mul":
            return code.value(f"f{fn} {args[0]}, {args[1].text}", kind)
        case "div":
            found = code.value(f"fdiv {args[0]}, {args[1].text}", kind)
            # LLVM holds lanes of 0 / 0 for 0, and leaves out the selection that puts a 0 there: it must not see them.
            return code.call("arithmetic.fence", kind, [found]) if kind.lanes > 1 else found
        case "neg":
            return code.value(f"fneg {args[0]}", kind)
        case "fma":
            return code.call("fmuladd", kind, args)
        case "abs":
            return code.call("fabs", kind, args)
        case "copysign":
            return code.call("copysign", kind, args)
        case "least" | "greatest":
            return _extreme(code, fn, args[0], args[1], kind)
        case _:
            return code.call(_CALLS[fn], kind, args)


def _extreme(code: Code, fn: str, a: Value, b: Value, kind: Type) -> Value:
    """A machine's own extremum of two gives the second where one is nan; so does the one here, unless the first is."""
    if a.known is not None:
        a, b = b, a
    test = "olt" if fn == "least" else "ogt"
    mask = Type("bool", kind.lanes)
    closer = code.value(f"fcmp {test} {b}, {a.text}", mask)
    found = code.value(f"select {closer}, {b}, {a}", kind)
    if b.known is not None and b.known == b.known:
        return found
    unordered = code.value(f"fcmp uno {b}, {b.text}", mask)
    return code.value(f"select {unordered}, {b}, {found}", kind)


def _of_integers(code: Code, fn: str, args: Sequence[Value], kind: Type) -> Value:
    a = args[0]
    signed, ones = is_signed(kind.dtype), constant(True if kind.dtype == "bool" else -1, kind)
    match fn:
        case "shr":
            return code.value(f"lshr {a}, {args[1].text}", kind)
        case "not":
            return code.value(f"xor {a}, {ones.text}", kind)
        case "neg":
            return code.value(f"sub {constant(0, kind)}, {a.text}", kind)
        case "abs":
            return code.call("abs", kind, args, "false") if signed else a
        case "least" | "greatest":
            if kind.dtype == "bool":
                return code.value(f"{'and' if fn == 'least' else 'or'} {a}, {args[1].text}", kind)
            return code.call(f"{'s' if signed else 'u'}{'min' if fn == 'least' else 'max'}", kind, args)
        case "quotient" | "remainder":
            return _divided(code, fn, a, args[1], kind)
        case _:
            return code.value(f"{_ARITHMETIC[fn]} {a}, {args[1].text}", kind)


def _divided(code: Code, fn: str, a: Value, b: Value, kind: Type) -> Value:
    """Nothing stops the process: not a divisor 0, as in lanes that are not live, nor the least number by -1."""
    signed = is_signed(kind.dtype)
    name = ("s" if signed else "u") + ("div" if fn == "quotient" else "rem")
    if b.known is not None and b.known not in (0, -1):
        return code.value(f"{name} {a}, {b.text}", kind)
    mask, one = Type("bool", kind.lanes), constant(1, kind)
    if not signed:
        nothing = code.value(f"icmp eq {b}, {constant(0, kind).text}", mask)
        divisor = code.value(f"select {nothing}, {one}, {b}", kind)
        return code.value(f"{name} {a}, {divisor.text}", kind)
    above = code.value(f"add {b}, {one.text}", kind)
    special = code.value(f"icmp ult {above}, {constant(2, kind).text}", mask)
    divisor = code.value(f"select {special}, {one}, {b}", kind)
    found = code.value(f"{name} {a}, {divisor.text}", kind)
    if fn == "remainder":
        return found
    negative = code.value(f"sub {constant(0, kind)}, {a.text}", kind)
    return code.value(f"select {special}, {negative}, {found}", kind)
