"""Prevalence of neural collapse during the terminal phase of deep learning training :cite:`papyan2020`.

Once the training error is zero and training goes on, the features of each class shrink to their mean (NC1), the class
means form a simplex equiangular tight frame (NC2), the classifier aligns with them (NC3), and the network decides for
the nearest class mean (NC4); meanwhile test accuracy and robustness still improve. The paper shows it for three
families of networks on seven data sets, each at the best of 25 learning rates.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy

from deepcollapse.records.charts import Axis, Chart, Curve, Panel, Shown
from deepcollapse.records.study import Judgement
from deepcollapse.studies.charts.collapse import (
    ACCURACY,
    ANGLES,
    LOSS,
    NC1,
    NC3,
    NC4_TEST,
    NC4_TRAIN,
    NORMS,
    ROBUSTNESS,
    TRAINED_LOSS,
    WIDEST,
    accuracy_table,
    collapse_charts,
)
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.subjects import Runs, by_subject, each, together
from deepcollapse.studies.judging.terminal_phase import (
    FEWEST_EPOCHS,
    all_fall,
    changes,
    falls,
    in_phase,
    onset_and_end,
)
from deepcollapse.studies.measured.published_collapse import DATASETS, FAMILIES, learning_rates, published
from deepcollapse.studies.study import Scale, ScaleName, Study
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.records import Record
    from deepcollapse.sweeps.trained import Trained

IMAGES = 100  # that DeepFool perturbs, as published
CANDIDATES = 9  # classes beside the decided one that DeepFool considers, as its authors' code does

# ---------------------------------------------------------------- what is trained


def recipes(scale: Scale) -> Sequence[Recipe]:
    """A recipe for each data set, network, learning rate and seed."""
    found = []
    for dataset in scale.datasets:
        for network in scale.networks:
            base = published(dataset, network) if scale["published"] else _small(scale, dataset, network)
            rates = learning_rates(dataset) if scale["all_rates"] else (base.rate,)
            found += [replace(base, rate=rate, seed=seed) for rate in rates for seed in scale.seeds]
    return found


def _small(scale: Scale, dataset: str, network: str) -> Recipe:
    """A set-up for a machine without a GPU: narrow networks, subsets, and decay that works in fewer steps."""
    network = ("mlp" if dataset in GREY else "resnet") if network == "auto" else network
    if network == "mlp":
        return replace(MLP, dataset=dataset, **(scale["mlp"] | (scale["digits"] if dataset == "digits" else {})))
    found = replace(CONVOLUTIONAL, dataset=dataset, network=NARROW.get(network, network), **scale["convolutional"])
    return found if network == "resnet" else replace(found, width=NARROW_WIDTH if network == "vgg" else None)


GREY = ("digits", "mnist", "fashion-mnist", "kmnist", "mnist1d")
NARROW, NARROW_WIDTH = {"vgg": "vgg11", "densenet": "densenet40"}, 16
MLP = Recipe(network="mlp", depth=4, decay=5e-3)
CONVOLUTIONAL = Recipe(network="resnet", width=12, rate=0.03, decay=1e-2, batch=25, drops=(0.5, 0.8))


def robustness_at_onset_and_end(trained: "Trained") -> Iterable["Record"]:
    """The mean relative norm of DeepFool's perturbations of 100 test images, at TPT onset and at the end."""
    import torch

    from deepcollapse.measurement.robustness import robustness

    split = trained.splits.test
    if split is None:
        return
    onset = Finished.at(trained.recipe, trained.run.path).onset
    at_onset = trained.network_at_onset()
    for epoch, network in ((onset, at_onset), (trained.recipe.epochs, trained.network())):
        if network is not None:
            # The same images for both networks, drawn anew for each seed: those of a subset come class by class.
            order = torch.Generator().manual_seed(trained.recipe.seed)
            images = trained.place.batches(split.batches(IMAGES, generator=order))
            found = robustness(network, images, limit=IMAGES, candidates=CANDIDATES)
            yield replace(found.record("test"), epoch=epoch)


# ---------------------------------------------------------------- what is claimed


def best_rates(evidence: Evidence) -> dict[str, Runs]:
    """The runs of each subject at its best learning rate, without the subjects of which that is not known."""
    kept = {}
    for subject, runs in by_subject(evidence).items():
        with suppress(MissingEvidence):
            kept[subject] = at_best_rate(runs)
    return kept


def at_best_rate(runs: Runs) -> Runs:
    """The runs at the learning rate of the best test accuracy at the last epoch.

    Rates at which some seeds came to nothing, or to no test accuracy, are passed over where others have more to show.
    Raises MissingEvidence where there are several rates and none has a test accuracy.
    """
    rates = _by_rate(runs)
    if len(rates) == 1:
        return runs
    accuracies = {rate: _last_accuracies(found) for rate, found in rates.items()}
    if not any(accuracies.values()):
        raise MissingEvidence("no run has a test accuracy, and the learning rate is chosen by it")
    return rates[max(rates, key=lambda rate: (len(accuracies[rate]), sum(accuracies[rate])))]


