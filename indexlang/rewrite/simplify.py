"""What a careful person would write for an expression: the algebra of derived statements.

In: an expression of a derived statement, hence of floating-point numbers. Out: an equal one, up to rounding. The one
rule: nothing that could be nan or inf is dropped. `x * 0`, `x / x` and `x - x` stay; what goes are the ones, zeros,
signs and reciprocals that the derivative rules leave behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..program.derivatives import is_constant
from ..program.ir import Call, Const, Expr, Index, Reduce, Size, Statement, indices_of, statement, walk

_LONGEST = 8  # digits of a number that is worth writing instead of its parts


def simplify_statement(stmt: Statement) -> Statement:
    """The statement with its value and masks simplified; its indices stay, as each of them still counts."""
    masks = dict.fromkeys(_mask(m) for m in stmt.domain.masks)
    better = statement(stmt.target, stmt.op, simplify(stmt.value), stmt.domain.ranges, tuple(masks), stmt.span)
    return better if set(better.domain.indices) == set(stmt.domain.indices) else stmt


def _mask(mask: Expr) -> Expr:
    """A condition without `not` where that can be said; it never turns into a range, which would be authoritative."""
    match mask:
        case Call(fn="not", args=(inner,)):
            return _not(inner) or mask
        case _:
            return mask


def simplify(expr: Expr) -> Expr:
    """The expression after the rules, bottom-up. Subscripts stay as they were written."""
    match expr:
        case Call(fn, args):
            kept: dict[str, Any] = expr.__dict__
            found: Expr | None = kept.get("_simple")
            if found is None:
                changed = tuple([simplify(a) for a in args])
                same = all(a is b for a, b in zip(args, changed, strict=True))
                found = kept["_simple"] = _call(expr if same else Call(fn, changed, expr.span))
            return found
        case Reduce(body=body):
            return replace(expr, body=simplify(body))
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


# -- numbers ---------------------------------------------------------------------------------------


def number(fn: str, *args: float) -> float | None:
    """The value of an operator on numbers where it is exact or short, else None."""
    if any(isinstance(a, bool) for a in args):
        return None
    try:
        found = _ARITHMETIC[fn](*args)
    except (ArithmeticError, KeyError, ValueError):
        return None
    if isinstance(found, complex):
        return None
    if isinstance(found, int):
        return found if abs(found) < 2**63 else None
    return found if len(repr(found)) <= _LONGEST and found - found == 0 else None


def _power(a: float, b: float) -> float:
    if abs(b) > 64:
        raise ValueError
    return float("nan") if b < 0 else a**b


_ARITHMETIC: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": _power,
}


def _is(expr: Expr, value: float) -> bool:
    return isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value == value


# -- products --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """coefficient * factors / divisors: products, quotients and signs of any nesting, in the order written."""

    coefficient: float
    factors: tuple[Expr, ...]
    divisors: tuple[Expr, ...]

    def expr(self) -> Expr:
        """coefficient first, then the factors, then the divisors; a sign is the first factor's."""
        factors = _powers(self.factors)
        if abs(self.coefficient) != 1 or not factors:
            whole = _whole(self.coefficient) if any(not is_constant(f) for f in factors) else self.coefficient
            factors = [Const(whole), *factors]
        elif self.coefficient < 0:
            factors = [Call("neg", (factors[0],)), *factors[1:]]
        found = factors[0]
        for factor in factors[1:]:
            found = Call("mul", (found, factor))
        for divisor in self.divisors:
            found = Call("div", (found, divisor))
        return found


def product(expr: Expr) -> Product:
    """An expression taken apart into coefficient, factors and divisors."""
    if not isinstance(expr, Call):
        return _product(expr)
    kept: dict[str, Any] = expr.__dict__
    found: Product | None = kept.get("_product")
    if found is None:
        found = kept["_product"] = _product(expr)
    return found


def _product(expr: Expr) -> Product:
    match expr:
        case Const(value=value) if not isinstance(value, bool) and value == value:
            return Product(value, (), ())
        case Call(fn="neg", args=(a,)):
            inner = product(a)
            return Product(-inner.coefficient, inner.factors, inner.divisors)
        case Call(fn="mul", args=(a, b)):
            left, right = product(a), product(b)
            coefficient = number("mul", left.coefficient, right.coefficient)
            if coefficient is not None:
                factors, divisors = (*left.factors, *right.factors), (*left.divisors, *right.divisors)
                return _reduced(coefficient, factors, divisors)
        case Call(fn="div", args=(a, b)):
            inner = product(a)
            sign = 1
            while isinstance(b, Call) and b.fn == "neg":
                sign, b = -sign, b.args[0]
            return _reduced(sign * inner.coefficient, inner.factors, (*inner.divisors, b))
        case _:
            pass
    return Product(1, (expr,), ())


