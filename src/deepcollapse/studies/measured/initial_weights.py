"""How much of its initial weights a network still has after so many steps, whatever it has learnt since.

Weight decay takes a share of them at every step, so that runs of as many epochs differ in it wherever they differ in
batch size, rate or decay. What is then said of one of these may be said of what is left of the beginning.
"""

import math
from collections import Counter
from collections.abc import Iterator

import numpy

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.records import Record
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.evidence import Finished
from deepcollapse.studies.judging.subjects import Runs
from deepcollapse.sweeps.trained import Trained
from deepcollapse.theory.bounds.sgd_rank import state_matrix
from deepcollapse.training.recipe import Recipe

LEFT = "initial_weights_left"


def initial_weights_left(recipe: Recipe, samples: int) -> float:
    """The share of the initial weights that is still there at the end, trained by SGD on so many samples.

    It is what training comes to where every gradient is 0: without momentum the product of 1 - rate decay over all
    steps, with momentum the first entry of the product of the matrices that take a weight and its velocity through a
    step. About exp(-decay / (1 - momentum) times the sum of the rates).

    >>> plain = Recipe(epochs=2, batch=10, rate=0.1, decay=0.5, momentum=0.0, drops=())
    >>> [round(initial_weights_left(plain, samples) / 0.95**4, 9) for samples in (20, 21)]
    [1.0, 0.9025]
    """
    steps = math.ceil(samples / recipe.batch)
    epochs = Counter(recipe.learning_rate(epoch) for epoch in range(1, recipe.epochs + 1))  # in the order of training
    state = numpy.eye(2)
    for rate, count in epochs.items():
        step = state_matrix(rate, recipe.decay, recipe.momentum)
        state = numpy.linalg.matrix_power(step, steps * count) @ state
    return abs(float(state[0, 0]))


def left_of(trained: Trained) -> Iterator[Record]:
    """The share of a trained network's initial weights that is left, as a row of its run.

    None where the training data are a user's own, which may not say how many they are.
    """
    data = trained.splits.train
    if isinstance(data, Dataset):
        share = initial_weights_left(trained.recipe, len(data))
        note = "what decay alone leaves of the initial weights, whatever the gradients"
        yield Record(layer="network", measure=LEFT, value=share, unit="1", note=note, epoch=trained.recipe.epochs)


def left_at_ends(runs: Runs, setting: str) -> str:
    """Words on the share that is left at both ends of a sweep over a setting; none where no run has it recorded."""
    shares: dict[float, list[float]] = {}
    for run in runs:
        if (share := _left(run)) is not None:
            shares.setdefault(getattr(run.recipe, setting), []).append(share)
    if not shares:
        return ""
    told = [f"{median(shares[at]):.2g} is left at {setting} {at:g}" for at in (min(shares), max(shares))]
    return f"; of the initial weights {told[0]}, {told[1].replace(' is left', '')}"


def _left(run: Finished) -> float | None:
    return run.last(LEFT, "network", None) if len(run.rows(LEFT, "network", None)) else None
