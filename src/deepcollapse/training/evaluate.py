"""Accuracy and loss of a network on a data set, in eval mode."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from deepcollapse.errors import BatchError
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.measure import undisturbed


def evaluate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, float]:
    """(accuracy, mean loss) over all samples; the network's mode and all generators are left as they were."""
    hits, total, samples = 0, 0.0, 0
    with undisturbed(network):
        for x, y in batches:
            logits = network(x)
            logits = getattr(logits, "logits", logits)
            hits += int((first_largest(logits) == y).sum())
            total += float(loss(logits, y)) * len(y)
            samples += len(y)
    if samples == 0:
        raise BatchError("there is no sample to evaluate on. Is the data loader empty?")
    return hits / samples, total / samples
