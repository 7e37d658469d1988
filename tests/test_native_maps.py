"""Maps and reductions as nests: what they compute is what the NumPy backend computes, on every Target.

The nests are those of whole plans, made without blocks and chains, a statement at a time and as many as may be fused.
They are interpreted, and compiled where LLVM is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import pytest
from nest_interpreter import run as interpret

import indexlang
from indexlang.backends.native import maps
from indexlang.backends.native.check import faults
from indexlang.backends.native.maps import Schedule, Work, nests
from indexlang.backends.native.nest import Array, Nest
from indexlang.backends.native.nodes import Access, Element
from indexlang.backends.native.target import AVX2, AVX512, BASELINE, NEON, Target
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.kernels import Map, Running
from indexlang.plan.limits import NEVER, NUMPY
from indexlang.plan.places import Buffer, Part
from indexlang.plan.plan import Check, Loop, Plan, Run, Step
from indexlang.plan.planning import plan
from indexlang.syntax.parser import parse

LIMITS = replace(
    NUMPY, block=NEVER, copy=NEVER, large=NEVER, least=NEVER, chunk=NEVER, shared=NEVER, sum=NEVER, rim=NEVER,
    window=0, sliding=0, short=0,
)  # fmt: skip
Arrays = dict[str, np.ndarray]
Jobs = list[tuple[list[Work], dict[str, tuple[int, int]]]]


# -- from plans to nests -------------------------------------------------------------------------------


def array_of(buffer: Buffer) -> Array:
    return Array(buffer.name, buffer.dtype, prod(buffer.shape))


def works_of(steps: Sequence[Step]) -> Iterator[Work]:
    """What runs, each over the whole extents: taps become indices that are brought together."""
    for step in steps:
        match step:
            case Run(place, op, kernel):
                yield Work(place, op, kernel)
            case Loop(steps=inner, begin=0, end=None):
                yield from works_of(inner)
            case Check():
                pass
            case _:
                pytest.skip(f"the plan has a {type(step).__name__}")


def jobs_of(made: Plan, fused: bool) -> Jobs:
    """Works that are scheduled together, with their extents."""
    jobs: Jobs = []
    for table in made.tables:
        place = Part(table.buffer, tuple(i for i, _ in table.extents))
        jobs.append(([Work(place, "=", Map(table.value))], dict(table.extents)))
    for section in made.sections:
        extents = dict(section.extents)
        works = list(works_of(section.steps))
        if fused and jobs and all(jobs[-1][1].get(i, e) == e for i, e in extents.items()):
            jobs[-1][0].extend(works)
            jobs[-1][1].update(extents)
        else:
            jobs += [(works, extents)] if fused else [([work], extents) for work in works]
    return jobs


def planned(text: str, given: Arrays) -> tuple[Function, Plan]:
    program = resolve(parse(Source(text + "\n")))
    shapes = {name: x.shape for name, x in given.items()}
    dtypes = {name: str(x.dtype) for name, x in given.items()}
    return Function(program, always_dict=True), plan(program, shapes, dtypes, LIMITS).plan


def schedules(made: Plan, target: Target, fused: bool) -> list[tuple[Schedule, set[Buffer]]]:
    """The nests of all works; where all are scheduled together, what is no output is private."""
    found = []
    jobs = jobs_of(made, fused)
    outputs = {place.buffer for _, place, _ in made.outputs}
    for number, (works, extents) in enumerate(jobs):
        own = {w.place.buffer for w in works}
        private = own - outputs if len(jobs) == 1 else ()
        schedule = nests(works, extents, array_of, target, f"kernel{number}", private)
        assert schedule is not None, works
        found.append((schedule, {b for b in own if b.name not in schedule.unused}))
    return found


def compiled(nest: Nest, arrays: Mapping[str, np.ndarray]) -> None:
    from indexlang.backends.native import emit, engine

    target = engine.host()
    library = engine.compiled(emit.module([nest], target), [nest.name], target)
    engine.call(library, nest, arrays, list(reversed(range(nest.count))))  # in any order


def results(made: Plan, given: Arrays, target: Target, fused: bool, runs=interpret) -> Arrays:
    """What the nests of a plan compute."""
    memory = {name: np.ascontiguousarray(x).reshape(-1).copy() for name, x in given.items()}
    for schedule, written in schedules(made, target, fused):
        for buffer in written:
            memory.setdefault(buffer.name, np.full(prod(buffer.shape), 77).astype(buffer.dtype))
        for space in schedule.workspaces:
            memory[space.name] = np.full(space.size, 55).astype(space.dtype)
        for nest in schedule.nests:
            assert faults(nest) == [], str(nest)
            runs(nest, {a.name: memory[a.name] for a in nest.arrays if a.role != "workspace"})
    outputs = {}
    for name, place, dtype in made.outputs:
        shape = place.buffer.shape
        outputs[name] = memory[place.buffer.name].reshape(shape).astype(dtype)
    return outputs


def same(got: Arrays, wanted: Arrays, about: str) -> None:
    for name, x in got.items():
        expected = wanted[name]
        assert x.dtype == expected.dtype, about
        if x.dtype.kind != "f":
            np.testing.assert_array_equal(x, expected, about)
            continue
        tolerance = 2e-5 if x.dtype == np.float32 else 1e-12
        size = np.max(np.abs(expected), where=np.isfinite(expected), initial=1.0)
        np.testing.assert_allclose(x, expected, tolerance, tolerance * size, err_msg=about)


def checked(text: str, given: Arrays, target: Target = AVX2, runs=interpret) -> None:
    f, made = planned(text, given)
    with np.errstate(all="ignore"):
        wanted = f(**given)
    for fused in (True, False):
        same(results(made, given, target, fused, runs), wanted, f"{text} fused={fused} {target.cpu}")


def numbers(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Small numbers of a dtype; zeros among them."""
    x = rng.standard_normal(shape) * 3
    if dtype == "bool":
        return np.asarray(x > 0)
    return np.abs(x).astype(dtype) if dtype.startswith("uint") else x.astype(dtype)


