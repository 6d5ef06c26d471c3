"""The tables of `deepcollapse measure`: each number beside that of the test split and of the baselines."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say
from deepcollapse.records.record import LAYER_PEELED, MODELS, SELI, UNCONSTRAINED

if TYPE_CHECKING:
    from deepcollapse.measurement import Measurement
    from deepcollapse.records import Record

HEAD_ROWS = (
    ("within_class_variability", "head.input"),
    ("equinorm_means", "head.input"),
    ("equinorm_classifier", "head"),
    ("equiangularity_means", "head.input"),
    ("equiangularity_classifier", "head"),
    ("maximal_angle_means", "head.input"),
    ("maximal_angle_classifier", "head"),
    ("self_duality", "head.input"),
    ("nearest_class_mean_disagreement", "head.input"),
    ("accuracy", "network"),
)
PREDICTED_ROWS = (
    "minority_angle_mean_classifier",
    "minority_angle_mean_means",
    "minority_norm_ratio_classifier",
    "minority_norm_ratio_means",
    *(measure for measure, _ in HEAD_ROWS),
    "weight_budget",
    "feature_budget",
    "loss",
)
# Columns of 80 characters in all; a space is where a title breaks.
SHORT = {LAYER_PEELED: "layer- peeled", UNCONSTRAINED: "uncon- strained", SELI: "SELI"}
FUNCTION_RANKS = {
    "flattened_dimension": "features",
    "partial_jacobian_rank": "Jacobian",
    "partial_jacobian_rank_svd": "SVD",
    "perturbed_dimension": "perturbed",
}
# Titles of the table of weights, and the measures below them; all of 80 characters with a layer's name.
WEIGHT_RANKS = {
    "numerical": "numerical_rank",
    "at\n1 %": "rank_at_one_percent",
    "stable": "stable_rank",
    "effec-\ntive": "effective_rank",
    "above\nnoise": "rank_above_noise_edge",
}
LAYER_ROWS = ("within_class_variability", "nearest_class_mean_accuracy")

# (measure, layer) -> column -> value
Cells = dict[tuple[str, str], dict[str, float | None]]


def show(train: "Measurement", test: "Measurement | None", asked: Sequence[str]) -> None:
    """The head's NC1 to NC4, two numbers of every layer, and theory's predictions; of measures asked for, every one."""
    records = [record for m in (train, test) if m is not None for record in m.records]
    cells = gather(record for record in records if record.baseline not in MODELS)
    if asked:
        by_layer = [measure for measure, _ in cells if any(_is_meant(measure, name) for name in asked)]
    else:
        by_layer = LAYER_ROWS
        _table("at the head's input", {key[0]: cells[key] for key in HEAD_ROWS if key in cells})
    for measure in dict.fromkeys(by_layer):
        _table(f"{measure} of", {layer: row for (name, layer), row in cells.items() if name == measure})
    if not asked:
        show_weights(train.records)
    _show_function_ranks(cells)
    _show_predictions([record for record in train.records if record.baseline in MODELS], cells, asked)
    for note in train.notes:
        say(f"note: {note}")


def _show_function_ranks(cells: Cells) -> None:
    """The rank of each layer as a function of the input, and how many dimensions the classifier needs."""
    layers = [layer for measure, layer in cells if measure == "partial_jacobian_rank"]
    ranks = {
        layer: {title: cells.get((measure, layer), {}).get("train") for measure, title in FUNCTION_RANKS.items()}
        for layer in layers
    }
    _table("rank as a function of the input", ranks)
    needed = ("classification_dimension", "centred_classification_dimension")
    _table("for the classifier", {name: cells[name, "head.input"] for name in needed if (name, "head.input") in cells})


def show_weights(records: "Iterable[Record]") -> None:
    """The ranks of every layer's weights beside their shape, the classifier's last; nothing where none were taken."""
    from deepcollapse.report.words import number

    found: dict[str, dict[str, float | None]] = {}
    for record in records:
        for suffix in ("_weight", "_classifier"):
            if record.measure.endswith(suffix) and record.baseline is None and record.array is None:
                value = None if record.value is None else float(record.value)
                found.setdefault(record.layer, {})[record.measure.removesuffix(suffix)] = value
    rows = []
    for layer, row in sorted(found.items(), key=lambda item: item[0] == "head"):
        if "rows" in row:
            shape = f"{number(row['rows'], 6)} x {number(row['columns'], 6)}"
            rows.append((layer, shape, *(number(row.get(measure)) for measure in WEIGHT_RANKS.values())))
    if rows:
        print()
        titles = ["ranks of weights", "shape", *WEIGHT_RANKS]
        show_table(titles, rows, right=range(1, len(titles)))


def _show_predictions(predicted: "Sequence[Record]", cells: Cells, asked: Sequence[str]) -> None:
    """What each model predicts beside what was measured, and what each was given or why it says nothing."""
    theirs = gather(record for record in predicted if (record.measure, record.layer) in cells)
    if asked:
        shown = [key for key in theirs if any(_is_meant(key[0], name) for name in asked)]
    else:
        shown = [key for name in PREDICTED_ROWS for key in theirs if key[0] == name]
    rows = {
        key[0]: {"measured": cells[key].get("train"), **{SHORT[name]: value for name, value in theirs[key].items()}}
        for key in shown
    }
    _table("beside theory", rows)
    print(end="\n" * bool(rows))
    for record in predicted:
        if record.measure == "optimality_gap":
            say(f"{record.baseline}: {record.note}")


def gather(records: "Iterable[Record]") -> Cells:
    """The numbers by measure and layer, each under its split, or under its baseline."""
    cells: Cells = {}
    for record in records:
        if record.array is None:
            row = cells.setdefault((record.measure, record.layer), {})
            row[record.baseline or record.split or "train"] = None if record.value is None else float(record.value)
    return cells


def _is_meant(measure: str, name: str) -> bool:
    """Whether a name or pattern that was asked for means a recorded measure, which says what it was applied to."""
    return fnmatch(measure, name) or fnmatch(measure, f"{name}_*")


def _table(head: str, rows: Mapping[str, Mapping[str, float | None]]) -> None:
    """Names on the left, then a column for each split and baseline that any row has."""
    from deepcollapse.report.words import number

    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    if not rows:
        return
    print()
    titles = [head, *(column.replace(" ", "\n") for column in columns)]
    cells = [(name, *(number(row.get(column)) for column in columns)) for name, row in rows.items()]
    show_table(titles, cells, right=range(1, len(titles)))
