"""Products under conditions: where some point is admitted for sure, nothing asks for it; elsewhere it is asked."""

from __future__ import annotations

import dense
import numpy as np
import pytest
from planned import sized

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.limits import NUMPY, TINY
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

N = 9
MASKS = [  # and whether some j is admitted for each i
    ("j <= i", True),
    ("i <= j", True),
    ("i - 2 <= j, j <= i", True),
    ("i < j + 2, j < i + 1", True),
    ("j <= i + 2, j <= 8 - i", True),
    ("j < i", False),
    ("i < j", False),
    ("j + 3 <= i", False),
    ("i - 4 <= j, j <= i - 2", False),
    ("j <= i, i + j >= 9", False),
    ("2*j <= i", False),  # it is, but that is not looked for
    ("j <= i, m[i] > 0", False),
]


@pytest.mark.parametrize("bad", [None, np.inf, np.nan])
@pytest.mark.parametrize("limits", [NUMPY, TINY], ids=["numpy", "tiny"])
@pytest.mark.parametrize(("mask", "always"), MASKS, ids=[m for m, _ in MASKS])
def test_what_meets_no_point_adds_nothing(mask: str, always: bool, limits, bad) -> None:  # type: ignore[no-untyped-def]
    text = f"y[b] = x[b,i]*W[i,j]*z[b,j] where {mask}"
    rng = np.random.default_rng(2)
    arrays = {"x": rng.random((64, N)), "W": rng.random((N, N)), "z": rng.random((64, N)), "m": rng.normal(size=N)}
    f = sized(indexlang.compile(text), limits)
    for i in range(N if bad is not None else 1):
        given = {name: a.copy() for name, a in arrays.items() if name in f.inputs}
        if bad is not None:
            given["x"][i, i], given["x"][i + 1, N - 1 - i] = bad, bad
        with np.errstate(all="ignore"):
            expected = dense.run(resolve(parse(Source(text))), given)["y"]
            np.testing.assert_allclose(f(**given), expected, rtol=1e-12)
    if limits is NUMPY and "masked contraction" in str(f.plan(**given)):
        source = f.emit(**given)
        asked = "logical_or.reduce(mask" in source or "logical_or.reduce(np.logical_and(" in source
        assert asked != always


def test_a_bound_in_blocks_of_what_it_bounds() -> None:
    """Of a block of j there may be no point for some i, though there is one in another block."""
    text = "y[b,e] = x[b,i]*W[i,j]*z[b,j]*v[i,e] where j <= i"
    rng = np.random.default_rng(3)
    given = {"x": rng.random((5, 40)), "W": rng.random((40, 40)), "z": rng.random((5, 40)), "v": rng.random((40, 3))}
    given["v"][4, 1] = given["x"][2, 7] = np.inf
    for limits in ({"copy": 64, "block": 64}, {"tile": 1, "call": 1}, {"large": 256}):
        f = sized(indexlang.compile(text), TINY, **limits)
        with np.errstate(all="ignore"):
            expected = dense.run(resolve(parse(Source(text))), given)["y"]
            np.testing.assert_allclose(f(**given), expected, rtol=1e-12)
