"""Zeros where data refuse an element are written by bits, and are the same as those of a choice."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized, steps_of

import indexlang as il
from indexlang.plan.kernels import Map
from indexlang.plan.limits import NUMPY
from indexlang.plan.plan import Plan, Run
from indexlang.plan.quantities import Apply, parts_of
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

CASES = {
    "masked": ("y[i,j] = 2*x[i,j] where m[i,j] > 0", lambda x, m: np.where(m > 0, 2 * x, 0)),
    "chosen": ("y[i,j] = where(m[i,j] > 0, x[i,j], 0)", lambda x, m: np.where(m > 0, x, 0)),
    "of rows": ("y[i,j] = x[i,j] where m[i,0] > 0", lambda x, m: np.where(m[:, :1] > 0, x, 0)),
    "transposed": ("y[j,i] = x[i,j] where m[i,j] > 0", lambda x, m: np.where(m > 0, x, 0).T),
    "a number": ("y[i,j] = where(m[i,j] > 0, 1.5, 0)", lambda x, m: np.where(m > 0, 1.5, 0)),
    "summed": (
        "y[i] = exp(x[i,j]+x[i,0]) where m[i,j] > x[i,j]+x[i,0]",
        lambda x, m: np.where(m > x + x[:, :1], np.exp(x + x[:, :1]), 0).sum(1),
    ),
    "a product": ("y[i,k] = x[i,j]*m[j,k] where m[i,j] > 0", lambda x, m: np.where(m > 0, x, 0) @ m),
}


def kept(plan: Plan) -> Iterator[Apply]:
    """What is chosen by bits."""
    for step in steps_of(plan):
        if isinstance(step, Run) and isinstance(step.kernel, Map):
            yield from (p for p in parts_of(step.kernel.value) if isinstance(p, Apply) and p.fn == "keep")


def given(kind: str, n: int = 20) -> dict[str, Array]:
    rng = default_rng(n)
    return {k: rng.standard_normal((n, n)).astype(kind) for k in "xm"}


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
@pytest.mark.parametrize("filled", [400, 401])
@pytest.mark.parametrize("name", CASES)
def test_values(name: str, filled: int, kind: str) -> None:
    text, right = CASES[name]
    a = given(kind)
    f = sized(il.compile(text), NUMPY, filled=filled)
    mine = {k: a[k] for k in f.inputs}
    plan = f.plan(**mine)
    verify(plan)
    if name not in ("a product", "a number", "of rows") and kind != "float16":
        assert bool(list(kept(plan))) == (filled == 400)
    close = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}[kind]
    np.testing.assert_allclose(f(**mine), right(a["x"], a["m"]), rtol=close, atol=close)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, -0.0])
@pytest.mark.parametrize("name", ["masked", "chosen", "of rows", "transposed", "summed"])
def test_a_refused_point_gives_nothing_whatever_is_there(name: str, bad: float) -> None:
    text, right = CASES[name]
    a = given("float32")
    f = sized(il.compile(text), NUMPY, filled=4)
    for at in ((0, 3), (7, 7), (19, 19)):
        a["m"][at] = -9.0
        a["x"][at] = bad
    a["m"][3, 0] = 9.0
    a["x"][3, 0] = bad  # admitted
    with np.errstate(all="ignore"):
        y, expected = f(**a), right(a["x"], a["m"]).astype("float32")
    if name == "summed":
        np.testing.assert_allclose(y, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(y.view("i4"), expected.view("i4"))


def test_what_is_no_plain_zero_stays_a_choice() -> None:
    rng = default_rng(1)
    for text, inputs in (
        ("y[i,j] = where(m[i,j] > 0, x[i,j], -0.0)", "xm"),
        ("y[i,j] = where(m[i,j] > 0, x[i,j], 1)", "xm"),
        ("y[i,j] = x[i,j] where i <= j", "x"),  # a branch is foreseen
    ):
        f = sized(il.compile(text), NUMPY, filled=4)
        a = {k: rng.standard_normal((9, 9)) for k in inputs}
        assert not list(kept(f.plan(**a)))
        x, refused = a["x"], -0.0 if "-0.0" in text else 1.0
        right = np.where(a["m"] > 0, x, refused) if "m" in a else np.triu(x)
        np.testing.assert_array_equal(np.signbit(f(**a)), np.signbit(right))
    n = rng.integers(0, 9, (9, 9))
    assert np.array_equal(sized(il.compile("y[i,j] = n[i,j] where n[i,j] > 4"), NUMPY, filled=4)(n=n), n * (n > 4))


def test_gradients() -> None:
    f = sized(il.compile("y[i,o] = A[i,j]*relu(u[i,o] + v[j,o])"), NUMPY, filled=16, chunk=512)
    rng = default_rng(2)
    a = {k: rng.standard_normal(s).astype("float32") for k, s in (("A", (30, 20)), ("u", (30, 7)), ("v", (20, 7)))}
    dy = rng.standard_normal((30, 7)).astype("float32")
    y, back = f.vjp(**a)
    found = back(dy)
    both = a["u"][:, None] + a["v"]
    np.testing.assert_allclose(y, (a["A"][:, :, None] * np.maximum(both, 0)).sum(1), rtol=1e-4, atol=1e-5)
    pull = dy[:, None] * a["A"][:, :, None] * (both > 0)
    np.testing.assert_allclose(found["u"], pull.sum(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["v"], pull.sum(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["A"], (dy[:, None] * np.maximum(both, 0)).sum(2), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have other rules")
def test_what_is_let_go_is_there_for_the_next_array() -> None:
    """Pages are not given back to the system at each array on the way."""
    code = (
        "import resource, numpy as np\n"
        "import indexlang.backends.numpy.rooms\n"
        "a = np.ones(1 << 20, np.uint8)\n"
        "for turn in range(21):\n"
        "    if turn == 1: before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    b = (a + 1) * (a + 2)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 20 * 64
