"""The examples that train by EDF: what they do to images, what they leave behind, how they fail."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from indexlang.edf.learning import weights

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples import train_fashion, train_mnist, training


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of bars, upright or lying, as the four files of a data set."""
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count) % 2
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[(slice(8, 11), slice(4, 24))[:: 1 if label else -1]] += 180
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
            (tmp_path / f"{prefix}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return tmp_path


def test_shifted_images_are_the_images_elsewhere() -> None:
    images = np.zeros((50, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1
    found = training.shifted(images, np.random.default_rng(0), 2)
    places = {(int(i), int(j)) for _, i, j, _ in np.argwhere(found)}
    assert found.shape == images.shape
    assert np.all(found.sum((1, 2, 3)) == 1)
    assert places <= {(i, j) for i in range(2, 7) for j in range(2, 7)}
    assert len(places) > 15


def test_mirrored_images_are_the_images_or_their_mirrors() -> None:
    images = np.random.default_rng(1).random((20, 4, 5, 2))
    found = training.mirrored(images, np.random.default_rng(0))
    flipped = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(found, images, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(found, images, strict=True)])
    assert np.all(flipped ^ kept)
    assert 0 < flipped.sum() < 20


def test_a_run_learns_and_leaves_its_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--data", str(folder), "--batch", "10", "--epochs", "5", "--out", str(folder / "out")]
    assert train_mnist.main([*arguments, "--at-least", "90"]) == 0
    assert "Test accuracy: " in capsys.readouterr().out
    assert weights.read(folder / "out" / "weights.npz")["C3.W"].shape == (5, 5, 6, 16)
    assert train_mnist.main([*arguments, "--resume", "--at-least", "101"]) == 1  # nothing is left to do
    assert "below 101.0 %" in capsys.readouterr().err


def test_a_small_resnet_learns(folder: Path) -> None:
    arguments = ["--data", str(folder), "--batch", "10", "--epochs", "4", "--out", str(folder / "out")]
    assert train_fashion.main([*arguments, "--at-least", "90"]) == 0


def test_no_data_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train_mnist.main(["--data", str(tmp_path / "nowhere")]) == 1
    assert "is not a folder" in capsys.readouterr().err
