"""The figures of the study of neural rank collapse."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import pandas

from deepcollapse.records.charts import Axis, Chart, Curve, Panel
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.over_settings import curve, points
from deepcollapse.studies.judging.stationary_points import logarithms, resolved
from deepcollapse.studies.measured.modes import CLASSES, OF_MODES, widest

VARIATION = "relative_cluster_variation"
CUT, CUT_TO_K = "accuracy_cut_to_rank_", "accuracy_cut_to_rank_k"
DECAY = Axis("weight decay (0 at the left end)", log=True)


def show(evidence: Evidence) -> Iterator[Chart]:
    """Spectra, ranks and variation over decay, truncation; then the bound and proportionality at stationary points."""
    for (dataset, network), runs in evidence.by("dataset", "network").items():
        where = f"{dataset}, {network}"
        yield _spectra(where, runs)
        yield _ranks(where, runs)
        yield _variation(where, runs)
        yield _truncation(where, runs)
    for name, chart in (("stationary", _stationary), ("modes", _modes)):
        try:
            yield chart(evidence.table(name))
        except MissingEvidence:
            continue


def _spectra(where: str, runs: Sequence[Finished]) -> Chart:
    """Of one seed, since those of several look alike."""
    first = [run for run in runs if run.recipe.seed == runs[0].recipe.seed]
    groups = first[0].rows("rank_collapse_groups_weight", _layers(first)[0])["value"]
    shown = 3 * int(groups.iloc[-1]) if len(groups) else 30
    panels = []
    for layer in _layers(first):
        curves = []
        for run in sorted(first, key=lambda run: run.recipe.decay):
            values = run.array("singular_values_weight", layer, None)
            shares = [float(value) for value in (values / values[0])[:shown]]
            curves.append(Curve(f"decay {run.recipe.decay:g}", tuple(range(1, len(shares) + 1)), shares))
        panels.append(Panel(layer, Axis("i"), Axis("singular value i / first", log=True), curves))
    says = "What is claimed: with decay the values past the number of classes fall away."
    return Chart(f"Singular values of each layer's weight ({where})", panels, says=says)


def _layers(runs: Sequence[Finished]) -> tuple[str, ...]:
    layers = runs[0].layers_with("rank_at_one_percent_weight")
    if not layers:
        raise MissingEvidence(f"run {runs[0].name} kept no ranks of weights")
    return layers


def _over_decay(title: str, where: str, unit: str, runs: Sequence[Finished], measure: str, layers: Sequence[str],
                split: str | None) -> Panel:  # fmt: skip
    curves = [
        curve(layer, points(runs, "decay", lambda run, layer=layer: run.last(measure, layer, split)))
        for layer in layers
    ]
    return Panel(title if not where else f"{title} ({where})", DECAY, Axis(unit), curves)


def _ranks(where: str, runs: Sequence[Finished]) -> Chart:
    panels = [
        _over_decay(title, "", unit, runs, measure, _layers(runs), None)
        for title, unit, measure in (
            ("Singular values above 1 % of the first", "rank", "rank_at_one_percent_weight"),
            ("Effective rank", "effective rank", "effective_rank_weight"),
        )
    ]
    return Chart(
        f"Rank of each layer's weight over decay ({where})",
        panels,
        says="What is claimed: both ranks fall as decay grows.",
    )


def _variation(where: str, runs: Sequence[Finished]) -> Chart:
    layers = [layer for layer in runs[0].layers_with(VARIATION) if layer != "head.input"]
    panel = _over_decay("Relative TCV of each layer's output", "", "share", runs, VARIATION, layers, "train")
    return Chart(
        f"Total cluster variation over decay ({where})", (panel,), says="What is claimed: it falls with the ranks."
    )


def _truncation(where: str, runs: Sequence[Finished]) -> Chart:
    """Accuracy over the rank to which every hidden layer is cut, a curve a decay."""
    known = [name.removeprefix(CUT) for name in runs[0].records["measure"].unique() if name.startswith(CUT)]
    ranks = sorted(int(rank) for rank in known if rank.isdigit())
    curves = []
    for decay in sorted({run.recipe.decay for run in runs}):
        of_decay = [run for run in runs if run.recipe.decay == decay]
        values = [[run.last(f"{CUT}{rank}", "network", "test") for run in of_decay] for rank in ranks]
        low, high = [min(each) for each in values], [max(each) for each in values]
        curves.append(Curve(f"decay {decay:g}", ranks, [float(numpy.median(each)) for each in values], low, high))
    panel = Panel("Test accuracy", Axis("rank of every hidden layer"), Axis("accuracy"), curves)
    says = "What is claimed: with decay few singular values carry all accuracy; without, many are needed."
    return Chart(f"Accuracy after truncation ({where})", (panel,), says=says)


def _stationary(table: pandas.DataFrame) -> Chart:
    panels = []
    for dataset, rows in table.groupby("dataset"):
        bound: Any = rows["bound_cross"]
        ends = [float(bound.min()), float(bound.max())]
        curves = [
            Curve(str(layer), list(of_layer["bound_cross"]), list(of_layer["distance"]), kind="points")
            for layer, of_layer in resolved(rows).groupby("layer")
        ]
        equal = Curve("equal to the bound", ends, ends, kind="threshold")
        axes = Axis("bound by TCV and decay", log=True), Axis("distance to rank K", log=True)
        panels.append(Panel(f"Bound against measured, {dataset}", *axes, (*curves, equal)))
        panels.append(_proportional(str(dataset), rows))
    says = (
        "What is claimed: no point lies above the bound; distance grows with variation over decay, with slope 1 or so."
    )
    return Chart("At stationary points: distance to rank K", panels, says=says)


def _proportional(dataset: str, rows: pandas.DataFrame) -> Panel:
    kept = resolved(rows)
    kept = kept.assign(x=kept["input_variation"] / kept["decay"])
    curves = [
        Curve(str(layer), list(of_layer["x"]), list(of_layer["distance"]), kind="points")
        for layer, of_layer in kept.groupby("layer")
    ]
    x, y = logarithms(rows)
    if len(x) >= 2:
        ends = numpy.array([x.min(), x.max()])
        line = numpy.exp(y.mean() + ends - x.mean())
        curves.append(
            Curve("slope 1", [float(e) for e in numpy.exp(ends)], [float(v) for v in line], kind="prediction")
        )
    axes = Axis("TCV of inputs / decay", log=True), Axis("distance to rank K", log=True)
    return Panel(f"Distance against TCV / decay, {dataset}", *axes, curves)


def _modes(table: pandas.DataFrame) -> Chart:
    curves = []
    for name, partition, column, kind in (
        ("to rank K(classes)", CLASSES, "distance", "line"),
        ("to rank K(modes)", OF_MODES, "distance", "line"),
        ("bound for modes", OF_MODES, "bound_cross", "threshold"),
    ):
        found = widest(table[table["partition"] == partition], column).median()
        curves.append(Curve(name, [float(x) for x in found.index], [max(float(y), 1e-16) for y in found], kind=kind))  # pyright: ignore[reportArgumentType]
    axes = Axis("spread of samples about their mode", log=True), Axis("share of |W|", log=True)
    panel = Panel("Parity of three bits", *axes, curves)
    says = "A class of several modes keeps the weight from the rank of the classes; the modes bound it."
    return Chart("Rank follows the modes", (panel,), says=says)
