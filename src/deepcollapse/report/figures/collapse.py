"""NC1 to NC4 over epochs, with TPT onset marked: the paper's figures 2 to 7 for these runs."""

from dataclasses import dataclass

import pandas as pd

from deepcollapse.report.figures.style import (
    CLASSIFIER,
    MEANS,
    PALETTE,
    TEST,
    TRAIN,
    Figure,
    Frame,
    Key,
    Section,
    epoch_axis,
    layout,
    line,
    onset_line,
    value_axis,
)
from deepcollapse.report.view import View
from deepcollapse.report.words import number


@dataclass(frozen=True)
class Panel:
    """One panel: its title, its lines, each (what, measure, layer, split or None for the run's own), its vertical axis.

    `looks` says what collapse looks like in it.
    """

    title: str
    lines: tuple[tuple[str, str, str, str | None], ...]
    axis: str
    looks: str
    log: bool = False


def _both(base: str) -> tuple[tuple[str, str, str, str | None], ...]:
    return (
        ("class means", f"{base}_means", "head.input", None),
        ("classifier", f"{base}_classifier", "head", None),
    )


PANELS = (
    Panel(
        "NC1: within-class variability",
        (("features", "within_class_variability", "head.input", None),),
        "NC1",
        "At collapse, it keeps falling after TPT onset: samples gather at their class means.",
        log=True,
    ),
    Panel(
        "NC2: unequal lengths",
        _both("equinorm"),
        "spread of lengths / mean",
        "At collapse, both lines fall towards 0: all classes become equally long.",
    ),
    Panel(
        "NC2: unequal angles",
        _both("equiangularity"),
        "spread of cosines",
        "At collapse, both lines fall towards 0: all pairs of classes become equally far apart.",
    ),
    Panel(
        "NC2: distance from the widest angle",
        _both("maximal_angle"),
        "mean |cosine + 1/(C−1)|",
        "At collapse, both lines fall towards 0: the pairs are as far apart as they can be.",
    ),
    Panel(
        "NC3: self-duality",
        (("classifier against means", "self_duality", "head.input", None),),
        "squared distance, 0 to 4",
        "At collapse, it falls towards 0: the classifier's rows point where the class means do.",
    ),
    Panel(
        "NC4: nearest-mean disagreement",
        (
            ("train", "nearest_class_mean_disagreement", "head.input", "train"),
            ("test", "nearest_class_mean_disagreement", "head.input", "test"),
        ),
        "share of samples",
        "At collapse, it falls to 0: the network only asks which class mean is nearest.",
    ),
)
# The second line of a panel: told by colour where there is one run, by dashes where runs have the colours.
COLORS = {"class means": MEANS, "classifier": CLASSIFIER, "train": TRAIN, "test": TEST}
DASHED = ("classifier", "test")


def curves(view: View, panel: Panel) -> list[tuple[str, pd.Series]]:
    """The lines of a panel that this run has, by what they show."""
    found = [(what, view.series(m, layer, split or view.split)) for what, m, layer, split in panel.lines]
    return [(what, series) for what, series in found if len(series)]


def color_of(what: str, run: int, runs: int) -> str:
    """The colour of one line of one run among `runs`."""
    return COLORS.get(what, MEANS) if runs == 1 else PALETTE[run % len(PALETTE)]


def figure(runs: list[View], panel: Panel) -> Figure | None:
    """One panel with every run's lines; None where no run has any."""
    data, marks = [], []
    for i, view in enumerate(runs):
        for what, series in curves(view, panel):
            name = what if len(runs) == 1 else f"{view.label}, {what}"
            dash = "dot" if what in DASHED and len(runs) > 1 else "solid"
            data.append(line(name, list(series.index), series, color_of(what, i, len(runs)), dash))
        label = "TPT onset" if i == 0 else ""
        marks += onset_line(view.onset, PALETTE[i % len(PALETTE)] if len(runs) > 1 else "#555555", label)
    if not any(len(trace["x"]) > 1 for trace in data):
        return None
    y = value_axis([y for trace in data for y in trace["y"]], panel.log) | {"title": {"text": panel.axis}}
    x = epoch_axis(epoch for view in runs for epoch in view.epochs)
    drawn = layout(x, y, shapes=marks)
    return Figure(panel.title, [Frame("", data)], drawn, looks=panel.looks, alt=_alt(runs, panel))


def _alt(runs: list[View], panel: Panel) -> str:
    """The panel for those who cannot see it: where each line begins and ends."""
    told = []
    for view in runs:
        for what, series in curves(view, panel):
            name = what if len(runs) == 1 else f"{view.label}, {what}"
            ends = (number(series.iloc[0]), series.index[0], number(series.iloc[-1]), series.index[-1])
            told.append("{}: from {} at epoch {} to {} at epoch {}".format(name, *ends))
    return f"{panel.title}. {'; '.join(told)}."


def section(runs: list[View]) -> Section | None:
    """NC1 to NC4 over epochs; None where no run was measured twice."""
    figures = [drawn for panel in PANELS if (drawn := figure(runs, panel)) is not None]
    if not figures:
        return None
    legend = _legend(runs)
    intro = (
        "The four signs of neural collapse (Papyan, Han and Donoho, 2020), read on the features that enter the last "
        "layer. All fall to 0 where the network collapses. The dashed line is TPT onset, where the terminal phase of "
        "training begins: the first epoch at which 99.9 % of the training samples are right."
    )
    return Section("Neural collapse over training", intro, figures, legend)


def _legend(runs: list[View]) -> list[Key]:
    if len(runs) == 1:
        return [
            Key("class means; train", MEANS),
            Key("classifier; test", CLASSIFIER),
            Key("TPT onset", "#555555", "dash"),
        ]
    keys = [Key(view.label, PALETTE[i % len(PALETTE)]) for i, view in enumerate(runs)]
    return [*keys, Key("classifier; test", "#555555", "dot"), Key("TPT onset", "#555555", "dash")]
