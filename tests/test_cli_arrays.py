"""Arrays of the command line: streams of .npy files, archives of any names, files that are damaged."""

from __future__ import annotations

import io
import random
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from indexlang.cli import commands, files
from indexlang.errors import IndexLangError

MATMUL = "y[i,k] = x[i,j] * W[j,k]"
X, W = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)

Bytes = pytest.CaptureFixture[bytes]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    np.save("W.npy", W)


def npy(*arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def all_of(data: bytes) -> list[np.ndarray]:
    stream, found = io.BytesIO(data), []
    while stream.tell() < len(data):
        found.append(np.load(stream))
    return found


def test_arrays_through_pipes(monkeypatch: pytest.MonkeyPatch, capsysbinary: Bytes) -> None:
    given(monkeypatch, npy(X, W))
    assert commands.main(["run", "-e", MATMUL, "-i", "x=-", "-i", "W=-", "-o", "-"]) == 0
    (y,) = all_of(capsysbinary.readouterr().out)
    assert np.array_equal(y, X @ W)
    given(monkeypatch, npy(X))
    argv = ["run", "-e", MATMUL, "-i", "x=-", "-i", "W=W.npy", "--grad", "-o", "W.grad=-", "-o", "x.grad=-"]
    assert commands.main([*argv, "-o", "y=y.npy"]) == 0
    dW, dx = all_of(capsysbinary.readouterr().out)  # noqa: N806
    assert np.array_equal(dx, np.ones((2, 4)) @ W.T)
    assert np.array_equal(dW, X.T @ np.ones((2, 4)))
    assert np.array_equal(np.load("y.npy"), X @ W)


@pytest.mark.parametrize(
    ("data", "argv", "message"),
    [
        (npy(X), ["-i", "x=-", "-i", "W=-", "-o", "y=y.npy"], "standard input has no more arrays"),
        (b"", ["-i", "x=-", "-i", "W=W.npy", "-o", "y=y.npy"], "standard input has no more arrays"),
        (npy(X)[:-1], ["-i", "x=-", "-i", "W=W.npy"], "standard input is truncated"),
        (b"text", ["-i", "x=-", "-i", "W=W.npy"], "standard input is no .npy file"),
        (npy(X), ["-i", "-", "-i", "W=W.npy"], "say -i NAME=-"),
        (npy(X), ["-i", "x=-", "-i", "W=W.npy", "--grad", "-o", "y=-"], "say -o NAME=FILE for x.grad, W.grad"),
    ],
)
def test_streams_that_do_not_fit(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: Bytes, data: bytes, argv: list[str], message: str
) -> None:
    given(monkeypatch, data)
    assert commands.main(["run", "-e", MATMUL, *argv]) == 1
    out, err = capsysbinary.readouterr()
    assert out == b"" and message in err.decode()
    assert not Path("y.npy").exists()


def test_gradcheck_at_given_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Positions that no random ones are: 3 before them there must be something."""
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.array([3, 5, 4]))
    np.save("x.npy", np.arange(21, dtype=np.float32).reshape(3, 7) + 1)
    argv = ["gradcheck", "-e", "y[b] = log(x[b,p[b]-3])"]
    assert commands.main([*argv, "--shape", "x=3,7", "--shape", "p=3"]) == 1
    assert "found no inputs that fit" in capsys.readouterr().err
    for more in (["--shape", "x=3,7"], ["-i", "x=x.npy"], ["-i", "x=x.npy", "--shape", "p=3"]):
        assert commands.main([*argv, "-i", "p=p.npy", *more]) == 0
        _, row = capsys.readouterr().out.splitlines()
        assert row.split()[:4] == ["x.grad", "complex", "step", "21"] and row.endswith("ok")


def test_gradcheck_where_data_say_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Random positions are of steps that come later; a tree is given."""
    monkeypatch.chdir(tmp_path)
    np.save("tree.npy", np.array([-1, 0, 0, 2]))
    np.save("ahead.npy", np.array([-1, 3, 0, 2]))
    argv = ["gradcheck", "-e", "for n:\n    h[n] = x[n] + h[pad(c[n])]\n", "--shape", "x=4"]
    for more in (["--shape", "c=4"], ["-i", "c=ahead.npy"]):
        assert commands.main([*argv, *more]) == 1
        assert "give positions of what earlier steps have made: c" in capsys.readouterr().err
    assert commands.main([*argv, "-i", "c=tree.npy"]) == 0


def test_gradcheck_at_arrays_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.array([3, 5, 4]))
    argv = ["gradcheck", "-e", "y[b] = log(x[b,p[b]-3])", "-i", "p=p.npy"]
    for more, message in (
        ([], "no shape is given for x"),
        (["--shape", "p=4", "--shape", "x=3,7"], "leave --shape p=... out"),
        (["-i", "q=p.npy", "--shape", "x=3,7"], "'q' is no input"),
    ):
        assert commands.main([*argv, *more]) == 1
        assert message in capsys.readouterr().err


def test_standard_input_is_read_once(capsysbinary: Bytes) -> None:
    with pytest.raises(SystemExit, match="2"):
        commands.main(["run", "-", "-i", "x=-"])
    assert b"standard input can be read once" in capsysbinary.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        commands.main(["gradcheck", "-", "-i", "x=-"])


def test_no_arrays_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    with pytest.raises(files.FileError, match="a terminal cannot show"):
        files.targets(["-"], ["y"])


def test_an_archive_of_any_names(capsysbinary: Bytes) -> None:
    text = ["-e", "file[i] = x[i,j]", "-e", "allow_pickle[j] = x[i,j]", "-e", "args = x[i,j]"]
    assert commands.main(["run", *text, "-i", "x=x.npy", "-o", "all.npz"]) == 0
    with np.load("all.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {
            "file": X.sum(1).tolist(),
            "allow_pickle": X.sum(0).tolist(),
            "args": X.sum(),
        }


def test_an_archive_with_two_arrays_of_one_name() -> None:
    with zipfile.ZipFile("two.npz", "w") as archive:
        archive.writestr("x", npy(X))
        archive.writestr("x.npy", npy(W))
    with pytest.raises(IndexLangError, match="there are two arrays x"):
        files.arrays(["two.npz"])


@pytest.mark.parametrize("name", ["x.npy", "all.npz", "packed.npz"])
def test_damaged_files_are_errors_of_ours(name: str) -> None:
    np.savez("all.npz", x=X, W=W)
    np.savez_compressed("packed.npz", x=X, W=W)
    whole, source, refused = Path(name).read_bytes(), random.Random(1), 0
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        Path(name).write_bytes(data[: source.choice([len(data), source.randrange(len(data))])])
        found = loaded(name)
        refused += isinstance(found, IndexLangError)
        assert isinstance(found, np.ndarray) or name in str(found)
    assert refused > 50


def loaded(name: str) -> np.ndarray | IndexLangError:
    """The array x of a file, or the error that it is."""
    try:
        return files.arrays([f"x={name}"])["x"]
    except IndexLangError as error:
        return error


def test_a_header_that_is_no_header() -> None:
    for header in (
        b"{'descr': '<f8', 'shape': None",
        b"(" * 200,
        b"{'descr': ['<f8', 1, 2], 'fortran_order': 0, 'shape': 2}",
    ):
        text = header.ljust(118) + b"\n"
        Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
        with pytest.raises(IndexLangError, match=r"x\.npy (is damaged|holds records)"):
            files.arrays(["x=x.npy"])
