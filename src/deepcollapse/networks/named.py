"""`load_network`: a network from the name a person types, ours, their own, or another package's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from deepcollapse.errors import OptionError
from deepcollapse.networks.adapters import huggingface, timm_network, torchvision_network
from deepcollapse.networks.builder import build, find
from deepcollapse.networks.factory import find_factory, from_factory
from deepcollapse.networks.weights import load_weights

ADAPTERS: dict[str, Callable[..., nn.Module]] = {
    "timm": timm_network,
    "torchvision": torchvision_network,
    "hf": huggingface,
}


def load_network(
    name: str,
    *,
    num_classes: int | None = None,
    image_shape: Sequence[int] | None = None,
    weights: str | Path | None = None,
    pretrained: bool | None = None,
    **parameters: Any,
) -> nn.Module:
    """A network by name, with the weights at `weights` (see `load_weights`) where given.

    | name | network |
    |---|---|
    | `resnet18`, ... | one of `NETWORKS`; needs `num_classes` and `image_shape` (channels, height, width) |
    | `package.module:factory` | what your function returns, or a module object itself; found from the current folder too; `num_classes` and `image_shape` are handed to a factory that has parameters of these names |
    | `timm:NAME`, `torchvision:NAME` | made by that package |
    | `hf:NAME_OR_FOLDER` | an image or text classifier from a configuration on the Hugging Face hub or in a folder |

    `parameters` go to whatever makes the network. Published weights are downloaded only for `pretrained=True`, and
    then `num_classes` must be theirs. Otherwise weights are random, drawn from torch's generator; only weights that
    lie in the folder that an `hf:` name points at are loaded, unless `pretrained=False`.

    Raises `UnknownNameError` (close names suggested), `OptionError`, `MissingExtraError` where the package is absent or
    does not load, `ShapeError`, and `WeightsError`.

    >>> load_network("mlp", num_classes=3, image_shape=(1, 2, 2), depth=0).head
    Linear(in_features=4, out_features=3, bias=True)
    """  # noqa: E501 (a table's row is one line)
    shape = None if image_shape is None else tuple(image_shape)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in ADAPTERS:
        network = ADAPTERS[prefix](rest, num_classes, shape, pretrained, **parameters)
    elif colon:
        _refuse_pretrained(name, pretrained)
        network = from_factory(name, num_classes, shape, **parameters)
    else:
        _refuse_pretrained(name, pretrained)
        network = _own(name, num_classes, shape, **parameters)
    return network if weights is None else load_weights(network, weights)


def refuse_unknown(name: str) -> None:
    """Refuse a name that no network of ours goes by, or no factory of the user's own; makes none.

    Raises `UnknownNameError`, or `OptionError` where the user's module does not import. What other packages have is for
    them to say.
    """
    prefix, colon, _ = name.partition(":")
    if not colon:
        find(name)
    elif prefix not in ADAPTERS:
        find_factory(name)


def _refuse_pretrained(name: str, pretrained: bool | None) -> None:
    if pretrained:
        raise OptionError(
            f"network {name!r} has no published weights, so pretrained=True has no meaning. "
            "Name a file of weights with weights=PATH."
        )


def _own(name: str, num_classes: int | None, image_shape: tuple[int, ...] | None, **parameters: Any) -> nn.Module:
    if num_classes is None or image_shape is None:
        # An unknown name is the likelier slip, and `build` says so best.
        build(name, num_classes=num_classes or 2, image_shape=image_shape or (3, 32, 32), **parameters)
        raise OptionError(
            f"network {name!r} needs num_classes and image_shape (channels, height, width); "
            f"got num_classes={num_classes}, image_shape={image_shape}."
        )
    return build(name, num_classes=num_classes, image_shape=image_shape, **parameters)
