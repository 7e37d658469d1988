"""The one table of scalar functions: how each is written, what it computes, what its derivative is.

In: a function's name, as in `ir.Call.fn`; operators are rows like the others. Out: a `Function` row. The one
rule: whatever differs from function to function stands here and nowhere else; each row is tested by the same
properties (its derivative against a numerical one, its NumPy form against Python's own numbers).

`numpy` is a format string for arguments that are atoms (names, brackets, calls, bracketed negative literals).
It is generic in the dtype: float32 stays float32, complex works where `analytic` holds. `complex_step` is used
instead by numerical differentiation only, which runs forward code on numbers with a tiny imaginary part: there,
functions with kinks and steps decide by the real part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .function_support import SUPPORT
from .ir import Access, Call, Const, Expr, Index, walk


@dataclass(frozen=True)
class Partial:
    """A partial derivative: `factor` where `mask` holds, exactly 0 elsewhere (never 0 times the factor)."""

    factor: Expr
    mask: Expr | None = None


Args = tuple[Expr, ...]
Rule = Callable[
    [Args, Expr], Partial | Expr | None
]  # from the arguments and an expression for the value; None: zero


@dataclass(frozen=True)
class Function:
    """One row. `result` says how the type follows from the arguments' promoted type: "promote" (bool counts as
    int64), "float" (integers give float64), "bool" or "int" (int64)."""

    name: str
    arity: int
    numpy: str
    latex: str
    rules: tuple[
        Rule | None, ...
    ]  # one for each argument; None: derivative zero, by definition
    result: str = "float"
    symbol: str | None = None  # the operator, if written as one
    precedence: int = 9  # how tightly the operator binds; functions are atoms
    ufunc: str | None = None  # the plain NumPy ufunc with `out=`, if it is one
    complex_step: str | None = None  # None: `numpy` serves
    support: tuple[
        str, ...
    ] = ()  # the entries of SUPPORT that `numpy` and `complex_step` call
    analytic: bool = False  # allowed on complex tensors
    uses_out: bool = False  # a derivative is built from the function's value


def partial(
    fn: str, args: Args, position: int, out: Expr | None = None
) -> Partial | None:
    """The derivative of `fn` by its argument number `position`; None if it is zero by definition.

    `out` stands for the function's value where a tensor holds it; without it the call itself is written.
    """
    rule = FUNCTIONS[fn].rules[position]
    if rule is None:
        return None
    found = rule(args, Call(fn, args) if out is None else out)
    return found if found is None or isinstance(found, Partial) else Partial(found)


def support_source(names: set[str]) -> str:
    """The source of the small functions that the NumPy forms of the rows `names` call, each once, in order."""
    needed = {entry for name in names for entry in FUNCTIONS[name].support}
    return "\n\n".join(text for entry, text in SUPPORT.items() if entry in needed)


def is_constant(expr: Expr) -> bool:
    """Whether no tensor's value is read: numbers, sizes and indices only."""
    return not any(isinstance(part, Access) for part in walk(expr))


# Precedences, as in Python. A comparison is never an operand of a comparison without brackets.
OR, AND, NOT, COMPARE, ADD, MUL, NEG, POW, ATOM = range(1, 10)

_ONE, _TWO, _HALF = Const(1), Const(2), Const(0.5)


def _add(a: Expr, b: Expr) -> Expr:
    return Call("add", (a, b))


def _sub(a: Expr, b: Expr) -> Expr:
    return Call("sub", (a, b))


def _mul(a: Expr, b: Expr) -> Expr:
    return Call("mul", (a, b))


def _div(a: Expr, b: Expr) -> Expr:
    return Call("div", (a, b))


def _neg(a: Expr) -> Expr:
    return Call("neg", (a,))


def _square(a: Expr) -> Expr:
    return Call("pow", (a, _TWO))


def _call(fn: str, *args: Expr) -> Expr:
    return Call(fn, args)


