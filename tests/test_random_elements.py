"""Random blocks whose steps make parts of a row out of other parts: values and gradients of plain loops,
or an error. INDEXLANG_SEED_ELEMENTS is another seed.
"""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np
import pytest
from numpy.random import Generator, default_rng

import indexlang
from indexlang.errors import IndexLangError
from indexlang.oracle.loops import run as loops

SEED = int(os.environ.get("INDEXLANG_SEED_ELEMENTS", "3"))
ROW = 6
TARGETS = (
    ("k", "k < {n}"),
    ("k", "{m} <= k, k < 6"),
    ("2*k", "k < 3"),
    ("2*k+1", "k < 3"),
    ("k", "k < 6, k % {d} == {r}"),
)


def statement(rng: Generator) -> str:
    """One line: some elements of a row, of others of this row and of rows before."""
    fixed = rng.random() < 0.2
    target, condition = (str(rng.integers(ROW)), "") if fixed else TARGETS[int(rng.integers(len(TARGETS)))]
    condition = condition.format(n=rng.integers(1, 7), m=rng.integers(6), d=rng.integers(2, 4), r=rng.integers(2))
    terms = [f"x[t]*{rng.integers(1, 4)}"]
    for _ in range(int(rng.integers(1, 3))):
        row = rng.choice(("t", "pad(t-1)", "t+1"), p=(0.5, 0.25, 0.25))
        inside = ("k", "pad(k-1)", f"wrap(k+{rng.integers(1, 4)})", "pad(2*k+1)", str(rng.integers(ROW)))
        terms.append(f"0.5*h[{row},{inside[-1 if fixed else int(rng.integers(len(inside)))]}]")
    if rng.random() < 0.2:
        terms = [f"where(x[t] > 0, {terms[-1]}, {terms[0]})"]
    op = rng.choice(("=", "+="))
    return f"h[t+1,{target}] {op} {' + '.join(terms)}" + (f" where {condition}" if condition else "")


def program(rng: Generator) -> str:
    lines = "".join(f"        {statement(rng)}\n" for _ in range(int(rng.integers(2, 5))))
    behind = "    h[T+1,k] = 7 where k < 6\n" if rng.random() < 0.3 else ""
    if rng.random() < 0.5:
        return f"layer f(x[T]) -> h[T+2,6]:\n    for t:\n{lines}{behind}"
    last = "    y[k] = h[T,k]*2 + h[T+1,k]\n"
    return f"layer f(x[T]) -> y[6]:\n    shape h[T+2,6]\n    for t:\n{lines}{behind}{last}"


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize("number", range(60))
def test_parts_of_rows(number: int, backend: Literal["numpy", "native"], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    rng = default_rng((SEED, number))
    text, x = program(rng), rng.normal(size=4)
    refused = ""
    try:
        f = indexlang.compile(text, backend=backend)
        value: Any = f(x=x)
    except IndexLangError as error:
        refused = error.code
    if refused:
        assert refused in ("order", "set-twice"), text
        return
    (output,) = f.outputs
    np.testing.assert_allclose(value, loops(f.program, {"x": x})[output], rtol=1e-9, err_msg=text)
    cotangent = rng.normal(size=value.shape)
    found = f.vjp(x=x)[1](cotangent)["x"]
    for t in range(4):
        moved = loops(f.program, {"x": x + 1e-30j * np.eye(4)[t]}, complex_step=True)[output]
        wanted = (moved.imag * cotangent).sum() / 1e-30
        np.testing.assert_allclose(found[t], wanted, rtol=1e-8, atol=1e-12, err_msg=text)
