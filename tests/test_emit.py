"""The emitted source is what runs, needs nothing but NumPy, and holds nothing of the program's text but comments."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from corpus import CASES, Case

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.syntax.parser import parse

Arrays = dict[str, np.ndarray]


def function_of(case: Case) -> Function:
    return Function(resolve(parse(Source(case.text)), case.layer, case.options), always_dict=True)


def run_alone(source: str, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The source in a namespace of its own, as a file would have it."""
    namespace: dict[str, object] = {"__name__": "emitted"}
    exec(compile(source, "emitted.py", "exec"), namespace)
    found = namespace["run"](*arrays)  # type: ignore[operator]
    assert isinstance(found, tuple)
    return found


def assert_identical(found: tuple[np.ndarray, ...], expected: Arrays) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected.values(), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fc")


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_what_it_prints_is_what_runs(case: Case) -> None:
    f, arrays = function_of(case), case.arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        source = f.emit("numpy", **arrays)
        expected = f(**arrays)
    assert_identical(run_alone(source, [arrays[n] for n in f.inputs]), expected)
    # Nothing is imported but NumPy, and the inputs are still what they were.
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
    assert all(np.array_equal(arrays[n], a, equal_nan=a.dtype.kind in "fc") for n, a in case.arrays().items())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_no_loop_runs_over_data(case: Case) -> None:
    """Loops are `for _ in range(number)` or over blocks, and `np.add.at` occurs nowhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        source = function_of(case).emit("numpy", **case.arrays())
    assert ".at(" not in source
    (run,) = (n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == "run")
    for node in ast.walk(run):
        assert not isinstance(node, ast.While | ast.ListComp | ast.GeneratorExp | ast.DictComp | ast.SetComp)
        if isinstance(node, ast.For):
            assert isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "range"


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    f = indexlang.compile("y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]")
    rng = np.random.default_rng(0)
    arrays = {"W": rng.standard_normal((3, 3, 2, 4)), "x": rng.standard_normal((2, 6, 7, 2))}
    (tmp_path / "emitted.py").write_text(f.emit("numpy", **arrays))
    np.savez(tmp_path / "given.npz", **arrays, y=f(**arrays))
    code = (
        "import sys, numpy as np, emitted; g = np.load('given.npz'); y, = emitted.run(g['W'], g['x'])\n"
        "assert np.array_equal(y, g['y']); assert not any(m.startswith('indexlang') for m in sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", "import sys; sys.path.insert(0, '.')\n" + code], cwd=tmp_path, check=True
    )


HOSTILE = [
    "print[i] = exec[i] * __import__[i]",
    "np[i] = run[i] + view[i]",
    "range[i] = int[i+j] * zip[j]",
    "y[i] = ﬁle[i] * file[i]",  # two names that Python folds into one
    "y[lambda_] = class_[lambda_] + None_[lambda_]",
    "ℵ[ι] = Ж[ι] * _[ι] + __builtins__[ι]",
    "y[i] = check[i] * group[i] # \\N{BULLET} \"\"\" '''",
    "y.T[i] = a.b.c[i] - x.__class__[i]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_data(text: str) -> None:
    try:
        f = indexlang.compile(text)
    except indexlang.IndexLangError:
        return  # the language itself may refuse a name
    arrays = {name: np.arange(2.0) + k for k, name in enumerate(f.inputs)}
    found = f(**arrays)
    (expected,) = run_alone(f.emit("numpy", **arrays), [arrays[n] for n in f.inputs])
    assert np.array_equal(found, expected)
    tree = ast.parse(f.emit("numpy", **arrays))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {
        node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)
    }
    assert all(name.isascii() for name in names)
    assert not {"exec", "eval", "print", "__import__", "__builtins__"} & names


def test_a_comment_cannot_end(tmp_path: Path) -> None:
    f = indexlang.compile("y[i] = x[i]\r# \u2028import os\u2029\x0cimport os\ny[i] += 1 where i < 2")
    source = f.emit("numpy", x=(2,))
    assert "import os" not in [line.strip() for line in source.splitlines()]
    assert run_alone(source, [np.zeros(2, np.float32)])[0].tolist() == [1, 1]


def test_emitted_code_takes_complex_numbers() -> None:
    """Generic in the dtype: what was planned for floats differentiates itself by a complex step."""
    f = indexlang.compile("h[i] = W[i,j] * x[j]\ny[i] = tanh(h[i]) + x[i]**3")
    x, W = np.array([0.3, -0.7]), np.array([[1.0, 2.0], [0.5, -1.0]])  # noqa: N806
    program = f.program
    from indexlang.backends.numpy.load import compile_program

    run = compile_program(
        program, {"W": (2, 2), "x": (2,)}, {"W": "complex128", "x": "complex128"}, complex_step=True
    ).run
    step = np.array([1.0, 0.0]) * 1e-200j
    (found,) = run(W.astype(complex), x + step)
    g = f.grad("x")
    assert grad.gradient_names(program)["x"] == "x.grad"
    for k in range(2):
        seed = np.eye(2)[k]
        expected = g(W=W, x=x, **{"y.grad": seed})["x.grad"][0]
        assert found.imag[k] / 1e-200 == pytest.approx(expected, rel=1e-12)


SPELLINGS = [
    "ab",
    "bc",
    "out",
    "einsum",
    "reshape",
    "transpose",
    "copyto",
    "add",
    "matmul",
    "float32",
    "empty",
    "reduce",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_lifetimes_do_not_depend_on_the_spelling_of_names(name: str) -> None:
    """A word in a string, an attribute or a keyword of the code is no mention of an array."""
    text = """{t}[i,j] = P[i,j]*Q[j,i]
s[i] = {t}[i,j]*{t}[i,j]
u[i,k] = s[i]*tanh(P[i,k])
v[k,i] = u[i,j]*Q[j,k]
v[k,i] += exp(s[i])
w[i] = v[i,j]*u[i,j]
z[k] = Q[k,i]*w[i]"""
    plans = [
        indexlang.compile(text.replace("{t}", t)).plan(P=(n, n), Q=(n, n)) for t in (name, "q9") for n in (30, 300)
    ]
    assert [p.workspace for p in plans[:2]] == [p.workspace for p in plans[2:]]
