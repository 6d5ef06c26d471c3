"""Rank diminishing in deep neural networks :cite:`feng2022`.

The rank of a network as a function of its input, that of its Jacobian, can only fall with depth, and so does the number
of dimensions that the features span around an input. The last features need few dimensions to keep the accuracy
(classification dimension), and the logit of a class can be told from a few of the others (independence deficit).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from deepcollapse.records.charts import Axis, Chart, Curve, Panel, Shown, Table
from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import Claim, MissingEvidence
from deepcollapse.studies.judging.criteria import falls_with, median, middle, settled
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.exact import never_above
from deepcollapse.studies.judging.subjects import Runs, by_subject, each, together
from deepcollapse.studies.measured.few_logits import FEWEST_SAMPLES
from deepcollapse.studies.measured.layer_ranks import EXPLAINED, OTHERS, chain
from deepcollapse.studies.measured.published_collapse import published
from deepcollapse.studies.study import Scale, ScaleName, Study
from deepcollapse.training.recipe import Recipe

RANKS = {"jacobian_rank": "Jacobian", "partial_jacobian_rank_svd": "partial Jacobian"}
SHOWN = RANKS | {"partial_jacobian_rank": "partial Jacobian, published cut", "perturbed_dimension": "perturbed PCA"}

# Last features of pretrained networks on ImageNet: dimensions that keep 95 % of the accuracy, and dimensions in all.
PUBLISHED = {
    "ResNet-18": (149, 512),
    "ResNet-50": (131, 2048),
    "ResMLP": (196, 384),
    "gMLP-Mixer-T": (199, 384),
    "ViT-T": (109, 192),
    "Swin-T": (344, 768),
}

# ---------------------------------------------------------------- what is trained


def recipes(scale: Scale) -> Sequence[Recipe]:
    """A recipe for each data set, network and seed."""
    return [
        replace(_recipe(scale, dataset, network), seed=seed)
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
    ]


def _recipe(scale: Scale, dataset: str, network: str) -> Recipe:
    if scale["published"]:
        return replace(published(dataset, network), measurements=10)
    if network == "auto":
        network = "resnet" if dataset in ("cifar10", "cifar100", "svhn", "stl10", "imagenet") else "mlp"
    return replace(SMALL.get(network, Recipe(network=network)), dataset=dataset, **scale["small"])


SMALL = {
    "mlp": Recipe(network="mlp", width=64, depth=6, parameters=("batch_norm=false",), rate=0.02, batch=50),
    "resnet": Recipe(network="resnet", width=8, rate=0.1, batch=50),
}


# ---------------------------------------------------------------- what is claimed


def _by_depth(run: Finished, measure: str) -> list[tuple[int, float]]:
    """The values of a measure by depth, the first layer 1."""
    sizes = {layer: run.last("flattened_dimension", layer, "test") for layer in run.layers_with("flattened_dimension")}
    known = set(run.layers_with(measure))
    layers = [layer for layer in chain(sizes, sizes) if layer in known]
    return [(depth, run.last(measure, layer, "test")) for depth, layer in enumerate(layers, start=1)]


def _monotone(subject: str, runs: Runs) -> Judgement:
    parts, why = {}, ""
    for measure, name in RANKS.items():
        looked_at = [run for run in runs if _has(run, measure)]
        rises = [run.last(f"{measure}_largest_rise", "all", "test") for run in looked_at]
        if rises:
            ends = [[_by_depth(run, measure)[end][1] for run in looked_at] for end in (0, -1)]
            told = f"{middle(ends[0])} in the first layer, {middle(ends[1])} in the last, largest rise {max(rises):g}"
            numbers = {"largest rise": max(rises), "first": median(ends[0]), "last": median(ends[1])}
            try:
                verdict = never_above(rises)  # what never rises has not risen once: no median over seeds
            except MissingEvidence as missing:
                verdict, why = "not tested", f"{name}: {missing}"
            parts[name] = Judgement(subject, verdict, told, numbers)
    if not parts:
        raise MissingEvidence("the rank of no Jacobian was worked out")
    return replace(together(subject, parts), why=why)


def _has(run: Finished, measure: str) -> bool:
    return bool(len(run.rows(f"{measure}_largest_rise", "all", "test")))


def _pca(subject: str, runs: Runs) -> Judgement:
    points = {run.recipe.seed: _by_depth(run, "perturbed_dimension") for run in runs}
    return falls_with(subject, points, "depth")


def _low(subject: str, runs: Runs) -> Judgement:
    accuracies = [run.last("accuracy", "network", "test") for run in runs]
    needed = [2 * _chance(run) for run in runs]
    shares = [run.last("classification_dimension", split="test") / _size(run) for run in runs]
    decides = settled([a - least for a, least in zip(accuracies, needed, strict=True)], at_least=0)
    told = f"share of dimensions {middle(shares)}, of networks with test accuracy {middle(accuracies)}"
    numbers = {"share": median(shares), "accuracy": median(accuracies), "seeds": len(shares)}
    if decides != "holds":
        return Judgement(
            subject, decides, f"{told}: too few decisions are right for a dimension that keeps them", numbers
        )
    return Judgement(subject, settled(shares, at_most=0.4), told, numbers)


def _size(run: Finished) -> float:
    return run.last("flattened_dimension", split="test")


def _chance(run: Finished) -> float:
    return 1 / len(run.array("explained_by_few", "head", "test"))


def _deficit(subject: str, runs: Runs) -> Judgement:
    shares, undefined = (
        [run.last(f"share_of_logits_{what}", "head", "test") for run in runs] for what in ("explained", "undefined")
    )
    told = f"share of classes {middle(shares)}; undefined in {middle(undefined)} of them"
    if max(undefined) > 0.5:
        raise MissingEvidence(
            f"{told}: more than half of the classes have fewer than {FEWEST_SAMPLES} test samples, or a logit that is "
            "the same for all"
        )
    return Judgement(subject, settled(shares, at_least=0.5), told, {"share": median(shares), "seeds": len(shares)})


def _over(judge):
    """A judge of every subject."""
    return lambda evidence: each(by_subject(evidence), judge)


CLAIMS = (
    Claim(
        "monotone",
        "The rank of a network as a function of its input never rises with depth.",
        "Exact rank of the Jacobian by the whole input (where it has at most 1024 coordinates) and by a patch of it, "
        "in float64: no rise from any layer to the next, at any input of at least 3 seeds. Ranks by the published cut "
        "are numerical and stand beside it without a verdict, as they may rise.",
        _over(_monotone),
        "Theorem",
    ),
    Claim(
        "pca",
        "The features around an input span fewer dimensions with depth.",
        "Rank correlation of depth and dimension of perturbed features at most -0.8, over at least 5 layers.",
        _over(_pca),
        "figures",
        ours=True,
    ),
    Claim(
        "low",
        "The last features need few of their dimensions to classify.",
        "The classification dimension at 95 % of the accuracy is at most 40 % of the feature dimension, for a network "
        "whose test accuracy is at least twice that of guessing.",
        _over(_low),
        "6 to 57 % for six networks on ImageNet",
        ours=True,
    ),
    Claim(
        "deficit",
        "The logit of a class can be told from a few of the others.",
        "For at least half of the classes a combination of at most 3 other logits explains at least 80 % of the "
        "variance of the logit, over the test samples of the class, 30 at least: of a class with fewer it explains "
        "nothing, as any few logits fit them.",
        _over(_deficit),
        ours=True,
    ),
)

# ---------------------------------------------------------------- what is shown


def show(evidence: Evidence) -> Iterable[Shown]:
    """Ranks by depth, the published classification dimensions beside ours, and why numerical rank may rise."""
    subjects = by_subject(evidence)
    panels = [Panel(subject, Axis("depth"), Axis("rank"), list(_curves(runs))) for subject, runs in subjects.items()]
    said = "Means over inputs, medians and ranges over seeds. Exact ranks can only fall; the others are numerical."
    yield Chart("Rank by depth", panels, "Ranks of functions and features by depth", said)
    panels = [
        Panel(subject, Axis("class"), Axis(f"variance explained by {OTHERS} others"), [_explained(runs)])
        for subject, runs in subjects.items()
    ]
    yield Chart("Independence deficit", panels, says=f"Above {EXPLAINED:g}, a few other logits tell a class's own.")
    rows = [(subject, *_dimensions(runs)) for subject, runs in subjects.items()]
    rows += [(f"paper: {name}, ImageNet", k, d, round(100 * k / d, 1)) for name, (k, d) in PUBLISHED.items()]
    columns = ("data, network", "classification dimension", "feature dimension", "per cent")
    yield Table("Classification dimension at 95 % of the accuracy", columns, rows, "Classification dimensions")
    yield _counter_example()


def _curves(runs: Runs) -> Iterator[Curve]:
    for measure, name in SHOWN.items():
        points = [_by_depth(run, measure) for run in runs]
        if points[0]:
            values = [[line[i][1] for line in points] for i in range(len(points[0]))]
            depths = [depth for depth, _ in points[0]]
            yield Curve(name, depths, [median(v) for v in values], [min(v) for v in values], [max(v) for v in values])


def _explained(runs: Runs) -> Curve:
    values = [[float(value) for value in run.array("explained_by_few", "head", "test")] for run in runs]
    return Curve(
        "median over seeds", [*range(len(values[0]))], [median(of) for of in zip(*values, strict=True)], kind="points"
    )


def _dimensions(runs: Runs) -> tuple[float | None, float, float]:
    shares = [run.last("classification_dimension", split="test") / _size(run) for run in runs]
    dimension = median([run.last("classification_dimension", split="test") for run in runs])
    return dimension, _size(runs[0]), round(100 * float(median(shares) or 0), 1)


def _counter_example() -> Table:
    """Two maps of numerical rank 1 each, whose composition has numerical rank 2."""
    import torch

    first, second = torch.diag(torch.tensor([1.0, 1e-6])).double(), torch.diag(torch.tensor([1e-6, 1.0])).double()
    maps = {"first map": first, "second map": second, "second after first": second @ first}
    rows = []
    for name, matrix in maps.items():
        s = torch.linalg.svdvals(matrix)
        rows.append(
            (
                name,
                f"diag{tuple(f'{v:g}' for v in matrix.diag().tolist())}".replace("'", ""),
                int((s >= 1e-3 * s[0]).sum()),
                2,
            )
        )
    said = "Numerical rank counts singular values of at least 1e-3 of the largest. Only exact rank never rises."
    return Table(
        "Numerical rank may rise with depth", ("map", "matrix", "numerical rank", "exact rank"), rows, says=said
    )


# ---------------------------------------------------------------- how much of it

TRAINED_HERE = "Networks are trained here; the paper takes six that were trained on the whole of ImageNet."
FEWER = "Ranks are averaged over 5 inputs and 1000 copies of each; the paper takes up to 100 inputs and 5000 copies."
PATCH = "Partial Jacobians are by a patch of at most 8 x 8 pixels, as images are small; the paper's is 16 x 16 of 224."
SMALL_NETWORKS = "Small networks on subsets stand for the paper's, which take a GPU."

SCALES: dict[ScaleName, Scale] = {
    "smoke": Scale(
        "An MLP of 6 layers on part of the digits, three seeds.",
        datasets=("digits",),
        networks=("mlp",),
        seeds=(0, 1, 2),
        scaled_down=(TRAINED_HERE, SMALL_NETWORKS, FEWER, PATCH),
        settings={
            "published": False,
            "small": {"per_class": 30, "test_per_class": 30, "epochs": 60, "measurements": 3, "layers": ("blocks.5",)},
        },
    ),
    "laptop": Scale(
        "An MLP on part of MNIST and a small residual network on part of CIFAR-10, three seeds.",
        datasets=("mnist", "cifar10"),
        networks=("auto",),
        seeds=(0, 1, 2),
        scaled_down=(TRAINED_HERE, SMALL_NETWORKS, FEWER, PATCH),
        settings={
            "published": False,
            "small": {"per_class": 200, "test_per_class": 100, "epochs": 40, "measurements": 6},
        },
    ),
    "gpu": Scale(
        "ResNets on the whole of CIFAR-10, three seeds.",
        datasets=("cifar10",),
        networks=("resnet18", "resnet50"),
        seeds=(0, 1, 2),
        scaled_down=(TRAINED_HERE, "CIFAR-10 stands for ImageNet.", FEWER, PATCH),
        settings={"published": True},
    ),
    "paper": Scale(
        "ResNet-18 and ResNet-50 on ImageNet, three seeds.",
        datasets=("imagenet",),
        networks=("resnet18", "resnet50"),
        seeds=(0, 1, 2),
        scaled_down=(TRAINED_HERE, "Two of the six networks; others by --networks, such as timm:NAME.", FEWER),
        settings={"published": True},
    ),
}

STUDY = Study(
    name="feng2022",
    title="Rank diminishing in deep neural networks",
    citation="feng2022",
    summary="Measures the rank of trained networks by depth, as functions of the input and in their features.",
    scales=SCALES,
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.measured.layer_ranks:ranks",
    show=show,
)
