"""Products along diagonals: against plain loops, whatever the signs, with what is not finite, and where they pay."""

from __future__ import annotations

from collections.abc import Mapping

import dense
import numpy as np
import pytest
from numpy.typing import NDArray
from planned import sized

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.limits import TINY
from indexlang.plan.verify import verify
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

Arrays = Mapping[str, NDArray[np.generic]]
LIMITS = {"window": 4, "short": 4, "call": 1, "element": 1000}  # few points are worth it
CALLS = {**LIMITS, "call": 1 << 20, "element": 24}  # so is each call less
RNG = np.random.default_rng(7)
T, S, D = 14, 12, 20
FORMS = {"s-t+13": T + S - 1, "t-s+11": T + S - 1, "s+t": T + S - 1, "24-s-t": T + S - 1, "s-t+15": T + S + 3}
SHAPES = {"q": (T, D), "k": (S, D), "v": (S, 2), "p": (T, S), "h": (2, T, D), "w": (T, 3), "g": (2, T, S)}
VALUES = [  # of a position, and how long r is
    ("y[t,e] = q[t,d]*r[{0},d]*v[s,e]", "read"),
    ("y[s,e] = q[t,d]*r[{0},d]*p[t,s]*w[t,e]", "read"),
    ("y[t,d] = p[t,s]*r[{0},d]", "laid"),
    ("y[s,d] = p[t,s]*r[{0},d]/2", "laid"),
    ("y[s,d] += p[t,s]*r[{0},d]", "laid"),
    ("y[t,s] = q[t,d]*r[{0},d]", "read"),
    ("y[t,s] = -(q[t,d]*r[{0},d])*2", "read"),
]
TARGETS = [
    ("y[{0},d] = p[t,s]*q[t,d]", "laid"),
    ("y[{0},d] += p[t,s]*k[s,d]/3", "laid"),
    ("y[{0}] = p[t,s]", "laid"),
    ("y[{0}] = -(q[t,d]*k[s,d])", "laid"),
    ("y[{0},b] = q[t,d]*k[s,d]*h[b,t,d]", ""),
]


def arrays_of(text: str, dtype: str = "float64", n: int = 0) -> dict[str, NDArray[np.generic]]:
    shapes = {**SHAPES, "r": (n, D)}
    return {
        name: RNG.normal(size=shape).astype(dtype)
        for name, shape in shapes.items()
        if f"{name}[" in text.split("\n")[0].split("=", 1)[1]
    }


def cases() -> list[tuple[str, str, int]]:
    found = [(text.format(form), way, n) for text, way in VALUES for form, n in FORMS.items()]
    more = [
        (f"{text.format(form)}\nshape y[{n}{',20' if ',d]' in text.split('=')[0] else ',2' * (',b]' in text)}]", way, n)
        for text, way in TARGETS
        for form, n in FORMS.items()
    ]
    return found + more


CASES = cases()
IDS = [t.replace("\n", "; ") for t, _, _ in CASES]


def loops(text: str, arrays: Arrays) -> NDArray[np.generic]:
    return dense.run(resolve(parse(Source(text))), arrays)["y"]


def limits_of(text: str) -> dict[str, int]:
    return CALLS if "shape" in text else LIMITS


def is_along(f: Function, arrays: Arrays) -> bool:
    return "diagonals" in str(f.plan(**arrays))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("text", "way", "n"), CASES, ids=IDS)
