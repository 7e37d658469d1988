"""Each maximum sends its gradient to one winner, whatever bits a function gives where its argument lies otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dense
import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang as il
from indexlang.derive import grad
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.program.functions import is_exact
from indexlang.syntax.parser import parse

Array = NDArray[Any]
RNG = np.random.default_rng(3)


def unsteady(function: Callable[..., Array]) -> Callable[..., Array]:
    """A function whose every 16th result, as its argument lies, has another last bit: so have some of NumPy's."""

    def found(x: Array, out: Array | None = None) -> Array:
        made = np.array(function(x), order="C")
        flat = made.reshape(-1)
        flat[15::16] = np.nextafter(flat[15::16], np.inf)
        if out is None:
            return made
        out[...] = made
        return out

    return found


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda x: x,
    "turned": np.asfortranarray,
    "backwards": lambda x: x[tuple([slice(None, None, -1)] * x.ndim)],
}

PROGRAMS = [
    "t[a,b] = x[a,b]\nm[a,b] min= exp(t[a,b])\nm[i,j] min= z[i]",
    "m[b,a] max= tanh(x[a,b])\nm[j,i] max= z[i]",
    "m[i] max= tanh(x[i,k])*x[i,k]\nm[i] max= exp(x[i,k])",
    "m[i//2] max= exp(x[i,k])",
    "m[i+t] max= sin(x[i,k])*z[i] where t < 2",
    "m[i] max= exp(x[i,k])*z[i]",
    "m[k] min= log1p(x[i,k]**2)",
    "m[] max= x[i,k]*tanh(z[i])\nm[] max= tanh(x[i,k]) where k <= i",
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(7, 5), (128, 128), (129, 130), (16_385, 1), (1, 40)])
@pytest.mark.parametrize("text", PROGRAMS)
def test_gradients_of_extrema(text: str, shape: tuple[int, int], layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, f = LAYOUTS[layout](RNG.standard_normal(shape)), RNG.standard_normal(shape[0]), il.compile(text)
    arrays = {t: {"x": x, "z": z}[t] for t in f.inputs}
    derived, names = grad.backward(f.program, f.inputs), grad.gradient_names(f.program)
    dm = RNG.standard_normal(dense.run(f.program, arrays)["m"].shape)
    expected = dense.run(derived, {**arrays, names["m"]: dm})
    for name in ("exp", "tanh", "sin", "log1p"):
        monkeypatch.setattr(np, name, unsteady(getattr(np, name)))
    _, pullback = f.vjp(**arrays)
    for t, gradient in pullback(dm).items():
        np.testing.assert_allclose(gradient, expected[names[t]], rtol=1e-9, atol=1e-12, err_msg=f"{text}: {t}")


def test_positions_of_extrema_are_not_found_by_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window's position is searched where its values are computed, unless they are exact."""
    text = "y[i,c] max= exp(x[i+k,c]) where k < 3\nz[i,c] = argmax[k](exp(x[i+k,c])) where k < 3"
    x = RNG.standard_normal((700, 33))
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, 0)
    monkeypatch.setattr(np, "exp", unsteady(np.exp))
    assert np.array_equal(il.compile(text)(x=x)["z"], windows.argmax(-1))


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        ("x[i]", True),
        ("x[i]*2 - abs(x[i+1])/sqrt(x[i])", True),
        ("x[int(exp(1.0))] + i", True),
        ("where(x[i] > 0, x[i], tanh(x[i]))", False),
        ("exp(x[i])", False),
        ("x[i]**0.25", False),
        ("sum[j](x[j])", False),
    ],
)
def test_what_has_the_same_bits_everywhere(value: str, exact: bool) -> None:
    (stmt,) = resolve(parse(Source(f"y[i] = {value} where i < 4"))).statements
    assert is_exact(stmt.value) is exact
