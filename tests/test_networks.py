"""The networks: their tables are the published ones, their values PyTorch's, their gradients the complex step's.

The tables in networks.json name their sources. Gradients are checked at a reduced size and width, those of the deepest
networks where INDEXLANG_SLOW is set: they take up to a minute each. PyTorch's values are in test_networks_torch.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexlang.backends.numpy.load import compile_program
from indexlang.cli.commands import main
from indexlang.edf import Adam, CrossEntropy, Graph, GraphError, Input, networks, summary
from indexlang.edf.graphs import sizes
from indexlang.edf.networks import build
from indexlang.errors import ShapeError

TABLES: dict[str, Any] = json.loads(Path(__file__).with_name("networks.json").read_text(encoding="utf-8"))

slow = pytest.mark.skipif("INDEXLANG_SLOW" not in os.environ, reason="takes up to a minute: set INDEXLANG_SLOW=1")

# -- the tables --------------------------------------------------------------------------------------------

KINDS = {
    "Conv": "conv",
    "MaxPool": "maxpool",
    "AvgPool": "avgpool",
    "GlobalAvgPool": "avgpool",
    "LocalResponseNorm": "lrn",
    "BatchNorm": "batchnorm",
    "Affine": "fc",
    "Add": "add",
    "Concat": "concat",
}
NAMES = {
    "lenet5": ("lenet5", {}),
    "alexnet_one_tower_227": ("alexnet", {}),
    "alexnet_grouped_227": ("alexnet_groups", {}),
    "googlenet_onnx": ("googlenet", {"ceil_mode": 0}),
}


def lines(rows: tuple[summary.Row, ...]) -> list[str]:
    """The rows as the reference writes them: channels first, no activations, an image of one pixel as 1x1."""
    found = []
    for row in rows:
        kind, shape = KINDS.get(row.kind), row.shape
        if kind is not None:
            shape = (1, 1, *shape) if kind == "avgpool" and len(shape) == 1 else shape
            sizes = shape if len(shape) == 1 else (shape[-1], *shape[:-1])
            found.append(f"{kind} {'x'.join(map(str, sizes))} {row.parameters} {row.macs}")
    return found


@pytest.mark.parametrize("table", [name for name in TABLES if name != "lenet5_1998"])
def test_every_layer_equals_the_published_table(table: str) -> None:
    name, options = NAMES.get(table, (table, {}))
    rows = summary.summary(build(name, **options).graph)
    assert lines(rows) == TABLES[table]["layers"]
    assert sum(r.parameters for r in rows) == TABLES[table]["parameters"]
    assert sum(r.macs for r in rows) == TABLES[table]["macs"]


def test_the_lenet_of_1998_has_the_connections_of_the_paper() -> None:
    net = build("lenet5_1998")
    assembled = net.graph.assembled()
    known = sizes.infer(assembled, {net.x: (1, 32, 32, 1)}).nodes
    found = []
    for node in assembled.computed:
        if node.stem != "Squash":
            call = assembled.calls[node]
            layer = sizes.sized(call, [known[a] for a in call.arguments])
            points = 0  # each number that is multiplied or added into a sum is a connection, a bias is one too
            for stmt, extents in zip(layer.program.statements, layer.shapes.extents, strict=True):
                if stmt.reduced or stmt.op == "+=":
                    points += int(np.prod([extents[i][1] - extents[i][0] for i in stmt.domain.indices]))
            weights = sum(a.size for a in call.arguments if getattr(a, "trained", False))
            found.append((known[node][1:], weights, points))
    expected = []
    for line in TABLES["lenet5_1998"]["layers"]:
        _, shape, parameters, connections = line.split()
        channels, *image = map(int, shape.split("x"))
        expected.append(((*image, channels), int(parameters), int(connections)))
    assert found == expected
    assert sum(points for _, _, points in found) == 340_908


def test_a_pool_before_the_norm_changes_no_total() -> None:
    one, other = (summary.summary(build("alexnet", pool_first=first).graph) for first in (False, True))
    assert [r.name for r in other if r.name.startswith(("pool", "norm"))] == [
        "pool1",
        "norm1",
        "pool2",
        "norm2",
        "pool5",
    ]
    assert sum(r.macs for r in one) == sum(r.macs for r in other)


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [("alexnet", 48, "pool5"), ("vgg11", 31, "pool5"), ("lenet5", 15, "S4"), ("googlenet", 16, "pool4")],
)
def test_an_image_that_is_too_small_is_refused_by_the_layer(name: str, size: int, layer: str) -> None:
    with pytest.raises(ShapeError, match=f"{layer} does not fit what it is computed from") as caught:
        build(name, size=size)
    assert caught.value.code == "empty-range"


def test_the_smallest_images_of_alexnet_and_vgg() -> None:
    for name, size in (("alexnet", 67), ("vgg11", 32)):
        net = build(name, size=size)
        assert net.graph.shapes({net.x: (2, size, size, 3)})[net.scores] == (2, 1000)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: build("lenet"), "no network 'lenet'.*did you mean 'lenet5'"),
        (lambda: build("LeNet5"), "did you mean 'lenet5'"),
        (lambda: build(["lenet5"]), "way out: name one of these"),
        (lambda: build("lenet5", clases=3), "no option 'clases'.*did you mean 'classes'"),
        (lambda: networks.find("ResNet-50"), "did you mean 'resnet50'"),
        (lambda: networks.find("lenet5", {"chanels": 3}), "did you mean 'channels'"),
        (lambda: networks.find(3), "way out: name one, or a Python file"),
        (lambda: networks.find("lenet5").examples({"X": (1,)}), "did you mean 'x'"),
    ],
)
def test_names_that_nobody_has_are_answered_with_those_that_are_meant(call: Any, told: str) -> None:
    with pytest.raises(GraphError, match=f"(?s){told}"):
        call()


def test_building_draws_no_values() -> None:
    net = build("vgg19")
    summary.summary(net.graph)
    assert all(p._value is None for p in net.graph.parameters)


# -- the command ---------------------------------------------------------------------------------------------


def test_summary_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet50"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["layer", "output", "parameters", "multiply-adds"]
    assert printed[2].split() == ["conv1", "Conv", "112x112x64", "9,408", "118,013,952"]
    assert printed[-1].split() == ["total", "25,557,032", "4,089,184,256"]


def test_summary_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0] == {"name": "C1", "kind": "Conv", "shape": [28, 28, 6], "parameters": 156, "macs": 117600}


def test_summary_takes_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "resnet18", "-O", "size=64", "-O", "width=0.5"]) == 0
    assert "conv1  " in capsys.readouterr().out


SLIDES = """
from indexlang.edf import *
x, y = Input({}), Input()
Phi1, Phi2 = AffineParams(784, 256), AffineParams(256, 10)
L1 = Relu(Affine(Phi1, x))
Q = Softmax(Sigmoid(Affine(Phi2, L1)))
ell = LogLoss(Q, y)
if __name__ == "__main__":
    raise SystemExit("not run")