def _one(args: Args, out: Expr) -> Expr:
    return _ONE


def _div_by_denominator(args: Args, out: Expr) -> Expr:
    a, b = args
    return _neg(_div(out, b)) if isinstance(out, Access) else _div(_div(_neg(a), b), b)


def _pow_by_base(args: Args, out: Expr) -> Partial | None:
    a, n = args
    match n:
        case Const(value=v) if v == 0:
            return None
        case Const(value=v) if v == 1:
            return Partial(_ONE)
        case Const(value=v) if v == 2:
            return Partial(_mul(_TWO, a))
        case Const(value=v):
            return Partial(_mul(n, _call("pow", a, Const(v - 1))))
    # 0 ** 0 is 1 whatever the base does: without the mask 0 * 0**-1 would be nan.
    return Partial(_mul(n, _call("pow", a, _sub(n, _ONE))), _call("ne", n, Const(0)))


def _pow_by_exponent(args: Args, out: Expr) -> Partial:
    a, _ = args
    positive = isinstance(a, Const) and a.value > 0
    return Partial(
        _mul(out, _call("log", a)), None if positive else _call("ne", a, Const(0))
    )


def _extremum(weak: str, strict: str, position: int) -> Rule:
    """max and min: at a tie the first argument, but a constant wins over a tensor; nan goes to exactly one."""

    def rule(args: Args, out: Expr) -> Partial:
        mine, other = args[position], args[1 - position]
        if is_constant(other):
            return Partial(_ONE, _call(strict, mine, other))
        if is_constant(mine):
            return Partial(_ONE, _call("not", _call(strict, other, mine)))
        first_wins = _call(weak, *args)
        return Partial(_ONE, first_wins if position == 0 else _call("not", first_wins))

    return rule


def _relu(args: Args, out: Expr) -> Partial:
    plain = isinstance(args[0], Access | Index) or not isinstance(out, Access)
    return Partial(_ONE, _call("gt", args[0] if plain else out, Const(0)))


def _gelu(args: Args, out: Expr) -> Expr:
    (x,) = args
    below = _mul(_HALF, _add(_ONE, _call("erf", _div(x, _call("sqrt", _TWO)))))
    density = _div(
        _call("exp", _div(_neg(_square(x)), _TWO)),
        _call("sqrt", _mul(_TWO, Const(math.pi))),
    )
    return _add(below, _mul(x, density))


def _infix(
    name: str,
    symbol: str,
    precedence: int,
    rules: tuple[Rule | None, ...],
    ufunc: str,
    numpy: str | None = None,
    **rest: object,
) -> Function:
    return Function(
        name,
        2,
        numpy or f"({{0}} {symbol} {{1}})",
        rest.pop("latex", f"{{0}} {symbol} {{1}}"),  # type: ignore[arg-type]
        rules,
        symbol=symbol,
        precedence=precedence,
        ufunc=ufunc,
        **rest,  # type: ignore[arg-type]
    )


def _compare(name: str, symbol: str, ufunc: str, latex: str) -> Function:
    by_real_part = f"(np.real({{0}}) {symbol} np.real({{1}}))"
    return Function(
        name,
        2,
        f"({{0}} {symbol} {{1}})",
        f"{{0}} {latex} {{1}}",
        (None, None),
        result="bool",
        symbol=symbol,
        precedence=COMPARE,
        ufunc=ufunc,
        complex_step=by_real_part,
        analytic=name in ("eq", "ne"),
    )


def _smooth(
    name: str, ufunc: str, rule: Rule, latex: str | None = None, uses_out: bool = False
) -> Function:
    """An analytic function of one argument that NumPy has as a ufunc."""
    written = latex or f"\\{name}\\left({{0}}\\right)"
    numpy = f"{ufunc}({{0}})"
    return Function(
        name, 1, numpy, written, (rule,), ufunc=ufunc, analytic=True, uses_out=uses_out
    )


