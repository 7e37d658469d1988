"""The command line: what it prints, how it exits, and that it never leaves half a file."""

from __future__ import annotations

import json
import os
import pickle
import pty
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang.cli import commands

CONV = "y[b,i,j,cy] += W[di,dj,cx,cy] * x[b,i+di,j+dj,cx]"
DERIVED = """\
W.grad[di,dj,cx,cy] += y.grad[b,i,j,cy] * x[b,i+di,j+dj,cx]
x.grad[b,i+di,j+dj,cx] += y.grad[b,i,j,cy] * W[di,dj,cx,cy]
"""
MATMUL = "y[i,k] = x[i,j] * W[j,k]"

Capsys = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    made = {"x": np.arange(6.0).reshape(2, 3), "W": np.arange(12.0).reshape(3, 4)}
    for name, array in made.items():
        np.save(f"{name}.npy", array)
    np.savez("all.npz", **made)
    return made


def wrong_usage(argv: list[str], capsys: Capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        commands.main(argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


def fails(argv: list[str], capsys: Capsys) -> str:
    assert commands.main(argv) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def files() -> set[str]:
    return set(os.listdir())


# -- usage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["grad"],
        ["grad", "a.idx", "-e", "y = x"],
        ["grad", "-e", "y = x", "--order", "0"],
        ["grad", "-e", "y = x", "--form", "other"],
        ["grad", "-e", "y = x", "--wrt", ""],
        ["grad", "-e", "y = x", "--mode", "sideways"],
        ["grad", "-e", "y = x", "--batch", "n"],
        ["grad", "-e", "y = x", "--batch", "n:"],
        ["explain", "-e", "y[i] = x[i]", "--shape", "x"],
        ["explain", "-e", "y[i] = x[i]", "--shape", "x=a"],
        ["explain", "-e", "y[i] = x[i]", "--shape", "x=-1"],
        ["explain", "-e", "y[i] = x[i]", "--dtype", "float65"],
        ["grad", "-e", "y = x", "-O", "stride=two"],
        ["run", "-e", "y = 1", "--wrt", "x"],
        ["emit", "-e", "y = x", "--shape", "x=", "--wrt", "x"],
        ["fmt", "--write", "-e", "y = x"],
        ["fmt", "--write", "-"],
        ["fmt", "--write", "--check", "a.idx"],
    ],
)
def test_wrong_usage_exits_with_2(argv: list[str], capsys: Capsys) -> None:
    assert "usage: indexlang" in wrong_usage(argv, capsys)


ONE = ["-e", "y[i] = weight[i]"]
NEARLY = [
    (["gard"], "did you mean 'grad'?"),
    (["grad", *ONE, "--form", "gathr"], "did you mean 'gather'?"),
    (["grad", *ONE, "--fomr", "gather"], "usage: indexlang grad"),
    (["grad", *ONE, "--fomr", "gather"], "did you mean '--form'?"),
    (["explain", *ONE, "--dtype", "flot64"], "did you mean 'float64'?"),
    ([], "indexlang --help tells more"),
    (["grad", *ONE, "--order", "0"], "indexlang grad --help tells more"),
    (["explain", *ONE, "--shape", "x=3", "w=4", "b="], "each shape has a --shape of its own: --shape w=4 --shape b="),
    (["explain", *ONE, "--shape", "x=(3, 4)"], "write x=3,4"),
    (["explain", *ONE, "--shape", "x=3x4"], "write x=3,4"),
    (["run", *ONE, "--input", "x=x.npy"], "did you mean '-i'?"),
    (["run", *ONE, "--inputs=x.npy"], "did you mean '-i'?"),
    (["run", *ONE, "--output", "y=y.npy"], "files stand behind -o"),
    (["run", *ONE, "-i", "x=x.npy", "w=w.npy"], "each input has an -i of its own: -i w=w.npy"),
    (["grad", "a.idx", "y[i] = x[i]"], "statements stand behind -e, instead of a FILE: -e 'y[i] = x[i]'"),
    (["grad", *ONE, "--text", "y = x"], "did you mean '-e'?"),
]


@pytest.mark.parametrize(("argv", "words"), NEARLY)
def test_wrong_usage_says_what_was_meant(argv: list[str], words: str, capsys: Capsys) -> None:
    assert words in wrong_usage(argv, capsys)


