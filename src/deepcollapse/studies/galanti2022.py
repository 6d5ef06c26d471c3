"""Mini-batch descent with weight decay lowers the rank of weights :cite:`galanti2025`.

A step of gradient descent on B samples changes a weight by a matrix of rank B at most, and decay shrinks what was there
before. So a weight is near to the sum of its last steps, whose rank is at most B times their number: the smaller the
batches, the larger the rate and the stronger the decay, the fewer steps count and the lower the rank. Without decay
nothing fades, and none of this follows.

The sweep goes over batch size (with and without decay), rate, and decay. Rank is counted as the paper does: singular
values of W over its Frobenius norm above a thousandth. Afterwards every run takes some more steps in float64, whose
memory gives both sides of the bound. The bibliography calls the paper galanti2025, after the year it was published in:
the preprint is of 2022.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy
import torch

from deepcollapse.geometry import channel_unfolding, singular_values
from deepcollapse.records import Record
from deepcollapse.records.study import Judgement
from deepcollapse.studies.charts.mini_batches import RANK, layers_of, mean_rank, show, with_others_at
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS, falls_with, median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.over_settings import Points, points, rises_with
from deepcollapse.studies.judging.subjects import Runs, by_subject, each
from deepcollapse.studies.measured.truncation import hidden_layers
from deepcollapse.studies.study import Scale, Study
from deepcollapse.sweeps.trained import Trained
from deepcollapse.theory import RankMemory
from deepcollapse.training.data import training_batches
from deepcollapse.training.loop import seed_everything
from deepcollapse.training.objective import logits_of, loss_function, optimiser
from deepcollapse.training.recipe import Recipe

IDENTITY, TAIL, BOUND = "rank_memory_error_weight", "rank_memory_tail_weight", "rank_memory_bound_weight"
FROBENIUS = ("rank_memory_frobenius_tail_weight", "rank_memory_frobenius_bound_weight")
THRESHOLD = 1e-3
MOST_STEPS = 50  # that are remembered: each holds a copy of every weight and gradient
FITTED = 0.999
EXACT = 1e-10


def recipes(scale: Scale) -> list[Recipe]:
    """One setting at a time is changed about a middle; batch sizes come with decay and without."""
    plain = {"width": scale["width"], "depth": scale["depth"], "parameters": ("batch_norm=false",)}
    middle = {"batch": scale["batch"], "rate": scale["rate"], "decay": scale["decay"]}
    settings = [
        *(middle | {"batch": batch, "decay": decay} for batch in scale["batches"] for decay in (scale["decay"], 0.0)),
        *(middle | {"rate": rate} for rate in scale["rates"]),
        *(middle | {"decay": decay} for decay in scale["decays"]),
    ]
    found = [
        Recipe(
            dataset=dataset,
            network=network,
            epochs=scale["epochs"],
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
    """The rank of every hidden layer's weight, and what the last steps of a few more, in float64, leave of the rest."""
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


