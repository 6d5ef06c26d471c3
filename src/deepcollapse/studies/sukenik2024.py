"""Neural collapse versus low-rank bias: is deep neural collapse really optimal? :cite:`sukenik2024`.

With free features, several layers and weight decay, deep neural collapse (every class an axis of its own in every
layer) is optimal for two classes or two layers, and for hardly anything beyond: solutions of lower rank, built on the
edges of a graph, cost less, and gradient descent finds them. Within-class variability collapses all the same. The paper
shows it for its model, and for heads of ReLU layers on top of networks trained on MNIST and CIFAR-10.

The model's part is searched from many starts (`deep_descents`); the paper's own construction was not at hand, and the
one here has every property that is quoted of it (`theory`). Heads are trained end to end, and their layers looked at
one by one (`head_ranks`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deepcollapse.records.study import Judgement, Verdict
from deepcollapse.studies.claim import Claim, MissingEvidence
from deepcollapse.studies.criteria import median, middle, settled, worst
from deepcollapse.studies.deep_claims import (
    judge_beyond,
    judge_decay,
    judge_dnc1,
    judge_dnc2,
    judge_graph,
    judge_rate,
    judge_two,
    judge_width,
)
from deepcollapse.studies.deep_collapse_charts import show
from deepcollapse.studies.deep_descents import DeepModel, descents, graph, seconds, watched
from deepcollapse.studies.evidence import Evidence, Finished
from deepcollapse.studies.study import Computation, Scale, Study
from deepcollapse.studies.subjects import Runs, by_subject, each
from deepcollapse.training.recipe import Recipe

SMALL_DNC1 = 0.1  # in a trained head: class means are scattered ten times as much as samples about them
ACCURATE = 0.99

# ------------------------------------------------------------- recipes


@dataclass(frozen=True)
class Heads:
    """How networks with a ReLU head are trained: one setting, and what varies about it, each on its own."""

    decays: tuple[float, ...]
    decay: float
    rates: tuple[float, ...] = ()
    rate: float = 0.5
    widths: tuple[int, ...] = ()
    width: int = 64
    depth: int = 3
    body_width: int = 128
    body_depth: int = 1
    loss: str = "mse"
    epochs: int = 600
    batch: int = 64
    drops: tuple[float, ...] = (0.5, 0.8)
    per_class: int | None = None


def recipes(scale: Scale) -> list[Recipe]:
    """Each data set and network over weight decay; over the rate and the head's width at one of the decays."""
    heads: Heads = scale["heads"]
    return [
        replace(_recipe(heads, dataset, network, seed), **varied)
        for dataset in scale.datasets
        for network in scale.networks
        for seed in scale.seeds
        for varied in (
            *({"decay": decay} for decay in heads.decays),
            *({"rate": rate} for rate in heads.rates),
            *({"width": width} for width in heads.widths),
        )
    ]


def _recipe(heads: Heads, dataset: str, network: str, seed: int) -> Recipe:
    body = (f"body_width={heads.body_width}", f"body_depth={heads.body_depth}")
    return Recipe(
        dataset=dataset,
        network=network,
        width=heads.width,
        depth=heads.depth,
        parameters=body if network.startswith("relu-head") else (),
        epochs=heads.epochs,
        batch=heads.batch,
        seed=seed,
        loss="mse" if heads.loss == "mse" else "cross-entropy",
        rate=heads.rate,
        decay=heads.decay,
        drops=heads.drops,
        measurements=5,
        per_class=heads.per_class,
    )


# ------------------------------------------------------------- the claim on trained heads


def judge_real(evidence: Evidence) -> Sequence[Judgement]:
    """Heads trained with the strongest decay that can be learnt with beside those with the weakest."""
    return each(by_subject(evidence), _real)


