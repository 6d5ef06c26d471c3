"""Exploring deep neural networks via the layer-peeled model: minority collapse :cite:`fang2021`.

The paper peels a network down to its last features and classifier, both of bounded length. With balanced classes the
optimum is a simplex ETF. With imbalanced ones the classifiers of the small classes close up as the imbalance grows, and
beyond a finite ratio they coincide: the network can no longer tell small classes apart. Showing the small classes more
often undoes it. Here networks stand beside the model's exact answer at the budgets measured in them.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from deepcollapse.records.study import Judgement, Verdict, worst
from deepcollapse.studies.charts.minority import show
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_VALUES, exceeds, median, middle, settled, spearman
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.of_tables import each_group
from deepcollapse.studies.judging.subjects import by_subject, each
from deepcollapse.studies.measured import minority_model as model
from deepcollapse.studies.measured.class_accuracy import NAME as OF_EACH_CLASS
from deepcollapse.studies.measured.minority_runs import (
    Runs,
    by_seed,
    decay_of,
    majority_accuracy,
    minority_accuracy,
    minority_cosine,
    of_decays,
    of_ratios,
    of_times,
    over,
    predicted_cosine,
    predicted_threshold,
)
from deepcollapse.studies.study import Scale, Study
from deepcollapse.training.recipe import Recipe

# ---------------------------------------------------------------- what is trained


def recipes(scale: Scale) -> list[Recipe]:
    """Each network over class ratios, over weight decays at one ratio, and over how often the minority is seen."""
    found: list[Recipe] = []
    for dataset in scale.datasets:
        for network in scale.networks:
            for seed in scale.seeds:
                base = replace(_base(scale, dataset, network), seed=seed, imbalance="step", minority=5)
                largest = float(max(scale["ratios"]))
                found += [replace(base, ratio=float(ratio)) for ratio in scale["ratios"]]
                found += [replace(base, decay=decay, ratio=float(scale["decay_ratio"])) for decay in scale["decays"]]
                found += [replace(base, ratio=largest, oversample=times) for times in scale["times"]]
    return list(dict.fromkeys(found))


def _base(scale: Scale, dataset: str, network: str) -> Recipe:
    own = {} if dataset == "digits" and not scale["published"] else scale["recipe"]
    base = replace(DIGITS if dataset == "digits" and not scale["published"] else Recipe(), **own)
    base = replace(base, dataset=dataset, decay=decay_of(scale, dataset), measurements=scale["measurements"])
    if network in ("vgg", "vgg11", "vgg13") and scale["published"]:
        # Two wide layers of features follow the convolutions, as in the authors' code.
        named = {"fashion-mnist": "vgg11", "cifar10": "vgg13"}.get(dataset, "vgg13") if network == "vgg" else network
        return replace(base, network=named, parameters=("hidden=[4096, 4096]",))
    if network == "mlp":
        return replace(base, network="mlp", width=scale["width"], depth=3, layers=("blocks.2",))
    return replace(base, network=network)


DIGITS = Recipe(epochs=45, per_class=40, batch=64)
PUBLISHED = {"epochs": 350, "rate": 0.1, "batch": 128, "standardise": "channels"}

# ---------------------------------------------------------------- what is claimed

NO_RUN = "no run came to its end"
NetworkJudge = Callable[[Scale, str, Runs], Judgement]


def with_networks(evidence: Evidence, judge: NetworkJudge) -> tuple[Judgement, ...]:
    """The judgement of each data set with each network."""
    if not evidence.runs:
        raise MissingEvidence(NO_RUN)
    return each(by_subject(evidence), partial(judge, evidence.scale))


def beside_model(
    of_model: Callable[[Evidence], Judgement], judge: NetworkJudge
) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of the model's own statement and of networks; what one of them lacks hinders not the other."""

    def judged(evidence: Evidence) -> Iterable[Judgement]:
        yield from each_group({model.MODEL: evidence}, lambda _, whole: of_model(whole))
        if evidence.runs:
            yield from with_networks(evidence, judge)
        else:  # what holds in closed form says nothing of networks
            yield Judgement("networks", "not tested", "", why=NO_RUN)

    return judged


