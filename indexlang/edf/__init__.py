"""EDF, the lecture's educational framework, on index equations.

Graphs of inputs, parameters and computed nodes; each computed node's class comes from a layer written in index
equations. The whole graph is one Program, derived and planned as one.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .graphs.computed import CompNode, node
from .graphs.graph import Graph
from .graphs.initialisers import Constant, Glorot, He, LeCun, Normal, Ones, Uniform, Zeros
from .graphs.nodes import Input, Node
from .graphs.parameters import (
    AffineParams,
    AttentionParams,
    ConvParams,
    EmbeddingParams,
    NormParams,
    Package,
    Parameter,
)
from .graphs.standard import (
    Add,
    Affine,
    Attention,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    CrossEntropy,
    Dropout,
    Embedding,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    LeakyRelu,
    LocalResponseNorm,
    LogLoss,
    LogSoftmax,
    MaxPool,
    MeanSquaredError,
    Relu,
    Sigmoid,
    Silu,
    Softmax,
    Softplus,
    SquaredError,
    Tanh,
)
from .learning.clipping import clip_norm, clip_value
from .learning.data import Dataset, read_idx
from .learning.digits import mnist_small
from .learning.groups import Group
from .learning.optimisers import Adam, AdamW, GradientDescent
from .learning.schedules import ConstantRate, CosineRate, StepRate, WarmUp
from .learning.training import Training
from .learning.weights import load_weights, save_weights
from .problems import DataError, GraphError
from .slides import SGD, Backward, Forward, default_graph, reset

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Add",
    "Affine",
    "AffineParams",
    "Attention",
    "AttentionParams",
    "AvgPool",
    "Backward",
    "BatchNorm",
    "CompNode",
    "Concat",
    "Constant",
    "ConstantRate",
    "Conv",
    "ConvParams",
    "CosineRate",
    "CrossEntropy",
    "DataError",
    "Dataset",
    "Dropout",
    "Embedding",
    "EmbeddingParams",
    "Flatten",
    "Forward",
    "Gelu",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Glorot",
    "GradientDescent",
    "Graph",
    "GraphError",
    "Group",
    "GroupNorm",
    "He",
    "Input",
    "LayerNorm",
    "LeCun",
    "LeakyRelu",
    "LocalResponseNorm",
    "LogLoss",
    "LogSoftmax",
    "MaxPool",
    "MeanSquaredError",
    "Node",
    "NormParams",
    "Normal",
    "Ones",
    "Package",
    "Parameter",
    "Relu",
    "Sigmoid",
    "Silu",
    "Softmax",
    "Softplus",
    "SquaredError",
    "StepRate",
    "Tanh",
    "Training",
    "Uniform",
    "WarmUp",
    "Zeros",
    "clip_norm",
    "clip_value",
    "default_graph",
    "load_weights",
    "mnist_small",
    "node",
    "read_idx",
    "reset",
    "save_weights",
]


def __dir__() -> list[str]:
    """The names that are meant for users."""
    return sorted([*__all__, "networks"])


if TYPE_CHECKING:
    from . import networks as networks
else:

    def __getattr__(name: str) -> Any:
        if name == "networks":  # when they are asked for
            return import_module(".networks", __name__)
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
