"""How the rank of a trained network falls with depth, as a function of its input, and what its last layers need."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepcollapse.measurement.coordinates import centre_patch
from deepcollapse.measurement.gathered import Gathered
from deepcollapse.measurement.jacobian import PartialJacobians, partial_jacobians
from deepcollapse.measurement.perturbation import perturbed_dimensions
from deepcollapse.records import Record
from deepcollapse.studies.judging.evidence import HEAD_INPUT
from deepcollapse.studies.measured.few_logits import explained_by_few, shares_of_classes
from deepcollapse.sweeps.trained import Trained

INPUTS, COPIES = 5, 1000  # that ranks are averaged over, and perturbed copies of each; published: 1 to 100, and 5000
WHOLE = 1024  # coordinates up to which Jacobians are taken by the whole input
EXPLAINED, OTHERS = 0.8, 3
KEPT = 0.95  # of the accuracy, by the classification dimension
MEMORY = 1 << 30  # bytes of features at the head's input


def ranks(trained: Trained) -> Iterator[Record]:
    """The ranks of every layer as a function of the input, and what the last features and logits need.

    In float64, where the rank of a Jacobian is that of exact arithmetic unless singular values lie 16 digits apart.
    """
    network = trained.network().double()
    split = trained.splits.test or trained.splits.train
    batches = [(x.double(), y) for x, y in trained.batches(split)]
    gathered = Gathered(INPUTS, MEMORY)
    gathered.fill(network, batches, "auto", None)
    kept = [Record(split="test", **entry) for entry in gathered.dimensions(KEPT)]
    kept += _of_layers(network, gathered.inputs())
    logits, labels = _logits(network, batches)
    explained = explained_by_few(logits, labels, OTHERS)
    share, undefined = shares_of_classes(explained, labels, EXPLAINED)
    reference = trained.run.write_arrays("independence", {"explained_by_few": explained})["explained_by_few"]
    kept.append(_row("share_of_logits_explained", share, "head"))
    kept.append(_row("share_of_logits_undefined", undefined, "head"))
    kept.append(Record(layer="head", measure="explained_by_few", array=reference, split="test"))
    for record in kept:
        yield replace(record, epoch=trained.recipe.epochs)


def _of_layers(network: nn.Module, inputs: Tensor) -> Iterator[Record]:
    """Ranks of every layer, means over the inputs, and how far they rise at most."""
    layers, shape = _layers(network), inputs.shape[1:]
    part = partial_jacobians(network, inputs, layers=layers, coordinates=centre_patch(shape, size=_side(shape)))
    yield from _means("partial_jacobian_rank", part.gram_ranks)
    jacobians = {"partial_jacobian_rank_svd": part}
    if inputs[0].numel() <= WHOLE:
        jacobians["jacobian_rank"] = partial_jacobians(
            network, inputs, layers=layers, coordinates=range(inputs[0].numel())
        )
    for measure, found in jacobians.items():
        yield from _means(measure, found.svd_ranks)
        yield _rise(found, measure)
    perturbed = perturbed_dimensions(network, inputs, layers=layers, copies=COPIES)
    yield from _means("perturbed_dimension", perturbed.dimensions)
    for layer, size in part.outputs.items():
        yield _row("flattened_dimension", size, layer)


def _means(measure: str, by_layer: Mapping[str, Tensor]) -> Iterator[Record]:
    for layer, values in by_layer.items():
        yield _row(measure, float(values.mean()), layer)


def _side(shape: Sequence[int]) -> int:
    """The side of the patch that partial Jacobians are taken by: 16 as published, less for small images."""
    shortest = min(shape[1:])
    return 16 if shortest >= 64 else min(8, max(1, 3 * shortest // 4))


def _row(measure: str, value: float | int, layer: str) -> Record:
    return Record(layer=layer, measure=measure, value=value, split="test", reduction="flatten", weighting="sample")


def _layers(network: nn.Module) -> list[str]:
    """Stem and blocks of one of our networks, which see nothing but the layer before; a stem may only flatten."""
    modules = dict(network.named_modules())
    stem = ["stem"] if "stem" in modules and any(True for _ in modules["stem"].parameters()) else []
    blocks = [f"blocks.{i}" for i in range(len(list(modules["blocks"].children())))] if "blocks" in modules else []
    return [*stem, *blocks]


def chain(layers: Iterable[str], sizes: Mapping[str, float | int]) -> list[str]:
    """Layers in order of depth, with the head's input where something lies between it and the last block."""
    own = [layer for layer in layers if layer != HEAD_INPUT]
    return own if own and sizes[own[-1]] == sizes[HEAD_INPUT] else [*own, HEAD_INPUT]


def _rise(found: PartialJacobians, measure: str) -> Record:
    """By how much the rank rises at most from one layer to the next, at any input."""
    by_depth = [found.svd_ranks[layer] for layer in chain(found.layers, found.outputs)]
    rises = [float((later - before).max()) for before, later in itertools.pairwise(by_depth)]
    return _row(f"{measure}_largest_rise", max(rises, default=0.0), "all")


def _logits(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        logits = torch.cat([network(x) for x, _ in batches])
    return logits.cpu(), torch.cat([y for _, y in batches]).cpu()
