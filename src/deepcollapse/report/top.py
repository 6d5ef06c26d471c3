"""The top of the page: what was seen, in words, in numbers, and in the picture of three classes falling together."""

import dataclasses
import math
from html import escape

from deepcollapse.report import html, strip
from deepcollapse.report.figures import simplex
from deepcollapse.report.figures.text import listed
from deepcollapse.report.sentences import NAMES, Sentence, reading_of
from deepcollapse.report.summary import SummaryRow, compare, rows_of
from deepcollapse.report.view import View
from deepcollapse.report.words import number

# The pictures of more runs than this are too small to see.
MOST_PICTURES = 6
# The measures that say by themselves what was seen; the others are folded.
_CORE = (
    "within_class_variability",
    "equinorm",
    "equiangularity",
    "maximal_angle",
    "self_duality",
    "nearest_class_mean_disagreement",
    "accuracy",
)
_LEAD = (
    "Trained on past its last training error, a classifier often collapses: the samples of each class gather at one "
    "point, these points spread out as evenly as they can (a simplex), and the last layer lines up with them."
)


def one(view: View, title: str) -> str:
    """The top of a page on one run."""
    core, more = _tables(view)
    verdict, *others = reading_of(view)
    drawn = simplex.picture(view)
    picture = f"<div>{html.figure(drawn, view.label)}{html.legend(simplex.legend(view, 3))}</div>" if drawn else ""
    numbers = f"<div>{html.summary(core)}{_caption(core)}{html.folded('More measures', html.summary(more))}</div>"
    rule = f'<p class="note">{html.escape(verdict.meaning)}</p>' if verdict.meaning else ""
    words = f"<section><h2>What is seen</h2>{html.reading(others)}{rule}</section>" if others else ""
    return (
        f'<h1>Neural collapse: {escape(title)}</h1><p class="lead">{_LEAD}</p>'
        f'{html.verdict(verdict) if verdict else ""}<p class="facts">{escape(_facts(view))}</p>'
        f'<div class="stage">{picture}{numbers}</div>{_still([view])}{words}'
    )


def several(seen: list[View], title: str) -> str:
    """The top of a page on several runs: one headline, their pictures on one slider, one table."""
    words, pictures = [], []
    for i, view in enumerate(seen):
        verdict, *others = reading_of(view)
        words.append(html.folded(f"What is seen in {view.label}", html.verdict(verdict) + html.reading(others)))
        drawn = simplex.picture(view, view.label) if i < MOST_PICTURES else None
        if drawn:
            # One slider moves them all, by epoch; what collapse looks like is said once.
            shared = dataclasses.replace(drawn, control=None if pictures else drawn.control, height=300)
            pictures.append(html.figure(dataclasses.replace(shared, looks=drawn.looks if not pictures else ""), ""))
    tables = [(view.label, _tables(view)[0]) for view in seen]
    stage = (
        f'<div class="figures">{"".join(pictures)}</div>{html.legend(simplex.legend(seen[0], 3))}' if pictures else ""
    )
    return (
        f'<h1>Neural collapse: {escape(title)}</h1><p class="lead">{_LEAD}</p>{html.verdict(overall(seen))}'
        f"{stage}{_still(seen)}<section><h2>What is seen</h2>"
        f'<p class="intro">Each cell: TPT onset → end, and how many times it fell.</p>'
        f"{html.comparison(tables)}{''.join(words)}</section>"
    )


def overall(seen: list[View]) -> Sentence:
    """The headline of several runs: in how many collapse is seen, and how far each sign fell, least to most."""
    verdicts = [reading_of(view)[0].verdict for view in seen]
    count = verdicts.count("fell")
    partly = [view.label for view, verdict in zip(seen, verdicts, strict=True) if verdict == "stayed"]
    text = f"Neural collapse is seen in {f'all {len(seen)}' if count == len(seen) else f'{count} of {len(seen)}'} runs"
    text += f", and in part in {listed(partly)}" if partly else ""
    told = [_range(seen, measure, name) for measure, name in NAMES.items()]
    spans = [span for span in told if span]
    text += f": from TPT onset to the end, {listed(spans)}." if spans and all(view.from_onset for view in seen) else "."
    return Sentence("", None, text, "fell" if count == len(seen) else "stayed" if count or partly else "rose")


def _range(seen: list[View], measure: str, name: str) -> str:
    rows = [compare(view, measure, "head.input", view.split) for view in seen]
    falls = sorted(round(row.ratio, 1 if row.ratio < 10 else 0) for row in rows if row and math.isfinite(row.ratio))
    if len(falls) < len(seen) or falls[0] < 1:
        return ""
    return f"{name} fell {number(falls[0])} to {number(falls[-1])} times"


def _tables(view: View) -> tuple[list[SummaryRow], list[SummaryRow]]:
    rows = rows_of(view)
    core = [row for row in rows if row.measure.removesuffix("_means").removesuffix("_classifier") in _CORE]
    return core, [row for row in rows if row not in core]


def _caption(rows: list[SummaryRow]) -> str:
    if not rows:
        return ""
    text = "On the training samples unless test is named, at the head's input and the classifier. Point at a name for "
    text += "what it says."
    if any(row.baselines for row in rows):
        text += " No collapse looks like the last columns: the network before training, and labels dealt out at random."
    return f'<p class="note">{html.escape(text)}</p>'


def _facts(view: View) -> str:
    """What was trained, in one line, as far as recipe and records tell."""
    recipe = view.recipe
    told = [str(recipe[key]) for key in ("dataset", "network") if isinstance(recipe.get(key), str)]
    told += [f"{view.num_classes} classes"] if view.num_classes else []
    told += [f"{view.end} epochs"] if view.start is not None else []
    told += [f"seed {view.provenance['seed']}"] if view.provenance.get("seed") is not None else []
    return " · ".join(told)


def _still(seen: list[View]) -> str:
    """The picture at three epochs, for paper and for browsers without scripts."""
    drawn = strip.picture(seen)
    return f'<div class="still">{drawn}</div>' if drawn else ""
