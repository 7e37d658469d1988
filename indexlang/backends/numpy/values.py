"""Expressions as NumPy code: every value broadcasts over the axes of its statement.

In: an expression, the axes it is wanted over, the scope. Out: a `Value`. The one rule: code is generic in the dtype, so
that it runs on complex numbers too, and each operand has the type in which its operation is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

import numpy as np

from ...plan.kernels import TABLE, Row, linear, plain
from ...program.ir import Access, Boundary, Call, Const, Expr, Index, Size, Subscript, indices_of, reads
from ...sizes import dtypes as kinds
from .function_support import SUPPORT
from .functions import FORMS
from .source import Array, Operand, Scope, Writer, aligned, name_of, shape_code, start, whole

DEEPEST = 50  # calls inside each other that are written as one expression


@dataclass(frozen=True)
class Value:
    """Code that broadcasts over the axes it was made for; `python` marks a Python number, which is weak."""

    code: str
    dtype: str
    indices: tuple[str, ...]
    python: bool = False
    fresh: bool = False  # an array of its own, that nothing else holds
    depth: int = 0  # of calls inside each other
    raw: str = ""  # the code without a conversion that a comparison with a number does not need


@dataclass(frozen=True)
class Position:
    """One subscript in its axis's own positions: an affine row, or None where it is computed; `end` bounds its text."""

    sub: Subscript
    row: Row | None
    boundary: Boundary | None
    lo: int = 0  # the elements of padding in front
    end: int = 0  # below what the subscript itself must stay
    safe: bool = False  # no check is needed


@dataclass
class Lowering:
    """What is known while the code of a program is written."""

    writer: Writer
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]  # in which tensors are computed
    weak: frozenset[str] = frozenset()
    complex_step: bool = False
    single: frozenset[str] = frozenset()  # tensors that one statement makes
    final: frozenset[str] = frozenset()  # tensors that one statement makes and none reads
    arrays: dict[str, Array] = field(default_factory=dict)  # tensors defined so far
    prepared: dict[object, tuple[Array, tuple[Position, ...]]] = field(default_factory=dict)
    gathered: dict[object, Operand] = field(default_factory=dict)
    extrema: dict[object, str] = field(default_factory=dict)  # tensors, by what is the greatest or least in them
    places: list[tuple[Access, int]] = field(default_factory=list)  # what `check` numbers refer to
    # of the statement being lowered:
    extents: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    masks: tuple[Expr, ...] = ()
    guarded: frozenset[tuple[Access, int]] = frozenset()

    def kind(self, expr: Expr) -> str:
        """The dtype of an expression; int64 and float64 for weak ones."""
        return kinds.expr_type(expr, self.known)

    @cached_property
    def known(self) -> kinds.Known:
        """The types of all tensors, and of the expressions so far."""
        return kinds.Known(self.dtypes, self.weak)

    def number(self, expr: Expr) -> int:
        """The value of an expression of sizes."""
        row = linear(expr, self.shapes)
        assert row is not None and not row.coefs, "a number is made of numbers and sizes"
        return row.const


def emit(low: Lowering, expr: Expr, axes: Sequence[str], scope: Scope) -> Value:
    """The code of an expression over `axes`."""
    match expr:
        case Const(value=value):
            return Value(number_code(value), low.kind(expr), (), python=True)
        case Size(tensor=tensor, axis=axis):
            return Value(str(low.shapes[tensor][axis]), "int64", (), python=True)
        case Index(name=name):
            tap = scope[name].width is None
            return Value(index_value(low, name, axes, scope), "int64", () if tap else (name,), python=tap)
        case Access():
            found, kind = _read(low, expr, scope), low.dtypes[expr.tensor]
            code = aligned(found, axes)
            if found.dtype != kind:  # float16 is computed in float32, small integers in int64
                return Value(f"{code}.astype(np.{kind})", kind, found.indices, fresh=True, raw=code)
            return Value(code, kind, found.indices)
        case Call(fn="mul", args=(a, Const(value=1))) if low.kind(a) == low.kind(expr):
            return emit(low, a, axes, scope)
        case Call(fn=fn, args=args):
            values = [emit(low, a, axes, scope) for a in args]
            made = replace(_call(low, expr, fn, values, axes), depth=1 + max(v.depth for v in values))
            return _held(low, made) if made.depth > DEEPEST else made
        case _:
            raise AssertionError("embedded reductions are hoisted before lowering")


