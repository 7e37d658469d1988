"""Differences of pairs that matrices multiply: by points where no pair is close, else as they are written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.random import default_rng
from numpy.typing import NDArray
from planned import sized

import indexlang as il
from indexlang.plan.limits import NUMPY, TINY, Limits
from indexlang.plan.planning import every
from indexlang.plan.verify import verify

Array = NDArray[Any]

pytestmark = pytest.mark.filterwarnings("ignore::indexlang.errors.IndexLangWarning")

TEXTS = {
    "by a factor": "z[i,j,e] = L[d,e]*(x[i,d] - y[j,d])\nD[i,j] = z[i,j,e]**2",
    "in one line": "D[i,j] = (sum[d](L[d,e]*(x[i,d] - y[j,d])))**2",
    "halved, transposed": "z[j,e,i] = -(x[i,d] - y[j,d])*L[d,e]/3\nD[i,j] = z[j,e,i]**2*0.5",
    "other names": "z[i,j,e] = L[d,e]*(x[i,d] - y[j,d])\nD[j,e] = z[j,e,i]**2",
    "weighed": "z[i,j,e] = L[d,e]*(x[i,d] - y[j,d])\nD[i,j] = a[e]*z[i,j,e]**2",
    "of a kernel": "D[i,j] = exp(-sum[e]((sum[d](L[d,e]*(x[i,d] - y[j,d])))**2)/200)",
    "the distance": "D[i,j] = sqrt(sum[e]((sum[d](L[d,e]*(x[i,d] - y[j,d])))**2))",
    "of itself": "D[i,j] = (sum[d](L[d,e]*(x[i,d] - x[j,d])))**2",
    "a form": "D[i,j] = (x[i,d] - y[j,d])*P[d,e]*(x[i,e] - y[j,e])",
    "a form in a root": "D[i,j] = sqrt(1 + abs(sum[d,e]((x[i,d] - y[j,d])*P[d,e]*(x[i,e] - y[j,e]))))",
    "a form of itself": "D[i,j] = (x[i,d] - x[j,d])*P[d,e]*(x[i,e] - x[j,e])",
    "a form of names": "z[i,j,d] = x[i,d] - y[j,d]\nD[i,j] = z[i,j,d]*P[d,e]*z[i,j,e]",
    "a form of names, other ones": "z[p,d,i] = x[i,d] - y[p,d]\nD[d,j] = -z[j,e,d]*P[e,i]*z[j,i,d]/2",
    "a form, scaled": "D[i,j] = -s[i]*(x[i,d] - y[j,d])*P[d,e]*a[e]*(x[i,e] - y[j,e])/2",
}
SMALL = replace(NUMPY, separate=8, few=16)
LIMITS = {"tiny": TINY, "small": SMALL, "numpy": NUMPY}
SIZES = {"tiny": [(14, 16, 9, 7), (3, 4, 3, 5)], "small": [(40, 50, 9, 7)], "numpy": [(70, 150, 12, 16)]}


def inputs(n: int, m: int, d: int, e: int, kind: str, case: str = "spread", seed: int = 0) -> dict[str, Array]:
    rng = default_rng(seed)
    x, y = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    if case == "far":
        x, y = 1e4 + 1e-2 * x, 1e4 + 1e-2 * y
    if case == "near":
        y[: min(n, m)] = x[: min(n, m)] + 1e-5 * y[: min(n, m)]
    if case == "equal":
        y[: min(n, m) : 2] = x[: min(n, m) : 2]
    if case == "outlier":
        x[0] *= 1e6
    found = {"x": x, "y": y, "L": rng.standard_normal((d, e)), "P": rng.standard_normal((d, d))}
    found |= {"a": rng.standard_normal(max(d, e)), "s": rng.standard_normal(n)}
    return {k: np.ascontiguousarray(v.astype(kind)) for k, v in found.items()}


def fitting(text: str, given: dict[str, Array]) -> dict[str, Array]:
    f = il.compile(text)
    mine = {k: given[k] for k in f.inputs}
    if "a" in mine:
        mine["a"] = mine["a"][: given["L"].shape[1] if "L" in mine else given["P"].shape[1]]
    return mine


def right(name: str, given: dict[str, Array], dy: Array | None = None) -> dict[str, Array]:
    """Values, gradients and, beside each, what its errors are measured by: the sum of the sizes of what is summed."""
    g = {k: v.astype(np.float64) for k, v in given.items()}
    itself = "y" not in g
    x, y = g["x"], g.get("y", g["x"])
    diff = x[:, None] - y
    found: dict[str, Array] = {}
    if "L" in g:
        c = -1 / 3 if "halved" in name else 1.0
        w = 0.5 if "halved" in name else g.get("a", np.ones(g["L"].shape[1]))
        z = c * (diff @ g["L"])
        sized_z = abs(c) * (abs(diff) @ abs(g["L"]))
        total, most = (w * z**2).sum(2), (abs(w) * abs(z) * sized_z).sum(2)
    else:
        s = -g["s"][:, None] / 2 if "s" in g else np.ones(1) * (-0.5 if "other" in name else 1)
        form = g["P"] * g["a"] if "a" in g else g["P"]
        total = s * np.einsum("ijd,de,ije->ij", diff, form, diff, optimize=True)
        most = abs(s) * np.einsum("ijd,de,ije->ij", abs(diff), abs(form), abs(diff), optimize=True)
    if "kernel" in name:
        found["D"], slope = np.exp(-total / 200), -np.exp(-total / 200) / 200
        found["D scale"] = found["D"] * (1 + most / 200)
    elif "distance" in name:
        found["D"] = np.sqrt(total)
        slope, found["D scale"] = 0.5 / np.where(total > 0, found["D"], np.inf), most / np.maximum(found["D"], 1e-300)
    elif "root" in name:
        found["D"] = np.sqrt(1 + abs(total))
        slope, found["D scale"] = np.sign(total) / (2 * found["D"]), 1 + most
    else:
        found["D"], slope, found["D scale"] = total, np.ones(1), most
    if dy is None:
        return found
    dy = dy * slope
    if "L" in g:
        gz, weight = 2 * c * dy[..., None] * w * z, 2 * abs(c * dy)[..., None] * abs(w)
        parts = {"L": np.einsum("ije,ijd->de", gz, diff, optimize=True)}
        sizes = {"L": np.einsum("ije,ijd->de", weight * sized_z, abs(diff), optimize=True)}
        gd, size = gz @ g["L"].T, (weight * sized_z) @ abs(g["L"]).T
        if "a" in g:
            parts["a"], sizes["a"] = (dy[..., None] * z**2).sum((0, 1)), (abs(dy)[..., None] * sized_z**2).sum((0, 1))
    else:
        scaled = dy * s
        outer = np.einsum("ij,ijd,ije->de", scaled, diff, diff, optimize=True)
        large = np.einsum("ij,ijd,ije->de", abs(scaled), abs(diff), abs(diff), optimize=True)
        a = g.get("a", np.ones(1))
        parts, sizes = {"P": outer * a}, {"P": large * abs(a)}
        if "a" in g:
            parts["a"], sizes["a"] = (outer * g["P"]).sum(0), (large * abs(g["P"])).sum(0)
            parts["s"] = (dy * total).sum(1) / g["s"]
            sizes["s"] = (abs(dy) * most).sum(1) / abs(g["s"])
        gd = scaled[..., None] * (diff @ (form + form.T))
        size = abs(scaled)[..., None] * (abs(diff) @ abs(form + form.T))
    gx, gy, sx, sy = gd.sum(1), -gd.sum(0), size.sum(1), size.sum(0)
    parts |= {"x": gx + gy, "y": gy} if itself else {"x": gx, "y": gy}
    sizes |= {"x": sx + sy, "y": sy} if itself else {"x": sx, "y": sy}
    for k in g:
        found[k], found[f"{k} scale"] = parts[k], sizes[k]
    return found


def close(found: Array, wanted: dict[str, Array], key: str, kind: str, by: float = 1.0) -> None:
    """Each element beside what its errors are measured by, or a small part of what its row and column are."""
    scale = wanted[f"{key} scale"]
    for axis in range(scale.ndim if key != "D" else 0):
        scale = np.maximum(scale, scale.max(axis, keepdims=True) / 64) if scale.ndim > 1 else scale
    bound = by * (2e-6 if kind == "float32" else 4e-15) * scale + 1e-35
    error = np.abs(found - wanted[key])
    assert np.all(error <= bound), (key, float(np.max(error / bound)))


def taken_apart(text: str, given: dict[str, Array], limits: Limits = NUMPY) -> bool:
    """Whether points are multiplied by themselves, if data allow it."""
    return bool(sized(il.compile(text), limits).plan(**given).finite)


CASES = {
    "float32": "spread tiny, spread small, spread numpy, far numpy, near numpy, near tiny, equal numpy, outlier tiny",
    "float64": "spread tiny, spread numpy, far numpy, near numpy, outlier small",
}


@pytest.mark.parametrize(
    ("kind", "case", "limits"), [(kind, *c.split()) for kind, cases in CASES.items() for c in cases.split(", ")]
)
@pytest.mark.parametrize("name", TEXTS)
def test_values_and_gradients(name: str, case: str, kind: str, limits: str) -> None:
    if name == "the distance" and case == "equal":
        return  # its slope is none there
    f = sized(il.compile(TEXTS[name]), LIMITS[limits])
    for n, m, d, e in SIZES[limits]:
        given = fitting(TEXTS[name], inputs(n, m, d, e, kind, case))
        for plan in every(f.plan(**given)):
            verify(plan)
        dy = default_rng(1).standard_normal((n, m if "y" in given else n)).astype(kind)
        wanted = right(name, given, dy.astype(np.float64))
        y, pull = f.vjp(**given)
        close(y, wanted, "D", kind)
        np.testing.assert_array_equal(f(**given), y)
        for key, found in pull(dy).items():
            close(found, wanted, key, kind, 4)
        if "y" not in given:
            assert np.all(np.diag(y) == (0 if "kernel" not in name else 1))
        both = sized(f.grad(), LIMITS[limits])(**given, **{"D.grad": dy})
        for key in given:
            close(both[f"{key}.grad"], wanted, key, kind, 4)


@pytest.mark.parametrize("limits", ["tiny", "numpy"])
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 1e20])
@pytest.mark.parametrize("name", ["by a factor", "of itself", "a form", "a form of itself"])
def test_what_is_not_finite_is_as_it_is_written(name: str, bad: float, limits: str) -> None:
    text, n = TEXTS[name], 12 if limits == "tiny" else 60
    for key in ("x", "y", "L", "P", "G"):
        given = fitting(text, inputs(n, n, 9, 9, "float32"))
        dy = default_rng(1).standard_normal((n, n)).astype(np.float32)
        for at in (0, n + 1):
            spoilt = {k: v.copy() for k, v in {**given, "G": dy}.items()}
            if key not in spoilt:
                continue
            spoilt[key].reshape(-1)[at % spoilt[key].size] = bad
            g = spoilt.pop("G")
            with np.errstate(all="ignore"):
                y, pull = sized(il.compile(text), LIMITS[limits]).vjp(**spoilt)
                found = pull(g)
                x, other = spoilt["x"], spoilt.get("y", spoilt["x"])
                diff = x[:, None] - other
                if "L" in spoilt:
                    z = (diff[..., None] * spoilt["L"]).sum(2)
                    wanted, gz = (z**2).sum(2), 2 * g[..., None] * z
                    last = (gz[:, :, None] * diff[..., None]).sum((0, 1))
                else:
                    each = diff[..., None] * spoilt["P"] * diff[:, :, None]
                    wanted = each.sum((2, 3))
                    last = (g[:, :, None, None] * diff[..., None] * diff[:, :, None]).sum((0, 1))
            if bad == 1e20:  # what overflows on the way depends on the order of multiplications
                good = np.isfinite(wanted)
                assert np.all(np.isfinite(y[good]))
                np.testing.assert_allclose(y[good], wanted[good], rtol=1e-3, atol=1e-3)
                continue
            np.testing.assert_array_equal(np.isfinite(y), np.isfinite(wanted))
            if "L" in spoilt:  # which of infinite terms of both signs meet depends on the order of sums
                np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
            matrix = found["L" if "L" in spoilt else "P"]
            np.testing.assert_array_equal(np.isfinite(matrix), np.isfinite(last))


def test_a_large_weight_of_a_point_and_itself_is_nothing() -> None:
    for name in ("of itself", "a form of itself"):
        given = fitting(TEXTS[name], inputs(150, 150, 12, 16, "float32"))
        dy = default_rng(1).standard_normal((150, 150)).astype(np.float32)
        f, plain = il.compile(TEXTS[name]), dy.copy()
        dy[np.arange(150), np.arange(150)] = 1e9
        plain[np.arange(150), np.arange(150)] = 0
        wanted = right(name, given, plain.astype(np.float64))
        for key, found in f.vjp(**given)[1](dy).items():
            close(found, wanted, key, "float32", 4)
        dy[3, 3] = np.inf  # 0 times it is no number
        with np.errstate(all="ignore"):
            assert np.all(np.isnan(f.vjp(**given)[1](dy)["L" if "L" in given else "P"]))


def test_weights_that_pick_near_components_keep_their_digits() -> None:
    """All pairs are apart, but those that have a weight are near in one component."""
    rng = default_rng(0)
    for name in ("by a factor", "a form"):
        given = fitting(TEXTS[name], inputs(90, 90, 12, 16, "float32"))
        given["y"][:, 3] = given["x"][:, 3] + (1e-4 * rng.standard_normal(90)).astype(np.float32)
        dy = np.diag(rng.standard_normal(90)).astype(np.float32)
        wanted = right(name, given, dy.astype(np.float64))
        y, pull = il.compile(TEXTS[name]).vjp(**given)
        close(y, wanted, "D", "float32")
        found = pull(dy)
        matrix = "L" if "L" in given else "P"
        error = np.abs(found[matrix][3] - wanted[matrix][3])
        assert np.all(error <= 1e-5 * wanted[f"{matrix} scale"][3])
        for key in given:
            close(found[key], wanted, key, "float32", 4)


def test_points_of_correlated_components_are_taken_apart() -> None:
    """What a matrix makes of them is much smaller than its sums are large; so it is as it is written."""
    rng = default_rng(0)
    x, y = (rng.standard_normal((200, 1)) + 0.1 * rng.standard_normal((200, 12)) for _ in range(2))
    factor_ = np.linalg.inv(np.linalg.cholesky(np.cov(x.T) + 1e-3 * np.eye(12))).T
    for kind in ("float32", "float64"):
        given = {k: v.astype(kind) for k, v in {"x": x, "y": y, "L": factor_}.items()}
        f = il.compile(TEXTS["by a factor"])
        close(f(**given), right("by a factor", given), "D", kind)


def test_when_it_is_done() -> None:
    def there(text: str, n: int, d: int, e: int, limits: Limits = NUMPY, **more: Array) -> bool:
        given = {**inputs(n, n, d, e, "float32"), **more}
        return taken_apart(text, fitting(text, given), limits)

    for name, text in TEXTS.items():
        if name == "weighed":  # by what may pick components in which pairs are near
            assert not there(text, 200, 16, 16)
        elif name != "a form, scaled":
            assert there(text, 200, 16, 16), name
            assert there(text, 8, 4, 4, TINY), name
        assert not there(text, 4, 16, 16), name
    factor = TEXTS["by a factor"]
    assert not there(factor, 200, 16, 1)  # nothing is larger than what is asked of pairs
    f = il.compile(factor, outputs=["D", "z"])
    assert not f.plan(**fitting(factor, inputs(200, 200, 16, 16, "float32"))).finite
    assert not there("D[i,j] = (x[i,d] - y[j,d])*P[d,e]*(x[i,e] - y[j,e]) where x[i,d] > 0", 200, 16, 16)
    assert not there("D[i,j] = (x[i,d] - y[j,d])*P[d,e]*(y[j,e] - x[i,e]) where d < 3", 200, 16, 16)


@pytest.mark.parametrize("name", ["by a factor", "the distance", "a form"])
@pytest.mark.parametrize("limits", ["tiny", "numpy"])
def test_batches(name: str, limits: str) -> None:
    text = TEXTS[name].replace("[i,", "[b,i,").replace("y[j", "y[b,j")
    rng, (n, m, d, e) = default_rng(0), (90, 70, 12, 16) if limits == "numpy" else (8, 9, 4, 4)
    for kind in ("float32", "float64"):
        x, y = (rng.standard_normal((3, k, d)).astype(kind) for k in (n, m))
        matrix = "P" if name == "a form" else "L"
        given = {"x": x, "y": y, matrix: rng.standard_normal((d, d if matrix == "P" else e)).astype(kind)}
        f = sized(il.compile(text), LIMITS[limits])
        assert f.plan(**given).finite
        dy = rng.standard_normal((3, n, m)).astype(kind)
        values, pull = f.vjp(**given)
        found, summed, scale = pull(dy), 0.0, 0.0
        for b in range(3):
            mine = {**given, "x": x[b], "y": y[b]}
            wanted = right(name, mine, dy[b].astype(np.float64))
            close(values[b], wanted, "D", kind)
            for key in ("x", "y"):
                close(found[key][b], wanted, key, kind, 4)
            summed, scale = summed + wanted[matrix], scale + wanted[f"{matrix} scale"]
        close(found[matrix], {matrix: summed, f"{matrix} scale": scale}, matrix, kind, 4)


def test_emitted_modules_ask_too() -> None:
    text = TEXTS["by a factor"]
    for case in ("spread", "near"):
        given = fitting(text, inputs(90, 90, 12, 16, "float64", case))
        module: dict[str, Any] = {}
        exec(il.compile(text).emit(**given, vjp=True), module)
        dy = default_rng(1).standard_normal((90, 90))
        wanted = right("by a factor", given, dy)
        f = il.compile(text)
        y, saved = module["forward"](*(given[k] for k in f.inputs))
        close(y, wanted, "D", "float64")
        for key, found in zip(f.inputs, module["backward"](saved, dy), strict=True):
            close(found, wanted, key, "float64", 4)


def test_weights_of_what_a_matrix_makes_keep_their_digits() -> None:
    """They are not asked of pairs, so z is computed as it is written: near pairs in one component count alone here."""
    given = fitting(TEXTS["weighed"], inputs(90, 90, 12, 12, "float32"))
    given["L"][:] = np.diag([1] * 11 + [1e-3])
    given["a"][:] = [0] * 11 + [1]
    given["y"][:, 11] = given["x"][:, 11] * np.float32(1 + 1e-5)
    dy = default_rng(1).standard_normal((90, 90)).astype(np.float32)
    wanted = right("weighed", given, dy.astype(np.float64))
    values, pull = il.compile(TEXTS["weighed"]).vjp(**given)
    assert np.all(np.abs(values - wanted["D"]) <= 1e-5 * wanted["D scale"] + 1e-12)
    for key, found in pull(dy).items():
        close(found, wanted, key, "float32", 16)


def test_other_sums_of_points_are_judged_by_themselves() -> None:
    """A matrix that makes nothing of some components says nothing of what is not multiplied by it."""
    text = "D[i,j] = (sum[d](L[d,e]*(x[i,d] - y[j,d])))**2\nr[i,d] = s[i]*D[i,j]*(x[i,d] - y[j,d])"
    given = inputs(90, 90, 12, 16, "float32")
    given["L"][3] = 0
    given["y"][:, 3] = given["x"][0, 3] * np.float32(1 + 1e-5)
    f = il.compile(text, outputs=["r"])
    mine = {k: given[k] for k in f.inputs}
    x, y, m, s = (mine[k].astype(np.float64) for k in "xyLs")
    diff = x[:, None] - y
    wanted = s[:, None] * (((diff @ m) ** 2).sum(2)[..., None] * diff).sum(1)
    np.testing.assert_allclose(f(**mine), wanted, rtol=2e-4, atol=1e-6 * np.abs(wanted).max())
    assert np.all(np.abs(f(**mine)[0, 3] - wanted[0, 3]) <= 1e-5 * np.abs(wanted[0, 3]))


def test_names_of_differences_that_are_read_otherwise_stay() -> None:
    given = fitting(TEXTS["a form"], inputs(70, 70, 12, 12, "float64"))
    named = TEXTS["a form of names"]
    for more in ("r[i,d] = exp(z[i,j,d])", "r[i,d] = z[i,j,d]**3"):
        f = il.compile(f"{named}\n{more}", outputs=["D", "r"])
        found = f(**given)
        close(found["D"], right("a form", given), "D", "float64")
        diff = given["x"][:, None] - given["y"]
        wanted = np.exp(diff).sum(1) if "exp" in more else (diff**3).sum(1)
        np.testing.assert_allclose(found["r"], wanted, rtol=1e-12, atol=1e-10)


# -- programs written by hand, around the same differences ------------------------------------------

NAMED = "z[i,j,d] = x[i,d] - y[j,d]\nD[i,j] = z[i,j,d] * P[d,e] * z[i,j,e]"


def named() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {
        "x": (300, 16),
        "y": (280, 16),
        "P": (16, 16),
        "L": (16, 16),
        "G": (300, 280),
        "H": (300, 280),
        "h": (16,),
    }
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def run(text: str, outputs: list[str] | None = None, **more: np.ndarray) -> dict[str, np.ndarray]:
    f = il.compile(text, outputs=outputs)
    given = {**named(), **more}
    found = f({name: given[name] for name in f.inputs})
    return found if isinstance(found, dict) else {f.outputs[0]: found}


@pytest.mark.parametrize("shown", [["D", "Q"], ["D", "Q", "z.grad2"]])
def test_two_gradients_of_one_difference_are_two(shown: list[str]) -> None:
    given = named()
    lines = "z.grad[i,j,d] = G[i,j]*h[d]\nz.grad2[i,j,d] = H[i,j]*h[d]\nQ[i,d] = z.grad[i,j,d]*2"
    found = run(f"{NAMED}\n{lines}", shown)
    np.testing.assert_allclose(found["Q"], 2 * given["G"].sum(1)[:, None] * given["h"])


def test_a_gradient_that_nobody_reads_or_that_is_real() -> None:
    line = "z.grad[i,j,d] = G[i,j]*h[d]"
    assert run(f"{NAMED}\n{line}", ["D"])["D"].shape == (300, 280)
    found = run(f"{NAMED}\n{line}\nQ[i,d] = z.grad[i,j,d]*2", ["Q"], G=named()["G"] + 1j)["Q"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, 2 * named()["G"].sum(1)[:, None] * named()["h"])


def test_forms_before_and_behind_factors() -> None:
    form = "F[i,j] = (x[i,d]-y[j,d])*P[d,e]*(x[i,e]-y[j,e])"
    factor = "z[i,j,e] = L[d,e]*(x[i,d]-y[j,d])\nD[i,j] = z[i,j,e]**2"
    given = named()
    z = given["x"][:, None] - given["y"]
    for text in (f"{form}\n{factor}", f"{factor}\n{form}"):
        found = run(text)
        np.testing.assert_allclose(found["F"], np.einsum("ijd,de,ije->ij", z, given["P"], z), atol=1e-9)
        np.testing.assert_allclose(found["D"], ((z @ given["L"]) ** 2).sum(-1), atol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        f"{NAMED}/size(z,2)",
        f"{NAMED}\nE[i] = D[i,j]/size(z,1)",
        "z[i,j,e] = L[d,e]*(x[i,d]-y[j,d])\nD[i,j] = z[i,j,e]**2/size(z,2)",
    ],
)
def test_sizes_of_what_would_go_are_asked_for(text: str) -> None:
    run(text)