REFUSED = [
    (["grad", *ONE, "--wrt", "Weight"], "did you mean 'weight'?"),
    (["explain", *ONE, "--shape", "wieght=3"], "did you mean 'weight'?"),
    (["explain", *ONE, "--shape", "weight=3", "--dtype", "int32", "--vjp"], "an integer tensor has no gradient"),
    (["run", *ONE], "say -i weight=weight.npy"),
    (["grad", "y[i]=x[i]"], "way out: statements stand behind -e: -e 'y[i]=x[i]'"),
    (["check", "y[i] = x[i]"], "way out: statements stand behind -e: -e 'y[i] = x[i]'"),
    (["run", *ONE, "-i", "weight"], "say -i weight=weight.npy, a file made in Python by np.save('weight.npy', weight)"),
    (
        ["run", *ONE, "-i", "weight=3"],
        "say -i weight=weight.npy, a file made in Python by np.save('weight.npy', weight)",
    ),
    (["run", *ONE, "-i", "weight=nope.npy"], "way out: write the path of a .npy or .npz file that can be read"),
    (["run", *ONE, "-i", "nope.npz"], "way out: write the path of a .npy or .npz file that can be read"),
    (["run", "-e", "y = 1", "-o", "y=no/dir/y.npy"], "way out: make the folder first: mkdir -p no/dir"),
    (["run", "-e", "y = 1", "-o", "no dir/y.npy"], "way out: make the folder first: mkdir -p 'no dir'"),
    (["run", "-e", "y = 1", "-o", "z=z.npy"], "way out: say -o y=z.npy, or name others by --outputs"),
    (["run", "-e", "yes = 1", "-o", "Yes=z.npy"], "way out: did you mean 'yes'?"),
    (["run", "-e", "y = 1", "-o", "y"], "way out: say -o y=y.npy"),
    (["summary", "resnet18", "-O", "size=0"], "the option 'size' must be at least 1"),
]


@pytest.mark.parametrize(("argv", "words"), REFUSED)
def test_what_is_refused_has_a_way_out(argv: list[str], words: str, capsys: Capsys) -> None:
    said = fails(argv, capsys)
    assert words in said and said.count("error[") == 1


@pytest.mark.parametrize("command", ["grad", "check", "run", "fmt"])
def test_a_file_of_python_is_told_so(command: str, capsys: Capsys) -> None:
    Path("a.py").write_text("import numpy as np\n\ndef f(x):\n    return x\n")
    said = fails([command, "a.py"], capsys)
    assert "a.py is Python" in said and "run this one: python a.py" in said and said.count("error[") == 1
    with pytest.raises(indexlang.IndexLangError, match=r"a\.py is Python"):
        indexlang.load("a.py")


