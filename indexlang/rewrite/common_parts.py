"""Common parts: what is computed twice gets a name, and what has a name already is read.

In: a Program. Out: an equal one in which no costly function is applied twice to the same elements. The one rule: a
part may be named only if each of its accesses is plain (`x[b,i]`). Then the name's own statement covers every
position at which the part has a value at all, so that reading it is right under any range, mask or subscript.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..program.facts import kept, kept_upwards
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
    parts_of,
    primal_of,
    statement,
    walk,
)
from ..program.names import Fresh
from .product import Product, product

_CHEAP = frozenset(("abs", "relu", "max", "min", "where", "int", "float", "sign", "floor", "ceil", "round"))
Path = tuple[int, ...]  # which argument of which argument


def name_common_parts(program: Program, floats: frozenset[str]) -> Program:
    """Costly parts that occur more than once are named, or read where a tensor holds them; the largest first."""
    while (shorter := _one_round(program, floats)) is not None:
        program = shorter
    return program


@dataclass(frozen=True)
class _Place:
    """An occurrence of a part: `pattern` with its subscripts `bindings` numbered."""

    number: int  # of the statement
    path: Path
    start: int  # how many parts of the value come before it
    part: Expr
    pattern: Expr
    bindings: tuple[Subscript, ...]
    restricted: bool  # by a range, a mask or a branch: not all elements are used

    @property
    def plain(self) -> bool:
        return all(isinstance(b, Index | Dots) for b in self.bindings)


def _one_round(program: Program, floats: frozenset[str]) -> Program | None:
    """All parts named or reused that do not stand inside larger ones; None if there are none."""
    known = certain_floats(program.statements, floats)
    groups: dict[Expr, list[_Place]] = {}
    for number, stmt in enumerate(program.statements):
        for place in _places(number, stmt, known):
            groups.setdefault(place.pattern, []).append(place)
    covered = [bytearray() for _ in program.statements]  # the parts that stand inside of what is read
    single = Counter(s.target.tensor for s in program.statements)
    names = Fresh(program)
    read: dict[tuple[int, Path], Access] = {}
    made: dict[int, list[Statement]] = {}
    for pattern, group in sorted(groups.items(), key=lambda g: -_length(g[0])):
        places = [p for p in group if not any(covered[p.number][p.start : p.start + 1])]
        holder = next((p for p in places if _holds(program.statements[p.number], p, single)), None)
        if holder is not None:
            readers = [p for p in places if p.number > holder.number]
            target = program.statements[holder.number].target
        else:
            free = [p for p in places if p.plain and not p.restricted]
            if len(free) < 2:
                continue
            holder, readers = free[0], places
            target = Access(names.fresh(_title(pattern)), holder.bindings)
            made.setdefault(places[0].number, []).append(statement(target, "=", holder.part))
        for place in readers:
            match_of = dict(zip(holder.bindings, place.bindings, strict=True))
            read[place.number, place.path] = Access(target.tensor, tuple(match_of[s] for s in target.subscripts))
            inside, parts = covered[place.number], _length(place.part)
            if not inside:
                inside.extend(bytes(_length(program.statements[place.number].value)))
            inside[place.start + 1 : place.start + parts] = b"\1" * (parts - 1)
    if not read:
        return None
    statements: list[Statement] = []
    for number, stmt in enumerate(program.statements):
        statements += made.get(number, [])
        if covered[number]:
            value = _replaced(stmt.value, number, (), read)
            stmt = statement(stmt.target, stmt.op, value, stmt.domain.ranges, stmt.domain.masks, stmt.span)
        statements.append(stmt)
    return replace(program, statements=tuple(statements))


def _places(number: int, stmt: Statement, known: frozenset[str]) -> Iterator[_Place]:
    """The costly parts of a statement's value, outermost first."""

    certain: dict[int, bool] = {}
    left: list[tuple[Expr, Path, int, bool]] = [(stmt.value, (), 0, bool(stmt.domain.ranges or stmt.domain.masks))]
    while left:
        expr, path, start, restricted = left.pop()
        if isinstance(expr, Call) and _is_costly(expr) and is_certain(expr, known, certain):
            numbered = _numbered(expr)
            if numbered is not None:
                yield _Place(number, path, start, expr, *numbered, restricted)
        match expr:
            case Call(fn=fn, args=args):
                inner, before = [], start + 1
                for k, arg in enumerate(args):  # a branch is not computed where it is not taken
                    inner.append((arg, (*path, k), before, restricted or (fn == "where" and k > 0)))
                    before += _length(arg)
                left += reversed(inner)
            case Reduce(domain=domain, body=body):
                left.append((body, (*path, 0), start + 1, restricted or bool(domain.ranges or domain.masks)))
            case _:
                pass


