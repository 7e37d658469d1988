"""How far indices run and how large tensors are: tables of programs, and what cannot be."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import indexlang
from indexlang.errors import ShapeError, Source
from indexlang.meaning.resolve import resolve
from indexlang.program.affine import Affine
from indexlang.program.ir import Call, Const, Expr, Index, Program
from indexlang.ranges.solve import solve
from indexlang.sizes import shapes
from indexlang.sizes.in_bounds import Unknown, leaves
from indexlang.syntax.parser import parse

Sizes = dict[str, tuple[int, ...]]


def program(text: str, **options: Any) -> Program:
    return resolve(parse(Source(text + "\n")), options=options)


def target(text: str, sizes: Sizes) -> tuple[int, ...]:
    """The shape of the last statement's target."""
    p = program(text)
    return shapes.infer(p, sizes).tensors[p.statements[-1].target.tensor]


@pytest.mark.parametrize(
    ("text", "sizes", "shape"),
    [
        ("y[b,i,j,o] += W[r,s,c,o] * x[b,i+r,j+s,c]", {"W": (3, 2, 4, 5), "x": (1, 7, 7, 4)}, (1, 5, 6, 5)),
        ("y[i] = x[i+k] * w[k]", {"x": (9,), "w": (4,)}, (6,)),
        ("y[i] = x[2*i+k] * w[k]", {"x": (8,), "w": (3,)}, (3,)),
        ("y[i] = x[2*i+3*k] * w[k]", {"x": (9,), "w": (2,)}, (3,)),
        ("y[i] = x[3*i+1]", {"x": (9,)}, (3,)),
        ("y[i] = x[size(x,0)-1-i]", {"x": (9,)}, (9,)),
        ("y[i] = x[4-i]", {"x": (9,)}, (5,)),
        ("y[i] = w[k] * x[i+size(w,0)-1-k]", {"x": (6,), "w": (3,)}, (4,)),
        ("y[i] = x[i+j+k] * a[j] * b[k]", {"x": (10,), "a": (3,), "b": (4,)}, (5,)),
        ("y[j+k] = a[j] * b[k]", {"a": (3,), "b": (4,)}, (6,)),
        ("y[2*j+k+1] = a[j] * b[k]", {"a": (3,), "b": (4,)}, (9,)),
        ("y[i,i] = a[i]", {"a": (3,)}, (3, 3)),
        ("d[i] = x[i+1] - x[i]", {"x": (5,)}, (4,)),
        ("d[i] = x[i+2] - 2*x[i+1] + x[i]", {"x": (5,)}, (3,)),
        ("y[i] = x[i//2]", {"x": (3,)}, (6,)),
        ("y[i] = x[(i+1)//3]", {"x": (3,)}, (8,)),
        ("y[i] = x[pad(i+k,1)] * w[k]", {"x": (5,), "w": (3,)}, (5,)),
        ("y[i] = x[pad(2*i+k,1,2)] * w[k]", {"x": (6,), "w": (3,)}, (4,)),
        ("y[(i,j)] = x[i,j]", {"x": (3, 4)}, (12,)),
        ("y[i,j] = x[(i,j)] where j < 3", {"x": (12,)}, (4, 3)),
        ("y[b,(g,o)] = W[g,c,o] * x[b,(g,c)]", {"W": (2, 3, 4), "x": (1, 6)}, (1, 8)),
        ("y[i] = x[i] where i < 3", {"x": (5,)}, (3,)),
        ("y[i] = x[i-1] where 1 <= i < 4", {"x": (5,)}, (4,)),
        ("y[i] = x[i-k] * w[k] where k <= i, i < size(x,0)", {"x": (5,), "w": (3,)}, (5,)),
        ("y[i] = x[i-k] * w[k] where k <= i", {"x": (5,), "w": (3,)}, (5,)),
        ("y[i,j] = x[i+j] * z[i,j] where i+j < size(x,0)", {"x": (4,), "z": (3, 3)}, (3, 3)),
        ("y[i] = a[i] * x[i+k] * w[k] where i+k < size(x,0)", {"a": (4,), "x": (4,), "w": (3,)}, (4,)),
        ("y[1] = a[i]", {"a": (3,)}, (2,)),
        ("y[i%3] = a[i]", {"a": (7,)}, (3,)),
        ("y[i%3] = a[i]", {"a": (2,)}, (2,)),
        ("shape t[5]\nt[i+1] = x[i]", {"x": (3,)}, (5,)),
        ("y[b,i] = x[b,i]\ny[b,i] += B[i]", {"x": (2, 3), "B": (3,)}, (2, 3)),
        ("y[i] = x[i] * sum[k](z[i+k] * w[k])", {"x": (3,), "z": (5,), "w": (3,)}, (3,)),
        ("y[i,j] = x[2*i+j] * z[3*j]", {"x": (11,), "z": (4,)}, (5, 2)),
        ("y[i] = x[i,j] * w[j]", {"x": (3, 0), "w": (0,)}, (3,)),
    ],
)
def test_the_shape_of_the_target(text: str, sizes: Sizes, shape: tuple[int, ...]) -> None:
    assert target(text, sizes) == shape


