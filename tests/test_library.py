"""The standard layers: what they compute against plain NumPy, their gradients against the complex step."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from library_cases import CASES, Case
from library_meaning import Pool, conv, softmax
from numpy.typing import NDArray

import indexlang
from indexlang import edf
from indexlang.calls.function import Function
from indexlang.oracle import gradcheck
from indexlang.program.ir import Program

Array = NDArray[Any]
Arrays = Mapping[str, Array]

LIBRARY = Path(indexlang.__file__).parent / "library"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "library.md"
EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
ONE = pytest.mark.parametrize("case", {c.layer: c for c in CASES}.values(), ids=lambda c: c.name)

# -- the properties --------------------------------------------------------------------------------


@cache
def function_of(case: Case) -> Function:
    return indexlang.compile(LIBRARY / f"{case.file}.idx", layer=case.layer, **case.options)


def run(program: Program, arrays: Arrays) -> Arrays:
    """By the kernels."""
    found: Arrays = Function(program, always_dict=True)(**arrays)
    return found


@EACH
def test_a_layer_computes_what_it_says(case: Case) -> None:
    f, arrays = function_of(case), case.arrays()
    found, expected = f(**arrays), case.expected(**arrays)
    if not isinstance(expected, dict):
        found, expected = {"the output": found}, {"the output": expected}
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == np.shape(value), name
        np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-11, err_msg=name)


@EACH
def test_its_gradients_are_right(case: Case) -> None:
    program = function_of(case).program
    rows = gradcheck.gradcheck(program, case.arrays(), backward=run, most=3)
    assert rows
    for row in rows:
        assert row.ok, row


@ONE
def test_its_gradients_are_the_same_gathered(case: Case) -> None:
    f, arrays = function_of(case), case.arrays()
    values, pullback = f.vjp(**arrays)
    values = values if isinstance(values, dict) else {f.outputs[0]: values}
    seeds = {n: np.cos(np.arange(v.size)).reshape(v.shape) for n, v in values.items() if v.dtype.kind == "f"}
    scattered = pullback(seeds if len(f.outputs) > 1 else seeds[f.outputs[0]])
    derived = f.grad(form="gather")
    given = {**values, **arrays, **{f"{n}.grad": s for n, s in seeds.items()}}
    gathered = derived(**{n: given[n] for n in derived.inputs})
    for name, gradient in scattered.items():
        np.testing.assert_allclose(gathered[f"{name}.grad"], gradient, rtol=1e-10, atol=1e-10, err_msg=name)


@ONE
def test_it_keeps_single_precision(case: Case) -> None:
    arrays = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in case.arrays().items()}
    expected = case.expected(**arrays)
    found = function_of(case)(**arrays)
    if not isinstance(expected, dict):
        found, expected = {"the output": found}, {"the output": expected}
    for name, value in found.items():
        assert value.dtype == (np.float32 if np.asarray(expected[name]).dtype.kind == "f" else np.int64), name
        np.testing.assert_allclose(value, expected[name], rtol=2e-4, atol=2e-4)


def layers_of(file: Path) -> list[str]:
    return re.findall(r"^layer (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)


FILES = [file for file in sorted(LIBRARY.glob("*.idx")) if file.stem != "layers"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_layer_is_tested_and_listed(file: Path) -> None:
    layers = layers_of(file)
    assert layers
    assert set(layers) == {c.layer for c in CASES if c.file == file.stem}
    listed = re.findall(rf"^\| `(\w+)` \|.*\| `{file.stem}` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == layers


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_layer_has_a_comment_with_its_source(file: Path) -> None:
    """What a layer is stands above it; a source, where it is not a variant of the one before."""
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("layer "):
            assert lines[number - 1].startswith("# "), line


def test_names_are_unique() -> None:
    names = [name for file in FILES for name in layers_of(file)]
    assert len(set(names)) == len(names)


def test_one_file_has_all_layers() -> None:
    text = (LIBRARY / "layers.idx").read_text(encoding="utf-8")
    imported = re.findall(r"^from (\w+) import (.*)$", text, re.MULTILINE)
    assert sorted((file, n) for file, names in imported for n in names.split(", ")) == sorted(
        (file.stem, name) for file in FILES for name in layers_of(file)
    )
    f = indexlang.compile("from layers import relu, affine\n\nlayer f(x, W, b) -> y:\n    y = relu(affine(x, W, b))\n")
    assert f(x=[[1.0, 2.0]], W=[[1.0, 0.0], [0.0, -1.0]], b=[0.5, 0.0]).tolist() == [[1.5, 0.0]]


def test_layers_are_imported_by_name(tmp_path: Path) -> None:
    """The library is found from any folder, and several of its files meet in one program."""
    (tmp_path / "net.idx").write_text(
        "from conv import conv2d\n"
        "from pooling import maxpool2d\n"
        "from activations import relu\n"
        "from linear import fully_connected\n"
        "from losses import cross_entropy, batch_mean\n"
        "\n"
        "layer net(x, label, K, b, W, c) -> loss:\n"
        "    h = maxpool2d(relu(conv2d(x, K, b, padding=1)))\n"
        "    loss = batch_mean(cross_entropy(fully_connected(h, W, c), label))\n"
    )
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 4, 4, 1), "K": (3, 3, 1, 2), "b": (2,), "W": (8, 3), "c": (3,)}
    arrays: dict[str, Array] = {n: gradcheck.spread(s, rng) for n, s in shapes.items()} | {"label": np.array([2, 0])}
    f = indexlang.compile(tmp_path / "net.idx")
    maps = np.maximum(conv(arrays["x"], arrays["K"], arrays["b"], padding=1), 0)
    scores = Pool(2).max(maps)[0].reshape(2, 8) @ arrays["W"] + arrays["c"]
    expected = -np.log(softmax(scores))[[0, 1], arrays["label"]].mean()
    np.testing.assert_allclose(f(**arrays), expected, rtol=1e-12)
    for row in gradcheck.gradcheck(f.program, arrays, backward=run, most=3):
        assert row.ok, row


# -- what single layers are known for --------------------------------------------------------------


def library(file: str, layer: str, **options: Any) -> Function:
    return indexlang.compile(LIBRARY / f"{file}.idx", layer=layer, **options)


def test_im2col_times_the_kernel_is_the_convolution() -> None:
    """The lecture's Im2C slide, by the three layers themselves."""
    rng = np.random.default_rng(1)
    x, kernel, bias = (gradcheck.spread(s, rng) for s in ((2, 6, 7, 3), (3, 2, 3, 4), (4,)))
    options = {"stride": 2, "padding": 1}
    direct = library("conv", "conv2d", **options)(x=x, K=kernel, bias=bias)
    columns = library("conv", "im2col", rows=3, columns=2, **options)(x=x)
    np.testing.assert_allclose(columns @ kernel.reshape(-1, 4) + bias, direct, rtol=1e-12)
    np.testing.assert_allclose(
        library("conv", "conv2d_im2col", **options)(x=x, K=kernel, bias=bias), direct, rtol=1e-12
    )


