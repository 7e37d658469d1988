"""What grows with a program grows in proportion to its text: calls are counted, no time is measured.

Each family of texts is compiled, derived and printed at two sizes. The calls of functions, Python's and built in, are
counted; divided by the characters that are written they may not grow.
"""

from __future__ import annotations

import inspect
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import IndexLangError, Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.blocks import even
from indexlang.syntax.parser import parse


def calls(work: Callable[[], Any]) -> tuple[int, Any]:
    """How many functions are called, and what comes out."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(None)
    return count, result


def code_of(work: Callable[[], Any]) -> str | None:
    """The code of the error that is told; None if there is none."""
    try:
        work()
    except IndexLangError as error:
        return error.code
    return None


def chain(n: int) -> str:
    """n statements, each of which reads the one before."""
    return "x0[i] = u[i]\n" + "".join(f"x{k + 1}[i] = tanh(x{k}[i])\n" for k in range(n - 1))


def softmaxes(n: int) -> str:
    """n layers with quotients, each of which reads the one before."""
    layer = "e{k}[b,i] = exp(x{k}[b,i])\ns{k}[b] = e{k}[b,i]\nx{m}[b,i] = e{k}[b,i] / s{k}[b]\n"
    return "x0[b,i] = u[b,i]\n" + "".join(layer.format(k=k, m=k + 1) for k in range(n))


def markov(n: int) -> str:
    """A hidden Markov model, unrolled."""
    step = "a{k}[b,j] = sum[i](a{m}[b,i] * A[i,j]) * e[b,{k},j]\n"
    steps = "".join(step.format(k=k, m=k - 1) for k in range(1, n))
    return f"a0[b,k] = p[k] * e[b,0,k]\n{steps}l[b] = log(sum[k](a{n - 1}[b,k]))\n"


def doubling(n: int) -> str:
    """Layers that call one another twice: 2**n statements."""
    layers = ["layer f0(x) -> y:\n    y = tanh(x)\n"]
    layers += [f"layer f{k}(x) -> y:\n    h = f{k - 1}(x)\n    y = f{k - 1}(h)\n" for k in range(1, n + 1)]
    return "\n".join(layers) + f"\ny = f{n}(x)\n"


def sines(n: int) -> str:
    """A function in a function in a function."""
    return f"y[i] = {'sin(' * n}x[i]{')' * n}\n"


def minima(n: int) -> str:
    """n subscripts that may all bound one index."""
    return f"y[v] = x[{', '.join(['j+v'] * n)}] * w[j]\n"


def product(n: int) -> str:
    """A product of n factors, whose derivative has n products of n - 1."""
    return f"y[i] = {' * '.join(f'a{k}[i]' for k in range(n))}\n"


FAMILIES: dict[str, tuple[Callable[[int], str], int, int]] = {
    "chain": (chain, 40, 80),
    "softmaxes": (softmaxes, 10, 20),
    "markov": (markov, 12, 24),
    "doubling": (doubling, 7, 8),
    "sines": (sines, 40, 80),
    "minima": (minima, 9, 18),
    "product": (product, 25, 50),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_work_grows_as_what_is_written(family: str) -> None:
    text, *sizes = FAMILIES[family]
    per_character = []
    for n in sizes:
        compiling, f = calls(lambda n=n: indexlang.compile(text(n)))  # type: ignore[misc]
        deriving, g = calls(f.grad)
        printing, written = calls(lambda g=g: str(g))  # type: ignore[misc]
        per_character.append((compiling / len(str(f)), (deriving + printing) / len(str(f) + written)))
    for small, large in zip(*per_character, strict=True):
        assert large < 1.3 * small


def test_the_second_derivative_of_a_product() -> None:
    per_character = []
    for n in (8, 16):
        g = indexlang.compile(product(n)).grad()
        deriving, h = calls(g.grad)
        printing, written = calls(lambda h=h: str(h))  # type: ignore[misc]
        per_character.append((deriving + printing) / len(written))
    assert per_character[1] < 1.1 * per_character[0]


def test_a_part_of_a_part_is_computed_once() -> None:
    n = 30
    derived = str(indexlang.compile(sines(n)).grad())
    assert len(re.findall(r"\bsin\(", derived)) == n - 1
    assert len(re.findall(r"\bcos\(", derived)) == n


# -- sizes -----------------------------------------------------------------------------------------

SIZED: tuple[tuple[str, Callable[[int], dict[str, tuple[int, ...]]]], ...] = (
    ("y[i] = x[i]*2 + tanh(x[i])", lambda n: {"x": (n,)}),
    ("y[i,j] = x[i,k]*w[k,j]", lambda n: {"x": (n, 3), "w": (3, 7)}),
    ("y[b,i,o] = x[b,i+d,c]*w[d,c,o]", lambda n: {"x": (n, 30, 3), "w": (3, 3, 4)}),
    ("y[i] = x[i]*w[i%5]", lambda n: {"x": (n,), "w": (5,)}),
    ("y[j] = x[i,j] where (i+j) % 7 == 0", lambda n: {"x": (n, 50)}),
    (f"y[i] = x[pad(i+k, {2**63 - 1})]*w[k]", lambda n: {"x": (n,), "w": (3,)}),
)


@pytest.mark.parametrize(("text", "sizes"), SIZED)
def test_planning_does_not_depend_on_sizes(text: str, sizes: Callable[[int], dict[str, tuple[int, ...]]]) -> None:
    f = indexlang.compile(text)
    code_of(lambda: f.plan(**sizes(1009)))
    small, large = (calls(lambda n=n: code_of(lambda: f.plan(**sizes(n)))) for n in (9999991, 49999991))  # type: ignore[misc]
    assert {small[1], large[1]} <= {None, "too-large", "overflow"}
    assert large[0] < 1.2 * small[0] + 2000  # large tensors ask how much memory there is


def test_planning_functions_of_windows_does_not_begin_anew_after_each() -> None:
    """Each is looked for among all, and no more than once."""
    counted = []
    for n in (20, 40):
        f = indexlang.compile("y[i] += " + " % ".join(f"(w[i] * (x[i+k] % {k + 2}))" for k in range(n)))
        counted.append(calls(lambda f=f: f.plan(w=(2000,), x=(2064,)))[0])  # type: ignore[misc]
    assert counted[1] < 4 * counted[0]


def test_planning_products_that_read_each_other_is_linear() -> None:
    """No more than a few are written into one, and a pair that is not is looked at once."""
    counted = []
    for n in (30, 60):
        lines = (f"y{j + 1}[i] = k[j]*y{j}[i]" for j in range(n))
        f = indexlang.compile("y0[i] = x[i]*x[i]\n" + "\n".join(lines))
        counted.append(calls(lambda f=f: f.plan(k=(4,), x=(3,)))[0])  # type: ignore[misc]
    assert counted[1] < 2.6 * counted[0]


def test_planning_a_product_of_many_factors_looks_at_each_pair_once() -> None:
    counted = []
    for n in (8, 16):
        product = " * ".join(["x[i]"] * n)
        f = indexlang.compile(f"f(u) = u*u\ng(u) = f(f(u))\ny[i] = f(g({product}))")
        counted.append(calls(lambda f=f: f.plan(x=(4,)))[0])  # type: ignore[misc]
    assert counted[1] < 4.5 * counted[0]


def unsolved(text: str) -> Function:
    """A program as a Function, before how far its indices run was asked."""
    return Function(resolve(parse(Source(text))))


def test_bounds_of_many_reads_at_one_position_are_found_once() -> None:
    counted = []
    for n in (1, 8):
        f = unsolved("y[i] = " + " * ".join([f"x[{'2*i,' * 14}i]"] * n))
        counted.append(calls(f.grad)[0])
    assert counted[1] < 8 * counted[0]


@pytest.mark.parametrize("n", [1, 2, 96, 97, 9973, 10**6, 10**6 + 3])
@pytest.mark.parametrize("step", [1, 2, 7, 64, 1000, 10**5, 10**7])
def test_even_blocks(n: int, step: int) -> None:
    found = even(n, step)
    assert 1 <= found <= min(n, step)
    dividing = [s for s in range(min(n, step), min(n, step) // 2, -1) if n % s == 0]
    assert found == (dividing[0] if dividing else found)
    assert -(-n // found) == -(-n // min(n, step)) or n % found == 0


def test_the_time_for_even_blocks_does_not_depend_on_their_size() -> None:
    assert even(2**61 - 1, 2**40) <= 2**40  # a prime
    assert even(2**61 - 1, 2**21) <= 2**21


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("y[i] = x[i] where i < size(y,0)//2+1", 1),
        ("y[i] = x[size(y,0)-1-i]", 1),
        ("layer f(x[N]) -> y[n]:\n    y[n] = x[n]**2", 1),
        ("shape y[size(y,0)//2+1]\ny[i] = x[i]", 1),
        ("y[i,j] = x[i,j] where i < size(y,1)+1, j < size(y,0)+1", 2),
    ],
)
def test_a_size_that_is_said_by_itself_is_refused(text: str, rank: int) -> None:
    assert code_of(lambda: indexlang.compile(text)) == "undeclared-shape"
    f = unsolved(text)
    assert code_of(lambda: f.plan(x=(7,) * rank)) == "undeclared-shape"
    assert code_of(f.grad) == "undeclared-shape"


def test_a_size_may_be_said_by_the_other_axis() -> None:
    f = indexlang.compile("y[i,j] = x[i]*w[j] where j < size(y,0)")
    assert f.plan(x=(3,), w=(5,)).shapes["y"] == (3, 3)


# -- depth -----------------------------------------------------------------------------------------


@contextmanager
def stack(frames: int) -> Iterator[None]:
    """So many more frames than there are."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + frames)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


