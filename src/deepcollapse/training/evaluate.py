"""Accuracy and loss of a network on a data set, in eval mode."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from deepcollapse.errors import BatchError
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.state import undisturbed
from deepcollapse.training.objective import logits_of

UNLABELLED = -100  # the label of samples that torch's losses leave out, and measures too


class Scores(NamedTuple):
    """The share of samples that the network gets right, and its mean loss."""

    accuracy: float
    loss: float


def evaluate(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]
) -> Scores:
    """Accuracy and mean loss over all samples; the network's mode and all generators are left as they were.

    >>> import torch
    >>> evaluate(nn.Identity(), [(torch.eye(2), torch.tensor([0, 0]))], nn.functional.nll_loss)
    Scores(accuracy=0.5, loss=-0.5)
    """
    hits, total, samples = 0, 0.0, 0
    with undisturbed(network, batches):
        for x, y in batches:
            logits, kept = logits_of(network(x)), y != UNLABELLED
            logits, y = (logits, y) if kept.all() else (logits[kept], y[kept])
            if not len(y):
                continue
            hits += int((first_largest(logits) == y).sum())
            total += float(loss(logits, y)) * len(y)
            samples += len(y)
    if samples == 0:
        raise BatchError("there is no sample to evaluate on. Is the data loader empty?")
    return Scores(hits / samples, total / samples)
