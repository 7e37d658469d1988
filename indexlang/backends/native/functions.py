"""The language's table of functions as straight-line statements of primitive operations.

    call(w, "gelu", (x,), Type("float32", 8))     writes statements into w, and gives the register of the result

In: a function's name, as in the table of `program/functions.py` or beside it (`plan.quantities.Apply`), its operands,
the type of the result. Out: an operand. Errors: `ValueError` for what `known` does not know. The one rule: results are
those of the NumPy backend but for rounding, in every lane and for every number; docs/native-functions.md says how far.

Operands are brought to the type of the result first, except conditions and what is compared. A scalar among vectors
stands for all lanes. What is float16 is computed in float32 by who calls; complex numbers are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import functions_arc as arc
from . import functions_exact as exact
from . import functions_exp as exponential
from . import functions_normal as normal
from . import functions_power as power
from . import functions_trig as trig
from .nest import Literal, Operand, Type
from .terms import Term, number
from .writing import Writing

COMPARE = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
LOGIC = {"and": "and", "or": "or", "not": "not"}
CHOOSING = frozenset({"where", "select", "keep", "choose"})
CONVERSIONS = frozenset({"cast", "float"})
# Of all numbers: the rows of the table of operations that they are.
_PLAIN = {"add": "add", "sub": "sub", "mul": "mul", "neg": "neg", "abs": "abs", "max": "greatest", "min": "least"}
_ROUNDING = {"floor": "floor", "ceil": "ceil", "round": "nearest"}
_OWN: dict[str, Callable[..., Term]] = {"relu": exact.relu, "sign": exact.sign, "square": lambda x: x * x}
_WHOLE: dict[str, Callable[..., Term]] = {"floordiv": exact.floordiv, "mod": exact.mod}
# Of floats, in their own type.
_FLOATS: dict[str, Callable[..., Term]] = {
    "div": lambda a, b: a / b,
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: 1.0 / x.sqrt(),
    "pow": power.general,
    **{fn: getattr(exponential, fn) for fn in ("exp", "expm1", "log", "log1p")},
    **{fn: getattr(exponential, fn) for fn in ("tanh", "sigmoid", "softplus", "silu")},
    **{fn: getattr(normal, fn) for fn in ("erf", "gelu")},
    **{fn: getattr(trig, fn) for fn in ("sin", "cos", "tan")},
}
# Of float64 only: float32 is rounded from it.
_DOUBLES: dict[str, Callable[..., Term]] = {
    **{fn: getattr(exponential, fn) for fn in ("sinh", "cosh", "asinh", "acosh", "atanh")},
    **{fn: getattr(arc, fn) for fn in ("asin", "acos", "atan", "atan2", "hypot")},
}
_COMPUTED = frozenset({"float32", "float64"})
_INTEGERS = frozenset(f"{sign}int{width}" for sign in ("", "u") for width in (8, 16, 32, 64))


def known(fn: str, kind: Type, args: Sequence[Operand] = ()) -> bool:
    """Whether a function with results of a type can be written; a power of integers only by a literal exponent."""
    if fn in COMPARE or fn in LOGIC or fn == "isfinite":
        return kind.dtype == "bool"
    if fn in CHOOSING or fn in CONVERSIONS:
        return not kind.dtype.startswith("complex")
    if fn == "int":
        return kind.dtype == "int64"
    if kind.dtype in _INTEGERS:
        if fn == "pow":
            return len(args) == 2 and isinstance(args[1], Literal) and args[1].value >= 0
        return fn in _PLAIN or fn in _ROUNDING or fn in _OWN or fn in _WHOLE
    if kind.dtype == "bool":
        return fn in ("max", "min")
    if fn in _WHOLE:
        return kind.dtype == "float32"  # the remainder of a float64 takes 80 steps
    table = (_PLAIN, _ROUNDING, _OWN, _FLOATS, _DOUBLES, ("quarters",))
    return kind.dtype in _COMPUTED and any(fn in rows for rows in table)


def call(w: Writing, fn: str, args: Sequence[Operand], kind: Type) -> Operand:
    """Writes a function of operands; the register of its result, or a literal."""
    if not known(fn, kind, args):
        raise ValueError(f"{fn} of {kind} is not written as primitive operations")
    terms = [Term(w, a, w.type_of(a)) for a in args]
    if fn == "quarters":
        return power.quarters(_brought(terms[0], kind), int(_value(args[1]))).at
    if fn == "pow" and isinstance(args[1], Literal):
        return _power(_brought(terms[0], kind), _value(args[1])).at
    if fn in COMPARE:
        return exact.compared(fn, *(_spread(t, kind.lanes) for t in terms)).at
    if fn in CHOOSING:
        other = [*terms[1:], *([number(w, 0, kind)] if fn == "keep" else [])]
        return _brought(other[0], kind).where(exact.truth(terms[0]), _brought(other[1], kind)).at
    if fn in LOGIC:
        first, *others = (_spread(exact.truth(t), kind.lanes) for t in terms)
        return first.apply(fn, *others).at
    if fn in ("isfinite", "int"):
        own = exact.isfinite if fn == "isfinite" else exact.to_int
        return own(_spread(terms[0], kind.lanes)).at
    return _computed(fn, [_brought(t, kind) for t in terms], kind).at


def _computed(fn: str, terms: Sequence[Term], kind: Type) -> Term:
    """A function of operands of the type of its result."""
    first = terms[0]
    if fn in CONVERSIONS or (fn in _ROUNDING and not exact.is_float(kind)):
        return first
    if fn in _PLAIN or fn in _ROUNDING:
        return first.apply({**_PLAIN, **_ROUNDING}[fn], *terms[1:])
    if fn in _DOUBLES:
        return _DOUBLES[fn](*(t.cast("float64") for t in terms)).cast(kind.dtype)
    return {**_OWN, **_WHOLE, **_FLOATS}[fn](*terms)


def _power(x: Term, exponent: int | float) -> Term:
    """By a literal: products and roots where they are as exact."""
    if not exact.is_float(x.kind):
        return power.integer_power(x, int(exponent))
    return power.power(x, exponent) or power.general(x, x.number(exponent))


def _value(of: Operand) -> int | float:
    if not isinstance(of, Literal):
        raise ValueError("the exponent has to be a literal")
    return of.value


def _brought(x: Term, kind: Type) -> Term:
    """In a type, in all lanes."""
    return _spread(exact.converted(x, kind.dtype), kind.lanes)


def _spread(x: Term, lanes: int) -> Term:
    if x.kind.lanes == lanes:
        return x
    kind = Type(x.kind.dtype, lanes)
    if isinstance(x.at, Literal):
        return Term(x.w, Literal(x.at.value, kind), kind)
    return x.apply("spread", kind=kind)
