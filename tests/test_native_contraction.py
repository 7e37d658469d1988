"""Sums of products as loop nests: right for every kind of strides, on every machine, and the tiles that are chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from native_contractions import allocated, contraction, convolution_gradient, expected, filled
from nest_interpreter import run

from indexlang.backends.native import blocks, contraction_body, contraction_nest, parts
from indexlang.backends.native import contraction as scheduling
from indexlang.backends.native.check import faults
from indexlang.backends.native.contraction import Contraction, Operand, Schedule, Step, schedule
from indexlang.backends.native.emit import module
from indexlang.backends.native.engine import available, call, compiled, host
from indexlang.backends.native.nest import Array, Form, form
from indexlang.backends.native.normal_form import clusters, normal_form, serial
from indexlang.backends.native.target import AVX2, AVX512, BASELINE, NEON, Target
from indexlang.backends.native.tiles import candidates, choose

native = pytest.mark.skipif(not available(), reason="llvmlite is not there")
TINY = replace(AVX2, l1=1 << 9, l2=1 << 11)  # caches that a few rows fill
TEXTS = (
    "i,k; k,j; i,j",
    "i,k; j,k; i,j",
    "k,i; k,j; i,j",
    "k,i; j,k; j,i",
    "b,i,k; b,k,j; b,i,j",
    "b,i,k; j,b,k; i,b,j",
    "b,i+di,j+dj,cx; di,dj,cx,cy; b,i,j,cy",
    "b,2*i+di,3*j+2*dj,cx; di,dj,cx,cy; b,i,j,cy",
    "b,cx,i+di,j+dj; cy,cx,di,dj; b,cy,i,j",
    "b,i+di,j+dj,cx; b,i,j,cy; di,dj,cx,cy",
    "b,i+di,g,cx; g,di,cx,cy; b,i,g,cy",
    "b,i+di,c; di,c; b,i,c",
    "b,i,c; b,i+di,c; b,i,di",
    "b,i,cy; di,cy,cx; b,i+di,cx",
    "i; di; 2*i+di",
    "i,i; i; i",
    "k; k; ",
    "i; j; i,j",
    "i,k; r; i",
    "k,i; k; i",
    "i,k; i; i",
    "i,j; j,i; j",
)
MOST = {"i": 40, "j": 37, "k": 70, "cx": 20, "cy": 40, "c": 40, "b": 4, "g": 5, "di": 5, "dj": 4, "r": 4}


def random_case(generator: np.random.Generator, shrink: int = 1) -> Contraction:
    """A contraction of one of many kinds."""

    def number(most: int) -> int:
        return int(generator.integers(1, max(most // shrink, 2) + 1))

    op, kind = str(generator.choice(["=", "+=", "-="])), generator.random()
    if kind < 0.2:
        return convolution_gradient(*(number(n) for n in (3, 9, 16, 5, 5, 18, 18)), op=op)
    n, m = number(30), number(30)
    if kind < 0.25:
        return contraction("t,s; s,c; t,c", {"t": n, "s": n, "c": m}, op, [form("t") - form("s")])
    if kind < 0.3:
        return contraction("t,c; s,c; t,s", {"t": n, "s": n, "c": m}, op, [form("t") - form("s") + 2])
    if kind < 0.35:
        return contraction("t,s; s; t", {"t": n, "s": n}, op, [form("t", 2) - form("s", 3) + 5, form("s") - 1])
    text = str(generator.choice(TEXTS))
    names = sorted(_names(text))
    dtype = str(generator.choice(["float32", "float64", "int64"], p=[0.6, 0.3, 0.1]))
    return contraction(text, {i: number(MOST[i]) for i in names}, op, dtype=dtype)


def interpreted(s: Schedule, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The target after all nests, statement by statement."""
    held = allocated(s, arrays)
    for nest in s.nests:
        assert faults(nest) == []
        run(nest, {a.name: held[a.name] for a in nest.arrays if a.role != "workspace"})
    return held["y"]


def executed(s: Schedule, arrays: dict[str, np.ndarray], backwards: bool = False) -> np.ndarray:
    """The target after all nests, as code."""
    held = allocated(s, arrays)
    library = compiled(module(s.nests, host()), [n.name for n in s.nests], host())
    for nest in s.nests:
        assert faults(nest) == []
        call(library, nest, held, tuple(reversed(range(nest.count))) if backwards else ())
    return held["y"]


