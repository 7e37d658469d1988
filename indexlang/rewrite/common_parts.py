"""Common parts: what is computed twice gets a name, and what has a name already is read.

In: a Program. Out: an equal one in which no costly function is applied twice to the same elements. The one rule: a
part may be named only if each of its accesses is plain (`x[b,i]`). Then the name's own statement covers every
position at which the part has a value at all, so that reading it is right under any range, mask or subscript.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from math import inf

from ..program.conditions import guard_of
from ..program.facts import kept_upwards
from ..program.functions import FUNCTIONS
from ..program.ir import (
    CHAINED,
    Access,
    Call,
    Const,
    Dots,
    Expr,
    Program,
    Reduce,
    Statement,
    Subscript,
    indices_of,
    operands,
    primal_of,
    statement,
    tensors_in,
    walk,
)
from ..program.names import Fresh
from ..program.rebuild import with_value
from .patterns import Pattern, Patterns, holds

_CHEAP = frozenset(("abs", "relu", "max", "min", "where", "int", "float", "sign", "floor", "ceil", "round"))


def name_common_parts(program: Program, floats: frozenset[str]) -> Program:
    """Costly parts that occur more than once are named, or read where a tensor holds them; the largest first."""
    while True:
        naming = _Naming(program, floats)
        naming.run()
        if not naming.read:
            return program
        program = naming.program()
        if not naming.held:  # a name of the author's may stand in other parts, too, that are the same only now
            return program


@dataclass
class _Line:
    """A statement, and the order in which it stands: new ones come between those of the program."""

    stmt: Statement
    order: tuple[float, ...]
    places: dict[int, _Place] = field(default_factory=dict)  # by the identity of a part
    before: int = 0  # how many lines were put in front of it
    read: dict[int, Access] = field(default_factory=dict)  # what is read instead of a part

    def in_front(self) -> tuple[float, ...]:
        """The order of a new line in front of this one, behind those that are there."""
        self.before += 1
        return (*self.order[:-1], self.before, inf)


@dataclass
class _Place:
    """A part of a line, once for all the places at which it stands there outside of what is read."""

    line: _Line
    part: Expr
    path: tuple[int, ...]  # which operand of which operand, the first time that the text shows the part
    free: int = 0  # places where all elements are used
    restricted: int = 0  # places under a range, a mask or a branch


class _Naming:
    """All parts from the largest to the smallest: what stands inside of a part that is read is not looked at."""

    def __init__(self, program: Program, floats: frozenset[str]) -> None:
        self.original = program
        self.known = certain_floats(program.statements, floats)
        self.certain: dict[int, bool] = {}
        self.single = Counter(s.target.tensor for s in program.statements)
        self.names = Fresh.of(program)
        self.patterns = Patterns()
        self.lines = [_Line(s, (number, inf)) for number, s in enumerate(program.statements)]
        self.left: dict[int, list[_Place]] = {}  # by weight: places that have been reached
        self.weights: list[int] = []
        self.read = self.held = False

    def run(self) -> None:
        for line in self.lines:
            domain = line.stmt.domain
            if line.stmt.block is not None:  # a part would have to be named for each step
                continue
            masked = any(guard_of(m, line.stmt) is None for m in domain.masks)
            self.reach(line, line.stmt.value, (), 1, bool(domain.ranges) or masked)
        while self.weights:
            places = self.left.pop(-heappop(self.weights))
            places.sort(key=lambda p: (p.line.order, p.path))
            groups: dict[int, list[tuple[_Place, Pattern]]] = {}
            for place in places:
                part = place.part
                if isinstance(part, Call) and _is_costly(part) and is_certain(part, self.known, self.certain):
                    pattern = self.patterns.of(part)
                    if pattern is not None:
                        groups.setdefault(pattern.number, []).append((place, pattern))
            for group in groups.values():
                self.name(group)
            for place in places:
                if id(place.part) not in place.line.read:
                    self.descend(place)

    def reach(self, line: _Line, part: Expr, path: tuple[int, ...], count: int, restricted: bool) -> None:
        """A part stands at so many more places of a line; one in which nothing is costly is left alone."""
        if not _is_costly_in(part):
            return
        place = line.places.get(id(part))
        if place is None:
            place = line.places[id(part)] = _Place(line, part, path)
            weight = _weight(part)
            if weight not in self.left:
                self.left[weight] = []
                heappush(self.weights, -weight)
            self.left[weight].append(place)
        place.path = min(place.path, path)
        if restricted:
            place.restricted += count
        else:
            place.free += count

    def descend(self, place: _Place) -> None:
        line, part, path = place.line, place.part, place.path
        domain = part.domain if isinstance(part, Reduce) else None
        inside = domain is not None and bool(domain.ranges or domain.masks)
        for count, restricted in ((place.free, inside), (place.restricted, True)):
            for k, operand in enumerate(_values_of(part) if count else ()):
                branch = k > 0 and isinstance(part, Call) and part.fn == "where"  # not computed where it is not taken
                self.reach(line, operand, (*path, k), count, restricted or branch)

    def name(self, group: list[tuple[_Place, Pattern]]) -> None:
        """One part, at all its places, in order."""
        holder = next((p for p in group if self.is_held(*p)), None)
        if holder is not None:
            target = holder[0].line.stmt.target
            readers = [p for p in group if p[0].line.order > holder[0].line.order]
            self.held = self.held or bool(readers)
        else:
            free = [p for p in group if p[1].plain and p[0].free]
            if sum(place.free for place, _ in free) < 2:
                return
            holder, readers = free[0], group
            part = holder[0].part
            target = Access(self.names.fresh(_title(part)), holder[1].bindings)
            made = _Line(statement(target, "=", part), group[0][0].line.in_front())
            self.lines.append(made)
            made.places[id(part)] = root = _Place(made, part, (), free=1)
            self.descend(root)
        bindings = holder[1].bindings
        for place, pattern in readers:
            match_of = dict(zip(bindings, pattern.bindings, strict=True))
            place.line.read[id(place.part)] = Access(target.tensor, tuple(match_of[s] for s in target.subscripts))
        self.read = self.read or bool(readers)

    def is_held(self, place: _Place, pattern: Pattern) -> bool:
        return place.part is place.line.stmt.value and holds(place.line.stmt, pattern, self.single)

    def program(self) -> Program:
        """The program in which names are read."""
        statements = []
        for line in sorted(self.lines, key=lambda line: line.order):
            stmt = line.stmt
            if line.read:
                named = {p.part: line.read[k] for k, p in line.places.items() if k in line.read}
                masks = tuple(_exchanged(m, named) if guard_of(m, stmt) else m for m in stmt.domain.masks)
                stmt = with_value(replace(stmt, domain=replace(stmt.domain, masks=masks)), _reading(stmt.value, line))
            statements.append(stmt)
        return replace(self.original, statements=tuple(statements))


def _values_of(node: Expr) -> tuple[Expr, ...]:
    """The parts of a value that are values themselves."""
    if isinstance(node, Call):
        return operands(node)  # type: ignore[return-value]  # of a call: values
    return (node.body,) if isinstance(node, Reduce) else ()


@kept_upwards(_values_of)
def _is_costly_in(node: Expr) -> bool:
    """Whether something costly is done in a value."""
    return (isinstance(node, Call) and _is_costly(node)) or any([_is_costly_in(p) for p in _values_of(node)])


@kept_upwards(operands)
def _weight(node: Subscript) -> int:
    """How many parts a node has, itself included; a subscript that varies counts as one, however it is written."""
    parts = operands(node)
    if isinstance(node, Access):
        return 1 + sum([1 if isinstance(s, Dots) or indices_of(s) else _weight(s) for s in parts])
    beginnings = len(parts) - 2 if isinstance(node, Call) and node.fn in CHAINED else 0
    return 1 + beginnings + sum(map(_weight, parts))


def _reading(expr: Expr, line: _Line) -> Expr:
    """The value with what is read in place of parts."""
    done: dict[int, Expr] = {}

    def visit(part: Expr) -> Expr:
        found = line.read.get(id(part)) or done.get(id(part))
        if found is not None:
            return found
        made = part
        match part:
            case Call(fn, args, span) if id(part) in line.places or fn in CHAINED:
                new = tuple([visit(a) for a in args])
                made = part if all(map(operator.is_, new, args)) else Call(fn, new, span)
            case Reduce(body=body):
                made = replace(part, body=visit(body))
            case _:
                return part
        done[id(part)] = made
        return made

    return visit(expr)


def _exchanged(expr: Expr, named: Mapping[Expr, Access]) -> Expr:
    """An expression with names for its parts: what a guard says is a factor stays one."""
    if expr in named:
        return named[expr]
    return Call(expr.fn, tuple([_exchanged(a, named) for a in expr.args])) if isinstance(expr, Call) else expr


def _is_costly(call: Call) -> bool:
    """Whether applying the function costs more than reading its value again."""
    match call:
        case Call(fn="pow", args=(_, Const(value=int()))):
            return False
        case Call(fn="pow"):
            return True
        case _:
            return FUNCTIONS[call.fn].symbol is None and call.fn not in _CHEAP


def _title(part: Expr) -> str:
    """`exp_x` for exp(x[i] - m)."""
    assert isinstance(part, Call)
    tensor = next(p.tensor for p in walk(part) if isinstance(p, Access))
    return f"{part.fn}_{tensor.replace('.', '_')}"


# -- types -----------------------------------------------------------------------------------------


def certain_floats(statements: tuple[Statement, ...], floats: frozenset[str]) -> frozenset[str]:
    """The tensors that are floating-point or complex for certain: those that have gradients, and what follows."""
    known = set(floats)
    for tensor in dict.fromkeys(t for stmt in statements for t in tensors_in(stmt)):
        primal = primal_of(tensor)
        known.update((tensor, primal) if primal is not None else ())
    for stmt in statements:
        if is_certain(stmt.value, known, {}):
            known.add(stmt.target.tensor)
    return frozenset(known)


def is_certain(expr: Expr, known: frozenset[str] | set[str], found: dict[int, bool]) -> bool:
    """Whether a value has a floating-point type that does not depend on what stands beside it.

    `found` keeps what is known of parts that stay, by their identity.
    """
    if isinstance(expr, Access):
        return expr.tensor in known
    answer = found.get(id(expr))
    if answer is None:
        match expr:
            case Call("where", (_, *branches)):
                answer = any(is_certain(b, known, found) for b in branches)
            case Call(fn) if FUNCTIONS[fn].result in ("promote", "float"):
                answer = any([is_certain(a, known, found) for a in _values_of(expr)])
            case Reduce(op, _, body):
                answer = op not in ("argmax", "argmin") and is_certain(body, known, found)
            case _:
                answer = False
        found[id(expr)] = answer
    return answer
