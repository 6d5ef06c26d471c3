"""Accuracy, loss and learning rate over epochs."""

from typing import Any

from deepcollapse.report.figures.style import (
    PALETTE,
    TEST,
    TRAIN,
    Figure,
    Frame,
    Key,
    Section,
    Trace,
    epoch_axis,
    layout,
    line,
    onset_line,
    value_axis,
    wants_log,
)
from deepcollapse.report.view import View
from deepcollapse.report.words import words_for

_FIGURES = (("accuracy",), ("loss", "loss_with_decay"), ("learning_rate",))

_AXES = {"accuracy": "share of samples right", "loss": "loss (nat a sample)", "learning_rate": "learning rate"}
_LOOKS = {
    "accuracy": "Collapse comes after the training line has reached 100 %.",
    "loss": "Collapse goes on while the training loss creeps towards its least.",
    "learning_rate": "Where the rate drops, look for a step down in the signs of collapse.",
}


def section(runs: list[View]) -> Section | None:
    """Accuracy and loss, whatever of them was recorded over epochs."""
    figures = [drawn for measures in _FIGURES if (drawn := _figure(runs, measures)) is not None]
    if not figures:
        return None
    if len(runs) == 1:
        legend = [Key("train", TRAIN), Key("test", TEST)]
    else:
        legend = [Key(view.label, PALETTE[i % len(PALETTE)]) for i, view in enumerate(runs)]
        legend.append(Key("test", "#555555", "dot"))
    if any(len(view.series("loss_with_decay", "network")) for view in runs):
        legend.append(Key("with weight decay", "#555555", "dash"))
    intro = "What training sees: the share of samples that are right, and the loss that it makes small."
    return Section("Accuracy and loss", intro, figures, legend)


def _figure(runs: list[View], measures: tuple[str, ...]) -> Figure | None:
    data = [trace for i, view in enumerate(runs) for m in measures for trace in _lines(view, m, i, len(runs))]
    if not any(len(trace["x"]) > 1 for trace in data):
        return None
    values = [y for trace in data for y in trace["y"] if y is not None]
    y: dict[str, Any] = {"tickformat": ".0%"} if measures[0] == "accuracy" else value_axis(values, wants_log(values))
    y["title"] = {"text": _AXES[measures[0]]}
    x = epoch_axis(int(epoch) for trace in data for epoch in trace["customdata"])
    marks = [mark for view in runs[:1] for mark in onset_line(view.onset, "#555555")]
    title = words_for(measures[0]).plain.capitalize()
    drawn = layout(x, y, shapes=marks if len(runs) == 1 else [])
    return Figure(title, [Frame("", data)], drawn, looks=_LOOKS.get(measures[0], ""))


def _lines(view: View, measure: str, index: int, count: int) -> list[Trace]:
    """A line for each split; the test split has its own colour, or dots where runs have the colours."""
    splits = [s for s in ("train", "test") if len(view.series(measure, "network", s))]
    found = []
    for split in splits:
        series = view.series(measure, "network", split)
        if split == "test" and series.equals(view.series(measure, "network", "train")):
            continue  # a row of no split in particular, such as the learning rate
        color = (TEST if split == "test" else TRAIN) if count == 1 else PALETTE[index % len(PALETTE)]
        dash = "dash" if measure == "loss_with_decay" else "dot" if split == "test" and count > 1 else "solid"
        name = f"{words_for(measure).plain}, {split}" + ("" if count == 1 else f", {view.label}")
        # Evaluated every epoch: points on each would be a blur.
        found.append(line(name, list(series.index), series, color, dash, mode="lines"))
    return found
