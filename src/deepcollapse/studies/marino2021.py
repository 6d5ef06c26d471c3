"""Compact representations of convolutional neural networks via weight pruning and quantization :cite:`marino2021`.

The fully connected layers of trained networks are pruned, their remaining weights share a few values, and what is left
is stored as Huffman codes: HAC codes every entry, sHAC only those that are not zero, with their places. The paper
reports down to 0.6 % of the space of dense layers, 5.44 % of whole networks, without loss of accuracy, and bounds on
the space. Its fourth and third benchmarks, DeepDTA on KIBA and DAVIS, are regression, and are left out here.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepcollapse.records.study import Judgement, Verdict, worst
from deepcollapse.studies.charts.coded import show
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence
from deepcollapse.studies.judging.exact import Rows, exactly, largest, rows_of, smallest
from deepcollapse.studies.judging.of_tables import each_group
from deepcollapse.studies.measured.coded_matrices import SIDE, matrices
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.study import Computation, Scale, Study, Task
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    import pandas


TINY, POINTS = 0.01, 0.5 + 1e-9  # differences of accuracies are rounded
HAC_FLOOR = 1 / 32
ROUNDING = 1e-5  # of float32 sums over some thousand products, relative to the sum of their magnitudes
NETWORKS, MATRICES = "networks", "matrices"
HAC, SHAC = ("hac", "HAC"), ("shac", "sHAC")
# ---------------------------------------------------------------- what is trained and computed


def recipes(scale: Scale) -> list[Recipe]:
    """Each network with wide fully connected layers on each data set, trained as usual."""
    return [
        replace(_base(scale, dataset, network), seed=seed)
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
    ]


def _base(scale: Scale, dataset: str, network: str) -> Recipe:
    own = scale["recipe"] | scale["of dataset"].get(dataset, {})
    base = replace(Recipe(**own), dataset=dataset, network=network, measurements=2)
    if network == "mlp":
        return replace(base, width=base.width or 512, depth=2)
    # The dense layers that VGG19 has on images of 32 x 32, and that hold most of its weights in the paper's networks.
    return replace(base, width=None, parameters=(f"hidden=[{scale['hidden']}, {scale['hidden']}]",))


def networks(task: Task) -> "pandas.DataFrame":
    """A row for each trained network, per cent pruned, number of values and quantiser."""
    from deepcollapse.studies.measured.coded_networks import Protocol, Pruning, measured

    scale = task.scale
    if not task.runs:
        raise MissingEvidence("no network came to the end of its training")
    protocol = Protocol(percents=tuple(scale["percents"]), **scale["protocol"])
    prunings: dict[str, Pruning] = {}
    runs = {run.name: run for run in task.runs}

    def row(setting: Mapping[str, Any]) -> dict[str, Any]:
        if setting["run"] not in prunings:
            prunings.clear()  # runs come one after the other: one network's steps are kept, not those of all
            prunings[setting["run"]] = Pruning(runs[setting["run"]], protocol)
        return measured(prunings[setting["run"]], setting)

    settings = [
        {"dataset": run.recipe.dataset, "network": run.recipe.network, "seed": run.recipe.seed, "run": run.name}
        | {"percent": percent, "values": values, "quantiser": quantiser}
        for run in task.runs
        for percent in scale["percents"]
        for values in scale["values"]
        for quantiser in scale["quantisers"]
    ]
    return computed(task.path, settings, row, task.progress)


COMPUTATIONS = (Computation(NETWORKS, networks), Computation(MATRICES, matrices))

# ---------------------------------------------------------------- what is claimed


def subjects(evidence: Evidence) -> dict[str, Rows]:
    """The rows of each data set with each network."""
    found: dict[str, Rows] = {}
    for row in rows_of(evidence.table(NETWORKS)):
        found.setdefault(f"{row['dataset']}, {row['network']}", []).append(row)
    return found


def of_networks(judge: Callable[[str, Rows], Judgement]) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of each data set with each network."""
    return lambda evidence: each_group(subjects(evidence), judge)


def of_matrices_and_networks(
    of_matrices: Callable[[str, Rows], Judgement], judge: Callable[[str, Rows], Judgement]
) -> Callable[[Evidence], Iterable[Judgement]]:
    """A judge of the matrices and of networks; what one of them lacks hinders not the other."""

    def judged(evidence: Evidence) -> Iterable[Judgement]:
        yield from each_group(
            {f"matrices of {SIDE} x {SIDE}": evidence},
            lambda subject, whole: of_matrices(subject, rows_of(whole.table(MATRICES))),
        )
        try:
            yield from each_group(subjects(evidence), judge)
        except MissingEvidence as missing:  # what bounds matrices says nothing of networks
            yield Judgement("networks", "not tested", "", why=str(missing))

    return judged


