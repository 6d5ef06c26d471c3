"""The ReLU head of a trained network as the deep model sees it: class means, their rank and variability by layer."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from deepcollapse.geometry import ClassMoments, collect, numerical_rank, orthogonal_frame_error, trace_ratio
from deepcollapse.linalg import first_largest
from deepcollapse.measurement.layer_outputs import LayerOutputs
from deepcollapse.records import Record
from deepcollapse.sweeps.trained import Trained

RANK_TOLERANCE = 1e-2  # as for the deep model: descent leaves directions of a thousandth
BEFORE, AFTER, OUTPUT = "before ReLU", "after ReLU", "output"
TRIVIAL = 1e-3  # root of the mean squared output, as for the deep model
DEAD = 0.5  # a class of which the network recognises less than this share is one that it says nothing of


def afterwards(trained: Trained) -> Iterator[Record]:
    """Of the head's layers, before and after the ReLU, on training data: rank of the class means, DNC1 and DNC2.

    Class means are not centred: behind a ReLU they are orthogonal under deep collapse. `dead_classes` counts classes of
    which the network recognises less than half of the samples, and `trivial` is 1 where outputs are all but 0, or the
    decision is the same for all.
    """
    network, classes = trained.network(), len(trained.splits.class_names)
    blocks = [name for name, _ in network.named_modules() if name.startswith("blocks.") and name.count(".") == 1]
    linear = [f"{name}.linear" for name in blocks if hasattr(network.get_submodule(name), "linear")]
    moments: dict[str, ClassMoments] = {}
    hits, decided, squares = torch.zeros(classes), torch.zeros(classes), 0.0
    with torch.no_grad(), LayerOutputs(network, layers=(*linear, *blocks)) as outputs:
        for images, labels in trained.batches(trained.splits.train):
            found = outputs(images)
            logits = network.head(found["head.input"])  # pyright: ignore[reportCallIssue]
            _add(moments, found | {"head": logits}, labels, classes)
            squares += float(logits.double().square().sum())
            right = first_largest(logits).cpu()
            hits += torch.bincount(labels.cpu()[right == labels.cpu()], minlength=classes)
            decided += torch.bincount(right, minlength=classes)
    yield from _rows(trained, moments, linear, blocks)
    count = next(iter(moments.values())).count
    yield _row("dead_classes", "network", float((hits < DEAD * count.cpu()).sum()))
    trivial = (decided > 0).sum() == 1 or squares < TRIVIAL**2 * float(count.sum())
    yield _row("trivial", "network", float(trivial))


def _add(moments: dict[str, ClassMoments], found: Mapping[str, Tensor], labels: Tensor, classes: int) -> None:
    for name, features in found.items():
        batch = collect(features, labels, classes)
        moments[name] = moments[name].merge(batch) if name in moments else batch


def _rows(
    trained: Trained, moments: Mapping[str, ClassMoments], linear: list[str], blocks: list[str]
) -> Iterator[Record]:
    spectra = {}
    places = [*((name, BEFORE) for name in linear), *((name, AFTER) for name in blocks), ("head", OUTPUT)]
    for name, where in places:
        means = moments[name].class_means()
        values = torch.linalg.svdvals(means)
        spectra[name] = values / values[0].clamp(min=1e-300)
        yield _row("mean_rank", name, float(numerical_rank(means, RANK_TOLERANCE)), where)
        yield _row("dnc1", name, float(trace_ratio(moments[name])), where)
        yield _row("dnc2", name, float(orthogonal_frame_error(means)), where)
    for name, reference in trained.run.write_arrays("class-mean-spectra", spectra).items():
        yield Record(layer=name, measure="singular_values_class_means", split="train", array=reference)


def _row(measure: str, layer: str, value: float, note: str | None = None) -> Record:
    return Record(layer=layer, measure=measure, value=value, split="train", note=note)
