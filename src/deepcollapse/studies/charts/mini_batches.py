"""The ranks that the study of mini-batch descent looks at, over its settings, and their charts."""

from collections.abc import Iterator, Sequence

from deepcollapse.records.charts import Axis, Chart, Panel, Table
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.mini_batches import mean_rank, of_equal_steps, with_others_at
from deepcollapse.studies.judging.over_settings import curve, points
from deepcollapse.studies.judging.subjects import by_subject
from deepcollapse.theory import sgd_rank_bound


def show(evidence: Evidence) -> Iterator[Chart | Table]:
    """Rank over each setting, batch size with decay, without, and at equal steps; and what theory allows."""
    for subject, runs in by_subject(evidence).items():
        with_decay, without = (with_others_at(evidence, runs, "batch", **given) for given in ({}, {"decay": 0.0}))
        named = (
            ("with decay", with_decay),
            ("without decay", without),
            ("with decay, equally many steps", of_equal_steps(evidence, runs)),
        )
        batch = [curve(name, points(found, "batch", mean_rank)) for name, found in named]
        rank = Axis("mean rank of hidden layers")
        panels = [Panel("Batch size", Axis("batch size", log=True), rank, batch)]
        for setting, title in (("rate", "learning rate"), ("decay", "weight decay (0 at the left end)")):
            swept = points(with_others_at(evidence, runs, setting), setting, mean_rank)
            panels.append(Panel(title.capitalize(), Axis(title, log=True), rank, [curve("with decay", swept)]))
        says = "What is claimed: rank rises with batch size, falls with rate and decay, and stays without decay."
        says += " At equally many steps as much of the initial weights is left in all runs."
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
        rows.append(
            (recipe.batch, recipe.epochs, recipe.rate, recipe.decay, mean_rank(run), bound.steps, bound.rank, accuracy)
        )
    columns = (
        "batch",
        "epochs",
        "rate",
        "decay",
        "mean rank",
        "steps until old weights fade",
        "rank allowed",
        "test accuracy",
    )
    says = "The rank that the theorem allows, within a tenth of the norm, mostly lies above what the matrices can have."
    return Table(f"What theory allows ({subject})", columns, rows, says=says)
