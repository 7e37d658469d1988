"""Loop nests: what a native kernel does, as a value.

    Nest    ::= name Array* (item extent)* Stmt*     a function of the arrays' addresses and of the number of an item
    Array   ::= name dtype size role                 a flat array of so many elements: input | output | workspace
    Stmt    ::= For | When | Set | Write
    For     ::= var begin..end by step Stmt*         the values begin, begin + step, ... below end, one after the other
    When    ::= Form >= 0 ? Stmt* : Stmt*
    Set     ::= register = Op                        registers may be set again; see below
    Write   ::= Array[at + lane*step] = operand      the first `live` lanes; all where it is 0
    Op      ::= Read(Array, at, step, live) | Apply(fn, operand*) | Count(Form, step)
    Operand ::= register name | Literal
    Form    ::= const + (var, coef)*                 integers; the vars are loop variables and items
    Bound   ::= the greatest of Forms (a begin), the least of Forms (an end)
    Type    ::= dtype, lanes                         1 lane is a scalar

Items are the outermost loops: independent of each other, run by any thread in any order, numbered row-major. A
workspace is each item's own, and holds nothing at its start. No two items write to one element, and an item reads
nothing that another one writes.

A register that is set before a `For` or `When`, and set again inside of it, carries its value through: after the loop
it holds what the last round left. A register that is first set inside does not exist outside.

Elements are in the dtype of memory: the names of NumPy's (float16 float32 float64 int8 ... int64 uint8 ... uint64
bool). A bool is one byte of 0 or 1 in memory, and one bit in a register. `live` lanes: the others are not touched in
memory; a Read fills them with 0.

Integers in Forms, whole literals, how many lanes are live, how many values items have, may vary from call to call
(`varying`): they have the values of one call here, and code takes them with each call.

In: nothing. Out: frozen dataclasses, which compare and print. The one rule: a Nest holds every decision; what turns it
into code decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .varying import Varying, varies


@dataclass(frozen=True)
class Form:
    """An integer that loop variables say: const + sum of coef * var. No zero coefficients, each var once."""

    const: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: Form | int) -> Form:
        if isinstance(other, int):
            return Form(self.const + other, self.terms) if other or varies(other) else self
        if not other.terms:
            return self + other.const
        coefs = dict(self.terms)
        for var, coef in other.terms:
            coefs[var] = coefs.get(var, 0) + coef
        return Form(self.const + other.const, tuple((v, c) for v, c in coefs.items() if c))

    def __sub__(self, other: Form | int) -> Form:
        return self + (-other if isinstance(other, int) else other * -1)

    def __mul__(self, by: int) -> Form:
        if by == 1 and not varies(by):
            return self
        return Form(self.const * by, tuple((v, c * by) for v, c in self.terms if by))

    def interval(self, ends: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
        """Least and greatest value where each var is between its ends, both included."""
        low = high = self.const
        for var, coef in self.terms:
            a, b = (coef * end for end in ends[var])
            low, high = low + min(a, b), high + max(a, b)
        return low, high

    def at(self, values: Mapping[str, int]) -> int:
        """Its value."""
        return self.const + sum(coef * values[var] for var, coef in self.terms)

    def __str__(self) -> str:
        parts = [v if c == 1 else f"{c}*{v}" for v, c in self.terms]
        return " + ".join([*parts, *([str(self.const)] if self.const or not parts else [])]).replace("+ -", "- ")


def form(of: str | int, coef: int = 1) -> Form:
    """A number, or a var times a number."""
    return Form(of) if isinstance(of, int) else Form(0, ((of, coef),) if coef else ())


@dataclass(frozen=True)
class Type:
    """What a register holds."""

    dtype: str
    lanes: int = 1

    def __str__(self) -> str:
        return self.dtype if self.lanes == 1 else f"{self.dtype}x{self.lanes}"


@dataclass(frozen=True)
class Array:
    """A flat array of `size` elements; where it begins is what the function is called with."""

    name: str
    dtype: str
    size: int
    role: str = "input"  # input | output (written, perhaps read, too) | workspace


@dataclass(frozen=True)
class Literal:
    """A number, the same in every lane; a whole one may vary from call to call, of a float type, too."""

    value: int | float | bool
    type: Type

    def __str__(self) -> str:
        return f"{self.value!r}:{self.type}"


Operand = str | Literal


@dataclass(frozen=True)
class Read:
    """Elements `at + lane * step` (step 0: one element for all lanes). `moved` is a register of one int64, or of one
    for each lane, that is added to the position; it lies from `reach[0]` to below `reach[1]`, as is checked before.
    """

    array: Array
    at: Form
    lanes: int = 1
    step: int = 1
    live: int = 0
    moved: str = ""
    reach: tuple[int, int] = (0, 1)

    @property
    def type(self) -> Type:
        return Type(self.array.dtype, self.lanes)


@dataclass(frozen=True)
class Apply:
    """A row of the table of operations (`operations`), lane by lane unless that says otherwise."""

    fn: str
    args: tuple[Operand, ...]
    type: Type  # of the result


@dataclass(frozen=True)
class Count:
    """The number `of + lane * step`, as int64."""

    of: Form
    lanes: int = 1
    step: int = 0

    @property
    def type(self) -> Type:
        return Type("int64", self.lanes)


Op = Read | Apply | Count


@dataclass(frozen=True)
class Set:
    """A register gets a value. It has the same type wherever it is set."""

    register: str
    op: Op


@dataclass(frozen=True)
class Write:
    """Lanes written to elements `at + lane * step`; `moved` as for `Read`. A step of 0 needs a single lane."""

    array: Array
    at: Form
    value: Operand
    step: int = 1
    live: int = 0
    moved: str = ""
    reach: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class For:
    """Statements for each value of a var: from the greatest of `begin` to below the least of `end`."""

    var: str
    begin: tuple[Form, ...]
    end: tuple[Form, ...]
    body: tuple[Stmt, ...]
    by: int = 1


@dataclass(frozen=True)
class When:
    """The first statements where a form is not negative, else the others."""

    test: Form
    then: tuple[Stmt, ...]
    other: tuple[Stmt, ...] = ()


Stmt = For | When | Set | Write


@dataclass(frozen=True)
class Nest:
    """A kernel. `items` are the outermost loops' vars with how many values they have; none is a single item."""

    name: str
    arrays: tuple[Array, ...]
    items: tuple[tuple[str, int], ...]
    body: tuple[Stmt, ...]

    @property
    def count(self) -> int:
        """How many items there are."""
        total = 1
        for _, extent in self.items:
            total *= extent
        return total

    @property
    def numbers(self) -> tuple[Varying, ...]:
        """The numbers in its forms, literals, lanes and items that vary, each once: its code takes them behind the
        arrays' addresses. How many values the outermost item has is not among them, as code does not ask.
        """
        found: dict[tuple[int, int], Varying] = {}
        for number in (*(n for _, n in self.items[1:]), *_numbers(self.body)):
            if isinstance(number, Varying):
                found.setdefault(number.key, Varying(number.key[1], number.how))
        return tuple(found.values())

    def __str__(self) -> str:
        arrays = ", ".join(f"{a.role} {a.name} {a.dtype}[{a.size}]" for a in self.arrays)
        head = f"nest {self.name}({arrays})"
        items = "".join(f" for {var} < {n} in items" for var, n in self.items)
        return "\n".join([head + items + ":", *_lines(self.body, "    ")])


