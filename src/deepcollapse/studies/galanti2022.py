"""Mini-batch descent with weight decay lowers the rank of weights :cite:`galanti2025`.

A step of gradient descent on B samples changes a weight by a matrix of rank B at most, and decay shrinks what was there
before. So a weight is near to the sum of its last steps, whose rank is at most B times their number: the smaller the
batches, the larger the rate and the stronger the decay, the fewer steps count and the lower the rank. Without decay
nothing fades, and none of this follows.

The sweep goes over batch size (with and without decay), rate, and decay, for as many epochs each. Then small batches,
large rates and strong decay also leave less of the initial weights, which are of full rank: whether the size of the
batch matters beyond that is asked of runs over batch size that all take equally many steps. Rank is counted as the
paper does: singular values of W over its Frobenius norm above a thousandth. Afterwards every run takes some more steps
in float64, whose memory gives both sides of the bound. The bibliography calls the paper galanti2025, after the year it
was published in: the preprint is of 2022.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

import torch

from deepcollapse.geometry import channel_unfolding, singular_values
from deepcollapse.records import Record
from deepcollapse.studies.charts.mini_batches import show
from deepcollapse.studies.judging.claim import Claim
from deepcollapse.studies.judging.criteria import falls_with
from deepcollapse.studies.judging.mini_batches import (
    BOUND,
    FROBENIUS,
    IDENTITY,
    RANK,
    TAIL,
    bounded,
    faded,
    follows,
    little_effect,
    nothing_without_decay,
    over,
)
from deepcollapse.studies.judging.over_settings import rises_with
from deepcollapse.studies.measured.initial_weights import left_of
from deepcollapse.studies.measured.truncation import hidden_layers
from deepcollapse.studies.study import Scale, Study
from deepcollapse.sweeps.trained import Trained
from deepcollapse.theory import RankMemory
from deepcollapse.training.data import training_batches
from deepcollapse.training.loop import seed_everything
from deepcollapse.training.objective import logits_of, loss_function, optimiser
from deepcollapse.training.recipe import Recipe

THRESHOLD = 1e-3
MOST_STEPS = 50  # that are remembered: each holds a copy of every weight and gradient


def recipes(scale: Scale) -> list[Recipe]:
    """One setting at a time is changed about a middle; batch sizes come with decay and without, and at equal steps."""
    plain = {"width": scale["width"], "depth": scale["depth"], "parameters": ("batch_norm=false",)}
    middle = {name: scale[name] for name in ("epochs", "batch", "rate", "decay")}
    settings = [
        *(middle | {"batch": batch, "decay": decay} for batch in scale["batches"] for decay in (scale["decay"], 0.0)),
        *(middle | {"rate": rate} for rate in scale["rates"]),
        *(middle | {"decay": decay} for decay in scale["decays"]),
        *(middle | {"batch": batch, "epochs": epochs} for batch, epochs in scale["faded"].items()),
    ]
    found = [
        Recipe(
            dataset=dataset,
            network=network,
            seed=seed,
            momentum=scale["momentum"],
            drops=(),
            measurements=2,
            layers=("head.input",),  # weights are measured whatever features are
            per_class=scale["per_class"],
            test_per_class=scale["test_per_class"],
            **setting,
            **(plain if network == "mlp" else {}),
        )
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
        for setting in settings
    ]
    return list(dict.fromkeys(found))


def rank_of(weight: torch.Tensor) -> int:
    """How many singular values of W / |W|_F lie above a thousandth; 0 for a zero matrix."""
    s = singular_values(channel_unfolding(weight.detach().cpu()))
    return int((s > THRESHOLD * s.norm()).sum())


def memory(trained: Trained) -> Iterable[Record]:
    """The rank of every hidden layer's weight, and what the last steps of a few more, in float64, leave of the rest.

    Also how much of the initial weights is left.
    """
    yield from left_of(trained)
    network = trained.network()
    for name, layer in hidden_layers(network).items():
        yield _record(trained, name, RANK, rank_of(layer.weight), unit="singular values")
    recipe = trained.recipe
    network = network.double().train()
    order = torch.Generator().manual_seed(seed_everything(recipe, recipe.epochs + 1))
    steps, loss = optimiser(recipe, network), loss_function(recipe)
    with ExitStack() as held:
        memories = {}
        for name, layer in hidden_layers(network).items():
            count = remembered(layer.weight.flatten(1).shape, recipe.batch)
            memories[name] = held.enter_context(RankMemory(layer, steps, count, network))
        batches = trained.place.batches(training_batches(recipe, trained.splits, network, order))
        for x, y in islice(batches, 2 * MOST_STEPS):
            steps.zero_grad()
            loss(logits_of(network(x.double())), y).backward()
            steps.step()
        for name, one in memories.items():
            found = one.now()
            note = f"after {found.steps} steps in float64, of rank {found.rank} together at most"
            values = (found.identity_error, found.tail_share, found.tail_bound, found.frobenius_share,
                      found.frobenius_bound)  # fmt: skip
            for measure, value in zip((IDENTITY, TAIL, BOUND, *FROBENIUS), values, strict=True):
                yield _record(trained, name, measure, value, note)


def remembered(shape: Sequence[int], batch: int) -> int:
    """So many steps that their rank is at most half of what the weight can have, where one step allows that."""
    return min(MOST_STEPS, max(1, min(shape) // (2 * batch)))


def _record(
    trained: Trained, layer: str, measure: str, value: float | int, note: str | None = None, unit: str = "1"
) -> Any:
    return Record(layer=layer, measure=measure, value=float(value), unit=unit, note=note, epoch=trained.recipe.epochs)


CLAIMS = (
    Claim(
        "batch",
        "The smaller the batches, the lower the rank.",
        "The mean rank of hidden layers (singular values of W / |W|_F above 0.001) rises with batch size: rank "
        "correlation at least 0.8 over at least five sizes, median over seeds.",
        follows("batch", rises_with),
    ),
    Claim(
        "rate",
        "The larger the learning rate, the lower the rank.",
        "The mean rank falls with the learning rate: rank correlation at most -0.8 over at least five rates, median "
        "over seeds.",
        follows("rate", falls_with),
    ),
    Claim(
        "decay",
        "The stronger the weight decay, the lower the rank.",
        "The mean rank falls with weight decay: rank correlation at most -0.8 over at least five decays, median over "
        "seeds.",
        follows("decay", falls_with),
    ),
    Claim(
        "none",
        "Without weight decay batch size has nearly no effect on rank.",
        "From the smallest to the largest batch the mean rank changes without decay by at most a fifth of its rise "
        "with decay, median over seeds.",
        over(nothing_without_decay),
    ),
    Claim(
        "bound",
        "A weight is what is left of an older one plus its last steps, whose rank the batch bounds.",
        "The unrolled identity holds to 1e-10 of |W|, and singular values past the steps' rank are at most what is "
        "left of older weights, in spectral and Frobenius norm, for every hidden layer of every run.",
        over(bounded),
    ),
    Claim(
        "faded",
        "Batches have an effect on rank beyond that of the steps they make, in which the initial weights fade.",
        "As for `batch`, over runs that take equally many steps (epochs in proportion to the batch), at the same rate "
        "and decay, so that as much of the initial weights is left in all of them.",
        over(faded),
        ours=True,
    ),
    Claim(
        "little",
        "The fall of the rank has little effect on test accuracy.",
        "Among the runs of a seed and of as many epochs whose training accuracy is at least 99.9 %, which are to be "
        "half of them or more, test accuracy varies by less than 3 points, median over seeds.",
        over(little_effect),
        ours=True,
    ),
)

_MIDDLE = {"momentum": 0.0, "decay": 0.03, "decays": (0.0, 0.005, 0.01, 0.02, 0.03)}
_SAME_EPOCHS = (
    "All runs of a data set have the same number of epochs, so that small batches take more steps and less is left of "
    "the initial weights; those of `faded` alone take equally many steps."
)
_PUBLISHED = (
    "What could be read of the paper's experiments are their kinds: multilayer perceptrons, residual, VGG and vision "
    "transformer networks over batch size, rate and decay; their sizes and epochs are ours."
)
SCALES: dict[Any, Scale] = {
    "smoke": Scale(
        "a plain two-layer network on 200 digits, 22 settings",
        ("digits",),
        ("mlp",),
        (0, 1, 2),
        ("Digits of 8 x 8 pixels, 20 a class, so that it takes seconds.", _SAME_EPOCHS),
        _MIDDLE
        | {"per_class": 20, "test_per_class": None, "epochs": 60, "width": 32, "depth": 2, "batch": 2}
        | {"faded": {1: 13, 2: 26, 4: 52, 8: 104, 16: 200}}  # epochs by batch size, 2600 steps each
        | {"batches": (1, 2, 4, 8, 16), "rate": 0.1, "rates": (0.01, 0.03, 0.06, 0.1, 0.15)},
    ),
    "laptop": Scale(
        "a plain three-layer network on 500 images of MNIST and of CIFAR-10, 21 settings",
        ("mnist", "cifar10"),
        ("mlp",),
        (0, 1, 2),
        (
            "50 training and 100 test images a class in place of whole data sets, a subset drawn by each seed: batches "
            "of two take many steps.",
            "Fully connected networks of width 64 alone, whose runs go through one program.",
            "Decay is stronger than is usual, so that old weights fade within the steps that two cores can take.",
            _SAME_EPOCHS,
            _PUBLISHED,
        ),
        _MIDDLE
        | {"per_class": 50, "test_per_class": 100, "epochs": 60, "width": 64, "depth": 3, "batch": 4}
        | {"faded": {2: 30, 4: 60, 8: 119, 16: 234, 32: 469}}  # 7500 steps each
        | {"batches": (2, 4, 8, 16, 32), "rate": 0.03, "rates": (0.003, 0.01, 0.02, 0.03, 0.05)},
    ),
    "gpu": Scale(
        "plain fully connected and residual networks on MNIST and CIFAR-10, 21 settings",
        ("mnist", "cifar10"),
        ("mlp", "resnet18"),
        (0, 1, 2),
        ("500 training images a class.", _SAME_EPOCHS, _PUBLISHED),
        {"momentum": 0.9, "rate": 0.02, "decay": 2e-3, "decays": (0.0, 2e-4, 5e-4, 1e-3, 2e-3)}
        | {"per_class": 500, "test_per_class": None, "epochs": 100, "width": 256, "depth": 4, "batch": 16}
        | {"faded": {4: 25, 8: 50, 16: 100, 32: 199, 64: 396}}  # 31,300 steps each
        | {"batches": (4, 8, 16, 32, 64), "rates": (0.002, 0.005, 0.01, 0.02, 0.03)},
    ),
    "paper": Scale(
        "plain fully connected, VGG and residual networks on MNIST and CIFAR-10 as a whole, 23 settings",
        ("mnist", "cifar10"),
        ("mlp", "vgg16", "resnet18"),
        (0, 1, 2, 3, 4),
        (_SAME_EPOCHS, "No vision transformer.", _PUBLISHED),
        {"momentum": 0.9, "rate": 0.05, "decay": 5e-4, "decays": (0.0, 1e-4, 2e-4, 5e-4, 1e-3)}
        | {"per_class": None, "test_per_class": None, "epochs": 500, "width": 512, "depth": 5, "batch": 32}
        | {"faded": {8: 125, 16: 250, 32: 500, 64: 1000, 128: 2000}}  # 938,000 steps each on MNIST
        | {"batches": (4, 8, 16, 32, 64, 128), "rates": (0.005, 0.01, 0.02, 0.05, 0.1)},
    ),
}

STUDY = Study(
    name="galanti2022",
    title="SGD and weight decay secretly minimize the rank of your neural network",
    citation="galanti2025",
    summary="Rank of weights over batch size, learning rate and weight decay, with decay and without, and the bound "
    "that the last steps put on it.",
    scales=SCALES,
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.galanti2022:memory",
    show=show,
)
