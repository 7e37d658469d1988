"""What may stand in a subscript, a range, a shape: whole numbers.

In: an expression. Out: the same with options folded in, and what is wrong with it. The one rule: a position is an
affine form with integer coefficients in indices and sizes, its parts index tensors, `int(...)`, and `//` and `%` by
positive constants; what the author wrote stays as it is, but for `i+0` and for what an option's value makes trivial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..program.affine import Affine
from ..program.ir import Access, Call, Const, Expr, Index, Reduce, Size
from .converter import Given, is_static, negative

Fault = tuple[str, str, Expr, str | None]  # code, rule, the part that is wrong, the way out

STATIC = "write a number, or the size of an axis: size(x,0)"  # the way out where nothing else may stand

_WHOLE: Mapping[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "pow": lambda a, b: a**b,
}
_MOST = 64  # the greatest exponent: sizes beyond 2**64 are no sizes


def folded(expr: Expr, what: str = "position") -> Expr:
    """The expression with the values of options worked in."""
    match expr:
        case Call(fn, (a,)) if fn == "neg":
            return negative(folded(a, what), expr.span)
        case Call(fn, (a, b)) if fn in _WHOLE:
            return _folded(replace(expr, args=(folded(a, what), folded(b, what))), what)
        case _:
            return expr


def _folded(call: Call, what: str) -> Expr:
    fn, (a, b) = call.fn, call.args
    x, y = whole(a), whole(b)
    if x is not None and y is not None and (isinstance(a, Given) or isinstance(b, Given) or fn == "pow"):
        if not (fn in ("floordiv", "mod") and y == 0) and not (fn == "pow" and not 0 <= y <= _MOST):
            return Given(_WHOLE[fn](x, y), call.span)
        return call
    match fn:
        case "add" if y == 0:
            return a
        case "add" if x == 0:
            return b
        case "sub" if y == 0:
            return a
        case "add" if isinstance(b, Given) and y is not None and y < 0:
            return Call("sub", (a, Given(-y, b.span)), call.span)
        case "sub" if isinstance(b, Given) and y is not None and y < 0:
            return Call("add", (a, Given(-y, b.span)), call.span)
        case "mul" if isinstance(a, Given) and x == 1:
            return b
        case "mul" | "floordiv" if isinstance(b, Given) and y == 1:
            return a
        case "mul" if what != "position" and (_is_nothing(a) or _is_nothing(b)):  # elsewhere, an index would be lost
            return a if x == 0 else b
        case _:
            return call


def _is_nothing(expr: Expr) -> bool:
    return isinstance(expr, Given) and whole(expr) == 0


def whole(expr: Expr) -> int | None:
    """The value of a whole number."""
    return expr.value if isinstance(expr, Const) and type(expr.value) is int else None


def next_after(expr: Expr) -> Expr:
    """The bound `expr + 1`."""
    value = whole(expr)
    if value is not None:
        return replace(expr, value=value + 1) if isinstance(expr, Const) else expr
    return (Affine.from_expr(expr) + 1).to_expr()


def faults(expr: Expr, what: str = "position") -> Iterator[Fault]:
    """What keeps an expression from being a position, or a `what` that only sizes and numbers make."""
    match expr:
        case Const(value):
            if type(value) is not int:
                shown = f"{value!r}" if not isinstance(value, bool) else "a comparison"
                way = "write int(...) around what computes it" if what == "position" else "write a whole number"
                yield "fraction", f"a {what} is a whole number, not {shown}", expr, way
            elif abs(value) >= 1 << 63:
                yield "overflow", f"numbers of a {what} stay below 2**63", expr, "write a smaller number"
        case Size():
            pass
        case Index() | Access() | Reduce(op="argmax" | "argmin"):
            if what != "position":
                yield "bound", f"a {what} is made of sizes, dims, options and whole numbers", expr, STATIC
        case Call("int"):
            if what != "position":
                yield "bound", f"a {what} is made of sizes, dims, options and whole numbers", expr, "use // to divide"
        case Call("add" | "sub" | "neg", args):
            for a in args:
                yield from faults(a, what)
        case Call("mul", (a, b)):
            yield from faults(a, what)
            yield from faults(b, what)
            if what == "position" and not is_static(a) and not is_static(b):
                rule = "a position is affine: no product of indices"
                yield "product", rule, expr, "write int(...) around it, a position that is computed on the way"
        case Call("floordiv" | "mod" as fn, (a, b)):
            yield from faults(a, what)
            yield from faults(b, what)
            divisor = whole(b)
            moves = what == "position" and not is_static(b)
            if moves or (divisor is not None and divisor <= 0):
                symbol = "//" if fn == "floordiv" else "%"
                rule = f"in a {what}, {symbol} is by a positive constant"
                yield "divisor", rule, b, "write int(...) around it" if moves else "write a number above 0"
        case Call("min" | "max", args) if what != "position" or is_static(expr):
            for a in args:
                yield from faults(a, what)
        case Call("div"):
            yield "fraction", f"/ gives no whole number, as a {what} must be", expr, "use //, which rounds down"
        case _:
            if what == "position":
                rule = "this is no position: indices, sizes and whole numbers with + - * // %"
                yield "position", rule, expr, "write int(...) around it, or name it in a statement of its own"
            else:
                yield "bound", f"this is no {what}: sizes and whole numbers with + - * // % min max", expr, STATIC