# -- programs ------------------------------------------------------------------------------------------

SOFTMAX = "m[i] max= x[i,j]\ne[i,j] = exp(x[i,j] - m[i])\ns[i] = sum[j](e[i,j])\ny[i,j] = e[i,j] / s[i]"
NORM = "m[i] = mean[j](x[i,j])\nv[i] = mean[j]((x[i,j] - m[i])**2)\ny[i,j] = (x[i,j] - m[i]) / sqrt(v[i] + 0.1)"
COLUMNS = "m[j] = mean[i](x[i,j])\nv[j] = mean[i]((x[i,j] - m[j])**2)\ny[i,j] = (x[i,j] - m[j]) / sqrt(v[j] + 0.1)"
PROGRAMS = [
    "y[i,j] = x[i,j]",
    "y[i,j] = x[i,j] * 2 + 1",
    "y[i,j] = max(x[i,j], 0.5) - x[i,j] / 3",
    "y[i,j] = x[i,j] + b[j]",
    "y[i,j] = x[i,j] * a[i]",
    "y[j,i] = x[i,j]",
    "y[j,i] = x[i,j] + a[i]",
    "y[i,j] = x[i,j] * (i - j) + pi",
    "y[i,j] = where(i < j, x[i,j], -1)",
    "y[i,j] = x[i,j] where j <= i",
    "s[i] = sum[j](x[i,j])",
    "s[j] += x[i,j]",
    "s = sum[i,j](x[i,j])",
    "s[i] += x[i,j] where j <= i",
    "s[i] max= x[i,j]\nt[j] min= x[i,j]",
    "s[i] *= x[i,j]",
    "y[i,j] = x[i,j] - sum[k](x[i,k])",
    "y[i] = x[i,i]",
    "y[i,j] = x[i,j] == b[j]",
    "y[i] = sum[j](x[i,j] > 0)",
    "y[i] = argmax[j](x[i,j])",
    "y[j] = argmin[i](x[i,j])",
    "y[i,j] += x[i,j]\ny[i,j] += b[j]\nz[i,j] = y[i,j] * 2",
]
FLOATS = [
    "y[i,j] = relu(x[i,j] + b[j])",
    "y[i,j] = abs(x[i,j])**0.5 + x[i,j]**3 + x[i,j]**(-1) + abs(x[i,j])**1.5",
    "y[i,j] = floor(x[i,j]) + round(x[i,j] * 0.7)",
    "y[i,j] = tanh(x[i,j]) + exp(a[i])",
    SOFTMAX,
    NORM,
    COLUMNS,
    "y[i] = logsumexp[j](x[i,j])",
    "s[i] = sum[j](exp(x[i,j] - b[j]))",
    "s[i] = sum[j](x[i,j] * b[j])",
    "y[i,j] = x[i,j] / sum[k,l](abs(x[k,l]))",
]
WINDOWS = [
    "y[b,i,c] max= x[b,2*i+d,c] where d < 3",
    "y[b,i,c] min= x[b,i+2*d,c] where d < 3",
    "y[b,i,c] = mean[d](x[b,3*i+d,c]) where d < 3",
    "y[b,c,i] max= x[b,2*i+d,c] where d < 2",
    "y[b,i,c] = argmax[d](x[b,2*i+d,c]) where d < 3",
    "y[b,i,c] = argmin[d](x[b,i+d,c]) where d < 30",
    "y[b,i+d,c] += x[b,i,c] * (d + 1) where d < 3",
]
DTYPES = ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]


