"""Pictures of minority collapse: the model's figure, and networks beside the model over ratio, decay and repetition."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deepcollapse.records.charts import Axis, Chart, Curve, Heat, Panel, Shown, Table
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.subjects import by_subject, class_names
from deepcollapse.studies.measured.minority_runs import (
    Runs,
    majority_accuracy,
    minority_accuracy,
    minority_cosine,
    of_decays,
    of_ratios,
    of_times,
    over,
    predicted_cosine,
    predicted_threshold,
    spread,
)
from deepcollapse.studies.study import Scale

Measured = Callable[[Finished], float]
COSINE = Axis("mean cosine of minority classes")
RATIO = Axis("class ratio R", log=True)


def show(evidence: Evidence) -> Iterable[Shown]:
    """The model's figure, then networks."""
    yield _model(evidence)
    yield _over_samples(evidence)
    if not evidence.runs:
        return
    subjects = by_subject(evidence)
    scale = evidence.scale
    yield Chart(
        "Minority classes close up as the imbalance grows",
        [_cosines(subject, of_ratios(scale, runs), RATIO) for subject, runs in subjects.items()],
        says="Networks beside the layer-peeled model at the budgets measured in each of them; bands are the range over "
        "seeds. Class means are centred by their mean.",
    )
    yield Chart(
        "Accuracy on test data",
        [_accuracies(subject, of_ratios(scale, runs), RATIO) for subject, runs in subjects.items()],
        says="What is claimed: minority classes come to be taken for majority ones.",
    )
    yield Chart(
        f"Weight decay, at R = {scale['decay_ratio']:g}",
        [
            _cosines(subject, over(of_decays(scale, runs), "decay"), Axis("weight decay", log=True))
            for subject, runs in subjects.items()
        ],
        says="Stronger decay leaves smaller budgets, at which minority classes merge at smaller ratios.",
    )
    yield from _repeated(scale, subjects)
    yield from _angles(scale, subjects)
    yield _numbers(scale, subjects)


def _model(evidence: Evidence) -> Chart:
    rows, checks, thresholds = map(evidence.table, ("model over ratios", "model by descent", "thresholds"))
    panels = []
    for budget, whole in rows.groupby("budget"):
        curves, marks = [], []
        for majority, own in whole.groupby("majority"):
            curves.append(Curve(f"{majority} majority classes", [*own["ratio"]], _numbers_of(own["cosine"])))
            point: Any = checks[(checks["budget"] == budget) & (checks["majority"] == majority)]
            found = _numbers_of(point["cosine"])
            curves.append(Curve(f"{majority} majority classes, by descent", [*point["ratio"]], found, kind="points"))
            row: Any = thresholds[(thresholds["budget"] == budget) & (thresholds["majority"] == majority)].iloc[0]
            marks.append((float(row["collapse_ratio"]), f"R0 of {majority}"))
        panels.append(Panel(f"E_H = {budget:g}", RATIO, Axis("cosine of minority classifiers"), curves, marks))
    return Chart(
        "The layer-peeled model, 10 classes, E_W = 1",
        panels,
        figure="the figure of the convex program",
        says="From R0 on, which is exact, the cosine is 1: minority classifiers coincide. A curve that ends has "
        "vanishing classifiers beyond. Points are found by descent from random starts, without theory.",
    )


def _over_samples(evidence: Evidence) -> Chart:
    rows = evidence.table("model over-sampled")
    curve = Curve("5 majority classes, E_H = 5, R = 1000", [*rows["times"]], _numbers_of(rows["cosine"]))
    panel = Panel("layer-peeled model", TIMES, Axis("cosine of minority classifiers"), [curve])
    return Chart(
        "Over-sampling in the model", [panel], says="Seen R times as often, the minority is as the majority is."
    )


TIMES = Axis("how often a minority sample is seen in an epoch", log=True)


def _cosines(subject: str, groups: Mapping[Any, Runs], x: Axis) -> Panel:
    curves = [
        _curve("classifiers", groups, minority_cosine),
        _curve("class means", groups, lambda run: minority_cosine(run, "means")),
        _curve("layer-peeled model, measured budgets", groups, predicted_cosine, "prediction"),
    ]
    thresholds = [predicted_threshold(run) for runs in groups.values() for run in runs]
    known = median(thresholds)
    marks = [(known, "R0 of the model")] if known and x is RATIO and known <= max(groups) else []
    return Panel(subject, x, COSINE, curves, marks)


def _accuracies(subject: str, groups: Mapping[Any, Runs], x: Axis) -> Panel:
    curves = [_curve("minority", groups, minority_accuracy), _curve("majority", groups, majority_accuracy)]
    return Panel(subject, x, Axis("test accuracy"), curves)


def _curve(name: str, groups: Mapping[Any, Runs], measured: Measured, kind: Any = "line") -> Curve:
    middle, low, high = spread(groups, measured)
    return Curve(name, [*groups], middle, low, high, kind)


def _repeated(scale: Scale, subjects: Mapping[str, Runs]) -> Iterable[Chart]:
    groups = {subject: of_times(scale, runs) for subject, runs in subjects.items()}
    panels = [
        panel
        for subject, found in groups.items()
        for panel in (_cosines(subject, found, TIMES), _accuracies(subject, found, TIMES))
    ]
    yield Chart(
        f"Over-sampling, at R = {max(scale['ratios']):g}",
        panels,
        says="What is claimed: angles come back with repetition; accuracy is held down by how few different "
        "samples there are.",
    )


def _angles(scale: Scale, subjects: Mapping[str, Runs]) -> Iterable[Chart]:
    panels = []
    for subject, runs in subjects.items():
        groups = of_ratios(scale, runs)
        for ratio in (min(groups), max(groups)):
            run = groups[ratio][0]
            cosines = run.array("cosines_classifier", "head")
            names = class_names(run)
            values = [[None if value != value else float(value) for value in row] for row in cosines]
            panels.append(Heat(f"{subject}, R = {ratio:g}", Axis("class"), Axis("class"), names, names, values))
    yield Chart("Cosines between classifiers", panels, says="The last classes are the minority; first seed.")


def _numbers(scale: Scale, subjects: Mapping[str, Runs]) -> Table:
    rows = [
        (subject, ratio, *(_rounded(median([*map(measured, runs)])) for _, measured in COLUMNS))
        for subject, whole in subjects.items()
        for ratio, runs in of_ratios(scale, whole).items()
    ]
    columns = ("data, network", "R", *(name for name, _ in COLUMNS))
    return Table("Networks over the class ratio", columns, rows, says="Medians over seeds.")


COLUMNS: Sequence[tuple[str, Measured]] = (
    ("cosine of classifiers", minority_cosine),
    ("cosine in the model", predicted_cosine),
    ("R0 of the model", predicted_threshold),
    ("minority accuracy", minority_accuracy),
    ("majority accuracy", majority_accuracy),
)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _numbers_of(values: Iterable[Any]) -> list[float | None]:
    return [None if value is None or value != value else float(value) for value in values]
