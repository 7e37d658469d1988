"""Random recurrences: programs with blocks, and all that is asked of one.

In: a name, any text. Out: a Sample; failures. The one rule: what is right the plain loops say, which go through the
steps one by one; and what they refuse must be an error.

`python -m random_recurrences SEED NUMBER` with `tests` on the path tries so many, and prints those that fail.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from traceback import format_exception
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.derive.grad import differentiable, gradient_names
from indexlang.errors import IndexLangError, IndexLangWarning
from indexlang.oracle import loops
from indexlang.oracle.gradcheck import gradcheck, random_cotangents
from indexlang.program.ir import blocks_of

Array = NDArray[Any]
ORDER = ("order", "late-definition", "recurrence", "set-twice", "redefined")  # what a wrong order may be called


@dataclass(frozen=True)
class Sample:
    """A program, and its inputs."""

    name: str
    text: str
    arrays: Mapping[str, Array]


def generate(name: str) -> Sample:
    """The program of this name, the same each time."""
    return _Making(random.Random(name)).sample(name)


class _Making:
    """One program being drawn. A tensor of the block has the steps' axes in front, then that of k."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.steps, self.width = dice.choice((0, 1, 2, 3, 3, 4, 5)), dice.choice((1, 2, 3))
        self.kind = dice.choice(("one", "one", "one", "one", "two", "nested"))
        self.reverse = dice.random() < 0.3
        self.begin = dice.choice((0, 0, 0, 1)) if self.kind == "one" and not self.reverse else 0
        self.shift = 1 if self.kind == "one" and not self.reverse and not self.begin and dice.random() < 0.4 else 0
        self.inputs: dict[str, Array] = {}
        self.numbers = np.random.default_rng(dice.randrange(1 << 30))
        self.made: dict[str, str] = {}  # the tensors of the block that are there by now, and their operators

    def chance(self, percent: float) -> bool:
        return self.dice.random() * 100 < percent

    @property
    def at(self) -> str:
        """The steps as subscripts."""
        return "t" if self.kind == "one" else "t,s"

    def input(self, name: str, *shape: int) -> str:
        if name not in self.inputs:
            self.inputs[name] = self.numbers.uniform(-1, 1, shape)
        return name

    def integers(self, name: str, low: int, high: int, *shape: int) -> str:
        if name not in self.inputs:
            self.inputs[name] = self.numbers.integers(low, max(high, low + 1), shape)
        return name

    def sample(self, name: str) -> Sample:
        dice, lines = self.dice, list[str]()
        count = dice.randint(1, 4)
        tensors = [f"h{n}" for n in range(count)]
        ops = {t: dice.choices(("=", "+=", "max=", "*="), (6, 3, 1, 0.7))[0] for t in tensors}
        body = [(t, self.statement(t, ops, tensors)) for t in tensors]
        if self.chance(15):  # a second accumulation somewhere
            t = dice.choice([t for t in tensors if ops[t] != "="] or tensors)
            if ops[t] != "=":
                body.insert(dice.randint(0, len(body)), (t, self.statement(t, ops, tensors)))
        if self.chance(20) and self.kind == "one":
            body.append(("total", f"total += {tensors[-1]}[{self.place()},k]"))
        shifted = [t for t, _ in body if self.shift]
        for t in dict.fromkeys(t for t in shifted if t in tensors):
            if self.chance(85):
                lines.append(f"{t}[0,k] {'=' if self.chance(70) else ops[t]} {self.input('v', self.width)}[k]")
        x = self.input("x", *self.shape(), self.width)
        around = f"for {self.header(x)}:"
        if self.kind == "nested":
            lines += [around]
            if self.chance(30):
                lines.append(f"    n[t] += {x}[t,s,k]")
            inner = f"s < size({x},1)" if self.chance(40) else "s"
            lines.append(f"    for {inner}{' reversed' if self.reverse else ''}:")
            lines += [f"        {line}" for _, line in body]
            if self.chance(30):
                lines.append(f"    m[t] += {tensors[0]}[t,s,k] * {tensors[0]}[t,s,k]")
        else:
            lines += [around, *(f"    {line}" for _, line in body)]
        if self.chance(25):
            lines.append(f"y += {dice.choice(tensors)}[{'t' if self.kind == 'one' else 't,s'},k]")
        if self.chance(15) and self.kind == "one":
            lines += [f"for t{' reversed' if self.chance(50) else ''}:"]
            read = f"z[pad(t{dice.choice('+-')}1),k]"
            lines.append(f"    z[t,k] = 0.5 * {read} + {tensors[0]}[t,k]")
        return Sample(name, "\n".join(lines) + "\n", dict(self.inputs))

    def shape(self) -> tuple[int, ...]:
        return (self.steps,) if self.kind == "one" else (self.steps, max(self.steps - 1, 1))

    def header(self, x: str) -> str:
        if self.kind == "two":
            ranges = f"t < size({x},0), s < size({x},1)" if self.chance(50) else "t, s"
        elif self.begin:
            ranges = f"{self.begin} <= t < size({x},0)"
        else:
            ranges = f"t < size({x},0)" if self.chance(40) else "t"
        return ranges + (" reversed" if self.reverse and self.kind != "nested" else "")

    def place(self) -> str:
        """Where the block's statements set what they make."""
        return f"t+{self.shift}" if self.shift else self.at

    def statement(self, target: str, ops: Mapping[str, str], tensors: list[str]) -> str:
        first = [f"{self.input('x', *self.shape(), self.width)}[{self.at},k]"]
        if self.chance(60):
            first.append(self.other())
        before = [t for t in tensors if t in self.made]
        for _ in range(self.dice.randint(0, 2)):
            first.append(self.read(target, before, tensors))
        self.made[target] = ops[target]
        value = first[0]
        for part in first[1:]:
            wrapped = self.dice.choice(("{}", "tanh({})", "0.5 * {}", "sin({})"))
            value += self.dice.choice((" + ", " * ", " - ")) + wrapped.format(part)
        if self.chance(50):
            value = f"tanh({value})"
        masks = [self.mask()] if self.chance(20) else []
        where = f" where {', '.join(masks)}" if masks else ""
        return f"{target}[{self.place()},k] {ops[target]} {value}{where}"

    def other(self) -> str:
        return self.dice.choice(
            (
                f"{self.input('v', self.width)}[k]",
                f"{self.input('a')}[]",
                f"{self.input('u', *self.shape()[:1])}[t]",
                f"max[l]({self.input('w', self.width, self.width)}[l,k])",
                f"{self.input('x', *self.shape(), self.width)}[clamp(t+1),{'s,' if self.kind != 'one' else ''}k]",
            )
        )

    def read(self, target: str, before: list[str], tensors: list[str]) -> str:
        """A read of something that the block makes: nearly always of what is there by then."""
        dice = self.dice
        if before and self.chance(40):
            tensor, where = dice.choice(before), self.place()
        else:
            tensor, where = dice.choice(tensors), self.earlier()
        if self.chance(2):  # what may be made only later
            where = self.place() if self.kind == "one" else "clamp(t+1),s"
        if self.chance(3) and self.kind == "one":
            where = f"pad({self.integers('at', -1, max(self.steps, 1), self.steps)}[t])"
        last = dice.choices(("k", "l", str(self.width - 1)), (6, 3, 1))[0]
        access = f"{tensor}[{where},{last}]"
        if last == "l":
            w = self.input("w", self.width, self.width)
            return dice.choice((f"sum[l]({w}[l,k] * {access})", f"max[l]({access} + {w}[l,k])"))
        return access

    def earlier(self) -> str:
        dice = self.dice
        sign = "+" if self.reverse else "-"
        if self.kind == "one":
            if self.shift:
                return dice.choice(("t", "t", "pad(t-1)", "t//2"))
            if self.begin:
                return dice.choice(("t-1", "pad(t-2)", "(t-1)//2"))
            value = dice.choice(("", "", ",value=0.5"))
            if self.reverse:
                return dice.choice((f"pad(t+1{value})", "pad(t+2)"))
            return dice.choice((f"pad(t-1{value})", "pad(t-2)", "pad((t-1)//2)"))
        outer = sign if self.kind == "two" else "-"
        return dice.choice((f"t,pad(s{sign}1)", f"pad(t{outer}1),s", f"pad(t{outer}1),pad(s{sign}1)"))

    def mask(self) -> str:
        return self.dice.choice(
            (
                f"t < {self.integers('len', 0, self.steps + 1, self.width)}[k]",
                "t % 2 == 0",
                "k <= t",
                "1 <= t",
                f"{self.input('u', *self.shape()[:1])}[t] > 0",
            )
        )


