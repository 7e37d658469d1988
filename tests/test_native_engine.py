"""Code made in the process, and kept on the disk: what is damaged, missing or somebody else's does no harm."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

from indexlang.backends.native import engine, objects
from indexlang.backends.native.emit import module
from indexlang.backends.native.nest import Array, Form, Literal, Nest, Type, Write
from indexlang.backends.native.target import AVX2

unprivileged = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="nothing is forbidden to root")


def writing(value: int) -> Nest:
    """A kernel that writes a number."""
    y = Array("y", "int64", 1, "output")
    return Nest("says_number", (y,), (), (Write(y, Form(0), Literal(value, Type("int64"))),))


def result(value: int) -> int:
    """What the kernel that writes a number writes."""
    target, found = engine.host(), np.zeros(1, np.int64)
    library = engine.compiled(module([writing(value)], target), ["says_number"], target)
    engine.call(library, writing(value), {"y": found})
    return int(found[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INDEXLANG_CACHE", str(tmp_path / "kept" / "objects"))
    return tmp_path / "kept" / "objects"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that code was made of."""
    found: list[str] = []
    original = engine.assembled

    def assembled(text: str, target: engine.Target) -> bytes:
        found.append(text)
        return original(text, target)

    monkeypatch.setattr(engine, "assembled", assembled)
    return found


def test_the_host_has_vectors_and_caches() -> None:
    assert engine.available()
    host = engine.host()
    assert host.vector in (16, 32, 64)
    assert host.registers in (16, 32)
    assert 4 << 10 <= host.l1 <= host.l2
    assert host.cpu


@pytest.mark.parametrize(
    ("triple", "features", "expected"),
    [
        ("x86_64-unknown-linux-gnu", "", (16, 16, False)),
        ("x86_64-unknown-linux-gnu", "avx2 fma f16c", (32, 16, True)),
        ("x86_64-unknown-linux-gnu", "avx2", (32, 16, False)),
        ("x86_64-unknown-linux-gnu", "avx2 fma f16c avx512f", (32, 16, True)),
        ("x86_64-unknown-linux-gnu", "avx2 fma f16c avx512f avx512bw avx512dq avx512vl", (64, 32, True)),
        ("arm64-apple-darwin", "", (16, 32, True)),
        ("riscv64-unknown-linux-gnu", "", (16, 16, False)),
    ],
)
def test_vectors_follow_from_features(triple: str, features: str, expected: tuple[int, int, bool]) -> None:
    assert engine._vectors(triple, dict.fromkeys(features.split(), True)) == expected


def test_sizes_of_caches(tmp_path: Path) -> None:
    rows = [("1", "Data", "48K"), ("1", "Instruction", "64K"), ("2", "Unified", "2048K"), ("3", "Unified", "32M")]
    for number, row in enumerate(rows):
        entry = tmp_path / f"index{number}"
        entry.mkdir()
        for name, text in zip(("level", "type", "size"), row, strict=True):
            (entry / name).write_text(f"{text}\n")
    (tmp_path / "index9").mkdir()
    assert engine._caches(tmp_path) == {1: 48 << 10, 2: 2 << 20}
    assert engine._caches(tmp_path / "none") == {}


def test_what_was_made_is_loaded(folder: Path, made: list[str]) -> None:
    assert [result(3), result(3), result(4), result(3)] == [3, 3, 4, 3]
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 2


