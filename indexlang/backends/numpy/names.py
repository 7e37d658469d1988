"""Names and lines of the source being written: identifiers, constants of the module, support functions, bodies.

In: code and hints for names. Out: lines. The one rule: every identifier is made here, from ASCII letters and numbers,
so no text of a program can become code; and each is bound once in a body.
"""

from __future__ import annotations

import builtins
import keyword
import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from ...plan.limits import Limits
from ...plan.places import Buffer, Part, Place
from ...plan.plan import Check
from ...plan.rooms import Room
from ...program.names import Fresh
from .code import Code, Name, Number, call, dtype, full, row, text
from .function_support import SUPPORT
from .scope import Axis, Scope
from .support import ARRAYS

Ends = tuple[tuple[str, tuple[int, int]], ...]
_OTHER = re.compile(r"[^0-9A-Za-z_]")  # what stands in no identifier
_GLOBALS: tuple[str, ...] = (
    *dir(builtins),
    "POOL",
    "workers",
    "ROOMS",
    "TICK",
    "Rooms",
    "ThreadPoolExecutor",
    "said",
    "start",
    "there",
)


@dataclass
class Body:
    """Lines of a step, a loop, a branch or a function, memory first; `at` is where it begins in the body around it."""

    kind: str = "step"  # step, loop, branch, part (a function that threads run)
    at: int = 0
    made: list[str] = field(default_factory=list)  # memory
    lines: list[str | Body] = field(default_factory=list)
    known: dict[str, Name] = field(default_factory=dict)  # the names of views, by their text
    room: Room = field(default_factory=Room)  # of a part: what lies in the memory that it takes

    def printed(self, indent: str) -> Iterator[str]:
        """The lines, indented."""
        for line in (*self.made, *self.lines):
            if isinstance(line, Body):
                yield from line.printed(indent + ("" if line.kind == "step" else "    "))
            else:
                yield indent + line


@dataclass(frozen=True)
class Made:
    """An array of the code: its name, the body that makes it, and where the index of each axis stood there.

    Without them it is all of a buffer.
    """

    name: Name
    level: int
    axes: tuple[Axis, ...] | None = None


@dataclass(frozen=True)
class Called:
    """What a function of an engine does instead of steps: it is called with these arrays, whole and contiguous.

    It gives true, and has not gone on, where one of the `checks` among the steps refuses: they then tell what is wrong.
    With each is how far indices run in its section.
    """

    name: str
    buffers: tuple[Buffer, ...]
    checks: tuple[tuple[Check, Ends], ...] = ()


