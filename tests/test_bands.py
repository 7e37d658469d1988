"""Tensors of which only a band is read: values and gradients as over the whole, in the memory of the band."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dense
import numpy as np
import pytest

import indexlang as il
from indexlang.calls.function import Function
from indexlang.derive.grad import backward
from indexlang.plan.derived import fitted
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.program.text import to_text

WHOLE = replace(NUMPY, banded=1 << 60)
SMALL = replace(NUMPY, banded=16, tile=2, call=16)
MASKS = {
    "causal band": "s <= t, t < s + 5",
    "around": "abs(t - s) <= 3",
    "blocks": "t//8 == s//8",
    "causal blocks": "t//8 == s//8, s <= t",
    "the block before": "t//4 == s//4 + 1",
    "ahead": "t < s, s < t + 9",
    "steps of two": "2*t <= s, s <= 2*t + 3",
    "a band and data": "s <= t, t < s + 5, k[s,0] > 0",
}
SOFTMAX = """
l[t,s] = q[t,d]*k[s,d]
m[t] max= l[t,s] where {mask}
e[t,s] = exp(l[t,s] - m[t]) where {mask}
z[t] = e[t,s]
y[t,c] = e[t,s]*v[s,c] / z[t]
"""
PROGRAMS = {
    "softmax": SOFTMAX,
    "logsumexp": """
l[t,s] = q[t,d]*k[s,d]
z[t] = logsumexp[s](l[t,s]) where {mask}
p[t,s] = exp(l[t,s] - z[t]) where {mask}
y[t,c] = p[t,s]*v[s,c]
""",
    "a bias by distance": """
l[t,s] = q[t,d]*k[s,d]
l[t,s] += w[t-s+size(k,0)-1]
e[t,s] = exp(l[t,s]) where {mask}
z[t] = 1 + 0*q[t,0]
z[t] += e[t,s]
y[t,c] = e[t,s]*v[s,c] / z[t]
""",
    "sums of columns": """
l[t,s] = q[t,d]*k[s,d]
e[t,s] = exp(l[t,s]) where {mask}
z[s] = e[t,s]
y[t,c] = e[t,s]*v[s,c] / (1 + z[s])
""",
    "heads": """
l[h,t,s] = q[t,d]*k[s,d]*g[h]
e[h,t,s] = exp(l[h,t,s]) where {mask}
z[h,t] = e[h,t,s]
y[h,t,c] = e[h,t,s]*v[s,c] / (1 + z[h,t])
""",
    "transposed": """
l[s,t] = q[t,d]*k[s,d]
e[t,s] = l[s,t]**2 where {mask}
y[t,c] = e[t,s]*v[s,c]
""",
    "choices": """
l[t,s] = q[t,d]*k[s,d]
e[t,s] = where({both}, exp(l[t,s]), 0)
z[t] = e[t,s]
y[t,c] = e[t,s]*v[s,c] / (1 + z[t])
""",
    "minus infinity": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
p[t,s] = exp(l[t,s] - logsumexp[r](l[t,r]))
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity, the other way round": """
x[t,s] = q[t,d]*k[s,d]
l[t,s] = where(not ({both}), -inf, x[t,s]/2)
m[t] max= l[t,s]
e[t,s] = exp(l[t,s] - m[t])
z[t] = e[t,s]
y[t,c] = e[t,s]*v[s,c] / z[t]
""",
    "minus infinity, in a choice inside of one": """