def _held(low: Lowering, value: Value) -> Value:
    """The value under a name: Python takes only so many brackets inside each other."""
    name = low.writer.fresh("inner")
    low.writer.line(f"{name} = {value.code}")
    return replace(value, code=name, depth=0)


def _read(low: Lowering, access: Access, scope: Scope) -> Operand:
    from .reads import read

    return read(low, access, scope)


def number_code(value: float | bool) -> str:
    """A number as an atom of Python source."""
    if value != value:
        return "np.nan"
    if value in (float("inf"), float("-inf")):
        return "np.inf" if value > 0 else "(-np.inf)"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        value = float(value)
    return f"({value!r})" if value < 0 else repr(value)


def index_value(low: Lowering, index: str, axes: Sequence[str], scope: Scope) -> str:
    """An index as a number over the axes: a range, or a loop's variable."""
    axis = scope[index]
    if axis.width is None:
        return f"({start(plain(index), scope)})"
    behind = len(axes) - 1 - list(axes).index(index)
    turn = f".reshape(-1{', 1' * behind})" if behind else ""
    if axis.n > TABLE:
        first = start(plain(index), scope)
        return f"np.arange({first}, {first} + {axis.width}){turn}"
    everything = low.writer.constant(f"np.arange({axis.lo}, {axis.lo + axis.n}){turn}", index)
    return everything if axis.whole else f"{everything}[{axis.var}:{axis.var} + {axis.width}]"


# Functions whose arguments keep their own types; the rest compute in the type of their result.
_NEUTRAL = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
# Functions that Python numbers give Python numbers for.
_PYTHON = frozenset({"add", "sub", "mul", "neg", "lt", "le", "gt", "ge", "eq", "ne"})
# Functions that forget the imaginary part of a complex step.
_STEPS = frozenset({"floor", "ceil", "round", "sign", "floordiv"})


def _call(low: Lowering, expr: Call, fn: str, args: list[Value], axes: Sequence[str]) -> Value:
    form, kind = FORMS[fn], low.kind(expr)
    python = fn in _PYTHON and all(a.python for a in args)
    indices = tuple(i for i in axes if any(i in a.indices for a in args))
    if fn == "int" and (args[0].python or args[0].dtype.startswith(("float", "complex"))):
        low.writer.use("_int")
        part = f"np.real({args[0].code})" if args[0].dtype.startswith("complex") else args[0].code
        return Value(f"_int({part})", kind, indices)
    if fn in ("int", "float"):
        return Value(_cast(low, args[0], "int64" if fn == "int" else kind), kind, indices)
    if fn in ("floor", "ceil", "round") and kind in ("int64", "uint64"):
        return Value(_cast(low, args[0], kind), kind, indices)
    codes = []
    for place, arg in enumerate(args):
        code = arg.code
        if (fn == "where" and place == 0) or fn in ("and", "or", "not"):
            code = truth_code(arg)
        elif fn not in _NEUTRAL and not arg.python and arg.dtype != kind:
            code = f"{atom(code)}.astype(np.{kind})"
            if arg.code in low.writer.constants.values():
                code = low.writer.constant(code, arg.code)
        elif fn in _NEUTRAL and arg.raw and any(a.python for a in args):
            code = arg.raw
        codes.append(code)
    template = form.numpy
    if low.complex_step and form.complex_step is not None:
        template = form.complex_step
        if fn in ("max", "min") and args[1].python and not args[0].python:
            codes.reverse()  # at a tie the first one wins, but a constant before a tensor
        if fn in _STEPS:
            kind = "float64"
    weak = all(a.python for a in (args[1:] if fn == "where" else args))
    if fn == "pow" and not weak and not low.complex_step:
        template = _power(expr, args, kind) or template
    low.writer.support.update(name for name in SUPPORT if f"{name}(" in template)
    if fn == "pow" and weak:  # Python's own powers may raise, or turn complex
        template = f"np.power(np.{kind}({{0}}), {{1}})"
    code = template.format(*codes)
    if weak and not python and kind.startswith("float"):
        number = _folded(code)
        if number is not None:
            return Value(number, kind, (), python=True)
    if weak and not python:  # NumPy's own scalars are strong: give the result its type
        code = f"np.asarray({code}, np.{name_of(kind)})"
    return Value(code, kind, indices, python=python, fresh=not python)


