"""Products, sums and powers taken apart, and put together as one writes them.

In: an expression. Out: its factors or terms as they stand; of floating-point values a `Product`, its number in front
and powers of one base joined. The one rule: nothing that could be nan or inf is dropped. Powers are joined where a
pole, a root of a negative number and a nan stay what they are; numbers are multiplied as decimals, and only to what
float32 holds as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from .derivatives import is_constant
from .facts import kept, kept_upwards
from .ir import Call, Const, Expr, Subscript, children

_LONGEST = 10  # characters of a number that is worth writing instead of a quotient
_SAFE = 10**30  # numbers up to it, and down to its inverse, may be multiplied: float32 ends at 1e38
_ONE = Fraction(1)


# -- as they stand -----------------------------------------------------------------------------------

Factor = tuple[Expr, bool]  # and whether the others are divided by it
Term = tuple[int, Expr]  # 1 or -1, and what it stands before
Opens = Callable[[Call], bool]  # whether a product or sum is taken apart, too


def _always(call: Call) -> bool:
    return True


def factors_of(expr: Expr, opens: Opens = _always) -> list[Factor]:
    """The factors of a product of any nesting, in the order written; a sign is a factor -1, a divisor stays whole."""
    found: list[Factor] = []
    left: list[Factor] = [(expr, False)]
    while left:
        part, below = left.pop()
        match part:
            case Call(fn="mul", args=(a, b)) if not below and opens(part):
                left += [(b, False), (a, False)]
            case Call(fn="div", args=(a, b)) if not below and opens(part):
                left += [(b, True), (a, False)]
            case Call(fn="neg", args=(a,)) if opens(part):
                found.append((Const(-1), False))
                left.append((a, below))
            case _:
                found.append((part, below))
    return found


def multiplied(expr: Expr) -> list[Expr]:
    """The factors of a product that is neither divided nor negated."""
    return [factor for factor, _ in factors_of(expr, _is_multiplication)]


def _is_multiplication(call: Call) -> bool:
    return call.fn == "mul"


def product_of(factors: Sequence[Expr], divisors: Sequence[Expr] = ()) -> Expr:
    """The factors one after the other, then the divisors."""
    found = factors[0]
    for factor in factors[1:]:
        found = Call("mul", (found, factor))
    for divisor in divisors:
        found = Call("div", (found, divisor))
    return found


def terms_of(expr: Expr, opens: Opens = _always) -> list[Term]:
    """The terms of a sum of any nesting with their signs, in the order written."""
    found: list[Term] = []
    left: list[Term] = [(1, expr)]
    while left:
        sign, part = left.pop()
        match part:
            case Call(fn="add", args=(a, b)) if opens(part):
                left += [(sign, b), (sign, a)]
            case Call(fn="sub", args=(a, b)) if opens(part):
                left += [(-sign, b), (sign, a)]
            case Call(fn="neg", args=(a,)) if opens(part):
                left.append((-sign, a))
            case _:
                found.append((sign, part))
    return found


def sum_of(terms: Sequence[Term]) -> Expr:
    """The terms one after the other; of none, 0."""
    result: Expr | None = None
    for sign, term in terms:
        if result is None:
            result = term if sign > 0 else Call("neg", (term,))
        else:
            result = Call("add" if sign > 0 else "sub", (result, term))
    return Const(0) if result is None else result


# -- numbers ---------------------------------------------------------------------------------------


def exact(expr: Expr) -> Fraction | None:
    """The number as its decimals say it; None for what is none: pi, inf and nan, a truth, an expression."""
    if not isinstance(expr, Const) or isinstance(expr.value, bool):
        return None
    value = expr.value
    if isinstance(value, int):
        return Fraction(value)
    return None if not math.isfinite(value) or abs(value) == math.pi else Fraction(repr(value))


def fold(fn: str, *args: Expr) -> Const | None:
    """The operator applied to numbers, where the result is exact or short, else None."""
    numbers = [exact(a) for a in args]
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers) or fn not in _ARITHMETIC:
        return None
    found = _ARITHMETIC[fn](*known)
    if found is None:
        return None
    if fn != "div" and all(isinstance(a, Const) and isinstance(a.value, int) for a in args):
        return Const(int(found)) if found.denominator == 1 and abs(found) < 2**63 else None
    return Const(float(found)) if _is_short(found) else None


def _power(a: Fraction, b: Fraction) -> Fraction | None:
    return a ** int(b) if b.denominator == 1 and 0 <= b <= 64 and abs(a) <= _SAFE else None


_ARITHMETIC: dict[str, Callable[..., Fraction | None]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b if is_safe(a * b) else None,
    "div": lambda a, b: a / b if b and is_safe(a / b) else None,
    "neg": lambda a: -a,
    "pow": _power,
}


def is_safe(value: Fraction) -> bool:
    """Whether the product of numbers may stand for them, in every precision: it neither overflows nor vanishes."""
    over, under = abs(value.numerator), value.denominator
    return not over or (under <= over * _SAFE and over <= under * _SAFE)


def _is_short(value: Fraction) -> bool:
    """Whether a floating-point number of few digits is just this number."""
    text = repr(abs(float(value))) if abs(value) < Fraction(10) ** 300 else ""
    return 0 < len(text) <= _LONGEST and Fraction(text) == abs(value)


@kept_upwards(children)
def is_numeric(expr: Subscript) -> bool:
    """Whether an expression is made of numbers alone: `2`, `pi`, `sqrt(2 / pi)`."""
    if isinstance(expr, Const):
        return not isinstance(expr.value, bool)
    return isinstance(expr, Call) and all(map(is_numeric, expr.args))


# -- products --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """number * factors / divisor / divisors: products, quotients and signs of any nesting.

    `divisor` is a number above 0; what `number` is made of are integers only if it is `whole`.
    """

    number: Fraction
    factors: tuple[Expr, ...]
    divisors: tuple[Expr, ...]
    divisor: Fraction = _ONE
    whole: bool = True

    def times(self, other: Product) -> Product:
        """The product; of numbers that are not to be multiplied the other's stays a factor."""
        number = self.number if other.number is _ONE else self.number * other.number
        divisor = self.divisor if other.divisor is _ONE else self.divisor * other.divisor
        extra: tuple[Expr, ...] = ()
        if not (is_safe(number) and is_safe(divisor)):
            number, divisor = self.number, self.divisor
            extra = (replace(other, factors=(), divisors=()).expr(),)
        return Product(
            number,
            (*self.factors, *extra, *other.factors),
            (*self.divisors, *other.divisors),
            divisor,
            self.whole and other.whole,
        )

    def expr(self) -> Expr:
        """The number first, then what is made of numbers alone, the other factors, the divisors."""
        factors, divisors = join_powers(self.factors, self.divisors)
        numeric = [f for f in factors if _leads(f)]
        factors = [*numeric, *(f for f in factors if not _leads(f))]
        number, divisor = self._numbers(gathered=bool(numeric) or bool(divisors))
        if abs(number) != 1 or not factors:
            whole = self.whole or divisor != 1 or bool(divisors) or not all(map(is_constant, factors))
            factors = [Const(_plain(number) if whole else float(number)), *factors]
        elif number < 0:
            factors = [Call("neg", (factors[0],)), *factors[1:]]
        found = factors[0]
        for factor in factors[1:]:
            found = Call("mul", (found, factor))
        for part in [*([Const(_plain(divisor))] if divisor != 1 else []), *divisors]:
            found = Call("div", (found, part))
        return found

    def _numbers(self, gathered: bool) -> tuple[Fraction, Fraction]:
        """Number and divisor: 2 * x / 4 as 0.5 * x, but x / 4 and 2 * x / 3 as they are."""
        quotient = self.number if self.divisor is _ONE else self.number / self.divisor
        if quotient.denominator == 1 or ((gathered or abs(self.number) != 1) and _is_short(quotient)):
            return quotient, _ONE
        if self.number.denominator == self.divisor.denominator == 1:
            return Fraction(quotient.numerator), Fraction(quotient.denominator)
        return self.number, self.divisor


