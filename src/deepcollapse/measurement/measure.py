"""`measure`: a network and its data in, the geometry of every layer out."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deepcollapse.errors import BatchError, OptionError, ShapeError
from deepcollapse.geometry.decision import linear_decisions
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.batches import ReadBatch
from deepcollapse.measurement.capture import Capture, Captured
from deepcollapse.measurement.conclude import Findings, Settings, conclude
from deepcollapse.measurement.evidence import wanted_measures
from deepcollapse.measurement.head import GivenHead
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.measurement.look import all_samples
from deepcollapse.measurement.measurement import BASELINES, Measurement
from deepcollapse.measurement.passes import FirstPass, Intake, parse_bytes, relabelled
from deepcollapse.measurement.reduction import Reduction
from deepcollapse.measurement.runs import Runs, Source
from deepcollapse.measurement.state import undisturbed
from deepcollapse.measurement.weights import MAX_WEIGHT_DIM
from deepcollapse.networks import untrained_copy


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
    weights: bool | None = None,
    max_weight_dim: int = MAX_WEIGHT_DIM,
    distributed: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Measurement:
    """Measure the geometry of a network's classes at every layer, in one run over the data.

    The network runs in eval mode without gradients; its mode, its hooks and the states of all random generators are
    afterwards as they were, whatever happens. Moments are streamed, and pooled features are kept for a second look
    while they fit `memory_budget`; beyond it the network runs twice, from the same random state, and the measurement
    says so. The numbers do not depend on which. Compiled networks run their eager code meanwhile. Inputs go to the
    device and floating type of the network's first parameter; autocast reaches the network and no measure.

    Args:
        network: any classifier: plain, compiled, wrapped for data-parallel or sharded training, in half precision.
        batches: (inputs, labels) pairs, mappings with labels, or anything that `read_batch` turns into (args, kwargs,
            labels); a DataLoader or a list. Several inputs in a tuple or list go by position. Labels (n,) are one a
            sample; (n, ...) one a position (tokens, pixels); soft labels (n, C) count by their largest share.
        num_classes: C; by default the outputs of the head.
        layers: names or patterns (*, **, ?) of layers, "all", "input" for the raw input; by default the network's
            repeated blocks, at most 16. The head's input is always measured. A module that runs several times gives
            "name#1", "name#2", ...
        head: the final linear layer's name; "auto" finds it; None measures without a classifier.
        measures: names of measures or patterns; by default all but a few expensive ones or variants.
        split: what the records call this data.
        means_of: a measurement of the training data, whose class means NC4 and nearest-class-mean accuracy then use.
        weighting, centre: "class" counts classes equally, "sample" by their samples; centre follows weighting.
        reduction: of feature maps and sequences: "mean" over positions (those with attention_mask 0, where the network
            is called with one, left out), "flatten", or "cls" (first position). Which axis holds the channels is told
            by the layers around; maps (n, channels, ...) and (n, ..., channels) may both occur.
        baselines: of "untrained" (a copy with weights drawn anew) and "shuffled labels": what no collapse looks like.
        loss: a function (logits, labels) -> mean loss to record beside the accuracy.
        class_names: names for notes.
        ignore_index: the label of samples, or positions, to leave out.
        on_nonfinite: "raise" at NaN or infinite features, or "skip" those samples and count them.
        memory_budget: for kept features, in bytes or as "512MiB", on the device where they are made.
        max_scatter_dim: no d x d scatter above this dimension; ranks of features are then left out, with the reason.
        weights: also the ranks of every layer's weights (see `measure_weights`). By default where `means_of` is not
            given, since the measurement that it names has told them already. Of large networks, some layers evenly
            spread, as a note then says: all would take longer than ten seconds.
        max_weight_dim: no singular values of weights whose shorter side is above this; their ranks are then NaN.
        distributed: add up over the processes of torch.distributed, each with its own share of the data, none empty.
            Shares may be uneven; DistributedSampler repeats samples, which is warned of.
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
        means_of=means_of,
        weights=means_of is None if weights is None else weights,
        max_weight_dim=max_weight_dim,
    )
    source = Source(batches, read_batch, parse_bytes(memory_budget), progress, distributed)
    _check_baselines(baselines, source)

    def look(network: nn.Module, settings: Settings, baseline: str | None = None) -> tuple[Findings, list[str]]:
        capture = Capture(network, layers=layers, head=head, num_classes=num_classes, reduction=reduction)
        intake = Intake(capture.num_classes, ignore_index, on_nonfinite)
        shuffle = seed if baseline is None and "shuffled labels" in baselines else None
        return _look(capture, source, intake, settings, None if baseline else loss, baseline, shuffle)

    found, notes = look(network, settings)
    if baselines and means_of is not None:
        notes.append("baselines: nearest class means are those of this split, not of means_of")
    if "untrained" in baselines:
        copy, left = untrained_copy(network, seed)
        if left:
            notes.append(f"untrained copy: {len(left)} parameters could not be drawn anew, e.g. {left[0]}")
        found.records += look(copy, replace(settings, means_of=None), "untrained")[0].numbers()
    return _measurement(found, notes)


