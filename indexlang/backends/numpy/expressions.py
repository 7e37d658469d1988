"""Values of the Plan as NumPy code: every one broadcasts over the axes that it is made for.

In: a value, the axes over which it is wanted. Out: an `Operand`. The one rule: code is generic in the dtype, so that it
runs on complex numbers too, and each operand has the type in which its operation is computed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import prod

import numpy as np

from ...plan.quantities import Apply, Count, Load, Number, Position, Reach, Reduced, Value
from ...program.algebra import by_products, by_roots
from . import code as py
from .arrays import OUT, Fill, Operand, aligned, axes_here, count_of, held, operand
from .code import Code, Name, Operator, Slice, call, dtype, elements, method, plus
from .function_support import SUPPORT
from .functions import FORMS, Form
from .names import Writer
from .scope import position

DEEPEST = 50  # functions inside each other that are written as one expression

# Functions whose arguments keep their own types; the rest compute in the type of their result.
_NEUTRAL = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not", "isfinite"})
# Functions that Python numbers give Python numbers for.
_PYTHON = frozenset({"add", "sub", "mul", "neg", "lt", "le", "gt", "ge", "eq", "ne"})
# What stands beside the rows of the table of functions.
_CHOOSING = frozenset({"where", "select", "keep", "choose"})
_BESIDE = {
    **{fn: FORMS["where"] for fn in ("select", "keep", "choose")},
    "square": Form("np.square({0})", "np.square"),
    "quarters": Form("_quarters({0}, {1})"),
}
# Functions that forget the imaginary part of a complex step.
_STEPS = frozenset({"floor", "ceil", "round", "sign", "floordiv"})
# What brings values together.
UFUNCS = {
    "=": "np.add",
    "+=": "np.add",
    "-=": "np.subtract",
    "*=": "np.multiply",
    "/=": "np.divide",
    "max=": "np.maximum",
    "min=": "np.minimum",
    "sum": "np.add",
    "product": "np.multiply",
    "greatest": "np.maximum",
    "least": "np.minimum",
    "any": "np.logical_or",
    "all": "np.logical_and",
}


def value(w: Writer, v: Value, axes: Sequence[str]) -> Operand:
    """The code of a value over `axes`, of which it has those of its indices that have one."""
    match v:
        case Number(value=number):
            return Operand(_literal(number, v.dtype), (), v.dtype, weak=True, constant=True)
        case Count(over=over):
            count = count_of(over, w.scope)
            return Operand(count, (), v.dtype, weak=True, constant=isinstance(count, py.Number))
        case Reach():
            return Operand(_reach(w, v), (), v.dtype, weak=True)
        case Position(index=index):
            return _position(w, index, axes)
        case Load():
            return _load(w, v, axes)
        case Reduced():
            return _reduced(w, v, axes)
        case Apply():
            args = []
            for a in v.args:  # a comprehension would go down twice as deep
                args.append(value(w, a, axes))
            found = _apply(w, v, args, axes)
            return held(w, found, "inner") if found.depth > DEEPEST else found


def whole_number(w: Writer, v: Value) -> Code:
    """A single integer as Python's own: NumPy takes a microsecond for each operation on one."""
    match v:
        case Number(value=int(number)):
            return py.Number(number)
        case Reach():
            return _reach(w, v)
        case Apply(fn="add", args=(a, b)):
            return plus(0, [(1, whole_number(w, a)), (1, whole_number(w, b))])
        case Apply(fn="neg", args=(a,)):
            return plus(0, [(-1, whole_number(w, a))])
        case Apply(fn="mul", args=(a, Number(value=int(by)))):
            return plus(0, [(by, whole_number(w, a))])
        case Apply(fn="floordiv", args=(a, b)):
            return Operator("//", (whole_number(w, a), whole_number(w, b)))
        case Apply(fn="min" | "max" as fn, args=(a, b)):
            return call(fn, whole_number(w, a), whole_number(w, b))
        case _:
            return call("int", value(w, v, ()).code)


