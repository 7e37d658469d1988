"""Training: optimisers against PyTorch and by hand, runs that are stopped and go on, losses that are no numbers."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pytest

from indexlang import IndexLangWarning
from indexlang.edf import (
    Adam,
    AdamW,
    Affine,
    AffineParams,
    BatchNorm,
    ConstantRate,
    CosineRate,
    CrossEntropy,
    DataError,
    Dataset,
    Dropout,
    GradientDescent,
    Graph,
    GraphError,
    Group,
    Input,
    NormParams,
    Parameter,
    Relu,
    SquaredError,
    StepRate,
    Training,
    WarmUp,
    clip_norm,
    clip_value,
)
from indexlang.edf.graphs.computed import node
from indexlang.edf.graphs.initialisers import Constant, Glorot, He, LeCun, Normal, Uniform, fans
from indexlang.edf.learning import checkpoints
from indexlang.edf.learning.optimisers import Optimiser
from indexlang.files import whole as whole_files

# -- optimisers ------------------------------------------------------------------------------------

PEERS: dict[str, tuple[Callable[[], Optimiser], str, dict[str, Any]]] = {
    "plain": (lambda: GradientDescent(0.1), "SGD", {"lr": 0.1}),
    "momentum": (lambda: GradientDescent(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        lambda: GradientDescent(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    ),
    "adam": (lambda: Adam(0.05, weight_decay=0.1), "Adam", {"lr": 0.05, "weight_decay": 0.1}),
    "adamw": (lambda: AdamW(0.05, beta1=0.8), "AdamW", {"lr": 0.05, "betas": (0.8, 0.999)}),
}


def lone(shape: tuple[int, ...] = (3, 4), seed: int = 0) -> tuple[Graph, Parameter]:
    with Graph(dtype=np.float64, seed=seed) as g:
        return g, Parameter(shape, Normal(1.0), name="w")


@pytest.mark.parametrize("block", [5, 1 << 16])
@pytest.mark.parametrize("lying", ["C", "F"])
@pytest.mark.parametrize("case", PEERS)
def test_an_optimiser_moves_like_that_of_pytorch(
    case: str, lying: Literal["C", "F"], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="the peer that is compared with")
    monkeypatch.setattr("indexlang.edf.learning.optimisers.BLOCK", block)
    make, name, settings = PEERS[case]
    g, w = lone()
    theirs = torch.nn.Parameter(torch.tensor(w.value.copy()))
    ours, peer = make(), getattr(torch.optim, name)([theirs], **settings)
    rng = np.random.default_rng(1)
    for _ in range(5):
        g.gradients["w"] = rng.standard_normal(w.shape).copy(lying)
        theirs.grad = torch.tensor(g.gradients["w"].copy())
        ours.step([w])
        peer.step()
    assert np.allclose(w.value, theirs.detach().numpy(), rtol=1e-12)


def test_momentum_by_hand() -> None:
    g, w = lone((1,))
    w.value, optimiser = [1.0], GradientDescent(0.5, momentum=0.5)
    for gradient in (1.0, 1.0, 0.0):
        g.gradients["w"] = np.array([gradient])
        optimiser.step([w])
    # velocities 1, 1.5, 0.75
    assert w.value[0] == pytest.approx(1 - 0.5 * (1 + 1.5 + 0.75))


def test_groups_have_their_own_settings() -> None:
    with Graph(dtype=np.float64) as g:
        a, b = AffineParams(2, 2, name="a"), AffineParams(2, 2, name="b")
        b_node = Affine(b, Input())
    for p in (*a, *b):
        p.value, g.gradients[p.name] = np.ones(p.shape), np.ones(p.shape)
    optimiser = GradientDescent(0.1, groups=[Group([b_node], rate=0.01), Group([a.B], weight_decay=1.0)])
    optimiser.step([*a, *b])
    assert [float(p.value.flat[0]) for p in (a.W, a.B, b.W, b.B)] == pytest.approx([0.9, 0.8, 0.99, 0.99])
    with pytest.raises(GraphError, match="no setting 'speed'"):
        GradientDescent(0.1, groups=[Group([a], speed=1)])
    with pytest.raises(GraphError, match=r"a\.W is in two groups"):
        GradientDescent(0.1, groups=[Group([a]), Group([a.W])])


def test_clipping() -> None:
    g, w = lone((2,))
    g.gradients["w"] = np.array([3.0, -4.0])
    assert clip_norm([w], 1.0) == 5
    assert np.allclose(w.grad, [0.6, -0.8])
    assert clip_norm([w], 2.0) == pytest.approx(1)
    assert np.allclose(w.grad, [0.6, -0.8])
    clip_value([w], 0.7)
    assert np.allclose(w.grad, [0.6, -0.7])


def test_schedules() -> None:
    assert ConstantRate()(3, 10) == 1
    assert [StepRate(every=2, factor=0.1)(k, 9) for k in (0, 1.9, 2, 4)] == pytest.approx([1, 1, 0.1, 0.01])
    assert [StepRate(at=(1, 3))(k, 9) for k in (0, 1, 2.5, 3)] == pytest.approx([1, 0.1, 0.1, 0.01])
    assert [CosineRate()(k, 4) for k in (0, 2, 4)] == pytest.approx([1, 0.5, 0])
    assert CosineRate(floor=0.2)(4, 4) == pytest.approx(0.2)
    warm = WarmUp(2, CosineRate())
    assert [warm(k, 6) for k in (0, 1, 2, 4, 6)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_initialisers_have_the_spread_that_they_promise() -> None:
    rng, shape = np.random.default_rng(0), (3, 3, 40, 60)
    assert fans(shape) == (360, 540)
    for make, variance in ((Glorot, 2 / 900), (He, 2 / 360), (LeCun, 1 / 360)):
        for distribution in ("normal", "uniform"):
            found = make(distribution)(shape, fans(shape), rng)
            assert found.var() == pytest.approx(variance, rel=0.03)
            assert abs(found.mean()) < 0.02 * variance**0.5 * 10
            if distribution == "uniform":
                assert abs(found).max() <= (3 * variance) ** 0.5
    assert (Constant(2.0)((2, 2), (2, 2), rng) == 2).all()
    assert abs(Uniform(-1, 3)((1000,), (1, 1), rng).mean() - 1) < 0.2
    with pytest.raises(GraphError, match="mode"):
        He(mode="sideways")


# -- runs ------------------------------------------------------------------------------------------


def clusters(count: int = 60, seed: int = 0) -> Dataset:
    """Three kinds of points that lie apart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 2 * count)
    points = (np.eye(3)[labels] * 3 + rng.standard_normal((2 * count, 3))).astype(np.float32)
    return Dataset("clusters", points[:count], labels[:count], points[count:], labels[count:])