def _tiny(subject: str, own: Rows) -> Judgement:
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in own:
        groups.setdefault((row["percent"], row["values"], row["quantiser"]), []).append(row)
    largest(_of(own, "shac"), "what sHAC takes")
    sizes: dict[tuple[Any, ...], Verdict] = {
        key: settled(_of(found, "shac"), at_most=TINY) for key, found in groups.items()
    }
    small = {key: found for key, found in groups.items() if sizes[key] == "holds"}
    if not small:
        best, least = min(groups.items(), key=lambda item: median(_of(item[1], "shac")) or 0.0)
        told = f"sHAC takes {middle([100 * value for value in _of(least, 'shac')])} % at the least"
        return Judgement(subject, sizes[best], told, {"occupancy": median(_of(least, "shac"))}, runs=_runs(own))
    # The mildest of those that are small enough: chosen by size, never by test accuracy.
    (percent, values, quantiser), found = max(small.items(), key=lambda item: median(_of(item[1], "shac")) or 0.0)
    drops = _of(found, "drop")
    told = (
        f"{percent:g} % pruned, {values} values ({quantiser}): sHAC takes "
        f"{middle([100 * value for value in _of(found, 'shac')])} %, the whole network "
        f"{middle([100 * value for value in _of(found, 'whole')])} %; accuracy falls by {middle(drops)} points "
        f"from {100 * (median(_of(found, 'before')) or 0):.4g} %"
    )
    numbers = {name: median(_of(found, name)) for name in ("shac", "whole", "drop", "before", "accuracy")}
    return Judgement(subject, settled(drops, at_most=POINTS), told, numbers, runs=_runs(own))