def _numbers(body: tuple[Stmt, ...]) -> Iterator[int | float]:
    """The numbers in the forms and literals of statements."""
    for stmt in body:
        match stmt:
            case For(begin=begin, end=end, body=inner):
                yield from _in_forms(*begin, *end)
                yield from _numbers(inner)
            case When(test, then, other):
                yield from _in_forms(test)
                yield from _numbers(then)
                yield from _numbers(other)
            case Set(op=Read(at=at, live=live)):
                yield from (*_in_forms(at), live)
            case Set(op=Count(of=at)):
                yield from _in_forms(at)
            case Set(op=Apply(args=args)):
                yield from (a.value for a in args if isinstance(a, Literal))
            case Write(at=at, value=value, live=live):
                yield from (*_in_forms(at), live)
                yield from (value.value,) if isinstance(value, Literal) else ()
            case Set():
                raise AssertionError(stmt)


def _in_forms(*forms: Form) -> Iterator[int]:
    for of in forms:
        yield of.const
        for _, coef in of.terms:
            yield coef


def _lines(body: tuple[Stmt, ...], indent: str) -> list[str]:
    """The lines of statements."""
    found: list[str] = []
    for stmt in body:
        match stmt:
            case For(var, begin, end, inner, by):
                lo, hi = _bound(begin, "max"), _bound(end, "min")
                found.append(f"{indent}for {var} in {lo}..{hi}{f' by {by}' if by != 1 else ''}:")
                found += _lines(inner, indent + "    ")
            case When(test, then, other):
                found += [f"{indent}when {test} >= 0:", *_lines(then, indent + "    ")]
                if other:
                    found += [f"{indent}else:", *_lines(other, indent + "    ")]
            case Set(register, Read() as read):
                found.append(f"{indent}{register} = {_place(read)} :{read.type}")
            case Set(register, Apply(fn, args, kind)):
                found.append(f"{indent}{register} = {fn}({', '.join(map(str, args))}) :{kind}")
            case Set(register, Count(of, lanes, step)):
                found.append(f"{indent}{register} = {of}{f' + {step}*lane' if step else ''} :{Type('int64', lanes)}")
            case Set():
                raise AssertionError(stmt)
            case Write():
                found.append(f"{indent}{_place(stmt)} = {stmt.value}")
    return found


def _place(access: Read | Write) -> str:
    step = f" by {access.step}" if access.step != 1 else ""
    live = f" live {access.live}" if access.live else ""
    moved = f" + {access.moved}" if access.moved else ""
    return f"{access.array.name}[{access.at}{moved}{step}{live}]"


def _bound(forms: tuple[Form, ...], of: str) -> str:
    return str(forms[0]) if len(forms) == 1 else f"{of}({', '.join(map(str, forms))})"
