"""Names: whatever tensors and indices are called, a program means the same, prints and parses back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from random_programs.statements import generate
from random_programs.words import Dice

import indexlang
from indexlang import edf
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangError, Source
from indexlang.meaning.resolve import resolve
from indexlang.oracle import loops
from indexlang.program.names import Fresh, apart, indices_in, renamed, tensors_of
from indexlang.program.text import to_text
from indexlang.program.verify import verify
from indexlang.syntax.parser import parse

# -- printing ----------------------------------------------------------------------------------------

NAMES = ("pi", "nan", "inf", "sum", "max", "exp", "int", "value", "grad", "x.grad", "pi.W", "nan.grad", "d1", "program")
TEXTS = (
    "y[i] = N[i] * x[i]",
    "y[i] = N[] * x[i]",
    "y = N[] * 2",
    "y = N[]",
    "y[i] = x[N[]] * x[i]",
    "y[i] = x[i] where N[] < 3, i < 2",
    "y[i] = x[i] where x[i] > N[]",
    "N[i] = x[i] * x[i]\ny[i] = N[i] * N[i]",
    "N[] = x[i] * x[i]\ny[i] = N[] * x[i]\nz = N[] * N[]",
    "y[i] = x[i] * size(N,0)",
    "shape N[A,B]\ny[i,j] = N[i,j] * N[i,j]",
    "y[i] = erf(N[i]) * pi",
    "y[i] max= N[i,j] * x[j]",
    "layer f(N, x[A]) -> y[A]:\n    y[a] = N[] * x[a] * pi",
    "layer f(N[A], x[A]) -> y[A]:\n    y[a] = N[a] * x[a] * pi",
)


def assert_prints(f: Function) -> None:
    again = indexlang.compile(str(f))
    assert again.program == f.program, f"{f}{again}"


@pytest.mark.filterwarnings("ignore:[^\n]*function-name:indexlang.IndexLangWarning")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS)
def test_a_tensor_may_have_any_name(text: str, name: str) -> None:
    try:
        f = indexlang.compile(text.replace("N", name))
    except IndexLangError:
        return  # `exp[] < 3` and the like
    assert_prints(f)
    for form in ("scatter", "gather"):
        derived = f.grad(form=form)
        assert_prints(derived)
        try:
            second = derived.grad(form=form)
        except IndexLangError:
            continue  # the first is constant
        assert_prints(second)


@pytest.mark.parametrize("name", ["pi", "inf", "nan"])
def test_with_brackets_the_name_of_a_number_is_a_tensor(name: str) -> None:
    f = indexlang.compile(f"{name}[i] = 2 * x[i]\ny[i] = {name}[i] + {name}")
    number = {"pi": 3.141592653589793, "inf": float("inf"), "nan": float("nan")}[name]
    assert str(f(x=[1.0, 5.0])) == str((2.0 * indexlang.compile("y[i] = x[i]")(x=[1.0, 5.0])) + number)
    assert f.grad()(x=[1.0, 5.0], **{"y.grad": [1.0, 3.0]})["x.grad"].tolist() == [2.0, 6.0]


def test_a_scalar_target_is_written_in_one_way() -> None:
    derived = indexlang.compile("y[i] = x[i] * t\nz = t * 2").grad()
    assert str(derived) == "t.grad[] += 2 * z.grad\nx.grad[i] += y.grad[i] * t\nt.grad[] += y.grad[i] * x[i]\n"


@pytest.mark.parametrize("text", ["shape x[B,H]", "shape x[B]\ny[i] = z[i]"])
def test_a_shape_that_only_names_its_own_dims_is_unused(text: str) -> None:
    with pytest.raises(IndexLangError, match="unused-shape"):
        indexlang.compile(text)


def test_a_shape_may_serve_another_shape() -> None:
    f = indexlang.compile("shape x[B]\nshape y[B]\ny[0] = s")
    assert_prints(f)
    assert f(s=2.0, x=[0.0, 0.0, 0.0]).tolist() == [2.0, 0.0, 0.0]


# -- new names ----------------------------------------------------------------------------------------


def test_a_fresh_name_is_new_and_taken_from_then_on() -> None:
    fresh = Fresh({"x", "x3", "u"})
    assert [fresh.fresh("x") for _ in range(3)] == ["x2", "x4", "x5"]
    assert [fresh.fresh(w) for w in ("y", "y", "x2", "x2")] == ["y", "y2", "x2_2", "x2_3"]
    assert [fresh.letter("uv") for _ in range(3)] == ["v", "u2", "v2"]


def test_fresh_names_are_those_that_no_part_of_a_program_has() -> None:
    """Also those that only a merged axis, an embedded reduction or a range names."""
    program = resolve(
        parse(Source("y[a] = x[a,(b,c)] * sum[d](z[a]) where b < 2, d < 3, e < 4\nshape w[F]\nu[f] = w[f]\n"))
    )
    assert {*"abcdefxyzuw", "F"} <= Fresh.of(program).taken


def test_apart() -> None:
    assert apart("ijk", {"i": "j"}) == {"i": "j", "j": "j_"}
    assert apart(("i", "i_", "j"), {}, ["i"]) == {"i": "i_2"}
    assert apart("ij", {"i": "j", "j": "i"}) == {"i": "j", "j": "i"}
    with pytest.raises(ValueError, match="no two names"):
        apart("ij", {"i": "k", "j": "k"})


# -- renaming never captures ----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(80))
def test_a_renamed_program_means_the_same(number: int) -> None:
    """Tensors and indices get each other's names, and those that a careless renaming would take for new."""
    sample, dice = generate(f"names:{number}", "tiny"), Dice(number)
    program, arrays = resolve(parse(Source(sample.text))), sample.arrays()
    tensors, indices = list(tensors_of(program)), list(indices_in(program))
    named = dict(zip(tensors, dice.shuffled([*tensors, "i", "j2", "k_"]), strict=False))
    pool = [*indices, *(f"{i}{end}" for i in indices for end in ("_", "2", "_2"))]
    pool = [n for n in dice.shuffled(pool) if n not in named.values()]
    wanted = {i: n for i, n in zip(indices, pool, strict=False) if dice.chance(50)}
    again = renamed(program, named, wanted)
    verify(again)
    assert resolve(parse(Source(to_text(again)))) == again
    inputs = {named[n]: a for n, a in arrays.items()}
    assert_equal(loops.run(program, arrays), loops.run(again, inputs), named)