@kept_upwards(children)
def _length(node: Subscript) -> int:
    """How many parts a node has, itself included."""
    return 1 + sum(map(_length, children(node)))


def _replaced(expr: Expr, number: int, path: Path, read: dict[tuple[int, Path], Access]) -> Expr:
    found = read.get((number, path))
    if found is not None:
        return found
    match expr:
        case Call(args=args):
            changed = tuple([_replaced(a, number, (*path, k), read) for k, a in enumerate(args)])
            return expr if all(map(operator.is_, changed, args)) else Call(expr.fn, changed, expr.span)
        case Reduce(body=body):
            return replace(expr, body=_replaced(body, number, (*path, 0), read))
        case _:
            return expr


def _holds(stmt: Statement, place: _Place, single: Counter[str]) -> bool:
    """Whether a statement's tensor is just this part, at each of its positions."""
    whole = not place.path and place.plain and not place.restricted
    return (
        whole
        and primal_of(stmt.target.tensor) is None  # nobody reads one gradient to say another
        and single[stmt.target.tensor] == 1
        and stmt.op in ("=", "+=")
        and Counter(stmt.target.subscripts) == Counter(place.bindings)
    )


Numbered = tuple[Expr, tuple[Subscript, ...]]


@kept
def _numbered(expr: Expr) -> Numbered | None:
    """The part with each distinct subscript replaced by a number, and the subscripts; None where no name can serve."""
    if any(isinstance(p, Reduce | Boundary | Merged) for p in walk(expr)):
        return None
    bindings: dict[Subscript, int] = {}

    def in_access(access: Access) -> Access:
        subscripts: list[Subscript] = []
        for s in access.subscripts:
            if isinstance(s, Dots):
                bindings.setdefault(s, len(bindings))
                subscripts.append(s)
            elif indices_of(s):
                subscripts.append(Index(str(bindings.setdefault(s, len(bindings)))))
            else:
                subscripts.append(s)
        return Access(access.tensor, tuple(subscripts), access.span)

    def visit(part: Expr) -> Expr:
        match part:
            case Access():
                return in_access(part)
            case Call(args=args):
                return Call(part.fn, tuple([visit(a) for a in args]), part.span)
            case _:
                return part

    inner = visit(expr)
    missing = []

    def number(part: Expr) -> Expr:
        match part:
            case Index(name):  # an index as a number: the position of a plain subscript
                if part not in bindings:
                    missing.append(name)
                    return part
                return Index(str(bindings[part]))
            case Call(args=args):
                changed = tuple([number(a) for a in args])
                return part if all(map(operator.is_, changed, args)) else Call(part.fn, changed, part.span)
            case _:
                return part

    pattern = number(inner)
    return None if missing else (pattern, tuple(bindings))


def _is_costly(call: Call) -> bool:
    """Whether applying the function costs more than reading its value again."""
    match call:
        case Call(fn="pow", args=(_, Const(value=int()))):
            return False
        case Call(fn="pow"):
            return True
        case _:
            return FUNCTIONS[call.fn].symbol is None and call.fn not in _CHEAP


def read_quotients(program: Program, floats: frozenset[str]) -> Program:
    """A quotient that a tensor holds is read from it, where a derived product contains it: p for e / z."""
    single = Counter(s.target.tensor for s in program.statements)
    holders: list[tuple[Access, Product, frozenset[str]]] = []
    statements = []
    for stmt in program.statements:
        value = stmt.value
        if primal_of(stmt.target.tensor) is not None and product(value).divisors:
            read = _tensors(value)
            for target, quotient, needed in holders:
                if needed <= read:  # few of many: matching takes long
                    value = _without(value, target, quotient)
                    read = _tensors(value)
        statements.append(statement(stmt.target, stmt.op, value, stmt.domain.ranges, stmt.domain.masks, stmt.span))
        parts, numbered = product(stmt.value), _numbered(stmt.value)
        if numbered is not None and parts.number == 1 and parts.factors and parts.divisors:
            restricted = bool(stmt.domain.ranges or stmt.domain.masks)
            if _holds(stmt, _Place(0, (), 0, stmt.value, *numbered, restricted), single):
                holders.append((stmt.target, parts, _tensors(stmt.value)))
    return replace(program, statements=tuple(statements))