l[t,s] = where(t < 0 or not ({both}), -inf, where(s >= 0, sum[d](q[t,d]*k[s,d]), -inf))
p[t,s] = exp(l[t,s] - logsumexp[r](l[t,r]))
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity, transposed": """
l[s,t] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
p[t,s] = exp(l[s,t] - q[t,0])*k[s,0]
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity, also read elsewhere": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
p[t,s] = exp(l[t,s]) + tanh(l[t,s])
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity under a mask": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf) where q[t,0] > 0
p[t,s] = exp(l[t,s] - q[t,1])
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity in a part": """
shape l[size(q,0),size(k,0)]
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf) where s < 20
p[t,s] = exp(l[t,s] - q[t,1])
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity in whole rows": """
l[t,s] = where({both} and t > 3, sum[d](q[t,d]*k[s,d]), -inf)
p[t,s] = exp(l[t,s] - logsumexp[r](l[t,r]))
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity in two factors": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
h[t,s] = where({both}, q[t,0]*k[s,1], -inf)
p[t,s] = exp(l[t,s])*exp(h[t,s])
y[t,c] = p[t,s]*v[s,c]
""",
    "minus infinity beside a factor": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
x[t,s] = q[t,d]*k[s,d]
p[t,s] = exp(l[t,s] + x[t,s])*x[t,s]
y[t,c] = p[t,s]*v[s,c]/2
""",
    "minus infinity beside a maximum": """
l[t,s] = where({both}, sum[d](q[t,d]*k[s,d]), -inf)
p[t,s] = exp(l[t,s])
x[t,s] max= q[t,d]*k[s,d] where s > 3
h[t,s] = p[t,s]*x[t,s]
y[t,c] = h[t,s]*v[s,c]
""",
    "products under a mask": """
e[t,s] *= q[t,d] + k[s,d] where {mask}
y[t,c] = e[t,s]*v[s,c]
""",
    "maxima under a mask": """
e[t,s] max= q[t,d]*k[s,d] where {mask}
y[t,c] = tanh(e[t,s])*v[s,c]
""",
    "a mask of rows in a logsumexp": """
l[t,s] = q[t,d]*k[s,d]
z[t] = logsumexp[s](l[t,s]) where {both} and t < 20
y[t] = exp(z[t])*q[t,0]
""",
    "positions by data": """
l[t,s] = q[t,d]*k[s,d]
e[t,s] = exp(l[t,s]) where {mask}
y[t,c] = e[t,s]*v[n[s],c] where n[s] >= 0
""",
    "an index that only counts": """
l[t,s] = q[t,d]*k[s,d]
e[t,s] = exp(l[t,s]) where {mask}, u < 3
y[t,c] = e[t,s]*v[s,c] where u < 2
""",
    "counting beside a product": "y[t,c] = q[t,d]*k[s,d]*v[s,c] where {mask}, u < 3",
    "in one statement": "y[t,c] = q[t,d]*k[s,d]*v[s,c] where {mask}",
}


def text_of(program: str, mask: str) -> str:
    both = " and ".join(f"({part})" for part in MASKS[mask].split(", "))
    return PROGRAMS[program].replace("{mask}", MASKS[mask]).replace("{both}", both)


def inputs_of(program: str, rows: int, columns: int, seed: int, dtype: str = "float64") -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"q": (rows, 3), "k": (columns, 3), "v": (columns, 2)}
    shapes |= {"w": (rows + columns - 1,)} if "w[" in program else {}
    shapes |= {"g": (2,)} if "g[" in program else {}
    made = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items() if f"{name}[" in program}
    return made | ({"n": rng.integers(-1, columns, columns)} if "n[s]" in program else {})


def limited(text: str, limits: Limits) -> Function:
    return Function(il.compile(text, outputs=["y"]).program, limits=limits)


def is_banded(f: Function, inputs: dict[str, Any], limits: Limits) -> bool:
    sizes, dtypes = ({name: getattr(x, of) for name, x in inputs.items()} for of in ("shape", "dtype"))
    dtypes = {name: dtype.name for name, dtype in dtypes.items()}
    wrt = f._reached
    found = fitted(f.program, lambda: f._valued(wrt), f._gradients, sizes, dtypes, limits)
    return found is not None and "(a,b)" in to_text(found.program)


