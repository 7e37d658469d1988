"""Headers: inputs, options, outputs and declared shapes.

In: a layer's header or none, and the shape lines. Out: a `Scope` with its dims and options, and the `Shape`s. The one
rule: options are numbers when a program is compiled, dims are sizes of axes.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import Span
from ..program.functions import CONSTANTS
from ..program.ir import Call, Const, Expr, Index, Shape, Size
from ..size_limits import MOST_DIGITS, MOST_EXPONENT
from ..syntax import tree
from .converter import Converter, Definitions, Given, size_call
from .dims import Declared, in_order, solve, without_names
from .report import Report, nearest
from .scope import Scope
from .subscripts import STATIC, faults, folded

Number = int | float | bool


def declare(
    scope: Scope, header: tree.LayerDef | None, values: Mapping[str, Number], lines: Iterable[tree.ShapeDecl]
) -> tuple[Shape, ...]:
    """Put the names of a header and of shape lines into a scope whose statements are known; the shapes they give."""
    tensors: tuple[tree.Header, ...] = ()
    if header is not None:
        tensors = header.inputs + header.outputs
        for t in header.inputs:
            scope.introduce(t.name, t.span, scope.inputs)
        for t in header.outputs:
            scope.introduce(t.name, t.span, scope.outputs)
        _options(scope, header, values)
    places: dict[str, Span] = {}
    declared: dict[str, tree.Header] = {}
    for t in (*tensors, *(t for line in lines for t in line.tensors)):
        scope.tensors.add(t.name)
        scope.taken.add(t.name)
        if t.dims is None:
            continue
        if t.name in places:
            if t == declared[t.name] and t.name in scope.inputs and t.name in scope.outputs:
                continue  # what the layer accumulates into
            others = (("declared here first", places[t.name]),)
            rule, way = f"the shape of '{t.name}' is declared twice", "take one of them out"
            scope.report.add("duplicate-name", rule, t.span, way_out=way, others=others)
            continue
        places[t.name], declared[t.name] = t.span, t
    return _shapes(scope, declared)


def _options(scope: Scope, header: tree.LayerDef, values: Mapping[str, Number]) -> None:
    places: dict[str, Span] = {}
    for option in header.options:
        tensor = scope.outputs.get(option.name) or scope.targets.get(option.name)
        if tensor is not None:
            others = (("a tensor here", tensor),)
            rule = f"'{option.name}' is a tensor and cannot be an option too"
            scope.report.add("duplicate-name", rule, option.span, way_out="rename one of them", others=others)
        scope.introduce(option.name, option.span, places)
        if option.name in CONSTANTS:
            scope.reserved(option.name, option.span)
        given = values.get(option.name)
        if given is None:
            given = CompileTime(scope.report, scope.unit, scope.options).value(option.default)
        scope.options[option.name] = Given(1 if given is None else given, option.span)


# -- shapes ------------------------------------------------------------------------------------------


class _Dims(Converter):
    """A dim of a header; names that are no options are placeholders."""

    def __init__(self, scope: Scope, tensor: str) -> None:
        super().__init__(scope.report, scope.unit)
        self.scope, self.tensor = scope, tensor

    def dim(self, node: tree.Expr) -> Expr:
        """The dim, or a hole where it is wrong."""
        expr = folded(self.expr(node), "dim")
        for code, rule, part, way in faults(expr, "dim") if not self.broken else ():
            if not isinstance(part, Index):  # a name
                self.fail(code, rule, part.span or node.span, way_out=way)
                break
        return expr

    def name(self, node: tree.Name, inside: bool) -> Expr:
        option = self.scope.options.get(node.name)
        if option is not None:
            return replace(option, span=node.span)
        if node.name in CONSTANTS:
            return Const(CONSTANTS[node.name], node.span)
        self.scope.taken.add(node.name)
        return Index(node.name, node.span)

    def no_dim(self, span: Span) -> Expr:
        rule = "a dim is made of names, sizes, options and whole numbers"
        return self.fail("bound", rule, span, way_out=STATIC)

    def access(self, node: tree.Subscripted) -> Expr:
        return self.no_dim(node.span)

    def reduction(self, node: tree.Reduction) -> Expr:
        return self.no_dim(node.span)

    def size(self, node: tree.Call) -> Expr:
        return size_of(self, self.scope, node)


def size_of(converter: Converter, scope: Scope, node: tree.Call) -> Expr:
    """`size(x, 0)`, the axis checked where the rank is known."""
    found = size_call(converter, node)
    if found is None:
        return Const(1, node.span)
    name, axis = found
    if scope.undefined(name.name, name.span):
        converter.broken = True
        return Const(1, node.span)
    scope.taken.add(name.name)
    rank = scope.rank(name.name)
    if rank is not None and not -rank <= axis < rank:
        places = "it is a scalar" if not rank else "its one axis is 0" if rank == 1 else f"its axes are 0 to {rank - 1}"
        way = f"write size({name.name},{rank - 1})" if rank else "write 1, or leave it out"
        return converter.fail("axis", f"'{name.name}' has no axis {axis}", node.span, places, way_out=way)
    return Size(name.name, axis + rank if axis < 0 and rank is not None else axis, node.span)


def _shapes(scope: Scope, declared: Mapping[str, tree.Header]) -> tuple[Shape, ...]:
    """The shapes in the order of the text; the scope gets the dims."""
    symbolic: dict[str, Shape] = {}
    for name, t in declared.items():
        converter = _Dims(scope, name)
        dims = tuple(converter.dim(d) for d in t.dims or ())
        symbolic[name] = Shape(name, dims, t.span)
    inputs = [
        t
        for t in (scope.inputs if scope.layer is not None else declared)
        if scope.layer is not None or t not in scope.targets
    ]
    order = in_order(tuple(symbolic.values()), inputs, list(scope.targets))
    found, undetermined = solve([Declared(s.tensor, s.dims, s.tensor in inputs) for s in order])
    for dim, span in undetermined:
        way = f"declare an axis by {dim} alone, or write a number"
        scope.report.add("open-dim", f"nothing determines the dim '{dim}'", span, way_out=way)
        found[dim] = Const(1)
    for dim in found:
        _check_dim(scope, dim, next(s for s in order if any(_mentions(d, dim) for d in s.dims)))
    scope.dims.update(found)
    return tuple(replace(s, dims=tuple(without_names(d, found) for d in s.dims)) for s in symbolic.values())


def _mentions(expr: Expr, name: str) -> bool:
    return (isinstance(expr, Index) and expr.name == name) or (
        isinstance(expr, Call) and any(_mentions(a, name) for a in expr.args)
    )


def _check_dim(scope: Scope, dim: str, shape: Shape) -> None:
    """A dim has no other meaning: a tensor with brackets may be called like it, as the two are told apart."""
    if scope.is_scalar(dim) or (dim in scope.targets and not scope.rank(dim)):
        first = scope.inputs.get(dim) or scope.outputs.get(dim) or scope.targets.get(dim)
        others = () if first is None else (("a tensor here", first),)
        rule = f"'{dim}' is a dim and cannot be a tensor without brackets too"
        scope.report.add("ambiguous-name", rule, shape.span, way_out="rename one of them", others=others)


# -- options -----------------------------------------------------------------------------------------


def accepted(report: Report, header: tree.LayerDef | None, options: Mapping[str, Any], what: str) -> dict[str, Number]:
    """Options that came from outside of the language, checked."""
    known = [] if header is None else [o.name for o in header.options]
    found: dict[str, Number] = {}
    for name, value in options.items():
        if name not in known:
            listed = f"options: {', '.join(known) or 'none'}"
            way = nearest(name, known) or "leave it out"
            report.add("unknown-option", f"{what} has no option '{name}'", None, listed, way_out=way)
            continue
        number = _number(value)
        if number is None:
            shown = f"{name} = {value!r}"[:80]
            rule, way = f"the option '{name}' must be a number, true or false", f"write {name}=2, or leave it out"
            report.add("option-kind", rule, None, shown, way_out=way)
        else:
            found[name] = number
    return found


def _number(value: Any) -> Number | None:
    """A number of Python or NumPy as one of Python's own."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    try:
        whole = int(operator.index(value))
        return whole if abs(whole) < 10**MOST_DIGITS else None
    except TypeError:
        pass
    if type(value).__module__ != "numpy" or getattr(value, "shape", None) != ():
        return None
    plain = value.item()
    return plain if isinstance(plain, bool | int | float) else None


