"""What the forward part of a derived program keeps for its pullback."""

from __future__ import annotations

import numpy as np

import indexlang
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.rewrite.phases import split
from indexlang.syntax.parser import parse


def kept(text: str, output: str) -> tuple[str, ...]:
    program = resolve(parse(Source(text)), outputs=[output])
    both = grad.backward(program, None, values=True)
    return split(both, [f"{output}.grad"])[2]


def test_a_tensor_of_which_only_the_shape_is_needed_is_not_kept() -> None:
    text = "s[i,j] = (x[i,d] - z[j,d])**2\nk[i,j] = exp(-s[i,j])\ny[i] = k[i,j] * w[j]"
    assert kept(text, "y") == ("k",)
    rng = np.random.default_rng(0)
    x, z, w, dy = (
        rng.standard_normal((7, 3)),
        rng.standard_normal((5, 3)),
        rng.standard_normal(5),
        rng.standard_normal(7),
    )
    y, pullback = indexlang.compile(text, outputs=["y"]).vjp(x=x, z=z, w=w)
    apart = x[:, None] - z[None]
    k = np.exp(-(apart**2).sum(-1))
    np.testing.assert_allclose(y, k @ w)
    pull = -2 * (dy[:, None] * w * k)[..., None] * apart
    found = pullback(dy)
    np.testing.assert_allclose(found["x"], pull.sum(1))
    np.testing.assert_allclose(found["z"], -pull.sum(0))
    np.testing.assert_allclose(found["w"], dy @ k)


def test_the_powers_under_a_logsumexp_are_kept() -> None:
    assert kept("loss += logsumexp[k](s[n,k]) - s[n,p[n]]", "loss") == ("softmax_s",)


def test_what_is_read_is_kept() -> None:
    assert kept("h[i] = exp(x[i])\ny[i] = tanh(h[i]) * h[i]", "y") == ("h", "tanh_h")
