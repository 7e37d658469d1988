"""Logsumexps of sums of arrays that lack indices, and their gradients: products of powers where these lose nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized, steps_of

import indexlang as il
from indexlang.plan.exponents import deepest, logarithm_apart
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.plan import Either
from indexlang.plan.planning import every
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")


@dataclass(frozen=True)
class Case:
    """A text, its terms as (sign, tensor, indices), what is reduced, and what the target has."""

    text: str
    terms: tuple[tuple[int, str, str], ...]
    target: str

    @property
    def indices(self) -> str:
        return "".join(dict.fromkeys("".join(i for _, _, i in self.terms)))

    def inputs(self, sizes: dict[str, int], kind: str, seed: int = 0, scale: float = 1) -> dict[str, Array]:
        rng = default_rng(seed)
        return {t: (scale * rng.standard_normal([sizes[i] for i in own])).astype(kind) for _, t, own in self.terms}

    def whole(self, given: dict[str, Array], name: str) -> Array:
        """A tensor over all indices."""
        own = next(i for _, t, i in self.terms if t == name)
        order = [i for i in self.indices if i in own]
        x = given[name].astype(np.float64).transpose([own.index(i) for i in order])
        return x[tuple(slice(None) if i in own else None for i in self.indices)]

    def expected(self, given: dict[str, Array], dy: Array) -> tuple[Array, dict[str, Array]]:
        """Values and gradients over the whole domain in float64."""
        with np.errstate(all="ignore"):
            body = sum((sign * self.whole(given, t) for sign, t, _ in self.terms), np.zeros(()))
            gone = tuple(k for k, i in enumerate(self.indices) if i not in self.target)
            top = body.max(gone, keepdims=True)
            top = np.where(np.isfinite(top), top, 0)
            y = np.log(np.exp(body - top).sum(gone, keepdims=True)) + top
            kept = [i for i in self.indices if i in self.target]
            spread = tuple(slice(None) if i in kept else None for i in self.indices)
            g = dy.astype(np.float64).transpose([self.target.index(i) for i in kept])[spread]
            product = g * np.exp(body - y)
            grads = {}
            for sign, t, own in self.terms:
                part = product.sum(tuple(k for k, i in enumerate(self.indices) if i not in own))
                order = [i for i in self.indices if i in own]
                grads[t] = sign * part.transpose([order.index(i) for i in own])
        y = y.reshape([n for n, i in zip(y.shape, self.indices, strict=True) if i in kept])
        return y.transpose([kept.index(i) for i in self.target]), grads


A, T = (1, "a", "bi"), (1, "T", "ij")
CASES = {
    "a step": Case("y[b,j] = logsumexp[i](a[b,i] + T[i,j])", (A, T), "bj"),
    "observed": Case("y[b,j] = logsumexp[i](a[b,i] + T[i,j] + c[j])", (A, T, (1, "c", "j")), "bj"),
    "a difference": Case("y[b,j] = logsumexp[i](a[b,i] - T[i,j])", (A, (-1, "T", "ij")), "bj"),
    "transposed": Case("y[j,b] = logsumexp[i](T[i,j] + a[b,i])", (T, A), "jb"),
    "weighed": Case("y[b,j] = logsumexp[i](a[b,i] + T[i,j] + p[i])", (A, T, (1, "p", "i")), "bj"),
    "batches": Case("y[t,b,j] = logsumexp[i](a[t,b,i] + T[i,j])", ((1, "a", "tbi"), T), "tbj"),
    "each its own": Case("y[t,b,j] = logsumexp[i](a[t,b,i] + T[t,i,j])", ((1, "a", "tbi"), (1, "T", "tij")), "tbj"),
    "three": Case("y[b,t] = logsumexp[i,j](a[b,i] + T[i,j] + u[j,t])", (A, T, (1, "u", "jt")), "bt"),
    "two axes": Case("y[b,j] = logsumexp[i,t](a[b,i,t] + T[t,i,j])", ((1, "a", "bit"), (1, "T", "tij")), "bj"),
    "a number": Case("y = logsumexp[b,i,j](a[b,i] + T[i,j])", (A, T), ""),
    "one beside": Case("y[b,j] = logsumexp[i](a[b,i] + c[j])", (A, (1, "c", "j")), "bj"),
    "over the middle": Case("y[i] = logsumexp[b,j](a[b,i] + T[i,j])", (A, T), "i"),
}
SIZES = {
    "tiny": {"b": 3, "i": 4, "j": 5, "t": 2},
    "one": {"b": 1, "i": 7, "j": 3, "t": 1},
    "small": {"b": 9, "i": 11, "j": 8, "t": 4},
    "large": {"b": 40, "i": 36, "j": 50, "t": 5},
}


def check(case: Case, given: dict[str, Array], limits: Limits, tensors: str = "", seed: int = 1) -> None:
    """Values and gradients, all at once and in two parts, against float64 over the whole domain."""
    f = sized(il.compile(case.text), limits)
    shapes = {i: n for _, t, own in case.terms for i, n in zip(own, given[t].shape, strict=True)}
    kind = given["a"].dtype
    dy = default_rng(seed).standard_normal([shapes[i] for i in case.target]).astype(kind)
    y, grads = case.expected(given, dy)
    finite = [np.abs(x[np.isfinite(x)]).max(initial=0) for x in given.values()]
    tolerance = 24 * np.finfo(kind).eps * (8 + sum(finite))
    for plan in every(f.plan(**given)):
        verify(plan)
    found = f(**given)
    np.testing.assert_allclose(found, y, rtol=tolerance, atol=tolerance)
    again, pull = f.vjp(**given)
    np.testing.assert_array_equal(again, found)
    whole = f.grad()
    for plan in every(whole.plan(**given, **{"y.grad": dy})):
        verify(plan)
    one = whole({**given, "y.grad": dy})
    for result in (pull(dy), {t: one[f"{t}.grad"] for t in given}):
        for t in tensors or grads:
            large = 1 + np.abs(dy).sum() / max(1, min(grads[t].size, dy.size))
            np.testing.assert_allclose(result[t], grads[t], rtol=tolerance, atol=tolerance * large, err_msg=t)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("name", list(CASES))
def test_values_and_gradients(name: str, size: str, kind: str) -> None:
    case = CASES[name]
    for limits in (NUMPY, TINY):
        check(case, case.inputs(SIZES[size], kind), limits)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("scale", [10, 100, 1e4])
@pytest.mark.parametrize("name", ["a step", "observed", "a difference", "three", "batches", "two axes", "weighed"])
def test_greatest_values_that_do_not_meet(name: str, scale: float, kind: str) -> None:
    case = CASES[name]
    for size, limits in (("large", NUMPY), ("small", TINY)):
        for seed in range(3):
            check(case, case.inputs(SIZES[size], kind, seed, scale), limits)


ODD = (-np.inf, np.nan, np.inf)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["a step", "a difference", "transposed", "batches", "each its own"])
def test_what_is_not_finite(name: str, odd: float, kind: str) -> None:
    """Single elements, whole rows, whole columns."""
    case = CASES[name]
    for size, limits in (("large", NUMPY), ("small", TINY)):
        for where in ("single", "row", "column", "both"):
            given = case.inputs(SIZES[size], kind)
            if where in ("single", "both"):
                given["a"][..., 1, 2] = odd
                given["T"][..., 3, 1] = -odd if "-" in case.text else odd
            if where in ("row", "both"):
                given["a"][..., 2, :] = odd
            if where in ("column", "both"):
                given["T"][..., :, 4] = odd
            check(case, given, limits)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_states_that_cannot_follow_each_other(kind: str) -> None:
    """Most transitions are impossible, and no row is."""
    case = CASES["a step"]
    for size, limits in (("large", NUMPY), ("small", TINY)):
        given = case.inputs(SIZES[size], kind, scale=5)
        far = np.abs(np.subtract.outer(*map(np.arange, given["T"].shape))) > 2
        given["T"][far] = -np.inf
        given["T"][0] = 0
        check(case, given, limits)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("distance", [15, 30, 45, 49, 51, 60, 70, 80, 90, 110, 400, 600, 800, 1e4])
def test_around_the_bounds(distance: float, kind: str) -> None:
    """What is great in one array is small in the other one, in a few rows."""
    case = CASES["a step"]
    for size, limits in (("large", NUMPY), ("small", TINY)):
        given = case.inputs(SIZES[size], kind)
        given["a"][:3, 0] += distance
        given["T"][0, :] -= distance
        check(case, given, limits)
        given["T"][1, 1] -= distance
        given["a"][3] -= distance
        check(case, given, limits)


def test_a_level_that_is_no_logsumexp() -> None:
    """Powers of any differences: large, small, and where the greatest values do not meet."""
    text = "z[b,i] = g[b,j] * exp(a[b,i] + T[i,j] - y[b,j])"
    rng, f = default_rng(0), il.compile(text)
    for kind in ("float32", "float64"):
        for base, (b, i, j) in ((NUMPY, (40, 36, 50)), (TINY, (5, 4, 6))):
            for moved in (-80.0, -30.0, 0.0, 20.0, 45.0, 75.0, 300.0):
                for wide in (0.3, 5.0, 30.0):
                    shapes = {"a": (b, i), "T": (i, j), "y": (b, j), "g": (b, j)}
                    given = {k: rng.standard_normal(s).astype(kind) for k, s in shapes.items()}
                    given["a"] *= wide
                    given["T"] *= wide
                    given["y"] += moved
                    wide64 = {k: x.astype(np.float64) for k, x in given.items()}
                    body = wide64["a"][:, :, None] + wide64["T"][None] - wide64["y"][:, None]
                    terms = wide64["g"][:, None] * np.exp(body)
                    if np.abs(terms).max() > 1e-3 * np.finfo(kind).max:
                        continue
                    with np.errstate(all="ignore"):
                        found = sized(f, base)(**given)
                    scale = np.abs(terms).max(1, keepdims=True).sum(2) + np.finfo(kind).tiny
                    off = np.abs(found - terms.sum(2)) / scale
                    assert off.max() < 40 * np.finfo(kind).eps * (8 + np.abs(body).max()), (kind, moved, wide)


def test_factors_that_are_not_finite() -> None:
    """A cotangent that is no number, or infinite, or so large that its product is."""
    case = CASES["a step"]
    given = case.inputs(SIZES["large"], "float32")
    f = il.compile(case.text)
    for odd in (np.nan, np.inf, 3e38, 1e-44):
        dy = np.ones((40, 50), np.float32)
        dy[3, 4] = odd
        _, grads = case.expected(given, dy)
        found = f.vjp(**given)[1](dy)
        for t in given:
            np.testing.assert_allclose(found[t], grads[t], rtol=1e-4)


@pytest.mark.parametrize("name", list(CASES))
def test_they_are_products(name: str) -> None:
    """At sizes that are worth it, forward and backward, and no array over all points is made."""
    case, sizes = CASES[name], {"b": 64, "i": 64, "j": 64, "t": 16}
    given = case.inputs(sizes, "float32")
    f = il.compile(case.text, backend="numpy")
    assert [s.kernel.split(",")[0] for s in f.plan(**given).steps] == ["products of powers"]
    both = f.grad().plan(**given, **{"y.grad": np.ones([sizes[i] for i in case.target], np.float32)})
    assert not any("exp_" in t for t in both.shapes)
    assert any(isinstance(s, Either) for s in steps_of(both))


def test_what_has_all_indices_stays() -> None:
    """Sinkhorn's step has as many powers as its cost has elements; so have few points."""
    step = il.compile("u[i] = logsumexp[j](M[i,j] + v[j])").plan(M=(300, 300), v=(300,))
    assert "powers" not in str(step)
    f = il.compile(CASES["a step"].text)
    assert "powers" not in str(f.plan(a=(3, 200), T=(200, 200)))
    assert "powers" not in str(f.plan(a=(8, 9), T=(9, 8)))
    assert "powers" not in str(f.plan(a=np.zeros((64, 64), np.complex128), T=np.zeros((64, 64), np.complex128)))