def arrays_of(text: str, rng: np.random.Generator, dtype: str, n: int, m: int) -> Arrays:
    own = {"x": numbers(rng, dtype, n, m), "a": numbers(rng, dtype, n), "b": numbers(rng, dtype, m)}
    if "x[i,i]" in text:
        own["x"] = numbers(rng, dtype, n, n)
    return {name: x for name, x in own.items() if f"{name}[" in text.replace("max[", "").replace("relu(", "")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", PROGRAMS)
def test_all_dtypes_interpreted(text, dtype):
    rng = np.random.default_rng([len(text), len(dtype)])
    n, m = rng.integers(1, 22, 2)
    checked(text, arrays_of(text, rng, dtype, int(n), int(m)))


@pytest.mark.parametrize("text", FLOATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_interpreted(text, dtype):
    rng = np.random.default_rng(len(text))
    n, m = rng.integers(1, 24, 2)
    checked(text, arrays_of(text, rng, dtype, int(n), int(m)))


@pytest.mark.parametrize("target", [AVX512, BASELINE, NEON], ids=lambda t: t.cpu)
@pytest.mark.parametrize("text", [*PROGRAMS[3::4], NORM, COLUMNS])
def test_other_targets_interpreted(text, target):
    rng = np.random.default_rng(len(text))
    n, m = rng.integers(1, 24, 2)
    checked(text, arrays_of(text, rng, "float32", int(n), int(m)), target)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 7), (7, 1), (8, 8), (3, 64), (64, 3), (5, 33)])
@pytest.mark.parametrize("text", [NORM, COLUMNS, "y[j,i] = x[i,j] + a[i]", "s[j] += x[i,j]", "s[i] max= x[i,j]"])
def test_sizes(text, sizes):
    checked(text, arrays_of(text, np.random.default_rng(3), "float32", *sizes))


@pytest.mark.parametrize("text", WINDOWS)
@pytest.mark.parametrize("target", [AVX2, BASELINE], ids=lambda t: t.cpu)
def test_windows_interpreted(text, target):
    rng = np.random.default_rng(len(text))
    checked(text, {"x": numbers(rng, "float32", 2, 33, 11)}, target)
    checked(text, {"x": numbers(rng, "float64", 3, 31, 1)}, target)


