"""The benchmarks: that their equations are what is written beside them by hand, and that the commands run."""

from __future__ import annotations

import argparse
import math
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import indexlang  # noqa: E402
from benchmarks import (  # noqa: E402 (a folder of the checkout, nothing that is installed)
    cliffs,
    library,
    published,
    recurrences,
    worker,
)
from benchmarks.families.cliffs import ROWS  # noqa: E402
from benchmarks.families.cliffs.row import Row  # noqa: E402
from benchmarks.families.library import LAYERS  # noqa: E402
from benchmarks.families.library import ROWS as PROGRAMS  # noqa: E402
from benchmarks.report import aimed  # noqa: E402
from benchmarks.turns import Measured, difference  # noqa: E402
from benchmarks.turns import Row as Found  # noqa: E402
from benchmarks.workload import FORWARD, STEP  # noqa: E402
from indexlang.backends.numpy import rooms  # noqa: E402


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", [*ROWS, *PROGRAMS], ids=lambda row: row.name)
def test_row(row: Row) -> None:
    """Small, in float64: values against the hand, gradients against its differences in random directions."""
    workload = row.workload(row.small)
    arrays = {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in workload.arrays().items()}
    prepared = {peer: workload.peers[peer](arrays, STEP in row.modes) for peer in (cliffs.OURS, cliffs.HAND)}
    ours, hand = (p.results(p.run()) for p in prepared.values())
    assert ours["y"].shape == workload.output
    assert not difference(ours, hand, 1e-6)


def test_rows_are_told_apart() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60


@pytest.mark.parametrize("scale", [2, 4])
def test_scales(scale: int) -> None:
    """What grows is more, and nothing else is."""
    for row in ROWS:
        assert row.grows
        sizes = row.scaled(scale)
        assert {n for n, size in sizes.items() if size == scale * row.sizes[n]} == set(row.grows.split())


@pytest.mark.skipif(sys.platform != "linux", reason="the most that a process has had is Linux's to tell")
def test_memory_is_that_of_a_workload_alone() -> None:
    """What it passes on counts, though other calls have left enough for it; results alone are 4 MB."""
    request = worker.Request("prepare", "gemm", "attention 128 tokens", STEP)
    found = []
    for resting in (0, 64 << 20):
        rooms.ROOMS.give(np.ones(resting, np.uint8))
        found.append(worker._prepare("indexlang", request, time.perf_counter)[1].memory)
    assert abs(found[0] - found[1]) < 2 << 20
    assert min(found) > 6 << 20


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that commands may write to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "out" / "benchmarks"