_SCALARS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "pow": operator.pow,
    "neg": operator.neg,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "eq": operator.eq,
    "ne": operator.ne,
    "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b),
    "not": lambda a: not a,
    "max": lambda a, b: max(a, b),
    "min": lambda a, b: min(a, b),
    "where": lambda c, a, b: a if c else b,
    "abs": abs,
    "int": int,
    "float": float,
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
}


class CompileTime(Converter):
    """The value of an option: numbers, earlier options, and arithmetic on them."""

    def __init__(self, report: Report, definitions: Definitions, options: Mapping[str, Given]) -> None:
        super().__init__(report, definitions)
        self.options = options

    def value(self, node: tree.Expr) -> Number | None:
        """The number, or None if it is reported not to be one."""
        expr = self.expr(node)
        if self.broken:
            return None
        try:
            return _evaluated(expr)
        except (ArithmeticError, ValueError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, ArithmeticError | ValueError) else "only arithmetic is done then"
            rule = "an option is a number when the program is compiled"
            self.fail("option-value", rule, node.span, reason, way_out="write a number")
            return None

    def name(self, node: tree.Name, inside: bool) -> Expr:
        if node.name in self.options:
            return self.options[node.name]
        if node.name in CONSTANTS:
            return Const(CONSTANTS[node.name], node.span)
        return self.unknown_value(node.span, node.name)

    def unknown_value(self, span: Span, text: str) -> Expr:
        rule = f"an option is a number when the program is compiled, and '{text}' is none"
        return self.fail("option-value", rule, span, way_out="use numbers, options and arithmetic on them")

    def access(self, node: tree.Subscripted) -> Expr:
        return self.unknown_value(node.span, node.span.text)

    def reduction(self, node: tree.Reduction) -> Expr:
        return self.unknown_value(node.span, node.span.text)

    def size(self, node: tree.Call) -> Expr:
        return self.unknown_value(node.span, node.span.text)


def _evaluated(expr: Expr) -> Number:
    match expr:
        case Const(value):
            return value
        case Call(fn, args):
            values = [_evaluated(a) for a in args]
            if fn == "pow" and abs(values[1]) > MOST_EXPONENT:
                raise ValueError("the exponent is too large")
            result = _SCALARS[fn](*values)
            if isinstance(result, complex) or (isinstance(result, int) and result.bit_length() > MOST_EXPONENT):
                raise ValueError("it is too large" if isinstance(result, int) else "it is no real number")
            assert isinstance(result, bool | int | float)
            return result
        case _:
            raise TypeError