def test_a_power_that_is_asked_for_is_made() -> None:
    text = "p[b,i,j] = exp(a[b,i] + T[i,j] - y[b,j])\nz[b,i] = p[b,i,j] * g[b,j]\nw[b,i] = p[b,i,j] * h[b,i,j]\n"
    rng = default_rng(0)
    shapes = {"a": (20, 30), "T": (30, 40), "y": (20, 40), "g": (20, 40), "h": (20, 30, 40)}
    given = {k: rng.standard_normal(s) for k, s in shapes.items()}
    p = np.exp(given["a"][:, :, None] + given["T"][None] - given["y"][:, None])
    for outputs in (["z", "w"], ["p", "z"], ["z"]):
        f = il.compile(text, outputs=outputs)
        found = f(**{k: given[k] for k in f.inputs})
        found = found if isinstance(found, dict) else {"z": found}
        np.testing.assert_allclose(found["z"], (p * given["g"][:, None]).sum(2), rtol=1e-12)
        if "w" in outputs:
            np.testing.assert_allclose(found["w"], (p * given["h"]).sum(2), rtol=1e-12)
        if "p" in outputs:
            np.testing.assert_allclose(found["p"], p, rtol=1e-12)


def test_a_sum_that_goes_on() -> None:
    """What is there already is added to once, whichever blocks fall back."""
    f = il.compile("y[b,j] = c[b,j]\ny[b,j] += logsumexp[i](a[b,i] + T[i,j])\n")
    case = CASES["a step"]
    for base, size in ((NUMPY, "large"), (TINY, "small")):
        given = case.inputs(SIZES[size], "float64")
        given["a"][2, 0], given["T"][0, :] = 1e4, -2e4
        c = default_rng(3).standard_normal((SIZES[size]["b"], SIZES[size]["j"]))
        y, _ = case.expected(given, np.ones_like(c))
        np.testing.assert_allclose(sized(f, base)(c=c, **given), y + c, rtol=1e-12, atol=1e-11)


