"""What measuring adds to training beyond the evaluation that any run does, at the default measurement epochs.

An epoch of training, its evaluation and a measurement of both splits are timed in turn on the demo recipe, after some
training; the share of a whole run follows from how many epochs there are, and how many of them are measured.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from deepcollapse.training import Recipe, prepare
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.loop import Training, begin
from timing import columns, compute_threads, in_turn, ratios, spread

SIZES = {"full": (Recipe(), 9), "small": (Recipe(), 3), "tiny": (Recipe(width=8, depth=1, per_class=5), 1)}
AIM = 0.05
SETTLED = 3  # epochs of training before anything is timed


def run(size: str, threads: int) -> dict:
    """The shares that measuring adds to a run, and what an epoch's training, evaluation and measurement take."""
    recipe, rounds = SIZES[size]
    with compute_threads(threads), tempfile.TemporaryDirectory() as folder:
        return shares(recipe, rounds, threads, Path(folder))


def shares(recipe: Recipe, rounds: int, threads: int, folder: Path) -> dict:
    """The shares at the recipe's own measurement epochs, and at a tenth as many."""
    training = begin(recipe, prepare(recipe), folder / "run", device="cpu", threads=threads)
    for epoch in range(1, SETTLED + 1):
        train(training, epoch)
    epochs = iter(range(SETTLED + 1, recipe.epochs))
    tasks = {
        "training": lambda: train(training, SETTLED + 1),
        "evaluation": lambda: evaluation(training),
        "measurement": lambda: training.look(recipe.epochs - 1 - next(epochs)),
    }
    training.measured = set(range(recipe.epochs))
    seconds = in_turn(tasks, rounds)
    bare = [a + b for a, b in zip(seconds["training"], seconds["evaluation"], strict=True)]
    added = [max(0.0, a - b) for a, b in zip(seconds["measurement"], seconds["evaluation"], strict=True)]
    each = ratios(added, bare)
    fewer = replace(recipe, measurements=max(2, recipe.measurements // 10))
    return {
        "measurement_over_epoch": each,
        "shares": {
            str(which.measurements): {
                key: value * len(which.measured_epochs()) / which.epochs for key, value in each.items()
            }
            for which in (recipe, fewer)
        },
    }


def train(training: Training, epoch: int) -> None:
    """One epoch."""
    training.train_epoch(epoch, torch.Generator().manual_seed(epoch))


def evaluation(training: Training) -> None:
    """Accuracy and loss on both splits."""
    for split in (training.splits.train, training.splits.test):
        assert split is not None
        evaluate(training.network, split.batches(training.place.evaluation_batch), training.loss)


def table(result: dict) -> str:
    """What a measurement costs in epochs, and what all of them add to a run."""
    rows = [("", "measured", "aim")]
    rows.append(("a measurement, in epochs with evaluation", spread(result["measurement_over_epoch"]), ""))
    for count, share in result["shares"].items():
        percent = {key: 100 * value for key, value in share.items()}
        rows.append((f"added at measurements={count}, per cent", spread(percent, 1), f"< {100 * AIM:.0f}"))
    return f"the demo recipe: every measure of the head's input and all blocks\n{columns(rows, (42, 24, 8))}"
