"""What a careful person would write for an expression: the algebra of derived statements.

In: an expression of a derived statement, hence of floating-point numbers. Out: an equal one, up to rounding. The one
rule: nothing that could be nan or inf is dropped. `x * 0`, `x / x` and `x - x` stay; what goes are the ones, zeros,
signs and reciprocals that the derivative rules leave behind.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from math import pi

from ..program.algebra import PRODUCTS, exact, fold, is_numeric, product, raised, spine
from ..program.conditions import as_mask, negation
from ..program.facts import kept_upwards
from ..program.ir import Call, Const, Expr, Reduce, Statement, indices_of, statement
from ..program.rebuild import with_value


def simplify_statement(stmt: Statement) -> Statement:
    """The statement with its value and masks simplified; its indices stay, as each of them still counts."""
    masks = dict.fromkeys(_mask(m) for m in stmt.domain.masks)
    if tuple(masks) == stmt.domain.masks:
        better = with_value(stmt, simplify(stmt.value))
    else:
        better = statement(
            stmt.target, stmt.op, simplify(stmt.value), stmt.domain.ranges, tuple(masks), stmt.span, stmt.block
        )
    return better if set(better.domain.indices) == set(stmt.domain.indices) else stmt


def _mask(mask: Expr) -> Expr:
    """A condition without `not` where that can be said; it never turns into a range, which would be authoritative."""
    match mask:
        case Call(fn="not", args=(inner,)):
            return negation(inner)
        case Call(fn="lt" | "le" | "gt" | "ge" as fn, args=(Call(fn="max" | "min" as bound, args=args), limit)):
            free = _unbounded(fn, bound, args, limit)
            return mask if free is None else as_mask(Call(fn, (free, limit)))
        case _:
            return mask


def _unbounded(fn: str, bound: str, args: tuple[Expr, ...], limit: Expr) -> Expr | None:
    """x where max(x, 0) < 6 is x < 6, and min(x, 6) > 0 is x > 0: the number decides nothing; a nan meets neither."""
    end = exact(limit)
    for one, other in (args, args[::-1]):
        number = exact(other)
        if number is not None and end is not None:
            holds = {"lt": number < end, "le": number <= end, "gt": number > end, "ge": number >= end}[fn]
            below = fn in ("lt", "le")
            if holds == (below == (bound == "max")):
                return one
    return None


def _units(expr: Expr) -> tuple[Expr, ...]:
    """The parts that are simplified by themselves: what is multiplied and divided is looked at together."""
    match expr:
        case Call(fn=fn) if fn in PRODUCTS:
            first, steps = spine(expr)
            return (first, *[part for step in steps for part in step.args[1:]])
        case Call(args=args):
            return args
        case Reduce(body=body):
            return (body,)
        case _:
            return ()


@kept_upwards(_units)
def simplify(expr: Expr) -> Expr:
    """The expression after the rules, bottom-up. Subscripts stay as they were written."""
    match expr:
        case Call(fn=fn, args=args):
            first, steps = spine(expr) if fn in PRODUCTS else (args[0], [expr])
            made = simplify(first)
            for step in steps:
                changed = (made, *map(simplify, step.args[1:]))
                made = step if all(map(operator.is_, changed, step.args)) else Call(step.fn, changed, step.span)
            return _call(made) if isinstance(made, Call) else made
        case Reduce(body=body):
            better = simplify(body)
            return expr if better is body else replace(expr, body=better)
        case _:
            return expr


def _call(call: Call) -> Expr:
    if call.fn == "mul" and _is_written(call):
        return call
    for rule in _RULES.get(call.fn, ()):
        found = rule(*call.args)
        if found is not None and found != call and set(indices_of(found)) == set(indices_of(call)):
            return _call(found) if isinstance(found, Call) else found
    return call


# -- products --------------------------------------------------------------------------------------


def _as_product(fn: str) -> Callable[..., Expr | None]:
    def rule(*args: Expr) -> Expr | None:
        return product(Call(fn, args)).expr()

    return rule


def _is_written(call: Call) -> bool:
    """Whether a product is what the rules would write: factors one after the other, all of them different."""
    first, (start, *others) = spine(call)
    if start.fn == "div" or any([step.fn != "mul" for step in others]):
        return False
    factors = [step.args[1] for step in (*others, start) if step.fn == "mul"]
    if start.fn == "neg" or not (isinstance(first, Const) and _is_number(first.value)):
        factors.append(first)
    return all(map(_is_factor, factors)) and len(set(factors)) == len(factors)


def _is_number(value: float) -> bool:
    """Whether a number in front of a product stays as it is."""
    return abs(value) > 1 if type(value) is int else type(value) is float and value % 1 != 0 and abs(value) != pi


def _is_factor(expr: Expr) -> bool:
    """Whether an expression is one factor that stays as it is."""
    return not is_numeric(expr) and not (isinstance(expr, Call) and expr.fn in ("mul", "div", "neg", "pow"))


# -- sums, powers, conditions ----------------------------------------------------------------------


def _fold(fn: str) -> Callable[..., Expr | None]:
    def rule(*args: Expr) -> Expr | None:
        return fold(fn, *args)

    return rule


def _is(expr: Expr, value: float) -> bool:
    return isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value == value


def _negative(expr: Expr) -> Expr | None:
    """What `expr` is the negative of, if it is written as one."""
    if isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value < 0:
        return Const(-expr.value)
    parts = product(expr)
    if parts.number >= 0 or not parts.factors:
        return None
    return replace(parts, number=-parts.number).expr()


def _add(a: Expr, b: Expr) -> Expr | None:
    if _is(a, 0):
        return b
    if _is(b, 0):
        return a
    if (positive := _negative(b)) is not None:
        return Call("sub", (a, positive))
    if (positive := _negative(a)) is not None:
        return Call("sub", (b, positive))
    return None


def _sub(a: Expr, b: Expr) -> Expr | None:
    if _is(b, 0):
        return a
    if (positive := _negative(b)) is not None:
        return Call("add", (a, positive))
    return None


def _pow(a: Expr, b: Expr) -> Expr | None:
    exponent = exact(b)
    if exponent is None or not (exponent == 1 or (isinstance(a, Call) and a.fn == "pow")):
        return None
    return raised(a, exponent)


def _where(c: Expr, a: Expr, b: Expr) -> Expr | None:
    match c:
        case Call(fn="not", args=(d,)):
            return Call("where", (d, b, a))
        case _:
            return None


_RULES: dict[str, tuple[Callable[..., Expr | None], ...]] = {
    "add": (_fold("add"), _add),
    "sub": (_fold("sub"), _sub),
    "mul": (_fold("mul"), _as_product("mul")),
    "div": (_fold("div"), _as_product("div")),
    "neg": (_fold("neg"), _as_product("neg")),
    "pow": (_fold("pow"), _pow),
    "not": (negation,),
    "where": (_where,),
}
