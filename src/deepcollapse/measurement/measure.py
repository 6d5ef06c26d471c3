"""`measure`: a network and its data in, the geometry of every layer out."""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from deepcollapse.errors import BatchError, OptionError
from deepcollapse.geometry.decision import linear_decisions
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.batches import Batch, ReadBatch, network_place, read_batch, to_place
from deepcollapse.measurement.capture import Capture, Captured, GivenHead
from deepcollapse.measurement.conclude import Settings, conclude
from deepcollapse.measurement.evidence import wanted_measures
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import FirstPass, Intake, Kept, relabelled
from deepcollapse.measurement.reduction import Reduction
from deepcollapse.networks import untrained_copy

BASELINES = ("untrained", "shuffled labels")
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def measure(
    network: nn.Module,
    batches: Iterable[Any],
    *,
    num_classes: int | None = None,
    layers: str | Sequence[str] | None = None,
    head: str | None = "auto",
    measures: Sequence[str] | None = None,
    split: str = "train",
    means_of: Measurement | None = None,
    weighting: Weighting = "class",
    centre: Weighting | None = None,
    reduction: Reduction = "mean",
    baselines: Sequence[str] = (),
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    class_names: Sequence[str] = (),
    read_batch: ReadBatch | None = None,
    ignore_index: int = -100,
    on_nonfinite: str = "raise",
    memory_budget: int | str = "1GiB",
    max_scatter_dim: int = 2048,
    distributed: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Measure the geometry of a network's classes at every layer, in one run over the data.

    The network runs in eval mode without gradients; its mode, its hooks and the states of all random generators are
    afterwards as they were, whatever happens. Moments are streamed, and pooled features are kept for a second look
    while they fit `memory_budget`; beyond it the network runs twice, and the measurement says so. The numbers do not
    depend on which.

    Args:
        network: any classifier: plain, compiled, wrapped for data-parallel or sharded training, in half precision.
        batches: (inputs, labels) pairs, mappings with labels, or anything that `read_batch` turns into (args, kwargs,
            labels); a DataLoader or a list. Labels (n,) are one a sample; (n, ...) one a position (tokens, pixels).
        num_classes: C; by default the outputs of the head.
        layers: names or patterns (* and ?) of layers, "all", "input" for the raw input; by default the network's
            repeated blocks. The head's input is always measured.
        head: the final linear layer's name; "auto" finds it; None measures without a classifier.
        measures: names of measures or patterns; by default all but a few expensive ones or variants.
        split: what the records call this data.
        means_of: a measurement of the training data, whose class means NC4 and nearest-class-mean accuracy then use.
        weighting, centre: "class" counts classes equally, "sample" by their samples; centre follows weighting.
        reduction: of feature maps: "mean" over positions, "flatten", or "cls" (first position of a sequence).
        baselines: of "untrained" (a copy with weights drawn anew) and "shuffled labels": what no collapse looks like.
        loss: a function (logits, labels) -> mean loss to record beside the accuracy.
        class_names: names for notes.
        ignore_index: the label of samples, or positions, to leave out.
        on_nonfinite: "raise" at NaN or infinite features, or "skip" those samples and count them.
        memory_budget: for kept features, in bytes or as "512MiB".
        max_scatter_dim: no d x d scatter above this dimension; ranks of features are then left out, with the reason.
        distributed: add up over the processes of torch.distributed, each with its own share of the data.
        seed: of the baselines.
        progress: called with the number of batches so far.

    Raises: LayerNameError, CaptureError, BatchError, LabelError, NonFiniteError, OptionError: see
    `deepcollapse.errors`; each message says what came in and what to do.

    >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> data = [(torch.randn(16, 2), torch.arange(16) % 2)]
    >>> measurement = measure(net, data)
    >>> measurement.layers
    ('1', 'head.input')
    >>> measurement["within_class_variability"] > 0
    True
    """
    settings = Settings(
        metrics=wanted_measures(measures),
        split=split,
        weighting=weighting,
        centre=centre or weighting,
        reduction=reduction,
        max_scatter_dim=max_scatter_dim,
        class_names=class_names,
        distributed=distributed,
    )
    if unknown := set(baselines) - set(BASELINES):
        raise OptionError(f"baselines may be {' and '.join(map(repr, BASELINES))}; got {sorted(unknown)[0]!r}.")
    capture = Capture(network, layers=layers, head=head, num_classes=num_classes, reduction=reduction)
    budget = parse_bytes(memory_budget)

    def run_over(capture: Capture) -> "Runs":
        classes = capture.num_classes
        if classes is None:
            raise OptionError("num_classes is not known: there is no head to tell. Pass num_classes=...")
        intake = Intake(classes, ignore_index, on_nonfinite)
        return Runs(capture, batches, read_batch, intake, budget, progress, distributed)

    runs = run_over(capture)
    first = FirstPass(runs.intake, settings.level, loss)
    with undisturbed(network):
        again = runs.first(first)
        records, arrays, moments = conclude(first, again, capture, settings, means_of=means_of)
        if "shuffled labels" in baselines:
            records += _shuffled(first, runs, capture, settings, seed)
    notes = list(capture.notes)
    if "untrained" in baselines:
        copy, left = untrained_copy(network, seed)
        if left:
            notes.append(f"untrained copy: {len(left)} parameters could not be drawn anew, e.g. {left[0]}")
        other = run_over(Capture(copy, layers=layers, head=head, num_classes=num_classes, reduction=reduction))
        start = FirstPass(other.intake, settings.level, loss)
        with undisturbed(copy):
            records += conclude(start, other.first(start), other.capture, settings, baseline="untrained")[0]
    if runs.count > 1:
        notes.append(f"features passed the memory budget of {budget} bytes: the network ran {runs.count} times")
    return Measurement(tuple(records), arrays, moments, tuple(moments), runs.count, tuple(notes))


def measure_features(
    features: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    classifier: Tensor | None = None,
    bias: Tensor | None = None,
    decisions: Tensor | None = None,
    measures: Sequence[str] | None = None,
    split: str = "train",
    weighting: Weighting = "class",
    centre: Weighting | None = None,
    class_names: Sequence[str] = (),
    max_scatter_dim: int = 2048,
    ignore_index: int = -100,
    on_nonfinite: str = "raise",
) -> Measurement:
    """Measure one layer whose features are at hand, (n, d) and labels (n,), with the classifier's W (C, d) and b (C,).

    The layer is "head.input" in the records. The network's decisions are argmax W h + b unless given as `decisions`.
    Keywords and errors are those of `measure`; a few float64 rows at a time are all the memory it takes beyond the
    features, unless ranks of features are asked for (d x d).

    >>> measured = measure_features(torch.eye(4), torch.tensor([0, 0, 1, 1]), num_classes=2)
    >>> round(measured["trace_ratio"], 12)
    1.0
    """
    settings = Settings(
        metrics=wanted_measures(measures),
        split=split,
        weighting=weighting,
        centre=centre or weighting,
        reduction="none",
        max_scatter_dim=max_scatter_dim,
        class_names=class_names,
    )
    features, labels = torch.as_tensor(features), torch.as_tensor(labels)
    if classifier is not None and decisions is None:
        decisions = linear_decisions(features, classifier, bias)
    whole = Captured({HEAD_INPUT: features}, labels, decisions)
    first = FirstPass(Intake(num_classes, ignore_index, on_nonfinite), settings.level)
    whole = first.add(whole)
    head = GivenHead(classifier, bias)
    records, arrays, moments = conclude(first, [whole], head, settings)
    return Measurement(tuple(records), arrays, moments, tuple(moments), runs=0)


class Runs:
    """Runs of a network over the same batches: the first one fills the moments, later ones look again."""

    def __init__(
        self,
        capture: Capture,
        batches: Iterable[Any],
        custom: ReadBatch | None,
        intake: Intake,
        budget: int,
        progress: Callable[[int], None] | None,
        distributed: bool,
    ) -> None:
        self.capture, self.batches, self.custom, self.intake = capture, batches, custom, intake
        self.progress, self.distributed = progress, distributed
        self.kept, self.count = Kept(budget), 0

    def first(self, first: FirstPass) -> Iterable[Captured]:
        """Run once, fill `first`, and give the batches to look at again: those kept, or further runs."""
        for captured in self._run():
            self.kept.add(first.add(captured))
        if self.kept.batches is not None:
            return self.kept.batches
        if iter(self.batches) is self.batches:
            raise BatchError(
                f"the features take {self.kept.bytes} bytes, more than the memory budget of {self.kept.budget}, so the "
                "batches are needed a second time, and they came as an iterator that runs once. Pass a DataLoader or a "
                "list, or raise memory_budget."
            )
        return Again(self)

    def _run(self) -> Iterator[Captured]:
        self.count += 1
        device, dtype = network_place(self.capture.network)
        with self.capture:
            for number, batch in enumerate(self._in_step(), start=1):
                labels = batch.labels if isinstance(batch.labels, Tensor) else torch.as_tensor(batch.labels)
                args, kwargs = to_place(batch.args, device, dtype), to_place(batch.kwargs, device, dtype)
                soft = labels.ndim == 2 and labels.dtype.is_floating_point
                self.capture.expect(labels[:, 0] if soft else labels)
                output = self.capture.network(*args, **kwargs)
                taken = self.capture.take(labels[:, 0] if soft else labels, output)
                yield replace(taken, labels=labels) if soft else taken
                if self.progress is not None:
                    self.progress(number)

    def _in_step(self) -> Iterator[Batch]:
        """The batches; over processes, one that has run out goes on with ignored labels until all have.

        Sharded networks talk to each other in every forward pass, so each process must make as many.
        """
        own = (read_batch(batch, self.custom) for batch in self.batches)
        if not (self.distributed and torch.distributed.is_initialized()):
            yield from own
            return
        last: Batch | None = None
        while True:
            batch = next(own, None)
            more = torch.tensor([batch is not None], dtype=torch.int32, device=network_place(self.capture.network)[0])
            torch.distributed.all_reduce(more)
            if int(more) == 0:
                return
            if batch is None and last is None:
                raise BatchError("this process has no batch at all; give every process at least one.")
            last = batch or replace(
                last, labels=torch.full_like(torch.as_tensor(last.labels), self.intake.ignore_index)
            )
            yield last


class Again:
    """The same batches once more, by another run of the network each time they are asked for."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def __iter__(self) -> Iterator[Captured]:
        """Run the network over the batches."""
        for number, captured in enumerate(self.runs._run()):
            yield self.runs.intake(captured, number)[0]


def _shuffled(first: FirstPass, runs: Runs, capture: Capture, settings: Settings, seed: int) -> list:
    """The records of the same features under labels that were shuffled over all samples."""
    labels = torch.cat(first.labels).cpu()
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    again = runs.kept.batches if runs.kept.batches is not None else Again(runs)
    other = FirstPass(runs.intake, settings.level)
    for captured in relabelled(again, shuffled):
        other.add(captured)
    return conclude(other, relabelled(again, shuffled), capture, settings, baseline="shuffled labels")[0]


@contextlib.contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's mode and every random generator's state are put back."""
    modes = {module: module.training for module in network.modules()}
    python, arrays = random.getstate(), numpy.random.get_state()  # noqa: NPY002 - the user's transforms may draw from it
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    try:
        # Not in inference mode: what is made here is used outside of it.
        with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.no_grad():
            network.eval()
            yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)  # noqa: NPY002
        for module, training in modes.items():
            module.training = training


def parse_bytes(size: int | str) -> int:
    """A number of bytes from 1024, "512MiB" or "2GB".

    >>> parse_bytes("2MiB")
    2097152
    """
    text = str(size).strip().replace(" ", "")
    number = text.rstrip("BkKMGi")
    unit = text[len(number) :]
    try:
        bytes_ = float(number) * UNITS[unit]
    except (ValueError, KeyError):
        bytes_ = -1.0
    if bytes_ < 0:
        raise OptionError(f"memory budget {size!r} is no size; write a number of bytes, or for example '512MiB'.")
    return int(bytes_)
