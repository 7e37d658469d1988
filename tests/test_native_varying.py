"""Batches of other sizes: the same code, other numbers; the results are NumPy's, nests looked through each time."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from nest_interpreter import run
from numpy.typing import NDArray

pytest.importorskip("llvmlite", reason="the native backend needs it")

import native_targets
from native_targets import copies, same, targets

import indexlang
from indexlang.backends.native import engine, kernels, leading, program, remembered, runner
from indexlang.backends.native.check import faults
from indexlang.backends.native.emit import module
from indexlang.backends.native.groups import groups_of
from indexlang.backends.native.nest import (
    Apply,
    Array,
    Count,
    For,
    Form,
    Literal,
    Nest,
    Read,
    Set,
    Type,
    When,
    Write,
    form,
)
from indexlang.backends.native.renaming import text_of
from indexlang.backends.native.same_kernels import signature
from indexlang.backends.native.units import cuts, sizes, unit_of
from indexlang.backends.native.varying import Varying, varies
from indexlang.plan.plan import Plan

Values = NDArray[Any]
TARGETS = targets()
SIZES = (48, 37, 1, 5, 16, 17, 66)  # the first one is scheduled and compiled for itself

MLP = """
h[b,o] = relu(sum[i](x[b,i] * W[i,o]) + c[o])
z[b,k] = sum[o](h[b,o] * V[o,k])
m[b] = max[k](z[b,k])
e[b,k] = exp(z[b,k] - m[b])
t[b] = sum[k](e[b,k])
p[b,k] = e[b,k] / t[b]
l = mean[b,k](p[b,k]**2)
"""
BLOCK = """
y[b,i,j,o] = W[p,q,c,o] * x[b,pad(i+p,1),pad(j+q,1),c]
m[o] = mean[b,i,j](y[b,i,j,o])
v[o] = mean[b,i,j]((y[b,i,j,o] - m[o])**2)
n[b,i,j,o] = relu((y[b,i,j,o] - m[o]) * rsqrt(v[o] + 0.001)) + tanh(x[b,i,j,o])
"""
ATTENTION = """
s[b,t,u] = q[b,t,d] * k[b,u,d] / 4
m[b,t] = logsumexp[u](s[b,t,u])
a[b,t,d] = exp(s[b,t,u] - m[b,t]) * v[b,u,d]
"""
ROWS = """
mu[b] = mean[d](x[b,d])
r[b] = rsqrt(mean[d]((x[b,d] - mu[b])**2) + 0.001)
y[b,d] = (x[b,d] - mu[b]) * r[b] * g[d]
w[b,d] = exp(y[b,d]) * x[b,d] + erf(x[b,d])
"""
PROGRAMS: dict[str, tuple[str, str, dict[str, tuple[int, ...]]]] = {
    "mlp": (MLP, "l", {"x": (0, 200), "W": (200, 96), "c": (96,), "V": (96, 10)}),
    "block": (BLOCK, "n", {"x": (0, 9, 8, 32), "W": (3, 3, 32, 32)}),
    "attention": (ATTENTION, "a", {"q": (0, 24, 16), "k": (0, 24, 16), "v": (0, 24, 16)}),
    "rows": (ROWS, "w", {"x": (0, 150), "g": (150,)}),
}
EACH = pytest.mark.parametrize("name", PROGRAMS)


def function(name: str, backend: str = "native") -> Any:
    text, output, _ = PROGRAMS[name]
    return indexlang.compile(text, outputs=[output], backend=backend)


def drawn(name: str, size: int) -> dict[str, Values]:
    rng = np.random.default_rng(size)
    shapes = {n: (size, *s[1:]) if s[0] == 0 else s for n, s in PROGRAMS[name][2].items()}
    return {n: rng.standard_normal(s).astype(np.float32) / np.float32(s[0] ** 0.25) for n, s in shapes.items()}


def results(f: Any, given: dict[str, Values]) -> dict[str, Values]:
    """What a function gives, and its gradients."""
    made, pullback = f.vjp(given)
    rng = np.random.default_rng(np.size(made))
    return {"": made, **pullback(rng.standard_normal(np.shape(made)).astype(np.float32))}


def plan_of(text: str, **shapes: tuple[int, ...]) -> Plan:
    return indexlang.compile(text, backend="native").plan(**{n: np.zeros(s, np.float32) for n, s in shapes.items()})


# -- results ----------------------------------------------------------------------------------------------


@pytest.fixture
def looked_through(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nests that were looked through; whatever can be shared is shared."""
    found: list[str] = []
    original = program.faults

    def seen(nest: Nest) -> list[str]:
        found.append(nest.name)
        return original(nest)

    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    monkeypatch.setattr(program, "faults", seen)
    monkeypatch.setattr(runner, "TOGETHER", 0)
    return found


