"""The dtypes of a program: what each tensor is delivered in, what each statement is computed in.

In: a Program and the dtypes of its inputs, by name. Out: `Types`. The one rule: only floating-point and complex
tensors say a precision. Numbers, indices, integer tensors, and whatever is made of these alone take it from them; where
there is none it is float64, or int64 for integers. A name for a part of a value therefore changes no type.

Integers are computed in int64 and float16 in float32, whatever they are delivered in. A tensor's type holds the values
of all its statements; a gradient has the type of its tensor: where that is real and a value is not, its real part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from ..errors import Problem, ShapeError, Span
from ..program.functions import FUNCTIONS
from ..program.ir import (
    Access,
    Boundary,
    Call,
    Const,
    Dots,
    Expr,
    Index,
    Merged,
    Program,
    Reduce,
    Size,
    Statement,
    Subscript,
    children,
    indices_of,
    is_tangent,
    parts_of,
    primal_of,
    reads,
)
from ..program.text import expr_text


@dataclass(frozen=True)
class Types:
    """`tensors`: the dtype of each tensor; `compute`: one for each statement; `weak`: tensors that say no precision."""

    tensors: Mapping[str, str]
    compute: Sequence[str]
    weak: frozenset[str]


@dataclass(frozen=True)
class Kind:
    """A dtype; `weak` if it says no precision, `literal` if it is a number that any integer type holds that it fits."""

    name: str
    weak: bool = False
    literal: int | None = None

    @property
    def kind(self) -> str:
        """bool, int, float or complex."""
        return kind_of(self.name)


# What tensors hold. Longer floating-point numbers are others on other machines.
DTYPES: tuple[str, ...] = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES += ("float16", "float32", "float64", "complex64", "complex128")
CHOOSING = frozenset({"max", "min", "relu"})  # functions whose value is one of their arguments
_ORDER = ("bool", "int", "float", "complex")
BOOL, INT, FLOAT = Kind("bool", weak=True), Kind("int64", weak=True), Kind("float64", weak=True)


@cache
def kind_of(dtype: str) -> str:
    """bool, int, float or complex; unsigned integers are integers."""
    return dtype.rstrip("0123456789").removeprefix("u")


def computing(dtype: str) -> str:
    """The dtype in which values of a tensor are computed: float32 for float16, int64 for the integers."""
    if dtype == "float16":
        return "float32"
    return "int64" if kind_of(dtype) == "int" and dtype != "uint64" else dtype


def infer(program: Program, dtypes: Mapping[str, str], complex_step: bool = False) -> Types:
    """All types of a program. Errors: `ShapeError` with everything that does not fit.

    `dtypes` may name tensors that the program accumulates into: then they are among the values to hold; and those whose
    gradients it makes. In a complex step, complex numbers stand for real ones and may go anywhere.
    """
    known = Known(dtypes, ())
    _learn_from_steps(program, known)
    problems: list[Problem] = []
    compute = []
    problems += _moving_integers(program, known)
    for stmt in program.statements:
        problems += (p for p in _misused(stmt, known) if not (complex_step and p.code == "complex"))
        name = stmt.target.tensor
        value = accumulated(stmt, kind(stmt.value, known))
        compute.append(computing(value.name))
        problems += _overflowing(stmt)
        old = known.get(name)
        primal = known.get(primal_of(name) or "")
        if primal is not None:
            problems += _no_gradient(stmt, primal)
            known.learn(name, joined(primal, value) if complex_step and value.kind == "complex" else primal)
        else:
            known.learn(name, value if old is None else joined(old, value))
    if problems:
        raise ShapeError(*problems)
    own = {*program.inputs, *(stmt.target.tensor for stmt in program.statements)}
    kept = {name: k for name, k in known.items() if name in own}
    return Types({n: k.name for n, k in kept.items()}, tuple(compute), frozenset(n for n, k in kept.items() if k.weak))


_ROUNDS = 8  # types grow: bool, int, float, complex, and their precisions


def _learn_from_steps(program: Program, known: Known) -> None:
    """The types of what blocks make, which their own values say: what is read before anything is known of it says
    nothing, and is looked at again.
    """
    if all(s.block is None for s in program.statements):
        return
    stepwise = {s.target.tensor for s in program.statements if s.block is not None}
    found = Known({}, ())
    found.update(known)
    found.update({name: BOOL for name in stepwise if name not in found})
    for _ in range(_ROUNDS):
        before = dict(found)
        for stmt in program.statements:
            name = stmt.target.tensor
            primal, old = found.get(primal_of(name) or ""), found.get(name)
            value = primal or accumulated(stmt, kind(stmt.value, found))
            found.learn(name, value if old is None or primal is not None else joined(old, value))
        if found == before:
            break
    known.update({name: found[name] for name in stepwise})


def _overflowing(stmt: Statement) -> Iterator[Problem]:
    """Integer arithmetic on the numbers of the source that leaves 64 bits."""
    for part in parts_of(stmt):
        if not isinstance(part, Call) or reads(part) or (value := _whole(part)) is None:
            continue
        if abs(value) >= 2**63 and all(abs(_whole(a) or 0) < 2**63 for a in part.args):
            rule = "integers have 64 bits, and this one does not fit"
            yield Problem("overflow", rule, part.span or stmt.span, (), "write one of the numbers as 2.0")


def _whole(expr: Subscript) -> int | None:
    """The exact value of integer arithmetic on numbers alone; None for anything else, and for what is far too large."""
    if isinstance(expr, Const):
        return expr.value if type(expr.value) is int else None
    if not isinstance(expr, Call) or expr.fn not in ("add", "sub", "mul", "neg", "pow") or reads(expr):
        return None
    match expr.fn, [_whole(a) for a in expr.args]:
        case "neg", [int(a)]:
            return -a
        case "add", [int(a), int(b)]:
            return a + b
        case "sub", [int(a), int(b)]:
            return a - b
        case "mul", [int(a), int(b)]:
            return a * b
        case "pow", [int(a), int(b)] if b >= 0:
            return a**b if b * a.bit_length() < 10_000 else 2**63
        case _:
            return None


class Known(dict[str, Kind]):
    """The types of tensors, and those of the expressions that were asked for."""

    def __init__(self, dtypes: Mapping[str, str], weak: Collection[str]) -> None:
        super().__init__((n, Kind(d, weak=n in weak or kind_of(d) in ("bool", "int"))) for n, d in dtypes.items())
        self.found: dict[int, tuple[Expr, Kind]] = {}  # by the expression's identity

    def learn(self, tensor: str, kind: Kind) -> None:
        """What is known of a tensor from now on."""
        if self.get(tensor, kind) != kind:
            self.found.clear()
        self[tensor] = kind


def expr_type(expr: Expr, known: Known) -> str:
    """The dtype in which an expression is computed; int64 and float64 where nothing says a precision."""
    return computing(kind(expr, known).name)


# -- the rules ---------------------------------------------------------------------------------------


def kind(expr: Expr, known: Mapping[str, Kind]) -> Kind:
    """The type of an expression, by the types of the tensors in it."""
    if not isinstance(known, Known):
        return _kind(expr, known)
    found = known.found.get(id(expr))
    if found is None:
        found = known.found[id(expr)] = expr, _kind(expr, known)
    return found[1]


def _kind(expr: Expr, known: Mapping[str, Kind]) -> Kind:
    match expr:
        case Const(value=number):
            return _literal(number)
        case Index() | Size():
            return INT
        case Access(tensor=tensor):
            return known[tensor]
        case Call(fn="neg", args=(Const(value=number),)):
            return _literal(-number)
        case Call(fn="where", args=(_, a, b)):
            return promoted(kind(a, known), kind(b, known))
        case Call(fn="float", args=(a,)):
            return _floating(kind(a, known))
        case Call(fn="pow", args=(a, b)):
            together = promoted(kind(a, known), kind(b, known))
            return _computed(together) if _not_negative(b, known) else _floating(together)
        case Call(fn=fn, args=args):
            match FUNCTIONS[fn].result:
                case "bool":
                    return BOOL
                case "int":
                    return INT
                case "float":
                    return _floating(promoted(*(kind(a, known) for a in args)))
                case _:
                    together = promoted(*(kind(a, known) for a in args))
                    return together if fn in CHOOSING else _computed(together)
        case Reduce(op=op, body=body):
            value = kind(body, known)
            match op:
                case "argmax" | "argmin":
                    return INT
                case "mean" | "logsumexp":
                    return _floating(value)
                case "sum" | "prod":
                    return INT if value.kind in ("bool", "int") else value
                case _:
                    return value


def _computed(value: Kind) -> Kind:
    """The type of what arithmetic gives: integers of any size give int64."""
    return INT if value.kind in ("bool", "int") else value


def _literal(value: float | bool) -> Kind:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return Kind("int64", weak=True, literal=value)
    return FLOAT


@lru_cache(1 << 12)
def promoted(*kinds: Kind) -> Kind:
    """The type in which values of these types meet in arithmetic: a bool counts as an integer."""
    first, *others = kinds
    result = INT if first.kind == "bool" else first
    for other in others:
        result = joined(result, INT if other.kind == "bool" else other)
    return Kind(result.name, result.weak) if len(kinds) > 1 else result


@lru_cache(1 << 12)
def joined(a: Kind, b: Kind) -> Kind:
    """The type that holds the values of both."""
    if _ORDER.index(a.kind) < _ORDER.index(b.kind):
        a, b = b, a
    match a.kind, b.kind:
        case ("bool", _) | ("int", "bool"):
            return a
        case "int", _:
            return _integers(a, b)
        case (("float" | "complex"), ("bool" | "int")):
            return a
        case (x, y) if x == y:
            if a.weak != b.weak:
                return b if a.weak else a
            return a if _bits(a.name) >= _bits(b.name) else b
        case _:  # complex and float
            return a if b.weak or _bits(a.name) >= 2 * _bits(b.name) else Kind(f"complex{2 * _bits(b.name)}")


def _integers(a: Kind, b: Kind) -> Kind:
    if a.literal is not None and b.literal is None:
        a, b = b, a
    if b.literal is not None and a.literal is None:
        return a if _fits(b.literal, a.name) else INT
    if a.name.startswith("u") == b.name.startswith("u"):
        return a if _bits(a.name) >= _bits(b.name) else b
    signed, unsigned = (b, a) if a.name.startswith("u") else (a, b)
    if _bits(signed.name) > _bits(unsigned.name):
        return signed
    return Kind(f"int{min(64, 2 * _bits(unsigned.name))}", weak=True)


def _fits(value: int, dtype: str) -> bool:
    if dtype.startswith("u"):
        return 0 <= value < 1 << _bits(dtype)
    return -(1 << _bits(dtype) - 1) <= value < 1 << _bits(dtype) - 1


def _bits(dtype: str) -> int:
    return int("".join(c for c in dtype if c.isdigit()) or 8)


def _floating(value: Kind) -> Kind:
    return FLOAT if value.kind in ("bool", "int") else value


def _not_negative(exponent: Expr, known: Mapping[str, Kind]) -> bool:
    """Whether an exponent cannot be negative: integers to such a power are integers."""
    match exponent:
        case Const(value=value):
            return value >= 0
        case Index() | Size():
            return True
        case Access(tensor=tensor):
            return known[tensor].name.startswith(("u", "bool"))
        case Call(fn="add" | "mul" | "floordiv" | "mod" | "pow" | "min", args=args):
            return all(_not_negative(a, known) for a in args)
        case Call(fn="max", args=args):
            return any(_not_negative(a, known) for a in args)
        case Call(fn="relu" | "abs"):
            return True
        case Call(fn=fn):
            return FUNCTIONS[fn].result == "bool"
        case _:
            return False


def accumulated(stmt: Statement, value: Kind) -> Kind:
    """The type of what a statement leaves in its target: sums and products of integers are int64."""
    if value.kind not in ("bool", "int") or stmt.op in ("max=", "min="):
        return Kind(value.name, value.weak)
    alone = not stmt.reduced and (stmt.op == "=" or value.kind == "int") and not _points_meet(stmt)
    return Kind(value.name, weak=True) if alone else INT


def _points_meet(stmt: Statement) -> bool:
    """Whether points of the domain may share an element of the target, as far as subscripts show."""
    alone: set[str] = set()
    for s in stmt.target.subscripts:
        match s:
            case Merged(indices=names):
                alone.update(names)
            case _ if len(indices_of(s)) == 1 and _linear(s):
                alone.update(indices_of(s))
    return not alone.issuperset(stmt.domain.indices)


def _linear(node: Subscript) -> bool:
    match node:
        case Index() | Const() | Size() | Dots():
            return True
        case Call(fn="add" | "sub" | "neg" | "mul", args=args):
            return all(_linear(a) for a in args)
        case Boundary(kind="pad", expr=e):
            return _linear(e)
        case _:
            return False


# -- what does not fit -------------------------------------------------------------------------------


def _misused(stmt: Statement, known: Mapping[str, Kind]) -> Iterator[Problem]:
    """Complex numbers where only real ones mean something, and positions that are no integers."""
    for part in parts_of(stmt):
        match part:
            case Call(fn=fn, args=args) if not FUNCTIONS[fn].analytic:
                yield from (
                    _is_complex(fn, a, part.span or stmt.span) for a in args if kind(a, known).kind == "complex"
                )
            case Reduce(op="max" | "min" | "argmax" | "argmin" as op, body=body) if kind(body, known).kind == "complex":
                yield _is_complex(op, body, part.span or stmt.span)
            case Access(tensor=tensor, subscripts=subscripts):
                for s in subscripts:
                    position = s.expr if isinstance(s, Boundary) else s
                    if isinstance(position, Index | Merged | Dots):
                        continue
                    if kind(position, known).kind in ("float", "complex"):
                        yield Problem(
                            "position-dtype",
                            f"a position in {tensor} must be an integer",
                            position.span or part.span or stmt.span,
                            (f"{expr_text(position)} is {kind(position, known).name}", *_reads(position, known)),
                            f"pass integers, or write int({expr_text(position)})",
                        )
            case _:
                pass
    if stmt.op in ("max=", "min=") and kind(stmt.value, known).kind == "complex":
        yield _is_complex(stmt.op, stmt.value, stmt.span)


def _is_complex(fn: str, argument: Expr, span: Span | None) -> Problem:
    symbol = FUNCTIONS[fn].symbol if fn in FUNCTIONS else None
    return Problem(
        "complex",
        f"'{symbol or fn}' is not defined on complex numbers",
        span,
        (f"{expr_text(argument)} is complex",),
        "use complex-analytic functions only, or pass real and imaginary parts as tensors of their own",
    )


def _no_gradient(stmt: Statement, primal: Kind) -> Iterator[Problem]:
    if primal.kind in ("bool", "int"):
        name = stmt.target.tensor
        yield Problem(
            "integer-gradient",
            f"an integer tensor has no {'tangent' if is_tangent(name) else 'gradient'}",
            stmt.target.span or stmt.span,
            (f"{primal_of(name)} is {primal.name}, so {name} could not hold its value",),
            f"pass {primal_of(name)} as floating-point numbers, or leave it out by wrt",
        )


def _moving_integers(program: Program, known: Mapping[str, Kind]) -> Iterator[Problem]:
    """Tangents that are passed in for tensors of integers."""
    for name in program.inputs:
        primal = primal_of(name) or ""
        if is_tangent(name) and primal in known and known[primal].kind in ("bool", "int"):
            rule, way = "an integer tensor has no tangent", f"pass {primal} as floating-point numbers"
            yield Problem("integer-gradient", rule, None, (f"{primal} is {known[primal].name}",), way)


def _reads(expr: Expr, known: Mapping[str, Kind]) -> list[str]:
    return [f"{name} is {known[name].name}" for name in dict.fromkeys(p.tensor for p in _accesses(expr))]


def _accesses(node: Subscript) -> list[Access]:
    """The accesses whose values make an expression's value: not those inside of their subscripts."""
    return [node] if isinstance(node, Access) else [a for child in children(node) for a in _accesses(child)]