@pytest.mark.parametrize(
    "text",
    [
        "y[i] max= x[i,j]", "y[i] = argmax[j](x[i,j])", "y[j] = argmin[i](x[i,j])", "y[i,j] = max(x[i,j], x[i,0])",
        "y[i,j] = relu(x[i,j])", SOFTMAX, "y[i] = logsumexp[j](x[i,j])", "y[i,j] = x[i,j] > 1", "y[i,j] = x[i,j]**0.5",
        "y[i] = argmax[j](x[i,j]) where x[i,j] < 2", "y[i] = argmin[j](x[i,j]) where j > 2, x[i,j] == x[i,j]",
    ],
)  # fmt: skip
def test_what_is_not_finite(text):
    rng = np.random.default_rng(5)
    x = rng.integers(-2, 3, (11, 21)).astype(np.float32)
    x[rng.random(x.shape) < 0.02] = np.nan
    x[rng.random(x.shape) < 0.02] = np.inf
    x[rng.random(x.shape) < 0.05] = -np.inf
    x[3] = -np.inf
    x[4] = np.nan
    checked(text, {"x": x})


@pytest.mark.parametrize(
    "text", ["y[i] = x[k[i]]", "y[i,j] = x[k[i],j] * 2", "y[i,j] = x[i,l[j]]", "y[i] = x[k[i],k[i]]"]
)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_positions_from_data(text, dtype):
    rng = np.random.default_rng(1)
    x = numbers(rng, dtype, 19) if text == "y[i] = x[k[i]]" else numbers(rng, dtype, 19, 19)
    given = {"x": x, "k": rng.integers(0, 19, 29), "l": rng.integers(0, 19, 13).astype(np.int32)}
    checked(text, {name: v for name, v in given.items() if f"{name}[" in text})


@pytest.mark.parametrize(
    "text",
    [
        "y[k[i]] += x[i]",
        "y[k[i],c] += z[i,c]",
        "y[k[i],c] max= z[i,c]",
        "y[k[i]] += 1",
        "y[k[i]] += x[i] where x[i] > 0",
        "y[k[i],l[j]] += z[i,j]",
    ],
)
def test_elements_at_positions(text):
    rng = np.random.default_rng(1)
    header = "shape y[19]\n" if text.startswith("y[k[i]] ") else "shape y[19,13]\n"
    given = {"x": numbers(rng, "float32", 29), "z": numbers(rng, "float32", 29, 13)}
    given |= {"k": rng.integers(0, 19, 29), "l": rng.integers(0, 13, 13).astype(np.int32)}
    checked(header + text, {name: v for name, v in given.items() if f"{name}[" in text})


RUNNING = [
    "y[i,j] += x[i,k] where k <= j, j < {m}",
    "y[i,j] += x[i,k] where k >= j, j < {m}",
    "y[j,c] max= x[k,c] where k >= j, j < {n}",
    "y[j,c] min= x[k,c] where k <= j, j < {n}",
    "y[i,j] *= x[i,k] where k <= j, j < {m}",
    "y[i,j] = argmax[k](x[i,k]) where k <= j, j < {m}",
    "y[i,j] = argmin[k](x[i,k]) where k >= j, j < {m}",
]


@pytest.mark.parametrize("text", RUNNING)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_running(text, dtype):
    rng = np.random.default_rng(8)
    n, m = 5, 19
    x = rng.integers(-3, 4, (n, m)).astype(dtype)
    if dtype.startswith("float") and "*=" not in text:
        x[2, 7] = np.nan
        x[3, 3] = np.inf
    _, made = planned(text.format(n=n, m=m), {"x": x})
    assert any(isinstance(w.value, Running) for works, _ in jobs_of(made, True) for w in works)
    checked(text.format(n=n, m=m), {"x": x})


def test_what_is_not_made():
    rng = np.random.default_rng(9)
    for dtype in ("complex64", "complex128"):
        _, made = planned("y[i,j] = x[i,j] * 2", {"x": rng.standard_normal((3, 4)).astype(dtype)})
        ((works, extents),) = jobs_of(made, True)
        assert nests(works, extents, array_of, AVX2, "kernel") is None


def test_a_schedule_follows_from_what_is_given_alone():
    given = arrays_of(COLUMNS, np.random.default_rng(4), "float32", 300, 257)
    _, made = planned(COLUMNS, given)
    first, second = ([str(n) for schedule, _ in schedules(made, AVX2, True) for n in schedule.nests] for _ in range(2))
    assert first == second


