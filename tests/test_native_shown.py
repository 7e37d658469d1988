"""What users see of the native backend: plans, nests, times, modules of LLVM, the cache, errors."""

from __future__ import annotations

import ctypes
import json
import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest

import indexlang
from indexlang import threads
from indexlang.backends import engines
from indexlang.backends.engines import BACKENDS
from indexlang.backends.native import batches, objects
from indexlang.backends.native.target import AVX2
from indexlang.calls import measuring
from indexlang.cli import commands, doctor
from indexlang.errors import MeaningError
from indexlang.plan.printing import as_json

pytest.importorskip("llvmlite", reason="the native backend is an extra")
engine = pytest.importorskip("indexlang.backends.native.engine")
load = pytest.importorskip("indexlang.backends.native.load")
kernels = pytest.importorskip("indexlang.backends.native.kernels")
remembered = pytest.importorskip("indexlang.backends.native.remembered")

ROOT = Path(__file__).resolve().parent.parent
Capsys = pytest.CaptureFixture[str]
DENSE = "h[b,o] = tanh(x[b,i]) * W[o,i]"
NETWORK = """\
h[b,o] = W[o,i] * x[b,i]
r[b,o] = relu(h[b,o] + c[o])
z[b,o] = V[o,k] * r[b,k]
y[b,o] = exp(z[b,o] - logsumexp[l](z[b,l]))"""
SIZES = {"x": (33, 50), "W": (40, 50), "c": (40,), "V": (9, 40)}
SCATTER = "y[t[i]] += x[i]\nshape y[5]"
SHAPES = ["--shape", "x=33,50", "--shape", "W=40,50", "--shape", "c=40", "--shape", "V=9,40"]


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INDEXLANG_BACKEND", raising=False)


def network(backend: str = "native") -> indexlang.Function:
    return indexlang.compile(NETWORK, backend=backend)  # type: ignore[arg-type]


def arrays(seed: int = 0, sizes: dict[str, tuple[int, ...]] = SIZES) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in sizes.items()}


# -- plans -----------------------------------------------------------------------------------------------------


def test_each_statement_says_what_native_code_does() -> None:
    plan = network().plan(**SIZES)
    kernels = [record.kernel for record in plan.steps]
    assert all(kernel.startswith("native, ") for kernel in kernels), kernels
    assert any("of peak" in kernel and "8 lanes" in kernel for kernel in kernels) or engine.host().vector != 32
    assert str(plan).count("kernel   native, ") == len(kernels)
    assert json.loads(as_json(plan))["sections"][0]["records"][0]["kernel"] == kernels[0]


def test_statements_that_are_fused_name_the_one_that_they_are_fused_with() -> None:
    steps = (
        indexlang.compile("a[i] = x[i] + 1\nb[i] = a[i] * 2", outputs=["a", "b"], backend="native").plan(x=100).steps
    )
    assert "2 statements together" in steps[0].kernel and not steps[0].joined
    assert steps[1].kernel == "native, together with 1." and steps[1].joined


def test_what_is_left_to_numpy_says_why() -> None:
    experts = indexlang.compile("y[k,i] = W[a[k],i,j]*x[k,j]", backend="native")
    (record,) = experts.plan(W=(4, 64, 64), a=300, x=(300, 64)).steps
    assert record.kernel == "NumPy, grouped contraction: native code has no matrices that data choose"
    (record,) = indexlang.compile("y[i] = exp(x[i])", backend="native").plan(x=((7,), "complex128")).steps
    assert record.kernel.startswith("NumPy, elementwise: native code has no complex128")


def test_nothing_but_records_tells_of_the_backend() -> None:
    """The plan is the one that the planner made, but for what is told."""
    from indexlang.plan.limits import NATIVE
    from indexlang.plan.planning import plan

    told = network().plan(**SIZES)
    made = plan(network().program, SIZES, dict.fromkeys(SIZES, "float32"), NATIVE).plan
    assert [s.steps for s in told.sections] == [s.steps for s in made.sections]
    assert [r.statement for r in told.steps] == [r.statement for r in made.steps]
    assert [r.flops for r in told.steps] == [r.flops for r in made.steps]


def test_both_runs_are_told() -> None:
    for plan in network().plans(**SIZES):
        assert any(record.kernel.startswith("native, ") for record in plan.steps)


