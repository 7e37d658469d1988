"""The examples of derived programs: private training clips what it should, Newton's method is Newton's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import indexlang

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples import newton
from examples import private_training as private


def test_the_clipped_sum_is_that_of_single_examples() -> None:
    rng = np.random.default_rng(0)
    x, label = private.rings(6, rng)
    weights = private.start(4, rng)
    found = private.clipped(x=x, label=label, most=0.8, **weights)
    right = {n: np.zeros_like(w) for n, w in weights.items()}
    lengths = []
    for b in range(6):
        _, alone = private.loss.value_and_grad(private.WEIGHTS, x=x[b : b + 1], label=label[b : b + 1], **weights)
        lengths.append(np.sqrt(sum(np.sum(g**2) for g in alone.values())))
        for n, g in alone.items():
            right[n] += g * min(1.0, 0.8 / lengths[-1])
    assert min(lengths) < 0.8 < max(lengths)  # some are clipped
    for n, value in right.items():
        np.testing.assert_allclose(found[f"{n}.sum"], value, rtol=1e-9, atol=1e-12)


def test_the_clipped_program_is_one_program() -> None:
    assert indexlang.compile(str(private.clipped)).program == private.clipped.program
    assert {*private.clipped.inputs} == {"x", "label", "most", *private.WEIGHTS}


def test_private_training_learns(capsys: pytest.CaptureFixture[str]) -> None:
    assert private.main(["--steps", "60"]) == 0
    losses = [
        float(line.rpartition(" ")[2]) for line in capsys.readouterr().out.splitlines() if line.startswith("step")
    ]
    assert losses[-1] < 0.5 * losses[0]


def test_conjugate_gradients_solve() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((7, 7))
    a, right = a @ a.T + np.eye(7), rng.standard_normal(7)
    np.testing.assert_allclose(newton.solved(lambda v: a @ v, right), np.linalg.solve(a, right), rtol=1e-8)


def test_a_step_is_that_of_the_whole_hessian() -> None:
    given, w = newton.data(40, 5), np.linspace(-0.5, 0.5, 5)
    columns = newton.loss.grad("w", seed=1).tangent("w").batched("c", ["w.dot"])
    hessian = columns(w=w, **given, **{"w.dot": np.eye(5)})["w.grad.dot"]
    np.testing.assert_allclose(hessian, hessian.T, rtol=1e-12)
    p = 1 / (1 + np.exp(given["t"] * (given["x"] @ w)))
    by_hand = (given["x"].T * (p * (1 - p))) @ given["x"] + 2 * given["decay"] * np.eye(5)
    np.testing.assert_allclose(hessian, by_hand, rtol=1e-10)
    _, gradients = newton.loss.value_and_grad("w", w=w, **given)
    _, _, after = newton.newton_step(w, **given)
    np.testing.assert_allclose(after, w - np.linalg.solve(by_hand, gradients["w"]), rtol=1e-7)


def test_newton_arrives(capsys: pytest.CaptureFixture[str]) -> None:
    assert newton.main() == 0
    assert "gradient" in capsys.readouterr().out