def _plain(number: Fraction) -> int | float:
    """2 for 2.0: beside a floating-point tensor it is the same number."""
    return int(number) if number.denominator == 1 and abs(number) < 10**6 else float(number)


def _leads(factor: Expr) -> bool:
    """Whether a factor stands in front; numbers that were not to be multiplied stay where they are."""
    return is_numeric(factor) and exact(factor) is None


PRODUCTS = frozenset(("mul", "div", "neg"))


def is_product(expr: Expr) -> bool:
    """Whether an expression is a product, a quotient or a negative."""
    return isinstance(expr, Call) and expr.fn in PRODUCTS


def product(expr: Expr) -> Product:
    """An expression taken apart into number, factors and divisors."""
    if isinstance(expr, Call) and expr.fn in PRODUCTS:
        return _of_call(expr)
    number = exact(expr)
    if number is None or not is_safe(number):  # 1e-320 is multiplied by no other number
        return Product(_ONE, (expr,), ())
    return Product(number, (), (), whole=isinstance(expr, Const) and isinstance(expr.value, int))


@kept
def _of_call(call: Call) -> Product:
    """From left to right in one go: products of a hundred factors are not taken apart factor by factor."""
    first, steps = spine(call)
    found = product(first)
    factors, divisors = [*found.factors], [*found.divisors]
    number, divisor, whole = found.number, found.divisor, found.whole
    for step in steps:
        if step.fn == "neg":
            number = -number
            continue
        part = step.args[1]
        if is_product(part) or isinstance(part, Const):
            other = product(part) if step.fn == "mul" else _inverse(part)
            found = Product(number, (), (), divisor, whole).times(other)
            number, divisor, whole = found.number, found.divisor, found.whole
            factors += found.factors
            divisors += found.divisors
        elif step.fn == "mul":
            factors.append(part)
        else:
            divisors.append(part)
            whole = False
    return Product(number, tuple(factors), tuple(divisors), divisor, whole)


