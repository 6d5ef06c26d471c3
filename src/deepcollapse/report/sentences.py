"""What the records show, in plain words: what fell, what did not, and what is missing."""

import math
from dataclasses import dataclass

import pandas as pd

from deepcollapse.report.figures.text import listed
from deepcollapse.report.summary import SummaryRow, compare
from deepcollapse.report.tried import Compression
from deepcollapse.report.view import View, views_of
from deepcollapse.report.words import WORDS, number, percent, words_for

# How far each must have fallen for the page to say that collapse was seen: NC1 ten times, the others by half.
COLLAPSE = {
    "within_class_variability": 10.0,
    "equinorm_means": 2.0,
    "equiangularity_means": 2.0,
    "self_duality": 2.0,
}
_RULE = (
    "Collapse is what this page calls it where, after TPT onset, NC1 becomes at least ten times smaller, and unequal "
    "lengths, unequal angles and self-duality are at least halved."
)
NAMES = {
    "within_class_variability": "within-class variability (NC1)",
    "equinorm_means": "unequal lengths of the class means (NC2)",
    "equiangularity_means": "unequal angles between them (NC2)",
    "self_duality": "the classifier's distance from the class means (NC3)",
}
# Below this a number is rounding, not geometry: it counts as 0.
_ZERO = 1e-12


@dataclass(frozen=True)
class Sentence:
    """One plain sentence about a run, with the idea behind it.

    `verdict` is "fell", "rose", "stayed", "missing" or "note"; `meaning` explains the measure in one sentence, and is
    empty where there is nothing to explain.
    """

    run: str
    measure: str | None
    text: str
    verdict: str
    meaning: str = ""


def reading(records: pd.DataFrame) -> list[Sentence]:
    """What one run's or several runs' records show, run by run: the verdict, when TPT began, then each measure."""
    return [sentence for view in views_of(records) for sentence in reading_of(view)]


def reading_of(view: View) -> list[Sentence]:
    """What one run's records show; of a compressed network, what came of compressing it."""
    if compressed := Compression.of(view):
        return [Sentence(view.label, None, compressed.outcome, compressed.verdict)]
    topics = (
        ("NC1, within-class variability at the head's input", "within_class_variability", "head.input", ("",)),
        ("NC2, equal lengths", "equinorm", None, ("_means", "_classifier")),
        ("NC2, equal angles", "equiangularity", None, ("_means", "_classifier")),
        ("NC2, widest angles", "maximal_angle", None, ("_means", "_classifier")),
        ("NC3, self-duality of classifier and class means", "self_duality", "head.input", ("",)),
    )
    told = [_geometry(view, *topic) for topic in topics]
    about = [_verdict(view), _terminal_phase(view), *_imbalance(view)]
    return [*about, *told, _shares(view, _NC4), _shares(view, _ACCURACY)]


def _verdict(view: View) -> Sentence:
    """The headline: whether collapse was seen, by thresholds that are named."""
    rows = {m: compare(view, m, "head.input", view.split) for m in COLLAPSE}
    known = {m: row for m, row in rows.items() if row is not None and row.start is not None}
    if view.start is None:
        return Sentence(view.label, None, "The network was measured once, so there is no change to tell of.", "note")
    if not known:
        return Sentence(view.label, None, "The records hold none of the measures NC1 to NC3 over time.", "missing")
    held = [m for m, row in known.items() if _fell(row) >= COLLAPSE[m]]
    missing = [words_for(m).plain for m in COLLAPSE if m not in known]
    tail = f" Not recorded: {', '.join(missing)}." if missing else ""
    when = (
        f"{_since(view, in_full=True).strip()}, {listed([f'{NAMES[m]} {_briefly(row)}' for m, row in known.items()])}"
    )
    if len(held) == len(COLLAPSE):
        return Sentence(view.label, None, f"Neural collapse is seen: {when}.", "fell", _RULE)
    if held:
        short = listed([NAMES[m] for m in known if m not in held] or ["those not recorded"])
        text = f"Neural collapse is seen in part ({len(held)} of {len(COLLAPSE)} signs, not {short}): {when}.{tail}"
        return Sentence(view.label, None, text, "stayed", _RULE)
    return Sentence(view.label, None, f"Neural collapse is not seen: {when}.{tail}", "rose", _RULE)


def _terminal_phase(view: View) -> Sentence:
    """When the terminal phase of training began, and from where change is told."""
    meaning = (
        "The terminal phase of training (TPT) begins at the first epoch at which the network gets 99.9 % of its "
        "training samples right; collapse is what happens after."
    )
    best = view.series("accuracy", "network", "train")
    if view.start is None:
        return Sentence(view.label, "tpt_onset", "Without epochs there is no TPT onset to name.", "note", meaning)
    if view.onset is None:
        reached = f" (best: {percent(best.max())}, epoch {best.idxmax()})" if len(best) else ""
        text = (
            f"Training accuracy never reached 99.9 %{reached}, so there was no terminal phase; change is told from "
            f"epoch {view.start}, the first that was measured, to epoch {view.end}."
        )
        return Sentence(view.label, "tpt_onset", text, "missing", meaning)
    if not view.from_onset:
        text = (
            f"TPT began at epoch {view.onset}, and nothing was measured after it; change is told from epoch "
            f"{view.start}, the first that was measured. Train for longer to see collapse."
        )
        return Sentence(view.label, "tpt_onset", text, "missing", meaning)
    text = f"TPT began at epoch {view.onset}; training went on to epoch {view.end}."
    return Sentence(view.label, "tpt_onset", text, "note", meaning)


