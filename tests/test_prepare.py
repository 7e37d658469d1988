"""Embedded reductions as statements of their own: as a person would write them, and with the same values."""

from __future__ import annotations

import numpy as np
import pytest
from corpus import CASES, Case

import indexlang
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.program.ir import Program, Reduce, parts_of
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.rewrite.hoist import hoist
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


WRITTEN = {
    "y[i] = x[i] / sum[k](x[k]**2)": """
        sum_x = x[k]**2
        y[i] = x[i] / sum_x
    """,
    "p[b,i] = exp(x[b,i]) / sum[k](exp(x[b,k]))": """
        sum_x[b] = exp(x[b,k])
        p[b,i] = exp(x[b,i]) / sum_x[b]
    """,
    "y[i] = x[i] * prod[k](z[i,k])": """
        prod_z[i] *= z[i,k]
        y[i] = x[i] * prod_z[i]
    """,
    # a mean is divided by the number of its points, which masks make a tensor
    "y[i,j] = x[i,j] - mean[k](x[i,k])": """
        sum_x[i] = x[i,k]
        y[i,j] = x[i,j] - sum_x[i] / size(x,1)
    """,
    "y[i] = mean[k](x[i,k]) where 1 <= k < 3": """
        sum_x[i] = x[i,k] where 1 <= k < 3
        y[i] = sum_x[i] / 2
    """,
    "y[i] = mean[j,k](x[i,j,k]) where k <= i": """
        count_x[i] = 1 where i < size(x,0), k < size(x,2), k <= i
        sum_x[i] = x[i,j,k] where k <= i
        y[i] = sum_x[i] / (count_x[i] * size(x,1))
    """,
    # logsumexp, argmax and argmin stay reductions, as all of a statement's value
    "k[i] = argmax[j](x[i,j])": "k[i] = argmax[j](x[i,j])",
    "y[i,j] = x[i,j] - logsumexp[k](x[i,k])": """
        logsumexp_x[i] = logsumexp[k](x[i,k])
        y[i,j] = x[i,j] - logsumexp_x[i]
    """,
    "y[i] = z[i,argmin[k](z[i,k])]": """
        argmin_z[i] = argmin[k](z[i,k])
        y[i] = z[i,argmin_z[i]]
    """,
    "y = logsumexp[k](x[i,k]) where i < 2": """
        logsumexp_x[i] = logsumexp[k](x[i,k]) where i < 2
        y = logsumexp_x[i] where i < 2
    """,
    # what is a reduction as a whole becomes the statement's
    "y[i] = sum[j](exp(x[i,j] - max[k](x[i,k])))": """
        max_x[i] max= x[i,k]
        y[i] = exp(x[i,j] - max_x[i])
    """,
    "y = sum[j](A[i,j])": "y = A[i,j]",
    "y[i] max= max[k](x[i,k])": "y[i] max= x[i,k]",
    "y[i] = sum[k](x[i] + z[k])": "y[i] = (x[i] + z[k]) * 1",
    # equal ones are made once, under any names of their indices
    "y[i] = sum[k](x[i,k]) / sum[l](x[i,l])": """
        sum_x[i] = x[i,k]
        y[i] = sum_x[i] / sum_x[i]
    """,
    "h[i] = x[i] / sum[k](x[k])\ng[j] = x[j] * sum[l](x[l])": """
        sum_x = x[k]
        h[i] = x[i] / sum_x
        g[j] = x[j] * sum_x
    """,
    "h[i,j] = x[i,j] / sum[k](x[i,k])\ng[j,i] = x[j,i] / sum[k](x[i,k]) where i < 2": """
        sum_x[i] = x[i,k]
        h[i,j] = x[i,j] / sum_x[i]
        sum_x2[i] = x[i,k] where i < 2
        g[j,i] = x[j,i] / sum_x2[i] where i < 2
    """,
    # names that are taken
    "sum_x[i] = x[i] / sum[k](x[k])": """
        sum_x2 = x[k]
        sum_x[i] = x[i] / sum_x2
    """,
    # in a mask, in front of an ellipsis
    "y[i] = x[i] where x[i] > mean[k](x[k])": """
        sum_x = x[k]
        y[i] = x[i] where x[i] > sum_x / size(x,0)
    """,
    "y[...,i] = x[...,i] * sum[k](x[...,k])": """
        sum_x[...] = x[...,k]
        y[...,i] = x[...,i] * sum_x[...]
    """,
    # ranges and masks come along: those of the surroundings, where they decide what is used at all
    "y[i] = x[i] * sum[k](A[i,k]) where i < 2, i != 1, k < i": """
        sum_A[i] = A[i,k] where i < 2, k < i, i != 1
        y[i] = x[i] * sum_A[i] where i < 2, i != 1
    """,
    "p[t,u] = s[t,u] - logsumexp[w](s[t,w]) where u <= t, w <= t": """
        logsumexp_s[t] = logsumexp[w](s[t,w]) where w <= t
        p[t,u] = s[t,u] - logsumexp_s[t] where u <= t
    """,
    "y[i,j] = sum[k](log(x[i,k])) * z[j] where m[i,j] > 0": """
        used_x[i] = 1 where m[i,j] > 0
        sum_x[i] = log(x[i,k]) where used_x[i] > 0
        y[i,j] = sum_x[i] * z[j] where m[i,j] > 0
    """,
    "y[i] = where(n[i] > 0, sum[k](log(x[i,k])), 0)": """
        sum_x[i] = log(x[i,k]) where n[i] > 0
        y[i] = where(n[i] > 0, sum_x[i], 0)
    """,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_written(text: str) -> None:
    lines = [line.strip() for line in to_text(hoist(program(text))).splitlines() if not line.startswith("layer")]
    assert lines == [line.strip() for line in WRITTEN[text].strip().splitlines()]


@pytest.mark.parametrize("text", WRITTEN)
def test_parses_back(text: str) -> None:
    hoisted = hoist(program(text))
    verify(hoisted)
    assert program(to_text(hoisted)) == hoisted
    assert hoist(hoisted) is hoisted


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_the_values_stay(case: Case) -> None:
    given = resolve(parse(Source(case.text)), case.layer, case.options)
    hoisted = hoist(given)
    verify(hoisted)
    embedded = [p for s in hoisted.statements for p in parts_of(s) if isinstance(p, Reduce) and p is not s.value]
    assert not embedded
    if not any(isinstance(p, Reduce) for s in given.statements for p in parts_of(s)):
        assert hoisted is given
        return
    expected = loops.run(given, case.arrays())
    found = loops.run(hoisted, case.arrays())
    assert {n: a.dtype for n, a in found.items()} == {n: a.dtype for n, a in expected.items()}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12)


