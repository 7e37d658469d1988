"""Nests looked through before they become code: an address out of its array would be a crash, or worse.

In: a Nest. Out: what is wrong with it, a line each. The one rule: a Nest in which nothing is found touches no byte
outside of its arrays, if what moves accesses (`moved`) lies in the reach that they name.
"""

from __future__ import annotations

from .check_bounds import Domain
from .nest import Apply, Array, Count, For, Form, Literal, Nest, Op, Operand, Read, Set, Stmt, Type, When, Write
from .signatures import DTYPES, wrong, wrong_literal

_ROLES = ("input", "output", "workspace")


def faults(nest: Nest) -> list[str]:
    """What is wrong; nothing where it may run."""
    return _Check(nest).found


class _Check:
    """What was found so far. `types` are those of all registers, `there` those that have a value."""

    def __init__(self, nest: Nest) -> None:
        self.found: list[str] = []
        self.arrays = {a.name: a for a in nest.arrays}
        self.types: dict[str, Type] = {}
        self.there: set[str] = set()
        self.domain = Domain()
        if len(self.arrays) != len(nest.arrays):
            self.say("two arrays have one name")
        for array in nest.arrays:
            if array.dtype not in DTYPES or array.role not in _ROLES or array.size < 0:
                self.say(f"{array} is no array")
        for var, extent in nest.items:
            if extent <= 0:
                self.say(f"{var} has {extent} items")
            if var in self.domain.depth:
                self.say(f"{var} is a var already")
            self.domain = self.domain.item(var, max(extent, 1))
        self.body(nest.body)

    def say(self, text: str) -> None:
        """A fault."""
        if text not in self.found:
            self.found.append(text)

    def body(self, body: tuple[Stmt, ...]) -> None:
        """Statements, one after the other."""
        for stmt in body:
            match stmt:
                case Set(register, op):
                    self.set(register, op)
                case Write():
                    self.write(stmt)
                case For():
                    self.loop(stmt)
                case When(test, then, other):
                    if self.known(test):
                        if not self.domain.never(test):
                            self.inner(self.domain.where(test), then)
                        if not self.domain.never(test * -1 - 1):
                            self.inner(self.domain.where(test * -1 - 1), other)

    def inner(self, domain: Domain, body: tuple[Stmt, ...]) -> None:
        """Statements in a loop or a branch: what is first set there is not seen after them."""
        outer, there = self.domain, set(self.there)
        self.domain = domain
        self.body(body)
        self.domain, self.there = outer, there

    def loop(self, loop: For) -> None:
        """A loop, unless it never has a round."""
        if loop.by <= 0 or not loop.begin or not loop.end:
            self.say(f"the loop of {loop.var} has a step of {loop.by} or no ends")
        elif loop.var in self.domain.depth:
            self.say(f"{loop.var} is a var already")
        elif all([self.known(f) for f in (*loop.begin, *loop.end)]) and not any(
            self.domain.never(e - b - 1) for b in loop.begin for e in loop.end
        ):
            self.inner(self.domain.loop(loop), loop.body)

    def known(self, of: Form) -> bool:
        """Whether its vars are there, each once."""
        names = [v for v, _ in of.terms]
        missing = [v for v in names if v not in self.domain.depth]
        if missing or len(set(names)) != len(names):
            self.say(f"{of} is not of the vars that are there")
            return False
        return True

    # -- registers ---------------------------------------------------------------------------------------

    def set(self, register: str, op: Op) -> None:
        """A register gets a value."""
        match op:
            case Read(array, at, lanes, step, live, moved, reach):
                self.access(array, at, lanes, step, live, moved, reach)
            case Count(of, lanes, _):
                self.known(of)
                if lanes < 1:
                    self.say(f"{register} has {lanes} lanes")
            case Apply(fn, args, _):
                types = [self.operand(a) for a in args]
                fault = wrong(op, [t for t in types if t is not None]) if None not in types else ""
                if fault:
                    self.say(f"{register} = {fn}: {fault}")
        if op.type.dtype not in DTYPES or op.type.lanes < 1:
            self.say(f"{register}: there is no type {op.type}")
        if self.types.setdefault(register, op.type) != op.type:
            self.say(f"{register} is {self.types[register]} and {op.type}")
        self.there.add(register)

    def operand(self, of: Operand) -> Type | None:
        """Its type, where it has one."""
        if isinstance(of, Literal):
            fault = wrong_literal(of)
            if fault:
                self.say(fault)
            return of.type
        if of not in self.there:
            self.say(f"{of} is not set")
            return None
        return self.types[of]

    # -- memory ------------------------------------------------------------------------------------------

    def write(self, op: Write) -> None:
        """Lanes go to memory."""
        kind = self.operand(op.value)
        if op.array.role == "input":
            self.say(f"{op.array.name} is an input, and written")
        if kind is None:
            return
        if kind.dtype != op.array.dtype:
            self.say(f"{op.array.name} is {op.array.dtype}, and {kind.dtype} is written")
        moved = self.types.get(op.moved, Type("int64"))
        if op.step == 0 and kind.lanes > 1 and moved.lanes == 1:
            self.say(f"{op.array.name}: {kind.lanes} lanes are written to one element")
        self.access(op.array, op.at, kind.lanes, op.step, op.live, op.moved, op.reach)

    def access(
        self, array: Array, at: Form, lanes: int, step: int, live: int, moved: str, reach: tuple[int, int]
    ) -> None:
        """All that is touched lies in the array."""
        if self.arrays.get(array.name) != array:
            self.say(f"{array.name} is not an array of this nest")
        if lanes < 1 or not 0 <= live <= lanes:
            self.say(f"{array.name}: {live} of {lanes} lanes")
            return
        low = high = 0
        if moved:
            low, high = reach[0], reach[1] - 1
            kind = self.operand(moved)
            if kind is not None and kind not in (Type("int64"), Type("int64", lanes)):
                self.say(f"{array.name}: {moved} is {kind}")
            if low > high:
                self.say(f"{array.name}: {moved} reaches nowhere")
        if not self.known(at):
            return
        span = step * ((live or lanes) - 1)
        least, most = self.domain.least(at), self.domain.greatest(at)
        if least is None or most is None or least + low + min(span, 0) < 0 or most + high + max(span, 0) >= array.size:
            ends = [
                None if e is None else e + more
                for e, more in ((least, low + min(span, 0)), (most, high + max(span, 0)))
            ]
            self.say(f"{array.name}[{array.size}] at {at} by {step}: from {ends[0]} to {ends[1]}")
