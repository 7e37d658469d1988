"""Random recurrences: programs that failed once, and some of a fresh seed in every run.

`python -m random_recurrences SEED 0..1000`, with `tests` on the path, is the long run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import pytest
from random_recurrences import ORDER, InvalidError, Sample, generate, tried

import indexlang
from indexlang.errors import IndexLangError
from indexlang.oracle import loops

FRESH, GROUP = 15, 4
# The shapes of what lifting takes out of a block, an operator after `=`, guards that became ranges, tangents that need
# the shape of what is made later, blocks of no steps, conditions of other factors, values that are compared.
HELD: tuple[tuple[str, Mapping[str, tuple[int, ...]]], ...] = (
    (
        """\
h1[0,k] = v[k]
h2[0,k] = v[k]
h3[0,k] = v[k]
for t < size(x,0):
    h0[t+1,k] = tanh(x[t,k] - tanh(x[clamp(t+1),k]))
    h1[t+1,k] = x[t,k] - 0.5 * v[k] + 0.5 * sum[l](w[l,k] * h0[t+1,l])
    h2[t+1,k] = x[t,k] - tanh(x[clamp(t+1),k]) * h3[t,k] * h1[t+1,k]
    h3[t+1,k] *= x[t,k] * h0[t+1,k]
for t:
    z[t,k] = 0.5 * z[pad(t-1),k] + h0[t,k]
""",
        {"x": (3, 3), "v": (3,), "w": (3, 3)},
    ),
    (
        """\