def spine(call: Call) -> tuple[Expr, list[Call]]:
    """What a product begins with, and the calls that multiply, divide and negate it, the innermost first."""
    first: Expr = call
    steps: list[Call] = []
    while isinstance(first, Call) and first.fn in PRODUCTS:
        steps.append(first)
        first = first.args[0]
    return first, steps[::-1]


def _inverse(expr: Expr) -> Product:
    """1 / expr: its number is taken out, its other factors stay one divisor."""
    parts = product(expr)
    number = parts.number if parts.divisor is _ONE else parts.number / parts.divisor
    if not number or not is_safe(number):
        return Product(_ONE, (), (expr,), whole=False)
    sign = 1 if number > 0 else -1
    bare = Product(_ONE, parts.factors, parts.divisors, _ONE, parts.whole)
    divisors = () if not parts.factors and not parts.divisors else (bare.expr(),)
    return Product(sign * parts.divisor, (), divisors, abs(parts.number), whole=False)


# -- powers ----------------------------------------------------------------------------------------

Known = Callable[[Expr], bool]


def _unknown(expr: Expr) -> bool:
    return False


def join_powers(
    factors: Sequence[Expr], divisors: Sequence[Expr], positive: Known = _unknown, not_negative: Known = _unknown
) -> tuple[list[Expr], list[Expr]]:
    """x * x**2 as x**3, and 1 / x**2 / x**3 as 1 / x**5; with what is known of a base, x**0.75 * x**0.25 as x.

    Plain quotients stay: `1 / x / x` is right also where x * x overflows or vanishes.
    """
    sides: tuple[list[Expr | None], list[Expr | None]] = (list(factors), list(divisors))
    places: dict[Expr, list[tuple[int, int, Fraction]]] = {}
    for side, parts in enumerate((factors, divisors)):
        for place, part in enumerate(parts):
            base, exponent = power(part)
            places.setdefault(base, []).append((side, place, -exponent if side else exponent))
    if len(places) == len(factors) + len(divisors):
        return [*factors], [*divisors]
    for base, found in places.items():
        if len(found) < 2 or is_numeric(base):
            continue
        whole = positive(base) and sum(e for *_, e in found) != 0
        signs = [found] if whole else [[f for f in found if f[2] > 0], [f for f in found if f[2] < 0]]
        for group in signs:
            total = sum((e for *_, e in group), Fraction(0))
            if not _is_one(base, [e for *_, e in group], total, not_negative):
                continue
            side, place = next(((s, p) for s, p, _ in group if s == (total < 0)), group[0][:2])
            for s, p, _ in group:
                sides[s][p] = None
            sides[side][place] = raised(base, -total if side else total)
    return [f for f in sides[0] if f is not None], [d for d in sides[1] if d is not None]


def power(expr: Expr) -> tuple[Expr, Fraction]:
    """Base and exponent; an exponent that is 0, or no number, belongs to the base."""
    match expr:
        case Call(fn="pow", args=(base, Const() as n)) if exponent := exact(n):
            return base, exponent
        case _:
            return expr, _ONE


def raised(base: Expr, exponent: Fraction) -> Expr:
    """A power; whole powers of a whole power are one."""
    inner, times = power(base)
    if inner is not base and times > 0 and exponent > 0 and times.denominator == exponent.denominator == 1:
        base, exponent = inner, times * exponent
    return base if exponent == 1 else Call("pow", (base, Const(_plain(exponent))))


def by_products(exponent: float) -> int:
    """The exponent of a power that few products, and a division, make: whole, 1 to 4 in size; else 0."""
    return int(exponent) if abs(exponent) in (1, 2, 3, 4) else 0


def by_roots(exponent: float) -> int:
    """Four times the exponent of a power that square roots and a product make, which cost a fraction of it; else 0."""
    quarters = 4 * exponent
    return int(quarters) if abs(quarters) in (1, 2, 3, 5, 6, 7) else 0


def _is_one(base: Expr, exponents: Sequence[Fraction], total: Fraction, not_negative: Known) -> bool:
    """Whether powers of one base are one power."""
    if len(exponents) < 2:
        return False
    if all(e.denominator == 1 for e in exponents):
        return any(abs(e) != 1 for e in exponents) or exponents[0] > 0
    return total.denominator > 1 or not_negative(base)


def left_over(whole: Expr, part: Expr) -> Product | None:
    """The product without the powers of another one; None if it lacks one of its factors or divisors.

    So where the other one is zero the product is too, unless what is left over is no number there.
    """
    found, wanted = (_exponents(product(e)) for e in (whole, part))
    for base, exponent in wanted.items():
        if found.get(base, Fraction(0)) * exponent <= 0:
            return None
        found[base] -= exponent
    factors = tuple(raised(b, e) for b, e in found.items() if e)
    return Product(_ONE, factors, ())


def _exponents(parts: Product) -> dict[Expr, Fraction]:
    """The bases of a product's powers with their exponents, those of divisors below 0."""
    found: dict[Expr, Fraction] = {}
    for sign, many in ((1, parts.factors), (-1, parts.divisors)):
        for base, exponent in map(power, many):
            found[base] = found.get(base, Fraction(0)) + sign * exponent
    return found
