"""Files: written whole, with their mode, links and leftovers; read within bounds; kills and damage, in short."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import stat
import struct
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import damaged_files
import kills
import numpy as np
import pytest

import indexlang
from indexlang import edf
from indexlang.cli import commands
from indexlang.edf import Adam, Affine, AffineParams, DataError, GradientDescent, Graph, Input, load_weights, read_idx
from indexlang.edf.graphs.parameters import Parameter
from indexlang.edf.learning import checkpoints
from indexlang.edf.learning.files import write_whole as write_told
from indexlang.edf.learning.resuming import progress_of
from indexlang.files import reading, whole
from indexlang.files.npy import read_npy, read_npz, write_npz
from indexlang.files.whole import write_all, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="modes, links and locks of POSIX")


def put(text: bytes) -> whole.Writer:
    return lambda file: file.write(text)


# -- what is written -------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444 | 0o200])
def test_a_replaced_file_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    seen = []

    def write(file: Any) -> None:
        fresh = next(tmp_path.glob(".*.part"))
        seen.append(stat.S_IMODE(fresh.stat().st_mode) & ~mode & 0o077)
        file.write(b"new")

    write_whole(path, write)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", mode)
    assert seen == [0]  # nobody may read it meanwhile who may not afterwards


@posix
def test_of_a_symbolic_link_the_file_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "file", tmp_path / "link", tmp_path / "second"
    link.symlink_to(target)
    second.symlink_to("link")
    write_whole(second, put(b"made"))
    write_whole(link, put(b"replaced"))
    assert target.read_bytes() == b"replaced"
    assert link.is_symlink()
    assert second.is_symlink()
    assert os.listdir(tmp_path / "there") == ["file"]
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        write_whole(loop, put(b"x"))
    assert loop.is_symlink()


@posix
def test_a_device_and_a_pipe_are_written_to_not_replaced(tmp_path: Path) -> None:
    write_whole(os.devnull, put(b"x"))
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, put(b"through"))
    reader.join()
    assert found == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@posix
def test_what_killed_saves_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    left = [tmp_path / f".file.npz.{k}-0123abcd.part" for k in range(3)]
    others = [tmp_path / n for n in (".file.npz.part", ".other.npz.7-0123abcd.part", ".file.npz.7-0123abcd.part.npz")]
    for one in (*left, *others):
        one.write_bytes(b"half")

    def write(file: Any) -> None:
        file.write(b"outer")
        write_whole(path, put(b"inner"))
        assert path.read_bytes() == b"inner"

    write_whole(path, write)  # one save in the middle of another, as of two processes
    assert path.read_bytes() == b"outer"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


@posix
def test_a_file_that_is_taken_for_left_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, lock, taken = tmp_path / "file", whole._lock, []

    def late(number: int, wait: bool) -> None:
        if not taken:
            taken.extend(tmp_path.glob(".*.part"))
            taken[0].unlink()  # by another process, between the two
        lock(number, wait)

    monkeypatch.setattr(whole, "_lock", late)
    write_whole(path, put(b"new"))
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"old")

    def fails(file: Any) -> None:
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError):
        write_all({one: put(b"new"), two: fails})
    assert one.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["one"]
    write_all({one: put(b"1"), two: put(b"2")})
    assert (one.read_bytes(), two.read_bytes()) == (b"1", b"2")


def test_a_file_is_on_the_disk_before_it_is_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        folder = stat.S_ISDIR(os.fstat(number).st_mode)
        done.append("folder" if folder else f"file of {os.fstat(number).st_size}")
        fsync(number)

    def replaced(old: Any, new: Any) -> None:
        done.append("replaced")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(tmp_path / "a" / "b" / "file", put(b"12345"), folders=True)
    assert done == ["folder", "folder", "file of 5", "replaced", "folder"]


def test_names_of_any_length_and_with_a_nul(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127, "[a]*.?"):
        write_whole(tmp_path / name, put(b"x"))
        assert (tmp_path / name).read_bytes() == b"x"
    with pytest.raises(DataError, match=r"cannot write .*null"):
        write_told(tmp_path / "a\0b", put(b"x"))
    for load in (indexlang.load, indexlang.compile, edf.node):
        with pytest.raises(indexlang.IndexLangError, match=r"cannot read a.b\.idx: embedded null byte"):
            load("a\0b.idx")  # type: ignore[operator]
    for read in (read_npy, read_npz, read_idx, checkpoints.load):
        with pytest.raises(DataError, match=r"cannot read .*null"):
            read(tmp_path / "a\0b")
        with pytest.raises(DataError, match="it is no file"):
            read(tmp_path)


@posix
def test_a_file_that_may_not_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "access", lambda *given: False)  # as for a user who may not
    with pytest.raises(PermissionError) as caught:
        write_whole(path, put(b"new"))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@posix
def test_the_command_line_writes_in_the_same_way(tmp_path: Path) -> None:
    target, link = tmp_path / "target.npy", tmp_path / "link.npy"
    np.save(target, np.zeros(2))
    target.chmod(0o600)
    link.symlink_to(target)
    (tmp_path / ".target.npy.7-0123abcd.part").write_bytes(b"left by one that was killed")
    np.save(tmp_path / "x.npy", np.ones(2))
    given = ["run", "-e", "y[i] = 2*x[i]", "-i", f"x={tmp_path / 'x.npy'}", "-o", f"y={link}"]
    assert commands.main(given) == 0
    assert read_npy(target).tolist() == [2, 2]
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["link.npy", "target.npy", "x.npy"]


# -- what is read ----------------------------------------------------------------------------------


def npy(header: str, body: bytes = b"", version: int = 1) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + body


F4 = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated: 0 bytes"),
    "a pickle": (b"\x80\x04K\x01.", "other-format"),
    "text": (b"these are no numbers", "no .npy file"),
    "another version": (npy(F4, bytes(8), 9), "another version: 9.0"),
    "a long header": (npy(F4 + " " * 20_000, bytes(8)), "its header should have 20,0"),
    "no braces": (npy("(2,)"), "no braces"),
    "deep": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 9000), "its header is none"),
    "signs": (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "-" * 9000 + "1,)}"), "its header is none"),
    "a sum": (npy(F4.replace("(2,)", "(1+1,)"), bytes(8)), "its header is none"),
    "a size below 0": (npy(F4.replace("(2,)", "(-2,)"), bytes(8)), "its header is none"),
    "a huge size": (npy(F4.replace("(2,)", f"({'9' * 400},)"), bytes(8)), "its shape is none"),
    "a huge array": (npy(F4.replace("(2,)", "(1000000, 1000000)"), bytes(8)), "there are 8"),
    "beyond all memory": (npy(F4.replace("(2,)", f"({1 << 40}, {1 << 40})"), bytes(8)), "no array is as large"),
    "65 axes": (npy(F4.replace("(2,)", "(1," * 64 + "2)").replace("(1,(", "(1,"), bytes(8)), "header is none"),
    "many axes": (npy(F4.replace("(2,)", f"({'1, ' * 64}2)"), bytes(8)), "it has 65 axes"),
    "a key twice": (npy(F4.replace("'fortran_order'", "'descr'"), bytes(8)), "another entry"),
    "a key more": (npy(F4.replace("}", "'more': True}"), bytes(8)), "has not the entries"),
    "records": (npy(F4.replace("'<f4'", "[('a', '<f4')]"), bytes(8)), "holds records, not numbers"),
    "objects": (npy(F4.replace("<f4", "|O"), bytes(8)), "holds Python objects, not numbers"),
    "dates": (npy(F4.replace("<f4", "<M8[ns]"), bytes(16)), "holds dates, not numbers"),
    "words": (npy(F4.replace("<f4", "<U3"), bytes(24)), "holds text, not numbers"),
    "too long numbers": (npy(F4.replace("<f4", "<f16"), bytes(32)), "which no tensor is"),
    "no type": (npy(F4.replace("<f4", "<i3"), bytes(8)), "its header is none"),
    "a short body": (npy(F4, bytes(7)), "truncated"),
    "a long body": (npy(F4, bytes(9)), "it is too long"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_npy_file_is_an_error(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    path = tmp_path / "broken.npy"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_npy(path)
    assert "broken.npy" in str(caught.value)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("header", [F4, F4.replace("'", '"'), "{'shape':(2L,),'fortran_order':False,'descr':'<f4'}"])
def test_headers_as_others_write_them(tmp_path: Path, header: str, version: int) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(header, struct.pack("<2f", 1.5, -2), version))
    assert read_npy(path).tolist() == [1.5, -2]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(3 + 4j),
        np.zeros((0, 7), np.float16),
        np.array([True, False]),
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4).T,
    ],
)
def test_what_numpy_writes_is_read(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    found = read_npy(tmp_path / "x.npy")
    assert (found.dtype, found.shape, found.tolist()) == (array.dtype, array.shape, array.tolist())
    assert found.flags.writeable


def archive(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in entries.items():
            target.writestr(name.replace("_npy", ".npy"), data)
    return file.getvalue()


def test_two_arrays_of_one_name_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(archive(x=npy(F4, bytes(8)), x_npy=npy(F4, bytes(8))))
    with pytest.raises(DataError, match="two arrays x"):
        read_npz(path)


def test_what_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, count = tmp_path / "bomb.npz", 4 << 20
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as target, target.open("x.npy", "w") as entry:
        entry.write(npy(F4.replace("(2,)", f"({count // 4},)")))
        entry.write(bytes(count))
    path.write_bytes(file.getvalue())
    assert len(file.getvalue()) < count // 500
    monkeypatch.setattr(reading, "fill", lambda *given: pytest.fail("memory was asked for"))
    monkeypatch.setattr("indexlang.files.npy.fill", reading.fill)
    monkeypatch.setattr(reading, "MOST_UNPACKED", 1 << 20)
    with pytest.raises(DataError, match="unpacks to far more than it is") as caught:
        read_npz(path)
    assert caught.value.code == "file-size"
    monkeypatch.setattr(reading, "MOST_UNPACKED", 1 << 30)
    data = bytearray(file.getvalue())
    place = data.index(b"PK\1\2") + 24  # what the table of contents says of the size
    data[place : place + 4] = struct.pack("<I", 900 << 20)
    path.write_bytes(data)
    with pytest.raises(DataError, match="do not unpack to 943,718,400"):
        read_npz(path)


def test_images_that_unpack_to_gigabytes_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 1 << 16, 1 << 14, 1 << 14) + bytes(1 << 20)))
    with pytest.raises(DataError, match="do not unpack to 17,592,186,044,416"):
        read_idx(path)
    path.write_bytes(struct.pack(">66I", 0x841, *[1] * 65) + b"1")
    path.rename(tmp_path / "axes")
    with pytest.raises(DataError, match="it has 65 axes"):
        read_idx(tmp_path / "axes")
    monkeypatch.setattr(reading, "memory", lambda: 1 << 20)
    monkeypatch.setattr(reading, "MOST_UNPACKED", 1 << 20)
    (tmp_path / "large").write_bytes(struct.pack(">2I", 0x801, 2 << 20) + bytes(2 << 20))
    with pytest.raises(DataError, match="does not fit into memory"):
        read_idx(tmp_path / "large")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_archive_can_hold_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no archive can hold"):
        write_npz(io.BytesIO(), {name: np.ones(2)})


def test_json_is_read_to_a_depth() -> None:
    assert reading.json_of("x", b'{"a": "[[[[[\\"[[", "b": [[1]]}') == {"a": '[[[[["[[', "b": [[1]]}
    assert reading.json_of("x", json.dumps({"a": "\\" * 7 + '"' + "[" * 50}).encode())
    for text, message in ((b"[" * 33, "levels"), (b'{"a": 1, "a": 2}', "twice"), (b"9" * 5000, "no JSON")):
        with pytest.raises(DataError, match=message):
            reading.json_of("x", text)


# -- weights and checkpoints -----------------------------------------------------------------------


def lone(first: float, second: float) -> tuple[Graph, Parameter]:
    """A graph with one parameter, p.W, of shape (1, 2)."""
    with Graph() as g:
        p = AffineParams(1, 2, bias=False, name="p")
        Affine(p, Input())
    p.W.value = [[first, second]]
    return g, p.W


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (np.array([[1 + 2j, 0]]), r"the parameter p\.W is real"),
        (np.array([[1e300, 0]]), "numbers that float32 has not"),
        (np.array(["a", "b"]), "holds text"),
        (np.array([0, 1], "M8[D]"), "holds dates"),
        (np.ones(3), r"p\.W has shape \(1, 2\) here and \(3,\) there"),
    ],
)
def test_weights_that_are_none_change_nothing(tmp_path: Path, saved: np.ndarray, message: str) -> None:
    g, w = lone(1.0, 2.0)
    np.savez(tmp_path / "w.npz", **{"p.W": saved})
    with pytest.raises(DataError, match=message):
        load_weights(g, tmp_path / "w.npz")
    assert w.value.tolist() == [[1, 2]]


def test_two_arrays_renamed_to_one_parameter_are_an_error(tmp_path: Path) -> None:
    g, w = lone(1.0, 2.0)
    np.savez(tmp_path / "w.npz", a=np.zeros((1, 2)), b=np.ones((1, 2)))
    with pytest.raises(DataError, match=r"renamed to p\.W"):
        load_weights(g, tmp_path / "w.npz", strict=False, rename=lambda name: "p.W")
    assert w.value.tolist() == [[1, 2]]


def moved(optimiser: Adam | GradientDescent, steps: int = 2) -> tuple[Graph, Parameter]:
    g, w = lone(1.0, 2.0)
    for _ in range(steps):
        g.gradients["p.W"] = np.array([[1.0, -1.0]], np.float32)
        optimiser.step([w])
    return g, w


def entries(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    found = read_npz(path)
    return found, json.loads(found.pop("run.json").tobytes())


def rewrite(path: Path, arrays: dict[str, np.ndarray], meta: dict[str, Any], sums: bool = True) -> None:
    if sums:
        meta["sums"] = {n: checkpoints.checksum(a) for n, a in arrays.items()}
    text = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with open(path, "wb") as file:
        write_npz(file, {**arrays, "run.json": text})


def test_the_checksum_of_an_array_is_that_of_its_type_shape_and_bytes() -> None:
    # printf '<i2 (2,) \001\000\376\377' | sha256sum
    expected = "6d22b607dfed7b37f65c31501b13fa17ee69763ecffe065f6f840c194e6eedd2"
    array = np.array([1, -2], np.int16)
    assert checkpoints.checksum(array) == checkpoints.checksum(array.astype(">i2"))
    assert checkpoints.checksum(array) == checkpoints.checksum(np.array([1, 9, -2], np.int16)[::2])
    assert checkpoints.checksum(array) == expected
    assert (
        len({checkpoints.checksum(a) for a in (array, array[None], array.view("u2"), array[:0], array[:0, None])}) == 5
    )


WRONG = {
    "a moment is missing": (lambda a, m: a.pop("optimiser/p.W.mean"), "mean is not there"),
    "a moment more": (lambda a, m: a.update({"optimiser/p.W.speed": np.ones((1, 2))}), "speed is nothing that Adam"),
    "a moment of whole numbers": (
        lambda a, m: a.update({"optimiser/p.W.mean": np.ones((1, 2), "i8")}),
        "saved as int64",
    ),
    "a square below 0": (lambda a, m: a.update({"optimiser/p.W.square": -np.ones((1, 2))}), "below 0"),
    "moved -3 times": (lambda a, m: a.update({"optimiser/p.W.steps": np.array(-3)}), "moved -3 times"),
    "complex parameters": (lambda a, m: a.update({"parameters/p.W": np.ones((1, 2), complex)}), "complex"),
    "parameters in words": (lambda a, m: a.update({"parameters/p.W": np.array([["a", "b"]])}), "holds text"),
    "dates for a moment": (lambda a, m: a.update({"optimiser/p.W.mean": np.zeros((1, 2), "M8[D]")}), "holds dates"),
    "an array more": (lambda a, m: a.update({"more": np.ones(2)}), "belong to no checkpoint"),
    "other numbers": (lambda a, m: a.update({"parameters/p.W": np.ones((1, 2))}), "computed with other numbers"),
    "steps below 0": (lambda a, m: m.update(steps=-1), "is not as it should be"),
    "half a step": (lambda a, m: m.update(steps=1.5), "is not as it should be"),
    "true steps": (lambda a, m: m.update(steps=True), "is not as it should be"),
    "no optimiser": (lambda a, m: m.pop("optimiser"), "is not as it should be"),
    "a later version": (lambda a, m: m.update(version=3), "of another version: 3"),
    "a version in words": (lambda a, m: m.update(version="2"), "is no checkpoint"),
    "no generator": (lambda a, m: m.update(random={}), "no state of a PCG64"),
    "another generator": (lambda a, m: m["random"].update(bit_generator="MT19937"), "no state of a PCG64"),
    "a state too large": (lambda a, m: m["random"]["state"].update(state=1 << 200), "no state of a PCG64"),
    "a state in words": (lambda a, m: m["random"]["state"].update(inc="1"), "no state of a PCG64"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path, case: str) -> None:
    damage, message = WRONG[case]
    path, optimiser = tmp_path / "c.npz", Adam(0.1)
    g, _ = moved(optimiser)
    checkpoints.save(path, g, optimiser, {})
    arrays, meta = entries(path)
    damage(arrays, meta)
    rewrite(path, arrays, meta)
    other, w = lone(5.0, 6.0)
    fresh, random_state = Adam(0.1), other.rng.bit_generator.state
    with pytest.raises(DataError, match=message):
        checkpoints.restore(checkpoints.load(path), path, other, fresh)
    assert w.value.tolist() == [[5, 6]]
    assert (fresh.steps, fresh.state, other.rng.bit_generator.state) == (0, {}, random_state)


def test_a_checkpoint_whose_array_is_another_one_is_an_error(tmp_path: Path) -> None:
    path, optimiser = tmp_path / "c.npz", Adam(0.1)
    g, _ = moved(optimiser)
    checkpoints.save(path, g, optimiser, {})
    arrays, meta = entries(path)
    rewrite(path, {**arrays, "parameters/p.W": arrays["parameters/p.W"] + 1}, meta, sums=False)
    with pytest.raises(DataError, match=r"the checksum of parameters/p\.W is another one"):
        checkpoints.load(path)
    rewrite(path, {n: a for n, a in arrays.items() if n != "optimiser/p.W.mean"}, meta, sums=False)
    with pytest.raises(DataError, match="just the arrays that were saved"):
        checkpoints.load(path)


def test_a_checkpoint_of_the_first_version_is_read(tmp_path: Path) -> None:
    path, optimiser = tmp_path / "c.npz", Adam(0.1)
    g, w = moved(optimiser)
    checkpoints.save(path, g, optimiser, {"epoch": 1})
    arrays, meta = entries(path)
    del meta["sums"]
    rewrite(path, arrays, {**meta, "version": 1}, sums=False)
    other, there = lone(5.0, 6.0)
    fresh = Adam(0.1)
    checkpoints.restore(checkpoints.load(path), path, other, fresh)
    assert np.array_equal(there.value, w.value)
    assert fresh.steps == 2
    assert fresh.state.keys() == optimiser.state.keys()


def test_an_optimiser_of_ones_own_remembers_what_it_likes(tmp_path: Path) -> None:
    class Greatest(Adam):
        def move(self, parameter: Parameter, gradient: np.ndarray, factor: float) -> None:
            np.maximum(self.memory(parameter, "greatest"), gradient, out=self.memory(parameter, "greatest"))
            super().move(parameter, gradient, factor)

    path, optimiser, fresh = tmp_path / "c.npz", Greatest(0.1), Greatest(0.1)
    g, _ = moved(optimiser)
    checkpoints.save(path, g, optimiser, {})
    checkpoints.restore(checkpoints.load(path), path, lone(5.0, 6.0)[0], fresh)
    assert fresh.state["p.W.greatest"].tolist() == [[1, 0]]


def test_progress_that_is_no_json_leaves_the_checkpoint(tmp_path: Path) -> None:
    path, optimiser = tmp_path / "c.npz", Adam(0.1)
    g, _ = moved(optimiser)
    checkpoints.save(path, g, optimiser, {"a": np.float32(1.5), "b": np.arange(2)})
    assert checkpoints.load(path).progress == {"a": 1.5, "b": [0, 1]}
    good = path.read_bytes()
    with pytest.raises(DataError, match="its progress is no JSON: it holds set"):
        checkpoints.save(path, g, optimiser, {"a": {1}})
    assert path.read_bytes() == good


PCG = np.random.PCG64(1).state
ROW = {
    "epoch": 1, "loss": 0.5, "accuracy": None, "test_loss": None, "test_accuracy": 50.0, "rate": 0.1, "seconds": 1.0,
    "images_per_second": 60.0,
}  # fmt: skip
PROGRESS = {
    "epoch": 1, "done": 32, "batch": 16, "examples": 60, "order": PCG, "noise": PCG, "sums": [1.0, 2.0, 3.0],
    "losses": [0.5, 0.25], "epochs": [ROW], "drop_last": True,
}  # fmt: skip


def test_progress_comes_back_as_it_was() -> None:
    assert progress_of(PROGRESS, Path("c.npz")).saved() == PROGRESS


def test_older_progress_does_not_say_whether_a_batch_is_left_out() -> None:
    older = {name: value for name, value in PROGRESS.items() if name != "drop_last"}
    assert progress_of(older, Path("c.npz")).drop_last is None
    with pytest.raises(DataError, match="drop_last is neither true nor false"):
        progress_of({**PROGRESS, "drop_last": 1}, Path("c.npz"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"done": 7}, "7 of 60 images are done in batches of 16"),
        ({"done": 64}, "64 of 60 images"),
        ({"done": 16.0}, "whole numbers"),
        ({"batch": 0}, "in batches of 0"),
        ({"epoch": -5}, "whole numbers from 0 on"),
        ({"epoch": True}, "whole numbers from 0 on"),
        ({"epoch": 2}, "a row for each of 2 epochs"),
        ({"epochs": [{**ROW, "epoch": 2}]}, "the row of epoch 1"),
        ({"epochs": [{**ROW, "loss": None}]}, "loss is no number"),
        ({"epochs": [{**ROW, "more": 1}]}, "the row of epoch 1"),
        ({"epochs": {"0": ROW}}, "a row for each"),
        ({"losses": [0.5, float("nan")]}, "losses are no numbers"),
        ({"losses": "0.5"}, "losses are no numbers"),
        ({"sums": [1.0, 2.0]}, "not three numbers"),
        ({"sums": [10**400, 1.0, 2.0]}, "not three numbers"),
        ({"epochs": [{**ROW, "loss": 10**400}]}, "loss is no number"),
        ({"order": {}}, "no state of a PCG64"),
        ({"noise": None}, "no state of a PCG64"),
    ],
)
def test_progress_that_no_training_saved_is_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        progress_of({**PROGRESS, **change}, Path("c.npz"))
    for name in change:
        with pytest.raises(DataError, match="is damaged"):
            progress_of({n: v for n, v in PROGRESS.items() if n != name}, Path("c.npz"))


# -- damage and kills, in short --------------------------------------------------------------------


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, damaged_files.Kind]]:
    folder = tmp_path_factory.mktemp("damaged")
    return folder, damaged_files.kinds(folder)


@pytest.mark.parametrize(
    "name",
    ["npy", "npz", "safetensors", "idx", "idx.gz", "weights", "weights.safetensors", "checkpoint", "checkpoint's text"],
)
def test_damaged_files(damaged: tuple[Path, dict[str, damaged_files.Kind]], name: str) -> None:
    folder, known = damaged
    kind, path = known[name], folder / f"file{known[name].end}"
    expected = damaged_files.expected_of(kind, path)
    seed = os.environ["INDEXLANG_SEED"]
    for k in range(25):
        outcome, why = damaged_files.attempt(kind, expected, f"{name}:{seed}-{k}", path)
        assert outcome not in damaged_files.FAULTS, f"python -m damaged_files '{name}:{seed}-{k}'\n{why}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_run_that_is_killed_again_and_again_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = kills.killed(8, random.Random(os.environ["INDEXLANG_SEED"]).randrange(1 << 30), tmp_path, 3, 0.3)
    assert not found.faults
