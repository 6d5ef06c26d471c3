"""The tables of `deepcollapse measure`: each number beside that of the test split and of the baselines."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from deepcollapse.cli.terminal import say, show_table

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
LAYER_ROWS = ("within_class_variability", "nearest_class_mean_accuracy")

# (measure, layer) -> column -> value
Cells = dict[tuple[str, str], dict[str, float | None]]


def show(train: "Measurement", test: "Measurement | None", asked: Sequence[str]) -> None:
    """The head's NC1 to NC4 and two numbers of every layer; where measures were asked for, every one of those."""
    cells = gather(record for m in (train, test) if m is not None for record in m.records)
    if asked:
        by_layer = [measure for measure, _ in cells if any(_is_meant(measure, name) for name in asked)]
    else:
        by_layer = LAYER_ROWS
        _table("at the head's input", {key[0]: cells[key] for key in HEAD_ROWS if key in cells})
    for measure in dict.fromkeys(by_layer):
        _table(f"{measure} of", {layer: row for (name, layer), row in cells.items() if name == measure})
    for note in train.notes:
        say(f"note: {note}")


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
