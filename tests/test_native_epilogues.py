"""What follows a sum of products is done before it is written, and a zero before it is not: values, and what is fused.

Values and gradients are NumPy's in float64; which steps became one nest shows in the groups of a Plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="native code is made with llvmlite")

from native_contractions import contraction as written
from nest_interpreter import run as interpret

import indexlang
from indexlang.backends.native.check import faults
from indexlang.backends.native.contraction import Operand, Step, schedule
from indexlang.backends.native.groups import Group, groups_of
from indexlang.backends.native.nest import Array, Literal, Type
from indexlang.backends.native.target import AVX2, AVX512, BASELINE, NEON, Target
from indexlang.calls.function import Function
from indexlang.errors import Source
from indexlang.meaning.resolve import resolve
from indexlang.plan.limits import NATIVE
from indexlang.plan.planning import plan
from indexlang.program.ir import Program
from indexlang.syntax.parser import parse

Arrays = dict[str, np.ndarray]
LAYER = "h[b,o] = W[k,o] * x[b,k]\nh[b,o] += B[o]\ny[b,o] = max(h[b,o], 0)"
CONVOLUTION = "h[b,i,j,o] = W[u,v,c,o] * x[b,i+u,j+v,c]\nh[b,i,j,o] += B[o]\ny[b,i,j,o] = max(h[b,i,j,o], 0)"
DENSE = {"W": (31, 21), "x": (19, 31), "B": (21,)}
LINES = {"W": (3, 5, 9), "x": (7, 12, 5), "B": (9,)}
IMAGES = {"W": (3, 3, 5, 9), "x": (2, 9, 11, 5), "B": (9,)}


def program(text: str) -> Program:
    return resolve(parse(Source(text + "\n")))


def arrays(shapes: Mapping[str, tuple[int, ...]], dtype: str = "float32") -> Arrays:
    rng = np.random.default_rng(len(shapes))
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def groups(of: Program, given: Arrays, target: Target = AVX2) -> tuple[Group, ...]:
    shapes = {name: x.shape for name, x in given.items()}
    return groups_of(plan(of, shapes, {name: str(x.dtype) for name, x in given.items()}, NATIVE).plan, target)


def native_and_numpy(text: str, given: Arrays) -> tuple[Arrays, Arrays]:
    """What both backends make of the equations, and of their gradients; NumPy in float64."""
    found = []
    for backend, dtype in (("native", None), ("numpy", "float64")):
        own = {n: x.astype(dtype) if dtype and x.dtype.kind == "f" else x for n, x in given.items()}
        function = Function(program(text), always_dict=True, backend=backend)
        values, pull = function.vjp(**own)
        rng = np.random.default_rng(5)
        seeds = {n: rng.standard_normal(v.shape).astype(v.dtype) for n, v in values.items()}
        found.append({**values, **{f"d{n}": v for n, v in pull(seeds).items()}})
    return found[0], found[1]


def assert_close(found: Arrays, wanted: Arrays) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        size = max(1.0, float(np.abs(value).max(initial=0)))
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * size, err_msg=name)


@pytest.mark.parametrize("target", [AVX2, AVX512, BASELINE, NEON], ids=str)
@pytest.mark.parametrize(("text", "shapes"), [(LAYER, DENSE), (CONVOLUTION, IMAGES)], ids=["dense", "convolution"])
def test_bias_and_activation_are_in_the_nest_of_the_sum(text: str, shapes: Mapping, target: Target) -> None:
    (group,) = groups(program(text), arrays(shapes), target)
    assert len(group.numbers) == 3
    assert len(group.told) == 1
    assert all(not faults(nest) for nest in group.nests)


def test_what_nobody_reads_is_not_written() -> None:
    made = program(LAYER)
    (group,) = groups(replace(made, outputs=("y",)), arrays(DENSE))
    names = {a.name: b.name for b, a in group.written}
    assert [names[a.name] for nest in group.nests for a in nest.arrays if a.name in names] == ["y"]
    (group,) = groups(replace(made, outputs=("h", "y")), arrays(DENSE))
    assert sorted(names[a.name] for a in group.nests[-1].arrays if a.name in names) == ["h", "y"]


@pytest.mark.parametrize(
    ("text", "shapes", "fused"),
    [
        (LAYER, DENSE, 3),
        (CONVOLUTION, IMAGES, 3),
        ("h[b,o] = W[k,o] * x[b,k]\nz[o,b] = 2 * h[b,o]\ny[b,o] = h[b,o] * z[o,b] + B[o]", DENSE, 3),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = tanh(h[b,o]) + exp(-h[b,o])", DENSE, 2),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = h[b,o] + r[b,o]", {**DENSE, "r": (19, 21)}, 2),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = h[b,o] + r[b]", {**DENSE, "r": (19,)}, 2),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = h[b,20-o]", DENSE, 1),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = h[18-b,o] * h[b,o]", DENSE, 1),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b] = h[b,o]", DENSE, 1),
        ("h[b,o] = W[k,o] * x[b,k]\ny[b,o] = h[b,o] + 1 where b < 5", DENSE, 1),
        ("h[b,i,0,o] = W[u,c,o] * x[b,i+u,c]\ny[b,i,j,o] = h[b,i,j,o] + B[o]", LINES, 2),
    ],
)  # fmt: skip
def test_values_and_gradients(text: str, shapes: Mapping, fused: int) -> None:
    given = {n: x for n, x in arrays(shapes).items() if f"{n}[" in text}
    made = groups(program(text), given)
    heads = [number for g in made for number in g.told]
    numbers = [number for g in made for number in g.numbers]
    assert (numbers.index(heads[1]) if len(heads) > 1 else len(numbers)) == fused
    assert_close(*native_and_numpy(text, given))


def test_sums_that_are_added_up_in_memory_are_followed_when_they_are_whole() -> None:
    given = arrays({"W": (2101, 519), "x": (9, 2101), "B": (519,)})  # more than caches hold: a few rows at a time
    (group,) = groups(program(LAYER), given)
    assert len(group.told) == 1
    assert_close(*native_and_numpy(LAYER, given))


@pytest.mark.parametrize("text", ["y[b,i+u,o] += W[u,c,o] * x[b,i,c]", "y[b,2*i+u,o] += W[u,c,o] * x[b,i,c]"])
@pytest.mark.parametrize("after", ["", "\nz[b,p,o] = max(y[b,p,o], B[o])"], ids=["alone", "followed"])
def test_a_sum_that_meets_makes_its_zeros_and_is_followed(text: str, after: str) -> None:
    given = arrays({"W": (3, 17, 9), "x": (3, 13, 17), **({"B": (9,)} if after else {})})
    (group,) = groups(program(text + after), given)
    assert len(group.told) == 1
    assert len(group.numbers) == 2 + bool(after)
    assert_close(*native_and_numpy(text + after, given))


@pytest.mark.parametrize("stride", [1, 2])
def test_of_a_gradient_only_what_lies_inside_of_a_padded_tensor_is_made(stride: int) -> None:
    text = (
        f"h[b,i,j,o] = W[u,v,c,o] * x[b,pad({stride}*i+u,1),pad({stride}*j+v,1),c] where i < I, j < I\n"
        "y[b,i,j,o] = max(h[b,i,j,o], 0)\nz[b,i,j,o] = A[k,o] * y[b,i,j,k]"
    )
    text = text.replace("I", str(9 // stride + stride % 2 - 1))
    given = arrays({"W": (3, 3, 7, 9), "A": (9, 9), "x": (2, 9, 9, 7)})
    assert_close(*native_and_numpy(text, given))


def test_the_zeros_before_sums_of_windows_are_not_written_where_all_elements_are_met() -> None:
    text = "y[b,2*i+u,2*j+v,c] += x[b,i,j,u,v,c]"
    given = arrays({"x": (3, 7, 5, 3, 3, 11)})
    (group,) = groups(program(text), given)
    assert len(group.numbers) == 2
    assert len(group.told) == 1
    assert_close(*native_and_numpy(text, given))


def test_two_results_and_functions_by_the_interpreter() -> None:
    second = Operand(Array("z", "float32", 17 * 21), 0, (("j", 17), ("i", 1)))
    mask = Operand(Array("there", "bool", 21), 0, (("j", 1),))
    steps = (
        Step("small", "tanh", ("sum",), "float32"),
        Step("kept", "select", (mask, "small", Literal(0.0, Type("float32"))), "float32"),
    )
    c = written("i,k; k,j; i,j", {"i": 17, "j": 21, "k": 40}, "=", epilogue=steps)
    rng = np.random.default_rng(3)
    memory = {
        "a": rng.standard_normal(17 * 40).astype("float32"), "b": rng.standard_normal(40 * 21).astype("float32"),
        "y": np.full(17 * 21, np.nan, "float32"), "z": np.full(17 * 21, np.nan, "float32"),
        "there": rng.integers(0, 2, 21).astype(bool),
    }  # fmt: skip
    c = replace(c, results=(("sum", c.target), ("kept", second)))
    made = schedule(c, AVX2, "two")
    for space in made.workspaces:
        memory[space.name] = np.zeros(space.size, space.dtype)
    for nest in made.nests:
        assert not faults(nest)
        interpret(nest, memory)
    y = memory["a"].reshape(17, 40).astype(float) @ memory["b"].reshape(40, 21)
    np.testing.assert_allclose(memory["y"].reshape(17, 21), y, atol=1e-5)
    np.testing.assert_allclose(memory["z"].reshape(21, 17).T, np.where(memory["there"], np.tanh(y), 0), atol=1e-5)


def test_sums_over_the_same_arrays_are_brought_together_past_others() -> None:
    text = "a[d] = x[b,d] * y[b,d]\nr[b] = x[b,d]\nc[d] = x[b,d] + y[b,d]\nz[b,d] = r[b] * x[b,d] + a[d] * c[d]"
    given = arrays({"x": (260, 300), "y": (260, 300)})
    (group,) = groups(program(text), given)
    assert len(group.told) == 1
    sizes = {a.name: a.size for nest in group.nests for a in nest.arrays}
    assert sum(any(sizes[a.name] == 260 * 300 for a in nest.arrays) for nest in group.nests) == 2
    assert_close(*native_and_numpy(text, given))


def test_what_only_the_same_nests_read_is_not_written_to_memory() -> None:
    made = replace(program("a[b,d] = exp(x[b,d])\ns[b] = a[b,d]\ny[b,d] = a[b,d] / s[b]"), outputs=("y",))
    (group,) = groups(made, arrays({"x": (40, 30)}))
    (nest,) = group.nests
    assert max(a.size for a in nest.arrays if a.role != "workspace") == 40 * 30
    assert sum(a.size == 40 * 30 for a in nest.arrays) == 2


SCALED = {
    "y[b,o] = g[o] * W[i,o] * x[b,i]": lambda x, w, g: (x @ w) * g,
    "y[b,o] = W[i,o] * x[b,i] / g[o]": lambda x, w, g: (x @ w) / g,
    "y[b,o] = tanh(g[o] * sum[i](W[i,o] * x[b,i]) + 1)": lambda x, w, g: np.tanh((x @ w) * g + 1),
    "y[b,o] = -g[o] * W[i,o] * x[b,i] / (1 + g[o]**2)": lambda x, w, g: -(x @ w) * g / (1 + g**2),
    "y[b,o] = g[o] * W[i,o] * x[b,i] where i < 20": lambda x, w, g: (x[:, :20] @ w[:20]) * g,
    "y[b,o] = x[b,i] * W[i,o]\ny[b,o] += g[o] * W[i,o] * x[b,i]": lambda x, w, g: (x @ w) * (1 + g),
    "y[b,o] = x[b,i] * W[i,o]\ny[b,o] += W[i,o] * x[b,i] / g[o]": lambda x, w, g: (x @ w) * (1 + 1 / g),
}


@pytest.mark.parametrize("text", SCALED)
def test_what_a_whole_sum_is_multiplied_by_comes_after_a_product_of_matrices(text: str) -> None:
    rng = np.random.default_rng(0)
    x, w, g = rng.standard_normal((70, 90)), rng.standard_normal((90, 50)), rng.random(50) + 0.5
    f = indexlang.compile(text, backend="native")
    np.testing.assert_allclose(f(x=x, W=w, g=g), SCALED[text](x, w, g), rtol=1e-9, atol=1e-9)
    plan = str(f.plan(x=(256, 512), W=(512, 256), g=(256,)))
    assert "% of peak" in plan
    assert "along what is reduced" not in plan and "NumPy" not in plan


@pytest.mark.parametrize("text", SCALED)
def test_their_gradients(text: str) -> None:
    rng = np.random.default_rng(1)
    given = {"x": rng.standard_normal((70, 90)), "W": rng.standard_normal((90, 50)), "g": rng.random(50) + 0.5}
    dy = rng.standard_normal((70, 50))
    (_, first), (_, second) = (indexlang.compile(text, backend=b).vjp(given) for b in ("native", "numpy"))
    found, right = first(dy), second(dy)
    for name, value in right.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-8, atol=1e-8)
