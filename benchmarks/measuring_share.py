"""What measuring adds to training beyond the evaluation that any run does, at the default measurement epochs.

An epoch of training, its evaluation and a measurement of both splits are timed in turn on recipes from the demo up to a
residual network, after some training; the share of a whole run follows from how many epochs there are, and how many of
them are measured. What a measurement costs depends on the widths of the layers (spectra of d x d matrices) and what
an epoch costs on all that the network does, so the share falls with the size of the network.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from deepcollapse.datasets import Dataset
from deepcollapse.training import Recipe, prepare
from deepcollapse.training.data import Splits
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.loop import Training, begin
from timing import columns, compute_threads, in_turn, ratios, spread

AIM = 0.05


@dataclass(frozen=True)
class Case:
    """A recipe, its data, how often it is timed, and how many epochs it is trained before."""

    words: str
    recipe: Recipe
    data: Callable[[Recipe], Splits] = prepare
    rounds: int = 9
    settled: int = 3


def noise(images: int) -> Callable[[Recipe], Splits]:
    """A maker of so many images of 28 x 28 noise in ten classes, and a fifth as many to test on."""

    def made(_: Recipe) -> Splits:
        generator = torch.Generator().manual_seed(0)
        names = tuple(map(str, range(10)))
        return Splits(
            *(
                Dataset("noise", split, torch.randn(n, 1, 28, 28, generator=generator), torch.arange(n) % 10, names)
                for split, n in (("train", images), ("test", images // 5))
            )
        )

    return made


DEMO = Case("the demo: mlp, digits", Recipe())
MLP = Case("mlp, 5,000 images of 28 x 28", Recipe(standardise="none"), noise(5000))
RESNET = Case(
    "resnet18 of width 16, the same images",
    Recipe(network="resnet18", width=16, standardise="none"),
    noise(5000),
    rounds=3,
    settled=1,
)
SIZES = {
    "full": (DEMO, MLP, RESNET),
    "small": (replace(DEMO, rounds=3), replace(MLP, rounds=3), replace(RESNET, rounds=1)),
    "tiny": (
        Case("mlp of width 8, 50 digits", Recipe(width=8, depth=1, per_class=5), rounds=1),
        Case("mlp of width 8, 50 images of noise", Recipe(width=8, depth=1, standardise="none"), noise(50), 1, 1),
    ),
}


def run(size: str, threads: int) -> dict:
    """For each recipe the shares that measuring adds, and what an epoch's training, evaluation and measurement take."""
    cases = {}
    for case in SIZES[size]:
        with compute_threads(threads), tempfile.TemporaryDirectory() as folder:
            cases[case.words] = shares(case, threads, Path(folder))
    return {"cases": cases}


def shares(case: Case, threads: int, folder: Path) -> dict:
    """The shares at the recipe's own measurement epochs, and at a tenth as many."""
    recipe = case.recipe
    training = begin(recipe, case.data(recipe), folder / "run", device="cpu", threads=threads)
    for epoch in range(1, case.settled + 1):
        train(training, epoch)
    epochs = iter(range(case.settled + 1, recipe.epochs))
    tasks = {
        "training": lambda: train(training, case.settled + 1),
        "evaluation": lambda: evaluation(training),
        "measurement": lambda: training.look(recipe.epochs - 1 - next(epochs)),
    }
    training.measured = set(range(recipe.epochs))
    seconds = in_turn(tasks, case.rounds)
    bare = [a + b for a, b in zip(seconds["training"], seconds["evaluation"], strict=True)]
    added = [max(0.0, a - b) for a, b in zip(seconds["measurement"], seconds["evaluation"], strict=True)]
    each = ratios(added, bare)
    fewer = replace(recipe, measurements=max(2, recipe.measurements // 10))
    return {
        "seconds": {"epoch": min(bare), "measurement": min(added)},
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
    rows = []
    for words, case in result["cases"].items():
        rows.append((words, "measured", "aim"))
        cpu = " and ".join(f"{case['seconds'][key]:.2f}" for key in ("epoch", "measurement"))
        rows.append(("  CPU seconds of an epoch, a measurement", cpu, ""))
        rows.append(("  a measurement, in epochs with evaluation", spread(case["measurement_over_epoch"]), ""))
        for count, share in case["shares"].items():
            percent = {key: 100 * value for key, value in share.items()}
            rows.append((f"  added at measurements={count}, per cent", spread(percent, 1), f"< {100 * AIM:.0f}"))
    return f"every measure of the head's input and all blocks\n{columns(rows, (44, 24, 8))}"