def _reduced(coefficient: float, factors: tuple[Expr, ...], divisors: tuple[Expr, ...]) -> Product:
    """A coefficient other than a sign takes up the numbers among the divisors: 2 * x / 4 as 0.5 * x."""
    kept = []
    for divisor in divisors:
        quotient = number("div", coefficient, divisor.value) if isinstance(divisor, Const) else None
        if quotient is not None and abs(coefficient) != 1:
            coefficient = quotient
        else:
            kept.append(divisor)
    return Product(coefficient, factors, tuple(kept))


def _whole(value: float) -> float:
    """2 for 2.0: beside a floating-point tensor it is the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else value


def _powers(factors: tuple[Expr, ...]) -> list[Expr]:
    """x * x * x**2 as x**4: whole positive exponents only, so that no domain changes."""
    found: dict[Expr, int] = {}
    for factor in factors:
        match factor:
            case Call(fn="pow", args=(base, Const(value=int(n)))) if n > 0 and not isinstance(base, Const):
                found[base] = found.get(base, 0) + n
            case _:
                found[factor] = found.get(factor, 0) + 1
    return [base if n == 1 else Call("pow", (base, Const(n))) for base, n in found.items()]


def _as_product(fn: str) -> Callable[..., Expr | None]:
    def rule(*args: Expr) -> Expr | None:
        return product(Call(fn, args)).expr()

    return rule


def _is_written(call: Call) -> bool:
    """Whether a product is what the rules would write: factors one after the other, all of them different."""
    first, last = call.args
    known: frozenset[Expr] | None = None
    match first:
        case Const(value=value):
            known = frozenset() if type(value) is int and abs(value) > 1 else None
        case Call(fn="neg", args=(inner,)) if _is_factor(inner):
            known = frozenset((inner,))
        case Call(fn="mul"):
            known = first.__dict__.get("_different")
        case _:
            known = frozenset((first,)) if _is_factor(first) else None
    if known is None or last in known or not _is_factor(last):
        return False
    kept: dict[str, Any] = call.__dict__
    kept["_different"] = known | {last}
    return True


def _is_factor(expr: Expr) -> bool:
    """Whether an expression is one factor that stays as it is."""
    return not isinstance(expr, Const) and not (isinstance(expr, Call) and expr.fn in ("mul", "div", "neg", "pow"))


# -- sums, powers, conditions ----------------------------------------------------------------------


def _fold(fn: str) -> Callable[..., Expr | None]:
    def rule(*args: Expr) -> Expr | None:
        if not all(isinstance(a, Const) for a in args):
            return None
        found = number(fn, *(a.value for a in args if isinstance(a, Const)))
        return None if found is None else Const(found)

    return rule


def _negative(expr: Expr) -> Expr | None:
    """What `expr` is the negative of, if it is written as one."""
    if isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value < 0:
        return Const(-expr.value)
    parts = product(expr)
    if parts.coefficient >= 0 or not parts.factors:
        return None
    return Product(-parts.coefficient, parts.factors, parts.divisors).expr()


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
    if _is(b, 1):
        return a
    match a, b:
        case Call(fn="pow", args=(base, Const(value=int(m)))), Const(value=int(n)) if m > 0 and n > 0:
            return Call("pow", (base, Const(m * n)))
    return None


def _not(a: Expr) -> Expr | None:
    match a:
        case Call(fn="not", args=(b,)) if isinstance(b, Call) and b.fn in _TRUTHS:
            return b
        case Call(fn="eq" | "ne" as fn, args=args):  # also right for nan
            return Call("ne" if fn == "eq" else "eq", args)
        case Call(fn=fn, args=(b, c)) if fn in _OPPOSITE and _is_integer(b) and _is_integer(c):
            return Call(_OPPOSITE[fn], (b, c))
        case _:
            return None


def _is_integer(expr: Expr) -> bool:
    """Integer arithmetic on indices: no nan, so that `not a < b` is `a >= b`."""
    allowed = (Const, Index, Size, Call)
    parts = list(walk(expr))
    return any(isinstance(p, Index) for p in parts) and all(
        isinstance(p, allowed)
        and not (isinstance(p, Const) and isinstance(p.value, float))
        and not (isinstance(p, Call) and p.fn not in ("add", "sub", "mul", "neg", "floordiv", "mod"))
        for p in parts
    )


def _where(c: Expr, a: Expr, b: Expr) -> Expr | None:
    match c:
        case Call(fn="not", args=(d,)):
            return Call("where", (d, b, a))
        case _:
            return None


_OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt"}
_TRUTHS = frozenset(("lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"))
_RULES: dict[str, tuple[Callable[..., Expr | None], ...]] = {
    "add": (_fold("add"), _add),
    "sub": (_fold("sub"), _sub),
    "mul": (_fold("mul"), _as_product("mul")),
    "div": (_fold("div"), _as_product("div")),
    "neg": (_fold("neg"), _as_product("neg")),
    "pow": (_fold("pow"), _pow),
    "not": (_not,),
    "where": (_where,),
}
