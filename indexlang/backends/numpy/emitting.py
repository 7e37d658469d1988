"""Stand-alone modules: what runs, with where it comes from, and with a look at what it is given.

In: Plans, the text of their program, the version of what makes them. Out: the source of a module, with `run(*inputs)`,
or with `forward(*inputs)` and `backward(saved, *cotangents)`. The one rule: it gives what a call gives, bit for bit, or
an error; never a value for sizes that it was not made for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Protocol, runtime_checkable

from ...plan.limits import Limits
from ...plan.plan import Plan
from .code import Name
from .names import Writer
from .program import module, printed, told

Form = tuple[str, tuple[int, ...], str]  # a tensor's name, shape and type


@dataclass(frozen=True)
class Both:
    """A forward and a backward part, and which of what is there each takes, by numbers.

    What is there: the program's inputs, what the forward part gives, and the cotangents, one after the other.
    """

    inputs: tuple[Form, ...]
    cotangents: tuple[Form, ...]
    first: Plan
    into_first: tuple[int, ...]
    outputs: tuple[int, ...]  # among what the forward part gives
    second: Plan
    into_second: tuple[int, ...]
    gradients: tuple[int, ...]  # among what the backward part gives
    finite: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())  # what both parts give, and must be finite
    instead: Both | None = None  # what holds where it is not

    @property
    def gives(self) -> range:
        """The numbers of what the forward part gives."""
        return range(len(self.inputs), len(self.inputs) + len(self.first.outputs))


@runtime_checkable
class Printing(Protocol):
    """What stands for a Plan, and prints its functions itself: a program that runs step by step."""

    @property
    def limits(self) -> Limits: ...

    def printed(self, w: Writer, name: Name, looks: bool) -> list[str]: ...


def _printed(w: Writer, name: Name, what: Plan | Printing, looks: bool = False) -> list[str]:
    return what.printed(w, name, looks) if isinstance(what, Printing) else printed(w, name, what, looks=looks)


def module_of(what: Plan | Printing | Both, program: str, version: str) -> str:
    """A module whose `run(*inputs)` gives a tuple of the outputs.

    Of both parts one whose `forward(*inputs)` gives (outputs, saved), and `backward(saved, *cotangents)` the gradients.
    """
    if not isinstance(what, Both):
        w, name = Writer(what.limits, isinstance(what, Plan) and what.complex_step), "run"
        functions = _printed(w, Name(name), what, looks=True)
    else:
        w, name = Writer(what.first.limits), "forward"
        both = _Functions(w, what)
        functions = [*both.parts, both.forward(), both.backward()]
    return f"{_origin(name, program, version)}\n{module(w, functions)}"


def _origin(name: str, program: str, version: str) -> str:
    """What a module was made from, as comments that no text can end."""
    sizes = f"for the shapes and types that `{name}` tells and looks for; emit it anew for others."
    lines = (f"Made by indexlang {version} from", "", *(f"    {line}" for line in program.splitlines()), "", sizes)
    return "".join(f"# {ascii(line)[1:-1]}".rstrip() + "\n" for line in lines)


class _Functions:
    """The two functions over the parts, which are functions of their own."""

    def __init__(self, w: Writer, both: Both) -> None:
        self.w, self.both = w, both
        self.taken = [w.fresh(name).text for name, _, _ in both.inputs]
        self.given = [w.fresh(name).text for name, _, _ in both.first.outputs]
        self.seeds = [w.fresh(name).text for name, _, _ in both.cotangents]
        self.found = [w.fresh(name).text for name, _, _ in both.second.outputs]
        ways = [(both, "part"), *([(both.instead, "instead")] if both.instead else [])]
        self.names = [(w.fresh(f"forward_{word}"), w.fresh(f"backward_{word}")) for _, word in ways]
        self.parts: list[str] = []
        for (way, _), (first, second) in zip(ways, self.names, strict=True):
            self.parts += [*_printed(w, first, way.first), *_printed(w, second, way.second)]

    def forward(self) -> str:
        """The outputs, and what backward needs of all that is there."""
        both, given = self.both, self.given
        shown = told((name, list(shape), kind) for name, shape, kind in _forms(both))
        taken = told((name, list(shape), kind) for name, shape, kind in both.inputs)
        doc = f'"""(outputs, saved): {shown}, and what `backward` needs, of {taken}."""'
        lines = [*self._looks(both.inputs, self.taken), self._call(0, 0, both.into_first, given)]
        if both.instead is None:
            kept = [(*self.taken, *given)[k] for k in sorted(set(both.into_second)) if k < both.gives.stop]
            lines.append(f"return {self._outputs(both, given)}, {_row(kept)}")
        else:
            other = self._others(both.instead)
            held = f"({_row(self.taken)}, {_row(given)})"
            lines += [
                f"if {self._finite(given, both.finite[0])}:",
                f"    return {self._outputs(both, given)}, (True, *{held})",
                self._call(1, 0, both.instead.into_first, other),
                f"return {self._outputs(both.instead, other)}, (False, {_row(self.taken)}, {_row(other)})",
            ]
        return _function("forward", self.taken, doc, lines)

    def backward(self) -> str:
        """The gradients."""
        both, given = self.both, self.given
        shown = told((n, list(s), k) for n, s, k in (_form(both.second, k) for k in both.gradients))
        taken = told((name, list(shape), kind) for name, shape, kind in both.cotangents)
        doc = f'"""{shown}, from what `forward` saved, and {taken}."""'
        saved = self.w.fresh("saved").text
        lines = self._looks(both.cotangents, self.seeds)
        if both.instead is None:
            kept = [(*self.taken, *given)[k] for k in sorted(set(both.into_second)) if k < both.gives.stop]
            lines += [f"{_row(kept)} = {saved}"] if kept else []
            lines += [self._call(0, 1, both.into_second, self.found), f"return {self._gradients(both, self.found)}"]
        else:
            holds, other = self.w.fresh("holds").text, self._others(both.instead)
            found = [self.w.fresh(name).text for name, _, _ in both.instead.second.outputs]
            lines += [
                f"{holds}, {_row(self.taken)}, {saved} = {saved}",
                f"if {holds}:",
                f"    {_row(given)} = {saved}",
                f"    {self._call(0, 1, both.into_second, self.found)}",
                f"    if {self._finite(self.found, both.finite[1])}:",
                f"        return {self._gradients(both, self.found)}",
                f"    {self._call(1, 0, both.instead.into_first, None, saved)}",
                f"{_row(other)} = {saved}",
                self._call(1, 1, both.instead.into_second, found, given=other),
                f"return {self._gradients(both.instead, found)}",
            ]
        return _function("backward", [saved, *self.seeds], doc, lines)

    def _others(self, instead: Both) -> list[str]:
        return [self.w.fresh(name).text for name, _, _ in instead.first.outputs]

    def _looks(self, forms: Iterable[Form], names: Sequence[str]) -> list[str]:
        look = self.w.use("fitting")
        return [f"{n} = {look}({t!a}, {n}, {s}, {k!r})" for n, (t, s, k) in zip(names, forms, strict=True)]

    def _call(
        self,
        way: int,
        part: int,
        into: Sequence[int],
        names: Sequence[str] | None,
        whole: str = "",
        given: Sequence[str] | None = None,
    ) -> str:
        """A line that calls a part, and holds what it gives under names, or as a whole."""
        there = (*self.taken, *(self.given if given is None else given), *self.seeds)
        call = f"{self.names[way][part].text}({', '.join(there[k] for k in into)})"
        return f"{whole or _row(names or ())} = {call}" if whole or names else call

    def _finite(self, names: Sequence[str], numbers: Sequence[int]) -> str:
        return f"{self.w.use('finite')}({', '.join(names[k] for k in numbers)})"

    def _outputs(self, both: Both, given: Sequence[str]) -> str:
        """The outputs; those that are read again cannot be written to."""
        again = {k - both.gives.start for k in both.into_second}
        if both.instead is not None:
            again |= set(range(len(given)))
        return _row([f"{self.w.use('locked')}({given[k]})" if k in again else given[k] for k in both.outputs])

    def _gradients(self, both: Both, found: Sequence[str]) -> str:
        return _row([found[k] for k in both.gradients])


def _forms(both: Both) -> list[Form]:
    return [_form(both.first, k) for k in both.outputs]


def _form(plan: Plan, number: int) -> Form:
    name, _, kind = plan.outputs[number]
    return name, plan.shapes[name], kind


def _row(names: Sequence[str]) -> str:
    """A tuple of expressions."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def _function(name: str, taken: Sequence[str], doc: str, lines: Sequence[str]) -> str:
    doc = fill(doc, 110, initial_indent="    ", subsequent_indent="    ")
    return "\n".join((f"def {name}({', '.join(taken)}):", doc, *(f"    {line}" for line in lines))) + "\n"