def _real(subject: str, runs: Runs) -> Judgement:
    heads = [run for run in runs if all(getattr(run.recipe, name) == _usual(runs, name) for name in ("rate", "width"))]
    at = {decay: [run for run in heads if run.recipe.decay == decay] for decay in {run.recipe.decay for run in heads}}
    if len(at) < 2:
        raise MissingEvidence("the criterion is for at least two weight decays")
    weakest, *fitted = [decay for decay in sorted(at) if decay == min(at) or _fit(at[decay])]
    if not fitted:
        told = f"at no decay above {weakest:g} do networks reach 99 % training accuracy with every class{_dead(heads)}"
        return Judgement(subject, "fails", told, runs=[run.name for run in heads])
    weak, strong, classes = at[weakest], at[fitted[-1]], int(heads[0].last("present_classes"))
    at_weak, at_strong = (_over(runs, hidden_rank) for runs in (weak, strong))
    variability = _over(strong, hidden_dnc1)
    accuracy = _over([*weak, *strong], lambda run: run.last("accuracy", "network"))
    verdicts: list[Verdict] = [
        settled(at_weak, at_least=classes - 1),
        settled(at_strong, at_most=classes - 1),
        settled([low - full for low, full in zip(at_strong, at_weak, strict=True)], at_most=-1),
        settled(variability, at_most=SMALL_DNC1),
        settled(accuracy, at_least=ACCURATE),
    ]
    told = f"rank of hidden class means {middle(at_weak)} of {classes} at decay {weakest:g} and {middle(at_strong)} "
    told += f"at {fitted[-1]:g}, DNC1 there {middle(variability)}, training accuracy {middle(accuracy)}{_dead(heads)}"
    numbers = {"weak": median(at_weak), "strong": median(at_strong), "decay": fitted[-1]}
    numbers |= {"dnc1": median(variability), "accuracy": median(accuracy)}
    return Judgement(subject, worst(verdicts), told, numbers, runs=[run.name for run in heads])


def _fit(runs: Runs) -> bool:
    """Whether most networks have learnt their training data, every class of them."""
    learnt = [run.last("accuracy", "network") >= ACCURATE and not says_nothing(run) for run in runs]
    return 2 * sum(learnt) > len(runs)


def _usual(runs: Runs, name: str) -> float | int | None:
    """The value of a setting that goes with most decays."""
    values: dict[Any, set[float]] = {}
    for run in runs:
        values.setdefault(getattr(run.recipe, name), set()).add(run.recipe.decay)
    return max(values, key=lambda value: len(values[value]))


def _over(runs: Runs, value: Callable[[Finished], float]) -> list[float]:
    return [value(run) for run in sorted(runs, key=lambda run: run.recipe.seed)]


def _hidden(run: Finished) -> tuple[str, ...]:
    found = tuple(layer for layer in run.layers_with("mean_rank") if layer.endswith(".linear"))
    if not found:
        raise MissingEvidence(f"{run.recipe.network} has no hidden layers before a ReLU to look at; see relu-head")
    return found


def hidden_rank(run: Finished) -> float:
    """The largest rank of class means before the ReLU, over the head's hidden layers."""
    return max(run.last("mean_rank", layer) for layer in _hidden(run))


def hidden_dnc1(run: Finished) -> float:
    """The largest DNC1 over the head's hidden layers, before and after the ReLU."""
    return max(run.last("dnc1", layer) for layer in run.layers_with("dnc1"))


def says_nothing(run: Finished) -> bool:
    """Whether a network decides alike for all, or misses a class: its rank is low for want of a solution."""
    return run.last("trivial", "network") == 1 or run.last("dead_classes", "network") > 0


def _dead(runs: Runs) -> str:
    """How many networks are no solutions, in words; empty where all are."""
    trivial = sum(run.last("trivial", "network") == 1 for run in runs)
    dead = sum(run.last("dead_classes", "network") > 0 for run in runs) - trivial
    named = [f"{count} {word}" for count, word in ((trivial, "trivial"), (dead, "with a dead class")) if count]
    return f"; {' and '.join(named)} of {len(runs)} networks" if named else ""


# ------------------------------------------------------------- claims