def test_command(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    """A row at all sizes, each library in its process; a part of the rows is no part of the published page."""
    cliffs.main(
        argparse.Namespace(only="bilinear, one number", threads=1, busy=False, patience=60, quick=False, rounds=1)
    )
    printed = capsys.readouterr().out
    assert "| bilinear, one number |" in printed
    assert "failed" not in printed
    assert "| forward+backward |" in printed
    part = (elsewhere / "results" / "cliffs.md").read_text(encoding="utf-8")
    assert part in printed
    assert (elsewhere / "RESULTS.md").read_text(encoding="utf-8") == f"## Cliffs\n\n{part}"
    assert not (elsewhere.parent.parent / "benchmarks").exists()


def test_all_layers_are_measured() -> None:
    files = (Path(indexlang.__file__).parent / "library").glob("*.idx")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert {layer.name for layer in LAYERS} == set(re.findall(r"^layer (\w+)", text, re.MULTILINE))
    assert len({layer.title for layer in LAYERS}) == len(LAYERS)


def test_layer() -> None:
    """A layer as it is measured: the output and its shape."""
    layer = next(layer for layer in LAYERS if layer.name == "batch_mean")
    workload = layer.workload()
    prepared = workload.peers["indexlang"](workload.arrays(), True)
    results = prepared.results(prepared.run())
    assert {n: a.shape for n, a in results.items()} == {"y": (), "ell.grad": (100000,)}


def test_command_of_layers(capsys: pytest.CaptureFixture[str], elsewhere: Path) -> None:
    given = {"threads": 1, "busy": False, "patience": 60, "quick": True, "rounds": 1}
    for only in ("batch_mean", "sines added, 256"):
        library.main(argparse.Namespace(only=only, **given))
        printed = capsys.readouterr().out
        assert f"| {only}" in printed
        assert "failed" not in printed
        assert (elsewhere / "results" / "library.md").read_text(encoding="utf-8") in printed


def test_budget() -> None:
    """A size is left out by what the sizes before it took, and a mode where the other failed."""
    cliff = cliffs.Cliff(ROWS[0])
    cliff.measured[1, FORWARD] = Measured("", "", FORWARD, 0, 0, {cliffs.OURS: Found([1.0]), cliffs.HAND: Found([0.5])})
    assert (cliff.ratio(FORWARD), cliffs.estimate(cliff, 2, FORWARD)) == (2.0, 4.0)
    cliff.measured[2, FORWARD] = Measured("", "", FORWARD, 0, 0, {cliffs.OURS: Found([8.0])})
    assert cliffs.estimate(cliff, 4, FORWARD) == pytest.approx(64.0)
    assert cliff.slope(FORWARD) == pytest.approx(3.0)
    assert cliffs.estimate(cliff, 2, STEP) == np.inf
    cliff.measured[1, FORWARD] = Measured("", "", FORWARD, 0, 0, {cliffs.OURS: Found(failed="more than 5 s")})
    assert cliffs.estimate(cliff, 1, STEP) == np.inf
    assert cliff.failure == "indexlang, forward: more than 5 s"


def test_parts_of_the_page_are_written_each_by_itself(tmp_path: Path) -> None:
    page = "# Measured\n\nTables.\n\n## Compiling\n\nMore of them.\n"
    first, second = "Rows.", "Layers.\n\nAnd programs."
    both = f"{page}\n## Cliffs\n\n{first}\n\n## The library beside PyTorch\n\n{second}\n"
    published.write_part("library", "Older layers.", tmp_path)
    published.write_page(page, tmp_path)
    published.write_part("cliffs", first, tmp_path)
    published.write_part("library", second, tmp_path)
    written = tmp_path / "RESULTS.md"
    assert written.read_text(encoding="utf-8") == both
    published.write_part("cliffs", "Other rows.", tmp_path)
    assert written.read_text(encoding="utf-8") == both.replace(first, "Other rows.")
    published.write_page("# Measured\n\nAnew.", tmp_path)
    assert written.read_text(encoding="utf-8").startswith(
        "# Measured\n\nAnew.\n\n## Cliffs\n\nOther rows.\n\n## The lib"
    )


def test_the_published_page_is_made_of_its_parts() -> None:
    folder = ROOT / "benchmarks"
    parts = {name: (folder / "results" / f"{name}.md").read_text(encoding="utf-8") for name in published.PARTS}
    page = (folder / "RESULTS.md").read_text(encoding="utf-8")
    assert published.assembled(page, parts) == page


def test_aims_of_ratios_of_which_less_is_better() -> None:
    """The mean of 1, 4 and 2 is 2."""
    found = {"a": 1.0, "b": 4.0, "c": 2.0}
    assert aimed("f", found, 1.5, 3.0) == [
        ["f, mean", "<= 1.5", "2.00", "no", ""],
        ["f, worst", "<= 3", "4.00", "no", "b 4.00 (1 of 3 above)"],
    ]
    assert aimed("f", {"a": 1.0}, math.nan, 1.0) == [["f", "<= 1", "1.00", "yes", ""]]
    assert aimed("f", {}, math.nan, 1.0)[0][3] == ""


@pytest.mark.parametrize("name", recurrences.CASES)
def test_case_of_recurrences(name: str) -> None:
    """Small: what is measured is the same as the peer's, or as the other backend's where there is no peer."""
    assert recurrences.CASES[name](True).difference() == ""


def test_a_loop_over_numbers() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 9)).astype(np.float32)
    d = np.empty((10, 10), np.float32)
    function = indexlang.compile(recurrences.DTW)
    assert function(x=x, y=y) == pytest.approx(recurrences.python_loop(x, y, d), rel=1e-6)


def test_command_of_recurrences(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"threads": 1, "busy": False, "quick": True, "rounds": 1}
    try:
        for only, words in (("dtw", ("time warping", "native")), ("steps", ("64 steps", "grows by"))):
            recurrences.main(argparse.Namespace(only=only, **given))
            printed = capsys.readouterr().out
            assert all(word in printed for word in words)
    finally:
        indexlang.set_num_threads(None)
    with pytest.raises(SystemExit, match="no case"):
        recurrences.main(argparse.Namespace(only="nothing", **given))
    assert recurrences.slope({2: 0.1, 4: 0.4, 8: 1.6}) == pytest.approx(2)