def assert_equal(found: Any, right: Any, near: float) -> None:
    """What is finite is equal; in another order of products, what is not may be nan or infinite."""
    finite = np.isfinite(right)
    np.testing.assert_array_equal(np.isfinite(found), finite)
    np.testing.assert_allclose(np.asarray(found, "float64")[finite], right[finite], rtol=near, atol=near)


@pytest.mark.parametrize(("rows", "columns", "limits"), [(64, 64, SMALL), (37, 67, SMALL), (30, 33, TINY)])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_values_and_gradients_are_those_of_loops(
    program: str, mask: str, rows: int, columns: int, limits: Limits
) -> None:
    text = text_of(program, mask)
    f, inputs = limited(text, limits), inputs_of(text, rows, columns, 5)
    right = dense.run(f.program, inputs)["y"]
    here = np.isfinite(right).all()  # rows that see nothing are divided by 0
    assert_equal(f(**inputs), right, 1e-9)
    y, pull = f.vjp(**inputs)
    assert_equal(y, right, 1e-9)
    if here:
        dy = np.random.default_rng(6).standard_normal(y.shape)
        gradients = dense.run(backward(f.program, None), {**inputs, "y.grad": dy})
        for name, value in pull(dy).items():
            assert_equal(value, gradients[f"{name}.grad"], 1e-8)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_derived_program_by_itself(program: str) -> None:
    text = text_of(program, "causal band")
    f, inputs = limited(text, SMALL), inputs_of(text, 37, 67, 5)
    inputs["y.grad"] = np.random.default_rng(6).standard_normal(f(**inputs).shape)
    gradients = dense.run(backward(f.program, None), inputs)
    for name, value in f.grad()(**{n: a for n, a in inputs.items() if n in f.grad().inputs}).items():
        assert_equal(value, gradients[name], 1e-8)


@pytest.mark.parametrize("mask", ["causal band", "around", "blocks", "the block before", "ahead"])
@pytest.mark.parametrize(
    "program", [p for p in PROGRAMS if p != "minus infinity in a part"]
)  # what is not reached is 0
def test_they_are_kept_as_bands(program: str, mask: str) -> None:
    text = text_of(program, mask)
    assert is_banded(limited(text, SMALL), inputs_of(text, 64, 64, 5), SMALL)