def _look(
    capture: Capture,
    source: Source,
    intake: Intake,
    settings: Settings,
    loss: Callable[[Tensor, Tensor], Tensor] | None,
    baseline: str | None,
    shuffle: int | None,
) -> tuple[Findings, list[str]]:
    """Everything about one network, with shuffled labels from the same features where a seed for them is given."""
    with undisturbed(capture.network, source.batches) as randomness, capture:
        runs = Runs(capture, source, intake, randomness)
        first = FirstPass(intake, settings.level, loss, settings.reference)
        runs.first(first)
        found = conclude(first, runs, capture, settings, baseline)
        if shuffle is not None:
            found.records += _shuffled(first, runs, replace(settings, means_of=None), shuffle).numbers()
    found.runs = runs.count
    notes = [*capture.notes, *first.left_out()]
    if padding := source.padding(found.samples):
        warnings.warn(padding, stacklevel=4)
        notes.append(padding)
    if runs.count > 1:
        notes.append(f"features passed the memory budget of {source.budget} bytes: the network ran {runs.count} times")
    return found, notes


def _check_baselines(baselines: Sequence[str], source: Source) -> None:
    if unknown := sorted(set([baselines] if isinstance(baselines, str) else baselines) - set(BASELINES)):
        raise OptionError(f"baselines may be {' and '.join(map(repr, BASELINES))}; got {unknown[0]!r}.")
    if "untrained" in baselines and source.runs_once:
        raise BatchError(
            "the untrained baseline needs the batches a second time, and they came as an iterator that runs once. "
            "Pass a DataLoader or a list."
        )


def _shuffled(first: FirstPass, runs: Runs, settings: Settings, seed: int) -> Findings:
    """What the same features give under labels that were shuffled over all samples."""
    labels = torch.cat(first.labels).cpu()
    everyones = all_samples(first.labels, settings.distributed)
    shuffled = everyones[torch.randperm(len(everyones), generator=torch.Generator().manual_seed(seed))]
    if len(everyones) > len(labels):  # each process takes its share of labels that were shuffled over all of them
        counts = all_samples([torch.tensor([len(labels)])], settings.distributed)
        start = int(counts[: dist.get_rank()].sum())
        shuffled = shuffled[start : start + len(labels)]
    other = FirstPass(runs.intake, settings.level)
    for captured in relabelled(runs, labels, shuffled):
        other.add(captured)
    return conclude(other, relabelled(runs, labels, shuffled), runs.capture, settings, "shuffled labels")


def _measurement(found: Findings, notes: Sequence[str]) -> Measurement:
    layers = tuple(found.moments)
    return Measurement(
        tuple(found.records), found.arrays, found.moments, layers, found.runs, tuple(notes), found.probes
    )


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
    2.0
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
    features, labels = torch.as_tensor(features).detach(), torch.as_tensor(labels)
    features = features if features.dtype.is_floating_point else features.double()
    if features.ndim != 2:
        raise ShapeError(
            f"features have shape {tuple(features.shape)}; expected (samples, dim). Pool or flatten other axes first, "
            "for example features.mean(dim=(2, 3))."
        )
    head = GivenHead(classifier, bias)
    if head.classifier is not None and head.classifier.shape != (num_classes, features.shape[1]):
        raise ShapeError(
            f"the classifier has shape {tuple(head.classifier.shape)}; expected (num_classes, dim) = "
            f"({num_classes}, {features.shape[1]})."
        )
    if head.classifier is not None and decisions is None:
        decisions = linear_decisions(features, head.classifier, head.bias)
    first = FirstPass(Intake(num_classes, ignore_index, on_nonfinite), settings.level)
    whole = first.add(Captured({HEAD_INPUT: features}, labels, decisions))
    return _measurement(conclude(first, [whole], head, settings), [])