def _of(found: Iterable[Mapping[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in found]


def _runs(found: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["run"] for row in found))


def _floor(subject: str, own: Rows) -> Judgement:
    hac, shac = (smallest(_of(own, name), f"what {form} takes") for name, form in (("least_hac", "HAC"), SHAC))
    nonzero = next(row["nonzero"] for row in own if row["shac"] == shac)
    told = (
        f"HAC takes {100 * hac:.4g} % of a layer at the least; sHAC {100 * shac:.3g} % of all at "
        f"{100 * nonzero:.3g} % non-zeros"
    )
    numbers = {"hac": hac, "shac": shac, "nonzero": nonzero}
    return Judgement(subject, exactly(hac >= HAC_FLOOR > shac), told, numbers, runs=_runs(own))


def _crossing(subject: str, found: Rows) -> Judgement:
    verdicts, told, numbers = [], [], {}
    for values in sorted({row["values"] for row in found}):
        own = sorted((row for row in found if row["values"] == values), key=lambda row: row["nonzero"])
        sparse = [row["nonzero"] for row in own if row["shac"] < row["hac"]]
        last = max(sparse, default=0.0)
        surely_sparse = [row["nonzero"] for row in own if row["shac_most"] < row["hac_least"]]
        surely_dense = [row["nonzero"] for row in own if row["hac_most"] < row["shac_least"]]
        low, high = max(surely_sparse, default=0.0), min(surely_dense, default=1.0)
        hac, shac = (smallest(_of(own, name), f"what {form} takes") for name, form in (HAC, SHAC))
        one_switch = sparse == [row["nonzero"] for row in own if row["nonzero"] <= last]
        floor = hac >= HAC_FLOOR > shac
        verdicts.append(exactly(one_switch and floor and low <= last < high))
        told.append(f"{values} values: sHAC is smaller up to {last:.3g} (bounds: {low:.3g} to {high:.3g})")
        numbers |= {f"{values} values: crossing": last, f"{values} values: least HAC": hac}
    said = "share of non-zeros; " + "; ".join(told)
    return Judgement(subject, worst(verdicts), said, numbers)


def _bound_of_matrices(subject: str, found: Rows) -> Judgement:
    most = largest(
        [row[form] / row[f"{form}_bound"] for row in found for form in ("hac", "shac")], "a size over its bound"
    )
    told = f"sizes are at most {most:.4g} of their bounds over {len(found)} matrices"
    return Judgement(subject, exactly(most <= 1), told, {"size over bound": most})


def _bound(subject: str, own: Rows) -> Judgement:
    most = {form: largest(_of(own, f"{form}_of_bound"), f"{name} over its bound") for form, name in (HAC, SHAC)}
    told = f"HAC takes at most {most['hac']:.4g} and sHAC {most['shac']:.4g} of its bound, of every layer"
    return Judgement(subject, exactly(max(most.values()) <= 1), told, most, runs=_runs(own))


def _dot(subject: str, own: Rows) -> Judgement:
    error = largest(_of(own, "product_error"), "the error of a product")
    told = f"products differ by at most {error:.2g} of |x| |W| from dense ones in float64, in HAC and sHAC"
    return Judgement(subject, exactly(error <= ROUNDING), told, {"error": error}, runs=_runs(own))


CLAIMS = (
    Claim(
        "tiny",
        "Fully connected layers fit in less than a hundredth of their space without loss of accuracy.",
        "As sHAC, pruned and shared, they take at most 1 % of dense float32 at a drop of test accuracy of at most 0.5 "
        "points, at the mildest setting that is so small.",
        of_networks(_tiny),
        "0.6 % of fully connected layers, 5.44 % of whole networks",
    ),
    Claim(
        "floor",
        "HAC never takes less than 1/32, sHAC does where few weights are left.",
        "HAC at least 1/32 everywhere, sHAC below it at the sparsest; they change places where the bounds on Huffman "
        "codes allow it.",
        of_matrices_and_networks(_crossing, _floor),
    ),
    Claim(
        "bound",
        "Space is bounded in terms of sparsity and number of values.",
        "No container exceeds it.",
        of_matrices_and_networks(_bound_of_matrices, _bound),
    ),
    Claim(
        "dot",
        "Products are computed from the compressed form.",
        f"They equal dense products to rounding: within {ROUNDING:g} of |x| |W|.",
        of_networks(_dot),
    ),
)

# ---------------------------------------------------------------- how much of it

NO_REGRESSION = "DeepDTA on KIBA and DAVIS is regression on data that are not here, and is left out."
MLP = "A multilayer perceptron with wide layers stands for VGG19, whose convolutions take a GPU."
SUBSETS = "Subsets of the training data stand for all of it."
SHORTER = "Networks are trained on for fewer epochs after each step, at a rate that falls, and stop at a fixed epoch."
STEPS = "Weights are pruned step by step, each followed by training, where the paper prunes at once and trains longer."
TOO_SMALL = "Layers of this width hold too few weights: a hundredth of their space is not to be had without loss."
SMALL = {"epochs": 30, "decay": 5e-3}
OWN: dict[str, Any] = {"of dataset": {}, "hidden": 4096, "quantisers": ("shared",)}

SCALES: dict[Any, Scale] = {
    "smoke": Scale(
        "Matrices of many sparsities; an MLP on digits, pruned by 80 to 98.9 %.",
        datasets=("digits",),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=(MLP, SHORTER, STEPS, TOO_SMALL, NO_REGRESSION),
        settings=OWN
        | {"recipe": SMALL | {"width": 256, "epochs": 15, "batch": 128, "layers": ("blocks.1",)}}
        | {"percents": (80.0, 95.0, 98.9), "values": (16,), "protocol": {"epochs": 8, "sharing_epochs": 4}},
    ),
    "laptop": Scale(
        "Matrices of many sparsities; MLPs with 512 and 256 units a layer on 500 images a class of MNIST and CIFAR-10.",
        datasets=("mnist", "cifar10"),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=(MLP, SUBSETS, SHORTER, STEPS, NO_REGRESSION),
        settings=OWN
        | {"recipe": SMALL | {"width": 512, "per_class": 500, "layers": ("blocks.1",)}}
        | {"of dataset": {"cifar10": {"width": 256}}}
        | {"percents": (80.0, 90.0, 95.0, 97.5, 98.7), "values": (16, 32, 128)}
        | {"protocol": {"epochs": 15, "sharing_epochs": 3}},
    ),
    "gpu": Scale(
        "VGG19 with two dense layers of 4096 on whole MNIST and CIFAR-10, weights shared four ways.",
        datasets=("mnist", "cifar10"),
        networks=("vgg19",),
        seeds=(0, 1, 2),
        scaled_down=(SHORTER, STEPS, NO_REGRESSION),
        settings=OWN
        | {"recipe": {"epochs": 60, "decay": 5e-4, "standardise": "channels"}}
        | {"percents": (60.0, 80.0, 90.0, 95.0, 97.5, 98.7, 99.0), "values": (16, 32, 64, 128, 256)}
        | {"quantisers": ("shared", "drawn", "rounded", "entropy")}
        | {"protocol": {"epochs": 20, "sharing_epochs": 5, "nesterov": True, "convolutions": 256}},
    ),
    "paper": Scale(
        "VGG19 with two dense layers of 4096 on whole MNIST and CIFAR-10, at the published grid.",
        datasets=("mnist", "cifar10"),
        networks=("vgg19",),
        seeds=(0, 1, 2),
        scaled_down=(
            NO_REGRESSION,
            STEPS,
            "Shared values are trained at a third of the rate, without decay, and every rate falls to 0 as it goes.",
            "The paper starts from networks trained by others; these are trained here.",
            "Training on stops at the published number of epochs, not earlier where the score stands still.",
            "The widths of the paper's dense layers are not known here; 4096 are those of VGG19.",
        ),
        settings=OWN
        | {"recipe": {"epochs": 160, "decay": 5e-4, "standardise": "channels"}}
        | {"percents": (30.0, 60.0, 80.0, 90.0, 95.0, 98.0, 99.0), "values": (16, 32, 64, 96, 128, 256)}
        | {"quantisers": ("shared", "drawn", "rounded", "entropy")}
        | {"protocol": {"epochs": 100, "sharing_epochs": 30, "rate": 1e-3, "nesterov": True, "convolutions": 256}},
    ),
}

STUDY = Study(
    name="marino2021",
    title="Pruned and shared weights as Huffman codes",
    citation="marino2021",
    summary="Fully connected layers in less than a hundredth of their space: sHAC beside HAC and their bounds.",
    scales=SCALES,
    claims=CLAIMS,
    recipes=recipes,
    computations=COMPUTATIONS,
    show=show,
)
