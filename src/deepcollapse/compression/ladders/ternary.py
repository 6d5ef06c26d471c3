"""Weights -a, 0 and a, trained one coordinate at a time; biases and norms are trained on around them."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from deepcollapse.compression.coded_layers import code_layers
from deepcollapse.compression.fine_tuning import fine_tune
from deepcollapse.compression.ladders.methods import Material
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.plan import first_samples
from deepcollapse.compression.ternary.descent import train_discrete
from deepcollapse.compression.ternary.projection import ternary_projection


@dataclass(frozen=True)
class Ternary:
    """One network: there is nothing milder or stronger to ternary weights."""

    network: nn.Module
    material: Material

    @property
    def steps(self) -> tuple[float, ...]:
        """The only one."""
        return (1.0,)

    def between(self, milder: float, stronger: float) -> float | None:
        """Nothing."""
        del milder, stronger

    def make(self, step: float) -> tuple[nn.Module, str]:
        """Round, let biases and norms settle, search the weights, let biases and norms settle again, code."""
        del step
        m, network = self.material, self._settled(self._rounded())
        few = first_samples(m.train)
        inputs, labels = (torch.cat(parts) for parts in zip(*few, strict=True))
        found = train_discrete(network, inputs, labels, layers=m.layers, seconds=m.seconds, order="random", seed=m.seed)
        made = code_layers(self._settled(found.network), names=m.layers)
        return made, f"ternary, {found.changes} weights changed in {found.seconds:.0f} s of search"

    def _rounded(self) -> nn.Module:
        """Every searched layer's weights projected on -a, 0 and a."""
        network = copy.deepcopy(self.network)
        with torch.no_grad():
            for layer in compressible_layers(network, self.material.layers).values():
                signs, scale = ternary_projection(layer.weight)
                layer.weight.copy_(scale * signs)
        return network

    def _settled(self, network: nn.Module) -> nn.Module:
        """The network after training on with its ternary weights held fast."""
        m = self.material
        if not m.fine_tune:
            return network
        weights = [layer.weight for layer in compressible_layers(network, m.layers).values()]
        before = [weight.requires_grad for weight in weights]
        for weight in weights:
            weight.requires_grad_(False)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        tuned = fine_tune(network, m.train, descent=m.descent, loss=m.loss, seed=m.seed)
        for layer, wanted in zip(compressible_layers(tuned.network, m.layers).values(), before, strict=True):
            layer.weight.requires_grad_(wanted)
        return tuned.network
