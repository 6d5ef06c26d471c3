r"""Networks whose layers were pruned, or take few values; the network that is given is never changed, a copy is.

Only linear and convolutional weights are pruned and quantised, those of `compressible_layers`; biases and norms stay
as they are.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from numpy import ndarray
from torch import nn

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.compression.pruning import global_percentile_masks, percentile_mask
from deepcollapse.compression.quantisation.codebook import Quantised, checked_mask, split
from deepcollapse.compression.quantisation.entropy_constrained import entropy_constrained_within
from deepcollapse.compression.quantisation.probabilistic import draw_weights
from deepcollapse.compression.quantisation.uniform import round_weights
from deepcollapse.compression.quantisation.weight_sharing import share_weights
from deepcollapse.errors import LayerNameError, UnknownNameError

Masks = Mapping[str, Bool[ndarray, "..."]]
Codebooks = Mapping[str, Quantised]
# Called as quantiser(weights, k, mask=mask), each an array.
Quantiser = Callable[..., Quantised]
Scope = Literal["layer", "kind", "network"]

QUANTISERS = ("shared", "drawn", "rounded", "entropy")


class Pruned(NamedTuple):
    """A network some of whose weights are 0, and by layer which of them are not."""

    network: nn.Module
    masks: dict[str, Bool[ndarray, "..."]]


@dataclass(frozen=True)
class FewValues:
    """A network whose layers take few values: each weight of a layer is exactly what its codebook says, in float32.

    Layers that share a codebook hold the same array of values, and train on together.
    """

    network: nn.Module
    codebooks: dict[str, Quantised]

    @property
    def entropy(self) -> float:
        """Bits per weight over all layers here, each coded by itself: the mean of theirs, by size; NaN without any."""
        if not self.codebooks:
            return float("nan")
        sizes = [few.indices.size for few in self.codebooks.values()]
        return sum(size * few.entropy for size, few in zip(sizes, self.codebooks.values(), strict=True)) / sum(sizes)


def prune(
    network: nn.Module,
    percent: float | int,
    *,
    names: Sequence[str] | None = None,
    scope: Literal["layer", "network"] = "layer",
) -> Pruned:
    """A copy of the network without the `percent` % smallest weights of each layer, or of all layers together.

    The threshold is that of `percentile_mask` with scope "layer", as published, and of `global_percentile_masks` with
    "network". Raises LayerNameError for names that match no layer, NonFiniteError, OptionError for a percent outside
    [0, 100], UnknownNameError for another scope. Source: :cite:`marino2021`.

    >>> pruned = prune(nn.Linear(4, 2), 50)
    >>> int((pruned.network.weight != 0).sum()), int(pruned.masks[""].sum())
    (4, 4)
    """
    _known(scope, ("layer", "network"), "scope")
    network = copy.deepcopy(network)
    layers = compressible_layers(network, names)
    weights = {name: weight_array(layer) for name, layer in layers.items()}
    if scope == "network":
        masks = global_percentile_masks(weights, percent)
    else:
        masks = {name: percentile_mask(weight, percent) for name, weight in weights.items()}
    for name, layer in layers.items():
        put(layer, np.where(masks[name], weights[name], 0))
    return Pruned(network, masks)


def quantise(
    network: nn.Module,
    k: int,
    *,
    how: str | Quantiser = "shared",
    masks: Masks | None = None,
    names: Sequence[str] | None = None,
    scope: Scope = "layer",
    seed: int = 0,
) -> FewValues:
    """A copy of the network whose layers take at most k values each, and 0 where `masks` say that weights are pruned.

    `how` is "shared" (`share_weights`), "drawn" (`draw_weights`, by `seed`), "rounded" (`round_weights`), "entropy"
    (`entropy_constrained_within`), or a function (weights, k, mask=...) of your own. With scope "layer" every layer
    has its own codebook; with "kind" linear layers share one and convolutions another, as published; with "network"
    all share one. Layers that `masks` do not name keep all their weights. In a network of half precision, values are
    rounded to it. Raises LayerNameError for names or masks that match no layer, UnknownNameError for another `how` or
    scope, ShapeError for a mask of another shape, OptionError for k below 1, NonFiniteError. Source:
    :cite:`marino2021`.

    >>> few = quantise(nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2)), 3)
    >>> [len(few.network[layer].weight.unique()) for layer in (0, 1)]
    [3, 3]
    """
    _known(scope, ("layer", "kind", "network"), "scope")
    quantiser = _quantiser(how, seed)
    network = copy.deepcopy(network)
    layers = compressible_layers(network, names)
    kept = {name: np.ones(tuple(layer.weight.shape), bool) for name, layer in layers.items()}
    kept |= checked_masks(layers, masks or {})
    codebooks: dict[str, Quantised] = {}
    for group in _groups(layers, scope):
        codebooks |= _together({name: layers[name] for name in group}, k, quantiser, kept)
    for name, layer in layers.items():
        put(layer, codebooks[name].array())
    return FewValues(network, {name: codebooks[name] for name in layers})


def checked_masks(layers: Mapping[str, Layer], masks: Masks) -> dict[str, Bool[ndarray, "..."]]:
    """Masks that belong to layers and have their shapes; else LayerNameError or ShapeError."""
    if unknown := [name for name in masks if name not in layers]:
        raise LayerNameError(
            f"there is a mask or codebook for {unknown[0]!r}, which is none of the layers here: {', '.join(layers)}."
        )
    return {
        name: checked_mask(mask, tuple(layers[name].weight.shape), f"the weight of {name!r}")
        for name, mask in masks.items()
    }


def weight_array(layer: Layer) -> ndarray:
    """A layer's weight as an array of float32, or of float64 where it is that."""
    weight = layer.weight.detach().cpu()
    return (weight if weight.dtype == torch.float64 else weight.float()).numpy()


