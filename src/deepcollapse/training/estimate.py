"""How long something will take, from a few timed batches on a copy."""

import copy
import time
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn

from deepcollapse.measurement.state import undisturbed
from deepcollapse.training.data import Split, Splits, training_batches
from deepcollapse.training.objective import logits_of, loss_function, optimiser
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe

TIMED = 4  # batches; the first is a warm-up
# Beyond its share of the forward passes, what a measurement of a small network takes, seconds.
MEASURING = 0.15
# Passes over the training data that the bounds on rank cost at the end: forwards, back, and products in float64.
BOUNDING = 8


def batches_in(split: Split, batch: int) -> int:
    """How many batches a split makes; 1 where its length cannot be told."""
    batches = split.batches(batch)
    return len(batches) if hasattr(batches, "__len__") else 1  # pyright: ignore[reportArgumentType]


def seconds_a_pass(network: nn.Module, split: Split, batch: int, place: Place) -> float:
    """One forward pass over a split."""
    with undisturbed(network):
        return _fastest(place.batches(split.batches(batch)), lambda x, _: network(x), place) * batches_in(split, batch)


def seconds_of_training(
    recipe: Recipe, splits: Splits, network: nn.Module, place: Place, epochs: Collection[int]
) -> float:
    """These epochs with their evaluations and measurements, from a few steps of a copy."""
    if not epochs:
        return 0.0
    twin = place.settle(copy.deepcopy(network)).train()
    loss, optimising = loss_function(recipe), optimiser(recipe, twin)

    def step(x: Any, y: Any) -> None:
        optimising.zero_grad()
        loss(logits_of(twin(x)), y).backward()
        optimising.step()

    with torch.random.fork_rng(devices=[]):
        steps = _fastest(place.batches(training_batches(recipe, splits, twin)), step, place)
    steps *= batches_in(splits.train, recipe.batch)
    looks = sum(
        seconds_a_pass(twin, split, place.evaluation_batch, place) for split in (splits.train, splits.test) if split
    )
    # A measurement takes about as long again as the forward pass it rides on.
    measured = len(set(epochs).intersection(recipe.measured_epochs()))
    bounds = BOUNDING * seconds_a_pass(twin, splits.train, place.evaluation_batch, place) * (recipe.epochs in epochs)
    return len(epochs) * (steps + looks) + measured * (looks + MEASURING) + bounds


def _fastest(batches: Iterable[Any], work: Callable[[Any, Any], object], place: Place) -> float:
    """The shortest time that the work takes on one of the first batches."""
    times = []
    for x, y in islice(batches, TIMED):
        start = time.perf_counter()
        work(x, y)
        if place.device.type == "cuda":
            torch.cuda.synchronize(place.device)
        times.append(time.perf_counter() - start)
    return min(times, default=0.0)
