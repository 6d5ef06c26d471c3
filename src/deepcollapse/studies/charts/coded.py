"""Pictures of coded networks: occupancy against accuracy, and HAC against sHAC over sparsity and number of values."""

from collections.abc import Iterable
from typing import Any

from deepcollapse.records.charts import Axis, Chart, Curve, Panel, Shown, Table
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.evidence import Evidence

OCCUPANCY = Axis("occupancy: share of dense float32", log=True)
FLOOR = "1/32, the least of HAC"


def show(evidence: Evidence) -> Iterable[Shown]:
    """Sizes of matrices by sparsity; then networks: accuracy over occupancy, and a table."""
    yield Chart(
        "HAC, sHAC and their bounds",
        _sizes(evidence.table("matrices")),
        says="A Huffman code spends at least one bit on an entry, so HAC takes no less than 1/32; sHAC codes non-zeros "
        "alone, and is smaller where there are few.",
    )
    if "networks" not in evidence.tables:
        return
    table = evidence.tables["networks"]
    yield Chart(
        "Accuracy over occupancy",
        [panel for _, own in table.groupby(["dataset", "network"], sort=False) for panel in _pareto(own)],
        says="Fully connected layers as sHAC; up and to the left is better. Bands are the range over seeds.",
    )
    yield _table(table)


def _sizes(table: Any) -> list[Panel]:
    panels = []
    for values, own in table.groupby("values"):
        own = own.sort_values("nonzero")
        x = [*own["nonzero"]]
        curves = [
            Curve("HAC", x, [*own["hac"]]),
            Curve("sHAC", x, [*own["shac"]]),
            Curve("bound of HAC", x, [*own["hac_bound"]], kind="threshold"),
            Curve("bound of sHAC", x, [*own["shac_bound"]], kind="threshold"),
            Curve("compressed sparse columns", x, [*own["csc"]]),
            Curve("index map", x, [*own["index_map"]]),
            Curve(FLOOR, [x[0], x[-1]], [1 / 32, 1 / 32], kind="threshold"),
        ]
        panels.append(Panel(f"{values} values", Axis("share of non-zeros", log=True), OCCUPANCY, curves))
    return panels


def _pareto(own: Any) -> list[Panel]:
    subject = f"{own['dataset'].iloc[0]}, {own['network'].iloc[0]}"
    curves = []
    for (values, quantiser), found in own.groupby(["values", "quantiser"], sort=False):
        points = [part for _, part in found.groupby("percent", sort=True)]
        x = [float(part["shac"].median()) for part in points]
        y = [float(part["accuracy"].median()) for part in points]
        low, high = ([float(edge(part["accuracy"])) for part in points] for edge in (min, max))
        curves.append(Curve(f"{values} values, {quantiser}", x, y, low, high))
    edges = [float(own["shac"].min()), float(own["shac"].max())]
    before = median([*own["before"]])
    curves.append(Curve("as trained", edges, [before, before], kind="threshold"))
    marks = ((0.01, "1 %"), (1 / 32, "1/32"))
    return [Panel(subject, OCCUPANCY, Axis("test accuracy"), curves, marks)]


COLUMNS = ("nonzero", "hac", "shac", "whole", "before", "accuracy", "drop")


def _table(table: Any) -> Table:
    groups = table.groupby(["dataset", "network", "percent", "values", "quantiser"], sort=False)
    rows = [
        (f"{dataset}, {network}", percent, int(values), quantiser, *(_short(own[name].median()) for name in COLUMNS))
        for (dataset, network, percent, values, quantiser), own in groups
    ]
    columns = ("data, network", "% pruned", "values", "quantiser", "non-zeros", "HAC", "sHAC", "whole network")
    columns += ("accuracy before", "accuracy", "drop, points")
    return Table(
        "Pruned, shared and coded networks", columns, rows, says="Medians over seeds; sizes as shares of float32."
    )


def _short(value: Any) -> float:
    return float(f"{float(value):.4g}")