def put(layer: Layer, values: ndarray) -> None:
    """Write a layer's weight in place, so that optimisers and other holders of the parameter see it too."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(values))


def in_type(values: torch.Tensor, dtype: torch.dtype) -> ndarray:
    """Values as float32 that a weight of type `dtype` can hold exactly."""
    return values.detach().float().to(dtype).float().cpu().numpy() + np.float32(0)


def _together(layers: Mapping[str, Layer], k: int, quantiser: Quantiser, masks: Masks) -> dict[str, Quantised]:
    """Layers under one codebook, quantised end to end."""
    weights = np.concatenate([weight_array(layer).ravel() for layer in layers.values()])
    joint = quantiser(weights, k, mask=np.concatenate([masks[name].ravel() for name in layers]))
    # Half precision has the last word on what a weight can be; the narrowest of the layers decides.
    narrowest = max((layer.weight.dtype for layer in layers.values()), key=lambda dtype: torch.finfo(dtype).eps)
    joint = Quantised(in_type(torch.from_numpy(joint.values), narrowest), joint.indices)
    return split(joint, {name: tuple(layer.weight.shape) for name, layer in layers.items()})


def _groups(layers: Mapping[str, Layer], scope: str) -> list[list[str]]:
    if scope == "layer":
        return [[name] for name in layers]
    linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
    others = [name for name in layers if name not in linear]
    groups = [[*layers]] if scope == "network" else [linear, others]
    return [group for group in groups if group]


def _quantiser(how: str | Quantiser, seed: int) -> Quantiser:
    if not isinstance(how, str):
        return how
    _known(how, QUANTISERS, "how")
    return {
        "shared": share_weights,
        "drawn": partial(draw_weights, generator=np.random.default_rng(seed)),
        "rounded": round_weights,
        "entropy": entropy_constrained_within,
    }[how]


def _known(value: str, known: Sequence[str], name: str) -> None:
    if value not in known:
        raise UnknownNameError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