def _operator_name(name: str) -> str:
    return f"\\operatorname{{{{{name}}}}}\\left({{0}}\\right)"


def _step(name: str, numpy: str, latex: str, ufunc: str | None) -> Function:
    """A function that is constant between its jumps."""
    return Function(
        name,
        1,
        numpy,
        latex,
        (None,),
        result="promote",
        ufunc=ufunc,
        complex_step=numpy.replace("{0}", "np.real({0})"),
    )


_ARITHMETIC = (
    _infix("add", "+", ADD, (_one, _one), "np.add", result="promote", analytic=True),
    _infix(
        "sub",
        "-",
        ADD,
        (_one, lambda a, out: Const(-1)),
        "np.subtract",
        result="promote",
        analytic=True,
    ),
    _infix(
        "mul",
        "*",
        MUL,
        (lambda a, out: a[1], lambda a, out: a[0]),
        "np.multiply",
        latex="{0} \\, {1}",
        result="promote",
        analytic=True,
    ),
    _infix(
        "div",
        "/",
        MUL,
        (lambda a, out: _div(_ONE, a[1]), _div_by_denominator),
        "np.divide",
        numpy="np.divide({0}, {1})",  # not `/`: two Python numbers would raise where NumPy gives inf
        latex="\\frac{{{0}}}{{{1}}}",
        analytic=True,
        uses_out=True,
    ),
    Function(
        "neg",
        1,
        "(-{0})",
        "-{0}",
        (lambda a, out: Const(-1),),
        result="promote",
        symbol="-",
        precedence=NEG,
        ufunc="np.negative",
        analytic=True,
    ),
    _infix(
        "pow",
        "**",
        POW,
        (_pow_by_base, _pow_by_exponent),
        "np.power",
        latex="{0}^{{{1}}}",
        result="promote",
        analytic=True,
        uses_out=True,
    ),
    _infix(
        "floordiv",
        "//",
        MUL,
        (None, None),
        "np.floor_divide",
        numpy="np.floor_divide({0}, {1})",
        latex="\\left\\lfloor \\frac{{{0}}}{{{1}}} \\right\\rfloor",
        result="promote",
        complex_step="np.floor_divide(np.real({0}), np.real({1}))",
    ),
    _infix(
        "mod",
        "%",
        MUL,
        (_one, lambda a, out: _neg(_call("floordiv", *a))),
        "np.remainder",
        numpy="np.remainder({0}, {1})",
        latex="{0} \\bmod {1}",
        result="promote",
        complex_step="_mod_step({0}, {1})",
        support=("_mod_step",),
    ),
)

_LOGIC = (
    _compare("lt", "<", "np.less", "<"),
    _compare("le", "<=", "np.less_equal", "\\le"),
    _compare("gt", ">", "np.greater", ">"),
    _compare("ge", ">=", "np.greater_equal", "\\ge"),
    _compare("eq", "==", "np.equal", "="),
    _compare("ne", "!=", "np.not_equal", "\\ne"),
    _infix(
        "and",
        "and",
        AND,
        (None, None),
        "np.logical_and",
        numpy="np.logical_and({0}, {1})",
        latex="{0} \\wedge {1}",
        result="bool",
        complex_step="np.logical_and(np.real({0}), np.real({1}))",
    ),
    _infix(
        "or",
        "or",
        OR,
        (None, None),
        "np.logical_or",
        numpy="np.logical_or({0}, {1})",
        latex="{0} \\vee {1}",
        result="bool",
        complex_step="np.logical_or(np.real({0}), np.real({1}))",
    ),
    Function(
        "not",
        1,
        "np.logical_not({0})",
        "\\neg {0}",
        (None,),
        result="bool",
        symbol="not",
        precedence=NOT,
        ufunc="np.logical_not",
        complex_step="np.logical_not(np.real({0}))",
    ),
    Function(
        "where",
        3,
        "np.where({0}, {1}, {2})",
        "\\begin{{cases}} {1} & {0} \\\\ {2} & \\text{{otherwise}} \\end{{cases}}",
        (
            None,
            lambda a, out: Partial(_ONE, a[0]),
            lambda a, out: Partial(_ONE, _call("not", a[0])),
        ),
        result="promote",  # of the last two
        complex_step="np.where(np.real({0}), {1}, {2})",
        analytic=True,
    ),
)