def test_an_integer_output_takes_no_cotangent(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    given = ["-e", "k[i,j] = int(x[i,j])\ny = x[i,j]", "-i", "x=x.npy", "-i", "k.grad=x.npy", "--grad"]
    assert "'k' is int64: an integer output takes no cotangent" in fails(["run", *given], capsys)


def test_a_result_goes_to_a_file_of_arrays(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    run = ["run", "-e", "y[i] = x[i,j]", "-i", "x=x.npy"]
    assert "a name that ends in .npy" in fails([*run, "-o", "y=out.txt"], capsys)
    assert not Path("out.txt").exists()
    assert commands.main([*run, "-o", "y=/dev/null"]) == 0


def test_a_file_that_is_no_text(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    assert "this is no text" in fails(["fmt", "x.npy"], capsys)


def test_the_version(capsys: Capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        commands.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"indexlang {indexlang.__version__}\n"


# -- grad ------------------------------------------------------------------------------------------


def test_grad_prints_the_derived_statements(capsys: Capsys) -> None:
    assert commands.main(["grad", "-e", CONV]) == 0
    assert capsys.readouterr() == (DERIVED, "")


def test_grad_of_a_file_and_of_standard_input(capsys: Capsys) -> None:
    Path("conv.idx").write_text(CONV + "\n")
    assert commands.main(["grad", "conv.idx"]) == 0
    assert capsys.readouterr().out == DERIVED
    given = subprocess.run(
        [sys.executable, "-m", "indexlang", "grad", "-"], input=CONV, capture_output=True, text=True, check=True
    )
    assert given.stdout == DERIVED


def test_grad_by_some_tensors(capsys: Capsys) -> None:
    assert commands.main(["grad", "-e", CONV, "--wrt", "x"]) == 0
    assert capsys.readouterr().out == DERIVED.splitlines(keepends=True)[1]


@pytest.mark.parametrize("extra", [[], ["--full"], ["--form", "gather"], ["--order", "2"], ["--order", "2", "--full"]])
def test_what_grad_prints_is_a_program(capsys: Capsys, extra: list[str]) -> None:
    assert commands.main(["grad", "-e", "h[i,k] = x[i,j] * W[j,k]", "-e", "y[i,k] = tanh(h[i,k])", *extra]) == 0
    text = capsys.readouterr().out
    assert indexlang.compile(text).source == text


def test_full_derivation_runs_from_the_inputs(capsys: Capsys) -> None:
    assert commands.main(["grad", "-e", "h[i] = exp(x[i])", "-e", "y[i] = h[i]**2", "--full"]) == 0
    g = indexlang.compile(capsys.readouterr().out)
    assert set(g.inputs) == {"x", "y.grad"}


def test_grad_as_json(capsys: Capsys) -> None:
    assert commands.main(["grad", "-e", CONV, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == DERIVED
    assert found["outputs"] == ["W.grad", "x.grad"]
    assert found["statements"][0] == {
        "text": DERIVED.splitlines()[0],
        "target": "W.grad",
        "op": "+=",
        "indices": ["di", "dj", "cx", "cy", "b", "i", "j"],
        "reduced": ["b", "i", "j"],
        "blocks": [],
    }


def test_grad_as_latex(capsys: Capsys) -> None:
    assert commands.main(["grad", "-e", CONV, "--format", "latex"]) == 0
    assert capsys.readouterr().out == indexlang.compile(CONV).grad().latex().rstrip("\n") + "\n"


def test_options_of_a_layer(capsys: Capsys) -> None:
    Path("pool.idx").write_text(
        "layer pool(x[B,N]; size=2) -> y:\n    y[b,i] max= x[b,size*i+k] where k < size\n"
        "layer other(x) -> y:\n    y = relu(x)\n"
    )
    assert commands.main(["emit", "pool.idx", "--layer", "pool", "-O", "size=3", "--shape", "x=2,9"]) == 0
    capsys.readouterr()
    assert "other" in fails(["grad", "pool.idx"], capsys)
    assert "nothing" in fails(["grad", "pool.idx", "--layer", "nothing"], capsys)
    assert "width" in fails(["grad", "pool.idx", "--layer", "pool", "-O", "width=3"], capsys)


# -- check -----------------------------------------------------------------------------------------


def test_check_of_a_good_file(capsys: Capsys) -> None:
    Path("good.idx").write_text(CONV + "\n")
    assert commands.main(["check", "good.idx"]) == 0
    assert capsys.readouterr() == ("good.idx: no errors\n", "")


def test_check_shows_all_errors_of_all_layers(capsys: Capsys) -> None:
    Path("bad.idx").write_text("layer a(x) -> y:\n    y[i] = foo(x[i])\nlayer b(x) -> y:\n    y[i] = x[i] * x[i,i]\n")
    assert commands.main(["check", "bad.idx"]) == 1
    out, err = capsys.readouterr()
    assert "bad.idx:2:" in out
    assert "bad.idx:4:" in out
    assert "no errors" not in out
    assert err == ""
    assert commands.main(["check", "bad.idx", "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [e["line"] for e in found["errors"]] == [2, 4]
    assert all(e["code"] and e["rule"] and e["file"] == "bad.idx" for e in found["errors"])


def test_check_warns_of_an_index_that_may_be_cut_short(capsys: Capsys) -> None:
    Path("cut.idx").write_text("layer f(a[N], x) -> y:\n    y[i] = a[i] * x[i+1]\n")
    Path("doubtful.idx").write_text("y[i] = a[i] * x[i+1]\nz[i] = x[i] * K[j] * x[i+j]\n")
    assert commands.main(["check", "cut.idx"]) == 0  # what is declared is known to its author
    assert capsys.readouterr() == ("cut.idx: no errors\n", "")
    assert commands.main(["check", "doubtful.idx"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith("\ndoubtful.idx: no errors, 1 warning\n")
    assert "doubtful.idx:1:17: warning[cut-short]: the index 'i' may end earlier than axis 0 of a" in out
    assert "doubtful.idx:2" not in out  # x is cut by itself: a convolution
    assert commands.main(["check", "doubtful.idx", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["errors"] == []
    assert [(w["code"], w["line"], w["column"]) for w in found["warnings"]] == [("cut-short", 1, 17)]


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"y[i] = x[i", b"y[i] = $x[i]\n", b"(" * 100_000])
@pytest.mark.parametrize("command", ["check", "grad", "fmt"])
def test_files_that_are_no_programs(capsys: Capsys, command: str, data: bytes) -> None:
    Path("bad.idx").write_bytes(data)
    assert commands.main([command, "bad.idx"]) == 1
    found, other = capsys.readouterr()[:: 1 if command == "check" else -1]  # what is looked for, is found
    assert "bad.idx:1:" in found
    assert other == ""


def test_a_missing_file_and_a_folder(capsys: Capsys) -> None:
    assert "cannot read nowhere.idx: no such file or directory" in fails(["check", "nowhere.idx"], capsys)
    assert "cannot read ." in fails(["grad", "."], capsys)
    assert ". has no .idx files" in fails(["check", "."], capsys)


# -- run -------------------------------------------------------------------------------------------


def test_run_writes_what_it_computes(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    assert commands.main(["run", "-e", MATMUL, "-i", "x=x.npy", "-i", "W=W.npy", "-o", "y=y.npy"]) == 0
    assert capsys.readouterr() == ("", "")
    assert np.array_equal(np.load("y.npy"), arrays["x"] @ arrays["W"])


@pytest.mark.parametrize("given", [["all.npz"], ["x=all.npz", "W=all.npz:W"], ["x=all.npz:x", "W=W.npy"]])
def test_run_reads_archives(arrays: dict[str, np.ndarray], given: list[str]) -> None:
    words = [word for item in given for word in ("-i", item)]
    assert commands.main(["run", "-e", MATMUL, *words, "-o", "y=y.npy"]) == 0
    assert np.array_equal(np.load("y.npy"), arrays["x"] @ arrays["W"])


def test_run_prints_without_o(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    assert commands.main(["run", "-e", "s = x[i,j]", "-i", "x=x.npy"]) == 0
    assert capsys.readouterr().out == "s [] float64\n15.\n"


def test_run_with_gradients(arrays: dict[str, np.ndarray]) -> None:
    argv = ["run", "-e", MATMUL, "-i", "all.npz", "--grad", "-o", "out.npz"]
    assert commands.main(argv) == 0
    with np.load("out.npz") as out:
        assert set(out.files) == {"y", "x.grad", "W.grad"}
        assert np.array_equal(out["x.grad"], np.ones((2, 4)) @ arrays["W"].T)
    dy = np.arange(8.0).reshape(2, 4)
    np.save("dy.npy", dy)
    assert commands.main([*argv[:-2], "-i", "y.grad=dy.npy", "--wrt", "W", "-o", "W.grad=gW.npy"]) == 0
    assert np.array_equal(np.load("gW.npy"), arrays["x"].T @ dy)


def test_gradients_with_an_integer_output(arrays: dict[str, np.ndarray]) -> None:
    text = "m[i] max= x[i,j]\nk[i] = argmax[j](x[i,j])"
    assert commands.main(["run", "-e", text, "-i", "x=x.npy", "--grad", "-o", "x.grad=g.npy"]) == 0
    assert np.array_equal(np.load("g.npy"), [[0, 0, 1], [0, 0, 1]])


def test_a_file_that_is_named_in_two_ways_is_one(arrays: dict[str, np.ndarray], capsys: Capsys) -> None:
    argv = ["run", "-e", "y[i] = x[i,j]\nz[j] = x[i,j]", "-i", "x=x.npy"]
    assert commands.main([*argv, "-o", "y=a.npz", "-o", "z=./a.npz"]) == 0
    assert set(np.load("a.npz")) == {"y", "z"}
    assert "a.npy can hold one array" in fails([*argv, "-o", "y=a.npy", "-o", "z=./a.npy"], capsys)


BAD_INPUTS = {
    "missing": (["-i", "x=nowhere.npy"], "cannot read nowhere.npy: no such file or directory"),
    "pickled": (["-i", "x=objects.npy"], "objects.npy holds Python objects, not numbers"),
    "a pickle": (["-i", "x=pickle.npy"], "pickle"),
    "text": (["-i", "x=text.npy"], "text.npy"),
    "empty": (["-i", "x=empty.npy"], "empty.npy"),
    "truncated": (["-i", "x=short.npy"], "short.npy"),
    "a lying header": (["-i", "x=huge.npy"], "huge.npy"),
    "a broken archive": (["-i", "x=broken.npz"], "broken.npz"),
    "no such array": (["-i", "x=all.npz:z"], "no array 'z'"),
    "no name": (["-i", "x.npy"], "say -i NAME=x.npy"),
    "unexpected": (["-i", "all.npz", "-i", "z=x.npy"], "'z' is no input"),
    "not enough": (["-i", "x=x.npy"], "the input 'W' is missing"),
    "wrong sizes": (["-i", "x=W.npy", "-i", "W=W.npy"], "size"),
    "wrong rank": (["-i", "x=vector.npy", "-i", "W=W.npy"], "x"),
    "strings": (["-i", "x=strings.npy", "-i", "W=W.npy"], "numbers"),
}


def test_archives_that_unpack_to_far_more_than_they_are_are_not_unpacked(
    arrays: dict[str, np.ndarray], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexlang.files.reading.MOST_UNPACKED", 1 << 20)
    np.savez_compressed("bomb.npz", x=np.zeros((1 << 9, 1 << 10)), W=arrays["W"])
    assert "bomb.npz unpacks to far more than it is" in fails(["run", "-e", MATMUL, "-i", "bomb.npz"], capsys)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_as_a_file(arrays: dict[str, np.ndarray]) -> None:
    os.mkfifo("pipe.npy")
    threading.Thread(target=Path("pipe.npy").write_bytes, args=(Path("x.npy").read_bytes(),), daemon=True).start()
    assert commands.main(["run", "-e", MATMUL, "-i", "x=pipe.npy", "-i", "W=W.npy", "-o", "y=y.npy"]) == 0
    assert np.array_equal(np.load("y.npy"), arrays["x"] @ arrays["W"])


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_inputs_are_errors_and_nothing_is_written(arrays: dict[str, np.ndarray], capsys: Capsys, case: str) -> None:
    np.save("objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    Path("pickle.npy").write_bytes(pickle.dumps([1, 2, 3]))
    Path("text.npy").write_text("1 2 3\n")
    Path("empty.npy").write_bytes(b"")
    Path("short.npy").write_bytes(Path("x.npy").read_bytes()[:-8])
    Path("huge.npy").write_bytes(
        Path("x.npy").read_bytes().replace(b"(2, 3), }" + b" " * 12, b"(2000000000, 30000), }")
    )
    Path("broken.npz").write_bytes(Path("all.npz").read_bytes()[:-40])
    np.save("vector.npy", np.ones(3))
    np.save("strings.npy", np.array(["a", "b"]))
    before = files()
    words, message = BAD_INPUTS[case]
    err = fails(["run", "-e", MATMUL, *words, "-o", "y=y.npy"], capsys)
    assert message in err
    assert "Traceback" not in err
    assert files() == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (["-o", "y=nowhere/y.npy"], "cannot write nowhere/y.npy: no such file or directory"),
        (["-o", "y=folder"], "cannot write folder"),
        (["-o", "z=z.npy"], "'z' is nothing that is computed here"),
        (["-o", "y=same.npy", "-o", "y=same.npy"], "one array"),
        (["-o", "y=good.npy", "-o", "y=nowhere/y.npy"], "cannot write nowhere/y.npy"),
    ],
)
def test_unwritable_outputs_are_errors_and_nothing_is_written(
    arrays: dict[str, np.ndarray], capsys: Capsys, output: list[str], message: str
) -> None:
    Path("folder").mkdir()
    before = files()
    assert message in fails(["run", "-e", MATMUL, "-i", "all.npz", *output], capsys)
    assert files() == before


def test_an_output_replaces_a_file_and_keeps_its_mode(arrays: dict[str, np.ndarray]) -> None:
    Path("y.npy").write_bytes(b"old")
    os.chmod("y.npy", 0o640)
    os.symlink("y.npy", "link.npy")
    assert commands.main(["run", "-e", MATMUL, "-i", "all.npz", "-o", "y=link.npy"]) == 0
    assert os.path.islink("link.npy")
    assert np.load("y.npy").shape == (2, 4)
    assert stat.S_IMODE(os.stat("y.npy").st_mode) == 0o640
    assert commands.main(["run", "-e", MATMUL, "-i", "all.npz", "-o", "y=/dev/null"]) == 0


def test_sizes_that_need_more_memory_than_there_is(capsys: Capsys) -> None:
    np.save("x.npy", np.ones(1))
    err = fails(["run", "-e", "y[i,j,k] = x[0] where i < 10**6, j < 10**6, k < 10**6", "-i", "x=x.npy"], capsys)
    assert "memory" in err


def test_nan_and_inf_are_computed_with(capsys: Capsys) -> None:
    np.save("x.npy", np.array([np.nan, np.inf, 0.0, -1.0]))
    assert commands.main(["run", "-e", "y[i] = log(x[i]) / x[i]", "-i", "x=x.npy"]) == 0
    assert capsys.readouterr().err == ""


def test_warnings_go_to_standard_error(capsys: Capsys) -> None:
    np.savez("in.npz", x=np.ones(5), w=np.ones(4))
    assert commands.main(["run", "-e", "y[i] = x[i+1] * w[i]", "-i", "in.npz", "-o", "y=y.npy"]) == 0
    assert capsys.readouterr().err == ""
    np.savez("in.npz", x=np.ones(5), w=np.ones(5))
    assert commands.main(["run", "-e", "y[i] = x[i+1] * w[i]", "-i", "in.npz", "-o", "y=y.npy"]) == 0
    assert "warning[" in capsys.readouterr().err


# -- gradcheck, explain, emit ----------------------------------------------------------------------


def test_gradcheck_prints_a_table(capsys: Capsys) -> None:
    assert commands.main(["gradcheck", "-e", CONV, "--shape", "x=2,9,8,3", "--shape", "W=3,3,3,4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["gradient", "W.grad", "x.grad"]
    assert all(line.endswith("ok") for line in lines[1:])


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("y[i] = relu(x[i])", ["x=7"]),
        ("y[i] max= x[i,j]", ["x=3,4"]),
        ("y[t,e] = E[tok[t],e]", ["E=5,3", "tok=4"]),
        ("y = exp(x)", ["x="]),
    ],
)
def test_gradcheck_of_other_statements(capsys: Capsys, text: str, shapes: list[str]) -> None:
    assert commands.main(["gradcheck", "-e", text, *(w for s in shapes for w in ("--shape", s))]) == 0


def test_gradcheck_by_what_is_no_input(capsys: Capsys) -> None:
    argv = ["gradcheck", "-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4"]
    assert "'z' is no input" in fails([*argv, "--wrt", "z"], capsys)
    assert "'y' is no input" in fails([*argv, "--wrt", "x,y"], capsys)


def test_gradcheck_exits_with_1_where_a_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    def doubled(*given: Any) -> object:
        return {name: 2 * g for name, g in right(*given).items()}

    right = commands._backward
    monkeypatch.setattr(commands, "_backward", doubled)
    assert commands.main(["gradcheck", "-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_shapes_must_be_given_for_just_the_inputs(capsys: Capsys) -> None:
    assert "no shape is given for W" in fails(["gradcheck", "-e", MATMUL, "--shape", "x=2,3"], capsys)
    assert "--shape x=2,3 --shape W=3,4" in fails(["gradcheck", "-e", MATMUL], capsys)
    assert "'z' is no input" in fails(["explain", "-e", MATMUL, "--shape", "z=2,3"], capsys)
    sizes = ["--shape", "x=2,3", "--shape", "W=3,4"]
    assert "'z' is no input" in fails(["explain", "-e", MATMUL, *sizes, "--dtype", "z=float64"], capsys)


def test_explain_prints_steps_and_json(capsys: Capsys) -> None:
    argv = ["explain", "-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4"]
    assert commands.main([*argv, "--steps", "--backend", "numpy"]) == 0
    assert " matmul " in capsys.readouterr().out
    assert commands.main([*argv, "--backend", "numpy", "--format", "json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    (section,) = plan["sections"]
    assert section["records"][0]["flops"] > 0 and section["steps"][0]["kernel"]["kind"] == "Product"


def test_explain_prints_the_plan(capsys: Capsys) -> None:
    argv = ["explain", "-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4"]
    assert commands.main(argv) == 0
    assert capsys.readouterr().out == f"{indexlang.compile(MATMUL).plan(x=(2, 3), W=(3, 4))}\n"
    assert commands.main([*argv, "--grad", "--wrt", "W"]) == 0
    assert "W.grad[j,k] += y.grad[i,k] * x[i,j]" in capsys.readouterr().out
    assert commands.main([*argv, "--dtype", "float64", "--dtype", "W=float32"]) == 0
    assert "float64" in capsys.readouterr().out


def test_emit_prints_source_that_stands_alone(capsys: Capsys, arrays: dict[str, np.ndarray]) -> None:
    assert commands.main(["emit", "-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4", "--dtype", "float64"]) == 0
    source = capsys.readouterr().out
    assert "indexlang" not in "".join(line for line in source.splitlines() if "import" in line)
    code = "import sys, numpy as np\nnames = {}\nexec(sys.stdin.read(), names)\n"
    code += "print(names['run'](np.load('x.npy'), np.load('W.npy'))[0].tolist())"
    given = subprocess.run([sys.executable, "-c", code], input=source, capture_output=True, text=True, check=True)
    assert json.loads(given.stdout) == (arrays["x"] @ arrays["W"]).tolist()


def test_emit_of_both_runs(capsys: Capsys, arrays: dict[str, np.ndarray]) -> None:
    argv = ["-e", MATMUL, "--shape", "x=2,3", "--shape", "W=3,4", "--dtype", "float64"]
    assert commands.main(["emit", *argv, "--vjp"]) == 0
    module: dict[str, Any] = {}
    exec(capsys.readouterr().out, module)
    (y,), saved = module["forward"](arrays["x"], arrays["W"])
    assert np.array_equal(y, arrays["x"] @ arrays["W"])
    dx, dW = module["backward"](saved, y)  # noqa: N806
    assert np.array_equal(dx, y @ arrays["W"].T)
    assert np.array_equal(dW, arrays["x"].T @ y)
    for command, more in (("emit", "--grad"), ("explain", "--grad"), ("emit", "--wrt=x")):
        assert "leave --grad and --wrt out" in wrong_usage([command, *argv, "--vjp", more], capsys)
    assert commands.main(["emit", "-e", "y[i] = vjp[i]", "--shape", "vjp=3", "--vjp"]) == 0


# -- fmt -------------------------------------------------------------------------------------------

UGLY = "y [ b,i ]=W[ i , j]*x[b,j] # dense\n"


def test_fmt_prints_checks_and_rewrites(capsys: Capsys) -> None:
    Path("a.idx").write_text(UGLY)
    assert commands.main(["fmt", "a.idx"]) == 0
    pretty = capsys.readouterr().out
    assert pretty != UGLY
    assert "# dense" in pretty
    assert Path("a.idx").read_text() == UGLY
    assert commands.main(["fmt", "--check", "a.idx"]) == 1
    assert "canonical" in capsys.readouterr().out
    assert commands.main(["fmt", "--write", "a.idx"]) == 0
    assert Path("a.idx").read_text() == pretty
    assert commands.main(["fmt", "--check", "a.idx"]) == 0
    assert files() == {"a.idx"}


def test_fmt_leaves_a_file_with_errors_alone(capsys: Capsys) -> None:
    Path("a.idx").write_text("y[i = x[i]\n")
    assert "a.idx:1:" in fails(["fmt", "--write", "a.idx"], capsys)
    assert Path("a.idx").read_text() == "y[i = x[i]\n"


# -- terminals and pipes ---------------------------------------------------------------------------


def on_a_terminal(argv: list[str], **environ: str) -> str:
    """What a terminal shows of a command."""
    ours, theirs = pty.openpty()
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-m", "indexlang", *argv], stdout=theirs, stderr=theirs, env=env | {"TERM": "xterm"} | environ
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how the end of a terminal shows
        pass
    process.wait()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


def test_colours_only_on_a_terminal_that_wants_them(capsys: Capsys) -> None:
    assert "\033[" in on_a_terminal(["grad", "-e", CONV])
    assert "\033[" in on_a_terminal(["grad", "-e", "y[i"])
    assert on_a_terminal(["grad", "-e", CONV], NO_COLOR="1") == DERIVED
    assert on_a_terminal(["grad", "-e", CONV], TERM="dumb") == DERIVED
    assert "\033[" not in on_a_terminal(["grad", "-e", "y[i"], NO_COLOR="1")
    assert "\033" not in fails(["grad", "-e", "y[i"], capsys)


def test_a_pipe_that_closes_early_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "indexlang", "grad", "-e", CONV], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert done.stderr == ""


def test_unicode_goes_through_a_plain_locale() -> None:
    env = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
    argv = [sys.executable, "-m", "indexlang", "fmt", "-"]
    done = subprocess.run(argv, input="y[Δi]=x[Δi]\n".encode(), env=env, capture_output=True, check=True)
    assert done.stdout.decode() == "y[Δi] = x[Δi]\n"


# -- several files ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two good files, one of them laid out otherwise, a wrong one in a folder, and what is no file of ours."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "a.idx": MATMUL + "\n",
        "b.idx": "y[i]=x[i]\n",
        "in/c.idx": "y[i] = \n",
        "in/d.txt": "?",
        ".e/f.idx": "?",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_check_of_files_and_folders(folder: Path, capsys: Capsys) -> None:
    assert commands.main(["check", "a.idx", "b.idx", "a.idx"]) == 0
    assert capsys.readouterr().out == "a.idx: no errors\nb.idx: no errors\n"
    assert commands.main(["check", "."]) == 1
    out, err = capsys.readouterr()
    assert "a.idx: no errors" in out and "in/c.idx:1:" in out and ".e" not in out and not err
    assert commands.main(["check", "b.idx", "in", "--format", "json"]) == 1
    assert [(f["file"], len(f["errors"])) for f in json.loads(capsys.readouterr().out)] == [
        ("b.idx", 0),
        ("in/c.idx", 1),
    ]


def test_a_file_that_cannot_be_read_hides_no_other(folder: Path, capsys: Capsys) -> None:
    (folder / "a_link.idx").symlink_to("nowhere.idx")
    assert commands.main(["check", str(folder)]) == 1
    printed = capsys.readouterr()
    assert "cannot read" in printed.out and printed.out.count("error[") > 1 and printed.err == ""


def test_fmt_of_files_and_folders(folder: Path, capsys: Capsys) -> None:
    (folder / "in" / "c.idx").unlink()
    assert commands.main(["fmt", "--check", "a.idx", "b.idx"]) == 1
    assert capsys.readouterr() == ("b.idx is not in canonical layout\n", "")
    assert commands.main(["fmt", "a.idx", "b.idx"]) == 2
    assert "--write rewrites them" in capsys.readouterr().err
    assert commands.main(["fmt", "--write", "."]) == 0
    assert (folder / "b.idx").read_text(encoding="utf-8") == "y[i] = x[i]\n"
    assert commands.main(["fmt", "--check", "."]) == 0


def test_fmt_writes_nothing_where_one_file_is_wrong(folder: Path, capsys: Capsys) -> None:
    assert "in/c.idx:1:" in fails(["fmt", "--write", "."], capsys)
    assert (folder / "b.idx").read_text(encoding="utf-8") == "y[i]=x[i]\n"


@pytest.mark.parametrize("seed", ["-1", "\u00b2", "1.5", ""])
def test_a_seed_is_a_number_from_0_on(seed: str, capsys: Capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.main(["gradcheck", "-e", MATMUL, f"--seed={seed}"])
    assert "a number from 0 on" in capsys.readouterr().err


# -- forward, and over a batch -----------------------------------------------------------------------

CHAIN = ["-e", "h[b,k] = x[b,i] * U[i,k]", "-e", "y[b,k] = exp(h[b,k])"]


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        (["--mode", "forward", "--wrt", "x"], "h.dot[b,k] += x.dot[b,i] * U[i,k]\ny.dot[b,k] += h.dot[b,k] * y[b,k]\n"),
        (
            ["--mode", "forward", "--wrt", "x", "--full"],
            "h[b,k] = x[b,i] * U[i,k]\nh.dot[b,k] += x.dot[b,i] * U[i,k]\n"
            "y[b,k] = exp(h[b,k])\ny.dot[b,k] += h.dot[b,k] * y[b,k]\n",
        ),
        (  # y, which is an input of what is printed, depends on x
            ["--wrt", "x", "--batch", "n:x"],
            "h.grad[n,b,k] += y.grad[b,k] * y[n,b,k]\nx.grad[n,b,i] += h.grad[n,b,k] * U[i,k]\n",
        ),
        (
            ["--mode", "forward", "--wrt", "x", "--batch", "n:x.dot"],
            "h.dot[n,b,k] += x.dot[n,b,i] * U[i,k]\ny.dot[n,b,k] += h.dot[n,b,k] * y[b,k]\n",
        ),
    ],
)
def test_grad_forward_and_over_a_batch(argv: list[str], printed: str, capsys: Capsys) -> None:
    assert commands.main(["grad", *CHAIN, *argv]) == 0
    text = capsys.readouterr().out
    body = [line.strip() for line in text.splitlines() if not line.startswith(("layer", "shape"))]
    assert [line for line in body if not line.startswith("shape")] == printed.splitlines()
    indexlang.compile(text)


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--batch", "n:q"], "'q' is no input"),
        (["--batch", "x:U"], "would be called like a tensor"),
        (["--mode", "forward", "--wrt", "q"], "'q' is no input"),
    ],
)
def test_grad_tells_what_it_cannot_print(argv: list[str], part: str, capsys: Capsys) -> None:
    assert part in fails(["grad", *CHAIN, *argv], capsys)
