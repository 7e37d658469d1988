"""A Nest being written: fresh registers, their types, and statements in loops.

In: operations in the order in which they run. Out: statements. The one rule: it knows the type of every register, so
that who writes names only what is new.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .nest import Apply, Array, Count, For, Form, Literal, Op, Operand, Read, Set, Stmt, Type, When, Write, form
from .operations import COMPARE


class Writing:
    """Statements so far, innermost list last."""

    def __init__(self) -> None:
        self.lists: list[list[Stmt]] = [[]]
        self.types: dict[str, Type] = {}
        self._count: dict[str, int] = {}

    def fresh(self, hint: str) -> str:
        """A name that no register and no var has."""
        number = self._count[hint] = self._count.get(hint, 0) + 1
        return hint if number == 1 else f"{hint}_{number}"

    def type_of(self, operand: Operand) -> Type:
        """The type of a register or a literal."""
        return operand.type if isinstance(operand, Literal) else self.types[operand]

    def put(self, stmt: Stmt) -> None:
        """A statement."""
        self.lists[-1].append(stmt)

    def set(self, op: Op, hint: str = "r", register: str = "") -> str:
        """An operation's result in a fresh register, or in one that is set again."""
        register = register or self.fresh(hint)
        self.types[register] = op.type
        self.put(Set(register, op))
        return register

    def apply(self, fn: str, *args: Operand, kind: Type | None = None, register: str = "", hint: str = "r") -> str:
        """A row of the table; the type of the result follows from the last argument where it is not given."""
        if kind is None:
            own = self.type_of(args[-1])
            kind = Type("bool", own.lanes) if fn in COMPARE else own
        return self.set(Apply(fn, args, kind), hint, register)

    def number(self, value: int | float | bool, dtype: str, lanes: int = 1) -> Literal:
        """A literal."""
        return Literal(value, Type(dtype, lanes))

    def read(
        self,
        array: Array,
        at: Form,
        lanes: int = 1,
        step: int = 1,
        live: int = 0,
        moved: str = "",
        reach: tuple[int, int] = (0, 1),
        hint: str = "x",
    ) -> str:
        """Elements of an array."""
        return self.set(Read(array, at, lanes, step, live, moved, reach), hint)

    def count(self, of: Form, lanes: int = 1, step: int = 0) -> str:
        """A position as a number."""
        return self.set(Count(of, lanes, step), "at")

    def write(
        self,
        array: Array,
        at: Form,
        value: Operand,
        step: int = 1,
        live: int = 0,
        moved: str = "",
        reach: tuple[int, int] = (0, 1),
    ) -> None:
        """Elements written."""
        self.put(Write(array, at, value, step, live, moved, reach))

    @contextmanager
    def loop(
        self, var: str, begin: int | Form | Sequence[Form], end: int | Form | Sequence[Form], by: int = 1
    ) -> Iterator[Form]:
        """Statements for each value of a var: `with w.loop(w.fresh("i"), 0, 10) as i:`."""
        self.lists.append([])
        yield form(var)
        body = tuple(self.lists.pop())
        self.put(For(var, _forms(begin), _forms(end), body, by))

    @contextmanager
    def when(self, test: Form) -> Iterator[None]:
        """Statements where a form is not negative."""
        self.lists.append([])
        yield
        self.put(When(test, tuple(self.lists.pop())))

    def otherwise(self, test: Form, then: Sequence[Stmt], other: Sequence[Stmt]) -> None:
        """Two ways that were written apart (`apart`)."""
        self.put(When(test, tuple(then), tuple(other)))

    @contextmanager
    def apart(self) -> Iterator[list[Stmt]]:
        """Statements written to a list of their own."""
        own: list[Stmt] = []
        self.lists.append(own)
        yield own
        self.lists.pop()


def _forms(of: int | Form | Sequence[Form]) -> tuple[Form, ...]:
    if isinstance(of, int):
        return (Form(of),)
    return (of,) if isinstance(of, Form) else tuple(of)
