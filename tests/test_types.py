"""dtypes: what comes out, what is computed in, what is refused. The expectations are language.md's, spelled out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import indexlang
from indexlang.cli.commands import main
from indexlang.errors import ShapeError, Source
from indexlang.meaning.resolve import resolve
from indexlang.program.ir import Program
from indexlang.sizes import dtypes as kinds
from indexlang.syntax.parser import parse


def program(text: str) -> Program:
    return resolve(parse(Source(text)))


def infer(text: str, **dtypes: str) -> kinds.Types:
    return kinds.infer(program(text), dtypes)


DELIVERED = [
    # numbers and integer tensors take the type of the floating-point tensors
    ("y[i] = 2 * x[i] + 0.5", {"x": "float32"}, "float32"),
    ("y[i] = x[i] * k[i]", {"x": "float32", "k": "int64"}, "float32"),
    ("y[i] = k[i] * 0.5 * x[i]", {"x": "float32", "k": "int64"}, "float32"),
    ("y[i] = k[i] / 2 + x[i]", {"x": "float32", "k": "int32"}, "float32"),
    ("y[i] = i * x[i] + size(x,0) + pi", {"x": "float16"}, "float16"),
    ("y[i] = x[i] * (x[i] > 0)", {"x": "float32"}, "float32"),
    ("y[i] = x[i] * z[i]", {"x": "float32", "z": "float64"}, "float64"),
    ("y[i] = x[i] * z[i]", {"x": "float16", "z": "float32"}, "float32"),
    ("y[i] = where(k[i] > 0, x[i], 0)", {"x": "float32", "k": "int64"}, "float32"),
    # integers
    ("y[i] = a[i] + 3", {"a": "int8"}, "int64"),
    ("y[i] = a[i] - -3", {"a": "int8"}, "int64"),
    ("y[i] = a[i] + 300", {"a": "int8"}, "int64"),
    ("y[i] = a[i] * b[i]", {"a": "int8", "b": "int32"}, "int64"),
    ("y[i] = a[i] * b[i]", {"a": "uint8", "b": "int8"}, "int64"),
    ("y[i] = a[i] * b[i]", {"a": "uint64", "b": "int8"}, "int64"),
    ("y[i] = a[i] / b[i]", {"a": "int8", "b": "int8"}, "float64"),
    ("y[i] = a[i] // 4 + a[i] % 4", {"a": "int32"}, "int64"),
    ("y[i] = -a[i]", {"a": "uint8"}, "int64"),
    ("y[i] = max(a[i], b[i])", {"a": "uint8", "b": "uint8"}, "uint8"),
    ("y[i] = where(a[i] > 3, a[i], b[i])", {"a": "int16", "b": "int8"}, "int16"),
    ("y[i] = a[i] * 0.5", {"a": "int8"}, "float64"),
    ("y[i] = sqrt(a[i])", {"a": "int8"}, "float64"),
    ("y[i] = a[i]**2", {"a": "int32"}, "int64"),
    ("y[i] = a[i]**-1", {"a": "int32"}, "float64"),
    ("y[i] = 2**a[i]", {"a": "int32"}, "float64"),
    ("y[i] = a[i]", {"a": "uint8"}, "uint8"),
    ("y[i] = int(x[i])", {"x": "float32"}, "int64"),
    ("y[i] = float(a[i])", {"a": "int32"}, "float64"),
    ("y[i] = float(a[i]) * x[i]", {"a": "int32", "x": "float32"}, "float32"),
    # bool
    ("y[i] = a[i] > 0", {"a": "int8"}, "bool"),
    ("y[i] = a[i] > 0 and not b[i] > 0", {"a": "int8", "b": "float32"}, "bool"),
    ("y[i] = a[i] + b[i]", {"a": "bool", "b": "bool"}, "int64"),
    ("y[i] = -a[i]", {"a": "bool"}, "int64"),
    ("y[i] = (a[i] > 0) * 1", {"a": "float32"}, "int64"),
    ("y[i] = a[i]", {"a": "bool"}, "bool"),
    ("y[i] = a[i] where i != 1", {"a": "bool"}, "bool"),
    # reductions
    ("y[i] = a[i,j]", {"a": "int8"}, "int64"),
    ("y[i] *= a[i,j]", {"a": "int8"}, "int64"),
    ("y[i] = a[i,j]", {"a": "bool"}, "int64"),
    ("y[i] max= a[i,j]", {"a": "int8"}, "int8"),
    ("y[i] min= a[i,j]", {"a": "bool"}, "bool"),
    ("y[i] = sum[j](a[i,j]) + 1", {"a": "int8"}, "int64"),
    ("y[i] = max[j](a[i,j])", {"a": "uint8"}, "uint8"),
    ("y[i] = mean[j](a[i,j])", {"a": "int8"}, "float64"),
    ("y[i] = mean[j](x[i,j])", {"x": "float32"}, "float32"),
    ("y[i] = argmax[j](x[i,j])", {"x": "float32"}, "int64"),
    ("y[i] = logsumexp[j](x[i,j])", {"x": "float16"}, "float16"),
    ("y[i] = x[i,j] * z[j]", {"x": "float16", "z": "float16"}, "float16"),
    ("y[i+j] = a[i] * b[j]", {"a": "int8", "b": "int8"}, "int64"),  # points may meet
    ("y[2*i] = a[i]", {"a": "int8"}, "int8"),
    # no tensors
    ("y[i,j] = i + 10*j where i < 2, j < 3", {}, "int64"),
    ("y[i] = i / 2 where i < 3", {}, "float64"),
    ("y[i] = 2**i where i < 3", {}, "int64"),
    ("y = 3", {}, "int64"),
    ("y = 1e3", {}, "float64"),
    # complex
    ("y[i] = exp(z[i]) * x[i] + 1", {"z": "complex64", "x": "float32"}, "complex64"),
    ("y[i] = z[i] * x[i]", {"z": "complex64", "x": "float64"}, "complex128"),
    ("y[i] = z[i] * k[i]", {"z": "complex64", "k": "int64"}, "complex64"),
    ("y[i] = z[i] == 0", {"z": "complex64"}, "bool"),
    # what is made of numbers alone says no precision, whatever its name
    ("P[i] = sin(i / 3) where i < size(x,0)\ny[i] = P[i] * x[i]", {"x": "float32"}, "float32"),
    # a tensor holds the values of all its statements
    ("y[i] = a[i]\ny[i] += x[i]", {"a": "int64", "x": "float32"}, "float32"),
    ("y[i] = x[i]\ny[i] += z[i]", {"x": "float32", "z": "float64"}, "float64"),
]


@pytest.mark.parametrize(("text", "dtypes", "expected"), DELIVERED, ids=[t for t, _, _ in DELIVERED])
def test_delivered(text: str, dtypes: dict[str, str], expected: str) -> None:
    assert infer(text, **dtypes).tensors["y"] == expected


@pytest.mark.parametrize(("text", "dtypes", "expected"), DELIVERED, ids=[t for t, _, _ in DELIVERED])
def test_kernels_deliver_it(text: str, dtypes: dict[str, str], expected: str) -> None:
    f = indexlang.compile(text, outputs=["y"])
    shapes = {n: (2,) * max(1, text.count("[i,j]") and 2) for n in f.inputs}
    arrays = {n: np.ones(shapes[n] if n != "z" or ",j] * z" not in text else (2,), dtypes[n]) for n in f.inputs}
    assert f(**arrays).dtype == expected


COMPUTED = [
    ("y[i] = x[i,j]", {"x": "float16"}, "float32"),
    ("y[i] = a[i] * b[i]", {"a": "int8", "b": "int8"}, "int64"),
    ("y[i] = a[i]", {"a": "uint64"}, "uint64"),
    ("y[i] = a[i] > 0", {"a": "int8"}, "bool"),
    ("y[i] = x[i]", {"x": "float32"}, "float32"),
    ("y[i] = z[i] * x[i]", {"z": "complex64", "x": "float64"}, "complex128"),
]


@pytest.mark.parametrize(("text", "dtypes", "expected"), COMPUTED, ids=[t for t, _, _ in COMPUTED])
def test_computed_in(text: str, dtypes: dict[str, str], expected: str) -> None:
    assert infer(text, **dtypes).compute == (expected,)


def test_float16_accumulates_in_float32() -> None:
    ones = np.ones(100_000, np.float16)
    assert indexlang.compile("y = x[i]/1000")(x=ones) == np.float16(100)
    assert indexlang.compile("y = mean[i](x[i])")(x=ones) == 1
    assert indexlang.compile("y = mean[i](x[i])").vjp(x=ones)[0] == 1
    y, pullback = indexlang.compile("h[i] = x[i] / sum[j](x[j])\ny = h[i]**2").vjp(x=ones)
    assert y.dtype == np.float16 and pullback(np.float16(1))["x"].dtype == np.float16


def test_small_integers_do_not_wrap_on_the_way() -> None:
    a = np.array([200, 100], np.uint8)
    assert indexlang.compile("y[i] = (a[i] + a[i]) / 2")(a=a).tolist() == [200, 100]
    assert indexlang.compile("y = x[i] where i < len - 1")(x=np.arange(3.0), len=np.uint8(0)) == 0
    assert indexlang.compile("y[i] = x[pad(p[i]-2)]")(x=np.arange(3.0), p=np.array([0, 4], np.uint8)).tolist() == [0, 2]


def test_integers_to_a_negative_power() -> None:
    assert indexlang.compile("y[i] = 2**k[i]")(k=[-1, 3]).tolist() == [0.5, 8]
    with pytest.raises(ShapeError, match="an integer to a negative power") as caught:
        indexlang.compile("y[] = 2**i where -2 <= i < 3")()
    assert caught.value.code == "negative-power"


def test_a_gradient_has_its_tensors_type() -> None:
    f = indexlang.compile("y[i] = x[i] * w[i]")
    g = f.grad()(x=np.ones(2, np.float32), w=np.ones(2), **{"y.grad": np.ones(2)})
    assert (g["x.grad"].dtype, g["w.grad"].dtype) == (np.float32, np.float64)


def test_the_gradient_of_a_real_tensor_among_complex_ones_is_real() -> None:
    f = indexlang.compile("y[i] = z[i] * x[i]")
    g = f.grad()(z=np.array([1 + 2j]), x=np.array([3.0]), **{"y.grad": np.array([1j])})
    assert g["x.grad"].tolist() == [-2.0]  # the real part of the transpose, without conjugation
    assert g["z.grad"].tolist() == [3j]


REFUSED = [
    ("y[i] = relu(z[i])", {"z": "complex64"}, "complex", "'relu' is not defined on complex numbers"),
    ("y[i] = z[i] < 1", {"z": "complex128"}, "complex", "'<' is not defined"),
    ("y max= z[i]", {"z": "complex64"}, "complex", "'max=' is not defined"),
    ("y = argmax[i](z[i])", {"z": "complex64"}, "complex", "'argmax' is not defined"),
    ("y[i] = x[p[i]]", {"x": "float32", "p": "float32"}, "position-dtype", "a position in x must be an integer"),
    ("y[i] = x[clamp(p[i]*2)]", {"x": "float32", "p": "float64"}, "position-dtype", "must be an integer"),
    ("x.grad[i] += y.grad[i]", {"x": "int64", "y.grad": "float64"}, "integer-gradient", "no gradient"),
]


@pytest.mark.parametrize(("text", "dtypes", "code", "words"), REFUSED, ids=[t for t, _, _, _ in REFUSED])
def test_refused(text: str, dtypes: dict[str, str], code: str, words: str) -> None:
    with pytest.raises(ShapeError, match=words) as caught:
        infer(text, **dtypes)
    problem = caught.value.problems[0]
    assert (problem.code, bool(problem.values), bool(problem.way_out)) == (code, True, True)
    assert problem.span is not None


def test_all_problems_are_told() -> None:
    with pytest.raises(ShapeError) as caught:
        infer("y[i] = relu(z[i])\nw[i] = abs(z[i])", z="complex64")
    assert len(caught.value.problems) == 2


STRANGE = (
    "longdouble",
    "clongdouble",
    "object",
    "M8[s]",
    "m8[s]",
    "U1",
    "S1",
    "f4,f4",
    np.dtype("longdouble").newbyteorder(),
)


@pytest.mark.parametrize("dtype", STRANGE, ids=str)
@pytest.mark.parametrize("text", ["y[i] = where(x[i] > 0, x[i], 0)", "y[i] = x[i]", "y = x[i] * x[i]", "y max= x[i]"])
def test_types_that_tensors_do_not_hold_are_refused_at_the_call(text: str, dtype: str) -> None:
    if np.dtype(dtype).itemsize <= 8 and np.dtype(dtype).kind == "f":
        pytest.skip("this machine's longdouble is float64")
    f, x = indexlang.compile(text), np.zeros(3, dtype)
    calls: list[Callable[[], object]] = [lambda: f(x=x), lambda: f(x), lambda: f.vjp(x=x)]
    calls += [lambda: f.plan(x=x), lambda: f.plan(x=((3,), dtype)), lambda: f.emit(x=((3,), dtype))]
    for call in calls:
        with pytest.raises(ShapeError, match="'x' has dtype") as caught:
            call()
        assert caught.value.problems[0].code == "dtype"
        assert caught.value.problems[0].way_out


@pytest.mark.parametrize("dtype", kinds.DTYPES)
def test_types_that_tensors_hold(dtype: str) -> None:
    x = np.array([1, 0, 1], dtype)
    for given in (x, x.astype(x.dtype.newbyteorder())):
        assert indexlang.compile("y[i] = where(i > 0, x[i], x[0])")(x=given).tolist() == [1, 0, 1]
        assert indexlang.compile("y[i] = x[i] + x[i]")(x=given).tolist() == [2, 0, 2]


@pytest.mark.parametrize("dtype", ["object", "longdouble", "M8[s]", ",", "", "f4,f4", "x=object", "float"])
def test_types_on_the_command_line(dtype: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "-e", "y[i] = x[i]", "--shape", "x=3", "--dtype", dtype]
    if dtype == "float" or (dtype == "longdouble" and np.dtype(dtype).itemsize == 8):
        assert main(arguments) == 0
        assert "float64" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "[NAME=]TYPE, one of bool, int8" in capsys.readouterr().err


def test_a_complex_step_may_go_anywhere() -> None:
    found = kinds.infer(program("y[i] = relu(z[i])"), {"z": "complex128"}, complex_step=True)
    assert found.tensors["y"] == "complex128"


@pytest.mark.parametrize("text", ["y = 10**18 * 10", "y = 9**9**9", "y = 9223372036854775807 + 1", "y[] = x[] * 2**70"])
def test_integers_of_the_source_that_do_not_fit(text: str) -> None:
    with pytest.raises(indexlang.ShapeError, match="64 bits"):
        indexlang.compile(text)(*([1.0] if "x" in text else []))
    assert indexlang.compile("y = 2**62 + 2**61")() == 2**62 + 2**61
    assert indexlang.compile("y[] = x[] * 2.0**70")(x=1.0) == 2.0**70