def _folded(code: str) -> str | None:
    """Code of numbers alone as the number that it gives; None where it names anything else."""
    with np.errstate(all="ignore"):
        try:
            return number_code(float(eval(code, {"np": np, "__builtins__": {}})))
        except (NameError, TypeError, AttributeError, OverflowError):
            return None


def _power(expr: Call, args: Sequence[Value], kind: str) -> str | None:
    """A power by products and roots, which cost a fraction of it, where that is as exact."""
    exponent, sign = expr.args[1], 1
    if isinstance(exponent, Call) and exponent.fn == "neg":
        exponent, sign = exponent.args[0], -1
    value = sign * exponent.value if isinstance(exponent, Const) else None
    if value is None or kind not in ("float32", "float64") or args[0].python or args[0].dtype != kind:
        return None
    if value in (3, 4, -2, -3, -4):
        return f"_whole({{0}}, {int(value)})"
    quarters = 4 * value
    if quarters == int(quarters) and abs(quarters) < 8 and quarters % 4 and value != 0.5:
        return f"_quarters({{0}}, {int(quarters)})"
    return None


def _cast(low: Lowering, value: Value, kind: str) -> str:
    if value.python:
        return f"np.asarray({value.code}).astype(np.{kind})"
    if value.dtype == kind:
        return value.code
    code = value.code
    if low.complex_step and kind == "int64" and value.dtype.startswith("complex"):
        code = f"np.real({code})"
    return f"{atom(code)}.astype(np.{kind})"


def atom(code: str) -> str:
    """The code, in brackets unless a method can be called on it as it stands."""
    depth = 0
    for c in code:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and c in " +-*/%<>=&|~":
            return f"({code})"
    return code


def truth_code(value: Value) -> str:
    """A value as a condition."""
    if value.dtype == "bool" and not value.python:
        return value.code
    return f"(np.asarray({value.code}) != 0)"


# -- masks ---------------------------------------------------------------------------------------------


@contextmanager
def guarded_by_static(low: Lowering) -> Iterator[None]:
    """While a mask is written: what it reads is guarded by the masks that read nothing."""
    masks = low.masks
    low.masks = tuple(m for m in masks if not reads(m))
    yield
    low.masks = masks


def truth(low: Lowering, mask: Expr, axes: Sequence[str], scope: Scope) -> str:
    """A condition as a boolean array."""
    writer = low.writer
    before = len(writer.lines)
    with guarded_by_static(low):
        code = atom(truth_code(emit(low, mask, axes, scope)))
    own = indices_of(mask)
    fixed = not reads(mask) and own and all(scope[i].whole for i in own)
    if fixed and len(writer.lines) == before and prod(scope[i].n for i in own) <= TABLE:
        return writer.constant(code, "mask")
    return code


def conjunction(low: Lowering, masks: Sequence[Expr], axes: Sequence[str], scope: Scope) -> str:
    """All conditions as one boolean array."""
    return " & ".join(truth(low, m, axes, scope) for m in masks)


def mask_over(low: Lowering, axes: Sequence[str], scope: Scope) -> str | None:
    """Code of the points of `axes` that the masks admit for some value of the other indices; None for all."""
    if not low.masks:
        return None
    everything = {**whole(low.extents), **scope}
    mentioned = dict.fromkeys(i for m in low.masks for i in indices_of(m))
    inner = [i for i in mentioned if i not in axes and everything[i].width is not None]
    order = [*inner, *axes]
    code = conjunction(low, low.masks, order, everything)
    if inner:
        code = f"np.broadcast_to({code}, {shape_code(order, everything)}).any({tuple(range(len(inner)))})"
    return code