# -- what is asked -----------------------------------------------------------------------------------


class InvalidError(Exception):
    """A sample that says nothing, and why."""


def tried(sample: Sample, backend: str = "numpy", most: int = 12) -> Iterator[str]:
    """What is wrong with a sample, a line each."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            yield from _tried(sample, backend, most)
        except InvalidError:
            raise
        except Exception as error:
            yield "crash: " + "".join(format_exception(error)[-3:])


def _tried(sample: Sample, backend: str, most: int) -> Iterator[str]:
    try:
        f = indexlang.compile(sample.text, backend=backend)
        arrays = {n: sample.arrays[n] for n in f.inputs}
    except IndexLangError as error:
        raise InvalidError(f"refused: {error.problems[0].code}: {error}") from None
    try:
        right = loops.run(f.program, arrays)
    except (ValueError, IndexError) as error:
        yield from _refused(f, arrays, error)
        return
    except IndexLangError as error:
        raise InvalidError(f"refused: {error.problems[0].code}") from None
    try:
        found = _named(f, f(**arrays))
    except IndexLangError as error:
        if error.problems[0].code in ORDER:
            raise InvalidError(f"order: {error.problems[0].code}") from None
        raise
    yield from _wrong("value", found, right)
    yield from _parsed("text", f)
    wrt = tuple(n for n in differentiable(f.program) if arrays[n].dtype.kind == "f")
    inside = loops.run(f.program, arrays, all_tensors=True)  # a maximum of nothing, times 0, is no number
    if not wrt or not all(np.isfinite(v).all() for v in inside.values()):
        return
    for row in gradcheck(f.program, arrays, wrt=wrt, most=most):
        if not row.ok:
            yield f"derivative: {row}"
    yield from _derived(f, wrt, arrays, right)


def _derived(f: Function, wrt: tuple[str, ...], arrays: Mapping[str, Array], right: Any) -> Iterator[str]:
    names, g = gradient_names(f.program), f.grad(wrt=wrt)
    there = {**right, **arrays, **{names[n]: c for n, c in random_cotangents(right).items()}}
    given = {n: there[n] for n in g.inputs}
    gradients = loops.run(g.program, given)
    yield from _parsed("text of gradients", g)
    yield from _wrong("gradients", g(**given), gradients)
    gathered = f.grad(wrt=wrt, form="gather")
    yield from _parsed("text of gather", gathered)
    yield from _wrong("gather", gathered(**{n: there[n] for n in gathered.inputs}), gradients)
    _, pullback = f.vjp(**arrays)
    found = pullback({n: there[names[n]] for n in f.outputs if names[n] in there})
    yield from _wrong("vjp", {names[n]: found[n] for n in wrt}, gradients)
    yield from _checkpointed(f, wrt, there, names, gradients)
    t = f.tangent(wrt=wrt)
    rng = np.random.default_rng(7)
    moves = {n: rng.uniform(-1, 1, arrays[n].shape) for n in wrt}
    moved = {**there, **{f"{n}.dot": v for n, v in moves.items()}}
    given_t = {n: moved[n] for n in t.inputs}
    dots = loops.run(t.program, given_t)
    yield from _parsed("text of tangents", t)
    yield from _wrong("tangents", t(**given_t), dots)
    ahead = sum(float(np.sum(dots[f"{n}.dot"] * there[names[n]])) for n in right if f"{n}.dot" in dots)
    behind = sum(float(np.sum(gradients[names[n]] * v)) for n, v in moves.items())
    if not abs(ahead - behind) <= 1e-8 * (1 + abs(ahead)):
        yield f"inner product: {ahead} {behind}"
    yield from _batched(f, arrays, right)
    if len(g.program.statements) > 40:
        return
    yield from _parsed("text of tangents of gradients", g.tangent())
    if set(t.program.inputs) > set(f.inputs):
        yield from _parsed("text of gradients of tangents", t.grad())
    try:
        again = g.grad()
    except IndexLangError as error:
        if error.problems[0].code in ("no-gradient", "too-large"):
            return
        raise
    seconds = {gradient_names(g.program)[n]: c for n, c in random_cotangents(gradients, 3).items()}
    last = {**there, **gradients, **seconds}
    given_2 = {n: last[n] for n in again.inputs}
    yield from _parsed("text of second", again)
    yield from _wrong("second", again(**given_2), loops.run(again.program, given_2))


def _checkpointed(
    f: Function,
    wrt: tuple[str, ...],
    there: Mapping[str, Any],
    names: Mapping[str, str],
    gradients: Mapping[str, Array],
) -> Iterator[str]:
    """Gradients that make the states of blocks again, from every second or third."""
    single = [b for s in f.program.statements for b in blocks_of(s)[:1] if len(b.indices) == 1]
    for every in (2, 3) if single else ():
        g = indexlang.compile(str(f), backend=f.backend, checkpoint={b.indices[0]: every for b in single})
        _, pullback = g.vjp(**{n: there[n] for n in g.inputs})
        found = pullback({n: there[names[n]] for n in f.outputs if names[n] in there})
        yield from _wrong(f"checkpoints {every}", {names[n]: found[n] for n in wrt}, gradients)
        whole = g.grad(wrt=wrt)
        yield from _wrong(f"grad, checkpoints {every}", whole(**{n: there[n] for n in whole.inputs}), gradients)


def _batched(f: Function, arrays: Mapping[str, Array], right: Mapping[str, Array]) -> Iterator[str]:
    """The same for two at once: the first input is another one in the second."""
    name = f.inputs[0]
    if arrays[name].dtype.kind != "f":
        return
    both = f.batched("two", [name])
    yield from _parsed("text of a batch", both)
    found = _named(both, both(**{**arrays, name: np.stack([0.5 * arrays[name], arrays[name]])}))
    yield from _wrong(
        "batch", {n: found[n][1] if found[n].ndim > v.ndim else found[n] for n, v in right.items()}, right
    )


def _refused(f: Function, arrays: Mapping[str, Array], error: Exception) -> Iterator[str]:
    """What the loops refuse is no value."""
    try:
        f(**arrays)
    except IndexLangError as own:
        if isinstance(error, ValueError) and own.problems[0].code not in ORDER:
            yield f"refused for another reason: {own}"
        return
    yield f"a value where the loops refuse: {error}"


def _parsed(stage: str, f: Function) -> Iterator[str]:
    try:
        again = indexlang.compile(str(f), **({"outputs": list(f.outputs)} if f.program.name is None else {}))
    except IndexLangError as error:
        yield f"{stage}: {error}\n{f}"
        return
    if again.program != f.program:
        yield f"{stage}: another program\n{f}\n{again}"


def _wrong(stage: str, found: Mapping[str, Array], right: Mapping[str, Array]) -> Iterator[str]:
    for name, value in right.items():
        one = found[name]
        if one.shape != value.shape or one.dtype != value.dtype:
            yield f"{stage}: {name} is {one.dtype}{one.shape}, not {value.dtype}{value.shape}"
        elif not np.allclose(one, value, rtol=1e-8, atol=1e-9, equal_nan=True):
            yield f"{stage}: {name} is {one.tolist()}, right is {value.tolist()}"


def _named(f: Function, found: Any) -> Mapping[str, Array]:
    return found if isinstance(found, dict) else {f.outputs[0]: found}


def main() -> None:
    """So many samples of a seed."""
    seed, first, last = sys.argv[1], *map(int, sys.argv[2].split(".."))
    backend = sys.argv[3] if len(sys.argv) > 3 else "numpy"
    nothing: dict[str, int] = {}
    failed = 0
    for number in range(first, last):
        sample = generate(f"{seed}:{number}")
        try:
            found = list(tried(sample, backend))
        except InvalidError as why:
            key = str(why).split("\n")[0][:60]
            nothing[key] = nothing.get(key, 0) + 1
            continue
        if found:
            failed += 1
            print(f"== {sample.name}\n{sample.text}" + "\n".join(found[:2])[:2500], flush=True)
    print(f"{last - first} samples, {failed} fail; said nothing: {nothing}")


if __name__ == "__main__":
    main()