def test_gradient_of_pooling():
    rng = np.random.default_rng(2)
    x = numbers(rng, "float32", 2, 9, 9, 11)
    f = Function(
        resolve(parse(Source("y[b,i,j,c] max= x[b,2*i+d,2*j+e,c] where d < 3, e < 3\n"))), always_dict=True
    ).grad("x")
    given = {"x": x, "y.grad": numbers(rng, "float32", 2, 4, 4, 11)}
    shapes = {name: v.shape for name, v in given.items()}
    made = plan(f.program, shapes, dict.fromkeys(given, "float32"), LIMITS).plan
    wanted = np.zeros_like(x)
    for b, i, j, c in np.ndindex(2, 4, 4, 11):
        window = x[b, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, c]
        d, e = divmod(int(np.argmax(window)), 3)
        wanted[b, 2 * i + d, 2 * j + e, c] += given["y.grad"][b, i, j, c]
    for fused in (True, False):
        same(results(made, given, AVX2, fused), {"x.grad": wanted}, "gradient of pooling")


LARGE = [
    ("y[i,j] = x[i,j] + b[j]", 300), ("y[i,j] = x[i,j] + 1", 300), ("s[j] += x[i,j]", 1000),
    ("s[i] = sum[j](x[i,j])", 300), ("s = sum[i,j](x[i,j])", 300), (COLUMNS, 300), (SOFTMAX, 300), (NORM, 300),
    ("y[j,i] = x[i,j]", 300), ("y[i,j] = x[i,j] / sum[k,l](abs(x[k,l]))", 300), ("y[i] = argmax[j](x[i,j])", 300),
    ("s[j] max= x[i,j]\nt[j] = sum[i](x[i,j]**2)", 320),
    ("s max= x[i,j]\nt = sum[i,j](x[i,j]**2)", 300),
]  # fmt: skip


def test_what_is_read_by_nothing_else_is_not_there():
    given = arrays_of(SOFTMAX, np.random.default_rng(3), "float32", 7, 33)
    _, made = planned(SOFTMAX, given)
    ((schedule, written),) = schedules(made, AVX2, True)
    (nest,) = schedule.nests
    assert {b.name for b in written} == {"y"}
    assert {(a.name, a.size) for a in nest.arrays if a.role == "workspace"} >= {("e.row", 33)}


@pytest.mark.parametrize(("text", "rows"), LARGE)
def test_large_work_has_items(text, rows):
    rng = np.random.default_rng(4)
    given = arrays_of(text, rng, "float32", rows, 257)
    _, made = planned(text, given)
    found = [nest for schedule, _ in schedules(made, AVX2, True) for nest in schedule.nests]
    assert max(nest.count for nest in found) >= 8
    assert all(faults(nest) == [] for nest in found)


class TestCompiled:
    """By LLVM, on this machine."""

    @pytest.fixture(autouse=True)
    def there(self):
        pytest.importorskip("llvmlite", reason="kernels are compiled by llvmlite")

    @pytest.mark.parametrize(("text", "rows"), LARGE)
    def test_large(self, text, rows):
        from indexlang.backends.native import engine

        rng = np.random.default_rng(4)
        checked(text, arrays_of(text, rng, "float32", rows, 257), engine.host(), compiled)

    @pytest.mark.parametrize("text", WINDOWS)
    def test_windows(self, text):
        from indexlang.backends.native import engine

        x = numbers(np.random.default_rng(6), "float32", 9, 63, 37)
        checked(text, {"x": x}, engine.host(), compiled)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("text", PROGRAMS[::3])
    def test_dtypes(self, text, dtype):
        from indexlang.backends.native import engine

        checked(text, arrays_of(text, np.random.default_rng(7), dtype, 37, 45), engine.host(), compiled)


