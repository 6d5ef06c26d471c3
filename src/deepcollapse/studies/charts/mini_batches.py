"""The ranks that the study of mini-batch descent looks at, over its settings, and their charts."""

from collections.abc import Iterator, Sequence

import numpy

from deepcollapse.records.charts import Axis, Chart, Panel, Table
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.over_settings import curve, points
from deepcollapse.theory import sgd_rank_bound

RANK = "rank_at_one_per_mille_of_norm_weight"


def mean_rank(run: Finished) -> float:
    """The rank of a run's hidden layers, their mean."""
    return float(numpy.mean([run.last(RANK, layer, None) for layer in layers_of(run)]))


def layers_of(run: Finished) -> tuple[str, ...]:
    """The hidden layers whose rank was recorded. Raises MissingEvidence where there is none."""
    layers = run.layers_with(RANK)
    if not layers:
        raise MissingEvidence(f"no rank of a hidden layer was recorded in run {run.name}")
    return layers


def with_others_at(evidence: Evidence, runs: Sequence[Finished], swept: str, **given: float) -> list[Finished]:
    """The runs in which every setting but one is at its middle, or as given."""
    middle = {name: evidence.scale[name] for name in ("batch", "rate", "decay") if name != swept} | given
    return [run for run in runs if all(getattr(run.recipe, name) == value for name, value in middle.items())]


def subjects(evidence: Evidence) -> Iterator[tuple[str, list[Finished]]]:
    """The runs of each data set and network."""
    for (dataset, network), runs in evidence.by("dataset", "network").items():
        yield f"{dataset}, {network}", runs


def show(evidence: Evidence) -> Iterator[Chart | Table]:
    """Rank over each setting, batch size with decay and without; and what theory allows."""
    for subject, runs in subjects(evidence):
        with_decay, without = (with_others_at(evidence, runs, "batch", **given) for given in ({}, {"decay": 0.0}))
        batch = [curve("with decay", points(with_decay, "batch", mean_rank)),
                 curve("without decay", points(without, "batch", mean_rank))]  # fmt: skip
        rank = Axis("mean rank of hidden layers")
        panels = [Panel("Batch size", Axis("batch size", log=True), rank, batch)]
        for setting, title in (("rate", "learning rate"), ("decay", "weight decay (0 at the left end)")):
            swept = points(with_others_at(evidence, runs, setting), setting, mean_rank)
            panels.append(Panel(title.capitalize(), Axis(title, log=True), rank, [curve("with decay", swept)]))
        says = "What is claimed: rank rises with batch size, falls with rate and decay, and stays without decay."
        yield Chart(f"Rank of weights ({subject})", panels, says=says)
        yield _allowed(subject, runs)


def _allowed(subject: str, runs: Sequence[Finished]) -> Table:
    """What the theorem allows at a tenth of the norm, beside what was found: it is far from tight."""
    rows = []
    for run in runs:
        recipe = run.recipe
        if recipe.seed != runs[0].recipe.seed or not recipe.decay:
            continue
        bound = sgd_rank_bound(recipe.rate, recipe.decay, recipe.batch, momentum=recipe.momentum)
        accuracy = run.last("accuracy", "network", "test")
        rows.append((recipe.batch, recipe.rate, recipe.decay, mean_rank(run), bound.steps, bound.rank, accuracy))
    columns = ("batch", "rate", "decay", "mean rank", "steps until old weights fade", "rank allowed", "test accuracy")
    says = "The rank that the theorem allows, within a tenth of the norm, mostly lies above what the matrices can have."
    return Table(f"What theory allows ({subject})", columns, rows, says=says)
