"""The figures on deep neural collapse against low rank, redrawn from descents and from trained heads."""

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any

import pandas

from deepcollapse.errors import OptionError
from deepcollapse.records.charts import Axis, Chart, Curve, Panel, Shown, Table
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.evidence import Evidence, Finished
from deepcollapse.studies.judging.subjects import by_subject
from deepcollapse.studies.measured.deep_descents import collapsed_share, of_part, solutions
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures

STEPS, LAYERS = Axis("step", log=True), Axis("layer")


def show(evidence: Evidence) -> Iterator[Shown]:
    """All charts for which the scale has what they need."""
    for chart in (_watched, _over_classes, _over_decay, _over_width, _over_rate, _ends, _heads, _spectra):
        try:
            yield from chart(evidence)
        except MissingEvidence:
            continue


def _watched(evidence: Evidence) -> Iterator[Shown]:
    row: Any = evidence.table("watched").to_dict("records")[0]  # plain numbers, not numpy's
    if not row["history"]:
        raise MissingEvidence("every watched descent diverged")
    problem = DeepUnconstrainedFeatures.uniform(
        row["classes"], row["depth"], row["decay"], row["width"], row["per_class"]
    )
    layers, most = list(range(1, row["depth"] + 1)), row["history"][0][-1][0]
    losses = [
        Curve("descent", [step for step, _ in way if step], [loss for step, loss in way if step])
        for way in row["history"]
    ]
    for name, loss in _known(problem):
        losses.append(Curve(name, (1, most), (loss, loss), kind="prediction"))
    within = [Curve("descent", layers, values) for values in row["dnc1"]]
    best = row["loss"].index(min(row["loss"]))
    spectra = [
        Curve(f"layer {layer}", list(range(1, len(values) + 1)), values)
        for layer, values in zip(layers, row["singular_values"][best], strict=True)
    ]
    yield Chart(
        "Descents of the model",
        (
            Panel("Loss", STEPS, Axis("loss", log=True), losses),
            Panel("Variability within classes at the end", LAYERS, Axis("DNC1", log=True), within),
            Panel(
                "Class means of the lowest descent", Axis("singular value, by size"), Axis("over the largest"), spectra
            ),
        ),
        figure="Fig. 2, top",
        says="What is claimed: descents end below the loss of collapse and above that of the graph; their class "
        f"means have fewer than {row['classes']} singular values that matter.",
    )


def _known(problem: DeepUnconstrainedFeatures) -> Iterator[tuple[str, float]]:
    """Collapse and the low-rank construction, by name, as far as they fit into the model."""
    for name, construct in (("deep collapse", problem.collapsed), ("strongly regular graph", problem.refined)):
        try:
            yield name, construct().loss
        except OptionError:
            continue  # the number of classes is no triangular number, or the layers are too narrow


def _over_classes(evidence: Evidence) -> Iterator[Shown]:
    curves = [
        Curve(f"{depth} layers", rows["vertices"].tolist(), rows["ratio"].tolist(), kind="prediction")
        for depth, rows in evidence.table("graph").groupby("depth")
    ]
    vertices = sorted(set(evidence.table("graph")["vertices"]))
    even = Curve("as dear as collapse", (vertices[0], vertices[-1]), (1, 1), kind="threshold")
    panel = Panel("Price", Axis("vertices r; r(r-1)/2 classes"), Axis("construction over collapse"), (*curves, even))
    yield Chart(
        "The construction against collapse",
        (panel,),
        figure="Fig. 3, left",
        says="Below 1 the construction of low rank is cheaper. Closed forms; no decay changes the price.",
    )


def _over_decay(evidence: Evidence) -> Iterator[Shown]:
    rows = of_part(evidence.table("descents"), "decay")
    yield _of_rank("Rank over weight decay", "weight decay", rows, "feature_decay", "Fig. 3, middle")


def _over_rate(evidence: Evidence) -> Iterator[Shown]:
    yield _of_rank("Rank over the learning rate", "rate", of_part(evidence.table("descents"), "rate"), "rate", "")


def _of_rank(title: str, axis: str, rows: pandas.DataFrame, setting: str, figure: str) -> Chart:
    """The average rank with a band of one deviation over starts."""
    found: dict[float, list[float]] = {}
    for x, rank in zip(solutions(rows)[setting].tolist(), solutions(rows)["mean_rank"].tolist(), strict=True):
        found.setdefault(x, []).append(rank)
    xs = sorted(found)
    means = [fmean(found[x]) for x in xs]
    spread = [stdev(found[x]) if len(found[x]) > 1 else 0.0 for x in xs]
    low, high = ([mean + side * one for mean, one in zip(means, spread, strict=True)] for side in (-1, 1))
    curve = Curve("average over starts", xs, means, low, high)
    sizes = f"{rows['num_classes'].iloc[0]} classes, width {rows['width'].iloc[0]}"
    return Chart(title, (Panel(sizes, Axis(axis, log=True), Axis("rank of class means"), (curve,)),), figure)