def over(judge: Callable[[Evidence, str, Runs], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of each data set with each network."""
    return lambda evidence: each(by_subject(evidence), partial(judge, evidence))


def follows(setting: str, rule: Callable[..., Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of mean rank over a setting, with the others at their middle."""
    return over(lambda evidence, subject, runs: _told(subject, rule, with_others_at(evidence, runs, setting), setting))


def _told(subject: str, rule: Callable[..., Judgement], runs: Runs, setting: str) -> Judgement:
    """The rule's judgement, with the ranks at both ends."""
    values = points(runs, setting, mean_rank)
    judged = rule(subject, values, {"batch": "batch size", "rate": "learning rate"}.get(setting, setting))
    ends = [_at(values, extreme(x for pairs in values.values() for x, _ in pairs)) for extreme in (min, max)]
    words = [f"{middle(found)} at {setting} {at:g}" for at, found in ends]
    numbers = {"rank_at_least": median(ends[0][1]), "rank_at_most": median(ends[1][1])}
    return replace(
        judged,
        measured=f"{judged.measured}; mean rank {words[0]}, {words[1]}",
        numbers={**judged.numbers, **numbers},
        runs=[run.name for run in runs],
    )


def _at(values: Points, setting: float) -> tuple[float, list[float]]:
    return setting, [y for pairs in values.values() for x, y in pairs if x == setting]


def nothing_without_decay(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """What the batch size changes without decay, as a share of what it changes with decay."""
    with_decay = _spans(points(with_others_at(evidence, runs, "batch"), "batch", mean_rank))
    without = _spans(points(with_others_at(evidence, runs, "batch", decay=0.0), "batch", mean_rank))
    shares = [
        abs(without[seed]) / span if span > 0 else float("inf") for seed, span in with_decay.items() if seed in without
    ]
    told = (
        f"from the smallest to the largest batch the mean rank rises by {middle([*without.values()])} without "
        f"decay and by {middle([*with_decay.values()])} with it"
    )
    numbers = {"without_decay": median([*without.values()]), "with_decay": median([*with_decay.values()])}
    return Judgement(subject, settled(shares, at_most=0.2), told, numbers)


def _spans(values: Points) -> dict[int, float]:
    """Rank at the largest setting less rank at the smallest, for each seed."""
    if any(len(pairs) < 2 for pairs in values.values()):
        raise MissingEvidence("fewer than two batch sizes came to their end")
    return {seed: pairs[-1][1] - pairs[0][1] for seed, pairs in values.items()}


def bounded(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """The unrolled identity and both norms' inequalities, in every hidden layer of every run."""
    del evidence
    rows = [
        [run.last(name, layer, None) for name in (IDENTITY, TAIL, BOUND, *FROBENIUS)]
        for run in runs
        for layer in layers_of(run)
    ]
    error, tail, bound, other, other_bound = numpy.array(rows).T
    broken = int((tail > bound * (1 + EXACT)).sum() + (other > other_bound * (1 + EXACT)).sum())
    exact = bool((error <= EXACT).all())
    told = (
        f"the identity holds to {error.max():.1e}, and {broken} of {2 * len(rows)} inequalities are broken over "
        f"{len(runs)} runs; {(bound < 1).mean():.0%} of the bounds lie below the weight's own norm, and what they "
        f"bound is {float(numpy.median(tail / bound)):.2g} of them in the median"
    )
    numbers = {"largest_error": float(error.max()), "broken": broken, "informative": float((bound < 1).mean())}
    return Judgement(subject, "holds" if exact and not broken else "fails", told, numbers)


def little_effect(evidence: Evidence, subject: str, runs: Runs) -> Judgement:
    """How far test accuracies lie apart among the runs of a seed that fit their training data.

    Where a seed's runs mostly do not fit, the few that do say nothing of the settings of the others.
    """
    del evidence
    all_of, fit_of = (_of_seeds(found) for found in (runs, [run for run in runs if _fits(run)]))
    kept = {seed: found for seed, found in fit_of.items() if 2 * len(found) >= len(all_of[seed]) > 1}
    if len(kept) < FEWEST_SEEDS:
        share = ", ".join(
            f"{len(fit_of.get(seed, ()))} of {len(found)} of seed {seed}" for seed, found in all_of.items()
        )
        raise MissingEvidence(
            f"the criterion is for at least {FEWEST_SEEDS} seeds with half of their runs fitting the training data, "
            f"and those that do are {share}"
        )
    accuracies = [[run.last("accuracy", "network", "test") for run in found] for found in kept.values()]
    spans = [100 * (max(found) - min(found)) for found in accuracies]
    fitted = [run.name for found in kept.values() for run in found]
    told = f"among {len(fitted)} of {len(runs)} runs that fit, test accuracy varies by {middle(spans)} points"
    numbers = {"points": median(spans), "fitted": len(fitted), "runs": len(runs)}
    verdict = settled(spans, at_most=3 - 1e-9)  # less than 3: differences of accuracies are rounded
    return Judgement(subject, verdict, told, numbers, runs=fitted)


def _fits(run: Finished) -> bool:
    return run.last("accuracy", "network") >= FITTED


def _of_seeds(runs: Runs) -> Mapping[int, list[Finished]]:
    seeds = dict.fromkeys(run.recipe.seed for run in runs)
    return {seed: [run for run in runs if run.recipe.seed == seed] for seed in seeds}


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
        "little",
        "The fall of the rank has little effect on test accuracy.",
        "Among the runs of a seed whose training accuracy is at least 99.9 %, which are to be half of them or more, "
        "test accuracy varies by less than 3 points, median over seeds.",
        over(little_effect),
        ours=True,
    ),
)

_MIDDLE = {"momentum": 0.0, "decay": 0.03, "decays": (0.0, 0.005, 0.01, 0.02, 0.03)}
_SAME_EPOCHS = "All runs of a data set have the same number of epochs, so that small batches take more steps."
_PUBLISHED = (
    "What could be read of the paper's experiments are their kinds: multilayer perceptrons, residual, VGG and vision "
    "transformer networks over batch size, rate and decay; their sizes and epochs are ours."
)
SCALES: dict[Any, Scale] = {
    "smoke": Scale(
        "a plain two-layer network on 200 digits, 14 settings",
        ("digits",),
        ("mlp",),
        (0, 1, 2),
        ("Digits of 8 x 8 pixels, 20 a class, so that it takes seconds.", _SAME_EPOCHS),
        _MIDDLE
        | {"per_class": 20, "test_per_class": None, "epochs": 60, "width": 32, "depth": 2, "batch": 2}
        | {"batches": (1, 2, 4, 8, 16), "rate": 0.1, "rates": (0.01, 0.03, 0.06, 0.1, 0.15)},
    ),
    "laptop": Scale(
        "a plain three-layer network on 500 images of MNIST and of CIFAR-10, 17 settings",
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
        | {"batches": (2, 4, 8, 16, 32), "rate": 0.03, "rates": (0.003, 0.01, 0.02, 0.03, 0.05)},
    ),
    "gpu": Scale(
        "plain fully connected and residual networks on MNIST and CIFAR-10, 17 settings",
        ("mnist", "cifar10"),
        ("mlp", "resnet18"),
        (0, 1, 2),
        ("500 training images a class.", _SAME_EPOCHS, _PUBLISHED),
        {"momentum": 0.9, "rate": 0.02, "decay": 2e-3, "decays": (0.0, 2e-4, 5e-4, 1e-3, 2e-3)}
        | {"per_class": 500, "test_per_class": None, "epochs": 100, "width": 256, "depth": 4, "batch": 16}
        | {"batches": (4, 8, 16, 32, 64), "rates": (0.002, 0.005, 0.01, 0.02, 0.03)},
    ),
    "paper": Scale(
        "plain fully connected, VGG and residual networks on MNIST and CIFAR-10 as a whole, 17 settings",
        ("mnist", "cifar10"),
        ("mlp", "vgg16", "resnet18"),
        (0, 1, 2, 3, 4),
        (_SAME_EPOCHS, "No vision transformer.", _PUBLISHED),
        {"momentum": 0.9, "rate": 0.05, "decay": 5e-4, "decays": (0.0, 1e-4, 2e-4, 5e-4, 1e-3)}
        | {"per_class": None, "test_per_class": None, "epochs": 500, "width": 512, "depth": 5, "batch": 32}
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
