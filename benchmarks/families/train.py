"""Whole training steps: forward, backward, and the parameters moved down the gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from .. import networks
from ..byhand import CrossEntropy
from ..libraries import Fastest, array_of, tensor
from ..networks import Layers
from ..workload import DY, STEP, Array, Arrays, Below, Build, Normal, Prepared, Workload

RATE = 1e-3


def _split(arrays: Arrays) -> tuple[Array, Array, list[Array]]:
    """The images, the labels, and parameters of one's own."""
    given = [array for name, array in arrays.items() if name != DY]
    return given[0], given[1], [np.array(p) for p in given[2:]]


def _results(loss: Any, gradients: Sequence[Any]) -> dict[str, Any]:
    return {"loss": loss, **{f"gradient {k}": g for k, g in enumerate(gradients)}}


def _ours(name: str, options: Mapping[str, Any]) -> Build:
    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        from indexlang.edf import SGD, CrossEntropy, Input
        from indexlang.edf.networks import build

        x, labels, parameters = _split(arrays)
        network = build(name, **options)
        graph = network.graph
        with graph:
            wanted = Input("labels")
            loss = CrossEntropy(network.scores, wanted)
        for parameter, value in zip(graph.parameters, parameters, strict=True):
            parameter.value = value
        given = {network.x: x, wanted: labels}

        def step() -> Any:
            found = graph.step(loss, given)
            gradients = [graph.gradients[p.name] for p in graph.parameters if p.trained]
            SGD(RATE, graph)
            return found, gradients

        return Prepared(step, lambda r: _results(*r))

    return build


def _numpy(layers: Layers) -> Build:
    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        x, labels, parameters = _split(arrays)
        net = networks.ByHand(layers)
        moved = [p for p, t in zip(parameters, networks.trained(layers), strict=True) if t]
        seed = np.full(len(x), 1 / len(x), np.float32)
        made: list[CrossEntropy] = []

        def step() -> Any:
            scores = net.forward(x, parameters)
            if not made:
                made.append(CrossEntropy(scores, labels))
            loss = made[0].forward(scores, labels)
            (d_scores,) = made[0].backward(seed)
            _, gradients = net.backward(d_scores)
            for parameter, gradient in zip(moved, gradients, strict=True):
                parameter -= np.float32(RATE) * gradient
            return loss, gradients

        return Prepared(step, lambda r: _results(*r))

    return build


def _autograd(layers: Layers) -> Build:
    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        import autograd.numpy as anp
        from autograd import make_vjp

        x, labels, parameters = _split(arrays)
        table, rows = networks.autograd_table(), np.arange(len(x))
        seed = np.full(len(x), 1 / len(x), np.float32)

        def losses(parameters: Any) -> Any:
            s = networks.run(layers, table, iter(parameters), x)
            top = anp.max(s, axis=1, keepdims=True)
            return anp.log(anp.sum(anp.exp(s - top), axis=1)) + top[:, 0] - s[rows, labels]

        derive = make_vjp(losses)

        def step() -> Any:
            pullback, loss = derive(parameters)
            gradients = pullback(seed)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= np.float32(RATE) * gradient
            return loss, gradients

        return Prepared(step, lambda r: _results(*r))

    return build


def _jax(layers: Layers) -> Build:
    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        import jax
        import jax.numpy as jnp

        images, classes, initial = _split(arrays)
        x, labels = jnp.asarray(images), jnp.asarray(classes)
        moved = networks.trained(layers)

        def losses(trained: Any, fixed: Any) -> Any:
            rest, statistics = (iter(trained), iter(fixed)), list[Any]()
            parameters = iter([next(rest[0] if t else rest[1]) for t in moved])
            s = networks.run(layers, networks.jax_table(statistics), parameters, x)
            each = jax.nn.logsumexp(s, axis=1) - s[jnp.arange(len(x)), labels]
            return jnp.mean(each), (each, statistics)

        derive = jax.value_and_grad(losses, has_aux=True)

        def step(trained: Any, fixed: Any) -> Any:
            (_, (each, statistics)), gradients = derive(trained, fixed)
            return [p - RATE * g for p, g in zip(trained, gradients, strict=True)], statistics, each

        state = [[jnp.array(p) for p, t in zip(initial, moved, strict=True) if t == kind] for kind in (True, False)]
        compiled = jax.jit(step, donate_argnums=(0, 1))

        def run() -> Any:
            state[0], state[1], each = compiled(*state)
            each.block_until_ready()
            return each

        def results(each: Any) -> Arrays:
            first = [[p for p, t in zip(initial, moved, strict=True) if t == kind] for kind in (True, False)]
            _, gradients = jax.jit(derive)(*first)
            return {n: np.asarray(a) for n, a in _results(each, gradients).items()}

        return Prepared(run, results)

    return build