@pytest.mark.parametrize(
    ("text", "sizes", "code", "parts"),
    [
        ("y[i] = A[i] + B[i]", {"A": (10,), "B": (4,)}, "size-mismatch", ("'i'", "A has size 10", "B has size 4")),
        ("y[i] = A[i] + B[i]", {"A": (10,), "B": (1,)}, "size-mismatch", ("does not stretch",)),
        ("y[i] = A[i] + B[i]", {"A": (10,), "B": (1,)}, "size-mismatch", ("stretch: write 0 for i in B",)),
        ("y[o] = W[i,o] * x[i]", {"W": (1, 2), "x": (3,)}, "size-mismatch", ("make the sizes equal, or write 0",)),
        ("y = sum[i](a[i] * b[i])", {"a": (4,), "b": (1,)}, "size-mismatch", ("equal, or write 0 for i in b",)),
        ("y[i] = a[i]\nz[i] = y[i]*b[i]\nw[i] = b[i]", {"a": (3,), "b": (4,)}, "size-mismatch", ("y has size 3",)),
        ("w[i] = b[i]\ny[i] = a[i]\nz[i] = y[i]*b[i]", {"a": (3,), "b": (4,)}, "size-mismatch", ("b has size 4",)),
        ("shape y[5]\ny[i] = x[i]", {"x": (3,)}, "size-mismatch", ("y has size 5",)),
        ("y[i] = x[i-1]", {"x": (5,)}, "negative-position", ("i-1 = -1 at i = 0", "pad")),
        ("y[i] = x[i+5] where i < 3", {"x": (6,)}, "out-of-range", ("i+5 = 7 at i = 2", "size 6")),
        ("y[i] = x[i,7]", {"x": (2, 3)}, "out-of-range", ("7 = 7", "size 3")),
        ("y[i,j] = x[i+j] * z[i,j]", {"x": (4,), "z": (3, 3)}, "out-of-range", ("i+j = 4",)),
        ("y[i] = x[i-k] * w[k] where k <= i+1, i < 5", {"x": (5,), "w": (3,)}, "negative-position", ("= -1",)),
        ("y[i] = 2 * w[k]", {"w": (3,)}, "unbounded-index", ("'i'",)),
        ("y[i] = x[i+j]", {"x": (3,)}, "unbounded-index", ("'i'", "'j'")),
        ("y[J[i]] += x[i]", {"x": (3,), "J": (3,)}, "undeclared-shape", ("shape y",)),
        ("y[i] = x[i+k] * w[k]", {"x": (2,), "w": (5,)}, "empty-range", ("x has size 2",)),
        ("y[i] = x[i+3]", {"x": (2,)}, "empty-range", ("i would run from 0 to -2", "x has size 2")),
        ("y[i,j] = x[(i,j)] where j < 5", {"x": (12,)}, "merged-size", ("2 * 5 = 10", "size 12")),
        ("y[i,j] = x[(i,j)] where j < 5", {"x": (3,)}, "merged-size", ("0 * 5 = 0", "size 3")),
        ("shape x[N,N]\ny[i] = x[i,j]", {"x": (2, 3)}, "declared-shape", ("N = 2",)),
        ("y[i] = x[clamp(i)] where i < 2", {"x": (0,)}, "empty-axis", ("clamp",)),
        (
            "x.grad[i] += y.grad[j] * x[i] * y[j]",
            {"x": (2,), "y": (3,), "y.grad": (4,)},
            "gradient-shape",
            ("(3,)", "(4,)"),
        ),
    ],
)
def test_what_does_not_fit(text: str, sizes: Sizes, code: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        target(text, sizes)
    assert caught.value.code == code
    for part in parts:
        assert part in str(caught.value)


NETWORK = """
from conv import conv2d
from linear import linear
from pooling import maxpool2d

layer convolutions(x, K1, b1, K2, b2) -> y:
    h = conv2d(x, K1, b1)
    y = conv2d(h, K2, b2)
layer two(x, W, V) -> y:
    y = linear(linear(x, W), V)
layer four(x, A, B, C, D) -> y:
    h = two(x, A, B)
    y = two(h, C, D)
layer pools(x) -> y:
    h = maxpool2d(x)
    y = maxpool2d(h)
"""


@pytest.mark.parametrize(
    ("layer", "sizes", "calls"),
    [
        (
            "convolutions",
            [(1, 8, 8, 3), (3, 3, 3, 4), (4,), (3, 3, 5, 4), (4,)],
            ["conv2d(h, K2, b2)"],
        ),
        ("two", [(2, 3), (5, 4), (4, 4)], ["linear(x, W)"]),
        ("four", [(2, 3), (3, 4), (4, 4), (5, 4), (4, 4)], ["linear(x, W)", "two(h, C, D)"]),
        ("four", [(2, 3), (3, 4), (5, 4), (4, 4), (4, 4)], ["linear(linear(x, W), V)", "two(x, A, B)"]),
        ("pools", [(1, 3, 3, 2)], ["maxpool2d(h)"]),
    ],
)
def test_an_error_in_a_layer_names_the_calls(layer: str, sizes: list[tuple[int, ...]], calls: list[str]) -> None:
    found = resolve(parse(Source(NETWORK)), layer=layer)
    with pytest.raises(ShapeError) as caught:
        shapes.infer(found, dict(zip(found.inputs, sizes, strict=True)))
    span = caught.value.span
    assert span is not None
    assert span.source.name.endswith(".idx")
    assert [call.text for call in span.callers] == calls
    for call in calls:
        line = next(k for k, text in enumerate(NETWORK.split("\n"), 1) if call in text)
        assert f"\n  called from <text>, line {line}:\n" in str(caught.value)


def test_cutting_short_is_warned_about() -> None:
    found = shapes.infer(program("y[i] = a[i] * x[i+1]"), {"a": (9,), "x": (5,)})
    assert found.tensors["y"] == (4,)
    assert [w.code for w in found.warnings] == ["cut-short"]
    assert not shapes.infer(program("d[i] = x[i+1] - x[i]"), {"x": (5,)}).warnings
    assert not shapes.infer(program("y[i] = a[i] * x[i+1]"), {"a": (4,), "x": (5,)}).warnings


def test_a_gradient_has_the_shape_of_its_tensor() -> None:
    found = shapes.infer(program("x.grad[2*i] += y.grad[i] * x[2*i]"), {"x": (6,), "y.grad": (3,)})
    assert found.tensors["x.grad"] == (6,)
    found = shapes.infer(program("A.grad[i,i] += d.grad[i]"), {"A": (3, 3), "d.grad": (3,)})
    assert found.tensors["A.grad"] == (3, 3)


def test_bounds_without_sizes() -> None:
    p = program("y[i] = x[2*i+k] * w[k]")
    bounds = solve(p).bounds[0]
    sizes = {"x": (11,), "w": (4,)}
    assert bounds["k"].high.value(sizes) == 4
    assert bounds["i"].high.value(sizes) == 4
    assert [Affine.from_expr(e).value(sizes) for e in solve(p).shape("y")] == [4]


# -- every subscript stays inside --------------------------------------------------------------------


def by_points(form: Affine, end: int, box: dict[str, tuple[int, int]], admits: Any) -> bool:
    names = list(box)
    for values in itertools.product(*(range(*box[n]) for n in names)):
        point = dict(zip(names, values, strict=True))
        if admits(point) and not 0 <= form.value({}, point) < end:
            return True
    return False


COMPARE = {"lt": int.__lt__, "le": int.__le__, "eq": int.__eq__, "ne": int.__ne__}


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    coefs=st.tuples(*[st.integers(-3, 3)] * 3),
    const=st.integers(-4, 4),
    end=st.integers(0, 12),
    highs=st.tuples(*[st.integers(0, 5)] * 3),
    masks=st.lists(
        st.tuples(st.sampled_from(sorted(COMPARE)), st.tuples(*[st.integers(-2, 2)] * 3), st.integers(-3, 5)),
        max_size=3,
    ),
)
def test_leaving_an_axis_is_found_and_only_then(
    coefs: tuple[int, ...], const: int, end: int, highs: tuple[int, ...], masks: list[Any]
) -> None:
    box = {n: (0, h) for n, h in zip("ijk", highs, strict=True)}

    def total(cs: tuple[int, ...], c: int) -> Affine:
        terms: list[tuple[Expr, int]] = [(Index(n), k) for n, k in zip("ijk", cs, strict=True) if k]
        return Affine(c, tuple(terms))

    form = total(coefs, const)
    conditions = tuple(Call(fn, (total(cs, 0).to_expr(), Const(c))) for fn, cs, c in masks)

    def admits(point: dict[str, int]) -> bool:
        return all(COMPARE[fn](total(cs, 0).value({}, point), c) for fn, cs, c in masks)

    found = leaves(form, end, box, conditions, {})
    assert found is not Unknown.AT_RUN_TIME
    if 0 in highs:  # nothing is read; what `leaves` says of an empty box does not matter
        return
    assert (found is not Unknown.INSIDE) == by_points(form, end, box, admits)
    if isinstance(found, tuple):
        position, point = found
        assert not 0 <= position < end
        assert form.value({}, point) == position