def test_bounds_are_within_the_type() -> None:
    for kind in ("float32", "float64"):
        for count in (1, 100, 10**6, 10**12):
            assert 20 < deepest(kind, count) < -np.log(np.finfo(kind).tiny)
    body = il.compile(CASES["a step"].text).program.statements[0].value.body  # type: ignore[union-attr]
    sizes = {"b": 64, "i": 64, "j": 64}
    found = logarithm_apart(body, ("b", "j"), sizes, NUMPY)
    assert found is not None and len(found.groups) == 2 and not found.rest


def test_the_size_of_a_power_is_asked_for() -> None:
    text = (
        "y[b,j] = logsumexp[i](a[b,i]+T[i,j])\np[b,i,j] = exp(a[b,i]+T[i,j]-y[b,j])\nA[b,i] = g[b,j]*p[b,i,j]/size(p,2)"
    )
    rng = default_rng(0)
    a, t, g = (rng.standard_normal((64, 64)) for _ in range(3))
    p = np.exp(a[:, :, None] + t - np.log(np.exp(a[:, :, None] + t).sum(1, keepdims=True)))
    np.testing.assert_allclose(il.compile(text)(a=a, T=t, g=g), np.einsum("bj,bij->bi", g, p) / 64)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize("n", [5, 70])
