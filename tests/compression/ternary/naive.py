"""The sweep as it is defined: every trial is a forward pass of the network itself."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def mean_loss(network: nn.Module, inputs: Tensor, labels: Tensor, squared: bool = False) -> float:
    with torch.no_grad():
        logits = network(inputs.double())
        if squared:
            return float((logits - nn.functional.one_hot(labels, logits.shape[1])).square().sum(dim=1).mean())
        return float(nn.functional.cross_entropy(logits, labels))


def coordinates(network: nn.Module, names: Sequence[str], biases: bool = False) -> Iterator[tuple[Tensor, int]]:
    """The place of every weight in its flat parameter: by layer, input row, output column, then the biases."""
    for name in names:
        layer = network.get_submodule(name)
        weight = layer.weight
        rows = weight[0].numel()
        for row in range(rows):
            for column in range(len(weight)):
                yield weight.data.view(-1), column * rows + row
        if biases and layer.bias is not None:
            for column in range(len(weight)):
                yield layer.bias.data, column


def sweep(
    network: nn.Module,
    places: Sequence[tuple[Tensor, int]],
    allowed: Sequence[Sequence[float]],
    inputs: Tensor,
    labels: Tensor,
    squared: bool = False,
) -> list[float]:
    """Changes a float64 network in eval mode in place; the loss after each change of a weight."""
    found, loss = [], mean_loss(network, inputs, labels, squared)
    for (flat, at), values in zip(places, allowed, strict=True):
        present = choice = float(flat[at])
        best = loss
        for value in values:
            if value != present:
                flat[at] = value
                tried = mean_loss(network, inputs, labels, squared)
                if tried < best - 1e-12 * max(1.0, loss):
                    best, choice = tried, value
        flat[at] = choice
        if choice != present:
            loss = best
            found.append(loss)
    return found


def lower_by_one(
    network: nn.Module,
    places: Sequence[tuple[Tensor, int]],
    allowed: Sequence[Sequence[float]],
    inputs: Tensor,
    labels: Tensor,
    squared: bool = False,
) -> list[float]:
    """Losses of single changes that are lower than the present one by more than rounding: none at a local minimum."""
    loss, found = mean_loss(network, inputs, labels, squared), []
    for (flat, at), values in zip(places, allowed, strict=True):
        present = float(flat[at])
        for value in values:
            flat[at] = value
            found.append(mean_loss(network, inputs, labels, squared))
        flat[at] = present
    return [tried for tried in found if tried < loss - 1.01e-12 * max(1.0, loss)]