def _network_etf(scale: Scale, subject: str, runs: Runs) -> Judgement:
    balanced = of_ratios(scale, runs).get(1.0, [])
    off = [run.last("maximal_angle_classifier", "head") for run in balanced]
    told = f"mean |cos + 1/(C-1)| of the classifier {middle(off)}" if off else ""
    return Judgement(subject, settled(off, at_most=0.1), told, {"distance": median(off), "seeds": len(off)})


def _rise(scale: Scale, subject: str, runs: Runs) -> Judgement:
    chosen = [run for found in of_ratios(scale, runs).values() for run in found]
    correlations = _with_cosine(chosen, "ratio", "class ratios")
    first, last = (median(cosines) for cosines in _ends(scale, runs, minority_cosine))
    told = f"correlation of cosine and ratio {middle(correlations)}; cosine from {_three(first)} to {_three(last)}"
    numbers = {"correlation": median(correlations), "first": first, "last": last, "seeds": len(correlations)}
    return Judgement(subject, settled(correlations, at_least=0.9), told, numbers)


def _with_cosine(runs: Runs, setting: str, called: str) -> list[float]:
    """The rank correlation of minority cosine and a setting for each seed, over what has a cosine."""
    found = []
    for own in by_seed(runs).values():
        points = [(getattr(run.recipe, setting), cosine) for run in own if (cosine := minority_cosine(run)) == cosine]
        if len(points) < FEWEST_VALUES:
            raise MissingEvidence(f"the criterion is for at least {FEWEST_VALUES} {called}, and {len(points)} came out")
        found.append(spearman([at for at, _ in points], [cosine for _, cosine in points]))
    return found


def _ends(scale: Scale, runs: Runs, measured: Callable[[Finished], float]) -> tuple[list[float], list[float]]:
    """What was measured at the smallest ratio and at the largest, by seed."""
    groups = of_ratios(scale, runs)
    ends = [float(end(scale["ratios"])) for end in (min, max)]
    if missing := [f"{ratio:g}" for ratio in ends if ratio not in groups]:
        raise MissingEvidence(f"no run at class ratio {' or '.join(missing)} came to its end, and both ends are needed")
    first, last = (groups[ratio] for ratio in ends)
    return [measured(run) for run in first], [measured(run) for run in last]


def _network_threshold(scale: Scale, subject: str, runs: Runs) -> Judgement:
    groups = of_ratios(scale, runs)
    ratio = float(max(scale["ratios"]))
    if ratio not in groups:
        raise MissingEvidence(f"no run at the largest class ratio, {ratio:g}, came to its end")
    last = groups[ratio]
    cosines, means = ([minority_cosine(run, of) for run in last] for of in ("classifier", "means"))
    model, threshold = median([*map(predicted_cosine, last)]), median([*map(predicted_threshold, last)])
    told = (
        f"cosine at R = {ratio:g} {middle(cosines)}, of class means {middle(means)}; the model at the measured budgets "
        f"expects {_three(model)}, and 1 from R0 = {_three(threshold)} on"
    )
    numbers = {"cosine": median(cosines), "means": median(means), "predicted": model, "R0": threshold, "ratio": ratio}
    return Judgement(subject, settled(cosines, at_least=0.9), told, numbers)


def _accuracy(scale: Scale, subject: str, runs: Runs) -> Judgement:
    first, last = _ends(scale, runs, minority_accuracy)
    others = median(_ends(scale, runs, majority_accuracy)[1])
    start = median(first)
    if not start:
        raise MissingEvidence("the network tells no minority class even where classes are balanced")
    shares = [value / start for value in last]
    told = f"minority accuracy {middle(first)} balanced, {middle(last)} at the largest ratio; majority {_three(others)}"
    numbers = {"balanced": start, "largest ratio": median(last), "majority": others, "seeds": len(last)}
    return Judgement(subject, settled(shares, at_most=0.5), told, numbers)