# -- nothing, and less ---------------------------------------------------------------------------------


def positions(size: int, reach: int, stride: int, before: int, behind: int) -> int:
    """How often a window fits into a padded axis, by trying."""
    return sum(p + reach <= before + size + behind for p in range(0, before + size + behind, stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("before", "behind"), [(0, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("taps", [1, 3, 4])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_window_has_a_position(size: int, taps: int, before: int, behind: int, stride: int) -> None:
    inside = f"{stride}*i + k" if not before + behind else f"pad({stride}*i + k, {before}, {behind})"
    read = program(f"y[i] = x[{inside}] * w[k]")
    declared = program(
        f"shape y[max(({size + before + behind} - {taps})//{stride} + 1, 0)]\ny[i] max= x[{inside}] * w[k]"
    )
    written = program(f"y[i] = x[{inside}] * w[k] where i < (size(x,0) + {before + behind} - size(w,0))//{stride} + 1")
    expected = positions(size, taps, stride, before, behind)
    for text in (read, declared, written):
        if expected:
            assert shapes.infer(text, {"x": (size,), "w": (taps,)}).tensors["y"] == (expected,)
            continue
        with pytest.raises(ShapeError) as caught:
            shapes.infer(text, {"x": (size,), "w": (taps,)})
        padded = f"padded by {before} before it and {behind} behind it" if before + behind else "without padding"
        assert caught.value.code == "empty-range"
        assert caught.value.problems[0].values[:2] == (
            f"the window of k reaches over {taps} elements",
            f"axis 0 of x has size {size}, {padded}",
        )


@pytest.mark.parametrize(
    ("text", "sizes", "shape"),
    [
        ("y[i] = x[i+1] - x[i]", {"x": (1,)}, (0,)),
        ("y[i] = x[i+1] - x[i]", {"x": (0,)}, (0,)),
        ("d[i] = x[i+1] - x[i]\ny[i] = d[i+1] - d[i]", {"x": (1,)}, (0,)),
        ("y[i] = x[i] where i < size(x,0)-3", {"x": (3,)}, (0,)),
        ("y[i] = x[i] where 1 <= i < size(x,0)-1", {"x": (1,)}, (0,)),
        ("y[i] = x[i+k] where k < 3, i < 0", {"x": (2,)}, (0,)),
        ("y[i] = x[i+k] * w[k]", {"x": (0,), "w": (3,)}, (0,)),
        ("y[b,i] = x[b,i+k] * w[k]", {"x": (0, 2), "w": (3,)}, (0, 0)),
        ("h[b,i] = 2*x[b,i]\ny[b,i] = h[b,i+k] * w[k]", {"x": (0, 2), "w": (3,)}, (0, 0)),
        ("shape y[size(x,0)-2]\ny[i] max= x[i+k] where k < 3", {"x": (0,)}, (0,)),
    ],
)
def test_nothing_is_a_size(text: str, sizes: Sizes, shape: tuple[int, ...]) -> None:
    assert target(text, sizes) == shape


@pytest.mark.parametrize(
    ("text", "sizes", "parts"),
    [
        ("y[i] = x[i] where i < size(x,0)-3", {"x": (2,)}, ("size(x,0) - 3 = -1", "x has size 2")),
        ("y[j] = z[j] * sum[i,k](x[i+k] * w[k])", {"x": (2,), "w": (3,), "z": (4,)}, ("window of k", "x has size 2")),
        ("d[i] = x[i+1] - x[i]\ny[i] = d[i+k] * w[k]", {"x": (1,), "w": (2,)}, ("d has size 0",)),
        (
            "n[i] = 2*i where i < size(x,0)-2\ny[i] = n[i] * x[pad(i+k)] where k < 3",
            {"x": (2,)},
            ("'i'", "window of k"),
        ),
        ("X[i,k] = x[2*i + 3*k] where k < 3", {"x": (6,)}, ("reaches over 7 elements", "x has size 6")),
        ("y[i] = 2*e[i]\nz[j] = x[j+k] * w[k]", {"e": (0,), "x": (2,), "w": (3,)}, ("x has size 2",)),
    ],
)
def test_less_than_nothing_is_none(text: str, sizes: Sizes, parts: tuple[str, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        target(text, sizes)
    assert caught.value.code == "empty-range"
    for part in parts:
        assert part in str(caught.value)


def test_a_window_is_written_to_a_place() -> None:
    text = program("shape y[size(x,0) + size(w,0) - 1 - 2]\ny[pad(i + k - 1)] = w[k] * x[i]")
    assert shapes.infer(text, {"x": (2,), "w": (2,)}).tensors["y"] == (1,)
    with pytest.raises(ShapeError, match="no place for a window"):
        shapes.infer(text, {"x": (1,), "w": (2,)})
    assert shapes.infer(text, {"x": (0,), "w": (3,)}).tensors["y"] == (0,)


LONG = f"y[{'+'.join(f'i{k}' for k in range(12))}] = {'*'.join(f'z[i{k}]' for k in range(12))}"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("shape t[9]\nt[i+1] = x[size(y,0)]\ny[i] = z[i]", {"t": (9,), "y": (3,)}),
        ("t[size(y,0)+i] = x[i]\ny[i] = z[i]", {"t": (8,), "y": (3,)}),
        ("t[i] = x[size(y,0)-i] where i < size(y,0)\ny[i] = z[i]", {"t": (3,), "y": (3,)}),
        ("t[i+size(u,0)] = x[i]\nu[i+size(y,0)] = z[i]\ny[i] = z[i]", {"t": (11,), "u": (6,), "y": (3,)}),
        (f"t[i+size(u,0)] = x[i]\nu[i+size(y,0)] = z[i]\n{LONG}", {"t": (33,), "u": (28,), "y": (25,)}),
    ],
)
def test_a_size_may_be_asked_for_before_its_tensor_is_made(text: str, found: Sizes) -> None:
    assert shapes.infer(program(text), {"x": (5,), "z": (3,)}).tensors == {"x": (5,), "z": (3,), **found}


def test_a_position_that_a_later_size_puts_outside_is_refused() -> None:
    f = indexlang.compile("shape t[4]\nt[i+1] = x[size(y,0)]\ny[i] = z[i]")
    assert f(x=np.arange(3.0), z=np.ones(2))["t"].tolist() == [0, 2, 2, 2]
    with pytest.raises(ShapeError, match="leaves its axis"):
        f(x=np.arange(3.0), z=np.ones(3))


def test_a_derived_program_runs_where_its_forward_program_ran() -> None:
    f = indexlang.compile("y[i] = x[2*i+k] * w[k]")
    for form in ("scatter", "gather"):  # of one tap, the odd positions are read nowhere
        found = f.grad(form=form)(x=np.ones(1), w=np.ones(1), **{"y.grad": np.ones(1)})
        assert {n: g.tolist() for n, g in found.items()} == {"x.grad": [1.0], "w.grad": [1.0]}


@pytest.mark.parametrize("text", ["x.grad.grad[k] = x[k]", "x.grad.grad.grad[i] += x[i]"])
def test_a_gradient_has_its_primals_shape_though_that_is_computed_later(text: str) -> None:
    both = program(f"{text}\nx.grad.grad[j] += x[j]\nx.grad.grad.grad[i] += x[i]")
    found = shapes.infer(both, {"x": (3,), "x.grad": (3,)}).tensors
    assert found["x.grad.grad"] == found["x.grad.grad.grad"] == (3,)


@pytest.mark.parametrize("later", ["y[j] = x[j]", "shape y[3]\ny[k[j]] += x[j]", "y.grad[j] = x[j]\ny[j] = x[j]"])
def test_a_gradient_before_its_primal_is_an_error(later: str) -> None:
    with pytest.raises(ShapeError, match="has the shape of 'y', which is computed after it"):
        shapes.infer(program(f"y.grad{'.grad' * ('grad' in later)}[i] = x[i]\n{later}"), {"x": (3,), "k": (3,)})