def test_values(text: str, way: str, n: int, dtype: str) -> None:
    arrays = arrays_of(text, dtype, n)
    for f in (sized(indexlang.compile(text), **limits_of(text)), sized(indexlang.compile(text), TINY)):
        verify(f.plan(**arrays))
        tolerance = 1e-12 if dtype == "float64" else 1e-4
        np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=tolerance, atol=tolerance)
    f = sized(indexlang.compile(text), **limits_of(text))
    assert is_along(f, arrays) == bool(way)
    source = f.emit(**arrays)
    assert ("laid" in source) == (way == "laid")


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize(("text", "way", "n"), CASES, ids=IDS)
def test_what_is_not_finite(text: str, way: str, n: int, bad: float) -> None:
    """Zeros between the diagonals meet nothing that is not finite; all is positive, as inf * (a + b) is inf."""
    f = sized(indexlang.compile(text), **limits_of(text))
    given = {name: np.abs(a) for name, a in arrays_of(text, "float64", n).items()}
    for name, array in given.items():
        spoilt = {**given, name: array.copy()}
        for place in (0, array.size // 2, array.size - 1):
            spoilt[name].reshape(-1)[place] = bad
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(f(**spoilt), loops(text, spoilt), rtol=1e-12, err_msg=f"{name} {place}")


@pytest.mark.parametrize("form", ["s-t+13", "24-s-t"])
@pytest.mark.parametrize("limits", [LIMITS, CALLS])
def test_gradients(form: str, limits: dict[str, int]) -> None:
    text = f"y[t,e] = q[t,d]*r[{form},d]*v[s,e]"
    arrays = arrays_of(text, n=T + S - 1)
    g = sized(indexlang.compile(text).grad(), **limits)
    arrays = {**arrays, "y.grad": RNG.normal(size=(T, 2))}
    assert is_along(g, arrays)
    for name, found in g(**arrays).items():
        expected = dense.run(g.program, arrays)[name]
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11, err_msg=name)


def test_of_a_computed_factor_a_strided_input_and_another_type() -> None:
    text = "y[t,e] = exp(q[t,d])*r[s-t+13,d]*tanh(v[s,e])"
    arrays = arrays_of(text, n=25)
    arrays["r"] = RNG.normal(size=(50, 40))[::2, ::2]
    f = sized(indexlang.compile(text), **LIMITS)
    assert is_along(f, arrays)
    np.testing.assert_allclose(f(**arrays), loops(text, {n: a.copy() for n, a in arrays.items()}), rtol=1e-12)
    arrays["r"] = arrays["r"].astype("float32")
    np.testing.assert_allclose(f(**arrays), loops(text, {n: a.copy() for n, a in arrays.items()}), rtol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "y[t,e] = q[t,d]*r[s-t+13,d]*v[s,e] where s <= t",
        "y[t,e] = q[t,d]*r[2*s-t+13,d]*v[s,e]",
        "y[t,e] = q[t,d]*r[s-t+13,d]*r[s+t,d]*v[s,e]",
        "y[t,e] = q[t,d]*r[clamp(s-t+3),d]*v[s,e]",
        "y[t] = p[t,s]*r[s-t+13,0]",
        "y[t,s] max= q[t,d]*r[s-t+13,d]",
    ],
)
def test_what_stays(text: str) -> None:
    arrays = arrays_of(text, n=50)
    f = sized(indexlang.compile(text), **LIMITS)
    assert not is_along(f, arrays)
    np.testing.assert_allclose(f(**arrays), loops(text, arrays), rtol=1e-12, atol=1e-12)


def test_only_where_it_pays() -> None:
    def planned(text: str, **shapes: tuple[int, ...]) -> bool:
        return is_along(
            indexlang.compile(text, backend="numpy"), {n: np.ones(s, np.float32) for n, s in shapes.items()}
        )

    keys = "y[t,e] = q[t,d]*r[s-t+size(q,0)-1,d]*v[s,e]"
    assert planned(keys, q=(64, 32), r=(127, 32), v=(64, 32))
    assert not planned(keys, q=(6, 32), r=(11, 32), v=(6, 32))
    assert not planned("y[t,o] = x[t+k,c]*w[k,c,o]", x=(64, 8), w=(5, 8, 16))  # a convolution
    assert planned("y[s-t+63,d] = p[t,s]*q[t,d]\nshape y[127,16]", p=(64, 64), q=(64, 16))
    assert not planned("y[t+k,d] = x[t,c]*w[k,c,d]\nshape y[68,16]", x=(64, 8), w=(5, 8, 16))


@pytest.mark.parametrize("name", ["u", "k", "p"])
def test_prices_do_not_depend_on_names(name: str) -> None:
    f = indexlang.compile(f"g[{name}] += a[i+{name},j]*y[i,j]")
    assert "diagonals" not in str(f.plan(a=(264, 256), y=(256, 256)))
    a, y = np.random.default_rng(2).normal(size=(264, 256)), np.random.default_rng(3).normal(size=(256, 256))
    np.testing.assert_allclose(f(a=a, y=y), [np.vdot(a[k : k + 256], y) for k in range(9)])
