"""The lecture's networks, one page for each family, by name: `build("resnet50")`."""

from .alexnet import alexnet
from .catalog import NETWORKS, Network, build, network
from .files import Found, find
from .googlenet import googlenet, inception
from .lenet import lenet5, lenet5_1998
from .mlp import mlp
from .resnet import basic_block, bottleneck_block, resnet, small_resnet
from .vgg import vgg

__all__ = [
    "NETWORKS",
    "Found",
    "Network",
    "alexnet",
    "basic_block",
    "bottleneck_block",
    "build",
    "find",
    "googlenet",
    "inception",
    "lenet5",
    "lenet5_1998",
    "mlp",
    "network",
    "resnet",
    "small_resnet",
    "vgg",
]