@pytest.mark.parametrize(("side", "channels", "outputs"), [(96, 17, 5), (96, 2, 2), (40, 3, 2), (131, 2, 3)])
def test_a_sum_in_pieces_counts_each_element_once(side: int, channels: int, outputs: int) -> None:
    """A long sum for few results, whose pieces are along an axis that elements do not lie side by side on."""
    import indexlang

    rng = np.random.default_rng(side)
    x = rng.standard_normal((2, side + 2, side + 2, channels))
    dy, weights = rng.standard_normal((2, side, side, outputs)), rng.standard_normal((3, 3, channels, outputs))
    text = "g[u,v,c,o] = dy[b,i,j,o] * x[b,i+u,j+v,c] where W[u,v,c,o] * x[b,i+u,j+v,c] > 0"
    found = indexlang.compile(text, backend="native")(x=x, dy=dy, W=weights)
    for u, v, c in np.ndindex(3, 3, channels):
        one = x[:, u : u + side, v : v + side, c, None]
        expected = np.where(weights[u, v, c] * one > 0, dy * one, 0).sum((0, 1, 2))
        np.testing.assert_allclose(found[u, v, c], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [2, 9, 15, 33])
def test_a_fold_in_a_fold_over_the_same_index(n: int) -> None:
    """A winner that is read again for each of what it was chosen from, with vectors along that."""
    rng = np.random.default_rng(n)
    tok, p, t = rng.standard_normal((n, 3)), rng.standard_normal((3, n)), rng.standard_normal((n, 3))
    text = (
        f"at[m] = argmin[d,a](tok[d,m] - P[a,d]) where d < {n}, a < 3, a <= d\n"
        f"y[m] += t[d,m] * tok[d,m] where d < {n}, a < 3, a <= d, 3 * d + a == at[m]\n"
    )
    right = np.zeros(3)
    for m in range(3):
        d, _ = min(((d, a) for d in range(n) for a in range(min(3, d + 1))), key=lambda k: tok[k[0], m] - p[k[1], k[0]])
        right[m] = t[d, m] * tok[d, m]
    found = indexlang.compile(text, backend="native", outputs=["y"])(tok=tok, P=p, t=t)
    np.testing.assert_allclose(found, right, rtol=1e-12)


@pytest.mark.parametrize("edge", ["clamp", "wrap", "reflect"])
@pytest.mark.parametrize("shape", [(1, 12, 11, 3), (3, 9, 8, 1), (2, 5, 40, 2)])
def test_rims_of_a_copy_are_written_from_what_it_holds(edge: str, shape: tuple[int, ...]) -> None:
    """Elements of the array that is written are read, but never those that are written: no one is both."""
    text = f"e[b,i,j] = (x[b,i,j,c] - x[b,{edge}(i+r-2),{edge}(j+s-2),c])**2 where r < 5, s < 5"
    f = indexlang.compile(text, backend="native")
    x = np.random.default_rng(0).standard_normal(shape)
    mode = {"clamp": "edge", "wrap": "wrap", "reflect": "reflect"}[edge]
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    np.testing.assert_allclose(f(x=x), ((x[..., None, None] - windows) ** 2).sum((3, 4, 5)), rtol=1e-12)
    assert "NumPy" not in str(f.plan(x=(1, 112, 112, 3)))


def test_elements_that_are_written_are_not_read_in_any_order() -> None:
    """Whether two accesses meet: beside brute force, over many steps and counts."""
    rng, x = np.random.default_rng(0), Array("x", "float32", 1)
    for _ in range(2000):
        sizes = {i: int(n) for i, n in zip("abcd", rng.integers(1, 5, 4), strict=True)}
        first, second = (
            Access(x, int(rng.integers(0, 12)), tuple((i, int(rng.integers(-9, 10))) for i in own))
            for own in ("ab", "cd")
        )
        touched = [
            {
                a.first + sum(k * s for k, (_, s) in zip(point, a.steps, strict=True))
                for point in product(*(range(sizes[i]) for i, _ in a.steps))
            }
            for a in (first, second)
        ]
        plain = tuple(replace(a, steps=tuple((i, s) for i, s in a.steps if s)) for a in (first, second))
        found = maps._meet(Element(plain[0], "float32"), plain[1], sizes.__getitem__)
        assert found == bool(touched[0] & touched[1])