def test_another_process_loads_it(folder: Path) -> None:
    assert result(77) == 77
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    code = (
        "import test_native_engine as t; from indexlang.backends.native import engine\n"
        "engine.assembled = None\nprint(t.result(77))"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["77"]
    assert set(before) == set(folder.iterdir())


@pytest.mark.parametrize("damage", ["short", "empty", "bit", "other", "format"])
def test_what_is_damaged_is_made_anew(damage: str, folder: Path, made: list[str]) -> None:
    assert [result(5), result(6)] == [5, 6]
    files = sorted(folder.iterdir())
    other = files[1].read_bytes()
    for path in files:
        data = path.read_bytes()
        match damage:
            case "short":
                data = data[:-1]
            case "empty":
                data = b""
            case "bit":
                data = data[:200] + bytes([data[200] ^ 1]) + data[201:]
            case "other":
                data, other = other, data
            case "format":
                data = b"x" + data[1:]
        path.write_bytes(data)
    assert [result(5), result(6)] == [5, 6]
    assert len(made) == 4
    assert [result(5), result(6)] == [5, 6]  # and kept again
    assert len(made) == 4


def test_what_has_the_wrong_functions_is_made_anew(folder: Path, made: list[str]) -> None:
    target = engine.host()
    text = module([writing(8)], target)
    engine.compiled(text, ["says_number"], target)
    (path,) = folder.iterdir()
    renamed = replace(writing(8), name="other")
    objects.keep(path.stem, engine.assembled(module([renamed], target), target))
    del made[:]
    assert result(8) == 8
    assert len(made) == 1


def test_off_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    monkeypatch.setenv("INDEXLANG_CACHE", "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert [result(9), result(9)] == [9, 9]
    assert len(made) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="other systems have other folders")
def test_the_usual_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]) -> None:
    monkeypatch.delenv("INDEXLANG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [result(10), result(10)] == [10, 10]
    assert len(made) == 1
    assert (tmp_path / "cache" / "indexlang").stat().st_mode & 0o077 == 0
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert result(10) == 10
    assert list((tmp_path / "home" / ".cache" / "indexlang").iterdir())


@unprivileged
def test_a_folder_that_cannot_be_written_keeps_nothing(folder: Path, made: list[str]) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    assert [result(11), result(11)] == [11, 11]
    assert len(made) == 2


def test_a_disk_that_is_full_keeps_nothing(folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(old: Path, new: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert [result(11), result(11)] == [11, 11]
    assert len(made) == 2
    assert list(folder.iterdir()) == []


def test_a_file_in_place_of_the_folder_keeps_nothing(folder: Path, made: list[str]) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    assert [result(12), result(12)] == [12, 12]
    assert len(made) == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="modes mean nothing here")
def test_a_folder_that_anybody_may_write_to_is_not_trusted(folder: Path, made: list[str]) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert [result(13), result(13)] == [13, 13]
    assert len(made) == 2
    assert list(folder.iterdir()) == []


def test_the_oldest_go_where_there_is_too_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        objects.keep(f"{number:064x}", bytes(1000))
        os.utime(folder / f"{number:064x}.o", (number, number))
    (folder / "mine.txt").write_bytes(bytes(5000))
    assert objects.load(f"{0:064x}") == bytes(1000)  # used: the youngest now
    monkeypatch.setattr(objects, "_MOST", 6500)
    monkeypatch.setattr(objects, "_EACH", 1)
    monkeypatch.setattr(objects, "_LEFT", 4500)
    objects.keep(f"{6:064x}", bytes(1000))
    left = {p.name for p in folder.iterdir()}
    assert left == {"mine.txt", *(f"{k:064x}.o" for k in (0, 4, 5, 6))}


def test_keys_tell_everything_apart() -> None:
    keys = {
        objects.key("text", AVX2, "1"),
        objects.key("text", AVX2, "11"),
        objects.key("text", AVX2, "1", ""),
        objects.key("other", AVX2, "1"),
        objects.key("text", replace(AVX2, cpu="znver4"), "1"),
        objects.key("text", replace(AVX2, features="+avx2"), "1"),
        objects.key("text", replace(AVX2, cpu="haswell+avx2"), "1"),
        objects.key("text", replace(AVX2, triple="x86_64-apple-darwin"), "1"),
    }
    assert len(keys) == 8


def test_many_threads_and_processes_at_a_time(folder: Path) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.extend(result(20 + k) for k in range(4))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([20, 21, 22, 23] * 4)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    code = "import test_native_engine as t; assert [t.result(k) for k in range(20, 40)] == [*range(20, 40)]"
    running = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}) for _ in range(2)
    ]
    assert [process.wait(60) for process in running] == [0, 0]
    assert {p.suffix for p in folder.iterdir()} == {".o"}
    assert len(list(folder.iterdir())) == 20


def test_a_library_is_alive_as_long_as_it_is_held(folder: Path) -> None:
    target = engine.host()
    held = [engine.compiled(module([writing(k)], target), ["says_number"], target) for k in range(30, 40)]
    for k, library in zip(range(30, 40), held, strict=True):
        found = np.zeros(1, np.int64)
        engine.call(library, writing(k), {"y": found})
        assert found[0] == k


def test_what_is_no_module_is_said(folder: Path) -> None:
    with pytest.raises(RuntimeError):
        engine.compiled("this is no module", ["says_number"], engine.host())
    assert result(1) == 1
