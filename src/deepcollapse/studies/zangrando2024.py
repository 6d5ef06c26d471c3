"""Neural rank collapse: weight decay and within-class variability, together, lower the rank :cite:`zangrando2024`.

With weight decay lambda, a layer's weight W at a stationary point is its gradient over -lambda; where the samples of
each of K classes enter the layer as one point, that gradient has rank K at most. So the distance of W from rank K is
bounded by the total cluster variation (TCV) of what enters, over lambda; rank and variation fall together as decay
grows, and small singular values can be removed. Where a class has several modes, the modes are what counts.

The sweep trains plain networks, without normalisation, at several decays. What is said of stationary points is tested
there: smaller tanh networks on the same images are taken to them by L-BFGS.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas

from deepcollapse.records import Record
from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.charts.over_decay import (
    CUT,
    CUT_TO_K,
    VARIATION,
    show,
)
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.over_settings import alive, all_fall, points
from deepcollapse.studies.judging.stationary_points import bounded, of_stationary, proportional
from deepcollapse.studies.judging.subjects import Runs, by_subject, each
from deepcollapse.studies.measured import stationary_networks as stationary
from deepcollapse.studies.measured.initial_weights import left_at_ends, left_of
from deepcollapse.studies.measured.modes import MODES, judge_modes
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.measured.truncation import cut_to_ranks
from deepcollapse.studies.study import Computation, Scale, Study, Task
from deepcollapse.sweeps.trained import Trained
from deepcollapse.training.evaluate import evaluate
from deepcollapse.training.objective import loss_function
from deepcollapse.training.recipe import Recipe

RANKS = ("rank_at_one_percent_weight", "effective_rank_weight")
DROP = 0.005 + 1e-12  # differences of accuracies are rounded


def recipes(scale: Scale) -> list[Recipe]:
    """A plain network at each decay and seed; other families than the mlp come as they are."""
    plain = {"width": scale["width"], "depth": scale["depth"], "parameters": ("batch_norm=false",)}
    return [
        Recipe(
            dataset=dataset,
            network=network,
            epochs=scale["epochs"],
            batch=scale["batch"],
            seed=seed,
            rate=scale["rates"].get(dataset, scale["rate"]),
            drops=scale["drops"],
            decay=decay,
            measurements=2,
            per_class=scale["per_class"],
            test_per_class=scale["test_per_class"],
            **(plain if network == "mlp" else {}),
        )
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
        for decay in scale["decays"]
    ]


def truncated(trained: Trained) -> Iterable[Record]:
    """The accuracy with every layer before the head cut to ranks from 1 to 3K, and what is left of initial weights."""
    yield from left_of(trained)
    k = len(trained.splits.class_names)
    ranks = sorted({1, 2, max(1, k // 2), k, k + k // 2, 2 * k, 3 * k})
    split, data = ("test", trained.splits.test) if trained.splits.test else ("train", trained.splits.train)
    loss, batches = loss_function(trained.recipe), trained.batches(data)
    for rank, network in cut_to_ranks(trained.network(), ranks):
        accuracy = evaluate(network, batches, loss).accuracy
        note = f"the weight of every layer before the head cut to its first {rank} singular values"
        where = {"layer": "network", "split": split, "weighting": "sample", "epoch": trained.recipe.epochs}
        for name in (f"{CUT}{rank}", CUT_TO_K)[: 2 if rank == k else 1]:
            yield Record(measure=name, value=accuracy, note=note, **where)


def at_stationarity(task: Task) -> pandas.DataFrame:
    """Small tanh networks at stationary points, on images of the trained runs, for each data set, seed and decay."""
    runs = {(run.recipe.dataset, run.recipe.seed): run for run in task.runs}
    names = ("width", "depth", "steps", "per_class")
    given = {name: task.scale[f"stationary_{name}"] for name in names}
    settings = [
        {"dataset": dataset, "seed": seed, "decay": decay, **given}
        for dataset, seed in runs
        for decay in task.scale["stationary_decays"]
    ]
    data: dict[tuple[str, int], Any] = {}

    def compute(setting: Mapping[str, Any]) -> dict[str, Any]:
        key = setting["dataset"], setting["seed"]
        if key not in data:
            data.clear()  # those of one seed follow each other
            data[key] = stationary.on_their_span(runs[key].trained.splits.train, setting["per_class"])
        inputs, labels = data[key]
        return stationary.bounded(inputs, labels, [stationary.classes(labels, setting["seed"])], setting)

    return stationary.by_layer(computed(task.path, settings, compute, task.progress))


def _seconds(scale: Scale) -> float:
    """About two seconds each on one core, with 200 images of MNIST's size."""
    return 2.0 * len(scale.datasets) * len(scale.seeds) * len(scale["stationary_decays"])


