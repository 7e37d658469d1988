"""A small tree of Python code, made into text at the very end.

In: names, numbers, calls, slices, operators. Out: `text`. The one rule: brackets are put here, where the tree is
printed, so nobody has to look at text to know what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isinf, isnan, prod


@dataclass(frozen=True)
class Name:
    """An identifier, or a dotted name."""

    text: str


@dataclass(frozen=True)
class Number:
    value: int | float | bool


@dataclass(frozen=True)
class Text:
    """A literal string."""

    value: str


@dataclass(frozen=True)
class Call:
    """A function, or a method `of` something, applied."""

    function: str
    args: tuple[Code, ...] = ()
    keywords: tuple[tuple[str, Code], ...] = ()
    of: Code | None = None


@dataclass(frozen=True)
class Attribute:
    of: Code
    name: str


@dataclass(frozen=True)
class Slice:
    start: Code | None = None
    stop: Code | None = None
    step: int = 1


@dataclass(frozen=True)
class Item:
    """Elements of an array: a new axis where a part is None."""

    of: Code
    parts: tuple[Code | Slice | None, ...]


@dataclass(frozen=True)
class Operator:
    """An operator with one or two arguments."""

    symbol: str
    args: tuple[Code, ...]


@dataclass(frozen=True)
class Row:
    """A tuple."""

    items: tuple[Code, ...]


@dataclass(frozen=True)
class Form:
    """A row of the table of functions: a format string whose arguments are atoms, and which is one itself."""

    template: str
    args: tuple[Code, ...]


Code = Name | Number | Text | Call | Attribute | Item | Operator | Row | Form

ALL = Slice()
REST = Name("...")

_BINDS = {"==": 1, "!=": 1, "<": 1, ">=": 1, "|": 2, "&": 3, "+": 4, "-": 4, "*": 5, "//": 5, "%": 5, "**": 7}
_UNARY, _ATOM = 6, 8


# -- making --------------------------------------------------------------------------------------------


def call(function: str, *args: Code | int, **keywords: Code) -> Call:
    """A function applied; whole numbers stand for themselves."""
    return Call(function, tuple(_code(a) for a in args), tuple(keywords.items()))


def method(of: Code, name: str, *args: Code | int, **keywords: Code) -> Call:
    """A method applied."""
    return Call(name, tuple(_code(a) for a in args), tuple(keywords.items()), of)


def row(items: Iterable[Code | int]) -> Row:
    """A tuple."""
    return Row(tuple(_code(i) for i in items))


def dtype(name: str) -> Name:
    """NumPy's name of a dtype."""
    return Name("np.bool_" if name == "bool" else f"np.{name}")


def _code(value: Code | int) -> Code:
    return Number(value) if isinstance(value, int) else value


def full(shape: Sequence[int], number: Number | Name, kind: str) -> Call:
    """An array that holds one number."""
    if isinstance(number, Number) and number.value == 0 and not str(number.value).startswith("-"):
        return call("np.zeros", row(shape), dtype(kind))
    return call("np.full", row(shape), number, dtype(kind))


def plus(const: int, terms: Iterable[tuple[int, Code]]) -> Code:
    """const + the sum of coef * code, with what is known added up."""
    left: list[tuple[int, Code]] = []
    for coef, code in terms:
        if isinstance(code, Number) and isinstance(code.value, int):
            const += coef * code.value
        elif coef:
            left.append((coef, code))
    if not left:
        return Number(const)
    left.sort(key=lambda term: term[0] < 0)  # what is added first
    result: Code | None = None
    for coef, code in left:
        term = code if abs(coef) == 1 else Operator("*", (Number(abs(coef)), code))
        if result is None:
            result = term if coef > 0 else Operator("-", (term,))
        else:
            result = Operator("+" if coef > 0 else "-", (result, term))
    assert result is not None
    return result if not const else Operator("+" if const > 0 else "-", (result, Number(abs(const))))


def is_number(code: Code, value: int) -> bool:
    """Whether code is that number."""
    return isinstance(code, Number) and code.value == value


def times(codes: Sequence[Code]) -> Code:
    """The product of codes, with what is known multiplied."""
    known = prod(c.value for c in codes if isinstance(c, Number) and isinstance(c.value, int))
    found: list[Code] = [c for c in codes if not isinstance(c, Number)]
    if known != 1 or not found:
        found.append(Number(known))
    result = found[0]
    for other in found[1:]:
        result = Operator("*", (result, other))
    return result


def elements(of: Code, parts: Sequence[Code | Slice | None]) -> Code:
    """Elements of an array, without the slices at the end that take everything."""
    shown = list(parts)
    while shown and shown[-1] == ALL:
        shown.pop()
    return Item(of, tuple(shown)) if shown else of


# -- printing ------------------------------------------------------------------------------------------


def text(code: Code) -> str:
    """The code as Python source."""
    match code:
        case Name(text=found):
            return found
        case Number(value=value):
            return _number(value)
        case Text(value=found):
            return repr(found)
        case Call(function, args, keywords, of):
            inside = [*map(text, args), *(f"{name}={text(value)}" for name, value in keywords)]
            return f"{'' if of is None else _atom(of) + '.'}{function}({', '.join(inside)})"
        case Attribute(of=of, name=name):
            return f"{_atom(of)}.{name}"
        case Item(of=of, parts=parts):
            return f"{_atom(of)}[{', '.join(map(_part, parts))}]"
        case Operator(symbol, (one,)):
            return f"{symbol}{_within(one, _UNARY)}"
        case Operator(symbol, (one, other)):
            binds = _BINDS[symbol]
            return f"{_within(one, binds + (binds == 1))} {symbol} {_within(other, binds + 1)}"
        case Operator():
            raise AssertionError("an operator has one or two arguments")
        case Row(items=items):
            return f"({', '.join(map(text, items))}{',' if len(items) == 1 else ''})"
        case Form(template=template, args=args):
            return template.format(*map(_atom, args))


def _number(value: float | bool) -> str:
    if isinstance(value, int):
        return repr(value)
    if isnan(value):
        return "np.nan"
    if isinf(value):
        return "np.inf" if value > 0 else "-np.inf"
    return repr(value)


def _part(part: Code | Slice | None) -> str:
    match part:
        case None:
            return "None"
        case Slice(start, stop, step):
            ends = f"{'' if start is None else text(start)}:{'' if stop is None else text(stop)}"
            return ends if step == 1 else f"{ends}:{step}"
        case _:
            return text(part)


def _binds(code: Code) -> int:
    match code:
        case Operator(symbol, (_, _)):
            return _BINDS[symbol]
        case Operator():
            return _UNARY
        case Number(value=value):
            return _UNARY if value < 0 or repr(value).startswith("-") else _ATOM
        case _:
            return _ATOM


def _within(code: Code, binds: int) -> str:
    return text(code) if _binds(code) >= binds else f"({text(code)})"


def _atom(code: Code) -> str:
    return _within(code, _ATOM)
