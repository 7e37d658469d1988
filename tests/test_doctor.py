"""What `indexlang doctor` decides, as tables of descriptions; what it measures is not tested."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexlang import machine, threads
from indexlang.cli import commands, doctor
from indexlang.cli.doctor import Machine, advice

AVX2 = frozenset({"sse2", "avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
FINE = Machine(4, flags=AVX512, blas="openblas", kernels="SkylakeX", threads=4, load=0.1, sgemm=4e11, copy=2e10)

CASES = [
    ({}, []),
    # kernels below the processor, with the setting that says so, and without
    ({"kernels": "Haswell", "environment": {"OPENBLAS_CORETYPE": "Haswell"}}, ["old-instructions"]),
    ({"kernels": "Haswell"}, ["old-instructions"]),
    ({"kernels": "haswell"}, ["old-instructions"]),
    ({"kernels": "Zen", "flags": AVX2}, []),
    ({"kernels": "Zen", "flags": AVX512}, ["old-instructions"]),
    ({"kernels": "Sandybridge", "flags": AVX2}, ["old-instructions"]),
    ({"kernels": "Prescott", "flags": frozenset({"sse2"})}, []),
    # part of AVX-512 is not enough for its kernels
    ({"kernels": "Haswell", "flags": AVX2 | {"avx512f"}}, []),
    # what is not known is not guessed
    ({"kernels": None}, []),
    ({"kernels": "Haswell", "flags": frozenset()}, []),
    ({"kernels": "NEOVERSEN1", "flags": frozenset(), "environment": {"OPENBLAS_CORETYPE": "NEOVERSEN1"}}, []),
    ({"kernels": None, "environment": {"OPENBLAS_CORETYPE": "Haswell"}}, ["old-instructions"]),
    # a setting that asks for what the processor has anyway
    ({"kernels": "SkylakeX", "environment": {"OPENBLAS_CORETYPE": "SkylakeX"}}, []),
    ({"kernels": "Haswell", "flags": AVX2, "environment": {"OPENBLAS_CORETYPE": "Haswell"}}, []),
    # another BLAS's settings do not matter to this one
    ({"environment": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}}, []),
    ({"blas": "mkl", "kernels": None, "environment": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}}, ["old-instructions"]),
    ({"blas": "mkl", "kernels": None, "environment": {"OPENBLAS_CORETYPE": "Haswell"}}, []),
    ({"environment": {"NPY_DISABLE_CPU_FEATURES": "AVX2"}}, ["numpy-features"]),
    # threads
    ({"threads": 1}, ["few-threads"]),
    ({"threads": 1, "environment": {"OMP_NUM_THREADS": "1"}}, ["few-threads"]),
    ({"threads": 8}, ["many-threads"]),
    ({"threads": None}, []),
    ({"threads": 2, "quota": 2.0}, []),
    ({"threads": 4, "quota": 1.5}, ["many-threads"]),
    ({"threads": 1, "quota": 0.25}, []),
    # others
    ({"load": 2.5}, ["busy"]),
    ({"load": None}, []),
    ({"copy": 1e9}, ["slow-memory"]),
    ({"copy": 1e9, "load": 9.0}, ["busy"]),
    ({"blas": "lapack_lite", "kernels": None, "threads": None}, ["no-blas"]),
    ({"kernels": "Haswell", "threads": 1, "load": 4.0}, ["old-instructions", "few-threads", "busy"]),
]


@pytest.mark.parametrize(("changed", "codes"), CASES)
def test_advice(changed: dict[str, object], codes: list[str]) -> None:
    assert [a.code for a in advice(replace(FINE, **changed))] == codes


def test_advice_names_the_setting_the_kernels_and_the_processor() -> None:
    (found,) = advice(replace(FINE, kernels="Haswell", environment={"OPENBLAS_CORETYPE": "Haswell"}))
    assert found.what == (
        "OPENBLAS_CORETYPE=Haswell is set: openblas uses its Haswell kernels (AVX2), the processor has AVX-512"
    )
    assert found.way_out == "unset OPENBLAS_CORETYPE before Python starts"


def test_the_setting_that_counts_is_named() -> None:
    both = {"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    (found,) = advice(replace(FINE, threads=1, environment=both))
    assert found.what == "OPENBLAS_NUM_THREADS=1 is set: openblas has 1 thread for 4 processors"
    assert found.way_out == "unset OPENBLAS_NUM_THREADS, or set it to 4, before Python starts"


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (frozenset[str](), None),
        (frozenset({"fpu"}), "SSE"),
        (frozenset({"avx"}), "AVX"),
        (frozenset({"avx", "avx2"}), "AVX"),
        (AVX2, "AVX2"),
        (AVX512, "AVX-512"),
    ],
)
def test_the_greatest_instruction_set(flags: frozenset[str], level: str | None) -> None:
    assert Machine(1, flags=flags).level == level


def test_every_kernel_has_a_known_level() -> None:
    assert set(doctor.KERNELS.values()) == {name for name, _ in doctor.LEVELS}


def test_flags_are_read_where_they_are(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvmx flags\t: ept\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    assert doctor._flags(cpuinfo) == {"fpu", "avx", "avx2"}
    assert doctor._flags(tmp_path / "nothing") == frozenset()


def test_the_command_tells_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look = doctor.look
    monkeypatch.setattr(doctor, "look", lambda: look(seconds=0.0))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = dict(os.environ)
    assert commands.main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("processors ") and "\nsgemm " in told and "OMP_NUM_THREADS=1" in told
    assert commands.main(["doctor", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["environment"]["OMP_NUM_THREADS"] == "1" and found["processors"] == machine.processors()
    assert dict(os.environ) == before


def test_what_runs_programs_is_told() -> None:
    assert f"\nNumPy            {np.__version__}\n" in doctor.text(FINE)


def test_a_part_of_a_processor_is_one_thread_more() -> None:
    for limit, number in ((None, 4), (0.3, 1), (1.2, 2), (2.0, 2), (7.5, 4)):
        assert machine.within(4, limit) == number
        assert not advice(replace(FINE, quota=limit, threads=number))


def test_a_sound_machine_is_told_so() -> None:
    assert doctor.text(FINE).endswith("Nothing that we know of holds this machine back.")


@pytest.mark.parametrize(
    ("ours", "theirs", "number"),
    [("3", "5", 3), ("5", "2", 5), ("", "5", 5), (" 2 ", "", 2), ("1024", "", 1024), ("", "6,2", 6)]
    + [("", text, 4) for text in ("", "0", "\u00b2", "none", "99999", "-1")],
)
def test_how_many_threads(monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str, number: int) -> None:
    monkeypatch.setattr(threads, "usable", lambda: 4)
    monkeypatch.setattr(threads, "_known", {})
    monkeypatch.delenv("INDEXLANG_NUM_THREADS", raising=False)
    monkeypatch.setenv("INDEXLANG_THREADS", ours)
    monkeypatch.setenv("OMP_NUM_THREADS", theirs)
    assert threads.num_threads() == number


@pytest.mark.parametrize("ours", ["0", "-1", "\u00b2", "two", "1.5", "1025", "9" * 5000])
def test_a_setting_that_is_no_number_of_threads_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ours: str
) -> None:
    monkeypatch.setenv("INDEXLANG_THREADS", ours)
    assert commands.main(["explain", "-e", "y[i] = x[i]", "--shape", "x=3"]) == 1
    assert "error[threads]: INDEXLANG_THREADS is a number of threads, from 1 to 1024" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [("INDEXLANG_NUM_THREADS", "two"), ("INDEXLANG_THREADS", "0"), ("INDEXLANG_BACKEND", "fortran")],
)
def test_settings_that_every_program_refuses_are_told_with_the_rest(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threads, "_number", [])
    monkeypatch.setattr(doctor, "_best", lambda *_: 1.0)
    for other in ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS", "INDEXLANG_BACKEND"):
        monkeypatch.delenv(other, raising=False)
    assert "refused-setting" not in {a.code for a in advice(doctor.look(0.0))}
    monkeypatch.setenv(name, value)
    assert commands.main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("processors") and f"refused-setting: {name} is " in printed
    assert f"{name}={value}\n    unset it" in printed
    assert commands.main(["doctor", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["advice"][0]["code"] == "refused-setting"
    assert told["beside"] is None or name == "INDEXLANG_BACKEND"
