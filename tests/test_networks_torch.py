"""The networks' values against the same networks in PyTorch, with the same weights.

At a reduced size and width in float64; LeNet-5, AlexNet and ResNet-18 also at full size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from indexlang.edf import Graph
from indexlang.edf.networks import Network, build

torch = pytest.importorskip("torch", reason="compares with PyTorch, which the tests do not require")
F = torch.nn.functional

Tensor = Any


class Weights:
    """A network's parameters as PyTorch wants them: kernels [out, in, rows, columns], matrices [out, in]."""

    def __init__(self, net: Network, training: bool = False) -> None:
        self.arrays = {p.name: torch.from_numpy(p.value.copy()) for p in net.graph.parameters}
        self.training = training

    def conv(self, x: Tensor, name: str, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        kernel = self.arrays[f"{name}.W"].permute(3, 2, 0, 1)
        return F.conv2d(x, kernel, self.arrays.get(f"{name}.B"), stride, padding, groups=groups)

    def affine(self, x: Tensor, name: str) -> Tensor:
        if x.ndim == 4:  # rows, columns, channels in that order
            x = x.permute(0, 2, 3, 1).flatten(1)
        return F.linear(x, self.arrays[f"{name}.W"].T, self.arrays[f"{name}.B"])

    def norm(self, x: Tensor, name: str) -> Tensor:
        a = self.arrays
        mean, variance = a[f"{name}.mean"], a[f"{name}.variance"]
        return F.batch_norm(x, mean, variance, a[f"{name}.gamma"], a[f"{name}.beta"], self.training, eps=1e-5)


# -- the networks ------------------------------------------------------------------------------------------


def mlp(w: Weights, x: Tensor) -> Tensor:
    return w.affine(w.affine(w.affine(x, "affine1").relu(), "affine2").relu(), "affine3")


def lenet5(w: Weights, x: Tensor) -> Tensor:
    x = F.avg_pool2d(w.conv(x, "C1").tanh(), 2)
    x = F.avg_pool2d(w.conv(x, "C3").tanh(), 2)
    x = w.conv(x, "C5").tanh()
    return w.affine(w.affine(x, "F6").tanh(), "Out")


def lenet5_modern(w: Weights, x: Tensor) -> Tensor:
    x = F.max_pool2d(w.conv(x, "C1", padding=2).relu(), 2)
    x = F.max_pool2d(w.conv(x, "C3").relu(), 2)
    x = w.conv(x, "C5").relu()
    return w.affine(w.affine(x, "F6").relu(), "Out")


def lenet5_1998(w: Weights, x: Tensor) -> Tensor:
    """Table I of the paper, map by map."""

    def squash(a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(2 / 3 * a)

    def subsample(a: Tensor, name: str) -> Tensor:
        factor, bias = w.arrays[f"{name}.a"], w.arrays[f"{name}.bias"]
        return squash(4 * F.avg_pool2d(a, 2) * factor[:, None, None] + bias[:, None, None])

    table = [
        (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (4, 5, 0), (5, 0, 1),
        (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (3, 4, 5, 0), (4, 5, 0, 1), (5, 0, 1, 2),
        (0, 1, 3, 4), (1, 2, 4, 5), (2, 3, 5, 0), (0, 1, 2, 3, 4, 5),
    ]  # fmt: skip
    k3, k4, k22, k6 = (w.arrays[f"C3.{k}"] for k in ("K3", "K4", "K22", "K6"))
    kernels = [*(k3[..., o] for o in range(6)), *(k4[..., o] for o in range(6)), *(k22[..., o] for o in range(3)), k6]
    x = subsample(squash(w.conv(x, "C1")), "S2")
    maps = [F.conv2d(x[:, list(c)], k.permute(2, 0, 1)[None]) for c, k in zip(table, kernels, strict=True)]
    x = squash(torch.cat(maps, 1) + w.arrays["C3.bias"][:, None, None])
    x = squash(w.conv(subsample(x, "S4"), "C5"))
    x = squash(w.affine(x, "F6"))
    return ((x[:, :, None] - w.arrays["patterns"]) ** 2).sum(1)


def alexnet(w: Weights, x: Tensor, groups: int = 1, pool_first: bool = False) -> Tensor:
    def norm(a: Tensor) -> Tensor:
        return F.local_response_norm(a, 5, alpha=5e-4, beta=0.75, k=2)

    def pool(a: Tensor) -> Tensor:
        return F.max_pool2d(a, 3, 2)

    def normalised(a: Tensor) -> Tensor:
        return norm(pool(a)) if pool_first else pool(norm(a))

    x = normalised(w.conv(x, "conv1", 4).relu())
    x = normalised(w.conv(x, "conv2", 1, 2, groups).relu())
    x = w.conv(x, "conv3", 1, 1).relu()
    x = w.conv(x, "conv4", 1, 1, groups).relu()
    x = pool(w.conv(x, "conv5", 1, 1, groups).relu())
    return w.affine(w.affine(w.affine(x, "fc6").relu(), "fc7").relu(), "fc8")


def vgg(w: Weights, x: Tensor, blocks: str) -> Tensor:
    for block, count in enumerate(map(int, blocks), 1):
        for k in range(1, count + 1):
            x = w.conv(x, f"conv{block}_{k}", 1, 1).relu()
        x = F.max_pool2d(x, 2, 2)
    return w.affine(w.affine(w.affine(x, "fc6").relu(), "fc7").relu(), "fc8")


def googlenet(w: Weights, x: Tensor, ceil_mode: bool = True) -> Tensor:
    def conv(a: Tensor, name: str, padding: int = 0, stride: int = 1) -> Tensor:
        return w.conv(a, name, stride, padding).relu()

    def pool(a: Tensor) -> Tensor:
        return F.max_pool2d(a, 3, 2, ceil_mode=ceil_mode)

    def norm(a: Tensor) -> Tensor:
        return F.local_response_norm(a, 5)

    def inception(a: Tensor, name: str) -> Tensor:
        b3 = conv(conv(a, f"{name}.reduce3x3"), f"{name}.conv3x3", 1)
        b5 = conv(conv(a, f"{name}.reduce5x5"), f"{name}.conv5x5", 2)
        pooled = conv(F.max_pool2d(a, 3, 1, 1), f"{name}.project")
        return torch.cat([conv(a, f"{name}.conv1x1"), b3, b5, pooled], 1)

    x = norm(pool(conv(x, "conv1", 3, 2)))
    x = pool(norm(conv(conv(x, "conv2.reduce"), "conv2", 1)))
    for stage, modules in (("3", "ab"), ("4", "abcde"), ("5", "ab")):
        for module in modules:
            x = inception(x, f"inception{stage}{module}")
        x = x.mean((2, 3)) if stage == "5" else pool(x)
    return w.affine(x, "loss3")


def resnet(w: Weights, x: Tensor, kind: str, blocks: tuple[int, ...], shortcuts: bool = True) -> Tensor:
    def conv_norm(a: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return w.norm(w.conv(a, name, stride, padding), f"{name}.bn")

    x = F.max_pool2d(conv_norm(x, "conv1", 2, 3).relu(), 3, 2, 1)
    for stage, count in enumerate(blocks):
        for k in range(count):
            name, stride = f"conv{stage + 2}_{k + 1}", 2 if k == 0 and stage > 0 else 1
            match kind:
                case "basic":
                    f = conv_norm(x, f"{name}.a", stride, 1).relu()
                    f = conv_norm(f, f"{name}.b", 1, 1)
                case "original":
                    f = conv_norm(x, f"{name}.a", stride).relu()
                    f = conv_norm(f, f"{name}.b", 1, 1).relu()
                    f = conv_norm(f, f"{name}.c")
                case "stride in 3x3":
                    f = conv_norm(x, f"{name}.a").relu()
                    f = conv_norm(f, f"{name}.b", stride, 1).relu()
                    f = conv_norm(f, f"{name}.c")
            if shortcuts:
                f = f + (x if f.shape == x.shape else conv_norm(x, f"{name}.shortcut", stride))
            x = f.relu()
    return w.affine(x.mean((2, 3)), "fc")


def small_resnet(w: Weights, x: Tensor, blocks: int, shortcuts: bool = True) -> Tensor:
    def conv_norm(a: Tensor, name: str, stride: int = 1) -> Tensor:
        return w.norm(w.conv(a, name, stride, 1), f"{name}.bn")

    x = conv_norm(x, "conv1").relu()
    for stage in range(3):
        for k in range(blocks):
            name, stride = f"conv{stage + 2}_{k + 1}", 2 if k == 0 and stage > 0 else 1
            f = conv_norm(conv_norm(x, f"{name}.a", stride).relu(), f"{name}.b")
            if shortcuts:
                same = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, f.shape[1] - x.shape[1]))
                f = f + same
            x = f.relu()
    return w.affine(x.mean((2, 3)), "fc")


# -- the comparison ------------------------------------------------------------------------------------------

NARROW = {"size": 64, "width": 1 / 16}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[Weights, Tensor], Tensor]]] = {
    "mlp": ("mlp", {"channels": 12, "hidden": (7, 5)}, mlp),
    "lenet5": ("lenet5", {}, lenet5),
    "lenet5, relu and max": ("lenet5", {"size": 28, "padding": 2, "modern": True}, lenet5_modern),
    "lenet5_1998": ("lenet5_1998", {}, lenet5_1998),
    "alexnet": ("alexnet", {"size": 99, "width": 1 / 16}, alexnet),
    "alexnet, pool first": (
        "alexnet",
        {"size": 99, "width": 1 / 16, "pool_first": True},
        lambda w, x: alexnet(w, x, 1, True),
    ),
    "alexnet_groups": ("alexnet_groups", {"size": 99, "width": 1 / 16}, lambda w, x: alexnet(w, x, 2)),
    "vgg11": ("vgg11", NARROW, lambda w, x: vgg(w, x, "11222")),
    "vgg13": ("vgg13", NARROW, lambda w, x: vgg(w, x, "22222")),
    "vgg16": ("vgg16", NARROW, lambda w, x: vgg(w, x, "22333")),
    "vgg19": ("vgg19", NARROW, lambda w, x: vgg(w, x, "22444")),
    "googlenet": ("googlenet", NARROW, googlenet),
    "googlenet, no ceil_mode": ("googlenet", {**NARROW, "ceil_mode": 0}, lambda w, x: googlenet(w, x, False)),
    "plain18": ("plain18", NARROW, lambda w, x: resnet(w, x, "basic", (2, 2, 2, 2), False)),
    "plain34": ("plain34", NARROW, lambda w, x: resnet(w, x, "basic", (3, 4, 6, 3), False)),
    "resnet18": ("resnet18", NARROW, lambda w, x: resnet(w, x, "basic", (2, 2, 2, 2))),
    "resnet34": ("resnet34", NARROW, lambda w, x: resnet(w, x, "basic", (3, 4, 6, 3))),
    "resnet50": ("resnet50", NARROW, lambda w, x: resnet(w, x, "stride in 3x3", (3, 4, 6, 3))),
    "resnet101": ("resnet101", NARROW, lambda w, x: resnet(w, x, "stride in 3x3", (3, 4, 23, 3))),
    "resnet152": ("resnet152", NARROW, lambda w, x: resnet(w, x, "stride in 3x3", (3, 8, 36, 3))),
    "resnet50_v1": ("resnet50_v1", NARROW, lambda w, x: resnet(w, x, "original", (3, 4, 6, 3))),
    "resnet8": ("resnet8", {}, lambda w, x: small_resnet(w, x, 1)),
    "plain20": ("plain20", {}, lambda w, x: small_resnet(w, x, 3, False)),
    "resnet20": ("resnet20", {}, lambda w, x: small_resnet(w, x, 3)),
}