def _reach(w: Writer, v: Reach) -> Code:
    """The end of what an affine position takes here."""
    ends = [(c, w.scope[i].width) for i, c in v.row.coefs if (c > 0) == v.most]
    ends = [(c, width) for c, width in ends if width is not None]
    first = position(v.row.const - sum(c for c, _ in ends), v.row.coefs, w.scope)
    return plus(0, [(1, first), *[(c, width) for c, width in ends if width is not None]])


def _literal(number: float | bool, kind: str) -> py.Number:
    """A number; integers that no array of integers holds are floats."""
    least, most = (0, 1 << 64) if kind == "uint64" else (-(1 << 63), 1 << 63)
    if isinstance(number, int) and not isinstance(number, bool) and not least <= number < most:
        return py.Number(float(number))
    return py.Number(number)


def _position(w: Writer, index: str, axes: Sequence[str]) -> Operand:
    """An index as a number over the axes: a range, or a loop's variable."""
    axis = w.scope[index]
    if axis.width is None:
        return Operand(position(0, [(index, 1)], w.scope), (), "int64", weak=True)
    if axis.n > w.limits.table:
        first = position(0, [(index, 1)], w.scope)
        made = call("np.arange", first, plus(0, [(1, first), (1, axis.width)]))
        return aligned(Operand(made, (index,), "int64", fresh=True), axes)
    everything = Operand(call("np.arange", axis.lo, axis.lo + axis.n), (index,), "int64", constant=True)
    found = _kept(w, aligned(everything, axes), index)
    if axis.whole:
        return found
    start = plus(0, [(1, v) for v in axis.at])
    part = Slice(start, plus(0, [(1, start), (1, axis.width)]))
    return replace(found, code=elements(found.code, [part]), constant=False)


def _kept(w: Writer, x: Operand, hint: str) -> Operand:
    """A constant under a name of the module."""
    return replace(x, code=w.constant(x.code, hint), into=(), depth=0)


def _load(w: Writer, v: Load, axes: Sequence[str]) -> Operand:
    found = aligned(operand(w, v.place, v.at), axes)
    if found.dtype == v.dtype:  # float16 is computed in float32, small integers in int64
        return found
    return replace(found, code=method(found.code, "astype", dtype(v.dtype)), dtype=v.dtype, fresh=True)


def _reduced(w: Writer, v: Reduced, axes: Sequence[str]) -> Operand:
    """A reduction of the axes that the value has."""
    over = axes_here(v.over, w.scope)
    kept = [i for i in axes if i not in over]
    found = value(w, v.value, [*kept, *over])
    places = [k for k, i in enumerate(found.axes) if i in over]
    if not places:
        return found
    gone: Code = py.Number(places[0]) if len(places) == 1 else py.row(places)
    if len(places) == len(found.axes) and (condition := _counted(v)) is not None:
        whole = value(w, condition, over)
        return Operand(call("np.int64", call("np.count_nonzero", whole.code)), (), "int64", depth=whole.depth + 1)
    made = Fill(f"{UFUNCS[v.op]}.reduce", (found.code, gone))
    result: Code = call(made.function, *made.args)
    left = tuple(i for i in found.axes if i not in over)
    while left and left[0] is None:
        result, left = py.Item(result, (py.Number(0),)), left[1:]
    into = (made,) if len(left) == len(found.axes) - len(places) else ()
    kind = _reduced_type(v.op, found.dtype)
    return Operand(result, left, kind, fresh=True, depth=found.depth + 1, into=into)


def _counted(v: Reduced) -> Value | None:
    """The condition of which it is counted how often it holds."""
    match v:
        case Reduced(op="sum", value=Apply(fn="cast", args=(condition,), dtype="int64")) if condition.dtype == "bool":
            return condition
        case _:
            return None


def _reduced_type(op: str, kind: str) -> str:
    """The dtype that NumPy gives a reduction."""
    if op in ("any", "all"):
        return "bool"
    small = kind == "bool" or (kind.startswith(("int", "uint")) and not kind.endswith("64"))
    if UFUNCS[op] not in ("np.add", "np.multiply") or not small:
        return kind
    return "uint64" if kind.startswith("uint") else "int64"


# -- functions -----------------------------------------------------------------------------------------