def _over_width(evidence: Evidence) -> Iterator[Shown]:
    rows: Any = of_part(evidence.table("descents"), "width")
    widths = sorted(set(rows["width"].tolist()))
    shares = [collapsed_share(rows[rows["width"] == width]) for width in widths]
    curve = Curve("share of descents", widths, shares)
    panel = Panel("Descents that end at the loss of collapse", Axis("width"), Axis("share"), (curve,))
    yield Chart("Collapse over width", (panel,), figure="Fig. 3, right")


def _ends(evidence: Evidence) -> Iterator[Shown]:
    table, lines = evidence.table("descents"), []
    for _, rows in table.groupby(["part", "num_classes", "depth", "width", "feature_decay", "rate"], sort=False):
        first, kinds = rows.iloc[0], rows["kind"].value_counts()
        setting = [first[name] for name in ("part", "num_classes", "depth", "width", "feature_decay", "rate")]
        ends = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        best = min((ratio for ratio in rows["loss_ratio"].tolist() if ratio == ratio), default=None)
        lines.append([*(_plain(value) for value in setting), len(rows), best, ends])
    columns = ("for", "classes", "layers", "width", "decay", "rate", "starts", "best loss over collapse", "ends")
    yield Table("Where descents end", columns, lines, says="Trivial points and dead classes are not of low rank.")


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _heads(evidence: Evidence) -> Iterator[Shown]:
    """Rank and variability by layer of trained heads over decay, and the largest rank over rate and width."""
    for subject, runs in by_subject(evidence).items():
        usual = [run for run in runs if (run.recipe.rate, run.recipe.width) == _most(runs)]
        panels = [
            _by_layer("Rank of class means, before the ReLU", "mean_rank", usual, ".linear"),
            _by_layer("Rank of class means, after the ReLU", "mean_rank", usual, ""),
            _by_layer("Variability within classes", "dnc1", usual, ".linear", log=True),
        ]
        says = "What is claimed: with stronger decay class means lose rank before the ReLU, and classes stay tight."
        yield Chart(f"ReLU head on {subject}", panels, figure="Fig. 2, bottom", says=says)


def _most(runs: list[Finished]) -> tuple[float, int | None]:
    pairs = [(run.recipe.rate, run.recipe.width) for run in runs]
    return max(pairs, key=pairs.count)


def _by_layer(title: str, measure: str, runs: list[Finished], end: str, log: bool = False) -> Panel:
    curves = []
    for decay in sorted({run.recipe.decay for run in runs}):
        own = [run for run in runs if run.recipe.decay == decay]
        layers = [name for name in own[0].layers_with(measure) if name != "head" and _is(name, end)]
        values = [[run.last(measure, layer) for run in own] for layer in layers]
        xs = list(range(1, len(layers) + 1))
        curves.append(Curve(f"decay {decay:g}", xs, [median(v) for v in values], *_band(values)))
    return Panel(title, LAYERS, Axis("DNC1" if measure == "dnc1" else "rank", log=log), curves)


def _is(name: str, end: str) -> bool:
    return name.endswith(end) if end else not name.endswith(".linear")


def _band(values: list[list[float]]) -> tuple[list[float], list[float]]:
    return [min(v) for v in values], [max(v) for v in values]


def _spectra(evidence: Evidence) -> Iterator[Shown]:
    """Singular values of the class means in the last hidden layer, and ranks over rate and width."""
    for subject, runs in by_subject(evidence).items():
        panels = [_varied(runs, name) for name in ("rate", "width") if len({getattr(r.recipe, name) for r in runs}) > 1]
        usual = [run for run in runs if (run.recipe.rate, run.recipe.width) == _most(runs)]
        curves = []
        for run in sorted(usual, key=lambda run: run.recipe.decay):
            if run.recipe.seed == usual[0].recipe.seed:
                layer = [name for name in run.layers_with("mean_rank") if name.endswith(".linear")][-1]
                values = [float(value) for value in run.array("singular_values_class_means", layer)]
                curves.append(Curve(f"decay {run.recipe.decay:g}", list(range(1, len(values) + 1)), values))
        first = Panel(
            "Class means, last layer before the ReLU", Axis("singular value, by size"), Axis("over the largest"), curves
        )
        yield Chart(f"Class means of the head on {subject}", (first, *panels), figure="Fig. 2, bottom right")


def _varied(runs: list[Finished], name: str) -> Panel:
    """The largest rank of hidden class means over a setting, at the decay at which it was varied."""
    decays: dict[float, set[Any]] = {}
    for run in runs:
        decays.setdefault(run.recipe.decay, set()).add(getattr(run.recipe, name))
    decay = max(decays, key=lambda value: len(decays[value]))
    rate, width = _most(runs)
    kept: dict[Any, list[float]] = {}
    for run in runs:
        others_usual = run.recipe.width == width if name == "rate" else run.recipe.rate == rate
        if run.recipe.decay == decay and others_usual:
            layers = [layer for layer in run.layers_with("mean_rank") if layer.endswith(".linear")]
            kept.setdefault(getattr(run.recipe, name), []).append(max(run.last("mean_rank", one) for one in layers))
    xs = sorted(kept)
    low, high = _band([kept[x] for x in xs])
    curve = Curve("largest rank before the ReLU", xs, [median(kept[x]) for x in xs], low, high)
    return Panel(f"Rank over {name}, decay {decay:g}", Axis(name, log=True), Axis("rank"), (curve,))