def prepared(name: str, dtype: Any = np.float64, **options: Any) -> Network:
    """A network whose biases and running statistics are not at their first values, which would hide mistakes."""
    net = build(name, graph=Graph(seed=5, dtype=dtype), **options)
    rng = np.random.default_rng(0)
    for p in net.graph.parameters:
        if len(p.shape) == 1:
            p.value = p.value * rng.uniform(0.8, 1.25, p.shape) + (p.trained and 0.1 * rng.standard_normal(p.shape))
    return net


def compared(net: Network, expected: Callable[[Weights, Tensor], Tensor], tolerance: float) -> None:
    shape = net.x.example or ()
    images = np.random.default_rng(1).standard_normal((3, *shape)).astype(net.graph.dtype)
    found = net.graph.evaluate(net.scores, given={net.x: images})
    given = torch.from_numpy(images if images.ndim == 2 else images.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        wanted = expected(Weights(net), given).numpy()
    assert found.dtype == net.graph.dtype
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("case", CASES)
def test_the_scores_are_pytorchs(case: str) -> None:
    name, options, expected = CASES[case]
    classes = 10 if "lenet" in name else 7
    compared(prepared(name, **options, classes=classes), expected, 1e-10)


def test_batch_norm_in_training_is_pytorchs() -> None:
    net = prepared("resnet18", **NARROW, classes=7)
    weights = Weights(net, training=True)
    images = np.random.default_rng(1).standard_normal((5, 64, 64, 3))
    net.x.value = images
    net.graph.forward(net.scores)
    wanted = resnet(weights, torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), "basic", (2, 2, 2, 2)).numpy()
    np.testing.assert_allclose(net.scores.value, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
    for p in net.graph.parameters:
        if not p.trained:  # PyTorch has updated its running statistics too
            np.testing.assert_allclose(p.value, weights.arrays[p.name].numpy(), rtol=1e-9, err_msg=p.name)


@pytest.mark.parametrize("name", ["alexnet", "alexnet_groups", "resnet18"])
def test_at_full_size_the_scores_are_pytorchs(name: str) -> None:
    expected = {
        "alexnet": alexnet,
        "alexnet_groups": lambda w, x: alexnet(w, x, 2),
        "resnet18": lambda w, x: resnet(w, x, "basic", (2, 2, 2, 2)),
    }[name]
    compared(prepared(name, np.float32), expected, 1e-4)
