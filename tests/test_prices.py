"""What plans cost, by their own steps: the order found is the cheapest, spelling hardly matters, and nothing costs more
than its whole domain.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
from numpy.random import Generator, default_rng
from test_orders import masked

import indexlang as il
from indexlang.calls.function import Function
from indexlang.plan.costs import cost
from indexlang.plan.limits import NUMPY
from indexlang.plan.order import best_order, met

Shapes = dict[str, tuple[int, ...]]
Groups = Sequence[frozenset[str]]

pytestmark = [
    pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning"),
    pytest.mark.usefixtures("on_numpy"),  # of which the prices are
]


# -- orders --------------------------------------------------------------------------------------------


def cheapest(groups: Groups, conditions: Groups, out: frozenset[str], sizes: dict[str, int]) -> int:
    """The least cost of all ways to bring factors together, found by trying each."""

    def kept(inside: frozenset[int]) -> tuple[frozenset[str], frozenset[int]]:
        found = met([groups[k] for k in inside], [g for k, g in enumerate(groups) if k not in inside], conditions, out)
        return found.kept, found.let_in

    def points(indices: frozenset[str]) -> int:
        found = 1
        for i in indices:
            found *= sizes[i]
        return found

    def best(parts: list[frozenset[int]]) -> int:
        if len(parts) == 1:
            return 0
        costs = []
        for a, b in combinations(parts, 2):
            (left, before), (right, also), (left_over, let_in) = kept(a), kept(b), kept(a | b)
            here, new = points(left | right), let_in - before - also
            asked = (left | right) & left_over.union(*(conditions[k] for k in new))  # all else is summed before
            for k in new:
                sides = [points(s) for s in (left, right) if conditions[k] <= s]
                here += 4 * NUMPY.element * (min(sides) if sides else points(asked))
            costs.append(here + best([*(p for p in parts if p not in (a, b)), a | b]))
        return min(costs)

    alone = [frozenset((k,)) for k in range(len(groups))]
    masks = sum(4 * NUMPY.element * len(kept(p)[1]) * points(groups[min(p)]) for p in alone)
    return masks + best(alone)


@pytest.mark.parametrize("number", range(80))
def test_the_order_is_the_cheapest_of_all(number: int) -> None:
    rng = default_rng(number)
    indices = list("ijklm")
    sizes = {i: int(rng.integers(1, 60)) for i in indices}
    groups = [frozenset(rng.permutation(indices)[: int(rng.integers(1, 4))]) for _ in range(int(rng.integers(2, 6)))]
    present = sorted(frozenset().union(*groups))
    conditions = [frozenset(rng.permutation(present)[:2]) for _ in range(int(rng.integers(0, 3)))]
    out = frozenset(rng.permutation(present)[: int(rng.integers(0, len(present)))])
    conditions = [c for c in conditions if not c <= out]
    found = best_order(groups, conditions, sorted(out), sizes, NUMPY)
    assert found.cost == cheapest(groups, conditions, out, sizes)
    assert len(found.pairs) == len(groups) - 1


# -- spellings -----------------------------------------------------------------------------------------


def spellings(rng: Generator) -> tuple[list[str], Shapes]:
    """A product of three under a mask in several spellings, and its shapes."""
    t, d, e = (int(rng.choice((64, 160, 500, 1100))), int(rng.choice((16, 48))), int(rng.choice((16, 48))))
    mask, other = [
        ("s <= t", "u <= r"),
        ("s <= t, t < s + 24", "u <= r, r < u + 24"),
        ("s // 20 == t // 20", "u // 20 == r // 20"),
        ("m[t,s] > 0", "m[r,u] > 0"),
        ("abs(s - t) < 9", "abs(u - r) < 9"),
        ("s < n[t]", "u < n[r]"),
    ][int(rng.integers(6))]
    both = " and ".join(f"({part})" for part in mask.split(", "))
    shapes: Shapes = {"q": (t, d), "k": (t, d), "v": (t, e)}
    shapes |= {"m": (t, t)} if "m[" in mask else {"n": (t,)} if "n[" in mask else {}
    return [
        f"y[t,e] = q[t,d] * k[s,d] * v[s,e] where {mask}",
        f"y[t,e] = v[s,e] * q[t,d] * k[s,d] where {', '.join(mask.split(', ')[::-1])}",
        f"y[r,f] = q[r,c] * (k[u,c] * v[u,f]) where {other}",
        f"y[t,e] = where({both}, q[t,d], 0) * k[s,d] * v[s,e]",
        f"y[t,e] = k[s,d] * where(not ({both}), 0, v[s,e]) * q[t,d]",
        f"w[t,s] = q[t,d] * k[s,d]\ny[t,e] = w[t,s] * v[s,e] where {mask}",
    ], shapes


def total(f: Function, shapes: Shapes) -> int:
    """What the plan of a function costs."""
    return cost(f.plan(**{name: shapes[name] for name in f.program.inputs})).total(NUMPY)


@pytest.mark.parametrize("number", range(24))
def test_spelling_hardly_matters(number: int) -> None:
    texts, shapes = spellings(default_rng(number))
    costs = [total(il.compile(text, outputs=["y"]), shapes) for text in texts]
    assert max(costs) <= 1.2 * min(costs), list(zip(costs, texts, strict=True))


# -- the whole domain ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(60))
def test_nothing_costs_more_than_its_whole_domain(number: int) -> None:
    case = masked(default_rng((11, number)), False)
    f = il.compile(case.text)
    shapes = {name: tuple(12 * n for n in x.shape) for name, x in case.inputs.items()}
    plan = f.plan(**shapes)
    (step,) = [s for s in plan.steps if s.statement.startswith("y")][-1:]
    points = 1
    for _, (lo, hi) in step.extents:
        points *= hi - lo
    operations = case.text.count("*") + case.text.count("tanh") + case.text.count(",") + 4
    assert cost(plan).total(NUMPY) <= NUMPY.element * operations * points + 40 * NUMPY.call, case.text
