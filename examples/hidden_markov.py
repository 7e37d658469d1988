"""A hidden Markov model is learnt from what can be seen, and then says what could not.

`python -m examples.hidden_markov` throws dice of which some are loaded, and which are changed in secret. The
gradient of the log likelihood by logarithms of chances is how often each transition and each symbol is to be
expected (its blocks are printed first): the backward algorithm is the forward one, derived. Such counts, divided by
their sums, are the next chances (Baum, Welch 1970). Viterbi's algorithm then tells which die was thrown.
"""

from __future__ import annotations

import argparse
import sys
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang

Array = NDArray[Any]
Chances = dict[str, Array]

LAYERS = indexlang.load(Path(__file__).with_name("hidden_markov.idx"))
TRUE: Chances = {
    "p": np.array([0.6, 0.3, 0.1]),
    "A": np.array([[0.92, 0.05, 0.03], [0.10, 0.85, 0.05], [0.05, 0.15, 0.80]]),
    "E": np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 7], [6, 3, 1, 1, 1, 0.5]]) / np.array([[6], [12], [12.5]]),
}


def logarithms(chances: Chances) -> Chances:
    """Of chances, which may be 0."""
    with np.errstate(divide="ignore"):
        return {n: np.log(c) for n, c in chances.items()}


def thrown(count: int, length: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Symbols, and the states that they come from."""
    states, seen = np.zeros((2, count, length), np.int64)
    for b, t in np.ndindex(count, length):
        states[b, t] = rng.choice(3, p=TRUE["A"][states[b, t - 1]] if t else TRUE["p"])
        seen[b, t] = rng.choice(6, p=TRUE["E"][states[b, t]])
    return seen, states


def guess(rng: np.random.Generator) -> Chances:
    """Chances to begin with: states rather last, and no two are alike."""
    chances = {n: rng.dirichlet(np.full(c.shape[-1], 9.0), c.shape[:-1]) for n, c in TRUE.items()}
    chances["A"] = 0.3 * chances["A"] + 0.7 * np.eye(3)
    return chances


def learned(chances: Chances, seen: Array) -> tuple[float, Chances]:
    """How likely chances are, by logarithm, and better ones."""
    value, counts = LAYERS.likelihood.value_and_grad({"y": seen} | logarithms(chances))
    return float(value), {n: c / c.sum(axis=-1, keepdims=True) for n, c in counts.items()}


def in_order(chances: Chances) -> Chances:
    """With the states called as in the truth: of all orders the one whose symbols are nearest."""
    order = list(min(permutations(range(3)), key=lambda o: float(np.abs(chances["E"][list(o)] - TRUE["E"]).sum())))
    return {"p": chances["p"][order], "A": chances["A"][np.ix_(order, order)], "E": chances["E"][order]}


def main(argv: list[str] | None = None) -> int:
    """Learn, and print what was learnt beside the truth."""
    parser = argparse.ArgumentParser(prog="examples.hidden_markov", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sequences", type=int, default=100)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    print(LAYERS.likelihood.grad(seed=1))
    rng = np.random.default_rng(args.seed)
    seen, states = thrown(args.sequences, args.length, rng)
    chances = guess(rng)
    for number in range(args.steps + 1):
        value, better = learned(chances, seen)
        if number % max(1, args.steps // 5) == 0:
            print(f"step {number:4d}: log likelihood of a symbol {value / seen.size:.5f}")
        chances = better
    truth = float(LAYERS.likelihood(y=seen, **logarithms(TRUE)))
    print(f"of the truth:                         {truth / seen.size:.5f}")
    found = in_order(chances)
    for name, what in (("A", "the next die"), ("E", "the number that it shows")):
        print(f"chances of {what}, learnt and true")
        for left, right in zip(found[name], TRUE[name], strict=True):
            print("  ", *(f"{c:.2f}" for c in left), "  ", *(f"{c:.2f}" for c in right))
    for name, one in (("learnt", found), ("true", TRUE)):
        path = LAYERS.viterbi(y=seen, **logarithms(one)).T
        print(f"dice told by Viterbi with {name} chances: {100 * np.mean(path == states):.1f} % right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
