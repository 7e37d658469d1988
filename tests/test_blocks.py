"""Wherever plans turn, the values are the same: the whole corpus and library with tiny blocks, alone and in chains.

Each plan is verified, and its code finds nan in memory that nothing has written.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import corpus
import library_cases
import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import gradcheck, loops
from indexlang.plan.limits import TINY
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

Array = NDArray[Any]
Arrays = Mapping[str, Array]
AnyCase = corpus.Case | library_cases.Case

LIBRARY = Path(indexlang.__file__).parent / "library"
NEVER = 1 << 60
LIMITS = {
    "tiny": TINY,
    "two numbers at a time": replace(TINY, block=16, copy=16, large=16, chunk=16),
    "no chains": replace(TINY, least=NEVER, sum=NEVER),
    "no windows, nothing kept": replace(
        TINY,
        window=1,
        sliding=1,
        short=1,
        long=NEVER,
        kept=0,
        rim=NEVER,
        taps=NEVER,
        separate=NEVER,
        worth=NEVER,
        chunk=1024,
    ),
}


@pytest.fixture(autouse=True)
def _verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


def program_of(case: AnyCase) -> Program:
    if isinstance(case, corpus.Case):
        return resolve(parse(Source(case.text)), case.layer, case.options)
    return indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options).program


def both(case: AnyCase) -> Iterator[tuple[Program, Arrays, Arrays]]:
    """The program and its gradients, each with what it is given and what plain loops make of it."""
    program, arrays = program_of(case), case.arrays()
    values = loops.run(program, arrays)
    yield program, arrays, values
    wrt = tuple(n for n in grad.differentiable(program) if n in arrays and arrays[n].dtype.kind in "fc")
    if wrt and getattr(case, "gradient", True):
        names, derived = grad.gradient_names(program), grad.backward(program, wrt)
        given = {**arrays, **{names[n]: c for n, c in gradcheck.random_cotangents(values).items()}}
        given = {n: given[n] for n in derived.inputs}
        yield derived, given, loops.run(derived, given)


@pytest.mark.parametrize("case", [*corpus.CASES, *library_cases.CASES], ids=lambda c: c.name)
def test_every_limit_gives_what_loops_give(case: AnyCase) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        for program, given, expected in both(case):
            for name, limits in LIMITS.items():
                found = Function(program, always_dict=True, limits=limits)(**given)
                assert set(found) == set(expected)
                for tensor, value in expected.items():
                    assert (found[tensor].shape, found[tensor].dtype) == (value.shape, value.dtype)
                    what = f"{tensor}, {name}"
                    np.testing.assert_allclose(found[tensor], value, rtol=1e-10, atol=1e-11, err_msg=what)


def test_a_power_of_nothing_is_one() -> None:
    x = np.arange(1 << 15, dtype=np.float64) - 9
    found = indexlang.compile("y[i] = x[i]**0 + 2 * x[i]")(x)
    np.testing.assert_allclose(found, 1 + 2 * x)


def test_what_is_read_as_an_integer_is_not_written_over() -> None:
    x, w = np.random.default_rng(1).standard_normal((2, 128, 128))
    text = "h[i,o] = x[i,k] * w[k,o]\ny[i,o] = 2 * h[i,o]\nz[i,o] = float(int(h[i,o] * 3))"
    found = indexlang.compile(text)(x=x, w=w)
    np.testing.assert_allclose(found["y"], 2 * (x @ w))
    np.testing.assert_array_equal(found["z"], np.trunc(3 * (x @ w)))


def test_a_row_that_masks_refuse_meets_no_infinity() -> None:
    x = np.random.default_rng(2).standard_normal((256, 128))
    lengths = np.arange(256) % 3
    y = indexlang.compile("y[b] = exp(x[b,j]) / L[b] where j < L[b]")(x=x, L=lengths.astype(np.float64))
    rows = [np.exp(r[:n]).sum() / n if n else 0 for r, n in zip(x, lengths, strict=True)]
    np.testing.assert_allclose(y, rows)


@pytest.mark.parametrize("text", ["x[b,j] * w[j,o] / L[b]", "s[b] * x[b,j] * w[j,o]"])
def test_a_masked_product_meets_no_infinity(text: str) -> None:
    rng = np.random.default_rng(3)
    x, w, n = rng.standard_normal((9, 5)), rng.standard_normal((5, 3)), np.arange(9) % 3
    known = {"L": n.astype(np.float64), "s": 1 / np.where(n, n, np.nan)}
    f = indexlang.compile(f"y[b,o] = {text} where j < n[b]")
    y = f(**{name: a for name, a in {"x": x, "w": w, "n": n, **known}.items() if name in f.inputs})
    rows = [r[:m] @ w[:m] / m if m else np.zeros(3) for r, m in zip(x, n, strict=True)]
    np.testing.assert_allclose(y, rows)


def test_functions_of_a_tensor_that_is_one_number() -> None:
    x = np.random.default_rng(4).standard_normal((200, 100))
    text = "shape a[200,100]\na[i,j] += sin(0.5) where i < 200, j < 100\ny[i,j] = tanh(a[i,j]) * x[i,j]"
    np.testing.assert_allclose(indexlang.compile(text)(x), np.tanh(np.sin(0.5)) * x)


def test_the_gradient_of_a_mean_counts_its_points_once() -> None:
    x, b = np.random.default_rng(5).standard_normal((600, 130)), np.zeros(130)
    _, pullback = indexlang.compile("h[i,j] = x[i,j] + b[j]\nm[] = mean[i,j](h[i,j])").vjp(x=x, b=b)
    np.testing.assert_allclose(pullback(2.0)["b"], np.full(130, 2 / 130))


def test_a_sum_in_blocks_of_two_indices_of_what_has_one() -> None:
    w = np.random.default_rng(8).standard_normal(1 << 17)
    text = f"shape a[5,{1 << 17}]\na[i,j] = sin(w[j]) where i < 5\ns[i] += exp(a[i,j])"
    np.testing.assert_allclose(indexlang.compile(text)(w=w), np.full(5, np.exp(np.sin(w)).sum()))


@pytest.mark.parametrize("op", ["+=", "max="])
def test_a_sum_of_what_all_blocks_have_alike(op: str) -> None:
    u, z = np.random.default_rng(6).standard_normal((130, 40)), np.ones((600, 130, 40))
    text = f"shape a[600,130,40]\na[i,j,k] = sin(u[j,k]) where i < 600\ns[j] {op} exp(a[i,j,k])\n"
    found = indexlang.compile(text + "y[i,j,k] = a[i,j,k] * z[i,j,k]")(u=u, z=z)
    e = np.exp(np.sin(u))
    np.testing.assert_allclose(found["s"], 600 * e.sum(1) if op == "+=" else e.max(1))


def test_one_condition_read_over_different_indices() -> None:
    rng = np.random.default_rng(7)
    f, h, a, b = (rng.standard_normal(s) for s in ((3, 4), (3, 5), (4,), (2,)))
    text = "z[k,i] = max[m](f[m,j]) * min[n](h[n,i]) where k < 2, a[j] > b[k]"
    expected = (a[:, None] > b).T @ f.max(0)
    found = indexlang.compile(text)(f=f, h=h, a=a, b=b)
    np.testing.assert_allclose(found, expected[:, None] * h.min(0))