def assert_equal(expected: dict[str, np.ndarray], found: dict[str, np.ndarray], names: dict[str, str]) -> None:
    assert {names[n] for n in expected} == set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[names[name]], value)


def test_gradients_follow_their_tensors() -> None:
    program = grad.backward(resolve(parse(Source("y[i] = x[i]**2 * w[i]\n"))))
    again = renamed(program, {"x": "w", "w": "x"}, {"i": "j"})
    assert again.inputs == ("w", "y.grad", "x")
    assert again.outputs == ("w.grad", "x.grad")


NAMES_OF_INDICES = ("i", "i_", "i_2", "j", "j2", "x", "y")


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(NAMES_OF_INDICES, 2)])
def test_a_node_may_have_the_name_of_an_index_of_its_layer(first: str, second: str, tmp_path: Path) -> None:
    """The layer's indices move away, each to a name of its own."""
    file = tmp_path / "rows.idx"
    file.write_text("layer rows(x[A,B], w[B,C]) -> y[A]:\n    y[i] += x[i,i_] * w[i_,i_2] * sum[j](x[j,i_])\n")
    with edf.Graph():
        x, w = edf.Input(name=first), edf.Input(name=second)
        y = edf.node(str(file))(x, w)
        x.value, w.value = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4) ** 2
        edf.Forward()
        expected = np.einsum("ab,bc,b->a", x.value, w.value, np.sum(x.value, 0))
        np.testing.assert_allclose(y.value, expected)


@pytest.mark.parametrize("name", ["i", "i2", "j", "j2", "k"])
def test_a_tensor_may_have_the_name_of_an_index_of_a_layer_that_is_called(name: str) -> None:
    f = indexlang.compile(
        "layer rows(x[A,B]) -> y[A]:\n    y[i] += x[i,i2] * sum[j,j2](x[j,i2] * x[j2,i2])\n"
        f"layer main({name}[A,B], z[A]) -> s[A]:\n    r = rows({name})\n    s = r * z\n",
        layer="main",
    )
    x, z = np.arange(6.0).reshape(2, 3), np.array([2.0, 3.0])
    expected = np.einsum("ab,b->a", x, np.sum(x, 0) ** 2) * z
    np.testing.assert_allclose(f(**{name: x, "z": z}), expected)
    assert_prints(f)
    assert_prints(f.grad())
