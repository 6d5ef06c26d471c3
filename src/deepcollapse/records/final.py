"""What was measured at the end of a run, without reading all that was measured before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepcollapse.errors import RunError
from deepcollapse.records.sweep import State, failure_of, read_lines, read_row, run_path, state_of

# A measure, where it was taken, and of which data; "hidden" is the mean over the layers before the head.
Key = tuple[str, str, str | None]
HIDDEN = "hidden"
# What is told of every run.
ACCURACY_TEST: Key = ("accuracy", "network", "test")
ACCURACY_TRAIN: Key = ("accuracy", "network", "train")
VARIABILITY: Key = ("within_class_variability", "head.input", "train")


@dataclass(frozen=True)
class Ending:
    """How a run of a sweep stands, with what was measured at its end, or what went wrong, with its traceback."""

    state: State
    values: Mapping[Key, float | int] = field(default_factory=dict)
    error: str = ""


def ending(folder: Path, key: str, epochs: Any) -> Ending:
    """The end of a run; one whose records are damaged anywhere is as one that failed, and harms no other."""
    state = state_of(folder, key)
    if state == "done":
        try:
            return Ending(state, final_values(run_path(folder, key) / "records.jsonl", epochs))
        except RunError as error:
            return Ending("failed", error=f"RunError: {error}")
    return Ending(state, error=failure_of(folder, key) if state == "failed" else "")


def final_values(records: Path, epochs: Any) -> dict[Key, float | int]:
    """What was measured at the end of a run, and when its terminal phase began.

    Values that are null are left out. Where a measure was taken in several ways, the last row that counts classes
    alike and pools by the mean (or not at all) is told; where there is none such, the first row. A value under HIDDEN
    is the mean over the layers that have one.

    Of the many thousand rows only those of the last epoch, and those without one, are read as JSON. Raises RunError
    where the file is gone or damaged.
    """
    marks = (f'"epoch": {epochs},'.encode(), b'"epoch": null,', b'"measure": "tpt_onset"')
    found: dict[Key, list[tuple[str, float | int]]] = {}
    data = read_lines(records)
    for line in (line for mark in marks for line in _lines_with(mark, data)):
        row = read_row(line, records)
        if isinstance(row["value"], int | float):
            # Only the usual ways of counting classes and of pooling compare from run to run.
            usual = row["weighting"] in (None, "class") and row["reduction"] in (None, "mean", "none", "flatten")
            values = found.setdefault((row["measure"], _place(row), row["split"]), [])
            if usual or not any(layer == row["layer"] for layer, _ in values):
                values[:] = [(layer, value) for layer, value in values if layer != row["layer"]]
                values.append((row["layer"], row["value"]))
    return {key: sum(value for _, value in values) / len(values) for key, values in found.items()}


def _lines_with(mark: bytes, data: bytes) -> Iterator[bytes]:
    """The whole lines in which a mark stands, but for those of arrays and of baselines."""
    end = -1
    while (at := data.find(mark, end + 1)) >= 0:
        start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
        if data.find(b'"array": null', at, end) >= 0 and data.find(b'"baseline": null', at, end) >= 0:
            yield data[start:end]


def _place(row: Mapping[str, Any]) -> str:
    layer = str(row["layer"])
    return layer if layer in ("network", "head", "head.input", "input", "all") else HIDDEN
