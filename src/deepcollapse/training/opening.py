"""Opening a run: its network with initial weights, its random numbers, and what is refused before it begins."""

import random

import numpy
import torch
from torch import nn

from deepcollapse.errors import BatchError, RunError
from deepcollapse.measurement.capture import Capture
from deepcollapse.networks import load_network
from deepcollapse.records import Run
from deepcollapse.training.data import Splits, training_batches
from deepcollapse.training.recipe import Recipe


def build_network(recipe: Recipe, splits: Splits) -> nn.Module:
    """The network of a recipe with its initial weights, which the seed decides."""
    torch.manual_seed(recipe.seed)
    return load_network(
        recipe.network,
        num_classes=len(splits.class_names),
        image_shape=splits.train.image_shape,
        **recipe.network_parameters(),
    )


def refuse_untrainable(recipe: Recipe, splits: Splits, network: nn.Module) -> None:
    """Find out before a folder is made, not after: layers that are not there, data that give no step."""
    Capture(network, layers=recipe.layers or None, num_classes=len(splits.class_names))
    if next(training_batches(recipe, splits, network), None) is None:
        raise BatchError(
            f"{splits.train.name} gives no batch to train on: there is none at all, or every one holds a single "
            f"sample, in which batch norm finds no variance. Choose a batch above {recipe.batch}, or another network."
        )


def refuse_other_data(run: Run, splits: Splits) -> None:
    """A run that goes on must find the data that it began with."""
    before, now = run.provenance["data_digest"], splits.digests()
    if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
        raise RunError(
            f"{run.path} was begun on other data: the digest of {' and '.join(changed)} is not the same. "
            "Put the data back as they were, or start again with another --out."
        )


def seed_everything(recipe: Recipe, epoch: int) -> int:
    """Seed every generator for an epoch, those of the user's transforms too: a resumed run needs no saved states."""
    seed = recipe.seed * 1_000_003 + epoch
    torch.manual_seed(seed)
    random.seed(seed)
    numpy.random.seed(seed % 2**32)  # noqa: NPY002 - the generator that transforms draw from
    return seed