def _imbalance(view: View) -> list[Sentence]:
    """That classes differ in size, from a factor of two on: what they collapse to is not 0."""
    sizes = [view.series(name, "head.input", "train") for name in ("largest_class", "smallest_class")]
    if not all(len(series) for series in sizes) or not (ratio := sizes[0].iloc[-1] / sizes[1].iloc[-1]) >= 2:
        return []
    where = ", which Measured beside predicted shows" if view.models else ""
    text = (
        f"The largest class has {number(ratio)} times the samples of the smallest. 0 is what balanced classes collapse "
        f"to; for these theory holds other values optimal{where}."
    )
    return [Sentence(view.label, "largest_class", text, "note")]


def _geometry(view: View, title: str, base: str, layer: str | None, endings: tuple[str, ...]) -> Sentence:
    """The sentence on one of NC1 to NC3, of the class means and of the classifier where both have it."""
    parts, verdicts, lost = [], [], []
    for ending in endings:
        at = layer or ("head" if ending == "_classifier" else "head.input")
        who = {"_means": "for the class means it ", "_classifier": "for the classifier it "}.get(ending, "it ")
        row = compare(view, base + ending, at, view.split)
        if row is None:
            lost.append(_missing(view, base + ending, at, who))
        else:
            words, verdict = _change(row)
            parts.append(who + words)
            verdicts.append(verdict)
    verdict = next((v for v in ("rose", "stayed", "fell", "note") if v in verdicts), "missing")
    since = _since(view, in_full=layer is not None) if parts else ""
    text = f"{title}: {since}{'; '.join([*parts, *lost])}."
    return Sentence(view.label, base, text, verdict, WORDS[base].meaning)


def _missing(view: View, measure: str, layer: str, who: str) -> str:
    """Why a number is not there: undefined, with the reason that was recorded, or never recorded."""
    notes = view.rows(measure, layer, view.split)["note"].dropna()
    return f"{who}is undefined here ({notes.iloc[-1]})" if len(notes) else f"{who}was not recorded"


def _since(view: View, in_full: bool) -> str:
    if view.start is None:
        return ""
    if not in_full:
        return f"since {'TPT onset' if view.from_onset else f'epoch {view.start}'} "
    start = f"TPT onset (epoch {view.start})" if view.from_onset else f"epoch {view.start}"
    return f"from {start} to the end (epoch {view.end}) "


def _fell(row: SummaryRow) -> float:
    """How many times a measure fell, for a threshold; one that was 0 at both ends has nothing left to fall."""
    if row.start is not None and row.start < _ZERO and row.end < _ZERO:
        return math.inf
    return row.ratio


def _change(row: SummaryRow) -> tuple[str, str]:
    """How a measure whose value at collapse is 0 changed, in words, with the verdict."""
    if row.start is None:
        return f"is {number(row.end)}", "note"
    words, span = _briefly(row), f"from {number(row.start)} to {number(row.end)}"
    if row.end < _ZERO:
        return words + ("" if row.start < _ZERO else f", from {number(row.start)}"), "fell"
    verdict = "fell" if row.ratio >= 1.5 else "stayed" if row.ratio >= 1 / 1.05 else "rose"
    return f"{words}, {span}{': it did not collapse' if verdict == 'rose' else ''}", verdict


def _briefly(row: SummaryRow) -> str:
    """How a measure changed, in three words."""
    if row.end < _ZERO:
        return "was 0 all along" if row.start is not None and row.start < _ZERO else "fell to 0"
    if row.ratio >= 1.5:
        return f"fell {number(round(row.ratio, 1 if row.ratio < 10 else 0))} times"
    if row.ratio > 1.05:
        return f"fell by only {percent(round(1 - 1 / row.ratio, 2))}"
    if row.ratio >= 1 / 1.05:
        return "hardly changed"
    return f"rose {number(round(1 / row.ratio, 2))} times"


_NC4 = (
    "NC4, nearest class mean: network and nearest class mean disagree on",
    "nearest_class_mean_disagreement",
    "head.input",
)
_ACCURACY = ("Accuracy: the network gets right", "accuracy", "network")


def _samples(split: str | None) -> str:
    return {"train": "training", None: "measured"}.get(split, str(split))


def _shares(view: View, topic: tuple[str, str, str]) -> Sentence:
    """The sentence on a share of samples, in per cent, on the training and the test samples."""
    title, measure, layer = topic
    meaning = WORDS[measure].meaning
    splits = [split for split in dict.fromkeys((view.split, "test"))]
    rows = [(split, row) for split in splits if (row := compare(view, measure, layer, split)) is not None]
    if not rows:
        return Sentence(view.label, measure, f"{title.split(':')[0]}: it was not recorded.", "missing", meaning)
    told = []
    for split, row in rows:
        before = "" if row.start is None else f" ({percent(row.start)} at {'TPT onset' if row.from_onset else 'first'})"
        told.append(f"{percent(row.end)} of the {_samples(split)} samples at the end{before}")
    gains = [row.end - row.start for _, row in rows if row.start is not None]
    falls = measure == "nearest_class_mean_disagreement" and gains and all(gain <= 0 for gain in gains)
    rises = measure == "nearest_class_mean_disagreement" and any(gain > 0 for gain in gains)
    verdict = "fell" if falls else "rose" if rises else "note"
    return Sentence(view.label, measure, f"{title} {', '.join(told)}.", verdict, meaning)