@dataclass
class Writer:
    """The source being written; `scope` is where each index stands, `bodies` are those that are open."""

    limits: Limits
    complex_step: bool = False
    checked: bool = False
    ticks: bool = False
    scope: Scope = field(default_factory=dict)
    bodies: list[Body] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    module: list[str] = field(default_factory=list)
    constants: dict[str, Name] = field(default_factory=dict)
    support: set[str] = field(default_factory=set)  # names of ARRAYS and of the functions' SUPPORT
    calls: Mapping[tuple[int, int], Called | None] = field(
        default_factory=dict
    )  # by section and step; None: done before
    leaving: str | None = None  # the line that goes over to what runs instead
    made: dict[Buffer, Made] = field(default_factory=dict)
    contiguous: set[Buffer] = field(default_factory=set)  # inputs that are made so
    groups: dict[str, tuple[Name, Name, Name]] = field(default_factory=dict)  # of inputs' positions, by their code
    passing: list[str] = field(default_factory=list)  # names that hold memory until the section ends
    room: Room = field(default_factory=Room)  # of the function: what lies in the memory that it takes
    rooms: dict[int, Name] = field(default_factory=dict)  # the names of that memory, by the level of the body
    names: Fresh = field(
        default_factory=lambda: Fresh(
            {"np", "os", "run", "forward", "backward", *ARRAYS, *SUPPORT, *keyword.kwlist, *_GLOBALS}, "_"
        )
    )

    # -- identifiers ---------------------------------------------------------------------------

    def fresh(self, hint: str) -> Name:
        """A new identifier that resembles the hint; ASCII, so that no two names fold into one."""
        plain = hint if hint.isascii() else "".join(filter(str.isascii, unicodedata.normalize("NFKD", hint)))
        base = _OTHER.sub("_", plain)
        base = base if base and not base[0].isdigit() else "t" + base
        if base.startswith("__"):
            base = "t" + base
        return Name(self.names.fresh(base))

    def use(self, name: str) -> str:
        """Have a support function in the source, by name."""
        self.support.add(name)
        return name

    def constant(self, code: Code, hint: str = "C") -> Name:
        """A constant of the module, made once when the code is loaded."""
        key = text(code)
        if key not in self.constants:
            self.constants[key] = self.fresh(hint)
            self.module.append(f"{self.constants[key].text} = {key}")
        return self.constants[key]

    # -- lines ---------------------------------------------------------------------------------

    @property
    def body(self) -> Body:
        return self.bodies[-1]

    @property
    def level(self) -> int:
        return len(self.bodies) - 1

    @property
    def at_top(self) -> bool:
        """Whether what is written runs once, whatever happens."""
        return len(self.bodies) == 1

    def line(self, line: str) -> None:
        self.body.lines.append(line)

    def run(self, code: Code) -> None:
        """Code that is run for what it does."""
        self.line(text(code))

    def set(self, target: Code, value: Code, sign: str = "=") -> None:
        """An assignment."""
        self.line(f"{text(target)} {sign} {text(value)}")

    @contextmanager
    def inside(self, kind: str, *head: str, at: int | None = None) -> Iterator[Body]:
        """Lines in a body of their own, under a head such as `for ...:`; `at` is where the head before `else:` is."""
        body = Body(kind, len(self.body.lines) if at is None else at)
        self.body.lines += [*head, body]
        self.bodies.append(body)
        yield body
        self.bodies.pop()
        if not (body.made or body.lines):
            body.lines.append("pass")

    def hold(self, code: Code, hint: str) -> Name:
        """A name for code, here."""
        name = self.fresh(hint)
        self.set(name, code)
        self._passes(name, self.level)
        return name

    def hoisted(self, code: Code, level: int, hint: str) -> Name:
        """A name for a view, in the body in which it is known, before what uses it again and again."""
        while level < self.level and self.bodies[level + 1].kind == "branch":
            level += 1  # what only a branch uses is made there
        body, key = self.bodies[level], text(code)
        if key not in body.known:
            body.known[key] = self.fresh(hint)
            line = f"{body.known[key].text} = {key}"
            if level == self.level:
                body.lines.append(line)
            else:
                inner = self.bodies[level + 1]
                body.lines.insert(inner.at, line)
                inner.at += 1
            self._passes(body.known[key], level)
        return body.known[key]

    def repeats(self, level: int) -> bool:
        """Whether what is written runs more often than the body of that level."""
        return any(body.kind in ("loop", "part") for body in self.bodies[level + 1 :])

    def _passes(self, name: Name, level: int) -> None:
        if not any(body.kind == "part" for body in self.bodies[: level + 1]):
            self.passing.append(name.text)

    # -- memory --------------------------------------------------------------------------------

    def own_level(self) -> int:
        """The level of the function being written: what is made in a part of a loop is each thread's own."""
        return max((k for k, body in enumerate(self.bodies) if body.kind == "part"), default=0)

    def made_of(self, place: Place, name: Name, level: int) -> Made:
        """A place's buffer as it is made here: of a Part, what its indices have."""
        axes = tuple(self.scope[i] for i in place.indices) if isinstance(place, Part) else None
        self.made[place.buffer] = Made(name, level, axes)
        return self.made[place.buffer]

    def make(
        self, place: Place, filled: float | bool | None = None, name: Name | None = None, leaves: bool = False
    ) -> Made:
        """Memory for a place's buffer, before all loops; its own if it `leaves` the function."""
        level = self.own_level() if isinstance(place, Part) else 0
        name = name or self.fresh(place.buffer.name)
        self.memory(place.buffer, name, level, filled, leaves)
        return self.made_of(place, name, level)

    def memory(
        self, buffer: Buffer, name: Name, level: int, filled: float | bool | None = None, leaves: bool = False
    ) -> None:
        """Lines that make an array; of no values yet, or of values that stand out where everything is checked."""
        shape, kind, made = buffer.shape, buffer.dtype, self.bodies[level].made
        held = Name(_standing_out(kind)) if self.checked and filled is None else None
        value = Number(filled) if filled is not None else held
        at = None if leaves else self.lies(buffer, level)
        if at is None:
            empty = call("np.empty", row(shape), dtype(kind))
            maker = empty if value is None else full(shape, value, kind)
            made.append(f"{name.text} = {text(maker)}")
            return
        made.append(f"{name.text} = {text(call('np.ndarray', row(shape), dtype(kind), self.room_at(level), at))}")
        if value is not None:
            made.append(f"{name.text}.fill({text(value)})")

    def lies(self, buffer: Buffer, level: int) -> int | None:
        """Where an array lies in memory that is kept from call to call, if it does."""
        if level == 0:
            return self.room.at.get(buffer)
        return self.bodies[level].room.add(buffer, self.limits)

    def room_at(self, level: int) -> Name:
        """The name of that memory."""
        if level not in self.rooms:
            self.rooms[level] = self.fresh("room")
        return self.rooms[level]

    def checks(self, name: Name, shape: Code) -> None:
        """Where everything is checked, the shape of an array is."""
        if self.checked:
            self.line(f"assert {name.text}.shape == {text(shape)}, {name.text}.shape")


def _standing_out(kind: str) -> str:
    if kind == "bool":
        return "True"
    if kind.startswith(("float", "complex")):
        return "np.nan"
    return f"np.iinfo(np.{kind}).max - 42" if kind.startswith("uint") else f"np.iinfo(np.{kind}).min + 42"
