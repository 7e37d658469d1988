"""Sums of products under conditions: random ones, of few and of many factors, with inf and nan where masks refuse.

What is right is said by NumPy over the whole domain: all factors multiplied, the admitted points summed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

SEED = int(os.environ.get("INDEXLANG_SEED_ORDERS", "7"))
NAMES = ("a", "b", "c", "d", "e")


@dataclass(frozen=True)
class Masked:
    """An equation with its inputs and its value."""

    text: str
    inputs: dict[str, Array]
    value: Array


def masked(rng: Generator, spoil: bool) -> Masked:
    """A random product of two to five factors under one to three conditions."""
    indices = list("ijklm")[: int(rng.integers(2, 6))]
    sizes = {i: int(rng.choice((1, 2, 3, 5, 7))) for i in indices}
    groups: list[list[str]] = []
    for _ in range(int(rng.integers(2, 6))):
        groups.append(list(rng.permutation(indices)[: int(rng.integers(1, min(3, len(indices)) + 1))]))
    groups[-1] += [i for i in indices if not any(i in g for g in groups)]
    out = list(rng.permutation(indices)[: int(rng.integers(0, len(indices)))])
    inputs: dict[str, Array] = {}
    factors = []
    for name, group in zip(NAMES, groups, strict=False):
        inputs[name] = rng.standard_normal([sizes[i] for i in group])
        factors.append(f"{name}[{','.join(group)}]" if rng.random() < 0.8 else f"tanh({name}[{','.join(group)}])")
    masks, truths = [], []
    for number in range(int(rng.integers(1, 4))):
        text, truth = condition(rng, indices, sizes, inputs, number)
        masks.append(text)
        truths.append(truth)
    if spoil:
        for x in (inputs[name] for name in NAMES if name in inputs):
            if rng.random() < 0.6:
                x.reshape(-1)[int(rng.integers(x.size))] = rng.choice((np.inf, -np.inf, np.nan))
    whole = np.ones([sizes[i] for i in indices])
    for name, group, factor in zip(NAMES, groups, factors, strict=False):
        x = np.tanh(inputs[name]) if factor.startswith("tanh") else inputs[name]
        whole = whole * spread(x, group, indices)
    admit = np.ones(whole.shape, bool)
    for truth in truths:
        admit = admit & truth
    gone = tuple(k for k, i in enumerate(indices) if i not in out)
    value = np.where(admit, whole, 0).sum(gone)
    left = [i for i in indices if i in out]
    value = value.transpose([left.index(i) for i in out])
    return Masked(f"y[{','.join(out)}] += {' * '.join(factors)} where {', '.join(masks)}", inputs, value)


def condition(
    rng: Generator, indices: list[str], sizes: dict[str, int], inputs: dict[str, Array], number: int
) -> tuple[str, Array]:
    """A condition of one or two indices: of the indices themselves, or of data."""
    i, j = (str(x) for x in rng.permutation(indices)[:2])
    at = dict(zip(indices, np.ogrid[tuple(slice(sizes[k]) for k in indices)], strict=True))
    kind = int(rng.integers(7))
    shift = int(rng.integers(-1, 3))
    if kind == 0:
        return f"{i} <= {j} + {shift}", at[i] <= at[j] + shift
    if kind == 1:
        return f"{i} // 2 == {j} // 2", at[i] // 2 == at[j] // 2
    if kind == 5:
        return f"2 * {i} <= {j} + {shift}, {j} - 3 < 2 * {i}", (2 * at[i] <= at[j] + shift) & (at[j] - 3 < 2 * at[i])
    if kind == 6:
        return f"({i} + 1) // 3 < {j} // 2 + {shift}", (at[i] + 1) // 3 < at[j] // 2 + shift
    name = f"g{number}"
    if kind == 2:
        inputs[name] = rng.standard_normal((sizes[i], sizes[j]))
        return f"{name}[{i},{j}] > 0", spread(inputs[name], [i, j], indices) > 0
    if kind == 3:
        inputs[name] = rng.integers(0, sizes[i] + 1, sizes[j])
        return f"{i} < {name}[{j}]", at[i] < spread(inputs[name], [j], indices)
    inputs[name] = rng.standard_normal(sizes[i])
    return f"{name}[{i}] > 0", spread(inputs[name], [i], indices) > 0


def spread(x: Array, group: list[str], indices: list[str]) -> Array:
    """An array over a group of indices as one over all of them."""
    order = sorted(range(len(group)), key=lambda k: indices.index(group[k]))
    shape = [x.shape[group.index(i)] if i in group else 1 for i in indices]
    return x.transpose(order).reshape(shape)


@pytest.mark.parametrize("spoil", [False, True], ids=["finite", "spoilt"])
@pytest.mark.parametrize("number", range(120))
def test_products_under_conditions(number: int, spoil: bool) -> None:
    with np.errstate(all="ignore"):
        case = masked(default_rng((SEED, number, spoil)), spoil)
    for limits in (NUMPY, TINY, replace(NUMPY, tile=2, call=0), replace(NUMPY, element=1 << 30)):
        f = sized(il.compile(case.text), limits)
        verify(f.plan(**case.inputs))
        assert_same(f(**case.inputs), case.value, case.text)


def assert_same(found: Array, expected: Array, text: str) -> None:
    """The same where it is finite, and not finite in the same places: inf*(p - q) may be inf*p - inf*q."""
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=text)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-9, atol=1e-12, err_msg=text)


RUNNING = {
    "causal": ("y[t,e] = q[t,d] * k[s,d] * v[s,e] where s <= t", "<="),
    "before": ("y[t,e] = q[t,d] * k[s,d] * v[s,e] where s < t", "<"),
    "from here": ("y[t,e] = q[t,d] * k[s,d] * v[s,e] where s >= t", ">="),
    "behind": ("y[t,e] = q[t,d] * k[s,d] * v[s,e] where t < s", ">"),
    "scaled": ("y[t,e] = 0.5 * q[t,d] * k[s,d] * v[s,e] * w[t] / z[e] where s <= t", "<="),
    "of a function": ("y[t,e] = exp(q[t,d]) * exp(k[s,d]) * v[s,e] where s <= t", "<="),
    "added": ("y[t,e] = v[t,e]\ny[t,e] += q[t,d] * k[s,d] * v[s,e] where s <= t", "<="),
}


@pytest.mark.parametrize("spoil", [False, True], ids=["finite", "spoilt"])
@pytest.mark.parametrize("n", [1, 7, 33, 257])
@pytest.mark.parametrize("name", RUNNING)
def test_running_products(name: str, n: int, spoil: bool) -> None:
    """A state that grows block by block: what stands behind the bound never reaches a point."""
    text, bound = RUNNING[name]
    rng = default_rng(n)
    q, k, v = (rng.standard_normal((n, d)) for d in (3, 3, 5))
    w, z = rng.standard_normal(n), rng.uniform(1, 2, 5)
    if spoil:
        q[0, 0], k[n // 2, 1], v[-1, 2] = np.inf, np.nan, -np.inf
    inputs = {"q": q, "k": k, "v": v} | ({"w": w, "z": z} if name == "scaled" else {})
    a, b = (np.exp(q), np.exp(k)) if name == "of a function" else (q, k)
    t, s = np.ogrid[:n, :n]
    admit = {"<=": s <= t, "<": s < t, ">=": s >= t, ">": s > t}[bound]
    with np.errstate(all="ignore"):
        points = a[:, None, :, None] * b[None, :, :, None] * v[None, :, None, :]
        right = np.where(admit[:, :, None, None], points, 0).sum((1, 2))
        right = 0.5 * right * w[:, None] / z if name == "scaled" else right
        right = right + v if name == "added" else right
    for limits in (NUMPY, replace(NUMPY, tile=2, call=0), replace(TINY, tile=4, element=1000)):
        f = sized(il.compile(text), limits)
        verify(f.plan(**inputs))
        assert_same(f(**inputs), right, f"{text}, {n}")


def test_running_products_are_chosen() -> None:
    f = il.compile(RUNNING["causal"][0], backend="numpy")
    shapes = {"q": (2048, 32), "k": (2048, 32), "v": (2048, 32)}
    (step,) = f.plan(**shapes).steps
    assert step.kernel.startswith("running products, sums along s")


def test_what_is_asked_ahead_is_asked_wherever_products_are_made() -> None:
    """A sum under a mask that is scattered: its factor is an input, gone through value by value."""
    text = "z[V[v]] += h[2-j] * K[v,r] * s[j] where v < 3, j < 3, r < 3, j < v + 3, out[r] == v"
    rng = default_rng(5)
    inputs = {"h": rng.standard_normal(3), "K": rng.standard_normal((3, 3)), "s": rng.standard_normal(3)}
    inputs |= {"V": np.array([1, 0, 1]), "out": np.array([0, 2, 1])}
    right = np.zeros(2)
    for v, j, r in np.ndindex(3, 3, 3):
        if j < v + 3 and inputs["out"][r] == v:
            right[inputs["V"][v]] += inputs["h"][2 - j] * inputs["K"][v, r] * inputs["s"][j]
    f = il.compile(f"shape z[2]\n{text}")
    for limits in (NUMPY, TINY):
        verify(sized(f, limits).plan(**inputs))
        np.testing.assert_allclose(sized(f, limits)(**inputs), right)