_SMOOTH = (
    _smooth("exp", "np.exp", lambda a, out: out, uses_out=True),
    _smooth("log", "np.log", lambda a, out: _div(_ONE, a[0])),
    _smooth(
        "log1p",
        "np.log1p",
        lambda a, out: _div(_ONE, _add(_ONE, a[0])),
        "\\log\\left(1 + {0}\\right)",
    ),
    _smooth(
        "expm1",
        "np.expm1",
        lambda a, out: _add(out, _ONE),
        "\\left(e^{{{0}}} - 1\\right)",
        uses_out=True,
    ),
    _smooth(
        "sqrt",
        "np.sqrt",
        lambda a, out: _div(_HALF, out),
        "\\sqrt{{{0}}}",
        uses_out=True,
    ),
    Function(
        "rsqrt",
        1,
        "np.divide(1, np.sqrt({0}))",
        "\\frac{{1}}{{\\sqrt{{{0}}}}}",
        (lambda a, out: _mul(Const(-0.5), _call("pow", out, Const(3))),),
        analytic=True,
        uses_out=True,
    ),
    _smooth("sin", "np.sin", lambda a, out: _call("cos", *a)),
    _smooth("cos", "np.cos", lambda a, out: _neg(_call("sin", *a))),
    _smooth("tan", "np.tan", lambda a, out: _add(_ONE, _square(out)), uses_out=True),
    _smooth(
        "asin",
        "np.arcsin",
        lambda a, out: _call("rsqrt", _mul(_sub(_ONE, a[0]), _add(_ONE, a[0]))),
        "\\arcsin\\left({0}\\right)",
    ),
    _smooth(
        "acos",
        "np.arccos",
        lambda a, out: _neg(_call("rsqrt", _mul(_sub(_ONE, a[0]), _add(_ONE, a[0])))),
        "\\arccos\\left({0}\\right)",
    ),
    _smooth(
        "atan",
        "np.arctan",
        lambda a, out: _div(_ONE, _add(_ONE, _square(a[0]))),
        "\\arctan\\left({0}\\right)",
    ),
    _smooth("sinh", "np.sinh", lambda a, out: _call("cosh", *a)),
    _smooth("cosh", "np.cosh", lambda a, out: _call("sinh", *a)),
    _smooth("tanh", "np.tanh", lambda a, out: _sub(_ONE, _square(out)), uses_out=True),
    _smooth(
        "asinh",
        "np.arcsinh",
        lambda a, out: _call("rsqrt", _add(_ONE, _square(a[0]))),
        _operator_name("arsinh"),
    ),
    _smooth(
        "acosh",
        "np.arccosh",
        # Two roots, not the root of the product: that would be the wrong branch left of the imaginary axis.
        lambda a, out: _div(
            _ONE, _mul(_call("sqrt", _sub(a[0], _ONE)), _call("sqrt", _add(a[0], _ONE)))
        ),
        _operator_name("arcosh"),
    ),
    _smooth(
        "atanh",
        "np.arctanh",
        lambda a, out: _div(_ONE, _mul(_sub(_ONE, a[0]), _add(_ONE, a[0]))),
        _operator_name("artanh"),
    ),
    Function(
        "atan2",
        2,
        "np.arctan2({0}, {1})",
        "\\operatorname{{atan2}}\\left({0}, {1}\\right)",
        (
            lambda a, out: _div(a[1], _add(_square(a[0]), _square(a[1]))),
            lambda a, out: _div(_neg(a[0]), _add(_square(a[0]), _square(a[1]))),
        ),
        ufunc="np.arctan2",
        complex_step="_atan2_step({0}, {1})",
        support=("_atan2_step",),
    ),
    Function(
        "sigmoid",
        1,
        "_sigmoid({0})",
        "\\sigma\\left({0}\\right)",
        (lambda a, out: _mul(out, _sub(_ONE, out)),),
        support=("_sigmoid",),
        analytic=True,
        uses_out=True,
    ),
    Function(
        "softplus",
        1,
        "_softplus({0})",
        _operator_name("softplus"),
        (lambda a, out: _call("sigmoid", *a),),
        support=("_softplus",),
        analytic=True,
    ),
    Function(
        "silu",
        1,
        "_silu({0})",
        _operator_name("silu"),
        (lambda a, out: _add(out, _mul(_call("sigmoid", *a), _sub(_ONE, out))),),
        support=("_sigmoid", "_silu"),
        analytic=True,
        uses_out=True,
    ),
    Function(
        "erf",
        1,
        "_erf({0})",
        _operator_name("erf"),
        (
            lambda a, out: _mul(
                _div(_TWO, _call("sqrt", Const(math.pi))),
                _call("exp", _neg(_square(a[0]))),
            ),
        ),
        complex_step="_erf_step({0})",
        support=("_erfc", "_erf", "_erf_step"),
    ),
    Function(
        "gelu",
        1,
        "_gelu({0})",
        _operator_name("gelu"),
        (_gelu,),
        complex_step="_gelu_step({0})",
        support=("_erfc", "_erf", "_erf_step", "_gelu", "_gelu_step"),
    ),
)

