"""Arrays that are written where others are read for the last time: the same values in less memory."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang

Array = np.ndarray

ATTENTION = """s[h,i,j] = q[i,h,d] * k[j,h,d] / 4
p[h,i,j] = exp(s[h,i,j] - logsumexp[l](s[h,i,l]))
y[i,h,d] = p[h,i,j] * v[j,h,d]"""


@pytest.fixture(autouse=True)
def looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every plan and nest."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")


def attention(q: Array, k: Array, v: Array, dy: Array) -> dict[str, Array]:
    """Head by head, with gradients."""
    found = {name: np.zeros(q.shape) for name in ("y", "q", "k", "v")}
    for h in range(q.shape[1]):
        s = q[:, h] @ k[:, h].T / 4
        e = np.exp(s - s.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        dp = dy[:, h] @ v[:, h].T
        ds = p * (dp - (p * dp).sum(1, keepdims=True)) / 4
        found["y"][:, h], found["v"][:, h] = p @ v[:, h], p.T @ dy[:, h]
        found["q"][:, h], found["k"][:, h] = ds @ k[:, h], ds.T @ q[:, h]
    return found


def assert_near(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("n", [5, 60, 96, 300])
@pytest.mark.parametrize("threads", [1, 2])
def test_attention(n: int, threads: int) -> None:
    rng = np.random.default_rng(n)
    q, k, v, dy = (rng.standard_normal((n, 2, 16)).astype(np.float32) for _ in range(4))
    wanted = attention(*(a.astype(np.float64) for a in (q, k, v, dy)))
    indexlang.set_num_threads(threads)
    try:
        f = indexlang.compile(ATTENTION, outputs=["y"], backend="native")
        for _ in range(2):
            y, pullback = f.vjp(q=q, k=k, v=v)
            for name, found in {"y": y, **pullback(dy)}.items():
                assert_near(np.asarray(found), wanted[name])
    finally:
        indexlang.set_num_threads(None)


PRODUCT = "s[i,j] = a[i,k] * b[k,j]\n"


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("m[j] max= s[i,j]\np[i,j] = s[j,i] - m[j]", ["p"]),  # other elements
        ("m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]", ["p", "s"]),  # whose value is given
        ("m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]\nr[i] = p[i,j] * s[i,j]", ["p", "r"]),  # which is read again
        ("p[i,j] = s[i,j] - sum[l](s[i,l]**2)", ["p"]),  # all of a row
    ],
)
def test_what_is_needed_stays(text: str, outputs: list[str]) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype(np.float32) for s in ((300, 20), (20, 300)))
    found = indexlang.compile(PRODUCT + text, outputs=outputs, backend="native")(a=a, b=b)
    found = found if isinstance(found, dict) else {outputs[0]: found}
    s = a.astype(np.float64) @ b
    p = (s.T if "s[j,i]" in text else s) - ((s**2).sum(1, keepdims=True) if "l" in text else s.max(0))
    wanted = {"p": p, "s": s, "r": (p * s).sum(1)}
    for name in outputs:
        assert_near(found[name], wanted[name])


def test_one_after_the_other() -> None:
    """Three arrays, each the last to read another."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(s).astype(np.float32) for s in ((300, 20), (20, 300), (300, 300)))
    text = PRODUCT + "m[j] max= s[i,j]\np[i,j] = s[i,j] - m[j]\ny[i,l] = p[i,j] * c[j,l]"
    f = indexlang.compile(text, outputs=["y"], backend="native")
    s = a.astype(np.float64) @ b
    assert_near(f(a=a, b=b, c=c), (s - s.max(0)) @ c)
