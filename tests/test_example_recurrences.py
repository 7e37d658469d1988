"""The examples that go step by step: beside plain loops over states, paths and ways, and at small sizes as they run."""

from __future__ import annotations

import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples import hidden_markov, lstm, time_warping

Array = NDArray[Any]


# -- a text ----------------------------------------------------------------------------------------


def read_by_hand(text: Array, h: Array, c: Array, weights: dict[str, Array]) -> Array:
    """The scores of all next characters, time first."""
    scores = []
    for letters in text.T:
        gates = weights["W"][letters] + weights["bias"] + np.tensordot(h, weights["U"], 1)
        taken, kept, given = (1 / (1 + np.exp(-gates[:, g])) for g in (0, 1, 3))
        c = kept * c + taken * np.tanh(gates[:, 2])
        h = given * np.tanh(c)
        scores.append(h @ weights["O"] + weights["o"])
    return np.array(scores)


def test_a_text_is_read_and_learnt() -> None:
    rng = np.random.default_rng()
    weights = {n: w.astype(np.float64) for n, w in lstm.start(7, 5, rng).items()}
    text, following = rng.integers(0, 7, (2, 3, 6))
    state = {n: rng.standard_normal((3, 5)) for n in ("h0", "c0")}
    found = lstm.LAYERS.read(text=text, **state, **weights)
    assert {n: a.shape for n, a in found.items()} == {"s": (6, 3, 7), "h": (7, 3, 5), "c": (7, 3, 5)}
    np.testing.assert_allclose(found["s"], read_by_hand(text, state["h0"], state["c0"], weights), rtol=1e-10)

    def loss(of: dict[str, Array]) -> float:
        s = read_by_hand(text, state["h0"], state["c0"], of)
        said = s - np.log(np.exp(s).sum(axis=-1, keepdims=True))
        return -float(np.mean(np.take_along_axis(said, following.T[..., None], -1)))

    value, gradients = lstm.LAYERS.learn.value_and_grad(lstm.WEIGHTS, text=text, next=following, **state, **weights)
    assert float(value) == pytest.approx(loss(weights), rel=1e-10)
    for name, weight in weights.items():
        way = rng.standard_normal(weight.shape)
        slope = (loss({**weights, name: weight + 1e-5 * way}) - loss({**weights, name: weight - 1e-5 * way})) / 2e-5
        assert np.sum(gradients[name] * way) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_writing_goes_on_from_the_last_state() -> None:
    rng = np.random.default_rng(1)
    weights = lstm.start(6, 4, rng)
    first = rng.integers(0, 6, 5)
    written = lstm.write(weights, first, 9, 1e-3, rng)  # so cold that the likeliest one is drawn
    assert written[:5] == first.tolist()
    for k in range(5, len(written)):
        s = read_by_hand(np.array([written[:k]]), np.zeros((1, 4)), np.zeros((1, 4)), weights)
        assert written[k] == s[-1, 0].argmax()


def test_the_text_is_long_enough_and_learnt(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(lstm.builtin_texts()) > 5000
    assert lstm.main(["--steps", "80", "--hidden", "24", "--length", "24", "--count", "20", "--rate", "0.03"]) == 0
    losses = [float(line.split()[2]) for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert losses[-1] < 0.75 * losses[0]


# -- a hidden Markov model -------------------------------------------------------------------------


def of_all_paths(seen: Array, chances: dict[str, Array]) -> dict[tuple[int, ...], float]:
    """The chance of each path of states together with the symbols."""
    p, a, e = (chances[n] for n in "pAE")
    found = {}
    for path in product(range(len(p)), repeat=len(seen)):
        chance = p[path[0]] * np.prod([a[i, j] for i, j in pairwise(path)])
        found[path] = float(chance * np.prod([e[i, y] for i, y in zip(path, seen, strict=True)]))
    return found


def test_chances_are_those_of_all_paths() -> None:
    rng = np.random.default_rng()
    seen, chances = rng.integers(0, 6, (2, 5)), hidden_markov.guess(rng)
    value, better = hidden_markov.learned(chances, seen)
    counts = {n: np.zeros_like(c) for n, c in chances.items()}
    total = 0.0
    for symbols in seen:
        paths = of_all_paths(symbols, chances)
        whole = sum(paths.values())
        total += np.log(whole)
        for path, chance in paths.items():
            counts["p"][path[0]] += chance / whole
            np.add.at(counts["A"], (path[:-1], path[1:]), chance / whole)
            np.add.at(counts["E"], (path, symbols), chance / whole)
    assert value == pytest.approx(total, rel=1e-10)
    for name, count in counts.items():
        np.testing.assert_allclose(better[name], count / count.sum(axis=-1, keepdims=True), rtol=1e-9)
    best = hidden_markov.LAYERS.viterbi(y=seen, **hidden_markov.logarithms(chances)).T
    for symbols, path in zip(seen, best, strict=True):
        paths = of_all_paths(symbols, chances)
        assert tuple(path.tolist()) == max(paths, key=paths.__getitem__)


def test_dice_are_learnt(capsys: pytest.CaptureFixture[str]) -> None:
    assert hidden_markov.main(["--sequences", "30", "--length", "40", "--steps", "20"]) == 0
    printed = capsys.readouterr().out
    values = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("step")]
    assert values == sorted(values)
    assert values[-1] > values[0]
    assert printed.count("% right") == 2


# -- time warping ----------------------------------------------------------------------------------


def costs_of_ways(cost: Array) -> dict[tuple[tuple[int, int], ...], float]:
    """What each way from the first pair to the last costs."""
    found = {}

    def go(way: tuple[tuple[int, int], ...]) -> None:
        i, j = way[-1]
        if (i + 1, j + 1) == cost.shape:
            found[way] = float(sum(cost[pair] for pair in way))
        for pair in ((i + 1, j), (i, j + 1), (i + 1, j + 1)):
            if pair[0] < cost.shape[0] and pair[1] < cost.shape[1]:
                go((*way, pair))

    go(((0, 0),))
    return found


def test_the_soft_distance_is_that_of_all_ways() -> None:
    rng = np.random.default_rng()
    x, y, soft = rng.standard_normal(4), rng.standard_normal(5), 0.3
    ways = costs_of_ways((x[:, None] - y[None, :]) ** 2)
    weights = {way: np.exp(-cost / soft) for way, cost in ways.items()}
    whole = sum(weights.values())
    near = time_warping.indexlang.compile(time_warping.FILE, layer="warped", g=soft)
    assert float(near(x=x, y=y[None])) == pytest.approx(-soft * np.log(whole), rel=1e-10)
    taken = np.zeros((4, 5))
    for way, weight in weights.items():
        taken[tuple(zip(*way, strict=True))] += weight / whole
    np.testing.assert_allclose(time_warping.alignment(x, y, soft), taken, rtol=1e-9)


def test_a_barycentre_is_nearer_than_the_mean(capsys: pytest.CaptureFixture[str]) -> None:
    curves = time_warping.drawn(6, 30, 0.02, np.random.default_rng(0))
    found, far = time_warping.barycentre(curves, 0.05, 60, 0.02)
    assert far[-1] < far[0]
    common, mean = time_warping.shape(np.linspace(0, 1, 30)), curves.mean(axis=0)
    assert abs(found.max() - common.max()) < 0.5 * abs(mean.max() - common.max())
    assert time_warping.main(["--curves", "4", "--length", "20", "--steps", "10"]) == 0
    assert "barycentre" in capsys.readouterr().out
