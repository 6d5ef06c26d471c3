"""Networks whose fully connected layers are pruned, shared and coded: their accuracy, and what they take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy
import torch
from torch import nn

from deepcollapse.compression.few_values import Masks, prune, quantise
from deepcollapse.compression.fine_tuning import Descent, fine_tune
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.score import hits
from deepcollapse.compression.storage.accounting import Contents, hac_bound, index_map_size, shac_bound
from deepcollapse.compression.storage.container import Container
from deepcollapse.compression.storage.products import product
from deepcollapse.geometry.unfolding import channel_unfolding
from deepcollapse.studies.judging.evidence import Finished

ROWS = 8  # of inputs in the products that are compared
Array = numpy.ndarray


@dataclass(frozen=True)
class Protocol:
    """How a network is pruned and shared: per cent pruned, step after step, each trained on for `epochs`.

    Then values are shared, and trained for `sharing_epochs` at a third of the rate. `convolutions` is how many values
    all convolutions share, which are not pruned; None leaves them alone.
    """

    percents: tuple[float, ...]
    epochs: int
    sharing_epochs: int
    rate: float = 0.03
    decay: float = 5e-4
    nesterov: bool = False
    convolutions: int | None = None

    def descent(self, epochs: int, rate: float, decay: float) -> Descent:
        """How a network is trained on."""
        return Descent(epochs, rate, decay=decay, nesterov=self.nesterov, fading=True)


@dataclass
class Pruning:
    """A trained network, pruned as far as is asked, step after step; what was pruned once is kept."""

    run: Finished
    protocol: Protocol
    done: dict[float, tuple[nn.Module, Masks]] = field(default_factory=dict)

    @cached_property
    def trained(self) -> Any:
        """The run with its network and data."""
        return self.run.trained

    @cached_property
    def network(self) -> nn.Module:
        """The network as it was trained."""
        return self.trained.network()

    @cached_property
    def layers(self) -> list[str]:
        """The fully connected layers."""
        layers = compressible_layers(self.network)
        return [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]

    @cached_property
    def accuracy(self) -> float:
        """Of the network as it was trained, on test data."""
        return self.accuracy_of(self.network)

    def accuracy_of(self, network: nn.Module) -> float:
        """On test data."""
        right, _ = hits(network, self.trained.batches(self.trained.splits.test))
        return float(right.double().mean())

    def batches(self) -> Any:
        """Training data in an order of their own for every epoch, the same each time this is called."""
        order = torch.Generator().manual_seed(self.run.recipe.seed)
        return self.trained.place.batches(self.trained.splits.train.batches(self.run.recipe.batch, generator=order))

    def pruned(self, percent: float) -> tuple[nn.Module, Masks]:
        """The network with so many of the weights of each layer gone, step by step, and where weights are left."""
        base = self.network
        for step in sorted({p for p in self.protocol.percents if p <= percent} | {percent}):
            if step not in self.done:
                self.done[step] = self._cut(base, step)
            base = self.done[step][0]
        return self.done[percent]

    def _cut(self, base: nn.Module, percent: float) -> tuple[nn.Module, Masks]:
        cut = prune(base, percent, names=self.layers)
        if percent == 0:
            return cut
        how = self.protocol.descent(self.protocol.epochs, self.protocol.rate, self.protocol.decay)
        tuned = fine_tune(cut.network, self.batches(), masks=cut.masks, descent=how, seed=self.run.recipe.seed)
        return tuned.network, cut.masks

    def shared(self, percent: float, values: int, quantiser: str) -> nn.Module:
        """Pruned, then with one codebook of so many values for all fully connected layers, which is trained on."""
        network, masks = self.pruned(percent)
        seed = self.run.recipe.seed
        few = quantise(network, values, how=quantiser, masks=masks, names=self.layers, scope="kind", seed=seed)
        codebooks = few.codebooks
        network = few.network
        if self.protocol.convolutions and (convolutions := self.convolutions):
            more = quantise(network, self.protocol.convolutions, names=convolutions, scope="kind", seed=seed)
            network, codebooks = more.network, codebooks | more.codebooks
        how = self.protocol.descent(self.protocol.sharing_epochs, self.protocol.rate / 3, 0.0)
        return fine_tune(network, self.batches(), codebooks=codebooks, descent=how, seed=seed).network

    @property
    def convolutions(self) -> list[str]:
        """The convolutional layers."""
        return [name for name in compressible_layers(self.network) if name not in self.layers]


def measured(pruning: Pruning, setting: Mapping[str, Any]) -> dict[str, Any]:
    """A row on the network pruned and shared as the setting says: accuracy, occupancies, bounds, products.

    Occupancies are shares of dense float32: `hac` and `shac` of the fully connected layers in our byte table, `whole`
    of all parameters, with sHAC for these layers, an index map for shared convolutions and the rest as they are.
    """
    network = pruning.shared(setting["percent"], setting["values"], setting["quantiser"])
    matrices = {name: _matrix(network, name) for name in pruning.layers}
    forms = ("hac", "shac")
    coded = {form: {name: Container.of(matrix, form) for name, matrix in matrices.items()} for form in forms}
    dense = sum(matrix.size for matrix in matrices.values())
    taken = {form: sum(container.size for container in coded[form].values()) for form in forms}
    bounds = {"hac": hac_bound, "shac": shac_bound}
    tightest = {
        f"{form}_of_bound": max(
            8 * coded[form][name].size / bounds[form](Contents.of(matrix)) for name, matrix in matrices.items()
        )
        for form in forms
    }
    errors = [_product_error(coded[form][name], matrix) for form in forms for name, matrix in matrices.items()]
    accuracy = pruning.accuracy_of(network)
    return {
        "before": pruning.accuracy,
        "accuracy": accuracy,
        "drop": 100 * (pruning.accuracy - accuracy),
        "nonzero": sum(int((matrix != 0).sum()) for matrix in matrices.values()) / dense,
        **{form: taken[form] / (4 * dense) for form in forms},
        "whole": _whole(pruning, network, dense, taken["shac"]),
        "least_hac": min(coded["hac"][name].size / (4 * matrix.size) for name, matrix in matrices.items()),
        **tightest,
        "product_error": max(errors),
    }


def _matrix(network: nn.Module, name: str) -> Array:
    """The weight of a layer as it is stored: rows are inputs, columns outputs."""
    weight: Any = network.get_submodule(name).weight
    return channel_unfolding(weight.detach().cpu()).float().numpy().T


def _whole(pruning: Pruning, network: nn.Module, dense: int, coded_bytes: int) -> float:
    """Bytes of all parameters over what they take as float32."""
    everything = sum(parameter.numel() for parameter in network.parameters())
    shared, taken = 0, 0.0
    if pruning.protocol.convolutions:
        for name in pruning.convolutions:
            contents = Contents.of(_matrix(network, name))
            shared, taken = shared + contents.entries, taken + index_map_size(contents).bits / 8
    return (coded_bytes + taken + 4 * (everything - dense - shared)) / (4 * everything)


def _product_error(container: Container, matrix: Array) -> float:
    """The largest difference between a product from the code and the dense one in float64, over |x| |W|."""
    x = numpy.random.RandomState(0).standard_normal((ROWS, len(matrix))).astype(numpy.float32)
    wide, exact = x.astype(numpy.float64), matrix.astype(numpy.float64)
    scale = numpy.abs(wide) @ numpy.abs(exact)
    difference = numpy.abs(product(container, x) - wide @ exact)
    return float((difference / numpy.where(scale == 0, 1, scale)).max())