def _network_decay(scale: Scale, subject: str, runs: Runs) -> Judgement:
    chosen = of_decays(scale, runs)
    correlations = _with_cosine(chosen, "decay", "decays")
    cosines = ", ".join(
        f"{_three(median([*map(minority_cosine, found)]))} at {decay:g}"
        for decay, found in over(chosen, "decay").items()
    )
    told = f"correlation of cosine and decay at R = {scale['decay_ratio']:g} {middle(correlations)}; cosine {cosines}"
    numbers = {"correlation": median(correlations), "seeds": len(correlations)}
    return Judgement(subject, settled(correlations, at_least=0.8), told, numbers)


def _network_oversampled(scale: Scale, subject: str, runs: Runs) -> Judgement:
    groups = of_times(scale, runs)
    if not scale["times"]:
        raise MissingEvidence("nothing was over-sampled")
    times = max(scale["times"])
    if missing := [str(ends) for ends in (1, times) if ends not in groups]:
        raise MissingEvidence(
            f"no run with minority samples seen {' or '.join(missing)} times came to its end, and both ends are needed"
        )
    once, often = groups[1], groups[times]
    cosines = [[minority_cosine(run) for run in found] for found in (once, often)]
    accuracies = [[minority_accuracy(run) for run in found] for found in (once, often)]
    verdicts: list[Verdict] = [exceeds(cosines[0], cosines[1]), exceeds(accuracies[1], accuracies[0])]
    balanced = median([minority_accuracy(run) for run in of_ratios(scale, runs).get(1.0, [])])
    told = (
        f"seen {times} times: cosine {middle(cosines[1])} in place of {middle(cosines[0])}, minority accuracy "
        f"{middle(accuracies[1])} in place of {middle(accuracies[0])}, of {_three(balanced)} with balanced classes"
    )
    numbers = {"cosine once": median(cosines[0]), "cosine often": median(cosines[1]), "balanced accuracy": balanced}
    numbers |= {"accuracy once": median(accuracies[0]), "accuracy often": median(accuracies[1]), "times": times}
    return Judgement(subject, worst(verdicts), told, numbers)


