"""Which layers of a network can be made smaller, and how one is put in place of another."""

import copy
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from deepcollapse.errors import LayerNameError, NonFiniteError
from deepcollapse.measurement.own_weights import why_not_own

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def compressible_layers(network: nn.Module, names: Sequence[str] | None = None) -> dict[str, Layer]:
    """The linear and convolutional layers of a network by name, in its own order; of all, or of those named.

    A module that occurs under several names is listed once, under the first. Left out are layers whose weight is tied
    to another module's, is made anew in every pass (a parametrisation or hook), is read by the module around them, or
    is empty: see `why_not`. Names may be patterns ("blocks.*"). Raises LayerNameError where a name or pattern matches
    nothing, NonFiniteError where a weight holds NaN or infinity.

    >>> list(compressible_layers(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))))
    ['0', '2']
    """
    found = {name: layer for name, layer in _candidates(network).items() if why_not(network, name) is None}
    if names is not None:
        found = _named(network, found, names)
    for name, layer in found.items():
        if not layer.weight.isfinite().all():
            count = int((~layer.weight.isfinite()).sum())
            raise NonFiniteError(
                f"the weight of layer {name!r} holds {count} NaN or infinite entries; compress a network that trained "
                "without diverging, or leave the layer out."
            )
    return found


def why_not(network: nn.Module, name: str) -> str | None:
    """Why a linear or convolutional layer cannot be replaced, in words; None where it can.

    >>> first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    >>> second.weight = first.weight
    >>> why_not(nn.Sequential(first, second), "1")
    "its weight is also that of '0'"
    """
    layer = network.get_submodule(name)
    reason = why_not_own(layer, dict(network.named_modules()))
    if reason:
        return reason
    parent = network.get_submodule(name.rpartition(".")[0])
    if isinstance(parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
        return f"the {type(parent).__name__} around it reads its weight without calling it"
    return None


def _candidates(network: nn.Module) -> dict[str, Layer]:
    # Subclasses of other packages may compute something else with their weights; ours only draw them differently.
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Layer) and _forwards_as_is(module)
    }


def _forwards_as_is(module: Layer) -> bool:
    return any(type(module).forward is kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))


def left_out(network: nn.Module) -> dict[str, str]:
    """Why each linear or convolutional layer that cannot be replaced cannot, by name.

    >>> left_out(nn.TransformerEncoderLayer(4, 2, 8))["linear1"]
    'the TransformerEncoderLayer around it reads its weight without calling it'
    """
    reasons = {name: why_not(network, name) for name in _candidates(network)}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _named(network: nn.Module, found: Mapping[str, Layer], names: Sequence[str]) -> dict[str, Layer]:
    chosen = {}
    for pattern in names:
        matched = {name: layer for name, layer in found.items() if fnmatchcase(name, pattern)}
        if not matched:
            refused = [name for name in _candidates(network) if fnmatchcase(name, pattern)]
            if refused:
                raise LayerNameError(f"layer {refused[0]!r} cannot be compressed: {why_not(network, refused[0])}.")
            raise LayerNameError(
                f"no linear or convolutional layer matches {pattern!r}; there are {', '.join(found) or 'none'}."
            )
        chosen |= matched
    return {name: layer for name, layer in found.items() if name in chosen}


def replaced(network: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the network with other modules under the names given; the network itself stays as it is.

    A module that occurs under several names is replaced under all of them. With the name "" the whole network is
    replaced.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    >>> replaced(net, {"0": nn.Identity()})
    Sequential(
      (0): Identity()
      (1): ReLU()
    )
    """
    instead = {id(network.get_submodule(name)): module for name, module in replacements.items()}
    # What is in the memo is taken for copied already, wherever it occurs.
    return copy.deepcopy(network, dict(instead))


def positions(output: Tensor, *, channels_last: bool) -> int:
    """At how many places a layer applied its weight to give `output` (n, ...), per sample.

    Channels are the last axis of what linear layers give, and the second of what convolutions do.

    >>> import torch
    >>> positions(torch.zeros(2, 8, 5, 5), channels_last=False), positions(torch.zeros(2, 7, 4), channels_last=True)
    (25, 7)
    """
    return math.prod(output.shape[1:-1] if channels_last else output.shape[2:])
