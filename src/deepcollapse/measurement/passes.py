"""The first look at the data: moments of every layer, and features kept for the second look while they fit."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor

from deepcollapse.errors import BatchError, NonFiniteError, OptionError
from deepcollapse.geometry import ClassMoments, RunningMoments, sum_over_processes
from deepcollapse.geometry.moments import ScatterLevel
from deepcollapse.geometry.running import finite_rows, read_labels
from deepcollapse.measurement.capture import Captured
from deepcollapse.measurement.state import exact

UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


@dataclass(frozen=True)
class Intake:
    """What of a captured batch is measured: labelled, finite samples."""

    num_classes: int
    ignore_index: int = -100
    on_nonfinite: str = "raise"

    def __post_init__(self) -> None:
        """Check the settings, before any forward pass."""
        if self.on_nonfinite not in ("raise", "skip"):
            raise OptionError(f"on_nonfinite must be 'raise' or 'skip'; got {self.on_nonfinite!r}.")

    def __call__(self, captured: Captured, batch: int) -> tuple[Captured, int, int]:
        """The batch without unlabelled and (if asked) non-finite samples, and how many of each were left out."""
        labels = read_labels(captured.labels, self.num_classes, self.ignore_index)
        labels = labels.to(next(iter(captured.features.values())).device)
        kept = labels != self.ignore_index
        labelled = int(kept.sum())
        for name, features in captured.features.items():
            finite = finite_rows(features)
            if finite is None:
                continue
            bad = ~finite & kept
            if bad.any() and self.on_nonfinite == "raise":
                raise NonFiniteError(
                    f"layer {name!r}, batch {batch}: {int(bad.sum())} of {len(labels)} samples have NaN or infinite "
                    "features. Look for a diverged network or half-precision overflow, or leave such samples out with "
                    "on_nonfinite='skip' (they are counted)."
                )
            kept &= finite
        if captured.logits is not None and bool((unknown := captured.logits.isnan().any(dim=1)).any()):
            # A NaN wins or loses every comparison: what the network decides there is no decision.
            bad = unknown.to(kept.device) & kept
            if bad.any() and self.on_nonfinite == "raise":
                raise NonFiniteError(
                    f"the network's output, batch {batch}: {int(bad.sum())} of {len(labels)} samples have NaN logits, "
                    "while their features are finite. Look for NaN in the head's weights, or leave such samples out "
                    "with on_nonfinite='skip' (they are counted)."
                )
            kept &= ~bad
        captured, left = replace(captured, labels=labels), int(kept.sum())
        return (captured if left == len(labels) else _select(captured, kept)), len(labels) - labelled, labelled - left


def _select(captured: Captured, rows: Tensor) -> Captured:
    return Captured(
        features={name: features[rows] for name, features in captured.features.items()},
        labels=captured.labels[rows],
        decisions=None if captured.decisions is None else captured.decisions[rows.to(captured.decisions.device)],
        logits=None if captured.logits is None else captured.logits[rows.to(captured.logits.device)],
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
        reference: dict[str, ClassMoments] | None = None,
    ) -> None:
        self.intake, self.level, self.loss_function, self.reference = intake, level, loss, reference
        self.running: dict[str, RunningMoments] = {}
        self.labels: list[Tensor] = []
        self.loss = 0.0
        self.hits = self.judged = self.batches = self.ignored = self.skipped = 0

    @exact()
    def add(self, captured: Captured) -> Captured:
        """Take a batch in, and give it back without the samples that were left out."""
        captured, ignored, skipped = self.intake(captured, self.batches)
        self.batches, self.ignored, self.skipped = self.batches + 1, self.ignored + ignored, self.skipped + skipped
        for name, features in captured.features.items():
            if name not in self.running:
                self._start(name, features.shape[1])
            self.running[name].update(features, captured.labels)
        self.labels.append(captured.labels)
        self._judge(captured)
        return captured

    def _start(self, name: str, dim: int) -> None:
        """Begin a layer; at once hold it against the training data's, whose class means it will need."""
        classes = self.intake.num_classes
        if self.reference is not None:
            if name not in self.reference:
                raise OptionError(
                    f"layer {name!r} was not measured on the training data; its class means are needed here. "
                    f"Measured there: {', '.join(self.reference)}. Measure both splits with the same layers."
                )
            theirs = self.reference[name].mean.shape
            if theirs != (classes, dim):
                raise OptionError(
                    f"layer {name!r} has {classes} classes and dimension {dim} here, and {theirs[0]} and {theirs[1]} "
                    "in means_of. Measure both splits on the same network with the same reduction."
                )
        self.running[name] = RunningMoments(classes, scatter=self.level(dim), name=f"layer {name!r}")

    def _judge(self, captured: Captured) -> None:
        """Count correct decisions, and add up the loss."""
        if captured.decisions is None or not len(captured.labels):
            return
        labels = captured.labels.to(captured.decisions.device)
        self.hits += int((captured.decisions == labels).sum())
        self.judged += len(labels)
        if self.loss_function is not None and captured.logits is not None:
            half = captured.logits.dtype in (torch.float16, torch.bfloat16)
            mean = torch.as_tensor(self.loss_function(captured.logits.float() if half else captured.logits, labels))
            if mean.numel() != 1:
                raise OptionError(
                    f"loss(logits, labels) gave shape {tuple(mean.shape)}; expected the mean over the batch, a single "
                    "number (reduction='mean')."
                )
            self.loss += float(mean) * len(labels)

    def moments(self, distributed: bool) -> dict[str, ClassMoments]:
        """The finished moments of each layer, in the order in which the layers fire."""
        if not self.batches:
            raise BatchError("the batches held nothing, so there is nothing to measure. Is the data loader empty?")
        finished = {name: running.compute() for name, running in self.running.items()}
        finished = {n: replace(m, ignored=self.ignored, skipped=self.skipped) for n, m in finished.items()}
        return {n: sum_over_processes(m) for n, m in finished.items()} if distributed else finished

    def left_out(self) -> list[str]:
        """In words, how many samples were left out and why."""
        notes = []
        if self.ignored:
            notes.append(f"{self.ignored} samples without a label (ignore_index) are left out")
        if self.skipped:
            notes.append(f"{self.skipped} samples with NaN or infinite features are left out")
        return notes

    def scores(self, distributed: bool) -> tuple[float, float, int]:
        """Correct decisions, summed loss and judged samples, over all processes."""
        total = torch.tensor([self.hits, self.loss, self.judged], dtype=torch.float64)
        if distributed and dist.is_available() and dist.is_initialized():
            device = next(iter(self.running.values())).mean.device
            total = total.to(device)
            dist.all_reduce(total)
        hits, loss, judged = total.tolist()
        return hits, loss, int(judged)


def relabelled(batches: Iterable[Captured], before: Tensor, labels: Tensor) -> Iterator[Captured]:
    """The same batches with other labels in place of those `before`, both for all samples in order.

    Raises BatchError where the batches come in another order than they did before.
    """
    start = 0
    for captured in batches:
        stop = start + len(captured.labels)
        if not torch.equal(before[start:stop], captured.labels.cpu()):
            raise BatchError(
                "the batches came in another order the second time, so shuffled labels cannot be told from moved "
                "samples. Measure without shuffling (shuffle=False), or raise memory_budget so that one run is enough."
            )
        yield replace(captured, labels=labels[start:stop].to(captured.labels.device))
        start = stop


def parse_bytes(size: int | str) -> int:
    """A number of bytes from 1024, "512MiB" or "2GB".

    >>> parse_bytes("2MiB")
    2097152
    """
    text = str(size).strip().replace(" ", "")
    number = text.rstrip("BkKMGi")
    try:
        found = float(number) * UNITS[text[len(number) :]]
    except (ValueError, KeyError):
        found = -1.0
    if not 0 <= found < float("inf"):
        raise OptionError(f"memory budget {size!r} is no size; write a number of bytes, or for example '512MiB'.")
    return int(found)