def test_transposed_convolution_is_the_gradient_of_the_convolution() -> None:
    rng = np.random.default_rng(2)
    x, kernel, dy = (gradcheck.spread(s, rng) for s in ((2, 7, 9, 2), (3, 3, 2, 4), (2, 4, 5, 4)))
    options = {"stride": 2, "padding": 1}
    forward = library("conv", "conv2d_nobias", **options)
    dx = forward.grad(wrt=["x"])(x=x, K=kernel, **{"y.grad": dy})["x.grad"]
    back = library("conv", "conv_transpose2d", **options)
    np.testing.assert_allclose(back(x=dy, K=kernel.transpose(0, 1, 3, 2), bias=np.zeros(2)), dx, rtol=1e-12, atol=1e-12)


def test_scores_of_any_size_are_safe() -> None:
    s = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]])
    y = np.array([1, 2])
    np.testing.assert_allclose(library("losses", "cross_entropy")(s=s, y=y), [1e4, np.log(3)])
    np.testing.assert_allclose(library("activations", "softmax")(s=s), [[1, 0, 0], [1 / 3] * 3])
    np.testing.assert_allclose(library("activations", "log_softmax")(s=s)[0], [0, -1e4, -2e4])
    f = library("losses", "binary_cross_entropy")
    np.testing.assert_allclose(f(s=s, y=np.ones((2, 3))), np.maximum(-s, 0) + np.log1p(np.exp(-abs(s))))
    _, pullback = library("losses", "cross_entropy").vjp(s=s, y=y)
    assert np.isfinite(pullback(np.ones(2))["s"]).all()