def test_sums_that_are_scaled_or_of_functions_are_products_too(n: int, limits: Limits, kind: str) -> None:
    """A temperature, and an activation whose slope multiplies whole sums."""
    rng = default_rng(n)
    a, t, dy = (rng.standard_normal((n, n)) for _ in range(3))
    for text, u, slope, scale in (
        ("y[b,j] = logsumexp[i]((a[b,i] + t[i,j])/1.5)", a, np.ones((n, n)), 1.5),
        ("y[b,j] = logsumexp[i](tanh(a[b,i]) + t[i,j])", np.tanh(a), 1 - np.tanh(a) ** 2, 1.0),
        ("y[b,j] = -0.5*logsumexp[i](-2*(a[b,i] - t[i,j]))", -a, -np.ones((n, n)), -0.5),
    ):
        body = (u[:, :, None] + t) / (0.5 if "-2" in text else scale)
        level = np.log(np.exp(body).sum(1))
        f = sized(il.compile(text), limits)
        y, pull = f.vjp(a=a.astype(kind), t=t.astype(kind))
        tolerance = 2e-5 if kind == "float32" else 1e-12
        np.testing.assert_allclose(y, level * (-0.5 if "-2" in text else 1), rtol=tolerance, atol=tolerance)
        weights = dy[:, None] * np.exp(body - level[:, None]) / (-1 if "-2" in text else scale)
        found = pull(dy.astype(kind))
        np.testing.assert_allclose(found["a"], weights.sum(2) * slope, rtol=30 * tolerance, atol=30 * tolerance)
        np.testing.assert_allclose(found["t"], weights.sum(0), rtol=30 * tolerance, atol=30 * tolerance)
        if n == 70 and limits is NUMPY:
            for plan in il.compile(text).plans(a=(n, n), t=(n, n)):
                assert not re.search(r"(?<!sum)exp_a", str(plan))
