"""Which layers the bounds are for, and which of a network's parts break what they assume."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from deepcollapse.measurement.head import find_head
from deepcollapse.measurement.layers import HEAD, distinct_layers
from deepcollapse.measurement.own_weights import MADE_ANEW, why_not_own
from deepcollapse.theory.bounds.taps import Layer, places

_NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm)
# |<W, G>| / (|W| |G|) below this asks whether doubling W leaves the logits as they are; batch norm's own epsilon
# keeps both from being exact.
_ORTHOGONAL = 1e-3
_UNCHANGED = 1e-2
Loss = Callable[[Tensor, Tensor], Tensor]


def bounded_layers(network: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
    """The linear and convolutional layers by name, the classifier as "head"; and why others of them are left out."""
    found, left_out = {}, {}
    everywhere = distinct_layers(network)
    head = _head_of(network)
    for name, layer in everywhere.items():
        if not isinstance(layer, Layer):
            continue
        name = HEAD if layer is head else name
        reason = _why_not(layer, everywhere)
        if reason:
            left_out[name] = reason
        else:
            found[name] = layer
    return found, left_out


def _head_of(network: nn.Module) -> nn.Module | None:
    try:
        return (find_head(network, "auto", None) or ("", None))[1]
    except LookupError:
        return None


def _why_not(layer: Layer, everywhere: Mapping[str, nn.Module]) -> str | None:
    reason = why_not_own(layer, everywhere)
    if reason:
        return f"{reason}, and decay acts on what it is made of" if reason == MADE_ANEW else reason
    if not layer.weight.requires_grad:
        return "its weight is frozen"
    return None if layer.weight.isfinite().all() else "its weight holds NaN or infinity"


class Probe:
    """One forward pass over a batch: where each layer is applied, how often, and what normalises its output."""

    def __init__(self, network: nn.Module, layers: Mapping[str, Layer], samples: int) -> None:
        self.samples = samples
        self.positions: dict[str, int] = {}
        self.calls: dict[str, int] = {}
        self.odd: set[str] = set()
        self.norms: dict[str, str] = {}
        self._outputs: dict[int, tuple[str, Tensor]] = {}
        self._handles = [layer.register_forward_hook(self._after(name)) for name, layer in layers.items()]
        for name, module in distinct_layers(network).items():
            if isinstance(module, _NORMS):
                self._handles.append(module.register_forward_pre_hook(self._before_norm(f"{name!r}", module)))

    def _after(self, name: str) -> Callable[..., None]:
        def hook(layer: Any, _: Any, output: Tensor) -> None:
            found = places(output, layer, self.samples)
            if found is None:
                self.odd.add(name)
            self.positions[name] = self.positions.get(name, 0) + (found or 0)
            self.calls[name] = self.calls.get(name, 0) + 1
            self._outputs[id(output)] = (name, output)  # kept, for an id means something only while its tensor lives

        return hook

    def _before_norm(self, name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_: Any, args: tuple[Any, ...]) -> None:
            if args and (known := self._outputs.get(id(args[0]))):
                self.norms[known[0]] = f"{type(module).__name__} {name}"

        return hook

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._outputs.clear()


def dropout_of(network: nn.Module) -> str | None:
    """The first dropout that was on in training."""
    for name, module in distinct_layers(network).items():
        if isinstance(module, _DropoutNd) and module.p > 0:
            return name
    return None


def scale_invariant(
    network: nn.Module, layers: Mapping[str, Layer], forward: Callable[[nn.Module], Tensor], loss: Callable[..., Tensor]
) -> dict[str, str]:
    """The layers whose length the loss does not see, found by numbers, with the numbers in words.

    In training batch norm divides by what it finds in the batch, so it does here too, on a copy of the network.
    """
    memo: dict[int, Any] = {}
    twin = copy.deepcopy(network, memo)
    twins = {name: memo[id(layer)] for name, layer in layers.items()}
    for module in twin.modules():
        module.training = isinstance(module, _BatchNorm)
    with torch.enable_grad():
        try:
            logits = forward(twin)
        except ValueError:  # batch norm finds no variance in a single sample
            return {}
        weights = [layer.weight for layer in twins.values()]
        gradients = torch.autograd.grad(loss(logits), weights, allow_unused=True, materialize_grads=True)
    found = {}
    for (name, layer), gradient in zip(twins.items(), gradients, strict=True):
        weight = layer.weight.detach()
        size = float(weight.norm() * gradient.norm())
        share = abs(float((weight * gradient).sum())) / size if size > 0 else 1.0
        if share < _ORTHOGONAL and _doubling_is_not_seen(twin, layer, forward, logits.detach()):
            found[name] = f"<W, gradient> is {share:.1g} of |W| |gradient|, and doubling W leaves all logits alone"
    return found


def _doubling_is_not_seen(
    network: nn.Module, layer: Layer, forward: Callable[[nn.Module], Tensor], logits: Tensor
) -> bool:
    with torch.no_grad():
        layer.weight.mul_(2)
        changed = forward(network)
        layer.weight.div_(2)
    return float((changed - logits).norm()) <= _UNCHANGED * float(logits.norm())