h0[0,k] = v[k]
h1[0,k] = v[k]
h2[0,k] max= v[k]
for t:
    h0[t+1,k] += x[t,k] * u[t] * 0.5 * h2[t,k] - h0[t//2,2]
    h1[t+1,k] = x[t,k] * 0.5 * x[clamp(t+1),k]
    h2[t+1,k] max= tanh(x[t,k])
y += h0[t,k]
""",
        {"x": (5, 3), "v": (3,), "u": (5,)},
    ),
    (
        """\
h2[0,k] = v[k]
for t:
    h0[t+1,k] *= x[t,k] - sin(max[l](w[l,k])) * h1[t,k]
    h1[t+1,k] += tanh(x[t,k] * sin(u[t]) - sin(max[l](h0[t+1,l] + w[l,k]))) where u[t] > 0
    h2[t+1,k] = x[t,k] - h1[t+1,k] where 1 <= t
y += h2[t,k]
""",
        {"x": (5, 3), "v": (3,), "u": (5,), "w": (3, 3)},
    ),
    (
        """\
for t < size(x,0), s < size(x,1):
    h0[t,s,k] = tanh(x[t,s,k] + tanh(max[l](w[l,k]))) where 1 <= t
    h1[t,s,k] = x[t,s,k] - h2[t,pad(s-1),k] + 0.5 * h2[pad(t-1),pad(s-1),2]
    h2[t,s,k] = tanh(x[t,s,k] - sin(max[l](w[l,k])) - h1[pad(t-1),s,k] + tanh(h3[pad(t-1),s,k]))
    h3[t,s,k] += x[t,s,k] - tanh(h1[pad(t-1),pad(s-1),k])
""",
        {"x": (0, 1, 3), "w": (3, 3)},
    ),
    (
        """\
for 1 <= t < size(x,0):
    h0[t,k] = tanh(x[t,k] - 0.5 * h1[t,1] + sin(sum[l](w[l,k] * h2[t-1,l])))
    h1[t,k] = x[t,k] + u[t] * 0.5 * h1[pad(t-2),k]
    h2[t,k] = tanh(x[t,k] - 0.5 * a[])
""",
        {"x": (0, 2), "w": (2, 2), "a": (), "u": (0,)},
    ),
    (
        """\
for t:
    for s:
        h0[t,s,k] = x[t,s,k] * tanh(u[t]) + 0.5 * h1[pad(t-1),s,k] where k <= t
        h1[t,s,k] = x[t,s,k]
        h2[t,s,k] += tanh(x[t,s,k] + tanh(h1[pad(t-1),s,1]) - tanh(h1[t,s,1]))
""",
        {"x": (3, 2, 2), "u": (3,)},
    ),
    (
        """\
for t:
    h0[t,k] *= tanh(x[t,k] + sin(a[]) - sin(h2[pad(t-2),k]))
    h1[t,k] max= x[t,k] where t % 2 == 0
    h2[t,k] += x[t,k]
for t:
    z[t,k] = 0.5 * z[pad(t-1),k] + h0[t,k]
""",
        {"x": (1, 2), "a": ()},
    ),
    (
        """\
h0[0,k] = v[k]
h1[0,k] *= v[k]
h2[0,k] = v[k]
h3[0,k] = v[k]
for t:
    h0[t+1,k] max= x[t,k] - tanh(max[l](w[l,k]))
    h1[t+1,k] *= tanh(x[t,k]) where 1 <= t
    h2[t+1,k] += x[t,k]
    h3[t+1,k] = x[t,k] - v[k] + tanh(h1[t,2]) - sin(h1[t,k])
""",
        {"x": (1, 3), "v": (3,), "w": (3, 3)},
    ),
    (
        """\
h0[0,k] max= v[k]
h1[0,k] = v[k]
for t:
    h0[t+1,k] max= x[t,k] * tanh(u[t]) * tanh(h0[t,k]) * tanh(h0[t,k])
    h1[t+1,k] += x[t,k] * v[k]
    total += h1[t+1,k]
""",
        {"x": (0, 3), "v": (3,), "u": (0,)},
    ),
    (
        """\
for t:
    h1[t,k] += tanh(x[t,k] * 0.5 * h0[pad((t-1)//2),k]) where t % 2 == 0
    h0[t,k] = tanh(x[t,k] * tanh(v[k]))
    h1[t,k] += x[t,k] + 0.5 * h0[t,1] + tanh(h0[t,k])
    total += h1[t,k]
y += h1[t,k]
""",
        {"x": (4, 2), "v": (2,)},
    ),
    (
        """\
for t, s:
    h0[t,s,k] max= x[t,s,k] - tanh(max[l](w[l,k])) where u[t] > 0
    h0[t,s,k] max= x[t,s,k]
    h1[t,s,k] += tanh(x[t,s,k] * 0.5 * h0[t,s,1] - 0.5 * h0[t,s,k])
""",
        {"x": (0, 1, 2), "u": (0,), "w": (2, 2)},
    ),
    (
        """\
for t, s:
    h0[t,s,k] max= tanh(x[t,s,k] * h1[pad(t-1),s,k])
    h1[t,s,k] = tanh(x[t,s,k] * sin(u[t]))
y += h1[t,s,k]
""",
        {"x": (0, 1, 3), "u": (0,)},
    ),
    (
        """\
for 1 <= t < size(x,0):
    h0[t,k] = x[t,k] + 0.5 * max[l](w[l,k]) * sin(h1[t-1,2]) * sin(h1[pad(t-2),2]) where u[t] > 0
    h1[t,k] = x[t,k]
""",
        {"x": (4, 3), "u": (4,), "w": (3, 3)},
    ),
)


def assert_right(sample: Sample, backend: str = "numpy") -> None:
    try:
        found = list(tried(sample, backend))
    except InvalidError:
        return
    assert not found, f"{sample.name}\n{sample.text}" + "\n".join(found)


@pytest.mark.parametrize("number", range(len(HELD)))
def test_held_programs(number: int) -> None:
    text, shapes = HELD[number]
    rng = np.random.default_rng(number)
    arrays = {
        name: rng.integers(0, 3, shape) if name in ("len", "at") else rng.uniform(-1, 1, shape)
        for name, shape in shapes.items()
    }
    assert_right(Sample(f"held {number}", text, arrays))


@pytest.mark.parametrize("group", range(FRESH))
def test_fresh_programs(group: int) -> None:
    for number in range(GROUP):
        assert_right(generate(f"{os.environ['INDEXLANG_SEED']}:{group * GROUP + number}"))


def test_fresh_programs_by_native_code() -> None:
    for number in range(3):
        assert_right(generate(f"{os.environ['INDEXLANG_SEED']}:{-1 - number}"), "native")


EARLY = (
    ("for t:\n    h[t] = x[t] + g[t]\n    g[t] = h[pad(t-1)]\n", {"x": (4,)}),
    ("for t:\n    h[t] = x[t] + h[pad(t+1)]\n", {"x": (4,)}),
    ("for t reversed:\n    h[t] = x[t] + h[pad(t-1)]\n", {"x": (4,)}),
    ("for t:\n    h[t] = x[t] + h[wrap(t+3)]\n", {"x": (4,)}),
    ("for t:\n    h[t] = x[t] + sum[s](h[s]) where s <= t, s < 4\n", {"x": (4,)}),
    ("for t:\n    h[t] = x[t] + h[pad(at[t])]\n", {"x": (4,), "at": (4,)}),
    ("for t, s:\n    h[t,s] = x[t,s] + h[pad(t-1),pad(s+1)] * h[t,pad(s+1)]\n", {"x": (3, 3)}),
    ("for t:\n    for s:\n        h[t,s] = x[t,s] + h[t,pad(s+1)]\n", {"x": (3, 3)}),
    ("for t:\n    s += x[t]\n    h[t] = s[] + x[t]\n", {"x": (4,)}),
    ("for t:\n    h[t] += x[t]\n    g[t] = h[t] + h[pad(t-1)]\n    h[t] += g[t]\n", {"x": (4,)}),
    ("for t:\n    h[t] += x[t]\n    g[t] = h[t]\n    h[pad(t-1)] += x[t]\n", {"x": (4,)}),
    ("for t:\n    h[t] max= x[t] * h[clamp(t-1)]\n", {"x": (4,)}),
)


@pytest.mark.parametrize("backend", ["numpy", "native"])
@pytest.mark.parametrize(("text", "shapes"), EARLY)
def test_what_is_read_too_early_is_no_value(text: str, shapes: Mapping[str, tuple[int, ...]], backend: str) -> None:
    """The loops refuse it where the compiler does not, and the product does in any case."""
    arrays = {n: np.full(s, 3) if n == "at" else np.ones(s) for n, s in shapes.items()}

    def tried_out() -> None:
        f = indexlang.compile(text, backend=backend)
        with pytest.raises(ValueError, match="after it was read"):
            loops.run(f.program, arrays)
        f(**arrays)

    with pytest.raises(IndexLangError) as error:
        tried_out()
    assert error.value.problems[0].code in ORDER