def test_a_plan_shows_sums_as_they_are_written() -> None:
    f = indexlang.compile("y[t] = u[t] * sum[s](x[s] + z[t]) where s <= t")
    text = str(f.plan(u=np.ones(3), x=np.ones(4), z=np.ones(3)))
    assert "sum_x[t] = sum[s](x[s] + z[t]) where s <= t\n" in text and "* 1" not in text


UNREAD = [
    "y[i,j] = sum[k](log(x[i,k])) * z[j] where m[i,j] > 0",
    "y[i] = sum[k](log(x[i,k])) where m[i,0] > 0",
    "y[i] = where(m[i,0] > 0, sum[k](log(x[i,k])), 0)",
    "y[i] = where(m[i,0] > 0, max[k](log(x[i,k])) * logsumexp[l](log(x[i,l])), 0)",
]


@pytest.mark.parametrize("text", UNREAD)
def test_what_is_left_out_gives_no_nan_to_a_gradient(text: str) -> None:
    x = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, np.nan]])
    m = np.array([[1.0, 1.0], [0.0, 0.0]])
    arrays = {"x": x, "m": m, "z": np.array([1.0, 2.0])}
    f = indexlang.compile(text)
    y, pullback = f.vjp(**{n: arrays[n] for n in f.inputs})
    gradient = pullback(np.ones_like(y))["x"]
    assert np.isfinite(y).all() and np.isfinite(gradient).all()
    assert not gradient[1].any() and gradient[0].any()


def test_nothing_is_read_that_a_mask_refuses() -> None:
    f = indexlang.compile("y[i,j] = z[j] * sum[k](x[p[i],k]) where q[i,j] > 0")
    x, z = np.ones((2, 3)), np.ones(2)
    p, q = np.array([0, 7]), np.array([[0, 1], [0, 0]])  # 7 is out of range, and not used
    assert f(x=x, z=z, p=p, q=q).tolist() == [[0, 3], [0, 0]]
    with pytest.raises(indexlang.ShapeError, match="out of range"):
        f(x=x, z=z, p=p, q=np.array([[0, 1], [0, 1]]))


def test_an_end_that_is_written_may_lie_behind_an_axis() -> None:
    """Then it stays written where the reduction is a statement of its own: here `w` ends before `j` does."""
    f = indexlang.compile("y = x[i] * max[k,l](w[l,j]) where j < 2, k < 1, j <= i")
    given = {"x": np.array([3.0]), "w": np.array([[5.0], [7.0]])}
    y, pull = f.vjp(**given)
    found = pull(1.0)
    assert float(y) == 21.0
    assert {n: g.tolist() for n, g in found.items()} == {"x": [7.0], "w": [[0.0], [3.0]]}