@pytest.mark.parametrize("where", ["q", "v", "dy"])
@pytest.mark.parametrize("bad", [-np.inf, np.nan])
@pytest.mark.parametrize("mask", ["causal band", "blocks"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_not_finite_is_as_over_the_whole(program: str, mask: str, bad: float, where: str) -> None:
    text = text_of(program, mask)
    inputs = inputs_of(text, 48, 48, 7, "float32")
    f, whole = limited(text, SMALL), limited(text, WHOLE)
    dy = np.random.default_rng(8).standard_normal(whole(**inputs).shape).astype("float32")
    if where not in {**inputs, "dy": dy}:
        pytest.skip(f"{where} is no input of it")
    {**inputs, "dy": dy}[where].reshape(-1)[17] = bad
    with np.errstate(all="ignore"):
        (y, pull), (right, other) = f.vjp(**inputs), whole.vjp(**inputs)
        found, gradients = pull(dy), other(dy)
    assert_equal(y, right, 2e-4)
    for name, value in gradients.items():
        assert_equal(found[name], value, 2e-3)


NEAR = "s <= t, t < s + 32"


@pytest.mark.parametrize("n", [700, 1024])
def test_at_real_sizes_as_by_numpy(n: int) -> None:
    f = il.compile(SOFTMAX.replace("{mask}", NEAR))
    rng = np.random.default_rng(9)
    q, k, v, dy = (rng.standard_normal((n, 16)) for _ in range(4))
    y, pull = f.vjp(q=q, k=k, v=v)
    found = pull(dy)
    t, s = np.arange(n)[:, None], np.arange(n)
    scores = np.where((s <= t) & (t < s + 32), q @ k.T, -np.inf)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    dp = dy @ v.T
    dl = p * (dp - (p * dp).sum(1, keepdims=True))
    for value, right in ((y, p @ v), (found["v"], p.T @ dy), (found["q"], dl @ k), (found["k"], dl.T @ q)):
        assert_equal(value, right, 1e-9)


@pytest.mark.parametrize("program", ["softmax", "logsumexp", "minus infinity", "minus infinity, the other way round"])
@pytest.mark.parametrize("mask", [NEAR, "t//64 == s//64", "abs(t - s) <= 40", "s//32 == t//32 + 1"])
def test_memory_is_that_of_the_band(mask: str, program: str) -> None:
    f = il.compile(PROGRAMS[program].replace("{mask}", mask).replace("{both}", mask.replace(", ", " and ")))
    shapes = {name: (1 << 20, 32) for name in "qkv"}
    most = 2 if f.backend == "numpy" else 3  # GB; nests do not go through blocks. The whole scores would be 4.4 TB
    assert f.plan(**shapes).workspace < most << 30
    assert f.grad().plan(**shapes, **{"y.grad": (1 << 20, 32)}).workspace < 4 << 30


@pytest.mark.parametrize(
    "last",
    ["y[t,c] = e[t,s]*v[s,c]\nx[t,s] = e[t,s]", "y[t,c] = (e[t,s] + 1)*v[s,c]", "y[t,c] = e[t,s]*v[s,c]/l[t,s]",
     "y[t] max= e[t,s]", "y[t] = e[t,s]*e[t,s+1] where s < 63", "y[t] = exp(e[t,s])"],
)  # fmt: skip
def test_what_is_read_elsewhere_is_kept_whole(last: str) -> None:
    text = f"l[t,s] = q[t,d]*k[s,d]\ne[t,s] = exp(l[t,s]) where s <= t, t < s + 5\n{last}"
    inputs = inputs_of(text, 64, 64, 5)
    program = il.compile(text).program
    f = Function(program, limits=SMALL)
    inputs = {n: a for n, a in inputs.items() if n in f.inputs}
    found, right = f(**inputs), dense.run(program, inputs)
    found = found if isinstance(found, dict) else {f.outputs[0]: found}
    for name, value in right.items():
        assert_equal(found[name], value, 1e-9)
    assert "e_band" not in str(f.plan(**inputs))


@pytest.mark.parametrize("limits", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize("n", [64, 61])
@pytest.mark.parametrize("mask", ["causal band", "around", "blocks", "ahead"])
@pytest.mark.parametrize(
    "last",
    ["h[t,c] = e[t,s]*v[s,c]\ny[t,c] = e[t,s]*h[s,c]", "z[t] = e[t,s]\nz[s] += e[t,s]\ny[t,c] = e[t,s]*v[s,c]*z[s]"],
)
def test_a_tensor_may_stand_for_rows_and_for_columns(last: str, mask: str, n: int, limits: Limits) -> None:
    """A gradient has the shape of its tensor: those of rows and of columns are of different ones."""
    f = limited(f"e[t,s] = exp(-v[t,0]*v[s,0]) where {MASKS[mask]}\n{last}", limits)
    v = np.random.default_rng(n).standard_normal((n, 2)) / 3
    right = dense.run(f.program, {"v": v})["y"]
    y, pull = f.vjp(v=v)
    dy = np.random.default_rng(6).standard_normal(y.shape)
    assert_equal(y, right, 1e-9)
    assert_equal(pull(dy)["v"], dense.run(backward(f.program, None), {"v": v, "y.grad": dy})["v.grad"], 1e-8)


@pytest.mark.parametrize("limits", [SMALL, TINY], ids=["small", "tiny"])
@pytest.mark.parametrize("mask", ["causal band", "around", "blocks", "ahead"])
@pytest.mark.parametrize(
    "text",
    [
        "y[(h,t),c] = r[t,h,d]*k[s,d]*v[s,c] where {m}",
        "y[t,c] = p[(h,t),d]*k[s,d]*v[s,c] where {m}, h < 2",
        "y[t,c] = q[t,d]*l[(s,h),d]*v[s,c] where {m}, h < 2",
        "e[t,s] = exp(sum[d](q[t,d]*l[(s,h),d])) where {m}, h < 2\ny[(t,h),c] = e[t,s]*v[s,c] where h < 2",
    ],
)
def test_rows_and_columns_in_merged_axes(text: str, mask: str, limits: Limits) -> None:
    f = limited(text.replace("{m}", MASKS[mask]), limits)
    rng = np.random.default_rng(2)
    shapes = {"r": (61, 2, 3), "p": (122, 3), "q": (61, 3), "k": (61, 3), "l": (122, 3), "v": (61, 2)}
    inputs = {name: rng.standard_normal(shapes[name]) for name in f.inputs}
    y, pull = f.vjp(**inputs)
    dy = rng.standard_normal(y.shape)
    assert_equal(y, dense.run(f.program, inputs)["y"], 1e-9)
    gradients = dense.run(backward(f.program, None), {**inputs, "y.grad": dy})
    for name, value in pull(dy).items():
        assert_equal(value, gradients[f"{name}.grad"], 1e-8)


def test_a_gradient_that_is_whole_beside_a_tensor_that_is_not() -> None:
    """Its shape was that of the tensor, of which only blocks are left."""
    f = limited("h[i,j,0] = x[i,j]\ny[k,l] = h[k,m,l] where m < 16, m == k", TINY)
    x, dy = np.random.default_rng(3).standard_normal((16, 16)), np.arange(16.0)[:, None]
    y, pull = f.vjp(x=x)
    assert_equal(y, np.diag(x)[:, None], 1e-12)
    assert_equal(pull(dy)["x"], np.diag(dy[:, 0]), 1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "y[b,i] = x[2*i,i]*q[b,d]*k[i,d] where i//2 == b//2, i < 30, b < 61",
        "y[i] = x[i%2,j]*q[i,d] where j == l, l < 31, j < 31",
        "y[2*i,i] += q[i,d]*k[j,d] where i//2 == j//2, i < 30, j < 61",
        "shape y[9,61]\ny[i+j,t] += x[i,j]*q[t,d]*k[s,d] where t//2 == s//2, i < 4, j < 5",
        "shape y[3,61]\ny[pad(i+j-1),t] += x[i,j]*q[t,d]*k[s,d] where abs(t - s) <= 2, i < 4, j < 5",
        "shape y[3,61]\ny[clamp(i+j-1),t] = x[i,j]*q[t,d]*k[s,d] where s <= t, t < s + 3, i < 4, j < 5",
        "y[(i,j),s] = x[i,j]*q[t,d]*k[s,d] where s <= t, t < s + 3, i < 4, j < 5",
        "y[(i,j),t] max= x[i,j]*q[t,d]*k[s,d] where s <= t, t < s + 3, i < 4, j < 5",
        "y[t,t2] = q[t,d]*k[s,d]*x[t2,s2]*k[s,e] where t//2 == s//2, t2 < 7, s2 < 5",
    ],
)
def test_other_subscripts_of_a_target(text: str) -> None:
    """Where an index stands twice, where windows meet, and where axes are merged; also in the target of a gradient."""
    f = limited(text, TINY)
    rng = np.random.default_rng(2)
    shapes = {"x": (61, 31), "q": (61, 3), "k": (61, 3)}
    inputs = {name: rng.standard_normal(shapes[name]) for name in f.inputs}
    y, pull = f.vjp(**inputs)
    dy = rng.standard_normal(y.shape)
    assert_equal(y, dense.run(f.program, inputs)["y"], 1e-9)
    gradients = dense.run(backward(f.program, None), {**inputs, "y.grad": dy})
    for name, value in pull(dy).items():
        assert_equal(value, gradients[f"{name}.grad"], 1e-8)