def training(folder: Path | None, data: Dataset | None = None, epochs: int = 3, **settings: Any) -> Training:
    """A small network with everything that is random in it."""
    with Graph(seed=5):
        x, y = Input("x"), Input("y")
        h = Dropout(Relu(Affine(AffineParams(3, 8, name="first"), x)), rate=0.2)
        scores = Affine(AffineParams(8, 3, name="second"), h)
        loss = CrossEntropy(scores, y)
    settings = {
        "optimiser": Adam(0.02),
        "schedule": CosineRate(),
        "augment": lambda images, rng: images + np.float32(0.1) * rng.standard_normal(images.shape, np.float32),
        "show": False,
        **settings,
    }
    return Training(loss, x, y, data or clusters(), scores, epochs=epochs, batch=16, folder=folder, **settings)


def state(run: Training) -> dict[str, np.ndarray]:
    return {
        **{p.name: p.value for p in run.graph.parameters},
        **run.optimiser.state,
        "losses": np.array(run.history.losses),
        "accuracies": np.array(run.history.accuracies),
    }


def assert_same(a: Training, b: Training) -> None:
    for name, array in state(a).items():
        assert np.array_equal(array, state(b)[name]), name
    assert a.optimiser.steps == b.optimiser.steps
    assert a.graph.rng.bit_generator.state == b.graph.rng.bit_generator.state


@pytest.fixture(scope="module")
def whole() -> Training:
    """A run that nothing disturbs."""
    run = training(None)
    run.run()
    return run


def test_a_run_learns_and_is_the_same_for_the_same_seed(whole: Training) -> None:
    again = training(None)
    again.run()
    assert_same(whole, again)
    assert len(whole.history.losses) == 12  # 60 examples are 3 batches of 16, and one of 12
    assert whole.history.epochs[-1].loss < whole.history.epochs[0].loss
    longer = training(None, epochs=25)
    longer.run()
    assert longer.history.accuracies[-1] > 85
    other = training(None, seed=1)
    other.run()
    assert other.history.losses != whole.history.losses