@EACH
def test_each_size_gives_what_numpy_gives(name: str, looked_through: list[str]) -> None:
    f, g = function(name), function(name, "numpy")
    for size in SIZES:
        given, before = drawn(name, size), len(looked_through)
        found, right = results(f, given), results(g, given)
        assert len(looked_through) > before  # though the code was there
        for key, value in right.items():
            near = 2e-4 * float(np.max(np.abs(value))) + 1e-7
            np.testing.assert_allclose(found[key], value, rtol=0, atol=near, err_msg=f"{key} at {size}")


@EACH
def test_any_number_of_threads_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    try:
        for size in (37, 5, 130):
            found = []
            for number in (1, 2, 5):
                indexlang.set_num_threads(number)
                found.append(results(function(name), drawn(name, size)))
            for other in found[1:]:
                for key, value in found[0].items():
                    same(np.asarray(other[key]), np.asarray(value), f"{key} at {size}")
    finally:
        indexlang.set_num_threads(None)


# -- how many kernels -------------------------------------------------------------------------------------


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What code is made of, in a process without kernels."""
    found: list[str] = []
    original = engine.assembled

    def assembled(text: str, target: engine.Target) -> bytes:
        found.append(text)
        return original(text, target)

    monkeypatch.delenv("INDEXLANG_VERIFY", raising=False)
    monkeypatch.setenv("INDEXLANG_CACHE", "off")
    monkeypatch.setattr(kernels, "_kernels", type(kernels._kernels)())
    remembered._kept.clear()
    monkeypatch.setattr(engine, "assembled", assembled)
    return found


@EACH
def test_other_sizes_are_compiled_once(name: str, made: list[str]) -> None:
    f, counts = function(name), []
    for size in (64, 48, 37, 50, 39):
        before = len(made)
        results(f, drawn(name, size))
        counts.append(len(made) - before)
    first, *later = counts
    assert sum(later) <= first // 2, counts
    assert sum(later[2:]) <= 2, counts  # by then it is all there


@pytest.mark.parametrize("target", TARGETS)
def test_most_is_shared_on_any_machine(target: str) -> None:
    for name, (text, output, shapes) in PROGRAMS.items():
        keys = []
        for size in (64, 40):
            given = {n: np.zeros((size, *s[1:]) if s[0] == 0 else s, np.float32) for n, s in shapes.items()}
            plan = indexlang.compile(text, outputs=[output], backend="native").plan(**given)
            keys.append({o.key for g in groups_of(plan, TARGETS[target]) for o in g.outlines})
        assert len(keys[1] - keys[0]) <= len(keys[1]) // 3, name


def test_code_of_one_size_is_run_for_another(made: list[str]) -> None:
    text = "y[b,k] = exp(x[b,k]) * x[b,k]\nz[k] = sum[b](x[b,k] * y[b,k])"
    f = indexlang.compile(text, outputs=["y", "z"], backend="native")
    rng = np.random.default_rng(0)
    counts = []
    for size in (300, 211, 97, 1000, 52):
        x = rng.standard_normal((size, 7))
        found = f(x=x)
        np.testing.assert_allclose(found["y"], np.exp(x) * x, rtol=1e-12)
        np.testing.assert_allclose(found["z"], (x * np.exp(x) * x).sum(0), rtol=1e-10)
        counts.append(len(made))
    assert counts[-1] - counts[0] < 2 * counts[0], counts


# -- which extents vary -----------------------------------------------------------------------------------


def varying(plan: Plan) -> set[str]:
    """The indices that vary, of all sections, and the inputs of which the first axis does."""
    found = leading.marked(plan)
    assert found == plan
    indices = {i for s in found.sections for i, (_, hi) in s.extents if varies(hi)}
    buffers = {b for s in found.sections for b in leading.mentioned(s)}
    assert not any(varies(n) for b in buffers for n in b.shape[1:])
    return indices | {b.name for b in buffers if b.role == "input" and b.shape and varies(b.shape[0])}


@pytest.mark.parametrize(
    ("text", "shapes", "right"),
    [
        ("y[b,o] = x[b,i] * W[i,o]", {"x": (9, 4), "W": (4, 5)}, {"b", "x"}),
        ("y[b,o] = x[b,i] * W[o,i]", {"x": (9, 4), "W": (5, 4)}, {"b", "x"}),
        ("y[b,i,o] = W[p,c,o] * x[b,i+p,c]", {"x": (9, 8, 3), "W": (3, 3, 5)}, {"b", "x"}),
        ("y[b,d] = x[b,d] * g[d]", {"x": (9, 4), "g": (4,)}, {"b", "x"}),
        ("y[i] = exp(x[i])", {"x": (9,)}, {"i", "x"}),
        ("y[i] = x[i+p] * w[p]", {"x": (9,), "w": (3,)}, set()),
        ("y[i] = x[2*i]", {"x": (9,)}, set()),
        ("y[i,j] = x[i,k] * x[k,j]", {"x": (9, 9)}, set()),
        ("y[o,b] = x[i,b] * W[i,o]", {"x": (4, 9), "W": (4, 5)}, {"i", "x", "W"}),
        ("y = sum[b](x[b]) / size(x,0)", {"x": (9,)}, {"b", "x"}),
    ],
)
def test_what_leads_everything_varies(text: str, shapes: dict[str, tuple[int, ...]], right: set[str]) -> None:
    assert varying(plan_of(text, **shapes)) == right


def test_a_size_varies_with_what_it_is_the_size_of() -> None:
    keys = set()
    for size in (9, 33):
        (group,) = groups_of(plan_of("y[b,k] = x[b,k] / size(x,0)", x=(size, 64)), engine.host())
        assert size in [n for nest in group.nests for n in nest.numbers]
        keys.add(tuple(o.key for o in group.outlines))
    assert len(keys) == 1


# -- numbers ----------------------------------------------------------------------------------------------

OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "divmod": lambda a, b: divmod(a, b)[0] * 1000 + divmod(a, b)[1],
    "-()": lambda a, b: -a + b,
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_numbers_that_vary_reckon_as_others_do(operation: str) -> None:
    apply = OPERATIONS[operation]
    for a, b in product((1, 2, 5, 64, -3), (1, 2, 7, -4)):
        mine = Varying(a, 1), Varying(b, 2)
        for x, y in ((mine[0], b), (a, mine[1]), mine):
            found = apply(x, y)
            assert found == apply(a, b)
            assert type(found) in (int, Varying)
            if isinstance(found, Varying):
                assert sum(found.key[1:]) + found.plus == found
    assert not varies(Varying(5, 1) - Varying(5, 1))


def test_a_mark_is_not_seen() -> None:
    n = Varying(64, 1)
    assert f"{n} {n!r} {json.dumps(n)}" == "64 64 64"
    assert type(pickle.loads(pickle.dumps(n))) is int
    assert n == 64
    assert {n: 1}[64] == 1
    assert text_of(n) != text_of(64)  # but where schedules are remembered


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 13, 14, 30])
def test_units_take_each_element_once(most: int) -> None:
    for n in range(2, 200):
        for own in (n, Varying(n, 1)):
            for vector in (False, True):
                unit = unit_of(own, most)
                assert 1 <= unit <= most
                taken = []
                for cut in cuts(own, unit, vector):
                    for k in range(cut.first, cut.past):
                        taken += range(cut.begin(Form(k)).const, cut.begin(Form(k)).const + cut.size)
                assert taken == list(range(n)), (n, unit, vector)
        assert sum(count * size for count, size in sizes(Varying(n, 1), unit_of(Varying(n, 1), most))) == n


def test_multiples_of_a_unit_need_one_tile() -> None:
    assert [cut.size for cut in cuts(Varying(64, 1), 8)] == [8]
    assert [cut.size for cut in cuts(Varying(37, 1), 8)] == [8, 7]


# -- code -------------------------------------------------------------------------------------------------


def doubled(n: int, lanes: int = 8, step: int = 1) -> Nest:
    """Twice the first n elements, by vectors and what is left, times n."""
    size = Varying(n, 1)
    x, y = Array("x", "float32", n * step), Array("y", "float32", n * step, "output")
    kind = Type("float32", lanes)

    def part(at: Form, live: int) -> tuple[Any, ...]:
        return (
            Set("v", Read(x, at * step, lanes, step, live)),
            Set("w", Apply("mul", ("v", Literal(size, kind)), kind)),
            Write(y, at * step, "w", step, live),
        )

    whole, left = size // lanes * lanes, size % lanes
    last = Varying(int(left) or lanes, 7)
    body = (
        For("i", (Form(0),), (Form(whole - lanes + 1),), part(form("i"), 0), lanes),
        When(Form(left - 1), part(Form(whole), last)),
    )
    return Nest("doubled", (x, y), (), body)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("step", [1, 3])
def test_code_takes_its_numbers(target: str, step: int) -> None:
    assert len({signature(doubled(n, step=step)) for n in (3, 8, 20, 64)}) == 1
    held = native_targets.compiled([doubled(20, step=step)], TARGETS[target])
    for n in (1, 3, 8, 15, 16, 100):
        nest = doubled(n, step=step)
        assert not faults(nest)
        arrays = {"x": np.arange(n * step, dtype=np.float32), "y": np.full(n * step, -1, np.float32)}
        first, second = copies(arrays), copies(arrays)
        engine.call(held, nest, first)
        run(nest, second)
        same(first["y"], second["y"])
        np.testing.assert_array_equal(first["y"][::step], n * arrays["x"][::step])


def one_element(n: int, lanes: int = 8) -> Nest:
    """The third element in the first n lanes, zeros behind them."""
    x, y = Array("x", "float32", 20), Array("y", "float32", lanes, "output")
    live = Varying(n, 1)
    body = (Set("v", Read(x, Form(2), lanes, 0, live)), Write(y, Form(), "v", 1))
    return Nest("spread", (x, y), (), body)


@pytest.mark.parametrize("target", TARGETS)
def test_one_element_in_as_many_lanes_as_a_call_says(target: str) -> None:
    held = native_targets.compiled([one_element(8)], TARGETS[target])
    for n in range(1, 9):
        found = {"x": np.arange(20, dtype=np.float32), "y": np.full(8, -1, np.float32)}
        other = copies(found)
        engine.call(held, one_element(n), found)
        run(one_element(n), other)
        same(found["y"], other["y"])
        np.testing.assert_array_equal(found["y"], [2] * n + [0] * (8 - n))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_an_index_that_one_factor_has(dtype: str) -> None:
    """Vectors lie along u, which a does not have, and which varies."""
    f = indexlang.compile("y[t] = a[t,d] * b[u,d]", backend="native")
    rng = np.random.default_rng(0)
    for times, width, length in product((5, 50, 64), (3, 20), (7, 22, 48, 50, 70, 100)):
        a, b = rng.standard_normal((times, width)).astype(dtype), rng.standard_normal((length, width)).astype(dtype)
        np.testing.assert_allclose(f(a=a, b=b), a @ b.sum(0), rtol=1e-3, atol=1e-3)


def test_what_is_emitted_to_stand_alone_takes_none() -> None:
    nest = doubled(20)
    assert "i64 2\n" in module([nest], engine.host())  # the word behind two addresses
    plain = module([nest], engine.host(), settled=True)
    assert plain == module([replace(nest, body=settled(nest.body))], engine.host())


def settled(value: Any) -> Any:
    """The same with numbers that do not vary."""
    if isinstance(value, Varying):
        return int(value)
    if isinstance(value, tuple):
        return tuple(settled(v) for v in value)
    if hasattr(value, "__dataclass_fields__"):
        return type(value)(*(settled(getattr(value, f)) for f in value.__dataclass_fields__))
    return value


def test_offsets_of_one_number_are_one_number() -> None:
    n = Varying(40, 3)
    x = Array("x", "int64", 50, "output")
    body = tuple(Write(x, Form(n + k), Literal(k, Type("int64"))) for k in range(10))
    nest = Nest("offsets", (x,), (), (*body, Set("c", Count(Form(n - 4)))))
    assert list(nest.numbers) == [40]
    assert text_of(nest)[0] != text_of(settled(nest))[0]