DEEP = ("sin(" * 110 + "x[i]" + ")" * 110, "(" * 100 + "x[i]" + ")**2" * 100, "x[i] * (" * 100 + "x[i]" + ")" * 100)


@pytest.mark.parametrize("text", DEEP)
@pytest.mark.parametrize("frames", [130, 200, 300, 460])
def test_a_short_stack_is_enough(text: str, frames: int) -> None:
    f = indexlang.compile(f"y[i] = {text}")
    works: tuple[Callable[[], Any], ...] = (
        lambda: str(f),
        f.latex,
        lambda: f.plan(x=(3,)),
        lambda: str(f.grad()),
        lambda: f.grad(form="gather"),
        lambda: [*f.plans(x=(3,))],
    )
    for work in works:
        with stack(frames):
            code = code_of(work)
        assert code is None


@pytest.mark.parametrize("text", DEEP)
def test_what_the_parser_takes_runs_on_the_usual_stack(text: str) -> None:
    f = indexlang.compile(f"y[i] = {text}")
    with stack(900):
        g = f.grad()
        assert str(f) and str(g) and f.latex()
        f.plan(x=(3,))
        g.plan(**{"x": (3,), "y.grad": (3,)})


def test_loops_inside_of_each_other() -> None:
    names = [f"i{k}" for k in range(40)]
    text = f"y[i0] = x[{'+'.join(names)}] where {', '.join(f'{i} < 2' for i in names)}"
    f = indexlang.compile(text, backend="numpy")
    assert code_of(lambda: f.plan(x=(41,))) == "too-many-indices"


@pytest.mark.parametrize("mask", ["s <= t", "s <= t, t < s + 32", "t//64 == s//64", "m[t] == m[s]"])
def test_planning_takes_no_memory_of_the_sizes(mask: str) -> None:
    """Of 10**12 points: what a plan costs was once read off its loops round by round, in 24 GB."""
    f = indexlang.compile(f"y[t,c] = q[t,d]*k[s,d]*v[s,c] where {mask}")
    shapes = {n: ((1 << 20,), "int64") if n == "m" else (1 << 20, 32) for n in f.inputs}
    tracemalloc.start()
    assert f.plan(**shapes).steps
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20