def _tensors(value: Expr) -> frozenset[str]:
    return frozenset(p.tensor for p in walk(value) if isinstance(p, Access))


def _without(value: Expr, target: Access, quotient: Product) -> Expr:
    """The value with the target's tensor in place of the quotient's factors and divisors, if it has them all."""
    parts = product(value)
    for axes, factors in _matches(quotient.factors, parts.factors, {Dots(): Dots()}):
        for found, divisors in _matches(quotient.divisors, parts.divisors, axes):
            read = Access(target.tensor, tuple(found[s] for s in target.subscripts))
            first = next(k for k, f in enumerate(parts.factors) if k >= len(factors) or f is not factors[k])
            number = parts.number * quotient.divisor
            return replace(
                parts, number=number, factors=(*factors[:first], read, *factors[first:]), divisors=divisors
            ).expr()
    return value


Axes = dict[Subscript, Subscript]
Exprs = tuple[Expr, ...]


def _matches(wanted: Exprs, given: Exprs, axes: Axes) -> Iterator[tuple[Axes, Exprs]]:
    """The ways to find all wanted parts among the given: what their subscripts stand for, and the parts left over."""
    if not wanted:
        yield axes, given
        return
    for k, part in enumerate(given):
        found = _match(wanted[0], part, axes)
        if found is not None:
            yield from _matches(wanted[1:], given[:k] + given[k + 1 :], found)


def _match(pattern: Subscript, part: Subscript, axes: Axes) -> Axes | None:
    """What the pattern's plain subscripts stand for if it is to be the part; None if it cannot be."""
    match pattern, part:
        case Access(tensor, ours), Access(other, theirs) if tensor == other and len(ours) == len(theirs):
            for s, t in zip(ours, theirs, strict=True):
                if not isinstance(s, Index):
                    if s != t:
                        return None
                elif isinstance(t, Boundary | Merged | Dots) or axes.get(s, t) != t:
                    return None
                else:
                    axes = {**axes, s: t}
            return axes
        case Call(fn, ours), Call(other, theirs) if fn == other:
            found: Axes | None = axes
            for s, t in zip(ours, theirs, strict=True):
                found = None if found is None else _match(s, t, found)
            return found
        case Index(), _:
            return axes if axes.get(pattern) == part else None
        case _:
            return axes if pattern == part else None


def certain_floats(statements: tuple[Statement, ...], floats: frozenset[str]) -> frozenset[str]:
    """The tensors that are floating-point or complex for certain: those that have gradients, and what follows."""
    known = set(floats)
    for stmt in statements:
        for part in parts_of(stmt):
            if isinstance(part, Access | Size):
                primal = primal_of(part.tensor)
                known.update((part.tensor, primal) if primal is not None else ())
    for stmt in statements:
        if is_certain(stmt.value, known):
            known.add(stmt.target.tensor)
    return frozenset(known)


def is_certain(expr: Expr, known: frozenset[str] | set[str], found: dict[int, bool] | None = None) -> bool:
    """Whether a value has a floating-point type that does not depend on what stands beside it.

    `found` keeps what is known of parts that stay, by their identity.
    """
    if isinstance(expr, Access):
        return expr.tensor in known
    answer = None if found is None else found.get(id(expr))
    if answer is None:
        match expr:
            case Call("where", (_, *branches)):
                answer = any(is_certain(b, known, found) for b in branches)
            case Call(fn, args) if FUNCTIONS[fn].result in ("promote", "float"):
                answer = any(is_certain(a, known, found) for a in args)
            case Reduce(op, _, body):
                answer = op not in ("argmax", "argmin") and is_certain(body, known, found)
            case _:
                answer = False
        if found is not None:
            found[id(expr)] = answer
    return answer


def _title(pattern: Expr) -> str:
    """`exp_x` for exp(x[i] - m)."""
    assert isinstance(pattern, Call)
    tensor = next(p.tensor for p in walk(pattern) if isinstance(p, Access))
    return f"{pattern.fn}_{tensor.replace('.', '_')}"