"""
FILES = {
    "the slides' default graph": (SLIDES.format("shape=(784,)"), []),
    "a shape from the command line": (SLIDES.format(""), ["--shape", "x=784"]),
    "a graph": ("from indexlang.edf import *\nwith Graph() as g:\n    x = Input(shape=(784,))\n"
                "    s = Affine(AffineParams(256, 10), Relu(Affine(AffineParams(784, 256), x)))\n", []),
    "a function": ("from indexlang.edf.networks import build\ndef network():\n    return build('mlp')\n", []),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_summary_of_a_python_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    text, arguments = FILES[case]
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    assert main(["summary", str(tmp_path / "net.py"), *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["total", "203,530", "203,264"]


WRONG = {
    "a name": (["lenet6"], "there is no network 'lenet6'"),
    "an option": (["lenet5", "-O", "depth=3"], "lenet5 has no option 'depth'"),
    "an option that does not fit": (["resnet18", "-O", "blocks=3"], "resnet18 cannot be built so"),
    "a negative size": (["vgg11", "-O", "size=-4"], "error["),
    "an input": (["lenet5", "--shape", "z=1"], "the network has no input 'z'"),
    "a size": (["lenet5", "-O", "size=8"], "error[empty-range]"),
    "no file": (["missing.py"], "there is no file missing.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_summary_of_what_is_no_network(capsys: pytest.CaptureFixture[str], case: str) -> None:
    arguments, message = WRONG[case]
    assert main(["summary", *arguments]) == 1
    assert message in capsys.readouterr().err


BROKEN = {
    "nothing": ("x = 1\n", "defines no network"),
    "an exception": ("x = 1\nx / 0\n", "line 2: ZeroDivisionError"),
    "no Python": ("x = (\n", "SyntaxError"),
    "two graphs": ("from indexlang.edf import *\na, b = Graph(), Graph()\n", "defines several graphs"),
    "a function with arguments": ("def network(size): ...\n", "network() cannot be called"),
    "no shape": (SLIDES.format(""), "the shape of the input Input1 is not known"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_summary_of_a_file_that_defines_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    text, message = BROKEN[case]
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    assert main(["summary", str(tmp_path / "net.py")]) == 1
    assert message in capsys.readouterr().err


# -- small ones ----------------------------------------------------------------------------------------------

SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"channels": 12, "hidden": (7, 5)},
    "lenet5": {},
    "lenet5_1998": {},
    "alexnet": {"size": 67, "width": 1 / 32, "dropout": 0},
    "alexnet_groups": {"size": 67, "width": 1 / 16, "dropout": 0},
    "vgg11": {"size": 32, "width": 1 / 32, "dropout": 0},
    "vgg13": {"size": 32, "width": 1 / 32, "dropout": 0},
    "vgg16": {"size": 32, "width": 1 / 32, "dropout": 0},
    "vgg19": {"size": 32, "width": 1 / 32, "dropout": 0},
    "googlenet": {"size": 64, "width": 1 / 16, "dropout": 0},
    "plain18": {"size": 64, "width": 1 / 16},
    "resnet18": {"size": 64, "width": 1 / 16},
    "resnet50": {"size": 64, "width": 1 / 16, "blocks": (1, 2, 1, 1)},
    "resnet50_v1": {"size": 64, "width": 1 / 16, "blocks": (1, 2, 1, 1)},
    "resnet8": {"size": 16, "width": 1 / 4},
    "plain20": {"size": 16, "width": 1 / 4},
    "resnet20": {"size": 16, "width": 1 / 4},
}
DEEP = ("plain34", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50_v1")


def small(name: str, dtype: Any = np.float64, **options: Any) -> networks.Network:
    """A network of few channels for small images, five classes."""
    return build(name, graph=Graph(seed=3, dtype=dtype), **{"classes": 5, **SMALL[name], **options})


def batch(net: networks.Network, count: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random images and labels."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *(net.x.example or ()))), rng.integers(0, 5, count)


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_of_the_whole_network_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a plan that is verified, and code that checks itself."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    check_gradient(small(name))


@slow
@pytest.mark.parametrize("name", DEEP)
def test_the_gradient_of_a_deep_network_is_right(name: str) -> None:
    check_gradient(build(name, graph=Graph(seed=3, dtype=np.float64), classes=5, size=64, width=1 / 16))


def check_gradient(net: networks.Network) -> None:
    """The gradients by all parameters together against the complex step, in two random directions."""
    with net.graph:
        y = Input("y", ())
        loss = CrossEntropy(net.scores, y)
    images, labels = batch(net)
    rng = np.random.default_rng(1)
    trained = [p for p in net.graph.parameters if p.trained]
    for p in trained:  # no bias of exactly 0: where nothing comes in, relu would stand on its kink
        p.value = p.value + 0.1 * rng.standard_normal(p.shape)
    net.graph.step(loss, {net.x: images, y: labels})

    assembled = net.graph.assembled(loss)
    known = sizes.infer(assembled, {net.x: images.shape, y: labels.shape})
    program = sizes.declared(assembled, known)
    arrays = {p.name: p.value for p in net.graph.parameters} | {net.x.name: images, y.name: labels}
    arrays |= {n.name: np.ones(known.nodes[n]) for n in assembled.inputs if n.name not in arrays}  # masks of dropout
    arrays |= {p.name: p.value.astype(np.complex128) for p in trained}
    shapes = {n: arrays[n].shape for n in program.inputs}
    f = compile_program(program, shapes, {n: arrays[n].dtype.name for n in program.inputs}, complex_step=True)
    for _ in range(2):
        directions = {p.name: rng.standard_normal(p.shape) for p in trained}
        moved = arrays | {n: arrays[n] + 1e-200j * d for n, d in directions.items()}
        losses = f.run(*(moved[n] for n in program.inputs))[program.outputs.index(assembled.tensors[loss])]
        expected = losses.mean().imag / 1e-200
        found = sum(float(np.sum(p.grad * directions[p.name])) for p in trained)
        size = sum(float(np.sum(np.abs(p.grad * directions[p.name]))) for p in trained)
        assert abs(found - expected) < 1e-10 * max(size, 1), (found, expected)


LEARNING: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (16, 16)},
    "lenet5": {},
    "lenet5_1998": {},
    "alexnet": {"width": 1 / 8},
    "alexnet_groups": {"width": 1 / 8},
    "vgg11": {"width": 1 / 8},
    "vgg13": {"width": 1 / 8},
    "vgg16": {"width": 1 / 8},
    "vgg19": {"width": 1 / 8},
    "googlenet": {"width": 1 / 8},
    "plain18": {"width": 1 / 8, "blocks": (1, 1, 1, 1)},
    "resnet18": {"width": 1 / 8},
    "resnet50": {"width": 1 / 8, "blocks": (1, 1, 1, 1)},
    "resnet50_v1": {"width": 1 / 8, "blocks": (1, 1, 1, 1)},
    "resnet20": {},
}


@pytest.mark.parametrize("name", LEARNING)
def test_a_network_learns_a_handful_of_images_by_heart(name: str) -> None:
    net = small(name, np.float32, **LEARNING[name])
    with net.graph:
        y = Input("y", ())
        loss = CrossEntropy(net.scores, y)
    images, labels = batch(net, 5)
    labels = np.arange(5)
    optimiser = Adam(2e-3)
    for step in range(300):
        losses = net.graph.step(loss, {net.x: images, y: labels})
        if step == 0:
            first = losses.mean()
        if losses.max() < 0.05:
            break
        optimiser.step(net.graph.parameters)
    assert losses.max() < 0.05, (first, losses)
