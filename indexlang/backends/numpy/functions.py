"""The NumPy form of each scalar function.

In: a function's name, as in the table of `program/functions.py`. Out: a `Form`. The one rule: every row of that table
has a form here; each is tested by the same properties, its value against Python's own numbers among them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from .function_support import SUPPORT


@dataclass(frozen=True)
class Form:
    """How a function is called.

    `numpy` and `complex_step` are format strings for arguments that are atoms (names, brackets, calls, bracketed
    negative literals). They are generic in the dtype: float32 stays float32, complex works where a function is
    `analytic`. `complex_step` serves numerical differentiation only, which runs forward code on numbers with a tiny
    imaginary part: there, functions with kinks and steps decide by the real part.
    """

    numpy: str
    ufunc: str | None = None  # the plain NumPy ufunc with `out=`, if it is one
    complex_step: str | None = None  # None: `numpy` serves


def support_source(names: Collection[str], complex_step: bool = False) -> str:
    """The source of the small functions that the forms of `names` call, each once, in order."""
    forms = ((form.complex_step if complex_step else None) or form.numpy for form in map(FORMS.__getitem__, names))
    needed = {entry for form in forms for entry in _support(form)}
    return "\n\n".join(text for entry, text in SUPPORT.items() if entry in needed)


def _support(form: str) -> tuple[str, ...]:
    called = {name for name in re.findall(r"(?<![\w.])_\w+(?=\()", form) if name in SUPPORT}
    inner = {entry for name in called for entry in _support(SUPPORT[name].split(":", 1)[1])}
    return tuple(entry for entry in SUPPORT if entry in called | inner)


def _infix(symbol: str, ufunc: str) -> Form:
    return Form(f"({{0}} {symbol} {{1}})", ufunc)


def _called(name: str) -> Form:
    """Of one argument: a ufunc, or an entry of SUPPORT that does complex numbers too."""
    return Form(f"{name}({{0}})", name if name.startswith("np.") else None)


def _erf_like(name: str) -> Form:
    return Form(f"_{name}({{0}})", None, f"_{name}_step({{0}})")


def _decided(numpy: str, ufunc: str | None = None) -> Form:
    """Constant between its jumps, which are where the real parts say."""
    return Form(numpy, ufunc, numpy.replace("{0}", "np.real({0})").replace("{1}", "np.real({1})"))


FORMS: dict[str, Form] = {
    "add": _infix("+", "np.add"),
    "sub": _infix("-", "np.subtract"),
    "mul": _infix("*", "np.multiply"),
    "div": Form("np.divide({0}, {1})", "np.divide"),  # `/` on two Python numbers would raise, not give inf
    "pow": _infix("**", "np.power"),
    "neg": Form("(-{0})", "np.negative"),
    "floordiv": _decided("np.floor_divide({0}, {1})", "np.floor_divide"),
    "mod": Form("np.remainder({0}, {1})", "np.remainder", "_mod_step({0}, {1})"),
    "lt": _decided("({0} < {1})", "np.less"),
    "le": _decided("({0} <= {1})", "np.less_equal"),
    "gt": _decided("({0} > {1})", "np.greater"),
    "ge": _decided("({0} >= {1})", "np.greater_equal"),
    "eq": _decided("({0} == {1})", "np.equal"),
    "ne": _decided("({0} != {1})", "np.not_equal"),
    "and": _decided("np.logical_and({0}, {1})", "np.logical_and"),
    "or": _decided("np.logical_or({0}, {1})", "np.logical_or"),
    "not": _decided("np.logical_not({0})", "np.logical_not"),
    "where": Form("np.where({0}, {1}, {2})", None, "np.where(np.real({0}), {1}, {2})"),
    "exp": _called("np.exp"),
    "log": _called("np.log"),
    "log1p": _called("np.log1p"),
    "expm1": _called("np.expm1"),
    "sqrt": _called("np.sqrt"),
    "rsqrt": _called("_rsqrt"),
    "sin": _called("np.sin"),
    "cos": _called("np.cos"),
    "tan": _called("np.tan"),
    "asin": _called("np.arcsin"),
    "acos": _called("np.arccos"),
    "atan": _called("np.arctan"),
    "sinh": _called("np.sinh"),
    "cosh": _called("np.cosh"),
    "tanh": _called("np.tanh"),
    "asinh": _called("np.arcsinh"),
    "acosh": _called("np.arccosh"),
    "atanh": _called("np.arctanh"),
    "atan2": Form("np.arctan2({0}, {1})", "np.arctan2", "_atan2_step({0}, {1})"),
    "hypot": Form("np.hypot({0}, {1})", "np.hypot", "_hypot_step({0}, {1})"),
    "sigmoid": _called("_sigmoid"),
    "softplus": _called("_softplus"),
    "silu": _called("_silu"),
    "erf": _erf_like("erf"),
    "gelu": _erf_like("gelu"),
    "abs": Form("np.abs({0})", "np.absolute", "({0} * np.sign(np.real({0})))"),
    "relu": Form("np.maximum({0}, 0)", None, "np.where(np.real({0}) <= 0, 0, {0})"),
    "max": Form("np.maximum({0}, {1})", "np.maximum", "np.where(np.real({0}) >= np.real({1}), {0}, {1})"),
    "min": Form("np.minimum({0}, {1})", "np.minimum", "np.where(np.real({0}) <= np.real({1}), {0}, {1})"),
    "sign": _decided("np.sign({0})", "np.sign"),
    "floor": _decided("np.floor({0})", "np.floor"),
    "ceil": _decided("np.ceil({0})", "np.ceil"),
    "round": _decided("np.round({0})"),
    "int": _decided("_int({0})"),
    "float": Form("({0} * 1.0)"),
}
