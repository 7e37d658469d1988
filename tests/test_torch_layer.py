"""`indexlang.torch.Layer`: parameters, states, types, training, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: python -m pip install 'indexlang[torch]'")

import torch

import indexlang
from indexlang.errors import MeaningError, ShapeError

DENSE = "y[b,o] = relu(sum[i](x[b,i]*W[i,o]) + c[o])"
LIBRARY = Path(indexlang.__file__).parent / "library"


def dense(**how: Any) -> Any:
    return indexlang.torch.Layer(DENSE, parameters={"W": (3, 4), "c": torch.zeros(4)}, **how)


def test_parameters_are_the_modules() -> None:
    layer = dense()
    assert {n: tuple(p.shape) for n, p in layer.named_parameters()} == {"W": (3, 4), "c": (4,)}
    assert layer.W.abs().max() <= 3**-0.5 and layer.c.abs().max() == 0
    other = dense()
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3)
    torch.testing.assert_close(other(x), torch.relu(x @ layer.W + layer.c))
    torch.testing.assert_close(copy.deepcopy(layer)(x=x), layer(x))


def test_a_network_is_trained_and_compiled() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(dense(), torch.nn.Linear(4, 1))
    x = torch.randn(64, 3)
    wanted = x.abs().sum(1, keepdim=True)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    losses = []
    for call in (net, torch.compile(net, fullgraph=True, backend="aot_eager")):
        for _ in range(50):
            optimiser.zero_grad()
            loss = ((call(x) - wanted) ** 2).mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[-1] < losses[50] < losses[0] / 2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_types_move(dtype: Any) -> None:
    layer = dense().to(dtype)
    y = layer(torch.randn(2, 3, dtype=dtype))
    y.sum().backward()
    assert y.dtype == layer.W.grad.dtype == dtype


def test_a_layer_of_a_file_with_options() -> None:
    layer = indexlang.torch.Layer(
        LIBRARY / "conv.idx", layer="conv2d_nobias", parameters={"K": (3, 3, 2, 5)}, padding=1
    )
    x = torch.randn(2, 6, 6, 2)
    right = torch.nn.functional.conv2d(x.movedim(-1, 1), layer.K.permute(3, 2, 0, 1), padding=1).movedim(1, -1)
    torch.testing.assert_close(layer(x), right, rtol=1e-4, atol=1e-5)


def test_refused() -> None:
    with pytest.raises(MeaningError, match="'V' is no input"):
        indexlang.torch.Layer(DENSE, parameters={"V": (3, 4)})
    with pytest.raises(MeaningError, match="is no shape for 'W'"):
        indexlang.torch.Layer(DENSE, parameters={"W": "large"})
    with pytest.raises(MeaningError, match="something else of the name 'training'"):
        indexlang.torch.Layer("y[i] = x[i]*training[i]", parameters={"training": (3,)})
    x = torch.ones(2, 3)
    for call in (lambda f: f(x, x), lambda f: f(x, x=x), lambda f: f(x, W=torch.ones(3, 4))):
        with pytest.raises(MeaningError, match="unexpected-input"):
            call(dense())
    with pytest.raises(ShapeError, match="missing-input"):
        dense()()
