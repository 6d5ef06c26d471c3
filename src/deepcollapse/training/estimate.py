"""How long something will take, from a few timed batches on a copy."""

import copy
import time
from itertools import islice

import torch
from torch import nn

from deepcollapse.measurement.measure import undisturbed
from deepcollapse.training.data import Split, Splits
from deepcollapse.training.objective import loss_function, optimiser
from deepcollapse.training.place import Place
from deepcollapse.training.recipe import Recipe

TIMED = 4  # batches; the first is a warm-up


def batches_in(split: Split, batch: int) -> int:
    """How many batches a split makes; 1 where its length cannot be told."""
    batches = split.batches(batch)
    return len(batches) if hasattr(batches, "__len__") else 1  # pyright: ignore[reportArgumentType]


def seconds_a_pass(network: nn.Module, split: Split, batch: int, place: Place) -> float:
    """One forward pass over a split."""
    times = []
    with undisturbed(network):
        for x, _ in islice(place.batches(split.batches(batch)), TIMED):
            start = time.perf_counter()
            network(x)
            _wait(place)
            times.append(time.perf_counter() - start)
    return min(times, default=0.0) * batches_in(split, batch)


def seconds_of_training(recipe: Recipe, splits: Splits, network: nn.Module, place: Place, epochs: int) -> float:
    """All epochs with their evaluations and measurements, from a few steps of a copy."""
    twin = place.settle(copy.deepcopy(network))
    loss, step, times = loss_function(recipe), optimiser(recipe, twin), []
    with torch.random.fork_rng(devices=[]):
        for x, y in islice(place.batches(splits.train.batches(recipe.batch)), TIMED):
            start = time.perf_counter()
            step.zero_grad()
            loss(twin(x), y).backward()
            step.step()
            _wait(place)
            times.append(time.perf_counter() - start)
    steps = min(times, default=0.0) * batches_in(splits.train, recipe.batch)
    looks = sum(
        seconds_a_pass(twin, split, place.evaluation_batch, place) for split in (splits.train, splits.test) if split
    )
    # A measurement takes about as long again as the forward pass it rides on, and small networks some 0.1 s more.
    return epochs * (steps + looks) + len(recipe.measured_epochs()) * (looks + 0.15)


def _wait(place: Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize(place.device)
