"""What is told of programs with blocks, what is emitted of them, and what the commands do with them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from recurrences import CASES, RNN, Case

import indexlang
from indexlang.calls.function import Function
from indexlang.cli.commands import main
from indexlang.errors import MeaningError
from indexlang.oracle import loops

Array = NDArray[Any]
NAMED = {case.name: case for case in CASES}
CHECKED = ("a tree", "a tree without paddings", "viterbi's way back")  # where data tell the order
EMITTED = [case for case in CASES if case.name not in CHECKED]
SIZES = {"x": (70, 5), "h0": (8,), "V": (5, 8), "U": (8, 8), "b": (8,)}


def function(case: Case) -> Function:
    options: dict[str, Any] = {"layer": case.layer} if case.layer else {}
    if case.outputs:
        options["outputs"] = list(case.outputs)
    return indexlang.compile(case.text, backend="numpy", **options)


def forms(arrays: dict[str, Array]) -> dict[str, Any]:
    return {n: (a.shape, a.dtype.name) for n, a in arrays.items()}


def loaded(source: str) -> dict[str, Any]:
    assert "indexlang" not in "\n".join(line for line in source.splitlines() if not line.startswith("#"))
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace


# -- plans -------------------------------------------------------------------------------------------


def test_a_plan_tells_steps_and_their_work() -> None:
    plan = indexlang.compile(RNN, backend="numpy").plan(**SIZES)
    text = str(plan)
    assert "for t=0..69: 70 steps" in text
    assert "work     128 flop, 320 B; 70 times: 8.96 kflop" in text
    assert "h_1 = h[t+1,:]" in text
    # V*x for all steps at once; each step a product of 8 x 8, 8 sums, and 8 tanh
    assert sum(record.flops for record in plan.steps) == 2 * 70 * 5 * 8 + 70 * (2 * 8 * 8 + 2 * 8)
    assert "total     15.7 kflop" in text
    assert repr(plan) == "<StagedPlan of y[8] in 3 pieces; print() shows them>"
    forward, backward = indexlang.compile(RNN, backend="numpy").plans(**SIZES)
    assert "for t=0..69: 70 steps" in str(forward)
    assert "for t=0..69 reversed: 70 steps" in str(backward)


def test_a_plan_tells_conditions_of_blocks() -> None:
    text = str(indexlang.compile(NAMED["a triangle of blocks"].text, backend="numpy").plan(x=(5, 5)))
    assert "for i=0..4: 5 steps\n   for j=0..3, j < i: 4 steps at most" in text or "j < i: 5 steps at most" in text


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_plans_print(case: Case) -> None:
    f, arrays = function(case), case.arrays()
    text = str(f.plan(**forms(arrays)))
    assert text.count("total ") == 1


# -- what is emitted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", EMITTED, ids=lambda c: c.name)
def test_emitted_modules_give_the_same_bits(case: Case) -> None:
    f, arrays = function(case), case.arrays("float32")
    run = loaded(f.emit("numpy", **forms(arrays)))["run"]
    found = f(**arrays)
    right = found if isinstance(found, dict) else {f.outputs[0]: found}
    for name, value in zip(f.outputs, run(*(arrays[n] for n in f.inputs)), strict=True):
        np.testing.assert_array_equal(value, right[name])
        assert value.dtype == right[name].dtype


@pytest.mark.parametrize("case", [c for c in EMITTED if c.gradient], ids=lambda c: c.name)
def test_emitted_pullbacks_give_the_same_bits(case: Case) -> None:
    f, arrays = function(case), case.arrays("float32")
    module = loaded(f.emit("numpy", vjp=True, **forms(arrays)))
    y, pullback = f.vjp(**arrays)
    y = y if isinstance(y, dict) else {f.outputs[0]: y}
    rng = np.random.default_rng(1)
    dy = {
        n: np.asarray(rng.standard_normal(v.shape), v.dtype if v.dtype.kind == "f" else "float64") for n, v in y.items()
    }
    outputs, saved = module["forward"](*(arrays[n] for n in f.inputs))
    for name, value in zip(f.outputs, outputs, strict=True):
        np.testing.assert_array_equal(value, y[name])
    right = pullback(dy if len(f.outputs) > 1 else dy[f.outputs[0]])
    for value, wanted in zip(module["backward"](saved, *(dy[n] for n in f.outputs)), right.values(), strict=True):
        np.testing.assert_array_equal(value, wanted)


def test_an_emitted_module_needs_nothing_but_numpy(tmp_path: Path) -> None:
    f, arrays = indexlang.compile(RNN, backend="numpy"), NAMED["rnn"].arrays("float32")
    (tmp_path / "made.py").write_text(f.emit("numpy", **forms(arrays)))
    np.savez(tmp_path / "in.npz", **arrays)
    code = (
        "import sys; sys.modules['indexlang'] = None\nimport numpy as np, made\n"
        f"a = np.load('in.npz'); np.save('y.npy', made.run(*(a[n] for n in {list(f.inputs)}))[0])\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), f(**arrays))


def test_an_emitted_module_refuses_other_shapes() -> None:
    arrays = NAMED["rnn"].arrays("float32")
    run = loaded(indexlang.compile(RNN, backend="numpy").emit("numpy", **forms(arrays)))["run"]
    with pytest.raises(ValueError, match="made for x of type float32 and shape"):
        run(arrays["x"][1:], *(arrays[n] for n in ("h0", "V", "U", "b")))


def test_what_cannot_be_emitted_is_an_error_with_a_way_out() -> None:
    case = NAMED["a tree"]
    with pytest.raises(MeaningError, match="data tell here whether what a step reads is made by then") as error:
        function(case).emit("numpy", **forms(case.arrays()))
    assert error.value.problems[0].way_out
    with pytest.raises(MeaningError, match="no module of 'llvm' goes through the steps"):
        indexlang.compile(RNN).emit("llvm", **SIZES)


@pytest.mark.parametrize(
    "name", ["range", "piece_0", "np", "int", "min", "reversed", "check_0", "run", "at", "fitting", "λ"]
)
@pytest.mark.parametrize("index", ["t", "range", "piece_0", "λ"])
def test_any_name_may_be_that_of_a_tensor_or_an_index(name: str, index: str) -> None:
    if index == name:
        return
    text = f"for {index}:\n    {name}[{index}] = x[{index}] + 0.5 * {name}[pad({index}-1)] + v[{index}]\n"
    f = indexlang.compile(text, backend="numpy")
    x, v = np.arange(5.0), np.ones(5)
    right = loops.run(f.program, {"x": x, "v": v})[f.outputs[0]]
    np.testing.assert_allclose(f({"x": x, "v": v}), right)
    run = loaded(f.emit("numpy", {"x": x, "v": v}))["run"]
    np.testing.assert_allclose(run(*({"x": x, "v": v}[n] for n in f.inputs))[0], right)


# -- commands ----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rnn.idx"
    path.write_text(RNN)
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main([*arguments]) == 0
    return capsys.readouterr().out


SHAPES = ("--shape", "x=9,5", "--shape", "h0=8", "--shape", "V=5,8", "--shape", "U=8,8", "--shape", "b=8")


def test_explain(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "explain", str(file), *SHAPES, "--backend", "numpy", "--steps")
    assert "for t=0..8: 9 steps" in told
    assert "piece 2, for t=0..8: 9 steps:" in told
    assert "for t=0..8 reversed" in said(capsys, "explain", str(file), *SHAPES, "--backend", "numpy", "--vjp")
    assert "measured  all:" in said(capsys, "explain", str(file), *SHAPES, "--backend", "numpy", "--measure")
    assert "nest " in said(capsys, "explain", str(file), *SHAPES, "--backend", "native", "--nests")
    data = json.loads(said(capsys, "explain", str(file), *SHAPES, "--backend", "numpy", "--format", "json"))
    assert data["kind"] == "StagedPlan"


def test_gradcheck(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "WRONG" not in said(capsys, "gradcheck", str(file), *SHAPES)


def test_grad_check_fmt_emit(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "grad", str(file), "--full")
    assert indexlang.compile(text).program == indexlang.compile(RNN).grad().program
    assert "    for t < T reversed:\n        a.grad[t,k]" in said(capsys, "grad", str(file))
    assert "h.dot[t+1,k]" in said(capsys, "grad", str(file), "--mode", "forward")
    assert "\\text{ reversed}" in said(capsys, "grad", str(file), "--format", "latex")
    data = json.loads(said(capsys, "grad", str(file), "--format", "json"))
    blocks = [s["blocks"] for s in data["statements"]]
    assert blocks[:3] == [[], ["for t < T reversed:"], ["for t < T reversed:"]] or blocks[1] != []
    assert "no errors" in said(capsys, "check", str(file))
    assert said(capsys, "fmt", str(file)) == RNN
    assert "for t in range(9):" in said(capsys, "emit", str(file), *SHAPES)


def test_run(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = NAMED["rnn"].arrays("float32")
    given = []
    for name, a in arrays.items():
        np.save(tmp_path / f"{name}.npy", a)
        given += ["-i", f"{name}={tmp_path / name}.npy"]
    said(capsys, "run", str(file), *given, "-o", f"y={tmp_path / 'y'}.npy")
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), indexlang.compile(RNN)(**arrays), rtol=1e-6)