CLAIMS = (
    Claim(
        "two",
        "For two classes or two layers, deep neural collapse is optimal.",
        "The best of at least 20 descents does not end below the loss of collapse by more than a millionth of it, and "
        "some end within 1 % of it.",
        judge_two,
        paper="theorem",
    ),
    Claim(
        "beyond",
        "For more layers and classes it is not.",
        "Some descent ends more than 1 % below the loss of collapse (10 classes, 4 layers, decay 0.004, width 20 to "
        "30), saying something of every class, and none below the rigorous lower bound.",
        judge_beyond,
        paper="Fig. 2: all runs end below collapse",
    ),
    Claim(
        "dnc1",
        "Within-class variability still collapses.",
        "Variability within classes over that between them is at most 1e-3 in every layer at the end, with at least 5 "
        "samples a class; in the median of starts.",
        judge_dnc1,
        paper="Fig. 2",
    ),
    Claim(
        "dnc2",
        "But class means are not an orthogonal frame.",
        "Their rank in the layers between the first and the last is below the number of classes in every descent that "
        "ends more than 1 % below the loss of collapse.",
        judge_dnc2,
        paper="Fig. 2",
    ),
    Claim(
        "graph",
        "A construction of low rank, with the classes as edges of a graph, costs less than collapse, and the more so "
        "the more classes and layers there are.",
        "The ratio of their prices is below 1 from 10 classes on at 3 layers and from 6 on at more, and falls with "
        "both.",
        judge_graph,
        paper="Fig. 3, left",
    ),
    Claim(
        "decay",
        "The average rank falls with weight decay.",
        "The rank, averaged over layers and over the starts of a group, has a rank correlation with weight decay of at "
        "most -0.8 over at least 5 decays, in the median of 4 groups.",
        judge_decay,
        paper="Fig. 3, middle",
    ),
    Claim(
        "width",
        "Collapsed solutions are more likely in wider networks.",
        "The share of descents of a group of starts that end within 0.2 % of the loss of collapse has a rank "
        "correlation with width of at least 0.8 over at least 5 widths, in the median of 4 groups.",
        judge_width,
        paper="Fig. 3, right",
    ),
    Claim(
        "rate",
        "The learning rate moves the rank.",
        "Over at least 4 rates the ranks differ beyond the spread over starts: Kruskal and Wallis's test gives p < "
        "0.01. In which direction is not claimed.",
        judge_rate,
        ours=True,
    ),
    Claim(
        "real",
        "The same happens in a head of ReLU layers on top of a trained network.",
        "The largest rank of hidden class means before the ReLU is at least C-1 at the weakest decay, and lower and "
        "below C at the strongest at which networks learn every class; DNC1 there is at most 0.1 in every layer of the "
        "head, and training accuracy at least 99 % at both; each in the median of at least 3 seeds.",
        judge_real,
        paper="Fig. 2, bottom; MNIST and CIFAR-10",
        ours=True,
    ),
)

# ------------------------------------------------------------- scales

NOT_AT_HAND = (
    "The paper's own low-rank matrices were not at hand: the construction here has all their quoted properties."
)
ORDINARY = (
    "Heads are trained with ordinary weight decay on all parameters; the paper also has a variant that decays the head "
    "and its input features alone."
)
MOMENTUM = "Descents have momentum and end at a tenth of the rate, which takes a sixth of the paper's steps."
FEWER_IMAGES = "Heads sit on a fully connected body and see few images of each class: a ResNet20 on all takes a GPU."

SMOKE = Scale(
    "10 classes in 4 layers by short descents from 20 starts; heads on a small fully connected body on digits.",
    ("digits",),
    ("relu-head",),
    (0, 1, 2),
    (NOT_AT_HAND, ORDINARY, MOMENTUM, "Descents are cut short, and heads are trained on digits."),
    {
        "model": DeepModel(starts=8, steps=3000),
        "heads": Heads(decays=(2.5e-4, 3e-3), decay=3e-3, epochs=150, per_class=30, body_width=32, batch=50),
        "depths": (3, 4, 5),
        "vertices": (4, 5, 6),
    },
)

LAPTOP = Scale(
    "10 classes in 4 layers from 32 starts; heads of 4 layers on 50 images of each class of MNIST and CIFAR-10.",
    ("mnist", "cifar10"),
    ("relu-head",),
    (0, 1, 2),
    (NOT_AT_HAND, ORDINARY, MOMENTUM, FEWER_IMAGES),
    {
        "model": DeepModel(starts=32, steps=20_000, decay_steps=40_000),
        "heads": Heads(
            decays=(2.5e-4, 5e-4, 1e-3, 2e-3, 3e-3),
            decay=2e-3,
            rates=(0.1, 0.2, 0.5),
            widths=(32, 64, 128),
            per_class=50,
        ),
        "depths": (3, 4, 5),
        "vertices": (4, 5, 6, 7, 8, 9, 10),
    },
)

STUDY = Study(
    name="sukenik2024",
    title="Neural collapse versus low-rank bias: is deep neural collapse really optimal?",
    citation="sukenik2024",
    summary="Beyond two layers and two classes, solutions of low rank cost less than deep neural collapse.",
    scales={"smoke": SMOKE, "laptop": LAPTOP},
    claims=CLAIMS,
    recipes=recipes,
    afterwards="deepcollapse.studies.head_ranks:afterwards",
    computations=(
        Computation("descents", descents, seconds),
        Computation("watched", watched),
        Computation("graph", graph),
    ),
    show=show,
)