def test_a_plan_of_numpy_tells_of_numpy() -> None:
    assert not any("native" in record.kernel for record in network("numpy").plan(**SIZES).steps)


# -- the command line ------------------------------------------------------------------------------------------


def explained(capsys: Capsys, *more: str) -> str:
    assert commands.main(["explain", "-e", NETWORK, *SHAPES, *more]) == 0
    return capsys.readouterr().out


def test_explain_of_a_backend(capsys: Capsys) -> None:
    assert explained(capsys, "--backend", "native") == f"{network().plan(**SIZES)}\n"
    assert explained(capsys, "--backend", "numpy") == f"{network('numpy').plan(**SIZES)}\n"
    assert explained(capsys, "--backend", "native", "--vjp").count("kernel   native") > 4
    assert "native, " in explained(capsys, "--backend", "native", "--grad", "--wrt", "W", "--format", "json")


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("y[t[b],d] += E[b,d]\nshape y[50,8]", {"t": (900,), "E": (900, 8)}),
        ("s[j] = x[i,j]\ny[i,j] = (x[i,j] - s[j]/size(x,0))**2", {"x": (4096, 40)}),
        ("y[b,g,c] = x[b,g,c] - mean[d](x[b,g,d])\nz[b] = sum[g](max[c](y[b,g,c]))", {"x": (30, 40, 9)}),
        ("y[n,k] = exp(x[n,k] - logsumexp[m](x[n,m]))", {"x": (300, 100)}),
        ("y[t,d] = x[s,d] where s <= t, t < size(x,0)", {"x": (300, 30)}),
    ],
)
def test_plans_speak_of_indices_of_the_text(text: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Those of nests have numbers, and some no name: of them it is said what they go through."""
    f = indexlang.compile(text, backend="native")
    known = set(re.findall(r"\w+", text)) | {"elements", "parts"}
    for plan in (f.plan(shapes), *f.plans(shapes)):
        for record in (record for section in plan.sections for record in section.records):
            assert not re.search(r"[?#]|\w\.\w", record.kernel), record.kernel
            named = re.findall(r"(?:lanes along|items of|, ) ?(\w+) by|along (\w+)", record.kernel)
            assert {word for pair in named for word in pair if word} <= known | {"what"}, record.kernel


@pytest.mark.parametrize("page", ["README.md", "docs/native.md"])
def test_what_pages_show_of_explain_is_so(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """On the processor that the page shows it for, whichever this one is; how long it takes is not looked at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "machine", lambda: AVX2)
    text = (ROOT / page).read_text(encoding="utf-8")
    [sample] = re.findall(r"^\$ \S*(indexlang explain conv\.idx .*\n(?:.+\n)*?)```$", text, re.MULTILINE)
    command, *shown = sample.splitlines()
    Path("conv.idx").write_text("".join(f"{t}\n" for t in re.findall(r"^\d\. (.*)", sample, re.MULTILINE)))
    assert command.endswith(" --measure")
    assert commands.main(command.removesuffix(" --measure").split()[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    end = shown.index("...")
    assert end > 1 and printed[:end] == shown[:end]
    assert all(re.fullmatch(r"measured  (\d( to \d)?|all): .*", line) for line in shown[end + 1 :])


def test_explain_shows_the_nests(capsys: Capsys) -> None:
    text = explained(capsys, "--backend", "native", "--nests")
    nests = text.partition("\n\n")[2]
    assert nests.startswith("# 1. ") and "\nnest " in nests and " is W" in nests
    for number in range(1, 4):
        assert f"# {number}. " in nests
    assert commands.main(["explain", "-e", NETWORK, *SHAPES, "--nests", "--backend", "numpy"]) == 2
    assert "give --backend native" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_explain_measures(capsys: Capsys, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(measuring, "peaks", lambda dtype: (1e11, 1e10))
    lines = [line for line in explained(capsys, "--backend", backend, "--measure").splitlines() if "measured" in line]
    assert lines[-1].startswith("measured  all: ") and "100 GFLOP/s of float32, a copy 10 GB/s" in lines[-1]
    rate = r"[\d.e+]+ .?(FLOP|B)/s, \d+% of (peak|a copy through memory)"
    pattern = rf"measured  \d+( to \d+)?: [\d.e+]+ (us|ms|s), {rate}"
    assert lines[:-1] and all(re.fullmatch(pattern, line) for line in lines[:-1])
    found = json.loads(explained(capsys, "--backend", backend, "--measure", "--format", "json"))
    assert found["plan"]["kind"] == "Plan" and found["measured"]["seconds"] > 0
    assert sum(row["count"] for row in found["measured"]["rows"]) == len(network(backend).plan(**SIZES).steps)


def test_what_is_measured_may_read_at_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(measuring, "peaks", lambda dtype: (1e11, 1e10))
    f = indexlang.compile("y[i] = x[t[i] + 2]", backend="native")
    found = measuring.measured(f, {"x": ((5,), "float32"), "t": ((40,), "int64")})
    assert len(found.rows) == 1 and found.rows[0].seconds > 0


def test_peaks_are_measured() -> None:
    from indexlang.backends.native import peaks

    target = engine.host()
    single, double = (peaks.flops(d, target, 0.0) for d in ("float32", "float64"))
    assert 1e8 < double < 1e15 and 1e8 < single < 1e15
    assert 1e7 < peaks.bandwidth(target, 0.0) < 1e14


def test_run_and_gradcheck_on_a_backend(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = arrays()
    for name, array in given.items():
        np.save(f"{name}.npy", array)
    inputs = [word for name in given for word in ("-i", f"{name}={name}.npy")]
    assert commands.main(["run", "-e", NETWORK, *inputs, "-o", "y=y.npy", "--backend", "native"]) == 0
    assert np.array_equal(np.load("y.npy"), network()(**given))
    argv = ["gradcheck", "-e", DENSE, "--shape", "x=3,4", "--shape", "W=2,4", "--backend", "native"]
    assert commands.main(argv) == 0
    assert "WRONG" not in capsys.readouterr().out


# -- modules of LLVM -------------------------------------------------------------------------------------------


def run_of(text: str) -> Any:
    """The function `run` of a module, and what keeps it alive."""
    library = engine.linked([engine.assembled(text, engine.host())], ["run"])
    return library, library.address("run")


@pytest.mark.parametrize(
    ("program", "sizes"),
    [
        (NETWORK, SIZES),
        ("y[b,i,j,o] = K[p,q,c,o] * x[b,i+p,j+q,c]", {"x": (2, 9, 8, 3), "K": (3, 3, 3, 5)}),
        ("m[i] = max[j](x[i,j])\nd[i,j] = x[i,j] - m[i]", {"x": (7, 13)}),
    ],
)
def test_a_module_computes_what_a_call_gives(program: str, sizes: dict[str, tuple[int, ...]]) -> None:
    f = indexlang.compile(program, backend="native")
    text, given = f.emit("llvm", **sizes), arrays(1, sizes)
    wanted = f(**given)
    wanted = wanted if isinstance(wanted, dict) else {f.outputs[0]: wanted}
    named = re.findall(r"^;     %(in|out)\d+: (\S+) (\w+)\[", text, re.MULTILINE)
    assert [n for kind, n, _ in named if kind == "in"] == list(f.inputs)
    results = {n: np.full(wanted[n].shape, 7, dtype) for kind, n, dtype in named if kind == "out"}
    size = int(re.search(r"%workspace: (\d+) bytes, aligned to 64", text)[1])  # type: ignore[index]
    raw = np.empty(size + 64, np.uint8)
    workspace = raw[-raw.ctypes.data % 64 :]
    library, address = run_of(text)
    places = [given[n].ctypes.data for n in f.inputs] + [results[n].ctypes.data for n in results]
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(places) + 1))(address)(*places, workspace.ctypes.data)
    assert set(results) == set(wanted) and library is not None
    for name, value in wanted.items():
        assert np.array_equal(results[name], value), name


@pytest.mark.parametrize("layers", [1, 2])
def test_a_module_goes_example_by_example_where_a_call_does(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LEAST", 1)
    monkeypatch.setattr(batches, "PIECE", 1)
    program = "y[b,i,j,o] = K[p,q,c,o] * x[b,pad(i+p,1),pad(j+q,1),c]"
    program += "\nz[b,i,j,o] = L[p,q,c,o] * y[b,pad(i+p,1),pad(j+q,1),c]" * (layers - 1)
    sizes = {"x": (3, 9, 8, 12), "K": (3, 3, 12, 10), **({"L": (3, 3, 10, 9)} if layers > 1 else {})}
    test_a_module_computes_what_a_call_gives(program, sizes)
    assert "@2" in indexlang.compile(program, backend="native").emit("llvm", **sizes)


def test_emit_from_any_backend_and_by_the_command(capsys: Capsys) -> None:
    text = network().emit("llvm", **SIZES)
    assert network("numpy").emit("llvm", **SIZES) == text
    assert commands.main(["emit", "-e", NETWORK, *SHAPES, "--target", "llvm"]) == 0
    assert capsys.readouterr().out == text
    assert network().emit("numpy", **SIZES) == network("numpy").emit("numpy", **SIZES)
    assert network().emit("numpy", **SIZES, vjp=True) == network("numpy").emit(**SIZES, vjp=True)


@pytest.mark.parametrize(
    ("program", "sizes", "says"),
    [
        (SCATTER, {"x": (4,), "t": (4,)}, "positions that data give have to be checked\n  y[t[i]] += x[i]"),
        ("y[i] = exp(x[i])", {"x": ((3,), "complex64")}, "a part of it is left to NumPy"),
    ],
)
def test_no_module_where_a_part_is_left_to_numpy(program: str, sizes: dict[str, Any], says: str) -> None:
    f = indexlang.compile(program, backend="native")
    with pytest.raises(MeaningError, match=re.escape(says)) as caught:
        f.emit("llvm", **sizes)
    assert caught.value.problems[0].way_out
    with pytest.raises(MeaningError, match="no module of both runs"):
        f.emit("llvm", **sizes, vjp=True)


def test_a_comment_of_a_module_cannot_end() -> None:
    text = indexlang.compile("ä[i] = x[i] + 1", backend="native").emit("llvm", x=4)
    assert text.isascii() and "\\xe4" in text


# -- backends that are not there -------------------------------------------------------------------------------


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    find = engines.find_spec
    monkeypatch.setattr(engines, "find_spec", lambda name: None if name == "llvmlite" else find(name))


@pytest.mark.usefixtures("without")
def test_without_llvmlite_native_is_an_error_with_the_way_out(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    way = "install it: python -m pip install 'indexlang[native]'"
    with pytest.raises(MeaningError, match="the backend native needs llvmlite") as caught:
        network()
    assert way in str(caught.value)
    assert indexlang.compile(NETWORK).backend == "numpy" and doctor.backend() == "numpy, where none is named"
    plain = network("numpy")
    assert indexlang.compile(NETWORK).emit(**SIZES) == plain.emit(**SIZES)
    assert explained(capsys) == f"{plain.plan(**SIZES)}\n"
    with pytest.raises(MeaningError, match=re.escape(way)):
        network("numpy").emit("llvm", **SIZES)
    for argv in (["explain", "--backend", "native"], ["explain", "--nests"], ["emit", "--target", "llvm"]):
        assert commands.main([*argv, "-e", NETWORK, *SHAPES]) == 1
        assert way in capsys.readouterr().err
    assert doctor.native() is None and doctor.alone() == ""
    assert "not installed; it is an extra: pip install 'indexlang[native]'" in doctor.text(doctor.Machine(1))
    monkeypatch.setenv("INDEXLANG_BACKEND", "native")
    with pytest.raises(MeaningError, match="unset INDEXLANG_BACKEND"):
        indexlang.compile(NETWORK)
    single, copied = engines.peaks("float32")
    assert single > 0 and copied > 0


def test_llvm_that_cannot_make_code_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "available", lambda: False)
    with pytest.raises(MeaningError, match="the backend native cannot run"):
        network()
    assert "makes no code for this machine" in (doctor.native() or "") and doctor.alone() == ""
    assert indexlang.compile(NETWORK).backend == "numpy" and doctor.backend() == "numpy, where none is named"
    monkeypatch.setattr("indexlang.backends.native.load.peaks", None)
    assert min(engines.peaks("float32")) > 0


def test_the_backend_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    for named, backend in (("native", "native"), ("numpy", "numpy"), ("auto", "native"), ("", "native")):
        monkeypatch.setenv("INDEXLANG_BACKEND", named)
        assert indexlang.compile(NETWORK).backend == backend
        assert doctor.backend().startswith(f"{backend}, {'as INDEXLANG' if named in BACKENDS else 'where none'}")
    monkeypatch.setenv("INDEXLANG_BACKEND", "natve")
    with pytest.raises(MeaningError, match="INDEXLANG_BACKEND is one of numpy, native, jax"):
        indexlang.compile(NETWORK)
    assert doctor.backend() == "none: INDEXLANG_BACKEND is one of numpy, native, jax"
    assert indexlang.compile(NETWORK, backend="numpy").backend == "numpy"
    assert commands.main(["run", "-e", "y[i] = i where i < 3"]) == 1
    assert "INDEXLANG_BACKEND=natve" in capsys.readouterr().err
    assert commands.main(["run", "-e", "y[i] = i where i < 3", "--backend", "numpy"]) == 0


# -- the cache, the doctor, threads ----------------------------------------------------------------------------


def test_the_cache_is_told_and_cleared(tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "kept"
    monkeypatch.setenv("INDEXLANG_CACHE", str(folder))
    assert commands.main(["cache"]) == 0
    assert capsys.readouterr().out == f"{folder}: 0 files, 0 B\n"
    monkeypatch.setattr(remembered, "_kept", OrderedDict())  # as in a process that has just begun
    monkeypatch.setattr(kernels, "_kernels", WeakValueDictionary())
    network()(**arrays())
    (folder / "mine.txt").write_text("not ours")
    found = objects.kept()
    assert found.files >= 1 and found.size == sum(f.stat().st_size for f in folder.glob("*.o"))
    assert commands.main(["cache"]) == 0
    assert f"{folder}: {found.files} file" in capsys.readouterr().out
    assert commands.main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == f"removed {found.files} file{'s' * (found.files != 1)}\n"
    assert os.listdir(folder) == ["mine.txt"]
    monkeypatch.setenv("INDEXLANG_CACHE", "off")
    assert commands.main(["cache"]) == 0 and commands.main(["cache", "clear"]) == 0
    assert capsys.readouterr().out == "off: compiled code is not kept\nremoved 0 files\n"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no modes of files")
def test_a_folder_that_others_may_write_to_is_told(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("INDEXLANG_CACHE", str(folder))
    (folder / f"{'0' * 64}.o").write_text("planted")
    assert commands.main(["cache"]) == 0
    assert "is not used, as it is no folder of yours alone" in capsys.readouterr().out
    assert objects.clear() == 0 and len(os.listdir(folder)) == 1


def test_the_doctor_tells_of_native_code() -> None:
    import llvmlite

    said = doctor.native() or ""
    assert said.startswith(f"llvmlite {llvmlite.__version__}, LLVM ")
    assert f"for {engine.host().cpu}: {engine.host().lanes(4)} float32 in each of" in said
    text = doctor.text(doctor.Machine(1, native=said, alone="there is one thread, as ...", cache="off"))
    assert f"native           {said}\n                 there is one thread, as ...\ncache            off\n" in text
    threads.set_num_threads(1)
    try:
        assert "one thread" in doctor.alone()
    finally:
        threads.set_num_threads(None)


def test_threads_are_set_for_all_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    x, big = arrays(2), np.ones((300, 300), np.float32)
    chain = indexlang.compile("s[i] = x[i,j] * exp(y[j,i]) + x[i,j]", backend="numpy")
    found, sums = [], []
    try:
        for number in (1, 3, 2):
            indexlang.set_num_threads(number)
            assert threads.num_threads() == number
            found.append(network()(**x))
            sums.append(chain(x=big, y=big))
    finally:
        indexlang.set_num_threads(None)
    assert all(np.array_equal(one, found[0]) for one in found)
    assert all(np.allclose(one, sums[0], rtol=1e-5) for one in sums)
    for name in ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS"):
        monkeypatch.setenv(name, "5")
        assert threads.num_threads() == 5
        monkeypatch.delenv(name)
    with pytest.raises(indexlang.IndexLangError, match="an integer from 1 to 1024"):
        indexlang.set_num_threads(0)
