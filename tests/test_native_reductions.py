"""Long reductions for few results, which native code makes in pieces: random ones, and some that once failed."""

from __future__ import annotations

import os
import random
import secrets

import numpy as np
import pytest

import indexlang

pytest.importorskip("llvmlite", reason="native code is made by llvmlite")
pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

SEED = os.environ.get("INDEXLANG_SEED") or secrets.token_hex(3)
FORMS = ("{p}", "exp({p}/9)", "relu({p})", "tanh({p})", "abs({p})", "where({p} > 0, {p}, 0)")
ONCE = (
    ("y[0] = abs(x0[i,j]*x1[j,l,k,i])", {"i": 5, "j": 3, "k": 400, "l": 130}, "float64"),
    ("y[0] min= x0[k,j,i]*x1[i]", {"i": 5, "j": 130, "k": 156}, "float64"),
    ("y[k] = exp(x0[i]*x1[i]*x2[i,j,k]/9)", {"i": 206, "j": 187, "k": 2}, "float64"),
    ("y[k] max= exp(x0[j]*x1[i,j,k]/9)", {"i": 94, "j": 384, "k": 2}, "float64"),
    ("y[0] max= exp(x0[j,i,k,l]*x1[i,l,j]/9) where k <= l", {"i": 1, "j": 64, "k": 400, "l": 3}, "float32"),
)


def program(dice: random.Random) -> tuple[str, dict[str, int], str]:
    """A reduction of a product, the sizes of its indices, the type."""
    names = "ijkl"[: dice.choice((2, 3, 3, 4))]
    while True:
        sizes = {i: dice.choice((1, 2, 3, 5, 7, 31, 64, 97, 130, 400)) for i in names}
        if 50_000 < np.prod(list(sizes.values())) < 1_000_000:
            break
    factors, left = list[str](), set(names)
    while left or len(factors) < 2:
        own = [i for i in names if dice.random() < 0.75] or [names[0]]
        dice.shuffle(own)
        factors.append(f"x{len(factors)}[{','.join(own)}]")
        left -= set(own)
    free = [i for i in names[1:] if dice.random() < 0.3]
    dice.shuffle(free)
    mask = f" where {names[0]} <= {names[1]}" if dice.random() < 0.3 else ""
    form = dice.choice(FORMS).format(p="*".join(factors))
    op = dice.choice(("=", "=", "+=", "max=", "min="))
    return f"y[{','.join(free) or 0}] {op} {form}{mask}", sizes, dice.choice(("float32", "float64"))


def assert_alike(text: str, sizes: dict[str, int], kind: str) -> None:
    """Values and gradients as the NumPy backend has them, whose orders of sums are others."""
    f, g = (indexlang.compile(text, backend=name) for name in ("numpy", "native"))
    rng = np.random.default_rng(5)
    given = {}
    for name in f.inputs:
        own = text.split(f"{name}[")[1].split("]")[0].split(",")
        given[name] = rng.standard_normal([sizes[i] for i in own]).astype(kind)
    y, pull = f.vjp(**given)
    found, other = g.vjp(**given)
    dy = rng.standard_normal(y.shape).astype(kind)
    right, gradients = pull(dy), other(dy)
    for name, a, b in (("y", y, found), *((n, right[n], gradients[n]) for n in right)):
        size = np.abs(a[np.isfinite(a)]).max(initial=1)
        tolerance = (1e-3 if kind == "float32" else 1e-9) * size
        np.testing.assert_allclose(
            b, a, rtol=0, atol=tolerance, err_msg=f"INDEXLANG_SEED={SEED}: {text} {sizes} {name}"
        )


@pytest.mark.parametrize(("text", "sizes", "kind"), ONCE, ids=[text for text, _, _ in ONCE])
def test_what_once_failed(text: str, sizes: dict[str, int], kind: str) -> None:
    assert_alike(text, sizes, kind)


@pytest.mark.parametrize("number", range(30))
def test_reductions(number: int) -> None:
    assert_alike(*program(random.Random(f"{SEED}:{number}")))
