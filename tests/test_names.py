"""Names: whatever tensors and indices are called, a program means the same, prints and parses back."""

from __future__ import annotations

import pytest

import indexlang
from indexlang.calls.function import Function
from indexlang.errors import IndexLangError

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
