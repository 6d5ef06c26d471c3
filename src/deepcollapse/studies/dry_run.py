"""What a study would cost here: everything is built, one step of each network is run, and nothing is trained."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from deepcollapse.datasets import DATASETS
from deepcollapse.datasets.dataset import Dataset
from deepcollapse.errors import DataFileError, DeepCollapseError, MissingExtraError
from deepcollapse.studies.study import Scale, Study
from deepcollapse.sweeps.data import Shelf
from deepcollapse.training.data import Splits
from deepcollapse.training.loop import build_network
from deepcollapse.training.objective import logits_of, loss_function, optimiser
from deepcollapse.training.place import Place, multiply_adds
from deepcollapse.training.recipe import Recipe

# A step of more multiply-adds is timed on fewer samples: it would take minutes, or more memory than there is.
STEP = 20_000_000_000
# Beside its two forward passes, what training adds: a backward pass costs about two of them.
FORWARD_SHARE = 1 / 3
# What a measurement costs, in passes over the data.
MEASUREMENT = 2
# Beside the data and the network, what decides how long a run takes.
TIMED = ("per_class", "batch", "epochs", "optimiser")


@dataclass(frozen=True)
class Cost:
    """What runs of one network on one data set take: how many there are, seconds each, and the network's size.

    `network` says what was asked of it, and the settings in which runs of the study differ that take their time.
    `note` says what was not as it would be: data that are not here, a step of fewer samples.
    """

    dataset: str
    network: str
    runs: int
    parameters: int
    samples: int
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """The cost of a study's runs and of its computations (by name, in seconds; None where it cannot be told)."""

    costs: tuple[Cost, ...]
    computations: dict[str, float | None]
    device: str

    @property
    def seconds(self) -> float:
        """All of it, one run after another."""
        runs = sum(cost.runs * cost.seconds for cost in self.costs)
        return runs + sum(seconds or 0.0 for seconds in self.computations.values())


def dry_run(
    study: Study, scale: Scale, shelf: Shelf, device: str | None = None, threads: int | None = None
) -> Estimate:
    """Build every kind of run of a study, run one step of each, and say what the whole would take.

    A data set that is not here is stood in for by noise of its shape. Raises the errors of networks and devices.
    """
    recipes = dict.fromkeys(study.recipes(scale))
    differing = [name for name in TIMED if len({getattr(recipe, name) for recipe in recipes}) > 1]
    kinds: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in recipes:
        kinds.setdefault((recipe.dataset, _words(recipe, differing)), []).append(recipe)
    costs = tuple(_cost(words, alike, shelf, device, threads) for (_, words), alike in kinds.items())
    computations = {one.name: one.cost(scale) if one.cost else None for one in study.computations}
    return Estimate(costs, computations, str(Place.choose(next(iter(recipes), Recipe()), device).device))


def _cost(words: str, alike: Sequence[Recipe], shelf: Shelf, device: str | None, threads: int | None) -> Cost:
    recipe, notes = alike[0], []
    try:
        splits = shelf.of(recipe)
        samples = len(splits.train) if isinstance(splits.train, Dataset) else recipe.batch  # a user's own may not say
    except (DataFileError, MissingExtraError):
        if recipe.dataset not in DATASETS:
            raise
        splits, samples = _noise(recipe), _samples(recipe)
        notes.append("data not here: see --data-root, --download")
    network = build_network(recipe, splits)
    place = Place.choose(recipe, device)
    place = place.with_threads(threads or place.threads)
    batch, each = _timed_step(recipe, splits, network, place)
    if batch < min(recipe.batch, samples):
        notes.append(f"a step of {batch} samples, for {recipe.batch}")
    tests = 0 if splits.test is None else _count(splits.test)
    looks = (samples + tests) * each * FORWARD_SHARE
    measured = len(recipe.measured_epochs())
    seconds = recipe.epochs * (samples * each + looks) + measured * MEASUREMENT * looks
    size = sum(parameter.numel() for parameter in network.parameters())
    return Cost(recipe.dataset, words, len(alike), size, samples, seconds, "; ".join(notes))


def _timed_step(recipe: Recipe, splits: Splits, network: torch.nn.Module, place: Place) -> tuple[int, float]:
    """How many samples a step was timed on, and its seconds a sample: the faster of two where they are quick."""
    images, labels = next(iter(splits.train.batches(recipe.batch)))
    work = multiply_adds(network, images[:2]) / len(images[:2])
    batch = min(len(images), max(2, int(STEP / max(1, work)))) if place.device.type == "cpu" else len(images)
    network, loss = place.settle(network).train(), loss_function(recipe)
    optimising, seconds = optimiser(recipe, network), []
    with place:
        for x, y in place.batches([(images[:batch], labels[:batch])] * 2):
            start = time.perf_counter()
            optimising.zero_grad()
            loss(logits_of(network(x)), y).backward()
            optimising.step()
            if place.device.type == "cuda":
                torch.cuda.synchronize(place.device)
            seconds.append(time.perf_counter() - start)
            if seconds[0] > 5:
                break
    return batch, min(seconds) / batch


def _noise(recipe: Recipe) -> Splits:
    """A batch of noise of the data set's shape."""
    facts = DATASETS[recipe.dataset]
    if facts.shape is None:
        raise DeepCollapseError(
            f"the images of {recipe.dataset} have no fixed shape, so nothing can stand in for them."
        )
    count = min(recipe.batch, 256)
    noise = torch.randint(256, (count, *facts.shape), dtype=torch.uint8)
    train = Dataset(recipe.dataset, "train", noise, torch.arange(count) % facts.num_classes, facts.class_names)
    return Splits(train, None, untested="noise stands in for the data")


def _samples(recipe: Recipe) -> int:
    facts = DATASETS[recipe.dataset]
    return recipe.per_class * facts.num_classes if recipe.per_class else facts.sizes["train"]


def _count(split: object) -> int:
    return len(split) if isinstance(split, Dataset) else 0


def _words(recipe: Recipe, differing: Sequence[str]) -> str:
    """The network with what was asked of it, and the values of these settings."""
    given = recipe.network_parameters() | {name: getattr(recipe, name) for name in differing}
    return " ".join([recipe.network, *(f"{name}={value}" for name, value in given.items())])
