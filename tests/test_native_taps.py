"""Products that taps alone bring together, `r[s-t+c,d] += g[t,s]*q[t,d]`, as sums for each element: values by loops."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="native code is made with llvmlite")

import indexlang as il
from indexlang.backends.native.groups import groups_of
from indexlang.backends.native.target import AVX2, AVX512, BASELINE
from indexlang.plan.limits import NATIVE
from indexlang.plan.planning import plan

Array = NDArray[np.float64]

PRODUCTS = {
    "relative positions": ("rg[90,8]", "s-t+40,d", "g[t,s]*q[t,d]", {"g": (41, 50), "q": (41, 8)}),
    "the other way round": ("rg[90,8]", "t-s+49,d", "g[t,s]*q[t,d]", {"g": (41, 50), "q": (41, 8)}),
    "their sum": ("rg[93,8]", "s+t+2,d", "g[t,s]*q[t,d]", {"g": (41, 50), "q": (41, 8)}),
    "by head": ("rg[3,90,8]", "h,s-t+40,d", "g[h,t,s]*q[h,t,d]", {"g": (3, 41, 50), "q": (3, 41, 8)}),
    "by channel": ("rg[2,54,16]", "b,t+u,c", "y[b,t,c]*K[u,c]", {"y": (2, 50, 16), "K": (5, 16)}),
    "by channel, strided": ("rg[2,103,16]", "b,2*t+u,c", "y[b,t,c]*K[u,c]", {"y": (2, 50, 16), "K": (5, 16)}),
    "by channel, of a plane": (
        "rg[22,23,16]",
        "i+u,j+v,c",
        "y[i,j,c]*K[u,v,c]",
        {"y": (20, 20, 16), "K": (3, 4, 16)},
    ),
}
OTHERS = {  # a factor of its own at each point, or vectors along the positions themselves: nothing is used again
    "of one axis": ("rg[404]", "t+u", "y[t]*K[u]", {"y": (400,), "K": (5,)}),
    "dilated": ("rg[98,8]", "3*s+t,d", "g[t,s]*q[t,d]", {"g": (50, 17), "q": (50, 8)}),
    "by position": ("rg[2,54,16]", "b,t+u,c", "y[b,t,c]*K[b,t,u]", {"y": (2, 50, 16), "K": (2, 50, 5)}),
}


def by_loops(row: tuple[str, str, str, Mapping[str, tuple[int, ...]]], given: Mapping[str, Array]) -> Array:
    """Every point by itself."""
    shape, target, value, shapes = row
    sizes: dict[str, int] = {}
    factors = [f.rstrip("]").split("[") for f in value.split("*")]
    for name, subscripts in factors:
        sizes |= dict(zip(subscripts.split(","), shapes[name], strict=True))
    found = np.zeros([int(n) for n in shape.removeprefix("rg[").rstrip("]").split(",")])
    for at in product(*map(range, sizes.values())):
        i = dict(zip(sizes, at, strict=True))
        position = tuple(eval(part, {}, i) for part in target.split(","))
        found[position] += np.prod([given[n][tuple(i[k] for k in subs.split(","))] for n, subs in factors])
    return found


@pytest.mark.parametrize("name", [*PRODUCTS, *OTHERS])
def test_sums_by_taps_are_right(name: str) -> None:
    row = (PRODUCTS | OTHERS)[name]
    shape, target, value, shapes = row
    rng = default_rng(1)
    given = {n: rng.standard_normal(s) for n, s in shapes.items()}
    f = il.compile(f"shape {shape}\nrg[{target}] += {value}", backend="native", outputs=["rg"])
    np.testing.assert_allclose(f(**given), by_loops(row, given), atol=1e-11)
    single = {n: x.astype(np.float32) for n, x in given.items()}
    np.testing.assert_allclose(f(**single), by_loops(row, given), atol=2e-5)


@pytest.mark.parametrize("target", [AVX2, AVX512, BASELINE], ids=str)
@pytest.mark.parametrize("name", [*PRODUCTS, *OTHERS])
def test_products_are_told_from_what_uses_nothing_again(name: str, target: object) -> None:
    shape, rows, value, shapes = (PRODUCTS | OTHERS)[name]
    f = il.compile(f"shape {shape}\nrg[{rows}] += {value}", outputs=["rg"])
    made = plan(f.program, shapes, dict.fromkeys(shapes, "float32"), NATIVE).plan
    told = "; ".join(line for g in groups_of(made, target) for line in g.told.values())  # type: ignore[arg-type]
    assert (" lanes along " not in told) == (name in PRODUCTS), told


def test_gradients_of_relative_keys() -> None:
    rng = default_rng(2)
    n, d = 60, 16
    q, v, dy = (rng.standard_normal((n, d)) for _ in range(3))
    r = rng.standard_normal((2 * n - 1, d))
    f = il.compile("y[t,e] = q[t,d]*r[s-t+size(q,0)-1,d]*v[s,e]", backend="native")
    y, pull = f.vjp(q=q, r=r, v=v)
    at = np.arange(n)[None] - np.arange(n)[:, None] + n - 1
    scores, slopes = np.einsum("td,tsd->ts", q, r[at]), dy @ v.T
    right = np.zeros_like(r)
    np.add.at(right, at, slopes[:, :, None] * q[:, None])
    found = pull(dy)
    np.testing.assert_allclose(y, scores @ v, atol=1e-9)
    np.testing.assert_allclose(found["r"], right, atol=1e-9)
    np.testing.assert_allclose(found["q"], np.einsum("ts,tsd->td", slopes, r[at]), atol=1e-9)
    np.testing.assert_allclose(found["v"], scores.T @ dy, atol=1e-9)