def _apply(w: Writer, v: Apply, args: list[Operand], axes: Sequence[str]) -> Operand:
    fn, kind = v.fn, v.dtype
    whole = _together(args, axes)
    depth = 1 + max(a.depth for a in args)
    constant = all(a.constant for a in args)
    if fn == "int" and (args[0].weak or args[0].dtype.startswith(("float", "complex"))):
        w.use("_int")
        part = args[0].code
        part = call("np.real", part) if args[0].dtype.startswith("complex") else part
        return Operand(call("_int", part), whole, kind, constant=constant, fresh=True, depth=depth)
    if fn in ("int", "float", "cast") or (fn in ("floor", "ceil", "round") and kind in ("int64", "uint64")):
        return replace(converted(w, args[0], "int64" if fn == "int" else kind), depth=depth)
    if fn == "isfinite":
        return Operand(call("np.isfinite", args[0].code), whole, "bool", constant=constant, fresh=True, depth=depth)
    codes: list[Code] = []
    weak = all(a.weak for a in (args[1:] if fn in _CHOOSING else args))
    for place, arg in enumerate(args):
        if (fn in _CHOOSING and place == 0) or fn in ("and", "or", "not"):
            codes.append(truth(arg))
        elif fn in _NEUTRAL:
            codes.append(_raw(w, v.args[place], arg, axes) if any(a.weak for a in args) else arg.code)
        else:
            codes.append(arg.code if arg.weak or arg.dtype == kind else converted(w, arg, kind).code)
    if fn == "keep":
        codes.append(py.Number(0))
    form = _BESIDE[fn] if fn in _BESIDE else FORMS[fn]
    template, ufunc = form.numpy, form.ufunc
    whole_numbers = kind.startswith(("int", "uint")) and all(a.dtype.startswith(("int", "uint")) for a in args)
    if w.complex_step and form.complex_step is not None and not whole_numbers:
        template, ufunc = form.complex_step, None
        if fn in ("max", "min") and args[1].weak and not args[0].weak:
            codes.reverse()  # at a tie the first one wins, but a constant before a tensor
        if fn in _STEPS:
            kind = "float64"
    if fn == "pow":
        special = None if weak or w.complex_step else _power(v, args, kind)
        if weak:  # Python's own powers may raise, or turn complex
            special = f"np.power(np.{kind}({{0}}), {{1}})"
        elif special is None and kind == "int64" and isinstance(v.args[1], Apply):
            special = "np.power({0}, np.maximum({1}, 0))"  # it is below 0 only where it has wrapped
        template, ufunc = special or template, None if special else ufunc
    w.support.update(_needed(template))
    result: Code = py.Form(template, tuple(codes))
    if weak and fn in _PYTHON:
        return Operand(result, whole, kind, weak=True, constant=constant, depth=depth)
    if weak and kind.startswith("float") and constant:
        number = _folded(result)
        if number is not None:
            return Operand(py.Number(number), (), kind, weak=True, constant=True)
    if weak:  # NumPy's own scalars are strong: give the result its type
        return Operand(call("np.asarray", result, dtype(kind)), whole, kind, fresh=True, depth=depth)
    into = _into(w, fn, ufunc, codes, args, axes[len(axes) - len(whole) :], kind)
    return Operand(result, whole, kind, constant=constant, fresh=True, depth=depth, into=into)


def _into(
    w: Writer, fn: str, ufunc: str | None, codes: list[Code], args: Sequence[Operand], axes: Sequence[str], kind: str
) -> tuple[Fill, ...]:
    """The calls that make a function's value in memory that is there."""
    if w.complex_step:
        return () if ufunc is None else (Fill(ufunc, tuple(codes)),)
    match fn:
        case "keep" | "choose":
            return (Fill(fn, (*codes[: 2 + (fn == "choose")], OUT)),)
        case "relu":
            return (Fill("np.maximum", (codes[0], _filled(w, py.Number(0), axes, kind))),)
        case "max" | "min" if ufunc is not None:
            numbers = [isinstance(c, py.Number) for c in codes]
            found = [_filled(w, c, axes, kind) if n else c for c, n in zip(codes, numbers, strict=True)]
            inner = [a for a, n in zip(args, numbers, strict=True) if not n]
            if len(inner) == 1 and inner[0].into and inner[0].dtype == kind:  # what is inside is made there, too
                return (
                    *inner[0].into,
                    Fill(ufunc, tuple(c if n else OUT for c, n in zip(found, numbers, strict=True))),
                )
            return (Fill(ufunc, tuple(found)),)
        case "rsqrt":
            return (Fill("np.sqrt", tuple(codes)), Fill("np.divide", (py.Number(1), OUT)))
        case _:
            return () if ufunc is None else (Fill(ufunc, tuple(codes)),)