def test_attention_of_any_size_is_safe_and_causal() -> None:
    rng = np.random.default_rng(3)
    q, k, v = (gradcheck.spread(s, rng) for s in ((1, 4, 1, 2),) * 3)
    f = library("sequences", "causal_attention")
    assert np.isfinite(f(q=1e5 * q, k=k, v=v)).all()
    later = v.copy()
    later[:, 3] = 7
    assert np.array_equal(f(q=q, k=k, v=v)[:, :3], f(q=q, k=k, v=later)[:, :3])


def test_the_first_of_equal_elements_gets_the_gradient() -> None:
    f = library("pooling", "maxpool2d")
    _, pullback = f.vjp(x=np.ones((1, 2, 2, 1)))
    assert pullback(np.ones((1, 1, 1, 1)))["x"].ravel().tolist() == [1, 0, 0, 0]


def test_running_statistics_follow_the_batches() -> None:
    """The two layers in turn, as in training; then evaluation with what they have found."""
    rng = np.random.default_rng(4)
    train, update = (
        library("normalization", "batchnorm2d"),
        library("normalization", "running_statistics", momentum=0.5),
    )
    gamma, beta, mu, var = np.ones(2), np.zeros(2), np.zeros(2), np.ones(2)
    kept = (mu, var)
    for _ in range(40):
        x = 3 + 2 * rng.standard_normal((8, 6, 6, 2))
        found = train(x=x, gamma=gamma, beta=beta)
        new = update(x=x, mu=found["mu"], var=found["var"], running_mu=mu, running_var=var)
        mu, var = new["new_mu"], new["new_var"]
    assert np.abs(mu - 3).max() < 0.3
    assert np.abs(var - 4).max() < 0.6
    assert kept[0].tolist() == [0, 0]
    evaluated = library("normalization", "batchnorm_eval")(x=x, gamma=gamma, beta=beta, mu=mu, var=var)
    np.testing.assert_allclose(evaluated, (x - mu) / np.sqrt(var + 1e-5))


@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 2, 3), (2, 0, 3), (1, 2, 1), (2, 3, 2)])
def test_running_statistics_of_few_values(shape: tuple[int, ...]) -> None:
    """No value leaves both as they were, as in PyTorch; one leaves the variance, which it does not have."""
    values = np.random.default_rng(6).standard_normal((*shape, 2))
    f = library("normalization", "running_statistics", momentum=0.25)
    batch = library("normalization", "batchnorm2d")(x=values, gamma=np.ones(2), beta=np.zeros(2))
    old = {"running_mu": np.array([1.0, -2.0]), "running_var": np.array([3.0, 4.0])}
    found = f(x=values, mu=batch["mu"], var=batch["var"], **old)
    for c in range(2):
        channel = values[..., c].ravel().tolist()
        mu, var = old["running_mu"][c], old["running_var"][c]
        if channel:
            mean = sum(channel) / len(channel)
            mu = 0.75 * mu + 0.25 * mean
        if len(channel) > 1:
            var = 0.75 * var + 0.25 * sum((v - mean) ** 2 for v in channel) / (len(channel) - 1)
        assert found["new_mu"][c] == pytest.approx(mu, rel=1e-12)
        assert found["new_var"][c] == pytest.approx(var, rel=1e-12)


def test_alexnets_normalisation_is_the_papers() -> None:
    """b = a / (k + alpha * sum a^2)^beta with n = 5, k = 2, alpha = 1e-4, beta = 0.75."""
    rng = np.random.default_rng(5)
    a = 20 * rng.standard_normal((1, 1, 1, 9))
    near = [sum(a[..., m] ** 2 for m in range(max(0, c - 2), min(9, c + 3))) for c in range(9)]
    paper = a / (2 + 1e-4 * np.stack(near, -1)) ** 0.75
    np.testing.assert_allclose(library("normalization", "local_response_norm", k=2, alpha=5e-4)(x=a), paper)