def _torch(layers: Layers, channels_last: bool = False, compiled: bool = False) -> Build:
    orders = {4: (3, 2, 0, 1), 2: (1, 0)}  # kernels [out, in, rows, columns], weights [out, in]

    def build(arrays: Arrays, _gradients: bool) -> Prepared:
        import torch

        images, classes, initial = _split(arrays)
        x = tensor(images, (0, 3, 1, 2) if images.ndim == 4 else None, channels_last)
        labels, moved = torch.from_numpy(classes), networks.trained(layers)
        parameters = [tensor(p, orders.get(p.ndim), channels_last) for p in initial]
        trained = [p.requires_grad_() for p, t in zip(parameters, moved, strict=True) if t]
        optimiser = torch.optim.SGD(trained, lr=RATE)
        table = networks.torch_table()

        def losses() -> Any:
            s = networks.run(layers, table, iter(parameters), x)
            return torch.nn.functional.cross_entropy(s, labels, reduction="none")

        call = torch.compile(losses) if compiled else losses

        def step() -> Any:
            optimiser.zero_grad()
            each = call()
            each.mean().backward()
            optimiser.step()
            return each

        def results(each: Any) -> Arrays:
            return _results(array_of(each), [array_of(p.grad, orders.get(p.ndim)) for p in trained])

        return Prepared(step, results)

    return build


def step(
    title: str, layers: Layers, x: tuple[int, ...], classes: int, network: str, small: bool = True, **options: Any
) -> Workload:
    """A training step of a network: of EDF's, and of the same rows in every library.

    In deep networks rounding decides here and there which way a relu or a maximum goes, so large ones get tolerance.
    """
    inputs: dict[str, Normal | Below] = {"x": Normal(x), "labels": Below(x[:1], classes)}
    for number, shape in enumerate(networks.shapes(layers)):
        inputs[f"p{number}"] = Normal(shape, (2 / prod(shape[:-1])) ** 0.5 if len(shape) > 1 else 0.1)
    peers: dict[str, Build] = {
        "indexlang": _ours(network, options),
        "numpy": _numpy(layers),
        "jax": _jax(layers),
        "torch": _formats(layers, len(x) == 4),
        "torch.compile": _formats(layers, len(x) == 4, compiled=True),
    }
    if small:
        peers["autograd"] = _autograd(layers)
    return Workload(
        title, inputs, x[:1], peers, modes=(STEP,), tolerance=1e-2 if small else 5e-2, flops=_flops(layers, x)
    )


def _formats(layers: Layers, images: bool, compiled: bool = False) -> Build:
    if not images:
        return _torch(layers, compiled=compiled)
    return Fastest(
        (
            ("contiguous", _torch(layers, compiled=compiled)),
            ("channels_last", _torch(layers, channels_last=True, compiled=compiled)),
        )
    )


def _flops(layers: Layers, x: tuple[int, ...]) -> int:
    """Of the products, forward."""
    total, side = 0, x[1] if len(x) == 4 else 1
    for layer in layers:
        if layer.kind == "residual":
            total += _flops(layer.main, (x[0], side, side, 0))
            total += _flops(layer.shortcut, (x[0], side, side, 0))
            stride = prod(row.stride for row in layer.main)
            side = (side - 1) // stride + 1
        elif layer.kind in ("conv", "pool"):
            side = (side + 2 * layer.padding - layer.size) // layer.stride + 1
            if layer.kind == "conv":
                total += 2 * x[0] * side**2 * layer.size**2 * layer.inputs * layer.outputs
        elif layer.kind == "affine":
            total += 2 * x[0] * layer.inputs * layer.outputs
    return total


def lenet(batch: int) -> Workload:
    """The step of LeNet-5."""
    options: dict[str, Any] = {"size": 28, "padding": 2, "modern": True}
    return step(f"LeNet-5, batch {batch}", networks.LENET, (batch, 28, 28, 1), 10, "lenet5", **options)


WORKLOADS = (
    step("MLP 784-256-10, batch 64", networks.MLP, (64, 784), 10, "mlp"),
    lenet(64),
    step("AlexNet, batch 8", networks.ALEXNET, (8, 227, 227, 3), 1000, "alexnet", small=False, dropout=0.0),
    step("ResNet-18, batch 2", networks.RESNET18, (2, 224, 224, 3), 1000, "resnet18", small=False),
)