def of_the_living(judge: Callable[[str, Runs], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of the runs of each data set and network that are alive, which says how many are not."""

    def judged(subject: str, runs: Runs) -> Judgement:
        kept = alive(runs)
        dead = len(runs) - len(kept)
        told = f"; {dead} of {len(runs)} networks, whose weights decay took away, left out" if dead else ""
        found = judge(subject, kept)
        return replace(found, measured=found.measured + told)

    return lambda evidence: each(by_subject(evidence), judged)


def rank_falls(subject: str, runs: Runs) -> Judgement:
    """Both ranks of every hidden layer's weight, over decay."""
    layers = runs[0].layers_with(RANKS[0]) if runs else ()
    quantities = {
        f"{name.removesuffix('_weight').replace('_', ' ')} of {layer}": points(
            runs, "decay", lambda run, name=name, layer=layer: run.last(name, layer, None)
        )
        for name in RANKS
        for layer in layers
    }
    return _with_what_is_left(all_fall(subject, _some(quantities), "decay", runs), runs)


def variation_falls(subject: str, runs: Runs) -> Judgement:
    """The relative total cluster variation of every hidden layer's output, over decay."""
    layers = [layer for layer in runs[0].layers_with(VARIATION) if layer != "head.input"] if runs else []
    quantities = {
        f"relative TCV of {layer}": points(runs, "decay", lambda run, layer=layer: run.last(VARIATION, layer))
        for layer in layers
    }
    return _with_what_is_left(all_fall(subject, _some(quantities), "decay", runs), runs)


def _with_what_is_left(judged: Judgement, runs: Runs) -> Judgement:
    """In as many steps strong decay also takes more of the initial weights, which are of full rank."""
    return replace(judged, measured=judged.measured + left_at_ends(runs, "decay"))


def _some(quantities: Mapping[str, Any]) -> Mapping[str, Any]:
    if not quantities:
        raise MissingEvidence("no run kept its weights, or no hidden layer was measured")
    return quantities


def truncation_is_free(subject: str, runs: Runs) -> Judgement:
    """What a cut of every hidden layer to rank K costs, at the decay of best accuracy and without decay."""
    whole, lost = (points_of(runs, measure) for measure in ("accuracy", CUT_TO_K))
    at = max(whole, key=lambda decay: median([*whole[decay].values()]) or 0.0, default=0.0)
    if 0.0 not in whole:
        raise MissingEvidence("no run without decay to compare with")
    drops = {
        decay: {seed: whole[decay][seed] - value for seed, value in found.items()} for decay, found in lost.items()
    }
    more = [drops[0.0][seed] - drop for seed, drop in drops[at].items() if seed in drops[0.0]]
    chosen, without = [*drops[at].values()], [*drops[0.0].values()]
    verdict = worst([settled(chosen, at_most=DROP), settled(more, at_least=1e-9)])
    told = (
        f"accuracy falls by {_percent(chosen)} points at decay {at:g}, that of best accuracy, and by "
        f"{_percent(without)} points without decay"
    )
    numbers = {"decay": at, "drop": median(chosen), "drop_without_decay": median(without)}
    return Judgement(subject, verdict, told, numbers, runs=[run.name for run in runs])


def points_of(runs: Sequence[Finished], measure: str) -> dict[float, dict[int, float]]:
    """A network's measure on test data by decay and seed."""
    found: dict[float, dict[int, float]] = {}
    for run in runs:
        found.setdefault(run.recipe.decay, {})[run.recipe.seed] = run.last(measure, "network", "test")
    return found


def _percent(drops: Sequence[float]) -> str:
    return middle([100 * drop for drop in drops])


CLAIMS = (
    Claim(
        "rank-decay",
        "As weight decay grows, the rank of each layer falls.",
        "The number of singular values above 1 % of the first and the effective rank of every hidden layer's weight "
        "fall with decay: rank correlation at most -0.8 over at least five decays, median over seeds.",
        of_the_living(rank_falls),
    ),
    Claim(
        "tcv-decay",
        "As weight decay grows, so does the collapse of hidden layers: their total cluster variation falls.",
        "The relative total cluster variation of every hidden layer's output falls with decay: rank correlation at "
        "most -0.8 over at least five decays, median over seeds.",
        of_the_living(variation_falls),
        ours=True,
    ),
    Claim(
        "bound",
        "The distance of a layer's weight to rank K is bounded through total cluster variation and decay.",
        "The distance is at most each of three bounds, with what is left of the gradient added, at every layer of "
        "every network whose relative residual is below 0.01, of at least 3 seeds.",
        of_stationary(bounded),
    ),
    Claim(
        "proportional",
        "Rank collapse is proportional to within-class variability.",
        "At layers whose relative residual is below 0.01 and whose distance to rank K can be told (it is more than the "
        "residual and a millionth, times the weight; they are to be half of them or more) the slope of the log "
        "distance over log TCV / decay, all hidden layers and decays together, lies between 0.5 and 1.5, with a "
        "correlation of at least 0.8.",
        of_stationary(proportional),
        ours=True,
    ),
    Claim(
        "truncate",
        "Removing small singular values after training keeps performance.",
        "With every hidden layer cut to rank K, test accuracy falls by at most 0.5 points at the decay of best "
        "accuracy, and the same cut costs more without decay.",
        of_the_living(truncation_is_free),
    ),
    Claim(
        "modes",
        "Where a class has several modes, rank follows the modes and not the classes.",
        "Parity of three bits, classes of four modes each, at stationary points: as samples gather at their modes, the "
        "relative distance to rank K(classes) stays (at least half of what it was, and 0.2), that to rank K(modes) is "
        "at most 0.01, and so is its bound.",
        judge_modes,
        ours=True,
    ),
)  # fmt: skip

_STATIONARY = {"width": 24, "depth": 3, "steps": 1000, "per_class": 20, "decays": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)}
_AT_STATIONARITY = {f"stationary_{name}": value for name, value in _STATIONARY.items()}
_DECAYS = (0.0, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
_SMALL = (
    "The stationary points are those of small tanh networks on 10 or 20 images a class: L-BFGS takes all data at "
    "every step."
)
_UNKNOWN = (
    "The paper's data sets, networks and training could be read in its abstracts alone: fully connected and "
    "convolutional networks on MNIST and CIFAR-10, of unstated size."
)
_FADED = (
    "All decays have the same number of epochs, so that with strong decay less is left of the initial weights, too: "
    "what of the fall of rank is due to that is not told apart."
)
_THIRDS = (1 / 3, 2 / 3)

SCALES: dict[Any, Scale] = {
    "smoke": Scale(
        "plain three-layer networks on 400 digits at five decays",
        ("digits",),
        ("mlp",),
        (0, 1, 2),
        ("Digits of 8 x 8 pixels in place of MNIST and CIFAR-10, so that it takes seconds.", _SMALL, _FADED),
        {"rate": 0.1, "rates": {}, "drops": _THIRDS,
         "per_class": 40, "test_per_class": None, "epochs": 60, "batch": 64, "width": 48, "depth": 3,
         "decays": (0.0, 5e-3, 1e-2, 2e-2, 3e-2), **(_AT_STATIONARITY | {"stationary_per_class": 10})},
    ),
    "laptop": Scale(
        "plain three-layer networks on 1000 images of MNIST and of CIFAR-10 at six decays",
        ("mnist", "cifar10"),
        ("mlp",),
        (0, 1, 2),
        (
            "100 training and 100 test images a class in place of whole data sets, a subset drawn by each seed.",
            "Fully connected networks of width 128 alone, whose runs go through one program: convolutional ones take "
            "hours on two cores.",
            _SMALL,
            _FADED,
            _UNKNOWN,
        ),
        {"rate": 0.05, "rates": {"cifar10": 0.02}, "drops": (2 / 3, 5 / 6),
         "per_class": 100, "test_per_class": 100, "epochs": 300, "batch": 100, "width": 128, "depth": 3,
         "decays": _DECAYS, **_AT_STATIONARITY},
    ),
    "gpu": Scale(
        "plain fully connected, VGG and residual networks on MNIST and CIFAR-10 at six decays",
        ("mnist", "cifar10"),
        ("mlp", "vgg11", "resnet18"),
        (0, 1, 2),
        ("60 epochs, enough for zero error.", "VGG and residual networks have batch norm, before which decay leaves no "
         "stationary point.", _SMALL, _FADED, _UNKNOWN),
        {"rate": 0.05, "rates": {}, "drops": _THIRDS,
         "per_class": None, "test_per_class": None, "epochs": 60, "batch": 128, "width": 256, "depth": 4,
         "decays": (0.0, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3), **_AT_STATIONARITY},
    ),
    "paper": Scale(
        "fully connected, VGG and residual networks on MNIST and CIFAR-10 at seven decays, trained for long",
        ("mnist", "cifar10"),
        ("mlp", "vgg16", "resnet18"),
        (0, 1, 2, 3, 4),
        (_UNKNOWN, _SMALL, _FADED),
        {"rate": 0.05, "rates": {}, "drops": _THIRDS,
         "per_class": None, "test_per_class": None, "epochs": 200, "batch": 128, "width": 512, "depth": 5,
         "decays": (0.0, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3), **_AT_STATIONARITY},
    ),
}  # fmt: skip

STUDY = Study(
    name="zangrando2024",
    title="Neural rank collapse: weight decay and small within-class variability yield low-rank bias",
    citation="zangrando2024",
    summary="Singular values and total cluster variation by layer over weight decay, bound against measured distance "
    "to rank K, truncation after training.",
    scales=SCALES,
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.zangrando2024:truncated",
    computations=(Computation("stationary", at_stationarity, _seconds), MODES),
    show=show,
)
