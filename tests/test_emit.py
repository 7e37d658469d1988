"""The emitted source is what runs, needs nothing but NumPy, and holds nothing of the program's text but comments."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from corpus import CASES, Case
from test_bands import PROGRAMS, SMALL

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.errors import IndexLangWarning, Source
from indexlang.meaning.resolve import resolve
from indexlang.syntax.parser import parse

pytestmark = pytest.mark.usefixtures("on_numpy")  # what it prints is what runs there, bit by bit

Arrays = dict[str, np.ndarray]


def function_of(case: Case) -> Function:
    return Function(resolve(parse(Source(case.text)), case.layer, case.options), always_dict=True)


def alone(source: str) -> dict[str, object]:
    """The source in a namespace of its own, as a file would have it."""
    namespace: dict[str, object] = {"__name__": "emitted"}
    exec(compile(source, "emitted.py", "exec"), namespace)
    return namespace


def run_alone(source: str, arrays: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    namespace = alone(source)
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
    """Loops are `for _ in range(number)` or over blocks; of `ufunc.at`, only maxima and minima, loops in C."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        source = function_of(case).emit("numpy", **case.arrays())
    assert ".at(" not in source.replace("np.maximum.at(", "").replace("np.minimum.at(", "")
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


DIFFERENTIABLE = [case for case in CASES if function_of(case)._reached]


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=lambda c: c.name)
def test_both_runs_in_one_module(case: Case) -> None:
    f, arrays = function_of(case), case.arrays()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IndexLangWarning)
        values, pullback = f.vjp(**arrays)
        if not any(arrays[n].dtype.kind in "fc" for n in f._reached):
            with pytest.raises(indexlang.DerivationError, match="integer"):
                f.emit("numpy", arrays, vjp=True)
            return
        module = alone(f.emit("numpy", arrays, vjp=True))
    outputs, saved = module["forward"](*[arrays[n] for n in f.inputs])  # type: ignore[operator]
    assert_identical(outputs, values)
    rng = np.random.default_rng(3)
    dtypes = [v.dtype if v.dtype.kind in "fc" else np.dtype(float) for v in values.values()]
    dy = [np.asarray(rng.standard_normal(v.shape), d) for v, d in zip(values.values(), dtypes, strict=True)]
    for _ in range(2):  # nothing that was saved has changed
        gradients = module["backward"](saved, *dy)  # type: ignore[operator]
        assert_identical(gradients, pullback(dict(zip(f.outputs, dy, strict=True))))
    assert [v.flags.writeable for v in outputs] == [v.flags.writeable for v in values.values()]


@pytest.mark.parametrize("where", ["nowhere", "q", "v", "dy"])
@pytest.mark.parametrize("program", ["softmax", "logsumexp", "sums of columns"])
def test_both_runs_where_the_quick_ones_hold_for_finite_data_only(program: str, where: str) -> None:
    text = PROGRAMS[program].format(mask="s <= t, t < s + 5")
    f, rng = Function(resolve(parse(Source(text))), limits=SMALL), np.random.default_rng(5)
    arrays = {n: rng.standard_normal((40, 4)) for n in (*f.inputs, "dy")}
    if where != "nowhere":
        arrays[where][17, 1] = np.inf
    dy = arrays.pop("dy")
    assert f._pulling(f._formed((), arrays)).instead is not None
    module = alone(f.emit("numpy", arrays, vjp=True))
    outputs, saved = module["forward"](*arrays.values())  # type: ignore[operator]
    values, pullback = f.vjp(**arrays)
    assert_identical(outputs, {"y": values})
    for seed in (dy, np.ones_like(dy)):
        assert_identical(module["backward"](saved, seed), pullback(seed))  # type: ignore[operator]


@pytest.mark.parametrize("vjp", [False, True])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((2, 3)), "not float64 and (2, 3)"),
        (np.zeros((3, 2), np.float32), "not float32 and (3, 2)"),
        (np.zeros((2, 3, 1), np.float32), "not float32 and (2, 3, 1)"),
        (np.zeros((2, 3), ">f4"), "not >f4 and (2, 3)"),
        ([[1, 2, 3], [4, 5, 6]], "not int64 and (2, 3)"),
        (np.ma.masked_array(np.zeros((2, 3), np.float32), True), "masked"),
    ],
)
def test_inputs_of_other_shapes_and_types_are_refused(wrong: object, says: str, vjp: bool) -> None:
    module = alone(indexlang.compile("y[i,k] = x[i,j] * W[j,k]").emit(x=(2, 3), W=(3, 4), vjp=vjp))
    run, right = module["forward" if vjp else "run"], np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=re.escape(says)):
        run(wrong, right)  # type: ignore[operator]
    if vjp:
        _, saved = run(np.zeros((2, 3), np.float32), right)  # type: ignore[operator]
        with pytest.raises(ValueError, match=r"y.grad of type float32 and shape \(2, 4\), not float32 and \(4, 2\)"):
            module["backward"](saved, np.zeros((4, 2), np.float32))  # type: ignore[operator]


def test_a_module_says_where_it_comes_from() -> None:
    text = "shape y[I]\nm[i] = x[i] * α\ny[i] = m[i] where i < 2\n"
    f = indexlang.compile(text)
    for source in (f.emit(x=3, α=()), f.emit(x=3, α=(), vjp=True)):
        head = source.partition("\n\n")[0]
        lines = [line.removeprefix("#").strip() for line in head.splitlines()]
        assert lines[0] == f"Made by indexlang {indexlang.__version__} from"
        assert "\n".join(lines[2:5]) + "\n" == text.encode("ascii", "backslashreplace").decode()


def test_tensors_may_have_the_names_of_arguments_and_functions() -> None:
    f = indexlang.compile("y[i] = vjp[i] * forward[i] * saved[i] + backward[i] * fitting[i] + locked[i] * finite[i]")
    arrays = {name: np.arange(2.0) + k for k, name in enumerate(f.inputs)}
    assert_identical(run_alone(f.emit(**arrays), list(arrays.values())), {"y": f(**arrays)})
    module = alone(f.emit("numpy", arrays, vjp=True))
    values, pullback = f.vjp(**arrays)
    outputs, saved = module["forward"](*arrays.values())  # type: ignore[operator]
    assert_identical(outputs, {"y": values})
    assert_identical(module["backward"](saved, values), pullback(values))  # type: ignore[operator]


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
