"""How a network that was tried does beside the original, sample by sample: its accuracy, and how far to trust it."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from deepcollapse.compression.files import file_of
from deepcollapse.compression.outcome import changes
from deepcollapse.compression.search import Candidate
from deepcollapse.compression.sizes import multiply_adds, parameters_in_use
from deepcollapse.errors import BatchError, LabelError
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.state import undisturbed
from deepcollapse.training.evaluate import UNLABELLED
from deepcollapse.training.objective import logits_of

Batches = Iterable[tuple[Tensor, Tensor]]


class Score:
    """Accuracy, doubt and size of networks beside the original, which is scored first."""

    def __init__(
        self, network: nn.Module, choosing: Batches, inputs: Tensor, watch: Callable[[Candidate], None] | None
    ) -> None:
        self.network, self.choosing, self.inputs, self.watch = network, choosing, inputs, watch
        self.original: Tensor | None = None
        self.labels: Tensor | None = None

    def __call__(self, network: nn.Module, setting: str) -> Candidate:
        """Score one network."""
        right, labels = hits(network, self.choosing)
        if self.original is None or self.labels is None:
            self.original, self.labels = right, labels
        if not torch.equal(labels, self.labels):
            raise BatchError(
                "the batches that a network is chosen by came in another order this time, and networks are compared "
                "sample by sample. Pass a list, or a loader that does not shuffle."
            )
        found = Candidate(
            setting,
            network,
            accuracy=float(right.double().mean()),
            doubt=standard_error(self.original, right),
            samples=len(right),
            stored_bytes=len(file_of(network, self._changed(network))),
            parameters=parameters_in_use(network),
            multiply_adds=multiply_adds(network, self.inputs),
        )
        if self.watch is not None:
            self.watch(found)
        return found

    @property
    def classes(self) -> int:
        """How many classes the samples have."""
        return 0 if self.labels is None else len(self.labels.unique())

    def _changed(self, network: nn.Module) -> list[str]:
        return [change.name for change in changes(self.network, network)]


def hits(network: nn.Module, batches: Batches) -> tuple[Tensor, Tensor]:
    """Which samples a network gets right (n,), and the labels (n,), in the order of the batches.

    Unlabelled samples are left out. Raises BatchError where there is none, LabelError for labels
    that the network has no output for.

    >>> hits(nn.Identity(), [(torch.eye(2), torch.tensor([0, 0]))])[0].tolist()
    [True, False]
    """
    found, labels = [], []
    with undisturbed(network, batches):
        for x, y in batches:
            kept = y != UNLABELLED
            logits = logits_of(network(x))
            if int(y.max()) >= logits.shape[1]:
                raise LabelError(
                    f"labels run up to {int(y.max())}, and the network has {logits.shape[1]} outputs, for classes 0 to "
                    f"{logits.shape[1] - 1}. Take the data that it was trained on."
                )
            found.append((first_largest(logits) == y)[kept].cpu())
            labels.append(y[kept].cpu())
    if not sum(len(part) for part in found):
        raise BatchError("there is no sample to choose a network by. Is the data loader empty?")
    return torch.cat(found), torch.cat(labels)


def standard_error(before: Tensor, after: Tensor) -> float:
    """The standard error of the difference in accuracy of two networks on the same samples.

    With b samples that only one gets right and c that only the other does, sqrt(b + c - (b - c)^2 / n) / n: samples on
    which they agree tell nothing. 0 where they agree on all.

    >>> round(standard_error(torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 0, 1, 1]).bool()), 6)
    0.353553
    """
    n, lost, won = len(before), int((before & ~after).sum()), int((~before & after).sum())
    return math.sqrt(lost + won - (lost - won) ** 2 / n) / n
