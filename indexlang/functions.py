"""The one table of scalar functions: how each is written, what it computes, what its derivative is.

In: a function's name, as in `ir.Call.fn`; operators are rows like the others. Out: a `Function` row. The one
rule: whatever differs from function to function stands here and nowhere else; each row is tested by the same
properties (its derivative against a numerical one, its NumPy form against Python's own numbers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass

from .function_support import SUPPORT
from .ir import Call, Expr
from .partials import (
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


@dataclass(frozen=True)
class Function:
    """One row.

    `numpy` and `complex_step` are format strings for arguments that are atoms (names, brackets, calls, bracketed
    negative literals). They are generic in the dtype: float32 stays float32, complex works where `analytic` holds.
    `complex_step` serves numerical differentiation only, which runs forward code on numbers with a tiny imaginary
    part: there, functions with kinks and steps decide by the real part.

    `result` says how the type follows from the arguments' promoted type: "promote" (bool counts as int64), "float"
    (integers give float64), "bool" or "int" (int64).
    """

    name: str
    arity: int
    numpy: str
    latex: str
    rules: tuple[Rule | None, ...]  # one for each argument; None: derivative zero, by definition
    result: str = "float"
    symbol: str | None = None  # the operator, if it is written as one
    precedence: int = 9  # how tightly the operator binds; functions are atoms
    ufunc: str | None = None  # the plain NumPy ufunc with `out=`, if it is one
    complex_step: str | None = None  # None: `numpy` serves
    analytic: bool = False  # allowed on complex tensors
    uses_out: bool = False  # a derivative is built from the function's value

    @property
    def support(self) -> tuple[str, ...]:
        """The entries of SUPPORT that `numpy` calls, directly and indirectly."""
        return _support(self.numpy)


def partial(fn: str, args: tuple[Expr, ...], position: int, out: Expr | None = None) -> Partial | None:
    """The derivative of `fn` by its argument number `position`; None if it is zero by definition.

    `out` stands for the function's value where a tensor holds it; without it the call itself is written.
    """
    rule = FUNCTIONS[fn].rules[position]
    return None if rule is None else apply(rule, args, Call(fn, args) if out is None else out)


def support_source(names: Collection[str], complex_step: bool = False) -> str:
    """The source of the small functions that the NumPy forms of the rows `names` call, each once, in order."""
    forms = ((row.complex_step if complex_step else None) or row.numpy for row in map(FUNCTIONS.__getitem__, names))
    needed = {entry for form in forms for entry in _support(form)}
    return "\n\n".join(text for entry, text in SUPPORT.items() if entry in needed)


def _support(form: str) -> tuple[str, ...]:
    called = {name for name in re.findall(r"(?<![\w.])_\w+(?=\()", form) if name in SUPPORT}
    inner = {entry for name in called for entry in _support(SUPPORT[name].split(":", 1)[1])}
    return tuple(entry for entry in SUPPORT if entry in called | inner)


# Precedences, as in Python, except that a comparison is never an operand of a comparison without brackets.
OR, AND, NOT, COMPARE, ADD, MUL, NEG, POW, ATOM = range(1, 10)


def _prefix(name: str, symbol: str, precedence: int, rule: Rule | None, ufunc: str, numpy: str, latex: str) -> Function:
    if name == "neg":
        return Function(name, 1, numpy, latex, (rule,), "promote", symbol, precedence, ufunc, analytic=True)
    return Function(name, 1, numpy, latex, (rule,), "bool", symbol, precedence, ufunc, _by_real_part(numpy))


def _infix(
    name: str,
    symbol: str,
    precedence: int,
    rules: tuple[Rule | None, ...],
    ufunc: str,
    latex: str | None = None,
    result: str = "promote",
    uses_out: bool = False,
) -> Function:
    """An analytic operator. Division is spelled as a call: `/` on two Python numbers would raise, not give inf."""
    numpy = f"{ufunc}({{0}}, {{1}})" if symbol == "/" else f"({{0}} {symbol} {{1}})"
    latex = latex or f"{{0}} {symbol} {{1}}"
    return Function(name, 2, numpy, latex, rules, result, symbol, precedence, ufunc, analytic=True, uses_out=uses_out)


def _compare(name: str, symbol: str, ufunc: str, latex: str) -> Function:
    numpy, latex = f"({{0}} {symbol} {{1}})", f"{{0}} {latex} {{1}}"
    step = _by_real_part(numpy)
    return Function(
        name, 2, numpy, latex, (None, None), "bool", symbol, COMPARE, ufunc, step, analytic=name in ("eq", "ne")
    )


def _logic(name: str, precedence: int, latex: str) -> Function:
    numpy = f"np.logical_{name}({{0}}, {{1}})"
    step = _by_real_part(numpy)
    return Function(name, 2, numpy, latex, (None, None), "bool", name, precedence, f"np.logical_{name}", step)


def _smooth(name: str, numpy: str, rule: Rule, latex: str | None = None, uses_out: bool = False) -> Function:
    """An analytic function of one argument: a ufunc, or an entry of SUPPORT that does complex numbers too."""
    latex = latex or f"\\{name}\\left({{0}}\\right)"
    ufunc = numpy if numpy.startswith("np.") else None
    call_text = f"{numpy}({{0}})"
    return Function(name, 1, call_text, latex, (rule,), ufunc=ufunc, analytic=True, uses_out=uses_out)


def _erf_like(name: str, rule: Rule) -> Function:
    numpy, step = f"_{name}({{0}})", f"_{name}_step({{0}})"
    return Function(name, 1, numpy, _named(name), (rule,), complex_step=step)


def _kinked(
    name: str, arity: int, numpy: str, step: str, rules: tuple[Rule, ...], latex: str, ufunc: str | None = None
) -> Function:
    return Function(name, arity, numpy, latex, rules, "promote", ufunc=ufunc, complex_step=step)


def _jumps(name: str, numpy: str, latex: str, ufunc: str | None, result: str = "promote") -> Function:
    """A function that is constant between its jumps."""
    return Function(name, 1, numpy, latex, (None,), result, ufunc=ufunc, complex_step=_by_real_part(numpy))


def _by_real_part(numpy: str) -> str:
    return numpy.replace("{0}", "np.real({0})").replace("{1}", "np.real({1})")


def _named(name: str) -> str:
    return f"\\operatorname{{{{{name}}}}}\\left({{0}}\\right)"


_CASES = "\\begin{{cases}} {1} & {0} \\\\ {2} & \\text{{otherwise}} \\end{{cases}}"

_ROWS = (
    _infix("add", "+", ADD, (one, one), "np.add"),
    _infix("sub", "-", ADD, (one, minus_one), "np.subtract"),
    _infix("mul", "*", MUL, (lambda a, b, y: b, lambda a, b, y: a), "np.multiply", "{0} \\, {1}"),
    _infix(
        "div",
        "/",
        MUL,
        (lambda a, b, y: 1 / b, div_by_denominator),
        "np.divide",
        "\\frac{{{0}}}{{{1}}}",
        "float",
        uses_out=True,
    ),
    _infix("pow", "**", POW, (pow_by_base, pow_by_exponent), "np.power", "{0}^{{{1}}}", uses_out=True),
    _prefix("neg", "-", NEG, minus_one, "np.negative", "(-{0})", "-{0}"),
    Function(
        "floordiv",
        2,
        "np.floor_divide({0}, {1})",
        "\\left\\lfloor \\frac{{{0}}}{{{1}}} \\right\\rfloor",
        (None, None),
        "promote",
        "//",
        MUL,
        "np.floor_divide",
        _by_real_part("np.floor_divide({0}, {1})"),
    ),
    Function(
        "mod",
        2,
        "np.remainder({0}, {1})",
        "{0} \\bmod {1}",
        (one, lambda a, b, y: -(a // b)),
        "promote",
        "%",
        MUL,
        "np.remainder",
        "_mod_step({0}, {1})",
    ),
    _compare("lt", "<", "np.less", "<"),
    _compare("le", "<=", "np.less_equal", "\\le"),
    _compare("gt", ">", "np.greater", ">"),
    _compare("ge", ">=", "np.greater_equal", "\\ge"),
    _compare("eq", "==", "np.equal", "="),
    _compare("ne", "!=", "np.not_equal", "\\ne"),
    _logic("and", AND, "{0} \\wedge {1}"),
    _logic("or", OR, "{0} \\vee {1}"),
    _prefix("not", "not", NOT, None, "np.logical_not", "np.logical_not({0})", "\\neg {0}"),
    Function(
        "where",
        3,
        "np.where({0}, {1}, {2})",
        _CASES,
        (None, lambda c, a, b, y: (one(), c), lambda c, a, b, y: (one(), call("not", c))),
        "promote",  # of the last two
        complex_step="np.where(np.real({0}), {1}, {2})",
        analytic=True,
    ),
    _smooth("exp", "np.exp", lambda x, y: y, uses_out=True),
    _smooth("log", "np.log", lambda x, y: 1 / x),
    _smooth("log1p", "np.log1p", lambda x, y: 1 / (1 + x), _named("log1p")),
    _smooth("expm1", "np.expm1", lambda x, y: y + 1, _named("expm1"), uses_out=True),
    _smooth("sqrt", "np.sqrt", lambda x, y: 0.5 / y, "\\sqrt{{{0}}}", uses_out=True),
    _smooth("rsqrt", "_rsqrt", lambda x, y: -0.5 * y**3, "\\frac{{1}}{{\\sqrt{{{0}}}}}", uses_out=True),
    _smooth("sin", "np.sin", lambda x, y: call("cos", x)),
    _smooth("cos", "np.cos", lambda x, y: -call("sin", x)),
    _smooth("tan", "np.tan", lambda x, y: 1 + y**2, uses_out=True),
    _smooth("asin", "np.arcsin", lambda x, y: call("rsqrt", (1 - x) * (1 + x)), "\\arcsin\\left({0}\\right)"),
    _smooth("acos", "np.arccos", lambda x, y: -call("rsqrt", (1 - x) * (1 + x)), "\\arccos\\left({0}\\right)"),
    _smooth("atan", "np.arctan", lambda x, y: 1 / (1 + x**2), "\\arctan\\left({0}\\right)"),
    _smooth("sinh", "np.sinh", lambda x, y: call("cosh", x)),
    _smooth("cosh", "np.cosh", lambda x, y: call("sinh", x)),
    _smooth("tanh", "np.tanh", lambda x, y: 1 - y**2, uses_out=True),
    _smooth("asinh", "np.arcsinh", lambda x, y: call("rsqrt", 1 + x**2), _named("arsinh")),
    # Two roots, not the root of the product: left of the imaginary axis that would be the wrong branch.
    _smooth("acosh", "np.arccosh", lambda x, y: 1 / (call("sqrt", x - 1) * call("sqrt", x + 1)), _named("arcosh")),
    _smooth("atanh", "np.arctanh", lambda x, y: 1 / ((1 - x) * (1 + x)), _named("artanh")),
    Function(
        "atan2",
        2,
        "np.arctan2({0}, {1})",
        "\\operatorname{{atan2}}\\left({0}, {1}\\right)",
        (lambda a, b, y: b / (a**2 + b**2), lambda a, b, y: -a / (a**2 + b**2)),
        ufunc="np.arctan2",
        complex_step="_atan2_step({0}, {1})",
    ),
    _smooth("sigmoid", "_sigmoid", lambda x, y: y * (1 - y), "\\sigma\\left({0}\\right)", uses_out=True),
    _smooth("softplus", "_softplus", lambda x, y: call("sigmoid", x), _named("softplus")),
    _smooth("silu", "_silu", lambda x, y: y + call("sigmoid", x) * (1 - y), _named("silu"), uses_out=True),
    _erf_like("erf", lambda x, y: 2 / call("sqrt", math.pi) * call("exp", -(x**2))),
    _erf_like(
        "gelu",
        lambda x, y: (
            0.5 * (1 + call("erf", x / call("sqrt", 2)))
            + x * call("exp", -(x**2) / 2) / call("sqrt", call("mul", 2, math.pi))
        ),
    ),
    _kinked(
        "abs",
        1,
        "np.abs({0})",
        "({0} * np.sign(np.real({0})))",
        (lambda x, y: call("sign", x),),
        "\\left|{0}\\right|",
        "np.absolute",
    ),
    _kinked(
        "relu",
        1,
        "np.maximum({0}, 0)",
        "np.where(np.real({0}) <= 0, 0, {0})",
        (relu_by_argument,),
        _named("relu"),
    ),
    _kinked(
        "max",
        2,
        "np.maximum({0}, {1})",
        "np.where(np.real({0}) >= np.real({1}), {0}, {1})",
        (extremum("ge", "gt", 0), extremum("ge", "gt", 1)),
        "\\max\\left({0}, {1}\\right)",
        "np.maximum",
    ),
    _kinked(
        "min",
        2,
        "np.minimum({0}, {1})",
        "np.where(np.real({0}) <= np.real({1}), {0}, {1})",
        (extremum("le", "lt", 0), extremum("le", "lt", 1)),
        "\\min\\left({0}, {1}\\right)",
        "np.minimum",
    ),
    _jumps("sign", "np.sign({0})", _named("sign"), "np.sign"),
    _jumps("floor", "np.floor({0})", "\\left\\lfloor {0} \\right\\rfloor", "np.floor"),
    _jumps("ceil", "np.ceil({0})", "\\left\\lceil {0} \\right\\rceil", "np.ceil"),
    _jumps("round", "np.round({0})", _named("round"), None),
    _jumps("int", "_int({0})", _named("int"), None, "int"),
    Function("float", 1, "({0} * 1.0)", "{0}", (one,), analytic=True),
)

FUNCTIONS: dict[str, Function] = {row.name: row for row in _ROWS}
