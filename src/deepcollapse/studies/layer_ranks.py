"""How the rank of a trained network falls with depth, as a function of its input, and what its last layers need."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from deepcollapse.measurement.coordinates import centre_patch
from deepcollapse.measurement.function_rank import function_rank
from deepcollapse.measurement.jacobian import PartialJacobians, partial_jacobians
from deepcollapse.records import Record
from deepcollapse.studies.evidence import HEAD_INPUT
from deepcollapse.studies.few_logits import explained_by_few
from deepcollapse.sweeps.trained import Trained

INPUTS, COPIES = 5, 1000  # that ranks are averaged over, and perturbed copies of each; published: 1 to 100, and 5000
WHOLE = 1024  # coordinates up to which Jacobians are taken by the whole input
EXPLAINED, OTHERS = 0.8, 3


def ranks(trained: Trained) -> Iterator[Record]:
    """The ranks of every layer as a function of the input, and what the last features and logits need.

    In float64, where the rank of a Jacobian is that of exact arithmetic unless singular values lie 16 digits apart.
    """
    network = trained.network().double()
    split = trained.splits.test or trained.splits.train
    batches = [(x.double(), y) for x, y in trained.batches(split)]
    inputs = batches[0][0][:: max(1, len(batches[0][0]) // INPUTS)][:INPUTS]
    layers, shape = _layers(network), split.image_shape
    patch = centre_patch(shape, size=_side(shape))
    found = function_rank(
        network, batches, samples=INPUTS, layers=layers, coordinates=patch, copies=COPIES, split="test"
    )
    kept = [record for record in found.records if record.array is None]
    part = partial_jacobians(network, inputs, layers=layers, coordinates=patch)
    kept += [_rise(part, "partial_jacobian_rank_svd")]
    if inputs[0].numel() <= WHOLE:
        whole = partial_jacobians(network, inputs, layers=layers, coordinates=range(inputs[0].numel()))
        kept += [_row("jacobian_rank", float(values.mean()), layer) for layer, values in whole.svd_ranks.items()]
        kept += [_rise(whole, "jacobian_rank")]
    for record in kept:
        yield replace(record, epoch=trained.recipe.epochs)
    logits, labels = _logits(network, batches)
    explained = explained_by_few(logits, labels, OTHERS)
    share = float((explained[~explained.isnan()] >= EXPLAINED).double().mean())
    reference = trained.run.write_arrays("independence", {"explained_by_few": explained})["explained_by_few"]
    yield replace(_row("share_of_logits_explained", share, "head"), epoch=trained.recipe.epochs)
    yield Record(layer="head", measure="explained_by_few", array=reference, split="test", epoch=trained.recipe.epochs)


def _side(shape: Sequence[int]) -> int:
    """The side of the patch that partial Jacobians are taken by: 16 as published, less for small images."""
    shortest = min(shape[1:])
    return 16 if shortest >= 64 else min(8, max(1, 3 * shortest // 4))


def _row(measure: str, value: float, layer: str) -> Record:
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
