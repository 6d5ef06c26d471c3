"""How a network that was tried does beside the original, sample by sample: its accuracy, and how far to trust it."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from deepcollapse.compression.search import Candidate
from deepcollapse.compression.sizes import footprint
from deepcollapse.errors import BatchError
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.state import undisturbed
from deepcollapse.training.evaluate import UNLABELLED
from deepcollapse.training.objective import logits_of

Batches = Iterable[tuple[Tensor, Tensor]]


class Score:
    """Accuracy, doubt and size of networks; the first one that is scored is the original."""

    def __init__(self, choosing: Batches, inputs: Tensor, watch: Callable[[Candidate], None] | None) -> None:
        self.choosing, self.inputs, self.watch = choosing, inputs, watch
        self.original: Tensor | None = None

    def __call__(self, network: nn.Module, setting: str) -> Candidate:
        """Score one network."""
        taken, right = footprint(network, self.inputs), hits(network, self.choosing)
        self.original = right if self.original is None else self.original
        found = Candidate(
            setting,
            network,
            accuracy=float(right.double().mean()),
            doubt=standard_error(self.original, right),
            samples=len(right),
            stored_bytes=taken.stored_bytes,
            parameters=taken.parameters,
            multiply_adds=taken.multiply_adds,
        )
        if self.watch is not None:
            self.watch(found)
        return found


def hits(network: nn.Module, batches: Batches) -> Tensor:
    """Which samples a network gets right (n,), in the order of the batches; unlabelled ones are left out.

    Raises BatchError where there is none.

    >>> hits(nn.Identity(), [(torch.eye(2), torch.tensor([0, 0]))]).tolist()
    [True, False]
    """
    found = []
    with undisturbed(network, batches):
        for x, y in batches:
            kept = y != UNLABELLED
            found.append((first_largest(logits_of(network(x))) == y)[kept].cpu())
    right = torch.cat(found) if found else torch.empty(0)
    if not len(right):
        raise BatchError("there is no sample to choose a network by. Is the data loader empty?")
    return right


def standard_error(before: Tensor, after: Tensor) -> float:
    """The standard error of the difference in accuracy of two networks on the same samples.

    With b samples that only one gets right and c that only the other does, sqrt(b + c - (b - c)^2 / n) / n: samples on
    which they agree tell nothing. 0 where they agree on all.

    >>> round(standard_error(torch.tensor([1, 1, 1, 0]).bool(), torch.tensor([1, 0, 1, 1]).bool()), 6)
    0.353553
    """
    n, lost, won = len(before), int((before & ~after).sum()), int((~before & after).sum())
    return math.sqrt(lost + won - (lost - won) ** 2 / n) / n
