"""What each round of a loop would make alike is made once: which steps leave, and that values stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import indexlang
from indexlang.plan import invariant
from indexlang.plan.kernels import Map
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.places import Buffer, Part, View
from indexlang.plan.plan import Loop, Make, Plan, Run, Section, Step
from indexlang.plan.printing import steps_text
from indexlang.plan.quantities import Apply, Count, Load, Position, Reduced
from indexlang.plan.verify import verify
from indexlang.plan.views import plain

FEW = replace(NUMPY, least=4, chunk=64, narrow=1, full=1, block=256, kept=1 << 14)


def before_loops(text: str, limits: Limits = NUMPY, **shapes: tuple[int, ...]) -> str:
    """The steps before the first loop."""
    f = indexlang.compile(text)
    made = indexlang.calls.function.Function(f.program, limits=limits).plan(**shapes)
    verify(made)
    lines = steps_text(made).splitlines()
    first = next(k for k, line in enumerate(lines) if line.startswith("  for "))
    return "\n".join(lines[:first])


def test_what_lacks_the_outermost_block_is_made_before_the_blocks() -> None:
    shapes = {"x": (32, 512, 256), "a": (512, 256)}
    assert "= sin(a[t, e])" in before_loops("y[b,t,e] = x[b,t,e] + sin(a[t,e])", **shapes)
    whole = before_loops("y[b,t,e] = x[b,t,e] * exp(sin(a[t,e]) + 1)", **shapes)
    assert "exp((sin(a[t, e]) + 1))" in whole and whole.count("=") == 2


def test_what_is_as_cheap_as_reading_it_stays_if_it_is_large() -> None:
    text = "y[b,t,e] = x[b,t,e] * (a[t,e] + c[t,e])"
    small = {"x": (32, 512, 256), "a": (512, 256), "c": (512, 256)}
    large = {"x": (4, 4096, 256), "a": (4096, 256), "c": (4096, 256)}
    assert "(a[t, e] + c[t, e])" in before_loops(text, **small)
    assert "c[t, e]" not in before_loops(text, **large).split("\n", 1)[1:]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("limits", [NUMPY, TINY, FEW])
@pytest.mark.parametrize("b", [1, 2, 5])
def test_values_made_ahead(b: int, limits: Limits, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(3)
    x, a, c = rng.random((b, 9, 8)), rng.random((9, 8)), rng.random(9)
    a[0, 0], a[1, 1] = np.inf, np.nan
    x, a, c = (v.astype(dtype) for v in (x, a, c))
    text = """
    s[t] = sum[e](tanh(a[t,e])) + c[t]
    y[b,t,e] = x[b,t,e] * where(a[t,e] > c[t], sin(a[t,e]), cos(a[t,e])) + c[t] / s[t]
    z[b,t] = y[b,t,e] * exp(c[t])
    """.replace("\n    ", "\n")
    f = indexlang.calls.function.Function(indexlang.compile(text, outputs=["y", "z"]).program, limits=limits)
    with np.errstate(all="ignore"):
        s = np.tanh(a).sum(1) + c
        y = x * np.where(a > c[:, None], np.sin(a), np.cos(a)) + (c / s)[:, None]
        z = (y * np.exp(c)[:, None]).sum(2)
    found = f(x=x, a=a, c=c)
    np.testing.assert_allclose(found["y"], y, rtol=2e-5)
    np.testing.assert_allclose(found["z"], z, rtol=2e-5)


def test_a_copy_leaves_the_taps() -> None:
    text = "y[b,8*i+d,8*j+e,o] += K[d,e,c,o] * x[b,i,j,c]"
    assert "copy<c, d, e, o> = K[d, e, c, o]" in before_loops(text, K=(16, 16, 64, 32), x=(4, 14, 14, 64))


@pytest.mark.parametrize("limits", [NUMPY, TINY])
def test_values_of_copies_outside_of_taps(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = np.random.default_rng(4)
    kernel, x = rng.random((5, 5, 3, 4)), rng.random((2, 3, 4, 3))
    f = indexlang.compile("y[b,2*i+d,2*j+e,o] += K[d,e,c,o] * x[b,i,j,c]")
    y = np.zeros((2, 9, 11, 4))
    for i in range(3):
        for j in range(4):
            y[:, 2 * i : 2 * i + 5, 2 * j : 2 * j + 5] += np.einsum("deco,bc->bdeo", kernel, x[:, i, j])
    found = indexlang.calls.function.Function(f.program, limits=limits)(K=kernel, x=x)
    np.testing.assert_allclose(found, y)


# -- by hand ---------------------------------------------------------------------------------------------

X = Buffer("x", (6,), "float64", "input")
OUT = Buffer("y", (4, 6), "float64")
R = Part(Buffer("r", (6,), "float64", "workspace"), ("i",))
X_I = Load(View(X, (plain("i"),)), "float64")
Y = View(OUT, (plain("t"), plain("i")))
READ = Run(Y, "=", Map(Load(R, "float64")))


def left(*inside: Step, sums: tuple[tuple[Part, str], ...] = ()) -> list[Step]:
    """The steps that leave a loop over t."""
    loop = Loop("t", 0, inside, sums=sums)
    plan = Plan((X,), (("y", Y, "float64"),), (), (), (Section((), (("t", (0, 4)), ("i", (0, 6))), (loop,)),))
    return list(invariant.made_once(plan).sections[0].steps[:-1])


def test_a_step_leaves_a_loop_of_which_it_knows_nothing() -> None:
    alike = Run(R, "=", Map(Apply("sin", (X_I,), "float64")))
    assert left(alike, READ) == [alike]


@pytest.mark.parametrize(
    "value",
    [
        Apply("cast", (Position("t"),), "float64"),
        Apply("mul", (X_I, Count(("t",))), "float64"),
        Load(View(OUT, (plain("t"), plain("i"))), "float64"),
        Reduced("sum", Load(View(OUT, (plain("t"), plain("i"))), "float64"), ("t",)),
    ],
)
def test_what_knows_of_the_index_stays(value: Apply | Load | Reduced) -> None:
    assert left(Run(R, "=", Map(value)), READ) == []


def test_what_is_written_again_stays() -> None:
    alike = Run(R, "=", Map(X_I))
    assert left(alike, Run(R, "+=", Map(X_I)), READ) == []
    assert left(Make(R), alike, READ) == []
    assert left(alike, READ, sums=((R, "+="),)) == []


def test_what_reads_what_the_loop_writes_stays() -> None:
    other = Part(Buffer("q", (6,), "float64", "workspace"), ("i",))
    first = Run(other, "=", Map(Apply("mul", (X_I, Position("t")), "float64")))
    second = Run(R, "=", Map(Load(other, "float64")))
    assert left(first, second, READ) == []
    alike = Run(other, "=", Map(X_I))
    assert left(alike, second, READ) == [alike, second]