_KINKED = (
    Function(
        "abs",
        1,
        "np.abs({0})",
        "\\left|{0}\\right|",
        (lambda a, out: _call("sign", *a),),
        result="promote",
        ufunc="np.absolute",
        complex_step="({0} * np.sign(np.real({0})))",
    ),
    Function(
        "relu",
        1,
        "np.maximum({0}, 0)",
        _operator_name("relu"),
        (_relu,),
        result="promote",
        complex_step="np.where(np.real({0}) <= 0, 0, {0})",
    ),
    Function(
        "max",
        2,
        "np.maximum({0}, {1})",
        "\\max\\left({0}, {1}\\right)",
        (_extremum("ge", "gt", 0), _extremum("ge", "gt", 1)),
        result="promote",
        ufunc="np.maximum",
        complex_step="np.where(np.real({0}) >= np.real({1}), {0}, {1})",
    ),
    Function(
        "min",
        2,
        "np.minimum({0}, {1})",
        "\\min\\left({0}, {1}\\right)",
        (_extremum("le", "lt", 0), _extremum("le", "lt", 1)),
        result="promote",
        ufunc="np.minimum",
        complex_step="np.where(np.real({0}) <= np.real({1}), {0}, {1})",
    ),
    _step("sign", "np.sign({0})", _operator_name("sign"), "np.sign"),
    _step("floor", "np.floor({0})", "\\left\\lfloor {0} \\right\\rfloor", "np.floor"),
    _step("ceil", "np.ceil({0})", "\\left\\lceil {0} \\right\\rceil", "np.ceil"),
    _step("round", "np.round({0})", _operator_name("round"), None),
    Function(
        "int",
        1,
        "np.asarray({0}).astype(np.int64)",
        _operator_name("int"),
        (None,),
        result="int",
        complex_step="np.real({0}).astype(np.int64)",
    ),
    Function("float", 1, "({0} * 1.0)", "{0}", (_one,), analytic=True),
)

FUNCTIONS: dict[str, Function] = {
    row.name: row for row in (*_ARITHMETIC, *_LOGIC, *_SMOOTH, *_KINKED)
}
