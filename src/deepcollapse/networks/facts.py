"""What networks there are: name, family, description, source, and every parameter with its default.

This is the one table of architectures: a builder per family turns a row into a network. It imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

VGG_SOURCE = "Simonyan & Zisserman 2015, arXiv:1409.1556; as in Papyan, Han & Donoho 2020, arXiv:2008.08186"
RESNET_SOURCE = "He, Zhang, Ren & Sun 2016, arXiv:1512.03385"
RELU_HEAD_SOURCE = "Súkeník, Lampert & Mondelli 2024, arXiv:2405.14468, with a ResNet20 body"
DENSENET_SOURCE = "Huang, Liu, van der Maaten & Weinberger 2017, arXiv:1608.06993"


@dataclass(frozen=True)
class NetworkFacts:
    """A network's name, the family whose builder makes it, and its parameters with their defaults.

    >>> NETWORKS["resnet18"].parameters["blocks"]
    (2, 2, 2, 2)
    """

    name: str
    family: str
    description: str
    source: str
    parameters: Mapping[str, Any]


def _facts(name: str, family: str, description: str, source: str, **parameters: Any) -> NetworkFacts:
    return NetworkFacts(name, family, description, source, MappingProxyType(parameters))


def _vgg(depth: int, *blocks: int) -> NetworkFacts:
    description = f"{sum(blocks)} convolutions in five stages, batch norm in place of dropout"
    return _facts(f"vgg{depth}", "vgg", description, VGG_SOURCE, blocks=blocks, width=64, hidden=(), pool=1)


def _resnet(name: str, description: str, *blocks: int, width: int = 64, bottleneck: bool = False) -> NetworkFacts:
    shape = {"blocks": blocks, "width": width, "bottleneck": bottleneck, "stem": "auto"}
    return _facts(name, "resnet", description, RESNET_SOURCE, **shape)


def _relu_head(name: str, body: str, body_width: int, body_depth: int, words: str) -> NetworkFacts:
    description = f"{words}, then a head of `depth` ReLU layers without bias and a linear one"
    of_body = {"body": body, "body_width": body_width, "body_depth": body_depth}
    shape = {"width": 64, "depth": 3, "bias": False, "activation": "relu"} | of_body
    return _facts(name, "relu_head", description, RELU_HEAD_SOURCE, **shape)


def _densenet(depth: int, *blocks: int, growth: int, width: int, bottleneck: bool, compression: float) -> NetworkFacts:
    kind = "bottleneck layers, compressed transitions" if bottleneck else "plain layers"
    description = f"{depth} layers, growth {growth}, {kind}, dropout 0"
    shape = {"blocks": blocks, "growth": growth, "width": width, "bottleneck": bottleneck, "compression": compression}
    return _facts(f"densenet{depth}", "densenet", description, DENSENET_SOURCE, **shape, stem="auto")


_ALL = (
    _facts(
        "mlp",
        "mlp",
        "fully connected: `depth` hidden layers of `width` units; depth 0 is a linear classifier",
        "no single source; He et al. 2015, arXiv:1502.01852, for the initial weights",
        width=256,
        depth=4,
        batch_norm=True,
        activation="relu",
        bias=True,
    ),
    _relu_head("relu-head", "mlp", 256, 2, "a fully connected body"),
    _relu_head("relu-head-resnet", "resnet", 16, 1, "a small residual body"),
    _vgg(11, 1, 1, 2, 2, 2),
    _vgg(13, 2, 2, 2, 2, 2),
    _vgg(16, 2, 2, 3, 3, 3),
    _vgg(19, 2, 2, 4, 4, 4),
    _resnet("resnet", "small residual network for laptops: 8 layers by default", 1, 1, 1, width=16),
    _resnet("resnet18", "18 layers, basic blocks", 2, 2, 2, 2),
    _resnet("resnet34", "34 layers, basic blocks", 3, 4, 6, 3),
    _resnet("resnet50", "50 layers, bottleneck blocks", 3, 4, 6, 3, bottleneck=True),
    _resnet("resnet101", "101 layers, bottleneck blocks", 3, 4, 23, 3, bottleneck=True),
    _resnet("resnet152", "152 layers, bottleneck blocks", 3, 8, 36, 3, bottleneck=True),
    _densenet(40, 12, 12, 12, growth=12, width=16, bottleneck=False, compression=1.0),
    _densenet(121, 6, 12, 24, 16, growth=32, width=64, bottleneck=True, compression=0.5),
    _densenet(201, 6, 12, 48, 32, growth=32, width=64, bottleneck=True, compression=0.5),
    _densenet(250, 41, 41, 41, growth=24, width=48, bottleneck=True, compression=0.5),
)

NETWORKS: dict[str, NetworkFacts] = {facts.name: facts for facts in _ALL}