def _filled(w: Writer, number: Code, axes: Sequence[str], kind: str) -> Code:
    """An array that holds one number: NumPy compares arrays several times as fast as with a number."""
    inner: list[int] = []
    for i in reversed(axes):
        width = w.scope[i].width
        if prod(inner) >= w.limits.filled or not isinstance(width, py.Number):
            break
        inner.insert(0, int(width.value))
    if not inner or prod(inner) < w.limits.run:
        return number
    return w.constant(call("np.full", py.row(inner), number, dtype(kind)), "filled")


def _together(args: Sequence[Operand], axes: Sequence[str]) -> tuple[str | None, ...]:
    """The axes of what broadcasts together over `axes`."""
    most = max(len(a.axes) for a in args)
    present = {i for a in args for i in a.axes}
    return tuple(i if i in present else None for i in axes[len(axes) - most :])


def _raw(w: Writer, v: Value, arg: Operand, axes: Sequence[str]) -> Code:
    """An integer compared with a number needs no conversion."""
    if isinstance(v, Load) and v.dtype != v.place.buffer.dtype and v.place.buffer.dtype.startswith(("int", "uint")):
        return value(w, Load(v.place, v.place.buffer.dtype, v.at), axes).code
    return arg.code


def converted(w: Writer, x: Operand, kind: str) -> Operand:
    """The operand in a type: a number too becomes an array's element."""
    if x.weak:
        made = method(call("np.asarray", x.code), "astype", dtype(kind))
        return Operand(made, (), kind, constant=x.constant, fresh=True)
    if x.dtype == kind:
        return x
    part = x.code
    if x.dtype.startswith("complex") and not kind.startswith("complex"):
        part = call("np.real", part)
    found = replace(x, code=method(part, "astype", dtype(kind)), dtype=kind, fresh=True, laid=False, into=())
    return _kept(w, found, x.code.text) if x.constant and isinstance(x.code, Name) else found


def truth(x: Operand) -> Code:
    """A value as a condition."""
    if x.dtype == "bool" and not x.weak:
        return x.code
    return Operator("!=", (call("np.asarray", x.code), py.Number(0)))


def _folded(result: Code) -> float | None:
    """Code of numbers alone as the number that it gives; None where it calls what only the module has."""
    with np.errstate(all="ignore"):
        try:
            return float(eval(py.text(result), {"np": np, "__builtins__": {}}))
        except (NameError, TypeError, AttributeError, OverflowError):
            return None


def _power(v: Apply, args: Sequence[Operand], kind: str) -> str | None:
    """A power by products and roots, which cost a fraction of it, where that is as exact."""
    exponent, sign = v.args[1], 1
    if isinstance(exponent, Apply) and exponent.fn == "neg":
        exponent, sign = exponent.args[0], -1
    if not isinstance(exponent, Number) or kind not in ("float32", "float64") or args[0].weak or args[0].dtype != kind:
        return None
    number = sign * exponent.value
    if number in (-1, 0.5, 1, 2):  # NumPy is as fast
        return None
    if whole := by_products(number):
        return f"_whole({{0}}, {whole})"
    quarters = by_roots(number)
    return f"_quarters({{0}}, {quarters})" if quarters else None


@cache
def _needed(template: str) -> frozenset[str]:
    """The support functions that a form calls."""
    return frozenset(name for name in re.findall(r"(?<![\w.])_\w+(?=\()", template) if name in SUPPORT)