def close(c: Contraction, found: np.ndarray, right: np.ndarray) -> None:
    """Equal but for rounding."""
    tolerance = {"float32": 2e-5, "float64": 1e-13}.get(c.dtype, 0)
    terms = np.prod([n for i, n in c.extents]) ** 0.5
    np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * float(terms), err_msg=str(c))


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items and parts where they would not be worth it."""
    monkeypatch.setattr(blocks, "WORTH", 50.0)
    monkeypatch.setattr(scheduling, "SMALL", 0)
    monkeypatch.setattr(parts, "TERMS", 2)


@pytest.mark.parametrize("target", [AVX2, AVX512, BASELINE, NEON, TINY], ids=["avx2", "avx512", "sse", "neon", "tiny"])
def test_random_contractions_statement_by_statement(target: Target, eager: None) -> None:
    generator = np.random.default_rng(target.vector + target.l1)
    for _ in range(12):
        c = random_case(generator, shrink=6)
        arrays = filled(c, generator)
        close(c, interpreted(schedule(c, target, "f"), arrays), expected(c, arrays))


@native
@pytest.mark.parametrize("seed", range(3))
def test_random_contractions_as_code(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(12):
        c = random_case(generator)
        arrays = filled(c, generator)
        close(c, executed(schedule(c, host(), "f"), arrays), expected(c, arrays))


@native
def test_items_in_any_order_give_the_same_bits(eager: None) -> None:
    generator = np.random.default_rng(7)
    for _ in range(8):
        c = random_case(generator)
        s, arrays = schedule(c, replace(host(), l1=1 << 10, l2=1 << 13), "f"), filled(c, generator)
        found = executed(s, arrays)
        assert found.tobytes() == executed(s, arrays, backwards=True).tobytes(), s.told
        close(c, found, expected(c, arrays))


@pytest.mark.parametrize("text", TEXTS[:13])
def test_every_tile_that_might_be_chosen_is_right(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    extents = {i: min(MOST[i], int(generator.integers(5, 20))) for i in sorted(_names(text))}
    while np.prod(list(extents.values())) > 4000:
        longest = max(extents, key=lambda i: extents[i])
        extents[longest] = (extents[longest] + 1) // 2
    c = contraction(text, extents)
    normal = normal_form(c)
    assert normal is not None
    tiles = list(candidates(normal, 4, 16))
    for number in generator.choice(len(tiles), min(3, len(tiles)), replace=False):
        _check_tile(c, tiles[number], generator, monkeypatch)
    for how in ("panel", "block", "whole"):
        some = [t for t in tiles if any(kind == how for _, kind in t.packs)]
        if some:
            _check_tile(c, some[int(generator.integers(len(some)))], generator, monkeypatch)


def _names(text: str) -> set[str]:
    return set("".join(x if x.isalpha() else " " for x in text).split())


def _check_tile(c: Contraction, tile: object, generator: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduling, "choose", lambda *_: tile)
    s, arrays = schedule(c, replace(TINY, vector=16), "f"), filled(c, generator)
    close(c, interpreted(s, arrays), expected(c, arrays))


def test_inf_and_nan_of_refused_points_are_not_added() -> None:
    c = convolution_gradient(1, 5, 6, 3, 3, 2, 3)
    arrays = filled(c, np.random.default_rng(0))
    arrays["b"][...] = np.inf
    arrays["a"][...] = 1
    assert np.all(interpreted(schedule(c, AVX2, "f"), arrays) == np.inf)  # and not nan of 0 * inf
    c = contraction("t,c; s,c; t,s", {"t": 9, "s": 9, "c": 3}, bounds=[form("t") - form("s")])
    arrays = filled(c, np.random.default_rng(0))
    arrays["b"].reshape(9, 3)[-1] = np.nan
    found = interpreted(schedule(c, AVX2, "f"), arrays).reshape(9, 9)
    assert np.isnan(found[8, 8])
    assert np.all(found[:8, 8] == 0)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("t,s; s; t", [form("t") - form("s")]),
        ("s,t; s; t", [form("t", 2) - form("s", 3) + 5, form("s") - 1]),
        ("s,t; s; t", [form("t") - form("s"), form("s") - form("t") + 3]),
        ("b,s,t; b,s; b,t", [form("s") - form("t"), form("b", 4) - form("t") + 9]),
        ("s,t; s,c; c,t", [form("t") - form("s"), form("s") + form("c") - 4]),
    ],
)
def test_bounds_that_cut_vectors(text: str, bounds: list[Form]) -> None:
    generator = np.random.default_rng(4)
    for n in (1, 7, 19, 33):
        c = contraction(text, {i: {"b": 3, "c": 5}.get(i, n) for i in sorted(_names(text))}, "-=", bounds)
        arrays = filled(c, generator)
        close(c, interpreted(schedule(c, AVX2, "f"), arrays), expected(c, arrays))


@pytest.mark.parametrize("target", [AVX2, AVX512], ids=["avx2", "avx512"])
@pytest.mark.parametrize(("length", "taps"), [(5, 3), (13, 3), (30, 3), (64, 5), (75, 9)])
def test_at_borders_no_position_of_a_tile_is_asked_for_alone(
    length: int, taps: int, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    extents = {"t": length, "u": taps, "o": 9, "c": 16}
    bounds = [form("t") - form("u"), form("u") - form("t") + (length - taps)]
    shapes = [(length - taps + 1, 9), (taps, 16, 9), (length, 16)]
    c = contraction("t-u, o; u, c, o; t, c", extents, "=", bounds, shapes=shapes)
    arrays = filled(c, np.random.default_rng(length))
    static = schedule(c, target, "f")
    monkeypatch.setattr(contraction_body, "STEPS", 0)
    monkeypatch.setattr(contraction_nest, "MOST", -1)
    asked = schedule(c, target, "f")
    assert interpreted(static, arrays).tobytes() == interpreted(asked, arrays).tobytes()
    close(c, interpreted(static, arrays), expected(c, arrays))
    assert taps > 8 or str(static.nests[-1]).count("when") <= 4, static.told


def test_lanes_beyond_the_end_of_a_dot_product_add_nothing() -> None:
    c = contraction("k; r; ", {"k": 11, "r": 1})
    arrays = {"a": np.ones(11, "f4"), "b": np.full(1, np.inf, "f4"), "y": np.zeros(1, "f4")}
    assert interpreted(schedule(c, AVX2, "f"), arrays)[0] == np.inf


@pytest.mark.parametrize("op", ["=", "+="])
@pytest.mark.parametrize("target", [AVX2, TINY])
def test_an_epilogue_sees_the_whole_sum(op: str, target: Target, eager: None) -> None:
    bias, mask = (
        Operand(Array("bias", "float32", 21), 0, (("j", 1),)),
        Operand(Array("m", "float32", 17), 0, (("i", 1),)),
    )
    steps = (
        Step("biased", "add", ("sum", bias)),
        Step("positive", "greatest", ("biased", 0.0)),
        Step("there", "gt", (mask, 0.0)),
        Step("masked", "select", ("there", "positive", 0.0)),
    )
    c = contraction("i,k; k,j; i,j", {"i": 17, "j": 21, "k": 90}, op, epilogue=steps)
    arrays = filled(c, np.random.default_rng(1))
    close(c, interpreted(schedule(c, target, "f"), arrays), expected(c, arrays))


@pytest.mark.parametrize(
    ("extents", "op", "value"), [({"i": 3, "k": 0}, "=", 0), ({"i": 3, "k": 0}, "+=", 5), ({"i": 0, "k": 3}, "=", 5)]
)
def test_sums_of_nothing(extents: dict[str, int], op: str, value: int) -> None:
    c = contraction("i,k; k; i", extents, op, shapes=[(3, 3), (3,), (3,)])
    arrays = {"a": np.ones(9, "f4"), "b": np.ones(3, "f4"), "y": np.full(3, 5, "f4")}
    assert np.all(interpreted(schedule(c, AVX2, "f"), arrays) == value)


def test_negative_strides_and_other_dtypes() -> None:
    shape = [("i", -1), ("k", 7)]
    left, right = Operand(Array("a", "float64", 35), 6, tuple(shape)), Operand(Array("b", "int32", 5), 4, (("k", -1),))
    c = Contraction((("i", 7), ("k", 5)), ("k",), left, right, Operand(Array("y", "float32", 7), 6, (("i", -1),)))
    arrays = filled(c, np.random.default_rng(2))
    close(c, interpreted(schedule(c, AVX2, "f"), arrays), expected(c, arrays))


def test_elements_that_several_points_share() -> None:
    assert serial([("i", 2, 10), ("d", 1, 3)]) == {"d"}
    assert serial([("i", 2, 10), ("d", 1, 2)]) == set()
    assert [len(group) for group in clusters([("b", 100, 4), ("i", 5, 10), ("d", 5, 3), ("c", 1, 5)])] == [1, 2, 1]


CONV = "b,i+di,j+dj,cx; di,dj,cx,cy; b,i,j,cy"
WEIGHTS = "b,i+di,j+dj,cx; b,i,j,cy; di,dj,cx,cy"
LAYER = {"b": 8, "i": 56, "j": 56, "di": 3, "dj": 3, "cx": 64, "cy": 64}
FAR, BOTH = "right packed by whole", "right packed by whole, left packed by block"
CHOICES = {
    "rows far apart": ("i,k; k,j; i,j", {"i": 768, "j": 768, "k": 768}, f"j in 3 x 8 lanes, 4 of i, {FAR}"),
    "rows near": ("b,i,k; b,k,j; b,i,j", {"b": 128, "i": 64, "j": 64, "k": 64}, "j in 3 x 8 lanes, 4 of i"),
    "lanes apart": ("i,k; j,k; i,j", {"i": 768, "j": 768, "k": 768}, f"j in 3 x 8 lanes, 4 of i, {FAR}"),
    "lanes apart, few rows": (
        "i,k; j,k; i,j",
        {"i": 8, "j": 512, "k": 4096},
        "summed k in 1 x 8 lanes, 4 of i x 3 of j",
    ),
    "both far": ("k,i; k,j; i,j", {"i": 768, "j": 768, "k": 768}, f"j in 3 x 8 lanes, 4 of i, {BOTH}"),
    "convolution": (CONV, LAYER, "cy in 3 x 8 lanes, 4 of j"),
    "its weights": (WEIGHTS, LAYER, "cy in 2 x 8 lanes, 6 of cx"),
    "fewer channels than lanes": (
        CONV,
        {"b": 64, "i": 28, "j": 28, "di": 5, "dj": 5, "cx": 1, "cy": 6},
        f"cy in 1 x 8 lanes, 14 of j, {FAR}",
    ),
    "a matrix by a vector": ("i,k; k; i", {"i": 1024, "k": 1024}, "summed k in 1 x 8 lanes, 12 of i"),
    "a vector by a matrix": ("k; k,j; j", {"k": 1024, "j": 1024}, "j in 4 x 8 lanes, 1"),
    "rows a power of two apart": (
        "t,h,u; t,h,f; u,h,f",
        {"t": 512, "h": 8, "u": 512, "f": 64},
        "u in 1 x 8 lanes, 13 of f, left packed by panel, right packed by block",
    ),
    "more rows than ways": ("j,k; i,j; i,k", {"i": 1024, "j": 1024, "k": 16}, "k in 2 x 8 lanes, 4 of i"),
    "a channel at a time": (
        "i+di,j+dj,c; di,dj,c; i,j,c",
        {"i": 56, "j": 56, "di": 3, "dj": 3, "c": 128},
        "c in 1 x 8 lanes, 2 of i x 4 of j",
    ),
    "windows of one array": (
        "b,i,c; b,i+di,c; b,i,di",
        {"b": 8, "i": 100, "di": 3, "c": 64},
        "summed c in 1 x 8 lanes, 4 of i x 3 of di",
    ),
    "shared results": (
        "b,i,cy; di,cy,cx; b,i+di,cx",
        {"b": 8, "i": 100, "di": 3, "cx": 64, "cy": 64},
        "cx in 3 x 8 lanes, 4 of i",
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    text, extents, right = CHOICES[name]
    normal = normal_form(contraction(text, extents))
    assert normal is not None
    assert str(choose(normal, AVX2.lanes(4), AVX2.registers)) == right


@pytest.mark.parametrize("target", [AVX2, AVX512, BASELINE, NEON], ids=["avx2", "avx512", "sse", "neon"])
@pytest.mark.parametrize("name", CHOICES)
def test_sums_fit_the_registers(name: str, target: Target) -> None:
    text, extents, _ = CHOICES[name]
    normal = normal_form(contraction(text, extents))
    assert normal is not None
    tile = choose(normal, target.lanes(4), target.registers)
    assert tile.width * tile.positions + tile.width + 1 <= target.registers


def test_results_of_sums_in_chunks_lie_side_by_side() -> None:
    """Gradients of 5x5 weights: sums of 5,832 terms go to the target chunk by chunk, not lane by lane each time."""
    text = "b,i,j,g,cy; b,i+di,j+dj,g,cx; di,dj,cx,g,cy"
    extents = {"b": 8, "i": 27, "j": 27, "g": 2, "cy": 128, "di": 5, "dj": 5, "cx": 48}
    normal = normal_form(contraction(text, extents))
    assert normal is not None
    assert choose(normal, AVX512.lanes(4), AVX512.registers).vector == "cy"


def test_long_sums_for_few_results_are_made_in_parts() -> None:
    told = schedule(contraction(WEIGHTS, LAYER), AVX2, "f")
    assert told.nests[0].count % LAYER["b"] == 0
    assert [a.name for a in told.workspaces] == ["f_parts"]
    assert schedule(contraction(CONV, LAYER), AVX2, "f").nests[0].count >= 16


@pytest.mark.parametrize("cx", [3, 48, 256])
@pytest.mark.parametrize("target", [AVX2, AVX512], ids=["avx2", "avx512"])
def test_parts_take_little_memory(cx: int, target: Target) -> None:
    """With 48 channels 8 parts would have more elements than both operands together."""
    c = contraction(WEIGHTS, {**LAYER, "i": 27, "j": 27, "di": 5, "dj": 5, "cx": cx, "cy": 128})
    told = schedule(c, target, "f")
    made = sum(a.size for a in told.workspaces if a.name.endswith("_parts"))
    assert made <= (c.left.array.size + c.right.array.size) // 8 + parts.LITTLE
    assert max(n.count for n in told.nests) >= 8