def test_a_bilateral_filter_keeps_edges() -> None:
    x = np.zeros((1, 8, 8, 1))
    x[:, :, 4:] = 1
    noisy = x + 0.02 * np.random.default_rng(6).standard_normal(x.shape)
    y = library("neighbourhoods", "bilateral")(x=noisy)
    assert np.abs(y - x).max() < 0.05
    assert np.std(y - x) < 0.6 * np.std(noisy - x)


def test_labels_outside_of_the_classes_are_an_error() -> None:
    for layer, scores in (("log_loss", "q"), ("cross_entropy", "s")):
        with pytest.raises(indexlang.IndexLangError):
            library("losses", layer)(**{scores: np.full((2, 3), 0.3), "y": np.array([0, 3])})


def test_tokens_outside_of_the_table_are_an_error() -> None:
    with pytest.raises(indexlang.IndexLangError):
        library("sequences", "embedding")(E=np.ones((3, 2)), tok=np.array([[0, -1]]))


def test_channels_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(indexlang.IndexLangError):
        library("conv", "conv2d")(x=np.ones((1, 4, 4, 3)), K=np.ones((2, 2, 2, 1)), bias=np.ones(1))
    with pytest.raises(indexlang.IndexLangError):
        library("conv", "conv2d_groups", groups=2)(x=np.ones((1, 4, 4, 3)), K=np.ones((2, 2, 1, 2)), bias=np.ones(2))
    with pytest.raises(indexlang.IndexLangError):
        library("joining", "residual")(x=np.ones((1, 4)), f=np.ones((1, 1)))


def test_a_network_over_time_is_a_node() -> None:
    """As a layer of its own gives it, with the gradients of its parameters."""
    rng = np.random.default_rng(8)
    shapes = {"x": (2, 5, 3), "h0": (2, 4), "W": (3, 4), "U": (4, 4), "bias": (4,)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    wanted = rng.standard_normal((2, 4))
    with edf.Graph(dtype=np.float64) as graph:
        x, h0, target = edf.Input("x"), edf.Input("h0"), edf.Input("target")
        parameters = [edf.Parameter(arrays[n]) for n in ("W", "U", "bias")]
        loss = edf.SquaredError(edf.node("rnn")(x, h0, *parameters).part("h_last"), target)
    losses = graph.step(loss, {x: arrays["x"], h0: arrays["h0"], target: wanted})
    values, pullback = library("sequences", "rnn").vjp(**arrays)
    np.testing.assert_allclose(losses, ((values["h_last"] - wanted) ** 2).sum(1))
    gradients = pullback({"y": np.zeros_like(values["y"]), "h_last": values["h_last"] - wanted})  # of the mean of two
    for name, parameter in zip(("W", "U", "bias"), parameters, strict=True):
        np.testing.assert_allclose(parameter.grad, gradients[name], rtol=1e-12, atol=1e-14)


def test_networks_over_time_end_where_they_began_without_steps() -> None:
    shapes = {"x": (2, 0, 3), "h0": (2, 4), "c0": (2, 4), "W": (3, 4, 4), "U": (4, 4, 4), "bias": (4, 4)}
    arrays = {name: np.ones(shape) for name, shape in shapes.items()}
    found = library("sequences", "lstm")(**arrays)
    assert found["y"].shape == (2, 0, 4)
    assert np.array_equal(found["h_last"], arrays["h0"])
    assert np.array_equal(found["c_last"], arrays["c0"])


def test_the_plan_of_sinkhorn_has_the_weights_that_are_given() -> None:
    rng = np.random.default_rng(9)
    a, b = (w / w.sum() for w in (rng.random(5) + 0.1, rng.random(7) + 0.1))
    plan = library("iterations", "sinkhorn", eps=0.05, steps=400)(C=rng.random((5, 7)), a=a, b=b)
    np.testing.assert_allclose(plan.sum(0), b, rtol=1e-9)
    np.testing.assert_allclose(plan.sum(1), a, rtol=1e-6)


def test_a_long_wave_keeps_its_energy() -> None:
    x = np.sin(np.pi * np.arange(1, 40) / 40)[None]
    y = library("iterations", "wave", steps=160, speed=0.5)(x=x)
    np.testing.assert_allclose(y[0, 160], x[0], atol=1e-3)  # two lengths at half a point a step: there and back
    np.testing.assert_allclose(y[0, 80], -x[0], atol=1e-3)
