"""The two looks at the data: moments first, then what needs finished means, from kept features or a second run."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from deepcollapse.errors import BatchError, NonFiniteError
from deepcollapse.geometry import ClassMoments, RunningMoments, nearest_class_means, sum_over_processes
from deepcollapse.geometry.moments import ScatterLevel
from deepcollapse.geometry.running import finite_rows, read_labels
from deepcollapse.measurement.capture import Captured


@dataclass(frozen=True)
class Intake:
    """What of a captured batch is measured: labelled, finite samples."""

    num_classes: int
    ignore_index: int = -100
    on_nonfinite: str = "raise"

    def __call__(self, captured: Captured, batch: int) -> tuple[Captured, int, int]:
        """The batch without unlabelled and (if asked) non-finite samples, and how many of each were left out."""
        labels = read_labels(captured.labels, self.num_classes, self.ignore_index)
        labels = labels.to(next(iter(captured.features.values())).device)
        kept = labels != self.ignore_index
        ignored, skipped = int((~kept).sum()), 0
        for name, features in captured.features.items():
            finite = finite_rows(features)
            if finite is None:
                continue
            bad = ~finite & kept
            if not bad.any():
                continue
            if self.on_nonfinite == "raise":
                raise NonFiniteError(
                    f"layer {name!r}, batch {batch}: {int(bad.sum())} of {len(labels)} samples have NaN or infinite "
                    "features. Look for a diverged network or half-precision overflow, or leave such samples out with "
                    "on_nonfinite='skip' (they are counted)."
                )
            kept &= finite
            skipped += int(bad.sum())
        captured = replace(captured, labels=labels)
        return (captured if ignored + skipped == 0 else _select(captured, kept)), ignored, skipped


def _select(captured: Captured, rows: Tensor) -> Captured:
    return Captured(
        features={name: features[rows] for name, features in captured.features.items()},
        labels=captured.labels[rows],
        decisions=None if captured.decisions is None else captured.decisions[rows],
        logits=None if captured.logits is None else captured.logits[rows],
    )


class Kept:
    """Features of all batches so far, as long as they fit a budget in bytes; beyond it nothing is kept."""

    def __init__(self, budget: int) -> None:
        self.budget, self.bytes = budget, 0
        self.batches: list[Captured] | None = []

    def add(self, captured: Captured) -> None:
        """Keep a batch, or let go of everything where the budget ends."""
        self.bytes += sum(features.nbytes for features in captured.features.values())
        if self.batches is not None and self.bytes <= self.budget:
            self.batches.append(replace(captured, logits=None))
        else:
            self.batches = None


class FirstPass:
    """Moments of every layer, the labels, the network's decisions and its mean loss, batch by batch."""

    def __init__(
        self,
        intake: Intake,
        level: Callable[[int], ScatterLevel],
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.intake, self.level, self.loss_function = intake, level, loss
        self.running: dict[str, RunningMoments] = {}
        self.labels: list[Tensor] = []
        self.decisions: list[Tensor] = []
        self.loss = 0.0
        self.batches = self.ignored = self.skipped = 0

    def add(self, captured: Captured) -> Captured:
        """Take a batch in, and give it back without the samples that were left out."""
        captured, ignored, skipped = self.intake(captured, self.batches)
        self.batches, self.ignored, self.skipped = self.batches + 1, self.ignored + ignored, self.skipped + skipped
        for name, features in captured.features.items():
            if name not in self.running:
                level = self.level(features.shape[1])
                self.running[name] = RunningMoments(self.intake.num_classes, scatter=level, name=f"layer {name!r}")
            self.running[name].update(features, captured.labels)
        self.labels.append(captured.labels)
        if captured.decisions is not None:
            self.decisions.append(captured.decisions)
        if self.loss_function is not None and captured.logits is not None and len(captured.labels):
            mean = self.loss_function(captured.logits, captured.labels)
            self.loss += float(mean) * len(captured.labels)
        return captured

    def moments(self, distributed: bool) -> dict[str, ClassMoments]:
        """The finished moments of each layer, in the order in which the layers fire."""
        if not self.batches:
            raise BatchError("the batches held nothing, so there is nothing to measure. Is the data loader empty?")
        finished = {name: running.compute() for name, running in self.running.items()}
        finished = {n: replace(m, ignored=self.ignored, skipped=self.skipped) for n, m in finished.items()}
        return {n: sum_over_processes(m) for n, m in finished.items()} if distributed else finished


class Observer(Protocol):
    """What looks at a layer's features a second time, batch by batch."""

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (n, d) and labels (n,)."""
        ...


class NearestMeans:
    """The nearest class mean of every sample, in order."""

    def __init__(self, means: ClassMoments) -> None:
        self.means, self.parts = means, list[Tensor]()

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Compare a batch with the means."""
        self.parts.append(nearest_class_means(features, self.means))


class FirstOfEachClass:
    """The features of the first few samples of some classes, for pictures."""

    def __init__(self, classes: list[int], size: int) -> None:
        self.size, self.parts = size, {c: list[Tensor]() for c in classes}

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take what is still wanted of each class."""
        for c, parts in self.parts.items():
            wanted = self.size - sum(len(part) for part in parts)
            if wanted > 0:
                parts.append(features[(labels == c).nonzero().flatten()[:wanted]].double())


def look_at(batches: Iterable[Captured], observers: Mapping[str, Sequence[Observer]]) -> None:
    """Show every batch to the observers of each layer."""
    for captured in batches:
        for name, features in captured.features.items():
            for observer in observers.get(name, ()):
                observer.update(features, captured.labels)


def all_samples(parts: list[Tensor], distributed: bool) -> Tensor:
    """One vector of whole numbers from those of each batch, and of each process in order of rank."""
    own = torch.cat(parts).cpu() if parts else torch.empty(0, dtype=torch.int64)
    if not (distributed and dist.is_available() and dist.is_initialized()):
        return own
    gathered: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, own)
    return torch.cat([part for part in gathered if part is not None])


def relabelled(batches: Iterable[Captured], labels: Tensor) -> Iterator[Captured]:
    """The same batches with other labels, given for all samples in order."""
    start = 0
    for captured in batches:
        stop = start + len(captured.labels)
        yield replace(captured, labels=labels[start:stop].to(captured.labels.device))
        start = stop