def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(whole: Training, tmp_path: Path) -> None:
    first = training(tmp_path)
    first.epochs = 1  # as if it had been stopped there, its schedule apart
    first.schedule = lambda done, total: CosineRate()(done, 3)
    first.run()
    second = training(tmp_path)
    second.run(resume=True)
    assert_same(whole, second)
    third = training(tmp_path)  # nothing is left to do
    third.run(resume=True)
    assert_same(whole, third)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python means it, also where the tests run in the background and ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(after: int) -> Callable[[Any, np.random.Generator], Any]:
    """The augmentation of `training`, with Ctrl-C in one of its calls."""
    count = 0

    def augment(images: Any, rng: np.random.Generator) -> Any:
        nonlocal count
        count += 1
        if count == after:
            signal.raise_signal(signal.SIGINT)
        return images + np.float32(0.1) * rng.standard_normal(images.shape, np.float32)

    return augment


@pytest.mark.parametrize("after", [1, 5, 6])
def test_ctrl_c_ends_the_step_and_saves(whole: Training, tmp_path: Path, after: int) -> None:
    before = signal.getsignal(signal.SIGINT)
    first = training(tmp_path, augment=interrupting(after))
    first.run()
    assert first.stopped
    assert len(first.history.losses) == after
    assert signal.getsignal(signal.SIGINT) is before
    second = training(tmp_path)
    second.run(resume=True)
    assert not second.stopped
    assert_same(whole, second)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, None])
