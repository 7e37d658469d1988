"""The benchmarks: that their equations are what is written beside them by hand, and that the commands run."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import indexlang  # noqa: E402
from benchmarks import cliffs, library, worker  # noqa: E402 (a folder of the checkout, not a package that is installed)
from benchmarks.families.cliffs import ROWS  # noqa: E402
from benchmarks.families.cliffs.row import Row  # noqa: E402
from benchmarks.families.library import LAYERS  # noqa: E402
from benchmarks.families.library import ROWS as PROGRAMS  # noqa: E402
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


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A row at all sizes, each library in its process."""
    cliffs.main(
        argparse.Namespace(only="bilinear, one number", threads=1, busy=False, patience=60, quick=False, rounds=1)
    )
    printed = capsys.readouterr().out
    assert "| bilinear, one number |" in printed
    assert "failed" not in printed
    assert "| forward+backward |" in printed


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


def test_command_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    given = {"threads": 1, "busy": False, "patience": 60, "quick": True, "rounds": 1}
    for only in ("batch_mean", "sines added, 256"):
        library.main(argparse.Namespace(only=only, **given))
        printed = capsys.readouterr().out
        assert f"| {only}" in printed
        assert "failed" not in printed


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