def _by_rate(runs: Runs) -> dict[float, list[Finished]]:
    rates: dict[float, list[Finished]] = {}
    for run in runs:
        rates.setdefault(run.recipe.rate, []).append(run)
    return rates


def _last_accuracies(runs: Runs) -> list[float]:
    """Test accuracies at the last epoch, of the runs that have one."""
    return [value for run in runs if (value := ACCURACY.at(run, run.recipe.epochs)) is not None]


def _over(judge: Callable[[str, Runs], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of every subject's terminal phase at its best learning rate."""
    return lambda evidence: each(
        by_subject(evidence), lambda subject, runs: in_phase(subject, at_best_rate(runs), judge)
    )


def _difference(onset: float, end: float) -> float:
    return end - onset


def _zero_error(subject: str, runs: Runs) -> Judgement:
    judged = changes(subject, runs, TRAINED_LOSS, _ratio, "trained loss end/onset", at_most=0.8)
    alone = [_ratio(*onset_and_end(run, LOSS)) for run in runs]
    told = f"{judged.measured}; cross-entropy alone end/onset {middle(alone)}"
    return replace(judged, measured=told, numbers={**judged.numbers, "cross-entropy end/onset": median(alone)})


def _ratio(onset: float, end: float) -> float:
    return end / onset if onset else math.nan


def _nearest_mean(subject: str, runs: Runs) -> Judgement:
    test = changes(subject, runs, NC4_TEST, _difference, "change", at_most=0)
    train = falls(subject, runs, NC4_TRAIN)
    ends = [onset_and_end(run, NC4_TRAIN)[1] for run in runs]
    watched = all(sum(NC4_TRAIN.series(run).index >= run.onset) >= FEWEST_EPOCHS for run in runs)
    if watched and settled(ends, at_most=0) == "holds":
        train = Judgement(subject, "holds", "0 at the end", {"end": 0.0})
    return together(subject, {"test": test, "train": train})


def _accuracy(subject: str, runs: Runs) -> Judgement:
    return changes(subject, runs, ACCURACY, _difference, "change", at_least=0)


def _robust(subject: str, runs: Runs) -> Judgement:
    more_than_nothing = float(numpy.nextafter(0, 1))
    return changes(subject, runs, ROBUSTNESS, _difference, "change", at_least=more_than_nothing)


FALLS = "falls from TPT onset on: rank correlation with the epoch <= -0.5 and end/onset <= 0.5, in the median of seeds"

CLAIMS = (
    Claim(
        "tpt",
        "Training error reaches zero, and the loss goes on falling at zero error.",
        "Cross-entropy with its decay term at the end is at most 0.8 times that at TPT onset, which is the first epoch "
        "with a training accuracy of at least 99.9 % (ImageNet: 99.6 %).",
        _over(_zero_error),
        "figures",
        ours=True,
    ),
    Claim(
        "nc1",
        "Within-class variability collapses during the terminal phase.",
        f"NC1 {FALLS}.",
        _over(lambda subject, runs: all_fall(subject, runs, [NC1])),
        "Fig. 6",
        ours=True,
    ),
    Claim(
        "nc2-norm",
        "Class means and classifiers become equally long.",
        f"The coefficient of variation of the norms {FALLS}; of both.",
        _over(lambda subject, runs: all_fall(subject, runs, NORMS)),
        "Fig. 2",
        ours=True,
    ),
    Claim(
        "nc2-angle",
        "Class means and classifiers become equiangular.",
        f"The standard deviation of the cosines {FALLS}; of both.",
        _over(lambda subject, runs: all_fall(subject, runs, ANGLES)),
        "Fig. 3",
        ours=True,
    ),
    Claim(
        "nc2-max",
        "Class means and classifiers reach the widest angle that so many vectors can all have.",
        f"The mean distance of the cosines from -1/(C-1) {FALLS}; of both.",
        _over(lambda subject, runs: all_fall(subject, runs, WIDEST)),
        "Fig. 4",
        ours=True,
    ),
    Claim(
        "nc3",
        "Classifier and class means align.",
        f"NC3, the squared distance between both as matrices of norm 1, {FALLS}.",
        _over(lambda subject, runs: all_fall(subject, runs, [NC3])),
        "Fig. 5",
        ours=True,
    ),
    Claim(
        "nc4",
        "The network comes to decide for the nearest class mean.",
        f"Its disagreement with that rule on test data is no larger than at TPT onset, and on training data {FALLS}, "
        "or is 0 after at least 3 measured epochs of that phase.",
        _over(_nearest_mean),
        "Fig. 7",
        ours=True,
    ),
    Claim(
        "accuracy",
        "Test accuracy improves in the terminal phase.",
        "Test accuracy at the end is at least that at TPT onset, in the median of seeds.",
        _over(_accuracy),
        "+0.35 points in the median; 3 of 21 decline",
    ),
    Claim(
        "robust",
        "So does robustness against adversarial perturbations.",
        "The mean relative norm of DeepFool's perturbations is larger than at TPT onset, in the median of seeds.",
        _over(_robust),
        "+0.025 in the median",
    ),
)

# ---------------------------------------------------------------- what is shown


def show(evidence: Evidence) -> Iterable[Shown]:
    """Figures 1 to 8 and Table 1, the loss, and the learning rates where several were tried."""
    subjects = best_rates(evidence)
    yield from collapse_charts(subjects)
    yield accuracy_table(subjects)
    if any(len({run.recipe.rate for run in runs}) > 1 for runs in by_subject(evidence).values()):
        yield _rates(by_subject(evidence))


def _rates(subjects: Mapping[str, Runs]) -> Chart:
    panels = []
    for subject, runs in subjects.items():
        rates = sorted({run.recipe.rate for run in runs})
        accuracies = [_last_accuracies(_by_rate(runs)[rate]) for rate in rates]
        errors = [1 - float(numpy.mean(found)) if found else None for found in accuracies]
        curve = Curve("mean over seeds", rates, errors)
        panels.append(Panel(subject, Axis("learning rate", log=True), Axis("test error at the last epoch"), [curve]))
    return Chart("Learning rates", panels, says="Each subject is judged at its best rate.")


# ---------------------------------------------------------------- how much of it

REAL_IMAGES = "Subsets and narrow networks stand for whole data sets and the paper's networks, which take a GPU."
DECAY = "Weight decay is 5e-3 to 1e-2 in place of 5e-4, so that collapse shows in hundreds of steps, not 100,000."
RATE = "One learning rate stands for the best of 25."
LATER = (
    "Convolutional networks drop it at 1/2 and 4/5 of training, not at 1/3 and 2/3: in so few steps collapse needs it."
)
SEEDS = "The paper trains one network where we train three; verdicts are of their medians."
OWN: dict[str, object] = {"published": False, "all_rates": False}

SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        "A small MLP on part of the digits, three seeds.",
        datasets=("digits",),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=(
            "20 digits of each class and an MLP of width 64 stand for the data sets and networks.",
            DECAY,
            RATE,
        ),
        settings=OWN
        | {
            "mlp": {"width": 64, "decay": 1e-2, "epochs": 150, "measurements": 14, "layers": ("blocks.3",)},
            "digits": {"per_class": 20, "test_per_class": 30, "batch": 40},
            "convolutional": {"per_class": 20, "test_per_class": 20, "epochs": 30, "measurements": 12},
        },
    ),
    "laptop": Scale(
        "An MLP on digits and MNIST and a small residual network on CIFAR-10, subsets of each, three seeds.",
        datasets=("digits", "mnist", "cifar10"),
        networks=("auto",),
        seeds=(0, 1, 2),
        scaled_down=(REAL_IMAGES, DECAY, RATE, LATER),
        settings=OWN
        | {
            "mlp": {"per_class": 300, "test_per_class": 200, "epochs": 150, "measurements": 30},
            "digits": {"per_class": None, "test_per_class": None, "epochs": 200},
            "convolutional": {"per_class": 20, "test_per_class": 100, "epochs": 240, "measurements": 20},
        },
    ),
    "gpu": Scale(
        "The paper's networks on the whole of three data sets at one tuned learning rate, three seeds.",
        datasets=("mnist", "fashion-mnist", "cifar10"),
        networks=FAMILIES,
        seeds=(0, 1, 2),
        scaled_down=(
            "Three of the seven data sets.",
            "One learning rate, 0.0679, that of the authors' notebook.",
            SEEDS,
        ),
        settings={"published": True, "all_rates": False},
    ),
    "paper": Scale(
        "The published set-up: three families of networks, seven data sets, the best of 25 learning rates each.",
        datasets=DATASETS,
        networks=FAMILIES,
        seeds=(0, 1, 2),
        scaled_down=(SEEDS, "ImageNet is trained on one device with batches of 256; the paper used 8."),
        settings={"published": True, "all_rates": True},
    ),
}

STUDY = Study(
    name="papyan2020",
    title="Prevalence of neural collapse during the terminal phase of deep learning training",
    citation="papyan2020",
    summary="Trains classifiers beyond zero error and watches their last features collapse to a simplex.",
    scales=SCALES,
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.papyan2020:robustness_at_onset_and_end",
    show=show,
)