def test_ctrl_c_stays_as_it_is_where_it_is_not_pythons(handler: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to = []
    monkeypatch.setattr(signal, "getsignal", lambda number: handler)
    monkeypatch.setattr(signal, "signal", lambda *given: set_to.append(given))
    training(None, epochs=1).run()
    assert not set_to


def test_a_second_ctrl_c_interrupts() -> None:
    def twice(images: Any, rng: np.random.Generator) -> Any:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        return images

    with pytest.raises(KeyboardInterrupt):
        training(None, augment=twice).run()


def test_a_run_that_is_killed_while_it_saves_goes_on(whole: Training, tmp_path: Path) -> None:
    script = f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_edf_training import training
        run = training(Path({str(tmp_path)!r}))
        fsync, count = os.fsync, 0
        def dies(descriptor):
            global count
            if run.history.epochs and run.history.epochs[-1].epoch == 2:
                os._exit(9)  # the second checkpoint is written, but not in place
            fsync(descriptor)
        os.fsync = dies
        run.run()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert done.returncode == 9
    assert len(list(tmp_path.glob(".checkpoint*.part"))) == 1
    saved = checkpoints.load(tmp_path / "checkpoint.npz")
    assert saved.progress["epoch"] == 1
    second = training(tmp_path)
    second.run(resume=True)
    assert_same(whole, second)


class _Full:
    """A file on a disk that has no more room than this."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: Any) -> int:
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *details: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 100, 1500])
def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    run = training(tmp_path, epochs=1)
    run.run()
    good = (tmp_path / "checkpoint.npz").read_bytes()
    run.epochs = 2
    fdopen = os.fdopen
    monkeypatch.setattr(whole_files.os, "fdopen", lambda number, mode: _Full(fdopen(number, mode), room))
    with pytest.raises(DataError, match=r"cannot write .*checkpoint\.npz: No space left on device\n.*unchanged"):
        run.run()
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.npz").read_bytes() == good
    assert not list(tmp_path.glob(".*"))


def test_the_tables_and_the_picture(tmp_path: Path) -> None:
    run = training(tmp_path, epochs=2)
    run.run()
    with open(tmp_path / "losses.csv", newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses == run.history.losses
    with open(tmp_path / "epochs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["test_accuracy"]) for r in rows] == run.history.accuracies
    assert float(rows[0]["images_per_second"]) > 0
    assert float(rows[1]["loss"]) == pytest.approx(np.average(losses[4:], weights=[16, 16, 16, 12]))
    pytest.importorskip("matplotlib", reason="the picture is an extra")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_progress_tells_loss_accuracy_and_speed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as if it were not installed
    run = training(None, epochs=1, show=True)
    run.run()
    last = capsys.readouterr().out.splitlines()[-1]
    row = run.history.epochs[0]
    assert last.startswith("epoch 1/1: ")
    assert f"images/s, loss {row.loss:.4f}, {row.accuracy:.2f} %, held out {row.test_accuracy:.2f} %" in last


# -- what is wrong ---------------------------------------------------------------------------------


def test_a_checkpoint_of_another_network_names_the_first_parameter_that_differs(tmp_path: Path) -> None:
    training(tmp_path, epochs=1).run()
    path = tmp_path / "checkpoint.npz"
    with Graph() as g:
        x = Input("x")
        Affine(AffineParams(8, 4, name="second"), Affine(AffineParams(3, 8, name="first"), x))
    before = [p.value.copy() for p in g.parameters]
    with pytest.raises(
        DataError, match=r"first parameter that differs: second\.W has shape \(8, 4\) here and \(8, 3\)"
    ):
        checkpoints.restore(checkpoints.load(path), path, g, Adam(0.02))
    assert all(np.array_equal(a, p.value) for a, p in zip(before, g.parameters, strict=True))
    with Graph() as g:
        Affine(AffineParams(3, 8, name="first"), Input("x"))
    with pytest.raises(DataError, match=r"second\.W is there only"):
        checkpoints.restore(checkpoints.load(path), path, g, Adam(0.02))
    with pytest.raises(DataError, match="another optimiser"):
        training(tmp_path, optimiser=GradientDescent(0.1)).run(resume=True)


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    training(tmp_path, epochs=1).run()
    path = tmp_path / "checkpoint.npz"
    good = path.read_bytes()
    for bad in (b"", good[:100], good[:-1], good[: len(good) // 2], b"no archive" * 30):
        path.write_bytes(bad)
        with pytest.raises(DataError, match="damaged"):
            training(tmp_path).run(resume=True)
    place = good.index(b"NUMPY") + 200
    path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
    with pytest.raises(DataError, match="damaged"):
        training(tmp_path).run(resume=True)
    np.savez(path, a=np.ones(3))
    with pytest.raises(DataError, match="is no checkpoint"):
        training(tmp_path).run(resume=True)


def test_other_batches_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    training(tmp_path, augment=interrupting(2)).run()
    run = training(tmp_path)
    run.batch = 10
    with pytest.raises(DataError, match="batch: 16 there, 10 here"):
        run.run(resume=True)
    with pytest.raises(DataError, match="drop_last: False there, True here"):
        training(tmp_path, drop_last=True).run(resume=True)


def test_a_checkpoint_that_is_replaced_is_told_once(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = training(tmp_path, epochs=1)
        first.run()
        first.epochs = 2
        first.run()  # its own
        second = training(tmp_path, epochs=3)
        second.run(resume=True)
        training(None).run()
    third = training(tmp_path, epochs=1)
    with pytest.warns(IndexLangWarning, match=r"checkpoint.npz is the .*\n.*run\(resume=True\)") as told:
        third.run()
    assert len(told) == 1 and told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        third.epochs = 2
        third.run()


def test_settings_that_differ_from_the_checkpoints_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = training(tmp_path, epochs=1)
    with monkeypatch.context() as older:
        older.setattr(checkpoints, "settings_of", lambda optimiser: None)
        first.run()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        training(tmp_path, epochs=2, optimiser=Adam(0.5)).run(resume=True)  # it doesn't say
        training(tmp_path, epochs=3, optimiser=Adam(0.5)).run(resume=True)
    other = training(tmp_path, epochs=4)
    weight = other.graph.parameters[0]
    other.optimiser = Adam(0.02, beta1=0.9, groups=[Group([weight], weight_decay=0.1)])
    with pytest.warns(IndexLangWarning, match="with other settings of Adam; those here are used") as told:
        other.run(resume=True)
    said = str(told[0].message)
    assert "  rate: 0.5 there, 0.02 here\n  weight_decay of first.W: none there, 0.1 here\n  way out" in said
    assert told[0].filename == __file__
    assert other.history.epochs[-1].rate < 0.02


def test_what_are_no_settings_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "settings_of", lambda optimiser: {"": 3})
    training(tmp_path, epochs=1).run()
    with pytest.raises(DataError, match="are no settings of an optimiser"):
        training(tmp_path, epochs=2).run(resume=True)


def test_a_loss_that_is_no_number_names_the_first_node() -> None:
    Root = node("layer root(x) -> y:\n    y[...] = sqrt(x[...])\n")  # noqa: N806
    data = clusters()
    with Graph() as g:
        x, y = Input("x"), Input("y")
        h = Affine(AffineParams(3, 3, name="in"), x)
        scores = Affine(AffineParams(3, 3, name="out"), Root(h))
        loss = CrossEntropy(scores, y)
    run = Training(loss, x, y, data, scores, epochs=1, batch=16, show=False)
    before = [p.value.copy() for p in g.parameters]
    with pytest.raises(
        GraphError, match=r"the loss CrossEntropy1 is nan or inf\n  the first node that is: Root1\n  Root1\["
    ):
        run.run()
    assert all(np.array_equal(a, p.value) for a, p in zip(before, g.parameters, strict=True))
    x.value, y.value = data.images.copy(), data.labels
    x.value[3, 1] = np.inf
    g.step(loss)
    assert "the first input that is: x\n  x[3, 1] = inf" in str(g.not_finite(loss))
    next(p for p in g.parameters if p.name == "out.W").value[0, 0] = np.nan
    x.value = data.images
    g.step(loss)
    assert "the first node that is: Root1" in str(g.not_finite(loss))


def test_rates_that_make_parameters_no_numbers_do_not_overwrite_the_checkpoint(tmp_path: Path) -> None:
    run = training(tmp_path, epochs=1)
    run.run()
    good = (tmp_path / "checkpoint.npz").read_bytes()
    broken = training(tmp_path, epochs=3)
    broken.restore()
    broken.augment = None
    broken.optimiser.rate = np.inf
    with np.errstate(all="ignore"), pytest.raises(GraphError, match="nan or inf"):
        broken.run()
    assert (tmp_path / "checkpoint.npz").read_bytes() == good


def test_data_that_do_not_fit() -> None:
    good = clusters()
    with pytest.raises(DataError, match="nothing to learn from"):
        Dataset("empty", good.images[:0], good.labels[:0], good.test_images, good.test_labels)
    with pytest.raises(DataError, match="60 images but 59 labels"):
        Dataset("uneven", good.images, good.labels[1:], good.test_images, good.test_labels)
    labels = good.labels.copy()
    labels[7] = 3
    wrong = Dataset("wrong", good.images, labels, good.test_images, good.test_labels)
    with pytest.raises(DataError, match=r"a training label is outside of the classes: number 7 is 3\n.*0 to 2"):
        training(None, wrong)
    no_test = Dataset("no test", good.images, good.labels, good.test_images[:0], good.test_labels[:0])
    run = training(None, no_test, epochs=1)
    run.run()
    assert run.history.epochs[0].test_accuracy is None


# -- what would train nothing, or too much ---------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: GradientDescent(-1), "rate of GradientDescent is a number from 0 on, not -1"),
        (lambda: GradientDescent(float("nan")), "rate"),
        (lambda: GradientDescent("0.1"), "rate"),  # type: ignore[arg-type]
        (lambda: GradientDescent(0.1, weight_decay=-1e-4), "weight_decay"),
        (lambda: GradientDescent(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: Adam(beta1=1.0), "beta1 of Adam is a number from 0 to below 1, not 1.0"),
        (lambda: AdamW(beta2=-0.1), "beta2 of AdamW"),
        (lambda: Adam(eps=float("inf")), "eps"),
        (lambda: Adam(groups=[Group([lone()[1]], rate=-1)]), "rate of Adam"),
        (lambda: clip_norm([], 0), "clip_norm cuts at a number above 0, not 0"),
        (lambda: clip_value([], -1.0), "clip_value"),
    ],
)
def test_settings_that_nobody_means(make: Callable[[], object], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        make()


def test_settings_are_kept_as_plain_numbers() -> None:
    run = training(None, clip_norm=np.float32(0.5), clip_value=np.int64(2), optimiser=Adam(np.float32(0.5)))
    kept = run.clip_norm, run.clip_value, run.optimiser.rate
    assert kept == (0.5, 2, 0.5) and [type(v) for v in kept] == [float, int, float]
    _, w = lone()
    assert type(Group([w], rate=np.float64(0.5)).settings["rate"]) is float


def test_what_holds_arrays_is_compared_without_them() -> None:
    first, second = training(None), training(None)
    first.run()
    assert first == first and first != second and first.data == first.data
    assert first.data != second.data and len({first.data, second.data, first, second}) == 4
    assert first.optimiser != second.optimiser and Adam(0.1) == Adam(0.1) != Adam(0.2)


def test_a_step_without_gradients_is_an_error() -> None:
    _, w = lone()
    before = w.value.copy()
    for optimiser in (GradientDescent(0.1), Adam()):
        with pytest.raises(GraphError, match="no parameter has a gradient, w neither"):
            optimiser.step([w])
        assert optimiser.steps == 0
    assert np.array_equal(w.value, before)
    w.trained = False
    GradientDescent(0.1).step([w])  # nothing is to be moved


def test_a_parameter_that_is_trained_later_counts_its_own_steps() -> None:
    torch = pytest.importorskip("torch", reason="the peer that is compared with")
    with Graph(dtype=np.float64) as g:
        a, b = Parameter((3,), Normal(1.0), name="a"), Parameter((3,), Normal(1.0), name="b")
    theirs = [torch.nn.Parameter(torch.tensor(p.value.copy())) for p in (a, b)]
    ours, peer = Adam(0.05), torch.optim.Adam(theirs, lr=0.05)
    rng = np.random.default_rng(3)
    for step in range(6):
        for p, other in zip((a, b), theirs, strict=True):
            late = p is b and step < 3
            gradient = rng.standard_normal(3)
            g.gradients.pop(p.name, None)
            other.grad = None
            if not late:
                g.gradients[p.name], other.grad = gradient, torch.tensor(gradient)
        ours.step([a, b])
        peer.step()
    for p, other in zip((a, b), theirs, strict=True):
        assert np.allclose(p.value, other.detach().numpy(), rtol=1e-12)


def test_a_package_is_frozen_as_a_whole() -> None:
    with Graph():
        x, phi, norm = Input(), AffineParams(3, 3), NormParams(3)
        loss = SquaredError(BatchNorm(norm, Affine(phi, x)), Affine(AffineParams(3, 3), x))
    x.value = np.random.default_rng(0).standard_normal((4, 3))
    assert phi.trained and norm.trained and not norm.mean.trained
    phi.trained = False
    assert [p.trained for p in phi] == [False, False] and not phi.trained
    before = phi.W.value.copy(), norm.beta.value.copy()
    loss.graph.step(loss)
    GradientDescent(0.1).step(loss.graph.parameters)
    assert np.array_equal(before[0], phi.W.value) and not np.array_equal(before[1], norm.beta.value)
    norm.trained = False
    assert not norm.gamma.trained and not norm.beta.trained
    phi.trained = norm.trained = True
    assert phi.trained and norm.trained and not norm.mean.trained and not norm.variance.trained
    phi.B.trained = False
    with pytest.raises(GraphError, match="some parameters of Phi1 are trained, others are not\n  W: yes, B: no"):
        _ = phi.trained


def test_a_state_from_before_parameters_were_counted_goes_on() -> None:
    g, w = lone()
    one, other = Adam(), Adam()
    rng = np.random.default_rng(4)
    start = w.value.copy()
    gradients = [rng.standard_normal(w.shape) for _ in range(4)]
    for gradient in gradients:
        g.gradients["w"] = gradient
        one.step([w])
        if one.steps == 2:
            middle, state = w.value.copy(), {n: a.copy() for n, a in one.state.items() if not n.endswith(".steps")}
    end = w.value.copy()
    w.value = middle
    other.restore(2, state)
    for gradient in gradients[2:]:
        g.gradients["w"] = gradient
        other.step([w])
    assert np.array_equal(w.value, end) and not np.array_equal(end, start)


@pytest.mark.parametrize("size", [1e20, 1e-30])
def test_clipping_beyond_the_squares_of_a_type(size: float) -> None:
    with Graph() as g:
        w = Parameter((2,), Normal(1.0), name="w")
    g.gradients["w"] = np.array([3, 4], np.float32) * np.float32(size)
    assert clip_norm([w], size) == pytest.approx(5 * size, rel=1e-6)
    assert np.allclose(w.grad / np.float32(size), [0.6, 0.8])