def _three(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


CLAIMS = (
    Claim(
        "etf",
        "With balanced classes, classifiers and class means are a simplex ETF.",
        "Model: all cosines -1/(K-1) to 1e-9. Network at R = 1: mean |cos + 1/(C-1)| of the classifier at most 0.1.",
        beside_model(model.balanced_classes, _network_etf),
        ours=True,
    ),
    Claim(
        "rise",
        "Classifiers of minority classes merge as the imbalance grows.",
        "Mean cosine of minority classifiers rises with the class ratio R: rank correlation at least 0.9 over at least "
        "5 ratios.",
        lambda evidence: with_networks(evidence, _rise),
        ours=True,
    ),
    Claim(
        "threshold",
        "Beyond a finite ratio they coincide.",
        "Model: cosine below 1 just below the exact R0, and 1 just above. Network: cosine at the largest R >= 0.9.",
        beside_model(model.thresholds, _network_threshold),
        ours=True,
    ),
    Claim(
        "accuracy",
        "Test accuracy of minority classes falls towards zero.",
        "Minority accuracy at the largest R at most half of its value at R = 1.",
        lambda evidence: with_networks(evidence, _accuracy),
        ours=True,
    ),
    Claim(
        "decay",
        "Stronger regularisation merges them at smaller ratios.",
        "Model: R0 falls with the budget. Network: cosine at a fixed ratio rises with weight decay, rank correlation "
        "at least 0.8 over at least 5 decays.",
        beside_model(model.smaller_budgets, _network_decay),
        ours=True,
    ),
    Claim(
        "oversample",
        "Showing minority samples R times as often undoes it.",
        "Model: cosine back at -1/(K-1) to 1e-9. Network: minority cosine falls and minority test accuracy rises "
        "beyond the spread over seeds; how far accuracy stays below that of balanced classes is shown.",
        beside_model(model.repeated_samples, _network_oversampled),
        ours=True,
    ),
)

# ---------------------------------------------------------------- how much of it

STRONG = (
    "Weight decay is 1e-2 to 6e-2 in place of 5e-4, so that networks come to the model's optimum in hundreds of steps."
)
SUBSETS = "Subsets of the training data stand for all of it, so the ratio ends at 500 in place of 1000 and infinity."
MLP = "A multilayer perceptron stands for VGG and ResNet18, which take a GPU for so many runs."
SEEDS = "The paper trains one network for each setting where we train three; verdicts are of their medians."
NO_INFINITY = "R = infinity, training without any minority sample, is left out: a data set here holds every class."
OWN = {"published": False, "recipe": {}, "measurements": 2, "decay of": {}}

SCALES = {
    "smoke": Scale(
        "The model on a coarse grid; a small MLP on part of the digits.",
        datasets=("digits",),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=("40 digits of each class and a narrow MLP stand for the data sets and networks.", STRONG),
        settings=OWN
        | {"ratio_steps": 2, "ratios": (1, 3, 8, 20, 40), "decay": 6e-2, "width": 48}
        | {"decay_ratio": 40, "decays": (5e-3, 1e-2, 2e-2, 4e-2, 6e-2), "times": (40,)},
    ),
    "laptop": Scale(
        "The model in full; MLPs on 500 images a class of MNIST and CIFAR-10, three seeds.",
        datasets=("mnist", "cifar10"),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=(MLP, SUBSETS, STRONG, SEEDS, "MNIST stands for FashionMNIST."),
        settings=OWN
        | {"recipe": {"per_class": 500, "test_per_class": 200, "epochs": 80}}
        | {"ratio_steps": 10, "ratios": (1, 3, 10, 30, 100, 500), "decay": 2e-2, "width": 128}
        | {"decay of": {"cifar10": 1e-2}}
        | {"decay_ratio": 100, "decays": (2e-3, 5e-3, 1e-2, 1.5e-2, 2e-2), "times": (10, 100, 500)},
    ),
    "gpu": Scale(
        "The model in full; ResNet18 on whole CIFAR-10 and FashionMNIST for 100 epochs, three seeds.",
        datasets=("fashion-mnist", "cifar10"),
        networks=("resnet18",),
        seeds=(0, 1, 2),
        scaled_down=(
            "100 epochs stand for 350.",
            "VGG is left out.",
            SEEDS,
            NO_INFINITY,
        ),
        settings=OWN
        | {"published": True, "recipe": PUBLISHED | {"epochs": 100}, "width": 0}
        | {"ratio_steps": 10, "ratios": (1, 10, 30, 100, 300, 1000), "decay": 5e-4}
        | {"decay_ratio": 100, "decays": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3), "times": (10, 100, 1000)},
    ),
    "paper": Scale(
        "The model in full; VGG and ResNet18 on CIFAR-10 and FashionMNIST, 350 epochs, three seeds.",
        datasets=("fashion-mnist", "cifar10"),
        networks=("vgg", "resnet18"),
        seeds=(0, 1, 2),
        scaled_down=(
            SEEDS,
            "FashionMNIST keeps its 28 x 28 pixels where the paper enlarges them to 32 x 32.",
            NO_INFINITY,
            "Ratios between those of the paper, and weight decays other than 5e-4, were added.",
            "Channels are standardised by the data's own statistics, which depend on the ratio, not by fixed ones.",
        ),
        settings=OWN
        | {"published": True, "recipe": PUBLISHED, "width": 0}
        | {"ratio_steps": 10, "ratios": (1, 10, 30, 100, 300, 1000), "decay": 5e-4}
        | {"decay_ratio": 100, "decays": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3), "times": (10, 100, 1000)},
    ),
}

STUDY = Study(
    name="fang2021",
    title="Minority collapse in the layer-peeled model and in networks",
    citation="fang2021",
    summary="Classifiers of small classes close up as the imbalance grows and coincide beyond a finite ratio.",
    scales=SCALES,  # pyright: ignore[reportArgumentType]
    claims=CLAIMS,
    recipes=recipes,
    afterwards=OF_EACH_CLASS,
    computations=model.COMPUTATIONS,
    show=show,
)
