"""`build`: one of our networks from its name."""

import importlib
from collections.abc import Sequence
from typing import Any

from torch import nn

from deepcollapse.errors import OptionError, ShapeError, UnknownNameError
from deepcollapse.networks.checks import CHECKS, suggestion, whole
from deepcollapse.networks.facts import NETWORKS, NetworkFacts


def find(name: str) -> NetworkFacts:
    """The facts of one of our networks; raises `UnknownNameError`, which suggests close names."""
    if name not in NETWORKS:
        raise UnknownNameError(
            f"no network is called {name!r}.{suggestion(name, NETWORKS)} There are {', '.join(NETWORKS)}; "
            "others are named package.module:factory, timm:NAME, torchvision:NAME or hf:NAME."
        )
    return NETWORKS[name]


def _shape(image_shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(image_shape)
    if not shape or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ShapeError(f"image_shape must be positive whole numbers such as (3, 32, 32); got {shape}.")
    return shape


def build(name: str, *, num_classes: int, image_shape: Sequence[int], **parameters: Any) -> nn.Module:
    """One of `NETWORKS` with initial weights from torch's generator: `torch.manual_seed` before it decides them.

    `image_shape` is (channels, height, width), any shape for an mlp. The network maps (n, *image_shape) to logits
    (n, num_classes) and has `stem`, `blocks` (a flat sequence of blocks of one class), `neck` and `head` (the last
    linear layer). `parameters` override the defaults in `NETWORKS[name].parameters`. Hidden layers start from He's
    weights, the head from torch's default for a linear layer.

    Raises `UnknownNameError` for an unknown name, `OptionError` for an unknown or impossible parameter and
    `ShapeError` for an impossible `image_shape`.

    >>> network = build("mlp", num_classes=10, image_shape=(1, 8, 8), width=32, depth=2)
    >>> network.head
    Linear(in_features=32, out_features=10, bias=True)
    """
    facts = find(name)
    for parameter in parameters:
        if parameter not in facts.parameters:
            known = facts.parameters
            raise OptionError(
                f"network {name!r} has no parameter {parameter!r}.{suggestion(parameter, known)} "
                f"It has {', '.join(known)}."
            )
    num_classes, shape = whole("num_classes", num_classes, at_least=2), _shape(image_shape)
    make = getattr(importlib.import_module(f"deepcollapse.networks.{facts.family}"), facts.family)
    checked = {key: CHECKS[key](key, value) for key, value in {**facts.parameters, **parameters}.items()}
    return make(num_classes, shape, **checked)
