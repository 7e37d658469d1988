"""The one table of scalar functions: how each is written, what type it has, what its derivative is.

In: a function's name, as in `ir.Call.fn`; operators are rows like the others. Out: a `Function` row. The one
rule: whatever differs from function to function stands here and nowhere else; each row is tested by the same
properties (its derivative against a numerical one). What a backend calls it is that backend's to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .derivatives import (
    Partial,
    Rule,
    apply,
    call,
    div_by_denominator,
    extremum,
    minus_one,
    one,
    pow_by_base,
    pow_by_exponent,
    relu_by_argument,
)
from .ir import Call, Expr, Reduce


@dataclass(frozen=True)
class Function:
    """One row.

    `result` says how the type follows from the arguments' promoted type: "promote" (bool counts as int64), "float"
    (integers give float64), "bool" or "int" (int64).
    """

    name: str
    arity: int
    latex: str
    rules: tuple[Rule | None, ...]  # one for each argument; None: derivative zero, by definition
    result: str = "float"
    symbol: str | None = None  # the operator, if it is written as one
    precedence: int = 9  # how tightly the operator binds; functions are atoms
    analytic: bool = False  # allowed on complex tensors
    uses_out: bool = False  # a derivative is built from the function's value


CONSTANTS: dict[str, float] = {"pi": math.pi, "inf": math.inf, "nan": math.nan}  # numbers that have names


def partial(fn: str, args: tuple[Expr, ...], position: int, out: Expr | None = None) -> Partial | None:
    """The derivative of `fn` by its argument number `position`; None if it is zero by definition.

    `out` stands for the function's value where a tensor holds it; without it the call itself is written.
    """
    rule = FUNCTIONS[fn].rules[position]
    return None if rule is None else apply(rule, args, Call(fn, args) if out is None else out)


# Precedences, as in Python, except that a comparison is never an operand of a comparison without brackets.
OR, AND, NOT, COMPARE, ADD, MUL, NEG, POW, ATOM = range(1, 10)


def _infix(
    name: str,
    symbol: str,
    precedence: int,
    rules: tuple[Rule | None, ...],
    latex: str | None = None,
    result: str = "promote",
    uses_out: bool = False,
) -> Function:
    """An analytic operator."""
    latex = latex or f"{{0}} {symbol} {{1}}"
    return Function(name, 2, latex, rules, result, symbol, precedence, analytic=True, uses_out=uses_out)


def _compare(name: str, symbol: str, latex: str) -> Function:
    latex, analytic = f"{{0}} {latex} {{1}}", name in ("eq", "ne")
    return Function(name, 2, latex, (None, None), "bool", symbol, COMPARE, analytic=analytic)


def _logic(name: str, precedence: int, latex: str) -> Function:
    return Function(name, 2, latex, (None, None), "bool", name, precedence)


def _smooth(name: str, rule: Rule, latex: str | None = None, uses_out: bool = False) -> Function:
    """An analytic function of one argument."""
    latex = latex or f"\\{name}\\left({{0}}\\right)"
    return Function(name, 1, latex, (rule,), analytic=True, uses_out=uses_out)


def _kinked(name: str, arity: int, rules: tuple[Rule, ...], latex: str) -> Function:
    return Function(name, arity, latex, rules, "promote")


def _jumps(name: str, latex: str, result: str = "promote") -> Function:
    """A function that is constant between its jumps."""
    return Function(name, 1, latex, (None,), result)


def _named(name: str) -> str:
    return f"\\operatorname{{{{{name}}}}}\\left({{0}}\\right)"


_CASES = "\\begin{{cases}} {1} & {0} \\\\ {2} & \\text{{otherwise}} \\end{{cases}}"

_ROWS = (
    _infix("add", "+", ADD, (one, one)),
    _infix("sub", "-", ADD, (one, minus_one)),
    _infix("mul", "*", MUL, (lambda a, b, y: b, lambda a, b, y: a), "{0} \\, {1}"),
    _infix(
        "div",
        "/",
        MUL,
        (lambda a, b, y: 1 / b, div_by_denominator),
        "\\frac{{{0}}}{{{1}}}",
        "float",
        uses_out=True,
    ),
    _infix("pow", "**", POW, (pow_by_base, pow_by_exponent), "{0}^{{{1}}}", uses_out=True),
    Function("neg", 1, "-{0}", (minus_one,), "promote", "-", NEG, analytic=True),
    Function(
        "floordiv",
        2,
        "\\left\\lfloor \\frac{{{0}}}{{{1}}} \\right\\rfloor",
        (None, None),
        "promote",
        "//",
        MUL,
    ),
    Function("mod", 2, "{0} \\bmod {1}", (one, lambda a, b, y: -(a // b)), "promote", "%", MUL),
    _compare("lt", "<", "<"),
    _compare("le", "<=", "\\le"),
    _compare("gt", ">", ">"),
    _compare("ge", ">=", "\\ge"),
    _compare("eq", "==", "="),
    _compare("ne", "!=", "\\ne"),
    _logic("and", AND, "{0} \\wedge {1}"),
    _logic("or", OR, "{0} \\vee {1}"),
    Function("not", 1, "\\neg {0}", (None,), "bool", "not", NOT),
    Function(
        "where",
        3,
        _CASES,
        (None, lambda c, a, b, y: (one(), c), lambda c, a, b, y: (one(), call("not", c))),
        "promote",  # of the last two
        analytic=True,
    ),
    _smooth("exp", lambda x, y: y, uses_out=True),
    _smooth("log", lambda x, y: 1 / x),
    _smooth("log1p", lambda x, y: 1 / (1 + x), _named("log1p")),
    _smooth("expm1", lambda x, y: y + 1, _named("expm1"), uses_out=True),
    _smooth("sqrt", lambda x, y: 0.5 / y, "\\sqrt{{{0}}}", uses_out=True),
    _smooth("rsqrt", lambda x, y: -0.5 * y**3, "\\frac{{1}}{{\\sqrt{{{0}}}}}", uses_out=True),
    _smooth("sin", lambda x, y: call("cos", x)),
    _smooth("cos", lambda x, y: -call("sin", x)),
    _smooth("tan", lambda x, y: 1 + y**2, uses_out=True),
    _smooth("asin", lambda x, y: call("rsqrt", (1 - x) * (1 + x)), "\\arcsin\\left({0}\\right)"),
    _smooth("acos", lambda x, y: -call("rsqrt", (1 - x) * (1 + x)), "\\arccos\\left({0}\\right)"),
    _smooth("atan", lambda x, y: 1 / (1 + x**2), "\\arctan\\left({0}\\right)"),
    _smooth("sinh", lambda x, y: call("cosh", x)),
    _smooth("cosh", lambda x, y: call("sinh", x)),
    _smooth("tanh", lambda x, y: 1 - y**2, uses_out=True),
    _smooth("asinh", lambda x, y: 1 / call("cosh", y), _named("arsinh"), uses_out=True),
    # Two roots, not the root of the product: left of the imaginary axis that would be the wrong branch.
    _smooth("acosh", lambda x, y: 1 / (call("sqrt", x - 1) * call("sqrt", x + 1)), _named("arcosh")),
    _smooth("atanh", lambda x, y: 1 / ((1 - x) * (1 + x)), _named("artanh")),
    Function(
        "atan2",
        2,
        "\\operatorname{{atan2}}\\left({0}, {1}\\right)",
        # Divided twice: the square of the distance leaves the range of its type long before the slope does.
        (
            lambda a, b, y: b / call("hypot", a, b) / call("hypot", a, b),
            lambda a, b, y: -a / call("hypot", a, b) / call("hypot", a, b),
        ),
    ),
    Function(
        "hypot",
        2,
        "\\operatorname{{hypot}}\\left({0}, {1}\\right)",
        (lambda a, b, y: a / y, lambda a, b, y: b / y),
        uses_out=True,
    ),
    _smooth("sigmoid", lambda x, y: y * (1 - y), "\\sigma\\left({0}\\right)", uses_out=True),
    _smooth("softplus", lambda x, y: call("sigmoid", x), _named("softplus")),
    _smooth("silu", lambda x, y: call("sigmoid", x) + y * (1 - call("sigmoid", x)), _named("silu"), uses_out=True),
    Function("erf", 1, _named("erf"), (lambda x, y: 2 / call("sqrt", math.pi) * call("exp", -(x**2)),)),
    Function(
        "gelu",
        1,
        _named("gelu"),
        (
            lambda x, y: (
                0.5 * (1 + call("erf", x / call("sqrt", 2)))
                + x * call("exp", -(x**2) / 2) / call("sqrt", call("mul", 2, math.pi))
            ),
        ),
    ),
    _kinked("abs", 1, (lambda x, y: call("sign", x),), "\\left|{0}\\right|"),
    _kinked("relu", 1, (relu_by_argument,), _named("relu")),
    _kinked("max", 2, (extremum("ge", "gt", 0), extremum("ge", "gt", 1)), "\\max\\left({0}, {1}\\right)"),
    _kinked("min", 2, (extremum("le", "lt", 0), extremum("le", "lt", 1)), "\\min\\left({0}, {1}\\right)"),
    _jumps("sign", _named("sign")),
    _jumps("floor", "\\left\\lfloor {0} \\right\\rfloor"),
    _jumps("ceil", "\\left\\lceil {0} \\right\\rceil"),
    _jumps("round", _named("round")),
    _jumps("int", _named("int"), "int"),
    Function("float", 1, "{0}", (one,), analytic=True),
)

FUNCTIONS: dict[str, Function] = {row.name: row for row in _ROWS}

# Rounded once, as IEEE arithmetic says, or not at all. What is approximated has other bits in another memory order.
EXACT = frozenset({"add", "sub", "mul", "div", "neg", "sqrt", "abs", "max", "min", "relu", "where", "sign", "float"})
EXACT |= {"floor", "ceil", "round", "int", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}


def is_exact(expr: Expr) -> bool:
    """Whether an expression, computed again, has the same bits, however its tensors lie in memory."""
    match expr:
        case Call(fn=fn, args=args):
            return fn in EXACT and all(map(is_exact, args))
        case _:
            return not isinstance(expr, Reduce)


# The functions by which the operators of statements bring values together.
COMBINATIONS = {"=": "add", "+=": "add", "*=": "mul", "max=": "max", "min=": "min"}
