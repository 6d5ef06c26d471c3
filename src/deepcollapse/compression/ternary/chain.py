"""A network read as a chain: linear or convolutional maps with channelwise functions between, and nothing beside them.

A trial of one weight is cheap because only one channel of its own map moves, and a channelwise function keeps it in
that channel. A residual connection would carry it past the next map, so networks that have one are refused from the
first chosen layer on; whatever lies before that layer is run once and may be anything.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.errors import LayerNameError
from deepcollapse.networks.layers import Classifier, GlobalAveragePool
from deepcollapse.networks.mlp import HiddenLayer
from deepcollapse.networks.vgg import ConvolutionBlock

POINTWISE = (nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.Hardtanh, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.GELU, nn.SiLU,
             nn.Softplus)  # fmt: skip
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_CHUNK = 256  # samples that pass what lies before the chain at once


@dataclass(frozen=True)
class Link:
    """One map of the chain under its name, the channelwise modules after it, and whether its weights are searched."""

    name: str
    layer: nn.Linear | nn.Conv2d
    after: tuple[nn.Module, ...]
    chosen: bool


@dataclass(frozen=True)
class Chain:
    """Modules that are run once, then the links from the first chosen one to the logits; all in float64, in eval."""

    before: nn.Sequential
    links: tuple[Link, ...]

    def features(self, inputs: Tensor) -> Tensor:
        """What enters the first link, in float64: (n, features) or (n, channels, height, width)."""
        with torch.no_grad():
            return torch.cat([self.before(part.cpu().double()) for part in inputs.split(_CHUNK)])

    def forward(self, features: Tensor) -> Tensor:
        """Logits from features, by the modules themselves; carries gradients to their weights."""
        for link in self.links:
            features = link.layer(features)
            for module in link.after:
                features = module(features)
        return features


def chain_of(network: nn.Module, names: Sequence[str] | None = None) -> Chain:
    """The chain from the first of the layers named on, as float64 copies on the CPU; the network stays as it is.

    Names may be patterns; by default every linear layer and two-dimensional convolution is chosen. Raises
    LayerNameError where a module that is no part of a chain comes after a chosen layer, or nothing could be chosen.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [link.name for link in chain_of(net).links]
    ['1', '3']
    """
    chosen = set(compressible_layers(network, names))
    parts = list(_parts(network, ""))
    _refuse_hidden(chosen, parts, names)
    first = next((at for at, (name, module) in enumerate(parts) if name in chosen and isinstance(module, Layer)), None)
    if first is None:
        raise LayerNameError("the network has no linear or convolutional layer whose weights could be searched.")
    twice = [name for at, (name, module) in enumerate(parts) if any(module is other for _, other in parts[:at])]
    for name, module in parts[first:]:
        if reason := _why_no_part(module):
            raise LayerNameError(_in_the_way(name, module, reason, names))
        if name in twice and isinstance(module, Layer):
            raise LayerNameError(_in_the_way(name, module, "it is used twice, so one weight acts at two places", names))
    own = copy.deepcopy(nn.ModuleList(module for _, module in parts)).cpu().double().eval()
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    copies = [_not_in_place(module) for module in own]
    return Chain(nn.Sequential(*copies[:first]), _links(parts[first:], copies[first:], chosen))


def _parts(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules that the network runs one after the other, as far as it can be told."""
    inside: list[str] | None = None
    if type(module).forward is nn.Sequential.forward:
        inside = list(module._modules)  # with repeats, which named_children leaves out
    elif type(module).forward is Classifier.forward:
        inside = ["stem", "blocks", "neck", "head"]
    elif type(module).forward is HiddenLayer.forward:
        inside = ["linear", "norm", "activation"]
    elif type(module).forward is ConvolutionBlock.forward:
        inside = ["convolution", "norm", "activation", "pool"]
    if inside is None or _hooked(module):
        yield name, module
        return
    for child in inside:
        yield from _parts(module.get_submodule(child), f"{name}.{child}" if name else child)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _links(parts: list[tuple[str, nn.Module]], copies: list[nn.Module], chosen: set[str]) -> tuple[Link, ...]:
    links: list[Link] = []
    for (name, _), module in zip(parts, copies, strict=True):
        if isinstance(module, nn.Linear | nn.Conv2d):
            links.append(Link(name, module, (), name in chosen))
        elif not isinstance(module, NOTHING):
            last = links.pop()
            links.append(Link(last.name, last.layer, (*last.after, module), last.chosen))
    return tuple(links)


def _not_in_place(module: nn.Module) -> nn.Module:
    if getattr(module, "inplace", False):
        module.inplace = False  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return module


def _why_no_part(module: nn.Module) -> str | None:
    """Why a module cannot stand in a chain, in words; None where it can."""
    if _hooked(module):
        return "it has hooks, which may change what passes"
    if isinstance(module, nn.Conv2d):
        if module.groups != 1 or module.padding_mode != "zeros":
            return "only convolutions with groups=1 and padding_mode='zeros' can be searched"
        return None
    if type(module) in NORMS:
        return None if module.running_mean is not None else "it normalises by the batch, so samples act on one another"
    if isinstance(module, nn.Flatten):
        kept = (module.start_dim, module.end_dim) != (1, -1)
        return "only Flatten() from axis 1 to the last keeps channels apart" if kept else None
    if isinstance(module, nn.MaxPool2d | nn.AdaptiveMaxPool2d) and module.return_indices:
        return "it returns indices beside the maps"
    known = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
    # A subclass may compute something else.
    known = known or type(module) in (*POINTWISE, *POOLS, *NOTHING, GlobalAveragePool)
    return None if known else "it is neither a linear map nor a known channelwise function"


def _refuse_hidden(chosen: set[str], parts: list[tuple[str, nn.Module]], wanted: Sequence[str] | None) -> None:
    """Chosen layers inside a module whose course is unknown cannot be searched."""
    names = {name for name, _ in parts}
    for layer in sorted(chosen - names):
        for name, module in parts:
            if layer.startswith(f"{name}.") or not name:
                raise LayerNameError(_in_the_way(name, module, f"layer {layer!r} lies inside it", wanted))


def _in_the_way(name: str, module: nn.Module, reason: str, names: Sequence[str] | None) -> str:
    where = f"module {name!r} ({type(module).__name__})" if name else f"the network itself ({type(module).__name__})"
    help_ = "name layers after it alone" if name else "pass an nn.Sequential"
    if names is None and name:
        help_ = 'name layers after it alone, for example layers=("head",)'
    return (
        f"{where} stands in the way of trials of single weights: {reason}. These need a chain of linear maps and "
        f"convolutions with channelwise functions between; {help_}."
    )
